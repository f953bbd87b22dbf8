//! Connections to namespaces, step by step, and what is out of place.

use super::*;
use crate::codec::socketio::{PacketTarget, begin_ack};

const SPACES: [&str; 3] = ["/", "/chat", "/custom"];
const MAIN_SPACE: NamespaceIndex = 0;
const CHAT: NamespaceIndex = 1;

const LIMITS: SocketIoLimits = SocketIoLimits { packet_bytes: 1_000 };

fn namespaces(version: Version) -> Namespaces {
    Namespaces::new(version, 1_000, 45_000)
}

/// Connected to `/` as peer 7.
fn connected() -> Namespaces {
    let mut namespaces = namespaces(Version::V4);
    assert!(matches!(hear(&mut namespaces, "0"), Ok(NamespaceEvent::Connect { space: MAIN_SPACE, payload: None, .. })));
    assert!(namespaces.accept(MAIN_SPACE, 7));
    namespaces
}

fn hear<'m>(namespaces: &mut Namespaces, text: &'m str) -> Result<NamespaceEvent<'m>, NamespaceFault> {
    namespaces.message(&SPACES, PacketData::Text(text), &LIMITS, Box::leak(Box::default()))
}

fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut out = Vec::new();
    write(&mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn an_idle_client_is_small() {
    assert!(size_of::<Namespace>() <= 24, "{} bytes", size_of::<Namespace>());
    assert!(size_of::<Namespaces>() <= 48, "{} bytes", size_of::<Namespaces>());
}

#[test]
fn a_client_connects_and_is_told_so() {
    let mut namespaces = namespaces(Version::V4);
    assert_eq!(namespaces.open(&SPACES), NamespaceEvent::Nothing);
    assert_eq!(namespaces.connect_by(), Some(46_000));
    let payload = Some(r#"{"token":"123"}"#);
    let heard = hear(&mut namespaces, r#"0/chat,{"token":"123"}"#);
    assert_eq!(heard, Ok(NamespaceEvent::Connect { space: CHAT, payload, query: None }));
    assert_eq!((namespaces.connect_by(), namespaces.peers().count()), (Some(46_000), 0));
    assert!(namespaces.accept(CHAT, 3));
    assert_eq!((namespaces.connect_by(), namespaces.peers().collect::<Vec<_>>()), (None, vec![(CHAT, 3)]));
    let told = written(|out| namespaces.encode_accepted(out, "/chat", "S", Some("P")));
    assert_eq!(told, r#"40/chat,{"sid":"S","pid":"P"}"#);
    // Once.
    assert!(!namespaces.accept(CHAT, 4) && !namespaces.refuse(CHAT));
    assert_eq!(hear(&mut namespaces, "0/chat,"), Ok(NamespaceEvent::Nothing));
    assert_eq!(namespaces.peers().count(), 1);
}

#[test]
fn a_client_is_refused_and_may_try_again() {
    let mut namespaces = namespaces(Version::V4);
    let unknown = hear(&mut namespaces, "0/random");
    assert_eq!(unknown, Ok(NamespaceEvent::Unknown { namespace: "/random" }));
    let told = written(|out| namespaces.encode_refused(out, "/random", INVALID_NAMESPACE, None));
    assert_eq!(told, r#"44/random,{"message":"Invalid namespace"}"#);
    for _ in 0..2 {
        assert!(matches!(hear(&mut namespaces, "0"), Ok(NamespaceEvent::Connect { .. })));
        assert!(namespaces.refuse(MAIN_SPACE));
    }
    assert!(!namespaces.refuse(MAIN_SPACE) && !namespaces.accept(MAIN_SPACE, 1));
    assert_eq!(namespaces.connect_by(), Some(46_000));
}

#[test]
fn an_older_client_is_connected_by_opening() {
    let mut namespaces = namespaces(Version::V3);
    assert!(matches!(
        namespaces.open(&SPACES),
        NamespaceEvent::Connect { space: MAIN_SPACE, payload: None, query: None }
    ));
    assert!(namespaces.accept(MAIN_SPACE, 1));
    assert_eq!(written(|out| namespaces.encode_accepted(out, "/", "S", Some("P"))), "40");
    let heard = hear(&mut namespaces, "0/chat?token=x");
    assert_eq!(heard, Ok(NamespaceEvent::Connect { space: CHAT, payload: None, query: Some("token=x") }));
    assert!(namespaces.refuse(CHAT));
    assert_eq!(written(|out| namespaces.encode_refused(out, "/chat", "no", Some("1"))), r#"44/chat,"no""#);
    assert!(matches!(hear(&mut namespaces, "2/?x,[\"a\"]"), Ok(NamespaceEvent::Event { space: MAIN_SPACE, .. })));
}

#[test]
fn events_and_their_acks() {
    let mut namespaces = connected();
    let Ok(NamespaceEvent::Event { space: MAIN_SPACE, peer: 7, event, id: Some(456), attachments }) =
        hear(&mut namespaces, r#"2456["message-with-ack",1,"2",{"3":[false]}]"#)
    else {
        panic!("no event")
    };
    assert_eq!((event.plain_name(), attachments.len()), (Some("message-with-ack"), 0));
    let target = PacketTarget { id: Some(456), ..PacketTarget::namespace("/") };
    let answer = written(|out| begin_ack(out, &target).raw(event.arguments.text()).end());
    assert_eq!(answer, r#"43456[1,"2",{"3":[false]}]"#);
    assert_eq!(
        (namespaces.ask(MAIN_SPACE), namespaces.ask(MAIN_SPACE), namespaces.ask(CHAT)),
        (Some(0), Some(1), None)
    );
    let Ok(NamespaceEvent::Acked { peer: 7, id: 1, arguments, .. }) = hear(&mut namespaces, r#"31["yes"]"#) else {
        panic!("no ack")
    };
    assert_eq!(arguments.text(), r#""yes""#);
    // Twice, or never asked for.
    assert_eq!(hear(&mut namespaces, "31[]"), Ok(NamespaceEvent::Nothing));
    assert_eq!(hear(&mut namespaces, "399[]"), Ok(NamespaceEvent::Nothing));
}

#[test]
fn attachments_are_gathered() {
    let mut namespaces = connected();
    let text = r#"52-789["message-with-ack",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]"#;
    assert_eq!(hear(&mut namespaces, text), Ok(NamespaceEvent::Nothing));
    let [mut first, mut second, mut third] = Default::default();
    let binary = namespaces.message(&SPACES, PacketData::Binary(&[1, 2, 3]), &LIMITS, &mut first);
    assert_eq!(binary, Ok(NamespaceEvent::Nothing));
    let binary = namespaces.message(&SPACES, PacketData::Binary(&[4, 5, 6]), &LIMITS, &mut second);
    let Ok(NamespaceEvent::Event { id: Some(789), attachments, .. }) = binary else { panic!("no event") };
    assert_eq!(attachments.iter().collect::<Vec<_>>(), [[1, 2, 3], [4, 5, 6]]);
    let binary = namespaces.message(&SPACES, PacketData::Binary(&[]), &LIMITS, &mut third);
    assert_eq!(binary, Err(NamespaceFault::Packet(SocketIoError::AttachmentUnasked)));
    // A namespace may be left while an attachment is on its way.
    assert_eq!(hear(&mut namespaces, r#"51-["a",{"_placeholder":true,"num":0}]"#), Ok(NamespaceEvent::Nothing));
    assert_eq!(hear(&mut namespaces, "1"), Err(NamespaceFault::Packet(SocketIoError::AttachmentAwaited)));
}

#[test]
fn namespaces_are_left_one_by_one() {
    let mut namespaces = connected();
    hear(&mut namespaces, "0/custom").unwrap();
    assert!(namespaces.accept(2, 8));
    assert_eq!(hear(&mut namespaces, "1/custom"), Ok(NamespaceEvent::Left { space: 2, peer: Some(8) }));
    assert!(matches!(hear(&mut namespaces, r#"2["message"]"#), Ok(NamespaceEvent::Event { peer: 7, .. })));
    assert_eq!(hear(&mut namespaces, "1"), Ok(NamespaceEvent::Left { space: MAIN_SPACE, peer: Some(7) }));
    // The session goes on without any, as it once had one.
    assert_eq!((namespaces.connect_by(), namespaces.peers().count()), (None, 0));
    hear(&mut namespaces, "0").unwrap();
    assert!(namespaces.accept(MAIN_SPACE, 9));
    assert_eq!((namespaces.leave(MAIN_SPACE), namespaces.leave(MAIN_SPACE)), (Some(9), None));
    // Before it is decided whether it may come in at all.
    hear(&mut namespaces, "0").unwrap();
    assert_eq!(hear(&mut namespaces, "1"), Ok(NamespaceEvent::Left { space: MAIN_SPACE, peer: None }));
    assert!(!namespaces.accept(MAIN_SPACE, 9));
}

#[test]
fn what_is_out_of_place_is_a_fault() {
    for text in [r#"2["a"]"#, "31[]", "1", "4{}", r#"2/chat,["a"]"#, r#"2/random,["a"]"#] {
        assert_eq!(hear(&mut namespaces(Version::V4), text), Err(NamespaceFault::NotConnected), "{text}");
    }
    for text in [r#"2/chat,["a"]"#, "1/chat", "1/random"] {
        assert_eq!(hear(&mut connected(), text), Err(NamespaceFault::NotConnected), "{text}");
    }
    // Not before the answer to its CONNECT.
    let mut early = namespaces(Version::V4);
    hear(&mut early, "0").unwrap();
    assert_eq!(hear(&mut early, r#"2["a"]"#), Err(NamespaceFault::NotConnected));
    assert_eq!(hear(&mut early, "0"), Ok(NamespaceEvent::Nothing));
    assert!(early.accept(MAIN_SPACE, 1) && !early.accept(MAIN_SPACE, 1));
    assert_eq!(hear(&mut connected(), r#"4{"message":"m"}"#), Err(NamespaceFault::Misplaced));
    for text in ["abc", "2{}", "2abc[\"a\"]"] {
        assert!(matches!(hear(&mut connected(), text), Err(NamespaceFault::Packet(_))), "{text}");
    }
}
