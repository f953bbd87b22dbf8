//! The shard's half: what it was lent and may spend without asking.

use std::collections::BTreeMap;

use smallvec::SmallVec;

use super::{GrantKind, QuotaGrant, QuotaKind, QuotaRequest, Rates, too_many};
use crate::base::Name;
use crate::base::table::{HasName, Table};
use crate::base::time::Now;
use crate::domain::reject::Reject;

/// How long credits may lie unused, in milliseconds, before they are given back.
const UNUSED_MS: u64 = 2_000;

/// What a shard was lent of its users' allowances. Nothing is kept of users who did nothing within a minute.
pub struct QuotaCache {
    rates: Rates,
    wallets: Table<UserQuotas>,
    due: BTreeMap<u64, Vec<Name>>,
}

/// Whether something may be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It may; it has been counted.
    Granted,
    /// That is not known yet. To be tried again when [`QuotaCache::hear`] says that the user may go on.
    Wait,
    /// It may not.
    Refused(Reject),
}

/// What a shard was lent of one user's allowances.
struct UserQuotas {
    user: Name,
    purses: SmallVec<[CachedQuota; 1]>,
    /// When it is to be looked at.
    due_at: u64,
}

/// What a shard was lent of one allowance.
struct CachedQuota {
    kind: QuotaKind,
    /// When the minute is over that all this is of, in monotonic milliseconds; 0: there is none.
    minute: u64,
    /// What may be spent.
    credits: u32,
    /// Of how many credits the last loan was.
    loan: u32,
    /// What was spent in the minute, all together.
    spent: u32,
    /// What was given back in the minute, all together.
    returned: u32,
    /// When what is not spent is given back.
    unused_at: u64,
    /// The keeper has been asked for more.
    is_asking: bool,
    /// The keeper has nothing left in the minute.
    is_out: bool,
}

impl HasName for UserQuotas {
    fn name(&self) -> &str {
        &self.user
    }
}

impl QuotaCache {
    /// Of allowances of these rates.
    pub fn new(rates: Rates, seed: u64) -> Self {
        Self { rates, wallets: Table::new(seed), due: BTreeMap::new() }
    }

    /// Spends one credit of a user. What their keeper is told goes to `out`.
    pub fn spend(&mut self, now: Now, user: &str, kind: QuotaKind, out: &mut Vec<QuotaRequest>) -> Verdict {
        let per_minute = self.rates.of(kind);
        if per_minute == 0 {
            return Verdict::Granted;
        }
        let place = self.wallets.find(user);
        let place = place.unwrap_or_else(|| {
            self.wallets.insert(UserQuotas { user: user.into(), purses: SmallVec::new(), due_at: 0 })
        });
        let Some(wallet) = self.wallets.at_mut(place) else { return Verdict::Wait };
        let UserQuotas { user, purses, .. } = wallet;
        let purse = purse_of(purses, kind);
        purse.begin_anew_if_over(now);
        if purse.credits > 0 {
            purse.credits -= 1;
            purse.spent += 1;
            purse.unused_at = now.mono + UNUSED_MS;
            // More is asked for early enough that it is there before the rest is spent.
            if !purse.is_asking && !purse.is_out && purse.credits <= purse.loan / 2 {
                out.push(purse.ask(user));
            }
            return Verdict::Granted;
        }
        if purse.is_asking {
            return Verdict::Wait;
        }
        if purse.is_out {
            return Verdict::Refused(too_many(kind, per_minute, purse.minute - now.mono));
        }
        out.push(purse.ask(user));
        Verdict::Wait
    }

