//! Commit barrier: holds replies and events until the storage thread has committed their records.
//!
//! The records of one turn go to storage as one batch, and the effects that depend on them wait for its receipt. Effects
//! without a record pass, so signaling, typing and presence continue while storage is slow or down. A refusal ends a run
//! (see [`crate::message::storage`]): all held effects are returned to be undone, and the next batch starts a new run.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use smallvec::SmallVec;
use uuid::Uuid;

use crate::base::Name;
use crate::base::ids::ConnectionId;
use crate::base::limits;
use crate::base::time::Now;
use crate::domain::access::Identity;
use crate::domain::event::{Content, Direct};
use crate::domain::op::{AddressedEvent, Reply, RoomOp};
use crate::domain::record::{KeptPush, Record, TokenHash};
use crate::domain::revocation::RevocationChange;
use crate::domain::room::Room;
use crate::message::storage::{
    Batch, CommitOutcome, CommitReceipt, StorageCommand, StorageQuery, StorageState, Ticket,
};
use crate::message::{Requester, ShardNumber};

/// An effect that waits for a receipt.
pub(super) enum PendingEffect {
    /// The reply and events of an operation on a room.
    RoomEvents {
        room: Name,
        reply: Reply,
        events: SmallVec<[AddressedEvent; 1]>,
        /// The sequence number of the committed message; 0 if the record is not a message.
        seq: u64,
        idempotency_key: Option<u128>,
    },
    Reply(Reply),
    /// The events of a departure. They follow the messages sent before it, committed or not, and precede any arrival.
    Departure {
        room: Name,
        events: SmallVec<[AddressedEvent; 1]>,
    },
    /// An operation that runs after its record is committed.
    RoomOperation {
        room: Name,
        op: RoomOp,
    },
    /// An operation on an empty room that is being deleted: it runs on the room that is there afterwards.
    RetriedOperation {
        room: Name,
        op: RoomOp,
    },
    RoomCreation(Box<Room>),
    /// A change of the list of revocations, for all shards.
    Revocation(RevocationChange),
    /// The deletion of an idle room.
    RoomDeletion {
        room: Name,
    },
    DirectMessage {
        user: Name,
        direct: Arc<Direct>,
    },
    /// The end of a push with an idempotency key.
    PushEnd(Box<KeptPush>),
    /// A direct message to a user that storage may know: a record of that user may be in transit.
    DirectToUnknownUser {
        user: Name,
        by: Identity,
        content: Content,
    },
    /// The record that a direct message was delivered.
    DirectAck {
        user: Name,
        id: Uuid,
    },
    /// A lookup of an offline user: a record of that user may be in transit.
    UserLookup {
        user: Name,
    },
    /// A count of the stored users: records of some may be in transit.
    UserCount,
    /// The end of a session that is returned to the requester.
    SessionEnd {
        token: TokenHash,
    },
    /// The end of a session without a reply.
    SessionDeletion,
    SessionClaim(SessionClaim),
    /// A claim behind another claim of the same session.
    RetriedClaim(SessionClaim),
}

/// A claim: `user` moves the session of connection `from` to connection `to`.
pub(super) struct SessionClaim {
    pub(super) token: TokenHash,
    pub(super) user: Name,
    pub(super) from: ConnectionId,
    pub(super) to: ConnectionId,
}

impl PendingEffect {
    /// Whether a refused record means a rejection for the requester.
    pub(super) fn needs_rejection(&self) -> bool {
        !matches!(
            self,
            Self::Departure { .. }
                | Self::RoomDeletion { .. }
                | Self::DirectAck { .. }
                | Self::RetriedOperation { .. }
                | Self::SessionDeletion
        )
    }
}

/// A pending effect and the requester of its operation, if there is one.
pub(super) struct HeldEffect {
    pub(super) to: Option<Requester>,
    pub(super) effect: PendingEffect,
}

/// A batch in transit to storage, and the effects that wait for its receipt.
struct PendingCommit {
    number: u64,
    since: u64,
    effects: Vec<HeldEffect>,
}

