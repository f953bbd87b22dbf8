//! The atomic acts on one room or one user, their answers, and what everyone concerned learns of them.

use std::sync::Arc;

use uuid::Uuid;

use crate::base::Name;
use crate::base::ids::ConnectionId;
use crate::base::limits;
use crate::base::rng::Rng;
use crate::base::time::Now;
use crate::domain::access::Identity;
use crate::domain::command::{MediaState, Receipt, Signal, Status};
use crate::domain::connection::{ConnectionOp, ConnectionView};
use crate::domain::event::{Content, Direct, Event, Joined, Peer};
use crate::domain::history::{History, Marks, Wanted};
pub use crate::domain::people::{PresenceView, UsersPage, UsersView};
use crate::domain::presence::Parting;
use crate::domain::record::{Record, Retention, Session};
use crate::domain::recovery::{Returned, Returning, SessionOp};
use crate::domain::survey::{PartialResult, Query, Roster};

/// One act, on the thing that keeps it.
#[derive(Debug)]
pub enum Op {
    /// On a room.
    Room(Name, RoomOp),
    /// On a user.
    User(Name, UserOp),
    /// On what it takes to bring a lost connection back.
    Session(ConnectionId, SessionOp),
    /// A look at all rooms of one keeper.
    Rooms,
    /// A look at the connected users of one keeper.
    Users(UsersPage),
    /// On a connection.
    Connection(ConnectionId, ConnectionOp),
    /// A message to every connection of one shard.
    Broadcast(Arc<Direct>),
    /// A question that every keeper is asked.
    Query(Query),
    /// A look at which room a message is of.
    RoomOf {
        /// The message.
        message: Uuid,
        /// The connection that asks.
        connection: ConnectionId,
        /// The rooms that it is in, for keepers that know messages by their rooms alone.
        rooms: Arc<[Name]>,
    },
}

impl Op {
    /// The same for another keeper, of a question that every keeper is asked.
    pub fn to_every_keeper(&self) -> Option<Self> {
        match self {
            Self::Rooms => Some(Self::Rooms),
            Self::Users(page) => Some(Self::Users(page.clone())),
            Self::Broadcast(direct) => Some(Self::Broadcast(direct.clone())),
            Self::Query(survey) => Some(Self::Query(survey.clone())),
            Self::Room(..) | Self::User(..) | Self::Session(..) | Self::Connection(..) | Self::RoomOf { .. } => None,
        }
    }
}

/// An act on a room.
#[derive(Debug)]
pub enum RoomOp {
    /// Make the room.
    Create {
        /// Its host.
        by: Identity,
        /// What it is to be.
        profile: Box<Profile>,
        /// What is kept of its messages.
        log: LogTerms,
    },
    /// Become a member.
    Join(Box<JoinRoom>),
    /// End a membership that its owner's connection asked to end.
    Leave {
        /// The asking connection.
        connection: ConnectionId,
        /// Who asks.
        by: Identity,
        /// Whose membership; the asker's own when absent.
        peer: Option<Name>,
    },
    /// Become a member again, in the place of a connection that was lost.
    Return(Box<Returning>),
    /// A member's connection was lost; its membership ends unless it returns soon.
    Lose {
        /// The connection.
        connection: ConnectionId,
    },
    /// End the membership of a connection that is gone.
    Vanish {
        /// The connection.
        connection: ConnectionId,
    },
    /// Relay a signaling message.
    Signal(Box<RelaySignal>),
    /// Tell the others which media one sends.
    Media {
        /// The sending connection.
        connection: ConnectionId,
        /// Its own peer id, when given.
        peer: Option<Name>,
        /// The new state.
        media: MediaState,
    },
    /// Send a message to the room or to one of its peers.
    Send(Box<SendMessage>),
    /// Tell the others that one types, or stopped.
    Typing {
        /// The typing connection.
        connection: ConnectionId,
        /// Whether one types.
        is_typing: bool,
    },
    /// Look who types.
    Typists {
        /// The connection that looks.
        connection: ConnectionId,
    },
    /// Say that a message arrived or was read.
    Receipt {
        /// The connection that says so.
        connection: ConnectionId,
        /// The message.
        message: Uuid,
        /// Which of the two.
        kind: Receipt,
    },
    /// Look at messages that were sent before.
    History {
        /// The asking connection.
        connection: ConnectionId,
        /// Which.
        wanted: Wanted,
    },
    /// Look at messages that were sent after one.
    Sync {
        /// The asking connection.
        connection: ConnectionId,
        /// The message.
        after: Uuid,
        /// At most so many.
        limit: usize,
    },
    /// Look at who received and read a message.
    Marks {
        /// The asking connection.
        connection: ConnectionId,
        /// The message.
        message: Uuid,
    },
    /// Make the caller a participant, and its connections members.
    Admit {
        /// The caller.
        by: Identity,
        /// Its live connections.
        connections: Vec<ConnectionId>,
    },
    /// Undo [`RoomOp::Admit`].
    Withdraw {
        /// The caller.
        by: Identity,
        /// The one connection to withdraw; all of the caller's when absent.
        connection: Option<ConnectionId>,
    },
    /// Look at the room.
    Describe {
        /// Who looks.
        by: Identity,
    },
    /// Look who is in the room.
    Roster {
        /// Who looks.
        by: Identity,
        /// Which of the users.
        page: UsersPage,
    },
    /// Close the room.
    Close {
        /// Who closes it.
        by: Identity,
    },
}

