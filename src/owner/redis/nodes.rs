//! What nodes have to do with each other: [which there are](lease), where each has [places](Places) that have to be cleared
//! when it is dead, and [questions](questions) that concern another node's connections, or that every node answers for
//! itself. Of these they speak by their channels.

mod lease;
mod listing;
mod quest;
mod questions;
mod say;
mod scripts;

use std::collections::BTreeSet;
use std::sync::Arc;

use uuid::Uuid;

use crate::base::Name;
use crate::base::time::Now;
use crate::domain::command::ReceiptKind;
use crate::message::redis::{Bytes, CallError, RedisCommand, Script};
use crate::message::{Outgoing, PresenceUpdate};
use crate::owner::redis::{Purpose as Any, RedisOwner, scripts as acts};

pub use lease::NodeNumber;
use lease::{Reaping, note_of};
use listing::Listing;
use questions::Questions;

use crate::owner::redis::wire::text;

/// What is known of the other nodes, and what this one has to tell them.
#[derive(Default)]
pub(super) struct Nodes {
    /// Those that are alive, this one among them.
    alive: Vec<u16>,
    /// Users that the others have, by what they said last. Whoever is on several of them counts for each.
    others_users: usize,
    /// Whether this node is saying that it is there.
    is_renewing: bool,
    /// When it is to say so again, in monotonic milliseconds.
    renew_at: u64,
    /// Whether another process has this one's number.
    is_replaced: bool,
    /// Whether its channels are listened to, or will be.
    is_listening: bool,
    reaping: Vec<Reaping>,
    rooms: Places,
    users: Places,
    listing: Listing,
    questions: Questions,
}

/// Rooms, or users, that a node begins to have to do with or no longer has: what is not noted in Redis yet.
#[derive(Default)]
struct Places {
    entered: BTreeSet<Name>,
    left: BTreeSet<Name>,
}

/// What a call was for.
pub(super) enum Purpose {
    /// Nothing but its being done.
    Done,
    Renew,
    /// Something was noted of this node's places.
    Note,
    /// Rooms were listed; those of them that were made on purpose.
    Enlist(BTreeSet<Name>),
    /// The rooms that Redis lists, for the sake of this node's question of that number.
    Listed(u32),
    /// This dead node is to be cleared up after.
    Reap(u16),
    /// What it has left behind.
    Left(u16),
}

impl Places {
    fn enter(&mut self, name: &Name) {
        self.left.remove(name);
        self.entered.insert(name.clone());
    }

    fn leave(&mut self, name: &Name) {
        self.entered.remove(name);
        self.left.insert(name.clone());
    }

    fn is_empty(&self) -> bool {
        self.entered.is_empty() && self.left.is_empty()
    }

    /// Takes what is to be noted: what was entered, and what was left.
    fn take(&mut self) -> [Vec<Bytes>; 2] {
        let texts = |names: &mut BTreeSet<Name>| std::mem::take(names).iter().map(|name| text(&**name)).collect();
        [texts(&mut self.entered), texts(&mut self.left)]
    }
}

impl Nodes {
    /// Notes which room a message is of, and whether it was sent from this node.
    pub(super) fn remember(&mut self, message: Uuid, room: &Name, is_own: bool) {
        self.questions.remember(message, room, is_own);
    }

    /// The users of a room are being looked up under this number.
    pub(super) fn look_for(&mut self, room: Name) -> u32 {
        self.questions.look_for(room)
    }

    /// Notes that a message was delivered, or read.
    pub(super) fn mark(&mut self, message: Uuid, kind: ReceiptKind) {
        self.questions.mark(message, kind);
    }
}

