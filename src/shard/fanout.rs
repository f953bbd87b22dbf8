//! From one event to the members of its room on this shard.
//!
//! Each room keeps the slots of its members here, and gathers what they all get during a turn in one run of bytes. At
//! the end of the turn the run is written to each member. As soon as the order demands it, or where a member gets other
//! things as well, the room is *settled*: the run is appended to the shard's outgoing bytes once, and each member gets it
//! as one segment. Who sent some of it gets the run without those pieces.

use slab::Slab;
use smallvec::SmallVec;

use crate::base::Name;
use crate::base::grow;
use crate::base::table::{HasName, Table};
use crate::connection::conn::{CloseState, Conn, Membership};
use crate::connection::outbound::{NO_CONNECTION, Outbound, Segment};
use crate::dialect::encoded_event::EncodedEvent;
use crate::domain::event::Joined;

/// The rooms that have members on this shard, and what is gathered for them.
pub(super) struct Fanout {
    rooms: Table<LocalRoom>,
    /// Rooms with a turn, each once.
    dirty: Vec<u32>,
    /// Members of those rooms, as many as they were when the turn began.
    waiting_members: usize,
    /// Turns to use again, for their memory.
    #[expect(clippy::vec_box, reason = "the boxes move between this list and the rooms")]
    spare: Vec<Box<Turn>>,
}

struct LocalRoom {
    name: Name,
    /// Which run of the room's log `seq` counts in.
    epoch: Name,
    /// The last message that was handed to the members.
    seq: u64,
    /// The members' slots; each member knows its position.
    members: Vec<u32>,
    /// What they get in this turn.
    turn: Option<Box<Turn>>,
}

impl HasName for LocalRoom {
    fn name(&self) -> &str {
        &self.name
    }
}

/// What a room's members get in one turn.
#[derive(Default)]
struct Turn {
    bytes: Vec<u8>,
    pieces: Vec<Piece>,
    /// The slots that some piece leaves out.
    excepted: Vec<u32>,
}

struct Piece {
    end: u32,
    droppable: bool,
    except: u32,
}

/// A run of bytes beyond which a room is settled before the turn's end.
const TURN_BYTES: usize = 256 * 1024;

/// Turns kept for further use.
const SPARE_TURNS: usize = 256;

/// Turns kept when there is little to do.
const SPARE_TURNS_IDLE: usize = 4;

/// Members looked at before any of them is written to. Looking one at a time, each would be waited for: a write leaves
/// nothing of the members in the processor's nearer caches.
const AT_ONCE: usize = 32;

impl Fanout {
    pub(super) fn new(seed: u64) -> Self {
        Self { rooms: Table::new(seed), dirty: Vec::new(), waiting_members: 0, spare: Vec::new() }
    }

    /// The room's name as it is shared here; a new copy when it has no members here.
    pub(super) fn name(&self, room: &str) -> Name {
        self.rooms.get(room).map_or_else(|| room.into(), |known| known.name.clone())
    }

    /// The name of the room in `slot`.
    pub(super) fn name_of(&self, room: u32) -> Option<&Name> {
        self.rooms.at(room).map(|room| &room.name)
    }

    /// The place of a room that has members here.
    pub(super) fn place_of(&self, room: &str) -> Option<u32> {
        self.rooms.find(room)
    }

    /// What the members of the room in `slot` have of it: its name, the run of its log, and the number in it.
    pub(super) fn position_of(&self, room: u32) -> Option<(&Name, &Name, u64)> {
        self.rooms.at(room).map(|room| (&room.name, &room.epoch, room.seq))
    }

    /// The slots of a room's members.
    pub(super) fn members(&self, room: &str) -> &[u32] {
        self.rooms.get(room).map_or(&[], |room| &room.members)
    }

    /// How many members the next flush has something for, about.
    pub(super) fn waiting_members(&self) -> usize {
        self.waiting_members
    }

    /// Whether something is gathered that members are to get.
    pub(super) fn is_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// Rooms with members here.
    pub(super) fn rooms(&self) -> usize {
        self.rooms.len()
    }

