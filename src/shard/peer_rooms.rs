//! From one event to every Socket.IO peer on this shard who is told it; what [`super::fanout`] is for WebSockets that
//! speak `raw`.
//!
//! Each room keeps the peers that are its members here, by dialect, and gathers what those of a dialect all get during a
//! turn in one run of bytes. At the end of the turn, or where a member is told something else that must come behind it,
//! the room is *settled*: each run is appended to the shard's outgoing bytes once, and each member gets it as one segment,
//! or into what it will poll.

use crate::base::Name;
use crate::base::grow;
use crate::base::ids::PEER;
use crate::base::table::{Named, Table};
use crate::client::conn::Membership;
use crate::client::outbound::{NOBODY, Segment};
use crate::client::session::Route;
use crate::dialect::packed::Packed;
use crate::dialect::socketio::{DIALECTS, Dialect};
use crate::shard::Shard;

/// The rooms that have peers as members on this shard, and what is gathered for all peers.
pub(super) struct PeerRooms {
    rooms: Table<PeerRoom>,
    /// Rooms with something to hand out.
    dirty: Vec<u32>,
    /// Members of those rooms, as many as they were when the turn began.
    waiting: usize,
    /// Runs to use again, for their memory.
    #[expect(clippy::vec_box, reason = "the boxes move between this list and the rooms")]
    spare: Vec<Box<Run>>,
}

struct PeerRoom {
    name: Name,
    groups: [Group; DIALECTS],
    is_dirty: bool,
}

/// A room's members of one dialect.
#[derive(Default)]
struct Group {
    /// The members' slots; each member knows its position.
    members: Vec<u32>,
    /// What they get in this turn.
    run: Option<Box<Run>>,
}

/// What they get in this turn.
#[derive(Default)]
struct Run {
    bytes: Vec<u8>,
    pieces: Vec<Piece>,
    /// The members that some piece leaves out.
    excepted: Vec<u32>,
}

struct Piece {
    end: u32,
    droppable: bool,
    /// The member, or [`NOBODY`].
    except: u32,
}

/// A run of bytes beyond which a room is settled before the turn's end.
const RUN_BYTES: usize = 256 * 1024;

/// Runs kept for further use.
const SPARE_RUNS: usize = 64;

impl Named for PeerRoom {
    fn name(&self) -> &str {
        &self.name
    }
}

impl PeerRooms {
    pub(super) fn new(seed: u64) -> Self {
        Self { rooms: Table::new(seed), dirty: Vec::new(), waiting: 0, spare: Vec::new() }
    }

    /// Whether something is gathered that members are to get.
    pub(super) fn is_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// How many members the next flush has something for, about.
    pub(super) fn waiting_members(&self) -> usize {
        self.waiting
    }

    /// The name of the room in `slot`.
    pub(super) fn name_of(&self, room: u32) -> Option<&Name> {
        self.rooms.at(room).map(|room| &room.name)
    }

    /// Whether it holds memory that [`PeerRooms::trim`] gives back.
    pub(super) fn is_large(&self) -> bool {
        !self.spare.is_empty()
    }

    /// Gives back memory that a burst of work has left.
    pub(super) fn trim(&mut self) {
        self.spare = Vec::new();
        self.dirty.shrink_to(SPARE_RUNS);
    }

    /// The peers of one dialect that are members of a room.
    pub(super) fn members(&self, room: &str, dialect: Dialect) -> &[u32] {
        self.rooms.get(room).map(|room| room.groups[dialect as usize].members.as_slice()).unwrap_or_default()
    }
}

impl Shard {
    /// Makes a peer a member; what was gathered before is not for it.
    pub(super) fn join_peer(&mut self, room: &Name, peer: u32) {
        let known = self.peer_rooms.rooms.find(room);
        let at = known.unwrap_or_else(|| {
            let groups = Default::default();
            self.peer_rooms.rooms.insert(PeerRoom { name: room.clone(), groups, is_dirty: false })
        });
        self.settle_peer_room(at);
        let Some(member) = self.sessions.peers.get_mut(peer as usize) else { return };
        let Some(room) = self.peer_rooms.rooms.at_mut(at) else { return };
        if member.rooms.as_slice().iter().any(|membership| membership.room == at) {
            return;
        }
        let members = &mut room.groups[member.dialect as usize].members;
        member.rooms.push(Membership { room: at, position: members.len() as u32 });
        grow::push(members, peer);
    }

    /// Ends a peer's membership; what was gathered before is still for it.
    pub(super) fn leave_peer(&mut self, room: &str, peer: u32) {
        let Some(at) = self.peer_rooms.rooms.find(room) else { return };
        self.settle_peer_room(at);
        let Some(member) = self.sessions.peers.get_mut(peer as usize) else { return };
        let Some(local) = self.peer_rooms.rooms.at_mut(at) else { return };
        let own = member.rooms.as_slice().iter().position(|membership| membership.room == at);
        let Some(membership) = own.and_then(|own| member.rooms.remove(own)) else { return };
        let position = membership.position as usize;
        let members = &mut local.groups[member.dialect as usize].members;
        members.swap_remove(position);
        grow::shrink(members);
        if let Some(moved) = members.get(position)
            && let Some(moved) = self.sessions.peers.get_mut(*moved as usize)
            && let Some(membership) = moved.rooms.as_mut_slice().iter_mut().find(|membership| membership.room == at)
        {
            membership.position = position as u32;
        }
        if local.groups.iter().all(|group| group.members.is_empty()) {
            self.peer_rooms.rooms.remove(room);
        }
    }

