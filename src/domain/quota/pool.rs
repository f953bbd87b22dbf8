//! The keeper's half: how much of a user's minute is lent to which shard.

use std::collections::BTreeMap;

use smallvec::SmallVec;

use super::cluster::{ClusterQuota, ClusterQuotaRequest};
use super::{GrantKind, QuotaGrant, QuotaKind, QuotaRequest, Rates, WINDOW_MS};
use crate::base::Name;
use crate::base::table::{HasName, Table};
use crate::base::time::Now;

/// A loan is this part of the allowance.
const LOAN_PART: u32 = 4;

/// Credits in a loan at the most.
const LOAN_MAX: u32 = 25;

/// How long a shard may leave a recall unanswered, in milliseconds, before what it holds counts as spent.
pub(super) const RECALL_MS: u64 = 5_000;

/// The allowances of the users that a shard keeps. Nothing is kept of users who spent nothing within a minute.
pub struct QuotaPool {
    rates: Rates,
    pub(super) accounts: Table<QuotaAccount>,
    pub(super) due: BTreeMap<u64, Vec<Name>>,
    /// Whether its credits come from a fund that others draw on, too; see [`super::cluster`].
    is_shared: bool,
    /// What the fund is to be told.
    pub(super) draws: Vec<ClusterQuotaRequest>,
}

/// One user's allowances.
pub(super) struct QuotaAccount {
    user: Name,
    pub(super) minutes: SmallVec<[Minute; 1]>,
    /// When it is to be looked at.
    due_at: u64,
}

/// One allowance in one minute.
pub(super) struct Minute {
    pub(super) kind: QuotaKind,
    /// When it is over, in monotonic milliseconds; what it goes by.
    pub(super) ends_at: u64,
    /// Credits that are neither lent nor spent.
    pub(super) free: u32,
    pub(super) loans: SmallVec<[QuotaLease; 1]>,
    /// Shards that ask for more than is free, the first first.
    waiting: SmallVec<[u8; 2]>,
    /// Where its credits come from, if they do not begin with the minute.
    pub(super) fund: Option<ClusterQuota>,
}

/// What one shard was lent in one minute.
pub(super) struct QuotaLease {
    shard: u8,
    lent: u32,
    spent: u32,
    returned: u32,
    /// When it was asked to give back what it has not spent.
    recalled_at: Option<u64>,
}

impl HasName for QuotaAccount {
    fn name(&self) -> &str {
        &self.user
    }
}

impl QuotaPool {
    /// Keeps allowances of these rates.
    pub fn new(rates: Rates, seed: u64) -> Self {
        Self { rates, accounts: Table::new(seed), due: BTreeMap::new(), is_shared: false, draws: Vec::new() }
    }

    /// The same, of users that others keep, too: all draw on one fund.
    pub fn sharing(rates: Rates, seed: u64) -> Self {
        Self { is_shared: true, ..Self::new(rates, seed) }
    }

    /// How much there is of one kind in a minute.
    pub(super) fn per_minute(&self, kind: QuotaKind) -> u32 {
        self.rates.of(kind)
    }

    /// A shard tells what it spent, gives something back, or asks for more. What shards are told of it goes to `out`.
    pub fn claim(&mut self, now: Now, shard: u8, claim: &QuotaRequest, out: &mut Vec<(u8, QuotaGrant)>) {
        let per_minute = self.rates.of(claim.kind);
        let place = match self.accounts.find(&claim.user) {
            Some(place) => place,
            // A minute that is forgotten is over; what was spent in it is of no interest.
            None if !claim.wants => return,
            None => {
                self.accounts.insert(QuotaAccount { user: claim.user.clone(), minutes: SmallVec::new(), due_at: 0 })
            }
        };
        let Some(account) = self.accounts.at_mut(place) else { return };
        let at = match account.minutes.iter().position(|minute| minute.kind == claim.kind) {
            Some(at) => at,
            None if !claim.wants => return,
            None => {
                let fund = self.is_shared.then(ClusterQuota::default);
                account.minutes.push(Minute::new(claim.kind, per_minute, fund, now));
                account.minutes.len() - 1
            }
        };
        let minute = &mut account.minutes[at];
        minute.settle(shard, claim);
        if claim.wants {
            minute.waiting.retain(|waiting| *waiting != shard);
            minute.waiting.push(shard);
        }
        minute.go_on(now, per_minute, &claim.user, (out, &mut self.draws));
        account.arm(&mut self.due);
    }

