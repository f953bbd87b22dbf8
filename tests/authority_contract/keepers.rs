//! Both authorities, played one act at a time: whatever an act leads to has happened before the next.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, unbounded};
use switchboard::authority::Authority;
use switchboard::authority::embedded::Embedded;
use switchboard::authority::redis::{Redis, Settings};
use switchboard::base::rng::Rng;
use switchboard::base::time::Now;
use switchboard::domain::op::{Op, Rules, Scope};
use switchboard::mail::redis::{Call, Demand, Fault, Heard, State};
use switchboard::mail::storage::{Order, Told};
use switchboard::mail::{Asker, Mail, Outgoing, Placement};
use switchboard::runtime::storage::{Durability, OnDamage, Options, Place, Storage, open};

use crate::redis_server::RedisServer;

/// Shards of each node.
pub(crate) const SHARDS: usize = 3;

/// How long anything may take before a test fails.
const PATIENCE: Duration = Duration::from_secs(30);

/// What rooms and users go by in these tests.
pub(crate) fn rules() -> Rules {
    Rules {
        announce_limit: 5,
        max_participants: 0,
        has_store: true,
        history: true,
        keep_ms: 0,
        presence_grace_ms: 3_000,
        presence_scope: Scope::Rooms,
        connections_per_user: 20,
        rest_per_minute: 30,
    }
}

/// An authority and whatever keeps things for it.
pub(crate) trait Keeper {
    /// Does an act and everything that it leads to.
    fn ask(&mut self, now: Now, node: usize, from: Asker, op: Op) -> Vec<Outgoing>;

    /// Does what has become due, each thing at its time.
    fn tick(&mut self, now: Now) -> Vec<Outgoing> {
        let mut out = Vec::new();
        while let Some(at) = self.next_due().filter(|at| *at <= now.mono) {
            let early = now.mono - at;
            self.tick_at(Now { mono: at, wall: now.wall - early }, &mut out);
        }
        self.tick_at(now, &mut out);
        out
    }

    /// Does what is due at this moment.
    fn tick_at(&mut self, now: Now, out: &mut Vec<Outgoing>);

    /// When something is due.
    fn next_due(&self) -> Option<u64>;
}

/// The authority of one process, with a store in memory.
pub(crate) struct OneProcess {
    authority: Embedded,
    storage: Storage,
    told: Receiver<Told>,
    wall: Arc<AtomicU64>,
}

impl OneProcess {
    pub(crate) fn new(rules: Rules, now: Now, seed: u64) -> Self {
        let wall = Arc::new(AtomicU64::new(now.wall));
        let clock = wall.clone();
        let opened = open(Options {
            place: Place::Memory,
            durability: Durability::Process,
            keep_messages: 0,
            keep_ms: rules.keep_ms,
            recovery_window_ms: 120_000,
            on_damage: OnDamage::Stop,
            clock: Arc::new(move || clock.load(Ordering::SeqCst)),
        });
        let (sender, told) = unbounded();
        let storage = opened.expect("a store").start(move |told| drop(sender.send(told))).expect("threads");
        let placement = Placement::Embedded { shards: SHARDS };
        let authority = Embedded::new(0, Arc::new(rules), placement, Rng::from_seed(seed));
        Self { authority, storage, told, wall }
    }

    /// Has everything kept and asked that is to be, and what comes of it told.
    fn settle(&mut self, now: Now, out: &mut Vec<Outgoing>) {
        let store = self.storage.store();
        loop {
            let mut awaited = 0;
            for order in self.authority.orders(now).collect::<Vec<_>>() {
                awaited += 1;
                match order {
                    Order::Keep(batch) => store.submit(batch),
                    Order::Ask { from, query } => store.ask(from, query),
                }
            }
            if awaited == 0 {
                return;
            }
            while awaited > 0 {
                let told = self.told.recv_timeout(PATIENCE).expect("the store answers");
                awaited -= usize::from(!matches!(told, Told::State(_)));
                self.authority.told(now, told, out);
            }
        }
    }
}

impl Keeper for OneProcess {
    fn ask(&mut self, now: Now, _node: usize, from: Asker, op: Op) -> Vec<Outgoing> {
        self.wall.store(now.wall, Ordering::SeqCst);
        let mut out = Vec::new();
        self.authority.ask(now, from, op, &mut out);
        self.settle(now, &mut out);
        out
    }

    fn tick_at(&mut self, now: Now, out: &mut Vec<Outgoing>) {
        self.wall.store(now.wall, Ordering::SeqCst);
        self.authority.tick(now, out);
        self.settle(now, out);
    }

    fn next_due(&self) -> Option<u64> {
        self.authority.next_due()
    }
}

/// Several nodes on one Redis.
pub(crate) struct Cluster {
    pub(crate) nodes: Vec<Node>,
    pub(crate) server: RedisServer,
}

/// One node: its authority, and its connections to Redis.
pub(crate) struct Node {
    pub(crate) authority: Redis,
    calls: redis::Connection,
    channels: redis::PubSub<'static>,
    /// The channel by which it is known that all was heard that was published before.
    mark: String,
    marks: u64,
}

