//! Operations: the atomic changes of one room, user, session or connection, their replies, and the events they cause.
//!
//! An [`Op`] goes to the owner of its subject. The owner applies it, sends one [`Reply`] (or a refusal) to the requester
//! and delivers [`AddressedEvent`]s to their audiences. The operations, parameters and views of one subject are in one
//! module.

mod context;
mod room;
mod user;

use std::sync::Arc;

use uuid::Uuid;

use crate::base::Name;
use crate::base::ids::ConnectionId;
use crate::domain::app::{AppAcks, AppRequest};
use crate::domain::connection::{ConnectionOp, ConnectionView};
use crate::domain::event::{Direct, Joined, PeerName};
use crate::domain::history::{History, Marks, Unread};
use crate::domain::hook::{DeadLetter, OutboxOp};
pub use crate::domain::people::{PresenceView, UsersPage, UsersView};
use crate::domain::query::{PartialResult, Query, RoomRoster};
use crate::domain::record::Session;
use crate::domain::recovery::{Returned, SessionOp};
use crate::domain::revocation::{Revocation, RevocationChange};

pub use context::{AddressedEvent, Audience, OpContext, RoomRules, Scope, message_id};
pub use room::{
    ChangeRights, HostClaim, HostKey, JoinRoom, LogTerms, MarkedMessages, Profile, ProfileChange, Publication,
    Publisher, RelaySignal, Revise, RoomOp, RoomView, RoomsView, SendMessage, Sent, StreamText, Typist, UnreadOf,
};
pub use user::{PushResult, UserOp};

/// One operation and its subject.
#[derive(Debug)]
pub enum Op {
    /// On a room.
    Room(Name, RoomOp),
    /// On a user.
    User(Name, UserOp),
    /// On the recoverable session of a connection.
    Session(ConnectionId, Box<SessionOp>),
    /// Lists all rooms of one owner.
    Rooms,
    /// Lists the connected users of one owner.
    Users(UsersPage),
    /// On a connection.
    Connection(ConnectionId, ConnectionOp),
    /// Delivers a message to every connection of one shard.
    Broadcast(Arc<Direct>),
    /// Asks one owner for its part of a query.
    Query(Query),
    /// Changes the list of revocations.
    Revocation(RevocationChange),
    /// On the outbox of hook events.
    Outbox(OutboxOp),
    /// On sockets of a namespace of the application.
    App(Box<AppRequest>),
    /// Finds the room of a message.
    FindMessageRoom {
        /// The message.
        message: Uuid,
        /// The requesting connection.
        connection: ConnectionId,
        /// The rooms of that connection, for owners that find messages by room only.
        rooms: Arc<[Name]>,
    },
}

impl Op {
    /// A copy for another owner, if this operation is sent to all owners.
    pub fn to_every_owner(&self) -> Option<Self> {
        match self {
            Self::Rooms => Some(Self::Rooms),
            Self::Users(page) => Some(Self::Users(page.clone())),
            Self::Broadcast(direct) => Some(Self::Broadcast(direct.clone())),
            Self::Query(query) => Some(Self::Query(query.clone())),
            Self::Room(..)
            | Self::User(..)
            | Self::Session(..)
            | Self::Connection(..)
            | Self::Revocation(_)
            | Self::Outbox(_)
            | Self::App(_)
            | Self::FindMessageRoom { .. } => None,
        }
    }
}

/// The reply to an operation that was granted.
#[derive(Debug)]
pub enum Reply {
    /// Done; there is no result.
    Done,
    /// The connection is a member.
    Joined(Box<Joined>),
    /// The member may use the media server, and has this name.
    MediaAdmitted(PeerName),
    /// A membership ended.
    Left {
        /// Whether it was a membership of the requesting connection.
        own: bool,
    },
    /// The message was accepted.
    Sent(Sent),
    /// The outcomes of a backend's message, in each room.
    Published(Vec<Publication>),
    /// The room.
    Room(Box<RoomView>),
    /// Earlier messages.
    History(Box<History>),
    /// The users that received and read a message.
    Marks(Box<Marks>),
    /// The number of messages that a user has not read.
    Unread(Box<Unread>),
    /// The connection is a member again.
    Returned(Box<Returned>),
    /// The session, if there was one; it cannot be used again.
    Session(Option<Box<Session>>),
    /// Rooms of one owner.
    Rooms(RoomsView),
    /// Users that type in the room, each once.
    Typists(Vec<Typist>),
    /// A user's connections.
    Connections(Vec<ConnectionId>),
    /// Connections, as their user sees them.
    Described(Vec<ConnectionView>),
    /// The number of connections that were closed.
    Closed(usize),
    /// The connection that was registered; `None` while it is awaited.
    Registered(Option<ConnectionId>),
    /// The connection is attached; this device description was registered for it before.
    Claimed(Box<str>),
    /// A user's presence.
    Presence(Box<PresenceView>),
    /// Connected users of one owner.
    Users(UsersView),
    /// The reach of a message.
    Pushed(PushResult),
    /// A push may begin, or had this reach when it was done before.
    Begun(Option<PushResult>),
    /// The users in a room.
    Roster(Box<RoomRoster>),
    /// One owner's part of a query.
    PartialResult(PartialResult),
    /// The room of the message.
    RoomOf(Name),
    /// Dead letters of the outbox.
    DeadLetters(Vec<DeadLetter>),
    /// Acknowledgements of an event, and whether some have not come in time.
    Acks(AppAcks, bool),
    /// A page of revocations, and whether there are more.
    Revocations(Vec<Arc<Revocation>>, bool),
}
