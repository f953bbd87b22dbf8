//! A user: the connections and the presence.

use crate::base::Name;
use crate::base::few::SmallList;
use crate::base::ids::ConnectionId;
use crate::base::table::HasName;
use crate::base::time::Now;
use crate::domain::access::Identity;
use crate::domain::command::Status;
use crate::domain::event::Event;
use crate::domain::hook::{HookChange, HookKind};
use crate::domain::op::{AddressedEvent, Audience, OpContext, PresenceView, PushResult, Reply, RoomRules, UserOp};
use crate::domain::presence::{DisconnectKind, Presence};
use crate::domain::record::{Record, Seen};
use crate::domain::reject::{Code, Reject};

/// A user with a connection, or in the grace period after the last one.
pub(crate) struct User {
    /// The identity in the token of the first connection.
    pub(crate) identity: Identity,
    pub(crate) connections: SmallList<ConnectionId>,
    /// The start of the present uninterrupted connection, in milliseconds since 1970.
    since: u64,
    presence: Presence,
}

impl HasName for User {
    fn name(&self) -> &str {
        self.identity.user()
    }
}

impl User {
    pub(crate) fn new(identity: Identity) -> Self {
        Self { identity, connections: SmallList::None, since: 0, presence: Presence::default() }
    }

    /// Applies one operation, as [`crate::domain::room::Room::apply`] does.
    pub(crate) fn apply(&mut self, op: UserOp, context: &mut OpContext<'_>) -> Result<Reply, Reject> {
        match op {
            UserOp::Attach { connection, .. } => self.attach(connection, context),
            UserOp::Detach { connection, parting, rooms } => {
                self.detach(connection, parting, rooms, context);
                Ok(Reply::Done)
            }
            UserOp::AnnounceIn { connection, room } => {
                self.announce_in(connection, room, context);
                Ok(Reply::Done)
            }
            UserOp::SetStatus { status, last_seen, by } => {
                if self.presence.set(status, last_seen, context.now) {
                    if context.rules.outlives_process {
                        self.record_presence(context);
                    }
                    self.tell_presence(by, context);
                }
                Ok(Reply::Done)
            }
            UserOp::Push { direct, .. } => {
                self.tell(&Event::Direct(direct), context);
                let is_offline = self.connections.is_empty();
                let offline = is_offline.then(|| self.identity.user_name()).into_iter().collect();
                Ok(Reply::Pushed(PushResult { reached: self.connections.len(), offline }))
            }
            UserOp::Describe { by } => Ok(Reply::Presence(Box::new(self.view(&by, context.now)))),
            // The owner carries these out: they concern offline users, too.
            UserOp::Send { .. }
            | UserOp::BeginPush { .. }
            | UserOp::EndPush { .. }
            | UserOp::SpendRestQuota { .. }
            | UserOp::CountRoom { .. }
            | UserOp::RegisterSocket { .. }
            | UserOp::UnregisterSocket { .. } => Ok(Reply::Done),
            UserOp::ListConnections => Ok(Reply::Connections(self.connections.as_slice().to_vec())),
        }
    }

    /// The presence that `by` sees. The connections of a user that appears offline are hidden from others.
    pub(crate) fn view(&self, by: &Identity, now: Now) -> PresenceView {
        let status = self.presence.status();
        let may_see = status != Status::Offline || by.user() == self.identity.user() || by.roles().admin;
        PresenceView {
            user: self.identity.user_name(),
            status,
            last_seen: Some(self.presence.last_seen(now)),
            connections: if may_see { self.connections.len() } else { 0 },
            identity: Some(self.identity.clone()),
            connected_at: (may_see && !self.connections.is_empty()).then_some(self.since),
            newest: self.connections.as_slice().last().copied().filter(|_| may_see),
        }
    }

    /// The status that others see.
    pub(crate) fn shown(&self) -> Status {
        if self.connections.is_empty() { Status::Offline } else { self.presence.status() }
    }

    pub(crate) fn tell(&self, event: &Event, context: &mut OpContext<'_>) {
        for connection in self.connections.as_slice() {
            let audience = Audience::Connection(*connection);
            context.events.push(AddressedEvent { audience, event: event.clone() });
        }
    }

    /// The end of the grace period, in monotonic milliseconds; `None` with a connection.
    pub(crate) fn offline_at(&self) -> Option<u64> {
        self.presence.offline_at()
    }

    /// Ends the grace period. A user that appeared offline before causes no event.
    pub(crate) fn go_offline(&mut self, context: &mut OpContext<'_>) {
        let last_seen = self.presence.last_seen(context.now);
        self.record_presence(context);
        context.hook(HookKind::UserOffline, || HookChange::User { user: self.identity.user_name(), is_online: false });
        if self.presence.set(Status::Offline, Some(last_seen), context.now) {
            self.tell_presence(None, context);
        }
    }

