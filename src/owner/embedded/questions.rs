//! What only the store knows: older messages, their receipts, users who are not here, messages that wait for somebody.

use std::sync::Arc;

use uuid::Uuid;

use crate::base::Name;
use crate::base::ids::ConnectionId;
use crate::base::limits;
use crate::base::time::Now;
use crate::domain::access::{Identity, Roles};
use crate::domain::command::ReceiptKind;
use crate::domain::event::{Content, Event, Message};
use crate::domain::history::{History, HistoryRange, Marks, PAGE_MAX};
use crate::domain::op::{AddressedEvent, OpContext, PresenceView, Reply, RoomOp};
use crate::domain::recovery::Returning;
use crate::domain::reject::{Code, Reject};
use crate::domain::user::user_not_found;
use crate::message::storage::{
    MessagePage, MessageSpan, MessageView, PAGE_MESSAGES, StorageQuery, StorageReply, StoredUser, Unavailable,
};
use crate::message::{Outgoing, Requester, ShardMessage};
use crate::owner::embedded::EmbeddedOwner;
use crate::owner::embedded::commit_barrier::Held;
use crate::owner::embedded::rooms::Outcome;

/// A question to the store, and what its answer is for.
pub(super) enum Question {
    /// Older messages of a room, up to the last one that members knew of by then.
    History { to: Requester, room: Name, last: u64, wanted: HistoryRange },
    /// Which number a message of a room has that somebody knows.
    Sync { to: Requester, room: Name, limit: usize },
    /// Who received and read a message.
    Marks { to: Requester, room: Name, message: Uuid },
    /// Which room a message is of.
    RoomOf { to: Requester },
    /// Whose message it is that somebody received or read.
    Receipt { to: Requester, room: Name, connection: ConnectionId, message: Uuid, kind: ReceiptKind },
    /// What a client has missed that comes back.
    Missed(Box<Missed>),
    /// Whether a user is known that is not here.
    Known { to: Requester, user: Name, by: Identity, content: Content },
    /// How a user was who is not here.
    Seen { to: Requester },
    /// What waits for a user who has come.
    Directs { user: Name, arrival: Option<ConnectionId> },
}

/// A client on its way back into a room, while the store is asked for what it has missed.
pub(super) struct Missed {
    to: Requester,
    room: Name,
    back: Box<Returning>,
    /// What was found.
    messages: Vec<Message>,
    /// The last message that is asked for.
    until: u64,
    /// What was sent since.
    since: Vec<Arc<Message>>,
    /// The client is gone again.
    is_over: bool,
}

impl EmbeddedOwner {
    /// Puts a question to the store.
    pub(super) fn question(&mut self, question: Question, query: StorageQuery) {
        let number = self.questions.insert(question) as u32;
        self.gate.ask(number, query);
    }

    pub(super) fn history(
        &mut self,
        now: Now,
        place: u32,
        connection: ConnectionId,
        wanted: HistoryRange,
        to: Requester,
    ) -> Outcome {
        let Some(room) = self.rooms.at(place) else { return Err(Reject::room_not_found()) };
        let context = context!(self, now);
        if let Some(reply) = room.history(connection, &context)? {
            return Ok(Some(reply));
        }
        let (room, last) = (room.id.clone(), room.committed());
        let span = wanted
            .after
            .map_or(MessageSpan::Before(last + 1), |after| MessageSpan::Between(after.saturating_add(1), last));
        let query = StorageQuery::Page { room: room.clone(), span, limit: wanted.limit.min(PAGE_MAX) };
        self.question(Question::History { to, room, last, wanted }, query);
        Ok(None)
    }

    /// What was sent after a message that the client knows. Of the last ones the room knows the number, of others the
    /// store does.
    pub(super) fn sync(
        &mut self,
        now: Now,
        place: u32,
        connection: ConnectionId,
        (after, limit): (Uuid, usize),
        to: Requester,
    ) -> Outcome {
        let Some(room) = self.rooms.at(place) else { return Err(Reject::room_not_found()) };
        room.user_of(connection)?;
        if let Some(seq) = room.seq_of(after) {
            return self.history(now, place, connection, HistoryRange { after: Some(seq), limit }, to);
        }
        let context = context!(self, now);
        if !room.is_kept(&context) {
            return Err(Reject::message_not_found());
        }
        let room = room.id.clone();
        self.question(Question::Sync { to, room, limit }, StorageQuery::Message { id: after });
        Ok(None)
    }

