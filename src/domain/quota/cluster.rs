//! Keepers that share their users with those of other processes. None has a user's whole minute: each draws credits on one
//! fund as it needs them, and gives back what is not spent when another one asks.
//!
//! A keeper tells the fund what it wants and gives back ([`ClusterQuotaRequest`]), and hears of it what it has ([`ClusterQuotaReply`]), that others ask
//! for what it holds ([`QuotaPool::recalled`]), and that there may be something again ([`QuotaPool::again`]).

use super::pool::{Minute, RECALL_MS};
use super::{QuotaGrant, QuotaKind, QuotaPool};
use crate::base::Name;
use crate::base::time::Now;

/// A keeper draws this part of the allowance at once, so that most users cost the fund one or two questions a minute.
const DRAWN_PART: u32 = 2;

/// Credits drawn at once at the most.
const DRAWN_MAX: u32 = 50;

/// What a keeper tells the fund.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterQuotaRequest {
    /// Whose allowance.
    pub user: Name,
    /// What for.
    pub kind: QuotaKind,
    /// How many credits it asks for; it is to be told whether it gets them unless these are 0.
    pub wanted: u32,
    /// What it gives back, if it does.
    pub repaid: Option<ReturnedCredits>,
    /// Whether what others hold counts as spent, for they have been asked for it in vain.
    pub is_last: bool,
}

/// What a keeper gives back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReturnedCredits {
    /// Which minute of the fund its credits are of.
    pub minute: u64,
    /// Credits that it has not spent.
    pub unspent: u32,
    /// How many it had, with these: all the others are spent. What it is being lent is not among them.
    pub settled: u32,
}

/// What the fund has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClusterQuotaReply {
    /// So many credits.
    Lent {
        /// Which minute they are of.
        minute: u64,
        /// When that is over, in milliseconds from now.
        ends_in_ms: u64,
        /// How many; 0: there are none left.
        credits: u32,
    },
    /// Nothing, but others have been asked for what they hold.
    Awaited {
        /// Which minute it is.
        minute: u64,
        /// When that is over, in milliseconds from now.
        ends_in_ms: u64,
    },
    /// Nobody knows. Then each keeper has a minute of its own: too much rather than too little.
    Unknown,
}

/// What a keeper knows of the fund, in one minute.
#[derive(Clone, Debug, Default)]
pub(super) struct ClusterQuota {
    /// Which minute it is there; 0: that is not known yet.
    minute: u64,
    /// It has been asked, and has not answered.
    is_asking: bool,
    /// When it is to be asked once more, in monotonic milliseconds, if others do not give anything back before.
    again_at: Option<u64>,
    /// It has nothing left.
    is_out: bool,
    /// Others ask for what is not spent.
    is_recalled: bool,
    /// Credits that it has lent of which it has not been told whether they were spent.
    lent: u32,
}

impl ClusterQuota {
    /// When there is something to do.
    pub(super) fn again_at(&self) -> Option<u64> {
        self.again_at
    }

    /// The same, when a minute is over.
    pub(super) fn of_the_next_minute(self) -> Self {
        Self { is_asking: self.is_asking && self.again_at.is_none(), ..Self::default() }
    }
}

