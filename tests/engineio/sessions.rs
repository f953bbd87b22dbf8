//! Sessions: transports, the upgrade from polling to WebSocket, and every way to end.

use std::time::{Duration, Instant};

use support::engineio::{Polling, RS, Socket, server, suite_server};
use support::http::{Http, ask};
use support::process::wait_until;
use support::server::Server;

const UNKNOWN: &str = r#"{"code":1,"message":"Session ID unknown"}"#;

const BAD: &str = r#"{"code":3,"message":"Bad request"}"#;

/// That nothing is left of a client's session.
fn is_over(client: &Polling) {
    for (method, body) in [("GET", None), ("POST", Some("4x"))] {
        let answer = ask(&client.address, method, &client.path(), &[], body);
        assert_eq!((answer.status, answer.text().as_str()), (400, UNKNOWN), "{method}");
    }
}

#[test]
fn packets_of_one_turn_are_polled_together() {
    let server = suite_server();
    let mut client = Polling::open(&server.address, "/engine.io/");
    client.begin_get();
    client.send(&format!("4one{RS}bAQIDBA=={RS}4€"));
    assert_eq!(client.reading.answer().text(), format!("4one{RS}bAQIDBA=={RS}4€"));
}

#[test]
fn overlapping_polls_end_the_session() {
    let server = suite_server();
    let mut client = Polling::open(&server.address, "/engine.io/");
    client.begin_get();
    let answer = loop {
        // The first one has come when the second is refused.
        let answer = ask(&server.address, "GET", &client.path(), &[], None);
        if answer.status != 200 {
            break answer;
        }
        client = Polling::open(&server.address, "/engine.io/");
        client.begin_get();
    };
    assert_eq!((answer.status, answer.text().as_str()), (400, BAD));
    assert_eq!(client.reading.answer().text(), "1");
    is_over(&client);
}

#[test]
fn overlapping_posts_end_the_session() {
    let server = suite_server();
    let mut client = Polling::open(&server.address, "/engine.io/");
    let path = client.path();
    let mut slow = Http::connect(&server.address);
    slow.write(format!("POST {path} HTTP/1.1\r\nHost: h\r\nContent-Length: 6\r\nExpect: 100-continue\r\n\r\n"));
    assert_eq!(slow.answer().status, 100);
    let answer = client.post("4x");
    assert_eq!((answer.status, answer.text().as_str()), (400, BAD));
    // The first one's body comes too late.
    slow.write("4hello");
    let answer = slow.answer();
    assert_eq!((answer.status, answer.text().as_str()), (400, UNKNOWN));
    is_over(&client);
}

#[test]
fn aborted_poll_ends_the_session() {
    let server = suite_server();
    let mut client = Polling::open(&server.address, "/engine.io/");
    client.begin_get();
    client.reading.half_close();
    client.reading = Http::connect(&server.address);
    let answer = client.get();
    // This request may come before the other one, which then ends the session.
    assert!(answer.status == 400 || answer.text() == "1", "{}", answer.text());
    is_over(&client);
}

#[test]
fn connection_closed_between_requests_keeps_the_session() {
    let server = suite_server();
    let mut client = Polling::open(&server.address, "/engine.io/");
    client.reading = Http::connect(&server.address);
    client.writing = Http::connect(&server.address);
    client.send("4still here");
    assert_eq!(client.wait_for("4"), "4still here");
}

#[test]
fn non_packet_ends_the_session() {
    let server = suite_server();
    for body in ["abc", "", "4a\u{1e}", "9", "b=!", &format!("4a{RS}x")] {
        let mut client = Polling::open(&server.address, "/engine.io/");
        let answer = client.post(body);
        assert_eq!((answer.status, answer.text().as_str()), (400, BAD), "{body}");
        is_over(&client);
    }
    let mut client = Polling::open(&server.address, "/engine.io/");
    let head = format!("POST {} HTTP/1.1\r\nHost: h\r\nContent-Type: application/octet-stream\r\n", client.path());
    client.writing.write(format!("{head}Content-Length: 2\r\n\r\n4a"));
    assert_eq!(client.writing.answer().status, 400);
    for text in ["abc", "", "9", "2"] {
        let mut socket = Socket::open(&server.address, "/engine.io/");
        socket.send(text);
        assert_eq!(socket.end(), 1002, "{text}");
    }
}

#[test]
fn client_close_in_any_state_ends_the_session() {
    let server = suite_server();
    let mut client = Polling::open(&server.address, "/engine.io/");
    client.begin_get();
    client.send("1");
    assert_eq!(client.reading.answer().text(), "6");
    is_over(&client);
    // The poll comes after the goodbye.
    let mut client = Polling::open(&server.address, "/engine.io/");
    client.send("1");
    assert_eq!(client.get().text(), "6");
    is_over(&client);
    let mut socket = Socket::open(&server.address, "/engine.io/");
    socket.send("1");
    assert_eq!(socket.end(), 1000);
    // While it moves to a WebSocket.
    let (mut client, mut socket) = probed(&server);
    client.send("1");
    assert_eq!(socket.end(), 1000);
    // By WebSocket's own means, and by none.
    let mut socket = Socket::open(&server.address, "/engine.io/");
    socket.0.close(None).expect("it goes out");
    assert_eq!(socket.end(), 1005);
    drop(Socket::open(&server.address, "/engine.io/"));
}

/// A session that polls, and the WebSocket that may take it over.
fn probed(server: &Server) -> (Polling, Socket) {
    let client = Polling::open(&server.address, "/engine.io/");
    let mut socket = upgrade(server, &client);
    socket.send("2probe");
    assert_eq!(socket.next(), "3probe");
    (client, socket)
}

