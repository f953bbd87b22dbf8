//! The loaded rooms of a shard, by name, by place, and in the order of their names, so that a page of them costs what is on it.

use std::collections::BTreeSet;
use std::ops::{Bound, Deref, DerefMut};

use crate::base::Name;
use crate::base::limits;
use crate::base::table::Table;
use crate::domain::query::{RoomPage, RoomsPage};
use crate::domain::room::Room;

/// A [`Table`] of rooms with the order of their names.
pub(super) struct RoomTable {
    table: Table<Box<Room>>,
    names: BTreeSet<Name>,
}

impl RoomTable {
    pub(super) fn new(seed: u64) -> Self {
        Self { table: Table::new(seed), names: BTreeSet::new() }
    }

    /// Inserts a room and returns its place.
    pub(super) fn insert(&mut self, room: Box<Room>) -> u32 {
        self.names.insert(room.id.clone());
        self.table.insert(room)
    }

    /// Removes a room.
    pub(super) fn remove(&mut self, name: &str) {
        self.names.remove(name);
        self.table.remove(name);
    }

    /// A page of the rooms. It ends early after [`limits::ROOMS_SCANNED`].
    pub(super) fn page(&self, wanted: &RoomsPage) -> RoomPage {
        let (start, is_included) = wanted.start();
        let start = if is_included { Bound::Included(start) } else { Bound::Excluded(start) };
        let names = self.names.range::<str, _>((start, Bound::Unbounded));
        let mut names = names.take_while(|name| name.starts_with(&*wanted.prefix)).peekable();
        let (mut page, mut scanned) = (RoomPage::default(), 0);
        while let Some(name) = names.next() {
            let view = self.table.get(name).map(|room| room.view(0)).filter(|view| wanted.selects(view));
            page.rooms.extend(view);
            scanned += 1;
            if page.rooms.len() == wanted.limit || scanned == limits::ROOMS_SCANNED {
                page.until = names.peek().map(|_| name.clone());
                break;
            }
        }
        page
    }

    pub(super) fn check_invariants(&self) {
        assert_eq!(self.names.len(), self.table.len(), "rooms: each room has its name in the order of names");
        assert!(self.names.iter().all(|name| self.table.contains(name)), "rooms: each name in order is a room's");
    }
}

impl Deref for RoomTable {
    type Target = Table<Box<Room>>;

    fn deref(&self) -> &Self::Target {
        &self.table
    }
}

impl DerefMut for RoomTable {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.table
    }
}
