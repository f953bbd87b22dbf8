//! REST quotas of users, online or not: the requests that a user has made in the current window.

use std::collections::VecDeque;

use crate::base::Name;
use crate::base::table::Table;
use crate::base::time::Now;
use crate::domain::quota::{RestQuota, WINDOW_MS};
use crate::domain::reject::Reject;

pub(super) struct RestQuotas {
    quotas: Table<RestQuota>,
    /// The end of each quota's window in monotonic milliseconds.
    ends: VecDeque<(u64, Name)>,
}

impl RestQuotas {
    pub(super) fn new(seed: u64) -> Self {
        Self { quotas: Table::new(seed), ends: VecDeque::new() }
    }

    pub(super) fn spend(&mut self, now: Now, user: Name, per_minute: u32) -> Result<(), Reject> {
        let place = match self.quotas.find(&user) {
            Some(place) => place,
            None => {
                self.ends.push_back((now.mono + WINDOW_MS, user.clone()));
                self.quotas.insert(RestQuota::new(user, now))
            }
        };
        let quota = self.quotas.at_mut(place).expect("rest quotas: a found quota is present");
        quota.spend(per_minute, now)
    }

    /// Removes the quotas whose window has ended; one with a new window stays.
    pub(super) fn tick(&mut self, now: Now) {
        while let Some((_, user)) = self.ends.pop_front_if(|(until, _)| *until <= now.mono) {
            match self.quotas.get(&user).map(RestQuota::ends_at) {
                Some(at) if at > now.mono => self.ends.push_back((at, user)),
                _ => drop(self.quotas.remove(&user)),
            }
        }
    }

    pub(super) fn next_due(&self) -> Option<u64> {
        self.ends.front().map(|(at, _)| *at)
    }

    pub(super) fn check_invariants(&self) {
        assert_eq!(self.quotas.len(), self.ends.len(), "rest quotas: each quota has one end");
        let is_known = |(_, user): &(u64, Name)| self.quotas.contains(user);
        assert!(self.ends.iter().all(is_known), "rest quotas: each end has a quota");
    }
}
