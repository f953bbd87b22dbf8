//! The turn's end: each connection that has something to get is written once.

use crate::base::limits;
use crate::base::time::Now;
use crate::connection::conn::{CloseState, Conn};
use crate::connection::outbound::{Backlog, NO_CONNECTION};
use crate::shard::Shard;
use crate::shard::recovery::Departing;

/// What a shard does to its sockets.
pub trait Wire {
    /// Writes as much of `bytes` as the socket takes now, and answers how much that was. Less than all of it means that
    /// the socket is full, and that [`Shard::writable`] will be called when it no longer is.
    ///
    /// # Errors
    /// [`Gone`] when the socket is of no more use.
    fn write(&mut self, slot: u32, bytes: &[u8]) -> Result<usize, Gone>;

    /// Ends our side of the stream, leaving the other open.
    fn half_close(&mut self, slot: u32);

    /// Closes the socket; the slot may be used again at once.
    fn close(&mut self, slot: u32);
}

/// The other side of a socket is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gone;

impl Shard {
    /// Writes what the turn has gathered, and ends the connections that are to end.
    pub fn flush(&mut self, now: Now, wire: &mut impl Wire) {
        self.settle_peer_rooms();
        self.flush_sessions(now);
        self.write_rooms(wire);
        let mut cork = std::mem::take(&mut self.cork);
        for at in 0..self.outbound.shares() {
            self.write_share(at, &mut cork, wire);
        }
        self.cork = cork;
        self.outbound.clear();
        while let Some(slot) = self.overflowed.pop() {
            self.drop_slow_consumer(now, slot);
        }
        // Whoever was dropped just now has a last word to get.
        for at in 0..self.outbound.shares() {
            self.write_share(at, &mut Vec::new(), wire);
        }
        self.outbound.clear();
        while let Some(slot) = self.uncorked.pop() {
            self.writable(slot, wire);
        }
        for slot in std::mem::take(&mut self.ending) {
            self.end(now, slot, wire);
        }
        if !self.handed.is_empty() {
            self.confirm_handed();
        }
        self.read_waiting(now);
        self.look_for_trimmings(now);
    }

    /// Writes what the rooms have gathered to those who get nothing else.
    fn write_rooms(&mut self, wire: &mut impl Wire) {
        let (ending, overflowed) = (&mut self.ending, &mut self.overflowed);
        let bytes_max = self.options.outbound_bytes;
        self.fanout.write_turns(&mut self.conns, &mut self.outbound, |conns, slot, bytes| {
            let outcome = wire.write(slot, bytes);
            if outcome == Ok(bytes.len()) {
                return;
            }
            let conn = &mut conns[slot as usize];
            keep_rest(conn, bytes, outcome);
            match conn.ending {
                CloseState::Abort => ending.push(slot),
                _ if conn.queue.backlog_bytes() > bytes_max => overflowed.push(slot),
                _ => {}
            }
        });
    }

    /// Writes one connection's share of the turn, or adds it to the backlog.
    fn write_share(&mut self, at: usize, cork: &mut Vec<u8>, wire: &mut impl Wire) {
        let share = self.outbound.share(at);
        if share.slot == NO_CONNECTION {
            return;
        }
        let Some(conn) = self.conns.get_mut(share.slot as usize) else { return };
        conn.queue.settle();
        if conn.ending == CloseState::Abort {
            return;
        }
        if let Some(backlog) = &mut conn.queue.backlog {
            for segment in &share.segments {
                if segment.droppable && backlog.rest().len() > self.options.outbound_bytes / 2 {
                    continue;
                }
                backlog.push(self.outbound.bytes(*segment));
            }
        } else {
            let bytes = match share.segments.as_slice() {
                [one] => self.outbound.bytes(*one),
                several => {
                    cork.clear();
                    for segment in several {
                        cork.extend_from_slice(self.outbound.bytes(*segment));
                    }
                    cork.as_slice()
                }
            };
            let outcome = wire.write(share.slot, bytes);
            if outcome == Ok(bytes.len()) {
                return;
            }
            keep_rest(conn, bytes, outcome);
            if conn.ending == CloseState::Abort {
                return self.ending.push(share.slot);
            }
        }
        if conn.queue.backlog_bytes() > self.options.outbound_bytes && conn.ending == CloseState::None {
            self.overflowed.push(share.slot);
        }
    }

    /// A socket takes bytes again.
    pub fn writable(&mut self, slot: u32, wire: &mut impl Wire) {
        let Some(conn) = self.conns.get_mut(slot as usize) else { return };
        let Some(backlog) = conn.queue.backlog.as_mut().filter(|backlog| !backlog.ready().is_empty()) else { return };
        match wire.write(slot, backlog.ready()) {
            Ok(count) => {
                backlog.take(count);
                if backlog.rest().is_empty() && !backlog.is_corked() {
                    conn.queue.backlog = None;
                    if conn.ending != CloseState::None {
                        self.ending.push(slot);
                    }
                    self.resumed.push(slot);
                    self.waiting.look_again(slot);
                }
            }
            Err(Gone) => self.abort(slot),
        }
    }

    /// Closes a connection at the turn's end, whatever it has not been sent.
    pub(super) fn abort(&mut self, slot: u32) {
        if let Some(conn) = self.conns.get_mut(slot as usize) {
            conn.ending = CloseState::Abort;
            self.ending.push(slot);
        }
    }

    /// Ends our side of a connection as soon as everything is sent.
    pub(super) fn half_close(&mut self, now: Now, slot: u32) {
        let Some(conn) = self.conns.get_mut(slot as usize) else { return };
        if conn.ending == CloseState::None {
            conn.ending = CloseState::HalfClose;
            self.ending.push(slot);
            self.set_deadline(now, slot, limits::CLOSING_MS);
        }
    }

    /// Does to a connection's socket what its ending asks for.
    fn end(&mut self, now: Now, slot: u32, wire: &mut impl Wire) {
        let Some(conn) = self.conns.get_mut(slot as usize) else { return };
        match conn.ending {
            CloseState::HalfClose if conn.queue.is_empty() => {
                conn.ending = CloseState::HalfClosed;
                wire.half_close(slot);
            }
            CloseState::Close if !conn.queue.is_empty() => {}
            CloseState::Close | CloseState::Abort => {
                // A write may be what found out that the other side is gone; its rooms have not heard of it then.
                self.depart(now, slot, Departing::Lost);
                self.forget(slot);
                wire.close(slot);
            }
            CloseState::None | CloseState::HalfClose | CloseState::HalfClosed => {}
        }
    }
}

/// A write has not taken all of `bytes`: the rest becomes the connection's backlog; without a socket, the connection is
/// to end.
fn keep_rest(conn: &mut Conn, bytes: &[u8], outcome: Result<usize, Gone>) {
    match outcome {
        Ok(count) => {
            let mut backlog = Box::<Backlog>::default();
            backlog.push(&bytes[count..]);
            conn.queue.backlog = Some(backlog);
        }
        Err(Gone) => conn.ending = CloseState::Abort,
    }
}
