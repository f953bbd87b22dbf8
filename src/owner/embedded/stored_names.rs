//! Names of rooms or users of which storage has more than memory: unloaded rooms, and users with waiting messages.
//!
//! A name is remembered as a hash, so that no request is needed for one that storage does not have. A stale hash costs one
//! request.

use std::hash::{BuildHasher, Hasher};

use crate::base::limits;
use crate::base::map::{HashSeed, Map, map};

/// The hashes of names, each with a value; at most [`limits::STORED_NAMES`].
pub(super) struct StoredNames<V> {
    seed: u64,
    known: Map<u64, V>,
    /// There were more: storage may have any other name, too.
    is_partial: bool,
}

impl<V: Copy> StoredNames<V> {
    pub(super) fn new(seed: u64) -> Self {
        Self { seed, known: map(seed), is_partial: false }
    }

    fn hash(&self, name: &str) -> u64 {
        let mut hasher = HashSeed(self.seed).build_hasher();
        hasher.write(name.as_bytes());
        hasher.finish()
    }

    pub(super) fn insert(&mut self, name: &str, value: V) {
        let hash = self.hash(name);
        if self.known.len() >= limits::STORED_NAMES && !self.known.contains_key(&hash) {
            self.is_partial = true;
        } else {
            self.known.insert(hash, value);
        }
    }

    /// Removes a name; whether it was known.
    pub(super) fn remove(&mut self, name: &str) -> bool {
        let is_known = self.known.remove(&self.hash(name)).is_some();
        if self.known.capacity() > 1_024 && self.known.capacity() > 4 * self.known.len() {
            self.known.shrink_to(2 * self.known.len());
        }
        is_known
    }

    /// The value of a name that storage is known to have.
    pub(super) fn get(&self, name: &str) -> Option<V> {
        self.known.get(&self.hash(name)).copied()
    }

    /// Whether storage may have a name that is not known.
    pub(super) fn is_partial(&self) -> bool {
        self.is_partial
    }

    pub(super) fn check_invariants(&self) {
        assert!(self.known.len() <= limits::STORED_NAMES, "stored names: known names are within their limit");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_names_are_known_up_to_the_limit() {
        let mut names: StoredNames<u64> = StoredNames::new(7);
        names.insert("a", 3);
        names.insert("a", 4);
        assert_eq!((names.get("a"), names.get("b"), names.is_partial()), (Some(4), None, false));
        assert!(names.remove("a") && !names.remove("a") && names.get("a").is_none());
        for number in 0..=limits::STORED_NAMES {
            names.insert(&number.to_string(), 1);
        }
        assert!(names.is_partial() && names.get("b").is_none());
        names.check_invariants();
        let bytes = names.known.allocation_size();
        assert!(bytes <= 18 << 20, "18 MiB as documented, not {bytes}");
        for number in 0..=limits::STORED_NAMES {
            names.remove(&number.to_string());
        }
        assert!(names.known.capacity() <= 1_024, "memory is given back");
    }
}
