//! Queries of clients. A query reads state and changes none. [`crate::domain::policy`] authorizes it.

use std::borrow::Cow;

/// One query of one client.
#[derive(Clone, Debug, PartialEq)]
pub enum ClientQuery<'a> {
    /// A room.
    Room {
        /// The room.
        room: Cow<'a, str>,
    },
    /// The user's rooms: those it is a participant or member of.
    Rooms,
    /// The users of a room that are online.
    Members {
        /// The room.
        room: Cow<'a, str>,
        /// The page of users.
        page: PageRequest<'a>,
    },
    /// The users that type in a room.
    Typing {
        /// The room.
        room: Cow<'a, str>,
    },
    /// The receipts of a message, by its id alone.
    Message {
        /// The message's id.
        message: Cow<'a, str>,
    },
    /// Counts of messages.
    MessageStats,
    /// The users that are online.
    Users {
        /// The page of users.
        page: PageRequest<'a>,
    },
    /// A user's presence.
    Presence {
        /// The user.
        user: Cow<'a, str>,
    },
    /// Counts of users.
    PresenceStats,
    /// The recoverable session of the client's own connection.
    Session,
    /// Counts of recoverable sessions.
    SessionStats,
    /// Counts of connections.
    Connections,
    /// Incidents of connections.
    Events(IncidentFilter<'a>),
    /// The overview of connections: counts, incidents and most frequent sources.
    Monitoring,
    /// The server's health.
    Health,
}

/// A page of a list of users in the order of their ids.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PageRequest<'a> {
    /// The users after this one; from the first when absent.
    pub after: Option<Cow<'a, str>>,
    /// The most entries to return; a default when absent.
    pub limit: Option<usize>,
}

/// A filter for incidents, newest first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct IncidentFilter<'a> {
    /// The most entries to return; a default when absent.
    pub limit: Option<usize>,
    /// Only of this kind.
    pub kind: Option<IncidentKind>,
    /// Only of this user.
    pub user: Option<Cow<'a, str>>,
    /// Only from this address.
    pub address: Option<std::net::IpAddr>,
}

/// The kind of an incident of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IncidentKind {
    /// It connected.
    Connect,
    /// It ended.
    Disconnect,
    /// It failed, for a reason other than the following two.
    Error,
    /// Its source had too many connection attempts, or its user exceeded a quota.
    RateLimit,
    /// Its token was not accepted.
    AuthFailure,
}

impl IncidentFilter<'_> {
    /// A copy that borrows no bytes.
    pub fn into_owned(self) -> IncidentFilter<'static> {
        let user = self.user.map(|user| Cow::Owned(user.into_owned()));
        IncidentFilter { limit: self.limit, kind: self.kind, user, address: self.address }
    }
}

impl IncidentKind {
    /// All kinds.
    pub const ALL: [Self; 5] = [Self::Connect, Self::Disconnect, Self::Error, Self::RateLimit, Self::AuthFailure];

    /// Its name in every dialect.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Disconnect => "disconnect",
            Self::Error => "error",
            Self::RateLimit => "rate_limit",
            Self::AuthFailure => "auth_failure",
        }
    }

    /// The kind of that name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}