    /// The number is known that a message has, or there is no such message.
    fn sync_found(
        &mut self,
        to: Requester,
        room: Name,
        limit: usize,
        answer: Result<StorageReply, Unavailable>,
    ) -> Outcome {
        let after = found_message(answer, &room)?.message.seq;
        let last = self.rooms.get(&room).ok_or_else(Reject::room_not_found)?.committed();
        let span = MessageSpan::Between(after.unwrap_or_default() + 1, last);
        let query = StorageQuery::Page { room: room.clone(), span, limit: limit.min(PAGE_MAX) };
        self.question(Question::History { to, room, last, wanted: HistoryRange { after, limit } }, query);
        Ok(None)
    }

    /// Looks up which room a message is of.
    pub(super) fn room_of(&mut self, message: Uuid, to: Requester) -> Outcome {
        if !self.rules.has_store {
            return Err(Reject::message_not_found());
        }
        self.question(Question::RoomOf { to }, StorageQuery::Message { id: message });
        Ok(None)
    }

    pub(super) fn marks(
        &mut self,
        now: Now,
        place: u32,
        connection: ConnectionId,
        message: Uuid,
        to: Requester,
    ) -> Outcome {
        let Some(room) = self.rooms.at(place) else { return Err(Reject::room_not_found()) };
        room.user_of(connection)?;
        let context = context!(self, now);
        if !room.is_kept(&context) {
            return Err(Reject::message_not_found());
        }
        let room = room.id.clone();
        self.question(Question::Marks { to, room, message }, StorageQuery::Message { id: message });
        Ok(None)
    }

    /// Somebody received or read a message. Of the last ones the room knows the sender, of others the store does.
    #[expect(clippy::too_many_arguments, reason = "the parts of one request")]
    pub(super) fn receipt(
        &mut self,
        now: Now,
        place: u32,
        connection: ConnectionId,
        message: Uuid,
        kind: ReceiptKind,
        to: Requester,
        out: &mut Vec<Outgoing>,
    ) -> Outcome {
        let Some(room) = self.rooms.at(place) else { return Err(Reject::room_not_found()) };
        let context = context!(self, now);
        let is_kept = room.is_kept(&context);
        match self.act(now, place, RoomOp::MarkMessage { connection, message, kind }, to, out) {
            Err(reject) if reject.code == Code::MessageNotFound && is_kept => {
                let Some(room) = self.rooms.at(place).map(|room| room.id.clone()) else { return Err(reject) };
                let question = Question::Receipt { to, room, connection, message, kind };
                self.question(question, StorageQuery::Message { id: message });
                Ok(None)
            }
            outcome => outcome,
        }
    }

    /// A client comes back to a room; what it missed is looked up first, so that it is a member from the moment it has
    /// everything.
    pub(super) fn come_back(
        &mut self,
        now: Now,
        place: u32,
        back: Box<Returning>,
        to: Requester,
        out: &mut Vec<Outgoing>,
    ) -> Outcome {
        let Some(room) = self.rooms.at(place) else { return Err(Reject::room_not_found()) };
        let context = context!(self, now);
        let until = room.committed();
        let is_hopeless =
            *room.epoch() != back.epoch || back.seq > until || until - back.seq > limits::MISSED_MESSAGES as u64;
        if is_hopeless || back.seq == until || !room.is_kept(&context) {
            return self.act(now, place, RoomOp::Rejoin(back), to, out);
        }
        let room = room.id.clone();
        let query = StorageQuery::Page {
            room: room.clone(),
            span: MessageSpan::Between(back.seq + 1, until),
            limit: PAGE_MESSAGES,
        };
        *self.missing.entry(room.clone()).or_insert(0) += 1;
        let missed = Missed { to, room, back, messages: Vec::new(), until, since: Vec::new(), is_over: false };
        self.question(Question::Missed(Box::new(missed)), query);
        Ok(None)
    }

    /// A connection is gone: if its client is on the way back into the room, it must not take a place there that another
    /// connection of it may have by then.
    pub(super) fn stop_returning(&mut self, room: &Name, connection: ConnectionId) {
        if !self.missing.contains_key(room) {
            return;
        }
        for (_, question) in &mut self.questions {
            match question {
                Question::Missed(missed) if missed.room == *room && missed.back.join.connection == connection => {
                    missed.is_over = true;
                }
                _ => {}
            }
        }
    }

