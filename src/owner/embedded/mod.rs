//! The owner in a single process: each shard owns the rooms and users whose names hash to it, in memory. Records go to
//! storage, and the replies and events that depend on them wait for the commit.
//!
//! [`EmbeddedOwner`] routes operations and storage events to its components: rooms, users, direct messages and sessions.
//! They share one core (commit barrier, storage requests, deferred tasks), which a turn lends to them.

mod commit_barrier;
mod direct_messages;
mod idempotency;
mod loading;
mod outbox;
mod pushes;
mod receipts;
mod rest_quotas;
mod revise;
mod revocations;
mod rewind;
mod room_log;
mod room_ops;
mod room_table;
mod rooms;
mod sessions;
mod storage_requests;
mod stored_names;
mod streams;
mod turn;
mod user_lists;
mod users;

use std::sync::Arc;

use uuid::Uuid;

use crate::base::Name;
use crate::base::ids::ConnectionId;
use crate::base::limits;
use crate::base::rng::Rng;
use crate::base::time::Now;
use crate::domain::access::{Identity, Roles};
use crate::domain::connection::connection_not_found;
use crate::domain::event::Event;
use crate::domain::monitoring::{MessageStats, PresenceStats};
use crate::domain::op::{Op, PresenceView, Reply, RoomOp, RoomRules, RoomsView, UsersPage, UsersView};
use crate::domain::query::{PartialResult, RoomPage, RoomsPage};
use crate::domain::record::Session;
use crate::domain::reject::Reject;
use crate::domain::room::Room;
use crate::domain::user::{too_many_rooms, user_not_found};
use crate::message::storage::{
    RecentMessage, Restored, StorageCommand, StorageEvent, StorageReply, StorageState, StoredUser, Unavailable,
};
use crate::message::{Outgoing, Placement, PresenceUpdate, Requester, ShardNumber};

use commit_barrier::{HeldEffect, PendingEffect, ReleasedEffects};
use direct_messages::DirectDeliveries;
use idempotency::IdempotencyRecord;
use room_log::marks_found;
use rooms::RoomStore;
use sessions::SessionStore;
use storage_requests::{StorageRequest, StorageResult};
use turn::{DeferredTask, OwnerCore, Turn};
use users::UserStore;

/// The rooms, users and sessions of one shard.
pub struct EmbeddedOwner {
    core: OwnerCore,
    rooms: RoomStore,
    users: UserStore,
    directs: DirectDeliveries,
    sessions: SessionStore,
}

/// The components of an owner, and one turn of it.
struct Parts<'a> {
    turn: Turn<'a>,
    rooms: &'a mut RoomStore,
    users: &'a mut UserStore,
    directs: &'a mut DirectDeliveries,
    sessions: &'a mut SessionStore,
}

/// The operations and events of an owner; see [`crate::owner`].
impl EmbeddedOwner {
    /// An owner without rooms and users.
    pub fn new(number: ShardNumber, rules: Arc<RoomRules>, placement: Placement, mut rng: Rng) -> Self {
        let seed = rng.next_u64();
        let seeds = [rng.next_u64(), rng.next_u64()];
        Self {
            core: OwnerCore::new(number, rules, placement, rng),
            rooms: RoomStore::new(seed, seeds),
            users: UserStore::new(seed),
            directs: DirectDeliveries::new(seed),
            sessions: SessionStore::new(seed),
        }
    }

    fn parts<'a>(&'a mut self, now: Now, to: Option<Requester>, out: &'a mut Vec<Outgoing>) -> Parts<'a> {
        let Self { core, rooms, users, directs, sessions } = self;
        Parts { turn: Turn { now, to, core, out }, rooms, users, directs, sessions }
    }

