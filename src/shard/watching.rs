//! What a shard counts of its connections, and what it knows of the others': each tells all of them once a second while
//! anything moves. So any shard answers for the server at once, and its word on the others is at most that old.

use std::net::IpAddr;

use crate::base::ids::PEER;
use crate::base::limits;
use crate::base::time::Now;
use crate::connection::conn::HandshakeState;
use crate::domain::client_query::IncidentKind;
use crate::domain::monitoring::{
    BackendState, ConnectionMonitor, Figures, HealthReport, Load, ShardFigures, Stats, Totals, Visitor, Vitals, assess,
    shortened,
};
use crate::domain::reject::{Code, Reject};
use crate::message::storage::StorageState;
use crate::message::{ShardMessage, ShardNumber, ShardReport, redis};
use crate::shard::Shard;
use crate::shard::recovery::Departing;

/// How often a shard tells the others, in milliseconds.
const TELL_EVERY_MS: u64 = 1_000;

/// See the module.
pub(super) struct Watching {
    pub(super) watch: ConnectionMonitor,
    census: ShardFigures,
    /// What each shard told last.
    pulses: Vec<ShardReport>,
    /// When the others are told, in monotonic milliseconds; 0 while nothing moves.
    due: u64,
    /// The longest queue between shards, as last seen.
    queue: u64,
    /// How Redis is, once that was told.
    pub(super) redis: Option<redis::RedisState>,
}

impl Watching {
    pub(super) fn new(shards: usize, seed: u64, now: Now) -> Self {
        let (watch, census) = (ConnectionMonitor::new(seed), ShardFigures::new(shards, now));
        Self { watch, census, pulses: vec![ShardReport::default(); shards], due: 0, queue: 0, redis: None }
    }

    /// When the others are told next.
    pub(super) fn due(&self) -> Option<u64> {
        (self.due != 0).then_some(self.due)
    }

    /// A request was answered. It failed when the server is to blame.
    pub(super) fn answered(&mut self, is_failure: bool, now: Now) {
        self.watch.answered(is_failure, now);
        self.stir(now);
    }

    /// Something has moved, so that the others are to be told.
    fn stir(&mut self, now: Now) {
        if self.due == 0 {
            self.due = now.mono + TELL_EVERY_MS;
        }
    }
}

impl Shard {
    /// How much mail waits in the longest queue between shards.
    pub fn set_longest_queue(&mut self, mail: usize) {
        self.watching.queue = mail as u64;
    }

    /// Another shard has told what it counts.
    pub(super) fn hear_pulse(&mut self, from: ShardNumber, pulse: ShardReport) {
        self.watching.census.hear(usize::from(from), pulse.figures);
        if let Some(known) = self.watching.pulses.get_mut(usize::from(from)) {
            *known = pulse;
        }
    }

    /// Tells the others, and goes on doing so while what is counted of the last minutes passes.
    pub(super) fn tell_pulse(&mut self, now: Now) {
        let pulse = self.take_pulse(now);
        let Figures { opened_lately, attempts, .. } = pulse.figures;
        self.watching.due = if opened_lately + attempts == 0 { 0 } else { now.mono + TELL_EVERY_MS };
        let from = self.number;
        for shard in (0..self.placement.shards() as ShardNumber).filter(|shard| *shard != from) {
            self.outgoing.push((shard, ShardMessage::ShardReport { from, pulse: Box::new(pulse) }));
        }
    }

    fn take_pulse(&mut self, now: Now) -> ShardReport {
        let figures = self.watching.watch.take_figures(now);
        let pulse = ShardReport { figures, storage_lag_ms: self.authority.storage_lag_ms(now), stats: self.stats() };
        self.hear_pulse(self.number, pulse);
        pulse
    }

    /// What this server counts of its connections.
    pub(super) fn totals(&mut self, now: Now) -> Totals {
        self.take_pulse(now);
        self.watching.census.totals()
    }

    /// What this shard counts of its connections, and the most that it has seen all of them have.
    pub(super) fn own_totals(&mut self, now: Now) -> Totals {
        let figures = self.take_pulse(now).figures;
        Totals { figures, ..self.watching.census.totals() }
    }

    /// What all shards count, added up.
    pub(super) fn stats_of_all(&mut self, now: Now) -> Stats {
        self.take_pulse(now);
        let mut all = Stats::default();
        self.watching.pulses.iter().for_each(|pulse| all.add(&pulse.stats));
        all
    }

    /// Whether anything is near its limit or out of reach.
    pub(super) fn assess(&mut self, now: Now) -> HealthReport {
        let vitals = self.vitals(now);
        assess(&vitals)
    }

    /// How Redis is, if rooms and users are out of reach because of that.
    pub(super) fn lost_redis(&self) -> Option<redis::RedisState> {
        let state = self.watching.redis.unwrap_or_default();
        (self.placement.is_cluster() && state != redis::RedisState::Good).then_some(state)
    }

