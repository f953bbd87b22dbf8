//! How users are, for Socket.IO peers; what [`super::bulletin`] does for WebSockets that speak `raw`.

use crate::base::Name;
use crate::base::ids::{ConnectionId, PEER};
use crate::connection::outbound::Segment;
use crate::connection::peer::SocketIoPeer;
use crate::dialect::socketio::Dialect;
use crate::domain::op::{Op, UserOp};
use crate::message::{PresenceUpdate, ShardMessage, UpdateReach};
use crate::shard::Shard;
use crate::shard::answers::Ask;
use crate::shard::bulletin::Notice;

impl Shard {
    /// Passes news of a user on to the rooms of one of its peers; whether the peer is here.
    pub(super) fn pass_on_around(&mut self, of: ConnectionId, news: &std::sync::Arc<PresenceUpdate>) -> bool {
        let Some(peer) = self.peer_at(of) else { return false };
        for room in self.rooms_of_peer(peer) {
            let home = self.placement.of(&room);
            self.post(home, ShardMessage::PresenceUpdate { reach: UpdateReach::Room(room), news: news.clone() });
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
        let op = UserOp::AnnounceIn { connection, room: room.clone() };
        self.ask(Ask::forgotten(), Op::User(identity.user_name(), op));
    }

    /// Hands peers what they are to hear. `newcomers` are in order, each with the number of notices that were there before
    /// it.
    pub(super) fn tell_peers(&mut self, notices: &[Notice], newcomers: &[(u32, u32)]) {
        if self.sessions.peers.is_empty() {
            return;
        }
        for dialect in Dialect::ALL {
            self.tell_every_peer(dialect, notices, newcomers);
            self.tell_some_peers(dialect, notices, newcomers);
        }
    }

    /// Hands all peers of a dialect what everyone is to hear.
    fn tell_every_peer(&mut self, dialect: Dialect, notices: &[Notice], newcomers: &[(u32, u32)]) {
        let listening = self.sessions.peers.iter().filter(|(_, peer)| peer.is_connected && peer.dialect == dialect);
        let link = |(peer, it): (usize, &SocketIoPeer)| Some((PEER | peer as u32, self.sessions.named(it.link)?));
        let listeners: Vec<(u32, u32)> = listening.filter_map(link).collect();
        if listeners.is_empty() {
            return;
        }
        let run = self.run_of(notices, newcomers, |packed| {
            packed.for_peers.as_ref().map_or(&[][..], |for_peers| for_peers.frames(dialect))
        });
        let Some(mut run) = run else { return };
        for (key, at) in listeners {
            run.hand(key, |segment| {
                if !segment.is_empty() {
                    self.deliver(at, segment);
                }
            });
        }
    }

    /// Hands peers of a dialect what only some are to hear.
    fn tell_some_peers(&mut self, dialect: Dialect, notices: &[Notice], newcomers: &[(u32, u32)]) {
        let mut listeners = Vec::new();
        for (number, notice) in notices.iter().enumerate().filter(|(_, notice)| !notice.to.everyone) {
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

    /// The connected peers of a dialect that are to hear a notice.
    fn find_listeners(&self, notice: &Notice, dialect: Dialect, listeners: &mut Vec<u32>) {
        let peers = &self.sessions.peers;
        for room in &notice.to.rooms {
            listeners.extend(self.peer_rooms.members(room, dialect));
        }
        listeners.extend(notice.to.connections.iter().filter_map(|id| self.peer_at(*id)));
        listeners.sort_unstable();
        listeners.dedup();
        let is_listening =
            |peer: &u32| peers.get(*peer as usize).is_some_and(|it| it.is_connected && it.dialect == dialect);
        listeners.retain(is_listening);
    }
}
