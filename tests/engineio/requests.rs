//! HTTP requests of Engine.IO: the response to each, and cross-origin rules.

use support::engineio::{Polling, Socket, server, suite_server};
use support::http::{Http, Response, ask};
use support::server::Server;

/// An answer as one line.
fn line(answer: &Response) -> String {
    format!("{} {} {}", answer.status, answer.header("content-type").unwrap_or_default(), answer.text())
}

fn asked(server: &Server, method: &str, query: &str) -> String {
    line(&ask(&server.address, method, &format!("/socket.io/{query}"), &[], None))
}

const UPGRADE: [&str; 4] = [
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
];

#[test]
fn invalid_request_is_answered_with_its_error() {
    let server = server(&[]);
    let json = |code: u8, message: &str| format!("400 application/json {{\"code\":{code},\"message\":\"{message}\"}}");
    for query in ["", "?EIO=4", "?EIO=4&transport=abc", "?transport=webtransport&EIO=4"] {
        assert_eq!(asked(&server, "GET", query), json(0, "Transport unknown"), "{query}");
    }
    for sid in ["abc", "AAAAAEAAAAAAAAAAAAAAAAAA", "%20", "AAAAAAAAAAAAAAAAAAAAAAAA", "AAD_AEAAAAAAAAAAAAAAAAAA"] {
        let query = format!("?EIO=4&transport=polling&sid={sid}");
        assert_eq!(asked(&server, "GET", &query), json(1, "Session ID unknown"), "{query}");
    }
    for method in ["POST", "PUT", "DELETE", "HEAD"] {
        let answer = asked(&server, method, "?EIO=4&transport=polling");
        let expected = json(2, "Bad handshake method");
        assert!(answer == expected || method == "HEAD" && expected.starts_with(&answer), "{answer}");
    }
    assert_eq!(asked(&server, "GET", "?EIO=4&transport=websocket"), json(3, "Bad request"));
    for version in ["", "EIO=2&", "EIO=5&", "EIO=abc&", "EIO=&"] {
        let query = format!("?{version}transport=polling");
        assert_eq!(asked(&server, "GET", &query), json(5, "Unsupported protocol version"), "{query}");
    }
    let mut client = Polling::open(&server.address, "/socket.io/");
    for method in ["PUT", "DELETE", "PATCH"] {
        let answer = client.writing.ask(method, &client.path(), &[], None);
        assert_eq!(line(&answer), json(3, "Bad request"), "{method}");
    }
}

#[test]
fn invalid_upgrade_is_answered_with_plain_text() {
    let server = server(&[]);
    let sid = Polling::open(&server.address, "/socket.io/").sid;
    for (query, message) in [
        ("?EIO=4&transport=abc", "Transport unknown"),
        ("?EIO=9&transport=websocket", "Unsupported protocol version"),
        ("?EIO=4&transport=websocket&sid=abc", "Session ID unknown"),
        ("?EIO=4&transport=polling", "Bad request"),
        (&format!("?EIO=4&transport=polling&sid={sid}"), "Bad request"),
    ] {
        let mut http = Http::connect(&server.address);
        let answer = http.ask("GET", &format!("/socket.io/{query}"), &UPGRADE, None);
        assert_eq!(line(&answer), format!("400 text/html {message}"), "{query}");
        assert_eq!((answer.header("connection"), http.rest()), (Some("close"), String::new()));
    }
}

#[test]
fn handshake_response_describes_the_session() {
    let server = server(&[]);
    let answer = ask(&server.address, "GET", "/socket.io/?EIO=4&transport=polling&t=abc", &[], None);
    assert_eq!(
        (answer.header("content-type"), answer.header("cache-control")),
        (Some("text/plain; charset=UTF-8"), Some("no-store"))
    );
    let text = answer.text();
    let sid = &text[9..33];
    let rest = r#""upgrades":["websocket"],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}"#;
    assert_eq!(text, format!("0{{\"sid\":\"{sid}\",{rest}"));
    let without_slash = ask(&server.address, "GET", "/socket.io?EIO=4&transport=polling", &[], None);
    assert_eq!(without_slash.status, 200);
    assert_eq!(ask(&server.address, "GET", "/socket.iox/?EIO=4&transport=polling", &[], None).status, 404);
    // The suites' paths are not there for users.
    assert_eq!(ask(&server.address, "GET", "/engine.io/?EIO=4&transport=polling", &[], None).status, 404);
    assert_eq!(ask(&server.address, "GET", "/echo", &UPGRADE, None).status, 404);
}

