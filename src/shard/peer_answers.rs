//! What becomes of the answers to a Socket.IO peer's questions, and of what it alone is told; what [`super::answers`] is
//! for WebSockets that speak `raw`.

use crate::base::Name;
use crate::base::ids::{ConnectionId, PEER};
use crate::base::limits::ASKS_PER_CONNECTION;
use crate::base::time::Now;
use crate::client::outbound::NOBODY;
use crate::client::session::Route;
use crate::dialect::socketio::{self as dialects, Answer, Reference};
use crate::domain::event::{Event, Joined};
use crate::domain::op::{Op, Reply, RoomOp};
use crate::domain::reject::{Code, Reject};
use crate::shard::Shard;
use crate::shard::answers::{Ask, Then};
use crate::shard::recovery::Departing;

impl Shard {
    /// A peer has put a question.
    pub(super) fn count_peer_ask(&mut self, peer: u32) {
        let link = self.sessions.peers.get(peer as usize).map(|peer| peer.link);
        if let Some(at) = link.and_then(|link| self.sessions.named(link)) {
            self.sessions.list[at as usize].asks += 1;
        }
    }

    /// A question of a peer's was answered; where too many were under way, its session may be heard again.
    fn uncount_peer_ask(&mut self, now: Now, peer: u32) {
        let link = self.sessions.peers.get(peer as usize).map(|peer| peer.link);
        let Some(at) = link.and_then(|link| self.sessions.named(link)) else { return };
        let client = &mut self.sessions.list[at as usize];
        client.asks = client.asks.saturating_sub(1);
        if client.asks + 1 != u16::from(ASKS_PER_CONNECTION) {
            return;
        }
        if let Route::Socket(slot) = client.session.route() {
            self.resumed.push(slot);
            self.waiting.look_again(slot);
        }
        let held = std::mem::replace(&mut client.held_post, NOBODY);
        if held != NOBODY {
            self.feed(now, at, |session, context| session.post_read(held, context));
        }
    }

    /// The answer to a peer's question has come.
    pub(super) fn peer_answered(&mut self, now: Now, ask: Ask, reply: Result<Reply, Reject>) {
        let Some(connection) = ask.to else { return };
        let Some(peer) = self.peer_at(connection) else { return self.undo(now, connection, ask.then, reply) };
        self.uncount_peer_ask(now, peer);
        if matches!(ask.then, Then::Joined { .. })
            && let Some(known) = self.sessions.peers.get_mut(peer as usize)
        {
            known.joins = known.joins.saturating_sub(1);
        }
        let to = Reference::parse(ask.request.as_deref().unwrap_or_default());
        match (ask.then, reply) {
            (Then::Attached, reply) => self.peer_attached(now, peer, reply),
            (Then::Inquired(inquiry), reply) => self.inquired(now, peer, &to, *inquiry, reply),
            (_, Err(reject)) => {
                self.stats.refusals += 1;
                self.note_refused(now, PEER | peer, &reject);
                self.answer_in_dialect(now, peer, &to, &Answer::Refused(&reject));
            }
            (Then::Joined { .. }, Ok(Reply::Joined(joined))) => self.peer_joined(now, peer, &to, &joined),
            (Then::Left { room }, Ok(Reply::Left { own })) => {
                if own {
                    self.leave_peer(&room, peer);
                }
                self.answer_in_dialect(now, peer, &to, &Answer::Left(&room));
            }
            (Then::Sent(field, name), Ok(Reply::Sent(sent))) => {
                self.answer_in_dialect(now, peer, &to, &Answer::Sent(&sent, (field, &name)));
            }
            (Then::Found, Ok(Reply::History(history))) => {
                self.answer_in_dialect(now, peer, &to, &Answer::History(&history));
            }
            (Then::Found, Ok(Reply::Marks(marks))) => {
                self.answer_in_dialect(now, peer, &to, &Answer::Receipts(&marks));
            }
            (Then::Refusal, Ok(_)) => self.answer_in_dialect(now, peer, &to, &Answer::Done),
            (Then::Rest(_) | Then::Session | Then::Returned { .. }, Ok(_)) => {}
            (Then::Joined { .. } | Then::Left { .. } | Then::Sent(..) | Then::Found, Ok(_)) => {
                let reject = Reject::new(Code::Internal, "The answer was of another kind than the question");
                self.answer_in_dialect(now, peer, &to, &Answer::Refused(&reject));
            }
        }
    }