    /// Goes on with what has become due: minutes that are over, recalls that were not answered.
    pub fn tick(&mut self, now: Now, out: &mut Vec<(u8, QuotaGrant)>) {
        while let Some(entry) = self.due.first_entry()
            && *entry.key() <= now.mono
        {
            let at = *entry.key();
            for user in entry.remove() {
                let Some(account) = self.accounts.get_mut(&user).filter(|account| account.due_at == at) else {
                    continue;
                };
                for minute in &mut account.minutes {
                    minute.go_on(now, self.rates.of(minute.kind), &user, (&mut *out, &mut self.draws));
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

    /// When [`QuotaPool::tick`] has something to do, in monotonic milliseconds.
    pub fn next_due(&self) -> Option<u64> {
        self.due.first_key_value().map(|(at, _)| *at)
    }

    /// Users of whom something is kept.
    pub fn len(&self) -> usize {
        self.accounts.len()
    }

    /// Whether nothing is kept.
    pub fn is_empty(&self) -> bool {
        self.accounts.is_empty()
    }
}

impl QuotaAccount {
    /// Sees to it that it is looked at when the first of its minutes is due.
    pub(super) fn arm(&mut self, due: &mut BTreeMap<u64, Vec<Name>>) {
        let Some(at) = self.minutes.iter().map(Minute::due_at).min() else { return };
        if self.due_at == 0 || at < self.due_at {
            self.due_at = at;
            due.entry(at).or_default().push(self.user.clone());
        }
    }
}

impl Minute {
    fn new(kind: QuotaKind, per_minute: u32, fund: Option<ClusterQuota>, now: Now) -> Self {
        let (loans, waiting) = (SmallVec::new(), SmallVec::new());
        let free = if fund.is_some() { 0 } else { per_minute };
        Self { kind, ends_at: now.mono + WINDOW_MS, free, loans, waiting, fund }
    }

    /// When it is over, or a recall has gone unanswered for too long.
    fn due_at(&self) -> u64 {
        let recalls = self.loans.iter().filter_map(|loan| loan.recalled_at).map(|at| at + RECALL_MS);
        let again = self.fund.as_ref().and_then(ClusterQuota::again_at);
        recalls.chain(again).min().map_or(self.ends_at, |at| at.min(self.ends_at))
    }

    /// Takes down what a shard has spent and given back. What it tells of another minute is of no interest any more.
    fn settle(&mut self, shard: u8, claim: &QuotaRequest) {
        let loan = self.loans.iter_mut().find(|loan| loan.shard == shard);
        let Some(loan) = loan.filter(|_| claim.minute == self.ends_at) else { return };
        loan.recalled_at = None;
        loan.spent = loan.spent.max(claim.spent);
        // Only what is known to be lent and not spent comes back.
        let returned = claim.returned.saturating_sub(loan.returned).min(loan.held());
        loan.returned += returned;
        self.free += returned;
    }

    /// Does what can be done at this time for those who wait.
    pub(super) fn go_on(
        &mut self,
        now: Now,
        per_minute: u32,
        user: &Name,
        (out, draws): (&mut Vec<(u8, QuotaGrant)>, &mut Vec<ClusterQuotaRequest>),
    ) {
        if now.mono >= self.ends_at {
            if self.waiting.is_empty() {
                return;
            }
            let waiting = std::mem::take(&mut self.waiting);
            let fund = self.fund.take().map(ClusterQuota::of_the_next_minute);
            *self = Self { waiting, ..Self::new(self.kind, per_minute, fund, now) };
        }
        for loan in &mut self.loans {
            if loan.recalled_at.is_some_and(|at| at + RECALL_MS <= now.mono) {
                loan.recalled_at = None;
                loan.spent = loan.lent - loan.returned;
            }
        }
        if self.repay_if_recalled(user, draws) {
            return;
        }
        while let Some(&shard) = self.waiting.first() {
            let word = if self.free > 0 {
                GrantKind::Lent(self.lend(shard, per_minute))
            } else if self.draw(now, per_minute, user, draws) || self.recall(now, Some(shard), user, out) {
                return;
            } else {
                GrantKind::Spent
            };
            self.waiting.remove(0);
            out.push((shard, self.notice(user, word)));
        }
    }

    fn lend(&mut self, shard: u8, per_minute: u32) -> u32 {
        let credits = (per_minute / LOAN_PART).clamp(1, LOAN_MAX).min(self.free);
        self.free -= credits;
        match self.loans.iter_mut().find(|loan| loan.shard == shard) {
            Some(loan) => loan.lent += credits,
            None => self.loans.push(QuotaLease { shard, lent: credits, spent: 0, returned: 0, recalled_at: None }),
        }
        credits
    }

    /// Asks the shards for what they hold, but for one; whether they hold anything.
    pub(super) fn recall(
        &mut self,
        now: Now,
        except: Option<u8>,
        user: &Name,
        out: &mut Vec<(u8, QuotaGrant)>,
    ) -> bool {
        let notice = self.notice(user, GrantKind::Recall);
        let mut is_held = false;
        for loan in self.loans.iter_mut().filter(|loan| Some(loan.shard) != except && loan.held() > 0) {
            is_held = true;
            if loan.recalled_at.is_none() {
                loan.recalled_at = Some(now.mono);
                out.push((loan.shard, notice.clone()));
            }
        }
        is_held
    }

    fn notice(&self, user: &Name, word: GrantKind) -> QuotaGrant {
        QuotaGrant { user: user.clone(), kind: self.kind, minute: self.ends_at, word }
    }
}

impl QuotaLease {
    /// Credits that the shard may still spend.
    pub(super) fn held(&self) -> u32 {
        self.lent.saturating_sub(self.spent).saturating_sub(self.returned)
    }
}
