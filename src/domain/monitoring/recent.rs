//! How often something happened in the last while: counts in buckets of equal length, of which the oldest is given up
//! when the next begins.

/// Counts over `BUCKETS` buckets.
#[derive(Clone, Debug)]
pub(super) struct RecentCounts<const BUCKETS: usize> {
    counts: [u32; BUCKETS],
    bucket_ms: u64,
    /// The number of the newest bucket, counted from the clock's zero.
    newest: u64,
}

impl<const BUCKETS: usize> RecentCounts<BUCKETS> {
    pub(super) fn new(bucket_ms: u64) -> Self {
        Self { counts: [0; BUCKETS], bucket_ms, newest: 0 }
    }

    /// It happened.
    pub(super) fn add(&mut self, mono: u64) {
        let at = self.advance(mono);
        self.counts[at] = self.counts[at].saturating_add(1);
    }

    /// How often it happened in the buckets up to now.
    pub(super) fn sum(&mut self, mono: u64) -> u64 {
        self.advance(mono);
        self.counts.iter().map(|count| u64::from(*count)).sum()
    }

    /// Empties the buckets that have begun since; the place of the newest.
    fn advance(&mut self, mono: u64) -> usize {
        let bucket = (mono / self.bucket_ms).max(self.newest);
        let passed = (bucket - self.newest).min(BUCKETS as u64);
        for number in bucket + 1 - passed..=bucket {
            self.counts[(number % BUCKETS as u64) as usize] = 0;
        }
        self.newest = bucket;
        (bucket % BUCKETS as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_older_than_all_buckets_is_forgotten() {
        let mut recent = RecentCounts::<60>::new(1_000);
        for second in 0..200 {
            recent.add(second * 1_000);
            recent.add(second * 1_000 + 999);
            assert_eq!(recent.sum(second * 1_000 + 999), 2 * (second + 1).min(60));
        }
        assert_eq!(recent.sum(199_000 + 58_999), 4, "two buckets are left");
        assert_eq!(recent.sum(199_000 + 60_000), 0);
        recent.add(1_000_000_000);
        assert_eq!(recent.sum(1_000_000_000), 1);
        // A reading taken earlier counts as the newest there was.
        recent.add(5);
        assert_eq!(recent.sum(1_000_000_000), 2);
    }
}
