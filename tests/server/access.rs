//! Random operations of many users over `/ws`, Socket.IO and REST, with lost connections, resumed sessions and ids of other
//! users' rooms, messages and sessions: no user ever receives a message of a room without permission.
//!
//! Messages of a private room contain the room's name. Each text that a user receives is searched for the names of rooms that
//! the user is no participant of.

use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::{Value, json};
use support::client::Client;
use support::engineio::Socket;
use support::http::{Http, bearer};
use support::redis::RedisServer;
use support::server::{Server, token};

/// Operations of all users together, unless `SWITCHBOARD_OPERATIONS` says otherwise.
const OPERATIONS: usize = 12_000;

const USERS: usize = 6;

const ROOMS: usize = 8;

/// A private room and its participants, by number. The owner of all rooms takes no part in the test otherwise.
struct PrivateRoom {
    id: String,
    participants: Vec<usize>,
}

/// Secrets that users have heard of, for others to try.
#[derive(Default)]
struct Leaks {
    messages: Vec<String>,
    recovery_tokens: Vec<String>,
    connections: Vec<String>,
}

struct World {
    addresses: Vec<String>,
    rooms: Vec<PrivateRoom>,
    leaks: Mutex<Leaks>,
}

/// One user with a connection of each kind.
struct User {
    number: usize,
    world: Arc<World>,
    random: u64,
    raw: Client,
    socket: Socket,
    dialect: &'static str,
    http: Http,
    /// The next `requestId` and ack.
    next: u32,
    /// Texts that were searched.
    searched: usize,
    /// Texts with a message of an own room: the test would find out if there were none.
    own: usize,
}

impl User {
    fn new(number: usize, world: Arc<World>, seed: u64) -> Self {
        let address = world.addresses[number % world.addresses.len()].clone();
        let name = name(number);
        let dialect = if number.is_multiple_of(2) { "colon" } else { "camel" };
        let raw = Client::connect(&address, Some(&token(&name, &json!({}))));
        let (socket, _) = Socket::chat(&address, dialect, &name);
        let http = Http::connect(&address);
        let random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (number as u64 + 1).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mut user = Self { number, world, random, raw, socket, dialect, http, next: 0, searched: 0, own: 0 };
        user.note_connection();
        user
    }

