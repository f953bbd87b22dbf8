//! From a WebSocket's frames to the domain: the peer's half of each command.

use std::borrow::Cow;

use uuid::Uuid;

use crate::base::ids::PEER;
use crate::base::limits;
use crate::base::limits::ASKS_PER_CONNECTION;
use crate::base::time::Now;
use crate::codec::ws::{self, FrameEvent as Frame, Input};
use crate::connection::conn::{ConnStage, Membership};
use crate::connection::session::Reason;
use crate::dialect::raw;
use crate::domain::access::{Identity, Roles};
use crate::domain::command::{Command, Draft, Join, MessageTarget};
use crate::domain::event::Content;
use crate::domain::history::{HistoryRange, PAGE_DEFAULT};
use crate::domain::op::{JoinRoom, Op, RelaySignal, RoomOp, SendMessage, UserOp};
use crate::domain::reject::{Code, Reject};
use crate::shard::Shard;
use crate::shard::answers::{Ask, Then};
use crate::shard::recovery::{Appearance, Departing};

impl Shard {
    /// Bytes came on a WebSocket. Answers how many of them were left unread because too many of the connection's
    /// questions are under way, or what is to be sent should be sent first.
    pub(super) fn read_frames(&mut self, now: Now, slot: u32, bytes: &mut [u8]) -> usize {
        let mut input = Input::new(bytes);
        let limits = self.options.websocket;
        loop {
            let Some(conn) = self.conns.get_mut(slot as usize) else { return 0 };
            if conn.asks >= ASKS_PER_CONNECTION || self.credit.holds(slot) {
                return input.remaining();
            }
            if self.outbound.len() > limits::TURN_BYTES {
                self.waiting.look_again(slot);
                return input.remaining();
            }
            // The decoder is taken along, so that handling a frame may change the connection.
            let ConnStage::WebSocket(socket) = &mut conn.stage else { return 0 };
            let mut decoder = std::mem::take(&mut socket.decoder);
            let outcome = decoder.next(&mut input, &limits);
            let is_more = match outcome {
                Ok(Some(frame)) => {
                    self.frame(now, slot, frame);
                    true
                }
                Ok(None) => false,
                Err(error) => {
                    self.close_websocket(now, slot, error.close_code(), error.text());
                    return 0;
                }
            };
            if let Some(conn) = self.conns.get_mut(slot as usize)
                && let ConnStage::WebSocket(socket) = &mut conn.stage
            {
                socket.decoder = decoder;
            }
            if !is_more {
                return 0;
            }
            // What a frame asked of this shard is answered before the next is read, while its memory is still at hand.
            self.run(now);
        }
    }

    fn frame(&mut self, now: Now, slot: u32, frame: Frame<'_>) {
        self.greet(now, slot);
        match frame {
            Frame::Text(text) => self.text(now, slot, text),
            Frame::Binary(_) => {
                let reject = Reject::new(Code::UnsupportedData, "Binary frames are not spoken here; send JSON as text");
                self.refuse(now, slot, None, &reject);
                self.close_websocket(now, slot, 1003, "binary frames are not supported");
            }
            Frame::Ping(payload) => {
                let segment = self.outbound.encode(|out| ws::encode_pong(out, payload));
                let conn = &mut self.conns[slot as usize];
                self.outbound.push(slot, &mut conn.queue, segment);
            }
            Frame::Pong(_) => {}
            Frame::Close(close) => {
                let departing = match close {
                    // Without a code it was closed by a program that had no more to say.
                    // Whoever was told to go may take the word for it, and comes back elsewhere.
                    Some((1000 | 1001, _)) | None if self.is_draining() => Departing::Lost,
                    Some((1000 | 1001, _)) | None => Departing::Goodbye,
                    Some(_) => Departing::Left,
                };
                self.say_goodbye(now, slot, departing, |out| match close {
                    Some((code, _)) => ws::encode_close(out, code, ""),
                    None => ws::encode_close_without_code(out),
                });
            }
        }
    }

    fn text(&mut self, now: Now, slot: u32, text: &str) {
        match raw::decode(text, self.options.content_bytes) {
            Ok(request) => {
                if let Err(reject) = self.command(now, slot, request.id, request.command) {
                    self.refuse(now, slot, request.id, &reject);
                }
            }
            Err(fault) => self.refuse(now, slot, fault.id, &fault.reject),
        }
    }

