//! The PROXY protocol as HAProxy, NGINX and AWS load balancers speak it: the header of a trusted proxy determines a
//! client's address, and no other header does.

use std::process::Command;

use serde_json::json;
use support::http::{Http, Response, bearer, request};
use support::process::wait_until;
use support::server::{Server, token};

/// A server behind proxies on this machine.
fn behind_proxies(settings: &[&str]) -> Server {
    let both = ["proxy_protocol=true", "trusted_proxies=127.0.0.0/8"];
    Server::of_shards(3, &both.iter().chain(settings).copied().collect::<Vec<_>>())
}

/// A header of version 1.
fn line(client: &str) -> Vec<u8> {
    let family = if client.contains(':') { "TCP6 {} 2001:db8::ffff" } else { "TCP4 {} 198.51.100.7" };
    format!("PROXY {} 56324 8090\r\n", family.replace("{}", client)).into_bytes()
}

/// A header of version 2, with this command, family and addresses, and what else a proxy says.
fn binary(command: u8, family: u8, addresses: &[u8]) -> Vec<u8> {
    // A host name (type 2), and the id of an endpoint as AWS tells it (type 0xEA).
    let more = b"\x02\0\x0bapp.example\xEA\0\x04\x01vpc";
    let length = (addresses.len() + more.len()) as u16;
    [&b"\r\n\r\n\0\r\nQUIT\n"[..], &[0x20 | command, family], &length.to_be_bytes(), addresses, more].concat()
}

const LOCAL: u8 = 0;
const PROXY: u8 = 1;

const V4: [u8; 12] = [192, 0, 2, 77, 198, 51, 100, 7, 0xDC, 0x04, 0x1F, 0x9A];

fn connect(server: &Server, header: &[u8]) -> Http {
    let mut http = Http::connect(&server.address);
    http.write(header);
    http
}

/// What a user's connections come from, as the server tells by a connection with this header.
fn addresses(server: &Server, header: &[u8], user: &str) -> Vec<String> {
    let own = bearer(&token(user, &json!({})));
    let answer = connect(server, header).ask("GET", &format!("/connections/{user}"), &[&own], None);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let told = answer.json();
    let connections = told["connections"].as_array().expect("a list");
    connections.iter().map(|connection| connection["ipAddress"].as_str().expect("an address").to_owned()).collect()
}

/// A handshake with a token that is none: such attempts are counted.
fn refused_upgrade() -> String {
    upgrade_of("ann").replace("token=", "token=x")
}

fn upgrade_of(user: &str) -> String {
    let path = format!("/ws?events=all&token={}", token(user, &json!({})));
    let headers = [
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    ];
    request("GET", &path, &headers, None)
}

/// Whatever was sent, nobody is served; and it is told why.
fn check_refused(answer: &Response, why: &str) {
    assert_eq!((answer.status, answer.header("connection")), (400, Some("close")), "{}", answer.text());
    assert!(answer.text().contains(why), "{}", answer.text());
}

#[test]
fn client_address_comes_from_the_proxy_header() {
    let server = behind_proxies(&[]);
    let v6 = [&[0x20, 0x01, 0x0d, 0xb8][..], &[0; 11], &[9], &[0x20, 0x01], &[0; 14], &[1, 2, 3, 4]].concat();
    let cases = [
        ("ann", line("192.0.2.1"), "192.0.2.1"),
        ("ben", line("2001:db8::7"), "2001:db8::7"),
        ("cleo", binary(PROXY, 0x11, &V4), "192.0.2.77"),
        ("dan", binary(PROXY, 0x21, &v6), "2001:db8::9"),
        // The proxy's own connections, such as its checks of the server's health.
        ("eve", binary(LOCAL, 0, &[]), "127.0.0.1"),
        ("fay", b"PROXY UNKNOWN\r\n".to_vec(), "127.0.0.1"),
    ];
    for (number, (user, header, address)) in cases.iter().enumerate() {
        let all = [header.as_slice(), upgrade_of(user).as_bytes()].concat();
        let mut http = Http::connect(&server.address);
        match number % 2 {
            0 => http.write(&all),
            // Byte by byte, each for itself.
            _ => all.iter().for_each(|byte| http.write([*byte])),
        }
        assert_eq!(http.answer().status, 101, "{user}");
        wait_until("its address is told", || addresses(&server, header, user) == [*address]);
    }
}

