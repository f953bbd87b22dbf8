//! Webhooks of two servers with one Redis: one of them delivers, and the events are those of both.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use support::client::Client;
use support::http::{ask, bearer};
use support::process::wait_until;
use support::redis::RedisServer;
use support::server::{Server, token};
use support::webhook_receiver::{WebhookReceiver, check_alternation};

/// Within this a dead server is noticed: its lease has run out, and so has that of its deliveries.
const NOTICED: Duration = Duration::from_secs(60);

fn start(redis: &RedisServer, receiver: &WebhookReceiver, more: &str) -> Server {
    let (endpoint, url) = (receiver.setting(more), format!("redis.url={}", redis.url()));
    let mut arguments =
        vec!["--set", &endpoint, "--set", &url, "--set", "webhooks.allow_private=true", "--shards", "2"];
    arguments.extend(["--set", "rooms.create_on_join=always", "--set", "presence.grace_ms=0"]);
    arguments.extend(["--set", "recovery.window_ms=0"]);
    Server::start(&arguments)
}

fn wait_for(receiver: &WebhookReceiver, what: &str, is_it: impl Fn(&[Value]) -> bool) -> Vec<Value> {
    let until = Instant::now() + NOTICED;
    loop {
        let events = receiver.events();
        if is_it(&events) {
            return events;
        }
        assert!(Instant::now() < until, "{what}: not within {NOTICED:?}: {events:#?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn count(events: &[Value], kind: &str) -> usize {
    events.iter().filter(|event| event["type"] == kind).count()
}

fn outline(events: &[Value], keep: impl Fn(&Value) -> bool) -> Vec<String> {
    let events = events.iter().filter(|event| keep(event));
    events.map(|event| event["type"].as_str().unwrap_or_default().to_owned()).collect()
}

#[test]
fn webhook_of_two_servers_has_the_events_of_both_in_order() {
    let (redis, receiver) = (RedisServer::start(), WebhookReceiver::start());
    let (one, two) = (start(&redis, &receiver, ""), start(&redis, &receiver, ""));
    let (mut ann, mut bob) = (Client::of(&one.address, "ann"), Client::of(&two.address, "bob"));
    ann.join("r", "ann-1");
    bob.join("r", "bob-1");
    for (from, to, content) in [(true, false, "one"), (false, true, "two")] {
        let (sender, other) = if from { (&mut ann, &mut bob) } else { (&mut bob, &mut ann) };
        sender.send(&json!({"type": "message", "roomId": "r", "content": content}));
        other.wait_for("message");
        assert_ne!(from, to);
    }
    bob.close();
    ann.wait_for("peer-left");
    ann.close();
    let events = wait_for(&receiver, "the end of both", |events| count(events, "user.offline") == 2);
    let expected = [
        "room.created",
        "room.occupied",
        "member.joined",
        "member.joined",
        "message.published",
        "message.published",
        "member.left",
        "member.left",
        "room.vacated",
    ];
    assert_eq!(outline(&events, |event| event["data"]["roomId"] == "r"), expected);
    let of_bob = ["connection.opened", "user.online", "connection.closed", "user.offline"];
    assert_eq!(
        outline(&events, |event| event["data"].get("roomId").is_none() && event["data"]["userId"] == "bob"),
        of_bob
    );
    let message = events.iter().find(|event| event["type"] == "message.published").expect("a message");
    let data = &message["data"];
    assert_eq!(message["id"], data["messageId"]);
    assert_eq!((&data["userId"], &data["peerId"], &data["seq"]), (&json!("ann"), &json!("ann-1"), &json!(1)));
    assert_eq!(data["content"], "one");
}

#[test]
fn webhook_of_a_room_whose_server_dies_is_vacated_once() {
    let (redis, receiver) = (RedisServer::start(), WebhookReceiver::start());
    let wanted = r#"events = ["room.occupied", "room.vacated", "user.offline", "message.published"]"#;
    let (one, two) = (start(&redis, &receiver, wanted), start(&redis, &receiver, wanted));
    let mut ann = Client::of(&one.address, "ann");
    let mut bob = Client::of(&two.address, "bob");
    ann.join("of-ann", "a");
    bob.join("of-bob", "b");
    ann.join("shared", "a");
    bob.join("shared", "b");
    bob.send(&json!({"type": "message", "roomId": "shared", "content": "before"}));
    ann.wait_for("message");
    // Whichever delivers: the survivor goes on.
    one.kill();
    let events = wait_for(&receiver, "the end of ann's room", |events| count(events, "room.vacated") == 1);
    assert_eq!(outline(&events, |event| event["data"]["roomId"] == "of-ann"), ["room.occupied", "room.vacated"]);
    bob.send(&json!({"type": "message", "roomId": "shared", "content": "after"}));
    let said = |events: &[Value]| events.iter().any(|event| event["data"]["content"] == "after");
    wait_for(&receiver, "a message of the survivor", said);
    bob.close();
    let events = wait_for(&receiver, "the end of all rooms", |events| count(events, "room.vacated") == 3);
    check_alternation(&events);
    assert_eq!(count(&events, "room.occupied"), 3);
}

#[test]
fn webhook_of_rooms_with_members_on_two_servers_alternates() {
    let (redis, receiver) = (RedisServer::start(), WebhookReceiver::start());
    let wanted = r#"events = ["room.occupied", "room.vacated"]"#;
    let (one, two) = (start(&redis, &receiver, wanted), start(&redis, &receiver, wanted));
    let mut clients: Vec<Client> = (0..6)
        .map(|number| Client::of(if number % 2 == 0 { &one.address } else { &two.address }, &format!("user-{number}")))
        .collect();
    for round in 0..30 {
        for (number, client) in clients.iter_mut().enumerate() {
            let room = format!("room-{}", (round + number) % 3);
            client.send(&json!({"type": "join-room", "roomId": room, "peerId": format!("p{number}")}));
            client.send(&json!({"type": "leave-room", "roomId": room}));
        }
    }
    for (number, mut client) in clients.into_iter().enumerate() {
        client.join("last", &format!("last-{number}"));
        client.close();
    }
    let events = wait_for(&receiver, "an end of each room", |events| {
        let is_over = |event: &Value| event["type"] == "room.vacated" && event["data"]["roomId"] == "last";
        count(events, "room.occupied") > 5
            && count(events, "room.occupied") == count(events, "room.vacated")
            && events.iter().any(is_over)
    });
    check_alternation(&events);
}

#[test]
fn webhook_with_a_redis_cluster_is_refused() {
    let receiver = WebhookReceiver::start();
    let endpoint = receiver.setting("");
    let url = "redis.url=redis+cluster://127.0.0.1:1";
    let mut command = support::server::command(&["--set", &endpoint, "--set", url], &[]);
    let output = command.stderr(std::process::Stdio::piped()).output().expect("it ends");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("webhooks"), "{said}");
}

#[test]
fn webhook_in_redis_that_was_given_up_is_listed_and_replayed() {
    let (redis, receiver) = (RedisServer::start(), WebhookReceiver::start());
    receiver.answer_with(500);
    let server = start(&redis, &receiver, r#"events = ["user.online"]"#);
    // An event of yesterday.
    let event = r#"{"k":4,"t":1000,"u":"ann"}"#;
    redis.command(&["XADD", "switchboard:hooks", "*", "e", event]);
    let root = bearer(&token("root", &json!({ "role": "admin" })));
    let call = |method: &str, path: &str| ask(&server.address, method, path, &[&root], None);
    let listed = || call("GET", "/api/v1/webhooks/dead-letters").json()["deadLetters"].clone();
    wait_until("a dead letter", || listed().as_array().is_some_and(|letters| letters.len() == 1));
    let letter = listed()[0].clone();
    assert_eq!((&letter["endpoint"], &letter["event"]["data"]["userId"]), (&json!("app"), &json!("ann")));
    receiver.answer_with(200);
    assert_eq!(call("POST", "/api/v1/webhooks/app/replay").status, 204);
    let events = wait_for(&receiver, "the event", |events| events.len() == 1);
    assert_eq!(events[0], letter["event"]);
    assert_eq!(listed(), json!([]));
    // What was delivered is deleted, and so the stream ends empty or nearly so.
    let _bob = Client::of(&server.address, "bob");
    wait_for(&receiver, "another event", |events| events.len() == 2);
}