    /// The peer's half of a command: what only its side can check is checked, the rest goes to the keeper. `slot` may be
    /// the marked one of a Socket.IO peer, whose `request` is a [`crate::dialect::socketio::ReplyTo`].
    pub(super) fn command(
        &mut self,
        now: Now,
        slot: u32,
        request: Option<&str>,
        command: Command<'_>,
    ) -> Result<(), Reject> {
        let connection = self.id_of(slot);
        match command {
            Command::Join(join) => self.join(now, slot, request, join),
            Command::Leave { room, peer } => {
                let room = self.fanout.name(&room);
                let op = RoomOp::Leave { connection, by: self.identity(slot)?, peer: peer.map(name) };
                self.ask_room(now, slot, request, Then::Left { room: room.clone() }, room, op)
            }
            Command::Signal(signal) => {
                self.spend_signal(now, slot)?;
                let relay = RelaySignal {
                    connection,
                    from: signal.from.map(name),
                    to: name(signal.to),
                    signal: signal.signal,
                    body: signal.body.into(),
                };
                let room = self.fanout.name(&signal.room);
                self.ask_room(now, slot, request, Then::Refusal, room, RoomOp::RelaySignal(Box::new(relay)))
            }
            Command::Media { room, peer, media } => {
                self.spend_signal(now, slot)?;
                let room = self.fanout.name(&room);
                let op = RoomOp::SetMedia { connection, peer: peer.map(name), media };
                self.ask_room(now, slot, request, Then::Media { room: room.clone(), media }, room, op)
            }
            Command::Send { target, draft } => self.send(now, slot, request, target, draft),
            Command::SetStatus(status) => {
                let user = self.identity(slot)?.user_name();
                let op = UserOp::SetStatus { status, last_seen: None, by: Some(connection) };
                self.ask_user(now, slot, request, Then::Refusal, user, op)
            }
            Command::Typing { room, is_typing } => {
                let room = self.fanout.name(&room);
                self.ask_room(now, slot, request, Then::Refusal, room, RoomOp::SetTyping { connection, is_typing })
            }
            Command::Receipt { room, message, kind } => {
                let message = Uuid::try_parse(&message).map_err(|_| Reject::message_not_found())?;
                let room = self.fanout.name(&room);
                self.ask_room(
                    now,
                    slot,
                    request,
                    Then::Refusal,
                    room,
                    RoomOp::MarkMessage { connection, message, kind },
                )
            }
            Command::History { room, after, limit } => {
                let room = self.fanout.name(&room);
                let wanted = HistoryRange { after, limit: limit.unwrap_or(PAGE_DEFAULT) };
                self.ask_room(now, slot, request, Then::Found, room, RoomOp::ReadHistory { connection, wanted })
            }
            Command::Receipts { room, message } => {
                let message = Uuid::try_parse(&message).map_err(|_| Reject::message_not_found())?;
                let room = self.fanout.name(&room);
                self.ask_room(now, slot, request, Then::Found, room, RoomOp::ReadReceipts { connection, message })
            }
            Command::Resume { token, has } => self.resume(slot, request, &token, has),
            Command::Authenticate { token } => self.authenticate(now, slot, request, &token),
            Command::Ping => {
                self.send_raw(slot, |out| raw::pong(out, request, now));
                Ok(())
            }
            Command::Echo(_) | Command::Sync { .. } | Command::MakeRecoveryToken | Command::Ask(_) => {
                Err(Reject::new(Code::UnknownType, "Not available in this dialect"))
            }
        }
    }

    fn join(&mut self, now: Now, slot: u32, request: Option<&str>, join: Join<'_>) -> Result<(), Reject> {
        let room = self.fanout.name(&join.room);
        if !self.has_room_for(slot, &room) {
            let max = self.options.rooms_per_connection;
            return Err(Reject::new(Code::RateLimited, format!("A connection may be in {max} rooms at once")));
        }
        let by = self.identity(slot)?;
        let display_name = join.display_name.filter(|shown| *shown != by.username()).map(|shown| shown.into());
        let op = JoinRoom {
            connection: self.id_of(slot),
            by,
            peer: join.peer.map(name),
            display_name,
            media: join.media,
            create: self.makes_rooms(slot),
        };
        let shown = Appearance { peer: op.peer.clone(), display_name: op.display_name.clone(), media: op.media };
        let shown = (shown != Appearance::default()).then(|| Box::new(shown));
        let then = Then::Joined { room: room.clone(), shown };
        self.ask_room(now, slot, request, then, room, RoomOp::Join(Box::new(op)))?;
        match slot & PEER {
            0 => self.conns[slot as usize].joins += 1,
            _ => self.count_peer_join(slot),
        }
        Ok(())
    }

