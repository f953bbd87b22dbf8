//! What is noted of Socket.IO peers so that their clients may come back ([`super::peer_recovery`]), and the requests by which
//! `colon` asks for that itself.

use crate::base::Name;
use crate::base::ids::{ConnectionId, PEER};
use crate::base::time::Now;
use crate::codec::recovery;
use crate::connection::peer::{PeerMembership, Recovery};
use crate::connection::session::Reason;
use crate::dialect::socketio::{ReplyTo, SocketIoAnswer};
use crate::domain::access::Identity;
use crate::domain::command::MediaState;
use crate::domain::op::{Op, Reply};
use crate::domain::record::{Position, Session, TokenHash};
use crate::domain::recovery::SessionOp;
use crate::domain::reject::Reject;
use crate::message::{Requester, ShardMessage};
use crate::shard::Shard;
use crate::shard::answers::Ask;
use crate::shard::recovery::{Appearance, Departing, failed};

impl Shard {
    /// Has a peer's session noted soon, if it has one. That of a line that began before the peer always is: whoever shows
    /// its secret finds its latest connection by that.
    pub(super) fn note_peer_session(&mut self, now: Now, peer: u32) {
        if self.returns.has_line(peer) {
            self.note_soon(now, PEER | peer);
        } else if self.sessions.peers.get(peer as usize).is_some_and(|known| known.recovery != Recovery::None) {
            self.note_session(now, PEER | peer);
        }
    }

    /// Notes the session of a peer as it is now.
    pub(super) fn keep_connected_peer(&mut self, now: Now, peer: u32) {
        let is_connected = self.sessions.peers.get(peer as usize).is_some_and(|peer| peer.is_connected);
        if let Some((first, session)) = self.session_of_peer(now, peer, None).filter(|_| is_connected) {
            self.keep_session(first, session);
        }
    }

    /// What it takes to bring a peer's client back, and the first connection of its line; `expires_at` (milliseconds since
    /// 1970) when the peer has gone.
    fn session_of_peer(&self, now: Now, peer: u32, expires_at: Option<u64>) -> Option<(ConnectionId, Session)> {
        let known = self.sessions.peers.get(peer as usize)?;
        let position = |own: &PeerMembership| {
            let standing = self.peer_rooms.standing_of(own.room)?;
            let shown = self.appearances.get(&(PEER | peer, own.room)).cloned().unwrap_or_default();
            let Appearance { peer, display_name, media } = shown;
            let since = Some(own.since(standing.seq));
            let (room, epoch, seq) = (standing.room, standing.epoch, standing.seq);
            Some(Position { room, epoch, seq, since, peer, display_name, media })
        };
        let rooms = known.rooms.as_slice().iter().filter_map(position);
        let came_at = self.client_of(PEER | peer).map(|at| self.sessions.arrivals.came_at(at, now));
        let secret = self.secret_of_peer(peer);
        let connection = self.id_of(PEER | peer);
        let session = Session {
            token: TokenHash(recovery::hash(&secret)),
            user: known.identity.as_ref()?.user_name(),
            connection,
            connected_at: came_at.unwrap_or(now.wall),
            active_at: now.wall,
            expires_at,
            dialect: known.dialect.number(),
            rooms: rooms.chain(self.returns.awaited(peer).iter().cloned()).collect(),
        };
        Some((recovery::connection_of(&secret).unwrap_or(connection), session))
    }

    /// Has the session of a peer that has gone kept for a window; see [`Shard::keep_departed`].
    fn keep_departed_peer(&mut self, now: Now, peer: u32, is_noted: bool) {
        match self.session_of_peer(now, peer, self.window_from(now)) {
            Some((first, session)) if self.returns.has_line(peer) => self.keep_session(first, session),
            Some((_, session)) => self.keep_departed(now, session, is_noted),
            None => {}
        }
    }

    /// A peer goes: notes what its client may come back with. The rooms that it was on its way back into.
    pub(super) fn note_peer_departure(&mut self, now: Now, peer: u32, departing: Departing) -> Vec<Name> {
        let is_noted = self.unsaved.remove(&(PEER | peer));
        let (has_line, outlives) = (self.returns.has_line(peer), self.options.rules.outlives_process);
        let known = self.sessions.peers.get(peer as usize);
        if has_line || known.is_some_and(|known| known.recovery != Recovery::None && known.is_connected) {
            match departing {
                Departing::Lost | Departing::Goodbye | Departing::Left => {
                    self.keep_departed_peer(now, peer, is_noted);
                }
                Departing::Removed | Departing::Quit if has_line || outlives => {
                    let secret = self.secret_of_peer(peer);
                    let token = TokenHash(recovery::hash(&secret));
                    let first = recovery::connection_of(&secret).unwrap_or_else(|| self.id_of(PEER | peer));
                    self.ask(Ask::forgotten(), Op::Session(first, SessionOp::Delete { token }));
                }
                Departing::Removed | Departing::Quit | Departing::Superseded => {}
            }
        }
        self.returns.forget(peer)
    }

