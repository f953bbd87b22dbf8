//! Memory trim: releases the memory of lists that a burst of work made large, after a delay that lets the next burst reuse it.

use crate::base::time::Now;
use crate::shard::core::Core;

/// Entries that an empty list may keep memory for.
const KEEP_ENTRIES: usize = 256;

/// Delay of a trim, in milliseconds.
const TRIM_AFTER_MS: u64 = 250;

/// Schedule of the memory trim.
#[derive(Default)]
pub(super) struct Trim {
    /// When a trim is due, in monotonic milliseconds.
    due: Option<u64>,
}

impl Trim {
    pub(super) fn next_due(&self) -> Option<u64> {
        self.due
    }
}

/// Measures and trims the lists of the components.
pub(in crate::shard) struct Trimming<'a> {
    core: &'a mut Core,
}

impl<'a> Trimming<'a> {
    pub(in crate::shard) fn on(core: &'a mut Core) -> Self {
        Self { core }
    }
}

impl Trimming<'_> {
    /// Schedules a trim if a list is large.
    pub(super) fn schedule(&mut self, now: Now) {
        if self.core.trim.due.is_none() && self.is_large() {
            self.core.trim.due = Some(now.mono + TRIM_AFTER_MS);
        }
    }

    fn is_large(&self) -> bool {
        let Core { requests, channels, net, rooms, presence, .. } = &*self.core;
        let capacities = [
            requests.capacity(),
            channels.local.capacity(),
            channels.outgoing.capacity(),
            channels.owner_output.capacity(),
        ];
        net.outbound.is_large()
            || rooms.is_large()
            || presence.is_large()
            || capacities.into_iter().any(|entries| entries > KEEP_ENTRIES)
    }

    /// Trims all lists if it is time. Those in use are trimmed later.
    pub(super) fn trim_if_due(&mut self, now: Now) {
        if self.core.trim.due.take_if(|at| *at <= now.mono).is_some() {
            let Core { requests, channels, net, rooms, presence, .. } = &mut *self.core;
            net.outbound.trim();
            rooms.trim();
            presence.trim();
            net.cork = Vec::new();
            requests.trim();
            channels.local.shrink_to(KEEP_ENTRIES);
            channels.outgoing.shrink_to(KEEP_ENTRIES);
            channels.owner_output.shrink_to(KEEP_ENTRIES);
            self.schedule(now);
        }
    }
}
