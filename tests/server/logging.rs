//! The log of the real server: refused connections, rooms and abnormal closes at `info`, each connection's life at `debug`, and
//! filters that an admin sets at runtime. Tokens are never in it.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use support::client::Client;
use support::engineio::Socket;
use support::http::{Response, ask, bearer};
use support::process::wait_until;
use support::redis::RedisServer;
use support::server::{Server, command, token};
use tungstenite::Message;
use tungstenite::protocol::CloseFrame;

/// A server, and the lines that it has logged so far.
struct LoggedServer {
    server: Server,
    lines: Arc<Mutex<Vec<Value>>>,
}

impl LoggedServer {
    fn start(level: &str, settings: &[&str]) -> Self {
        let level = format!("log.level={level}");
        let usual = [
            "log.format=json",
            "audit.format=json",
            "rooms.create_on_join=always",
            "presence.scope=none",
            "drain.seconds=0",
        ];
        let mut arguments = vec!["--shards", "2", "--set", &level];
        usual.iter().chain(settings).for_each(|setting| arguments.extend(["--set", setting]));
        let mut server = Server::spawn(command(&arguments, &[]).stderr(Stdio::piped()));
        let lines = Arc::new(Mutex::new(Vec::new()));
        let (stderr, kept) = (server.stderr().expect("a pipe"), lines.clone());
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let line = serde_json::from_str(&line).unwrap_or_else(|_| panic!("{line} is JSON"));
                kept.lock().expect("the lines").push(line);
            }
        });
        Self { server, lines }
    }

    /// The lines that have this message.
    fn lines(&self, message: &str) -> Vec<Value> {
        let lines = self.lines.lock().expect("the lines");
        lines.iter().filter(|line| line["message"] == message).cloned().collect()
    }

    /// The first line that has this message and these fields, once it is there.
    fn wait_for(&self, message: &str, fields: &Value) -> Value {
        let has_fields = |line: &Value| {
            let fields = fields.as_object().expect("fields");
            fields.iter().all(|(name, value)| line[name] == *value)
        };
        let mut found = None;
        wait_until(&format!("{message} {fields}"), || {
            found = self.lines(message).into_iter().find(has_fields);
            found.is_some()
        });
        found.expect("it was found")
    }

    fn client(&self, user: &str) -> Client {
        Client::connect(&self.server.address, Some(&token(user, &json!({}))))
    }

    fn call(&self, method: &str, path: &str, body: Option<&Value>) -> Response {
        let admin = bearer(&token("root", &json!({ "role": "admin" })));
        let body = body.map(Value::to_string);
        ask(&self.server.address, method, path, &[&admin], body.as_deref())
    }

    fn filter(&self, body: &Value) -> Response {
        self.call("POST", "/api/v1/log-filters", Some(body))
    }

    /// All that was logged, as text.
    fn text(&self) -> String {
        self.lines.lock().expect("the lines").iter().map(Value::to_string).collect()
    }
}

fn close_with(mut client: Client, code: u16) {
    let frame = CloseFrame { code: code.into(), reason: "bye".into() };
    client.send_message(Message::Close(Some(frame)));
    client.end();
}

