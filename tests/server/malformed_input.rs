//! Malformed, hostile and stalled clients: each is handled by itself. In every test a control pair exchanges messages
//! meanwhile and must not be disturbed.

use std::time::Duration;

use serde_json::{Value, json};
use support::client::Client;
use support::control_pair::ControlPair;
use support::directory::Directory;
use support::process::{peak_bytes, private_dirty_bytes, sockets, wait_until};
use support::server::{Server, token};
use support::tcp_client::{TEXT, TcpClient, frame, noise, upgrade_request};

/// Bytes of memory that a server may hold more than it did before the same was done to it, beside what the test
/// gives it reason for: an allocator keeps some of what it has once had.
const SLACK_BYTES: u64 = 4 << 20;

fn server(settings: &[&str]) -> Server {
    let mut arguments = vec!["--shards", "2", "--set", "rooms.create_on_join=always", "--set", "presence.scope=none"];
    arguments.extend(["--set", "limits.connections_per_user=0", "--set", "presence.grace_ms=0"]);
    for setting in settings {
        arguments.extend(["--set", setting]);
    }
    Server::start(&arguments)
}

fn join(room: &str, peer: &str) -> String {
    json!({ "type": "join-room", "roomId": room, "peerId": peer }).to_string()
}

fn mallory(server: &Server) -> TcpClient {
    TcpClient::connect(&server.address).upgrade(&token("mallory", &json!({})))
}

/// Joins with a connection that is about to misbehave, and waits until it is in.
fn joined(mut wire: TcpClient, room: &str, peer: &str) -> TcpClient {
    wire.send_text(&join(room, peer));
    while wire.next_json().expect("it is connected")["type"] != "room-joined" {}
    wire
}

/// Sends large messages to a room until its listener hears that the peer `deaf` has left; how many it took. The
/// listener must get each of them.
fn talk_until_it_is_cut(sender: &mut Client, listener: &mut Client, from: u64) -> u64 {
    let content = "x".repeat(16_000);
    let message = json!({ "type": "message", "roomId": "busy", "content": content });
    for seq in from + 1..from + 4_000 {
        sender.send(&message);
        assert_eq!(sender.wait_for("message-sent")["seq"], seq);
        let event = listener.next();
        if event["type"] == "peer-left" {
            assert_eq!(event["peerId"], "deaf");
            assert_eq!(listener.next()["seq"], seq);
            return seq;
        }
        assert_eq!((&event["type"], &event["seq"]), (&json!("message"), &json!(seq)), "in order, without a gap");
    }
    panic!("64 MB were kept for a client that does not read");
}

#[test]
fn client_never_reading_is_closed() {
    let server = server(&["limits.outbound_bytes=65536"]);
    let witness = ControlPair::start(&server);
    let [mut sender, mut listener] =
        ["sender", "listener"].map(|name| Client::connect(&server.address, Some(&token(name, &json!({})))));
    sender.join("busy", "sender");
    listener.join("busy", "listener");
    let mut seq = 0;
    for _ in 0..3 {
        let narrow = TcpClient::connect_narrow(&server.address).upgrade(&token("mallory", &json!({})));
        let mut deaf = joined(narrow, "busy", "deaf");
        assert_eq!(listener.next()["type"], "peer-joined");
        let before = seq;
        seq = talk_until_it_is_cut(&mut sender, &mut listener, before);
        // Now it reads after all, and finds what the sockets had taken: a beginning without a gap.
        let (texts, code) = deaf.last_words();
        let numbers: Vec<u64> = texts.iter().filter_map(|text| text["seq"].as_u64()).collect();
        assert_eq!(numbers, (before + 1..).take(numbers.len()).collect::<Vec<u64>>());
        assert!(!numbers.is_empty() && numbers.len() as u64 <= seq - before);
        if let Some(code) = code {
            assert_eq!(code, 4413);
            let last = texts.last().expect("a last word");
            assert_eq!((&last["type"], &last["reason"]), (&json!("disconnect"), &json!("slow-consumer")));
            assert_eq!(last["reconnect"], true);
        }
    }
    witness.stop();
}

