//! The owner of rooms and users for a cluster of nodes: Redis holds them, and every node changes them by scripts that check,
//! number, store and publish in one step. This is the part of one node: it turns operations into calls of scripts, answers
//! into replies, and publications into messages for the shards with receivers.
//!
//! It does no input or output: it returns [`RedisCommand`]s, and takes [`RedisEvent`]s. So a test can run several nodes with
//! one Redis, one call at a time.
//!
//! # Components
//!
//! [`RedisOwner`] routes each input to the component that owns the state:
//!
//! - `rooms`: subscriptions, operations on rooms, events of rooms;
//! - `users`: connections of users, presence, direct messages;
//! - `sessions`: recoverable sessions; `quota`: quotas of users; `revocations`: who may not use the server;
//! - `cluster`: live and dead nodes, the registry of rooms and users, cross-node queries;
//! - `turn`: state that all of them use: `calls` (tickets, pending calls, commands), `deadlines`, `directory` (users with
//!   connections on this node).
//!
//! Each operation that reads or changes a room or a user is one script of the same name in `lua/`. The head of a script names
//! the file of [`crate::domain`] that it mirrors, and its arguments. `schema` has the keys and constants.

mod calls;
mod cluster;
mod deadlines;
mod directory;
mod hooks;
mod mode;
mod quota;
mod revocations;
mod rooms;
mod schema;
pub mod scripts;
mod sessions;
mod turn;
mod users;
mod wire;

use std::sync::Arc;

use crate::base::Name;
use crate::base::rng::Rng;
use crate::base::time::Now;
use crate::domain::op::{Op, Reply, RoomRules};
use crate::domain::quota::Rates;
use crate::domain::recovery::SessionOp;
use crate::domain::reject::Reject;
use crate::message::redis::{Bytes, CallError, RedisCommand, RedisEvent, RedisState, Script};
use crate::message::{BRIDGE, BridgeMessage, Outgoing, OwnerMessage, Requester};
use crate::owner::redis::calls::{CallPurpose, CallResult, PendingCall};
use crate::owner::redis::cluster::membership::{self, NodeMembership, NodeStanding};
use crate::owner::redis::cluster::queries::ClusterQueries;
use crate::owner::redis::cluster::{ClusterCall, apps, enrolment, registry};
use crate::owner::redis::deadlines::Deadline;
use crate::owner::redis::quota::ClusterQuotas;
use crate::owner::redis::revocations::ClusterRevocations;
use crate::owner::redis::rooms::Rooms;
use crate::owner::redis::rooms::commands::RoomCall;
use crate::owner::redis::turn::{NodeState, OwnerTurn};
use crate::owner::redis::users::{UserCall, UserPublication, Users};

pub use cluster::emitters::EmitterChannels;
pub use cluster::membership::NodeNumber;
pub use hooks::decode_hook;
pub use schema::KeySchema;

/// A node's use of Redis.
#[derive(Clone, Debug)]
pub struct RedisSettings {
    /// Number of this node among those that share the Redis.
    pub node: u16,
    /// Distinguishes this process from others that had, or may get, the same number.
    pub name: Box<str>,
    /// Shards of this node.
    pub shards: usize,
    /// Prefix of all keys and channels.
    pub prefix: Box<str>,
    /// Whether channels of rooms are sharded: published by the server of a cluster that keeps the room.
    pub sharded: bool,
    /// Quotas of users per minute.
    pub rates: Rates,
    /// Messages that a room keeps if its maker did not choose; 0: all.
    pub keep_messages: u64,
    /// Rooms without members whose messages Redis keeps; 0: any number.
    pub resting_rooms: u64,
    /// Channels by which other programs act on namespaces of the application.
    pub emitters: EmitterChannels,
}

/// One node's part of the owner.
pub struct RedisOwner {
    node: NodeState,
    rooms: Rooms,
    users: Users,
    quotas: ClusterQuotas,
    membership: NodeMembership,
    queries: ClusterQueries,
    revocations: ClusterRevocations,
}

/// Splits the owner into a turn and its components.
macro_rules! turn {
    ($self:ident, $now:expr, $out:expr) => {
        OwnerTurn { now: $now, node: &mut $self.node, out: $out }
    };
}

