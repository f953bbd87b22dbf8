//! Calls about users: connections, presence, push; with several shards, so that users, their connections and the caller
//! are on different threads.

use serde_json::{Value, json};

use support::client::{Client, End};
use support::http::{Http, Response, ask, bearer, request};
use support::server::{Server, token};

/// Users enough for each shard to be home to one of them.
const USERS: [&str; 6] = ["ann", "bo", "cy", "di", "ed", "flo"];

struct PeopleTest {
    server: Server,
    /// An admin's token line, and one with the scope `push`.
    root: String,
    pusher: String,
}

impl PeopleTest {
    fn new() -> Self {
        Self::with_presence("presence.scope=none")
    }

    /// With presence that users see in other ways than usual here.
    fn with_presence(scope: &str) -> Self {
        let settings = [scope, "rooms.create_on_join=always", "limits.rest_per_minute=0"];
        let mut arguments = vec!["--shards", "3"];
        for setting in settings {
            arguments.extend(["--set", setting]);
        }
        let server = Server::start(&arguments);
        let root = bearer(&token("root", &json!({ "role": "admin" })));
        let pusher = bearer(&token("service", &json!({ "scope": "read push" })));
        Self { server, root, pusher }
    }

    /// A connection that is known to its user's keeper: its greeting says so.
    fn connect(&self, user: &str) -> Client {
        Client::connect(&self.server.address, Some(&token(user, &json!({}))))
    }

    /// A connection that calls itself `socket`.
    fn connect_as(&self, user: &str, socket: &str, agent: &str) -> Http {
        let mut http = Http::connect(&self.server.address);
        let agent = format!("User-Agent: {agent}");
        let line = bearer(&token(user, &json!({})));
        let upgrade = ["Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13"];
        let mut headers = vec![line.as_str(), agent.as_str(), "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="];
        headers.extend(upgrade);
        http.write(request("GET", &format!("/ws?events=all&socketId={socket}"), &headers, None));
        assert_eq!(http.answer().status, 101);
        http
    }

    fn ask(&self, method: &str, path: &str, line: &str, body: Option<Value>) -> Response {
        let body = body.map(|body| body.to_string());
        ask(&self.server.address, method, path, &[line], body.as_deref())
    }

    /// The answer to a call that is granted.
    fn granted(&self, method: &str, path: &str, line: &str, body: Option<Value>) -> Value {
        let response = self.ask(method, path, line, body);
        assert!((200..300).contains(&response.status), "{method} {path}: {} {}", response.status, response.text());
        response.json()
    }

    #[track_caller]
    fn refused(&self, method: &str, path: &str, line: &str, body: Option<Value>, expected: (u16, &str)) {
        let response = self.ask(method, path, line, body);
        assert_eq!((response.status, response.code().as_str()), expected, "{method} {path}: {}", response.text());
        assert_eq!(response.json()["success"], false);
    }

    /// A user's connections, once there are so many.
    fn connections(&self, user: &str, count: usize) -> Vec<Value> {
        let until = std::time::Instant::now() + support::client::PATIENCE;
        loop {
            let answer = self.granted("GET", &format!("/connections/{user}"), &own(user), None);
            let list = answer["connections"].as_array().expect("a list").clone();
            if list.len() == count {
                return list;
            }
            assert!(std::time::Instant::now() < until, "{user} has {} connections, not {count}", list.len());
        }
    }
}

/// A user's own token line.
fn own(user: &str) -> String {
    bearer(&token(user, &json!({})))
}

fn is_date(value: &Value) -> bool {
    value.as_str().is_some_and(|text| humantime::parse_rfc3339(text).is_ok())
}

