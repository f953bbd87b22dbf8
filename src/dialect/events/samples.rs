//! The common part of the dialects' tests: received packets, one event of each kind, and their encodings.

use std::sync::Arc;

use proptest::prelude::*;
use uuid::Uuid;

use crate::base::Name;
use crate::base::ids::{ConnectionId, ConnectionPlace};
use crate::base::time::Now;
use crate::codec::engineio::Version;
use crate::codec::socketio::{Arguments, PacketContent as Payload, SocketIoDecoder, SocketIoLimits};
use crate::domain::about::About;
use crate::domain::access::{Identity, Roles};
use crate::domain::command::{MediaState, ReceiptKind, Signal, Status};
use crate::domain::connection_mode::{ConnectionMode, ModeChange, ModeReason};
use crate::domain::event::{
    Content, Direct, Event, Joined, LeaveCause, Message, PeerName, PeerView, RoomInfo, Signaled,
};

/// `2025-01-09T21:30:00.000Z`.
pub(crate) const NOW: Now = Now { mono: 1_000, wall: 1_736_458_200_000 };

/// A message's id: it was made at [`NOW`].
pub(crate) const MESSAGE: Uuid = Uuid::from_u128(0x0194_4cf9_63c0_7c21_9b57_3f0d_1e2a_4c68);

/// The same as text.
pub(crate) const MESSAGE_ID: &str = "01944cf9-63c0-7c21-9b57-3f0d1e2a4c68";

/// Has `decode` read a packet that is an event.
pub(crate) fn heard<'a, T>(packet: &'a str, decode: impl FnOnce(&'a str, Arguments<'a>) -> T) -> T {
    let mut decoder = SocketIoDecoder::default();
    let packet =
        decoder.text(Version::V4, packet, &SocketIoLimits::default()).expect(packet).expect("it has no attachments");
    let Payload::Event(event) = packet.content else { panic!("an event") };
    decode(event.plain_name().expect("a name"), event.arguments)
}

/// The output of `write`.
pub(crate) fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut out = Vec::new();
    write(&mut out);
    String::from_utf8(out).expect("text")
}

/// The encoding of an event, if it has one.
pub(crate) fn told(encode: fn(&mut Vec<u8>, &Event, Now) -> bool, event: &Event) -> Option<String> {
    let mut is_told = false;
    let text = written(|out| is_told = encode(out, event, NOW));
    assert_eq!(is_told, !text.is_empty());
    is_told.then_some(text)
}

pub(crate) fn room() -> Name {
    "chat-uuid".into()
}

pub(crate) fn user() -> Identity {
    Identity::new("user-uuid", Some("username"), Some("user@example.com"), Roles::default())
}

pub(crate) fn connection() -> ConnectionId {
    ConnectionId::new(ConnectionPlace { node: 0, shard: 1, slot: 2 }, [7; 12])
}

pub(crate) fn joined() -> Joined {
    let peer = PeerName::Own(connection());
    Joined {
        room: room(),
        peer,
        peers: Vec::new(),
        participant_count: 5,
        epoch: "k3j5xq2a".into(),
        seq: 7,
        mode: ConnectionMode::P2p,
        rewound: Vec::new(),
    }
}

fn peer() -> PeerView {
    let name = PeerName::Own(connection());
    PeerView { name, about: About::default(), identity: user(), media: MediaState::default() }
}

/// [`mode_change`], in all dialects of Socket.IO.
pub(crate) const MODE_CHANGED: &str = r#"["connection-mode-changed",{"type":"connection-mode-changed","roomId":"chat-uuid","connectionMode":"sfu","previous":"p2p","reason":"participants","timestamp":1736458200000}]"#;

/// A room's media go through a media server.
pub(crate) fn mode_change() -> ModeChange {
    let (mode, previous) = (ConnectionMode::Sfu, ConnectionMode::P2p);
    ModeChange { mode, previous, reason: ModeReason::Participants }
}

/// A message in a room.
pub(crate) fn message(content: Content) -> Message {
    let from = PeerName::Own(connection());
    Message {
        id: MESSAGE,
        seq: Some(8),
        room: room(),
        sender: user(),
        display_name: None,
        is_published: false,
        from,
        to: None,
        content,
        at: NOW.wall,
        revision: None,
    }
}

/// The content of such a message.
pub(crate) fn hello() -> Content {
    let body = r#""Hello, world!""#.into();
    Content { body, event: None, kind: None, reply_to: None, attachment: None, metadata: None }
}

