//! Rooms with members on this shard: their local members, and the path of an event to them.
//!
//! The members of a room are grouped by encoding: raw WebSockets in one list, Socket.IO peers by dialect and by whether
//! their messages carry offsets ([`crate::dialect::offset`]). A group gathers the events of a turn in one run of bytes
//! ([`run::Run`]). At the end of the turn a raw member that gets no other bytes is written to straight from the run. All
//! other members get the run as one segment of the shard's outgoing bytes: the room is *settled*. A room is settled earlier
//! where bytes for one member alone must come after it.

mod run;
mod socketio;

use std::collections::BTreeSet;

use smallvec::SmallVec;

use crate::base::Name;
use crate::base::few::SmallList;
use crate::base::grow;
use crate::base::handle::{ConnSlot, PeerKey, PeerSlot, RoomSlot, Slot, Slots};
use crate::base::table::{HasName, Table};
use crate::connection::conn::{CloseState, Conn, Membership};
use crate::connection::outbound::Outbound;
use crate::dialect::encoded_event::EncodedEvent;
use crate::shard::net::Net;
use crate::shard::recovery::returns::Returns;

pub(super) use run::Run;
use run::SpareRuns;
use socketio::SocketIoGroups;

/// Members looked at before any of them is written to. Looking one at a time, each would be waited for: a write leaves
/// nothing of the members in the processor's nearer caches.
const AT_ONCE: usize = 32;

/// The rooms that have members on this shard, and the events gathered for them.
pub(super) struct LocalRooms {
    rooms: Table<LocalRoom>,
    /// Rooms with a run for raw members, each once.
    dirty: Vec<RoomSlot>,
    /// Rooms with runs for Socket.IO members.
    dirty_groups: Vec<RoomSlot>,
    /// Members that wait for the next flush, as many as they were when their run began.
    waiting_members: usize,
    /// Whether a room has had messages since [`LocalRooms::take_advanced`].
    has_advanced: bool,
    spare: SpareRuns,
    bulk_members: usize,
    /// Where offsets are put together; empty but for its memory.
    draft: Vec<u8>,
}

struct LocalRoom {
    name: Name,
    /// The run of the room's log that `gathered` counts in.
    epoch: Name,
    /// The last message gathered for the members.
    gathered: u64,
    /// The last one when the positions of the members were last listed to be written.
    noted: u64,
    /// Raw members; each connection knows its position.
    members: Vec<u32>,
    /// The raw members' run of this turn.
    run: Option<Box<Run>>,
    /// Socket.IO members; `None` while there are none.
    groups: Option<Box<SocketIoGroups>>,
}

/// Numbers of members of a room here.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Audience {
    pub(super) raw: usize,
    pub(super) socketio: usize,
}

/// A position in a room's log.
#[derive(Clone, Debug)]
pub(super) struct RoomPosition {
    pub(super) room: Name,
    pub(super) epoch: Name,
    pub(super) seq: u64,
}

impl HasName for LocalRoom {
    fn name(&self) -> &str {
        &self.name
    }
}

impl LocalRooms {
    /// Memory of the lists of members.
    pub(super) fn bytes(&self) -> usize {
        let lists = self.rooms.iter().map(|room| room.members.capacity() * size_of::<u32>());
        self.rooms.table_bytes() + lists.sum::<usize>()
    }

    /// `bulk_members`: raw members from which what a room gets may be written over several turns.
    pub(super) fn new(seed: u64, bulk_members: usize) -> Self {
        Self {
            bulk_members,
            rooms: Table::new(seed),
            dirty: Vec::new(),
            dirty_groups: Vec::new(),
            waiting_members: 0,
            has_advanced: false,
            spare: SpareRuns::default(),
            draft: Vec::new(),
        }
    }

    /// The room's name as it is shared here; a new copy when it has no members here.
    pub(super) fn name(&self, room: &str) -> Name {
        self.rooms.get(room).map_or_else(|| room.into(), |known| known.name.clone())
    }

    /// The name of the room at a slot.
    pub(super) fn name_of(&self, at: RoomSlot) -> Option<&Name> {
        self.rooms.at(at.raw()).map(|room| &room.name)
    }

