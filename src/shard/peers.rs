//! Peers: the clients that are attached to the domain, as raw WebSockets or by Socket.IO. Each act on a peer is here once
//! for both kinds.

use std::sync::Arc;

use crate::base::Name;
use crate::base::handle::{PeerKey, PeerSlot, Slot};
use crate::base::ids::ConnectionId;
use crate::base::limits;
use crate::base::time::Now;
use crate::connection::conn::ConnStage;
use crate::connection::outbound::Segment;
use crate::connection::peer::Recovery;
use crate::connection::session::SessionRoute;
use crate::connection::standing::HandshakeState;
use crate::dialect::encoded_event::EncodedEvent;
use crate::dialect::socketio::{self as dialects, Dialect, SocketIoAnswer};
use crate::dialect::{offset, raw};
use crate::domain::connection::{ConnectionOp, ConnectionView, connection_not_found};
use crate::domain::event::{Direct, Event, Joined};
use crate::domain::op::{Op, PushResult, Reply, RoomOp, Scope, UserOp};
use crate::domain::presence::DisconnectKind;
use crate::domain::reject::Reject;
use crate::shard::apps::sockets::AppSockets;
use crate::shard::core::Core;
use crate::shard::log::Logging;
use crate::shard::metrics::Metering;
use crate::shard::namespaces::Namespacing;
use crate::shard::raw_sockets::RawSockets;
use crate::shard::recovery::sessions::KeptSessions;
use crate::shard::remotes::wall_of;
use crate::shard::requests::RequestRef;
use crate::shard::rooms::{RoomPosition, rooms_of};
use crate::shard::sessions::EngineIo;
use crate::shard::streams::Streaming;

/// The manner in which a peer leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Departing {
    /// Its connection was lost, and may come back: its rooms wait a little before they announce it.
    Lost,
    /// It closed its connection; its client may still come back.
    Goodbye,
    /// It broke a rule or was silent for long; its client may still come back.
    Left,
    /// Its client left the namespace, not to come back.
    Quit,
    /// It was removed, not to come back.
    Removed,
    /// Its client has come back already.
    Superseded,
}

impl Departing {
    /// The manner in words, for incidents and the log.
    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::Lost => "the connection was lost",
            Self::Goodbye | Self::Quit => "the client left",
            Self::Left => "the client broke a rule or was silent for too long",
            Self::Removed => "sent away",
            Self::Superseded => "the client came back on another connection",
        }
    }

    /// Its place among [`crate::domain::monitoring::DEPARTURES`].
    pub(super) fn label(self) -> usize {
        match self {
            Self::Lost => 0,
            Self::Goodbye | Self::Quit => 1,
            Self::Left => 2,
            Self::Removed => 3,
            Self::Superseded => 4,
        }
    }

    /// Whether neither side has ended the connection on purpose.
    pub(super) fn is_abnormal(self) -> bool {
        matches!(self, Self::Lost | Self::Left)
    }

    /// The same, as the presence of the peer's user sees it.
    fn kind(self) -> DisconnectKind {
        match self {
            Self::Goodbye | Self::Quit | Self::Removed => DisconnectKind::Clean,
            Self::Lost | Self::Left | Self::Superseded => DisconnectKind::Lost,
        }
    }
}

/// Time that a client gets beyond the grace period of its membership to offer its media again.
const MEDIA_GRACE_MS: u64 = 10_000;

/// Acts on peers.
pub(super) struct Peers<'a> {
    core: &'a mut Core,
}

impl<'a> Peers<'a> {
    pub(super) fn on(core: &'a mut Core) -> Self {
        Self { core }
    }

    // Events and answers.

    /// Sends an event to one peer.
    pub(super) fn deliver(&mut self, now: Now, to: ConnectionId, event: &Event) {
        let peer = self.core.net.find_peer(to).filter(|peer| self.greet(now, *peer));
        let Some(peer) = peer else {
            // The peer has gone meanwhile: a membership that it was given is taken back.
            if let Event::Joined(joined) = event {
                self.core.send_detached(Op::Room(joined.room.clone(), RoomOp::RemoveMember { connection: to }));
            }
            return;
        };
        match event {
            Event::Direct(direct) if self.is_excepted(peer, direct) => return,
            Event::Joined(joined) => return self.add_member(now, peer, RequestRef::of_no_request(peer), joined, false),
            Event::Left { room, .. } => self.leave_room(now, peer, room),
            other if other.room().is_some() => self.core.settle_for(peer),
            _ => {}
        }
        match peer.slot() {
            PeerSlot::Raw(slot) => self.core.net.send_raw(slot, |out| raw::encode(out, event, now)),
            PeerSlot::SocketIo(_) => self.send_frames(peer, |out, dialect| dialects::encode(out, dialect, event, now)),
        }
    }

