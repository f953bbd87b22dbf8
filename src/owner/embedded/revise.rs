//! Changes of messages that the room does not remember: storage has to find the sender first.

use crate::base::Name;
use crate::domain::event::RevisionKind;
use crate::domain::op::{RoomOp, RoomRules, SendMessage};
use crate::domain::reject::Reject;
use crate::domain::room::Room;
use crate::message::storage::StorageQuery;
use crate::owner::embedded::loading::refused;
use crate::owner::embedded::room_log::found_message;
use crate::owner::embedded::rooms::RoomStore;
use crate::owner::embedded::storage_requests::{StorageRequest, StorageResult};
use crate::owner::embedded::turn::{OpOutcome, Turn};

/// Whether storage has to find the sender of the message that `message` changes.
pub(super) fn needs_lookup(room: &Room, message: &SendMessage, rules: &RoomRules) -> bool {
    message.revises.as_deref().is_some_and(|change| {
        // The room knows its open streams.
        !matches!(change.kind, RevisionKind::Append(_))
            && change.sender.is_none()
            && room.log.sender_of(change.message).is_none()
            && room.log.is_kept(rules)
    })
}

pub(super) fn look_up(turn: &mut Turn<'_>, room: Name, message: SendMessage) {
    let id = message.revises.as_deref().map(|change| change.message).unwrap_or_default();
    turn.request(StorageRequest::Revised { room, message: Box::new(message) }, StorageQuery::Message { id });
}

/// The result of [`StorageRequest::Revised`].
pub(super) fn found(
    rooms: &mut RoomStore,
    turn: &mut Turn<'_>,
    room: Name,
    mut message: Box<SendMessage>,
    result: StorageResult,
) -> OpOutcome {
    let part = message.publisher.as_ref().map(|publisher| publisher.part);
    let sender = match found_message(result, &room) {
        Ok(view) if view.message.is_live() => view.message.sender,
        Ok(_) => return refused(part, Reject::message_not_found()),
        Err(reject) => return refused(part, reject),
    };
    if let Some(change) = &mut message.revises {
        change.sender = Some(sender);
    }
    rooms.apply(turn, room, RoomOp::Send(message))
}
