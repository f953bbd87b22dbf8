//! Events that clients receive, independent of the dialect.

use std::sync::Arc;

use uuid::Uuid;

use crate::base::Name;
use crate::base::ids::ConnectionId;
use crate::domain::about::About;
use crate::domain::access::Identity;
use crate::domain::command::{MediaState, ReceiptKind, Signal, Status};
use crate::domain::connection_mode::{ConnectionMode, ModeChange};
use crate::domain::people::PresenceView;

/// One event. "You" is the client that receives it.
#[derive(Clone, Debug)]
pub enum Event {
    /// You became a member of a room.
    Joined(Box<Joined>),
    /// Your membership ended.
    Left {
        /// The room.
        room: Name,
        /// The reason.
        cause: LeaveCause,
    },
    /// Another client became a member.
    PeerJoined {
        /// The room.
        room: Name,
        /// The new member.
        peer: Box<PeerView>,
        /// Whether no other member is of the same user. Always set without Socket.IO members, which alone need it.
        is_first: bool,
    },
    /// Another client's membership ended.
    PeerLeft {
        /// The room.
        room: Name,
        /// The peer's name in the room.
        peer: PeerName,
        /// Its user.
        identity: Identity,
        /// Whether no other member is of the same user; as for a new member.
        is_last: bool,
    },
    /// The number of members, in a room too large for announcements.
    Stats {
        /// The room.
        room: Name,
        /// Its members.
        participant_count: usize,
    },
    /// The users in a room after a change, for dialects that announce them to the room.
    Online {
        /// The room.
        room: Name,
        /// Its users that are online, each counted once.
        online_count: usize,
        /// The first of them, if presence is known.
        users: Option<Arc<[PresenceView]>>,
    },
    /// The participants of a room have changed, for dialects that announce that.
    Info(Arc<RoomInfo>),
    /// The settings of a room have changed.
    Updated(Arc<RoomInfo>),
    /// A signaling message for you.
    Signal(Box<Signaled>),
    /// A peer changed the media it sends.
    Media {
        /// The room.
        room: Name,
        /// The peer's name in the room.
        peer: PeerName,
        /// The new state.
        media: MediaState,
    },
    /// Media take another way between the callers of a room.
    Mode {
        /// The room.
        room: Name,
        /// The change.
        change: ModeChange,
    },
    /// A message in a room, or of one of its peers to you alone.
    Message(Arc<Message>),
    /// A message to you or to all users, outside any room.
    Direct(Arc<Direct>),
    /// A user started or stopped typing.
    Typing {
        /// The room.
        room: Name,
        /// The user.
        by: Identity,
        /// The name to show, if it is not the username.
        display_name: Option<Name>,
        /// Whether the user types.
        is_typing: bool,
    },
    /// A message of yours was delivered or read.
    Receipt {
        /// The message's room.
        room: Name,
        /// The message.
        message: Uuid,
        /// The receiver.
        by: Identity,
        /// Delivered or read.
        kind: ReceiptKind,
    },
    /// A message was delivered or read, for dialects that announce it to the room.
    Marked {
        /// The message's room.
        room: Name,
        /// The message.
        message: Uuid,
        /// The receiver.
        by: Identity,
        /// Delivered or read.
        kind: ReceiptKind,
    },
    /// A stream of yours was cancelled by another user.
    StreamCancelled {
        /// The room.
        room: Name,
        /// The stream's message.
        message: Uuid,
        /// The user that cancelled it.
        by: Identity,
    },
    /// A user's presence changed.
    Presence {
        /// The user.
        by: Identity,
        /// The new status.
        status: Status,
        /// The time of the user's last activity, in milliseconds since 1970.
        last_seen: u64,
    },
    /// A room was closed.
    Closed {
        /// The room.
        room: Name,
        /// The reason.
        reason: Name,
    },
}

impl Event {
    /// The room, if the event belongs to the order of one.
    pub fn room(&self) -> Option<&Name> {
        match self {
            Self::Joined(joined) => Some(&joined.room),
            Self::Left { room, .. }
            | Self::PeerJoined { room, .. }
            | Self::PeerLeft { room, .. }
            | Self::Stats { room, .. }
            | Self::Media { room, .. }
            | Self::Mode { room, .. }
            | Self::Typing { room, .. }
            | Self::Marked { room, .. }
            | Self::Online { room, .. }
            | Self::Closed { room, .. } => Some(room),
            Self::Signal(signaled) => Some(&signaled.room),
            Self::Info(info) | Self::Updated(info) => Some(&info.room),
            Self::Message(message) => Some(&message.room),
            Self::Direct(_) | Self::Receipt { .. } | Self::StreamCancelled { .. } | Self::Presence { .. } => None,
        }
    }

