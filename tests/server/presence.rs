//! Presence with real sockets, several shards and several servers: one `offline` for any number of connections, and
//! agreement of all clients after a storm of connects and disconnects.

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::thread;

use serde_json::{Value, json};
use support::client::Client;
use support::directory::Directory;
use support::engineio::Socket;
use support::http::{ask, bearer};
use support::process::wait_until;
use support::redis::RedisServer;
use support::server::{Server, token};
use support::tcp_client::{CLOSE, TcpClient, frame};
use switchboard::base::rng::Rng;

const SHARDS: usize = 3;

/// Connections of one storm.
const STORM: usize = 1_000;

/// Threads that make it, each with users of its own.
const STORM_THREADS: usize = 4;

/// Users of each of them.
const USERS: u64 = 60;

const ROOMS: [&str; 4] = ["r0", "r1", "r2", "r3"];

/// The last that is known of each user.
type Known = BTreeMap<String, String>;

fn server(settings: &[&str]) -> Server {
    let shards = SHARDS.to_string();
    let mut arguments = vec!["--shards", &shards, "--set", "rooms.create_on_join=always"];
    for setting in settings {
        arguments.extend(["--set", setting]);
    }
    Server::start(&arguments)
}

fn connect(server: &Server, user: &str) -> Client {
    Client::connect(&server.address, Some(&token(user, &json!({}))))
}

/// One who hears of others, until it knows what it should.
struct Observer {
    ears: ObserverConnection,
    known: Known,
}

/// What an observer hears by.
enum ObserverConnection {
    Raw(Client),
    /// Socket.IO, as `colon`.
    Socket(Socket),
}

impl Observer {
    fn raw(server: &Server, user: &str) -> Self {
        let mut client = connect(server, user);
        for room in ROOMS {
            client.join(room, user);
        }
        Self { ears: ObserverConnection::Raw(client), known: Known::new() }
    }

    fn socket(server: &Server, user: &str) -> Self {
        let (mut socket, id) = Socket::peer(&server.address, "/chat", user);
        let line = bearer(&token(user, &json!({})));
        let body = json!({ "connectionId": id }).to_string();
        for room in ROOMS {
            let joined = ask(&server.address, "POST", &format!("/rooms/{room}/join"), &[&line], Some(&body));
            assert_eq!(joined.status, 200, "{}", joined.text());
            while !socket.next().contains(&format!(r#""{room}""#)) {}
        }
        Self { ears: ObserverConnection::Socket(socket), known: Known::new() }
    }

    /// Reads until the truth is out and known here.
    fn watch(&mut self, truth: &OnceLock<Known>) {
        while truth.get().is_none_or(|truth| self.known != *truth) {
            match &mut self.ears {
                ObserverConnection::Raw(client) => {
                    let told = client.next();
                    if told["type"] == "presence" {
                        self.note(&told);
                    }
                }
                ObserverConnection::Socket(socket) => {
                    let packet = socket.next();
                    let event: Value = packet
                        .strip_prefix("42/chat,")
                        .map_or(Value::Null, |event| serde_json::from_str(event).expect("an event is JSON"));
                    let is_presence = ["user:online", "user:offline", "user:status-changed"];
                    if event[0].as_str().is_some_and(|name| is_presence.contains(&name)) {
                        self.note(&event[1]);
                    }
                }
            }
        }
    }

    fn note(&mut self, told: &Value) {
        let [user, status] = ["userId", "status"].map(|field| told[field].as_str().expect("a text").to_owned());
        if user.starts_with('s') {
            self.known.insert(user, status);
        }
    }
}

/// One part of a storm: connections come, are in a room or two, and end in one way or another.
struct StormPart<'a> {
    servers: &'a [Server],
    rng: Rng,
    /// Connections that are there, and whose they are.
    here: Vec<(String, TcpClient)>,
    seen: Known,
}

impl StormPart<'_> {
    fn below(&mut self, bound: usize) -> usize {
        self.rng.below(bound as u64) as usize
    }

