//! How HTTP connections end: by the client, by timeout, by drain.

use std::time::Duration;

use serde_json::json;

use support::client::{Client, End};
use support::http::{Http, bearer};
use support::server::{Server, token};

const TERMINATE: i32 = 15;

#[test]
fn idle_connection_is_closed() {
    let server = Server::start(&["--set", "limits.handshake_ms=700", "--set", "limits.idle_ms=700"]);
    let mut silent = Http::connect(&server.address);
    assert_eq!(silent.rest(), "");
    let mut idle = Http::connect(&server.address);
    assert_eq!(idle.ask("GET", "/healthz", &[], None).status, 200);
    assert_eq!(idle.rest(), "");
}

#[test]
fn draining_server_is_unready_and_finishes_requests() {
    let mut server = Server::start(&["--shards", "1", "--set", "drain.seconds=5"]);
    let alice = bearer(&token("alice", &json!({})));
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: h\r\n");
    let mut ready = Http::connect(&server.address);
    assert_eq!(ready.ask("GET", "/readyz", &[], None).status, 200);
    ready.write(get("/readyz"));
    let mut upgrade = Http::connect(&server.address);
    assert_eq!(upgrade.ask("GET", "/healthz", &[], None).status, 200);
    upgrade.write(get("/ws") + "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n");
    let mut posted = Http::connect(&server.address);
    posted.write(format!(
        "POST /rooms HTTP/1.1\r\nHost: h\r\n{alice}\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n"
    ));
    assert_eq!(posted.answer().status, 100);
    let mut idle = Http::connect(&server.address);
    // One thread reads them all, in turn: with this answer, it has what was written before.
    assert_eq!(idle.ask("GET", "/readyz", &[], None).status, 200);

    server.signal(TERMINATE);
    assert_eq!(idle.rest(), "", "idle connections end at once");
    ready.write("\r\n");
    let answer = ready.answer();
    assert_eq!((answer.status, &answer.json()["status"]), (503, &json!("draining")));
    assert!(answer.header("retry-after").is_some());
    assert_eq!(answer.header("connection"), Some("close"));
    assert_eq!(ready.rest(), "");
    upgrade.write(format!("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{alice}\r\n\r\n"));
    let answer = upgrade.answer();
    assert_eq!((answer.status, answer.code().as_str()), (503, "OVERLOADED"));
    posted.write("{}");
    assert_eq!(posted.answer().status, 201);
    drop((idle, ready, upgrade, posted));
    assert!(server.wait(Duration::from_secs(20)).success());
}

#[test]
fn draining_server_closes_websockets_with_retry() {
    let mut server = Server::start(&["--set", "presence.scope=none", "--set", "drain.seconds=2"]);
    let mut alice = Client::connect(&server.address, Some(&token("alice", &json!({}))));
    server.signal(TERMINATE);
    let told = alice.wait_for("disconnect");
    assert_eq!((&told["reason"], &told["reconnect"]), (&json!("server-shutdown"), &json!(true)));
    assert!(told["retryAfterMs"].as_u64().is_some_and(|ms| ms < 2000), "{told}");
    assert_eq!(alice.end(), End::Close(1012, "service restart".to_owned()));
    drop(alice);
    assert!(server.wait(Duration::from_secs(20)).success());
}