    /// The room's name as [`LocalRooms::name`] has it, and the number of its raw and Socket.IO members here.
    pub(super) fn name_and_members(&self, room: &str) -> (Name, Audience) {
        self.rooms.get(room).map_or_else(
            || (room.into(), Audience::default()),
            |known| {
                let socketio = known.groups.as_deref().map_or(0, SocketIoGroups::len);
                (known.name.clone(), Audience { raw: known.members.len(), socketio })
            },
        )
    }

    /// The slot of a room that has members here.
    pub(super) fn find(&self, room: &str) -> Option<RoomSlot> {
        self.rooms.find(room).map(RoomSlot::from_raw)
    }

    /// The position in the log up to which a peer has been handed the room's messages.
    pub(super) fn position_of(&self, at: RoomSlot, peer: PeerKey) -> Option<RoomPosition> {
        let room = self.rooms.at(at.raw())?;
        let seq = match (peer.slot(), &room.groups) {
            (PeerSlot::SocketIo(_), Some(groups)) => groups.delivered(),
            _ => room.gathered,
        };
        Some(RoomPosition { room: room.name.clone(), epoch: room.epoch.clone(), seq })
    }

    /// Whether what a room's raw members get may be written over several turns.
    pub(super) fn is_bulk(&self, room: &str) -> bool {
        self.rooms.get(room).is_some_and(|room| room.members.len() >= self.bulk_members)
    }

    /// The raw members of a room.
    pub(super) fn raw_members(&self, room: &str) -> impl Iterator<Item = ConnSlot> {
        let members = self.rooms.get(room).map_or(&[][..], |room| &room.members);
        members.iter().map(|slot| ConnSlot::from_raw(*slot))
    }

    /// How many members the next flush has something for, about.
    pub(super) fn waiting_members(&self) -> usize {
        self.waiting_members
    }

    /// Whether events are gathered that members are to get.
    pub(super) fn is_dirty(&self) -> bool {
        !self.dirty.is_empty() || !self.dirty_groups.is_empty()
    }

    /// Whether rooms have had messages since [`LocalRooms::take_advanced`].
    pub(super) fn has_advanced(&self) -> bool {
        self.has_advanced
    }

    /// The members of the rooms that have had messages since the last call.
    pub(super) fn take_advanced(&mut self) -> BTreeSet<PeerKey> {
        self.has_advanced = false;
        let mut members = BTreeSet::new();
        for room in self.rooms.iter_mut().filter(|room| room.noted != room.gathered) {
            room.noted = room.gathered;
            members.extend(room.members.iter().map(|slot| PeerKey::from(ConnSlot::from_raw(*slot))));
            members.extend(room.groups.iter().flat_map(|groups| groups.members()).map(PeerKey::from));
        }
        members
    }

    /// Rooms with members here.
    pub(super) fn len(&self) -> usize {
        self.rooms.len()
    }

    /// Whether it holds memory that [`LocalRooms::trim`] gives back.
    pub(super) fn is_large(&self) -> bool {
        self.spare.is_large()
    }

    /// Gives back memory that a burst of work has left.
    pub(super) fn trim(&mut self) {
        self.spare.trim();
        self.dirty.shrink_to(run::SPARE_IDLE);
        self.dirty_groups.shrink_to(run::SPARE_IDLE);
    }

    /// Makes a peer a member of a room that is at `position`; events gathered before are not for it, or come first if it is
    /// a member already. `since`: the position where its own offsets begin.
    pub(super) fn join(
        &mut self,
        position: &RoomPosition,
        since: u64,
        peer: PeerKey,
        net: &mut Net,
        returns: &mut Returns,
    ) {
        let at = self.rooms.find(&position.room).unwrap_or_else(|| {
            let RoomPosition { room: name, epoch, seq: gathered } = position.clone();
            self.rooms.insert(LocalRoom {
                name,
                epoch,
                gathered,
                noted: gathered,
                members: Vec::new(),
                run: None,
                groups: None,
            })
        });
        let at = RoomSlot::from_raw(at);
        match peer.slot() {
            PeerSlot::Raw(slot) => {
                self.settle_raw(at, &mut net.conns, &mut net.outbound);
                self.advance(at, position);
                self.add_raw(at, slot, &mut net.conns);
            }
            PeerSlot::SocketIo(slot) => {
                self.settle_groups(at, net, returns);
                self.advance(at, position);
                self.add_socketio(at, position.seq, since, slot, net);
            }
        }
        self.remove_if_empty(at);
    }

