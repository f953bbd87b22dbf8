//! Users: their connections on all nodes, how they are, and the messages that wait for them.
//!
//! Redis knows of each user which connections they have and on which nodes. What is for a user's connections is published
//! to the channels of these nodes, not to a channel of the user's own: a node listens to a handful of channels however
//! many users it has, a connection that has just come need not wait until its user's channel is listened to, and after a
//! lost connection to Redis there is next to nothing to subscribe to anew. Channels of nodes, and the one of all nodes, are
//! published to by `PUBLISH` even in a cluster with sharded channels: a script may do so, whichever server runs it.
//!
//! A node remembers its own part of each user here, too, so that it can say it anew: what Redis did not hear while it was
//! away, and everything when it was emptied. Such users are [stale](Users::stale) until they are said anew.

use std::collections::{BTreeMap, VecDeque};

use serde::Deserialize;
use smallvec::SmallVec;

use crate::base::Name;
use crate::base::ids::ConnectionId;
use crate::base::limits;
use crate::base::map::{Map, map};
use crate::base::time::Now;
use crate::domain::access::{Identity, Roles};
use crate::domain::command::Status;
use crate::domain::connection::connection_not_found;
use crate::domain::op::{PresenceView, PushResult, Reply, Sent, UserOp};
use crate::domain::presence::DisconnectKind;
use crate::domain::quota::{QuotaKind, too_many};
use crate::domain::registration::too_many_names;
use crate::domain::reject::Reject;
use crate::domain::user::{too_many_connections, user_not_found};
use crate::message::redis::{Bytes, CallError, Script};
use crate::message::{Outgoing, Requester, ShardMessage};
use crate::owner::redis::direct_messages::Directs;
use crate::owner::redis::enrolment::Enrolment;
use crate::owner::redis::presence::Recent;
use crate::owner::redis::wire::{self, Id, Letter, Who};
use crate::owner::redis::{Outcome, RedisOwner, scripts};

/// What a node remembers of users.
pub(super) struct Users {
    /// Those with connections here.
    pub(super) here: Map<Name, Here>,
    /// Those of whom Redis may have missed something, each with the rooms of connections that ended meanwhile.
    pub(super) stale: BTreeMap<Name, Vec<Name>>,
    /// Whether a look at them is due.
    pub(super) is_sweeping: bool,
    /// Those who went from here and may come back, with what is to be said when they have not.
    pub(super) going: BTreeMap<Name, Box<str>>,
    /// Connections that are on their way into Redis, and what came for them in the meantime.
    pub(super) arriving: BTreeMap<ConnectionId, Vec<ShardMessage>>,
    /// How users are, as was told last.
    pub(super) recent: Recent,
    /// The same, for the members of rooms.
    pub(super) announcements: Vec<(Name, Bytes)>,
    /// Messages on their way to connections.
    pub(super) directs: Directs,
    /// When names are over that were registered from here, in monotonic milliseconds, the first first.
    registered: VecDeque<u64>,
}

/// A node's part of a user.
pub(super) struct Here {
    pub(super) identity: Identity,
    /// Their connections, oldest first.
    pub(super) connections: SmallVec<[ConnectionId; 1]>,
}

/// What a call was for.
pub(super) enum Purpose {
    Attach(ConnectionId),
    /// With the rooms of the connection.
    Detach(Vec<Name>),
    GoOffline,
    Introduce(ConnectionId, Name),
    SetStatus,
    Send(Sent),
    Push,
    Connections,
    Look(Identity),
    Register,
    Withdraw,
    SpendRest,
    Strike(uuid::Uuid),
    /// With what was stale.
    Restore(Vec<Name>),
    Lease(QuotaKind),
    Repay,
    /// Of this dead node's part.
    Purge(u16),
    /// What was to be noted of their rooms.
    Enroll(Box<Enrolment>),
    /// Their rooms, for the sake of this node's question of that number.
    RoomsOf(u32),
}

/// Something about a user that is to be looked at.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Due {
    /// Whether they came back, by what was said when they went.
    GoOffline(Box<str>),
    /// Some of those who are stale.
    Sweep,
}

