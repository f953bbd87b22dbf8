//! The authority of a single process: each shard keeps the rooms and users whose names hash to it, in memory.

mod rooms;
mod users;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use crate::authority::Authority;
use crate::base::Name;
use crate::base::rng::Rng;
use crate::base::table::Table;
use crate::base::time::Now;
use crate::dialect::packed::Packed;
use crate::domain::allowance::Allowance;
use crate::domain::event::Event;
use crate::domain::op::{Audience, Context, Fact, Op, Rules};
use crate::domain::room::Room;
use crate::domain::user::User;
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
