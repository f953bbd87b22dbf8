//! Whole servers in one thread: several shards, a clock that only moves when told, connections that cut and delay bytes
//! as they like, and clients that behave well, badly or not at all. Each run follows from its seed alone.
//!
//! `SWITCHBOARD_SEEDS=n` runs the first `n` seeds instead of the usual number; `SWITCHBOARD_SEED=k` runs that one.

#[path = "simulation/mod.rs"]
mod simulation;

use std::ops::Range;
use std::panic::catch_unwind;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use simulation::{Outcome, Tally, WANTED, WANTED_OF_MINGLED, WANTED_OF_STORE, mingle, run, try_store};

/// Seeds run when nobody says how many.
const SEEDS: u64 = 1000;

/// The same where a run takes several times as long.
const SEEDS_OF_MINGLED: u64 = 100;

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

/// Seeds that may fail before the others are spared.
const FAILURES_MAX: usize = 20;

/// Runs all seeds, on as many threads as there are processors.
fn run_seeds(run: fn(u64) -> Outcome, count: u64, test: &str) {
    let seeds = seeds(count);
    let next = AtomicU64::new(seeds.start);
    let failed = Mutex::new(Vec::new());
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end || failed.lock().expect("a list").len() >= FAILURES_MAX {
                return;
            }
            if catch_unwind(|| run(seed)).is_err() {
                eprintln!("to see seed {seed} again: SWITCHBOARD_SEED={seed} cargo test --test simulation {test}");
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

#[test]
fn every_seed_keeps_the_promises() {
    run_seeds(run, SEEDS, "every_seed");
}

/// What the README promises of what is kept: order, told is kept, recovery; whatever the store does.
#[test]
fn whatever_the_store_does_what_is_told_is_kept() {
    run_seeds(try_store, SEEDS, "whatever_the_store_does");
}

/// What holds in rooms whose members speak all dialects, by WebSocket and by polling.
#[test]
fn whatever_they_speak_members_are_told_the_same() {
    run_seeds(mingle, SEEDS_OF_MINGLED, "whatever_they_speak");
}

#[test]
fn a_seed_replays_to_the_byte() {
    for run in [run as fn(u64) -> Outcome, try_store, mingle] {
        let traces: Vec<u64> = (0..8).map(|seed| run(seed).trace).collect();
        let again: Vec<u64> = (0..8).map(|seed| run(seed).trace).collect();
        assert_eq!(traces, again);
        for (at, trace) in traces.iter().enumerate() {
            assert!(!traces[..at].contains(trace), "seed {at} does what an earlier one did");
        }
    }
}

/// A simulation that never gets anywhere would find nothing, so what the first seeds lead to is counted.
#[test]
fn seeds_lead_to_everything_worth_testing() {
    let trials = [
        (run as fn(u64) -> Outcome, &WANTED[..], 120),
        (try_store, &WANTED_OF_STORE, 120),
        (mingle, &WANTED_OF_MINGLED, 40),
    ];
    for (run, wanted, count) in trials {
        let mut seen = Tally::default();
        for seed in 0..count {
            seen.add(&run(seed).tally);
        }
        let missing = seen.missing(wanted);
        assert!(missing.is_empty(), "{count} seeds without: {missing:?}");
    }
}
