//! Limits per address: connection attempts and open connections, counted once for all shards and endpoints, with the
//! client's address behind a proxy.

use serde_json::json;
use support::http::{Http, Response};
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

#[test]
fn sixth_connection_attempt_is_refused_on_every_endpoint() {
    for shards in [1, 3] {
        let server = Server::of_shards(shards, &["limits.exempt=[]"]);
        let mut kept = Vec::new();
        // An attempt counts whether it comes to anything or not.
        assert_eq!(upgrade(&server, "/ws?token=bad", &[]).1.status, 401);
        for _ in 0..2 {
            kept.push(poll(&server, &[]));
            kept.push(upgrade(&server, &ws("ann"), &[]));
        }
        let statuses: Vec<u16> = kept.iter().map(|(_, answer)| answer.status).collect();
        assert_eq!(statuses, [200, 101, 200, 101]);
        for _ in 0..4 {
            check_turned_away(&upgrade(&server, &ws("ann"), &[]).1, 900);
            check_turned_away(&poll(&server, &[]).1, 900);
            check_turned_away(&upgrade(&server, "/socket.io/?EIO=4&transport=websocket", &[]).1, 900);
        }
        // Who is connected goes on, and so does whoever asks nothing of the kind.
        assert_eq!(Http::connect(&server.address).ask("GET", "/healthz", &[], None).status, 200);
        // The connection that was turned away is of use for other requests.
        let (mut http, answer) = poll(&server, &[]);
        check_turned_away(&answer, 900);
        assert_eq!(http.ask("GET", "/healthz", &[], None).status, 200);
    }
}

#[test]
fn rest_calls_and_later_requests_are_no_attempts() {
    let server = Server::of_shards(3, &["limits.exempt=[]", "limits.connection_attempts=2"]);
    for headers in [&[][..], &["Authorization: Bearer bad"]] {
        for _ in 0..6 {
            assert_eq!(Http::connect(&server.address).ask("GET", "/presence/ann", headers, None).status, 401);
        }
    }
    let (mut http, opened) = poll(&server, &[]);
    let path = format!("{POLLING}&sid={}", &opened.text()[9..33]);
    for _ in 0..6 {
        assert_eq!(Http::connect(&server.address).ask("POST", &path, &[], Some("40/nowhere,")).status, 200);
        assert!(http.ask("GET", &path, &[], None).text().starts_with("44/nowhere,"));
    }
    let moved = path.replace("polling", "websocket");
    assert_eq!(upgrade(&server, &moved, &[]).1.status, 101);
    assert_eq!(upgrade(&server, &ws("ann"), &[]).1.status, 101);
    check_turned_away(&upgrade(&server, &ws("ann"), &[]).1, 900);
    assert_eq!(Http::connect(&server.address).ask("GET", "/presence/ann", &[], None).status, 401);
}

#[test]
fn loopback_attempts_by_default_are_not_counted() {
    let server = Server::of_shards(2, &[]);
    for _ in 0..12 {
        assert_eq!(upgrade(&server, &ws("ann"), &[]).1.status, 101);
    }
}

#[test]
fn clients_behind_trusted_proxy_are_counted_apart() {
    let settings = ["trusted_proxies=[\"127.0.0.0/8\"]", "limits.connection_attempts=2", "limits.connection_block_s=0"];
    let server = Server::of_shards(3, &settings);
    for client in ["192.0.2.1", "198.51.100.7:9000", "2001:db8::1"] {
        let header = format!("X-Forwarded-For: 203.0.113.5, {client}");
        assert_eq!(upgrade(&server, &ws("ann"), &[&header]).1.status, 101);
        assert_eq!(poll(&server, &[&header]).1.status, 200);
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
        assert_eq!(poll(&server, &[&header]).1.status, 200);
    }
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
