//! Users as others see them, and lists of those.

use crate::base::Name;
use crate::base::ids::ConnectionId;
use crate::domain::access::Identity;
use crate::domain::command::Status;

/// How a user is, as somebody else sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PresenceView {
    /// Who.
    pub user: Name,
    /// How they say they are.
    pub status: Status,
    /// When they were last active, in milliseconds since 1970, where that is known.
    pub last_seen: Option<u64>,
    /// Their connections.
    pub connections: usize,
    /// Who they are in full, where that is known.
    pub identity: Option<Identity>,
    /// Since when they have been connected without a break, in milliseconds since 1970.
    pub connected_at: Option<u64>,
    /// The newest of their connections.
    pub newest: Option<ConnectionId>,
}

/// Which connected users are asked for, in the order of their ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsersPage {
    /// Those behind this one; from the first one when absent.
    pub after: Option<Name>,
    /// So many.
    pub limit: usize,
}

/// Connected users of one keeper; those of several keepers add up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UsersView {
    /// How many there are.
    pub total: usize,
    /// Those of the page, in the order of their ids.
    pub users: Vec<PresenceView>,
    /// Whether there are more behind them.
    pub is_more: bool,
}

impl PresenceView {
    /// Somebody who is not here, and of whom nothing is known.
    pub fn nobody(user: Name) -> Self {
        let (last_seen, identity, connected_at, newest) = (None, None, None, None);
        Self { user, status: Status::Offline, last_seen, connections: 0, identity, connected_at, newest }
    }

    /// The name to show.
    pub fn username(&self) -> &str {
        self.identity.as_ref().map_or(&self.user, |identity| identity.username())
    }
}

impl UsersView {
    /// Adds another keeper's users; the first `limit` of all stay.
    pub fn add(&mut self, mut other: Self, limit: usize) {
        self.total += other.total;
        self.users.append(&mut other.users);
        self.users.sort_unstable_by(|a, b| a.user.cmp(&b.user));
        self.is_more |= other.is_more || self.users.len() > limit;
        self.users.truncate(limit);
    }
}
