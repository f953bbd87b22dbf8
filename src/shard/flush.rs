//! The turn's end: each connection that has something to get is written once.

use crate::base::handle::{ConnSlot, Slot};
use crate::base::time::Now;
use crate::connection::conn::{CloseState, Conn};
use crate::connection::outbound::{Backlog, NO_CONNECTION};
use crate::shard::core::Core;
use crate::shard::peers::Departing;
use crate::shard::raw_sockets::RawSockets;
use crate::shard::replies::Replies;
use crate::shard::router::Router;
use crate::shard::sessions::EngineIo;
use crate::shard::trimming::Trimming;
use crate::shard::waiting::Reading;

/// The sockets of a shard.
pub trait Wire {
    /// Writes as much of `bytes` as the socket takes now, and returns how much that was. Less than all of it means that
    /// the socket is full, and that [`Shard::writable`](crate::shard::Shard::writable) will be called when it no longer is.
    ///
    /// # Errors
    /// [`Gone`] when the socket is of no more use.
    fn write(&mut self, slot: ConnSlot, bytes: &[u8]) -> Result<usize, Gone>;

    /// Ends our side of the stream, leaving the other open.
    fn half_close(&mut self, slot: ConnSlot);

    /// Whether the socket has input that has not been read.
    fn has_input(&mut self, slot: ConnSlot) -> bool;

    /// Closes the socket; the slot may be used again at once.
    fn close(&mut self, slot: ConnSlot);
}

/// The other side of a socket is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gone;

/// Writes the outgoing bytes of a turn.
pub(super) struct Flush<'a> {
    core: &'a mut Core,
}

impl<'a> Flush<'a> {
    pub(super) fn on(core: &'a mut Core) -> Self {
        Self { core }
    }

    /// Writes the bytes gathered in the turn, and ends the connections that are to end. The order matters: each step may
    /// produce work for the next.
    pub(super) fn flush(&mut self, now: Now, wire: &mut impl Wire) {
        // Events of rooms go to sessions before the sessions' polls are answered.
        let Core { rooms, net, recovery, .. } = &mut *self.core;
        rooms.settle_all_groups(net, &mut recovery.returns);
        EngineIo::on(self.core).flush(now);
        // Raw members with nothing but one room's run are written first; the others find the run among their segments.
        self.write_rooms(wire);
        self.write_shares(wire);
        while let Some(slot) = self.core.net.overflowed.pop() {
            RawSockets::on(self.core).drop_slow_consumer(now, slot);
        }
        // The last message of a connection that was dropped just now.
        self.write_shares(wire);
        while let Some(slot) = self.core.net.uncorked.pop() {
            self.writable(slot, wire);
        }
        for slot in std::mem::take(&mut self.core.net.ending) {
            self.end(now, slot, wire);
        }
        Replies::on(self.core).confirm_delivered();
        // Input that waited is read after the writes, so that its answers belong to the next turn.
        Reading::on(self.core).read_waiting(now);
        Trimming::on(self.core).schedule(now);
    }

    /// Writes the rooms' runs to the members that get nothing else.
    fn write_rooms(&mut self, wire: &mut impl Wire) {
        let Core { rooms, net, options, .. } = &mut *self.core;
        let (ending, overflowed) = (&mut net.ending, &mut net.overflowed);
        rooms.write_raw_runs(&mut net.conns, &mut net.outbound, |conn, slot, bytes| {
            let outcome = wire.write(slot, bytes);
            if outcome != Ok(bytes.len()) {
                keep_rest(conn, bytes, outcome);
                match conn.ending {
                    CloseState::Abort => ending.push(slot),
                    _ if conn.queue.backlog_bytes() > options.outbound_bytes => overflowed.push(slot),
                    _ => {}
                }
            }
        });
    }

    fn write_shares(&mut self, wire: &mut impl Wire) {
        let mut cork = std::mem::take(&mut self.core.net.cork);
        for at in 0..self.core.net.outbound.shares() {
            self.write_share(at, &mut cork, wire);
        }
        self.core.net.cork = cork;
        self.core.net.outbound.clear();
    }

