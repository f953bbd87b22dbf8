//! Several shards: a request may arrive on any shard and is served where its session is.

use std::collections::BTreeSet;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use support::engineio::{Polling, Socket, connect_packet};
use support::http::{Http, ask};
use support::server::Server;

fn shard_of(sid: &str) -> u8 {
    URL_SAFE_NO_PAD.decode(sid).expect("base64url")[2]
}

#[test]
fn request_on_any_shard_finds_its_session() {
    let server = Server::start(&["--conformance", "--shards", "4"]);
    let mut shards = BTreeSet::new();
    for round in 0..40 {
        let mut client = Polling::open(&server.address, "/engine.io/");
        shards.insert(shard_of(&client.sid));
        // A connection of its own for each request.
        for number in 0..4 {
            let text = format!("4{round}-{number}-{}", "x".repeat(number * 20_000));
            assert_eq!(ask(&server.address, "POST", &client.path(), &[], Some(&text)).text(), "ok");
            assert_eq!(ask(&server.address, "GET", &client.path(), &[], None).text(), text);
        }
        let mut socket =
            Socket::connect(&server.address, &format!("/engine.io/?EIO=4&transport=websocket&sid={}", client.sid));
        socket.send("2probe");
        assert_eq!(socket.next(), "3probe");
        socket.send("5");
        socket.send("4hello");
        assert_eq!(socket.next(), "4hello");
        assert_eq!(client.get().status, 400);
    }
    assert!(shards.len() > 1, "all came to one shard");
}

#[test]
fn connection_serves_sessions_of_all_shards() {
    let server = Server::start(&["--conformance", "--shards", "3"]);
    let clients: Vec<Polling> = (0..20).map(|_| Polling::open(&server.address, "/engine.io/")).collect();
    let mut http = Http::connect(&server.address);
    for round in 0..3 {
        for client in &clients {
            let text = format!("4{round}");
            assert_eq!(http.ask("POST", &client.path(), &[], Some(&text)).text(), "ok");
            assert_eq!(http.ask("GET", &client.path(), &[], None).text(), text);
        }
    }
    // All at once: what is answered before the connection moves on is not lost, nor is what comes behind.
    let posts: String =
        clients.iter().map(|client| support::http::request("POST", &client.path(), &[], Some("4all"))).collect();
    http.write(posts);
    for _ in &clients {
        assert_eq!(http.answer().text(), "ok");
    }
    let gets: String = clients.iter().map(|client| support::http::request("GET", &client.path(), &[], None)).collect();
    http.write(gets);
    for _ in &clients {
        assert_eq!(http.answer().text(), "4all");
    }
}

#[test]
fn request_split_anywhere_moves_whole_to_its_shard() {
    let server = Server::start(&["--conformance", "--shards", "3"]);
    for cut in 1..60 {
        let client = Polling::open(&server.address, "/engine.io/");
        let request = support::http::request("POST", &client.path(), &[], Some("4in two pieces"));
        let mut http = Http::connect(&server.address);
        let (first, second) = request.split_at((cut * 7).min(request.len() - 1));
        http.write(first);
        assert_eq!(ask(&server.address, "GET", "/healthz", &[], None).status, 200);
        http.write(second);
        assert_eq!(http.answer().text(), "ok");
        assert_eq!(ask(&server.address, "GET", &client.path(), &[], None).text(), "4in two pieces");
    }
}

#[test]
fn client_connects_by_requests_to_any_shard() {
    let server = Server::of_shards(3, &[]);
    for number in 0..10 {
        let client = Polling::open(&server.address, "/socket.io/");
        let body = connect_packet("/chat", &format!("user-{number}"));
        assert_eq!(ask(&server.address, "POST", &client.path(), &[], Some(&body)).text(), "ok");
        assert!(ask(&server.address, "GET", &client.path(), &[], None).text().starts_with("40/chat,{\"sid\":"));
    }
}