#[test]
fn client_address_is_the_same_on_every_shard() {
    let server = behind_proxies(&[]);
    let path = format!("/socket.io/?EIO=4&transport=polling&token={}", token("ann", &json!({})));
    let opened = connect(&server, &line("192.0.2.1")).ask("GET", &path, &[], None).text();
    let sid = &opened[9..33];
    let path = format!("{path}&sid={sid}");
    // By many connections, so that most of them are accepted by another shard than the session's.
    for _ in 0..8 {
        let mut http = connect(&server, &line("192.0.2.1"));
        let taken = http.ask("POST", &path, &[], Some("40"));
        assert_eq!((taken.status, taken.text().as_str()), (200, "ok"));
    }
    let told = connect(&server, &line("192.0.2.1")).ask("GET", &path, &[], None);
    assert!(told.text().starts_with("40{"), "{}", told.text());
    assert_eq!(addresses(&server, &line("192.0.2.9"), "ann"), ["192.0.2.1"]);
}

#[test]
fn clients_behind_one_proxy_are_counted_apart() {
    let server = behind_proxies(&["limits.connection_attempts=2", "limits.connection_block_s=0"]);
    for client in ["192.0.2.1", "192.0.2.2", "2001:db8:1::1"] {
        let attempt = || {
            let mut http = connect(&server, &line(client));
            http.write(refused_upgrade());
            http.answer().status
        };
        assert_eq!([attempt(), attempt(), attempt()], [401, 401, 429], "{client}");
    }
    // Loopback, where the proxies are, is exempt; what they say of others is not.
    let status = |header: &[u8]| {
        let mut http = connect(&server, header);
        http.write(upgrade_of("ann"));
        http.answer().status
    };
    assert_eq!([(); 4].map(|()| status(&binary(LOCAL, 0, &[]))), [101; 4]);
    // Proxies before the proxy say so by HTTP, and are believed if they are trusted, too.
    let forwarded = |by: &str| {
        let mut http = connect(&server, &line(by));
        http.write(refused_upgrade().replace("Upgrade: w", "X-Forwarded-For: 203.0.113.9\r\nUpgrade: w"));
        http.answer().status
    };
    assert_eq!([(); 3].map(|()| forwarded("127.0.0.5")), [401, 401, 429]);
    assert_eq!(forwarded("192.0.2.1"), 429);
}

#[test]
fn proxy_without_header_is_refused() {
    let server = behind_proxies(&["limits.handshake_ms=500"]);
    check_refused(&connect(&server, b"GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n").answer(), "does not begin with");
    check_refused(&connect(&server, b"G").answer(), "does not begin with");
    check_refused(&connect(&server, b"PROXY TCP4 nowhere 198.51.100.7 1 2\r\n").answer(), "malformed");
    let short = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x04\xc0\0\x02\x01";
    check_refused(&connect(&server, short).answer(), "malformed");
    check_refused(&connect(&server, b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff").answer(), "too large");
    // Who begins one and does not end it, or says nothing, is not waited for, and costs nobody anything.
    for header in [&b""[..], b"PROXY TCP4 192.0.2.1", &binary(PROXY, 0x11, &V4)[..17]] {
        assert_eq!(connect(&server, header).rest(), "");
    }
    // A header comes once.
    let mut http = connect(&server, &line("192.0.2.1"));
    http.write(line("192.0.2.2"));
    assert_eq!(http.answer().status, 400);
    let mut http = connect(&server, &line("192.0.2.1"));
    for _ in 0..2 {
        assert_eq!(http.ask("GET", "/healthz", &[], None).status, 200);
    }
}

#[test]
fn proxy_header_from_untrusted_address_is_refused() {
    // Neither who is not trusted, though proxies are, nor a proxy while nothing is expected of it.
    let elsewhere = Server::of_shards(1, &["proxy_protocol=true", "trusted_proxies=192.0.2.0/24"]);
    let unexpected = Server::of_shards(1, &["trusted_proxies=127.0.0.0/8"]);
    for server in [&elsewhere, &unexpected] {
        for header in [line("192.0.2.1"), binary(PROXY, 0x11, &V4)] {
            let mut http = connect(server, &header);
            http.try_write(request("GET", "/healthz", &[], None));
            assert_eq!(http.answer().status, 400);
        }
        assert_eq!(Http::connect(&server.address).ask("GET", "/healthz", &[], None).status, 200);
    }
}

#[test]
fn proxy_protocol_without_trusted_proxies_is_refused() {
    let mut command = support::server::command(&["--set", "proxy_protocol=true"], &[]);
    let output = Command::output(command.stderr(std::process::Stdio::piped())).expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("only those in trusted_proxies are listened to"), "{said}");
}
