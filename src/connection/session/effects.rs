//! Effects of a session: collected while it handles inputs, executed and cleared by the shard.

use crate::codec::engineio::{self, EngineIoPacket, EngineIoRefusal, Version};
use crate::connection::session::Reason;

/// An effect. `to` is the slot of a TCP connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Respond to the pending request of a connection.
    Answer {
        /// The connection.
        to: u32,
        /// Status code.
        status: u16,
        /// Value of `Content-Type`.
        content_type: &'static str,
        /// Body of the response.
        body: EffectBytes,
    },
    /// Send WebSocket frames.
    Frames {
        /// The connection.
        to: u32,
        /// The frames, complete ones only.
        frames: EffectBytes,
    },
    /// Close a WebSocket; the session no longer refers to it.
    CloseSocket {
        /// The connection.
        to: u32,
        /// Close code.
        code: u16,
    },
    /// The session has ended; reported exactly once.
    Over(Reason),
}

/// A range of [`Effects::bytes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EffectBytes {
    start: u32,
    end: u32,
}

/// Effects in order, and their bytes. One value is reused for all sessions of a shard.
#[derive(Debug, Default)]
pub struct Effects {
    list: Vec<Effect>,
    bytes: Vec<u8>,
}

/// Capacity of the byte buffer that [`Effects::clear`] keeps.
const KEEP_BYTES: usize = 32 * 1024;

/// Capacity of the list that [`Effects::clear`] keeps.
const KEEP_EFFECTS: usize = 256;

/// Content type of the response to a POST, as in the reference implementation.
const HTML: &str = "text/html";

const JSON: &str = "application/json";

impl Effects {
    /// The effects in order.
    pub fn iter(&self) -> impl Iterator<Item = Effect> {
        self.list.iter().copied()
    }

    /// Whether there is no effect.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The bytes of an effect.
    pub fn bytes(&self, span: EffectBytes) -> &[u8] {
        &self.bytes[span.start as usize..span.end as usize]
    }

    /// Clears the list after the effects have been executed.
    pub fn clear(&mut self) {
        self.list.clear();
        self.list.shrink_to(KEEP_EFFECTS);
        self.bytes.clear();
        self.bytes.shrink_to(KEEP_BYTES);
    }

    fn span(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> EffectBytes {
        let start = self.bytes.len() as u32;
        write(&mut self.bytes);
        debug_assert!(u32::try_from(self.bytes.len()).is_ok(), "invariant: effects have less than 4 GiB");
        EffectBytes { start, end: self.bytes.len() as u32 }
    }

    /// Responds to a request with status 200 and the body that `write` appends.
    pub(super) fn answer(&mut self, to: u32, content_type: &'static str, write: impl FnOnce(&mut Vec<u8>)) {
        let body = self.span(write);
        self.list.push(Effect::Answer { to, status: 200, content_type, body });
    }

    /// Responds to a POST whose packets were accepted.
    pub(super) fn accept(&mut self, to: u32) {
        self.answer(to, HTML, |out| out.extend_from_slice(b"ok"));
    }

    /// Refuses a request.
    pub(super) fn refuse(&mut self, to: u32, refusal: EngineIoRefusal) {
        let body = self.span(|out| out.extend_from_slice(refusal.body().as_bytes()));
        self.list.push(Effect::Answer { to, status: refusal.status(), content_type: JSON, body });
    }

    /// Sends a packet on a WebSocket.
    pub(super) fn packet(&mut self, to: u32, version: Version, packet: EngineIoPacket<'_>) {
        let frames = self.span(|out| engineio::encode_packet(out, version, packet));
        self.list.push(Effect::Frames { to, frames });
    }

    /// Sends the frames that `write` appends on a WebSocket.
    pub(super) fn frames(&mut self, to: u32, write: impl FnOnce(&mut Vec<u8>)) {
        let frames = self.span(write);
        self.list.push(Effect::Frames { to, frames });
    }

    pub(super) fn close_socket(&mut self, to: u32, code: u16) {
        self.list.push(Effect::CloseSocket { to, code });
    }

    pub(super) fn over(&mut self, reason: Reason) {
        self.list.push(Effect::Over(reason));
    }
}
