//! What goes out: everything a turn produces, once, and what a full socket left over.
//!
//! During a turn all outgoing bytes are appended to one buffer per shard, and each connection that is to get some of them
//! notes which [`Segment`]s. At the end of the turn each connection is written once, straight from that buffer. Only
//! what its socket would not take is copied, into a [`Backlog`] of the connection's own, whose size is bounded: who does
//! not read costs the others nothing and the server no more than the bound.

use smallvec::SmallVec;

/// A stretch of a turn's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Where it starts.
    pub start: u32,
    /// Where it ends.
    pub end: u32,
    /// Whether a connection that cannot keep up may do without it.
    pub droppable: bool,
}

impl Segment {
    /// How many bytes it has.
    pub fn len(&self) -> usize {
        (self.end - self.start) as usize
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }
}

/// One connection's share of a turn's bytes, in order.
#[derive(Default)]
pub struct Share {
    /// Whose; [`NO_CONNECTION`] when the connection is gone.
    pub slot: u32,
    /// What.
    pub segments: SmallVec<[Segment; 2]>,
}

/// The slot of no connection.
pub const NO_CONNECTION: u32 = u32::MAX;

/// A connection's own part in sending: its share of this turn, and its backlog.
#[derive(Default)]
pub struct Queue {
    /// Its place among the turn's shares, plus one; 0 when it has none.
    share: u32,
    /// What its socket would not take.
    pub backlog: Option<Box<Backlog>>,
}

/// Bytes that a socket would not take, with how many of them it has taken since.
#[derive(Default)]
pub struct Backlog {
    bytes: Vec<u8>,
    taken: usize,
    /// Bytes taken since [`Backlog::take_progress`] was last asked.
    progress: usize,
    /// From here on nothing is sent yet: something else comes first.
    cork: Option<usize>,
}

impl Backlog {
    /// The bytes still to be sent.
    pub fn rest(&self) -> &[u8] {
        &self.bytes[self.taken..]
    }

    /// Adds bytes behind the others.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.taken > self.bytes.len() / 2 {
            self.bytes.drain(..self.taken);
            self.cork = self.cork.map(|at| at - self.taken);
            self.taken = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// Those of the bytes still to be sent that nothing keeps back. While there are any, the socket is full.
    pub fn ready(&self) -> &[u8] {
        &self.bytes[self.taken..self.cork.unwrap_or(self.bytes.len())]
    }

    /// Keeps everything back that is added from now on, until [`Backlog::uncork`].
    pub fn cork(&mut self) {
        self.cork.get_or_insert(self.bytes.len());
    }

    /// Whether what is added is kept back.
    pub fn is_corked(&self) -> bool {
        self.cork.is_some()
    }

    /// Lets everything go that was kept back, behind these bytes.
    pub fn uncork(&mut self, first: &[u8]) {
        let at = self.cork.take().unwrap_or(self.bytes.len());
        self.bytes.splice(at..at, first.iter().copied());
    }

    /// The socket took `count` of them.
    pub fn take(&mut self, count: usize) {
        self.taken = (self.taken + count).min(self.bytes.len());
        self.progress += count;
    }

    /// How many bytes were taken since this was last asked.
    pub fn take_progress(&mut self) -> usize {
        std::mem::take(&mut self.progress)
    }
}

/// A turn's outgoing bytes and whose they are.
#[derive(Default)]
pub struct Outbound {
    bytes: Vec<u8>,
    shares: Vec<Share>,
    /// How many of `shares` this turn uses; the others are kept for their memory.
    used: usize,
    /// The most bytes and shares a turn has used since the last [`Outbound::trim`].
    most: (usize, usize),
}

/// Bytes kept for the next turn, whatever the last ones used.
const KEEP_BYTES: usize = 16 * 1024;

/// Shares kept for the next turn.
const KEEP_SHARES: usize = 64;

impl Outbound {
    /// Appends what `write` writes; it is nobody's until it is pushed.
    pub fn encode(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Segment {
        let start = self.bytes.len() as u32;
        write(&mut self.bytes);
        Segment { start, end: self.bytes.len() as u32, droppable: false }
    }

    /// Gives the connection at `slot` a segment, behind those it has.
    pub fn push(&mut self, slot: u32, queue: &mut Queue, segment: Segment) {
        if segment.is_empty() {
            return;
        }
        if queue.share == 0 {
            self.open_share(slot);
            queue.share = self.used as u32;
        }
        let segments = &mut self.shares[queue.share as usize - 1].segments;
        match segments.last_mut() {
            Some(last) if last.end == segment.start && last.droppable == segment.droppable => last.end = segment.end,
            _ => segments.push(segment),
        }
    }

    fn open_share(&mut self, slot: u32) {
        if self.used == self.shares.len() {
            self.shares.push(Share::default());
        }
        let share = &mut self.shares[self.used];
        share.slot = slot;
        share.segments.clear();
        self.used += 1;
    }

    /// Bytes that the connection gets in this turn.
    pub fn share_bytes(&self, queue: &Queue) -> usize {
        match queue.share {
            0 => 0,
            share => self.shares[share as usize - 1].segments.iter().map(Segment::len).sum(),
        }
    }

    /// Drops what the connection was to get; it is gone.
    pub fn forget(&mut self, queue: &mut Queue) {
        if queue.share != 0 {
            self.shares[queue.share as usize - 1].slot = NO_CONNECTION;
            queue.share = 0;
        }
    }

    /// How many connections have a share.
    pub fn shares(&self) -> usize {
        self.used
    }

    /// The bytes gathered so far.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether nothing was gathered.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty() && self.used == 0
    }

    /// The share at `at`.
    pub fn share(&self, at: usize) -> &Share {
        &self.shares[at]
    }

    /// A segment's bytes.
    pub fn bytes(&self, segment: Segment) -> &[u8] {
        &self.bytes[segment.start as usize..segment.end as usize]
    }

    /// Ends the turn: all shares have been dealt with.
    pub fn clear(&mut self) {
        self.most = (self.most.0.max(self.bytes.len()), self.most.1.max(self.used));
        self.bytes.clear();
        self.used = 0;
    }

    /// Whether it holds memory that [`Outbound::trim`] might give back.
    pub fn is_large(&self) -> bool {
        self.bytes.capacity() > KEEP_BYTES || self.shares.capacity() > KEEP_SHARES
    }

    /// Gives back the memory that no turn has used since this was last called.
    pub fn trim(&mut self) {
        let (bytes, shares) = std::mem::take(&mut self.most);
        self.bytes.shrink_to(bytes.max(KEEP_BYTES));
        self.shares.truncate(shares.max(KEEP_SHARES).max(self.used));
        self.shares.shrink_to_fit();
    }
}

impl Queue {
    /// The connection's share of this turn has been dealt with.
    pub fn settle(&mut self) {
        self.share = 0;
    }

    /// Whether nothing waits to be sent.
    pub fn is_empty(&self) -> bool {
        self.share == 0 && self.backlog.is_none()
    }

    /// Bytes in the backlog.
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
        assert_eq!(outbound.shares(), 2);
        assert_eq!(outbound.share(0).segments.len(), 1);
        assert_eq!(outbound.bytes(outbound.share(0).segments[0]), b"onetwo");
        assert_eq!(outbound.bytes(outbound.share(1).segments[0]), b"two");
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
