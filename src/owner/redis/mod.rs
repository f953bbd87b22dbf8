//! The authority of several processes: Redis keeps the rooms and users, and every node asks it by scripts that check,
//! number, keep and publish in one step. This is one node's half: it turns ops into calls, answers into replies, and what
//! is published into mail for the shards that have listeners.
//!
//! It does no input or output itself. What it has for Redis it lists as [`RedisCommand`]s; what Redis says it is
//! [told](Authority::told). So a test can play it against a Redis of its own, one call at a time.
//!
//! Each op that changes or reads a room or a user is one script of the same name in `lua/`; the head of each says which
//! file of [`crate::domain`] it mirrors. They share `lua/prelude.lua`.

mod away;
mod credit;
mod direct_messages;
mod enrolment;
mod gaps;
mod keys;
mod nodes;
mod online;
mod presence;
mod refusals;
mod room_answers;
mod room_facts;
mod rooms;
pub mod scripts;
mod sessions;
mod subscription;
mod users;
mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use smallvec::smallvec;
use uuid::Uuid;

use crate::base::Name;
use crate::base::ids::ConnectionId;
use crate::base::map::{Map, map};
use crate::base::rng::Rng;
use crate::base::time::Now;
use crate::domain::event::Event;
use crate::domain::op::{Op, Reply, RoomRules};
use crate::domain::quota::{QuotaPool, Rates};
use crate::domain::reject::Reject;
use crate::message::redis::{Bytes, CallError, RedisCommand, RedisEvent, RedisState, Script, ScriptCall};
use crate::message::{Outgoing, PresenceUpdate, Requester, ShardMessage, ShardNumber};

pub use keys::KeySchema;
pub use nodes::NodeNumber;
use subscription::Followed;

/// How a node uses Redis.
#[derive(Clone, Debug)]
pub struct RedisSettings {
    /// This node's number among those that share the Redis.
    pub node: u16,
    /// What tells this process from another that had, or may get, the same number.
    pub name: Box<str>,
    /// Shards of this node.
    pub shards: usize,
    /// What all keys and channels begin with.
    pub prefix: Box<str>,
    /// Whether channels belong to the server of a cluster that keeps their room.
    pub sharded: bool,
    /// What users may do in a minute, as far as it is counted for them.
    pub rates: Rates,
    /// How many messages of a room are kept when its maker did not say; 0: all.
    pub keep_messages: u64,
}

/// How long an answer is waited for, in milliseconds, before whoever asked is told that there is none.
const ANSWER_MS: u64 = 2_000;

/// One node's half of the truth.
pub struct RedisOwner {
    settings: RedisSettings,
    keys: KeySchema,
    rules: Arc<RoomRules>,
    rng: Rng,
    /// Calls that are not answered yet, by their tickets, which are in the order of time.
    calls: BTreeMap<u32, Pending>,
    next_ticket: u32,
    demands: Vec<RedisCommand>,
    /// Rooms with members on this node.
    rooms: Map<Name, Followed>,
    /// Acts that wait until their room is followed.
    waiting: Vec<rooms::Waiting>,
    /// Connections that are members no longer, as Redis is to be told when it is back.
    owed: BTreeSet<(Name, ConnectionId)>,
    /// Who types in which room, and until when unless they say so again, in monotonic milliseconds; 0: they have stopped.
    typing: BTreeMap<(Name, ConnectionId), u64>,
    users: users::Users,
    /// Which rooms users take part in, as far as that is to be noted.
    enrolments: enrolment::Enrolments,
    /// What shards were lent of their users' allowances.
    credit: QuotaPool,
    nodes: nodes::Nodes,
    /// What is to be looked at, and when, in monotonic milliseconds.
    due: BTreeMap<u64, BTreeSet<Due>>,
    state: RedisState,
    /// Whether it answers, but keeps nothing new.
    is_full: bool,
    /// Where events are encoded; empty but for its memory.
    draft: Vec<u8>,
}

/// A call that is not answered yet.
struct Pending {
    /// Who asked, if somebody did.
    to: Option<Requester>,
    /// What for.
    purpose: Purpose,
    /// When it was made, in monotonic milliseconds.
    since: u64,
}

/// What a call is for, as far as its answer is to be understood.
enum Purpose {
    Room(Name, rooms::Purpose),
    User(Name, users::Purpose),
    Session(sessions::Purpose),
    Nodes(nodes::Purpose),
}

/// Something to be looked at.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    Room(Name, rooms::Due),
    User(Name, users::Due),
    /// Whether calls have waited for too long.
    Calls,
    /// Whether acts have waited too long for their rooms, and whether Redis is owed something.
    Waiting,
    /// Whether questions to other nodes have.
    Questions,
    /// The node's own lease.
    Nodes,
    /// What could not be noted of users' rooms.
    Enrolments,
}