impl QuotaPool {
    /// Takes what the fund is to be told.
    pub fn draws(&mut self) -> std::vec::Drain<'_, ClusterQuotaRequest> {
        self.draws.drain(..)
    }

    /// Whether there is something to tell the fund.
    pub fn has_draws(&self) -> bool {
        !self.draws.is_empty()
    }

    /// The fund has answered.
    pub fn drawn(
        &mut self,
        now: Now,
        user: &Name,
        kind: QuotaKind,
        drawn: ClusterQuotaReply,
        out: &mut Vec<(u8, QuotaGrant)>,
    ) {
        let per_minute = self.per_minute(kind);
        let is_known = self.with(now, user, kind, out, |minute, _| minute.drawn(now, per_minute, drawn));
        if let (false, ClusterQuotaReply::Lent { minute, credits: unspent @ 1.., .. }) = (is_known, drawn) {
            let repaid = Some(ReturnedCredits { minute, unspent, settled: unspent });
            self.draws.push(ClusterQuotaRequest { user: user.clone(), kind, wanted: 0, repaid, is_last: false });
        }
    }

    /// Others ask for what is not spent in this minute of the fund.
    pub fn recalled(&mut self, now: Now, user: &Name, kind: QuotaKind, minute: u64, out: &mut Vec<(u8, QuotaGrant)>) {
        self.with(now, user, kind, out, |own, out| {
            let fund = own.fund.as_mut().filter(|fund| fund.minute == minute);
            if let Some(fund) = fund {
                fund.is_recalled = true;
                own.recall(now, None, user, out);
            }
        });
    }

    /// Others have given something back.
    pub fn again(&mut self, now: Now, user: &Name, kind: QuotaKind, out: &mut Vec<(u8, QuotaGrant)>) {
        self.with(now, user, kind, out, |minute, _| {
            if let Some(fund) = minute.fund.as_mut()
                && fund.again_at.take().is_some()
            {
                fund.is_asking = false;
            }
        });
    }

    /// Changes one of a user's minutes and goes on with it; whether there is one.
    fn with(
        &mut self,
        now: Now,
        user: &Name,
        kind: QuotaKind,
        out: &mut Vec<(u8, QuotaGrant)>,
        change: impl FnOnce(&mut Minute, &mut Vec<(u8, QuotaGrant)>),
    ) -> bool {
        let per_minute = self.per_minute(kind);
        let Some(account) = self.accounts.get_mut(user) else { return false };
        let Some(minute) = account.minutes.iter_mut().find(|minute| minute.kind == kind) else { return false };
        change(minute, out);
        minute.go_on(now, per_minute, user, (out, &mut self.draws));
        account.arm(&mut self.due);
        true
    }
}

impl Minute {
    fn drawn(&mut self, now: Now, per_minute: u32, drawn: ClusterQuotaReply) {
        let Some(fund) = self.fund.as_mut() else { return };
        (fund.is_asking, fund.again_at) = (false, None);
        match drawn {
            ClusterQuotaReply::Lent { minute, ends_in_ms, credits } => {
                self.begin_with(now, minute, ends_in_ms);
                self.free += credits;
                if let Some(fund) = self.fund.as_mut() {
                    fund.lent += credits;
                    fund.is_out = credits == 0;
                }
            }
            ClusterQuotaReply::Awaited { minute, ends_in_ms } => {
                self.begin_with(now, minute, ends_in_ms);
                if let Some(fund) = self.fund.as_mut() {
                    (fund.is_asking, fund.again_at) = (true, Some(now.mono + RECALL_MS));
                }
            }
            ClusterQuotaReply::Unknown => {
                self.free += per_minute;
                fund.is_out = true;
            }
        }
    }

    /// Begins anew if the fund has.
    fn begin_with(&mut self, now: Now, minute: u64, ends_in_ms: u64) {
        if self.fund.as_ref().is_some_and(|fund| fund.minute != minute) {
            self.fund = Some(ClusterQuota { minute, ..ClusterQuota::default() });
            self.ends_at = now.mono + ends_in_ms;
            self.free = 0;
            self.loans.clear();
        }
    }

    /// Asks the fund for credits; whether an answer is awaited.
    pub(super) fn draw(
        &mut self,
        now: Now,
        per_minute: u32,
        user: &Name,
        draws: &mut Vec<ClusterQuotaRequest>,
    ) -> bool {
        let Some(fund) = self.fund.as_mut().filter(|fund| !fund.is_out) else { return false };
        let is_last = fund.again_at.take_if(|at| *at <= now.mono).is_some();
        if is_last || !fund.is_asking {
            fund.is_asking = true;
            let wanted = per_minute.div_ceil(DRAWN_PART).min(DRAWN_MAX);
            draws.push(ClusterQuotaRequest { user: user.clone(), kind: self.kind, wanted, repaid: None, is_last });
        }
        true
    }

    /// Gives back what others have asked for, once the shards have said what they have not spent; whether that is awaited.
    pub(super) fn repay_if_recalled(&mut self, user: &Name, draws: &mut Vec<ClusterQuotaRequest>) -> bool {
        let Some(fund) = self.fund.as_mut().filter(|fund| fund.is_recalled) else { return false };
        if self.loans.iter().any(|loan| loan.held() > 0) {
            return true;
        }
        // What is given back may be lent again, so that it is no longer certain that there is nothing left.
        (fund.is_recalled, fund.is_out) = (false, false);
        let (unspent, settled) = (std::mem::take(&mut self.free), std::mem::take(&mut fund.lent));
        let repaid = Some(ReturnedCredits { minute: fund.minute, unspent, settled });
        draws.push(ClusterQuotaRequest { user: user.clone(), kind: self.kind, wanted: 0, repaid, is_last: false });
        false
    }
}