    /// The next random number below `bound` (xorshift).
    fn pick(&mut self, bound: usize) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 11) as usize % bound
    }

    fn room(&mut self) -> String {
        let at = self.pick(ROOMS);
        self.world.rooms[at].id.clone()
    }

    fn leak(&mut self, of: fn(&mut Leaks) -> &mut Vec<String>) -> String {
        let at = self.pick(64);
        let mut leaks = self.world.leaks.lock().expect("no user panicked");
        let list = of(&mut leaks);
        list.get(at % list.len().max(1)).cloned().unwrap_or_else(|| "none".to_owned())
    }

    fn note_connection(&mut self) {
        let mut leaks = self.world.leaks.lock().expect("no user panicked");
        let hello = &self.raw.hello;
        let text = |field: &str| hello[field].as_str().expect("a text").to_owned();
        leaks.recovery_tokens.push(text("recoveryToken"));
        leaks.connections.push(text("connectionId"));
    }

    /// Fails if a text has a message of a room that the user may not read.
    fn search(&mut self, text: &str) {
        self.searched += 1;
        for room in &self.world.rooms {
            if text.contains(&secret(&room.id)) {
                assert!(room.participants.contains(&self.number), "{} received {text}", name(self.number));
                self.own += 1;
            }
        }
        if let Some(id) = text.split("\"id\":\"").nth(1).and_then(|rest| rest.get(..36)) {
            let mut leaks = self.world.leaks.lock().expect("no user panicked");
            if leaks.messages.len() < 64 {
                leaks.messages.push(id.to_owned());
            } else {
                let at = self.searched % 64;
                leaks.messages[at] = id.to_owned();
            }
        }
    }

    /// Sends a request on `/ws`, and reads to the answer of a ping after it.
    fn ask_raw(&mut self, request: &Value) {
        self.next += 1;
        let mark = format!("mark-{}", self.next);
        self.raw.send(request);
        self.raw.send(&json!({ "type": "ping", "requestId": mark }));
        loop {
            let text = self.raw.next_text_or_end().unwrap_or_else(|end| panic!("{}: {end:?}", name(self.number)));
            if text.contains(&mark) {
                return;
            }
            self.search(&text);
        }
    }

    /// Sends an event on Socket.IO, and reads to its ack.
    fn ask_socket(&mut self, event: &str, argument: &Value) {
        self.next += 1;
        self.socket.ask(self.next, event, argument);
        let ack = format!("43/chat,{}[", self.next);
        loop {
            let text = self.socket.next();
            self.search(&text);
            if text.starts_with(&ack) {
                return;
            }
        }
    }

    fn ask_http(&mut self, method: &str, path: &str, body: Option<&Value>) {
        let authorization = bearer(&token(&name(self.number), &json!({})));
        let body = body.map(Value::to_string);
        let answer = self.http.ask(method, path, &[&authorization], body.as_deref());
        self.search(&answer.text());
    }

    fn step(&mut self) {
        let room = self.room();
        let content = secret(&room);
        match self.pick(24) {
            0..=3 => self.ask_raw(&json!({ "type": "join-room", "roomId": room })),
            4 => self.ask_raw(&json!({ "type": "leave-room", "roomId": room })),
            5..=7 => self.ask_raw(&json!({ "type": "message", "roomId": room, "content": content })),
            8 => self.ask_raw(&json!({ "type": "history", "roomId": room, "after": 0 })),
            9 => {
                let id = self.leak(|leaks| &mut leaks.messages);
                let kind = ["receipts", "read-receipt", "delivered"][self.pick(3)];
                self.ask_raw(&json!({ "type": kind, "roomId": room, "messageId": id }));
            }
            10 => {
                let recovery = self.leak(|leaks| &mut leaks.recovery_tokens);
                self.ask_raw(&json!({ "type": "resume", "recoveryToken": recovery, "ownMessages": true,
                    "rooms": { &*room: { "epoch": "x", "seq": 0 } } }));
            }
            11 => self.return_raw(),
            12 => {
                let peer = self.leak(|leaks| &mut leaks.connections);
                self.ask_raw(&json!({ "type": "message", "roomId": room, "toPeerId": peer, "content": content }));
            }
            13..=18 => self.step_socket(&room, &content),
            19 => {
                let name = name(self.number);
                let address = self.world.addresses[self.number % self.world.addresses.len()].clone();
                self.socket = Socket::chat(&address, self.dialect, &name).0;
            }
            20 => self.ask_http("POST", &format!("/rooms/{room}/join"), Some(&json!({}))),
            21 => {
                let connection = self.leak(|leaks| &mut leaks.connections);
                self.ask_http("POST", &format!("/rooms/{room}/join"), Some(&json!({ "connectionId": connection })));
            }
            22 => self.ask_http("GET", &format!("/api/v1/rooms/{room}/messages"), None),
            _ => self.ask_http("GET", &format!("/api/rooms/{room}"), None),
        }
    }

    fn step_socket(&mut self, room: &str, content: &str) {
        let id = self.leak(|leaks| &mut leaks.messages);
        let choice = self.pick(5);
        let (event, argument) = match (self.dialect, choice) {
            ("colon", 0) => ("join:chat", json!({ "chatId": room })),
            ("colon", 1) => ("message:send", json!({ "chatId": room, "content": content })),
            ("colon", 2) => ("message:read", json!({ "messageId": id, "chatId": room })),
            ("colon", 3) => ("message:delivery-status", json!({ "messageId": id })),
            ("colon", _) => ("room:info", json!({ "chatId": room })),
            (_, 0) => ("joinRoom", json!(room)),
            (_, 1) => ("sendMessage", json!({ "roomId": room, "content": content })),
            (_, 2) => ("syncMessages", json!({ "roomId": room, "lastMessageId": id })),
            (_, 3) => ("readReceipt", json!({ "roomId": room, "messageId": id })),
            _ => ("leaveRoom", json!(room)),
        };
        self.ask_socket(event, &argument);
    }

    /// Loses the connection without a close frame, and comes back with the session's own token.
    fn return_raw(&mut self) {
        let recovery = self.raw.hello["recoveryToken"].clone();
        let at = self.pick(self.world.addresses.len());
        let address = self.world.addresses[at].clone();
        self.raw.stream().shutdown(std::net::Shutdown::Both).expect("a connection to cut");
        self.raw = Client::connect(&address, Some(&token(&name(self.number), &json!({}))));
        self.note_connection();
        self.ask_raw(&json!({ "type": "resume", "recoveryToken": recovery }));
    }
}

