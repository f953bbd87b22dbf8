//! Pushes of backends with an idempotency key, each done once: those under way are noted here, the reach of those that are done is
//! stored for repeated calls.

use std::collections::BTreeMap;

use crate::base::Name;
use crate::base::limits;
use crate::domain::op::{PushResult, Reply};
use crate::domain::record::{KeptPush, Record};
use crate::domain::reject::Reject;
use crate::domain::user::push_under_way;
use crate::message::storage::{StorageQuery, StorageReply};
use crate::owner::embedded::commit_barrier::PendingEffect;
use crate::owner::embedded::storage_requests::{StorageRequest, StorageResult};
use crate::owner::embedded::turn::{OpOutcome, Turn};

/// The pushes under way, by backend and key, with the time in monotonic milliseconds at which they are forgotten.
#[derive(Default)]
pub(super) struct Pushes(BTreeMap<(Name, Box<str>), u64>);

impl Pushes {
    /// Begins a push, unless storage knows that it was done.
    pub(super) fn begin(&mut self, turn: &mut Turn<'_>, sender: Name, key: Box<str>) -> OpOutcome {
        let now_ms = turn.now.mono;
        if self.0.len() >= limits::PUSHES_UNDER_WAY {
            self.0.retain(|_, until| *until > now_ms);
        }
        if self.0.len() >= limits::PUSHES_UNDER_WAY {
            return Err(Reject::overloaded());
        }
        let place = (sender.clone(), key.clone());
        if self.0.get(&place).is_some_and(|until| *until > now_ms) {
            return Err(push_under_way());
        }
        turn.check_store()?;
        self.0.insert(place, now_ms + limits::PUSH_MS);
        if !turn.rules().has_store {
            return Ok(Some(Reply::Begun(None)));
        }
        let query = StorageQuery::Push { sender: sender.clone(), key: key.clone() };
        turn.request(StorageRequest::Push { sender, key }, query);
        Ok(None)
    }

    /// The result of [`StorageRequest::Push`].
    pub(super) fn found(&mut self, turn: &mut Turn<'_>, sender: Name, key: Box<str>, result: StorageResult) {
        let reply = match result {
            Ok(StorageReply::Push(known)) => Ok(Reply::Begun(known)),
            _ => Err(Reject::storage_unavailable()),
        };
        if !matches!(reply, Ok(Reply::Begun(None))) {
            self.forget(sender, key);
        }
        turn.reply(reply);
    }

    /// Ends a push: with a result, when that is committed.
    pub(super) fn end(
        &mut self,
        turn: &mut Turn<'_>,
        sender: Name,
        key: Box<str>,
        result: Option<PushResult>,
    ) -> OpOutcome {
        let Some(result) = result.filter(|_| turn.rules().has_store) else {
            self.forget(sender, key);
            return Ok(Some(Reply::Done));
        };
        let kept = Box::new(KeptPush { sender, key, at: turn.now.wall, result });
        turn.hold([Record::PushKept(kept.clone())], PendingEffect::PushEnd(kept));
        Ok(None)
    }

    /// A push is not under way any more.
    pub(super) fn forget(&mut self, sender: Name, key: Box<str>) {
        self.0.remove(&(sender, key));
    }
}
