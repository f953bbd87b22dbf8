//! Requests of clients, independent of the dialect. Borrowed from the received bytes, for one turn of the loop.

use std::borrow::Cow;

use crate::base::Name;
use crate::domain::client_query::ClientQuery;
use crate::domain::connection_mode::WantedMode;
use crate::domain::event::StreamStatus;

/// JSON text that passes through unread: an SDP, an ICE candidate, a message's content.
pub type Opaque<'a> = &'a str;

/// One request of one client.
#[derive(Clone, Debug, PartialEq)]
pub enum Command<'a> {
    /// Become a member of a room.
    Join(Join<'a>),
    /// End a membership: the client's own, or, as the room's host, another peer's.
    Leave {
        /// The room.
        room: Cow<'a, str>,
        /// The peer id of the membership; the client's own when absent.
        peer: Option<Cow<'a, str>>,
        /// The host secret, if the client is the host by it.
        secret: Option<Cow<'a, str>>,
    },
    /// Do what only the room's host and admins may do.
    Host {
        /// The room.
        room: Cow<'a, str>,
        /// The action.
        action: HostAction<'a>,
        /// The host secret, if the client is the host by it.
        secret: Option<Cow<'a, str>>,
    },
    /// Relay an offer, an answer or an ICE candidate to one peer of a room.
    Signal(SignalTo<'a>),
    /// Announce the media that the client sends.
    Media {
        /// The room.
        room: Cow<'a, str>,
        /// The sender's own peer id, when given.
        peer: Option<Cow<'a, str>>,
        /// The new state.
        media: MediaState,
        /// Whether the client can use a media server; as before when absent.
        sfu: Option<bool>,
    },
    /// Report that the client cannot connect to a peer, or to the media server.
    ReportFailure {
        /// The room.
        room: Cow<'a, str>,
        /// The peer id of the other, or [`crate::domain::connection_mode::SFU`].
        peer: Cow<'a, str>,
    },
    /// Send a message.
    Send {
        /// The receivers.
        target: MessageTarget<'a>,
        /// The message.
        draft: Draft<'a>,
    },
    /// Edit a message of a room, or delete it.
    Revise {
        /// The room.
        room: Cow<'a, str>,
        /// The message's id.
        message: Cow<'a, str>,
        /// The new content; absent to delete it.
        draft: Option<Draft<'a>>,
    },
    /// Add a piece to a stream, or end it.
    Append(Append<'a>),
    /// Set the user's presence.
    SetStatus(Status),
    /// Start or stop the typing indicator.
    Typing {
        /// The room.
        room: Cow<'a, str>,
        /// Whether the user types.
        is_typing: bool,
    },
    /// Mark messages as delivered or read.
    Receipt {
        /// Their room.
        room: Cow<'a, str>,
        /// The messages.
        messages: Receipted<'a>,
        /// Delivered or read.
        kind: ReceiptKind,
    },
    /// Read earlier messages of a room.
    History {
        /// The room.
        room: Cow<'a, str>,
        /// The messages after this sequence number; the newest when absent.
        after: Option<u64>,
        /// The most messages to return; a default when absent.
        limit: Option<usize>,
    },
    /// Count the messages of a room that the user has not read.
    Unread {
        /// The room.
        room: Cow<'a, str>,
    },
    /// Read the receipts of a message.
    Receipts {
        /// The message's room.
        room: Cow<'a, str>,
        /// The message's id.
        message: Cow<'a, str>,
    },
    /// Recover the session of a connection that was lost.
    Resume {
        /// The recovery token of that connection.
        token: Cow<'a, str>,
        /// The last message that the client has of each room, where it knows.
        has: Vec<Has>,
        /// Whether the client's own messages are among the missed ones.
        own_messages: bool,
    },
    /// Renew the token.
    Authenticate {
        /// The token.
        token: Cow<'a, str>,
    },
    /// Check that the server answers.
    Ping,
    /// The same; the answer repeats this value.
    Echo(Opaque<'a>),
    /// Read the messages of a room after the one of this id.
    Sync {
        /// The room.
        room: Cow<'a, str>,
        /// The message's id.
        after: Cow<'a, str>,
        /// The most messages to return; a default when absent.
        limit: Option<usize>,
    },
    /// Create a recovery token for the connection.
    MakeRecoveryToken,
    /// A query.
    Ask(ClientQuery<'a>),
}

impl Command<'_> {
    /// Its kind, for the log.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Join(_) => "join",
            Self::Leave { .. } => "leave",
            Self::Host { action, .. } => action.as_str(),
            Self::Signal(signal) => signal.signal.as_str(),
            Self::Media { .. } => "media",
            Self::ReportFailure { .. } => "connection-failed",
            Self::Send { .. } => "message",
            Self::Revise { draft: Some(_), .. } => "message-edit",
            Self::Revise { draft: None, .. } => "message-delete",
            Self::Append(append) if append.status == StreamStatus::Cancelled => "message-cancel",
            Self::Append(_) => "message-append",
            Self::SetStatus(_) => "status",
            Self::Typing { .. } => "typing",
            Self::Receipt { .. } => "receipt",
            Self::History { .. } => "history",
            Self::Receipts { .. } => "receipts",
            Self::Unread { .. } => "unread",
            Self::Resume { .. } => "resume",
            Self::Authenticate { .. } => "authenticate",
            Self::Ping | Self::Echo(_) => "ping",
            Self::Sync { .. } => "sync",
            Self::MakeRecoveryToken => "recovery-token",
            Self::Ask(_) => "query",
        }
    }

    /// The room that it names.
    pub fn room(&self) -> Option<&str> {
        match self {
            Self::Join(join) => Some(&join.room),
            Self::Signal(signal) => Some(&signal.room),
            Self::Append(append) => Some(&append.room),
            Self::Send { target: MessageTarget::Room(room) | MessageTarget::Peer { room, .. }, .. }
            | Self::Leave { room, .. }
            | Self::Host { room, .. }
            | Self::Media { room, .. }
            | Self::ReportFailure { room, .. }
            | Self::Typing { room, .. }
            | Self::Revise { room, .. }
            | Self::Receipt { room, .. }
            | Self::History { room, .. }
            | Self::Receipts { room, .. }
            | Self::Unread { room }
            | Self::Sync { room, .. } => Some(room),
            Self::Send { target: MessageTarget::User(_), .. }
            | Self::SetStatus(_)
            | Self::Resume { .. }
            | Self::Authenticate { .. }
            | Self::Ping
            | Self::Echo(_)
            | Self::MakeRecoveryToken
            | Self::Ask(_) => None,
        }
    }

    /// Whether it belongs to the protocol of messages and presence, not to that of WebRTC signaling or to both.
    pub fn is_messaging(&self) -> bool {
        match self {
            Self::Send { .. }
            | Self::Revise { .. }
            | Self::Append(_)
            | Self::SetStatus(_)
            | Self::Typing { .. }
            | Self::Receipt { .. }
            | Self::History { .. }
            | Self::Receipts { .. }
            | Self::Unread { .. }
            | Self::Resume { .. }
            | Self::Sync { .. } => true,
            Self::Join(_) | Self::Leave { .. } | Self::Host { .. } | Self::Signal(_) | Self::Media { .. } => false,
            Self::ReportFailure { .. } => false,
            Self::Authenticate { .. } | Self::Ping | Self::Echo(_) | Self::MakeRecoveryToken | Self::Ask(_) => false,
        }
    }
}

/// A piece of a stream.
#[derive(Clone, Debug, PartialEq)]
pub struct Append<'a> {
    /// The room.
    pub room: Cow<'a, str>,
    /// The id of the stream's message.
    pub message: Cow<'a, str>,
    /// The text, as a JSON string.
    pub piece: Opaque<'a>,
    /// The status of the stream with it.
    pub status: StreamStatus,
    /// The length of the text before it, in UTF-16 code units, if the client gives it.
    pub offset: Option<u32>,
    /// The sender's own id of the piece; it makes a repeated request idempotent.
    pub client_message_id: Option<Cow<'a, str>>,
}

