//! Redis loses all data.

use std::time::Instant;

use crate::harness::{CONVERGENCE, ClusterTest};
use crate::times;

#[test]
fn clients_after_redis_flush_learn_room_end_and_rejoin() {
    ClusterTest::start("FLUSHALL", false, &[]).that_forgets().play(|harness, pool| {
        for _ in 0..times(2) {
            let closed = || pool.all().map(|person| pool.shown(person).closed).collect::<Vec<_>>();
            let before = closed();
            let since = Instant::now();
            harness.redis().command(&["FLUSHALL"]);
            pool.wait("everybody is told that their rooms have ended", CONVERGENCE, || {
                closed().iter().zip(&before).all(|(now, before)| *now >= before + 2)
            });
            eprintln!("everybody was told after {:.1?}", since.elapsed());
            harness.recover(pool, since);
            assert!(closed().iter().zip(&before).all(|(now, before)| *now == before + 2), "once each");
        }
    });
}
