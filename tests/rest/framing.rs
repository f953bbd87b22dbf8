//! HTTP framing: whole and split requests, valid and malformed.

use std::time::{Duration, Instant};

use serde_json::json;

use support::http::{Http, Response, bearer, request};
use support::server::{Server, token};

fn start() -> (Server, String) {
    (Server::start(&["--set", "limits.body_bytes=1000"]), bearer(&token("alice", &json!({}))))
}

/// Writes `bytes` on a new connection; the answer, and what came after it until the end.
fn last_answer(server: &Server, bytes: &str) -> (Response, String) {
    let mut http = Http::connect(&server.address);
    http.write(bytes);
    let response = http.answer();
    (response, http.rest())
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let (server, alice) = start();
    let mut http = Http::connect(&server.address);
    let room = http.ask("POST", "/rooms", &[&alice], Some("{}")).json()["room"]["roomId"].as_str().map(str::to_owned);
    let room = room.expect("a room");
    // Some are answered at once, some by another thread, one is refused.
    let get = |path: &str| request("GET", path, &[&alice], None);
    let mut written = String::new();
    let mut expected = Vec::new();
    for at in 0..20 {
        let named = format!("{{\"name\": \"room {at}\"}}");
        written += &request("POST", "/rooms", &[&alice], Some(&named));
        written += &(get("/healthz") + &get(&format!("/rooms/{room}")) + &get(&format!("/rooms/none{at}")));
        expected.push((at, named));
    }
    http.write(&written);
    for (at, _) in expected {
        assert_eq!(http.answer().json()["room"]["name"], format!("room {at}"));
        assert_eq!(http.answer().json()["status"], "healthy");
        assert_eq!(http.answer().json()["room"]["roomId"], room.as_str());
        assert_eq!(http.answer().code(), "ROOM_NOT_FOUND");
    }
}

#[test]
fn bytes_after_connection_close_are_ignored() {
    let (server, _) = start();
    let get = |header: &str| format!("GET /healthz HTTP/1.1\r\nHost: h\r\n{header}\r\n");
    let (response, rest) = last_answer(&server, &(get("Connection: close\r\n") + &get("")));
    assert_eq!((response.status, response.header("connection")), (200, Some("close")));
    assert_eq!(rest, "");
}

#[test]
fn half_closed_request_is_answered() {
    let (server, alice) = start();
    for _ in 0..20 {
        for (path, status) in [("/healthz", 200), ("/rooms/none", 404)] {
            let mut http = Http::connect(&server.address);
            http.write(request("GET", path, &[&alice], None));
            http.half_close();
            assert_eq!(http.answer().status, status, "{path}");
            assert_eq!(http.rest(), "");
        }
    }
}

#[test]
fn half_closed_slow_reader_receives_all_responses() {
    let server = Server::start(&["--set", "limits.outbound_bytes=0"]);
    let mut http = Http::connect(&server.address);
    let page = http.ask("GET", "/assets/call.js", &[], None);
    // More than the kernel holds, taken over more time than a connection has for its end.
    let count = 16_000_000 / page.body.len();
    http.write(request("GET", "/assets/call.js", &[], None).repeat(count));
    http.half_close();
    for at in 0..count {
        if at % (count / 8) == 0 {
            std::thread::sleep(Duration::from_millis(500));
        }
        assert_eq!(http.answer().status, 200, "{at} of {count}");
    }
    assert_eq!(http.rest(), "");
}

#[test]
fn chunked_body_is_reassembled() {
    let (server, alice) = start();
    let mut http = Http::connect(&server.address);
    let head = format!("POST /rooms HTTP/1.1\r\nHost: h\r\n{alice}\r\nTransfer-Encoding: chunked\r\n\r\n");
    let body = "8;note=x\r\n{\"name\":\r\n5\r\n \"n\"}\r\n0\r\nX-Trailer: y\r\n\r\n";
    http.write(format!("{head}{body}GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n"));
    let made = http.answer();
    assert_eq!((made.status, &made.json()["room"]["name"]), (201, &json!("n")));
    assert_eq!(http.answer().json()["status"], "healthy");
    // An empty body in chunks counts as {}.
    http.write(format!("{head}0\r\n\r\n"));
    assert_eq!(http.answer().status, 201);
    // Its limit holds for all chunks together.
    let chunk = format!("{:x}\r\n{}\r\n", 600, " ".repeat(600));
    http.write(format!("{head}{chunk}{chunk}0\r\n\r\n"));
    let refused = http.answer();
    assert_eq!((refused.status, refused.header("connection")), (413, Some("close")));
}

