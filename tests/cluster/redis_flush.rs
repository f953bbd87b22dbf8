//! Redis loses everything it knew.

use std::time::Instant;

use crate::harness::{CONVERGENCE, ClusterTest};
use crate::times;

#[test]
fn clients_after_redis_flush_learn_room_end_and_rejoin() {
    ClusterTest::start("FLUSHALL", false, &[]).that_forgets().play(|scene, people| {
        for _ in 0..times(2) {
            let closed = || people.all().map(|person| people.shown(person).closed).collect::<Vec<_>>();
            let before = closed();
            let since = Instant::now();
            scene.redis().command(&["FLUSHALL"]);
            people.wait("everybody is told that their rooms have ended", CONVERGENCE, || {
                closed().iter().zip(&before).all(|(now, before)| *now >= before + 2)
            });
            eprintln!("everybody was told after {:.1?}", since.elapsed());
            scene.recover(people, since);
            assert!(closed().iter().zip(&before).all(|(now, before)| *now == before + 2), "once each");
        }
    });
}
