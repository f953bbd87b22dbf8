//! A room's Socket.IO members.
//!
//! A run is handed out as one segment, or into the buffer a member will poll. Only a member of several rooms whose messages
//! carry offsets gets a copy of its own, since its offsets name all of its rooms.

use std::ops::Range;

use super::run::SpareRuns;
use super::{LocalRooms, Run, SmallList, grow};
use crate::base::handle::{PeerKey, RoomSlot, Slot, SocketIoSlot};
use crate::codec::ws;
use crate::connection::outbound::Segment;
use crate::connection::peer::{PeerMembership, Recovery, SocketIoPeer};
use crate::dialect::encoded_event::{EncodedEvent, SocketIoEncodings};
use crate::dialect::offset;
use crate::dialect::socketio::Dialect;
use crate::shard::net::Net;
use crate::shard::recovery::returns::Returns;

/// The Socket.IO members of a room, grouped by encoding.
pub(super) struct SocketIoGroups {
    groups: SmallList<Group>,
    /// The last message gathered for them.
    gathered: u64,
    /// The last message handed to them.
    delivered: u64,
    is_dirty: bool,
}

/// Members that all get the same bytes.
struct Group {
    encoding: Encoding,
    /// The members; each knows its position.
    members: Vec<SocketIoSlot>,
    /// Their run of this turn.
    run: Option<Box<Run>>,
}

/// The form in which a peer gets events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Encoding {
    dialect: Dialect,
    with_offsets: bool,
}

/// The effect of [`SocketIoGroups::gather`].
pub(super) struct Gathered {
    /// Whether the room was clean before and is dirty now.
    pub(super) is_first: bool,
    /// Whether a run has become so large that the room is settled at once.
    pub(super) is_full: bool,
    /// Members whose run has begun.
    pub(super) began: usize,
}

impl Encoding {
    fn of(peer: &SocketIoPeer) -> Self {
        Self { dialect: peer.dialect, with_offsets: peer.recovery == Recovery::Offsets }
    }
}

impl SocketIoGroups {
    fn new(seq: u64) -> Self {
        Self { groups: SmallList::None, gathered: seq, delivered: seq, is_dirty: false }
    }

    pub(super) fn delivered(&self) -> u64 {
        self.delivered
    }

    /// All members.
    pub(super) fn members(&self) -> impl Iterator<Item = SocketIoSlot> {
        self.groups.as_slice().iter().flat_map(|group| &group.members).copied()
    }

    /// The number of members.
    pub(super) fn len(&self) -> usize {
        self.groups.as_slice().iter().map(|group| group.members.len()).sum()
    }

    fn group(&mut self, encoding: Encoding) -> &mut Group {
        let known = self.groups.as_slice().iter().position(|group| group.encoding == encoding);
        let at = known.unwrap_or_else(|| {
            self.groups.push(Group { encoding, members: Vec::new(), run: None });
            self.groups.len() - 1
        });
        &mut self.groups.as_mut_slice()[at]
    }

    /// Gathers an event for every group, but not for `except`.
    pub(super) fn gather(
        &mut self,
        epoch: &str,
        except: PeerKey,
        packed: &EncodedEvent,
        for_peers: &SocketIoEncodings,
        spare: &mut SpareRuns,
    ) -> Gathered {
        let mut gathered = Gathered { is_first: false, is_full: false, began: 0 };
        for Group { encoding: Encoding { dialect, with_offsets }, members, run } in self.groups.as_mut_slice() {
            let has_offset = *with_offsets && packed.seq != 0;
            let frames = for_peers.frames(*dialect, has_offset.then_some((epoch, packed.seq)));
            if frames.is_empty() {
                continue;
            }
            gathered.is_first |= !std::mem::replace(&mut self.is_dirty, true);
            let run = run.get_or_insert_with(|| {
                gathered.began += members.len();
                spare.take()
            });
            let is_excepted = except.socketio().is_some() && !for_peers.is_for_its_sender(*dialect);
            run.push(frames, packed.droppable, if is_excepted { except } else { PeerKey::NONE }, packed.seq);
            run.has_offsets |= has_offset;
            gathered.is_full |= run.is_full();
        }
        if packed.seq != 0 {
            self.gathered = packed.seq;
            if !self.is_dirty {
                self.delivered = packed.seq;
            }
        }
        gathered
    }

