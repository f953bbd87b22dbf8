//! A room's log: the order of its messages, and the senders and receipts of the recent ones.

use std::collections::VecDeque;

use uuid::Uuid;

use crate::base::Name;
use crate::base::limits;
use crate::domain::access::Identity;
use crate::domain::command::ReceiptKind;
use crate::domain::op::{LogTerms, RoomRules};
use crate::domain::receipt_counts::ReceiptCounts;
use crate::domain::record::Retention;

/// Whether storage has the room's record. A room that was created by joining is stored with its first message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RoomRecordState {
    Absent,
    InTransit,
    Stored,
}

/// Messages from a sequence number on backwards, and their number, if there are any.
pub(crate) type MessagesBefore = Option<(u64, usize)>;

pub(crate) struct RoomLog {
    /// The run of the log that `seq` counts in.
    epoch: Name,
    seq: u64,
    /// The sequence number of the last message that is committed, or need not be, so that members may receive it.
    committed: u64,
    /// Whether messages are stored; `None`: according to the settings.
    history: Option<bool>,
    retention: Retention,
    record: RoomRecordState,
    /// The ids and senders of the recent messages, oldest first.
    recent: VecDeque<(Uuid, Identity)>,
    /// The receipts of the recent messages; `None` before the first receipt.
    tally: Option<Box<ReceiptCounts>>,
}

impl RoomLog {
    pub(super) fn new(epoch: Name, terms: LogTerms) -> Self {
        Self {
            epoch,
            seq: 0,
            committed: 0,
            history: terms.history,
            retention: terms.retention,
            record: RoomRecordState::Absent,
            recent: VecDeque::new(),
            tally: None,
        }
    }

    /// The log of a room in storage, whose last message is `last`.
    pub(super) fn stored(epoch: Name, terms: LogTerms, last: u64) -> Self {
        Self { seq: last, committed: last, record: RoomRecordState::Stored, ..Self::new(epoch, terms) }
    }

    pub(crate) fn epoch(&self) -> &Name {
        &self.epoch
    }

    /// The sequence number of the last message.
    pub(crate) fn seq(&self) -> u64 {
        self.seq
    }

    /// The sequence number of the last message that members may receive.
    pub(crate) fn committed(&self) -> u64 {
        self.committed
    }

    pub(crate) fn has_uncommitted(&self) -> bool {
        self.seq != self.committed
    }

    pub(crate) fn is_kept(&self, rules: &RoomRules) -> bool {
        rules.has_store && self.history.unwrap_or(rules.history)
    }

    /// Whether storage has the room's record, or it is in transit.
    pub(crate) fn is_made(&self) -> bool {
        self.record != RoomRecordState::Absent
    }

    pub(super) fn is_stored(&self) -> bool {
        self.record == RoomRecordState::Stored
    }

    pub(super) fn terms(&self) -> LogTerms {
        LogTerms { history: self.history, retention: self.retention }
    }

    pub(crate) fn note_made(&mut self) {
        self.record = RoomRecordState::Stored;
    }

    pub(super) fn change_retention(&mut self, change: Retention) {
        self.retention = self.retention.changed(change);
    }

    /// Storage has refused the room's record.
    pub(crate) fn undo_made(&mut self) {
        if self.record == RoomRecordState::InTransit && !self.has_uncommitted() {
            self.record = RoomRecordState::Absent;
        }
    }

    /// Whether the room's record is still to be sent to storage; from now on it is in transit.
    pub(crate) fn take_unmade(&mut self) -> bool {
        let is_absent = self.record == RoomRecordState::Absent;
        if is_absent {
            self.record = RoomRecordState::InTransit;
        }
        is_absent
    }

    /// Gives a message the next sequence number.
    pub(in crate::domain) fn append(&mut self, id: Uuid, sender: Identity) -> u64 {
        self.seq += 1;
        if self.recent.len() == limits::RECEIPTED_MESSAGES_PER_ROOM {
            self.recent.pop_front();
            if let Some(tally) = &mut self.tally {
                tally.pop();
            }
        }
        self.recent.push_back((id, sender));
        if let Some(tally) = &mut self.tally {
            tally.push();
        }
        self.seq
    }

    /// The last message needs no commit.
    pub(in crate::domain) fn commit_unstored(&mut self) {
        self.committed = self.seq;
    }

    /// The messages up to `seq` are committed: members may receive them.
    pub(crate) fn commit(&mut self, seq: u64) {
        self.committed = self.committed.max(seq);
        self.note_made();
    }

