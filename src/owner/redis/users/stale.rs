//! Users whose state in Redis can be wrong: Redis did not answer when a connection began or ended, or has been emptied. Their
//! connections on this node are written again, some users at a time.

use std::collections::BTreeMap;

use crate::base::Name;
use crate::base::limits;
use crate::message::redis::RedisState;
use crate::owner::redis::deadlines::Deadline;
use crate::owner::redis::turn::OwnerTurn;
use crate::owner::redis::users::UserDeadline;

/// Users that are restored at once, and the pause before the next ones, in milliseconds: about 10,000 users a second, so
/// Redis has most of its time for other calls.
const PORTION: usize = 1_000;
const PORTION_EVERY_MS: u64 = 100;

/// Pause before a new attempt when Redis did not answer, in milliseconds.
const RETRY_MS: u64 = 1_000;

/// Stale users, each with the rooms of connections that have ended meanwhile.
#[derive(Default)]
pub(super) struct StaleUsers {
    users: BTreeMap<Name, Vec<Name>>,
    /// Whether their restoration is scheduled.
    is_scheduled: bool,
}

impl StaleUsers {
    /// Adds a user, and rooms of ended connections.
    pub(super) fn add(&mut self, user: Name, rooms: Vec<Name>) {
        let known = self.users.entry(user).or_default();
        known.extend(rooms);
        known.truncate(limits::PARTED_ROOMS);
    }

    pub(super) fn contains(&self, user: &str) -> bool {
        self.users.contains_key(user)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &Name> {
        self.users.keys()
    }

    /// Schedules the restoration at once, if there are stale users.
    pub(super) fn restore_now(&mut self, turn: &mut OwnerTurn<'_>) {
        if !self.users.is_empty() {
            self.schedule(turn, 0);
        }
    }

    /// Schedules the restoration of users that became stale although Redis answers.
    pub(super) fn restore_later(&mut self, turn: &mut OwnerTurn<'_>) {
        if turn.node.redis != RedisState::Unreachable {
            self.schedule(turn, RETRY_MS);
        }
    }

    fn schedule(&mut self, turn: &mut OwnerTurn<'_>, ms: u64) {
        if !std::mem::replace(&mut self.is_scheduled, true) {
            turn.after(ms, Deadline::User("".into(), UserDeadline::RestoreStale));
        }
    }

    /// The scheduled time has come. Without Redis, users wait until it answers.
    pub(super) fn due(&mut self) {
        self.is_scheduled = false;
    }

    /// Takes the first users, each with the rooms of ended connections, and schedules the others.
    pub(super) fn take_portion(&mut self, turn: &mut OwnerTurn<'_>) -> Vec<(Name, Vec<Name>)> {
        let portion: Vec<_> = std::iter::from_fn(|| self.users.pop_first()).take(PORTION).collect();
        if !self.users.is_empty() {
            self.schedule(turn, PORTION_EVERY_MS);
        }
        portion
    }

    pub(super) fn check_invariants(&self) {
        let is_bounded = self.users.values().all(|rooms| rooms.len() <= limits::PARTED_ROOMS);
        assert!(is_bounded, "invariant: the rooms of a stale user are bounded");
    }
}
