//! The same acts on users and sessions, chosen at random, on the authority of one process and on nodes that share a Redis:
//! every answer and everything that anybody is told must be the same.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_channel::{Receiver, unbounded};
use switchboard::base::Name;
use switchboard::base::limits;
use switchboard::base::rng::Rng;
use switchboard::base::time::Now;
use switchboard::domain::about::About;
use switchboard::domain::access::{Identity, Roles};
use switchboard::domain::command::{MediaState, Status};
use switchboard::domain::event::Direct;
use switchboard::domain::op::{Op, Reply, RoomRules, Scope, UserOp};
use switchboard::domain::presence::DisconnectKind;
use switchboard::domain::record::{Position, Session, TokenHash};
use switchboard::domain::recovery::SessionOp;
use switchboard::domain::reject::Reject;
use switchboard::message::storage::{StorageCommand, StorageEvent};
use switchboard::message::{Placement, Requester, ShardMessage, ThreadMessage};
use switchboard::owner::embedded::EmbeddedOwner;
use switchboard::runtime::storage::{
    Durability, MemoryBounds, OnDamage, Storage, StorageLocation, StorageOptions, open,
};
use uuid::Uuid;

use crate::world::{Heard, World, content, id, rules, who};
use support::client::PATIENCE;
use support::redis::RedisServer;

/// Acts in one sequence; then all begins anew.
const ACTS: usize = 500;

const NODES: usize = 2;
const ROOMS: [&str; 3] = ["r0", "r1", "r2"];
const USERS: [&str; 5] = ["ann", "bob \"b\" {x}/%", "root", "guest:1", "nobody"];

/// Connections there may be; each is always the same user's, on the same node.
const CONNECTIONS: u32 = 16;

fn user_of(connection: u32) -> &'static str {
    USERS[connection as usize % 4]
}

fn node_of(connection: u32) -> usize {
    connection as usize / 4 % NODES
}

/// The authority of one process, with a store in memory.
struct OneProcess {
    authority: EmbeddedOwner,
    storage: Storage,
    told: Receiver<StorageEvent>,
    wall: Arc<AtomicU64>,
    handed: Vec<(Name, Uuid)>,
    heard: Vec<Heard>,
    answers: Vec<Result<Reply, Reject>>,
}

impl OneProcess {
    fn new(rules: RoomRules, now: Now) -> Self {
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
        let placement = Placement::Embedded { shards: 1 };
        let authority = EmbeddedOwner::new(0, Arc::new(rules), placement, Rng::from_seed(1));
        Self { authority, storage, told, wall, handed: Vec::new(), heard: Vec::new(), answers: Vec::new() }
    }

    /// Does something, and all that comes of it.
    fn act(&mut self, now: Now, act: impl FnOnce(&mut EmbeddedOwner, &mut Vec<(u8, ThreadMessage)>)) {
        self.wall.store(now.wall, Ordering::SeqCst);
        let mut out = Vec::new();
        act(&mut self.authority, &mut out);
        let store = self.storage.handle();
        loop {
            let mut awaited = 0;
            for order in self.authority.storage_commands(now).collect::<Vec<_>>() {
                awaited += 1;
                match order {
                    StorageCommand::Commit(batch) => store.submit(batch),
                    StorageCommand::Query { from, query } => store.query(from, query),
                }
            }
            if awaited == 0 {
                break;
            }
            while awaited > 0 {
                let told = self.told.recv_timeout(PATIENCE).expect("the store answers");
                awaited -= usize::from(!matches!(told, StorageEvent::State(_) | StorageEvent::RoomExpired(_)));
                self.authority.handle_storage_event(now, told, &mut out);
            }
        }
        for (_, message) in out {
            self.heard.extend(Heard::of(&message));
            match message {
                ThreadMessage::Reply { reply, .. } => self.answers.push(reply),
                ThreadMessage::Shard(ShardMessage::DeliverDurable { user, direct, .. }) => {
                    self.handed.push((user, direct.id))
                }
                _ => {}
            }
        }
    }

    fn ask(&mut self, now: Now, op: Op) -> Result<Reply, Reject> {
        self.act(now, |authority, out| authority.request(now, Requester { shard: 0, ask: 7 }, op, out));
        assert_eq!(self.answers.len(), 1, "{:?}", self.answers);
        self.answers.pop().expect("an answer")
    }

    /// Connections have what was handed to them.
    fn confirm(&mut self, now: Now) {
        for (user, id) in std::mem::take(&mut self.handed) {
            self.act(now, |authority, _| authority.acknowledge(&user, id));
        }
    }
}

/// An answer in words that can be compared: a message's id is each side's own.
fn words(reply: &Result<Reply, Reject>) -> String {
    match reply {
        Ok(Reply::Sent(sent)) => format!("sent at {}", sent.at),
        other => format!("{other:?}"),
    }
}

