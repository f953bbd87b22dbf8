//! The nodes that are alive, and the cleanup of dead ones.
//!
//! One sorted set holds each node's number with the end of its lease, by Redis's clock, so the clocks of nodes need not agree.
//! Each node renews its lease every [`RENEW_MS`]: one call, however many connections it has. A node whose lease has ended is
//! dead: another node removes its connections from all rooms and users.

use serde::Deserialize;
use smallvec::smallvec;

use crate::base::Name;
use crate::message::redis::{Bytes, RedisCommand, ScriptCall};
use crate::owner::redis::calls::{CallPurpose, CallResult};
use crate::owner::redis::cluster::ClusterCall;
use crate::owner::redis::cluster::node_message::NodeMessage;
use crate::owner::redis::cluster::registry;
use crate::owner::redis::deadlines::Deadline;
use crate::owner::redis::schema::KeySchema;
use crate::owner::redis::turn::OwnerTurn;
use crate::owner::redis::wire::{json, number, text};
use crate::owner::redis::{rooms, scripts, users};

/// Time between renewals, in milliseconds.
const RENEW_MS: u64 = 5_000;

/// Time until a failed renewal is repeated, in milliseconds.
const RETRY_MS: u64 = 1_000;

/// Dead nodes that one node cleans up after at the same time.
const CLEANUPS_MAX: usize = 4;

/// The number of a process, before it is a node.
pub struct NodeNumber;

#[derive(Deserialize)]
struct ClaimReply {
    #[serde(rename = "n")]
    node: u16,
}

#[derive(Deserialize)]
struct RenewReply {
    /// Reason of a refusal.
    #[serde(rename = "x", default)]
    refusal: Option<Box<str>>,
    /// 1 if the node was known, 2 if another one has cleaned up after it.
    #[serde(rename = "k", default)]
    standing: u8,
    #[serde(rename = "l", default)]
    alive: Vec<u16>,
    /// Time until the first lease ends, in milliseconds.
    #[serde(rename = "e", default)]
    first_end_ms: u64,
    #[serde(rename = "d", default)]
    dead: Vec<u16>,
    /// Users of the other live nodes.
    #[serde(rename = "u", default)]
    users_elsewhere: usize,
    /// Listed rooms that may not exist any more.
    #[serde(rename = "o", default)]
    overdue_rooms: Vec<Name>,
    /// Rooms that were left, and whose time without members is over.
    #[serde(rename = "i", default)]
    idle_rooms: Vec<Name>,
    /// Rooms without members to remove.
    #[serde(rename = "v", default)]
    excess_rooms: Vec<Name>,
}

/// An answer that grants or refuses.
#[derive(Deserialize)]
struct GrantReply {
    #[serde(rename = "x", default)]
    refusal: Option<Box<str>>,
}

#[derive(Deserialize)]
struct PlacesReply {
    #[serde(rename = "r")]
    rooms: Vec<Name>,
    #[serde(rename = "u")]
    users: Vec<Name>,
}

impl NodeNumber {
    /// The call that claims a number for the process of this name.
    pub fn claim(keys: &KeySchema, name: &str, wall_ms: u64) -> ScriptCall {
        let arguments = vec![number(wall_ms), text("0:0"), text("PUBLISH"), text(name)];
        ScriptCall { ticket: 0, script: &scripts::CLAIM_NODE, keys: smallvec![keys.nodes()], arguments }
    }

    /// The number in the answer; `None` when all numbers are taken.
    pub fn claimed(answer: &[u8]) -> Option<u16> {
        serde_json::from_slice::<ClaimReply>(answer).ok().map(|claimed| claimed.node)
    }
}

/// This node's lease, and the other nodes as of its last renewal.
#[derive(Default)]
pub(crate) struct NodeLease {
    /// The live nodes, with this one.
    alive: Vec<u16>,
    /// Users of the other nodes. A user on several nodes counts for each.
    users_elsewhere: usize,
    /// Whether a renewal is under way, or the node has stopped renewing.
    is_renewing: bool,
    /// Time of the next renewal, in monotonic milliseconds.
    renew_at: u64,
}

