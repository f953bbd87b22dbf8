//! Commands of peers, whatever dialect they came in: the shard checks its part of each, and sends the rest to the owner of
//! the room or user.

use std::borrow::Cow;

use uuid::Uuid;

use crate::base::Name;
use crate::base::handle::{PeerKey, PeerSlot};
use crate::base::ids::ConnectionId;
use crate::base::time::Now;
use crate::connection::conn::ConnStage;
use crate::dialect::raw;
use crate::dialect::socketio::{Dialect, SocketIoAnswer};
use crate::domain::about::About;
use crate::domain::command::{Command, Draft, HostAction, Join, MediaState, MessageTarget, ReceiptKind, Receipted};
use crate::domain::connection_mode::SFU;
use crate::domain::event::{Content, RevisionKind};
use crate::domain::grants::GrantAction;
use crate::domain::history::{HistoryRange, PAGE_DEFAULT};
use crate::domain::op::{
    HostClaim, JoinRoom, MarkedMessages, Op, RelaySignal, Revise, RoomOp, SendMessage, UnreadOf, UserOp,
};
use crate::domain::quota::{Spender, cost_of};
use crate::domain::reject::{Code, Reject};
use crate::shard::audit::RefusalCause;
use crate::shard::broadcasts::Broadcasting;
use crate::shard::core::Core;
use crate::shard::gate::Gating;
use crate::shard::grants::Granting;
use crate::shard::http::calls::host_key;
use crate::shard::key_waits::{KeyResume, KeyWaiter, KeyWaiting};
use crate::shard::log::Logging;
use crate::shard::media::MediaCalls;
use crate::shard::peers::Peers;
use crate::shard::queries::Queries;
use crate::shard::quota::QuotaFlow;
use crate::shard::recovery::Appearance;
use crate::shard::recovery::resume::Resume;
use crate::shard::recovery::sessions::KeptSessions;
use crate::shard::requests::{HostRequest, OnReply, RequestRef};
use crate::shard::rooms::{Audience, rooms_of};
use crate::shard::streams::{Streaming, text_of};

/// Signaling messages of this size count against what a peer may send to one other.
const LARGE_SIGNAL_BYTES: usize = 4 * 1024;

/// Handles commands.
pub(super) struct Commands<'a> {
    core: &'a mut Core,
}

impl<'a> Commands<'a> {
    pub(super) fn on(core: &'a mut Core) -> Self {
        Self { core }
    }

