//! The counterpart of third-party test suites: a WebSocket that sends back what it gets, sessions that do, and namespaces
//! that answer their events. All but the answers themselves is served as for any client.

mod events;

use crate::base::handle::{ConnSlot, SessionSlot, Slot, SocketIoSlot};
use crate::base::ids::Nonce;
use crate::base::limits;
use crate::base::time::Now;
use crate::codec::engineio::{self, PacketData, Version};
use crate::codec::json::Object;
use crate::codec::socketio::{Arguments, Attachments, MAIN, SocketIoEvent};
use crate::codec::ws::{self, FrameEvent as Frame, Input};
use crate::connection::conn::ConnStage;
use crate::connection::namespace::NamespaceIndex;
use crate::shard::conformance::events::SuiteEvents;
use crate::shard::core::Core;
use crate::shard::http::polling::Polling;
use crate::shard::namespaces::Namespacing;
use crate::shard::sessions::Application;

/// The namespaces there are for suites: the first two for those of the protocols, the others for those of the clients. The
/// main one answers events. One of them lets nobody in.
pub(super) const NAMESPACES: [&str; 8] = [MAIN, "/custom", "/foo", "/timeout_socket", "/valid", "/asd", "/abc", "/no"];

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
    version: Version,
    application: Application,
    query: Box<str>,
}

/// Serves test suites.
pub(super) struct Conformance<'a> {
    core: &'a mut Core,
}

impl<'a> Conformance<'a> {
    pub(super) fn on(core: &'a mut Core) -> Self {
        Self { core }
    }

    /// Whether sessions of this version are opened a moment after their connection has become a WebSocket. The suite for
    /// version 3 listens for the session's first packet only then, and loses one that comes together with the answer to its
    /// upgrade; those of the clients test their timeouts.
    pub(super) fn opens_late(&self, version: Version) -> bool {
        let options = &self.core.options.socket_io;
        options.is_conformance && (version == Version::V3 || options.is_client_suite)
    }

    /// Opens a session on a WebSocket a moment later.
    pub(super) fn open_late(
        &mut self,
        now: Now,
        slot: ConnSlot,
        (version, application): (Version, Application),
        query: Option<&str>,
    ) {
        let (due, nonce) = (now.mono + LATE_MS, self.core.net.conns[slot].nonce);
        let late = Late { due, slot, nonce, version, application, query: query.unwrap_or_default().into() };
        self.core.net.sessions.late.push_back(late);
    }

