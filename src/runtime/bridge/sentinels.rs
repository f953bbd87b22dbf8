//! The master of a group that Sentinels watch over.
//!
//! Sentinels can disagree: one that was away, or has not heard of a failover yet, names a former master; and a former master
//! that has restarted takes itself for the master until it is told otherwise. So all Sentinels are asked at once.
//!
//! - A new connection goes to the server with the newest configuration: each failover has an epoch of its own, which a majority
//!   of Sentinels has elected. While one of them replaces the master it names, there is no master for a limited time. The
//!   server itself has to say that it is a master, too.
//! - An existing connection is left only when a majority of the Sentinels names another server, and no later configuration
//!   names this one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::{
    AsyncConnectionConfig, ConnectionInfo, ErrorKind, Pipeline, PushInfo, PushKind, RedisConnectionInfo, RedisError,
    RedisResult, TlsCertificates, Value, from_redis_value,
};
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout_at};

use crate::runtime::bridge::connection::{Address, at, client};

/// Time for the answers of all Sentinels.
const ANSWERS_WITHIN: Duration = Duration::from_millis(800);

/// Time for further answers when a majority has answered.
const OTHERS_WITHIN: Duration = Duration::from_millis(150);

/// Time between two questions.
const CHECK_EVERY: Duration = Duration::from_millis(1_000);

/// Time between two questions during a failover.
const FAILOVER_CHECK_EVERY: Duration = Duration::from_millis(200);

/// Time that a failover may take until the former master is used again: its replica can be away, too, and then the Sentinels
/// go on for minutes.
const FAILOVER_MAX: Duration = Duration::from_secs(8);

/// Some Sentinels and the name of their master.
#[derive(Clone, Debug)]
pub(super) struct Sentinels {
    /// Their addresses, with the login for the master.
    servers: Vec<ConnectionInfo>,
    master: String,
    /// When the failover that is under way was first seen.
    failover_since: Arc<Mutex<Option<Instant>>>,
}

/// The view of one Sentinel.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Opinion {
    master: Address,
    /// Epoch of the configuration with this master.
    epoch: u64,
    /// Whether this Sentinel is about to replace the master.
    is_replacing: bool,
}

/// The outcome of a question to all Sentinels.
#[derive(Debug, PartialEq, Eq)]
enum Election {
    Master(Address),
    /// The master is about to be replaced.
    Replacing(Address),
    Unknown,
}

/// Connections to the Sentinels, by their place among the addresses.
type SentinelConnections = BTreeMap<usize, MultiplexedConnection>;

impl Sentinels {
    pub(super) fn new(servers: Vec<ConnectionInfo>, master: String) -> Self {
        Self { servers, master, failover_since: Arc::default() }
    }

    /// Their addresses, to change the login.
    pub(super) fn servers_mut(&mut self) -> &mut [ConnectionInfo] {
        &mut self.servers
    }

    pub(super) fn servers(&self) -> &[ConnectionInfo] {
        &self.servers
    }

    pub(super) fn master(&self) -> &str {
        &self.master
    }

    /// Where the master is. During a failover this waits; the caller limits the time.
    ///
    /// # Errors
    /// No Sentinel answers, or they do not know the master.
    pub(super) async fn find_master(&self, certificates: Option<&TlsCertificates>) -> RedisResult<Address> {
        let mut connections = SentinelConnections::new();
        loop {
            let opinions = self.ask(&mut connections, certificates).await;
            match elect(&opinions) {
                Election::Master(master) => {
                    self.failover_time(false);
                    return Ok(master);
                }
                Election::Replacing(master) if self.failover_time(true) >= FAILOVER_MAX => return Ok(master),
                Election::Replacing(_) => sleep(FAILOVER_CHECK_EVERY).await,
                Election::Unknown => return Err(no_master()),
            }
        }
    }

    /// How long a failover is under way.
    fn failover_time(&self, is_under_way: bool) -> Duration {
        let mut since = self.failover_since.lock().unwrap_or_else(PoisonError::into_inner);
        match is_under_way {
            true => since.get_or_insert_with(Instant::now).elapsed(),
            false => {
                *since = None;
                Duration::ZERO
            }
        }
    }

