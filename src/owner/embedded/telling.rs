//! Passing on what acts made known: at once, or when the store has kept what they left.

use std::sync::Arc;

use smallvec::SmallVec;

use crate::base::Name;
use crate::base::limits;
use crate::base::time::Now;
use crate::dialect::encoded_event::EncodedEvent;
use crate::domain::op::{AddressedEvent, Audience, Op, Reply, RoomOp, Sent, UserOp};
use crate::domain::record::Session;
use crate::domain::reject::Reject;
use crate::message::storage::{CommitOutcome, CommitReceipt};
use crate::message::{Outgoing, Requester, ShardMessage};
use crate::owner::embedded::commit_barrier::{Held, ReleasedEffects};
use crate::owner::embedded::{Due, EmbeddedOwner};

impl EmbeddedOwner {
    /// Answers a question.
    pub(super) fn answer(&self, to: Requester, reply: Result<Reply, Reject>, out: &mut Vec<Outgoing>) {
        out.push((to.shard, ShardMessage::Reply { ask: to.ask, reply }));
    }

    /// Passes on what a room's act made known. A fact for the members is encoded once and goes to each shard that holds
    /// one of them.
    pub(super) fn tell_room_facts(&mut self, now: Now, place: u32, is_closed: bool, out: &mut Vec<Outgoing>) {
        let Some(room) = self.rooms.at(place) else { return };
        for AddressedEvent { audience, event } in self.events.drain(..) {
            match audience {
                Audience::Members { except } => {
                    if !room.members.hear(except) {
                        continue;
                    }
                    let mut packed = EncodedEvent::new(&event, now, &mut self.draft);
                    if room.members.has_peers() {
                        packed = packed.and_for_peers(&event, now);
                    }
                    let packed = Arc::new(packed);
                    for shard in room.members.shards() {
                        let (room, packed) = (room.id.clone(), packed.clone());
                        let mail = if is_closed {
                            ShardMessage::Close { room, packed }
                        } else {
                            ShardMessage::Publish { room, except, packed }
                        };
                        out.push((shard, mail));
                    }
                }
                Audience::Connection(to) => out.push((to.place().shard, ShardMessage::Deliver { to, event })),
                Audience::User(user) => out.push((self.placement.of(&user), ShardMessage::NotifyUser { user, event })),
                Audience::Observers { .. } | Audience::Acquaintances { .. } => {}
            }
        }
    }

    /// A receipt of the store has come.
    pub(super) fn receipt_came(&mut self, now: Now, receipt: CommitReceipt, out: &mut Vec<Outgoing>) {
        match self.gate.receipt(receipt) {
            None => {}
            Some(ReleasedEffects::Committed(held, kept)) => {
                let CommitOutcome { taken } = kept;
                let mut taken = taken.into_iter();
                for held in held {
                    self.release(now, held, &mut taken, out);
                }
            }
            Some(ReleasedEffects::Refused(held)) => {
                for held in held {
                    self.undo(now, held, out);
                }
            }
        }
    }

    /// What was held may leave.
    fn release(
        &mut self,
        now: Now,
        held: Held,
        taken: &mut impl Iterator<Item = Option<Box<Session>>>,
        out: &mut Vec<Outgoing>,
    ) {
        match held {
            Held::Room { room: name, to, reply, events, seq, .. } => {
                self.answer(to, Ok(reply), out);
                let Some(place) = self.rooms.find(&name) else { return };
                if seq != 0
                    && let Some(room) = self.rooms.at_mut(place)
                {
                    room.commit(seq);
                    self.note_missed(&name, &events);
                }
                self.events.extend(events);
                self.tell_room_facts(now, place, false, out);
                // Its last member may have left while this was on its way.
                self.note_due(now, place);
            }
            Held::Late { room, events } => self.tell_late(now, &room, events, out),
            Held::Create { to, room } => {
                let reply = self.created(now, *room);
                self.answer(to, Ok(reply), out);
            }
            Held::StorageReply { to, reply } => self.answer(to, Ok(reply), out),
            Held::Act { to, op: Op::Room(name, op) } => {
                let Some(place) = self.rooms.find(&name) else {
                    return self.answer(to, Err(Reject::room_not_found()), out);
                };
                self.tell_departures(now, &name, &op, out);
                let at = out.len();
                if let Some(reply) = self.act_now(now, place, op, to, out).transpose() {
                    out.insert(at, (to.shard, ShardMessage::Reply { ask: to.ask, reply }));
                }
            }
            Held::Act { to, op: Op::User(user, UserOp::Send { by, content }) } => {
                self.ask_whether_known(user, by, content, to);
            }
            Held::Act { to, .. } => self.answer(to, Ok(Reply::Done), out),
            Held::End { room } => drop(self.rooms.remove(&room)),
            Held::Again { to, room, op } => self.act_again(now, room, op, to, out),
            Held::Direct { to, user, direct } => {
                let sent = Sent { id: direct.id, seq: None, at: direct.at };
                self.answer(to, Ok(Reply::Sent(sent)), out);
                self.deliver(&user, direct, out);
            }
            Held::Struck { user, id } => self.struck(&user, id, true),
            Held::Look { to, user } => self.question_seen(user, to),
            Held::Session { to } => {
                let session = taken.next().flatten();
                if let Some(to) = to {
                    self.answer(to, Ok(Reply::Session(session)), out);
                }
            }
            Held::Claim { to, claim } => self.pass_on(now, to, claim, taken.next().flatten(), out),
            Held::ClaimAgain { to, claim } => self.claim_again(now, to, claim, out),
        }
    }