/// What comes of an op: its answer, or `None` when that comes later.
type Outcome = Result<Option<Reply>, Reject>;

impl RedisOwner {
    /// A node's half, without rooms or users.
    pub fn new(settings: RedisSettings, rules: Arc<RoomRules>, mut rng: Rng) -> Self {
        let seed = rng.next_u64();
        let credit = QuotaPool::sharing(settings.rates, seed);
        Self {
            keys: KeySchema::new(&settings.prefix),
            settings,
            rules,
            calls: BTreeMap::new(),
            next_ticket: 0,
            demands: Vec::new(),
            rooms: map(seed),
            waiting: Vec::new(),
            owed: BTreeSet::new(),
            typing: BTreeMap::new(),
            users: users::Users::new(seed),
            enrolments: enrolment::Enrolments::default(),
            credit,
            nodes: nodes::Nodes::default(),
            due: BTreeMap::new(),
            state: RedisState::Away,
            is_full: false,
            draft: Vec::new(),
            rng,
        }
    }

    /// How Redis is.
    pub fn state(&self) -> RedisState {
        self.state
    }

    /// Has a script called. Its first arguments are the same for all: the time, who calls, and where.
    fn call(
        &mut self,
        now: Now,
        script: &'static Script,
        key: Bytes,
        to: Option<Requester>,
        purpose: Purpose,
        arguments: Vec<Bytes>,
    ) {
        if self.calls.is_empty() {
            self.due_in(now, ANSWER_MS, Due::Calls);
        }
        // None is used again soon: an answer may come after it has been given up.
        let ticket = self.next_ticket;
        self.next_ticket = ticket.wrapping_add(1);
        self.calls.insert(ticket, Pending { to, purpose, since: now.mono });
        let server = if self.settings.sharded { "SPUBLISH" } else { "" };
        let head = [now.wall.to_string(), format!("{}:{ticket}", self.settings.node), server.to_owned()];
        let arguments = head.into_iter().map(|text| text.into_bytes().into()).chain(arguments).collect();
        self.demands.push(RedisCommand::ScriptCall(ScriptCall { ticket, script, keys: smallvec![key], arguments }));
    }

    /// Has something looked at `ms` from now.
    fn due_in(&mut self, now: Now, ms: u64, due: Due) {
        self.due.entry(now.mono + ms).or_default().insert(due);
    }

    /// Answers a question, if somebody asked it.
    fn answer(to: Option<Requester>, reply: Result<Reply, Reject>, out: &mut Vec<Outgoing>) {
        if let Some(to) = to {
            out.push((to.shard, ShardMessage::Reply { ask: to.ask, reply }));
        }
    }

    /// All shards of this node.
    fn shards(&self) -> impl Iterator<Item = ShardNumber> + use<> {
        0..self.settings.shards as ShardNumber
    }

    fn answered(&mut self, now: Now, ticket: u32, outcome: Result<Bytes, CallError>, out: &mut Vec<Outgoing>) {
        let Some(Pending { to, purpose, .. }) = self.calls.remove(&ticket) else { return };
        let outcome = self.unless_unsettled(now, &purpose, outcome);
        match &outcome {
            Err(CallError::Rejected(why)) => tracing::error!(%why, "Redis refuses"),
            Err(CallError::Full(why)) => self.note_full(now, why, out),
            Ok(_) | Err(CallError::Away) => {}
        }
        if let Purpose::Room(name, rooms::Purpose::Purge(node)) = &purpose {
            self.room_purged(now, name, *node, outcome.is_ok());
        }
        match purpose {
            Purpose::Room(name, purpose) => self.room_answered(now, (to, ticket), name, purpose, outcome, out),
            Purpose::User(name, purpose) => self.user_answered(now, to, name, purpose, outcome, out),
            Purpose::Session(purpose) => self.session_answered(now, to, purpose, outcome, out),
            Purpose::Nodes(purpose) => self.nodes_answered(now, purpose, outcome, out),
        }
    }

    /// Gives up on calls that were not answered in time.
    fn give_up(&mut self, now: Now, out: &mut Vec<Outgoing>) {
        let is_late = |pending: &Pending| now.mono.saturating_sub(pending.since) >= ANSWER_MS;
        let late: Vec<u32> =
            self.calls.iter().filter(|(_, pending)| is_late(pending)).map(|(ticket, _)| *ticket).collect();
        for ticket in late {
            self.answered(now, ticket, Err(CallError::Away), out);
        }
        if let Some(oldest) = self.calls.values().map(|pending| pending.since).min() {
            self.due.entry(oldest + ANSWER_MS).or_default().insert(Due::Calls);
        }
    }
}