    /// Adds a message that is told now to what those miss who are on their way back.
    pub(super) fn note_missed(&mut self, room: &Name, events: &[AddressedEvent]) {
        if !self.missing.contains_key(room) {
            return;
        }
        let messages = events.iter().filter_map(|fact| match &fact.event {
            Event::Message(message) => Some(message),
            _ => None,
        });
        for message in messages {
            for (_, question) in &mut self.questions {
                match question {
                    Question::Missed(missed) if missed.room == *room => missed.since.push(message.clone()),
                    _ => {}
                }
            }
        }
    }

    /// The store has answered.
    pub(super) fn store_answered(
        &mut self,
        now: Now,
        number: u32,
        answer: Result<StorageReply, Unavailable>,
        out: &mut Vec<Outgoing>,
    ) {
        let Some(question) = self.questions.try_remove(number as usize) else { return };
        match question {
            Question::History { to, room, last, wanted } => {
                let reply = self.history_found(&room, last, wanted, answer);
                self.answer(to, reply, out);
            }
            Question::Sync { to, room, limit } => {
                if let Some(reply) = self.sync_found(to, room, limit, answer).transpose() {
                    self.answer(to, reply, out);
                }
            }
            Question::Marks { to, room, message } => {
                let reply = found_message(answer, &room).map(|view| marks(room, message, view));
                self.answer(to, reply, out);
            }
            Question::RoomOf { to } => {
                let reply = match answer {
                    Ok(StorageReply::Message(Some(view))) => Ok(Reply::RoomOf(view.message.room)),
                    Ok(_) => Err(Reject::message_not_found()),
                    Err(Unavailable) => Err(Reject::storage_unavailable()),
                };
                self.answer(to, reply, out);
            }
            Question::Receipt { to, room, connection, message, kind } => {
                let sender = found_message(answer, &room).map(|view| view.message.sender);
                let outcome =
                    sender.and_then(|sender| self.receipt_of(now, &room, connection, (sender, message, kind), to, out));
                if let Some(reply) = outcome.transpose() {
                    self.answer(to, reply, out);
                }
            }
            Question::Missed(missed) => self.missed_found(now, missed, answer, out),
            Question::Known { to, user, by, content } => match answer {
                Ok(StorageReply::User(Some(_))) => self.keep_direct(now, user, by, content, to),
                // They have come while the store was asked.
                Ok(_) if self.users.contains(&user) => self.keep_direct(now, user, by, content, to),
                Ok(_) => self.answer(to, Err(user_not_found()), out),
                Err(Unavailable) => self.answer(to, Err(Reject::storage_unavailable()), out),
            },
            Question::Seen { to } => {
                let reply = match answer {
                    Ok(StorageReply::User(Some(user))) => Ok(Reply::Presence(seen(*user))),
                    Ok(_) => Err(user_not_found()),
                    Err(Unavailable) => Err(Reject::storage_unavailable()),
                };
                self.answer(to, reply, out);
            }
            Question::Directs { user, arrival } => self.directs_found(now, user, arrival, answer, out),
        }
    }

    fn history_found(
        &self,
        room: &Name,
        last: u64,
        wanted: HistoryRange,
        answer: Result<StorageReply, Unavailable>,
    ) -> Result<Reply, Reject> {
        let Some(known) = self.rooms.get(room) else { return Err(Reject::room_not_found()) };
        // What was sent since is not among these messages, which may be called complete.
        let (epoch, seq) = (known.epoch().clone(), last);
        let page = match answer {
            Ok(StorageReply::Page(page)) => page.filter(|page| page.epoch == epoch),
            _ => return Err(Reject::storage_unavailable()),
        };
        let nothing = || MessagePage { epoch: epoch.clone(), first: 1, last: 0, messages: Vec::new(), complete: false };
        let page = page.unwrap_or_else(nothing);
        let from = wanted.after.map_or(1, |after| after.saturating_add(1));
        let complete = page.complete && page.first <= from;
        let (room, messages, is_upward) = (room.clone(), page.messages, wanted.after.is_some());
        Ok(Reply::History(Box::new(History { room, epoch, seq, messages, complete, is_upward })))
    }

