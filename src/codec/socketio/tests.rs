//! The examples of the protocol's texts, each rule with what breaks it, and round trips.

use super::*;
use crate::codec::engineio::Version;
use proptest::prelude::*;

fn decode(text: &str) -> Result<SocketIoPacket<'_>, SocketIoError> {
    decode_as(Version::V4, text)
}

fn decode_as(version: Version, text: &str) -> Result<SocketIoPacket<'_>, SocketIoError> {
    let mut decoder = SocketIoDecoder::default();
    let packet = decoder.text(version, text, &SocketIoLimits::default());
    packet.map(|packet| packet.unwrap_or_else(|| panic!("attachments are to follow {text}")))
}

fn packet<'a>(namespace: &'a str, id: Option<u64>, content: PacketContent<'a>) -> SocketIoPacket<'a> {
    SocketIoPacket { namespace, query: None, id, content, attachments: Attachments::default() }
}

/// Name, arguments and number of an event.
fn event(text: &str) -> (String, Vec<String>, Option<u64>) {
    let packet = decode(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    let PacketContent::Event(event) = packet.content else { panic!("{text} is no event") };
    (event.name.to_owned(), event.arguments.map(str::to_owned).collect(), packet.id)
}

/// A packet whose attachments follow it, as text and attachments.
fn gathered(text: &str, attachments: &[&[u8]]) -> Box<GatheredPacket> {
    let mut decoder = SocketIoDecoder::default();
    assert_eq!(decoder.text(Version::V4, text, &SocketIoLimits::default()), Ok(None));
    let (last, others) = attachments.split_last().unwrap();
    for bytes in others {
        assert!(!decoder.is_idle() && decoder.binary(bytes, &SocketIoLimits::default()).unwrap().is_none());
    }
    let gathered = decoder.binary(last, &SocketIoLimits::default()).unwrap().unwrap();
    assert!(decoder.is_idle());
    gathered
}

#[test]
fn a_decoder_is_one_pointer() {
    assert_eq!(size_of::<SocketIoDecoder>(), 8);
    assert!(size_of::<GatheredPacket>() <= 96, "{} bytes", size_of::<GatheredPacket>());
}

#[test]
fn connections() {
    assert_eq!(decode("0"), Ok(packet("/", None, PacketContent::Connect(None))));
    let auth = r#"{"token":"123"}"#;
    assert_eq!(decode(&format!("0{auth}")), Ok(packet("/", None, PacketContent::Connect(Some(auth)))));
    assert_eq!(decode("0/admin,"), Ok(packet("/admin", None, PacketContent::Connect(None))));
    assert_eq!(decode("0/admin"), Ok(packet("/admin", None, PacketContent::Connect(None))));
    assert_eq!(decode(&format!("0/admin,{auth}")), Ok(packet("/admin", None, PacketContent::Connect(Some(auth)))));
    assert_eq!(decode("1"), Ok(packet("/", None, PacketContent::Disconnect)));
    assert_eq!(decode("1/admin,"), Ok(packet("/admin", None, PacketContent::Disconnect)));
    let refusal = r#"{"message":"Not authorized"}"#;
    assert_eq!(decode(&format!("4{refusal}")), Ok(packet("/", None, PacketContent::ConnectError(refusal))));
    assert_eq!(decode("4\"no\""), Ok(packet("/", None, PacketContent::ConnectError("\"no\""))));
    for text in ["0[]", "0null", "0\"a\"", "01", "1{}", "1/admin,[]", "4"] {
        assert!(
            matches!(decode(text), Err(SocketIoError::Payload | SocketIoError::AckId)),
            "{text}: {:?}",
            decode(text)
        );
    }
}

#[test]
fn events() {
    assert_eq!(event(r#"2["foo"]"#), ("\"foo\"".to_owned(), vec![], None));
    assert_eq!(event(r#"2/admin,["bar"]"#).0, "\"bar\"");
    assert_eq!(event(r#"212["foo"]"#), ("\"foo\"".to_owned(), vec![], Some(12)));
    assert_eq!(event(r#"2/admin,456["project:delete",123]"#).1, ["123"]);
    let message = event(r#"2["message",1,"2",{"3":[true]}]"#);
    assert_eq!(message.1, ["1", "\"2\"", r#"{"3":[true]}"#]);
    assert_eq!(event("2[7,1]").0, "7");
    assert_eq!(event("2[-1.5e3]").0, "-1.5e3");
    for text in ["2", "2{}", "2[]", "2[null]", "2[true]", "2[[]]", "2[{}]", "2\"a\"", "2/admin,", "212"] {
        assert_eq!(decode(text), Err(SocketIoError::Payload), "{text}");
    }
    for text in [
        "2abc[\"a\"]",
        "2[\"a\"",
        "2[\"a\",]",
        "2[\"a\"]x",
        "2[\"a\" \"b\"]",
        "2[\"\n\"]",
        "2/admin[\"a\"]",
        "2-1[\"a\"]",
        "2,[\"a\"]",
    ] {
        assert!(
            matches!(decode(text), Err(SocketIoError::Json | SocketIoError::Payload)),
            "{text}: {:?}",
            decode(text)
        );
    }
}

#[test]
fn reserved_names_are_refused_however_they_are_spelled() {
    for name in RESERVED_EVENTS {
        assert_eq!(decode(&format!("2[\"{name}\",1]")), Err(SocketIoError::ReservedEvent), "{name}");
    }
    assert_eq!(decode(r#"2["connec\u0074"]"#), Err(SocketIoError::ReservedEvent));
    for name in ["connected", "Connect", "error", "", "connect\\n", "\\ud800"] {
        assert!(decode(&format!("2[\"{name}\"]")).is_ok(), "{name}");
    }
    assert_eq!(
        decode(r#"2["a\n"]"#).map(|packet| match packet.content {
            PacketContent::Event(event) => event.plain_name(),
            _ => Some("no event"),
        }),
        Ok(None)
    );
}

#[test]
fn acks() {
    let text = r#"3/admin,13["bar"]"#;
    let Ok(SocketIoPacket { namespace: "/admin", id: Some(13), content: PacketContent::Ack(arguments), .. }) =
        decode(text)
    else {
        panic!("{:?}", decode(text))
    };
    assert_eq!(arguments.text(), "\"bar\"");
    assert!(matches!(decode("313[]"), Ok(SocketIoPacket { content: PacketContent::Ack(_), .. })));
    assert!(decode("2007[\"a\"]").is_ok_and(|packet| packet.id == Some(7)));
    assert!(decode(&format!("3{ACK_ID_MAX}[]")).is_ok());
    for text in
        ["3[]", "3[1]", "39007199254740992[]", "299999999999999999999999999[\"a\"]", "05{}", "15", "05", "0/a,5"]
    {
        assert_eq!(decode(text), Err(SocketIoError::AckId), "{text}");
    }
    for text in ["31{}", "31", "31\"a\""] {
        assert_eq!(decode(text), Err(SocketIoError::Payload), "{text}");
    }
}

#[test]
fn kinds_and_namespaces() {
    for text in ["", "7", "a", "-", "é", "/admin,"] {
        assert_eq!(decode(text), Err(SocketIoError::Kind), "{text}");
    }
    assert!(decode(&format!("0/{},{{}}", "a".repeat(100_000))).is_ok_and(|packet| packet.namespace.len() == 100_001));
    assert_eq!(decode("0/a\u{1e}b,"), Err(SocketIoError::Namespace));
    // Only Socket.IO 2 puts a query there.
    assert_eq!(decode("0/admin?token=1,").map(|packet| (packet.namespace, packet.query)), Ok(("/admin?token=1", None)));
    let query = decode_as(Version::V3, "0/admin?token=1234&uid=abcd");
    assert_eq!(query.map(|packet| (packet.namespace, packet.query)), Ok(("/admin", Some("token=1234&uid=abcd"))));
    let long = format!("0/admin?token={},", "x".repeat(2_000));
    assert!(decode_as(Version::V3, &long).is_ok_and(|packet| packet.query.is_some_and(|query| query.len() == 2_006)));
}

#[test]
fn attachments_follow_their_packet() {
    let whole = gathered(r#"51-["baz",{"_placeholder":true,"num":0}]"#, &[&[1, 2, 3, 4]]);
    let packet = whole.packet().unwrap();
    let PacketContent::Event(event) = packet.content else { panic!("no event") };
    assert_eq!(event.plain_name(), Some("baz"));
    assert_eq!(event.arguments.text(), r#"{"_placeholder":true,"num":0}"#);
    assert_eq!(packet.attachments.iter().collect::<Vec<_>>(), [[1, 2, 3, 4]]);

    let whole =
        gathered(r#"52-/admin,["baz",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]"#, &[&[1, 2], &[]]);
    let packet = whole.packet().unwrap();
    assert_eq!((packet.namespace, packet.attachments.len()), ("/admin", 2));
    assert_eq!([0, 1, 2].map(|number| packet.attachments.get(number)), [Some(&[1, 2][..]), Some(&[][..]), None]);

    let whole = gathered(r#"61-15["bar",{"_placeholder":true,"num":0}]"#, &[&[7]]);
    assert!(matches!(whole.packet(), Ok(SocketIoPacket { id: Some(15), content: PacketContent::Ack(_), .. })));
    for none in ["50-[\"a\"]", "5-[\"a\"]", "500-[\"a\"]", "50-/admin,[\"a\"]", "60-1[]"] {
        assert_eq!(decode(none), Err(SocketIoError::AttachmentCount), "{none}");
    }
}

#[test]
fn attachments_have_bounds_and_an_order() {
    let limits = SocketIoLimits { packet_bytes: 30 };
    assert_eq!(decode("5[\"a\"]"), Err(SocketIoError::AttachmentCount));
    assert_eq!(decode("51[\"a\"]"), Err(SocketIoError::AttachmentCount));
    assert_eq!(decode("5-[\"a\"]"), Err(SocketIoError::AttachmentCount));
    assert_eq!(decode("5x-[\"a\"]"), Err(SocketIoError::AttachmentCount));
    assert_eq!(decode("511-[\"a\"]"), Err(SocketIoError::TooManyAttachments));
    assert_eq!(decode("599999999999999999999999-[\"a\"]"), Err(SocketIoError::TooManyAttachments));
    assert_eq!(decode("51-{}"), Err(SocketIoError::Payload));
    assert_eq!(decode("61-[]"), Err(SocketIoError::AckId));
    assert_eq!(decode(r#"51-["a",{"_placeholder":true,"num":1}]"#), Err(SocketIoError::Placeholder));
    assert_eq!(decode(r#"62-/a,3[[{"_placeholder":true}]]"#), Err(SocketIoError::Placeholder));
    let mut decoder = SocketIoDecoder::default();
    assert_eq!(decoder.binary(&[], &limits).map(|_| ()), Err(SocketIoError::AttachmentUnasked));
    assert_eq!(decoder.text(Version::V4, "510-[\"a\"]", &limits), Ok(None));
    assert_eq!(decoder.text(Version::V4, "2[\"a\"]", &limits), Err(SocketIoError::AttachmentAwaited));
    for _ in 0..9 {
        assert!(decoder.binary(&[0, 1], &limits).is_ok_and(|packet| packet.is_none()));
    }
    assert_eq!(decoder.binary(&[0; 4], &limits).map(|_| ()), Err(SocketIoError::TooLarge));
    assert_eq!(
        SocketIoDecoder::default().text(Version::V4, &format!("2[\"{}\"]", "a".repeat(30)), &limits),
        Err(SocketIoError::TooLarge)
    );
}

fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut out = Vec::new();
    write(&mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn packets_are_spelled_as_documented() {
    let main = PacketTarget::namespace(MAIN);
    let admin = PacketTarget::namespace("/admin");
    assert_eq!(
        written(|out| encode_accepted(out, "/", "wZX3oN0bSVIhsaknAAAI", None)),
        r#"40{"sid":"wZX3oN0bSVIhsaknAAAI"}"#
    );
    assert_eq!(written(|out| encode_accepted(out, "/admin", "S", Some("P"))), r#"40/admin,{"sid":"S","pid":"P"}"#);
    assert_eq!(written(|out| encode_joined(out, "/")), "40");
    assert_eq!(written(|out| encode_joined(out, "/admin")), "40/admin,");
    let invalid = written(|out| encode_refused(out, "/random", "Invalid namespace", None));
    assert_eq!(invalid, r#"44/random,{"message":"Invalid namespace"}"#);
    let refused = written(|out| encode_refused(out, "/", "Not authorized", Some(r#"{"code":"A"}"#)));
    assert_eq!(refused, r#"44{"message":"Not authorized","data":{"code":"A"}}"#);
    assert_eq!(written(|out| encode_refused_plainly(out, "/", "Not authorized")), r#"44"Not authorized""#);
    assert_eq!(written(|out| encode_disconnect(out, "/")), "41");
    assert_eq!(written(|out| encode_disconnect(out, "/admin")), "41/admin,");
    assert_eq!(written(|out| begin_event(out, &main, "foo").end()), r#"42["foo"]"#);
    let array = |out: &mut Vec<u8>| out.extend_from_slice(br#"["foo",1]"#);
    assert_eq!(written(|out| encode_event(out, &admin, array)), r#"42/admin,["foo",1]"#);
    assert_eq!(
        written(|out| begin_event(out, &admin, "bar").raw("1,2").string("\"").end()),
        r#"42/admin,["bar",1,2,"\""]"#
    );
    let asked = PacketTarget { id: Some(12), ..main };
    assert_eq!(written(|out| begin_event(out, &asked, "foo").end()), r#"4212["foo"]"#);
    assert_eq!(written(|out| begin_ack(out, &asked).end()), "4312[]");
    assert_eq!(
        written(|out| begin_ack(out, &PacketTarget { id: Some(13), ..admin }).raw("\"bar\"").end()),
        r#"43/admin,13["bar"]"#
    );
    let binary = PacketTarget { attachments: 2, ..admin };
    let text = written(|out| begin_event(out, &binary, "baz").placeholder(0).placeholder(1).end());
    assert_eq!(text, r#"452-/admin,["baz",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]"#);
    let text = written(|out| {
        begin_ack(out, &PacketTarget { id: Some(15), attachments: 1, ..main }).raw("").placeholder(0).end()
    });
    assert_eq!(text, r#"461-15[{"_placeholder":true,"num":0}]"#);
}

fn any_json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        ".{0,10}".prop_map(Into::into),
        r#"[\[\]{},\\":]{0,8}"#.prop_map(Into::into),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
            prop::collection::btree_map("[a-c\"]{0,2}", inner, 0..4)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        namespace in prop_oneof![Just(MAIN.to_owned()), "/[a-z0-9/?-]{0,12}"],
        id in prop::option::of(0..=ACK_ID_MAX),
        is_ack in any::<bool>(),
        name in ".{0,10}",
        values in prop::collection::vec(any_json(), 0..5),
        attachments in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 0..=ATTACHMENTS_MAX),
        is_pretty in any::<bool>(),
    ) {
        prop_assume!(!RESERVED_EVENTS.contains(&name.as_str()));
        let is_ack = is_ack && id.is_some();
        let target = PacketTarget { namespace: &namespace, id, attachments: attachments.len() };
        let texts: Vec<String> = values.iter().map(|value| if is_pretty {
            serde_json::to_string_pretty(value).unwrap()
        } else {
            value.to_string()
        }).collect();
        let text = written(|out| {
            let mut writer = if is_ack { begin_ack(out, &target) } else { begin_event(out, &target, &name) };
            texts.iter().for_each(|text| { writer.raw(text); });
            writer.end();
        });
        let mut decoder = SocketIoDecoder::default();
        let first = decoder.text(Version::V4, &text[1..], &SocketIoLimits::default()).unwrap();
        let mut whole = None;
        for bytes in &attachments {
            prop_assert!(whole.is_none());
            whole = decoder.binary(bytes, &SocketIoLimits::default()).unwrap();
        }
        prop_assert!(decoder.is_idle());
        let packet = first.or_else(|| whole.as_deref().map(|whole| whole.packet().unwrap())).unwrap();
        prop_assert_eq!((packet.namespace, packet.id), (namespace.as_str(), id));
        prop_assert!(packet.attachments.iter().eq(attachments.iter().map(Vec::as_slice)));
        let arguments = match packet.content {
            PacketContent::Ack(arguments) => arguments,
            PacketContent::Event(event) => {
                prop_assert_eq!(serde_json::from_str::<String>(event.name).unwrap(), name);
                event.arguments
            }
            _ => panic!("neither event nor ack"),
        };
        prop_assert_eq!(arguments.text(), texts.join(","));
        prop_assert_eq!(arguments.collect::<Vec<_>>(), texts);
    }

    #[test]
    fn arbitrary_texts_never_panic(text in ".{0,60}", near in r#"[0-6][0-9]{0,2}-?(/[a-z]{0,3},)?[0-9]{0,3}[\[{"a,0\\}\]]{0,12}"#) {
        for text in [text, near] {
            for version in [Version::V3, Version::V4] {
                let mut decoder = SocketIoDecoder::default();
                if let Ok(Some(packet)) = decoder.text(version, &text, &SocketIoLimits::default()) {
                    let again = format!("{packet:?}");
                    prop_assert!(!again.is_empty());
                }
            }
        }
    }

    #[test]
    fn no_prefix_of_a_packet_reads_as_a_longer_one(values in prop::collection::vec(any_json(), 0..4)) {
        let text = written(|out| {
            let mut writer = begin_event(out, &PacketTarget::namespace("/chat"), "name");
            values.iter().for_each(|value| { writer.raw(&value.to_string()); });
            writer.end();
        });
        for (end, _) in text.char_indices().skip(1) {
            prop_assert!(decode(&text[1..end]).is_err());
        }
    }
}
