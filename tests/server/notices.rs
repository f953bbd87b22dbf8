//! Notices that no request asks for: only clients that want them get them, so that a client of WebRTC signaling alone hears
//! of nothing else.

use serde_json::{Value, json};
use support::client::{Client, End};
use support::http::{ask, bearer};
use support::server::{Server, token};

/// A server that tells everyone's presence at once.
fn server() -> Server {
    let settings = ["rooms.create_on_join=always", "presence.scope=all", "presence.batch_ms=1", "auth.guests=true"];
    let settings: Vec<&str> = settings.iter().flat_map(|setting| ["--set", *setting]).collect();
    Server::start(&[&["--shards", "2"], &settings[..]].concat())
}

fn query(user: &str, events: Option<&str>) -> String {
    let events = events.map(|events| format!("events={events}&")).unwrap_or_default();
    format!("{events}token={}", token(user, &json!({})))
}

/// Everything that a client has been sent, up to the answer to a ping.
fn heard(client: &mut Client) -> Vec<Value> {
    client.send(&json!({ "type": "ping" }));
    let mut heard = Vec::new();
    loop {
        match client.next() {
            pong if pong["type"] == "pong" => return heard,
            message => heard.push(message),
        }
    }
}

/// A user comes, and a watcher has heard of it: so has everybody else who is to.
fn come_and_be_seen(server: &Server, user: &str, watcher: &mut Client) {
    Client::connect(&server.address, Some(&token(user, &json!({})))).close();
    watcher.wait_until(|event| event["userId"] == user && event["status"] == "offline");
}

#[test]
fn client_that_only_signals_gets_signaling_only() {
    let server = server();
    let mut watcher = Client::connect(&server.address, Some(&token("watcher", &json!({}))));
    // The second is a guest, as clients of servers without authentication are.
    let mut one = Client::open(&server.address, &query("one", None));
    let mut two = Client::open(&server.address, "x=1");
    for (client, peer) in [(&mut one, "a"), (&mut two, "b")] {
        client.send(&json!({ "type": "join-room", "roomId": "r", "peerId": peer }));
        let joined = client.next();
        assert_eq!((&joined["type"], &joined["peerId"]), (&json!("room-joined"), &json!(peer)), "{joined}");
    }
    assert_eq!(one.next()["type"], "peer-joined");
    come_and_be_seen(&server, "ann", &mut watcher);
    two.send(&json!({ "type": "offer", "roomId": "r", "toPeerId": "a", "offer": {} }));
    one.send(&json!({ "type": "ice-candidate", "roomId": "r", "toPeerId": "b", "candidate": null }));
    assert_eq!(one.next()["type"], "offer");
    assert_eq!(two.next()["type"], "ice-candidate");
    two.send(&json!({ "type": "media-state-changed", "roomId": "r", "mediaState": { "audio": true } }));
    assert_eq!(one.next()["type"], "media-state-changed");
    two.send(&json!({ "type": "leave-room", "roomId": "r" }));
    assert_eq!(two.next()["type"], "room-left");
    assert_eq!(one.next()["type"], "peer-left");
    come_and_be_seen(&server, "bob", &mut watcher);
    for client in [&mut one, &mut two] {
        assert_eq!(heard(client), [] as [Value; 0]);
    }
    let root = bearer(&token("root", &json!({ "role": "admin" })));
    let path = "/websocket/users/one/disconnect";
    assert_eq!(ask(&server.address, "DELETE", path, &[&root], None).status, 200);
    assert_eq!(one.next_or_end(), Err(End::Close(4410, "removed".to_owned())), "no message before the close frame");
}

#[test]
fn first_request_of_messaging_begins_notices() {
    let server = server();
    let mut watcher = Client::connect(&server.address, Some(&token("watcher", &json!({}))));
    for (number, request) in [
        json!({ "type": "presence", "status": "away" }),
        json!({ "type": "typing", "roomId": "r", "isTyping": true }),
        json!({ "type": "message", "roomId": "r", "content": "x" }),
        json!({ "type": "read-receipt", "roomId": "r", "messageId": "0194f3d2-8c1a-7c3e-9f4b-2a6d1e0c5b7a" }),
        json!({ "type": "history", "roomId": "r" }),
    ]
    .iter()
    .enumerate()
    {
        let user = format!("user{number}");
        let mut client = Client::open(&server.address, &query(&user, None));
        assert_eq!(heard(&mut client), [] as [Value; 0]);
        client.send(request);
        let connect = client.next();
        assert_eq!((&connect["type"], &connect["userId"]), (&json!("connect"), &json!(user)), "{request}");
        assert!(connect["recoveryToken"].is_string() && connect["connectionId"].is_string(), "{connect}");
        let other = format!("other{number}");
        come_and_be_seen(&server, &other, &mut watcher);
        client.wait_until(|event| event["type"] == "presence" && event["userId"] == other);
        // The greeting comes once.
        client.send(request);
        assert!(heard(&mut client).iter().all(|event| event["type"] != "connect"));
    }
}

#[test]
fn events_parameter_selects_notices() {
    let server = server();
    let mut watcher = Client::connect(&server.address, Some(&token("watcher", &json!({}))));
    for (number, (events, expected)) in [
        ("all", &["connect", "presence", "disconnect"][..]),
        ("connect,disconnect", &["connect", "disconnect"]),
        ("presence", &["presence"]),
        ("none", &[]),
    ]
    .into_iter()
    .enumerate()
    {
        let user = format!("user{number}");
        let mut client = Client::open(&server.address, &query(&user, Some(events)));
        client.send(&json!({ "type": "presence", "status": "away" }));
        let mut got: Vec<String> = heard(&mut client).iter().map(|event| event["type"].to_string()).collect();
        come_and_be_seen(&server, &format!("other{number}"), &mut watcher);
        got.extend(heard(&mut client).iter().map(|event| event["type"].to_string()));
        let root = bearer(&token("root", &json!({ "role": "admin" })));
        let path = format!("/websocket/users/{user}/disconnect");
        assert_eq!(ask(&server.address, "DELETE", &path, &[&root], None).status, 200);
        while let Ok(event) = client.next_or_end() {
            got.push(event["type"].to_string());
        }
        got.dedup();
        let expected: Vec<String> = expected.iter().map(|name| format!("{name:?}")).collect();
        assert_eq!(got, expected, "{events}");
    }
    let headers = ["Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13"];
    let headers = [&headers[..], &["Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="]].concat();
    let path = format!("/ws?{}", query("ann", Some("connect,dance")));
    let refused = ask(&server.address, "GET", &path, &headers, None);
    assert_eq!((refused.status, refused.code().as_str()), (422, "INVALID_MESSAGE"));
    assert!(refused.text().contains("dance"), "{}", refused.text());
}
