//! The authority of a single process: each shard keeps the rooms and users whose names hash to it, in memory.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use crate::authority::Authority;
use crate::base::Name;
use crate::base::ids::ConnectionId;
use crate::base::limits;
use crate::base::rng::Rng;
use crate::base::table::Table;
use crate::base::time::Now;
use crate::dialect::packed::Packed;
use crate::domain::access::Identity;
use crate::domain::allowance::{Allowance, WINDOW_MS};
use crate::domain::event::Event;
use crate::domain::op::{Audience, Context, Fact, Op, Profile, Reply, RoomOp, RoomsView, Rules, Scope, UserOp};
use crate::domain::reject::{Code, Reject};
use crate::domain::room::Room;
use crate::domain::user::{User, user_not_found};
use crate::mail::{Asker, Mail, Outgoing, Placement};

/// Users up to which `presence.scope = "auto"` tells everybody.
const TELL_ALL_UP_TO: usize = 5_000;

/// A room too large for announcements tells its count at most once in this many milliseconds.
const STATS_EVERY_MS: u64 = 1_000;

/// One shard's part of the truth.
pub struct Embedded {
    rules: Arc<Rules>,
    placement: Placement,
    rng: Rng,
    rooms: Table<Box<Room>>,
    users: Table<User>,
    /// Rooms that were closed a moment ago, oldest first, with the time they are forgotten.
    closed: VecDeque<(u64, Name)>,
    /// What users have spent of their REST allowance, and when each of these is over, the first first.
    allowances: Table<Allowance>,
    spent: VecDeque<(u64, Name)>,
    /// What is to be looked at, and when.
    due: BTreeMap<u64, BTreeSet<Due>>,
    facts: Vec<Fact>,
    /// Where events are encoded; empty but for its memory.
    draft: Vec<u8>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    EndRoom(Name),
    TellStats(Name),
    GoOffline(Name),
}

impl Embedded {
    /// The part of shard-to-be, without rooms or users.
    pub fn new(rules: Arc<Rules>, placement: Placement, mut rng: Rng) -> Self {
        let seed = rng.next_u64();
        Self {
            rules,
            placement,
            rooms: Table::new(seed),
            users: Table::new(seed),
            rng,
            closed: VecDeque::new(),
            allowances: Table::new(seed),
            spent: VecDeque::new(),
            due: BTreeMap::new(),
            facts: Vec::new(),
            draft: Vec::new(),
        }
    }

    /// Rooms kept here.
    pub fn rooms(&self) -> usize {
        self.rooms.len()
    }

    /// Users kept here.
    pub fn users(&self) -> usize {
        self.users.len()
    }