#[test]
fn garbage_instead_of_http_closes_the_connection() {
    let server = server(&[]);
    let witness = ControlPair::start(&server);
    let own: [&[u8]; 12] = [
        b"\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET / HTTP/1.1\nHost: a\n\n",
        b"GET / HTTP/1.1\r\nHost : a\r\n\r\n",
        b"POST /rooms HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /rooms HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n",
        b"POST /rooms HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ];
    let mut noises: Vec<Vec<u8>> = own.map(<[u8]>::to_vec).into();
    noises.extend((0..100).map(|seed| noise(seed, 1 << (seed % 18))));
    noises.push([b"GET / HTTP/1.1\r\nHost: a\r\nX: ", vec![b'x'; 100_000].as_slice()].concat());
    noises.push([b"GET /", vec![b'x'; 100_000].as_slice()].concat());
    noises.push([b"GET / HTTP/1.1\r\n", b"X: y\r\n".repeat(10_000).as_slice(), b"\r\n"].concat());
    for noise in noises {
        let mut wire = TcpClient::connect(&server.address);
        // It may be refused before all of it has gone out.
        let _ = wire.try_send(&noise);
        wire.half_close();
        let answer = wire.read_to_end();
        let is_refusal = answer.starts_with(b"HTTP/1.1 4") || answer.starts_with(b"HTTP/1.1 5");
        assert!(answer.is_empty() || is_refusal, "{:?}", String::from_utf8_lossy(&answer));
    }
    witness.stop();
}

/// What is no frame a client may send, and the close code it is answered with.
fn bad_frames() -> Vec<(&'static str, Vec<u8>, u16)> {
    let masked = |opening: &[u8]| [opening, &[1, 2, 3, 4]].concat();
    let text_opening = |length: &[u8]| masked(&[&[0x81], length].concat());
    let nothing_after = |length: u64| [&[0xFF][..], &length.to_be_bytes()].concat();
    vec![
        ("unmasked text", b"\x81\x02hi".to_vec(), 1002),
        ("unmasked close", b"\x88\x00".to_vec(), 1002),
        ("a reserved bit", masked(&[0xC1, 0x80]), 1002),
        ("an unknown opcode", masked(&[0x83, 0x80]), 1002),
        ("an unknown control opcode", masked(&[0x8B, 0x80]), 1002),
        ("a ping in fragments", masked(&[0x09, 0x80]), 1002),
        ("a long ping", masked(&[0x89, 0xFE, 0, 126]), 1002),
        ("a continuation of nothing", masked(&[0x80, 0x80]), 1002),
        ("a message within a message", [masked(&[0x01, 0x80]), masked(&[0x81, 0x80])].concat(), 1002),
        ("a length beyond 63 bits", text_opening(&nothing_after(u64::MAX)), 1002),
        ("a length of half the address space", text_opening(&nothing_after(1 << 62)), 1009),
        ("a length of 4 GiB", text_opening(&nothing_after(1 << 32)), 1009),
        ("a close of one byte", frame(8, b"x"), 1002),
        ("a close with a code nobody may send", frame(8, &1005_u16.to_be_bytes()), 1002),
        ("a close with a reason that is not text", frame(8, b"\x03\xe8\xff"), 1007),
        ("text that is not UTF-8", frame(TEXT, b"\"\xc3\x28\""), 1007),
        ("text that ends within a character", frame(TEXT, b"\xe2\x82"), 1007),
        ("a surrogate", frame(TEXT, b"\xed\xa0\x80"), 1007),
        ("binary data", frame(2, b"\0\x01"), 1003),
    ]
}

#[test]
fn garbage_instead_of_frames_closes_with_a_code() {
    let server = server(&[]);
    let witness = ControlPair::start(&server);
    for (name, bytes, expected) in bad_frames() {
        for room in ["a", "b"] {
            let mut wire = joined(mallory(&server), room, "mallory");
            wire.send(&bytes);
            let (texts, code) = wire.last_words();
            assert_eq!(code, Some(expected), "{name}");
            let codes: Vec<&Value> = texts.iter().map(|text| &text["code"]).collect();
            let expected: &[&str] = if expected == 1003 { &["UNSUPPORTED_DATA"] } else { &[] };
            assert_eq!(codes, expected, "{name}");
            wire.half_close();
            assert_eq!(wire.read_to_end(), b"", "{name}: nothing comes after the close");
        }
    }
    for seed in 0..100 {
        let mut wire = joined(mallory(&server), "a", "mallory");
        let _ = wire.try_send(&noise(seed, 1 << (seed % 18)));
        wire.half_close();
        let code = wire.last_words().1;
        assert!(code.is_none_or(|code| [1002, 1003, 1007, 1009].contains(&code)), "{code:?}");
        wire.read_to_end();
    }
    witness.stop();
}

#[test]
fn unusual_json_is_answered_and_connection_continues() {
    let server = server(&["limits.frame_bytes=1048576"]);
    let witness = ControlPair::start(&server);
    let mut wire = joined(mallory(&server), "a", "mallory");
    let deep = |opening: &str, closing: &str| format!("{}{}", opening.repeat(100_000), closing.repeat(100_000));
    let cases = [
        (deep("[", ""), "INVALID_MESSAGE"),
        (deep("{\"a\":", ""), "BAD_JSON"),
        (deep("[", "]"), "INVALID_MESSAGE"),
        (format!("{{\"type\":\"offer\",\"roomId\":\"a\",\"offer\":{}}}", deep("[", "]")), "INVALID_MESSAGE"),
        (format!("{{\"type\":{}}}", deep("[", "]")), "INVALID_MESSAGE"),
        (format!("{{\"type\":\"join-room\",\"roomId\":\"a\",\"mediaState\":{}}}", deep("[", "]")), "INVALID_MESSAGE"),
        (format!("{{\"type\":\"join-room\",\"mediaState\":{}}}", deep("{\"audio\":", "1")), "BAD_JSON"),
        (format!("{{\"type\":\"ping\",\"requestId\":{}}}", deep("[", "]")), "INVALID_MESSAGE"),
        ("{\"type\":\"ping\",\"requestId\":1e}".to_owned(), "BAD_JSON"),
        (format!("{{\"type\":\"{}\"}}", "x".repeat(100_000)), "UNKNOWN_TYPE"),
        ("{\"type\":\"join-room\",\"roomId\":\"\\ud800\"}".to_owned(), "INVALID_MESSAGE"),
        ("{\"type\":\"join-room\",\"roomId\":\"\\u0000\"}".to_owned(), "INVALID_MESSAGE"),
        (String::new(), "BAD_JSON"),
        ("null".to_owned(), "INVALID_MESSAGE"),
        ("{}".to_owned(), "INVALID_MESSAGE"),
        ("{} {}".to_owned(), "BAD_JSON"),
    ];
    for (text, code) in cases {
        wire.send_text(&text);
        let error = wire.next_json().expect("it goes on");
        assert_eq!((&error["type"], &error["code"]), (&json!("error"), &json!(code)), "{text:.60}");
        let said = error["error"].as_str().expect("words");
        assert!((1..400).contains(&said.len()), "{text:.60}: {} bytes", said.len());
    }
    // What nobody reads may be as deep as it likes.
    wire.send_text(&format!("{{\"type\":\"ping\",\"else\":{}}}", deep("[", "]")));
    assert_eq!(wire.next_json().expect("it goes on")["type"], "pong");
    witness.stop();
}

/// Bytes of a request that come one at a time.
const SLOW_BYTES: usize = 1_500;

#[test]
fn silent_or_slow_client_times_out() {
    let server = server(&["limits.handshake_ms=300", "limits.head_ms=300"]);
    let witness = ControlPair::start(&server);
    let mut silent: Vec<TcpClient> = (0..50).map(|_| TcpClient::connect(&server.address)).collect();
    for wire in &mut silent {
        assert_eq!(wire.read_to_end(), b"", "a closed connection and not a word");
    }
    // One byte at a time, each in good time, but never a whole head or body.
    let head = format!("GET / HTTP/1.1\r\nHost: test\r\nX: {}", "x".repeat(SLOW_BYTES));
    let token = token("mallory", &json!({}));
    let body = "POST /rooms HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\n";
    let body = format!(
        "{body}Authorization: Bearer {token}\r\nContent-Length: {SLOW_BYTES}\r\n\r\n{}",
        " ".repeat(SLOW_BYTES)
    );
    let upgrade = upgrade_request(&token).replace("\r\n\r\n", &format!("\r\nX: {}", "x".repeat(SLOW_BYTES)));
    std::thread::scope(|scope| {
        for slow in [&head, &body, &upgrade] {
            for _ in 0..3 {
                scope.spawn(|| drip(&server, slow));
            }
        }
    });
    witness.stop();
}

/// Sends a request so slowly that it would take half a minute, until the server answers that it is too slow.
fn drip(server: &Server, request: &str) {
    let mut wire = TcpClient::connect(&server.address);
    let (at_once, slowly) = request.split_at(request.len() - SLOW_BYTES);
    wire.send(at_once.as_bytes());
    let was_stopped = slowly.bytes().any(|byte| {
        std::thread::sleep(Duration::from_millis(20));
        wire.try_send(&[byte]).is_err() || wire.has_something()
    });
    assert!(was_stopped, "a request may take as long as it likes");
    let head = wire.http_head();
    assert!(head.starts_with("HTTP/1.1 408 "), "{head}");
}

/// Connects and resets `count` times, each at another point of a connection's life.
fn connect_and_reset(server: &Server, count: usize) {
    let token = token("mallory", &json!({}));
    let request = upgrade_request(&token);
    for number in 0..count {
        let mut wire = TcpClient::connect(&server.address);
        match number % 8 {
            0 => {}
            1 => wire.send(b"GET /"),
            2 => wire.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /call HTTP/1.1\r\n"),
            3 => wire.send(request.as_bytes()),
            4 => wire.send(&[request.as_bytes(), &frame(TEXT, join("busy", "mallory").as_bytes())].concat()),
            5 => wire = wire.upgrade(&token),
            6 => wire = joined(wire.upgrade(&token), "busy", &number.to_string()),
            _ => {
                wire = joined(wire.upgrade(&token), "busy", &number.to_string());
                wire.send(&frame(TEXT, b"{\"type\":\"ping\"}").repeat(50));
                wire.send(&frame(TEXT, b"{\"type\":\"ping\"}")[..9]);
            }
        }
        wire.reset();
    }
}

#[test]
fn thousand_resets_leave_no_state() {
    let server = server(&[]);
    let witness = ControlPair::start(&server);
    let mut keeper = Client::connect(&server.address, Some(&token("keeper", &json!({}))));
    keeper.join("busy", "keeper");
    let before = sockets(server.pid());
    connect_and_reset(&server, 1_000);
    wait_until("sockets are given back", || sockets(server.pid()) <= before);
    // All who came to the room have left it again, and whoever joins is alone with its keeper.
    let mut newcomer = Client::connect(&server.address, Some(&token("newcomer", &json!({}))));
    wait_until("the room is empty again", || {
        let peers = newcomer.join("busy", "newcomer")["peers"].clone();
        peers.as_array().is_some_and(|peers| peers.len() == 1 && peers[0]["peerId"] == "keeper")
    });
    witness.stop();
}

/// Sends 8 MB of requests without reading an answer, or as much of that as is taken.
fn ask_without_listening(server: &Server, request: &str) -> TcpClient {
    let mut wire = TcpClient::connect_narrow(&server.address);
    // It may be cut off before all of it has gone out, and the kernel may take all of it before it is cut off.
    let _ = wire.try_send(request.repeat((8 << 20) / request.len()).as_bytes());
    wire
}

#[test]
fn unread_replies_use_bounded_memory() {
    let server = server(&["limits.idle_ms=300"]);
    let witness = ControlPair::start(&server);
    let token = token("mallory", &json!({}));
    let call = "GET /call HTTP/1.1\r\nHost: a\r\n\r\n";
    let list = format!("GET /rooms/none HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\r\n");
    let before = (sockets(server.pid()), peak_bytes(server.pid()));
    let requests = [call, &list, "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"].repeat(3);
    let wires: Vec<TcpClient> = std::thread::scope(|scope| {
        let askers: Vec<_> =
            requests.iter().map(|request| scope.spawn(|| ask_without_listening(&server, request))).collect();
        askers.into_iter().map(|asker| asker.join().expect("it has asked")).collect()
    });
    wait_until("they are cut off", || sockets(server.pid()) <= before.0);
    for mut wire in wires {
        // More than the kernel keeps for a connection, but far less than so many answers would be.
        assert!(wire.read_to_end().len() < 8 << 20);
    }
    let more = peak_bytes(server.pid()) - before.1;
    assert!(more < 2 * SLACK_BYTES, "{more} bytes for nine clients that do not read");
    witness.stop();
}

/// Who asks a lot at once and then reads gets every answer.
#[test]
fn replies_read_late_are_all_delivered() {
    const REQUESTS: usize = 2_000;
    let server = server(&[]);
    let witness = ControlPair::start(&server);
    for path in ["/call", "/healthz", "/nowhere"] {
        let mut wire = TcpClient::connect(&server.address);
        wire.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").repeat(REQUESTS).as_bytes());
        for number in 0..REQUESTS {
            let answer = wire.http_answer();
            assert!(answer.is_some_and(|(head, _)| head.starts_with("HTTP/1.1 ")), "{path}: {number} answers");
        }
    }
    witness.stop();
}

/// Who ends their side behind a request still gets its answer, whichever shard has to be asked for it.
#[test]
fn half_closed_client_is_answered() {
    let server = server(&[]);
    let token = token("ann", &json!({}));
    let authorized = format!("Host: a\r\nAuthorization: Bearer {token}\r\n");
    let made = format!("POST /rooms HTTP/1.1\r\n{authorized}Content-Type: application/json\r\nContent-Length: 2\r\n");
    let cases = [
        ("GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), "HTTP/1.1 200 "),
        ("GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".to_owned(), "HTTP/1.1 200 "),
        (format!("{made}\r\n{{}}"), "HTTP/1.1 201 "),
        (format!("{made}Connection: close\r\n\r\n{{}}"), "HTTP/1.1 201 "),
        ("NONSENSE\r\n\r\n".to_owned(), "HTTP/1.1 400 "),
    ];
    for (request, answer) in cases.iter().cycle().take(200) {
        let mut wire = TcpClient::connect(&server.address);
        wire.send(request.as_bytes());
        wire.half_close();
        let head = wire.http_head();
        assert!(head.starts_with(answer), "{request:?}: {head:?}");
        wire.read_to_end();
    }
    for _ in 0..50 {
        let mut wire = mallory(&server);
        wire.send(b"\x81\x02hi");
        wire.half_close();
        assert_eq!(wire.last_words().1, Some(1002));
    }
}

/// One who sends all they can, next to a pair who ask each other how they are.
#[test]
fn flooding_client_does_not_starve_others() {
    const MESSAGES: usize = 40_000;
    let server = server(&[]);
    let witness = ControlPair::start(&server);
    let mut listener = Client::connect(&server.address, Some(&token("listener", &json!({}))));
    listener.join("flood", "listener");
    let mut firehose = joined(mallory(&server), "flood", "mallory");
    let message = json!({ "type": "message", "roomId": "flood", "content": "x".repeat(100) }).to_string();
    let messages = frame(TEXT, message.as_bytes()).repeat(MESSAGES / 40);
    let mut reader = firehose.duplicate();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for _ in 0..100 {
                firehose.send(&messages);
            }
        });
        scope.spawn(move || {
            for seq in 1..=MESSAGES {
                let receipt = reader.next_json().expect("it is connected");
                assert_eq!((&receipt["type"], &receipt["seq"]), (&json!("message-sent"), &json!(seq)));
            }
        });
        scope.spawn(|| {
            assert_eq!(listener.next()["type"], "peer-joined");
            for seq in 1..=MESSAGES {
                let message = listener.next();
                assert_eq!((&message["type"], &message["seq"]), (&json!("message"), &json!(seq)));
            }
        });
        for _ in 0..10 {
            witness.see(20);
        }
    });
    witness.stop();
}

