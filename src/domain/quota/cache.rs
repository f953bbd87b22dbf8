//! The quota cache: the credits that a shard was lent by the quota pools and spends without asking.

use std::collections::BTreeMap;

use smallvec::SmallVec;

use super::{GrantKind, QuotaGrant, QuotaKind, QuotaRequest, Rates, too_many};
use crate::base::Name;
use crate::base::table::{HasName, Table};
use crate::base::time::Now;
use crate::domain::reject::Reject;

/// Credits unused for so long are given back, in milliseconds.
const UNUSED_MS: u64 = 2_000;

/// The credits that a shard holds of its users' quotas. A user without activity for a minute is forgotten.
pub struct QuotaCache {
    rates: Rates,
    users: Table<UserQuotas>,
    due: BTreeMap<u64, Vec<Name>>,
}

/// Whether a request may proceed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It may; it has been counted.
    Granted,
    /// Not known yet. Try again when [`QuotaCache::apply_grant`] returns true for the user.
    Wait,
    /// It may not.
    Refused(Reject),
}

/// The credits that a shard holds of one user's quotas.
struct UserQuotas {
    user: Name,
    quotas: SmallVec<[CachedQuota; 1]>,
    /// When the first of them is due, in monotonic milliseconds; 0: never.
    due_at: u64,
}

/// The credits that a shard holds of one quota.
struct CachedQuota {
    kind: QuotaKind,
    /// The minute that all other fields are about, by its end in monotonic milliseconds; 0: none.
    minute: u64,
    /// Credits that may be spent.
    credits: u32,
    /// The size of the last grant, in credits.
    last_grant: u32,
    /// Credits spent in the minute.
    spent: u32,
    /// Credits given back in the minute.
    returned: u32,
    /// When unspent credits are given back.
    unused_at: u64,
    /// The pool has been asked for more.
    is_asking: bool,
    /// The pool has no credits left in the minute.
    is_out: bool,
}

impl HasName for UserQuotas {
    fn name(&self) -> &str {
        &self.user
    }
}

impl QuotaCache {
    /// An empty cache for quotas of these rates.
    pub fn new(rates: Rates, seed: u64) -> Self {
        Self { rates, users: Table::new(seed), due: BTreeMap::new() }
    }

    /// Replaces the rates, for the minutes that begin from now on.
    pub fn set_rates(&mut self, rates: Rates) {
        self.rates = rates;
    }

    /// Spends one credit of a user. Requests to the user's pool go to `out`.
    pub fn spend(&mut self, now: Now, user: &str, kind: QuotaKind, out: &mut Vec<QuotaRequest>) -> Verdict {
        let per_minute = self.rates.of(kind);
        if per_minute == 0 {
            return Verdict::Granted;
        }
        let place = self.users.find(user);
        let place = place
            .unwrap_or_else(|| self.users.insert(UserQuotas { user: user.into(), quotas: SmallVec::new(), due_at: 0 }));
        let known = self.users.at_mut(place).expect("invariant: a found or inserted user is in the table");
        let UserQuotas { user, quotas, .. } = known;
        let quota = quota_of(quotas, kind);
        quota.begin_anew_if_over(now);
        if quota.credits > 0 {
            quota.credits -= 1;
            quota.spent += 1;
            quota.unused_at = now.mono + UNUSED_MS;
            // More is requested early enough that it arrives before the rest is spent.
            if !quota.is_asking && !quota.is_out && quota.credits <= quota.last_grant / 2 {
                out.push(quota.ask(user));
            }
            return Verdict::Granted;
        }
        if quota.is_asking {
            return Verdict::Wait;
        }
        if quota.is_out {
            debug_assert!(quota.minute > now.mono, "invariant: only a minute that has begun is out of credits");
            return Verdict::Refused(too_many(kind, per_minute, quota.minute - now.mono));
        }
        out.push(quota.ask(user));
        Verdict::Wait
    }

    /// Applies a grant or a recall of a pool. Returns whether the user's waiting requests may be tried again.
    pub fn apply_grant(&mut self, now: Now, grant: &QuotaGrant, out: &mut Vec<QuotaRequest>) -> bool {
        // A recall is stale if its user has been forgotten since.
        if let Some(known) = self.users.get_mut(&grant.user)
            && let Some(quota) = known.quotas.iter_mut().find(|quota| quota.kind == grant.kind)
        {
            let is_answer = quota.apply(now, grant, out);
            if is_answer {
                known.arm(&mut self.due);
            }
            return is_answer;
        }
        false
    }

