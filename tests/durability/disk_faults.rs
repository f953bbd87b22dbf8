//! The disk fails under a running server: senders get an error, uncommitted messages reach nobody, everything that
//! needs no store continues, and the server resumes without a restart once the disk is back.

use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use serde_json::{Value, json};

use crate::{command, start};
use support::client::PATIENCE;
use support::directory::Directory;
use support::http::{ask, bearer};
use support::lossy_client::{Cut, LossyClient};
use support::process::wait_until;
use support::room_log::{RoomLog, number, room_name, text};
use support::server::{Server, token};

const ANY_PORT: &str = "127.0.0.1:0";

/// Refusals in a row after which the disk counts as gone for good: the store finds some room now and then by making its
/// log shorter.
const REFUSALS: usize = 20;

/// What `/healthz` says: the status, and the issues.
fn health(server: &Server) -> (String, Vec<String>) {
    let answer = ask(&server.address, "GET", "/healthz", &[], None).json();
    let issues =
        answer["issues"].as_array().expect("a list").iter().map(|issue| issue.as_str().expect("text").to_owned());
    (text(&answer, "status"), issues.collect())
}

/// Whether an issue says that the store is not there. There may be others: so many refusals are one, too.
fn is_of_the_store(issue: &str) -> bool {
    issue.starts_with("The store is unavailable: the store")
}

/// The people of this story.
struct DiskFaultTest<'s> {
    server: &'s Server,
    ann: LossyClient,
    bo: LossyClient,
    /// What was said and is kept.
    kept: Vec<String>,
    /// What bo has heard.
    heard: Vec<String>,
    /// What cy, who was cut off, may come back with.
    recovery_token: String,
    epoch: String,
}

fn join(line: &mut LossyClient, peer: &str) -> Value {
    line.send(&json!({ "type": "join-room", "roomId": room_name(0), "peerId": peer })).expect("it lives");
    line.wait_for("room-joined", drop).expect("it lives")
}

impl<'s> DiskFaultTest<'s> {
    fn set(server: &'s Server) -> Self {
        let mut lines =
            ["ann", "bo", "cy"].map(|user| LossyClient::connect(&server.address, user).expect("the server listens"));
        let epochs = [0, 1, 2].map(|n| text(&join(&mut lines[n], ["a", "b", "c"][n]), "epoch"));
        let [ann, bo, cy] = lines;
        let (recovery_token, [epoch, ..]) = (cy.token(), epochs);
        let mut stage = Self { server, ann, bo, kept: Vec::new(), heard: Vec::new(), recovery_token, epoch };
        cy.cut(Cut::Reset);
        (0..5).for_each(|_| stage.say().expect("kept"));
        stage
    }

    /// Ann says something: kept, or refused with a code.
    fn say(&mut self) -> Result<(), String> {
        let content = format!("{} {}", self.kept.len() + 1, "x".repeat(4_000));
        self.ann
            .send(&json!({ "type": "message", "roomId": room_name(0), "content": content, "requestId": 1 }))
            .expect("it lives");
        loop {
            let answer = self.ann.next().expect("it lives");
            match answer["type"].as_str() {
                Some("message-sent") => {
                    self.kept.push(content);
                    assert_eq!(number(&answer, "seq"), self.kept.len() as u64);
                    return Ok(());
                }
                Some("error") => {
                    assert_eq!(answer["requestId"], 1);
                    return Err(text(&answer, "code"));
                }
                Some("peer-joined" | "peer-left") => {}
                _ => panic!("{answer}"),
            }
        }
    }

    /// Something that bo gets; messages on the way to it are noted.
    fn bo_gets(&mut self, kind: &str) -> Value {
        let heard = &mut self.heard;
        let note = |message: Value| {
            if message["type"] == "message" {
                heard.push(text(&message, "content"));
                assert_eq!(number(&message, "seq"), heard.len() as u64);
            }
        };
        self.bo.wait_for(kind, note).expect("it lives")
    }