    /// Panics unless the members know their positions; how many members there are.
    pub(super) fn check_invariants(&self, at: u32, gathered: u64, net: &Net) -> usize {
        assert!(!self.groups.is_empty(), "invariant: Socket.IO groups are dropped with their last member");
        assert_eq!(self.gathered, gathered, "invariant: all encodings of a room have gathered the same messages");
        assert!(
            self.is_dirty || self.delivered == self.gathered,
            "invariant: a settled room has delivered all it gathered"
        );
        for group in self.groups.as_slice() {
            assert!(!group.members.is_empty(), "invariant: a group is dropped with its last member");
            for (position, slot) in group.members.iter().enumerate() {
                let peer = &net.sessions.peers[*slot];
                let own = peer.rooms.as_slice().iter().find(|own| own.room == at);
                let own = own.expect("invariant: a member knows its room");
                assert_eq!(own.position as usize, position, "invariant: a member knows its position");
                assert_eq!(Encoding::of(peer), group.encoding, "invariant: a member is in the group of its encoding");
            }
        }
        self.members().count()
    }
}

impl LocalRooms {
    /// The Socket.IO members of a room that speak one dialect.
    pub(in crate::shard) fn socketio_members(
        &self,
        room: &str,
        dialect: Dialect,
    ) -> impl Iterator<Item = SocketIoSlot> {
        let groups = self.rooms.get(room).and_then(|room| room.groups.as_deref());
        let groups = groups.map(|groups| groups.groups.as_slice()).unwrap_or_default();
        groups.iter().filter(move |group| group.encoding.dialect == dialect).flat_map(|group| &group.members).copied()
    }

    pub(super) fn add_socketio(&mut self, at: RoomSlot, seq: u64, since: u64, slot: SocketIoSlot, net: &mut Net) {
        let room = self.rooms.at_mut(at.raw()).expect("invariant: a room that is joined has a slot");
        if let Some(peer) = net.sessions.peers.get_mut(slot) {
            let is_new = room.groups.is_none();
            let groups = room.groups.get_or_insert_with(|| Box::new(SocketIoGroups::new(seq)));
            (groups.gathered, groups.delivered) = (seq, seq);
            if peer.rooms.as_slice().iter().any(|own| own.room == at.raw()) {
                debug_assert!(!is_new, "invariant: a room with a Socket.IO member has groups");
                return;
            }
            let members = &mut groups.group(Encoding::of(peer)).members;
            peer.rooms.push(PeerMembership { room: at.raw(), position: members.len() as u32, since: since as u32 });
            grow::push(members, slot);
        }
    }

    pub(super) fn remove_socketio(&mut self, at: RoomSlot, slot: SocketIoSlot, net: &mut Net) {
        let room = self.rooms.at_mut(at.raw()).expect("invariant: a room that was found has a slot");
        let peer = net.sessions.peers.get_mut(slot);
        let own = peer.and_then(|peer| {
            let own = peer.rooms.as_slice().iter().position(|own| own.room == at.raw())?;
            Some((peer.rooms.remove(own)?.position as usize, Encoding::of(peer)))
        });
        if let Some((position, encoding)) = own {
            let groups = room.groups.as_mut().expect("invariant: a room with a Socket.IO member has groups");
            let members = &mut groups.group(encoding).members;
            debug_assert_eq!(members[position], slot, "invariant: a member knows its position");
            members.swap_remove(position);
            grow::shrink(members);
            if let Some(moved) = members.get(position) {
                let moved = net.sessions.peers[*moved].rooms.as_mut_slice().iter_mut().find(|own| own.room == at.raw());
                moved.expect("invariant: every member has a membership of its room").position = position as u32;
            }
            if members.is_empty() {
                let emptied = groups.groups.as_slice().iter().position(|group| group.encoding == encoding);
                groups.groups.remove(emptied.expect("invariant: a group that lost its last member is in the list"));
            }
            if groups.groups.is_empty() {
                room.groups = None;
            }
        }
    }