#[test]
fn connections_of_a_user_are_shown_to_owner_and_admins() {
    let stage = PeopleTest::new();
    for user in USERS {
        let mut clients: Vec<Client> = (0..3).map(|_| stage.connect(user)).collect();
        clients[1].join("r", user);
        clients[1].join("s", user);
        let list = stage.connections(user, 3);
        let of = |client: &Client| list.iter().find(|shown| shown["connectionId"] == client.id()).expect("it is there");
        for shown in clients.iter().map(of) {
            let keys: Vec<&str> = shown.as_object().expect("an object").keys().map(String::as_str).collect();
            let fields = ["connectedAt", "connectionId", "deviceInfo", "dialect", "ipAddress", "lastSeen", "rooms"];
            assert_eq!(keys, [&fields[..], &["transport", "userAgent"]].concat());
            assert_eq!((&shown["transport"], &shown["dialect"]), (&json!("websocket"), &json!("raw")));
            assert_eq!((&shown["ipAddress"], &shown["deviceInfo"]), (&json!("127.0.0.1"), &Value::Null));
            assert!(is_date(&shown["connectedAt"]) && is_date(&shown["lastSeen"]), "{shown}");
        }
        assert_eq!((&of(&clients[0])["rooms"], &of(&clients[1])["rooms"]), (&json!([]), &json!(["r", "s"])));
        assert!(list.is_sorted_by_key(|shown| shown["connectedAt"].as_str()), "oldest first");
        let path = format!("/connections/{user}");
        assert_eq!(stage.granted("GET", &path, &stage.root, None)["connections"].as_array().map(Vec::len), Some(3));
        stage.refused("GET", &path, &own("eve"), None, (403, "FORBIDDEN"));
        stage.refused("GET", &path, &stage.pusher, None, (403, "FORBIDDEN"));
    }
    assert_eq!(stage.granted("GET", "/connections/nobody", &stage.root, None), json!({ "connections": [] }));
}

#[test]
fn live_connection_is_registered_by_id() {
    let stage = PeopleTest::new();
    for user in USERS {
        let client = stage.connect(user);
        let device = json!({ "os": "plan 9", "list": [1, null] });
        let body = json!({ "userId": user, "socketId": client.id(), "deviceInfo": device });
        let answer = stage.ask("POST", "/connections", &own(user), Some(body.clone()));
        assert_eq!(answer.status, 201);
        assert_eq!(answer.json(), json!({ "connectionId": client.id(), "status": "connected" }));
        assert_eq!(stage.connections(user, 1)[0]["deviceInfo"], device);
        // Of another user's connection one learns nothing.
        let other = json!({ "userId": "eve", "socketId": client.id(), "deviceInfo": "mine" });
        let answer = stage.granted("POST", "/connections", &own("eve"), Some(other));
        assert_eq!(answer["status"], "pending");
        assert_eq!(stage.connections(user, 1)[0]["deviceInfo"], device);
        stage.refused("POST", "/connections", &own("eve"), Some(body), (403, "FORBIDDEN"));
    }
}