/// Whether what was published is about a user.
fn is_of_a_user(body: &[u8]) -> bool {
    body.starts_with(b"{\"u\":")
}

/// The operations and events of an owner; see [`crate::owner`].
impl RedisOwner {
    /// Applies an operation and replies to `from`.
    pub fn ask(&mut self, now: Now, from: Requester, op: Op, out: &mut Vec<Outgoing>) {
        let outcome = match op {
            Op::User(name, op) if self.state == RedisState::Away => Err(self.user_op_while_away(name, op)),
            Op::Room(name, op) if self.state == RedisState::Away => self.room_op_while_away(name, op, out),
            Op::Session(..) if self.state == RedisState::Away => Err(Reject::storage_unavailable()),
            Op::Room(name, op) => self.room_op(now, name, op, from, out),
            Op::User(name, op) => self.user_op(now, name, op, from, out),
            Op::Session(connection, op) => self.session_op(now, connection, op, from),
            op => self.ask_nodes(now, from, op, out),
        };
        if let Some(reply) = outcome.transpose() {
            Self::answer(Some(from), reply, out);
        }
    }

    /// Delivers an event to every connection of a user.
    pub fn notify(&mut self, _now: Now, user: &Name, event: Event, out: &mut Vec<Outgoing>) {
        // What is for a user's connections elsewhere is published by scripts.
        self.tell_local_user(user, &event, out);
    }

    /// Delivers a presence update to every member of a room.
    pub fn announce(&mut self, room: &Name, news: Arc<PresenceUpdate>, out: &mut Vec<Outgoing>) {
        self.announce_in(room, &news, out);
    }

    /// Notes that a connection of the user has received a direct message.
    pub fn handed(&mut self, user: &Name, message: Uuid) {
        self.strike(user, message);
    }

    /// Handles an event of the bridge.
    pub fn told(&mut self, now: Now, told: RedisEvent, out: &mut Vec<Outgoing>) {
        match told {
            RedisEvent::Reply { ticket, outcome } => self.answered(now, ticket, outcome, out),
            RedisEvent::Published { channel, body } if is_of_a_user(&body) => {
                let room = self.keys.room_of(&channel).map(Name::from);
                self.user_published(now, room, &body, out);
            }
            RedisEvent::Published { channel, body } => match self.keys.room_of(&channel) {
                Some(room) => self.room_published(now, &room, &body, out),
                None => self.published(now, &channel, &body, out),
            },
            RedisEvent::Subscribed(channel) => match self.keys.room_of(&channel) {
                Some(room) => self.room_followed(now, &room),
                None => {
                    self.users_followed(now, &channel);
                    self.node_followed(now, &channel);
                }
            },
            RedisEvent::State(state) => {
                (self.state, self.is_full) = (state, false);
                match state {
                    RedisState::Good => {
                        self.users_are_back(now);
                        self.nodes_are_back(now);
                        self.settle_owed(now);
                    }
                    _ => self.release_answers(now, out),
                }
            }
        }
    }

    /// Takes the commands for the bridge, in order.
    pub fn orders(&mut self, now: Now) -> std::vec::Drain<'_, RedisCommand> {
        self.call_strikes(now);
        self.call_announcements(now);
        self.call_leases(now);
        self.call_enrolments(now);
        self.note_places(now);
        self.demands.drain(..)
    }

    /// Whether there are commands for the bridge.
    pub fn has_orders(&self) -> bool {
        let has_said = !self.demands.is_empty() || self.users.has_calls();
        has_said || self.credit.has_draws() || self.has_places_to_note() || self.has_enrolments()
    }

    /// Does the work that is due.
    pub fn tick(&mut self, now: Now, out: &mut Vec<Outgoing>) {
        self.tick_credit(now, out);
        while let Some(entry) = self.due.first_entry()
            && *entry.key() <= now.mono
        {
            for due in entry.remove() {
                match due {
                    Due::Room(name, due) => self.room_due(now, name, due, out),
                    Due::User(name, due) => self.user_due(now, name, due, out),
                    Due::Calls => self.give_up(now, out),
                    Due::Waiting => {
                        self.give_up_waiting(now, out);
                        self.settle_owed(now);
                    }
                    Due::Questions => self.give_up_questions(now, out),
                    Due::Nodes => self.renew_if_due(now),
                    Due::Enrolments => self.enroll_again(now),
                }
            }
        }
    }

    /// When [`RedisOwner::tick`] has work, in monotonic milliseconds.
    pub fn next_due(&self) -> Option<u64> {
        let due = self.due.first_key_value().map(|(at, _)| *at);
        [due, self.credit.next_due()].into_iter().flatten().min()
    }
}
