//! permessage-deflate and compressed answers by their bytes: what is negotiated, compressed, refused and bounded.

use std::io::Read;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};
use serde_json::{Value, json};
use support::frame::{FINAL, MASK, write_masked};
use support::http::{Http, bearer};
use support::server::{Server, token};
use support::tcp_client::{CLOSE, TEXT, TcpClient, frame, upgrade_request};

const RSV1: u8 = 0x40;

fn start(more: &[&str]) -> Server {
    Server::of_shards(2, &[&["deflate.enabled=true", "limits.message_bytes=60000"], more].concat())
}

/// A WebSocket that offers extensions; what the server answers to the offer.
fn open(server: &Server, user: &str, offer: &str) -> (TcpClient, Option<String>) {
    let mut wire = TcpClient::connect(&server.address);
    let request = upgrade_request(&token(user, &json!({})));
    wire.send(request.replace("\r\n\r\n", &format!("\r\nSec-WebSocket-Extensions: {offer}\r\n\r\n")).as_bytes());
    let head = wire.http_head();
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    let answer = head.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Extensions: ")).map(str::to_owned);
    (wire, answer)
}

/// A compressed message as a client sends it.
fn packed(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(payload.len() + 64);
    let mut compressor = Compress::new(Compression::best(), false);
    compressor.compress_vec(payload, &mut bytes, FlushCompress::Sync).expect("memory");
    bytes.truncate(bytes.len() - 4);
    let mut out = Vec::new();
    write_masked(&mut out, FINAL | RSV1 | opcode, &bytes, MASK);
    out
}

fn unpacked(payload: &[u8]) -> Value {
    let mut out = Vec::with_capacity(1 << 20);
    let payload = [payload, &[0, 0, 0xFF, 0xFF]].concat();
    Decompress::new(false).decompress_vec(&payload, &mut out, FlushDecompress::Sync).expect("compressed data");
    serde_json::from_slice(&out).expect("JSON")
}

/// The next message of a type: whether it was compressed, its size on the wire, and what it says.
fn next(wire: &mut TcpClient, kind: &str) -> (bool, usize, Value) {
    loop {
        let (first, payload) = wire.next_whole_frame().expect("a frame");
        let is_packed = first & RSV1 != 0;
        let message = match is_packed {
            true => unpacked(&payload),
            false => serde_json::from_slice(&payload).expect("JSON"),
        };
        if message["type"] == kind {
            return (is_packed, payload.len(), message);
        }
    }
}

fn join(wire: &mut TcpClient) {
    wire.send_text(&json!({ "type": "join-room", "roomId": "r", "requestId": 1 }).to_string());
    next(wire, "room-joined");
}

#[test]
fn members_with_and_without_compression_get_the_same_message() {
    let server = start(&[]);
    let offers = ["permessage-deflate", "other", "permessage-deflate; server_max_window_bits=9", "permessage-deflate"];
    let mut members: Vec<TcpClient> = Vec::new();
    for (number, offer) in offers.into_iter().enumerate() {
        let (mut wire, answer) = open(&server, &format!("u{number}"), offer);
        assert_eq!(answer.is_some(), offer != "other");
        join(&mut wire);
        members.push(wire);
    }
    let (mut sender, _) = open(&server, "sender", "permessage-deflate");
    join(&mut sender);
    for text in ["long ".repeat(2_000), "short".to_owned(), "again ".repeat(100)] {
        let message = json!({ "type": "message", "roomId": "r", "content": text }).to_string();
        sender.send(&packed(TEXT, message.as_bytes()));
        let mut seen = Vec::new();
        for (member, offer) in members.iter_mut().zip(offers) {
            let (is_packed, bytes, message) = next(member, "message");
            assert_eq!(is_packed, offer != "other" && text.len() > 256, "{offer}");
            assert!(!is_packed || bytes < text.len() / 2, "{bytes}");
            assert_eq!(message["content"], text);
            seen.push(message);
        }
        assert!(seen.iter().all(|message| *message == seen[0]));
        assert!(!next(&mut sender, "message-sent").0, "a receipt is too short");
    }
}

#[test]
fn small_messages_are_compressed_from_the_size_that_is_set() {
    let server = start(&["deflate.min_bytes=1", "deflate.level=9"]);
    let (mut wire, _) = open(&server, "ann", "permessage-deflate");
    wire.send_text(&json!({ "type": "join-room", "roomId": "r", "requestId": 1 }).to_string());
    assert!(next(&mut wire, "room-joined").0);
}

