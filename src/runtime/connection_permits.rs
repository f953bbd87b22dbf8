//! How many connections the process may have, counted for all shards together: which of them the kernel gives a connection
//! to is chance, so a share for each would be full while others are empty.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The places for connections; all clones count the same.
#[derive(Clone, Debug)]
pub struct ConnectionPermits {
    taken: Arc<AtomicUsize>,
    most: usize,
}

impl ConnectionPermits {
    /// So many, all free; 0 is any number.
    pub fn new(most: usize) -> Self {
        Self { taken: Arc::default(), most: if most == 0 { usize::MAX } else { most } }
    }

    /// Takes one, if one is free. It is given back by [`ConnectionPermits::give_back`].
    #[must_use]
    pub fn take(&self) -> bool {
        let more = |taken: usize| (taken < self.most).then_some(taken + 1);
        // Nothing else is ordered by this count.
        self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }

    /// One that was taken is free again.
    pub fn give_back(&self) {
        self.taken.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_so_many_for_all_together() {
        let permits = ConnectionPermits::new(1_000);
        let take = |permits: ConnectionPermits| move || (0..600).filter(|_| permits.take()).count();
        let threads: Vec<_> = (0..3).map(|_| std::thread::spawn(take(permits.clone()))).collect();
        let taken: usize = threads.into_iter().map(|thread| thread.join().expect("it ends")).sum();
        assert_eq!(taken, 1_000);
        permits.give_back();
        assert_eq!((permits.take(), permits.take()), (true, false));
        let unbounded = ConnectionPermits::new(0);
        assert!((0..5_000).all(|_| unbounded.take()));
    }
}