    /// Tells a new peer its id, once, which is the first message it gets. An event of a room's owner may overtake the reply of
    /// the user's owner. Returns whether the peer gets events.
    fn greet(&mut self, now: Now, peer: PeerKey) -> bool {
        match peer.slot() {
            PeerSlot::Raw(slot) => {
                let is_listening = self.core.net.conns[slot].is_listening();
                if is_listening {
                    RawSockets::on(self.core).greet(now, slot);
                }
                is_listening
            }
            PeerSlot::SocketIo(slot) => {
                self.core.recovery.returns.is_under_way(slot) || Namespacing::on(self.core).accept_peer(now, slot)
            }
        }
    }

    /// Sends a durable message to a connection of its user.
    pub(super) fn deliver_durable(&mut self, now: Now, to: ConnectionId, user: Name, direct: Arc<Direct>) {
        let peer = self.core.net.find_peer(to);
        let takes_it = |peer: &PeerKey| peer.socketio().is_some() || self.core.net.is_listening(*peer);
        if peer.filter(takes_it).is_some() {
            self.core.recovery.proofs.await_proof(to, user, direct.id);
            self.deliver(now, to, &Event::Direct(direct));
        }
    }

    /// Sends a Socket.IO peer the frames that `write` writes in its dialect, or holds them while it is being recovered.
    pub(super) fn send_frames(&mut self, peer: PeerKey, write: impl FnOnce(&mut Vec<u8>, Dialect)) {
        let Core { net, rooms, recovery, .. } = &mut *self.core;
        let known = peer.socketio().and_then(|slot| Some((slot, net.sessions.peers.get(slot)?)));
        let Some((slot, known)) = known else {
            debug_assert!(peer.socketio().is_some(), "invariant: frames of Socket.IO go to Socket.IO peers");
            return;
        };
        let dialect = known.dialect;
        if recovery.returns.is_under_way(slot) {
            let mut frames = Vec::new();
            write(&mut frames, dialect);
            return recovery.returns.hold(slot, &frames);
        }
        if let Some(at) = net.sessions.named(known.link) {
            let segment = net.outbound.encode(|out| {
                let start = out.len();
                write(out, dialect);
                if known.recovery == Recovery::Offsets {
                    offset::mend(out, start, |out| rooms.append_offset(out, known, None));
                }
            });
            net.deliver(at, segment);
        }
    }

    /// Answers a request of a Socket.IO peer in its dialect. A raw connection gets no such answer.
    pub(super) fn answer(&mut self, now: Now, peer: PeerKey, to: RequestRef<'_>, answer: &SocketIoAnswer<'_>) {
        if peer.socketio().is_some() {
            self.send_frames(peer, |out, dialect| dialects::answer(out, dialect, to.socketio(), answer, now));
        }
    }

    /// Tells a peer that its request was refused.
    pub(super) fn refuse(&mut self, now: Now, peer: PeerKey, to: RequestRef<'_>, reject: &Reject) {
        self.core.stats.refused(reject);
        Metering::on(self.core).note_refused(now, peer, reject);
        if self.core.metrics.log.has_details() {
            Logging::on(self.core).refused(now, peer, to, reject);
        }
        match peer.slot() {
            PeerSlot::Raw(slot) => self.core.net.send_raw(slot, |out| raw::error(out, reject, to.raw(), now)),
            PeerSlot::SocketIo(_) => self.answer(now, peer, to, &SocketIoAnswer::Refused(reject)),
        }
    }

    // Memberships.

