//! Index of recent messages: room and receipts by message id.

use std::collections::BTreeMap;

use uuid::Uuid;

use crate::base::Name;
use crate::domain::command::ReceiptKind;
use crate::domain::monitoring::MessageStats;

/// Messages in the index. The room of any other message is searched for in the rooms of the requester.
const MESSAGES_MAX: usize = 65_536;

struct IndexedMessage {
    room: Name,
    /// Whether it was sent from this node, which counts it.
    is_own: bool,
    is_delivered: bool,
    is_read: bool,
}

/// The newest messages of all rooms. Their ids are in the order of time.
#[derive(Default)]
pub(super) struct MessageIndex {
    messages: BTreeMap<Uuid, IndexedMessage>,
}

impl MessageIndex {
    /// Adds a message; the oldest one makes room for it.
    pub(super) fn add(&mut self, message: Uuid, room: &Name, is_own: bool) {
        let entry = IndexedMessage { room: room.clone(), is_own, is_delivered: false, is_read: false };
        self.messages.insert(message, entry);
        if self.messages.len() > MESSAGES_MAX {
            self.messages.pop_first();
        }
    }

    /// Notes a receipt of a message, if the index has the message.
    pub(super) fn add_receipt(&mut self, message: Uuid, kind: ReceiptKind) {
        if let Some(known) = self.messages.get_mut(&message) {
            // A message that was read was delivered.
            known.is_delivered = true;
            known.is_read |= kind == ReceiptKind::Read;
        }
    }

    pub(super) fn room_of(&self, message: Uuid) -> Option<&Name> {
        self.messages.get(&message).map(|known| &known.room)
    }

    pub(super) fn stats(&self) -> MessageStats {
        let mut stats = MessageStats::default();
        for message in self.messages.values().filter(|message| message.is_own) {
            stats.tracked += 1;
            stats.delivered += u64::from(message.is_delivered);
            stats.read += u64::from(message.is_read);
        }
        stats
    }

    pub(super) fn check_invariants(&self) {
        assert!(self.messages.len() <= MESSAGES_MAX, "invariant: the message index is bounded");
    }
}