/// What a script says; each says some of it.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Said {
    /// Why not.
    x: Option<Box<str>>,
    /// How long that is so, in milliseconds.
    ms: u64,
    /// Messages that wait.
    pub(super) d: Vec<Letter>,
    /// Whether there are more.
    pub(super) m: u8,
    /// What was said of the connection's device.
    v: Option<Box<str>>,
    /// What to say when the user has not come back.
    g: Option<Box<str>>,
    /// Connections.
    c: Vec<Id>,
    /// How many.
    pub(super) k: usize,
    /// Who the user is.
    w: Option<Who>,
    /// How they are, since when, and as which news.
    pub(super) s: Option<Box<str>>,
    pub(super) l: u64,
    pub(super) n: u64,
    /// Since when they have been here.
    b: Option<u64>,
    /// When they were last here, if they are not.
    t: Option<u64>,
    /// Rooms that they take part in.
    o: Vec<Box<str>>,
}

impl Users {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            here: map(seed),
            stale: BTreeMap::new(),
            is_sweeping: false,
            going: BTreeMap::new(),
            arriving: BTreeMap::new(),
            recent: Recent::new(seed),
            announcements: Vec::new(),
            directs: Directs::default(),
            registered: VecDeque::new(),
        }
    }

    /// A user's connections here.
    pub(super) fn connections(&self, user: &str) -> &[ConnectionId] {
        self.here.get(user).map_or(&[], |here| &here.connections)
    }

    fn add(&mut self, user: &Name, by: &Identity, connection: ConnectionId) {
        let here = self.here.entry(user.clone());
        let here = here.or_insert_with(|| Here { identity: by.clone(), connections: SmallVec::new() });
        if !here.connections.contains(&connection) {
            here.connections.push(connection);
        }
    }

    fn remove(&mut self, user: &str, connection: ConnectionId) {
        self.arriving.remove(&connection);
        let Some(here) = self.here.get_mut(user) else { return };
        here.connections.retain(|known| *known != connection);
        if here.connections.is_empty() {
            self.here.remove(user);
        }
    }

    /// Whether there is something to call Redis for.
    pub(super) fn has_calls(&self) -> bool {
        self.directs.has_confirmed() || !self.announcements.is_empty()
    }

    /// Whether this node has nothing more to say of a user.
    pub(super) fn is_done_with(&self, user: &str) -> bool {
        !self.here.contains_key(user) && !self.stale.contains_key(user) && !self.going.contains_key(user)
    }
}

impl RedisOwner {
    /// Users with connections on this node.
    pub fn users(&self) -> usize {
        self.users.here.len()
    }

    pub(super) fn user_op(
        &mut self,
        now: Now,
        name: Name,
        op: UserOp,
        to: Requester,
        _out: &mut Vec<Outgoing>,
    ) -> Outcome {
        let to = Some(to);
        match op {
            UserOp::Attach { connection, by, socket } => self.attach(now, name, connection, (by, socket), to),
            UserOp::Detach { connection, parting, rooms } => self.detach(now, name, connection, (parting, rooms), to),
            // Everybody knows how they are, or nobody is to.
            UserOp::AnnounceIn { .. } if self.way() != "r" => return Ok(Some(Reply::Done)),
            UserOp::AnnounceIn { connection, room } => {
                let arguments = vec![wire::text(&*room)];
                self.call_user(now, &scripts::INTRODUCE, name, to, Purpose::Introduce(connection, room), arguments);
            }
            UserOp::SetStatus { status, last_seen, by } => {
                let since = last_seen.map_or_else(Bytes::default, wire::number);
                let by = by.map_or_else(Bytes::default, |by| wire::text(by.text().as_str()));
                let arguments = vec![wire::text(status.as_str()), since, by];
                self.call_user(now, &scripts::SET_STATUS, name, to, Purpose::SetStatus, arguments);
            }
            UserOp::Send { by, content } => self.send_direct(now, name, by, content, to),
            UserOp::Push { direct } => {
                let arguments = vec![wire::json(&Letter::from(&*direct))];
                self.call_user(now, &scripts::PUSH, name, to, Purpose::Push, arguments);
            }
            UserOp::ListConnections => {
                self.call_user(now, &scripts::CONNECTIONS, name, to, Purpose::Connections, Vec::new());
            }
            UserOp::Describe { by } => self.call_user(now, &scripts::LOOK, name, to, Purpose::Look(by), Vec::new()),
            UserOp::RegisterSocket { socket, device } => {
                return self.register(now, name, &socket, device.as_deref(), to);
            }
            UserOp::UnregisterSocket { socket } => {
                let arguments = vec![wire::text(&*socket)];
                self.call_user(now, &scripts::WITHDRAW_REGISTRATION, name, to, Purpose::Withdraw, arguments);
            }
            UserOp::SpendRestQuota => {
                let arguments = vec![wire::number(self.rules.rest_per_minute.into())];
                self.call_user(now, &scripts::SPEND_REST, name, to, Purpose::SpendRest, arguments);
            }
        }
        Ok(None)
    }

