//! Drain: the server stops accepting, tells each client when to reconnect, finishes pending requests, and exits.

use std::io::{ErrorKind, Read};
use std::net::TcpStream;
use std::process::{ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::client::{Client, End, PATIENCE};
use support::engineio::Polling;
use support::process::wait_until;
use support::server::{Server, command, token};
use support::tcp_client::TcpClient;

const SIGHUP: i32 = 1;
const SIGINT: i32 = 2;
const SIGTERM: i32 = 15;

/// Settings under which nothing but the test itself ends a request that is half sent.
const PATIENT: [&str; 3] = ["limits.head_ms=600000", "limits.handshake_ms=600000", "limits.idle_ms=600000"];

/// A server that logs to a pipe, with three shards and this long to leave.
fn server(drain_seconds: u32, settings: &[&str]) -> Server {
    let drain = format!("drain.seconds={drain_seconds}");
    let mut arguments = vec!["--shards", "3", "--set", "rooms.create_on_join=always", "--set", "presence.scope=none"];
    arguments.extend(["--set", "limits.connections_per_user=0", "--set", &drain]);
    for setting in settings {
        arguments.extend(["--set", setting]);
    }
    Server::spawn(command(&arguments, &[]).stderr(Stdio::piped()))
}

fn connect(server: &Server, user: &str) -> Client {
    Client::connect(&server.address, Some(&token(user, &json!({}))))
}

/// Waits until the server accepts no more.
fn wait_until_it_refuses(server: &Server) {
    wait_until(
        "connections are refused",
        || matches!(TcpStream::connect(&server.address), Err(error) if error.kind() == ErrorKind::ConnectionRefused),
    );
}

/// Waits for the end, which must come without a panic.
fn end(server: &mut Server) -> ExitStatus {
    let status = server.wait(PATIENCE);
    let mut log = String::new();
    server.stderr().expect("a log").read_to_string(&mut log).expect("text");
    assert!(!log.contains("panicked"), "{log}");
    status
}

/// Reads a client's last words: what it was told and how it was closed.
fn goodbye(client: &mut Client) -> (Value, u16) {
    let told = client.wait_for("disconnect");
    match client.end() {
        End::Close(code, _) => (told, code),
        End::Cut => panic!("cut without a close"),
    }
}

/// A request that is half sent, and of which the server has read that half.
fn half_a_request(server: &Server) -> TcpClient {
    let mut wire = TcpClient::connect(&server.address);
    let token = token("ann", &json!({}));
    wire.send(
        format!(
            "POST /rooms HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\n\
             Content-Length: 18\r\nExpect: 100-continue\r\n\r\n"
        )
        .as_bytes(),
    );
    assert!(wire.http_head().starts_with("HTTP/1.1 100 "));
    wire.send(b"{\"name\":");
    wire
}

/// The other half; it must be answered.
fn complete(mut wire: TcpClient) {
    wire.send(b"\"meeting\"}");
    let (head, body) = wire.http_answer().expect("an answer");
    assert!(head.starts_with("HTTP/1.1 201 "), "{head}");
    assert!(!body.is_empty());
}

#[test]
fn drain_closes_clients_spread_over_the_window() {
    for signal in [SIGTERM, SIGINT] {
        let mut server = server(2, &[]);
        let mut clients: Vec<Client> = (0..40).map(|number| connect(&server, &format!("u{number}"))).collect();
        for (number, client) in clients.iter_mut().enumerate() {
            client.join(&format!("r{}", number % 5), &number.to_string());
        }
        let since = Instant::now();
        server.signal(signal);
        let mut moments = Vec::new();
        for client in &mut clients {
            let (told, code) = goodbye(client);
            let moment = Duration::from_millis(told["retryAfterMs"].as_u64().expect("a number"));
            assert!(since.elapsed() >= moment, "closed before {moment:?}");
            assert_eq!((&told["reason"], &told["reconnect"]), (&json!("server-shutdown"), &json!(true)));
            assert!(code == 1012 || code == 1001, "{code}");
            moments.push(told["retryAfterMs"].as_u64().expect("a number"));
        }
        drop(clients);
        assert!(end(&mut server).success());
        moments.sort_unstable();
        let (first, last) = (moments[0], moments[moments.len() - 1]);
        assert!(last <= 2_000, "{last} is beyond the window");
        moments.dedup();
        // Forty moments by chance: the odds against this are one in a billion.
        assert!(last - first > 500 && moments.len() > 20, "no spread: {moments:?}");
    }
}

/// They are told nothing, and come back when they are closed.
#[test]
fn drain_of_few_sessions_closes_one_by_one() {
    let mut server = server(2, &[]);
    let open = "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: test\r\nUpgrade: websocket\r\n\
        Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let sessions: Vec<TcpClient> = (0..24)
        .map(|_| {
            let mut wire = TcpClient::connect(&server.address);
            wire.send(open.as_bytes());
            assert!(wire.http_head().starts_with("HTTP/1.1 101 "));
            wire.next_frame().expect("it is open");
            wire
        })
        .collect();
    let since = Instant::now();
    server.signal(SIGTERM);
    let ends = sessions.into_iter().map(|mut wire| thread::spawn(move || (wire.last_words().1, since.elapsed())));
    let ends: Vec<_> = ends.collect::<Vec<_>>().into_iter().map(|end| end.join().expect("an end")).collect();
    assert!(end(&mut server).success());
    assert!(ends.iter().all(|(code, _)| code.is_some()), "{ends:?}");
    let moments = ends.iter().map(|(_, moment)| *moment);
    let spread = moments.clone().max().zip(moments.min()).map(|(last, first)| last - first);
    // Each shard has eight of them, and 100 ms for each.
    assert!(spread > Some(Duration::from_millis(300)), "{ends:?}");
}

#[test]
fn drain_of_a_single_idle_client_ends_as_soon_as_it_has_left() {
    let mut server = server(30, &[]);
    let mut client = connect(&server, "ann");
    let since = Instant::now();
    server.signal(SIGTERM);
    let (told, _) = goodbye(&mut client);
    assert!(told["retryAfterMs"].as_u64().is_some_and(|ms| ms < 100), "{told}");
    drop(client);
    assert!(end(&mut server).success());
    assert!(since.elapsed() < Duration::from_secs(5), "{:?}", since.elapsed());
}

#[test]
fn drain_with_an_idle_poller_ends_without_the_window() {
    let mut server = server(60, &[]);
    let mut client = Polling::open(&server.address, "/socket.io/");
    client.begin_get();
    let since = Instant::now();
    server.signal(SIGTERM);
    // Its connections stay open on its side.
    assert_eq!(client.reading.answer().text(), "1");
    assert_eq!(client.reading.rest(), "");
    assert_eq!(client.writing.rest(), "");
    assert!(end(&mut server).success());
    assert!(since.elapsed() < Duration::from_secs(10), "{:?}", since.elapsed());
}

#[test]
fn hangup_signal_reloads_and_ends_nothing() {
    let mut server = server(2, &[]);
    let mut client = connect(&server, "ann");
    for _ in 0..3 {
        server.signal(SIGHUP);
    }
    client.join("r", "a");
    assert!(server.is_running());
    // During a drain neither.
    server.signal(SIGTERM);
    server.signal(SIGHUP);
    assert_eq!(goodbye(&mut client).1, 1012);
    drop(client);
    assert!(end(&mut server).success());
}

#[test]
fn drain_without_window_closes_all_at_once() {
    let mut server = server(0, &[]);
    let mut clients: Vec<Client> = (0..5).map(|number| connect(&server, &format!("u{number}"))).collect();
    server.signal(SIGTERM);
    for client in &mut clients {
        let (told, code) = goodbye(client);
        assert_eq!((&told["reconnect"], &told["retryAfterMs"]), (&json!(true), &json!(0)));
        assert_eq!(code, 1001);
    }
    assert!(end(&mut server).success());
}

#[test]
fn drain_without_clients_exits_at_once() {
    for signal in [SIGTERM, SIGINT] {
        // Far longer than the test waits.
        let mut server = server(3_600, &[]);
        connect(&server, "ann").close();
        server.signal(signal);
        assert!(end(&mut server).success());
        assert!(TcpStream::connect(&server.address).is_err());
    }
}

#[test]
fn drain_answers_pending_requests_on_all_shards() {
    let mut server = server(3_600, &PATIENT);
    // Each makes a room with a name by chance, so with near certainty every shard is home to some of them, though most
    // have no connection left by the time.
    let mut requests: Vec<TcpClient> = (0..12).map(|_| half_a_request(&server)).collect();
    server.signal(SIGTERM);
    wait_until_it_refuses(&server);
    assert!(server.is_running(), "it waits for the requests");
    let last = requests.pop().expect("a request");
    requests.into_iter().for_each(complete);
    assert!(server.is_running(), "it waits for the last request");
    complete(last);
    assert!(end(&mut server).success());
}

#[test]
fn second_signal_ends_the_drain_at_once() {
    for (first, second) in [(SIGTERM, SIGTERM), (SIGINT, SIGINT), (SIGTERM, SIGINT)] {
        let mut server = server(3_600, &PATIENT);
        let _request = half_a_request(&server);
        server.signal(first);
        wait_until_it_refuses(&server);
        assert!(server.is_running(), "it waits for the request");
        server.signal(second);
        assert_eq!(end(&mut server).code(), Some(130));
    }
}

#[test]
fn drain_does_not_wait_for_unanswered_close() {
    let mut server = server(1, &PATIENT);
    let token = token("mallory", &json!({}));
    // Silent connections, half a head, half a request, an upgraded one that never reads, and one that sent half a
    // frame.
    let silent: Vec<TcpClient> = (0..10).map(|_| TcpClient::connect(&server.address)).collect();
    let mut half = TcpClient::connect(&server.address);
    half.send(b"GET / HTTP/1.1\r\nHost:");
    let request = half_a_request(&server);
    let deaf: Vec<TcpClient> = (0..10).map(|_| TcpClient::connect(&server.address).upgrade(&token)).collect();
    let mut cut = TcpClient::connect(&server.address).upgrade(&token);
    cut.send(&[0x81, 0xFE, 0x10]);
    let mut idle = TcpClient::connect(&server.address);
    idle.send(b"GET /healthz HTTP/1.1\r\nHost: test\r\n\r\n");
    assert!(idle.http_answer().is_some());
    server.signal(SIGTERM);
    assert!(end(&mut server).success());
    drop((silent, half, request, deaf, cut, idle));
}
