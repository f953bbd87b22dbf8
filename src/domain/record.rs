//! Records: the changes of rooms, messages, sessions and users that a restart must not lose.
//!
//! Records are stored in the order of the changes. After a restart storage returns them as rooms, messages, sessions and
//! users. Signaling, typing and present connections leave no record. Content, attachments and metadata are JSON text that
//! the server does not read.

use std::sync::Arc;

use uuid::Uuid;

use crate::base::Name;
use crate::base::ids::ConnectionId;
use crate::domain::about::About;
use crate::domain::access::Identity;
use crate::domain::command::{MediaState, ReceiptKind, Status};
use crate::domain::event::{Direct, Message};
use crate::domain::hook::HookEvent;
use crate::domain::op::{Profile, ProfileChange, PushResult};
use crate::domain::revocation::{Revocation, Revoked};

/// One change to store.
#[derive(Clone, Debug)]
pub enum Record {
    /// A room was created.
    RoomMade(Box<MadeRoom>),
    /// A room and its messages are deleted. An unknown room is ignored.
    RoomClosed {
        /// The room.
        room: Name,
    },
    /// A room is locked for users that are not in it, or unlocked.
    RoomLocked {
        /// The room.
        room: Name,
        /// Whether it is locked.
        is_locked: bool,
    },
    /// A user becomes a participant of a room with a profile. A room without one has no participants: all users may join.
    ParticipantAdded {
        /// The room.
        room: Name,
        /// The user.
        user: Name,
    },
    /// The opposite of [`Record::ParticipantAdded`].
    ParticipantRemoved {
        /// The room.
        room: Name,
        /// The user.
        user: Name,
    },
    /// The settings of a room with a profile have changed.
    RoomChanged {
        /// The room.
        room: Name,
        /// The new values.
        change: Box<ProfileChange>,
    },
    /// A message was appended to a room's log. A sender that storage does not know, unless a guest, is stored as seen.
    MessageSent(SentMessage),
    /// A user has received or read a message of a room. Only the first time of each counts.
    MessageMarked {
        /// The message.
        message: Uuid,
        /// The user.
        user: Name,
        /// Received or read.
        mark: ReceiptKind,
        /// In milliseconds since 1970.
        at: u64,
    },
    /// A direct message is stored until its user has acknowledged it.
    DirectKept {
        /// The user it is for.
        user: Name,
        /// The message.
        direct: Arc<Direct>,
    },
    /// A direct message was acknowledged.
    DirectDelivered {
        /// The user it was for.
        user: Name,
        /// The message's id.
        id: Uuid,
    },
    /// The reach of a backend's message with an idempotency key.
    PushKept(Box<KeptPush>),
    /// The session of a connection is stored or updated.
    SessionKept(Box<Session>),
    /// A session is deleted: its recovery token was used or has become useless. The receipt carries the session if storage
    /// had it, so of two uses of a token only one gets it.
    SessionTaken {
        /// The token.
        token: TokenHash,
        /// The user who takes it: a session that [`Identity::may_recover`] excludes stays, and is not in the receipt.
        by: Option<Identity>,
    },
    /// A connection claims a session, which stays in storage until it is stored for that connection: after a crash in
    /// between it can be claimed again. The receipt carries the session, as for [`Record::SessionTaken`].
    SessionClaimed {
        /// The hash of its recovery token.
        token: TokenHash,
    },
    /// A user's presence is stored.
    UserSeen(Box<Seen>),
    /// A backend has set the presence of an absent user; the rest of what is stored of the user stays.
    AbsenceSet {
        /// The user.
        user: Name,
        /// The status.
        status: Status,
        /// The last activity in milliseconds since 1970; the one stored before, or else now, when absent.
        last_seen: Option<u64>,
    },
    /// A revocation is stored, in place of another one of its subject.
    RevocationKept(Arc<Revocation>),
    /// The revocation of a subject is deleted.
    RevocationRemoved(Box<Revoked>),
    /// An event for the application, to be delivered to its endpoints.
    Hook(Box<HookEvent>),
    /// The dead letters of an endpoint are to be delivered again.
    DeadLettersReplayed {
        /// The endpoint.
        endpoint: Name,
    },
}

