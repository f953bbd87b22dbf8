//! Users and sessions as answers show them, borrowed.

use std::net::IpAddr;

use crate::base::Name;
use crate::base::ids::ConnectionId;
use crate::domain::command::Status;
use crate::domain::event::Message;
use crate::domain::op::PresenceView;

/// A user that is online.
#[derive(Clone, Copy, Debug)]
pub struct OnlineUserView<'a> {
    /// The user's id.
    pub user: &'a str,
    /// The name to show.
    pub username: &'a str,
    /// The status.
    pub status: Status,
    /// The time of their last activity, in milliseconds since 1970.
    pub last_seen: u64,
    /// When the oldest of their connections connected, in milliseconds since 1970; `None` without a connection.
    pub connected_at: Option<u64>,
}

impl<'a> OnlineUserView<'a> {
    /// A user from their presence.
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

/// A user's presence. Only the user and admins see `private`.
#[derive(Clone, Copy, Debug)]
pub struct UserStatusView<'a> {
    /// The part that all users see.
    pub here: OnlineUserView<'a>,
    /// The private part, if the requester may see it.
    pub private: Option<PrivateUserView<'a>>,
}

/// The part of a user's presence that only the user and admins see.
#[derive(Clone, Copy, Debug)]
pub struct PrivateUserView<'a> {
    /// The profile's e-mail address.
    pub email: Option<&'a str>,
    /// Their newest connection.
    pub socket: Option<ConnectionId>,
    /// Its user agent.
    pub user_agent: Option<&'a str>,
    /// Its address.
    pub address: Option<IpAddr>,
}

/// A user that types.
#[derive(Clone, Copy, Debug)]
pub struct TypistView<'a> {
    /// The user's id.
    pub user: &'a str,
    /// The name to show.
    pub username: &'a str,
    /// When typing began, in milliseconds since 1970.
    pub started_at: u64,
}

/// A recoverable or recovered session.
#[derive(Clone, Copy, Debug)]
pub struct SessionView<'a> {
    /// The user's id.
    pub user: &'a str,
    /// The present connection.
    pub socket: ConnectionId,
    /// When it connected, or after a recovery the lost one, in milliseconds since 1970.
    pub connected_at: u64,
    /// The time of its last activity, in milliseconds since 1970.
    pub last_activity: u64,
    /// The rooms it is in.
    pub rooms: &'a [Name],
    /// Its recovery token, if one was created.
    pub recovery_token: Option<&'a str>,
    /// The messages that waited for it while its connection was lost. Nothing waits for an open connection.
    pub queued: &'a [&'a Message],
}
