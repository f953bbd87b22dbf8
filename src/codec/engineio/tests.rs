//! The examples of the protocol's texts, each fault, and round trips.

use super::*;
use crate::codec::http::{BodyDecoder, Framing};
use proptest::prelude::*;

/// A packet that outlives its body.
#[derive(Clone, Debug, PartialEq)]
enum Heard {
    Text(PacketKind, String),
    Binary(Vec<u8>),
    Fault(EngineIoError),
}

impl From<EngineIoPacket<'_>> for Heard {
    fn from(packet: EngineIoPacket<'_>) -> Self {
        match packet.data {
            PacketData::Text(text) => Self::Text(packet.kind, text.to_owned()),
            PacketData::Binary(bytes) => Self::Binary(bytes.to_vec()),
        }
    }
}

impl Heard {
    fn packet(&self) -> EngineIoPacket<'_> {
        match self {
            Self::Text(kind, text) => EngineIoPacket::text(*kind, text),
            Self::Binary(bytes) => EngineIoPacket::binary(bytes),
            Self::Fault(error) => panic!("{error}"),
        }
    }
}

fn message(text: &str) -> Heard {
    Heard::Text(PacketKind::Message, text.to_owned())
}

fn read_within(form: Form, body: &[u8], limits: &PayloadLimits) -> Vec<Heard> {
    let mut payload = match Payload::new(form, body, limits) {
        Ok(payload) => payload,
        Err(error) => return vec![Heard::Fault(error)],
    };
    let (mut heard, mut scratch) = (Vec::new(), Vec::new());
    loop {
        match payload.next(&mut scratch) {
            Ok(Some(packet)) => heard.push(packet.into()),
            Ok(None) => return heard,
            Err(error) => {
                heard.push(Heard::Fault(error));
                return heard;
            }
        }
    }
}

fn read(form: Form, body: impl AsRef<[u8]>) -> Vec<Heard> {
    read_within(form, body.as_ref(), &PayloadLimits::default())
}

fn written(form: Form, packets: &[Heard]) -> Vec<u8> {
    let mut out = b"before".to_vec();
    let mut writer = PayloadWriter::begin(&mut out, form);
    packets.iter().for_each(|packet| writer.packet(packet.packet()));
    writer.end();
    out.split_off(6)
}

fn decoded(version: Version, text: &str) -> Result<Heard, EngineIoError> {
    decode_text(version, text, &mut Vec::new()).map(Heard::from)
}

#[test]
fn packets_over_a_websocket() {
    for version in [Version::V3, Version::V4] {
        assert_eq!(decoded(version, "4hello"), Ok(message("hello")));
        assert_eq!(decoded(version, "4"), Ok(message("")));
        assert_eq!(decoded(version, "2probe"), Ok(Heard::Text(PacketKind::Ping, "probe".to_owned())));
        assert_eq!(decoded(version, "5"), Ok(Heard::Text(PacketKind::Upgrade, String::new())));
        for text in ["", "7", "abc", " 4", "/", ":", "é"] {
            assert_eq!(decoded(version, text), Err(EngineIoError::Kind), "{text:?}");
        }
    }
    assert_eq!(decode_binary(Version::V4, &[1, 2]), Ok(EngineIoPacket::binary(&[1, 2])));
    assert_eq!(decode_binary(Version::V4, &[]), Ok(EngineIoPacket::binary(&[])));
    assert_eq!(decode_binary(Version::V3, &[4, 1, 2]), Ok(EngineIoPacket::binary(&[1, 2])));
    for bytes in [&[][..], &[7, 1], &[2, 1], b"4"] {
        assert_eq!(decode_binary(Version::V3, bytes), Err(EngineIoError::Kind));
    }
    let mut out = Vec::new();
    encode_packet(&mut out, Version::V4, EngineIoPacket::text(PacketKind::Pong, PROBE));
    encode_packet(&mut out, Version::V4, EngineIoPacket::binary(&[1, 2]));
    encode_packet(&mut out, Version::V3, EngineIoPacket::binary(&[1, 2]));
    assert_eq!(out, b"\x81\x063probe\x82\x02\x01\x02\x82\x03\x04\x01\x02");
}

