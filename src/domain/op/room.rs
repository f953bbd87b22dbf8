//! Operations on a room, their parameters, and a room as its users see it.

use uuid::Uuid;

use crate::base::Name;
use crate::base::ids::ConnectionId;
use crate::base::limits;
use crate::domain::about::About;
use crate::domain::access::Identity;
use crate::domain::command::{MediaState, ReceiptKind, Signal};
use crate::domain::connection_mode::{ConnectionMode, WantedMode};
use crate::domain::event::{Content, PeerView, RevisionKind};
use crate::domain::history::HistoryRange;
use crate::domain::people::UsersPage;
use crate::domain::record::Retention;
use crate::domain::recovery::Returning;
use crate::domain::reject::Reject;

/// An operation on a room.
#[derive(Debug)]
pub enum RoomOp {
    /// Creates the room.
    Create {
        /// Its host.
        by: Identity,
        /// Its settings.
        profile: Box<Profile>,
        /// The retention of its messages.
        log: LogTerms,
        /// Whether it is locked from the beginning.
        is_locked: bool,
    },
    /// Makes a connection a member.
    Join(Box<JoinRoom>),
    /// Ends a membership at the request of a connection.
    Leave {
        /// The requesting connection.
        connection: ConnectionId,
        /// Its user.
        by: HostClaim,
        /// The peer id of the membership; the requesting connection's own membership when absent.
        peer: Option<Name>,
    },
    /// Makes a connection a member in the place of a lost one.
    Rejoin(Box<Returning>),
    /// Starts the grace period of a member that lost its connection: the membership ends unless it rejoins in time.
    StartGrace {
        /// The connection.
        connection: ConnectionId,
    },
    /// Ends the membership of a connection that is gone.
    RemoveMember {
        /// The connection.
        connection: ConnectionId,
    },
    /// Relays a signaling message to one peer.
    RelaySignal(Box<RelaySignal>),
    /// Sets the media that a member sends.
    SetMedia {
        /// The sending connection.
        connection: ConnectionId,
        /// Its own peer id, when given.
        peer: Option<Name>,
        /// The new state.
        media: MediaState,
        /// Whether it can use a media server; as before when absent.
        sfu: Option<bool>,
    },
    /// Notes that a member cannot connect to another one, or to the media server.
    ReportFailure {
        /// The reporting connection.
        connection: ConnectionId,
        /// The peer id of the other, or [`crate::domain::connection_mode::SFU`].
        peer: Name,
    },
    /// Sends a message to the room or to one of its peers.
    Send(Box<SendMessage>),
    /// Starts or stops the typing indicator of a member.
    SetTyping {
        /// The typing connection.
        connection: ConnectionId,
        /// Whether it types.
        is_typing: bool,
    },
    /// Lists the users that type.
    ListTypists {
        /// The requesting connection.
        connection: ConnectionId,
    },
    /// Marks a message as delivered or read.
    MarkMessage {
        /// The connection of the receiver.
        connection: ConnectionId,
        /// The message.
        message: Uuid,
        /// Delivered or read.
        kind: ReceiptKind,
    },
    /// Marks several messages as delivered or read.
    MarkMessages {
        /// The connection of the receiver.
        connection: ConnectionId,
        /// The messages.
        messages: MarkedMessages,
        /// Delivered or read.
        kind: ReceiptKind,
    },
    /// Reads earlier messages.
    ReadHistory {
        /// The requesting connection, which must be a member; absent for a backend.
        connection: Option<ConnectionId>,
        /// The range of messages.
        wanted: HistoryRange,
    },
    /// Reads the messages after a given one.
    ReadSince {
        /// The requesting connection.
        connection: ConnectionId,
        /// The message.
        after: Uuid,
        /// At most this number of messages.
        limit: usize,
    },
    /// Reads the receipts of a message.
    ReadReceipts {
        /// The requesting connection, which must be a member; absent for a backend.
        connection: Option<ConnectionId>,
        /// The message.
        message: Uuid,
    },
    /// Counts the messages that a user has not read.
    CountUnread {
        /// The user.
        of: UnreadOf,
    },
    /// Makes a user a participant, and the user's connections members.
    AddParticipant {
        /// The user.
        by: Identity,
        /// The user's connections.
        connections: Vec<ConnectionId>,
    },
    /// Undoes [`RoomOp::AddParticipant`].
    RemoveParticipant {
        /// The user.
        by: Identity,
        /// The one connection to remove; all of the user's when absent.
        connection: Option<ConnectionId>,
    },
    /// Changes the settings of a room that was created on purpose.
    Update {
        /// The requesting user.
        by: Identity,
        /// The new values.
        change: Box<ProfileChange>,
        /// Whether a room that began with a join becomes one that was created on purpose.
        adopts: bool,
    },
    /// Removes a user: all memberships, and the participation.
    RemoveUser {
        /// The host or an admin.
        by: HostClaim,
        /// The user.
        user: Name,
    },
    /// Locks the room for users that are not in it, or unlocks it.
    SetLocked {
        /// The host or an admin.
        by: HostClaim,
        /// Whether it is locked.
        is_locked: bool,
    },
    /// Has the room's media go from peer to peer or through a media server.
    SetMode {
        /// The host or an admin.
        by: HostClaim,
        /// The mode.
        wanted: WantedMode,
    },
    /// Reads the room.
    Describe {
        /// The requesting user.
        by: Identity,
    },
    /// Lists the users in the room.
    ListUsers {
        /// The requesting user.
        by: Identity,
        /// The page of users.
        page: UsersPage,
    },
    /// Closes the room.
    Close {
        /// The host or an admin.
        by: HostClaim,
    },
}