    /// A room with runs for Socket.IO members, to be settled at the end of the turn.
    pub(in crate::shard) fn next_dirty_groups(&mut self) -> Option<RoomSlot> {
        self.dirty_groups.pop()
    }

    /// Hands a room's runs to its Socket.IO members.
    pub(in crate::shard) fn settle_groups(&mut self, at: RoomSlot, net: &mut Net, returns: &mut Returns) {
        let groups = self.rooms.at_mut(at.raw()).and_then(|room| room.groups.as_deref_mut());
        if let Some(groups) = groups.filter(|groups| groups.is_dirty) {
            groups.is_dirty = false;
            groups.delivered = groups.gathered;
            // Handing out changes no membership, so the groups are back before they are looked for.
            let mut list = std::mem::take(&mut groups.groups);
            for group in list.as_mut_slice() {
                if let Some(mut run) = group.run.take() {
                    run.seal();
                    let whole = net.outbound.encode(|out| out.extend_from_slice(&run.bytes));
                    for &slot in &group.members {
                        let peer = &net.sessions.peers[slot];
                        let Some(session) = net.sessions.named(peer.link) else {
                            // The session of a peer that rejoins rooms before it is connected may be gone.
                            debug_assert!(!peer.is_connected, "invariant: a connected peer's session is there");
                            continue;
                        };
                        if returns.is_under_way(slot) {
                            // A peer that waits for the store for long counts as a slow consumer.
                            if !returns.hold_run(at, slot, &run, net.options.outbound_bytes) {
                                net.sessions.slow.push(session);
                            }
                        } else if run.has_offsets && peer.rooms.len() > 1 {
                            self.hand_copies(at, slot, &run, whole, net);
                        } else if net.keeps_up_with(session) && !run.excepts(slot.into()) {
                            net.deliver(session, whole);
                        } else {
                            // The pieces that are for it, each marked whether it may be dropped.
                            for (Range { start, end }, droppable, _) in run.pieces_for(slot.into()) {
                                let (start, end) = (whole.start + start, whole.start + end);
                                net.deliver(session, Segment { start, end, droppable });
                            }
                        }
                    }
                    self.spare.put(run);
                }
            }
            let room = self.rooms.at_mut(at.raw()).expect("invariant: handing out changes no membership");
            room.groups.as_mut().expect("invariant: handing out changes no membership").groups = list;
        }
    }

    /// Gives a member of several rooms the run's pieces, the messages with offsets of its own.
    fn hand_copies(&mut self, room: RoomSlot, slot: SocketIoSlot, run: &Run, whole: Segment, net: &mut Net) {
        let mut others = std::mem::take(&mut self.draft);
        let peer = &net.sessions.peers[slot];
        self.append_offset(&mut others, peer, Some(room));
        let at = net.sessions.named(peer.link).expect("invariant: a member's session is there");
        for (range, droppable, seq) in run.pieces_for(slot.into()) {
            let segment = match seq {
                0 => Segment { start: whole.start + range.start, end: whole.start + range.end, droppable },
                _ => net.outbound.encode(|out| {
                    for (_, payload) in ws::frames(&run.bytes[range.start as usize..range.end as usize]) {
                        offset::with_more(out, payload, |out| out.extend_from_slice(&others));
                    }
                }),
            };
            net.deliver(at, segment);
        }
        others.clear();
        self.draft = others;
    }

    /// Appends a peer's position in the logs of its rooms; without one of them, as the text behind that one's entry.
    pub(in crate::shard) fn append_offset(&self, out: &mut Vec<u8>, peer: &SocketIoPeer, without: Option<RoomSlot>) {
        let mut is_first = without.is_none();
        let without = without.map(Slot::raw);
        for own in peer.rooms.as_slice().iter().filter(|own| Some(own.room) != without) {
            let room = self.rooms.at(own.room).expect("invariant: a membership names a room with members here");
            let groups = room.groups.as_ref().expect("invariant: a room with a Socket.IO member has groups");
            offset::entry(out, &room.epoch, groups.delivered, is_first);
            is_first = false;
        }
    }
}
