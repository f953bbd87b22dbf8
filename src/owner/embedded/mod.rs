//! The authority of a single process: each shard keeps the rooms and users whose names hash to it, in memory; what a
//! restart must not lose goes to the store, and nobody hears of it before it is there.

/// What an act may use while it is applied, taken from the authority's parts.
macro_rules! context {
    ($self:ident, $now:expr) => {
        OpContext {
            now: $now,
            rng: &mut $self.rng,
            rules: &$self.rules,
            events: &mut $self.events,
            records: &mut $self.records,
        }
    };
}

mod commit_barrier;
mod direct_messages;
mod idempotency;
mod questions;
mod rooms;
mod sessions;
mod surveys;
mod telling;
mod unloaded;
mod users;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use slab::Slab;
use uuid::Uuid;

use crate::base::Name;
use crate::base::ids::ConnectionId;
use crate::base::rng::Rng;
use crate::base::table::Table;
use crate::base::time::Now;
use crate::domain::connection::connection_not_found;
use crate::domain::event::Event;
use crate::domain::op::{AddressedEvent, Audience, LogTerms, Op, OpContext, RoomOp, RoomRules, Scope};
use crate::domain::quota::RestQuota;
use crate::domain::record::Record;
use crate::domain::registration::Registrations;
use crate::domain::room::{Kept, Room};
use crate::domain::user::User;
use crate::message::storage::{Restored, StorageCommand, StorageEvent, StorageState};
use crate::message::{Outgoing, Placement, PresenceUpdate, Requester, ShardMessage, ShardNumber};

use commit_barrier::CommitBarrier;
use direct_messages::Directs;
use idempotency::{IdempotencyRecord, IdempotencyRecords};
use questions::Question;
use sessions::Taken;
use unloaded::UnloadedRooms;

/// A room too large for announcements tells its count at most once in this many milliseconds.
const STATS_EVERY_MS: u64 = 1_000;

/// A room that some are told of how many users it has tells so at most once in this many milliseconds.
const ONLINE_EVERY_MS: u64 = 100;

/// One shard's part of the truth.
pub struct EmbeddedOwner {
    rules: Arc<RoomRules>,
    number: ShardNumber,
    placement: Placement,
    rng: Rng,
    rooms: Table<Box<Room>>,
    users: Table<User>,
    /// How many of them are online and show it.
    shown: usize,
    /// Rooms without members whose messages are kept.
    dormant: Table<UnloadedRooms>,
    /// Rooms that were closed a moment ago, oldest first, with the time they are forgotten.
    closed: VecDeque<(u64, Name)>,
    /// What users have spent of their REST allowance, and when each of these is over, the first first.
    allowances: Table<RestQuota>,
    spent: VecDeque<(u64, Name)>,
    registrations: Registrations,
    /// Messages that their senders may repeat.
    repeats: IdempotencyRecords,
    /// Sessions that were used up a moment ago.
    taken: Taken,
    /// Users who came a moment ago, and when that is to be noted, the first first.
    arrived: VecDeque<(u64, Name)>,
    /// Users who are not here and for whom messages wait.
    awaited: BTreeSet<Name>,
    /// Messages to users, on their way.
    directs: Directs,
    gate: CommitBarrier,
    /// Questions that the store has been asked.
    questions: Slab<Question>,
    /// Rooms that clients are on their way back into, and how many.
    missing: BTreeMap<Name, u32>,
    /// What is to be looked at, and when.
    due: BTreeMap<u64, BTreeSet<Due>>,
    events: Vec<AddressedEvent>,
    records: Vec<Record>,
    /// The number of the last news of a user.
    news: u64,
    /// Where events are encoded; empty but for its memory.
    draft: Vec<u8>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    EndRoom(Name),
    /// A room that rests, once its last message is too old.
    Forget(Name),
    /// A member whose connection was lost, unless it has returned.
    Vanish(Name, ConnectionId),
    TellStats(Name),
    TellOnline(Name),
    EndTyping(Name),
    GoOffline(Name),
    AskDirects(Name),
}

impl EmbeddedOwner {
    /// The part of shard-to-be, without rooms or users.
    pub fn new(number: ShardNumber, rules: Arc<RoomRules>, placement: Placement, mut rng: Rng) -> Self {
        let seed = rng.next_u64();
        let seeds = [rng.next_u64(), rng.next_u64()];
        Self {
            number,
            rules,
            placement,
            rooms: Table::new(seed),
            users: Table::new(seed),
            shown: 0,
            dormant: Table::new(seed),
            repeats: IdempotencyRecords::new(seeds),
            taken: Taken::new(seed),
            arrived: VecDeque::new(),
            awaited: BTreeSet::new(),
            directs: Directs::default(),
            gate: CommitBarrier::new(number),
            questions: Slab::new(),
            missing: BTreeMap::new(),
            rng,
            closed: VecDeque::new(),
            allowances: Table::new(seed),
            spent: VecDeque::new(),
            registrations: Registrations::new(seed),
            due: BTreeMap::new(),
            events: Vec::new(),
            records: Vec::new(),
            news: 0,
            draft: Vec::new(),
        }
    }

