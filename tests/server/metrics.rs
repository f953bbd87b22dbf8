//! Each metric against a load with known counts, and the files for Prometheus and Grafana against the metrics.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use support::client::{Client, PATIENCE};
use support::directory::Directory;
use support::engineio::{Polling, Socket, connect_packet};
use support::http::{ask, bearer};
use support::process::wait_until;
use support::redis::RedisServer;
use support::server::{Server, token};

fn root() -> String {
    bearer(&token("root", &json!({ "role": "admin" })))
}

fn page(server: &Server) -> String {
    ask(&server.address, "GET", "/metrics", &[&root()], None).text()
}

/// The values by name and labels, without the prefix of all names.
fn figures(server: &Server) -> BTreeMap<String, f64> {
    let line = |line: &str| {
        let (name, value) = line.rsplit_once(' ').expect("a value");
        (name.strip_prefix("switchboard_").expect("the prefix").to_owned(), value.parse().expect("a number"))
    };
    page(server).lines().filter(|line| !line.starts_with('#')).map(line).collect()
}

fn user(server: &Server, name: &str) -> Client {
    Client::connect(&server.address, Some(&token(name, &json!({}))))
}

#[test]
fn counters_are_those_of_a_load_with_known_counts() {
    let directory = Directory::new();
    let server = Server::of_shards(1, &["push.by_users=true", &format!("data_dir={}", directory.text())]);
    let before = figures(&server);
    let mut users: Vec<Client> = ["ann", "bob", "cid"].map(|name| user(&server, name)).into();
    for (n, user) in users.iter_mut().enumerate() {
        user.join("r", &n.to_string());
    }
    let _dan = Socket::chat(&server.address, "colon", "dan");
    let mut polling = Polling::open(&server.address, "/socket.io/");
    polling.send(&connect_packet("/chat", "eve"));
    polling.wait_for("40/chat,");
    let mut upgraded =
        Socket::connect(&server.address, &format!("/socket.io/?EIO=4&transport=websocket&sid={}", polling.sid));
    upgraded.send("2probe");
    assert_eq!(upgraded.next(), "3probe");
    upgraded.send("5");
    for n in 0..20 {
        users[0].send(&json!({ "type": "message", "roomId": "r", "content": "x", "requestId": n }));
        users[1].wait_for("message");
    }
    for n in 0..5 {
        users[0].send(&json!({ "type": "dance", "requestId": n }));
        users[0].wait_for("error");
    }
    for n in 0..3 {
        users[0].send(&json!({ "type": "message", "roomId": "elsewhere", "content": "x", "requestId": n }));
        users[0].wait_for("error");
    }
    for _ in 0..4 {
        assert_eq!(ask(&server.address, "GET", "/nowhere", &[], None).status, 404);
    }
    for _ in 0..2 {
        assert_eq!(ask(&server.address, "GET", "/rooms/r", &[], None).status, 401);
    }
    drop(users.pop());
    users.pop().expect("bob").close();
    let gone = || figures(&server)["connections{dialect=\"raw\"}"] == 1.0;
    wait_until("two clients are gone", gone);
    let after = figures(&server);
    let more = |name: &str| after.get(name).unwrap_or_else(|| panic!("{name} is missing")) - before[name];
    for (name, count) in [
        ("connections_opened_total{dialect=\"raw\"}", 3),
        ("connections_opened_total{dialect=\"colon\"}", 2),
        ("connections_closed_total{reason=\"lost\"}", 1),
        ("connections_closed_total{reason=\"left\"}", 1),
        ("connections{dialect=\"colon\"}", 2),
        ("engineio_sessions_opened_total{transport=\"polling\"}", 1),
        ("engineio_sessions_opened_total{transport=\"websocket\"}", 1),
        ("engineio_upgrades_total", 1),
        ("refusals_total{code=\"UNKNOWN_TYPE\"}", 5),
        ("refusals_total{code=\"ROOM_NOT_FOUND\"}", 3),
        ("refusals_total{code=\"INTERNAL\"}", 0),
        ("http_responses_total{code=\"404\"}", 4),
        ("http_responses_total{code=\"401\"}", 2),
        ("http_responses_total{code=\"101\"}", 5),
        ("tokens_refused_total", 2),
        ("handshake_seconds_count", 5),
        ("publish_seconds_count", 20),
        ("sockets_accepted_total{listener=\"admin\"}", 0),
        ("slow_consumers_total", 0),
    ] {
        assert_eq!(more(name), f64::from(count), "{name}");
    }
    assert!(more("store_commit_seconds_count") >= 20.0, "{}", more("store_commit_seconds_count"));
    assert!(more("publish_seconds_sum") < 20.0 && more("loop_turn_seconds_count") > 20.0);
    let own: f64 = after.iter().filter(|(name, _)| name.starts_with("memory_bytes{")).map(|(_, bytes)| bytes).sum();
    for owner in ["connections", "memberships", "rooms", "users"] {
        assert!(after[&format!("memory_bytes{{owner=\"{owner}\"}}")] > 0.0, "{owner}");
    }
    assert!(own > 0.0 && after["uptime_seconds"] >= 0.0);
    assert_eq!(after[&format!("build_info{{version=\"{}\",shards=\"1\"}}", env!("CARGO_PKG_VERSION"))], 1.0);
}

