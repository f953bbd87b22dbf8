//! WebSockets that carry an Engine.IO session: from frames to packets.

use crate::base::handle::{ConnSlot, SessionSlot, Slot};
use crate::base::limits;
use crate::base::time::Now;
use crate::codec::engineio;
use crate::codec::ws::{self, FrameEvent as Frame, FrameLimits, Input};
use crate::connection::conn::ConnStage;
use crate::shard::core::Core;
use crate::shard::router::Router;
use crate::shard::sessions::EngineIo;
use crate::shard::trace::Tracing;

/// Reads the WebSockets of sessions.
pub(super) struct EngineIoSockets<'a> {
    core: &'a mut Core,
}

impl<'a> EngineIoSockets<'a> {
    pub(super) fn on(core: &'a mut Core) -> Self {
        Self { core }
    }

    /// Reads the frames in `bytes`. Returns how many bytes were left unread because too many of the session's requests are
    /// pending, or because the outgoing bytes should be flushed first.
    pub(super) fn read(&mut self, now: Now, slot: ConnSlot, bytes: &mut [u8]) -> usize {
        let mut input = Input::new(bytes);
        let message_bytes = self.core.options.socket_io.sessions.payload.payload_bytes;
        let limits = FrameLimits { message_bytes, fragments: self.core.options.websocket.fragments };
        // A frame may end the WebSocket.
        while let ConnStage::EngineIoSocket(socket) = &mut self.core.net.conns[slot].stage {
            let Some(at) = self.core.net.sessions.named(socket.link) else {
                if self.core.net.sessions.late.iter().any(|late| late.slot == slot) {
                    return input.remaining();
                }
                self.core.net.abort(slot);
                return 0;
            };
            let is_late = self.core.net.outbound.len() > limits::TURN_BYTES;
            if self.core.net.sessions.list[at].is_busy() || is_late {
                if !self.core.net.sessions.list[at].is_busy() {
                    self.core.net.waiting.look_again(slot);
                }
                return input.remaining();
            }
            // The decoder is taken along, so that handling a frame may change the connection.
            let mut decoder = std::mem::take(&mut socket.decoder);
            let is_more = match decoder.next_inflating(&mut input, &limits, self.core.net.inflater(slot)) {
                Ok(Some(frame)) => {
                    self.frame(now, slot, at, frame);
                    true
                }
                Ok(None) => false,
                Err(error) => {
                    // Node.js gives no reason when a message is too large, and its clients' own tests rely on that.
                    let reason = if error == ws::FrameError::TooLarge { "" } else { error.text() };
                    self.end(now, slot, |out| ws::encode_close(out, error.close_code(), reason));
                    return 0;
                }
            };
            if let ConnStage::EngineIoSocket(socket) = &mut self.core.net.conns[slot].stage {
                socket.decoder = decoder;
            }
            if !is_more {
                break;
            }
            Router::on(self.core).run(now);
        }
        0
    }

    fn frame(&mut self, now: Now, slot: ConnSlot, at: SessionSlot, frame: Frame<'_>) {
        if self.core.tracer.is_active() {
            Tracing::on(self.core).incoming(now, slot, &frame);
        }
        let version = self.core.net.sessions.list[at].session.version();
        let mut scratch = Vec::new();
        let packet = match frame {
            Frame::Text(text) => engineio::decode_text(version, text, &mut scratch),
            Frame::Binary(bytes) => engineio::decode_binary(version, bytes),
            Frame::Ping(payload) => {
                let segment = self.core.net.outbound.encode(|out| ws::encode_pong(out, payload));
                return self.core.net.push(slot, segment);
            }
            Frame::Pong(_) => return,
            Frame::Close(close) => {
                return self.end(now, slot, |out| match close {
                    Some((code, _)) => ws::encode_close(out, code, ""),
                    None => ws::encode_close_without_code(out),
                });
            }
        };
        let is_good = packet.is_ok_and(|packet| EngineIo::on(self.core).packet(now, at, slot, packet));
        if !is_good {
            EngineIo::on(self.core).feed(now, at, |session, context| session.fault(slot.raw(), context));
        }
    }

    /// Ends a WebSocket with the close frame that `write` writes, after its session.
    fn end(&mut self, now: Now, slot: ConnSlot, write: impl FnOnce(&mut Vec<u8>)) {
        EngineIo::on(self.core).part_from_session(now, slot);
        let segment = self.core.net.outbound.encode(write);
        self.core.net.push(slot, segment);
        self.core.net.half_close(now, slot);
    }
}
