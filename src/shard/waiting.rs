//! What came on a connection and has to wait, because the connection has asked for more than it has been answered: HTTP
//! requests until earlier answers are sent, frames until earlier questions are answered. So a few bytes that ask for
//! much cost the server no more than a bounded number of answers at a time, and who reads what it asked for gets it all.

use std::collections::BTreeMap;

use crate::base::time::Now;
use crate::connection::conn::{Conn, ConnStage};
use crate::shard::Shard;

/// Who waits, and the frames that do. Requests wait in their connection's own [`crate::connection::http::Http`].
#[derive(Default)]
pub(super) struct Waiting {
    /// Connections that may have waited long enough.
    to_look_at: Vec<u32>,
    frames: BTreeMap<u32, Held>,
}

/// Frames of one connection.
struct Held {
    bytes: Vec<u8>,
    /// How many of the bytes have been read.
    read: usize,
}

impl Waiting {
    /// Has the connection at `slot` looked at when the turn ends.
    pub(super) fn look_again(&mut self, slot: u32) {
        self.to_look_at.push(slot);
    }

    /// Whether frames of the connection at `slot` wait.
    pub(super) fn holds(&self, slot: u32) -> bool {
        self.frames.contains_key(&slot)
    }

    /// Drops the frames of a connection that ends.
    pub(super) fn forget(&mut self, slot: u32) {
        self.frames.remove(&slot);
    }
}

impl Shard {
    /// Bytes came on a WebSocket; those that cannot be read now are kept.
    pub(super) fn received_frames(&mut self, now: Now, slot: u32, bytes: &mut [u8]) {
        let left = self.read_any_frames(now, slot, bytes);
        if left > 0 {
            let bytes = bytes[bytes.len() - left..].to_vec();
            self.waiting.frames.insert(slot, Held { bytes, read: 0 });
        }
    }

    fn read_any_frames(&mut self, now: Now, slot: u32, bytes: &mut [u8]) -> usize {
        match self.conns.get(slot as usize).map(|conn| &conn.stage) {
            Some(ConnStage::WebSocket(_)) => self.read_frames(now, slot, bytes),
            Some(ConnStage::EngineIoSocket(_)) => self.read_carrier(now, slot, bytes),
            Some(ConnStage::Echo(_)) => self.read_echo(now, slot, bytes),
            _ => 0,
        }
    }

    /// Goes on with what waited, on those connections where it need wait no longer.
    pub(super) fn read_waiting(&mut self, now: Now) {
        for slot in std::mem::take(&mut self.waiting.to_look_at) {
            match self.conns.get(slot as usize) {
                // Where there is a backlog, its end brings the connection here again.
                Some(Conn { stage: ConnStage::Http(Some(http)), queue, .. })
                    if http.is_paused && queue.backlog.is_none() =>
                {
                    self.received_http(now, slot, &mut []);
                    self.resumed.push(slot);
                }
                Some(Conn {
                    stage: ConnStage::WebSocket(_) | ConnStage::EngineIoSocket(_) | ConnStage::Echo(_),
                    ..
                }) => {
                    self.read_held(now, slot);
                }
                _ => {}
            }
        }
    }

    fn read_held(&mut self, now: Now, slot: u32) {
        let Some(mut held) = self.waiting.frames.remove(&slot) else { return };
        let left = self.read_any_frames(now, slot, &mut held.bytes[held.read..]);
        if left > 0 {
            held.read = held.bytes.len() - left;
            self.waiting.frames.insert(slot, held);
        } else {
            self.resumed.push(slot);
        }
    }
}
