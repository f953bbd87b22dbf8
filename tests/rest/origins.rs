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
    let arguments = ["--set", "cors.origins=https://app.example", "--set", "client_url=http://localhost:3000"];
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
    for origin in ["https://app.example", "http://localhost:3000", "http://switchboard.test"] {
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
    let headers: Vec<&str> = UPGRADE.into_iter().chain([alice.as_str(), origin]).collect();
    assert_eq!(ask(&server.address, "GET", "/ws", &headers, None).status, 101);
}
