//! The quota pool: the credits of an owner's users, and the leases of the shards.

use std::collections::BTreeMap;

use smallvec::SmallVec;

use super::cluster::{ClusterQuota, ClusterQuotaRequest};
use super::{GrantKind, QuotaGrant, QuotaKind, QuotaRequest, Rates, WINDOW_MS};
use crate::base::Name;
use crate::base::table::{HasName, Table};
use crate::base::time::Now;

/// One grant is this part of the quota.
const GRANT_PART: u32 = 4;

/// Credits in one grant at the most.
const GRANT_MAX: u32 = 25;

/// How long a recall may stay unanswered, in milliseconds, before the lease counts as spent.
pub(super) const RECALL_MS: u64 = 5_000;

/// The quotas of an owner's users. A user without a request for a minute is forgotten.
pub struct QuotaPool {
    rates: Rates,
    pub(super) accounts: Table<QuotaAccount>,
    pub(super) due: BTreeMap<u64, Vec<Name>>,
    /// Whether its credits come from a cluster quota; see [`super::cluster`].
    is_shared: bool,
    /// Requests to the cluster quotas.
    pub(super) cluster_requests: Vec<ClusterQuotaRequest>,
}

/// One user's quotas.
pub(super) struct QuotaAccount {
    user: Name,
    pub(super) minutes: SmallVec<[QuotaMinute; 1]>,
    /// When the first of them is due, in monotonic milliseconds; 0: never.
    due_at: u64,
}

/// One quota in one minute.
pub(super) struct QuotaMinute {
    pub(super) kind: QuotaKind,
    /// The end of the minute in monotonic milliseconds; it identifies the minute.
    pub(super) ends_at: u64,
    /// Credits that are neither leased nor spent.
    pub(super) free: u32,
    pub(super) leases: SmallVec<[QuotaLease; 1]>,
    /// Shards that asked for more than is free, in order.
    waiting: SmallVec<[u8; 2]>,
    /// The cluster quota that its credits come from, if the pool is shared.
    pub(super) cluster: Option<ClusterQuota>,
}

/// The credits that one shard was lent in one minute.
pub(super) struct QuotaLease {
    shard: u8,
    lent: u32,
    spent: u32,
    returned: u32,
    /// When it was recalled, if the shard has not answered yet.
    recalled_at: Option<u64>,
}

impl HasName for QuotaAccount {
    fn name(&self) -> &str {
        &self.user
    }
}

impl QuotaPool {
    /// A pool for quotas of these rates.
    pub fn new(rates: Rates, seed: u64) -> Self {
        Self { rates, accounts: Table::new(seed), due: BTreeMap::new(), is_shared: false, cluster_requests: Vec::new() }
    }

    /// A pool whose credits come from cluster quotas, because other nodes have pools of the same users.
    pub fn sharing(rates: Rates, seed: u64) -> Self {
        Self { is_shared: true, ..Self::new(rates, seed) }
    }

    /// Replaces the rates, for the minutes that begin from now on.
    pub fn set_rates(&mut self, rates: Rates) {
        self.rates = rates;
    }

    /// The credits of one kind in a minute.
    pub(super) fn per_minute(&self, kind: QuotaKind) -> u32 {
        self.rates.of(kind)
    }

    /// Handles a request of a shard: it reports spent credits, gives credits back, or asks for more. Grants and recalls
    /// go to `out`.
    pub fn handle_request(&mut self, now: Now, shard: u8, request: &QuotaRequest, out: &mut Vec<(u8, QuotaGrant)>) {
        let per_minute = self.rates.of(request.kind);
        let place = match self.accounts.find(&request.user) {
            Some(place) => place,
            // A report about a forgotten minute is stale.
            None if !request.wants => return,
            None => {
                self.accounts.insert(QuotaAccount { user: request.user.clone(), minutes: SmallVec::new(), due_at: 0 })
            }
        };
        let account = self.accounts.at_mut(place).expect("invariant: a found or inserted account is in the table");
        let at = match account.minutes.iter().position(|minute| minute.kind == request.kind) {
            Some(at) => at,
            None if !request.wants => return,
            None => {
                let cluster = self.is_shared.then(ClusterQuota::default);
                account.minutes.push(QuotaMinute::new(request.kind, per_minute, cluster, now));
                account.minutes.len() - 1
            }
        };
        let minute = &mut account.minutes[at];
        minute.settle(shard, request);
        if request.wants {
            minute.waiting.retain(|waiting| *waiting != shard);
            minute.waiting.push(shard);
        }
        minute.serve_waiting(now, per_minute, &request.user, (out, &mut self.cluster_requests));
        account.arm(&mut self.due);
    }

    /// Handles due deadlines: minutes that are over, recalls without an answer.
    pub fn tick(&mut self, now: Now, out: &mut Vec<(u8, QuotaGrant)>) {
        while let Some(entry) = self.due.first_entry()
            && *entry.key() <= now.mono
        {
            let at = *entry.key();
            for user in entry.remove() {
                // An entry is stale if an earlier deadline has replaced it.
                let Some(account) = self.accounts.get_mut(&user).filter(|account| account.due_at == at) else {
                    continue;
                };
                for minute in &mut account.minutes {
                    let per_minute = self.rates.of(minute.kind);
                    minute.serve_waiting(now, per_minute, &user, (&mut *out, &mut self.cluster_requests));
                }
                account.minutes.retain(|minute| now.mono < minute.ends_at);
                if account.minutes.is_empty() {
                    self.accounts.remove(&user);
                    continue;
                }
                account.due_at = 0;
                account.arm(&mut self.due);
            }
        }
    }

