//! Authorization: the actions that a user may do, independent of the dialect. Dialects only name the action.
//!
//! Permissions that depend on a room's state (to join, to close it, to remove a member) are decided by the room.

use crate::domain::access::Identity;
use crate::domain::api_key::KeyAction;
use crate::domain::client_query::ClientQuery;
use crate::domain::op::Scope;
use crate::domain::reject::{Code, Reject};

/// An action, as far as authorization distinguishes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Creates, reads or closes a meeting.
    UseMeetings,
    /// Lists all rooms.
    ListRooms,
    /// Uses rooms, and reads and sets what concerns the user themselves.
    UseServer,
    /// Sends a message to all users.
    Broadcast,
    /// Delivers messages to the connections of chosen users, and lists connected users.
    Push,
    /// Sends messages to any room.
    Publish,
    /// Makes, changes and closes any room.
    ManageRooms,
    /// Reads any room, its members and messages.
    ReadRooms,
    /// Reads the connections and incidents of all users.
    Monitor,
    /// Reads and sets the filters of the log.
    FilterLog,
    /// Blocks and unblocks users, tokens and addresses.
    Administer,
}

/// Actions that every user may do, whatever the role, because the server is set so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Openness {
    /// Push messages to others, list the connected users, and disconnect them.
    pub push: bool,
    /// Read the connections and incidents of all users.
    pub monitoring: bool,
    /// Read the private part of other users' presence.
    pub presence_details: bool,
    /// List all rooms.
    pub room_list: bool,
}

const BACKENDS_ONLY: &str = "Only admins, and whoever has a token with the scope push, may do this";

impl Action {
    /// Whether a caller without a token may try it as a guest, where the server admits guests.
    pub fn admits_guests(self, open: Openness) -> bool {
        match self {
            Self::UseMeetings => true,
            Self::ListRooms => open.room_list,
            _ => false,
        }
    }

    /// What an API key must permit, and the refusal of one that does not.
    fn needs_of_key(self) -> (KeyAction, &'static str) {
        match self {
            Self::Publish | Self::Push => (KeyAction::Publish, "The key does not permit publish"),
            Self::ManageRooms => (KeyAction::Rooms, "The key does not permit rooms"),
            Self::ReadRooms | Self::ListRooms => (KeyAction::Read, "The key does not permit read"),
            Self::UseMeetings
            | Self::UseServer
            | Self::Broadcast
            | Self::Monitor
            | Self::FilterLog
            | Self::Administer => (KeyAction::Admin, "The key does not permit admin"),
        }
    }

    /// Checks the roles that the action requires, or the actions that an API key permits.
    ///
    /// # Errors
    /// The user lacks them.
    pub fn check(self, by: &Identity, open: Openness) -> Result<(), Reject> {
        let (roles, key) = (by.roles(), by.key_actions());
        if !key.is_empty() {
            let (needed, otherwise) = self.needs_of_key();
            return allow(key.permit(needed), otherwise);
        }
        match self {
            Self::UseMeetings | Self::UseServer => Ok(()),
            Self::ListRooms => allow(roles.admin || open.room_list, "Only admins may do this"),
            Self::Broadcast | Self::FilterLog | Self::Administer => allow(roles.admin, "Only admins may do this"),
            Self::Push => allow(roles.push || roles.admin || open.push, BACKENDS_ONLY),
            Self::Publish | Self::ManageRooms | Self::ReadRooms => allow(roles.push || roles.admin, BACKENDS_ONLY),
            Self::Monitor => allow(roles.admin || open.monitoring, "Only admins may see what others do"),
        }
    }
}

/// How far a user may see the presence of another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PresenceAccess {
    /// Without a condition.
    Open,
    /// If both are in a room.
    InSharedRooms,
    /// Not at all: as if the other one did not exist.
    Closed,
}

impl ClientQuery<'_> {
    /// The action that asking is.
    pub fn action(&self) -> Action {
        match self {
            Self::Events(_) | Self::Monitoring => Action::Monitor,
            Self::Room { .. }
            | Self::Rooms
            | Self::Members { .. }
            | Self::Typing { .. }
            | Self::Message { .. }
            | Self::MessageStats
            | Self::Users { .. }
            | Self::Presence { .. }
            | Self::PresenceStats
            | Self::Session
            | Self::SessionStats
            | Self::Connections
            | Self::Health => Action::UseServer,
        }
    }
}

impl Identity {
    /// Whether this is `user`, or an admin.
    pub fn is_user_or_admin(&self, user: &str) -> bool {
        self.user() == user || self.roles().admin
    }

    /// How far this user may see the presence of `user`.
    pub fn presence_access(&self, user: &str, scope: Scope) -> PresenceAccess {
        match scope {
            Scope::Auto | Scope::All => PresenceAccess::Open,
            _ if self.is_user_or_admin(user) => PresenceAccess::Open,
            Scope::Rooms => PresenceAccess::InSharedRooms,
            Scope::None => PresenceAccess::Closed,
        }
    }

