//! Nodes of a cluster, the network between them and Redis, and its faults.
//!
//! Redis is a real one: its part is the scripts, which a model would only write again. Each call is made when the run says so, the
//! clock of the scripts is the run's, and so is the network: calls, replies and publications wait until they are passed on, or are
//! lost. A second server stands for the replica. It gets a copy of all keys at a moment that the run chooses, and is the master
//! from a later one on: what happened in between is lost, as it is in a failover.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use redis::{Cmd, Connection, Value};
use support::redis::RedisServer;
use switchboard::base::rng::Rng;
use switchboard::base::time::Now;
use switchboard::domain::op::RoomRules;
use switchboard::domain::quota::Rates;
use switchboard::message::redis::{Bytes, CallError, RedisCommand, RedisEvent, RedisState, ScriptCall};
use switchboard::message::{BRIDGE, BridgeMessage, Outgoing, ThreadMessage};
use switchboard::owner::redis::{KeySchema, RedisOwner, RedisSettings};
use switchboard::runtime::bridge;

/// Prefix of all keys.
const PREFIX: &str = "sim";

/// The clock that scripts read.
const CLOCK: &str = "clock";

thread_local! {
    /// The servers of all runs of a thread.
    static SERVERS: RefCell<Option<[RedisServer; 2]>> = const { RefCell::new(None) };
}

/// The connections of a node with Redis.
struct Sockets {
    calls: Connection,
    channels: Connection,
}

/// A node: the owner, and what is on its way between it and Redis.
pub(crate) struct SimNode {
    pub(crate) owner: RedisOwner,
    /// To Redis, in order.
    calls: VecDeque<RedisCommand>,
    /// Back from it, in order.
    replies: VecDeque<RedisEvent>,
    /// Published on its channels, in order.
    published: VecDeque<RedisEvent>,
    channels: BTreeSet<Bytes>,
    /// `None` while the node is cut off.
    sockets: Option<Sockets>,
}

impl SimNode {
    fn is_busy(&self) -> bool {
        !self.calls.is_empty() || !self.replies.is_empty() || !self.published.is_empty()
    }
}

/// See the module.
pub(crate) struct ClusterNetwork {
    pub(crate) now: Now,
    pub(crate) rng: Rng,
    pub(crate) nodes: Vec<SimNode>,
    servers: Option<[RedisServer; 2]>,
    /// A connection with each server, for the run itself.
    own: [Connection; 2],
    master: usize,
    /// Times that another server has become the master.
    pub(crate) terms: u32,
    /// Whether the replica has its copy: later calls are lost with the master.
    pub(crate) is_frozen: bool,
    scripts: BTreeMap<&'static str, redis::Script>,
    is_shown: bool,
    /// Arguments of calls that a failover can undo, one text for each.
    pub(crate) undone: Vec<String>,
    /// Messages to the shards of each node.
    pub(crate) told: VecDeque<(usize, ThreadMessage)>,
}

impl ClusterNetwork {
    pub(crate) fn new(nodes: usize, rules: RoomRules, mut rng: Rng) -> Self {
        let servers = SERVERS.with_borrow_mut(Option::take);
        let servers = servers.unwrap_or_else(|| [RedisServer::start(), RedisServer::start()]);
        let own = servers.each_ref().map(RedisServer::connect);
        let (rules, keys) = (Arc::new(rules), KeySchema::new(PREFIX));
        let node = |node: usize| {
            let settings = RedisSettings {
                node: node as u16,
                name: format!("node {node}").into(),
                shards: 1,
                prefix: PREFIX.into(),
                sharded: false,
                rates: Rates::default(),
                keep_messages: 0,
                resting_rooms: 0,
                emitters: Default::default(),
            };
            let owner = RedisOwner::new(settings, rules.clone(), Rng::from_seed(rng.next_u64()));
            let channels = [keys.everyone(), keys.node(node as u16)].into();
            let (calls, replies, published) = Default::default();
            SimNode { owner, calls, replies, published, channels, sockets: None }
        };
        let nodes = (0..nodes).map(node).collect();
        let mut network = Self {
            now: Now { mono: 1_000, wall: super::setting::BEGINNING },
            rng,
            nodes,
            servers: Some(servers),
            own,
            master: 0,
            terms: 0,
            is_frozen: false,
            scripts: BTreeMap::new(),
            is_shown: super::number("SWITCHBOARD_SEED").is_some(),
            undone: Vec::new(),
            told: VecDeque::new(),
        };
        for server in 0..2 {
            network.command(server, Cmd::new().arg("FLUSHALL"));
        }
        (0..network.nodes.len()).for_each(|node| network.heal(node));
        network
    }

