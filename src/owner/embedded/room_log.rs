//! Operations on a room's log that may need storage: history, receipts of older messages, and the return of a recovered
//! connection.

use std::sync::Arc;

use uuid::Uuid;

use crate::base::Name;
use crate::base::ids::ConnectionId;
use crate::base::limits;
use crate::domain::access::Identity;
use crate::domain::command::ReceiptKind;
use crate::domain::history::{History, HistoryRange, Marks, PAGE_MAX};
use crate::domain::op::{Reply, RoomOp};
use crate::domain::recovery::Returning;
use crate::domain::reject::{Code, Reject};
use crate::message::storage::{
    MessagePage, MessageSpan, MessageView, PAGE_MESSAGES, StorageQuery, StorageReply, Unavailable,
};
use crate::owner::embedded::rewind;
use crate::owner::embedded::rooms::{RoomStore, room_at};
use crate::owner::embedded::storage_requests::{MissedMessages, StorageRequest, StorageResult};
use crate::owner::embedded::turn::{OpOutcome, Turn};

impl RoomStore {
    pub(super) fn history(
        &mut self,
        turn: &mut Turn<'_>,
        place: u32,
        connection: Option<ConnectionId>,
        range: HistoryRange,
    ) -> OpOutcome {
        let room = room_at(&mut self.rooms, place);
        if let Some(reply) = room.history(connection, turn.rules())? {
            return Ok(Some(reply));
        }
        request_history(turn, room.id.clone(), room.log.committed(), range);
        Ok(None)
    }

    /// Requests the messages after one that the client names. The room knows the sequence numbers of recent messages,
    /// storage those of older ones.
    pub(super) fn sync(
        &mut self,
        turn: &mut Turn<'_>,
        place: u32,
        connection: ConnectionId,
        (after, limit): (Uuid, usize),
    ) -> OpOutcome {
        let room = room_at(&mut self.rooms, place);
        room.user_of(connection)?;
        if let Some(seq) = room.log.seq_of(after) {
            return self.history(turn, place, Some(connection), HistoryRange { after: Some(seq), limit });
        }
        if !room.log.is_kept(turn.rules()) {
            return Err(Reject::message_not_found());
        }
        let room = room.id.clone();
        turn.request(StorageRequest::Sync { room, limit }, StorageQuery::Message { id: after });
        Ok(None)
    }

    /// The result of [`StorageRequest::Sync`]: the sequence number of the named message.
    pub(super) fn sync_found(&self, turn: &mut Turn<'_>, room: Name, limit: usize, result: StorageResult) -> OpOutcome {
        let after = found_message(result, &room)?.message.seq.unwrap_or_default();
        let last = self.rooms.get(&room).ok_or_else(Reject::room_not_found)?.log.committed();
        request_history(turn, room, last, HistoryRange { after: Some(after), limit });
        Ok(None)
    }

    /// The result of [`StorageRequest::History`].
    pub(super) fn history_found(
        &self,
        room: Name,
        last: u64,
        range: HistoryRange,
        result: StorageResult,
    ) -> Result<Reply, Reject> {
        let epoch = self.rooms.get(&room).ok_or_else(Reject::room_not_found)?.log.epoch().clone();
        let Ok(StorageReply::Page(page)) = result else { return Err(Reject::storage_unavailable()) };
        let empty = || MessagePage { epoch: epoch.clone(), first: 1, last: 0, messages: Vec::new(), complete: false };
        let page = page.filter(|page| page.epoch == epoch).unwrap_or_else(empty);
        let from = range.after.map_or(1, |after| after.saturating_add(1));
        let complete = page.complete && page.first <= from;
        let (messages, is_upward) = (page.messages, range.after.is_some());
        // Messages sent since the request are not part of this page, so it is complete up to `last`.
        let (seq, is_instead) = (last, false);
        Ok(Reply::History(Box::new(History { room, epoch, seq, messages, complete, is_upward, is_instead })))
    }

    pub(super) fn marks(
        &mut self,
        turn: &mut Turn<'_>,
        place: u32,
        connection: Option<ConnectionId>,
        message: Uuid,
    ) -> OpOutcome {
        let room = room_at(&mut self.rooms, place);
        connection.map_or(Ok(()), |connection| room.user_of(connection).map(drop))?;
        if !room.log.is_kept(turn.rules()) {
            return Err(Reject::message_not_found());
        }
        let room = room.id.clone();
        turn.request(StorageRequest::Marks { room, message }, StorageQuery::Message { id: message });
        Ok(None)
    }

    /// Marks a message as received or read. The room knows the senders of recent messages, storage those of older ones.
    pub(super) fn receipt(
        &mut self,
        turn: &mut Turn<'_>,
        place: u32,
        connection: ConnectionId,
        (message, kind): (Uuid, ReceiptKind),
    ) -> OpOutcome {
        match self.act(turn, place, RoomOp::MarkMessage { connection, message, kind }) {
            Err(reject) if reject.code == Code::MessageNotFound => {
                let room = room_at(&mut self.rooms, place);
                if !room.log.is_kept(turn.rules()) {
                    return Err(reject);
                }
                let request = StorageRequest::Receipt { room: room.id.clone(), connection, message, kind };
                turn.request(request, StorageQuery::Message { id: message });
                Ok(None)
            }
            outcome => outcome,
        }
    }

