//! State of a Redis Cluster. A cluster can have connections and serve no key: too few of its masters see each other, slots
//! have no server, or a server is stopped. So every master is asked repeatedly whether the cluster serves.

use std::collections::BTreeSet;
use std::time::Duration;

use redis::cluster_async::ClusterConnection;
use redis::cluster_routing::{RoutingInfo, SingleNodeRoutingInfo};
use redis::{RedisResult, Value, cmd, from_redis_value};
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::message::redis::RedisState;
use crate::runtime::bridge::probes::SLOTS;

/// Time for an answer.
const ANSWER_WITHIN: Duration = Duration::from_millis(1_000);

/// Time between two questions, and after one that was not answered well: a state that is seen twice in a row is reported.
const ASK_EVERY: Duration = Duration::from_millis(1_000);
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(300);

/// The watch over a cluster.
pub(super) struct ClusterWatch {
    connection: ClusterConnection,
    masters: BTreeSet<(String, u16)>,
    /// Slots that these masters keep.
    covered: u32,
}

impl ClusterWatch {
    pub(super) fn new(connection: ClusterConnection) -> Self {
        Self { connection, masters: BTreeSet::new(), covered: 0 }
    }

    /// Sends the state, and each other one that follows it, until there is no receiver.
    pub(super) async fn run(mut self, states: UnboundedSender<RedisState>) {
        let (mut reported, mut before) = (RedisState::Good, RedisState::Good);
        while !states.is_closed() {
            let state = self.ask().await;
            if state != reported && (state == RedisState::Good || state == before) {
                reported = state;
                let _ = states.send(state);
            }
            before = state;
            sleep(if state == RedisState::Good { ASK_EVERY } else { ASK_AGAIN_AFTER }).await;
        }
    }

    /// The state now: not all masters serve, or none of them.
    pub(super) async fn ask(&mut self) -> RedisState {
        if self.masters.is_empty() {
            self.find_masters().await;
        }
        let mut answers = JoinSet::new();
        for (host, port) in self.masters.iter().cloned() {
            answers.spawn(serves(self.connection.clone(), host, port));
        }
        let (asked, covered) = (self.masters.len(), self.covered);
        // The masters of the next question.
        self.find_masters().await;
        let serving = answers.join_all().await.into_iter().filter(|serves| *serves).count();
        match serving {
            0 => RedisState::Away,
            _ if serving == asked && covered == u32::from(SLOTS) => RedisState::Good,
            _ => RedisState::Partial,
        }
    }

    async fn find_masters(&mut self) {
        let anywhere = RoutingInfo::SingleNode(SingleNodeRoutingInfo::Random);
        let question = timeout(ANSWER_WITHIN, self.connection.route_command(slots(), anywhere));
        // A server that does not answer leaves the masters that are known.
        if let Ok(Ok(answer)) = question.await {
            (self.masters, self.covered) = masters_in(&answer);
        }
    }
}

fn slots() -> redis::Cmd {
    let mut command = cmd("CLUSTER");
    command.arg("SLOTS");
    command
}

/// Whether a master answers that the cluster serves.
async fn serves(mut connection: ClusterConnection, host: String, port: u16) -> bool {
    let mut command = cmd("CLUSTER");
    command.arg("INFO");
    let to = RoutingInfo::SingleNode(SingleNodeRoutingInfo::ByAddress { host, port });
    match timeout(ANSWER_WITHIN, connection.route_command(command, to)).await {
        Ok(answer) => says_ok(answer.and_then(|answer| Ok(from_redis_value::<String>(answer)?))),
        Err(_) => false,
    }
}

fn says_ok(information: RedisResult<String>) -> bool {
    match information {
        Ok(information) => information.contains("cluster_state:ok"),
        // The login does not allow the question, but the server answers.
        Err(error) => error.code() == Some("NOPERM"),
    }
}

/// The masters in the answer of `CLUSTER SLOTS`, and the number of slots that they keep.
fn masters_in(answer: &Value) -> (BTreeSet<(String, u16)>, u32) {
    let Value::Array(ranges) = answer else { return Default::default() };
    let (mut masters, mut covered) = (BTreeSet::new(), 0);
    for range in ranges {
        if let Value::Array(parts) = range
            && let [Value::Int(first), Value::Int(last), Value::Array(server), ..] = parts.as_slice()
            && let [Value::BulkString(host), Value::Int(port), ..] = server.as_slice()
            && let Ok(port) = u16::try_from(*port)
        {
            masters.insert((String::from_utf8_lossy(host).into_owned(), port));
            covered += u32::try_from(last - first + 1).unwrap_or_default();
        }
    }
    (masters, covered)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masters_and_their_slots_are_found() {
        let text = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        let server = |port| Value::Array(vec![text("127.0.0.1"), Value::Int(port), text("id")]);
        let range = |first, last, port| {
            Value::Array(vec![Value::Int(first), Value::Int(last), server(port), server(port + 10)])
        };
        let (masters, covered) = masters_in(&Value::Array(vec![range(0, 9, 1), range(20, 29, 1), range(30, 30, 2)]));
        let local = |port| ("127.0.0.1".to_owned(), port);
        assert_eq!((masters, covered), (BTreeSet::from([local(1), local(2)]), 21));
        assert_eq!(masters_in(&Value::Nil), (BTreeSet::new(), 0));
    }
}
