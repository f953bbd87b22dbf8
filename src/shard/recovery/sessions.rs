//! Sessions that are kept for recovery: when each is written, handed over, or deleted.

use crate::base::Name;
use crate::base::handle::{PeerKey, PeerSlot, RoomSlot, Slot, SocketIoSlot};
use crate::base::ids::ConnectionId;
use crate::base::limits;
use crate::base::time::Now;
use crate::codec::recovery;
use crate::connection::peer::{PeerMembership, Recovery as PeerRecovery};
use crate::connection::session::Reason;
use crate::dialect::socketio::SocketIoAnswer;
use crate::domain::access::Identity;
use crate::domain::op::{Op, Reply};
use crate::domain::record::{Position, Session, TokenHash};
use crate::domain::recovery::SessionOp;
use crate::domain::reject::Reject;
use crate::message::{OwnerMessage, Requester};
use crate::shard::core::Core;
use crate::shard::peers::{Departing, Peers};
use crate::shard::raw_sockets::RawSockets;
use crate::shard::recovery::{Appearance, failed};
use crate::shard::requests::RequestRef;
use crate::shard::rooms::RoomPosition;
use crate::shard::sessions::EngineIo;

/// Writes and hands over the sessions of peers.
pub(in crate::shard) struct KeptSessions<'a> {
    core: &'a mut Core,
}

impl<'a> KeptSessions<'a> {
    pub(in crate::shard) fn on(core: &'a mut Core) -> Self {
        Self { core }
    }

    /// Has a peer's session written soon, if it may be recovered after a restart. The session of a line that began before the
    /// peer is always written: a client that shows its secret finds its latest connection by that.
    pub(in crate::shard) fn note(&mut self, now: Now, peer: PeerKey) {
        let outlives = self.core.recovers() && self.core.options.rules.outlives_process;
        let is_noted = match peer.slot() {
            PeerSlot::Raw(_) => outlives,
            PeerSlot::SocketIo(slot) => {
                let known = self.core.net.sessions.peers.get(slot);
                let may_return = known.is_some_and(|known| known.recovery != PeerRecovery::None);
                self.core.recovery.returns.has_line(slot) || outlives && may_return
            }
        };
        if is_noted {
            if self.core.recovery.unsaved.is_empty() {
                self.core.recovery.unsaved_due = now.mono + limits::SESSION_NOTED_MS;
            }
            self.core.recovery.unsaved.insert(peer);
        }
    }

    /// Writes the sessions that have changed, if it is time.
    pub(in crate::shard) fn write_if_due(&mut self, now: Now) {
        if self.core.recovery.next_due().is_some_and(|at| at <= now.mono) {
            for peer in std::mem::take(&mut self.core.recovery.unsaved) {
                self.write_if_listening(now, peer);
            }
        }
    }

    /// Writes a peer's session as it is now, unless the peer has departed.
    pub(in crate::shard) fn write_if_listening(&mut self, now: Now, peer: PeerKey) {
        if self.core.net.is_listening(peer)
            && let Some((first, session)) = self.session_of(now, peer, None)
        {
            self.write(first, session);
        }
    }

