//! Receipts of a room's last messages: for each message a byte that marks it as delivered and read, and the counts.

use std::collections::{BTreeSet, VecDeque};

use uuid::Uuid;

use crate::base::{Name, limits};
use crate::domain::command::ReceiptKind;

const DELIVERED: u8 = 1;
const READ: u8 = 2;

/// The receipts of a room's last messages, oldest first.
#[derive(Debug)]
pub struct ReceiptCounts {
    marks: VecDeque<u8>,
    delivered: u32,
    read: u32,
    /// The last receipts: message, user, and whether it was read.
    known: BTreeSet<(Uuid, Name, bool)>,
}

impl ReceiptCounts {
    /// For this number of messages without receipts.
    pub fn of(messages: usize) -> Self {
        Self { marks: vec![0; messages].into(), delivered: 0, read: 0, known: BTreeSet::new() }
    }

    /// Adds a message.
    pub fn push(&mut self) {
        self.marks.push_back(0);
    }

    /// Removes the oldest message.
    pub fn pop(&mut self) {
        let gone = self.marks.pop_front();
        self.count(gone);
    }

    /// Notes a receipt, unless it is one of the last ones.
    pub fn note(&mut self, message: Uuid, user: Name, kind: ReceiptKind) -> bool {
        if self.known.len() >= limits::RECEIPTS_KNOWN {
            self.known.clear();
        }
        self.known.insert((message, user, kind == ReceiptKind::Read))
    }

    /// Whether a receipt is one of the last ones.
    pub fn is_noted(&self, message: Uuid, user: Name, kind: ReceiptKind) -> bool {
        self.known.contains(&(message, user, kind == ReceiptKind::Read))
    }

    /// Keeps only the oldest messages, this number of them.
    pub fn truncate(&mut self, messages: usize) {
        self.known.clear();
        while self.marks.len() > messages {
            let gone = self.marks.pop_back();
            self.count(gone);
        }
    }

    /// Marks the message at a position. A message that was read was delivered.
    pub fn mark(&mut self, at: usize, kind: ReceiptKind) {
        // A message beyond the last ones has no marks any more.
        if let Some(marks) = self.marks.get_mut(at) {
            let new = match kind {
                ReceiptKind::Delivered => DELIVERED,
                ReceiptKind::Read => DELIVERED | READ,
            } & !*marks;
            *marks |= new;
            self.delivered += u32::from(new & DELIVERED != 0);
            self.read += u32::from(new & READ != 0);
        }
    }

    /// Messages delivered to at least one receiver.
    pub fn delivered(&self) -> u32 {
        self.delivered
    }

    /// Messages read by at least one receiver.
    pub fn read(&self) -> u32 {
        self.read
    }

    fn count(&mut self, gone: Option<u8>) {
        let gone = gone.unwrap_or_default();
        self.delivered -= u32::from(gone & DELIVERED != 0);
        self.read -= u32::from(gone & READ != 0);
        debug_assert!(
            self.read <= self.delivered && self.delivered as usize <= self.marks.len(),
            "invariant: each message counts once as delivered and once as read"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_counts_once_while_it_is_known() {
        let mut tally = ReceiptCounts::of(3);
        tally.mark(0, ReceiptKind::Delivered);
        tally.mark(0, ReceiptKind::Delivered);
        tally.mark(1, ReceiptKind::Read);
        tally.mark(9, ReceiptKind::Read);
        assert_eq!((tally.delivered(), tally.read()), (2, 1));
        tally.mark(0, ReceiptKind::Read);
        tally.push();
        tally.mark(3, ReceiptKind::Read);
        assert_eq!((tally.delivered(), tally.read()), (3, 3));
        tally.pop();
        tally.truncate(2);
        assert_eq!((tally.delivered(), tally.read()), (1, 1));
        tally.truncate(0);
        tally.pop();
        assert_eq!((tally.delivered(), tally.read()), (0, 0));
    }
}