    /// Writes one connection's share of the turn, or adds it to the backlog.
    fn write_share(&mut self, at: usize, cork: &mut Vec<u8>, wire: &mut impl Wire) {
        let net = &mut self.core.net;
        let share = net.outbound.share(at);
        if share.slot == NO_CONNECTION {
            return;
        }
        let slot = ConnSlot::from_raw(share.slot);
        let conn = &mut net.conns[slot];
        conn.queue.settle();
        if conn.ending == CloseState::Abort {
            return;
        }
        let bytes_max = self.core.options.outbound_bytes;
        if let Some(backlog) = &mut conn.queue.backlog {
            for segment in &share.segments {
                if !segment.droppable || backlog.rest().len() <= bytes_max / 2 {
                    backlog.push(net.outbound.bytes(*segment));
                }
            }
        } else {
            let bytes = match share.segments.as_slice() {
                [one] => net.outbound.bytes(*one),
                several => {
                    cork.clear();
                    for segment in several {
                        cork.extend_from_slice(net.outbound.bytes(*segment));
                    }
                    cork.as_slice()
                }
            };
            let outcome = wire.write(slot, bytes);
            if outcome == Ok(bytes.len()) {
                return;
            }
            keep_rest(conn, bytes, outcome);
            if conn.ending == CloseState::Abort {
                return net.ending.push(slot);
            }
        }
        if conn.queue.backlog_bytes() > bytes_max && conn.ending == CloseState::None {
            net.overflowed.push(slot);
        }
    }

    /// Continues with a connection's backlog: its socket takes bytes again.
    pub(super) fn writable(&mut self, slot: ConnSlot, wire: &mut impl Wire) {
        let net = &mut self.core.net;
        if let Some(conn) = net.conns.get_mut(slot)
            && let Some(backlog) = conn.queue.backlog.as_mut().filter(|backlog| !backlog.ready().is_empty())
        {
            match wire.write(slot, backlog.ready()) {
                Ok(count) => {
                    debug_assert!(count <= backlog.ready().len(), "invariant: a socket takes no more than it is given");
                    backlog.take(count);
                    if backlog.rest().is_empty() && !backlog.is_corked() {
                        conn.queue.backlog = None;
                        if conn.ending != CloseState::None {
                            net.ending.push(slot);
                        }
                        net.read_again(slot);
                    }
                }
                Err(Gone) => net.abort(slot),
            }
        }
    }

    /// Carries on with the close of a connection.
    fn end(&mut self, now: Now, slot: ConnSlot, wire: &mut impl Wire) {
        let Some(conn) = self.core.net.conns.get_mut(slot) else {
            // It was in the list twice.
            return;
        };
        match conn.ending {
            CloseState::HalfClose if conn.queue.is_empty() => {
                conn.ending = CloseState::HalfClosed;
                wire.half_close(slot);
            }
            CloseState::Close if !conn.queue.is_empty() => {}
            CloseState::CloseIdle if wire.has_input(slot) => {
                conn.ending = CloseState::None;
                let head_ms = self.core.options.head_ms;
                self.core.net.set_deadline(now, slot, head_ms);
            }
            CloseState::Close | CloseState::CloseIdle | CloseState::Abort => {
                // A write may have found that the other side is gone; the rooms have not been told then.
                Router::on(self.core).detach_connection(now, slot, Departing::Lost);
                Router::on(self.core).remove_connection(slot);
                wire.close(slot);
            }
            CloseState::None | CloseState::HalfClose | CloseState::HalfClosed => {}
        }
    }
}

/// Makes the bytes that a write has not taken the connection's backlog; a connection without a socket is aborted.
fn keep_rest(conn: &mut Conn, bytes: &[u8], outcome: Result<usize, Gone>) {
    match outcome {
        Ok(count) => {
            debug_assert!(
                conn.queue.backlog.is_none(),
                "invariant: a connection with a backlog is not written past it"
            );
            let mut backlog = Box::<Backlog>::default();
            backlog.push(&bytes[count..]);
            conn.queue.backlog = Some(backlog);
        }
        Err(Gone) => conn.ending = CloseState::Abort,
    }
}
