//! A user: their connections, how they are, and the messages that reach them wherever they are connected.

use crate::base::few::Few;
use crate::base::ids::ConnectionId;
use crate::base::table::Named;
use crate::base::wheel::{TICK_MS, Tick, tick};
use crate::domain::access::Identity;
use crate::domain::command::Status;
use crate::domain::event::Event;
use crate::domain::op::{Audience, Context, Fact, Reply, UserOp};
use crate::domain::reject::{Code, Reject};

/// One user who is connected, or was a moment ago.
pub struct User {
    /// Who they are, as their first connection's token said.
    pub identity: Identity,
    /// Their connections, oldest first.
    pub connections: Few<ConnectionId>,
    /// How they say they are.
    status: Status,
    /// When their last connection ended, in ticks of the monotonic clock; [`HERE`] while they have one.
    gone_since: Tick,
}

/// The time at which somebody who is here has gone.
const HERE: Tick = Tick::MAX;

impl Named for User {
    fn name(&self) -> &str {
        self.identity.user()
    }
}

impl User {
    /// Somebody not yet seen.
    pub fn new(identity: Identity) -> Self {
        Self { identity, connections: Few::None, status: Status::Offline, gone_since: HERE }
    }

    /// Applies one act, as [`crate::domain::room::Room::apply`] does.
    pub fn apply(&mut self, op: UserOp, context: &mut Context<'_>) -> Result<Reply, Reject> {
        match op {
            UserOp::Attach { connection, .. } => self.attach(connection, context),
            UserOp::Detach { connection } => {
                if let Some(at) = self.connections.as_slice().iter().position(|known| *known == connection) {
                    self.connections.remove(at);
                }
                if self.connections.is_empty() {
                    self.gone_since = self.gone_since.min(tick(context.now.mono));
                }
                Ok(Reply::Done)
            }
            UserOp::SetStatus { status } => {
                self.status = status;
                self.tell_presence(context);
                Ok(Reply::Done)
            }
            // Whoever keeps the user sees to these.
            UserOp::Send { .. } | UserOp::SpendRest => Ok(Reply::Done),
            UserOp::Connections => Ok(Reply::Connections(self.connections.as_slice().to_vec())),
        }
    }

    /// Tells every connection of the user.
    pub fn tell(&self, event: &Event, context: &mut Context<'_>) {
        for connection in self.connections.as_slice() {
            context.tell(*connection, event.clone());
        }
    }

    /// When the user counts as offline, in monotonic milliseconds, if no connection of theirs comes before.
    pub fn offline_at(&self, grace_ms: u64) -> Option<u64> {
        (self.gone_since != HERE).then(|| u64::from(self.gone_since) * TICK_MS + grace_ms)
    }

    /// The grace period is over.
    pub fn go_offline(&mut self, context: &mut Context<'_>) {
        if self.status != Status::Offline {
            self.status = Status::Offline;
            self.tell_presence(context);
        }
    }

    fn attach(&mut self, connection: ConnectionId, context: &mut Context<'_>) -> Result<Reply, Reject> {
        let max = context.rules.connections_per_user;
        if max != 0 && self.connections.len() >= max {
            return Err(Reject::new(Code::RateLimited, "Too many connections of this user"));
        }
        self.connections.push(connection);
        let is_back_in_time = std::mem::replace(&mut self.gone_since, HERE) != HERE;
        if self.status == Status::Offline && !is_back_in_time {
            self.status = Status::Online;
            self.tell_presence(context);
        }
        Ok(Reply::Done)
    }

    fn tell_presence(&self, context: &mut Context<'_>) {
        let event =
            Event::Presence { user: self.identity.user_name(), status: self.status, last_seen: context.now.wall };
        context.facts.push(Fact { audience: Audience::Everyone, event });
    }
}

/// Nobody of that id is connected.
pub fn user_not_found() -> Reject {
    Reject::new(Code::UserNotFound, "No user of that id is connected")
}