    /// The session of a peer, and the first connection of its line; `expires_at` (milliseconds since 1970) when the peer has
    /// departed.
    fn session_of(&self, now: Now, peer: PeerKey, expires_at: Option<u64>) -> Option<(ConnectionId, Session)> {
        let Core { net, rooms, recovery, .. } = &*self.core;
        let user = net.identity_of(peer)?.user_name();
        let position = |at: u32, own: Option<&PeerMembership>| {
            let at = RoomSlot::from_raw(at);
            let RoomPosition { room, epoch, seq } = rooms.position_of(at, peer)?;
            let shown = recovery.appearances.get(&(peer, at)).cloned().unwrap_or_default();
            let Appearance { peer, about, media } = shown;
            Some(Position { room, epoch, seq, since: own.map(|own| own.since(seq)), peer, about, media })
        };
        // A client that is about to rejoin a room counts as there: the token that it showed is used up.
        let (own, awaited, connected_at, dialect): (Vec<Position>, &[Position], u64, u8) = match peer.slot() {
            PeerSlot::Raw(slot) => {
                let own = net.conns.get(slot)?.rooms.as_slice().iter();
                let awaited = recovery.resumes.get(&slot).map(|resume| resume.awaited()).unwrap_or_default();
                let connected_at = net.remotes.connected_at(slot, now);
                (own.filter_map(|own| position(own.room, None)).collect(), awaited, connected_at, 0)
            }
            PeerSlot::SocketIo(slot) => {
                let known = net.sessions.peers.get(slot)?;
                let own = known.rooms.as_slice().iter();
                let connected_at = net.session_of(slot).map(|at| net.sessions.remotes.connected_at(at, now));
                let own = own.filter_map(|own| position(own.room, Some(own))).collect();
                let awaited = recovery.returns.awaited(slot);
                (own, awaited, connected_at.unwrap_or(now.wall), known.dialect.number())
            }
        };
        let (connection, secret) = (net.id_of(peer), self.secret_of(peer));
        // A room that the client has joined meanwhile is there once, with its position as a member.
        let is_joined = |room: &Name| own.iter().any(|own| own.room == *room);
        let awaited: Vec<Position> = awaited.iter().filter(|awaited| !is_joined(&awaited.room)).cloned().collect();
        let session = Session {
            token: TokenHash(recovery::hash(&secret)),
            user,
            connection,
            connected_at,
            active_at: now.wall,
            expires_at,
            dialect,
            rooms: own.into_iter().chain(awaited).collect(),
        };
        Some((recovery::connection_of(&secret).unwrap_or(connection), session))
    }

    /// Writes a session as it is, or deletes it when there is nothing to recover. `first` is the connection whose token opens
    /// it.
    fn write(&mut self, first: ConnectionId, session: Session) {
        let token = session.token;
        let op = match session.rooms.is_empty() && session.connection == first {
            true => SessionOp::Clear { token },
            false => SessionOp::Save(Box::new(session)),
        };
        self.core.send_detached(Op::Session(first, Box::new(op)));
    }

    /// Whether the shard itself keeps a session after its connection.
    fn is_own(&self, session: &Session) -> bool {
        session.rooms.is_empty() || !self.core.options.rules.outlives_process
    }

    /// Keeps the session of a connection that has gone for a window. `is_noted`: a version of it may be written, perhaps with
    /// other rooms.
    fn keep_departed(&mut self, now: Now, session: Session, is_noted: bool) {
        self.core.recovery.lost.insert(now, &session);
        let is_own = self.is_own(&session);
        if is_own {
            self.core.recovery.departed.insert(now, &session);
        }
        if !is_own || is_noted && self.core.options.rules.outlives_process {
            self.write(session.connection, session);
        }
    }

    /// The same for a peer, whose session may be that of a longer line.
    fn keep_departed_peer(&mut self, now: Now, peer: PeerKey, is_noted: bool) {
        let has_line = peer.socketio().is_some_and(|slot| self.core.recovery.returns.has_line(slot));
        match self.session_of(now, peer, Some(self.core.window_end(now))) {
            Some((first, session)) if has_line => {
                self.core.recovery.lost.insert(now, &session);
                self.write(first, session);
            }
            Some((_, session)) => self.keep_departed(now, session, is_noted),
            None => {}
        }
    }

