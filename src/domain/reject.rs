//! Refusals: the answer to a request that is not granted. A refusal is no failure of the server.

use std::borrow::Cow;
use std::fmt;

use crate::base::limits;

/// The code of a refusal, the same in every dialect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Code {
    /// Not JSON.
    BadJson,
    /// JSON of the wrong shape for the request.
    InvalidMessage,
    /// A request of no known kind.
    UnknownType,
    /// Binary data instead of text.
    UnsupportedData,
    /// No valid token.
    Unauthenticated,
    /// The token has expired.
    TokenExpired,
    /// The user may not do this.
    Forbidden,
    /// No such path.
    NotFound,
    /// No such room.
    RoomNotFound,
    /// There is a room of that id.
    RoomExists,
    /// The room has as many peers as it takes.
    RoomFull,
    /// The room was closed.
    RoomClosed,
    /// Only members may do this.
    NotInRoom,
    /// No such peer in the room.
    PeerNotFound,
    /// Another user has that peer id.
    PeerIdTaken,
    /// The peer id is not the sender's own.
    PeerMismatch,
    /// The member only observes the room.
    Observer,
    /// No such user.
    UserNotFound,
    /// No such connection.
    ConnectionNotFound,
    /// No such message.
    MessageNotFound,
    /// A stream is not in the state that the request is for.
    StreamConflict,
    /// Larger than the limit.
    MessageTooLarge,
    /// More often than the limit.
    RateLimited,
    /// The media server does not take the offer.
    MediaRefused,
    /// The media connection, or the connection mode that it was for, has ended.
    MediaStale,
    /// The media server cannot take another caller.
    MediaUnavailable,
    /// No session can be recovered with that token.
    RecoveryFailed,
    /// The store is unavailable.
    StorageUnavailable,
    /// The server is overloaded.
    Overloaded,
    /// The server's own fault.
    Internal,
}

impl Code {
    /// All codes, in the order of their numbers.
    pub const ALL: [Self; 30] = [
        Self::BadJson,
        Self::InvalidMessage,
        Self::UnknownType,
        Self::UnsupportedData,
        Self::Unauthenticated,
        Self::TokenExpired,
        Self::Forbidden,
        Self::NotFound,
        Self::RoomNotFound,
        Self::RoomExists,
        Self::RoomFull,
        Self::RoomClosed,
        Self::NotInRoom,
        Self::PeerNotFound,
        Self::PeerIdTaken,
        Self::PeerMismatch,
        Self::Observer,
        Self::UserNotFound,
        Self::ConnectionNotFound,
        Self::MessageNotFound,
        Self::StreamConflict,
        Self::MessageTooLarge,
        Self::RateLimited,
        Self::MediaRefused,
        Self::MediaStale,
        Self::MediaUnavailable,
        Self::RecoveryFailed,
        Self::StorageUnavailable,
        Self::Overloaded,
        Self::Internal,
    ];

    /// The code as text.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BadJson => "BAD_JSON",
            Self::InvalidMessage => "INVALID_MESSAGE",
            Self::UnknownType => "UNKNOWN_TYPE",
            Self::UnsupportedData => "UNSUPPORTED_DATA",
            Self::Unauthenticated => "UNAUTHENTICATED",
            Self::TokenExpired => "TOKEN_EXPIRED",
            Self::Forbidden => "FORBIDDEN",
            Self::NotFound => "NOT_FOUND",
            Self::RoomNotFound => "ROOM_NOT_FOUND",
            Self::RoomExists => "ROOM_EXISTS",
            Self::RoomFull => "ROOM_FULL",
            Self::RoomClosed => "ROOM_CLOSED",
            Self::NotInRoom => "NOT_IN_ROOM",
            Self::PeerNotFound => "PEER_NOT_FOUND",
            Self::PeerIdTaken => "PEER_ID_TAKEN",
            Self::PeerMismatch => "PEER_MISMATCH",
            Self::Observer => "OBSERVER",
            Self::UserNotFound => "USER_NOT_FOUND",
            Self::ConnectionNotFound => "CONNECTION_NOT_FOUND",
            Self::MessageNotFound => "MESSAGE_NOT_FOUND",
            Self::StreamConflict => "STREAM_CONFLICT",
            Self::MessageTooLarge => "MESSAGE_TOO_LARGE",
            Self::RateLimited => "RATE_LIMITED",
            Self::MediaRefused => "MEDIA_REFUSED",
            Self::MediaStale => "MEDIA_STALE",
            Self::MediaUnavailable => "MEDIA_UNAVAILABLE",
            Self::RecoveryFailed => "RECOVERY_FAILED",
            Self::StorageUnavailable => "STORAGE_UNAVAILABLE",
            Self::Overloaded => "OVERLOADED",
            Self::Internal => "INTERNAL",
        }
    }
}

/// The reason that a request was not granted: a text for people and a code for programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reject {
    /// For programs.
    pub code: Code,
    /// For people.
    pub text: Cow<'static, str>,
    /// When to try again, in seconds, if known.
    pub retry_after_s: Option<u64>,
}

impl Reject {
    /// A refusal with this text.
    pub fn new(code: Code, text: impl Into<Cow<'static, str>>) -> Self {
        Self { code, text: text.into(), retry_after_s: None }
    }