    /// Sets the room's position to that of a member that has just come.
    fn advance(&mut self, at: RoomSlot, position: &RoomPosition) {
        let room = self.rooms.at_mut(at.raw()).expect("invariant: a room that is joined has a slot");
        if room.epoch != position.epoch {
            room.epoch = position.epoch.clone();
        }
        room.gathered = position.seq;
    }

    fn add_raw(&mut self, at: RoomSlot, slot: ConnSlot, conns: &mut Slots<ConnSlot, Conn>) {
        let room = self.rooms.at_mut(at.raw()).expect("invariant: a room that is joined has a slot");
        if let Some(conn) = conns.get_mut(slot)
            && conn.rooms.as_slice().iter().all(|own| own.room != at.raw())
        {
            conn.rooms.push(Membership { room: at.raw(), position: room.members.len() as u32 });
            grow::push(&mut room.members, slot.raw());
        }
    }

    /// Ends a membership; events gathered before are still for the member.
    pub(super) fn leave(&mut self, room: &str, peer: PeerKey, net: &mut Net, returns: &mut Returns) {
        if let Some(at) = self.find(room) {
            match peer.slot() {
                PeerSlot::Raw(slot) => {
                    self.settle_raw(at, &mut net.conns, &mut net.outbound);
                    self.remove_raw(at, slot, &mut net.conns);
                }
                PeerSlot::SocketIo(slot) => {
                    self.settle_groups(at, net, returns);
                    self.remove_socketio(at, slot, net);
                }
            }
            self.remove_if_empty(at);
        }
    }

    fn remove_raw(&mut self, at: RoomSlot, slot: ConnSlot, conns: &mut Slots<ConnSlot, Conn>) {
        let room = self.rooms.at_mut(at.raw()).expect("invariant: a room that was found has a slot");
        let rooms = conns.get_mut(slot).map(|conn| &mut conn.rooms);
        let own = rooms.and_then(|rooms| {
            let own = rooms.as_slice().iter().position(|own| own.room == at.raw());
            own.and_then(|own| rooms.remove(own))
        });
        if let Some(Membership { position, .. }) = own {
            debug_assert_eq!(room.members[position as usize], slot.raw(), "invariant: a member knows its position");
            room.members.swap_remove(position as usize);
            if let Some(moved) = room.members.get(position as usize) {
                let moved = &mut conns[ConnSlot::from_raw(*moved)].rooms;
                let own = moved.as_mut_slice().iter_mut().find(|own| own.room == at.raw());
                own.expect("invariant: every member has a membership of its room").position = position;
            }
            grow::shrink(&mut room.members);
        }
    }

    fn remove_if_empty(&mut self, at: RoomSlot) {
        if let Some(room) = self.rooms.at(at.raw()).filter(|room| room.members.is_empty() && room.groups.is_none()) {
            debug_assert!(room.run.is_none(), "invariant: a room without raw members has no run");
            let name = room.name.clone();
            self.rooms.remove(&name);
        }
    }

    /// Ends all memberships of a room; its slot and its former members.
    pub(super) fn close(
        &mut self,
        room: &str,
        net: &mut Net,
        returns: &mut Returns,
    ) -> Option<(RoomSlot, Vec<PeerKey>)> {
        let at = self.find(room)?;
        self.settle_raw(at, &mut net.conns, &mut net.outbound);
        self.settle_groups(at, net, returns);
        let room = self.rooms.remove(room).expect("invariant: a room that was found can be removed");
        let mut members: Vec<PeerKey> = Vec::new();
        for slot in room.members {
            let slot = ConnSlot::from_raw(slot);
            let rooms = &mut net.conns[slot].rooms;
            let own = rooms.as_slice().iter().position(|own| own.room == at.raw());
            rooms.remove(own.expect("invariant: every member has a membership of its room"));
            members.push(slot.into());
        }
        for slot in room.groups.iter().flat_map(|groups| groups.members()) {
            let rooms = &mut net.sessions.peers[slot].rooms;
            let own = rooms.as_slice().iter().position(|own| own.room == at.raw());
            rooms.remove(own.expect("invariant: every member has a membership of its room"));
            members.push(slot.into());
        }
        Some((at, members))
    }