/// A backend's message with an idempotency key, for repeated calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptPush {
    /// The backend.
    pub sender: Name,
    /// The key.
    pub key: Box<str>,
    /// When it was sent, in milliseconds since 1970.
    pub at: u64,
    /// Its reach.
    pub result: PushResult,
}

/// A room at its creation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MadeRoom {
    /// Its id.
    pub room: Name,
    /// The run of its log.
    pub epoch: Name,
    /// Its host. The e-mail address is not stored.
    pub host: Identity,
    /// The user whom it counts for: its creator, or the sender of its first message. A room can have no host.
    pub maker: Name,
    /// The time of its creation, in milliseconds since 1970.
    pub created_at: u64,
    /// Whether its messages are stored.
    pub history: bool,
    /// Their retention.
    pub retention: Retention,
    /// Its profile; `None` for a room that was created by joining.
    pub profile: Option<Box<Profile>>,
    /// Whether it is locked for users that are not in it.
    pub is_locked: bool,
}

/// The retention of messages. `None`: according to the settings; 0: without a limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// The maximum number of messages.
    pub messages: Option<u64>,
    /// The maximum age of a message in milliseconds.
    pub age_ms: Option<u64>,
}

impl Retention {
    /// With those values of `change` that are present.
    #[must_use]
    pub fn changed(self, change: Self) -> Self {
        Self { messages: change.messages.or(self.messages), age_ms: change.age_ms.or(self.age_ms) }
    }
}

/// A message with a sequence number. A message to a single peer has none and is not stored.
#[derive(Clone, Debug)]
pub struct SentMessage {
    /// The message; its `seq` is one more than that of the message before.
    pub message: Arc<Message>,
    /// The run of the room's log that its sequence number counts in.
    pub epoch: Name,
    /// The sender's id of the message, for the detection of repeats.
    pub client_message_id: Option<Box<str>>,
}

/// The SHA-256 hash of a recovery token. The token itself is not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TokenHash(pub [u8; 32]);

/// A recoverable session: the state of a connection that its successor takes over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// The hash of its recovery token.
    pub token: TokenHash,
    /// Its user.
    pub user: Name,
    /// Its connection.
    pub connection: ConnectionId,
    /// The time the connection was opened, in milliseconds since 1970.
    pub connected_at: u64,
    /// The connection's last activity in milliseconds since 1970.
    pub active_at: u64,
    /// The expiry in milliseconds since 1970; `None` while the connection is open. After a crash of the server a session
    /// without an expiry gets one: a recovery window after the restart.
    pub expires_at: Option<u64>,
    /// The client's dialect, as a number of the shard that stored it; 0 if there is no choice.
    pub dialect: u8,
    /// Its rooms.
    pub rooms: Vec<Position>,
}

impl Session {
    /// The session for another connection. Its members keep their peer ids, so that each is found by it even if several
    /// connections claim the session one after the other.
    #[must_use]
    pub fn passed_to(&self, connection: ConnectionId, expires_at: Option<u64>) -> Self {
        let mut passed = Self { connection, expires_at, ..self.clone() };
        for position in &mut passed.rooms {
            position.peer.get_or_insert_with(|| self.connection.text().as_str().into());
        }
        passed
    }
}

/// A position in a room's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// The room.
    pub room: Name,
    /// The run of the room's log that `seq` counts in.
    pub epoch: Name,
    /// The sequence number of the last message that was sent to the connection.
    pub seq: u64,
    /// For clients that report a count of received messages: the sequence number before the first counted one.
    pub since: Option<u64>,
    /// The peer id that its client chose; the connection's id if absent.
    pub peer: Option<Name>,
    /// The display name, if it differs from the username.
    pub about: About,
    /// The media it sent.
    pub media: MediaState,
}

/// The last presence of a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The user.
    pub identity: Identity,
    /// The status that the user had set.
    pub status: Status,
    /// The last activity in milliseconds since 1970.
    pub at: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_small_enough_to_be_queued_by_the_hundred_thousand() {
        assert!(size_of::<Record>() <= 64, "{}", size_of::<Record>());
    }
}