    /// Applies an operation and replies to `from`.
    pub fn request(&mut self, now: Now, from: Requester, op: Op, out: &mut Vec<Outgoing>) {
        let Parts { mut turn, rooms, users, directs, sessions } = self.parts(now, Some(from), out);
        if let Op::Room(name, op) = &op {
            rooms.publish_departures(&mut turn, name, op);
        }
        let at = turn.out.len();
        let outcome = match op {
            Op::Room(name, op) => rooms.apply(&mut turn, name, op),
            Op::User(name, op) => users.apply(&mut turn, directs, name, op),
            Op::Session(_, op) => sessions.apply(&mut turn, *op),
            Op::Rooms => Ok(Some(Reply::Rooms(rooms.list(users.connections())))),
            Op::Users(page) => Ok(Some(Reply::Users(users.connected(now, &page)))),
            Op::FindMessageRoom { message, .. } => RoomStore::room_of(&mut turn, message),
            Op::Revocation(change) => revocations::apply(&mut turn, change),
            Op::Outbox(op) => outbox::apply(&mut turn, op),
            // Shards own connections.
            Op::Connection(..) | Op::Broadcast(_) | Op::Query(_) | Op::App(_) => Err(connection_not_found()),
        };
        turn.reply_at(at, outcome);
    }

    /// Memory of the rooms: their structs and lists of members.
    pub fn room_bytes(&self) -> usize {
        let rooms = &self.rooms.rooms;
        rooms.table_bytes() + rooms.iter().map(|room| size_of::<Room>() + room.members.bytes()).sum::<usize>()
    }

    /// Memory of the users.
    pub fn user_bytes(&self) -> usize {
        self.users.users.table_bytes()
    }

    /// Delivers an event to every connection of a user.
    pub fn notify(&mut self, now: Now, user: &Name, event: Event, out: &mut Vec<Outgoing>) {
        let Parts { mut turn, users, .. } = self.parts(now, None, out);
        users.notify(&mut turn, user, &event);
    }

    /// Delivers a presence update to every member of a room.
    pub fn announce(&mut self, room: &Name, news: Arc<PresenceUpdate>, out: &mut Vec<Outgoing>) {
        self.rooms.announce(self.core.rules.announce_limit, room, &news, out);
    }

    /// Notes that a connection of the user has received a direct message.
    pub fn acknowledge(&mut self, user: &Name, message: Uuid) {
        self.directs.acknowledge(&mut self.core.barrier, user, message);
    }

    /// Handles an event of the storage thread.
    pub fn handle_storage_event(&mut self, now: Now, event: StorageEvent, out: &mut Vec<Outgoing>) {
        let mut parts = self.parts(now, None, out);
        match event {
            StorageEvent::Receipt(receipt) => match parts.turn.core.barrier.settle(receipt) {
                None => {}
                Some(ReleasedEffects::Committed(effects, kept)) => {
                    let mut taken = kept.taken.into_iter();
                    for HeldEffect { to, effect } in effects {
                        parts.turn.to = to;
                        parts.release(effect, &mut taken);
                    }
                    debug_assert!(taken.next().is_none(), "invariant: each taken session has a pending effect");
                }
                Some(ReleasedEffects::Refused(effects)) => {
                    for HeldEffect { to, effect } in effects {
                        parts.turn.to = to;
                        let needs_rejection = effect.needs_rejection();
                        parts.undo(effect);
                        if needs_rejection {
                            parts.turn.reply(Err(Reject::storage_unavailable()));
                        }
                    }
                }
            },
            StorageEvent::Reply { to, answer } => parts.storage_result(to.ask, answer),
            StorageEvent::RoomExpired(room) => parts.rooms.expire_unloaded(&mut parts.turn, room),
            StorageEvent::State(state) => {
                parts.turn.core.barrier.set_state(state);
                if state == StorageState::Good {
                    parts.directs.request_all(&mut parts.turn, parts.users);
                }
            }
        }
    }

