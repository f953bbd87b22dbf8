//! A Redis and some nodes, and what their shards are told.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use switchboard::base::Name;
use switchboard::base::ids::{ConnectionId, ConnectionPlace};
use switchboard::base::time::Now;
use switchboard::domain::about::About;
use switchboard::domain::access::{Identity, Roles};
use switchboard::domain::command::MediaState;
use switchboard::domain::connection_mode::ModeRules;
use switchboard::domain::event::{Content, Event};
use switchboard::domain::op::{JoinRoom, Op, Reply, RoomOp, RoomRules, Scope, UserOp};
use switchboard::domain::presence::DisconnectKind;
use switchboard::domain::quota::{QuotaGrant, Rates};
use switchboard::domain::reject::Reject;
use switchboard::message::redis::RedisState;
use switchboard::message::{
    Outgoing, OwnerMessage, PresenceUpdate, Requester, ShardMessage, ThreadMessage, UpdateReach,
};
use switchboard::owner::redis::{KeySchema, RedisSettings};

use support::redis::RedisServer;
use support::redis_node::Node;

pub(crate) const GRACE_MS: u64 = 3_000;

/// What users may do in a minute.
pub(crate) const RATES: Rates = Rates { messages: 100, typing: 10, rest: 0 };

pub(crate) fn rules() -> RoomRules {
    RoomRules {
        announce_limit: 500,
        max_participants: 0,
        joined_have_host: true,
        has_store: true,
        outlives_process: true,
        history: false,
        keep_ms: 0,
        stream_idle_ms: 60_000,
        presence_grace_ms: GRACE_MS,
        presence_scope: Scope::All,
        connections_per_user: 3,
        rooms_per_user: 0,
        signal_bytes: 0,
        mode: ModeRules::OFF,
        direct_bytes: 0,
        rest_per_minute: 4,
        hooks: switchboard::domain::hook::HookKinds::NONE,
    }
}

/// The connection of this number, on this node.
pub(crate) fn id(node: u16, number: u32) -> ConnectionId {
    let mut nonce = [0; 12];
    nonce[..4].copy_from_slice(&number.to_be_bytes());
    ConnectionId::new(ConnectionPlace { node, shard: 0, slot: number }, nonce)
}

pub(crate) fn who(user: &str) -> Identity {
    let roles = Roles { guest: user.starts_with("guest"), admin: user.starts_with("root"), push: false };
    Identity::new(user, Some(&format!("Name of \"{user}\"")), Some("a/b@c"), roles)
}

pub(crate) fn content(text: &str) -> Content {
    let body = format!("\"{text}\"").into();
    Content { body, event: None, kind: None, reply_to: None, attachment: None, metadata: None }
}

/// What a shard is told, as far as it can be compared.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Heard {
    /// User, status, last seen, but for whom, by which way.
    PresenceUpdate(Name, &'static str, u64, Option<ConnectionId>, String),
    /// A message that is kept; for whom, and what.
    Hand(ConnectionId, Name, String),
    /// A message that is not.
    Tell(ConnectionId, String),
}

impl Heard {
    /// The content of a message; `None` for replies.
    pub(crate) fn of(message: &ThreadMessage) -> Option<Self> {
        match message {
            ThreadMessage::Shard(ShardMessage::PresenceUpdate { reach, update }) => {
                Some(Self::presence(format!("{reach:?}"), update))
            }
            ThreadMessage::Owner(OwnerMessage::RoomPresence { room, update }) => {
                Some(Self::presence(format!("Room({room:?})"), update))
            }
            ThreadMessage::Shard(ShardMessage::DeliverDurable { to, user, direct }) => {
                Some(Self::Hand(*to, user.clone(), direct.content.body.to_string()))
            }
            ThreadMessage::Shard(ShardMessage::Deliver { to, event: Event::Direct(direct) }) => {
                Some(Self::Tell(*to, direct.content.body.to_string()))
            }
            // What goes on in rooms is of no interest here, nor is the list of revocations that a node reads when it starts.
            ThreadMessage::Reply { .. }
            | ThreadMessage::Shard(
                ShardMessage::Publish { .. } | ShardMessage::Deliver { .. } | ShardMessage::Revocation(_),
            ) => None,
            other => panic!("nobody should be told {other:?}"),
        }
    }