    /// Whether a connection may be in `room` beside those it is in and those it is about to be in.
    fn has_room_for(&self, slot: u32, room: &str) -> bool {
        if slot & PEER != 0 {
            return self.peer_has_room_for(slot & !PEER, room);
        }
        let max = self.options.rooms_per_connection;
        let conn = &self.conns[slot as usize];
        let rooms = conn.rooms.as_slice();
        let is_this = |own: &Membership| self.fanout.name_of(own.room).is_some_and(|name| **name == *room);
        max == 0 || rooms.len() + usize::from(conn.joins) < max || rooms.iter().any(is_this)
    }

    fn send(
        &mut self,
        now: Now,
        slot: u32,
        request: Option<&str>,
        target: MessageTarget<'_>,
        draft: Draft<'_>,
    ) -> Result<(), Reject> {
        let client_message_id = draft.client_message_id.map(|text| text.into());
        let content = Content {
            body: draft.content.into(),
            kind: draft.kind.map(|text| text.into()),
            reply_to: draft.reply_to.map(|text| text.into()),
            attachment: draft.attachment.map(Into::into),
            metadata: draft.metadata.map(Into::into),
        };
        let (room, to) = match target {
            MessageTarget::Room(room) => (room, None),
            MessageTarget::Peer { room, peer } => (room, Some(name(peer))),
            MessageTarget::User(user) => {
                let by = self.identity(slot)?;
                let user = name(user);
                let then = Then::Sent("toUserId", user.clone());
                return self.ask_user(now, slot, request, then, user, UserOp::Send { by, content });
            }
        };
        let room = self.fanout.name(&room);
        let then = self.then_sent(slot, request, &room, &content);
        let message = SendMessage { connection: self.id_of(slot), to, content, client_message_id };
        self.ask_room(now, slot, request, then, room, RoomOp::Send(Box::new(message)))
    }

    fn authenticate(&mut self, now: Now, slot: u32, request: Option<&str>, token: &str) -> Result<(), Reject> {
        let (identity, expires_at) = self.verify(token, now)?;
        self.identity(slot)?.check_renewal(&identity)?;
        let user = identity.user_name();
        let conn = &mut self.conns[slot as usize];
        conn.expires_at = expires_at.map_or(0, seconds);
        conn.identity = Some(identity);
        self.rearm(now, slot);
        self.send_raw(slot, |out| raw::authenticated(out, &user, expires_at, request, now));
        Ok(())
    }

    /// Who a token says its bearer is, and when that ends (seconds since 1970).
    pub(super) fn verify(&self, token: &str, now: Now) -> Result<(Identity, Option<u64>), Reject> {
        let claims = self.verifier.verify(token, now.unix_seconds()).map_err(|error| {
            let code = if error.code() == "TOKEN_EXPIRED" { Code::TokenExpired } else { Code::Unauthenticated };
            Reject::new(code, error.text())
        })?;
        let roles = Roles { admin: claims.admin, push: claims.push, guest: false };
        let identity = Identity::new(&claims.user, claims.username.as_deref(), claims.email.as_deref(), roles);
        // A token that has just expired is still taken, since clocks differ; it must then hold for as long as that.
        let expires_at = claims.expires_at.map(|at| {
            let is_over = at <= now.unix_seconds();
            if is_over { at + limits::TOKEN_LEEWAY_S } else { at }
        });
        Ok((identity, expires_at))
    }

    pub(super) fn identity(&self, slot: u32) -> Result<Identity, Reject> {
        let identity = match slot & PEER {
            0 => self.conns.get(slot as usize).and_then(|conn| conn.identity.clone()),
            _ => self.peer_identity(slot & !PEER),
        };
        identity.ok_or_else(|| Reject::new(Code::Unauthenticated, "Not authenticated"))
    }

