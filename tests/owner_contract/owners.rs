//! Both owners with their backends. All effects of an operation are complete before the next operation.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, unbounded};
use switchboard::base::rng::Rng;
use switchboard::base::time::Now;
use switchboard::domain::connection_mode::ModeRules;
use switchboard::domain::op::{Op, RoomRules, Scope};
use switchboard::message::redis::RedisState;
use switchboard::message::storage::{StorageCommand, StorageEvent};
use switchboard::message::{Outgoing, Placement, Requester, ThreadMessage};
use switchboard::owner::embedded::EmbeddedOwner;
use switchboard::owner::redis::RedisSettings;
use switchboard::runtime::storage::{
    Durability, MemoryBounds, OnDamage, Storage, StorageLocation, StorageOptions, open,
};

use support::redis::RedisServer;
use support::redis_node::Node;

/// Shards of each node.
pub(crate) const SHARDS: usize = 3;

/// The maximum time of one step.
const PATIENCE: Duration = Duration::from_secs(30);

/// The rules of rooms and users in these tests.
pub(crate) fn rules() -> RoomRules {
    RoomRules {
        announce_limit: 5,
        max_participants: 0,
        joined_have_host: true,
        has_store: true,
        outlives_process: true,
        history: true,
        keep_ms: 0,
        stream_idle_ms: 60_000,
        presence_grace_ms: 3_000,
        presence_scope: Scope::Rooms,
        connections_per_user: 20,
        rooms_per_user: 0,
        signal_bytes: 0,
        mode: ModeRules { is_on: true, p2p_max: 2, return_ms: 2_000 },
        direct_bytes: 0,
        rest_per_minute: 30,
        hooks: switchboard::domain::hook::HookKinds::NONE,
    }
}

/// An owner and its backend.
pub(crate) trait TestOwner {
    /// Applies an operation and completes all its effects.
    fn ask(&mut self, now: Now, node: usize, from: Requester, op: Op) -> Vec<Outgoing>;

    /// Restarts the processes, if their state outlives them.
    fn restart(&mut self, _rules: &RoomRules) {}

    /// Runs all due tasks, each at its own time.
    fn tick(&mut self, now: Now) -> Vec<Outgoing> {
        let mut out = Vec::new();
        while let Some(at) = self.next_due().filter(|at| *at <= now.mono) {
            let early = now.mono - at;
            self.tick_at(Now { mono: at, wall: now.wall - early }, &mut out);
        }
        self.tick_at(now, &mut out);
        out
    }

    /// Runs the tasks that are due now.
    fn tick_at(&mut self, now: Now, out: &mut Vec<Outgoing>);

    /// When the next task is due.
    fn next_due(&self) -> Option<u64>;
}

/// The embedded owner with a store in memory.
pub(crate) struct EmbeddedTestOwner {
    owner: EmbeddedOwner,
    storage: Storage,
    told: Receiver<StorageEvent>,
    wall: Arc<AtomicU64>,
}

impl EmbeddedTestOwner {
    pub(crate) fn new(rules: RoomRules, now: Now, seed: u64) -> Self {
        let wall = Arc::new(AtomicU64::new(now.wall));
        let clock = wall.clone();
        let opened = open(StorageOptions {
            location: StorageLocation::Memory,
            durability: Durability::Process,
            keep_messages: 0,
            keep_ms: rules.keep_ms,
            memory: MemoryBounds::default(),
            recovery_window_ms: 120_000,
            on_damage: OnDamage::Stop,
            outbox: None,
            clock: Arc::new(move || clock.load(Ordering::SeqCst)),
        });
        let (sender, told) = unbounded();
        let storage = opened.expect("a store").start(move |told| drop(sender.send(told))).expect("threads");
        let placement = Placement::Embedded { shards: SHARDS };
        let owner = EmbeddedOwner::new(0, Arc::new(rules), placement, Rng::from_seed(seed));
        Self { owner, storage, told, wall }
    }