    fn presence(reach: String, update: &PresenceUpdate) -> Self {
        let event = update.packed.for_peers.as_ref().expect("it is for everybody").event();
        let Event::Presence { by, status, last_seen } = event else { panic!("{event:?}") };
        assert_eq!(by.user(), &*update.user);
        Self::PresenceUpdate(update.user.clone(), status.as_str(), *last_seen, update.except, reach)
    }
}

/// See the module.
pub(crate) struct World {
    pub(crate) now: Now,
    pub(crate) nodes: Vec<Node>,
    /// What each node's shard was told, without answers.
    pub(crate) heard: Vec<Vec<Heard>>,
    answers: Vec<Result<Reply, Reject>>,
    /// What shards were told of allowances: by node.
    pub(crate) notices: VecDeque<(usize, u8, QuotaGrant)>,
    /// Messages that were handed over and that nobody has confirmed: node, user, id.
    pub(crate) handed: Vec<(usize, Name, uuid::Uuid)>,
    /// The number of the last news of each user.
    numbers: BTreeMap<(usize, Name), u64>,
    /// The rooms that connections are in, as their shards know.
    pub(crate) rooms: BTreeMap<ConnectionId, Vec<Name>>,
    pub(crate) server: Arc<RedisServer>,
}

impl World {
    pub(crate) fn new(nodes: usize, rules: RoomRules) -> Self {
        Self::beside(Arc::new(RedisServer::start()), nodes, rules, "test")
    }

    /// With a Redis that is there already.
    pub(crate) fn beside(server: Arc<RedisServer>, nodes: usize, rules: RoomRules, prefix: &str) -> Self {
        let rules = Arc::new(rules);
        let node = |node: usize| {
            let settings = RedisSettings {
                node: node as u16,
                name: "test".into(),
                shards: 1,
                prefix: prefix.into(),
                sharded: prefix == "sharded",
                rates: RATES,
                keep_messages: 0,
                resting_rooms: 0,
                emitters: Default::default(),
            };
            Node::new(&server, settings, rules.clone(), node as u64)
        };
        let mut world = Self {
            now: Now { mono: 1_000, wall: 1_750_000_000_000 },
            nodes: (0..nodes).map(node).collect(),
            heard: vec![Vec::new(); nodes],
            answers: Vec::new(),
            notices: VecDeque::new(),
            handed: Vec::new(),
            numbers: BTreeMap::new(),
            rooms: BTreeMap::new(),
            server: server.clone(),
        };
        let keys = KeySchema::new(prefix);
        for at in 0..nodes {
            let mut out = Vec::new();
            world.nodes[at].set_state(world.now, RedisState::Ready, &mut out);
            world.nodes[at].follow(world.now, &keys.everyone(), &mut out);
            world.nodes[at].follow(world.now, &keys.node(at as u16), &mut out);
            world.note(at, out);
        }
        world.settle();
        world
    }

    /// Has everything done and heard that is to be done and heard now.
    pub(crate) fn settle(&mut self) {
        loop {
            let mut was_busy = false;
            for at in 0..self.nodes.len() {
                let mut out = Vec::new();
                was_busy |= self.nodes[at].settle(self.now, &mut out);
                self.note(at, out);
            }
            if !was_busy {
                return;
            }
        }
    }

    pub(crate) fn note(&mut self, at: usize, out: Vec<Outgoing>) {
        for (shard, message) in out {
            if let ThreadMessage::Shard(ShardMessage::QuotaGrant(notice)) = message {
                self.notices.push_back((at, shard, notice));
                continue;
            }
            assert_eq!(shard, 0);
            self.heard[at].extend(Heard::of(&message));
            match message {
                ThreadMessage::Reply { reply, .. } => self.answers.push(reply),
                ThreadMessage::Shard(ShardMessage::DeliverDurable { user, direct, .. }) => {
                    self.handed.push((at, user, direct.id))
                }
                ThreadMessage::Shard(ShardMessage::PresenceUpdate { reach: UpdateReach::Around(of), update }) => {
                    // As the connection's shard does.
                    let mut out = Vec::new();
                    for room in self.rooms.get(&of).cloned().unwrap_or_default() {
                        let message = OwnerMessage::RoomPresence { room, update: update.clone() };
                        self.nodes[at].handle(self.now, message, &mut out);
                    }
                    assert!(out.is_empty());
                }
                ThreadMessage::Shard(ShardMessage::PresenceUpdate { reach: UpdateReach::Everyone, update }) => {
                    let last = self.numbers.insert((at, update.user.clone()), update.number);
                    assert!(last < Some(update.number), "{update:?} after {last:?}");
                }
                _ => {}
            }
        }
    }

