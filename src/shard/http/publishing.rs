//! Messages of backends to rooms: the requests of a publication, and the steps of a batch.

use crate::base::Name;
use crate::base::ids::ConnectionId;
use crate::base::limits;
use crate::dialect::rest::{Batch, Publish, PublishTarget};
use crate::domain::access::Identity;
use crate::domain::op::{Op, Publisher, Reply, RoomOp, SendMessage};
use crate::domain::reject::Reject;
use crate::shard::http::calls::{CallRequests, CallStep};
use crate::shard::streams::text_of;

/// The requests of a batch to rooms. Those to the same room are carried out in their order.
pub(super) fn batch_to_rooms(by: &Identity, batch: &Batch, caller: ConnectionId) -> CallRequests {
    let to_rooms = batch.messages.iter().flat_map(|message| match &message.target {
        PublishTarget::Rooms(rooms) => rooms.iter().map(|room| (message, room)).collect(),
        PublishTarget::Users(_) | PublishTarget::All => Vec::new(),
    });
    let send = |(part, (message, room))| send_to_room(by, message, caller, (part, room));
    ((0..).zip(to_rooms).map(send).collect(), Some(Reply::Published(Vec::new())))
}

/// The step after an outcome of a batch.
pub(super) fn batch_step(batch: &mut Batch, reply: Result<Reply, Reject>) -> CallStep {
    batch.note(reply);
    let next = batch.next_push().map(|message| CallStep::Push(Box::new(message.clone())));
    next.unwrap_or(CallStep::Answer(Reply::Done))
}

/// The request of a publication to one of its rooms.
pub(super) fn send_to_room(by: &Identity, publish: &Publish, caller: ConnectionId, (part, room): (u16, &Name)) -> Op {
    let key = publish.idempotency_key.as_deref();
    let message = SendMessage {
        connection: publish.except.unwrap_or(caller),
        publisher: Some(Publisher { identity: by.clone(), part, is_momentary: publish.is_momentary }),
        to: None,
        content: publish.content.clone(),
        client_message_id: key.map(|key| [limits::PUBLICATION_KEY_PREFIX, key].concat().into()),
        revises: None,
        stream: publish.is_stream.then(|| text_of(&publish.content.body, None, usize::MAX)),
    };
    Op::Room(room.clone(), RoomOp::Send(Box::new(message)))
}
