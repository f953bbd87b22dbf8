//! The simulator: whole servers in one thread, with several shards, a clock that moves only when told, connections that
//! split and delay bytes at random, and correct, faulty and silent clients. Each run follows from its seed alone.
//!
//! `SWITCHBOARD_SEEDS=n` runs the first `n` seeds instead of the usual number; `SWITCHBOARD_SEED=k` runs only that one
//! and shows its traffic; `SWITCHBOARD_FAILURES=n` stops after `n` failed seeds.
//!
//! [`network`] has the shards, the channels between them, connections and the clock. Three kinds of run share it:
//!
//! | run | clients | checks |
//! |---|---|---|
//! | [`raw_run`] | [`raw_client`], [`rest_client`], driven by [`workload`] | [`room_checker`]: replies, rooms, presence |
//! | [`store_run`] | [`recovering_client`] with [`recovery`]; [`faulty_store`] holds [`store_contents`] | [`durability_checker`] |
//! | [`dialect_run`] | [`dialect_client`] over [`engineio_client`] or a WebSocket | [`dialect_checker`] |
//!
//! A fourth kind, [`cluster_run`] over [`cluster_network`], has several nodes without shards, which share a Redis.

mod cluster_network;
mod cluster_run;
mod coverage;
mod dialect_checker;
mod dialect_client;
mod dialect_run;
mod durability_checker;
mod engineio_client;
mod faulty_store;
mod frames;
mod history;
#[path = "../storage/model.rs"]
mod model;
mod network;
mod raw_client;
mod raw_run;
mod recovering_client;
mod recovery;
mod rest_client;
mod room_checker;
mod setting;
mod store_contents;
mod store_run;
mod workload;

use std::ops::Range;
use std::panic::catch_unwind;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use cluster_run::run as run_cluster;
use coverage::{Coverage, WANTED, WANTED_OF_CLUSTER, WANTED_OF_DIALECTS, WANTED_OF_STORE};
use dialect_run::run as run_dialects;
use raw_run::{Outcome, run as run_raw};
use store_run::run as run_with_store;

/// Seeds of an ordinary run.
const SEEDS: u64 = 1000;

/// The same where each seed takes several times as long.
const SEEDS_OF_DIALECTS: u64 = 100;

/// Each has a real Redis.
const SEEDS_OF_CLUSTER: u64 = 200;

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} must be a number, not {text:?}")))
}

fn seeds(count: u64) -> Range<u64> {
    match (number("SWITCHBOARD_SEED"), number("SWITCHBOARD_SEEDS")) {
        (Some(seed), _) => seed..seed + 1,
        (None, Some(count)) => 0..count,
        (None, None) => 0..count,
    }
}

/// Failed seeds after which the remaining ones are skipped.
const FAILURES_MAX: u64 = 20;

/// Runs all seeds, on as many threads as there are processors.
fn run_seeds(run: fn(u64) -> Outcome, count: u64, test: &str) {
    let seeds = seeds(count);
    let failures_max = number("SWITCHBOARD_FAILURES").unwrap_or(FAILURES_MAX);
    let next = AtomicU64::new(seeds.start);
    let failed = Mutex::new(Vec::new());
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end || failed.lock().expect("a list").len() as u64 >= failures_max {
                return;
            }
            if catch_unwind(|| run(seed)).is_err() {
                eprintln!("to replay seed {seed}: SWITCHBOARD_SEED={seed} cargo test --test simulation {test}");
                failed.lock().expect("a list").push(seed);
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    let failed = failed.into_inner().expect("a list");
    assert!(failed.is_empty(), "{} seeds failed: {failed:?}", failed.len());
}

/// Raw clients and REST calls, without faults of the store.
#[test]
fn raw_clients_under_random_load_see_consistent_rooms() {
    run_seeds(run_raw, SEEDS, "raw_clients_under_random_load_see_consistent_rooms");
}

/// The documented guarantees of durability: order, commit before reply, recovery; with a store that is slow, full,
/// broken or crashes.
#[test]
fn acknowledged_messages_under_store_faults_survive() {
    run_seeds(run_with_store, SEEDS, "acknowledged_messages_under_store_faults_survive");
}

/// Rooms whose members speak all dialects, by WebSocket and by polling.
#[test]
fn members_of_all_dialects_receive_the_same_messages() {
    run_seeds(run_dialects, SEEDS_OF_DIALECTS, "members_of_all_dialects_receive_the_same_messages");
}

/// Nodes that share a Redis, with calls and publications that are late or lost, nodes that are cut off, and failovers.
#[test]
fn members_of_a_cluster_under_faults_receive_each_message_once() {
    run_seeds(run_cluster, SEEDS_OF_CLUSTER, "members_of_a_cluster_under_faults_receive_each_message_once");
}

#[test]
fn seed_replayed_gives_the_same_bytes() {
    for run in [run_raw as fn(u64) -> Outcome, run_with_store, run_dialects] {
        let traces: Vec<u64> = (0..8).map(|seed| run(seed).trace).collect();
        let again: Vec<u64> = (0..8).map(|seed| run(seed).trace).collect();
        assert_eq!(traces, again);
        for (at, trace) in traces.iter().enumerate() {
            assert!(!traces[..at].contains(trace), "seed {at} does what an earlier one did");
        }
    }
}

/// The first seeds reach every situation that the simulation is meant to test.
#[test]
fn first_seeds_reach_every_listed_situation() {
    let trials = [
        (run_raw as fn(u64) -> Outcome, &WANTED[..], 120),
        (run_with_store, &WANTED_OF_STORE, 120),
        (run_dialects, &WANTED_OF_DIALECTS, 40),
        (run_cluster, &WANTED_OF_CLUSTER, 60),
    ];
    for (run, wanted, count) in trials {
        let mut seen = Coverage::default();
        for seed in 0..count {
            seen.add(&run(seed).tally);
        }
        let missing = seen.missing(wanted);
        assert!(missing.is_empty(), "{count} seeds without: {missing:?}");
    }
}
