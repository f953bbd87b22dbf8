//! A refusal: an answer, not a failure.

use std::borrow::Cow;
use std::fmt;

/// The codes a refusal carries on every wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Code {
    /// Not JSON at all.
    BadJson,
    /// JSON, but not of the shape this request has.
    InvalidMessage,
    /// A request of no known kind.
    UnknownType,
    /// Binary data where text is spoken.
    UnsupportedData,
    /// No valid token.
    Unauthenticated,
    /// The token's time is over.
    TokenExpired,
    /// Known, but not allowed.
    Forbidden,
    /// No such room.
    RoomNotFound,
    /// The room has as many peers as it takes.
    RoomFull,
    /// The room was closed.
    RoomClosed,
    /// Only members may do this.
    NotInRoom,
    /// No such peer in the room.
    PeerNotFound,
    /// Another user goes by that peer id.
    PeerIdTaken,
    /// The peer id is not the sender's own.
    PeerMismatch,
    /// No such user.
    UserNotFound,
    /// No such connection.
    ConnectionNotFound,
    /// No such message.
    MessageNotFound,
    /// Larger than the limit.
    MessageTooLarge,
    /// More often than the limit.
    RateLimited,
    /// Nothing to recover with that token.
    RecoveryFailed,
    /// The store cannot keep or find anything at the moment.
    StorageUnavailable,
    /// More work than the server takes on.
    Overloaded,
    /// The server's own fault.
    Internal,
}

impl Code {
    /// The code as it stands on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BadJson => "BAD_JSON",
            Self::InvalidMessage => "INVALID_MESSAGE",
            Self::UnknownType => "UNKNOWN_TYPE",
            Self::UnsupportedData => "UNSUPPORTED_DATA",
            Self::Unauthenticated => "UNAUTHENTICATED",
            Self::TokenExpired => "TOKEN_EXPIRED",
            Self::Forbidden => "FORBIDDEN",
            Self::RoomNotFound => "ROOM_NOT_FOUND",
            Self::RoomFull => "ROOM_FULL",
            Self::RoomClosed => "ROOM_CLOSED",
            Self::NotInRoom => "NOT_IN_ROOM",
            Self::PeerNotFound => "PEER_NOT_FOUND",
            Self::PeerIdTaken => "PEER_ID_TAKEN",
            Self::PeerMismatch => "PEER_MISMATCH",
            Self::UserNotFound => "USER_NOT_FOUND",
            Self::ConnectionNotFound => "CONNECTION_NOT_FOUND",
            Self::MessageNotFound => "MESSAGE_NOT_FOUND",
            Self::MessageTooLarge => "MESSAGE_TOO_LARGE",
            Self::RateLimited => "RATE_LIMITED",
            Self::RecoveryFailed => "RECOVERY_FAILED",
            Self::StorageUnavailable => "STORAGE_UNAVAILABLE",
            Self::Overloaded => "OVERLOADED",
            Self::Internal => "INTERNAL",
        }
    }
}

/// Why a request was not granted, in words for a person and a code for a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reject {
    /// For a program.
    pub code: Code,
    /// For a person: what was wrong.
    pub text: Cow<'static, str>,
    /// When it is worth trying again, in seconds, where that is known.
    pub retry_after_s: Option<u64>,
}

impl Reject {
    /// A refusal with these words.
    pub fn new(code: Code, text: impl Into<Cow<'static, str>>) -> Self {
        Self { code, text: text.into(), retry_after_s: None }
    }

    /// The room is not there.
    pub fn room_not_found() -> Self {
        Self::new(Code::RoomNotFound, "Room not found")
    }

    /// The asker is no member of the room.
    pub fn not_in_room() -> Self {
        Self::new(Code::NotInRoom, "You are not in this room")
    }

    /// The room's name is taken.
    pub fn room_id_in_use() -> Self {
        Self::new(Code::Internal, "That room id is in use")
    }

    /// The room is for others.
    pub fn private() -> Self {
        Self::new(Code::Forbidden, "This room is private and you are not one of its participants")
    }

    /// The room has as many members as it takes.
    pub fn room_full() -> Self {
        Self::new(Code::RoomFull, "The room is full")
    }

    /// The room names as many participants as it may.
    pub fn participants_full() -> Self {
        Self::new(Code::RoomFull, "The room has as many participants as it takes")
    }

    /// The asker may not close the room.
    pub fn close_forbidden() -> Self {
        Self::new(Code::Forbidden, "Only the room's host or an admin may close it")
    }

    /// No member of the room goes by that peer id.
    pub fn peer_not_found() -> Self {
        Self::new(Code::PeerNotFound, "No peer of that id is in this room")
    }

    /// Another user is called so in the room.
    pub fn peer_id_taken() -> Self {
        Self::new(Code::PeerIdTaken, "Another user goes by that peerId in this room")
    }

    /// The peer id in `field` is another's.
    pub fn peer_mismatch(field: &str) -> Self {
        Self::new(Code::PeerMismatch, format!("{field} is not your own peer id in this room"))
    }

    /// A field that is absent or of the wrong shape.
    pub fn invalid(text: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Code::InvalidMessage, text)
    }

    /// Whether the same may be granted in a moment, without anything else being done.
    pub fn is_passing(&self) -> bool {
        matches!(self.code, Code::StorageUnavailable | Code::Overloaded)
    }

    /// What was asked for cannot be kept, or what is kept cannot be read.
    pub fn storage_unavailable() -> Self {
        Self::new(Code::StorageUnavailable, "The store is unavailable: nothing was kept or sent, try again later")
    }

    /// The room was closed a moment ago.
    pub fn room_closed() -> Self {
        Self::new(Code::RoomClosed, "The room was closed")
    }

    /// There is no such message, or not in the room that was named.
    pub fn message_not_found() -> Self {
        Self::new(Code::MessageNotFound, "No such message in this room")
    }

    /// The server has more work than it takes on.
    pub fn overloaded() -> Self {
        Self::new(Code::Overloaded, "The server is overloaded, try again later")
    }
}

impl fmt::Display for Reject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code.as_str(), self.text)
    }
}
