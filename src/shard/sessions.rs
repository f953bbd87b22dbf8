//! Engine.IO sessions on a shard: each is fed what happens to it, what it wants done is done, and when the turn ends, each
//! that something happened to has its poll answered, its timer set, or is forgotten.
//!
//! A TCP connection names the session it carries by a [`SessionLink`]; a session names its connections by their slots. The latter
//! hold because a connection that has to do with a session tells it before it goes ([`Shard::part_from_session`]).

use std::collections::VecDeque;

use slab::Slab;

use crate::base::ids::{ConnectionId, ConnectionPlace, Nonce, SESSION, SLOTS_MAX};
use crate::base::limits::ASKS_PER_CONNECTION;
use crate::base::time::Now;
use crate::base::wheel::{TICK_MS, Tick, tick};
use crate::codec::engineio::{EngineIoPacket, EngineIoRefusal, PacketData, Version};
use crate::codec::ws;
use crate::connection::conn::ConnStage;
use crate::connection::engineio_socket::SessionLink;
use crate::connection::namespace::Namespaces;
use crate::connection::outbound::{NO_CONNECTION, Segment};
use crate::connection::peer::{Recovery, SocketIoPeer};
use crate::connection::session::{Effect, Effects, EngineIoSession, Reason, SessionContext, SessionRoute};
use crate::message::ShardNumber;
use crate::shard::Shard;
use crate::shard::arrivals::Arrivals;
use crate::shard::conformance::Late;
use crate::shard::namespaces::Handshake;
use crate::shard::recovery::Departing;

/// The sessions of a shard and the peers that they are.
pub(super) struct Sessions {
    pub(super) list: Slab<Client>,
    pub(super) peers: Slab<SocketIoPeer>,
    /// What the session that is being fed wants done; empty but for its memory.
    effects: Effects,
    /// Sessions that something has happened to in this turn, each once.
    touched: Vec<u32>,
    /// Sessions that more waits for than may.
    pub(super) slow: Vec<u32>,
    /// Sessions that test suites are to get, the first first.
    pub(super) late: VecDeque<Late>,
    /// What is known of the sessions beyond what it takes to serve them, by slot.
    pub(super) arrivals: Arrivals,
}

/// One session and what it does.
pub(super) struct Client {
    pub(super) session: EngineIoSession,
    pub(super) namespaces: Namespaces,
    /// What its first request said of who sends it.
    pub(super) handshake: Option<Box<Handshake>>,
    /// When it is to be looked at; other entries on the wheel are stale. 0: never.
    armed: Tick,
    /// The connection of a POST that is answered when fewer questions are under way; [`NO_CONNECTION`]: none.
    pub(super) held_post: u32,
    /// Questions of its peers under way.
    pub(super) asks: u16,
    /// Peers of it whose questions wait for what their users may say.
    pub(super) halted: u8,
    /// When its client was last heard.
    pub(super) seen: Tick,
    pub(super) application: Application,
    is_touched: bool,
}

/// What a session's messages are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Application {
    /// Socket.IO.
    SocketIo,
    /// Each is sent back.
    Echo,
}

/// Where a session is.
pub(super) enum Found {
    Here(u32),
    Elsewhere(ShardNumber),
    Nowhere,
}

impl Client {
    /// Whether so many of its questions are under way, or one of them waits, that it is not to ask more.
    pub(super) fn is_busy(&self) -> bool {
        self.asks >= u16::from(ASKS_PER_CONNECTION) || self.halted > 0
    }
}

impl Sessions {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            list: Slab::new(),
            peers: Slab::new(),
            effects: Effects::default(),
            touched: Vec::new(),
            slow: Vec::new(),
            late: VecDeque::new(),
            arrivals: Arrivals::new(seed),
        }
    }

    /// The session that a connection names, if it is still there.
    pub(super) fn named(&self, link: SessionLink) -> Option<u32> {
        let client = self.list.get(link.session as usize)?;
        link.is(&client.session.nonce).then_some(link.session)
    }

    /// Whether a session awaits the end of the turn.
    pub(super) fn is_dirty(&self) -> bool {
        !self.touched.is_empty() || !self.slow.is_empty()
    }

    /// Has a session looked after when the turn ends.
    pub(super) fn touch(&mut self, at: u32) {
        if let Some(client) = self.list.get_mut(at as usize)
            && !std::mem::replace(&mut client.is_touched, true)
        {
            self.touched.push(at);
        }
    }
}