#[test]
fn chunk_extension_outside_its_grammar_is_refused() {
    let (server, alice) = start();
    let head = format!("POST /rooms HTTP/1.1\r\nHost: h\r\n{alice}\r\nTransfer-Encoding: chunked\r\n\r\n");
    for line in ["2;", "2;bad[=x", "2;=x", "2;a b", "2;a=\"x", "2;a;;b", "2 x"] {
        let (response, rest) = last_answer(&server, &format!("{head}{line}\r\n{{}}\r\n0\r\n\r\n"));
        assert_eq!((response.status, rest.as_str()), (400, ""), "{line:?}");
    }
    let mut http = Http::connect(&server.address);
    for line in ["2;a", "2 ; a = \"x;\\\"y\";b=c"] {
        http.write(format!("{head}{line}\r\n{{}}\r\n0;z\r\n\r\n"));
        assert_eq!(http.answer().status, 201, "{line:?}");
    }
}

#[test]
fn expect_continue_is_answered() {
    let (server, alice) = start();
    let head = |length: usize, token: &str| {
        format!(
            "POST /rooms HTTP/1.1\r\nHost: h\r\n{token}\r\nContent-Length: {length}\r\nExpect: 100-continue\r\n\r\n"
        )
    };
    let mut http = Http::connect(&server.address);
    http.write(head(2, &alice));
    assert_eq!(http.answer().status, 100);
    http.write("{}");
    assert_eq!(http.answer().status, 201);
    // Whose body is not wanted is told so instead.
    http.write(head(2, "X: y"));
    assert_eq!(http.answer().status, 401);
    let (response, rest) = last_answer(&server, &head(1001, &alice));
    assert_eq!((response.status, rest.as_str()), (413, ""));
    // Nothing to wait for: the answer comes at once.
    let mut http = Http::connect(&server.address);
    http.write(head(0, &alice));
    assert_eq!(http.answer().status, 201);
}

#[test]
fn ambiguous_framing_is_refused() {
    let (server, alice) = start();
    let chunked = "Transfer-Encoding: chunked\r\n";
    let heads = [
        ("both lengths", format!("Content-Length: 5\r\n{chunked}\r\n0\r\n\r\n")),
        ("both, the other way round", format!("{chunked}Content-Length: 5\r\n\r\n0\r\n\r\n")),
        ("two lengths", "Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}".into()),
        ("the same length twice", "Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}".into()),
        ("a list of lengths", "Content-Length: 2, 2\r\n\r\n{}".into()),
        ("a folded line", "X: y\r\n z\r\nContent-Length: 2\r\n\r\n{}".into()),
        ("a folded length", "Content-Length:\r\n 2\r\n\r\n{}".into()),
        ("a bare LF", "X: y\nContent-Length: 2\r\n\r\n{}".into()),
        ("a bare LF at the end", "Content-Length: 2\r\n\n{}".into()),
        ("a bare CR", "X: y\rz\r\nContent-Length: 2\r\n\r\n{}".into()),
        ("a space before the colon", "Content-Length : 2\r\n\r\n{}".into()),
        ("a plus sign", "Content-Length: +2\r\n\r\n{}".into()),
        ("a minus sign", "Content-Length: -2\r\n\r\n{}".into()),
        ("a hexadecimal length", "Content-Length: 0x2\r\n\r\n{}".into()),
        ("a length past all numbers", "Content-Length: 99999999999999999999\r\n\r\n{}".into()),
        ("an empty length", "Content-Length:\r\n\r\n".into()),
        ("an unknown coding", "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n".into()),
        ("a coding that only looks chunked", "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n".into()),
        ("chunked twice", format!("{chunked}{chunked}\r\n0\r\n\r\n")),
        ("a second host", "Host: other\r\nContent-Length: 2\r\n\r\n{}".into()),
        ("a NUL", "X: a\0b\r\nContent-Length: 2\r\n\r\n{}".into()),
        ("a chunk size that is none", format!("{chunked}\r\nzz\r\n{{}}\r\n0\r\n\r\n")),
        ("a chunk size with a sign", format!("{chunked}\r\n+2\r\n{{}}\r\n0\r\n\r\n")),
        ("a chunk size with 0x", format!("{chunked}\r\n0x2\r\n{{}}\r\n0\r\n\r\n")),
        ("an empty chunk size", format!("{chunked}\r\n\r\n{{}}\r\n0\r\n\r\n")),
        ("a chunk size past all numbers", format!("{chunked}\r\n10000000000000000\r\n")),
        ("a chunk longer than its size", format!("{chunked}\r\n1\r\n{{}}\r\n0\r\n\r\n")),
        ("a bare LF after a chunk size", format!("{chunked}\r\n2\n{{}}\r\n0\r\n\r\n")),
        ("a bare LF after a chunk", format!("{chunked}\r\n2\r\n{{}}\n0\r\n\r\n")),
        ("a trailer that is no header", format!("{chunked}\r\n2\r\n{{}}\r\n0\r\nno header\r\n\r\n")),
    ];
    for (what, head) in heads {
        let smuggled = "GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n";
        let bytes = format!("POST /rooms HTTP/1.1\r\nHost: h\r\n{alice}\r\n{head}{smuggled}");
        let (response, rest) = last_answer(&server, &bytes);
        assert_eq!((response.status, response.header("connection")), (400, Some("close")), "{what}");
        assert_eq!(response.json()["code"], "INVALID_MESSAGE", "{what}");
        assert_eq!(rest, "", "{what}: nothing after it is answered");
    }
}

