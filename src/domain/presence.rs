//! How a user is, and who is owed to hear of it.
//!
//! A user is online with their first connection, and offline when the last one has ended: at once if it said that it
//! would go, or else after a grace period in which they may come back without a word to anybody. In between they are what
//! they last said. Who says `offline` appears so, however many more connections come, until they say otherwise or all of
//! them have ended.
//!
//! Where only those who share a room hear of a user, the room a connection was in until it ended has heard that the user is
//! there, and the user may go when none of their connections is in it any more. So the rooms of ended connections are
//! remembered until the user is offline, or is back in them.

use crate::base::Name;
use crate::base::limits;
use crate::base::time::Now;
use crate::domain::command::Status;

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DisconnectKind {
    /// It said so, or was told to go: nobody expects it back.
    Clean,
    /// It just ended; it may be back in a moment.
    Lost,
}

/// How a user is. Nearly always they are here and online, which takes no memory.
#[derive(Default)]
pub struct Presence(Option<Box<Unusual>>);

/// What there is to say of somebody who is not simply here and online.
struct Unusual {
    /// How they say they are.
    status: Status,
    /// When they were last active, in milliseconds since 1970; `None` while they are online, for then it is now.
    last_seen: Option<u64>,
    /// When they are offline unless they come back, in monotonic milliseconds; `None` while they are here.
    offline_at: Option<u64>,
    /// The rooms that ended connections of theirs were in.
    rooms: Vec<Name>,
}

impl Presence {
    /// How they say they are.
    pub fn status(&self) -> Status {
        self.0.as_deref().map_or(Status::Online, |unusual| unusual.status)
    }

    /// When they were last active, in milliseconds since 1970.
    pub fn last_seen(&self, now: Now) -> u64 {
        self.0.as_deref().and_then(|unusual| unusual.last_seen).unwrap_or(now.wall)
    }

    /// When they are offline unless they come back, in monotonic milliseconds; `None` while they are here.
    pub fn offline_at(&self) -> Option<u64> {
        self.0.as_deref().and_then(|unusual| unusual.offline_at)
    }

    /// The rooms that ended connections of theirs were in.
    pub fn rooms(&self) -> &[Name] {
        self.0.as_deref().map_or(&[], |unusual| &unusual.rooms)
    }

    /// They say how they are, and perhaps since when (in milliseconds since 1970); whether that is news.
    pub fn set(&mut self, status: Status, last_seen: Option<u64>, now: Now) -> bool {
        let is_news = self.status() != status;
        let last_seen = last_seen.map(|at| at.min(now.wall));
        self.change(|unusual| {
            unusual.status = status;
            // Who is away was active until they said so; who says so again was not active since.
            unusual.last_seen = match (last_seen, status) {
                (None, Status::Online) => None,
                (None, _) if !is_news => unusual.last_seen,
                (given, _) => given.or(Some(now.wall)),
            };
        });
        is_news
    }

    /// A connection of theirs has ended, which was in these rooms.
    pub fn part_from(&mut self, rooms: Vec<Name>) {
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

    /// Their last connection has ended; they are offline in `grace_ms` milliseconds.
    pub fn go(&mut self, grace_ms: u64, now: Now) {
        self.change(|unusual| {
            unusual.offline_at = Some(now.mono + grace_ms);
            unusual.last_seen.get_or_insert(now.wall);
        });
    }

    /// They came back in time.
    pub fn come_back(&mut self) {
        self.change_what_is_unusual(|unusual| {
            unusual.offline_at = None;
            if unusual.status == Status::Online {
                unusual.last_seen = None;
            }
        });
    }

    /// They are back in a room; whether its members have been told how they are, and were not told of a going since.
    pub fn is_known_in(&mut self, room: &str) -> bool {
        let mut is_known = false;
        self.change_what_is_unusual(|unusual| {
            if let Some(at) = unusual.rooms.iter().position(|known| **known == *room) {
                unusual.rooms.swap_remove(at);
                is_known = true;
            }
        });
        is_known
    }

    fn change_what_is_unusual(&mut self, change: impl FnOnce(&mut Unusual)) {
        if self.0.is_some() {
            self.change(change);
        }
    }

    fn change(&mut self, change: impl FnOnce(&mut Unusual)) {
        let mut unusual = self.0.take().unwrap_or_else(|| {
            Box::new(Unusual { status: Status::Online, last_seen: None, offline_at: None, rooms: Vec::new() })
        });
        change(&mut unusual);
        let is_usual = unusual.status == Status::Online
            && unusual.last_seen.is_none()
            && unusual.offline_at.is_none()
            && unusual.rooms.is_empty();
        self.0 = (!is_usual).then_some(unusual);
    }
}