impl RedisOwner {
    /// A node without rooms or users.
    pub fn new(settings: RedisSettings, rules: Arc<RoomRules>, mut rng: Rng) -> Self {
        let seed = rng.next_u64();
        Self {
            rooms: Rooms::new(seed),
            users: Users::new(seed),
            quotas: ClusterQuotas::new(settings.rates, seed),
            membership: NodeMembership::default(),
            queries: ClusterQueries::default(),
            revocations: ClusterRevocations::default(),
            node: NodeState::new(settings, rules, rng, seed),
        }
    }

    /// All scripts that are called.
    pub fn scripts() -> Vec<&'static Script> {
        scripts::ALL.iter().chain(scripts::OF_NODES).copied().collect()
    }

    /// State of Redis.
    pub fn state(&self) -> RedisState {
        self.node.redis
    }

    /// Channel of this node's probes.
    pub fn probe(&self) -> Bytes {
        self.node.keys.probe(self.node.settings.node)
    }

    /// Number of users with connections on this node.
    pub fn users(&self) -> usize {
        self.node.directory.len()
    }

    /// Whether everyone receives presence, and not only users with a common room.
    pub fn presence_reaches_all(&self) -> bool {
        self.node.presence_reaches_all()
    }

    /// Whether another process has this node's number, so that this node has to stop.
    pub fn is_replaced(&self) -> bool {
        self.membership.is_replaced()
    }

    fn set_rules(&mut self, rules: Arc<RoomRules>, rates: Rates) {
        self.node.rules = rules;
        self.node.settings.rates = rates;
        self.quotas.set_rates(rates);
    }

    /// Handles a message from a shard of this node, or from the owner itself.
    pub fn handle_message(&mut self, now: Now, message: BridgeMessage, out: &mut Vec<Outgoing>) {
        let message = match message {
            BridgeMessage::Owner(message) => message,
            BridgeMessage::Rules(rules, rates) => return self.set_rules(rules, rates),
            BridgeMessage::Reply { ask, reply } => return self.handle_reply(now, ask, reply, out),
        };
        match message {
            // A query has asked a shard of this node to end a connection: the asking node takes the session.
            OwnerMessage::Request { from, op: Op::Session(_, op) }
                if from.shard == BRIDGE && matches!(*op, SessionOp::Take { .. } | SessionOp::Transfer { .. }) =>
            {
                self.handle_reply(now, from.ask, Ok(Reply::Done), out);
            }
            OwnerMessage::Request { from, op } => self.request(now, from, op, out),
            OwnerMessage::NotifyUser { user, event } => turn!(self, now, out).deliver_to_user(&user, &event),
            OwnerMessage::RoomPresence { room, update } => self.users.announce(&room, &update),
            OwnerMessage::DurableDelivered { user, id } => self.users.direct_delivered(&user, id),
            OwnerMessage::App(message) => apps::publish(&mut turn!(self, now, out), &message),
            OwnerMessage::QuotaRequest { from, request } => {
                self.quotas.request(&mut turn!(self, now, out), from, &request);
            }
            OwnerMessage::Supersede { connection, to, token, by, from } => {
                let mut turn = turn!(self, now, out);
                self.queries.supersede(&mut turn, &self.rooms, (connection, to), token, &by, from);
                self.request_lookups(now, out);
            }
        }
    }

    /// Does an operation, and replies to `from`.
    pub fn request(&mut self, now: Now, from: Requester, op: Op, out: &mut Vec<Outgoing>) {
        let is_away = self.node.redis == RedisState::Unreachable;
        let mut turn = turn!(self, now, out);
        match op {
            Op::Room(name, op) if is_away => {
                let reply = self.rooms.request_offline(&mut turn, name, op);
                turn.reply(Some(from), reply);
            }
            Op::User(name, op) if is_away => {
                let reject = self.users.request_offline(&mut turn, name, op);
                turn.reply(Some(from), Err(reject));
            }
            Op::Session(..) | Op::Revocation(_) | Op::Outbox(_) if is_away => {
                turn.reply(Some(from), Err(Reject::storage_unavailable()))
            }
            Op::Room(name, op) => self.rooms.request(&mut turn, name, op, from),
            Op::User(name, op) => self.users.request(&mut turn, name, op, from),
            Op::Session(connection, op) => sessions::request(&mut turn, connection, *op, from),
            Op::Revocation(change) => self.revocations.request(&mut turn, change, from),
            Op::Outbox(op) => hooks::request(&mut turn, op, from),
            // Shards have the sockets.
            Op::App(_) => turn.reply(Some(from), Err(Reject::overloaded())),
            op @ (Op::Rooms
            | Op::Users(_)
            | Op::Connection(..)
            | Op::Broadcast(_)
            | Op::Query(_)
            | Op::FindMessageRoom { .. }) => {
                self.queries.request(&mut turn, &self.rooms, from, op);
                self.request_lookups(now, out);
            }
        }
    }

    /// Handles the reply to a request that this owner has made.
    fn handle_reply(&mut self, now: Now, ask: u32, reply: Result<Reply, Reject>, out: &mut Vec<Outgoing>) {
        self.queries.replied(&mut turn!(self, now, out), ask, reply);
        self.request_lookups(now, out);
    }

    /// Requests the operations that queries need.
    fn request_lookups(&mut self, now: Now, out: &mut Vec<Outgoing>) {
        while let Some((from, op)) = self.queries.next_request() {
            self.request(now, from, op, out);
        }
    }

    /// Removes the connections of a user on a dead node.
    pub fn purge_user(&mut self, now: Now, user: Name, node: u16) {
        users::purge(&mut turn!(self, now, &mut Vec::new()), user, node);
    }

    /// This node stops: the other nodes need not wait for the end of its lease.
    pub fn leave(&mut self, now: Now) {
        let mut out = Vec::new();
        let mut turn = turn!(self, now, &mut out);
        registry::flush(&mut turn);
        self.membership.leave(&mut turn);
        debug_assert!(out.is_empty(), "invariant: a node that stops has no message for its shards");
    }

    /// Handles an event of Redis.
    pub fn handle_redis_event(&mut self, now: Now, event: RedisEvent, out: &mut Vec<Outgoing>) {
        match event {
            RedisEvent::Reply { ticket, outcome } => self.end_call(now, ticket, outcome, out),
            // A publication of a room, about a user, or from another node.
            RedisEvent::Published { channel, body } => {
                let mut turn = turn!(self, now, out);
                if apps::emitted(&mut turn, &channel, &body) {
                    return;
                }
                let room = turn.node.keys.room_of(&channel);
                if body.starts_with(schema::USER_MESSAGE_START) {
                    match serde_json::from_slice::<UserPublication>(&body) {
                        Ok(publication) => match publication.quota() {
                            Some(quota) => self.quotas.published(&mut turn, &publication.user(), quota),
                            None => self.users.published(&mut turn, &self.rooms, room.map(Name::from), publication),
                        },
                        Err(error) => tracing::warn!(%error, "what was published about a user is not understood"),
                    }
                } else if body.starts_with(schema::REVOCATION_START) {
                    self.revocations.published(&mut turn, &body);
                } else if let Some(room) = room {
                    self.rooms.published(&mut turn, &room, &body);
                } else if !self.rooms.delivered(&mut turn, &body) {
                    self.queries.published(&mut turn, &self.rooms, &body);
                    self.request_lookups(now, out);
                }
            }
            RedisEvent::Subscribed(channel) => {
                let mut turn = turn!(self, now, out);
                match turn.node.keys.room_of(&channel) {
                    Some(room) => self.rooms.subscribed(&mut turn, &room),
                    // This node's channel: publications for its users can have been missed.
                    None if channel == turn.node.keys.node(turn.own_node()) => self.users.restore_all(&mut turn),
                    None if channel == turn.node.keys.everyone() => {
                        self.revocations.subscribed(&mut turn);
                        apps::missed(&mut turn);
                        apps::begin_chain(&mut turn);
                    }
                    // Of emitters: what they published meanwhile is lost.
                    None => apps::missed(&mut turn),
                }
            }
            RedisEvent::State(state) => {
                (self.node.redis, self.node.is_read_only) = (state, false);
                let mut turn = turn!(self, now, out);
                match state {
                    RedisState::Ready => {
                        self.users.redis_is_back(&mut turn);
                        self.membership.redis_is_back(&mut turn);
                        self.rooms.remove_departed(&mut turn);
                        self.revocations.read_again(&mut turn);
                    }
                    RedisState::ReadOnly | RedisState::Partial | RedisState::Unreachable => {
                        self.rooms.release_replies(&mut turn)
                    }
                }
            }
        }
    }

    /// A call has its result, or has expired: passes the result to the component that made the call.
    fn end_call(&mut self, now: Now, ticket: u32, mut result: CallResult, out: &mut Vec<Outgoing>) {
        let Some(PendingCall { to, purpose, .. }) = self.node.calls.take(ticket) else {
            // The reply has come after the call had expired.
            return;
        };
        let mut turn = turn!(self, now, out);
        match &result {
            // The script did not begin, because its keys are moving to another server.
            Ok(text) if text.starts_with(schema::UNSETTLED_START) => {
                if let CallPurpose::Room(name, purpose) = &purpose {
                    self.rooms.unsettled(&mut turn, name, purpose);
                }
                result = Err(CallError::Away);
            }
            Err(CallError::Rejected(why)) => tracing::error!(%why, "Redis refuses"),
            Err(CallError::Full(why)) => turn.note_read_only(why),
            Ok(_) | Err(CallError::Away) => {}
        }
        match purpose {
            CallPurpose::Room(name, purpose) => {
                if let RoomCall::Purge(node) = purpose {
                    self.membership.room_purged(&mut turn, &name, node, result.is_ok());
                }
                if let Some(online) = self.rooms.replied(&mut turn, (to, ticket), name, purpose, result) {
                    self.queries.look_up_online(&mut turn, &self.rooms, online);
                }
            }
            CallPurpose::User(name, purpose) => {
                if let UserCall::Purge(node) = purpose {
                    self.membership.user_purged(&mut turn, &name, node, result.is_ok());
                }
                self.users.replied(&mut turn, to, name, purpose, result);
            }
            CallPurpose::QuotaLease(user, kind) => self.quotas.replied(&mut turn, &user, kind, result),
            CallPurpose::QuotaReturn => {}
            CallPurpose::Session(purpose) => sessions::replied(&mut turn, to, purpose, result),
            CallPurpose::Revocation(purpose) => self.revocations.replied(&mut turn, to, &purpose, result),
            CallPurpose::Outbox(op) => hooks::replied(&mut turn, to, &op, result),
            CallPurpose::Enrolment(enrolment) => enrolment::replied(&mut turn, *enrolment, result.is_ok()),
            CallPurpose::RoomList(query) => {
                let listed = enrolment::listed_rooms(result);
                self.queries.listed(&mut turn, query, listed);
            }
            CallPurpose::Cluster(purpose) => self.cluster_replied(now, purpose, result, out),
        }
        self.request_lookups(now, out);
    }

    /// Handles the result of a call on the set of nodes.
    fn cluster_replied(&mut self, now: Now, purpose: ClusterCall, result: CallResult, out: &mut Vec<Outgoing>) {
        let mut turn = turn!(self, now, out);
        match purpose {
            ClusterCall::Done => {}
            ClusterCall::Renew => {
                if let Some(renewed) = self.membership.renewed(&mut turn, result) {
                    if renewed.standing != NodeStanding::Known {
                        tracing::warn!(standing = ?renewed.standing, "this node begins anew");
                        self.record_all(now, out);
                        let mut turn = turn!(self, now, out);
                        match renewed.standing {
                            NodeStanding::Purged => self.rooms.leave_all_behind(&mut turn),
                            _ => self.rooms.check_all(&mut turn),
                        }
                        self.users.restore_all(&mut turn);
                        self.revocations.subscribed(&mut turn);
                    }
                    self.membership.clean_up(&mut turn!(self, now, out), renewed);
                }
            }
            // It is not known which changes were recorded: all are, again.
            ClusterCall::Record if result.is_err() => self.record_all(now, out),
            ClusterCall::Enlist(made) if result.is_err() => {
                made.into_iter().for_each(|room| turn.node.registry.enlist(room));
            }
            ClusterCall::Record | ClusterCall::Enlist(_) => {}
            ClusterCall::ListRooms(query) => self.queries.listed(&mut turn, query, registry::listed_rooms(result)),
            ClusterCall::ClaimCleanup(node) => self.membership.cleanup_claimed(&mut turn, node, result),
            ClusterCall::ListPlaces(node) => self.membership.places_listed(&mut turn, node, result),
        }
    }

    /// Records all rooms and users of this node.
    fn record_all(&mut self, now: Now, out: &mut Vec<Outgoing>) {
        let mut turn = turn!(self, now, out);
        self.rooms.record_all(&mut turn.node.registry);
        self.users.record_all(&mut turn);
    }

    /// Takes the commands for Redis, in order.
    pub fn commands(&mut self, now: Now) -> std::vec::Drain<'_, RedisCommand> {
        let mut out = Vec::new();
        let mut turn = turn!(self, now, &mut out);
        self.users.flush(&mut turn);
        self.quotas.flush(&mut turn);
        registry::flush(&mut turn);
        debug_assert!(out.is_empty(), "invariant: commands for Redis lead to no message for shards");
        self.node.calls.commands.drain(..)
    }

    /// Whether there are commands for Redis.
    pub fn has_commands(&self) -> bool {
        let has_registry_calls = self.node.is_writable() && self.node.registry.has_changes();
        !self.node.calls.commands.is_empty()
            || self.users.has_calls()
            || self.quotas.has_requests()
            || has_registry_calls
    }

    /// Does the work that is due.
    pub fn tick(&mut self, now: Now, out: &mut Vec<Outgoing>) {
        self.quotas.tick(&mut turn!(self, now, out));
        while let Some(due) = self.node.deadlines.pop_due(now.mono) {
            for deadline in due {
                self.due(now, deadline, out);
            }
        }
    }

    fn due(&mut self, now: Now, deadline: Deadline, out: &mut Vec<Outgoing>) {
        let mut turn = turn!(self, now, out);
        match deadline {
            Deadline::Room(name, deadline) => self.rooms.due(&mut turn, name, deadline),
            Deadline::User(name, deadline) => self.users.due(&mut turn, name, deadline),
            Deadline::Calls => self.expire_calls(now, out),
            Deadline::WaitingOps => {
                self.rooms.expire_waiting(&mut turn);
                self.rooms.remove_departed(&mut turn);
            }
            Deadline::Queries => {
                self.queries.expire(&mut turn);
                self.request_lookups(now, out);
            }
            Deadline::Lease => membership::renew_if_due(&mut turn),
            Deadline::Revocations => self.revocations.due(&mut turn),
            Deadline::Enrolments => self.node.registry.enrolments.resume(now.mono),
        }
    }

    fn expire_calls(&mut self, now: Now, out: &mut Vec<Outgoing>) {
        for ticket in self.node.calls.expired(now.mono) {
            self.end_call(now, ticket, Err(CallError::Away), out);
        }
        if let Some(expiry) = self.node.calls.next_expiry() {
            self.node.deadlines.add(expiry, Deadline::Calls);
        }
    }

    /// When [`Self::tick`] next has work, in monotonic milliseconds.
    pub fn next_due(&self) -> Option<u64> {
        [self.node.deadlines.next(), self.quotas.next_due()].into_iter().flatten().min()
    }

    /// Checks the invariants of all components, between two inputs.
    ///
    /// # Panics
    /// One of them does not hold.
    pub fn check_invariants(&self) {
        let NodeState { calls, deadlines, directory, registry, settings, .. } = &self.node;
        calls.check_invariants(deadlines.next_of(&Deadline::Calls));
        directory.check_invariants();
        registry.check_invariants();
        self.rooms.check_invariants(calls, deadlines.next_of(&Deadline::WaitingOps));
        self.users.check_invariants(directory);
        self.membership.check_invariants(settings.node);
        self.queries.check_invariants(deadlines.next_of(&Deadline::Queries));
    }
}
