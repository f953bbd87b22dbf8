//! How often somebody may ask by REST: so many requests in each minute that begins with a request.

use crate::base::Name;
use crate::base::table::Named;
use crate::base::time::Now;
use crate::domain::reject::{Code, Reject};

/// How long an allowance holds, in milliseconds.
pub const WINDOW_MS: u64 = 60_000;

/// What one user has spent of the present minute.
pub struct Allowance {
    user: Name,
    /// When the minute began, in monotonic milliseconds.
    since: u64,
    spent: u32,
}

impl Named for Allowance {
    fn name(&self) -> &str {
        &self.user
    }
}

impl Allowance {
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
            let wait_s = (self.ends_at() - now.mono).div_ceil(1000);
            let text = format!("More than {per_minute} requests a minute; go on in {wait_s} s");
            return Err(Reject { retry_after_s: Some(wait_s), ..Reject::new(Code::RateLimited, text) });
        }
        self.spent += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_has_so_many_requests_and_then_the_next_begins() {
        let start = Now { mono: 5_000, wall: 0 };
        let mut allowance = Allowance::new("u".into(), start);
        assert!((0..3).all(|n| allowance.spend(3, start.plus(n * 100)).is_ok()));
        let reject = allowance.spend(3, start.plus(50_500)).expect_err("the fourth");
        assert_eq!((reject.code, reject.retry_after_s), (Code::RateLimited, Some(10)));
        assert!(allowance.spend(3, start.plus(59_999)).is_err());
        assert!((0..3).all(|_| allowance.spend(3, start.plus(60_000)).is_ok()));
        assert!(allowance.spend(3, start.plus(60_000)).is_err());
    }
}
