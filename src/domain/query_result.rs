//! Results of client queries ([`crate::domain::client_query`]), before a dialect encodes them.

use crate::base::Name;
use crate::domain::access::Identity;
use crate::domain::connection::ConnectionView;
use crate::domain::history::Marks;
use crate::domain::monitoring::{HealthReport, Incident, MessageStats, Metrics, Overview, PresenceStats, SessionStats};
use crate::domain::op::{PresenceView, RoomView, Typist};

/// One result.
#[derive(Debug)]
pub enum QueryResult {
    /// The room.
    Room {
        /// The room as its users see it.
        view: Box<RoomView>,
        /// The number of users in it.
        online: u64,
    },
    /// The user's rooms.
    Rooms(Vec<RoomView>),
    /// The users of a room that are online.
    Members(UserList),
    /// The users that type in a room.
    Typing(Name, Vec<Typist>),
    /// The receipts of a message.
    Message(Box<Marks>),
    /// Counts of messages.
    MessageStats(MessageStats),
    /// The users that are online.
    Users(UserList),
    /// A user's presence.
    Presence {
        /// The part that all users see.
        view: Box<PresenceView>,
        /// For the user themselves and admins: the user's newest connection, if there is one.
        private: Option<Option<Box<ConnectionView>>>,
    },
    /// Counts of users.
    PresenceStats(PresenceStats),
    /// The client's own connection, and its recovery token, if it has one.
    Session(Identity, Box<ConnectionView>, Option<Box<str>>),
    /// Counts of recoverable sessions.
    SessionStats(SessionStats),
    /// Counts of connections.
    Connections(Metrics),
    /// Incidents of connections.
    Events(Vec<Incident>),
    /// The overview of connections.
    Monitoring(Box<Overview>),
    /// The server's health.
    Health(HealthReport),
}

/// A page of users.
#[derive(Debug, Default)]
pub struct UserList {
    /// The users, in the order of their ids.
    pub users: Vec<PresenceView>,
    /// The last of them, if there are more users after it.
    pub next: Option<Name>,
}
