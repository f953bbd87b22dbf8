//! Socket.IO on a shard: from a session's messages to commands, and the connections of clients to namespaces.
//!
//! To the domain a Socket.IO peer is a peer like any other; its commands take the same path as those of raw clients. The
//! events' names and shapes belong to the dialects ([`crate::dialect::socketio`]).

use std::borrow::Cow;

use crate::base::Name;
use crate::base::handle::{PeerKey, SessionSlot, Slot, SocketIoSlot};
use crate::base::ids::{SLOTS_MAX, is_name, random_word};
use crate::base::limits;
use crate::base::time::Now;
use crate::codec::engineio::{self, Version};
use crate::codec::http::{RequestHead, query_value};
use crate::codec::json::Object;
use crate::codec::socketio as packets;
use crate::connection::credentials::{self, TokenCarrier};
use crate::connection::namespace::{ConnectPayload, INVALID_NAMESPACE, NamespaceEvent, NamespaceIndex};
use crate::connection::peer::{Recovery, SocketIoPeer};
use crate::connection::session::Reason;
use crate::dialect::socketio::{self as dialects, Dialect, ReplyTo};
use crate::domain::access::Identity;
use crate::domain::op::Reply;
use crate::domain::quota::CONNECT_COST;
use crate::domain::reject::{Code, Reject};
use crate::shard::apps::sockets::AppSockets;
use crate::shard::audit::RefusalCause;
use crate::shard::commands::{Commands, seconds};
use crate::shard::conformance::Conformance;
use crate::shard::core::Core;
use crate::shard::gate::Gating;
use crate::shard::grants::Granting;
use crate::shard::key_waits::{KeyResume, KeyWaiter, KeyWaiting};
use crate::shard::metrics::Metering;
use crate::shard::peers::{Departing, Peers};
use crate::shard::presence::online::OnlineUsers;
use crate::shard::recovery::resume_socketio::ResumeSocketIo;
use crate::shard::recovery::sessions::KeptSessions;
use crate::shard::requests::RequestRef;
use crate::shard::sessions::EngineIo;

/// Credentials and wishes of a session's first request.
pub(super) struct Handshake {
    token: Option<Box<str>>,
    /// The carrier of the token. One in `Authorization` counts more than a later token.
    carrier: Option<TokenCarrier>,
    dialect: Option<Dialect>,
    /// The client's own name for the connection.
    socket: Option<Name>,
    /// The client program.
    pub(super) agent: Option<Box<str>>,
    /// Whether the client gets no secret for recovery.
    without_recovery: bool,
}

impl Handshake {
    /// The handshake of a request with this head, if it has any field.
    pub(super) fn of(head: &RequestHead<'_>, token: Option<(Cow<'_, str>, TokenCarrier)>) -> Option<Box<Self>> {
        let dialect = head.query().and_then(|query| query_value(query, "dialect"));
        let socket = head.query().and_then(|query| query_value(query, "socketId")).filter(|socket| is_name(socket));
        let handshake = Self {
            carrier: token.as_ref().map(|(_, carrier)| *carrier),
            token: token.map(|(token, _)| token.into()),
            dialect: dialect.and_then(|name| Dialect::parse(&name)),
            socket: socket.map(|socket| socket.as_ref().into()),
            agent: head.header("user-agent").map(Into::into),
            without_recovery: !credentials::wants_recovery(head),
        };
        (handshake.is_of_use() || handshake.agent.is_some()).then(|| Box::new(handshake))
    }

    /// The part of it that a session's peers need, if any.
    pub(super) fn to_keep(mut self: Box<Self>) -> Option<Box<Self>> {
        self.agent = None;
        self.is_of_use().then_some(self)
    }

    /// Whether the session's credentials are a cookie.
    pub(super) fn has_cookie_token(&self) -> bool {
        self.carrier == Some(TokenCarrier::Cookie)
    }

    fn is_of_use(&self) -> bool {
        self.token.is_some() || self.dialect.is_some() || self.socket.is_some() || self.without_recovery
    }
}

/// Connects clients to namespaces, and reads their events.
pub(super) struct Namespacing<'a> {
    core: &'a mut Core,
}

impl<'a> Namespacing<'a> {
    pub(super) fn on(core: &'a mut Core) -> Self {
        Self { core }
    }

    /// A session has opened. Clients of older versions are connected to the main namespace by that.
    pub(super) fn open(&mut self, now: Now, at: SessionSlot) {
        let spaces = self.core.net.spaces();
        let event = self.core.net.sessions.list[at].namespaces.open(spaces);
        self.handle(now, at, event);
    }

