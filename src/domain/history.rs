//! Messages that were sent before: which of them somebody wants, and what is known of them.

use uuid::Uuid;

use crate::base::Name;
use crate::base::ids::ConnectionId;
use crate::domain::event::Message;
use crate::domain::op::{OpContext, Reply};
use crate::domain::reject::Reject;
use crate::domain::room::Room;

/// Messages in one answer unless it is said how many.
pub const PAGE_DEFAULT: usize = 50;

/// Messages in one answer at the most.
pub const PAGE_MAX: usize = 500;

/// Which messages of a room somebody wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HistoryRange {
    /// The first ones after this number; the newest when absent.
    pub after: Option<u64>,
    /// At most so many.
    pub limit: usize,
}

/// Some of a room's messages, oldest first and without a gap.
#[derive(Clone, Debug)]
pub struct History {
    /// The room.
    pub room: Name,
    /// Which run of the room's log the numbers count in.
    pub epoch: Name,
    /// The number of the room's last message when it was asked for; 0 before the first.
    pub seq: u64,
    /// The messages.
    pub messages: Vec<Message>,
    /// Whether these are all that were asked for and ever sent: none was left out for the sake of the limit or because
    /// it is kept no longer.
    pub complete: bool,
    /// Whether what is left out comes behind the messages rather than before them.
    pub is_upward: bool,
}

impl History {
    /// Leaves half of the messages out, so that an answer is not too large; `false` when there is only one.
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

/// Who received and read a message.
#[derive(Clone, Debug)]
pub struct Marks {
    /// The message's room.
    pub room: Name,
    /// The message.
    pub message: Uuid,
    /// Who received it, and when (milliseconds since 1970), in the order of the users' ids.
    pub delivered: Vec<(Name, u64)>,
    /// Who read it, and when.
    pub read: Vec<(Name, u64)>,
    /// Whether these are all who did.
    pub complete: bool,
}

impl Room {
    /// What a room can say of its past by itself: to strangers nothing, and where nothing is kept, that there is nothing.
    /// `None`: the store knows.
    pub fn history(&self, connection: ConnectionId, context: &OpContext<'_>) -> Result<Option<Reply>, Reject> {
        self.member(connection, None, "peerId")?;
        if self.is_kept(context) && self.committed > 0 {
            return Ok(None);
        }
        let (room, epoch, seq) = (self.id.clone(), self.epoch.clone(), self.committed);
        let history = History { room, epoch, seq, messages: Vec::new(), complete: seq == 0, is_upward: true };
        Ok(Some(Reply::History(Box::new(history))))
    }
}
