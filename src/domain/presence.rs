//! Presence of a user.
//!
//! A user is online from the first connection on, and offline after the last one: at once if that was closed on purpose,
//! otherwise after a grace period. A connection within the grace period causes no event. In between the status is the one
//! the user has set. A user who sets `offline` appears offline, with any number of connections, until the next status or
//! until all connections have ended.
//!
//! With presence limited to users that share a room, the rooms of an ended connection have received the user's presence. The
//! user may go offline without another connection in them. So those rooms are remembered until the user is offline or has
//! returned to them.

use crate::base::Name;
use crate::base::limits;
use crate::base::time::Now;
use crate::domain::command::Status;

/// The way in which a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DisconnectKind {
    /// On purpose, by the client or the server: no return is expected.
    Clean,
    /// Without notice: it may be recovered.
    Lost,
}

/// The presence of a user. Connected and online is the usual state, and takes no memory.
#[derive(Default)]
pub(crate) struct Presence(Option<Box<UnusualPresence>>);

/// Any other state.
struct UnusualPresence {
    status: Status,
    /// The last activity in milliseconds since 1970; `None` while online, when it is now.
    last_seen: Option<u64>,
    /// The end of the grace period in monotonic milliseconds; `None` while connected.
    offline_at: Option<u64>,
    /// The rooms of ended connections.
    rooms: Vec<Name>,
}

impl UnusualPresence {
    fn is_usual(&self) -> bool {
        self.status == Status::Online && self.last_seen.is_none() && self.offline_at.is_none() && self.rooms.is_empty()
    }
}

impl Presence {
    pub(crate) fn status(&self) -> Status {
        self.0.as_deref().map_or(Status::Online, |unusual| unusual.status)
    }

    /// The last activity in milliseconds since 1970.
    pub(crate) fn last_seen(&self, now: Now) -> u64 {
        self.0.as_deref().and_then(|unusual| unusual.last_seen).unwrap_or(now.wall)
    }

    /// The end of the grace period in monotonic milliseconds; `None` while connected.
    pub(crate) fn offline_at(&self) -> Option<u64> {
        self.0.as_deref().and_then(|unusual| unusual.offline_at)
    }

    /// The rooms of ended connections.
    pub(crate) fn rooms(&self) -> &[Name] {
        self.0.as_deref().map_or(&[], |unusual| &unusual.rooms)
    }

    /// Sets the status, and the last activity (in milliseconds since 1970) if it is given; whether the status has changed.
    pub(crate) fn set(&mut self, status: Status, last_seen: Option<u64>, now: Now) -> bool {
        let is_news = self.status() != status;
        let last_seen = last_seen.map(|at| at.min(now.wall));
        self.change(|unusual| {
            unusual.status = status;
            // A user was active until the status changed. A repeated status is no activity.
            unusual.last_seen = match (last_seen, status) {
                (None, Status::Online) => None,
                (None, _) if !is_news => unusual.last_seen,
                (given, _) => given.or(Some(now.wall)),
            };
        });
        is_news
    }

    /// Remembers the rooms of an ended connection.
    pub(crate) fn add_rooms(&mut self, rooms: Vec<Name>) {
        if rooms.is_empty() {
            return;
        }
        self.change(|unusual| {
            for room in rooms {
                if unusual.rooms.len() < limits::PARTED_ROOMS && !unusual.rooms.contains(&room) {
                    unusual.rooms.push(room);
                }
            }
        });
    }

    /// Starts the grace period after the last connection.
    pub(crate) fn start_grace(&mut self, grace_ms: u64, now: Now) {
        self.change(|unusual| {
            unusual.offline_at = Some(now.mono + grace_ms);
            unusual.last_seen.get_or_insert(now.wall);
        });
    }

    /// Ends the grace period: a connection has come.
    pub(crate) fn end_grace(&mut self) {
        self.change_unusual(|unusual| {
            unusual.offline_at = None;
            if unusual.status == Status::Online {
                unusual.last_seen = None;
            }
        });
    }

    /// Removes a room that the user has returned to; whether it was remembered, so that its members know the presence.
    pub(crate) fn take_room(&mut self, room: &str) -> bool {
        let mut is_known = false;
        self.change_unusual(|unusual| {
            if let Some(at) = unusual.rooms.iter().position(|known| **known == *room) {
                unusual.rooms.swap_remove(at);
                is_known = true;
            }
        });
        is_known
    }

    pub(super) fn check_invariants(&self) {
        if let Some(unusual) = &self.0 {
            assert!(!unusual.is_usual(), "presence: the usual state takes no memory");
            assert!(unusual.rooms.len() <= limits::PARTED_ROOMS, "presence: remembered rooms are within their limit");
        }
    }

    fn change_unusual(&mut self, change: impl FnOnce(&mut UnusualPresence)) {
        if self.0.is_some() {
            self.change(change);
        }
    }

    fn change(&mut self, change: impl FnOnce(&mut UnusualPresence)) {
        let mut unusual = self.0.take().unwrap_or_else(|| {
            Box::new(UnusualPresence { status: Status::Online, last_seen: None, offline_at: None, rooms: Vec::new() })
        });
        change(&mut unusual);
        self.0 = (!unusual.is_usual()).then_some(unusual);
    }
}
