//! Receipts for several messages: the room knows the recent ones, storage has to find the others.

use uuid::Uuid;

use crate::base::Name;
use crate::base::ids::ConnectionId;
use crate::base::limits;
use crate::domain::command::ReceiptKind;
use crate::domain::history::Unread;
use crate::domain::messages::{OlderMessages, mark_messages};
use crate::domain::op::{MarkedMessages, Reply, UnreadOf};
use crate::domain::reject::Reject;
use crate::message::storage::{MessageSpan, StorageQuery, StorageReply};
use crate::owner::embedded::room_log::found_message;
use crate::owner::embedded::rooms::{RoomStore, room_at};
use crate::owner::embedded::storage_requests::{StorageRequest, StorageResult};
use crate::owner::embedded::turn::{OpOutcome, Turn};

/// Marks several messages.
pub(super) fn mark(
    rooms: &mut RoomStore,
    turn: &mut Turn<'_>,
    place: u32,
    connection: ConnectionId,
    (messages, kind): (&MarkedMessages, ReceiptKind),
) -> OpOutcome {
    let room = room_at(&mut rooms.rooms, place);
    room.touch(turn.now);
    let older = mark_messages(room, connection, messages, kind, &mut turn.context())?;
    let name = room.id.clone();
    if let OlderMessages::UpTo(last) = older {
        turn.request(StorageRequest::ReceiptsUpTo { room: name, connection, kind }, StorageQuery::Message { id: last });
        return Ok(None);
    }
    let is_kept = room.log.is_kept(turn.rules());
    let outcome = turn.publish_or_hold(room, Ok(Reply::Done), false, (0, None));
    match older {
        OlderMessages::These(messages) if is_kept => request_each(turn, &name, connection, messages, kind),
        OlderMessages::Before(Some(span)) if is_kept => request_before(turn, name, (connection, kind), span),
        _ => {}
    }
    outcome
}

/// Counts the messages that a user has not read. Rooms without history do not know.
pub(super) fn count_unread(rooms: &mut RoomStore, turn: &mut Turn<'_>, place: u32, of: UnreadOf) -> OpOutcome {
    let room = room_at(&mut rooms.rooms, place);
    let user = match of {
        UnreadOf::Member(connection) => room.user_of(connection)?.user_name(),
        UnreadOf::User(user) => user,
    };
    let (room, is_kept, last) = (room.id.clone(), room.log.is_kept(turn.rules()), room.log.committed());
    if !is_kept || last == 0 {
        let (count, read, complete) = (0, None, last == 0);
        return Ok(Some(Reply::Unread(Box::new(Unread { room, user, count, read, complete }))));
    }
    let query = StorageQuery::Unread { room: room.clone(), user: user.clone() };
    turn.request(StorageRequest::Unread { room, user }, query);
    Ok(None)
}

/// The result of [`StorageRequest::Unread`].
pub(super) fn unread_found(room: Name, user: Name, result: StorageResult) -> Result<Reply, Reject> {
    match result {
        Ok(StorageReply::Unread { count, read, complete }) => {
            Ok(Reply::Unread(Box::new(Unread { room, user, count, read, complete })))
        }
        _ => Err(Reject::storage_unavailable()),
    }
}

/// The result of [`StorageRequest::ReceiptsUpTo`]: the last one of the messages.
pub(super) fn last_found(
    turn: &mut Turn<'_>,
    room: Name,
    (connection, kind): (ConnectionId, ReceiptKind),
    result: StorageResult,
) -> Result<Reply, Reject> {
    let last = found_message(result, &room)?.message.seq.unwrap_or_default();
    request_before(turn, room, (connection, kind), (last, limits::RECEIPTS_PER_REQUEST));
    Ok(Reply::Done)
}

/// The result of [`StorageRequest::ReceiptsBefore`]: the messages. Each is marked unless it has been before.
pub(super) fn found(
    rooms: &RoomStore,
    turn: &mut Turn<'_>,
    room: &Name,
    (connection, kind): (ConnectionId, ReceiptKind),
    result: StorageResult,
) {
    let by = rooms.rooms.get(room).and_then(|room| room.user_of(connection).ok());
    if let (Some(by), Ok(StorageReply::Page(Some(page)))) = (by, result) {
        let of_others = page.messages.iter().filter(|message| message.is_live() && message.sender.user() != by.user());
        request_each(turn, room, connection, of_others.map(|message| message.id).collect(), kind);
    }
}

/// Marks messages that storage has to find first; no reply waits for them.
fn request_each(turn: &mut Turn<'_>, room: &Name, connection: ConnectionId, messages: Vec<Uuid>, kind: ReceiptKind) {
    turn.without_reply(|turn| {
        for message in messages {
            let request = StorageRequest::Receipt { room: room.clone(), connection, message, kind };
            turn.request(request, StorageQuery::Message { id: message });
        }
    });
}

/// Marks the messages up to a sequence number, this number of them; no reply waits for them.
fn request_before(
    turn: &mut Turn<'_>,
    room: Name,
    (connection, kind): (ConnectionId, ReceiptKind),
    (last, limit): (u64, usize),
) {
    let query = StorageQuery::Page { room: room.clone(), span: MessageSpan::Before(last + 1), limit };
    turn.without_reply(|turn| turn.request(StorageRequest::ReceiptsBefore { room, connection, kind }, query));
}