    fn blow(mut self, gust: usize) -> (Vec<(String, TcpClient)>, Known) {
        for _ in 0..STORM / STORM_THREADS {
            self.come(gust);
            while self.here.len() > 40 || (self.below(3) == 0 && !self.here.is_empty()) {
                self.go();
            }
        }
        for (user, _) in &self.here {
            self.seen.insert(user.clone(), "online".to_owned());
        }
        // Some say how they are, in the end.
        for at in 0..self.here.len() {
            let (user, wire) = &mut self.here[at];
            if user.ends_with('3') {
                wire.send_text(r#"{"type":"presence","status":"away"}"#);
                self.seen.insert(user.clone(), "away".to_owned());
            }
        }
        (self.here, self.seen)
    }

    fn come(&mut self, gust: usize) {
        let user = format!("s{gust}-{}", self.rng.below(USERS));
        let server = self.below(self.servers.len());
        let rooms: Vec<_> = (0..1 + self.below(2)).map(|_| ROOMS[self.below(ROOMS.len())]).collect();
        let mut wire = None;
        // On a busy machine a server may have lost its Redis for a moment, and then sends clients away.
        wait_until("the client is in its rooms", || {
            wire = enter(&self.servers[server].address, &user, &rooms);
            wire.is_some()
        });
        self.seen.insert(user.clone(), "offline".to_owned());
        self.here.push((user, wire.expect("it is in its rooms")));
    }

    fn go(&mut self) {
        let at = self.below(self.here.len());
        let (_, mut wire) = self.here.swap_remove(at);
        match self.below(3) {
            0 => wire.reset(),
            1 => wire.send(&frame(CLOSE, &1000_u16.to_be_bytes())),
            _ => drop(wire),
        }
    }
}

/// A connection of a user that has joined these rooms; `None` if the server refuses or ends it.
fn enter(address: &str, user: &str, rooms: &[&str]) -> Option<TcpClient> {
    let mut wire = TcpClient::connect(address).upgrade(&token(user, &json!({})));
    for room in rooms {
        wire.send_text(&json!({ "type": "join-room", "roomId": room }).to_string());
        loop {
            match wire.next_json()?["type"].as_str() {
                Some("room-joined") => break,
                Some("error") => return None,
                _ => {}
            }
        }
    }
    Some(wire)
}

/// A thousand connections come and go; whoever was there all the time knows in the end who is there and how.
fn storm(settings: &[&str]) {
    storm_on(&[server(&[settings, &["presence.grace_ms=300"]].concat())]);
}

/// The same on three servers that share a Redis.
fn wide_storm(settings: &[&str]) {
    let redis = RedisServer::start();
    let url = format!("redis.url={}", redis.url());
    let servers = [(); 3].map(|()| server(&[settings, &["presence.grace_ms=300", &url]].concat()));
    storm_on(&servers);
}

fn storm_on(servers: &[Server]) {
    let names: Vec<String> = (0..3 * SHARDS).map(|number| format!("observer-{number}")).collect();
    // The first of them make the rooms.
    let observer = |(number, name): (usize, &String)| {
        let server = &servers[number % servers.len()];
        match number < 2 * SHARDS {
            true => Observer::raw(server, name),
            false => Observer::socket(server, name),
        }
    };
    let mut observers: Vec<Observer> = names.iter().enumerate().map(observer).collect();
    let truth = OnceLock::new();
    // The connections that are left stay until all have seen them.
    let mut left = Vec::new();
    thread::scope(|scope| {
        for observer in &mut observers {
            scope.spawn(|| observer.watch(&truth));
        }
        let blow = |gust: usize| {
            let rng = Rng::from_seed(gust as u64);
            StormPart { servers, rng, here: Vec::new(), seen: Known::new() }.blow(gust)
        };
        let gusts: Vec<_> = (0..STORM_THREADS).map(|gust| scope.spawn(move || blow(gust))).collect();
        let mut all = Known::new();
        for gust in gusts {
            let (connections, seen) = gust.join().expect("a gust");
            left.push(connections);
            all.extend(seen);
        }
        assert!(all.len() > 200 && all.values().any(|status| status == "away"), "{}", all.len());
        truth.set(all).expect("it is told once");
        // Whoever knows it already may have nothing more to read.
        let mut herald = connect(&servers[0], "herald");
        for name in &names {
            herald.send(&json!({ "type": "message", "toUserId": name, "content": "" }));
            herald.wait_for("message-sent");
        }
    });
}

#[test]
fn user_with_many_connections_goes_offline_once() {
    let server = server(&["presence.scope=all", "presence.grace_ms=100", "presence.batch_ms=10"]);
    let mut watchers: Vec<Client> = (0..SHARDS).map(|number| connect(&server, &format!("watcher-{number}"))).collect();
    // Users enough for each shard to be home to one of them, connections enough to be on all shards.
    for user in ["ann", "bo", "cy", "di", "ed", "flo"] {
        let mut connections: Vec<TcpClient> =
            (0..9).map(|_| TcpClient::connect(&server.address).upgrade(&token(user, &json!({})))).collect();
        for wire in &mut connections {
            // Greeted, it is attached.
            assert_eq!(wire.next_json().expect("it is connected")["type"], "connect");
        }
        connections.into_iter().for_each(TcpClient::reset);
        for watcher in &mut watchers {
            for status in ["online", "offline"] {
                let told = watcher.wait_until(|told| told["type"] == "presence" && told["userId"] == user);
                assert_eq!(told["status"], status, "{told}");
            }
        }
    }
    for watcher in &mut watchers {
        watcher.send(&json!({ "type": "ping" }));
        let told = watcher.next();
        assert_eq!(told["type"], "pong", "nothing is told twice: {told}");
    }
}

#[test]
fn last_seen_survives_restart() {
    const USERS: [&str; 4] = ["ann", "bo", "cy", "di"];
    let directory = Directory::new();
    let data = directory.text();
    // What one shard has kept is kept in order.
    let start = || Server::start(&["--shards", "1", "--data", &data, "--set", "rooms.create_on_join=always"]);
    let look = |server: &Server, user: &str| {
        let line = bearer(&token("root", &json!({ "role": "admin" })));
        ask(&server.address, "GET", &format!("/presence/{user}"), &[&line], None)
    };
    let server = start();
    for user in USERS {
        connect(&server, user).close();
        // The server closes after its last word, so the end of this user's presence may still be on its way.
        wait_until("the user is offline", || look(&server, user).json()["status"] == "offline");
    }
    let mut there = connect(&server, "still-there");
    there.join("r", "p");
    there.send(&json!({ "type": "message", "roomId": "r", "content": "kept" }));
    there.wait_for("message-sent");
    let seen = USERS.map(|user| look(&server, user).json());
    server.kill();
    let server = start();
    assert_eq!(USERS.map(|user| look(&server, user).json()), seen);
    for shown in seen {
        assert_eq!((&shown["status"], &shown["connections"]), (&json!("offline"), &json!(0)));
        assert!(shown["lastSeen"].is_string(), "{shown}");
    }
    assert_eq!(look(&server, "still-there").json()["status"], "offline");
    assert_eq!(look(&server, "nobody").json()["status"], "offline");
}

#[test]
fn presence_after_storm_agrees_with_scope_all() {
    storm(&["presence.scope=all"]);
}

#[test]
fn presence_after_storm_agrees_with_scope_rooms() {
    storm(&["presence.scope=rooms"]);
}

#[test]
fn presence_after_storm_on_three_servers_agrees_with_scope_all() {
    wide_storm(&["presence.scope=all"]);
}

#[test]
fn presence_after_storm_on_three_servers_agrees_with_scope_rooms() {
    wide_storm(&["presence.scope=rooms"]);
}