    /// Asks a node something, and waits for the answer and for all that comes of it.
    pub(crate) fn ask(&mut self, at: usize, op: Op) -> Result<Reply, Reject> {
        let mut out = Vec::new();
        self.nodes[at].ask(self.now, Requester { shard: 0, ask: 7 }, op, &mut out);
        self.note(at, out);
        self.settle();
        assert_eq!(self.answers.len(), 1, "{:?}", self.answers);
        self.answers.pop().expect("an answer")
    }

    pub(crate) fn user(&mut self, at: usize, user: &str, op: UserOp) -> Result<Reply, Reject> {
        self.ask(at, Op::User(user.into(), op))
    }

    pub(crate) fn attach(&mut self, node: usize, user: &str, number: u32) -> Result<Reply, Reject> {
        let connection = id(node as u16, number);
        self.user(node, user, UserOp::Attach { connection, by: who(user), socket: None })
    }

    pub(crate) fn detach(
        &mut self,
        node: usize,
        user: &str,
        number: u32,
        parting: DisconnectKind,
    ) -> Result<Reply, Reject> {
        let connection = id(node as u16, number);
        self.user(node, user, UserOp::Detach { connection, parting, rooms: Vec::new() })
    }

    /// A connection becomes a member of a room, as its shard sees to it.
    pub(crate) fn join(&mut self, node: usize, user: &str, number: u32, room: &str) {
        let connection = id(node as u16, number);
        let join = JoinRoom {
            connection,
            by: who(user),
            peer: None,
            about: About::default(),
            media: MediaState::default(),
            create: true,
            rewind: 0,
        };
        let joined = self.ask(node, Op::Room(room.into(), RoomOp::Join(Box::new(join))));
        assert!(matches!(joined, Ok(Reply::Joined(_))), "{joined:?}");
        self.rooms.entry(connection).or_default().push(room.into());
        let introduced = self.user(node, user, UserOp::AnnounceIn { connection, room: room.into() });
        assert!(matches!(introduced, Ok(Reply::Done)), "{introduced:?}");
    }

    /// A user is sent a message.
    pub(crate) fn send(&mut self, at: usize, user: &str, text: &str) -> Result<Reply, Reject> {
        self.user(at, user, UserOp::Send { by: who("bob"), content: Box::new(content(text)) })
    }

    /// A connection has what was handed to it.
    pub(crate) fn confirm(&mut self) {
        while !self.handed.is_empty() {
            for (at, user, id) in std::mem::take(&mut self.handed) {
                let message = OwnerMessage::DurableDelivered { user, id };
                self.nodes[at].handle(self.now, message, &mut Vec::new());
            }
            self.settle();
        }
    }

    /// Lets time pass, with all that falls due in it.
    pub(crate) fn pass(&mut self, ms: u64) {
        let end = self.now.plus(ms);
        loop {
            let due = self.nodes.iter().filter_map(|node| node.authority.next_due()).min();
            let Some(due) = due.filter(|due| *due <= end.mono) else { break };
            self.now = self.now.plus(due.saturating_sub(self.now.mono));
            self.tick();
        }
        self.now = end;
        self.tick();
    }

    fn tick(&mut self) {
        for at in 0..self.nodes.len() {
            let mut out = Vec::new();
            self.nodes[at].authority.tick(self.now, &mut out);
            self.note(at, out);
        }
        self.settle();
    }

    /// What was heard since the last time, by each node.
    pub(crate) fn take_heard(&mut self) -> Vec<Vec<Heard>> {
        let nodes = self.nodes.len();
        std::mem::replace(&mut self.heard, vec![Vec::new(); nodes])
    }
}
