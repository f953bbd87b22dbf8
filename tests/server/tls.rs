//! TLS for clients: everything that is served without it, certificates by name and their rotation, and input that is no TLS.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustls::ProtocolVersion;
use rustls::version::{TLS12, TLS13};
use serde_json::json;
use support::certificates::CertificateAuthority;
use support::client::{Client, PATIENCE};
use support::engineio::{Polling, Socket, connect_packet};
use support::http::{self, Http, bearer};
use support::process::{private_dirty_bytes, wait_until};
use support::server::{Server, command, token};
use support::tcp_client::{TcpClient, noise};
use support::tls::TlsClient;

/// A server with the certificate `server.pem` and these settings.
fn server(authority: &CertificateAuthority, shards: usize, settings: &[&str]) -> Server {
    let own = authority.settings();
    let settings: Vec<&str> = own.iter().map(String::as_str).chain(settings.iter().copied()).collect();
    Server::of_shards(shards, &settings)
}

fn user(address: &str, name: &str) -> Client {
    Client::connect(address, Some(&token(name, &json!({}))))
}

#[test]
fn clients_with_tls_are_served_as_those_without() {
    let authority = CertificateAuthority::new();
    let server = server(&authority, 3, &["limits.message_bytes=0"]);
    let tunnel = TlsClient::new(&authority).tunnel(&server.address);
    let address = &tunnel.address;
    let (mut ann, mut bob) = (user(address, "ann"), user(address, "bob"));
    ann.join("r", "a");
    bob.join("r", "b");
    // Longer than a record, in both directions; and one after the other in one segment.
    let text = "x".repeat(200_000);
    ann.send(&json!({ "type": "message", "roomId": "r", "content": text }));
    assert_eq!(bob.wait_for("message")["content"], text);
    ann.send_all((0..500).map(|n| json!({ "type": "message", "roomId": "r", "content": n.to_string() }).to_string()));
    for n in 0..500 {
        assert_eq!(bob.wait_for("message")["content"], n.to_string());
    }
    let push = bearer(&token("backend", &json!({ "scope": "push" })));
    let body = json!({ "rooms": ["r"], "event": "note", "data": "by REST" }).to_string();
    let mut rest = Http::connect(address);
    for _ in 0..2 {
        assert_eq!(rest.ask("POST", "/api/v1/publish", &[&push], Some(&body)).status, 200);
        assert_eq!(bob.wait_for("message")["data"], "by REST");
    }
    // Requests of a session that other shards accept move with their TLS.
    let sessions: Vec<Polling> = (0..8).map(|_| Polling::open(address, "/socket.io/")).collect();
    for (n, mut session) in sessions.into_iter().enumerate() {
        session.send(&connect_packet("/chat", &format!("user{n}")));
        session.wait_for("40/chat,");
        let path = format!("/socket.io/?EIO=4&transport=websocket&sid={}", session.sid);
        let mut socket = Socket::connect(address, &path);
        socket.send("2probe");
        assert_eq!(socket.next(), "3probe");
        socket.send("5");
        socket.send(r#"42/chat,1["ping"]"#);
    }
    assert_eq!(tunnel.faults(), Vec::<String>::new());
}

#[test]
fn slow_reader_with_tls_gets_all_in_order() {
    let authority = CertificateAuthority::new();
    let server = server(&authority, 2, &["limits.outbound_bytes=67108864", "limits.message_bytes=0"]);
    let tunnel = TlsClient::new(&authority).tunnel(&server.address);
    let mut slow = TcpClient::connect(&tunnel.address).upgrade(&token("slow", &json!({})));
    slow.send_text(&json!({ "type": "join-room", "roomId": "r", "peerId": "s" }).to_string());
    while slow.next_json().expect("an answer")["type"] != "room-joined" {}
    let mut ann = user(&tunnel.address, "ann");
    ann.join("r", "a");
    // More than all buffers on the way hold, so that records are sent in parts.
    for n in 0..200 {
        let content = format!("{n} {}", "x".repeat(100_000));
        ann.send(&json!({ "type": "message", "roomId": "r", "content": content, "requestId": n }));
        ann.wait_until(|answer| answer["requestId"] == n);
    }
    for n in 0..200 {
        let message = loop {
            let event = slow.next_json().expect("an event");
            if event["type"] == "message" {
                break event;
            }
        };
        let content = message["content"].as_str().expect("a text");
        assert!(content.starts_with(&format!("{n} x")) && content.len() > 100_000, "{n}: {}", &content[..20]);
    }
    assert_eq!(tunnel.faults(), Vec::<String>::new());
}

#[test]
fn slow_reader_with_tls_beyond_the_limit_is_dropped() {
    let authority = CertificateAuthority::new();
    let server = server(&authority, 1, &["limits.outbound_bytes=200000", "limits.message_bytes=0"]);
    let tunnel = TlsClient::new(&authority).tunnel(&server.address);
    let mut slow = TcpClient::connect(&tunnel.address).upgrade(&token("slow", &json!({})));
    slow.send_text(&json!({ "type": "join-room", "roomId": "r", "peerId": "s" }).to_string());
    let mut ann = user(&tunnel.address, "ann");
    ann.join("r", "a");
    for n in 0..300 {
        let content = "x".repeat(50_000);
        ann.send(&json!({ "type": "message", "roomId": "r", "content": content, "requestId": n }));
        ann.wait_until(|answer| answer["requestId"] == n);
    }
    assert_eq!(slow.last_words().1, Some(4413));
}

#[test]
fn handshake_has_the_newest_version_and_tickets() {
    let authority = CertificateAuthority::new();
    let server = server(&authority, 2, &[]);
    for (versions, version) in
        [(&[&TLS13, &TLS12][..], ProtocolVersion::TLSv1_3), (&[&TLS12][..], ProtocolVersion::TLSv1_2)]
    {
        let client = TlsClient::with(&authority, versions, None);
        let first = client.handshake(&server.address, "localhost").expect("an answer");
        assert_eq!((first.version, first.alpn, first.is_resumed), (Some(version), Some(b"http/1.1".to_vec()), false));
        let second = client.handshake(&server.address, "localhost").expect("an answer");
        assert_eq!((second.version, second.is_resumed), (Some(version), true));
    }
    let strict = self::server(&authority, 1, &["tls.min_version=1.3"]);
    let old = TlsClient::with(&authority, &[&TLS12], None).handshake(&strict.address, "localhost");
    assert!(old.expect_err("refused").to_string().contains("ProtocolVersion"));
}

#[test]
fn certificate_is_that_of_the_name() {
    let authority = CertificateAuthority::new();
    authority.issue("chat", 2, &["chat.example"]);
    authority.issue("any", 3, &["*.wild.example"]);
    let file = |name: &str| authority.file(name);
    let pair = |name: &str| {
        format!("{{cert_file='{}',key_file='{}'}}", file(&format!("{name}.pem")), file(&format!("{name}.key")))
    };
    let further = format!("tls.certificates=[{},{}]", pair("chat"), pair("any"));
    let server = server(&authority, 1, &[&further]);
    let client = TlsClient::new(&authority);
    let mut shown = Vec::new();
    for name in ["localhost", "chat.example", "a.wild.example"] {
        shown.push(client.handshake(&server.address, name).expect(name).certificate);
    }
    assert!(shown[0] != shown[1] && shown[1] != shown[2] && shown[0] != shown[2]);
    let other = client.handshake(&server.address, "other.example").expect_err("the first one is for another name");
    assert!(other.to_string().contains("not valid for name"), "{other}");
    assert!(client.handshake(&server.address, "127.0.0.1").is_ok(), "an address is no name, so the first one is shown");
}

#[test]
fn client_without_certificate_is_refused_where_one_is_required() {
    let (authority, other) = (CertificateAuthority::new(), CertificateAuthority::new());
    authority.issue("ann", 7, &["ann"]);
    other.issue("eve", 7, &["eve"]);
    std::fs::copy(other.path("eve.pem"), authority.path("eve.pem")).expect("a copy");
    std::fs::copy(other.path("eve.key"), authority.path("eve.key")).expect("a copy");
    let ca = format!("tls.client_ca_file={}", authority.file("ca.pem"));
    let with = |certificate| TlsClient::with(&authority, &[&TLS13, &TLS12], certificate);
    let required = server(&authority, 1, &[&ca]);
    assert!(with(Some("ann")).handshake(&required.address, "localhost").is_ok());
    assert!(with(None).handshake(&required.address, "localhost").is_err());
    assert!(with(Some("eve")).handshake(&required.address, "localhost").is_err());
    let optional = server(&authority, 1, &[&ca, "tls.client_certificates=optional"]);
    assert!(with(Some("ann")).handshake(&optional.address, "localhost").is_ok());
    assert!(with(None).handshake(&optional.address, "localhost").is_ok());
    assert!(with(Some("eve")).handshake(&optional.address, "localhost").is_err());
}

#[test]
fn unusable_files_are_refused_by_the_name_of_their_setting() {
    let authority = CertificateAuthority::new();
    authority.issue("other", 2, &["other.example"]);
    std::fs::write(authority.path("empty.pem"), "").expect("a file");
    std::fs::write(authority.path("broken.pem"), "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
        .expect("a file");
    let (cert, key) = (authority.file("server.pem"), authority.file("server.key"));
    let file = |name: &str| authority.file(name);
    let refused = |settings: &[String], expected: &[&str]| {
        let arguments: Vec<&str> = settings.iter().flat_map(|setting| ["--set", setting.as_str()]).collect();
        let output = command(&arguments, &[]).stderr(Stdio::piped()).output().expect("it starts");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{settings:?}");
        assert!(expected.iter().all(|text| said.contains(text)) && !said.contains("panicked"), "{settings:?}: {said}");
    };
    let both = |cert: &str, key: &str| [format!("tls.cert_file={cert}"), format!("tls.key_file={key}")];
    refused(&[format!("tls.cert_file={cert}")], &["tls.cert_file: tls.key_file is missing"]);
    refused(&[format!("tls.key_file={key}")], &["tls.key_file: tls.cert_file is missing"]);
    refused(&[format!("tls.client_ca_file={cert}")], &["tls.client_ca_file: without tls.cert_file there is no TLS"]);
    refused(&both("/nowhere.pem", &key), &["tls.cert_file: /nowhere.pem: No such file"]);
    refused(&both(&cert, "/nowhere.key"), &["tls.key_file: /nowhere.key: No such file"]);
    refused(&both(&file("empty.pem"), &key), &["tls.cert_file: ", "there is no certificate in it"]);
    refused(&both(&file("broken.pem"), &key), &["tls.cert_file: ", "not a usable certificate"]);
    refused(&both(&key, &key), &["tls.cert_file: ", "there is no certificate in it"]);
    refused(&both(&cert, &cert), &["tls.key_file: ", "there is no private key in it"]);
    refused(&both(&cert, &file("other.key")), &["tls.key_file: ", "not the key of the certificate in"]);
    let [first, second] = both(&cert, &key);
    refused(&[first.clone(), second.clone(), format!("tls.client_ca_file={key}")], &["tls.client_ca_file: "]);
    for wrong in
        ["[{cert_file='a'}]", "[{cert_file='a',key_file=''}]", "['a']", "a", "[{cert_file='a',key_file='b',c='d'}]"]
    {
        let further = format!("tls.certificates={wrong}");
        refused(&[first.clone(), second.clone(), further], &["tls.certificates", "each with cert_file and key_file"]);
    }
    let further = "tls.certificates=[{cert_file='/nowhere.pem',key_file='b'}]".to_owned();
    refused(&[first, second, further], &["tls.certificates[0].cert_file: /nowhere.pem"]);
}

#[test]
fn input_that_is_no_tls_ends_the_connection() {
    let authority = CertificateAuthority::new();
    let server = server(&authority, 2, &["limits.handshake_ms=1500"]);
    let plain = http::ask(&server.address, "GET", "/healthz", &[], None);
    assert_eq!((plain.status, plain.code().as_str()), (400, "INVALID_MESSAGE"), "{}", plain.text());
    assert!(plain.text().contains("https://"));
    let hello = {
        // A handshake's first flight, to be damaged.
        let name = rustls::pki_types::ServerName::try_from("localhost").expect("a name");
        let config = rustls::ClientConfig::builder_with_provider(rustls::crypto::aws_lc_rs::default_provider().into());
        let config = config.with_safe_default_protocol_versions().expect("versions");
        let config = config.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth();
        let mut connection = rustls::ClientConnection::new(config.into(), name).expect("a connection");
        let mut bytes = Vec::new();
        connection.write_tls(&mut bytes).expect("bytes");
        bytes
    };
    let record = |kind: u8, body: &[u8]| [&[kind, 3, 3][..], &(body.len() as u16).to_be_bytes(), body].concat();
    let mut inputs = vec![
        vec![0; 70_000],
        vec![22; 70_000],
        b"\x16\x03\x01\xff\xff".to_vec(),
        b"\x15\x03\x03\0\x02\x02\x28".to_vec(),
        record(23, &[0; 100]),
        record(20, &[1]).repeat(100),
        record(22, &[]).repeat(2_000),
        record(22, &[1, 0xff, 0xff, 0xff]),
        [hello.clone(), record(23, &[7; 16_000])].concat(),
        [hello.clone(), hello.clone()].concat(),
    ];
    // Fragments of one byte.
    inputs.push(hello[5..].iter().flat_map(|byte| record(22, &[*byte])).chain(record(22, &[0; 3])).collect());
    // Messages that are announced longer than they become, to hold memory.
    inputs.push([record(22, &[1, 0, 0xf0, 0]), record(22, &[0; 16_000]).repeat(4)].concat());
    for seed in 0..40 {
        let mut damaged = hello.clone();
        let at = noise(seed, 4);
        for pair in at.chunks(2) {
            let place = usize::from(pair[0]) * damaged.len() / 256;
            damaged[place] = pair[1];
        }
        inputs.push(damaged);
        inputs.push(noise(seed, 3_000));
    }
    let clients: Vec<TcpStream> = inputs
        .iter()
        .map(|input| {
            let mut client = TcpStream::connect(&server.address).expect("the server listens");
            client.set_read_timeout(Some(PATIENCE)).expect("an option");
            // The server may end the connection before it has read all.
            let _ = client.write_all(input);
            client
        })
        .collect();
    for (mut client, input) in clients.into_iter().zip(&inputs) {
        let mut answer = Vec::new();
        // A handshake that is merely unfinished ends by its deadline.
        let end = client.read_to_end(&mut answer);
        let is_reset = |error: &std::io::Error| error.kind() == std::io::ErrorKind::ConnectionReset;
        assert!(
            end.as_ref().is_ok() || end.as_ref().is_err_and(is_reset),
            "{end:?}: {:?}",
            &input[..input.len().min(40)]
        );
    }
    let silent = TcpStream::connect(&server.address).expect("the server listens");
    silent.set_read_timeout(Some(PATIENCE)).expect("an option");
    assert_eq!((&silent).read(&mut [0; 10]).expect("an end"), 0);
    assert!(TlsClient::new(&authority).handshake(&server.address, "localhost").is_ok(), "it serves on");
}

#[test]
fn header_of_a_proxy_comes_before_tls() {
    let authority = CertificateAuthority::new();
    let server = server(&authority, 1, &["proxy_protocol=true", "trusted_proxies=127.0.0.0/8"]);
    let hello = |header: &[u8]| {
        let mut client = TlsClient::new(&authority).connect(&server.address, "localhost");
        // In pieces, the last one together with the first bytes of TLS.
        for piece in header.chunks(7) {
            client.sock.write_all(piece).expect("the server reads");
        }
        let own = bearer(&token("ann", &json!({})));
        let request = http::request("GET", "/connections/ann", &[&own, "Connection: close"], None);
        client.write_all(request.as_bytes())?;
        let mut answer = String::new();
        client.read_to_string(&mut answer).map(|_| answer)
    };
    let answer = hello(b"PROXY TCP4 192.0.2.7 198.51.100.7 56324 443\r\n").expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(hello(b"").is_err(), "a trusted proxy sends a header");
    assert!(hello(b"PROXY nonsense\r\n").is_err());
}

#[test]
fn page_of_a_server_with_tls_is_its_own() {
    let authority = CertificateAuthority::new();
    let server = server(&authority, 1, &[]);
    let tunnel = TlsClient::new(&authority).tunnel(&server.address);
    let cookie = format!("Cookie: token={}", token("ann", &json!({})));
    for (scheme, status) in [("https", 200), ("http", 403)] {
        let origin = format!("Origin: {scheme}://{}", tunnel.address);
        let mut page = Http::connect(&tunnel.address);
        page.write(format!(
            "GET /connections/ann HTTP/1.1\r\nHost: {}\r\n{origin}\r\n{cookie}\r\n\r\n",
            tunnel.address
        ));
        let answer = page.answer();
        assert_eq!(answer.status, status, "{scheme}: {}", answer.text());
    }
}

#[test]
fn changed_certificate_is_served_while_clients_stay() {
    let authority = CertificateAuthority::new();
    let server = server(&authority, 2, &[]);
    let client = TlsClient::new(&authority);
    let tunnel = client.tunnel(&server.address);
    let (mut ann, mut bob) = (user(&tunnel.address, "ann"), user(&tunnel.address, "bob"));
    ann.join("r", "a");
    bob.join("r", "b");
    let shown = || TlsClient::new(&authority).handshake(&server.address, "localhost").expect("an answer").certificate;
    let first = shown();
    // A certificate without its key is of no use, and changes nothing.
    let key = std::fs::read(authority.path("server.key")).expect("a file");
    authority.issue("server", 2, &["localhost"]);
    let new_key = std::fs::read(authority.path("server.key")).expect("a file");
    std::fs::write(authority.path("server.key"), key).expect("a file");
    let until = Instant::now() + Duration::from_millis(1_500);
    while Instant::now() < until {
        assert_eq!(shown(), first);
    }
    std::fs::write(authority.path("server.key"), new_key).expect("a file");
    wait_until("the new certificate", || shown() != first);
    ann.send(&json!({ "type": "message", "roomId": "r", "content": "still here" }));
    assert_eq!(bob.wait_for("message")["content"], "still here");
    assert!(
        client.handshake(&server.address, "localhost").expect("an answer").is_resumed || tunnel.faults().is_empty()
    );
}

#[test]
fn idle_client_with_tls_takes_little_memory() {
    const CLIENTS: usize = 300;
    let authority = CertificateAuthority::new();
    let server = server(&authority, 1, &["limits.connections_per_user=0"]);
    let client = TlsClient::new(&authority);
    let tunnel = client.tunnel(&server.address);
    let connect = |n: usize| user(&tunnel.address, &format!("user{n}"));
    let _first: Vec<Client> = (0..50).map(connect).collect();
    let before = private_dirty_bytes(server.pid());
    let _clients: Vec<Client> = (0..CLIENTS).map(connect).collect();
    let each = private_dirty_bytes(server.pid()).saturating_sub(before) / CLIENTS as u64;
    println!("{each} bytes for an idle client with TLS");
    assert!(each < 16_384, "{each} bytes");
}