    /// Takes back something that was kept before a restart.
    pub fn restore(&mut self, now: Now, restored: Restored) {
        match restored {
            Restored::Room(stored) => {
                let made = stored.made;
                let kept = Kept {
                    room: made.room,
                    epoch: made.epoch,
                    host: made.host,
                    created_at: made.created_at,
                    terms: LogTerms { history: Some(made.history), retention: made.retention },
                    last: stored.last,
                    last_at: stored.last_at,
                };
                match made.profile {
                    None => self.put_to_rest(now, kept),
                    profile => {
                        let mut context = context!(self, now);
                        let room = Room::from_kept(kept, profile, &mut context);
                        let place = self.rooms.insert(Box::new(room));
                        self.note_due(now, place);
                    }
                }
            }
            Restored::Repeatable(message) => {
                let dormant = self.dormant.get(&message.room).map(|dormant| &dormant.kept.epoch);
                let epoch = dormant.or_else(|| self.rooms.get(&message.room).map(|room| room.epoch()));
                let Some(epoch) = epoch else { return };
                let key = self.repeats.key(&message.room, epoch, &message.user, &message.client_message_id);
                let repeat = IdempotencyRecord { id: message.id, seq: message.seq, at: message.at };
                self.repeats.note(now, key, repeat, now.wall.saturating_sub(message.at));
            }
            Restored::Awaited(user) => drop(self.awaited.insert(user)),
            // Whoever is not here is looked up when somebody asks.
            Restored::User(_) => {}
        }
    }

    /// Has something looked at `ms` from now.
    fn due_in(&mut self, now: Now, ms: u64, due: Due) {
        self.due.entry(now.mono + ms).or_default().insert(due);
    }

    /// How the store is.
    pub fn store_state(&self) -> StorageState {
        self.gate.state()
    }

    /// The age of the oldest record that the store has not kept yet, in milliseconds.
    pub fn storage_lag_ms(&self, now: Now) -> u64 {
        self.gate.lag_ms(now)
    }

    /// Rooms kept here.
    pub fn rooms(&self) -> usize {
        self.rooms.len()
    }

    /// Users kept here.
    pub fn users(&self) -> usize {
        self.users.len()
    }

    /// The process is to end in so many milliseconds. Its clients cannot come back before it is there again, so nobody is
    /// told that those have gone who were sent away first.
    pub fn leave(&mut self, window_ms: u64) {
        if self.rules.presence_grace_ms != 0 {
            let presence_grace_ms = self.rules.presence_grace_ms.max(window_ms);
            self.rules = Arc::new(RoomRules { presence_grace_ms, ..(*self.rules).clone() });
        }
    }

    fn run(&mut self, now: Now, due: Due, out: &mut Vec<Outgoing>) {
        match due {
            Due::EndRoom(name) => {
                let Some(place) = self.rooms.find(&name) else { return };
                let Some(room) = self.rooms.at_mut(place) else { return };
                match room.ends_at() {
                    Some(at) if at <= now.mono => self.end_room(now, place),
                    Some(at) => drop(self.due.entry(at).or_default().insert(Due::EndRoom(name))),
                    None => room.end_is_due = false,
                }
            }
            Due::Forget(name) => self.forget(now, &name),
            Due::Vanish(name, connection) => {
                let nobody = Requester { shard: self.number, ask: u32::MAX };
                if let Some(place) = self.rooms.find(&name) {
                    // Nobody asked, so nobody is answered.
                    let _ = self.act(now, place, RoomOp::RemoveMember { connection }, nobody, out);
                }
            }
            Due::TellStats(name) => {
                let Some(place) = self.rooms.find(&name) else { return };
                let Some(room) = self.rooms.at_mut(place) else { return };
                if room.take_uncounted() && !room.members.is_empty() {
                    let event = room.stats();
                    self.events.push(AddressedEvent { audience: Audience::Members { except: None }, event });
                    self.tell_room_facts(now, place, false, out);
                }
            }
            Due::TellOnline(name) => {
                let Some(place) = self.rooms.find(&name) else { return };
                let Some(room) = self.rooms.at_mut(place) else { return };
                let Some(users) = room.take_online() else { return };
                if self.rules.presence_scope != Scope::None && room.members.len() <= self.rules.announce_limit {
                    // Their keepers know how they are; this one goes on when they have said so.
                    return out.push((self.number, ShardMessage::OnlineUsers { room: name, users: users.into() }));
                }
                let event = room.online(None);
                self.events.push(AddressedEvent { audience: Audience::Members { except: None }, event });
                self.tell_room_facts(now, place, false, out);
            }
            Due::EndTyping(name) => {
                let Some(place) = self.rooms.find(&name) else { return };
                let Some(room) = self.rooms.at_mut(place) else { return };
                let mut context = context!(self, now);
                room.end_typing(&mut context);
                if let Some(at) = room.typing_due() {
                    self.due.entry(at).or_default().insert(Due::EndTyping(name));
                }
                self.tell_room_facts(now, place, false, out);
            }
            Due::AskDirects(name) => self.ask_directs(&name, None),
            Due::GoOffline(name) => {
                let Some(user) = self.users.get_mut(&name) else { return };
                if user.offline_at().is_some_and(|at| at <= now.mono) {
                    self.go_offline(now, &name, out);
                }
            }
        }
    }
}

