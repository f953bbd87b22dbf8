//! Messages between shards: the queues of one turn, and the owner of each room, user and connection.

use std::collections::VecDeque;

use crate::base::ids::ConnectionId;
use crate::domain::op::{Op, Reply};
use crate::domain::reject::Reject;
use crate::message::{BRIDGE, Outgoing, Placement, Requester, ShardNumber, ThreadMessage};

/// Messages to this shard and to others.
pub(super) struct Channels {
    pub(super) number: ShardNumber,
    node: u16,
    pub(super) placement: Placement,
    /// Messages of the shard to itself, not handled yet.
    pub(super) local: VecDeque<ThreadMessage>,
    /// Messages to other shards, in order.
    pub(super) outgoing: Vec<Outgoing>,
    /// Output of the owner's last call; empty between calls.
    pub(super) owner_output: Vec<Outgoing>,
    /// Shards whose channels hold more messages than they should.
    congested: Vec<bool>,
}

impl Channels {
    pub(super) fn new(number: ShardNumber, node: u16, placement: Placement) -> Self {
        Self {
            number,
            node,
            placement,
            local: VecDeque::new(),
            outgoing: Vec::new(),
            owner_output: Vec::new(),
            congested: vec![false; placement.channels()],
        }
    }

    /// Sends a message, to this shard or to another one.
    pub(super) fn post(&mut self, to: ShardNumber, message: impl Into<ThreadMessage>) {
        let message = message.into();
        if to == self.number {
            self.local.push_back(message);
        } else {
            self.outgoing.push((to, message));
        }
    }

    /// Replies to a request of this shard, of another one or of the bridge.
    pub(super) fn reply(&mut self, to: Requester, reply: Result<Reply, Reject>) {
        let (to, message) = to.reply(reply);
        self.post(to, message);
    }

    /// Sends the output of the owner's last call.
    pub(super) fn post_owner_output(&mut self) {
        for (to, message) in self.owner_output.drain(..) {
            if to == self.number {
                self.local.push_back(message);
            } else {
                self.outgoing.push((to, message));
            }
        }
    }

    /// The owner of an operation's subject; this shard when every shard owns a part.
    pub(super) fn owner_of(&self, op: &Op) -> ShardNumber {
        match op {
            Op::Room(name, _) | Op::User(name, _) => self.placement.of(name),
            Op::Session(connection, _) => self.placement.of(connection.text().as_str()),
            Op::Connection(connection, _) => self.holder_of(*connection),
            Op::App(_) => self.number,
            // Any shard can reach the outbox.
            Op::Revocation(_) | Op::Outbox(_) => self.placement.of_revocations(),
            Op::Rooms | Op::Users(_) | Op::Broadcast(_) | Op::Query(_) | Op::FindMessageRoom { .. } => {
                self.placement.coordinator(self.number)
            }
        }
    }

    /// The owners that each own a part of what a query is about; this shard's own part comes last.
    pub(super) fn all_owners(&self) -> Vec<ShardNumber> {
        self.placement.other_owners(self.number).chain([self.placement.coordinator(self.number)]).collect()
    }

    /// The shard that holds a connection, if it is one of this process; otherwise the way to its node.
    fn holder_of(&self, connection: ConnectionId) -> ShardNumber {
        let place = connection.place();
        if place.node == self.node { place.shard } else { self.placement.coordinator(place.shard) }
    }

    /// Whether a connection of this id is possible.
    pub(super) fn may_exist(&self, connection: ConnectionId) -> bool {
        let (place, holder) = (connection.place(), self.holder_of(connection));
        // The number of the bridge in an id of this server is no shard's.
        holder == BRIDGE && place.node != self.node || usize::from(holder) < self.placement.shards()
    }

    /// The shard that is requested first for the session of a former connection: the connection may be there still.
    pub(super) fn shard_to_supersede(&self, former: ConnectionId) -> ShardNumber {
        if self.may_exist(former) { self.holder_of(former) } else { self.number }
    }

    /// Sets whether a shard's channel holds more messages than it should; new requests to it are then refused.
    pub(super) fn set_congested(&mut self, shard: ShardNumber, is_congested: bool) {
        let channel = Placement::channel_index(shard, self.congested.len());
        self.congested[channel] = is_congested;
    }

    /// Whether the channel to the owner of a room or user is congested.
    pub(super) fn is_congested(&self, name: &str) -> bool {
        self.congested[Placement::channel_index(self.placement.of(name), self.congested.len())]
    }
}
