//! The steps of a recovery for Socket.IO clients.
//!
//! A client is given a secret as it connects (Socket.IO's `pid`), and shows it when it connects again. It counts as recovered
//! as long as the answer is the same secret. So the secret is that of the *first* connection of a line, and each connection
//! of the line keeps its session under it. The client's position is its offset; where that lacks a room, the client has no
//! message since it joined the room.
//!
//! The peer's frames are held until the answer to its CONNECT and the missed messages are ahead of them. When a part of them
//! is not available, the client is connected as a new one: it never gets a part.

use std::sync::Arc;

use crate::base::Name;
use crate::base::handle::{PeerKey, SocketIoSlot};
use crate::base::ids::ConnectionId;
use crate::base::time::Now;
use crate::codec::{recovery, ws};
use crate::connection::namespace::ConnectPayload;
use crate::connection::peer::Recovery;
use crate::connection::session::Reason;
use crate::dialect::offset::{self, Offset};
use crate::dialect::socketio::{self as dialects, Dialect, ReplyTo, SocketIoAnswer};
use crate::domain::event::Event;
use crate::domain::grants::GrantAction;
use crate::domain::op::{Op, Reply, RoomOp};
use crate::domain::record::{Position, Session, TokenHash};
use crate::domain::recovery::{Returned, SessionOp};
use crate::domain::reject::Reject;
use crate::message::OwnerMessage;
use crate::shard::core::Core;
use crate::shard::namespaces::Namespacing;
use crate::shard::peers::{Departing, Peers};
use crate::shard::recovery::appearances::Appearance;
use crate::shard::recovery::failed;
use crate::shard::recovery::resume::Resume;
use crate::shard::recovery::returns::{HeldFrames, LogPositions, PeerReturn, RejoinedRoom, ReturnMode};
use crate::shard::recovery::sessions::KeptSessions;
use crate::shard::requests::{OnReply, PendingRequest, RequestId, RequestRef};
use crate::shard::sessions::EngineIo;

/// Requests for a session that turns out to be another connection's.
const TRIES: u8 = 4;

/// Recovers Socket.IO clients.
pub(in crate::shard) struct ResumeSocketIo<'a> {
    core: &'a mut Core,
}

impl<'a> ResumeSocketIo<'a> {
    pub(in crate::shard) fn on(core: &'a mut Core) -> Self {
        Self { core }
    }

    /// A peer is about to connect, and its client may show the secret it was given before.
    pub(in crate::shard) fn prepare(&mut self, slot: SocketIoSlot, payload: &ConnectPayload<'_>) {
        if let Some(secret) = payload.pid.as_deref()
            && let Some(offset) = Offset::parse(payload.offset.as_deref().unwrap_or_default())
            && let Some(first) = recovery::connection_of(secret).filter(ConnectionId::is_peer)
        {
            let returns = &mut self.core.recovery.returns;
            returns.begin(slot, PeerReturn::new(ReturnMode::Connecting(offset), secret, first));
        }
    }

    /// Begins the recovery that a connected peer requests.
    pub(super) fn begin(&mut self, now: Now, slot: SocketIoSlot, to: ReplyTo, secret: &str) -> Result<(), Reject> {
        let first = recovery::connection_of(secret).filter(ConnectionId::is_peer).ok_or_else(failed)?;
        if !self.core.recovers() || self.core.recovery.returns.is_under_way(slot) {
            return Err(failed());
        }
        let mut new = PeerReturn::new(ReturnMode::Asking(to), secret, first);
        if KeptSessions::on(self.core).secret_of(slot.into()) == secret {
            // Its client came back with that secret before it asked.
            self.answer(now, slot, to, &mut new);
            return Ok(());
        }
        self.core.recovery.returns.begin(slot, new);
        self.claim_session(slot).inspect_err(|_| drop(self.core.recovery.returns.take(slot)))
    }

    /// A peer is attached: its session is claimed if its client asks for recovery. Returns whether it does.
    pub(in crate::shard) fn continue_connecting(&mut self, now: Now, slot: SocketIoSlot) -> bool {
        let is_under_way = self.core.recovery.returns.is_under_way(slot);
        if is_under_way && self.claim_session(slot).is_err() {
            self.connect_anew(now, slot);
        }
        is_under_way
    }

