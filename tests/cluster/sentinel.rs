//! A master under Sentinel crashes, or fails over to its replica, and returns as a replica.

use std::time::Instant;

use crate::harness::{CONVERGENCE, ClusterTest};
use crate::{asked, times};
use support::redis_sentinel::RedisGroup;

const SIGKILL: i32 = 9;

#[test]
fn clients_across_sentinel_failover_lose_nothing() {
    let mut group = RedisGroup::start();
    ClusterTest::at("a master under Sentinels killed", group.url()).that_forgets().play(|harness, pool| {
        for _ in 0..times(1) {
            let master = group.master().expect("there is one");
            let since = Instant::now();
            group.servers[master].signal(SIGKILL);
            pool.wait("the replica has taken over", CONVERGENCE, || group.master() == Some(1 - master));
            eprintln!("the replica took over after {:.1?}", since.elapsed());
            harness.recover(pool, since);
            group.servers[master].revive();
            // It believes that it is the master until it is told otherwise, which takes a while.
            pool.wait_for_talk();
            if asked().is_some() {
                group.wait_until_whole();
                pool.wait_for_talk();
            }
        }
    });
}

/// The former master answers on for some seconds: nobody may tell it anything any more.
#[test]
fn clients_across_requested_sentinel_failover_lose_nothing() {
    let group = RedisGroup::start();
    ClusterTest::at("SENTINEL FAILOVER", group.url()).that_forgets().play(|harness, pool| {
        for _ in 0..times(1) {
            let master = group.master().expect("there is one");
            let since = Instant::now();
            group.fail_over();
            pool.wait("the replica has taken over", CONVERGENCE, || group.master() == Some(1 - master));
            eprintln!("the replica took over after {:.1?}", since.elapsed());
            harness.recover(pool, since);
            if asked().is_some() {
                group.wait_until_whole();
            }
            pool.wait_for_talk();
        }
    });
}