    /// Tells of a leaving that waited for messages that were on their way to the store.
    fn tell_late(&mut self, now: Now, room: &Name, events: SmallVec<[AddressedEvent; 1]>, out: &mut Vec<Outgoing>) {
        self.gate.note_told(room);
        if let Some(place) = self.rooms.find(room) {
            self.events.extend(events);
            self.tell_room_facts(now, place, false, out);
        }
    }

    /// Does an act whose record is kept.
    fn act_now(
        &mut self,
        now: Now,
        place: u32,
        op: RoomOp,
        to: Requester,
        out: &mut Vec<Outgoing>,
    ) -> Result<Option<Reply>, Reject> {
        if let Some(room) = self.rooms.at_mut(place) {
            room.is_closing = false;
        }
        self.act(now, place, op, to, out)
    }

    /// Does an act that waited for what becomes of its room.
    fn act_again(&mut self, now: Now, room: Name, op: RoomOp, to: Requester, out: &mut Vec<Outgoing>) {
        self.tell_departures(now, &room, &op, out);
        let at = out.len();
        if let Some(reply) = self.room_op(now, room, op, to, out).transpose() {
            out.insert(at, (to.shard, ShardMessage::Reply { ask: to.ask, reply }));
        }
    }

    /// What was held is not kept: nobody learns of it, and whoever asked is told so.
    fn undo(&mut self, now: Now, held: Held, out: &mut Vec<Outgoing>) {
        let to = match held {
            Held::Room { room, to, seq, repeat, .. } => {
                if let Some(key) = repeat {
                    self.repeats.forget(key);
                }
                if seq != 0
                    && let Some(place) = self.rooms.find(&room)
                    && let Some(room) = self.rooms.at_mut(place)
                {
                    room.roll_back();
                    self.note_due(now, place);
                }
                Some(to)
            }
            Held::Act { to, op: Op::Room(name, op) } => {
                if matches!(op, RoomOp::Close { .. })
                    && let Some(place) = self.rooms.find(&name)
                    && let Some(room) = self.rooms.at_mut(place)
                {
                    room.is_closing = false;
                    self.note_due(now, place);
                }
                Some(to)
            }
            Held::End { room: name } => {
                if let Some(room) = self.rooms.get_mut(&name) {
                    room.is_closing = false;
                    self.due_in(now, limits::JOINED_ROOM_IDLE_MS, Due::EndRoom(name));
                }
                None
            }
            Held::Look { to, .. } | Held::Create { to, .. } | Held::Act { to, .. } | Held::StorageReply { to, .. } => {
                Some(to)
            }
            Held::Direct { to, user, direct } => {
                self.directs.forget(&user, direct.id);
                Some(to)
            }
            Held::Late { room, events } => {
                self.tell_late(now, &room, events, out);
                None
            }
            Held::Struck { user, id } => {
                self.struck(&user, id, false);
                None
            }
            Held::Again { to, room, op } => {
                self.act_again(now, room, op, to, out);
                None
            }
            Held::Session { to } => to,
            Held::Claim { to, claim } => {
                self.keep_unclaimed(&claim);
                Some(to)
            }
            Held::ClaimAgain { to, .. } => Some(to),
        };
        if let Some(to) = to {
            self.answer(to, Err(Reject::storage_unavailable()), out);
        }
    }
}