    /// A peer departs: its session is kept or deleted. Returns the rooms that it was about to rejoin.
    pub(in crate::shard) fn note_departure(&mut self, now: Now, peer: PeerKey, departing: Departing) -> Vec<Name> {
        let is_noted = self.core.recovery.unsaved.remove(&peer);
        let outlives = self.core.options.rules.outlives_process;
        let (has_line, may_return) = match peer.slot() {
            PeerSlot::Raw(_) => (false, self.core.recovers()),
            PeerSlot::SocketIo(slot) => {
                let known = self.core.net.sessions.peers.get(slot);
                let may_return = known.is_some_and(|known| known.recovery != PeerRecovery::None && known.is_connected);
                (self.core.recovery.returns.has_line(slot), may_return)
            }
        };
        if has_line || may_return {
            match departing {
                Departing::Lost | Departing::Goodbye | Departing::Left => self.keep_departed_peer(now, peer, is_noted),
                Departing::Removed | Departing::Quit if has_line || outlives => self.delete(peer),
                Departing::Removed | Departing::Quit | Departing::Superseded => {}
            }
        }
        match peer.slot() {
            PeerSlot::Raw(slot) => {
                let resume = self.core.recovery.resumes.remove(&slot);
                resume.map_or_else(Vec::new, |resume| resume.awaited().iter().map(|it| it.room.clone()).collect())
            }
            PeerSlot::SocketIo(slot) => self.core.recovery.returns.forget(slot),
        }
    }

    fn delete(&mut self, peer: PeerKey) {
        let secret = self.secret_of(peer);
        let first = recovery::connection_of(&secret).unwrap_or_else(|| self.core.net.id_of(peer));
        let token = TokenHash(recovery::hash(&secret));
        self.core.send_detached(Op::Session(first, Box::new(SessionOp::Delete { token })));
    }

    // Secrets.

    /// The secret by which a peer may be recovered.
    pub(in crate::shard) fn secret_of(&self, peer: PeerKey) -> String {
        let line = peer.socketio().and_then(|slot| self.core.recovery.returns.line(slot));
        match line {
            Some(secret) => secret.to_owned(),
            None => self.core.recovery.key.token(self.core.net.id_of(peer)),
        }
    }

    /// Issues the token by which a Socket.IO peer may be recovered.
    ///
    /// # Errors
    /// Recovery is off.
    pub(in crate::shard) fn issue_token(
        &mut self,
        now: Now,
        slot: SocketIoSlot,
        id: RequestRef<'_>,
    ) -> Result<(), Reject> {
        if !self.core.recovers() {
            return Err(failed());
        }
        let known = &mut self.core.net.sessions.peers[slot];
        if known.recovery == PeerRecovery::None {
            known.recovery = PeerRecovery::Token;
        }
        self.note(now, slot.into());
        let token = self.secret_of(slot.into());
        let answer = SocketIoAnswer::TokenMade { token: &token, window_ms: self.core.options.recovery_window_ms };
        Peers::on(self.core).answer(now, slot.into(), id, &answer);
        Ok(())
    }

    // Sessions that go to another connection.

    /// A client has come back on another connection: this one ends, if it is here, and its session goes to the requester.
    /// `to`: the connection that a Socket.IO session is passed on to; a raw session is used up.
    pub(in crate::shard) fn supersede(
        &mut self,
        now: Now,
        (connection, to): (ConnectionId, Option<ConnectionId>),
        token: &str,
        by: &Identity,
        from: Requester,
    ) {
        match to {
            None => self.supersede_raw(now, connection, token, by, from),
            Some(to) => self.supersede_socketio(now, (connection, to), token, by, from),
        }
    }

    fn supersede_raw(&mut self, now: Now, connection: ConnectionId, token: &str, by: &Identity, from: Requester) {
        let hash = TokenHash(recovery::hash(token));
        if let Some(slot) = self.core.net.find_conn(connection)
            && self.core.net.conns[slot].is_listening()
            && recovery::is_same(&self.core.recovery.key.token(connection), token)
            && self.core.net.identity_of(slot.into()).is_some_and(|own| by.may_recover(own.user()))
        {
            let is_noted =
                self.core.recovery.unsaved.contains(&slot.into()) || self.core.recovery.resumes.contains_key(&slot);
            // A session that is kept already lacks the latest changes.
            if let Some((_, session)) = self.session_of(now, slot.into(), Some(self.core.window_end(now))) {
                self.keep_departed(now, session, is_noted);
            }
            RawSockets::on(self.core).disconnect(now, slot, "replaced", 4409);
        }
        self.core.recovery.lost.remove(hash);
        match self.core.recovery.departed.take_if(now, hash, |user| by.may_recover(user)) {
            Some(session) => self.reply(from, session),
            None => {
                let op = Op::Session(connection, Box::new(SessionOp::Take { token: hash, by: by.clone() }));
                let owner = self.core.channels.owner_of(&op);
                self.core.channels.post(owner, OwnerMessage::Request { from, op });
            }
        }
    }

