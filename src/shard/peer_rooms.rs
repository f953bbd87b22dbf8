//! From one event to every Socket.IO peer on this shard who is told it; what [`super::fanout`] is for WebSockets that
//! speak `raw`.
//!
//! Each room keeps the peers that are its members here, in groups: by dialect, and by whether their messages carry offsets
//! ([`crate::dialect::offset`]). What a group gets during a turn is gathered in one run of bytes, and handed out by
//! [`super::peer_runs`].

use crate::base::Name;
use crate::base::few::SmallList;
use crate::base::grow;
use crate::base::ids::PEER;
use crate::base::table::{HasName, Table};
use crate::base::time::Now;
use crate::connection::outbound::NO_CONNECTION;
use crate::connection::peer::{PeerMembership, Recovery, SocketIoPeer};
use crate::dialect::encoded_event::EncodedEvent;
use crate::dialect::socketio::Dialect;
use crate::shard::Shard;

/// The rooms that have peers as members on this shard, and what is gathered for all peers.
pub(super) struct PeerRooms {
    pub(super) rooms: Table<PeerRoom>,
    /// Rooms with something to hand out.
    pub(super) dirty: Vec<u32>,
    /// Members of those rooms, as many as they were when the turn began.
    pub(super) waiting: usize,
    /// Runs to use again, for their memory.
    #[expect(clippy::vec_box, reason = "the boxes move between this list and the rooms")]
    pub(super) spare: Vec<Box<Run>>,
}

pub(super) struct PeerRoom {
    name: Name,
    /// Which run of the room's log the numbers count in.
    pub(super) epoch: Name,
    /// The last message that was gathered.
    pub(super) gathered: u64,
    /// The last message that was handed to the members.
    pub(super) seq: u64,
    pub(super) groups: SmallList<Group>,
    pub(super) is_dirty: bool,
}

/// Where a room's members here are in its log.
#[derive(Clone, Debug)]
pub(super) struct Standing {
    pub(super) room: Name,
    pub(super) epoch: Name,
    pub(super) seq: u64,
}

/// A room's members that are all told things in the same way.
pub(super) struct Group {
    pub(super) manner: Manner,
    /// The members' slots; each member knows its position.
    pub(super) members: Vec<u32>,
    /// What they get in this turn.
    pub(super) run: Option<Box<Run>>,
}

/// The way in which somebody is told things.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Manner {
    pub(super) dialect: Dialect,
    pub(super) with_offsets: bool,
}

/// What a group gets in this turn.
#[derive(Default)]
pub(super) struct Run {
    pub(super) bytes: Vec<u8>,
    pub(super) pieces: Vec<Piece>,
    /// The members that some piece leaves out.
    pub(super) excepted: Vec<u32>,
    /// Whether there are messages in it, whose offsets differ for those who are in more rooms than this.
    pub(super) has_offsets: bool,
}

pub(super) struct Piece {
    pub(super) end: u32,
    pub(super) droppable: bool,
    /// The member, or [`NO_CONNECTION`].
    pub(super) except: u32,
    /// The number of the message that it is; 0 when it is something else.
    pub(super) seq: u64,
}

/// A run of bytes beyond which a room is settled before the turn's end.
pub(super) const RUN_BYTES: usize = 256 * 1024;

/// Runs kept for further use.
pub(super) const SPARE_RUNS: usize = 64;

impl Manner {
    pub(super) fn of(peer: &SocketIoPeer) -> Self {
        Self { dialect: peer.dialect, with_offsets: peer.recovery == Recovery::Offsets }
    }
}

impl PeerRoom {
    fn group(&mut self, manner: Manner) -> &mut Group {
        let known = self.groups.as_slice().iter().position(|group| group.manner == manner);
        let at = known.unwrap_or_else(|| {
            self.groups.push(Group { manner, members: Vec::new(), run: None });
            self.groups.len() - 1
        });
        &mut self.groups.as_mut_slice()[at]
    }
}

impl HasName for PeerRoom {
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
    pub(super) fn members(&self, room: &str, dialect: Dialect) -> impl Iterator<Item = u32> {
        let groups = self.rooms.get(room).map(|room| room.groups.as_slice()).unwrap_or_default();
        let of_dialect = groups.iter().filter(move |group| group.manner.dialect == dialect);
        of_dialect.flat_map(|group| &group.members).copied()
    }

    /// The place of a room that has members here.
    pub(super) fn place_of(&self, room: &str) -> Option<u32> {
        self.rooms.find(room)
    }

    /// Where the members of the room in `slot` are in its log.
    pub(super) fn standing_of(&self, room: u32) -> Option<Standing> {
        let room = self.rooms.at(room)?;
        Some(Standing { room: room.name.clone(), epoch: room.epoch.clone(), seq: room.seq })
    }
}

