//! What goes straight through a shard costs, from a client's bytes to the bytes that others are written, without the
//! system calls at both ends: `cargo bench --bench shard`.
//!
//! A fan-out's throughput counts deliveries: one message to one member.

mod support;

use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

use support::stage::{self, Stage, join};
use support::{frames, requests};

/// What is said, to how many members beside the one who says it, how often in one turn.
fn fan_out(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("shard/fan-out");
    for members in [1_usize, 10, 1_000, 100_000] {
        // A list of 500 members for each newcomer would take most of the time until it begins.
        let mut stage = Stage::new(&["auth.guests=true", "rooms.announce_limit=1"]);
        let sender = stage.member("r");
        for _ in 0..members {
            stage.member("r");
        }
        let frame = frames::text_frame(&requests::message("r", 128));
        for messages in [1, 16] {
            let deliveries = (messages * members) as u64;
            group.throughput(Throughput::Elements(deliveries));
            let before = stage.sink.writes;
            stage.say(sender, &frame, messages);
            assert_eq!(stage.sink.writes - before, members as u64 + 1, "each is written once");
            group.bench_function(BenchmarkId::new(format!("{messages} to"), members), |bencher| {
                bencher.iter(|| stage.say(sender, &frame, messages));
            });
        }
    }
    group.finish();
}

/// What members of small rooms do, each in a turn of its own.
fn requests_of_members(criterion: &mut Criterion) {
    let mut stage = Stage::new(&["auth.guests=true"]);
    let members: Vec<_> = (0..10).map(|_| stage.member("r")).collect();
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
        let frame = frames::text_frame(&text);
        group.bench_function(name, |bencher| bencher.iter(|| stage.say(one, &frame, 1)));
    }
    let newcomer = stage.guest();
    let join = frames::text_frame(&join("r", newcomer));
    let leave = frames::text_frame(r#"{"type":"leave-room","roomId":"r"}"#);
    group.bench_function("join a room of 10 and leave it", |bencher| {
        bencher.iter(|| {
            stage.say(newcomer, &join, 1);
            stage.say(newcomer, &leave, 1);
        });
    });
    group.finish();
    assert_eq!(stage.shard.stats().asks, 0);
}

/// A connection's whole life, but for what it says.
fn lives(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("shard");
    let token = stage::token("alice");
    for (name, token) in [("a guest connects and goes", None), ("a user connects and goes", Some(token.as_str()))] {
        let mut stage = Stage::new(&["auth.guests=true"]);
        let upgrade = frames::upgrade(token);
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let slot = stage.accept();
                stage.say(slot, &upgrade, 1);
                stage.shard.ended(stage.now, slot);
                stage.turn();
                // Guests are remembered for a while, so some time must pass lest they be ever more.
                stage.now = stage.now.plus(10);
            });
        });
        assert_eq!(stage.shard.connections(), 0);
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = support::brief().measurement_time(Duration::from_secs(2));
    targets = fan_out, requests_of_members, lives
}
criterion_main!(benches);
