//! Clients whose lane is a WebSocket.

use super::play::{Lines, Step, agree};
use crate::client::{Client, Dialect, Effects, Reason, Settings};

const RAW_REQUEST: &str = "write 0 GET /ws?events=all&token=t HTTP/1.1\\r\\nHost: h:1\\r\\nUpgrade: websocket\\r\\n\
    Connection: Upgrade\\r\\nSec-WebSocket-Version: 13\\r\\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\\r\\n\\r\\n";
const SOCKETIO_REQUEST: &str = "write 0 GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\\r\\nHost: h:1\\r\\n\
    Upgrade: websocket\\r\\nConnection: Upgrade\\r\\nSec-WebSocket-Version: 13\\r\\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\\r\\n\\r\\n";
const SWITCHING: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
const OPEN: &str = r#"0{"sid":"s","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}"#;

fn settings(dialect: Dialect) -> Settings {
    Settings { dialect, host: "h:1".to_owned(), ..Settings::default() }
}

/// A server's frame.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let header = match payload.len() {
        length @ ..=125 => vec![first, length as u8],
        length => [&[first, 126][..], &(length as u16).to_be_bytes()].concat(),
    };
    [header, payload.to_vec()].concat()
}

fn texts(texts: &[&str]) -> Vec<u8> {
    texts.iter().flat_map(|text| frame(0x81, text.as_bytes())).collect()
}

/// The answer to the upgrade, and then these frames, in one read.
fn upgraded(frames: &[&[u8]]) -> Step {
    Step::Received(0, [&[SWITCHING], frames].concat().concat())
}

#[test]
fn raw_frames_are_heard_and_pings_answered() {
    let long = "x".repeat(300);
    let frames = [
        &texts(&["{}", &long])[..],
        &frame(0x01, b"ab"),
        &frame(0x89, b"hi"),
        &frame(0x00, b""),
        &frame(0x80, b"cd"),
        &frame(0x82, b"ef"),
        &frame(0x8A, b""),
    ];
    let steps = [
        Step::Send("too early"),
        Step::Connected(0),
        Step::Send("too early"),
        upgraded(&frames),
        Step::Send("{\"a\":1}"),
        Step::Received(0, frame(0x88, b"\x03\xE8bye")),
        Step::Send("too late"),
        Step::Received(0, frame(0x81, b"too late")),
        Step::Ended(0),
    ];
    let long = format!("message {long}");
    let expected = [
        "open 0",
        RAW_REQUEST,
        "opened",
        "message {}",
        &long,
        "write 0 \\x8a\\x82\\x00\\x00\\x00\\x00hi",
        "message abcd",
        "message ef",
        "write 0 \\x81\\x87\\x00\\x00\\x00\\x00{\\\"a\\\":1}",
        "write 0 \\x88\\x82\\x00\\x00\\x00\\x00\\x03\\xe8",
        "close 0",
        "closed",
    ];
    agree(&settings(Dialect::Raw), &steps, &expected, Some(Reason::Left));
}

#[test]
fn who_leaves_waits_for_the_end_of_the_stream() {
    let goodbye = "write 0 \\x88\\x82\\x00\\x00\\x00\\x00\\x03\\xe8";
    let steps = [
        Step::Connected(0),
        upgraded(&[&texts(&["{}"])]),
        Step::Leave,
        Step::Leave,
        Step::Send("too late"),
        Step::Received(0, [texts(&["too late"]), frame(0x88, b"\x03\xE8")].concat()),
        Step::Ended(0),
    ];
    let expected = ["open 0", RAW_REQUEST, "opened", "message {}", goodbye, "closed"];
    agree(&settings(Dialect::Raw), &steps, &expected, Some(Reason::Gone));
    let steps = [Step::Connected(0), Step::Leave, Step::Received(0, SWITCHING.to_vec())];
    let expected = ["open 0", RAW_REQUEST, "close 0", "closed"];
    agree(&settings(Dialect::Raw), &steps, &expected, Some(Reason::Gone));
}

#[test]
fn echo_goes_to_any_path() {
    let settings = Settings {
        path: Some("/echo/{number}?t={token}".to_owned()),
        subprotocol: Some("a, {token}".to_owned()),
        ..settings(Dialect::Echo)
    };
    let request = RAW_REQUEST.replace("/ws?events=all&token=t", "/echo/7?t=t");
    let request = request.replace("==\\r\\n\\r\\n", "==\\r\\nSec-WebSocket-Protocol: a, t\\r\\n\\r\\n");
    let steps =
        [Step::Connected(0), upgraded(&[]), Step::Send("hi"), Step::Received(0, texts(&["hi"])), Step::Ended(0)];
    let expected = ["open 0", &request, "opened", "write 0 \\x81\\x82\\x00\\x00\\x00\\x00hi", "message hi", "closed"];
    agree(&settings, &steps, &expected, Some(Reason::Ended));
}

