//! Pause before another attempt to connect: longer each time, and different on each node.

use std::time::Duration;

use crate::base::rng::Rng;

const SHORTEST_MS: u64 = 50;
const LONGEST_MS: u64 = 2_000;

/// Random pauses with a growing bound.
pub(super) struct Backoff {
    rng: Rng,
    bound_ms: u64,
}

impl Backoff {
    pub(super) fn new(rng: Rng) -> Self {
        Self { rng, bound_ms: SHORTEST_MS }
    }

    /// The next pause: between half of the bound and all of it.
    pub(super) fn next(&mut self) -> Duration {
        let bound = self.bound_ms;
        debug_assert!((SHORTEST_MS..=LONGEST_MS).contains(&bound), "invariant: a pause is within its limits");
        self.bound_ms = (bound * 2).min(LONGEST_MS);
        Duration::from_millis(bound / 2 + self.rng.below(bound / 2 + 1))
    }

    pub(super) fn reset(&mut self) {
        self.bound_ms = SHORTEST_MS;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_two_seconds_until_reset() {
        let mut backoff = Backoff::new(Rng::from_seed(1));
        let mut bound = SHORTEST_MS;
        for _ in 0..12 {
            let ms = backoff.next().as_millis() as u64;
            assert!((bound / 2..=bound).contains(&ms), "{ms} of {bound}");
            bound = (bound * 2).min(LONGEST_MS);
        }
        backoff.reset();
        assert!(backoff.next().as_millis() as u64 <= SHORTEST_MS);
    }
}
