//! What shards and the store tell each other. A shard knows of storage nothing but this: batches of records with a ticket
//! go out, a receipt for each comes in; questions go out, answers come in. Behind it stands the thread with the files
//! ([`crate::runtime::storage`]), or a simulator's model of one.
//!
//! # What a store promises
//!
//! 1. **One receipt per batch**, `Ok` or unavailable, and the receipts of one sender in the order of its batches. With
//!    durability `none` a batch that takes a session ([`Record::SessionTaken`], [`Record::SessionClaimed`]) is the
//!    exception: its receipt has to wait for the answer, and later ones may come first.
//! 2. **All or nothing**: a batch is kept whole or not at all.
//! 3. **Told is kept**: after an `Ok` the batch survives what the durability names. `process`: the end of this process at
//!    any moment. `power`: the end of the machine's as well. `none`: nothing.
//! 4. **No holes**: whatever is lost is the end of a sender's sequence of batches, never its middle. If a batch is there
//!    after a restart, so are all batches of its sender that got an `Ok` before it.
//! 5. **A refusal ends a run.** When a batch is refused, every batch its sender has sent since is refused too, for they
//!    were made by somebody who believed the first one kept. The sender undoes what they did and goes on in the next run:
//!    its first refusal in run `n` is its sign to send from then on in run `n + 1`. So a room's numbers never skip one.
//! 6. **A refused batch is not there**, for any question asked from then on. Only if the process ends before the next batch
//!    is kept may it be there after the restart; nobody has been told anything else in its place by then.
//! 7. **An answer knows all that was acknowledged** to its asker before the question was put.
//! 8. **In bounded time**, as far as the operating system lets it. A thread that hangs in a write cannot say whether the
//!    write will be made, so its receipts come late rather than wrong. Senders look at [`StorageState`] and at the age of what
//!    waits, and refuse new work themselves when it is too much.
//!
//! Batches that crossed the end of the process without a receipt may be there afterwards, or not, in keeping with 2 and 4.
//!
//! # For a simulator
//!
//! A model of a store needs a list of batches written and a mark how far it is synced. A crash of the process drops what is
//! not written; loss of power drops what is written after the mark. With `process` a receipt may go out once the batch is
//! written, with `power` once it is synced; delays, failures and crashes may fall between any two of these steps. Failure
//! ends the run of every sender with a batch in the group that failed.

use smallvec::SmallVec;
use uuid::Uuid;

use crate::base::Name;
use crate::domain::command::Status;
use crate::domain::event::{Direct, Message};
use crate::domain::record::{MadeRoom, Record, Session, TokenHash};
use crate::message::{Requester, ShardNumber};

/// Messages in one answer.
pub const PAGE_MESSAGES: usize = 500;

/// What tells one batch from all others, and which one a receipt is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// The shard that sends the batch. It alone sends records of the rooms and users it keeps.
    pub sender: ShardNumber,
    /// How many of its runs have ended with a refusal; see promise 5.
    pub run: u32,
    /// The batch's number, of the sender's choice.
    pub number: u64,
}

/// Records that are kept together or not at all, in this order.
#[derive(Clone, Debug)]
pub struct Batch {
    /// What the receipt will carry.
    pub ticket: Ticket,
    /// What happened.
    pub records: SmallVec<[Record; 1]>,
}

/// What became of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The batch's.
    pub ticket: Ticket,
    /// Whether it is kept.
    pub outcome: Result<Kept, Unavailable>,
}

/// A batch is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// For each [`Record::SessionTaken`] and [`Record::SessionClaimed`] of the batch the session, if it was still there and
    /// had not ended.
    pub taken: Vec<Option<Box<Session>>>,
}

/// The store cannot keep or find anything at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unavailable;

/// How the store is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StorageState {
    /// It keeps what it is given.
    #[default]
    Good,
    /// There is no space left.
    Full,
    /// It keeps what it is given, but takes too long for it.
    Late,
    /// Its files cannot be written or read.
    Failing,
    /// Its file is damaged.
    Corrupt,
}

/// What the store tells those who use it, in order.
#[derive(Debug)]
pub enum StorageEvent {
    /// What became of a batch; for its sender.
    Receipt(Receipt),
    /// What is known; for the asker.
    Reply {
        /// Who asked.
        to: Requester,
        /// What is known.
        answer: Result<StorageReply, Unavailable>,
    },
    /// The store has failed, or is back; for everyone.
    State(StorageState),
}

/// What a shard has for the store, in order.
#[derive(Debug)]
pub enum StorageCommand {
    /// Have this kept.
    Commit(Batch),
    /// Say what is known.
    Query {
        /// Who asks.
        from: Requester,
        /// What.
        query: StorageQuery,
    },
}

