//! What leaves only when its records are kept: the gate between what was decided and who is told of it.
//!
//! Records of one turn go to the store as one batch; answers and facts that depend on them are held until its receipt
//! comes. Whatever depends on no record passes by, so signaling, typing and presence go on while the store is slow or
//! gone. A refusal ends a run (see [`crate::message::storage`]): everything held is given back to be undone, and the next
//! batch begins a new run.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use smallvec::SmallVec;
use uuid::Uuid;

use crate::base::Name;
use crate::base::limits;
use crate::base::time::Now;
use crate::domain::event::Direct;
use crate::domain::op::{AddressedEvent, Op, Reply, RoomOp};
use crate::domain::record::Record;
use crate::domain::room::Room;
use crate::message::storage::{
    Batch, CommitOutcome, CommitReceipt, StorageCommand, StorageQuery, StorageState, Ticket,
};
use crate::message::{Requester, ShardNumber};
use crate::owner::embedded::sessions::Claim;

/// What waits for a receipt.
pub(super) enum Held {
    /// What an act on a room made known.
    Room {
        /// The room.
        room: Name,
        /// Who asked.
        to: Requester,
        /// The answer.
        reply: Reply,
        /// What everyone concerned learns.
        events: SmallVec<[AddressedEvent; 1]>,
        /// The number of the message that is kept; 0 when it is something else.
        seq: u64,
        /// What the message is remembered by, should it be repeated.
        repeat: Option<u128>,
    },
    /// An answer.
    StorageReply {
        /// Who asked.
        to: Requester,
        /// The answer.
        reply: Reply,
    },
    /// A leaving, which is told after the messages that were sent before it, kept or not; or before somebody comes.
    Late {
        /// The room.
        room: Name,
        /// What the others learn.
        events: SmallVec<[AddressedEvent; 1]>,
    },
    /// An act that is done when its record is kept.
    Act {
        /// Who asked.
        to: Requester,
        /// The act.
        op: Op,
    },
    /// An act on an empty room whose end is being written down; what becomes of it depends on whether that is kept.
    Again {
        /// Who asked.
        to: Requester,
        /// The room.
        room: Name,
        /// The act.
        op: RoomOp,
    },
    /// The end of a room that is of no use any more.
    End {
        /// The room.
        room: Name,
    },
    /// A message to a user.
    Direct {
        /// Who asked.
        to: Requester,
        /// The user.
        user: Name,
        /// The message.
        direct: Arc<Direct>,
    },
    /// A message that a user has is no longer kept.
    Struck {
        /// The user.
        user: Name,
        /// The message.
        id: Uuid,
    },
    /// A look at a user, of whom something may just have been noted.
    Look {
        /// Who asked.
        to: Requester,
        /// The user.
        user: Name,
    },
    /// A room that is made on purpose.
    Create {
        /// Who asked.
        to: Requester,
        /// The room.
        room: Box<Room>,
    },
    /// A session that is used up.
    Session {
        /// Who asked; nobody when it is of no interest.
        to: Option<Requester>,
    },
    /// A session that is passed on.
    Claim {
        /// Who asked.
        to: Requester,
        /// To whom, and from whom.
        claim: Claim,
    },
    /// The same, behind another claim.
    ClaimAgain {
        /// Who asked.
        to: Requester,
        /// To whom, and from whom.
        claim: Claim,
    },
}

/// A batch on its way.
struct Pending {
    number: u64,
    since: u64,
    held: Vec<Held>,
}

/// What a receipt sets free.
pub(super) enum ReleasedEffects {
    /// It is kept.
    Committed(Vec<Held>, CommitOutcome),
    /// This, and everything since, is not.
    Refused(Vec<Held>),
}

/// See the module.
pub(super) struct CommitBarrier {
    sender: ShardNumber,
    run: u32,
    next: u64,
    records: SmallVec<[Record; 1]>,
    held: Vec<Held>,
    pending: VecDeque<Pending>,
    /// Rooms with leavings that are held, and how many.
    late: BTreeMap<Name, u32>,
    orders: Vec<StorageCommand>,
    state: StorageState,
}

impl CommitBarrier {
    pub(super) fn new(sender: ShardNumber) -> Self {
        Self {
            sender,
            run: 0,
            next: 0,
            records: SmallVec::new(),
            held: Vec::new(),
            pending: VecDeque::new(),
            late: BTreeMap::new(),
            orders: Vec::new(),
            state: StorageState::Good,
        }
    }

    /// Whether new records are taken: the store is well and does not keep anybody waiting for long.
    pub(super) fn is_open(&self, now: Now) -> bool {
        let is_late = |oldest: &Pending| now.mono.saturating_sub(oldest.since) > limits::STORE_LATE_MS;
        self.state == StorageState::Good && !self.pending.front().is_some_and(is_late)
    }

