//! A run with several nodes that share a Redis: members of a room on each, messages, and faults of Redis and of the network. It
//! checks what a cluster promises: members get the messages of an epoch in order, once and without a gap; an epoch with different
//! messages under one number ends; what was acknowledged is in the log in the end, except what a failover has undone; and
//! nobody is removed because a node was cut off.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hasher};

use switchboard::base::Name;
use switchboard::base::ids::{ConnectionId, ConnectionPlace};
use switchboard::base::rng::Rng;
use switchboard::domain::about::About;
use switchboard::domain::access::{Identity, Roles};
use switchboard::domain::command::MediaState;
use switchboard::domain::event::{Content, Event, Message};
use switchboard::domain::history::HistoryRange;
use switchboard::domain::op::{JoinRoom, Op, Reply, RoomOp, RoomRules, SendMessage};
use switchboard::domain::recovery::Returning;
use switchboard::domain::reject::{Code, Reject};
use switchboard::message::{Requester, ShardMessage, ThreadMessage};

use super::cluster_network::ClusterNetwork;
use super::coverage::Coverage;
use super::raw_run::Outcome;

const ROOM: &str = "r";
const NODES: usize = 3;
const MEMBERS: usize = 5;

/// A node that is cut off for longer is taken for dead by the others.
const DEAD_MS: u64 = 20_000;

/// The state of a client.
#[derive(Clone, Debug, PartialEq)]
enum Stage {
    Out,
    /// A request to join or to return is under way.
    Entering,
    Member,
    Leaving,
    /// The node has told it to connect again.
    Lost,
}

/// A client that stays at its node.
#[derive(Debug)]
struct SimMember {
    node: usize,
    connection: ConnectionId,
    stage: Stage,
    epoch: Name,
    /// The last message that it has, or has sent.
    last: u64,
    /// Numbers of its own messages that are beyond that: a node that Redis leaves passes receipts on before events.
    ahead: BTreeSet<u64>,
    /// Messages that it has sent without an acknowledgement: each can have a number.
    doubtful: u64,
}

impl SimMember {
    /// It has all messages up to this one.
    fn advance(&mut self, seq: u64) {
        self.last = seq;
        while self.ahead.remove(&(self.last + 1)) {
            self.last += 1;
        }
        self.ahead.retain(|number| *number > self.last);
    }
}

/// A request under way.
enum Asked {
    Enter(usize),
    Leave(usize),
    Send { member: usize, connection: ConnectionId, text: String },
    History,
}

/// See the module.
struct ClusterRun {
    net: ClusterNetwork,
    members: Vec<SimMember>,
    asked: BTreeMap<u32, Asked>,
    next: u32,
    /// Contents by epoch and number, as anyone knows them.
    known: BTreeMap<(Name, u64), String>,
    /// Epochs that have two messages of one number, which have to end.
    forked: BTreeSet<Name>,
    /// Texts of messages that were acknowledged.
    acknowledged: BTreeSet<String>,
    /// Arguments of calls that failovers have undone.
    undone: Vec<String>,
    history: Option<Result<Vec<Message>, Reject>>,
    tally: Coverage,
    trace: DefaultHasher,
}

/// Runs one seed.
pub(crate) fn run(seed: u64) -> Outcome {
    let mut run = ClusterRun::new(seed);
    let acts = 60 + run.net.pick(80);
    for _ in 0..acts {
        run.act();
        for _ in 0..run.net.pick(8) {
            if !run.net.step() {
                break;
            }
            run.read();
        }
    }
    run.converge();
    Outcome { trace: run.trace.finish(), tally: std::mem::take(&mut run.tally) }
}

fn rules() -> RoomRules {
    RoomRules {
        has_store: true,
        outlives_process: true,
        history: true,
        joined_have_host: false,
        ..support::settings::rules()
    }
}

fn user(at: usize) -> Identity {
    Identity::new(&format!("user {at}"), None, None, Roles::default())
}

/// The text of a message.
fn text_of(body: &str) -> String {
    body.trim_matches('"').to_owned()
}

impl ClusterRun {
    fn new(seed: u64) -> Self {
        let net = ClusterNetwork::new(NODES, rules(), Rng::from_seed(seed));
        let member = |at: usize| SimMember {
            node: at % NODES,
            connection: connection(at % NODES, at as u32, 0),
            stage: Stage::Out,
            epoch: "".into(),
            last: 0,
            ahead: BTreeSet::new(),
            doubtful: 0,
        };
        let mut run = Self {
            net,
            members: (0..MEMBERS).map(member).collect(),
            asked: BTreeMap::new(),
            next: 1,
            known: BTreeMap::new(),
            forked: BTreeSet::new(),
            acknowledged: BTreeSet::new(),
            undone: Vec::new(),
            history: None,
            tally: Coverage::default(),
            trace: DefaultHasher::new(),
        };
        run.settle();
        run
    }