    /// Makes a peer a member, and tells it so.
    pub(super) fn add_member(
        &mut self,
        now: Now,
        peer: PeerKey,
        to: RequestRef<'_>,
        joined: &Joined,
        is_observer: bool,
    ) {
        self.join_room(peer, joined, joined.seq);
        KeptSessions::on(self.core).note(now, peer);
        match peer.slot() {
            PeerSlot::Raw(slot) => {
                let identity = self.core.net.identity_of(peer);
                let ice = identity.map(|identity| self.core.options.ice.servers(identity, now));
                let ice = ice.unwrap_or_else(|| "[]".to_owned());
                self.core.net.send_raw(slot, |out| raw::joined(out, joined, &ice, to.raw(), now));
                for message in &joined.rewound {
                    self.core.net.send_raw(slot, |out| raw::message(out, message));
                }
                self.announce(peer, &joined.room, is_observer);
            }
            PeerSlot::SocketIo(_) => {
                self.announce(peer, &joined.room, is_observer);
                self.answer(now, peer, to, &SocketIoAnswer::Joined(joined));
                for message in &joined.rewound {
                    self.send_frames(peer, |out, dialect| dialects::message(out, dialect, message));
                }
            }
        }
    }

    /// Makes a peer a local member. `since`: the position where its own offsets begin.
    pub(super) fn join_room(&mut self, peer: PeerKey, joined: &Joined, since: u64) {
        let Core { net, rooms, recovery, .. } = &mut *self.core;
        let position = RoomPosition { room: joined.room.clone(), epoch: joined.epoch.clone(), seq: joined.seq };
        rooms.join(&position, since, peer, net, &mut recovery.returns);
    }

    /// Ends a local membership.
    pub(super) fn leave_room(&mut self, now: Now, peer: PeerKey, room: &str) {
        self.end_membership(peer, room);
        KeptSessions::on(self.core).note(now, peer);
    }

    /// The same, without noting the session.
    pub(super) fn end_membership(&mut self, peer: PeerKey, room: &str) {
        let Core { net, rooms, recovery, media, .. } = &mut *self.core;
        media.left(net.id_of(peer), room, 0);
        if let Some(at) = rooms.find(room) {
            recovery.appearances.remove(&(peer, at));
        }
        rooms.leave(room, peer, net, &mut recovery.returns);
    }

    /// Ends all local memberships of a room that is closed.
    pub(super) fn close_room(&mut self, now: Now, room: &str) {
        let Core { net, rooms, recovery, media, .. } = &mut *self.core;
        media.closed(room);
        if let Some((at, members)) = rooms.close(room, net, &mut recovery.returns) {
            for peer in members {
                self.core.recovery.appearances.remove(&(peer, at));
                KeptSessions::on(self.core).note(now, peer);
            }
        }
    }

    /// Has the presence of a new member's user announced in the room, where it is not announced to all users anyway. The members do
    /// not hear of observers.
    pub(super) fn announce(&mut self, peer: PeerKey, room: &Name, is_observer: bool) {
        if !is_observer
            && !self.core.announces_to_all()
            && let Some(identity) = self.core.net.identity_of(peer)
        {
            let (user, connection) = (identity.user_name(), self.core.net.id_of(peer));
            self.core.send_detached(Op::User(user, UserOp::AnnounceIn { connection, room: room.clone() }));
        }
    }

    // Departure.

