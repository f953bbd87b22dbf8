//! Refused attempts by address: a source with too many of them in a window is blocked for some time. An attempt is a token
//! that is refused, or a connection that shows none where one is required.
//!
//! Each source is owned by one shard, so that all shards share one count. The other shards remember blocked
//! sources in [`Blocks`].

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr};

use crate::base::map::{Map, map};
use crate::base::network::Network;
use crate::base::time::Now;
use crate::domain::reject::{Code, Reject};

/// Sources remembered at once. Beyond it, the source with the earliest deadline is forgotten: an attacker with more
/// addresses than this cannot be stopped by counting the attempts of each.
pub const SOURCES_KEPT: usize = 65_536;

/// The limit on attempts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AttemptRules {
    /// Refused attempts per source and window; 0 is unlimited. A window begins with an attempt.
    pub attempts: u32,
    /// The length of a window, in milliseconds.
    pub window_ms: u64,
    /// How long a source is blocked after so many attempts, in milliseconds; 0: until its window ends.
    pub block_ms: u64,
    /// Networks without a limit.
    pub exempt: Vec<Network>,
}

impl AttemptRules {
    /// Whether the attempts of an address are counted.
    pub fn apply_to(&self, address: IpAddr) -> bool {
        self.attempts != 0 && !self.exempt.iter().any(|network| network.contains(address))
    }
}

/// The source that an address counts as: the address itself, or for IPv6 the 64-bit network that one customer has.
pub fn source(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        address => address,
    }
}

/// The attempts of the sources that a shard owns.
pub struct Attempts {
    rules: AttemptRules,
    sources: SourceTable,
}

impl Attempts {
    /// Counts by these rules.
    pub fn new(rules: AttemptRules, seed: u64) -> Self {
        Self { rules, sources: SourceTable::new(seed) }
    }

    /// Replaces the rules. Attempts that have been counted stay counted.
    pub fn set_rules(&mut self, rules: AttemptRules) {
        self.rules = rules;
    }

    /// Checks an attempt, which is not counted unless it is refused.
    ///
    /// # Errors
    /// The source is blocked. The refusal says when to try again.
    pub fn check(&mut self, now: Now, address: IpAddr) -> Result<(), Reject> {
        if !self.rules.apply_to(address) {
            return Ok(());
        }
        self.sources.forget(now);
        match self.sources.get(source(address)) {
            Some(known) if known.attempts >= self.rules.attempts => Err(blocked(known.until, now)),
            _ => Ok(()),
        }
    }

    /// Counts an attempt that was refused. Returns the refusal of further ones if it has the source blocked.
    pub fn refused(&mut self, now: Now, address: IpAddr) -> Option<Reject> {
        if self.check(now, address).is_err() || !self.rules.apply_to(address) {
            return None;
        }
        let source = source(address);
        let window_end = now.mono + self.rules.window_ms;
        let known = self.sources.get(source).unwrap_or(Known { until: window_end, attempts: 0 });
        let attempts = known.attempts + 1;
        let is_blocked = attempts >= self.rules.attempts;
        let until = if is_blocked && self.rules.block_ms != 0 { now.mono + self.rules.block_ms } else { known.until };
        self.sources.set(source, Known { until, attempts });
        is_blocked.then(|| blocked(until, now))
    }

    /// Forgets the sources of a network.
    pub fn forgive(&mut self, network: &Network) {
        self.sources.forgive(network);
    }

    /// The blocked sources, each with the end of its block in milliseconds since 1970.
    pub fn blocked(&self, now: Now) -> impl Iterator<Item = (IpAddr, u64)> {
        let is_blocked = move |known: &Known| known.attempts >= self.rules.attempts && known.until > now.mono;
        let blocked = self.sources.known.iter().filter(move |(_, known)| is_blocked(known));
        blocked.map(move |(source, known)| (*source, now.wall + (known.until - now.mono)))
    }

    /// The number of sources remembered.
    pub fn len(&self) -> usize {
        self.sources.known.len()
    }

    /// Whether no source is remembered.
    pub fn is_empty(&self) -> bool {
        self.sources.known.is_empty()
    }
}

/// Blocked sources of other shards: further attempts are refused without a request to their owner.
pub struct Blocks {
    sources: SourceTable,
}

impl Blocks {
    /// No source is blocked.
    pub fn new(seed: u64) -> Self {
        Self { sources: SourceTable::new(seed) }
    }

    /// Notes that a source's owner has blocked it, and for how long.
    pub fn note(&mut self, now: Now, address: IpAddr, reject: &Reject) {
        if let Some(wait_s) = reject.retry_after_s {
            self.sources.forget(now);
            self.sources.set(source(address), Known { until: now.mono + wait_s * 1000, attempts: 0 });
        }
    }

    /// Forgets the sources of a network.
    pub fn forgive(&mut self, network: &Network) {
        self.sources.forgive(network);
    }

    /// Checks an attempt against the blocked sources.
    ///
    /// # Errors
    /// The source is blocked. The refusal says when to try again.
    pub fn check(&mut self, now: Now, address: IpAddr) -> Result<(), Reject> {
        self.sources.forget(now);
        self.sources.get(source(address)).map_or(Ok(()), |known| Err(blocked(known.until, now)))
    }
}

fn blocked(until: u64, now: Now) -> Reject {
    let wait_s = until.saturating_sub(now.mono).div_ceil(1000);
    let text = format!("Too many connection attempts; try again in {wait_s} s");
    Reject { retry_after_s: Some(wait_s), ..Reject::new(Code::RateLimited, text) }
}