    /// As [`crate::domain::room::Room::receipt`], where the store had to be asked for the sender.
    fn receipt_of(
        &mut self,
        now: Now,
        room: &Name,
        connection: ConnectionId,
        (sender, message, kind): (Identity, Uuid, ReceiptKind),
        to: Requester,
        out: &mut Vec<Outgoing>,
    ) -> Outcome {
        let place = self.rooms.find(room).ok_or_else(Reject::room_not_found)?;
        let Some(room) = self.rooms.at_mut(place) else { return Err(Reject::room_not_found()) };
        let by = room.user_of(connection)?;
        let mut context = context!(self, now);
        room.mark(&sender, message, by, kind, &mut context);
        self.tell_or_hold(now, place, Ok(Reply::Done), to, out, false)
    }

    /// Some of what a client has missed is here. When it is all there, the client is back.
    fn missed_found(
        &mut self,
        now: Now,
        mut missed: Box<Missed>,
        answer: Result<StorageReply, Unavailable>,
        out: &mut Vec<Outgoing>,
    ) {
        let next = missed.messages.last().and_then(|last| last.seq).unwrap_or(missed.back.seq) + 1;
        if let Ok(StorageReply::Page(Some(page))) = answer
            && !missed.is_over
            && page.epoch == missed.back.epoch
            && page.first <= next
            && !page.messages.is_empty()
        {
            missed.messages.extend(page.messages);
            let last = missed.messages.last().and_then(|last| last.seq).unwrap_or_default();
            let bytes: usize = missed.messages.iter().map(|message| message.content.bytes()).sum();
            if last < missed.until && bytes <= limits::MISSED_BYTES {
                let span = MessageSpan::Between(last + 1, missed.until);
                let query = StorageQuery::Page { room: missed.room.clone(), span, limit: PAGE_MESSAGES };
                return self.question(Question::Missed(missed), query);
            }
        }
        if let Some(count) = self.missing.get_mut(&missed.room) {
            *count -= 1;
            if *count == 0 {
                self.missing.remove(&missed.room);
            }
        }
        let Missed { to, room, back, mut messages, until, since, is_over } = *missed;
        messages.extend(since.into_iter().map(Arc::unwrap_or_clone).filter(|message| message.seq > Some(until)));
        let from = back.seq;
        let op = RoomOp::Rejoin(back);
        self.tell_departures(now, &room, &op, out);
        // The answer goes before the facts it caused.
        let answer_at = out.len();
        let outcome = match self.rooms.find(&room) {
            _ if is_over => Err(Reject::not_in_room()),
            Some(place) => self.act(now, place, op, to, out),
            None => Err(Reject::room_not_found()),
        };
        let reply = outcome.map(|reply| match reply {
            Some(Reply::Returned(mut returned)) => {
                let is_whole = messages.len() as u64 == returned.joined.seq - from.min(returned.joined.seq);
                if is_whole {
                    (returned.recovered, returned.messages) = (true, messages);
                }
                Reply::Returned(returned)
            }
            other => other.unwrap_or(Reply::Done),
        });
        out.insert(answer_at, (to.shard, ShardMessage::Reply { ask: to.ask, reply }));
    }

    /// Looks up how a user was who is not here.
    pub(super) fn look_up(&mut self, user: Name, to: Requester) {
        if self.gate.is_busy() {
            self.gate.hold([], Held::Look { to, user });
        } else {
            self.question_seen(user, to);
        }
    }

    /// Asks how a user was.
    pub(super) fn question_seen(&mut self, user: Name, to: Requester) {
        self.question(Question::Seen { to }, StorageQuery::User { user });
    }
}

/// The message that was asked for, if it is one of this room.
fn found_message(answer: Result<StorageReply, Unavailable>, room: &Name) -> Result<MessageView, Reject> {
    match answer {
        Ok(StorageReply::Message(Some(view))) if view.message.room == *room => Ok(*view),
        Ok(_) => Err(Reject::message_not_found()),
        Err(Unavailable) => Err(Reject::storage_unavailable()),
    }
}

/// A user who is not here is offline, whatever they said last.
fn seen(user: StoredUser) -> PresenceView {
    let identity = Identity::new(&user.user, user.username.as_deref(), user.email.as_deref(), Roles::default());
    let nobody = PresenceView::nobody(user.user);
    PresenceView { last_seen: Some(user.seen_at), identity: Some(identity), ..nobody }
}

fn marks(room: Name, message: Uuid, view: MessageView) -> Reply {
    let MessageView { delivered, read, complete, .. } = view;
    Reply::Marks(Box::new(Marks { room, message, delivered, read, complete }))
}
