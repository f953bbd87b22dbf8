//! Opening handshakes of `/ws` as clients and proxies write them.

use serde_json::json;

use support::server::{Server, token};
use support::tcp_client::{TcpClient, upgrade_request};

const KEY: &str = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
const VERSION: &str = "Sec-WebSocket-Version: 13\r\n";

fn good() -> String {
    upgrade_request(&token("alice", &json!({})))
}

/// The status of the answer to these bytes, and all that follows its head.
fn outcome(server: &Server, bytes: &str) -> (u16, String) {
    let mut client = TcpClient::connect(&server.address);
    client.send(bytes.as_bytes());
    let head = client.http_head();
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    let rest = if status == 101 { Vec::new() } else { client.read_to_end() };
    (status, String::from_utf8_lossy(&rest).into_owned())
}

#[test]
fn default_listener_accepts_ipv4_and_ipv6() {
    let printed = |arguments: &[&str]| {
        let program = support::workspace::program("switchboard");
        let output = std::process::Command::new(program).args(arguments).env_clear().output().expect("it runs");
        String::from_utf8(output.stdout).expect("text")
    };
    assert!(printed(&["config"]).contains(r#"listen = ["[::]:8090"]"#));
    assert!(printed(&["config", "--dev"]).contains(r#"listen = ["127.0.0.1:8090", "[::1]:8090"]"#));
    let server = Server::start_at("[::]:0", &[]);
    let port = server.address.rsplit(':').next().expect("a port");
    for host in ["127.0.0.1", "[::1]"] {
        let mut client = TcpClient::connect(&format!("{host}:{port}"));
        client.send(good().as_bytes());
        assert!(client.http_head().starts_with("HTTP/1.1 101 "), "{host}");
    }
}

#[test]
fn handshake_with_a_body_or_a_repeated_header_is_refused() {
    let server = Server::start(&[]);
    let with = |lines: &str, body: &str| good().replacen(VERSION, &format!("{VERSION}{lines}"), 1) + body;
    let table = [
        (with("Content-Length: 7\r\n", "1234567"), "has no body"),
        (with("Transfer-Encoding: chunked\r\n", "2\r\nab\r\n0\r\n\r\n"), "has no body"),
        (with(KEY, ""), "repeated"),
        (with("sec-websocket-key: AQIDBAUGBwgJCgsMDQ4PEA==\r\n", ""), "repeated"),
        (with(VERSION, ""), "repeated"),
        (with("Sec-WebSocket-Version: 8\r\n", ""), "repeated"),
    ];
    for (request, text) in table {
        let (status, body) = outcome(&server, &request.replacen("Upgrade\r\n", "Upgrade, close\r\n", 1));
        assert_eq!(status, 400, "{request}");
        assert!(body.contains(text) && body.contains("INVALID_MESSAGE"), "{body}");
    }
    assert_eq!(outcome(&server, &with("Content-Length: 0\r\n", "")).0, 101);
}

#[test]
fn subprotocol_named_by_the_settings_is_selected() {
    let select = |server: &Server, path: &str, offer: &str| {
        let request = good().replacen("GET /ws", &format!("GET {path}"), 1);
        let request = request.replacen(VERSION, &format!("{VERSION}Sec-WebSocket-Protocol: {offer}\r\n"), 1);
        let mut client = TcpClient::connect(&server.address);
        client.send(request.as_bytes());
        let head = client.http_head();
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        head.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Protocol: ")).map(str::to_owned)
    };
    let server = Server::start(&["--set", "websocket.subprotocols=[\"chat\", \"wamp\"]"]);
    assert_eq!(select(&server, "/ws", "chat").as_deref(), Some("chat"));
    assert_eq!(select(&server, "/ws", "mqtt, wamp, chat").as_deref(), Some("wamp"));
    assert_eq!(select(&server, "/ws", "mqtt"), None);
    assert_eq!(select(&Server::start(&[]), "/ws", "chat"), None);
    // Node.js selects the first.
    let socketio = "/socket.io/?EIO=4&transport=websocket&x=";
    assert_eq!(select(&server, socketio, "mqtt, chat").as_deref(), Some("mqtt"));
}

#[test]
fn handshake_in_a_clients_own_spelling_is_accepted() {
    let server = Server::start(&[]);
    let targets = ["GET ws://test/ws", "GET wss://test/ws", "GET WS://[::1]:8090/ws", "GET http://test:1/ws"];
    for target in targets {
        assert_eq!(outcome(&server, &good().replacen("GET /ws", target, 1)).0, 101, "{target}");
    }
    for host in ["::1:8090", "::1", "[::1]:8090", "fe80::1:2", "[fe80::1]"] {
        assert_eq!(outcome(&server, &good().replacen("Host: test", &format!("Host: {host}"), 1)).0, 101, "{host}");
    }
    let key = "dGhlIHNhbXBsZSBub25jZQ==";
    for other in ["AQIDBAUGBwgJCgsMDQ4PEC==", "AQIDBAUGBwgJCgsMDQ4PEP=="] {
        assert_eq!(outcome(&server, &good().replacen(key, other, 1)).0, 101, "{other}");
    }
    for other in ["AQIDBAUGBwgJCgsMDQ4P", "AQIDBAUGBwgJCgsMDQ4PEC=", "AQIDBAUGBwgJCgsMDQ4PE*=="] {
        assert_eq!(
            outcome(&server, &good().replacen(key, other, 1).replacen("Upgrade\r\n", "Upgrade, close\r\n", 1)).0,
            400,
            "{other}"
        );
    }
}

#[test]
fn handshake_at_a_path_without_websocket_is_told_where_one_is() {
    let server = Server::start(&["--profile", "002"]);
    let paths = [
        "/",
        "/call",
        "/chat",
        "/ws/",
        "/wss",
        "/api/rooms",
        "/nowhere",
        "/websocket-client.html",
        "/assets/style.css",
    ];
    let queries = ["", "?token=x", "?EIO=4&transport=websocket"];
    // Made once: the next second's token is another one.
    let right = good();
    let line = right.lines().next().expect("a request line");
    for path in paths {
        for query in queries {
            let request = right.replacen(line, &format!("GET {path}{query} HTTP/1.1"), 1);
            for upgrade in ["websocket", "WebSocket", "h2c, websocket"] {
                let request = request.replacen("Upgrade: websocket", &format!("Upgrade: {upgrade}"), 1);
                let request = request.replacen("Connection: Upgrade", "Connection: Upgrade, close", 1);
                let (status, body) = outcome(&server, &request);
                assert_eq!(status, 404, "{request}");
                assert!(body.contains("/ws") && body.contains("/socket.io/") && body.contains("NOT_FOUND"), "{body}");
            }
        }
    }
    // Another protocol is none that the request could be meant for: it is ignored (RFC 9110 §7.8).
    let plain = "GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade, close\r\nUpgrade: h2c\r\n\r\n";
    assert_eq!(outcome(&server, plain).0, 200);
}