/// The operations and events of an owner; see [`crate::owner`].
impl EmbeddedOwner {
    /// Applies an operation and replies to `from`.
    pub fn ask(&mut self, now: Now, from: Requester, op: Op, out: &mut Vec<Outgoing>) {
        if let Op::Room(name, op) = &op {
            self.tell_departures(now, name, op, out);
        }
        let reply_at = out.len();
        let reply = match op {
            Op::Room(name, op) => self.room_op(now, name, op, from, out),
            Op::User(name, op) => self.user_op(now, name, op, from, out),
            Op::Session(_, op) => self.session_op(now, op, from),
            Op::Rooms => Ok(Some(self.list())),
            Op::Users(page) => Ok(Some(self.page_of_users(now, &page))),
            Op::FindMessageRoom { message, .. } => self.room_of(message, from),
            // Shards keep those, not authorities.
            Op::Connection(..) | Op::Broadcast(_) | Op::Query(_) => Err(connection_not_found()),
        };
        // The answer goes before the facts it caused: who left hears so before anything that came after.
        if let Some(reply) = reply.transpose() {
            out.insert(reply_at, (from.shard, ShardMessage::Reply { ask: from.ask, reply }));
        }
    }

    /// Delivers an event to every connection of a user.
    pub fn notify(&mut self, _now: Now, user: &Name, event: Event, out: &mut Vec<Outgoing>) {
        let Some(user) = self.users.get(user) else { return };
        for &to in user.connections.as_slice() {
            out.push((to.place().shard, ShardMessage::Deliver { to, event: event.clone() }));
        }
    }

    /// Delivers a presence update to every member of a room.
    pub fn announce(&mut self, room: &Name, news: Arc<PresenceUpdate>, out: &mut Vec<Outgoing>) {
        self.announce_in(room, &news, out);
    }

    /// Notes that a connection of the user has received a direct message.
    pub fn handed(&mut self, user: &Name, message: Uuid) {
        self.strike(user, message);
    }

    /// Handles an event of the storage thread.
    pub fn told(&mut self, now: Now, told: StorageEvent, out: &mut Vec<Outgoing>) {
        match told {
            StorageEvent::Receipt(receipt) => self.receipt_came(now, receipt, out),
            StorageEvent::Reply { to, answer } => self.store_answered(now, to.ask, answer, out),
            StorageEvent::State(state) => {
                self.gate.set_state(state);
                if state == StorageState::Good {
                    self.ask_all_directs();
                }
            }
        }
    }

    /// Takes the commands for the storage thread, in order.
    pub fn orders(&mut self, now: Now) -> std::vec::Drain<'_, StorageCommand> {
        self.gate.orders(now)
    }

    /// Whether there are commands for the storage thread.
    pub fn has_orders(&self) -> bool {
        self.gate.has_orders()
    }

    /// Does the work that is due.
    pub fn tick(&mut self, now: Now, out: &mut Vec<Outgoing>) {
        while self.closed.front().is_some_and(|(until, _)| *until <= now.mono) {
            self.closed.pop_front();
        }
        self.forget_allowances(now);
        if self.arrived.front().is_some_and(|(due, _)| *due <= now.mono) {
            self.note_arrivals(now);
        }
        self.repeats.tick(now);
        self.registrations.expire(now);
        while let Some(entry) = self.due.first_entry()
            && *entry.key() <= now.mono
        {
            for due in entry.remove() {
                self.run(now, due, out);
            }
        }
    }

    /// When [`EmbeddedOwner::tick`] has work, in monotonic milliseconds.
    pub fn next_due(&self) -> Option<u64> {
        let spent = self.spent.front().map(|(at, _)| *at);
        let due = self.due.first_key_value().map(|(at, _)| *at);
        let arrived = self.arrived.front().map(|(at, _)| *at);
        [spent, due, arrived, self.repeats.next_due(), self.registrations.next_due()].into_iter().flatten().min()
    }
}
