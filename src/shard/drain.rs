//! Leaving without a stampede: everyone is told to come back at another moment of the window, then connections are
//! closed batch by batch.

use crate::base::time::Now;
use crate::client::conn::Stage;
use crate::client::session::Reason;
use crate::dialect::raw;
use crate::shard::Shard;
use crate::shard::sessions::Client;

/// Between two batches, in milliseconds.
const BATCH_EVERY_MS: u64 = 100;

/// Connections closed at once, at the least.
const BATCH_CONNECTIONS: usize = 200;

/// A shard on its way out.
pub(super) struct Drain {
    /// When the last connection is to be closed, in monotonic milliseconds.
    until: u64,
    /// When the next batch is due.
    pub(super) next: u64,
    /// Connections in a batch.
    batch: usize,
}

impl Shard {
    /// Whether the shard is leaving and has nobody left.
    pub fn is_drained(&self) -> bool {
        self.drain.is_some() && self.conns.is_empty()
    }

    /// Whether the shard is leaving.
    pub fn is_draining(&self) -> bool {
        self.drain.is_some()
    }

    pub(super) fn start_draining(&mut self, now: Now, window_ms: u64) {
        if self.drain.is_some() {
            return;
        }
        let slots: Vec<u32> = self.conns.iter().map(|(slot, _)| slot as u32).collect();
        // The last tenth of the window is for closing handshakes.
        let batches = (window_ms * 9 / 10 / BATCH_EVERY_MS).max(1) as usize;
        let batch = slots.len().div_ceil(batches).max(BATCH_CONNECTIONS);
        let next = now.mono + BATCH_EVERY_MS.min(window_ms);
        self.drain = Some(Box::new(Drain { until: now.mono + window_ms * 9 / 10, next, batch }));
        for slot in slots {
            if self.conns[slot as usize].is_listening() {
                let retry_ms = self.rng.below(window_ms.max(1));
                self.greet(now, slot);
                self.send_raw(slot, |out| raw::disconnect(out, "server-shutdown", Some(retry_ms), now));
            } else if matches!(self.conns[slot as usize].stage, Stage::Http(None)) {
                self.half_close(now, slot);
            }
        }
    }

    pub(super) fn continue_draining(&mut self, now: Now) {
        let Some(drain) = &mut self.drain else { return };
        if now.mono < drain.next {
            return;
        }
        drain.next = now.mono + BATCH_EVERY_MS;
        let is_last = now.mono + BATCH_EVERY_MS > drain.until;
        let batch = if is_last { usize::MAX } else { drain.batch };
        let listening = |(slot, conn): (usize, &crate::client::conn::Conn)| conn.is_listening().then_some(slot as u32);
        let slots: Vec<u32> = self.conns.iter().filter_map(listening).take(batch).collect();
        let (code, reason) = if is_last { (1001, "going away") } else { (1012, "service restart") };
        for slot in slots {
            self.close_websocket(now, slot, code, reason);
        }
        let is_open = |(at, client): (usize, &Client)| (!client.session.is_over()).then_some(at as u32);
        let sessions: Vec<u32> = self.sessions.list.iter().filter_map(is_open).take(batch).collect();
        for at in sessions {
            // Their clients come back by themselves.
            self.feed(now, at, |session, context| session.close(Reason::ServerClose, context));
        }
        if is_last {
            let idle = |(slot, conn): (usize, &crate::client::conn::Conn)| {
                (conn.asks == 0 && matches!(conn.stage, Stage::Http(_))).then_some(slot as u32)
            };
            for slot in self.conns.iter().filter_map(idle).collect::<Vec<u32>>() {
                self.half_close(now, slot);
            }
        }
    }
}