    /// Takes the commands for the storage thread, in order.
    pub fn storage_commands(&mut self, now: Now) -> std::vec::Drain<'_, StorageCommand> {
        self.core.barrier.seal(now);
        self.core.barrier.commands.drain(..)
    }

    /// Whether there are commands for the storage thread.
    pub fn has_storage_commands(&self) -> bool {
        self.core.barrier.has_commands()
    }

    /// Does the work that is due.
    pub fn tick(&mut self, now: Now, out: &mut Vec<Outgoing>) {
        let mut parts = self.parts(now, None, out);
        parts.rooms.expire(&parts.turn);
        parts.users.expire(now);
        parts.users.record_arrivals(&mut parts.turn);
        while let Some(tasks) = parts.turn.core.tasks.take_due(now) {
            for task in tasks {
                parts.run(task);
            }
        }
    }

    /// When [`EmbeddedOwner::tick`] has work, in monotonic milliseconds.
    pub fn next_due(&self) -> Option<u64> {
        let rooms = &self.rooms;
        let dues = [
            self.users.next_due(),
            self.core.tasks.next_due(),
            rooms.idempotency.next_due(),
            rooms.publications.next_due(),
        ];
        dues.into_iter().flatten().min()
    }

    /// Restores an entry that storage has kept.
    pub fn restore(&mut self, now: Now, restored: Restored) {
        let mut out = Vec::new();
        let Parts { mut turn, rooms, directs, .. } = self.parts(now, None, &mut out);
        match restored {
            Restored::Room(stored) => rooms.restore(&mut turn, *stored),
            Restored::RecentMessage(message) => restore_repeatable(&turn, rooms, &message),
            Restored::DirectRecipient(user, bytes) => directs.restore(&user, bytes),
            // Offline users are looked up on request, and revocations are the shard's.
            Restored::User(_) | Restored::Revocation(_) => {}
        }
        debug_assert!(out.is_empty(), "invariant: a restored entry sends no message");
    }

    /// The state of storage.
    pub fn store_state(&self) -> StorageState {
        self.core.barrier.state()
    }

    /// The age of the oldest uncommitted record in milliseconds.
    pub fn storage_lag_ms(&self, now: Now) -> u64 {
        self.core.barrier.lag_ms(now)
    }

    /// The number of loaded rooms.
    pub fn rooms(&self) -> usize {
        self.rooms.rooms.len()
    }

    /// The number of present users.
    pub fn users(&self) -> usize {
        self.users.users.len()
    }

    /// Replaces the rules.
    pub fn set_rules(&mut self, rules: Arc<RoomRules>) {
        self.core.rules = rules;
    }

    /// The process ends in `window_ms`, and connections that it closes first cannot be recovered until it has restarted. So
    /// the grace period lasts at least as long.
    pub fn leave(&mut self, window_ms: u64) {
        let rules = &self.core.rules;
        if rules.presence_grace_ms != 0 {
            let presence_grace_ms = rules.presence_grace_ms.max(window_ms);
            self.core.rules = Arc::new(RoomRules { presence_grace_ms, ..(**rules).clone() });
        }
    }

    /// The rooms that a user is a participant of, and those of `joined`.
    pub fn rooms_of(&self, user: &str, joined: &[Name]) -> RoomsView {
        self.rooms.rooms_of(user, joined)
    }

    /// A page of the loaded rooms.
    pub fn room_page(&self, page: &RoomsPage) -> RoomPage {
        self.rooms.rooms.page(page)
    }

    /// A page of the users that appear online.
    pub fn users_shown(&self, now: Now, page: &UsersPage) -> UsersView {
        self.users.shown(now, page)
    }

    /// Those of the named users that appear online.
    pub fn these_users(&self, now: Now, users: &Arc<[Name]>) -> UsersView {
        self.users.named(now, users)
    }

    /// Publishes the online users of a room, as their owners have reported them.
    pub fn publish_online_users(&mut self, now: Now, room: &str, users: Vec<PresenceView>, out: &mut Vec<Outgoing>) {
        let Parts { mut turn, rooms, .. } = self.parts(now, None, out);
        rooms.publish_online_users(&mut turn, room, users);
    }

    /// Message statistics of the loaded rooms.
    pub fn message_stats(&self) -> MessageStats {
        self.rooms.message_stats()
    }

    /// The numbers of the last messages of rooms, 0 of a room that this owner does not have.
    pub fn last_messages(&self, rooms: &[Name]) -> Vec<u64> {
        rooms.iter().map(|room| self.rooms.last_message(room)).collect()
    }

    /// Replies with presence statistics of the present users, and, from the first shard, of all users in the store.
    pub fn presence_stats(&mut self, now: Now, from: Requester, out: &mut Vec<Outgoing>) {
        let Parts { mut turn, users, .. } = self.parts(now, Some(from), out);
        if turn.core.barrier.is_busy() {
            turn.hold([], PendingEffect::UserCount);
        } else {
            users.count(&mut turn);
        }
    }

    /// Whether every user receives the presence of all others, and not only of those who share a room.
    pub fn presence_reaches_all(&self) -> bool {
        self.users.presence_reaches_all(&self.core)
    }

    /// The members of all rooms.
    pub fn members(&self) -> impl Iterator<Item = (&Name, ConnectionId)> {
        self.rooms.rooms.iter().flat_map(|room| room.members.all().map(|member| (&room.id, member.connection)))
    }

    /// The connections of all users.
    pub fn connections(&self) -> impl Iterator<Item = (&str, ConnectionId)> {
        let users = self.users.users.iter();
        users.flat_map(|user| user.connections.as_slice().iter().map(|connection| (user.identity.user(), *connection)))
    }

    /// Checks the invariants of the components, between two calls. For tests: it takes time in proportion to the state.
    ///
    /// # Panics
    /// Panics with the name of the first violated invariant.
    pub fn check_invariants(&self) {
        self.core.check_invariants();
        self.rooms.check_invariants(&self.core);
        self.users.check_invariants(&self.core);
        self.directs.check_invariants(&self.core, &self.users);
        self.sessions.check_invariants(&self.core.barrier);
    }
}