    /// The keeper of one of the users told something. Whether the user's connections that wait may go on.
    pub fn hear(&mut self, now: Now, notice: &QuotaGrant, out: &mut Vec<QuotaRequest>) -> bool {
        let Some(wallet) = self.wallets.get_mut(&notice.user) else { return false };
        let Some(purse) = wallet.purses.iter_mut().find(|purse| purse.kind == notice.kind) else { return false };
        if notice.word == GrantKind::Recall {
            // Of a minute that is over nothing can be given back.
            if purse.minute == notice.minute {
                out.push(purse.give_back(&notice.user));
            }
            return false;
        }
        if purse.minute != notice.minute {
            *purse = CachedQuota { minute: notice.minute, ..CachedQuota::new(purse.kind) };
        }
        purse.is_asking = false;
        match notice.word {
            GrantKind::Lent(credits) => {
                purse.credits += credits;
                purse.loan = credits;
                purse.unused_at = now.mono + UNUSED_MS;
                purse.is_out = false;
            }
            GrantKind::Spent | GrantKind::Recall => purse.is_out = true,
        }
        wallet.arm(&mut self.due);
        true
    }

    /// Gives back what has not been used for a while, and forgets what is over.
    pub fn tick(&mut self, now: Now, out: &mut Vec<QuotaRequest>) {
        while let Some(entry) = self.due.first_entry()
            && *entry.key() <= now.mono
        {
            let at = *entry.key();
            for user in entry.remove() {
                let Some(wallet) = self.wallets.get_mut(&user).filter(|wallet| wallet.due_at == at) else { continue };
                for purse in &mut wallet.purses {
                    purse.begin_anew_if_over(now);
                    if purse.credits > 0 && purse.unused_at <= now.mono {
                        out.push(purse.give_back(&user));
                    }
                }
                wallet.purses.retain(|purse| purse.minute != 0 || purse.is_asking);
                if wallet.purses.is_empty() {
                    self.wallets.remove(&user);
                    continue;
                }
                wallet.due_at = 0;
                wallet.arm(&mut self.due);
            }
        }
    }

    /// When [`QuotaCache::tick`] has something to do, in monotonic milliseconds.
    pub fn next_due(&self) -> Option<u64> {
        self.due.first_key_value().map(|(at, _)| *at)
    }

    /// Users of whom something is kept.
    pub fn len(&self) -> usize {
        self.wallets.len()
    }

    /// Whether nothing is kept.
    pub fn is_empty(&self) -> bool {
        self.wallets.is_empty()
    }
}

impl UserQuotas {
    /// Sees to it that it is looked at when the first of its purses is due. One that only waits for the keeper is not.
    fn arm(&mut self, due: &mut BTreeMap<u64, Vec<Name>>) {
        let Some(at) = self.purses.iter().filter_map(CachedQuota::due_at).min() else { return };
        if self.due_at == 0 || at < self.due_at {
            self.due_at = at;
            due.entry(at).or_default().push(self.user.clone());
        }
    }
}

fn purse_of(purses: &mut SmallVec<[CachedQuota; 1]>, kind: QuotaKind) -> &mut CachedQuota {
    let at = purses.iter().position(|purse| purse.kind == kind).unwrap_or_else(|| {
        purses.push(CachedQuota::new(kind));
        purses.len() - 1
    });
    &mut purses[at]
}

impl CachedQuota {
    fn new(kind: QuotaKind) -> Self {
        Self {
            kind,
            minute: 0,
            credits: 0,
            loan: 0,
            spent: 0,
            returned: 0,
            unused_at: 0,
            is_asking: false,
            is_out: false,
        }
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
        self.is_asking = true;
        QuotaRequest { wants: true, ..self.claim(user) }
    }

    /// What is given back may be lent again, so that it is no longer certain that there is nothing left.
    fn give_back(&mut self, user: &Name) -> QuotaRequest {
        self.returned += std::mem::take(&mut self.credits);
        self.is_out = false;
        self.claim(user)
    }

    fn claim(&self, user: &Name) -> QuotaRequest {
        let Self { kind, minute, spent, returned, .. } = *self;
        QuotaRequest { user: user.clone(), kind, minute, spent, returned, wants: false }
    }
}
