//! The cluster quota: the quota that the pools of a user on several nodes share. Each pool requests credits as needed,
//! and
//! gives unspent credits back when another pool asks for them.
//!
//! A pool sends [`ClusterQuotaRequest`]s and receives [`ClusterQuotaReply`]s, recalls by other pools
//! ([`QuotaPool::recall_for_cluster`]), and notices that credits have come back ([`QuotaPool::retry_cluster`]).

use super::pool::{QuotaMinute, RECALL_MS};
use super::{QuotaGrant, QuotaKind, QuotaPool};
use crate::base::Name;
use crate::base::time::Now;

/// A pool requests this part of the quota at once, so that most users cost one or two requests a minute.
const REQUESTED_PART: u32 = 2;

/// Credits requested at once at the most.
const REQUESTED_MAX: u32 = 50;

/// A request of a pool to a cluster quota.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterQuotaRequest {
    /// The user.
    pub user: Name,
    /// The kind of quota.
    pub kind: QuotaKind,
    /// The credits it asks for. Unless 0, the request has a reply.
    pub wanted: u32,
    /// The credits it gives back, if it does.
    pub returned: Option<ReturnedCredits>,
    /// Whether credits that other pools hold count as spent, because a recall had no answer.
    pub is_last: bool,
}

/// Credits that a pool gives back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReturnedCredits {
    /// The cluster quota's minute that the credits are of.
    pub minute: u64,
    /// The unspent credits.
    pub unspent: u32,
    /// The credits that the pool accounts for, these included: all others of them are spent. Credits still on the way to
    /// the pool are not among them.
    pub settled: u32,
}

/// The reply of a cluster quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClusterQuotaReply {
    /// A grant.
    Granted {
        /// The minute that the credits are of.
        minute: u64,
        /// The end of the minute, in milliseconds from now.
        ends_in_ms: u64,
        /// The credits; 0: none are left.
        credits: u32,
    },
    /// No credits are free, but other pools have been asked for theirs.
    Recalling {
        /// The present minute.
        minute: u64,
        /// Its end, in milliseconds from now.
        ends_in_ms: u64,
    },
    /// Redis is unavailable. Each pool then has a full minute: the cluster errs on the side of too many credits.
    Unknown,
}

/// The state of a cluster quota as one pool knows it, in one minute.
#[derive(Clone, Debug, Default)]
pub(super) struct ClusterQuota {
    /// The cluster quota's minute; 0: not known yet.
    minute: u64,
    /// A request has had no reply.
    is_asking: bool,
    /// When to ask once more, in monotonic milliseconds, if no other pool gives credits back before.
    retry_at: Option<u64>,
    /// No credits are left.
    is_out: bool,
    /// Another pool asks for unspent credits.
    is_recalled: bool,
    /// Granted credits that the pool has not accounted for.
    unsettled: u32,
}

impl ClusterQuota {
    /// When there is work.
    pub(super) fn retry_at(&self) -> Option<u64> {
        self.retry_at
    }

    /// The state at the beginning of the next minute.
    pub(super) fn of_the_next_minute(self) -> Self {
        Self { is_asking: self.is_asking && self.retry_at.is_none(), ..Self::default() }
    }
}

impl QuotaPool {
    /// Takes the pending requests to cluster quotas.
    pub fn take_cluster_requests(&mut self) -> std::vec::Drain<'_, ClusterQuotaRequest> {
        self.cluster_requests.drain(..)
    }

    /// Whether requests to cluster quotas are pending.
    pub fn has_cluster_requests(&self) -> bool {
        !self.cluster_requests.is_empty()
    }

    /// Applies the reply of a cluster quota.
    pub fn apply_cluster_reply(
        &mut self,
        now: Now,
        user: &Name,
        kind: QuotaKind,
        reply: ClusterQuotaReply,
        out: &mut Vec<(u8, QuotaGrant)>,
    ) {
        let per_minute = self.per_minute(kind);
        let is_known = self.change(now, user, kind, out, |minute, _| minute.apply_reply(now, per_minute, reply));
        // Credits for a forgotten minute go back at once.
        if let (false, ClusterQuotaReply::Granted { minute, credits: unspent @ 1.., .. }) = (is_known, reply) {
            let returned = Some(ReturnedCredits { minute, unspent, settled: unspent });
            let request = ClusterQuotaRequest { user: user.clone(), kind, wanted: 0, returned, is_last: false };
            self.cluster_requests.push(request);
        }
    }

    /// Another pool asks for unspent credits of this minute of the cluster quota.
    pub fn recall_for_cluster(
        &mut self,
        now: Now,
        user: &Name,
        kind: QuotaKind,
        minute: u64,
        out: &mut Vec<(u8, QuotaGrant)>,
    ) {
        self.change(now, user, kind, out, |own, out| {
            let cluster = own.cluster.as_mut().filter(|cluster| cluster.minute == minute);
            if let Some(cluster) = cluster {
                cluster.is_recalled = true;
                own.recall(now, None, user, out);
            }
        });
    }

    /// Other pools have given credits back.
    pub fn retry_cluster(&mut self, now: Now, user: &Name, kind: QuotaKind, out: &mut Vec<(u8, QuotaGrant)>) {
        self.change(now, user, kind, out, |minute, _| {
            if let Some(cluster) = minute.cluster.as_mut()
                && cluster.retry_at.take().is_some()
            {
                cluster.is_asking = false;
            }
        });
    }

    /// Changes one of a user's minutes and serves its waiting shards. Returns false if the minute has been forgotten.
    fn change(
        &mut self,
        now: Now,
        user: &Name,
        kind: QuotaKind,
        out: &mut Vec<(u8, QuotaGrant)>,
        change: impl FnOnce(&mut QuotaMinute, &mut Vec<(u8, QuotaGrant)>),
    ) -> bool {
        let per_minute = self.per_minute(kind);
        if let Some(account) = self.accounts.get_mut(user)
            && let Some(minute) = account.minutes.iter_mut().find(|minute| minute.kind == kind)
        {
            change(minute, out);
            minute.serve_waiting(now, per_minute, user, (out, &mut self.cluster_requests));
            account.arm(&mut self.due);
            return true;
        }
        false
    }
}