impl Shard {
    /// Makes a peer a member of a room that is at this place in its log; what was gathered before is not for it. `since` is
    /// where its own offsets begin.
    pub(super) fn join_peer(&mut self, standing: &Standing, since: u64, peer: u32) {
        let known = self.peer_rooms.rooms.find(&standing.room);
        let at = known.unwrap_or_else(|| {
            let Standing { room, epoch, seq } = standing.clone();
            let room = PeerRoom { name: room, epoch, gathered: seq, seq, groups: SmallList::None, is_dirty: false };
            self.peer_rooms.rooms.insert(room)
        });
        self.settle_peer_room(at);
        let Some(member) = self.sessions.peers.get_mut(peer as usize) else { return };
        let Some(room) = self.peer_rooms.rooms.at_mut(at) else { return };
        if room.epoch != standing.epoch {
            room.epoch = standing.epoch.clone();
        }
        (room.gathered, room.seq) = (standing.seq, standing.seq);
        if member.rooms.as_slice().iter().any(|membership| membership.room == at) {
            return;
        }
        let members = &mut room.group(Manner::of(member)).members;
        member.rooms.push(PeerMembership { room: at, position: members.len() as u32, since: since as u32 });
        grow::push(members, peer);
    }

    /// Ends a peer's membership; what was gathered before is still for it.
    pub(super) fn leave_peer(&mut self, room: &str, peer: u32) {
        let Some(at) = self.peer_rooms.rooms.find(room) else { return };
        self.settle_peer_room(at);
        self.appearances.remove(&(PEER | peer, at));
        let Some(member) = self.sessions.peers.get_mut(peer as usize) else { return };
        let Some(local) = self.peer_rooms.rooms.at_mut(at) else { return };
        let own = member.rooms.as_slice().iter().position(|membership| membership.room == at);
        let Some(membership) = own.and_then(|own| member.rooms.remove(own)) else { return };
        let position = membership.position as usize;
        let manner = Manner::of(member);
        let members = &mut local.group(manner).members;
        members.swap_remove(position);
        grow::shrink(members);
        if let Some(moved) = members.get(position)
            && let Some(moved) = self.sessions.peers.get_mut(*moved as usize)
            && let Some(membership) = moved.rooms.as_mut_slice().iter_mut().find(|membership| membership.room == at)
        {
            membership.position = position as u32;
        }
        if members.is_empty() {
            let own = local.groups.as_slice().iter().position(|group| group.manner == manner);
            own.and_then(|own| local.groups.remove(own));
        }
        if local.groups.is_empty() {
            self.peer_rooms.rooms.remove(room);
        }
    }

    /// Has a peer be told things in another dialect from now on.
    pub(super) fn change_dialect(&mut self, peer: u32, dialect: Dialect) {
        self.settle_for_peer(peer);
        let Some(member) = self.sessions.peers.get(peer as usize) else { return };
        let standing = |own: &PeerMembership| {
            let standing = self.peer_rooms.standing_of(own.room)?;
            let since = own.since(standing.seq);
            Some((standing, since))
        };
        let rooms: Vec<(Standing, u64)> = member.rooms.as_slice().iter().filter_map(standing).collect();
        for (standing, _) in &rooms {
            self.leave_peer(&standing.room, peer);
        }
        if let Some(member) = self.sessions.peers.get_mut(peer as usize) {
            member.dialect = dialect;
        }
        for (standing, since) in rooms {
            self.join_peer(&standing, since, peer);
        }
    }

    /// Gathers something for the peers in a room, but not for the one at `except` (or [`NO_CONNECTION`]).
    pub(super) fn publish_to_peers(&mut self, room: &str, except: u32, packed: &EncodedEvent) {
        let Some(for_peers) = &packed.for_peers else { return };
        let Some(at) = self.peer_rooms.rooms.find(room) else { return };
        let Some(room) = self.peer_rooms.rooms.at_mut(at) else { return };
        let mut is_full = false;
        for Group { manner, members, run } in room.groups.as_mut_slice() {
            let dialect = manner.dialect;
            let has_offset = manner.with_offsets && packed.seq != 0;
            let frames = match has_offset {
                true => for_peers.frames_with_offset(dialect, &room.epoch, packed.seq),
                false => for_peers.frames(dialect),
            };
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
            let is_peer = except != NO_CONNECTION && except & PEER != 0 && !for_peers.is_for_its_sender(dialect);
            let except = if is_peer { except & !PEER } else { NO_CONNECTION };
            run.bytes.extend_from_slice(frames);
            let end = run.bytes.len() as u32;
            run.pieces.push(Piece { end, droppable: packed.droppable, except, seq: packed.seq });
            run.has_offsets |= has_offset;
            if except != NO_CONNECTION && !run.excepted.contains(&except) {
                run.excepted.push(except);
            }
            is_full |= run.bytes.len() > RUN_BYTES;
        }
        if packed.seq != 0 {
            room.gathered = packed.seq;
            if !room.is_dirty {
                room.seq = packed.seq;
            }
        }
        if is_full {
            self.settle_peer_room(at);
        }
    }

    /// Ends all memberships of peers in a room.
    pub(super) fn close_peer_room(&mut self, now: Now, room: &str) {
        let Some(at) = self.peer_rooms.rooms.find(room) else { return };
        self.settle_peer_room(at);
        let Some(local) = self.peer_rooms.rooms.remove(room) else { return };
        for peer in local.groups.as_slice().iter().flat_map(|group| &group.members) {
            self.appearances.remove(&(PEER | *peer, at));
            let Some(member) = self.sessions.peers.get_mut(*peer as usize) else { continue };
            if let Some(own) = member.rooms.as_slice().iter().position(|membership| membership.room == at) {
                member.rooms.remove(own);
            }
            self.note_peer_session(now, *peer);
        }
    }
}
