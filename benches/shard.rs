//! The cost of a message in a shard, from a client's bytes to the bytes written to others, without the system calls at
//! both ends: `cargo bench --bench shard`.
//!
//! A fan-out's throughput counts deliveries: one message to one member.

use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

use support::bench::requests::{self, upgrade};
use support::bench::shard::{ShardHarness, join, token};
use support::frame::text_frame;

/// A message to a room, by the number of other members and of messages in one turn.
fn fan_out(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("shard/fan-out");
    for members in [1_usize, 10, 1_000, 100_000] {
        // A list of 500 members for each newcomer would take most of the time until it begins.
        let mut harness = ShardHarness::new(&["auth.guests=true", "rooms.announce_limit=1"]);
        let sender = harness.member("r");
        for _ in 0..members {
            harness.member("r");
        }
        let frame = text_frame(&requests::message("r", 128));
        for messages in [1, 16] {
            let deliveries = (messages * members) as u64;
            group.throughput(Throughput::Elements(deliveries));
            let before = harness.sink.writes;
            harness.feed(sender, &frame, messages);
            assert_eq!(harness.sink.writes - before, members as u64 + 1, "each is written once");
            group.bench_function(BenchmarkId::new(format!("{messages} to"), members), |bencher| {
                bencher.iter(|| harness.feed(sender, &frame, messages));
            });
        }
    }
    group.finish();
}

/// Requests of members of a small room, one per turn.
fn requests_of_members(criterion: &mut Criterion) {
    let mut harness = ShardHarness::new(&["auth.guests=true"]);
    let members: Vec<_> = (0..10).map(|_| harness.member("r")).collect();
    let (one, other) = (members[0], members[1]);
    let peer = format!("peer-{}", switchboard::base::handle::Slot::raw(other));
    let said = [
        ("ping", r#"{"type":"ping","requestId":4711}"#.to_owned()),
        ("typing to 9", r#"{"type":"typing","roomId":"r","isTyping":true}"#.to_owned()),
        ("message of 128 to 9", requests::message("r", 128)),
        ("message of 16 KiB to 9", requests::message("r", 16_384)),
        ("ice-candidate to one", requests::candidate("r", &peer)),
        ("offer of 2 KiB to one", requests::offer("r", &peer, 2_048)),
        ("offer of 8 KiB to one", requests::offer("r", &peer, 8_192)),
        ("a request of no known type", r#"{"type":"dance"}"#.to_owned()),
    ];
    let mut group = criterion.benchmark_group("shard");
    for (name, text) in said {
        let frame = text_frame(&text);
        group.bench_function(name, |bencher| bencher.iter(|| harness.feed(one, &frame, 1)));
    }
    let newcomer = harness.guest();
    let join = text_frame(&join("r", newcomer));
    let leave = text_frame(r#"{"type":"leave-room","roomId":"r"}"#);
    group.bench_function("join a room of 10 and leave it", |bencher| {
        bencher.iter(|| {
            harness.feed(newcomer, &join, 1);
            harness.feed(newcomer, &leave, 1);
        });
    });
    group.finish();
    assert_eq!(harness.shard.stats().asks, 0);
}

/// A connection from accept to end, without messages.
fn lives(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("shard");
    let token = token("alice");
    for (name, token) in [("a guest connects and goes", None), ("a user connects and goes", Some(token.as_str()))] {
        let mut harness = ShardHarness::new(&["auth.guests=true"]);
        let upgrade = upgrade(token);
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let slot = harness.accept();
                harness.feed(slot, &upgrade, 1);
                harness.shard.ended(harness.now, slot);
                harness.turn();
                // Guests are remembered for a while; time must pass, or their number grows.
                harness.now = harness.now.plus(10);
            });
        });
        assert_eq!(harness.shard.connections(), 0);
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = support::bench::brief().measurement_time(Duration::from_secs(2));
    targets = fan_out, requests_of_members, lives
}
criterion_main!(benches);