    /// Handles an event of a session's namespaces.
    pub(super) fn handle(&mut self, now: Now, at: SessionSlot, event: NamespaceEvent<'_>) {
        let is_conformance = self.core.options.socket_io.is_conformance;
        match event {
            // A client that is refused does not try again by itself; one whose transport closes does, and elsewhere.
            NamespaceEvent::Connect { .. } if self.core.net.is_draining => {
                EngineIo::on(self.core).close(now, at, Reason::ServerClose);
            }
            NamespaceEvent::Connect { space, payload, .. } if is_conformance => {
                Conformance::on(self.core).connect(now, at, space, payload);
            }
            NamespaceEvent::Connect { space, payload, query } => {
                self.core.net.sessions.list[at].has_asked = true;
                if let Err(reject) = self.connect(now, at, space, payload, query) {
                    self.note_turned_away(now, at, &reject);
                    self.refuse_peer(now, at, space, &reject);
                }
            }
            NamespaceEvent::Unknown { namespace } => self.send_refusal(at, namespace, INVALID_NAMESPACE, None),
            NamespaceEvent::Event { space, peer, event, id, attachments } if is_conformance => {
                Conformance::on(self.core).answer(now, (at, space, peer), event, id, attachments);
            }
            NamespaceEvent::Acked { space, arguments, .. } if is_conformance => {
                Conformance::on(self.core).acknowledged(at, space, arguments);
            }
            NamespaceEvent::Event { space, peer, event, id, attachments } if self.is_app(space) => {
                let source = (at, space, SocketIoSlot::from_raw(peer));
                AppSockets::on(self.core).event(now, source, event, id, attachments);
            }
            NamespaceEvent::Acked { space, peer, id, arguments, attachments } if self.is_app(space) => {
                let source = (at, space, SocketIoSlot::from_raw(peer));
                AppSockets::on(self.core).acknowledged(source, id, arguments, attachments);
            }
            NamespaceEvent::Event { peer, event, id, attachments, .. } => {
                let (slot, name) = (SocketIoSlot::from_raw(peer), event.plain_name());
                let to = ReplyTo::new(id, name.unwrap_or_default());
                self.settle_dialect(now, slot, to.event());
                let dialect = self.core.net.sessions.peers[slot].dialect;
                let command = match attachments.is_empty() {
                    true => dialects::decode(dialect, name, event.arguments, self.core.options.content_bytes),
                    false => {
                        Err(Reject::new(Code::UnsupportedData, "Events with binary attachments are not taken here"))
                    }
                };
                let id = RequestRef::SocketIo(to);
                let handle = |command| Commands::on(self.core).handle(now, slot.into(), id, command);
                if let Err(reject) = command.and_then(handle) {
                    Peers::on(self.core).refuse(now, slot.into(), id, &reject);
                }
            }
            // The server requests no acks yet, so acks of clients have no effect.
            NamespaceEvent::Acked { .. } | NamespaceEvent::Nothing => {}
            NamespaceEvent::Left { peer: Some(peer), .. } => {
                Peers::on(self.core).detach(now, SocketIoSlot::from_raw(peer).into(), Departing::Quit);
            }
            // Its peer is detached when its user's owner replies.
            NamespaceEvent::Left { peer: None, .. } => {}
        }
    }

