//! Which nodes there are. Each says every few seconds that it is there; one that has not for a while is dead, and one of the
//! others clears up after it: whatever it had to do with hears that its connections are gone.
//!
//! One sorted set holds every node's number with the time its lease ends, by Redis's clock, so that nodes need not agree on
//! the time. A node costs one call every [`RENEW_MS`], however many connections it has.

use serde::Deserialize;
use smallvec::smallvec;

use crate::base::Name;
use crate::base::time::Now;
use crate::message::Outgoing;
use crate::message::redis::{Bytes, CallError, Script, ScriptCall};
use crate::owner::redis::nodes::say::Say;
use crate::owner::redis::nodes::{Purpose, scripts};
use crate::owner::redis::rooms::Purpose as Room;
use crate::owner::redis::wire::{json, number, text};
use crate::owner::redis::{Due, KeySchema, Purpose as Any, RedisOwner, scripts as acts};

/// How long a node that says nothing is taken for alive, in milliseconds.
const LEASE_MS: u64 = 15_000;

/// How often a node says that it is there, in milliseconds.
const RENEW_MS: u64 = 5_000;

/// How soon it is looked again at what is not as it should be, in milliseconds.
const AGAIN_MS: u64 = 1_000;

/// Rooms, and users, of a dead node that are dealt with at once.
const PORTION: u64 = 256;

/// Rooms that are looked after at once because they have been listed for long.
const OVERDUE: u64 = 1_024;

/// How many dead nodes one node clears up after at once.
const REAPED_AT_ONCE: usize = 4;

/// A process's claim to a number, before it is a node.
pub struct NodeNumber;

#[derive(Deserialize)]
struct Claimed {
    n: u16,
}

#[derive(Deserialize)]
struct Renewed {
    #[serde(default)]
    x: Option<Box<str>>,
    /// Whether the node was known.
    #[serde(default)]
    k: u8,
    /// The nodes that are alive.
    #[serde(default)]
    l: Vec<u16>,
    /// When the first lease ends, in milliseconds from now.
    #[serde(default)]
    e: u64,
    /// Those that are dead.
    #[serde(default)]
    d: Vec<u16>,
    /// Users on the others that are alive.
    #[serde(default)]
    u: usize,
    /// Rooms that may be there no longer, to be looked after.
    #[serde(default)]
    o: Vec<Box<str>>,
}

#[derive(Deserialize)]
struct Refusable {
    #[serde(default)]
    x: Option<Box<str>>,
}

#[derive(Deserialize)]
struct Left {
    r: Vec<Box<str>>,
    u: Vec<Box<str>>,
}

/// A dead node that this one clears up after.
pub(super) struct Reaping {
    pub(super) node: u16,
    /// Rooms and users that have not been dealt with.
    awaited: usize,
    /// What has been.
    done: (Vec<Bytes>, Vec<Bytes>),
    /// Whether something went wrong, so that it has to be tried again.
    is_stuck: bool,
}

impl NodeNumber {
    /// The call that claims a number for the process of this name.
    pub fn claim(keys: &KeySchema, name: &str, wall_ms: u64) -> ScriptCall {
        let head = [number(wall_ms), text("0:0"), text("PUBLISH")];
        let arguments = head.into_iter().chain([text(name), number(LEASE_MS)]).collect();
        ScriptCall { ticket: 0, script: &scripts::CLAIM, keys: smallvec![keys.nodes()], arguments }
    }

    /// The number that the answer to it names; `None` when there is none left.
    pub fn claimed(answer: &[u8]) -> Option<u16> {
        serde_json::from_slice::<Claimed>(answer).ok().map(|claimed| claimed.n)
    }
}

impl RedisOwner {
    /// Whether another process has this one's number, so that this one must not go on.
    pub fn is_replaced(&self) -> bool {
        self.nodes.is_replaced
    }

