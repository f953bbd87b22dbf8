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
    /// Whether a connection that cannot keep up may do without it.
    pub droppable: bool,
}

impl Packed {
    /// Encodes `event`.
    pub fn new(event: &Event, now: Now) -> Self {
        let mut frame = Vec::with_capacity(256);
        let mark = ws::begin_text(&mut frame);
        raw::encode(&mut frame, event, now);
        ws::finish(&mut frame, mark);
        Self { raw: frame.into_boxed_slice(), droppable: event.droppable() }
    }
}