    /// Ends a connection to the server at `own` when another one is the master. A former master answers until it learns of
    /// the change, and its writes until then are lost.
    pub(super) async fn watch(
        self,
        own: Address,
        certificates: Option<TlsCertificates>,
        pushes: UnboundedSender<PushInfo>,
    ) {
        let mut connections = SentinelConnections::new();
        while !pushes.is_closed() {
            sleep(CHECK_EVERY).await;
            let opinions = self.ask(&mut connections, certificates.as_ref()).await;
            if is_replaced(&own, &opinions, self.servers.len()) {
                tracing::info!("the Sentinels know another master");
                let _ = pushes.send(PushInfo { kind: PushKind::Disconnection, data: Vec::new() });
                return;
            }
        }
    }

    /// The views of the Sentinels that answer in time.
    async fn ask(&self, connections: &mut SentinelConnections, certificates: Option<&TlsCertificates>) -> Vec<Opinion> {
        let mut answers = JoinSet::new();
        for (at, server) in self.servers.iter().enumerate() {
            let connection = connections.remove(&at);
            let (server, master, certificates) = (server.clone(), self.master.clone(), certificates.cloned());
            answers.spawn(async move { (at, opinion(server, master, certificates, connection).await) });
        }
        let mut until = Instant::now() + ANSWERS_WITHIN;
        let (mut opinions, mut answered) = (Vec::new(), 0);
        while let Ok(Some(answer)) = timeout_at(until, answers.join_next()).await {
            match answer {
                Ok((at, Ok((connection, opinion)))) => {
                    connections.insert(at, connection);
                    opinions.extend(opinion);
                    answered += 1;
                }
                Ok((_, Err(error))) => tracing::debug!(%error, "a Sentinel does not answer"),
                Err(_) => {}
            }
            if answered > self.servers.len() / 2 {
                until = until.min(Instant::now() + OTHERS_WITHIN);
            }
        }
        opinions
    }

    /// The address of a master, with the login for it.
    pub(super) fn info(&self, master: Address) -> ConnectionInfo {
        at(self.servers.first().expect("invariant: an address names a Sentinel").clone(), master)
    }
}

/// Asks one Sentinel. It can have no view: it does not know the name.
async fn opinion(
    server: ConnectionInfo,
    master: String,
    certificates: Option<TlsCertificates>,
    connection: Option<MultiplexedConnection>,
) -> RedisResult<(MultiplexedConnection, Option<Opinion>)> {
    let mut connection = match connection {
        Some(connection) => connection,
        None => {
            // The login is for the master.
            let info = server.set_redis_settings(RedisConnectionInfo::default());
            let config = AsyncConnectionConfig::new()
                .set_connection_timeout(Some(ANSWERS_WITHIN))
                .set_response_timeout(Some(ANSWERS_WITHIN));
            client(info, certificates)?.get_multiplexed_async_connection_with_config(&config).await?
        }
    };
    let mut question = Pipeline::with_capacity(2);
    question.cmd("SENTINEL").arg("GET-MASTER-ADDR-BY-NAME").arg(&master);
    question.cmd("SENTINEL").arg("MASTER").arg(&master);
    let mut answers = connection.req_packed_commands(&question, 0, 2).await?.into_iter();
    let address: Option<Address> = from_redis_value(answers.next().unwrap_or(Value::Nil))?;
    // Without a state, an older Sentinel or an unknown name, there is the address alone.
    let state = answers.next().and_then(|state| from_redis_value(state).ok()).unwrap_or_default();
    Ok((connection, address.map(|address| opinion_of(address, &state))))
}

fn opinion_of(master: Address, state: &BTreeMap<String, String>) -> Opinion {
    let field = |name: &str| state.get(name).map_or("", String::as_str);
    // When the replica is promoted, the address is its own, and the state still that of the former master.
    let is_former = (field("ip"), field("port")) == (&*master.0, &*master.1.to_string());
    let is_replacing = is_former && field("flags").split(',').any(|flag| flag == "failover_in_progress");
    Opinion { epoch: field("config-epoch").parse().unwrap_or_default(), is_replacing, master }
}