impl RoomOp {
    /// Whether it may begin memberships.
    pub fn is_arrival(&self) -> bool {
        matches!(self, Self::Join(_) | Self::Return(_) | Self::Admit { .. })
    }

    /// Whether it ends memberships, but not the room.
    pub fn is_departure(&self) -> bool {
        matches!(self, Self::Leave { .. } | Self::Vanish { .. } | Self::Withdraw { .. })
    }
}

/// See [`RoomOp::Join`].
#[derive(Debug)]
pub struct JoinRoom {
    /// The joining connection.
    pub connection: ConnectionId,
    /// Who joins.
    pub by: Identity,
    /// The name to go by; the connection's id when absent.
    pub peer: Option<Name>,
    /// The name to show; the username when absent.
    pub display_name: Option<Box<str>>,
    /// Which media it sends.
    pub media: MediaState,
    /// Whether a room that is not there is made.
    pub create: bool,
}

/// See [`RoomOp::Signal`].
#[derive(Debug)]
pub struct RelaySignal {
    /// The sending connection.
    pub connection: ConnectionId,
    /// Its own peer id, when given.
    pub from: Option<Name>,
    /// The peer addressed.
    pub to: Name,
    /// Offer, answer or candidate.
    pub signal: Signal,
    /// Its body, passed on unread.
    pub body: Box<str>,
}

/// See [`RoomOp::Send`].
#[derive(Debug)]
pub struct SendMessage {
    /// The sending connection.
    pub connection: ConnectionId,
    /// The one peer it is for; everyone when absent.
    pub to: Option<Name>,
    /// What it says.
    pub content: Content,
    /// What the sender calls it, so that a repeat is known for one.
    pub client_message_id: Option<Box<str>>,
}

/// What is kept of a room's messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogTerms {
    /// Whether they are kept; as the server's settings say when absent.
    pub history: Option<bool>,
    /// How many, and how long.
    pub retention: Retention,
}

/// What a room was made to be; a room that came to be by joining has none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Profile {
    /// Its name.
    pub name: Option<Box<str>>,
    /// What its makers call its type.
    pub kind: Option<Box<str>>,
    /// Whether only its participants may join.
    pub is_private: bool,
    /// The users who may always join, its host first.
    pub participants: Vec<Name>,
    /// The peer id that its host announced to go by.
    pub host_peer: Option<Name>,
    /// Members it takes; 0 is any number.
    pub max_participants: usize,
    /// What its makers agreed on for the media; passed on unread.
    pub encryption: Option<Box<str>>,
}

