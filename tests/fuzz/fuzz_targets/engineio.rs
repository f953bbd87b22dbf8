//! Any body in any form is packets or a fault, never a panic; what was read is written and read as the same, and frames
//! that wait become the same payload.

#![no_main]

use libfuzzer_sys::fuzz_target;
use switchboard::codec::engineio::{
    PacketData, Form, PacketKind, PayloadLimits, EngineIoPacket, Payload, PayloadWriter, HandshakeQuery, Version, decode_binary, decode_text,
    encode_packet, jsonp,
};

const LIMITS: PayloadLimits = PayloadLimits { payload_bytes: 4096, packets: 32 };

const FORMS: [(Form, Version); 3] =
    [(Form::Separated, Version::V4), (Form::Counted, Version::V3), (Form::Binary, Version::V3)];

/// A packet that outlives its body.
#[derive(Clone, Debug, PartialEq)]
enum Heard {
    Text(PacketKind, String),
    Binary(Vec<u8>),
}

impl Heard {
    fn packet(&self) -> EngineIoPacket<'_> {
        match self {
            Self::Text(kind, text) => EngineIoPacket::text(*kind, text),
            Self::Binary(bytes) => EngineIoPacket::binary(bytes),
        }
    }
}

impl From<EngineIoPacket<'_>> for Heard {
    fn from(packet: EngineIoPacket<'_>) -> Self {
        match packet.data {
            PacketData::Text(text) => Self::Text(packet.kind, text.to_owned()),
            PacketData::Binary(bytes) => Self::Binary(bytes.to_vec()),
        }
    }
}

/// The packets before the first fault, and whether there was one.
fn read(form: Form, body: &[u8]) -> (Vec<Heard>, bool) {
    let Ok(mut payload) = Payload::new(form, body, &LIMITS) else { return (Vec::new(), true) };
    let (mut heard, mut scratch) = (Vec::new(), Vec::new());
    loop {
        match payload.next(&mut scratch) {
            Ok(Some(packet)) => heard.push(packet.into()),
            Ok(None) => return (heard, false),
            Err(_) => return (heard, true),
        }
        assert!(heard.len() <= LIMITS.packets && scratch.len() <= body.len());
    }
}

fn write(form: Form, packets: &[Heard]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut writer = PayloadWriter::begin(&mut out, form);
    packets.iter().for_each(|packet| writer.packet(packet.packet()));
    writer.end();
    out
}

/// Whether a packet can be spelled in a form: version 4 separates packets by a character that text must not have.
fn fits(form: Form, packet: &Heard) -> bool {
    form != Form::Separated || !matches!(packet, Heard::Text(_, text) if text.contains('\u{1e}'))
}

fn check(form: Form, version: Version, packets: &[Heard]) {
    if packets.is_empty() || !packets.iter().all(|packet| fits(form, packet)) {
        return;
    }
    let payload = write(form, packets);
    if payload.len() <= LIMITS.payload_bytes {
        assert_eq!(read(form, &payload), (packets.to_vec(), false));
    }
    let mut frames = Vec::new();
    packets.iter().for_each(|packet| encode_packet(&mut frames, version, packet.packet()));
    let mut out = Vec::new();
    let mut writer = PayloadWriter::begin(&mut out, form);
    writer.frames(&frames);
    writer.end();
    assert_eq!(out, payload);
}

fuzz_target!(|body: &[u8]| {
    for (form, _) in FORMS {
        let (packets, _) = read(form, body);
        for (other, version) in FORMS {
            check(other, version, &packets);
        }
    }
    let mut scratch = Vec::new();
    for version in [Version::V3, Version::V4] {
        let _ = decode_binary(version, body);
        if let Ok(text) = str::from_utf8(body) {
            let _ = decode_text(version, text, &mut scratch);
        }
    }
    if let Ok(payload) = jsonp::decode(body) {
        let mut script = Vec::new();
        jsonp::encode(&mut script, 0, &payload);
        let script = str::from_utf8(&script).expect("a script is text");
        let literal = script.strip_prefix("___eio[0](").and_then(|rest| rest.strip_suffix(");"));
        let back: String = serde_json::from_str(literal.expect("a call")).expect("its argument is JSON, too");
        assert_eq!(back, payload);
    }
    HandshakeQuery::parse(str::from_utf8(body).ok());
});
