//! Other programs that act on clients by Redis: npm's emitter and a manager of python-socketio, with one server and with two.

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::json;
use support::packages::{NODE, PYTHON};
use support::redis::RedisServer;
use support::server::{Server, token};

const GAME: &str = r#"socketio.namespaces={"/game"={mode="app"}}"#;

fn emit_to(servers: usize) -> String {
    let redis = RedisServer::start();
    let url = format!("redis.url={}", redis.url());
    let start = |_| Server::start(&["--shards", "2", "--set", GAME, "--set", "log.level=error", "--set", &url]);
    let servers: Vec<Server> = (0..servers).map(start).collect();
    let ports = servers.iter().map(|server| server.address.split_once(':').expect("an address").1.to_owned());
    let mut clients = Command::new("node")
        .current_dir(&*NODE)
        .args(["emitters.mjs", &ports.collect::<Vec<_>>().join(","), &redis.url()])
        .arg(&*PYTHON)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("node runs");
    let backend = token("backend", &json!({"scope": "push"}));
    let tokens = [token("ann", &json!({})), token("bob", &json!({})), backend];
    writeln!(clients.stdin.take().expect("its input"), "{}", json!(tokens)).expect("it listens");
    let output = clients.wait_with_output().expect("its end");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}");
    said
}

const EXPECTED: &str = "@socket.io/redis-emitter\nrooms, volatile, close\npython-socketio\nclose_room\n";

#[test]
fn emitters_by_redis_reach_the_clients_of_one_server() {
    assert_eq!(emit_to(1), EXPECTED);
}

#[test]
fn emitters_by_redis_reach_the_clients_of_two_servers() {
    assert_eq!(emit_to(2), EXPECTED);
}