    fn act(&mut self) {
        let member = self.net.pick(MEMBERS);
        match self.net.pick(40) {
            0..8 => self.enter(member),
            8..22 => self.send(member),
            22 => self.leave(member),
            23..26 => self.settle(),
            26..30 => {
                let ms = self.net.pick(800) as u64;
                self.advance(ms);
            }
            30 => self.advance(DEAD_MS),
            31 => {
                self.tally.count("missed publications");
                self.net.miss(member % NODES);
            }
            32 | 33 => {
                self.tally.count("cut off");
                self.net.cut(member % NODES);
            }
            34..37 => self.net.heal(member % NODES),
            37 if !self.net.is_frozen => self.net.freeze(),
            38 => self.fail_over(),
            _ => (0..NODES).for_each(|node| self.net.heal(node)),
        }
        self.read();
    }

    fn fail_over(&mut self) {
        let undone = self.net.promote();
        self.tally.count(if undone.is_empty() { "failover" } else { "failover that undoes calls" });
        self.undone.extend(undone);
        self.read();
    }

    fn ask(&mut self, node: usize, op: RoomOp, asked: Asked) {
        let from = Requester { shard: 0, ask: self.next };
        self.asked.insert(self.next, asked);
        self.next += 1;
        let mut out = Vec::new();
        self.net.nodes[node].owner.request(self.net.now, from, Op::Room(ROOM.into(), op), &mut out);
        self.net.take(node, out);
        self.read();
    }

    /// A client joins, or returns with another connection.
    fn enter(&mut self, at: usize) {
        let next = self.next;
        let member = &mut self.members[at];
        if !matches!(member.stage, Stage::Out | Stage::Lost) {
            return;
        }
        let (node, former) = (member.node, member.connection);
        member.connection = connection(node, at as u32, next);
        let join = JoinRoom {
            connection: member.connection,
            by: user(at),
            peer: Some(format!("peer {at}").as_str().into()),
            about: About::default(),
            media: MediaState::default(),
            create: true,
            rewind: 0,
        };
        let op = match member.stage {
            Stage::Lost => {
                let join = JoinRoom { create: false, ..join };
                RoomOp::Rejoin(Box::new(Returning { former, join, epoch: member.epoch.clone(), seq: member.last }))
            }
            _ => RoomOp::Join(Box::new(join)),
        };
        member.stage = Stage::Entering;
        self.ask(node, op, Asked::Enter(at));
    }

    fn leave(&mut self, at: usize) {
        let member = &mut self.members[at];
        if member.stage == Stage::Member {
            member.stage = Stage::Leaving;
            let (node, op) = (member.node, RoomOp::RemoveMember { connection: member.connection });
            self.ask(node, op, Asked::Leave(at));
        }
    }

    fn send(&mut self, at: usize) {
        let member = &self.members[at];
        if member.stage != Stage::Member {
            return;
        }
        let (node, connection, text) = (member.node, member.connection, format!("text {}", self.next));
        let content = Content {
            body: format!("\"{text}\"").into(),
            event: None,
            kind: None,
            reply_to: None,
            attachment: None,
            metadata: None,
        };
        let (publisher, to, client_message_id, revises, stream) = Default::default();
        let message = SendMessage { connection, publisher, to, content, client_message_id, revises, stream };
        self.ask(node, RoomOp::Send(Box::new(message)), Asked::Send { member: at, connection, text });
    }

    /// Reads what nodes have told their shards.
    fn read(&mut self) {
        while let Some((node, message)) = self.net.told.pop_front() {
            match message {
                ThreadMessage::Reply { ask, reply } => self.replied(ask, reply),
                ThreadMessage::Shard(ShardMessage::Publish { except, packed, .. }) if packed.seq > 0 => {
                    let (_, payload) = support::frame::parse_unmasked(&packed.raw).expect("a frame");
                    let message: serde_json::Value = serde_json::from_slice(&packed.raw[payload]).expect("JSON");
                    let text = message["content"].as_str().expect("a text").to_owned();
                    self.heard(node, except, packed.seq, &text);
                }
                ThreadMessage::Shard(ShardMessage::Close { .. }) => self.closed(node),
                ThreadMessage::Shard(ShardMessage::Reconnect { connection }) => {
                    self.tally.count("told to connect again");
                    for member in &mut self.members {
                        if member.connection == connection && member.stage == Stage::Member {
                            member.stage = Stage::Lost;
                        }
                    }
                }
                ThreadMessage::Shard(ShardMessage::Deliver { to, event: Event::Left { cause, .. } }) => {
                    // A former connection can still be a member when its client is back.
                    let is_present = |member: &SimMember| member.connection == to && member.stage == Stage::Member;
                    assert!(!self.members.iter().any(is_present), "a member of node {node} is removed: {cause:?}");
                }
                // Other events have no numbers that members check.
                _ => {}
            }
        }
    }

