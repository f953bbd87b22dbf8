//! The cost of many peers: memory, and the time for connecting, heartbeats and disconnecting.
//!
//! Peers with a token of their own each meet in rooms of ten, on one shard as the server makes it; only the event loop
//! and its sockets are missing, so there are no system calls in these figures and no memory of the kernel's. Clients are
//! their bytes: an upgrade request with an HS256 token, then a masked `join-room`. What they are sent is counted and
//! dropped. Time is the shard's alone: making the clients' bytes, signatures included, is not counted.
//!
//! ```text
//! cargo bench --bench density              # 15,000 peers, then 1,000,000: about half a minute and 1 GB
//! cargo bench --bench density -- 100000    # another number
//! ```
//!
//! Not by criterion, which is for what can be done a thousand times.

use std::time::{Duration, Instant};

use switchboard::base::handle::{ConnSlot, Slot};

use support::bench::memory::{Counted, Reading};
use support::bench::requests::upgrade;
use support::bench::shard::{ShardHarness, token};
use support::frame::{PONG, frame, text_frame};

#[global_allocator]
static ALLOCATOR: Counted = Counted;

/// Peers of a room.
const ROOM: usize = 10;

/// Connections that come in one turn, as the event loop takes them on.
const TURN: usize = 250;

/// The heartbeat's interval, the default.
const INTERVAL_MS: u64 = 25_000;

/// Over how much of it the peers come.
const ARRIVAL_MS: u64 = 20_000;

/// Populations without an argument: what one process is often asked for, and a million.
const PEERS: [usize; 2] = [15_000, 1_000_000];

/// The population when it is only to be seen that it works.
const PEERS_OF_A_TEST: usize = 1_000;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = arguments.first().and_then(|first| first.replace('_', "").parse::<usize>().ok());
    // `cargo bench` says so; `cargo test --benches` does not.
    let is_bench = arguments.iter().any(|argument| argument == "--bench");
    match number {
        Some(peers) => measure(peers),
        None if is_bench => PEERS.into_iter().for_each(measure),
        None => measure(PEERS_OF_A_TEST),
    }
}

/// A population's whole life, told as it goes.
fn measure(peers: usize) {
    let peers = peers.next_multiple_of(ROOM);
    println!("\n{peers} peers in rooms of {ROOM}");
    let mut harness = ShardHarness::new(&[]);
    let mut crowd = Crowd::new(peers);
    let empty = Reading::now();

    let took = crowd.connect(&mut harness);
    assert_eq!(harness.shard.stats().users, peers);
    tell("opened, tokens checked", took, peers);
    tell_memory("each of them, idle", Reading::now().since(empty), peers);

    let took = crowd.join(&mut harness);
    assert_eq!((harness.shard.stats().listened_rooms, harness.shard.stats().asks), (peers / ROOM, 0));
    tell("joined, the others told", took, peers);
    let full = Reading::now().since(empty);
    tell_memory("each of them, in its room", full, peers);

    let took = crowd.beat(&mut harness, peers);
    tell("pinged and answered, once", took, peers);
    let share = 100.0 * took.as_secs_f64() / Duration::from_millis(INTERVAL_MS).as_secs_f64();
    println!("  {:<30}{share:>10.3} % of a core, every {} s", "so heartbeats take", INTERVAL_MS / 1000);

    let took = crowd.leave(&mut harness);
    assert_eq!((harness.shard.stats().users, harness.shard.stats().rooms, harness.shard.connections()), (0, 0, 0));
    tell("left, the others told", took, peers);
    let left = Reading::now().since(empty);
    println!("  {:<30}{:>10} bytes allocated of {}", "what stays", left.bytes, full.bytes);
    println!("  {:<30}{:>10} bytes private of {}", "", left.private_bytes, full.private_bytes);
}

fn tell(what: &str, took: Duration, peers: usize) {
    let each = took.as_nanos() as f64 / peers as f64;
    println!("  {what:<30}{each:>10.0} ns each, {:.2} s in all", took.as_secs_f64());
}

fn tell_memory(what: &str, reading: Reading, peers: usize) {
    let each = |count: i64| count as f64 / peers as f64;
    let Reading { bytes, blocks, allocations, private_bytes } = reading;
    let (bytes, blocks, allocations) = (each(bytes), each(blocks), each(allocations));
    println!("  {what:<30}{bytes:>10.0} bytes in {blocks:.2} blocks, of {allocations:.1} allocations so far");
    println!("  {:<30}{:>10.0} bytes private, by the kernel's count", "", each(private_bytes));
}