impl RoomOp {
    /// Whether it may begin memberships.
    pub fn is_arrival(&self) -> bool {
        matches!(self, Self::Join(_) | Self::Rejoin(_) | Self::AddParticipant { .. })
    }

    /// Whether it makes the room if there is none, or gives it settings.
    pub fn may_make(&self) -> bool {
        matches!(self, Self::Create { .. } | Self::Update { adopts: true, .. })
    }

    /// The member's connection that asks for it.
    pub fn connection(&self) -> Option<ConnectionId> {
        match self {
            Self::Join(join) => Some(join.connection),
            Self::RelaySignal(signal) => Some(signal.connection),
            Self::Send(message) => message.publisher.is_none().then_some(message.connection),
            Self::Leave { connection, .. }
            | Self::SetMedia { connection, .. }
            | Self::ReportFailure { connection, .. }
            | Self::SetTyping { connection, .. }
            | Self::ListTypists { connection }
            | Self::MarkMessage { connection, .. }
            | Self::MarkMessages { connection, .. }
            | Self::ReadSince { connection, .. } => Some(*connection),
            Self::ReadHistory { connection, .. } | Self::ReadReceipts { connection, .. } => *connection,
            Self::CountUnread { of: UnreadOf::Member(connection) } => Some(*connection),
            _ => None,
        }
    }

    /// Whether it is of an application's backend, which need not be a member.
    pub fn is_of_backend(&self) -> bool {
        match self {
            Self::Send(message) => message.publisher.is_some(),
            Self::ReadHistory { connection, .. } | Self::ReadReceipts { connection, .. } => connection.is_none(),
            Self::CountUnread { of } => matches!(of, UnreadOf::User(_)),
            _ => false,
        }
    }

    /// The number of a backend's message among those of its request; `None` of any other operation.
    pub fn publication(&self) -> Option<u16> {
        match self {
            Self::Send(message) => message.publisher.as_ref().map(|publisher| publisher.part),
            _ => None,
        }
    }

    /// Whether it acts on a room that exists in storage only: such a room is loaded for it. To all other operations an
    /// unloaded room is one that does not exist.
    pub fn may_load(&self) -> bool {
        match self {
            Self::Join(join) => join.create,
            Self::Rejoin(_) | Self::Create { .. } => true,
            Self::Update { adopts, .. } => *adopts,
            op => op.is_of_backend(),
        }
    }

    /// Whether it may change the connection mode of the room's call.
    pub fn concerns_call(&self) -> bool {
        self.is_arrival()
            || self.is_departure()
            || matches!(
                self,
                Self::RelaySignal(_) | Self::SetMedia { .. } | Self::ReportFailure { .. } | Self::SetMode { .. }
            )
    }

    /// Whether it ends memberships, but not the room.
    pub fn is_departure(&self) -> bool {
        matches!(
            self,
            Self::Leave { .. } | Self::RemoveMember { .. } | Self::RemoveParticipant { .. } | Self::RemoveUser { .. }
        )
    }
}

/// A user that asks for what only the host and admins may do.
#[derive(Clone, Debug)]
pub struct HostClaim {
    /// The user.
    pub by: Identity,
    /// The key of the host secret that the user has shown.
    pub key: Option<Box<HostKey>>,
}

impl From<Identity> for HostClaim {
    /// A user without a host secret.
    fn from(by: Identity) -> Self {
        Self { by, key: None }
    }
}

