//! The counterpart of third-party test suites: a WebSocket that sends back what it gets, sessions that do, and two namespaces
//! that answer their events. All but the answers themselves is served as for any client.

use crate::base::handle::{ConnSlot, SessionSlot};
use crate::base::ids::Nonce;
use crate::base::limits;
use crate::base::time::Now;
use crate::codec::engineio::{self, PacketData, Version};
use crate::codec::socketio::{Attachments, MAIN, PacketTarget, SocketIoEvent, begin_ack, begin_event};
use crate::codec::ws::{self, FrameEvent as Frame, Input};
use crate::connection::conn::ConnStage;
use crate::connection::namespace::NamespaceIndex;
use crate::shard::core::Core;
use crate::shard::http::polling::Polling;
use crate::shard::namespaces::Namespacing;
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
    pub(super) slot: ConnSlot,
    nonce: Nonce,
    application: Application,
}

/// Serves test suites.
pub(super) struct Conformance<'a> {
    core: &'a mut Core,
}

impl<'a> Conformance<'a> {
    pub(super) fn on(core: &'a mut Core) -> Self {
        Self { core }
    }

    /// Opens a session on a WebSocket a moment after the connection has become one. The suite for version 3 listens for
    /// the session's first packet only then, and loses one that comes together with the answer to its upgrade.
    pub(super) fn open_late(&mut self, now: Now, slot: ConnSlot, application: Application) {
        let late = Late { due: now.mono + LATE_MS, slot, nonce: self.core.net.conns[slot].nonce, application };
        self.core.net.sessions.late.push_back(late);
    }

    /// Opens the sessions that are due.
    pub(super) fn open_due_sessions(&mut self, now: Now) {
        while let Some(late) = self.core.net.sessions.late.pop_front_if(|late| late.due <= now.mono) {
            let conn = self.core.net.conns.get(late.slot).filter(|conn| conn.nonce == late.nonce);
            if conn.is_some_and(|conn| matches!(conn.stage, ConnStage::EngineIoSocket(_))) {
                Polling::on(self.core).open_by_websocket(now, late.slot, Version::V3, late.application, None);
                self.core.net.waiting.look_again(late.slot);
            }
        }
    }

    /// Sends frames back. Returns how many bytes were left unread, because the outgoing bytes should be flushed first.
    pub(super) fn read_echo(&mut self, now: Now, slot: ConnSlot, bytes: &mut [u8]) -> usize {
        let mut input = Input::new(bytes);
        while let ConnStage::Echo(decoder) = &mut self.core.net.conns[slot].stage {
            if self.core.net.outbound.len() > limits::TURN_BYTES {
                self.core.net.waiting.look_again(slot);
                return input.remaining();
            }
            let mut is_last = false;
            let outcome = decoder.next(&mut input, &ECHO);
            let segment = self.core.net.outbound.encode(|out| match outcome {
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
            self.core.net.push(slot, segment);
            if is_last {
                self.core.net.conns[slot].stage = ConnStage::Draining;
                self.core.net.half_close(now, slot);
            }
            if is_over {
                break;
            }
        }
        0
    }

    /// Sends a session's message back.
    pub(super) fn send_back(&mut self, at: SessionSlot, data: PacketData<'_>) {
        let version = self.core.net.sessions.list[at].session.version();
        self.core.net.send_to_session(at, |out| match data {
            PacketData::Text(text) => engineio::encode_text(out, |out| {
                out.push(b'4');
                out.extend_from_slice(text.as_bytes());
            }),
            PacketData::Binary(bytes) => engineio::encode_binary(out, version, bytes),
        });
    }

    /// Connects any client to a namespace, and sends its payload back.
    pub(super) fn connect(&mut self, now: Now, at: SessionSlot, space: NamespaceIndex, payload: Option<&str>) {
        if let Some(peer) = Namespacing::on(self.core).add_peer(now, at, space, payload.is_some()) {
            Namespacing::on(self.core).accept_peer(now, peer);
            let target = PacketTarget::namespace(NAMESPACES[usize::from(space)]);
            self.core.net.send_to_session(at, |out| {
                engineio::encode_text(out, |out| begin_event(out, &target, "auth").raw(payload.unwrap_or("{}")).end());
            });
        }
    }

    /// Answers an event as the suites expect. Other events, and those of the second namespace, have no answer.
    pub(super) fn answer(
        &mut self,
        at: SessionSlot,
        space: NamespaceIndex,
        event: SocketIoEvent<'_>,
        id: Option<u64>,
        attachments: Attachments<'_>,
    ) {
        let version = self.core.net.sessions.list[at].session.version();
        let namespace = NAMESPACES[usize::from(space)];
        let is_ack = match (event.plain_name(), id) {
            (Some("message"), _) if namespace == MAIN => false,
            (Some("message-with-ack"), Some(_)) if namespace == MAIN => true,
            _ => return,
        };
        let target = PacketTarget { namespace, id: id.filter(|_| is_ack), attachments: attachments.len() };
        self.core.net.send_to_session(at, |out| {
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
}