    /// Whether only dialects of Socket.IO encode it.
    pub fn is_for_peers(&self) -> bool {
        matches!(self, Self::Marked { .. } | Self::Online { .. } | Self::Info(_))
    }

    /// Whether it may be dropped for a connection that cannot keep up.
    pub fn droppable(&self) -> bool {
        matches!(self, Self::Typing { .. } | Self::Presence { .. })
    }
}

/// A room as it is announced to its members after a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoomInfo {
    /// The room.
    pub room: Name,
    /// Its name; the id when absent.
    pub name: Option<Box<str>>,
    /// Its description.
    pub description: Option<Box<str>>,
    /// Data of the application, as a JSON object.
    pub metadata: Option<Box<str>>,
    /// Whether only its participants may join.
    pub is_private: bool,
    /// The most members it takes; 0 is unlimited.
    pub max_participants: usize,
    /// Whether it is locked.
    pub is_locked: bool,
    /// The number of its participants.
    pub participant_count: usize,
    /// The number of its users.
    pub online_count: usize,
    /// The time of its last operation, in milliseconds since 1970.
    pub last_activity: u64,
}

/// The reason that a membership ended, as the former member receives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaveCause {
    /// The client asked.
    Left,
    /// Another connection of the same user took the peer id over.
    Replaced,
    /// The host or an admin removed the peer.
    Removed,
}

/// A new member's view of the room.
#[derive(Clone, Debug)]
pub struct Joined {
    /// The room.
    pub room: Name,
    /// Your name in the room.
    pub peer: PeerName,
    /// The others, at most `rooms.announce_limit`.
    pub peers: Vec<PeerView>,
    /// The number of members, you included.
    pub participant_count: usize,
    /// The epoch of the room's log that `seq` belongs to.
    pub epoch: Name,
    /// The number of the last message; 0 before the first.
    pub seq: u64,
    /// The way that media take between the callers.
    pub mode: ConnectionMode,
    /// The last messages up to `seq`, if you asked for some.
    pub rewound: Vec<Message>,
}

/// A connection's name in a room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerName {
    /// One its client chose.
    Chosen(Name),
    /// The connection's own id.
    Own(ConnectionId),
}

impl PeerName {
    /// Passes the name as text to `with`.
    pub fn with<T>(&self, with: impl FnOnce(&str) -> T) -> T {
        match self {
            Self::Chosen(name) => with(name),
            Self::Own(id) => with(id.text().as_str()),
        }
    }

    /// Whether the name is `text`.
    pub fn is(&self, text: &str) -> bool {
        self.with(|name| name == text)
    }
}

/// A member as the others see it.
#[derive(Clone, Debug)]
pub struct PeerView {
    /// Its name in the room.
    pub name: PeerName,
    /// What it shows of itself.
    pub about: About,
    /// Its user.
    pub identity: Identity,
    /// The media it sends.
    pub media: MediaState,
}

impl PeerView {
    /// The name to show.
    pub fn display_name(&self) -> &str {
        self.about.display_name().unwrap_or(self.identity.username())
    }

    /// The most bytes that it takes as JSON: names whose every byte is escaped, the names of fields, the media.
    pub fn bytes_max(&self) -> usize {
        let names = self.name.with(str::len) + self.identity.user().len() + self.display_name().len();
        2 * names + self.about.data().map_or(0, |data| data.len() + 8) + 128
    }
}

/// The name to show for a user: the one that was chosen for a room, or else the username.
pub fn shown_name<'a>(display_name: &'a Option<Name>, identity: &'a Identity) -> &'a str {
    display_name.as_deref().unwrap_or(identity.username())
}

/// A signaling message between two peers of a room.
#[derive(Clone, Debug)]
pub struct Signaled {
    /// The room both are in.
    pub room: Name,
    /// The sender.
    pub from: PeerName,
    /// The receiver.
    pub to: PeerName,
    /// Offer, answer or candidate.
    pub signal: Signal,
    /// Its body, byte for byte as it came.
    pub body: Box<str>,
}

/// The content of a message, as the JSON it was received as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// The content, as JSON.
    pub body: Box<str>,
    /// The application's event; `message` when absent.
    pub event: Option<Box<str>>,
    /// The kind of content; `text` when absent.
    pub kind: Option<Box<str>>,
    /// The message this one answers.
    pub reply_to: Option<Box<str>>,
    /// A file that goes with it, as JSON.
    pub attachment: Option<Box<str>>,
    /// Further data of the sender, as JSON.
    pub metadata: Option<Box<str>>,
}

