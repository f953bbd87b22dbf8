//! Socket.IO on a shard: from a session's messages to the domain, and back.
//!
//! To the domain a peer is a connection like any other; what it asks goes the same way as what a WebSocket asks that speaks
//! `raw`. How events are spelled is the dialects' affair ([`crate::dialect::socketio`]).

use uuid::Uuid;

use crate::base::Name;
use crate::base::ids::{ConnectionId, ConnectionPlace, PEER, SLOTS_MAX, is_name};
use crate::base::time::Now;
use crate::codec::engineio::{self, PacketData, Version};
use crate::codec::http::{RequestHead, query_value};
use crate::codec::json::Object;
use crate::codec::socketio::{self as packets, SocketIoEvent};
use crate::connection::credentials;
use crate::connection::engineio_socket::SessionLink;
use crate::connection::namespace::{ConnectPayload, INVALID_NAMESPACE, NamespaceEvent, NamespaceFault, NamespaceIndex};
use crate::connection::peer::{Recovery, SocketIoPeer};
use crate::dialect::socketio::{self as dialects, Dialect, NAMESPACES, ReplyTo, SocketIoAnswer};
use crate::domain::access::Identity;
use crate::domain::command::Command;
use crate::domain::history::PAGE_DEFAULT;
use crate::domain::op::{Op, RoomOp, Scope, UserOp};
use crate::domain::reject::{Code, Reject};
use crate::shard::answers::{Ask, Then};
use crate::shard::peers::seconds;
use crate::shard::recovery::Departing;
use crate::shard::{Shard, conformance};

/// What a session's first request says of who sends it.
pub(super) struct Handshake {
    token: Option<Box<str>>,
    /// Whether the token is in `Authorization`, and so counts more than one that comes later.
    is_in_header: bool,
    dialect: Option<Dialect>,
    /// What the connection calls itself.
    socket: Option<Name>,
    /// What program it says it is.
    pub(super) agent: Option<Box<str>>,
    /// Whether it is not to be given what it takes to come back.
    is_for_once: bool,
}

impl Handshake {
    /// That of a request with this head, if it says anything.
    pub(super) fn of(head: &RequestHead<'_>) -> Option<Box<Self>> {
        let token = credentials::token(head).map(|token| token.into());
        let dialect = head.query().and_then(|query| query_value(query, "dialect"));
        let dialect = dialect.and_then(|name| Dialect::parse(&name));
        let is_in_header = head.header("authorization").is_some();
        let socket = head.query().and_then(|query| query_value(query, "socketId")).filter(|socket| is_name(socket));
        let socket: Option<Name> = socket.map(|socket| socket.as_ref().into());
        let agent = head.header("user-agent").map(Into::into);
        let is_for_once = !credentials::wants_recovery(head);
        let handshake = Self { token, is_in_header, dialect, socket, agent, is_for_once };
        let says_something = handshake.is_of_use() || handshake.agent.is_some();
        says_something.then(|| Box::new(handshake))
    }

    /// What of it a session's peers are to be judged by, if anything.
    pub(super) fn to_keep(mut self: Box<Self>) -> Option<Box<Self>> {
        self.agent = None;
        self.is_of_use().then_some(self)
    }

    fn is_of_use(&self) -> bool {
        self.token.is_some() || self.dialect.is_some() || self.socket.is_some() || self.is_for_once
    }
}

