//! The examples work against a real server, and their clients meet in one room.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use rusqlite::{Connection, OpenFlags};
use serde_json::{Value, json};
use support::chromium::{Browser, Page};
use support::client::Client;
use support::directory::Directory;
use support::packages::{NODE, SCRIPTS, run};
use support::process::wait_until;
use support::server::{SECRET, Server, token};

const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples");
const PATIENCE: Duration = Duration::from_secs(60);

/// A program that talks by its standard input and output.
struct Program {
    child: Child,
    lines: Receiver<String>,
}

impl Program {
    fn start(command: &mut Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it starts");
        let output = BufReader::new(child.stdout.take().expect("its output"));
        let (send, lines) = mpsc::channel();
        std::thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| send.send(line)));
        Self { child, lines }
    }

    fn say(&mut self, line: &str) {
        writeln!(self.child.stdin.as_mut().expect("its input"), "{line}").expect("it reads");
    }

    /// Waits for a line.
    fn hear(&self, expected: &str) {
        let until = Instant::now() + PATIENCE;
        let mut heard = Vec::new();
        while let Ok(line) = self.lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
            if line == expected {
                return;
            }
            heard.push(line);
        }
        panic!("{expected:?} was not put out, but {heard:?}");
    }

    /// Ends its input; it must end by itself.
    fn end(mut self) {
        drop(self.child.stdin.take());
        assert!(self.child.wait().expect("its end").success());
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The example in Rust, built as these tests are.
fn raw_chat() -> PathBuf {
    let test = std::env::current_exe().expect("this program");
    let profile = test.ancestors().nth(2).expect("target/PROFILE");
    let mut build = Command::new(env!("CARGO"));
    build.args(["build", "--quiet", "--example", "raw_chat", "--manifest-path"]);
    build.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml"));
    build.arg("--target-dir").arg(profile.parent().expect("target"));
    if profile.ends_with("release") {
        build.arg("--release");
    }
    run(&mut build);
    profile.join("examples/raw_chat")
}

/// A folder in which the example of Socket.IO finds its package.
fn socketio_chat() -> Directory {
    let directory = Directory::new();
    fs::create_dir_all(directory.path().join("node_modules")).expect("a directory");
    let package = NODE.join("node_modules/socket.io-client-4");
    symlink(package, directory.path().join("node_modules/socket.io-client")).expect("a link");
    for file in ["chat.mjs", "package.json"] {
        fs::copy(Path::new(EXAMPLES).join("socketio-chat").join(file), directory.path().join(file)).expect("a copy");
    }
    directory
}

fn token_of(user: &str) -> String {
    token(user, &json!({ "name": user }))
}

fn open_page(browser: &Browser, server: &Server, user: &str) -> Page {
    let url = format!("ws%3A%2F%2F{}%2Fws%3Fevents%3Dall%26token%3D{}", server.address, token_of(user));
    let page = browser.page(&format!("file://{EXAMPLES}/raw-chat.html?room=tea&server={url}"));
    page.wait_for(&shows("joined tea"), PATIENCE);
    page
}

/// Whether the page of the chat shows a text.
fn shows(text: &str) -> String {
    format!("document.getElementById('log').textContent.includes('{text}')")
}

#[test]
fn clients_of_all_examples_meet_in_one_room() {
    let server = Server::start(&["--dev"]);
    let browser = Browser::launch(&[]);
    let page = open_page(&browser, &server, "ann");

    let mut rust = Program::start(Command::new(raw_chat()).args([&server.address, "tea", &token_of("bob")]));
    rust.hear("joined tea with 1 others");
    page.wait_for(&shows("bob joined"), PATIENCE);

    let directory = socketio_chat();
    let mut command = Command::new("node");
    command.arg(directory.path().join("chat.mjs")).args([&format!("http://{}", server.address), "tea"]);
    let mut node = Program::start(command.env("TOKEN", token_of("cyd")));
    node.hear("joined tea, 3 here");
    rust.hear("cyd joined");

    rust.say("from Rust");
    node.hear("bob: from Rust");
    page.wait_for(&shows("bob: from Rust"), PATIENCE);
    node.say("from Node");
    rust.hear("cyd: from Node");
    node.hear("cyd: from Node");
    page.wait_for(&shows("cyd: from Node"), PATIENCE);
    page.evaluate("text.value = 'from a page'; form.requestSubmit()").expect("it runs");
    page.wait_for(&shows("you: from a page"), PATIENCE);
    rust.hear("ann: from a page");
    node.hear("ann: from a page");

    node.end();
    page.wait_for(&shows("left"), PATIENCE);
    rust.end();
}

#[test]
fn raw_clients_recover_what_they_missed() {
    let directory = Directory::new();
    let data = ["--dev", "--data", &directory.text(), "--set", "drain.seconds=0"];
    let mut server = Server::start(&data);
    let browser = Browser::launch(&[]);
    let page = open_page(&browser, &server, "ann");
    let rust = Program::start(Command::new(raw_chat()).args([&server.address, "tea", &token_of("bob")]));
    rust.hear("joined tea with 1 others");
    let mut cyd = Client::connect(&server.address, Some(&token_of("cyd")));
    cyd.join("tea", "c");
    let say = |client: &mut Client, content: &str| {
        client.send(&json!({ "type": "message", "roomId": "tea", "content": content }));
        client.wait_for("message-sent");
    };
    say(&mut cyd, "one");
    rust.hear("cyd: one");
    page.wait_for(&shows("cyd: one"), PATIENCE);

    let store = directory.path().join("store.db");
    let store = Connection::open_with_flags(store, OpenFlags::SQLITE_OPEN_READ_ONLY).expect("the store");
    let mut count = store.prepare("SELECT count(*) FROM session WHERE rooms LIKE '%tea%'").expect("a query");
    wait_until("the sessions of three members are stored", || {
        count.query_row([], |row| row.get::<_, u32>(0)).expect("a number") == 3
    });
    let address = server.address.clone();
    server.signal(15);
    server.wait(PATIENCE);
    let server = Server::start_at(&address, &data);
    let mut cyd = Client::connect(&server.address, Some(&token_of("cyd")));
    cyd.join("tea", "c");
    say(&mut cyd, "two");
    rust.hear("cyd: two");
    page.wait_for(&shows("cyd: two"), PATIENCE);
    rust.end();
}

#[test]
fn backend_creates_a_room_and_notifies_its_users() {
    let server = Server::start(&["--dev"]);
    let mut bob = Client::connect(&server.address, Some(&token_of("bob")));
    let mut command = Command::new("python3");
    command.arg(Path::new(EXAMPLES).join("backend.py")).args([&format!("http://{}", server.address), "ann", "bob"]);
    let output = run(command.env("JWT_SECRET", SECRET));
    let value = |prefix: &str| {
        let line = output.lines().find_map(|line| line.strip_prefix(prefix));
        line.unwrap_or_else(|| panic!("{prefix:?} is not in {output}")).to_owned()
    };
    let room = value("room ");
    assert_eq!(value("notified ann on "), "0 connections");
    assert_eq!(value("notified bob on "), "1 connections");
    let notification = bob.wait_for("message");
    assert_eq!(notification["messageType"], "notification");
    assert_eq!(notification["data"], json!({ "title": "Tea", "body": "You are invited", "roomId": room }));
    let mut ann = Client::connect(&server.address, Some(&value("token ann ")));
    assert_eq!(ann.join(&room, "a")["participantCount"], 3);
    let mut eve = Client::connect(&server.address, Some(&token_of("eve")));
    eve.send(&json!({ "type": "join-room", "roomId": room }));
    assert_eq!(eve.wait_for("error")["code"], "FORBIDDEN");
}

#[test]
fn socketio_example_names_the_version_that_is_tested() {
    let read =
        |path: &str| -> Value { serde_json::from_str(&fs::read_to_string(path).expect("a file")).expect("JSON") };
    let example = read(&format!("{EXAMPLES}/socketio-chat/package.json"));
    let tested = read(&format!("{SCRIPTS}/package.json"));
    let version = example["dependencies"]["socket.io-client"].as_str().expect("a version");
    assert_eq!(tested["dependencies"]["socket.io-client-4"], format!("npm:socket.io-client@{version}"));
}