    /// Takes the disk away until nothing is kept any more.
    fn until_refused(&mut self, take: &dyn Fn()) {
        let until = Instant::now() + PATIENCE;
        let mut refusals = 0;
        while refusals < REFUSALS {
            assert!(Instant::now() < until, "it is never refused, after {} messages", self.kept.len());
            take();
            match self.say() {
                Ok(()) => refusals = 0,
                Err(code) => {
                    assert_eq!(code, "STORAGE_UNAVAILABLE");
                    refusals += usize::from(health(self.server).0 == "critical");
                }
            }
        }
    }

    /// All that goes on, and all that does not.
    fn without_a_store(&mut self) {
        let (status, issues) = health(self.server);
        assert_eq!(status, "critical", "{issues:?}");
        assert!(issues.iter().any(|issue| is_of_the_store(issue)), "{issues:?}");
        let room = room_name(0);
        self.ann.send(&json!({ "type": "typing", "roomId": room, "isTyping": true })).expect("it lives");
        assert_eq!(self.bo_gets("typing")["userId"], "ann");
        let offer =
            json!({ "type": "offer", "roomId": room, "fromPeerId": "a", "toPeerId": "b", "offer": { "sdp": "v=0" } });
        self.ann.send(&offer).expect("it lives");
        assert_eq!(self.bo_gets("offer")["offer"], offer["offer"]);
        let mut dee = LossyClient::connect(&self.server.address, "dee").expect("the server listens");
        assert_eq!(join(&mut dee, "d")["participantCount"], 4);
        assert_eq!(self.bo_gets("peer-joined")["peerId"], "d");
        dee.send(&json!({ "type": "leave-room", "roomId": room })).expect("it lives");
        assert_eq!(self.bo_gets("peer-left")["peerId"], "d");
        let error = |line: &mut LossyClient, request: Value| {
            line.send(&request).expect("it lives");
            text(&line.wait_for("error", drop).expect("it lives"), "code")
        };
        let direct = json!({ "type": "message", "toUserId": "bo", "content": "psst" });
        assert_eq!(error(&mut dee, direct), "STORAGE_UNAVAILABLE");
        let resume = json!({ "type": "resume", "recoveryToken": self.recovery_token });
        assert_eq!(error(&mut dee, resume.clone()), "STORAGE_UNAVAILABLE");
        let key = bearer(&token("ann", &json!({})));
        let refused = ask(&self.server.address, "POST", "/rooms", &[&key], Some(r#"{"name":"new"}"#));
        assert_eq!((refused.status, refused.code()), (503, "STORAGE_UNAVAILABLE".to_owned()));
        assert_eq!(self.say(), Err("STORAGE_UNAVAILABLE".to_owned()));
    }

    /// Everything is as before, and what was kept is there, and nothing else.
    fn with_a_store_again(&mut self) {
        wait_until("the store is back", || {
            let (status, issues) = health(self.server);
            status != "critical" && !issues.iter().any(|issue| is_of_the_store(issue))
        });
        wait_until("it keeps what it is given", || self.say().is_ok());
        assert_eq!(self.say(), Ok(()));
        let last = self.kept.len();
        while self.heard.len() < last {
            let message = self.bo_gets("message");
            self.heard.push(text(&message, "content"));
            assert_eq!(number(&message, "seq"), self.heard.len() as u64);
        }
        assert!(self.heard == self.kept, "bo heard something else than what was kept");
        let mut cy = LossyClient::connect(&self.server.address, "cy").expect("the server listens");
        let rooms = json!({ room_name(0): { "epoch": self.epoch, "seq": last - 1 } });
        cy.send(&json!({ "type": "resume", "recoveryToken": self.recovery_token, "rooms": rooms })).expect("it lives");
        let back = cy.wait_for("resumed", drop).expect("it lives");
        assert_eq!(back["rooms"][room_name(0)]["recovered"], true, "{back}");
        self.check_history(&mut cy);
    }

    fn check_history(&self, line: &mut LossyClient) {
        let log = RoomLog::read(line, 0);
        assert!(log.messages.iter().map(|entry| &entry.content).eq(&self.kept), "the history is another");
    }
}

/// The disk is taken away and given back; what was said and kept.
fn goes_on_without_its_disk(server: &Server, take: &dyn Fn(), give: &dyn Fn()) -> Vec<String> {
    let mut stage = DiskFaultTest::set(server);
    stage.until_refused(take);
    stage.without_a_store();
    give();
    stage.with_a_store_again();
    stage.kept
}

/// As [`goes_on_without_its_disk`], and after a crash the same is there.
fn goes_on_and_starts_again(take: &dyn Fn(&Server, &Directory), give: &dyn Fn(&Server, &Directory)) {
    let directory = Directory::new();
    let server = start(ANY_PORT, &directory, &["presence.grace_ms=60000"]);
    let kept = goes_on_without_its_disk(&server, &|| take(&server, &directory), &|| give(&server, &directory));
    let address = server.kill();
    let server = start(&address, &directory, &[]);
    let log = RoomLog::read(&mut LossyClient::connect(&server.address, "ann").expect("the server listens"), 0);
    assert!(log.messages.iter().map(|entry| &entry.content).eq(&kept), "another history after the restart");
}

fn limit_files(server: &Server, bytes: &str) {
    let pid = server.pid().to_string();
    let status = Command::new("prlimit").args(["--pid", &pid, &format!("--fsize={bytes}:")]).status();
    assert!(status.expect("prlimit runs").success());
}

#[test]
fn publish_with_file_size_limit_fails_and_recovers() {
    goes_on_and_starts_again(&|server, _| limit_files(server, "4096"), &|server, _| limit_files(server, "unlimited"));
}

fn away(directory: &Directory) -> PathBuf {
    directory.path().with_extension("away")
}

#[test]
fn publish_without_data_directory_fails_and_recovers() {
    let take = |_: &Server, directory: &Directory| {
        if directory.path().exists() {
            fs::rename(directory.path(), away(directory)).expect("it is moved");
        }
    };
    let give = |_: &Server, directory: &Directory| fs::rename(away(directory), directory.path()).expect("it is back");
    goes_on_and_starts_again(&take, &give);
}

#[test]
fn publish_with_locked_database_fails_and_recovers() {
    let holder = std::cell::RefCell::new(None);
    let take = |_: &Server, directory: &Directory| {
        holder.borrow_mut().get_or_insert_with(|| {
            let database = Connection::open(directory.path().join("store.db")).expect("a database");
            database.busy_timeout(Duration::from_secs(5)).expect("an option");
            database.execute_batch("BEGIN IMMEDIATE").expect("it is held");
            database
        });
    };
    goes_on_and_starts_again(&take, &|_, _| drop(holder.borrow_mut().take()));
}

/// A server whose data directory is a disk of a few megabytes that nobody else sees, where the machine permits it.
fn on_a_small_disk(directory: &Directory) -> Option<Server> {
    fs::create_dir_all(directory.path()).expect("a directory");
    let mount = |then: &str| {
        let mut unshare = Command::new("unshare");
        let script = format!("mount -t tmpfs -o size=4m none \"$0\" && {then}");
        unshare.args(["--map-root-user", "--mount", "sh", "-c", &script]).arg(directory.path());
        unshare
    };
    if !mount("true").status().is_ok_and(|status| status.success()) {
        return None;
    }
    let server = command(ANY_PORT, directory, &["presence.grace_ms=60000"]);
    let mut small = mount("exec \"$@\"");
    small.arg(server.get_program()).args(server.get_args());
    small.envs(server.get_envs().filter_map(|(name, value)| Some((name, value?))));
    small.stdout(std::process::Stdio::piped());
    Some(Server::spawn(&mut small))
}

#[test]
fn publish_on_full_disk_fails_and_recovers() {
    let directory = Directory::new();
    // Where there can be no such disk, files that may not grow have to do.
    let Some(server) = on_a_small_disk(&directory) else { return publish_with_file_size_limit_fails_and_recovers() };
    let inside = format!("/proc/{}/root{}", server.pid(), directory.path().display());
    let filler = PathBuf::from(inside).join("filler");
    let fill = || {
        let mut file = File::options().create(true).append(true).open(&filler).expect("a file");
        while file.write_all(&[1; 4096]).is_ok() {}
    };
    goes_on_without_its_disk(&server, &fill, &|| fs::remove_file(&filler).expect("it is removed"));
}