/// What each node is to hear, by what one process says. Rooms are told by the room's home there, and here by each node
/// that has members in them.
fn expected(heard: Vec<Heard>) -> Vec<Vec<Heard>> {
    let mut nodes = vec![Vec::new(); NODES];
    for heard in heard {
        match heard {
            Heard::PresenceUpdate(user, status, at, except, reach) => {
                let own = (0..CONNECTIONS).map(|number| id(node_of(number) as u16, number));
                let own = own.into_iter().find(|id| reach == format!("Around({id:?})")).map(|id| id.place().node);
                let reach = reach.replace("Room(", "Members(");
                let heard = Heard::PresenceUpdate(user, status, at, except, reach);
                let told = nodes.iter_mut().enumerate();
                told.filter(|(node, _)| own.is_none_or(|own| usize::from(own) == *node))
                    .for_each(|(_, told)| told.push(heard.clone()));
            }
            Heard::Hand(to, ..) | Heard::Tell(to, _) => nodes[usize::from(to.place().node)].push(heard),
        }
    }
    nodes
}

struct Both {
    rng: Rng,
    one: OneProcess,
    many: World,
    attached: BTreeSet<u32>,
    /// Connections that sessions are of, each with when it was used up.
    sessions: [(u32, Option<u64>); 4],
    acts: Vec<String>,
}

impl Both {
    fn below(&mut self, bound: u64) -> u64 {
        self.rng.below(bound)
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }

    fn rooms(&mut self) -> Vec<Name> {
        ROOMS.iter().filter(|_| self.rng.below(3) == 0).map(|room| (*room).into()).collect()
    }

    /// An act on a user, twice, and the node it is asked at.
    fn user_op(&mut self) -> (usize, &'static str, [UserOp; 2]) {
        let connection = self.below(CONNECTIONS.into()) as u32;
        let (user, node) = (user_of(connection), node_of(connection));
        let connection_id = id(node as u16, connection);
        if self.below(2) == 0 {
            // Mostly they come and go.
            if self.attached.insert(connection) {
                let socket = (self.below(3) == 0).then(|| Name::from(self.pick(&["s1", "s2", "s3"])));
                let op = || UserOp::Attach { connection: connection_id, by: who(user), socket: socket.clone() };
                return (node, user, [op(), op()]);
            }
            self.attached.remove(&connection);
            let parting = self.pick(&[DisconnectKind::Lost, DisconnectKind::Lost, DisconnectKind::Clean]);
            let rooms = self.rooms();
            let op = || UserOp::Detach { connection: connection_id, parting, rooms: rooms.clone() };
            return (node, user, [op(), op()]);
        }
        let (node, user) = (self.below(NODES as u64) as usize, self.pick(&USERS));
        (node, user, self.other_op(user))
    }

    fn other_op(&mut self, user: &'static str) -> [UserOp; 2] {
        let number = self.below(1_000_000);
        let by = who(self.pick(&USERS));
        let its: Vec<u32> = self.attached.iter().copied().filter(|it| user_of(*it) == user).collect();
        let own = (!its.is_empty()).then(|| self.pick(&its)).map(|it| id(node_of(it) as u16, it));
        let kind = self.below(10);
        let socket = Name::from(self.pick(&["s1", "s2", "s3"]));
        let room = Name::from(self.pick(&ROOMS));
        let status = self.pick(&[Status::Online, Status::Away, Status::Busy, Status::Offline]);
        let at = self.many.now.wall;
        let last_seen = self.pick(&[None, Some(at - number % 10_000), Some(at + number % 10_000)]);
        let op = || match kind {
            0 => UserOp::SetStatus { status, last_seen, by: own },
            1 => UserOp::Send { by: by.clone(), content: Box::new(content(&number.to_string())) },
            2 => {
                let id = Uuid::from_u128(number.into());
                let direct = Direct {
                    is_pushed: true,
                    except: None,
                    id,
                    sender: by.clone(),
                    content: content(&number.to_string()),
                    at: number,
                };
                UserOp::Push { direct: Arc::new(direct), keep: false }
            }
            3 => UserOp::ListConnections,
            4 | 5 => UserOp::Describe { by: by.clone() },
            6 => UserOp::RegisterSocket {
                socket: socket.clone(),
                device: (!number.is_multiple_of(3)).then(|| format!("[{number}]").into()),
            },
            7 => UserOp::UnregisterSocket { socket: socket.clone() },
            8 => UserOp::SpendRestQuota { per_minute: 4 },
            _ => match own {
                Some(connection) => UserOp::AnnounceIn { connection, room: room.clone() },
                None => UserOp::ListConnections,
            },
        };
        [op(), op()]
    }

