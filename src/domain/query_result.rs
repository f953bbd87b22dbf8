//! The answers to the questions that a peer may ask ([`crate::domain::client_query`]), before a dialect writes them.

use crate::base::Name;
use crate::domain::access::Identity;
use crate::domain::connection::ConnectionView;
use crate::domain::history::Marks;
use crate::domain::monitoring::{HealthReport, Incident, MessageStats, Metrics, Overview, PresenceStats, SessionStats};
use crate::domain::op::{PresenceView, RoomView, Typist};

/// One answer.
#[derive(Debug)]
pub enum QueryResult {
    /// The room.
    Room {
        /// What it is.
        view: Box<RoomView>,
        /// How many users are in it.
        online: u64,
    },
    /// The asker's rooms.
    Rooms(Vec<RoomView>),
    /// Who of a room's members is here.
    Members(UserList),
    /// Who types in a room.
    Typing(Name, Vec<Typist>),
    /// Who received and read a message.
    Message(Box<Marks>),
    /// What is counted of messages.
    MessageStats(MessageStats),
    /// Who is here.
    Users(UserList),
    /// How a user is.
    Presence {
        /// As everybody sees them.
        view: Box<PresenceView>,
        /// For the user itself and admins: their newest connection, if there is one.
        private: Option<Option<Box<ConnectionView>>>,
    },
    /// What is counted of users.
    PresenceStats(PresenceStats),
    /// The asking connection, and the token by which it may be recovered, if it has one.
    Session(Identity, Box<ConnectionView>, Option<Box<str>>),
    /// What is counted of sessions that may be recovered.
    SessionStats(SessionStats),
    /// What is counted of connections.
    Connections(Metrics),
    /// What happened to connections.
    Events(Vec<Incident>),
    /// All that is counted of connections.
    Monitoring(Box<Overview>),
    /// Whether anything is near its limit or out of reach.
    Health(HealthReport),
}

/// A page of users.
#[derive(Debug, Default)]
pub struct UserList {
    /// The users, in the order of their ids.
    pub users: Vec<PresenceView>,
    /// The user to go on after, when there are more.
    pub next: Option<Name>,
}
