//! Connections, Engine.IO sessions and Socket.IO peers of a shard: their state, their ids, their timers, and the bytes that
//! leave by them.
//!
//! A slot stays valid for the turn in which it was obtained: connections are removed only where the flush ends them or hands
//! them to another shard, sessions only where the flush finds them gone. A peer may be removed in the middle of a turn.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use crate::base::handle::{ConnSlot, PeerKey, PeerSlot, SessionSlot, Slot, Slots, SocketIoSlot, TimerKey};
use crate::base::ids::{ConnectionId, ConnectionPlace, Nonce, PEER, SESSION, SLOTS_MAX};
use crate::base::limits;
use crate::base::time::Now;
use crate::base::wheel::{TICK_MS, Wheel, tick};
use crate::codec::engineio::Version;
use crate::codec::http::{Connection, Gzip, RequestHead};
use crate::codec::socketio as packets;
use crate::codec::ws::{self, AcceptKey, DeflateAgreement, Inflater, UpgradeError, UpgradeRequest};
use crate::connection::conn::{CloseState, Conn, ConnStage};
use crate::connection::credentials::{self, TokenCarrier, TokenCarriers};
use crate::connection::engineio_socket::SessionLink;
use crate::connection::forwarded::addressed;
use crate::connection::http::{Headers, Http, ReplyForm as Form};
use crate::connection::origins::{Addressed, Sender};
use crate::connection::outbound::{Outbound, Segment};
use crate::connection::session::SessionRoute;
use crate::dialect::socketio::Dialect;
use crate::domain::access::Identity;
use crate::domain::reject::{Code, Reject};
use crate::message::ShardNumber;
use crate::shard::moves::Departure;
use crate::shard::remotes::{RemoteView, Remotes};
use crate::shard::sessions::{Application, Found, Sessions};
use crate::shard::waiting::Waiting;
use crate::shard::{Options, conformance};

/// TCP connections, Engine.IO sessions and Socket.IO peers, and the bytes that leave by them.
pub(super) struct Net {
    pub(super) number: ShardNumber,
    pub(super) options: Arc<Options>,
    pub(super) conns: Slots<ConnSlot, Conn>,
    pub(super) sessions: Sessions,
    /// Address, time of arrival and client program of the connections.
    pub(super) remotes: Remotes<ConnSlot>,
    pub(super) timers: Wheel<TimerKey>,
    pub(super) outbound: Outbound,
    /// Decompresses what comes from clients.
    inflater: Inflater,
    /// Compresses answers by HTTP.
    gzip: Gzip,
    /// Connections whose close the end of the turn carries on.
    pub(super) ending: Vec<ConnSlot>,
    /// Connections whose backlog has outgrown its bound.
    pub(super) overflowed: Vec<ConnSlot>,
    /// Connections that may be read again.
    pub(super) resumed: Vec<ConnSlot>,
    /// Input that waits.
    pub(super) waiting: Waiting,
    /// Connections that move to other shards.
    pub(super) departures: Vec<Departure>,
    /// Several segments, joined for one write.
    pub(super) cork: Vec<u8>,
    /// Connections whose queue need not wait any longer.
    pub(super) uncorked: Vec<ConnSlot>,
    /// Whether no new clients are taken on.
    pub(super) is_draining: bool,
}

impl Net {
    pub(super) fn new(number: ShardNumber, options: Arc<Options>, seed: u64, now: Now) -> Self {
        Self {
            number,
            options,
            conns: Slots::new(),
            sessions: Sessions::new(seed),
            remotes: Remotes::new(seed),
            timers: Wheel::new(now.mono),
            outbound: Outbound::default(),
            inflater: Inflater::default(),
            gzip: Gzip::default(),
            ending: Vec::new(),
            overflowed: Vec::new(),
            resumed: Vec::new(),
            waiting: Waiting::default(),
            departures: Vec::new(),
            cork: Vec::new(),
            uncorked: Vec::new(),
            is_draining: false,
        }
    }

