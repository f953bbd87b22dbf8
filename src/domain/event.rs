//! What a peer is told, whatever the dialect it hears it in.

use std::sync::Arc;

use uuid::Uuid;

use crate::base::Name;
use crate::base::ids::ConnectionId;
use crate::domain::access::Identity;
use crate::domain::command::{MediaState, ReceiptKind, Signal, Status};
use crate::domain::people::PresenceView;

/// One thing that happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// You became a member of a room.
    Joined(Box<Joined>),
    /// Your membership ended.
    Left {
        /// The room.
        room: Name,
        /// Why.
        cause: LeaveCause,
    },
    /// Somebody became a member.
    PeerJoined {
        /// The room.
        room: Name,
        /// Who.
        peer: PeerView,
    },
    /// Somebody's membership ended.
    PeerLeft {
        /// The room.
        room: Name,
        /// Who, by name in the room.
        peer: PeerName,
        /// Who it was.
        identity: Identity,
    },
    /// In a room too large for announcements: how many there are.
    Stats {
        /// The room.
        room: Name,
        /// Its members.
        participant_count: usize,
    },
    /// Users came to a room or left it: who is there, as the room hears where rooms hear of that.
    Online {
        /// The room.
        room: Name,
        /// Its users who are online; those with several connections count once.
        online_count: usize,
        /// The first of them, where that is told.
        users: Option<Arc<[PresenceView]>>,
    },
    /// A signaling message for you.
    Signal(Box<Signaled>),
    /// Somebody sends other media than before.
    Media {
        /// The room.
        room: Name,
        /// Who.
        peer: PeerName,
        /// The new state.
        media: MediaState,
    },
    /// A message in a room, or from one of its peers to you alone.
    Message(Arc<Message>),
    /// A message to you, or to all, outside any room.
    Direct(Arc<Direct>),
    /// Somebody types, or stopped.
    Typing {
        /// The room.
        room: Name,
        /// Who.
        by: Identity,
        /// Whether they type.
        is_typing: bool,
    },
    /// A message of yours arrived or was read.
    Receipt {
        /// The message's room.
        room: Name,
        /// The message.
        message: Uuid,
        /// Who received or read it.
        by: Identity,
        /// Which of the two.
        kind: ReceiptKind,
    },
    /// A message arrived or was read, as the room hears where rooms hear of that.
    Marked {
        /// The message's room.
        room: Name,
        /// The message.
        message: Uuid,
        /// Who received or read it.
        by: Identity,
        /// Which of the two.
        kind: ReceiptKind,
    },
    /// Somebody's presence changed.
    Presence {
        /// Who.
        user: Name,
        /// To what.
        status: Status,
        /// When they were last active, in milliseconds since 1970.
        last_seen: u64,
    },
    /// A room was closed.
    Closed {
        /// The room.
        room: Name,
        /// Why.
        reason: Name,
    },
}

impl Event {
    /// The room whose order this event belongs to.
    pub fn room(&self) -> Option<&Name> {
        match self {
            Self::Joined(joined) => Some(&joined.room),
            Self::Left { room, .. }
            | Self::PeerJoined { room, .. }
            | Self::PeerLeft { room, .. }
            | Self::Stats { room, .. }
            | Self::Media { room, .. }
            | Self::Typing { room, .. }
            | Self::Marked { room, .. }
            | Self::Online { room, .. }
            | Self::Closed { room, .. } => Some(room),
            Self::Signal(signaled) => Some(&signaled.room),
            Self::Message(message) => Some(&message.room),
            Self::Direct(_) | Self::Receipt { .. } | Self::Presence { .. } => None,
        }
    }

    /// Whether only Socket.IO has a word for it.
    pub fn is_for_peers(&self) -> bool {
        matches!(self, Self::Marked { .. } | Self::Online { .. })
    }

    /// Whether a connection that cannot keep up may do without it.
    pub fn droppable(&self) -> bool {
        matches!(self, Self::Typing { .. } | Self::Presence { .. })
    }
}

/// Why a membership ended, as its owner is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaveCause {
    /// Its owner asked.
    Left,
    /// The same user took the peer id over from another connection.
    Replaced,
    /// The host or an admin removed the peer.
    Removed,
}

/// A new member's view of the room.
#[derive(Clone, Debug)]
pub struct Joined {
    /// The room.
    pub room: Name,
    /// Your name in it.
    pub peer: PeerName,
    /// The others, at most `rooms.announce_limit`.
    pub peers: Vec<PeerView>,
    /// Members, you included.
    pub participant_count: usize,
    /// Which run of the room's log `seq` counts in.
    pub epoch: Name,
    /// The number of the last message; 0 before the first.
    pub seq: u64,
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
    /// Calls `with` with the name as text.
    pub fn with<T>(&self, with: impl FnOnce(&str) -> T) -> T {
        match self {
            Self::Chosen(name) => with(name),
            Self::Own(id) => with(id.text().as_str()),
        }
    }

    /// Whether the name is spelled `text`.
    pub fn is(&self, text: &str) -> bool {
        self.with(|name| name == text)
    }
}

/// A member as the others see it.
#[derive(Clone, Debug)]
pub struct PeerView {
    /// Its name in the room.
    pub name: PeerName,
    /// The name to show, when it is another than the username.
    pub display_name: Option<Box<str>>,
    /// Who it is.
    pub identity: Identity,
    /// Which media it sends.
    pub media: MediaState,
}

impl PeerView {
    /// The name to show.
    pub fn display_name(&self) -> &str {
        self.display_name.as_deref().unwrap_or(self.identity.username())
    }
}

/// A signaling message between two peers of a room.
#[derive(Clone, Debug)]
pub struct Signaled {
    /// The room both are in.
    pub room: Name,
    /// Who sent it.
    pub from: PeerName,
    /// Whom it is for.
    pub to: PeerName,
    /// Offer, answer or candidate.
    pub signal: Signal,
    /// Its body, byte for byte as it came.
    pub body: Box<str>,
}

/// What a message says, kept as the JSON it came as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// The content, as JSON.
    pub body: Box<str>,
    /// What kind of content; `text` when absent.
    pub kind: Option<Box<str>>,
    /// The message this one answers.
    pub reply_to: Option<Box<str>>,
    /// A file that goes with it, as JSON.
    pub attachment: Option<Box<str>>,
    /// Anything else that goes with it, as JSON.
    pub metadata: Option<Box<str>>,
}

impl Content {
    /// How many bytes it has.
    pub fn bytes(&self) -> usize {
        let extras = [&self.kind, &self.reply_to, &self.attachment, &self.metadata];
        self.body.len() + extras.into_iter().flatten().map(|text| text.len()).sum::<usize>()
    }
}

/// A message of a room.
#[derive(Clone, Debug)]
pub struct Message {
    /// Its id, a UUIDv7.
    pub id: Uuid,
    /// Its place in the room's order; `None` for a message to one peer, which has no place in it.
    pub seq: Option<u64>,
    /// The room.
    pub room: Name,
    /// Who sent it.
    pub sender: Identity,
    /// The sender's name in the room.
    pub from: PeerName,
    /// The one peer it is for; everyone when absent.
    pub to: Option<PeerName>,
    /// What it says.
    pub content: Content,
    /// When it was accepted, in milliseconds since 1970.
    pub at: u64,
}

/// A message to a user, or to all, outside any room.
#[derive(Clone, Debug)]
pub struct Direct {
    /// Its id, a UUIDv7.
    pub id: Uuid,
    /// Who sent it.
    pub sender: Identity,
    /// What it says.
    pub content: Content,
    /// When it was accepted, in milliseconds since 1970.
    pub at: u64,
}
