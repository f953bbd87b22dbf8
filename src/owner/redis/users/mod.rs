//! Users: their connections on all nodes, their presence, and their direct messages.
//!
//! Redis has the connections of each user, with their nodes. Messages for a user are published to the channels of these
//! nodes, not to a channel of the user: a node subscribes to a few channels however many users it has, a new connection need
//! not wait for a subscription, and after a lost connection to Redis there are few channels to subscribe to again. Channels of
//! nodes, and the channel of all nodes, are published to by `PUBLISH` also in a cluster with sharded channels: any server may
//! do that in a script.
//!
//! This node remembers its own part of each user ([`crate::owner::redis::directory`]), and restores it in Redis if Redis has
//! missed changes or was emptied; see [`stale`].

mod direct_messages;
mod presence;
mod refusals;
mod stale;

use std::collections::VecDeque;
use std::sync::Arc;

use serde::Deserialize;
use uuid::Uuid;

use crate::base::Name;
use crate::base::ids::ConnectionId;
use crate::base::limits;
use crate::domain::access::{Identity, Roles, is_guest_name};
use crate::domain::command::Status;
use crate::domain::op::{PresenceView, PushResult, Reply, Sent, UserOp};
use crate::domain::presence::DisconnectKind;
use crate::domain::quota::{QuotaKind, too_many};
use crate::domain::reject::Reject;
use crate::domain::user::too_many_rooms;
use crate::message::Requester;
use crate::message::redis::{Bytes, RedisState};
use crate::owner::redis::calls::{CallPurpose, CallResult};
use crate::owner::redis::cluster::registry::Registry;
use crate::owner::redis::directory::{LocalPresence, LocalUsers};
use crate::owner::redis::rooms::Rooms;
use crate::owner::redis::rooms::commands::RoomCall;
use crate::owner::redis::scripts;
use crate::owner::redis::turn::OwnerTurn;
use crate::owner::redis::wire::{self, WireConnectionId, WireDirect, WireIdentity};

use direct_messages::DirectMessages;
use presence::PresenceNews;
pub(super) use presence::UserPublication;
use refusals::refusal;
use stale::StaleUsers;

/// The operation that a call on a user does.
pub(super) enum UserCall {
    Attach(ConnectionId),
    /// With the rooms of the connection.
    Detach(Vec<Name>),
    GoOffline,
    Introduce(ConnectionId, Name),
    SetStatus,
    Send(Sent),
    Push,
    BeginPush,
    /// With the reach.
    EndPush(Option<PushResult>),
    Connections,
    Look(Identity),
    Register,
    Withdraw,
    /// With the quota.
    SpendRest(u32),
    CountRoom,
    /// Removal of a room that is gone from those the user has made.
    ForgetRoom,
    /// Direct messages have been received.
    AckDirects(Vec<Uuid>),
    /// With the rooms of ended connections.
    Restore(Vec<Name>),
    /// Removal of the connections on this dead node.
    Purge(u16),
}

/// Deferred work of a user.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum UserDeadline {
    /// Set the user offline, unless they have returned since this absence began.
    GoOffline(Box<str>),
    /// Restore stale users; see [`stale`].
    RestoreStale,
}

/// The answer of a user script; each script sets some of the fields.
#[derive(Default, Deserialize)]
#[serde(default)]
struct UserReply {
    /// Reason of a refusal.
    #[serde(rename = "x")]
    refusal: Option<Box<str>>,
    /// Time until the refusal ends, in milliseconds.
    #[serde(rename = "ms")]
    retry_after_ms: u64,
    /// Direct messages that wait for the user.
    #[serde(rename = "d")]
    directs: Vec<WireDirect>,
    /// 1 if more of them wait.
    #[serde(rename = "m")]
    has_more: u8,
    /// The registered description of the connection's device.
    #[serde(rename = "v")]
    device: Option<Box<str>>,
    /// The user's absence, if their last connection has ended.
    #[serde(rename = "g")]
    absence: Option<Box<str>>,
    /// Users whom a push that is done did not reach.
    #[serde(rename = "of")]
    offline: Option<Vec<Name>>,
    #[serde(rename = "c")]
    connections: Vec<WireConnectionId>,
    #[serde(rename = "k")]
    connection_count: usize,
    #[serde(rename = "w")]
    identity: Option<WireIdentity>,
    #[serde(rename = "s")]
    status: Option<Box<str>>,
    /// Last activity while online.
    #[serde(rename = "l")]
    last_active: u64,
    /// The username, with a presence update, if it is not the id.
    #[serde(rename = "un")]
    username: Option<Box<str>>,
    /// Number of the presence update.
    #[serde(rename = "n")]
    number: u64,
    #[serde(rename = "b")]
    connected_at: Option<u64>,
    /// 1 if the user has made as many rooms as they may.
    #[serde(rename = "f")]
    has_all_rooms: u8,
    /// Rooms that the user has made, to be looked at.
    #[serde(rename = "mr")]
    made_rooms: Vec<Box<str>>,
    /// End of the last presence, if the user is offline.
    #[serde(rename = "t")]
    last_seen: Option<u64>,
}

