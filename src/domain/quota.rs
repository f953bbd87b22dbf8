//! How often somebody may do something: so many times in each minute that begins with the first time.
//!
//! A user's allowances are one for all their connections, on whatever shard. Their keeper ([`QuotaPool`]) lends a shard a few
//! credits at a time; the shard ([`QuotaCache`]) spends them without asking, and asks for more before it runs out. So there is
//! no message between shards per request, and yet never more is spent than there is, and nobody is refused while there is
//! some left anywhere: what other shards hold and do not spend is called back first. It relies on mail between two shards
//! keeping its order.
//!
//! Where several processes keep the same users, their keepers draw on one fund ([`QuotaPool::sharing`]).
//!
//! [`Attempts`] counts connection attempts by address, before there is a user.

mod attempts;
mod cache;
mod cluster;
mod pool;

#[cfg(test)]
mod tests;

pub use attempts::{AttemptRules, Attempts, Blocks, SOURCES_KEPT, source};
pub use cache::{QuotaCache, Verdict};
pub use cluster::{ClusterQuotaReply, ClusterQuotaRequest, ReturnedCredits};
pub use pool::QuotaPool;

use crate::base::Name;
use crate::base::table::HasName;
use crate::base::time::Now;
use crate::domain::reject::{Code, Reject};

/// How long an allowance holds, in milliseconds.
pub const WINDOW_MS: u64 = 60_000;

/// What an allowance is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum QuotaKind {
    /// Chat messages.
    Messages,
    /// Typing events.
    Typing,
    /// Requests by REST.
    Rest,
}

/// How much of each kind a user has in a minute; 0 is any number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    /// Chat messages.
    pub messages: u32,
    /// Typing events.
    pub typing: u32,
    /// Requests by REST.
    pub rest: u32,
}

impl Rates {
    /// The one of this kind.
    pub fn of(&self, kind: QuotaKind) -> u32 {
        match kind {
            QuotaKind::Messages => self.messages,
            QuotaKind::Typing => self.typing,
            QuotaKind::Rest => self.rest,
        }
    }
}

/// What a shard tells a user's keeper about one allowance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuotaRequest {
    /// Whose.
    pub user: Name,
    /// What for.
    pub kind: QuotaKind,
    /// The minute that `spent` and `returned` are of, by its end; 0 for none.
    pub minute: u64,
    /// Credits spent in that minute so far, all together.
    pub spent: u32,
    /// Credits given back in that minute so far, all together.
    pub returned: u32,
    /// Whether it asks for more.
    pub wants: bool,
}

/// What a user's keeper tells a shard about one allowance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuotaGrant {
    /// Whose.
    pub user: Name,
    /// What for.
    pub kind: QuotaKind,
    /// The minute it is about, by its end in monotonic milliseconds.
    pub minute: u64,
    /// What.
    pub word: GrantKind,
}

/// See [`QuotaGrant`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GrantKind {
    /// So many credits more may be spent, within the minute.
    Lent(u32),
    /// There is nothing left in the minute.
    Spent,
    /// Others need what has not been spent: it is to be given back, and said how much was.
    Recall,
}

/// The refusal of what is one too many; the minute is over in `wait_ms`.
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

/// What one user has spent of the present minute.
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
    /// A minute that begins now, of which nothing is spent.
    pub fn new(user: Name, now: Now) -> Self {
        Self { user, since: now.mono, spent: 0 }
    }

    /// When the minute is over, in monotonic milliseconds.
    pub fn ends_at(&self) -> u64 {
        self.since + WINDOW_MS
    }

    /// Spends one request of `per_minute`; refused when there is none left.
    pub fn spend(&mut self, per_minute: u32, now: Now) -> Result<(), Reject> {
        if now.mono >= self.ends_at() {
            *self = Self::new(self.user.clone(), now);
        }
        if self.spent >= per_minute {
            return Err(too_many(QuotaKind::Rest, per_minute, self.ends_at() - now.mono));
        }
        self.spent += 1;
        Ok(())
    }
}
