//! Transcript of a stream of requests, for property tests and fuzzing: transcripts of the same bytes, split
//! differently, must be equal.

use super::{BodyDecoder, Framing, HeadLimits, HeadScan, HttpError, parse_head};

/// An element of the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TranscriptEvent {
    /// A request head.
    Head {
        /// As in [`RequestHead`](super::RequestHead).
        method: String,
        /// As in [`RequestHead`](super::Head).
        target: String,
        /// As in [`RequestHead`](super::Head).
        version: u8,
        /// As in [`RequestHead`](super::Head).
        framing: Framing,
        /// Names and values in order.
        headers: Vec<(String, Vec<u8>)>,
        /// Length of the head in bytes.
        consumed: usize,
    },
    /// A complete request body.
    Body(Vec<u8>),
    /// An error, the last event.
    Fault(HttpError),
    /// End of the stream within a body, the last event.
    Unfinished,
}

/// Decodes pieces of a stream until its end or the first error.
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

    /// Ends the stream. A head in garbage may not have been tried yet.
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
