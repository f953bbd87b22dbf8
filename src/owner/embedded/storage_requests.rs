//! Storage requests in progress: older messages, receipts, offline users and stored direct messages are known to storage
//! only. A request holds what the owner needs to go on once the result has come.

use std::collections::BTreeMap;
use std::sync::Arc;

use slab::Slab;
use uuid::Uuid;

use crate::base::Name;
use crate::base::ids::ConnectionId;
use crate::base::limits;
use crate::domain::access::Identity;
use crate::domain::command::ReceiptKind;
use crate::domain::event::{Content, Direct, Event, Message};
use crate::domain::history::HistoryRange;
use crate::domain::monitoring::PresenceStats;
use crate::domain::op::{AddressedEvent, RoomOp, SendMessage};
use crate::domain::recovery::Returning;
use crate::domain::reject::Reject;
use crate::message::Requester;
use crate::message::storage::{StorageReply, Unavailable};
use crate::owner::embedded::commit_barrier::count_out;

pub(super) type StorageResult = Result<StorageReply, Unavailable>;

/// A request, by the purpose of its result.
pub(super) enum StorageRequest {
    /// Older messages of a room, up to the last one that was committed at the time of the request.
    History { room: Name, last: u64, range: HistoryRange },
    /// The sequence number of the message that a client names as its last.
    Sync { room: Name, limit: usize },
    /// The users that received and read a message.
    Marks { room: Name, message: Uuid },
    /// The room of a message.
    RoomOf,
    /// The sender of a message that has been received or read.
    Receipt { room: Name, connection: ConnectionId, message: Uuid, kind: ReceiptKind },
    /// The sender of a message that is to be changed.
    Revised { room: Name, message: Box<SendMessage> },
    /// The number of messages that a user has not read.
    Unread { room: Name, user: Name },
    /// The last one of the messages that have been received or read.
    ReceiptsUpTo { room: Name, connection: ConnectionId, kind: ReceiptKind },
    /// The messages that have been received or read.
    ReceiptsBefore { room: Name, connection: ConnectionId, kind: ReceiptKind },
    /// An unloaded room.
    Load { room: Name },
    /// The messages that a recovered connection has missed, or the last ones, which a joining connection wants.
    Missed(Box<MissedMessages>),
    /// Whether storage knows the offline user that a direct message is for.
    Recipient { user: Name, by: Identity, content: Content },
    /// The number of rooms that a user has made.
    MadeRooms,
    /// The bytes that wait for the recipient of a direct message.
    DirectBytes { user: Name, direct: Arc<Direct> },
    /// Whether a push with an idempotency key was done.
    Push { sender: Name, key: Box<str> },
    /// Dead letters of the outbox.
    DeadLetters,
    /// The last presence of an offline user.
    LastSeen,
    /// The number of users in the store, for statistics of those who are here.
    UserCount(Box<PresenceStats>),
    /// The stored direct messages of a user.
    Directs { user: Name },
}

/// A connection that is about to be a member again, while storage is asked for the messages it has missed.
pub(super) struct MissedMessages {
    pub(super) room: Name,
    pub(super) back: Box<Returning>,
    /// The messages found so far.
    pub(super) messages: Vec<Message>,
    /// The last message to ask for.
    pub(super) until: u64,
    /// The messages published since.
    pub(super) since: Vec<Arc<Message>>,
    /// For a connection that joins: the requests that it has sent since, which wait until it is a member. `None` for one that
    /// returns.
    pub(super) behind: Option<Vec<(Option<Requester>, RoomOp)>>,
    /// The connection has ended.
    pub(super) is_cancelled: bool,
}

impl MissedMessages {
    /// The sequence number of the last message that the connection has or that was found.
    pub(super) fn last_seq(&self) -> u64 {
        self.messages.last().and_then(|last| last.seq).unwrap_or(self.back.seq)
    }
}

#[derive(Default)]
pub(super) struct StorageRequests {
    /// The requests by number, each with the requester of its operation, if there is one.
    requests: Slab<(Option<Requester>, StorageRequest)>,
    /// The number of [`StorageRequest::Missed`] by room; rooms without any are absent.
    missed: BTreeMap<Name, u32>,
}