fn upgrade(server: &Server, client: &Polling) -> Socket {
    Socket::connect(&server.address, &format!("/engine.io/?EIO=4&transport=websocket&sid={}", client.sid))
}

#[test]
fn session_upgrades_to_websocket() {
    let server = suite_server();
    let (mut client, mut socket) = probed(&server);
    client.send("4before");
    assert_eq!(client.wait_for("4"), "4before");
    // A poll that waits is ended, so that the client can move on.
    assert_eq!(client.wait_for("6"), "6");
    client.send("4left behind");
    socket.send("5");
    assert_eq!(socket.next(), "4left behind");
    socket.send("4hello");
    assert_eq!(socket.next(), "4hello");
    let answer = client.get();
    assert_eq!((answer.status, answer.text().as_str()), (400, BAD));
    let answer = client.post("4x");
    assert_eq!((answer.status, answer.text().as_str()), (400, BAD));
    // It has its WebSocket; another one is opened and closed.
    assert_eq!(upgrade(&server, &client).end(), 1000);
    socket.send("4still here");
    assert_eq!(socket.next(), "4still here");
}

#[test]
fn failed_upgrade_leaves_the_transport() {
    let server = suite_server();
    for text in ["4x", "2", "abc", "3probe"] {
        let mut client = Polling::open(&server.address, "/engine.io/");
        let mut socket = upgrade(&server, &client);
        socket.send(text);
        assert_ne!(socket.end(), 1006, "{text}");
        client.send("4here");
        assert_eq!(client.wait_for("4"), "4here", "{text}");
    }
    let (mut client, socket) = probed(&server);
    let mut second = upgrade(&server, &client);
    assert_eq!(second.end(), 1000);
    drop(socket);
    client.send("4here");
    assert_eq!(client.wait_for("4"), "4here");
    // The next attempt is as good as the first.
    wait_until("the WebSocket that is gone is forgotten", || {
        let mut socket = upgrade(&server, &client);
        socket.send("2probe");
        matches!(socket.0.read(), Ok(tungstenite::Message::Text(text)) if text.as_str() == "3probe")
    });
}

/// Both intervals of the suites' server, less what a client's clock and the server's may differ by.
const SILENCE: Duration = Duration::from_millis(495);

#[test]
fn silent_session_ends_after_interval_and_timeout() {
    let server = suite_server();
    let begun = Instant::now();
    assert_eq!(Socket::open(&server.address, "/engine.io/").end(), 4408);
    assert!(begun.elapsed() >= SILENCE, "over after {:?}", begun.elapsed());
    let begun = Instant::now();
    let mut client = Polling::open(&server.address, "/engine.io/");
    assert_eq!((client.packets(), client.packets()), (vec!["2".to_owned()], vec!["1".to_owned()]));
    assert!(begun.elapsed() >= SILENCE, "over after {:?}", begun.elapsed());
    is_over(&client);
    // Messages are no pongs, and nobody polls to hear of the end.
    let begun = Instant::now();
    let mut client = Polling::open(&server.address, "/engine.io/");
    wait_until("the session is over", || client.post("4x").status == 400);
    assert!(begun.elapsed() >= SILENCE, "over after {:?}", begun.elapsed());
    is_over(&client);
}

#[test]
fn pongs_keep_the_session_alive() {
    let server = suite_server();
    let mut client = Polling::open(&server.address, "/engine.io/");
    for _ in 0..3 {
        assert_eq!(client.packets(), ["2"]);
        client.send("3");
    }
    let mut socket = Socket::open(&server.address, "/engine.io/");
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(1_100) {
        match socket.0.read().expect("a message") {
            tungstenite::Message::Text(text) => assert_eq!(text.as_str(), "2"),
            other => panic!("{other:?}"),
        }
        socket.send("3");
    }
}

#[test]
fn session_not_polling_its_output_is_closed() {
    let server = server(&["limits.outbound_bytes=20000", "heartbeat.interval_ms=60000"]);
    let mut client = Polling::open(&server.address, "/socket.io/");
    // It is answered that there is no such namespace, over and over, and never polls.
    let connect = format!("40/{}", "n".repeat(100));
    let ended = (0..1_000).find(|_| client.post(&connect).text() != "ok");
    assert!(ended.is_some(), "it is still there");
    is_over(&client);
}

#[test]
fn sessions_stop_at_the_connection_limit() {
    let server = server(&["limits.connections=10"]);
    let mut http = Http::connect(&server.address);
    let path = "/socket.io/?EIO=4&transport=polling";
    let statuses: Vec<u16> = (0..12).map(|_| http.ask("GET", path, &[], None).status).collect();
    assert_eq!(statuses, [[200; 10].as_slice(), &[403; 2]].concat());
    let answer = http.ask("GET", path, &[], None);
    assert_eq!(answer.text(), r#"{"code":4,"message":"Forbidden"}"#);
    assert_eq!(http.ask("GET", "/healthz", &[], None).status, 200);
}

#[test]
fn sessions_during_drain_are_closed_with_notice() {
    let mut server = Server::of_shards(1, &["drain.seconds=1"]);
    let mut client = Polling::open(&server.address, "/socket.io/");
    client.begin_get();
    let mut socket = Socket::open(&server.address, "/socket.io/");
    assert_eq!(ask(&server.address, "GET", "/healthz", &[], None).status, 200);
    server.signal(15);
    assert_eq!(client.reading.answer().text(), "1");
    assert_eq!(socket.end(), 1000);
    assert!(server.wait(Duration::from_secs(10)).success());
}
