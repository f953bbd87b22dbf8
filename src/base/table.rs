//! Things found by a name that they carry themselves: a slab for the things, a hash table of their places. An entry of
//! the table costs five bytes, however large the thing; and a thing keeps its place as long as it is there.

use std::hash::{BuildHasher, Hasher};

use foldhash::quality::FixedState;
use hashbrown::HashTable;
use slab::Slab;

/// What goes by a name.
pub trait HasName {
    /// The name; it must not change while the thing is in a table.
    fn name(&self) -> &str;
}

/// Things by name and by place.
pub struct Table<T> {
    places: HashTable<u32>,
    things: Slab<T>,
    hasher: FixedState,
}

impl<T: HasName> Table<T> {
    /// An empty table, whose order is of the seed's making.
    pub fn new(seed: u64) -> Self {
        Self { places: HashTable::new(), things: Slab::new(), hasher: FixedState::with_seed(seed) }
    }

    fn hash(hasher: &FixedState, name: &str) -> u64 {
        let mut state = hasher.build_hasher();
        state.write(name.as_bytes());
        state.finish()
    }

    /// The place of the thing called `name`.
    pub fn find(&self, name: &str) -> Option<u32> {
        let hash = Self::hash(&self.hasher, name);
        self.places.find(hash, |at| self.things[*at as usize].name() == name).copied()
    }

    /// The thing at a place.
    pub fn at(&self, place: u32) -> Option<&T> {
        self.things.get(place as usize)
    }

    /// The thing at a place, to be changed.
    pub fn at_mut(&mut self, place: u32) -> Option<&mut T> {
        self.things.get_mut(place as usize)
    }

    /// The thing called `name`.
    pub fn get(&self, name: &str) -> Option<&T> {
        self.find(name).and_then(|place| self.at(place))
    }

    /// The thing called `name`, to be changed.
    pub fn get_mut(&mut self, name: &str) -> Option<&mut T> {
        self.find(name).and_then(|place| self.at_mut(place))
    }

    /// Whether there is a thing called `name`.
    pub fn contains(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    /// Puts a thing in, in the place of the one of the same name if there is one; its place.
    pub fn insert(&mut self, thing: T) -> u32 {
        if let Some(place) = self.find(thing.name()) {
            self.things[place as usize] = thing;
            return place;
        }
        let hash = Self::hash(&self.hasher, thing.name());
        let place = self.things.insert(thing) as u32;
        let (things, hasher) = (&self.things, &self.hasher);
        self.places.insert_unique(hash, place, |at| Self::hash(hasher, things[*at as usize].name()));
        place
    }

    /// Takes a thing out.
    pub fn remove(&mut self, name: &str) -> Option<T> {
        let hash = Self::hash(&self.hasher, name);
        let entry = self.places.find_entry(hash, |at| self.things[*at as usize].name() == name).ok()?;
        let (place, _) = entry.remove();
        let thing = self.things.remove(place as usize);
        if self.things.is_empty() {
            self.things.shrink_to_fit();
            self.places = HashTable::new();
        }
        Some(thing)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.things.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.things.is_empty()
    }

    /// All of them, by place.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.things.iter().map(|(_, thing)| thing)
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
