//! Joins of connections that want the last messages of the room. These are in storage, so a connection becomes a member once they
//! have come; its requests that come meanwhile wait. It gets the messages with the reply, before all later events.

use std::sync::Arc;

use crate::domain::op::{JoinRoom, Reply, RoomOp};
use crate::domain::recovery::Returning;
use crate::domain::reject::Reject;
use crate::message::storage::{MessageSpan, StorageQuery, StorageReply};
use crate::owner::embedded::rooms::{RoomStore, room_at};
use crate::owner::embedded::storage_requests::{MissedMessages, StorageRequest, StorageResult};
use crate::owner::embedded::turn::{OpOutcome, Turn};

/// Makes a connection a member that wants the last messages: they are requested first. A connection that is a member already
/// has them.
pub(super) fn join(rooms: &mut RoomStore, turn: &mut Turn<'_>, place: u32, join: Box<JoinRoom>) -> OpOutcome {
    let room = room_at(&mut rooms.rooms, place);
    let until = room.log.committed();
    if until == 0 || !room.log.is_kept(turn.rules()) || room.members.of(join.connection).is_some() {
        return rooms.act(turn, place, RoomOp::Join(join));
    }
    let (epoch, limit) = (room.log.epoch().clone(), join.rewind);
    let query = StorageQuery::Page { room: room.id.clone(), span: MessageSpan::Before(until + 1), limit };
    let missed = MissedMessages {
        room: room.id.clone(),
        back: Box::new(Returning { former: join.connection, join: *join, epoch, seq: until }),
        messages: Vec::new(),
        until,
        since: Vec::new(),
        behind: Some(Vec::new()),
        is_cancelled: false,
    };
    turn.request(StorageRequest::Missed(Box::new(missed)), query);
    Ok(None)
}

/// The result of [`StorageRequest::Missed`] for a connection that joins: it becomes a member. Its requests that came meanwhile
/// follow.
pub(super) fn rewound(rooms: &mut RoomStore, turn: &mut Turn<'_>, missed: MissedMessages, result: StorageResult) {
    let MissedMessages { room, back, until, since, behind, is_cancelled, .. } = missed;
    let Returning { join, epoch, .. } = *back;
    let most = join.rewind;
    let op = RoomOp::Join(Box::new(join));
    rooms.publish_departures(turn, &room, &op);
    let at = turn.out.len();
    let outcome = match rooms.rooms.find(&room) {
        _ if is_cancelled => Err(Reject::not_in_room()),
        None => Err(Reject::room_not_found()),
        Some(place) => rooms.act(turn, place, op),
    };
    let outcome = outcome.map(|reply| {
        let mut reply = reply.unwrap_or(Reply::Done);
        if let (Reply::Joined(joined), Ok(StorageReply::Page(Some(page)))) = (&mut reply, result)
            && page.epoch == epoch
        {
            let since = since.into_iter().map(Arc::unwrap_or_clone).filter(|message| message.seq > Some(until));
            joined.rewound = page.messages.into_iter().chain(since).collect();
            // Pieces of streams that came meanwhile are none of the wanted messages.
            let mut excess = joined.rewound.iter().filter(|message| !message.is_piece()).count().saturating_sub(most);
            joined.rewound.retain(|message| {
                let is_excess = excess > 0 && !message.is_piece();
                excess -= usize::from(is_excess);
                !is_excess
            });
        }
        Some(reply)
    });
    turn.reply_at(at, outcome);
    if let Some(place) = rooms.rooms.find(&room) {
        turn.defer_room(room_at(&mut rooms.rooms, place));
    }
    let requester = turn.to;
    for (to, op) in behind.into_iter().flatten() {
        turn.to = to;
        let at = turn.out.len();
        let outcome = rooms.apply(turn, room.clone(), op);
        turn.reply_at(at, outcome);
    }
    turn.to = requester;
}
