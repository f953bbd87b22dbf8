//! The master of the busiest room crashes, or fails over to its replica.

use std::time::{Duration, Instant};

use crate::harness::{CONVERGENCE, ClientPool, ClusterTest};
use crate::times;
use support::redis_cluster::RedisCluster;
use support::room_log::room_name;

const SIGKILL: i32 = 9;

/// The room that is taken for the busiest: all are as busy.
const BUSIEST: usize = 0;

/// The servers of a cluster two of which take turns in keeping the busiest room.
struct AlternatingMasters {
    cluster: RedisCluster,
    slot: u16,
    /// The one that keeps the room now, and its replica.
    keeper: usize,
    replica: usize,
}

impl AlternatingMasters {
    fn start() -> Self {
        let mut cluster = RedisCluster::start();
        let slot = cluster.slot(&format!("switchboard:room:{{{}}}", room_name(BUSIEST)));
        let keeper = cluster.keeper(slot, 0).expect("somebody keeps it");
        let replica = cluster.add_replica(keeper);
        Self { cluster, slot, keeper, replica }
    }

    /// Has the replica ask for its master's place, again when that comes to nothing: it gives up after 5 s.
    fn ask_for_turn(&self, pool: &ClientPool<'_>) {
        let mut asked: Option<Instant> = None;
        pool.wait("the replica is a master", CONVERGENCE, || {
            if asked.is_none_or(|at| at.elapsed() > Duration::from_secs(6)) {
                self.cluster.servers[self.replica].command(&["CLUSTER", "FAILOVER"]);
                asked = Some(Instant::now());
            }
            self.cluster.is_master(self.replica)
        });
    }

    /// Waits until the replica keeps the room, for all the others.
    fn wait_for_turn(&mut self, pool: &ClientPool<'_>) {
        pool.wait("the replica has taken over", CONVERGENCE, || {
            let others = (0..self.cluster.servers.len()).filter(|server| *server != self.keeper);
            others.into_iter().all(|by| self.cluster.keeper(self.slot, by) == Some(self.replica))
        });
        std::mem::swap(&mut self.keeper, &mut self.replica);
    }
}

#[test]
fn rooms_after_cluster_master_crash_keep_messages() {
    let mut turns = AlternatingMasters::start();
    ClusterTest::at("kill -9 of a master", turns.cluster.url()).that_forgets().play(|harness, pool| {
        for _ in 0..times(1) {
            let since = Instant::now();
            turns.cluster.servers[turns.keeper].signal(SIGKILL);
            turns.wait_for_turn(pool);
            eprintln!("the replica took over after {:.1?}", since.elapsed());
            harness.recover(pool, since);
            turns.cluster.servers[turns.replica].revive();
            turns.cluster.wait_until_in_step(turns.replica);
            turns.cluster.wait_until_whole();
        }
    });
}

#[test]
fn rooms_after_cluster_failover_keep_messages() {
    let mut turns = AlternatingMasters::start();
    ClusterTest::at("CLUSTER FAILOVER", turns.cluster.url()).play(|harness, pool| {
        for _ in 0..times(1) {
            let since = Instant::now();
            turns.ask_for_turn(pool);
            turns.wait_for_turn(pool);
            harness.recover(pool, since);
            turns.cluster.wait_until_in_step(turns.replica);
        }
        assert_eq!(pool.total(|shown| shown.closed + shown.anew), 0, "somebody had to begin anew");
    });
}

/// A replica that lags: what it has not got is lost, and nobody goes on as though it were there.
#[test]
fn clients_ahead_of_promoted_replica_learn_of_the_loss() {
    let mut turns = AlternatingMasters::start();
    ClusterTest::at("kill -9 of a master whose replica lags", turns.cluster.url()).that_forgets().play(
        |harness, pool| {
            for _ in 0..times(1) {
                let replica = &turns.cluster.servers[turns.replica];
                // It is not let in again.
                replica.command(&["CONFIG", "SET", "masterauth", "wrong"]);
                replica.command(&["CLIENT", "KILL", "TYPE", "master"]);
                pool.wait_for_talk();
                let closed = pool.total(|shown| shown.closed);
                let since = Instant::now();
                turns.cluster.servers[turns.keeper].signal(SIGKILL);
                turns.wait_for_turn(pool);
                harness.recover(pool, since);
                assert!(pool.total(|shown| shown.closed) > closed, "nobody was told");
                turns.cluster.servers[turns.keeper].command(&["CONFIG", "SET", "masterauth", ""]);
                turns.cluster.servers[turns.replica].revive();
                turns.cluster.wait_until_in_step(turns.replica);
                turns.cluster.wait_until_whole();
            }
        },
    );
}
