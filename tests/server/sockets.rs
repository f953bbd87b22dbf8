//! Sockets before anyone has authenticated: how many an address may have, and what becomes of them when the server is full.

use std::net::TcpStream;

use serde_json::json;
use support::client::Client;
use support::engineio::{Socket, connect_packet};
use support::http::Http;
use support::process::wait_until;
use support::server::{Server, token};
use support::tcp_client::TcpClient;

/// A socket that has been accepted, or refused: whatever the server says of its own accord within a moment.
struct Silent(TcpClient);

impl Silent {
    fn open(server: &Server) -> Self {
        Self(TcpClient::connect(&server.address))
    }

    /// One that certainly has been accepted and counted: a request on it was answered.
    fn known(server: &Server) -> Self {
        let mut client = TcpClient::connect(&server.address);
        client.send(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n");
        let (head, _) = client.http_answer().expect("an answer");
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        Self(client)
    }

    fn is_refused(&self) -> bool {
        self.0.has_something()
    }

    /// The server's last words.
    fn refusal(mut self) -> String {
        String::from_utf8(self.0.read_to_end()).expect("text")
    }
}

fn check_refusal(text: &str) {
    assert!(text.starts_with("HTTP/1.1 429 ") && text.contains("RATE_LIMITED"), "{text}");
    assert!(text.contains("limits.sockets_per_ip"), "{text}");
}

/// Whether a request on a new socket is answered.
fn is_served(server: &Server) -> bool {
    let mut client = TcpClient::connect(&server.address);
    client.send(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n");
    client.http_head().starts_with("HTTP/1.1 200 ")
}

#[test]
fn silent_sockets_of_an_address_stop_at_the_limit() {
    for shards in [1, 3] {
        let settings = ["limits.exempt=[]", "limits.sockets_per_ip=6", "limits.connection_attempts=0"];
        let server = Server::of_shards(shards, &settings);
        let mut kept: Vec<Silent> = (0..6).map(|_| Silent::known(&server)).collect();
        for _ in 0..3 {
            check_refusal(&Silent::open(&server).refusal());
        }
        assert!(!kept.iter().any(Silent::is_refused), "{shards} shards");
        // A socket that authenticates counts like the others, and one that ends makes place.
        kept.pop();
        let mut ann = None;
        wait_until("it is free again", || {
            ann = Client::try_connect(&server.address, Some(&token("ann", &json!({})))).ok();
            ann.is_some()
        });
        check_refusal(&Silent::open(&server).refusal());
        ann.expect("a client").join("r", "ann");
        assert!(!kept.iter().any(Silent::is_refused), "{shards} shards");
    }
}

/// Sockets that have sent a request with this header line and keep open, up to the first refusal.
fn fill(server: &Server, header: &str) -> Vec<Http> {
    let mut kept = Vec::new();
    loop {
        let mut http = Http::connect(&server.address);
        let answer = http.ask("GET", "/presence/ann", &[header], None);
        if answer.status == 429 {
            check_refusal(&format!("HTTP/1.1 429 {}", answer.text()));
            return kept;
        }
        assert_eq!(answer.status, 401, "{}", answer.text());
        kept.push(http);
        assert!(kept.len() < 20, "no limit");
    }
}

#[test]
fn sockets_behind_a_trusted_proxy_count_for_its_clients() {
    let settings = ["trusted_proxies=[\"127.0.0.0/8\"]", "limits.sockets_per_ip=4", "limits.connection_attempts=0"];
    // One shard, so that each refusal comes at once.
    let server = Server::of_shards(1, &settings);
    let idle: Vec<Silent> = (0..8).map(|_| Silent::open(&server)).collect();
    let mut kept = fill(&server, "X-Forwarded-For: 192.0.2.1");
    assert_eq!(kept.len(), 4);
    // A proxy uses its sockets for one client after the other.
    assert_eq!(kept[0].ask("GET", "/presence/ann", &["X-Forwarded-For: 192.0.2.2"], None).status, 401);
    assert_eq!(fill(&server, "X-Forwarded-For: 192.0.2.2").len(), 3);
    assert_eq!(fill(&server, "X-Forwarded-For: 192.0.2.1").len(), 1, "the kept one has another client now");
    let customers = ["2001:db8:1:2::1", "2001:db8:1:2::2", "2001:db8:1:2:3::1", "2001:db8:1:2:ffff::"];
    let of_one: Vec<Http> = customers
        .iter()
        .map(|address| {
            let mut http = Http::connect(&server.address);
            let header = format!("X-Forwarded-For: {address}");
            assert_eq!(http.ask("GET", "/presence/ann", &[&header], None).status, 401, "{address}");
            http
        })
        .collect();
    assert_eq!(fill(&server, "X-Forwarded-For: 2001:db8:1:2::9").len(), 0, "a customer has a 64-bit network");
    drop(of_one);
    wait_until("there is place again", || fill(&server, "X-Forwarded-For: 2001:db8:1:2::9").len() == 4);
    assert!(!idle.iter().any(Silent::is_refused), "the proxy itself is not counted");
}

#[test]
fn sockets_of_an_unknown_proxy_on_loopback_count_together() {
    let server = Server::of_shards(1, &["limits.sockets_per_ip=3", "limits.connection_attempts=0"]);
    let idle: Vec<Silent> = (0..8).map(|_| Silent::open(&server)).collect();
    let kept = fill(&server, "X-Forwarded-For: 192.0.2.1");
    assert_eq!(kept.len(), 3);
    assert_eq!(fill(&server, "Via: 1.1 proxy").len(), 0);
    assert!(!idle.iter().any(Silent::is_refused) && is_served(&server), "loopback itself is exempt");
}

/// Whether the server has closed a socket.
fn is_closed(stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).expect("a socket");
    match stream.peek(&mut [0; 1]) {
        Ok(count) => count == 0,
        Err(error) => error.kind() != std::io::ErrorKind::WouldBlock,
    }
}

#[test]
fn full_server_closes_idle_sockets_for_new_clients() {
    for shards in [1, 3] {
        let server = Server::of_shards(shards, &["limits.connections=12"]);
        let connect = |n: usize| Client::connect(&server.address, Some(&token(&format!("user-{n}"), &json!({}))));
        let mut clients: Vec<Client> = (0..3).map(connect).collect();
        let mut socket = Socket::connect(&server.address, "/socket.io/?EIO=4&transport=websocket");
        socket.next();
        socket.send(&connect_packet("/chat", "ann"));
        assert!(socket.next().starts_with("40/chat,"));
        let silent: Vec<TcpStream> =
            (0..40).map(|_| TcpStream::connect(&server.address).expect("a connection")).collect();
        wait_until("the oldest are closed", || silent.iter().filter(|stream| is_closed(stream)).count() >= 30);
        // Each shard knows its own ones.
        assert!(shards > 1 || !is_closed(silent.last().expect("a socket")), "the newest one is open");
        // Clients connect although silent sockets hold every place.
        for n in 3..8 {
            wait_until("another client has a place", || {
                let token = token(&format!("user-{n}"), &json!({}));
                clients.extend(Client::try_connect(&server.address, Some(&token)));
                clients.len() > n
            });
        }
        for (n, client) in clients.iter_mut().enumerate() {
            client.join("r", &n.to_string());
        }
        socket.send("42/chat,1[\"ping\"]");
        // Where all places are taken by authenticated clients, new ones are refused.
        drop(silent);
        let more = |n: usize| Client::try_connect(&server.address, Some(&token(&format!("more-{n}"), &json!({}))));
        let mut others: Vec<Client> = Vec::new();
        wait_until("clients take the last places", || {
            others.extend(more(others.len()));
            others.len() == 3
        });
        (3..8).for_each(|n| assert!(more(n).is_err(), "{shards} shards"));
        clients.iter_mut().chain(&mut others).for_each(|client| {
            client.send(&json!({ "type": "ping", "requestId": "end" }));
            client.wait_until(|answer| answer["requestId"] == "end");
        });
    }
}
