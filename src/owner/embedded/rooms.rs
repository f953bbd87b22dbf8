//! The rooms a shard keeps: making them, acting on them, ending them.

use smallvec::SmallVec;

use crate::base::Name;
use crate::base::limits;
use crate::base::time::Now;
use crate::domain::access::Identity;
use crate::domain::op::{
    AddressedEvent, Audience, LogTerms, Op, OpContext, Profile, Reply, RoomOp, RoomsView, SendMessage,
};
use crate::domain::record::Record;
use crate::domain::reject::Reject;
use crate::domain::room::Room;
use crate::message::{Outgoing, Requester};
use crate::owner::embedded::commit_barrier::Held;
use crate::owner::embedded::idempotency::IdempotencyRecord;
use crate::owner::embedded::{Due, EmbeddedOwner, ONLINE_EVERY_MS, STATS_EVERY_MS};

/// What comes of an act: its answer, or `None` when that comes later.
pub(super) type Outcome = Result<Option<Reply>, Reject>;

impl EmbeddedOwner {
    pub(super) fn room_op(
        &mut self,
        now: Now,
        name: Name,
        op: RoomOp,
        to: Requester,
        out: &mut Vec<Outgoing>,
    ) -> Outcome {
        let op = match op {
            RoomOp::Create { by, profile, log } if !self.rooms.contains(&name) => {
                return self.create(now, name, by, profile, log, to);
            }
            op => op,
        };
        let place = match self.rooms.find(&name) {
            Some(place) => place,
            None => self.make(now, &name, &op)?,
        };
        let Some(room) = self.rooms.at_mut(place) else { return Err(Reject::room_not_found()) };
        if room.is_closing && room.members.is_empty() && op.is_arrival() {
            self.gate.hold([], Held::Again { to, room: name, op });
            return Ok(None);
        }
        if room.is_closing
            && !matches!(op, RoomOp::Leave { .. } | RoomOp::RemoveMember { .. } | RoomOp::StartGrace { .. })
        {
            return Err(Reject::room_closed());
        }
        if self.rules.has_store
            && let Some(record) = room.before(&op)?
        {
            self.check_store(now)?;
            let Some(room) = self.rooms.at_mut(place) else { return Err(Reject::room_not_found()) };
            room.is_closing = matches!(op, RoomOp::Close { .. });
            self.gate.hold([record], Held::Act { to, op: Op::Room(name, op) });
            return Ok(None);
        }
        if let RoomOp::StartGrace { connection } | RoomOp::RemoveMember { connection } = op {
            self.stop_returning(&name, connection);
        }
        match op {
            RoomOp::Send(message) if message.to.is_none() => self.send(now, place, *message, to, out),
            RoomOp::ReadHistory { connection, wanted } => self.history(now, place, connection, wanted, to),
            RoomOp::ReadSince { connection, after, limit } => self.sync(now, place, connection, (after, limit), to),
            RoomOp::ReadReceipts { connection, message } => self.marks(now, place, connection, message, to),
            RoomOp::MarkMessage { connection, message, kind } => {
                self.receipt(now, place, connection, message, kind, to, out)
            }
            RoomOp::ListUsers { by, page } => self.roster(place, &by, &page),
            RoomOp::Rejoin(back) => self.come_back(now, place, back, to, out),
            RoomOp::StartGrace { connection } => {
                // Who is lost types no longer, whether or not it returns.
                let stop = RoomOp::SetTyping { connection, is_typing: false };
                let _ = self.act(now, place, stop, to, out);
                self.due_in(now, self.rules.presence_grace_ms, Due::Vanish(name, connection));
                Ok(Some(Reply::Done))
            }
            op => self.act(now, place, op, to, out),
        }
    }

    /// Refuses what needs the store while it takes nothing.
    pub(super) fn check_store(&self, now: Now) -> Result<(), Reject> {
        self.gate.is_open(now).then_some(()).ok_or_else(Reject::storage_unavailable)
    }

    /// Makes a room on purpose, once it is written down.
    fn create(
        &mut self,
        now: Now,
        name: Name,
        by: Identity,
        profile: Box<Profile>,
        log: LogTerms,
        to: Requester,
    ) -> Outcome {
        let mut context = context!(self, now);
        let mut room = Room::new(name.clone(), &by, Some(profile), log, &mut context);
        if !self.rules.has_store {
            return Ok(Some(self.created(now, room)));
        }
        self.check_store(now)?;
        // A name that rests would be written down twice.
        if self.dormant.contains(&name) {
            return Err(Reject::new(crate::domain::reject::Code::Internal, "That room id is in use"));
        }
        let record = Record::RoomMade(Box::new(room.made(&self.rules)));
        room.note_made();
        self.gate.hold([record], Held::Create { to, room: Box::new(room) });
        Ok(None)
    }

