//! Limits per address: refused attempts and open connections, counted once for all shards and endpoints, with the
//! client's address behind a proxy.

use serde_json::json;
use support::engineio::Socket;
use support::http::{Http, Response, ask};
use support::process::wait_until;
use support::server::{Server, token};

const UPGRADE: [&str; 4] = [
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
];
const POLLING: &str = "/socket.io/?EIO=4&transport=polling";

/// The beginning of a WebSocket, with these headers; the connection, too.
fn upgrade(server: &Server, path: &str, headers: &[&str]) -> (Http, Response) {
    let mut http = Http::connect(&server.address);
    let all: Vec<&str> = UPGRADE.iter().chain(headers).copied().collect();
    let answer = http.ask("GET", path, &all, None);
    (http, answer)
}

fn poll(server: &Server, headers: &[&str]) -> (Http, Response) {
    let mut http = Http::connect(&server.address);
    let answer = http.ask("GET", POLLING, headers, None);
    (http, answer)
}

fn ws(user: &str) -> String {
    format!("/ws?token={}", token(user, &json!({})))
}

fn check_turned_away(answer: &Response, wait_s: u64) {
    assert_eq!((answer.status, answer.code().as_str()), (429, "RATE_LIMITED"), "{}", answer.text());
    let told = answer.header("retry-after").and_then(|wait| wait.parse().ok());
    assert!(told.is_some_and(|told: u64| told <= wait_s && told + 10 > wait_s), "{told:?}, not {wait_s}");
}

/// Waits until an address is blocked everywhere: a shard learns of it a moment after the refusal.
fn wait_until_blocked(server: &Server, headers: &[&str]) {
    wait_until("the address is blocked", || poll(server, headers).1.status == 429);
    let rest = |_| {
        let answer = Http::connect(&server.address).ask("GET", "/presence/ann", headers, None);
        answer.status == 429
    };
    wait_until("it is blocked on every shard", || (0..12).all(rest));
}

