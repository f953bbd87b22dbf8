//! Metrics of a shard: counters of its connections and requests, and the last report of each shard of the process.
//!
//! Each shard sends its report to all others once a second while its counters change. So any shard answers for the whole
//! process at once, with figures of the others that are at most that old.

use std::net::IpAddr;

use crate::base::handle::{PeerKey, PeerSlot};
use crate::base::limits;
use crate::base::time::Now;
use crate::domain::access::Identity;
use crate::domain::client_query::{IncidentFilter, IncidentKind};
use crate::domain::monitoring::{
    BackendState, ConnectionMonitor, Figures, HealthReport, Incident, Load, MonitoredClient, OverviewParts,
    ShardFigures, Stats, Totals, Vitals, assess, shortened,
};
use crate::domain::reject::{Code, Reject};
use crate::message::redis::RedisState;
use crate::message::storage::StorageState;
use crate::message::{ShardMessage, ShardNumber, ShardReport};
use crate::shard::access_log::EndedConnection;
use crate::shard::core::Core;
use crate::shard::log::{ConnectionLog, Line, Logging};
use crate::shard::peers::Departing;

/// Interval of the reports, in milliseconds.
const REPORT_EVERY_MS: u64 = 1_000;

/// Refused requests that are recorded as incidents in one window, and its length in milliseconds.
const REFUSALS_MAX: u32 = 200;
const REFUSALS_WINDOW_MS: u64 = 10_000;

/// Counters and incidents of this shard, and the reports of all shards.
pub(super) struct ShardMetrics {
    monitor: ConnectionMonitor,
    figures: ShardFigures,
    /// Last report by shard.
    reports: Vec<ShardReport>,
    /// When the next report is sent, in monotonic milliseconds; 0 while no counter changes.
    due: u64,
    /// Messages in the longest channel between shards, as last measured.
    longest_queue: u64,
    redis: RedisState,
    /// Refused requests that are recorded.
    refusals: Window,
    pub(super) log: ConnectionLog,
}

impl ShardMetrics {
    pub(super) fn new(shards: usize, seed: u64, now: Now) -> Self {
        Self {
            monitor: ConnectionMonitor::new(seed),
            figures: ShardFigures::new(shards, now),
            reports: vec![ShardReport::default(); shards],
            due: 0,
            longest_queue: 0,
            redis: RedisState::default(),
            refusals: Window::default(),
            log: ConnectionLog::new(),
        }
    }

    /// When the next report is sent, in monotonic milliseconds.
    pub(super) fn next_due(&self) -> Option<u64> {
        (self.due != 0).then_some(self.due)
    }

    pub(super) fn set_longest_queue(&mut self, messages: usize) {
        self.longest_queue = messages as u64;
    }

    pub(super) fn set_redis(&mut self, state: RedisState) {
        self.redis = state;
    }

    pub(super) fn redis(&self) -> RedisState {
        self.redis
    }

    /// Counts the reply to a request. `is_failure`: the server is at fault.
    pub(super) fn count_reply(&mut self, now: Now, is_failure: bool) {
        self.monitor.answered(is_failure, now);
        self.schedule_report(now);
    }

    pub(super) fn incidents(&self, filter: &IncidentFilter<'_>) -> Vec<Incident> {
        self.monitor.select(filter)
    }

    pub(super) fn overview(&self) -> OverviewParts {
        self.monitor.overview_parts()
    }

    /// Replaces the last report of a shard.
    pub(super) fn apply_report(&mut self, from: ShardNumber, report: ShardReport) {
        let from = usize::from(from);
        debug_assert!(from < self.reports.len(), "invariant: reports come from shards of this process");
        self.figures.update(from, report.figures);
        self.reports[from] = report;
    }

    fn schedule_report(&mut self, now: Now) {
        if self.due == 0 {
            self.due = now.mono + REPORT_EVERY_MS;
        }
    }

    fn connected(&mut self, now: Now, visitor: MonitoredClient) {
        self.monitor.connected(now, visitor);
        self.schedule_report(now);
    }

    fn disconnected(&mut self, now: Now, visitor: MonitoredClient, connected_at: u64, departing: Departing) {
        let reason = departing.reason();
        self.monitor.disconnected(now, visitor, now.wall.saturating_sub(connected_at), reason.into());
        self.schedule_report(now);
    }

    /// Records a client that was refused before it was attached.
    pub(super) fn turned_away(&mut self, now: Now, address: IpAddr, agent: Option<&str>, reject: &Reject) {
        self.log.refused(now, address, reject);
        self.monitor.turned_away(now, unknown_client(address, agent), kind_of(reject), reject.text.as_ref().into());
        self.schedule_report(now);
    }

    /// Records a call that was refused because of its token, origin or address.
    pub(super) fn call_refused(&mut self, now: Now, address: IpAddr, agent: Option<&str>, reject: &Reject) {
        let (code, reason) = (reject.code.as_str(), reject.text.as_ref());
        tracing::debug!(%address, code, reason, "call refused");
        if self.refusals.takes(now) {
            self.monitor.incident(now, unknown_client(address, agent), kind_of(reject), reject.text.as_ref().into());
        }
        self.schedule_report(now);
    }

