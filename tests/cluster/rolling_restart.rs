//! A rolling restart of all nodes, under raw WebSocket clients and Socket.IO clients from npm.

use std::time::{Duration, Instant};

use crate::harness::{ClientPool, ClusterTest, NODES};
use crate::npm_clients::NpmClients;
use crate::times;

const SIGTERM: i32 = 15;

/// How long a node takes to leave, in seconds.
const DRAIN: u64 = 2;

/// Parts of the window that leavings are counted by.
const PARTS: usize = 9;

/// What the rounds have come to.
#[derive(Default)]
struct Figures {
    /// Leavings by the tenth of the window that they fell into, of clients and of stock clients.
    leavings: [[usize; PARTS + 1]; 2],
    /// For how long stock clients were away.
    away: Vec<Duration>,
}

#[test]
fn rolling_restart_loses_nothing_and_spreads_reconnects() {
    let drain = format!("drain.seconds={DRAIN}");
    ClusterTest::start("rolling restart", false, &[&drain]).play(|harness, pool| {
        let mut stock = NpmClients::start(harness, pool);
        let noise = || pool.all().map(|person| pool.shown(person).noise.len()).collect::<Vec<_>>();
        let before = noise();
        let mut figures = Figures::default();
        for _ in 0..times(1) {
            let since = Instant::now();
            (0..NODES).for_each(|node| replace(harness, pool, &mut stock, node, &mut figures));
            harness.recover(pool, since);
        }
        stock.end(pool);
        assert_eq!(pool.total(|shown| shown.anew), 0, "somebody found no way back");
        for (person, known) in before.into_iter().enumerate() {
            let news = &pool.shown(person).noise[known..];
            assert!(news.is_empty(), "person-{person} heard of somebody who came or left: {news:?}");
        }
        figures.report();
    });
}

fn replace(
    harness: &mut ClusterTest,
    pool: &ClientPool<'_>,
    stock: &mut NpmClients,
    node: usize,
    figures: &mut Figures,
) {
    let there: Vec<usize> = pool.all().filter(|person| pool.shown(*person).node == Some(node)).collect();
    let told = || there.iter().map(|person| pool.shown(*person).sent_away.len()).sum::<usize>();
    let before = told();
    let address = harness.address(node).to_owned();
    let since = Instant::now();
    let server = harness.nodes[node].as_mut().expect("it is there");
    server.signal(SIGTERM);
    assert!(server.wait(Duration::from_secs(DRAIN + 10)).success());
    harness.start_node(node, &address);
    pool.wait_for_talk();
    assert_eq!(told(), before + there.len(), "everybody there was told");
    let moved = stock.moved(pool, since);
    let back = there.iter().filter_map(|person| pool.shown(*person).back.last().copied());
    check_spread("pool", &back.map(|at| at - since).collect::<Vec<_>>(), &mut figures.leavings[0]);
    let lost: Vec<Duration> = moved.lost.iter().map(|(at, _)| *at - since).collect();
    check_spread("stock clients", &lost, &mut figures.leavings[1]);
    figures.away.extend(moved.lost.iter().map(|(_, away)| *away));
}

/// Between the first who went and the last lies most of the window.
fn check_spread(who: &str, moments: &[Duration], counts: &mut [usize; PARTS + 1]) {
    let window = Duration::from_secs(DRAIN);
    for moment in moments {
        let part = moment.as_millis() * (PARTS as u128 + 1) / window.as_millis();
        counts[(part as usize).min(PARTS)] += 1;
    }
    let ends = moments.iter().min().zip(moments.iter().max());
    let spread = ends.map_or(Duration::ZERO, |(first, last)| *last - *first);
    assert!(moments.len() < 8 || spread > window / 2 && spread < window * 2, "{who}: {spread:?} of {window:?}");
}

impl Figures {
    fn report(mut self) {
        let [pool, stock] = self.leavings;
        eprintln!("by tenths of the window: pool back {pool:?}, stock clients closed {stock:?}");
        self.away.sort_unstable();
        let at = |part: usize| self.away.get(self.away.len() * part / 100).copied().unwrap_or_default();
        eprintln!(
            "{} stock clients moved, none missed anything; away for {:.1?} (half), {:.1?} (nine tenths), {:.1?} (longest)",
            self.away.len(),
            at(50),
            at(90),
            self.away.last().copied().unwrap_or_default(),
        );
    }
}