#[test]
fn socketio_connects_to_its_namespace_and_hears_events_and_acks() {
    let events = [
        &texts(&[r#"42/chat,["a",1]"#, "2", r#"42/chat,12["b"]"#, r#"43/chat,7["c"]"#, "6", r#"42/other,["d"]"#])[..],
        &texts(&[r#"452-/chat,["e",{"_placeholder":true,"num":0}]"#]),
        &frame(0x82, &[1, 2]),
        &frame(0x82, &[3]),
        &texts(&[r#"461-/chat,15["f"]"#, r#"42["g"]"#, "41/other,"]),
    ];
    let steps = [
        Step::Connected(0),
        upgraded(&[&texts(&[OPEN])]),
        Step::Send("too early"),
        Step::Received(0, texts(&["40/other,{}", r#"40/chat,{"sid":"x"}"#])),
        Step::Send(r#"["join","r"]"#),
        Step::Send(r#"7["ask"]"#),
        Step::Received(0, events.concat()),
        Step::Received(0, texts(&["41/chat,"])),
    ];
    let expected = [
        "open 0",
        SOCKETIO_REQUEST,
        "write 0 \\x81\\x95\\x00\\x00\\x00\\x0040/chat,{\\\"token\\\":\\\"t\\\"}",
        "opened",
        "write 0 \\x81\\x94\\x00\\x00\\x00\\x0042/chat,[\\\"join\\\",\\\"r\\\"]",
        "write 0 \\x81\\x90\\x00\\x00\\x00\\x0042/chat,7[\\\"ask\\\"]",
        "message [\\\"a\\\",1]",
        "write 0 \\x81\\x81\\x00\\x00\\x00\\x003",
        "message [\\\"b\\\"]",
        "message [\\\"c\\\"]",
        "message [\\\"e\\\",{\\\"_placeholder\\\":true,\\\"num\\\":0}]",
        "message [\\\"f\\\"]",
        "close 0",
        "closed",
    ];
    agree(&settings(Dialect::SocketIo), &steps, &expected, Some(Reason::Left));
}

#[test]
fn the_main_namespace_has_no_name_on_the_wire() {
    let settings = Settings {
        namespace: "/".to_owned(),
        auth: Some(r#"{"n":{number}}"#.to_owned()),
        ..settings(Dialect::SocketIo)
    };
    let steps = [
        Step::Connected(0),
        upgraded(&[&texts(&[OPEN])]),
        Step::Received(0, texts(&[r#"40{"sid":"x"}"#, r#"42["a"]"#, r#"42/chat,["b"]"#, r#"423["c"]"#])),
        Step::Send(r#"["d"]"#),
        Step::Received(0, texts(&["1"])),
    ];
    let expected = [
        "open 0",
        SOCKETIO_REQUEST,
        "write 0 \\x81\\x89\\x00\\x00\\x00\\x0040{\\\"n\\\":7}",
        "opened",
        "message [\\\"a\\\"]",
        "message [\\\"c\\\"]",
        "write 0 \\x81\\x87\\x00\\x00\\x00\\x0042[\\\"d\\\"]",
        "close 0",
        "closed",
    ];
    agree(&settings, &steps, &expected, Some(Reason::Left));
}

#[test]
fn a_refused_namespace_closes_with_the_servers_words() {
    let steps = [
        Step::Connected(0),
        upgraded(&[&texts(&[OPEN])]),
        Step::Received(0, texts(&[r#"44/chat,{"message":"not you"}"#])),
    ];
    let expected = [
        "open 0",
        SOCKETIO_REQUEST,
        "write 0 \\x81\\x95\\x00\\x00\\x00\\x0040/chat,{\\\"token\\\":\\\"t\\\"}",
        "close 0",
        "closed",
    ];
    let reason = Reason::Refused(r#"{"message":"not you"}"#.into());
    agree(&settings(Dialect::SocketIo), &steps, &expected, Some(reason));
}

/// Plays up to where `bytes` come, which close the client; for what.
fn closes(dialect: Dialect, bytes: &[u8]) -> Reason {
    let mut client = Client::new(&settings(dialect), 0, None);
    let mut lines = Lines::default();
    client.start(&mut lines);
    client.connected(0, &mut lines);
    for byte in bytes.chunks(1) {
        client.received(0, byte, &mut lines);
    }
    assert!(lines.0.ends_with(&["close 0".to_owned(), "closed".to_owned()]), "{:?}", bytes.escape_ascii().to_string());
    client.reason().expect("it is closed").clone()
}

#[test]
fn an_upgrade_that_is_none_closes() {
    assert_eq!(closes(Dialect::Raw, b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n"), Reason::Status(401));
    for bytes in [&b"HTTP/1.1 101 X\r\n\r\n"[..], b"HTTP/1.1 101 X\r\nSec-WebSocket-Accept: x\r\n\r\n", &[0; 20_000]] {
        assert!(matches!(closes(Dialect::Raw, bytes), Reason::Fault(_)));
    }
    let early = {
        let (mut client, mut lines) = (Client::new(&settings(Dialect::Raw), 0, None), Lines::default());
        client.start(&mut lines);
        client.received(0, SWITCHING, &mut lines);
        lines.0
    };
    assert_eq!(early, ["open 0", "close 0", "closed"]);
}

#[test]
fn frames_that_break_the_protocol_close() {
    for frames in [
        &[&frame(0xC1, b"compressed")[..]][..],
        &[&frame(0x80, b"continues nothing")],
        &[&frame(0x01, b"a"), &frame(0x81, b"not a continuation")],
        &[&[0x81, 0x81, 0, 0, 0, 0, b'a']],
        &[&[0x82, 127, 0, 0, 0, 1, 0, 0, 0, 0]],
        &[&frame(0x09, b"")],
    ] {
        let bytes = [&[SWITCHING], frames].concat().concat();
        assert!(matches!(closes(Dialect::Raw, &bytes), Reason::Fault(_)));
    }
}

#[test]
fn packets_that_break_the_protocol_close() {
    for packets in [
        &["40/chat,{}"][..],
        &["2"],
        &["0{}"],
        &["0[1"],
        &[OPEN, OPEN],
        &[OPEN, ""],
        &[OPEN, "x"],
        &[OPEN, "4"],
        &[OPEN, "49/chat,"],
        &[OPEN, "42/chat,{}"],
        &[OPEN, "42/chat,"],
        &[OPEN, "45/chat,[]"],
        &[OPEN, "40/chat,{}", "40/chat,{}"],
    ] {
        let bytes = [SWITCHING, &texts(packets)].concat();
        assert!(matches!(closes(Dialect::SocketIo, &bytes), Reason::Fault(_)), "{packets:?}");
    }
}

/// The frames of a message that is fragmented may together not be larger than one may be.
#[test]
fn fragments_are_bounded() {
    let (mut client, mut lines) = (Client::new(&settings(Dialect::Raw), 0, None), Lines::default());
    client.connected(0, &mut lines);
    client.received(0, SWITCHING, &mut lines);
    let payload = vec![b'x'; 1 << 20];
    let head = |first| [&[first, 127][..], &(payload.len() as u64).to_be_bytes()].concat();
    client.received(0, &[&head(0x01), &payload[..]].concat(), &mut lines);
    for _ in 0..15 {
        client.received(0, &[&head(0x00), &payload[..]].concat(), &mut lines);
        assert_eq!(client.reason(), None);
    }
    client.received(0, &frame(0x00, b"x"), &mut lines);
    assert_eq!(client.reason(), Some(&Reason::Fault("a message is too large")));
}

/// Takes down where messages lie.
#[derive(Default)]
struct Places(Vec<(*const u8, usize)>);

impl Effects for Places {
    fn open(&mut self, _: u8) {}
    fn write(&mut self, _: u8, _: &[u8]) {}
    fn close(&mut self, _: u8) {}
    fn opened(&mut self) {}
    fn message(&mut self, text: &[u8]) {
        self.0.push((text.as_ptr(), text.len()));
    }
    fn closed(&mut self) {}
}

#[test]
fn messages_are_heard_where_they_lie_but_for_one_that_was_cut() {
    for (dialect, before, event) in
        [(Dialect::Raw, vec![], "[1]"), (Dialect::SocketIo, texts(&[OPEN, "40/chat,{}"]), "42/chat,[1]")]
    {
        let (mut client, mut places) = (Client::new(&settings(dialect), 0, None), Places::default());
        client.connected(0, &mut places);
        client.received(0, &[SWITCHING, &before].concat(), &mut places);
        let bytes = texts(&[event; 10]);
        let length = bytes.len() / 10;
        let (first, second) = bytes.split_at(length * 5 + 4);
        client.received(0, first, &mut places);
        client.received(0, second, &mut places);
        assert_eq!(places.0.len(), 10);
        for (number, place) in places.0.iter().enumerate() {
            let end = bytes.as_ptr_range().start.wrapping_add(length * (number + 1));
            let lies_there = *place == (end.wrapping_sub(3), 3);
            assert_eq!(lies_there, number != 5, "message {number}");
        }
    }
}
