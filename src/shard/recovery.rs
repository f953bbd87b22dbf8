//! Coming back: what is noted of a connection so that its client may go on with another one, and how that happens.
//!
//! A session is written down soon after its connection joins a room, so that a client finds its way back after a restart as
//! well, and once more when the connection has gone. Where there is nothing that a restart would need (no room, or no file)
//! the shard remembers it itself ([`crate::shard::departed`]), and only once the connection has gone.
//!
//! A client that comes back is put into its rooms one by one. What they have for it meanwhile is kept back (its queue is
//! corked) until the answer with what it missed is ahead of it.

use crate::base::Name;
use crate::base::ids::{ConnectionId, PEER};
use crate::base::limits;
use crate::base::time::Now;
use crate::codec::{recovery, ws};
use crate::connection::conn::Conn;
use crate::connection::outbound::Backlog;
use crate::dialect::raw;
use crate::domain::access::{Identity, Roles};
use crate::domain::command::{Has, MediaState};
use crate::domain::event::PeerName;
use crate::domain::op::{JoinRoom, Op, Reply, RoomOp, UserOp};
use crate::domain::presence::DisconnectKind;
use crate::domain::record::{Position, Session, TokenHash};
use crate::domain::recovery::{Returned, Returning, SessionOp};
use crate::domain::reject::{Code, Reject};
use crate::message::{Requester, ShardMessage};
use crate::shard::Shard;
use crate::shard::answers::{Ask, Then};

/// How a member shows itself in a room, where that is not what everybody does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Appearance {
    pub(super) peer: Option<Name>,
    pub(super) display_name: Option<Box<str>>,
    pub(super) media: MediaState,
}

/// Why a connection leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Departing {
    /// It was lost, and may come back: its rooms wait a little before they tell.
    Lost,
    /// It said that it would go; its client may still come back.
    Goodbye,
    /// It was told to go, or was silent for long; its client may still come back.
    Left,
    /// Its client left the namespace, not to come back.
    Quit,
    /// It was sent away, not to come back.
    Removed,
    /// Its client has come back already.
    Superseded,
}

impl Departing {
    /// What the connection's user is told of it.
    pub(super) fn parting(self) -> DisconnectKind {
        match self {
            Self::Goodbye | Self::Quit | Self::Removed => DisconnectKind::Clean,
            Self::Lost | Self::Left | Self::Superseded => DisconnectKind::Lost,
        }
    }
}

/// A client on its way back.
pub(super) struct Resume {
    request: Option<Box<str>>,
    has: Vec<Has>,
    /// Where it was in the rooms that have not answered yet.
    awaited: Vec<Position>,
    rooms: Vec<(Name, Result<Returned, Reject>)>,
}

impl Shard {
    /// Whether lost connections can be brought back at all.
    pub(super) fn recovers(&self) -> bool {
        self.options.recovery_window_ms != 0 && self.options.rules.has_store
    }

    /// Has a connection's session noted soon, as it is then.
    pub(super) fn note_session(&mut self, now: Now, slot: u32) {
        if self.recovers() && self.options.rules.outlives_process {
            self.note_soon(now, slot);
        }
    }

    pub(super) fn note_soon(&mut self, now: Now, slot: u32) {
        if self.unsaved.is_empty() {
            self.unsaved_due = now.mono + limits::SESSION_NOTED_MS;
        }
        self.unsaved.insert(slot);
    }

    /// Notes the sessions that have changed.
    pub(super) fn keep_sessions(&mut self, now: Now) {
        for slot in std::mem::take(&mut self.unsaved) {
            if slot & PEER != 0 {
                self.keep_connected_peer(now, slot & !PEER);
            } else if self.conns.get(slot as usize).is_some_and(|conn| conn.is_listening())
                && let Some(session) = self.session_of(now, slot, None)
            {
                self.keep_session(session.connection, session);
            }
        }
    }

    /// What it takes to bring a connection's client back; `expires_at` (milliseconds since 1970) when the connection has
    /// ended.
    fn session_of(&self, now: Now, slot: u32, expires_at: Option<u64>) -> Option<Session> {
        let identity = self.conns.get(slot as usize)?.identity.as_ref()?;
        let rooms = self.positions_of(slot);
        Some(self.session(now, self.id_of(slot), identity.user_name(), expires_at, rooms))
    }

