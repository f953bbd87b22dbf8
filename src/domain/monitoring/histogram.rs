//! Distributions of durations: how many were at most how long.

/// Bounds of the buckets, in microseconds, of what takes microseconds to milliseconds.
pub const SHORT_US: [u64; Durations::BOUNDS] =
    [50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 500_000];

/// The same of what takes milliseconds to seconds.
pub const LONG_US: [u64; Durations::BOUNDS] =
    [1_000, 2_000, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 10_000_000];

/// Durations that were measured, by bucket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Durations {
    /// Durations by the first bound they do not exceed; the last are those beyond all bounds.
    pub counts: [u64; Durations::BOUNDS + 1],
    /// Their sum, in microseconds.
    pub sum_us: u64,
}

impl Durations {
    /// Number of bounds.
    pub const BOUNDS: usize = 12;

    /// The bucket of a duration.
    pub fn bucket(bounds: &[u64; Self::BOUNDS], us: u64) -> usize {
        bounds.partition_point(|bound| *bound < us)
    }

    /// Adds a duration.
    pub fn record(&mut self, bounds: &[u64; Self::BOUNDS], us: u64) {
        self.counts[Self::bucket(bounds, us)] += 1;
        self.sum_us = self.sum_us.saturating_add(us);
    }

    /// Adds those of another shard, of the same bounds.
    pub fn add(&mut self, other: &Self) {
        self.counts.iter_mut().zip(other.counts).for_each(|(count, more)| *count += more);
        self.sum_us = self.sum_us.saturating_add(other.sum_us);
    }

    /// Their number.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }
}

/// What belongs to the process and to none of its shards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProcessFigures {
    /// Transactions of the store ([`SHORT_US`]).
    pub store_commits: Durations,
    /// Exchanges with Redis, of one or more calls each ([`SHORT_US`]).
    pub redis_exchanges: Durations,
    /// Memory of the allocator.
    pub allocator: AllocatorBytes,
    /// Bytes of a store in memory, with what it holds free; 0 where it is in files.
    pub store_bytes: u64,
}

/// Bytes that the allocator has handed out, and those that it holds free; 0 where it does not tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AllocatorBytes {
    /// Handed out.
    pub used: u64,
    /// Held free.
    pub free: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn duration_counts_in_the_first_bucket_that_holds_it() {
        let mut durations = Durations::default();
        for us in [0, 50, 51, 500_000, 500_001, u64::MAX] {
            durations.record(&SHORT_US, us);
        }
        assert_eq!(
            (durations.counts[0], durations.counts[1], durations.counts[11], durations.counts[12]),
            (2, 1, 1, 2)
        );
        assert_eq!((durations.count(), durations.sum_us), (6, u64::MAX));
        let mut all = durations;
        all.add(&durations);
        assert_eq!(all.count(), 12);
        for bounds in [SHORT_US, LONG_US] {
            assert!(bounds.is_sorted(), "{bounds:?}");
        }
    }
}
