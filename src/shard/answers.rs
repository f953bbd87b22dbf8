//! Questions under way, and what becomes of their answers.

use std::sync::Arc;

use crate::base::Name;
use crate::base::ids::ConnectionId;
use crate::base::limits;
use crate::base::time::Now;
use crate::codec::ws;
use crate::connection::conn::HandshakeState;
use crate::dialect::raw;
use crate::domain::command::MediaState;
use crate::domain::event::{Content, Direct, Event, Joined};
use crate::domain::history::History;
use crate::domain::op::{Op, Reply, RoomOp};
use crate::domain::reject::{Code, Reject};
use crate::message::ShardMessage;
use crate::shard::Shard;
use crate::shard::inquiries::Inquiry;
use crate::shard::online::Census;
use crate::shard::recovery::Appearance;
use crate::shard::requests::RestAsk;
use crate::shard::watching::is_failure;

/// A question whose answer is awaited.
pub(super) struct Ask {
    /// Whom the answer is for; nobody when it is of no interest.
    pub(super) to: Option<ConnectionId>,
    /// The `requestId`, as JSON.
    pub(super) request: Option<Box<str>>,
    /// What the answer is for.
    pub(super) then: Then,
}

/// What an answer is for.
pub(super) enum Then {
    /// Only a refusal is told.
    Refusal,
    /// The connection belongs to its user from now on, or is refused.
    Attached,
    /// The connection becomes a member.
    Joined {
        /// The room.
        room: Name,
        /// How it shows itself there, if not as everybody does.
        shown: Option<Box<Appearance>>,
    },
    /// The session that the connection's client showed a token of is used up.
    Session,
    /// The session that a peer's client showed the secret of is the peer's.
    Claimed {
        /// The secret.
        secret: Box<str>,
        /// The connection that was thought to have it.
        former: ConnectionId,
    },
    /// The connection's client is back in a room.
    Returned {
        /// The room.
        room: Name,
        /// How it showed itself there.
        shown: Box<Appearance>,
    },
    /// The connection shows other media in a room; only a refusal is told.
    Media {
        /// The room.
        room: Name,
        /// Which.
        media: MediaState,
    },
    /// The messages, or the receipts, that were asked for.
    Found,
    /// The connection's own membership, or another's, is over.
    Left {
        /// The room.
        room: Name,
    },
    /// The sender gets a receipt that names, by field, where the message went.
    Sent(&'static str, Name),
    /// The sender gets a receipt that repeats what the message says, and to which room.
    Repeated(Name, Box<Content>),
    /// An HTTP request is answered.
    Rest(Box<RestAsk>),
    /// A peer's own question is answered.
    Inquired(Box<Inquiry>),
    /// It is told who is online.
    Counted(Box<Census>),
}

impl Ask {
    /// A question whose answer is of no interest.
    pub(super) fn forgotten() -> Self {
        Self { to: None, request: None, then: Then::Refusal }
    }
}

impl Shard {
    /// The answer to one of this shard's questions has come.
    pub(super) fn answered(&mut self, now: Now, number: u32, reply: Result<Reply, Reject>) {
        let Some(ask) = self.asks.get_mut(number as usize) else { return };
        let reply = match &mut ask.then {
            Then::Rest(rest) => match rest.take_part(reply) {
                Some(reply) => reply,
                None => return,
            },
            Then::Inquired(inquiry) => match inquiry.take_part(reply) {
                Some(reply) => reply,
                None => return,
            },
            Then::Counted(census) => match census.take_part(reply) {
                true => Ok(Reply::Done),
                false => return,
            },
            _ => reply,
        };
        let ask = self.asks.remove(number as usize);
        if let Then::Counted(census) = ask.then {
            return self.users_counted(now, *census);
        }
        if ask.to.is_some() {
            let is_failure = reply.as_ref().is_err_and(is_failure);
            self.watching.answered(is_failure, now);
        }
        if ask.to.is_some_and(|id| id.is_peer()) {
            return self.peer_answered(now, ask, reply);
        }
        let slot = ask.to.and_then(|id| self.slot_of(id));
        if let Some(slot) = slot {
            let conn = &mut self.conns[slot as usize];
            conn.asks -= 1;
            conn.joins -= u8::from(matches!(ask.then, Then::Joined { .. }));
            if conn.asks + 1 == limits::ASKS_PER_CONNECTION {
                self.resumed.push(slot);
                self.waiting.look_again(slot);
            }
        }
        if let Then::Rest(rest) = ask.then {
            return self.rest_answered(now, slot, *rest, reply);
        }
        let slot = slot.filter(|slot| self.conns[*slot as usize].is_listening());
        match (slot, ask.to) {
            (Some(slot), _) => self.answer_peer(now, slot, ask.request.as_deref(), ask.then, reply),
            (None, Some(connection)) => self.undo(now, connection, ask.then, reply),
            (None, None) => {}
        }
    }

