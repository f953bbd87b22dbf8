//! The cost of a message through Redis: bridges as the server starts them, without shards and sockets.
//!
//! The bench starts a `redis-server` of its own and acts as the only shard of each node: it sends requests, a fixed number
//! of them pending at once, and takes the replies and the published events.
//!
//! ```text
//! cargo bench --bench bridge           # about half a minute
//! cargo bench --bench bridge -- 1 3    # pinned: the bridges have processor 1 to themselves, all else is on 3
//! ```
//!
//! Not by criterion: the figures are the shares of two processes.

use std::fs;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::{Events, Poll, Token};
use redis::Connection;
use switchboard::base::Name;
use switchboard::base::ids::{ConnectionId, ConnectionPlace};
use switchboard::domain::about::About;
use switchboard::domain::access::{Identity, Roles};
use switchboard::domain::command::MediaState;
use switchboard::domain::event::Content;
use switchboard::domain::op::{JoinRoom, Op, RoomOp, SendMessage};
use switchboard::message::{BridgeMessage, OwnerMessage, Requester, ShardMessage, ThreadMessage};
use switchboard::runtime::bridge::{self, Bridge, RedisAddress, RedisOptions};
use switchboard::runtime::channel::{ChannelItem, ChannelReceiver, ChannelSender, channel, task_channel};
use switchboard::runtime::clock::Clock;

use support::redis::RedisServer;
use support::settings;

/// Bytes of a message's content.
const BODY: usize = 128;

/// Duration of each measurement.
const TIME: Duration = Duration::from_secs(2);

/// Time limit of each wait.
const PATIENCE: Duration = Duration::from_secs(10);

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let is_bench = arguments.iter().any(|argument| argument == "--bench");
    let pins: Vec<usize> = arguments.iter().filter_map(|argument| argument.parse().ok()).collect();
    let time = if is_bench { TIME } else { Duration::from_millis(50) };
    println!("messages of {BODY} bytes; CPU time in microseconds per message");
    println!("nodes  rooms  under way  messages/s    bridges      Redis  commands   bytes in  bytes out");
    for nodes in [1, 3] {
        for (rooms, under_way) in [(1, 1), (1, 64), (1, 4_096), (1_000, 64), (1_000, 4_096)] {
            let mut bridged = BridgedNodes::new(nodes, rooms, &pins);
            bridged.send(under_way, time / 4);
            let before = bridged.reading();
            let since = Instant::now();
            let sent = bridged.send(under_way, time);
            let took = since.elapsed().as_secs_f64();
            let spent = bridged.reading().map_with(before, |after, before| (after - before) / sent as f64);
            println!(
                "{nodes:>5}{rooms:>7}{under_way:>11}{:>12.0}{:>11.1}{:>11.1}{:>10.3}{:>11.0}{:>11.0}",
                sent as f64 / took,
                spent.bridges_us,
                spent.redis_us,
                spent.commands,
                spent.bytes_in,
                spent.bytes_out
            );
        }
    }
}

/// What has been spent.
#[derive(Clone, Copy)]
struct Reading {
    bridges_us: f64,
    redis_us: f64,
    commands: f64,
    bytes_in: f64,
    bytes_out: f64,
}

impl Reading {
    fn map_with(self, other: Self, by: impl Fn(f64, f64) -> f64) -> Self {
        Self {
            bridges_us: by(self.bridges_us, other.bridges_us),
            redis_us: by(self.redis_us, other.redis_us),
            commands: by(self.commands, other.commands),
            bytes_in: by(self.bytes_in, other.bytes_in),
            bytes_out: by(self.bytes_out, other.bytes_out),
        }
    }
}

/// Nodes that share a Redis, and rooms that each of them has one member of.
struct BridgedNodes {
    nodes: Vec<Node>,
    rooms: Vec<Name>,
    next: usize,
    poll: Poll,
    events: Events,
    server: RedisServer,
    connection: Connection,
}

