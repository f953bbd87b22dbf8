//! Outgoing bytes: the buffer of a turn, and per connection the part that the socket did not accept.
//!
//! All bytes sent in a turn are encoded once into one buffer per shard; each connection records its [`Segment`]s of it.
//! At the end of the turn each connection is written once, directly from the buffer. Only bytes that a socket does not
//! accept are copied, into the connection's [`Backlog`], up to a limit: a client that does not read cannot delay others
//! or use more memory than that.
//!
//! Shares of messages to many connections may be written over several turns ([`Outbound::next_share`]), so that other clients
//! do not wait for all of them. The buffer is kept until the last is written.
//!
//! Whatever is pushed to a connection with permessage-deflate is compressed on the way ([`Outbound::packed`]).

use smallvec::SmallVec;

use crate::base::limits;
use crate::connection::deflation::{DeflateSettings, Deflation};

/// A range of the turn's buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// First byte.
    pub start: u32,
    /// End, exclusive.
    pub end: u32,
    /// Whether the segment may be dropped for a slow connection.
    pub droppable: bool,
}

impl Segment {
    /// Length in bytes.
    pub fn len(&self) -> usize {
        debug_assert!(self.start <= self.end, "invariant: a segment ends after its start");
        (self.end - self.start) as usize
    }

    /// Whether the segment is empty.
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }
}

/// Segments of one connection in a turn, in order.
#[derive(Default)]
pub struct Share {
    /// Slot of the connection; [`NO_CONNECTION`] when it has closed, or the share was taken to be written.
    pub slot: u32,
    /// Whether all segments are of messages to many connections.
    is_bulk: bool,
    /// The segments; adjacent ones are merged.
    pub segments: SmallVec<[Segment; 2]>,
}

/// Slot number of no connection.
pub const NO_CONNECTION: u32 = u32::MAX;

/// Send queue of a connection: its share of the turn, and its backlog.
#[derive(Default)]
pub struct Queue {
    /// Index of the share in this turn plus one; 0: no share.
    share: u32,
    /// Base-2 logarithm of the client's window if its messages are compressed; otherwise 0.
    window_bits: u8,
    /// Bytes that the socket did not accept.
    pub backlog: Option<Box<Backlog>>,
}

/// Bytes that a socket did not accept, and the number sent since.
#[derive(Default)]
pub struct Backlog {
    bytes: Vec<u8>,
    taken: usize,
    /// Bytes sent since the last [`Backlog::take_progress`].
    progress: usize,
    /// First byte held back until [`Backlog::uncork`].
    cork: Option<usize>,
}

impl Backlog {
    /// The unsent bytes.
    pub fn rest(&self) -> &[u8] {
        &self.bytes[self.taken..]
    }

    /// Appends bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.taken > self.bytes.len() / 2 {
            self.bytes.drain(..self.taken);
            self.cork = self.cork.map(|at| at - self.taken);
            self.taken = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// The unsent bytes that are not held back. While there are any, the socket is full.
    pub fn ready(&self) -> &[u8] {
        &self.bytes[self.taken..self.cork.unwrap_or(self.bytes.len())]
    }

    /// Holds back all bytes appended from now on, until [`Backlog::uncork`].
    pub fn cork(&mut self) {
        self.cork.get_or_insert(self.bytes.len());
    }

    /// Whether appended bytes are held back.
    pub fn is_corked(&self) -> bool {
        self.cork.is_some()
    }

    /// Inserts `first` before the bytes held back, and releases them.
    pub fn uncork(&mut self, first: &[u8]) {
        let at = self.cork.take().unwrap_or(self.bytes.len());
        self.bytes.splice(at..at, first.iter().copied());
    }

    /// Records that the socket accepted `count` bytes.
    pub fn take(&mut self, count: usize) {
        debug_assert!(count <= self.ready().len(), "invariant: a socket accepts no more than it is given");
        self.taken = (self.taken + count).min(self.bytes.len());
        self.progress += count;
    }

    /// Bytes accepted since the last call.
    pub fn take_progress(&mut self) -> usize {
        std::mem::take(&mut self.progress)
    }
}

/// The buffer of a turn and the shares of connections in it.
#[derive(Default)]
pub struct Outbound {
    bytes: Vec<u8>,
    shares: Vec<Share>,
    /// Number of shares in use; the others are kept for their allocations.
    used: usize,
    /// Number of shares that were taken, or passed over because they are bulk.
    visited: usize,
    /// Number of shares, from the first, among which no bulk is left.
    written: usize,
    /// Whether bulk was passed over.
    is_deferred: bool,
    /// Shares that were passed over and are not bulk any more.
    urgent: Vec<u32>,
    /// Maximum of bytes and of shares used in a turn since the last [`Outbound::trim`].
    most: (usize, usize),
    /// Compressor, from the first connection on that uses it.
    deflation: Option<Box<Deflation>>,
}

/// Minimum capacity kept by [`Outbound::trim`], in bytes.
const KEEP_BYTES: usize = 16 * 1024;

