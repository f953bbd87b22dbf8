//! The cost of each request of a client: bytes that the server sends for each byte it receives, and processor time of the server
//! and of Redis, in the worst case that a single client can bring about: a room of many members with a long log of large
//! messages, and many users online.
//!
//! ```text
//! cargo bench --bench cost            # the table of docs/threat-model.md, in Markdown; needs redis-server
//! ```
//!
//! Each request is repeated without budgets ([`switchboard::domain::quota::Budgets`]), so that its cost is seen. Bytes out are
//! those of the answer, and of one event for each member that receives one. Processor time is that of the whole process.

use std::cell::Cell;

use serde_json::{Value, json};

use support::client::Client;
use support::engineio::Socket;
use support::redis::RedisServer;
use support::server::{Server, token};

/// Members of the room, and users online.
const MEMBERS: usize = 200;

/// Messages in the room's log, and their size with metadata and attachment.
const MESSAGES: usize = 60;
const TEXT_BYTES: usize = 16_000;

/// Times that each request is repeated.
const REPEATS: u32 = 40;

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

/// The bytes of a request, of its answer, and of the event that each member receives.
#[derive(Clone, Copy, Default)]
struct Bytes {
    request: usize,
    answer: usize,
    event: usize,
}

fn main() {
    let mut stage = Stage::new();
    println!("| request | bytes in | bytes out | out per byte in | server | Redis |");
    println!("|---|---|---|---|---|---|");
    let raw = |kind: &str, more: Value| {
        let mut request = json!({ "type": kind, "roomId": "crowd", "requestId": 1 });
        request.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        request
    };
    stage.raw("`join-room`, repeated", &raw("join-room", json!({ "peerId": "ann" })), 0);
    stage.rejoin();
    stage.raw("`history`", &raw("history", json!({ "limit": 500 })), 0);
    let message = stage.message.clone();
    stage.raw("`receipts`", &raw("receipts", json!({ "messageId": message })), 0);
    stage.unanswered("`read-receipt`, repeated", &raw("read-receipt", json!({ "messageId": message })));
    stage.unanswered("`presence`", &json!({ "type": "presence", "status": "away" }));
    for query in ["presence:online-users", "presence:stats", "room:online", "room:info", "message:stats", "room:list"] {
        stage.query(query);
    }
    stage.connect();
}

impl Stage {
    fn new() -> Self {
        let redis = RedisServer::start();
        let url = format!("redis.url={}", redis.url());
        let off = ["limits.cost_per_user=0", "limits.connections_per_user=0", "limits.outbound_bytes=0"];
        let server = Server::of_shards(1, &[&url, "presence.scope=all", off[0], off[1], off[2]]);
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

    /// A request of `/ws` that is answered, and an event for each member.
    fn raw(&mut self, name: &str, request: &Value, event: usize) {
        let text = request.to_string();
        self.measure(name, |stage| {
            stage.ann.send_text(&text);
            Bytes { request: text.len(), answer: stage.answer_to(1), event }
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

    /// A request of `/ws` without an answer: a ping shows that it is done. Its event is what a member receives.
    fn unanswered(&mut self, name: &str, request: &Value) {
        let (text, ping) = (request.to_string(), json!({ "type": "ping", "requestId": 2 }).to_string());
        self.measure(name, |stage| {
            stage.ann.send_text(&text);
            stage.ann.send_text(&ping);
            stage.answer_to(2);
            Bytes { request: text.len(), answer: 0, event: stage.events() }
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
            Bytes { request: leave.len() + join.len(), answer, event: stage.events() }
        });
    }

    /// Bytes that one member has received since the last time: events come before the answer to its ping.
    fn events(&mut self) -> usize {
        let member = &mut self.members[0];
        member.send(&json!({ "type": "ping" }));
        let mut bytes = 0;
        loop {
            let text = member.next_text_or_end().expect("the connection lasts");
            if text.contains("\"pong\"") {
                return bytes;
            }
            bytes += text.len();
        }
    }

    /// A query of a Socket.IO client.
    fn query(&mut self, name: &str) {
        let argument = json!({ "chatId": "crowd" });
        self.measure(&format!("`{name}`"), |stage| {
            let ack = stage.ack.replace(stage.ack.get() + 1);
            stage.socket.ask(ack, name, &argument);
            let answer = stage.socket.acked(ack).to_string().len();
            Bytes { request: name.len() + argument.to_string().len() + 16, answer, event: 0 }
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
            Bytes { request: packet.len(), answer, event: stage.events() }
        });
    }

    /// Repeats a request and writes its row.
    fn measure(&mut self, name: &str, mut request: impl FnMut(&mut Self) -> Bytes) {
        self.events();
        let mut bytes = request(self);
        let (server, redis) = (self.server_micros(), self.redis_micros());
        for _ in 0..REPEATS {
            let next = request(self);
            bytes.answer = bytes.answer.max(next.answer);
            bytes.event = bytes.event.max(next.event);
        }
        let each = |before: u64, after: u64| (after - before) / u64::from(REPEATS);
        let (server, redis) = (each(server, self.server_micros()), each(redis, self.redis_micros()));
        let out = bytes.answer + bytes.event * MEMBERS;
        let factor = out as f64 / bytes.request as f64;
        println!("| {name} | {} | {out} | {factor:.0} | {server} µs | {redis} µs |", bytes.request);
    }

    /// Processor time of the server, in microseconds.
    fn server_micros(&self) -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{}/stat", self.server.pid())).expect("its state");
        let fields: Vec<&str> = text.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        // Fields 14 and 15 of the line, in hundredths of a second.
        [11, 12].iter().map(|at| fields[*at].parse::<u64>().expect("a number") * 10_000).sum()
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
