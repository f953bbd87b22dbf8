//! Rooms that nobody uses but whose messages are kept: a few words each, until somebody joins again or the last message
//! is too old.

use crate::base::Name;
use crate::base::table::HasName;
use crate::base::time::Now;
use crate::domain::op::OpContext;
use crate::domain::room::{Kept, Room};
use crate::owner::embedded::{Due, EmbeddedOwner};

/// A room that came to be by joining, has messages, and is empty.
pub(super) struct UnloadedRooms {
    pub(super) kept: Kept,
}

impl HasName for UnloadedRooms {
    fn name(&self) -> &str {
        &self.kept.room
    }
}

impl EmbeddedOwner {
    /// Puts an empty room to rest.
    pub(super) fn put_to_rest(&mut self, now: Now, kept: Kept) {
        if self.rules.keep_ms != 0 {
            let age = now.wall.saturating_sub(kept.last_at);
            let at = now.mono + self.rules.keep_ms.saturating_sub(age);
            self.due.entry(at).or_default().insert(Due::Forget(kept.room.clone()));
        }
        self.dormant.insert(UnloadedRooms { kept });
    }

    /// Makes a room of one that rests, going on with its log; its place.
    pub(super) fn wake(&mut self, now: Now, name: &str) -> Option<u32> {
        let kept = self.dormant.remove(name)?.kept;
        let mut context = context!(self, now);
        let room = Room::from_kept(kept, None, &mut context);
        Some(self.rooms.insert(Box::new(room)))
    }

    /// A room that rests may be of no use any more: its last message is too old to be kept.
    pub(super) fn forget(&mut self, now: Now, name: &Name) {
        let Some(dormant) = self.dormant.get(name) else { return };
        let age = now.wall.saturating_sub(dormant.kept.last_at);
        if age < self.rules.keep_ms {
            let at = now.mono + self.rules.keep_ms - age;
            self.due.entry(at).or_default().insert(Due::Forget(name.clone()));
            return;
        }
        if let Some(place) = self.wake(now, name) {
            self.end_room(now, place);
        }
    }
}