    /// Handles one command.
    ///
    /// # Errors
    /// It is refused here.
    pub(super) fn handle(
        &mut self,
        now: Now,
        peer: PeerKey,
        id: RequestRef<'_>,
        command: Command<'_>,
    ) -> Result<(), Reject> {
        self.begin(now, peer, id, &command)?;
        let connection = self.core.net.id_of(peer);
        let (then, op) = match command {
            Command::Join(join) => return self.join(now, peer, id, join),
            Command::Send { target, draft } => self.message(now, peer, id, target, draft)?,
            Command::Revise { room, message, draft } => self.revise(now, peer, &room, &message, draft)?,
            Command::Leave { room, peer: other, secret } => self.leave(now, peer, &room, (other, secret))?,
            Command::Host { room, action, secret } => self.host_action(now, peer, &room, (action, secret))?,
            Command::Signal(it) if *it.to == *SFU => return MediaCalls::on(self.core).signal(now, peer, id, it),
            Command::Signal(signal) => {
                self.spend_signal_to(now, peer, &signal.to, signal.body.len())?;
                let relay = RelaySignal {
                    connection,
                    from: signal.from.map(name),
                    to: name(signal.to),
                    signal: signal.signal,
                    body: signal.body.into(),
                };
                let room = self.core.rooms.name(&signal.room);
                (OnReply::Refusal, Op::Room(room, RoomOp::RelaySignal(Box::new(relay))))
            }
            Command::Media { room, peer: own, media, sfu } => {
                self.spend_signal(now, peer, 0)?;
                let room = self.core.rooms.name(&room);
                let op = RoomOp::SetMedia { connection, peer: own.map(name), media, sfu };
                (OnReply::Media { room: room.clone(), media: Some(media), sfu }, Op::Room(room, op))
            }
            Command::ReportFailure { room, peer: other } => self.report_failure(now, peer, &room, other)?,
            Command::SetStatus(status) => {
                let op = UserOp::SetStatus { status, last_seen: None, by: Some(connection) };
                (OnReply::Refusal, Op::User(self.core.net.identity(peer)?.user_name(), op))
            }
            Command::Typing { room, is_typing } => {
                let op = RoomOp::SetTyping { connection, is_typing };
                (OnReply::Refusal, Op::Room(self.core.rooms.name(&room), op))
            }
            Command::Receipt { room, messages, kind } => {
                (OnReply::Refusal, Op::Room(self.core.rooms.name(&room), receipt(connection, &messages, kind)?))
            }
            Command::History { room, after, limit } => {
                let wanted = HistoryRange { after, limit: limit.unwrap_or(PAGE_DEFAULT) };
                let op = RoomOp::ReadHistory { connection: Some(connection), wanted };
                (OnReply::Found, Op::Room(self.core.rooms.name(&room), op))
            }
            Command::Receipts { room, message } => {
                let op = RoomOp::ReadReceipts { connection: Some(connection), message: message_id(&message)? };
                (OnReply::Found, Op::Room(self.core.rooms.name(&room), op))
            }
            Command::Unread { room } => (OnReply::Found, Op::Room(self.core.rooms.name(&room), unread(connection))),
            Command::Sync { room, after, limit } if peer.socketio().is_some() => {
                let (room, limit) = (name(room), limit.unwrap_or(PAGE_DEFAULT));
                let Ok(after) = message_id(&after) else { return self.sync_newest(now, peer, id, room, limit) };
                let op = RoomOp::ReadSince { connection, after, limit };
                (OnReply::Synced { room: room.clone(), limit }, Op::Room(room, op))
            }
            Command::Resume { token, has, own_messages } => {
                return Resume::on(self.core).begin(now, peer, id, &token, (has, own_messages));
            }
            Command::Authenticate { token } => return self.renew_token(now, peer, id, &token),
            command => return self.answer_at_once(now, peer, id, command),
        };
        Gating::on(self.core).send(now, peer, id, then, op)
    }

    /// Logs a command, where that is wanted, spends its cost, and checks that it is granted.
    fn begin(&mut self, now: Now, peer: PeerKey, id: RequestRef<'_>, command: &Command<'_>) -> Result<(), Reject> {
        if self.core.metrics.log.has_details() {
            Logging::on(self.core).request(now, peer, id, command);
        }
        if !matches!(command, Command::Send { .. } | Command::Join(_)) {
            self.core.broadcasts.note_other(now);
        }
        if !self.core.pieces.is_empty() && !matches!(command, Command::Append(_)) {
            Streaming::on(self.core).flush_peer(now, peer);
        }
        self.core.spend(now, peer, cost_of(command))?;
        Granting::on(self.core).check(now, peer, command)
    }

    /// Handles the commands that involve no owner, and those of one dialect only.
    fn answer_at_once(
        &mut self,
        now: Now,
        peer: PeerKey,
        id: RequestRef<'_>,
        command: Command<'_>,
    ) -> Result<(), Reject> {
        match (peer.slot(), command) {
            (_, Command::Append(append)) => Streaming::on(self.core).append(now, peer, id, append),
            (PeerSlot::Raw(slot), Command::Ping) => {
                self.core.net.send_raw(slot, |out| raw::pong(out, id.raw(), now));
                Ok(())
            }
            (PeerSlot::SocketIo(_), Command::Ping) => {
                Peers::on(self.core).answer(now, peer, id, &SocketIoAnswer::Pong(None));
                Ok(())
            }
            (PeerSlot::SocketIo(_), Command::Echo(data)) => {
                Peers::on(self.core).answer(now, peer, id, &SocketIoAnswer::Pong(Some(data)));
                Ok(())
            }
            (PeerSlot::SocketIo(slot), Command::MakeRecoveryToken) => {
                KeptSessions::on(self.core).issue_token(now, slot, id)
            }
            (PeerSlot::SocketIo(slot), Command::Ask(query)) => Queries::on(self.core).begin(now, slot, id, query),
            _ => Err(Reject::new(Code::UnknownType, "Not available in this dialect")),
        }
    }

