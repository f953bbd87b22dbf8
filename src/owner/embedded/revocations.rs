//! Changes of the list of revocations: stored by the one shard that owns the list, then sent to all shards.

use std::sync::Arc;

use crate::domain::op::Reply;
use crate::domain::record::Record;
use crate::domain::revocation::RevocationChange;
use crate::message::{ShardMessage, ShardNumber};
use crate::owner::embedded::commit_barrier::PendingEffect;
use crate::owner::embedded::turn::{OpOutcome, Turn};

/// Stores a change; its effect and the reply follow the commit.
pub(super) fn apply(turn: &mut Turn<'_>, change: RevocationChange) -> OpOutcome {
    let record = match &change {
        RevocationChange::Added(revocation) => Record::RevocationKept(Arc::clone(revocation)),
        RevocationChange::Removed(subject) => Record::RevocationRemoved(Box::new(subject.clone())),
        RevocationChange::Replaced(_) => {
            debug_assert!(false, "invariant: no request replaces the list");
            return Ok(Some(Reply::Done));
        }
    };
    if !turn.rules().has_store {
        publish(turn, &change);
        return Ok(Some(Reply::Done));
    }
    turn.check_store()?;
    turn.hold([record], PendingEffect::Revocation(change));
    Ok(None)
}

/// Sends a change to all shards, before the reply: later requests of the requester find it done.
pub(super) fn publish(turn: &mut Turn<'_>, change: &RevocationChange) {
    for shard in 0..turn.core.placement.shards() as ShardNumber {
        turn.send(shard, ShardMessage::Revocation(change.clone()));
    }
}