    /// The same while Redis is away: connections end all the same.
    pub(super) fn user_op_while_away(&mut self, name: Name, op: UserOp) -> Reject {
        if let UserOp::Detach { connection, rooms, .. } = op {
            self.users.remove(&name, connection);
            self.users.directs.end(&name, connection);
            self.note_stale(name, rooms);
        }
        Reject::storage_unavailable()
    }

    /// Has a script of a user called. The arguments that all of these have come before its own.
    pub(super) fn call_user(
        &mut self,
        now: Now,
        script: &'static Script,
        name: Name,
        to: Option<Requester>,
        purpose: Purpose,
        own: Vec<Bytes>,
    ) {
        let mut arguments = Vec::with_capacity(own.len() + 2);
        arguments.push(wire::text(self.way()));
        arguments.push(wire::number(self.rules.keep_ms));
        arguments.extend(own);
        let key = self.keys.user(&name);
        self.call(now, script, key, to, super::Purpose::User(name, purpose), arguments);
    }

    fn attach(
        &mut self,
        now: Now,
        name: Name,
        connection: ConnectionId,
        (by, socket): (Identity, Option<Name>),
        to: Option<Requester>,
    ) {
        if self.users.is_done_with(&name) {
            self.user_came(&name);
        }
        self.users.add(&name, &by, connection);
        self.users.arriving.insert(connection, Vec::new());
        let arguments = vec![
            wire::text(connection.text().as_str()),
            wire::json(&Who::from(&by)),
            wire::number(self.rules.connections_per_user as u64),
            wire::text(socket.as_deref().unwrap_or_default()),
            wire::number(limits::REGISTRATIONS_PER_USER as u64),
        ];
        self.call_user(now, &scripts::ATTACH, name, to, Purpose::Attach(connection), arguments);
    }

    fn detach(
        &mut self,
        now: Now,
        name: Name,
        connection: ConnectionId,
        (parting, rooms): (DisconnectKind, Vec<Name>),
        to: Option<Requester>,
    ) {
        self.users.remove(&name, connection);
        self.users.directs.end(&name, connection);
        let may_return = parting == DisconnectKind::Lost && self.rules.presence_grace_ms > 0;
        let flag = wire::number(may_return.into());
        let arguments = vec![wire::text(connection.text().as_str()), flag, wire::json(&rooms)];
        self.call_user(now, &scripts::DETACH, name, to, Purpose::Detach(rooms), arguments);
    }

    fn register(&mut self, now: Now, name: Name, socket: &str, device: Option<&str>, to: Option<Requester>) -> Outcome {
        while self.users.registered.pop_front_if(|until| *until <= now.mono).is_some() {}
        if self.users.registered.len() >= limits::REGISTRATIONS {
            return Err(Reject::overloaded());
        }
        self.users.registered.push_back(now.mono + limits::PENDING_MS);
        let most = wire::number(limits::REGISTRATIONS_PER_USER as u64);
        let arguments = vec![wire::text(socket), wire::text(device.unwrap_or_default()), most];
        self.call_user(now, &scripts::REGISTER, name, to, Purpose::Register, arguments);
        Ok(None)
    }

    pub(super) fn user_answered(
        &mut self,
        now: Now,
        to: Option<Requester>,
        name: Name,
        purpose: Purpose,
        outcome: Result<Bytes, CallError>,
        out: &mut Vec<Outgoing>,
    ) {
        let said = outcome.and_then(|text| {
            serde_json::from_slice::<Said>(&text).map_err(|error| CallError::Rejected(error.to_string().into()))
        });
        match said {
            Ok(Said { x: None, .. }) | Err(_) => {}
            Ok(Said { x: Some(why), ms, .. }) => {
                self.user_refused(&name, &purpose);
                return Self::answer(to, Err(self.reject(&why, ms)), out);
            }
        }
        match said {
            Ok(said) => self.user_granted(now, to, name, purpose, said, out),
            Err(_) => {
                self.user_missed(now, name, purpose, out);
                Self::answer(to, Err(Reject::storage_unavailable()), out);
            }
        }
    }