    fn leave(
        &mut self,
        now: Now,
        peer: PeerKey,
        room: &str,
        (other, secret): (Option<Cow<'_, str>>, Option<Cow<'_, str>>),
    ) -> Result<(OnReply, Op), Reject> {
        let room = self.core.rooms.name(room);
        let by = HostClaim { by: self.core.net.identity(peer)?, key: secret.as_deref().map(host_key) };
        let by = self.core.moderating(now, by, &room);
        let (connection, other) = (self.core.net.id_of(peer), other.map(name));
        let op = RoomOp::Leave { connection, by, peer: other.clone() };
        Ok((OnReply::Left { room: room.clone(), other: other.map(Box::new) }, Op::Room(room, op)))
    }

    fn report_failure(
        &mut self,
        now: Now,
        peer: PeerKey,
        room: &str,
        other: Cow<'_, str>,
    ) -> Result<(OnReply, Op), Reject> {
        self.spend_signal(now, peer, 0)?;
        let (room, connection) = (self.core.rooms.name(room), self.core.net.id_of(peer));
        // A recovered client that cannot use the media server is not to come back as one that can.
        let then = match *other == *SFU {
            true => OnReply::Media { room: room.clone(), media: None, sfu: Some(false) },
            false => OnReply::Refusal,
        };
        Ok((then, Op::Room(room, RoomOp::ReportFailure { connection, peer: name(other) })))
    }

    fn host_action(
        &mut self,
        now: Now,
        peer: PeerKey,
        room: &str,
        (action, secret): (HostAction<'_>, Option<Cow<'_, str>>),
    ) -> Result<(OnReply, Op), Reject> {
        let by = HostClaim { by: self.core.net.identity(peer)?, key: secret.as_deref().map(host_key) };
        let room = self.core.rooms.name(room);
        let by = self.core.moderating(now, by, &room);
        let on = match &action {
            HostAction::RemoveUser(user) => Some(user.as_ref().into()),
            HostAction::Close | HostAction::SetLocked(_) | HostAction::SetMode(_) => None,
        };
        let then = OnReply::HostAction(Box::new(HostRequest { room: room.clone(), action: action.as_str(), on }));
        let op = match action {
            HostAction::Close => RoomOp::Close { by },
            HostAction::SetLocked(is_locked) => RoomOp::SetLocked { by, is_locked },
            HostAction::SetMode(wanted) => RoomOp::SetMode { by, wanted },
            HostAction::RemoveUser(user) => RoomOp::RemoveUser { by, user: name(user) },
        };
        Ok((then, Op::Room(room, op)))
    }

    fn join(&mut self, now: Now, peer: PeerKey, id: RequestRef<'_>, join: Join<'_>) -> Result<(), Reject> {
        let room = self.core.rooms.name(&join.room);
        if !self.may_join(peer, &room) {
            let max = self.core.options.rooms_per_connection;
            return Err(Reject::new(Code::RateLimited, format!("A connection may be in {max} rooms at once")));
        }
        if let Some(token) = &join.token {
            Granting::on(self.core).subscribe(now, peer, &room, token)?;
        }
        let by = self.core.net.identity(peer)?;
        self.core.check_grant(now, &by, &room, GrantAction::Join)?;
        if join.rewind > 0 {
            self.core.check_grant(now, &by, &room, GrantAction::History)?;
        }
        self.core.revocations.list().check_member(now, &room, by.user())?;
        let shown = join.display_name.as_deref().filter(|shown| *shown != by.username());
        let about = About::new(shown, join.data, join.is_observer);
        let (connection, shown) = (self.core.net.id_of(peer), self.core.shown_id(peer));
        // Others address a recovered client by the id that it has kept.
        let kept = (shown != connection).then(|| shown.text().as_str().into());
        let op = JoinRoom {
            connection,
            by,
            peer: join.peer.map(name).or(kept),
            about,
            // Who only observes takes no part in a call.
            media: if join.is_observer { MediaState::default() } else { join.media },
            create: self.creates_rooms(peer) && self.core.may_make_room(now, peer),
            rewind: join.rewind,
        };
        let shown = Appearance { peer: op.peer.clone(), about: op.about.clone(), media: op.media };
        let shown = (shown != Appearance::default()).then(|| Box::new(shown));
        let then = OnReply::Joined { room: room.clone(), shown };
        Gating::on(self.core).send(now, peer, id, then, Op::Room(room, RoomOp::Join(Box::new(op))))
    }