    /// Requests the session, which the connection that has it gives up if it is there still.
    fn claim_session(&mut self, slot: SocketIoSlot) -> Result<(), Reject> {
        let by = self.core.net.identity(slot)?;
        let connection = self.core.net.id_of(slot);
        let it = self.core.recovery.returns.get_mut(slot).ok_or_else(failed)?;
        let (former, secret) = (it.former, it.secret.clone());
        it.tries += 1;
        if it.tries > TRIES || former == connection {
            return Err(failed());
        }
        let then = OnReply::SessionClaimed(Box::new((secret.clone(), former)));
        let id = RequestId::SocketIo(ReplyTo::default());
        let from = self.core.expect(PendingRequest::new(connection, id, then));
        let shard = self.core.channels.shard_to_supersede(former);
        let message = OwnerMessage::Supersede { connection: former, to: Some(connection), token: secret, by, from };
        self.core.channels.post(shard, message);
        Ok(())
    }

    /// The session's owner has replied.
    pub(super) fn session_claimed(&mut self, now: Now, slot: SocketIoSlot, reply: Result<Reply, Reject>) {
        if let Some(it) = self.core.recovery.returns.get_mut(slot) {
            let outcome = match reply {
                Ok(Reply::Session(Some(session))) if session.connection != it.former => {
                    it.former = session.connection;
                    self.claim_session(slot)
                }
                Ok(Reply::Session(Some(session))) => self.restore(now, slot, session),
                Err(reject) => Err(reject),
                Ok(_) => Err(failed()),
            };
            if let Err(reject) = outcome {
                self.give_up(now, slot, &reject);
            }
        }
    }

    /// The session is the peer's. Its rooms are requested to take the peer back.
    fn restore(&mut self, now: Now, slot: SocketIoSlot, session: Box<Session>) -> Result<(), Reject> {
        let by = self.core.net.identity(slot)?;
        let connection = self.core.net.id_of(slot);
        let namespace = self.core.net.sessions.peers[slot].dialect.namespace();
        let former = session.connection;
        let mut positions = session.passed_to(connection, None).rooms;
        // Its client is told that it is a new one: it joins again, with a token for the room if it has one.
        positions.iter().try_for_each(|it| self.core.check_grant(now, &by, &it.room, GrantAction::Join))?;
        let list = self.core.revocations.list();
        positions.retain(|position| list.check_member(now, &position.room, by.user()).is_ok());
        let spoken = Dialect::numbered(session.dialect).filter(|dialect| dialect.namespace() == namespace);
        let returns = &mut self.core.recovery.returns;
        let it = returns.get_mut(slot).ok_or_else(failed)?;
        it.session = Some(session);
        let is_connecting = matches!(it.mode, ReturnMode::Connecting(_));
        if is_connecting {
            let secret = it.secret.clone();
            returns.set_line(slot, secret);
            let spoken = spoken.ok_or_else(failed)?;
            if !self.core.net.sessions.peers[slot].is_settled {
                Namespacing::on(self.core).change_dialect(slot, spoken);
            }
        }
        for position in positions {
            let from = self.start_of(slot, &position);
            let cursor = (position.epoch.clone(), from);
            Resume::on(self.core).request_rejoin(slot.into(), &by, former, position.clone(), cursor);
            if let Some(it) = self.core.recovery.returns.get_mut(slot) {
                it.awaited.push(Position { since: Some(from), ..position });
            }
        }
        if !is_connecting {
            // From now on it is a part of the requesting peer's own session.
            if self.core.options.rules.outlives_process {
                KeptSessions::on(self.core).write_if_listening(now, slot.into());
            }
            self.delete_claimed(slot);
        }
        self.finish(now, slot);
        Ok(())
    }

    /// The last message of a room that the client has. In a dialect without messages to rooms it misses none.
    fn start_of(&self, slot: SocketIoSlot, position: &Position) -> u64 {
        if !self.core.net.sessions.peers[slot].dialect.hears_itself() {
            return u64::MAX;
        }
        match self.core.recovery.returns.get(slot).map(|it| &it.mode) {
            Some(ReturnMode::Connecting(offset)) => {
                let since = position.since.unwrap_or(position.seq);
                offset.seq_in(&position.epoch).map_or(since, |seq| seq.max(since))
            }
            _ => position.seq,
        }
    }