/// One node, seen from its only shard.
struct Node {
    number: u16,
    bridge: Option<Bridge>,
    sender: ChannelSender<BridgeMessage>,
    inbox: ChannelReceiver,
    /// Questions that are not answered yet.
    asks: usize,
    /// Messages that members were told.
    told: usize,
}

impl BridgedNodes {
    fn new(nodes: usize, rooms: usize, pins: &[usize]) -> Self {
        let server = RedisServer::start();
        let connection = server.connect();
        if let [_, other] = pins {
            pin(server.pid(), *other);
            pin(std::process::id(), *other);
        }
        let poll = Poll::new().expect("a poll");
        let nodes = (0..nodes).map(|at| Node::start(&poll, Token(at), &server.url())).collect();
        let rooms = (0..rooms).map(|at| Name::from(format!("room-{at}").as_str())).collect();
        let mut bridged = Self { nodes, rooms, next: 0, poll, events: Events::with_capacity(16), server, connection };
        if let [one, _] = pins {
            threads("bridge").for_each(|thread| pin(thread, *one));
        }
        bridged.join();
        bridged
    }

    /// Adds a member of each room to each node.
    fn join(&mut self) {
        for node in &mut self.nodes {
            for (slot, room) in self.rooms.iter().enumerate() {
                let join = JoinRoom {
                    connection: node.connection(slot),
                    by: Identity::new(&format!("user-{slot}"), None, None, Roles::default()),
                    peer: None,
                    about: About::default(),
                    media: MediaState::default(),
                    create: true,
                    rewind: 0,
                };
                node.ask(Op::Room(room.clone(), RoomOp::Join(Box::new(join))));
            }
        }
        self.settle(0);
    }

    /// Sends messages for a time, a number of them under way at once, and waits for all events. Returns the number.
    fn send(&mut self, under_way: usize, time: Duration) -> usize {
        let until = Instant::now() + time;
        let mut sent = 0;
        let told: usize = self.nodes.iter().map(|node| node.told).sum();
        while Instant::now() < until {
            let asked: usize = self.nodes.iter().map(|node| node.asks).sum();
            for _ in asked..under_way {
                self.say();
                sent += 1;
            }
            self.wait();
        }
        // The sender's own shard has nobody but the sender to tell it to.
        self.settle(told + sent * (self.nodes.len() - 1));
        sent
    }

    /// Sends a message to the next room by a member of one node.
    fn say(&mut self) {
        let slot = self.next % self.rooms.len();
        let at = self.next % self.nodes.len();
        self.next += 1;
        let node = &mut self.nodes[at];
        let message = SendMessage {
            connection: node.connection(slot),
            publisher: None,
            to: None,
            content: Content {
                body: "m".repeat(BODY).into(),
                event: None,
                kind: None,
                reply_to: None,
                attachment: None,
                metadata: None,
            },
            client_message_id: None,
            revises: None,
            stream: None,
        };
        node.ask(Op::Room(self.rooms[slot].clone(), RoomOp::Send(Box::new(message))));
    }

    /// Waits for all replies, and for this number of events.
    fn settle(&mut self, told: usize) {
        let until = Instant::now() + PATIENCE;
        while self.nodes.iter().any(|node| node.asks > 0)
            || self.nodes.iter().map(|node| node.told).sum::<usize>() < told
        {
            let told_now: usize = self.nodes.iter().map(|node| node.told).sum();
            assert!(Instant::now() < until, "everything is answered and told: {told_now} of {told}");
            self.wait();
        }
    }

    /// Handles messages, or waits for some.
    fn wait(&mut self) {
        let taken: usize = self.nodes.iter_mut().map(Node::read).sum();
        if taken == 0 && self.nodes.iter().all(|node| node.inbox.prepare_sleep()) {
            self.poll.poll(&mut self.events, Some(Duration::from_millis(100))).expect("a wake-up");
        }
        self.nodes.iter().for_each(|node| node.inbox.end_sleep());
    }