    /// What health is judged by.
    pub(super) fn vitals(&mut self, now: Now) -> Vitals {
        self.take_pulse(now);
        let pulses = &self.watching.pulses;
        let total = self.watching.census.total();
        let connections = pulses.iter().map(|pulse| pulse.stats.connections as u64).sum();
        let lag_ms = pulses.iter().map(|pulse| pulse.storage_lag_ms).max().unwrap_or_default();
        let store = match self.authority.store_state() {
            _ if !self.options.rules.has_store || self.placement.is_cluster() => BackendState::Unused,
            StorageState::Good => BackendState::Reached,
            state => BackendState::Lost(state.as_str().into()),
        };
        Vitals {
            connections: Load { used: connections, limit: self.options.connections as u64 },
            memory_bytes: (self.options.memory)(),
            queue: Load { used: self.watching.queue, limit: limits::MAIL_PER_SHARD as u64 },
            attempts: total.attempts,
            failures: total.failures,
            storage_lag_ms: Load { used: lag_ms, limit: limits::STORE_LATE_MS },
            store,
            redis: match self.lost_redis() {
                _ if !self.placement.is_cluster() => BackendState::Unused,
                None => BackendState::Reached,
                Some(redis::RedisState::Full) => BackendState::Lost("it takes no writes".into()),
                Some(_) => BackendState::Lost("it does not answer".into()),
            },
        }
    }

    /// A connection, or with the mark of one a peer, has come.
    pub(super) fn note_arrival(&mut self, now: Now, key: u32) {
        if let Some(visitor) = self.visitor(key) {
            self.watching.watch.connected(now, visitor);
            self.watching.stir(now);
        }
    }

    /// A connection, or with the mark of one a peer, goes. What had not come is not missed.
    pub(super) fn note_departed(&mut self, now: Now, key: u32, departing: Departing) {
        let (had_come, came_at) = match key & PEER {
            0 => {
                let conn = self.conns.get(key as usize);
                (conn.is_some_and(|conn| conn.standing == HandshakeState::Attached), self.arrivals.came_at(key, now))
            }
            _ => {
                let peer = self.sessions.peers.get((key & !PEER) as usize);
                let at = self.client_of(key);
                let came_at = at.map_or(now.wall, |at| self.sessions.arrivals.came_at(at, now));
                (peer.is_some_and(|peer| peer.is_connected), came_at)
            }
        };
        let Some(visitor) = self.visitor(key).filter(|_| had_come) else { return };
        let reason = match departing {
            Departing::Lost => "the connection was lost",
            Departing::Goodbye | Departing::Quit => "the client left",
            Departing::Left => "the client broke a rule or was silent for too long",
            Departing::Removed => "sent away",
            Departing::Superseded => "the client came back on another connection",
        };
        self.watching.watch.disconnected(now, visitor, now.wall.saturating_sub(came_at), reason.into());
        self.watching.stir(now);
    }

    /// A socket was closed at once because there are as many connections as there may be.
    pub(super) fn note_full(&mut self, now: Now, address: IpAddr) {
        let visitor = Visitor { connection: None, user: None, address, user_agent: None };
        self.turn_away(now, visitor, &Reject::new(Code::Overloaded, "The server takes on no more connections"));
    }

    /// The connection at `slot` wanted to become a WebSocket and may not.
    pub(super) fn note_turned_away_upgrade(&mut self, now: Now, slot: u32, agent: Option<&str>, reject: &Reject) {
        let user_agent = agent.map(|agent| shortened(agent).into());
        let visitor = Visitor { connection: None, user: None, address: self.arrivals.address(slot), user_agent };
        self.turn_away(now, visitor, reject);
    }

    /// The session at `at` wanted to connect to a namespace and may not.
    pub(super) fn note_turned_away(&mut self, now: Now, at: u32, reject: &Reject) {
        let arrivals = &self.sessions.arrivals;
        let user_agent = arrivals.agent(at).map(|agent| shortened(agent).into());
        let visitor = Visitor { connection: None, user: None, address: arrivals.address(at), user_agent };
        self.turn_away(now, visitor, reject);
    }

    fn turn_away(&mut self, now: Now, visitor: Visitor, reject: &Reject) {
        let kind = match reject.code {
            Code::Unauthenticated | Code::TokenExpired => IncidentKind::AuthFailure,
            Code::RateLimited => IncidentKind::RateLimit,
            _ => IncidentKind::Error,
        };
        self.watching.watch.turned_away(now, visitor, kind, reject.text.as_ref().into());
        self.watching.stir(now);
    }

    /// A connected client was refused something; who asks too much is noted.
    pub(super) fn note_refused(&mut self, now: Now, key: u32, reject: &Reject) {
        if reject.code == Code::RateLimited
            && let Some(visitor) = self.visitor(key)
        {
            self.watching.watch.incident(now, visitor, IncidentKind::RateLimit, reject.text.as_ref().into());
            self.watching.stir(now);
        }
    }

    /// Whom the connection at a slot, or the peer at a marked one, is.
    pub(super) fn visitor(&self, key: u32) -> Option<Visitor> {
        let user = self.identity(key).ok().map(|identity| identity.user_name());
        let (arrivals, at) = match key & PEER {
            0 => (&self.arrivals, key),
            _ => (&self.sessions.arrivals, self.client_of(key)?),
        };
        let user_agent = arrivals.agent(at).map(|agent| shortened(agent).into());
        Some(Visitor { connection: Some(self.id_of(key)), user, address: arrivals.address(at), user_agent })
    }

    /// The session of the peer at a marked slot.
    pub(super) fn client_of(&self, key: u32) -> Option<u32> {
        let peer = self.sessions.peers.get((key & !PEER) as usize)?;
        self.sessions.named(peer.link)
    }
}

/// Whether a refusal is the server's fault, and not its asker's.
pub(super) fn is_failure(reject: &Reject) -> bool {
    matches!(reject.code, Code::Internal | Code::Overloaded | Code::StorageUnavailable)
}
