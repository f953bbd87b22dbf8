//! The batches of one transaction and their outcome.

use crate::domain::record::Record;
use crate::message::storage::{Batch, CommitOutcome, Ticket};
use crate::runtime::storage::shared::ReceiptTime;

/// A batch of the present transaction.
pub(super) struct GroupedBatch {
    pub(super) ticket: Ticket,
    /// `None` if the batch was refused on arrival.
    pub(super) batch: Option<Batch>,
    pub(super) fate: BatchFate,
    /// The content of its receipt if the transaction is committed.
    pub(super) outcome: CommitOutcome,
    /// When its receipt is sent.
    pub(super) time: ReceiptTime,
    /// Its size in the queue, in bytes.
    pub(super) weight: usize,
}

/// What becomes of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BatchFate {
    /// To be written; its receipt follows the commit.
    Open,
    /// To be written; its receipt was sent on arrival.
    Acknowledged,
    /// Not to be written; its receipt says so.
    Refused,
    /// Not to be written, although its receipt said otherwise.
    Dropped,
}

impl GroupedBatch {
    /// The records to write.
    pub(super) fn records(&self) -> &[Record] {
        match (&self.batch, self.fate) {
            (Some(batch), BatchFate::Open | BatchFate::Acknowledged) => &batch.records,
            _ => &[],
        }
    }
}

/// The present run of each sender.
pub(super) struct Runs([u32; 256]);

impl Runs {
    pub(super) fn new() -> Self {
        Self([0; 256])
    }

    /// Whether a batch belongs to a run that has ended.
    pub(super) fn is_over(&self, ticket: Ticket) -> bool {
        self.0[usize::from(ticket.sender)] != ticket.run
    }

    /// Ends the run of a refused batch, unless it has already ended.
    pub(super) fn end(&mut self, ticket: Ticket) {
        let run = &mut self.0[usize::from(ticket.sender)];
        if *run == ticket.run {
            *run = run.wrapping_add(1);
        }
        debug_assert!(self.is_over(ticket), "invariant: a refusal ends the run of its batch");
    }

    /// Refuses the entry at `at`, and the later ones of its sender's run.
    pub(super) fn refuse_from(&mut self, entries: &mut [GroupedBatch], at: usize) {
        let Ticket { sender, run, .. } = entries[at].ticket;
        debug_assert_eq!(entries[at].fate, BatchFate::Open, "invariant: a batch is refused once");
        self.end(entries[at].ticket);
        entries[at].fate = BatchFate::Refused;
        for entry in &mut entries[at..] {
            if entry.ticket.sender == sender && entry.ticket.run == run && entry.fate == BatchFate::Open {
                entry.fate = BatchFate::Refused;
            }
        }
    }

    pub(super) fn refuse_all(&mut self, entries: &mut [GroupedBatch]) {
        for entry in entries {
            self.end(entry.ticket);
            entry.fate = BatchFate::Refused;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(tickets: &[(u8, u32)]) -> Vec<GroupedBatch> {
        let entry = |&(sender, run): &(u8, u32)| GroupedBatch {
            ticket: Ticket { sender, run, number: 0 },
            batch: None,
            fate: BatchFate::Open,
            outcome: CommitOutcome::default(),
            time: ReceiptTime::AfterCommit,
            weight: 0,
        };
        tickets.iter().map(entry).collect()
    }

    fn open(entries: &[GroupedBatch]) -> Vec<bool> {
        entries.iter().map(|entry| entry.fate == BatchFate::Open).collect()
    }

    #[test]
    fn refusal_ends_the_rest_of_the_run() {
        let (mut runs, mut group) = (Runs::new(), entries(&[(1, 0), (2, 0), (1, 0), (2, 0), (1, 0)]));
        runs.refuse_from(&mut group, 2);
        assert_eq!(open(&group), [true, true, false, true, false]);
        assert!(runs.is_over(group[4].ticket) && !runs.is_over(group[3].ticket));
        assert!(!runs.is_over(Ticket { sender: 1, run: 1, number: 9 }));
    }

    #[test]
    fn run_ends_once_for_several_refusals() {
        let (mut runs, mut group) = (Runs::new(), entries(&[(1, 0), (1, 0), (2, 0)]));
        runs.refuse_all(&mut group);
        assert_eq!(open(&group), [false; 3]);
        assert!([1, 2].iter().all(|&sender| !runs.is_over(Ticket { sender, run: 1, number: 0 })));
    }
}