    /// Has a peer join a room that the application has named for it.
    ///
    /// # Errors
    /// It is refused here.
    pub(super) fn put_into(&mut self, now: Now, peer: PeerKey, room: Name) -> Result<(), Reject> {
        if !self.may_join(peer, &room) {
            let max = self.core.options.rooms_per_connection;
            return Err(Reject::new(Code::RateLimited, format!("A connection may be in {max} rooms at once")));
        }
        let by = self.core.net.identity(peer)?;
        self.core.check_grant(now, &by, &room, GrantAction::Join)?;
        let (connection, shown) = (self.core.net.id_of(peer), self.core.shown_id(peer));
        let kept = (shown != connection).then(|| shown.text().as_str().into());
        let media = MediaState::default();
        let op = JoinRoom { connection, by, peer: kept, about: About::default(), media, create: true, rewind: 0 };
        let then = OnReply::Joined { room: room.clone(), shown: None };
        let op = Op::Room(room, RoomOp::Join(Box::new(op)));
        QuotaFlow::on(self.core).send(now, peer, RequestRef::of_no_request(peer), then, op)?;
        *self.joins(peer) += 1;
        Ok(())
    }

    /// The count of a peer's pending joins.
    pub(super) fn joins(&mut self, peer: PeerKey) -> &mut u8 {
        match peer.slot() {
            PeerSlot::Raw(slot) => &mut self.core.net.conns[slot].joins,
            PeerSlot::SocketIo(slot) => &mut self.core.net.sessions.peers[slot].joins,
        }
    }

    /// Whether a peer may be in `room` beside its rooms and those it is about to join.
    fn may_join(&mut self, peer: PeerKey, room: &str) -> bool {
        let max = self.core.options.rooms_per_connection;
        let joins = usize::from(*self.joins(peer));
        let rooms = rooms_of(&self.core.net, peer);
        let own = self.core.rooms.find(room);
        max == 0 || rooms.len() + joins < max || own.is_some_and(|own| rooms.contains(&own))
    }

    /// Whether joining creates a room that does not exist.
    fn creates_rooms(&self, peer: PeerKey) -> bool {
        let options = &self.core.options;
        let known = peer.socketio().map(|slot| &self.core.net.sessions.peers[slot]);
        let in_camel = known.is_some_and(|known| known.dialect == Dialect::Camel);
        options.create_on_join || options.create_on_join_in_camel && in_camel
    }

    /// The operation that sends a message, and the use of its reply.
    fn message(
        &mut self,
        now: Now,
        peer: PeerKey,
        id: RequestRef<'_>,
        target: MessageTarget<'_>,
        draft: Draft<'_>,
    ) -> Result<(OnReply, Op), Reject> {
        let bytes_max = self.core.options.content_bytes;
        let stream = draft.is_stream.then(|| text_of(draft.content, None, bytes_max));
        let (content, client_message_id) = content_of(draft);
        let (room, to) = match target {
            MessageTarget::Room(room) => (room, None),
            MessageTarget::Peer { room, peer } => (room, Some(name(peer))),
            MessageTarget::User(user) => {
                self.core.broadcasts.note_other(now);
                let by = self.core.net.identity(peer)?;
                let user = name(user);
                let then = OnReply::Sent { is_to_user: true, target: user.clone() };
                return Ok((then, Op::User(user, UserOp::Send { by, content: Box::new(content) })));
            }
        };
        let (room, members) = self.core.rooms.name_and_members(&room);
        let bytes = content.body.len() + content.attachment.as_deref().map_or(0, str::len);
        Broadcasting::on(self.core).begin(now, peer, bytes, if to.is_none() { members } else { Audience::default() });
        // In the colon dialect an ack repeats the content.
        let dialect = peer.socketio().map(|slot| self.core.net.sessions.peers[slot].dialect);
        let then = match dialect == Some(Dialect::Colon) && id.socketio().ack.is_some() {
            true => OnReply::Repeated(room.clone(), Box::new(content.clone())),
            false => OnReply::Sent { is_to_user: false, target: room.clone() },
        };
        let (connection, publisher, revises) = (self.core.net.id_of(peer), None, None);
        let message = SendMessage { connection, publisher, to, content, client_message_id, revises, stream };
        Ok((then, Op::Room(room, RoomOp::Send(Box::new(message)))))
    }

