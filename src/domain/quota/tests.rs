//! Pool and caches together, with delayed messages between them: no credit is spent twice and none is withheld.

use std::collections::{BTreeMap, VecDeque};

use proptest::prelude::*;

use super::*;

const RATES: Rates = Rates { messages: 100, typing: 10, rest: 0 };

/// A pool, some shards, and the messages between them.
struct World {
    now: Now,
    pool: QuotaPool,
    shards: Vec<QuotaCache>,
    /// Messages on the way: the time of arrival, and the sending or receiving shard.
    requests: VecDeque<(u64, u8, QuotaRequest)>,
    grants: VecDeque<(u64, u8, QuotaGrant)>,
    delay_ms: u64,
    /// Messages sent so far.
    messages: usize,
    /// The last minute granted to each shard and user.
    minutes: BTreeMap<(u8, Name), u64>,
    /// Credits spent in each minute.
    spent: BTreeMap<(Name, u64), u32>,
}

impl World {
    fn new(shards: usize) -> Self {
        Self {
            now: Now { mono: 1, wall: 0 },
            pool: QuotaPool::new(RATES, 1),
            shards: (0..shards).map(|n| QuotaCache::new(RATES, n as u64)).collect(),
            requests: VecDeque::new(),
            grants: VecDeque::new(),
            delay_ms: 1,
            messages: 0,
            minutes: BTreeMap::new(),
            spent: BTreeMap::new(),
        }
    }

    fn send_requests(&mut self, shard: u8, requests: Vec<QuotaRequest>) {
        self.messages += requests.len();
        // Messages keep their order.
        let at = self.requests.back().map_or(0, |message| message.0).max(self.now.mono + self.delay_ms);
        self.requests.extend(requests.into_iter().map(|request| (at, shard, request)));
    }

    fn send_grants(&mut self, grants: Vec<(u8, QuotaGrant)>) {
        self.messages += grants.len();
        let at = self.grants.back().map_or(0, |message| message.0).max(self.now.mono + self.delay_ms);
        self.grants.extend(grants.into_iter().map(|(shard, grant)| (at, shard, grant)));
    }

    /// Advances the time, delivers messages and runs timers.
    fn pass(&mut self, ms: u64) {
        let until = self.now.mono + ms;
        while self.now.mono < until {
            let next = [
                self.requests.iter().map(|message| message.0).min(),
                self.grants.iter().map(|message| message.0).min(),
                self.pool.next_due(),
                self.shards.iter().filter_map(QuotaCache::next_due).min(),
            ];
            let next = next.into_iter().flatten().min().unwrap_or(until).clamp(self.now.mono, until);
            self.now = self.now.plus(next - self.now.mono);
            if !self.turn() && next == self.now.mono && next < until {
                self.now = self.now.plus(1);
            }
        }
        self.turn();
    }

    /// Handles all due messages and timers. Returns whether there were any.
    fn turn(&mut self) -> bool {
        let before = self.messages;
        let mut has_arrived = false;
        while let Some(at) = self.requests.iter().position(|message| message.0 <= self.now.mono) {
            let (_, shard, request) = self.requests.remove(at).expect("it is there");
            let mut out = Vec::new();
            self.pool.handle_request(self.now, shard, &request, &mut out);
            self.send_grants(out);
            has_arrived = true;
        }
        while let Some(at) = self.grants.iter().position(|message| message.0 <= self.now.mono) {
            let (_, shard, grant) = self.grants.remove(at).expect("it is there");
            if grant.grant != GrantKind::Recall {
                self.minutes.insert((shard, grant.user.clone()), grant.minute);
            }
            let mut out = Vec::new();
            self.shards[usize::from(shard)].apply_grant(self.now, &grant, &mut out);
            self.send_requests(shard, out);
            has_arrived = true;
        }
        let mut out = Vec::new();
        self.pool.tick(self.now, &mut out);
        self.send_grants(out);
        for shard in 0..self.shards.len() {
            let mut out = Vec::new();
            self.shards[shard].tick(self.now, &mut out);
            self.send_requests(shard as u8, out);
        }
        has_arrived || self.messages != before
    }

    fn spend(&mut self, shard: u8, user: &Name) -> Verdict {
        let mut out = Vec::new();
        let verdict = self.shards[usize::from(shard)].spend(self.now, user, QuotaKind::Messages, &mut out);
        self.send_requests(shard, out);
        let minute = self.minutes.get(&(shard, user.clone())).copied().unwrap_or(0);
        let spent = self.spent.entry((user.clone(), minute)).or_default();
        match &verdict {
            Verdict::Granted => {
                *spent += 1;
                assert!(*spent <= RATES.messages, "more is spent than there is");
                assert!(self.now.mono < minute && minute <= self.now.mono + WINDOW_MS, "it is of another minute");
            }
            Verdict::Refused(reject) => {
                assert_eq!(*spent, RATES.messages, "refused too early");
                assert_eq!(reject.retry_after_s, Some((minute - self.now.mono).div_ceil(1000)));
            }
            Verdict::Wait => {}
        }
        verdict
    }

    /// Spends one credit, waiting for a grant if necessary.
    fn spend_patiently(&mut self, shard: u8, user: &Name) -> bool {
        for _ in 0..100 {
            match self.spend(shard, user) {
                Verdict::Granted => return true,
                Verdict::Refused(_) => return false,
                Verdict::Wait => self.pass(self.delay_ms.max(50)),
            }
        }
        panic!("nobody answers");
    }
}