/// The users of this node.
pub(super) struct Users {
    stale: StaleUsers,
    presence: PresenceNews,
    directs: DirectMessages,
    /// When the names that were registered from here expire, in monotonic milliseconds, earliest first.
    registered: VecDeque<u64>,
}

impl Users {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            stale: StaleUsers::default(),
            presence: PresenceNews::new(seed),
            directs: DirectMessages::default(),
            registered: VecDeque::new(),
        }
    }

    /// Calls the script of an operation, or replies at once.
    pub(super) fn request(&mut self, turn: &mut OwnerTurn<'_>, name: Name, op: UserOp, to: Requester) {
        let (script, call, arguments) = match op {
            UserOp::Attach { connection, by, socket } => return self.attach(turn, name, connection, (by, socket), to),
            UserOp::Detach { connection, parting, rooms } => {
                return self.detach(turn, name, connection, (parting, rooms), to);
            }
            // Room members receive the presence of newcomers only where presence is sent to rooms.
            UserOp::AnnounceIn { .. } if turn.node.presence_audience() != "r" => {
                return turn.reply(Some(to), Ok(Reply::Done));
            }
            UserOp::AnnounceIn { connection, room } => {
                let arguments = vec![wire::text(&*room)];
                (&scripts::ANNOUNCE_IN, UserCall::Introduce(connection, room), arguments)
            }
            UserOp::SetStatus { status, last_seen, by } => {
                let since = last_seen.map_or_else(Bytes::default, wire::number);
                let by = by.map_or_else(Bytes::default, wire::connection);
                // The identity of a user that Redis does not know.
                let unknown = Identity::new(&name, None, None, Roles::default());
                let unknown = match is_guest_name(&name) {
                    true => Bytes::default(),
                    false => wire::json(&WireIdentity::from(&unknown)),
                };
                (&scripts::SET_STATUS, UserCall::SetStatus, vec![wire::text(status.as_str()), since, by, unknown])
            }
            UserOp::Send { by, content } => return direct_messages::send(turn, name, by, *content, to),
            UserOp::Push { direct, keep: true } => return direct_messages::push_kept(turn, name, &direct, to),
            UserOp::Push { direct, .. } => {
                (&scripts::PUSH, UserCall::Push, vec![wire::json(&WireDirect::from(&*direct))])
            }
            UserOp::BeginPush { key } => (&scripts::BEGIN_PUSH, UserCall::BeginPush, vec![wire::text(&*key)]),
            UserOp::EndPush { key, result } => {
                let arguments = vec![wire::text(&*key), wire::reach(result.as_ref())];
                (&scripts::END_PUSH, UserCall::EndPush(result), arguments)
            }
            UserOp::ListConnections => (&scripts::LIST_CONNECTIONS, UserCall::Connections, Vec::new()),
            UserOp::Describe { by } => (&scripts::DESCRIBE_USER, UserCall::Look(by), Vec::new()),
            UserOp::RegisterSocket { socket, device } => {
                if !self.may_register(turn.now.mono) {
                    return turn.reply(Some(to), Err(Reject::overloaded()));
                }
                let arguments = vec![wire::text(&*socket), wire::text(device.as_deref().unwrap_or_default())];
                (&scripts::REGISTER_SOCKET, UserCall::Register, arguments)
            }
            UserOp::UnregisterSocket { socket } => {
                (&scripts::UNREGISTER_SOCKET, UserCall::Withdraw, vec![wire::text(&*socket)])
            }
            UserOp::SpendRestQuota { per_minute } => {
                let limit = wire::number(per_minute.into());
                (&scripts::SPEND_REST_QUOTA, UserCall::SpendRest(per_minute), vec![limit])
            }
            UserOp::CountRoom { .. } if turn.node.rules.rooms_per_user == 0 => {
                return turn.reply(Some(to), Ok(Reply::Done));
            }
            UserOp::CountRoom { room, is_made } => {
                let most = wire::number(turn.node.rules.rooms_per_user as u64);
                let room = wire::text(room.as_deref().unwrap_or_default());
                (&scripts::COUNT_ROOM, UserCall::CountRoom, vec![room, wire::flag(is_made), most])
            }
        };
        turn.call_user(script, name, Some(to), |name| CallPurpose::User(name, call), arguments);
    }

    /// Refuses an operation without Redis; connections end all the same.
    pub(super) fn request_offline(&mut self, turn: &mut OwnerTurn<'_>, name: Name, op: UserOp) -> Reject {
        if let UserOp::Detach { connection, rooms, .. } = op {
            self.remove_connection(turn, &name, connection);
            self.stale.add(name, rooms);
        }
        Reject::storage_unavailable()
    }

    fn attach(
        &mut self,
        turn: &mut OwnerTurn<'_>,
        name: Name,
        connection: ConnectionId,
        (by, socket): (Identity, Option<Name>),
        to: Requester,
    ) {
        if self.is_done_with(turn, &name) {
            turn.node.registry.user_entered(&name);
        }
        turn.node.directory.add(&name, &by, connection);
        self.directs.begin_arrival(connection);
        let arguments = vec![
            wire::connection(connection),
            wire::json(&WireIdentity::from(&by)),
            wire::number(turn.node.rules.connections_per_user as u64),
            wire::text(socket.as_deref().unwrap_or_default()),
        ];
        let purpose = |name| CallPurpose::User(name, UserCall::Attach(connection));
        turn.call_user(&scripts::ATTACH, name, Some(to), purpose, arguments);
    }

    fn detach(
        &mut self,
        turn: &mut OwnerTurn<'_>,
        name: Name,
        connection: ConnectionId,
        (parting, rooms): (DisconnectKind, Vec<Name>),
        to: Requester,
    ) {
        let wants_more = self.remove_connection(turn, &name, connection);
        let restored = wants_more.then(|| name.clone());
        let may_return = parting == DisconnectKind::Lost && turn.node.rules.presence_grace_ms > 0;
        let arguments = vec![wire::connection(connection), wire::number(may_return.into()), wire::json(&rooms)];
        let purpose = |name| CallPurpose::User(name, UserCall::Detach(rooms));
        turn.call_user(&scripts::DETACH, name, Some(to), purpose, arguments);
        if let Some(name) = restored {
            self.restore(turn, name, Vec::new());
        }
    }

    /// A connection has ended on this node. Returns whether direct messages are to be requested for the others.
    fn remove_connection(&mut self, turn: &mut OwnerTurn<'_>, name: &Name, connection: ConnectionId) -> bool {
        turn.node.directory.remove(name, connection);
        self.directs.end_connection(&turn.node.directory, name, connection)
    }

    /// Names the connections of a user on this node in Redis, and asks for the user's waiting messages.
    fn restore(&mut self, turn: &mut OwnerTurn<'_>, user: Name, rooms: Vec<Name>) {
        self.directs.await_waiting(&turn.node.directory, &user);
        restore(turn, user, rooms);
    }

    /// Counts a registered name, if there is room for one.
    fn may_register(&mut self, now_ms: u64) -> bool {
        while self.registered.pop_front_if(|until| *until <= now_ms).is_some() {}
        let has_room = self.registered.len() < limits::REGISTRATIONS;
        if has_room {
            self.registered.push_back(now_ms + limits::PENDING_MS);
        }
        has_room
    }

    /// Handles the result of a call on a user.
    pub(super) fn replied(
        &mut self,
        turn: &mut OwnerTurn<'_>,
        to: Option<Requester>,
        name: Name,
        call: UserCall,
        result: CallResult,
    ) {
        match result.ok().and_then(|text| serde_json::from_slice::<UserReply>(&text).ok()) {
            None => {
                self.unanswered(turn, name, call);
                turn.reply(to, Err(Reject::storage_unavailable()));
            }
            Some(UserReply { refusal: Some(why), retry_after_ms, .. }) => {
                self.refused(turn, &name, &call);
                let reject = match call {
                    UserCall::SpendRest(per_minute) if &*why == "rest" => {
                        too_many(QuotaKind::Rest, per_minute, retry_after_ms)
                    }
                    _ => refusal(&why, &turn.node.rules),
                };
                turn.reply(to, Err(reject));
            }
            Some(reply) => self.granted(turn, to, name, call, reply),
        }
    }

    fn granted(
        &mut self,
        turn: &mut OwnerTurn<'_>,
        to: Option<Requester>,
        name: Name,
        call: UserCall,
        mut answer: UserReply,
    ) {
        let reply = match call {
            UserCall::Attach(connection) => {
                self.presence.returned(&name);
                note_presence(turn, &name, &answer);
                turn.reply(to, Ok(answer.device.take().map_or(Reply::Done, Reply::Claimed)));
                return self.directs.arrived(turn, &name, connection, answer.directs, answer.has_more == 1);
            }
            UserCall::Detach(_) => {
                self.note_absence(turn, &name, answer.absence);
                Reply::Done
            }
            UserCall::Restore(_) => {
                note_presence(turn, &name, &answer);
                self.note_absence(turn, &name, answer.absence);
                return self.directs.deliver_waiting(turn, &name, answer.directs, answer.has_more == 1);
            }
            UserCall::Introduce(connection, room) => {
                self.presence.introduce(&name, connection, &room, answer);
                Reply::Done
            }
            UserCall::SetStatus | UserCall::Withdraw | UserCall::SpendRest(_) => Reply::Done,
            UserCall::CountRoom => {
                for room in answer.made_rooms {
                    check_made(turn, (*room).into(), name.clone());
                }
                let most = turn.node.rules.rooms_per_user;
                let reply = if answer.has_all_rooms == 1 { Err(too_many_rooms(most)) } else { Ok(Reply::Done) };
                return turn.reply(to, reply);
            }
            UserCall::ForgetRoom => return,
            UserCall::Send(sent) => Reply::Sent(sent),
            UserCall::Push => {
                let offline = if answer.connection_count == 0 { vec![name] } else { Vec::new() };
                Reply::Pushed(PushResult { reached: answer.connection_count, offline })
            }
            UserCall::BeginPush => {
                let reached = answer.connection_count;
                Reply::Begun(answer.offline.map(|offline| PushResult { reached, offline }))
            }
            UserCall::EndPush(result) => result.map_or(Reply::Done, Reply::Pushed),
            UserCall::Connections => Reply::Connections(answer.connections.iter().map(|id| id.0).collect()),
            UserCall::Look(by) => Reply::Presence(Box::new(view(name, &by, answer))),
            UserCall::Register => match answer.connections.first() {
                Some(live) => Reply::Connections(vec![live.0]),
                None => Reply::Registered(None),
            },
            UserCall::AckDirects(ids) => {
                if self.directs.acknowledged(&name, &ids) {
                    self.restore(turn, name, Vec::new());
                }
                return;
            }
            UserCall::GoOffline => return self.note_done(turn, &name),
            UserCall::Purge(_) => return,
        };
        turn.reply(to, Ok(reply));
    }

    fn refused(&mut self, turn: &mut OwnerTurn<'_>, name: &Name, call: &UserCall) {
        match call {
            UserCall::Attach(connection) => {
                turn.node.directory.remove(name, *connection);
                self.directs.cancel_arrival(*connection);
                self.note_done(turn, name);
            }
            // Redis did not have the connection.
            UserCall::Detach(_) => self.note_done(turn, name),
            UserCall::Restore(_) => self.directs.deliver_waiting(turn, name, Vec::new(), false),
            _ => {}
        }
    }

    /// An operation has no answer, so Redis can have done it: the user is restored.
    fn unanswered(&mut self, turn: &mut OwnerTurn<'_>, name: Name, call: UserCall) {
        match call {
            UserCall::Attach(connection) => {
                turn.node.directory.remove(&name, connection);
                self.directs.cancel_arrival(connection);
                self.stale.add(name, Vec::new());
            }
            UserCall::Detach(rooms) | UserCall::Restore(rooms) => self.stale.add(name, rooms),
            UserCall::GoOffline => self.stale.add(name, Vec::new()),
            UserCall::AckDirects(ids) => self.directs.ack_failed(&name, &ids),
            UserCall::Introduce(..) | UserCall::SetStatus | UserCall::Send(_) | UserCall::Push => return,
            UserCall::BeginPush | UserCall::EndPush(_) => return,
            UserCall::Connections | UserCall::Look(_) | UserCall::Register | UserCall::Withdraw => return,
            UserCall::SpendRest(_) | UserCall::CountRoom | UserCall::ForgetRoom | UserCall::Purge(_) => return,
        }
        self.stale.restore_later(turn);
    }

    /// Whether this node has nothing to record of a user.
    fn is_done_with(&self, turn: &OwnerTurn<'_>, user: &str) -> bool {
        !turn.node.directory.contains(user) && !self.stale.contains(user) && !self.presence.awaits_return(user)
    }

    /// Removes a user from the registry, if this node has nothing to record of them.
    fn note_done(&self, turn: &mut OwnerTurn<'_>, user: &Name) {
        if self.is_done_with(turn, user) {
            turn.node.registry.user_left(user);
        }
    }

    /// A connection of a user has ended; with the last one, an absence has begun.
    fn note_absence(&mut self, turn: &mut OwnerTurn<'_>, user: &Name, absence: Option<Box<str>>) {
        match absence {
            Some(absence) => self.presence.wait_for_return(turn, user, absence),
            None => self.note_done(turn, user),
        }
    }

    pub(super) fn due(&mut self, turn: &mut OwnerTurn<'_>, name: Name, deadline: UserDeadline) {
        match deadline {
            UserDeadline::GoOffline(absence) => {
                if self.presence.take_absence(&name, &absence) {
                    if turn.node.redis == RedisState::Unreachable {
                        self.stale.add(name, Vec::new());
                    } else {
                        presence::go_offline(turn, name, &absence);
                    }
                }
            }
            UserDeadline::RestoreStale => {
                self.stale.due();
                if turn.node.redis != RedisState::Unreachable {
                    self.directs.retry_acks();
                    for (user, rooms) in self.stale.take_portion(turn) {
                        self.restore(turn, user, rooms);
                    }
                }
            }
        }
    }

    /// Handles a message about a user that is not about a quota; `room` if it came by a room's channel.
    pub(super) fn published(
        &mut self,
        turn: &mut OwnerTurn<'_>,
        rooms: &Rooms,
        room: Option<Name>,
        publication: UserPublication,
    ) {
        let user = publication.user();
        match publication {
            UserPublication { direct: Some(direct), connections, .. } => {
                let direct = Arc::new(direct.into());
                let connections = connections.into_iter().flatten().map(|WireConnectionId(to)| to);
                self.directs.deliver_published(turn, &user, &direct, connections);
            }
            UserPublication { pushed: Some(direct), connections, .. } => {
                let direct = Arc::new(direct.into());
                for WireConnectionId(to) in connections.into_iter().flatten() {
                    self.directs.push(turn, &user, &direct, to);
                }
            }
            publication => self.presence.published(turn, rooms, room, user, publication),
        }
    }

    /// A connection of a user has received a direct message.
    pub(super) fn direct_delivered(&mut self, user: &Name, id: Uuid) {
        self.directs.delivered(user, id);
    }

    /// Announces a presence update in a room, on all nodes.
    pub(super) fn announce(&mut self, room: &Name, news: &crate::message::PresenceUpdate) {
        self.presence.announce(room, news);
    }

    /// Calls the scripts for which requests were collected.
    pub(super) fn flush(&mut self, turn: &mut OwnerTurn<'_>) {
        self.directs.flush(turn);
        self.presence.flush(turn);
    }

    pub(super) fn has_calls(&self) -> bool {
        self.directs.has_acks() || self.presence.has_announcements()
    }

    pub(super) fn redis_is_back(&mut self, turn: &mut OwnerTurn<'_>) {
        self.directs.retry_acks();
        self.stale.restore_now(turn);
    }

    /// Redis can have missed any change of this node's users, or have lost them: all are restored.
    pub(super) fn restore_all(&mut self, turn: &mut OwnerTurn<'_>) {
        for user in turn.node.directory.names() {
            self.stale.add(user.clone(), Vec::new());
            self.directs.await_waiting(&turn.node.directory, user);
        }
        self.redis_is_back(turn);
    }

    pub(super) fn record_all(&self, turn: &mut OwnerTurn<'_>) {
        let users: Vec<Name> = turn.node.directory.names().chain(self.stale.names()).cloned().collect();
        let registry: &mut Registry = &mut turn.node.registry;
        users.iter().chain(self.presence.absent_users()).for_each(|user| registry.user_entered(user));
    }

    pub(super) fn check_invariants(&self, directory: &LocalUsers) {
        assert!(self.registered.len() <= limits::REGISTRATIONS, "invariant: registrations are bounded");
        self.stale.check_invariants();
        self.directs.check_invariants(directory);
    }
}