/// A question about what is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StorageQuery {
    /// Messages of a room.
    Page {
        /// The room.
        room: Name,
        /// Which of them.
        span: Span,
        /// At most so many; never more than [`PAGE_MESSAGES`].
        limit: usize,
    },
    /// One message of a room, and who received and read it.
    Message {
        /// Its id.
        id: Uuid,
    },
    /// A room.
    Room {
        /// Its id.
        room: Name,
    },
    /// A user.
    User {
        /// The user's id.
        user: Name,
    },
    /// Messages that wait for a user, oldest first.
    Directs {
        /// The user's id.
        user: Name,
        /// At most so many; never more than [`PAGE_MESSAGES`].
        limit: usize,
    },
    /// A session, which stays; to use it up takes a [`Record::SessionTaken`].
    Session {
        /// Its token.
        token: TokenHash,
    },
}

/// Which messages of a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Span {
    /// The newest.
    Newest,
    /// The first ones after this number.
    After(u64),
    /// The last ones before this number.
    Before(u64),
    /// Those from one number to another, both included; what a recovery needs.
    Between(u64, u64),
}

/// The answer to a [`StorageQuery`] of the same name. `None`: there is no such thing.
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
    /// Messages that wait for a user.
    Directs {
        /// The messages.
        directs: Vec<Direct>,
        /// Whether these are all.
        complete: bool,
    },
    /// A session.
    Session(Option<Box<Session>>),
}

/// Some of a room's messages, oldest first and without a gap.
#[derive(Clone, Debug)]
pub struct MessagePage {
    /// Which run of the room's log the numbers count in.
    pub epoch: Name,
    /// The oldest message that is kept; `last` + 1 when none is.
    pub first: u64,
    /// The newest message there ever was; 0 before the first.
    pub last: u64,
    /// The messages.
    pub messages: Vec<Message>,
    /// Whether none of those asked for, and kept, was left out for the sake of the limit or of the answer's size.
    pub complete: bool,
}

impl MessagePage {
    /// Whether every message from number `from` to number `to` is here, so that nothing is missed.
    pub fn covers(&self, from: u64, to: u64) -> bool {
        let seq = |message: Option<&Message>| message.and_then(|message| message.seq);
        from > to
            || seq(self.messages.first()).is_some_and(|first| first <= from)
                && seq(self.messages.last()).is_some_and(|last| last >= to)
    }
}

/// A message, and what became of it.
#[derive(Clone, Debug)]
pub struct MessageView {
    /// The message.
    pub message: Message,
    /// Who received it, and when (milliseconds since 1970), in the order of the users' ids.
    pub delivered: Vec<(Name, u64)>,
    /// Who read it, and when.
    pub read: Vec<(Name, u64)>,
    /// Whether these are all who did.
    pub complete: bool,
}

/// A room as it is after a restart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredRoom {
    /// What it was made to be, with the participants it has now.
    pub made: MadeRoom,
    /// The oldest message that is kept; `last` + 1 when none is.
    pub first: u64,
    /// The number of its newest message; 0 before the first.
    pub last: u64,
    /// When that was sent, in milliseconds since 1970; when the room was made if none is kept.
    pub last_at: u64,
}

/// A user as the store knows them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredUser {
    /// The user's id.
    pub user: Name,
    /// The name to show, if it is another.
    pub username: Option<Box<str>>,
    /// The e-mail address.
    pub email: Option<Box<str>>,
    /// How they last said they were.
    pub status: Status,
    /// When they were last active, in milliseconds since 1970.
    pub seen_at: u64,
}

/// What a restart brings back, one thing at a time; rooms first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Restored {
    /// A room.
    Room(Box<StoredRoom>),
    /// A user who was seen.
    User(Box<StoredUser>),
    /// A user for whom messages wait.
    Awaited(Name),
    /// A message of the last minutes that its sender may repeat.
    Repeatable(Box<Repeatable>),
}

impl Restored {
    /// The room or the user that it belongs to.
    pub fn name(&self) -> &str {
        match self {
            Self::Room(stored) => &stored.made.room,
            Self::User(stored) => &stored.user,
            Self::Awaited(user) => user,
            Self::Repeatable(message) => &message.room,
        }
    }
}

/// A message that its sender may repeat: what a restart needs to know of the last minutes' messages, so that a repeat is
/// not sent again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repeatable {
    /// The room.
    pub room: Name,
    /// The sender.
    pub user: Name,
    /// What the sender called it.
    pub client_message_id: Box<str>,
    /// The message.
    pub id: Uuid,
    /// Its place in the room's order.
    pub seq: u64,
    /// When it was sent, in milliseconds since 1970.
    pub at: u64,
}

impl StorageState {
    /// The state in words that an operator can act on.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Good => "the store keeps what it is given",
            Self::Full => "the store has no space left: make room on its disk",
            Self::Late => "the store takes seconds to write: see what keeps its disk busy",
            Self::Failing => "the store's files cannot be written or read: see the log, look at the disk",
            Self::Corrupt => {
                "the store's file is damaged: restart to have it set aside, or put a good copy in its place"
            }
        }
    }
}
