//! The connection monitor of one shard: passes each incident on to all counters, sketches and journals that it
//! concerns.

use std::net::IpAddr;

use super::Overview;
use super::counters::{Counters, Figures, Metrics};
use super::frequency_sketch::{FREQUENT_KEPT, FrequencySketch};
use super::journal::{Incident, IncidentJournal, newest};
use crate::base::Name;
use crate::base::ids::ConnectionId;
use crate::base::time::Now;
use crate::domain::client_query::{IncidentFilter, IncidentKind};

/// Addresses and user agents in an overview.
const TOP: usize = 10;

/// The counters, sketches and journal of one shard's connections.
pub struct ConnectionMonitor {
    counters: Counters,
    addresses: FrequencySketch<IpAddr>,
    user_agents: FrequencySketch<Name>,
    journal: IncidentJournal,
}

/// A client that connects, disconnects or is refused.
#[derive(Clone, Debug)]
pub struct MonitoredClient {
    /// Its connection, if it has one.
    pub connection: Option<ConnectionId>,
    /// Its user, if known.
    pub user: Option<Name>,
    /// Its address.
    pub address: IpAddr,
    /// Its user agent, [`shortened`](super::shortened).
    pub user_agent: Option<Name>,
}

/// Items with their counts.
pub type Counted<T> = Vec<(T, u64)>;

/// The parts of an overview that one shard contributes, or several merged.
#[derive(Clone, Debug)]
pub struct OverviewParts {
    addresses: FrequencySketch<IpAddr>,
    user_agents: FrequencySketch<Name>,
    recent: Vec<Incident>,
}

impl ConnectionMonitor {
    /// A monitor without incidents.
    pub fn new(seed: u64) -> Self {
        let (addresses, user_agents) = (FrequencySketch::new(seed), FrequencySketch::new(seed));
        Self { counters: Counters::default(), addresses, user_agents, journal: IncidentJournal::default() }
    }

    /// A client connected.
    pub fn connected(&mut self, now: Now, client: MonitoredClient) {
        self.counters.connected(now);
        self.addresses.add(&client.address);
        if let Some(user_agent) = &client.user_agent {
            self.user_agents.add(user_agent);
        }
        self.note(now, client, IncidentKind::Connect, None);
    }

    /// A connection ended after this number of milliseconds.
    pub fn disconnected(&mut self, now: Now, client: MonitoredClient, lasted_ms: u64, reason: Name) {
        self.counters.disconnected(lasted_ms);
        self.note(now, client, IncidentKind::Disconnect, Some(reason));
    }

    /// A client was refused before it was connected. `kind` is one of `AuthFailure`, `RateLimit` and `Error`.
    pub fn turned_away(&mut self, now: Now, client: MonitoredClient, kind: IncidentKind, reason: Name) {
        self.counters.turned_away(now);
        self.note(now, client, kind, Some(reason));
    }

    /// A connected client exceeded a quota, or its connection failed.
    pub fn incident(&mut self, now: Now, client: MonitoredClient, kind: IncidentKind, reason: Name) {
        self.note(now, client, kind, Some(reason));
    }

    /// A request was answered. It counts as a failure if the server is to blame, not if the client is.
    pub fn answered(&mut self, is_failure: bool, now: Now) {
        self.counters.answered(is_failure, now);
    }

    /// The figures for [`ShardFigures`](super::ShardFigures), to be taken about once a second.
    pub fn take_figures(&mut self, now: Now) -> Figures {
        self.counters.take_figures(now)
    }

    /// The incidents that match a filter, newest first. Lists of several shards are merged by [`newest`].
    pub fn select(&self, filter: &IncidentFilter<'_>) -> Vec<Incident> {
        self.journal.select(filter)
    }

    /// This shard's parts of an overview.
    pub fn overview_parts(&self) -> OverviewParts {
        OverviewParts {
            addresses: self.addresses.clone(),
            user_agents: self.user_agents.clone(),
            recent: self.journal.select(&IncidentFilter::default()),
        }
    }

