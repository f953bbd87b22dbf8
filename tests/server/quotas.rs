//! Quotas per user and minute: exact across connections, shards and servers.

use serde_json::{Value, json};
use support::client::Client;
use support::redis::RedisServer;
use support::server::{Server, token};

const CONNECTIONS: usize = 8;

fn connect(server: &Server, user: &str) -> Client {
    Client::connect(&server.address, Some(&token(user, &json!({}))))
}

/// What a client gets up to the answer to its last ping.
fn answers(client: &mut Client) -> Vec<Value> {
    let mut answers = Vec::new();
    loop {
        let next = client.next();
        if next["type"] == "pong" && next["requestId"] == "last" {
            return answers;
        }
        answers.push(next);
    }
}

fn check_refusal(refusal: &Value, text: &str) {
    assert_eq!(refusal["code"], "RATE_LIMITED", "{refusal}");
    assert!(refusal["error"].as_str().is_some_and(|error| error.starts_with(text)), "{refusal}");
    assert!(refusal["retryAfter"].as_u64().is_some_and(|wait_s| (1..=60).contains(&wait_s)), "{refusal}");
}

/// The first of them say what they may, and no more, on whichever of the servers.
fn say_fifty(servers: &[Server]) {
    let mut own: Vec<Client> = (0..CONNECTIONS).map(|at| connect(&servers[at % servers.len()], "ann")).collect();
    for (number, client) in own.iter_mut().enumerate() {
        client.join(&format!("r{number}"), "ann");
        // To each a room of its own, so that it gets nothing but answers.
        let text = |at| json!({ "type": "message", "roomId": format!("r{number}"), "content": "x", "requestId": at });
        client.send_all((0..10).map(|at| text(at).to_string()));
    }
    let mut granted = 0;
    for client in &mut own {
        for _ in 0..10 {
            let answer = client.next_event();
            match answer["type"] == "message-sent" {
                true => granted += 1,
                false => check_refusal(&answer, "More than 50 messages a minute; go on in "),
            }
        }
    }
    assert_eq!(granted, 50);
    // Nobody else is concerned.
    let mut bo = connect(&servers[0], "bo");
    bo.join("r", "bo");
    bo.send(&json!({ "type": "message", "roomId": "r", "content": "x" }));
    assert_eq!(bo.next_event()["type"], "message-sent");
}

#[test]
fn message_quota_is_exact_across_connections_and_shards() {
    for shards in [1, 3] {
        say_fifty(&[Server::of_shards(shards, &["limits.messages_per_minute=50"])]);
    }
}

#[test]
fn message_quota_is_exact_across_servers() {
    let redis = RedisServer::start();
    let url = format!("redis.url={}", redis.url());
    say_fifty(&[(); 3].map(|()| Server::of_shards(2, &["limits.messages_per_minute=50", &url])));
}

#[test]
fn messages_waiting_for_quota_keep_their_order() {
    let server = Server::of_shards(3, &["limits.messages_per_minute=1000"]);
    let mut listener = connect(&server, "listener");
    listener.join("r", "listener");
    for user in 0..12 {
        let mut client = connect(&server, &format!("user{user}"));
        client.join("r", "peer");
        assert_eq!(listener.next()["type"], "peer-joined");
        let texts = (0..40).map(|number| json!({ "type": "message", "roomId": "r", "content": number.to_string() }));
        client.send_all(texts.map(|text| text.to_string()));
        // Whoever says goodbye has said everything before.
        client.send(&json!({ "type": "leave-room", "roomId": "r" }));
        client.wait_for("room-left");
        client.close();
        for number in 0..40 {
            assert_eq!(listener.next()["content"], number.to_string(), "user {user}");
        }
        assert_eq!(listener.next()["type"], "peer-left");
    }
}

#[test]
fn typing_quota_is_exact_and_separate_from_messages() {
    for shards in [1, 3] {
        let server = Server::of_shards(shards, &["limits.typing_per_minute=10", "limits.messages_per_minute=100"]);
        let mut own: Vec<Client> = (0..4).map(|_| connect(&server, "ann")).collect();
        own.iter_mut().enumerate().for_each(|(number, client)| drop(client.join(&format!("r{number}"), "ann")));
        for (number, client) in own.iter_mut().enumerate() {
            let typing = |at| json!({ "type": "typing", "roomId": format!("r{number}"), "isTyping": at % 2 == 0 });
            client.send_all((0..5).map(|at| typing(at).to_string()));
            client.send(&json!({ "type": "ping", "requestId": "last" }));
        }
        let refused: Vec<Value> = own.iter_mut().flat_map(answers).collect();
        assert_eq!(refused.len(), 4 * 5 - 10, "{shards} shards: {refused:?}");
        refused.iter().for_each(|refusal| check_refusal(refusal, "More than 10 typing events a minute; go on in "));
        own[0].send(&json!({ "type": "message", "roomId": "r0", "content": "x" }));
        assert_eq!(own[0].next()["type"], "message-sent");
    }
}
