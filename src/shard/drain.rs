//! Drain: closes all clients within a window, spread evenly so that they do not reconnect at the same time. Few clients do
//! not take all of the window.
//!
//! Each client gets a random moment of that time, is notified of it at once where its dialect has an event for that,
//! is served until then, and may reconnect without delay.
//!
//! Single clients are sent back in the same way when the server cannot follow their rooms any more.

use crate::base::handle::{ConnSlot, PeerKey, PeerSlot, SessionSlot, TimerKey, TimerSlot};
use crate::base::ids::ConnectionId;
use crate::base::rng::Rng;
use crate::base::time::Now;
use crate::connection::conn::{Conn, ConnStage};
use crate::connection::session::{Reason, SessionRoute};
use crate::shard::core::Core;
use crate::shard::raw_sockets::RawSockets;
use crate::shard::sessions::{Client, EngineIo};

/// Least interval between two steps within the window, in milliseconds.
const STEP_EVERY_MS: u64 = 10;

/// Interval between two steps when the last client's moment is over, in milliseconds.
const SWEEP_EVERY_MS: u64 = 100;

/// Time of the schedule per client of the shard, in milliseconds.
const MS_PER_CLIENT: u64 = 100;

/// Time within which clients return whose connections are closed together, in milliseconds.
const SEND_BACK_MS: u64 = 2_000;

/// Schedule of a drain.
pub(super) struct Drain {
    began: u64,
    /// End of the schedule, in monotonic milliseconds.
    until: u64,
    /// When the next step is due, in monotonic milliseconds.
    next: u64,
    /// Moments in milliseconds after the start, with connections and sessions; latest first.
    moments: Vec<(u32, TimerKey)>,
}

/// Work of one step of a drain.
enum DrainStep {
    /// Close these clients: their moments have come.
    Close(Vec<TimerKey>),
    /// Close all clients: the window is over.
    CloseAll,
}

impl Drain {
    /// Gives each of `clients` a moment within the window.
    fn new(now: Now, window_ms: u64, mut clients: Vec<TimerKey>, rng: &mut Rng) -> Self {
        // The last tenth of the window is for closing handshakes.
        let until_ms = window_ms * 9 / 10;
        let span_ms = until_ms.min(clients.len() as u64 * MS_PER_CLIENT);
        for at in (1..clients.len()).rev() {
            clients.swap(at, rng.below(at as u64 + 1) as usize);
        }
        let count = clients.len() as u64;
        let mut moment = |at: usize| (at as u64 * span_ms + rng.below(span_ms)) / count;
        let clients = clients.into_iter().enumerate().rev();
        let moments = clients.map(|(at, key)| (u32::try_from(moment(at)).unwrap_or(u32::MAX), key)).collect();
        let mut drain = Self { began: now.mono, until: now.mono + until_ms, next: 0, moments };
        drain.next = drain.next_moment();
        debug_assert!(drain.moments.is_sorted_by(|a, b| a.0 >= b.0), "invariant: the latest moments come first");
        debug_assert!(drain.next <= drain.until, "invariant: all moments are within the window");
        drain
    }

    /// When the next step is due, in monotonic milliseconds.
    pub(super) fn next_due(&self) -> u64 {
        self.next
    }

    fn next_moment(&self) -> u64 {
        self.moments.last().map_or(self.until, |(moment, _)| self.began + u64::from(*moment))
    }

    /// Takes the work that is due now.
    fn step(&mut self, now: Now) -> Option<DrainStep> {
        if now.mono < self.next {
            return None;
        }
        if now.mono >= self.until {
            self.next = now.mono + SWEEP_EVERY_MS;
            return Some(DrainStep::CloseAll);
        }
        let is_due = |&(moment, _): &(u32, TimerKey)| self.began + u64::from(moment) <= now.mono;
        let left = self.moments.len() - self.moments.iter().rev().take_while(|entry| is_due(entry)).count();
        let due = self.moments.split_off(left).into_iter().rev().map(|(_, key)| key).collect();
        // After the last client's moment, connections that only its polls needed are left to be closed.
        let every_ms = if self.moments.is_empty() { SWEEP_EVERY_MS } else { STEP_EVERY_MS };
        let next = if self.moments.is_empty() { 0 } else { self.next_moment() };
        self.next = next.max(now.mono + every_ms).min(self.until);
        Some(DrainStep::Close(due))
    }
}

