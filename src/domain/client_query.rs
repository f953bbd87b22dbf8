//! What a peer wants to know. A question changes nothing; who may have which answer is for whoever knows it to say.

use std::borrow::Cow;

/// One question of one peer.
#[derive(Clone, Debug, PartialEq)]
pub enum ClientQuery<'a> {
    /// What a room is.
    Room {
        /// The room.
        room: Cow<'a, str>,
    },
    /// The rooms that the asker may join by name: those it takes part in and those it is in.
    Rooms,
    /// Who of a room's members is here.
    Members {
        /// The room.
        room: Cow<'a, str>,
        /// Which of them.
        page: PageRequest<'a>,
    },
    /// Who types in a room.
    Typing {
        /// The room.
        room: Cow<'a, str>,
    },
    /// Who received and read a message, by its id alone.
    Message {
        /// The message's id.
        message: Cow<'a, str>,
    },
    /// What is counted of messages.
    MessageStats,
    /// Who is here.
    Users {
        /// Which of them.
        page: PageRequest<'a>,
    },
    /// How a user is.
    Presence {
        /// The user.
        user: Cow<'a, str>,
    },
    /// What is counted of users.
    PresenceStats,
    /// What would be recovered of the asking connection.
    Session,
    /// What is counted of sessions that may be recovered.
    SessionStats,
    /// What is counted of connections.
    Connections,
    /// What happened to connections.
    Events(IncidentFilter<'a>),
    /// All that is counted of connections.
    Monitoring,
    /// Whether anything is near its limit or out of reach.
    Health,
}

/// A part of a list that is in the order of the users' ids.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PageRequest<'a> {
    /// The users after this one; from the first when absent.
    pub after: Option<Cow<'a, str>>,
    /// At most so many; as many as is usual when absent.
    pub limit: Option<usize>,
}

/// Which events of connections, newest first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct IncidentFilter<'a> {
    /// At most so many; as many as is usual when absent.
    pub limit: Option<usize>,
    /// Of this kind.
    pub kind: Option<IncidentKind>,
    /// Of this user.
    pub user: Option<Cow<'a, str>>,
    /// From this address.
    pub address: Option<std::net::IpAddr>,
}

/// What happened to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IncidentKind {
    /// It came.
    Connect,
    /// It ended.
    Disconnect,
    /// It failed for another reason than the following two.
    Error,
    /// It was turned away for coming too often, or its user was for asking too much.
    RateLimit,
    /// It could not say who it is.
    AuthFailure,
}

impl IncidentFilter<'_> {
    /// The same, to keep.
    pub fn into_owned(self) -> IncidentFilter<'static> {
        let user = self.user.map(|user| Cow::Owned(user.into_owned()));
        IncidentFilter { limit: self.limit, kind: self.kind, user, address: self.address }
    }
}

impl IncidentKind {
    /// Each of them.
    pub const ALL: [Self; 5] = [Self::Connect, Self::Disconnect, Self::Error, Self::RateLimit, Self::AuthFailure];

    /// Its name on every wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Disconnect => "disconnect",
            Self::Error => "error",
            Self::RateLimit => "rate_limit",
            Self::AuthFailure => "auth_failure",
        }
    }

    /// The one of that name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|happening| happening.as_str() == text)
    }
}
