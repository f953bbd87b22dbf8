//! Namespaces of Socket.IO that belong to the application.
//!
//! A socket there takes no part in the domain: it is in no room with a log, and its user's owner does not know it. Acts on sockets
//! go to the [hub](hub::AppHub) of the namespace, and from there to all shards in one order; with Redis by way of it, to all nodes.

mod asks;
pub(super) mod hooks;
mod hub;
mod packets;
mod questions;
pub(super) mod sockets;

use std::collections::BTreeMap;

use crate::base::Name;
use crate::base::handle::{Slot, SocketIoSlot};
use crate::base::limits;
use crate::codec::engineio::Version;
use crate::connection::namespace::{ACKS_MAX, NamespaceIndex};
use crate::domain::app::{AppAsker, AppGiven, AppOffset, AppTarget};
use crate::shard::apps::asks::AckCalls;
use crate::shard::apps::hub::AppHub;
use crate::shard::apps::questions::EventQueue;

/// The namespaces of the application, as a shard knows them.
pub(super) struct Apps {
    spaces: BTreeMap<NamespaceIndex, AppSpace>,
    hubs: BTreeMap<Name, AppHub>,
    calls: AckCalls,
    /// Distinguishes this process from others of the same number.
    start: u32,
    /// The number of the last event that came here.
    last: u64,
}

/// The sockets of a namespace on a shard.
#[derive(Default)]
struct AppSpace {
    sockets: BTreeMap<u32, AppSocket>,
    rooms: BTreeMap<Name, Vec<SocketIoSlot>>,
    /// The last event that the shard has got.
    last: Option<AppOffset>,
}

/// A socket.
struct AppSocket {
    /// Its rooms, the first of which is that of its own id.
    rooms: Vec<Name>,
    /// Secret of its client, if it may be recovered.
    secret: Option<Box<str>>,
    /// The last event before it connected.
    since: Option<AppOffset>,
    version: Version,
    /// Its user, as the token says.
    claimant: Name,
    /// What the application has said of it.
    given: AppGiven,
    /// Events that the application is asked about.
    events: Option<Box<EventQueue>>,
    /// Questions that it has not answered, by the number of the ack.
    questions: Vec<(u64, AppAsker)>,
}

impl AppSocket {
    fn id(&self) -> &Name {
        &self.rooms[0]
    }
}

impl Apps {
    pub(super) fn new(start: u32) -> Self {
        Self { spaces: BTreeMap::new(), hubs: BTreeMap::new(), calls: AckCalls::default(), start, last: 0 }
    }

    /// When a call has waited for long enough, in monotonic milliseconds.
    pub(super) fn next_due(&self) -> Option<u64> {
        self.calls.next_due()
    }

    /// Panics unless sockets and rooms know the same of each other.
    pub(super) fn check_invariants(&self) {
        for space in self.spaces.values() {
            let places: usize = space.sockets.values().map(|socket| socket.rooms.len()).sum();
            assert_eq!(
                places,
                space.rooms.values().map(Vec::len).sum::<usize>(),
                "invariant: a room lists its sockets"
            );
            for (name, sockets) in &space.rooms {
                assert!(!sockets.is_empty(), "invariant: an empty room is forgotten");
                for slot in sockets {
                    let socket = space.sockets.get(&slot.raw()).expect("invariant: a room lists live sockets");
                    assert!(socket.rooms.contains(name), "invariant: a socket knows its rooms");
                }
            }
        }
    }
}

impl AppSpace {
    /// The sockets that an act concerns, each once.
    fn sockets_of(&self, target: &AppTarget) -> Vec<SocketIoSlot> {
        let mut found: Vec<SocketIoSlot> = match &target.rooms[..] {
            [] => self.sockets.keys().map(|raw| SocketIoSlot::from_raw(*raw)).collect(),
            rooms => rooms.iter().filter_map(|room| self.rooms.get(room)).flatten().copied().collect(),
        };
        if target.rooms.len() > 1 {
            found.sort_unstable_by_key(|slot| slot.raw());
            found.dedup();
        }
        if !target.except.is_empty() {
            found.retain(|slot| self.sockets.get(&slot.raw()).is_some_and(|it| !target.leaves_out(&it.rooms)));
        }
        found
    }

    fn add(&mut self, slot: SocketIoSlot, socket: AppSocket) {
        for room in &socket.rooms {
            self.rooms.entry(room.clone()).or_default().push(slot);
        }
        let former = self.sockets.insert(slot.raw(), socket);
        debug_assert!(former.is_none(), "invariant: a socket is added once");
    }

    fn join(&mut self, slot: SocketIoSlot, rooms: &[Name]) {
        let Some(socket) = self.sockets.get_mut(&slot.raw()) else { return };
        for room in rooms {
            if socket.rooms.len() < limits::APP_ROOMS && !socket.rooms.contains(room) {
                socket.rooms.push(room.clone());
                self.rooms.entry(room.clone()).or_default().push(slot);
            }
        }
    }

    /// Takes a socket out of rooms. It stays in that of its own id.
    fn leave(&mut self, slot: SocketIoSlot, rooms: &[Name]) {
        let Some(socket) = self.sockets.get_mut(&slot.raw()) else { return };
        let own = socket.id().clone();
        let left: Vec<Name> =
            rooms.iter().filter(|room| **room != own && socket.rooms.contains(room)).cloned().collect();
        socket.rooms.retain(|room| !left.contains(room));
        left.iter().for_each(|room| self.take_out(room, slot));
    }

    fn remove(&mut self, slot: SocketIoSlot) -> Option<AppSocket> {
        let socket = self.sockets.remove(&slot.raw())?;
        socket.rooms.iter().for_each(|room| self.take_out(room, slot));
        Some(socket)
    }

    fn take_out(&mut self, room: &Name, slot: SocketIoSlot) {
        if let Some(sockets) = self.rooms.get_mut(room) {
            sockets.retain(|other| *other != slot);
            if sockets.is_empty() {
                self.rooms.remove(room);
            }
        }
    }

    /// Notes that a socket was asked for an acknowledgement. The oldest question is forgotten if there are too many.
    fn ask(&mut self, slot: SocketIoSlot, number: u64, asker: AppAsker) {
        if let Some(socket) = self.sockets.get_mut(&slot.raw()) {
            if socket.questions.len() >= ACKS_MAX {
                socket.questions.remove(0);
            }
            socket.questions.push((number, asker));
        }
    }

    /// The place that waits for an acknowledgement, and the id of the socket.
    fn answered(&mut self, slot: SocketIoSlot, number: u64) -> Option<(AppAsker, Name)> {
        let socket = self.sockets.get_mut(&slot.raw())?;
        let at = socket.questions.iter().position(|(known, _)| *known == number)?;
        let (_, asker) = socket.questions.swap_remove(at);
        Some((asker, socket.id().clone()))
    }
}