impl Cluster {
    pub(crate) fn new(rules: &Rules, nodes: usize, seed: u64) -> Self {
        let server = RedisServer::start();
        let nodes = (0..nodes).map(|node| Node::new(rules, node as u16, seed, &server)).collect();
        Self { nodes, server }
    }

    /// Has everything done that is to be, and what is published heard, until nothing more comes of it.
    pub(crate) fn settle(&mut self, now: Now, out: &mut Vec<Outgoing>) {
        loop {
            let mut is_busy = false;
            for node in &mut self.nodes {
                is_busy |= node.carry_out(now, out);
            }
            for node in &mut self.nodes {
                is_busy |= node.hear(now, out);
            }
            if !is_busy {
                return;
            }
        }
    }

    /// Forgets everything, for another run.
    pub(crate) fn clear(&mut self, rules: &Rules, seed: u64) {
        let count = self.nodes.len();
        self.nodes.clear();
        let mut calls = self.server.client().get_connection().expect("a connection");
        let _: () = redis::cmd("FLUSHALL").query(&mut calls).expect("it is emptied");
        self.nodes = (0..count).map(|node| Node::new(rules, node as u16, seed, &self.server)).collect();
    }
}

impl Keeper for Cluster {
    fn ask(&mut self, now: Now, node: usize, from: Asker, op: Op) -> Vec<Outgoing> {
        let mut out = Vec::new();
        self.nodes[node].authority.ask(now, from, op, &mut out);
        self.settle(now, &mut out);
        out
    }

    fn tick_at(&mut self, now: Now, out: &mut Vec<Outgoing>) {
        for node in 0..self.nodes.len() {
            self.nodes[node].authority.tick(now, out);
            self.settle(now, out);
        }
    }

    fn next_due(&self) -> Option<u64> {
        self.nodes.iter().filter_map(|node| node.authority.next_due()).min()
    }
}

impl Node {
    fn new(rules: &Rules, node: u16, seed: u64, server: &RedisServer) -> Self {
        let settings = Settings { node, shards: SHARDS, prefix: "test".into(), sharded: false, keep_messages: 0 };
        let mut authority = Redis::new(settings, Arc::new(rules.clone()), Rng::from_seed(seed + u64::from(node)));
        authority.told(Now::default(), Heard::State(State::Good), &mut Vec::new());
        let calls = server.client().get_connection().expect("a connection");
        // It lives as long as the test.
        let channels = Box::leak(Box::new(server.client().get_connection().expect("a connection"))).as_pubsub();
        let mark = format!("mark-{node}");
        let mut node = Self { authority, calls, channels, mark, marks: 0 };
        node.channels.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        node.channels.subscribe(&node.mark).expect("it is listened to");
        node
    }

    /// Carries out what is demanded; whether there was anything.
    fn carry_out(&mut self, now: Now, out: &mut Vec<Outgoing>) -> bool {
        let demands: Vec<Demand> = self.authority.orders(now).collect();
        let is_busy = !demands.is_empty();
        for demand in demands {
            match demand {
                Demand::Call(call) => {
                    let heard = Heard::Answer { ticket: call.ticket, outcome: self.call(&call) };
                    self.authority.told(now, heard, out);
                }
                Demand::Follow(channel) => {
                    self.channels.subscribe(&*channel).expect("it is listened to");
                    self.authority.told(now, Heard::Following(channel), out);
                }
                Demand::Leave(channel) => self.channels.unsubscribe(&*channel).expect("it is left"),
                Demand::Publish { channel, body } => {
                    let _: () = redis::cmd("PUBLISH").arg(&*channel).arg(&*body).query(&mut self.calls).expect("sent");
                }
            }
        }
        is_busy
    }

    fn call(&mut self, call: &Call) -> Result<Box<[u8]>, Fault> {
        let script = redis::Script::new(call.script.source);
        let mut invocation = script.prepare_invoke();
        for key in &call.keys {
            invocation.key(&**key);
        }
        for argument in &call.arguments {
            invocation.arg(&**argument);
        }
        let answer: Result<Vec<u8>, redis::RedisError> = invocation.invoke(&mut self.calls);
        answer.map(Into::into).map_err(|error| panic!("{}: {error}", call.script.name))
    }

    /// Hears what was published up to now; whether there was anything.
    fn hear(&mut self, now: Now, out: &mut Vec<Outgoing>) -> bool {
        self.marks += 1;
        let mark = self.marks.to_string();
        let _: () = redis::cmd("PUBLISH").arg(&self.mark).arg(&mark).query(&mut self.calls).expect("it is published");
        let mut is_busy = false;
        loop {
            let message = self.channels.get_message().expect("what was published");
            if message.get_channel_name() == self.mark {
                if message.get_payload_bytes() == mark.as_bytes() {
                    return is_busy;
                }
                continue;
            }
            is_busy = true;
            let channel = message.get_channel_name().as_bytes().into();
            let heard = Heard::Published { channel, body: message.get_payload_bytes().into() };
            self.authority.told(now, heard, out);
        }
    }
}

/// Mail by the shard it is for, in order.
pub(crate) fn by_shard(out: Vec<Outgoing>) -> [VecDeque<Mail>; SHARDS] {
    let mut shards: [VecDeque<Mail>; SHARDS] = Default::default();
    for (shard, mail) in out {
        shards[usize::from(shard)].push_back(mail);
    }
    shards
}
