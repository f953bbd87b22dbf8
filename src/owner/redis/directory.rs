//! The users with connections on this node.

use smallvec::SmallVec;

use crate::base::Name;
use crate::base::ids::ConnectionId;
use crate::base::map::{Map, map};
use crate::domain::access::Identity;

/// Users by id, each with its connections on this node.
pub(super) struct LocalUsers {
    users: Map<Name, LocalUser>,
}

struct LocalUser {
    identity: Identity,
    /// Oldest first; never empty.
    connections: SmallVec<[ConnectionId; 1]>,
}

impl LocalUsers {
    pub(super) fn new(seed: u64) -> Self {
        Self { users: map(seed) }
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
        let entry = self.users.entry(user.clone());
        let entry = entry.or_insert_with(|| LocalUser { identity: by.clone(), connections: SmallVec::new() });
        if !entry.connections.contains(&connection) {
            entry.connections.push(connection);
        }
    }

    /// Removes a connection, if the user has it.
    pub(super) fn remove(&mut self, user: &str, connection: ConnectionId) {
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