impl StorageRequests {
    /// Adds a request; the number that its result comes back with.
    pub(super) fn insert(&mut self, request: StorageRequest, to: Option<Requester>) -> u32 {
        if let StorageRequest::Missed(missed) = &request {
            *self.missed.entry(missed.room.clone()).or_default() += 1;
        }
        self.requests.insert((to, request)) as u32
    }

    pub(super) fn take(&mut self, ask: u32) -> (Option<Requester>, StorageRequest) {
        let (to, request) =
            self.requests.try_remove(ask as usize).expect("storage requests: each result has a request");
        if let StorageRequest::Missed(missed) = &request {
            count_out(&mut self.missed, &missed.room);
        }
        (to, request)
    }

    fn missed_of<'a>(&'a mut self, room: &'a Name) -> impl Iterator<Item = &'a mut MissedMessages> {
        let is_any = self.missed.contains_key(room);
        self.requests.iter_mut().take_while(move |_| is_any).filter_map(move |(_, (_, request))| match request {
            StorageRequest::Missed(missed) if missed.room == *room => Some(&mut **missed),
            _ => None,
        })
    }

    /// Cancels the return of a connection that has ended: another connection of its client may hold the place by the time
    /// the result comes.
    pub(super) fn cancel_return(&mut self, room: &Name, connection: ConnectionId) {
        let of_connection = |missed: &&mut MissedMessages| missed.back.join.connection == connection;
        self.missed_of(room).filter(of_connection).for_each(|missed| missed.is_cancelled = true);
    }

    /// Holds an operation of a connection that is about to join, so that its requests keep their order; otherwise returns it.
    pub(super) fn hold_behind_join(
        &mut self,
        room: &Name,
        op: RoomOp,
        to: Option<Requester>,
    ) -> Result<Option<RoomOp>, Reject> {
        if self.missed.is_empty() {
            return Ok(Some(op));
        }
        let Some(connection) = op.connection() else { return Ok(Some(op)) };
        let joins = |missed: &&mut MissedMessages| missed.back.join.connection == connection && !missed.is_cancelled;
        match self.missed_of(room).filter(joins).find_map(|missed| missed.behind.as_mut()) {
            Some(behind) if behind.len() >= limits::REWIND_WAITING => Err(Reject::overloaded()),
            Some(behind) => {
                behind.push((to, op));
                Ok(None)
            }
            None => Ok(Some(op)),
        }
    }

    /// Adds the messages among published events to those that returning connections have missed.
    pub(super) fn add_published(&mut self, room: &Name, events: &[AddressedEvent]) {
        for missed in self.missed_of(room) {
            missed.since.extend(events.iter().filter_map(|addressed| match &addressed.event {
                Event::Message(message) => Some(message.clone()),
                _ => None,
            }));
        }
    }

    /// Whether a connection is about to return to the room.
    pub(super) fn is_returning(&self, room: &Name) -> bool {
        self.missed.contains_key(room)
    }

    /// Whether an unloaded room is requested.
    pub(super) fn loads(&self, name: &Name) -> bool {
        let is_it = |request: &StorageRequest| matches!(request, StorageRequest::Load { room } if room == name);
        self.requests.iter().any(|(_, (_, request))| is_it(request))
    }

    /// Whether the stored direct messages of a user are requested.
    pub(super) fn asks_directs_of(&self, name: &Name) -> bool {
        let is_it = |request: &StorageRequest| matches!(request, StorageRequest::Directs { user, .. } if user == name);
        self.requests.iter().any(|(_, (_, request))| is_it(request))
    }

    pub(super) fn check_invariants(&self) {
        let mut missed: BTreeMap<Name, u32> = BTreeMap::new();
        for (_, (_, request)) in &self.requests {
            if let StorageRequest::Missed(found) = request {
                *missed.entry(found.room.clone()).or_default() += 1;
                let seqs = found.messages.iter().map(|message| message.seq.unwrap_or_default());
                assert!(
                    seqs.zip(found.back.seq + 1..).all(|(seq, expected)| seq == expected),
                    "storage requests: missed messages have no gap"
                );
            }
        }
        assert_eq!(missed, self.missed, "storage requests: returning connections match their count by room");
    }
}