    /// Storage has refused the uncommitted messages: they are removed, and their numbers are issued again.
    pub(crate) fn roll_back(&mut self) {
        let refused = (self.seq - self.committed) as usize;
        self.recent.truncate(self.recent.len().saturating_sub(refused));
        if let Some(tally) = &mut self.tally {
            tally.truncate(self.recent.len());
        }
        self.seq = self.committed;
        if self.record == RoomRecordState::InTransit {
            self.record = RoomRecordState::Absent;
        }
    }

    /// The sequence number of a recent message.
    pub(crate) fn seq_of(&self, message: Uuid) -> Option<u64> {
        let back = self.recent.iter().rev().position(|(id, _)| *id == message)?;
        Some(self.seq - back as u64)
    }

    /// The sender of a recent message, unless it was deleted or is a change of another one.
    pub(crate) fn sender_of(&self, message: Uuid) -> Option<&Identity> {
        let (_, sender) = self.recent.iter().rev().find(|(id, _)| *id == message)?;
        (!sender.is_none()).then_some(sender)
    }

    /// A message is deleted: it gets no receipts any more.
    pub(in crate::domain) fn forget_sender(&mut self, message: Uuid) {
        if let Some(at) = self.recent.iter().rposition(|(id, _)| *id == message) {
            self.recent[at].1 = Identity::none();
        }
    }

    /// Counts a receipt of a recent message; its sender.
    pub(in crate::domain) fn mark(&mut self, message: Uuid, kind: ReceiptKind) -> Option<Identity> {
        // Ids are ordered by time, and most receipts are for late messages.
        let at = self.recent.iter().rposition(|(id, sender)| *id == message && !sender.is_none())?;
        self.tally.get_or_insert_with(|| Box::new(ReceiptCounts::of(self.recent.len()))).mark(at, kind);
        Some(self.recent[at].1.clone())
    }

    /// The recent messages of a receipt for one and those before it: those of other users, back to one that the user has
    /// marked. If there is no such one among the recent messages, the last older message and the number of those it may be
    /// for, too. `None`: the message is not recent.
    pub(in crate::domain) fn unmarked_up_to(
        &self,
        last: Uuid,
        by: &Identity,
        kind: ReceiptKind,
    ) -> Option<(Vec<Uuid>, MessagesBefore)> {
        let at = self.recent.iter().rposition(|(id, _)| *id == last)?;
        let known = self.tally.as_deref();
        let is_known = |id: Uuid| known.is_some_and(|known| known.is_noted(id, by.user_name(), kind));
        let mut unmarked = Vec::new();
        for (id, sender) in self.recent.range(..=at).rev().take(limits::RECEIPTS_PER_REQUEST) {
            if sender.user() == by.user() || sender.is_none() {
                continue;
            }
            if is_known(*id) {
                return Some((unmarked, None));
            }
            unmarked.push(*id);
        }
        let left = limits::RECEIPTS_PER_REQUEST.saturating_sub(at + 1);
        let older = self.seq - self.recent.len() as u64;
        Some((unmarked, (left > 0 && older > 0).then_some((older, left))))
    }

    /// Notes a receipt, unless it is one of the last ones.
    pub(in crate::domain) fn note_receipt(&mut self, message: Uuid, user: Name, kind: ReceiptKind) -> bool {
        let recent = self.recent.len();
        self.tally.get_or_insert_with(|| Box::new(ReceiptCounts::of(recent))).note(message, user, kind)
    }

    /// The number of recent messages, and of those that were delivered and read.
    pub(in crate::domain) fn receipts(&self) -> (u64, u64, u64) {
        let (delivered, read) = self.tally.as_ref().map_or((0, 0), |tally| (tally.delivered(), tally.read()));
        (self.recent.len() as u64, delivered.into(), read.into())
    }

    pub(super) fn check_invariants(&self) {
        assert!(self.committed <= self.seq, "room log: committed messages have been issued a sequence number");
        assert!(self.recent.len() as u64 <= self.seq, "room log: each recent message has a sequence number");
        assert!(
            self.recent.len() <= limits::RECEIPTED_MESSAGES_PER_ROOM,
            "room log: recent messages are within their limit"
        );
        if let Some(tally) = &self.tally {
            let (recent, delivered, read) = (self.recent.len(), tally.delivered(), tally.read());
            assert!(
                read <= delivered && delivered as usize <= recent,
                "room log: each read message counts as delivered, and each delivered one as recent"
            );
        }
    }
}
