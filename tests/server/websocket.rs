//! WebSocket by its bytes: input may be split anywhere, bodies are relayed unchanged, heartbeats detect dead clients,
//! and connections close as RFC 6455 requires.

use std::time::{Duration, Instant};

use aws_lc_rs::hmac;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use support::client::Client;
use support::server::{Server, token};
use support::tcp_client::{CLOSE, TEXT, TcpClient, frame, upgrade_request};

const PING: u8 = 9;
const PONG: u8 = 10;
const CONTINUATION: u8 = 0;

fn start(more: &[&str]) -> Server {
    let common = ["--set", "presence.scope=none", "--set", "rooms.create_on_join=always"];
    Server::start(&[&common, more].concat())
}

fn alice() -> String {
    token("alice", &json!({}))
}

/// A frame that others of the same message follow.
fn unfinished(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = frame(opcode, payload);
    bytes[0] &= 0x7F;
    bytes
}

/// A frame as a server sends it, to compare.
fn text_of(frame: &(u8, Vec<u8>)) -> String {
    String::from_utf8_lossy(&frame.1).into_owned()
}

/// What a text frame says, without what is different each time.
fn plain(frame: (u8, Vec<u8>)) -> (u8, Value) {
    let (opcode, payload) = frame;
    if opcode != TEXT {
        return (opcode, json!(payload));
    }
    let mut message: Value = serde_json::from_slice(&payload).expect("it is JSON");
    for field in ["connectionId", "recoveryToken", "timestamp", "epoch", "id"] {
        if let Some(value) = message.get_mut(field) {
            *value = Value::Null;
        }
    }
    (opcode, message)
}