    /// Prints what happens if only one seed runs.
    fn show(&self, what: impl FnOnce() -> String) {
        if self.is_shown {
            eprintln!("{} {}", self.now.mono, what());
        }
    }

    pub(crate) fn pick(&mut self, n: usize) -> usize {
        self.rng.below(n as u64) as usize
    }

    /// A connection with the master.
    fn connect(&self) -> Connection {
        self.servers.as_ref().expect("invariant: they are there until the end")[self.master].connect()
    }

    fn command(&mut self, server: usize, command: &Cmd) -> Value {
        command.query(&mut self.own[server]).expect("Redis answers")
    }

    /// Passes on something that is on its way, or makes a call; whether there was anything.
    pub(crate) fn step(&mut self) -> bool {
        let busy: Vec<usize> = (0..self.nodes.len()).filter(|node| self.nodes[*node].is_busy()).collect();
        if busy.is_empty() {
            return false;
        }
        let at = busy[self.pick(busy.len())];
        let first = self.pick(3);
        for kind in (first..3).chain(0..first) {
            let node = &mut self.nodes[at];
            let event = match kind {
                0 if node.calls.is_empty() => continue,
                0 => {
                    self.carry_out(at);
                    return true;
                }
                1 => node.replies.pop_front(),
                _ => node.published.pop_front(),
            };
            if let Some(event) = event {
                self.hear(at, event);
                return true;
            }
        }
        false
    }

    pub(crate) fn settle(&mut self) {
        while self.step() {}
    }

    /// Lets time pass, with all that falls due in it, and everything done and heard at once.
    pub(crate) fn advance(&mut self, ms: u64) {
        let end = self.now.mono + ms;
        loop {
            let due = self.nodes.iter().filter_map(|node| node.owner.next_due()).min();
            // What is due again at once waits for a moment.
            let at = due.map_or(end, |due| due.clamp((self.now.mono + 1).min(end), end));
            self.now = self.now.plus(at - self.now.mono);
            for node in 0..self.nodes.len() {
                let mut out = Vec::new();
                self.nodes[node].owner.tick(self.now, &mut out);
                self.take(node, out);
            }
            self.settle();
            if self.now.mono >= end {
                return;
            }
        }
    }

    /// Tells a node something that came from Redis.
    fn hear(&mut self, at: usize, event: RedisEvent) {
        let mut out = Vec::new();
        self.show(|| match &event {
            RedisEvent::Published { body, .. } => format!("{at} hears {}", String::from_utf8_lossy(body)),
            RedisEvent::Subscribed(channel) => format!("{at} is subscribed to {}", String::from_utf8_lossy(channel)),
            other => format!("{at} hears {other:?}"),
        });
        self.nodes[at].owner.handle_redis_event(self.now, event, &mut out);
        self.take(at, out);
    }

    /// Takes what a node has for shards, for itself and for Redis.
    pub(crate) fn take(&mut self, at: usize, mut out: Vec<Outgoing>) {
        loop {
            let own: Vec<Outgoing> = out.extract_if(.., |(to, _)| *to == BRIDGE).collect();
            if own.is_empty() {
                break;
            }
            for (_, message) in own {
                let message = BridgeMessage::try_from(message).expect("a message for the owner");
                self.nodes[at].owner.handle_message(self.now, message, &mut out);
            }
        }
        self.told.extend(out.into_iter().map(|(_, message)| (at, message)));
        let commands: Vec<RedisCommand> = self.nodes[at].owner.commands(self.now).collect();
        for command in commands {
            self.request(at, command);
        }
        self.nodes[at].owner.check_invariants();
    }

    /// Takes what a node has for Redis. A node that is cut off gets no reply; its channels are subscribed when it is back.
    fn request(&mut self, at: usize, command: RedisCommand) {
        let node = &mut self.nodes[at];
        match command {
            RedisCommand::Subscribe(channel) if node.sockets.is_none() => drop(node.channels.insert(channel)),
            RedisCommand::Unsubscribe(channel) if node.sockets.is_none() => drop(node.channels.remove(&channel)),
            RedisCommand::Publish { .. } if node.sockets.is_none() => {}
            RedisCommand::ScriptCall(ScriptCall { ticket, .. }) if node.sockets.is_none() => {
                node.replies.push_back(RedisEvent::Reply { ticket, outcome: Err(CallError::Away) });
            }
            command => node.calls.push_back(command),
        }
    }