    /// The members of a node hear a message.
    fn heard(&mut self, node: usize, except: Option<ConnectionId>, seq: u64, text: &str) {
        self.trace.write(text.as_bytes());
        let hears = |member: &SimMember| {
            member.node == node && member.stage == Stage::Member && Some(member.connection) != except
        };
        let hearers: Vec<usize> = (0..MEMBERS).filter(|at| hears(&self.members[*at])).collect();
        for at in hearers {
            self.learn(at, seq, text);
        }
    }

    /// A member hears the next message.
    fn learn(&mut self, at: usize, seq: u64, text: &str) {
        let member = &mut self.members[at];
        // Numbers that are missing are those of its own messages, acknowledged or not.
        let skipped = (member.last + 1..seq).filter(|number| !member.ahead.contains(number)).count() as u64;
        let is_next = seq > member.last && skipped <= member.doubtful;
        assert!(is_next, "{member:?} hears {text:?} with number {seq}");
        member.doubtful -= skipped;
        member.advance(seq);
        let epoch = member.epoch.clone();
        self.note(epoch, seq, text);
    }

    /// A member learns the number of a message of its own.
    fn learn_own(&mut self, at: usize, seq: u64, text: &str) {
        let member = &mut self.members[at];
        assert!(seq > member.last, "{member:?} learns that {text:?} has number {seq}");
        match seq == member.last + 1 {
            true => member.advance(seq),
            false => drop(member.ahead.insert(seq)),
        }
        let epoch = member.epoch.clone();
        self.note(epoch, seq, text);
    }

    fn note(&mut self, epoch: Name, seq: u64, text: &str) {
        let before = self.known.insert((epoch.clone(), seq), text.to_owned());
        if before.is_some_and(|before| before != text) {
            // A node that had its first member in the time that a failover undoes is not awaited. Its report ends the epoch.
            self.tally.count("two messages of one number");
            self.forked.insert(epoch);
        }
    }

    /// The epoch of the room has ended: the members of a node are none any more.
    fn closed(&mut self, node: usize) {
        self.tally.count("epoch ended");
        for member in self.members.iter_mut().filter(|member| member.node == node) {
            if matches!(member.stage, Stage::Member | Stage::Leaving) {
                member.stage = Stage::Out;
            }
        }
    }

    fn replied(&mut self, ask: u32, reply: Result<Reply, Reject>) {
        match self.asked.remove(&ask).expect("one reply for each request") {
            Asked::Enter(at) => self.entered(at, reply),
            Asked::Leave(at) => {
                if self.members[at].stage == Stage::Leaving {
                    self.members[at].stage = Stage::Out;
                }
            }
            Asked::Send { member, connection, text } => self.sent(member, connection, &text, reply),
            Asked::History => {
                self.history = Some(reply.map(|reply| match reply {
                    Reply::History(history) => history.messages,
                    other => panic!("a history, not {other:?}"),
                }));
            }
        }
    }

    fn entered(&mut self, at: usize, reply: Result<Reply, Reject>) {
        let (joined, missed) = match reply {
            Ok(Reply::Joined(joined)) => (*joined, None),
            Ok(Reply::Returned(returned)) => {
                self.tally.count(if returned.recovered { "returned" } else { "returned without its messages" });
                (returned.joined, returned.recovered.then_some(returned.messages))
            }
            Ok(other) => panic!("a membership, not {other:?}"),
            Err(reject) => {
                self.tally.count("refused to enter");
                let is_retried =
                    matches!(reject.code, Code::StorageUnavailable | Code::RoomNotFound | Code::RoomClosed);
                assert!(is_retried, "{reject:?}");
                self.members[at].stage = Stage::Out;
                return;
            }
        };
        let member = &mut self.members[at];
        let was_in = (member.epoch.clone(), member.last);
        (member.stage, member.epoch, member.last) = (Stage::Member, joined.epoch.clone(), joined.seq);
        (member.doubtful, member.ahead) = (0, BTreeSet::new());
        // Its own messages count as known: the client has sent them.
        let Some(missed) = missed.filter(|_| was_in.0 == joined.epoch) else { return };
        let mut last = was_in.1;
        for message in missed {
            let seq = message.seq.expect("a number");
            assert!(last < seq && seq <= joined.seq, "{seq} follows {last}");
            last = seq;
            self.note(joined.epoch.clone(), seq, &text_of(&message.content.body));
        }
    }

