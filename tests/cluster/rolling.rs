//! All nodes are replaced, one after the other.

use std::time::{Duration, Instant};

use crate::scene::{NODES, Scene};
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
            for node in 0..NODES {
                let there: Vec<usize> =
                    people.all().filter(|person| people.shown(*person).node == Some(node)).collect();
                let told = || there.iter().map(|person| people.shown(*person).sent_away.len()).sum::<usize>();
                let before = told();
                let address = scene.address(node).to_owned();
                let server = scene.nodes[node].as_mut().expect("it is there");
                server.signal(SIGTERM);
                assert!(server.wait(Duration::from_secs(DRAIN + 10)).success());
                scene.start_node(node, &address);
                assert_eq!(told(), before + there.len(), "everybody there was told");
                let moments = there.iter().filter_map(|person| people.shown(*person).sent_away.last().copied());
                let (first, last) = moments.fold((u64::MAX, 0), |(first, last), at| (first.min(at), last.max(at)));
                eprintln!("node {node}: {} people, told to come back after {first} to {last} ms", there.len());
                assert!(last <= 1_000 * DRAIN && (there.len() < 8 || last - first > 500 * DRAIN), "{first} to {last}");
                people.wait_for_talk();
            }
            scene.recover(people, since);
        }
        assert_eq!(people.total(|shown| shown.anew), 0, "somebody found no way back");
        assert_eq!(
            people.total(|shown| shown.noise.len()),
            noise_of_the_beginning(people),
            "somebody's moving was noticed"
        );
    });
}

fn noise_of_the_beginning(people: &crate::scene::People<'_>) -> usize {
    people.total(|shown| shown.noise.iter().filter(|noise| noise.kind == "peer-joined").count())
}