    fn answer_peer(&mut self, now: Now, slot: u32, request: Option<&str>, then: Then, reply: Result<Reply, Reject>) {
        match (then, reply) {
            (Then::Session, reply) => self.session_taken(now, slot, reply),
            (Then::Returned { room, shown }, reply) => self.came_back(now, slot, (room, shown), reply),
            (Then::Attached, Err(reject)) => {
                self.greet(now, slot);
                self.refuse(now, slot, request, &reject);
                let (reason, code) = match reject.code {
                    Code::StorageUnavailable => ("unavailable", 1013),
                    _ => ("too-many-connections", 1008),
                };
                self.disconnect(now, slot, reason, code);
            }
            (_, Err(reject)) => self.refuse(now, slot, request, &reject),
            (Then::Joined { shown, .. }, Ok(Reply::Joined(joined))) => {
                self.become_member(now, slot, request, &joined);
                self.note_appearance(slot, &joined.room, shown);
            }
            (Then::Left { room }, Ok(Reply::Left { own })) => {
                if own {
                    self.quit(now, slot, &room);
                }
                self.send_raw(slot, |out| raw::left(out, &room, request, now));
            }
            (Then::Sent(field, name), Ok(Reply::Sent(sent))) => {
                self.send_raw(slot, |out| raw::sent(out, &sent, (field, &name), request));
            }
            (Then::Found, Ok(Reply::History(history))) => self.tell_history(now, slot, request, *history),
            (Then::Found, Ok(Reply::Marks(marks))) => {
                self.send_raw(slot, |out| raw::receipts(out, &marks, request, now));
            }
            (Then::Attached, Ok(reply)) => {
                if let Reply::Claimed(device) = reply {
                    self.arrivals.equip(slot, Some(device));
                }
                self.greet(now, slot);
                self.conns[slot as usize].standing = HandshakeState::Attached;
                self.note_arrival(now, slot);
                self.bulletin.come(slot);
            }
            (Then::Media { room, media }, Ok(_)) => self.note_media(now, slot, &room, media),
            (Then::Refusal | Then::Rest(_) | Then::Inquired(_) | Then::Counted(_) | Then::Claimed { .. }, Ok(_)) => {}
            (Then::Joined { .. } | Then::Left { .. } | Then::Sent(..) | Then::Repeated(..) | Then::Found, Ok(_)) => {
                let reject = Reject::new(Code::Internal, "The answer was of another kind than the question");
                self.refuse(now, slot, request, &reject);
            }
        }
    }

    /// Bytes that one answer may have, so that whoever reads slowly can take it all the same.
    pub(super) fn answer_bytes(&self) -> usize {
        self.options.outbound_bytes / 2
    }

    /// Sends the messages that were asked for, or as many of them as fit.
    fn tell_history(&mut self, now: Now, slot: u32, request: Option<&str>, mut history: History) {
        let mut text = Vec::new();
        loop {
            raw::history(&mut text, &history, request, now);
            if text.len() <= self.answer_bytes() || !history.halve() {
                break;
            }
            text.clear();
        }
        self.send_raw(slot, |out| out.extend_from_slice(&text));
    }

    /// The asker has gone meanwhile: what it was granted is given back.
    pub(super) fn undo(&mut self, now: Now, connection: ConnectionId, then: Then, reply: Result<Reply, Reject>) {
        match (then, reply) {
            (Then::Joined { room, .. }, Ok(_)) => {
                self.ask(Ask::forgotten(), Op::Room(room, RoomOp::RemoveMember { connection }));
            }
            (Then::Session, Ok(Reply::Session(Some(session)))) => self.inherit(now, connection, *session),
            (Then::Claimed { secret, former }, Ok(Reply::Session(Some(session)))) if session.connection == former => {
                self.leave_claimed(now, connection, &secret, &session);
            }
            // The rooms it was on its way back into have heard that it is gone.
            _ => {}
        }
    }

