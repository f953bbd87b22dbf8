//! WebSockets that speak the raw dialect: from frames to commands, and the closing handshake.

use crate::base::handle::{ConnSlot, PeerKey};
use crate::base::limits::{self, ASKS_PER_CONNECTION};
use crate::base::time::Now;
use crate::codec::ws::{self, FrameEvent as Frame, Input};
use crate::connection::conn::ConnStage;
use crate::connection::session::Reason;
use crate::connection::standing::{HandshakeState, Notice};
use crate::dialect::raw;
use crate::domain::reject::{Code, Reject};
use crate::domain::revocation::{RevokedKind, Struck};
use crate::shard::commands::Commands;
use crate::shard::core::Core;
use crate::shard::peers::{Departing, Peers};
use crate::shard::recovery::proofs::Proving;
use crate::shard::requests::RequestRef;
use crate::shard::router::Router;
use crate::shard::sessions::EngineIo;
use crate::shard::trace::Tracing;

/// Reads and closes raw WebSockets.
pub(super) struct RawSockets<'a> {
    core: &'a mut Core,
}

impl<'a> RawSockets<'a> {
    pub(super) fn on(core: &'a mut Core) -> Self {
        Self { core }
    }

    /// Reads the frames in `bytes`. Returns how many bytes were left unread because too many of the connection's requests are
    /// pending, or because the outgoing bytes should be flushed first.
    pub(super) fn read(&mut self, now: Now, slot: ConnSlot, bytes: &mut [u8]) -> usize {
        let mut input = Input::new(bytes);
        let limits = self.core.options.websocket;
        let peer = PeerKey::from(slot);
        // A frame may end the WebSocket.
        while let ConnStage::WebSocket(socket) = &mut self.core.net.conns[slot].stage {
            // The decoder is taken along, so that handling a frame may change the connection.
            let mut decoder = std::mem::take(&mut socket.decoder);
            let Core { net, quota, broadcasts, gate, .. } = &*self.core;
            let is_busy = net.conns[slot].asks >= ASKS_PER_CONNECTION;
            let is_held = is_busy || quota.holds(peer) || broadcasts.holds(peer) || gate.holds(peer);
            let is_late = self.core.net.outbound.len() > limits::TURN_BYTES;
            if is_late && !is_held {
                self.core.net.waiting.look_again(slot);
            }
            let is_more = match is_held || is_late {
                true => false,
                false => match decoder.next_inflating(&mut input, &limits, self.core.net.inflater(slot)) {
                    Ok(Some(frame)) => {
                        self.frame(now, slot, frame);
                        true
                    }
                    Ok(None) => false,
                    Err(error) => {
                        self.close(now, slot, error.close_code(), error.text());
                        return 0;
                    }
                },
            };
            if let ConnStage::WebSocket(socket) = &mut self.core.net.conns[slot].stage {
                socket.decoder = decoder;
            }
            if !is_more {
                return if is_held || is_late { input.remaining() } else { 0 };
            }
            // A frame's operations on this shard are applied before the next frame is read, while their memory is in cache.
            Router::on(self.core).run(now);
        }
        0
    }

    fn frame(&mut self, now: Now, slot: ConnSlot, frame: Frame<'_>) {
        self.greet(now, slot);
        if self.core.tracer.is_active() {
            Tracing::on(self.core).incoming(now, slot, &frame);
        }
        match frame {
            Frame::Text(text) => {
                let (id, outcome) = match raw::decode(text, self.core.options.content_bytes) {
                    Ok(request) => {
                        if request.command.is_messaging() {
                            self.begin_notices(now, slot);
                        }
                        let id = RequestRef::Raw(request.id);
                        (request.id, Commands::on(self.core).handle(now, slot.into(), id, request.command))
                    }
                    Err(fault) => (fault.id, Err(fault.reject)),
                };
                if let Err(reject) = outcome {
                    Peers::on(self.core).refuse(now, slot.into(), RequestRef::Raw(id), &reject);
                }
            }
            Frame::Binary(_) => {
                let reject = Reject::new(Code::UnsupportedData, "Binary frames are not spoken here; send JSON as text");
                Peers::on(self.core).refuse(now, slot.into(), RequestRef::Raw(None), &reject);
                self.close(now, slot, 1003, "binary frames are not supported");
            }
            Frame::Ping(payload) => {
                let segment = self.core.net.outbound.encode(|out| ws::encode_pong(out, payload));
                self.core.net.push(slot, segment);
            }
            Frame::Pong(payload) => Proving::on(self.core).raw_answered(now, slot, payload),
            Frame::Close(close) => {
                let departing = match close {
                    // A client that was told to go may be quicker than the server, and comes back elsewhere.
                    Some((1000 | 1001, _)) | None if self.core.net.is_draining => Departing::Lost,
                    // A close frame without a code is sent by programs that have no more to say.
                    Some((1000 | 1001, _)) | None => Departing::Goodbye,
                    Some(_) => Departing::Left,
                };
                self.core.metrics.log.note_closing(close.map_or(1005, |(code, _)| code), "the client closed");
                self.end(now, slot, departing, |out| match close {
                    Some((code, _)) => ws::encode_close(out, code, ""),
                    None => ws::encode_close_without_code(out),
                });
            }
        }
    }

