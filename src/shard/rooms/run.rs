//! Events of one turn for members of one encoding: the bytes, and the pieces they consist of.

use crate::base::handle::{ConnSlot, PeerKey, Slot};
use crate::connection::conn::Conn;
use crate::connection::outbound::{Outbound, Segment};

/// A run beyond this many bytes is settled before the turn's end.
const RUN_BYTES: usize = 256 * 1024;

/// Runs kept for further use.
const SPARE_RUNS: usize = 256;

/// Runs kept when there is little to do.
pub(super) const SPARE_IDLE: usize = 4;

/// The events that a group of members gets in one turn.
#[derive(Default)]
pub(in crate::shard) struct Run {
    pub(in crate::shard) bytes: Vec<u8>,
    pieces: Vec<Piece>,
    /// The peers that some piece leaves out; sorted once the run is sealed.
    excepted: Vec<PeerKey>,
    /// Whether there are messages in it whose offsets differ for members of several rooms.
    pub(super) has_offsets: bool,
}

/// One event of a run.
pub(in crate::shard) struct Piece {
    end: u32,
    droppable: bool,
    /// The peer that does not get it, or [`PeerKey::NONE`].
    except: PeerKey,
    /// Its number in the room's log; 0 when it has none.
    seq: u64,
}

impl Run {
    /// Adds an event.
    pub(super) fn push(&mut self, bytes: &[u8], droppable: bool, except: PeerKey, seq: u64) {
        self.bytes.extend_from_slice(bytes);
        self.pieces.push(Piece { end: self.bytes.len() as u32, droppable, except, seq });
        if except != PeerKey::NONE && !self.excepted.contains(&except) {
            self.excepted.push(except);
        }
    }

    /// Whether it is so large that it is settled at once.
    pub(super) fn is_full(&self) -> bool {
        self.bytes.len() > RUN_BYTES
    }

    /// Whether there are messages in it whose offsets differ for members of several rooms.
    pub(in crate::shard) fn has_offsets(&self) -> bool {
        self.has_offsets
    }

    /// No more is added.
    pub(super) fn seal(&mut self) {
        self.excepted.sort_unstable();
    }

    /// Whether some piece leaves a peer out. The run must be sealed.
    pub(super) fn excepts(&self, peer: PeerKey) -> bool {
        !self.excepted.is_empty() && self.excepted.binary_search(&peer).is_ok()
    }

    /// The pieces for a peer: the bytes of each, whether it may be dropped, and its number in the room's log.
    pub(in crate::shard) fn pieces_for(
        &self,
        peer: PeerKey,
    ) -> impl Iterator<Item = (std::ops::Range<u32>, bool, u64)> {
        let mut start = 0;
        self.pieces.iter().filter_map(move |piece| {
            let range = start..piece.end;
            start = piece.end;
            (piece.except != peer).then_some((range, piece.droppable, piece.seq))
        })
    }

    /// Gives a raw member the run, or those of its pieces that are for it, each marked whether it may be dropped. `is_bulk`:
    /// the room has many members.
    pub(super) fn push_to_conn(
        &self,
        slot: ConnSlot,
        conn: &mut Conn,
        (whole, is_bulk): (Segment, bool),
        outbound: &mut Outbound,
    ) {
        if conn.queue.backlog.is_none() && !self.excepts(slot.into()) {
            return outbound.push_as(slot.raw(), &mut conn.queue, whole, is_bulk);
        }
        for (range, droppable, _) in self.pieces_for(slot.into()) {
            let segment = Segment { start: whole.start + range.start, end: whole.start + range.end, droppable };
            outbound.push_as(slot.raw(), &mut conn.queue, segment, is_bulk);
        }
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.pieces.clear();
        self.excepted.clear();
        self.has_offsets = false;
    }
}

/// Runs to use again, for their memory.
#[derive(Default)]
pub(super) struct SpareRuns {
    #[expect(clippy::vec_box, reason = "the boxes move between this list and the rooms")]
    runs: Vec<Box<Run>>,
}

impl SpareRuns {
    /// An empty run.
    pub(super) fn take(&mut self) -> Box<Run> {
        self.runs.pop().unwrap_or_default()
    }

    /// Keeps a run for further use.
    pub(super) fn put(&mut self, mut run: Box<Run>) {
        run.clear();
        if self.runs.len() < SPARE_RUNS && run.bytes.capacity() <= RUN_BYTES {
            self.runs.push(run);
        }
    }

    pub(super) fn is_large(&self) -> bool {
        self.runs.len() > SPARE_IDLE
    }

    pub(super) fn trim(&mut self) {
        self.runs.truncate(SPARE_IDLE);
        self.runs.shrink_to(SPARE_IDLE);
    }
}