impl Parts<'_> {
    fn run(&mut self, task: DeferredTask) {
        let Self { turn, rooms, users, directs, .. } = self;
        match task {
            DeferredTask::EndRoom(name) => rooms.end_if_idle(turn, name),
            DeferredTask::RemoveMember(name, connection) => rooms.remove_member(turn, &name, connection),
            DeferredTask::PublishStats(name) => rooms.publish_stats(turn, &name),
            DeferredTask::PublishOnline(name) => rooms.publish_online(turn, name),
            DeferredTask::EndTyping(name) => rooms.end_typing(turn, name),
            DeferredTask::ReturnMode(name) => rooms.return_mode(turn, &name),
            DeferredTask::EndStreams(name) => streams::end(rooms, turn, &name),
            DeferredTask::GoOffline(name) => users.go_offline_if_due(turn, &name),
            DeferredTask::RequestDirects(name) => directs.request(turn, users, &name),
        }
    }

    /// Releases an effect whose record is committed.
    fn release(&mut self, effect: PendingEffect, taken: &mut impl Iterator<Item = Option<Box<Session>>>) {
        let Self { turn, rooms, users, directs, sessions } = self;
        match effect {
            PendingEffect::RoomEvents { room, reply, events, seq, .. } => {
                turn.reply(Ok(reply));
                rooms.publish_committed(turn, &room, events, seq);
            }
            PendingEffect::Departure { room, events } => rooms.publish_departure(turn, &room, events),
            PendingEffect::RoomCreation(room) => {
                let name = room.id.clone();
                let reply = rooms.created(turn, *room);
                turn.reply(Ok(reply));
                rooms.creation_settled(turn, &name);
            }
            PendingEffect::Reply(reply) => turn.reply(Ok(reply)),
            PendingEffect::Revocation(change) => {
                revocations::publish(turn, &change);
                turn.reply(Ok(Reply::Done));
            }
            PendingEffect::RoomOperation { room, op } => rooms.run_committed(turn, &room, op),
            PendingEffect::RetriedOperation { room, op } => rooms.retry(turn, room, op),
            PendingEffect::RoomDeletion { room } => rooms.remove(turn, &room),
            PendingEffect::DirectMessage { user, direct } => {
                turn.reply(Ok(direct_messages::receipt(users, &user, &direct)));
                directs.stored(turn, users, &user, direct);
            }
            PendingEffect::PushEnd(kept) => {
                users.pushes.forget(kept.sender, kept.key);
                turn.reply(Ok(Reply::Pushed(kept.result)));
            }
            PendingEffect::DirectToUnknownUser { user, by, content } => {
                DirectDeliveries::look_up_recipient(turn, user, by, content);
            }
            PendingEffect::DirectAck { user, id } => directs.ack_settled(turn, users, &user, id, true),
            PendingEffect::UserLookup { user } => UserStore::look_up(turn, user),
            PendingEffect::UserCount => users.count(turn),
            PendingEffect::SessionEnd { token } => sessions.complete_take(turn, token, taken.next().flatten()),
            PendingEffect::SessionDeletion => drop(taken.next()),
            PendingEffect::SessionClaim(claim) => sessions.complete_claim(turn, claim, taken.next().flatten()),
            PendingEffect::RetriedClaim(claim) => sessions.retry_claim(turn, claim),
        }
    }

    /// Undoes an effect whose record is refused.
    fn undo(&mut self, effect: PendingEffect) {
        let Self { turn, rooms, users, directs, sessions } = self;
        match effect {
            PendingEffect::RoomEvents { room, seq, idempotency_key, .. } => {
                rooms.undo(turn, &room, seq, idempotency_key);
            }
            PendingEffect::RoomOperation { room, op: RoomOp::Close { .. } } => rooms.undo_close(turn, &room),
            PendingEffect::RoomOperation { room, op: RoomOp::Update { .. } } => rooms.undo_update(&room),
            PendingEffect::DirectMessage { user, direct } => directs.store_refused(&user, &direct),
            PendingEffect::PushEnd(kept) => users.pushes.forget(kept.sender, kept.key),
            PendingEffect::DirectToUnknownUser { user, .. } => directs.end_lookup(&user),
            PendingEffect::SessionClaim(claim) => sessions.undo_claim(turn, &claim),
            PendingEffect::SessionEnd { .. }
            | PendingEffect::SessionDeletion
            | PendingEffect::UserLookup { .. }
            | PendingEffect::UserCount
            | PendingEffect::RoomOperation { .. }
            | PendingEffect::Revocation(_)
            | PendingEffect::Reply(_)
            | PendingEffect::RetriedClaim(_) => {}
            PendingEffect::RoomCreation(room) => rooms.creation_settled(turn, &room.id),
            PendingEffect::RoomDeletion { room } => rooms.undo_deletion(turn, room),
            PendingEffect::Departure { room, events } => rooms.publish_departure(turn, &room, events),
            PendingEffect::DirectAck { user, id } => directs.ack_settled(turn, users, &user, id, false),
            PendingEffect::RetriedOperation { room, op } => rooms.retry(turn, room, op),
        }
    }

    /// Handles the result of a storage request.
    fn storage_result(&mut self, ask: u32, result: StorageResult) {
        let Self { turn, rooms, users, directs, .. } = self;
        let (to, request) = turn.core.requests.take(ask);
        turn.to = to;
        match request {
            StorageRequest::History { room, last, range } => {
                turn.reply(rooms.history_found(room, last, range, result));
            }
            StorageRequest::Sync { room, limit } => {
                let outcome = rooms.sync_found(turn, room, limit, result);
                turn.reply_unless_later(outcome);
            }
            StorageRequest::Marks { room, message } => turn.reply(marks_found(room, message, result)),
            StorageRequest::RoomOf => turn.reply(RoomStore::room_of_found(result)),
            StorageRequest::Receipt { room, connection, message, kind } => {
                let outcome = rooms.receipt_found(turn, (room, connection), (message, kind), result);
                turn.reply_unless_later(outcome);
            }
            StorageRequest::Revised { room, message } => {
                let outcome = revise::found(rooms, turn, room, message, result);
                turn.reply_unless_later(outcome);
            }
            StorageRequest::Unread { room, user } => {
                let reply = receipts::unread_found(room, user, result);
                turn.reply(reply);
            }
            StorageRequest::ReceiptsUpTo { room, connection, kind } => {
                let reply = receipts::last_found(turn, room, (connection, kind), result);
                turn.reply(reply);
            }
            StorageRequest::ReceiptsBefore { room, connection, kind } => {
                receipts::found(rooms, turn, &room, (connection, kind), result);
            }
            StorageRequest::Load { room } => rooms.room_found(turn, room, result),
            StorageRequest::Missed(missed) => rooms.missed_found(turn, missed, result),
            StorageRequest::Recipient { user, by, content } => {
                directs.recipient_found(turn, users, (user, by, content), result);
            }
            StorageRequest::Push { sender, key } => users.pushes.found(turn, sender, key, result),
            StorageRequest::DirectBytes { user, direct } => {
                directs.bytes_found(turn, users, (user, direct), result);
            }
            StorageRequest::MadeRooms => {
                let reply = made_rooms_counted(turn.rules().rooms_per_user, result);
                turn.reply(reply);
            }
            StorageRequest::LastSeen => turn.reply(last_seen_found(result)),
            StorageRequest::DeadLetters => turn.reply(outbox::dead_letters_found(result)),
            StorageRequest::UserCount(stats) => turn.reply(users_counted(*stats, result)),
            StorageRequest::Directs { user } => directs.found(turn, users, user, result),
        }
    }
}

