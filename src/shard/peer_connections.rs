//! What a shard answers about the Socket.IO peers it holds, and does to them; what [`super::connections`] is for
//! WebSockets that speak `raw`.

use crate::base::Name;
use crate::base::ids::{ConnectionId, PEER};
use crate::base::time::Now;
use crate::connection::outbound::Segment;
use crate::connection::session::SessionRoute;
use crate::dialect::encoded_event::SocketIoEncodings;
use crate::dialect::socketio::Dialect;
use crate::domain::connection::{ConnectionOp, ConnectionView, connection_not_found};
use crate::domain::op::Reply;
use crate::domain::reject::Reject;
use crate::shard::Shard;
use crate::shard::arrivals::wall_of;
use crate::shard::recovery::Departing;

impl Shard {
    /// Applies one act on a peer of this shard.
    pub(super) fn apply_to_peer(
        &mut self,
        now: Now,
        connection: ConnectionId,
        op: ConnectionOp,
    ) -> Result<Reply, Reject> {
        let peer = self.peer_at(connection).ok_or_else(connection_not_found)?;
        let known = &self.sessions.peers[peer as usize];
        let (Some(owner), Some(at), true) =
            (known.identity.clone(), self.sessions.named(known.link), known.is_connected)
        else {
            return Err(connection_not_found());
        };
        match op {
            ConnectionOp::Describe => Ok(Reply::Described(vec![self.describe_peer(now, peer, at)])),
            ConnectionOp::SetDevice { user, .. } if *owner.user() != *user => Err(connection_not_found()),
            ConnectionOp::SetDevice { device, .. } => {
                self.sessions.arrivals.equip(at, device);
                Ok(Reply::Registered(Some(connection)))
            }
            ConnectionOp::Close { by } => {
                by.check_closes(&owner)?;
                self.disconnect_peer(now, peer, Departing::Removed);
                Ok(Reply::Closed(1))
            }
        }
    }

    /// A peer as its owner sees it.
    pub(super) fn view_of_peer(&self, now: Now, peer: u32) -> Option<ConnectionView> {
        let at = self.sessions.named(self.sessions.peers.get(peer as usize)?.link)?;
        Some(self.describe_peer(now, peer, at))
    }

    fn describe_peer(&self, now: Now, peer: u32, at: u32) -> ConnectionView {
        let known = &self.sessions.peers[peer as usize];
        let client = &self.sessions.list[at as usize];
        let arrivals = &self.sessions.arrivals;
        let rooms: Vec<Name> = self.rooms_of_peer(peer);
        ConnectionView {
            connection: self.id_of(PEER | peer),
            transport: if matches!(client.session.route(), SessionRoute::Socket(_)) { "websocket" } else { "polling" },
            dialect: known.dialect.name(),
            connected_at: arrivals.came_at(at, now),
            last_seen: wall_of(client.seen, now),
            rooms,
            device: arrivals.device(at).map(Into::into),
            address: arrivals.address(at),
            agent: arrivals.agent(at).map(Into::into),
        }
    }

    /// Sends a message to every peer of this shard; how many that are.
    pub(super) fn broadcast_to_peers(&mut self, direct: &SocketIoEncodings) -> usize {
        let mut reached = 0;
        for dialect in Dialect::ALL {
            let listening = self.sessions.peers.iter().filter(|(_, peer)| peer.is_connected && peer.dialect == dialect);
            let sessions: Vec<u32> = listening.filter_map(|(_, peer)| self.sessions.named(peer.link)).collect();
            if sessions.is_empty() {
                continue;
            }
            let segment: Segment = self.outbound.encode(|out| out.extend_from_slice(direct.frames(dialect)));
            for &at in &sessions {
                self.deliver(at, segment);
            }
            reached += sessions.len();
        }
        reached
    }
}
