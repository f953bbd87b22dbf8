//! What one reader that stalls has received: it may end early, but up to there it must be whole.

use crate::ledger::{Arrival, Ledger};
use crate::mark;

/// A reader that stalls, or will.
#[derive(Default)]
pub(super) struct Stalled {
    ledger: Ledger,
    /// The highest number that came.
    last: u64,
    /// Messages that came for the first time.
    pub(super) deliveries: u64,
    pub(super) doubled: u64,
    pub(super) out_of_order: u64,
    pub(super) damaged: u64,
    /// It heard that it was too slow.
    pub(super) is_told: bool,
    /// It was disconnected.
    pub(super) is_gone: bool,
}

impl Stalled {
    /// Enters the content of a message, which must have so many bytes. The message's number, if it did not have it.
    pub(super) fn enter(&mut self, content: &[u8], content_bytes: usize) -> Option<u64> {
        let Some(mark) = mark::read(content).filter(|_| content.len() == content_bytes) else {
            self.damaged += 1;
            return None;
        };
        self.last = self.last.max(mark.seq);
        match self.ledger.enter(mark.seq) {
            Arrival::New => {}
            Arrival::Late => self.out_of_order += 1,
            Arrival::Doubled => {
                self.doubled += 1;
                return None;
            }
        }
        self.deliveries += 1;
        Some(mark.seq)
    }

    /// What it should have got of so many messages and did not: when it was disconnected, only what came after is missed.
    pub(super) fn missing(&self, sent: u64) -> u64 {
        self.ledger.missing(if self.is_gone { self.last } else { sent })
    }

    /// What it was not sent because it was disconnected.
    pub(super) fn withheld(&self, sent: u64) -> u64 {
        if self.is_gone { sent.saturating_sub(self.last) } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stalled(numbers: &[u64]) -> Stalled {
        let mut stalled = Stalled::default();
        for seq in numbers {
            let mut content = Vec::new();
            mark::write(&mut content, *seq, 1, 40);
            stalled.enter(&content, 40);
        }
        stalled
    }

    #[test]
    fn a_beginning_is_enough_for_who_was_disconnected_and_for_nobody_else() {
        let mut stalled = stalled(&[1, 2, 3]);
        assert_eq!((stalled.missing(5), stalled.withheld(5)), (2, 0));
        stalled.is_gone = true;
        assert_eq!((stalled.missing(5), stalled.withheld(5)), (0, 2));
    }

    #[test]
    fn a_gap_a_repeat_and_a_wrong_order_are_faults_for_who_was_disconnected_too() {
        let mut stalled = stalled(&[1, 4, 2, 2, 5]);
        stalled.is_gone = true;
        assert_eq!((stalled.missing(9), stalled.withheld(9)), (1, 4));
        assert_eq!((stalled.out_of_order, stalled.doubled, stalled.deliveries), (1, 1, 4));
        assert_eq!(stalled.enter(b"#5", 40), None);
        assert_eq!(stalled.damaged, 1);
    }
}