/// An action of a room's host.
#[derive(Clone, Debug, PartialEq)]
pub enum HostAction<'a> {
    /// Close the room.
    Close,
    /// Lock the room for users that are not in it, or unlock it.
    SetLocked(bool),
    /// Have media go from peer to peer or through a media server.
    SetMode(WantedMode),
    /// Remove a user.
    RemoveUser(Cow<'a, str>),
}

impl HostAction<'_> {
    /// The action's name on the wire.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Close => "close-room",
            Self::SetLocked(_) => "lock-room",
            Self::SetMode(_) => "connection-mode",
            Self::RemoveUser(_) => "remove-user",
        }
    }
}

/// A request to become a member of a room.
#[derive(Clone, Debug, PartialEq)]
pub struct Join<'a> {
    /// The room.
    pub room: Cow<'a, str>,
    /// The peer id in the room; the connection's id when absent.
    pub peer: Option<Cow<'a, str>>,
    /// The name to show; the username when absent.
    pub display_name: Option<Cow<'a, str>>,
    /// The media that the client sends.
    pub media: MediaState,
    /// The number of last messages that the client wants.
    pub rewind: usize,
    /// What the other members see beside the name, as JSON.
    pub data: Option<Opaque<'a>>,
    /// Whether it only receives, unknown to the others.
    pub is_observer: bool,
    /// A token that lets its bearer into this room.
    pub token: Option<Cow<'a, str>>,
}

