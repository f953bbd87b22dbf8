//! Socket.IO clients from npm whose connections are cut and whose server restarts under load: each reports that it was
//! recovered, loses no event and receives none twice; also when it reconnects to another server.
//!
//! `SWITCHBOARD_CUTS=n` cuts connections `n` times in all instead of 200.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::json;
use support::directory::Directory;
use support::packages::NODE;
use support::redis::RedisServer;
use support::server::{Server, command_at, token};

const SIGTERM: i32 = 15;

fn start(address: &str, store: &[&str]) -> Server {
    let settings = [
        "rooms.create_on_join=always",
        "presence.scope=none",
        "presence.grace_ms=60000",
        // A client whose WebSocket breaks while it moves to it hears nothing any more until it misses a ping.
        "heartbeat.interval_ms=1000",
        "heartbeat.timeout_ms=2000",
        "drain.seconds=0",
        "log.level=error",
    ];
    let mut arguments = vec!["--shards", "3"];
    arguments.extend(store);
    settings.iter().for_each(|setting| arguments.extend(["--set", setting]));
    Server::spawn(&mut command_at(address, &arguments, &[]))
}

/// Has clients cut off, with servers at these ports; they are told where to write.
fn clients(host: &str, ports: &str) -> Child {
    let cuts = std::env::var("SWITCHBOARD_CUTS").unwrap_or_else(|_| "200".to_owned());
    let mut clients = Command::new("node")
        .arg(NODE.join("recovery.mjs"))
        .args([host, ports, &cuts])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("node runs");
    let users = (0..8).map(|number| format!("listener-{number}")).chain(["speaker".to_owned()]);
    let tokens: Vec<String> = users.map(|user| token(&user, &json!({}))).collect();
    writeln!(clients.stdin.as_mut().expect("its input"), "{}", json!(tokens)).expect("it listens");
    clients
}

/// What went well, with restarts in these ways.
fn expected(restarts: &[&str]) -> Vec<String> {
    let mut expected = vec!["cut off under load".to_owned()];
    expected.extend(restarts.iter().map(|how| format!("restarted: {how}")));
    expected.push("nothing was missed and nothing came twice".to_owned());
    for dialect in ["colon", "camel"] {
        expected.extend(["websocket", "default"].map(|kind| format!("with nothing heard: {dialect}, {kind}")));
    }
    expected.push("recovered by request".to_owned());
    expected
}

#[test]
fn npm_clients_after_cuts_and_restart_are_recovered() {
    let directory = Directory::new();
    let data = directory.text();
    let start = |address: &str| start(address, &["--data", &data]);
    let mut server = start("127.0.0.1:0");
    let (host, port) = server.address.split_once(':').expect("an address");
    let mut client = clients(host, port);
    let mut input = client.stdin.take().expect("its input");
    let mut said = Vec::new();
    for line in BufReader::new(client.stdout.take().expect("its output")).lines() {
        let line = line.expect("a line");
        let address = server.address.clone();
        match line.strip_prefix("restart ") {
            Some("term") => {
                server.signal(SIGTERM);
                assert!(server.wait(Duration::from_secs(20)).success());
                server = start(&address);
                writeln!(input).expect("it listens");
            }
            Some(_) => {
                let address = server.kill();
                server = start(&address);
                writeln!(input).expect("it listens");
            }
            None => said.push(line),
        }
    }
    assert!(client.wait().expect("its end").success(), "{said:?}");
    assert_eq!(said, expected(&["term", "kill", "kill"]));
}

#[test]
fn npm_clients_reconnecting_to_other_servers_are_recovered() {
    let redis = RedisServer::start();
    let url = format!("redis.url={}", redis.url());
    let servers = [(); 3].map(|()| start("127.0.0.1:0", &["--set", &url]));
    let ports: Vec<&str> = servers.iter().filter_map(|server| server.address.split(':').next_back()).collect();
    let output = clients("127.0.0.1", &ports.join(",")).wait_with_output().expect("its end");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    assert_eq!(said.lines().collect::<Vec<_>>(), expected(&[]));
}
