//! One event, encoded once for every dialect in use, frame header included, to be shared by all who are told it.

use crate::base::time::Now;
use crate::codec::ws;
use crate::dialect::raw;
use crate::domain::event::Event;

/// An event as it goes out on each wire.
#[derive(Debug)]
pub struct Packed {
    /// A WebSocket text frame in `raw`.
    pub raw: Box<[u8]>,
    /// The number of the message that it is; 0 when it is something else.
    pub seq: u64,
    /// Whether a connection that cannot keep up may do without it.
    pub droppable: bool,
}

/// A draft that is kept for the next event has room for this many bytes at most.
const DRAFT_BYTES: usize = 16 * 1024;

impl Packed {
    /// Encodes `event`, by way of `draft`, which is left empty.
    pub fn new(event: &Event, now: Now, draft: &mut Vec<u8>) -> Self {
        let mark = ws::begin_text(draft);
        raw::encode(draft, event, now);
        ws::finish(draft, mark);
        let raw = draft.as_slice().into();
        draft.clear();
        draft.shrink_to(DRAFT_BYTES);
        let seq = match event {
            Event::Message(message) => message.seq.unwrap_or(0),
            _ => 0,
        };
        Self { raw, seq, droppable: event.droppable() }
    }
}