    /// The most connections, and the most sessions, that the shard takes on.
    pub(super) fn connections_max(&self) -> usize {
        match self.options.connections {
            0 => SLOTS_MAX as usize,
            max => max.min(SLOTS_MAX as usize),
        }
    }

    // Ids.

    /// The id of a peer, or of a connection that is not a peer yet.
    pub(super) fn id_of(&self, peer: impl Into<PeerKey>) -> ConnectionId {
        let peer = peer.into();
        let nonce = match peer.slot() {
            PeerSlot::Raw(slot) => self.conns.get(slot).map(|conn| conn.nonce),
            PeerSlot::SocketIo(slot) => self.sessions.peers.get(slot).map(|peer| peer.nonce),
        };
        let place = ConnectionPlace { node: self.options.node, shard: self.number, slot: peer.raw() };
        ConnectionId::new(place, nonce.unwrap_or_default())
    }

    /// The slot of a connection, if it is here and still the same one. Socket.IO peers have none.
    pub(super) fn find_conn(&self, id: ConnectionId) -> Option<ConnSlot> {
        let place = id.place();
        let slot = ConnSlot::from_raw(place.slot);
        let conn = self.conns.get(slot)?;
        (place.shard == self.number && conn.nonce == id.nonce()).then_some(slot)
    }

    /// The slot of a Socket.IO peer, if it is here and still the same one.
    pub(super) fn find_socketio(&self, id: ConnectionId) -> Option<SocketIoSlot> {
        let place = id.place();
        let slot = SocketIoSlot::from_raw(place.slot & !PEER);
        let peer = self.sessions.peers.get(slot)?;
        (id.is_peer() && place.shard == self.number && peer.nonce == id.nonce()).then_some(slot)
    }

    /// The key of a peer, if it is here and still the same one.
    pub(super) fn find_peer(&self, id: ConnectionId) -> Option<PeerKey> {
        if id.is_peer() { self.find_socketio(id).map(PeerKey::from) } else { self.find_conn(id).map(PeerKey::from) }
    }

    /// The key of a peer; [`PeerKey::NONE`] where it is not here.
    pub(super) fn key_of(&self, id: Option<ConnectionId>) -> PeerKey {
        id.and_then(|id| self.find_peer(id)).unwrap_or(PeerKey::NONE)
    }

    /// The id of the session that is or will be at a slot.
    pub(super) fn session_id(&self, at: SessionSlot, nonce: Nonce) -> ConnectionId {
        ConnectionId::new(
            ConnectionPlace { node: self.options.node, shard: self.number, slot: SESSION | at.raw() },
            nonce,
        )
    }

    /// Looks for the session that a client calls `sid`.
    pub(super) fn find_session(&self, sid: &str, application: Application) -> Found {
        let id = ConnectionId::parse(sid).filter(|id| {
            let place = id.place();
            place.node == self.options.node && place.slot & SESSION != 0
        });
        match id.map(|id| (id.place(), id.nonce())) {
            Some((place, nonce)) if place.shard == self.number => {
                let at = SessionSlot::from_raw(place.slot & !SESSION);
                let client = self.sessions.list.get(at);
                let is_it = client.is_some_and(|it| it.session.nonce == nonce && it.application == application);
                if is_it { Found::Here(at) } else { Found::Nowhere }
            }
            Some((place, _)) if usize::from(place.shard) < self.options.shards => Found::Elsewhere(place.shard),
            _ => Found::Nowhere,
        }
    }

    /// The name by which a connection knows a session.
    pub(super) fn link_of(&self, at: SessionSlot) -> SessionLink {
        SessionLink::new(at.raw(), &self.sessions.list[at].session.nonce)
    }

    /// The session of a Socket.IO peer.
    pub(super) fn session_of(&self, slot: SocketIoSlot) -> Option<SessionSlot> {
        self.sessions.peers.get(slot).and_then(|peer| self.sessions.named(peer.link))
    }

