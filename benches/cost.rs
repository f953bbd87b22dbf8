//! The cost of each request of a client: bytes that the server sends for each byte it receives, and processor time of the server
//! and of Redis, in the worst case that a single client can bring about: a room of many members with a long log of large
//! messages, and many users online.
//!
//! ```text
//! cargo bench --bench cost            # the table of docs/threat-model.md, in Markdown; needs redis-server
//! ```
//!
//! Each request is repeated without budgets ([`switchboard::domain::quota::Budgets`]), so that its cost is seen. Bytes out are
//! those of the answer, and of the events of all members. Processor time is that of all threads of the process.

use std::cell::Cell;

use serde_json::{Value, json};

use support::client::Client;
use support::engineio::Socket;
use support::http::{self, Http, bearer};
use support::redis::RedisServer;
use support::server::{Server, token};

/// Members of the room, and users online.
const MEMBERS: usize = 200;

/// Messages in the room's log, and their size with metadata and attachment.
const MESSAGES: usize = 60;
const TEXT_BYTES: usize = 16_000;

/// The message after which a client has missed the others: the last ten fit an answer.
const MISSED: usize = MESSAGES - 10;

/// Times that each request is repeated.
const REPEATS: u32 = 40;

/// Limits that would stop a request from being repeated.
const UNLIMITED: [&str; 7] = [
    "limits.cost_per_user=0",
    "limits.connections_per_user=0",
    "limits.outbound_bytes=0",
    "limits.signals_per_minute=0",
    "limits.rest_per_minute=0",
    "limits.rooms_per_user=0",
    "limits.direct_bytes_per_user=0",
];

/// A cluster of one server with a room that is as large as this bench makes it.
struct Stage {
    redis: RedisServer,
    server: Server,
    members: Vec<Client>,
    ann: Client,
    socket: Socket,
    message: String,
    ack: Cell<u32>,
}

/// The bytes of a request, of its answer, and of the events that all members together receive.
#[derive(Clone, Copy, Default)]
struct Bytes {
    request: usize,
    answer: usize,
    events: usize,
}

fn main() {
    let mut stage = Stage::new();
    println!("| request | bytes in | bytes out | out per byte in | server | Redis |");
    println!("|---|---|---|---|---|---|");
    raw_requests(&mut stage);
    for query in ["presence:online-users", "presence:stats", "room:online", "room:info", "message:stats", "room:list"] {
        stage.query(query);
    }
    stage.sync_messages();
    stage.connect();
    stage.connection();
    stage.resume();
    rest_calls(&mut stage);
}

/// Requests of `/ws`.
fn raw_requests(stage: &mut Stage) {
    let with = |kind: &str, more: Value| {
        let mut request = json!({ "type": kind, "roomId": "crowd", "requestId": 1 });
        request.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        request
    };
    let (short, id) = ("x".repeat(128), stage.message.clone());
    stage.answered("`join-room`, repeated", &with("join-room", json!({ "peerId": "ann" })));
    stage.rejoin();
    stage.answered("`history`", &with("history", json!({ "limit": 500 })));
    stage.answered("`message` of 128 bytes to the room", &with("message", json!({ "content": short })));
    let to_peer = json!({ "content": short, "toPeerId": "peer-0000" });
    stage.answered("`message` to a member", &with("message", to_peer));
    let to_user = json!({ "type": "message", "toUserId": "user-0000", "content": short, "requestId": 1 });
    stage.answered("`message` to a user", &to_user);
    let offer = json!({ "toPeerId": "peer-0000", "offer": { "type": "offer", "sdp": "x".repeat(4096) } });
    stage.unanswered("`offer` of 4 KiB", &with("offer", offer));
    let media = json!({ "mediaState": { "audio": true, "video": true, "screen": false } });
    stage.unanswered("`media-state-changed`", &with("media-state-changed", media));
    stage.unanswered("`typing`", &with("typing", json!({ "isTyping": true })));
    stage.answered("`receipts`", &with("receipts", json!({ "messageId": id })));
    stage.unanswered("`read-receipt`, repeated", &with("read-receipt", json!({ "messageId": id })));
    stage.unanswered("`presence`", &json!({ "type": "presence", "status": "away" }));
    stage.answered(
        "`authenticate`",
        &json!({ "type": "authenticate", "token": token("ann", &json!({})), "requestId": 1 }),
    );
}

/// Calls of REST, each on a connection that is there.
fn rest_calls(stage: &mut Stage) {
    let (user, pusher) = (token("ann", &json!({})), token("backend", &json!({ "scope": "push" })));
    let root = token("root", &json!({ "role": "admin" }));
    let publication = json!({ "rooms": ["crowd"], "data": "x".repeat(128) }).to_string();
    let calls = [
        (&user, "GET", "/api/rooms/crowd", None),
        (&user, "GET", "/rooms/crowd", None),
        (&user, "GET", "/presence/user-0000", None),
        (&user, "GET", "/connections/ann", None),
        (&user, "POST", "/rooms", Some("{}")),
        (&user, "POST", "/api/rooms", Some("{}")),
        (&pusher, "GET", "/api/v1/rooms/crowd/messages?limit=500", None),
        (&pusher, "GET", "/websocket/users/connected", None),
        (&pusher, "POST", "/api/v1/publish", Some(publication.as_str())),
        (&user, "GET", "/healthz", None),
        (&root, "GET", "/metrics", None),
        (&user, "GET", "/call", None),
    ];
    for (token, method, path, body) in calls {
        stage.rest(method, path, token, body);
    }
}

