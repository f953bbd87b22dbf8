//! Queries of `colon` clients and their results, field by field, with one shard and with several.

use serde_json::{Value, json};

use support::client::Client;
use support::engineio::Socket;
use support::http::{ask, bearer};
use support::process::wait_until;
use support::server::{Server, token};

/// A client of `colon` that waits for its acks.
struct QueryClient {
    socket: Socket,
    id: String,
    asked: u64,
}

impl QueryClient {
    fn connect(server: &Server, user: &str, claims: &Value) -> Self {
        let mut socket = Socket::open(&server.address, "/socket.io/");
        socket.send(&format!("40/chat,{}", json!({ "token": token(user, claims) })));
        let accepted = loop {
            let packet = socket.next();
            if let Some(object) = packet.strip_prefix("40/chat,") {
                break serde_json::from_str::<Value>(object).expect("JSON");
            }
        };
        Self { socket, id: accepted["sid"].as_str().expect("a sid").to_owned(), asked: 0 }
    }

    /// Asks and waits for the answer; what else comes is passed over.
    fn ask(&mut self, name: &str, argument: &Value) -> Value {
        self.asked += 1;
        self.socket.send(&format!("42/chat,{}{}", self.asked, json!([name, argument])));
        let beginning = format!("43/chat,{}[", self.asked);
        loop {
            let packet = self.socket.next();
            if let Some(rest) = packet.strip_prefix(&beginning) {
                return serde_json::from_str(rest.strip_suffix(']').expect("an array")).expect("JSON");
            }
        }
    }

    /// Asks for something that is refused; the code and the message.
    fn refused(&mut self, name: &str, argument: &Value) -> (String, String) {
        let answer = self.ask(name, argument);
        assert_eq!(answer["success"], false, "{name}: {answer}");
        let text = |field: &str| answer[field].as_str().expect("text").to_owned();
        (text("code"), text("message"))
    }

