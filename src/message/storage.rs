//! Messages between shards and the storage threads. A shard sends batches of records and receives one receipt for each;
//! it sends queries and receives replies. The other side is the embedded storage ([`crate::runtime::storage`]), or its
//! model in the simulator.
//!
//! # Guarantees
//!
//! 1. **One receipt per batch**, `Ok` or unavailable; a sender receives its receipts in the order of its batches. With
//!    durability `none` a batch that takes a session ([`Record::SessionTaken`], [`Record::SessionClaimed`]) is an
//!    exception: its receipt waits for the database, and later receipts may arrive first.
//! 2. **Atomic**: a batch is committed as a whole or not at all.
//! 3. **Durable**: after an `Ok` the batch survives the failures that the durability names. `process`: the end of this
//!    process at any moment. `power`: also a power failure. `none`: neither.
//! 4. **No holes**: only the newest batches of a sender can be lost. If a batch exists after a restart, so do all
//!    batches of its sender that got an `Ok` before it.
//! 5. **A refusal ends a run.** After a refused batch, all later batches of its sender's run are refused too, because
//!    they were made on the assumption that the first one is committed. The sender rolls back their changes and
//!    continues in the next run: after its first refusal in run `n` it sends with run `n + 1`. So the sequence numbers
//!    of a room have no gap.
//! 6. **A refused batch does not exist** for any later query. It may exist after a restart only if the process ends
//!    before the next batch is committed; until then no other data was sent in its place.
//! 7. **Read your writes**: a reply reflects all batches that were acknowledged to its requester before the query.
//! 8. **In bounded time**, as far as the operating system allows. A thread that hangs in a write cannot know whether
//!    the write will succeed, so it sends its receipts late rather than wrong. Senders observe [`StorageState`] and the
//!    age of their pending commits, and refuse new work themselves.
//!
//! Batches without a receipt at the end of the process may exist afterwards or not, subject to 2 and 4.
//!
//! # Model for the simulator
//!
//! A list of written batches and a mark of the synced ones. A process crash drops the batches that are not written; a
//! power failure drops the batches after the mark. With `process` a receipt may be sent once the batch is written, with
//! `power` once it is synced. Delays, failures and crashes may occur between any two steps. A failure ends the run of
//! each sender with a batch in the failed group.

use std::sync::Arc;

use smallvec::SmallVec;
use uuid::Uuid;

use crate::base::Name;
use crate::domain::command::Status;
use crate::domain::event::{Direct, Message};
use crate::domain::hook::DeadLetter;
use crate::domain::op::PushResult;
use crate::domain::record::{MadeRoom, Record, Session, TokenHash};
use crate::domain::revocation::Revocation;
use crate::domain::streams::OpenStream;
use crate::message::{Requester, ShardNumber};

/// Maximum number of messages in one reply.
pub const PAGE_MESSAGES: usize = 500;

/// Identifies a batch, and the batch of a receipt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// The sending shard. Only it sends records of the rooms and users it owns.
    pub sender: ShardNumber,
    /// Number of its runs that have ended with a refusal; see guarantee 5.
    pub run: u32,
    /// The batch's number, chosen by the sender.
    pub number: u64,
}

/// Records that are committed together, in this order.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Identifies its receipt.
    pub ticket: Ticket,
    /// The records.
    pub records: SmallVec<[Record; 1]>,
}

/// The outcome of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitReceipt {
    /// The ticket of the batch.
    pub ticket: Ticket,
    /// Whether it is committed.
    pub outcome: Result<CommitOutcome, Unavailable>,
}

/// The result of a committed batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommitOutcome {
    /// For each [`Record::SessionTaken`] and [`Record::SessionClaimed`] of the batch: the session, if it exists and has
    /// not ended.
    pub taken: Vec<Option<Box<Session>>>,
}

/// The storage cannot commit or read at present.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unavailable;

/// State of the storage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StorageState {
    /// Batches are committed in time.
    #[default]
    Good,
    /// The disk is full.
    Full,
    /// Batches are committed, but late.
    Late,
    /// The files cannot be written or read.
    Failing,
    /// The file is damaged.
    Corrupt,
    /// A file is not in its place, or another one is: what is written would be lost.
    Displaced,
}