    /// Runs all storage commands and delivers their events until none is left.
    fn settle(&mut self, now: Now, out: &mut Vec<Outgoing>) {
        let store = self.storage.handle();
        loop {
            let mut awaited = 0;
            for order in self.owner.storage_commands(now).collect::<Vec<_>>() {
                awaited += 1;
                match order {
                    StorageCommand::Commit(batch) => store.submit(batch),
                    StorageCommand::Query { from, query } => store.query(from, query),
                }
            }
            if awaited == 0 {
                return;
            }
            while awaited > 0 {
                let told = self.told.recv_timeout(PATIENCE).expect("the store answers");
                awaited -= usize::from(!matches!(told, StorageEvent::State(_) | StorageEvent::RoomExpired(_)));
                self.owner.handle_storage_event(now, told, out);
                self.owner.check_invariants();
            }
        }
    }
}

impl TestOwner for EmbeddedTestOwner {
    fn ask(&mut self, now: Now, _node: usize, from: Requester, op: Op) -> Vec<Outgoing> {
        self.wall.store(now.wall, Ordering::SeqCst);
        let mut out = Vec::new();
        self.owner.request(now, from, op, &mut out);
        self.owner.check_invariants();
        self.settle(now, &mut out);
        out
    }

    fn tick_at(&mut self, now: Now, out: &mut Vec<Outgoing>) {
        self.wall.store(now.wall, Ordering::SeqCst);
        self.owner.tick(now, out);
        self.owner.check_invariants();
        self.settle(now, out);
    }

    fn next_due(&self) -> Option<u64> {
        self.owner.next_due()
    }
}

/// Several nodes on one Redis.
pub(crate) struct RedisTestOwner {
    pub(crate) nodes: Vec<Node>,
    server: RedisServer,
}

impl RedisTestOwner {
    pub(crate) fn new(rules: &RoomRules, nodes: usize, seed: u64) -> Self {
        let server = RedisServer::start();
        let nodes = (0..nodes).map(|number| node(rules, number, seed, &server)).collect();
        Self { nodes, server }
    }

    /// Runs all commands and delivers all publications until none is left.
    fn settle(&mut self, now: Now, out: &mut Vec<Outgoing>) {
        while self.nodes.iter_mut().fold(false, |was_busy, node| node.settle(now, out) | was_busy) {}
    }

    /// Deletes all state, for another run.
    pub(crate) fn clear(&mut self, rules: &RoomRules, seed: u64) {
        let count = self.nodes.len();
        self.nodes.clear();
        self.server.command(&["FLUSHALL"]);
        self.nodes = (0..count).map(|number| node(rules, number, seed, &self.server)).collect();
    }
}

fn node(rules: &RoomRules, number: usize, seed: u64, server: &RedisServer) -> Node {
    let (number, prefix) = (number as u16 + 1, "test".into());
    let settings = RedisSettings {
        node: number,
        name: format!("test {number}").into(),
        shards: SHARDS,
        prefix,
        sharded: false,
        rates: Default::default(),
        keep_messages: 0,
        resting_rooms: 0,
        emitters: Default::default(),
    };
    let mut node = Node::new(server, settings, Arc::new(rules.clone()), seed + u64::from(number));
    node.set_state(Now::default(), RedisState::Ready, &mut Vec::new());
    node
}

impl TestOwner for RedisTestOwner {
    fn ask(&mut self, now: Now, node: usize, from: Requester, op: Op) -> Vec<Outgoing> {
        let mut out = Vec::new();
        self.nodes[node].ask(now, from, op, &mut out);
        self.settle(now, &mut out);
        out
    }

    fn restart(&mut self, rules: &RoomRules) {
        let count = self.nodes.len();
        self.nodes.clear();
        self.nodes = (0..count).map(|number| node(rules, number, 1_000, &self.server)).collect();
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

/// The messages by receiving shard, in order.
pub(crate) fn by_shard(out: Vec<Outgoing>) -> [VecDeque<ThreadMessage>; SHARDS] {
    let mut shards: [VecDeque<ThreadMessage>; SHARDS] = Default::default();
    for (shard, message) in out {
        shards[usize::from(shard)].push_back(message);
    }
    shards
}
