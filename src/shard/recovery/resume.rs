//! The steps of a recovery: the session is found, the peer rejoins its rooms one by one, and the client gets the messages it
//! missed. Here are the steps of raw clients, and those that both kinds share; [`super::resume_socketio`] has the others.
//!
//! The events of rejoined rooms are kept back (the connection's queue is corked) until the answer with the missed messages is
//! ahead of them.

use crate::base::Name;
use crate::base::handle::{ConnSlot, PeerKey, PeerSlot};
use crate::base::ids::ConnectionId;
use crate::base::time::Now;
use crate::codec::{recovery, ws};
use crate::connection::outbound::Backlog;
use crate::dialect::raw;
use crate::domain::access::{Identity, Roles};
use crate::domain::command::Has;
use crate::domain::event::{Joined, PeerName, PeerView};
use crate::domain::grants::GrantAction;
use crate::domain::op::{JoinRoom, Op, Reply, RoomOp, UserOp};
use crate::domain::presence::DisconnectKind;
use crate::domain::record::{Position, Session};
use crate::domain::recovery::{Returned, Returning};
use crate::domain::reject::Reject;
use crate::message::OwnerMessage;
use crate::shard::core::Core;
use crate::shard::peers::Peers;
use crate::shard::recovery::appearances::{Appearance, Appearances};
use crate::shard::recovery::failed;
use crate::shard::recovery::resume_socketio::ResumeSocketIo;
use crate::shard::recovery::sessions::KeptSessions;
use crate::shard::requests::{OnReply, PendingRequest, RequestId, RequestRef};

/// A raw client that is being recovered.
pub(super) struct RawResume {
    id: RequestId,
    /// The client's own positions.
    cursors: Vec<Has>,
    /// Whether the messages that it sent itself are among the missed ones.
    own_messages: bool,
    /// The connection that was lost.
    former: ConnectionId,
    /// Its positions in the rooms that have not replied yet.
    awaited: Vec<Position>,
    rooms: Vec<(Name, Result<Returned, Reject>)>,
}

impl RawResume {
    pub(super) fn awaited(&self) -> &[Position] {
        &self.awaited
    }

    /// Shortens the lists of members evenly until they take at most `bytes_max` together.
    fn bound_peers(&mut self, bytes_max: usize) {
        while self.views().flat_map(|joined| &joined.peers).map(PeerView::bytes_max).sum::<usize>() > bytes_max {
            let longest = self.views().map(|joined| joined.peers.len()).max().unwrap_or(0);
            self.views().for_each(|joined| joined.peers.truncate(longest / 2));
        }
    }

    /// The views of the rooms that the client is back in.
    fn views(&mut self) -> impl Iterator<Item = &mut Joined> {
        self.rooms.iter_mut().filter_map(|(_, outcome)| outcome.as_mut().ok()).map(|returned| &mut returned.joined)
    }
}

/// Recovers clients.
pub(in crate::shard) struct Resume<'a> {
    core: &'a mut Core,
}

impl<'a> Resume<'a> {
    pub(in crate::shard) fn on(core: &'a mut Core) -> Self {
        Self { core }
    }

    /// Begins the recovery that a connected client requests.
    ///
    /// # Errors
    /// Nothing can be recovered.
    pub(in crate::shard) fn begin(
        &mut self,
        now: Now,
        peer: PeerKey,
        id: RequestRef<'_>,
        token: &str,
        (cursors, own_messages): (Vec<Has>, bool),
    ) -> Result<(), Reject> {
        match peer.slot() {
            PeerSlot::Raw(slot) => self.begin_raw(slot, id, token, (cursors, own_messages)),
            PeerSlot::SocketIo(slot) => ResumeSocketIo::on(self.core).begin(now, slot, id.socketio(), token),
        }
    }

    fn begin_raw(
        &mut self,
        slot: ConnSlot,
        id: RequestRef<'_>,
        token: &str,
        (cursors, own_messages): (Vec<Has>, bool),
    ) -> Result<(), Reject> {
        let connection = self.core.net.id_of(slot);
        // The secrets of Socket.IO clients are passed on from one connection to the next, and never used up.
        let former = recovery::connection_of(token).filter(|former| *former != connection && !former.is_peer());
        let former = former.ok_or_else(failed)?;
        if !self.core.recovers() || self.core.recovery.resumes.contains_key(&slot) {
            return Err(failed());
        }
        let by = self.core.net.identity(slot)?;
        let (id_owned, awaited, rooms) = (id.to_owned(), Vec::new(), Vec::new());
        let resume = RawResume { id: id_owned, cursors, own_messages, former, awaited, rooms };
        self.core.recovery.resumes.insert(slot, resume);
        let from = self.core.expect(PendingRequest::new(connection, id.to_owned(), OnReply::SessionTaken));
        let shard = self.core.channels.shard_to_supersede(former);
        let message = OwnerMessage::Supersede { connection: former, to: None, token: token.into(), by, from };
        self.core.channels.post(shard, message);
        Ok(())
    }