    /// A room that was made on purpose is there from now on.
    pub(super) fn created(&mut self, now: Now, room: Room) -> Reply {
        let reply = Reply::Room(Box::new(room.view(0)));
        let place = self.rooms.insert(Box::new(room));
        self.note_due(now, place);
        reply
    }

    /// Makes the room, if `op` is one that makes rooms; its place.
    fn make(&mut self, now: Now, name: &Name, op: &RoomOp) -> Result<u32, Reject> {
        let by = match op {
            RoomOp::Join(join) if join.create => &join.by,
            RoomOp::Rejoin(_) => return self.wake(now, name).ok_or_else(Reject::room_not_found),
            RoomOp::Describe { .. } | RoomOp::Close { .. } | RoomOp::RemoveMember { .. } => {
                return Err(Reject::room_not_found());
            }
            _ if self.closed.iter().any(|(_, closed)| closed == name) => return Err(Reject::room_closed()),
            _ => return Err(Reject::room_not_found()),
        };
        if let Some(place) = self.wake(now, name) {
            return Ok(place);
        }
        let mut context = context!(self, now);
        let room = Room::new(name.clone(), by, None, LogTerms::default(), &mut context);
        Ok(self.rooms.insert(Box::new(room)))
    }

    /// Does one act. What leaves no record is answered and told at once.
    pub(super) fn act(&mut self, now: Now, place: u32, op: RoomOp, to: Requester, out: &mut Vec<Outgoing>) -> Outcome {
        let Some(room) = self.rooms.at_mut(place) else { return Err(Reject::room_not_found()) };
        let mut context = context!(self, now);
        let is_closing = matches!(op, RoomOp::Close { .. });
        let is_departure = op.is_departure();
        let outcome = room.apply(op, &mut context);
        let is_late = is_departure && room.seq() != room.committed() && self.records.is_empty();
        let name = room.id.clone();
        self.note_due(now, place);
        if is_late && outcome.is_ok() {
            // Who stays hears it after what was said before. Who goes hears it at once, and nothing that comes after: it is
            // no member any more, so it would get some of what is said and some not.
            let is_others = |fact: &mut AddressedEvent| !matches!(fact.audience, Audience::Connection(_));
            let events: SmallVec<[AddressedEvent; 1]> = self.events.extract_if(.., is_others).collect();
            self.tell_room_facts(now, place, false, out);
            if !events.is_empty() {
                self.gate.hold([], Held::Late { room: name, events });
            }
            return outcome.map(Some);
        }
        let is_closed = is_closing && outcome.is_ok();
        let outcome = self.tell_or_hold(now, place, outcome, to, out, is_closed);
        if is_closed {
            self.remember_closed(now, place);
        }
        outcome
    }

    /// Somebody comes into a room: whoever has left and whose leaving waits for messages to be kept has left by now, so
    /// that nobody is told of comings and goings in another order than they had.
    pub(super) fn tell_departures(&mut self, now: Now, name: &Name, op: &RoomOp, out: &mut Vec<Outgoing>) {
        let Some(place) = self.rooms.find(name).filter(|_| op.is_arrival()) else { return };
        for events in self.gate.take_late(name) {
            self.events.extend(events);
            self.tell_room_facts(now, place, false, out);
        }
    }

    /// Passes on what an act made known, or holds it until what it left is kept.
    pub(super) fn tell_or_hold(
        &mut self,
        now: Now,
        place: u32,
        outcome: Result<Reply, Reject>,
        to: Requester,
        out: &mut Vec<Outgoing>,
        is_closed: bool,
    ) -> Outcome {
        if self.records.is_empty() {
            self.tell_room_facts(now, place, is_closed, out);
            return outcome.map(Some);
        }
        let (records, events) = (self.records.drain(..), self.events.drain(..).collect());
        let (Some(room), Ok(reply)) = (self.rooms.at(place), outcome) else { return Err(Reject::room_not_found()) };
        let room = room.id.clone();
        self.gate.hold(records, Held::Room { room, to, reply, events, seq: 0, repeat: None });
        Ok(None)
    }

