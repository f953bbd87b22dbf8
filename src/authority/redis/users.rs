//! Users: their connections on all nodes, how they are, and the messages that wait for them.

use uuid::Uuid;

use crate::authority::redis::{Outcome, Redis};
use crate::base::Name;
use crate::base::time::Now;
use crate::domain::event::Event;
use crate::domain::op::UserOp;
use crate::domain::reject::Reject;
use crate::mail::redis::{Fault, Text};
use crate::mail::{Asker, Outgoing};

/// The users with connections on this node.
pub(super) struct Users {}

/// What a call was for.
pub(super) enum Purpose {}

/// Something about a user that is to be looked at.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Due {}

impl Users {
    pub(super) fn new(_seed: u64) -> Self {
        Self {}
    }
}

impl Redis {
    pub(super) fn user_op(
        &mut self,
        _now: Now,
        _name: Name,
        _op: UserOp,
        _to: Asker,
        _out: &mut Vec<Outgoing>,
    ) -> Outcome {
        Err(Reject::storage_unavailable())
    }

    pub(super) fn user_answered(
        &mut self,
        _now: Now,
        _to: Option<Asker>,
        _name: Name,
        purpose: Purpose,
        _outcome: Result<Text, Fault>,
        _out: &mut Vec<Outgoing>,
    ) {
        match purpose {}
    }

    pub(super) fn user_due(&mut self, _now: Now, _name: Name, due: Due, _out: &mut Vec<Outgoing>) {
        match due {}
    }

    /// A connection of a user has a message.
    pub(super) fn strike(&mut self, _user: &Name, _message: Uuid) {}

    /// Has a user's connections on a node forgotten that is no more.
    pub(super) fn purge_user(&mut self, now: Now, user: Name, node: u16) {
        self.user_purged(now, &user, node, true);
    }

    /// Has noted which users this node has to do with.
    pub(super) fn note_users(&mut self) {}

    /// Redis has forgotten this node's users.
    pub(super) fn users_begin_anew(&mut self, _now: Now) {}

    /// Tells a user's connections on this node.
    pub(super) fn tell_local_user(&mut self, _user: &Name, _event: &Event, _out: &mut Vec<Outgoing>) {}
}