    /// Gives back credits that were not used for a while, and forgets minutes that are over.
    pub fn tick(&mut self, now: Now, out: &mut Vec<QuotaRequest>) {
        while let Some(entry) = self.due.first_entry()
            && *entry.key() <= now.mono
        {
            let at = *entry.key();
            for user in entry.remove() {
                // An entry is stale if an earlier deadline has replaced it.
                let Some(known) = self.users.get_mut(&user).filter(|known| known.due_at == at) else { continue };
                for quota in &mut known.quotas {
                    quota.begin_anew_if_over(now);
                    if quota.credits > 0 && quota.unused_at <= now.mono {
                        out.push(quota.give_back(&user));
                    }
                }
                known.quotas.retain(|quota| quota.minute != 0 || quota.is_asking);
                if known.quotas.is_empty() {
                    self.users.remove(&user);
                    continue;
                }
                known.due_at = 0;
                known.arm(&mut self.due);
            }
        }
    }

    /// When [`QuotaCache::tick`] has work, in monotonic milliseconds.
    pub fn next_due(&self) -> Option<u64> {
        self.due.first_key_value().map(|(at, _)| *at)
    }

    /// The number of users in the cache.
    pub fn len(&self) -> usize {
        self.users.len()
    }

    /// Whether the cache is empty.
    pub fn is_empty(&self) -> bool {
        self.users.is_empty()
    }
}

impl UserQuotas {
    /// Schedules the user for the first deadline of their quotas. A quota that only awaits a grant has none.
    fn arm(&mut self, due: &mut BTreeMap<u64, Vec<Name>>) {
        if let Some(at) = self.quotas.iter().filter_map(CachedQuota::due_at).min()
            && (self.due_at == 0 || at < self.due_at)
        {
            self.due_at = at;
            due.entry(at).or_default().push(self.user.clone());
        }
    }
}

fn quota_of(quotas: &mut SmallVec<[CachedQuota; 1]>, kind: QuotaKind) -> &mut CachedQuota {
    let at = quotas.iter().position(|quota| quota.kind == kind).unwrap_or_else(|| {
        quotas.push(CachedQuota::new(kind));
        quotas.len() - 1
    });
    &mut quotas[at]
}

impl CachedQuota {
    fn new(kind: QuotaKind) -> Self {
        Self {
            kind,
            minute: 0,
            credits: 0,
            last_grant: 0,
            spent: 0,
            returned: 0,
            unused_at: 0,
            is_asking: false,
            is_out: false,
        }
    }

    /// Applies a grant or a recall. Returns whether it was the answer to a request.
    fn apply(&mut self, now: Now, grant: &QuotaGrant, out: &mut Vec<QuotaRequest>) -> bool {
        if grant.grant == GrantKind::Recall {
            // Credits of a minute that is over have expired.
            if self.minute == grant.minute {
                out.push(self.give_back(&grant.user));
            }
            return false;
        }
        if self.minute != grant.minute {
            *self = Self { minute: grant.minute, ..Self::new(self.kind) };
        }
        self.is_asking = false;
        match grant.grant {
            GrantKind::Credits(credits) => {
                self.credits += credits;
                self.last_grant = credits;
                self.unused_at = now.mono + UNUSED_MS;
                self.is_out = false;
            }
            GrantKind::Exhausted => self.is_out = true,
            GrantKind::Recall => unreachable!("invariant: a recall was handled above"),
        }
        true
    }

    fn begin_anew_if_over(&mut self, now: Now) {
        if self.minute <= now.mono {
            *self = Self { is_asking: self.is_asking, ..Self::new(self.kind) };
        }
    }

    fn due_at(&self) -> Option<u64> {
        let over_at = (self.minute != 0).then_some(self.minute);
        if self.credits == 0 { over_at } else { over_at.map(|at| at.min(self.unused_at)) }
    }

    fn ask(&mut self, user: &Name) -> QuotaRequest {
        debug_assert!(!self.is_asking, "invariant: a quota awaits one grant at a time");
        self.is_asking = true;
        QuotaRequest { wants: true, ..self.report(user) }
    }

    /// Gives back all credits. The pool may lend them again, so it may have credits left.
    fn give_back(&mut self, user: &Name) -> QuotaRequest {
        self.returned += std::mem::take(&mut self.credits);
        self.is_out = false;
        self.report(user)
    }

    fn report(&self, user: &Name) -> QuotaRequest {
        let Self { kind, minute, spent, returned, .. } = *self;
        QuotaRequest { user: user.clone(), kind, minute, spent, returned, wants: false }
    }
}
