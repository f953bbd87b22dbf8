//! What users may say in a minute on all nodes together: never more than there is, and nobody is refused while there is
//! some left on any node.

use std::collections::BTreeMap;

use switchboard::base::Name;
use switchboard::base::rng::Rng;
use switchboard::domain::quota::{QuotaCache, QuotaKind, QuotaRequest, Verdict};
use switchboard::message::OwnerMessage;

use crate::world::{RATES, World, rules};

const NODES: usize = 3;
const SHARDS: usize = 2;

/// Nodes with their shards' halves.
struct Shared {
    world: World,
    purses: Vec<QuotaCache>,
    claims: Vec<(usize, QuotaRequest)>,
}

impl Shared {
    fn new() -> Self {
        let purses = (0..NODES * SHARDS).map(|seed| QuotaCache::new(RATES, seed as u64)).collect();
        Self { world: World::new(NODES, rules()), purses, claims: Vec::new() }
    }

    /// Delivers all messages between shards, owners and Redis.
    fn settle(&mut self) {
        loop {
            for (shard, claim) in std::mem::take(&mut self.claims) {
                let (at, mut out) = (shard / SHARDS, Vec::new());
                let now = self.world.now;
                let message = OwnerMessage::QuotaRequest { from: (shard % SHARDS) as u8, request: claim };
                self.world.nodes[at].handle(now, message, &mut out);
                self.world.note(at, out);
            }
            self.world.settle();
            while let Some((at, shard, notice)) = self.world.notices.pop_front() {
                let shard = at * SHARDS + usize::from(shard);
                let mut out = Vec::new();
                self.purses[shard].apply_grant(self.world.now, &notice, &mut out);
                self.claims.extend(out.into_iter().map(|claim| (shard, claim)));
            }
            if self.claims.is_empty() {
                return;
            }
        }
    }

    /// Whether a user may say something on a shard.
    fn spend(&mut self, shard: usize, user: &str, kind: QuotaKind) -> bool {
        for _ in 0..8 {
            let mut out = Vec::new();
            let verdict = self.purses[shard].spend(self.world.now, user, kind, &mut out);
            self.claims.extend(out.into_iter().map(|claim| (shard, claim)));
            self.settle();
            match verdict {
                Verdict::Granted => return true,
                Verdict::Refused(_) => return false,
                Verdict::Wait => {}
            }
        }
        panic!("{user} waits for ever");
    }

    fn pass(&mut self, ms: u64) {
        self.world.pass(ms);
        for shard in 0..self.purses.len() {
            let mut out = Vec::new();
            self.purses[shard].tick(self.world.now, &mut out);
            self.claims.extend(out.into_iter().map(|claim| (shard, claim)));
        }
        self.settle();
    }

    fn calls(&self) -> usize {
        self.world.nodes.iter().map(|node| node.called).sum()
    }
}

#[test]
fn quota_is_spent_exactly_on_all_nodes() {
    let mut rng = Rng::from_seed(1);
    let mut shared = Shared::new();
    for minute in 0..12 {
        let mut spent = BTreeMap::<(Name, QuotaKind), u32>::new();
        for _ in 0..450 {
            let shard = rng.below((NODES * SHARDS) as u64) as usize;
            let user = Name::from(["ann", "bob"][rng.below(2) as usize]);
            let kind = if rng.below(4) == 0 { QuotaKind::Typing } else { QuotaKind::Messages };
            let may = shared.spend(shard, &user, kind);
            let spent = spent.entry((user.clone(), kind)).or_default();
            assert_eq!(may, *spent < RATES.of(kind), "{user} {kind:?} in minute {minute}: {spent} were spent");
            *spent += u32::from(may);
            if rng.below(20) == 0 {
                shared.pass(rng.below(2_500));
            }
            if shared.world.now.mono % 120_000 > 55_000 {
                break;
            }
        }
        // Each minute begins with what is said first in it.
        shared.pass(120_000 - shared.world.now.mono % 120_000);
    }
}

#[test]
fn quota_of_a_user_on_one_node_costs_few_calls() {
    let mut shared = Shared::new();
    shared.world.pass(1);
    let before = shared.calls();
    assert!((0..RATES.messages).all(|_| shared.spend(0, "ann", QuotaKind::Messages)));
    assert!(!shared.spend(0, "ann", QuotaKind::Messages));
    let calls = shared.calls() - before;
    assert!(calls <= 4, "{calls}");
}

#[test]
fn credits_of_a_dead_node_count_as_spent() {
    let mut shared = Shared::new();
    assert!(shared.spend(0, "ann", QuotaKind::Messages));
    let mut spent = 0;
    let mut node = shared.world.nodes.remove(0);
    // Nobody hears what it is asked for.
    node.miss_published();
    shared.purses.drain(..SHARDS);
    shared.world.heard.remove(0);
    loop {
        let mut out = Vec::new();
        match shared.purses[0].spend(shared.world.now, "ann", QuotaKind::Messages, &mut out) {
            Verdict::Granted => spent += 1,
            Verdict::Refused(_) => break,
            Verdict::Wait => shared.pass(1_000),
        }
        shared.claims.extend(out.into_iter().map(|claim| (0, claim)));
        shared.settle();
        assert!(shared.world.now.mono < 30_000, "it waits for a dead node");
    }
    assert_eq!(spent, 50);
}

#[test]
fn node_grants_its_own_quota_while_redis_is_away() {
    let mut shared = Shared::new();
    let mut out = Vec::new();
    let claim =
        QuotaRequest { user: "ann".into(), kind: QuotaKind::Messages, minute: 0, spent: 0, returned: 0, wants: true };
    let now = shared.world.now;
    shared.world.nodes[0].handle(now, OwnerMessage::QuotaRequest { from: 0, request: claim }, &mut out);
    shared.world.nodes[0].lose_calls(now, &mut out);
    shared.world.note(0, out);
    let (_, _, notice) = shared.world.notices.pop_front().expect("it does not wait");
    assert_eq!(notice.grant, switchboard::domain::quota::GrantKind::Credits(25));
}
