//! What answers tell of people and sessions, borrowed from whoever knows it.

use std::net::IpAddr;

use crate::base::Name;
use crate::base::ids::ConnectionId;
use crate::domain::command::Status;
use crate::domain::op::PresenceView;

/// A user who is here.
#[derive(Clone, Copy, Debug)]
pub struct OnlineUserView<'a> {
    /// The user's id.
    pub user: &'a str,
    /// The name to show.
    pub username: &'a str,
    /// How they say they are.
    pub status: Status,
    /// When they were last active, in milliseconds since 1970.
    pub last_seen: u64,
    /// When the oldest of their connections came, in milliseconds since 1970; `None` when they have none.
    pub connected_at: Option<u64>,
}

impl<'a> OnlineUserView<'a> {
    /// Somebody as they were found.
    pub fn of(view: &'a PresenceView) -> Self {
        Self {
            user: &view.user,
            username: view.username(),
            status: view.status,
            last_seen: view.last_seen.unwrap_or_default(),
            connected_at: view.connected_at,
        }
    }
}

/// A user as they themselves and admins see them; others see `here` and nothing else.
#[derive(Clone, Copy, Debug)]
pub struct UserStatusView<'a> {
    /// What everybody sees.
    pub here: OnlineUserView<'a>,
    /// What else there is to see, for those who may.
    pub private: Option<PrivateUserView<'a>>,
}

/// What only a user and admins see.
#[derive(Clone, Copy, Debug)]
pub struct PrivateUserView<'a> {
    /// The profile's e-mail address.
    pub email: Option<&'a str>,
    /// The newest of their connections.
    pub socket: Option<ConnectionId>,
    /// What that came with.
    pub user_agent: Option<&'a str>,
    /// Where that came from.
    pub address: Option<IpAddr>,
}

/// A user who types.
#[derive(Clone, Copy, Debug)]
pub struct TypistView<'a> {
    /// The user's id.
    pub user: &'a str,
    /// The name to show.
    pub username: &'a str,
    /// When they began, in milliseconds since 1970.
    pub started_at: u64,
}

/// What is, or was, recovered of a connection.
#[derive(Clone, Copy, Debug)]
pub struct SessionView<'a> {
    /// The user's id.
    pub user: &'a str,
    /// The connection there is now.
    pub socket: ConnectionId,
    /// When it came, or, after a recovery, the one that was lost; in milliseconds since 1970.
    pub connected_at: u64,
    /// When it last did something, in milliseconds since 1970.
    pub last_activity: u64,
    /// The rooms it is in.
    pub rooms: &'a [Name],
    /// The secret by which it may be recovered, if one was made.
    pub recovery_token: Option<&'a str>,
}