    /// Tells a new connection its id, once, if its client gets notices: when its user's owner has attached it, so that every
    /// event sent to the user from then on reaches it; or sooner, since this is the first message it gets.
    pub(super) fn greet(&mut self, now: Now, slot: ConnSlot) {
        let conn = &mut self.core.net.conns[slot];
        if conn.standing.state() == HandshakeState::New {
            conn.standing.set_state(HandshakeState::Greeted);
            let is_told = conn.standing.gets(Notice::Connect);
            self.core.stats.opened += 1;
            if is_told {
                self.send_connect(now, slot);
            }
        }
    }

    /// The client has sent a request of the messaging protocol: it gets notices from now on, if it has not chosen otherwise.
    fn begin_notices(&mut self, now: Now, slot: ConnSlot) {
        let conn = &mut self.core.net.conns[slot];
        if conn.standing.ask() {
            if conn.standing.is_attached() {
                self.core.presence.add_newcomer(slot.into());
            }
            self.send_connect(now, slot);
        }
    }

    fn send_connect(&mut self, now: Now, slot: ConnSlot) {
        if let Some(identity) = self.core.net.conns[slot].identity.clone() {
            let connection = self.core.net.id_of(slot);
            let token = self.core.recovery.key.token(connection);
            let heartbeat_ms = self.core.options.heartbeat.interval_ms;
            self.core.net.send_raw(slot, |out| {
                raw::connect(out, connection.text().as_str(), identity.user(), heartbeat_ms, &token, now);
            });
        }
    }

    /// Sends the notice that the connection is about to be closed, if its client gets that. `retry_after_ms` is when to
    /// reconnect, if at all.
    pub(super) fn announce_close(&mut self, now: Now, slot: ConnSlot, reason: &str, retry_after_ms: Option<u64>) {
        if self.core.net.conns[slot].standing.gets(Notice::Disconnect) {
            self.core.net.send_raw(slot, |out| raw::disconnect(out, reason, retry_after_ms, now));
        }
    }

    /// Closes a connection at the request of its user or an admin: it is not expected back.
    pub(super) fn remove(&mut self, now: Now, slot: ConnSlot) {
        self.notify(now, slot, "removed");
        self.core.metrics.log.note_closing(4410, "removed");
        self.end(now, slot, Departing::Removed, |out| ws::encode_close(out, 4410, "removed"));
    }

    /// Closes a connection whose user, token or address was revoked, and tells why.
    pub(super) fn revoke(&mut self, now: Now, slot: ConnSlot, struck: &Struck, departing: Departing) {
        let (reason, code) = match struck.kind {
            RevokedKind::Token | RevokedKind::TokensOf => ("token-revoked", 4401),
            RevokedKind::User | RevokedKind::Member => ("blocked", 4403),
            RevokedKind::Address => ("address-blocked", 4403),
            // No connection has a key.
            RevokedKind::Key => ("token-revoked", 4401),
        };
        self.greet(now, slot);
        Peers::on(self.core).refuse(now, slot.into(), RequestRef::Raw(None), &struck.reject);
        self.notify(now, slot, reason);
        self.end(now, slot, departing, |out| ws::encode_close(out, code, reason));
    }

    /// Notifies a connection that it is closed, and closes it. `code` is a WebSocket close code.
    pub(super) fn disconnect(&mut self, now: Now, slot: ConnSlot, reason: &str, code: u16) {
        self.notify(now, slot, reason);
        self.close(now, slot, code, reason);
    }

    fn notify(&mut self, now: Now, slot: ConnSlot, reason: &str) {
        self.greet(now, slot);
        self.core.settle_for(slot.into());
        self.announce_close(now, slot, reason, None);
    }

    /// Sends a close frame and takes the connection out of the domain; the client's end of the stream is awaited.
    pub(super) fn close(&mut self, now: Now, slot: ConnSlot, code: u16, reason: &str) {
        let departing = match code {
            // Closed by the server itself, or by a rule after which a client may come back at once.
            1001 | 1012 | 4401 | 4413 => Departing::Lost,
            1008 | 4410 => Departing::Removed,
            4409 => Departing::Superseded,
            _ => Departing::Left,
        };
        self.core.metrics.log.note_closing(code, reason);
        self.end(now, slot, departing, |out| ws::encode_close(out, code, reason));
    }

    /// Takes a connection out of the domain and ends it with the close frame that `write` writes. Leaving its rooms hands it
    /// the events they have gathered, so that comes first: nothing may follow a close frame (RFC 6455 §5.5.1).
    fn end(&mut self, now: Now, slot: ConnSlot, departing: Departing, write: impl FnOnce(&mut Vec<u8>)) {
        self.greet(now, slot);
        Router::on(self.core).detach_connection(now, slot, departing);
        self.core.metrics.log.end_closing();
        let segment = self.core.net.outbound.encode(write);
        self.core.net.push(slot, segment);
        self.core.net.half_close(now, slot);
    }

    /// Closes a connection that did not read its bytes, so that its backlog has outgrown the bound.
    pub(super) fn drop_slow_consumer(&mut self, now: Now, slot: ConnSlot) {
        let conn = &self.core.net.conns[slot];
        if conn.is_listening() {
            self.core.stats.slow_consumers += 1;
            self.announce_close(now, slot, "slow-consumer", Some(0));
            self.close(now, slot, 4413, "slow consumer");
        } else if let ConnStage::EngineIoSocket(socket) = &conn.stage
            && let Some(at) = self.core.net.sessions.named(socket.link)
        {
            EngineIo::on(self.core).close(now, at, Reason::SlowConsumer);
        } else {
            self.core.net.abort(slot);
        }
    }
}
