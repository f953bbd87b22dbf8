//! The users with connections on this node, and their presence: each script that changes it tells the nodes with connections
//! of the user.

use smallvec::SmallVec;

use crate::base::Name;
use crate::base::ids::ConnectionId;
use crate::base::map::{Map, map};
use crate::domain::access::Identity;
use crate::domain::command::Status;

/// Users by id, each with its connections on this node.
pub(super) struct LocalUsers {
    users: Map<Name, LocalUser>,
    /// Number of changes so far.
    changes: u64,
}

struct LocalUser {
    identity: Identity,
    presence: LocalPresence,
    /// Oldest first; never empty.
    connections: SmallVec<[ConnectionId; 1]>,
}

/// The presence of a user with connections on this node.
#[derive(Clone, Copy, Debug)]
pub(super) struct LocalPresence {
    /// Number of the last update.
    number: u64,
    pub(super) status: Status,
    /// The last activity; `None`: active now.
    pub(super) last_active: Option<u64>,
    /// Start of the presence, on any node.
    pub(super) connected_at: Option<u64>,
}

impl LocalPresence {
    pub(super) fn new(number: u64, status: Status, last_active: Option<u64>, connected_at: Option<u64>) -> Self {
        Self { number, status, last_active, connected_at }
    }
}

impl LocalUsers {
    pub(super) fn new(seed: u64) -> Self {
        Self { users: map(seed), changes: 0 }
    }

    /// Number of changes so far: of users, connections and presence.
    pub(super) fn changes(&self) -> u64 {
        self.changes
    }

    pub(super) fn presence(&self, user: &str) -> Option<LocalPresence> {
        self.users.get(user).map(|user| user.presence)
    }

    pub(super) fn statuses(&self) -> impl Iterator<Item = Status> {
        self.users.values().map(|user| user.presence.status)
    }

    /// Notes the presence of a user, unless a later update is known. An update can lack the start.
    pub(super) fn set_presence(&mut self, user: &str, presence: LocalPresence) {
        self.changes += 1;
        if let Some(known) = self.users.get_mut(user).map(|user| &mut user.presence)
            && known.number <= presence.number
        {
            *known = LocalPresence { connected_at: presence.connected_at.or(known.connected_at), ..presence };
        }
    }

    pub(super) fn connections(&self, user: &str) -> &[ConnectionId] {
        self.users.get(user).map_or(&[], |user| &user.connections)
    }

    pub(super) fn identity(&self, user: &str) -> Option<&Identity> {
        self.users.get(user).map(|user| &user.identity)
    }

    pub(super) fn contains(&self, user: &str) -> bool {
        self.users.contains_key(user)
    }

    pub(super) fn len(&self) -> usize {
        self.users.len()
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &Name> {
        self.users.keys()
    }

    pub(super) fn connection_count(&self) -> usize {
        self.users.values().map(|user| user.connections.len()).sum()
    }

    pub(super) fn has_connection(&self, connection: ConnectionId) -> bool {
        self.users.values().any(|user| user.connections.contains(&connection))
    }

    /// Adds a connection; a user's identity is that of the first one.
    pub(super) fn add(&mut self, user: &Name, by: &Identity, connection: ConnectionId) {
        debug_assert!(*by.user() == **user, "invariant: a connection belongs to the user of its identity");
        self.changes += 1;
        let entry = self.users.entry(user.clone());
        let entry = entry.or_insert_with(|| LocalUser {
            identity: by.clone(),
            presence: LocalPresence::new(0, Status::Online, None, None),
            connections: SmallVec::new(),
        });
        if !entry.connections.contains(&connection) {
            entry.connections.push(connection);
        }
    }

    /// Removes a connection, if the user has it.
    pub(super) fn remove(&mut self, user: &str, connection: ConnectionId) {
        self.changes += 1;
        if let Some(entry) = self.users.get_mut(user) {
            entry.connections.retain(|known| *known != connection);
            if entry.connections.is_empty() {
                self.users.remove(user);
            }
        }
    }

    pub(super) fn check_invariants(&self) {
        for user in self.users.values() {
            assert!(!user.connections.is_empty(), "invariant: a local user has connections");
        }
    }
}