    fn user_granted(
        &mut self,
        now: Now,
        to: Option<Requester>,
        name: Name,
        purpose: Purpose,
        said: Said,
        out: &mut Vec<Outgoing>,
    ) {
        let connections = said.c.iter().map(|id| id.0);
        let reply = match purpose {
            Purpose::Attach(connection) => {
                self.users.going.remove(&name);
                Self::answer(to, Ok(said.v.clone().map_or(Reply::Done, Reply::Claimed)), out);
                return self.arrived(&name, connection, said, out);
            }
            Purpose::Detach(_) => {
                self.wait_for(now, &name, said.g);
                Reply::Done
            }
            Purpose::Restore(_) => {
                self.wait_for(now, &name, said.g.clone());
                return self.hand_all(&name, said, out);
            }
            Purpose::Introduce(connection, room) => {
                self.publish_introduction(&name, connection, &room, said);
                Reply::Done
            }
            Purpose::SetStatus | Purpose::Withdraw | Purpose::SpendRest => Reply::Done,
            Purpose::Send(sent) => Reply::Sent(sent),
            Purpose::Push => {
                let offline = if said.k == 0 { vec![name] } else { Vec::new() };
                Reply::Pushed(PushResult { reached: said.k, offline })
            }
            Purpose::Connections => Reply::Connections(connections.collect()),
            Purpose::Look(by) => Reply::Presence(view(name, &by, said)),
            Purpose::Register => match said.c.first() {
                Some(live) => Reply::Connections(vec![live.0]),
                None => Reply::Registered(None),
            },
            Purpose::Strike(id) => return self.struck(now, &name, id),
            Purpose::Lease(kind) => return self.leased(now, &name, kind, Some(said), out),
            Purpose::Repay => return,
            Purpose::Enroll(_) => return self.enrolled(now, None),
            Purpose::RoomsOf(question) => return self.rooms_of_user(now, question, Some(said.o), out),
            Purpose::GoOffline => return self.note_done(&name),
            Purpose::Purge(node) => return self.user_purged(now, &name, node, true),
        };
        Self::answer(to, Ok(reply), out);
    }

    /// A call was refused.
    fn user_refused(&mut self, name: &Name, purpose: &Purpose) {
        match purpose {
            Purpose::Attach(connection) => self.users.remove(name, *connection),
            // Redis did not know of what it was to forget.
            Purpose::Detach(_) => {}
            _ => return,
        }
        self.note_done(name);
    }

    /// A call was not answered; whether it was done is not known.
    fn user_missed(&mut self, now: Now, name: Name, purpose: Purpose, out: &mut Vec<Outgoing>) {
        match purpose {
            Purpose::Attach(connection) => {
                self.users.remove(&name, connection);
                self.note_stale(name, Vec::new());
            }
            Purpose::Detach(rooms) | Purpose::Restore(rooms) => self.note_stale(name, rooms),
            Purpose::GoOffline => self.note_stale(name, Vec::new()),
            Purpose::Strike(id) => self.users.directs.strike_failed(&name, id),
            Purpose::Lease(kind) => return self.leased(now, &name, kind, None, out),
            Purpose::Purge(node) => return self.user_purged(now, &name, node, false),
            Purpose::Enroll(enrolment) => return self.enrolled(now, Some(enrolment)),
            Purpose::RoomsOf(question) => return self.rooms_of_user(now, question, None, out),
            _ => return,
        }
        self.sweep_soon(now);
    }

    /// The refusal that a script means by a word.
    fn reject(&self, why: &str, ms: u64) -> Reject {
        match why {
            "connections" => too_many_connections(),
            "user" => user_not_found(),
            "connection" => connection_not_found(),
            "names" => too_many_names(),
            "rest" => too_many(QuotaKind::Rest, self.rules.rest_per_minute, ms),
            _ => Reject::storage_unavailable(),
        }
    }
}

/// How a user is, as `by` sees it; see [`crate::domain::user::User::view`].
fn view(user: Name, by: &Identity, said: Said) -> PresenceView {
    let Some(identity) = said.w.map(Identity::from) else { return PresenceView::nobody(user) };
    let Some(status) = said.s.as_deref().and_then(Status::parse) else {
        let identity = Identity::new(&user, Some(identity.username()), identity.email(), Roles::default());
        return PresenceView { last_seen: said.t, identity: Some(identity), ..PresenceView::nobody(user) };
    };
    let may_see = status != Status::Offline || by.user() == &*user || by.roles().admin;
    PresenceView {
        user,
        status,
        last_seen: Some(said.l),
        connections: if may_see { said.k } else { 0 },
        identity: Some(identity),
        connected_at: said.b.filter(|_| may_see),
        newest: said.c.first().map(|id| id.0).filter(|_| may_see),
    }
}
