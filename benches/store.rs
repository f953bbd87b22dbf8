//! What it costs to keep messages: `cargo bench --bench store`.
//!
//! Throughput is of batches of one message of 128 bytes each, submitted as fast as the store takes them (32,768 under way
//! at once), from the first submission until the last receipt. Latency is from one submission to its receipt with nothing
//! else to do. To see what one core does, run it on one: `taskset -c 0 cargo bench --bench store`.
//!
//! The files are in the directory for temporary files; `TMPDIR` says where, which matters for `power`. `ROOMS` is the
//! number of rooms that a start finds, `MESSAGES` that of messages in one measurement: the more there are, the larger the
//! indexes.

use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use crossbeam_channel::{Receiver, unbounded};
use smallvec::smallvec;
use switchboard::base::Name;
use switchboard::base::ids::{ConnectionId, ConnectionPlace as Slot};
use switchboard::base::rng::Rng;
use switchboard::domain::access::{Identity, Roles};
use switchboard::domain::event::{Content, Message, PeerName};
use switchboard::domain::record::{MadeRoom, Record, Retention, SentMessage};
use switchboard::message::storage::{Batch, CommitReceipt, StorageEvent, Ticket};
use switchboard::runtime::storage::{
    Durability, MemoryBounds, OnDamage, Storage, StorageLocation, StorageOptions, open,
};

/// Messages in one measurement, if `MESSAGES` does not say.
const MESSAGES: usize = 100_000;

/// Messages under way at once.
const UNDER_WAY: usize = 32_768;

fn number(variable: &str, default: usize) -> usize {
    std::env::var(variable).ok().and_then(|number| number.parse().ok()).unwrap_or(default)
}

const DURABILITIES: [(&str, Durability); 3] =
    [("process", Durability::Process), ("power", Durability::Power), ("none", Durability::None)];

/// A store in a directory of its own, with so many rooms.
struct Bench {
    storage: Option<Storage>,
    options: StorageOptions,
    directory: PathBuf,
    receipts: Receiver<CommitReceipt>,
    rooms: Vec<(Name, u64)>,
    epoch: Name,
    rng: Rng,
    people: Vec<(Identity, PeerName)>,
    sent: u64,
}

impl Bench {
    fn start(durability: Durability, rooms: usize) -> Self {
        let mut rng = Rng::from_seed(rooms as u64);
        let directory = std::env::temp_dir().join(format!("switchboard-bench-{}", std::process::id()));
        let options = StorageOptions {
            location: StorageLocation::Directory(directory.clone()),
            durability,
            keep_messages: 10_000,
            keep_ms: 0,
            memory: MemoryBounds::default(),
            recovery_window_ms: 120_000,
            on_damage: OnDamage::Stop,
            outbox: None,
            clock: Arc::new(wall),
        };
        let (sender, receipts) = unbounded();
        let storage = open(options.clone()).expect("a store").start(move |told| {
            if let StorageEvent::Receipt(receipt) = told {
                let _ = sender.send(receipt);
            }
        });
        let person = |n: u32| {
            let id = ConnectionId::new(Slot { node: 0, shard: 0, slot: n }, [7; 12]);
            let name = format!("a2c4e6f8-0000-4000-8000-{n:012}");
            (Identity::new(&name, Some("Ada Lovelace"), None, Roles::default()), PeerName::Own(id))
        };
        let mut bench = Self {
            storage: Some(storage.expect("threads")),
            options,
            directory,
            receipts,
            rooms: (0..rooms).map(|n| (format!("room-{n}").into(), 0)).collect(),
            epoch: "epoch".into(),
            people: (0..1000).map(person).collect(),
            sent: 0,
            rng: Rng::from_seed(rng.next_u64()),
        };
        let (epoch, host) = (bench.epoch.clone(), bench.people[0].0.clone());
        let made = bench.rooms.clone().into_iter().map(|(room, _)| {
            Record::RoomMade(Box::new(MadeRoom {
                room,
                epoch: epoch.clone(),
                host: host.clone(),
                maker: host.user_name(),
                created_at: wall(),
                history: true,
                retention: Retention::default(),
                profile: None,
                is_locked: false,
            }))
        });
        bench.keep(made);
        bench
    }

    /// Submits all of these, so many under way at once, and waits for the last receipt.
    fn keep(&mut self, records: impl Iterator<Item = Record>) {
        let mut count = 0;
        for record in records {
            self.submit(record);
            self.wait(usize::from(count >= UNDER_WAY));
            count += 1;
        }
        self.wait(count.min(UNDER_WAY));
    }

