//! Keeper and purses together: with mail between them that takes its time, nothing is spent twice and nothing withheld.

use std::collections::{BTreeMap, VecDeque};

use proptest::prelude::*;

use super::*;

const RATES: Rates = Rates { messages: 100, typing: 10, rest: 0 };

/// A keeper, some shards, and the mail between them.
struct World {
    now: Now,
    keeper: QuotaPool,
    shards: Vec<QuotaCache>,
    /// Mail that has not arrived: when it will, and the shard that sent it or that it is for.
    claims: VecDeque<(u64, u8, QuotaRequest)>,
    notices: VecDeque<(u64, u8, QuotaGrant)>,
    delay_ms: u64,
    /// All mail so far.
    mails: usize,
    /// The minute that a shard last heard of.
    minutes: BTreeMap<(u8, Name), u64>,
    /// What was spent in each minute.
    spent: BTreeMap<(Name, u64), u32>,
}

impl World {
    fn new(shards: usize) -> Self {
        Self {
            now: Now { mono: 1, wall: 0 },
            keeper: QuotaPool::new(RATES, 1),
            shards: (0..shards).map(|n| QuotaCache::new(RATES, n as u64)).collect(),
            claims: VecDeque::new(),
            notices: VecDeque::new(),
            delay_ms: 1,
            mails: 0,
            minutes: BTreeMap::new(),
            spent: BTreeMap::new(),
        }
    }

    fn post_claims(&mut self, shard: u8, claims: Vec<QuotaRequest>) {
        self.mails += claims.len();
        // Mail is not overtaken by later mail.
        let at = self.claims.back().map_or(0, |mail| mail.0).max(self.now.mono + self.delay_ms);
        self.claims.extend(claims.into_iter().map(|claim| (at, shard, claim)));
    }

    fn post_notices(&mut self, notices: Vec<(u8, QuotaGrant)>) {
        self.mails += notices.len();
        let at = self.notices.back().map_or(0, |mail| mail.0).max(self.now.mono + self.delay_ms);
        self.notices.extend(notices.into_iter().map(|(shard, notice)| (at, shard, notice)));
    }

