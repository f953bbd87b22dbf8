//! The most frequent items of a stream, in bounded memory: the space-saving sketch of Metwally, Agrawal and El Abbadi
//! ("Efficient computation of frequent and top-k elements in data streams", 2005).
//!
//! It keeps a fixed number of items with a count each. A new item replaces the least frequent one and takes over its
//! count
//! as a possible error. So each item with a share of more than 1/[`FREQUENT_KEPT`] is kept, and its count less its
//! error
//! is a lower bound.

use std::hash::Hash;

use crate::base::map::{Map, map};

/// Items that a sketch keeps.
pub const FREQUENT_KEPT: usize = 256;

/// The most frequent items.
#[derive(Clone, Debug)]
pub struct FrequencySketch<K> {
    kept: Map<K, Count>,
}

#[derive(Clone, Copy, Debug)]
struct Count {
    /// An upper bound of the count.
    at_most: u64,
    /// The possible error of that bound.
    error: u64,
}

impl Count {
    fn certain(self) -> u64 {
        self.at_most - self.error
    }
}

impl<K: Clone + Eq + Hash + Ord> FrequencySketch<K> {
    /// An empty sketch. The seed is for its hash map.
    pub fn new(seed: u64) -> Self {
        Self { kept: map(seed) }
    }

    /// A sketch from items with exact counts.
    pub fn of(items: Vec<(K, u64)>) -> Self {
        let mut sketch = Self::new(0);
        let counts = items.into_iter().map(|(item, at_most)| (item, Count { at_most, error: 0 }));
        sketch.kept.extend(counts.take(FREQUENT_KEPT));
        sketch
    }

    /// Counts an item.
    pub fn add(&mut self, item: &K) {
        if let Some(count) = self.kept.get_mut(item) {
            count.at_most += 1;
            return;
        }
        let mut count = Count { at_most: 1, error: 0 };
        if self.kept.len() >= FREQUENT_KEPT {
            let (rarest, least) = self.rarest().expect("invariant: a full sketch has a least frequent item");
            self.kept.remove(&rarest);
            count = Count { at_most: least + 1, error: least };
        }
        self.kept.insert(item.clone(), count);
        debug_assert!(self.kept.len() <= FREQUENT_KEPT, "invariant: a sketch has a bound");
    }

    /// Merges another sketch.
    pub fn merge(&mut self, other: &Self) {
        // An item that a full sketch lacks may have the count of its least frequent item.
        let (own_least, other_least) = (self.least(), other.least());
        for (item, count) in &mut self.kept {
            let theirs = other.kept.get(item).copied();
            let theirs = theirs.unwrap_or(Count { at_most: other_least, error: other_least });
            count.at_most += theirs.at_most;
            count.error += theirs.error;
        }
        for (item, count) in &other.kept {
            self.kept
                .entry(item.clone())
                .or_insert(Count { at_most: count.at_most + own_least, error: count.error + own_least });
        }
        if self.kept.len() > FREQUENT_KEPT {
            let mut all: Vec<(K, Count)> = self.kept.drain().collect();
            all.sort_unstable_by(|(a, one), (b, other)| other.at_most.cmp(&one.at_most).then_with(|| a.cmp(b)));
            all.truncate(FREQUENT_KEPT);
            self.kept.extend(all);
        }
    }

    /// The `most` items with the largest lower bounds, and these bounds.
    pub fn top(&self, most: usize) -> Vec<(K, u64)> {
        let certain = self.kept.iter().map(|(item, count)| (item.clone(), count.certain()));
        let mut all: Vec<(K, u64)> = certain.filter(|(_, count)| *count > 0).collect();
        all.sort_unstable_by(|(a, one), (b, other)| other.cmp(one).then_with(|| a.cmp(b)));
        all.truncate(most);
        all
    }

    /// The least frequent item.
    fn rarest(&self) -> Option<(K, u64)> {
        let rarest = self.kept.iter().min_by(|(a, one), (b, other)| one.at_most.cmp(&other.at_most).then(a.cmp(b)));
        rarest.map(|(item, count)| (item.clone(), count.at_most))
    }

    /// The upper bound of the count of an item that is not kept.
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
        let mut sketch = FrequencySketch::new(1);
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
        let mut sketch = FrequencySketch::new(1);
        for n in 0..100_000_u32 {
            sketch.add(&(1_000 + n));
            if n % 20 == 0 {
                sketch.add(&(n / 20 % 3));
            }
        }
        assert_eq!(sketch.kept.len(), FREQUENT_KEPT);
        let top: Vec<u32> = sketch.top(3).into_iter().map(|(item, _)| item).collect();
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
        /// However items are spread over shards, no count is too large, and each item above its share is kept.
        #[test]
        fn counts_are_never_made_up(items in prop::collection::vec((0..3_usize, 0..1_000_u32), 0..4_000), skew in 1..40_u32) {
            let mut shards = [FrequencySketch::new(1), FrequencySketch::new(2), FrequencySketch::new(3)];
            let mut truth = BTreeMap::new();
            for (shard, item) in &items {
                let item = item / skew;
                shards[*shard].add(&item);
                *truth.entry(item).or_insert(0_u64) += 1;
            }
            let [mut all, second, third] = shards;
            all.merge(&second);
            all.merge(&third);
            prop_assert!(all.kept.len() <= FREQUENT_KEPT);
            for (item, count) in all.top(usize::MAX) {
                prop_assert!(count <= truth[&item], "{item}: {count}");
            }
            let share = items.len() as u64 / FREQUENT_KEPT as u64;
            for (item, count) in truth {
                prop_assert!(count <= 3 * share + 3 || all.kept.contains_key(&item), "{item}: {count}");
            }
        }
    }
}