    /// Makes the connection at `slot` a member; what was gathered before is not for it, or comes first if it is one
    /// already.
    pub(super) fn join(&mut self, joined: &Joined, slot: u32, conns: &mut Slab<Conn>, outbound: &mut Outbound) {
        let room = &joined.room;
        if !conns.contains(slot as usize) {
            return;
        }
        let known = self.rooms.find(room);
        let at = known.unwrap_or_else(|| {
            let (name, epoch) = (room.clone(), joined.epoch.clone());
            self.rooms.insert(LocalRoom { name, epoch, seq: joined.seq, members: Vec::new(), turn: None })
        });
        self.settle(at, conns, outbound);
        let (Some(conn), Some(room)) = (conns.get_mut(slot as usize), self.rooms.at_mut(at)) else { return };
        if room.epoch != joined.epoch {
            room.epoch = joined.epoch.clone();
        }
        room.seq = joined.seq;
        if conn.rooms.as_slice().iter().any(|membership| membership.room == at) {
            return;
        }
        conn.rooms.push(Membership { room: at, position: room.members.len() as u32 });
        grow::push(&mut room.members, slot);
    }

    /// Ends a membership; what was gathered before is still for it.
    pub(super) fn leave(&mut self, room: &str, slot: u32, conns: &mut Slab<Conn>, outbound: &mut Outbound) {
        let Some(at) = self.rooms.find(room) else { return };
        self.settle(at, conns, outbound);
        let (Some(conn), Some(local)) = (conns.get_mut(slot as usize), self.rooms.at_mut(at)) else { return };
        let own = conn.rooms.as_slice().iter().position(|membership| membership.room == at);
        let Some(position) = own.and_then(|own| conn.rooms.remove(own)).map(|own| own.position as usize) else {
            return;
        };
        local.members.swap_remove(position);
        if let Some(moved) = local.members.get(position).and_then(|moved| conns.get_mut(*moved as usize))
            && let Some(membership) = moved.rooms.as_mut_slice().iter_mut().find(|membership| membership.room == at)
        {
            membership.position = position as u32;
        }
        if local.members.is_empty() {
            self.rooms.remove(room);
        } else {
            grow::shrink(&mut local.members);
        }
    }

    /// Ends all memberships of a room; its place, and whose they were.
    pub(super) fn close(&mut self, room: &str, conns: &mut Slab<Conn>, outbound: &mut Outbound) -> (u32, Vec<u32>) {
        let Some(at) = self.rooms.find(room) else { return (0, Vec::new()) };
        self.settle(at, conns, outbound);
        let Some(local) = self.rooms.remove(room) else { return (0, Vec::new()) };
        for &slot in &local.members {
            let Some(conn) = conns.get_mut(slot as usize) else { continue };
            if let Some(own) = conn.rooms.as_slice().iter().position(|membership| membership.room == at) {
                conn.rooms.remove(own);
            }
        }
        (at, local.members)
    }

    /// Gathers something for a room's members, but not for the one at `except` (or [`NO_CONNECTION`]).
    pub(super) fn publish(
        &mut self,
        room: &str,
        except: u32,
        packed: &EncodedEvent,
        conns: &mut Slab<Conn>,
        outbound: &mut Outbound,
    ) {
        if packed.raw.is_empty() {
            return;
        }
        let Some(at) = self.rooms.find(room) else { return };
        let Some(room) = self.rooms.at_mut(at) else { return };
        if packed.seq != 0 {
            room.seq = packed.seq;
        }
        let turn = room.turn.get_or_insert_with(|| {
            self.dirty.push(at);
            self.waiting_members += room.members.len();
            self.spare.pop().unwrap_or_default()
        });
        turn.bytes.extend_from_slice(&packed.raw);
        turn.pieces.push(Piece { end: turn.bytes.len() as u32, droppable: packed.droppable, except });
        if except != NO_CONNECTION && !turn.excepted.contains(&except) {
            turn.excepted.push(except);
        }
        if turn.bytes.len() > TURN_BYTES {
            self.settle(at, conns, outbound);
        }
    }

