//! Counts of messages, users and sessions. Each owner counts its own; those of several owners add up.

use std::collections::BTreeSet;

use crate::base::Name;

/// Counts of messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MessageStats {
    /// Users that type, once for each room.
    pub typing: u64,
    /// Messages whose receipts are kept.
    pub tracked: u64,
    /// Those of them that were delivered.
    pub delivered: u64,
    /// Those of them that were read.
    pub read: u64,
}

/// Counts of users.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PresenceStats {
    /// Users with the status `online`.
    pub online: u64,
    /// Users with the status `away`.
    pub away: u64,
    /// Users with the status `busy`.
    pub busy: u64,
    /// Known users that are offline.
    pub offline: u64,
    /// Users in the store.
    pub stored: u64,
    /// Users in the store that are not offline, or only appear so.
    pub stored_here: u64,
}

/// Counts of recoverable sessions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionStats {
    /// Sessions of connections that are open or within their recovery window.
    pub sessions: u64,
    /// Valid recovery tokens.
    pub tokens: u64,
    /// Messages that wait for lost connections.
    pub queued: u64,
    /// The sum of the sessions' ages, in milliseconds.
    pub age_ms: u64,
    /// The rooms of lost connections, each with the number of the last message that one of them was sent. The messages that
    /// are queued follow from it, see [`SessionStats::count_queued`].
    pub waiting: Vec<(Name, u64)>,
}

impl MessageStats {
    /// Adds the counts of another owner.
    pub fn merge(&mut self, other: &Self) {
        self.typing += other.typing;
        self.tracked += other.tracked;
        self.delivered += other.delivered;
        self.read += other.read;
    }
}

impl PresenceStats {
    /// All users counted.
    pub fn total(&self) -> u64 {
        self.online + self.away + self.busy + self.offline
    }

    /// Counts the stored users that are not here as offline.
    pub fn count_stored(&mut self) {
        self.offline += self.stored.saturating_sub(self.stored_here);
        (self.stored, self.stored_here) = (0, 0);
    }

    /// Adds the counts of another owner.
    pub fn merge(&mut self, other: &Self) {
        self.online += other.online;
        self.away += other.away;
        self.busy += other.busy;
        self.offline += other.offline;
        self.stored += other.stored;
        self.stored_here += other.stored_here;
    }
}

impl SessionStats {
    /// The average age of a session, in whole minutes.
    pub fn average_minutes(&self) -> u64 {
        self.age_ms.checked_div(self.sessions).unwrap_or(0) / 60_000
    }

    /// Adds the counts of another owner.
    pub fn merge(&mut self, other: &Self) {
        self.sessions += other.sessions;
        self.tokens += other.tokens;
        self.queued += other.queued;
        self.age_ms = self.age_ms.saturating_add(other.age_ms);
        self.waiting.extend_from_slice(&other.waiting);
    }

    /// The rooms of lost connections, each once.
    pub fn waiting_rooms(&self) -> Vec<Name> {
        let rooms: BTreeSet<&Name> = self.waiting.iter().map(|(room, _)| room).collect();
        rooms.into_iter().cloned().collect()
    }

    /// Counts the messages that wait for lost connections. `last` are the numbers of the rooms' last messages, in the order of
    /// [`SessionStats::waiting_rooms`].
    pub fn count_queued(&mut self, last: &[u64]) {
        let rooms = self.waiting_rooms();
        for (room, seq) in std::mem::take(&mut self.waiting) {
            let at = rooms.binary_search(&room).ok();
            let last = at.and_then(|at| last.get(at)).copied().unwrap_or_default();
            self.queued += last.saturating_sub(seq);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_keepers_count_adds_up() {
        let mut messages = MessageStats { typing: 2, tracked: 100, delivered: 90, read: 80 };
        messages.merge(&MessageStats { typing: 0, tracked: 50, delivered: 55, read: 60 });
        assert_eq!(messages, MessageStats { typing: 2, tracked: 150, delivered: 145, read: 140 });
        let none = PresenceStats::default();
        let mut users = PresenceStats { online: 10, away: 5, offline: 2, stored: 40, stored_here: 8, ..none };
        users.merge(&PresenceStats { online: 5, busy: 2, stored_here: 6, ..none });
        users.count_stored();
        assert_eq!((users.total(), users.offline), (50, 28));
        let waiting = |room: &str, seq| vec![(Name::from(room), seq)];
        let (age_ms, first) = (20 * 15 * 60_000, waiting("r", 5));
        let mut sessions = SessionStats { sessions: 20, tokens: 20, queued: 5, age_ms, waiting: first };
        let age_ms = 5 * 15 * 60_000;
        sessions.merge(&SessionStats { sessions: 5, tokens: 5, queued: 0, age_ms, waiting: waiting("a", 9) });
        sessions.merge(&SessionStats { waiting: waiting("r", 7), ..SessionStats::default() });
        assert_eq!(sessions.average_minutes(), 15);
        assert_eq!(sessions.waiting_rooms(), ["a", "r"].map(Name::from));
        sessions.count_queued(&[8, 10]);
        assert_eq!(sessions.queued, 5 + 5 + 3, "a position beyond the last message counts for nothing");
        assert_eq!(SessionStats::default().average_minutes(), 0);
    }
}
