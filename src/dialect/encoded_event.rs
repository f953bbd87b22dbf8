//! One event, encoded once for every dialect in use, frame header included, to be shared by all who are told it.
//!
//! `raw` is encoded at once. A dialect of Socket.IO is when its first listener is found, on whichever shard that is; the
//! others take that copy.

use std::sync::OnceLock;

use crate::base::time::Now;
use crate::codec::ws;
use crate::dialect::offset;
use crate::dialect::raw;
use crate::dialect::socketio::{self, DIALECTS, Dialect};
use crate::domain::event::Event;

/// An event as it goes out on each wire.
#[derive(Debug)]
pub struct EncodedEvent {
    /// A WebSocket text frame in `raw`; empty when `raw` has no word for the event.
    pub raw: Box<[u8]>,
    /// The number of the message that it is; 0 when it is something else.
    pub seq: u64,
    /// Whether a connection that cannot keep up may do without it.
    pub droppable: bool,
    /// The same for Socket.IO peers, when there may be some among the listeners.
    pub for_peers: Option<Box<SocketIoEncodings>>,
}

/// An event for Socket.IO peers: frames that are whole Engine.IO messages.
#[derive(Debug)]
pub struct SocketIoEncodings {
    event: Event,
    now: Now,
    frames: [OnceLock<Box<[u8]>>; DIALECTS],
    /// The same with an offset, for those who are in one room only.
    with_offset: [OnceLock<Box<[u8]>>; DIALECTS],
}

/// A draft that is kept for the next event has room for this many bytes at most.
const DRAFT_BYTES: usize = 16 * 1024;

impl EncodedEvent {
    /// Encodes `event` for listeners that speak `raw`, by way of `draft`, which is left empty.
    pub fn new(event: &Event, now: Now, draft: &mut Vec<u8>) -> Self {
        if !event.is_for_peers() {
            let mark = ws::begin_text(draft);
            raw::encode(draft, event, now);
            ws::finish(draft, mark);
        }
        let raw = draft.as_slice().into();
        draft.clear();
        draft.shrink_to(DRAFT_BYTES);
        let seq = match event {
            Event::Message(message) => message.seq.unwrap_or(0),
            _ => 0,
        };
        Self { raw, seq, droppable: event.droppable(), for_peers: None }
    }

    /// The same, for Socket.IO peers as well.
    #[must_use]
    pub fn and_for_peers(mut self, event: &Event, now: Now) -> Self {
        let (frames, with_offset) = Default::default();
        self.for_peers = Some(Box::new(SocketIoEncodings { event: event.clone(), now, frames, with_offset }));
        self
    }
}

impl SocketIoEncodings {
    /// The event.
    pub fn event(&self) -> &Event {
        &self.event
    }

    /// The event in a dialect; empty when the dialect has no word for it.
    pub fn frames(&self, dialect: Dialect) -> &[u8] {
        self.frames[dialect as usize].get_or_init(|| {
            let mut frames = Vec::new();
            socketio::encode(&mut frames, dialect, &self.event, self.now);
            frames.into_boxed_slice()
        })
    }

    /// A message of a room in a dialect, for listeners who are in that room only and say by an offset what they have; empty
    /// when the dialect has no word for it. `epoch` is the run of the room's log that it is number `seq` of.
    pub fn frames_with_offset(&self, dialect: Dialect, epoch: &str, seq: u64) -> &[u8] {
        self.with_offset[dialect as usize].get_or_init(|| {
            let mut frames = Vec::new();
            for (_, payload) in ws::frames(self.frames(dialect)) {
                offset::with_offset(&mut frames, payload, |out| offset::entry(out, epoch, seq, true));
            }
            frames.into_boxed_slice()
        })
    }

    /// Dialects that it has been encoded in.
    pub fn encoded(&self) -> usize {
        self.frames.iter().filter(|frames| frames.get().is_some()).count()
    }

    /// Whether the one who caused it is told it, too.
    pub fn is_for_its_sender(&self, dialect: Dialect) -> bool {
        matches!(self.event, Event::Message(_)) && dialect.hears_itself()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::events::samples;

    #[test]
    fn a_dialect_is_written_when_it_is_asked_for_and_once() {
        let event = Event::Closed { room: "r".into(), reason: "x".into() };
        let now = Now::default();
        let packed = EncodedEvent::new(&event, now, &mut Vec::new());
        assert!(packed.for_peers.is_none());
        let packed = packed.and_for_peers(&event, now);
        let for_peers = packed.for_peers.expect("it was asked for");
        assert_eq!(for_peers.encoded(), 0);
        let first = for_peers.frames(Dialect::Camel).as_ptr();
        assert_eq!((for_peers.frames(Dialect::Camel).as_ptr(), for_peers.encoded()), (first, 1));
        assert!(for_peers.frames(Dialect::Notify).is_empty(), "it has no word for it");
        assert_eq!(for_peers.encoded(), 2);
    }

    #[test]
    fn an_offset_is_added_to_what_is_written() {
        let event = Event::Message(samples::message(samples::rich()).into());
        let for_peers =
            EncodedEvent::new(&event, Now::default(), &mut Vec::new()).and_for_peers(&event, Now::default());
        let for_peers = for_peers.for_peers.expect("it was asked for");
        let text = |frames: &[u8]| String::from_utf8_lossy(frames).into_owned();
        for dialect in [Dialect::Colon, Dialect::Camel] {
            let with = text(for_peers.frames_with_offset(dialect, "epoch", 8));
            let without = text(for_peers.frames(dialect));
            let (with, without) =
                (&with[with.find('[').expect("an array")..], &without[without.find('[').expect("an array")..]);
            assert_eq!(with, format!("{},\"epoch:8\"]", without.strip_suffix(']').expect("an array")));
        }
        assert_eq!((for_peers.encoded(), for_peers.frames_with_offset(Dialect::Notify, "epoch", 8).len()), (2, 0));
    }
}
