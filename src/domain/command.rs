//! What a peer asks, whatever the dialect it asks in. Borrowed from the bytes it came in; nothing here outlives the turn.

use std::borrow::Cow;

use crate::base::Name;
use crate::domain::client_query::ClientQuery;

/// JSON text that passes through unread: an SDP, an ICE candidate, a message's content.
pub type Opaque<'a> = &'a str;

/// One wish of one peer.
#[derive(Clone, Debug, PartialEq)]
pub enum Command<'a> {
    /// Become a member of a room.
    Join(Join<'a>),
    /// Stop being a member, or remove a peer where one may.
    Leave {
        /// The room.
        room: Cow<'a, str>,
        /// Whose membership ends; the asker's own when absent.
        peer: Option<Cow<'a, str>>,
    },
    /// Relay an offer, an answer or an ICE candidate to one peer of a room.
    Signal(SignalTo<'a>),
    /// Tell a room which media one sends.
    Media {
        /// The room.
        room: Cow<'a, str>,
        /// The sender's own peer id, when given.
        peer: Option<Cow<'a, str>>,
        /// The new state.
        media: MediaState,
    },
    /// Send a message.
    Send {
        /// To whom.
        target: MessageTarget<'a>,
        /// What.
        draft: Draft<'a>,
    },
    /// Change one's own presence.
    SetStatus(Status),
    /// Tell a room that one types, or stopped.
    Typing {
        /// The room.
        room: Cow<'a, str>,
        /// Whether one types.
        is_typing: bool,
    },
    /// Say that a message arrived or was read.
    Receipt {
        /// The message's room.
        room: Cow<'a, str>,
        /// The message's id.
        message: Cow<'a, str>,
        /// Which of the two.
        kind: ReceiptKind,
    },
    /// Look at messages of a room that were sent before.
    History {
        /// The room.
        room: Cow<'a, str>,
        /// The first ones after this number; the newest when absent.
        after: Option<u64>,
        /// At most so many; as many as is usual when absent.
        limit: Option<usize>,
    },
    /// Look at who received and read a message.
    Receipts {
        /// The message's room.
        room: Cow<'a, str>,
        /// The message's id.
        message: Cow<'a, str>,
    },
    /// Go on where an earlier connection was lost.
    Resume {
        /// The token that the earlier connection was given.
        token: Cow<'a, str>,
        /// What the client has of its rooms, where it knows.
        has: Vec<Has>,
    },
    /// Go on under a newer token.
    Authenticate {
        /// The token.
        token: Cow<'a, str>,
    },
    /// Nothing but an answer.
    Ping,
    /// Nothing but an answer that brings this back.
    Echo(Opaque<'a>),
    /// Look at messages of a room that were sent after one that the client knows by its id.
    Sync {
        /// The room.
        room: Cow<'a, str>,
        /// The message's id.
        after: Cow<'a, str>,
        /// At most so many; as many as is usual when absent.
        limit: Option<usize>,
    },
    /// Be given a secret by which the connection may be recovered.
    MakeRecoveryToken,
    /// Look at something, changing nothing.
    Ask(ClientQuery<'a>),
}

/// A wish to become a member of a room.
#[derive(Clone, Debug, PartialEq)]
pub struct Join<'a> {
    /// The room.
    pub room: Cow<'a, str>,
    /// The name to go by in the room; the connection's id when absent.
    pub peer: Option<Cow<'a, str>>,
    /// The name to show; the username when absent.
    pub display_name: Option<Cow<'a, str>>,
    /// Which media one sends.
    pub media: MediaState,
}

/// A signaling message on its way to one peer.
#[derive(Clone, Debug, PartialEq)]
pub struct SignalTo<'a> {
    /// The room both are in.
    pub room: Cow<'a, str>,
    /// The sender's own peer id, when given.
    pub from: Option<Cow<'a, str>>,
    /// The peer addressed.
    pub to: Cow<'a, str>,
    /// Offer, answer or candidate.
    pub signal: Signal,
    /// Its body.
    pub body: Opaque<'a>,
}

/// Which of WebRTC's three signaling messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// A session description that opens a negotiation.
    Offer,
    /// The one that closes it.
    Answer,
    /// A network path to try.
    Candidate,
}

impl Signal {
    /// The message's name on every wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Offer => "offer",
            Self::Answer => "answer",
            Self::Candidate => "ice-candidate",
        }
    }
}

/// Which media a peer sends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MediaState {
    /// Microphone.
    pub audio: bool,
    /// Camera.
    pub video: bool,
    /// Screen.
    pub screen: bool,
}

/// To whom a message goes.
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
        /// The peer addressed.
        peer: Cow<'a, str>,
    },
}

/// What a client has of a room: everything up to a number.
#[derive(Clone, Debug, PartialEq)]
pub struct Has {
    /// The room.
    pub room: Name,
    /// Which run of the room's log the number counts in.
    pub epoch: Name,
    /// The number of the last message.
    pub seq: u64,
}

/// A message as its sender wrote it.
#[derive(Clone, Debug, PartialEq)]
pub struct Draft<'a> {
    /// The content, as JSON.
    pub content: Opaque<'a>,
    /// What kind of content; `text` when absent.
    pub kind: Option<Cow<'a, str>>,
    /// The message this one answers.
    pub reply_to: Option<Cow<'a, str>>,
    /// A file that goes with it, as JSON.
    pub attachment: Option<Opaque<'a>>,
    /// Anything else that goes with it, as JSON.
    pub metadata: Option<Opaque<'a>>,
    /// What its sender calls it, so that a repeat is known for one.
    pub client_message_id: Option<Cow<'a, str>>,
}

/// What a user says of their presence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Here.
    Online,
    /// Not at the keyboard.
    Away,
    /// Not to be disturbed.
    Busy,
    /// Not here, or wishing to seem so.
    Offline,
}

impl Status {
    /// The status as it stands on every wire.
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

/// What a receipt says of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReceiptKind {
    /// It reached a member.
    Delivered,
    /// A member read it.
    Read,
}
