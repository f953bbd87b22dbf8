//! Input that waits because its connection has asked for more than it has been answered: HTTP requests until earlier answers
//! are sent, frames until earlier requests are answered. So a few bytes that ask for much cost the server no more than a
//! bounded number of answers at a time, and a client that reads its answers gets all of them.

use std::collections::BTreeMap;

use crate::base::handle::ConnSlot;
use crate::base::time::Now;
use crate::connection::conn::{Conn, ConnStage};
use crate::shard::conformance::Conformance;
use crate::shard::core::Core;
use crate::shard::engineio_sockets::EngineIoSockets;
use crate::shard::http::HttpRequests;
use crate::shard::raw_sockets::RawSockets;

/// Connections with input that waits. Requests wait in their connection's own [`crate::connection::http::Http`].
#[derive(Default)]
pub(super) struct Waiting {
    /// Connections whose input may be read now.
    ready: Vec<ConnSlot>,
    frames: BTreeMap<ConnSlot, WaitingFrames>,
}

/// Frames of one connection.
struct WaitingFrames {
    bytes: Vec<u8>,
    /// How many of the bytes have been read.
    read: usize,
}

impl Waiting {
    /// Has a connection's input read when the turn ends.
    pub(super) fn look_again(&mut self, slot: ConnSlot) {
        self.ready.push(slot);
    }

    /// Whether frames of a connection wait.
    pub(super) fn holds(&self, slot: ConnSlot) -> bool {
        self.frames.contains_key(&slot)
    }

    /// Keeps the last `left` bytes of the frames of a connection.
    pub(super) fn keep(&mut self, slot: ConnSlot, bytes: &[u8], left: usize) {
        debug_assert!(!self.holds(slot), "invariant: a connection with input that waits is not read");
        if left > 0 {
            let bytes = bytes[bytes.len() - left..].to_vec();
            self.frames.insert(slot, WaitingFrames { bytes, read: 0 });
        }
    }

    /// Drops the frames of a connection that ends.
    pub(super) fn forget(&mut self, slot: ConnSlot) {
        self.frames.remove(&slot);
    }
}

/// Reads frames, and keeps those that wait.
pub(super) struct Reading<'a> {
    core: &'a mut Core,
}

impl<'a> Reading<'a> {
    pub(super) fn on(core: &'a mut Core) -> Self {
        Self { core }
    }

    /// Reads the frames of a WebSocket. Returns how many bytes are left because they cannot be read now.
    pub(super) fn read(&mut self, now: Now, slot: ConnSlot, bytes: &mut [u8]) -> usize {
        match &self.core.net.conns[slot].stage {
            ConnStage::WebSocket(_) => RawSockets::on(self.core).read(now, slot, bytes),
            ConnStage::EngineIoSocket(_) => EngineIoSockets::on(self.core).read(now, slot, bytes),
            ConnStage::Echo(_) => Conformance::on(self.core).read_echo(now, slot, bytes),
            ConnStage::ProxyHeader(_) | ConnStage::Http(_) | ConnStage::Trace | ConnStage::Draining => 0,
        }
    }

    /// Reads the input that need wait no longer.
    pub(super) fn read_waiting(&mut self, now: Now) {
        for slot in std::mem::take(&mut self.core.net.waiting.ready) {
            match self.core.net.conns.get(slot) {
                // Where there is a backlog, its end brings the connection here again.
                Some(Conn { stage: ConnStage::Http(Some(http)), queue, .. })
                    if http.is_paused && queue.backlog.is_none() =>
                {
                    HttpRequests::on(self.core).received(now, slot, &mut []);
                    self.core.net.resumed.push(slot);
                }
                Some(_) => self.read_frames(now, slot),
                // The connection has ended meanwhile.
                None => {}
            }
        }
    }

    fn read_frames(&mut self, now: Now, slot: ConnSlot) {
        if let Some(mut frames) = self.core.net.waiting.frames.remove(&slot) {
            let left = self.read(now, slot, &mut frames.bytes[frames.read..]);
            if left > 0 {
                frames.read = frames.bytes.len() - left;
                self.core.net.waiting.frames.insert(slot, frames);
            } else {
                self.core.net.resumed.push(slot);
            }
        }
    }
}
