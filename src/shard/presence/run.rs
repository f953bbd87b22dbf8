//! The updates for all peers of one encoding, in one run of bytes, and the parts that single peers do not get.

use super::{PendingUpdate, UpdateEncoding};
use crate::base::handle::PeerKey;
use crate::connection::outbound::Segment;
use crate::shard::net::Net;

/// See the module.
pub(super) struct UpdateRun {
    start: u32,
    end: u32,
    /// In the order of peers and places.
    gaps: Vec<Gap>,
    /// Gaps of the peers that were handed the run, or passed over.
    passed: usize,
}

/// A part of the run that one peer does not get: an update of its own, or updates from before its time.
struct Gap {
    peer: PeerKey,
    start: u32,
    end: u32,
}

impl UpdateRun {
    /// Gathers the updates for all peers; `None` when there is none. `newcomers` are in order, each with the number of updates
    /// that were pending before it.
    pub(super) fn gather(
        net: &mut Net,
        encoding: UpdateEncoding,
        pending: &[PendingUpdate],
        newcomers: &[(PeerKey, u32)],
    ) -> Option<Self> {
        let start = net.outbound.len() as u32;
        let mut gaps = Vec::new();
        let mut starts = Vec::new();
        for PendingUpdate { update, to } in pending {
            starts.push(net.outbound.len() as u32);
            if to.everyone {
                let segment = net.outbound.encode(|out| out.extend_from_slice(encoding.of(&update.packed)));
                let peer = net.key_of(update.except);
                if peer != PeerKey::NONE {
                    gaps.push(Gap { peer, start: segment.start, end: segment.end });
                }
            }
        }
        let end = net.outbound.len() as u32;
        gaps.extend(newcomers.iter().map(|&(peer, before)| {
            let until = starts.get(before as usize).copied().unwrap_or(end);
            Gap { peer, start, end: until }
        }));
        gaps.sort_unstable_by_key(|gap| (gap.peer, gap.start, gap.end));
        (start < end).then_some(Self { start, end, gaps, passed: 0 })
    }

    /// Calls `push` with the parts that a peer gets. Peers come in the order of their keys.
    pub(super) fn hand_to(&mut self, peer: PeerKey, mut push: impl FnMut(Segment)) {
        let mut from = self.start;
        while let Some(gap) = self.gaps.get(self.passed).filter(|gap| gap.peer <= peer) {
            if gap.peer == peer {
                push(Segment { start: from, end: gap.start.max(from), droppable: true });
                from = gap.end.max(from);
            }
            self.passed += 1;
        }
        debug_assert!(from <= self.end, "invariant: gaps lie within the run");
        push(Segment { start: from, end: self.end, droppable: true });
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::base::handle::{ConnSlot, Slot};

    fn peer(number: u32) -> PeerKey {
        ConnSlot::from_raw(number).into()
    }

    proptest! {
        /// Each of six peers gets all of eight updates, but its own and those from before its time.
        #[test]
        fn run_with_gaps_gives_each_peer_the_rest(
            causes in prop::collection::vec(0..8u32, 8),
            newcomers in prop::collection::btree_map(0..8u32, 0..9u32, 0..4),
            listeners in prop::collection::btree_set(0..8u32, 0..6),
        ) {
            let mut gaps: Vec<Gap> = Vec::new();
            for (number, cause) in causes.iter().enumerate() {
                gaps.push(Gap { peer: peer(*cause), start: number as u32, end: number as u32 + 1 });
            }
            gaps.extend(newcomers.iter().map(|(key, before)| Gap { peer: peer(*key), start: 0, end: *before.min(&8) }));
            gaps.sort_unstable_by_key(|gap| (gap.peer, gap.start, gap.end));
            let mut run = UpdateRun { start: 0, end: 8, gaps, passed: 0 };
            for key in listeners {
                let mut heard = Vec::new();
                run.hand_to(peer(key), |segment| heard.extend(segment.start..segment.end));
                let before = newcomers.get(&key).copied().unwrap_or(0);
                let expected: Vec<u32> = (before..8).filter(|number| causes[*number as usize] != key).collect();
                prop_assert_eq!(heard, expected, "{}", key);
            }
        }
    }
}
