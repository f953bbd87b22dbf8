//! Positions of connected members in the logs of their rooms, written now and then: after a crash, a client that shows its token
//! without its own positions is not sent all messages since it joined again.
//!
//! The cost is bounded: a shard writes at most [`limits::POSITIONS_AT_ONCE`] sessions every [`limits::POSITIONS_EVERY_MS`], each
//! member in turn, and none while no room has new messages.

use std::collections::BTreeSet;

use crate::base::handle::PeerKey;
use crate::base::limits;
use crate::base::time::Now;
use crate::shard::core::Core;
use crate::shard::recovery::sessions::KeptSessions;
use crate::shard::rooms::LocalRooms;

/// Members whose positions are to be written.
#[derive(Default)]
pub(in crate::shard) struct StalePositions {
    /// Members of rooms that had new messages when the list was made.
    members: BTreeSet<PeerKey>,
    /// No position is written before this time, in monotonic milliseconds.
    not_before: u64,
}

impl StalePositions {
    /// When positions are to be written, in monotonic milliseconds.
    pub(in crate::shard) fn next_due(&self, rooms: &LocalRooms) -> Option<u64> {
        (rooms.has_advanced() || !self.members.is_empty()).then_some(self.not_before)
    }
}

/// Has positions written that are due. The time begins with the first message.
pub(in crate::shard) fn note_if_due(core: &mut Core, now: Now) {
    let stale = &mut core.recovery.positions;
    if stale.next_due(&core.rooms).is_none_or(|at| at > now.mono) {
        return;
    }
    let is_first = now.mono >= stale.not_before + limits::POSITIONS_EVERY_MS;
    stale.not_before = now.mono + limits::POSITIONS_EVERY_MS;
    if is_first {
        return;
    }
    if stale.members.is_empty() {
        stale.members = core.rooms.take_advanced();
    }
    for _ in 0..limits::POSITIONS_AT_ONCE {
        let Some(member) = core.recovery.positions.members.pop_first() else { break };
        KeptSessions::on(core).note(now, member);
    }
}