    /// When [`QuotaPool::tick`] has work, in monotonic milliseconds.
    pub fn next_due(&self) -> Option<u64> {
        self.due.first_key_value().map(|(at, _)| *at)
    }

    /// The number of users in the pool.
    pub fn len(&self) -> usize {
        self.accounts.len()
    }

    /// Whether the pool is empty.
    pub fn is_empty(&self) -> bool {
        self.accounts.is_empty()
    }
}

impl QuotaAccount {
    /// Schedules the account for the first deadline of its minutes.
    pub(super) fn arm(&mut self, due: &mut BTreeMap<u64, Vec<Name>>) {
        let at = self.minutes.iter().map(QuotaMinute::due_at).min();
        let at = at.expect("invariant: an account in the pool has a minute");
        if self.due_at == 0 || at < self.due_at {
            self.due_at = at;
            due.entry(at).or_default().push(self.user.clone());
        }
    }
}

impl QuotaMinute {
    fn new(kind: QuotaKind, per_minute: u32, cluster: Option<ClusterQuota>, now: Now) -> Self {
        let (leases, waiting) = (SmallVec::new(), SmallVec::new());
        let free = if cluster.is_some() { 0 } else { per_minute };
        Self { kind, ends_at: now.mono + WINDOW_MS, free, leases, waiting, cluster }
    }

    /// When the minute is over, or a recall has been unanswered for too long.
    fn due_at(&self) -> u64 {
        let recalls = self.leases.iter().filter_map(|lease| lease.recalled_at).map(|at| at + RECALL_MS);
        let retry = self.cluster.as_ref().and_then(ClusterQuota::retry_at);
        recalls.chain(retry).min().map_or(self.ends_at, |at| at.min(self.ends_at))
    }

    /// Notes the credits that a shard has spent and given back. A report about another minute is stale.
    fn settle(&mut self, shard: u8, report: &QuotaRequest) {
        let is_current = report.minute == self.ends_at;
        if let Some(lease) = self.leases.iter_mut().find(|lease| is_current && lease.shard == shard) {
            lease.recalled_at = None;
            lease.spent = lease.spent.max(report.spent);
            // Only credits that are known to be leased and not spent come back.
            let returned = report.returned.saturating_sub(lease.returned).min(lease.held());
            lease.returned += returned;
            self.free += returned;
            debug_assert!(
                lease.spent + lease.returned <= lease.lent,
                "invariant: a lease has no more spent and returned credits than were lent"
            );
        }
    }

    /// Grants credits to waiting shards, as far as credits are free or can be recalled.
    pub(super) fn serve_waiting(
        &mut self,
        now: Now,
        per_minute: u32,
        user: &Name,
        (out, cluster_requests): (&mut Vec<(u8, QuotaGrant)>, &mut Vec<ClusterQuotaRequest>),
    ) {
        if now.mono >= self.ends_at {
            if self.waiting.is_empty() {
                return;
            }
            let waiting = std::mem::take(&mut self.waiting);
            let cluster = self.cluster.take().map(ClusterQuota::of_the_next_minute);
            *self = Self { waiting, ..Self::new(self.kind, per_minute, cluster, now) };
        }
        for lease in &mut self.leases {
            if lease.recalled_at.is_some_and(|at| at + RECALL_MS <= now.mono) {
                lease.recalled_at = None;
                lease.spent = lease.lent - lease.returned;
            }
        }
        if self.return_if_recalled(user, cluster_requests) {
            return;
        }
        while let Some(&shard) = self.waiting.first() {
            let grant = if self.free > 0 {
                GrantKind::Credits(self.lend(shard, per_minute))
            } else if self.request_from_cluster(now, per_minute, user, cluster_requests)
                || self.recall(now, Some(shard), user, out)
            {
                return;
            } else {
                GrantKind::Exhausted
            };
            self.waiting.remove(0);
            out.push((shard, self.grant(user, grant)));
        }
    }

    fn lend(&mut self, shard: u8, per_minute: u32) -> u32 {
        let credits = (per_minute / GRANT_PART).clamp(1, GRANT_MAX).min(self.free);
        assert!(credits > 0, "invariant: only free credits are lent");
        self.free -= credits;
        match self.leases.iter_mut().find(|lease| lease.shard == shard) {
            Some(lease) => lease.lent += credits,
            None => self.leases.push(QuotaLease { shard, lent: credits, spent: 0, returned: 0, recalled_at: None }),
        }
        credits
    }

    /// Recalls the leases of all shards but one. Returns whether there are unspent credits to come back.
    pub(super) fn recall(
        &mut self,
        now: Now,
        except: Option<u8>,
        user: &Name,
        out: &mut Vec<(u8, QuotaGrant)>,
    ) -> bool {
        let recall = self.grant(user, GrantKind::Recall);
        let mut is_held = false;
        for lease in self.leases.iter_mut().filter(|lease| Some(lease.shard) != except && lease.held() > 0) {
            is_held = true;
            if lease.recalled_at.is_none() {
                lease.recalled_at = Some(now.mono);
                out.push((lease.shard, recall.clone()));
            }
        }
        is_held
    }

    fn grant(&self, user: &Name, grant: GrantKind) -> QuotaGrant {
        QuotaGrant { user: user.clone(), kind: self.kind, minute: self.ends_at, grant }
    }
}

impl QuotaLease {
    /// Credits that the shard may still spend.
    pub(super) fn held(&self) -> u32 {
        self.lent.saturating_sub(self.spent).saturating_sub(self.returned)
    }
}
