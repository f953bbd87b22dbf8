//! Seeds of hashes: each server process has its own, so that names cannot be chosen in advance which all load one shard.

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use switchboard::base::map::{home, map};
use switchboard::command_line::{CommandLine, ProgramCommand};
use switchboard::message::{BRIDGE, Placement};
use switchboard::runtime::key_files::KeyFiles;
use switchboard::runtime::{clock, server};

/// Tells this program that it is a child.
const CHILD: &str = "HASH_SEEDS_CHILD";

const MARK: &str = "homes: ";

/// Starts a server as the binary does.
fn start() -> server::Server {
    let line = ["switchboard", "serve", "--dev", "--listen", "127.0.0.1:0", "--set", "data_dir=\"\""];
    let Ok(CommandLine { command: Some(ProgramCommand::Serve(arguments)), .. }) = CommandLine::try_parse_from(line)
    else {
        panic!("a command line");
    };
    let settings = arguments.load(|_| "0123456789abcdef0123456789abcdef".to_owned()).expect("settings").settings;
    let keys = KeyFiles::read(settings.key_plan()).expect("keys");
    let plan = server::Plan {
        media: None,
        tls: None,
        settings: None,
        listen: settings.listeners(),
        options: settings.shard_options(100),
        keys,
        drain: Duration::ZERO,
        storage: settings.storage_options(Arc::new(clock::unix_millis)),
        redis: None,
        webhooks: switchboard::runtime::webhooks::WebhookOptions::default(),
        may_forget: true,
    };
    server::start(plan).expect("a server")
}

/// The shards of a few names, and the order of a map, in a new process with a server; without one, as in the simulator.
fn homes(with_server: bool) -> String {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.args(["seeds::homes_differ_from_server_to_server", "--exact", "--nocapture", "--test-threads=1"]);
    let output = command.env(CHILD, with_server.to_string()).output().expect("a child");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().find_map(|line| line.split_once(MARK)).map(|(_, homes)| homes.to_owned()).expect("homes")
}

#[test]
fn homes_differ_from_server_to_server() {
    if let Some(with_server) = std::env::var_os(CHILD) {
        let _server = (with_server == "true").then(start);
        let homes: Vec<usize> = (0..16).map(|n| home(&format!("room-{n}"), 256)).collect();
        // The seed of a map is that of its shard; even with one that is known the order is not.
        let mut entries = map(1);
        entries.extend((0..16).map(|n| (n, ())));
        println!("\n{MARK}{homes:?} {:?}", entries.into_keys().collect::<Vec<i32>>());
        std::process::exit(0);
    }
    assert_eq!(homes(false), homes(false), "runs of the simulator can be repeated");
    let [one, other] = [(); 2].map(|()| homes(true));
    let parts = |homes: &str| homes.split_once("] ").map(|(homes, order)| (homes.to_owned(), order.to_owned()));
    let (one, other) = (parts(&one).expect("two lists"), parts(&other).expect("two lists"));
    assert!(one.0 != other.0 && one.1 != other.1, "{one:?} {other:?}");
    // Servers of a cluster need no common seed: no hash places a room or user there, Redis has them all.
    assert_eq!(Placement::Cluster { shards: 8 }.of("room-1"), BRIDGE);
}
