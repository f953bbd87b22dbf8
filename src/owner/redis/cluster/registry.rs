//! The registry of rooms and users in Redis: which of them each node has, and which rooms exist.
//!
//! Each node records its rooms and users ("places"), so that another node can clean up when it dies. They are recorded before
//! the calls that they belong to, with one call for all of a turn.
//!
//! Rooms without members are listed in two sorted sets, by their end unless they are used: rooms that were made on purpose,
//! and rooms made by joining that a node has just left. In a cluster these sets and the rooms are on different servers, so
//! the lists are not exact: a room is listed before it is made, and an expired room stays listed. ClusterQueries look at each listed
//! room, and repair the lists. Nodes check the rooms with an expired entry, some with each renewal of a lease.

use std::collections::BTreeSet;

use serde::Deserialize;

use crate::base::Name;
use crate::base::limits;
use crate::domain::query::RoomsPage;
use crate::message::redis::Bytes;
use crate::owner::redis::calls::{CallPurpose, CallResult};
use crate::owner::redis::cluster::ClusterCall;
use crate::owner::redis::cluster::enrolment::{self, Enrolments};
use crate::owner::redis::scripts;
use crate::owner::redis::turn::OwnerTurn;
use crate::owner::redis::wire::{number, text};

/// List changes of each kind that can wait; later ones are dropped, and repaired by queries.
const LIST_CHANGES_MAX: usize = 65_536;

/// Prefix of the ids of guests, who are unknown once they have gone.
const GUEST: &[u8] = b"guest:";

/// Rooms, or users, that are not recorded yet: new ones, and ones that this node has no more.
#[derive(Default)]
struct PlaceChanges {
    entered: BTreeSet<Name>,
    left: BTreeSet<Name>,
}

impl PlaceChanges {
    fn enter(&mut self, name: &Name) {
        self.left.remove(name);
        self.entered.insert(name.clone());
    }

    fn leave(&mut self, name: &Name) {
        self.entered.remove(name);
        self.left.insert(name.clone());
    }

    fn is_empty(&self) -> bool {
        self.entered.is_empty() && self.left.is_empty()
    }

    /// Takes all changes: new places, and former ones.
    fn take(&mut self) -> [Vec<Bytes>; 2] {
        let texts = |names: &mut BTreeSet<Name>| std::mem::take(names).iter().map(|name| text(&**name)).collect();
        [texts(&mut self.entered), texts(&mut self.left)]
    }
}

/// Changes of the room list.
#[derive(Default)]
struct ListChanges {
    /// Rooms that were made on purpose.
    made: BTreeSet<Name>,
    /// Rooms without members on this node.
    left: BTreeSet<Name>,
    /// Rooms that do not exist.
    gone: BTreeSet<Name>,
}

impl ListChanges {
    fn is_empty(&self) -> bool {
        self.made.is_empty() && self.left.is_empty() && self.gone.is_empty()
    }
}

fn insert_bounded(rooms: &mut BTreeSet<Name>, room: Name) {
    if rooms.len() < LIST_CHANGES_MAX {
        rooms.insert(room);
    }
}

/// Changes that are not recorded in Redis yet.
#[derive(Default)]
pub(crate) struct Registry {
    rooms: PlaceChanges,
    users: PlaceChanges,
    list: ListChanges,
    pub(crate) enrolments: Enrolments,
}

impl Registry {
    /// This node has its first member in a room, or will have.
    pub(crate) fn room_entered(&mut self, room: &Name) {
        self.rooms.enter(room);
    }

    /// This node has no more members in a room.
    pub(crate) fn room_left(&mut self, room: &Name) {
        self.rooms.leave(room);
        insert_bounded(&mut self.list.left, room.clone());
    }

    /// A room without members is to be looked at again.
    pub(crate) fn room_rests(&mut self, room: &Name) {
        insert_bounded(&mut self.list.left, room.clone());
    }

    pub(crate) fn user_entered(&mut self, user: &Name) {
        self.users.enter(user);
    }

    pub(crate) fn user_left(&mut self, user: &Name) {
        self.users.leave(user);
    }

    /// A room is about to be made on purpose, or exists.
    pub(crate) fn enlist(&mut self, room: Name) {
        insert_bounded(&mut self.list.made, room);
    }

    /// A room does not exist.
    pub(crate) fn delist(&mut self, room: Name) {
        self.list.left.remove(&room);
        insert_bounded(&mut self.list.gone, room);
    }

    fn has_places(&self) -> bool {
        !(self.rooms.is_empty() && self.users.is_empty())
    }

    /// Whether [`flush`] has calls to make while Redis takes writes.
    pub(crate) fn has_changes(&self) -> bool {
        self.has_places() || !self.list.is_empty() || self.enrolments.is_ready()
    }

