//! Which rooms a user takes part in, so that they find them again on any node, whether or not somebody is in them.
//!
//! A room knows its participants; the way back, from a user to their rooms, is kept with the user, who may be kept by
//! another server of a cluster than the room. So it is not exact: it is written before the room is made or a participant
//! let in, tried again until Redis takes it, and whoever lists rooms looks at each of them: what a room says of its
//! participants holds. A room that is not there, or that the user has no part in, is taken off the list then; one that they
//! are in and have a part in comes onto it. The list holds the newest [`limits::ROOMS_LISTED`] rooms, and is forgotten when
//! for [`REMEMBERED_MS`] nobody has asked for it or added to it.
//!
//! Rooms may have thousands of participants. Their calls are made a few at a time, so that others need not wait for them.

use std::collections::VecDeque;

use crate::base::Name;
use crate::base::limits;
use crate::base::time::Now;
use crate::domain::access::Identity;
use crate::domain::op::Profile;
use crate::message::Outgoing;
use crate::message::redis::Bytes;
use crate::owner::redis::users::Purpose;
use crate::owner::redis::wire::{self, text};
use crate::owner::redis::{Due, RedisOwner, scripts};

/// How long a list is remembered that nobody asks for, in milliseconds.
const REMEMBERED_MS: u64 = 30 * 24 * 3_600_000;

/// Calls under way at once.
const AT_ONCE: usize = 256;

/// What waits to be noted at the most; what comes beyond is not noted.
const WAITING_MAX: usize = 65_536;

/// How long nothing is called for after a call has failed, in milliseconds.
const PAUSE_MS: u64 = 1_000;

/// What is to be noted.
#[derive(Default)]
pub(super) struct Enrolments {
    waiting: VecDeque<Enrolment>,
    under_way: usize,
    /// Nothing is called for until then, in monotonic milliseconds.
    paused_until: u64,
}

/// What is to be noted of one user.
pub(super) struct Enrolment {
    user: Name,
    rooms: Vec<Name>,
    /// Whether they take part in these rooms, or not.
    takes_part: bool,
}

impl Enrolments {
    fn push(&mut self, enrolment: Enrolment) {
        if self.waiting.len() < WAITING_MAX {
            self.waiting.push_back(enrolment);
        }
    }

    fn is_ready(&self) -> bool {
        !self.waiting.is_empty() && self.under_way < AT_ONCE && self.paused_until == 0
    }
}

impl RedisOwner {
    /// A room is about to be made: its participants are to find it.
    pub(super) fn enroll_all(&mut self, room: &Name, by: &Identity, profile: &Profile) {
        self.enroll_one(room, by);
        for user in profile.participants.iter().filter(|user| ***user != *by.user()) {
            self.enroll(user.clone(), vec![room.clone()], true);
        }
    }

    /// Somebody is about to take part in a room. A guest is another one with each request, and never asks for a list.
    pub(super) fn enroll_one(&mut self, room: &Name, by: &Identity) {
        if !by.roles().guest {
            self.enroll(by.user_name(), vec![room.clone()], true);
        }
    }

    /// A user takes part in rooms, or in these no longer.
    pub(super) fn enroll(&mut self, user: Name, rooms: Vec<Name>, takes_part: bool) {
        if !rooms.is_empty() {
            self.enrolments.push(Enrolment { user, rooms, takes_part });
        }
    }

    pub(super) fn has_enrolments(&self) -> bool {
        self.takes_notes() && self.enrolments.is_ready()
    }

    /// Calls for some of what is to be noted, before whatever else is to be done.
    pub(super) fn call_enrolments(&mut self, now: Now) {
        let before = self.demands.len();
        while self.has_enrolments()
            && let Some(enrolment) = self.enrolments.waiting.pop_front()
        {
            self.enrolments.under_way += 1;
            let head = [wire::number(limits::ROOMS_LISTED as u64), wire::number(REMEMBERED_MS)];
            let flag = text(if enrolment.takes_part { "1" } else { "0" });
            let rooms = enrolment.rooms.iter().map(|room| text(&**room));
            let arguments: Vec<Bytes> = head.into_iter().chain([flag]).chain(rooms).collect();
            let user = enrolment.user.clone();
            self.call_user(now, &scripts::ENROLL, user, None, Purpose::Enroll(Box::new(enrolment)), arguments);
        }
        let count = self.demands.len() - before;
        self.demands.rotate_right(count);
    }

    /// Something was noted, or was not.
    pub(super) fn enrolled(&mut self, now: Now, failed: Option<Box<Enrolment>>) {
        self.enrolments.under_way -= 1;
        if let Some(enrolment) = failed {
            self.enrolments.push(*enrolment);
            self.enrolments.paused_until = now.mono + PAUSE_MS;
            self.due_in(now, PAUSE_MS, Due::Enrolments);
        }
    }

    /// It may be tried again.
    pub(super) fn enroll_again(&mut self, now: Now) {
        if self.enrolments.paused_until <= now.mono {
            self.enrolments.paused_until = 0;
        }
    }

    /// Asks for a user's rooms, as the part of an answer that Redis has.
    pub(super) fn ask_rooms_of(&mut self, now: Now, user: Name, question: u32) {
        let arguments = vec![wire::number(REMEMBERED_MS)];
        self.call_user(now, &scripts::ROOMS_OF, user, None, Purpose::RoomsOf(question), arguments);
    }

    /// They are known, or will not be.
    pub(super) fn rooms_of_user(
        &mut self,
        now: Now,
        question: u32,
        rooms: Option<Vec<Box<str>>>,
        out: &mut Vec<Outgoing>,
    ) {
        self.redis_has_said(now, question, rooms.map(|rooms| (rooms.len(), rooms)), out);
    }
}
