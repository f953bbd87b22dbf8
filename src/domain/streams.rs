//! Messages that grow: a stream is a message that is open, and its pieces are entries of the room's log. The room keeps the
//! length of each open stream, so that a piece names its offset, and the time at which one that gets no piece ends.

use std::collections::VecDeque;

use uuid::Uuid;

use crate::base::ids::ConnectionId;
use crate::base::limits;
use crate::base::time::Now;
use crate::domain::access::Identity;
use crate::domain::event::{Content, Event, Revision, RevisionKind, StreamStatus};
use crate::domain::op::{
    AddressedEvent, Audience, ChangeRights, OpContext, Publisher, Revise, RoomOp, SendMessage, StreamText,
};
use crate::domain::reject::Reject;
use crate::domain::room::Room;

/// An open stream, as storage has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenStream {
    /// Its message.
    pub message: Uuid,
    /// Its publisher.
    pub sender: Identity,
    /// The length of its text, in UTF-16 code units and in bytes.
    pub units: u64,
    /// See [`OpenStream::units`].
    pub bytes: u64,
}

/// An open stream, and when it ends unless it gets a piece, in monotonic milliseconds.
#[derive(Clone, Debug)]
struct Timed {
    stream: OpenStream,
    ends_at: u64,
}

/// The open streams of a room.
#[derive(Default)]
pub(in crate::domain) struct Streams {
    open: Vec<Timed>,
    /// Changes by messages that are not committed: the number of the message, the stream, and its former state.
    uncommitted: VecDeque<(u64, Uuid, Option<Timed>)>,
    /// The last change, until its message has a number.
    last: Option<(Uuid, Option<Timed>)>,
    /// The owner has a deferred task for the next end.
    is_scheduled: bool,
}

impl Streams {
    pub(in crate::domain) fn is_idle(&self) -> bool {
        self.open.is_empty() && self.uncommitted.is_empty() && self.last.is_none()
    }

    fn at(&self, message: Uuid) -> Option<usize> {
        // Late streams are the usual ones.
        self.open.iter().rposition(|timed| timed.stream.message == message)
    }

    fn set(&mut self, message: Uuid, state: Option<Timed>) -> Option<Timed> {
        match (self.at(message), state) {
            (Some(at), Some(state)) => Some(std::mem::replace(&mut self.open[at], state)),
            (Some(at), None) => Some(self.open.remove(at)),
            (None, Some(state)) => {
                self.open.push(state);
                None
            }
            (None, None) => None,
        }
    }

    fn change(&mut self, message: Uuid, state: Option<Timed>) {
        let former = self.set(message, state);
        self.last = Some((message, former));
    }

    fn roll_back(&mut self) {
        while let Some((_, message, former)) = self.uncommitted.pop_back() {
            self.set(message, former);
        }
    }

    pub(in crate::domain) fn check_invariants(&self) {
        assert!(self.last.is_none(), "streams: each change has the number of its message");
        assert!(self.open.len() <= limits::STREAMS_PER_ROOM, "streams: a room has a bounded number of open streams");
        assert!(
            self.uncommitted.iter().is_sorted_by_key(|(seq, ..)| *seq),
            "streams: changes are undone from the last one on"
        );
    }
}

/// The part in changes of a message that opens a stream, if the room can have another one.
pub(super) fn new_one(room: &Room) -> Result<Box<Revision>, Reject> {
    let open = room.momentary.get().map_or(0, |state| state.streams.open.len());
    match open < limits::STREAMS_PER_ROOM {
        true => Ok(Box::new(Revision::Stream(StreamStatus::Streaming))),
        false => Err(Reject::streams_full()),
    }
}

/// Notes that a message is an open stream.
pub(super) fn open(room: &mut Room, message: Uuid, sender: Identity, text: StreamText, context: &OpContext<'_>) {
    let stream = OpenStream { message, sender, units: text.units.into(), bytes: text.bytes.into() };
    let ends_at = context.now.mono + context.rules.stream_idle_ms;
    room.momentary.change(|state| state.streams.change(message, Some(Timed { stream, ends_at })));
}

