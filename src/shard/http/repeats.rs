//! Pushes to users and to all connections with an idempotency key: the owner of the backend, as a user, is asked before each whether it
//! was done, and told its reach afterwards.

use crate::dialect::rest::{PublishTarget, RestCall};
use crate::domain::op::{Op, Reply, UserOp};
use crate::domain::reject::Reject;
use crate::shard::http::calls::{CallRequests, PendingCall};

/// A push with an idempotency key.
pub(super) struct Repeatable {
    key: Box<str>,
    /// Whether the owner has let it begin.
    is_begun: bool,
}

/// What follows a reply.
pub(super) enum AfterReply {
    /// It is for the call.
    Reply(Result<Reply, Reject>),
    /// This request, whose reply is for the call.
    Request(Op),
    /// This request without a reply, and the refusal of the call.
    Refusal(Op, Reject),
}

/// The idempotency key of the call, if it pushes something. `header` is the value of `Idempotency-Key`.
pub(super) fn push_key(call: &RestCall, header: Option<&str>) -> Option<Box<str>> {
    match call {
        RestCall::Publish(publish) if matches!(publish.target, PublishTarget::Rooms(_)) => None,
        RestCall::Publish(publish) => publish.idempotency_key.clone(),
        RestCall::Batch(batch) if batch.has_rooms() => None,
        RestCall::Batch(batch) => batch.next_push().and_then(|message| message.idempotency_key.clone()),
        call if call.is_push() => header.map(|key| key.trim_matches('"').into()),
        _ => None,
    }
}

impl PendingCall {
    /// The requests of a push, or the question before them if it has a key.
    pub(super) fn begin_push(&mut self, key: Option<Box<str>>, requests: CallRequests) -> CallRequests {
        let Some(key) = key else { return requests };
        self.next.push(requests);
        let begin = Op::User(self.by.user_name(), UserOp::BeginPush { key: key.clone() });
        self.repeatable = Some(Repeatable { key, is_begun: false });
        (vec![begin], None)
    }

    /// What follows a reply to a push with a key.
    pub(super) fn after_reply(&mut self, reply: Result<Reply, Reject>) -> AfterReply {
        let Some(repeatable) = &mut self.repeatable else { return AfterReply::Reply(reply) };
        let reply = match reply {
            Ok(Reply::Begun(None)) => {
                repeatable.is_begun = true;
                return AfterReply::Reply(Ok(Reply::Done));
            }
            Ok(Reply::Begun(Some(result))) => {
                // It was done before.
                (self.repeatable, _) = (None, self.next.pop());
                return AfterReply::Reply(Ok(Reply::Pushed(result)));
            }
            reply if repeatable.is_begun => reply,
            reply => {
                if reply.is_err() {
                    self.repeatable = None;
                }
                return AfterReply::Reply(reply);
            }
        };
        let key = std::mem::take(&mut repeatable.key);
        self.repeatable = None;
        let end = |result| Op::User(self.by.user_name(), UserOp::EndPush { key, result });
        match reply {
            Ok(Reply::Pushed(result)) => AfterReply::Request(end(Some(result))),
            Err(reject) => AfterReply::Refusal(end(None), reject),
            reply => AfterReply::Reply(reply),
        }
    }
}