impl Shard {
    /// The namespaces there are.
    fn spaces(&self) -> &'static [&'static str] {
        if self.options.socket_io.is_conformance { &conformance::NAMESPACES } else { &NAMESPACES }
    }

    /// A session has opened; an older client is connected by that.
    pub(super) fn open_namespaces(&mut self, now: Now, at: u32) {
        let spaces = self.spaces();
        let Some(client) = self.sessions.list.get_mut(at as usize) else { return };
        let heard = client.namespaces.open(spaces);
        self.heard(now, at, heard);
    }

    /// A message came.
    pub(super) fn socketio_message(&mut self, now: Now, at: u32, data: PacketData<'_>) -> Result<(), NamespaceFault> {
        let spaces = self.spaces();
        let Some(client) = self.sessions.list.get_mut(at as usize) else { return Ok(()) };
        match client.namespaces.message(spaces, data, &self.options.socket_io.packet)? {
            NamespaceEvent::Gathered(whole) => {
                let heard = client.namespaces.packet(spaces, whole.packet()?)?;
                self.heard(now, at, heard);
            }
            heard => self.heard(now, at, heard),
        }
        Ok(())
    }

    fn heard(&mut self, now: Now, at: u32, heard: NamespaceEvent<'_>) {
        let is_conformance = self.options.socket_io.is_conformance;
        match heard {
            // Whoever is refused does not try again by itself; whose transport closes does, and elsewhere.
            NamespaceEvent::Connect { .. } if self.is_draining() => self.close_session(now, at),
            NamespaceEvent::Connect { space, payload, .. } if is_conformance => {
                self.connect_for_suite(now, at, space, payload)
            }
            NamespaceEvent::Connect { space, payload, query } => {
                if let Err(reject) = self.connect_peer(now, at, space, payload, query) {
                    self.note_turned_away(now, at, &reject);
                    self.refuse_peer(now, at, space, &reject);
                }
            }
            NamespaceEvent::Unknown { namespace } => self.send_refusal(at, namespace, INVALID_NAMESPACE, None),
            NamespaceEvent::Event { space, event, id, attachments, .. } if is_conformance => {
                self.answer_suite(at, space, event, id, attachments);
            }
            NamespaceEvent::Event { peer, event, id, attachments, .. } => {
                let request = ReplyTo::new(id, event.plain_name().unwrap_or_default());
                if let Err(reject) = self.peer_event(now, peer, event, !attachments.is_empty(), request) {
                    self.stats.refusals += 1;
                    self.note_refused(now, PEER | peer, &reject);
                    self.answer_in_dialect(now, peer, request, &SocketIoAnswer::Refused(&reject));
                }
            }
            // Nothing is asked of clients yet, so nothing they acknowledge matters.
            NamespaceEvent::Acked { .. } | NamespaceEvent::Nothing | NamespaceEvent::Gathered(_) => {}
            NamespaceEvent::Left { peer: Some(peer), .. } => self.peer_departs(now, peer, Departing::Quit),
            // Its peer is found out when it is decided whether it may come in.
            NamespaceEvent::Left { peer: None, .. } => {}
        }
    }

    /// A client wants to connect to a namespace: its token is verified, and its user's keeper asked.
    fn connect_peer(
        &mut self,
        now: Now,
        at: u32,
        space: NamespaceIndex,
        payload: Option<&str>,
        query: Option<&str>,
    ) -> Result<(), Reject> {
        let fields = ConnectPayload::read(payload, query);
        let handshake = self.sessions.list.get(at as usize).and_then(|client| client.handshake.as_deref());
        let earlier = handshake.and_then(|handshake| handshake.token.as_deref());
        let comes_first = handshake.is_some_and(|handshake| handshake.is_in_header);
        let token = if comes_first { earlier } else { fields.token.as_deref().or(earlier) };
        let token = token.ok_or_else(|| Reject::new(Code::Unauthenticated, "A token is required"))?;
        let (identity, expires_at) = self.verify(token, now)?;
        if !self.is_open(identity.user()) {
            return Err(Reject::overloaded());
        }
        let sends_token = payload.is_some() && fields.token.is_some();
        let peer = self.add_peer(now, at, space, sends_token).ok_or_else(Reject::overloaded)?;
        let known = &mut self.sessions.peers[peer as usize];
        known.identity = Some(identity.clone());
        known.expires_at = expires_at.map_or(0, seconds);
        if known.recovery == Recovery::Offsets {
            self.prepare_return(peer, &fields);
        }
        let handshake = self.sessions.list.get(at as usize).and_then(|client| client.handshake.as_deref());
        let socket = handshake.and_then(|handshake| handshake.socket.clone());
        let connection = self.id_of(PEER | peer);
        let ask = Ask { to: Some(connection), request: None, then: Then::Attached };
        self.ask(ask, Op::User(identity.user_name(), UserOp::Attach { connection, by: identity, socket }));
        Ok(())
    }

    /// Makes a peer that wants to connect to a namespace; `None` when there are too many.
    pub(super) fn add_peer(&mut self, now: Now, at: u32, space: NamespaceIndex, sends_token: bool) -> Option<u32> {
        let client = self.sessions.list.get(at as usize)?;
        if self.sessions.peers.len() >= SLOTS_MAX as usize {
            return None;
        }
        let link = SessionLink::new(at, &client.session.nonce);
        let namespace = self.spaces()[usize::from(space)];
        let stated = client.handshake.as_ref().and_then(|handshake| handshake.dialect);
        let stated = stated.filter(|dialect| dialect.namespace() == namespace);
        let dialect = stated.unwrap_or_else(|| Dialect::expected_in(namespace, sends_token));
        let mut peer = SocketIoPeer::new(self.rng.nonce(), link, space, dialect, now.mono);
        peer.is_settled = stated.is_some();
        let is_for_once = client.handshake.as_ref().is_some_and(|handshake| handshake.is_for_once);
        let is_for_suites = self.options.socket_io.is_conformance;
        if self.recovers() && client.session.version() == Version::V4 && !is_for_once && !is_for_suites {
            peer.recovery = Recovery::Offsets;
        }
        Some(self.sessions.peers.insert(peer) as u32)
    }

    /// A peer may connect, and is told so, unless its client has given up. Whether it is connected.
    pub(super) fn accept_peer(&mut self, now: Now, peer: u32) -> bool {
        let Some(known) = self.sessions.peers.get(peer as usize) else { return false };
        if known.is_connected {
            return true;
        }
        let (space, dialect) = (known.space, known.dialect);
        let Some(at) = self.sessions.named(known.link) else { return false };
        let client = &mut self.sessions.list[at as usize];
        if client.session.is_over() || !client.namespaces.accept(space, peer) {
            return false;
        }
        let known = &mut self.sessions.peers[peer as usize];
        known.is_connected = true;
        let (identity, has_secret) = (known.identity.clone(), known.recovery == Recovery::Offsets);
        let name = self.spaces()[usize::from(space)];
        let id = self.id_of(PEER | peer).text();
        let secret = has_secret.then(|| self.secret_of_peer(peer));
        let namespaces = &self.sessions.list[at as usize].namespaces;
        let segment = self.outbound.encode(|out| {
            engineio::encode_text(out, |out| namespaces.encode_accepted(out, name, id.as_str(), secret.as_deref()));
        });
        self.deliver(at, segment);
        self.sessions.touch(at);
        self.stats.opened += 1;
        self.note_arrival(now, PEER | peer);
        if let Some(identity) = identity {
            let socket = self.socket_id(peer);
            self.send_to_session(at, |out| dialects::greet(out, dialect, identity.user(), &socket));
        }
        true
    }

    /// A peer's id as its client knows it. Older clients know only their session's.
    pub(super) fn socket_id(&self, peer: u32) -> String {
        let own = self.id_of(PEER | peer).to_string();
        let Some(known) = self.sessions.peers.get(peer as usize) else { return own };
        let Some(at) = self.sessions.named(known.link) else { return own };
        let client = &self.sessions.list[at as usize];
        if client.session.version() == engineio::Version::V4 {
            return own;
        }
        let session = self.sid_of(at).map(|id| id.to_string()).unwrap_or(own);
        match self.spaces()[usize::from(known.space)] {
            packets::MAIN => session,
            namespace => format!("{namespace}#{session}"),
        }
    }

    /// A client may not connect to a namespace. When it might in a moment its session is closed, for it tries again by itself
    /// then, with what it takes to be recovered, and does not when it is refused.
    pub(super) fn refuse_peer(&mut self, now: Now, at: u32, space: NamespaceIndex, reject: &Reject) {
        self.stats.refusals += 1;
        if reject.is_passing() {
            return self.close_session(now, at);
        }
        let namespace = self.spaces()[usize::from(space)];
        let Some(client) = self.sessions.list.get_mut(at as usize) else { return };
        if client.namespaces.refuse(space) {
            let mut data = Vec::new();
            Object::begin(&mut data).plain("code", reject.code.as_str()).end();
            self.send_refusal(at, namespace, &reject.text, std::str::from_utf8(&data).ok());
        }
    }

    fn send_refusal(&mut self, at: u32, namespace: &str, message: &str, data: Option<&str>) {
        let Some(client) = self.sessions.list.get(at as usize) else { return };
        let segment = self.outbound.encode(|out| {
            engineio::encode_text(out, |out| client.namespaces.encode_refused(out, namespace, message, data));
        });
        self.deliver(at, segment);
    }

    /// A peer's event: what it asks is put to whoever decides it. The first one that is of one dialect only settles which
    /// the peer speaks.
    fn peer_event(
        &mut self,
        now: Now,
        peer: u32,
        event: SocketIoEvent<'_>,
        has_attachments: bool,
        reference: ReplyTo,
    ) -> Result<(), Reject> {
        let Some(known) = self.sessions.peers.get_mut(peer as usize) else { return Ok(()) };
        if !known.is_settled
            && let Some(dialect) = Dialect::told_by(known.dialect.namespace(), reference.event)
        {
            known.is_settled = true;
            if dialect != known.dialect {
                self.change_dialect(peer, dialect);
                if dialect == Dialect::Colon {
                    self.await_users(now, peer);
                }
            }
        }
        if has_attachments {
            return Err(Reject::new(Code::UnsupportedData, "Events with binary attachments are not taken here"));
        }
        let Some(dialect) = self.sessions.peers.get(peer as usize).map(|peer| peer.dialect) else { return Ok(()) };
        let name = event.plain_name();
        match dialects::decode(dialect, name, event.arguments, self.options.content_bytes)? {
            Command::Ping => {
                self.answer_in_dialect(now, peer, reference, &SocketIoAnswer::Pong(None));
                Ok(())
            }
            Command::Echo(data) => {
                self.answer_in_dialect(now, peer, reference, &SocketIoAnswer::Pong(Some(data)));
                Ok(())
            }
            Command::Authenticate { token } => self.renew_token(now, peer, reference, &token),
            Command::MakeRecoveryToken => self.make_token(now, peer, reference),
            Command::Resume { token, .. } => self.resume_peer(now, peer, &reference.text(), &token),
            Command::Ask(question) => self.inquire(now, peer, reference, question),
            Command::Sync { room, after, limit } => {
                let after = Uuid::try_parse(&after).map_err(|_| Reject::message_not_found())?;
                let (connection, limit) = (self.id_of(PEER | peer), limit.unwrap_or(PAGE_DEFAULT));
                let room = room.as_ref().into();
                let op = RoomOp::ReadSince { connection, after, limit };
                self.ask_room(now, PEER | peer, Some(&reference.text()), Then::Found, room, op)
            }
            command => self.command(now, PEER | peer, Some(&reference.text()), command),
        }
    }

    fn renew_token(&mut self, now: Now, peer: u32, to: ReplyTo, token: &str) -> Result<(), Reject> {
        let (identity, expires_at) = self.verify(token, now)?;
        let Some(known) = self.sessions.peers.get_mut(peer as usize) else { return Ok(()) };
        if known.identity.as_ref().is_none_or(|own| own.user() != identity.user()) {
            return Err(Reject::new(Code::Forbidden, "The token is another user's; connect anew to change users"));
        }
        let user = identity.user_name();
        known.identity = Some(identity);
        known.expires_at = expires_at.map_or(0, seconds);
        let link = known.link;
        if let Some(at) = self.sessions.named(link) {
            self.sessions.touch(at);
        }
        let socket = self.socket_id(peer);
        self.answer_in_dialect(
            now,
            peer,
            to,
            &SocketIoAnswer::Authenticated { user: &user, socket: &socket, expires_at },
        );
        Ok(())
    }

    /// Answers a peer, or tells it what its request has come to.
    pub(super) fn answer_in_dialect(&mut self, now: Now, peer: u32, to: ReplyTo, answer: &SocketIoAnswer<'_>) {
        let Some(known) = self.sessions.peers.get(peer as usize) else { return };
        let dialect = known.dialect;
        self.tell_peer(peer, |out| dialects::answer(out, dialect, to, answer, now));
    }

    /// A peer is taken out of the domain, and forgotten.
    pub(super) fn peer_departs(&mut self, now: Now, peer: u32, departing: Departing) {
        // What its rooms have gathered may reach its client still, with offsets that name all of them.
        self.settle_for_peer(peer);
        if self.credit.holds(PEER | peer) {
            self.drop_held(PEER | peer);
            self.unhalt(peer);
        }
        self.note_departed(now, PEER | peer, departing);
        let awaited = self.note_peer_departure(now, peer, departing);
        let Some(known) = self.sessions.peers.get_mut(peer as usize) else { return };
        let (identity, rooms) = (known.identity.take(), known.rooms.clone());
        let may_return = known.recovery != Recovery::None
            && self.options.rules.presence_grace_ms != 0
            && matches!(departing, Departing::Lost | Departing::Superseded);
        let connection = self.id_of(PEER | peer);
        let op = || if may_return { RoomOp::StartGrace { connection } } else { RoomOp::RemoveMember { connection } };
        let tells_rooms = matches!(self.options.rules.presence_scope, Scope::Auto | Scope::Rooms);
        let mut told = Vec::new();
        for membership in rooms.as_slice() {
            let Some(name) = self.peer_rooms.name_of(membership.room).cloned() else { continue };
            self.leave_peer(&name, peer);
            told.extend(tells_rooms.then(|| name.clone()));
            self.ask(Ask::forgotten(), Op::Room(name, op()));
        }
        for name in awaited {
            told.extend(tells_rooms.then(|| name.clone()));
            self.ask(Ask::forgotten(), Op::Room(name, op()));
        }
        self.forget_peer_asks(now, peer);
        if let Some(identity) = identity {
            let op = UserOp::Detach { connection, parting: departing.parting(), rooms: told };
            self.ask(Ask::forgotten(), Op::User(identity.user_name(), op));
        }
        self.sessions.peers.try_remove(peer as usize);
    }

    /// Takes a peer out of its namespace; its session goes on.
    pub(super) fn disconnect_peer(&mut self, now: Now, peer: u32, departing: Departing) {
        let Some(known) = self.sessions.peers.get(peer as usize) else { return };
        let space = known.space;
        let Some(at) = self.sessions.named(known.link) else { return };
        self.settle_for_peer(peer);
        if self.sessions.list[at as usize].namespaces.leave(space).is_some() {
            let namespace = self.spaces()[usize::from(space)];
            self.send_to_session(at, |out| {
                engineio::encode_text(out, |out| packets::encode_disconnect(out, namespace));
            });
        }
        self.peer_departs(now, peer, departing);
    }

    /// Ends those peers of a session whose tokens have expired.
    pub(super) fn end_expired_peers(&mut self, now: Now, at: u32) {
        let Some(client) = self.sessions.list.get(at as usize) else { return };
        let is_expired = |peer: &u32| {
            let expires_at = self.sessions.peers.get(*peer as usize).map_or(0, |peer| peer.expires_at);
            expires_at != 0 && now.unix_seconds() >= u64::from(expires_at)
        };
        let expired: Vec<u32> = client.namespaces.peers().map(|(_, peer)| peer).filter(is_expired).collect();
        for peer in expired {
            self.disconnect_peer(now, peer, Departing::Lost);
        }
    }

    /// The id of the peer at `peer`.
    pub(super) fn peer_id(&self, peer: u32) -> ConnectionId {
        let place = ConnectionPlace { node: self.options.node, shard: self.number, slot: PEER | peer };
        ConnectionId::new(place, self.sessions.peers.get(peer as usize).map(|peer| peer.nonce).unwrap_or_default())
    }

    /// The peer's place, if it is here and still the same one.
    pub(super) fn peer_at(&self, id: ConnectionId) -> Option<u32> {
        let place = id.place();
        let peer = place.slot & !PEER;
        let known = self.sessions.peers.get(peer as usize)?;
        (id.is_peer() && place.shard == self.number && known.nonce == id.nonce()).then_some(peer)
    }

    /// Who a peer is.
    pub(super) fn peer_identity(&self, peer: u32) -> Option<Identity> {
        self.sessions.peers.get(peer as usize).and_then(|peer| peer.identity.clone())
    }
}
