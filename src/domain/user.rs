//! A user: their connections, how they are, and the messages that reach them wherever they are connected.

use crate::base::Name;
use crate::base::few::SmallList;
use crate::base::ids::ConnectionId;
use crate::base::table::HasName;
use crate::base::time::Now;
use crate::domain::access::Identity;
use crate::domain::command::Status;
use crate::domain::event::Event;
use crate::domain::op::{AddressedEvent, Audience, OpContext, PresenceView, PushResult, Reply, RoomRules, UserOp};
use crate::domain::presence::{DisconnectKind, Presence};
use crate::domain::record::{Record, Seen};
use crate::domain::reject::{Code, Reject};

/// One user who is connected, or was a moment ago.
pub struct User {
    /// Who they are, as their first connection's token said.
    pub identity: Identity,
    /// Their connections, oldest first.
    pub connections: SmallList<ConnectionId>,
    /// Since when they have been connected without a break, in milliseconds since 1970.
    since: u64,
    /// How they are.
    presence: Presence,
}

impl HasName for User {
    fn name(&self) -> &str {
        self.identity.user()
    }
}

impl User {
    /// Somebody not yet seen.
    pub fn new(identity: Identity) -> Self {
        Self { identity, connections: SmallList::None, since: 0, presence: Presence::default() }
    }

    /// Applies one act, as [`crate::domain::room::Room::apply`] does.
    pub fn apply(&mut self, op: UserOp, context: &mut OpContext<'_>) -> Result<Reply, Reject> {
        match op {
            UserOp::Attach { connection, .. } => self.attach(connection, context),
            UserOp::Detach { connection, parting, rooms } => {
                self.detach(connection, parting, rooms, context);
                Ok(Reply::Done)
            }
            UserOp::AnnounceIn { connection, room } => {
                self.introduce(connection, room, context);
                Ok(Reply::Done)
            }
            UserOp::SetStatus { status, last_seen, by } => {
                if self.presence.set(status, last_seen, context.now) {
                    if context.rules.outlives_process {
                        self.note_seen(context);
                    }
                    self.tell_presence(by, context);
                }
                Ok(Reply::Done)
            }
            UserOp::Push { direct } => {
                self.tell(&Event::Direct(direct), context);
                let is_offline = self.connections.is_empty();
                let offline = is_offline.then(|| self.identity.user_name()).into_iter().collect();
                Ok(Reply::Pushed(PushResult { reached: self.connections.len(), offline }))
            }
            UserOp::Describe { by } => Ok(Reply::Presence(self.view(&by, context.now))),
            // Whoever keeps the user sees to these: they concern those who are not connected, too.
            UserOp::Send { .. }
            | UserOp::SpendRestQuota
            | UserOp::RegisterSocket { .. }
            | UserOp::UnregisterSocket { .. } => Ok(Reply::Done),
            UserOp::ListConnections => Ok(Reply::Connections(self.connections.as_slice().to_vec())),
        }
    }

    /// How the user is, as `by` sees it: who seems offline has no connections for others to see.
    pub fn view(&self, by: &Identity, now: Now) -> PresenceView {
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

    /// How they seem to everybody.
    pub fn shown(&self) -> Status {
        if self.connections.is_empty() { Status::Offline } else { self.presence.status() }
    }

    /// Tells every connection of the user.
    pub fn tell(&self, event: &Event, context: &mut OpContext<'_>) {
        for connection in self.connections.as_slice() {
            context.tell(*connection, event.clone());
        }
    }

    /// When the user is offline, in monotonic milliseconds, if no connection of theirs comes before.
    pub fn offline_at(&self) -> Option<u64> {
        self.presence.offline_at()
    }

    /// That moment has come. Who seemed offline before is no news.
    pub fn go_offline(&mut self, context: &mut OpContext<'_>) {
        let last_seen = self.presence.last_seen(context.now);
        self.note_seen(context);
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
        self.presence.come_back();
        if is_first {
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
        let known = self.connections.as_slice().iter().position(|known| *known == connection);
        let Some(_) = known.and_then(|at| self.connections.remove(at)) else { return };
        self.presence.part_from(rooms);
        if self.connections.is_empty() {
            let grace_ms = if parting == DisconnectKind::Lost { context.rules.presence_grace_ms } else { 0 };
            self.presence.go(grace_ms, context.now);
        }
    }

    /// Who joins a room is seen there as they are; who is only back there is as they were.
    fn introduce(&mut self, connection: ConnectionId, room: Name, context: &mut OpContext<'_>) {
        if !self.presence.is_known_in(&room) && self.presence.status() != Status::Offline {
            let event = self.presence_event(context);
            context.events.push(AddressedEvent { audience: Audience::Acquaintances { connection, room }, event });
        }
    }

    /// Whether it is kept how the user was when they have gone. Nobody asks for a guest then.
    pub fn is_noted(&self, rules: &RoomRules) -> bool {
        rules.has_store && !self.identity.roles().guest
    }

    /// Has it kept how the user is, and since when. While they are here only a restart asks for it.
    pub fn note_seen(&self, context: &mut OpContext<'_>) {
        if self.is_noted(context.rules) {
            let (status, at) = (self.presence.status(), self.presence.last_seen(context.now));
            let seen = Seen { identity: self.identity.clone(), status, at };
            context.records.push(Record::UserSeen(Box::new(seen)));
        }
    }

    fn tell_presence(&self, except: Option<ConnectionId>, context: &mut OpContext<'_>) {
        let audience = Audience::Observers { except, rooms: self.presence.rooms().to_vec() };
        context.events.push(AddressedEvent { audience, event: self.presence_event(context) });
    }

    fn presence_event(&self, context: &OpContext<'_>) -> Event {
        let last_seen = self.presence.last_seen(context.now);
        Event::Presence { user: self.identity.user_name(), status: self.presence.status(), last_seen }
    }
}

/// The user has as many connections as they may.
pub fn too_many_connections() -> Reject {
    Reject::new(Code::RateLimited, "Too many connections of this user")
}

/// Nobody of that id is connected.
pub fn user_not_found() -> Reject {
    Reject::new(Code::UserNotFound, "No user of that id is connected")
}

#[cfg(test)]
mod tests;