    /// The owner has replied to the request for the session.
    pub(in crate::shard) fn session_found(&mut self, now: Now, peer: PeerKey, reply: Result<Reply, Reject>) {
        match peer.slot() {
            PeerSlot::SocketIo(slot) => ResumeSocketIo::on(self.core).session_claimed(now, slot, reply),
            PeerSlot::Raw(slot) => {
                let outcome = match reply {
                    Ok(Reply::Session(Some(session))) => self.restore(now, slot, *session),
                    Err(reject) => Err(reject),
                    Ok(_) => Err(failed()),
                };
                if let Err(reject) = outcome {
                    let id = self.core.recovery.resumes.remove(&slot).map(|resume| resume.id);
                    let id = id.unwrap_or(RequestId::Raw(None));
                    Peers::on(self.core).refuse(now, slot.into(), id.as_ref(), &reject);
                }
            }
        }
    }

    /// Sends the rooms of a session the requests to take its client back.
    fn restore(&mut self, now: Now, slot: ConnSlot, session: Session) -> Result<(), Reject> {
        let by = self.take_identity(now, slot, &session)?;
        let resume = self.core.recovery.resumes.get(&slot).ok_or_else(failed)?;
        let cursors = resume.cursors.clone();
        let mut unknown: Vec<Name> = cursors.iter().map(|cursor| cursor.room.clone()).collect();
        let (mut awaited, mut banned) = (Vec::new(), Vec::new());
        for position in session.rooms {
            // A session that an earlier version has stored may have a room twice.
            if awaited.iter().any(|known: &Position| known.room == position.room) {
                continue;
            }
            unknown.retain(|room| *room != position.room);
            let granted = self.core.check_grant(now, &by, &position.room, GrantAction::Join);
            let admitted = || self.core.revocations.list().check_member(now, &position.room, by.user());
            if let Err(reject) = granted.and_then(|()| admitted()) {
                banned.push((position.room, Err(reject)));
                continue;
            }
            let cursor = cursors.iter().find(|cursor| cursor.room == position.room);
            let (epoch, seq) = match cursor {
                Some(cursor) => (cursor.epoch.clone(), cursor.seq),
                None => (position.epoch.clone(), position.seq),
            };
            self.request_rejoin(slot.into(), &by, session.connection, position.clone(), (epoch, seq));
            awaited.push(position);
        }
        if let Some(resume) = self.core.recovery.resumes.get_mut(&slot) {
            resume.awaited = awaited;
            let unknown = unknown.into_iter().map(|room| (room, Err(Reject::not_in_room())));
            resume.rooms = unknown.chain(banned).collect();
        }
        // The token that was shown is used up: from here on only this connection's token recovers the client after a crash.
        let has_rooms =
            !self.core.recovery.resumes[&slot].awaited.is_empty() || !self.core.net.conns[slot].rooms.is_empty();
        if self.core.options.rules.outlives_process && has_rooms {
            KeptSessions::on(self.core).write_if_listening(now, slot.into());
        }
        self.finish(now, slot);
        Ok(())
    }

    /// Sends a room's owner the request to take a peer back.
    pub(super) fn request_rejoin(
        &mut self,
        peer: PeerKey,
        by: &Identity,
        former: ConnectionId,
        position: Position,
        (epoch, seq): (Name, u64),
    ) {
        let connection = self.core.net.id_of(peer);
        let id = if peer.socketio().is_some() { RequestId::SocketIo(Default::default()) } else { RequestId::Raw(None) };
        let Position { room, peer, about, media, .. } = position;
        let shown = Box::new(Appearance { peer: peer.clone(), about: about.clone(), media });
        let join = JoinRoom { connection, by: by.clone(), peer, about, media, create: false, rewind: 0 };
        let returning = Returning { former, join, epoch, seq };
        let request = PendingRequest::new(connection, id, OnReply::Rejoined { room: room.clone(), shown });
        self.core.send(request, Op::Room(room, RoomOp::Rejoin(Box::new(returning))));
    }

    /// The identity of the recovered client: the session's own user. A guest, who has no token, becomes the former guest.
    fn take_identity(&mut self, now: Now, slot: ConnSlot, session: &Session) -> Result<Identity, Reject> {
        let identity = self.core.net.identity(slot).map_err(|_| failed())?;
        if *identity.user() == *session.user {
            return Ok(identity);
        }
        if !identity.may_recover(&session.user) {
            return Err(failed());
        }
        self.core.revocations.list().check_user(now, &session.user)?;
        let connection = self.core.net.id_of(slot);
        let by = Identity::new(&session.user, None, None, Roles { guest: true, ..Roles::default() });
        self.core.net.conns[slot].identity = Some(by.clone());
        let detach = UserOp::Detach { connection, parting: DisconnectKind::Clean, rooms: Vec::new() };
        self.core.send_detached(Op::User(identity.user_name(), detach));
        let attach = UserOp::Attach { connection, by: by.clone(), socket: None };
        self.core.send_detached(Op::User(by.user_name(), attach));
        Ok(by)
    }

