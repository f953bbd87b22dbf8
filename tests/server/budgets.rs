//! Budgets: what a user, and an address, may have the server do in a minute.

use serde_json::{Value, json};

use support::client::Client;
use support::engineio::{Socket, connect_packet};
use support::http::ask;
use support::server::{Server, token};

fn server(shards: usize, settings: &[&str]) -> Server {
    let mut all = vec!["auth.guests=true", "presence.scope=none", "limits.connection_attempts=0"];
    all.extend(settings);
    Server::of_shards(shards, &all)
}

fn connect(server: &Server, user: &str) -> Client {
    Client::connect(&server.address, Some(&token(user, &json!({}))))
}

/// Sends a request until it is refused because of its cost, or `most` times; how often it was not.
fn repeat(client: &mut Client, request: &Value, most: usize) -> usize {
    for count in 0..most {
        let mut request = request.clone();
        request["requestId"] = json!(count);
        client.send(&request);
        let answer = client.wait_until(|message| message["requestId"] == count);
        if answer["type"] == "error" {
            assert_eq!(answer["code"], "RATE_LIMITED", "{answer}");
            assert!(answer["retryAfter"].as_u64().is_some_and(|wait| (1..=60).contains(&wait)), "{answer}");
            return count;
        }
    }
    most
}

#[test]
fn user_beyond_its_budget_is_refused_and_others_are_not() {
    let server = server(1, &["limits.cost_per_user=200"]);
    let (mut ann, mut bob) = (connect(&server, "ann"), connect(&server, "bob"));
    ann.join("r", "ann");
    let history = json!({ "type": "history", "roomId": "r" });
    let count = repeat(&mut ann, &history, 500);
    assert!((50..=100).contains(&count), "{count} requests");
    // Another connection of the user has the same budget; what has a rate of its own, and other users, go on.
    let mut again = connect(&server, "ann");
    assert_eq!(repeat(&mut again, &json!({ "type": "join-room", "roomId": "r" }), 5), 0);
    ann.send(&json!({ "type": "message", "roomId": "r", "content": "on" }));
    ann.wait_for("message-sent");
    bob.join("r", "bob");
    assert_eq!(repeat(&mut bob, &history, 10), 10);
}

#[test]
fn user_with_connections_on_several_shards_has_one_budget() {
    let server = server(4, &["limits.cost_per_user=400"]);
    let mut connections: Vec<Client> = (0..8).map(|_| connect(&server, "ann")).collect();
    for (n, client) in connections.iter_mut().enumerate() {
        client.join("r", &n.to_string());
    }
    let history = json!({ "type": "history", "roomId": "r" });
    let total: usize = connections.iter_mut().map(|client| repeat(client, &history, 400)).sum();
    assert!(total <= 250, "{total} requests instead of 200 or fewer");
}

#[test]
fn address_of_guests_has_one_budget_in_every_protocol() {
    let server = server(2, &["limits.exempt=[]", "limits.cost_per_ip=600"]);
    let create = || ask(&server.address, "POST", "/api/rooms", &[], Some("{}"));
    let mut created = 0;
    let refused = loop {
        let answer = create();
        if answer.status != 201 {
            break answer;
        }
        created += 1;
        assert!(created < 10, "no budget");
    };
    assert_eq!((refused.status, &refused.json()["code"]), (429, &json!("RATE_LIMITED")), "{}", refused.text());
    assert!(refused.header("retry-after").is_some(), "{}", refused.text());
    assert!((2..=3).contains(&created), "{created} rooms");
    let mut guest = Client::connect(&server.address, None);
    let most = repeat(&mut guest, &json!({ "type": "join-room", "roomId": "r" }), 500);
    assert!(most < 200, "{most} joins");
    let mut socket = Socket::connect(&server.address, "/socket.io/?EIO=4&transport=websocket");
    socket.next();
    socket.send(&connect_packet("/chat", "ann"));
    let answer = socket.next();
    assert!(answer.starts_with("44/chat,") && answer.contains("RATE_LIMITED"), "{answer}");
}

