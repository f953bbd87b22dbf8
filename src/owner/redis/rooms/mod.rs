//! Rooms: the subscriptions of this node, operations on rooms, and the events of their members.
//!
//! A node subscribes to the channel of each room with members on it, and of each room that a connection is about to enter:
//! an operation that can add a member waits until the subscription is confirmed, so no event is missed in between.
//!
//! - [`commands`] encodes operations, [`replies`] decodes the answers;
//! - [`subscription`] is the sequence state of one room, [`sequence`] drives it, [`delivery`] sends events to members;
//! - [`gaps`] finds missing events; [`outage`] is the behaviour without Redis.

pub(super) mod commands;
mod delivery;
pub(super) mod gaps;
mod messages;
mod online;
mod outage;
mod refusals;
mod replies;
mod sequence;
pub(super) mod subscription;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use uuid::Uuid;

use crate::base::Name;
use crate::base::ids::ConnectionId;
use crate::base::limits;
use crate::base::map::{Map, map};
use crate::domain::monitoring::MessageStats;
use crate::domain::op::{RoomOp, message_id};
use crate::domain::query::RoomsPage;
use crate::message::{Requester, ShardNumber};
use crate::owner::redis::calls::{CallPurpose, Calls};
use crate::owner::redis::cluster::registry::Registry;
use crate::owner::redis::deadlines::Deadline;
use crate::owner::redis::turn::OwnerTurn;
use crate::owner::redis::wire::{self, number, text};
use crate::owner::redis::{scripts, wire::flag};

use commands::RoomCall;
use messages::MessageIndex;
pub(super) use online::{OnlineUsers, announce_online};
use subscription::RoomSubscription;

/// Deferred work of a room.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum RoomDeadline {
    /// Remove a member whose connection was lost, unless it has returned.
    RemoveMember(ConnectionId),
    /// Stop the typing indicator of a connection that did not renew it.
    StopTyping(ConnectionId),
    /// Publish the number of members.
    PublishCount,
    /// Publish the number of users, or who is online.
    PublishOnline,
    /// Have media go from peer to peer again, if that is due.
    ReturnMode,
    /// End the streams that get no pieces.
    EndStreams,
    /// Search for missing events.
    FindGaps,
}

/// An operation that waits until the room's subscription is confirmed.
struct WaitingOp {
    room: Name,
    op: RoomOp,
    to: Requester,
    /// In monotonic milliseconds.
    since: u64,
}

/// Rooms with members on this node, for a query.
pub(super) struct RoomSummary {
    /// The first rooms.
    pub(super) names: Vec<Box<str>>,
    pub(super) total: usize,
    pub(super) members: usize,
}

/// The rooms of this node.
pub(super) struct Rooms {
    subscriptions: Map<Name, RoomSubscription>,
    /// Their names, in order.
    names: BTreeSet<Name>,
    waiting: Vec<WaitingOp>,
    /// Former members that Redis may still have; it is asked to remove them when it answers.
    departed: BTreeSet<(Name, ConnectionId)>,
    /// Connections that are returning to a room; see [`commands::PendingReturn`].
    returning: BTreeSet<(Name, ConnectionId)>,
    /// Typing indicators with their end in monotonic milliseconds; 0: ended by the client.
    typing: BTreeMap<(Name, ConnectionId), u64>,
    messages: MessageIndex,
    /// Rooms whose streams this node looks at, each with one deadline.
    streaming: BTreeSet<Name>,
}