/// The SHA-256 hash of the secret by which the creator of a room without a token is its host. The secret is not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostKey(pub [u8; 32]);

/// See [`RoomOp::Join`].
#[derive(Debug)]
pub struct JoinRoom {
    /// The joining connection.
    pub connection: ConnectionId,
    /// Its user.
    pub by: Identity,
    /// The peer id in the room; the connection's id when absent.
    pub peer: Option<Name>,
    /// What it shows of itself, and whether it observes only.
    pub about: About,
    /// The media it sends.
    pub media: MediaState,
    /// Whether a room that does not exist is created.
    pub create: bool,
    /// The number of last messages that it gets.
    pub rewind: usize,
}

/// See [`RoomOp::CountUnread`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UnreadOf {
    /// The user of this connection, which must be a member.
    Member(ConnectionId),
    /// A user that an application's backend asks about.
    User(Name),
}

/// See [`RoomOp::MarkMessages`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MarkedMessages {
    /// These; those that the room does not know are passed over.
    These(Box<[Uuid]>),
    /// This one and those before it of other users, back to one that the user has marked before, at most
    /// [`limits::RECEIPTS_PER_REQUEST`].
    UpTo(Uuid),
}

/// See [`RoomOp::RelaySignal`].
#[derive(Debug)]
pub struct RelaySignal {
    /// The sending connection.
    pub connection: ConnectionId,
    /// Its own peer id, when given.
    pub from: Option<Name>,
    /// The peer id of the receiver.
    pub to: Name,
    /// Offer, answer or candidate.
    pub signal: Signal,
    /// Its body, passed on unread.
    pub body: Box<str>,
}

/// See [`RoomOp::Send`].
#[derive(Debug)]
pub struct SendMessage {
    /// The sending connection. It does not receive the message.
    pub connection: ConnectionId,
    /// The sender of a message that an application's backend publishes, who need not be a member; the user of the sending
    /// connection when absent.
    pub publisher: Option<Publisher>,
    /// The peer id of the only receiver; all members when absent.
    pub to: Option<Name>,
    /// The content.
    pub content: Content,
    /// The sender's own id of the message; it makes a repeated request idempotent.
    pub client_message_id: Option<Box<str>>,
    /// The earlier message that it changes, if it is a change.
    pub revises: Option<Box<Revise>>,
    /// The text of a stream: of a new one, or, if it changes an earlier message, of a piece.
    pub stream: Option<StreamText>,
}

/// The text of a stream's message or piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamText {
    /// Its bytes.
    pub bytes: u32,
    /// Its length in UTF-16 code units.
    pub units: u32,
    /// The length of the text before it that the publisher knows of; a piece for another one is refused.
    pub offset: Option<u32>,
    /// The most bytes of the whole text.
    pub bytes_max: u32,
}

/// A change of an earlier message of a room.
#[derive(Clone, Debug)]
pub struct Revise {
    /// That message.
    pub message: Uuid,
    /// The change.
    pub kind: RevisionKind,
    /// The sender of that message, once it is looked up.
    pub sender: Option<Identity>,
    /// Whose messages the user may change.
    pub rights: ChangeRights,
}

/// Whose messages a user may change in a room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ChangeRights {
    /// Their own; the room's host and admins any.
    #[default]
    Usual,
    /// Their own: no grant of their token is for more.
    Own,
    /// Any: they may moderate.
    Any,
}

impl ChangeRights {
    /// Whether a user may change the messages of others.
    pub fn includes_others(self, is_host: bool) -> bool {
        self == Self::Any || self == Self::Usual && is_host
    }
}

/// The sender of a message of an application's backend.
#[derive(Clone, Debug)]
pub struct Publisher {
    /// The user of the backend's token.
    pub identity: Identity,
    /// The number of the message among those of its request; the outcome has it, too.
    pub part: u16,
    /// Whether the message is for the present members only: it has no number and is not stored.
    pub is_momentary: bool,
}

/// The retention of a room's messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogTerms {
    /// Whether messages are kept; by the server's settings when absent.
    pub history: Option<bool>,
    /// How many, and how long.
    pub retention: Retention,
}

/// The settings of a room that was created on purpose. A room that began with a join has none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Profile {
    /// Its name.
    pub name: Option<Box<str>>,
    /// Its type, in the words of its creator.
    pub kind: Option<Box<str>>,
    /// Its description.
    pub description: Option<Box<str>>,
    /// Data of the application, as a JSON object.
    pub metadata: Option<Box<str>>,
    /// Whether only its participants may join.
    pub is_private: bool,
    /// The users that may always join, its host first.
    pub participants: Vec<Name>,
    /// The peer id that its host announced.
    pub host_peer: Option<Name>,
    /// The most members it takes; 0 is unlimited.
    pub max_participants: usize,
    /// The media encryption its users agreed on; passed on unread.
    pub encryption: Option<Box<str>>,
    /// The key of its host secret, if its creator had no token.
    pub host_key: Option<HostKey>,
}

