//! Two Redis servers that are the master for some nodes each: the nodes never continue one epoch with different messages.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use support::client::Client;
use support::fault_proxy::FaultProxy;
use support::process::wait_until;
use support::redis::RedisServer;
use support::server::{Server, token};

const SIGKILL: i32 = 9;

/// A member of the room, and what it knows: contents by epoch and number.
struct Member {
    client: Client,
    name: &'static str,
    epoch: String,
    known: BTreeMap<(String, u64), String>,
}

impl Member {
    fn join(server: &Server, name: &'static str) -> Self {
        let client = Client::connect(&server.address, Some(&token(name, &json!({}))));
        let mut member = Self { client, name, epoch: String::new(), known: BTreeMap::new() };
        let joined = member.client.join("r", name);
        member.note(&joined);
        member
    }

    /// Takes note of a message of the server; whether it is the last of `kinds` to wait for.
    fn note(&mut self, message: &Value) {
        match message["type"].as_str() {
            Some("room-joined") => self.epoch = message["epoch"].as_str().expect("an epoch").to_owned(),
            Some("room-closed") => {
                let again = json!({ "type": "join-room", "roomId": "r", "peerId": self.name });
                self.client.send(&again);
            }
            Some("message") => self.learn(message, &message["content"]),
            Some("message-sent") => self.learn(message, &message["requestId"]),
            _ => {}
        }
    }

    fn learn(&mut self, message: &Value, content: &Value) {
        let (seq, content) = (message["seq"].as_u64().expect("a number"), content.as_str().expect("text").to_owned());
        let before = self.known.insert((self.epoch.clone(), seq), content.clone());
        assert!(before.is_none_or(|before| before == content), "{}: {message} again", self.name);
    }

    fn hear(&mut self) -> Value {
        let message = self.client.next();
        self.note(&message);
        message
    }

    /// Sends a message until it is acknowledged.
    fn say(&mut self, content: &str) {
        loop {
            self.client.send(&json!({
                "type": "message", "roomId": "r", "content": content, "requestId": content, "clientMessageId": content,
            }));
            loop {
                let answer = self.hear();
                if answer["requestId"] == content {
                    match answer["type"].as_str() {
                        Some("message-sent") => return,
                        _ => break,
                    }
                }
            }
        }
    }

    fn hear_content(&mut self, content: &str) {
        while !self.known.values().any(|known| known == content) {
            self.hear();
        }
    }
}

fn is_synced(replica: &RedisServer) -> bool {
    let info = replica.try_ask("INFO replication").unwrap_or_default();
    info.contains("role:slave") && info.contains("master_link_status:up")
}

/// The node of the first master and that of the second one both go on, and then meet at the second master: it has not heard from
/// the other node, so that it does not continue the epoch.
#[test]
fn nodes_of_two_masters_never_continue_one_epoch() {
    let mut first = RedisServer::start_keeping();
    let second = RedisServer::start_with(&["--replicaof", &format!("127.0.0.1 {}", first.port())]);
    wait_until("the replica is in step", || is_synced(&second));
    let proxies = [FaultProxy::to(first.port()), FaultProxy::to(first.port())];
    let servers = [0, 1].map(|at: usize| Server::of_shards(2, &[&format!("redis.url={}", proxies[at].url())]));
    let [mut ada, mut bo] = [Member::join(&servers[0], "ada"), Member::join(&servers[1], "bo")];
    ada.say("before");
    bo.hear_content("before");
    wait_until("the replica has it", || second.ask::<u64>("XLEN switchboard:room:{r}:l") == 1);
    second.command(&["REPLICAOF", "NO", "ONE"]);
    proxies[0].lead_to(second.port());
    first.restart_keeping(SIGKILL);
    let epoch = ada.epoch.clone();
    for at in 0..5 {
        ada.say(&format!("ada {at}"));
    }
    for at in 0..3 {
        bo.say(&format!("bo {at}"));
    }
    first.command(&["REPLICAOF", "127.0.0.1", &second.port().to_string()]);
    wait_until("the first one is a replica", || is_synced(&first));
    proxies[1].lead_to(second.port());
    bo.say("bo is back");
    ada.hear_content("bo is back");
    ada.say("ada goes on");
    bo.hear_content("ada goes on");
    assert!(ada.epoch != epoch && ada.epoch == bo.epoch, "{} {} {epoch}", ada.epoch, bo.epoch);
    for (place, content) in &ada.known {
        let other = bo.known.get(place).unwrap_or(content);
        assert_eq!(content, other, "{place:?}");
    }
}
