//! Quotas of users on all nodes together: this node's pool leases credits to its shards, and draws them from a fund in Redis
//! that each user has; see [`crate::domain::quota`].

use serde::Deserialize;

use crate::base::Name;
use crate::domain::quota::{
    ClusterQuotaReply, ClusterQuotaRequest, QuotaGrant, QuotaKind, QuotaPool, QuotaRequest, Rates, ReturnedCredits,
};
use crate::message::{ShardMessage, ShardNumber};
use crate::owner::redis::calls::{CallPurpose, CallResult};
use crate::owner::redis::schema::QUOTA_KINDS;
use crate::owner::redis::scripts;
use crate::owner::redis::turn::OwnerTurn;
use crate::owner::redis::wire::{json, number};

/// The answer of the script.
#[derive(Default, Deserialize)]
#[serde(default)]
struct LeaseReply {
    /// End of the minute; it names the minute.
    #[serde(rename = "n")]
    minute: u64,
    #[serde(rename = "l")]
    ends_in_ms: u64,
    /// 1 if other nodes have been asked to return credits.
    #[serde(rename = "m")]
    is_awaited: u8,
    #[serde(rename = "k")]
    credits: u32,
}

/// The quotas of the users of this node.
pub(super) struct ClusterQuotas {
    pool: QuotaPool,
}

impl ClusterQuotas {
    pub(super) fn new(rates: Rates, seed: u64) -> Self {
        Self { pool: QuotaPool::sharing(rates, seed) }
    }

    /// Replaces the rates, for the minutes that begin from now on.
    pub(super) fn set_rates(&mut self, rates: Rates) {
        self.pool.set_rates(rates);
    }

    /// A shard reports credits that it has spent, or asks for more.
    pub(super) fn request(&mut self, turn: &mut OwnerTurn<'_>, from: ShardNumber, request: &QuotaRequest) {
        let now = turn.now;
        self.grant(turn, |pool, grants| pool.handle_request(now, from, request, grants));
    }

    /// Another node asks for unspent credits of a minute, or has returned some. A kind of a later version is ignored.
    pub(super) fn published(&mut self, turn: &mut OwnerTurn<'_>, user: &Name, (kind, minute): (usize, Option<u64>)) {
        if let Some(&kind) = QUOTA_KINDS.get(kind) {
            let now = turn.now;
            self.grant(turn, |pool, grants| match minute {
                Some(minute) => pool.recall_for_cluster(now, user, kind, minute, grants),
                None => pool.retry_cluster(now, user, kind, grants),
            });
        }
    }

    /// Handles the result of a request for credits.
    pub(super) fn replied(&mut self, turn: &mut OwnerTurn<'_>, user: &Name, kind: QuotaKind, result: CallResult) {
        let drawn = match result.ok().and_then(|text| serde_json::from_slice::<LeaseReply>(&text).ok()) {
            None => ClusterQuotaReply::Unknown,
            Some(LeaseReply { minute, ends_in_ms, is_awaited: 1, .. }) => {
                ClusterQuotaReply::Recalling { minute, ends_in_ms }
            }
            Some(LeaseReply { minute, ends_in_ms, credits, .. }) => {
                ClusterQuotaReply::Granted { minute, ends_in_ms, credits }
            }
        };
        let now = turn.now;
        self.grant(turn, |pool, grants| pool.apply_cluster_reply(now, user, kind, drawn, grants));
    }

    pub(super) fn tick(&mut self, turn: &mut OwnerTurn<'_>) {
        let now = turn.now;
        if self.next_due().is_some_and(|at| at <= now.mono) {
            self.grant(turn, |pool, grants| pool.tick(now, grants));
        }
    }

    /// Sends the grants that an act on the pool leads to.
    fn grant(
        &mut self,
        turn: &mut OwnerTurn<'_>,
        act: impl FnOnce(&mut QuotaPool, &mut Vec<(ShardNumber, QuotaGrant)>),
    ) {
        let mut grants = Vec::new();
        act(&mut self.pool, &mut grants);
        turn.out.extend(grants.into_iter().map(|(to, grant)| (to, ShardMessage::QuotaGrant(grant).into())));
    }

    /// Calls the script for each request and return of credits.
    pub(super) fn flush(&mut self, turn: &mut OwnerTurn<'_>) {
        let requests: Vec<ClusterQuotaRequest> = self.pool.take_cluster_requests().collect();
        for ClusterQuotaRequest { user, kind, wanted, returned, is_last } in requests {
            let ReturnedCredits { minute, unspent, settled } = returned.unwrap_or_default();
            debug_assert!(unspent <= settled, "invariant: a node returns no more credits than it had");
            let rate = turn.node.settings.rates.of(kind);
            let counts = [rate, wanted, unspent, settled, u32::from(is_last)].map(|count| number(count.into()));
            let head = [json(&user), number(kind as u64), number(minute)];
            let arguments = head.into_iter().chain(counts).collect();
            let purpose = |user| match wanted {
                0 => CallPurpose::QuotaReturn,
                _ => CallPurpose::QuotaLease(user, kind),
            };
            turn.call_user(&scripts::LEASE, user, None, purpose, arguments);
        }
    }

    pub(super) fn has_requests(&self) -> bool {
        self.pool.has_cluster_requests()
    }

    pub(super) fn next_due(&self) -> Option<u64> {
        self.pool.next_due()
    }
}