    fn join(&self, server: &Server, user: &str, room: &str) {
        let bearer = bearer(&token(user, &json!({})));
        let body = json!({ "connectionId": self.id }).to_string();
        let answer = ask(&server.address, "POST", &format!("/rooms/{room}/join"), &[&bearer], Some(&body));
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
}

fn raw(server: &Server, user: &str) -> Client {
    Client::connect(&server.address, Some(&token(user, &json!({}))))
}

/// The names of an object's fields, in order.
fn fields(value: &Value) -> Vec<&str> {
    let mut fields: Vec<&str> = value.as_object().expect("an object").keys().map(String::as_str).collect();
    fields.sort_unstable();
    fields
}

fn is_instant(value: &Value) -> bool {
    value.as_str().is_some_and(|text| text.len() == 24 && text.ends_with('Z'))
}

const CHAT_NOT_FOUND: &str = "Chat not found or access denied";

#[test]
fn room_queries_return_rooms_and_users() {
    for shards in [1, 3] {
        let server = Server::of_shards(shards, &[]);
        let host = bearer(&token("ada", &json!({})));
        let body = json!({ "name": "Tea", "participants": ["ada", "bob", "cyd"], "isPrivate": true }).to_string();
        let made = ask(&server.address, "POST", "/rooms", &[&host], Some(&body)).json();
        let private = made["room"]["id"].as_str().unwrap_or_else(|| panic!("{made}")).to_owned();
        let mut ada = raw(&server, "ada");
        ada.join("open", "ada");
        let mut second = raw(&server, "ada");
        second.join("open", "ada-2");
        let mut bob = QueryClient::connect(&server, "bob", &json!({ "username": "Bob" }));
        bob.join(&server, "bob", "open");
        let answer = bob.ask("room:info", &json!({ "chatId": "open" }));
        let info = &answer["roomInfo"];
        assert_eq!(
            (&answer["success"], &info["chatId"], &info["name"]),
            (&json!(true), &json!("open"), &json!("open"))
        );
        assert_eq!(
            (&info["participantCount"], &info["onlineCount"], &info["isActive"]),
            (&json!(3), &json!(2), &json!(true))
        );
        assert!(is_instant(&info["lastActivity"]));
        let last = bob.ask("room:info", &json!({ "chatId": "open" }));
        assert_eq!(last["roomInfo"]["lastActivity"], info["lastActivity"], "looking is no activity");
        let info = &bob.ask("room:info", &json!({ "chatId": private }))["roomInfo"];
        assert_eq!(
            (&info["name"], &info["participantCount"], &info["onlineCount"]),
            (&json!("Tea"), &json!(3), &json!(0))
        );

        let answer = bob.ask("room:list", &json!({}));
        let mut listed: Vec<&str> =
            answer["rooms"].as_array().expect("rooms").iter().filter_map(|room| room["chatId"].as_str()).collect();
        listed.sort_unstable();
        let mut expected = ["open", private.as_str()];
        expected.sort_unstable();
        assert_eq!(listed, expected);
        assert_eq!(fields(&answer["rooms"][0]), ["chatId", "lastActivity", "name", "participantCount"]);

        let answer = bob.ask("room:online", &json!({ "chatId": "open" }));
        let users = answer["onlineUsers"].as_array().expect("users");
        let names: Vec<_> = users.iter().map(|user| (user["userId"].as_str(), user["username"].as_str())).collect();
        assert_eq!(names, [(Some("ada"), Some("ada")), (Some("bob"), Some("Bob"))]);
        assert_eq!(fields(&users[0]), ["connectedAt", "lastSeen", "status", "userId", "username"]);
        assert!(is_instant(&users[0]["connectedAt"]) && is_instant(&users[0]["lastSeen"]));
        assert_eq!(answer.get("next"), None);
        let first = bob.ask("room:online", &json!({ "chatId": "open", "limit": 1 }));
        assert_eq!((&first["onlineUsers"][0]["userId"], &first["next"]), (&json!("ada"), &json!("ada")));
        let second = bob.ask("room:online", &json!({ "chatId": "open", "limit": 1, "after": "ada" }));
        assert_eq!((&second["onlineUsers"][0]["userId"], second.get("next")), (&json!("bob"), None));

        let mut eve = QueryClient::connect(&server, "eve", &json!({}));
        assert_eq!(eve.ask("room:list", &json!({}))["rooms"], json!([]));
        for name in ["room:info", "room:online"] {
            for room in ["nowhere", private.as_str()] {
                assert_eq!(eve.refused(name, &json!({ "chatId": room })).1, CHAT_NOT_FOUND, "{name} {room}");
            }
            assert_eq!(eve.refused(name, &json!({})).1, "Invalid request data", "{name}");
        }
        assert_eq!(eve.refused("room:online", &json!({ "chatId": "open", "limit": "x" })).0, "INVALID_MESSAGE");
    }
}

#[test]
fn typing_and_receipt_queries_are_answered_to_members() {
    for shards in [1, 3] {
        let data = support::directory::Directory::new();
        let path = data.text();
        let server = Server::of_shards(shards, &[&format!("data_dir={path}"), "rooms.history=true"]);
        let mut ada = raw(&server, "ada");
        ada.join("tea", "ada");
        let mut cyd = raw(&server, "cyd");
        cyd.join("tea", "cyd");
        let mut bob = QueryClient::connect(&server, "bob", &json!({}));
        bob.join(&server, "bob", "tea");
        assert_eq!(bob.ask("message:typing-users", &json!({ "chatId": "tea" }))["typingUsers"], json!([]));
        ada.send(&json!({ "type": "typing", "roomId": "tea", "isTyping": true }));
        cyd.wait_for("typing");
        let answer = bob.ask("message:typing-users", &json!({ "chatId": "tea" }));
        let typist = &answer["typingUsers"][0];
        assert_eq!(fields(typist), ["chatId", "startedAt", "userId", "username"]);
        assert_eq!((&typist["userId"], &typist["chatId"]), (&json!("ada"), &json!("tea")));

        ada.send(&json!({ "type": "message", "roomId": "tea", "content": "hi" }));
        let sent = ada.wait_for("message-sent");
        let sent = sent["id"].as_str().unwrap_or_else(|| panic!("{sent}")).to_owned();
        let stats = |typing, tracked, delivered, read| {
            json!({ "activeTypingUsers": typing, "trackedMessages": tracked, "totalDelivered": delivered,
                "totalRead": read })
        };
        let status =
            |bob: &mut QueryClient| bob.ask("message:delivery-status", &json!({ "messageId": sent }))["status"].clone();
        let known = status(&mut bob);
        assert_eq!(fields(&known), ["deliveredTo", "lastUpdate", "messageId", "readBy", "sentAt"]);
        assert_eq!((&known["deliveredTo"], &known["readBy"]), (&json!([]), &json!([])));
        cyd.send(&json!({ "type": "delivered", "roomId": "tea", "messageId": sent }));
        ada.wait_for("delivered");
        cyd.send(&json!({ "type": "read-receipt", "roomId": "tea", "messageId": sent }));
        ada.wait_for("read-receipt");
        let known = status(&mut bob);
        assert_eq!((&known["deliveredTo"], &known["readBy"]), (&json!(["cyd"]), &json!(["cyd"])));
        let counted = bob.ask("message:stats", &json!({}))["stats"].clone();
        assert!(counted == stats(1, 1, 1, 1) || counted == stats(0, 1, 1, 1), "{counted}");

        let mut eve = QueryClient::connect(&server, "eve", &json!({}));
        assert_eq!(eve.refused("message:typing-users", &json!({ "chatId": "tea" })).1, CHAT_NOT_FOUND);
        assert_eq!(eve.refused("message:delivery-status", &json!({ "messageId": sent })).1, CHAT_NOT_FOUND);
        let unknown = json!({ "messageId": "0197c1d0-0000-7000-8000-000000000000" });
        assert_eq!(eve.refused("message:delivery-status", &unknown).0, "MESSAGE_NOT_FOUND");
        assert_eq!(eve.refused("message:delivery-status", &json!({ "messageId": "x" })).0, "MESSAGE_NOT_FOUND");
        assert_eq!(eve.refused("message:delivery-status", &json!({})).1, "Invalid request data");
    }
}

#[test]
fn online_queries_return_users_and_counts() {
    for shards in [1, 3] {
        let server = Server::of_shards(shards, &["presence.scope=all"]);
        let mut ada = raw(&server, "ada");
        let claims = json!({ "username": "Bob", "email": "bob@example.org" });
        let mut bob = QueryClient::connect(&server, "bob", &claims);
        let mut root = QueryClient::connect(&server, "root", &json!({ "role": "admin" }));
        ada.send(&json!({ "type": "presence", "status": "away" }));
        wait_until("the status is known", || bob.ask("presence:stats", &json!({}))["stats"]["awayUsers"] == 1);
        let expected = json!({ "totalUsers": 3, "onlineUsers": 2, "awayUsers": 1, "busyUsers": 0, "offlineUsers": 0 });
        assert_eq!(bob.ask("presence:stats", &json!({}))["stats"], expected);
        let users = bob.ask("presence:online-users", &json!({}));
        let list: Vec<_> =
            users["users"].as_array().expect("users").iter().map(|user| (&user["userId"], &user["status"])).collect();
        let (online, away) = (json!("online"), json!("away"));
        assert_eq!(list, [(&json!("ada"), &away), (&json!("bob"), &online), (&json!("root"), &online)]);
        let page = bob.ask("presence:online-users", &json!({ "limit": 1, "after": "ada" }));
        assert_eq!((&page["users"][0]["userId"], &page["next"]), (&json!("bob"), &json!("bob")));

        for asker in [&mut bob, &mut root] {
            let known = asker.ask("presence:user-status", &json!({ "userId": "bob" }))["presence"].clone();
            assert_eq!((&known["email"], &known["ipAddress"]), (&json!("bob@example.org"), &json!("127.0.0.1")));
            assert_eq!((&known["username"], &known["userAgent"]), (&json!("Bob"), &Value::Null));
        }
        let own = bob.ask("presence:user-status", &json!({ "userId": "bob" }));
        assert_eq!(own["presence"]["socketId"], bob.id);
        let other = bob.ask("presence:user-status", &json!({ "userId": "ada" }))["presence"].clone();
        assert_eq!(fields(&other), ["connectedAt", "lastSeen", "status", "userId", "username"]);
        assert_eq!(bob.refused("presence:user-status", &json!({ "userId": "nobody" })).0, "USER_NOT_FOUND");
        assert_eq!(bob.refused("presence:user-status", &json!({})).0, "INVALID_MESSAGE");

        ada.send(&json!({ "type": "presence", "status": "offline" }));
        wait_until("the status is known", || bob.ask("presence:stats", &json!({}))["stats"]["offlineUsers"] == 1);
        let users = bob.ask("presence:online-users", &json!({}));
        assert_eq!(users["users"].as_array().map(Vec::len), Some(2), "who seems offline is not listed");
        let hidden = bob.ask("presence:user-status", &json!({ "userId": "ada" }))["presence"].clone();
        assert_eq!((&hidden["status"], &hidden["connectedAt"]), (&json!("offline"), &Value::Null));
    }
}

#[test]
fn session_queries_return_details_and_counts() {
    for shards in [1, 3] {
        let server = Server::of_shards(shards, &[]);
        let mut ada = raw(&server, "ada");
        ada.join("tea", "ada");
        let mut bob = QueryClient::connect(&server, "bob", &json!({}));
        bob.join(&server, "bob", "tea");
        let session = bob.ask("connection:session-info", &json!({}))["sessionInfo"].clone();
        let expected = ["connectedAt", "lastActivity", "messageQueue", "recoveryToken", "rooms", "socketId", "userId"];
        assert_eq!(fields(&session), expected);
        assert_eq!((&session["userId"], &session["socketId"]), (&json!("bob"), &json!(bob.id)));
        assert_eq!(session["rooms"], json!(["tea"]));
        let stats = bob.ask("connection:stats", &json!({}))["stats"].clone();
        let expected = json!({ "activeSessions": 2, "recoveryTokens": 2, "queuedMessages": 0, "averageSessionAge": 0 });
        assert_eq!(stats, expected);
    }
}

#[test]
fn monitoring_queries_return_counters_to_admins() {
    for shards in [1, 3] {
        let server = Server::of_shards(shards, &[]);
        let mut root = QueryClient::connect(&server, "root", &json!({ "role": "admin" }));
        let mut bob = QueryClient::connect(&server, "bob", &json!({}));
        let ada = raw(&server, "ada");
        let ada_id = ada.id().to_owned();
        ada.close();
        assert_eq!(ask(&server.address, "GET", "/healthz", &[], None).json()["status"], "healthy");
        let mut refused = Socket::open(&server.address, "/socket.io/");
        refused.send(r#"40/chat,{"token":"none"}"#);
        assert!(refused.next().starts_with("44/chat,"));
        let expected = |metrics: &Value| {
            let of = |field: &str| metrics[field].as_u64().expect("a number");
            (of("totalConnections"), of("activeConnections"), of("failedConnections"), of("connectionsPerMinute"))
        };
        wait_until("all shards have told", || {
            expected(&bob.ask("monitoring:metrics", &json!({}))["metrics"]) == (3, 2, 1, 3)
        });
        let metrics = bob.ask("monitoring:metrics", &json!({}))["metrics"].clone();
        assert!(metrics["peakConnections"].as_u64().is_some_and(|peak| (2..=3).contains(&peak)), "{metrics}");
        assert!(is_instant(&metrics["lastReset"]) && metrics["averageConnectionDuration"].is_u64());

        let events = root.ask("monitoring:events", &json!({ "userId": "ada" }))["events"].clone();
        let kinds: Vec<_> = events.as_array().expect("events").iter().map(|event| event["type"].as_str()).collect();
        assert_eq!(kinds, [Some("disconnect"), Some("connect")]);
        let names = ["details", "ipAddress", "socketId", "timestamp", "type", "userAgent", "userId"];
        assert_eq!(fields(&events[0]), names);
        assert_eq!((&events[1]["socketId"], &events[1]["ipAddress"]), (&json!(ada_id), &json!("127.0.0.1")));
        let failures = root.ask("monitoring:events", &json!({ "type": "auth_failure", "ip": "127.0.0.1" }));
        assert_eq!(failures["events"].as_array().map(Vec::len), Some(1), "{failures}");
        assert_eq!(root.ask("monitoring:events", &json!({ "limit": 2 }))["events"].as_array().map(Vec::len), Some(2));
        assert_eq!(root.ask("monitoring:events", &json!({ "ip": "10.0.0.1" }))["events"], json!([]));
        assert_eq!(root.refused("monitoring:events", &json!({ "type": "party" })).0, "INVALID_MESSAGE");
        assert_eq!(root.refused("monitoring:events", &json!({ "ip": "here" })).0, "INVALID_MESSAGE");

        let stats = root.ask("monitoring:stats", &json!({}))["stats"].clone();
        assert_eq!(fields(&stats), ["errorRate", "metrics", "recentEvents", "topIPs", "topUserAgents"]);
        assert_eq!(stats["topIPs"], json!([{ "ip": "127.0.0.1", "count": 3 }]));
        assert_eq!(stats["recentEvents"].as_array().map(Vec::len), Some(7), "{stats}");
        assert!(stats["errorRate"].as_f64().is_some_and(|rate| rate > 0.0 && rate < 1.0));

        let health = bob.ask("monitoring:health", &json!({}))["health"].clone();
        assert_eq!(health, json!({ "status": "healthy", "issues": [], "recommendations": [] }));
        for name in ["monitoring:events", "monitoring:stats"] {
            assert_eq!(bob.refused(name, &json!({})).0, "FORBIDDEN");
        }
        let page =
            ask(&server.address, "GET", "/metrics", &[&bearer(&token("root", &json!({ "role": "admin" })))], None);
        assert_eq!(page.status, 200);
        assert!(
            page.text().contains("\n# TYPE switchboard_connections gauge\nswitchboard_connections{dialect=\"raw\"} ")
        );
    }
}

#[test]
fn health_query_near_a_limit_warns() {
    let server = Server::of_shards(1, &["limits.connections=10"]);
    let mut root = QueryClient::connect(&server, "root", &json!({ "role": "admin" }));
    let _others: Vec<Client> = (0..7).map(|number| raw(&server, &format!("user-{number}"))).collect();
    let health = root.ask("monitoring:health", &json!({}))["health"].clone();
    assert_eq!((&health["status"], &health["issues"]), (&json!("warning"), &json!(["Connections: 8 of 10 (80 %)"])));
    assert!(health["recommendations"][0].as_str().is_some_and(|advice| advice.contains("limits.connections")));
    let seen = ask(&server.address, "GET", "/healthz", &[], None).json();
    assert_eq!((&seen["status"], &seen["issues"]), (&json!("warning"), &json!(["Connections: 9 of 10 (90 %)"])));
}
