//! Each call, each status, and its headers.

use serde_json::{Value, json};

use support::http::{Http, Response, ask, bearer, request};
use support::server::{Server, token};

const NONE: &str = "";

/// A server, a user's token line and an admin's.
fn start() -> (Server, String, String) {
    let server = Server::start(&["--set", "limits.body_bytes=10000"]);
    (server, bearer(&token("alice", &json!({}))), bearer(&token("root", &json!({ "role": "admin" }))))
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().expect("an object").keys().map(String::as_str).collect()
}

#[track_caller]
fn assert_refused(response: &Response, status: u16, code: &str) {
    assert_eq!((response.status, response.code().as_str()), (status, code), "{}", response.text());
    assert_eq!(response.header("content-type"), Some("application/json; charset=utf-8"));
    let body = response.json();
    assert_eq!(keys(&body), ["code", "error", "success"]);
    assert_eq!(body["success"], false);
    assert!(!body["error"].as_str().expect("a text").is_empty());
}

#[test]
fn meeting_lifecycle_by_rest_works() {
    let (server, alice, root) = start();
    let mut http = Http::connect(&server.address);
    let body = r#"{"hostPeerId": "host-unique-id", "maxParticipants": 10, "encryption": "none"}"#;
    let made = http.ask("POST", "/api/rooms", &[&alice], Some(body));
    assert_eq!(made.status, 201);
    assert_eq!(made.header("content-type"), Some("application/json; charset=utf-8"));
    let meeting = made.json();
    let room = meeting["roomId"].as_str().expect("a room");
    assert_eq!(made.header("location"), Some(format!("/api/rooms/{room}").as_str()));
    assert_eq!(keys(&meeting), ["createdAt", "encryption", "hostPeerId", "joinLink", "maxParticipants", "roomId"]);
    // Without a CLIENT_URL, links lead to the server that was asked.
    assert_eq!(meeting["joinLink"], format!("http://switchboard.test/meeting/{room}"));
    let path = format!("/api/rooms/{room}");
    let shown = http.ask("GET", &path, &[&alice], None);
    assert_eq!(shown.status, 200);
    let fields = ["connectionMode", "meetingInfo", "participantCount", "peers", "roomId"];
    assert_eq!(keys(&shown.json()), fields);
    let list = http.ask("GET", "/api/rooms", &[&root], None);
    assert_eq!(list.status, 200);
    assert_eq!(keys(&list.json()), ["rooms", "serverStats", "totalPeers", "totalRooms"]);
    let gone = http.ask("DELETE", &path, &[&alice], None);
    assert_eq!((gone.status, gone.text().as_str(), gone.header("content-length")), (204, "", None));
    assert_eq!(gone.header("content-type"), None);
    assert_refused(&http.ask("GET", &path, &[&alice], None), 404, "ROOM_NOT_FOUND");
}

#[test]
fn join_link_behind_a_proxy_has_the_clients_scheme_and_host() {
    let alice = bearer(&token("alice", &json!({})));
    let link = |trusted: &str, headers: &[&str]| {
        let server = Server::start(&["--set", &format!("trusted_proxies={trusted}")]);
        let headers = [&[alice.as_str()], headers].concat();
        let made = ask(&server.address, "POST", "/api/rooms", &headers, Some("{}")).json();
        let link = made["joinLink"].as_str().expect("a link").to_owned();
        link.split("/meeting/").next().expect("a site").to_owned()
    };
    let secure = ["X-Forwarded-Proto: https", "X-Forwarded-For: 192.0.2.1"];
    assert_eq!(link("127.0.0.0/8", &secure), "https://switchboard.test");
    let forwarded = ["Forwarded: for=192.0.2.1;proto=https;host=chat.example"];
    assert_eq!(link("127.0.0.1", &forwarded), "https://chat.example");
    assert_eq!(link("192.0.2.7", &secure), "http://switchboard.test", "an untrusted client is not believed");
}

