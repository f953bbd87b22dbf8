//! What the README says is so: its commands work, its snippets run, its tables are complete.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use support::chromium::Browser;
use support::client::Client;
use support::redis::RedisServer;
use support::server::{SECRET, Server, token};
use switchboard::command_line::health;
use switchboard::config;

const README: &str = include_str!("../README.md");
const PATIENCE: Duration = Duration::from_secs(60);

/// Where the README has the server.
const ADDRESS: &str = "127.0.0.1:8090";

/// The fenced blocks of that language, each with the heading it stands under.
fn blocks(language: &str) -> Vec<(&'static str, String)> {
    let (mut heading, mut blocks, mut block) = ("", Vec::new(), None);
    for line in README.lines() {
        match (&mut block, line.strip_prefix("```")) {
            (None, Some(opened)) => block = Some((opened, String::new())),
            (Some(_), Some(_)) => {
                let (opened, text) = block.take().expect("an open block");
                if opened == language {
                    blocks.push((heading, text));
                }
            }
            (Some((_, text)), None) => {
                text.push_str(line);
                text.push('\n');
            }
            (None, None) => heading = line.strip_prefix("## ").unwrap_or(heading),
        }
    }
    blocks
}

/// The one command under that heading.
fn command_under(heading: &str) -> String {
    let found: Vec<_> = blocks("sh").into_iter().filter(|(of, _)| *of == heading).collect();
    assert_eq!(found.len(), 1, "blocks under {heading}");
    found[0].1.trim().to_owned()
}

#[test]
fn the_settings_are_those_there_are() {
    assert!(README.contains(&config::reference()), "the table of settings should be:\n{}", config::reference());
}

#[test]
fn every_error_code_is_told() {
    let source = include_str!("../src/domain/reject.rs");
    let codes = source.lines().filter_map(|line| line.split_once("=> \"")?.1.strip_suffix("\","));
    let mut known = 0;
    for code in codes {
        assert!(README.contains(&format!("`{code}`")), "{code}");
        known += 1;
    }
    assert!(known > 20, "{known} codes found in the source");
}

#[test]
fn the_first_command_starts_a_server_ready_to_use() {
    let command = command_under("Start it");
    let arguments = command.strip_prefix("cargo run --release -- serve ").expect(&command);
    let server = Server::start(&arguments.split(' ').collect::<Vec<_>>());
    let here = |url: &str| url.replace(ADDRESS, &server.address);
    let urls = README.split(['<', '>']).filter(|text| text.starts_with("http://127.0.0.1") && !text.contains(' '));
    let urls: BTreeSet<_> = urls.collect();
    assert!(urls.len() >= 2, "{urls:?}");
    for url in urls {
        health(&here(url)).unwrap_or_else(|error| panic!("{error}"));
    }
}

#[test]
fn the_second_command_is_what_ci_runs() {
    let ci = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(".ci/run")).expect(".ci/run");
    let command = command_under("Test it");
    assert!(ci.lines().any(|line| line.trim() == command), "{command}");
}

/// Every other command, as it stands there, against a running server; `serve` has its settings checked.
#[test]
fn the_commands_work() {
    let server = Server::start(&["--dev"]);
    let directory = std::env::temp_dir().join(format!("switchboard-readme-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("a directory");
    let (alice, root) = (token("alice", &json!({})), token("root", &json!({ "role": "admin" })));
    let bash = |script: &str| {
        let script = format!(
            "set -euo pipefail
             switchboard() {{
                 if [ \"$1\" = serve ]; then shift; set -- config \"$@\"; fi
                 {} \"$@\"; echo
             }}
             curl() {{ command curl --silent --show-error --fail-with-body \"$@\"; echo; }}
             {script}",
            env!("CARGO_BIN_EXE_switchboard"),
        );
        let mut command = Command::new("bash");
        command.args(["-c", &script]).current_dir(&directory).stdin(Stdio::null());
        command.env("JWT_SECRET", SECRET).env("TOKEN", &alice).env("ADMIN", &root);
        command
    };
    let run = |script: &str, room: &str| {
        let output = bash(&script.replace(ADDRESS, &server.address)).env("ROOM", room).output().expect("bash runs");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{script}\n{said}{}", String::from_utf8_lossy(&output.stderr));
        said
    };
    let mut commands = 0;
    for (heading, block) in blocks("sh") {
        if ["Start it", "Test it", "Several machines"].contains(&heading) {
            continue;
        }
        // The first call of the REST examples makes the room that the others are about.
        let room = match block.split_once("\ncurl ") {
            Some((first, _)) => {
                let made: Value = serde_json::from_str(&run(first, "")).expect("it answers JSON");
                made["roomId"].as_str().expect("a roomId").to_owned()
            }
            None => String::new(),
        };
        run(&block, &room);
        commands += block.lines().filter(|line| line.starts_with("curl ") || line.starts_with("switchboard ")).count();
    }
    assert!(commands >= 15, "{commands} commands found");
    for line in README.lines().filter(|line| line.trim_start().starts_with("`switchboard health ")) {
        let command = line.trim_start().split('`').nth(1).expect("a command");
        assert!(run(command, "").contains("status"), "{command}");
    }
    std::fs::remove_dir_all(&directory).expect("the directory goes");
}

#[test]
fn two_servers_are_one_in_three_commands() {
    let redis = RedisServer::start();
    let commands = command_under("Several machines");
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

#[test]
fn the_raw_client_works_as_it_stands_there() {
    let server = Server::start(&["--dev"]);
    let browser = Browser::launch(&[]);
    let snippets: Vec<_> = blocks("js").into_iter().map(|(_, text)| text.replace(ADDRESS, &server.address)).collect();
    let [connect, say] = snippets.as_slice() else { panic!("two snippets: {snippets:?}") };
    let open = || {
        let page = browser.page(&format!("http://{}/", server.address));
        let listen = "const heard = []; \
                      socket.addEventListener('message', ({ data }) => heard.push(JSON.parse(data)));";
        page.evaluate(&format!("{connect}{listen}")).expect("it runs");
        page.wait_for("heard.some(message => message.type === 'room-joined')", PATIENCE);
        page
    };
    let (first, second) = (open(), open());
    first.evaluate(say).expect("it runs");
    second.wait_for("heard.some(message => message.type === 'message' && message.content === 'Hello')", PATIENCE);
    first.wait_for("heard.some(message => message.type === 'message-sent' && message.requestId === 1)", PATIENCE);
}
