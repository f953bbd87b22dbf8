//! Acts on rooms.

use crate::authority::redis::{Outcome, Redis};
use crate::base::Name;
use crate::base::time::Now;
use crate::domain::op::RoomOp;
use crate::domain::reject::Reject;
use crate::mail::redis::{Fault, Text};
use crate::mail::{Asker, Outgoing};
use std::collections::BTreeSet;

/// What a call was for.
pub(super) enum Purpose {}

/// Something about a room that is to be looked at.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Due {}

impl Redis {
    pub(super) fn room_op(
        &mut self,
        _now: Now,
        _name: Name,
        _op: RoomOp,
        _to: Asker,
        _out: &mut Vec<Outgoing>,
    ) -> Outcome {
        Err(Reject::storage_unavailable())
    }
    pub(super) fn room_answered(
        &mut self,
        _now: Now,
        _to: (Option<Asker>, u32),
        _name: Name,
        purpose: Purpose,
        _outcome: Result<Text, Fault>,
        _out: &mut Vec<Outgoing>,
    ) {
        match purpose {}
    }
    pub(super) fn room_published(&mut self, _now: Now, _room: &str, _body: &[u8], _out: &mut Vec<Outgoing>) {}
    pub(super) fn room_followed(&mut self, _now: Now, _room: &str) {}
    pub(super) fn room_due(&mut self, _now: Now, _name: Name, due: Due, _out: &mut Vec<Outgoing>) {
        match due {}
    }
}