impl RedisOwner {
    /// All scripts that are called.
    pub fn scripts() -> Vec<&'static Script> {
        acts::ALL.iter().chain(scripts::ALL).copied().collect()
    }

    /// A channel of this node's on which nothing is said, to see whether anything arrives.
    pub fn probe(&self) -> Bytes {
        self.keys.probe(self.settings.node)
    }

    /// How many users there are on all nodes, as far as the others have said.
    pub(super) fn users_of_all(&self) -> usize {
        self.users.here.len() + self.nodes.others_users
    }

    /// Tells the members of a room how a user is.
    pub(super) fn announce_in(&mut self, room: &Name, news: &Arc<PresenceUpdate>, _out: &mut Vec<Outgoing>) {
        self.publish_news(room, news);
    }

    /// Another node has something to say.
    pub(super) fn published(&mut self, now: Now, _channel: &[u8], body: &[u8], out: &mut Vec<Outgoing>) {
        if !self.room_handed(body, out) {
            self.hear(now, body, out);
        }
    }

    /// A channel of the nodes is listened to.
    pub(super) fn node_followed(&mut self, _now: Now, _channel: &[u8]) {}

    /// Redis answers again, or for the first time.
    pub(super) fn nodes_are_back(&mut self, now: Now) {
        if !std::mem::replace(&mut self.nodes.is_listening, true) {
            self.demands.push(RedisCommand::Subscribe(self.keys.node(self.settings.node)));
            self.demands.push(RedisCommand::Subscribe(self.keys.everyone()));
        }
        if !self.nodes.is_renewing {
            self.renew(now);
        }
    }

    pub(super) fn nodes_answered(
        &mut self,
        now: Now,
        purpose: Purpose,
        outcome: Result<Bytes, CallError>,
        out: &mut Vec<Outgoing>,
    ) {
        match purpose {
            Purpose::Done => {}
            Purpose::Renew => self.renewed(now, outcome, out),
            // Whether it was noted is not known: all of it is, once more.
            Purpose::Note if outcome.is_err() => self.note_everything(),
            Purpose::Enlist(made) if outcome.is_err() => self.enlist_again(made),
            Purpose::Note | Purpose::Enlist(_) => {}
            Purpose::Listed(question) => self.listed(now, question, outcome, out),
            Purpose::Reap(node) => self.may_reap(now, node, outcome),
            Purpose::Left(node) => self.is_left(now, node, outcome),
        }
    }

    /// This node has its first member in a room, or is about to.
    pub(super) fn node_enters(&mut self, room: &Name) {
        self.nodes.rooms.enter(room);
    }

    /// This node has no member in a room any more.
    pub(super) fn node_leaves(&mut self, room: &Name) {
        self.nodes.rooms.leave(room);
        self.nodes.listing.leave(room.clone());
    }

    /// This node begins to have something to say of a user: has it noted, so that the others know it when it is dead.
    pub(super) fn user_came(&mut self, user: &Name) {
        self.nodes.users.enter(user);
    }

    /// It has nothing more to say of them.
    pub(super) fn user_went(&mut self, user: &Name) {
        self.nodes.users.leave(user);
    }

    pub(super) fn has_places_to_note(&self) -> bool {
        let nodes = &self.nodes;
        self.takes_notes() && !(nodes.rooms.is_empty() && nodes.users.is_empty() && nodes.listing.is_empty())
    }

    /// Has noted where this node has members and users: before it has them, so that nothing of it is forgotten, and with
    /// one call for all there is.
    pub(super) fn note_places(&mut self, now: Now) {
        self.note_listing(now);
        if !self.takes_notes() || self.nodes.rooms.is_empty() && self.nodes.users.is_empty() {
            return;
        }
        let ([entered, left], [came, went]) = (self.nodes.rooms.take(), self.nodes.users.take());
        let key = self.keys.node(self.settings.node);
        let arguments = note_of([entered, left, came, went]);
        self.call(now, &scripts::NOTE, key, None, Any::Nodes(Purpose::Note), arguments);
        self.demands.rotate_right(1);
    }

    fn note_everything(&mut self) {
        for room in self.rooms.keys() {
            self.nodes.rooms.enter(room);
        }
        self.note_users();
    }

    /// Redis has forgotten this node, or the others took it for dead. Whatever it had is said anew; what cannot be is
    /// given up.
    fn begin_anew(&mut self, now: Now, out: &mut Vec<Outgoing>) {
        tracing::warn!("Redis knows nothing of this node any more; it begins anew");
        self.note_everything();
        let rooms: Vec<Name> = self.rooms.keys().cloned().collect();
        for room in rooms {
            self.lose_room(now, &room, true, out);
        }
        let channel = self.keys.node(self.settings.node);
        self.users_followed(now, &channel);
    }
}
