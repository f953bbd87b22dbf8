//! What a session wants done: gathered in one place while it is fed, carried out and cleared by whoever feeds it.

use crate::codec::engineio::{self, EngineIoPacket, EngineIoRefusal, Version};
use crate::connection::session::Reason;

/// One thing to do. `to` is a TCP connection's slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Answer the request that this connection is waiting with.
    Answer {
        /// The connection.
        to: u32,
        /// The status code.
        status: u16,
        /// The `Content-Type`.
        content_type: &'static str,
        /// The body.
        body: EffectBytes,
    },
    /// Send these WebSocket frames.
    Frames {
        /// The connection.
        to: u32,
        /// The frames, whole.
        frames: EffectBytes,
    },
    /// Close this WebSocket; the session has no more to do with it.
    CloseSocket {
        /// The connection.
        to: u32,
        /// The close code.
        code: u16,
    },
    /// The session is over: whoever is behind it hears so. Comes once.
    Over(Reason),
}

/// A stretch of [`Effects::bytes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EffectBytes {
    start: u32,
    end: u32,
}

/// Things to do, in order, and the bytes that belong to them. One is kept for all sessions of a shard, for its memory.
#[derive(Debug, Default)]
pub struct Effects {
    list: Vec<Effect>,
    bytes: Vec<u8>,
}

/// A buffer that grew beyond this gives its memory back.
const KEEP_BYTES: usize = 32 * 1024;

/// A list that grew beyond this many entries gives its memory back.
const KEEP_EFFECTS: usize = 256;

/// The content type of an answer to a POST; what the reference says, for a word nobody reads.
const HTML: &str = "text/html";

const JSON: &str = "application/json";

impl Effects {
    /// What is to be done.
    pub fn iter(&self) -> impl Iterator<Item = Effect> {
        self.list.iter().copied()
    }

    /// Whether nothing is to be done.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The bytes of an effect.
    pub fn bytes(&self, span: EffectBytes) -> &[u8] {
        &self.bytes[span.start as usize..span.end as usize]
    }

    /// All of it has been done.
    pub fn clear(&mut self) {
        self.list.clear();
        self.list.shrink_to(KEEP_EFFECTS);
        self.bytes.clear();
        self.bytes.shrink_to(KEEP_BYTES);
    }

    /// Appends bytes that `write` writes.
    fn span(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> EffectBytes {
        let start = self.bytes.len() as u32;
        write(&mut self.bytes);
        EffectBytes { start, end: self.bytes.len() as u32 }
    }

    /// A request is answered with 200 and what `write` writes.
    pub(super) fn answer(&mut self, to: u32, content_type: &'static str, write: impl FnOnce(&mut Vec<u8>)) {
        let body = self.span(write);
        self.list.push(Effect::Answer { to, status: 200, content_type, body });
    }

    /// A POST is answered: its packets were taken.
    pub(super) fn accept(&mut self, to: u32) {
        self.answer(to, HTML, |out| out.extend_from_slice(b"ok"));
    }

    /// A request is refused.
    pub(super) fn refuse(&mut self, to: u32, refusal: EngineIoRefusal) {
        let body = self.span(|out| out.extend_from_slice(refusal.body().as_bytes()));
        self.list.push(Effect::Answer { to, status: refusal.status(), content_type: JSON, body });
    }

    /// A packet goes out on a WebSocket.
    pub(super) fn packet(&mut self, to: u32, version: Version, packet: EngineIoPacket<'_>) {
        let frames = self.span(|out| engineio::encode_packet(out, version, packet));
        self.list.push(Effect::Frames { to, frames });
    }

    /// Frames go out on a WebSocket.
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