#[test]
fn info_log_has_refusals_rooms_and_abnormal_closes() {
    let logged = LoggedServer::start("info", &["limits.connection_attempts=0"]);
    let address = &logged.server.address;
    let forged = format!("{}x", token("eve", &json!({ "secret": "do not log" })));
    assert!(Client::try_connect(address, Some(&forged)).is_err());
    let refused = logged.wait_for("client refused", &json!({ "code": "UNAUTHENTICATED" }));
    assert_eq!((&refused["level"], &refused["address"]), (&json!("INFO"), &json!("127.0.0.1")), "{refused}");
    assert!(refused["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{refused}");
    let mut socket = Socket::connect(address, "/socket.io/?EIO=4&transport=websocket");
    assert!(socket.next().starts_with('0'));
    socket.send(&format!("40/chat,{}", json!({ "token": forged })));
    assert!(socket.next().starts_with("44/chat"));
    wait_until("the second refusal", || logged.lines("client refused").len() == 2);
    assert_eq!(ask(address, "GET", "/socket.io/?EIO=9&transport=polling", &[], None).status, 400);
    logged.wait_for("client refused", &json!({ "reason": "Unsupported protocol version" }));

    let mut ann = logged.client("ann");
    ann.join("tea", "ann");
    let made = logged.wait_for("room created", &json!({ "room": "tea" }));
    assert_eq!((&made["by"], &made["target"]), (&json!("ann"), &json!("switchboard::room")));
    let room = logged.call("POST", "/api/rooms", None).json()["roomId"].as_str().expect("an id").to_owned();
    logged.wait_for("room created", &json!({ "room": room, "by": "root" }));
    logged.call("DELETE", &format!("/api/rooms/{room}"), None);
    logged.wait_for("room ended", &json!({ "room": room, "reason": "closed" }));

    // Those that close in order are not logged, and those that are lost are.
    close_with(logged.client("bo"), 1000);
    close_with(logged.client("cy"), 4000);
    logged.wait_for("disconnected", &json!({ "user": "cy", "code": "4000", "level": "INFO" }));
    let id = ann.id().to_owned();
    drop(ann);
    let lost = logged.wait_for("disconnected", &json!({ "user": "ann" }));
    assert_eq!((&lost["connection"], &lost["level"]), (&json!(id), &json!("INFO")), "{lost}");
    assert!(!logged.lines("disconnected").iter().any(|line| line["user"] == "bo"));
    assert_eq!(logged.lines("request"), [] as [Value; 0]);
    for part in forged.split('.').skip(1) {
        assert!(!logged.text().contains(part), "tokens are not logged");
    }
}

#[test]
fn debug_log_has_the_life_of_a_connection_under_one_id() {
    let logged = LoggedServer::start("debug", &[]);
    let mut ann = logged.client("ann");
    let id = json!(ann.id());
    ann.send(&json!({ "type": "join-room", "roomId": "tea", "requestId": "r-1" }));
    ann.wait_for("room-joined");
    ann.send(&json!({ "type": "leave-room", "roomId": "jam", "requestId": 7 }));
    ann.wait_for("error");
    let push = json!({ "userIds": ["ann", "nobody"], "type": "x" });
    assert_eq!(logged.call("POST", "/websocket/message/users", Some(&push)).status, 200);
    close_with(ann, 4000);
    let of_ann = |message: &str, fields: Value| {
        let mut all = fields;
        all["connection"] = id.clone();
        logged.wait_for(message, &all)
    };
    of_ann("accepted", json!({}));
    of_ann("connected", json!({ "user": "ann", "request": "raw", "level": "DEBUG" }));
    of_ann("request", json!({ "request": "join", "room": "tea", "request_id": "\"r-1\"", "user": "ann" }));
    of_ann("request", json!({ "request": "leave", "room": "jam", "request_id": "7" }));
    of_ann("request refused", json!({ "code": "ROOM_NOT_FOUND", "request_id": "7" }));
    of_ann("disconnected", json!({ "code": "4000", "user": "ann" }));
    of_ann("closed", json!({}));
    logged.wait_for("push not delivered", &json!({ "user": "nobody" }));
    assert!(!logged.lines("push not delivered").iter().any(|line| line["user"] == "ann"));

    let (mut socket, _) = Socket::chat(&logged.server.address, "colon", "bo");
    socket.ask(3, "join:chat", &json!({ "chatId": "tea" }));
    let joined = logged.wait_for("request", &json!({ "user": "bo", "request": "join", "request_id": "3" }));
    logged.wait_for("connected", &json!({ "user": "bo", "request": "colon", "connection": joined["connection"] }));
    drop(socket);
    logged.wait_for("disconnected", &json!({ "user": "bo", "connection": joined["connection"] }));
    for user in ["ann", "bo"] {
        let token = token(user, &json!({}));
        let signature = token.rsplit('.').next().expect("a signature");
        assert!(!logged.text().contains(signature), "tokens are not logged");
    }
}

#[test]
fn filter_logs_its_subject_only_until_it_ends() {
    let logged = LoggedServer::start("info", &["limits.rest_per_minute=0"]);
    // More than one for each thread.
    let mut anns: Vec<Client> = (0..4).map(|_| logged.client("ann")).collect();
    let mut bo = logged.client("bo");
    let filter = logged.filter(&json!({ "userId": "ann", "seconds": 600 }));
    assert_eq!(filter.status, 201, "{}", filter.text());
    let filter = filter.json()["id"].as_str().expect("an id").to_owned();
    assert_eq!(logged.call("GET", "/api/v1/log-filters", None).json()["filters"][0]["userId"], "ann");
    for (number, ann) in anns.iter_mut().enumerate() {
        ann.send(&json!({ "type": "ping", "requestId": number }));
        ann.wait_for("pong");
        let request = json!({ "request_id": number.to_string(), "connection": ann.id(), "user": "ann" });
        let line = logged.wait_for("request", &request);
        assert_eq!((&line["target"], &line["level"]), (&json!("switchboard::filtered"), &json!("INFO")), "{line}");
    }
    bo.join("tea", "bo");
    assert_eq!(logged.call("DELETE", &format!("/api/v1/log-filters/{filter}"), None).status, 204);
    assert_eq!(logged.call("DELETE", &format!("/api/v1/log-filters/{filter}"), None).status, 404);

    // By room, and by the id of a connection.
    assert_eq!(logged.filter(&json!({ "roomId": "tea" })).status, 201);
    assert_eq!(logged.filter(&json!({ "connectionId": bo.id() })).status, 201);
    anns[0].join("tea", "ann");
    logged.wait_for("request", &json!({ "user": "ann", "room": "tea", "request": "join" }));
    bo.send(&json!({ "type": "ping", "requestId": "b" }));
    logged.wait_for("request", &json!({ "user": "bo", "request": "ping", "connection": bo.id() }));
    assert!(!logged.lines("request").iter().any(|line| line["user"] == "bo" && line["room"] == "tea"), "none before");
    for filter in logged.call("GET", "/api/v1/log-filters", None).json()["filters"].as_array().expect("filters") {
        let path = format!("/api/v1/log-filters/{}", filter["id"].as_str().expect("an id"));
        assert_eq!(logged.call("DELETE", &path, None).status, 204);
    }

    // One that ends by itself.
    assert_eq!(logged.filter(&json!({ "userId": "bo", "seconds": 3 })).status, 201);
    // It reaches each shard a moment after the answer.
    let is_over = || logged.call("GET", "/api/v1/log-filters", None).json()["filters"] == json!([]);
    wait_until("the filter is in force", || !is_over());
    bo.send(&json!({ "type": "ping", "requestId": "in time" }));
    logged.wait_for("request", &json!({ "user": "bo", "request_id": "\"in time\"" }));
    wait_until("the filter ends", is_over);
    bo.send(&json!({ "type": "ping", "requestId": "late" }));
    bo.wait_for("pong");
    logged.filter(&json!({ "userId": "bo" }));
    wait_until("bo is logged again", || {
        bo.send(&json!({ "type": "ping", "requestId": "again" }));
        bo.wait_for("pong");
        logged.lines("request").iter().any(|line| line["request_id"] == "\"again\"")
    });
    assert!(!logged.lines("request").iter().any(|line| line["request_id"] == "\"late\""), "it had ended");
}

#[test]
fn filter_calls_are_checked_and_bounded() {
    let logged = LoggedServer::start("info", &["limits.rest_per_minute=0"]);
    let user = bearer(&token("ann", &json!({ "scope": "push" })));
    let refused = ask(&logged.server.address, "GET", "/api/v1/log-filters", &[&user], None);
    assert_eq!((refused.status, &refused.json()["code"]), (403, &json!("FORBIDDEN")));
    for body in [
        json!({}),
        json!({ "userId": "ann", "roomId": "tea" }),
        json!({ "connectionId": "no id" }),
        json!({ "userId": "" }),
        json!({ "userId": "ann", "seconds": 0 }),
        json!({ "userId": "ann", "seconds": 86_401 }),
        json!({ "user": "ann" }),
    ] {
        let answer = logged.filter(&body);
        assert_eq!((answer.status, &answer.json()["code"]), (422, &json!("INVALID_MESSAGE")), "{body}");
    }
    for number in 0..32 {
        assert_eq!(logged.filter(&json!({ "userId": format!("user-{number}") })).status, 201);
    }
    assert_eq!(logged.filter(&json!({ "userId": "one more" })).status, 429);
    assert_eq!(logged.filter(&json!({ "userId": "user-3", "seconds": 60 })).status, 201, "it is renewed");
    let quiet = LoggedServer::start("warn", &[]);
    let answer = quiet.filter(&json!({ "userId": "ann" }));
    assert!(answer.status == 422 && answer.text().contains("log.level"), "{}", answer.text());
}

#[test]
fn rooms_in_redis_are_logged_by_the_server_that_creates_or_closes_them() {
    let redis = RedisServer::start();
    let url = format!("redis.url={}", redis.url());
    let servers = [LoggedServer::start("info", &[&url]), LoggedServer::start("info", &[&url])];
    let mut clients = servers.each_ref().map(|logged| logged.client("ann"));
    for (client, peer) in clients.iter_mut().zip(["a", "b"]) {
        client.join("tea", peer);
    }
    servers[0].wait_for("room created", &json!({ "room": "tea" }));
    let room = servers[1].call("POST", "/api/rooms", None).json()["roomId"].as_str().expect("an id").to_owned();
    servers[1].wait_for("room created", &json!({ "room": room }));
    clients[0].join(&room, "a");
    servers[1].call("DELETE", &format!("/api/rooms/{room}"), None);
    servers[1].wait_for("room ended", &json!({ "room": room, "reason": "closed" }));
    assert_eq!((servers[0].lines("room created").len(), servers[1].lines("room created").len()), (1, 1));
}
