//! Counts of messages, users and sessions. Each owner counts its own; those of several owners add up.

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
}

/// Counts of recoverable sessions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SessionStats {
    /// Sessions of connections that are open or within their recovery window.
    pub sessions: u64,
    /// Valid recovery tokens.
    pub tokens: u64,
    /// Messages that wait for lost connections.
    pub queued: u64,
    /// The sum of the sessions' ages, in milliseconds.
    pub age_ms: u64,
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

    /// Adds the counts of another owner.
    pub fn merge(&mut self, other: &Self) {
        self.online += other.online;
        self.away += other.away;
        self.busy += other.busy;
        self.offline += other.offline;
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
        let mut users = PresenceStats { online: 10, away: 5, busy: 0, offline: 20 };
        users.merge(&PresenceStats { online: 5, away: 0, busy: 2, offline: 8 });
        assert_eq!(users.total(), 50);
        let mut sessions = SessionStats { sessions: 20, tokens: 20, queued: 5, age_ms: 20 * 15 * 60_000 };
        sessions.merge(&SessionStats { sessions: 5, tokens: 5, queued: 0, age_ms: 5 * 15 * 60_000 });
        assert_eq!(sessions.average_minutes(), 15);
        assert_eq!(SessionStats::default().average_minutes(), 0);
    }
}