    /// Where a connection is in each of its rooms.
    fn positions_of(&self, slot: u32) -> Vec<Position> {
        let Some(conn) = self.conns.get(slot as usize) else { return Vec::new() };
        let position = |place: u32| {
            let (room, epoch, seq) = self.fanout.position_of(place)?;
            let shown = self.appearances.get(&(slot, place)).cloned().unwrap_or_default();
            let Appearance { peer, display_name, media } = shown;
            Some(Position { room: room.clone(), epoch: epoch.clone(), seq, since: None, peer, display_name, media })
        };
        // Whoever is on the way back into a room is as good as there: the token that was shown is used up.
        let awaited = self.resumes.get(&slot).into_iter().flat_map(|resume| resume.awaited.iter().cloned());
        conn.rooms.as_slice().iter().filter_map(|own| position(own.room)).chain(awaited).collect()
    }

    fn session(
        &self,
        now: Now,
        connection: ConnectionId,
        user: Name,
        expires_at: Option<u64>,
        rooms: Vec<Position>,
    ) -> Session {
        Session {
            token: TokenHash(recovery::hash(&self.recovery_key.token(connection))),
            user,
            connection,
            connected_at: now.wall,
            active_at: now.wall,
            expires_at,
            dialect: 0,
            rooms,
        }
    }

    /// Has a session written down: as it is now, or that there is nothing to come back to. `first` is the connection whose
    /// token opens it.
    pub(super) fn keep_session(&mut self, first: ConnectionId, session: Session) {
        let token = session.token;
        let op = match session.rooms.is_empty() && session.connection == first {
            true => SessionOp::Clear { token },
            false => SessionOp::Save(Box::new(session)),
        };
        self.ask(Ask::forgotten(), Op::Session(first, op));
    }

    /// Has the session of a connection that has gone kept for a window. `is_noted`: one may be written down, perhaps with
    /// other rooms.
    pub(super) fn keep_departed(&mut self, now: Now, session: Session, is_noted: bool) {
        let is_own = self.is_own(&session);
        if is_own {
            self.departed.note(now, &session);
        }
        if !is_own || is_noted && self.options.rules.outlives_process {
            self.keep_session(session.connection, session);
        }
    }

    /// Whether the shard itself remembers a session once its connection has gone.
    pub(super) fn is_own(&self, session: &Session) -> bool {
        session.rooms.is_empty() || !self.options.rules.outlives_process
    }

    /// A client has gone before the session was found that it showed the token of. The session is the lost connection's
    /// own from now on: that is the token its client has.
    pub(super) fn inherit(&mut self, now: Now, connection: ConnectionId, session: Session) {
        let session = self.session(now, connection, session.user, self.window_from(now), session.rooms);
        self.keep_departed(now, session, false);
    }

    /// When a window that begins now is over, in milliseconds since 1970.
    pub(super) fn window_from(&self, now: Now) -> Option<u64> {
        Some(now.wall + self.options.recovery_window_ms)
    }

    /// The rooms that a client is on its way back into.
    pub(super) fn rooms_awaited(&mut self, slot: u32) -> Vec<Name> {
        let resume = self.resumes.remove(&slot);
        resume.map_or_else(Vec::new, |resume| resume.awaited.into_iter().map(|position| position.room).collect())
    }

    /// A connection leaves its rooms: notes what its client may come back with.
    pub(super) fn note_departure(&mut self, now: Now, slot: u32, departing: Departing) {
        let is_noted = self.unsaved.remove(&slot);
        if !self.recovers() {
            return;
        }
        let connection = self.id_of(slot);
        match departing {
            Departing::Lost | Departing::Goodbye | Departing::Left => {
                if let Some(session) = self.session_of(now, slot, self.window_from(now)) {
                    self.keep_departed(now, session, is_noted);
                }
            }
            Departing::Removed | Departing::Quit if !self.options.rules.outlives_process => {}
            Departing::Removed | Departing::Quit => {
                let token = TokenHash(recovery::hash(&self.recovery_key.token(connection)));
                self.ask(Ask::forgotten(), Op::Session(connection, SessionOp::Delete { token }));
            }
            Departing::Superseded => {}
        }
    }

    /// A client wants to go on where an earlier connection was lost.
    pub(super) fn resume(
        &mut self,
        slot: u32,
        request: Option<&str>,
        token: &str,
        has: Vec<Has>,
    ) -> Result<(), Reject> {
        let connection = self.id_of(slot);
        // What Socket.IO clients were given is passed on from one connection to the next, and never used up.
        let former = recovery::connection_of(token).filter(|former| *former != connection && !former.is_peer());
        let former = former.ok_or_else(failed)?;
        if !self.recovers() || self.resumes.contains_key(&slot) {
            return Err(failed());
        }
        let request: Option<Box<str>> = request.map(Into::into);
        self.resumes.insert(slot, Resume { request: request.clone(), has, awaited: Vec::new(), rooms: Vec::new() });
        let by = self.identity(slot)?;
        let from = self.expect(Ask { to: Some(connection), request, then: Then::Session });
        // The former connection's shard is asked first, if there is such a shard: the connection may be there still.
        let shard = if self.may_be(former) { self.holder_of(former) } else { self.number };
        self.post(shard, ShardMessage::Supersede { connection: former, to: None, token: token.into(), by, from });
        Ok(())
    }

