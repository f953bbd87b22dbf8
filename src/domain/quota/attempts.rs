//! Connection attempts by address: so many in a while, and whoever makes more is turned away for a longer while.
//!
//! An address has one keeper among the shards, so that the count is one for all of them; a shard remembers in [`Blocks`]
//! whom it need not ask about.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr};

use crate::base::map::{Map, map};
use crate::base::network::Network;
use crate::base::time::Now;
use crate::domain::reject::{Code, Reject};

/// Sources that are remembered at once. Beyond it the one that would be forgotten first is forgotten: who has more
/// addresses than this is not to be stopped by counting attempts of each.
pub const SOURCES_KEPT: usize = 65_536;

/// How many attempts there may be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AttemptRules {
    /// Attempts of a source in each window that begins with an attempt; 0 is any number.
    pub attempts: u32,
    /// How long a window is, in milliseconds.
    pub window_ms: u64,
    /// How long a source is turned away after one attempt too many, in milliseconds; 0: until its window ends.
    pub block_ms: u64,
    /// Whose attempts are not counted.
    pub exempt: Vec<Network>,
}

impl AttemptRules {
    /// Whether the attempts of an address are counted.
    pub fn apply_to(&self, address: IpAddr) -> bool {
        self.attempts != 0 && !self.exempt.iter().any(|network| network.contains(address))
    }
}

/// Whom an address counts as: itself, or, of IPv6, the network of 64 bits that one customer has.
pub fn source(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        address => address,
    }
}

/// The attempts of the sources that a shard keeps.
pub struct Attempts {
    rules: AttemptRules,
    sources: SourceTable,
}

impl Attempts {
    /// Counts by these rules.
    pub fn new(rules: AttemptRules, seed: u64) -> Self {
        Self { rules, sources: SourceTable::new(seed) }
    }

    /// Counts an attempt.
    ///
    /// # Errors
    /// It is one too many, or follows one; the refusal says when to come back.
    pub fn attempt(&mut self, now: Now, address: IpAddr) -> Result<(), Reject> {
        if !self.rules.apply_to(address) {
            return Ok(());
        }
        let source = source(address);
        self.sources.forget(now);
        let Some(known) = self.sources.get(source) else {
            self.sources.set(source, Known { until: now.mono + self.rules.window_ms, attempts: 1 });
            return Ok(());
        };
        if known.attempts < self.rules.attempts {
            self.sources.set(source, Known { attempts: known.attempts + 1, ..known });
            return Ok(());
        }
        if known.attempts > self.rules.attempts {
            return Err(turned_away(known.until, now));
        }
        let until = if self.rules.block_ms == 0 { known.until } else { now.mono + self.rules.block_ms };
        self.sources.set(source, Known { until, attempts: known.attempts + 1 });
        Err(turned_away(until, now))
    }

    /// Sources that are remembered.
    pub fn len(&self) -> usize {
        self.sources.known.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.sources.known.is_empty()
    }
}

/// The sources that a shard knows to be turned away, so that their further attempts end there.
pub struct Blocks {
    sources: SourceTable,
}

impl Blocks {
    /// Nobody is turned away.
    pub fn new(seed: u64) -> Self {
        Self { sources: SourceTable::new(seed) }
    }

    /// A source's keeper turned an attempt away, and said for how long.
    pub fn note(&mut self, now: Now, address: IpAddr, reject: &Reject) {
        if let Some(wait_s) = reject.retry_after_s {
            self.sources.forget(now);
            self.sources.set(source(address), Known { until: now.mono + wait_s * 1000, attempts: 0 });
        }
    }

    /// Whether an attempt need not be asked about.
    ///
    /// # Errors
    /// It is turned away; the refusal says when to come back.
    pub fn check(&mut self, now: Now, address: IpAddr) -> Result<(), Reject> {
        self.sources.forget(now);
        self.sources.get(source(address)).map_or(Ok(()), |known| Err(turned_away(known.until, now)))
    }
}

fn turned_away(until: u64, now: Now) -> Reject {
    let wait_s = until.saturating_sub(now.mono).div_ceil(1000);
    let text = format!("Too many connection attempts; try again in {wait_s} s");
    Reject { retry_after_s: Some(wait_s), ..Reject::new(Code::RateLimited, text) }
}

/// What is known of a source.
#[derive(Clone, Copy)]
struct Known {
    /// When it is forgotten.
    until: u64,
    /// Its attempts; one more than there may be: it is turned away.
    attempts: u32,
}

/// Sources, [`SOURCES_KEPT`] at most, each until its time.
struct SourceTable {
    known: Map<IpAddr, Known>,
    order: BTreeSet<(u64, IpAddr)>,
}

impl SourceTable {
    fn new(seed: u64) -> Self {
        Self { known: map(seed), order: BTreeSet::new() }
    }

    fn get(&self, source: IpAddr) -> Option<Known> {
        self.known.get(&source).copied()
    }

    fn set(&mut self, source: IpAddr, known: Known) {
        if let Some(former) = self.known.insert(source, known) {
            self.order.remove(&(former.until, source));
        }
        self.order.insert((known.until, source));
        if self.known.len() > SOURCES_KEPT
            && let Some((_, first)) = self.order.pop_first()
        {
            self.known.remove(&first);
        }
    }