impl Shard {
    /// The id of the session that is or will be at `at`.
    fn session_id(&self, at: u32, nonce: Nonce) -> ConnectionId {
        ConnectionId::new(ConnectionPlace { node: self.options.node, shard: self.number, slot: SESSION | at }, nonce)
    }

    /// The session's id as its client knows it.
    pub(super) fn sid_of(&self, at: u32) -> Option<ConnectionId> {
        let client = self.sessions.list.get(at as usize)?;
        Some(self.session_id(at, client.session.nonce))
    }

    /// Where the session is that a client calls `sid`.
    pub(super) fn find_session(&self, sid: &str, application: Application) -> Found {
        let Some(id) = ConnectionId::parse(sid) else { return Found::Nowhere };
        let place = id.place();
        if place.node != self.options.node || place.slot & SESSION == 0 {
            return Found::Nowhere;
        }
        if place.shard != self.number {
            let is_known = usize::from(place.shard) < self.placement.shards();
            return if is_known { Found::Elsewhere(place.shard) } else { Found::Nowhere };
        }
        let at = place.slot & !SESSION;
        match self.sessions.list.get(at as usize) {
            Some(client) if client.session.nonce == id.nonce() && client.application == application => Found::Here(at),
            _ => Found::Nowhere,
        }
    }

    /// Whether the shard takes on one more session.
    pub(super) fn takes_sessions(&self) -> bool {
        let max = match self.options.connections {
            0 => SLOTS_MAX as usize,
            max => max.min(SLOTS_MAX as usize),
        };
        !self.is_draining() && self.sessions.list.len() < max
    }

