//! The turn's end: each connection that has something to get is written once.

use crate::base::handle::{ConnSlot, Slot};
use crate::base::limits;
use crate::base::time::Now;
use crate::connection::conn::{CloseState, Conn};
use crate::connection::outbound::Backlog;
use crate::shard::Shard;
use crate::shard::broadcasts::Broadcasting;
use crate::shard::core::Core;
use crate::shard::net::Net;
use crate::shard::peers::Departing;
use crate::shard::raw_sockets::RawSockets;
use crate::shard::recovery::proofs::Proving;
use crate::shard::router::Router;
use crate::shard::sessions::EngineIo;
use crate::shard::trace::Tracing;
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

impl Shard {
    /// Writes the bytes gathered in the turn, and ends the connections that are to end. The order matters: each step may
    /// produce work for the next.
    pub fn flush(&mut self, now: Now, wire: &mut impl Wire) {
        // Events of rooms go to sessions before the sessions' polls are answered.
        let Core { rooms, net, recovery, .. } = &mut self.core;
        while let Some(at) = rooms.next_dirty_groups() {
            rooms.settle_groups(at, net, &mut recovery.returns);
        }
        Proving::on(&mut self.core).send_pings(now);
        EngineIo::on(&mut self.core).flush(now);
        Proving::on(&mut self.core).polls_answered();
        self.trace(now);
        // Raw members with nothing but one room's run are written first; the others find the run among their segments.
        let mut bulk_budget = self.bulk_budget(now);
        let Core { rooms, net, options, .. } = &mut self.core;
        let (ending, overflowed) = (&mut net.ending, &mut net.overflowed);
        rooms.write_raw_runs(&mut net.conns, &mut net.outbound, bulk_budget.is_some(), |conn, slot, bytes| {
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
        self.write_shares(&mut bulk_budget, wire);
        while let Some(slot) = self.core.net.overflowed.pop() {
            RawSockets::on(&mut self.core).drop_slow_consumer(now, slot);
        }
        // The last message of a connection that was dropped just now.
        self.trace(now);
        self.write_shares(&mut bulk_budget, wire);
        while let Some(slot) = self.core.net.uncorked.pop() {
            self.writable(slot, wire);
        }
        for slot in std::mem::take(&mut self.core.net.ending) {
            self.carry_on_close(now, slot, wire);
        }
        if !self.core.net.outbound.is_deferred() {
            Broadcasting::on(&mut self.core).end_turn(now);
        }
        // Input that waited is read after the writes, so that its answers belong to the next turn.
        Reading::on(&mut self.core).read_waiting(now);
        Trimming::on(&mut self.core).schedule(now);
    }

    /// Copies what is about to be written, where a trace is watched.
    fn trace(&mut self, now: Now) {
        if self.core.tracer.is_active() {
            Tracing::on(&mut self.core).outgoing(now);
        }
    }

    /// What the writes of messages to large rooms may cost in this turn; `None`: they are written whole.
    fn bulk_budget(&self, now: Now) -> Option<usize> {
        let Core { net, tracer, .. } = &self.core;
        let defers = !tracer.is_active() && net.outbound.len() <= limits::TURN_BYTES;
        self.write_budget(now).filter(|_| defers)
    }

    /// What writes that can wait may cost in a turn, as bytes that cost the same; `None`: any number.
    pub fn write_budget(&self, now: Now) -> Option<usize> {
        let Core { broadcasts, options, .. } = &self.core;
        broadcasts.is_shared(now).then_some(options.bulk.turn_bytes)
    }

    /// Writes each connection's share of the turn, or adds it to the connection's backlog; of bulk as much as the budget allows.
    fn write_shares(&mut self, bulk_budget: &mut Option<usize>, wire: &mut impl Wire) {
        let bytes_max = self.core.options.outbound_bytes;
        let Net { conns, outbound, cork, ending, overflowed, .. } = &mut self.core.net;
        if outbound.is_deferred() {
            ending.iter().filter_map(|slot| conns.get(*slot)).for_each(|conn| outbound.hurry(&conn.queue));
        }
        while let Some((at, slot)) = outbound.next_share(bulk_budget) {
            let (share, slot) = (outbound.share(at), ConnSlot::from_raw(slot));
            let conn = &mut conns[slot];
            conn.queue.settle();
            if conn.ending == CloseState::Abort {
                continue;
            }
            if let Some(backlog) = &mut conn.queue.backlog {
                for segment in &share.segments {
                    if !segment.droppable || backlog.rest().len() <= bytes_max / 2 {
                        backlog.push(outbound.bytes(*segment));
                    }
                }
            } else {
                let bytes = match share.segments.as_slice() {
                    [one] => outbound.bytes(*one),
                    several => {
                        cork.clear();
                        for segment in several {
                            cork.extend_from_slice(outbound.bytes(*segment));
                        }
                        cork.as_slice()
                    }
                };
                let outcome = wire.write(slot, bytes);
                if outcome == Ok(bytes.len()) {
                    continue;
                }
                keep_rest(conn, bytes, outcome);
                if conn.ending == CloseState::Abort {
                    ending.push(slot);
                    continue;
                }
            }
            if conn.queue.backlog_bytes() > bytes_max && conn.ending == CloseState::None {
                overflowed.push(slot);
            }
        }
        if !outbound.is_deferred() {
            outbound.clear();
        }
    }

    /// Whether bytes wait for a socket to take them.
    pub fn has_backlog(&self, slot: ConnSlot) -> bool {
        self.core.net.conns.get(slot).is_some_and(|conn| conn.queue.backlog.is_some())
    }

    /// A socket takes bytes again: continues with the connection's backlog. Returns how many bytes it took.
    pub fn writable(&mut self, slot: ConnSlot, wire: &mut impl Wire) -> usize {
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
                    return count;
                }
                Err(Gone) => net.abort(slot),
            }
        }
        0
    }

    fn carry_on_close(&mut self, now: Now, slot: ConnSlot, wire: &mut impl Wire) {
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
                Router::on(&mut self.core).detach_connection(now, slot, Departing::Lost);
                Router::on(&mut self.core).remove_connection(slot);
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
