//! Batches on their way through one transaction, and what becomes of each.

use crate::domain::record::Record;
use crate::message::storage::{Batch, Kept, Ticket};

/// A batch of the present group.
pub(super) struct Entry {
    pub(super) ticket: Ticket,
    /// `None` for one that came refused.
    pub(super) batch: Option<Batch>,
    pub(super) fate: Fate,
    /// What its receipt will say if the transaction is committed.
    pub(super) kept: Kept,
    /// Bytes it takes of the queue.
    pub(super) weight: usize,
}

/// What is known of a batch's fate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// To be written; then its sender gets a receipt.
    Open,
    /// To be written; its sender was told long ago.
    Acknowledged,
    /// Not to be written; its sender gets a receipt that says so.
    Refused,
    /// Not to be written, although its sender was told otherwise.
    Forgotten,
}

impl Entry {
    /// The records to be written.
    pub(super) fn records(&self) -> &[Record] {
        match (&self.batch, self.fate) {
            (Some(batch), Fate::Open | Fate::Acknowledged) => &batch.records,
            _ => &[],
        }
    }
}

/// The run that each sender is in.
pub(super) struct Runs([u32; 256]);

impl Runs {
    pub(super) fn new() -> Self {
        Self([0; 256])
    }

    /// Whether a batch belongs to a run that has ended.
    pub(super) fn is_over(&self, ticket: Ticket) -> bool {
        self.0[usize::from(ticket.sender)] != ticket.run
    }

    /// A batch is refused: its run, if it still lasts, ends.
    pub(super) fn end(&mut self, ticket: Ticket) {
        let run = &mut self.0[usize::from(ticket.sender)];
        if *run == ticket.run {
            *run = run.wrapping_add(1);
        }
    }

    /// Refuses the entry at `at`, and those after it that its sender made in the same run.
    pub(super) fn refuse_from(&mut self, entries: &mut [Entry], at: usize) {
        let Ticket { sender, run, .. } = entries[at].ticket;
        self.end(entries[at].ticket);
        entries[at].fate = Fate::Refused;
        for entry in &mut entries[at..] {
            if entry.ticket.sender == sender && entry.ticket.run == run && entry.fate == Fate::Open {
                entry.fate = Fate::Refused;
            }
        }
    }

    /// Refuses all entries.
    pub(super) fn refuse_all(&mut self, entries: &mut [Entry]) {
        for entry in entries {
            self.end(entry.ticket);
            entry.fate = Fate::Refused;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(tickets: &[(u8, u32)]) -> Vec<Entry> {
        let entry = |&(sender, run): &(u8, u32)| Entry {
            ticket: Ticket { sender, run, number: 0 },
            batch: None,
            fate: Fate::Open,
            kept: Kept::default(),
            weight: 0,
        };
        tickets.iter().map(entry).collect()
    }

    fn open(entries: &[Entry]) -> Vec<bool> {
        entries.iter().map(|entry| entry.fate == Fate::Open).collect()
    }

    #[test]
    fn a_refusal_takes_the_rest_of_its_senders_run_along() {
        let (mut runs, mut group) = (Runs::new(), entries(&[(1, 0), (2, 0), (1, 0), (2, 0), (1, 0)]));
        runs.refuse_from(&mut group, 2);
        assert_eq!(open(&group), [true, true, false, true, false]);
        assert!(runs.is_over(group[4].ticket) && !runs.is_over(group[3].ticket));
        assert!(!runs.is_over(Ticket { sender: 1, run: 1, number: 9 }));
    }

    #[test]
    fn a_run_ends_once_however_many_of_its_batches_are_refused() {
        let (mut runs, mut group) = (Runs::new(), entries(&[(1, 0), (1, 0), (2, 0)]));
        runs.refuse_all(&mut group);
        assert_eq!(open(&group), [false; 3]);
        assert!([1, 2].iter().all(|&sender| !runs.is_over(Ticket { sender, run: 1, number: 0 })));
    }
}
