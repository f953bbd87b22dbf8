//! Engine.IO sessions on a shard: inputs are fed to the session, its effects are carried out, and at the turn's end each
//! session that was touched has its poll answered, its timer armed, or is removed.
//!
//! A TCP connection names the session it carries by a [`SessionLink`]; a session names its connections by their slots. These
//! slots hold because a connection tells its session before it goes ([`EngineIo::part_from_session`]).

use std::collections::{BTreeMap, VecDeque};

use crate::base::handle::{ConnSlot, SessionSlot, Slot, Slots, SocketIoSlot};
use crate::base::ids::Nonce;
use crate::base::limits::ASKS_PER_CONNECTION;
use crate::base::time::Now;
use crate::base::wheel::{TICK_MS, Tick, tick};
use crate::codec::engineio::{EngineIoPacket, EngineIoRefusal, PacketKind, Version};
use crate::connection::conn::ConnStage;
use crate::connection::engineio_socket::SessionLink;
use crate::connection::namespace::Namespaces;
use crate::connection::outbound::NO_CONNECTION;
use crate::connection::peer::{Recovery, SocketIoPeer};
use crate::connection::session::{Effect, Effects, EngineIoSession, Reason, SessionContext, SessionRoute};
use crate::message::ShardNumber;
use crate::shard::conformance::{Conformance, Late};
use crate::shard::core::Core;
use crate::shard::http::polling::Polling;
use crate::shard::namespaces::{Handshake, Namespacing};
use crate::shard::peers::{Departing, Peers};
use crate::shard::recovery::proofs::Proving;
use crate::shard::remotes::Remotes;

/// The sessions of a shard, and their Socket.IO peers.
pub(super) struct Sessions {
    pub(super) list: Slots<SessionSlot, Client>,
    pub(super) peers: Slots<SocketIoSlot, SocketIoPeer>,
    /// Effects of the session that is being fed; empty but for its memory.
    effects: Effects,
    /// Sessions that were fed in this turn, each once.
    touched: Vec<SessionSlot>,
    /// Sessions whose buffer has outgrown its bound.
    pub(super) slow: Vec<SessionSlot>,
    /// Sessions to be opened for test suites, in the order of their times.
    pub(super) late: VecDeque<Late>,
    /// The queries of the handshakes of test suites, by slot.
    pub(super) suite_queries: BTreeMap<u32, Box<str>>,
    /// The cookies of their last POSTs, by slot.
    pub(super) suite_cookies: BTreeMap<u32, Option<Box<str>>>,
    /// Address, time of arrival and client program of the sessions, by slot.
    pub(super) remotes: Remotes<SessionSlot>,
}

/// One session, and the state of its Socket.IO layer.
pub(super) struct Client {
    pub(super) session: EngineIoSession,
    pub(super) namespaces: Namespaces,
    /// Credentials of its first request.
    pub(super) handshake: Option<Box<Handshake>>,
    /// When its timer comes up; other entries on the wheel are stale. 0: never.
    armed: Tick,
    /// The connection of a POST that is answered when fewer requests are pending; [`NO_CONNECTION`]: none.
    pub(super) held_post: u32,
    /// Pending requests of its peers.
    pub(super) asks: u16,
    /// Peers of it whose requests wait for quota.
    pub(super) halted: u8,
    /// When its client last sent a packet.
    pub(super) seen: Tick,
    pub(super) application: Application,
    /// Whether it has asked to connect to a namespace.
    pub(super) has_asked: bool,
    is_touched: bool,
}

/// The use of a session's messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Application {
    /// Socket.IO.
    SocketIo,
    /// Each is sent back.
    Echo,
}

/// The place of a session.
pub(super) enum Found {
    Here(SessionSlot),
    Elsewhere(ShardNumber),
    Nowhere,
}

impl Client {
    /// Whether so many of its requests are pending, or one of them waits for quota, that no more is read.
    pub(super) fn is_busy(&self) -> bool {
        self.asks >= u16::from(ASKS_PER_CONNECTION) || self.halted > 0
    }
}

