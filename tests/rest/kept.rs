//! Messages of a backend that are kept for users who are not connected.

use serde_json::{Value, json};
use support::client::Client;
use support::directory::Directory;
use support::http::{ask, bearer};
use support::process::wait_until;
use support::redis::RedisServer;
use support::server::{Server, token};

use crate::rooms::{backend, with_each_owner};

/// Publishes to users, and keeps the message if `keep` says so.
fn publish(server: &Server, users: &[&str], data: Value, keep: bool) -> Value {
    let desk = bearer(&token("desk", &json!({ "scope": "push" })));
    let body = json!({ "users": users, "event": "order", "data": data, "keep": keep }).to_string();
    let answer = ask(&server.address, "POST", "/api/v1/publish", &[&desk], Some(&body));
    assert_eq!(answer.status, 200, "{}", answer.text());
    let mut answer = answer.json();
    // The owners answer in any order.
    answer["offline"].as_array_mut().expect("users").sort_by_key(Value::to_string);
    answer
}

/// The data of the next message of the backend.
fn next_order(client: &mut Client) -> Value {
    let mut message = client.wait_until(|message| message["event"] == "order");
    assert_eq!(message["sender"], "desk", "{message}");
    message["data"].take()
}

#[test]
fn kept_message_waits_for_its_user_over_restarts() {
    let redis = RedisServer::start();
    let directory = Directory::new();
    let url = format!("redis.url={}", redis.url());
    let data = format!("data_dir={}", directory.path().display());
    for owner in [data, url] {
        let start = || Server::of_shards(2, &[&owner]);
        let server = start();
        // Nobody has seen either of them.
        let offline = json!({ "success": true, "delivered": 0, "offline": ["bob", "zoe"] });
        assert_eq!(publish(&server, &["bob", "zoe"], json!({ "total": [1.5] }), true), offline);
        assert_eq!(publish(&server, &["bob", "zoe"], json!("lost"), false), offline);
        assert_eq!(publish(&server, &["bob"], json!(2), true)["delivered"], 0);
        server.kill();

        let server = start();
        let mut bob = Client::of(&server.address, "bob");
        let first = bob.wait_until(|message| message["event"] == "order");
        assert_eq!(first["data"].to_string(), r#"{"total":[1.5]}"#, "{first}");
        assert_eq!(next_order(&mut bob), 2);
        // One who is there gets it at once, and another connection nothing that was received.
        assert_eq!(publish(&server, &["bob"], json!(3), true)["delivered"], 1);
        assert_eq!(next_order(&mut bob), 3);
        let mut number = 0;
        wait_until("the messages are received", || {
            number += 1;
            bob.send(&json!({ "type": "ping", "requestId": number }));
            bob.wait_until(|answer| answer["requestId"] == number);
            let mut tab = Client::of(&server.address, "bob");
            publish(&server, &["bob"], json!("marker"), false);
            let next = next_order(&mut tab);
            next_order(&mut bob);
            next == "marker"
        });
        let mut zoe = Client::of(&server.address, "zoe");
        assert_eq!(next_order(&mut zoe), json!({ "total": [1.5] }));
    }
}

#[test]
fn kept_messages_of_a_user_are_bounded() {
    let redis = RedisServer::start();
    for owner in ["data_dir=".to_owned(), format!("redis.url={}", redis.url())] {
        let server = Server::of_shards(2, &[&owner, "limits.direct_bytes_per_user=5000"]);
        let desk = bearer(&token("desk", &json!({ "scope": "push" })));
        let body = json!({ "users": ["bob"], "data": "x".repeat(2_000), "keep": true }).to_string();
        let statuses: Vec<u16> =
            (0..4).map(|_| ask(&server.address, "POST", "/api/v1/publish", &[&desk], Some(&body)).status).collect();
        assert_eq!(statuses, [200, 200, 429, 429]);
    }
}

#[test]
fn message_without_history_reaches_the_present_members_only() {
    let settings = ["limits.rest_per_minute=0", "rooms.create_on_join=always"];
    with_each_owner(&settings, |servers| {
        let last = servers[servers.len() - 1];
        let send = |data: &str, history: Option<bool>, key: Option<&str>| {
            let mut body = json!({ "rooms": ["tea"], "event": "tick", "data": data });
            if let Some(history) = history {
                body["history"] = json!(history);
            }
            if let Some(key) = key {
                body["idempotencyKey"] = json!(key);
            }
            let answer = backend(last, "POST", "/api/v1/publish", &[], body);
            assert_eq!(answer.status, 200, "{}", answer.text());
            answer.json()["rooms"][0].take()
        };
        let mut ann = Client::of(&servers[0].address, "ann");
        ann.join("tea", "a");
        assert_eq!(send("one", None, None)["seq"], 1);
        let momentary = send("two", Some(false), Some("k"));
        assert!(momentary["id"].is_string() && momentary["seq"].is_null(), "{momentary}");
        assert_eq!(send("two", Some(false), Some("k")), momentary, "the same answer, and no other message");
        assert_eq!(send("three", Some(true), None)["seq"], 2);
        let mut next = || {
            let message = ann.wait_for("message");
            (message["data"].clone(), message["seq"].clone())
        };
        assert_eq!(next(), (json!("one"), json!(1)));
        assert_eq!(next(), (json!("two"), Value::Null));
        assert_eq!(next(), (json!("three"), json!(2)));
        let messages = backend(last, "GET", "/api/v1/rooms/tea/messages", &[], Value::Null).json();
        let data: Vec<_> = messages["messages"].as_array().expect("messages").iter().map(|it| &it["data"]).collect();
        assert_eq!(data, ["one", "three"]);
    });
}