#[test]
fn base64_has_padding_or_not() {
    let bytes = Heard::Binary(vec![1, 2, 3, 4]);
    for (version, prefix) in [(Version::V4, "b"), (Version::V3, "b4")] {
        for text in ["AQIDBA==", "AQIDBA"] {
            assert_eq!(decoded(version, &format!("{prefix}{text}")), Ok(bytes.clone()));
        }
        assert_eq!(decoded(version, prefix), Ok(Heard::Binary(vec![])));
        for text in ["A", "A=", "AQ==IDBA", "A-I_", "AQ ID", "é"] {
            assert_eq!(decoded(version, &format!("{prefix}{text}")), Err(EngineIoError::Base64), "{text}");
        }
    }
    assert_eq!(decoded(Version::V3, "b2AQ"), Err(EngineIoError::Kind));
}

#[test]
fn payloads_of_version_4() {
    let form = Form::Separated;
    let three = [message("hello"), Heard::Text(PacketKind::Ping, String::new()), message("world")];
    assert_eq!(read(form, "4hello\u{1e}2\u{1e}4world"), three);
    assert_eq!(written(form, &three), "4hello\u{1e}2\u{1e}4world".as_bytes());
    let mixed = [message("hello"), Heard::Binary(vec![1, 2, 3, 4])];
    assert_eq!(read(form, "4hello\u{1e}bAQIDBA=="), mixed);
    assert_eq!(written(form, &mixed), "4hello\u{1e}bAQIDBA==".as_bytes());
    assert_eq!(written(form, &[]), b"");
    for body in ["", "abc", "\u{1e}4a"] {
        assert_eq!(read(form, body), [Heard::Fault(EngineIoError::Kind)]);
    }
    assert_eq!(read(form, "4a\u{1e}"), [message("a"), Heard::Fault(EngineIoError::Kind)]);
    assert_eq!(read(form, b"4\xFF"), [Heard::Fault(EngineIoError::InvalidUtf8)]);
}

#[test]
fn payloads_of_version_3_count_characters() {
    let form = Form::Counted;
    let two = [message("hello"), message("€")];
    assert_eq!(read(form, "6:4hello2:4€"), two);
    assert_eq!(written(form, &two), "6:4hello2:4€".as_bytes());
    let mixed = [message("€"), Heard::Binary(vec![1, 2, 3, 4])];
    assert_eq!(read(form, "2:4€10:b4AQIDBA=="), mixed);
    assert_eq!(written(form, &mixed), "2:4€10:b4AQIDBA==".as_bytes());
    // A character beyond the first plane is two in JavaScript.
    assert_eq!(read(form, "3:4😀1:2"), [message("😀"), Heard::Text(PacketKind::Ping, String::new())]);
    assert_eq!(written(form, &[message("😀")]), "3:4😀".as_bytes());
    assert_eq!(read(form, "2:4😀1:2"), [Heard::Fault(EngineIoError::Length)]);
    assert_eq!(written(form, &[]), b"0:");
    assert_eq!(read(form, "0:"), []);
    assert_eq!(read(form, "0:1:20:"), [Heard::Text(PacketKind::Ping, String::new())]);
    for body in ["abc", ":4a", "2:4", "-1:4", "1e1:4", "1", "1:4x", "9999999999:4", "+1:4", "3:4€"] {
        assert_eq!(read(form, body).last(), Some(&Heard::Fault(EngineIoError::Length)), "{body:?}");
    }
    assert_eq!(read(form, ""), [Heard::Fault(EngineIoError::Kind)]);
    assert_eq!(read(form, "1:7"), [Heard::Fault(EngineIoError::Kind)]);
}