/// An act on a user.
#[derive(Debug)]
pub enum UserOp {
    /// A connection of theirs came.
    Attach {
        /// The connection.
        connection: ConnectionId,
        /// Who they are.
        by: Identity,
        /// What the connection calls itself, if it does.
        socket: Option<Name>,
    },
    /// A connection of theirs ended.
    Detach {
        /// The connection.
        connection: ConnectionId,
        /// Whether it said that it would.
        parting: Parting,
        /// The rooms it was in, where their members may have to hear of the user's going.
        rooms: Vec<Name>,
    },
    /// A connection of theirs became a member of a room, whose members are to know how they are.
    Introduce {
        /// The connection.
        connection: ConnectionId,
        /// The room.
        room: Name,
    },
    /// Say how they are.
    SetStatus {
        /// How.
        status: Status,
        /// When they were last active, in milliseconds since 1970; now when absent.
        last_seen: Option<u64>,
        /// The connection that says so, if one does: it is not told what it said.
        by: Option<ConnectionId>,
    },
    /// Send them a message.
    Send {
        /// Who sends it.
        by: Identity,
        /// What it says.
        content: Content,
    },
    /// Send them a message if they are connected, and say how many connections that reached.
    Push {
        /// The message.
        direct: Arc<Direct>,
    },
    /// Look at their connections.
    Connections,
    /// Look how they are.
    Look {
        /// Who looks.
        by: Identity,
    },
    /// Say something of the device behind a connection of theirs that is to come. If it has, that connection is the
    /// answer, and its shard is to be told.
    Register {
        /// What the connection calls itself, or will; its id will do.
        socket: Name,
        /// What they say, as JSON.
        device: Option<Box<str>>,
    },
    /// Take back what was said of a connection that has not come.
    Withdraw {
        /// What it would have called itself.
        socket: Name,
    },
    /// Count a request by REST against their allowance.
    SpendRest,
}

/// The answer to an op that was granted.
#[derive(Debug)]
pub enum Reply {
    /// Done; nothing more to say.
    Done,
    /// You are a member.
    Joined(Box<Joined>),
    /// A membership is over.
    Left {
        /// Whether it was the asking connection's own.
        own: bool,
    },
    /// Your message has its place.
    Sent(Sent),
    /// The room.
    Room(Box<RoomView>),
    /// Messages that were sent before.
    History(Box<History>),
    /// Who received and read a message.
    Marks(Box<Marks>),
    /// You are a member again.
    Returned(Box<Returned>),
    /// A session, if there was one, is used up.
    Session(Option<Box<Session>>),
    /// Rooms of one keeper.
    Rooms(RoomsView),
    /// Who types in the room, each user once.
    Typists(Vec<Typist>),
    /// A user's connections.
    Connections(Vec<ConnectionId>),
    /// Connections, as their owner sees them.
    Described(Vec<ConnectionView>),
    /// Connections that were closed.
    Closed(usize),
    /// The connection that something was said of; it is awaited when absent.
    Registered(Option<ConnectionId>),
    /// You are attached, and this was said of your device before.
    Claimed(Box<str>),
    /// How a user is.
    Presence(PresenceView),
    /// Connected users of one keeper.
    Users(UsersView),
    /// Whom a message has reached.
    Pushed(Pushed),
    /// Who is in the room.
    Roster(Box<Roster>),
    /// One keeper's part of a survey.
    PartialResult(PartialResult),
    /// The message is of this room.
    RoomOf(Name),
}

impl RoomView {
    /// Whether `user` may always join: the room's maker named them, or they are its maker.
    pub fn takes_part(&self, user: &str) -> bool {
        self.is_made && (*self.host == *user || self.profile.participants.iter().any(|known| **known == *user))
    }
}

impl RoomsView {
    /// Adds another keeper's rooms.
    pub fn add(&mut self, other: Self) {
        self.total_rooms += other.total_rooms;
        self.total_peers += other.total_peers;
        self.connections += other.connections;
        let room_for = limits::ROOMS_LISTED - self.rooms.len().min(limits::ROOMS_LISTED);
        self.rooms.extend(other.rooms.into_iter().take(room_for));
    }
}

/// Whom a message has reached; what several keepers say adds up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pushed {
    /// How many connections.
    pub reached: usize,
    /// The users who are not connected.
    pub offline: Vec<Name>,
}

/// Somebody who types.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Typist {
    /// Who.
    pub identity: Identity,
    /// Since when, in milliseconds since 1970.
    pub started_at: u64,
}

/// A receipt for a message that was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// The message's id.
    pub id: Uuid,
    /// Its place in the room's order, when it has one.
    pub seq: Option<u64>,
    /// When it was accepted, in milliseconds since 1970.
    pub at: u64,
}