    /// The session that a client showed the token of has been used up, if there was one: the client is put back.
    pub(super) fn session_taken(&mut self, now: Now, slot: u32, reply: Result<Reply, Reject>) {
        let outcome = match reply {
            Ok(Reply::Session(Some(session))) => self.put_back(now, slot, *session),
            Err(reject) => Err(reject),
            Ok(_) => Err(failed()),
        };
        if let Err(reject) = outcome {
            let request = self.resumes.remove(&slot).and_then(|resume| resume.request);
            self.refuse(now, slot, request.as_deref(), &reject);
        }
    }

    fn put_back(&mut self, now: Now, slot: u32, session: Session) -> Result<(), Reject> {
        let by = self.whoever_comes_back(slot, &session)?;
        let Some(resume) = self.resumes.get(&slot) else { return Err(failed()) };
        let has = resume.has.clone();
        let connection = self.id_of(slot);
        let mut unknown: Vec<Name> = has.iter().map(|has| has.room.clone()).collect();
        for position in session.rooms {
            unknown.retain(|room| *room != position.room);
            let awaited = position.clone();
            let known = has.iter().find(|has| has.room == position.room);
            let (epoch, seq) = known.map_or((position.epoch, position.seq), |known| (known.epoch.clone(), known.seq));
            let Position { room, peer, display_name, media, .. } = position;
            let shown = Box::new(Appearance { peer: peer.clone(), display_name: display_name.clone(), media });
            let join = JoinRoom { connection, by: by.clone(), peer, display_name, media, create: false };
            let back = Returning { former: session.connection, join, epoch, seq };
            let ask = Ask { to: Some(connection), request: None, then: Then::Returned { room: room.clone(), shown } };
            self.ask(ask, Op::Room(room, RoomOp::Rejoin(Box::new(back))));
            if let Some(resume) = self.resumes.get_mut(&slot) {
                resume.awaited.push(awaited);
            }
        }
        if let Some(resume) = self.resumes.get_mut(&slot) {
            resume.rooms = unknown.into_iter().map(|room| (room, Err(Reject::not_in_room()))).collect();
        }
        // What was shown is used up: from here on this connection's token alone opens the way, should the server die.
        if self.options.rules.outlives_process
            && let Some(session) = self.session_of(now, slot, None).filter(|session| !session.rooms.is_empty())
        {
            self.keep_session(session.connection, session);
        }
        self.finish_resume(now, slot);
        Ok(())
    }

    /// Who comes back: the session's own user. A guest, who has no token of their own, becomes the guest they were.
    fn whoever_comes_back(&mut self, slot: u32, session: &Session) -> Result<Identity, Reject> {
        let Some(identity) = self.conns.get(slot as usize).and_then(|conn| conn.identity.clone()) else {
            return Err(failed());
        };
        if *identity.user() == *session.user {
            return Ok(identity);
        }
        if !identity.may_recover(&session.user) {
            return Err(failed());
        }
        let connection = self.id_of(slot);
        let by = Identity::new(&session.user, None, None, Roles { guest: true, ..Roles::default() });
        self.conns[slot as usize].identity = Some(by.clone());
        let detach = UserOp::Detach { connection, parting: DisconnectKind::Clean, rooms: Vec::new() };
        self.ask(Ask::forgotten(), Op::User(identity.user_name(), detach));
        let attach = UserOp::Attach { connection, by: by.clone(), socket: None };
        self.ask(Ask::forgotten(), Op::User(by.user_name(), attach));
        Ok(by)
    }

    /// A room has its answer for a client that comes back.
    pub(super) fn came_back(
        &mut self,
        now: Now,
        slot: u32,
        (room, shown): (Name, Box<Appearance>),
        reply: Result<Reply, Reject>,
    ) {
        let outcome = match reply {
            Ok(Reply::Returned(returned)) => {
                self.cork(slot);
                let joined = &returned.joined;
                self.fanout.join(joined, slot, &mut self.conns, &mut self.outbound);
                let peer = match &joined.peer {
                    PeerName::Chosen(peer) => Some(peer.clone()),
                    PeerName::Own(_) => None,
                };
                self.note_appearance(slot, &joined.room, Some(Box::new(Appearance { peer, ..*shown })));
                // Its user may have been told to have gone meanwhile.
                self.introduce(slot, &joined.room);
                Ok(*returned)
            }
            Ok(_) => Err(failed()),
            Err(reject) => Err(reject),
        };
        let Some(resume) = self.resumes.get_mut(&slot) else { return };
        resume.awaited.retain(|position| position.room != room);
        resume.rooms.push((room, outcome));
        self.finish_resume(now, slot);
    }