    /// This node goes; the others need not wait until they notice, but for those who were lost with it a moment ago.
    pub fn part(&mut self, now: Now) {
        self.note_places(now);
        // It does not say any more that it is there.
        self.nodes.is_renewing = true;
        let (node, name) = (number(self.settings.node.into()), text(&*self.settings.name));
        let arguments = vec![node, name, number(self.rules.presence_grace_ms)];
        self.call_nodes(now, &scripts::PART, Purpose::Done, arguments);
        self.say(self.keys.everyone(), json(&Say::Gone(self.settings.node)));
    }

    /// Another node says that it is there.
    pub(super) fn node_came(&mut self, node: u16) {
        if !self.nodes.alive.contains(&node) {
            self.nodes.alive.push(node);
        }
    }

    /// Another node says that it goes: when its lease ends is to be known.
    pub(super) fn node_went(&mut self, now: Now, node: u16) {
        self.nodes.alive.retain(|alive| *alive != node);
        if node != self.settings.node && !self.nodes.is_renewing {
            self.renew(now);
        }
    }

    /// Says that this node is there, if it is time to.
    pub(in crate::owner::redis) fn renew_if_due(&mut self, now: Now) {
        if self.nodes.renew_at <= now.mono && !self.nodes.is_renewing {
            self.renew(now);
        }
    }

    /// Says that this node is there, whether or not it is time to.
    pub(in crate::owner::redis) fn renew_soon(&mut self, now: Now) {
        if !self.nodes.is_renewing {
            self.renew(now);
        }
    }

    fn renew_in(&mut self, now: Now, ms: u64) {
        self.nodes.renew_at = now.mono + ms;
        self.due_in(now, ms, Due::Nodes);
    }

    /// Says that this node is there.
    pub(super) fn renew(&mut self, now: Now) {
        self.nodes.is_renewing = true;
        let (node, name) = (number(self.settings.node.into()), text(&*self.settings.name));
        let users = number(self.users.here.len() as u64);
        self.call_nodes(
            now,
            &scripts::RENEW,
            Purpose::Renew,
            vec![node, name, number(LEASE_MS), number(OVERDUE), users],
        );
    }

    pub(super) fn renewed(&mut self, now: Now, outcome: Result<Bytes, CallError>, out: &mut Vec<Outgoing>) {
        self.nodes.is_renewing = false;
        let renewed: Option<Renewed> = outcome.ok().and_then(|text| serde_json::from_slice(&text).ok());
        let Some(Renewed { x, k, l, e, d, u, o }) = renewed else {
            return self.renew_in(now, AGAIN_MS);
        };
        match x.as_deref() {
            Some("taken") => {
                tracing::error!(node = self.settings.node, "another process has taken this node's number");
                self.nodes.is_replaced = true;
                return;
            }
            Some(_) => return self.renew_in(now, AGAIN_MS),
            None => {}
        }
        self.note_kept(out);
        // Somebody whose lease ends before the next look has not said anything for long.
        self.renew_in(now, RENEW_MS.min(e + 1));
        if self.nodes.alive.is_empty() {
            self.say(self.keys.everyone(), json(&Say::Here(self.settings.node)));
        }
        (self.nodes.alive, self.nodes.others_users) = (l, u);
        if k == 0 {
            self.begin_anew(now, out);
        }
        self.look_after(now, o);
        for dead in d.into_iter().take(REAPED_AT_ONCE) {
            if self.nodes.reaping.iter().all(|reaping| reaping.node != dead) {
                self.reap(now, dead);
            }
        }
    }

    /// Asks to clear up after a dead node.
    fn reap(&mut self, now: Now, node: u16) {
        let arguments = vec![number(node.into()), number(self.settings.node.into()), number(LEASE_MS)];
        self.call_nodes(now, &scripts::REAP, Purpose::Reap(node), arguments);
    }

    /// Whether this node is to clear up after a dead one.
    pub(super) fn may_reap(&mut self, now: Now, node: u16, outcome: Result<Bytes, CallError>) {
        if !is_granted(outcome) {
            return self.nodes.reaping.retain(|reaping| reaping.node != node);
        }
        if self.nodes.reaping.iter().all(|reaping| reaping.node != node) {
            tracing::info!(node, "clearing up after a node that is no more");
            self.nodes.reaping.push(Reaping { node, awaited: 0, done: Default::default(), is_stuck: false });
        }
        let key = self.keys.node(node);
        self.call(now, &scripts::LEFT, key, None, Any::Nodes(Purpose::Left(node)), vec![number(PORTION)]);
    }

