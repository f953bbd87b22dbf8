//! Replies of owners: each becomes the answer to the peer, the HTTP client or the component that sent the request.

use crate::base::Name;
use crate::base::handle::{ConnSlot, PeerKey, PeerSlot};
use crate::base::ids::ConnectionId;
use crate::base::limits;
use crate::base::time::Now;
use crate::connection::standing::HandshakeState;
use crate::dialect::raw;
use crate::dialect::socketio::{self as dialects, SocketIoAnswer};
use crate::domain::command::MediaState;
use crate::domain::event::Joined;
use crate::domain::history::{History, Marks, Unread};
use crate::domain::op::{Op, Reply, RoomOp, Sent};
use crate::domain::quota::{NEW_ROOM_COST, UNIT_BYTES};
use crate::domain::reject::{Code, Reject};
use crate::shard::audit::AuditedAction;
use crate::shard::commands::Commands;
use crate::shard::core::Core;
use crate::shard::gate::Gating;
use crate::shard::grants::Granting;
use crate::shard::http::answer::RestAnswers;
use crate::shard::media::MediaCalls;
use crate::shard::metrics::{Metering, is_failure};
use crate::shard::namespaces::Namespacing;
use crate::shard::peers::Peers;
use crate::shard::presence::online::OnlineUsers;
use crate::shard::queries::Queries;
use crate::shard::raw_sockets::RawSockets;
use crate::shard::recovery::appearances::Appearances;
use crate::shard::recovery::resume::Resume;
use crate::shard::recovery::sessions::KeptSessions;
use crate::shard::requests::{HostRequest, OnReply, PendingRequest, RequestId, RequestRef};
use crate::shard::revocation::Revoking;
use crate::shard::sessions::EngineIo;

/// About the bytes of a member in a list, or in the event of a join.
const MEMBER_BYTES: usize = 340;

/// Handles replies.
pub(super) struct Replies<'a> {
    core: &'a mut Core,
}

impl<'a> Replies<'a> {
    pub(super) fn on(core: &'a mut Core) -> Self {
        Self { core }
    }

    /// Handles the reply to a request of this shard, or one owner's part of it.
    pub(super) fn handle(&mut self, now: Now, number: u32, part: Result<Reply, Reject>) {
        let whole = match self.core.requests.get_mut(number) {
            Some(PendingRequest { then: OnReply::Gathered(scatter), .. }) => scatter.add(part),
            known => known.map(|_| part),
        };
        let Some(reply) = whole else {
            // Further parts are awaited.
            return;
        };
        let PendingRequest { to, id, then } = self.core.requests.remove(number);
        match (to, then) {
            (None, OnReply::Online(list)) => OnlineUsers::on(self.core).send(now, list, reply),
            (None, OnReply::RoomsCounted(user)) => self.core.rooms_counted(now, user, &reply),
            (None, _) => {}
            (Some(connection), then) => {
                self.core.metrics.count_reply(now, reply.as_ref().is_err_and(is_failure));
                let peer = self.core.net.find_peer(connection);
                if let Some(peer) = peer {
                    self.uncount(now, peer, &then);
                }
                match (peer.map(|peer| (peer, peer.slot())), then) {
                    (Some((_, PeerSlot::Raw(slot))), OnReply::Rest(call)) => {
                        RestAnswers::on(self.core).replied(now, slot, *call, reply);
                    }
                    (None, OnReply::Rest(_)) => {}
                    (Some((peer, PeerSlot::SocketIo(_))), then) => self.answer(now, peer, id.as_ref(), then, reply),
                    (Some((peer, PeerSlot::Raw(_))), then) if self.core.net.is_listening(peer) => {
                        self.answer(now, peer, id.as_ref(), then, reply);
                    }
                    (_, then) => self.undo(now, connection, then, reply),
                }
            }
        }
    }