/// A signaling message on its way to one peer.
#[derive(Clone, Debug, PartialEq)]
pub struct SignalTo<'a> {
    /// The room both are in.
    pub room: Cow<'a, str>,
    /// The sender's own peer id, when given.
    pub from: Option<Cow<'a, str>>,
    /// The peer id of the receiver.
    pub to: Cow<'a, str>,
    /// Offer, answer or candidate.
    pub signal: Signal,
    /// Its body.
    pub body: Opaque<'a>,
}

/// A kind of WebRTC signaling message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// A session description that opens a negotiation.
    Offer,
    /// The session description that closes it.
    Answer,
    /// A network path to try.
    Candidate,
    /// Of the media server: the receiver is to have so many sections in which it receives, and to offer again.
    MediaSections,
    /// Of the media server: the source that each such section of the receiver has.
    MediaSlots,
}

impl Signal {
    /// The message's name on every wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Offer => "offer",
            Self::Answer => "answer",
            Self::Candidate => "ice-candidate",
            Self::MediaSections => "media-sections",
            Self::MediaSlots => "media-slots",
        }
    }
}

/// The media of a peer: those it sends, and whether it can have them sent through a media server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MediaState {
    /// Microphone.
    pub audio: bool,
    /// Camera.
    pub video: bool,
    /// Screen.
    pub screen: bool,
    /// It can use a media server (SFU).
    pub sfu: bool,
}

impl MediaState {
    /// As bits.
    pub fn bits(self) -> u8 {
        let Self { audio, video, screen, sfu } = self;
        u8::from(audio) | u8::from(video) << 1 | u8::from(screen) << 2 | u8::from(sfu) << 3
    }

    /// From [`MediaState::bits`]; others are ignored.
    pub fn from_bits(bits: u8) -> Self {
        Self { audio: bits & 1 != 0, video: bits & 2 != 0, screen: bits & 4 != 0, sfu: bits & 8 != 0 }
    }
}

/// The receivers of a message.
#[derive(Clone, Debug, PartialEq)]
pub enum MessageTarget<'a> {
    /// Every member of a room.
    Room(Cow<'a, str>),
    /// Every connection of a user.
    User(Cow<'a, str>),
    /// One peer of a room.
    Peer {
        /// The room both are in.
        room: Cow<'a, str>,
        /// The peer id of the receiver.
        peer: Cow<'a, str>,
    },
}

/// A client's position in the log of a room: it has all messages up to a number.
#[derive(Clone, Debug, PartialEq)]
pub struct Has {
    /// The room.
    pub room: Name,
    /// The epoch of the room's log that the number belongs to.
    pub epoch: Name,
    /// The number of the last message.
    pub seq: u64,
}

/// A message as its sender wrote it.
#[derive(Clone, Debug, PartialEq)]
pub struct Draft<'a> {
    /// The content, as JSON.
    pub content: Opaque<'a>,
    /// The application's event; `message` when absent.
    pub event: Option<Cow<'a, str>>,
    /// The kind of content; `text` when absent.
    pub kind: Option<Cow<'a, str>>,
    /// The message this one answers.
    pub reply_to: Option<Cow<'a, str>>,
    /// A file that goes with it, as JSON.
    pub attachment: Option<Opaque<'a>>,
    /// Further data of the sender, as JSON.
    pub metadata: Option<Opaque<'a>>,
    /// The sender's own id of the message; it makes a repeated request idempotent.
    pub client_message_id: Option<Cow<'a, str>>,
    /// Whether it opens a stream: a message that grows.
    pub is_stream: bool,
}

/// A user's presence, as they set it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Available.
    Online,
    /// Away from the keyboard.
    Away,
    /// Not to be disturbed.
    Busy,
    /// Not connected, or set to appear so.
    Offline,
}

impl Status {
    /// The status in every dialect.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Online => "online",
            Self::Away => "away",
            Self::Busy => "busy",
            Self::Offline => "offline",
        }
    }

    /// The status of that name.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Online, Self::Away, Self::Busy, Self::Offline].into_iter().find(|status| status.as_str() == text)
    }
}

/// The messages that a receipt is for, by their ids.
#[derive(Clone, Debug, PartialEq)]
pub enum Receipted<'a> {
    /// One message.
    One(Cow<'a, str>),
    /// Several.
    These(Vec<Cow<'a, str>>),
    /// One message and those before it.
    UpTo(Cow<'a, str>),
}

/// A kind of receipt for a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReceiptKind {
    /// It reached a member.
    Delivered,
    /// A member read it.
    Read,
}