/// The attempts of one source.
#[derive(Clone, Copy)]
struct Known {
    /// When it is forgotten, in monotonic milliseconds.
    until: u64,
    /// Its refused attempts. As many as the limit: it is blocked.
    attempts: u32,
}

/// Sources until their deadlines, at most [`SOURCES_KEPT`].
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
        if self.known.len() > SOURCES_KEPT {
            let (_, first) = self.order.pop_first().expect("invariant: each known source has a deadline");
            self.known.remove(&first);
        }
        assert_eq!(self.known.len(), self.order.len(), "invariant: each known source has one deadline");
    }

    /// Forgets the sources in a network, and the one that an address of it counts as.
    fn forgive(&mut self, network: &Network) {
        let own = source(network.address);
        let is_forgiven = |source: &IpAddr| network.contains(*source) || *source == own;
        self.known.retain(|source, _| !is_forgiven(source));
        self.order.retain(|(_, source)| !is_forgiven(source));
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
    fn source_after_five_refused_attempts_is_blocked_for_fifteen_minutes() {
        let mut attempts = Attempts::new(rules(), 1);
        let from = address("192.0.2.1");
        for n in 0..4 {
            assert_eq!(attempts.refused(START.plus(n * 60_000), from), None);
            assert_eq!(attempts.check(START.plus(n * 60_000), from), Ok(()), "an attempt that succeeds costs nothing");
        }
        let block = attempts.refused(START.plus(299_999), from).expect("the fifth");
        assert_eq!((block.code, block.retry_after_s), (Code::RateLimited, Some(900)));
        let wait = |attempts: &mut Attempts, ms| attempts.check(START.plus(ms), from).map_err(|r| r.retry_after_s);
        assert_eq!(wait(&mut attempts, 299_999), Err(Some(900)));
        // Trying on does not make it longer.
        assert_eq!(attempts.refused(START.plus(600_000), from), None);
        assert_eq!(wait(&mut attempts, 1_199_000), Err(Some(1)));
        assert_eq!(wait(&mut attempts, 1_199_999), Ok(()));
        assert_eq!(attempts.check(START, address("192.0.2.2")), Ok(()), "others are not concerned");
    }

    #[test]
    fn a_window_that_is_over_counts_for_nothing() {
        let mut attempts = Attempts::new(rules(), 1);
        for n in 0..100 {
            assert_eq!(attempts.refused(START.plus(n * 75_000), address("192.0.2.1")), None, "{n}");
        }
        assert_eq!(attempts.len(), 1);
    }

    #[test]
    fn without_a_block_an_address_waits_for_its_window_to_end() {
        let mut attempts = Attempts::new(AttemptRules { block_ms: 0, ..rules() }, 1);
        let from = address("192.0.2.1");
        (0..4).for_each(|_| assert_eq!(attempts.refused(START, from), None));
        let reject = attempts.refused(START.plus(100_000), from).expect("the fifth");
        assert_eq!((reject.code, reject.retry_after_s), (Code::RateLimited, Some(200)));
        assert_eq!(attempts.check(START.plus(300_000), from), Ok(()));
    }

    #[test]
    fn some_are_exempt_and_0_is_off() {
        let mut attempts = Attempts::new(rules(), 1);
        let mut off = Attempts::new(AttemptRules { attempts: 0, ..rules() }, 1);
        for _ in 0..100 {
            assert_eq!(attempts.refused(START, address("127.0.0.1")), None);
            assert_eq!(attempts.refused(START, address("::ffff:127.9.9.9")), None);
            assert_eq!(off.refused(START, address("192.0.2.1")), None);
        }
        assert!(attempts.is_empty() && off.is_empty());
    }

    #[test]
    fn a_customers_ipv6_addresses_are_one_source() {
        let mut attempts = Attempts::new(rules(), 1);
        let blocks =
            |attempts: &mut Attempts, n| attempts.refused(START, address(&format!("2001:db8:1:2::{n}"))).is_some();
        assert_eq!([0, 1, 2, 3, 4].map(|n| blocks(&mut attempts, n)), [false, false, false, false, true]);
        assert!(attempts.check(START, address("2001:db8:1:2:ffff::1")).is_err());
        assert_eq!(attempts.check(START, address("2001:db8:1:3::1")), Ok(()));
        assert_eq!(source(address("::ffff:192.0.2.1")), address("192.0.2.1"));
    }

    #[test]
    fn any_number_of_addresses_fits() {
        let mut attempts = Attempts::new(rules(), 1);
        for n in 0..SOURCES_KEPT as u32 + 1_000 {
            let from = IpAddr::from((0x0B00_0000 + n).to_be_bytes());
            assert_eq!(attempts.refused(START.plus(u64::from(n) / 1_000), from), None);
        }
        assert_eq!((attempts.len(), attempts.sources.order.len()), (SOURCES_KEPT, SOURCES_KEPT));
        assert_eq!(attempts.refused(START.plus(10_000_000), address("192.0.2.1")), None);
        assert_eq!(attempts.len(), 1);
    }

    #[test]
    fn a_shard_remembers_whom_it_need_not_ask_about() {
        let (mut attempts, mut blocks) = (Attempts::new(rules(), 1), Blocks::new(1));
        let from = address("192.0.2.1");
        assert_eq!(blocks.check(START, from), Ok(()));
        let refusal = (0..5).find_map(|_| attempts.refused(START, from)).expect("the fifth");
        blocks.note(START, from, &refusal);
        let again = blocks.check(START.plus(10_000), from).expect_err("it is turned away");
        assert_eq!((again.code, again.retry_after_s), (Code::RateLimited, Some(890)));
        assert_eq!(blocks.check(START.plus(900_000), from), Ok(()));
    }
}