    /// A room's owner has replied to the request to take the peer back.
    pub(super) fn rejoined(
        &mut self,
        now: Now,
        slot: SocketIoSlot,
        (room, shown): (&Name, Box<Appearance>),
        outcome: Result<Returned, Reject>,
    ) {
        let it = self.core.recovery.returns.get_mut(slot);
        let position = it.and_then(|it| {
            let at = it.awaited.iter().position(|position| position.room == *room)?;
            Some(it.awaited.remove(at))
        });
        if let Some(position) = position {
            if let Ok(returned) = &outcome {
                // Until an offset says more, its client has the messages it had.
                let seq = returned.joined.seq;
                let since = position.since.unwrap_or(seq).min(seq);
                Resume::on(self.core).rejoin(slot.into(), returned, shown, since);
            }
            if let Some(it) = self.core.recovery.returns.get_mut(slot) {
                it.rooms.push(RejoinedRoom { position, outcome });
            }
            self.finish(now, slot);
        }
    }

    /// Sends the client the messages it missed and the held frames, once all rooms have replied.
    fn finish(&mut self, now: Now, slot: SocketIoSlot) {
        let is_complete = self.core.recovery.returns.get(slot).is_some_and(|it| it.awaited.is_empty());
        let it = if is_complete { self.core.recovery.returns.take(slot) } else { None };
        if let Some(mut it) = it {
            match it.mode {
                ReturnMode::Asking(to) => self.answer(now, slot, to, &mut it),
                ReturnMode::Connecting(_) if it.rooms.iter().any(RejoinedRoom::may_retry) => {
                    self.put_off(now, slot, it);
                }
                ReturnMode::Connecting(_) => self.connect(now, slot, it),
            }
        }
    }

    fn connect(&mut self, now: Now, slot: SocketIoSlot, it: Box<PeerReturn>) {
        let dialect = self.core.net.sessions.peers[slot].dialect;
        let is_whole = |room: &RejoinedRoom| {
            let is_recovered = |returned: &Returned| returned.recovered || !dialect.hears_itself();
            room.outcome.as_ref().is_ok_and(is_recovered)
        };
        let missed = it.rooms.iter().all(is_whole).then(|| self.missed_frames(now, slot, dialect, &it));
        match missed.filter(|(missed, _)| missed.len() <= self.core.answer_bytes()) {
            None => {
                self.core.recovery.returns.put_back(slot, it);
                self.connect_anew(now, slot);
            }
            // A client keeps the frames that come before the answer, and does not forget them when the answer is lost on its
            // way: it would get them twice. So the answer goes first.
            Some((missed, positions)) => {
                if Namespacing::on(self.core).accept_peer(now, slot) {
                    if let Some(at) = self.core.net.session_of(slot) {
                        self.core.net.send_to_session(at, |out| out.extend_from_slice(&missed));
                    }
                    Namespacing::on(self.core).welcome_peer(now, slot);
                    self.release_held(slot, &it.held, positions, true);
                } else {
                    Peers::on(self.core).detach(now, slot.into(), Departing::Lost);
                }
            }
        }
    }

