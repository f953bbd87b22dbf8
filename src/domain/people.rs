//! Views of users, and lists of them.

use crate::base::Name;
use crate::base::ids::ConnectionId;
use crate::domain::access::Identity;
use crate::domain::command::Status;

/// The presence of a user as another user sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PresenceView {
    /// The user.
    pub user: Name,
    /// The status that the user has set.
    pub status: Status,
    /// The last activity in milliseconds since 1970, if known.
    pub last_seen: Option<u64>,
    /// The number of connections.
    pub connections: usize,
    /// The full identity, if known.
    pub identity: Option<Identity>,
    /// The start of the present uninterrupted connection, in milliseconds since 1970.
    pub connected_at: Option<u64>,
    /// The newest connection.
    pub newest: Option<ConnectionId>,
}

/// A request for a page of users, in the order of their ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsersPage {
    /// The users after this one; from the first one if absent.
    pub after: Option<Name>,
    /// Their maximum number.
    pub limit: usize,
}

/// Users of one owner, or the sum of several owners.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UsersView {
    /// The number of all users.
    pub total: usize,
    /// The users of the page, in the order of their ids.
    pub users: Vec<PresenceView>,
    /// Whether more users follow.
    pub is_more: bool,
}

impl PresenceView {
    /// An offline and unknown user.
    pub fn nobody(user: Name) -> Self {
        let (last_seen, identity, connected_at, newest) = (None, None, None, None);
        Self { user, status: Status::Offline, last_seen, connections: 0, identity, connected_at, newest }
    }

    /// The name to display.
    pub fn username(&self) -> &str {
        self.identity.as_ref().map_or(&self.user, |identity| identity.username())
    }
}

impl UsersView {
    /// Adds another owner's users and keeps the first `limit` of all.
    pub fn add(&mut self, mut other: Self, limit: usize) {
        self.total += other.total;
        self.users.append(&mut other.users);
        self.users.sort_unstable_by(|a, b| a.user.cmp(&b.user));
        self.is_more |= other.is_more || self.users.len() > limit;
        self.users.truncate(limit);
    }
}