impl NodeLease {
    pub(crate) fn alive(&self) -> impl Iterator<Item = u16> {
        self.alive.iter().copied()
    }

    pub(crate) fn users_elsewhere(&self) -> usize {
        self.users_elsewhere
    }
}

/// A dead node that this node cleans up after.
struct Cleanup {
    node: u16,
    /// Rooms and users of the current portion without an answer.
    awaited: usize,
    /// Rooms and users of the current portion that are done.
    rooms: Vec<Bytes>,
    users: Vec<Bytes>,
    /// Whether a call has failed, so that the cleanup has to begin again.
    has_failed: bool,
}

/// This node's place among the nodes.
#[derive(Default)]
pub(crate) struct NodeMembership {
    /// Whether another process has this node's number.
    is_replaced: bool,
    /// Whether the channels of nodes are subscribed.
    is_subscribed: bool,
    cleanups: Vec<Cleanup>,
}

/// What Redis has of this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NodeStanding {
    Known,
    /// Another node has cleaned up: the members and users of this one are removed.
    Purged,
    /// Nothing: Redis was emptied.
    Forgotten,
}

/// The effects of a renewal on other components.
pub(crate) struct RenewedLease {
    pub(crate) standing: NodeStanding,
    /// Dead nodes to clean up after.
    pub(crate) dead: Vec<u16>,
    overdue_rooms: Vec<Name>,
    idle_rooms: Vec<Name>,
    excess_rooms: Vec<Name>,
}

impl NodeMembership {
    /// Whether another process has this node's number, so that this node has to stop.
    pub(crate) fn is_replaced(&self) -> bool {
        self.is_replaced
    }

    /// Redis answers: subscribes to the channels of nodes, and renews the lease.
    pub(crate) fn redis_is_back(&mut self, turn: &mut OwnerTurn<'_>) {
        if !std::mem::replace(&mut self.is_subscribed, true) {
            let (own, everyone) = (turn.node.keys.node(turn.own_node()), turn.node.keys.everyone());
            turn.node.calls.commands.push(RedisCommand::Subscribe(own));
            turn.node.calls.commands.push(RedisCommand::Subscribe(everyone));
            let emitters = turn.node.emitters.subscriptions();
            turn.node.calls.commands.extend(emitters.into_iter().map(RedisCommand::Subscribe));
        }
        renew_soon(turn);
    }

    /// This node stops: the others need not wait for the end of its lease, except that its clients get time to return.
    pub(crate) fn leave(&mut self, turn: &mut OwnerTurn<'_>) {
        turn.node.lease.is_renewing = true;
        let own = turn.own_node();
        let (name, grace) = (text(&*turn.node.settings.name), number(turn.node.rules.presence_grace_ms));
        turn.call_nodes(&scripts::LEAVE_NODE, ClusterCall::Done, vec![number(own.into()), name, grace]);
        let everyone = turn.node.keys.everyone();
        turn.publish(everyone, json(&NodeMessage::Gone(own)));
    }

    /// Handles the result of a renewal. Returns its effects, unless it has failed.
    pub(crate) fn renewed(&mut self, turn: &mut OwnerTurn<'_>, result: CallResult) -> Option<RenewedLease> {
        turn.node.lease.is_renewing = false;
        match result.ok().and_then(|text| serde_json::from_slice::<RenewReply>(&text).ok()) {
            Some(RenewReply { refusal: Some(why), .. }) if &*why == "taken" => {
                tracing::error!(node = turn.own_node(), "another process has taken this node's number");
                self.is_replaced = true;
                None
            }
            None | Some(RenewReply { refusal: Some(_), .. }) => {
                renew_in(turn, RETRY_MS);
                None
            }
            Some(reply) => {
                turn.note_writable();
                // A lease that ends before the next renewal has not been renewed for long: its node can be dead by then.
                renew_in(turn, RENEW_MS.min(reply.first_end_ms.saturating_add(1)));
                if turn.node.lease.alive.is_empty() {
                    let (everyone, own) = (turn.node.keys.everyone(), turn.own_node());
                    turn.publish(everyone, json(&NodeMessage::Here(own)));
                }
                turn.node.lease.alive = reply.alive;
                turn.node.lease.users_elsewhere = reply.users_elsewhere;
                Some(RenewedLease {
                    standing: match reply.standing {
                        0 => NodeStanding::Forgotten,
                        2 => NodeStanding::Purged,
                        _ => NodeStanding::Known,
                    },
                    dead: reply.dead,
                    overdue_rooms: reply.overdue_rooms,
                    idle_rooms: reply.idle_rooms,
                    excess_rooms: reply.excess_rooms,
                })
            }
        }
    }