#[test]
fn rest_quota_spent_refuses_until_next_minute() {
    let start = Now { mono: 5_000, wall: 0 };
    let mut allowance = RestQuota::new("u".into(), start);
    assert!((0..3).all(|n| allowance.spend(3, start.plus(n * 100)).is_ok()));
    let reject = allowance.spend(3, start.plus(50_500)).expect_err("the fourth");
    assert_eq!((reject.code, reject.retry_after_s), (Code::RateLimited, Some(10)));
    assert!(allowance.spend(3, start.plus(59_999)).is_err());
    assert!((0..3).all(|_| allowance.spend(3, start.plus(60_000)).is_ok()));
    assert!(allowance.spend(3, start.plus(60_000)).is_err());
}

#[test]
fn quota_one_connection_spends_all_with_few_messages() {
    let (mut world, user) = (World::new(1), Name::from("u"));
    for n in 0..100 {
        assert!(world.spend_patiently(0, &user), "{n}");
    }
    assert!(!world.spend_patiently(0, &user));
    assert!(world.messages <= 10, "{} for 100 messages", world.messages);
    let Verdict::Refused(reject) = world.spend(0, &user) else { panic!("it is refused") };
    assert_eq!(reject.text, "More than 100 messages a minute; go on in 60 s");
    world.pass(WINDOW_MS);
    assert!(world.spend_patiently(0, &user), "the next minute has begun");
}

#[test]
fn cache_steady_sender_never_waits() {
    let (mut world, user) = (World::new(1), Name::from("u"));
    assert_eq!(world.spend(0, &user), Verdict::Wait);
    world.pass(2);
    for n in 0..99 {
        assert_eq!(world.spend(0, &user), Verdict::Granted, "{n}");
        world.pass(500);
    }
}

#[test]
fn pool_without_free_credits_recalls_unspent_leases() {
    let (mut world, user) = (World::new(4), Name::from("u"));
    for shard in 0..4 {
        assert!(world.spend_patiently(shard, &user));
    }
    // Each shard holds a quarter; one shard alone spends all.
    for n in 4..100 {
        assert!(world.spend_patiently(3, &user), "{n}");
    }
    for shard in 0..4 {
        assert!(!world.spend_patiently(shard, &user));
    }
}

#[test]
fn cache_unused_credits_are_returned_by_timer() {
    let (mut world, user) = (World::new(2), Name::from("u"));
    assert!(world.spend_patiently(0, &user));
    world.pass(3_000);
    let before = world.messages;
    for _ in 1..100 {
        assert!(world.spend_patiently(1, &user));
    }
    let recalls = world.messages - before;
    assert!(!world.spend_patiently(1, &user) && recalls <= 12, "{recalls}");
}

#[test]
fn pool_unanswered_recall_counts_lease_as_spent() {
    let mut pool = QuotaPool::new(Rates { messages: 4, ..RATES }, 1);
    let ask = |spent| QuotaRequest {
        user: "u".into(),
        kind: QuotaKind::Messages,
        minute: 0,
        spent,
        returned: 0,
        wants: true,
    };
    let (now, mut out) = (Now { mono: 100, wall: 0 }, Vec::new());
    for _ in 0..4 {
        pool.handle_request(now, 0, &ask(0), &mut out);
    }
    assert!(out.drain(..).all(|(shard, grant)| shard == 0 && grant.grant == GrantKind::Credits(1)));
    pool.handle_request(now, 1, &ask(0), &mut out);
    assert_eq!(out.pop().map(|(shard, grant)| (shard, grant.grant)), Some((0, GrantKind::Recall)));
    pool.tick(now.plus(4_999), &mut out);
    assert_eq!(out, []);
    pool.tick(now.plus(5_000), &mut out);
    assert_eq!(out.pop().map(|(shard, grant)| (shard, grant.grant)), Some((1, GrantKind::Exhausted)));
    pool.tick(now.plus(WINDOW_MS), &mut out);
    assert!(pool.is_empty() && pool.next_due().is_none());
}

#[test]
fn quota_kinds_are_separate_and_0_is_unlimited() {
    let (mut world, user) = (World::new(1), Name::from("u"));
    let mut out = Vec::new();
    for _ in 0..1_000 {
        assert_eq!(world.shards[0].spend(world.now, &user, QuotaKind::Rest, &mut out), Verdict::Granted);
    }
    assert!(out.is_empty() && world.shards[0].is_empty());
    assert!(world.spend_patiently(0, &user));
    assert_eq!(world.shards[0].spend(world.now, &user, QuotaKind::Typing, &mut out), Verdict::Wait);
    assert_eq!(out.len(), 1);
}

/// Mostly short enough for messages to cross, sometimes long enough for credits to be returned or a minute to end.
fn pause_ms() -> impl Strategy<Value = u64> {
    prop_oneof![6 => 0..100_u64, 2 => 0..2_500_u64, 1 => 0..30_000_u64]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// For random activity on several shards and random delays, the assertions of `World::spend` hold.
    #[test]
    fn quota_random_activity_spends_exactly_the_quota(
        shards in 1..5_usize,
        bursts in prop::collection::vec((0..4_u8, 0..5_u8, 1..40_u32, pause_ms(), 1..200_u64), 1..120),
    ) {
        let mut world = World::new(shards);
        for (shard, user, times, pause_ms, delay_ms) in bursts {
            world.delay_ms = delay_ms;
            let user = Name::from(if user > 0 { "a" } else { "b" });
            for _ in 0..times {
                if world.spend(shard % shards as u8, &user) != Verdict::Granted {
                    break;
                }
            }
            world.pass(pause_ms);
        }
        for user in ["a", "b"] {
            for shard in 0..shards as u8 {
                world.spend_patiently(shard, &user.into());
            }
        }
        world.pass(3 * WINDOW_MS);
        prop_assert!(world.pool.is_empty() && world.shards.iter().all(QuotaCache::is_empty));
        prop_assert!(world.pool.next_due().is_none() && world.shards.iter().all(|shard| shard.next_due().is_none()));
    }
}