    fn attach(&mut self, connection: ConnectionId, context: &mut OpContext<'_>) -> Result<Reply, Reject> {
        let max = context.rules.connections_per_user;
        if max != 0 && self.connections.len() >= max {
            return Err(too_many_connections());
        }
        let is_first = self.connections.is_empty() && self.presence.offline_at().is_none();
        if self.connections.is_empty() {
            self.since = context.now.wall;
        }
        self.connections.push(connection);
        self.hook_connection(connection, true, context);
        self.presence.end_grace();
        if is_first {
            context
                .hook(HookKind::UserOnline, || HookChange::User { user: self.identity.user_name(), is_online: true });
            self.tell_presence(Some(connection), context);
        }
        Ok(Reply::Done)
    }

    fn detach(
        &mut self,
        connection: ConnectionId,
        parting: DisconnectKind,
        rooms: Vec<Name>,
        context: &mut OpContext<'_>,
    ) {
        // A connection that was rejected is unknown.
        if let Some(at) = self.connections.as_slice().iter().position(|known| *known == connection) {
            self.connections.remove(at);
            self.hook_connection(connection, false, context);
            self.presence.add_rooms(rooms);
            if self.connections.is_empty() {
                let grace_ms = if parting == DisconnectKind::Lost { context.rules.presence_grace_ms } else { 0 };
                self.presence.start_grace(grace_ms, context.now);
            }
        }
    }

    fn hook_connection(&self, connection: ConnectionId, is_open: bool, context: &mut OpContext<'_>) {
        let kind = if is_open { HookKind::ConnectionOpened } else { HookKind::ConnectionClosed };
        context.hook(kind, || HookChange::Connection { connection, user: self.identity.user_name(), is_open });
    }

    /// Publishes the presence in a room that the user has joined. A room that the user has returned to knows it.
    fn announce_in(&mut self, connection: ConnectionId, room: Name, context: &mut OpContext<'_>) {
        if !self.presence.take_room(&room) && self.presence.status() != Status::Offline {
            let event = self.presence_event(context);
            context.events.push(AddressedEvent { audience: Audience::Acquaintances { connection, room }, event });
        }
    }

    /// Whether the presence is stored for the time when the user is offline. That of guests is not.
    pub(crate) fn is_recorded(&self, rules: &RoomRules) -> bool {
        rules.has_store && !self.identity.roles().guest
    }

    /// Records the presence. While the user is online it is needed after a restart only.
    pub(crate) fn record_presence(&self, context: &mut OpContext<'_>) {
        if self.is_recorded(context.rules) {
            let (status, at) = (self.presence.status(), self.presence.last_seen(context.now));
            let seen = Seen { identity: self.identity.clone(), status, at };
            context.records.push(Record::UserSeen(Box::new(seen)));
        }
    }

    /// Checks the user's invariants, for tests.
    pub(crate) fn check_invariants(&self, rules: &RoomRules) {
        let connections = self.connections.as_slice();
        let max = rules.connections_per_user;
        assert!(max == 0 || connections.len() <= max, "user: connections are within their limit");
        for (at, connection) in connections.iter().enumerate() {
            assert!(!connections[..at].contains(connection), "user: each connection is listed once");
        }
        assert_eq!(
            connections.is_empty(),
            self.presence.offline_at().is_some(),
            "user: a user without connections, and no other, is in the grace period"
        );
        self.presence.check_invariants();
    }

    fn tell_presence(&self, except: Option<ConnectionId>, context: &mut OpContext<'_>) {
        let audience = Audience::Observers { except, rooms: self.presence.rooms().to_vec() };
        context.events.push(AddressedEvent { audience, event: self.presence_event(context) });
    }

    fn presence_event(&self, context: &OpContext<'_>) -> Event {
        let last_seen = self.presence.last_seen(context.now);
        Event::Presence { by: self.identity.clone(), status: self.presence.status(), last_seen }
    }
}

/// The user has the maximum number of connections.
pub(crate) fn too_many_connections() -> Reject {
    Reject::new(Code::RateLimited, "Too many connections of this user")
}

/// The refusal of another room to a user that has made `most`.
pub(crate) fn too_many_rooms(most: usize) -> Reject {
    let text = format!("{most} rooms of this user exist, and no more can be made (limits.rooms_per_user)");
    Reject::new(Code::RateLimited, text)
}

/// The refusal of a message to a user for whom too much waits.
pub(crate) fn too_much_waits(most: usize) -> Reject {
    let text = format!("{most} bytes of messages wait for this user, and no more can (limits.direct_bytes_per_user)");
    Reject::new(Code::RateLimited, text)
}

/// The refusal of a push while another one with its idempotency key is not done.
pub(crate) fn push_under_way() -> Reject {
    Reject::new(Code::Overloaded, "A call with this idempotency key is under way, try again later")
}

/// No user of that id is connected.
pub(crate) fn user_not_found() -> Reject {
    Reject::new(Code::UserNotFound, "No user of that id is connected")
}

#[cfg(test)]
mod tests;