    /// A client connects to a namespace: its token is verified, and its user's owner requested to attach it.
    fn connect(
        &mut self,
        now: Now,
        at: SessionSlot,
        space: NamespaceIndex,
        payload: Option<&str>,
        query: Option<&str>,
    ) -> Result<(), Reject> {
        let fields = ConnectPayload::read(payload, query);
        let handshake = self.core.net.sessions.list[at].handshake.as_deref();
        let earlier = handshake.and_then(|handshake| handshake.token.as_deref());
        let comes_first = handshake.is_some_and(|handshake| handshake.carrier == Some(TokenCarrier::Header));
        let token = if comes_first { earlier } else { fields.token.as_deref().or(earlier) };
        let socket = handshake.and_then(|handshake| handshake.socket.clone());
        let (token, address) = (token.map(str::to_owned), self.core.net.sessions.remotes.address(at));
        if let Some(token) = &token
            && self.waits_for_keys(now, (at, space), token, payload, query)
        {
            return Ok(());
        }
        let is_app = self.is_app(space);
        let (identity, expires_at) = match token {
            Some(token) => self.core.verify(&token, address, now)?,
            None if is_app && self.core.options.guests => {
                self.core.admission.check(now, address)?;
                (Identity::guest(&random_word(&mut self.core.rng, 16)), None)
            }
            None => return Err(self.core.refuse_without_token(address, now)),
        };
        self.core.revocations.list().check_address(now, address)?;
        if !self.core.takes_requests_for(identity.user()) {
            return Err(Reject::overloaded());
        }
        let address = self.core.net.sessions.remotes.address(at);
        self.core.spend_of(now, &identity, address, CONNECT_COST)?;
        let sends_token = payload.is_some() && fields.token.is_some();
        let slot = self.add_peer(now, at, space, sends_token).ok_or_else(Reject::overloaded)?;
        let known = &mut self.core.net.sessions.peers[slot];
        known.identity = Some(identity.clone());
        known.expires_at = expires_at.map_or(0, seconds);
        if is_app {
            AppSockets::on(self.core).begin(now, slot, &fields, payload);
            return Ok(());
        }
        if known.recovery == Recovery::Offsets {
            ResumeSocketIo::on(self.core).prepare(slot, &fields);
        }
        Gating::on(self.core).attach(now, slot.into(), (identity, socket), payload);
        Ok(())
    }

    /// Whether a client that connects has to wait for the keys of its token's issuer.
    fn waits_for_keys(
        &mut self,
        now: Now,
        (at, space): (SessionSlot, NamespaceIndex),
        token: &str,
        payload: Option<&str>,
        query: Option<&str>,
    ) -> bool {
        let link = self.core.net.link_of(at);
        let resume = || KeyResume::Connect { link, payload: payload.map(Into::into), query: query.map(Into::into) };
        payload.map_or(0, str::len) + query.map_or(0, str::len) <= limits::KEY_WAIT_BYTES
            && KeyWaiting::on(self.core).must_wait(now, token, KeyWaiter::Connect(at, space), resume)
    }

    fn is_app(&self, space: NamespaceIndex) -> bool {
        self.core.options.socket_io.app(space).is_some()
    }

    /// Makes a peer that is about to connect to a namespace; `None` when there are too many.
    pub(super) fn add_peer(
        &mut self,
        now: Now,
        at: SessionSlot,
        space: NamespaceIndex,
        sends_token: bool,
    ) -> Option<SocketIoSlot> {
        if self.core.net.sessions.peers.len() >= SLOTS_MAX as usize {
            return None;
        }
        let net = &self.core.net;
        let client = &net.sessions.list[at];
        let namespace = net.spaces()[usize::from(space)];
        let handshake = client.handshake.as_deref();
        let stated = handshake.and_then(|handshake| handshake.dialect);
        let stated = stated.filter(|dialect| dialect.namespace() == namespace);
        let dialect = stated.unwrap_or_else(|| Dialect::expected_in(namespace, sends_token));
        let without_recovery = handshake.is_some_and(|handshake| handshake.without_recovery)
            || client.session.version() != Version::V4
            || self.core.options.socket_io.is_conformance;
        let mut peer = SocketIoPeer::new(self.core.rng.nonce(), net.link_of(at), space, dialect, now.mono);
        peer.is_settled = stated.is_some();
        if self.core.recovers() && !without_recovery {
            peer.recovery = Recovery::Offsets;
        }
        Some(self.core.net.sessions.peers.insert(peer))
    }

    /// The owner of a peer's user has attached it, or refused it.
    pub(super) fn attached(&mut self, now: Now, slot: SocketIoSlot, reply: Result<Reply, Reject>) {
        match reply {
            Ok(_) if ResumeSocketIo::on(self.core).continue_connecting(now, slot) => {}
            Ok(_) if self.accept_peer(now, slot) => self.welcome_peer(now, slot),
            Ok(_) => Peers::on(self.core).detach(now, slot.into(), Departing::Goodbye),
            Err(reject) => {
                let known = &mut self.core.net.sessions.peers[slot];
                // A user that was not attached need not be detached.
                known.identity = None;
                let (space, is_connected) = (known.space, known.is_connected);
                if is_connected {
                    return self.disconnect_peer(now, slot, Departing::Removed);
                }
                if let Some(at) = self.core.net.session_of(slot) {
                    self.note_turned_away(now, at, &reject);
                    self.refuse_peer(now, at, space, &reject);
                }
                if self.core.net.sessions.peers.contains(slot) {
                    Peers::on(self.core).detach(now, slot.into(), Departing::Removed);
                }
            }
        }
    }

