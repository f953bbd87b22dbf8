//! Sessions on a shard by itself: their times to the millisecond, their size, and what their listeners cost.

use super::*;
use crate::codec::jwt::{NewToken, sign_hs256};
use crate::connection::conn::Conn;
use crate::connection::peer::SocketIoPeer;
use crate::dialect::encoded_event::EncodedEvent;
use crate::domain::access::Identity;
use crate::domain::connection_mode::ConnectionMode;
use crate::domain::event::{Content, Message};
use crate::message::OwnerMessage;
use crate::shard::recovery::sessions::KeptSessions;
use crate::shard::requests::PendingRequest;
use crate::shard::sessions::Client;

const OPEN: &str = "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

const POLL: &str = "GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: h\r\n\r\n";

fn suite_harness() -> Harness {
    Harness::with(options().for_conformance(None))
}

impl Harness {
    /// Has the clock run from one thing that is due to the next until something is written to a connection that `is_it`;
    /// when that is, in milliseconds from [`NOW`].
    fn wait(&mut self, slot: ConnSlot, is_it: impl Fn(&str) -> bool) -> u64 {
        for _ in 0..1_000 {
            let due = self.shard.next_due().expect("something is due");
            let now = NOW.plus(due.saturating_sub(NOW.mono));
            self.shard.tick(now);
            self.shard.run(now);
            self.shard.flush(now, &mut self.paper);
            if is_it(&self.paper.take(slot)) {
                return now.mono - NOW.mono;
            }
        }
        panic!("it does not come");
    }

