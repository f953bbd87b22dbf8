//! What it costs to tell something in the `raw` dialect: each event as a JSON text, and as the whole frame that a room's
//! members share: `cargo bench --bench dialect`.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use switchboard::base::Name;
use switchboard::base::ids::{ConnectionId, ConnectionPlace};
use switchboard::base::rng::Rng;
use switchboard::base::time::Now;
use switchboard::dialect::encoded_event::EncodedEvent;
use switchboard::dialect::raw;
use switchboard::domain::about::About;
use switchboard::domain::access::{Identity, Roles};
use switchboard::domain::command::{MediaState, ReceiptKind, Signal, Status};
use switchboard::domain::connection_mode::ConnectionMode;
use switchboard::domain::event::{Content, Direct, Event, Joined, LeaveCause, Message, PeerName, PeerView, Signaled};
use switchboard::domain::op::Sent;
use switchboard::domain::reject::Reject;
use uuid::Uuid;

use support::bench::{brief, requests};

const NOW: Now = Now { mono: 1_000, wall: 1_750_000_000_000 };
const MESSAGE_ID: Uuid = Uuid::from_u128(0x0197_a6f0_8d3e_7c21_9b57_3f0d_1e2a_4c68);

fn room() -> Name {
    requests::ROOM.into()
}

fn alice() -> Identity {
    Identity::new("user-0123456789", Some("Alice Liddell"), Some("alice@example.com"), Roles::default())
}

fn connection(slot: u32) -> ConnectionId {
    ConnectionId::new(ConnectionPlace { node: 0, shard: 0, slot }, Rng::from_seed(u64::from(slot)).nonce())
}

fn peer(slot: u32) -> PeerView {
    let media = MediaState { audio: true, ..MediaState::default() };
    PeerView { name: PeerName::Own(connection(slot)), about: About::default(), identity: alice(), media }
}

fn joined(peers: u32) -> Joined {
    Joined {
        room: room(),
        peer: PeerName::Own(connection(0)),
        peers: (1..peers).map(peer).collect(),
        participant_count: peers as usize,
        epoch: "k3j5xq2a".into(),
        seq: 4711,
        mode: ConnectionMode::P2p,
        rewound: Vec::new(),
    }
}

fn content(bytes: usize) -> Content {
    let body = format!("\"{}\"", "a".repeat(bytes)).into();
    Content { body, event: None, kind: None, reply_to: None, attachment: None, metadata: None }
}

fn message(bytes: usize) -> Event {
    Event::Message(Arc::new(Message {
        id: MESSAGE_ID,
        seq: Some(4711),
        room: room(),
        sender: alice(),
        display_name: None,
        from: PeerName::Own(connection(1)),
        is_published: false,
        to: None,
        content: content(bytes),
        at: NOW.wall,
        revision: None,
    }))
}

fn signaled(signal: Signal, field: &str, text: &str) -> Event {
    let text: serde_json::Value = serde_json::from_str(text).expect("it is JSON");
    let (from, to) = (PeerName::Own(connection(1)), PeerName::Own(connection(2)));
    Event::Signal(Box::new(Signaled { room: room(), from, to, signal, body: text[field].to_string().into() }))
}