    /// Records a request of an attached client that was refused.
    fn refused(&mut self, now: Now, visitor: MonitoredClient, reject: &Reject) {
        self.monitor.incident(now, visitor, kind_of(reject), reject.text.as_ref().into());
        self.schedule_report(now);
    }
}

/// A bound on events per time: when the running window began, in monotonic milliseconds, and the events since.
#[derive(Default)]
struct Window {
    began: u64,
    events: u32,
}

impl Window {
    /// Whether another event is recorded now: clients that fail again and again must not push all others out of the journal and
    /// the log.
    fn takes(&mut self, now: Now) -> bool {
        if now.mono >= self.began + REFUSALS_WINDOW_MS {
            *self = Self { began: now.mono, events: 0 };
        }
        self.events = self.events.saturating_add(1);
        self.events <= REFUSALS_MAX
    }
}

/// Metrics of events and requests on the other components.
pub(in crate::shard) struct Metering<'a> {
    core: &'a mut Core,
}

impl<'a> Metering<'a> {
    pub(in crate::shard) fn on(core: &'a mut Core) -> Self {
        Self { core }
    }
}

impl Metering<'_> {
    /// Sends a report to the other shards, and schedules the next one while a counter of the last minutes is not 0.
    pub(super) fn send_report(&mut self, now: Now) {
        let report = self.update(now);
        let Figures { opened_lately, attempts, .. } = report.figures;
        let Core { metrics, channels, number: from, .. } = &mut *self.core;
        metrics.due = if opened_lately + attempts == 0 { 0 } else { now.mono + REPORT_EVERY_MS };
        for shard in (0..channels.placement.shards() as ShardNumber).filter(|shard| shard != from) {
            channels.post(shard, ShardMessage::ShardReport { from: *from, report: Box::new(report) });
        }
    }

    /// Brings this shard's own report up to date.
    fn update(&mut self, now: Now) -> ShardReport {
        let (stats, storage_lag_ms) = (self.core.stats(), self.core.owner.storage_lag_ms(now));
        let figures = self.core.metrics.monitor.take_figures(now);
        let report = ShardReport { figures, storage_lag_ms, stats };
        self.core.metrics.apply_report(self.core.number, report);
        report
    }

    /// Connection counters of this process.
    pub(super) fn totals(&mut self, now: Now) -> Totals {
        self.update(now);
        self.core.metrics.figures.totals()
    }

    /// Connection counters of this shard, with the peak of all shards.
    pub(super) fn own_totals(&mut self, now: Now) -> Totals {
        let figures = self.update(now).figures;
        Totals { figures, ..self.core.metrics.figures.totals() }
    }

    /// Sum of the counters of all shards.
    pub(super) fn stats_of_all(&mut self, now: Now) -> Stats {
        self.update(now);
        let mut all = Stats::default();
        self.core.metrics.reports.iter().for_each(|report| all.add(&report.stats));
        all
    }

    pub(super) fn assess(&mut self, now: Now) -> HealthReport {
        assess(&self.vitals(now))
    }

    /// Measurements that health is assessed by.
    pub(super) fn vitals(&mut self, now: Now) -> Vitals {
        self.update(now);
        let Core { metrics, options, channels, owner, .. } = &*self.core;
        let is_cluster = channels.placement.is_cluster();
        let total = metrics.figures.total();
        let connections = metrics.reports.iter().map(|report| report.stats.connections as u64).sum();
        let lag_ms = metrics.reports.iter().map(|report| report.storage_lag_ms).max().unwrap_or_default();
        let store = match owner.store_state() {
            _ if !options.rules.has_store || is_cluster => BackendState::Unused,
            StorageState::Good => BackendState::Reached,
            state => BackendState::Lost(state.as_str().into()),
        };
        Vitals {
            connections: Load { used: connections, limit: options.connections as u64 },
            memory_bytes: (options.memory)(),
            lost_log_lines: (options.lost_log_lines)(),
            refused_files: (options.refused_files)(),
            queue: Load { used: metrics.longest_queue, limit: limits::MAIL_PER_SHARD as u64 },
            attempts: total.attempts,
            failures: total.failures,
            storage_lag_ms: Load { used: lag_ms, limit: limits::STORE_LATE_MS },
            store,
            redis: match self.core.lost_redis() {
                _ if !is_cluster => BackendState::Unused,
                None => BackendState::Reached,
                Some(RedisState::ReadOnly) => BackendState::Lost("it takes no writes".into()),
                Some(RedisState::Partial) => BackendState::Lost("a part of the cluster does not answer".into()),
                Some(_) => BackendState::Lost("it does not answer".into()),
            },
        }
    }

    /// A peer is attached.
    pub(super) fn note_arrival(&mut self, now: Now, peer: impl Into<PeerKey>) {
        let peer = peer.into();
        if let Some(visitor) = visitor(self.core, peer) {
            if self.core.metrics.log.has_details() {
                let dialect = peer.socketio().map_or("raw", |slot| self.core.net.sessions.peers[slot].dialect.name());
                let (address, request) = (Some(visitor.address), Some(dialect));
                Logging::on(self.core).peer(
                    now,
                    peer,
                    Line { event: "connected", address, request, ..Line::default() },
                );
            }
            self.core.stats.telemetry.arrivals[self.dialect_of(peer)] += 1;
            self.core.metrics.connected(now, visitor);
        }
    }

    /// A peer departs. It counts only if it was attached.
    pub(super) fn note_departed(&mut self, now: Now, peer: impl Into<PeerKey>, departing: Departing) {
        let peer = peer.into();
        let is_draining = self.core.net.is_draining;
        let net = &self.core.net;
        let (was_attached, connected_at) = match peer.slot() {
            PeerSlot::Raw(slot) => {
                let was_attached = net.conns.get(slot).is_some_and(|conn| conn.standing.is_attached());
                (was_attached, net.remotes.connected_at(slot, now))
            }
            PeerSlot::SocketIo(slot) => {
                let at = net.session_of(slot);
                let connected_at = at.map_or(now.wall, |at| net.sessions.remotes.connected_at(at, now));
                (net.sessions.peers.get(slot).is_some_and(|peer| peer.is_connected), connected_at)
            }
        };
        let Some(visitor) = visitor(self.core, peer).filter(|_| was_attached) else { return };
        self.core.metrics.log.disconnected(
            now,
            (visitor.connection, visitor.user.as_ref(), visitor.address),
            (departing.reason(), departing.is_abnormal() && !is_draining),
            now.wall.saturating_sub(connected_at),
        );
        self.log_ended(peer, &visitor, departing, now.wall.saturating_sub(connected_at));
        self.core.stats.telemetry.departures[self.dialect_of(peer)] += 1;
        self.core.stats.telemetry.departed[departing.label()] += 1;
        self.core.metrics.disconnected(now, visitor, connected_at, departing);
    }

    /// Adds an ended connection to the access log.
    fn log_ended(&mut self, peer: PeerKey, visitor: &MonitoredClient, departing: Departing, lasted_ms: u64) {
        let Core { access, net, metrics, .. } = &mut *self.core;
        if !access.is_on() {
            return;
        }
        let (dialect, transport) = match peer.slot() {
            PeerSlot::Raw(_) => ("raw", "websocket"),
            PeerSlot::SocketIo(slot) => {
                let transport = net.session_of(slot).map_or("", |at| net.sessions.list[at].session.transport_name());
                (net.sessions.peers[slot].dialect.name(), transport)
            }
        };
        let (code, reason) = metrics.log.closing();
        access.ended(&EndedConnection {
            connection: visitor.connection,
            user: visitor.user.as_ref(),
            address: visitor.address,
            dialect,
            transport,
            code,
            reason: reason.unwrap_or(departing.reason()),
            agent: visitor.user_agent.as_deref(),
            lasted_ms,
        });
    }

    /// The number of a peer's dialect, 0 for `raw`.
    fn dialect_of(&self, peer: PeerKey) -> usize {
        let dialect = |slot| self.core.net.sessions.peers.get(slot).map(|peer| usize::from(peer.dialect.number()));
        peer.socketio().and_then(dialect).unwrap_or_default()
    }

    /// A request of an attached client was refused.
    pub(super) fn note_refused(&mut self, now: Now, peer: impl Into<PeerKey>, reject: &Reject) {
        let peer = peer.into();
        if self.core.metrics.refusals.takes(now)
            && let Some(visitor) = visitor(self.core, peer)
        {
            self.core.metrics.refused(now, visitor, reject);
        }
    }
}

