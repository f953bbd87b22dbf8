//! Hooks that decide about clients of the server's own namespaces of Socket.IO, and settings of Socket.IO's own server: with the
//! packages from npm.

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::json;
use support::packages::NODE;
use support::redis::RedisServer;
use support::server::{Server, token};
use support::webhook_receiver::{WEBHOOK_SECRET, WebhookReceiver};

/// What a script says that is run with these arguments and told tokens.
fn told(script: &str, arguments: &[&str], users: &[&str]) -> String {
    let mut clients = Command::new("node")
        .arg(NODE.join(script))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("node runs");
    let tokens: Vec<String> = users.iter().map(|user| token(user, &json!({}))).collect();
    writeln!(clients.stdin.take().expect("its input"), "{}", json!(tokens)).expect("it listens");
    let output = clients.wait_with_output().expect("its end");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}");
    said
}

fn port(server: &Server) -> &str {
    server.address.split_once(':').expect("an address").1
}

fn hooked(more: &[&str]) -> String {
    let receiver = WebhookReceiver::start();
    receiver.answer_by(|question| {
        let data = &question["data"];
        match question["type"].as_str().unwrap_or_default() {
            "connect" if data["auth"]["team"] != "red" => json!({"refuse": {"code": "NO_TEAM"}}),
            "connect" if data["userId"] == "banned" => {
                json!({"refuse": {"code": "BANNED", "message": "You are banned"}})
            }
            "connect" if data["namespace"] == "/chat" => json!({"join": ["lobby"]}),
            "join" if data["roomId"] == "closed" => json!({"refuse": {"code": "ROOM_FULL", "message": "Full"}}),
            "publish" if data["content"].as_str().is_some_and(|text| text.ends_with('7')) => json!({"refuse": {}}),
            _ => json!({}),
        }
    });
    let hook = |name| format!("hooks.{name}={{url=\"http://{}/hook\", secret=\"{WEBHOOK_SECRET}\"}}", receiver.address);
    let hooks = ["connect", "join", "publish"].map(hook);
    let fixed = ["hooks.allow_private=true", "rooms.create_on_join=always", "limits.messages_per_minute=0"];
    let mut arguments = vec!["--shards", "3"];
    for setting in hooks.iter().map(String::as_str).chain(fixed).chain(more.iter().copied()) {
        arguments.extend(["--set", setting]);
    }
    let server = Server::start(&arguments);
    told("hooks.mjs", &[port(&server)], &["ann", "bob", "banned"])
}

const HOOKED: &str = "websocket\npolling\npolling, websocket\n";

#[test]
fn hooks_decide_about_clients_of_the_own_namespaces() {
    assert_eq!(hooked(&[]), HOOKED);
}

#[test]
fn hooks_decide_about_clients_of_the_own_namespaces_with_redis() {
    let redis = RedisServer::start();
    assert_eq!(hooked(&[&format!("redis.url={}", redis.url())]), HOOKED);
}

#[test]
fn path_and_transports_of_socket_io_are_those_of_the_settings() {
    let start = |transports: &str| {
        let transports = format!("socketio.transports={transports}");
        let settings = ["socketio.path=/rt", "socketio.upgrade_timeout_ms=2000", &transports];
        let mut arguments = vec!["--shards", "2"];
        settings.iter().for_each(|setting| arguments.extend(["--set", setting]));
        Server::start(&arguments)
    };
    let (both, polling, websocket) = (start("polling,websocket"), start("polling"), start("websocket"));
    let ports = [&both, &polling, &websocket].map(port);
    let said = told("options.mjs", &ports, &["ann"]);
    assert_eq!(said, "both\npolling\nwebsocket\n");
}
