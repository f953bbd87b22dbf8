//! Calls of scripts: tickets, pending calls, and the commands that wait to be carried out.

use std::collections::BTreeMap;

use crate::base::Name;
use crate::domain::hook::OutboxOp;
use crate::domain::quota::QuotaKind;
use crate::message::Requester;
use crate::message::redis::{Bytes, RedisCommand};
use crate::owner::redis::cluster::ClusterCall;
use crate::owner::redis::cluster::enrolment::Enrolment;
use crate::owner::redis::revocations::RevocationCall;
use crate::owner::redis::rooms::commands::RoomCall;
use crate::owner::redis::sessions::SessionCall;
use crate::owner::redis::users::UserCall;

/// Time a reply may take before the requester gets an error, in milliseconds.
pub(super) const REPLY_MS: u64 = 2_000;

/// Pending calls far beyond the bound at which the bridge stops reading requests.
const PENDING_MAX: usize = 1 << 20;

/// The reason for a call: it selects the component that handles the reply, and how that decodes it.
pub(super) enum CallPurpose {
    Room(Name, RoomCall),
    User(Name, UserCall),
    /// Credits of a user's quota were requested.
    QuotaLease(Name, QuotaKind),
    /// Credits of a user's quota were returned; the reply is not used.
    QuotaReturn,
    Session(SessionCall),
    Revocation(RevocationCall),
    Outbox(OutboxOp),
    Enrolment(Box<Enrolment>),
    /// The room list of a user, for the query of this number.
    RoomList(u32),
    Cluster(ClusterCall),
}

/// A call without a reply yet.
pub(super) struct PendingCall {
    /// The shard's request that the call serves, if there is one.
    pub(super) to: Option<Requester>,
    pub(super) purpose: CallPurpose,
    /// Time of the call, in monotonic milliseconds.
    made_at: u64,
}

/// Pending calls by ticket, and the commands for Redis in order.
#[derive(Default)]
pub(super) struct Calls {
    /// Tickets grow with time, so the first entry is the oldest.
    pending: BTreeMap<u32, PendingCall>,
    next_ticket: u32,
    /// Commands for Redis, in order.
    pub(super) commands: Vec<RedisCommand>,
}

impl Calls {
    /// Registers a call. A ticket is not used again soon, because a reply can come after its call has expired.
    pub(super) fn register(&mut self, now_ms: u64, to: Option<Requester>, purpose: CallPurpose) -> u32 {
        let ticket = self.next_ticket;
        self.next_ticket = ticket.wrapping_add(1);
        let replaced = self.pending.insert(ticket, PendingCall { to, purpose, made_at: now_ms });
        debug_assert!(replaced.is_none(), "invariant: a ticket belongs to one pending call");
        ticket
    }

    /// Removes the call that a reply belongs to; `None` when it has expired before.
    pub(super) fn take(&mut self, ticket: u32) -> Option<PendingCall> {
        self.pending.remove(&ticket)
    }

    pub(super) fn is_pending(&self, ticket: u32) -> bool {
        self.pending.contains_key(&ticket)
    }

    pub(super) fn has_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Whether a call about a room is under way.
    pub(super) fn has_pending_in(&self, room: &Name) -> bool {
        let is_in = |call: &PendingCall| matches!(&call.purpose, CallPurpose::Room(name, _) if name == room);
        self.pending.values().any(is_in)
    }

    /// Tickets of the calls that have waited too long.
    pub(super) fn expired(&self, now_ms: u64) -> Vec<u32> {
        let is_late = |call: &PendingCall| now_ms.saturating_sub(call.made_at) >= REPLY_MS;
        self.pending.iter().filter(|(_, call)| is_late(call)).map(|(ticket, _)| *ticket).collect()
    }

    /// When the next call expires, in monotonic milliseconds.
    pub(super) fn next_expiry(&self) -> Option<u64> {
        self.pending.values().map(|call| call.made_at + REPLY_MS).min()
    }

    /// Number of commands so far; see [`Self::move_to_front`].
    pub(super) fn mark(&self) -> usize {
        self.commands.len()
    }

    /// Moves the commands behind `mark` before all others.
    pub(super) fn move_to_front(&mut self, mark: usize) {
        assert!(mark <= self.commands.len(), "invariant: commands leave the queue only between two turns");
        let added = self.commands.len() - mark;
        self.commands.rotate_right(added);
    }

    /// Checks that each pending call is older than the next ticket and within the queue's bound.
    pub(super) fn check_invariants(&self, next_deadline: Option<u64>) {
        assert!(self.pending.len() <= PENDING_MAX, "invariant: pending calls are bounded");
        assert!(!self.pending.contains_key(&self.next_ticket), "invariant: the next ticket is free");
        if let Some(expiry) = self.next_expiry() {
            let is_covered = next_deadline.is_some_and(|deadline| deadline <= expiry);
            assert!(is_covered, "invariant: each pending call has a deadline");
        }
        for command in &self.commands {
            let RedisCommand::ScriptCall(call) = command else { continue };
            assert_eq!(call.keys.len(), 1, "invariant: a script has one key");
        }
    }
}

/// A call's outcome: the script's answer as JSON, or the reason why there is none.
pub(super) type CallResult = Result<Bytes, crate::message::redis::CallError>;