#[test]
fn connection_is_registered_before_and_after_connecting() {
    let stage = PeopleTest::new();
    for user in USERS {
        let register = |socket: &str, device: &str| {
            let body = json!({ "userId": user, "socketId": socket, "deviceInfo": { "is": device } });
            stage.granted("POST", "/connections", &own(user), Some(body))
        };
        assert_eq!(register("before", "early"), json!({ "connectionId": "before", "status": "pending" }));
        let before = stage.connect_as(user, "before", "Netscape/4.0");
        let shown = stage.connections(user, 1).remove(0);
        assert_eq!((&shown["deviceInfo"], &shown["userAgent"]), (&json!({ "is": "early" }), &json!("Netscape/4.0")));
        let after = stage.connect_as(user, "after", "Mosaic/1.0");
        stage.connections(user, 2);
        let answer = register("after", "late");
        let is_it = |shown: &Value| shown["connectionId"] == answer["connectionId"];
        let shown = stage.connections(user, 2).into_iter().find(is_it).expect("it is there");
        assert_eq!(answer, json!({ "connectionId": shown["connectionId"], "status": "connected" }));
        assert_eq!((&shown["deviceInfo"], &shown["userAgent"]), (&json!({ "is": "late" }), &json!("Mosaic/1.0")));
        drop((before, after));
        stage.connections(user, 0);
        assert_eq!(register("after", "again")["status"], "pending");
        assert_eq!(stage.granted("DELETE", "/connections/after", &own(user), None)["message"], "Connection closed");
        stage.refused("DELETE", "/connections/after", &own(user), None, (404, "CONNECTION_NOT_FOUND"));
    }
    let table = [
        (json!({ "userId": "ann" }), 422, "INVALID_MESSAGE"),
        (json!({ "socketId": "s" }), 422, "INVALID_MESSAGE"),
        (json!({ "userId": "ann", "socketId": "" }), 422, "INVALID_MESSAGE"),
        (json!({ "userId": "ann", "socketId": "s", "deviceInfo": "x".repeat(2048) }), 413, "MESSAGE_TOO_LARGE"),
    ];
    for (body, status, code) in table {
        stage.refused("POST", "/connections", &own("ann"), Some(body), (status, code));
    }
    for number in 0..20 {
        let body = json!({ "userId": "greedy", "socketId": format!("s{number}") });
        stage.granted("POST", "/connections", &own("greedy"), Some(body));
    }
    let body = json!({ "userId": "greedy", "socketId": "one more" });
    stage.refused("POST", "/connections", &own("greedy"), Some(body), (429, "RATE_LIMITED"));
    let mut http = Http::connect(&stage.server.address);
    let line = own("ann");
    let headers = [line.as_str(), "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13"];
    let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";
    http.write(request("GET", "/ws?socketId=%00", &[&headers[..], &[key]].concat(), None));
    assert_eq!(http.answer().status, 422);
}

fn removed(client: &mut Client) {
    let told = client.wait_for("disconnect");
    assert_eq!((&told["reason"], &told["reconnect"]), (&json!("removed"), &json!(false)));
    assert!(told.get("roomId").is_none());
    assert_eq!(client.end(), End::Close(4410, "removed".to_owned()));
}

#[test]
fn connection_is_closed_by_its_user_or_an_admin() {
    let stage = PeopleTest::new();
    for user in USERS {
        let (mut first, mut second, mut third) = (stage.connect(user), stage.connect(user), stage.connect(user));
        let path = |client: &Client| format!("/connections/{}", client.id());
        stage.refused("DELETE", &path(&first), &own("eve"), None, (403, "FORBIDDEN"));
        let closed = json!({ "message": "Connection closed" });
        assert_eq!(stage.granted("DELETE", &path(&first), &own(user), None), closed);
        removed(&mut first);
        stage.refused("DELETE", &path(&first), &own(user), None, (404, "CONNECTION_NOT_FOUND"));
        assert_eq!(stage.granted("DELETE", &path(&second), &stage.root, None), closed);
        removed(&mut second);
        stage.connections(user, 1);
        // All that a user has, at once.
        let all = format!("/websocket/users/{user}/disconnect");
        stage.refused("DELETE", &all, &own("eve"), None, (403, "FORBIDDEN"));
        let fourth = &mut stage.connect(user);
        let answer = stage.granted("DELETE", &all, &stage.root, None);
        assert_eq!(answer, json!({ "success": true, "message": "User disconnected", "disconnected": 2 }));
        removed(&mut third);
        removed(fourth);
        stage.refused("DELETE", &all, &own(user), None, (404, "USER_NOT_FOUND"));
    }
    for unknown in ["nothing", "AAAAAAAAAAAAAAAAAAAAAAAA", "AAD_AAAAAAAAAAAAAAAAAAAA"] {
        let path = format!("/connections/{unknown}");
        stage.refused("DELETE", &path, &stage.root, None, (404, "CONNECTION_NOT_FOUND"));
    }
}