/// A room as an onlooker sees it.
#[derive(Clone, Debug)]
pub struct RoomView {
    /// Its id.
    pub room: Name,
    /// Whether it was made on purpose, and not by joining.
    pub is_made: bool,
    /// What it was made to be.
    pub profile: Profile,
    /// Whose it is.
    pub host: Name,
    /// When it was made, in milliseconds since 1970.
    pub created_at: u64,
    /// When something last happened in it, in milliseconds since 1970.
    pub last_activity: u64,
    /// Its members.
    pub participant_count: usize,
    /// The first of them, at most `rooms.announce_limit`.
    pub peers: Vec<Peer>,
}

/// Rooms of one keeper; those of several keepers add up.
#[derive(Clone, Debug, Default)]
pub struct RoomsView {
    /// How many there are.
    pub total_rooms: usize,
    /// Members in all of them.
    pub total_peers: usize,
    /// Connections of all users.
    pub connections: usize,
    /// The first of them, without their peers.
    pub rooms: Vec<RoomView>,
}

/// One thing that everyone concerned learns.
#[derive(Debug)]
pub struct Fact {
    /// Who learns it.
    pub audience: Audience,
    /// What.
    pub event: Event,
}

/// Who learns a fact.
#[derive(Debug)]
pub enum Audience {
    /// The members of the room that the op was on.
    Members {
        /// But this one.
        except: Option<ConnectionId>,
    },
    /// One connection.
    Connection(ConnectionId),
    /// All connections of a user.
    User(Name),
    /// Whoever learns how the user that the op was on is: everybody, or those who share a room with them.
    Observers {
        /// But this connection.
        except: Option<ConnectionId>,
        /// Rooms that connections of theirs were in until they ended.
        rooms: Vec<Name>,
    },
    /// The members of a room that a connection has joined, where those who share a room learn how a user is.
    Acquaintances {
        /// The connection, which is not told.
        connection: ConnectionId,
        /// The room.
        room: Name,
    },
}

/// The rules that rooms and users go by.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Above this many members, joins and leaves are counted, not announced.
    pub announce_limit: usize,
    /// Members a room takes when its maker did not say; 0 is any number.
    pub max_participants: usize,
    /// Whether there is a store, so that anything is kept at all.
    pub has_store: bool,
    /// Whether what is kept outlives the process, so that what only a restart asks for is kept, too.
    pub outlives_process: bool,
    /// Whether a room's messages are kept when its maker did not say.
    pub history: bool,
    /// How long messages are kept, in milliseconds; 0: for ever.
    pub keep_ms: u64,
    /// How long a user's last connection may be gone before they count as offline, in milliseconds.
    pub presence_grace_ms: u64,
    /// Who learns of a change of presence.
    pub presence_scope: Scope,
    /// Connections a user may have at once; 0 is any number.
    pub connections_per_user: usize,
    /// Requests by REST a user may make in a minute; 0 is any number.
    pub rest_per_minute: u32,
}

/// Who learns of a change of presence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Everybody while there are few users, then those who share a room.
    Auto,
    /// Everybody.
    All,
    /// Those who share a room.
    Rooms,
    /// Nobody.
    None,
}

/// What an op may use while it is applied: the time, randomness, the rules, and lists for the facts and
/// the records it makes.
pub struct Context<'a> {
    /// The time.
    pub now: Now,
    /// Randomness.
    pub rng: &'a mut Rng,
    /// The rules.
    pub rules: &'a Rules,
    /// What everyone concerned learns, in order.
    pub facts: &'a mut Vec<Fact>,
    /// What a restart must not lose, in order.
    pub records: &'a mut Vec<Record>,
}

impl Context<'_> {
    /// Tells the members of the room, but `except`.
    pub fn tell_members(&mut self, except: Option<ConnectionId>, event: Event) {
        self.facts.push(Fact { audience: Audience::Members { except }, event });
    }

    /// Tells one connection.
    pub fn tell(&mut self, connection: ConnectionId, event: Event) {
        self.facts.push(Fact { audience: Audience::Connection(connection), event });
    }

    /// A new message's id.
    pub fn message_id(&mut self) -> Uuid {
        message_id(self.rng, self.now)
    }
}

/// A new message's id (UUIDv7, RFC 9562 §5.7): time first, then randomness.
pub fn message_id(rng: &mut Rng, now: Now) -> Uuid {
    let mut random = [0; 10];
    rng.fill(&mut random);
    uuid::Builder::from_unix_timestamp_millis(now.wall, &random).into_uuid()
}