impl Sessions {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            list: Slots::new(),
            peers: Slots::new(),
            effects: Effects::default(),
            touched: Vec::new(),
            slow: Vec::new(),
            late: VecDeque::new(),
            suite_queries: BTreeMap::new(),
            suite_cookies: BTreeMap::new(),
            remotes: Remotes::new(seed),
        }
    }

    /// The query of the handshake of a session for test suites.
    pub(super) fn suite_query(&self, at: SessionSlot) -> &str {
        self.suite_queries.get(&at.raw()).map_or("", |query| query)
    }

    /// The session that a connection names, if it is still there.
    pub(super) fn named(&self, link: SessionLink) -> Option<SessionSlot> {
        let at = SessionSlot::from_raw(link.session);
        let client = self.list.get(at)?;
        link.is(&client.session.nonce).then_some(at)
    }

    /// Whether a session awaits the end of the turn.
    pub(super) fn is_dirty(&self) -> bool {
        !self.touched.is_empty() || !self.slow.is_empty()
    }

    /// Has a session looked after when the turn ends.
    pub(super) fn touch(&mut self, at: SessionSlot) {
        if !std::mem::replace(&mut self.list[at].is_touched, true) {
            self.touched.push(at);
        }
    }

    /// Panics unless sessions and peers know the same of each other.
    pub(super) fn check_invariants(&self) {
        // The session of a peer that is still connecting may be gone.
        for (slot, peer) in self.peers.iter().filter(|(_, peer)| peer.is_connected) {
            let at = self.named(peer.link).expect("invariant: a connected peer's session is there");
            let is_known = self.list[at].namespaces.peers().any(|(_, known)| known == slot.raw());
            assert!(is_known, "invariant: a connected peer is in its session's namespaces");
        }
        for (_, client) in self.list.iter().filter(|(_, client)| !client.session.is_over()) {
            for (_, peer) in client.namespaces.peers() {
                let is_there = self.peers.contains(SocketIoSlot::from_raw(peer));
                assert!(is_there, "invariant: the namespaces of an open session name live peers");
            }
        }
        for at in &self.touched {
            assert!(self.list[*at].is_touched, "invariant: a session in the list of touched ones is marked");
        }
    }
}

/// Feeds sessions and carries their effects out.
pub(super) struct EngineIo<'a> {
    core: &'a mut Core,
}

impl<'a> EngineIo<'a> {
    pub(super) fn on(core: &'a mut Core) -> Self {
        Self { core }
    }

    /// Whether the shard takes on one more session.
    pub(super) fn takes_sessions(&self) -> bool {
        let net = &self.core.net;
        !net.is_draining && net.sessions.list.len() < net.connections_max()
    }

