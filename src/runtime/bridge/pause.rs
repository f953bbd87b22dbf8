//! How long to wait before a connection is tried again: longer each time, and never all nodes at once.

use std::time::Duration;

use crate::base::rng::Rng;

const SHORTEST_MS: u64 = 50;
const LONGEST_MS: u64 = 2_000;

/// See the module.
pub(super) struct Pause {
    rng: Rng,
    next_ms: u64,
}

impl Pause {
    pub(super) fn new(rng: Rng) -> Self {
        Self { rng, next_ms: SHORTEST_MS }
    }

    /// The next one: between half of what it may be and all of it.
    pub(super) fn next(&mut self) -> Duration {
        let most = self.next_ms;
        self.next_ms = (most * 2).min(LONGEST_MS);
        Duration::from_millis(most / 2 + self.rng.below(most / 2 + 1))
    }

    /// It worked.
    pub(super) fn reset(&mut self) {
        self.next_ms = SHORTEST_MS;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_two_seconds_and_begin_anew() {
        let mut pause = Pause::new(Rng::from_seed(1));
        let mut most = SHORTEST_MS;
        for _ in 0..12 {
            let ms = pause.next().as_millis() as u64;
            assert!((most / 2..=most).contains(&ms), "{ms} of {most}");
            most = (most * 2).min(LONGEST_MS);
        }
        pause.reset();
        assert!(pause.next().as_millis() as u64 <= SHORTEST_MS);
    }
}