    /// Answers a client that comes back, once all its rooms have answered.
    fn finish_resume(&mut self, now: Now, slot: u32) {
        if self.resumes.get(&slot).is_none_or(|resume| !resume.awaited.is_empty()) {
            return;
        }
        let Some(mut resume) = self.resumes.remove(&slot) else { return };
        resume.rooms.sort_by(|(one, _), (other, _)| one.cmp(other));
        if self.conns.get(slot as usize).is_some_and(|conn| !conn.rooms.as_slice().is_empty()) {
            self.note_session(now, slot);
        }
        let token = self.recovery_key.token(self.id_of(slot));
        let mut frame = Vec::new();
        loop {
            let mark = ws::begin_text(&mut frame);
            raw::resumed(&mut frame, &token, &resume.rooms, resume.request.as_deref(), now);
            ws::finish(&mut frame, mark);
            // What was missed most is given up first.
            let back = resume.rooms.iter_mut().filter_map(|(_, outcome)| outcome.as_mut().ok());
            let most = back.max_by_key(|returned| returned.messages.len());
            if frame.len() <= self.answer_bytes() || most.is_none_or(|most| most.give_up() == 0) {
                break;
            }
            frame.clear();
        }
        let Some(conn) = self.conns.get_mut(slot as usize) else { return };
        match &mut conn.queue.backlog {
            Some(backlog) if backlog.is_corked() => {
                let is_full = !backlog.ready().is_empty();
                backlog.uncork(&frame);
                if !is_full {
                    self.uncorked.push(slot);
                }
            }
            _ => {
                let segment = self.outbound.encode(|out| out.extend_from_slice(&frame));
                self.outbound.push(slot, &mut conn.queue, segment);
            }
        }
    }

    /// Keeps back whatever a connection is to get from now on.
    fn cork(&mut self, slot: u32) {
        if let Some(conn) = self.conns.get_mut(slot as usize) {
            conn.queue.backlog.get_or_insert_with(Box::<Backlog>::default).cork();
        }
    }

    /// A client has come back on another connection: this one ends, if it is here, and its session goes to whoever asks.
    pub(super) fn supersede(
        &mut self,
        now: Now,
        (connection, to): (ConnectionId, Option<ConnectionId>),
        token: &str,
        by: &Identity,
        from: Requester,
    ) {
        if let Some(to) = to {
            return self.supersede_peer(now, (connection, to), token, by, from);
        }
        let token_hash = TokenHash(recovery::hash(token));
        let slot = self.slot_of(connection).filter(|slot| self.conns[*slot as usize].is_listening());
        if let Some(slot) = slot
            && self.recovery_key.token(connection) == token
            && self.conns[slot as usize].identity.as_ref().is_some_and(|own| by.may_recover(own.user()))
        {
            let is_noted = self.unsaved.contains(&slot) || self.resumes.contains_key(&slot);
            // What is kept of it already does not know what was written to it last.
            if let Some(session) = self.session_of(now, slot, self.window_from(now)) {
                self.keep_departed(now, session, is_noted);
            }
            self.disconnect(now, slot, "replaced", 4409);
        }
        if let Some(session) = self.departed.take(now, token_hash) {
            let reply = Ok(Reply::Session(Some(Box::new(session))));
            return self.post(from.shard, ShardMessage::Reply { ask: from.ask, reply });
        }
        let op = Op::Session(connection, SessionOp::Take { token: token_hash });
        self.post(self.placement.of(connection.text().as_str()), ShardMessage::Request { from, op });
    }

    /// Notes that a member shows other media.
    pub(super) fn note_media(&mut self, now: Now, slot: u32, room: &str, media: MediaState) {
        let Some(place) = self.fanout.place_of(room).filter(|_| self.recovers()) else { return };
        let is_member = |conn: &Conn| conn.rooms.as_slice().iter().any(|own| own.room == place);
        if self.conns.get(slot as usize).is_some_and(is_member) {
            self.appearances.entry((slot, place)).or_default().media = media;
            self.note_session(now, slot);
        }
    }

    /// Notes how a member shows itself in a room.
    pub(super) fn note_appearance(&mut self, slot: u32, room: &str, shown: Option<Box<Appearance>>) {
        let Some(place) = self.fanout.place_of(room) else { return };
        match shown {
            Some(shown) if self.recovers() && *shown != Appearance::default() => {
                drop(self.appearances.insert((slot, place), *shown))
            }
            _ => drop(self.appearances.remove(&(slot, place))),
        }
    }
}

pub(super) fn failed() -> Reject {
    Reject::new(Code::RecoveryFailed, "There is nothing to recover with this token; join anew")
}
