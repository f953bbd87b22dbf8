//! A timer wheel: O(1) insertion, no object per timer.
//!
//! The wheel holds small keys in buckets of [`TICK_MS`]. It has no cancellation: the owner of a key remembers the tick
//! it is armed for and ignores the key at any other tick. A deadline beyond the horizon fires at the horizon, and its
//! owner arms it again.

/// Resolution, in milliseconds.
pub const TICK_MS: u64 = 8;

/// Number of buckets; with [`TICK_MS`] a horizon of 32 s.
const BUCKETS: usize = 4096;

/// A bucket with a larger capacity releases its memory after it has fired.
const KEEP_ENTRIES: usize = 64;

/// A time in ticks since the monotonic clock's zero. 0 means "not armed".
pub type Tick = u32;

/// Deadlines, each with a key.
pub struct Wheel<Key> {
    buckets: Vec<Vec<Key>>,
    /// The next tick to fire; all earlier ones have fired.
    next: Tick,
    /// Lower bound of the first tick with a key.
    earliest: Tick,
    armed: usize,
}

impl<Key: Copy> Wheel<Key> {
    /// An empty wheel that starts at `mono` milliseconds.
    pub fn new(mono: u64) -> Self {
        let mut buckets = Vec::new();
        buckets.resize_with(BUCKETS, Vec::new);
        let next = tick(mono).max(1);
        Self { buckets, next, earliest: next, armed: 0 }
    }

    /// Arms `key` for `mono` milliseconds, rounded up to a tick, at least the next tick and at most the horizon.
    /// Returns the tick at which it fires.
    pub fn arm(&mut self, mono: u64, key: Key) -> Tick {
        let wanted = tick(mono + TICK_MS - 1);
        let at = wanted.clamp(self.next, self.next + BUCKETS as Tick - 1);
        self.buckets[at as usize % BUCKETS].push(key);
        self.armed += 1;
        self.earliest = self.earliest.min(at);
        at
    }

    /// Takes the next bucket due at `mono` milliseconds, with its tick. The caller repeats this until `None` and
    /// returns each bucket by [`Wheel::give_back`].
    pub fn due(&mut self, mono: u64) -> Option<(Tick, Vec<Key>)> {
        let current = tick(mono);
        while self.next <= current {
            if self.armed == 0 {
                self.next = current + 1;
                return None;
            }
            let at = self.next;
            self.next += 1;
            let bucket = &mut self.buckets[at as usize % BUCKETS];
            if !bucket.is_empty() {
                self.armed -= bucket.len();
                return Some((at, std::mem::take(bucket)));
            }
        }
        None
    }

    /// Returns a bucket's memory for reuse, unless it has grown large.
    pub fn give_back(&mut self, at: Tick, mut bucket: Vec<Key>) {
        let home = &mut self.buckets[at as usize % BUCKETS];
        if home.capacity() == 0 && bucket.capacity() <= KEEP_ENTRIES {
            bucket.clear();
            *home = bucket;
        }
    }

    /// Monotonic milliseconds at which the next key fires; `None` when no key is armed.
    pub fn next_due(&mut self) -> Option<u64> {
        if self.armed == 0 {
            self.earliest = Tick::MAX;
            return None;
        }
        let mut at = self.earliest.max(self.next);
        if at >= self.next + BUCKETS as Tick {
            at = self.next;
        }
        while self.buckets[at as usize % BUCKETS].is_empty() {
            at += 1;
            debug_assert!(at < self.next + BUCKETS as Tick, "invariant: an armed key is within the horizon");
        }
        self.earliest = at;
        Some(u64::from(at) * TICK_MS)
    }

    /// Number of armed keys.
    pub fn len(&self) -> usize {
        self.armed
    }

    /// Whether no key is armed.
    pub fn is_empty(&self) -> bool {
        self.armed == 0
    }
}

/// The tick that contains `mono` milliseconds.
pub fn tick(mono: u64) -> Tick {
    // 2^32 ticks of 8 ms are more than a year; saturation keeps a longer run from wrapping into the past.
    Tick::try_from(mono / TICK_MS).unwrap_or(Tick::MAX - BUCKETS as Tick)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(wheel: &mut Wheel<u32>, mono: u64) -> Vec<u32> {
        let mut all = Vec::new();
        while let Some((at, bucket)) = wheel.due(mono) {
            all.extend(&bucket);
            wheel.give_back(at, bucket);
        }
        all
    }

    #[test]
    fn nothing_comes_up_early_and_all_of_it_within_a_tick() {
        let mut wheel = Wheel::new(0);
        for deadline in [1u64, 7, 8, 9, 100, 5000, 30_000] {
            wheel.arm(deadline, deadline as u32);
        }
        for mono in 0..30_100u64 {
            for key in drain(&mut wheel, mono) {
                let deadline = u64::from(key);
                assert!((deadline..deadline + TICK_MS).contains(&mono), "{deadline} came up at {mono}");
            }
        }
        assert!(wheel.is_empty());
    }

    #[test]
    fn the_next_due_moment_is_known() {
        let mut wheel = Wheel::new(0);
        assert_eq!(wheel.next_due(), None);
        wheel.arm(1000, 1);
        wheel.arm(400, 2);
        assert_eq!(wheel.next_due(), Some(400));
        assert_eq!(drain(&mut wheel, 500), [2]);
        assert_eq!(wheel.next_due(), Some(1000));
    }

    #[test]
    fn beyond_the_horizon_it_comes_up_at_the_horizon() {
        let mut wheel = Wheel::new(0);
        let at = wheel.arm(1_000_000, 1);
        assert!(at < tick(1_000_000));
        assert_eq!(drain(&mut wheel, u64::from(at) * TICK_MS), [1]);
    }

    #[test]
    fn a_late_turn_runs_every_bucket_it_missed_in_order() {
        let mut wheel = Wheel::new(0);
        for deadline in [500, 100, 300] {
            wheel.arm(deadline, deadline as u32);
        }
        assert_eq!(drain(&mut wheel, 10_000), [100, 300, 500]);
        assert_eq!(wheel.arm(5, 1), tick(10_000) + 1);
    }
}
