//! Published clients against the real server: WebSocket conformance on `/echo`, and the Socket.IO packages from npm and
//! PyPI, on one server and across servers.

use std::path::Path;
use std::process::Command;
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use serde_json::json;
use support::certificates::CertificateAuthority;
use support::packages::{NODE, PYTHON, SCRIPTS, run};
use support::redis::RedisServer;
use support::server::{Server, token};
use support::tcp_client::{CLOSE, TEXT, TcpClient, frame, noise};

/// The suites' server wants its pings answered within 200 ms: while clients talk to it, others here do not.
static QUIET: RwLock<()> = RwLock::new(());

fn noisy() -> RwLockReadGuard<'static, ()> {
    QUIET.read().unwrap_or_else(PoisonError::into_inner)
}

const BINARY: u8 = 2;
const PING: u8 = 9;
const PONG: u8 = 10;

/// A WebSocket on `/echo`.
fn echo(server: &Server) -> TcpClient {
    let mut wire = TcpClient::connect(&server.address);
    wire.send(
        b"GET /echo HTTP/1.1\r\nHost: test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
          Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    );
    let head = wire.http_head();
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    wire
}

/// A frame that is not the last of its message.
fn fragment(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = frame(opcode, payload);
    bytes[0] &= 0x7F;
    bytes
}

/// The code that the server closes with, after bytes that it cannot take.
fn closed(server: &Server, bytes: &[u8]) -> u16 {
    let mut wire = echo(server);
    let _ = wire.try_send(bytes);
    match wire.next_frame() {
        Some((CLOSE, payload)) => u16::from_be_bytes([payload[0], payload[1]]),
        other => panic!("{other:?}"),
    }
}

#[test]
fn echo_endpoint_returns_messages_of_every_length() {
    let server = Server::start(&["--conformance"]);
    let mut wire = echo(&server);
    for length in [0, 1, 125, 126, 127, 128, 65_535, 65_536, 65_537, 1 << 20, 16 << 20] {
        let bytes = noise(length as u64, length);
        wire.send(&frame(BINARY, &bytes));
        let (opcode, back) = wire.next_frame().expect("a frame");
        assert!((opcode, &back) == (BINARY, &bytes), "{length} bytes come back as others");
        let text = "ü".repeat(length / 2);
        wire.send(&frame(TEXT, text.as_bytes()));
        assert!(wire.next_frame() == Some((TEXT, text.into_bytes())), "{length} bytes come back as others");
    }
    assert_eq!(closed(&server, &frame(BINARY, &vec![0; (16 << 20) + 1])), 1009);
}

#[test]
fn echo_endpoint_reassembles_fragments() {
    let server = Server::start(&["--conformance"]);
    let mut wire = echo(&server);
    let mut bytes = fragment(TEXT, "één".as_bytes().split_at(1).0);
    bytes.extend(frame(PING, b"between"));
    bytes.extend(fragment(0, "één".as_bytes().split_at(1).1));
    bytes.extend(frame(0, b"."));
    wire.send(&bytes);
    assert_eq!(wire.next_frame(), Some((PONG, b"between".to_vec())));
    assert_eq!(wire.next_frame(), Some((TEXT, "één.".as_bytes().to_vec())));
    for byte in &bytes {
        wire.send(&[*byte]);
    }
    assert_eq!(wire.next_frame(), Some((PONG, b"between".to_vec())));
    assert_eq!(wire.next_frame(), Some((TEXT, "één.".as_bytes().to_vec())));
    let pieces = 65_536;
    let mut bytes = fragment(BINARY, &[1; 16]);
    for _ in 1..pieces {
        bytes.extend(fragment(0, &[1; 16]));
    }
    bytes.extend(frame(0, &[]));
    wire.send(&bytes);
    assert!(wire.next_frame() == Some((BINARY, vec![1; 16 * pieces])));
}

#[test]
fn echo_endpoint_refuses_protocol_violations() {
    let server = Server::start(&["--conformance"]);
    let reserved = |bit: u8| {
        let mut bytes = frame(TEXT, b"x");
        bytes[0] |= bit;
        bytes
    };
    for bytes in [reserved(0x40), reserved(0x20), reserved(0x10), frame(3, b""), frame(7, b"x"), frame(11, b"")] {
        assert_eq!(closed(&server, &bytes), 1002, "{bytes:?}");
    }
    for bytes in [frame(0, b"x"), fragment(PING, b"x"), frame(PING, &[0; 126]), vec![0x81, 1, b'x']] {
        assert_eq!(closed(&server, &bytes), 1002);
    }
    assert_eq!(closed(&server, &[fragment(TEXT, b"a"), frame(TEXT, b"b")].concat()), 1002);
    for text in [&b"\xFF"[..], b"\xC0\xAF", b"\xED\xA0\x80", b"\xF4\x90\x80\x80", b"ab\xE2\x82"] {
        assert_eq!(closed(&server, &frame(TEXT, text)), 1007, "{text:?}");
        assert_eq!(closed(&server, &[fragment(TEXT, text), frame(0, b"")].concat()), 1007, "{text:?}");
    }
    for code in [0_u16, 999, 1004, 1005, 1006, 1015, 2999, 65_535] {
        assert_eq!(closed(&server, &frame(CLOSE, &code.to_be_bytes())), 1002, "{code}");
    }
    assert_eq!(closed(&server, &frame(CLOSE, &[3])), 1002);
    assert_eq!(closed(&server, &frame(CLOSE, b"\x03\xE8\xFF")), 1007);
    for code in [1000_u16, 1001, 1003, 1007, 1011, 3000, 4999] {
        assert_eq!(closed(&server, &frame(CLOSE, &code.to_be_bytes())), code);
    }
    let mut wire = echo(&server);
    wire.send(&frame(CLOSE, &[]));
    wire.send(&frame(TEXT, b"too late"));
    assert_eq!((wire.next_frame(), wire.next_frame()), (Some((CLOSE, Vec::new())), None));
}