    /// Takes a peer out of the domain: its rooms and its user's owner are notified, and its session is kept if its client may
    /// come back. A Socket.IO peer is removed by that.
    pub(super) fn detach(&mut self, now: Now, peer: PeerKey, departing: Departing) {
        if !self.core.pieces.is_empty() {
            Streaming::on(self.core).flush_peer(now, peer);
        }
        let may_rejoin = matches!(departing, Departing::Lost | Departing::Superseded);
        let (is_known, may_rejoin) = match peer.slot() {
            PeerSlot::Raw(slot) => {
                self.core.net.waiting.forget(slot);
                self.core.recovery.proofs.forget(slot);
                self.core.quota.drop_held(peer);
                self.core.broadcasts.forget(peer);
                self.core.gate.forget(peer);
                (true, may_rejoin)
            }
            PeerSlot::SocketIo(slot) => {
                // Events that its rooms have gathered may reach its client still, with offsets that name all of them.
                self.core.settle_for(peer);
                if self.core.quota.drop_held(peer) {
                    EngineIo::on(self.core).release_later(slot);
                }
                if self.core.broadcasts.forget(peer) {
                    EngineIo::on(self.core).release_later(slot);
                }
                if self.core.gate.forget(peer) {
                    EngineIo::on(self.core).release_later(slot);
                }
                let known = self.core.net.sessions.peers.get(slot);
                (known.is_some(), may_rejoin && known.is_some_and(|known| known.recovery != Recovery::None))
            }
        };
        if !is_known {
            return;
        }
        Metering::on(self.core).note_departed(now, peer, departing);
        let awaited = KeptSessions::on(self.core).note_departure(now, peer, departing);
        let starts_grace = may_rejoin && self.core.options.rules.presence_grace_ms != 0;
        let rooms = self.leave_all_rooms(peer, awaited, starts_grace);
        let connection = self.core.net.id_of(peer);
        let identity = match peer.slot() {
            PeerSlot::Raw(slot) => {
                let conn = &mut self.core.net.conns[slot];
                conn.stage = ConnStage::Draining;
                conn.deadline = 0;
                let identity = conn.identity.take();
                let address = self.core.net.remotes.address(slot);
                self.core.admission.release(address, &mut self.core.channels);
                self.core.net.set_deadline(now, slot, limits::CLOSING_MS);
                identity
            }
            PeerSlot::SocketIo(slot) => {
                EngineIo::on(self.core).forget_requests(now, slot);
                let is_app = self.core.net.sessions.peers[slot].dialect == Dialect::App;
                if is_app {
                    AppSockets::on(self.core).gone(now, slot, departing);
                }
                let known = self.core.net.sessions.peers.remove(slot);
                // The owners of users do not know the sockets of the application.
                known.expect("invariant: a peer is removed once").identity.filter(|_| !is_app)
            }
        };
        if let Some(identity) = identity {
            let op = UserOp::Detach { connection, parting: departing.kind(), rooms };
            self.core.send_detached(Op::User(identity.user_name(), op));
        }
    }

    /// Ends all memberships, and those in the rooms that the peer was about to rejoin. Returns the rooms that its presence was
    /// announced in.
    fn leave_all_rooms(&mut self, peer: PeerKey, awaited: Vec<Name>, starts_grace: bool) -> Vec<Name> {
        let connection = self.core.net.id_of(peer);
        let announces = matches!(self.core.options.rules.presence_scope, Scope::Auto | Scope::Rooms);
        let own = rooms_of(&self.core.net, peer);
        let own = own.into_iter().filter_map(|at| self.core.rooms.name_of(at).cloned()).collect::<Vec<Name>>();
        // A client that comes back in time keeps its media.
        let within_ms = if starts_grace { self.core.options.rules.presence_grace_ms + MEDIA_GRACE_MS } else { 0 };
        for room in &own {
            self.core.media.left(connection, room, within_ms);
            self.end_membership(peer, room);
        }
        let mut announced = Vec::new();
        for room in own.into_iter().chain(awaited) {
            if announces {
                announced.push(room.clone());
            }
            let op = match starts_grace {
                true => RoomOp::StartGrace { connection },
                false => RoomOp::RemoveMember { connection },
            };
            self.core.send_detached(Op::Room(room, op));
        }
        announced
    }

    // Operations on connections.

    /// Applies an operation to a connection of this shard.
    ///
    /// # Errors
    /// It is not here, or the requesting user may not do this.
    pub(super) fn apply(&mut self, now: Now, connection: ConnectionId, op: ConnectionOp) -> Result<Reply, Reject> {
        let peer = self.core.net.find_peer(connection).filter(|peer| self.core.net.is_listening(*peer));
        let peer = peer.ok_or_else(connection_not_found)?;
        let owner = self.core.net.identity_of(peer).cloned().ok_or_else(connection_not_found)?;
        match op {
            ConnectionOp::Describe => {
                let view = self.describe(now, peer).ok_or_else(connection_not_found)?;
                Ok(Reply::Described(vec![view]))
            }
            ConnectionOp::SetDevice { user, .. } if *owner.user() != *user => Err(connection_not_found()),
            ConnectionOp::SetDevice { device, .. } => {
                let net = &mut self.core.net;
                match peer.slot() {
                    PeerSlot::Raw(slot) => net.remotes.set_device(slot, device),
                    PeerSlot::SocketIo(slot) => {
                        let at = net.session_of(slot).ok_or_else(connection_not_found)?;
                        net.sessions.remotes.set_device(at, device);
                    }
                }
                Ok(Reply::Registered(Some(connection)))
            }
            ConnectionOp::Close { by } => {
                by.check_closes(&owner)?;
                match peer.slot() {
                    PeerSlot::Raw(slot) => RawSockets::on(self.core).remove(now, slot),
                    PeerSlot::SocketIo(slot) => {
                        Namespacing::on(self.core).disconnect_peer(now, slot, Departing::Removed);
                    }
                }
                Ok(Reply::Closed(1))
            }
        }
    }