    /// A pending request of a connection has its reply; where too many were pending, the connection is read again.
    fn uncount(&mut self, now: Now, peer: PeerKey, then: &OnReply) {
        if matches!(then, OnReply::Joined { .. }) {
            let mut commands = Commands::on(self.core);
            let joins = commands.joins(peer);
            debug_assert!(*joins > 0, "invariant: an answered join was counted");
            *joins = joins.saturating_sub(1);
        }
        match peer.slot() {
            PeerSlot::Raw(slot) => {
                let conn = &mut self.core.net.conns[slot];
                debug_assert!(conn.asks > 0, "invariant: an answered request was counted");
                conn.asks -= 1;
                if conn.asks + 1 == limits::ASKS_PER_CONNECTION {
                    self.core.net.read_again(slot);
                }
            }
            PeerSlot::SocketIo(slot) => EngineIo::on(self.core).uncount_request(now, slot),
        }
    }

    fn answer(&mut self, now: Now, peer: PeerKey, id: RequestRef<'_>, then: OnReply, reply: Result<Reply, Reject>) {
        // With its first message a room is kept.
        if let Ok(Reply::Sent(Sent { seq: Some(1), .. })) = &reply {
            self.core.note_room_of(peer, None);
        }
        match (then, reply) {
            (OnReply::Attached, reply) => self.attached(now, peer, id, reply),
            (OnReply::SessionTaken | OnReply::SessionClaimed(_), reply) => {
                Resume::on(self.core).session_found(now, peer, reply);
            }
            (OnReply::Rejoined { room, shown }, reply) => {
                Resume::on(self.core).rejoined(now, peer, (room, shown), reply);
            }
            (OnReply::Query(query), reply) => Queries::on(self.core).replied(now, peer, id, *query, reply),
            (then @ (OnReply::Synced { .. } | OnReply::SyncedInstead), reply) => {
                self.synced(now, peer, id, then, reply)
            }
            (OnReply::Joined { .. }, Err(reject)) => self.join_refused(now, peer, id, reject),
            (OnReply::HostAction(it), reply) => self.host_action_decided(now, peer, id, &it, reply),
            (OnReply::Appended(it), reply) => self.appended(now, peer, *it, reply),
            (_, Err(reject)) => Peers::on(self.core).refuse(now, peer, id, &reject),
            (OnReply::Joined { shown, .. }, Ok(Reply::Joined(joined))) => {
                let is_observer = shown.as_ref().is_some_and(|shown| shown.about.is_observer());
                Peers::on(self.core).add_member(now, peer, id, &joined, is_observer);
                Appearances::on(self.core).set(peer, &joined.room, shown);
                self.joined(now, peer, &joined);
            }
            (OnReply::Left { room, other }, Ok(Reply::Left { own })) => self.left(now, peer, id, (&room, other), own),
            (OnReply::Sent { is_to_user, target }, Ok(Reply::Sent(sent))) => {
                self.message_sent(now, peer, id, (is_to_user, &target), &sent);
            }
            (OnReply::Repeated(room, content), Ok(Reply::Sent(sent))) => {
                let sender = self.core.net.identity_of(peer).cloned();
                let repeated = sender.as_ref().map(|sender| (sender, &*content));
                let answer = SocketIoAnswer::Sent(&sent, &room, repeated);
                Peers::on(self.core).send_frames(peer, |out, dialect| {
                    dialects::answer(out, dialect, id.socketio(), &answer, now);
                });
            }
            (OnReply::MediaOffer(offer), Ok(Reply::MediaAdmitted(name))) => {
                MediaCalls::on(self.core).admitted(peer, id, *offer, name);
            }
            (OnReply::Found, Ok(Reply::History(history))) => self.send_history(now, peer, id, *history),
            (OnReply::Found, Ok(Reply::Unread(unread))) => self.send_unread(now, peer, id, &unread),
            (OnReply::Found, Ok(Reply::Marks(marks))) => self.send_marks(now, peer, id, &marks),
            (OnReply::Media { room, media, sfu }, Ok(_)) => self.media_changed(now, peer, id, &room, (media, sfu)),
            (OnReply::Refusal, Ok(_)) => Peers::on(self.core).answer(now, peer, id, &SocketIoAnswer::Done),
            (
                OnReply::Joined { .. }
                | OnReply::Left { .. }
                | OnReply::Sent { .. }
                | OnReply::Repeated(..)
                | OnReply::Found
                | OnReply::MediaOffer(_)
                | OnReply::Rest(_)
                | OnReply::Online(_)
                | OnReply::RoomsCounted(_)
                | OnReply::Gathered(_),
                Ok(_),
            ) => {
                self.unexpected(now, peer, id);
            }
        }
    }