    fn forget(&mut self, now: Now) {
        while let Some((until, source)) = self.order.first()
            && *until <= now.mono
        {
            self.known.remove(source);
            self.order.pop_first();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Now = Now { mono: 1_000, wall: 0 };

    fn rules() -> AttemptRules {
        let exempt = vec![Network::parse("127.0.0.0/8").expect("a range")];
        AttemptRules { attempts: 5, window_ms: 300_000, block_ms: 900_000, exempt }
    }

    fn address(text: &str) -> IpAddr {
        text.parse().expect(text)
    }

    #[test]
    fn the_sixth_attempt_in_five_minutes_is_turned_away_for_fifteen() {
        let mut attempts = Attempts::new(rules(), 1);
        let from = address("192.0.2.1");
        for n in 0..5 {
            assert_eq!(attempts.attempt(START.plus(n * 60_000), from), Ok(()));
        }
        let wait = |attempts: &mut Attempts, ms| attempts.attempt(START.plus(ms), from).map_err(|r| r.retry_after_s);
        assert_eq!(wait(&mut attempts, 299_999), Err(Some(900)));
        // Trying on does not make it longer.
        assert_eq!(wait(&mut attempts, 300_000), Err(Some(900)));
        assert_eq!(wait(&mut attempts, 1_199_000), Err(Some(1)));
        assert_eq!(wait(&mut attempts, 1_199_999), Ok(()));
        assert_eq!(attempts.attempt(START, address("192.0.2.2")), Ok(()), "others are not concerned");
    }

    #[test]
    fn a_window_that_is_over_counts_for_nothing() {
        let mut attempts = Attempts::new(rules(), 1);
        for n in 0..100 {
            assert_eq!(attempts.attempt(START.plus(n * 60_000), address("192.0.2.1")), Ok(()), "{n}");
        }
        assert_eq!(attempts.len(), 1);
    }

    #[test]
    fn without_a_block_an_address_waits_for_its_window_to_end() {
        let mut attempts = Attempts::new(AttemptRules { block_ms: 0, ..rules() }, 1);
        let from = address("192.0.2.1");
        (0..5).for_each(|_| assert_eq!(attempts.attempt(START, from), Ok(())));
        let reject = attempts.attempt(START.plus(100_000), from).expect_err("the sixth");
        assert_eq!((reject.code, reject.retry_after_s), (Code::RateLimited, Some(200)));
        assert_eq!(attempts.attempt(START.plus(300_000), from), Ok(()));
    }

    #[test]
    fn some_are_exempt_and_0_is_off() {
        let mut attempts = Attempts::new(rules(), 1);
        let mut off = Attempts::new(AttemptRules { attempts: 0, ..rules() }, 1);
        for _ in 0..100 {
            assert_eq!(attempts.attempt(START, address("127.0.0.1")), Ok(()));
            assert_eq!(attempts.attempt(START, address("::ffff:127.9.9.9")), Ok(()));
            assert_eq!(off.attempt(START, address("192.0.2.1")), Ok(()));
        }
        assert!(attempts.is_empty() && off.is_empty());
    }

    #[test]
    fn a_customers_ipv6_addresses_are_one_source() {
        let mut attempts = Attempts::new(rules(), 1);
        for n in 0..5 {
            assert_eq!(attempts.attempt(START, address(&format!("2001:db8:1:2::{n}"))), Ok(()));
        }
        assert!(attempts.attempt(START, address("2001:db8:1:2:ffff::1")).is_err());
        assert_eq!(attempts.attempt(START, address("2001:db8:1:3::1")), Ok(()));
        assert_eq!(source(address("::ffff:192.0.2.1")), address("192.0.2.1"));
    }

    #[test]
    fn any_number_of_addresses_fits() {
        let mut attempts = Attempts::new(rules(), 1);
        for n in 0..SOURCES_KEPT as u32 + 1_000 {
            let from = IpAddr::from((0x0B00_0000 + n).to_be_bytes());
            assert_eq!(attempts.attempt(START.plus(u64::from(n) / 1_000), from), Ok(()));
        }
        assert_eq!((attempts.len(), attempts.sources.order.len()), (SOURCES_KEPT, SOURCES_KEPT));
        assert_eq!(attempts.attempt(START.plus(10_000_000), address("192.0.2.1")), Ok(()));
        assert_eq!(attempts.len(), 1);
    }

    #[test]
    fn a_shard_remembers_whom_it_need_not_ask_about() {
        let (mut attempts, mut blocks) = (Attempts::new(rules(), 1), Blocks::new(1));
        let from = address("192.0.2.1");
        assert_eq!(blocks.check(START, from), Ok(()));
        let refusal = (0..6).find_map(|_| attempts.attempt(START, from).err()).expect("the sixth");
        blocks.note(START, from, &refusal);
        let again = blocks.check(START.plus(10_000), from).expect_err("it is turned away");
        assert_eq!((again.code, again.retry_after_s), (Code::RateLimited, Some(890)));
        assert_eq!(blocks.check(START.plus(900_000), from), Ok(()));
    }
}