    /// Gathers an event for a room's members, but not for `except`.
    pub(super) fn publish(
        &mut self,
        room: &str,
        except: PeerKey,
        packed: &EncodedEvent,
        net: &mut Net,
        returns: &mut Returns,
    ) {
        let Some(at) = self.rooms.find(room) else {
            // The last member here has left since the owner sent the event.
            return;
        };
        let room = self.rooms.at_mut(at).expect("invariant: a room that was found has a slot");
        if packed.seq != 0 {
            room.gathered = packed.seq;
            self.has_advanced = true;
        }
        let mut is_full = false;
        if !packed.raw.is_empty() && !room.members.is_empty() {
            let run = room.run.get_or_insert_with(|| {
                self.dirty.push(RoomSlot::from_raw(at));
                self.waiting_members += room.members.len();
                self.spare.take()
            });
            run.push(&packed.raw, packed.droppable, except, 0);
            is_full = run.is_full();
        }
        if let (Some(groups), Some(for_peers)) = (&mut room.groups, &packed.for_peers) {
            let gathered = groups.gather(&room.epoch, except, packed, for_peers, &mut self.spare);
            self.waiting_members += gathered.began;
            if gathered.is_first {
                self.dirty_groups.push(RoomSlot::from_raw(at));
            }
            if gathered.is_full {
                self.settle_groups(RoomSlot::from_raw(at), net, returns);
            }
        }
        if is_full {
            self.settle_raw(RoomSlot::from_raw(at), &mut net.conns, &mut net.outbound);
        }
    }

    /// Settles the rooms of one peer, so that bytes for it alone come after those its rooms got before.
    pub(super) fn settle_for(&mut self, peer: PeerKey, net: &mut Net, returns: &mut Returns) {
        match peer.slot() {
            PeerSlot::Raw(slot) if !self.dirty.is_empty() => {
                let rooms = net.conns.get(slot).map(|conn| conn.rooms.as_slice()).unwrap_or_default();
                let rooms: SmallVec<[u32; 8]> = rooms.iter().map(|own| own.room).collect();
                for at in rooms {
                    self.settle_raw(RoomSlot::from_raw(at), &mut net.conns, &mut net.outbound);
                }
            }
            PeerSlot::SocketIo(slot) if !self.dirty_groups.is_empty() => {
                let rooms = net.sessions.peers.get(slot).map(|peer| peer.rooms.as_slice()).unwrap_or_default();
                let rooms: SmallVec<[u32; 8]> = rooms.iter().map(|own| own.room).collect();
                for at in rooms {
                    self.settle_groups(RoomSlot::from_raw(at), net, returns);
                }
            }
            PeerSlot::Raw(_) | PeerSlot::SocketIo(_) => {}
        }
    }

    /// Ends the turn of the raw members. A member that gets no other bytes than one room's run is handed to `write` at once,
    /// straight from that run; the others get segments, to be written with what else there is for them. `defers_bulk`: all
    /// members of rooms with many get segments.
    pub(super) fn write_raw_runs(
        &mut self,
        conns: &mut Slots<ConnSlot, Conn>,
        outbound: &mut Outbound,
        defers_bulk: bool,
        mut write: impl FnMut(&mut Conn, ConnSlot, &[u8]),
    ) {
        self.waiting_members = 0;
        let is_only = self.dirty.len() == 1;
        while let Some(at) = self.dirty.pop() {
            // A room that was settled or closed meanwhile has no run any more.
            let room = self.rooms.at_mut(at.raw());
            let Some((room, mut run)) = room.and_then(|room| room.run.take().map(|run| (room, run))) else { continue };
            let is_bulk = room.members.len() >= self.bulk_members;
            if is_bulk && defers_bulk {
                room.run = Some(run);
                self.settle_raw(at, conns, outbound);
                continue;
            }
            run.seal();
            let mut whole = None;
            for members in room.members.chunks(AT_ONCE) {
                let mut ready = SmallVec::<[ConnSlot; AT_ONCE]>::new();
                for &slot in members {
                    let slot = ConnSlot::from_raw(slot);
                    let conn = &mut conns[slot];
                    let is_all = conn.queue.is_empty() && (is_only || conn.rooms.len() == 1);
                    if is_all && conn.ending == CloseState::None && !run.excepts(slot.into()) {
                        ready.push(slot);
                    } else {
                        let whole =
                            *whole.get_or_insert_with(|| outbound.encode(|out| out.extend_from_slice(&run.bytes)));
                        run.push_to_conn(slot, conn, (whole, is_bulk), outbound);
                    }
                }
                for slot in ready {
                    let conn = &mut conns[slot];
                    match conn.queue.window_bits() {
                        0 => write(conn, slot, &run.bytes),
                        bits => {
                            let whole =
                                *whole.get_or_insert_with(|| outbound.encode(|out| out.extend_from_slice(&run.bytes)));
                            let packed = outbound.packed(whole, bits);
                            write(conn, slot, outbound.bytes(packed));
                        }
                    }
                }
            }
            self.spare.put(run);
        }
    }