    /// Opens the sessions that are due.
    pub(super) fn open_due_sessions(&mut self, now: Now) {
        while let Some(late) = self.core.net.sessions.late.pop_front_if(|late| late.due <= now.mono) {
            let conn = self.core.net.conns.get(late.slot).filter(|conn| conn.nonce == late.nonce);
            if conn.is_some_and(|conn| matches!(conn.stage, ConnStage::EngineIoSocket(_))) {
                let (kind, address) = ((late.version, late.application), self.core.net.remotes.address(late.slot));
                let at = Polling::on(self.core).open_by_websocket(now, late.slot, kind, None, address);
                self.note_query(at, Some(&late.query));
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
            let mut decoder = std::mem::take(decoder);
            let outcome = decoder.next_inflating(&mut input, &ECHO, self.core.net.inflater(slot));
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
            self.core.net.conns[slot].stage = if is_last { ConnStage::Draining } else { ConnStage::Echo(decoder) };
            if is_last {
                self.core.net.half_close(now, slot);
            }
            if is_over {
                break;
            }
        }
        0
    }

    /// The suite of `engine.io-client` is greeted.
    pub(super) fn greet(&mut self, at: SessionSlot) {
        if self.core.options.socket_io.is_client_suite {
            self.core.net.send_to_session(at, |out| {
                engineio::encode_text(out, |out| out.extend_from_slice(b"4hi"));
            });
        }
    }

    /// Sends a session's message back, or what the suite of `engine.io-client` asks for by it.
    pub(super) fn send_back(&mut self, at: SessionSlot, data: PacketData<'_>) {
        let headers = self.headers(at);
        let data = match data {
            PacketData::Text("sendHeaders") if self.core.options.socket_io.is_client_suite => {
                PacketData::Text(&headers)
            }
            PacketData::Text("give binary") if self.core.options.socket_io.is_client_suite => {
                PacketData::Binary(&[0, 1, 2, 3, 4])
            }
            PacketData::Text("give utf8") if self.core.options.socket_io.is_client_suite => {
                PacketData::Text("пойду спать всем спокойной ночи")
            }
            data => data,
        };
        let version = self.core.net.sessions.list[at].session.version();
        self.core.net.send_to_session(at, |out| match data {
            PacketData::Text(text) => engineio::encode_text(out, |out| {
                out.push(b'4');
                out.extend_from_slice(text.as_bytes());
            }),
            PacketData::Binary(bytes) => engineio::encode_binary(out, version, bytes),
        });
    }

    /// Keeps the cookies of a session's last POST, which a suite has sent back.
    pub(super) fn note_cookie(&mut self, at: SessionSlot, cookie: Option<&str>) {
        self.core.net.sessions.suite_cookies.insert(at.raw(), cookie.map(Into::into));
    }

    /// The headers of a session's last POST, as JSON: those that a suite looks at.
    fn headers(&self, at: SessionSlot) -> String {
        let cookie = self.core.net.sessions.suite_cookies.get(&at.raw()).and_then(Option::as_deref);
        let mut out = Vec::new();
        Object::begin(&mut out).optional("cookie", cookie).end();
        String::from_utf8(out).expect("invariant: JSON is text")
    }

    /// Keeps the query of a session's handshake, which suites have sent back.
    pub(super) fn note_query(&mut self, at: SessionSlot, query: Option<&str>) {
        self.core.net.sessions.suite_queries.insert(at.raw(), query.unwrap_or_default().into());
    }

    /// Connects any client to a namespace, and tells it what it said of itself.
    pub(super) fn connect(&mut self, now: Now, at: SessionSlot, space: NamespaceIndex, payload: Option<&str>) {
        let namespace = NAMESPACES[usize::from(space)];
        let query = self.core.net.sessions.suite_query(at);
        if let Some(refusal) = events::refusal(namespace, query) {
            if self.core.net.sessions.list[at].namespaces.refuse(space) {
                Namespacing::on(self.core).send_refusal(at, namespace, refusal, None);
            }
            return;
        }
        let auth = payload.unwrap_or("{}");
        let is_client_suite = self.core.options.socket_io.is_client_suite;
        let handshake = events::handshake(query, auth);
        if let Some(peer) = Namespacing::on(self.core).add_peer(now, at, space, payload.is_some()) {
            Namespacing::on(self.core).accept_peer(now, peer);
            let mut events = SuiteEvents::of(self.core, at, space);
            match namespace {
                // The clients' own tests count the packets that come.
                MAIN | "/custom" if !is_client_suite => events.emit("auth", auth),
                "/abc" => events.emit("handshake", &handshake),
                _ => {}
            }
        }
    }

    /// Answers an event as the suites expect.
    pub(super) fn answer(
        &mut self,
        now: Now,
        (at, space, peer): (SessionSlot, NamespaceIndex, u32),
        event: SocketIoEvent<'_>,
        id: Option<u64>,
        attachments: Attachments<'_>,
    ) {
        let peer = SocketIoSlot::from_raw(peer);
        SuiteEvents::of(self.core, at, space).answer(now, peer, event, id, attachments);
    }

    /// A client has acknowledged an event.
    pub(super) fn acknowledged(&mut self, at: SessionSlot, space: NamespaceIndex, arguments: Arguments<'_>) {
        SuiteEvents::of(self.core, at, space).acknowledged(arguments);
    }
}