/// An event of each kind, and of some in several sizes.
fn events() -> Vec<(&'static str, Event)> {
    let requests = requests::of_each_kind();
    let request = |kind: &str| &requests.iter().find(|(of, _)| *of == kind).expect("a known kind").1;
    let media = MediaState { audio: true, video: true, screen: false, sfu: false };
    let direct =
        Direct { is_pushed: true, except: None, id: MESSAGE_ID, sender: alice(), content: content(128), at: NOW.wall };
    vec![
        ("room-joined, 10 peers", Event::Joined(Box::new(joined(10)))),
        ("room-joined, 500 peers", Event::Joined(Box::new(joined(500)))),
        ("room-left", Event::Left { room: room(), cause: LeaveCause::Left }),
        ("disconnect from a room", Event::Left { room: room(), cause: LeaveCause::Replaced }),
        ("peer-joined", Event::PeerJoined { room: room(), peer: Box::new(peer(1)), is_first: true }),
        (
            "peer-left",
            Event::PeerLeft { room: room(), peer: PeerName::Own(connection(1)), identity: alice(), is_last: true },
        ),
        ("room-stats", Event::Stats { room: room(), participant_count: 1234 }),
        ("offer of 4 KiB", signaled(Signal::Offer, "offer", request("offer"))),
        ("answer of 2 KiB", signaled(Signal::Answer, "answer", request("answer"))),
        ("ice-candidate", signaled(Signal::Candidate, "candidate", request("ice-candidate"))),
        ("media-state-changed", Event::Media { room: room(), peer: PeerName::Own(connection(1)), media }),
        ("message of 128", message(128)),
        ("message of 1024", message(1024)),
        ("message of 16384", message(16_384)),
        ("message to a user", Event::Direct(Arc::new(direct))),
        ("typing", Event::Typing { room: room(), by: alice(), display_name: None, is_typing: true }),
        ("read-receipt", Event::Receipt { room: room(), message: MESSAGE_ID, by: alice(), kind: ReceiptKind::Read }),
        ("presence", Event::Presence { by: alice(), status: Status::Away, last_seen: NOW.wall }),
        ("room-closed", Event::Closed { room: room(), reason: "closed by host".into() }),
    ]
}

fn tell(criterion: &mut Criterion) {
    let mut out = Vec::with_capacity(128 * 1024);
    for (name, event) in events() {
        let mut group = criterion.benchmark_group("dialect");
        out.clear();
        raw::encode(&mut out, &event, NOW);
        group.throughput(Throughput::Bytes(out.len() as u64));
        group.bench_function(format!("encode/{name}"), |bencher| {
            bencher.iter(|| {
                out.clear();
                raw::encode(&mut out, black_box(&event), NOW);
                black_box(out.as_slice());
            });
        });
        group.bench_function(format!("Packed::new/{name}"), |bencher| {
            let mut draft = Vec::new();
            bencher.iter(|| EncodedEvent::new(black_box(&event), NOW, &mut draft));
        });
        group.finish();
    }
}

/// What only one connection is told: answers, and the first thing it hears.
fn answer(criterion: &mut Criterion) {
    type Write = Box<dyn Fn(&mut Vec<u8>)>;
    let (joined, request) = (joined(10), Some("4711"));
    let sent = Sent { id: MESSAGE_ID, seq: Some(4711), at: NOW.wall };
    let id = connection(1).text();
    let answers: [(&str, Write); 6] = [
        (
            "connect",
            Box::new(move |out| raw::connect(out, id.as_str(), "user-1", 25_000, "c2VjcmV0c2VjcmV0c2VjcmV0", NOW)),
        ),
        ("room-joined, 10 peers", Box::new(move |out| raw::joined(out, &joined, "[]", request, NOW))),
        ("room-left", Box::new(move |out| raw::left(out, requests::ROOM, request, NOW))),
        ("message-sent", Box::new(move |out| raw::sent(out, &sent, ("roomId", requests::ROOM), request))),
        ("pong", Box::new(move |out| raw::pong(out, request, NOW))),
        ("error", Box::new(move |out| raw::error(out, &Reject::not_in_room(), request, NOW))),
    ];
    let mut group = criterion.benchmark_group("dialect/answer");
    let mut out = Vec::with_capacity(4096);
    for (name, write) in &answers {
        out.clear();
        write(&mut out);
        group.throughput(Throughput::Bytes(out.len() as u64));
        group.bench_function(*name, |bencher| {
            bencher.iter(|| {
                out.clear();
                write(black_box(&mut out));
                black_box(out.as_slice());
            });
        });
    }
    group.finish();
}

criterion_group! { name = benches; config = brief(); targets = tell, answer }
criterion_main!(benches);
