//! Durations that the threads of the store and of Redis measure, and their memory, for the metrics of this process.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use super::allocator;
use crate::domain::monitoring::{Durations, ProcessFigures, SHORT_US};

/// Durations of one kind, of all servers in this process.
pub(super) struct Timing {
    counts: [AtomicU64; Durations::BOUNDS + 1],
    sum_us: AtomicU64,
}

/// Transactions of the store.
pub(super) static STORE_COMMITS: Timing = Timing::new();

/// Bytes of a store in memory.
pub(super) static STORE_BYTES: AtomicU64 = AtomicU64::new(0);

/// Exchanges with Redis.
pub(super) static REDIS_EXCHANGES: Timing = Timing::new();

impl Timing {
    const fn new() -> Self {
        Self { counts: [const { AtomicU64::new(0) }; Durations::BOUNDS + 1], sum_us: AtomicU64::new(0) }
    }

    /// Adds the time since `start`.
    pub(super) fn record_since(&self, start: Instant) {
        let us = start.elapsed().as_micros() as u64;
        self.counts[Durations::bucket(&SHORT_US, us)].fetch_add(1, Ordering::Relaxed);
        self.sum_us.fetch_add(us, Ordering::Relaxed);
    }

    fn read(&self) -> Durations {
        let counts = std::array::from_fn(|at| self.counts[at].load(Ordering::Relaxed));
        Durations { counts, sum_us: self.sum_us.load(Ordering::Relaxed) }
    }
}

/// All of them, and the memory of the allocator.
pub(super) fn read() -> ProcessFigures {
    let (store_commits, redis_exchanges) = (STORE_COMMITS.read(), REDIS_EXCHANGES.read());
    let store_bytes = STORE_BYTES.load(Ordering::Relaxed);
    ProcessFigures { store_commits, redis_exchanges, allocator: allocator::bytes(), store_bytes }
}