#[test]
fn presence_is_readable_by_all_and_set_by_owner_or_admin() {
    let stage = PeopleTest::with_presence("presence.scope=all");
    for user in USERS {
        let path = format!("/presence/{user}");
        let look = |line: &str| stage.granted("GET", &path, line, None);
        let unknown = json!({ "userId": user, "status": "offline", "lastSeen": null, "connections": 0 });
        assert_eq!(look(&own("eve")), unknown);
        let clients = (stage.connect(user), stage.connect(user));
        let shown = look(&own("eve"));
        assert_eq!((&shown["userId"], &shown["status"]), (&json!(user), &json!("online")));
        assert_eq!((&shown["connections"], is_date(&shown["lastSeen"])), (&json!(2), true), "{shown}");
        assert_eq!(shown.as_object().map(serde_json::Map::len), Some(4));
        let body = json!({ "status": "away", "lastSeen": "2024-01-01T00:00:00.000Z" });
        assert_eq!(stage.granted("PUT", &path, &own(user), Some(body)), json!({ "userId": user, "status": "away" }));
        let shown = look(&own("eve"));
        assert_eq!((&shown["status"], &shown["lastSeen"]), (&json!("away"), &json!("2024-01-01T00:00:00.000Z")));
        stage.refused("PUT", &path, &own("eve"), Some(json!({ "status": "busy" })), (403, "FORBIDDEN"));
        let body = Some(json!({ "status": "offline", "lastSeen": 1_704_067_200_000_u64 }));
        assert_eq!(stage.granted("PUT", &path, &stage.root, body), json!({ "userId": user, "status": "offline" }));
        // Who seems offline seems so, but to themselves and to admins.
        for (line, connections) in [(own("eve"), 0), (own(user), 2), (stage.root.clone(), 2)] {
            let shown = look(&line);
            assert_eq!((&shown["status"], &shown["connections"]), (&json!("offline"), &json!(connections)));
        }
        drop(clients);
    }
    for body in [json!({}), json!({ "status": "asleep" }), json!({ "status": "away", "lastSeen": "soon" })] {
        stage.refused("PUT", "/presence/ann", &own("ann"), Some(body), (422, "INVALID_MESSAGE"));
    }
}

#[test]
fn presence_of_absent_user_keeps_last_seen_that_backend_sets() {
    let stage = PeopleTest::with_presence("presence.scope=all");
    for user in USERS {
        let path = format!("/presence/{user}");
        let shown = |last_seen: &str| {
            let status = json!({ "userId": user, "status": "offline", "lastSeen": last_seen, "connections": 0 });
            assert_eq!(stage.granted("GET", &path, &own("eve"), None), status);
            // Both calls know the same users.
            let status = stage.granted("GET", &format!("/websocket/users/{user}/status"), &own("eve"), None);
            assert_eq!((&status["connected"], &status["lastSeen"]), (&json!(false), &json!(last_seen)), "{status}");
        };
        let set = |line: &str, body: Value| stage.granted("PUT", &path, line, Some(body));
        stage.refused("PUT", &path, &own("eve"), Some(json!({ "status": "away" })), (403, "FORBIDDEN"));
        // A user that the server has never seen.
        let body = json!({ "status": "offline", "lastSeen": "2024-01-01T00:00:00.000Z" });
        assert_eq!(set(&stage.root, body), json!({ "userId": user, "status": "offline" }));
        shown("2024-01-01T00:00:00.000Z");
        set(&own(user), json!({ "status": "away" }));
        shown("2024-01-01T00:00:00.000Z");
        // A user that has left.
        stage.connect(user).close();
        stage.connections(user, 0);
        let left = stage.granted("GET", &path, &own("eve"), None);
        assert!(left["lastSeen"].as_str() > Some("2024-01-01T00:00:00.000Z"), "{left}");
        set(&stage.root, json!({ "status": "offline", "lastSeen": 1_706_745_600_000_u64 }));
        shown("2024-02-01T00:00:00.000Z");
    }
}