    /// What a dead node has left behind, or some of it.
    pub(super) fn is_left(&mut self, now: Now, node: u16, outcome: Result<Bytes, CallError>) {
        let left: Option<Left> = outcome.ok().and_then(|text| serde_json::from_slice(&text).ok());
        let Some(at) = self.nodes.reaping.iter().position(|reaping| reaping.node == node) else { return };
        let Some(Left { r, u }) = left else {
            self.nodes.reaping.remove(at);
            return;
        };
        if r.is_empty() && u.is_empty() {
            self.nodes.reaping.remove(at);
            let arguments = vec![number(node.into()), number(self.settings.node.into())];
            return self.call_nodes(now, &scripts::BURY, Purpose::Done, arguments);
        }
        self.nodes.reaping[at].awaited = r.len() + u.len();
        for room in r {
            self.purge_room(now, room.into(), node);
        }
        for user in u {
            self.purge_user(now, user.into(), node);
        }
    }

    /// A room of a dead node has been dealt with, or could not be.
    pub(in crate::owner::redis) fn room_purged(&mut self, now: Now, room: &Name, node: u16, is_done: bool) {
        self.purged(now, node, is_done, |reaping| reaping.done.0.push(text(&**room)));
    }

    /// A user of a dead node has been dealt with, or could not be.
    pub(in crate::owner::redis) fn user_purged(&mut self, now: Now, user: &Name, node: u16, is_done: bool) {
        self.purged(now, node, is_done, |reaping| reaping.done.1.push(text(&**user)));
    }

    fn purged(&mut self, now: Now, node: u16, is_done: bool, note: impl FnOnce(&mut Reaping)) {
        let Some(reaping) = self.nodes.reaping.iter_mut().find(|reaping| reaping.node == node) else { return };
        if is_done {
            note(reaping);
        } else {
            reaping.is_stuck = true;
        }
        reaping.awaited = reaping.awaited.saturating_sub(1);
        if reaping.awaited > 0 {
            return;
        }
        let (rooms, users) = std::mem::take(&mut reaping.done);
        let is_stuck = reaping.is_stuck;
        let key = self.keys.node(node);
        let arguments = note_of([Vec::new(), rooms, Vec::new(), users]);
        self.call(now, &scripts::NOTE, key, None, Any::Nodes(Purpose::Done), arguments);
        if is_stuck {
            // The next renewal finds the node dead still, and begins again.
            self.nodes.reaping.retain(|reaping| reaping.node != node);
        } else {
            self.reap(now, node);
        }
    }

    /// Has the members of a dead node in a room forgotten; those who stay hear that they have left.
    fn purge_room(&mut self, now: Now, room: Name, node: u16) {
        self.call_room(now, room, &acts::PURGE, Room::Purge(node), vec![number(node.into())], None);
    }

    fn call_nodes(&mut self, now: Now, script: &'static Script, purpose: Purpose, arguments: Vec<Bytes>) {
        let key = self.keys.nodes();
        self.call(now, script, key, None, Any::Nodes(purpose), arguments);
    }
}

/// The arguments of [`scripts::NOTE`].
pub(super) fn note_of(names: [Vec<Bytes>; 4]) -> Vec<Bytes> {
    let counts = names.each_ref().map(Vec::len);
    let head = text(format!("[{},{},{},{}]", counts[0], counts[1], counts[2], counts[3]));
    [head].into_iter().chain(names.into_iter().flatten()).collect()
}

fn is_granted(outcome: Result<Bytes, CallError>) -> bool {
    let answer: Option<Refusable> = outcome.ok().and_then(|text| serde_json::from_slice(&text).ok());
    answer.is_some_and(|answer| answer.x.is_none())
}