    /// Sends a message to a room's members: at once, or when it is kept.
    fn send(&mut self, now: Now, place: u32, message: SendMessage, to: Requester, out: &mut Vec<Outgoing>) -> Outcome {
        let Some(room) = self.rooms.at_mut(place) else { return Err(Reject::room_not_found()) };
        let sender = room.user_of(message.connection)?;
        let named = message.client_message_id.as_deref();
        let repeat = named.map(|named| self.repeats.key(&room.id, room.epoch(), sender.user(), named));
        if let Some(known) = repeat.and_then(|key| self.repeats.find(key)) {
            let reply = Reply::Sent(known.sent());
            if known.seq <= room.committed() {
                return Ok(Some(reply));
            }
            self.gate.hold([], Held::StorageReply { to, reply });
            return Ok(None);
        }
        let mut context = context!(self, now);
        if room.is_kept(&context) && !self.gate.is_open(now) {
            return Err(Reject::storage_unavailable());
        }
        let outcome = room.apply(RoomOp::Send(Box::new(message)), &mut context);
        let (name, seq) = (room.id.clone(), room.seq());
        if let (Some(key), Ok(Reply::Sent(sent))) = (repeat, &outcome) {
            self.repeats.note(now, key, IdempotencyRecord { id: sent.id, seq, at: sent.at }, 0);
        }
        if self.records.is_empty() {
            self.tell_room_facts(now, place, false, out);
            return outcome.map(Some);
        }
        let (records, events, reply) = (self.records.drain(..), self.events.drain(..).collect(), outcome?);
        self.gate.hold(records, Held::Room { room: name, to, reply, events, seq, repeat });
        Ok(None)
    }

    /// Has a room looked at when there may be something to do about it.
    pub(super) fn note_due(&mut self, now: Now, place: u32) {
        let Some(room) = self.rooms.at_mut(place) else { return };
        if let Some(at) = room.ends_at()
            && !std::mem::replace(&mut room.end_is_due, true)
        {
            self.due.entry(at).or_default().insert(Due::EndRoom(room.id.clone()));
        }
        if let Some(at) = room.typing_due() {
            self.due.entry(at).or_default().insert(Due::EndTyping(room.id.clone()));
        }
        if room.is_uncounted() {
            let next = now.mono - now.mono % STATS_EVERY_MS + STATS_EVERY_MS;
            self.due.entry(next).or_default().insert(Due::TellStats(room.id.clone()));
        }
        if room.is_online_news() {
            let next = now.mono - now.mono % ONLINE_EVERY_MS + ONLINE_EVERY_MS;
            self.due.entry(next).or_default().insert(Due::TellOnline(room.id.clone()));
        }
    }

    /// A room that was closed is no more, and this is remembered for a while.
    fn remember_closed(&mut self, now: Now, place: u32) {
        let Some(name) = self.rooms.at(place).map(|room| room.id.clone()) else { return };
        self.rooms.remove(&name);
        if self.closed.len() == limits::CLOSED_ROOMS {
            self.closed.pop_front();
        }
        self.closed.push_back((now.mono + limits::CLOSED_ROOM_MS, name));
    }

    /// Ends a room that is of no use any more: one with messages rests, one that the store knows is struck off there.
    pub(super) fn end_room(&mut self, now: Now, place: u32) {
        let is_open = self.gate.is_open(now);
        let Some(room) = self.rooms.at_mut(place) else { return };
        let name = room.id.clone();
        let context = context!(self, now);
        let rest = room.rest(&context);
        let is_fresh = rest.as_ref().is_some_and(|rest| {
            let age = now.wall.saturating_sub(rest.last_at);
            self.rules.keep_ms == 0 || age < self.rules.keep_ms
        });
        match rest {
            Some(rest) if is_fresh => {
                self.rooms.remove(&name);
                self.put_to_rest(now, rest);
            }
            _ if !room.is_made() => drop(self.rooms.remove(&name)),
            _ if !is_open => self.due_in(now, limits::JOINED_ROOM_IDLE_MS, Due::EndRoom(name)),
            _ => {
                room.is_closing = true;
                let record = Record::RoomClosed { room: name.clone() };
                self.gate.hold([record], Held::End { room: name });
            }
        }
    }

    pub(super) fn list(&self) -> Reply {
        Reply::Rooms(RoomsView {
            total_rooms: self.rooms.len(),
            total_peers: self.rooms.iter().map(|room| room.members.len()).sum(),
            connections: self.users.iter().map(|user| user.connections.len()).sum(),
            rooms: self.rooms.iter().take(limits::ROOMS_LISTED).map(|room| room.view(0)).collect(),
        })
    }
}
