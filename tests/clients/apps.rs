//! Namespaces of the application: the Socket.IO packages from npm and PyPI, with a backend that calls by HTTP, on one server and
//! on two with a Redis.

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::json;
use support::packages::{NODE, PYTHON, SCRIPTS, run};
use support::process::{Kept, wait_until};
use support::redis::RedisServer;
use support::server::{Server, token};

const GAME: &str = r#"socketio.namespaces={"/game"={mode="app", relay=["chat *", "draw"]}}"#;

fn start(more: &[&str]) -> Server {
    let mut arguments = vec!["--shards", "3", "--set", GAME, "--set", "log.level=error"];
    more.iter().for_each(|setting| arguments.extend(["--set", setting]));
    Server::start(&arguments)
}

fn port(server: &Server) -> &str {
    server.address.split_once(':').expect("an address").1
}

/// What the script of npm clients says.
fn npm_clients(ports: &str) -> String {
    let mut clients = Command::new("node")
        .arg(NODE.join("apps.mjs"))
        .arg(ports)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("node runs");
    let tokens = [token("ann", &json!({})), token("bob", &json!({})), token("backend", &json!({"scope": "push"}))];
    writeln!(clients.stdin.take().expect("its input"), "{}", json!(tokens)).expect("it listens");
    let output = clients.wait_with_output().expect("its end");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}");
    said
}

fn expected() -> String {
    let mut expected = String::new();
    for version in [4, 3, 2] {
        for transports in ["polling,websocket", "websocket", "polling"] {
            expected.push_str(&format!("socket.io-client {version}, {transports}\n"));
        }
    }
    expected + "recovered\n"
}

#[test]
fn npm_clients_in_an_application_namespace_are_served_by_one_server() {
    let server = start(&[]);
    assert_eq!(npm_clients(port(&server)), expected());
}

#[test]
fn npm_clients_in_an_application_namespace_are_served_by_two_servers() {
    let redis = RedisServer::start();
    let url = format!("redis.url={}", redis.url());
    let servers = [start(&[&url]), start(&[&url])];
    let ports = servers.iter().map(port).collect::<Vec<_>>().join(",");
    assert_eq!(npm_clients(&ports), expected());
}

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// The example of a backend, at a free port.
fn backend() -> (Kept, String) {
    let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port").port();
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/socketio_backend.py");
    let mut command = Command::new("python3");
    command.arg(file).arg(port.to_string()).env("HOOK_SECRET", SECRET);
    let backend = Kept(command.spawn().expect("python3 runs"));
    let address = format!("127.0.0.1:{port}");
    wait_until("the backend listens", || std::net::TcpStream::connect(&address).is_ok());
    (backend, address)
}

fn start_chat(backend: &str, more: &[&str]) -> Server {
    let hook = |name: &str| format!("hooks.{name}={{url=\"http://{backend}/hooks\", secret=\"{SECRET}\"}}");
    let (connect, event) = (hook("connect"), hook("event"));
    let spaces = r#"socketio.namespaces={"/"={mode="app", join=["all"], relay=["drawing"]}}"#;
    let mut arguments = vec!["--shards", "3", "--set", spaces, "--set", &connect, "--set", &event];
    arguments.extend(["--set", "hooks.allow_private=true", "--set", "auth.guests=true", "--set", "log.level=warn"]);
    more.iter().for_each(|setting| arguments.extend(["--set", setting]));
    Server::start(&arguments)
}

const CHAT: &str =
    "chat with socket.io-client 4\nchat with socket.io-client 3\nchat with socket.io-client 2\nrefused\n";

#[test]
fn chat_with_a_backend_of_hooks_works_on_one_server() {
    let (_backend, address) = backend();
    let server = start_chat(&address, &[]);
    assert_eq!(run(Command::new("node").arg(NODE.join("chat.mjs")).arg(port(&server))), CHAT);
}

#[test]
fn chat_with_a_backend_of_hooks_works_on_two_servers() {
    let (_backend, address) = backend();
    let redis = RedisServer::start();
    let url = format!("redis.url={}", redis.url());
    let servers = [start_chat(&address, &[&url]), start_chat(&address, &[&url])];
    let ports = servers.iter().map(port).collect::<Vec<_>>().join(",");
    assert_eq!(run(Command::new("node").arg(NODE.join("chat.mjs")).arg(ports)), CHAT);
}

fn python_clients(ports: &str) -> String {
    let backend = token("backend", &json!({"scope": "push"}));
    run(Command::new(&*PYTHON).args([&format!("{SCRIPTS}/apps.py"), ports, &backend]))
}

#[test]
fn python_clients_in_an_application_namespace_are_served_by_one_server() {
    let (_backend, address) = backend();
    let server = start_chat(&address, &[]);
    assert_eq!(python_clients(port(&server)), "websocket\npolling\n");
}

#[test]
fn python_clients_in_an_application_namespace_are_served_by_two_servers() {
    let (_backend, address) = backend();
    let redis = RedisServer::start();
    let url = format!("redis.url={}", redis.url());
    let servers = [start_chat(&address, &[&url]), start_chat(&address, &[&url])];
    let ports = servers.iter().map(port).collect::<Vec<_>>().join(",");
    assert_eq!(python_clients(&ports), "websocket\npolling\n");
}