    fn session_op(&mut self) -> (usize, Op, Op) {
        let at = self.below(4) as usize;
        let (mut connection, used_at) = self.sessions[at];
        if used_at.is_some_and(|used_at| used_at + limits::SESSION_TAKEN_MS <= self.many.now.wall) {
            // It is forgotten that it was used up, and nobody has such a connection by then.
            connection += 4;
            self.sessions[at] = (connection, None);
        }
        let token = TokenHash([connection as u8; 32]);
        let ends = self.below(100_000);
        let session = Session {
            dialect: 0,
            token,
            user: user_of(connection).into(),
            connection: id(0, connection),
            connected_at: self.below(99),
            active_at: self.below(99),
            expires_at: (ends > 50_000).then_some(self.many.now.wall + ends),
            rooms: vec![Position {
                since: None,
                room: "r".into(),
                epoch: "e".into(),
                seq: self.below(99),
                peer: None,
                about: About::new(Some("D"), Some("{\"a\":1}"), true),
                media: MediaState::default(),
            }],
        };
        let kind = self.below(5);
        let by = if self.below(3) == 0 { "somebody" } else { user_of(connection) };
        let by = Identity::new(by, None, None, Roles::default());
        if kind > 1 {
            self.sessions[at].1.get_or_insert(self.many.now.wall);
        }
        let op = || match kind {
            0 | 1 => SessionOp::Save(Box::new(session.clone())),
            2 | 3 => SessionOp::Take { token, by: by.clone() },
            _ => SessionOp::Delete { token },
        };
        let op = || Op::Session(id(0, connection), Box::new(op()));
        (self.below(NODES as u64) as usize, op(), op())
    }

    fn act(&mut self) {
        match self.below(12) {
            0 => {
                let ms = self.pick(&[1, 700, 1_500, 3_000, 20_000, 61_000]);
                self.acts.push(format!("{ms} ms pass"));
                self.pass(ms);
            }
            1 => {
                let (node, op, same) = self.session_op();
                self.ask(node, op, same);
            }
            _ => {
                let (node, user, [op, same]) = self.user_op();
                self.ask(node, Op::User(user.into(), op), Op::User(user.into(), same));
            }
        }
        self.compare();
    }

    fn ask(&mut self, node: usize, op: Op, same: Op) {
        self.acts.push(format!("at {node}: {op:?}"));
        let attaches = match &op {
            Op::User(_, UserOp::Attach { connection, .. }) => Some(connection.place().slot),
            _ => None,
        };
        let (one, many) = (self.one.ask(self.many.now, op), self.many.ask(node, same));
        if let Some(connection) = attaches.filter(|_| one.is_err()) {
            self.attached.remove(&connection);
        }
        assert_eq!(words(&one), words(&many), "{}", self.story());
        self.one.confirm(self.many.now);
        self.many.confirm();
    }

    /// Lets time pass: each thing that falls due happens at its time, on both sides.
    fn pass(&mut self, ms: u64) {
        let end = self.many.now.plus(ms);
        loop {
            let dues = self.many.nodes.iter().filter_map(|node| node.authority.next_due());
            let due = dues.chain(self.one.authority.next_due()).min();
            let now = match due.filter(|due| *due < end.mono) {
                Some(due) => self.many.now.plus(due.saturating_sub(self.many.now.mono)),
                None => end,
            };
            self.many.pass(now.mono - self.many.now.mono);
            self.one.act(now, |authority, out| authority.tick(now, out));
            if now == end {
                return;
            }
        }
    }

    fn compare(&mut self) {
        let sorted = |mut heard: Vec<Heard>| {
            heard.sort();
            heard
        };
        let expected = expected(std::mem::take(&mut self.one.heard));
        for (node, (one, many)) in expected.into_iter().zip(self.many.take_heard()).enumerate() {
            assert_eq!(sorted(one), sorted(many), "node {node}: {}", self.story());
        }
    }

    fn story(&self) -> String {
        let from = self.acts.len().saturating_sub(60);
        self.acts[from..].join("\n")
    }
}

fn play(scope: Scope, grace_ms: u64, sequences: u64) {
    let server = Arc::new(RedisServer::start());
    for seed in 0..sequences {
        let rules = RoomRules { presence_scope: scope, presence_grace_ms: grace_ms, ..rules() };
        let mut many = World::beside(server.clone(), NODES, rules.clone(), &format!("run-{seed}"));
        for node in 0..NODES {
            // Somebody on each node hears what rooms are told.
            let number = 100 + node as u32;
            many.attach(node, "watcher", number).expect("they come");
            ROOMS.into_iter().for_each(|room| many.join(node, "watcher", number, room));
        }
        many.rooms = BTreeMap::new();
        many.take_heard();
        let one = OneProcess::new(rules, many.now);
        let rng = Rng::from_seed(seed);
        let (attached, sessions) = (BTreeSet::new(), [0, 1, 2, 3].map(|connection| (connection, None)));
        let mut both = Both { rng, one, many, attached, sessions, acts: vec![format!("seed {seed}")] };
        (0..ACTS).for_each(|_| both.act());
        both.many.server.command(&["FLUSHALL"]);
    }
}

#[test]
fn owners_agree_with_presence_for_everyone() {
    play(Scope::All, 3_000, 55);
}

#[test]
fn owners_agree_with_presence_for_rooms() {
    play(Scope::Rooms, 3_000, 55);
}

#[test]
fn owners_agree_without_grace_period() {
    play(Scope::Auto, 0, 20);
}