impl QuotaMinute {
    fn apply_reply(&mut self, now: Now, per_minute: u32, reply: ClusterQuotaReply) {
        let cluster = self.shared();
        (cluster.is_asking, cluster.retry_at) = (false, None);
        match reply {
            ClusterQuotaReply::Granted { minute, ends_in_ms, credits } => {
                self.begin_with(now, minute, ends_in_ms);
                self.free += credits;
                let cluster = self.shared();
                cluster.unsettled += credits;
                cluster.is_out = credits == 0;
            }
            ClusterQuotaReply::Recalling { minute, ends_in_ms } => {
                self.begin_with(now, minute, ends_in_ms);
                let cluster = self.shared();
                (cluster.is_asking, cluster.retry_at) = (true, Some(now.mono + RECALL_MS));
            }
            ClusterQuotaReply::Unknown => {
                cluster.is_out = true;
                self.free += per_minute;
            }
        }
    }

    /// The cluster quota of a minute that has one.
    fn shared(&mut self) -> &mut ClusterQuota {
        self.cluster.as_mut().expect("invariant: only a shared pool receives replies of a cluster quota")
    }

    /// Begins anew if the cluster quota has.
    fn begin_with(&mut self, now: Now, minute: u64, ends_in_ms: u64) {
        if self.shared().minute != minute {
            self.cluster = Some(ClusterQuota { minute, ..ClusterQuota::default() });
            self.ends_at = now.mono + ends_in_ms;
            self.free = 0;
            self.leases.clear();
        }
    }

    /// Requests credits of the cluster quota. Returns whether a reply is awaited.
    pub(super) fn request_from_cluster(
        &mut self,
        now: Now,
        per_minute: u32,
        user: &Name,
        requests: &mut Vec<ClusterQuotaRequest>,
    ) -> bool {
        if let Some(cluster) = self.cluster.as_mut().filter(|cluster| !cluster.is_out) {
            let is_last = cluster.retry_at.take_if(|at| *at <= now.mono).is_some();
            if is_last || !cluster.is_asking {
                cluster.is_asking = true;
                let wanted = per_minute.div_ceil(REQUESTED_PART).clamp(1, REQUESTED_MAX);
                let (user, kind) = (user.clone(), self.kind);
                requests.push(ClusterQuotaRequest { user, kind, wanted, returned: None, is_last });
            }
            return true;
        }
        false
    }

    /// Gives back recalled credits, once the shards have reported theirs. Returns whether reports are awaited.
    pub(super) fn return_if_recalled(&mut self, user: &Name, requests: &mut Vec<ClusterQuotaRequest>) -> bool {
        if let Some(cluster) = self.cluster.as_mut().filter(|cluster| cluster.is_recalled) {
            if self.leases.iter().any(|lease| lease.held() > 0) {
                return true;
            }
            // Returned credits may be granted again, so the cluster quota may have credits left.
            (cluster.is_recalled, cluster.is_out) = (false, false);
            let (unspent, settled) = (std::mem::take(&mut self.free), std::mem::take(&mut cluster.unsettled));
            let returned = Some(ReturnedCredits { minute: cluster.minute, unspent, settled });
            let (user, kind) = (user.clone(), self.kind);
            requests.push(ClusterQuotaRequest { user, kind, wanted: 0, returned, is_last: false });
        }
        false
    }
}
