//! The cost of one operation on a room in its owner, without requests and delivery:
//! `cargo bench --bench room`.

use std::hint::black_box;

use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use switchboard::base::Name;
use switchboard::base::ids::{ConnectionId, ConnectionPlace};
use switchboard::base::rng::Rng;
use switchboard::base::time::Now;
use switchboard::domain::about::About;
use switchboard::domain::access::{Identity, Roles};
use switchboard::domain::command::{MediaState, Signal};
use switchboard::domain::event::Content;
use switchboard::domain::op::{
    AddressedEvent, JoinRoom, LogTerms, OpContext, RelaySignal, Reply, RoomOp, RoomRules, Scope, SendMessage,
};
use switchboard::domain::record::Record;
use switchboard::domain::reject::Reject;
use switchboard::domain::room::Room;

use support::bench::{brief, requests};
use support::settings;

const NOW: Now = Now { mono: 1_000, wall: 1_750_000_000_000 };

fn rules() -> RoomRules {
    RoomRules { outlives_process: false, presence_scope: Scope::None, ..settings::rules() }
}

/// A room and its owner's context.
struct RoomOwner {
    room: Room,
    rules: RoomRules,
    rng: Rng,
    events: Vec<AddressedEvent>,
    records: Vec<Record>,
    members: Vec<ConnectionId>,
}

impl RoomOwner {
    /// A room with so many members, the last of whom goes by a name of its own choice.
    fn new(members: usize) -> Self {
        let (rules, mut rng, mut events, mut records) = (rules(), Rng::from_seed(1), Vec::new(), Vec::new());
        let mut context = OpContext {
            now: NOW,
            rng: &mut rng,
            rules: &rules,
            events: &mut events,
            records: &mut records,
            hooks: &mut Vec::new(),
        };
        let room = Room::new(requests::ROOM.into(), &identity(0), None, LogTerms::default(), &mut context);
        let members: Vec<ConnectionId> = (0..members as u32).map(|slot| connection(slot, &mut rng)).collect();
        let mut owner = Self { room, rules, rng, events, records, members };
        for at in 0..owner.members.len() {
            let peer = (at + 1 == owner.members.len()).then(|| "the-last".into());
            assert!(owner.apply(join(owner.members[at], at, peer)).is_ok());
        }
        owner
    }

    /// Applies one operation, as the room's owner does, and drops its events and records.
    fn apply(&mut self, op: RoomOp) -> Result<Reply, Reject> {
        let (events, records) = (&mut self.events, &mut self.records);
        let mut context =
            OpContext { now: NOW, rng: &mut self.rng, rules: &self.rules, events, records, hooks: &mut Vec::new() };
        let reply = self.room.apply(op, &mut context);
        black_box(&mut self.events).clear();
        black_box(&mut self.records).clear();
        reply
    }
}

fn identity(at: usize) -> Identity {
    Identity::new(&format!("user-{at:06}"), Some("A. User"), None, Roles::default())
}

fn connection(slot: u32, rng: &mut Rng) -> ConnectionId {
    ConnectionId::new(ConnectionPlace { node: 0, shard: 0, slot }, rng.nonce())
}

fn join(connection: ConnectionId, at: usize, peer: Option<Name>) -> RoomOp {
    let (by, media) = (identity(at), MediaState::default());
    RoomOp::Join(Box::new(JoinRoom { connection, by, peer, about: About::default(), media, create: true, rewind: 0 }))
}

fn media(connection: ConnectionId) -> RoomOp {
    RoomOp::SetMedia { connection, peer: None, media: MediaState { audio: true, ..MediaState::default() }, sfu: None }
}

fn message(connection: ConnectionId, bytes: usize) -> RoomOp {
    let body = format!("\"{}\"", "a".repeat(bytes)).into();
    let content = Content { body, event: None, kind: None, reply_to: None, attachment: None, metadata: None };
    RoomOp::Send(Box::new(SendMessage {
        connection,
        publisher: None,
        to: None,
        content,
        client_message_id: None,
        revises: None,
        stream: None,
    }))
}

fn offer(connection: ConnectionId, to: &str) -> RoomOp {
    let body = format!("\"{}\"", "a".repeat(2048)).into();
    RoomOp::RelaySignal(Box::new(RelaySignal { connection, from: None, to: to.into(), signal: Signal::Offer, body }))
}

/// One act again and again, in rooms of several sizes. Making it, and dropping its answer, is not counted.
fn acts(criterion: &mut Criterion) {
    type Make = fn(ConnectionId, ConnectionId) -> RoomOp;
    let acts: [(&str, Make); 5] = [
        ("message of 128", |connection, _| message(connection, 128)),
        ("typing, said again", |connection, _| RoomOp::SetTyping { connection, is_typing: true }),
        ("media", |connection, _| media(connection)),
        ("offer to a connection's id", |connection, other| offer(connection, other.text().as_str())),
        ("offer to a chosen peer id", |connection, _| offer(connection, "the-last")),
    ];
    let mut group = criterion.benchmark_group("room");
    for members in [10, 1_000, 100_000] {
        let mut owner = RoomOwner::new(members);
        let (one, other) = (owner.members[0], owner.members[1]);
        for (name, make) in acts {
            assert!(owner.apply(make(one, other)).is_ok(), "{name}");
            group.bench_function(BenchmarkId::new(name, members), |bencher| {
                bencher.iter_batched(|| make(one, other), |op| owner.apply(op), BatchSize::SmallInput);
            });
        }
        group.bench_function(BenchmarkId::new("join and leave", members), |bencher| {
            let newcomer = connection(members as u32, &mut owner.rng);
            let make = || {
                let leave = RoomOp::Leave { connection: newcomer, by: identity(members).into(), peer: None };
                (join(newcomer, members, None), leave)
            };
            bencher.iter_batched(make, |(join, leave)| (owner.apply(join), owner.apply(leave)), BatchSize::SmallInput);
        });
    }
    group.finish();
}

criterion_group! { name = benches; config = brief(); targets = acts }
criterion_main!(benches);