/// Carries out a drain.
pub(in crate::shard) struct Draining<'a> {
    core: &'a mut Core,
}

impl<'a> Draining<'a> {
    pub(in crate::shard) fn on(core: &'a mut Core) -> Self {
        Self { core }
    }
}

impl Draining<'_> {
    /// Starts to drain within a window.
    pub(super) fn start(&mut self, now: Now, window_ms: u64) {
        if self.core.drain.is_some() {
            return;
        }
        self.core.owner.leave(window_ms);
        let conns = self.core.net.listening_conns().into_iter().map(TimerKey::from);
        let sessions = self.core.net.open_sessions().into_iter().map(TimerKey::from);
        let drain = Drain::new(now, window_ms, conns.chain(sessions).collect(), &mut self.core.rng);
        self.close_unneeded(now);
        for &(moment, client) in &drain.moments {
            if let TimerSlot::Conn(slot) = client.slot() {
                let mut sockets = RawSockets::on(self.core);
                sockets.greet(now, slot);
                sockets.announce_close(now, slot, "server-shutdown", Some(moment.into()));
            }
        }
        self.core.net.is_draining = true;
        self.core.drain = Some(Box::new(drain));
    }

    /// Closes the clients whose moment has come.
    pub(super) fn step(&mut self, now: Now) {
        match self.core.drain.as_mut().and_then(|drain| drain.step(now)) {
            None => {}
            Some(DrainStep::Close(clients)) => {
                for client in clients {
                    match client.slot() {
                        TimerSlot::Conn(slot) => self.close(now, slot, 1012, "service restart"),
                        TimerSlot::Session(at) => self.close_session(now, at),
                    }
                }
                self.close_unneeded(now);
            }
            Some(DrainStep::CloseAll) => {
                for slot in self.core.net.listening_conns() {
                    self.close(now, slot, 1001, "going away");
                }
                for at in self.core.net.open_sessions() {
                    self.close_session(now, at);
                }
                self.close_idle(now, |conn| {
                    conn.asks == 0 && matches!(conn.stage, ConnStage::Http(_) | ConnStage::Trace)
                });
            }
        }
    }

    /// Closes the connections without a request, and traces. A client that polls needs the former.
    fn close_unneeded(&mut self, now: Now) {
        let polls = |(_, client): (SessionSlot, &Client)| {
            !client.session.is_over() && !matches!(client.session.route(), SessionRoute::Socket(_))
        };
        if !self.core.net.sessions.list.iter().any(polls) {
            self.close_idle(now, |conn| matches!(conn.stage, ConnStage::Http(None) | ConnStage::Trace));
        }
    }

    fn close_idle(&mut self, now: Now, is_idle: impl Fn(&Conn) -> bool) {
        let idle = self.core.net.conns.iter().filter_map(|(slot, conn)| is_idle(conn).then_some(slot));
        for slot in idle.collect::<Vec<ConnSlot>>() {
            self.core.net.half_close(now, slot);
        }
    }

    /// Closes the connection of a peer, whose client is to return by another one.
    pub(super) fn send_back(&mut self, now: Now, connection: ConnectionId) {
        let net = &self.core.net;
        match net.find_peer(connection).filter(|peer| net.is_listening(*peer)).map(PeerKey::slot) {
            Some(PeerSlot::Raw(slot)) => {
                let wait_ms = self.core.rng.below(SEND_BACK_MS);
                RawSockets::on(self.core).greet(now, slot);
                self.core.settle_for(slot.into());
                RawSockets::on(self.core).announce_close(now, slot, "server-isolated", Some(wait_ms));
                self.close(now, slot, 1012, "service restart");
            }
            Some(PeerSlot::SocketIo(slot)) => {
                if let Some(at) = net.session_of(slot) {
                    self.close_session(now, at);
                }
            }
            None => {}
        }
    }

    /// Closes a session, unless it is gone. Its client reconnects by itself.
    fn close_session(&mut self, now: Now, at: SessionSlot) {
        if self.core.net.sessions.list.contains(at) {
            EngineIo::on(self.core).close(now, at, Reason::ServerClose);
        }
    }

    /// Closes a connection, unless it has ended meanwhile.
    fn close(&mut self, now: Now, slot: ConnSlot, code: u16, reason: &str) {
        if self.core.net.conns.get(slot).is_some_and(Conn::is_listening) {
            RawSockets::on(self.core).close(now, slot, code, reason);
        }
    }
}