#[test]
fn room_name_in_path_is_decoded() {
    let (server, alice, _) = start();
    let mut http = Http::connect(&server.address);
    let made = http.ask("POST", "/rooms", &[&alice], Some(r#"{"name": "A & B"}"#));
    let room = made.json()["room"]["roomId"].as_str().expect("a room").to_owned();
    assert_eq!(made.header("location"), Some(format!("/rooms/{room}").as_str()));
    let escaped: String = room.bytes().map(|byte| format!("%{byte:02x}")).collect();
    let shown = http.ask("GET", &format!("/rooms/{escaped}?x=1"), &[&alice], None);
    assert_eq!((shown.status, &shown.json()["room"]["name"]), (200, &json!("A & B")));
    assert_eq!(http.ask("POST", &format!("/rooms/{room}/join"), &[&alice], None).status, 200);
}

#[test]
fn refusal_has_its_status_and_code() {
    let (server, alice, _) = start();
    let long = format!("{{\"name\": \"{}\"}}", "x".repeat(10_000));
    let huge = format!("X-Filler: {}", "x".repeat(17_000));
    let table = [
        ("POST", "/rooms", alice.as_str(), Some("{"), 400, "BAD_JSON"),
        ("POST", "/rooms", NONE, Some("{}"), 401, "UNAUTHENTICATED"),
        ("POST", "/rooms", "Authorization: Basic YTpi", Some("{}"), 401, "UNAUTHENTICATED"),
        ("POST", "/rooms", "Authorization: Bearer x.y.z", Some("{}"), 401, "UNAUTHENTICATED"),
        ("GET", "/api/rooms", alice.as_str(), None, 403, "FORBIDDEN"),
        ("GET", "/rooms/none", alice.as_str(), None, 404, "ROOM_NOT_FOUND"),
        ("GET", "/nowhere", alice.as_str(), None, 404, "NOT_FOUND"),
        ("GET", "/rooms/", alice.as_str(), None, 404, "NOT_FOUND"),
        ("PUT", "/rooms/none", alice.as_str(), Some("{}"), 405, "UNKNOWN_TYPE"),
        // No length at all is an empty body.
        ("POST", "/broadcast", alice.as_str(), None, 403, "FORBIDDEN"),
        ("PUT", "/presence/alice", alice.as_str(), None, 422, "INVALID_MESSAGE"),
        ("POST", "/connections", alice.as_str(), None, 422, "INVALID_MESSAGE"),
        ("POST", "/rooms", alice.as_str(), Some(long.as_str()), 413, "MESSAGE_TOO_LARGE"),
        ("POST", "/rooms", alice.as_str(), Some("[]"), 422, "INVALID_MESSAGE"),
        ("POST", "/rooms", alice.as_str(), Some(r#"{"isPrivate": "yes"}"#), 422, "INVALID_MESSAGE"),
        ("GET", "/ws", alice.as_str(), None, 426, "INVALID_MESSAGE"),
        ("GET", "/healthz", huge.as_str(), None, 431, "MESSAGE_TOO_LARGE"),
        ("GET", "/healthz", "Expect: the-unexpected", None, 417, "INVALID_MESSAGE"),
    ];
    for (method, path, header, body, status, code) in table {
        let headers: Vec<&str> = Some(header).filter(|header| !header.is_empty()).into_iter().collect();
        println!("{method} {path} {}", header.get(..20).unwrap_or(header));
        assert_refused(&ask(&server.address, method, path, &headers, body), status, code);
    }
}

#[test]
fn expired_token_is_distinguished_from_invalid() {
    let (server, ..) = start();
    let expired = bearer(&token("alice", &json!({ "exp": 1_000_000_000 })));
    let response = ask(&server.address, "GET", "/rooms/r", &[&expired], None);
    assert_refused(&response, 401, "TOKEN_EXPIRED");
    assert_eq!(response.header("www-authenticate"), Some("Bearer"));
}

#[test]
fn body_must_be_json_in_utf8() {
    let (server, alice, _) = start();
    let mut http = Http::connect(&server.address);
    let with_type = |kind: &str| {
        format!("POST /rooms HTTP/1.1\r\nHost: h\r\n{alice}\r\nContent-Type: {kind}\r\nContent-Length: 2\r\n\r\n{{}}")
    };
    for kind in ["text/plain", "application/x-www-form-urlencoded", "application/json; charset=latin1"] {
        http.write(with_type(kind));
        assert_refused(&http.answer(), 415, "UNSUPPORTED_DATA");
    }
    for kind in ["application/json", "application/json; charset=utf-8", "application/vnd.api+json"] {
        http.write(with_type(kind));
        assert_eq!(http.answer().status, 201, "{kind}");
    }
    // No type at all, and no body, with and without a length.
    for path in ["/rooms", "/api/rooms"] {
        for length in ["Content-Length: 0\r\n", ""] {
            http.write(format!("POST {path} HTTP/1.1\r\nHost: h\r\n{alice}\r\n{length}\r\n"));
            assert_eq!(http.answer().status, 201, "{path} {length:?}");
        }
    }
}

#[test]
fn wrong_method_is_answered_with_allow() {
    let (server, alice, _) = start();
    let table = [
        ("/api/rooms", "DELETE", "GET, HEAD, POST, OPTIONS"),
        ("/api/rooms/r", "POST", "GET, HEAD, DELETE, OPTIONS"),
        ("/rooms", "GET", "POST, OPTIONS"),
        ("/rooms/r", "DELETE", "GET, HEAD, PATCH, OPTIONS"),
        ("/rooms/r/join", "HEAD", "POST, OPTIONS"),
        ("/rooms/r/leave", "GET", "POST, OPTIONS"),
        ("/connections", "GET", "POST, OPTIONS"),
        ("/connections/c", "POST", "GET, HEAD, DELETE, OPTIONS"),
        ("/presence/u", "DELETE", "GET, HEAD, PUT, OPTIONS"),
        ("/broadcast", "GET", "POST, OPTIONS"),
        ("/websocket/users/connected", "POST", "GET, HEAD, OPTIONS"),
        ("/websocket/users/u/disconnect", "GET", "DELETE, OPTIONS"),
        ("/websocket/me/status", "DELETE", "GET, HEAD, OPTIONS"),
        ("/healthz", "POST", "GET, HEAD, OPTIONS"),
        ("/readyz", "BREW", "GET, HEAD, OPTIONS"),
        ("/", "DELETE", "GET, HEAD, OPTIONS"),
    ];
    for (path, method, allow) in table {
        let response = ask(&server.address, method, path, &[&alice], None);
        assert_eq!((response.status, response.header("allow")), (405, Some(allow)), "{method} {path}");
        let options = ask(&server.address, "OPTIONS", path, &[], None);
        assert_eq!((options.status, options.header("allow")), (204, Some(allow)), "{path}");
        assert!(options.body.is_empty() && options.header("content-length").is_none());
    }
    assert_eq!(ask(&server.address, "OPTIONS", "*", &[], None).status, 204);
    assert_refused(&ask(&server.address, "OPTIONS", "/nowhere", &[], None), 404, "NOT_FOUND");
}

#[test]
fn head_returns_get_without_body() {
    let (server, alice, _) = start();
    let mut http = Http::connect(&server.address);
    let room = http.ask("POST", "/rooms", &[&alice], Some("{}")).json()["room"]["roomId"].as_str().map(str::to_owned);
    let room = format!("/rooms/{}", room.expect("a room"));
    for path in ["/", "/call", "/rooms/none", "/nowhere", &room] {
        let get = http.ask("GET", path, &[&alice], None);
        let head = http.ask("HEAD", path, &[&alice], None);
        assert!(head.body.is_empty());
        assert_eq!(head.status, get.status, "{path}");
        for name in ["content-type", "content-length", "vary"] {
            assert_eq!(head.header(name), get.header(name), "{path} {name}");
        }
        assert_eq!(get.header("content-length"), Some(get.body.len().to_string().as_str()));
    }
}

#[test]
fn health_readiness_and_pages_need_no_token() {
    let (server, ..) = start();
    let mut http = Http::connect(&server.address);
    let health = http.ask("GET", "/healthz", &[], None);
    assert_eq!((health.status, &health.json()["status"]), (200, &json!("healthy")));
    let ready = http.ask("GET", "/readyz", &[], None);
    assert_eq!((ready.status, &ready.json()["status"]), (200, &json!("ready")));
    for (path, kind) in [("/", "text/html"), ("/call", "text/html"), ("/assets/call.js", "text/javascript")] {
        let page = http.ask("GET", path, &[], None);
        assert_eq!(page.status, 200, "{path}");
        assert!(page.header("content-type").is_some_and(|found| found.starts_with(kind)), "{path}");
        assert!(page.header("content-security-policy").is_some(), "{path}");
        assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
    }
    assert_refused(&http.ask("GET", "/assets/none.js", &[], None), 404, "NOT_FOUND");
}

#[test]
fn page_that_the_client_has_is_not_sent_again() {
    let (server, ..) = start();
    let mut http = Http::connect(&server.address);
    for path in ["/", "/call", "/assets/call.js", "/favicon.ico", "/robots.txt", "/socket.io/socket.io.js"] {
        let page = http.ask("GET", path, &[], None);
        assert!(page.status == 200 && !page.body.is_empty(), "{path}");
        let tag = page.header("etag").expect("a tag").to_owned();
        for known in [tag.clone(), format!("W/{tag}"), format!("\"x\", {tag}"), "*".to_owned()] {
            let again = http.ask("GET", path, &[&format!("If-None-Match: {known}")], None);
            assert_eq!((again.status, again.body.len(), again.header("etag")), (304, 0, Some(tag.as_str())), "{path}");
            assert_eq!((again.header("content-length"), again.header("content-type")), (None, None));
        }
        assert_eq!(http.ask("GET", path, &["If-None-Match: \"x\""], None).status, 200);
    }
}

#[test]
fn socketio_client_is_served_from_the_path_of_node() {
    let (server, ..) = start();
    let mut http = Http::connect(&server.address);
    for name in ["socket.io.js", "socket.io.min.js", "socket.io.esm.min.js", "socket.io.msgpack.min.js"] {
        let script = http.ask("GET", &format!("/socket.io/{name}?v=1"), &[], None);
        assert_eq!((script.status, script.header("content-encoding")), (200, None), "{name}");
        assert_eq!(script.header("content-type"), Some("text/javascript; charset=utf-8"));
        assert!(script.text().contains("Released under the MIT License"));
        let packed = http.ask("GET", &format!("/socket.io/{name}"), &["Accept-Encoding: deflate, gzip;q=0.5"], None);
        assert_eq!((packed.status, packed.header("content-encoding")), (200, Some("gzip")), "{name}");
        assert!(packed.body.starts_with(&[0x1F, 0x8B]) && packed.body.len() < script.body.len() / 2);
        let refused = http.ask("GET", &format!("/socket.io/{name}"), &["Accept-Encoding: gzip;q=0"], None);
        assert_eq!(refused.body, script.body);
        let map = http.ask("GET", &format!("/socket.io/{name}.map"), &[], None);
        assert_eq!(map.json()["version"], 3);
    }
    for path in ["/socket.io/socket.io.slim.js", "/socket.io/../assets/call.js", "/socket.io/"] {
        assert!([400, 404].contains(&http.ask("GET", path, &[], None).status), "{path}");
    }
}

#[test]
fn responses_carry_a_date() {
    let (server, ..) = start();
    let response = ask(&server.address, "GET", "/healthz", &[], None);
    let date = httpdate::parse_http_date(response.header("date").expect("a Date")).expect("an IMF-fixdate");
    let age = std::time::SystemTime::now().duration_since(date).expect("not in the future");
    assert!(age.as_secs() < 60, "{age:?}");
}

#[test]
fn other_http_versions_are_refused() {
    let (server, ..) = start();
    let mut http = Http::connect(&server.address);
    http.write("GET /healthz HTTP/2.0\r\nHost: h\r\n\r\n");
    assert_refused(&http.answer(), 505, "INVALID_MESSAGE");
    assert_eq!(http.rest(), "", "and the connection ends");
    for version in ["HTTP/01.01", "HTTP/1", "HTTP/1.1x", "HTTP/x.1", "HTTP/3"] {
        let mut http = Http::connect(&server.address);
        http.write(format!("GET /healthz {version}\r\nHost: h\r\n\r\n"));
        assert_eq!(http.answer().status, 400, "{version}");
    }
    let mut http = Http::connect(&server.address);
    http.write("GET /healthz HTTP/1.0\r\n\r\n");
    let old = http.answer();
    assert_eq!((old.status, old.header("connection")), (200, Some("close")));
    assert_eq!(http.rest(), "");
    let mut http = Http::connect(&server.address);
    http.write("GET /healthz HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    assert_eq!(http.answer().header("connection"), Some("keep-alive"));
    http.write("GET /healthz HTTP/1.0\r\n\r\n");
    assert_eq!(http.answer().status, 200);
}

#[test]
fn too_many_header_lines_are_refused() {
    let (server, ..) = start();
    let lines = |count: usize| (0..count).map(|at| format!("X-{at}: y")).collect::<Vec<_>>();
    let with = |count| {
        let lines = lines(count);
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        ask(&server.address, "GET", "/healthz", &lines, None).status
    };
    // `Host` is one of the hundred.
    assert_eq!((with(99), with(100)), (200, 431));
}

#[test]
fn missing_token_is_refused_before_the_body() {
    let (server, ..) = start();
    let mut http = Http::connect(&server.address);
    let whole = request("POST", "/rooms", &[], Some("{\"name\": \"n\"}"));
    http.write(whole.split_once("\r\n\r\n").expect("a head").0);
    http.write("\r\n\r\n");
    assert_refused(&http.answer(), 401, "UNAUTHENTICATED");
    // What would have been the body is not taken for a request.
    http.try_write("GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(http.rest(), "");
}

#[test]
fn rest_rate_limit_returns_retry_after() {
    let server = Server::start(&["--set", "limits.rest_per_minute=5", "--shards", "3"]);
    let line = |user: &str| bearer(&token(user, &json!({})));
    // Each request comes on a connection of its own, so on whichever shard the kernel gives it to.
    let status = |user: &str| {
        let mut http = Http::connect(&server.address);
        http.ask("GET", "/rooms/nowhere", &[&line(user)], None)
    };
    assert!((0..5).all(|_| status("alice").status == 404));
    let refused = status("alice");
    assert_refused(&refused, 429, "RATE_LIMITED");
    let wait: u64 = refused.header("retry-after").and_then(|text| text.parse().ok()).expect("seconds");
    assert!((1..=60).contains(&wait), "{wait}");
    assert_eq!(status("bob").status, 404, "another user has an allowance of their own");
    assert_eq!(Http::connect(&server.address).ask("GET", "/healthz", &[], None).status, 200);
}

#[test]
fn meeting_link_opens_the_call_page() {
    let (server, ..) = start();
    let answer = Http::connect(&server.address).ask("GET", "/meeting/a%20b", &[], None);
    assert_eq!((answer.status, answer.header("location")), (302, Some("/call?room=a%20b")));
}