/// Has the clients of npm talk to servers that are one; each conversation that went well.
fn node(part: &str, servers: &[Server], tokens: &[String]) -> Vec<String> {
    let said = run(Command::new("node").arg(NODE.join("clients.mjs")).args([part, &urls(servers)]).args(tokens));
    said.lines().map(str::to_owned).collect()
}

fn python(servers: &[Server], tokens: &[String]) -> Vec<String> {
    let script = Path::new(SCRIPTS).join("client.py");
    let said = run(Command::new(&*PYTHON).arg(script).arg(urls(servers)).args(tokens));
    said.lines().map(str::to_owned).collect()
}

fn urls(servers: &[Server]) -> String {
    let urls: Vec<String> = servers.iter().map(|server| format!("http://{}", server.address)).collect();
    urls.join(",")
}

/// A server of two shards, where joining makes rooms.
fn alone() -> [Server; 1] {
    [Server::of_shards(2, &[ROOMS])]
}

/// Three of them that share a Redis.
fn three(redis: &RedisServer) -> [Server; 3] {
    let url = format!("redis.url={}", redis.url());
    [(); 3].map(|()| Server::of_shards(2, &[ROOMS, &url]))
}

const ROOMS: &str = "rooms.create_on_join=always";

const TRANSPORTS: [&str; 3] = ["default", "websocket", "polling"];

fn tokens() -> [String; 2] {
    ["ada", "bob"].map(|user| token(user, &json!({})))
}

#[test]
fn npm_clients_pass_the_conformance_suite() {
    let _quiet = QUIET.write().unwrap_or_else(PoisonError::into_inner);
    let server = Server::start(&["--conformance", "--shards", "2"]);
    let mut expected = Vec::new();
    for transport in TRANSPORTS {
        expected.extend([2, 3, 4].map(|version| format!("socket.io-client {version}, {transport}")));
        expected.push(format!("engine.io-client, {transport}"));
    }
    assert_eq!(node("suite", &[server], &[]), expected);
}

#[test]
fn npm_clients_are_served_by_tls() {
    let _noisy = noisy();
    let authority = CertificateAuthority::new();
    let [cert, key] = authority.settings();
    let server = Server::of_shards(2, &[ROOMS, &cert, &key]);
    let url = format!("https://{}", server.address);
    let mut node = Command::new("node");
    node.env("NODE_EXTRA_CA_CERTS", authority.file("ca.pem")).arg(NODE.join("clients.mjs"));
    let by_tls = run(node.args(["users", &url]).args(tokens()));
    assert_eq!(by_tls.lines().collect::<Vec<_>>(), self::node("users", &alone(), &tokens()));
}

#[test]
fn npm_clients_pass_cases_of_their_own_suites() {
    let _noisy = noisy();
    let suites = ["socketio-client", "engineio-client"].map(|suite| format!("--conformance={suite}"));
    let [sockets, engines] = suites.map(|suite| Server::start(&[&suite, "--shards", "2"]));
    let urls = [sockets, engines].map(|server| (format!("http://{}", server.address), server));
    let said = run(Command::new("node").arg(NODE.join("own_cases.mjs")).args(urls.iter().map(|(url, _)| url)));
    assert_eq!(said.lines().count(), 10, "{said}");
}

/// What clients of each version say that talk with each transport.
fn of_each_version() -> Vec<String> {
    let versions = |transport| [2, 3, 4].map(|version| format!("socket.io-client {version}, {transport}"));
    TRANSPORTS.into_iter().flat_map(versions).collect()
}

#[test]
fn npm_clients_exchange_events_on_one_server() {
    let _noisy = noisy();
    assert_eq!(node("users", &alone(), &tokens()), of_each_version());
}

#[test]
fn npm_clients_exchange_events_across_servers() {
    let _noisy = noisy();
    let redis = RedisServer::start();
    assert_eq!(node("users", &three(&redis), &tokens()), of_each_version());
}

/// Has them speak each dialect, each at another one of these servers than the one before it.
fn speak_each_dialect(servers: &[Server]) {
    let _noisy = noisy();
    let admin = token("root", &json!({ "role": "admin" }));
    let script = NODE.join("dialects.mjs");
    let said = run(Command::new("node").arg(script).arg(urls(servers)).args(tokens()).arg(admin));
    assert_eq!(said.lines().collect::<Vec<_>>(), of_each_version());
}

#[test]
fn npm_clients_of_each_dialect_exchange_events_on_one_server() {
    speak_each_dialect(&[Server::start(&["--dev", "--shards", "2"])]);
}

#[test]
fn npm_clients_of_each_dialect_exchange_events_across_servers() {
    let redis = RedisServer::start();
    let url = format!("redis.url={}", redis.url());
    speak_each_dialect(&[(); 3].map(|()| Server::start(&["--dev", "--shards", "2", "--set", &url])));
}

#[test]
fn pypi_client_exchanges_events_with_each_server() {
    let _noisy = noisy();
    let expected = TRANSPORTS.map(|transport| format!("python-socketio, {transport}"));
    let server = Server::start(&["--conformance", "--shards", "2"]);
    assert_eq!(python(&[server], &[]), expected);
    assert_eq!(python(&alone(), &tokens()), expected);
    let redis = RedisServer::start();
    assert_eq!(python(&three(&redis), &tokens()), expected);
}
