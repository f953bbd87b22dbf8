//! Handing out what the rooms of Socket.IO peers have gathered ([`super::peer_rooms`]).
//!
//! At the end of the turn, or where a member is told something else that must come behind it, a room is *settled*: each run
//! is appended to the shard's outgoing bytes once, and each member gets it as one segment, or into what it will poll. Only
//! a member of several rooms whose messages carry offsets gets a copy of its own, since its offsets name all of its rooms.

use crate::base::few::SmallList;
use crate::codec::ws;
use crate::connection::outbound::Segment;
use crate::connection::peer::SocketIoPeer;
use crate::connection::session::SessionRoute;
use crate::dialect::offset;
use crate::shard::Shard;
use crate::shard::peer_rooms::{Group, PeerRooms, RUN_BYTES, Run, SPARE_RUNS};

impl Shard {
    /// Settles the rooms of one peer, so that what it is told alone comes after what its rooms were told before.
    pub(super) fn settle_for_peer(&mut self, peer: u32) {
        if self.peer_rooms.dirty.is_empty() {
            return;
        }
        let mut own = 0;
        while let Some(member) = self.sessions.peers.get(peer as usize)
            && let Some(membership) = member.rooms.as_slice().get(own)
        {
            own += 1;
            self.settle_peer_room(membership.room);
        }
    }

    /// Settles all rooms.
    pub(super) fn settle_peer_rooms(&mut self) {
        self.peer_rooms.waiting = 0;
        while let Some(at) = self.peer_rooms.dirty.pop() {
            self.settle_peer_room(at);
        }
    }

    /// Hands what a room has gathered to its members.
    pub(super) fn settle_peer_room(&mut self, at: u32) {
        let Some(room) = self.peer_rooms.rooms.at_mut(at).filter(|room| room.is_dirty) else { return };
        // Handing something out changes no membership, so the groups are back before anyone looks for them.
        let mut groups: SmallList<Group> = std::mem::take(&mut room.groups);
        room.is_dirty = false;
        room.seq = room.gathered;
        for group in groups.as_mut_slice() {
            let Some(mut run) = group.run.take() else { continue };
            run.excepted.sort_unstable();
            let whole = self.outbound.encode(|out| out.extend_from_slice(&run.bytes));
            for &peer in &group.members {
                self.hand_run(at, peer, &run, whole);
            }
            run.clear();
            if self.peer_rooms.spare.len() < SPARE_RUNS && run.bytes.capacity() <= RUN_BYTES {
                self.peer_rooms.spare.push(run);
            }
        }
        if let Some(room) = self.peer_rooms.rooms.at_mut(at) {
            room.groups = groups;
        }
    }

    /// Gives one member the run, or those of its pieces that are for it, each marked whether it may be dropped.
    fn hand_run(&mut self, room: u32, peer: u32, run: &Run, whole: Segment) {
        let Some(member) = self.sessions.peers.get(peer as usize) else { return };
        let Some(at) = self.sessions.named(member.link) else { return };
        if self.returns.is_under_way(peer) {
            // Whoever waits for the store for long is as slow as who does not read.
            if !self.returns.hold_run(room, peer, run, self.options.outbound_bytes) {
                self.sessions.slow.push(at);
            }
            return;
        }
        if run.has_offsets && member.rooms.len() > 1 {
            return self.hand_copies(room, peer, at, run, whole);
        }
        let keeps_up = match self.sessions.list[at as usize].session.route() {
            SessionRoute::Socket(to) => self.conns.get(to as usize).is_some_and(|conn| conn.queue.backlog.is_none()),
            SessionRoute::Buffer => false,
            SessionRoute::Nowhere => return,
        };
        if keeps_up && run.excepted.binary_search(&peer).is_err() {
            return self.deliver(at, whole);
        }
        let mut start = whole.start;
        for piece in &run.pieces {
            let end = whole.start + piece.end;
            if piece.except != peer {
                self.deliver(at, Segment { start, end, droppable: piece.droppable });
            }
            start = end;
        }
    }

    /// Gives a member of several rooms the run's pieces, the messages with offsets of its own.
    fn hand_copies(&mut self, room: u32, peer: u32, at: u32, run: &Run, whole: Segment) {
        let mut others = std::mem::take(&mut self.returns.draft);
        if let Some(member) = self.sessions.peers.get(peer as usize) {
            self.peer_rooms.append_offset(&mut others, member, Some(room));
        }
        let mut start = 0;
        for piece in &run.pieces {
            let end = piece.end;
            let segment = match piece.seq {
                0 => Segment { start: whole.start + start, end: whole.start + end, droppable: piece.droppable },
                _ => self.outbound.encode(|out| {
                    for (_, payload) in ws::frames(&run.bytes[start as usize..end as usize]) {
                        offset::with_more(out, payload, |out| out.extend_from_slice(&others));
                    }
                }),
            };
            if piece.except != peer {
                self.deliver(at, segment);
            }
            start = end;
        }
        others.clear();
        self.returns.draft = others;
    }
}

impl PeerRooms {
    /// Appends where a peer is in the logs of its rooms; without one of them, as what comes behind that one's entry.
    pub(super) fn append_offset(&self, out: &mut Vec<u8>, member: &SocketIoPeer, without: Option<u32>) {
        let mut is_first = without.is_none();
        for own in member.rooms.as_slice().iter().filter(|own| Some(own.room) != without) {
            if let Some(room) = self.rooms.at(own.room) {
                offset::entry(out, &room.epoch, room.seq, is_first);
                is_first = false;
            }
        }
    }
}

impl Run {
    fn clear(&mut self) {
        self.bytes.clear();
        self.pieces.clear();
        self.excepted.clear();
        self.has_offsets = false;
    }
}
