//! A bounded cache of database lookups.

use std::borrow::Borrow;
use std::hash::Hash;

use crate::base::map::{Map, map};

/// Keeps at least the last `size` used entries, and at most twice as many: when the young generation has `size`
/// entries, it replaces the old one.
pub(super) struct LookupCache<K, V> {
    size: usize,
    young: Map<K, V>,
    old: Map<K, V>,
}

impl<K: Eq + Hash, V> LookupCache<K, V> {
    pub(super) fn new(size: usize, seed: u64) -> Self {
        assert!(size > 0, "invariant: a lookup cache has room for an entry");
        Self { size, young: map(seed), old: map(seed) }
    }

    pub(super) fn get_mut<Q>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        if !self.young.contains_key(key) {
            let (key, value) = self.old.remove_entry(key)?;
            self.insert(key, value);
        }
        self.young.get_mut(key)
    }

    pub(super) fn insert(&mut self, key: K, value: V) {
        if self.young.len() >= self.size {
            self.old = std::mem::replace(&mut self.young, map(0));
        }
        self.old.remove(&key);
        self.young.insert(key, value);
        debug_assert!(
            self.young.len() <= self.size && self.old.len() <= self.size,
            "invariant: the cache holds at most twice its size"
        );
    }

    pub(super) fn remove<Q>(&mut self, key: &Q)
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        self.young.remove(key);
        self.old.remove(key);
    }

    /// Removes all entries and frees their memory.
    pub(super) fn clear(&mut self) {
        for part in [&mut self.young, &mut self.old] {
            part.clear();
            part.shrink_to_fit();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_used_stay_and_no_more_than_twice_as_many() {
        let mut lookup_cache = LookupCache::new(10, 1);
        for n in 0..1000 {
            lookup_cache.insert(n, n);
            assert_eq!(lookup_cache.get_mut(&0).copied(), Some(0), "what is used stays");
            for back in 0..9.min(n) {
                assert_eq!(lookup_cache.get_mut(&(n - back)).copied(), Some(n - back));
            }
            assert!(lookup_cache.young.len() + lookup_cache.old.len() <= 20);
        }
        lookup_cache.remove(&999);
        assert_eq!(lookup_cache.get_mut(&999), None);
        lookup_cache.clear();
        assert_eq!(lookup_cache.get_mut(&998), None);
    }
}
