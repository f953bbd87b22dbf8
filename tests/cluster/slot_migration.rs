//! The slot of a room moves from one master of a Redis Cluster to another under load.

use std::time::Instant;

use crate::harness::{CONVERGENCE, ClusterTest};
use crate::times;
use support::redis_cluster::RedisCluster;
use support::room_log::room_name;

/// Rooms whose slots move, one after the other.
const MOVED: usize = 3;

#[test]
fn rooms_during_slot_migration_keep_messages() {
    let cluster = RedisCluster::start();
    ClusterTest::at("slots moved", cluster.url()).play(|harness, pool| {
        for round in 0..times(2) {
            let since = Instant::now();
            for room in 0..MOVED {
                let slot = cluster.slot(&format!("switchboard:room:{{{}}}", room_name(room)));
                let from = cluster.keeper(slot, 0).expect("somebody keeps it");
                let refused = || pool.total(|shown| shown.refused);
                let before = refused();
                cluster.move_slot(slot, from, (from + 1 + round % 2) % 3, || {
                    pool.wait("somebody speaks there", CONVERGENCE, || refused() > before + 3);
                });
            }
            harness.recover(pool, since);
        }
        assert_eq!(pool.total(|shown| shown.closed + shown.anew), 0, "somebody had to begin anew");
    });
}
