//! What becomes of the answers to a Socket.IO peer's questions, and of what it alone is told; what [`super::answers`] is
//! for WebSockets that speak `raw`.

use crate::base::Name;
use crate::base::ids::{ConnectionId, PEER};
use crate::base::limits::ASKS_PER_CONNECTION;
use crate::base::time::Now;
use crate::connection::outbound::NO_CONNECTION;
use crate::connection::peer::{Recovery, SocketIoPeer};
use crate::connection::session::SessionRoute;
use crate::dialect::offset;
use crate::dialect::socketio::{self as dialects, Dialect, ReplyTo, SocketIoAnswer};
use crate::domain::event::{Content, Event, Joined};
use crate::domain::history::History;
use crate::domain::op::{Op, Reply, RoomOp};
use crate::domain::reject::{Code, Reject};
use crate::shard::Shard;
use crate::shard::answers::{Ask, Then};
use crate::shard::peer_rooms::Standing;
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
        if client.asks + 1 == u16::from(ASKS_PER_CONNECTION) {
            self.hear_on(now, at);
        }
    }

    /// A peer goes while its session goes on: the questions that it has under way are the session's no longer.
    pub(super) fn forget_peer_asks(&mut self, now: Now, peer: u32) {
        let connection = self.id_of(PEER | peer);
        let Some(at) = self.client_of(PEER | peer) else { return };
        let client = &mut self.sessions.list[at as usize];
        if client.asks == 0 || client.session.is_over() {
            return;
        }
        let count = self.asks.iter().filter(|(_, ask)| ask.to == Some(connection)).count();
        let was_busy = client.is_busy();
        client.asks = client.asks.saturating_sub(u16::try_from(count).unwrap_or(u16::MAX));
        if was_busy {
            self.hear_on(now, at);
        }
    }

    /// A question of a peer's waits: its session is not heard for now.
    pub(super) fn halt_peer(&mut self, peer: u32) {
        let link = self.sessions.peers.get(peer as usize).map(|peer| peer.link);
        if let Some(at) = link.and_then(|link| self.sessions.named(link)) {
            self.sessions.list[at as usize].halted += 1;
        }
    }

    /// No question of a peer's waits any more.
    pub(super) fn release_peer(&mut self, now: Now, peer: u32) {
        let link = self.sessions.peers.get(peer as usize).map(|peer| peer.link);
        if let Some(at) = link.and_then(|link| self.sessions.named(link)) {
            let client = &mut self.sessions.list[at as usize];
            client.halted = client.halted.saturating_sub(1);
            self.hear_on(now, at);
        }
    }

    /// A peer whose question waits goes. Its session is heard on when the turn ends.
    pub(super) fn unhalt(&mut self, peer: u32) {
        let link = self.sessions.peers.get(peer as usize).map(|peer| peer.link);
        let Some(at) = link.and_then(|link| self.sessions.named(link)) else { return };
        let client = &mut self.sessions.list[at as usize];
        client.halted = client.halted.saturating_sub(1);
        if let SessionRoute::Socket(slot) = client.session.route() {
            self.resumed.push(slot);
            self.waiting.look_again(slot);
        }
        self.sessions.touch(at);
    }

    /// A session that was not heard is, unless there is another reason not to.
    fn hear_on(&mut self, now: Now, at: u32) {
        let client = &mut self.sessions.list[at as usize];
        if client.is_busy() {
            return;
        }
        if let SessionRoute::Socket(slot) = client.session.route() {
            self.resumed.push(slot);
            self.waiting.look_again(slot);
        }
        let held = std::mem::replace(&mut client.held_post, NO_CONNECTION);
        if held != NO_CONNECTION {
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
        let to = ReplyTo::parse(ask.request.as_deref().unwrap_or_default());
        match (ask.then, reply) {
            (Then::Attached, reply) => self.peer_attached(now, peer, reply),
            (Then::Claimed { .. }, reply) => self.session_claimed(now, peer, reply),
            (Then::Returned { room, shown }, reply) => self.peer_came_back(now, peer, (room, shown), reply),
            (Then::Inquired(inquiry), reply) => self.inquired(now, peer, to, *inquiry, reply),
            (_, Err(reject)) => {
                self.stats.refusals += 1;
                self.note_refused(now, PEER | peer, &reject);
                self.answer_in_dialect(now, peer, to, &SocketIoAnswer::Refused(&reject));
            }
            (Then::Joined { shown, .. }, Ok(Reply::Joined(joined))) => {
                self.peer_joined(now, peer, to, &joined);
                self.note_peer_appearance(peer, &joined.room, shown);
            }
            (Then::Left { room }, Ok(Reply::Left { own })) => {
                if own {
                    self.leave_peer(&room, peer);
                    self.note_peer_session(now, peer);
                }
                self.answer_in_dialect(now, peer, to, &SocketIoAnswer::Left(&room));
            }
            (Then::Sent(_, room), Ok(Reply::Sent(sent))) => {
                self.answer_in_dialect(now, peer, to, &SocketIoAnswer::Sent(&sent, &room, None));
            }
            (Then::Repeated(room, content), Ok(Reply::Sent(sent))) => {
                let sender = self.peer_identity(peer);
                let said = sender.as_ref().map(|sender| (sender, &*content));
                self.answer_in_dialect(now, peer, to, &SocketIoAnswer::Sent(&sent, &room, said));
            }
            (Then::Found, Ok(Reply::History(history))) => {
                self.tell_peer_history(now, peer, to, *history);
            }
            (Then::Found, Ok(Reply::Marks(marks))) => {
                self.answer_in_dialect(now, peer, to, &SocketIoAnswer::Receipts(&marks));
            }
            (Then::Media { room, media }, Ok(_)) => {
                self.note_peer_media(now, peer, &room, media);
                self.answer_in_dialect(now, peer, to, &SocketIoAnswer::Done);
            }
            (Then::Refusal, Ok(_)) => self.answer_in_dialect(now, peer, to, &SocketIoAnswer::Done),
            (Then::Rest(_) | Then::Session | Then::Counted(_), Ok(_)) => {}
            (Then::Joined { .. } | Then::Left { .. } | Then::Sent(..) | Then::Repeated(..) | Then::Found, Ok(_)) => {
                let reject = Reject::new(Code::Internal, "The answer was of another kind than the question");
                self.answer_in_dialect(now, peer, to, &SocketIoAnswer::Refused(&reject));
            }
        }
    }

    /// Sends the messages that were asked for, or as many of them as fit.
    fn tell_peer_history(&mut self, now: Now, peer: u32, to: ReplyTo, mut history: History) {
        let Some(known) = self.sessions.peers.get(peer as usize) else { return };
        let dialect = known.dialect;
        let mut frames = Vec::new();
        loop {
            dialects::answer(&mut frames, dialect, to, &SocketIoAnswer::History(&history), now);
            if frames.len() <= self.answer_bytes() || !history.halve() {
                break;
            }
            frames.clear();
        }
        self.tell_peer(peer, |out| out.extend_from_slice(&frames));
    }

    /// Sends a peer the frames that `write` writes; or holds them while it is on its way back.
    pub(super) fn tell_peer(&mut self, peer: u32, write: impl FnOnce(&mut Vec<u8>)) {
        if self.returns.is_under_way(peer) {
            let mut frames = Vec::new();
            write(&mut frames);
            return self.returns.hold(peer, &frames);
        }
        let Some(known) = self.sessions.peers.get(peer as usize) else { return };
        let Some(at) = self.sessions.named(known.link) else { return };
        let segment = self.outbound.encode(|out| {
            let start = out.len();
            write(out);
            if known.recovery == Recovery::Offsets {
                offset::mend(out, start, |out| self.peer_rooms.append_offset(out, known, None));
            }
        });
        self.deliver(at, segment);
    }

    /// A peer's user has it, or not.
    fn peer_attached(&mut self, now: Now, peer: u32, reply: Result<Reply, Reject>) {
        let Err(reject) = reply else {
            if self.begin_return(now, peer) {
                return;
            }
            if !self.accept_peer(now, peer) {
                self.peer_departs(now, peer, Departing::Goodbye);
            } else {
                self.welcome_peer(now, peer);
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
            self.refuse_peer(now, at, space, &reject);
        }
        self.peer_departs(now, peer, Departing::Removed);
    }

    /// A peer has been told that it is connected: it hears how users are from now on, and may come back.
    pub(super) fn welcome_peer(&mut self, now: Now, peer: u32) {
        self.bulletin.come(PEER | peer);
        self.note_peer_session(now, peer);
        if self.sessions.peers.get(peer as usize).is_some_and(|peer| peer.dialect == Dialect::Colon) {
            self.await_users(now, peer);
        }
    }

    fn peer_joined(&mut self, now: Now, peer: u32, to: ReplyTo, joined: &Joined) {
        let Joined { room, epoch, seq, .. } = joined;
        let standing = Standing { room: room.clone(), epoch: epoch.clone(), seq: *seq };
        self.join_peer(&standing, *seq, peer);
        self.note_peer_session(now, peer);
        self.introduce_peer(peer, &joined.room);
        self.answer_in_dialect(now, peer, to, &SocketIoAnswer::Joined(joined));
    }

    /// A peer is told something.
    pub(super) fn peer_told(&mut self, now: Now, to: ConnectionId, event: &Event) {
        // What a room's keeper has to say may overtake what the user's keeper has.
        let peer = self.peer_at(to).filter(|peer| self.returns.is_under_way(*peer) || self.accept_peer(now, *peer));
        let Some(peer) = peer else {
            if let Event::Joined(joined) = event {
                self.ask(Ask::forgotten(), Op::Room(joined.room.clone(), RoomOp::RemoveMember { connection: to }));
            }
            return;
        };
        match event {
            Event::Joined(joined) => return self.peer_joined(now, peer, ReplyTo::default(), joined),
            Event::Left { room, .. } => {
                self.leave_peer(room, peer);
                self.note_peer_session(now, peer);
            }
            other if other.room().is_some() => self.settle_for_peer(peer),
            _ => {}
        }
        let Some(known) = self.sessions.peers.get(peer as usize) else { return };
        let dialect = known.dialect;
        self.tell_peer(peer, |out| dialects::encode(out, dialect, event, now));
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

    /// Whether joining makes a room that is not there.
    pub(super) fn makes_rooms(&self, slot: u32) -> bool {
        let in_camel = |peer: &SocketIoPeer| self.options.create_on_join_in_camel && peer.dialect == Dialect::Camel;
        let peer = (slot & PEER != 0).then(|| self.sessions.peers.get((slot & !PEER) as usize)).flatten();
        self.options.create_on_join || peer.is_some_and(in_camel)
    }

    /// What the answer to a message to a room is for. In `colon` an ack repeats what the message says.
    pub(super) fn then_sent(&self, slot: u32, request: Option<&str>, room: &Name, content: &Content) -> Then {
        let peer = (slot & PEER != 0).then(|| self.sessions.peers.get((slot & !PEER) as usize)).flatten();
        let wants_all = peer.is_some_and(|peer| peer.dialect == Dialect::Colon)
            && request.is_some_and(|text| ReplyTo::parse(text).ack.is_some());
        if wants_all {
            return Then::Repeated(room.clone(), Box::new(content.clone()));
        }
        Then::Sent("roomId", room.clone())
    }

    /// A peer has asked to join a room.
    pub(super) fn count_peer_join(&mut self, key: u32) {
        if let Some(known) = self.sessions.peers.get_mut((key & !PEER) as usize) {
            known.joins += 1;
        }
    }
}
