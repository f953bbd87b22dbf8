//! What it takes to bring lost connections back, on whichever node they come.

use crate::authority::redis::{Outcome, Redis};
use crate::base::ids::ConnectionId;
use crate::base::time::Now;
use crate::domain::recovery::SessionOp;
use crate::domain::reject::Reject;
use crate::mail::redis::{Fault, Text};
use crate::mail::{Asker, Outgoing};

/// What a call was for.
pub(super) enum Purpose {}

impl Redis {
    pub(super) fn session_op(&mut self, _now: Now, _of: ConnectionId, _op: SessionOp, _to: Asker) -> Outcome {
        Err(Reject::storage_unavailable())
    }

    pub(super) fn session_answered(
        &mut self,
        _now: Now,
        _to: Option<Asker>,
        purpose: Purpose,
        _outcome: Result<Text, Fault>,
        _out: &mut Vec<Outgoing>,
    ) {
        match purpose {}
    }
}
