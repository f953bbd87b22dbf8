//! Stock clients whose connections are cut, and whose server is restarted, while their rooms are busy: each says that it was
//! recovered, misses nothing, and gets nothing twice.
//!
//! `SWITCHBOARD_CUTS=n` cuts them off `n` times in all instead of 200.

mod support;

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::json;
use support::directory::Directory;
use support::packages::NODE;
use support::server::{Server, command_at, token};

const SIGTERM: i32 = 15;

fn start(address: &str, directory: &Directory) -> Server {
    let data = directory.text();
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
    let mut arguments = vec!["--shards", "3", "--data", &data];
    settings.iter().for_each(|setting| arguments.extend(["--set", setting]));
    Server::spawn(&mut command_at(address, &arguments, &[]))
}

#[test]
fn stock_clients_are_recovered_whatever_breaks() {
    let directory = Directory::new();
    let mut server = start("127.0.0.1:0", &directory);
    let cuts = std::env::var("SWITCHBOARD_CUTS").unwrap_or_else(|_| "200".to_owned());
    let (host, port) = server.address.split_once(':').expect("an address");
    let mut client = Command::new("node")
        .arg(NODE.join("recovery.mjs"))
        .args([host, port, &cuts])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("node runs");
    let mut input = client.stdin.take().expect("its input");
    let users = (0..8).map(|number| format!("listener-{number}")).chain(["speaker".to_owned()]);
    let tokens: Vec<String> = users.map(|user| token(&user, &json!({}))).collect();
    writeln!(input, "{}", json!(tokens)).expect("it listens");
    let mut said = Vec::new();
    for line in BufReader::new(client.stdout.take().expect("its output")).lines() {
        let line = line.expect("a line");
        let address = server.address.clone();
        match line.strip_prefix("restart ") {
            Some("term") => {
                server.signal(SIGTERM);
                assert!(server.wait(Duration::from_secs(20)).success());
                server = start(&address, &directory);
                writeln!(input).expect("it listens");
            }
            Some(_) => {
                let address = server.kill();
                server = start(&address, &directory);
                writeln!(input).expect("it listens");
            }
            None => said.push(line),
        }
    }
    assert!(client.wait().expect("its end").success(), "{said:?}");
    let mut expected = vec!["cut off under load".to_owned()];
    expected.extend(["term", "kill", "kill"].map(|how| format!("restarted: {how}")));
    expected.push("nothing was missed and nothing came twice".to_owned());
    for dialect in ["colon", "camel"] {
        expected.extend(["websocket", "default"].map(|kind| format!("with nothing heard: {dialect}, {kind}")));
    }
    expected.push("recovered by request".to_owned());
    assert_eq!(said, expected);
}