    /// Lets time pass, mail arrive and timers run.
    fn pass(&mut self, ms: u64) {
        let until = self.now.mono + ms;
        while self.now.mono < until {
            let next = [
                self.claims.iter().map(|mail| mail.0).min(),
                self.notices.iter().map(|mail| mail.0).min(),
                self.keeper.next_due(),
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

    /// Does what is due now; whether there was anything.
    fn turn(&mut self) -> bool {
        let before = self.mails;
        let mut has_arrived = false;
        while let Some(at) = self.claims.iter().position(|mail| mail.0 <= self.now.mono) {
            let (_, shard, claim) = self.claims.remove(at).expect("it is there");
            let mut out = Vec::new();
            self.keeper.claim(self.now, shard, &claim, &mut out);
            self.post_notices(out);
            has_arrived = true;
        }
        while let Some(at) = self.notices.iter().position(|mail| mail.0 <= self.now.mono) {
            let (_, shard, notice) = self.notices.remove(at).expect("it is there");
            if notice.word != GrantKind::Recall {
                self.minutes.insert((shard, notice.user.clone()), notice.minute);
            }
            let mut out = Vec::new();
            self.shards[usize::from(shard)].hear(self.now, &notice, &mut out);
            self.post_claims(shard, out);
            has_arrived = true;
        }
        let mut out = Vec::new();
        self.keeper.tick(self.now, &mut out);
        self.post_notices(out);
        for shard in 0..self.shards.len() {
            let mut out = Vec::new();
            self.shards[shard].tick(self.now, &mut out);
            self.post_claims(shard as u8, out);
        }
        has_arrived || self.mails != before
    }

    fn spend(&mut self, shard: u8, user: &Name) -> Verdict {
        let mut out = Vec::new();
        let verdict = self.shards[usize::from(shard)].spend(self.now, user, QuotaKind::Messages, &mut out);
        self.post_claims(shard, out);
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

    /// Spends as a connection does that waits when it has to.
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
fn a_minute_of_rest_has_so_many_requests_and_then_the_next_begins() {
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
fn one_connection_spends_all_there_is_with_little_mail() {
    let (mut world, user) = (World::new(1), Name::from("u"));
    for n in 0..100 {
        assert!(world.spend_patiently(0, &user), "{n}");
    }
    assert!(!world.spend_patiently(0, &user));
    assert!(world.mails <= 10, "{} for 100 messages", world.mails);
    let Verdict::Refused(reject) = world.spend(0, &user) else { panic!("it is refused") };
    assert_eq!(reject.text, "More than 100 messages a minute; go on in 60 s");
    world.pass(WINDOW_MS);
    assert!(world.spend_patiently(0, &user), "the next minute has begun");
}

#[test]
fn who_sends_steadily_never_waits() {
    let (mut world, user) = (World::new(1), Name::from("u"));
    assert_eq!(world.spend(0, &user), Verdict::Wait);
    world.pass(2);
    for n in 0..99 {
        assert_eq!(world.spend(0, &user), Verdict::Granted, "{n}");
        world.pass(500);
    }
}

#[test]
fn what_other_shards_do_not_spend_is_called_back() {
    let (mut world, user) = (World::new(4), Name::from("u"));
    for shard in 0..4 {
        assert!(world.spend_patiently(shard, &user));
    }
    // Each holds a quarter of all there is; one alone spends it.
    for n in 4..100 {
        assert!(world.spend_patiently(3, &user), "{n}");
    }
    for shard in 0..4 {
        assert!(!world.spend_patiently(shard, &user));
    }
}

#[test]
fn what_is_not_used_comes_back_by_itself() {
    let (mut world, user) = (World::new(2), Name::from("u"));
    assert!(world.spend_patiently(0, &user));
    world.pass(3_000);
    let before = world.mails;
    for _ in 1..100 {
        assert!(world.spend_patiently(1, &user));
    }
    let recalls = world.mails - before;
    assert!(!world.spend_patiently(1, &user) && recalls <= 12, "{recalls}");
}

#[test]
fn a_shard_that_does_not_answer_is_not_waited_for_for_long() {
    let mut keeper = QuotaPool::new(Rates { messages: 4, ..RATES }, 1);
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
        keeper.claim(now, 0, &ask(0), &mut out);
    }
    assert!(out.drain(..).all(|(shard, notice)| shard == 0 && notice.word == GrantKind::Lent(1)));
    keeper.claim(now, 1, &ask(0), &mut out);
    assert_eq!(out.pop().map(|(shard, notice)| (shard, notice.word)), Some((0, GrantKind::Recall)));
    keeper.tick(now.plus(4_999), &mut out);
    assert_eq!(out, []);
    keeper.tick(now.plus(5_000), &mut out);
    assert_eq!(out.pop().map(|(shard, notice)| (shard, notice.word)), Some((1, GrantKind::Spent)));
    keeper.tick(now.plus(WINDOW_MS), &mut out);
    assert!(keeper.is_empty() && keeper.next_due().is_none());
}

#[test]
fn kinds_are_apart_and_0_is_off() {
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

/// Mostly so short that mail crosses, sometimes so long that credits come back or a minute is over.
fn pause_ms() -> impl Strategy<Value = u64> {
    prop_oneof![6 => 0..100_u64, 2 => 0..2_500_u64, 1 => 0..30_000_u64]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Whatever several connections on several shards do, and however long mail takes: what `World::spend` asserts.
    #[test]
    fn exactly_so_many_are_spent(
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
        prop_assert!(world.keeper.is_empty() && world.shards.iter().all(QuotaCache::is_empty));
        prop_assert!(world.keeper.next_due().is_none() && world.shards.iter().all(|shard| shard.next_due().is_none()));
    }
}