impl Profile {
    /// The settings as clients see them: without the key of the host secret.
    pub(crate) fn shown(&self) -> Self {
        Self { host_key: None, ..self.clone() }
    }
}

/// New values of a room's settings; absent ones stay.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProfileChange {
    /// Its name.
    pub name: Option<Box<str>>,
    /// Its type.
    pub kind: Option<Box<str>>,
    /// Its description; empty: none.
    pub description: Option<Box<str>>,
    /// Data of the application, as a JSON object; empty: none.
    pub metadata: Option<Box<str>>,
    /// The users that may always join, each once.
    pub participants: Option<Vec<Name>>,
    /// The most members it takes; 0 is unlimited.
    pub max_participants: Option<usize>,
    /// Whether only its participants may join.
    pub is_private: Option<bool>,
    /// Whether it is locked.
    pub is_locked: Option<bool>,
    /// The retention of its messages.
    pub retention: Retention,
}

impl ProfileChange {
    /// Changes a profile. The rest of the change is of the room.
    pub fn apply_to(self, profile: &mut Profile) {
        let filled = |text: Option<Box<str>>| text.filter(|text| !text.is_empty());
        profile.name = self.name.or(profile.name.take());
        profile.kind = self.kind.or(profile.kind.take());
        profile.description = filled(self.description.or(profile.description.take()));
        profile.metadata = filled(self.metadata.or(profile.metadata.take()));
        profile.participants = self.participants.unwrap_or(std::mem::take(&mut profile.participants));
        profile.max_participants = self.max_participants.unwrap_or(profile.max_participants);
        profile.is_private = self.is_private.unwrap_or(profile.is_private);
    }
}

/// A user with an active typing indicator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Typist {
    /// The user.
    pub identity: Identity,
    /// When typing began, in milliseconds since 1970.
    pub started_at: u64,
}

/// The receipt of an accepted message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// The message's id.
    pub id: Uuid,
    /// Its sequence number in the room, if it has one.
    pub seq: Option<u64>,
    /// When it was accepted, in milliseconds since 1970.
    pub at: u64,
}

/// The outcome of a backend's message in one room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publication {
    /// The number of the message among those of its request.
    pub part: u16,
    /// The receipt and the epoch that its sequence number counts in, or the refusal.
    pub outcome: Result<(Sent, Name), Reject>,
}

/// A room as its users see it.
#[derive(Clone, Debug)]
pub struct RoomView {
    /// Its id.
    pub room: Name,
    /// Whether it was created on purpose, not by a join.
    pub is_made: bool,
    /// Its settings.
    pub profile: Profile,
    /// Whether it is locked for users that are not in it.
    pub is_locked: bool,
    /// The user id of its host.
    pub host: Name,
    /// When it was created, in milliseconds since 1970.
    pub created_at: u64,
    /// The time of its last operation, in milliseconds since 1970.
    pub last_activity: u64,
    /// The number of its members.
    pub participant_count: usize,
    /// The way that media take between its callers.
    pub mode: ConnectionMode,
    /// The first of them, at most `rooms.announce_limit`.
    pub peers: Vec<PeerView>,
}

impl RoomView {
    /// Whether `user` may always join: its creator named them, or they created it.
    pub fn takes_part(&self, user: &str) -> bool {
        self.is_made && (*self.host == *user || self.profile.participants.iter().any(|known| **known == *user))
    }
}

/// Rooms of one owner. Parts of several owners add up.
#[derive(Clone, Debug, Default)]
pub struct RoomsView {
    /// The number of rooms.
    pub total_rooms: usize,
    /// Members in all of them.
    pub total_peers: usize,
    /// Connections of all users.
    pub connections: usize,
    /// The first rooms, without their peers.
    pub rooms: Vec<RoomView>,
}

impl RoomsView {
    /// Adds another owner's rooms.
    pub fn add(&mut self, other: Self) {
        self.total_rooms += other.total_rooms;
        self.total_peers += other.total_peers;
        self.connections += other.connections;
        let room_for = limits::ROOMS_LISTED - self.rooms.len().min(limits::ROOMS_LISTED);
        self.rooms.extend(other.rooms.into_iter().take(room_for));
    }
}
