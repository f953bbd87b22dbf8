//! What third-party test suites talk to: a WebSocket that sends back what it gets, sessions that do, and two namespaces
//! that answer their events. All but the answers themselves is what everyone else is served by.

use crate::base::ids::Nonce;
use crate::base::limits;
use crate::base::time::Now;
use crate::codec::engineio::{self, PacketData, Version};
use crate::codec::socketio::{Attachments, MAIN, PacketTarget, SocketIoEvent, begin_ack, begin_event};
use crate::codec::ws::{self, FrameEvent as Frame, Input};
use crate::connection::conn::ConnStage;
use crate::connection::namespace::NamespaceIndex;
use crate::shard::Shard;
use crate::shard::sessions::Application;

/// The namespaces there are for suites. Both tell who connects what it said of itself; the first answers events, too.
pub(super) const NAMESPACES: [&str; 2] = [MAIN, "/custom"];

/// What a message to `/echo` may be. Autobahn cuts one into 65,536 pieces and ends it with an empty one.
const ECHO: ws::FrameLimits = ws::FrameLimits { message_bytes: 16 << 20, fragments: 65_536 + 1 };

/// How long the first packet of a session is kept back, in milliseconds.
const LATE_MS: u64 = 20;

/// A session that is to be opened.
pub(super) struct Late {
    /// When, in monotonic milliseconds.
    pub(super) due: u64,
    /// The connection that is to carry it.
    pub(super) slot: u32,
    nonce: Nonce,
    application: Application,
}

impl Shard {
    /// Opens a session on a WebSocket a moment after the connection has become one. The suite for version 3 listens for
    /// the session's first packet only then, and loses one that comes together with the answer to its upgrade.
    pub(super) fn open_late(&mut self, now: Now, slot: u32, application: Application) {
        let late = Late { due: now.mono + LATE_MS, slot, nonce: self.conns[slot as usize].nonce, application };
        self.sessions.late.push_back(late);
    }

    /// Opens the sessions whose moment has come.
    pub(super) fn open_those_due(&mut self, now: Now) {
        while let Some(late) = self.sessions.late.pop_front_if(|late| late.due <= now.mono) {
            let conn = self.conns.get(late.slot as usize).filter(|conn| conn.nonce == late.nonce);
            if conn.is_some_and(|conn| matches!(conn.stage, ConnStage::EngineIoSocket(_))) {
                self.open_by_websocket(now, late.slot, Version::V3, late.application, None);
                self.waiting.look_again(late.slot);
            }
        }
    }

    /// Sends back the frames that came; how many of the bytes were left unread, because what is to be sent should be sent
    /// first.
    pub(super) fn read_echo(&mut self, now: Now, slot: u32, bytes: &mut [u8]) -> usize {
        let mut input = Input::new(bytes);
        loop {
            let Some(conn) = self.conns.get_mut(slot as usize) else { return 0 };
            let ConnStage::Echo(decoder) = &mut conn.stage else { return 0 };
            if self.outbound.len() > limits::TURN_BYTES {
                self.waiting.look_again(slot);
                return input.remaining();
            }
            let mut is_last = false;
            let outcome = decoder.next(&mut input, &ECHO);
            let segment = self.outbound.encode(|out| match outcome {
                Ok(None) => {}
                Ok(Some(Frame::Text(text))) => ws::encode_text(out, text.as_bytes()),
                Ok(Some(Frame::Binary(bytes))) => ws::encode_binary(out, bytes),
                Ok(Some(Frame::Ping(payload))) => ws::encode_pong(out, payload),
                Ok(Some(Frame::Pong(_))) => {}
                Ok(Some(Frame::Close(close))) => {
                    is_last = true;
                    match close {
                        Some((code, _)) => ws::encode_close(out, code, ""),
                        None => ws::encode_close_without_code(out),
                    }
                }
                Err(error) => {
                    is_last = true;
                    ws::encode_close(out, error.close_code(), error.text());
                }
            });
            let is_over = outcome == Ok(None);
            self.outbound.push(slot, &mut conn.queue, segment);
            if is_last {
                conn.stage = ConnStage::Draining;
                self.half_close(now, slot);
                return 0;
            }
            if is_over {
                return 0;
            }
        }
    }

    /// Sends a session's message back.
    pub(super) fn send_back(&mut self, at: u32, data: PacketData<'_>) {
        let Some(version) = self.version_of(at) else { return };
        self.send_to_session(at, |out| match data {
            PacketData::Text(text) => engineio::encode_text(out, |out| {
                out.push(b'4');
                out.extend_from_slice(text.as_bytes());
            }),
            PacketData::Binary(bytes) => engineio::encode_binary(out, version, bytes),
        });
    }

    /// Lets anyone in, and tells them what they said of themselves.
    pub(super) fn connect_for_suite(&mut self, now: Now, at: u32, space: NamespaceIndex, payload: Option<&str>) {
        let Some(peer) = self.add_peer(now, at, space, payload.is_some()) else { return };
        self.accept_peer(now, peer);
        let target = PacketTarget::namespace(NAMESPACES[usize::from(space)]);
        self.send_to_session(at, |out| {
            engineio::encode_text(out, |out| begin_event(out, &target, "auth").raw(payload.unwrap_or("{}")).end());
        });
    }

    /// Answers an event as the suites expect.
    pub(super) fn answer_suite(
        &mut self,
        at: u32,
        space: NamespaceIndex,
        event: SocketIoEvent<'_>,
        id: Option<u64>,
        attachments: Attachments<'_>,
    ) {
        let Some(version) = self.version_of(at) else { return };
        let is_ack = match (event.plain_name(), id) {
            (Some("message"), _) => false,
            (Some("message-with-ack"), Some(_)) => true,
            _ => return,
        };
        let namespace = NAMESPACES[usize::from(space)];
        if namespace != MAIN {
            return;
        }
        let target = PacketTarget { namespace, id: id.filter(|_| is_ack), attachments: attachments.len() };
        self.send_to_session(at, |out| {
            engineio::encode_text(out, |out| {
                let mut answer = match is_ack {
                    true => begin_ack(out, &target),
                    false => begin_event(out, &target, "message-back"),
                };
                answer.raw(event.arguments.text()).end();
            });
            for bytes in attachments.iter() {
                engineio::encode_binary(out, version, bytes);
            }
        });
    }

    fn version_of(&self, at: u32) -> Option<Version> {
        self.sessions.list.get(at as usize).map(|client| client.session.version())
    }
}