    /// The room does not exist.
    pub fn room_not_found() -> Self {
        Self::new(Code::RoomNotFound, "Room not found")
    }

    /// The client is no member of the room.
    pub fn not_in_room() -> Self {
        Self::new(Code::NotInRoom, "You are not in this room")
    }

    /// An observer may not send.
    pub fn observer() -> Self {
        Self::new(Code::Observer, "You only observe this room; join it without observe to send")
    }

    /// The room exists already.
    pub fn room_id_in_use() -> Self {
        Self::new(Code::RoomExists, "There is a room of that id already")
    }

    /// The room is private.
    pub fn private() -> Self {
        Self::new(Code::Forbidden, "This room is private and you are not one of its participants")
    }

    /// The room has as many members as it takes.
    pub fn room_full() -> Self {
        Self::new(Code::RoomFull, "The room is full")
    }

    /// Only its host and admins may change the room.
    pub fn update_forbidden() -> Self {
        Self::new(Code::Forbidden, "Only the room's host or an admin may change it")
    }

    /// The room began with a join.
    pub fn no_profile() -> Self {
        Self::invalid("A room that was created by joining has no name or description")
    }

    /// The room has as many participants as it may.
    pub fn participants_full() -> Self {
        Self::new(Code::RoomFull, "The room has as many participants as it takes")
    }

    /// The user may not close the room.
    pub fn close_forbidden() -> Self {
        Self::new(Code::Forbidden, "Only the room's host or an admin may close it")
    }

    /// The user may not change the message.
    pub fn change_forbidden() -> Self {
        Self::new(Code::Forbidden, "Only its sender, the room's host and admins may change a message")
    }

    /// No stream of that message is open.
    pub fn stream_ended() -> Self {
        Self::new(Code::StreamConflict, "No stream of this message is open: it has ended, or there was none")
    }

    /// The stream is open, so that its text cannot be edited.
    pub fn stream_open() -> Self {
        Self::new(Code::StreamConflict, "The message is a stream that is open; end it before it is edited")
    }

    /// The publisher of a stream has another text of it.
    pub fn stream_offset(units: u64) -> Self {
        Self::new(Code::StreamConflict, format!("offset must be {units}, the length of the text in UTF-16 code units"))
    }

    /// The text of a stream would be too long.
    pub fn stream_too_long(bytes: u32) -> Self {
        Self::new(Code::MessageTooLarge, format!("The text of the stream would be larger than {bytes} bytes"))
    }

    /// The room has as many open streams as it takes.
    pub fn streams_full() -> Self {
        Self::new(Code::RateLimited, format!("A room has at most {} open streams", limits::STREAMS_PER_ROOM))
    }

    /// The user is not the publisher of a stream.
    pub fn stream_forbidden() -> Self {
        Self::new(Code::Forbidden, "Only its publisher may append to a stream; other members may cancel it")
    }

    /// The user is neither the room's host nor an admin.
    pub fn host_only() -> Self {
        Self::new(Code::Forbidden, "Only the room's host or an admin may do this")
    }

    /// The room takes no more users.
    pub fn room_locked() -> Self {
        Self::new(Code::Forbidden, "The room is locked")
    }

    /// A page of this origin may not use the server.
    pub fn origin_refused() -> Self {
        Self::new(Code::Forbidden, "This origin may not use the server")
    }

    /// No member of the room has that peer id.
    pub fn peer_not_found() -> Self {
        Self::new(Code::PeerNotFound, "No peer of that id is in this room")
    }

    /// Another user has that peer id in the room.
    pub fn peer_id_taken() -> Self {
        Self::new(Code::PeerIdTaken, "Another user goes by that peerId in this room")
    }

    /// The peer id in `field` is another client's.
    pub fn peer_mismatch(field: &str) -> Self {
        Self::new(Code::PeerMismatch, format!("{field} is not your own peer id in this room"))
    }

    /// A field that is absent or of the wrong shape.
    pub fn invalid(text: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Code::InvalidMessage, text)
    }

    /// Whether the same request may be granted a moment later.
    pub fn is_passing(&self) -> bool {
        matches!(self.code, Code::StorageUnavailable | Code::Overloaded)
    }

    /// The store is unavailable: it can neither keep nor read records.
    pub fn storage_unavailable() -> Self {
        Self::new(Code::StorageUnavailable, "The store is unavailable: nothing was kept or sent, try again later")
    }

    /// The room was closed a moment ago.
    pub fn room_closed() -> Self {
        Self::new(Code::RoomClosed, "The room was closed")
    }

    /// The message does not exist, or is in another room.
    pub fn message_not_found() -> Self {
        Self::new(Code::MessageNotFound, "No such message in this room")
    }

    /// The server is overloaded.
    pub fn overloaded() -> Self {
        Self::new(Code::Overloaded, "The server is overloaded, try again later")
    }
}

impl fmt::Display for Reject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code.as_str(), self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::Code;

    #[test]
    fn list_of_codes_has_each_at_its_number() {
        assert_eq!(Code::ALL.len(), Code::Internal as usize + 1, "Internal is the last one");
        assert!(Code::ALL.iter().enumerate().all(|(number, code)| *code as usize == number));
    }
}