#[test]
fn store_without_a_directory_is_an_owner_of_memory() {
    let server = Server::of_shards(1, &[]);
    let store = || figures(&server)["memory_bytes{owner=\"store\"}"];
    wait_until("the new store is measured", || store() > 0.0);
    let new = store();
    let mut ann = user(&server, "ann");
    ann.join("r", "0");
    for n in 0..50 {
        ann.send(&json!({ "type": "message", "roomId": "r", "content": "x".repeat(10_000), "requestId": n }));
        ann.wait_for("message-sent");
    }
    wait_until("its messages are measured", || store() > new + 500_000.0);
}

/// What the server answers to bytes, to the end.
fn exchange(server: &Server, request: &str) -> usize {
    let mut stream = TcpStream::connect(&server.address).expect("the server listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("an option");
    stream.write_all(request.as_bytes()).expect("the server reads");
    stream.read_to_end(&mut Vec::new()).expect("an answer")
}

#[test]
fn bytes_are_those_of_the_sockets() {
    let server = Server::of_shards(1, &[]);
    let scrape = format!("GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{}\r\n\r\n", root());
    let read = || {
        let mut stream = TcpStream::connect(&server.address).expect("the server listens");
        stream.write_all(scrape.as_bytes()).expect("the server reads");
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("an answer");
        let figure = |name: &str| -> u64 {
            let line = text.lines().find_map(|line| line.strip_prefix(&format!("switchboard_socket_{name}_total ")));
            line.and_then(|value| value.parse().ok()).expect("a number")
        };
        (figure("received_bytes"), figure("sent_bytes"), text.len() as u64)
    };
    let first = read();
    let request = "GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let sent: usize = (0..10).map(|_| exchange(&server, request)).sum();
    let second = read();
    assert_eq!(second.0 - first.0, (10 * request.len() + scrape.len()) as u64);
    assert_eq!(second.1 - first.1, sent as u64 + first.2);
}

#[test]
fn exchanges_with_redis_are_timed() {
    let redis = RedisServer::start();
    let server = Server::of_shards(2, &[&format!("redis.url={}", redis.url())]);
    let mut ann = user(&server, "ann");
    ann.join("r", "a");
    let figures = figures(&server);
    assert!(figures["redis_exchange_seconds_count"] >= 2.0 && figures["store_commit_seconds_count"] == 0.0);
}

/// Runs `promtool`, with this input; what it says if it finds anything.
fn promtool(arguments: &[&str], input: &str) -> Result<(), String> {
    let directory = format!("{}/packaging/prometheus", env!("CARGO_MANIFEST_DIR"));
    let mut command = Command::new("promtool");
    command.args(arguments).current_dir(directory).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("promtool is installed (package prometheus)");
    child.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("its end");
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    if output.status.success() { Ok(()) } else { Err(text) }
}

#[test]
fn page_and_rules_are_as_promtool_wants_them() {
    let server = Server::of_shards(2, &[]);
    user(&server, "ann").join("r", "a");
    assert_eq!(promtool(&["check", "metrics"], &page(&server)), Ok(()));
    assert_eq!(promtool(&["check", "rules", "alerts.yml"], ""), Ok(()));
    assert_eq!(promtool(&["test", "rules", "alerts_test.yml"], ""), Ok(()));
}

#[test]
fn rules_and_dashboard_ask_for_metrics_that_there_are() {
    let server = Server::of_shards(1, &[]);
    let text = page(&server);
    let read = |path: &str| {
        std::fs::read_to_string(format!("{}/packaging/{path}", env!("CARGO_MANIFEST_DIR"))).expect("a file")
    };
    let (rules, dashboard) = (read("prometheus/alerts.yml"), read("grafana/switchboard.json"));
    let board: Value = serde_json::from_str(&dashboard).expect("JSON");
    assert!(board["panels"].as_array().is_some_and(|panels| panels.len() > 15));
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    for asked in [rules, dashboard].iter().flat_map(|text| text.split(|letter| !is_part(letter))) {
        let Some(name) = asked.strip_prefix("switchboard_").filter(|name| !name.starts_with("webhook_")) else {
            continue;
        };
        let ends = ["_bucket", "_sum", "_count"];
        let family = ends.iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
        assert!(text.contains(&format!("# TYPE switchboard_{family} ")), "{asked}");
    }
}
