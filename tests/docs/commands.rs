//! The commands work, as they stand there, and answer as the documents say.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use switchboard::command_line::health;

use super::golden::has_shape;
use super::markdown::{ADDRESS, Block, document, documents, read};
use support::client::Client;
use support::directory::Directory;
use support::redis::RedisServer;
use support::server::{SECRET, Server, token};

/// Commands with a test of their own, by file and heading.
const APART: [(&str, &str); 3] =
    [("README.md", "Start it"), ("README.md", "Test it"), ("docs/clustering.md", "Two servers on one machine")];

/// The one block of commands under that heading.
fn commands_under(file: &str, heading: &str) -> String {
    let blocks = document(file).blocks_in("sh").into_iter().filter(|block| block.heading == heading);
    let found: Vec<String> = blocks.map(|block| block.text).collect();
    assert_eq!(found.len(), 1, "blocks under {heading} of {file}");
    found[0].trim().to_owned()
}

#[test]
fn first_command_starts_a_server_with_its_pages() {
    let command = commands_under("README.md", "Start it");
    let arguments = command.strip_prefix("cargo run --release -- serve ").expect(&command);
    let server = Server::start(&arguments.split(' ').collect::<Vec<_>>());
    let readme = read("README.md");
    let urls = readme.split(['<', '>']).filter(|text| text.starts_with("http://127.0.0.1") && !text.contains(' '));
    let urls: BTreeSet<_> = urls.collect();
    assert!(urls.len() >= 2, "{urls:?}");
    for url in urls {
        health(&url.replace(ADDRESS, &server.address)).unwrap_or_else(|error| panic!("{error}"));
    }
}

#[test]
fn second_command_is_the_one_of_ci() {
    let ci = read(".ci/run");
    let command = commands_under("README.md", "Test it");
    assert!(ci.lines().any(|line| line.trim() == command), "{command}");
}

#[test]
fn two_servers_with_one_redis_share_a_room() {
    let redis = RedisServer::start();
    let commands = commands_under("docs/clustering.md", "Two servers on one machine");
    let mut lines = commands.lines();
    assert_eq!(lines.next(), Some("redis-server --port 6380 --save ''"));
    let servers: Vec<Server> = lines
        .map(|line| {
            let line = line
                .replace("redis://127.0.0.1:6380", &redis.url())
                .replace("--listen 127.0.0.1:809", "--listen 127.0.0.1:0 #");
            let arguments = line.split(' ').skip(2).filter(|word| !word.starts_with('#')).collect::<Vec<_>>();
            Server::start(&arguments)
        })
        .collect();
    assert_eq!(servers.len(), 2);
    let mut guests: Vec<Client> = servers.iter().map(|server| Client::connect(&server.address, None)).collect();
    for (number, guest) in guests.iter_mut().enumerate() {
        guest.join("room", &format!("p{number}"));
    }
    guests[1].send(&json!({ "type": "message", "roomId": "room", "content": "Hello" }));
    guests[0].wait_until(|event| event["type"] == "message" && event["content"] == "Hello");
}

/// One shell script of a file's blocks, each with its output in a file of its own. `serve` has its settings checked
/// instead. An id of a room in an output is `ROOM` from then on, and the server's secret stays in force.
fn script(blocks: &[Block], server: &Server) -> String {
    let mut script = format!(
        "set -euo pipefail
         switchboard() {{
             if [ \"$1\" = serve ]; then shift; set -- config \"$@\"; fi
             '{}' \"$@\"; echo
         }}
         curl() {{ command curl --silent --show-error --fail-with-body \"$@\"; echo; }}\n",
        env!("CARGO_BIN_EXE_switchboard"),
    );
    for (number, block) in blocks.iter().enumerate() {
        let text = block.text.replace(ADDRESS, &server.address);
        script.push_str(&format!(
            "echo 'block {number}' >&2
             {{\n{text}\n}} >output.{number}
             room=$(grep -o '\"roomId\":\"[^\"]*\"' output.{number} | head -n 1 | cut -d '\"' -f 4 || true)
             if [ -n \"$room\" ]; then export ROOM=\"$room\"; fi
             export JWT_SECRET=\"$SERVER_SECRET\"\n"
        ));
    }
    script
}

/// Runs a file's commands; what each block put out.
fn outputs(name: &str, blocks: &[Block], directory: &Path) -> Vec<String> {
    fs::create_dir_all(directory).expect("a directory");
    let server = Server::start(&["--dev"]);
    let _bob = Client::connect(&server.address, Some(&token("bob", &json!({}))));
    let mut command = Command::new("bash");
    command.args(["-c", &script(blocks, &server)]).current_dir(directory).stdin(Stdio::null());
    command.env("JWT_SECRET", SECRET).env("SERVER_SECRET", SECRET);
    let output = command.output().expect("bash runs");
    let log = String::from_utf8_lossy(&output.stderr);
    let read = |number| fs::read_to_string(directory.join(format!("output.{number}"))).unwrap_or_default();
    let written: Vec<String> = (0..blocks.len()).map(read).collect();
    assert!(output.status.success(), "{name}: {log}\n{written:?}");
    written
}

#[test]
fn commands_work_and_answer_as_documented() {
    let (mut commands, mut answers) = (0, 0);
    for document in documents() {
        let all = document.blocks();
        let is_apart = |block: &Block| APART.contains(&(document.name.as_str(), block.heading.as_str()));
        let is_run = |block: &&Block| block.language == "sh" && !is_apart(block);
        let blocks: Vec<Block> = all.iter().filter(is_run).cloned().collect();
        if blocks.is_empty() {
            continue;
        }
        let directory = Directory::new();
        let mut outputs = outputs(&document.name, &blocks, directory.path()).into_iter();
        let is_command = |line: &&str| line.starts_with("curl ") || line.starts_with("switchboard ");
        commands += blocks.iter().map(|block| block.text.lines().filter(is_command).count()).sum::<usize>();
        let mut before: Option<String> = None;
        for block in &all {
            let output = is_run(&block).then(|| outputs.next().expect("an output"));
            if let (Some(output), "json", true) = (&before, block.language.as_str(), block.is_adjacent) {
                let value = |text: &str| serde_json::from_str::<Value>(text);
                let (documented, real) = (value(&block.text), value(output));
                let (Ok(documented), Ok(real)) = (documented, real) else {
                    panic!("{}: not JSON: {}\n{output}", document.name, block.text)
                };
                assert!(has_shape(&documented, &real), "{}: documented {documented:#}\nreal {real:#}", document.name);
                answers += 1;
            }
            before = output;
        }
    }
    assert!(commands >= 30, "{commands} commands found");
    assert!(answers >= 15, "{answers} answers found");
}
