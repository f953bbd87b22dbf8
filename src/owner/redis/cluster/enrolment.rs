//! Room lists of users: the rooms of which a user is a participant, so that they find them on any node, with or without
//! members.
//!
//! A room knows its participants; a user's room list is kept with the user, which another server of a cluster can keep than
//! the room. So the list is not exact: it is updated before the room is made or the participant is added, repeatedly until
//! Redis has taken the update, and queries look at each listed room and repair the list. The list holds the newest
//! [`ROOMS_LISTED`](crate::base::limits::ROOMS_LISTED) rooms.
//!
//! Rooms can have thousands of participants. Their updates are called some at a time, so that other calls need not wait.

use std::collections::VecDeque;

use serde::Deserialize;

use crate::base::Name;
use crate::domain::access::Identity;
use crate::domain::op::Profile;
use crate::message::redis::Bytes;
use crate::owner::redis::calls::{CallPurpose, CallResult};
use crate::owner::redis::deadlines::Deadline;
use crate::owner::redis::scripts;
use crate::owner::redis::turn::OwnerTurn;
use crate::owner::redis::wire::{flag, text};

/// Calls under way at the same time.
const CALLS_MAX: usize = 256;

/// Updates that can wait; later ones are dropped, and repaired by queries.
const WAITING_MAX: usize = 65_536;

/// Pause after a failed call, in milliseconds.
const RETRY_MS: u64 = 1_000;

/// An update of one user's room list.
pub(crate) struct Enrolment {
    user: Name,
    rooms: Vec<Name>,
    /// Whether the rooms are added, or removed.
    is_participant: bool,
}

/// Updates of room lists.
#[derive(Default)]
pub(crate) struct Enrolments {
    waiting: VecDeque<Enrolment>,
    under_way: usize,
    /// End of the pause after a failed call, in monotonic milliseconds; 0: no pause.
    paused_until: u64,
}

impl Enrolments {
    /// A room is about to be made: it is added to the lists of its maker and participants.
    pub(crate) fn add_all(&mut self, room: &Name, by: &Identity, profile: &Profile) {
        if !by.user().is_empty() {
            self.add(room, by);
        }
        for user in profile.participants.iter().filter(|user| ***user != *by.user()) {
            self.update(user.clone(), vec![room.clone()], true);
        }
    }

    /// Users are about to become participants of a room.
    pub(crate) fn add_participants(&mut self, room: &Name, users: &[Name]) {
        for user in users {
            self.update(user.clone(), vec![room.clone()], true);
        }
    }

    /// A user is about to become a participant. Guests have no list: each of their requests has another user id.
    pub(crate) fn add(&mut self, room: &Name, by: &Identity) {
        if !by.roles().guest {
            self.update(by.user_name(), vec![room.clone()], true);
        }
    }

    /// Adds rooms to the list of a user, or removes them.
    pub(super) fn update(&mut self, user: Name, rooms: Vec<Name>, is_participant: bool) {
        if !rooms.is_empty() {
            self.push(Enrolment { user, rooms, is_participant });
        }
    }

    fn push(&mut self, enrolment: Enrolment) {
        if self.waiting.len() < WAITING_MAX {
            self.waiting.push_back(enrolment);
        }
    }

    pub(super) fn is_ready(&self) -> bool {
        !self.waiting.is_empty() && self.under_way < CALLS_MAX && self.paused_until == 0
    }

    fn next(&mut self) -> Option<Enrolment> {
        let next = if self.is_ready() { self.waiting.pop_front() } else { None };
        self.under_way += usize::from(next.is_some());
        next
    }

    /// The pause may be over.
    pub(crate) fn resume(&mut self, now_ms: u64) {
        if self.paused_until <= now_ms {
            self.paused_until = 0;
        }
    }

    pub(super) fn check_invariants(&self) {
        assert!(self.under_way <= CALLS_MAX, "invariant: calls of room list updates are bounded");
        assert!(self.waiting.len() <= WAITING_MAX, "invariant: room list updates are bounded");
    }
}

/// Calls the script for the next updates, before all other commands.
pub(super) fn flush(turn: &mut OwnerTurn<'_>) {
    let mark = turn.node.calls.mark();
    while let Some(enrolment) = turn.node.registry.enrolments.next() {
        let user = enrolment.user.clone();
        let rooms = enrolment.rooms.iter().map(|room| text(&**room));
        let arguments: Vec<Bytes> = [flag(enrolment.is_participant)].into_iter().chain(rooms).collect();
        turn.call_user(&scripts::ENROLL, user, None, |_| CallPurpose::Enrolment(Box::new(enrolment)), arguments);
    }
    turn.node.calls.move_to_front(mark);
}

/// Handles the result of an update: a failed one is repeated after a pause.
pub(crate) fn replied(turn: &mut OwnerTurn<'_>, enrolment: Enrolment, is_done: bool) {
    let enrolments = &mut turn.node.registry.enrolments;
    debug_assert!(enrolments.under_way > 0, "invariant: an update is answered once");
    enrolments.under_way = enrolments.under_way.saturating_sub(1);
    if !is_done {
        enrolments.push(enrolment);
        enrolments.paused_until = turn.now.mono + RETRY_MS;
        turn.after(RETRY_MS, Deadline::Enrolments);
    }
}

/// The answer of the script that returns a user's room list.
#[derive(Deserialize)]
struct RoomListReply {
    #[serde(rename = "o")]
    rooms: Vec<Box<str>>,
}

/// A user's room list with its length; `None` if Redis did not answer.
pub(crate) fn listed_rooms(result: CallResult) -> Option<(usize, Vec<Box<str>>)> {
    let RoomListReply { rooms } = serde_json::from_slice(&result.ok()?).ok()?;
    Some((rooms.len(), rooms))
}

/// Asks for the room list of a user, for the query of this number.
pub(super) fn list_rooms(turn: &mut OwnerTurn<'_>, user: &Name, query: u32) {
    turn.call_user(&scripts::ROOMS_OF, user.clone(), None, |_| CallPurpose::RoomList(query), Vec::new());
}