    /// Takes a new session on: `open` makes it, given the random part of its id, the id, and what it is to work with. Its
    /// slot.
    pub(super) fn open_session(
        &mut self,
        now: Now,
        version: Version,
        application: Application,
        open: impl FnOnce(Nonce, &str, &mut SessionContext<'_>) -> EngineIoSession,
    ) -> u32 {
        let nonce = self.rng.nonce();
        let at = self.sessions.list.vacant_key() as u32;
        let sid = self.session_id(at, nonce).text();
        let mut effects = std::mem::take(&mut self.sessions.effects);
        let settings = &self.options.socket_io.sessions;
        let session =
            open(nonce, sid.as_str(), &mut SessionContext { mono: now.mono, settings, effects: &mut effects });
        self.sessions.list.insert(Client {
            session,
            namespaces: Namespaces::new(version, now.mono, self.options.socket_io.connect_ms),
            handshake: None,
            armed: 0,
            held_post: NO_CONNECTION,
            asks: 0,
            halted: 0,
            seen: tick(now.mono),
            application,
            is_touched: false,
        });
        self.carry_out(now, at, effects);
        self.sessions.touch(at);
        at
    }

    /// Feeds a session, and does what it wants done.
    pub(super) fn feed<T>(
        &mut self,
        now: Now,
        at: u32,
        feed: impl FnOnce(&mut EngineIoSession, &mut SessionContext<'_>) -> T,
    ) -> Option<T> {
        self.sessions.touch(at);
        self.feed_quietly(now, at, feed)
    }

    fn feed_quietly<T>(
        &mut self,
        now: Now,
        at: u32,
        feed: impl FnOnce(&mut EngineIoSession, &mut SessionContext<'_>) -> T,
    ) -> Option<T> {
        let client = self.sessions.list.get_mut(at as usize)?;
        let mut effects = std::mem::take(&mut self.sessions.effects);
        let settings = &self.options.socket_io.sessions;
        let outcome =
            feed(&mut client.session, &mut SessionContext { mono: now.mono, settings, effects: &mut effects });
        self.carry_out(now, at, effects);
        Some(outcome)
    }

    /// Does what a session wants done. That may feed it again, whose effects then come in between, on other connections.
    fn carry_out(&mut self, now: Now, at: u32, mut effects: Effects) {
        for effect in effects.iter() {
            match effect {
                Effect::Answer { to, status, content_type, body } => {
                    self.answer_for_session(now, to, status, content_type, effects.bytes(body));
                }
                Effect::Frames { to, frames } => {
                    let segment = self.outbound.encode(|out| out.extend_from_slice(effects.bytes(frames)));
                    self.push(to, segment);
                }
                Effect::CloseSocket { to, code } => self.close_carrier(now, to, code),
                Effect::Over(reason) => self.session_over(now, at, reason),
            }
        }
        effects.clear();
        self.sessions.effects = effects;
    }

    /// Gives a connection something to send.
    pub(super) fn push(&mut self, slot: u32, segment: Segment) {
        if let Some(conn) = self.conns.get_mut(slot as usize) {
            self.outbound.push(slot, &mut conn.queue, segment);
        }
    }

    /// Has the WebSocket that carried a session, or asked to, close.
    fn close_carrier(&mut self, now: Now, slot: u32, code: u16) {
        let Some(conn) = self.conns.get_mut(slot as usize) else { return };
        if matches!(conn.stage, ConnStage::EngineIoSocket(_)) {
            conn.stage = ConnStage::Draining;
            self.waiting.forget(slot);
            let segment = self.outbound.encode(|out| ws::encode_close(out, code, ""));
            self.push(slot, segment);
            self.half_close(now, slot);
        }
    }

    /// A session is over: the peers that it was hear so.
    fn session_over(&mut self, now: Now, at: u32, reason: Reason) {
        let Some(client) = self.sessions.list.get_mut(at as usize) else { return };
        tracing::debug!(shard = self.number, session = at, reason = reason.text(), "session over");
        match reason {
            Reason::PingTimeout => self.stats.timed_out += 1,
            Reason::SlowConsumer => self.stats.slow_consumers += 1,
            _ => {}
        }
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
        for peer in peers {
            let known = self.sessions.peers.get(peer as usize);
            let departing = match departing {
                // Clients that poll say so, too, when a poll has failed; who leaves for good has left the namespace before.
                Departing::Goodbye if known.is_some_and(|known| known.recovery == Recovery::Offsets) => Departing::Lost,
                departing => departing,
            };
            self.peer_departs(now, peer, departing);
        }
        if held != NO_CONNECTION {
            let refusal = EngineIoRefusal::UnknownSession;
            self.answer_for_session(now, held, refusal.status(), "application/json", refusal.body().as_bytes());
        }
    }

    /// A connection has no more to do with the session that it carried, or waits for.
    pub(super) fn part_from_session(&mut self, now: Now, slot: u32) {
        let Some(conn) = self.conns.get_mut(slot as usize) else { return };
        let link = match &mut conn.stage {
            ConnStage::Http(Some(http)) => http.link.take(),
            ConnStage::EngineIoSocket(carrier) => Some(carrier.link),
            _ => None,
        };
        if matches!(conn.stage, ConnStage::EngineIoSocket(_)) {
            conn.stage = ConnStage::Draining;
            self.waiting.forget(slot);
        }
        if let Some(at) = link.and_then(|link| self.sessions.named(link)) {
            self.feed(now, at, |session, context| session.ended(slot, context));
        }
    }

    /// A packet came by a connection. Whether it, and what it says, makes sense.
    pub(super) fn packet(&mut self, now: Now, at: u32, from: u32, packet: EngineIoPacket<'_>) -> bool {
        if let Some(client) = self.sessions.list.get_mut(at as usize) {
            client.seen = tick(now.mono);
        }
        match self.feed(now, at, |session, context| session.hear(from, packet, context)) {
            Some(Some(data)) => self.message(now, at, data),
            _ => true,
        }
    }

    fn message(&mut self, now: Now, at: u32, data: PacketData<'_>) -> bool {
        let Some(client) = self.sessions.list.get(at as usize) else { return true };
        match client.application {
            Application::Echo => {
                self.send_back(at, data);
                true
            }
            Application::SocketIo => match self.socketio_message(now, at, data) {
                Ok(()) => true,
                Err(fault) => {
                    tracing::debug!(shard = self.number, session = at, fault = fault.text(), "bad packet");
                    false
                }
            },
        }
    }

    /// Sends a session the frames that `write` writes.
    pub(super) fn send_to_session(&mut self, at: u32, write: impl FnOnce(&mut Vec<u8>)) {
        let segment = self.outbound.encode(write);
        self.deliver(at, segment);
    }

    /// Sends a session a segment of this turn's bytes, by whatever carries it.
    pub(super) fn deliver(&mut self, at: u32, segment: Segment) {
        let Some(client) = self.sessions.list.get_mut(at as usize) else { return };
        match client.session.route() {
            SessionRoute::Socket(to) => {
                if let Some(conn) = self.conns.get_mut(to as usize) {
                    self.outbound.push(to, &mut conn.queue, segment);
                }
            }
            SessionRoute::Buffer => {
                let bytes_max = self.options.socket_io.sessions.outbound_bytes;
                if !client.session.buffer(self.outbound.bytes(segment), segment.droppable, bytes_max) {
                    self.sessions.slow.push(at);
                }
                self.sessions.touch(at);
            }
            SessionRoute::Nowhere => {}
        }
    }

    /// Looks after the sessions that something has happened to.
    pub(super) fn flush_sessions(&mut self, now: Now) {
        while let Some(at) = self.sessions.slow.pop() {
            self.feed(now, at, |session, context| session.close(Reason::SlowConsumer, context));
        }
        // An answer may lead to the next request, which touches further sessions, or the same one anew.
        while let Some(at) = self.sessions.touched.pop() {
            let Some(client) = self.sessions.list.get_mut(at as usize) else { continue };
            client.is_touched = false;
            if client.held_post != NO_CONNECTION && !client.is_busy() {
                let held = std::mem::replace(&mut client.held_post, NO_CONNECTION);
                self.feed_quietly(now, at, |session, context| session.post_read(held, context));
            }
            self.feed_quietly(now, at, |session, context| session.flush(context));
            if self.sessions.list[at as usize].session.is_gone() {
                self.sessions.list.remove(at as usize);
                self.leave_address(self.sessions.arrivals.address(at));
                self.sessions.arrivals.forget(at);
                if self.sessions.list.is_empty() {
                    self.sessions.list.shrink_to_fit();
                    self.sessions.peers.shrink_to_fit();
                    self.sessions.arrivals.clear();
                }
            } else {
                self.rearm_session(now, at);
            }
        }
    }

    /// A session's time has come.
    pub(super) fn session_due(&mut self, now: Now, at: u32, came_up: Tick) {
        let Some(client) = self.sessions.list.get_mut(at as usize).filter(|client| client.armed == came_up) else {
            return;
        };
        client.armed = 0;
        self.feed(now, at, |session, context| session.tick(context));
        let Some(client) = self.sessions.list.get(at as usize) else { return };
        if client.application != Application::SocketIo || client.session.is_over() {
            return;
        }
        if client.namespaces.connect_by().is_some_and(|by| by <= now.mono) {
            self.feed(now, at, |session, context| session.close(Reason::ServerClose, context));
        } else {
            self.end_expired_peers(now, at);
        }
    }

    /// Puts a session on the wheel for the next moment it is to be looked at, unless it is there already.
    fn rearm_session(&mut self, now: Now, at: u32) {
        let client = &self.sessions.list[at as usize];
        let Some(mut next) = client.session.next_due() else { return };
        if client.application == Application::SocketIo && !client.session.is_over() {
            next = next.min(client.namespaces.connect_by().unwrap_or(u64::MAX));
            for (_, peer) in client.namespaces.peers() {
                let expires_at = self.sessions.peers.get(peer as usize).map_or(0, |peer| peer.expires_at);
                if expires_at != 0 {
                    next = next.min(now.mono + (u64::from(expires_at) * 1000).saturating_sub(now.wall));
                }
            }
        }
        if client.armed == 0 || tick(next + TICK_MS - 1) < client.armed {
            self.sessions.list[at as usize].armed = self.timers.arm(next, SESSION | at);
        }
    }
}