    /// The id of a Socket.IO peer that was not recovered, as its client knows it; see [`Core::socket_id`](crate::shard::core::Core::socket_id).
    pub(super) fn socket_id(&self, slot: SocketIoSlot) -> String {
        let own = self.id_of(slot).to_string();
        let Some((peer, at)) = self.sessions.peers.get(slot).zip(self.session_of(slot)) else { return own };
        let client = &self.sessions.list[at];
        if client.session.version() == Version::V4 {
            return own;
        }
        let session = self.session_id(at, client.session.nonce).to_string();
        match self.spaces()[usize::from(peer.space)] {
            packets::MAIN => session,
            namespace => format!("{namespace}#{session}"),
        }
    }

    /// The namespaces that clients may connect to.
    pub(super) fn spaces(&self) -> &'static [&'static str] {
        if self.options.socket_io.is_conformance { &conformance::NAMESPACES } else { self.options.socket_io.spaces }
    }

    // Peers.

    /// The identity of a peer.
    pub(super) fn identity_of(&self, peer: PeerKey) -> Option<&Identity> {
        match peer.slot() {
            PeerSlot::Raw(slot) => self.conns.get(slot).and_then(|conn| conn.identity.as_ref()),
            PeerSlot::SocketIo(slot) => self.sessions.peers.get(slot).and_then(|peer| peer.identity.as_ref()),
        }
    }

    /// The same, as a request needs it.
    pub(super) fn identity(&self, peer: impl Into<PeerKey>) -> Result<Identity, Reject> {
        let identity = self.identity_of(peer.into()).cloned();
        identity.ok_or_else(|| Reject::new(Code::Unauthenticated, "Not authenticated"))
    }

    /// Whether a peer is attached and gets events.
    pub(super) fn is_listening(&self, peer: PeerKey) -> bool {
        match peer.slot() {
            PeerSlot::Raw(slot) => self.conns.get(slot).is_some_and(Conn::is_listening),
            PeerSlot::SocketIo(slot) => self.sessions.peers.get(slot).is_some_and(|peer| peer.is_connected),
        }
    }

    /// The raw connections that get events.
    pub(super) fn listening_conns(&self) -> Vec<ConnSlot> {
        self.conns.iter().filter_map(|(slot, conn)| conn.is_listening().then_some(slot)).collect()
    }

    /// The sessions that are not over.
    pub(super) fn open_sessions(&self) -> Vec<SessionSlot> {
        let is_open =
            |(at, client): (SessionSlot, &crate::shard::sessions::Client)| (!client.session.is_over()).then_some(at);
        self.sessions.list.iter().filter_map(is_open).collect()
    }

    /// The connected Socket.IO peers of a dialect, with their sessions.
    pub(super) fn connected_in(&self, dialect: Dialect) -> Vec<(SocketIoSlot, SessionSlot)> {
        let connected = self.sessions.peers.iter().filter(|(_, peer)| peer.is_connected && peer.dialect == dialect);
        connected.filter_map(|(slot, peer)| Some((slot, self.sessions.named(peer.link)?))).collect()
    }

    /// The remote end of a peer.
    pub(super) fn remote_of(&self, peer: PeerKey, now: Now) -> Option<RemoteView<'_>> {
        match peer.slot() {
            PeerSlot::Raw(slot) => Some(self.remotes.view(slot, now)),
            PeerSlot::SocketIo(slot) => Some(self.sessions.remotes.view(self.session_of(slot)?, now)),
        }
    }

    // Outgoing bytes.

    /// Gives a peer a segment of this turn's bytes.
    pub(super) fn push_to_peer(&mut self, peer: PeerKey, segment: Segment) {
        match peer.slot() {
            PeerSlot::Raw(slot) => self.push(slot, segment),
            PeerSlot::SocketIo(slot) => {
                if let Some(at) = self.session_of(slot) {
                    self.deliver(at, segment);
                }
            }
        }
    }

    /// Sends a raw connection a frame whose text `write` writes.
    pub(super) fn send_raw(&mut self, slot: ConnSlot, write: impl FnOnce(&mut Vec<u8>)) {
        self.send_raw_as(slot, false, write);
    }

    /// The same. `is_bulk`: it may be written in a later turn.
    pub(super) fn send_raw_as(&mut self, slot: ConnSlot, is_bulk: bool, write: impl FnOnce(&mut Vec<u8>)) {
        if let Some(conn) = self.conns.get_mut(slot) {
            let segment = self.outbound.encode(|out| {
                let mark = ws::begin_text(out);
                write(out);
                ws::finish(out, mark);
            });
            self.outbound.push_as(slot.raw(), &mut conn.queue, segment, is_bulk);
        }
    }

    /// Gives a connection a segment of this turn's bytes.
    pub(super) fn push(&mut self, slot: ConnSlot, segment: Segment) {
        if let Some(conn) = self.conns.get_mut(slot) {
            self.outbound.push(slot.raw(), &mut conn.queue, segment);
        }
    }

    /// Sends a session the frames that `write` writes.
    pub(super) fn send_to_session(&mut self, at: SessionSlot, write: impl FnOnce(&mut Vec<u8>)) {
        let segment = self.outbound.encode(write);
        self.deliver(at, segment);
    }

    /// Gives a session a segment of this turn's bytes, by the transport that carries it.
    pub(super) fn deliver(&mut self, at: SessionSlot, segment: Segment) {
        let client = &mut self.sessions.list[at];
        match client.session.route() {
            SessionRoute::Socket(to) => {
                if let Some(conn) = self.conns.get_mut(ConnSlot::from_raw(to)) {
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

    /// Whether a session has a socket that has taken all it was given.
    pub(super) fn keeps_up_with(&self, at: SessionSlot) -> bool {
        match self.sessions.list[at].session.route() {
            SessionRoute::Socket(to) => {
                self.conns.get(ConnSlot::from_raw(to)).is_some_and(|conn| conn.queue.backlog.is_none())
            }
            SessionRoute::Buffer | SessionRoute::Nowhere => false,
        }
    }

    /// Whether so many answers wait to be sent that the next request has to wait as well.
    pub(super) fn is_owed_much(&self, slot: ConnSlot) -> bool {
        let conn = &self.conns[slot];
        conn.queue.backlog.is_some() || self.outbound.share_bytes(&conn.queue) > limits::ANSWERS_BYTES
    }

    /// Reads a connection again: its socket, and its input that waits.
    pub(super) fn read_again(&mut self, slot: ConnSlot) {
        self.resumed.push(slot);
        self.waiting.look_again(slot);
    }

    // WebSockets.

    /// Sends the answer that makes a connection a WebSocket, and has messages compressed if its client offers that.
    pub(super) fn switch_protocols(
        &mut self,
        slot: ConnSlot,
        head: &RequestHead<'_>,
        accept: &AcceptKey,
        protocol: Option<&str>,
    ) {
        let agreed = self.options.deflate.and_then(|settings| {
            let offers = head.headers_named("sec-websocket-extensions").collect::<Vec<_>>().join(", ");
            Some((DeflateAgreement::of_offers(&offers)?, settings))
        });
        let extensions = agreed.map(|(agreement, _)| agreement.answer());
        let segment =
            self.outbound.encode(|out| ws::encode_switching_protocols(out, accept, protocol, extensions.as_deref()));
        self.push(slot, segment);
        if let Some((agreement, settings)) = agreed {
            self.outbound.deflate(&mut self.conns[slot].queue, agreement.window_bits, settings);
        }
    }

    /// The decompressor, if the messages of a connection may be compressed.
    pub(super) fn inflater(&mut self, slot: ConnSlot) -> Option<&mut Inflater> {
        (self.conns[slot].queue.window_bits() != 0).then_some(&mut self.inflater)
    }

    // The end of connections.

    /// Closes a connection at the turn's end, even with bytes unsent.
    pub(super) fn abort(&mut self, slot: ConnSlot) {
        if let Some(conn) = self.conns.get_mut(slot) {
            conn.ending = CloseState::Abort;
            self.ending.push(slot);
        }
    }

    /// Closes a connection at the turn's end unless input has arrived by then: a client may send a request at the moment
    /// when the connection times out.
    pub(super) fn close_idle(&mut self, slot: ConnSlot) {
        let conn = &mut self.conns[slot];
        match conn.ending {
            CloseState::None => {
                conn.ending = CloseState::CloseIdle;
                self.ending.push(slot);
            }
            _ => self.abort(slot),
        }
    }

    /// Ends our side of a connection as soon as everything is sent.
    pub(super) fn half_close(&mut self, now: Now, slot: ConnSlot) {
        let conn = &mut self.conns[slot];
        if conn.ending == CloseState::None {
            conn.ending = CloseState::HalfClose;
            self.ending.push(slot);
            self.set_deadline(now, slot, limits::CLOSING_MS);
        }
    }

    /// Closes the WebSocket that carried a session, or asked to.
    pub(super) fn close_engineio_socket(&mut self, now: Now, slot: ConnSlot, code: u16) {
        if let Some(conn) = self.conns.get_mut(slot)
            && matches!(conn.stage, ConnStage::EngineIoSocket(_))
        {
            conn.stage = ConnStage::Draining;
            self.waiting.forget(slot);
            let segment = self.outbound.encode(|out| ws::encode_close(out, code, ""));
            self.push(slot, segment);
            self.half_close(now, slot);
        }
    }

    /// Hands a connection to another shard, with the input it has not read. Returns whether it does: not before all bytes it
    /// is owed are sent.
    pub(super) fn hand_over(&mut self, slot: ConnSlot, to: ShardNumber, unread: &[u8]) -> bool {
        let conn = &mut self.conns[slot];
        if !conn.queue.is_empty() {
            return false;
        }
        conn.stage = ConnStage::Draining;
        conn.ending = CloseState::HalfClosed;
        conn.deadline = 0;
        let (from, roles) = (self.remotes.address(slot), self.remotes.roles(slot));
        self.departures.push(Departure { slot, to, from, roles, unread: unread.to_vec() });
        true
    }

    // Timers.

    /// Ends a connection's stage `ms` from now.
    pub(super) fn set_deadline(&mut self, now: Now, slot: ConnSlot, ms: u64) {
        if let Some(conn) = self.conns.get_mut(slot) {
            conn.deadline = tick(now.mono + ms + TICK_MS - 1);
            self.rearm(now, slot);
        }
    }

    /// Arms a connection's timer for its next deadline, unless it is armed for an earlier moment.
    pub(super) fn rearm(&mut self, now: Now, slot: ConnSlot) {
        let conn = &mut self.conns[slot];
        let mut next = match conn.deadline {
            0 => None,
            at => Some(u64::from(at) * TICK_MS),
        };
        if let ConnStage::WebSocket(socket) = &conn.stage {
            next = Some(socket.next_beat(now.mono, conn.seen, self.options.heartbeat));
            if conn.expires_at != 0 {
                let left_ms = (u64::from(conn.expires_at) * 1000).saturating_sub(now.wall);
                next = next.map(|at| at.min(now.mono + left_ms));
            }
            if let Some(end) = conn.identity.as_ref().and_then(|by| by.next_end(now.unix_seconds())) {
                next = next.map(|at| at.min(now.until(end)));
            }
        }
        if let Some(at) = next
            && (conn.armed == 0 || tick(at) < conn.armed)
        {
            conn.armed = self.timers.arm(at, slot.into());
        }
    }

    // HTTP.

    /// Keeps the state of a connection's request under way.
    pub(super) fn keep(&mut self, slot: ConnSlot, http: Box<Http>) {
        self.conns[slot].stage = ConnStage::Http(Some(http));
    }

    /// The form that the answer to a request must have.
    pub(super) fn reply_form(&self, slot: ConnSlot, head: &RequestHead<'_>) -> Form {
        let sender = self.sender(slot, head);
        let origin = head.header("origin").filter(|_| sender.is_allowed());
        let connection = if self.is_draining { Connection::Close } else { head.connection() };
        Form {
            head_only: head.method == "HEAD",
            connection: Some(connection),
            origin: origin.map(Into::into),
            with_credentials: sender == Sender::TrustedPage,
            gzip: self.options.http_deflate.filter(|_| head.accepts_gzip()),
            access: None,
        }
    }

    /// Sends the answer to a request: status, date, headers and body; the body compressed if the client accepts that.
    pub(super) fn push_answer(
        &mut self,
        slot: ConnSlot,
        form: &Form,
        (status, date, headers): (u16, &str, Headers<'_>),
        body: &[u8],
    ) {
        let packed = form.compression(headers, body).and_then(|settings| self.gzip.pack(body, settings.level));
        let segment = self.outbound.encode(|out| match packed {
            Some(packed) => form.write_packed(out, status, date, headers, packed),
            None => form.write(out, status, date, headers, body),
        });
        self.push(slot, segment);
    }

    /// The client address of a peer.
    pub(super) fn address_of(&self, peer: PeerKey) -> IpAddr {
        match peer.slot() {
            PeerSlot::Raw(slot) => self.remotes.address(slot),
            PeerSlot::SocketIo(slot) => match self.session_of(slot) {
                Some(at) => self.sessions.remotes.address(at),
                None => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            },
        }
    }

    /// The sender of a request.
    pub(super) fn sender(&self, slot: ConnSlot, head: &RequestHead<'_>) -> Sender {
        self.options.origins.sender(head, &self.addressed(slot, head))
    }

    /// The server as the client of a request addresses it.
    pub(super) fn addressed<'h>(&self, slot: ConnSlot, head: &RequestHead<'h>) -> Addressed<'h> {
        let from = (self.remotes.address(slot), self.remotes.is_secure(slot));
        addressed(head, from, &self.options.allowances.trusted_proxies)
    }

    /// The token of a request, and its carrier. A cookie counts only if a page of this site, or its user, has sent it.
    pub(super) fn token<'h>(&self, head: &RequestHead<'h>, sender: Sender) -> Option<(Cow<'h, str>, TokenCarrier)> {
        let TokenCarriers { query, cookie } = self.options.token_carriers;
        let accepted = TokenCarriers { query, cookie: cookie && sender == Sender::TrustedPage };
        credentials::token(head, accepted)
    }

    /// The same for a request of a session: its client is served on until the session is over.
    pub(super) fn session_form(&self, slot: ConnSlot, head: &RequestHead<'_>) -> Form {
        Form { connection: Some(head.connection()), ..self.reply_form(slot, head) }
    }

    /// The application behind a path, if the path is one of sessions.
    pub(super) fn application(&self, path: &str) -> Option<Application> {
        let own = &*self.options.socket_io.path;
        match path {
            _ if path == own || own.strip_suffix('/') == Some(path) => Some(Application::SocketIo),
            "/engine.io/" | "/engine.io" if self.options.socket_io.is_conformance => Some(Application::Echo),
            _ => None,
        }
    }
}

/// The key that completes the opening handshake of a WebSocket (RFC 6455 §4.2.2).
pub(super) fn accept_key(head: &RequestHead<'_>) -> Result<AcceptKey, UpgradeError> {
    let joined = |name| head.headers_named(name).collect::<Vec<_>>().join(", ");
    let (upgrade, connection) = (joined("upgrade"), joined("connection"));
    let handshake = UpgradeRequest {
        method: head.method,
        version: head.version,
        upgrade: Some(&upgrade),
        connection: Some(&connection),
        version_header: head.header("sec-websocket-version"),
        key: head.header("sec-websocket-key"),
        is_ambiguous: ["sec-websocket-key", "sec-websocket-version"].iter().any(|name| head.count(name) > 1),
        has_body: head.has_body(),
    };
    handshake.check()
}
