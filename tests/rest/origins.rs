//! Cross-origin rules and their headers.

use serde_json::json;

use support::http::{Http, ask, bearer};
use support::server::{Server, token};

const UPGRADE: [&str; 4] = [
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
];

fn start() -> (Server, String) {
    let arguments = [
        "--set",
        "cors.origins=https://app.example, capacitor://localhost",
        "--set",
        "client_url=http://localhost:3000",
        "--set",
        "server.names=switchboard.test",
    ];
    (Server::start(&arguments), bearer(&token("alice", &json!({}))))
}

#[test]
fn preflight_is_answered_by_origin() {
    let (server, _) = start();
    let preflight = |origin: &str| {
        let asked = [
            origin,
            "Access-Control-Request-Method: POST",
            "Access-Control-Request-Headers: authorization, content-type, x-request-id",
        ];
        ask(&server.address, "OPTIONS", "/rooms", &asked, None)
    };
    for origin in ["https://app.example", "http://localhost:3000", "http://switchboard.test", "capacitor://localhost"] {
        let answer = preflight(&format!("Origin: {origin}"));
        assert_eq!(answer.status, 204);
        assert_eq!(answer.header("access-control-allow-origin"), Some(origin));
        assert_eq!(answer.header("access-control-allow-credentials"), Some("true"));
        assert_eq!(answer.header("access-control-allow-methods"), Some("POST, OPTIONS"));
        let headers = answer.header("access-control-allow-headers");
        assert_eq!(headers, Some("authorization, content-type, x-request-id"));
        assert!(answer.header("access-control-max-age").is_some());
        assert_eq!(answer.header("vary"), Some("Origin"));
    }
    for origin in ["https://evil.example", "null", "https://app.example.evil.example", "http://app.example"] {
        let answer = preflight(&format!("Origin: {origin}"));
        assert_eq!(answer.header("vary"), Some("Origin"));
        let told = answer.headers.iter().filter(|(name, _)| name.starts_with("access-control-")).count();
        assert_eq!(told, 0, "{origin}");
    }
}

#[test]
fn calls_are_answered_by_origin() {
    let (server, alice) = start();
    let call = |origin: &str| ask(&server.address, "POST", "/rooms", &[&alice, origin], Some("{}"));
    let allowed = call("Origin: https://app.example");
    assert_eq!(allowed.status, 201);
    assert_eq!(allowed.header("access-control-allow-origin"), Some("https://app.example"));
    let refused = call("Origin: https://evil.example");
    assert_eq!((refused.status, refused.code().as_str()), (403, "FORBIDDEN"));
    assert_eq!(refused.header("access-control-allow-origin"), None);
    let from_a_program = ask(&server.address, "POST", "/rooms", &[&alice], Some("{}"));
    assert_eq!((from_a_program.status, from_a_program.header("access-control-allow-origin")), (201, None));
    // A page may read refusals, too.
    let unknown = ask(&server.address, "GET", "/rooms/none", &[&alice, "Origin: https://app.example"], None);
    assert_eq!((unknown.status, unknown.header("access-control-allow-origin")), (404, Some("https://app.example")));
}

#[test]
fn upgrade_is_granted_by_origin() {
    let (server, alice) = start();
    let upgrade = |origin: &str| {
        let headers: Vec<&str> = UPGRADE.into_iter().chain([alice.as_str(), origin]).collect();
        Http::connect(&server.address).ask("GET", "/ws", &headers, None)
    };
    for origin in ["https://app.example", "http://localhost:3000", "http://switchboard.test"] {
        assert_eq!(upgrade(&format!("Origin: {origin}")).status, 101, "{origin}");
    }
    for origin in ["https://evil.example", "null"] {
        let refused = upgrade(&format!("Origin: {origin}"));
        assert_eq!((refused.status, refused.code().as_str()), (403, "FORBIDDEN"), "{origin}");
        assert_eq!(refused.json()["success"], false);
    }
}

