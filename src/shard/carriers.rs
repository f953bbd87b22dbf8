//! WebSockets that carry an Engine.IO session: from frames to packets.

use crate::base::limits;
use crate::base::time::Now;
use crate::codec::engineio;
use crate::codec::ws::{self, FrameEvent as Frame, Input};
use crate::connection::conn::ConnStage;
use crate::shard::Shard;

impl Shard {
    /// Bytes came on a WebSocket that carries a session. Answers how many of them were left unread because too many of
    /// the session's questions are under way, or what is to be sent should be sent first.
    pub(super) fn read_carrier(&mut self, now: Now, slot: u32, bytes: &mut [u8]) -> usize {
        let mut input = Input::new(bytes);
        let message_bytes = self.options.socket_io.sessions.payload.payload_bytes;
        let limits = ws::FrameLimits { message_bytes, fragments: self.options.websocket.fragments };
        loop {
            let Some(conn) = self.conns.get_mut(slot as usize) else { return 0 };
            let ConnStage::EngineIoSocket(carrier) = &mut conn.stage else { return 0 };
            let Some(at) = self.sessions.named(carrier.link) else {
                if self.sessions.late.iter().any(|late| late.slot == slot) {
                    return input.remaining();
                }
                self.abort(slot);
                return 0;
            };
            if self.sessions.list[at as usize].is_busy() {
                return input.remaining();
            }
            if self.outbound.len() > limits::TURN_BYTES {
                self.waiting.look_again(slot);
                return input.remaining();
            }
            // The decoder is taken along, so that handling a frame may change the connection.
            let mut decoder = std::mem::take(&mut carrier.decoder);
            let is_more = match decoder.next(&mut input, &limits) {
                Ok(Some(frame)) => {
                    self.carrier_frame(now, slot, at, frame);
                    true
                }
                Ok(None) => false,
                Err(error) => {
                    self.end_carrier(now, slot, |out| ws::encode_close(out, error.close_code(), error.text()));
                    return 0;
                }
            };
            if let Some(conn) = self.conns.get_mut(slot as usize)
                && let ConnStage::EngineIoSocket(carrier) = &mut conn.stage
            {
                carrier.decoder = decoder;
            }
            if !is_more {
                return 0;
            }
            self.run(now);
        }
    }

    fn carrier_frame(&mut self, now: Now, slot: u32, at: u32, frame: Frame<'_>) {
        let Some(client) = self.sessions.list.get(at as usize) else { return };
        let version = client.session.version();
        let mut scratch = Vec::new();
        let packet = match frame {
            Frame::Text(text) => engineio::decode_text(version, text, &mut scratch),
            Frame::Binary(bytes) => engineio::decode_binary(version, bytes),
            Frame::Ping(payload) => {
                let segment = self.outbound.encode(|out| ws::encode_pong(out, payload));
                return self.push(slot, segment);
            }
            Frame::Pong(_) => return,
            Frame::Close(close) => {
                return self.end_carrier(now, slot, |out| match close {
                    Some((code, _)) => ws::encode_close(out, code, ""),
                    None => ws::encode_close_without_code(out),
                });
            }
        };
        let is_good = packet.is_ok_and(|packet| self.packet(now, at, slot, packet));
        if !is_good {
            self.feed(now, at, |session, context| session.fault(slot, context));
        }
    }

    /// Ends a WebSocket with the close frame that `write` writes; the session hears so first.
    fn end_carrier(&mut self, now: Now, slot: u32, write: impl FnOnce(&mut Vec<u8>)) {
        self.part_from_session(now, slot);
        let segment = self.outbound.encode(write);
        self.push(slot, segment);
        self.half_close(now, slot);
    }
}
