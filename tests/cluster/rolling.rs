//! All nodes are replaced, one after the other.

use std::time::{Duration, Instant};

use crate::scene::{NODES, People, Scene};
use crate::times;

const SIGTERM: i32 = 15;

/// How long a node takes to leave, in seconds.
const DRAIN: u64 = 2;

#[test]
fn a_rolling_restart_loses_nothing_and_is_spread_over_the_window() {
    let drain = format!("drain.seconds={DRAIN}");
    Scene::start("rolling restart", false, &[&drain]).play(|scene, people| {
        for _ in 0..times(1) {
            let since = Instant::now();
            (0..NODES).for_each(|node| replace(scene, people, node));
            scene.recover(people, since);
        }
        assert_eq!(people.total(|shown| shown.anew), 0, "somebody found no way back");
    });
}

fn replace(scene: &mut Scene, people: &People<'_>, node: usize) {
    let there: Vec<usize> = people.all().filter(|person| people.shown(*person).node == Some(node)).collect();
    let told = || there.iter().map(|person| people.shown(*person).sent_away.len()).sum::<usize>();
    let before = told();
    let address = scene.address(node).to_owned();
    let server = scene.nodes[node].as_mut().expect("it is there");
    server.signal(SIGTERM);
    assert!(server.wait(Duration::from_secs(DRAIN + 10)).success());
    scene.start_node(node, &address);
    people.wait_for_talk();
    assert_eq!(told(), before + there.len(), "everybody there was told");
    let spread = spread(people, &there);
    eprintln!("node {node}: {} people, back within {spread:.1?}", there.len());
    let window = Duration::from_secs(DRAIN);
    assert!(there.len() < 8 || spread > window / 2 && spread < window * 2, "{spread:?} of {window:?}");
}

/// Between the first of them who came back, as they were told, and the last.
fn spread(people: &People<'_>, of: &[usize]) -> Duration {
    let moments: Vec<Instant> = of.iter().filter_map(|person| people.shown(*person).back.last().copied()).collect();
    let ends = moments.iter().min().zip(moments.iter().max());
    ends.map_or(Duration::ZERO, |(first, last)| *last - *first)
}