    fn room_op(&mut self, now: Now, name: Name, op: RoomOp, out: &mut Vec<Outgoing>) -> Result<Reply, Reject> {
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
    fn make(&mut self, now: Now, name: &Name, op: &RoomOp) -> Result<u32, Reject> {
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

    fn user_op(&mut self, now: Now, name: Name, op: UserOp, out: &mut Vec<Outgoing>) -> Result<Reply, Reject> {
        if matches!(op, UserOp::SpendRest) {
            return self.spend_rest(now, name);
        }
        if !self.users.contains(&name) {
            match &op {
                UserOp::Attach { by, .. } => drop(self.users.insert(User::new(by.clone()))),
                UserOp::Connections => return Ok(Reply::Connections(Vec::new())),
                _ => return Err(user_not_found()),
            }
        }
        let Some(user) = self.users.get_mut(&name) else { return Err(user_not_found()) };
        let mut context = Context { now, rng: &mut self.rng, rules: &self.rules, facts: &mut self.facts };
        let reply = user.apply(op, &mut context);
        if let Some(at) = user.offline_at(self.rules.presence_grace_ms) {
            self.due.entry(at).or_default().insert(Due::GoOffline(name.clone()));
        }
        self.tell_user_facts(now, &name, out);
        reply
    }

    /// Counts a request against a user's allowance, whether or not they are connected.
    fn spend_rest(&mut self, now: Now, user: Name) -> Result<Reply, Reject> {
        if !self.allowances.contains(&user) {
            self.spent.push_back((now.mono + WINDOW_MS, user.clone()));
            self.allowances.insert(Allowance::new(user.clone(), now));
        }
        match self.allowances.get_mut(&user) {
            Some(allowance) => allowance.spend(self.rules.rest_per_minute, now).map(|()| Reply::Done),
            None => Ok(Reply::Done),
        }
    }

    /// Forgets the allowances whose minute is over; one that was begun anew stays for another.
    fn forget_allowances(&mut self, now: Now) {
        while let Some((_, user)) = self.spent.pop_front_if(|(until, _)| *until <= now.mono) {
            match self.allowances.get(&user).map(Allowance::ends_at) {
                Some(at) if at > now.mono => self.spent.push_back((at, user)),
                _ => drop(self.allowances.remove(&user)),
            }
        }
    }

    /// Passes on what a room's act made known. A fact for the members is encoded once and goes to each shard that holds
    /// one of them.
    fn tell_room_facts(&mut self, now: Now, place: u32, is_closed: bool, out: &mut Vec<Outgoing>) {
        let Some(room) = self.rooms.at(place) else { return };
        for Fact { audience, event } in self.facts.drain(..) {
            match audience {
                Audience::Members { except } => {
                    // In some dialects of Socket.IO a sender hears its own message.
                    let is_left_out = |it: ConnectionId| !it.is_peer() && room.members.of(it).is_some();
                    let listeners = room.members.len() - usize::from(except.is_some_and(is_left_out));
                    if listeners == 0 {
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

    fn tell_user_facts(&mut self, now: Now, name: &Name, out: &mut Vec<Outgoing>) {
        // Names hash evenly, so this shard's share of the users tells how many there are.
        let users = self.users.len() * self.placement.shards();
        let connections = self.users.get(name).map_or(&[][..], |user| user.connections.as_slice());
        for Fact { audience, event } in self.facts.drain(..) {
            match (audience, self.rules.presence_scope) {
                (Audience::Connection(to), _) => out.push((to.place().shard, Mail::Tell { to, event })),
                (Audience::Everyone, Scope::All) => tell_everyone(self.placement, &event, now, &mut self.draft, out),
                (Audience::Everyone, Scope::Auto) if users <= TELL_ALL_UP_TO => {
                    tell_everyone(self.placement, &event, now, &mut self.draft, out);
                }
                (Audience::Everyone, Scope::Auto | Scope::Rooms) => {
                    for &of in connections {
                        out.push((of.place().shard, Mail::Announce { of, event: event.clone() }));
                    }
                }
                (Audience::Everyone, Scope::None) | (Audience::Members { .. } | Audience::User(_), _) => {}
            }
        }
    }

    fn list(&self) -> Reply {
        Reply::Rooms(RoomsView {
            total_rooms: self.rooms.len(),
            total_peers: self.rooms.iter().map(|room| room.members.len()).sum(),
            connections: self.users.iter().map(|user| user.connections.len()).sum(),
            rooms: self.rooms.iter().take(limits::ROOMS_LISTED).map(|room| room.view(0)).collect(),
        })
    }

    fn run(&mut self, now: Now, due: Due, out: &mut Vec<Outgoing>) {
        match due {
            Due::EndRoom(name) => {
                let Some(room) = self.rooms.get_mut(&name) else { return };
                match room.ends_at() {
                    Some(at) if at <= now.mono => drop(self.rooms.remove(&name)),
                    Some(at) => drop(self.due.entry(at).or_default().insert(Due::EndRoom(name))),
                    None => room.end_is_due = false,
                }
            }
            Due::TellStats(name) => {
                let Some(place) = self.rooms.find(&name) else { return };
                let Some(room) = self.rooms.at_mut(place) else { return };
                if room.take_uncounted() && !room.members.is_empty() {
                    let event = room.stats();
                    self.facts.push(Fact { audience: Audience::Members { except: None }, event });
                    self.tell_room_facts(now, place, false, out);
                }
            }
            Due::GoOffline(name) => {
                let Some(user) = self.users.get_mut(&name) else { return };
                if user.offline_at(self.rules.presence_grace_ms).is_some_and(|at| at <= now.mono) {
                    let mut context = Context { now, rng: &mut self.rng, rules: &self.rules, facts: &mut self.facts };
                    user.go_offline(&mut context);
                    self.tell_user_facts(now, &name, out);
                    self.users.remove(&name);
                }
            }
        }
    }
}

impl Authority for Embedded {
    fn ask(&mut self, now: Now, from: Asker, op: Op, out: &mut Vec<Outgoing>) {
        let reply_at = out.len();
        let reply = match op {
            Op::Room(name, op) => self.room_op(now, name, op, out),
            Op::User(name, op) => self.user_op(now, name, op, out),
            Op::Rooms => Ok(self.list()),
        };
        // The answer goes before the facts it caused: who left hears so before anything that came after.
        out.insert(reply_at, (from.shard, Mail::Answer { ask: from.ask, reply }));
    }

    fn notify(&mut self, _now: Now, user: &Name, event: Event, out: &mut Vec<Outgoing>) {
        let Some(user) = self.users.get(user) else { return };
        for &to in user.connections.as_slice() {
            out.push((to.place().shard, Mail::Tell { to, event: event.clone() }));
        }
    }

    fn tick(&mut self, now: Now, out: &mut Vec<Outgoing>) {
        while self.closed.front().is_some_and(|(until, _)| *until <= now.mono) {
            self.closed.pop_front();
        }
        self.forget_allowances(now);
        while let Some(entry) = self.due.first_entry()
            && *entry.key() <= now.mono
        {
            for due in entry.remove() {
                self.run(now, due, out);
            }
        }
    }

    fn next_due(&self) -> Option<u64> {
        let spent = self.spent.front().map(|(at, _)| *at);
        let due = self.due.first_key_value().map(|(at, _)| *at);
        [spent, due].into_iter().flatten().min()
    }
}

fn tell_everyone(placement: Placement, event: &Event, now: Now, draft: &mut Vec<u8>, out: &mut Vec<Outgoing>) {
    let packed = Arc::new(Packed::new(event, now, draft).and_for_peers(event, now));
    for shard in 0..placement.shards() {
        out.push((shard as u8, Mail::Everyone { packed: packed.clone() }));
    }
}