#[test]
fn payloads_of_version_3_as_bytes() {
    let form = Form::Binary;
    // The suite's own bytes; the text of the protocol forgets the type's byte in the second length.
    let bytes = [0, 6, 255, 52, 104, 101, 108, 108, 111, 1, 5, 255, 4, 1, 2, 3, 4];
    let mixed = [message("hello"), Heard::Binary(vec![1, 2, 3, 4])];
    assert_eq!(read(form, bytes), mixed);
    assert_eq!(written(form, &mixed), bytes);
    assert_eq!(read(form, [0, 4, 255, 0x34, 0xE2, 0x82, 0xAC]), [message("€")]);
    let long = [message(&"x".repeat(119))];
    assert_eq!(written(form, &long)[..6], [0, 1, 2, 0, 255, 0x34]);
    assert_eq!(read(form, written(form, &long)), long);
    assert_eq!(read(form, [0, 0, 255, 1, 0, 255]), []);
    for body in
        [&[0][..], &[0, 1], &[0, 255, 52], &[0, 10, 255, 52], &[0, 2, 255, 52], &[1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1]]
    {
        assert_eq!(read(form, body), [Heard::Fault(EngineIoError::Length)], "{body:?}");
    }
    assert_eq!(read(form, [2, 1, 255, 52]), [Heard::Fault(EngineIoError::Kind)]);
    assert_eq!(read(form, [1, 1, 255, 2]), [Heard::Fault(EngineIoError::Kind)]);
    assert_eq!(read(form, [0, 2, 255, 52, 255]), [Heard::Fault(EngineIoError::InvalidUtf8)]);
}

#[test]
fn payloads_have_bounds() {
    let limits = PayloadLimits { payload_bytes: 7, packets: 3 };
    let packet = Heard::Text(PacketKind::Ping, String::new());
    let fault = |error| [Heard::Fault(error)];
    assert_eq!(read_within(Form::Separated, "2\u{1e}2\u{1e}2".as_bytes(), &limits), vec![packet.clone(); 3]);
    let four = read_within(Form::Separated, "2\u{1e}2\u{1e}2\u{1e}2".as_bytes(), &limits);
    assert_eq!(four, [vec![packet; 3], fault(EngineIoError::TooManyPackets).to_vec()].concat());
    assert_eq!(read_within(Form::Separated, b"45678901", &limits), fault(EngineIoError::TooLarge));
}

#[test]
fn forms_follow_from_version_and_content() {
    assert_eq!(Form::of_body(Version::V4, true), Err(EngineIoError::ContentType));
    assert_eq!(Form::of_body(Version::V4, false), Ok(Form::Separated));
    assert_eq!(Form::of_body(Version::V3, false), Ok(Form::Counted));
    assert_eq!(Form::of_body(Version::V3, true), Ok(Form::Binary));
    let mut text = Vec::new();
    encode_packet(&mut text, Version::V3, EngineIoPacket::text(PacketKind::Message, "a"));
    let mut both = text.clone();
    encode_binary(&mut both, Version::V3, &[1]);
    assert_eq!(Form::of_frames(Version::V3, true, &text), Form::Counted);
    assert_eq!(Form::of_frames(Version::V3, true, &both), Form::Binary);
    assert_eq!(Form::of_frames(Version::V3, false, &both), Form::Counted);
    assert_eq!(Form::of_frames(Version::V4, true, &both), Form::Separated);
    assert_eq!(Form::Binary.content_type(), "application/octet-stream");
    assert_eq!(Form::Separated.content_type(), "text/plain; charset=UTF-8");
}