    /// Each request of a piece gets the receipt of the message that the pieces have become.
    fn appended(
        &mut self,
        now: Now,
        peer: PeerKey,
        (room, requests): (Name, Vec<RequestId>),
        reply: Result<Reply, Reject>,
    ) {
        for id in &requests {
            match &reply {
                Ok(Reply::Sent(sent)) => self.message_sent(now, peer, id.as_ref(), (false, &room), sent),
                Ok(_) => self.unexpected(now, peer, id.as_ref()),
                Err(reject) => Peers::on(self.core).refuse(now, peer, id.as_ref(), reject),
            }
        }
    }

    fn message_sent(
        &mut self,
        now: Now,
        peer: PeerKey,
        id: RequestRef<'_>,
        (is_to_user, target): (bool, &str),
        sent: &Sent,
    ) {
        match peer.slot() {
            PeerSlot::Raw(slot) => {
                let field = if is_to_user { "toUserId" } else { "roomId" };
                let Core { net, rooms, broadcasts, .. } = &mut *self.core;
                // A receipt for a message to many does not have its client get the others' messages first.
                let is_bulk = !broadcasts.is_empty() && !is_to_user && rooms.is_bulk(target);
                net.send_raw_as(slot, is_bulk, |out| raw::sent(out, sent, (field, target), id.raw()));
            }
            PeerSlot::SocketIo(_) => {
                let answer = SocketIoAnswer::Sent(sent, target, None);
                Peers::on(self.core).send_frames(peer, |out, dialect| {
                    dialects::answer(out, dialect, id.socketio(), &answer, now);
                });
            }
        }
    }

    fn media_changed(
        &mut self,
        now: Now,
        peer: PeerKey,
        id: RequestRef<'_>,
        room: &str,
        (media, sfu): (Option<MediaState>, Option<bool>),
    ) {
        Appearances::on(self.core).change_media(now, peer, room, |known| {
            *known = MediaState { sfu: sfu.unwrap_or(known.sfu), ..media.unwrap_or(*known) };
        });
        Peers::on(self.core).answer(now, peer, id, &SocketIoAnswer::Done);
    }

    /// A join is refused, perhaps because its user may not make the room.
    fn join_refused(&mut self, now: Now, peer: PeerKey, id: RequestRef<'_>, reject: Reject) {
        let is_not_made = reject.code == Code::RoomNotFound;
        let reject = self.core.refusal_of_room(peer).filter(|_| is_not_made).unwrap_or(reject);
        Peers::on(self.core).refuse(now, peer, id, &reject);
    }

    /// The owner of a room has answered `sync-messages`. The newest messages come in place of those after an unknown one.
    fn synced(&mut self, now: Now, peer: PeerKey, id: RequestRef<'_>, then: OnReply, reply: Result<Reply, Reject>) {
        match (then, reply) {
            (OnReply::Synced { room, limit }, Err(reject)) if reject.code == Code::MessageNotFound => {
                if let Err(reject) = Commands::on(self.core).sync_newest(now, peer, id, room, limit) {
                    Peers::on(self.core).refuse(now, peer, id, &reject);
                }
            }
            (then, Ok(Reply::History(history))) => {
                let is_instead = matches!(then, OnReply::SyncedInstead);
                self.send_history(now, peer, id, History { is_instead, ..*history });
            }
            (_, Err(reject)) => Peers::on(self.core).refuse(now, peer, id, &reject),
            (_, Ok(_)) => self.unexpected(now, peer, id),
        }
    }

