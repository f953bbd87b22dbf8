//! What a shard answers about the connections it holds, and does to them, for whoever asks from anywhere; and what it
//! tells them all at once.

use std::sync::Arc;

use crate::base::ids::ConnectionId;
use crate::base::time::Now;
use crate::codec::ws;
use crate::connection::conn::HandshakeState;
use crate::dialect::encoded_event::EncodedEvent;
use crate::dialect::raw;
use crate::domain::connection::{ConnectionOp, ConnectionView, connection_not_found};
use crate::domain::event::{Direct, Event};
use crate::domain::op::{PushResult, Reply};
use crate::domain::reject::Reject;
use crate::shard::Shard;
use crate::shard::arrivals::wall_of;
use crate::shard::recovery::Departing;

impl Shard {
    /// Applies one act on a connection of this shard.
    pub(super) fn apply_to_connection(
        &mut self,
        now: Now,
        connection: ConnectionId,
        op: ConnectionOp,
    ) -> Result<Reply, Reject> {
        if connection.is_peer() {
            return self.apply_to_peer(now, connection, op);
        }
        let slot = self.slot_of(connection).filter(|slot| self.conns[*slot as usize].is_listening());
        let slot = slot.ok_or_else(connection_not_found)?;
        let owner = self.conns[slot as usize].identity.clone().ok_or_else(connection_not_found)?;
        match op {
            ConnectionOp::Describe => Ok(Reply::Described(vec![self.describe(now, slot)])),
            ConnectionOp::SetDevice { user, .. } if *owner.user() != *user => Err(connection_not_found()),
            ConnectionOp::SetDevice { device, .. } => {
                self.arrivals.equip(slot, device);
                Ok(Reply::Registered(Some(connection)))
            }
            ConnectionOp::Close { by } => {
                by.check_closes(&owner)?;
                self.remove(now, slot);
                Ok(Reply::Closed(1))
            }
        }
    }

    fn describe(&self, now: Now, slot: u32) -> ConnectionView {
        let conn = &self.conns[slot as usize];
        let rooms = conn.rooms.as_slice().iter();
        ConnectionView {
            connection: self.id_of(slot),
            transport: "websocket",
            dialect: "raw",
            connected_at: self.arrivals.came_at(slot, now),
            last_seen: wall_of(conn.seen, now),
            rooms: rooms.filter_map(|membership| self.fanout.name_of(membership.room).cloned()).collect(),
            device: self.arrivals.device(slot).map(Into::into),
            address: self.arrivals.address(slot),
            agent: self.arrivals.agent(slot).map(Into::into),
        }
    }

    /// Closes a connection because its user or an admin wants it gone: nobody expects it back.
    fn remove(&mut self, now: Now, slot: u32) {
        self.greet(now, slot);
        self.fanout.settle_for(slot, &mut self.conns, &mut self.outbound);
        self.send_raw(slot, |out| raw::disconnect(out, "removed", None, now));
        self.say_goodbye(now, slot, Departing::Removed, |out| ws::encode_close(out, 4410, "removed"));
    }

    /// Sends a message to every connection of this shard, whatever it speaks.
    pub(super) fn broadcast(&mut self, now: Now, direct: Arc<Direct>) -> Reply {
        let event = Event::Direct(direct);
        let packed = EncodedEvent::new(&event, now, &mut Vec::new()).and_for_peers(&event, now);
        let segment = self.outbound.encode(|out| out.extend_from_slice(&packed.raw));
        let mut reached = packed.for_peers.map_or(0, |for_peers| self.broadcast_to_peers(&for_peers));
        for (slot, conn) in &mut self.conns {
            if conn.is_listening() && conn.standing != HandshakeState::New {
                self.outbound.push(slot as u32, &mut conn.queue, segment);
                reached += 1;
            }
        }
        Reply::Pushed(PushResult { reached, offline: Vec::new() })
    }
}
