//! The history of a room: requests for older messages, their replies, and the receipts of a message.

use uuid::Uuid;

use crate::base::Name;
use crate::base::ids::ConnectionId;
use crate::domain::event::Message;
use crate::domain::op::{Reply, RoomRules};
use crate::domain::reject::Reject;
use crate::domain::room::Room;

/// Messages in one reply if the request has no limit.
pub const PAGE_DEFAULT: usize = 50;

/// The maximum number of messages in one reply.
pub const PAGE_MAX: usize = 500;

/// The messages of a room that a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HistoryRange {
    /// The first messages after this sequence number; the newest if absent.
    pub after: Option<u64>,
    /// Their maximum number.
    pub limit: usize,
}

/// Consecutive messages of a room, oldest first.
#[derive(Clone, Debug)]
pub struct History {
    /// The room.
    pub room: Name,
    /// The run of the room's log that the sequence numbers count in.
    pub epoch: Name,
    /// The sequence number of the room's last message at the time of the request; 0 before the first.
    pub seq: u64,
    /// The messages.
    pub messages: Vec<Message>,
    /// Whether these are all requested messages that were ever sent: none is missing because of the limit or because it has
    /// expired.
    pub complete: bool,
    /// Whether the messages beyond the limit come after these rather than before them.
    pub is_upward: bool,
    /// Whether the request named a message that is not known, so that these are the newest messages instead.
    pub is_instead: bool,
}

impl History {
    /// Whether the room has more messages in the direction of the request.
    pub fn has_more(&self) -> bool {
        let last = self.messages.last().and_then(|message| message.seq);
        if self.is_upward { last.is_some_and(|last| last < self.seq) } else { !self.complete }
    }

    /// Drops half of the messages, to make the reply smaller; `false` if there is only one.
    pub fn halve(&mut self) -> bool {
        let half = self.messages.len() / 2;
        if half == 0 {
            return false;
        }
        if self.is_upward {
            self.messages.truncate(half);
        } else {
            self.messages.drain(..half);
        }
        self.complete = false;
        true
    }
}

/// The messages of a room that a user has not read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unread {
    /// The room.
    pub room: Name,
    /// The user.
    pub user: Name,
    /// Messages of others after the last one that the user has read, without those that were deleted and changes of messages.
    pub count: u64,
    /// The number of the last message that the user has read, if it was found.
    pub read: Option<u64>,
    /// Whether all messages were looked at that may be unread.
    pub complete: bool,
}

/// The receipts of a message.
#[derive(Clone, Debug)]
pub struct Marks {
    /// The message's room.
    pub room: Name,
    /// The message.
    pub message: Uuid,
    /// The users that received it, in the order of their ids, with the time in milliseconds since 1970.
    pub delivered: Vec<(Name, u64)>,
    /// The users that read it, in the same way.
    pub read: Vec<(Name, u64)>,
    /// Whether these are all receipts.
    pub complete: bool,
}

impl Marks {
    /// The receipts of a message. A user that read it has received it.
    pub fn new(
        (room, message): (Name, Uuid),
        mut delivered: Vec<(Name, u64)>,
        read: Vec<(Name, u64)>,
        complete: bool,
    ) -> Self {
        for (user, at) in &read {
            match delivered.binary_search_by(|(known, _)| known.cmp(user)) {
                Ok(found) => delivered[found].1 = delivered[found].1.min(*at),
                Err(place) => delivered.insert(place, (user.clone(), *at)),
            }
        }
        Self { room, message, delivered, read, complete }
    }
}

impl Room {
    /// The reply to a request for history if storage is not needed: a rejection for non-members, and an empty history if the
    /// room has no stored messages. `None`: storage has them.
    pub(crate) fn history(&self, connection: Option<ConnectionId>, rules: &RoomRules) -> Result<Option<Reply>, Reject> {
        if let Some(connection) = connection {
            self.identify(connection, None, "peerId")?;
        }
        let seq = self.log.committed();
        if self.log.is_kept(rules) && seq > 0 {
            return Ok(None);
        }
        let (room, epoch) = (self.id.clone(), self.log.epoch().clone());
        let history =
            History { room, epoch, seq, messages: Vec::new(), complete: seq == 0, is_upward: true, is_instead: false };
        Ok(Some(Reply::History(Box::new(history))))
    }
}