    fn supersede_socketio(
        &mut self,
        now: Now,
        (connection, to): (ConnectionId, ConnectionId),
        secret: &str,
        by: &Identity,
        from: Requester,
    ) {
        if let Some(slot) = self.core.net.find_socketio(connection)
            && self.core.net.identity_of(slot.into()).is_some_and(|own| own.user() == by.user())
        {
            self.replace(now, slot, secret);
        }
        let token = TokenHash(recovery::hash(secret));
        self.core.recovery.lost.remove(token);
        let first = recovery::connection_of(secret).unwrap_or(connection);
        match self.core.recovery.departed.take_if(now, token, |user| user == by.user()) {
            Some(session) => {
                // The owner of the line's sessions knows its latest connection from now on.
                let passed = SessionOp::Save(Box::new(session.passed_to(to, None)));
                self.core.send_detached(Op::Session(first, Box::new(passed)));
                self.reply(from, session);
            }
            None => {
                let op = SessionOp::Transfer { token, by: by.user_name(), from: connection, to };
                let op = Op::Session(first, Box::new(op));
                let owner = self.core.channels.owner_of(&op);
                self.core.channels.post(owner, OwnerMessage::Request { from, op });
            }
        }
    }

    fn reply(&mut self, from: Requester, session: Session) {
        let reply = Ok(Reply::Session(Some(Box::new(session))));
        self.core.channels.reply(from, reply);
    }

    /// A Socket.IO peer ends because its client has come back, if this is the client's secret.
    fn replace(&mut self, now: Now, slot: SocketIoSlot, secret: &str) {
        let peer = PeerKey::from(slot);
        let has_session = recovery::is_same(&self.secret_of(peer), secret);
        let returns = &self.core.recovery.returns;
        if !has_session && !returns.claims(slot, secret) {
            return;
        }
        let (has_line, is_under_way) = (returns.has_line(slot), returns.is_under_way(slot));
        if let Some((_, session)) = self.session_of(now, peer, None).filter(|_| has_session) {
            let is_noted = self.core.recovery.unsaved.contains(&peer) || is_under_way;
            if is_noted || !has_line && self.is_own(&session) {
                self.keep_departed_peer(now, peer, is_noted);
            }
        }
        // A client whose attempts to connect overtook each other must try again. It does when the transport closes, but not
        // when it is told that the server took it out of the namespace.
        let at = self.core.net.session_of(slot);
        if let Some(at) = at {
            let space = self.core.net.sessions.peers[slot].space;
            self.core.net.sessions.list[at].namespaces.leave(space);
        }
        Peers::on(self.core).detach(now, peer, Departing::Superseded);
        if let Some(at) = at {
            EngineIo::on(self.core).close(now, at, Reason::Replaced);
        }
    }

    /// A raw client has gone before the session was found whose token it showed. The session is the lost connection's from now
    /// on: that is the token its client has.
    pub(in crate::shard) fn inherit(&mut self, now: Now, connection: ConnectionId, session: Session) {
        let session = Session {
            token: TokenHash(recovery::hash(&self.core.recovery.key.token(connection))),
            connection,
            connected_at: now.wall,
            active_at: now.wall,
            expires_at: Some(self.core.window_end(now)),
            dialect: 0,
            ..session
        };
        self.keep_departed(now, session, false);
    }

    /// A Socket.IO peer has gone before it learned that the session is its own.
    pub(in crate::shard) fn leave_claimed(
        &mut self,
        now: Now,
        connection: ConnectionId,
        secret: &str,
        session: &Session,
    ) {
        let first =
            recovery::connection_of(secret).expect("invariant: a secret was parsed before a session was claimed");
        let session = session.passed_to(connection, Some(self.core.window_end(now)));
        self.core.send_detached(Op::Session(first, Box::new(SessionOp::Save(Box::new(session)))));
    }
}