#[test]
fn broadcast_reaches_every_connection_on_every_shard() {
    let stage = PeopleTest::new();
    let mut clients: Vec<Client> = (0..12).map(|number| stage.connect(USERS[number % USERS.len()])).collect();
    let body = json!({ "message": { "text": "Tea is ready" }, "type": "announcement" });
    stage.refused("POST", "/broadcast", &own("ann"), Some(body.clone()), (403, "FORBIDDEN"));
    stage.refused("POST", "/broadcast", &stage.pusher, Some(body.clone()), (403, "FORBIDDEN"));
    let sent = stage.granted("POST", "/broadcast", &stage.root, Some(body));
    assert_eq!(sent, json!({ "message": "Broadcast sent" }));
    let body = json!({ "type": "system", "data": { "message": "Welcome", "level": "info" } });
    let sent = stage.granted("POST", "/websocket/message/broadcast", &stage.pusher, Some(body));
    let text = "Message broadcast to all users";
    assert_eq!(sent, json!({ "success": true, "message": text, "delivered": 12, "offline": [] }));
    let mut ids = Vec::new();
    for client in &mut clients {
        let (first, second) = (client.next(), client.next());
        assert_eq!((&first["type"], &first["sender"]), (&json!("message"), &json!("root")));
        assert_eq!((&first["messageType"], &first["data"]["text"]), (&json!("announcement"), &json!("Tea is ready")));
        assert_eq!((&second["messageType"], &second["sender"]), (&json!("system"), &json!("service")));
        assert_eq!(second["data"], json!({ "message": "Welcome", "level": "info" }));
        ids.push((first["id"].clone(), second["id"].clone()));
    }
    assert!(ids.iter().all(|pair| *pair == ids[0]), "it is one message for all");
    for body in [json!({}), json!({ "message": null }), json!({ "message": 1, "type": "" })] {
        stage.refused("POST", "/broadcast", &stage.root, Some(body), (422, "INVALID_MESSAGE"));
    }
    let long = json!({ "message": "x".repeat(17_000) });
    stage.refused("POST", "/broadcast", &stage.root, Some(long), (413, "MESSAGE_TOO_LARGE"));
}

#[test]
fn push_reaches_all_connections_and_reports_absent_users() {
    let stage = PeopleTest::new();
    for user in USERS {
        let mut clients = [stage.connect(user), stage.connect(user)];
        let body = json!({ "userId": user, "type": "chat", "data": { "message": "Hello!", "sender": "system" } });
        let sent = stage.granted("POST", "/websocket/message/user", &stage.root, Some(body));
        let text = "Message sent to user";
        assert_eq!(sent, json!({ "success": true, "message": text, "delivered": 2, "offline": [] }));
        let body = json!({
            "userId": user, "title": "New Message", "body": "You have received a new message",
            "data": { "category": "message", "priority": "normal" }
        });
        let sent = stage.granted("POST", "/websocket/notification", &stage.pusher, Some(body));
        assert_eq!((&sent["delivered"], &sent["message"]), (&json!(2), &json!("Notification sent")));
        for client in &mut clients {
            let (chat, notification) = (client.next(), client.next());
            assert_eq!((&chat["type"], &chat["messageType"]), (&json!("message"), &json!("chat")));
            assert_eq!(chat["data"], json!({ "message": "Hello!", "sender": "system" }));
            assert_eq!(notification["messageType"], "notification");
            let data = json!({
                "title": "New Message", "body": "You have received a new message",
                "category": "message", "priority": "normal"
            });
            assert_eq!(notification["data"], data);
        }
    }
    let mut clients: Vec<Client> = USERS.iter().map(|user| stage.connect(user)).collect();
    let mut users: Vec<&str> = USERS.to_vec();
    users.extend(["gone", "ann", "never"]);
    let body = json!({ "userIds": users, "type": "announcement", "data": null });
    let sent = stage.granted("POST", "/websocket/message/users", &stage.root, Some(body));
    let mut offline: Vec<&str> = sent["offline"].as_array().expect("a list").iter().filter_map(Value::as_str).collect();
    offline.sort_unstable();
    assert_eq!((offline, &sent["message"]), (vec!["gone", "never"], &json!("Message sent to users")));
    // Connections that were dropped a moment ago may still have been there.
    assert!(sent["delivered"].as_u64().is_some_and(|count| count >= 6), "{sent}");
    for client in &mut clients {
        assert_eq!(client.next()["messageType"], "announcement");
    }
}