#[test]
fn answers_to_rest_calls_cost_as_much_as_their_bytes() {
    let server = server(2, &["limits.cost_per_user=600", "limits.rest_per_minute=0"]);
    let mut ann = connect(&server, "ann");
    ann.join("r", "ann");
    let text = "x".repeat(16_000);
    for _ in 0..20 {
        ann.send(&json!({ "type": "message", "roomId": "r", "content": text }));
        ann.wait_for("message-sent");
    }
    let admin = support::http::bearer(&token("backend", &json!({ "role": "admin" })));
    let mut bytes = 0;
    let refused = loop {
        let answer = ask(&server.address, "GET", "/api/v1/rooms/r/messages", &[&admin], None);
        if answer.status != 200 {
            break answer;
        }
        bytes += answer.text().len();
        assert!(bytes < 20_000_000, "no budget");
    };
    assert_eq!((refused.status, refused.code().as_str()), (429, "RATE_LIMITED"), "{}", refused.text());
    assert!((1_000_000..6_000_000).contains(&bytes), "{bytes} bytes");
}

#[test]
fn rooms_made_by_joining_are_bounded() {
    let server = server(1, &["limits.cost_per_user=600"]);
    let mut ann = connect(&server, "ann");
    let mut made = 0;
    for n in 0..600 {
        let room = format!("room-{n}");
        ann.send(&json!({ "type": "join-room", "roomId": room, "requestId": n }));
        if ann.wait_until(|message| message["requestId"] == n)["type"] == "error" {
            break;
        }
        made += 1;
        ann.send(&json!({ "type": "leave-room", "roomId": room }));
    }
    assert!((20..60).contains(&made), "{made} rooms");
}

#[test]
fn repeated_join_is_answered_without_the_members() {
    let server = server(2, &[]);
    let mut others: Vec<Client> = (0..5).map(|n| connect(&server, &format!("user-{n}"))).collect();
    for (n, other) in others.iter_mut().enumerate() {
        other.join("r", &n.to_string());
    }
    let mut ann = connect(&server, "ann");
    let first = ann.join("r", "ann");
    let again = ann.join("r", "ann");
    let count = |joined: &Value| joined["peers"].as_array().map(Vec::len);
    assert_eq!((count(&first), count(&again)), (Some(5), Some(0)));
    for field in ["epoch", "seq", "peerId", "participantCount"] {
        assert_eq!(first[field], again[field], "{field}");
    }
    // The same peer on another connection has no list yet.
    let mut tab = connect(&server, "ann");
    assert_eq!(count(&tab.join("r", "ann")), Some(5));
}

#[test]
fn repeated_receipt_is_not_sent_again() {
    let server = server(2, &[]);
    let (mut ann, mut bob) = (connect(&server, "ann"), connect(&server, "bob"));
    ann.join("r", "ann");
    bob.join("r", "bob");
    let [first, last] = ["1", "2"].map(|content| {
        ann.send(&json!({ "type": "message", "roomId": "r", "content": content }));
        ann.wait_for("message-sent")["id"].clone()
    });
    for kind in ["delivered", "read-receipt"] {
        for _ in 0..20 {
            bob.send(&json!({ "type": kind, "roomId": "r", "messageId": first }));
        }
    }
    bob.send(&json!({ "type": "read-receipt", "roomId": "r", "messageId": last }));
    let mut receipts = 0;
    while ann.wait_until(|message| message["messageId"] != Value::Null)["messageId"] != last {
        receipts += 1;
    }
    assert_eq!(receipts, 2, "one of each kind");
}

#[test]
fn large_signals_are_refused_to_the_sender_before_the_receiver_is_closed() {
    let server = server(2, &[]);
    let (mut ann, mut bob) = (connect(&server, "ann"), connect(&server, "bob"));
    ann.join("r", "ann");
    bob.join("r", "bob");
    let offer = "x".repeat(255 * 1024);
    let mut refused = 0;
    for n in 0..30 {
        ann.send(&json!({ "type": "offer", "roomId": "r", "toPeerId": "bob", "offer": offer, "requestId": n }));
    }
    ann.send(&json!({ "type": "ping", "requestId": "end" }));
    loop {
        let answer = ann.next();
        if answer["requestId"] == "end" {
            break;
        }
        if answer["type"] == "error" {
            assert_eq!(answer["code"], "RATE_LIMITED", "{answer}");
            assert!(answer["retryAfter"].as_u64().is_some(), "{answer}");
            refused += 1;
        }
    }
    assert!(refused >= 28, "{refused} were refused");
    // The receiver has not read anything meanwhile, and is still there; smaller signals go on, because the refused ones do
    // not count against the connection's rate.
    ann.send(&json!({ "type": "ice-candidate", "roomId": "r", "toPeerId": "bob", "candidate": "c" }));
    bob.wait_for("ice-candidate");
}