    /// A peer as its user sees it.
    pub(super) fn describe(&self, now: Now, peer: PeerKey) -> Option<ConnectionView> {
        let net = &self.core.net;
        let (transport, dialect, seen) = match peer.slot() {
            PeerSlot::Raw(slot) => ("websocket", "raw", net.conns.get(slot)?.seen),
            PeerSlot::SocketIo(slot) => {
                let client = &net.sessions.list[net.session_of(slot)?];
                let is_socket = matches!(client.session.route(), SessionRoute::Socket(_));
                let transport = if is_socket { "websocket" } else { "polling" };
                (transport, net.sessions.peers[slot].dialect.name(), client.seen)
            }
        };
        let remote = net.remote_of(peer, now)?;
        Some(ConnectionView {
            connection: net.id_of(peer),
            shown: self.core.shown_id(peer),
            transport,
            dialect,
            connected_at: remote.connected_at,
            last_seen: wall_of(seen, now),
            rooms: self.core.rooms_of(peer),
            device: remote.device.map(Into::into),
            address: remote.address,
            agent: remote.agent.map(Into::into),
        })
    }

    /// The connection whose client has kept the id of its first connection: as a Socket.IO client, or by its peer id in a room.
    pub(super) fn shown_as(&self, id: ConnectionId) -> Option<ConnectionId> {
        let Core { net, recovery, .. } = &*self.core;
        let known = net.sessions.peers.iter().map(|(slot, _)| slot).find(|slot| {
            recovery.returns.has_line(*slot) && self.core.shown_id(*slot) == id && net.is_listening((*slot).into())
        });
        known.map(PeerKey::from).or_else(|| recovery.peer_named(&id.to_string())).map(|peer| net.id_of(peer))
    }

    /// Whether a direct message is not for a peer.
    fn is_excepted(&self, peer: PeerKey, direct: &Direct) -> bool {
        direct.except.is_some_and(|except| except == self.core.net.id_of(peer) || except == self.core.shown_id(peer))
    }

    /// Sends a message to every peer of this shard.
    pub(super) fn broadcast(&mut self, now: Now, direct: Arc<Direct>) -> Reply {
        let excepted = direct.except.map(|id| self.shown_as(id).unwrap_or(id));
        let event = Event::Direct(direct);
        let encoded = EncodedEvent::new(&event, now, &mut Vec::new()).and_for_peers(&event, now);
        let excepted = excepted.and_then(|id| self.core.net.find_peer(id));
        let net = &mut self.core.net;
        let segment = net.outbound.encode(|out| out.extend_from_slice(&encoded.raw));
        let mut reached = 0;
        for dialect in Dialect::ALL.into_iter().filter(|_| encoded.for_peers.is_some()) {
            let sessions = net.connected_in(dialect);
            if let (Some(encodings), false) = (&encoded.for_peers, sessions.is_empty()) {
                let segment: Segment =
                    net.outbound.encode(|out| out.extend_from_slice(encodings.frames(dialect, None)));
                reached += sessions.len();
                let others = sessions.into_iter().filter(|(slot, _)| excepted != Some(PeerKey::from(*slot)));
                others.for_each(|(_, at)| net.deliver(at, segment));
            }
        }
        for (slot, conn) in net.conns.iter_mut() {
            if conn.is_listening() && conn.standing.state() != HandshakeState::New {
                if excepted != Some(PeerKey::from(slot)) {
                    net.outbound.push(slot.raw(), &mut conn.queue, segment);
                }
                reached += 1;
            }
        }
        Reply::Pushed(PushResult { reached, offline: Vec::new() })
    }
}

impl RequestRef<'static> {
    /// For events that become answers without a request.
    pub(super) fn of_no_request(peer: PeerKey) -> Self {
        match peer.slot() {
            PeerSlot::Raw(_) => Self::Raw(None),
            PeerSlot::SocketIo(_) => Self::SocketIo(Default::default()),
        }
    }
}
