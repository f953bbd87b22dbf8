//! Dispatch of room operations, deferred tasks and committed effects to the room store.

use std::sync::Arc;

use smallvec::SmallVec;

use crate::base::Name;
use crate::base::ids::ConnectionId;
use crate::base::limits;
use crate::domain::access::Identity;
use crate::domain::call;
use crate::domain::monitoring::MessageStats;
use crate::domain::op::{AddressedEvent, PresenceView, Reply, RoomOp, RoomsView, Scope, UsersPage};
use crate::domain::record::Record;
use crate::domain::reject::Reject;
use crate::domain::streams;
use crate::message::storage::{StorageQuery, StorageReply};
use crate::message::{Outgoing, PresenceUpdate, ShardMessage, UpdateReach};
use crate::owner::embedded::commit_barrier::PendingEffect;
use crate::owner::embedded::loading::refused;
use crate::owner::embedded::receipts;
use crate::owner::embedded::rewind;
use crate::owner::embedded::rooms::{RoomStore, hook_closed, log_idle_end, room_at};
use crate::owner::embedded::storage_requests::{StorageRequest, StorageResult};
use crate::owner::embedded::turn::{DeferredTask, OpOutcome, Turn};

impl RoomStore {
    pub(super) fn apply(&mut self, turn: &mut Turn<'_>, name: Name, op: RoomOp) -> OpOutcome {
        match self.rooms.contains(&name) {
            true => self.apply_here(turn, name, op),
            false => match self.wait_for_room(turn, &name, op) {
                Some(op) => self.apply_here(turn, name, op),
                None => Ok(None),
            },
        }
    }

    /// Applies an operation to a loaded room, or to one that storage does not have.
    pub(super) fn apply_here(&mut self, turn: &mut Turn<'_>, name: Name, op: RoomOp) -> OpOutcome {
        let part = op.publication();
        match self.dispatch(turn, name, op) {
            Err(reject) => refused(part, reject),
            outcome => outcome,
        }
    }

    fn dispatch(&mut self, turn: &mut Turn<'_>, name: Name, op: RoomOp) -> OpOutcome {
        if let Some(waiting) = self.creating.get_mut(&name) {
            waiting.push((turn.to, op));
            return Ok(None);
        }
        let op = match op {
            RoomOp::Create { by, profile, log, is_locked } if !self.rooms.contains(&name) => {
                return self.create(turn, name, (by, profile, log), is_locked);
            }
            op => op,
        };
        let Some(op) = turn.core.requests.hold_behind_join(&name, op, turn.to)? else { return Ok(None) };
        let place = self.open(turn, &name, &op)?;
        let room = room_at(&mut self.rooms, place);
        if room.is_closing && room.members.is_empty() && (op.is_arrival() || op.may_make()) {
            turn.hold([], PendingEffect::RetriedOperation { room: name, op });
            return Ok(None);
        }
        if room.is_closing
            && !matches!(op, RoomOp::Leave { .. } | RoomOp::RemoveMember { .. } | RoomOp::StartGrace { .. })
        {
            return Err(Reject::room_closed());
        }
        if turn.rules().has_store
            && let Some(record) = room.before(&op, turn.rules())?
        {
            turn.check_store()?;
            if matches!(record, Record::RoomMade(_)) {
                room.log.take_unmade();
            }
            room.is_closing = matches!(op, RoomOp::Close { .. });
            turn.hold([record], PendingEffect::RoomOperation { room: name, op });
            return Ok(None);
        }
        match op {
            RoomOp::Send(message) if message.to.is_none() => self.send(turn, place, *message),
            RoomOp::ReadHistory { connection, wanted } => self.history(turn, place, connection, wanted),
            RoomOp::ReadSince { connection, after, limit } => self.sync(turn, place, connection, (after, limit)),
            RoomOp::ReadReceipts { connection, message } => self.marks(turn, place, connection, message),
            RoomOp::MarkMessage { connection, message, kind } => self.receipt(turn, place, connection, (message, kind)),
            RoomOp::CountUnread { of } => receipts::count_unread(self, turn, place, of),
            RoomOp::MarkMessages { connection, messages, kind } => {
                receipts::mark(self, turn, place, connection, (&messages, kind))
            }
            RoomOp::Join(join) if join.rewind > 0 => rewind::join(self, turn, place, join),
            RoomOp::RelaySignal(signal) => self.relay(turn, place, signal),
            RoomOp::ListUsers { by, page } => self.roster(place, &by, &page),
            RoomOp::Rejoin(back) => self.rejoin(turn, place, back),
            RoomOp::StartGrace { connection } => {
                turn.core.requests.cancel_return(&name, connection);
                // A lost connection stops typing, whether or not it is recovered.
                let _ = self.act(turn, place, RoomOp::SetTyping { connection, is_typing: false });
                turn.defer_by(turn.rules().presence_grace_ms, DeferredTask::RemoveMember(name, connection));
                Ok(Some(Reply::Done))
            }
            op => {
                if let RoomOp::RemoveMember { connection } = op {
                    turn.core.requests.cancel_return(&name, connection);
                }
                self.act(turn, place, op)
            }
        }
    }