    /// The messages that a client missed, room by room, and its position in the logs once it has them.
    fn missed_frames(
        &self,
        now: Now,
        slot: SocketIoSlot,
        dialect: Dialect,
        it: &PeerReturn,
    ) -> (Vec<u8>, LogPositions) {
        let returned = |room: &'_ RejoinedRoom| {
            let returned = room.outcome.as_ref().ok()?;
            let at = self.core.rooms.find(&returned.joined.room)?;
            let seq = room.position.since.unwrap_or(returned.joined.seq).min(returned.joined.seq);
            Some((at, returned.joined.epoch.clone(), seq))
        };
        let mut positions = LogPositions(it.rooms.iter().filter_map(returned).collect());
        self.add_other_rooms(slot, &mut positions, &it.held);
        let mut frames = Vec::new();
        for returned in it.rooms.iter().filter_map(|room| room.outcome.as_ref().ok()) {
            if let Some(at) = self.core.rooms.find(&returned.joined.room) {
                for message in &returned.messages {
                    let mut frame = Vec::new();
                    dialects::encode(&mut frame, dialect, &Event::Message(Arc::new(message.clone())), now);
                    positions.advance(at, message.seq.unwrap_or_default());
                    for (_, payload) in ws::frames(&frame) {
                        offset::with_offset(&mut frames, payload, |out| positions.append(out));
                    }
                }
                positions.advance(at, returned.joined.seq);
            }
        }
        (frames, positions)
    }

    /// Adds the rooms of a peer besides those it has rejoined, at their positions before the held frames.
    fn add_other_rooms(&self, slot: SocketIoSlot, positions: &mut LogPositions, held: &HeldFrames) {
        for at in crate::shard::rooms::rooms_of(&self.core.net, slot.into()) {
            if positions.0.iter().all(|(known, ..)| *known != at)
                && let Some(position) = self.core.rooms.position_of(at, slot.into())
            {
                let mut numbers = held.parts.iter().filter_map(|part| part.room);
                let first = numbers.find(|(room, seq)| *room == at && *seq != 0);
                let seq = first.map_or(position.seq, |(_, seq)| seq - 1);
                positions.0.push((at, position.epoch, seq));
            }
        }
    }

    /// The positions of a peer that has rejoined no room.
    fn own_positions(&self, slot: SocketIoSlot, held: &HeldFrames) -> LogPositions {
        let mut positions = LogPositions::default();
        self.add_other_rooms(slot, &mut positions, held);
        positions
    }

    /// Sends the held frames; those of rooms only to a peer that is back in them.
    fn release_held(&mut self, slot: SocketIoSlot, held: &HeldFrames, mut positions: LogPositions, is_back: bool) {
        let with_offsets = self.core.net.sessions.peers[slot].recovery == Recovery::Offsets;
        let mut frames = Vec::new();
        let mut start = 0;
        for part in &held.parts {
            let bytes = &held.bytes[start..part.end];
            start = part.end;
            match part.room {
                Some(_) if !is_back => {}
                Some((room, seq)) if seq != 0 => {
                    positions.advance(room, seq);
                    for (_, payload) in ws::frames(bytes) {
                        // It carries the offset of a member of this room alone.
                        let bare = payload.iter().rposition(|byte| *byte == b',').map_or(payload, |at| &payload[..at]);
                        let bare = [bare, b"]"].concat();
                        offset::with_offset(&mut frames, &bare, |out| positions.append(out));
                    }
                }
                Some(_) => frames.extend_from_slice(bytes),
                None => {
                    let from = frames.len();
                    frames.extend_from_slice(bytes);
                    if with_offsets {
                        offset::mend(&mut frames, from, |out| positions.append(out));
                    }
                }
            }
        }
        if let Some(at) = self.core.net.session_of(slot) {
            self.core.net.send_to_session(at, |out| out.extend_from_slice(&frames));
        }
    }

    /// Answers a client that asked for recovery, and then sends the held frames.
    fn answer(&mut self, now: Now, slot: SocketIoSlot, to: ReplyTo, it: &mut PeerReturn) {
        let peer = PeerKey::from(slot);
        let known = &mut self.core.net.sessions.peers[slot];
        if known.recovery == Recovery::None {
            known.recovery = Recovery::Token;
        }
        let (dialect, with_offsets) = (known.dialect, known.recovery == Recovery::Offsets);
        let view = Peers::on(self.core).describe(now, peer);
        let (Some(view), Some(identity)) = (view, self.core.net.identity_of(peer).cloned()) else {
            debug_assert!(false, "invariant: a peer that asks has a session and an identity");
            return;
        };
        let token = KeptSessions::on(self.core).secret_of(peer);
        let positions = self.own_positions(slot, &it.held);
        let session = it.session.as_deref();
        let mut frames = Vec::new();
        loop {
            let rooms = it.rooms.iter();
            let gaps: Vec<&str> =
                rooms.clone().filter(|room| room.is_short()).map(|room| &*room.position.room).collect();
            let returned = rooms.filter_map(|room| room.outcome.as_ref().ok());
            let recovered = SocketIoAnswer::Recovered {
                user: identity.user(),
                view: &view,
                connected_at: session.map_or(view.connected_at, |session| session.connected_at),
                token: &token,
                gaps: &gaps,
                messages: &returned.flat_map(|returned| &returned.messages).collect::<Vec<_>>(),
            };
            dialects::answer(&mut frames, dialect, to, &recovered, now);
            let returned = it.rooms.iter_mut().filter_map(|room| room.outcome.as_mut().ok());
            let longest = returned.max_by_key(|returned| returned.messages.len());
            if frames.len() <= self.core.answer_bytes() || longest.is_none_or(|longest| longest.give_up() == 0) {
                break;
            }
            frames.clear();
        }
        if with_offsets {
            frames = offset::of_last(&frames, |out| positions.append(out));
        }
        if let Some(at) = self.core.net.session_of(slot) {
            self.core.net.send_to_session(at, |out| out.extend_from_slice(&frames));
        }
        KeptSessions::on(self.core).note(now, peer);
        self.release_held(slot, &it.held, positions, true);
    }

    /// A client cannot be recovered.
    fn give_up(&mut self, now: Now, slot: SocketIoSlot, reject: &Reject) {
        match self.core.recovery.returns.get(slot).map(|it| &it.mode) {
            Some(ReturnMode::Connecting(_)) if reject.is_passing() => self.close_session_of(now, slot),
            Some(ReturnMode::Connecting(_)) => self.connect_anew(now, slot),
            Some(ReturnMode::Asking(to)) => {
                let to = RequestRef::SocketIo(*to);
                if let Some(it) = self.core.recovery.returns.take(slot) {
                    let positions = self.own_positions(slot, &it.held);
                    self.core.stats.refused(reject);
                    Peers::on(self.core).answer(now, slot.into(), to, &SocketIoAnswer::Refused(reject));
                    self.release_held(slot, &it.held, positions, true);
                }
            }
            None => {}
        }
    }

    /// A room cannot reply at the moment: the client tries again with the same session, which has all its rooms.
    fn put_off(&mut self, now: Now, slot: SocketIoSlot, mut it: Box<PeerReturn>) {
        let late = it.rooms.extract_if(.., |room| room.may_retry());
        it.awaited.extend(late.map(|room| room.position));
        self.core.recovery.returns.put_back(slot, it);
        self.close_session_of(now, slot);
    }

    /// Closes the session of a peer: its client comes back.
    fn close_session_of(&mut self, now: Now, slot: SocketIoSlot) {
        if let Some(at) = self.core.net.session_of(slot) {
            EngineIo::on(self.core).close(now, at, Reason::ServerClose);
        }
        if self.core.net.sessions.peers.contains(slot) {
            Peers::on(self.core).detach(now, slot.into(), Departing::Lost);
        }
    }

    /// A client cannot be recovered as it connects: it is connected as a new one, and in no room.
    fn connect_anew(&mut self, now: Now, slot: SocketIoSlot) {
        let it = self.core.recovery.returns.get(slot);
        let rooms = it.into_iter().flat_map(|it| &it.rooms).filter_map(|room| room.outcome.as_ref().ok());
        let rooms: Vec<Name> = rooms.map(|returned| returned.joined.room.clone()).collect();
        let connection = self.core.net.id_of(slot);
        for room in rooms {
            Peers::on(self.core).end_membership(slot.into(), &room);
            self.core.send_detached(Op::Room(room, RoomOp::RemoveMember { connection }));
        }
        self.delete_claimed(slot);
        self.core.recovery.returns.end_line(slot);
        if let Some(it) = self.core.recovery.returns.take(slot) {
            if Namespacing::on(self.core).accept_peer(now, slot) {
                Namespacing::on(self.core).welcome_peer(now, slot);
                let positions = self.own_positions(slot, &it.held);
                self.release_held(slot, &it.held, positions, false);
            } else {
                Peers::on(self.core).detach(now, slot.into(), Departing::Goodbye);
            }
        }
    }

    /// Has the session deleted by which a peer was recovered.
    fn delete_claimed(&mut self, slot: SocketIoSlot) {
        if let Some(it) = self.core.recovery.returns.get(slot)
            && it.session.is_some()
            && let Some(first) = recovery::connection_of(&it.secret)
        {
            let token = TokenHash(recovery::hash(&it.secret));
            self.core.send_detached(Op::Session(first, Box::new(SessionOp::Delete { token })));
        }
    }
}
