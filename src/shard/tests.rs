//! One shard by itself, byte by byte: orders that clients can see.

mod broadcasts;
mod keeping;
mod online;
mod sessions;

use super::*;
use crate::base::handle::ConnSlot;
use crate::base::ids::{ConnectionId, ConnectionPlace};
use crate::codec::http::HeadLimits;
use crate::codec::jwt::VerifierOptions;
use crate::codec::ws;
use crate::connection::credentials::TokenCarriers;
use crate::connection::origins::Origins;
use crate::connection::standing::Notices;
use crate::connection::websocket::{Heartbeat, SignalRate};
use crate::domain::connection_mode::{ConnectionMode, ModeRules};
use crate::domain::event::{Event, Joined, PeerName};
use crate::domain::op::{RoomRules, Scope};
use crate::domain::policy::Openness;
use crate::message::ShardMessage;

const NOW: Now = Now { mono: 1000, wall: 1_750_000_000_000 };

fn options() -> Options {
    let rules = RoomRules {
        announce_limit: 500,
        max_participants: 0,
        joined_have_host: true,
        stream_idle_ms: 60_000,
        has_store: false,
        outlives_process: false,
        history: true,
        keep_ms: 0,
        presence_grace_ms: 3_000,
        presence_scope: Scope::None,
        connections_per_user: 0,
        rooms_per_user: 0,
        signal_bytes: 0,
        mode: ModeRules::OFF,
        direct_bytes: 0,
        rest_per_minute: 0,
        hooks: crate::domain::hook::HookKinds::NONE,
    };
    Options {
        node: 0,
        shards: 1,
        head: HeadLimits { bytes: 4096, headers: 20 },
        body_bytes: 4096,
        websocket: ws::FrameLimits::default(),
        access_sample: 0,
        deflate: None,
        http_deflate: None,
        content_bytes: 4096,
        outbound_bytes: 1 << 20,
        bulk: BulkWrites::default(),
        rooms_per_connection: 0,
        connections: 0,
        memory: crate::domain::monitoring::Load::default,
        signals: SignalRate { per_minute: 0, burst: 0 },
        heartbeat: Heartbeat { interval_ms: 25_000, timeout_ms: 20_000 },
        handshake_ms: 10_000,
        head_ms: 10_000,
        idle_ms: 60_000,
        recovery_window_ms: 0,
        presence_batch_ms: 100,
        guests: true,
        create_on_join: true,
        create_on_join_in_camel: true,
        requires_grant: false,
        origins: Origins::default(),
        subprotocols: Vec::new(),
        lost_log_lines: || 0,
        process: Default::default,
        has_media_server: false,
        hook_counters: Arc::default(),
        decisions: crate::domain::decision::Decisions::default(),
        refused_files: String::new,
        notices: Notices::UPON_REQUEST,
        openness: Openness::default(),
        token_carriers: TokenCarriers { query: true, cookie: true },
        client_url: None,
        ice: Ice::default(),
        rules: Arc::new(rules),
        socket_io: SocketIo::default(),
        allowances: Allowances::default(),
        operator_notices: Arc::default(),
        shown: Arc::default(),
    }
}

/// Takes what is written, as much at once as it is told to.
#[derive(Default)]
struct Paper {
    written: Vec<(ConnSlot, Vec<u8>)>,
    /// Bytes taken at once; 0 is any number.
    at_once: usize,
    ended: Vec<ConnSlot>,
    /// Whether its sockets have unread input.
    has_input: bool,
}

impl Wire for Paper {
    fn write(&mut self, slot: ConnSlot, bytes: &[u8]) -> Result<usize, Gone> {
        let count = if self.at_once == 0 { bytes.len() } else { self.at_once.min(bytes.len()) };
        self.written.push((slot, bytes[..count].to_vec()));
        Ok(count)
    }

    fn half_close(&mut self, slot: ConnSlot) {
        self.ended.push(slot);
    }

