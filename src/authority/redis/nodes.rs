//! What nodes say to each other, by their channels: what concerns a connection that another node holds, and questions that
//! every node answers for itself.

use std::sync::Arc;

use crate::authority::redis::{Outcome, Redis};
use crate::base::Name;
use crate::base::ids::ConnectionId;
use crate::base::time::Now;
use crate::domain::event::Event;
use crate::domain::op::Op;
use crate::domain::reject::Reject;
use crate::mail::redis::Demand;
use crate::mail::{Asker, News, Outgoing};

/// What is known of the other nodes.
#[derive(Default)]
pub(super) struct Nodes {}

impl Redis {
    /// Puts a question to whichever nodes can answer it.
    pub(super) fn ask_nodes(&mut self, _now: Now, _from: Asker, _op: Op, _out: &mut Vec<Outgoing>) -> Outcome {
        Err(Reject::storage_unavailable())
    }

    /// Tells a connection of another node something.
    pub(super) fn tell_elsewhere(&mut self, _to: ConnectionId, _event: Event) {}

    /// Tells all connections of a user something, on whichever nodes they are.
    pub(super) fn notify_user(&mut self, _now: Now, _user: &Name, _event: Event, _out: &mut Vec<Outgoing>) {}

    /// Tells the members of a room how a user is.
    pub(super) fn announce_in(&mut self, room: &Name, news: &Arc<News>, _out: &mut Vec<Outgoing>) {
        self.publish_news(room, news);
    }

    /// How many nodes there are.
    pub(super) fn nodes_alive(&self) -> usize {
        1
    }

    /// This node begins to have something to say of a user: has it noted, so that the others know it when it is dead.
    pub(super) fn user_came(&mut self, _user: &Name) {}

    /// It has nothing more to say of them.
    pub(super) fn user_went(&mut self, _user: &Name) {}

    /// Another node has something to say.
    pub(super) fn published(&mut self, _now: Now, _channel: &[u8], body: &[u8], out: &mut Vec<Outgoing>) {
        self.room_handed(body, out);
    }

    /// A channel of the nodes is listened to.
    pub(super) fn node_followed(&mut self, _now: Now, _channel: &[u8]) {}

    /// Redis answers again, or for the first time.
    pub(super) fn nodes_are_back(&mut self, _now: Now) {
        let channels = [self.keys.node(self.settings.node), self.keys.everyone()];
        self.demands.extend(channels.map(Demand::Follow));
    }

    /// This node has its first member in a room, or is about to.
    pub(super) fn node_enters(&mut self, _room: &Name) {}

    /// This node has no member in a room any more.
    pub(super) fn node_leaves(&mut self, _room: &Name) {}

    /// A user of a dead node has been dealt with, or could not be.
    pub(super) fn user_purged(&mut self, _now: Now, _user: &Name, _node: u16, _is_done: bool) {}
}
