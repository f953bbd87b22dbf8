//! Which of many things come most often, in bounded memory: the space-saving sketch of Metwally, Agrawal and El Abbadi
//! ("Efficient computation of frequent and top-k elements in data streams", 2005).
//!
//! It keeps a fixed number of things with a count each. A thing that is not among them takes the place of the one that
//! came least often, and that one's count with it, as a possible error. So whatever came more often than one in
//! [`FREQUENT_KEPT`] times is there, and a count less its error is what certainly was.

use std::hash::Hash;

use crate::base::map::{Map, map};

/// How many things a sketch keeps.
pub const FREQUENT_KEPT: usize = 256;

/// The things that came most often.
#[derive(Clone, Debug)]
pub struct Frequent<K> {
    kept: Map<K, Count>,
}

#[derive(Clone, Copy, Debug)]
struct Count {
    /// At most so often.
    at_most: u64,
    /// By how much that may be too much.
    error: u64,
}

impl Count {
    fn certain(self) -> u64 {
        self.at_most - self.error
    }
}

impl<K: Clone + Eq + Hash + Ord> Frequent<K> {
    /// An empty sketch, whose order is of the seed's making.
    pub fn new(seed: u64) -> Self {
        Self { kept: map(seed) }
    }

    /// A sketch of things that came at least so often.
    pub fn of(things: Vec<(K, u64)>) -> Self {
        let mut sketch = Self::new(0);
        let counts = things.into_iter().map(|(thing, at_most)| (thing, Count { at_most, error: 0 }));
        sketch.kept.extend(counts.take(FREQUENT_KEPT));
        sketch
    }

    /// `thing` came once more.
    pub fn add(&mut self, thing: &K) {
        if let Some(count) = self.kept.get_mut(thing) {
            count.at_most += 1;
            return;
        }
        let mut count = Count { at_most: 1, error: 0 };
        if self.kept.len() >= FREQUENT_KEPT
            && let Some((rarest, least)) = self.rarest()
        {
            self.kept.remove(&rarest);
            count = Count { at_most: least + 1, error: least };
        }
        self.kept.insert(thing.clone(), count);
    }

    /// Adds what another sketch has seen.
    pub fn merge(&mut self, other: &Self) {
        // What a full sketch does not have may have come as often as its rarest.
        let (own_least, other_least) = (self.least(), other.least());
        for (thing, count) in &mut self.kept {
            let theirs = other.kept.get(thing).copied();
            let theirs = theirs.unwrap_or(Count { at_most: other_least, error: other_least });
            count.at_most += theirs.at_most;
            count.error += theirs.error;
        }
        for (thing, count) in &other.kept {
            self.kept
                .entry(thing.clone())
                .or_insert(Count { at_most: count.at_most + own_least, error: count.error + own_least });
        }
        if self.kept.len() > FREQUENT_KEPT {
            let mut all: Vec<(K, Count)> = self.kept.drain().collect();
            all.sort_unstable_by(|(a, one), (b, other)| other.at_most.cmp(&one.at_most).then_with(|| a.cmp(b)));
            all.truncate(FREQUENT_KEPT);
            self.kept.extend(all);
        }
    }

    /// The `most` that certainly came most often, and how often they did at the least.
    pub fn top(&self, most: usize) -> Vec<(K, u64)> {
        let certain = self.kept.iter().map(|(thing, count)| (thing.clone(), count.certain()));
        let mut all: Vec<(K, u64)> = certain.filter(|(_, count)| *count > 0).collect();
        all.sort_unstable_by(|(a, one), (b, other)| other.cmp(one).then_with(|| a.cmp(b)));
        all.truncate(most);
        all
    }

    /// What came least often of all that is kept.
    fn rarest(&self) -> Option<(K, u64)> {
        let rarest = self.kept.iter().min_by(|(a, one), (b, other)| one.at_most.cmp(&other.at_most).then(a.cmp(b)));
        rarest.map(|(thing, count)| (thing.clone(), count.at_most))
    }

    /// How often something that is not kept may have come.
    fn least(&self) -> u64 {
        if self.kept.len() < FREQUENT_KEPT {
            return 0;
        }
        self.kept.values().map(|count| count.at_most).min().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn few_things_are_counted_exactly() {
        let mut sketch = Frequent::new(1);
        for n in 0..300_u32 {
            sketch.add(&(n % 7));
            if n % 3 == 0 {
                sketch.add(&100);
            }
        }
        assert_eq!(sketch.top(3), [(100, 100), (0, 43), (1, 43)]);
        assert_eq!(sketch.top(100).len(), 8);
    }

    #[test]
    fn a_flood_of_others_neither_hides_the_frequent_nor_grows_the_sketch() {
        let mut sketch = Frequent::new(1);
        for n in 0..100_000_u32 {
            sketch.add(&(1_000 + n));
            if n % 20 == 0 {
                sketch.add(&(n / 20 % 3));
            }
        }
        assert_eq!(sketch.kept.len(), FREQUENT_KEPT);
        let top: Vec<u32> = sketch.top(3).into_iter().map(|(thing, _)| thing).collect();
        assert_eq!(
            {
                let mut top = top;
                top.sort_unstable();
                top
            },
            [0, 1, 2]
        );
    }

    proptest! {
        /// However the things are spread over shards: no count is more than there were, and what came more often than
        /// its share is there.
        #[test]
        fn counts_are_never_made_up(things in prop::collection::vec((0..3_usize, 0..1_000_u32), 0..4_000), skew in 1..40_u32) {
            let mut shards = [Frequent::new(1), Frequent::new(2), Frequent::new(3)];
            let mut truth = BTreeMap::new();
            for (shard, thing) in &things {
                let thing = thing / skew;
                shards[*shard].add(&thing);
                *truth.entry(thing).or_insert(0_u64) += 1;
            }
            let [mut all, second, third] = shards;
            all.merge(&second);
            all.merge(&third);
            prop_assert!(all.kept.len() <= FREQUENT_KEPT);
            for (thing, count) in all.top(usize::MAX) {
                prop_assert!(count <= truth[&thing], "{thing}: {count}");
            }
            let share = things.len() as u64 / FREQUENT_KEPT as u64;
            for (thing, count) in truth {
                prop_assert!(count <= 3 * share + 3 || all.kept.contains_key(&thing), "{thing}: {count}");
            }
        }
    }
}
