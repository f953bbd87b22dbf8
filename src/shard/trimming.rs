//! Giving back the memory that a burst of work has left.

use crate::base::time::Now;
use crate::shard::Shard;

/// A list that is empty keeps room for this many entries.
const KEEP_ENTRIES: usize = 256;

/// How long memory that a burst of work has left is kept for the next one, in milliseconds.
const TRIM_AFTER_MS: u64 = 250;

impl Shard {
    /// Looks whether there is something to trim, and has it done in a while.
    pub(super) fn look_for_trimmings(&mut self, now: Now) {
        if self.trim_due == 0 && self.is_large() {
            self.trim_due = now.mono + TRIM_AFTER_MS;
        }
    }

    /// Whether a burst of work has made the shard's own lists grow.
    fn is_large(&self) -> bool {
        let entries = [self.asks.capacity(), self.local.capacity(), self.outgoing.capacity(), self.said.capacity()];
        self.outbound.is_large()
            || self.peer_rooms.is_large()
            || self.bulletin.is_large()
            || entries.into_iter().any(|entries| entries > KEEP_ENTRIES)
    }

    /// Gives back what a burst of work made the shard's own lists grow to.
    pub(super) fn trim(&mut self, now: Now) {
        self.outbound.trim();
        self.fanout.trim();
        self.peer_rooms.trim();
        self.bulletin.trim();
        self.cork = Vec::new();
        if self.asks.is_empty() {
            self.asks.shrink_to_fit();
        }
        self.local.shrink_to(KEEP_ENTRIES);
        self.outgoing.shrink_to(KEEP_ENTRIES);
        self.said.shrink_to(KEEP_ENTRIES);
        self.trim_due = if self.is_large() { now.mono + TRIM_AFTER_MS } else { 0 };
    }
}
