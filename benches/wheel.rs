//! What a timer costs among a million: `cargo bench --bench wheel`.
//!
//! The entries are spread over the interval between two heartbeats, as those of a million connections are.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use switchboard::base::wheel::{TICK_MS, Wheel};

use support::bench::brief;

const ENTRIES: u32 = 1_000_000;

/// Over how many milliseconds they are spread.
const INTERVAL_MS: u64 = 25_000;

/// A moment of the interval that has nothing to do with the one before.
fn deadline(key: u32) -> u64 {
    1 + u64::from(key) * 7919 % INTERVAL_MS
}

fn arm_all(wheel: &mut Wheel<u32>) {
    for key in 0..ENTRIES {
        black_box(wheel.arm(deadline(key), key));
    }
}

/// Runs what is due, and arms each for an interval later.
fn tick(wheel: &mut Wheel<u32>, mono: u64) -> u64 {
    let mut count = 0;
    while let Some((at, mut due)) = wheel.due(mono) {
        for key in due.drain(..) {
            wheel.arm(mono + INTERVAL_MS, black_box(key));
            count += 1;
        }
        wheel.give_back(at, due);
    }
    count
}

fn timers(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("wheel");
    group.throughput(Throughput::Elements(u64::from(ENTRIES)));
    group.sample_size(20);
    group.bench_function("arm a million, from nothing", |bencher| {
        bencher.iter_batched_ref(|| Wheel::new(0), arm_all, BatchSize::PerIteration);
    });
    group.bench_function("run a million and arm them again", |bencher| {
        let mut wheel = Wheel::new(0);
        arm_all(&mut wheel);
        let mut mono = 0;
        bencher.iter(|| {
            let mut count = 0;
            while count < u64::from(ENTRIES) {
                mono += TICK_MS;
                count += tick(&mut wheel, mono);
            }
        });
        assert_eq!(wheel.len(), ENTRIES as usize);
    });
    group.finish();
    let mut group = criterion.benchmark_group("wheel");
    let mut wheel = Wheel::new(0);
    arm_all(&mut wheel);
    let mut mono = 0;
    group.bench_function("one tick: run 320 of a million and arm them again", |bencher| {
        bencher.iter(|| {
            mono += TICK_MS;
            (tick(&mut wheel, mono), wheel.next_due())
        });
    });
    group.finish();
}

criterion_group! { name = benches; config = brief(); targets = timers }
criterion_main!(benches);