/// The result of [`StorageRequest::MadeRooms`].
fn made_rooms_counted(most: usize, result: StorageResult) -> Result<Reply, Reject> {
    match result {
        Ok(StorageReply::MadeRooms(count)) if count >= most as u64 => Err(too_many_rooms(most)),
        Ok(_) => Ok(Reply::Done),
        Err(Unavailable) => Err(Reject::storage_unavailable()),
    }
}

/// The result of [`StorageRequest::LastSeen`]. An offline user appears offline, whatever the stored status.
fn last_seen_found(result: StorageResult) -> Result<Reply, Reject> {
    match result {
        Ok(StorageReply::User(Some(user))) => {
            let StoredUser { user, username, email, seen_at, .. } = *user;
            let identity = Identity::new(&user, username.as_deref(), email.as_deref(), Roles::default());
            let unknown = PresenceView::nobody(user);
            Ok(Reply::Presence(Box::new(PresenceView {
                last_seen: Some(seen_at),
                identity: Some(identity),
                ..unknown
            })))
        }
        Ok(_) => Err(user_not_found()),
        Err(Unavailable) => Err(Reject::storage_unavailable()),
    }
}

/// The result of [`StorageRequest::UserCount`].
fn users_counted(mut stats: PresenceStats, result: StorageResult) -> Result<Reply, Reject> {
    let Ok(StorageReply::UserCount { all, named }) = result else { return Err(Reject::storage_unavailable()) };
    stats.stored = all;
    stats.stored_here += named;
    Ok(Reply::PartialResult(PartialResult::PresenceStats(stats)))
}

fn restore_repeatable(turn: &Turn<'_>, rooms: &mut RoomStore, message: &RecentMessage) {
    let RecentMessage { room, epoch, user, client_message_id, id, seq, at } = message;
    let records = match client_message_id.starts_with(limits::PUBLICATION_KEY_PREFIX) {
        true => &mut rooms.publications,
        false => &mut rooms.idempotency,
    };
    let key = records.key(room, epoch, user, client_message_id);
    let record = IdempotencyRecord { id: *id, seq: *seq, at: *at };
    records.note(turn.now, key, record, turn.now.wall.saturating_sub(*at));
}