/// Minimum number of shares kept by [`Outbound::trim`].
const KEEP_SHARES: usize = 64;

impl Outbound {
    /// Appends the bytes that `write` writes; [`Outbound::push`] assigns the segment to connections.
    pub fn encode(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Segment {
        let start = self.bytes.len() as u32;
        write(&mut self.bytes);
        debug_assert!(u32::try_from(self.bytes.len()).is_ok(), "invariant: a turn has less than 4 GiB");
        Segment { start, end: self.bytes.len() as u32, droppable: false }
    }

    /// Size of its buffers in memory, in bytes.
    pub fn held_bytes(&self) -> usize {
        self.bytes.capacity() + self.shares.capacity() * size_of::<Share>()
    }

    /// Appends a segment to the share of the connection in `slot`.
    pub fn push(&mut self, slot: u32, queue: &mut Queue, segment: Segment) {
        self.push_as(slot, queue, segment, false);
    }

    /// Appends a segment to the share of the connection in `slot`. `is_bulk`: it is one of many connections' that get it, and
    /// may be written in a later turn.
    pub fn push_as(&mut self, slot: u32, queue: &mut Queue, segment: Segment, is_bulk: bool) {
        if segment.is_empty() {
            return;
        }
        let segment = if queue.window_bits == 0 { segment } else { self.packed(segment, queue.window_bits) };
        if queue.share == 0 {
            self.open_share(slot, is_bulk);
            queue.share = self.used as u32;
        } else if !is_bulk {
            self.hurry(queue);
        }
        debug_assert!(queue.share as usize <= self.used, "invariant: a queue refers to a share of this turn");
        debug_assert_eq!(self.shares[queue.share as usize - 1].slot, slot, "invariant: a share is one connection's");
        let segments = &mut self.shares[queue.share as usize - 1].segments;
        match segments.last_mut() {
            Some(last) if last.end == segment.start && last.droppable == segment.droppable => last.end = segment.end,
            _ => segments.push(segment),
        }
    }

    /// Has all messages to a connection compressed from now on, for a window of `window_bits`.
    pub fn deflate(&mut self, queue: &mut Queue, window_bits: u8, settings: DeflateSettings) {
        self.deflation.get_or_insert_with(|| Box::new(Deflation::new(settings)));
        queue.window_bits = window_bits;
    }

    /// A segment as it is sent to connections with a window of `window_bits`: compressed, once in a turn.
    pub fn packed(&mut self, segment: Segment, window_bits: u8) -> Segment {
        let deflation = self.deflation.as_mut().expect("invariant: a queue that is compressed has made the compressor");
        deflation.pack(&mut self.bytes, segment, window_bits)
    }

    /// Has the share of a connection written with those that are not bulk.
    pub fn hurry(&mut self, queue: &Queue) {
        let Some(at) = (queue.share as usize).checked_sub(1) else { return };
        let share = &mut self.shares[at];
        if share.is_bulk {
            share.is_bulk = false;
            if at < self.visited {
                self.urgent.push(at as u32);
            }
        }
    }

    fn open_share(&mut self, slot: u32, is_bulk: bool) {
        if self.used == self.shares.len() {
            self.shares.push(Share::default());
        }
        let share = &mut self.shares[self.used];
        share.slot = slot;
        share.is_bulk = is_bulk;
        share.segments.clear();
        self.used += 1;
    }

    /// Bytes of the connection's share in this turn.
    pub fn share_bytes(&self, queue: &Queue) -> usize {
        match queue.share {
            0 => 0,
            share => self.shares[share as usize - 1].segments.iter().map(Segment::len).sum(),
        }
    }

    /// Discards the share of a connection that has closed.
    pub fn forget(&mut self, queue: &mut Queue) {
        if queue.share != 0 {
            self.shares[queue.share as usize - 1].slot = NO_CONNECTION;
            queue.share = 0;
        }
    }

    /// Takes the next share that is to be written: its index for [`Outbound::share`], and the connection. All that are not
    /// bulk come first. Bulk follows, the oldest first, as long as `bulk_budget` lasts, if it is given; it is reduced by the bytes
    /// and a constant for each share.
    pub fn next_share(&mut self, bulk_budget: &mut Option<usize>) -> Option<(usize, u32)> {
        while let Some(at) = self.urgent.pop() {
            if let Some(slot) = self.take_slot(at as usize) {
                return Some((at as usize, slot));
            }
        }
        let defers = bulk_budget.is_some();
        while self.visited < self.used {
            let at = self.visited;
            self.visited += 1;
            if defers && self.shares[at].is_bulk {
                self.is_deferred = true;
            } else if let Some(slot) = self.take_slot(at) {
                return Some((at, slot));
            }
        }
        while self.is_deferred && bulk_budget.is_none_or(|budget| budget > 0) {
            let at = self.written;
            self.written += 1;
            self.is_deferred = self.written < self.used;
            if let Some(slot) = self.take_slot(at) {
                if let Some(budget) = bulk_budget {
                    let bytes: usize = self.shares[at].segments.iter().map(Segment::len).sum();
                    *budget = budget.saturating_sub(bytes + limits::WRITE_BYTES);
                }
                return Some((at, slot));
            }
        }
        None
    }

    fn take_slot(&mut self, at: usize) -> Option<u32> {
        let slot = std::mem::replace(&mut self.shares[at].slot, NO_CONNECTION);
        (slot != NO_CONNECTION).then_some(slot)
    }

    /// A share taken by [`Outbound::next_share`].
    pub fn share(&self, at: usize) -> &Share {
        &self.shares[at]
    }

    /// Whether bulk waits to be written.
    pub fn is_deferred(&self) -> bool {
        self.is_deferred
    }

    /// The shares of the connections that have one.
    pub fn shares(&self) -> impl Iterator<Item = &Share> {
        self.shares[..self.used].iter().filter(|share| share.slot != NO_CONNECTION)
    }

    /// Bytes encoded in this turn.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether the turn has neither bytes nor shares.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty() && self.used == 0
    }

