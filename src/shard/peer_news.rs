//! How users are, for Socket.IO peers; what [`super::bulletin`] does for WebSockets that speak `raw`.

use crate::base::Name;
use crate::base::ids::{ConnectionId, PEER};
use crate::client::outbound::Segment;
use crate::dialect::socketio::Dialect;
use crate::domain::op::{Op, UserOp};
use crate::mail::{Mail, News, Reach};
use crate::shard::Shard;
use crate::shard::answers::Ask;
use crate::shard::bulletin::Notice;

impl Shard {
    /// Passes news of a user on to the rooms of one of its peers; whether the peer is here.
    pub(super) fn pass_on_around(&mut self, of: ConnectionId, news: &std::sync::Arc<News>) -> bool {
        let Some(peer) = self.peer_at(of) else { return false };
        for room in self.rooms_of_peer(peer) {
            let home = self.placement.of(&room);
            self.post(home, Mail::News { reach: Reach::Room(room), news: news.clone() });
        }
        true
    }

    /// Has the members of a room that a peer has joined told how its user is.
    pub(super) fn introduce_peer(&mut self, peer: u32, room: &Name) {
        if self.is_told_anyway() {
            return;
        }
        let Some(identity) = self.peer_identity(peer) else { return };
        let connection = self.id_of(PEER | peer);
        let op = UserOp::Introduce { connection, room: room.clone() };
        self.ask(Ask::forgotten(), Op::User(identity.user_name(), op));
    }

    /// Hands peers what they are to hear, what is for all of a dialect as one run. `newcomers` are in order, each with the
    /// number of notices that were there before it.
    pub(super) fn tell_peers(&mut self, notices: &[Notice], newcomers: &[(u32, u32)]) {
        if self.sessions.peers.is_empty() {
            return;
        }
        for dialect in Dialect::ALL {
            let mut listeners = Vec::new();
            for (number, notice) in notices.iter().enumerate() {
                let Some(for_peers) = &notice.news.packed.for_peers else { continue };
                listeners.clear();
                self.find_listeners(notice, dialect, &mut listeners);
                let except = self.key_of(notice.news.except);
                listeners.retain(|peer| {
                    let key = PEER | *peer;
                    let later = newcomers.partition_point(|(newcomer, _)| *newcomer <= key);
                    let before = later.checked_sub(1).map(|at| newcomers[at]).filter(|(newcomer, _)| *newcomer == key);
                    key != except && before.is_none_or(|(_, before)| number >= before as usize)
                });
                let frames = for_peers.frames(dialect);
                if listeners.is_empty() || frames.is_empty() {
                    continue;
                }
                let segment = self.outbound.encode(|out| out.extend_from_slice(frames));
                for peer in &listeners {
                    let link = self.sessions.peers[*peer as usize].link;
                    if let Some(at) = self.sessions.named(link) {
                        self.deliver(at, Segment { droppable: true, ..segment });
                    }
                }
            }
        }
    }

    /// The connected peers of a dialect that are to hear a notice.
    fn find_listeners(&self, notice: &Notice, dialect: Dialect, listeners: &mut Vec<u32>) {
        let peers = &self.sessions.peers;
        if notice.to.everyone {
            listeners.extend(peers.iter().map(|(peer, _)| peer as u32));
        } else {
            for room in &notice.to.rooms {
                listeners.extend_from_slice(self.peer_rooms.members(room, dialect));
            }
            listeners.extend(notice.to.connections.iter().filter_map(|id| self.peer_at(*id)));
            listeners.sort_unstable();
            listeners.dedup();
        }
        let is_listening =
            |peer: &u32| peers.get(*peer as usize).is_some_and(|it| it.is_connected && it.dialect == dialect);
        listeners.retain(is_listening);
    }
}
