//! State of a Redis Cluster. A cluster can have connections and serve no key: too few of its masters see each other, slots
//! have no server, or a server is stopped. So every master is asked repeatedly whether the cluster serves, by a connection of
//! its own.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::{
    AsyncConnectionConfig, ConnectionAddr, ConnectionInfo, Pipeline, RedisResult, TlsCertificates, Value,
    from_redis_value,
};
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::message::redis::RedisState;
use crate::runtime::bridge::connection::{Address, at, client};
use crate::runtime::bridge::probes::SLOTS;

/// Time for an answer.
const ANSWER_WITHIN: Duration = Duration::from_millis(1_000);

/// Time between two questions, and after one that was not answered well: a state that is seen twice in a row is reported.
const ASK_EVERY: Duration = Duration::from_millis(1_000);
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(300);

/// The watch over a cluster.
pub(super) struct ClusterWatch {
    /// Some servers of the cluster.
    seeds: Vec<ConnectionInfo>,
    certificates: Option<TlsCertificates>,
    connections: BTreeMap<Address, MultiplexedConnection>,
    view: ClusterView,
}

/// The masters of a cluster, and the number of slots that they keep.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct ClusterView {
    masters: BTreeSet<Address>,
    covered: u32,
}

/// Answer of a server.
struct ServerAnswer {
    from: Address,
    connection: MultiplexedConnection,
    /// Whether the cluster serves.
    is_ok: bool,
    view: ClusterView,
}

impl ClusterWatch {
    pub(super) fn new(seeds: Vec<ConnectionInfo>, certificates: Option<TlsCertificates>) -> Self {
        Self { seeds, certificates, connections: BTreeMap::new(), view: ClusterView::default() }
    }

    /// Sends the state, and each other one that follows it, until there is no receiver.
    pub(super) async fn run(mut self, states: UnboundedSender<RedisState>) {
        let (mut reported, mut before) = (RedisState::Ready, RedisState::Ready);
        while !states.is_closed() {
            let state = self.ask().await;
            if state != reported && (state == RedisState::Ready || state == before) {
                reported = state;
                let _ = states.send(state);
            }
            before = state;
            sleep(if state == RedisState::Ready { ASK_EVERY } else { ASK_AGAIN_AFTER }).await;
        }
    }

    /// The state now: not all masters serve, or none of them.
    pub(super) async fn ask(&mut self) -> RedisState {
        if self.view.masters.is_empty() {
            let seeds = self.seeds.iter().filter_map(|seed| address_of(seed.addr())).collect();
            self.ask_servers(seeds).await;
        }
        let ClusterView { masters, covered } = self.view.clone();
        let asked = masters.len();
        match self.ask_servers(masters).await {
            0 => RedisState::Unreachable,
            serving if serving == asked && covered == u32::from(SLOTS) => RedisState::Ready,
            _ => RedisState::Partial,
        }
    }

    /// Asks servers; how many of them say that the cluster serves. The masters are those that one of them knows.
    async fn ask_servers(&mut self, servers: BTreeSet<Address>) -> usize {
        let mut questions = JoinSet::new();
        for server in servers {
            let connection = self.connections.remove(&server);
            let (seed, certificates) = (self.seeds.first().cloned(), self.certificates.clone());
            questions.spawn(timeout(ANSWER_WITHIN, ask_server(seed, certificates, server, connection)));
        }
        let answers = questions.join_all().await.into_iter().filter_map(|answer| answer.ok()?.ok());
        let mut answers: Vec<ServerAnswer> = answers.collect();
        answers.sort_by_key(|answer| answer.is_ok);
        // Without an answer the masters are searched for again.
        self.view = answers.last().map(|answer| answer.view.clone()).unwrap_or_default();
        let serving = answers.iter().filter(|answer| answer.is_ok).count();
        self.connections = answers.into_iter().map(|answer| (answer.from, answer.connection)).collect();
        serving
    }
}

fn address_of(address: &ConnectionAddr) -> Option<Address> {
    match address {
        ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => Some((host.clone(), *port)),
        _ => None,
    }
}

async fn ask_server(
    seed: Option<ConnectionInfo>,
    certificates: Option<TlsCertificates>,
    from: Address,
    connection: Option<MultiplexedConnection>,
) -> RedisResult<ServerAnswer> {
    let mut connection = match connection {
        Some(connection) => connection,
        None => {
            let seed = seed.expect("invariant: an address names a server");
            let config = AsyncConnectionConfig::new()
                .set_connection_timeout(Some(ANSWER_WITHIN))
                .set_response_timeout(Some(ANSWER_WITHIN));
            let client = client(at(seed, from.clone()), certificates)?;
            client.get_multiplexed_async_connection_with_config(&config).await?
        }
    };
    let mut question = Pipeline::with_capacity(2);
    question.cmd("CLUSTER").arg("INFO").cmd("CLUSTER").arg("SLOTS");
    let mut answers = connection.req_packed_commands(&question, 0, 2).await?.into_iter();
    let information = answers.next().unwrap_or(Value::Nil).extract_error();
    let is_ok = says_ok(information.and_then(|information| Ok(from_redis_value::<String>(information)?)));
    let view = view_in(&answers.next().unwrap_or(Value::Nil), &from.0);
    Ok(ServerAnswer { from, connection, is_ok, view })
}

fn says_ok(information: RedisResult<String>) -> bool {
    match information {
        Ok(information) => information.contains("cluster_state:ok"),
        // The login does not allow the question, but the server answers.
        Err(error) => error.code() == Some("NOPERM"),
    }
}

/// The masters in the answer of `CLUSTER SLOTS`. A server that does not know its own host is at `host`.
fn view_in(answer: &Value, host: &str) -> ClusterView {
    let mut view = ClusterView::default();
    let Value::Array(ranges) = answer else { return view };
    for range in ranges {
        if let Value::Array(parts) = range
            && let [Value::Int(first), Value::Int(last), Value::Array(server), ..] = parts.as_slice()
            && let [name, Value::Int(port), ..] = server.as_slice()
            && let Ok(port) = u16::try_from(*port)
        {
            let name = match name {
                Value::BulkString(name) if !name.is_empty() && name != b"?" => String::from_utf8_lossy(name).into(),
                _ => host.to_owned(),
            };
            view.masters.insert((name, port));
            view.covered += u32::try_from(last - first + 1).unwrap_or_default();
        }
    }
    view
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masters_and_their_slots_are_found() {
        let server = |host: &str, port| {
            Value::Array(vec![Value::BulkString(host.as_bytes().to_vec()), Value::Int(port), Value::Nil])
        };
        let range = |first, last, host: &str, port| {
            let (master, replica) = (server(host, port), server(host, port + 10));
            Value::Array(vec![Value::Int(first), Value::Int(last), master, replica])
        };
        let ranges = [range(0, 9, "a", 1), range(20, 29, "a", 1), range(30, 30, "", 2)];
        let view = view_in(&Value::Array(ranges.into()), "asked");
        let masters = BTreeSet::from([("a".to_owned(), 1), ("asked".to_owned(), 2)]);
        assert_eq!(view, ClusterView { masters, covered: 21 });
        assert_eq!(view_in(&Value::Nil, "asked"), ClusterView::default());
    }
}