    /// [`DeferredTask::RemoveMember`]: removes a member after its grace period.
    pub(super) fn remove_member(&mut self, turn: &mut Turn<'_>, name: &Name, connection: ConnectionId) {
        if let Some(place) = self.rooms.find(name) {
            let _ = self.act(turn, place, RoomOp::RemoveMember { connection });
        }
    }

    pub(super) fn publish_stats(&mut self, turn: &mut Turn<'_>, name: &Name) {
        if let Some(room) = self.rooms.get_mut(name)
            && std::mem::take(&mut room.uncounted)
            && !room.members.is_empty()
        {
            let event = room.stats();
            turn.publish_event(room, event);
        }
    }

    /// Publishes the online users of a room. Where users have a presence, their owners are asked first: the shard answers
    /// with [`RoomStore::publish_online_users`].
    pub(super) fn publish_online(&mut self, turn: &mut Turn<'_>, name: Name) {
        if let Some(room) = self.rooms.get_mut(&name)
            && let Some(users) = room.take_online()
        {
            let rules = turn.rules();
            if rules.presence_scope != Scope::None && room.members.len() <= rules.announce_limit {
                let own = turn.core.number;
                turn.send(own, ShardMessage::OnlineUsers { room: name, users: users.into() });
            } else {
                let event = room.online(None);
                turn.publish_event(room, event);
            }
        }
    }

    pub(super) fn publish_online_users(&mut self, turn: &mut Turn<'_>, name: &str, users: Vec<PresenceView>) {
        if let Some(room) = self.rooms.get_mut(name) {
            let event = room.online(Some(users));
            turn.publish_event(room, event);
            turn.defer_room(room);
        }
    }

    pub(super) fn end_typing(&mut self, turn: &mut Turn<'_>, name: Name) {
        if let Some(room) = self.rooms.get_mut(&name) {
            room.end_typing(&mut turn.context());
            if let Some(at) = room.typing_due() {
                turn.defer(at, DeferredTask::EndTyping(name));
            }
            turn.publish(room, false);
        }
    }

    /// [`DeferredTask::ReturnMode`].
    pub(super) fn return_mode(&mut self, turn: &mut Turn<'_>, name: &Name) {
        if let Some(room) = self.rooms.get_mut(name) {
            call::return_to_p2p(room, &mut turn.context());
            turn.defer_room(room);
            turn.publish(room, false);
        }
    }

    /// Publishes a presence update to each shard that has a member, unless the room has more than `limit` members.
    pub(super) fn announce(&self, limit: usize, name: &Name, news: &Arc<PresenceUpdate>, out: &mut Vec<Outgoing>) {
        if let Some(room) = self.rooms.get(name)
            && room.members.len() <= limit
        {
            for shard in room.members.shards() {
                let (reach, update) = (UpdateReach::Members(room.id.clone()), news.clone());
                out.push((shard, ShardMessage::PresenceUpdate { reach, update }.into()));
            }
        }
    }

    /// Publishes the events of a committed operation. The last member may have left meanwhile.
    pub(super) fn publish_committed(
        &mut self,
        turn: &mut Turn<'_>,
        name: &Name,
        events: SmallVec<[AddressedEvent; 1]>,
        seq: u64,
    ) {
        if let Some(room) = self.rooms.get_mut(name) {
            if seq != 0 {
                room.log.commit(seq);
                streams::commit(room, seq);
                turn.core.requests.add_published(name, &events);
            }
            turn.publish_events(room, events, false);
            turn.defer_room(room);
        }
    }

    pub(super) fn publish_departure(&self, turn: &mut Turn<'_>, name: &Name, events: SmallVec<[AddressedEvent; 1]>) {
        if let Some(room) = self.rooms.get(name) {
            turn.publish_events(room, events, false);
        }
    }