#[test]
fn malformed_request_is_refused() {
    let (server, _) = start();
    let heads = [
        "GET /healthz HTTP/1.1\r\n\r\n",
        "GET  /healthz HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET /healthz\r\n\r\n",
        "GET /healthz HTTX/1.1\r\nHost: h\r\n\r\n",
        "GET healthz HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET /healthz HTTP/1.1\r\nHost: a b\r\n\r\n",
        "GET http://user@h/healthz HTTP/1.1\r\nHost: h\r\n\r\n",
        "CONNECT h:80 HTTP/1.1\r\nHost: h\r\n\r\n",
        "\u{16}\u{3}\u{1}\u{2}\0\u{1}\0\u{1}\u{fc}\u{3}\u{3}\r\n\r\n",
    ];
    for head in heads {
        let (response, rest) = last_answer(&server, head);
        assert_eq!((response.status, rest.as_str()), (400, ""), "{head:?}");
    }
    // An absolute target is one; its host counts.
    let mut http = Http::connect(&server.address);
    http.write("GET http://h/healthz HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(http.answer().status, 200);
}

#[test]
fn input_split_anywhere_gives_the_same_replies() {
    let (server, alice) = start();
    let chunks = "Transfer-Encoding: chunked\r\n\r\n5\r\n{\"nam\r\n9\r\ne\": \"x y\"\r\n1\r\n}\r\n0\r\n\r\n";
    let bytes = request("POST", "/rooms", &[&alice], Some("{\"name\": \"n\"}"))
        + &request("GET", "/rooms/none", &[&alice], None)
        + &format!("POST /rooms HTTP/1.1\r\nHost: h\r\n{alice}\r\n{chunks}")
        + &request("HEAD", "/healthz", &[], None)
        + "\r\nOPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n";
    for piece in [1, 7, bytes.len()] {
        let mut http = Http::connect(&server.address);
        for bytes in bytes.as_bytes().chunks(piece) {
            http.write(bytes);
        }
        assert_eq!(http.answer().json()["room"]["name"], "n", "in pieces of {piece}");
        assert_eq!(http.answer().code(), "ROOM_NOT_FOUND");
        assert_eq!(http.answer().json()["room"]["name"], "x y");
        assert_eq!(http.answer_to("HEAD").status, 200);
        assert_eq!(http.answer().status, 204);
    }
}

/// Writes a byte at a time, more slowly than the server has patience, until the answer is there; how long that took.
fn trickle(server: &Server, start: &str) -> (Response, Duration) {
    let mut http = Http::connect(&server.address);
    let begun = Instant::now();
    http.write(start);
    let mut slow = http.clone_writer();
    let writer = std::thread::spawn(move || {
        while begun.elapsed() < Duration::from_secs(5) && std::io::Write::write_all(&mut slow, b"a").is_ok() {
            std::thread::sleep(Duration::from_millis(40));
        }
    });
    let response = http.answer();
    let took = begun.elapsed();
    drop(http);
    writer.join().expect("the writer ends");
    (response, took)
}

#[test]
fn incomplete_request_times_out() {
    let server = Server::start(&["--set", "limits.head_ms=400"]);
    let alice = bearer(&token("alice", &json!({})));
    let starts = [
        "GET /healthz HTTP/1.1\r\nHost: h\r\nX: ".to_owned(),
        format!("POST /rooms HTTP/1.1\r\nHost: h\r\n{alice}\r\nContent-Length: 1000\r\n\r\n"),
        // The time a second request may take begins with its own first byte.
        "GET /healthz HTTP/1.1\r\nHost: h\r\n\r\nGET /healthz HTTP/1.1\r\nHost: h\r\nX: ".to_owned(),
    ];
    for start in starts {
        let mut http = Http::connect(&server.address);
        http.write(&start);
        let mut response = http.answer();
        if response.status == 200 {
            response = http.answer();
        }
        assert_eq!((response.status, response.code().as_str()), (408, "INVALID_MESSAGE"), "{start:?}");
        assert_eq!(response.header("connection"), Some("close"));
        assert_eq!(http.rest(), "");
    }
}

#[test]
fn slow_request_times_out() {
    let server = Server::start(&["--set", "limits.head_ms=400"]);
    let alice = bearer(&token("alice", &json!({})));
    let head = "GET /healthz HTTP/1.1\r\nHost: h\r\nX: ".to_owned();
    let body = format!("POST /rooms HTTP/1.1\r\nHost: h\r\n{alice}\r\nContent-Length: 1000\r\n\r\n");
    for start in [head, body] {
        let (response, took) = trickle(&server, &start);
        assert_eq!(response.status, 408, "{start:?}");
        assert!(took < Duration::from_secs(4), "{took:?}: {start:?}");
    }
}