#[test]
fn cross_origin_requests_follow_the_settings() {
    let server = server(&["server.names=switchboard.test", "cors.origins=[\"https://app.example\"]"]);
    let path = "/socket.io/?EIO=4&transport=polling";
    let answer = ask(&server.address, "GET", path, &["Origin: https://app.example"], None);
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("access-control-allow-origin"), Some("https://app.example"));
    assert_eq!(answer.header("access-control-allow-credentials"), Some("true"));
    let answer = ask(&server.address, "GET", path, &["Origin: https://evil.example"], None);
    assert_eq!(line(&answer), r#"403 application/json {"code":4,"message":"Forbidden"}"#);
    assert_eq!(answer.header("access-control-allow-origin"), None);
    assert_eq!(ask(&server.address, "GET", path, &["Origin: http://switchboard.test"], None).status, 200);
    let mut upgrade = UPGRADE.to_vec();
    upgrade.push("Origin: https://evil.example");
    let answer = ask(&server.address, "GET", "/socket.io/?EIO=4&transport=websocket", &upgrade, None);
    assert_eq!(line(&answer), "403 text/html Forbidden");
    let asks = ["Origin: https://app.example", "Access-Control-Request-Method: POST"];
    let answer = ask(&server.address, "OPTIONS", path, &asks, None);
    assert_eq!((answer.status, answer.header("access-control-allow-methods")), (204, Some("GET, POST, OPTIONS")));
}

#[test]
fn oversized_post_is_refused_and_session_continues() {
    let server = suite_server();
    let mut client = Polling::open(&server.address, "/engine.io/");
    let answer = client.post(&format!("4{}", "x".repeat(1_000_000)));
    assert_eq!((answer.status, answer.header("connection")), (413, Some("close")));
    // The same in pieces, the length of which is not announced.
    let head = format!("POST {} HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n", client.path());
    let mut http = Http::connect(&server.address);
    http.write(&head);
    http.write(format!("{:x}\r\n", 1_000_001));
    http.try_write(vec![b'4'; 1_000_001]);
    assert_eq!(http.answer().status, 413);
    client.writing = Http::connect(&server.address);
    let largest = format!("4{}", "x".repeat(999_999));
    client.send(&largest);
    assert_eq!(client.wait_for("4"), largest);
}

#[test]
fn connection_serves_consecutive_requests() {
    let server = suite_server();
    let mut http = Http::connect(&server.address);
    let open = "GET /engine.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: h\r\n\r\n";
    // Two sessions, the health of the server and a refusal, all asked for at once.
    http.write(format!("{open}{open}GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n{}", open.replace("EIO=4", "EIO=1")));
    let answers: Vec<u16> = (0..4).map(|_| http.answer().status).collect();
    assert_eq!(answers, [200, 200, 200, 400]);
    // What waits is answered before what follows it.
    http.write(open);
    let sid = http.answer().text()[9..33].to_owned();
    let session = format!("/engine.io/?EIO=4&transport=polling&sid={sid}");
    http.write(format!("GET {session} HTTP/1.1\r\nHost: h\r\n\r\nGET /healthz HTTP/1.1\r\nHost: h\r\n\r\n"));
    let answer = ask(&server.address, "POST", &session, &[], Some("4hello"));
    assert_eq!(answer.text(), "ok");
    assert_eq!(http.answer().text(), "4hello");
    assert!(http.answer().text().contains("healthy"));
    let mut socket = Socket::open(&server.address, "/engine.io/");
    socket.send_binary(b"\x01\x02");
    assert_eq!(socket.next_binary(), b"\x01\x02");
}