    pub(super) fn ask_room(
        &mut self,
        now: Now,
        slot: u32,
        request: Option<&str>,
        then: Then,
        room: crate::base::Name,
        op: RoomOp,
    ) -> Result<(), Reject> {
        let is_an_end = matches!(op, RoomOp::Leave { .. });
        if !is_an_end && !self.is_open(&room) {
            return Err(Reject::overloaded());
        }
        let ask = Ask { to: Some(self.id_of(slot)), request: request.map(Into::into), then };
        self.put(now, slot, ask, Op::Room(room, op))
    }

    fn ask_user(
        &mut self,
        now: Now,
        slot: u32,
        request: Option<&str>,
        then: Then,
        user: crate::base::Name,
        op: UserOp,
    ) -> Result<(), Reject> {
        if !self.is_open(&user) {
            return Err(Reject::overloaded());
        }
        let ask = Ask { to: Some(self.id_of(slot)), request: request.map(Into::into), then };
        self.put(now, slot, ask, Op::User(user, op))
    }

    /// Counts a signaling message against the connection's allowance.
    fn spend_signal(&mut self, now: Now, slot: u32) -> Result<(), Reject> {
        let rate = self.options.signals;
        let is_granted = match self.conns.get_mut(slot as usize).map(|conn| &mut conn.stage) {
            Some(ConnStage::WebSocket(socket)) => socket.spend_signal(now.mono, rate),
            _ => match self.sessions.peers.get_mut((slot & !PEER) as usize) {
                Some(peer) if slot & PEER != 0 => peer.signals.spend(now.mono, rate),
                _ => true,
            },
        };
        if !is_granted {
            let text = format!("Signaling is limited to {} messages a minute", rate.per_minute);
            return Err(Reject::new(Code::RateLimited, text));
        }
        Ok(())
    }

    /// Tells a connection that it must go, and closes it. `code` is a WebSocket close code.
    pub(super) fn disconnect(&mut self, now: Now, slot: u32, reason: &str, code: u16) {
        self.greet(now, slot);
        self.fanout.settle_for(slot, &mut self.conns, &mut self.outbound);
        self.send_raw(slot, |out| raw::disconnect(out, reason, None, now));
        self.close_websocket(now, slot, code, reason);
    }

    /// Sends a close frame and takes the connection out of the domain; the other side's end is waited for.
    pub(super) fn close_websocket(&mut self, now: Now, slot: u32, code: u16, reason: &str) {
        let departing = match code {
            // What the server does of itself, and what a client may come back from at once.
            1001 | 1012 | 4401 | 4413 => Departing::Lost,
            1008 | 4410 => Departing::Removed,
            4409 => Departing::Superseded,
            _ => Departing::Left,
        };
        self.say_goodbye(now, slot, departing, |out| ws::encode_close(out, code, reason));
    }

    /// Takes a connection out of the domain and ends it with the close frame that `write` writes. Leaving its rooms hands
    /// it what they have gathered, so that comes first: nothing may follow a close frame (RFC 6455 §5.5.1).
    pub(super) fn say_goodbye(&mut self, now: Now, slot: u32, departing: Departing, write: impl FnOnce(&mut Vec<u8>)) {
        self.greet(now, slot);
        self.depart(now, slot, departing);
        let segment = self.outbound.encode(write);
        let Some(conn) = self.conns.get_mut(slot as usize) else { return };
        self.outbound.push(slot, &mut conn.queue, segment);
        self.half_close(now, slot);
    }

    /// A connection did not read what it was sent, and its backlog has outgrown the bound.
    pub(super) fn drop_slow_consumer(&mut self, now: Now, slot: u32) {
        let is_listening = self.conns.get(slot as usize).is_some_and(|conn| conn.is_listening());
        if is_listening {
            self.stats.slow_consumers += 1;
            self.send_raw(slot, |out| raw::disconnect(out, "slow-consumer", Some(0), now));
            self.close_websocket(now, slot, 4413, "slow consumer");
        } else if let Some(ConnStage::EngineIoSocket(carrier)) = self.conns.get(slot as usize).map(|conn| &conn.stage)
            && let Some(at) = self.sessions.named(carrier.link)
        {
            self.feed(now, at, |session, context| session.close(Reason::SlowConsumer, context));
        } else {
            self.abort(slot);
        }
    }
}

/// Seconds since 1970, as a connection keeps them: past 2106 counts as never.
pub(super) fn seconds(at: u64) -> u32 {
    u32::try_from(at).unwrap_or(0)
}

fn name(text: Cow<'_, str>) -> crate::base::Name {
    text.as_ref().into()
}