    /// Checks rooms with an expired list entry, ends idle ones, removes those beyond the bound, and begins to clean up after dead nodes.
    pub(crate) fn clean_up(&mut self, turn: &mut OwnerTurn<'_>, renewed: RenewedLease) {
        for room in renewed.overdue_rooms {
            rooms::check_listed(turn, room);
        }
        for room in renewed.idle_rooms {
            rooms::end_idle(turn, room);
        }
        for room in renewed.excess_rooms {
            rooms::discard(turn, room);
        }
        for dead in renewed.dead.into_iter().take(CLEANUPS_MAX) {
            if self.cleanup(dead).is_none() {
                claim_cleanup(turn, dead);
            }
        }
    }

    fn cleanup(&mut self, node: u16) -> Option<&mut Cleanup> {
        self.cleanups.iter_mut().find(|cleanup| cleanup.node == node)
    }

    fn end_cleanup(&mut self, node: u16) {
        self.cleanups.retain(|cleanup| cleanup.node != node);
    }

    /// Handles the result of a claim: asks for places of the dead node, if this node may clean up.
    pub(crate) fn cleanup_claimed(&mut self, turn: &mut OwnerTurn<'_>, node: u16, result: CallResult) {
        let answer = result.ok().and_then(|text| serde_json::from_slice::<GrantReply>(&text).ok());
        if answer.is_none_or(|answer| answer.refusal.is_some()) {
            return self.end_cleanup(node);
        }
        if self.cleanup(node).is_none() {
            tracing::info!(node, "clearing up after a node that is no more");
            let (rooms, users) = (Vec::new(), Vec::new());
            self.cleanups.push(Cleanup { node, awaited: 0, rooms, users, has_failed: false });
        }
        let key = turn.node.keys.node(node);
        turn.call(&scripts::LIST_PLACES, key, None, CallPurpose::Cluster(ClusterCall::ListPlaces(node)), []);
    }

    /// Handles places of a dead node: removes its connections from them. When none are left, its number is free.
    pub(crate) fn places_listed(&mut self, turn: &mut OwnerTurn<'_>, node: u16, result: CallResult) {
        let places = result.ok().and_then(|text| serde_json::from_slice::<PlacesReply>(&text).ok());
        match (places, self.cleanup(node)) {
            (None, _) => self.end_cleanup(node),
            (Some(_), None) => {}
            (Some(PlacesReply { rooms, users }), Some(_)) if rooms.is_empty() && users.is_empty() => {
                self.end_cleanup(node);
                let arguments = vec![number(node.into()), number(turn.own_node().into())];
                turn.call_nodes(&scripts::END_CLEANUP, ClusterCall::Done, arguments);
            }
            (Some(PlacesReply { rooms, users }), Some(cleanup)) => {
                cleanup.awaited = rooms.len() + users.len();
                rooms.into_iter().for_each(|room| rooms::purge(turn, room, node));
                users.into_iter().for_each(|user| users::purge(turn, user, node));
            }
        }
    }

    /// A room of a dead node is done, or its call has failed.
    pub(crate) fn room_purged(&mut self, turn: &mut OwnerTurn<'_>, room: &Name, node: u16, is_done: bool) {
        self.purged(turn, node, is_done, |cleanup| cleanup.rooms.push(text(&**room)));
    }