    fn note(&mut self, now: Now, client: MonitoredClient, kind: IncidentKind, reason: Option<Name>) {
        let MonitoredClient { connection, user, address, user_agent } = client;
        self.journal.note(Incident { kind, connection, user, address, user_agent, at: now.wall, reason });
    }
}

impl OverviewParts {
    /// The parts in a form that can be encoded: addresses and user agents with lower bounds of their counts, and the last
    /// incidents.
    pub fn parts(&self) -> (Counted<IpAddr>, Counted<Name>, &[Incident]) {
        (self.addresses.top(FREQUENT_KEPT), self.user_agents.top(FREQUENT_KEPT), &self.recent)
    }

    /// The reverse of [`OverviewParts::parts`].
    pub fn from_parts(addresses: Counted<IpAddr>, user_agents: Counted<Name>, recent: Vec<Incident>) -> Self {
        Self { addresses: FrequencySketch::of(addresses), user_agents: FrequencySketch::of(user_agents), recent }
    }

    /// Merges the parts of another shard.
    pub fn merge(&mut self, other: Self) {
        self.addresses.merge(&other.addresses);
        self.user_agents.merge(&other.user_agents);
        self.recent = newest([std::mem::take(&mut self.recent), other.recent], None);
    }

    /// The overview, completed with the connection counts.
    pub fn overview(self, metrics: Metrics) -> Overview {
        let (addresses, user_agents) = (self.addresses.top(TOP), self.user_agents.top(TOP));
        Overview { metrics, recent: self.recent, addresses, user_agents }
    }
}

#[cfg(test)]
mod tests {
    use super::super::ShardFigures;
    use super::*;

    const START: Now = Now { mono: 1_000, wall: 1_736_458_200_000 };

    fn client(n: u8) -> MonitoredClient {
        let user_agent = Some(if n < 3 { "Mozilla/5.0".into() } else { "curl/8".into() });
        MonitoredClient {
            connection: None,
            user: Some(format!("u{n}").into()),
            address: [10, 0, 0, n].into(),
            user_agent,
        }
    }

    #[test]
    fn what_shards_have_seen_is_one_overview() {
        let (mut a, mut b) = (ConnectionMonitor::new(1), ConnectionMonitor::new(2));
        a.connected(START, client(1));
        b.connected(START.plus(1), client(1));
        b.connected(START.plus(2), client(3));
        a.turned_away(START.plus(3), client(4), IncidentKind::AuthFailure, "token expired".into());
        b.disconnected(START.plus(5_000), client(3), 4_998, "client left".into());
        a.incident(START.plus(6_000), client(1), IncidentKind::RateLimit, "messages".into());
        a.answered(true, START.plus(6_000));
        let mut figures_by_shard = ShardFigures::new(2, START);
        figures_by_shard.update(0, a.take_figures(START.plus(6_000)));
        figures_by_shard.update(1, b.take_figures(START.plus(6_000)));
        let mut parts = a.overview_parts();
        parts.merge(b.overview_parts());
        let overview = parts.overview(figures_by_shard.totals().metrics());
        let kinds: Vec<&str> = overview.recent.iter().map(|incident| incident.kind.as_str()).collect();
        assert_eq!(kinds, ["rate_limit", "disconnect", "auth_failure", "connect", "connect", "connect"]);
        assert_eq!(overview.addresses, [([10, 0, 0, 1].into(), 2), ([10, 0, 0, 3].into(), 1)]);
        assert_eq!(overview.user_agents, [("Mozilla/5.0".into(), 2), ("curl/8".into(), 1)]);
        let metrics = overview.metrics;
        assert_eq!((metrics.total, metrics.active, metrics.failed, metrics.average_ms), (3, 2, 1, 4_998));
        assert_eq!(metrics.error_rate, 2.0 / 5.0);
        let failures = IncidentFilter { kind: Some(IncidentKind::AuthFailure), ..IncidentFilter::default() };
        assert_eq!(newest([a.select(&failures), b.select(&failures)], None).len(), 1);
    }
}
