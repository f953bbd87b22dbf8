//! Idempotency records: the recent messages that have a client message id, so that a repeat gets the first one's receipt.

use std::collections::VecDeque;
use std::hash::{BuildHasher, Hasher};

use uuid::Uuid;

use crate::base::map::{HashSeed, Map, map};
use crate::base::time::Now;
use crate::domain::op::Sent;

/// Keys are 128-bit hashes under secret seeds, so that clients cannot construct a collision.
pub(super) struct IdempotencyRecords {
    seeds: [u64; 2],
    known: Map<u128, IdempotencyRecord>,
    /// Expiries in monotonic milliseconds. A removed record leaves its expiry.
    ends: VecDeque<(u64, u128)>,
    /// Lifetime of a record in milliseconds.
    keep_ms: u64,
    /// The most records.
    max: usize,
}

/// The first message with a key.
#[derive(Clone, Copy)]
pub(super) struct IdempotencyRecord {
    pub(super) id: Uuid,
    /// 0 of a message without a number.
    pub(super) seq: u64,
    pub(super) at: u64,
}

impl IdempotencyRecord {
    /// The receipt of the first message.
    pub(super) fn sent(self) -> Sent {
        Sent { id: self.id, seq: Some(self.seq).filter(|seq| *seq != 0), at: self.at }
    }
}

impl IdempotencyRecords {
    pub(super) fn new(seeds: [u64; 2], keep_ms: u64, max: usize) -> Self {
        Self { seeds, known: map(seeds[0]), ends: VecDeque::new(), keep_ms, max }
    }

    /// The key of a message: its room, epoch, sender and client message id.
    pub(super) fn key(&self, room: &str, epoch: &str, user: &str, client_message_id: &str) -> u128 {
        let hash = |seed| {
            let mut state = HashSeed(seed).build_hasher();
            for part in [room, epoch, user, client_message_id] {
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

    /// Adds the record of a message sent `age_ms` ago.
    pub(super) fn note(&mut self, now: Now, key: u128, record: IdempotencyRecord, age_ms: u64) {
        if self.ends.len() >= self.max {
            self.remove_first();
        }
        self.known.insert(key, record);
        self.ends.push_back((now.mono + self.keep_ms.saturating_sub(age_ms), key));
    }

    /// Removes the record of a message that storage refused.
    pub(super) fn remove(&mut self, key: u128) {
        self.known.remove(&key);
    }

    /// Removes expired records.
    pub(super) fn tick(&mut self, now: Now) {
        while self.ends.front().is_some_and(|(at, _)| *at <= now.mono) {
            self.remove_first();
        }
        if self.ends.is_empty() && self.known.capacity() > 0 {
            (self.known, self.ends) = (map(self.seeds[0]), VecDeque::new());
        }
    }

    /// When [`IdempotencyRecords::tick`] has work, in monotonic milliseconds.
    pub(super) fn next_due(&self) -> Option<u64> {
        // Records of one second are removed together; the exact millisecond does not matter.
        self.ends.front().map(|(at, _)| at + 1_000)
    }

    fn remove_first(&mut self) {
        if let Some((_, key)) = self.ends.pop_front() {
            self.known.remove(&key);
        }
    }

    pub(super) fn check_invariants(&self) {
        assert!(self.ends.len() <= self.max, "idempotency: records are within their limit");
        assert!(self.known.len() <= self.ends.len(), "idempotency: each record has an expiry");
    }
}
