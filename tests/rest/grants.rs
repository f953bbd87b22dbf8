//! Grants in tokens as one table: each action in each dialect and by REST, with each grant, alone and with two servers that
//! share a Redis. Then the setting that requires grants, tokens for one room, and the end of a grant.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use support::client::Client;
use support::engineio::Socket;
use support::http::{ask, bearer};
use support::server::{Server, token};

use super::keys::with_each_owner;

const ACTIONS: [&str; 6] = ["join", "publish", "history", "presence", "signal", "moderate"];

/// A client in one of the dialects.
enum Speaker {
    Raw(Box<Client>, u32),
    SocketIo(Box<Socket>, &'static str, u32),
}

/// Requests of `raw` without an answer.
const SILENT: [&str; 6] =
    ["offer", "ice-candidate", "media-state-changed", "connection-failed", "typing", "read-receipt"];

const DIALECTS: [&str; 3] = ["raw", "colon", "camel"];

impl Speaker {
    fn connect(server: &Server, dialect: &'static str, token: &str) -> Self {
        if dialect == "raw" {
            let query = format!("token={token}&events=connect");
            return Self::Raw(Box::new(Client::open(&server.address, &query)), 0);
        }
        let path = format!("/socket.io/?EIO=4&transport=websocket&dialect={dialect}");
        let mut socket = Socket::connect(&server.address, &path);
        assert!(socket.next().starts_with('0'));
        socket.send(&format!("40/chat,{}", json!({ "token": token })));
        let accepted = socket.next();
        assert!(accepted.starts_with("40/chat,"), "{accepted}");
        Self::SocketIo(Box::new(socket), dialect, 0)
    }

    /// The code of the answer to a request; `null` if it was granted, or there is no such request in the dialect.
    fn ask(&mut self, request: &Request) -> Value {
        match self {
            Self::Raw(client, number) => {
                let Some(mut message) = request.raw.clone() else { return Value::Null };
                *number += 1;
                let (own, end) = (json!(*number), json!(format!("end-{number}")));
                message["requestId"] = own.clone();
                client.send(&message);
                // Some requests have no answer if they are granted. What a grant lacks is known before the next one is read.
                let is_silent = SILENT.contains(&message["type"].as_str().expect("a type"));
                if is_silent {
                    client.send(&json!({ "type": "ping", "requestId": end }));
                }
                let answer = client.wait_until(|heard| heard["requestId"] == own || heard["requestId"] == end);
                if answer["type"] == "error" { answer["code"].clone() } else { Value::Null }
            }
            Self::SocketIo(socket, dialect, number) => {
                let asked = if *dialect == "colon" { &request.colon } else { &request.camel };
                let Some((event, argument)) = asked else { return Value::Null };
                *number += 1;
                socket.ask(*number, event, argument);
                let answer = socket.acked(*number);
                match answer["code"].as_str().filter(|_| answer["success"] == false) {
                    // The dialect does not tell one from the other.
                    Some("ROOM_NOT_FOUND") if *dialect == "colon" => json!("FORBIDDEN"),
                    _ if answer["success"] == false => answer["code"].clone(),
                    _ => Value::Null,
                }
            }
        }
    }

    fn join(&mut self, room: &str, subscription: Option<&str>) -> Value {
        self.ask(&Request::join(room, subscription))
    }