    /// The result of [`StorageRequest::Receipt`]: the sender of the message.
    pub(super) fn receipt_found(
        &mut self,
        turn: &mut Turn<'_>,
        (room, connection): (Name, ConnectionId),
        (message, kind): (Uuid, ReceiptKind),
        result: StorageResult,
    ) -> OpOutcome {
        let MessageView { message: found, delivered, read, .. } = found_message(result, &room)?;
        if !found.is_live() {
            return Err(Reject::message_not_found());
        }
        let sender: Identity = found.sender;
        let room = self.rooms.get_mut(&room).ok_or_else(Reject::room_not_found)?;
        let by = room.user_of(connection)?;
        let known = if kind == ReceiptKind::Read { read } else { delivered };
        if known.iter().any(|(user, _)| **user == *by.user()) {
            return Ok(Some(Reply::Done));
        }
        room.mark(&sender, message, by, kind, &mut turn.context());
        turn.publish_or_hold(room, Ok(Reply::Done), false, (0, None))
    }

    /// Returns a recovered connection to a room. The messages it has missed are requested first, so that it becomes a
    /// member when it has all of them.
    pub(super) fn rejoin(&mut self, turn: &mut Turn<'_>, place: u32, back: Box<Returning>) -> OpOutcome {
        let room = room_at(&mut self.rooms, place);
        let until = room.log.committed();
        let is_recoverable = *room.log.epoch() == back.epoch
            && back.seq < until
            && until - back.seq <= limits::MISSED_MESSAGES as u64
            && room.log.is_kept(turn.rules());
        if !is_recoverable {
            return self.act(turn, place, RoomOp::Rejoin(back));
        }
        let (room, messages, since) = (room.id.clone(), Vec::new(), Vec::new());
        let missed = MissedMessages { room, back, messages, until, since, behind: None, is_cancelled: false };
        request_missed(turn, Box::new(missed));
        Ok(None)
    }

    /// The result of [`StorageRequest::Missed`]: requests more, or makes the connection a member.
    pub(super) fn missed_found(&mut self, turn: &mut Turn<'_>, mut missed: Box<MissedMessages>, result: StorageResult) {
        if missed.behind.is_some() {
            return rewind::rewound(self, turn, *missed, result);
        }
        let next = missed.last_seq() + 1;
        if let Ok(StorageReply::Page(Some(page))) = result
            && !missed.is_cancelled
            && page.epoch == missed.back.epoch
            && page.first <= next
            && !page.messages.is_empty()
        {
            missed.messages.extend(page.messages);
            let bytes: usize = missed.messages.iter().map(|message| message.content.bytes()).sum();
            if missed.last_seq() < missed.until && bytes <= limits::MISSED_BYTES {
                return request_missed(turn, missed);
            }
        }
        let MissedMessages { room, back, mut messages, until, since, is_cancelled, .. } = *missed;
        messages.extend(since.into_iter().map(Arc::unwrap_or_clone).filter(|message| message.seq > Some(until)));
        let from = back.seq;
        let op = RoomOp::Rejoin(back);
        self.publish_departures(turn, &room, &op);
        let at = turn.out.len();
        let outcome = match self.rooms.find(&room) {
            place if is_cancelled => {
                place.into_iter().for_each(|place| turn.defer_room(room_at(&mut self.rooms, place)));
                Err(Reject::not_in_room())
            }
            None => Err(Reject::room_not_found()),
            Some(place) => self.act(turn, place, op),
        };
        let outcome = outcome.map(|reply| match reply {
            Some(Reply::Returned(mut returned)) => {
                if messages.len() as u64 == returned.joined.seq - from.min(returned.joined.seq) {
                    (returned.recovered, returned.messages) = (true, messages);
                }
                Some(Reply::Returned(returned))
            }
            other => Some(other.unwrap_or(Reply::Done)),
        });
        turn.reply_at(at, outcome);
    }
}

/// Requests messages of a room up to `last`.
fn request_history(turn: &mut Turn<'_>, room: Name, last: u64, range: HistoryRange) {
    let span =
        range.after.map_or(MessageSpan::Before(last + 1), |after| MessageSpan::Between(after.saturating_add(1), last));
    let query = StorageQuery::Page { room: room.clone(), span, limit: range.limit.min(PAGE_MAX) };
    turn.request(StorageRequest::History { room, last, range }, query);
}

fn request_missed(turn: &mut Turn<'_>, missed: Box<MissedMessages>) {
    let span = MessageSpan::Between(missed.last_seq() + 1, missed.until);
    let query = StorageQuery::Page { room: missed.room.clone(), span, limit: PAGE_MESSAGES };
    turn.request(StorageRequest::Missed(missed), query);
}

/// The message of a result, provided that it is one of this room.
pub(super) fn found_message(result: StorageResult, room: &Name) -> Result<MessageView, Reject> {
    match result {
        Ok(StorageReply::Message(Some(view))) if view.message.room == *room => Ok(*view),
        Ok(_) => Err(Reject::message_not_found()),
        Err(Unavailable) => Err(Reject::storage_unavailable()),
    }
}

/// The result of [`StorageRequest::Marks`].
pub(super) fn marks_found(room: Name, message: Uuid, result: StorageResult) -> Result<Reply, Reject> {
    let MessageView { delivered, read, complete, .. } = found_message(result, &room)?;
    Ok(Reply::Marks(Box::new(Marks::new((room, message), delivered, read, complete))))
}
