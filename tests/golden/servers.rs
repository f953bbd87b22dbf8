//! The servers of a conversation: one, or several that share a Redis.
//!
//! With several, each connection goes to another server than the one before, reconnects included, and an HTTP request
//! goes to another server than its client's connection.

use serde_json::{Value, json};

use crate::script::Script;
use crate::scripted_client::ScriptedClient;
use support::http::{self, Http};
use support::redis::RedisServer;
use support::server::{Server, token};

/// How many share a Redis.
pub(crate) const NODES: usize = 3;

/// The servers of one performance.
pub(crate) struct Servers {
    nodes: Vec<ServerNode>,
    /// How many clients have come so far.
    came: usize,
    /// How many requests have been made.
    asked: usize,
    /// How often all clients were told that they have heard everything.
    marks: u64,
    /// Ends behind those who use it.
    _redis: Option<RedisServer>,
}

struct ServerNode {
    /// A connection on which all clients are told something.
    wire: Http,
    server: Server,
}

impl Servers {
    /// One server.
    pub(crate) fn of_one(script: &Script, shards: &[&str]) -> Self {
        Self::of(vec![start(script, shards)], None)
    }

    /// [`NODES`] servers and the Redis that they share.
    pub(crate) fn of_many(script: &Script) -> Self {
        let redis = RedisServer::start();
        let url = format!("redis.url={}", redis.url());
        let has_shards = script.says_shards();
        let more = ["--set", &url, "--shards", "2"];
        let more = if has_shards { &more[..2] } else { &more[..] };
        let nodes = std::thread::scope(|scope| {
            let starting: Vec<_> = (0..NODES).map(|_| scope.spawn(|| start(script, more))).collect();
            starting.into_iter().map(|node| node.join().expect("it starts")).collect()
        });
        Self::of(nodes, Some(redis))
    }

    fn of(nodes: Vec<ServerNode>, redis: Option<RedisServer>) -> Self {
        Self { nodes, came: 0, asked: 0, marks: 0, _redis: redis }
    }

    /// Where the next client connects.
    pub(crate) fn next(&mut self) -> (usize, String) {
        let node = self.came % self.nodes.len();
        self.came += 1;
        (node, self.nodes[node].server.address.clone())
    }

    /// Where the next request goes, when it is from somebody who is connected to `own`.
    pub(crate) fn next_but(&mut self, own: Option<usize>) -> &str {
        self.asked += 1;
        let node = match own {
            Some(own) => own + 1 + self.asked % (self.nodes.len() - 1).max(1),
            None => self.asked,
        };
        &self.nodes[node % self.nodes.len()].server.address
    }

    /// Whether what is said at one server is known at another one only after a while.
    pub(crate) fn is_many(&self) -> bool {
        self.nodes.len() > 1
    }

    /// Has each server tell all clients something, and waits until they have heard it: what was said at any of them
    /// before has been done then, and heard by everybody.
    /// How many connections there were.
    pub(crate) fn mark<'a>(&mut self, parties: impl Iterator<Item = &'a mut ScriptedClient>) -> Result<u64, String> {
        let admin = http::bearer(&token("fence", &json!({ "role": "admin" })));
        let mut connections = 0;
        for node in &mut self.nodes {
            self.marks += 1;
            let body = json!({ "type": crate::scripted_client::FENCE, "data": self.marks }).to_string();
            let answer = node.wire.ask("POST", "/websocket/message/broadcast", &[&admin], Some(&body));
            if answer.status != 200 {
                return Err(format!("  the servers do not reach each other: {}", answer.text()));
            }
            connections = answer.json()["delivered"].as_u64().unwrap_or_default();
        }
        let last = Value::from(self.marks);
        parties.for_each(|party| party.hear_mark(&last));
        Ok(connections)
    }
}

fn start(script: &Script, more: &[&str]) -> ServerNode {
    let mut arguments: Vec<&str> = script.arguments.iter().map(String::as_str).collect();
    arguments.extend(more);
    let environment: Vec<_> = script.environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let server = Server::start_with(&arguments, &environment);
    ServerNode { wire: Http::connect(&server.address), server }
}