#[test]
fn input_split_anywhere_gives_the_same_replies() {
    let server = start(&[]);
    let join = br#"{"type":"join-room","roomId":"r","peerId":"p\u00e9"}"#;
    let long = format!(r#"{{"type":"message","roomId":"r","toPeerId":"pé","content":"{}"}}"#, "ü".repeat(5_000));
    let (head, tail) = join.split_at(20);
    let (middle, tail) = tail.split_at(13);
    let bytes = [
        upgrade_request(&alice()).into_bytes(),
        // One message in four frames, with control frames between them.
        unfinished(TEXT, head),
        frame(PING, b"in between"),
        unfinished(CONTINUATION, middle),
        frame(PONG, b"unasked"),
        frame(PING, b""),
        unfinished(CONTINUATION, b""),
        frame(CONTINUATION, tail),
        frame(TEXT, long.as_bytes()),
        frame(TEXT, b"nonsense"),
        frame(TEXT, br#"{"type":"leave-room","roomId":"r","requestId":1}"#),
    ]
    .concat();
    let answers = |piece: usize| {
        let mut wire = TcpClient::connect(&server.address);
        for bytes in bytes.chunks(piece) {
            wire.send(bytes);
        }
        assert!(wire.http_head().starts_with("HTTP/1.1 101 "));
        let mut frames = Vec::new();
        while !frames.iter().any(|(_, message): &(u8, Value)| message["type"] == "room-left") {
            frames.push(plain(wire.next_frame().expect("the connection lasts")));
        }
        wire.send(&frame(CLOSE, &[3, 0xE8]));
        while let Some(frame) = wire.next_frame() {
            frames.push(plain(frame));
        }
        // What another thread answers may come before or after what this connection's own does.
        frames.sort_by_key(|(opcode, message)| (*opcode, message.to_string()));
        frames
    };
    let whole = answers(bytes.len());
    let opcodes: Vec<u8> = whole.iter().map(|(opcode, _)| *opcode).collect();
    assert_eq!(opcodes.iter().filter(|opcode| **opcode == PONG).count(), 2, "{whole:?}");
    for kind in ["connect", "room-joined", "message", "message-sent", "error", "room-left"] {
        assert!(whole.iter().any(|(_, message)| message["type"] == kind), "{kind}: {whole:?}");
    }
    for piece in [1, 2, 3, 7, 64] {
        assert_eq!(answers(piece), whole, "in pieces of {piece}");
    }
}

#[test]
fn bodies_are_relayed_byte_for_byte() {
    let server = start(&["--shards", "2"]);
    let mut bob = TcpClient::connect(&server.address).upgrade(&token("bob", &json!({})));
    bob.send_text(r#"{"type":"join-room","roomId":"r","peerId":"b"}"#);
    assert_eq!(bob.next_json().expect("a greeting")["type"], "connect");
    assert_eq!(bob.next_json().expect("an answer")["type"], "room-joined");
    let mut alice = Client::connect(&server.address, Some(&alice()));
    alice.join("r", "a");
    assert_eq!(bob.next_json().expect("news")["type"], "peer-joined");
    // Spaces, order, repeated names, numbers no double holds, escapes.
    let body = "{ \"sdp\" :\"v=0\\r\\n\\u0041/\\/é\",\t\"type\":1,\"type\":12345678901234567890.10, \"x\":[ 1 ,2]}";
    for (kind, field) in [("offer", "offer"), ("answer", "answer"), ("ice-candidate", "candidate")] {
        alice.send_text(&format!(
            r#"{{"type":"{kind}","roomId":"r","fromPeerId":"a","toPeerId":"b","{field}":{body}}}"#
        ));
        let text = text_of(&bob.next_frame().expect("it comes"));
        assert!(
            text.starts_with(&format!(r#"{{"type":"{kind}","roomId":"r","fromPeerId":"a","toPeerId":"b","#)),
            "{text}"
        );
        assert!(text.contains(&format!("\"{field}\":{body}")), "{text}");
    }
    let content = r#""\u0041\/ \ud83d\ude00""#;
    alice.send_text(&format!(r#"{{"type":"message","roomId":"r","content":{content},"metadata":{body}}}"#));
    let text = text_of(&bob.next_frame().expect("it comes"));
    assert!(
        text.contains(&format!("\"content\":{content}")) && text.contains(&format!("\"metadata\":{body}")),
        "{text}"
    );
}

#[test]
fn ping_is_answered_with_its_payload() {
    let server = start(&[]);
    let mut wire = TcpClient::connect(&server.address).upgrade(&alice());
    assert_eq!(wire.next_json().expect("a greeting")["type"], "connect");
    for payload in [&b""[..], b"x", &[0xFF; 125]] {
        wire.send(&frame(PING, payload));
        assert_eq!(wire.next_frame(), Some((PONG, payload.to_vec())));
    }
}

#[test]
fn silent_client_is_closed() {
    let server = start(&["--set", "heartbeat.interval_ms=100", "--set", "heartbeat.timeout_ms=600"]);
    let mut watcher = Client::connect(&server.address, Some(&token("watcher", &json!({}))));
    assert_eq!(watcher.hello["heartbeatMs"], 100);
    watcher.join("r", "w");
    // It answers its pings while it waits.
    let watching = std::thread::spawn(move || watcher.wait_for("peer-left"));
    let begun = Instant::now();
    let mut silent = TcpClient::connect(&server.address).upgrade(&alice());
    silent.send_text(r#"{"type":"join-room","roomId":"r","peerId":"a"}"#);
    let mut pings = 0;
    let mut told = Value::Null;
    let close = loop {
        match silent.next_frame().expect("a close frame comes first") {
            (PING, payload) => {
                assert_eq!(payload, b"");
                pings += 1;
            }
            (CLOSE, payload) => break payload,
            (_, payload) => told = serde_json::from_slice(&payload).expect("it is JSON"),
        }
    };
    // One interval and one timeout, but for the timers' grain.
    assert!(begun.elapsed() >= Duration::from_millis(670), "{:?}", begun.elapsed());
    assert!(pings >= 1);
    assert_eq!((&told["type"], &told["reason"]), (&json!("disconnect"), &json!("heartbeat-timeout")));
    assert_eq!(close, [&4408_u16.to_be_bytes()[..], b"heartbeat-timeout"].concat());
    assert_eq!(watching.join().expect("the others hear of it")["peerId"], "a");
}

#[test]
fn any_frame_resets_the_timeout_and_pings_keep_their_interval() {
    let server = start(&["--set", "heartbeat.interval_ms=50", "--set", "heartbeat.timeout_ms=1000"]);
    let answers: [fn(&mut TcpClient); 3] = [
        |wire| wire.send(&frame(PONG, b"")),
        |wire| wire.send(&frame(PING, b"")),
        |wire| wire.send_text("not even JSON"),
    ];
    let mut clients = answers.map(|answer| (TcpClient::connect(&server.address).upgrade(&alice()), answer));
    let (begun, mut rounds) = (Instant::now(), 0);
    // Longer than a silent client is given, and for so many pings that a busy machine does not matter.
    while begun.elapsed() < Duration::from_millis(1_500) || rounds < 20 {
        for (wire, answer) in &mut clients {
            loop {
                match wire.next_frame().expect("the connection lasts") {
                    (PING, _) => break,
                    (CLOSE, payload) => panic!("closed: {payload:?}"),
                    _ => {}
                }
            }
            answer(wire);
        }
        rounds += 1;
    }
    // At their interval 20 rounds take a second; had each waited for the timeout, they took 20.
    assert!(begun.elapsed() < Duration::from_secs(1) * rounds, "{rounds} rounds in {:?}", begun.elapsed());
}

#[test]
fn close_frame_is_echoed_and_the_stream_ends() {
    let server = start(&[]);
    let table: [(&[u8], &[u8]); 4] =
        [(b"", b""), (&[3, 0xE8], &[3, 0xE8]), (b"\x03\xE9going away", &[3, 0xE9]), (b"\x0F\xA0", &[0x0F, 0xA0])];
    for (sent, echoed) in table {
        let mut wire = TcpClient::connect(&server.address).upgrade(&alice());
        assert_eq!(wire.next_json().expect("a greeting")["type"], "connect");
        wire.send(&frame(CLOSE, sent));
        // What comes after a close frame is not looked at.
        wire.send_text(r#"{"type":"ping"}"#);
        assert_eq!(wire.next_frame(), Some((CLOSE, echoed.to_vec())));
        assert_eq!(wire.next_frame(), None);
    }
}

#[test]
fn protocol_violation_closes_the_connection() {
    let server = start(&["--set", "limits.frame_bytes=1000"]);
    let too_long = [unfinished(TEXT, &[b'x'; 600]), frame(CONTINUATION, &[b'x'; 401])].concat();
    let split_text = [unfinished(TEXT, b"\xC3"), frame(CONTINUATION, b"\x28")].concat();
    let nested = [unfinished(TEXT, b"{"), frame(TEXT, b"}")].concat();
    let long_ping = frame(PING, &[0; 126]);
    let ping_in_pieces = unfinished(PING, b"");
    let wide_length = [&[0x81, 0xFE, 0, 2][..], &[0; 4], b"{}"].concat();
    let bad_code = frame(CLOSE, &1005_u16.to_be_bytes());
    let bad_reason = frame(CLOSE, b"\x03\xE8\xFF");
    let table = [
        (too_long, 1009, "message too large"),
        (split_text, 1007, "text is not UTF-8"),
        (nested, 1002, "message inside a fragmented message"),
        (long_ping, 1002, "control frame is longer than 125 bytes"),
        (ping_in_pieces, 1002, "control frame is fragmented"),
        (wide_length, 1002, "length is not minimal"),
        (bad_code, 1002, "close code not allowed"),
        (bad_reason, 1007, "text is not UTF-8"),
    ];
    for (bytes, code, reason) in table {
        let code = u16::to_be_bytes(code);
        for piece in [1, bytes.len()] {
            let mut wire = TcpClient::connect(&server.address).upgrade(&alice());
            assert_eq!(wire.next_json().expect("a greeting")["type"], "connect");
            for bytes in bytes.chunks(piece) {
                wire.send(bytes);
            }
            let expected = [&code[..], reason.as_bytes()].concat();
            assert_eq!(wire.next_frame(), Some((CLOSE, expected)), "{reason}");
            assert_eq!(wire.next_frame(), None, "{reason}");
        }
    }
}

#[test]
fn turn_credentials_match_the_servers_computation() {
    let secret = "shared-with-coturn";
    let server = start(&["--set", "turn.url=turn:turn.example:3478", "--set", "turn.secret=shared-with-coturn"]);
    let mut client = Client::connect(&server.address, Some(&alice()));
    let joined = client.join("r", "a");
    let turn = &joined["iceServers"][0];
    let username = turn["username"].as_str().expect("a name");
    assert_eq!(username.split_once(':').map(|(_, user)| user), Some("alice"));
    // use-auth-secret: base64(hmac-sha1(secret, username)).
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret.as_bytes());
    let expected = BASE64_STANDARD.encode(hmac::sign(&key, username.as_bytes()));
    assert_eq!(turn["credential"], expected);
}