    /// Has Redis do what the first call of a node asks for.
    fn carry_out(&mut self, at: usize) {
        let Some(command) = self.nodes[at].calls.pop_front() else { return };
        match command {
            RedisCommand::ScriptCall(call) => {
                let reply = self.call(at, call);
                self.nodes[at].replies.push_back(reply);
            }
            RedisCommand::Subscribe(channel) => {
                self.say(at, "SUBSCRIBE", &channel);
                let node = &mut self.nodes[at];
                node.channels.insert(channel.clone());
                node.published.push_back(RedisEvent::Subscribed(channel));
            }
            RedisCommand::Unsubscribe(channel) => {
                self.say(at, "UNSUBSCRIBE", &channel);
                self.nodes[at].channels.remove(&channel);
            }
            RedisCommand::Publish { channel, body } => {
                let master = self.master;
                self.command(master, Cmd::new().arg("PUBLISH").arg(&*channel).arg(&*body));
            }
        }
        self.collect();
    }

    fn call(&mut self, at: usize, call: ScriptCall) -> RedisEvent {
        let (master, wall) = (self.master, self.now.wall);
        let clock = format!("{} {}", wall / 1_000, wall % 1_000 * 1_000);
        self.command(master, Cmd::new().arg("SET").arg(CLOCK).arg(clock));
        if self.is_frozen {
            let arguments = call.arguments.iter().map(|argument| String::from_utf8_lossy(argument)).collect::<Vec<_>>();
            self.undone.push(arguments.join(" "));
        }
        let script = self.scripts.entry(call.script.name).or_insert_with(|| {
            let clock = format!("{{string.match(call('GET', '{CLOCK}'), '(%d+) (%d+)')}}");
            redis::Script::new(&call.script.source.replace("call('TIME')", &clock))
        });
        let mut invocation = script.prepare_invoke();
        for key in &call.keys {
            invocation.key(&**key);
        }
        // The third argument is the name of the server, which the bridge knows.
        let server = format!("server{}", self.terms);
        for (place, argument) in call.arguments.iter().enumerate() {
            match place {
                2 if &**argument != b"SPUBLISH" => invocation.arg(server.as_str()),
                _ => invocation.arg(&**argument),
            };
        }
        let sockets = self.nodes[at].sockets.as_mut().expect("invariant: a node that is cut off makes no calls");
        let outcome = invocation.invoke::<Value>(&mut sockets.calls);
        let outcome = outcome.unwrap_or_else(|error| panic!("{} fails: {error}", call.script.name));
        let text = bridge::text_of(outcome).expect("an answer is text");
        self.show(|| {
            let words = call.arguments.iter().map(|argument| String::from_utf8_lossy(argument)).collect::<Vec<_>>();
            format!("{at} calls {} {}: {}", call.script.name, words.join(" "), String::from_utf8_lossy(&text))
        });
        RedisEvent::Reply { ticket: call.ticket, outcome: Ok(text) }
    }

    /// Takes what was published to all nodes.
    fn collect(&mut self) {
        for at in 0..self.nodes.len() {
            if self.nodes[at].sockets.is_none() {
                continue;
            }
            self.say(at, "PING", b"so far");
            loop {
                let node = &mut self.nodes[at];
                let sockets = node.sockets.as_mut().expect("invariant: it was there");
                let Value::Array(parts) = sockets.channels.recv_response().expect("Redis answers") else { break };
                match parts.as_slice() {
                    [Value::BulkString(kind), Value::BulkString(channel), Value::BulkString(body)]
                        if kind == b"message" =>
                    {
                        let (channel, body) = (channel[..].into(), body[..].into());
                        node.published.push_back(RedisEvent::Published { channel, body });
                    }
                    [Value::BulkString(kind), ..] if kind == b"pong" => break,
                    _ => {}
                }
            }
        }
    }