impl Rooms {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            subscriptions: map(seed),
            names: BTreeSet::new(),
            waiting: Vec::new(),
            departed: BTreeSet::new(),
            returning: BTreeSet::new(),
            typing: BTreeMap::new(),
            messages: MessageIndex::default(),
            streaming: BTreeSet::new(),
        }
    }

    /// Calls the script of an operation, or lets the operation wait for the subscription.
    pub(super) fn request(&mut self, turn: &mut OwnerTurn<'_>, name: Name, op: RoomOp, to: Requester) {
        let is_ready = match op {
            RoomOp::Join(_) | RoomOp::Rejoin(_) => self.begin_arrival(turn, &name),
            // No operation overtakes one that waits.
            _ => self.subscriptions.get(&name).is_none_or(|room| room.is_subscribed),
        };
        if is_ready {
            self.call(turn, name, op, Some(to));
        } else {
            turn.after(super::calls::REPLY_MS, Deadline::WaitingOps);
            self.waiting.push(WaitingOp { room: name, op, to, since: turn.now.mono });
        }
    }

    /// Subscribes to a room for an operation that can add a member; whether the subscription is confirmed.
    fn begin_arrival(&mut self, turn: &mut OwnerTurn<'_>, name: &Name) -> bool {
        if let Some(room) = self.subscriptions.get_mut(name) {
            return room.begin_arrival();
        }
        turn.subscribe_room(name);
        self.names.insert(name.clone());
        self.subscriptions.entry(name.clone()).or_default().begin_arrival()
    }

    fn call(&mut self, turn: &mut OwnerTurn<'_>, name: Name, op: RoomOp, to: Option<Requester>) {
        match &op {
            RoomOp::SetTyping { connection, is_typing } => self.note_typing(turn, &name, *connection, *is_typing),
            RoomOp::Rejoin(back) => drop(self.returning.insert((name.clone(), back.join.connection))),
            RoomOp::RemoveMember { connection } | RoomOp::StartGrace { connection } => {
                self.returning.remove(&(name.clone(), *connection));
            }
            _ => {}
        }
        let (script, purpose, own) = commands::encode(turn, &name, op);
        let (key, rules) = (turn.node.keys.room(&name), turn.node.room_rules());
        turn.call(script, key, to, CallPurpose::Room(name, purpose), [rules].into_iter().chain(own));
    }

    fn note_typing(&mut self, turn: &mut OwnerTurn<'_>, room: &Name, connection: ConnectionId, is_typing: bool) {
        let key = (room.clone(), connection);
        if !is_typing {
            if let Some(until) = self.typing.get_mut(&key) {
                *until = 0;
            }
        } else if self.typing.insert(key, turn.now.mono + limits::TYPING_MS).is_none() {
            let deadline = RoomDeadline::StopTyping(connection);
            turn.after(limits::TYPING_MS, Deadline::Room(room.clone(), deadline));
        }
    }

    pub(super) fn due(&mut self, turn: &mut OwnerTurn<'_>, name: Name, deadline: RoomDeadline) {
        match deadline {
            RoomDeadline::RemoveMember(connection) => {
                self.call(turn, name, RoomOp::RemoveMember { connection }, None);
            }
            RoomDeadline::StopTyping(connection) => self.typing_due(turn, name, connection),
            RoomDeadline::PublishCount => {
                turn.call_room(&scripts::COUNT, name, None, RoomCall::Done, vec![text("u")]);
            }
            RoomDeadline::PublishOnline => online::count(turn, name),
            RoomDeadline::ReturnMode => {
                turn.call_room(&scripts::RETURN_MODE, name, None, RoomCall::Done, Vec::new());
            }
            RoomDeadline::EndStreams => {
                self.streaming.remove(&name);
                let message = message_id(&mut turn.node.rng, turn.now).to_string();
                turn.call_room(&scripts::END_STREAMS, name, None, RoomCall::Done, vec![text(message)]);
            }
            RoomDeadline::FindGaps => self.find_gaps(turn, name),
        }
    }

    /// Ends a typing indicator that was not renewed.
    fn typing_due(&mut self, turn: &mut OwnerTurn<'_>, name: Name, connection: ConnectionId) {
        let key = (name.clone(), connection);
        match self.typing.get(&key).copied() {
            Some(until) if until > turn.now.mono => {
                let deadline = Deadline::Room(name, RoomDeadline::StopTyping(connection));
                turn.node.deadlines.add(until, deadline);
            }
            Some(_) => {
                self.typing.remove(&key);
                let arguments = vec![wire::connection(connection), text("x")];
                turn.call_room(&scripts::SET_TYPING, name, None, RoomCall::Done, arguments);
            }
            None => {}
        }
    }

    /// A room's channel is subscribed: operations that waited for it begin. After an interruption, missed events are
    /// requested.
    pub(super) fn subscribed(&mut self, turn: &mut OwnerTurn<'_>, name: &str) {
        if let Some(room) = self.subscriptions.get_mut(name) {
            room.is_subscribed = true;
            let is_started = room.epoch.is_some();
            for waiting in self.waiting.extract_if(.., |waiting| *waiting.room == *name).collect::<Vec<_>>() {
                self.call(turn, waiting.room, waiting.op, Some(waiting.to));
            }
            if is_started {
                self.check_missed(turn, name.into());
            }
        }
    }

    /// The shards with members of a room, if the room is not too large for announcements.
    pub(super) fn announced_shards(&self, room: &str, limit: usize) -> impl Iterator<Item = ShardNumber> + use<> {
        let room = self.subscriptions.get(room).filter(|room| room.members.len() <= limit);
        room.map(RoomSubscription::shards).unwrap_or_default().into_iter()
    }

    pub(super) fn record_all(&self, registry: &mut Registry) {
        self.subscriptions.keys().for_each(|room| registry.room_entered(room));
    }

    /// Rooms with members on this node, with at most this many names.
    pub(super) fn summary(&self, most: usize) -> RoomSummary {
        let mut summary = RoomSummary { names: Vec::new(), total: 0, members: 0 };
        for (name, room) in self.subscriptions.iter().filter(|(_, room)| !room.members.is_empty()) {
            summary.total += 1;
            summary.members += room.members.len();
            if summary.names.len() < most {
                summary.names.push((**name).into());
            }
        }
        summary
    }

    /// The first names of a page of rooms with members on this node, and one more if there are more than `most`. Rooms that
    /// are looked at are bounded, too.
    pub(super) fn page(&self, page: &RoomsPage, most: usize) -> RoomSummary {
        let (start, is_included) = page.start();
        let start = if is_included { Bound::Included(start) } else { Bound::Excluded(start) };
        let names = self.names.range::<str, _>((start, Bound::Unbounded));
        let names = names.take_while(|name| name.starts_with(&*page.prefix));
        let has_members = |name: &&Name| self.subscriptions.get(*name).is_some_and(|room| !room.members.is_empty());
        let mut names: Vec<Box<str>> = names.filter(has_members).take(most + 1).map(|name| (**name).into()).collect();
        let total = names.len();
        names.truncate(most);
        RoomSummary { names, total, members: 0 }
    }

    /// The number of the last message of a room with members on this node; else 0.
    pub(super) fn last_message(&self, room: &str) -> u64 {
        self.subscriptions.get(room).map_or(0, |room| room.seq)
    }

    /// Counts of the messages that were sent from this node, and of its typing indicators.
    pub(super) fn message_stats(&self) -> MessageStats {
        let typing = self.typing.values().filter(|until| **until > 0).count() as u64;
        MessageStats { typing, ..self.messages.stats() }
    }

    /// The room of a message, if this node knows it.
    pub(super) fn room_of(&self, message: Uuid) -> Option<&Name> {
        self.messages.room_of(message)
    }

    /// Checks the subscriptions, and that each waiting operation has a deadline.
    pub(super) fn check_invariants(&self, calls: &Calls, next_expiry: Option<u64>) {
        assert_eq!(self.names.len(), self.subscriptions.len(), "invariant: each subscription has its name in order");
        for (name, room) in &self.subscriptions {
            assert!(self.names.contains(name), "invariant: each subscription has its name in order");
            room.check_invariants();
            // Members can leave without Redis; the subscription ends when Redis has removed them.
            let has_departed = self.departed.iter().any(|(room, _)| room == name) || calls.has_pending_in(name);
            let is_used = has_departed || !room.is_unused();
            assert!(is_used, "invariant: a subscription has members, arrivals or pending replies");
        }
        for waiting in &self.waiting {
            let room = self.subscriptions.get(&waiting.room);
            let is_waiting = room.is_some_and(|room| !room.is_subscribed);
            assert!(is_waiting, "invariant: operations wait for an unconfirmed subscription only");
            let expiry = waiting.since + super::calls::REPLY_MS;
            assert!(next_expiry.is_some_and(|at| at <= expiry), "invariant: a waiting operation has a deadline");
        }
        self.messages.check_invariants();
    }
}

/// Removes the members of a dead node from a room.
pub(super) fn purge(turn: &mut OwnerTurn<'_>, room: Name, node: u16) {
    turn.call_room(&scripts::PURGE, room, None, RoomCall::Purge(node), vec![number(node.into())]);
}

/// Removes a room without members, whose messages Redis keeps no longer.
pub(super) fn discard(turn: &mut OwnerTurn<'_>, room: Name) {
    turn.call_room(&scripts::DISCARD, room, None, RoomCall::Done, Vec::new());
}

/// Ends a room that was left, if it has been idle for too long.
pub(super) fn end_idle(turn: &mut OwnerTurn<'_>, room: Name) {
    turn.call_room(&scripts::END_IDLE, room, None, RoomCall::EndIdle, Vec::new());
}

/// Checks whether a listed room still exists: as an admin, and without its users.
pub(super) fn check_listed(turn: &mut OwnerTurn<'_>, room: Name) {
    let arguments = vec![text(""), flag(true), text(""), number(0)];
    turn.call_room(&scripts::LIST_USERS, room, None, RoomCall::CheckListed, arguments);
}