#[test]
fn handshakes_are_spelled_as_documented() {
    let open = Open {
        sid: "lv_VI97HAXpY6yYWAAAC",
        can_upgrade: true,
        ping_interval_ms: 25_000,
        ping_timeout_ms: 20_000,
        payload_bytes_max: 1_000_000,
    };
    let mut out = Vec::new();
    encode_open(&mut out, Version::V4, &open);
    let expected = r#"0{"sid":"lv_VI97HAXpY6yYWAAAC","upgrades":["websocket"],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}"#;
    assert_eq!(str::from_utf8(&out), Ok(expected));
    // A Socket.IO 2 client is in the main namespace at once.
    let mut out = Vec::new();
    let mut writer = PayloadWriter::begin(&mut out, Form::Counted);
    writer.text(|out| encode_open(out, Version::V3, &open));
    writer.packet(EngineIoPacket::text(PacketKind::Message, "0"));
    writer.end();
    let expected =
        r#"97:0{"sid":"lv_VI97HAXpY6yYWAAAC","upgrades":["websocket"],"pingInterval":25000,"pingTimeout":20000}2:40"#;
    assert_eq!(str::from_utf8(&out), Ok(expected));
    let mut out = Vec::new();
    encode_open(&mut out, Version::V4, &Open { can_upgrade: false, ..open });
    assert!(str::from_utf8(&out).is_ok_and(|text| text.contains(r#""upgrades":[],"#)));
}

#[test]
fn queries_say_what_they_may() {
    let query = HandshakeQuery::parse(Some("EIO=4&transport=polling&t=abc"));
    assert_eq!(query.version, Some(Version::V4));
    assert_eq!(query.transport, Some(Transport::Polling));
    assert_eq!((query.sid, query.jsonp, query.takes_base64_only), (None, None, false));
    let query = HandshakeQuery::parse(Some("EIO=3&transport=websocket&sid=a%2Db&j=12&b64=1"));
    assert_eq!(query.version, Some(Version::V3));
    assert_eq!(query.transport, Some(Transport::WebSocket));
    assert_eq!((query.sid.as_deref(), query.jsonp, query.takes_base64_only), (Some("a-b"), Some(12), true));
    for text in ["", "EIO=", "EIO=2", "EIO=5", "EIO=abc", "EIO=04", "EIO=4.0", "EIO=4%20", "eio=4", "transport=abc"] {
        let query = HandshakeQuery::parse(Some(text));
        assert_eq!((query.version, query.transport), (None, None), "{text}");
    }
    assert_eq!(HandshakeQuery::parse(None), HandshakeQuery::default());
    for (text, index) in [("j=", 0), ("j=alert(1)", 1), ("j=12345678901", 123_456_789), ("j", 0)] {
        assert_eq!(HandshakeQuery::parse(Some(text)).jsonp, Some(index), "{text}");
    }
    assert!(!HandshakeQuery::parse(Some("b64=0")).takes_base64_only);
}

#[test]
fn refusals_have_their_exact_bodies() {
    let all = [
        (EngineIoRefusal::UnknownTransport, 400, r#"{"code":0,"message":"Transport unknown"}"#),
        (EngineIoRefusal::UnknownSession, 400, r#"{"code":1,"message":"Session ID unknown"}"#),
        (EngineIoRefusal::HandshakeMethod, 400, r#"{"code":2,"message":"Bad handshake method"}"#),
        (EngineIoRefusal::BadRequest, 400, r#"{"code":3,"message":"Bad request"}"#),
        (EngineIoRefusal::Forbidden, 403, r#"{"code":4,"message":"Forbidden"}"#),
        (EngineIoRefusal::UnsupportedVersion, 400, r#"{"code":5,"message":"Unsupported protocol version"}"#),
    ];
    for (code, (refusal, status, body)) in all.into_iter().enumerate() {
        assert_eq!((refusal.status(), refusal.body()), (status, body));
        assert_eq!(body, format!(r#"{{"code":{code},"message":"{}"}}"#, refusal.message()));
    }
}

#[test]
fn scripts_carry_payloads() {
    let script = |payload: &str| {
        let mut out = Vec::new();
        jsonp::encode(&mut out, 4, payload);
        String::from_utf8(out).unwrap()
    };
    assert_eq!(script("packet data"), r#"___eio[4]("packet data");"#);
    assert_eq!(script(""), r#"___eio[4]("");"#);
    assert_eq!(script("6:4a\"\\\n€"), r#"___eio[4]("6:4a\"\\\n€");"#);
    assert_eq!(script("\u{2028}a\u{2029}\u{2029}"), r#"___eio[4]("\u2028a\u2029\u2029");"#);
}

#[test]
fn forms_carry_payloads() {
    let field = |text: &str| jsonp::decode(format!("d={text}").as_bytes());
    assert_eq!(field("6%3A4hello"), Ok("6:4hello".to_owned()));
    assert_eq!(field("a+b"), Ok("a b".to_owned()));
    // A line feed is sent as a backslash and an n; where those two stood, as two backslashes and an n.
    assert_eq!(field(r"a\nb"), Ok("a\nb".to_owned()));
    assert_eq!(field(r"a\\nb"), Ok(r"a\nb".to_owned()));
    assert_eq!(field(r"a\\\nb"), Ok(r"a\\nb".to_owned()));
    assert_eq!(field(r"\\t\n\n\"), Ok("\\\\t\n\n\\".to_owned()));
    assert_eq!(jsonp::decode(b"x=1&d=2%3A40"), Ok("2:40".to_owned()));
    assert_eq!(jsonp::decode(b"x=1"), Err(EngineIoError::Form));
    assert_eq!(jsonp::decode(b"d=%zz"), Err(EngineIoError::Form));
    assert_eq!(jsonp::decode(b"d=\xFF"), Err(EngineIoError::InvalidUtf8));
}

fn any_packet() -> impl Strategy<Value = Heard> {
    // The separator cannot be in a packet of version 4: JSON escapes it.
    let kind = (0_u8..7).prop_map(|number| PacketKind::from_number(number).unwrap());
    prop_oneof![
        4 => (kind, "[^\u{1e}]{0,40}").prop_map(|(kind, text)| Heard::Text(kind, text)),
        1 => prop::collection::vec(any::<u8>(), 0..50).prop_map(Heard::Binary),
    ]
}

/// What a client's form does to a text before it sends it.
fn as_form(text: &str) -> String {
    let escaped = text.replace("\\n", "\\\n").replace('\n', "\\n");
    let coded: String = escaped.bytes().map(|byte| format!("%{byte:02x}")).collect();
    format!("d={coded}")
}

proptest! {
    #[test]
    fn what_is_written_is_read(packets in prop::collection::vec(any_packet(), 1..12)) {
        for form in [Form::Separated, Form::Counted, Form::Binary] {
            prop_assert_eq!(read(form, written(form, &packets)), packets.clone());
        }
    }

    #[test]
    fn frames_that_wait_become_the_same_payload(
        packets in prop::collection::vec(any_packet(), 1..12),
        takes_binary in any::<bool>(),
    ) {
        for version in [Version::V3, Version::V4] {
            let mut frames = Vec::new();
            packets.iter().for_each(|packet| encode_packet(&mut frames, version, packet.packet()));
            let form = Form::of_frames(version, takes_binary, &frames);
            let mut out = Vec::new();
            let mut writer = PayloadWriter::begin(&mut out, form);
            writer.frames(&frames);
            writer.end();
            prop_assert_eq!(out, written(form, &packets));
        }
    }

    #[test]
    fn any_split_of_a_request_gives_the_same_packets(
        packets in prop::collection::vec(any_packet(), 1..6),
    ) {
        for form in [Form::Separated, Form::Counted, Form::Binary] {
            let bytes = written(form, &packets);
            for cut in 0..=bytes.len() {
                let mut body = BodyDecoder::new(Framing::Length(bytes.len() as u64), 10_000).unwrap();
                body.feed(&bytes[..cut]).unwrap();
                body.feed(&bytes[cut..]).unwrap();
                prop_assert_eq!(read(form, body.into_bytes()), packets.clone());
            }
        }
    }

    #[test]
    fn a_prefix_never_reads_as_more(packets in prop::collection::vec(any_packet(), 1..4)) {
        for form in [Form::Separated, Form::Counted, Form::Binary] {
            let bytes = written(form, &packets);
            for end in 0..bytes.len() {
                let mut heard = read(form, &bytes[..end]);
                // The last packet of a text that is cut may be there in part.
                heard.pop();
                prop_assert!(packets.starts_with(&heard));
            }
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), digits in "[0-9:b4\u{1e}€]{0,30}") {
        for form in [Form::Separated, Form::Counted, Form::Binary] {
            read(form, &bytes);
            read(form, &digits);
        }
        let _ = jsonp::decode(&bytes);
    }

    #[test]
    fn forms_and_scripts_keep_any_text(text in "[\\\\n\n\r\t\"a€😀\u{2028}]{0,40}") {
        // The clients' escaping has one spelling for a backslash before a line feed and for one before an n. JSON, which
        // is what they send, has no line feeds of its own.
        prop_assume!(!text.contains("\\\n"));
        prop_assert_eq!(jsonp::decode(as_form(&text).as_bytes()), Ok(text.clone()));
        let mut out = Vec::new();
        jsonp::encode(&mut out, 0, &text);
        let script = str::from_utf8(&out).unwrap();
        let is_safe = !script.contains(['\u{2028}', '\u{2029}']);
        prop_assert!(is_safe);
        let literal = script.strip_prefix("___eio[0](").and_then(|rest| rest.strip_suffix(");")).unwrap();
        prop_assert_eq!(serde_json::from_str::<String>(literal).unwrap(), text);
    }
}