/// One round of what hostile clients do.
fn abuse(server: &Server) {
    connect_and_reset(server, 400);
    for (_, bytes, _) in bad_frames() {
        let mut wire = joined(mallory(server), "abuse", "mallory");
        wire.send(&bytes);
        wire.last_words();
    }
    for seed in 0..20 {
        let mut wire = TcpClient::connect(&server.address);
        let _ = wire.try_send(&noise(seed, 20_000));
        wire.reset();
    }
    let content = "x".repeat(16_000);
    let message = json!({ "type": "message", "roomId": "abuse", "content": content }).to_string();
    let deaf: Vec<TcpClient> = (0..4)
        .map(|number| {
            let wire = TcpClient::connect_narrow(&server.address).upgrade(&token("mallory", &json!({})));
            joined(wire, "abuse", &format!("deaf-{number}"))
        })
        .collect();
    let mut sender = joined(mallory(server), "abuse", "sender");
    for _ in 0..600 {
        sender.send_text(&message);
        while sender.next_json().expect("it is connected")["type"] != "message-sent" {}
    }
    deaf.into_iter().for_each(TcpClient::reset);
    let mut large = mallory(server);
    large.send(&frame(TEXT, &vec![b' '; 262_144]));
    assert_eq!(large.next_json().expect("a greeting")["type"], "connect");
    assert_eq!(large.next_json().expect("it is connected")["code"], "BAD_JSON");
    large.send(&frame(TEXT, &vec![b' '; 262_144])[..200_000]);
    large.reset();
}