#[test]
fn push_requires_admin_or_push_scope() {
    let stage = PeopleTest::new();
    let push = json!({ "userId": "ann", "type": "chat" });
    let table = [
        ("POST", "/websocket/message/user", Some(push)),
        ("POST", "/websocket/message/users", Some(json!({ "userIds": ["ann"], "type": "chat" }))),
        ("POST", "/websocket/message/broadcast", Some(json!({ "type": "chat" }))),
        ("POST", "/websocket/notification", Some(json!({ "userId": "ann", "title": "t", "body": "b" }))),
        ("GET", "/websocket/users/connected", None),
    ];
    for (method, path, body) in table {
        stage.refused(method, path, &own("ann"), body.clone(), (403, "FORBIDDEN"));
        stage.refused(method, path, "X-Nothing: 1", body.clone(), (401, "UNAUTHENTICATED"));
        for line in [&stage.root, &stage.pusher] {
            stage.granted(method, path, line, body.clone());
        }
        if method == "POST" {
            stage.refused(method, path, &stage.root, None, (422, "INVALID_MESSAGE"));
            stage.refused(method, path, &stage.root, Some(json!({})), (422, "INVALID_MESSAGE"));
            let response = ask(&stage.server.address, "PUT", path, &[&stage.root], None);
            assert_eq!((response.status, response.header("allow")), (405, Some("POST, OPTIONS")));
        }
    }
    let long = json!({ "userId": "ann", "type": "chat", "data": "x".repeat(17_000) });
    stage.refused("POST", "/websocket/message/user", &stage.root, Some(long), (413, "MESSAGE_TOO_LARGE"));
    stage.refused("GET", "/websocket/users/connected?limit=0", &stage.root, None, (422, "INVALID_MESSAGE"));
}

#[test]
fn connected_users_are_listed_page_by_page() {
    let stage = PeopleTest::new();
    let _clients: Vec<Client> = (0..9).map(|number| stage.connect(USERS[number % USERS.len()])).collect();
    let page = |query: &str| stage.granted("GET", &format!("/websocket/users/connected{query}"), &stage.pusher, None);
    let all = page("");
    let user = |user: &str, connections| json!({ "userId": user, "status": "online", "connections": connections });
    let expected: Vec<Value> =
        USERS.iter().enumerate().map(|(number, name)| user(name, if number < 3 { 2 } else { 1 })).collect();
    assert_eq!(all, json!({ "success": true, "users": expected, "total": 6 }));
    let (mut seen, mut query) = (Vec::new(), "?limit=4".to_owned());
    loop {
        let next = page(&query);
        assert_eq!(next["total"], 6);
        seen.extend(next["users"].as_array().expect("a list").clone());
        let Some(last) = next.get("next").and_then(Value::as_str) else { break };
        query = format!("?limit=4&after={last}");
    }
    assert_eq!(seen, expected);
}

#[test]
fn connection_status_is_readable_by_every_user() {
    let stage = PeopleTest::with_presence("presence.scope=all");
    for user in USERS {
        let client = stage.connect(user);
        let path = format!("/websocket/users/{user}/status");
        let shown = stage.granted("GET", &path, &own("eve"), None);
        assert_eq!((&shown["success"], &shown["connected"]), (&json!(true), &json!(true)));
        assert_eq!((&shown["status"], &shown["connections"]), (&json!("online"), &json!(1)));
        assert_eq!(stage.granted("GET", "/websocket/me/status", &own(user), None)["userId"], user);
        client.close();
        stage.connections(user, 0);
        let gone = stage.granted("GET", &path, &own("eve"), None);
        assert_eq!((&gone["success"], &gone["connected"]), (&json!(true), &json!(false)), "{gone}");
        assert_eq!((&gone["status"], &gone["connections"]), (&json!("offline"), &json!(0)));
        assert!(gone["lastSeen"].is_string(), "the store knows: {gone}");
        assert_eq!(stage.granted("GET", "/websocket/me/status", &own(user), None), gone);
    }
    stage.refused("GET", "/websocket/me/status", "X-Nothing: 1", None, (401, "UNAUTHENTICATED"));
}