    /// Checks that this is `user`, or an admin: the rule for what concerns one user only.
    ///
    /// # Errors
    /// It is another user.
    pub fn check_concerns(&self, user: &str) -> Result<(), Reject> {
        allow(self.is_user_or_admin(user), "Only the user themselves and admins may do this")
    }

    /// Checks that this user may close a connection of `owner`.
    ///
    /// # Errors
    /// It is another user, and no admin.
    pub fn check_closes(&self, owner: &Identity) -> Result<(), Reject> {
        allow(self.is_user_or_admin(owner.user()), "Only its own user and admins may close a connection")
    }

    /// Checks that a connection of this user may go on with the token of `renewed`.
    ///
    /// # Errors
    /// The token is another user's.
    pub fn check_renewal(&self, renewed: &Identity) -> Result<(), Reject> {
        allow(self.user() == renewed.user(), "The token is another user's; connect anew to change users")
    }

    /// Whether a connection of this user may recover the session of `user`: its own, or, for a guest, that of any guest,
    /// because a recovery token is all that a guest can show.
    pub fn may_recover(&self, user: &str) -> bool {
        self.user() == user || self.roles().guest && user.starts_with("guest:")
    }
}

fn allow(is_allowed: bool, otherwise: &'static str) -> Result<(), Reject> {
    if is_allowed { Ok(()) } else { Err(Reject::new(Code::Forbidden, otherwise)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::access::Roles;

    fn with(roles: Roles) -> Identity {
        Identity::new("ann", None, None, roles)
    }

    #[test]
    fn action_requires_its_role() {
        let user = with(Roles::default());
        let pusher = with(Roles { push: true, ..Roles::default() });
        let admin = with(Roles { admin: true, ..Roles::default() });
        let table = [
            (Action::UseMeetings, [true, true, true]),
            (Action::UseServer, [true, true, true]),
            (Action::ListRooms, [false, false, true]),
            (Action::Broadcast, [false, false, true]),
            (Action::Push, [false, true, true]),
            (Action::Publish, [false, true, true]),
            (Action::ManageRooms, [false, true, true]),
            (Action::Monitor, [false, false, true]),
        ];
        for (action, allowed) in table {
            let check = |by: &&Identity| action.check(by, Openness::default()).is_ok();
            assert_eq!([&user, &pusher, &admin].each_ref().map(check), allowed, "{action:?}");
        }
        let closed = Openness::default();
        for (action, open) in [
            (Action::Push, Openness { push: true, ..closed }),
            (Action::Monitor, Openness { monitoring: true, ..closed }),
            (Action::ListRooms, Openness { room_list: true, ..closed }),
        ] {
            assert!(action.check(&user, open).is_ok(), "{action:?}");
            let others = [Action::Broadcast, Action::Publish, Action::ManageRooms];
            assert!(others.iter().all(|other| other.check(&user, open).is_err()), "{action:?}");
        }
        let rejects =
            [Action::ListRooms, Action::Push].map(|action| action.check(&user, closed).expect_err("no role").code);
        assert_eq!(rejects, [Code::Forbidden; 2]);
    }

    #[test]
    fn key_permits_its_actions_and_no_others() {
        let key = |action: KeyAction| {
            let actions = [action].into_iter().collect();
            let roles = Roles { admin: action == KeyAction::Admin, push: action == KeyAction::Publish, guest: false };
            Identity::of_key("key:k", None, roles, actions)
        };
        let keys = KeyAction::ALL.map(key);
        let table = [
            (Action::Publish, [true, false, false, true]),
            (Action::Push, [true, false, false, true]),
            (Action::ManageRooms, [false, true, false, true]),
            (Action::ReadRooms, [false, false, true, true]),
            (Action::ListRooms, [false, false, true, true]),
            (Action::UseServer, [false, false, false, true]),
            (Action::UseMeetings, [false, false, false, true]),
            (Action::Broadcast, [false, false, false, true]),
            (Action::Monitor, [false, false, false, true]),
            (Action::FilterLog, [false, false, false, true]),
            (Action::Administer, [false, false, false, true]),
        ];
        // What every user may do, a key may not.
        let open = Openness { push: true, monitoring: true, presence_details: true, room_list: true };
        for (action, allowed) in table {
            assert_eq!(keys.each_ref().map(|key| action.check(key, open).is_ok()), allowed, "{action:?}");
        }
    }

    #[test]
    fn own_affairs_are_open_to_user_and_admin_only() {
        let (ann, admin) = (with(Roles::default()), with(Roles { admin: true, ..Roles::default() }));
        let bob = Identity::new("bob", None, None, Roles::default());
        assert_eq!([&ann, &bob, &admin].map(|by| by.check_concerns("ann").is_ok()), [true, false, true]);
        assert_eq!([&ann, &bob, &admin].map(|by| by.check_closes(&bob).is_ok()), [false, true, true]);
        assert_eq!([&ann, &admin, &bob].map(|by| by.check_renewal(&ann).is_ok()), [true, true, false]);
        let guest = Identity::guest("word");
        assert_eq!(["guest:word", "guest:other", "ann"].map(|user| guest.may_recover(user)), [true, true, false]);
        assert_eq!([ann.may_recover("ann"), bob.may_recover("guest:word")], [true, false]);
    }
}