/// Notes the presence of a user in the answer to an attach.
fn note_presence(turn: &mut OwnerTurn<'_>, user: &Name, answer: &UserReply) {
    if let Some(status) = answer.status.as_deref().and_then(Status::parse) {
        let last_active = (answer.last_active != 0).then_some(answer.last_active);
        let presence = LocalPresence::new(answer.number, status, last_active, answer.connected_at);
        turn.node.directory.set_presence(user, presence);
    }
}

/// Names the connections of a user on this node in Redis, and asks for the user's waiting messages.
fn restore(turn: &mut OwnerTurn<'_>, user: Name, rooms: Vec<Name>) {
    turn.node.registry.user_entered(&user);
    let directory = &turn.node.directory;
    let identity = directory.identity(&user);
    let identity = identity.map_or_else(Bytes::default, |identity| wire::json(&WireIdentity::from(identity)));
    let connections: Vec<_> = directory.connections(&user).iter().copied().map(WireConnectionId).collect();
    let arguments = vec![identity, wire::json(&connections), wire::json(&rooms)];
    let purpose = |user| CallPurpose::User(user, UserCall::Restore(rooms));
    turn.call_user(&scripts::RESTORE_USER, user, None, purpose, arguments);
}

/// Checks whether a room that a user has made still exists: as an admin, and without its users.
fn check_made(turn: &mut OwnerTurn<'_>, room: Name, user: Name) {
    let arguments = vec![wire::text(""), wire::flag(true), wire::text(""), wire::number(0)];
    turn.call_room(&scripts::LIST_USERS, room, None, RoomCall::CheckMade(user), arguments);
}

