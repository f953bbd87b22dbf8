//! Socket.IO clients from npm that run beside the raw clients and check what they receive; see
//! `socketio_clients/rolling.mjs`.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::{CONVERGENCE, ClientPool, ClusterTest, NODES};
use support::packages::NODE;
use support::room_log::room_name;
use support::server::token;

/// What their names begin with.
pub(crate) const PREFIX: &str = "stock-";

/// Rooms of the clients that they are in, and speak in.
const ROOMS: usize = 4;
const CLIENTS: usize = 40;

/// See the module.
pub(crate) struct NpmClients {
    clients: Child,
    said: Arc<Mutex<Vec<(Instant, String)>>>,
    reader: JoinHandle<()>,
}

/// What became of those who were lost with a node.
pub(crate) struct MovedClients {
    /// When each was lost, and for how long.
    pub(crate) lost: Vec<(Instant, Duration)>,
}

impl NpmClients {
    /// Has them come, and waits until they all hear.
    pub(crate) fn start(harness: &ClusterTest, pool: &ClientPool<'_>) -> Self {
        let ports: Vec<&str> = (0..NODES).filter_map(|node| harness.address(node).split(':').next_back()).collect();
        let rooms: Vec<String> = (0..ROOMS).map(room_name).collect();
        let mut clients = Command::new("node")
            .arg(NODE.join("rolling.mjs"))
            .args(["127.0.0.1", &ports.join(","), &rooms.join(",")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("node runs");
        let tokens: Vec<String> = (0..CLIENTS).map(|number| token(&format!("{PREFIX}{number}"), &json!({}))).collect();
        writeln!(clients.stdin.as_mut().expect("its input"), "{}", json!(tokens)).expect("it listens");
        let said: Arc<Mutex<Vec<(Instant, String)>>> = Arc::default();
        let (output, list) = (clients.stdout.take().expect("its output"), said.clone());
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                list.lock().expect("nobody failed with it").push((Instant::now(), line));
            }
        });
        let mut stock = Self { clients, said, reader };
        pool.wait("the stock clients are there", CONVERGENCE, || stock.has_said("ready"));
        stock
    }

    /// Whether they have said something, as they do while all is well.
    fn has_said(&mut self, what: &str) -> bool {
        let is_there = self.said.lock().expect("it").iter().any(|(_, line)| line == what);
        assert!(is_there || self.clients.try_wait().expect("its state").is_none(), "a stock client has failed");
        is_there
    }

    /// Who was lost since then, once all of them are back.
    pub(crate) fn moved(&mut self, pool: &ClientPool<'_>, since: Instant) -> MovedClients {
        let mut lost = Vec::new();
        pool.wait("the stock clients are back", CONVERGENCE, || {
            self.has_said("ready");
            lost.clear();
            let mut away: Vec<(String, Instant)> = Vec::new();
            for (at, line) in self.said.lock().expect("it").iter().filter(|(at, _)| *at >= since) {
                let who = line.split(' ').nth(1).unwrap_or_default();
                if line.starts_with("lost") {
                    away.push((who.to_owned(), *at));
                } else if let Some(found) = away.iter().position(|(known, _)| known == who) {
                    let (_, gone) = away.swap_remove(found);
                    lost.push((gone, *at - gone));
                }
            }
            away.is_empty()
        });
        MovedClients { lost }
    }

    /// Has them hear everything that was said, and go.
    pub(crate) fn end(mut self, pool: &ClientPool<'_>) {
        writeln!(self.clients.stdin.as_mut().expect("its input")).expect("it listens");
        pool.wait("the stock clients have heard everything", 2 * CONVERGENCE, || self.has_said("whole"));
        assert!(self.clients.wait().expect("its end").success());
        self.reader.join().expect("it reads to the end");
    }
}
