//! Startup: a data directory belongs to one server at a time; a damaged file is set aside and reported, never
//! overwritten.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::{command, start};
use support::client::PATIENCE;
use support::directory::Directory;
use support::lossy_client::LossyClient;
use support::room_log::{RoomLog, room_name};
use support::server::Server;

const ANY_PORT: &str = "127.0.0.1:0";

const SAID: usize = 300;

/// A directory in which a server has kept some messages.
fn filled() -> Directory {
    let directory = Directory::new();
    let mut server = start(ANY_PORT, &directory, &["drain.seconds=0"]);
    let mut ann = LossyClient::connect(&server.address, "ann").expect("the server listens");
    ann.send(&json!({ "type": "join-room", "roomId": room_name(0) })).expect("it lives");
    for n in 0..SAID {
        let content = format!("{n} {}", "x".repeat(500));
        ann.send(&json!({ "type": "message", "roomId": room_name(0), "content": content })).expect("it lives");
        ann.wait_for("message-sent", drop).expect("it lives");
    }
    server.signal(15);
    server.wait(Duration::from_secs(10));
    directory
}

fn database(directory: &Directory) -> PathBuf {
    directory.path().join("store.db")
}

/// Writes noise over the middle of the file.
fn spoil(path: &Path) {
    let length = fs::metadata(path).expect("a file").len();
    let mut file = File::options().write(true).open(path).expect("a file");
    file.seek(SeekFrom::Start(length / 4)).expect("a place");
    let noise: Vec<u8> = (0..length / 2).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    file.write_all(&noise).expect("noise");
}

/// A server, and what it has logged so far is read when it is stopped.
fn started(command: &mut Command) -> Server {
    Server::spawn(command.stderr(Stdio::piped()))
}

/// Stops a server; what it logged.
fn log_of(mut server: Server) -> String {
    let mut log = String::new();
    let mut stderr = server.stderr().expect("its log");
    server.kill();
    stderr.read_to_string(&mut log).expect("text");
    log
}

/// Runs a command that must not come to serve; what it said.
fn refused(command: &mut Command) -> String {
    let mut child = command.stderr(Stdio::piped()).spawn().expect("it runs");
    let until = Instant::now() + PATIENCE;
    while child.try_wait().expect("its state").is_none() {
        if Instant::now() > until {
            child.kill().expect("it was running");
            panic!("it serves, or hangs");
        }
        thread::sleep(Duration::from_millis(5));
    }
    let output = child.wait_with_output().expect("its output");
    let said = String::from_utf8(output.stderr).expect("text");
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(1), &b""[..]), "{said}");
    assert!(!said.contains("panicked"), "{said}");
    said
}

fn history(server: &Server) -> usize {
    RoomLog::read(&mut LossyClient::connect(&server.address, "ann").expect("the server listens"), 0).messages.len()
}

#[test]
fn damaged_database_is_set_aside_and_reported() {
    let directory = filled();
    spoil(&database(&directory));
    let damaged = fs::read(database(&directory)).expect("a file");
    // Whoever wants to look at it first says so.
    let said = refused(&mut command(ANY_PORT, &directory, &["storage.on_damage=stop"]));
    assert!(said.contains("store.db is damaged"), "{said}");
    assert!(fs::read(database(&directory)).expect("a file") == damaged, "the damaged file was changed");
    let server = started(&mut command(ANY_PORT, &directory, &[]));
    assert_eq!(history(&server), 0);
    let log = log_of(server);
    assert!(log.contains("store.db is damaged") && log.contains("is kept as"), "{log}");
    let mut names = fs::read_dir(directory.path()).expect("a directory").map(|entry| entry.expect("an entry").path());
    let is_aside = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).expect("a name");
        name.starts_with("store.db.damaged-") && !name.ends_with("-wal") && !name.ends_with("-shm")
    };
    let aside = names.find(is_aside).expect("it is set aside");
    assert!(log.contains(aside.to_str().expect("a path")), "{log}");
    assert!(fs::read(&aside).expect("a file") == damaged, "the damaged file was changed");
    // The new one is as good as any.
    let server = start(ANY_PORT, &directory, &[]);
    assert_eq!(history(&server), 0);
}

#[test]
fn second_server_on_a_data_directory_is_refused() {
    let directory = filled();
    let server = start(ANY_PORT, &directory, &[]);
    let said = refused(&mut command(ANY_PORT, &directory, &[]));
    assert!(said.starts_with("switchboard: the data directory "), "{said}");
    assert!(said.contains(&format!("is in use by process {}; stop that server", server.pid())), "{said}");
    assert_eq!(history(&server), SAID);
    // A crash leaves nothing behind that would keep the next one out.
    let address = server.kill();
    assert_eq!(history(&start(&address, &directory, &[])), SAID);
}

#[test]
fn file_as_data_directory_is_refused() {
    let directory = Directory::new();
    fs::write(directory.path(), "").expect("a file");
    let said = refused(&mut command(ANY_PORT, &directory, &[]));
    fs::remove_file(directory.path()).expect("it is removed");
    assert!(said.contains(" cannot be used: "), "{said}");
}

#[test]
fn second_dev_server_runs_without_the_data_directory() {
    let directory = Directory::new();
    fs::create_dir_all(directory.path()).expect("a directory");
    let developers = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_switchboard"));
        command.args(["serve", "--dev", "--listen", ANY_PORT]).current_dir(directory.path()).env_clear();
        command.env("JWT_SECRET", support::server::SECRET).stdin(Stdio::null()).stdout(Stdio::piped());
        command
    };
    let say = |server: &Server| {
        let mut ann = LossyClient::connect(&server.address, "ann").expect("the server listens");
        ann.send(&json!({ "type": "join-room", "roomId": room_name(0) })).expect("it lives");
        ann.send(&json!({ "type": "message", "roomId": room_name(0), "content": "x" })).expect("it lives");
        assert_eq!(ann.wait_for("message-sent", drop).expect("it lives")["seq"], 1);
    };
    let first = started(&mut developers());
    let second = started(&mut developers());
    say(&first);
    say(&second);
    let pid = first.pid();
    let log = log_of(second);
    assert!(log.contains(&format!("is in use by process {pid}")) && log.contains("in memory only"), "{log}");
    assert!(!log_of(first).contains("in memory only"));
    // Whoever names a directory means it.
    let first = started(&mut developers());
    let said = refused(developers().args(["--data", "switchboard-data"]));
    assert!(said.contains("is in use by process"), "{said}");
    assert_eq!(history(&first), 1);
}
