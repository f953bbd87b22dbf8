//! Hash maps with a seeded hasher: keys chosen by an attacker do not collide, and a run with the same seed iterates in
//! the same order.

use foldhash::quality::FixedState;

/// A hash map with a seeded hasher.
pub type Map<K, V> = hashbrown::HashMap<K, V, FixedState>;

/// An empty map whose hasher starts from `seed`.
pub fn map<K, V>(seed: u64) -> Map<K, V> {
    Map::with_hasher(FixedState::with_seed(seed))
}

/// The shard (0 to `shards` − 1) that owns `key`. The result is the same on every thread, in every process.
pub fn home(key: &str, shards: usize) -> usize {
    use std::hash::{BuildHasher, Hasher};
    debug_assert!(shards > 0, "invariant: a process has a shard");
    const SPREAD: u64 = 0x5157_4954_4348_4244;
    let mut hasher = FixedState::with_seed(SPREAD).build_hasher();
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