/// The effects that a receipt releases.
pub(super) enum ReleasedEffects {
    Committed(Vec<HeldEffect>, CommitOutcome),
    /// The effects of the refused batch and of all later ones.
    Refused(Vec<HeldEffect>),
}

pub(super) struct CommitBarrier {
    sender: ShardNumber,
    run: u32,
    next: u64,
    records: SmallVec<[Record; 1]>,
    effects: Vec<HeldEffect>,
    pending: VecDeque<PendingCommit>,
    /// The number of held departures by room; rooms without any are absent.
    departures: BTreeMap<Name, u32>,
    /// Commands for the storage thread, in order.
    pub(super) commands: Vec<StorageCommand>,
    state: StorageState,
}

impl CommitBarrier {
    pub(super) fn new(sender: ShardNumber) -> Self {
        Self {
            sender,
            run: 0,
            next: 0,
            records: SmallVec::new(),
            effects: Vec::new(),
            pending: VecDeque::new(),
            departures: BTreeMap::new(),
            commands: Vec::new(),
            state: StorageState::Good,
        }
    }

    /// Whether new records are accepted: storage works, and its oldest receipt is not overdue.
    pub(super) fn is_open(&self, now: Now) -> bool {
        self.state == StorageState::Good && self.lag_ms(now) <= limits::STORE_LATE_MS
    }

    /// The age of the oldest uncommitted batch in milliseconds.
    pub(super) fn lag_ms(&self, now: Now) -> u64 {
        self.pending.front().map_or(0, |oldest| now.mono.saturating_sub(oldest.since))
    }

    /// Commits records without an effect.
    pub(super) fn keep(&mut self, records: impl IntoIterator<Item = Record>) {
        self.records.extend(records);
    }

    /// Holds an effect until the records, or without records all earlier ones, are committed.
    pub(super) fn hold(
        &mut self,
        records: impl IntoIterator<Item = Record>,
        effect: PendingEffect,
        to: Option<Requester>,
    ) {
        self.records.extend(records);
        if let PendingEffect::Departure { room, .. } = &effect {
            *self.departures.entry(room.clone()).or_default() += 1;
        }
        let held = HeldEffect { to, effect };
        match self.pending.back_mut() {
            // The effect has no record of its own, so it waits for the last batch in transit.
            Some(last) if self.records.is_empty() => last.effects.push(held),
            _ => {
                debug_assert!(!self.records.is_empty(), "invariant: a held effect waits for a record");
                self.effects.push(held);
            }
        }
    }

    /// Takes back the held departures of a room, in order.
    pub(super) fn take_departures(&mut self, room: &Name) -> Vec<SmallVec<[AddressedEvent; 1]>> {
        if self.departures.remove(room).is_none() {
            return Vec::new();
        }
        let is_of_room = |held: &mut HeldEffect| matches!(&held.effect, PendingEffect::Departure { room: known, .. } if known == room);
        let lists = self.pending.iter_mut().map(|pending| &mut pending.effects).chain([&mut self.effects]);
        let taken = lists.flat_map(|effects| effects.extract_if(.., is_of_room)).filter_map(|held| match held.effect {
            PendingEffect::Departure { events, .. } => Some(events),
            _ => None,
        });
        taken.collect()
    }

    /// As [`CommitBarrier::hold`], in a batch of its own: the receipt for the end of a session may come late, and no other
    /// effect may wait for it.
    pub(super) fn hold_alone(&mut self, now: Now, record: Record, effect: PendingEffect, to: Option<Requester>) {
        self.seal(now);
        self.hold([record], effect, to);
        self.seal(now);
    }

    /// Sends a query to storage. Its result comes back with `ask`.
    pub(super) fn query(&mut self, ask: u32, query: StorageQuery) {
        let from = Requester { shard: self.sender, ask };
        self.commands.push(StorageCommand::Query { from, query });
    }

    /// Makes a batch of the collected records.
    pub(super) fn seal(&mut self, now: Now) {
        if self.records.is_empty() {
            return;
        }
        let ticket = Ticket { sender: self.sender, run: self.run, number: self.next };
        let effects = std::mem::take(&mut self.effects);
        self.pending.push_back(PendingCommit { number: self.next, since: now.mono, effects });
        self.commands.push(StorageCommand::Commit(Batch { ticket, records: std::mem::take(&mut self.records) }));
        self.next += 1;
    }