#[test]
fn any_origin_is_admitted_by_setting() {
    let server = Server::start(&["--set", "cors.origins=*"]);
    let alice = bearer(&token("alice", &json!({})));
    let origin = "Origin: https://anywhere.example";
    let answer = ask(&server.address, "POST", "/rooms", &[&alice, origin], Some("{}"));
    assert_eq!(answer.status, 201);
    assert_eq!(answer.header("access-control-allow-origin"), Some("https://anywhere.example"));
    assert_eq!(answer.header("access-control-allow-credentials"), None);
    // A page that may be anybody's has no cookies that count.
    let cookie = format!("Cookie: token={}", token("alice", &json!({})));
    for origin in [origin, "Origin: http://localhost", "Sec-Fetch-Site: same-origin", "Sec-Fetch-Site: none"] {
        assert_eq!(ask(&server.address, "GET", "/rooms/none", &[&cookie, origin], None).status, 401, "{origin}");
        let headers: Vec<&str> = UPGRADE.into_iter().chain([cookie.as_str(), origin]).collect();
        assert_eq!(ask(&server.address, "GET", "/ws", &headers, None).status, 401, "{origin}");
    }
    let headers: Vec<&str> = UPGRADE.into_iter().chain([alice.as_str(), origin]).collect();
    assert_eq!(ask(&server.address, "GET", "/ws", &headers, None).status, 101);
}

/// The beginning of a WebSocket at a host by this name, from the page of an origin.
fn upgrade_at(address: &str, host: &str, headers: &[String]) -> u16 {
    let mut http = Http::connect(address);
    http.write(format!(
        "GET /ws HTTP/1.1\r\nHost: {host}\r\n{}\r\n{}\r\n\r\n",
        UPGRADE.join("\r\n"),
        headers.join("\r\n")
    ));
    http.answer().status
}

#[test]
fn own_page_is_known_by_its_host_name() {
    let server = Server::start(&["--set", "auth.guests=true", "--set", "server.names=chat.example"]);
    let port = server.address.rsplit_once(':').expect("a port").1;
    let upgrade = |host: &str, origin: &str| upgrade_at(&server.address, host, &[format!("Origin: {origin}")]);
    for host in [&format!("127.0.0.1:{port}"), &format!("localhost:{port}"), "chat.example", "[::1]:1"] {
        assert_eq!(upgrade(host, &format!("http://{host}")), 101, "{host}");
    }
    // A name of the attacker's, set to the address of this server.
    for host in
        [&format!("evil.example:{port}"), "evil.example", "localhost.evil.example", "192.0.2.7", "[2001:db8::7]"]
    {
        assert_eq!(upgrade(host, &format!("http://{host}")), 403, "{host}");
    }
    // Another scheme is another origin.
    assert_eq!(upgrade("chat.example", "https://chat.example"), 403);
    // The page reads without Origin; a program has none and any host.
    let guest = |site: &str| upgrade_at(&server.address, "evil.example", &[format!("Sec-Fetch-Site: {site}")]);
    assert_eq!([guest("same-origin"), guest("cross-site")], [403; 2]);
    assert_eq!(upgrade_at(&server.address, "evil.example", &["X-Other: 1".to_owned()]), 101);
}

#[test]
fn page_behind_tls_is_own_by_report_of_a_trusted_proxy() {
    let names = ["--set", "auth.guests=true", "--set", "server.names=chat.example"];
    let trusting = [&names[..], &["--set", "trusted_proxies=127.0.0.1"]].concat();
    let headers = |origin: &str, more: &[&str]| {
        let all = [format!("Origin: {origin}")].into_iter().chain(more.iter().map(|line| (*line).to_owned()));
        all.collect::<Vec<String>>()
    };
    let reports: [&[&str]; 2] =
        [&["X-Forwarded-Proto: https"], &["Forwarded: for=192.0.2.1;proto=https;host=chat.example"]];
    for report in reports {
        let server = Server::start(&trusting);
        assert_eq!(upgrade_at(&server.address, "chat.example", &headers("https://chat.example", report)), 101);
        assert_eq!(upgrade_at(&server.address, "chat.example", &headers("http://chat.example", report)), 403);
        let server = Server::start(&names);
        assert_eq!(upgrade_at(&server.address, "chat.example", &headers("https://chat.example", report)), 403);
    }
}

#[test]
fn unknown_own_host_is_explained_in_the_log_once() {
    let mut command = support::server::command(&[], &[]);
    let server = Server::spawn(command.stderr(std::process::Stdio::piped()));
    for host in ["chat.example", "chat.example", "evil.example"] {
        let origin = format!("Origin: https://{host}");
        assert_eq!(upgrade_at(&server.address, host, &[origin]), 403);
    }
    let log = server.log();
    let hints: Vec<&str> = log.lines().filter(|line| line.contains("server.names")).collect();
    assert!(hints.len() == 1 && hints[0].contains("https://chat.example") && hints[0].contains("client_url"), "{log}");
}