    /// A message to a random room.
    fn message(&mut self) -> Record {
        let room = self.rng.below(self.rooms.len() as u64) as usize;
        let person = self.rng.below(self.people.len() as u64) as usize;
        let (room, seq) = &mut self.rooms[room];
        *seq += 1;
        let mut random = [0; 10];
        self.rng.fill(&mut random);
        let at = wall();
        let message = Message {
            id: uuid::Builder::from_unix_timestamp_millis(at, &random).into_uuid(),
            seq: Some(*seq),
            room: room.clone(),
            sender: self.people[person].0.clone(),
            display_name: None,
            from: self.people[person].1.clone(),
            is_published: false,
            to: None,
            content: Content {
                body: format!("\"{}\"", "x".repeat(126)).into(),
                event: None,
                kind: None,
                reply_to: None,
                attachment: None,
                metadata: None,
            },
            at,
            revision: None,
        };
        let message = Arc::new(message);
        Record::MessageSent(SentMessage { message, epoch: self.epoch.clone(), client_message_id: None })
    }

    fn submit(&mut self, record: Record) {
        self.sent += 1;
        let ticket = Ticket { sender: 0, run: 0, number: self.sent };
        let batch = Batch { ticket, records: smallvec![record] };
        self.storage.as_ref().expect("it is open").handle().submit(batch);
    }

    fn wait(&self, count: usize) {
        for _ in 0..count {
            let receipt = self.receipts.recv_timeout(Duration::from_secs(60)).expect("a receipt");
            receipt.outcome.expect("it is kept");
        }
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.storage = None;
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn wall() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64
}

/// Processor time of all threads, in steps of 10 ms. Unlike the time on the clock, it does not count what other programs
/// do on the same core. Zero where there is no `/proc`.
fn worked_so_far() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks = after_name.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok());
    Duration::from_millis(10 * ticks.sum::<u64>())
}

fn committed(criterion: &mut Criterion) {
    let messages = number("MESSAGES", MESSAGES);
    let mut group = criterion.benchmark_group("committed");
    group.sample_size(10).throughput(Throughput::Elements(messages as u64));
    for (name, durability) in DURABILITIES {
        for rooms in [1, 100, 1_000, 10_000] {
            let mut worked: Vec<Duration> = Vec::new();
            group.bench_function(BenchmarkId::new(name, format!("{rooms} rooms")), |bencher| {
                bencher.iter_custom(|rounds| {
                    let mut spent = Duration::ZERO;
                    for _ in 0..rounds {
                        let mut bench = Bench::start(durability, rooms);
                        let records: Vec<_> = (0..messages).map(|_| bench.message()).collect();
                        let (start, worked_before) = (Instant::now(), worked_so_far());
                        bench.keep(records.into_iter());
                        // With none the receipts come first and the writing after them.
                        drop(bench.storage.take());
                        spent += start.elapsed();
                        worked.push((worked_so_far() - worked_before) / messages as u32);
                    }
                    spent
                });
            });
            worked.sort_unstable();
            if let (Some(least), Some(most)) = (worked.first(), worked.last()) {
                let median = worked[worked.len() / 2];
                println!(
                    "committed/{name}/{rooms} rooms: processor time per record {median:?} ({least:?} to {most:?})"
                );
            }
        }
    }
    group.finish();
}

/// What a start takes that finds many rooms.
fn restored(criterion: &mut Criterion) {
    let rooms = number("ROOMS", 100_000);
    let mut bench = Bench::start(Durability::Process, rooms);
    let records: Vec<_> = (0..rooms).map(|_| bench.message()).collect();
    bench.keep(records.into_iter());
    drop(bench.storage.take());
    let options = bench.options.clone();
    let mut group = criterion.benchmark_group("restored");
    group.sample_size(10).throughput(Throughput::Elements(rooms as u64));
    group.bench_function(format!("{rooms} rooms"), |bencher| {
        bencher.iter(|| {
            let (opened, mut count) = (open(options.clone()).expect("a store"), 0);
            opened.restore(0, &mut |_| count += 1).expect("it can be read");
            count
        });
    });
    group.finish();
}

/// Percentiles rather than a mean: on a machine that does other things too, the mean says more of those.
fn latency(_: &mut Criterion) {
    for (name, durability) in DURABILITIES {
        let mut bench = Bench::start(durability, 100);
        let mut times: Vec<Duration> = (0..2_000)
            .map(|_| {
                thread::sleep(Duration::from_millis(1));
                let record = bench.message();
                let start = Instant::now();
                bench.submit(record);
                bench.wait(1);
                start.elapsed()
            })
            .collect();
        times.sort_unstable();
        let at = |percent: usize| times[(times.len() - 1) * percent / 100];
        println!("latency/{name}: median {:?}, 90 % {:?}, 99 % {:?}, all {:?}", at(50), at(90), at(99), at(100));
    }
}

criterion_group!(benches, committed, restored, latency);
criterion_main!(benches);