    /// A room's owner has replied to the request to take a peer back.
    pub(in crate::shard) fn rejoined(
        &mut self,
        now: Now,
        peer: PeerKey,
        (room, shown): (Name, Box<Appearance>),
        reply: Result<Reply, Reject>,
    ) {
        let mut outcome = match reply {
            Ok(Reply::Returned(returned)) => Ok(*returned),
            Ok(_) => Err(failed()),
            Err(reject) => Err(reject),
        };
        match peer.slot() {
            PeerSlot::Raw(slot) => {
                if let Ok(returned) = &outcome {
                    // Only the end of the recovery lets the bytes go.
                    if self.core.recovery.resumes.contains_key(&slot) {
                        self.cork(slot);
                    }
                    self.rejoin(peer, returned, shown, returned.joined.seq);
                }
                let user = self.core.net.identity(slot).map(|identity| identity.user_name());
                if let Some(resume) = self.core.recovery.resumes.get_mut(&slot) {
                    if let (Ok(returned), Ok(user), false) = (&mut outcome, &user, resume.own_messages) {
                        returned.drop_own(user, resume.former);
                    }
                    resume.awaited.retain(|position| position.room != room);
                    resume.rooms.push((room, outcome));
                    self.finish(now, slot);
                }
            }
            PeerSlot::SocketIo(slot) => ResumeSocketIo::on(self.core).rejoined(now, slot, (&room, shown), outcome),
        }
    }

    /// Makes a peer a local member again. `since`: the position where its own offsets begin.
    pub(super) fn rejoin(&mut self, peer: PeerKey, returned: &Returned, mut shown: Box<Appearance>, since: u64) {
        let joined = &returned.joined;
        Peers::on(self.core).join_room(peer, joined, since);
        shown.peer = match &joined.peer {
            PeerName::Chosen(name) => Some(name.clone()),
            PeerName::Own(_) => None,
        };
        let is_observer = shown.about.is_observer();
        Appearances::on(self.core).set(peer, &joined.room, Some(shown));
        // Its user may have been announced as gone meanwhile.
        Peers::on(self.core).announce(peer, &joined.room, is_observer);
    }

    /// Answers a recovered client, once all its rooms have replied.
    fn finish(&mut self, now: Now, slot: ConnSlot) {
        let is_complete = self.core.recovery.resumes.get(&slot).is_some_and(|resume| resume.awaited.is_empty());
        let resume = if is_complete { self.core.recovery.resumes.remove(&slot) } else { None };
        if let Some(mut resume) = resume {
            resume.rooms.sort_by(|(one, _), (other, _)| one.cmp(other));
            resume.bound_peers(self.core.answer_bytes() / 2);
            if !self.core.net.conns[slot].rooms.is_empty() {
                KeptSessions::on(self.core).note(now, slot.into());
            }
            let frame = self.answer(now, slot, &mut resume);
            self.send_ahead(slot, &frame);
        }
    }

    /// The answer, with as many missed messages as fit.
    fn answer(&self, now: Now, slot: ConnSlot, resume: &mut RawResume) -> Vec<u8> {
        let token = self.core.recovery.key.token(self.core.net.id_of(slot));
        let user = self.core.net.identity(slot).map(|identity| identity.user_name()).unwrap_or_default();
        let mut frame = Vec::new();
        loop {
            let mark = ws::begin_text(&mut frame);
            raw::resumed(&mut frame, (&token, &user), &resume.rooms, resume.id.as_ref().raw(), now);
            ws::finish(&mut frame, mark);
            // The longest list of missed messages is given up first.
            let returned = resume.rooms.iter_mut().filter_map(|(_, outcome)| outcome.as_mut().ok());
            let longest = returned.max_by_key(|returned| returned.messages.len());
            if frame.len() <= self.core.answer_bytes() || longest.is_none_or(|longest| longest.give_up() == 0) {
                return frame;
            }
            frame.clear();
        }
    }

    /// Sends a frame ahead of the bytes that are kept back.
    fn send_ahead(&mut self, slot: ConnSlot, frame: &[u8]) {
        let net = &mut self.core.net;
        match &mut net.conns[slot].queue.backlog {
            Some(backlog) if backlog.is_corked() => {
                let is_full = !backlog.ready().is_empty();
                backlog.uncork(frame);
                if !is_full {
                    net.uncorked.push(slot);
                }
            }
            _ => {
                let segment = net.outbound.encode(|out| out.extend_from_slice(frame));
                net.push(slot, segment);
            }
        }
    }

    /// Keeps the bytes back that a connection is to get from now on.
    fn cork(&mut self, slot: ConnSlot) {
        self.core.net.conns[slot].queue.backlog.get_or_insert_with(Box::<Backlog>::default).cork();
    }
}
