//! Messages that their senders gave a name of their own, remembered for some minutes so that a repeat is known for one.

use std::collections::VecDeque;
use std::hash::{BuildHasher, Hasher};

use foldhash::quality::FixedState;
use uuid::Uuid;

use crate::base::limits;
use crate::base::map::{Map, map};
use crate::base::time::Now;
use crate::domain::op::Sent;

/// See the module. Names are kept as hashes of 128 bits under secret seeds: nobody can find two that collide.
pub(super) struct IdempotencyRecords {
    seeds: [u64; 2],
    known: Map<u128, IdempotencyRecord>,
    /// When each is forgotten, the first first.
    ends: VecDeque<(u64, u128)>,
}

/// What became of the first message of that name.
#[derive(Clone, Copy)]
pub(super) struct IdempotencyRecord {
    pub(super) id: Uuid,
    pub(super) seq: u64,
    pub(super) at: u64,
}

impl IdempotencyRecord {
    /// The receipt that the first one got.
    pub(super) fn sent(self) -> Sent {
        Sent { id: self.id, seq: Some(self.seq), at: self.at }
    }
}

impl IdempotencyRecords {
    pub(super) fn new(seeds: [u64; 2]) -> Self {
        Self { seeds, known: map(seeds[0]), ends: VecDeque::new() }
    }

    /// What a message is remembered by: its room and the run of the room's log, its sender, and what that called it.
    pub(super) fn key(&self, room: &str, epoch: &str, user: &str, name: &str) -> u128 {
        let hash = |seed| {
            let mut state = FixedState::with_seed(seed).build_hasher();
            for part in [room, epoch, user, name] {
                state.write_usize(part.len());
                state.write(part.as_bytes());
            }
            u128::from(state.finish())
        };
        hash(self.seeds[0]) << 64 | hash(self.seeds[1])
    }

    pub(super) fn find(&self, key: u128) -> Option<IdempotencyRecord> {
        self.known.get(&key).copied()
    }

    /// Remembers a message from `age_ms` ago.
    pub(super) fn note(&mut self, now: Now, key: u128, repeat: IdempotencyRecord, age_ms: u64) {
        if self.ends.len() >= limits::REPEATS {
            self.forget_first();
        }
        self.known.insert(key, repeat);
        self.ends.push_back((now.mono + limits::REPEAT_MS.saturating_sub(age_ms), key));
    }

    /// Forgets a message that was not sent after all.
    pub(super) fn forget(&mut self, key: u128) {
        self.known.remove(&key);
    }

    /// Forgets those whose time is over.
    pub(super) fn tick(&mut self, now: Now) {
        while self.ends.front().is_some_and(|(at, _)| *at <= now.mono) {
            self.forget_first();
        }
        if self.ends.is_empty() && self.known.capacity() > 0 {
            (self.known, self.ends) = (map(self.seeds[0]), VecDeque::new());
        }
    }

    /// When [`IdempotencyRecords::tick`] next has something to do, in monotonic milliseconds.
    pub(super) fn next_due(&self) -> Option<u64> {
        // A second's worth at a time: nobody needs them forgotten to the millisecond.
        self.ends.front().map(|(at, _)| at + 1_000)
    }

    fn forget_first(&mut self) {
        if let Some((_, key)) = self.ends.pop_front() {
            self.known.remove(&key);
        }
    }
}