    fn unexpected(&mut self, now: Now, peer: PeerKey, id: RequestRef<'_>) {
        debug_assert!(false, "invariant: an owner replies in the kind of the request");
        let reject = Reject::new(Code::Internal, "The answer was of another kind than the question");
        Peers::on(self.core).refuse(now, peer, id, &reject);
    }

    fn send_marks(&mut self, now: Now, peer: PeerKey, id: RequestRef<'_>, marks: &Marks) {
        match peer.slot() {
            PeerSlot::Raw(slot) => self.core.net.send_raw(slot, |out| raw::receipts(out, marks, id.raw(), now)),
            PeerSlot::SocketIo(_) => Peers::on(self.core).answer(now, peer, id, &SocketIoAnswer::Receipts(marks)),
        }
    }

    fn send_unread(&mut self, now: Now, peer: PeerKey, id: RequestRef<'_>, unread: &Unread) {
        match peer.slot() {
            PeerSlot::Raw(slot) => self.core.net.send_raw(slot, |out| raw::unread(out, unread, id.raw(), now)),
            PeerSlot::SocketIo(_) => Peers::on(self.core).answer(now, peer, id, &SocketIoAnswer::Unread(unread)),
        }
    }

    fn joined(&mut self, now: Now, peer: PeerKey, joined: &Joined) {
        self.charge_join(now, peer, joined);
        Revoking::on(self.core).check_joined(now, peer, &joined.room);
        Granting::on(self.core).check_joined(now, peer, &joined.room);
    }

    /// A join costs as much as the list of members in its answer and the event for each of them, and more where it has made
    /// the room.
    fn charge_join(&mut self, now: Now, peer: PeerKey, joined: &Joined) {
        let is_new = joined.participant_count <= 1 && joined.seq == 0;
        if is_new {
            self.core.note_room_of(peer, Some(joined.room.clone()));
        }
        let new_bytes = if is_new { NEW_ROOM_COST as usize * UNIT_BYTES } else { 0 };
        let rewound: usize = joined.rewound.iter().map(|message| MEMBER_BYTES + message.content.bytes()).sum();
        self.core.charge_answer(now, peer, joined.peers.len() * 2 * MEMBER_BYTES + new_bytes + rewound);
    }

    /// A membership has ended: the peer's own, or another one's.
    fn left(
        &mut self,
        now: Now,
        peer: PeerKey,
        id: RequestRef<'_>,
        (room, other): (&Name, Option<Box<Name>>),
        own: bool,
    ) {
        match own {
            true => Peers::on(self.core).leave_room(now, peer, room),
            false => self.audit(now, peer, "remove-member", (room, other.as_deref()), "done"),
        }
        match peer.slot() {
            PeerSlot::Raw(slot) => self.core.net.send_raw(slot, |out| raw::left(out, room, id.raw(), now)),
            PeerSlot::SocketIo(_) => Peers::on(self.core).answer(now, peer, id, &SocketIoAnswer::Left(room)),
        }
    }

    /// The owner of a room has carried out or refused an action of its host.
    fn host_action_decided(
        &mut self,
        now: Now,
        peer: PeerKey,
        id: RequestRef<'_>,
        it: &HostRequest,
        reply: Result<Reply, Reject>,
    ) {
        let outcome = reply.as_ref().map_or_else(|reject| reject.code.as_str(), |_| "done");
        self.audit(now, peer, it.action, (&it.room, it.on.as_ref()), outcome);
        match (reply, peer.slot()) {
            (Err(reject), _) => Peers::on(self.core).refuse(now, peer, id, &reject),
            (Ok(_), PeerSlot::Raw(slot)) => {
                self.core.net.send_raw(slot, |out| raw::host_action(out, &it.room, it.action, id.raw(), now));
            }
            (Ok(_), PeerSlot::SocketIo(_)) => Peers::on(self.core).answer(now, peer, id, &SocketIoAnswer::Done),
        }
    }