/// Adds a piece to a stream, and ends it unless `status` is that it goes on. Its publisher may do that, and backends; all members
/// may cancel it.
pub(super) fn append(
    room: &mut Room,
    change: &Revise,
    (status, text): (StreamStatus, StreamText),
    (by, is_backend): (&Identity, bool),
    context: &mut OpContext<'_>,
) -> Result<Box<Revision>, Reject> {
    let found =
        room.momentary.get().and_then(|state| Some(state.streams.open[state.streams.at(change.message)?].clone()));
    let Some(mut timed) = found else {
        return Err(Reject::stream_ended());
    };
    let stream = &mut timed.stream;
    let is_publisher = is_backend || stream.sender.user() == by.user();
    if !is_publisher && (status != StreamStatus::Cancelled || text.bytes > 0) {
        return Err(Reject::stream_forbidden());
    }
    let offset = stream.units;
    if text.offset.is_some_and(|expected| u64::from(expected) != offset) {
        return Err(Reject::stream_offset(offset));
    }
    if stream.bytes + u64::from(text.bytes) > u64::from(text.bytes_max) {
        return Err(Reject::stream_too_long(text.bytes_max));
    }
    stream.units += u64::from(text.units);
    stream.bytes += u64::from(text.bytes);
    timed.ends_at = context.now.mono + context.rules.stream_idle_ms;
    if status == StreamStatus::Cancelled && stream.sender.user() != by.user() {
        let event = Event::StreamCancelled { room: room.id.clone(), message: change.message, by: by.clone() };
        context.events.push(AddressedEvent { audience: Audience::User(stream.sender.user_name()), event });
    }
    let state = (status == StreamStatus::Streaming).then_some(timed);
    room.momentary.change(|momentary| momentary.streams.change(change.message, state));
    Ok(Box::new(Revision::Piece { message: change.message, offset, status }))
}

/// Checks that an edit does not concern an open stream.
pub(super) fn check_closed(room: &Room, message: Uuid) -> Result<(), Reject> {
    let is_open = room.momentary.get().is_some_and(|state| state.streams.at(message).is_some());
    if is_open { Err(Reject::stream_open()) } else { Ok(()) }
}

/// A message is deleted: it gets no further piece.
pub(super) fn close(room: &mut Room, message: Uuid) {
    if check_closed(room, message).is_err() {
        room.momentary.change(|state| state.streams.change(message, None));
    }
}

/// The last change has this number; a message that is not stored is committed.
pub(super) fn number(room: &mut Room, seq: u64, is_stored: bool) {
    if room.momentary.get().is_some_and(|state| state.streams.last.is_some()) {
        room.momentary.change(|state| {
            let streams = &mut state.streams;
            let change = streams.last.take().filter(|_| is_stored);
            streams.uncommitted.extend(change.map(|(message, former)| (seq, message, former)));
        });
    }
}

/// The messages up to a number are committed.
pub(crate) fn commit(room: &mut Room, seq: u64) {
    if room.momentary.get().is_some_and(|state| !state.streams.uncommitted.is_empty()) {
        room.momentary.change(|state| while state.streams.uncommitted.pop_front_if(|(of, ..)| *of <= seq).is_some() {});
    }
}

/// The uncommitted messages are refused.
pub(crate) fn roll_back(room: &mut Room) {
    if room.momentary.get().is_some_and(|state| !state.streams.uncommitted.is_empty()) {
        room.momentary.change(|state| state.streams.roll_back());
    }
}

/// Takes over the open streams of a room that is loaded.
pub(crate) fn restore(room: &mut Room, stored: Vec<OpenStream>, now: Now, idle_ms: u64) {
    if !stored.is_empty() {
        let ends_at = now.mono + idle_ms;
        let open = stored.into_iter().map(|stream| Timed { stream, ends_at });
        room.momentary.change(|state| state.streams.open.extend(open));
    }
}

/// When the next stream ends unless it gets a piece, if no task for that is deferred.
pub(crate) fn take_due(room: &mut Room) -> Option<u64> {
    let streams = &mut room.momentary.get_mut()?.streams;
    let at = streams.open.iter().map(|timed| timed.ends_at).min()?;
    (!std::mem::replace(&mut streams.is_scheduled, true)).then_some(at)
}

/// The task that was deferred is there: the ends of the streams that got no piece in time, as operations of their publishers. A
/// stream whose end is refused ends with one of the next tasks.
pub(crate) fn ends(room: &mut Room, now: Now, again_ms: u64) -> Vec<RoomOp> {
    let Some(state) = room.momentary.get_mut() else { return Vec::new() };
    state.streams.is_scheduled = false;
    let due = state.streams.open.iter_mut().filter(|timed| timed.ends_at <= now.mono);
    let end = |timed: &mut Timed| {
        timed.ends_at = now.mono + again_ms;
        cancellation(timed.stream.message, &timed.stream.sender)
    };
    due.map(end).collect()
}

/// The operation that ends a stream in the name of its publisher.
fn cancellation(message: Uuid, sender: &Identity) -> RoomOp {
    let kind = RevisionKind::Append(StreamStatus::Cancelled);
    RoomOp::Send(Box::new(SendMessage {
        connection: ConnectionId::from_bytes([0; 18]),
        publisher: Some(Publisher { identity: sender.clone(), part: 0, is_momentary: false }),
        to: None,
        content: Content::of_piece("\"\""),
        client_message_id: None,
        revises: Some(Box::new(Revise { message, kind, sender: None, rights: ChangeRights::Usual })),
        stream: Some(StreamText { bytes: 0, units: 0, offset: None, bytes_max: u32::MAX }),
    }))
}