/// An event from the storage, in order.
#[derive(Debug)]
pub enum StorageEvent {
    /// The outcome of a batch, for its sender.
    Receipt(CommitReceipt),
    /// The reply to a query, for its requester.
    Reply {
        /// The requester.
        to: Requester,
        /// The reply.
        answer: Result<StorageReply, Unavailable>,
    },
    /// All messages of a room that was created by joining have expired; for its owner, repeated while the room exists.
    RoomExpired(Name),
    /// The state has changed; for all shards.
    State(StorageState),
}

/// A command to the storage, in order.
#[derive(Debug)]
pub enum StorageCommand {
    /// Commit this batch.
    Commit(Batch),
    /// Answer this query.
    Query {
        /// The requester.
        from: Requester,
        /// The query.
        query: StorageQuery,
    },
}

/// A query of the stored data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StorageQuery {
    /// Messages of a room.
    Page {
        /// The room.
        room: Name,
        /// The part of the room's history.
        span: MessageSpan,
        /// Maximum number; at most [`PAGE_MESSAGES`].
        limit: usize,
    },
    /// One message of a room, with its receipts.
    Message {
        /// The message id.
        id: Uuid,
    },
    /// A room.
    Room {
        /// The room id.
        room: Name,
    },
    /// A user.
    User {
        /// The user's id.
        user: Name,
    },
    /// The number of users with stored presence.
    UserCount {
        /// Whether all of them are to be counted.
        is_all: bool,
        /// The users of whom those are counted apart that are stored.
        named: Box<[Name]>,
    },
    /// Direct messages that wait for a user, oldest first.
    Directs {
        /// The user's id.
        user: Name,
        /// Maximum number; at most [`PAGE_MESSAGES`].
        limit: usize,
    },
    /// The number of messages of a room that a user has not read.
    Unread {
        /// The room.
        room: Name,
        /// The user.
        user: Name,
    },
    /// The number of rooms that a user has made.
    MadeRooms {
        /// The user's id.
        user: Name,
    },
    /// The bytes of the direct messages that wait for a user.
    DirectBytes {
        /// The user's id.
        user: Name,
    },
    /// The reach of a backend's message with this idempotency key.
    Push {
        /// The backend.
        sender: Name,
        /// The key.
        key: Box<str>,
    },
    /// Events for the application that were given up, oldest first.
    DeadLetters {
        /// Maximum number.
        limit: usize,
    },
    /// A session, without taking it; that needs a [`Record::SessionTaken`].
    Session {
        /// The token's hash.
        token: TokenHash,
    },
}

/// A part of a room's history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageSpan {
    /// The newest.
    Newest,
    /// The first ones after this sequence number.
    After(u64),
    /// The last ones before this sequence number.
    Before(u64),
    /// Both ends included; used by recovery.
    Between(u64, u64),
}

/// The reply to the [`StorageQuery`] of the same name. `None`: the subject does not exist.
#[derive(Clone, Debug)]
pub enum StorageReply {
    /// Messages of a room.
    Page(Option<MessagePage>),
    /// A message.
    Message(Option<Box<MessageView>>),
    /// A room.
    Room(Option<Box<StoredRoom>>),
    /// A user.
    User(Option<Box<StoredUser>>),
    /// The number of users with stored presence.
    UserCount {
        /// All of them; 0 if that was not asked.
        all: u64,
        /// Those that were named.
        named: u64,
    },
    /// Direct messages that wait for a user.
    Directs {
        /// The messages.
        directs: Vec<Direct>,
        /// Whether the list is complete.
        complete: bool,
    },
    /// The number of messages that a user has not read.
    Unread {
        /// Their number.
        count: u64,
        /// The number of the last message that the user has read, if it was found.
        read: Option<u64>,
        /// Whether all messages were looked at that may be unread.
        complete: bool,
    },
    /// The number of rooms that a user has made.
    MadeRooms(u64),
    /// The bytes of the direct messages that wait for a user.
    DirectBytes(u64),
    /// The reach, if there was such a message in the last 24 hours.
    Push(Option<PushResult>),
    /// Events that were given up.
    DeadLetters(Vec<DeadLetter>),
    /// A session.
    Session(Option<Box<Session>>),
}

