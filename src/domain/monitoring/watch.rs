//! One shard's watch over its connections: every count, sketch and journal that one thing that happens has to go into.

use std::net::IpAddr;

use super::Overview;
use super::counters::{Counters, Figures, Metrics};
use super::frequent::{FREQUENT_KEPT, Frequent};
use super::journal::{Incident, Journal, newest};
use crate::base::Name;
use crate::base::ids::ConnectionId;
use crate::base::time::Now;
use crate::domain::client_query::{IncidentFilter, IncidentKind};

/// Addresses and user agents in an overview.
const TOP: usize = 10;

/// What one shard knows of its connections' coming and going.
pub struct ConnectionMonitor {
    counters: Counters,
    addresses: Frequent<IpAddr>,
    user_agents: Frequent<Name>,
    journal: Journal,
}

/// A client that comes, goes or is turned away.
#[derive(Clone, Debug)]
pub struct Visitor {
    /// Its connection, if it got one.
    pub connection: Option<ConnectionId>,
    /// Whose it is, if that is known.
    pub user: Option<Name>,
    /// Where it comes from.
    pub address: IpAddr,
    /// What it comes with, [`shortened`](super::shortened).
    pub user_agent: Option<Name>,
}

/// Things, each with how often it came.
pub type Counted<T> = Vec<(T, u64)>;

/// What one shard, or several together, have seen.
#[derive(Clone, Debug)]
pub struct OverviewParts {
    addresses: Frequent<IpAddr>,
    user_agents: Frequent<Name>,
    recent: Vec<Incident>,
}

impl ConnectionMonitor {
    /// Nothing has happened yet.
    pub fn new(seed: u64) -> Self {
        let (addresses, user_agents) = (Frequent::new(seed), Frequent::new(seed));
        Self { counters: Counters::default(), addresses, user_agents, journal: Journal::default() }
    }

    /// A client connected.
    pub fn connected(&mut self, now: Now, visitor: Visitor) {
        self.counters.connected(now);
        self.addresses.add(&visitor.address);
        if let Some(user_agent) = &visitor.user_agent {
            self.user_agents.add(user_agent);
        }
        self.note(now, visitor, IncidentKind::Connect, None);
    }

    /// A connection ended that had lasted so many milliseconds.
    pub fn disconnected(&mut self, now: Now, visitor: Visitor, lasted_ms: u64, reason: Name) {
        self.counters.disconnected(lasted_ms);
        self.note(now, visitor, IncidentKind::Disconnect, Some(reason));
    }

    /// A client was turned away before it was connected. `kind` is one of `AuthFailure`, `RateLimit` and `Error`.
    pub fn turned_away(&mut self, now: Now, visitor: Visitor, kind: IncidentKind, reason: Name) {
        self.counters.turned_away(now);
        self.note(now, visitor, kind, Some(reason));
    }

    /// A connected client was refused for asking too much, or something went wrong with its connection.
    pub fn incident(&mut self, now: Now, visitor: Visitor, kind: IncidentKind, reason: Name) {
        self.note(now, visitor, kind, Some(reason));
    }

    /// A request was answered. It failed when the server is to blame, not when its asker is.
    pub fn answered(&mut self, is_failure: bool, now: Now) {
        self.counters.answered(is_failure, now);
    }

    /// What is counted, for the [`ShardFigures`](super::Census); to be told it about once a second.
    pub fn take_figures(&mut self, now: Now) -> Figures {
        self.counters.take_figures(now)
    }

    /// The incidents that a filter lets through, newest first. Those of several shards become one list by [`newest`].
    pub fn select(&self, filter: &IncidentFilter<'_>) -> Vec<Incident> {
        self.journal.select(filter)
    }

    /// What an overview is made of.
    pub fn watched(&self) -> OverviewParts {
        OverviewParts {
            addresses: self.addresses.clone(),
            user_agents: self.user_agents.clone(),
            recent: self.journal.select(&IncidentFilter::default()),
        }
    }

    fn note(&mut self, now: Now, visitor: Visitor, kind: IncidentKind, reason: Option<Name>) {
        let Visitor { connection, user, address, user_agent } = visitor;
        self.journal.note(Incident { kind, connection, user, address, user_agent, at: now.wall, reason });
    }
}

impl OverviewParts {
    /// What was seen, for whoever has to take it apart: addresses and user agents, each with how often it came at the
    /// least, and what happened last.
    pub fn parts(&self) -> (Counted<IpAddr>, Counted<Name>, &[Incident]) {
        (self.addresses.top(FREQUENT_KEPT), self.user_agents.top(FREQUENT_KEPT), &self.recent)
    }

    /// The same, put together again.
    pub fn from_parts(addresses: Counted<IpAddr>, user_agents: Counted<Name>, recent: Vec<Incident>) -> Self {
        Self { addresses: Frequent::of(addresses), user_agents: Frequent::of(user_agents), recent }
    }

    /// Adds what another shard has seen.
    pub fn merge(&mut self, other: Self) {
        self.addresses.merge(&other.addresses);
        self.user_agents.merge(&other.user_agents);
        self.recent = newest([std::mem::take(&mut self.recent), other.recent], None);
    }

    /// The overview, with the [`ShardFigures`](super::Census)'s numbers.
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

    fn visitor(n: u8) -> Visitor {
        let user_agent = Some(if n < 3 { "Mozilla/5.0".into() } else { "curl/8".into() });
        Visitor { connection: None, user: Some(format!("u{n}").into()), address: [10, 0, 0, n].into(), user_agent }
    }

    #[test]
    fn what_shards_have_seen_is_one_overview() {
        let (mut a, mut b) = (ConnectionMonitor::new(1), ConnectionMonitor::new(2));
        a.connected(START, visitor(1));
        b.connected(START.plus(1), visitor(1));
        b.connected(START.plus(2), visitor(3));
        a.turned_away(START.plus(3), visitor(4), IncidentKind::AuthFailure, "token expired".into());
        b.disconnected(START.plus(5_000), visitor(3), 4_998, "client left".into());
        a.incident(START.plus(6_000), visitor(1), IncidentKind::RateLimit, "messages".into());
        a.answered(true, START.plus(6_000));
        let mut census = ShardFigures::new(2, START);
        census.hear(0, a.take_figures(START.plus(6_000)));
        census.hear(1, b.take_figures(START.plus(6_000)));
        let mut watched = a.watched();
        watched.merge(b.watched());
        let overview = watched.overview(census.totals().metrics());
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