/// A client without a connection, as incidents record it.
fn unknown_client(address: IpAddr, agent: Option<&str>) -> MonitoredClient {
    let user_agent = agent.map(|agent| shortened(agent).into());
    MonitoredClient { connection: None, user: None, address, user_agent }
}

fn kind_of(reject: &Reject) -> IncidentKind {
    match reject.code {
        Code::Unauthenticated | Code::TokenExpired => IncidentKind::AuthFailure,
        Code::RateLimited => IncidentKind::RateLimit,
        _ => IncidentKind::Error,
    }
}

/// A peer as incidents record it.
fn visitor(core: &Core, peer: PeerKey) -> Option<MonitoredClient> {
    let net = &core.net;
    let (address, agent) = match peer.slot() {
        PeerSlot::Raw(slot) => (net.remotes.address(slot), net.remotes.agent(slot)),
        PeerSlot::SocketIo(slot) => {
            let at = net.session_of(slot)?;
            (net.sessions.remotes.address(at), net.sessions.remotes.agent(at))
        }
    };
    let user = net.identity_of(peer).map(Identity::user_name);
    let user_agent = agent.map(|agent| shortened(agent).into());
    Some(MonitoredClient { connection: Some(core.shown_id(peer)), user, address, user_agent })
}

/// Whether the server, not the client, is at fault for a refusal. That the store or Redis is away is a state of its own, which
/// ends with its cause.
pub(super) fn is_failure(reject: &Reject) -> bool {
    matches!(reject.code, Code::Internal | Code::Overloaded)
}