impl Content {
    /// The content of a message that was deleted.
    pub fn gone(self) -> Self {
        Self { body: "null".into(), reply_to: None, attachment: None, metadata: None, ..self }
    }

    /// This content with that of an edit.
    pub fn edited(self, edit: Self) -> Self {
        let attachment = edit.attachment.or(self.attachment);
        Self { body: edit.body, attachment, metadata: edit.metadata.or(self.metadata), ..self }
    }

    /// The content of a piece of a stream, as JSON.
    pub fn of_piece(body: &str) -> Self {
        Self { body: body.into(), event: None, kind: None, reply_to: None, attachment: None, metadata: None }
    }

    /// The size of all fields, in bytes.
    pub fn bytes(&self) -> usize {
        let extras = [&self.event, &self.kind, &self.reply_to, &self.attachment, &self.metadata];
        self.body.len() + extras.into_iter().flatten().map(|text| text.len()).sum::<usize>()
    }
}

/// A message of a room.
#[derive(Clone, Debug)]
pub struct Message {
    /// Its id, a UUIDv7.
    pub id: Uuid,
    /// Its sequence number in the room; `None` for a message to one peer.
    pub seq: Option<u64>,
    /// The room.
    pub room: Name,
    /// The sender.
    pub sender: Identity,
    /// The name to show for the sender, if it is not the username.
    pub display_name: Option<Name>,
    /// The sender's name in the room.
    pub from: PeerName,
    /// Whether a backend has published it: no member is its sender.
    pub is_published: bool,
    /// The only receiver; all members when absent.
    pub to: Option<PeerName>,
    /// The content.
    pub content: Content,
    /// When it was accepted, in milliseconds since 1970.
    pub at: u64,
    /// Its part in changes of messages, if it has one.
    pub revision: Option<Box<Revision>>,
}

impl Message {
    /// The message that it changes, if it is the change of one.
    pub fn changes(&self) -> Option<(Uuid, RevisionKind)> {
        match self.revision.as_deref() {
            Some(Revision::Of { message, kind }) => Some((*message, *kind)),
            Some(Revision::Piece { message, status, .. }) => Some((*message, RevisionKind::Append(*status))),
            _ => None,
        }
    }

    /// Whether members can answer for it: it is no change of another message, and has not been deleted.
    pub fn is_live(&self) -> bool {
        !matches!(self.revision.as_deref(), Some(Revision::Of { .. } | Revision::Piece { .. } | Revision::Deleted(_)))
    }

    /// Whether it is a piece of a stream.
    pub fn is_piece(&self) -> bool {
        matches!(self.revision.as_deref(), Some(Revision::Piece { .. }))
    }
}

/// The part of a message in changes of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Revision {
    /// It changes an earlier message of its room.
    Of {
        /// That message.
        message: Uuid,
        /// The change.
        kind: RevisionKind,
    },
    /// It is a piece of the text of a stream.
    Piece {
        /// The stream's message.
        message: Uuid,
        /// The length of the text before it, in UTF-16 code units.
        offset: u64,
        /// The stream's status with it.
        status: StreamStatus,
    },
    /// It is a stream of this status, and has the text up to now.
    Stream(StreamStatus),
    /// It was edited, at this time in milliseconds since 1970.
    Edited(u64),
    /// It was deleted, likewise: its content is gone.
    Deleted(u64),
}

/// A kind of change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RevisionKind {
    /// Another content.
    Edit,
    /// No content.
    Delete,
    /// More content. Then the stream has this status.
    Append(StreamStatus),
}

/// The status of a stream: a message that grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamStatus {
    /// It gets further pieces.
    Streaming,
    /// Its text is whole.
    Complete,
    /// It ended before its text was whole.
    Cancelled,
}

impl StreamStatus {
    /// Its name on every wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Streaming => "streaming",
            Self::Complete => "complete",
            Self::Cancelled => "cancelled",
        }
    }

    /// The status of that name.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Streaming, Self::Complete, Self::Cancelled].into_iter().find(|status| status.as_str() == text)
    }
}

impl RevisionKind {
    /// The name of the change.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Edit => "edited",
            Self::Delete => "deleted",
            Self::Append(_) => "appended",
        }
    }
}

/// A message to a user or to all users, outside any room.
#[derive(Clone, Debug)]
pub struct Direct {
    /// Whether a backend pushed it. A client's message is for one user, and stored until it is delivered.
    pub is_pushed: bool,
    /// The connection that does not receive it, by the id that its client knows.
    pub except: Option<ConnectionId>,
    /// Its id, a UUIDv7.
    pub id: Uuid,
    /// The sender.
    pub sender: Identity,
    /// The content.
    pub content: Content,
    /// When it was accepted, in milliseconds since 1970.
    pub at: u64,
}
