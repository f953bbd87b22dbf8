//! The bound on the connections of the process, counted for all shards together. The kernel distributes connections at
//! random, so with a fixed share per shard one shard would be full while others have room.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Permits for connections; all clones share one count.
#[derive(Clone, Debug)]
pub(super) struct ConnectionPermits {
    used: Arc<AtomicUsize>,
    max: Arc<AtomicUsize>,
}

impl ConnectionPermits {
    /// At most `max` connections; 0 means any number.
    pub(super) fn new(max: usize) -> Self {
        Self { used: Arc::default(), max: Arc::new(AtomicUsize::new(bound(max))) }
    }

    /// Replaces the maximum. Connections beyond it stay.
    pub(super) fn set_max(&self, max: usize) {
        self.max.store(bound(max), Ordering::Relaxed);
    }

    /// Acquires a permit if one is free; [`ConnectionPermits::release`] returns it.
    #[must_use]
    pub(super) fn acquire(&self) -> bool {
        let max = self.max.load(Ordering::Relaxed);
        let more = |used: usize| (used < max).then_some(used + 1);
        // Relaxed: no other memory access depends on the order of this count.
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }

    /// Returns an acquired permit.
    pub(super) fn release(&self) {
        let before = self.used.fetch_sub(1, Ordering::Relaxed);
        debug_assert!(before > 0, "invariant: each released connection permit was acquired");
    }
}

/// A maximum, of which 0 is none.
fn bound(max: usize) -> usize {
    if max == 0 { usize::MAX } else { max }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permits_bound_the_connections_of_all_shards_together() {
        let permits = ConnectionPermits::new(1_000);
        let acquire = |permits: ConnectionPermits| move || (0..600).filter(|_| permits.acquire()).count();
        let threads: Vec<_> = (0..3).map(|_| std::thread::spawn(acquire(permits.clone()))).collect();
        let acquired: usize = threads.into_iter().map(|thread| thread.join().expect("it ends")).sum();
        assert_eq!(acquired, 1_000);
        permits.release();
        assert_eq!((permits.acquire(), permits.acquire()), (true, false));
        let unbounded = ConnectionPermits::new(0);
        assert!((0..5_000).all(|_| unbounded.acquire()));
    }
}
