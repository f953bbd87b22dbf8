//! What a stream of requests says, read as a connection reads it. For the property tests here and the fuzzer: told of
//! the same bytes in different pieces, the transcripts must be equal.

use super::{Body, Error, Framing, HeadLimits, HeadScan, parse_head};

/// One thing the stream said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A request's head, and the bytes it took.
    Head {
        /// As in [`Head`](super::Head).
        method: String,
        /// As in [`Head`](super::Head).
        target: String,
        /// As in [`Head`](super::Head).
        version: u8,
        /// As in [`Head`](super::Head).
        framing: Framing,
        /// Names and values in order.
        headers: Vec<(String, Vec<u8>)>,
        /// Bytes from the buffer's front to the body's first.
        consumed: usize,
    },
    /// A request's complete body.
    Body(Vec<u8>),
    /// The last event: nothing after a fault can be read.
    Fault(Error),
    /// The last event: the stream ended inside a body.
    Unfinished,
}

/// Reads requests from pieces of a stream until its end or its first fault.
pub fn transcript<'a>(
    pieces: impl IntoIterator<Item = &'a [u8]>,
    limits: &HeadLimits,
    body_bytes_max: usize,
) -> Vec<Event> {
    let mut reader = Reader { limits: *limits, body_bytes_max, ..Reader::default() };
    let read = pieces.into_iter().try_for_each(|piece| reader.feed(piece)).and_then(|()| reader.finish());
    reader.events.extend(read.err().map(Event::Fault));
    reader.events
}

#[derive(Default)]
struct Reader {
    limits: HeadLimits,
    body_bytes_max: usize,
    buffer: Vec<u8>,
    scan: HeadScan,
    body: Option<Body>,
    events: Vec<Event>,
}

impl Reader {
    fn feed(&mut self, piece: &[u8]) -> Result<(), Error> {
        self.buffer.extend_from_slice(piece);
        loop {
            let Some(body) = &mut self.body else {
                if self.scan.is_due(&self.buffer, &self.limits) && self.read_head()? {
                    continue;
                }
                return Ok(());
            };
            let (consumed, complete) = body.feed(&self.buffer)?;
            self.buffer.drain(..consumed);
            if !complete {
                return Ok(());
            }
            self.events.extend(self.body.take().map(|body| Event::Body(body.into_bytes())));
        }
    }

    fn read_head(&mut self) -> Result<bool, Error> {
        let Some((head, consumed)) = parse_head(&self.buffer, &self.limits)? else {
            return Ok(false);
        };
        let framing = head.framing;
        self.events.push(Event::Head {
            method: head.method.to_owned(),
            target: head.target.to_owned(),
            version: head.version,
            framing,
            headers: head.headers().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            consumed,
        });
        self.buffer.drain(..consumed);
        self.scan = HeadScan::default();
        self.body = Some(Body::new(framing, self.body_bytes_max)?);
        Ok(true)
    }

    /// The stream has ended. A head in rubbish may not have been due for its next try yet.
    fn finish(&mut self) -> Result<(), Error> {
        if self.body.is_some() {
            self.events.push(Event::Unfinished);
            return Ok(());
        }
        let missed = self.read_head()?;
        assert!(!missed, "HeadScan must not pass over a whole head");
        Ok(())
    }
}
