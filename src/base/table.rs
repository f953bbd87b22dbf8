//! A table of values that contain their own name: a slab of values and a hash table of slots. The hash table takes five
//! bytes per value, and a value keeps its slot until it is removed.

use std::hash::{BuildHasher, Hasher};

use hashbrown::HashTable;
use slab::Slab;

use crate::base::map::HashSeed;

/// A value with a name.
pub trait HasName {
    /// The name. It must not change while the value is in a table.
    fn name(&self) -> &str;
}

/// Values by name and by slot.
pub struct Table<T> {
    slots: HashTable<u32>,
    values: Slab<T>,
    hasher: HashSeed,
}

impl<T: HasName> Table<T> {
    /// An empty table with a hasher seeded by `seed`.
    pub fn new(seed: u64) -> Self {
        Self { slots: HashTable::new(), values: Slab::new(), hasher: HashSeed(seed) }
    }

    fn hash(hasher: &HashSeed, name: &str) -> u64 {
        let mut state = hasher.build_hasher();
        state.write(name.as_bytes());
        state.finish()
    }

    /// The slot of the value with this name.
    pub fn find(&self, name: &str) -> Option<u32> {
        let hash = Self::hash(&self.hasher, name);
        self.slots.find(hash, |at| self.values[*at as usize].name() == name).copied()
    }

    /// The value in a slot.
    pub fn at(&self, slot: u32) -> Option<&T> {
        self.values.get(slot as usize)
    }

    /// The value in a slot, mutably.
    pub fn at_mut(&mut self, slot: u32) -> Option<&mut T> {
        self.values.get_mut(slot as usize)
    }

    /// The value with this name.
    pub fn get(&self, name: &str) -> Option<&T> {
        self.find(name).and_then(|slot| self.at(slot))
    }

    /// The value with this name, mutably.
    pub fn get_mut(&mut self, name: &str) -> Option<&mut T> {
        self.find(name).and_then(|slot| self.at_mut(slot))
    }

    /// Whether a value has this name.
    pub fn contains(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    /// Inserts a value and returns its slot. A value with the same name is replaced in its slot.
    pub fn insert(&mut self, value: T) -> u32 {
        if let Some(slot) = self.find(value.name()) {
            self.values[slot as usize] = value;
            return slot;
        }
        let hash = Self::hash(&self.hasher, value.name());
        let slot = self.values.insert(value) as u32;
        let (values, hasher) = (&self.values, &self.hasher);
        self.slots.insert_unique(hash, slot, |at| Self::hash(hasher, values[*at as usize].name()));
        debug_assert_eq!(self.slots.len(), self.values.len(), "invariant: each value has one slot in the hash table");
        slot
    }

    /// Removes the value with this name. An empty table releases its memory.
    pub fn remove(&mut self, name: &str) -> Option<T> {
        let hash = Self::hash(&self.hasher, name);
        let entry = self.slots.find_entry(hash, |at| self.values[*at as usize].name() == name).ok()?;
        let (slot, _) = entry.remove();
        let value = self.values.remove(slot as usize);
        if self.values.is_empty() {
            self.values.shrink_to_fit();
            self.slots = HashTable::new();
        }
        Some(value)
    }

    /// Number of values.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether the table has no value.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Size of the table in memory, in bytes.
    pub fn table_bytes(&self) -> usize {
        self.values.capacity() * size_of::<T>() + self.slots.capacity() * (size_of::<u32>() + 1)
    }

    /// The values with their slots, ordered by slot.
    pub fn entries(&self) -> impl Iterator<Item = (u32, &T)> {
        self.values.iter().map(|(slot, value)| (slot as u32, value))
    }

    /// The values, mutably, ordered by slot. Their names must not change.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.values.iter_mut().map(|(_, value)| value)
    }

    /// The values, ordered by slot.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.values.iter().map(|(_, value)| value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Thing(String, usize);

    impl HasName for Thing {
        fn name(&self) -> &str {
            &self.0
        }
    }

    #[test]
    fn things_are_found_as_long_as_they_are_there() {
        let mut table = Table::new(7);
        for n in 0..1000 {
            table.insert(Thing(format!("thing-{n}"), n));
        }
        for n in (0..1000).step_by(3) {
            assert_eq!(table.remove(&format!("thing-{n}")).map(|thing| thing.1), Some(n));
        }
        for n in 0..1000 {
            let found = table.get(&format!("thing-{n}")).map(|thing| thing.1);
            assert_eq!(found, (n % 3 != 0).then_some(n));
        }
        table.insert(Thing("thing-1".into(), 7));
        assert_eq!((table.get("thing-1").map(|thing| thing.1), table.len()), (Some(7), 666));
    }
}
