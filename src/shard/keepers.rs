//! Who keeps what a question is about, and whether it takes on new work.

use crate::base::ids::ConnectionId;
use crate::base::limits;
use crate::domain::op::Op;
use crate::message::{BRIDGE, Placement, ShardNumber};
use crate::shard::Shard;

impl Shard {
    /// The shard that keeps what `op` is about; this one when every shard keeps a part.
    pub(super) fn keeper_of(&self, op: &Op) -> ShardNumber {
        match op {
            Op::Room(name, _) | Op::User(name, _) => self.placement.of(name),
            Op::Session(connection, _) => self.placement.of(connection.text().as_str()),
            Op::Connection(connection, _) => self.holder_of(*connection),
            Op::Rooms | Op::Users(_) | Op::Broadcast(_) | Op::Query(_) | Op::FindMessageRoom { .. } => {
                self.placement.whoever(self.number)
            }
        }
    }

    /// Who has to do with a connection: the shard that holds it, if it is one of this process.
    pub(super) fn holder_of(&self, connection: ConnectionId) -> ShardNumber {
        let place = connection.place();
        if place.node == self.options.node { place.shard } else { self.placement.whoever(place.shard) }
    }

    /// Whether there may be a connection of this id.
    pub(super) fn may_be(&self, connection: ConnectionId) -> bool {
        let holder = self.holder_of(connection);
        holder == BRIDGE || usize::from(holder) < self.placement.shards()
    }

    /// Whether the keeper of `name` takes on new work.
    pub(super) fn is_open(&self, name: &str) -> bool {
        let mailbox = Placement::mailbox(self.placement.of(name), self.congested.len());
        self.asks.len() < limits::ASKS_PER_SHARD && !self.congested[mailbox]
    }
}
