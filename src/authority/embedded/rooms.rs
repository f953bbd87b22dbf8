//! The rooms a shard keeps: making them, acting on them, passing on what that made known.

use std::sync::Arc;

use crate::authority::embedded::{Due, Embedded, STATS_EVERY_MS, tell_everyone};
use crate::base::Name;
use crate::base::limits;
use crate::base::time::Now;
use crate::dialect::packed::Packed;
use crate::domain::access::Identity;
use crate::domain::op::{Audience, Context, Fact, Profile, Reply, RoomOp, RoomsView};
use crate::domain::reject::{Code, Reject};
use crate::domain::room::Room;
use crate::mail::{Mail, Outgoing};

impl Embedded {
    pub(super) fn room_op(
        &mut self,
        now: Now,
        name: Name,
        op: RoomOp,
        out: &mut Vec<Outgoing>,
    ) -> Result<Reply, Reject> {
        let known = self.rooms.find(&name);
        let place = known.map_or_else(|| self.make(now, &name, &op), Ok)?;
        let Some(room) = self.rooms.at_mut(place) else { return Err(Reject::room_not_found()) };
        let mut context = Context { now, rng: &mut self.rng, rules: &self.rules, facts: &mut self.facts };
        let is_closing = matches!(op, RoomOp::Close { .. });
        let reply = match op {
            RoomOp::Create { .. } if known.is_none() => Ok(Reply::Room(Box::new(room.view(0)))),
            op => room.apply(op, &mut context),
        };
        if let Some(at) = room.ends_at()
            && !std::mem::replace(&mut room.end_is_due, true)
        {
            self.due.entry(at).or_default().insert(Due::EndRoom(name.clone()));
        }
        if room.is_uncounted() {
            let next = now.mono - now.mono % STATS_EVERY_MS + STATS_EVERY_MS;
            self.due.entry(next).or_default().insert(Due::TellStats(name.clone()));
        }
        let is_closed = is_closing && reply.is_ok();
        self.tell_room_facts(now, place, is_closed, out);
        if is_closed {
            self.rooms.remove(&name);
            if self.closed.len() == limits::CLOSED_ROOMS {
                self.closed.pop_front();
            }
            self.closed.push_back((now.mono + limits::CLOSED_ROOM_MS, name));
        }
        reply
    }

    /// Makes the room, if `op` is one that makes rooms; its place.
    pub(super) fn make(&mut self, now: Now, name: &Name, op: &RoomOp) -> Result<u32, Reject> {
        let (by, profile): (&Identity, Option<Box<Profile>>) = match op {
            RoomOp::Create { by, profile } => (by, Some(profile.clone())),
            RoomOp::Join(join) if join.create => (&join.by, None),
            RoomOp::Describe { .. } | RoomOp::Close { .. } | RoomOp::Vanish { .. } => {
                return Err(Reject::room_not_found());
            }
            _ if self.closed.iter().any(|(_, closed)| closed == name) => {
                return Err(Reject::new(Code::RoomClosed, "The room was closed"));
            }
            _ => return Err(Reject::room_not_found()),
        };
        let mut context = Context { now, rng: &mut self.rng, rules: &self.rules, facts: &mut self.facts };
        let room = Room::new(name.clone(), by, profile, &mut context);
        Ok(self.rooms.insert(Box::new(room)))
    }

    /// Passes on what a room's act made known. A fact for the members is encoded once and goes to each shard that holds
    /// one of them.
    pub(super) fn tell_room_facts(&mut self, now: Now, place: u32, is_closed: bool, out: &mut Vec<Outgoing>) {
        let Some(room) = self.rooms.at(place) else { return };
        for Fact { audience, event } in self.facts.drain(..) {
            match audience {
                Audience::Members { except } => {
                    if !room.members.hear(except) {
                        continue;
                    }
                    let mut packed = Packed::new(&event, now, &mut self.draft);
                    if room.members.has_peers() {
                        packed = packed.and_for_peers(&event, now);
                    }
                    let packed = Arc::new(packed);
                    for shard in room.members.shards() {
                        let (room, packed) = (room.id.clone(), packed.clone());
                        let mail = if is_closed {
                            Mail::Close { room, packed }
                        } else {
                            Mail::Publish { room, except, packed }
                        };
                        out.push((shard, mail));
                    }
                }
                Audience::Connection(to) => out.push((to.place().shard, Mail::Tell { to, event })),
                Audience::User(user) => out.push((self.placement.of(&user), Mail::Notify { user, event })),
                Audience::Everyone => tell_everyone(self.placement, &event, now, &mut self.draft, out),
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
