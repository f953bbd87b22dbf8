//! What is noted of Socket.IO peers so that their clients may come back ([`super::peer_recovery`]), and the requests by which
//! `colon` asks for that itself.

use crate::base::Name;
use crate::base::ids::{ConnectionId, PEER};
use crate::base::time::Now;
use crate::client::peer::{PeerMembership, Recovery};
use crate::client::session::Reason;
use crate::codec::recovery;
use crate::dialect::socketio::{Answer, Reference};
use crate::domain::access::Identity;
use crate::domain::command::MediaState;
use crate::domain::op::Op;
use crate::domain::record::{Position, Session, TokenHash};
use crate::domain::recovery::SessionOp;
use crate::domain::reject::Reject;
use crate::shard::Shard;
use crate::shard::answers::Ask;
use crate::shard::recovery::{Appearance, Departing, failed};

impl Shard {
    /// Has a peer's session noted soon, if it has one.
    pub(super) fn note_peer_session(&mut self, now: Now, peer: u32) {
        if self.sessions.peers.get(peer as usize).is_some_and(|known| known.recovery != Recovery::None) {
            self.note_session(now, PEER | peer);
        }
    }

    /// Notes a peer's session; `expires_at` (milliseconds since 1970) when the peer has gone.
    pub(super) fn keep_peer_session(&mut self, now: Now, peer: u32, expires_at: Option<u64>) {
        let Some(known) = self.sessions.peers.get(peer as usize) else { return };
        let Some(identity) = &known.identity else { return };
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
            user: identity.user_name(),
            connection,
            connected_at: came_at.unwrap_or(now.wall),
            active_at: now.wall,
            expires_at,
            dialect: known.dialect.number(),
            rooms: rooms.chain(self.returns.awaited(peer).iter().cloned()).collect(),
        };
        let first = recovery::connection_of(&secret).unwrap_or(connection);
        self.ask(Ask::forgotten(), Op::Session(first, SessionOp::Keep(Box::new(session))));
    }

    /// A peer goes: notes what its client may come back with. The rooms that it was on its way back into.
    pub(super) fn note_peer_departure(&mut self, now: Now, peer: u32, departing: Departing) -> Vec<Name> {
        self.unsaved.remove(&(PEER | peer));
        let known = self.sessions.peers.get(peer as usize);
        let is_noted = known.is_some_and(|known| known.recovery != Recovery::None && known.is_connected);
        if is_noted || self.returns.has_session(peer) {
            match departing {
                Departing::Lost | Departing::Goodbye | Departing::Left => {
                    self.keep_peer_session(now, peer, Some(now.wall + self.options.recovery_window_ms));
                }
                Departing::Removed | Departing::Quit => {
                    let secret = self.secret_of_peer(peer);
                    let token = TokenHash(recovery::hash(&secret));
                    let first = recovery::connection_of(&secret).unwrap_or_else(|| self.id_of(PEER | peer));
                    self.ask(Ask::forgotten(), Op::Session(first, SessionOp::Drop { token }));
                }
                Departing::Superseded => {}
            }
        }
        self.returns.forget(peer)
    }

    /// A client has come back on another connection: the peer that it was ends, if it is here.
    pub(super) fn supersede_peer(&mut self, now: Now, connection: ConnectionId, token: &str, by: &Identity) {
        let Some(peer) = self.peer_at(connection) else { return };
        let is_theirs = self.peer_identity(peer).is_some_and(|own| own.user() == by.user());
        let has_session = self.secret_of_peer(peer) == token;
        if !is_theirs || !has_session && !self.returns.claims(peer, token) {
            return;
        }
        if has_session && (self.unsaved.contains(&(PEER | peer)) || self.returns.is_under_way(peer)) {
            self.keep_peer_session(now, peer, Some(now.wall + self.options.recovery_window_ms));
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
    pub(super) fn make_token(&mut self, now: Now, peer: u32, to: &Reference<'_>) -> Result<(), Reject> {
        if !self.recovers() {
            return Err(failed());
        }
        if let Some(known) = self.sessions.peers.get_mut(peer as usize)
            && known.recovery == Recovery::None
        {
            known.recovery = Recovery::Token;
        }
        self.keep_peer_session(now, peer, None);
        let token = self.secret_of_peer(peer);
        let answer = Answer::TokenMade { token: &token, window_ms: self.options.recovery_window_ms };
        self.answer_in_dialect(now, peer, to, &answer);
        Ok(())
    }
}