#[test]
fn address_after_five_refused_attempts_is_blocked_on_every_endpoint() {
    for shards in [1, 3] {
        let server = Server::of_shards(shards, &["limits.exempt=[]"]);
        // Of each kind one: a bad token, none, a bad one of a namespace, and one of a REST call.
        let (_kept, opened) = upgrade(&server, &ws("ann"), &[]);
        assert_eq!(opened.status, 101);
        assert_eq!(upgrade(&server, "/ws?token=bad", &[]).1.status, 401);
        assert_eq!(upgrade(&server, "/ws", &[]).1.status, 401);
        let mut socket = Socket::connect(&server.address, "/socket.io/?EIO=4&transport=websocket");
        socket.next();
        for payload in [r#"40/chat,{"token":"bad"}"#, "40/chat,"] {
            socket.send(payload);
            assert!(socket.next().starts_with("44/chat,"));
        }
        let bad = "Authorization: Bearer bad";
        assert_eq!(Http::connect(&server.address).ask("GET", "/presence/ann", &[bad], None).status, 401);
        wait_until_blocked(&server, &[]);
        for _ in 0..4 {
            check_turned_away(&upgrade(&server, &ws("ann"), &[]).1, 900);
            check_turned_away(&poll(&server, &[]).1, 900);
            check_turned_away(&upgrade(&server, "/socket.io/?EIO=4&transport=websocket", &[]).1, 900);
            let good = support::http::bearer(&token("ann", &json!({})));
            check_turned_away(&Http::connect(&server.address).ask("GET", "/presence/ann", &[&good], None), 900);
        }
        // An open session goes on, but shows no more tokens.
        socket.send(&format!(r#"40/chat,{{"token":"{}"}}"#, token("ann", &json!({}))));
        assert!(socket.next().contains("RATE_LIMITED"));
        assert_eq!(Http::connect(&server.address).ask("GET", "/healthz", &[], None).status, 200);
        // The connection that was turned away is of use for other requests.
        let (mut http, answer) = poll(&server, &[]);
        check_turned_away(&answer, 900);
        assert_eq!(http.ask("GET", "/healthz", &[], None).status, 200);
    }
}

#[test]
fn attempts_that_succeed_are_not_counted() {
    let server = Server::of_shards(3, &["limits.exempt=[]", "limits.connection_attempts=2"]);
    for number in 0..8 {
        assert_eq!(upgrade(&server, &ws("ann"), &[]).1.status, 101, "{number}");
        let mut socket = Socket::connect(&server.address, "/socket.io/?EIO=4&transport=websocket");
        assert!(socket.next().starts_with("0{"), "{number}");
        socket.send(&format!(r#"40/chat,{{"token":"{}"}}"#, token("ann", &json!({}))));
        assert!(socket.next().starts_with("40/chat,"), "{number}");
        assert_eq!(Http::connect(&server.address).ask("GET", "/presence/ann", &[], None).status, 401, "no token");
    }
    // A session that ends without having shown a token is counted.
    for _ in 0..2 {
        let mut socket = Socket::connect(&server.address, "/socket.io/?EIO=4&transport=websocket");
        socket.next();
    }
    wait_until_blocked(&server, &[]);
}

#[test]
fn requests_of_foreign_pages_are_not_counted() {
    let server = Server::of_shards(2, &["limits.exempt=[]", "limits.connection_attempts=2", "auth.cookie=true"]);
    let cookie = format!("Cookie: token={}", token("ann", &json!({})));
    for _ in 0..6 {
        // An image of a foreign page, and its scripts.
        for headers in [
            &["Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: no-cors", "Sec-Fetch-Dest: image", &cookie][..],
            &["Sec-Fetch-Site: cross-site", "Origin: https://evil.example", &cookie],
            &["Origin: https://evil.example", &cookie],
            &["Origin: null"],
        ] {
            assert_eq!(poll(&server, headers).1.status, 403);
            assert_eq!(upgrade(&server, "/ws?token=bad", headers).1.status, 403);
            let rest = ask(&server.address, "GET", "/presence/ann?token=bad", headers, None);
            assert_eq!(rest.status, 403);
        }
    }
    assert_eq!(upgrade(&server, &ws("ann"), &[]).1.status, 101);
}

#[test]
fn guests_are_not_counted() {
    let server = Server::of_shards(2, &["limits.exempt=[]", "limits.connection_attempts=2", "auth.guests=true"]);
    for _ in 0..6 {
        assert_eq!(upgrade(&server, "/ws", &[]).1.status, 101);
    }
}

#[test]
fn block_is_logged_once() {
    let settings = ["--set", "limits.exempt=[]", "--set", "limits.connection_attempts=2"];
    let server = Server::spawn(support::server::command(&settings, &[]).stderr(std::process::Stdio::piped()));
    let secret = token("mallory", &json!({ "exp": 1 }));
    for _ in 0..2 {
        assert_eq!(upgrade(&server, &format!("/ws?token={secret}"), &[]).1.status, 401);
    }
    wait_until("it is blocked", || poll(&server, &[]).1.status == 429);
    let log = server.log();
    let lines: Vec<&str> = log.lines().filter(|line| line.contains("address blocked")).collect();
    assert!(lines.len() == 1 && lines[0].contains("127.0.0.1") && lines[0].contains("900"), "{log}");
    assert!(!log.contains(&secret));
}

#[test]
fn client_of_unknown_proxy_on_loopback_is_not_exempt() {
    let server = Server::spawn(support::server::command(&[], &[]).stderr(std::process::Stdio::piped()));
    for header in ["X-Forwarded-For: 192.0.2.1", "Forwarded: for=192.0.2.2", "X-Real-IP: 192.0.2.3", "Via: 1.1 proxy"] {
        assert_eq!(upgrade(&server, "/ws?token=bad", &[header]).1.status, 401);
    }
    assert_eq!(upgrade(&server, "/ws?token=bad", &["X-Forwarded-For: 192.0.2.4"]).1.status, 401);
    wait_until("its clients are blocked together", || poll(&server, &["X-Forwarded-For: 192.0.2.5"]).1.status == 429);
    // Without a proxy's headers, loopback is exempt.
    for _ in 0..8 {
        assert_eq!(upgrade(&server, "/ws?token=bad", &[]).1.status, 401);
    }
    let log = server.log();
    assert_eq!(log.lines().filter(|line| line.contains("trusted_proxies does not name it")).count(), 1, "{log}");
}

#[test]
fn loopback_attempts_by_default_are_not_counted() {
    let server = Server::of_shards(2, &[]);
    for _ in 0..12 {
        assert_eq!(upgrade(&server, "/ws?token=bad", &[]).1.status, 401);
    }
}

#[test]
fn clients_behind_trusted_proxy_are_counted_apart() {
    let settings = ["trusted_proxies=[\"127.0.0.0/8\"]", "limits.connection_attempts=2", "limits.connection_block_s=0"];
    let server = Server::of_shards(3, &settings);
    for client in ["192.0.2.1", "198.51.100.7:9000", "2001:db8::1"] {
        let header = format!("X-Forwarded-For: 203.0.113.5, {client}");
        assert_eq!(upgrade(&server, &ws("ann"), &[&header]).1.status, 101);
        for _ in 0..2 {
            assert_eq!(upgrade(&server, "/ws?token=bad", &[&header]).1.status, 401);
        }
        wait_until_blocked(&server, &[&header]);
        check_turned_away(&upgrade(&server, &ws("ann"), &[&header]).1, 300);
    }
    let forwarded = "Forwarded: for=\"[2001:db8::2]:4711\";proto=https";
    check_turned_away(&poll(&server, &[forwarded]).1, 300);
    // An admin sees where a connection comes from.
    let (_kept, answer) = upgrade(&server, &ws("eve"), &["X-Forwarded-For: 192.0.2.99"]);
    assert_eq!(answer.status, 101);
    let bearer = support::http::bearer(&token("eve", &json!({})));
    wait_until("its address is told", || {
        let told = Http::connect(&server.address).ask("GET", "/connections/eve", &[&bearer], None);
        told.text().contains("192.0.2.99")
    });
}

#[test]
fn forwarded_address_from_untrusted_peer_is_ignored() {
    let server = Server::of_shards(2, &["limits.connection_attempts=2", "limits.exempt=[\"192.0.2.0/24\"]"]);
    for number in 0..2 {
        let header = format!("X-Forwarded-For: 192.0.2.{number}");
        assert_eq!(upgrade(&server, "/ws?token=bad", &[&header]).1.status, 401);
    }
    wait_until_blocked(&server, &["X-Forwarded-For: 192.0.2.9"]);
    check_turned_away(&poll(&server, &["X-Forwarded-For: 192.0.2.9"]).1, 900);
}

#[test]
fn connections_per_address_stop_at_the_limit() {
    for shards in [1, 3] {
        let settings = ["limits.exempt=[]", "limits.connection_attempts=0", "limits.connections_per_ip=4"];
        let server = Server::of_shards(shards, &settings);
        let mut kept: Vec<_> = (0..3).map(|_| upgrade(&server, &ws("ann"), &[])).collect();
        // What comes to nothing takes no place.
        for _ in 0..5 {
            assert_eq!(upgrade(&server, "/ws?token=bad", &[]).1.status, 401);
        }
        let (_http, opened) = poll(&server, &[]);
        kept.iter().for_each(|(_, answer)| assert_eq!(answer.status, 101));
        assert_eq!(opened.status, 200);
        let (_, refused) = upgrade(&server, &ws("ann"), &[]);
        assert_eq!((refused.status, refused.code().as_str()), (429, "RATE_LIMITED"), "{shards} shards");
        kept.remove(0);
        let mut again = None;
        wait_until("there is place again", || {
            let (http, answer) = upgrade(&server, &ws("ann"), &[]);
            again = (answer.status == 101).then_some(http);
            again.is_some()
        });
        assert_eq!(poll(&server, &[]).1.status, 429);
    }
}