    fn has_input(&mut self, _slot: ConnSlot) -> bool {
        self.has_input
    }

    fn close(&mut self, slot: ConnSlot) {
        self.ended.push(slot);
    }
}

impl Paper {
    /// Everything written to one connection since the last time, as text where it is text.
    fn take(&mut self, slot: ConnSlot) -> String {
        let (own, others) = std::mem::take(&mut self.written).into_iter().partition(|(to, _)| *to == slot);
        self.written = others;
        let bytes: Vec<u8> = own.into_iter().flat_map(|(_, bytes): (ConnSlot, Vec<u8>)| bytes).collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

struct Harness {
    shard: Shard,
    paper: Paper,
}

impl Harness {
    fn new() -> Self {
        Self::with(options())
    }

    /// One whose users are told of each other, everybody or in the rooms they share.
    fn telling(scope: Scope) -> Self {
        let rules = RoomRules { presence_scope: scope, ..(*options().rules).clone() };
        Self::with(Options { rules: Arc::new(rules), ..options() })
    }

    fn with(options: Options) -> Self {
        let verifier = VerifierOptions { verify_signature: false, ..VerifierOptions::default() };
        let verifier = Arc::new(Verifier::new(verifier).expect("no key is needed"));
        Self { shard: Shard::new(0, Arc::new(options), verifier, Rng::from_seed(1), NOW), paper: Paper::default() }
    }

    /// Time passes, until what is gathered has been told.
    fn tick(&mut self) {
        let later = NOW.plus(100);
        self.shard.tick(later);
        self.shard.run(later);
        self.shard.flush(later, &mut self.paper);
    }

    fn connect(&mut self) -> ConnSlot {
        self.shard.accepted(NOW, ([127, 0, 0, 1], 1).into()).expect("there is room")
    }

    fn receive(&mut self, slot: ConnSlot, bytes: &[u8]) {
        self.shard.received(NOW, slot, &mut bytes.to_vec());
    }

    /// One frame, masked with zeros.
    fn frame(&mut self, slot: ConnSlot, first: u8, payload: &[u8]) {
        assert!(payload.len() < 126);
        let mut bytes = vec![first, 0x80 | payload.len() as u8, 0, 0, 0, 0];
        bytes.extend_from_slice(payload);
        self.receive(slot, &bytes);
    }

    fn turn(&mut self) {
        self.shard.run(NOW);
        self.shard.flush(NOW, &mut self.paper);
        self.shard.core.quota.check_invariants();
        self.shard.core.admission.check_invariants();
    }

    /// A guest's WebSocket that has joined the room `r`.
    fn member(&mut self) -> ConnSlot {
        let slot = self.connect();
        self.receive(slot, UPGRADE);
        self.turn();
        self.frame(slot, 0x81, br#"{"type":"join-room","roomId":"r"}"#);
        self.turn();
        assert!(self.paper.take(slot).contains("room-joined"));
        slot
    }
}

const UPGRADE: &[u8] = b"GET /ws?events=all HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

const MESSAGE: &[u8] = br#"{"type":"message","roomId":"r","content":"hello"}"#;

#[test]
fn nothing_follows_a_close_frame() {
    for (first, payload, last) in
        [(0x88, &1000_u16.to_be_bytes()[..], &b"\x88\x02\x03\xE8"[..]), (0x83, b"", b"\x88\x11\x03\xEAreserved opcode")]
    {
        let mut harness = Harness::new();
        let (one, other) = (harness.member(), harness.member());
        harness.frame(one, 0x81, MESSAGE);
        harness.shard.run(NOW);
        harness.frame(other, first, payload);
        harness.turn();
        let told = harness.paper.written.iter().filter(|(slot, _)| *slot == other).flat_map(|(_, bytes)| bytes.clone());
        let told: Vec<u8> = told.collect();
        assert!(told.ends_with(last), "{}", String::from_utf8_lossy(&told));
        assert!(harness.paper.take(other).contains("hello"));
        assert_eq!(harness.paper.ended, [other]);
    }
}

#[test]
fn who_joins_again_hears_first_what_came_before() {
    let mut harness = Harness::new();
    let (one, other) = (harness.member(), harness.member());
    harness.frame(one, 0x81, MESSAGE);
    harness.frame(other, 0x81, br#"{"type":"join-room","roomId":"r"}"#);
    harness.turn();
    let told = harness.paper.take(other);
    let (message, joined) = (told.find("hello").expect("the message"), told.find("room-joined").expect("the answer"));
    assert!(message < joined && told[joined..].contains(r#""seq":1"#), "{told}");
}

#[test]
fn what_one_is_told_alone_comes_after_what_all_were_told() {
    let mut harness = Harness::new();
    let one = harness.member();
    let other = harness.connect();
    let peer = harness.shard.core.net.id_of(one);
    harness.receive(other, UPGRADE);
    harness.turn();
    harness.frame(other, 0x81, br#"{"type":"join-room","roomId":"r"}"#);
    let offer = format!(r#"{{"type":"offer","roomId":"r","toPeerId":"{peer}","offer":1}}"#);
    harness.frame(other, 0x81, offer.as_bytes());
    harness.turn();
    let told = harness.paper.take(one);
    let (joined, offer) = (told.find("peer-joined").expect("the news"), told.find("offer").expect("the offer"));
    assert!(joined < offer, "{told}");
}

#[test]
fn an_answer_goes_out_whole_however_often_the_end_is_told() {
    let mut harness = Harness::new();
    harness.paper.at_once = 100;
    let slot = harness.connect();
    harness.receive(slot, b"GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n");
    harness.shard.ended(NOW, slot);
    harness.turn();
    while harness.paper.ended.is_empty() {
        harness.shard.writable(slot, &mut harness.paper);
        harness.shard.ended(NOW, slot);
        harness.turn();
        assert!(harness.paper.written.len() < 20, "it ends");
    }
    let told = harness.paper.take(slot);
    assert!(told.starts_with("HTTP/1.1 200 OK") && told.ends_with('}'), "{told}");
}

#[test]
fn idle_connection_with_a_request_at_its_timeout_is_served_and_later_closed() {
    const GET: &[u8] = b"GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n";
    let mut harness = Harness::new();
    let slot = harness.connect();
    harness.receive(slot, GET);
    harness.turn();
    assert!(harness.paper.take(slot).starts_with("HTTP/1.1 200 OK"));
    let due = |harness: &mut Harness, ms: u64| {
        let later = NOW.plus(ms);
        harness.shard.tick(later);
        harness.shard.flush(later, &mut harness.paper);
        !harness.paper.ended.is_empty()
    };
    assert!(!due(&mut harness, 60_000), "a proxy with the same timeout closes first");
    // The request has come, but has not been read yet.
    harness.paper.has_input = true;
    assert!(!due(&mut harness, 61_100));
    harness.paper.has_input = false;
    harness.shard.received(NOW.plus(61_100), slot, &mut GET.to_vec());
    assert!(!due(&mut harness, 61_100));
    assert!(harness.paper.take(slot).starts_with("HTTP/1.1 200 OK"));
    assert!(!due(&mut harness, 121_100));
    assert!(due(&mut harness, 122_200));
}

#[test]
fn joins_under_way_count_against_the_limit_before_they_are_granted() {
    let mut harness = Harness::with(Options { rooms_per_connection: 2, ..options() });
    let (one, other) = (harness.member(), harness.member());
    for room in ["a", "b"] {
        harness.frame(one, 0x81, format!(r#"{{"type":"join-room","roomId":"{room}"}}"#).as_bytes());
    }
    harness.turn();
    let told = harness.paper.take(one);
    assert_eq!((told.matches("room-joined").count(), told.matches("RATE_LIMITED").count()), (1, 1), "{told}");
    // A room that refused it is not there, one that it is in already does not count.
    harness.frame(other, 0x81, br#"{"type":"message","roomId":"b","content":"x"}"#);
    harness.frame(one, 0x81, br#"{"type":"join-room","roomId":"a"}"#);
    harness.turn();
    assert!(harness.paper.take(other).contains("ROOM_NOT_FOUND"));
    assert!(harness.paper.take(one).contains("room-joined"));
}

#[test]
fn the_greeting_comes_first_though_a_room_is_quicker_than_the_user() {
    let mut harness = Harness::new();
    let slot = harness.connect();
    harness.receive(slot, UPGRADE);
    // A call by REST made the connection a member; its own shard has not heard yet that its user knows of it.
    let to = harness.shard.core.net.id_of(slot);
    let joined = Joined {
        room: "r".into(),
        peer: PeerName::Own(to),
        peers: Vec::new(),
        participant_count: 1,
        epoch: "e".into(),
        seq: 0,
        mode: ConnectionMode::P2p,
        rewound: Vec::new(),
    };
    harness.shard.handle_message(NOW, ShardMessage::Deliver { to, event: Event::Joined(Box::new(joined)) });
    harness.turn();
    let told = harness.paper.take(slot);
    let (greeting, joined) = (told.find(r#""connect""#).expect("a greeting"), told.find("room-joined").expect("news"));
    assert!(greeting < joined && told.matches(r#""connect""#).count() == 1, "{told}");
}

#[test]
fn of_each_user_the_latest_is_told_once_and_in_one_write() {
    for scope in [Scope::All, Scope::Rooms] {
        let mut harness = Harness::telling(scope);
        let (one, other) = (harness.member(), harness.member());
        for slot in [one, other] {
            harness.frame(slot, 0x81, br#"{"type":"join-room","roomId":"s"}"#);
        }
        harness.turn();
        harness.tick();
        harness.paper.written.clear();
        for status in ["away", "busy", "online", "busy"] {
            harness.frame(one, 0x81, format!(r#"{{"type":"presence","status":"{status}"}}"#).as_bytes());
            harness.frame(other, 0x81, format!(r#"{{"type":"presence","status":"{status}"}}"#).as_bytes());
            harness.turn();
        }
        assert_eq!(harness.paper.written, [], "{scope:?}: it is gathered");
        harness.tick();
        assert_eq!(harness.paper.written.len(), 2, "{scope:?}: one write each");
        for slot in [one, other] {
            let told = harness.paper.take(slot);
            assert_eq!((told.matches("presence").count(), told.matches("busy").count()), (1, 1), "{scope:?}: {told}");
        }
    }
}

#[test]
fn a_newcomer_hears_nothing_of_what_was_before() {
    let mut harness = Harness::telling(Scope::All);
    let one = harness.member();
    harness.frame(one, 0x81, br#"{"type":"presence","status":"away"}"#);
    harness.turn();
    let other = harness.member();
    harness.frame(other, 0x81, br#"{"type":"presence","status":"busy"}"#);
    harness.turn();
    harness.frame(one, 0x81, br#"{"type":"presence","status":"online"}"#);
    harness.turn();
    let third = harness.member();
    harness.tick();
    let told = [one, other, third].map(|slot| harness.paper.take(slot).matches("\"presence\"").count());
    // The first hears of the second and the third, the second of what the first became and of the third.
    assert_eq!(told, [2, 2, 0]);
}

#[test]
fn a_room_too_large_for_announcements_is_not_told_of_presence() {
    let rules = RoomRules { presence_scope: Scope::Rooms, announce_limit: 2, ..(*options().rules).clone() };
    let mut harness = Harness::with(Options { rules: Arc::new(rules), ..options() });
    let members = [harness.member(), harness.member(), harness.member()];
    harness.tick();
    harness.paper.written.clear();
    harness.frame(members[0], 0x81, br#"{"type":"presence","status":"away"}"#);
    harness.turn();
    harness.tick();
    assert_eq!(harness.paper.written, []);
}