    /// Settles the rooms of one connection, so that what it is told alone comes after what its rooms were told before.
    pub(super) fn settle_for(&mut self, slot: u32, conns: &mut Slab<Conn>, outbound: &mut Outbound) {
        if self.dirty.is_empty() {
            return;
        }
        let Some(conn) = conns.get(slot as usize) else { return };
        for own in 0..conn.rooms.len() {
            let Some(membership) = conns.get(slot as usize).and_then(|conn| conn.rooms.as_slice().get(own)) else {
                return;
            };
            self.settle(membership.room, conns, outbound);
        }
    }

    /// Ends the turn. Who gets nothing but one room's run is handed to `write` at once, straight from that run; everybody
    /// else gets segments, to be written with what else there is for them.
    pub(super) fn write_turns(
        &mut self,
        conns: &mut Slab<Conn>,
        outbound: &mut Outbound,
        mut write: impl FnMut(&mut Slab<Conn>, u32, &[u8]),
    ) {
        self.waiting_members = 0;
        let is_only = self.dirty.len() == 1;
        while let Some(at) = self.dirty.pop() {
            let Some(room) = self.rooms.at_mut(at) else { continue };
            let Some(mut turn) = room.turn.take() else { continue };
            turn.excepted.sort_unstable();
            let mut run = None;
            for members in room.members.chunks(AT_ONCE) {
                let mut ready = SmallVec::<[u32; AT_ONCE]>::new();
                for &slot in members {
                    let Some(conn) = conns.get_mut(slot as usize) else { continue };
                    let is_all = conn.queue.is_empty() && (is_only || conn.rooms.len() == 1);
                    if is_all && conn.ending == CloseState::None && !turn.excepts(slot) {
                        ready.push(slot);
                    } else {
                        let run = *run.get_or_insert_with(|| outbound.encode(|out| out.extend_from_slice(&turn.bytes)));
                        turn.hand(slot, conn, run, outbound);
                    }
                }
                for slot in ready {
                    write(conns, slot, &turn.bytes);
                }
            }
            self.put_by(turn);
        }
    }

    /// Hands a room's run to its members, as segments.
    fn settle(&mut self, at: u32, conns: &mut Slab<Conn>, outbound: &mut Outbound) {
        let Some(room) = self.rooms.at_mut(at) else { return };
        let Some(mut turn) = room.turn.take() else { return };
        if self.dirty.last() == Some(&at) {
            self.dirty.pop();
        }
        let run = outbound.encode(|out| out.extend_from_slice(&turn.bytes));
        turn.excepted.sort_unstable();
        for &slot in &room.members {
            if let Some(conn) = conns.get_mut(slot as usize) {
                turn.hand(slot, conn, run, outbound);
            }
        }
        self.put_by(turn);
    }

    /// Keeps a turn for further use.
    fn put_by(&mut self, mut turn: Box<Turn>) {
        turn.clear();
        if self.spare.len() < SPARE_TURNS && turn.bytes.capacity() <= TURN_BYTES {
            self.spare.push(turn);
        }
    }

    /// Gives back memory that a burst of work has left.
    pub(super) fn trim(&mut self) {
        self.spare.truncate(SPARE_TURNS_IDLE);
        self.spare.shrink_to(SPARE_TURNS_IDLE);
        self.dirty.shrink_to(SPARE_TURNS_IDLE);
    }
}

impl Turn {
    /// Whether some piece leaves the connection at `slot` out. The list must be sorted.
    fn excepts(&self, slot: u32) -> bool {
        !self.excepted.is_empty() && self.excepted.binary_search(&slot).is_ok()
    }

    /// Gives one member the run, or those of its pieces that are for it, each marked whether it may be dropped.
    fn hand(&self, slot: u32, conn: &mut Conn, run: Segment, outbound: &mut Outbound) {
        if conn.queue.backlog.is_none() && !self.excepts(slot) {
            return outbound.push(slot, &mut conn.queue, run);
        }
        let mut start = run.start;
        for piece in &self.pieces {
            let end = run.start + piece.end;
            if piece.except != slot {
                outbound.push(slot, &mut conn.queue, Segment { start, end, droppable: piece.droppable });
            }
            start = end;
        }
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.pieces.clear();
        self.excepted.clear();
    }
}
