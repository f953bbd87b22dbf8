//! Any texts and attachments, in any order, are packets or a fault, never a panic; what is kept has a bound, what is let
//! through is JSON, and what was read is written and read as the same.

#![no_main]

use libfuzzer_sys::fuzz_target;
use serde::de::IgnoredAny;
use switchboard::codec::engineio::Version;
use switchboard::codec::socketio::{
    ACK_ID_MAX, ATTACHMENTS_MAX, Arguments, PacketContent, SocketIoDecoder, SocketIoLimits, SocketIoPacket, RESERVED_EVENTS, PacketTarget, begin_ack,
    begin_event, encode_accepted, encode_disconnect, encode_joined, encode_refused,
};

const LIMITS: SocketIoLimits = SocketIoLimits { packet_bytes: 512 };

fn is_json(text: &str) -> bool {
    serde_json::from_str::<IgnoredAny>(text).is_ok()
}

fn check(version: Version, packet: &SocketIoPacket<'_>) {
    assert!(packet.namespace.starts_with('/') && packet.id.is_none_or(|id| id <= ACK_ID_MAX));
    assert!(packet.attachments.len() <= ATTACHMENTS_MAX);
    assert!(packet.attachments.iter().map(<[u8]>::len).sum::<usize>() <= LIMITS.packet_bytes);
    let target = PacketTarget { namespace: packet.namespace, id: packet.id, attachments: packet.attachments.len() };
    let mut out = Vec::new();
    match packet.content {
        PacketContent::Connect(auth) => {
            assert!(auth.is_none_or(|auth| auth.starts_with('{') && is_json(auth)));
            encode_joined(&mut out, packet.namespace);
            encode_accepted(&mut Vec::new(), packet.namespace, "s", None);
        }
        PacketContent::Disconnect => encode_disconnect(&mut out, packet.namespace),
        PacketContent::ConnectError(value) => {
            assert!(is_json(value));
            encode_refused(&mut out, packet.namespace, "no", Some(value));
        }
        PacketContent::Event(event) => {
            check_arguments(event.arguments);
            let Ok(name) = serde_json::from_str::<String>(event.name) else {
                // A number, or a text without a Unicode spelling.
                return assert!(is_json(event.name));
            };
            assert!(!RESERVED_EVENTS.contains(&name.as_str()));
            begin_event(&mut out, &target, &name).raw(event.arguments.text()).end();
        }
        PacketContent::Ack(arguments) => {
            check_arguments(arguments);
            begin_ack(&mut out, &target).raw(arguments.text()).end();
        }
    }
    read_back(version, packet, &out);
}

fn check_arguments(arguments: Arguments<'_>) {
    assert!(arguments.clone().all(is_json));
    assert!(is_json(&format!("[{}]", arguments.text())));
}

/// What the encoders made of a packet says the same.
fn read_back(version: Version, packet: &SocketIoPacket<'_>, message: &[u8]) {
    let text = str::from_utf8(message).expect("a packet is text");
    let (mut decoder, limits) = (SocketIoDecoder::default(), SocketIoLimits::default());
    let first = decoder.text(version, &text[1..], &limits).expect("it is a packet");
    let mut whole = None;
    for bytes in packet.attachments.iter() {
        whole = decoder.binary(bytes, &limits).expect("it is awaited");
    }
    let again = first.or_else(|| whole.as_deref().map(|whole| whole.packet().expect("it is whole")));
    let again = again.expect("nothing is missing");
    assert_eq!((again.namespace, again.id, again.attachments), (packet.namespace, packet.id, packet.attachments));
    match (again.content, packet.content) {
        (PacketContent::Event(again), PacketContent::Event(event)) => {
            assert_eq!(again.arguments.text(), event.arguments.text());
            assert!(again.arguments.eq(event.arguments));
        }
        (PacketContent::Ack(again), PacketContent::Ack(arguments)) => assert_eq!(again.text(), arguments.text()),
        (again, content) => assert_eq!(std::mem::discriminant(&again), std::mem::discriminant(&content)),
    }
}

/// Feeds messages to one decoder until one is refused: what begins with `!` is an attachment, anything else a text.
fn hear(version: Version, messages: &str) {
    let mut decoder = SocketIoDecoder::default();
    for message in messages.lines() {
        let is_over = match message.strip_prefix('!') {
            Some(bytes) => match decoder.binary(bytes.as_bytes(), &LIMITS) {
                Ok(Some(whole)) => {
                    check(version, &whole.packet().expect("it was a packet when it came"));
                    false
                }
                heard => heard.is_err(),
            },
            None => match decoder.text(version, message, &LIMITS) {
                Ok(Some(packet)) => {
                    check(version, &packet);
                    false
                }
                heard => heard.is_err(),
            },
        };
        if is_over {
            return;
        }
    }
}

fuzz_target!(|messages: &str| {
    hear(Version::V4, messages);
    hear(Version::V3, messages);
});
