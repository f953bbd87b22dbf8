//! State that all components of a node's Redis owner use, and the acts they share: calls, deadlines, replies, encoding.

use std::collections::BTreeSet;
use std::sync::Arc;

use smallvec::smallvec;

use crate::base::Name;
use crate::base::rng::Rng;
use crate::base::time::Now;
use crate::domain::connection_mode::ModeRules;
use crate::domain::event::Event;
use crate::domain::op::{Reply, RoomRules, Scope};
use crate::domain::reject::Reject;
use crate::message::redis::{Bytes, RedisCommand, RedisState, Script, ScriptCall};
use crate::message::{Outgoing, Requester, ShardMessage, ShardNumber, ThreadMessage};
use crate::owner::redis::RedisSettings;
use crate::owner::redis::calls::{CallPurpose, Calls, REPLY_MS};
use crate::owner::redis::cluster::ClusterCall;
use crate::owner::redis::cluster::emitters::Emitters;
use crate::owner::redis::cluster::membership::{self, NodeLease};
use crate::owner::redis::cluster::registry::Registry;
use crate::owner::redis::deadlines::{Deadline, Deadlines};
use crate::owner::redis::directory::LocalUsers;
use crate::owner::redis::rooms::commands::RoomCall;
use crate::owner::redis::schema::{KeySchema, SHARDED_PUBLISH};
use crate::owner::redis::scripts;
use crate::owner::redis::users::UserCall;
use crate::owner::redis::wire::{number, text};

/// Number of users up to which `presence.scope = "auto"` sends presence to everyone.
const PRESENCE_TO_ALL_MAX: usize = 5_000;

/// The state of this node that all components use.
pub(super) struct NodeState {
    pub(super) settings: RedisSettings,
    pub(super) rules: Arc<RoomRules>,
    pub(super) keys: KeySchema,
    pub(super) rng: Rng,
    pub(super) calls: Calls,
    pub(super) deadlines: Deadlines,
    /// The users with connections here.
    pub(super) directory: LocalUsers,
    /// The rooms and users to record in Redis.
    pub(super) registry: Registry,
    /// This node's lease, and the other nodes.
    pub(super) lease: NodeLease,
    pub(super) redis: RedisState,
    /// Whether Redis answers, but rejects writes.
    pub(super) is_read_only: bool,
    /// Whether there has been a message about a namespace of the application.
    pub(super) has_apps: bool,
    /// Other programs that act on namespaces of the application.
    pub(super) emitters: Emitters,
    /// Buffer for encoding events; empty between uses.
    pub(super) encode_buffer: Vec<u8>,
}

impl NodeState {
    /// The state at the start, before Redis has answered.
    pub(super) fn new(mut settings: RedisSettings, rules: Arc<RoomRules>, rng: Rng, seed: u64) -> Self {
        assert!(settings.shards > 0, "invariant: a node has shards");
        let emitters = Emitters::new(std::mem::take(&mut settings.emitters));
        Self {
            keys: KeySchema::new(&settings.prefix),
            settings,
            rules,
            rng,
            calls: Calls::default(),
            deadlines: Deadlines::default(),
            directory: LocalUsers::new(seed),
            registry: Registry::default(),
            lease: NodeLease::default(),
            redis: RedisState::Unreachable,
            is_read_only: false,
            has_apps: false,
            emitters,
            encode_buffer: Vec::new(),
        }
    }

    /// Whether Redis can be asked to record changes of the registry.
    pub(super) fn is_writable(&self) -> bool {
        self.redis != RedisState::Unreachable && !self.is_read_only
    }

    /// Number of users on all nodes, as far as the others have reported. A user on several nodes counts for each.
    fn user_count(&self) -> usize {
        self.directory.len() + self.lease.users_elsewhere()
    }

    /// Whether everyone receives presence, and not only users with a common room.
    pub(super) fn presence_reaches_all(&self) -> bool {
        match self.rules.presence_scope {
            Scope::Auto => self.user_count() <= PRESENCE_TO_ALL_MAX,
            Scope::All => true,
            Scope::Rooms | Scope::None => false,
        }
    }

    /// The audience of presence, as scripts name it: everyone, rooms, or none.
    pub(super) fn presence_audience(&self) -> &'static str {
        match self.rules.presence_scope {
            Scope::None => "n",
            _ if self.presence_reaches_all() => "e",
            _ => "r",
        }
    }

    /// The rules of rooms, as scripts take them.
    pub(super) fn room_rules(&self) -> Bytes {
        let RoomRules { announce_limit, max_participants, history, keep_ms, mode, stream_idle_ms, .. } = &*self.rules;
        let (keeps, most) = (u8::from(*history), self.settings.keep_messages);
        let ModeRules { is_on, p2p_max, return_ms } = mode;
        let has_modes = u8::from(*is_on);
        let hooks = match self.rules.hooks.bits() {
            0 => String::new(),
            bits => format!(",{bits}"),
        };
        text(format!(
            "{announce_limit},{max_participants},{keeps},{most},{keep_ms},{has_modes},{p2p_max},{return_ms},\
            {stream_idle_ms}{hooks}"
        ))
    }

    /// Nodes that can answer a query: this one, and the live ones while Redis answers.
    pub(super) fn reachable_nodes(&self) -> BTreeSet<u16> {
        let others = self.lease.alive().filter(|_| self.redis != RedisState::Unreachable);
        others.chain([self.settings.node]).collect()
    }
}

/// One input of the owner: its time, the node's state, and the messages for shards that it leads to.
pub(super) struct OwnerTurn<'a> {
    pub(super) now: Now,
    pub(super) node: &'a mut NodeState,
    pub(super) out: &'a mut Vec<Outgoing>,
}

