//! Hash maps with a seeded hasher: keys chosen by an attacker do not collide, and a run with the same seed iterates in
//! the same order.
//!
//! A hash depends on the seed of its map and on a seed of the process. The latter is fixed, for the simulator, unless
//! [`randomize`] sets it before the first use.

use std::hash::{BuildHasher, Hasher};
use std::sync::OnceLock;

use foldhash::SharedSeed;
use foldhash::quality::{FoldHasher, SeedableRandomState};

/// A hash map with a seeded hasher.
pub type Map<K, V> = hashbrown::HashMap<K, V, HashSeed>;

/// An empty map with a hasher seeded by `seed`.
pub fn map<K, V>(seed: u64) -> Map<K, V> {
    Map::with_hasher(HashSeed(seed))
}

/// A seed, as the source of hashers.
#[derive(Clone, Copy, Debug)]
pub struct HashSeed(pub u64);

impl BuildHasher for HashSeed {
    type Hasher = FoldHasher<'static>;

    fn build_hasher(&self) -> Self::Hasher {
        SeedableRandomState::with_seed(self.0, &process_seed().shared).build_hasher()
    }
}

struct ProcessSeed {
    shared: SharedSeed,
    /// The seed of [`home`].
    spread: HashSeed,
}

static PROCESS_SEED: OnceLock<ProcessSeed> = OnceLock::new();

fn process_seed() -> &'static ProcessSeed {
    const SPREAD: u64 = 0x5157_4954_4348_4244;
    let fixed = || ProcessSeed { shared: SharedSeed::global_fixed().clone(), spread: HashSeed(SPREAD) };
    PROCESS_SEED.get_or_init(fixed)
}

/// Sets the seed of the process: two random numbers. Has no effect after the first use of a map or of [`home`].
pub fn randomize([shared, spread]: [u64; 2]) {
    PROCESS_SEED.get_or_init(|| ProcessSeed { shared: SharedSeed::from_u64(shared), spread: HashSeed(spread) });
}

/// The shard (0 to `shards` − 1) that owns `key`. The result is the same on every thread of a process. Clients cannot
/// predict it, and so not load one shard with names of their choice.
pub fn home(key: &str, shards: usize) -> usize {
    debug_assert!(shards > 0, "invariant: a process has a shard");
    let mut hasher = process_seed().spread.build_hasher();
    hasher.write(key.as_bytes());
    ((u128::from(hasher.finish()) * shards as u128) >> 64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn homes_are_spread_evenly() {
        let mut counts = [0; 4];
        for n in 0..4000 {
            counts[home(&format!("room-{n}"), 4)] += 1;
        }
        assert!(counts.iter().all(|&n| (850..1150).contains(&n)), "{counts:?}");
    }

    #[test]
    fn one_seed_one_order() {
        let order = |seed| {
            let mut entries = map(seed);
            for n in 0..100 {
                entries.insert(n, ());
            }
            entries.into_keys().collect::<Vec<i32>>()
        };
        assert_eq!(order(1), order(1));
        assert_ne!(order(1), order(2));
    }
}