    /// Takes a new session on: `open` makes it, given the random part of its id, the id, and its context. Returns its slot.
    pub(super) fn open_session(
        &mut self,
        now: Now,
        version: Version,
        application: Application,
        open: impl FnOnce(Nonce, &str, &mut SessionContext<'_>) -> EngineIoSession,
    ) -> SessionSlot {
        let nonce = self.core.rng.nonce();
        let net = &mut self.core.net;
        let at = net.sessions.list.vacant();
        let sid = net.session_id(at, nonce).text();
        let mut effects = std::mem::take(&mut net.sessions.effects);
        let settings = &net.options.socket_io.sessions;
        let session =
            open(nonce, sid.as_str(), &mut SessionContext { mono: now.mono, settings, effects: &mut effects });
        let inserted = net.sessions.list.insert(Client {
            session,
            namespaces: Namespaces::new(version, now.mono, net.options.socket_io.connect_ms),
            handshake: None,
            armed: 0,
            held_post: NO_CONNECTION,
            asks: 0,
            halted: 0,
            seen: tick(now.mono),
            application,
            has_asked: false,
            is_touched: false,
        });
        debug_assert_eq!(inserted, at, "invariant: a session lies at the slot that its id names");
        self.carry_out(now, at, effects);
        self.core.net.sessions.touch(at);
        at
    }

    /// Feeds a session, and carries its effects out.
    pub(super) fn feed<T>(
        &mut self,
        now: Now,
        at: SessionSlot,
        feed: impl FnOnce(&mut EngineIoSession, &mut SessionContext<'_>) -> T,
    ) -> T {
        self.core.net.sessions.touch(at);
        self.feed_quietly(now, at, feed)
    }

    fn feed_quietly<T>(
        &mut self,
        now: Now,
        at: SessionSlot,
        feed: impl FnOnce(&mut EngineIoSession, &mut SessionContext<'_>) -> T,
    ) -> T {
        let net = &mut self.core.net;
        let mut effects = std::mem::take(&mut net.sessions.effects);
        let settings = &net.options.socket_io.sessions;
        let context = &mut SessionContext { mono: now.mono, settings, effects: &mut effects };
        let outcome = feed(&mut net.sessions.list[at].session, context);
        self.carry_out(now, at, effects);
        outcome
    }

    /// Carries a session's effects out. That may feed it again, whose effects then come in between, on other connections.
    fn carry_out(&mut self, now: Now, at: SessionSlot, mut effects: Effects) {
        for effect in effects.iter() {
            match effect {
                Effect::Answer { to, status, content_type, body } => {
                    let (to, body) = (ConnSlot::from_raw(to), effects.bytes(body));
                    Polling::on(self.core).answer_for_session(now, to, status, content_type, body);
                }
                Effect::Frames { to, frames } => {
                    let segment = self.core.net.outbound.encode(|out| out.extend_from_slice(effects.bytes(frames)));
                    self.core.net.push(ConnSlot::from_raw(to), segment);
                }
                Effect::CloseSocket { to, code } => {
                    self.core.net.close_engineio_socket(now, ConnSlot::from_raw(to), code);
                }
                Effect::Over(reason) => self.session_over(now, at, reason),
            }
        }
        effects.clear();
        self.core.net.sessions.effects = effects;
    }

    /// Closes a session. Its client comes back by itself.
    pub(super) fn close(&mut self, now: Now, at: SessionSlot, reason: Reason) {
        self.feed(now, at, |session, context| session.close(reason, context));
    }

    /// Detaches the peers of a session that is over.
    fn session_over(&mut self, now: Now, at: SessionSlot, reason: Reason) {
        match reason {
            Reason::PingTimeout => self.core.stats.timed_out += 1,
            Reason::SlowConsumer => self.core.stats.slow_consumers += 1,
            _ => {}
        }
        self.count_unused(now, at);
        let client = &mut self.core.net.sessions.list[at];
        let held = std::mem::replace(&mut client.held_post, NO_CONNECTION);
        let peers: Vec<u32> = client.namespaces.peers().map(|(_, peer)| peer).collect();
        let departing = match reason {
            Reason::ClientClose => Departing::Goodbye,
            Reason::ParseError => Departing::Left,
            Reason::TransportClose
            | Reason::TransportError
            | Reason::PingTimeout
            | Reason::ServerClose
            | Reason::SlowConsumer
            | Reason::Replaced => Departing::Lost,
        };
        self.core.metrics.log.note_session_over(reason);
        for peer in peers.into_iter().map(SocketIoSlot::from_raw) {
            let known = self.core.net.sessions.peers.get(peer);
            let departing = match departing {
                // Clients that poll close, too, when a poll has failed; a client that leaves for good has left the namespace.
                Departing::Goodbye if known.is_some_and(|known| known.recovery == Recovery::Offsets) => Departing::Lost,
                departing => departing,
            };
            Peers::on(self.core).detach(now, peer.into(), departing);
        }
        self.core.metrics.log.end_closing();
        if held != NO_CONNECTION {
            let (refusal, held) = (EngineIoRefusal::UnknownSession, ConnSlot::from_raw(held));
            let body = refusal.body().as_bytes();
            Polling::on(self.core).answer_for_session(now, held, refusal.status(), "application/json", body);
        }
    }

    /// A session that ends before it has shown a token is a refused attempt, unless the server ends all.
    fn count_unused(&mut self, now: Now, at: SessionSlot) {
        let Core { net, admission, channels, .. } = &mut *self.core;
        let client = &net.sessions.list[at];
        if client.application == Application::SocketIo && !client.has_asked && !net.is_draining {
            admission.note_refused(now, net.sessions.remotes.address(at), channels);
        }
    }

    /// Separates a connection from the session that it carried, or waits for.
    pub(super) fn part_from_session(&mut self, now: Now, slot: ConnSlot) {
        let net = &mut self.core.net;
        let conn = &mut net.conns[slot];
        let link = match &mut conn.stage {
            ConnStage::Http(Some(http)) => http.link.take(),
            ConnStage::EngineIoSocket(socket) => Some(socket.link),
            _ => None,
        };
        if matches!(conn.stage, ConnStage::EngineIoSocket(_)) {
            conn.stage = ConnStage::Draining;
            net.waiting.forget(slot);
        }
        if let Some(at) = link.and_then(|link| net.sessions.named(link)) {
            self.feed(now, at, |session, context| session.ended(slot.raw(), context));
        }
    }

    /// Handles a packet that came by a connection. Returns whether it, and its message, is well-formed.
    pub(super) fn packet(&mut self, now: Now, at: SessionSlot, from: ConnSlot, packet: EngineIoPacket<'_>) -> bool {
        let net = &mut self.core.net;
        net.sessions.touch(at);
        let mut effects = std::mem::take(&mut net.sessions.effects);
        let settings = &net.options.socket_io.sessions;
        let context = &mut SessionContext { mono: now.mono, settings, effects: &mut effects };
        let client = &mut net.sessions.list[at];
        client.seen = tick(now.mono);
        let application = client.application;
        let data = client.session.hear(from.raw(), packet, context);
        self.carry_out(now, at, effects);
        if packet.kind != PacketKind::Message {
            Proving::on(self.core).heard(now, at, from, packet.kind);
        }
        let (Some(data), net) = (data, &mut self.core.net) else { return true };
        if application == Application::Echo {
            Conformance::on(self.core).send_back(at, data);
            return true;
        }
        let (spaces, limits, mut gathered) = (net.spaces(), &net.options.socket_io.packet, None);
        match net.sessions.list[at].namespaces.message(spaces, data, limits, &mut gathered) {
            Ok(event) => Namespacing::on(self.core).handle(now, at, event),
            Err(fault) => {
                tracing::debug!(target: "switchboard::connection", session = at.raw(), fault = fault.text(), "bad packet");
                return false;
            }
        }
        true
    }

    // Backpressure: a session is not read while too many of its peers' requests are pending or wait for quota.

    /// Counts a request of a peer.
    pub(super) fn count_request(&mut self, slot: SocketIoSlot) {
        if let Some(at) = self.core.net.session_of(slot) {
            self.core.net.sessions.list[at].asks += 1;
        }
    }

    /// A request of a peer was answered; where too many were pending, its session is read again.
    pub(super) fn uncount_request(&mut self, now: Now, slot: SocketIoSlot) {
        if let Some(at) = self.core.net.session_of(slot) {
            let client = &mut self.core.net.sessions.list[at];
            debug_assert!(client.asks > 0, "invariant: an answered request was counted");
            client.asks = client.asks.saturating_sub(1);
            if client.asks + 1 == u16::from(ASKS_PER_CONNECTION) {
                self.read_on(now, at);
            }
        }
    }

    /// A peer goes while its session goes on: its pending requests are no longer the session's.
    pub(super) fn forget_requests(&mut self, now: Now, slot: SocketIoSlot) {
        let connection = self.core.net.id_of(slot);
        let Some(at) = self.core.net.session_of(slot) else { return };
        let client = &mut self.core.net.sessions.list[at];
        if client.asks > 0 && !client.session.is_over() {
            let was_busy = client.is_busy();
            let pending = self.core.requests.count_of(connection);
            debug_assert!(pending <= usize::from(client.asks), "invariant: a session counts its peers' requests");
            client.asks = client.asks.saturating_sub(u16::try_from(pending).unwrap_or(u16::MAX));
            if was_busy {
                self.read_on(now, at);
            }
        }
    }

    /// A peer's request waits for quota: its session is not read for now.
    pub(super) fn halt(&mut self, slot: SocketIoSlot) {
        if let Some(at) = self.core.net.session_of(slot) {
            self.core.net.sessions.list[at].halted += 1;
        }
    }

    /// No request of a peer waits for quota any more.
    pub(super) fn release(&mut self, now: Now, slot: SocketIoSlot) {
        if let Some(at) = self.core.net.session_of(slot) {
            let client = &mut self.core.net.sessions.list[at];
            debug_assert!(client.halted > 0, "invariant: a released peer was halted");
            client.halted = client.halted.saturating_sub(1);
            self.read_on(now, at);
        }
    }

    /// A peer goes whose request waits for quota. Its session is read on when the turn ends.
    pub(super) fn release_later(&mut self, slot: SocketIoSlot) {
        if let Some(at) = self.core.net.session_of(slot) {
            let client = &mut self.core.net.sessions.list[at];
            debug_assert!(client.halted > 0, "invariant: a released peer was halted");
            client.halted = client.halted.saturating_sub(1);
            if let SessionRoute::Socket(socket) = client.session.route() {
                self.core.net.read_again(ConnSlot::from_raw(socket));
            }
            self.core.net.sessions.touch(at);
        }
    }

    /// Reads a session again that was not read, unless there is another reason not to.
    fn read_on(&mut self, now: Now, at: SessionSlot) {
        let client = &mut self.core.net.sessions.list[at];
        if client.is_busy() {
            return;
        }
        let (route, held) = (client.session.route(), std::mem::replace(&mut client.held_post, NO_CONNECTION));
        if let SessionRoute::Socket(slot) = route {
            self.core.net.read_again(ConnSlot::from_raw(slot));
        }
        if held != NO_CONNECTION {
            self.feed(now, at, |session, context| session.post_read(held, context));
        }
    }

    // The turn's end, and timers.

    /// Looks after the sessions that were touched in this turn.
    pub(super) fn flush(&mut self, now: Now) {
        while let Some(at) = self.core.net.sessions.slow.pop() {
            if self.core.net.sessions.list.contains(at) {
                self.close(now, at, Reason::SlowConsumer);
            }
        }
        // An answer may lead to the next request, which touches further sessions, or the same one anew.
        while let Some(at) = self.core.net.sessions.touched.pop() {
            let client = &mut self.core.net.sessions.list[at];
            client.is_touched = false;
            if client.held_post != NO_CONNECTION && !client.is_busy() {
                let held = std::mem::replace(&mut client.held_post, NO_CONNECTION);
                self.feed_quietly(now, at, |session, context| session.post_read(held, context));
            }
            self.feed_quietly(now, at, |session, context| session.flush(context));
            let client = &self.core.net.sessions.list[at];
            if !client.session.is_gone() {
                self.rearm(now, at);
            } else if !client.is_touched {
                self.remove(at);
            }
        }
    }

    fn remove(&mut self, at: SessionSlot) {
        self.core.recovery.proofs.forget(at);
        let sessions = &mut self.core.net.sessions;
        sessions.list.remove(at);
        let address = sessions.remotes.address(at);
        sessions.remotes.remove(at);
        if sessions.list.is_empty() {
            let is_connected = |(_, peer): (SocketIoSlot, &SocketIoPeer)| peer.is_connected;
            debug_assert!(!sessions.peers.iter().any(is_connected), "invariant: a connected peer's session is there");
            sessions.list.shrink_to_fit();
            sessions.peers.shrink_to_fit();
            sessions.remotes.clear();
        }
        self.core.admission.release(address, &mut self.core.channels);
    }

    /// A session's timer has come up.
    pub(super) fn due(&mut self, now: Now, at: SessionSlot, came_up: Tick) {
        let Some(client) = self.core.net.sessions.list.get_mut(at).filter(|client| client.armed == came_up) else {
            // A stale entry of the wheel.
            return;
        };
        client.armed = 0;
        self.feed(now, at, |session, context| session.tick(context));
        let client = &self.core.net.sessions.list[at];
        if client.application == Application::SocketIo && !client.session.is_over() {
            if client.namespaces.connect_by().is_some_and(|by| by <= now.mono) {
                self.close(now, at, Reason::ServerClose);
            } else {
                Namespacing::on(self.core).end_expired_peers(now, at);
            }
        }
    }

    /// Arms a session's timer for its next deadline, unless it is armed for an earlier moment.
    fn rearm(&mut self, now: Now, at: SessionSlot) {
        let net = &mut self.core.net;
        let client = &net.sessions.list[at];
        let Some(mut next) = client.session.next_due() else { return };
        if client.application == Application::SocketIo && !client.session.is_over() {
            next = next.min(client.namespaces.connect_by().unwrap_or(u64::MAX));
            for (_, peer) in client.namespaces.peers() {
                let peer = net.sessions.peers.get(SocketIoSlot::from_raw(peer));
                let expires_at = peer.map_or(0, |peer| peer.expires_at);
                if expires_at != 0 {
                    next = next.min(now.until(u64::from(expires_at)));
                }
                let by = peer.and_then(|peer| peer.identity.as_ref());
                if let Some(end) = by.and_then(|by| by.next_end(now.unix_seconds())) {
                    next = next.min(now.until(end));
                }
            }
        }
        if client.armed == 0 || tick(next + TICK_MS - 1) < client.armed {
            net.sessions.list[at].armed = net.timers.arm(next, at.into());
        }
    }
}