    fn reading(&mut self) -> Reading {
        let stat = |name: &str, info: &str| -> f64 {
            let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line.and_then(|value| value.trim().parse().ok()).expect("a figure")
        };
        let stats: String = redis::cmd("INFO").arg("stats").query(&mut self.connection).expect("figures of Redis");
        let commands: String =
            redis::cmd("INFO").arg("commandstats").query(&mut self.connection).expect("figures of Redis");
        // What scripts do is not counted: it costs no way to Redis and back.
        let called = |name: &str| -> f64 {
            let line = commands.lines().find_map(|line| line.strip_prefix(name));
            line.map_or(0.0, |line| line.split(',').next().and_then(|calls| calls.parse().ok()).unwrap_or(0.0))
        };
        Reading {
            bridges_us: threads("bridge").map(cpu_us).sum(),
            redis_us: cpu_us(self.server.pid()),
            commands: called("cmdstat_evalsha:calls="),
            bytes_in: stat("total_net_input_bytes", &stats),
            bytes_out: stat("total_net_output_bytes", &stats),
        }
    }
}

impl Drop for BridgedNodes {
    fn drop(&mut self) {
        self.nodes.iter_mut().filter_map(|node| node.bridge.take()).for_each(Bridge::close);
    }
}

impl Node {
    fn start(poll: &Poll, token: Token, url: &str) -> Self {
        let address = RedisAddress::parse(url).expect("an address");
        let options = RedisOptions {
            address,
            ca_file: None,
            prefix: "sb:".to_owned(),
            keep_messages: 1_000,
            resting_rooms: 0,
            emitters: Box::default(),
        };
        let claimed = bridge::claim(options).expect("Redis is there");
        let number = claimed.node;
        let (shard, inbox) = channel(poll, token).expect("a mailbox");
        let (sender, own) = task_channel();
        let server = settings::load(&["rooms.history=true"]).shard_options(usize::MAX);
        let bridge = claimed
            .start((sender.clone(), own), Arc::new([shard]), (server.rules, server.allowances.rates), Clock::start())
            .expect("a thread");
        Self { number, bridge: Some(bridge), sender, inbox, asks: 0, told: 0 }
    }

    fn connection(&self, slot: usize) -> ConnectionId {
        ConnectionId::new(ConnectionPlace { node: self.number, shard: 0, slot: slot as u32 }, [7; 12])
    }

    fn ask(&mut self, op: Op) {
        self.asks += 1;
        self.sender.send(BridgeMessage::Owner(OwnerMessage::Request { from: Requester { shard: 0, ask: 0 }, op }));
    }

    /// Handles messages. Returns their number.
    fn read(&mut self) -> usize {
        let mut taken = 0;
        while let Some(ChannelItem::Message(message)) = self.inbox.take() {
            taken += 1;
            match message {
                ThreadMessage::Reply { reply, .. } => {
                    reply.expect("it is done");
                    self.asks -= 1;
                }
                ThreadMessage::Shard(ShardMessage::Publish { packed, .. }) if packed.seq > 0 => self.told += 1,
                _ => {}
            }
        }
        taken
    }
}

/// The threads of this process that have this name.
fn threads(name: &str) -> impl Iterator<Item = u32> {
    let all = fs::read_dir("/proc/self/task").expect("the list of threads");
    let named = format!("{name}\n");
    all.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(move |id: &u32| fs::read_to_string(format!("/proc/self/task/{id}/comm")).is_ok_and(|own| own == named))
}

/// CPU time of a thread, or of the first thread of a process.
fn cpu_us(id: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{id}/schedstat")).expect("its statistics");
    stat.split(' ').next().and_then(|first| first.parse::<f64>().ok()).expect("a figure") / 1_000.0
}

/// Binds a thread, or the first thread of a process, to a processor.
fn pin(id: u32, processor: usize) {
    let done = Command::new("taskset").args(["-cp", &processor.to_string(), &id.to_string()]).output();
    assert!(done.is_ok_and(|output| output.status.success()), "bound to processor {processor}");
}
