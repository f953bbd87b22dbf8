//! Clients that poll.

use super::play::{Lines, Step, agree};
use crate::client::{Client, Dialect, Reason, Settings, Transport};

const FIRST_GET: &str =
    "write 0 GET /socket.io/?EIO=4&transport=polling HTTP/1.1\\r\\nHost: h:1\\r\\nAccept: */*\\r\\n\\r\\n";
const GET: &str =
    "write 0 GET /socket.io/?EIO=4&transport=polling&sid=s%3D1 HTTP/1.1\\r\\nHost: h:1\\r\\nAccept: */*\\r\\n\\r\\n";
const CONNECT: &str = "40/chat,{\\\"token\\\":\\\"t\\\"}";

fn settings() -> Settings {
    Settings {
        dialect: Dialect::SocketIo,
        transport: Transport::Polling,
        host: "h:1".to_owned(),
        ..Settings::default()
    }
}

fn open(max_payload: usize) -> String {
    format!(r#"0{{"sid":"s=1","upgrades":["websocket"],"pingInterval":1,"maxPayload":{max_payload}}}"#)
}

fn ok(body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

fn chunked(chunks: &[&str]) -> Vec<u8> {
    let chunks: String = chunks.iter().map(|chunk| format!("{:x}\r\n{chunk}\r\n", chunk.len())).collect();
    format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}0\r\n\r\n").into_bytes()
}

/// The line for a `POST` of `body`.
fn post(body: &str) -> String {
    let bytes = body.replace("\\x1e", "|").replace('\\', "").len();
    format!(
        "write 1 POST /socket.io/?EIO=4&transport=polling&sid=s%3D1 HTTP/1.1\\r\\nHost: h:1\\r\\nAccept: */*\\r\\n\
         Content-Type: text/plain;charset=UTF-8\\r\\nContent-Length: {bytes}\\r\\n\\r\\n{body}"
    )
}

/// From the beginning to where the application may send, and what the client asks for meanwhile.
fn opening(max_payload: usize) -> (Vec<Step>, Vec<String>) {
    let steps = vec![
        Step::Connected(1),
        Step::Connected(0),
        Step::Received(0, ok(&open(max_payload))),
        Step::Received(1, ok("ok")),
        Step::Received(0, ok(r#"40/chat,{"sid":"x"}"#)),
    ];
    let lines = ["open 0", "open 1", FIRST_GET, &post(CONNECT), GET, "opened", GET].map(str::to_owned).to_vec();
    (steps, lines)
}

fn converse(opening: (Vec<Step>, Vec<String>), steps: Vec<Step>, expected: &[&str], reason: Option<Reason>) {
    let (mut all_steps, all_lines) = opening;
    all_steps.extend(steps);
    let mut all: Vec<&str> = all_lines.iter().map(String::as_str).collect();
    all.extend(expected);
    agree(&settings(), &all_steps, &all, reason);
}

#[test]
fn packets_are_heard_and_the_next_poll_follows_at_once() {
    let steps = vec![
        Step::Received(0, ok("42/chat,[\"a\"]\x1e42/chat,12[\"b\"]\x1e43/chat,7[\"c\"]")),
        Step::Received(0, chunked(&["42/chat,[\"d\"]", "\x1e42/ch", "at,[\"e\"]\x1e6", "\x1ebAQID"])),
        Step::Received(0, ok("6")),
        Step::Received(0, ok("42/chat,[\"f\"]\x1e1")),
        Step::Received(0, ok("42/chat,[\"too late\"]")),
    ];
    let [a, b, c, d, e, f] = ["a", "b", "c", "d", "e", "f"].map(|event| format!("message [\\\"{event}\\\"]"));
    let expected = [&a, &b, &c, GET, &d, &e, GET, GET, &f, "close 0", "close 1", "closed"];
    converse(opening(1_000_000), steps, &expected, Some(Reason::Left));
}

#[test]
fn who_leaves_waits_for_the_answer() {
    let steps = vec![
        Step::Send(r#"["a"]"#),
        Step::Leave,
        Step::Send(r#"["too late"]"#),
        Step::Received(1, ok("ok")),
        Step::Received(0, ok("6")),
        Step::Received(1, ok("ok")),
        Step::Received(0, ok("42/chat,[\"too late\"]")),
    ];
    let expected = [&post("42/chat,[\\\"a\\\"]"), &post("1"), GET, "close 0", "close 1", "closed"];
    converse(opening(1_000_000), steps, &expected, Some(Reason::Gone));
    // A server may end the session before it answers.
    let steps = vec![Step::Leave, Step::Received(0, b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec())];
    let expected = [&post("1"), "close 0", "close 1", "closed"];
    converse(opening(1_000_000), steps, &expected, Some(Reason::Gone));
    agree(&settings(), &[Step::Leave], &["open 0", "open 1", "close 0", "close 1", "closed"], Some(Reason::Gone));
}

#[test]
fn what_piles_up_goes_into_the_next_post() {
    let steps = vec![
        Step::Send(r#"["a"]"#),
        Step::Send(r#"["b"]"#),
        Step::Received(0, ok("2")),
        Step::Send(r#"7["c"]"#),
        Step::Received(1, ok("ok")),
        Step::Received(1, chunked(&["o", "k"])),
        Step::Send(r#"["d"]"#),
    ];
    let pile = post("42/chat,[\\\"b\\\"]\\x1e3\\x1e42/chat,7[\\\"c\\\"]");
    let expected = [&post("42/chat,[\\\"a\\\"]"), GET, &pile, &post("42/chat,[\\\"d\\\"]")];
    converse(opening(1_000_000), steps, &expected, None);
}

#[test]
fn a_post_is_no_larger_than_the_server_takes() {
    // Each packet is 13 bytes: two and their separator are 27.
    for max_payload in [27, 28, 40] {
        let send = ["[\"b\"]", "[\"c\"]", "[\"d\"]", "[\"e\"]"].map(Step::Send);
        let mut steps = vec![Step::Send("[\"a\"]")];
        steps.extend(send);
        steps.extend([Step::Received(1, ok("ok")), Step::Received(1, ok("ok")), Step::Received(1, ok("ok"))]);
        let [a, b, c, d, e] = ["a", "b", "c", "d", "e"].map(|event| format!("42/chat,[\\\"{event}\\\"]"));
        let expected = [post(&a), post(&format!("{b}\\x1e{c}")), post(&format!("{d}\\x1e{e}"))];
        converse(opening(max_payload), steps, &expected.each_ref().map(String::as_str), None);
    }
    // A packet that is too large goes alone, for the server to refuse it.
    let steps = vec![
        Step::Send("[\"a\"]"),
        Step::Send("[\"large\"]"),
        Step::Send("[\"b\"]"),
        Step::Received(1, ok("ok")),
        Step::Received(1, b"HTTP/1.1 413 Payload Too Large\r\nContent-Length: 0\r\n\r\n".to_vec()),
    ];
    let [a, large] = ["a", "large"].map(|event| post(&format!("42/chat,[\\\"{event}\\\"]")));
    converse(opening(13), steps, &[&a, &large, "close 0", "close 1", "closed"], Some(Reason::Status(413)));
}

#[test]
fn a_lane_that_idled_is_opened_again_when_it_is_needed() {
    let steps = vec![
        Step::Ended(1),
        Step::Received(0, ok("2")),
        Step::Send("[\"a\"]"),
        Step::Connected(1),
        Step::Received(1, ok("ok")),
        Step::Ended(1),
        Step::Send("[\"b\"]"),
        Step::Ended(1),
    ];
    let pile = post("3\\x1e42/chat,[\\\"a\\\"]");
    let expected = ["open 1", GET, &pile, "open 1", "close 0", "closed"];
    converse(opening(1_000_000), steps, &expected, Some(Reason::Ended));
}

#[test]
fn a_lane_whose_server_closes_it_is_opened_again() {
    let last = |body: &str| String::from_utf8(ok(body)).unwrap().replace("Content-Type", "Connection: close\r\nA");
    let steps = vec![
        Step::Received(0, last("42/chat,[\"a\"]").into_bytes()),
        Step::Connected(0),
        Step::Send("[\"b\"]"),
        Step::Send("[\"c\"]"),
        Step::Received(1, last("ok").into_bytes()),
        Step::Connected(1),
        Step::Received(1, last("ok").into_bytes()),
        Step::Ended(0),
    ];
    let [b, c] = ["b", "c"].map(|event| post(&format!("42/chat,[\\\"{event}\\\"]")));
    let expected = ["message [\\\"a\\\"]", "close 0", "open 0", GET, &b, "close 1", "open 1", &c, "close 1", "closed"];
    converse(opening(1_000_000), steps, &expected, Some(Reason::Ended));
}

#[test]
fn a_refused_namespace_closes_with_the_servers_words() {
    let steps = [
        Step::Connected(0),
        Step::Received(0, ok(&open(1000))),
        Step::Connected(1),
        Step::Received(0, ok(r#"44/chat,{"message":"not you"}"#)),
    ];
    let expected = ["open 0", "open 1", FIRST_GET, GET, &post(CONNECT), "close 0", "close 1", "closed"];
    agree(&settings(), &steps, &expected, Some(Reason::Refused(r#"{"message":"not you"}"#.into())));
}

#[test]
fn an_answer_that_is_none_closes() {
    let reason = |lane: u8, bytes: &[u8]| {
        let (mut client, mut lines) = (Client::new(&settings(), 0, None), Lines::default());
        client.start(&mut lines);
        client.connected(0, &mut lines);
        client.connected(1, &mut lines);
        for byte in bytes.chunks(1) {
            client.received(lane, byte, &mut lines);
        }
        assert_eq!(lines.0[lines.0.len() - 3..], ["close 0", "close 1", "closed"]);
        client.reason().expect("it is closed").clone()
    };
    assert_eq!(reason(0, b"HTTP/1.1 400 Bad Request\r\nContent-Length: 2\r\n\r\n{}"), Reason::Status(400));
    assert_eq!(reason(0, b"HTTP/1.1 502 Bad Gateway\r\nConnection: close\r\n\r\n<html>"), Reason::Status(502));
    assert_eq!(reason(0, b"HTTP/1.1 101 Switching Protocols\r\n\r\n"), Reason::Status(101));
    assert_eq!(reason(1, &ok("ok")), Reason::Fault("an answer without a request"));
    for body in ["", "x", "0{}", "2", "40/chat,{}"] {
        assert!(matches!(reason(0, &ok(body)), Reason::Fault(_)), "{body:?}");
    }
}

#[test]
fn a_packet_is_bounded() {
    let (mut client, mut lines) = (Client::new(&settings(), 0, None), Lines::default());
    client.connected(0, &mut lines);
    client.received(0, b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n", &mut lines);
    let piece = vec![b'x'; 1 << 20];
    for _ in 0..16 {
        client.received(0, &piece, &mut lines);
        assert_eq!(client.reason(), None);
    }
    client.received(0, b"x", &mut lines);
    assert_eq!(client.reason(), Some(&Reason::Fault("a packet is too large")));
}
