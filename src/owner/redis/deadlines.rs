//! Deferred work, ordered by deadline.

use std::collections::{BTreeMap, BTreeSet};

use crate::base::Name;
use crate::owner::redis::rooms::RoomDeadline;
use crate::owner::redis::users::UserDeadline;

/// Work that is due at a time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Deadline {
    Room(Name, RoomDeadline),
    User(Name, UserDeadline),
    /// Expire pending calls.
    Calls,
    /// Expire operations that wait for a subscription, and remove departed members in Redis.
    WaitingOps,
    /// Expire cross-node queries.
    Queries,
    /// Renew the node's lease.
    Lease,
    /// Retry room list updates.
    Enrolments,
    /// Release replies to changes of the list of revocations, or read the list again.
    Revocations,
}

/// All deferred work.
#[derive(Default)]
pub(super) struct Deadlines {
    by_time: BTreeMap<u64, BTreeSet<Deadline>>,
}

impl Deadlines {
    /// Adds work that is due at this time, in monotonic milliseconds.
    pub(super) fn add(&mut self, at: u64, deadline: Deadline) {
        self.by_time.entry(at).or_default().insert(deadline);
    }

    /// Removes the earliest work that is due by now.
    pub(super) fn pop_due(&mut self, now_ms: u64) -> Option<BTreeSet<Deadline>> {
        let first = self.by_time.first_entry().filter(|entry| *entry.key() <= now_ms)?;
        let due = first.remove();
        debug_assert!(!due.is_empty(), "invariant: a time with deferred work has some");
        Some(due)
    }

    pub(super) fn next(&self) -> Option<u64> {
        self.by_time.first_key_value().map(|(at, _)| *at)
    }

    /// Time of the earliest work that is this.
    pub(super) fn next_of(&self, wanted: &Deadline) -> Option<u64> {
        self.by_time.iter().find(|(_, due)| due.contains(wanted)).map(|(at, _)| *at)
    }
}