#[test]
fn extension_is_not_answered_unless_it_is_turned_on_and_offered_well() {
    let off = Server::of_shards(1, &[]);
    assert_eq!(open(&off, "ann", "permessage-deflate").1, None);
    let (mut wire, _) = open(&off, "ann", "permessage-deflate");
    wire.send(&packed(TEXT, b"{}"));
    assert_eq!(wire.last_words().1, Some(1002));

    let server = start(&[]);
    let plain = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
    for (offer, expected) in [
        ("permessage-deflate; client_max_window_bits; server_max_window_bits=10", Some("; server_max_window_bits=10")),
        ("permessage-deflate; foo, permessage-deflate; client_no_context_takeover", Some("")),
        ("permessage-deflate; foo", None),
        ("permessage-deflate; server_max_window_bits=16", None),
    ] {
        let expected = expected.map(|more| format!("{plain}{more}"));
        assert_eq!(open(&server, "ann", offer).1, expected, "{offer}");
    }
    let (mut wire, answer) = open(&server, "ann", "permessage-deflate; foo");
    assert_eq!(answer, None);
    wire.send(&packed(TEXT, b"{}"));
    assert_eq!(wire.last_words().1, Some(1002));
}

#[test]
fn message_that_inflates_beyond_the_limit_closes_the_connection() {
    let server = start(&["limits.frame_bytes=100000"]);
    for (bytes, code) in [
        (packed(TEXT, &vec![b' '; 100_001]), 1009),
        (packed(TEXT, &vec![b' '; 8 << 20]), 1009),
        (packed(TEXT, b"\xFF\xFF\xFF"), 1007),
        (frame(RSV1 | TEXT, &[0x07, 0xFF, 0xFF]), 1007),
        (frame(RSV1 | 9, b"ping"), 1002),
        (frame(RSV1 | 0x20 | TEXT, b""), 1002),
    ] {
        let (mut wire, _) = open(&server, "ann", "permessage-deflate");
        wire.send(&bytes);
        assert_eq!(wire.last_words().1, Some(code), "{} bytes", bytes.len());
    }
    // As large as it may be.
    let (mut wire, _) = open(&server, "ann", "permessage-deflate");
    let request = json!({ "type": "join-room", "roomId": "r", "requestId": 1 }).to_string();
    let padded = format!("{request}{}", " ".repeat(100_000 - request.len()));
    wire.send(&packed(TEXT, padded.as_bytes()));
    next(&mut wire, "room-joined");
    wire.send(&frame(CLOSE, &[3, 0xE8]));
    assert_eq!(wire.last_words().1, Some(1000));
}

#[test]
fn answers_are_compressed_for_clients_that_accept_it() {
    let server = Server::start(&["--set", "deflate.http=true", "--set", "auth.guests=true"]);
    let admin = bearer(&token("root", &json!({ "role": "admin" })));
    let mut http = Http::connect(&server.address);
    for path in ["/", "/call", "/metrics"] {
        let plain = http.ask("GET", path, &[&admin], None);
        let packed = http.ask("GET", path, &[&admin, "Accept-Encoding: br, gzip"], None);
        assert_eq!((plain.status, plain.header("content-encoding")), (200, None), "{path}");
        assert_eq!((packed.status, packed.header("content-encoding")), (200, Some("gzip")), "{path}");
        assert!(packed.body.len() < plain.body.len() / 2, "{path}");
        let mut text = String::new();
        flate2::read::GzDecoder::new(packed.body.as_slice()).read_to_string(&mut text).expect("gzip");
        assert_eq!(text.lines().next(), plain.text().lines().next());
        if let Some(tag) = plain.header("etag") {
            assert_eq!(packed.header("etag"), Some(format!("W/{tag}").as_str()));
            let again = http.ask("GET", path, &["Accept-Encoding: gzip", &format!("If-None-Match: W/{tag}")], None);
            assert_eq!((again.status, again.header("content-encoding")), (304, None));
        }
    }
    // Embedded files are compressed already, and small answers are not worth it.
    let asset = http.ask("GET", "/assets/openapi.json", &["Accept-Encoding: gzip"], None);
    assert!(asset.body.starts_with(&[0x1F, 0x8B]) && asset.header("content-encoding") == Some("gzip"));
    assert_eq!(http.ask("GET", "/health", &["Accept-Encoding: gzip"], None).header("content-encoding"), None);
}

#[test]
fn answers_are_plain_unless_compression_is_turned_on() {
    let server = Server::start(&[]);
    let page = Http::connect(&server.address).ask("GET", "/call", &["Accept-Encoding: gzip"], None);
    assert_eq!((page.status, page.header("content-encoding")), (200, None));
}