    /// The operation that edits or deletes a message: a message of its own.
    fn revise(
        &mut self,
        now: Now,
        peer: PeerKey,
        room: &str,
        message: &str,
        draft: Option<Draft<'_>>,
    ) -> Result<(OnReply, Op), Reject> {
        let room = self.core.rooms.name(room);
        let kind = if draft.is_some() { RevisionKind::Edit } else { RevisionKind::Delete };
        let rights = self.core.change_rights(now, peer, &room);
        let revises = Some(Box::new(Revise { message: message_id(message)?, kind, sender: None, rights }));
        let (content, client_message_id) = draft.map_or_else(|| (deleted(), None), content_of);
        // The kind of a message, its event and the message that it answers stay.
        let content = Content { event: None, kind: None, reply_to: None, ..content };
        let (connection, publisher, to) = (self.core.net.id_of(peer), None, None);
        let message = SendMessage { connection, publisher, to, content, client_message_id, revises, stream: None };
        let then = OnReply::Sent { is_to_user: false, target: room.clone() };
        Ok((then, Op::Room(room, RoomOp::Send(Box::new(message)))))
    }

    /// Puts a new token of a peer in force, at once or when its issuer's keys are known.
    pub(super) fn renew_token(
        &mut self,
        now: Now,
        peer: PeerKey,
        id: RequestRef<'_>,
        token: &str,
    ) -> Result<(), Reject> {
        let waiter = KeyWaiter::Renewal(self.core.net.id_of(peer));
        let resume = || KeyResume::Renewal { id: id.to_owned(), token: token.into() };
        if KeyWaiting::on(self.core).must_wait(now, token, waiter, resume) {
            return Ok(());
        }
        let address = self.core.net.address_of(peer);
        let (identity, expires_at) = self.core.verify(token, address, now).inspect_err(|reject| {
            self.core.count_refusal(now, address, reject, RefusalCause::of(reject));
        })?;
        let former = self.core.net.identity(peer)?;
        former.check_renewal(&identity)?;
        let user = identity.user_name();
        match peer.slot() {
            PeerSlot::Raw(slot) => {
                let conn = &mut self.core.net.conns[slot];
                conn.expires_at = expires_at.map_or(0, seconds);
                Granting::on(self.core).renew(now, peer, &former, identity);
                self.core.net.send_raw(slot, |out| raw::authenticated(out, &user, expires_at, id.raw(), now));
            }
            PeerSlot::SocketIo(slot) => {
                let known = &mut self.core.net.sessions.peers[slot];
                known.expires_at = expires_at.map_or(0, seconds);
                Granting::on(self.core).renew(now, peer, &former, identity);
                let socket = self.core.socket_id(slot);
                let answer = SocketIoAnswer::Authenticated { user: &user, socket: &socket, expires_at };
                Peers::on(self.core).answer(now, peer, id, &answer);
            }
        }
        Ok(())
    }

    /// Requests the newest messages of a room for a client that named an unknown message as its last.
    pub(super) fn sync_newest(
        &mut self,
        now: Now,
        peer: PeerKey,
        id: RequestRef<'_>,
        room: Name,
        limit: usize,
    ) -> Result<(), Reject> {
        let wanted = HistoryRange { after: None, limit };
        let op = RoomOp::ReadHistory { connection: Some(self.core.net.id_of(peer)), wanted };
        QuotaFlow::on(self.core).send(now, peer, id, OnReply::SyncedInstead, Op::Room(room, op))
    }