fn name(number: usize) -> String {
    format!("user-{number}")
}

/// The content of all messages of a room.
fn secret(room: &str) -> String {
    format!("secret of {room}")
}

/// Creates the rooms by REST: room n is open to some of the users.
fn create_rooms(address: &str) -> Vec<PrivateRoom> {
    let owner = bearer(&token("owner", &json!({})));
    let create = |number: usize| {
        let participants: Vec<usize> = (0..USERS).filter(|user| (user + number).is_multiple_of(3)).collect();
        let names: Vec<String> = participants.iter().map(|user| name(*user)).collect();
        let body = json!({ "participants": names, "isPrivate": true }).to_string();
        let answer = support::http::ask(address, "POST", "/rooms", &[&owner], Some(&body));
        assert_eq!(answer.status, 201, "{}", answer.text());
        PrivateRoom { id: answer.json()["room"]["roomId"].as_str().expect("an id").to_owned(), participants }
    };
    (0..ROOMS).map(create).collect()
}

fn check(servers: &[Server]) {
    let number = |variable: &str, usual| {
        std::env::var(variable).map_or(usual, |text| text.parse().expect("a number in the environment"))
    };
    let (operations, seed) = (number("SWITCHBOARD_OPERATIONS", OPERATIONS), number("SWITCHBOARD_SEED", 1));
    let addresses: Vec<String> = servers.iter().map(|server| server.address.clone()).collect();
    let rooms = create_rooms(&addresses[0]);
    let world = Arc::new(World { addresses, rooms, leaks: Mutex::default() });
    let run = |user: usize| {
        let world = world.clone();
        thread::spawn(move || {
            let mut user = User::new(user, world, seed as u64);
            (0..operations / USERS).for_each(|_| user.step());
            (user.searched, user.own)
        })
    };
    let users: Vec<_> = (0..USERS).map(run).collect();
    for user in users {
        let (searched, own) = user.join().expect("no user receives a message of a room without permission");
        assert!(searched > operations / USERS && own > 0, "{searched} texts, {own} of own rooms: nothing was tested");
    }
}

const UNLIMITED: [&str; 10] = [
    "limits.cost_per_user=0",
    "limits.cost_per_ip=0",
    "limits.messages_per_minute=0",
    "limits.rest_per_minute=0",
    "limits.typing_per_minute=0",
    "limits.signals_per_minute=0",
    "limits.connections_per_user=0",
    "presence.grace_ms=500",
    "limits.rooms_per_connection=0",
    "limits.rooms_per_user=0",
];

#[test]
fn random_operations_show_no_message_without_permission() {
    check(&[Server::of_shards(2, &UNLIMITED)]);
}

#[test]
fn random_operations_show_no_message_without_permission_on_servers_with_redis() {
    let redis = RedisServer::start();
    let url = format!("redis.url={}", redis.url());
    let settings: Vec<&str> = UNLIMITED.iter().copied().chain([&*url]).collect();
    check(&[0, 1].map(|_| Server::of_shards(2, &settings)));
}
