//! Typed handles: slots of a shard's slabs, and the two keys that name a thing of either of two kinds. A handle of one kind
//! cannot be used for another.

use std::marker::PhantomData;
use std::ops::{Index, IndexMut};

use slab::Slab;

use crate::base::ids::{PEER, SESSION, SLOTS_MAX};

/// A slot of a [`Slots`].
pub trait Slot: Copy {
    /// The slot of this number.
    fn from_raw(raw: u32) -> Self;

    /// Its number.
    fn raw(self) -> u32;
}

macro_rules! slot {
    ($(#[$doc:meta] $name:ident),*) => {$(
        #[$doc]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(u32);

        impl Slot for $name {
            fn from_raw(raw: u32) -> Self {
                Self(raw)
            }

            fn raw(self) -> u32 {
                self.0
            }
        }
    )*};
}

slot! {
    /// A TCP connection.
    ConnSlot,
    /// An Engine.IO session.
    SessionSlot,
    /// A Socket.IO client's connection to one namespace.
    SocketIoSlot,
    /// A room with members on the shard.
    RoomSlot
}

/// A peer: a client that is attached to the domain, as a raw WebSocket or by Socket.IO.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerKey(u32);

/// The two kinds of peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerSlot {
    /// A WebSocket in the raw dialect.
    Raw(ConnSlot),
    /// A Socket.IO peer.
    SocketIo(SocketIoSlot),
}

impl PeerKey {
    /// No peer.
    pub const NONE: Self = Self(u32::MAX);

    /// Its kind and slot; not for [`PeerKey::NONE`].
    pub fn slot(self) -> PeerSlot {
        debug_assert!(self != Self::NONE, "invariant: only a key of a peer has a slot");
        match self.0 & PEER {
            0 => PeerSlot::Raw(ConnSlot(self.0)),
            _ => PeerSlot::SocketIo(SocketIoSlot(self.0 & !PEER)),
        }
    }

    /// The slot of a Socket.IO peer.
    pub fn socketio(self) -> Option<SocketIoSlot> {
        (self != Self::NONE && self.0 & PEER != 0).then_some(SocketIoSlot(self.0 & !PEER))
    }

    /// The number that stands for it in [`crate::base::ids::ConnectionPlace`].
    pub fn raw(self) -> u32 {
        self.0
    }
}

impl From<ConnSlot> for PeerKey {
    fn from(slot: ConnSlot) -> Self {
        debug_assert!(slot.0 < SLOTS_MAX, "invariant: slots lie below SLOTS_MAX");
        Self(slot.0)
    }
}

impl From<SocketIoSlot> for PeerKey {
    fn from(slot: SocketIoSlot) -> Self {
        debug_assert!(slot.0 < SLOTS_MAX, "invariant: slots lie below SLOTS_MAX");
        Self(PEER | slot.0)
    }
}

/// A connection or a session, as the timer wheel and the drain name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TimerKey(u32);

/// The two kinds of [`TimerKey`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimerSlot {
    /// A TCP connection.
    Conn(ConnSlot),
    /// An Engine.IO session.
    Session(SessionSlot),
}

impl TimerKey {
    /// Its kind and slot.
    pub fn slot(self) -> TimerSlot {
        match self.0 & SESSION {
            0 => TimerSlot::Conn(ConnSlot(self.0)),
            _ => TimerSlot::Session(SessionSlot(self.0 & !SESSION)),
        }
    }
}

impl From<ConnSlot> for TimerKey {
    fn from(slot: ConnSlot) -> Self {
        Self(slot.0)
    }
}

impl From<SessionSlot> for TimerKey {
    fn from(slot: SessionSlot) -> Self {
        Self(SESSION | slot.0)
    }
}

/// A slab whose keys are of one type.
pub struct Slots<K, T> {
    slab: Slab<T>,
    key: PhantomData<K>,
}

impl<K: Slot, T> Slots<K, T> {
    /// An empty one.
    pub fn new() -> Self {
        Self { slab: Slab::new(), key: PhantomData }
    }

    /// The entry at a slot.
    pub fn get(&self, slot: K) -> Option<&T> {
        self.slab.get(slot.raw() as usize)
    }

    /// The entry at a slot, to be changed.
    pub fn get_mut(&mut self, slot: K) -> Option<&mut T> {
        self.slab.get_mut(slot.raw() as usize)
    }

    /// Size of the table in memory, in bytes.
    pub fn table_bytes(&self) -> usize {
        self.slab.capacity() * size_of::<T>()
    }

    /// Whether there is an entry at a slot.
    pub fn contains(&self, slot: K) -> bool {
        self.slab.contains(slot.raw() as usize)
    }

    /// Adds an entry; its slot.
    pub fn insert(&mut self, entry: T) -> K {
        K::from_raw(self.slab.insert(entry) as u32)
    }

    /// The slot of the next entry.
    pub fn vacant(&self) -> K {
        K::from_raw(self.slab.vacant_key() as u32)
    }

    /// Takes the entry at a slot out.
    pub fn remove(&mut self, slot: K) -> Option<T> {
        self.slab.try_remove(slot.raw() as usize)
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.slab.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.slab.is_empty()
    }

    /// Entries it has memory for.
    pub fn capacity(&self) -> usize {
        self.slab.capacity()
    }

    /// Gives back the memory behind the last entry.
    pub fn shrink_to_fit(&mut self) {
        self.slab.shrink_to_fit();
    }

    /// All entries, in the order of their slots.
    pub fn iter(&self) -> impl Iterator<Item = (K, &T)> {
        self.slab.iter().map(|(slot, entry)| (K::from_raw(slot as u32), entry))
    }

    /// The same, to be changed.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (K, &mut T)> {
        self.slab.iter_mut().map(|(slot, entry)| (K::from_raw(slot as u32), entry))
    }
}

impl<K: Slot, T> Default for Slots<K, T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: Slot, T> Index<K> for Slots<K, T> {
    type Output = T;

    fn index(&self, slot: K) -> &T {
        self.get(slot).expect("invariant: the caller's slot is occupied")
    }
}

impl<K: Slot, T> IndexMut<K> for Slots<K, T> {
    fn index_mut(&mut self, slot: K) -> &mut T {
        self.get_mut(slot).expect("invariant: the caller's slot is occupied")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peer_key_of_either_kind_gives_back_its_slot() {
        let (raw, peer) = (ConnSlot(5), SocketIoSlot(5));
        assert_eq!(PeerKey::from(raw).slot(), PeerSlot::Raw(raw));
        assert_eq!(PeerKey::from(peer).slot(), PeerSlot::SocketIo(peer));
        assert_eq!((PeerKey::from(peer).socketio(), PeerKey::from(raw).socketio()), (Some(peer), None));
        assert_eq!(PeerKey::NONE.socketio(), None);
    }

    #[test]
    fn timer_key_of_either_kind_gives_back_its_slot() {
        assert_eq!(TimerKey::from(ConnSlot(7)).slot(), TimerSlot::Conn(ConnSlot(7)));
        assert_eq!(TimerKey::from(SessionSlot(7)).slot(), TimerSlot::Session(SessionSlot(7)));
    }

    #[test]
    fn slots_take_out_what_was_put_in() {
        let mut slots: Slots<ConnSlot, &str> = Slots::new();
        let slot = slots.vacant();
        assert_eq!(slots.insert("a"), slot);
        assert_eq!((slots.remove(slot), slots.remove(slot)), (Some("a"), None));
    }
}
