//! The rooms there are. Each node knows those that it has members in; the others stand in Redis, in two sorted sets beside
//! the nodes' own: rooms that were made on purpose, and rooms made by joining that a node has just left, each by when it
//! ends unless it is used.
//!
//! In a cluster these sets and the rooms lie on different servers, so they are kept by calls of their own, one for all
//! there is to say in a turn, and are not exact: a room is noted before it is made, and its end by lapse of time is noted by
//! nobody. Whoever lists rooms looks at each, and shows those that are there. Made rooms that have been listed as long as
//! they may be empty are looked after by the nodes, some with each renewal of a lease: they are listed for as long again,
//! or no longer.

use std::collections::BTreeSet;

use serde::Deserialize;

use crate::base::Name;
use crate::base::limits;
use crate::base::time::Now;
use crate::message::Outgoing;
use crate::message::redis::{Bytes, CallError};
use crate::owner::redis::nodes::quest::Mend;
use crate::owner::redis::nodes::{Purpose, scripts};
use crate::owner::redis::rooms::Purpose as Room;
use crate::owner::redis::wire::{number, text};
use crate::owner::redis::{Purpose as Any, RedisOwner, scripts as acts};

/// Rooms that Redis names in one answer.
const NAMED: u64 = 10_000;

/// Rooms that wait to be noted at the most, of each kind; those beyond are not.
const WAITING_MAX: usize = 65_536;

/// What is to be noted.
#[derive(Default)]
pub(super) struct Listing {
    /// Rooms that are made on purpose.
    made: BTreeSet<Name>,
    /// Rooms that this node has no members in any more.
    left: BTreeSet<Name>,
    /// Rooms that are not there.
    gone: BTreeSet<Name>,
}

#[derive(Deserialize)]
struct Listed {
    /// How many there are.
    c: usize,
    r: Vec<Box<str>>,
}

impl Listing {
    /// A room is made, or is there.
    pub(super) fn make(&mut self, room: Name) {
        note(&mut self.made, room);
    }

    /// This node has no members in a room any more.
    pub(super) fn leave(&mut self, room: Name) {
        note(&mut self.left, room);
    }

    /// A room is not there.
    pub(super) fn end(&mut self, room: Name) {
        self.left.remove(&room);
        note(&mut self.gone, room);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.made.is_empty() && self.left.is_empty() && self.gone.is_empty()
    }
}

fn note(rooms: &mut BTreeSet<Name>, room: Name) {
    if rooms.len() < WAITING_MAX {
        rooms.insert(room);
    }
}

impl RedisOwner {
    /// A room is about to be made on purpose, or was found to be there.
    pub(in crate::owner::redis) fn enlist(&mut self, room: Name) {
        self.nodes.listing.make(room);
    }

    /// A room is not there.
    pub(in crate::owner::redis) fn strike_off(&mut self, room: Name) {
        self.nodes.listing.end(room);
    }

    /// Has noted what is to be, before whatever else is to be done.
    pub(super) fn note_listing(&mut self, now: Now) {
        if !self.takes_notes() || self.nodes.listing.is_empty() {
            return;
        }
        let Listing { made, left, gone } = std::mem::take(&mut self.nodes.listing);
        let counts = text(format!("[{},{},{}]", made.len(), left.len(), gone.len()));
        let head = [counts, number(limits::MADE_ROOM_IDLE_MS), number(limits::JOINED_ROOM_IDLE_MS)];
        let names = made.iter().chain(&left).chain(&gone).map(|room| text(&**room));
        let arguments: Vec<Bytes> = head.into_iter().chain(names).collect();
        let key = self.keys.nodes();
        self.call(now, &scripts::ENLIST, key, None, Any::Nodes(Purpose::Enlist(made)), arguments);
        self.demands.rotate_right(1);
    }

    /// Rooms that are made were not noted, or that is not known. The others are found out anyway.
    pub(super) fn enlist_again(&mut self, made: BTreeSet<Name>) {
        made.into_iter().for_each(|room| self.enlist(room));
    }

    /// What was wrong with a list is put right.
    pub(super) fn mend(&mut self, mend: Mend) {
        match mend {
            Mend::Enlist(room) => self.enlist(room),
            Mend::StrikeOff(room) => self.strike_off(room),
            Mend::Enroll(user, rooms, takes_part) => self.enroll(user, rooms, takes_part),
        }
    }

    /// Asks for the rooms that Redis lists, as its part of an answer.
    pub(super) fn ask_listed(&mut self, now: Now, question: u32) {
        let key = self.keys.nodes();
        self.call(now, &scripts::LISTED, key, None, Any::Nodes(Purpose::Listed(question)), vec![number(NAMED)]);
    }

    /// They are known, or will not be.
    pub(super) fn listed(
        &mut self,
        now: Now,
        question: u32,
        outcome: Result<Bytes, CallError>,
        out: &mut Vec<Outgoing>,
    ) {
        let listed: Option<Listed> = outcome.ok().and_then(|text| serde_json::from_slice(&text).ok());
        self.redis_has_said(now, question, listed.map(|Listed { c, r }| (c, r)), out);
    }

    /// Looks whether rooms are there that have been listed for long.
    pub(super) fn look_after(&mut self, now: Now, rooms: Vec<Box<str>>) {
        for room in rooms {
            // As an admin, and without any of its users.
            let arguments = vec![text(""), text("1"), text(""), text("0")];
            self.call_room(now, room.into(), &acts::ROSTER, Room::LookAfter, arguments, None);
        }
    }

    /// One of them was looked at.
    pub(in crate::owner::redis) fn looked_after(&mut self, room: Name, refusal: Option<&str>) {
        match refusal {
            None => self.enlist(room),
            Some(_) => self.strike_off(room),
        }
    }
}
