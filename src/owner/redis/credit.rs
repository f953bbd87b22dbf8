//! What users may say and type in a minute, on all nodes together. A node's keeper lends its shards what it draws on a fund
//! that Redis has for each user; see [`crate::domain::quota`].

use crate::base::Name;
use crate::base::time::Now;
use crate::domain::quota::{
    ClusterQuotaReply, ClusterQuotaRequest, QuotaGrant, QuotaKind, QuotaRequest, ReturnedCredits,
};
use crate::message::{Outgoing, ShardMessage, ShardNumber};
use crate::owner::redis::users::{Purpose, Said};
use crate::owner::redis::wire::{json, number};
use crate::owner::redis::{RedisOwner, scripts};

/// Kinds by the numbers that Redis knows them by.
const KINDS: [QuotaKind; 3] = [QuotaKind::Messages, QuotaKind::Typing, QuotaKind::Rest];

impl RedisOwner {
    /// A shard tells what it has spent of what it was lent, or asks for more.
    pub fn claimed(&mut self, now: Now, from: ShardNumber, claim: &QuotaRequest, out: &mut Vec<Outgoing>) {
        self.with_credit(out, |redis, notices| redis.credit.claim(now, from, claim, notices));
    }

    /// Another node asks for what is not spent here, or has given something back.
    pub(super) fn credit_published(
        &mut self,
        now: Now,
        user: &Name,
        (kind, minute): (usize, Option<u64>),
        out: &mut Vec<Outgoing>,
    ) {
        let Some(&kind) = KINDS.get(kind) else { return };
        self.with_credit(out, |redis, notices| match minute {
            Some(minute) => redis.credit.recalled(now, user, kind, minute, notices),
            None => redis.credit.again(now, user, kind, notices),
        });
    }

    /// Redis has said what there is; `None` when it did not answer.
    pub(super) fn leased(
        &mut self,
        now: Now,
        user: &Name,
        kind: QuotaKind,
        said: Option<Said>,
        out: &mut Vec<Outgoing>,
    ) {
        let drawn = match said {
            None => ClusterQuotaReply::Unknown,
            Some(Said { n, l, m: 1, .. }) => ClusterQuotaReply::Awaited { minute: n, ends_in_ms: l },
            Some(Said { n, l, k, .. }) => ClusterQuotaReply::Lent { minute: n, ends_in_ms: l, credits: k as u32 },
        };
        self.with_credit(out, |redis, notices| redis.credit.drawn(now, user, kind, drawn, notices));
    }

    /// Goes on with what has become due.
    pub(super) fn tick_credit(&mut self, now: Now, out: &mut Vec<Outgoing>) {
        if self.credit.next_due().is_some_and(|at| at <= now.mono) {
            self.with_credit(out, |redis, notices| redis.credit.tick(now, notices));
        }
    }

    fn with_credit(
        &mut self,
        out: &mut Vec<Outgoing>,
        act: impl FnOnce(&mut Self, &mut Vec<(ShardNumber, QuotaGrant)>),
    ) {
        let mut notices = Vec::new();
        act(self, &mut notices);
        out.extend(notices.into_iter().map(|(to, notice)| (to, ShardMessage::QuotaGrant(notice))));
    }

    /// Tells Redis what is wanted of it and given back.
    pub(super) fn call_leases(&mut self, now: Now) {
        let draws: Vec<ClusterQuotaRequest> = self.credit.draws().collect();
        for ClusterQuotaRequest { user, kind, wanted, repaid, is_last } in draws {
            let ReturnedCredits { minute, unspent, settled } = repaid.unwrap_or_default();
            let most = self.settings.rates.of(kind);
            let counts = [most, wanted, unspent, settled, u32::from(is_last)].map(|count| number(count.into()));
            let head = [json(&user), number(kind as u64), number(minute)];
            let arguments = head.into_iter().chain(counts).collect();
            let purpose = if wanted > 0 { Purpose::Lease(kind) } else { Purpose::Repay };
            self.call_user(now, &scripts::LEASE, user, None, purpose, arguments);
        }
    }
}