    fn sent(&mut self, at: usize, connection: ConnectionId, text: &str, reply: Result<Reply, Reject>) {
        let is_member = self.members[at].connection == connection && self.members[at].stage == Stage::Member;
        match reply {
            Ok(Reply::Sent(sent)) => {
                self.tally.count("acknowledged");
                self.acknowledged.insert(text.to_owned());
                if is_member {
                    self.learn_own(at, sent.seq.expect("a number"), text);
                }
            }
            Ok(other) => panic!("a receipt, not {other:?}"),
            Err(reject) => {
                self.tally.count("not acknowledged");
                let is_known = matches!(reject.code, Code::StorageUnavailable | Code::NotInRoom | Code::RoomNotFound);
                assert!(is_known, "{reject:?}");
                self.members[at].doubtful += u64::from(is_member);
            }
        }
    }

    fn settle(&mut self) {
        self.net.settle();
        self.read();
    }

    fn advance(&mut self, ms: u64) {
        self.net.advance(ms);
        self.read();
    }

    /// All is well again: everyone enters, one says something, and everyone has it.
    fn converge(&mut self) {
        (0..NODES).for_each(|node| self.net.heal(node));
        for _ in 0..20 {
            self.settle();
            self.advance(2_000);
            (0..MEMBERS).for_each(|at| self.enter(at));
        }
        self.settle();
        self.advance(1_000);
        let out: Vec<&SimMember> = self.members.iter().filter(|member| member.stage != Stage::Member).collect();
        assert!(out.is_empty(), "not back: {out:?}");
        self.send(0);
        self.settle();
        self.advance(1_000);
        let epochs: BTreeSet<&Name> = self.members.iter().map(|member| &member.epoch).collect();
        let last_of = |member: &SimMember| member.ahead.last().map_or(member.last, |own| member.last.max(*own));
        let last: BTreeSet<u64> = self.members.iter().map(last_of).collect();
        assert_eq!((epochs.len(), last.len()), (1, 1), "{:?}", self.members);
        assert!(!self.forked.contains(&self.members[0].epoch), "{} goes on", self.members[0].epoch);
        assert!(self.asked.is_empty(), "{} requests without a reply", self.asked.len());
        self.check_log();
    }

    /// The log has every acknowledged message once, under the number that members know.
    fn check_log(&mut self) {
        let mut log: Vec<Message> = Vec::new();
        loop {
            let wanted =
                HistoryRange { after: Some(log.last().and_then(|message| message.seq).unwrap_or(0)), limit: 50 };
            self.ask(0, RoomOp::ReadHistory { connection: Some(self.members[0].connection), wanted }, Asked::History);
            self.settle();
            let part = self.history.take().expect("an answer").expect("a history");
            if part.is_empty() {
                break;
            }
            log.extend(part);
        }
        let mut texts = BTreeSet::new();
        let mut last = 0;
        for message in &log {
            let (seq, text) = (message.seq.expect("a number"), text_of(&message.content.body));
            assert_eq!(seq, last + 1, "the log has no gap");
            last = seq;
            assert!(texts.insert(text.clone()), "{text:?} is there twice");
            if let Some(known) = self.known.get(&(self.members[0].epoch.clone(), seq)) {
                assert_eq!(*known, text, "message {seq}");
            }
        }
        let is_undone = |text: &str| self.undone.iter().any(|arguments| arguments.contains(&format!("\\\"{text}\\\"")));
        let missing: Vec<&String> = self.acknowledged.difference(&texts).filter(|text| !is_undone(text)).collect();
        assert!(missing.is_empty(), "acknowledged and lost: {missing:?} of {}", self.acknowledged.len());
    }
}

/// The connection of this number at a node, the `times`-th one of its client.
fn connection(node: usize, number: u32, times: u32) -> ConnectionId {
    let mut nonce = [0; 12];
    nonce[..4].copy_from_slice(&times.to_be_bytes());
    ConnectionId::new(ConnectionPlace { node: node as u16, shard: 0, slot: number }, nonce)
}
