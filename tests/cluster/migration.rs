//! The slot of a room moves from one master of a cluster to another while people speak there.

use std::time::Instant;

use crate::log::room_name;
use crate::scene::{CONVERGENCE, Scene};
use crate::times;
use support::redis_cluster::RedisCluster;

/// Rooms whose slots move, one after the other.
const MOVED: usize = 3;

#[test]
fn slots_move_while_people_speak_in_their_rooms() {
    let cluster = RedisCluster::start();
    Scene::at("slots moved", cluster.url()).play(|scene, people| {
        for round in 0..times(2) {
            let since = Instant::now();
            for room in 0..MOVED {
                let slot = cluster.slot(&format!("switchboard:room:{{{}}}", room_name(room)));
                let from = cluster.keeper(slot, 0).expect("somebody keeps it");
                let refused = || people.total(|shown| shown.refused);
                let before = refused();
                cluster.move_slot(slot, from, (from + 1 + round % 2) % 3, || {
                    people.wait("somebody speaks there", CONVERGENCE, || refused() > before + 3);
                });
            }
            scene.recover(people, since);
        }
        assert_eq!(people.total(|shown| shown.closed + shown.anew), 0, "somebody had to begin anew");
    });
}