    /// Waits for the news that the membership of a room has ended.
    fn hear_the_end(&mut self, room: &str) {
        match self {
            Self::Raw(client, _) => {
                assert_eq!(client.wait_for("room-left")["roomId"], room);
            }
            Self::SocketIo(socket, "colon", _) => assert_eq!(socket.hear("room:left")["chatId"], room),
            Self::SocketIo(socket, ..) => assert_eq!(socket.hear("leftRoom"), room),
        }
    }
}

/// A request as each dialect has it.
#[derive(Default)]
struct Request {
    raw: Option<Value>,
    colon: Option<(&'static str, Value)>,
    camel: Option<(&'static str, Value)>,
}

impl Request {
    fn join(room: &str, subscription: Option<&str>) -> Self {
        let raw = json!({ "type": "join-room", "roomId": room, "token": subscription });
        let colon = json!({ "chatId": room, "token": subscription });
        let camel = json!({ "roomId": room, "token": subscription });
        Self { raw: Some(raw), colon: Some(("join:chat", colon)), camel: Some(("joinRoom", camel)) }
    }

    fn is_in(&self, dialect: &str) -> bool {
        match dialect {
            "raw" => self.raw.is_some(),
            "colon" => self.colon.is_some(),
            _ => self.camel.is_some(),
        }
    }

    fn of(raw: Value, colon: Option<(&'static str, Value)>, camel: Option<(&'static str, Value)>) -> Self {
        Self { raw: (!raw.is_null()).then_some(raw), colon, camel }
    }

    fn signal(kind: &'static str, body: Value) -> Self {
        let mut raw = body.clone();
        raw["type"] = json!(kind);
        Self { raw: Some(raw), colon: Some((kind, body.clone())), camel: Some((kind, body)) }
    }
}

/// The requests that act in a room, each with the action that it is.
fn requests(room: &str) -> Vec<(&'static str, Request)> {
    let raw = |kind: &str, fields: Value| {
        let mut message = json!({ "type": kind, "roomId": room });
        message.as_object_mut().expect("an object").extend(fields.as_object().expect("an object").clone());
        message
    };
    let chat = json!({ "chatId": room });
    let of_message = "0194f3d2-8c1a-7c3e-9f4b-2a6d1e0c5b7a";
    let mut all = vec![
        (
            "publish",
            Request::of(
                raw("message", json!({ "content": "x" })),
                Some(("message:send", json!({ "chatId": room, "content": "x" }))),
                Some(("sendMessage", json!({ "roomId": room, "content": "x" }))),
            ),
        ),
        ("publish", Request::of(raw("message", json!({ "content": "x", "toPeerId": "p" })), None, None)),
        (
            "publish",
            Request::of(
                raw("typing", json!({ "isTyping": true })),
                Some(("message:typing", json!({ "chatId": room, "isTyping": true }))),
                Some(("typingIndicator", json!({ "roomId": room, "isTyping": true }))),
            ),
        ),
        (
            "history",
            Request::of(
                raw("history", json!({})),
                Some(("message:delivery-status", json!({ "chatId": room, "messageId": of_message }))),
                Some(("syncMessages", json!({ "roomId": room }))),
            ),
        ),
        ("history", Request::of(raw("receipts", json!({ "messageId": of_message })), None, None)),
        (
            "history",
            Request::of(
                raw("join-room", json!({ "rewind": 5 })),
                Some(("join:chat", json!({ "chatId": room, "rewind": 5 }))),
                Some(("joinRoom", json!({ "roomId": room, "rewind": 5 }))),
            ),
        ),
        (
            "history",
            Request::of(
                raw("unread", json!({})),
                Some(("message:unread", chat.clone())),
                Some(("unreadCount", json!({ "roomId": room }))),
            ),
        ),
        // One's own message needs the one, that of another member the other.
        (
            "publish or moderate",
            Request::of(
                raw("message-delete", json!({ "messageId": of_message })),
                Some(("message:delete", json!({ "chatId": room, "messageId": of_message }))),
                Some(("deleteMessage", json!({ "roomId": room, "messageId": of_message }))),
            ),
        ),
        ("presence", Request::of(Value::Null, Some(("room:online", chat.clone())), None)),
        ("presence", Request::of(Value::Null, Some(("room:info", chat.clone())), None)),
        ("presence", Request::of(Value::Null, Some(("message:typing-users", chat)), None)),
        ("moderate", Request::of(raw("lock-room", json!({ "isLocked": false })), None, None)),
        ("moderate", Request::of(raw("remove-user", json!({ "userId": "bob" })), None, None)),
        ("moderate", Request::of(raw("connection-mode", json!({ "mode": "auto" })), None, None)),
    ];
    for (kind, body) in [
        ("offer", json!({ "roomId": room, "toPeerId": "p", "offer": {} })),
        ("ice-candidate", json!({ "roomId": room, "toPeerId": "p", "candidate": {} })),
        ("media-state-changed", json!({ "roomId": room, "mediaState": { "audio": true } })),
        ("connection-failed", json!({ "roomId": room, "toPeerId": "p" })),
    ] {
        all.push(("signal", Request::signal(kind, body)));
    }
    all
}

/// The calls that act in a room.
fn calls(room: &str) -> Vec<(&'static str, &'static str, String, Value)> {
    let of_message = "0194f3d2-8c1a-7c3e-9f4b-2a6d1e0c5b7a";
    vec![
        ("join", "POST", format!("/rooms/{room}/join"), json!({})),
        ("publish", "POST", "/api/v1/publish".into(), json!({ "rooms": [room], "data": 1 })),
        ("publish", "POST", "/api/v1/batch".into(), json!({ "messages": [{ "rooms": [room], "data": 1 }] })),
        ("history", "GET", format!("/api/v1/rooms/{room}/messages"), Value::Null),
        ("history", "GET", format!("/api/v1/rooms/{room}/messages/{of_message}/receipts"), Value::Null),
        ("presence", "GET", format!("/api/v1/rooms/{room}/members"), Value::Null),
        ("presence", "GET", format!("/api/v1/rooms/{room}"), Value::Null),
        ("presence", "GET", format!("/rooms/{room}"), Value::Null),
        ("presence", "GET", format!("/api/rooms/{room}"), Value::Null),
        ("history", "GET", format!("/api/v1/rooms/{room}/unread/bob"), Value::Null),
        ("moderate", "PUT", format!("/api/v1/rooms/{room}"), json!({ "name": "n" })),
        ("moderate", "PATCH", format!("/api/v1/rooms/{room}"), json!({ "name": "n" })),
        ("moderate", "POST", "/api/v1/rooms".into(), json!({ "roomId": room })),
        ("moderate", "POST", "/rooms".into(), json!({ "roomId": room })),
        ("moderate", "POST", "/api/rooms".into(), json!({ "roomId": room })),
        ("moderate", "POST", format!("/api/v1/rooms/{room}/participants"), json!({ "userIds": ["bob"] })),
        ("moderate", "POST", format!("/api/v1/rooms/{room}/join"), json!({ "userId": "bob" })),
        ("moderate", "POST", format!("/api/v1/rooms/{room}/leave"), json!({ "userId": "bob" })),
        ("moderate", "DELETE", format!("/api/v1/rooms/{room}/participants/bob"), Value::Null),
        ("moderate", "PATCH", format!("/rooms/{room}"), json!({ "name": "n" })),
        ("moderate", "PUT", format!("/rooms/{room}/lock"), json!({ "isLocked": false })),
        ("moderate", "DELETE", format!("/rooms/{room}/participants/bob"), Value::Null),
        ("never", "POST", "/api/v1/publish".into(), json!({ "all": true, "data": 1 })),
        ("never", "POST", "/api/v1/publish".into(), json!({ "users": ["bob"], "data": 1 })),
        ("never", "POST", "/api/v1/publish".into(), json!({ "rooms": [room, "tea"], "data": 1 })),
        ("never", "POST", "/api/v1/rooms".into(), json!({})),
        ("never", "GET", "/api/v1/rooms".into(), Value::Null),
        ("never", "GET", format!("/api/v1/rooms?prefix={room}"), Value::Null),
        ("never", "GET", "/websocket/users/connected".into(), Value::Null),
        ("never", "POST", "/websocket/message/user".into(), json!({ "userId": "bob", "type": "x" })),
        ("always", "GET", "/presence/ann".into(), Value::Null),
        ("always", "GET", "/websocket/me/status".into(), Value::Null),
        ("always", "POST", format!("/rooms/{room}/leave"), json!({})),
    ]
}

fn seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_secs()
}

fn granted(user: &str, rooms: &str, can: &[&str]) -> String {
    token(user, &json!({ "scope": "push", "grants": [{ "rooms": rooms, "can": can }] }))
}

fn status(server: &Server, token: &str, (method, path, body): (&str, &str, &Value)) -> (u16, Value) {
    let body = (!body.is_null()).then(|| body.to_string());
    let answer = ask(&server.address, method, path, &[&bearer(token)], body.as_deref());
    let code =
        if answer.status < 400 || answer.text().is_empty() { Value::Null } else { answer.json()["code"].clone() };
    (answer.status, code)
}

/// Compares outcomes with the grants; the cases that are not as expected.
fn check_table(server: &Server, other: &Server) -> Vec<String> {
    let mut unexpected = Vec::new();
    let room = "order-1";
    // A member that others can be sent to, and whose room it is not: it has no host.
    let mut bob = Client::connect(&server.address, Some(&token("bob", &json!({}))));
    bob.join(room, "p");
    for grant in ACTIONS {
        let bearer = granted("ann", "order-*", &["join", grant]);
        for dialect in DIALECTS {
            let mut ann = Speaker::connect(other, dialect, &bearer);
            if ann.join(room, None) != Value::Null || ann.join("tea", None) != "FORBIDDEN" {
                unexpected.push(format!("{dialect}: join with {grant}"));
            }
            for (action, request) in requests(room).into_iter().filter(|(_, request)| request.is_in(dialect)) {
                let code = ann.ask(&request);
                if (code == "FORBIDDEN") == action.split(" or ").any(|action| action == grant) {
                    unexpected.push(format!("{dialect}: {action} with {grant}: {code} {:?}", request.raw));
                }
            }
        }
        for (action, method, path, body) in calls(room) {
            let bearer = granted("cyd", "order-*", &[grant]);
            let (status, code) = status(other, &bearer, (method, &path, &body));
            let is_granted = action == grant || action == "always";
            if (status == 403 && code == "FORBIDDEN") == is_granted {
                unexpected.push(format!("{method} {path} with {grant}: {status} {code}"));
            }
        }
    }
    unexpected
}

#[test]
fn grants_permit_what_they_name_in_every_dialect_and_by_rest() {
    with_each_owner(&[], |one, other| assert_eq!(check_table(one, other), Vec::<String>::new()));
}

#[test]
fn required_grants_keep_out_those_without() {
    with_each_owner(&["rooms.require_grant=true", "auth.guests=true"], |one, other| {
        let plain = token("ann", &json!({}));
        let admin = token("root", &json!({ "role": "admin" }));
        for dialect in DIALECTS {
            assert_eq!(Speaker::connect(other, dialect, &plain).join("tea", None), "FORBIDDEN", "{dialect}");
            assert_eq!(Speaker::connect(other, dialect, &admin).join("tea", None), Value::Null, "{dialect}");
            let bearer = granted("ann", "*", &["join"]);
            assert_eq!(Speaker::connect(other, dialect, &bearer).join("tea", None), Value::Null, "{dialect}");
        }
        let mut guest = Client::connect(&other.address, None);
        guest.send(&json!({ "type": "join-room", "roomId": "tea" }));
        assert_eq!(guest.wait_for("error")["code"], "FORBIDDEN");
        for (_, method, path, body) in
            calls("tea").into_iter().filter(|(action, _, path, _)| *action != "never" && !path.starts_with("/api/v1"))
        {
            let (status, code) = status(other, &plain, (method, &path, &body));
            let is_of_room = path.contains("rooms");
            assert_eq!(
                status == 403 && code == "FORBIDDEN",
                is_of_room && !path.ends_with("/leave"),
                "{method} {path}"
            );
        }
        let backend = token("billing", &json!({ "scope": "push" }));
        let publish = json!({ "rooms": ["tea"], "data": 1 });
        assert_eq!(status(one, &backend, ("POST", "/api/v1/publish", &publish)).0, 200);
        assert_eq!(status(one, &backend, ("GET", "/rooms/tea", &Value::Null)).0, 403);
    });
}

#[test]
fn token_for_a_room_opens_that_room_to_its_user_until_it_ends() {
    with_each_owner(&["rooms.require_grant=true"], |_, other| {
        let plain = token("ann", &json!({}));
        let good = token("ann", &json!({ "room": "tea" }));
        let bad = [
            ("FORBIDDEN", token("bob", &json!({ "room": "tea" }))),
            ("FORBIDDEN", token("ann", &json!({ "room": "tea*" }))),
            ("FORBIDDEN", token("ann", &json!({}))),
            ("FORBIDDEN", token("ann", &json!({ "room": "tea", "can": ["publish"] }))),
            ("TOKEN_EXPIRED", token("ann", &json!({ "room": "tea", "exp": seconds() - 60 }))),
            ("UNAUTHENTICATED", token("ann", &json!({ "room": "tea", "can": ["dance"] }))),
            ("UNAUTHENTICATED", format!("{good}x")),
        ];
        for dialect in DIALECTS {
            let mut ann = Speaker::connect(other, dialect, &plain);
            for (code, token) in &bad {
                assert_eq!(ann.join("tea", Some(token)), *code, "{dialect}");
            }
            assert_eq!(ann.join("tea", Some(&good)), Value::Null, "{dialect}");
            assert_eq!(ann.join("coffee", None), "FORBIDDEN", "{dialect}");
            for (action, request) in requests("tea") {
                assert_eq!(
                    ann.ask(&request) == "FORBIDDEN",
                    action == "moderate" && dialect == "raw",
                    "{dialect} {action}"
                );
            }
            // Clocks may differ by half a minute.
            let short = token("ann", &json!({ "room": "cake", "exp": seconds() - 28 }));
            assert_eq!(ann.join("cake", Some(&short)), Value::Null, "{dialect}");
            ann.hear_the_end("cake");
            let again = ann.join("cake", None);
            assert!(again == "TOKEN_EXPIRED" || again == "FORBIDDEN", "{dialect}: {again}");
            assert_eq!(ann.join("cake", Some(&token("ann", &json!({ "room": "cake" })))), Value::Null, "{dialect}");
            // To connect, it is good for its room only.
            let mut limited = Speaker::connect(other, dialect, &good);
            assert_eq!([limited.join("tea", None), limited.join("cake", None)], [Value::Null, json!("FORBIDDEN")]);
        }
    });
}

#[test]
fn renewed_token_ends_memberships_that_it_does_not_grant() {
    with_each_owner(&[], |_, other| {
        for dialect in DIALECTS {
            let mut ann = Speaker::connect(other, dialect, &token("ann", &json!({})));
            assert_eq!([ann.join("tea", None), ann.join("order-1", None)], [Value::Null, Value::Null]);
            let narrow = granted("ann", "order-*", &["join"]);
            let renew = json!({ "token": narrow });
            let raw = json!({ "type": "authenticate", "token": narrow });
            let request = Request::of(raw, Some(("authenticate", renew.clone())), Some(("authenticate", renew)));
            assert_eq!(ann.ask(&request), Value::Null, "{dialect}");
            ann.hear_the_end("tea");
            assert_eq!([ann.join("tea", None), ann.join("order-1", None)], [json!("FORBIDDEN"), Value::Null]);
        }
    });
}

#[test]
fn recovery_brings_back_what_the_new_token_grants() {
    with_each_owner(&["presence.grace_ms=3000"], |_, other| {
        let open = |token: &str| Client::open(&other.address, &format!("token={token}&events=connect"));
        let mut ann = open(&token("ann", &json!({})));
        let secret = ann.wait_for("connect")["recoveryToken"].clone();
        ann.join("tea", "a");
        ann.join("order-1", "a");
        drop(ann);
        let mut back = open(&granted("ann", "order-*", &["join"]));
        back.send(&json!({ "type": "resume", "recoveryToken": secret }));
        let rooms = back.wait_until(|it| it["type"] == "resumed" || it["type"] == "error")["rooms"].clone();
        assert_eq!(rooms["order-1"]["recovered"], true, "{rooms}");
        assert!(rooms["tea"].to_string().contains("FORBIDDEN"), "{rooms}");
    });
}

#[test]
fn malformed_grants_are_refused_with_the_token() {
    let server = Server::of_shards(1, &[]);
    let good = json!([{ "rooms": "a", "can": ["join"] }]);
    let many: Vec<Value> = (0..257).map(|_| json!({ "rooms": "a", "can": [] })).collect();
    for (grants, status_expected) in [
        (good, 200),
        (json!([]), 200),
        (Value::Null, 401),
        (json!("a"), 401),
        (json!({ "rooms": "a", "can": ["join"] }), 401),
        (json!(["a"]), 401),
        (json!([{ "rooms": "a" }]), 401),
        (json!([{ "rooms": "a", "can": "join" }]), 401),
        (json!([{ "rooms": ["a"], "can": ["join"] }]), 401),
        (json!([{ "rooms": "a", "can": ["dance"] }]), 401),
        (json!([{ "rooms": "", "can": ["join"] }]), 401),
        (json!([{ "rooms": "a\nb", "can": ["join"] }]), 401),
        (json!([{ "rooms": "a", "can": ["join"], "until": 1 }]), 401),
        (json!(many), 401),
    ] {
        let bearer = token("ann", &json!({ "grants": grants }));
        let (status, code) = status(&server, &bearer, ("GET", "/websocket/me/status", &Value::Null));
        assert_eq!(status, status_expected, "{grants} {code}");
    }
}