    /// The age of the oldest record that is not kept yet, in milliseconds.
    pub(super) fn lag_ms(&self, now: Now) -> u64 {
        self.pending.front().map_or(0, |oldest| now.mono.saturating_sub(oldest.since))
    }

    /// Has records kept that nobody waits for.
    pub(super) fn keep(&mut self, records: impl IntoIterator<Item = Record>) {
        self.records.extend(records);
    }

    /// Holds something until the records are kept.
    pub(super) fn hold(&mut self, records: impl IntoIterator<Item = Record>, held: Held) {
        self.records.extend(records);
        if let Held::Late { room, .. } = &held {
            *self.late.entry(room.clone()).or_default() += 1;
        }
        match self.pending.back_mut() {
            // What has no record of its own waits for the last that is on its way, whose receipt may come any moment.
            Some(last) if self.records.is_empty() => last.held.push(held),
            _ => self.held.push(held),
        }
    }

    /// Takes back the leavings of a room that are held, in order: what the others learn.
    pub(super) fn take_late(&mut self, room: &Name) -> Vec<SmallVec<[AddressedEvent; 1]>> {
        if self.late.remove(room).is_none() {
            return Vec::new();
        }
        let is_of_room = |held: &mut Held| matches!(held, Held::Late { room: known, .. } if known == room);
        let lists = self.pending.iter_mut().map(|pending| &mut pending.held).chain([&mut self.held]);
        let taken = lists.flat_map(|held| held.extract_if(.., is_of_room)).filter_map(|held| match held {
            Held::Late { events, .. } => Some(events),
            _ => None,
        });
        taken.collect()
    }

    /// A leaving of a room is held no longer.
    pub(super) fn note_told(&mut self, room: &Name) {
        if let Some(count) = self.late.get_mut(room) {
            *count -= 1;
            if *count == 0 {
                self.late.remove(room);
            }
        }
    }

    /// As [`CommitBarrier::hold`], in a batch of its own: a receipt for the end of a session may come late, and nothing else is to
    /// wait for it.
    pub(super) fn hold_alone(&mut self, now: Now, record: Record, held: Held) {
        self.seal(now);
        self.hold([record], held);
        self.seal(now);
    }

    /// Puts a question to the store.
    pub(super) fn ask(&mut self, ask: u32, query: StorageQuery) {
        let from = Requester { shard: self.sender, ask };
        self.orders.push(StorageCommand::Query { from, query });
    }

    /// Makes a batch of what was gathered.
    fn seal(&mut self, now: Now) {
        if self.records.is_empty() {
            return;
        }
        let ticket = Ticket { sender: self.sender, run: self.run, number: self.next };
        let held = std::mem::take(&mut self.held);
        self.pending.push_back(Pending { number: self.next, since: now.mono, held });
        self.orders.push(StorageCommand::Commit(Batch { ticket, records: std::mem::take(&mut self.records) }));
        self.next += 1;
    }

    /// What the store is to do, in order.
    pub(super) fn orders(&mut self, now: Now) -> std::vec::Drain<'_, StorageCommand> {
        self.seal(now);
        self.orders.drain(..)
    }

    /// Whether there is something for the store to do.
    pub(super) fn has_orders(&self) -> bool {
        !self.records.is_empty() || !self.orders.is_empty()
    }

    /// A receipt has come; what it sets free, if it was awaited.
    pub(super) fn receipt(&mut self, receipt: CommitReceipt) -> Option<ReleasedEffects> {
        let CommitReceipt { ticket, outcome } = receipt;
        // Numbers are not used twice, so what was refused before is not found here.
        let at = self.pending.iter().position(|pending| pending.number == ticket.number)?;
        match outcome {
            Ok(kept) => self.pending.remove(at).map(|pending| ReleasedEffects::Committed(pending.held, kept)),
            Err(_) => {
                self.run += 1;
                self.records.clear();
                // Those before the one that was refused may still be kept, their receipts being on the way.
                let refused = self.pending.drain(at..).flat_map(|pending| pending.held);
                let held = refused.chain(self.held.drain(..)).collect();
                Some(ReleasedEffects::Refused(held))
            }
        }
    }

    /// The store has changed.
    pub(super) fn set_state(&mut self, state: StorageState) {
        self.state = state;
    }

    /// Whether anything is on its way to the store.
    pub(super) fn is_busy(&self) -> bool {
        !self.records.is_empty() || !self.pending.is_empty()
    }

    /// How the store is.
    pub(super) fn state(&self) -> StorageState {
        self.state
    }
}