    pub(super) fn has_commands(&self) -> bool {
        !self.records.is_empty() || !self.commands.is_empty()
    }

    /// Handles a receipt; `None` if it is not awaited.
    pub(super) fn settle(&mut self, receipt: CommitReceipt) -> Option<ReleasedEffects> {
        let CommitReceipt { ticket, outcome } = receipt;
        debug_assert_eq!(ticket.sender, self.sender, "invariant: a receipt returns to the sender of its batch");
        // Numbers are unique, so a batch that was refused before is not found.
        let at = self.pending.iter().position(|pending| pending.number == ticket.number)?;
        let released = match outcome {
            Ok(kept) => ReleasedEffects::Committed(self.pending.remove(at)?.effects, kept),
            Err(_) => {
                self.run += 1;
                self.records.clear();
                // The batches before the refused one may still be committed: their receipts are in transit.
                let refused = self.pending.drain(at..).flat_map(|pending| pending.effects);
                ReleasedEffects::Refused(refused.chain(self.effects.drain(..)).collect())
            }
        };
        let (ReleasedEffects::Committed(effects, _) | ReleasedEffects::Refused(effects)) = &released;
        if !self.departures.is_empty() {
            for held in effects {
                if let PendingEffect::Departure { room, .. } = &held.effect {
                    count_out(&mut self.departures, room);
                }
            }
        }
        Some(released)
    }

    pub(super) fn set_state(&mut self, state: StorageState) {
        self.state = state;
    }

    /// Whether any record is uncommitted.
    pub(super) fn is_busy(&self) -> bool {
        !self.records.is_empty() || !self.pending.is_empty()
    }

    pub(super) fn state(&self) -> StorageState {
        self.state
    }

    /// All held effects.
    pub(super) fn held(&self) -> impl Iterator<Item = &PendingEffect> {
        let held = self.pending.iter().flat_map(|pending| &pending.effects).chain(&self.effects);
        held.map(|held| &held.effect)
    }

    /// Whether a claim of the session waits for storage.
    pub(super) fn holds_claim(&self, token: &TokenHash) -> bool {
        let is_it =
            |effect: &PendingEffect| matches!(effect, PendingEffect::SessionClaim(claim) if claim.token == *token);
        self.held().any(is_it)
    }

    /// See [`crate::owner::embedded::EmbeddedOwner::check_invariants`].
    pub(super) fn check_invariants(&self) {
        let is_ascending =
            self.pending.iter().is_sorted_by(|one, next| one.number < next.number && one.since <= next.since);
        assert!(is_ascending, "commit barrier: pending commits are in the order of their tickets");
        assert!(
            self.pending.back().is_none_or(|last| last.number < self.next),
            "commit barrier: each pending commit has a ticket that was issued"
        );
        for command in &self.commands {
            if let StorageCommand::Commit(batch) = command {
                let is_awaited = self.pending.iter().any(|pending| pending.number == batch.ticket.number);
                assert!(
                    is_awaited || batch.ticket.run < self.run,
                    "commit barrier: each batch of this run has a pending commit"
                );
                assert!(!batch.records.is_empty(), "commit barrier: each batch has records");
            }
        }
        assert!(
            self.effects.is_empty() || !self.records.is_empty(),
            "commit barrier: each unsealed effect has a record to wait for"
        );
        let mut departures: BTreeMap<Name, u32> = BTreeMap::new();
        for effect in self.held() {
            if let PendingEffect::Departure { room, .. } = effect {
                *departures.entry(room.clone()).or_default() += 1;
            }
        }
        assert_eq!(departures, self.departures, "commit barrier: held departures match their count by room");
    }
}

/// Takes one off the count of a key; the key of the last one is removed.
pub(super) fn count_out(counts: &mut BTreeMap<Name, u32>, name: &Name) {
    let count = counts.get_mut(name).expect("owner: each counted entry has a count");
    *count -= 1;
    if *count == 0 {
        counts.remove(name);
    }
}