    /// Runs an operation whose record is committed.
    pub(super) fn run_committed(&mut self, turn: &mut Turn<'_>, name: &Name, op: RoomOp) {
        let Some(place) = self.rooms.find(name) else {
            return turn.reply(Err(Reject::room_not_found()));
        };
        self.publish_departures(turn, name, &op);
        let at = turn.out.len();
        room_at(&mut self.rooms, place).is_closing = false;
        let outcome = self.act(turn, place, op);
        turn.reply_at(at, outcome);
    }

    /// Runs an operation again that waited for the end of its room.
    pub(super) fn retry(&mut self, turn: &mut Turn<'_>, name: Name, op: RoomOp) {
        self.publish_departures(turn, &name, &op);
        let at = turn.out.len();
        let outcome = self.apply(turn, name, op);
        turn.reply_at(at, outcome);
    }

    pub(super) fn remove(&mut self, turn: &mut Turn<'_>, name: &Name) {
        log_idle_end(name);
        hook_closed(turn, name, "idle");
        self.rooms.remove(name);
    }

    /// Storage has refused the record of an operation: its message, if any, is undone.
    pub(super) fn undo(&mut self, turn: &mut Turn<'_>, name: &Name, seq: u64, idempotency_key: Option<u128>) {
        if let Some(key) = idempotency_key {
            self.idempotency.remove(key);
            self.publications.remove(key);
        }
        if seq != 0
            && let Some(room) = self.rooms.get_mut(name)
        {
            room.log.roll_back();
            streams::roll_back(room);
            turn.defer_room(room);
        }
    }

    /// Storage has refused the record that a room is closed.
    pub(super) fn undo_close(&mut self, turn: &mut Turn<'_>, name: &Name) {
        if let Some(room) = self.rooms.get_mut(name) {
            room.is_closing = false;
            turn.defer_room(room);
        }
    }

    /// Storage has refused the record of a room's settings.
    pub(super) fn undo_update(&mut self, name: &Name) {
        if let Some(room) = self.rooms.get_mut(name) {
            room.log.undo_made();
        }
    }

    /// Storage has refused to delete an idle room: it stays for another while.
    pub(super) fn undo_deletion(&mut self, turn: &mut Turn<'_>, name: Name) {
        if let Some(room) = self.rooms.get_mut(&name) {
            room.is_closing = false;
            turn.defer_by(limits::JOINED_ROOM_IDLE_MS, DeferredTask::EndRoom(name));
        }
    }

    /// Requests the room of a message.
    pub(super) fn room_of(turn: &mut Turn<'_>, message: uuid::Uuid) -> OpOutcome {
        if !turn.rules().has_store {
            return Err(Reject::message_not_found());
        }
        turn.request(StorageRequest::RoomOf, StorageQuery::Message { id: message });
        Ok(None)
    }

    /// The result of [`StorageRequest::RoomOf`].
    pub(super) fn room_of_found(result: StorageResult) -> Result<Reply, Reject> {
        match result {
            Ok(StorageReply::Message(Some(view))) => Ok(Reply::RoomOf(view.message.room)),
            Ok(_) => Err(Reject::message_not_found()),
            Err(_) => Err(Reject::storage_unavailable()),
        }
    }

    fn roster(&mut self, place: u32, by: &Identity, page: &UsersPage) -> OpOutcome {
        let roster = room_at(&mut self.rooms, place).roster(by, page)?;
        Ok(Some(Reply::Roster(Box::new(roster))))
    }

    /// The rooms of the shard; `connections` is the number of its users' connections.
    pub(super) fn list(&self, connections: usize) -> RoomsView {
        RoomsView {
            total_rooms: self.rooms.len(),
            total_peers: self.rooms.iter().map(|room| room.members.connections()).sum(),
            connections,
            rooms: self.rooms.iter().take(limits::ROOMS_LISTED).map(|room| room.view(0)).collect(),
        }
    }

    /// The rooms that a user is a participant of, and those of `joined`.
    pub(super) fn rooms_of(&self, user: &str, joined: &[Name]) -> RoomsView {
        let own = self.rooms.iter().filter(|room| joined.contains(&room.id) || room.takes_part(user));
        let rooms = own.take(limits::ROOMS_LISTED).map(|room| room.view(0));
        RoomsView { rooms: rooms.collect(), ..RoomsView::default() }
    }

    pub(super) fn message_stats(&self) -> MessageStats {
        let mut all = MessageStats::default();
        self.rooms.iter().for_each(|room| all.merge(&room.message_stats()));
        all
    }
}
