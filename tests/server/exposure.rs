//! What is served where: the listener for operators, headers of pages and answers, TURN, and the presence of strangers.

use serde_json::{Value, json};
use support::client::Client;
use support::engineio::Socket;
use support::http::{ask, bearer};
use support::redis::RedisServer;
use support::server::{Server, token};

#[test]
fn calls_of_admins_and_metrics_are_served_by_the_listener_for_operators_only() {
    let (server, operators) = Server::start_with_operators(&[]);
    let clients = server.address.as_str();
    let root = bearer(&token("root", &json!({ "role": "admin" })));
    let user = bearer(&token("ann", &json!({})));
    let status = |address: &str, method: &str, path: &str, line: &str| {
        let body = if path == "/broadcast" { "{\"message\":1}" } else { "{}" };
        ask(address, method, path, &[line], (method != "GET").then_some(body)).status
    };
    for (method, path) in [
        ("GET", "/metrics"),
        ("GET", "/users/blocked"),
        ("POST", "/users/eve/block"),
        ("POST", "/broadcast"),
        ("GET", "/api/rooms"),
    ] {
        assert_eq!(status(clients, method, path, &root), 404, "{method} {path}");
        assert_eq!(status(&operators, method, path, &root), 200, "{method} {path}");
    }
    assert_eq!(status(&operators, "GET", "/users/blocked", &user), 403);
    assert_eq!(status(&operators, "GET", "/healthz", &user), 200);
    for path in ["/", "/call", "/socket.io/?EIO=4&transport=polling"] {
        assert_eq!((status(clients, "GET", path, &user), status(&operators, "GET", path, &user)), (200, 404), "{path}");
    }
    assert!(Client::try_connect(&operators, Some(&token("ann", &json!({})))).is_err());
    Client::connect(clients, Some(&token("ann", &json!({}))));
    // An admin who has locked everyone out undoes it there.
    let own = Some(r#"{"address":"127.0.0.0/8"}"#);
    assert_eq!(ask(&operators, "POST", "/addresses/blocked", &[&root], own).status, 200);
    let until = std::time::Instant::now() + support::client::PATIENCE;
    while status(clients, "GET", "/", &user) != 403 {
        assert!(std::time::Instant::now() < until, "the address is not blocked");
    }
    assert_eq!(ask(&operators, "DELETE", "/addresses/blocked/127.0.0.0%2F8", &[&root], None).status, 204);
    while status(clients, "GET", "/", &user) != 200 {
        assert!(std::time::Instant::now() < until, "the address is still blocked");
    }
}

#[test]
fn pages_and_answers_carry_headers_that_keep_them_apart() {
    let server = Server::start(&[]);
    let page = ask(&server.address, "GET", "/call", &[], None);
    let policy = page.header("content-security-policy").expect("a policy");
    for part in ["base-uri 'none'", "object-src 'none'", "frame-ancestors 'none'"] {
        assert!(policy.contains(part), "{policy}");
    }
    assert_eq!(page.header("cross-origin-opener-policy"), Some("same-origin"));
    assert_eq!(page.header("cross-origin-resource-policy"), Some("same-origin"));
    let line = bearer(&token("ann", &json!({})));
    for (path, lines) in [("/websocket/me/status", vec![line.as_str()]), ("/rooms/r", vec![]), ("/nowhere", vec![])] {
        let answer = ask(&server.address, "GET", path, &lines, None);
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{path} {}", answer.status);
    }
}

#[test]
fn guest_gets_turn_only_where_it_is_configured() {
    let turn = ["auth.guests=true", "turn.url=turn:turn.example:3478", "turn.secret=0123456789abcdef0123456789abcdef"];
    let servers = |settings: &[&str], token: Option<&str>| -> Value {
        let server = Server::of_shards(1, &[&turn, settings].concat());
        Client::connect(&server.address, token).join("r", "p")["iceServers"].clone()
    };
    assert_eq!(servers(&[], None), json!([]));
    assert_eq!(servers(&["turn.guests=true"], None)[0]["urls"][0], "turn:turn.example:3478");
    let own = servers(&[], Some(&token("ann", &json!({}))));
    let until: u64 = own[0]["username"].as_str().and_then(|name| name.split(':').next()?.parse().ok()).expect("a time");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock").as_secs();
    assert!((now + 7_000..=now + 7_200).contains(&until), "{until}");
}

/// What `user` learns of ann by Socket.IO and by REST: her status, or none.
fn seen(address: &str, socket: &mut Socket, user: &str, ack: u32) -> [Option<String>; 3] {
    socket.ask(ack, "presence:user-status", &json!({ "userId": "ann" }));
    let by_socket = socket.acked(ack);
    let status = |value: &Value| value["status"].as_str().filter(|status| *status != "offline").map(str::to_owned);
    let line = bearer(&token(user, &json!(if user == "root" { json!({ "role": "admin" }) } else { json!({}) })));
    let by_path = |path: &str| {
        let answer = ask(address, "GET", path, &[&line], None);
        status(&answer.json())
    };
    let text = by_socket.to_string();
    [
        text.contains("\"online\"").then(|| "online".to_owned()),
        by_path("/presence/ann"),
        by_path("/websocket/users/ann/status"),
    ]
}

fn strangers_see_no_presence_where_it_is_for_rooms_only(settings: &[&str]) {
    let online = Some("online".to_owned());
    for (scope, is_shared) in [("presence.scope=rooms", true), ("presence.scope=none", false)] {
        let server = Server::of_shards(2, &[settings, &[scope]].concat());
        let address = server.address.as_str();
        let mut ann = Client::connect(address, Some(&token("ann", &json!({}))));
        ann.join("shared", "a");
        let (mut bob, _) = Socket::chat(address, "colon", "bob");
        assert_eq!(seen(address, &mut bob, "bob", 1), [None, None, None], "{scope}");
        bob.ask(2, "presence:online-users", &json!({}));
        let listed = bob.acked(2).to_string();
        assert!(!listed.contains("ann") && listed.contains("bob"), "{scope} {listed}");
        bob.ask(3, "join:chat", &json!({ "chatId": "shared" }));
        bob.acked(3);
        let expected = if is_shared { online.clone() } else { None };
        assert_eq!(seen(address, &mut bob, "bob", 4), [expected.clone(), expected.clone(), expected], "{scope}");
        let (mut own, _) = Socket::chat(address, "colon", "ann");
        assert_eq!(seen(address, &mut own, "ann", 5), [online.clone(), online.clone(), online.clone()], "{scope}");
    }
}

#[test]
fn stranger_sees_no_presence_of_a_single_process() {
    strangers_see_no_presence_where_it_is_for_rooms_only(&[]);
}

#[test]
fn stranger_sees_no_presence_of_a_cluster() {
    let redis = RedisServer::start();
    strangers_see_no_presence_where_it_is_for_rooms_only(&[&format!("redis.url={}", redis.url())]);
}
