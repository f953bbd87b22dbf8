//! Quotas: how often a user may do something in a minute. The minute begins with the first use.
//!
//! The connections of a user on all shards share one quota. Its owner keeps it in a [`QuotaPool`] and lends a few
//! credits
//! at a time to a shard. The shard spends them from its [`QuotaCache`] without asking, and requests more before they
//! run
//! out. So requests cost no message between shards, and yet the quota is exact: never are more credits spent than there
//! are, and no user is refused while credits are left on another shard, because unspent leases are recalled first. This
//! relies on messages between two shards keeping their order.
//!
//! Where several nodes have pools of the same users, the pools draw on one cluster quota ([`QuotaPool::sharing`]).
//!
//! [`Attempts`] counts connection attempts by address, before the user is known. [`Budgets`] limit the cost of all requests.

mod attempts;
mod budget;
mod cache;
mod cluster;
mod pool;

#[cfg(test)]
mod tests;

pub use attempts::{AttemptRules, Attempts, Blocks, SOURCES_KEPT, source};
pub use budget::{
    BudgetRules, Budgets, CALL_COST, CONNECT_COST, CREATE_COST, Expense, NEW_ROOM_COST, Spender, UNIT_BYTES, cost_of,
};
pub use cache::{QuotaCache, Verdict};
pub use cluster::{ClusterQuotaReply, ClusterQuotaRequest, ReturnedCredits};
pub use pool::QuotaPool;

use crate::base::Name;
use crate::base::table::HasName;
use crate::base::time::Now;
use crate::domain::reject::{Code, Reject};

/// The length of a quota's minute, in milliseconds.
pub const WINDOW_MS: u64 = 60_000;

/// The kind of request that a quota limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum QuotaKind {
    /// Chat messages.
    Messages,
    /// Typing events.
    Typing,
    /// REST requests.
    Rest,
}

/// Credits of each kind per user and minute; 0 is unlimited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    /// Chat messages.
    pub messages: u32,
    /// Typing events.
    pub typing: u32,
    /// REST requests.
    pub rest: u32,
}

impl Rates {
    /// The credits of one kind.
    pub fn of(&self, kind: QuotaKind) -> u32 {
        match kind {
            QuotaKind::Messages => self.messages,
            QuotaKind::Typing => self.typing,
            QuotaKind::Rest => self.rest,
        }
    }
}

/// A message of a shard's cache to a user's pool: a report of one lease, and maybe a request for more credits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuotaRequest {
    /// The user.
    pub user: Name,
    /// The kind of quota.
    pub kind: QuotaKind,
    /// The minute that `spent` and `returned` are about, by its end; 0: none.
    pub minute: u64,
    /// Credits spent in that minute so far, in total.
    pub spent: u32,
    /// Credits given back in that minute so far, in total.
    pub returned: u32,
    /// Whether more credits are requested.
    pub wants: bool,
}

/// A message of a user's pool to a shard's cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuotaGrant {
    /// The user.
    pub user: Name,
    /// The kind of quota.
    pub kind: QuotaKind,
    /// The minute that it is about, by its end in monotonic milliseconds.
    pub minute: u64,
    /// The grant.
    pub grant: GrantKind,
}

/// See [`QuotaGrant`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GrantKind {
    /// This number of additional credits may be spent within the minute.
    Credits(u32),
    /// No credits are left in the minute.
    Exhausted,
    /// Another shard needs credits: unspent ones are to be given back, and spent ones reported.
    Recall,
}

/// The refusal of a request beyond the quota. The minute is over in `wait_ms`.
pub fn too_many(kind: QuotaKind, per_minute: u32, wait_ms: u64) -> Reject {
    let what = match kind {
        QuotaKind::Messages => "messages",
        QuotaKind::Typing => "typing events",
        QuotaKind::Rest => "requests",
    };
    let wait_s = wait_ms.div_ceil(1000);
    let text = format!("More than {per_minute} {what} a minute; go on in {wait_s} s");
    Reject { retry_after_s: Some(wait_s), ..Reject::new(Code::RateLimited, text) }
}

/// The REST requests of one user in the present minute, counted by the user's owner.
pub struct RestQuota {
    user: Name,
    /// When the minute began, in monotonic milliseconds.
    since: u64,
    spent: u32,
}

impl HasName for RestQuota {
    fn name(&self) -> &str {
        &self.user
    }
}

impl RestQuota {
    /// A minute that begins now.
    pub fn new(user: Name, now: Now) -> Self {
        Self { user, since: now.mono, spent: 0 }
    }

    /// When the minute is over, in monotonic milliseconds.
    pub fn ends_at(&self) -> u64 {
        self.since + WINDOW_MS
    }

    /// Counts one request of `per_minute`.
    ///
    /// # Errors
    /// The quota is spent.
    pub fn spend(&mut self, per_minute: u32, now: Now) -> Result<(), Reject> {
        if now.mono >= self.ends_at() {
            *self = Self::new(self.user.clone(), now);
        }
        if self.spent >= per_minute {
            return Err(too_many(QuotaKind::Rest, per_minute, self.ends_at() - now.mono));
        }
        self.spent += 1;
        debug_assert!(self.spent <= per_minute, "invariant: no more requests are counted than the quota has");
        Ok(())
    }
}
