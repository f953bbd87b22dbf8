//! Operations of admins on the outbox of hook events, which is in the store.

use crate::base::limits;
use crate::domain::hook::OutboxOp;
use crate::domain::op::Reply;
use crate::domain::record::Record;
use crate::domain::reject::Reject;
use crate::message::storage::{StorageQuery, StorageReply};
use crate::owner::embedded::commit_barrier::PendingEffect;
use crate::owner::embedded::storage_requests::{StorageRequest, StorageResult};
use crate::owner::embedded::turn::{OpOutcome, Turn};

pub(super) fn apply(turn: &mut Turn<'_>, op: OutboxOp) -> OpOutcome {
    turn.check_store()?;
    match op {
        OutboxOp::ListDeadLetters => {
            let query = StorageQuery::DeadLetters { limit: limits::DEAD_LETTERS_LISTED };
            turn.request(StorageRequest::DeadLetters, query);
        }
        OutboxOp::Replay { endpoint } => {
            turn.hold([Record::DeadLettersReplayed { endpoint }], PendingEffect::Reply(Reply::Done));
        }
    }
    Ok(None)
}

/// The result of [`StorageRequest::DeadLetters`].
pub(super) fn dead_letters_found(result: StorageResult) -> Result<Reply, Reject> {
    match result {
        Ok(StorageReply::DeadLetters(letters)) => Ok(Reply::DeadLetters(letters)),
        _ => Err(Reject::storage_unavailable()),
    }
}