    /// Tells a client that it is connected to the namespace, unless it has given up. Returns whether it is connected.
    pub(super) fn accept_peer(&mut self, now: Now, slot: SocketIoSlot) -> bool {
        let known = &self.core.net.sessions.peers[slot];
        if known.is_connected {
            return true;
        }
        let has_secret = known.recovery == Recovery::Offsets;
        let Some(at) = self.claim_place(slot) else { return false };
        let secret = has_secret.then(|| KeptSessions::on(self.core).secret_of(slot.into()));
        let id = self.core.shown_id(slot).text();
        self.tell_accepted(now, at, slot, id.as_str(), secret.as_deref());
        true
    }

    /// Makes a peer the one of its session in its namespace; `None` if the client has given up.
    pub(super) fn claim_place(&mut self, slot: SocketIoSlot) -> Option<SessionSlot> {
        let net = &mut self.core.net;
        let space = net.sessions.peers[slot].space;
        let at = net.session_of(slot).filter(|at| {
            let client = &mut net.sessions.list[*at];
            !client.session.is_over() && client.namespaces.accept(space, slot.raw())
        })?;
        net.sessions.peers[slot].is_connected = true;
        Some(at)
    }

    /// Tells a client that it is connected, under this id, and with the secret for recovery if it has one.
    pub(super) fn tell_accepted(
        &mut self,
        now: Now,
        at: SessionSlot,
        slot: SocketIoSlot,
        id: &str,
        secret: Option<&str>,
    ) {
        let net = &mut self.core.net;
        let known = &net.sessions.peers[slot];
        let (space, dialect, identity) = (known.space, known.dialect, known.identity.clone());
        let name = net.spaces()[usize::from(space)];
        let namespaces = &net.sessions.list[at].namespaces;
        let segment = net.outbound.encode(|out| {
            engineio::encode_text(out, |out| namespaces.encode_accepted(out, name, id, secret));
        });
        net.deliver(at, segment);
        net.sessions.touch(at);
        self.core.stats.opened += 1;
        Metering::on(self.core).note_arrival(now, slot);
        if let Some(identity) = identity {
            let socket = self.core.socket_id(slot);
            let net = &mut self.core.net;
            net.send_to_session(at, |out| dialects::greet(out, dialect, identity.user(), &socket));
        }
    }

    /// A peer was told that it is connected: it gets presence from now on, and may be recovered.
    pub(super) fn welcome_peer(&mut self, now: Now, slot: SocketIoSlot) {
        self.core.presence.add_newcomer(slot.into());
        KeptSessions::on(self.core).note(now, slot.into());
        Gating::on(self.core).join_rooms(now, slot.into());
        if self.core.net.sessions.peers[slot].dialect == Dialect::Colon {
            OnlineUsers::on(self.core).add_waiting(now, slot);
        }
    }

    /// Refuses a client a namespace. When it might connect in a moment its session is closed instead: it tries again by itself
    /// then, with the secret for recovery, and does not when it is refused.
    fn refuse_peer(&mut self, now: Now, at: SessionSlot, space: NamespaceIndex, reject: &Reject) {
        self.core.stats.refused(reject);
        if reject.is_passing() {
            return EngineIo::on(self.core).close(now, at, Reason::ServerClose);
        }
        let namespace = self.core.net.spaces()[usize::from(space)];
        if self.core.net.sessions.list[at].namespaces.refuse(space) {
            let mut data = Vec::new();
            Object::begin(&mut data).plain("code", reject.code.as_str()).end();
            self.send_refusal(at, namespace, &reject.text, std::str::from_utf8(&data).ok());
        }
    }

    /// Refuses a client a namespace of the application, as that has decided.
    pub(super) fn turn_away(&mut self, now: Now, slot: SocketIoSlot, (code, message): (&str, &str)) {
        let space = self.core.net.sessions.peers[slot].space;
        if let Some(at) = self.core.net.session_of(slot)
            && self.core.net.sessions.list[at].namespaces.refuse(space)
        {
            self.core.stats.refusals += 1;
            let namespace = self.core.net.spaces()[usize::from(space)];
            let mut data = Vec::new();
            Object::begin(&mut data).string("code", code).end();
            self.send_refusal(at, namespace, message, std::str::from_utf8(&data).ok());
        }
        Peers::on(self.core).detach(now, slot.into(), Departing::Removed);
    }

    fn note_turned_away(&mut self, now: Now, at: SessionSlot, reject: &Reject) {
        let remotes = &self.core.net.sessions.remotes;
        let (address, agent) = (remotes.address(at), remotes.agent(at).map(str::to_owned));
        self.core.turned_away(now, (address, agent.as_deref()), reject, RefusalCause::of(reject));
    }

