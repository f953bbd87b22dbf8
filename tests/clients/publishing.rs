//! A backend in Python publishes with an API key; stock clients of Socket.IO and of `/ws` get one order with the same numbers, on
//! one server, and on three that share a Redis, of which one is killed meanwhile.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};

use serde_json::{Value, json};
use support::directory::Directory;
use support::http::{ask, bearer};
use support::packages::{NODE, SCRIPTS};
use support::process::{LineLog, wait_until};
use support::redis::RedisServer;
use support::server::{Server, token};

const NUMBERS: usize = 60;
/// Calls at once with one key.
const AT_ONCE: usize = 100;

/// A process that ends with the test.
struct Script(Child);

impl Drop for Script {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Script {
    fn start(command: &mut Command) -> (Self, BufReader<ChildStdout>) {
        let mut child = command.stdout(Stdio::piped()).spawn().expect("it starts");
        let output = BufReader::new(child.stdout.take().expect("a pipe"));
        (Self(child), output)
    }
}

fn line(output: &mut BufReader<ChildStdout>) -> String {
    let mut line = String::new();
    output.read_line(&mut line).expect("text");
    line.trim_end().to_owned()
}

fn port(server: &Server) -> String {
    server.address.rsplit_once(':').expect("a port").1.to_owned()
}

/// Makes a room and an API key for it.
fn key(server: &Server) -> String {
    let admin = bearer(&token("root", &json!({ "role": "admin" })));
    let body = json!({ "actions": ["publish", "rooms", "read"], "roomPrefixes": ["order-"] }).to_string();
    let made = ask(&server.address, "POST", "/api/v1/keys", &[&admin], Some(&body));
    assert_eq!(made.status, 201, "{}", made.text());
    let key = made.json()["key"].as_str().expect("a key").to_owned();
    let room = ask(&server.address, "PUT", "/api/v1/rooms/order-1", &[&bearer(&key)], Some("{}"));
    assert_eq!(room.status, 201, "{}", room.text());
    key
}

/// Publishes by all servers while stock clients listen at the first and the last; `meanwhile` runs when some messages are out. Returns
/// when all is compared.
fn publish_to_listeners(servers: &[&Server], meanwhile: impl FnOnce()) {
    let (first, last) = (servers[0], servers[servers.len() - 1]);
    let key = key(first);
    let listen = |server: &Server, dialect: &str| format!("{}:{dialect}:{}", port(server), token(dialect, &json!({})));
    let mut listeners = Command::new("node");
    listeners.arg(format!("{SCRIPTS}/listeners.mjs")).arg(&*NODE).args(["order-1", &(NUMBERS + 1).to_string()]);
    listeners.args([listen(first, "raw"), listen(last, "colon"), listen(first, "camel"), listen(last, "raw")]);
    let (_listeners, mut heard) = Script::start(&mut listeners);
    assert_eq!(line(&mut heard), "ready");

    let ports: Vec<String> = servers.iter().map(|server| port(server)).collect();
    let mut publisher = Command::new("python3");
    publisher.arg(format!("{SCRIPTS}/publisher.py")).args([&ports.join(","), &key, "order-1"]);
    publisher.args([NUMBERS.to_string(), AT_ONCE.to_string()]).stderr(Stdio::piped());
    let (mut publisher, mut published) = Script::start(&mut publisher);
    let progress = LineLog::of(publisher.0.stderr.take().expect("a pipe"));
    wait_until("some messages are out", || progress.contains("9\n"));
    meanwhile();
    let receipts: Vec<Value> = serde_json::from_str(&line(&mut published)).expect("receipts");
    let heard: Vec<Vec<(u64, String, Value)>> = serde_json::from_str(&line(&mut heard)).expect("messages");

    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let receipts: Vec<(u64, String)> =
        receipts.iter().map(|it| (it["seq"].as_u64().expect("a number"), text(&it["id"]))).collect();
    assert_eq!(receipts.iter().map(|(seq, _)| *seq).collect::<Vec<_>>(), (1..=NUMBERS as u64 + 1).collect::<Vec<_>>());
    let data =
        (0..NUMBERS / 2).map(|n| json!(n)).chain([json!("once")]).chain((NUMBERS / 2..NUMBERS).map(|n| json!(n)));
    let wanted: Vec<(u64, String, Value)> =
        receipts.into_iter().zip(data).map(|((seq, id), data)| (seq, id, data)).collect();
    for (listener, got) in heard.iter().enumerate() {
        assert_eq!(*got, wanted, "listener {listener}");
    }
    let stored = ask(&first.address, "GET", "/api/v1/rooms/order-1/messages?after=0&limit=500", &[&bearer(&key)], None);
    let stored = stored.json()["messages"].as_array().expect("messages").clone();
    let stored: Vec<(u64, String, Value)> =
        stored.iter().map(|it| (it["seq"].as_u64().expect("a number"), text(&it["id"]), it["data"].clone())).collect();
    assert_eq!(stored, wanted, "what is stored");
}

#[test]
fn backend_in_python_publishes_to_stock_clients_in_one_order() {
    let directory = Directory::new();
    let server = Server::start(&["--data", &directory.text(), "--set", "limits.key_rest_per_minute=0"]);
    publish_to_listeners(&[&server], || {});
}

#[test]
fn backend_in_python_publishes_in_one_order_through_the_end_of_a_node() {
    let redis = RedisServer::start();
    let url = format!("redis.url={}", redis.url());
    let start = || Server::start(&["--set", &url, "--set", "limits.key_rest_per_minute=0"]);
    let (first, second, third) = (start(), start(), start());
    // The one without listeners dies with calls under way.
    let pid = second.pid();
    publish_to_listeners(&[&first, &second, &third], || {
        Command::new("kill").args(["-9", &pid.to_string()]).status().expect("a signal");
    });
}
