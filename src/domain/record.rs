//! What an act leaves behind: everything about rooms, messages and users that a restart must not lose.
//!
//! A record says what happened, in the order in which it happened; a store keeps it, and gives it back after a restart as
//! rooms, messages, sessions and users. Signaling, typing and who is connected right now leave nothing behind. Content,
//! attachments and metadata are JSON text that nobody here reads.

use std::sync::Arc;

use uuid::Uuid;

use crate::base::Name;
use crate::base::ids::ConnectionId;
use crate::domain::access::Identity;
use crate::domain::command::{MediaState, ReceiptKind, Status};
use crate::domain::event::{Direct, Message};
use crate::domain::op::Profile;

/// One thing that happened and is to be kept.
#[derive(Clone, Debug)]
pub enum Record {
    /// A room came to be.
    RoomMade(Box<MadeRoom>),
    /// A room is no more, and its messages with it. Of a room that is not there it says nothing.
    RoomClosed {
        /// The room.
        room: Name,
    },
    /// A user may join a room from now on, private or not. A room without a profile has no participants: anyone may join.
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
    /// A room has one message more. Its sender, unless a guest, was seen then if they never were before.
    MessageSent(SentMessage),
    /// A message of a room arrived at a user, or was read by them. Only the first time of each counts.
    MessageMarked {
        /// The message.
        message: Uuid,
        /// Who received or read it.
        user: Name,
        /// Which of the two.
        mark: ReceiptKind,
        /// When, in milliseconds since 1970.
        at: u64,
    },
    /// A message to a user who is not connected waits for them.
    DirectKept {
        /// The user it is for.
        user: Name,
        /// The message.
        direct: Arc<Direct>,
    },
    /// A message that waited for a user has reached them.
    DirectDelivered {
        /// The user it was for.
        user: Name,
        /// The message's id.
        id: Uuid,
    },
    /// A connection may be recovered with a token; or the same, with other rooms, positions or times than before.
    SessionKept(Box<Session>),
    /// A recovery token is used up or of no use any more. The receipt for this record carries the session if it was still
    /// there, so of two who use the same token only one gets it.
    SessionTaken {
        /// The token.
        token: TokenHash,
    },
    /// Somebody claims a session, which stays until it is kept as theirs: a server that dies in between leaves it to whoever
    /// comes back next. The receipt carries it, as that for [`Record::SessionTaken`] does.
    SessionClaimed {
        /// What opens it.
        token: TokenHash,
    },
    /// A user was seen, or set their status.
    UserSeen(Box<Seen>),
}

/// A room as it was made. A room that came to be by joining has no profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MadeRoom {
    /// Its id.
    pub room: Name,
    /// Which run of its log `seq` counts in.
    pub epoch: Name,
    /// Whose it is. The store keeps no e-mail address of theirs.
    pub host: Identity,
    /// When it was made, in milliseconds since 1970.
    pub created_at: u64,
    /// Whether its messages are kept.
    pub history: bool,
    /// How many of them, and how long.
    pub retention: Retention,
    /// What it was made to be; `None` when it came to be by joining.
    pub profile: Option<Box<Profile>>,
}

/// How many messages are kept, and how long. `None`: as the server's settings say; 0: without a bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// The newest so many.
    pub messages: Option<u64>,
    /// Those not older than so many milliseconds.
    pub age_ms: Option<u64>,
}

/// A message with its place in its room's log. Messages without one, to a single peer, are not kept.
#[derive(Clone, Debug)]
pub struct SentMessage {
    /// The message; its `seq` is one more than that of the message before.
    pub message: Arc<Message>,
    /// Which run of the room's log `seq` counts in.
    pub epoch: Name,
    /// What its sender called it, so that a repeat is known for one.
    pub client_message_id: Option<Box<str>>,
}

/// The SHA-256 hash of a recovery token. The token itself is kept nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TokenHash(pub [u8; 32]);

/// What it takes to put a client that comes back where it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// What opens it.
    pub token: TokenHash,
    /// Whom it belongs to.
    pub user: Name,
    /// The connection that was lost.
    pub connection: ConnectionId,
    /// When that connection came, in milliseconds since 1970.
    pub connected_at: u64,
    /// When it last did something, in milliseconds since 1970.
    pub active_at: u64,
    /// When the session ends, in milliseconds since 1970; `None` while its connection lives. After a crash of the server
    /// those without an end are given one: a recovery window after the restart.
    pub expires_at: Option<u64>,
    /// What its client speaks, by a number that means something to whoever noted it; 0 where there is no choice.
    pub dialect: u8,
    /// The rooms it was in.
    pub rooms: Vec<Position>,
}

impl Session {
    /// The session as another connection has it. Its members keep the names that they go by, so that each is found by it,
    /// however many connections are on their way to take its place.
    #[must_use]
    pub fn passed_to(&self, connection: ConnectionId, expires_at: Option<u64>) -> Self {
        let mut passed = Self { connection, expires_at, ..self.clone() };
        for position in &mut passed.rooms {
            position.peer.get_or_insert_with(|| self.connection.text().as_str().into());
        }
        passed
    }
}

/// A place in a room and in what was said there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// The room.
    pub room: Name,
    /// Which run of the room's log `seq` counts in.
    pub epoch: Name,
    /// The last message that was sent to the connection.
    pub seq: u64,
    /// The last message before those that its client says by itself how many of them it has; absent where it says
    /// nothing of the kind.
    pub since: Option<u64>,
    /// The name its client chose to go by; the connection's id when absent.
    pub peer: Option<Name>,
    /// The name to show, when it is another than the username.
    pub display_name: Option<Box<str>>,
    /// Which media it sent.
    pub media: MediaState,
}

/// How a user was, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Who.
    pub identity: Identity,
    /// How they said they were.
    pub status: Status,
    /// When they were last active, in milliseconds since 1970.
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