    /// Hands the runs of all rooms to their raw members, as segments.
    pub(super) fn settle_all_raw(&mut self, conns: &mut Slots<ConnSlot, Conn>, outbound: &mut Outbound) {
        self.waiting_members = 0;
        while let Some(at) = self.dirty.last().copied() {
            self.settle_raw(at, conns, outbound);
            if self.dirty.last() == Some(&at) {
                self.dirty.pop();
            }
        }
    }

    /// Hands a room's run to its raw members, as segments.
    fn settle_raw(&mut self, at: RoomSlot, conns: &mut Slots<ConnSlot, Conn>, outbound: &mut Outbound) {
        if let Some(room) = self.rooms.at_mut(at.raw())
            && let Some(mut run) = room.run.take()
        {
            if self.dirty.last() == Some(&at) {
                self.dirty.pop();
            }
            let whole = outbound.encode(|out| out.extend_from_slice(&run.bytes));
            run.seal();
            let is_bulk = room.members.len() >= self.bulk_members;
            for &slot in &room.members {
                let slot = ConnSlot::from_raw(slot);
                run.push_to_conn(slot, &mut conns[slot], (whole, is_bulk), outbound);
            }
            self.spare.put(run);
        }
    }

    /// Panics unless the rooms and the members know the same of each other.
    pub(super) fn check_invariants(&self, net: &Net) {
        let mut memberships = 0;
        for (at, room) in self.rooms.entries() {
            assert!(!room.members.is_empty() || room.groups.is_some(), "invariant: a local room has members");
            for (position, slot) in room.members.iter().enumerate() {
                let rooms = net.conns[ConnSlot::from_raw(*slot)].rooms.as_slice();
                let own = rooms.iter().find(|own| own.room == at).expect("invariant: a member knows its room");
                assert_eq!(own.position as usize, position, "invariant: a member knows its position");
            }
            memberships += room.members.len();
            if let Some(groups) = &room.groups {
                memberships += groups.check_invariants(at, room.gathered, net);
            }
        }
        let raw: usize = net.conns.iter().map(|(_, conn)| conn.rooms.len()).sum();
        let socketio: usize = net.sessions.peers.iter().map(|(_, peer)| peer.rooms.len()).sum();
        assert_eq!(memberships, raw + socketio, "invariant: rooms and members count the same memberships");
    }
}

/// The rooms of a Socket.IO peer's memberships, or of a raw connection's.
pub(super) fn rooms_of(net: &Net, peer: PeerKey) -> SmallVec<[RoomSlot; 4]> {
    let raw = |own: &Membership| RoomSlot::from_raw(own.room);
    match peer.slot() {
        PeerSlot::Raw(slot) => {
            net.conns.get(slot).map_or(&[][..], |conn| conn.rooms.as_slice()).iter().map(raw).collect()
        }
        PeerSlot::SocketIo(slot) => {
            let rooms = net.sessions.peers.get(slot).map(|peer| peer.rooms.as_slice()).unwrap_or_default();
            rooms.iter().map(|own| RoomSlot::from_raw(own.room)).collect()
        }
    }
}
