//! What a stream of requests says, read as a connection reads it. For the property tests here and the fuzzer: told of
//! the same bytes in different pieces, the transcripts must be equal.

use super::{BodyDecoder, Framing, HeadLimits, HeadScan, HttpError, parse_head};

/// One thing the stream said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TranscriptEvent {
    /// A request's head, and the bytes it took.
    Head {
        /// As in [`RequestHead`](super::Head).
        method: String,
        /// As in [`RequestHead`](super::Head).
        target: String,
        /// As in [`RequestHead`](super::Head).
        version: u8,
        /// As in [`RequestHead`](super::Head).
        framing: Framing,
        /// Names and values in order.
        headers: Vec<(String, Vec<u8>)>,
        /// Bytes from the buffer's front to the body's first.
        consumed: usize,
    },
    /// A request's complete body.
    Body(Vec<u8>),
    /// The last event: nothing after a fault can be read.
    Fault(HttpError),
    /// The last event: the stream ended inside a body.
    Unfinished,
}

/// Reads requests from pieces of a stream until its end or its first fault.
pub fn transcript<'a>(
    pieces: impl IntoIterator<Item = &'a [u8]>,
    limits: &HeadLimits,
    body_bytes_max: usize,
) -> Vec<TranscriptEvent> {
    let mut reader = TranscriptReader { limits: *limits, body_bytes_max, ..TranscriptReader::default() };
    let read = pieces.into_iter().try_for_each(|piece| reader.feed(piece)).and_then(|()| reader.finish());
    reader.events.extend(read.err().map(TranscriptEvent::Fault));
    reader.events
}

#[derive(Default)]
struct TranscriptReader {
    limits: HeadLimits,
    body_bytes_max: usize,
    buffer: Vec<u8>,
    scan: HeadScan,
    body: Option<BodyDecoder>,
    events: Vec<TranscriptEvent>,
}

impl TranscriptReader {
    fn feed(&mut self, piece: &[u8]) -> Result<(), HttpError> {
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
            self.events.extend(self.body.take().map(|body| TranscriptEvent::Body(body.into_bytes())));
        }
    }

    fn read_head(&mut self) -> Result<bool, HttpError> {
        let Some((head, consumed)) = parse_head(&self.buffer, &self.limits)? else {
            return Ok(false);
        };
        let framing = head.framing;
        self.events.push(TranscriptEvent::Head {
            method: head.method.to_owned(),
            target: head.target.to_owned(),
            version: head.version,
            framing,
            headers: head.headers().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            consumed,
        });
        self.buffer.drain(..consumed);
        self.scan = HeadScan::default();
        self.body = Some(BodyDecoder::new(framing, self.body_bytes_max)?);
        Ok(true)
    }

    /// The stream has ended. A head in rubbish may not have been due for its next try yet.
    fn finish(&mut self) -> Result<(), HttpError> {
        if self.body.is_some() {
            self.events.push(TranscriptEvent::Unfinished);
            return Ok(());
        }
        let missed = self.read_head()?;
        assert!(!missed, "HeadScan must not pass over a whole head");
        Ok(())
    }
}