/// Removes the connections of a user on a dead node; a user without other connections goes offline. Several nodes may do
/// this: only the first call has an effect.
pub(super) fn purge(turn: &mut OwnerTurn<'_>, user: Name, node: u16) {
    let purpose = |user| CallPurpose::User(user, UserCall::Purge(node));
    turn.call_user(&scripts::PURGE_USER, user, None, purpose, vec![wire::number(node.into())]);
}

/// Presence of a user, as `by` sees it; see [`crate::domain::user::User::view`].
fn view(user: Name, by: &Identity, reply: UserReply) -> PresenceView {
    match (reply.identity.map(Identity::from), reply.status.as_deref().and_then(Status::parse)) {
        (None, _) => PresenceView::nobody(user),
        (Some(identity), None) => {
            let identity = Identity::new(&user, Some(identity.username()), identity.email(), Roles::default());
            PresenceView { last_seen: reply.last_seen, identity: Some(identity), ..PresenceView::nobody(user) }
        }
        (Some(identity), Some(status)) => {
            let may_see = status != Status::Offline || by.user() == &*user || by.roles().admin;
            PresenceView {
                user,
                status,
                last_seen: Some(reply.last_active),
                connections: if may_see { reply.connection_count } else { 0 },
                identity: Some(identity),
                connected_at: reply.connected_at.filter(|_| may_see),
                newest: reply.connections.first().map(|id| id.0).filter(|_| may_see),
            }
        }
    }
}