    /// Logs an action of a room's host or an admin.
    fn audit(&self, now: Now, peer: PeerKey, action: &str, (room, on): (&Name, Option<&Name>), outcome: &str) {
        let net = &self.core.net;
        if let (Some(by), Some(remote)) = (net.identity_of(peer), net.remote_of(peer, now)) {
            let on = on.map_or_else(|| room.to_string(), |on| format!("{on} in {room}"));
            let (by, from) = (by.user(), remote.address);
            self.core.audit.action(&AuditedAction { action, by, from, on: &on, outcome });
        }
    }

    /// The owner of a peer's user has attached the peer, or refused it.
    fn attached(&mut self, now: Now, peer: PeerKey, id: RequestRef<'_>, reply: Result<Reply, Reject>) {
        match (peer.slot(), reply) {
            (PeerSlot::SocketIo(slot), reply) => Namespacing::on(self.core).attached(now, slot, reply),
            (PeerSlot::Raw(slot), Err(reject)) => {
                RawSockets::on(self.core).greet(now, slot);
                Peers::on(self.core).refuse(now, peer, id, &reject);
                let (reason, code) = match reject.code {
                    Code::StorageUnavailable => ("unavailable", 1013),
                    _ => ("too-many-connections", 1008),
                };
                RawSockets::on(self.core).disconnect(now, slot, reason, code);
            }
            (PeerSlot::Raw(slot), Ok(reply)) => self.raw_attached(now, slot, reply),
        }
    }

    fn raw_attached(&mut self, now: Now, slot: ConnSlot, reply: Reply) {
        if let Reply::Claimed(device) = reply {
            self.core.net.remotes.set_device(slot, Some(device));
        }
        RawSockets::on(self.core).greet(now, slot);
        self.core.net.conns[slot].standing.set_state(HandshakeState::Attached);
        Metering::on(self.core).note_arrival(now, slot);
        self.core.presence.add_newcomer(slot.into());
        Gating::on(self.core).join_rooms(now, slot.into());
    }

    /// Sends the messages that were requested, or as many of them as fit.
    fn send_history(&mut self, now: Now, peer: PeerKey, id: RequestRef<'_>, mut history: History) {
        let mut bytes = Vec::new();
        loop {
            match peer.slot() {
                PeerSlot::Raw(_) => raw::history(&mut bytes, &history, id.raw(), now),
                PeerSlot::SocketIo(slot) => {
                    let dialect = self.core.net.sessions.peers[slot].dialect;
                    dialects::answer(&mut bytes, dialect, id.socketio(), &SocketIoAnswer::History(&history), now);
                }
            }
            if bytes.len() <= self.core.answer_bytes() || !history.halve() {
                break;
            }
            bytes.clear();
        }
        self.core.charge_answer(now, peer, bytes.len());
        match peer.slot() {
            PeerSlot::Raw(slot) => self.core.net.send_raw(slot, |out| out.extend_from_slice(&bytes)),
            PeerSlot::SocketIo(_) => Peers::on(self.core).send_frames(peer, |out, _| out.extend_from_slice(&bytes)),
        }
    }

    /// The requesting peer has gone meanwhile: the effect of its request is undone.
    fn undo(&mut self, now: Now, connection: ConnectionId, then: OnReply, reply: Result<Reply, Reject>) {
        match (then, reply) {
            (OnReply::Joined { room, .. }, Ok(_)) => {
                self.core.send_detached(Op::Room(room, RoomOp::RemoveMember { connection }));
            }
            (OnReply::SessionTaken, Ok(Reply::Session(Some(session)))) => {
                KeptSessions::on(self.core).inherit(now, connection, *session);
            }
            (OnReply::SessionClaimed(claim), Ok(Reply::Session(Some(session)))) if session.connection == claim.1 => {
                KeptSessions::on(self.core).leave_claimed(now, connection, &claim.0, &session);
            }
            // The rooms that it was about to rejoin have been told that it is gone.
            _ => {}
        }
    }
}