/// The clients, and the bytes that a turn's worth of them send next.
struct Crowd {
    peers: usize,
    /// The slot of each, by number.
    slots: Vec<ConnSlot>,
    /// Bytes of one client after the other, and where each one's end.
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Crowd {
    fn new(peers: usize) -> Self {
        // All memory is touched here, so that none of it counts as the shard's.
        let (mut slots, mut bytes) = (vec![<ConnSlot as Slot>::from_raw(u32::MAX); peers], vec![1; TURN * 1024]);
        slots.clear();
        bytes.clear();
        Self { peers, slots, bytes, ends: vec![0; TURN] }
    }

    /// Everybody opens a WebSocket, over most of an interval.
    fn connect(&mut self, harness: &mut ShardHarness) -> Duration {
        let mut took = Duration::ZERO;
        let turn_us = ARRIVAL_MS * 1000 * TURN as u64 / self.peers as u64;
        let beginning = harness.now;
        for (turn, first) in (0..self.peers).step_by(TURN).enumerate() {
            harness.now = beginning.plus(turn as u64 * turn_us / 1000);
            self.write(first, |peer| upgrade(Some(&token(&format!("user-{peer:08}")))));
            let start = Instant::now();
            for at in 0..self.ends.len() {
                let slot = harness.accept();
                harness.receive(slot, self.said(at));
                self.slots.push(slot);
            }
            harness.turn();
            took += start.elapsed();
        }
        took
    }

    /// Everybody joins a room, the one after the other.
    fn join(&mut self, harness: &mut ShardHarness) -> Duration {
        let mut took = Duration::ZERO;
        for first in (0..self.peers).step_by(TURN) {
            self.write(first, |peer| {
                let room = format!("room-{:06}", peer / ROOM);
                text_frame(&format!(r#"{{"type":"join-room","roomId":"{room}","timestamp":1750000000000}}"#))
            });
            let start = Instant::now();
            for at in 0..self.ends.len() {
                harness.receive(self.slots[first + at], self.said(at));
            }
            harness.turn();
            took += start.elapsed();
        }
        took
    }

    /// Every peer is pinged once, and answers.
    fn beat(&mut self, harness: &mut ShardHarness, peers: usize) -> Duration {
        let pong = frame(PONG, b"");
        let mut pings = 0;
        let mut took = Duration::ZERO;
        harness.sink.pinged.clear();
        let until = harness.now.mono + INTERVAL_MS + 8;
        while pings < peers {
            let start = Instant::now();
            self.wait(harness);
            harness.turn();
            let mut pinged = std::mem::take(&mut harness.sink.pinged);
            pings += pinged.len();
            for slot in pinged.drain(..) {
                harness.receive(slot, &pong);
            }
            harness.sink.pinged = pinged;
            harness.turn();
            took += start.elapsed();
            assert!(harness.now.mono <= until, "{pings} pings in an interval");
        }
        assert_eq!(pings, peers);
        took
    }

    /// Everybody goes at once, and time passes until nobody remembers them.
    fn leave(&mut self, harness: &mut ShardHarness) -> Duration {
        let start = Instant::now();
        for turn in self.slots.chunks(TURN) {
            for &slot in turn {
                harness.shard.ended(harness.now, slot);
            }
            harness.turn();
        }
        let took = start.elapsed();
        while harness.shard.next_due().is_some() {
            self.wait(harness);
            harness.turn();
        }
        took
    }

    /// Lets time pass until the shard has something to do.
    fn wait(&self, harness: &mut ShardHarness) {
        let due = harness.shard.next_due().expect("it has something to do");
        harness.now = harness.now.plus(due.saturating_sub(harness.now.mono));
    }

    /// Writes what the peers of a turn say, from the one numbered `first` on.
    fn write(&mut self, first: usize, say: impl Fn(usize) -> Vec<u8>) {
        self.bytes.clear();
        self.ends.clear();
        for peer in first..self.peers.min(first + TURN) {
            self.bytes.extend_from_slice(&say(peer));
            self.ends.push(self.bytes.len());
        }
    }

    fn said(&self, at: usize) -> &[u8] {
        let start = if at == 0 { 0 } else { self.ends[at - 1] };
        &self.bytes[start..self.ends[at]]
    }
}
