//! Which of a room's last messages reached somebody, and which somebody read: a byte for each, and the counts.

use std::collections::VecDeque;

use crate::domain::command::ReceiptKind;

const DELIVERED: u8 = 1;
const READ: u8 = 2;

/// See the module. Its messages are those of the room, oldest first.
#[derive(Debug)]
pub struct ReceiptCounts {
    marks: VecDeque<u8>,
    delivered: u32,
    read: u32,
}

impl ReceiptCounts {
    /// Of so many messages, none of which has reached anybody.
    pub fn of(messages: usize) -> Self {
        Self { marks: vec![0; messages].into(), delivered: 0, read: 0 }
    }

    /// There is one more message.
    pub fn push(&mut self) {
        self.marks.push_back(0);
    }

    /// The oldest message is forgotten.
    pub fn pop(&mut self) {
        let gone = self.marks.pop_front();
        self.count(gone);
    }

    /// Only the oldest so many are left.
    pub fn truncate(&mut self, messages: usize) {
        while self.marks.len() > messages {
            let gone = self.marks.pop_back();
            self.count(gone);
        }
    }

    /// Somebody received or read a message. What was read was received.
    pub fn mark(&mut self, at: usize, kind: ReceiptKind) {
        let Some(marks) = self.marks.get_mut(at) else { return };
        let new = match kind {
            ReceiptKind::Delivered => DELIVERED,
            ReceiptKind::Read => DELIVERED | READ,
        } & !*marks;
        *marks |= new;
        self.delivered += u32::from(new & DELIVERED != 0);
        self.read += u32::from(new & READ != 0);
    }

    /// How many reached somebody.
    pub fn delivered(&self) -> u32 {
        self.delivered
    }

    /// How many somebody read.
    pub fn read(&self) -> u32 {
        self.read
    }

    fn count(&mut self, gone: Option<u8>) {
        let gone = gone.unwrap_or_default();
        self.delivered -= u32::from(gone & DELIVERED != 0);
        self.read -= u32::from(gone & READ != 0);
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