    /// The bytes of a segment.
    pub fn bytes(&self, segment: Segment) -> &[u8] {
        &self.bytes[segment.start as usize..segment.end as usize]
    }

    /// Ends the turn, after all shares have been written.
    pub fn clear(&mut self) {
        debug_assert!(self.shares().next().is_none(), "invariant: the buffer is kept until each share is written");
        self.visited = 0;
        self.written = 0;
        self.is_deferred = false;
        self.most = (self.most.0.max(self.bytes.len()), self.most.1.max(self.used));
        self.bytes.clear();
        self.used = 0;
        if let Some(deflation) = &mut self.deflation {
            deflation.clear();
        }
    }

    /// Whether [`Outbound::trim`] may release memory.
    pub fn is_large(&self) -> bool {
        self.bytes.capacity() > KEEP_BYTES || self.shares.capacity() > KEEP_SHARES
    }

    /// Releases the memory that no turn has used since the last call.
    pub fn trim(&mut self) {
        let (bytes, shares) = std::mem::take(&mut self.most);
        self.bytes.shrink_to(bytes.max(KEEP_BYTES));
        if let Some(deflation) = &mut self.deflation {
            deflation.trim();
        }
        self.shares.truncate(shares.max(KEEP_SHARES).max(self.used));
        self.shares.shrink_to_fit();
    }
}

impl Queue {
    /// Clears the reference to the share, after it has been written.
    pub fn settle(&mut self) {
        self.share = 0;
    }

    /// Base-2 logarithm of the client's window if messages are compressed; otherwise 0.
    pub fn window_bits(&self) -> u8 {
        self.window_bits
    }

    /// Whether the queue is empty.
    pub fn is_empty(&self) -> bool {
        self.share == 0 && self.backlog.is_none()
    }

    /// Whether the socket has taken all bytes. A backlog may be there, but hold back only bytes that are still to come.
    pub fn is_sent(&self) -> bool {
        self.share == 0 && self.backlog_bytes() == 0
    }

    /// Unsent bytes of the backlog.
    pub fn backlog_bytes(&self) -> usize {
        self.backlog.as_deref().map_or(0, |backlog| backlog.rest().len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_that_meet_become_one() {
        let mut outbound = Outbound::default();
        let (mut a, mut b) = (Queue::default(), Queue::default());
        let first = outbound.encode(|out| out.extend_from_slice(b"one"));
        let second = outbound.encode(|out| out.extend_from_slice(b"two"));
        outbound.push(1, &mut a, first);
        outbound.push(1, &mut a, second);
        outbound.push(2, &mut b, second);
        let [first, second] = outbound.shares().collect::<Vec<_>>()[..] else { panic!("two shares") };
        assert_eq!(first.segments.len(), 1);
        assert_eq!(outbound.bytes(first.segments[0]), b"onetwo");
        assert_eq!(outbound.bytes(second.segments[0]), b"two");
    }

    #[test]
    fn a_backlog_forgets_what_was_taken() {
        let mut backlog = Backlog::default();
        backlog.push(b"abcdef");
        backlog.take(4);
        backlog.push(b"gh");
        assert_eq!(backlog.rest(), b"efgh");
        backlog.take(4);
        assert!(backlog.rest().is_empty());
        assert_eq!((backlog.take_progress(), backlog.take_progress()), (8, 0));
    }

    #[test]
    fn what_a_cork_kept_back_comes_after_what_it_waited_for() {
        let mut backlog = Backlog::default();
        backlog.push(b"abc");
        backlog.take(1);
        backlog.cork();
        backlog.push(b"de");
        assert!(backlog.is_corked());
        // A part of it has left already, so the rest cannot wait.
        assert_eq!((backlog.ready(), backlog.rest()), (&b"bc"[..], &b"bcde"[..]));
        backlog.take(2);
        backlog.push(b"f");
        assert_eq!((backlog.ready(), backlog.rest()), (&b""[..], &b"def"[..]));
        backlog.uncork(b"first");
        assert_eq!((backlog.ready(), backlog.is_corked()), (&b"firstdef"[..], false));
    }
}