    /// Counts a signaling message against the peer's rate.
    pub(super) fn spend_signal(&mut self, now: Now, peer: PeerKey, bytes: usize) -> Result<(), Reject> {
        let rate = self.core.options.signals;
        let result = match peer.slot() {
            PeerSlot::Raw(slot) => match &mut self.core.net.conns[slot].stage {
                ConnStage::WebSocket(socket) => socket.spend_signal(now.mono, rate, bytes),
                _ => Ok(()),
            },
            PeerSlot::SocketIo(slot) => self.core.net.sessions.peers[slot].signals.spend(now.mono, rate, bytes),
        };
        result.map_err(|wait_ms| {
            let text = format!("Signaling is limited to {} messages a minute", rate.per_minute);
            Reject { retry_after_s: Some(wait_ms.div_ceil(1000)), ..Reject::new(Code::RateLimited, text) }
        })
    }

    /// Counts a signaling message, and a large one against what the peer may send to one other: the other is not to be
    /// disconnected as a slow reader because of it. One that is refused counts for neither.
    fn spend_signal_to(&mut self, now: Now, peer: PeerKey, to: &str, bytes: usize) -> Result<(), Reject> {
        if bytes < LARGE_SIGNAL_BYTES || self.core.options.signals.per_minute == 0 {
            return self.spend_signal(now, peer, bytes);
        }
        let pair = Spender::Pair(self.core.net.id_of(peer), to.into());
        let kib = u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX);
        self.core.budgets.check(now, &pair, kib).map_err(|reject| {
            let wait_s = reject.retry_after_s.unwrap_or_default();
            Reject { text: format!("Signals to one peer are limited; go on in {wait_s} s").into(), ..reject }
        })?;
        self.spend_signal(now, peer, bytes)?;
        let told = self.core.budgets.charge(now, &pair, kib);
        debug_assert!(told.is_none(), "invariant: other shards are not told of a pair");
        Ok(())
    }
}

/// Seconds since 1970, as a connection keeps them: past 2106 counts as never.
pub(super) fn seconds(at: u64) -> u32 {
    u32::try_from(at).unwrap_or(0)
}

/// The content of a message, and its sender's id of it.
fn content_of(draft: Draft<'_>) -> (Content, Option<Box<str>>) {
    let content = Content {
        body: draft.content.into(),
        event: draft.event.map(|text| text.into()),
        kind: draft.kind.map(|text| text.into()),
        reply_to: draft.reply_to.map(|text| text.into()),
        attachment: draft.attachment.map(Into::into),
        metadata: draft.metadata.map(Into::into),
    };
    (content, draft.client_message_id.map(|text| text.into()))
}

/// The content of the change that deletes a message.
pub(super) fn deleted() -> Content {
    Content { body: "null".into(), event: None, kind: None, reply_to: None, attachment: None, metadata: None }
}

fn unread(connection: ConnectionId) -> RoomOp {
    RoomOp::CountUnread { of: UnreadOf::Member(connection) }
}

/// The operation of a receipt. Of several messages, an id that is none is that of an unknown message.
fn receipt(connection: ConnectionId, messages: &Receipted<'_>, kind: ReceiptKind) -> Result<RoomOp, Reject> {
    let messages = match messages {
        Receipted::One(message) => return Ok(RoomOp::MarkMessage { connection, message: message_id(message)?, kind }),
        Receipted::These(list) => {
            MarkedMessages::These(list.iter().filter_map(|id| Uuid::try_parse(id).ok()).collect())
        }
        Receipted::UpTo(last) => MarkedMessages::UpTo(message_id(last)?),
    };
    Ok(RoomOp::MarkMessages { connection, messages, kind })
}

pub(super) fn message_id(text: &str) -> Result<Uuid, Reject> {
    Uuid::try_parse(text).map_err(|_| Reject::message_not_found())
}

fn name(text: Cow<'_, str>) -> Name {
    text.as_ref().into()
}
