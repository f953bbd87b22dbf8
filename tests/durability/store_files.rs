//! The files of the store are deleted or copied while the server runs.

use std::fs;
use std::path::PathBuf;

use rusqlite::{Connection, OpenFlags};
use serde_json::{Value, json};

use crate::start;
use support::directory::Directory;
use support::http::ask;
use support::lossy_client::LossyClient;
use support::process::wait_until;
use support::room_log::{RoomLog, room_name};
use support::server::Server;

const ANY_PORT: &str = "127.0.0.1:0";

/// Somebody who speaks in a room, and what was kept of it.
struct Speaker {
    line: LossyClient,
    kept: Vec<String>,
}

impl Speaker {
    fn join(server: &Server) -> Self {
        let mut line = LossyClient::connect(&server.address, "ann").expect("the server listens");
        line.send(&json!({ "type": "join-room", "roomId": room_name(0) })).expect("it lives");
        line.wait_for("room-joined", drop).expect("it lives");
        Self { line, kept: Vec::new() }
    }

    /// Says something; the code of the refusal, if there was one.
    fn say(&mut self) -> Result<(), Value> {
        let content = format!("{} {}", self.kept.len() + 1, "x".repeat(500));
        let message = json!({ "type": "message", "roomId": room_name(0), "content": content, "requestId": 1 });
        self.line.send(&message).expect("it lives");
        loop {
            let answer = self.line.next().expect("it lives");
            match answer["type"].as_str() {
                Some("message-sent") => {
                    self.kept.push(content);
                    return Ok(());
                }
                Some("error") => return Err(answer["code"].clone()),
                _ => {}
            }
        }
    }

    fn say_often(&mut self, times: usize) {
        (0..times).for_each(|_| self.say().expect("it is kept"));
    }
}

fn health(server: &Server) -> String {
    ask(&server.address, "GET", "/healthz", &[], None).text()
}

fn file(directory: &Directory, name: &str) -> PathBuf {
    directory.path().join(name)
}

/// Deletes files of the store under a server that is written to. It refuses what it could not keep, says why, and after a crash
/// and a restart everything is there that it had acknowledged.
fn nothing_is_lost_without(names: &[&str]) {
    let directory = Directory::new();
    let server = start(ANY_PORT, &directory, &[]);
    let mut ann = Speaker::join(&server);
    ann.say_often(200);
    for name in names {
        fs::remove_file(file(&directory, name)).expect("it is there");
    }
    wait_until("messages are refused", || ann.say().is_err_and(|code| code == "STORAGE_UNAVAILABLE"));
    wait_until("the reason is shown", || {
        let text = health(&server);
        text.contains("\"critical\"") && text.contains("were deleted, moved or replaced")
    });
    wait_until("the database is there", || file(&directory, "store.db").exists());
    let address = server.kill();
    let server = start(&address, &directory, &[]);
    let log = RoomLog::read(&mut LossyClient::connect(&server.address, "ann").expect("the server listens"), 0);
    assert!(log.messages.iter().map(|entry| &entry.content).eq(&ann.kept), "another history after the restart");
    assert!(health(&server).contains("\"healthy\""));
}

#[test]
fn deleted_log_is_noticed_and_written_back() {
    nothing_is_lost_without(&["store.db-wal"]);
}

#[test]
fn deleted_database_is_noticed_and_written_back() {
    nothing_is_lost_without(&["store.db"]);
}

#[test]
fn deleted_database_and_log_are_noticed_and_written_back() {
    nothing_is_lost_without(&["store.db", "store.db-wal", "store.db-shm"]);
}

#[test]
fn copy_of_the_database_file_has_everything_after_a_moment_without_writes() {
    let directory = Directory::new();
    let server = start(ANY_PORT, &directory, &[]);
    let mut ann = Speaker::join(&server);
    ann.say_often(50);
    let copy = file(&directory, "copy.db");
    wait_until("a copy has all messages", || {
        fs::copy(file(&directory, "store.db"), &copy).expect("a copy");
        let database = Connection::open_with_flags(&copy, OpenFlags::SQLITE_OPEN_READ_ONLY).expect("a database");
        let count = database.query_row("SELECT count(*) FROM message", [], |row| row.get::<_, i64>(0));
        count.is_ok_and(|count| count == 50)
    });
    ann.say_often(1);
}

#[test]
fn health_recovers_with_the_store_after_many_refusals() {
    let directory = Directory::new();
    let server = start(ANY_PORT, &directory, &[]);
    let mut ann = Speaker::join(&server);
    ann.say_often(10);
    let away = directory.path().with_extension("away");
    fs::rename(directory.path(), &away).expect("it is moved");
    let mut refused = 0;
    wait_until("many messages are refused", || {
        refused += usize::from(ann.say().is_err());
        refused > 200
    });
    assert!(health(&server).contains("\"critical\""));
    fs::rename(&away, directory.path()).expect("it is back");
    wait_until("messages are kept again", || ann.say().is_ok());
    wait_until("the server is healthy", || health(&server).contains("\"healthy\""));
}