/// A part of a room's history, oldest first and without gaps.
#[derive(Clone, Debug)]
pub struct MessagePage {
    /// The epoch of the sequence numbers.
    pub epoch: Name,
    /// The oldest stored message; `last` + 1 if none is stored.
    pub first: u64,
    /// The newest message that was ever sent; 0 before the first.
    pub last: u64,
    /// The messages.
    pub messages: Vec<Message>,
    /// Whether all stored messages of the requested part are present, none cut off by the limit or the size of the
    /// reply.
    pub complete: bool,
}

impl MessagePage {
    /// Whether all messages from sequence number `from` to `to` are present.
    pub fn covers(&self, from: u64, to: u64) -> bool {
        let seq = |message: Option<&Message>| message.and_then(|message| message.seq);
        from > to
            || seq(self.messages.first()).is_some_and(|first| first <= from)
                && seq(self.messages.last()).is_some_and(|last| last >= to)
    }
}

/// A message with its receipts.
#[derive(Clone, Debug)]
pub struct MessageView {
    /// The message.
    pub message: Message,
    /// Recipients and delivery times (milliseconds since 1970), ordered by user id.
    pub delivered: Vec<(Name, u64)>,
    /// Readers and times.
    pub read: Vec<(Name, u64)>,
    /// Whether the lists are complete.
    pub complete: bool,
}

/// A stored room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredRoom {
    /// The room as it was created, with its present participants.
    pub made: MadeRoom,
    /// The oldest stored message; `last` + 1 if none is stored.
    pub first: u64,
    /// Sequence number of the newest message; 0 before the first.
    pub last: u64,
    /// Time of that message, in milliseconds since 1970; the room's creation if none is stored.
    pub last_at: u64,
    /// The open streams.
    pub streams: Vec<OpenStream>,
}

/// A stored user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredUser {
    /// The user's id.
    pub user: Name,
    /// The display name, if it differs from the id.
    pub username: Option<Box<str>>,
    /// The e-mail address.
    pub email: Option<Box<str>>,
    /// The last status they set.
    pub status: Status,
    /// Time of their last activity, in milliseconds since 1970.
    pub seen_at: u64,
}

/// One item of the data restored at start; rooms come first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Restored {
    /// A room.
    Room(Box<StoredRoom>),
    /// A user with stored presence.
    User(Box<StoredUser>),
    /// A user with waiting direct messages, and their bytes.
    DirectRecipient(Name, u64),
    /// A recent message, for the idempotency records.
    RecentMessage(Box<RecentMessage>),
    /// A revocation, for every shard.
    Revocation(Arc<Revocation>),
}

impl Restored {
    /// The room or user that owns the item; `None`: every shard gets it.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Room(stored) => Some(&stored.made.room),
            Self::User(stored) => Some(&stored.user),
            Self::DirectRecipient(user, _) => Some(user),
            Self::RecentMessage(message) => Some(&message.room),
            Self::Revocation(_) => None,
        }
    }
}

/// A recent message that its sender may repeat. Restores an idempotency record, so that a repeat is not sent again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecentMessage {
    /// The room.
    pub room: Name,
    /// The run of its log.
    pub epoch: Name,
    /// The sender.
    pub user: Name,
    /// The id that the sender gave it.
    pub client_message_id: Box<str>,
    /// The message.
    pub id: Uuid,
    /// Its sequence number.
    pub seq: u64,
    /// Time of sending, in milliseconds since 1970.
    pub at: u64,
}

impl StorageState {
    /// The state as a sentence for operators.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Good => "the store keeps what it is given",
            Self::Full => "the store has no space left: make room on its disk",
            Self::Late => "the store takes seconds to write: see what keeps its disk busy",
            Self::Failing => "the store's files cannot be written or read: see the log, look at the disk",
            Self::Corrupt => {
                "the store's file is damaged: restart to have it set aside, or put a good copy in its place"
            }
            Self::Displaced => {
                "the store's files were deleted, moved or replaced while the server ran: see the log, then restart"
            }
        }
    }
}