impl OwnerTurn<'_> {
    pub(super) fn own_node(&self) -> u16 {
        self.node.settings.node
    }

    pub(super) fn shards(&self) -> std::ops::Range<ShardNumber> {
        0..self.node.settings.shards as ShardNumber
    }

    /// Calls a script with its own arguments. The first three are the same for all: time, caller, and server.
    pub(super) fn call(
        &mut self,
        script: &'static Script,
        key: Bytes,
        to: Option<Requester>,
        purpose: CallPurpose,
        arguments: impl IntoIterator<Item = Bytes>,
    ) {
        let Self { now, node, .. } = self;
        if !node.calls.has_pending() {
            node.deadlines.add(now.mono + REPLY_MS, Deadline::Calls);
        }
        let ticket = node.calls.register(now.mono, to, purpose);
        let server = if node.settings.sharded { SHARDED_PUBLISH } else { "" };
        let head = [now.wall.to_string(), format!("{}:{ticket}", node.settings.node), server.to_owned()];
        let arguments: Vec<Bytes> = head.into_iter().map(|text| text.into_bytes().into()).chain(arguments).collect();
        debug_assert!(arguments.len() > ScriptCall::SERVER, "invariant: a call has the argument of the server");
        node.calls.commands.push(RedisCommand::ScriptCall(ScriptCall {
            ticket,
            script,
            keys: smallvec![key],
            arguments,
        }));
    }

    /// Calls a script on a room. The rules come before its own arguments.
    pub(super) fn call_room(
        &mut self,
        script: &'static Script,
        room: Name,
        to: Option<Requester>,
        purpose: RoomCall,
        own: Vec<Bytes>,
    ) {
        let (key, rules) = (self.node.keys.room(&room), self.node.room_rules());
        self.call(script, key, to, CallPurpose::Room(room, purpose), [rules].into_iter().chain(own));
    }

    /// Calls a script on a user. The audience of presence and the retention time come before its own arguments.
    pub(super) fn call_user(
        &mut self,
        script: &'static Script,
        user: Name,
        to: Option<Requester>,
        purpose: impl FnOnce(Name) -> CallPurpose,
        own: Vec<Bytes>,
    ) {
        let audience = match self.node.rules.hooks.bits() {
            0 => text(self.node.presence_audience()),
            bits => text(format!("{}{bits}", self.node.presence_audience())),
        };
        let head = [audience, number(self.node.rules.keep_ms)];
        let key = self.node.keys.user(&user);
        self.call(script, key, to, purpose(user), head.into_iter().chain(own));
    }

    /// Removes a room that is gone from those that a user has made.
    pub(super) fn forget_made(&mut self, user: Name, room: &str) {
        let arguments = vec![text(room), text("-1"), number(0)];
        let purpose = |user| CallPurpose::User(user, UserCall::ForgetRoom);
        self.call_user(&scripts::COUNT_ROOM, user, None, purpose, arguments);
    }

    /// Calls a script on the set of nodes.
    pub(super) fn call_nodes(&mut self, script: &'static Script, purpose: ClusterCall, arguments: Vec<Bytes>) {
        let key = self.node.keys.nodes();
        self.call(script, key, None, CallPurpose::Cluster(purpose), arguments);
    }

    /// Schedules work in `ms` milliseconds.
    pub(super) fn after(&mut self, ms: u64, deadline: Deadline) {
        self.node.deadlines.add(self.now.mono + ms, deadline);
    }

    /// Sends a message to a shard of this node.
    pub(super) fn send(&mut self, shard: ShardNumber, message: impl Into<ThreadMessage>) {
        self.out.push((shard, message.into()));
    }

    /// Replies to a request, if there is one.
    pub(super) fn reply(&mut self, to: Option<Requester>, reply: Result<Reply, Reject>) {
        if let Some(to) = to {
            self.out.push(to.reply(reply));
        }
    }

    /// Publishes a message outside of a script.
    pub(super) fn publish(&mut self, channel: Bytes, body: Bytes) {
        self.node.calls.commands.push(RedisCommand::Publish { channel, body });
    }

    /// Subscribes to the channel of a room, and records that this node has members in it.
    pub(super) fn subscribe_room(&mut self, room: &Name) {
        self.node.calls.commands.push(RedisCommand::Subscribe(self.node.keys.room(room)));
        self.node.registry.room_entered(room);
    }

    pub(super) fn unsubscribe_room(&mut self, room: &Name) {
        self.node.calls.commands.push(RedisCommand::Unsubscribe(self.node.keys.room(room)));
        self.node.registry.room_left(room);
    }

    /// Sends an event to all connections of a user on this node.
    pub(super) fn deliver_to_user(&mut self, user: &str, event: &Event) {
        for &to in self.node.directory.connections(user) {
            self.out.push((to.place().shard, ShardMessage::Deliver { to, event: event.clone() }.into()));
        }
    }

    /// Redis has rejected a write: the shards are informed, and the lease is renewed until Redis accepts writes again.
    pub(super) fn note_read_only(&mut self, reason: &str) {
        if !std::mem::replace(&mut self.node.is_read_only, true) {
            tracing::error!(%reason, "Redis takes no writes");
            self.inform_shards(RedisState::ReadOnly);
            membership::renew_soon(self);
        }
    }

    /// Redis has accepted a write.
    pub(super) fn note_writable(&mut self) {
        if std::mem::replace(&mut self.node.is_read_only, false) {
            tracing::info!("Redis takes writes again");
            self.inform_shards(self.node.redis);
        }
    }

    fn inform_shards(&mut self, state: RedisState) {
        let shards = self.shards();
        self.out.extend(shards.map(|shard| (shard, ShardMessage::RedisState(state).into())));
    }
}