    /// A user of a dead node is done, or its call has failed.
    pub(crate) fn user_purged(&mut self, turn: &mut OwnerTurn<'_>, user: &Name, node: u16, is_done: bool) {
        self.purged(turn, node, is_done, |cleanup| cleanup.users.push(text(&**user)));
    }

    fn purged(&mut self, turn: &mut OwnerTurn<'_>, node: u16, is_done: bool, note: impl FnOnce(&mut Cleanup)) {
        if let Some(cleanup) = self.cleanup(node) {
            match is_done {
                true => note(cleanup),
                false => cleanup.has_failed = true,
            }
            cleanup.awaited = cleanup.awaited.saturating_sub(1);
            if cleanup.awaited == 0 {
                self.portion_done(turn, node);
            }
        }
    }

    /// All calls of a portion are answered: records it, and goes on with the next one.
    fn portion_done(&mut self, turn: &mut OwnerTurn<'_>, node: u16) {
        let cleanup = self.cleanup(node).expect("invariant: a portion belongs to a cleanup");
        let (rooms, users) = (std::mem::take(&mut cleanup.rooms), std::mem::take(&mut cleanup.users));
        let has_failed = cleanup.has_failed;
        let key = turn.node.keys.node(node);
        let arguments = registry::record_arguments([Vec::new(), rooms, Vec::new(), users]);
        turn.call(&scripts::RECORD, key, None, CallPurpose::Cluster(ClusterCall::Done), arguments);
        if has_failed {
            // The next renewal returns the dead node again.
            self.end_cleanup(node);
        } else {
            claim_cleanup(turn, node);
        }
    }

    /// Checks that this node does not clean up after itself or twice after another one.
    pub(crate) fn check_invariants(&self, own_node: u16) {
        for (at, cleanup) in self.cleanups.iter().enumerate() {
            assert_ne!(cleanup.node, own_node, "invariant: a node does not clean up after itself");
            let is_once = self.cleanups[at + 1..].iter().all(|other| other.node != cleanup.node);
            assert!(is_once, "invariant: a dead node has one cleanup");
        }
    }
}

fn claim_cleanup(turn: &mut OwnerTurn<'_>, node: u16) {
    let arguments = vec![number(node.into()), number(turn.own_node().into())];
    turn.call_nodes(&scripts::CLAIM_CLEANUP, ClusterCall::ClaimCleanup(node), arguments);
}

/// Another node has started.
pub(crate) fn node_started(turn: &mut OwnerTurn<'_>, node: u16) {
    if !turn.node.lease.alive.contains(&node) {
        turn.node.lease.alive.push(node);
    }
}

/// Another node has stopped: a renewal finds out when its lease ends.
pub(crate) fn node_stopped(turn: &mut OwnerTurn<'_>, node: u16) {
    turn.node.lease.alive.retain(|alive| *alive != node);
    if node != turn.own_node() {
        renew_soon(turn);
    }
}

/// Renews the lease, if it is time to.
pub(crate) fn renew_if_due(turn: &mut OwnerTurn<'_>) {
    if turn.node.lease.renew_at <= turn.now.mono {
        renew_soon(turn);
    }
}

/// Renews the lease, unless a renewal is under way.
pub(crate) fn renew_soon(turn: &mut OwnerTurn<'_>) {
    if !std::mem::replace(&mut turn.node.lease.is_renewing, true) {
        let (own, name) = (number(turn.own_node().into()), text(&*turn.node.settings.name));
        let users = number(turn.node.directory.len() as u64);
        let bounds = [turn.node.settings.resting_rooms, turn.node.rules.keep_ms].map(number);
        let arguments = [own, name, users].into_iter().chain(bounds).collect();
        turn.call_nodes(&scripts::RENEW, ClusterCall::Renew, arguments);
    }
}

fn renew_in(turn: &mut OwnerTurn<'_>, ms: u64) {
    turn.node.lease.renew_at = turn.now.mono + ms;
    turn.after(ms, Deadline::Lease);
}