    fn become_member(&mut self, now: Now, slot: u32, request: Option<&str>, joined: &Joined) {
        self.fanout.join(joined, slot, &mut self.conns, &mut self.outbound);
        self.note_session(now, slot);
        let ice = match &self.conns[slot as usize].identity {
            Some(identity) => self.options.ice.servers(identity.user(), now),
            None => "[]".to_owned(),
        };
        self.send_raw(slot, |out| raw::joined(out, joined, &ice, request, now));
        self.introduce(slot, &joined.room);
    }

    /// A membership of a connection is over.
    fn quit(&mut self, now: Now, slot: u32, room: &str) {
        self.note_appearance(slot, room, None);
        self.fanout.leave(room, slot, &mut self.conns, &mut self.outbound);
        self.note_session(now, slot);
    }

    /// A message that is kept for a user is handed to one of their connections.
    pub(super) fn hand(&mut self, now: Now, to: ConnectionId, user: Name, direct: Arc<Direct>) {
        let is_here = match to.is_peer() {
            true => self.peer_at(to).is_some(),
            false => self.slot_of(to).is_some_and(|slot| self.conns[slot as usize].is_listening()),
        };
        if is_here {
            self.handed.push((to, user, direct.id));
            self.told(now, to, Event::Direct(direct));
        }
    }

    /// Confirms what was handed over to connections whose sockets have taken it, so that it need be kept no longer. Of a
    /// connection that has ended its user's home hears otherwise.
    pub(super) fn confirm_handed(&mut self) {
        let mut handed = std::mem::take(&mut self.handed);
        handed.retain(|(to, user, id)| {
            if let Some(peer) = self.peer_at(*to) {
                if self.returns.is_under_way(peer) {
                    return true;
                }
                // What waits for a session outlives the connections that carry it.
                self.post(self.placement.of(user), ShardMessage::DurableDelivered { user: user.clone(), id: *id });
                return false;
            }
            let Some(conn) = self.slot_of(*to).map(|slot| &self.conns[slot as usize]) else { return false };
            if conn.is_listening() && conn.queue.is_empty() {
                self.post(self.placement.of(user), ShardMessage::DurableDelivered { user: user.clone(), id: *id });
                return false;
            }
            conn.is_listening()
        });
        self.handed = handed;
    }

    /// One connection is told something.
    pub(super) fn told(&mut self, now: Now, to: ConnectionId, event: Event) {
        if to.is_peer() {
            return self.peer_told(now, to, &event);
        }
        let slot = self.slot_of(to).filter(|slot| self.conns[*slot as usize].is_listening());
        let Some(slot) = slot else {
            if let Event::Joined(joined) = event {
                self.ask(Ask::forgotten(), Op::Room(joined.room, RoomOp::RemoveMember { connection: to }));
            }
            return;
        };
        // What a room's keeper has to say may overtake what the user's keeper has.
        self.greet(now, slot);
        match &event {
            Event::Joined(joined) => self.become_member(now, slot, None, joined),
            Event::Left { room, .. } => {
                self.quit(now, slot, room);
                self.send_raw(slot, |out| raw::encode(out, &event, now));
            }
            other => {
                if other.room().is_some() {
                    self.fanout.settle_for(slot, &mut self.conns, &mut self.outbound);
                }
                self.send_raw(slot, |out| raw::encode(out, &event, now));
            }
        }
    }

    /// Sends one connection a frame whose text `write` writes.
    pub(super) fn send_raw(&mut self, slot: u32, write: impl FnOnce(&mut Vec<u8>)) {
        let segment = self.outbound.encode(|out| {
            let mark = ws::begin_text(out);
            write(out);
            ws::finish(out, mark);
        });
        if let Some(conn) = self.conns.get_mut(slot as usize) {
            self.outbound.push(slot, &mut conn.queue, segment);
        }
    }

    /// Tells one connection that its request was not granted.
    pub(super) fn refuse(&mut self, now: Now, slot: u32, request: Option<&str>, reject: &Reject) {
        self.stats.refusals += 1;
        self.note_refused(now, slot, reject);
        self.send_raw(slot, |out| raw::error(out, reject, request, now));
    }
}
