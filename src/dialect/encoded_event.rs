//! One event, encoded once per dialect, frame header included. All receivers share the bytes.
//!
//! `raw` is encoded at once. A dialect of Socket.IO is encoded when the first shard needs it; the other shards share
//! that copy.

use std::sync::OnceLock;

use crate::base::time::Now;
use crate::codec::ws;
use crate::dialect::offset;
use crate::dialect::raw;
use crate::dialect::socketio::{self, DIALECTS, Dialect};
use crate::domain::event::Event;

/// The encoded event.
#[derive(Debug)]
pub struct EncodedEvent {
    /// A WebSocket text frame in `raw`; empty if `raw` has no such event.
    pub raw: Box<[u8]>,
    /// The sequence number, if it is a message of a room; else 0.
    pub seq: u64,
    /// When it was accepted, in milliseconds since 1970, if it is a message; else 0.
    pub at: u64,
    /// Whether it may be dropped for a connection that cannot keep up.
    pub droppable: bool,
    /// The same for Socket.IO peers, if there may be any among the receivers.
    pub for_peers: Option<Box<SocketIoEncodings>>,
}

/// The encodings of an event for Socket.IO peers: frames that are whole Engine.IO messages.
#[derive(Debug)]
pub struct SocketIoEncodings {
    event: Event,
    now: Now,
    frames: [OnceLock<Box<[u8]>>; DIALECTS],
    /// The same with an offset, for peers in one room only.
    with_offset: [OnceLock<Box<[u8]>>; DIALECTS],
}

/// The most capacity, in bytes, that a draft keeps for the next event.
const DRAFT_BYTES: usize = 16 * 1024;

impl EncodedEvent {
    /// Encodes `event` in `raw`. `draft` is a reusable buffer, left empty.
    pub fn new(event: &Event, now: Now, draft: &mut Vec<u8>) -> Self {
        debug_assert!(draft.is_empty(), "invariant: the draft is empty between two events");
        if !event.is_for_peers() {
            let mark = ws::begin_text(draft);
            raw::encode(draft, event, now);
            ws::finish(draft, mark);
        }
        let raw = draft.as_slice().into();
        draft.clear();
        draft.shrink_to(DRAFT_BYTES);
        let (seq, at) = match event {
            Event::Message(message) => (message.seq.unwrap_or(0), message.at),
            _ => (0, 0),
        };
        Self { raw, seq, at, droppable: event.droppable(), for_peers: None }
    }

    /// Adds the encodings for Socket.IO peers.
    #[must_use]
    pub fn and_for_peers(mut self, event: &Event, now: Now) -> Self {
        debug_assert!(self.for_peers.is_none(), "invariant: the encodings for peers are added once");
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

    /// The event in a dialect; empty if the dialect has no such event. `offset` is the epoch and number of a message of a
    /// room, for peers in that room only.
    pub fn frames(&self, dialect: Dialect, offset: Option<(&str, u64)>) -> &[u8] {
        let frames = self.frames[dialect as usize].get_or_init(|| {
            let mut frames = Vec::new();
            socketio::encode(&mut frames, dialect, &self.event, self.now);
            frames.into_boxed_slice()
        });
        let Some((epoch, seq)) = offset else { return frames };
        self.with_offset[dialect as usize].get_or_init(|| {
            let mut with_offset = Vec::new();
            for (_, payload) in ws::frames(frames) {
                offset::with_offset(&mut with_offset, payload, |out| offset::entry(out, epoch, seq, true));
            }
            with_offset.into_boxed_slice()
        })
    }

    /// The number of dialects that it has been encoded in.
    pub fn encoded(&self) -> usize {
        self.frames.iter().filter(|frames| frames.get().is_some()).count()
    }

    /// Whether the sender receives it, too.
    pub fn is_for_its_sender(&self, dialect: Dialect) -> bool {
        matches!(&self.event, Event::Message(message) if !message.is_published) && dialect.hears_itself()
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
        let first = for_peers.frames(Dialect::Camel, None).as_ptr();
        assert_eq!((for_peers.frames(Dialect::Camel, None).as_ptr(), for_peers.encoded()), (first, 1));
        assert!(for_peers.frames(Dialect::Notify, None).is_empty(), "it has no word for it");
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
            let with = text(for_peers.frames(dialect, Some(("epoch", 8))));
            let without = text(for_peers.frames(dialect, None));
            let (with, without) =
                (&with[with.find('[').expect("an array")..], &without[without.find('[').expect("an array")..]);
            assert_eq!(with, format!("{},\"epoch:8\"]", without.strip_suffix(']').expect("an array")));
        }
        assert_eq!((for_peers.encoded(), for_peers.frames(Dialect::Notify, Some(("epoch", 8))).len()), (2, 0));
    }
}