    pub(crate) fn check_invariants(&self) {
        for places in [&self.rooms, &self.users] {
            let is_disjoint = places.entered.is_disjoint(&places.left);
            assert!(is_disjoint, "invariant: a place is not new and former at once");
        }
        for rooms in [&self.list.made, &self.list.left, &self.list.gone] {
            assert!(rooms.len() <= LIST_CHANGES_MAX, "invariant: changes of the room list are bounded");
        }
        self.enrolments.check_invariants();
    }
}

/// Calls the scripts that record all changes, before all other commands, while Redis takes writes.
pub(crate) fn flush(turn: &mut OwnerTurn<'_>) {
    if turn.node.is_writable() {
        enrolment::flush(turn);
        flush_list(turn);
        flush_places(turn);
    }
}

fn flush_list(turn: &mut OwnerTurn<'_>) {
    let ListChanges { made, left, gone } = std::mem::take(&mut turn.node.registry.list);
    if made.is_empty() && left.is_empty() && gone.is_empty() {
        return;
    }
    let counts = text(format!("[{},{},{}]", made.len(), left.len(), gone.len()));
    let names = made.iter().chain(&left).chain(&gone).map(|room| text(&**room));
    let arguments: Vec<Bytes> = [counts].into_iter().chain(names).collect();
    let mark = turn.node.calls.mark();
    turn.call_nodes(&scripts::ENLIST, ClusterCall::Enlist(made), arguments);
    turn.node.calls.move_to_front(mark);
}

/// Calls the script that records the places of this node.
pub(crate) fn flush_places(turn: &mut OwnerTurn<'_>) {
    let registry = &mut turn.node.registry;
    if registry.has_places() {
        let ([entered, left], [came, went]) = (registry.rooms.take(), registry.users.take());
        see(
            turn,
            came.iter().chain(&went).filter(|user| !user.starts_with(GUEST)).cloned().collect(),
            ClusterCall::Done,
        );
        let key = turn.node.keys.node(turn.own_node());
        let mark = turn.node.calls.mark();
        let arguments = record_arguments([entered, left, came, went]);
        turn.call(&scripts::RECORD, key, None, CallPurpose::Cluster(ClusterCall::Record), arguments);
        turn.node.calls.move_to_front(mark);
    }
}

/// Notes that users have come or gone, and asks for the number of known users, for `purpose`.
fn see(turn: &mut OwnerTurn<'_>, users: Vec<Bytes>, purpose: ClusterCall) {
    let is_count = matches!(purpose, ClusterCall::ListRooms(_));
    if is_count || !users.is_empty() {
        let keep_ms = number(turn.node.rules.keep_ms);
        turn.call_nodes(&scripts::SEE, purpose, [keep_ms].into_iter().chain(users).collect());
    }
}

/// Asks for the number of known users, for the query of this number.
pub(super) fn count_users(turn: &mut OwnerTurn<'_>, query: u32) {
    see(turn, Vec::new(), ClusterCall::ListRooms(query));
}

/// The arguments of [`scripts::RECORD`]: new and former rooms, new and former users.
pub(super) fn record_arguments(names: [Vec<Bytes>; 4]) -> Vec<Bytes> {
    let counts = names.each_ref().map(Vec::len);
    let head = text(format!("[{},{},{},{}]", counts[0], counts[1], counts[2], counts[3]));
    [head].into_iter().chain(names.into_iter().flatten()).collect()
}

/// The answer of the script that returns the room list.
#[derive(Deserialize)]
struct ListedReply {
    #[serde(rename = "c")]
    total: usize,
    #[serde(rename = "r")]
    rooms: Vec<Box<str>>,
}

/// Number of the listed rooms, and the first of them; `None` if Redis did not answer.
pub(crate) fn listed_rooms(result: CallResult) -> Option<(usize, Vec<Box<str>>)> {
    let ListedReply { total, rooms } = serde_json::from_slice(&result.ok()?).ok()?;
    Some((total, rooms))
}

/// Asks for the room list, for the query of this number.
pub(super) fn list_rooms(turn: &mut OwnerTurn<'_>, query: u32) {
    turn.call_nodes(&scripts::LIST_ROOMS, ClusterCall::ListRooms(query), Vec::new());
}

/// Asks for the names of a page of the room list, for the query of this number.
pub(super) fn list_room_page(turn: &mut OwnerTurn<'_>, page: &RoomsPage, query: u32) {
    let (start, is_included) = page.start();
    let from = match start {
        "" => "-".to_owned(),
        start => format!("{}{start}", if is_included { '[' } else { '(' }),
    };
    // No byte of an id is 255.
    let to = match &*page.prefix {
        "" => text("+"),
        prefix => [b"(", prefix.as_bytes(), b"\xff"].concat().into(),
    };
    let arguments = vec![text(from), to, number(limits::ROOMS_ASKED as u64)];
    turn.call_nodes(&scripts::LIST_ROOM_PAGE, ClusterCall::ListRooms(query), arguments);
}