/// The master of the newest configuration; of two with the same epoch, the one that more Sentinels name.
fn elect(opinions: &[Opinion]) -> Election {
    let votes = |opinion: &Opinion| opinions.iter().filter(|other| other.master == opinion.master).count();
    let Some(newest) = opinions.iter().max_by_key(|opinion| (opinion.epoch, votes(opinion))) else {
        return Election::Unknown;
    };
    let is_replacing = |opinion: &Opinion| opinion.is_replacing && opinion.master == newest.master;
    match opinions.iter().any(is_replacing) {
        true => Election::Replacing(newest.master.clone()),
        false => Election::Master(newest.master.clone()),
    }
}

/// Whether a majority of all Sentinels names another master than the server at `own`, by a configuration that is not older.
fn is_replaced(own: &Address, opinions: &[Opinion], sentinels: usize) -> bool {
    let epoch_of = |is_it: &dyn Fn(&&Opinion) -> bool| opinions.iter().filter(is_it).map(|opinion| opinion.epoch).max();
    opinions.iter().any(|opinion| {
        let votes = opinions.iter().filter(|other| other.master == opinion.master).count();
        opinion.master != *own
            && votes > sentinels / 2
            && epoch_of(&|other| other.master == opinion.master) >= epoch_of(&|other| other.master == *own)
    })
}

fn no_master() -> RedisError {
    (ErrorKind::Io, "no Sentinel answers that knows the master").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opinion(host: &str, epoch: u64) -> Opinion {
        Opinion { master: (host.to_owned(), 1), epoch, is_replacing: false }
    }

    fn master(host: &str) -> Election {
        Election::Master((host.to_owned(), 1))
    }

    #[test]
    fn newest_configuration_has_the_master() {
        assert_eq!(elect(&[]), Election::Unknown);
        assert_eq!(elect(&[opinion("a", 3), opinion("a", 3), opinion("b", 4)]), master("b"));
        assert_eq!(elect(&[opinion("old", 0), opinion("b", 2), opinion("b", 2)]), master("b"));
        assert_eq!(elect(&[opinion("a", 0), opinion("b", 0), opinion("b", 0)]), master("b"));
        let replacing = Opinion { is_replacing: true, ..opinion("a", 1) };
        assert_eq!(elect(&[opinion("a", 1), replacing.clone()]), Election::Replacing(("a".to_owned(), 1)));
        assert_eq!(elect(&[opinion("b", 2), replacing]), master("b"), "it has been replaced meanwhile");
    }

    #[test]
    fn working_master_is_left_for_a_majority_only() {
        let own = ("a".to_owned(), 1);
        let is_left = |opinions: &[Opinion]| is_replaced(&own, opinions, 3);
        assert!(!is_left(&[]));
        assert!(!is_left(&[opinion("b", 9)]), "one of three");
        assert!(!is_left(&[opinion("b", 9), opinion("a", 1), opinion("a", 1)]));
        assert!(is_left(&[opinion("b", 2), opinion("b", 2), opinion("a", 1)]));
        assert!(
            !is_left(&[opinion("b", 0), opinion("b", 0), opinion("a", 1)]),
            "they have not heard of the failover yet"
        );
        assert!(!is_left(&[opinion("b", 2), opinion("c", 2), opinion("a", 1)]), "they do not agree");
        assert!(is_replaced(&own, &[opinion("b", 0)], 1));
    }

    #[test]
    fn promoted_replica_is_not_being_replaced() {
        let words = [("ip", "a"), ("port", "1"), ("flags", "master,failover_in_progress"), ("config-epoch", "7")];
        let state = words.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let of = |host: &str| opinion_of((host.to_owned(), 1), &state);
        assert_eq!(of("a"), Opinion { is_replacing: true, ..opinion("a", 7) });
        assert_eq!(of("b"), opinion("b", 7));
    }
}