    /// Has a peer be told things in another dialect from now on.
    pub(super) fn change_dialect(&mut self, peer: u32, dialect: Dialect) {
        let Some(member) = self.sessions.peers.get(peer as usize) else { return };
        let rooms: Vec<Name> =
            member.rooms.as_slice().iter().filter_map(|own| self.peer_rooms.name_of(own.room).cloned()).collect();
        for room in &rooms {
            self.leave_peer(room, peer);
        }
        if let Some(member) = self.sessions.peers.get_mut(peer as usize) {
            member.dialect = dialect;
        }
        for room in &rooms {
            self.join_peer(room, peer);
        }
    }

    /// Gathers something for the peers in a room, but not for the one at `except` (or [`NOBODY`]).
    pub(super) fn publish_to_peers(&mut self, room: &str, except: u32, packed: &Packed) {
        let Some(for_peers) = &packed.for_peers else { return };
        let Some(at) = self.peer_rooms.rooms.find(room) else { return };
        let Some(room) = self.peer_rooms.rooms.at_mut(at) else { return };
        let mut is_full = false;
        for dialect in Dialect::ALL {
            let Group { members, run } = &mut room.groups[dialect as usize];
            if members.is_empty() {
                continue;
            }
            let frames = for_peers.frames(dialect);
            if frames.is_empty() {
                continue;
            }
            if !std::mem::replace(&mut room.is_dirty, true) {
                self.peer_rooms.dirty.push(at);
            }
            let run = run.get_or_insert_with(|| {
                self.peer_rooms.waiting += members.len();
                self.peer_rooms.spare.pop().unwrap_or_default()
            });
            let is_peer = except != NOBODY && except & PEER != 0 && !for_peers.is_for_its_sender(dialect);
            let except = if is_peer { except & !PEER } else { NOBODY };
            run.bytes.extend_from_slice(frames);
            run.pieces.push(Piece { end: run.bytes.len() as u32, droppable: packed.droppable, except });
            if except != NOBODY && !run.excepted.contains(&except) {
                run.excepted.push(except);
            }
            is_full |= run.bytes.len() > RUN_BYTES;
        }
        if is_full {
            self.settle_peer_room(at);
        }
    }

    /// Ends all memberships of peers in a room.
    pub(super) fn close_peer_room(&mut self, room: &str) {
        let Some(at) = self.peer_rooms.rooms.find(room) else { return };
        self.settle_peer_room(at);
        let Some(local) = self.peer_rooms.rooms.remove(room) else { return };
        for peer in local.groups.iter().flat_map(|group| &group.members) {
            let Some(member) = self.sessions.peers.get_mut(*peer as usize) else { continue };
            if let Some(own) = member.rooms.as_slice().iter().position(|membership| membership.room == at) {
                member.rooms.remove(own);
            }
        }
    }

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
    fn settle_peer_room(&mut self, at: u32) {
        for dialect in Dialect::ALL {
            let Some(room) = self.peer_rooms.rooms.at_mut(at).filter(|room| room.is_dirty) else { return };
            // Handing something out changes no membership, so the group is back before anyone looks for it.
            let mut group = std::mem::take(&mut room.groups[dialect as usize]);
            if let Some(mut run) = group.run.take() {
                run.excepted.sort_unstable();
                let whole = self.outbound.encode(|out| out.extend_from_slice(&run.bytes));
                for &peer in &group.members {
                    self.hand_run(peer, &run, whole);
                }
                run.clear();
                if self.peer_rooms.spare.len() < SPARE_RUNS && run.bytes.capacity() <= RUN_BYTES {
                    self.peer_rooms.spare.push(run);
                }
            }
            if let Some(room) = self.peer_rooms.rooms.at_mut(at) {
                room.groups[dialect as usize] = group;
            }
        }
        if let Some(room) = self.peer_rooms.rooms.at_mut(at) {
            room.is_dirty = false;
        }
    }

    /// Gives one member the run, or those of its pieces that are for it, each marked whether it may be dropped.
    fn hand_run(&mut self, peer: u32, run: &Run, whole: Segment) {
        let Some(member) = self.sessions.peers.get(peer as usize) else { return };
        let Some(at) = self.sessions.named(member.link) else { return };
        let keeps_up = match self.sessions.list[at as usize].session.route() {
            Route::Socket(to) => self.conns.get(to as usize).is_some_and(|conn| conn.queue.backlog.is_none()),
            Route::Buffer => false,
            Route::Nowhere => return,
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
}

impl Run {
    fn clear(&mut self) {
        self.bytes.clear();
        self.pieces.clear();
        self.excepted.clear();
    }
}