/// The same with everything a message may have.
pub(crate) fn rich() -> Content {
    Content {
        body: r#""Hello world!""#.into(),
        event: None,
        kind: Some("image".into()),
        reply_to: Some("message-id".into()),
        attachment: Some(r#"{"url":"https://example.com/file.jpg"}"#.into()),
        metadata: Some(r#"{"customField":"value"}"#.into()),
    }
}

/// A message to a user; `body` is JSON.
pub(crate) fn direct(kind: Option<&str>, body: &str) -> Event {
    let content = Content { body: body.into(), event: None, kind: kind.map(Into::into), ..hello() };
    Event::Direct(Arc::new(Direct {
        is_pushed: true,
        except: None,
        id: MESSAGE,
        sender: user(),
        content,
        at: NOW.wall,
    }))
}

pub(crate) fn presence(status: Status) -> Event {
    Event::Presence { by: user(), status, last_seen: NOW.wall }
}

pub(crate) fn receipt(kind: ReceiptKind) -> Event {
    Event::Receipt { room: room(), message: MESSAGE, by: user(), kind }
}

pub(crate) fn marked(kind: ReceiptKind) -> Event {
    Event::Marked { room: room(), message: MESSAGE, by: user(), kind }
}

pub(crate) fn left(cause: LeaveCause) -> Event {
    Event::Left { room: room(), cause }
}

pub(crate) fn info() -> RoomInfo {
    RoomInfo {
        room: room(),
        name: Some("Chat Room Name".into()),
        description: Some("Chat description".into()),
        metadata: None,
        is_private: false,
        max_participants: 0,
        is_locked: false,
        participant_count: 5,
        online_count: 3,
        last_activity: NOW.wall,
    }
}

/// One of each kind.
pub(crate) fn all() -> Vec<Event> {
    let (from, to) = (PeerName::Chosen("a".into()), PeerName::Chosen("b".into()));
    let signaled = Signaled { room: room(), from, to, signal: Signal::Offer, body: "{ }".into() };
    vec![
        Event::Joined(Box::new(joined())),
        left(LeaveCause::Left),
        Event::PeerJoined { room: room(), peer: Box::new(peer()), is_first: true },
        Event::PeerLeft { room: room(), peer: peer().name, identity: user(), is_last: true },
        Event::Stats { room: room(), participant_count: 501 },
        Event::Online { room: room(), online_count: 3, users: None },
        Event::Info(Arc::new(info())),
        Event::Updated(Arc::new(info())),
        Event::Signal(Box::new(signaled)),
        Event::Media { room: room(), peer: peer().name, media: MediaState::default() },
        Event::Mode { room: room(), change: mode_change() },
        Event::Message(Arc::new(message(hello()))),
        direct(Some("system"), r#"{"message":"Welcome to our platform!","level":"info"}"#),
        Event::Typing { room: room(), by: user(), display_name: None, is_typing: true },
        receipt(ReceiptKind::Read),
        marked(ReceiptKind::Read),
        presence(Status::Online),
        Event::Closed { room: room(), reason: "closed by host".into() },
    ]
}

/// Values of arguments, including some that no request takes.
fn value() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        Just("\"online\"".to_owned()),
        Just("\"room-id\"".to_owned()),
        Just("\"127.0.0.1\"".to_owned()),
        Just("\"\\ud800\"".to_owned()),
        Just("\"\\u0000\"".to_owned()),
        Just(format!("\"{}\"", "x".repeat(200))),
        "-?[1-9][0-9]{0,24}(\\.[0-9]{1,3})?([eE][+-]?[0-9]{1,3})?",
        "\"[a-zé]{0,20}\"",
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        let field = (prop::sample::select(FIELDS), inner.clone());
        let fields = prop::collection::vec(field, 0..6);
        let object = fields.prop_map(|fields| {
            let fields: Vec<String> = fields.iter().map(|(name, value)| format!("\"{name}\": {value}")).collect();
            format!("{{{}}}", fields.join(","))
        });
        prop_oneof![3 => object, 1 => prop::collection::vec(inner, 0..4).prop_map(|list| format!("[{}]", list.join(" ,")))]
    })
}

/// Fields of one dialect or another.
const FIELDS: &[&str] = &[
    "chatId",
    "roomId",
    "content",
    "type",
    "isTyping",
    "messageId",
    "status",
    "userId",
    "recoveryToken",
    "limit",
    "after",
    "ip",
    "lastMessageId",
    "attachment",
    "metadata",
    "mediaState",
    "toPeerId",
    "offer",
    "token",
    "a\\u0062",
];

/// Packets that are events of one of `names`, with any arguments.
pub(crate) fn packets(names: &'static [&'static str]) -> impl Strategy<Value = String> {
    let arguments = prop::collection::vec(value(), 0..3);
    (prop::sample::select(names), arguments).prop_map(|(name, arguments)| {
        let arguments: String = arguments.iter().map(|argument| format!(",{argument}")).collect();
        format!("2[\"{name}\"{arguments}]")
    })
}