    pub(super) fn send_refusal(&mut self, at: SessionSlot, namespace: &str, message: &str, data: Option<&str>) {
        let net = &mut self.core.net;
        let namespaces = &net.sessions.list[at].namespaces;
        let segment = net.outbound.encode(|out| {
            engineio::encode_text(out, |out| namespaces.encode_refused(out, namespace, message, data));
        });
        net.deliver(at, segment);
    }

    /// The first event that belongs to one dialect only settles the peer's dialect.
    fn settle_dialect(&mut self, now: Now, slot: SocketIoSlot, event: &str) {
        let known = &mut self.core.net.sessions.peers[slot];
        if !known.is_settled
            && let Some(dialect) = Dialect::told_by(known.dialect.namespace(), event)
        {
            known.is_settled = true;
            if dialect != known.dialect {
                self.change_dialect(slot, dialect);
                if dialect == Dialect::Colon {
                    OnlineUsers::on(self.core).add_waiting(now, slot);
                }
            }
        }
    }

    /// Changes a peer's dialect: its memberships move to the groups of the new one.
    pub(super) fn change_dialect(&mut self, slot: SocketIoSlot, dialect: Dialect) {
        let peer = PeerKey::from(slot);
        self.core.settle_for(peer);
        let Core { net, rooms, recovery, .. } = &mut *self.core;
        let own = net.sessions.peers[slot].rooms.as_slice().iter();
        let positions: Vec<_> = own
            .filter_map(|own| {
                let position = rooms.position_of(crate::base::handle::RoomSlot::from_raw(own.room), peer)?;
                let since = own.since(position.seq);
                Some((position, since))
            })
            .collect();
        for (position, _) in &positions {
            rooms.leave(&position.room, peer, net, &mut recovery.returns);
        }
        net.sessions.peers[slot].dialect = dialect;
        for (position, since) in positions {
            rooms.join(&position, since, peer, net, &mut recovery.returns);
        }
    }

    /// Takes a peer out of its namespace; its session goes on.
    pub(super) fn disconnect_peer(&mut self, now: Now, slot: SocketIoSlot, departing: Departing) {
        if let Some(at) = self.core.net.session_of(slot) {
            self.core.settle_for(slot.into());
            let net = &mut self.core.net;
            let space = net.sessions.peers[slot].space;
            if net.sessions.list[at].namespaces.leave(space).is_some() {
                let namespace = net.spaces()[usize::from(space)];
                net.send_to_session(at, |out| {
                    engineio::encode_text(out, |out| packets::encode_disconnect(out, namespace));
                });
            }
            Peers::on(self.core).detach(now, slot.into(), departing);
        }
    }

    /// Takes a peer whose user, token or address was revoked out of its namespace, and tells why.
    pub(super) fn revoke(&mut self, now: Now, slot: SocketIoSlot, reject: &Reject, departing: Departing) {
        if self.core.net.sessions.peers.get(slot).is_some_and(|peer| peer.is_connected) {
            Peers::on(self.core).refuse(now, slot.into(), RequestRef::SocketIo(ReplyTo::default()), reject);
        }
        self.disconnect_peer(now, slot, departing);
    }

    /// Ends the peers of a session whose tokens have expired.
    pub(super) fn end_expired_peers(&mut self, now: Now, at: SessionSlot) {
        let net = &self.core.net;
        let is_expired = |slot: &SocketIoSlot| {
            let expires_at = net.sessions.peers.get(*slot).map_or(0, |peer| peer.expires_at);
            expires_at != 0 && now.unix_seconds() >= u64::from(expires_at)
        };
        let all = net.sessions.list[at].namespaces.peers().map(|(_, peer)| SocketIoSlot::from_raw(peer));
        let all: Vec<SocketIoSlot> = all.collect();
        let has_subscriptions = |slot: &&SocketIoSlot| {
            let by = net.sessions.peers.get(**slot).and_then(|peer| peer.identity.as_ref());
            by.is_some_and(Identity::has_subscriptions)
        };
        let subscribed: Vec<SocketIoSlot> = all.iter().filter(has_subscriptions).copied().collect();
        for slot in all.into_iter().filter(is_expired).collect::<Vec<SocketIoSlot>>() {
            self.disconnect_peer(now, slot, Departing::Lost);
        }
        for slot in subscribed {
            Granting::on(self.core).end_expired(now, slot.into());
        }
    }
}