    fn say(&mut self, at: usize, command: &str, text: &[u8]) {
        let packed = Cmd::new().arg(command).arg(text).get_packed_command();
        let sockets = self.nodes[at].sockets.as_mut().expect("invariant: a node that is cut off subscribes to nothing");
        sockets.channels.send_packed_command(&packed).expect("Redis listens");
    }

    pub(crate) fn is_cut(&self, at: usize) -> bool {
        self.nodes[at].sockets.is_none()
    }

    /// Cuts a node off: publications that are on their way are lost, and calls have no reply; some were made all the same.
    pub(crate) fn cut(&mut self, at: usize) {
        if self.is_cut(at) {
            return;
        }
        let arrive = self.pick(self.nodes[at].calls.len() + 1);
        (0..arrive).for_each(|_| self.carry_out(at));
        let node = &mut self.nodes[at];
        node.sockets = None;
        node.published.clear();
        let ticket = |event: &RedisEvent| match event {
            RedisEvent::Reply { ticket, .. } => Some(*ticket),
            _ => None,
        };
        let mut unanswered: Vec<u32> = node.replies.drain(..).filter_map(|event| ticket(&event)).collect();
        for command in node.calls.drain(..).collect::<Vec<_>>() {
            match command {
                RedisCommand::ScriptCall(call) => unanswered.push(call.ticket),
                RedisCommand::Subscribe(channel) => drop(node.channels.insert(channel)),
                RedisCommand::Unsubscribe(channel) => drop(node.channels.remove(&channel)),
                RedisCommand::Publish { .. } => {}
            }
        }
        node.replies
            .extend(unanswered.into_iter().map(|ticket| RedisEvent::Reply { ticket, outcome: Err(CallError::Away) }));
        node.replies.push_back(RedisEvent::State(RedisState::Unreachable));
    }

    /// A node reaches Redis again.
    pub(crate) fn heal(&mut self, at: usize) {
        if !self.is_cut(at) {
            return;
        }
        let sockets = Sockets { calls: self.connect(), channels: self.connect() };
        self.nodes[at].sockets = Some(sockets);
        self.nodes[at].replies.push_back(RedisEvent::State(RedisState::Ready));
        self.subscribe(at);
    }

    fn subscribe(&mut self, at: usize) {
        for channel in self.nodes[at].channels.clone() {
            self.say(at, "SUBSCRIBE", &channel);
            self.nodes[at].published.push_back(RedisEvent::Subscribed(channel));
        }
    }

    /// The connection for publications ends and is made anew: what was published meanwhile is lost.
    pub(crate) fn miss(&mut self, at: usize) {
        if self.is_cut(at) {
            return;
        }
        let channels = self.connect();
        let node = &mut self.nodes[at];
        node.published.clear();
        node.sockets.as_mut().expect("invariant: it is not cut off").channels = channels;
        self.subscribe(at);
    }

    /// The replica has all keys of this moment and none of what comes later.
    pub(crate) fn freeze(&mut self) {
        self.show(|| "the replica has its copy".to_owned());
        let (master, replica) = (self.master, 1 - self.master);
        self.command(replica, Cmd::new().arg("FLUSHALL"));
        let Value::Array(keys) = self.command(master, Cmd::new().arg("KEYS").arg("*")) else { return };
        for key in keys {
            let Value::BulkString(key) = key else { continue };
            let dump = self.command(master, Cmd::new().arg("DUMP").arg(&key));
            let life = self.command(master, Cmd::new().arg("PTTL").arg(&key));
            if let (Value::BulkString(dump), Value::Int(life)) = (dump, life) {
                self.command(replica, Cmd::new().arg("RESTORE").arg(&key).arg(life.max(0)).arg(dump));
            }
        }
        (self.is_frozen, self.undone) = (true, Vec::new());
    }

    /// The replica becomes the master. No node reaches it yet. Returns arguments of the calls that are lost.
    pub(crate) fn promote(&mut self) -> Vec<String> {
        if !self.is_frozen {
            self.freeze();
        }
        (0..self.nodes.len()).for_each(|node| self.cut(node));
        self.master = 1 - self.master;
        self.terms += 1;
        self.show(|| "the replica is the master".to_owned());
        self.is_frozen = false;
        std::mem::take(&mut self.undone)
    }
}

impl Drop for ClusterNetwork {
    fn drop(&mut self) {
        // The next run of this thread has them.
        SERVERS.set(self.servers.take());
    }
}