    /// A peer in `/chat` that its room's keeper made a member of `r`.
    fn chat_member(&mut self, user: &str) -> ConnSlot {
        let slot = self.connect();
        self.receive(slot, OPEN.as_bytes());
        let token = NewToken { user, expires_at: Some(2_000_000_000), ..NewToken::default() };
        let connect = format!(r#"40/chat,{{"token":"{}"}}"#, sign_hs256("any", &token));
        self.long_frame(slot, connect.as_bytes());
        self.turn();
        let told = self.paper.take(slot);
        let sid = told.split(r#"40/chat,{"sid":""#).nth(1).and_then(|rest| rest.get(..24)).expect("it is connected");
        let to = ConnectionId::parse(sid).expect("an id");
        self.is_put_into(to, "r", "e");
        assert!(self.paper.take(slot).contains("room:joined"));
        slot
    }

    /// A room's keeper has made a peer a member.
    fn is_put_into(&mut self, to: ConnectionId, room: &str, epoch: &str) {
        let joined = Joined {
            room: room.into(),
            peer: PeerName::Own(to),
            peers: Vec::new(),
            participant_count: 1,
            epoch: epoch.into(),
            seq: 0,
            mode: ConnectionMode::P2p,
            rewound: Vec::new(),
        };
        self.shard.handle_message(NOW, ShardMessage::Deliver { to, event: Event::Joined(Box::new(joined)) });
        self.turn();
    }

    /// A text frame of 126 bytes or more, masked with zeros.
    pub(super) fn long_frame(&mut self, slot: ConnSlot, payload: &[u8]) {
        let mut bytes = vec![0x81, 0x80 | 126];
        bytes.extend_from_slice(&(payload.len() as u16).to_be_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(payload);
        self.receive(slot, &bytes);
    }
}

#[test]
fn a_silent_client_is_gone_within_twenty_milliseconds_of_its_time() {
    let mut harness = suite_harness();
    let slot = harness.connect();
    harness.receive(slot, OPEN.as_bytes());
    harness.turn();
    let pinged = harness.wait(slot, |told| told.contains("\u{1}2"));
    assert!((300..=308).contains(&pinged), "{pinged}");
    let gone = harness.wait(slot, |told| !told.is_empty());
    assert!((499..=520).contains(&gone), "{gone}");
    assert_eq!((harness.shard.core.net.sessions.list.len(), harness.shard.core.net.sessions.peers.len()), (0, 0));
}

#[test]
fn who_connects_to_nothing_is_gone_on_time() {
    let mut socket_io = SocketIo::conformance();
    socket_io.sessions.heartbeat.interval_ms = 60_000;
    let mut harness = Harness::with(Options { socket_io, ..options() });
    let slot = harness.connect();
    harness.receive(slot, OPEN.as_bytes());
    harness.turn();
    harness.paper.take(slot);
    let gone = harness.wait(slot, |told| !told.is_empty());
    assert!((1_000..=1_020).contains(&gone), "{gone}");
}

#[test]
fn an_idle_client_is_small() {
    assert!(size_of::<Client>() <= 128, "{} bytes", size_of::<Client>());
    // A connection, a session, a peer: all of an idle client but who it is, and its socket.
    let all = size_of::<Conn>() + size_of::<Client>() + size_of::<SocketIoPeer>();
    assert!(all <= 288, "{all} bytes");
}

#[test]
fn nothing_is_left_of_clients_that_have_gone() {
    let mut harness = Harness::new();
    let slots: Vec<ConnSlot> = (0..10).map(|number| harness.chat_member(&format!("user-{number}"))).collect();
    assert_eq!((harness.shard.stats().sessions, harness.shard.stats().peers), (10, 10));
    for slot in slots {
        harness.shard.ended(NOW, slot);
        harness.turn();
    }
    let stats = harness.shard.stats();
    assert_eq!((stats.sessions, stats.peers, stats.connections, stats.asks), (0, 0, 0, 0));
    assert!(harness.shard.core.rooms.len() == 0, "a room of peers is left");
}

#[test]
fn a_message_is_encoded_once_for_all_listeners_of_a_dialect() {
    let mut harness = Harness::new();
    let members = [harness.chat_member("a"), harness.chat_member("b"), harness.chat_member("c")];
    let event = Event::Stats { room: "r".into(), participant_count: 3 };
    let packed = Arc::new(EncodedEvent::new(&event, NOW, &mut Vec::new()).and_for_peers(&event, NOW));
    let publish =
        |packed: &Arc<EncodedEvent>| ShardMessage::Publish { room: "r".into(), except: None, packed: packed.clone() };
    harness.shard.handle_message(NOW, publish(&packed));
    harness.shard.handle_message(NOW, publish(&packed));
    harness.turn();
    let encoded = |packed: &EncodedEvent| packed.for_peers.as_ref().map(|for_peers| for_peers.encoded());
    assert_eq!(encoded(&packed), Some(1));
    for slot in members {
        // Both by one write.
        assert_eq!(harness.paper.written.iter().filter(|(to, _)| *to == slot).count(), 1);
        assert_eq!(harness.paper.take(slot).matches(r#"42/chat,["room:online-update""#).count(), 2);
    }
    // Each further dialect is one more, however many listen.
    for user in ["d", "e"] {
        let slot = harness.chat_member(user);
        harness.long_frame(slot, format!(r#"42/chat,["joinRoom",{{"filler":"{}"}}]"#, "x".repeat(126)).as_bytes());
    }
    harness.turn();
    let event = Event::Closed { room: "r".into(), reason: "over".into() };
    let packed = Arc::new(EncodedEvent::new(&event, NOW, &mut Vec::new()).and_for_peers(&event, NOW));
    harness.shard.handle_message(NOW, publish(&packed));
    harness.turn();
    assert_eq!(encoded(&packed), Some(2));
}

#[test]
fn the_last_that_a_client_hears_says_how_far_it_is_in_all_its_rooms() {
    let rules = RoomRules { has_store: true, ..(*options().rules).clone() };
    let mut harness = Harness::with(Options { recovery_window_ms: 120_000, rules: Arc::new(rules), ..options() });
    let slot = harness.chat_member("ann");
    let (peer, _) = harness.shard.core.net.sessions.peers.iter().next().expect("a peer");
    let id = harness.shard.core.net.id_of(peer);
    harness.is_put_into(id, "q", "f");
    harness.paper.take(slot);
    for (name, seq) in [("r", 1), ("q", 1), ("r", 2)] {
        let content = Content {
            body: r#""hi""#.into(),
            event: None,
            kind: None,
            reply_to: None,
            attachment: None,
            metadata: None,
        };
        let (sender, from) = (Identity::guest("bo"), PeerName::Chosen("bo".into()));
        let (id, seq, room) = (uuid::Uuid::from_u128(seq.into()), Some(seq), name.into());
        let (display_name, at) = (None, NOW.wall);
        let message = Message {
            id,
            seq,
            room,
            sender,
            display_name,
            from,
            is_published: false,
            to: None,
            content,
            at,
            revision: None,
        };
        let event = Event::Message(Arc::new(message));
        let packed = Arc::new(EncodedEvent::new(&event, NOW, &mut Vec::new()).and_for_peers(&event, NOW));
        harness.shard.handle_message(NOW, ShardMessage::Publish { room: name.into(), except: None, packed });
    }
    // Its client is back on another connection, and hears this one to its end.
    let token = KeptSessions::on(&mut harness.shard.core).secret_of(peer.into()).into();
    let by = harness.shard.core.net.identity(peer).expect("an identity");
    let to = Some(ConnectionId::new(id.place(), [9; 12]));
    let from = harness.shard.core.expect(PendingRequest::detached());
    harness.shard.handle_message(NOW, OwnerMessage::Supersede { connection: id, to, token, by, from });
    harness.turn();
    let told = harness.paper.take(slot);
    let texts = told.split('"');
    let offsets: Vec<&str> = texts.filter(|text| text.starts_with("e:") || text.starts_with("f:")).collect();
    assert_eq!(offsets, ["e:1,f:0", "e:2,f:0", "f:1,e:2"], "{told}");
}

#[test]
fn a_sessions_requests_end_with_it() {
    let mut harness = Harness::new();
    let slot = harness.connect();
    harness.receive(slot, POLL.as_bytes());
    harness.turn();
    let told = harness.paper.take(slot);
    let sid = told.split(r#""sid":""#).nth(1).and_then(|rest| rest.get(..24)).expect("a sid").to_owned();
    let poll = POLL.replace("polling", &format!("polling&sid={sid}"));
    harness.receive(slot, poll.as_bytes());
    harness.turn();
    // It is read on while it waits, so that its end is found, but no further than there is a bound.
    assert!(harness.paper.take(slot).is_empty() && harness.shard.wants_read(slot));
    harness.receive(slot, &[b'x'; 5_000]);
    harness.turn();
    assert!(!harness.shard.wants_read(slot));
    harness.shard.ended(NOW, slot);
    harness.turn();
    assert_eq!((harness.shard.stats().sessions, harness.shard.connections()), (0, 0));
}

#[test]
fn a_request_for_another_shard_leaves_with_all_that_came() {
    let mut harness = Harness::with(Options { shards: 3, ..options() });
    let place = ConnectionPlace { node: 0, shard: 2, slot: crate::base::ids::SESSION };
    let sid = ConnectionId::new(place, [7; 12]).text();
    let request = POLL.replace("polling", &format!("polling&sid={}", sid.as_str()));
    let slot = harness.connect();
    let health = "GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n";
    harness.receive(slot, format!("{health}{request}{health}").as_bytes());
    // What it is owed goes first.
    assert!(!harness.shard.has_departures());
    harness.turn();
    assert!(harness.paper.take(slot).contains("healthy"));
    let departure = harness.shard.departure().expect("it goes");
    assert_eq!((departure.slot, departure.to), (slot, 2));
    assert_eq!(String::from_utf8_lossy(&departure.unread), format!("{request}{health}"));
    assert_eq!((harness.shard.connections(), harness.shard.stats().moved), (0, 1));
}