impl Stage {
    fn new() -> Self {
        let redis = RedisServer::start();
        let url = format!("redis.url={}", redis.url());
        let mut settings = vec![url.as_str(), "presence.scope=all"];
        settings.extend(UNLIMITED);
        let server = Server::of_shards(1, &settings);
        let member = |n: usize| {
            let mut client = Client::connect(&server.address, Some(&token(&format!("user-{n:04}"), &json!({}))));
            client.join("crowd", &format!("peer-{n:04}"));
            client
        };
        let mut ann = Client::connect(&server.address, Some(&token("ann", &json!({}))));
        ann.join("crowd", "ann");
        let text = "x".repeat(TEXT_BYTES);
        let extra = json!({ "text": text });
        let message =
            json!({ "type": "message", "roomId": "crowd", "content": text, "metadata": extra, "attachment": extra });
        let mut sent = Value::Null;
        for _ in 0..MESSAGES {
            ann.send(&message);
            sent = ann.wait_for("message-sent");
        }
        let members = (0..MEMBERS).map(member).collect();
        let (mut socket, _) = Socket::chat(&server.address, "colon", "ann");
        socket.ask(0, "join:chat", &json!({ "chatId": "crowd" }));
        socket.acked(0);
        let message = sent["id"].as_str().expect("an id").to_owned();
        Self { redis, server, members, ann, socket, message, ack: Cell::new(1) }
    }

    /// A request of `/ws` that is answered.
    fn answered(&mut self, name: &str, request: &Value) {
        let text = request.to_string();
        self.measure(name, |stage| {
            stage.ann.send_text(&text);
            Bytes { request: text.len(), answer: stage.answer_to(1), events: stage.events() }
        });
    }

    /// The size of the answer with this `requestId`.
    fn answer_to(&mut self, id: u32) -> usize {
        loop {
            let text = self.ann.next_text_or_end().expect("the connection lasts");
            let message: Value = serde_json::from_str(&text).expect("JSON");
            if message["requestId"] == id {
                return text.len();
            }
        }
    }

    /// A request of `/ws` without an answer: a ping shows that it is done.
    fn unanswered(&mut self, name: &str, request: &Value) {
        let (text, ping) = (request.to_string(), json!({ "type": "ping", "requestId": 2 }).to_string());
        self.measure(name, |stage| {
            stage.ann.send_text(&text);
            stage.ann.send_text(&ping);
            stage.answer_to(2);
            Bytes { request: text.len(), answer: 0, events: stage.events() }
        });
    }

    /// Leaving and joining again.
    fn rejoin(&mut self) {
        let leave = json!({ "type": "leave-room", "roomId": "crowd", "requestId": 1 }).to_string();
        let join = json!({ "type": "join-room", "roomId": "crowd", "peerId": "ann", "requestId": 2 }).to_string();
        self.measure("`leave-room`, `join-room`", |stage| {
            stage.ann.send_text(&leave);
            let left = stage.answer_to(1);
            stage.ann.send_text(&join);
            let answer = left + stage.answer_to(2);
            Bytes { request: leave.len() + join.len(), answer, events: stage.events() }
        });
    }

    /// Bytes that the members have received since the last time, when all have received the same or only the first has
    /// received any: events come before the answer to a ping.
    fn events(&mut self) -> usize {
        let mut received = |member: usize| {
            let member = &mut self.members[member];
            member.send(&json!({ "type": "ping" }));
            let mut bytes = 0;
            loop {
                let text = member.next_text_or_end().expect("the connection lasts");
                if text.contains("\"pong\"") {
                    return bytes;
                }
                bytes += text.len();
            }
        };
        let (first, second) = (received(0), received(1));
        first + second * (MEMBERS - 1)
    }

    /// A query of a Socket.IO client.
    fn query(&mut self, name: &str) {
        let argument = json!({ "chatId": "crowd" });
        self.measure(&format!("`{name}`"), |stage| {
            let ack = stage.ack.replace(stage.ack.get() + 1);
            stage.socket.ask(ack, name, &argument);
            let answer = stage.socket.acked(ack).to_string().len();
            Bytes { request: name.len() + argument.to_string().len() + 16, answer, events: 0 }
        });
    }

    /// Messages that a member asks for again.
    fn sync_messages(&mut self) {
        let (mut socket, _) = Socket::chat(&self.server.address, "camel", "bea");
        socket.ask(0, "joinRoom", &json!({ "roomId": "crowd" }));
        socket.acked(0);
        let packet = format!("42/chat,{}", json!(["syncMessages", { "roomId": "crowd" }]));
        self.measure("`syncMessages`", |stage| {
            socket.send(&packet);
            let mut answer = 0;
            loop {
                let next = socket.next();
                answer += next.len();
                if next.contains("syncComplete") {
                    return Bytes { request: packet.len(), answer, events: stage.events() };
                }
            }
        });
    }

