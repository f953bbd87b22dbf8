//! A master under Sentinel crashes, or fails over to its replica, and returns as a replica.

use std::time::{Duration, Instant};

use crate::harness::{CONVERGENCE, ClusterTest};
use crate::{asked, times};
use support::redis_sentinel::RedisGroup;

const SIGKILL: i32 = 9;
const SIGCONT: i32 = 18;
const SIGSTOP: i32 = 19;

/// Within this every room takes messages when the Sentinels agree on a master.
const TALK_WITHIN: Duration = Duration::from_secs(10);

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

/// The former master is back, and takes itself for the master, while the Sentinels put the replica in its place: no server may
/// go back to it.
#[test]
fn clients_across_return_of_master_during_failover_lose_nothing() {
    let mut group = RedisGroup::start();
    ClusterTest::at("a master that returns during its failover", group.url()).that_forgets().play(|harness, pool| {
        for round in 0..times(2) {
            let master = group.master().expect("there is one");
            let is_killed = round.is_multiple_of(2);
            let since = Instant::now();
            group.servers[master].signal(if is_killed { SIGKILL } else { SIGSTOP });
            pool.wait("a failover is under way", CONVERGENCE, || group.is_failing_over());
            match is_killed {
                true => group.servers[master].revive(),
                false => group.servers[master].signal(SIGCONT),
            }
            let under_way = since.elapsed();
            pool.wait("the Sentinels agree", CONVERGENCE, || !group.is_failing_over() && group.master().is_some());
            let agreed = Instant::now();
            pool.wait_for_talk();
            assert!(agreed.elapsed() < TALK_WITHIN, "rooms took messages after {:.1?}", agreed.elapsed());
            let is_replaced = group.master() != Some(master);
            eprintln!(
                "{}: back after {under_way:.1?}, replaced: {is_replaced}, talk {:.1?} after the Sentinels agreed",
                if is_killed { "killed" } else { "stopped" },
                agreed.elapsed()
            );
            harness.recover(pool, since);
            group.wait_until_whole();
        }
    });
}