    /// A peer's user has it, or not.
    fn peer_attached(&mut self, now: Now, peer: u32, reply: Result<Reply, Reject>) {
        let Err(reject) = reply else {
            if !self.accept_peer(now, peer) {
                self.peer_departs(now, peer, Departing::Goodbye);
            } else {
                self.bulletin.come(PEER | peer);
            }
            return;
        };
        let Some(known) = self.sessions.peers.get_mut(peer as usize) else { return };
        // What was not attached need not be detached.
        known.identity = None;
        let (link, space, is_connected) = (known.link, known.space, known.is_connected);
        if is_connected {
            return self.disconnect_peer(now, peer, Departing::Removed);
        }
        if let Some(at) = self.sessions.named(link) {
            self.note_turned_away(now, at, &reject);
            self.refuse_peer(at, space, &reject);
        }
        self.peer_departs(now, peer, Departing::Removed);
    }

    fn peer_joined(&mut self, now: Now, peer: u32, to: &Reference<'_>, joined: &Joined) {
        self.join_peer(&joined.room, peer);
        self.introduce_peer(peer, &joined.room);
        let ice = match self.peer_identity(peer) {
            Some(identity) => self.options.ice.servers(identity.user(), now),
            None => "[]".to_owned(),
        };
        self.answer_in_dialect(now, peer, to, &Answer::Joined(joined, &ice));
    }

    /// A peer is told something.
    pub(super) fn peer_told(&mut self, now: Now, to: ConnectionId, event: &Event) {
        // What a room's keeper has to say may overtake what the user's keeper has.
        let peer = self.peer_at(to).filter(|peer| self.accept_peer(now, *peer));
        let Some(peer) = peer else {
            if let Event::Joined(joined) = event {
                self.ask(Ask::forgotten(), Op::Room(joined.room.clone(), RoomOp::Vanish { connection: to }));
            }
            return;
        };
        match event {
            Event::Joined(joined) => return self.peer_joined(now, peer, &Reference::default(), joined),
            Event::Left { room, .. } => self.leave_peer(room, peer),
            other if other.room().is_some() => self.settle_for_peer(peer),
            _ => {}
        }
        let Some(known) = self.sessions.peers.get(peer as usize) else { return };
        let dialect = known.dialect;
        if let Some(at) = self.sessions.named(known.link) {
            self.send_to_session(at, |out| dialects::encode(out, dialect, event, now));
        }
    }

    /// The rooms that a peer is in.
    pub(super) fn rooms_of_peer(&self, peer: u32) -> Vec<Name> {
        let rooms = self.sessions.peers.get(peer as usize).map(|peer| peer.rooms.as_slice()).unwrap_or_default();
        rooms.iter().filter_map(|own| self.peer_rooms.name_of(own.room).cloned()).collect()
    }

    /// Whether a peer may be in `room` beside those it is in and those it is about to be in.
    pub(super) fn peer_has_room_for(&self, peer: u32, room: &str) -> bool {
        let max = self.options.rooms_per_connection;
        let Some(known) = self.sessions.peers.get(peer as usize) else { return false };
        let rooms = known.rooms.as_slice();
        let is_this = |room_at: u32| self.peer_rooms.name_of(room_at).is_some_and(|name| **name == *room);
        max == 0 || rooms.len() + usize::from(known.joins) < max || rooms.iter().any(|own| is_this(own.room))
    }

    /// A peer has asked to join a room.
    pub(super) fn count_peer_join(&mut self, key: u32) {
        if let Some(known) = self.sessions.peers.get_mut((key & !PEER) as usize) {
            known.joins += 1;
        }
    }
}