    /// A connection to `/chat`, with the list of users that follows.
    fn connect(&mut self) {
        self.measure("CONNECT of `/chat`", |stage| {
            let user = stage.ack.replace(stage.ack.get() + 1);
            let mut socket =
                Socket::connect(&stage.server.address, "/socket.io/?EIO=4&transport=websocket&dialect=colon");
            socket.next();
            let packet = support::engineio::connect_packet("/chat", &format!("guest-{user}"));
            socket.send(&packet);
            let mut answer = 0;
            loop {
                let next = socket.next();
                answer += next.len();
                if next.contains("users:online") {
                    break;
                }
            }
            Bytes { request: packet.len(), answer, events: stage.events() }
        });
    }

    /// A connection of `/ws`.
    fn connection(&mut self) {
        let dan = token("dan", &json!({}));
        self.measure("connection", |stage| {
            let client = Client::connect(&stage.server.address, Some(&dan));
            Bytes { request: 400 + dan.len(), answer: client.hello.to_string().len(), events: stage.events() }
        });
    }

    /// A new connection that resumes a lost one and gets all messages again that an answer takes.
    fn resume(&mut self) {
        let dan = token("dan", &json!({}));
        let mut client = Client::connect(&self.server.address, Some(&dan));
        let mut recovery = client.hello["recoveryToken"].clone();
        let epoch = client.join("crowd", "dan")["epoch"].clone();
        let mut client = Some(client);
        let rooms = json!({ "crowd": { "epoch": epoch, "seq": MISSED } });
        self.measure("connection, `resume`", |stage| {
            drop(client.take());
            let mut next = Client::connect(&stage.server.address, Some(&dan));
            let request =
                json!({ "type": "resume", "recoveryToken": recovery, "requestId": 1, "rooms": rooms }).to_string();
            recovery = next.hello["recoveryToken"].clone();
            next.send_text(&request);
            let answer = loop {
                let text = next.next_text_or_end().expect("the connection lasts");
                if text.contains("\"resumed\"") {
                    break text.len();
                }
                assert!(!text.contains("\"error\""), "{text}");
            };
            client = Some(next);
            Bytes { request: request.len(), answer, events: stage.events() }
        });
    }

    /// A call of REST.
    fn rest(&mut self, method: &str, path: &str, token: &str, body: Option<&str>) {
        let mut http = Http::connect(&self.server.address);
        let name = format!("`{method} {}`", path.split('?').next().unwrap_or_default());
        let headers = [bearer(token)];
        let headers: Vec<&str> = headers.iter().map(String::as_str).collect();
        let sent = http::request(method, path, &headers, body).len();
        self.measure(&name, |stage| {
            let answer = http.ask(method, path, &headers, body);
            assert!(answer.status < 300, "{name}: {} {}", answer.status, answer.text());
            let head: usize = answer.headers.iter().map(|(name, value)| name.len() + value.len() + 4).sum();
            Bytes { request: sent, answer: head + answer.body.len(), events: stage.events() }
        });
    }

    /// Repeats a request and writes its row.
    fn measure(&mut self, name: &str, mut request: impl FnMut(&mut Self) -> Bytes) {
        // With Redis, events of the step before can come late.
        while self.events() > 0 {}
        let mut bytes = request(self);
        let (server, redis) = (self.server_micros(), self.redis_micros());
        for _ in 0..REPEATS {
            let next = request(self);
            bytes.answer = bytes.answer.max(next.answer);
            bytes.events = bytes.events.max(next.events);
        }
        let each = |before: u64, after: u64| (after - before) / u64::from(REPEATS);
        let (server, redis) = (each(server, self.server_micros()), each(redis, self.redis_micros()));
        // The pings that show what the members have received are work of the server, too, but little.
        let out = bytes.answer + bytes.events;
        let factor = out as f64 / bytes.request as f64;
        println!("| {name} | {} | {out} | {factor:.0} | {server} µs | {redis} µs |", bytes.request);
    }

    /// Processor time of the server's threads, in microseconds.
    fn server_micros(&self) -> u64 {
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.server.pid())).expect("its threads");
        let nanos = threads.map(|thread| {
            let path = thread.expect("a thread").path().join("schedstat");
            let text = std::fs::read_to_string(path).expect("its time");
            text.split(' ').next().expect("nanoseconds").parse::<u64>().expect("a number")
        });
        nanos.sum::<u64>() / 1000
    }

    /// Time that Redis has spent on scripts and publications, in microseconds.
    fn redis_micros(&self) -> u64 {
        let statistics: String = self.redis.ask("INFO commandstats");
        let of = |command: &str| -> u64 {
            let line = statistics.lines().find(|line| line.starts_with(&format!("cmdstat_{command}:")));
            let usec = line.and_then(|line| line.split("usec=").nth(1)).and_then(|rest| rest.split(',').next());
            usec.and_then(|usec| usec.parse().ok()).unwrap_or_default()
        };
        of("evalsha") + of("publish")
    }
}