#[test]
fn closed_connections_release_memory_and_sockets() {
    let directory = Directory::new();
    let data = format!("data_dir={}", directory.text());
    let server = server(&["limits.outbound_bytes=262144", &data]);
    let witness = ControlPair::start(&server);
    let before = sockets(server.pid());
    let is_calm = || sockets(server.pid()) <= before;
    // Twice, so that the store's cache, which is bounded, is full.
    abuse(&server);
    abuse(&server);
    wait_until("sockets are given back", is_calm);
    let first = private_dirty_bytes(server.pid());
    for _ in 0..5 {
        abuse(&server);
    }
    wait_until("sockets are given back", is_calm);
    wait_until("memory is given back", || private_dirty_bytes(server.pid()) <= first + SLACK_BYTES);
    witness.stop();
}

/// A request for a page of history is short and its answer long, so asking again and again asks for much with little.
#[test]
fn small_requests_for_large_work_use_bounded_resources() {
    let server = server(&[]);
    let witness = ControlPair::start(&server);
    let mut speaker = Client::connect(&server.address, Some(&token("speaker", &json!({}))));
    speaker.join("log", "speaker");
    for _ in 0..20 {
        speaker.send(&json!({ "type": "message", "roomId": "log", "content": "x".repeat(2_000) }));
        speaker.wait_for("message-sent");
    }
    let before = peak_bytes(server.pid());
    let requests = frame(TEXT, br#"{"type":"history","roomId":"log"}"#).repeat(10_000);
    let mut deaf = joined(mallory(&server), "log", "deaf");
    // 400 MB of answers to 400 KB of questions, if all of them were answered.
    let _ = deaf.try_send(&requests);
    assert_eq!(deaf.last_words().1, Some(4413));
    let more = peak_bytes(server.pid()) - before;
    assert!(more < 4 * SLACK_BYTES, "{more} bytes for one client that does not read");
    witness.stop();
}