    /// A client has come back on another connection: the peer that it was ends, if it is here, and its session goes to the
    /// peer that it is now.
    pub(super) fn supersede_peer(
        &mut self,
        now: Now,
        (connection, to): (ConnectionId, ConnectionId),
        secret: &str,
        by: &Identity,
        from: Requester,
    ) {
        if let Some(peer) = self.peer_at(connection)
            && self.peer_identity(peer).is_some_and(|own| own.user() == by.user())
        {
            self.replace_peer(now, peer, secret);
        }
        let token = TokenHash(recovery::hash(secret));
        let first = recovery::connection_of(secret).unwrap_or(connection);
        let (op, session) = match self.departed.take(now, token) {
            Some(session) if *session.user == *by.user() => {
                // Where its line's sessions are kept it is known from now on who has it.
                (SessionOp::Save(Box::new(session.passed_to(to, None))), Some(session))
            }
            other => {
                if let Some(session) = other {
                    self.departed.note(now, &session);
                }
                (SessionOp::Transfer { token, by: by.user_name(), from: connection, to }, None)
            }
        };
        let op = Op::Session(first, op);
        match session {
            Some(session) => {
                self.ask(Ask::forgotten(), op);
                let reply = Ok(Reply::Session(Some(Box::new(session))));
                self.post(from.shard, ShardMessage::Reply { ask: from.ask, reply });
            }
            None => self.post(self.keeper_of(&op), ShardMessage::Request { from, op }),
        }
    }

    /// A peer ends because its client has come back, if this is the client's secret.
    fn replace_peer(&mut self, now: Now, peer: u32, secret: &str) {
        let has_session = self.secret_of_peer(peer) == secret;
        if !has_session && !self.returns.claims(peer, secret) {
            return;
        }
        if let Some((_, session)) = self.session_of_peer(now, peer, None).filter(|_| has_session) {
            let is_noted = self.unsaved.contains(&(PEER | peer)) || self.returns.is_under_way(peer);
            if is_noted || !self.returns.has_line(peer) && self.is_own(&session) {
                self.keep_departed_peer(now, peer, is_noted);
            }
        }
        // A client whose attempts to connect overtook each other must try again, which it does when the transport closes, but
        // not when it is told that the server took it out of the namespace.
        let at = self.client_of(PEER | peer);
        if let Some(client) = at.and_then(|at| self.sessions.list.get_mut(at as usize))
            && let Some(known) = self.sessions.peers.get(peer as usize)
        {
            client.namespaces.leave(known.space);
        }
        self.peer_departs(now, peer, Departing::Superseded);
        if let Some(at) = at {
            self.feed(now, at, |session, context| session.close(Reason::Replaced, context));
        }
    }

    /// Closes the session that a peer connects by: its client comes back.
    pub(super) fn close_session_of(&mut self, now: Now, peer: u32) {
        if let Some(at) = self.client_of(PEER | peer) {
            self.close_session(now, at);
        }
        if self.sessions.peers.contains(peer as usize) {
            self.peer_departs(now, peer, Departing::Lost);
        }
    }

    /// Notes how a peer shows itself in a room.
    pub(super) fn note_peer_appearance(&mut self, peer: u32, room: &str, shown: Option<Box<Appearance>>) {
        let Some(place) = self.peer_rooms.place_of(room) else { return };
        match shown {
            Some(shown) if self.recovers() && *shown != Appearance::default() => {
                drop(self.appearances.insert((PEER | peer, place), *shown));
            }
            _ => drop(self.appearances.remove(&(PEER | peer, place))),
        }
    }

    /// Notes that a peer shows other media.
    pub(super) fn note_peer_media(&mut self, now: Now, peer: u32, room: &str, media: MediaState) {
        let Some(place) = self.peer_rooms.place_of(room).filter(|_| self.recovers()) else { return };
        let Some(known) = self.sessions.peers.get(peer as usize) else { return };
        if known.rooms.as_slice().iter().any(|own| own.room == place) {
            self.appearances.entry((PEER | peer, place)).or_default().media = media;
            self.note_peer_session(now, peer);
        }
    }

    /// A peer asks for what it takes to come back.
    ///
    /// # Errors
    /// Nobody can come back.
    pub(super) fn make_token(&mut self, now: Now, peer: u32, to: ReplyTo) -> Result<(), Reject> {
        if !self.recovers() {
            return Err(failed());
        }
        if let Some(known) = self.sessions.peers.get_mut(peer as usize)
            && known.recovery == Recovery::None
        {
            known.recovery = Recovery::Token;
        }
        self.note_peer_session(now, peer);
        let token = self.secret_of_peer(peer);
        let answer = SocketIoAnswer::TokenMade { token: &token, window_ms: self.options.recovery_window_ms };
        self.answer_in_dialect(now, peer, to, &answer);
        Ok(())
    }
}
