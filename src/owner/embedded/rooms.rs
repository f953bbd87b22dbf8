//! The rooms of a shard: creation, operations, unloading and deletion.

use std::collections::{BTreeMap, VecDeque};

use crate::base::Name;
use crate::base::limits;
use crate::base::table::Table;
use crate::domain::access::Identity;
use crate::domain::hook::{HookChange, HookKind};
use crate::domain::messages::sender_of;
use crate::domain::op::{LogTerms, Profile, Publication, RelaySignal, Reply, RoomOp, SendMessage, Sent};
use crate::domain::record::Record;
use crate::domain::reject::Reject;
use crate::domain::room::{Room, UnloadedRoom};
use crate::domain::signaling::SignalLoads;
use crate::owner::embedded::commit_barrier::PendingEffect;
use crate::owner::embedded::idempotency::{IdempotencyRecord, IdempotencyRecords};
use crate::owner::embedded::loading::WaitingOps;
use crate::owner::embedded::revise;
use crate::owner::embedded::room_table::RoomTable;
use crate::owner::embedded::stored_names::StoredNames;
use crate::owner::embedded::turn::{DeferredTask, OpOutcome, OwnerCore, Turn};

pub(super) struct RoomStore {
    pub(super) rooms: RoomTable,
    /// Empty rooms that were created by joining and have stored messages, with the number of the last message.
    pub(super) unloaded: StoredNames<u64>,
    /// Rooms that storage is asked for, with the operations that wait for them.
    pub(super) loading: BTreeMap<Name, WaitingOps>,
    /// Rooms whose creation is in transit to storage, with the operations that wait for it.
    pub(super) creating: BTreeMap<Name, WaitingOps>,
    /// The rooms closed in the last [`limits::CLOSED_ROOM_MS`], by the time at which that is forgotten.
    closed: VecDeque<(u64, Name)>,
    pub(super) idempotency: IdempotencyRecords,
    /// The idempotency records of backends, which are kept longer.
    pub(super) publications: IdempotencyRecords,
    signals: SignalLoads,
}

/// The room at a place that was found in this turn.
pub(super) fn room_at(rooms: &mut Table<Box<Room>>, place: u32) -> &mut Room {
    rooms.at_mut(place).expect("rooms: a found room is present")
}

/// The target of log lines about rooms.
const ROOM_LOG: &str = "switchboard::room";

/// Logs that a room without members has ended.
pub(super) fn log_idle_end(room: &Name) {
    tracing::info!(target: ROOM_LOG, room = &**room, reason = "idle", "room ended");
}

/// Logs and reports that a room was created.
fn log_created(turn: &mut Turn<'_>, room: &Name, by: Name) {
    tracing::info!(target: ROOM_LOG, room = &**room, by = &*by, "room created");
    turn.hook(HookKind::RoomCreated, || HookChange::RoomCreated { room: room.clone(), by });
}

/// Reports that a room is gone.
pub(super) fn hook_closed(turn: &mut Turn<'_>, room: &Name, reason: &'static str) {
    turn.hook(HookKind::RoomClosed, || HookChange::RoomClosed { room: room.clone(), reason });
}

impl RoomStore {
    pub(super) fn new(seed: u64, idempotency_seeds: [u64; 2]) -> Self {
        Self {
            rooms: RoomTable::new(seed),
            unloaded: StoredNames::new(seed),
            loading: BTreeMap::new(),
            creating: BTreeMap::new(),
            closed: VecDeque::new(),
            idempotency: IdempotencyRecords::new(idempotency_seeds, limits::REPEAT_MS, limits::REPEATS),
            publications: IdempotencyRecords::new(
                idempotency_seeds,
                limits::REPEATED_PUBLICATION_MS,
                limits::REPEATED_PUBLICATIONS,
            ),
            signals: SignalLoads::new(seed),
        }
    }

    /// The place of the room that `op` acts on. A join creates the room.
    pub(super) fn open(&mut self, turn: &mut Turn<'_>, name: &Name, op: &RoomOp) -> Result<u32, Reject> {
        if let Some(place) = self.rooms.find(name) {
            return Ok(place);
        }
        match op {
            RoomOp::Join(join) if join.create => {
                let room = Room::by_joining(name.clone(), &join.by, &mut turn.context());
                log_created(turn, name, join.by.user_name());
                Ok(self.rooms.insert(Box::new(room)))
            }
            RoomOp::Rejoin(_)
            | RoomOp::Describe { .. }
            | RoomOp::Update { .. }
            | RoomOp::Close { .. }
            | RoomOp::RemoveMember { .. } => Err(Reject::room_not_found()),
            _ if self.closed.iter().any(|(_, closed)| closed == name) => Err(Reject::room_closed()),
            _ => Err(Reject::room_not_found()),
        }
    }

    /// Creates a room on purpose, once its record is committed.
    pub(super) fn create(
        &mut self,
        turn: &mut Turn<'_>,
        name: Name,
        (by, profile, terms): (Identity, Box<Profile>, LogTerms),
        is_locked: bool,
    ) -> OpOutcome {
        let mut room = Room::new(name, &by, Some(profile), terms, &mut turn.context());
        room.is_locked = is_locked;
        if !turn.rules().has_store {
            return Ok(Some(self.created(turn, room)));
        }
        turn.check_store()?;
        let record = Record::RoomMade(Box::new(room.made(turn.rules(), by.user_name())));
        room.log.note_made();
        let former = self.creating.insert(room.id.clone(), Vec::new());
        assert!(former.is_none(), "rooms: operations on a room wait for its creation");
        turn.hold([record], PendingEffect::RoomCreation(Box::new(room)));
        Ok(None)
    }

    /// Adds a room whose record, if any, is committed.
    pub(super) fn created(&mut self, turn: &mut Turn<'_>, room: Room) -> Reply {
        let reply = Reply::Room(Box::new(room.view(0)));
        log_created(turn, &room.id, room.view(0).host);
        self.insert(turn, room);
        reply
    }

    /// Adds a room and schedules its end.
    pub(super) fn insert(&mut self, turn: &mut Turn<'_>, room: Room) {
        let place = self.rooms.insert(Box::new(room));
        turn.defer_room(room_at(&mut self.rooms, place));
    }

    /// Applies one operation. Without a record it is replied to and published at once.
    pub(super) fn act(&mut self, turn: &mut Turn<'_>, place: u32, op: RoomOp) -> OpOutcome {
        let room = room_at(&mut self.rooms, place);
        let (is_close, is_departure) = (matches!(op, RoomOp::Close { .. }), op.is_departure());
        let outcome = room.apply(op, &mut turn.context());
        turn.defer_room(room);
        if is_departure && outcome.is_ok() && room.log.has_uncommitted() && !turn.has_records() {
            turn.publish_departure(room);
            return outcome.map(Some);
        }
        let is_closed = is_close && outcome.is_ok();
        let outcome = turn.publish_or_hold(room, outcome, is_closed, (0, None));
        if is_closed {
            let name = room.id.clone();
            self.remove_closed(turn, name);
        }
        outcome
    }

    /// Relays a signaling message of a member, unless its receiver has been relayed too much.
    pub(super) fn relay(&mut self, turn: &mut Turn<'_>, place: u32, signal: Box<RelaySignal>) -> OpOutcome {
        let room = room_at(&mut self.rooms, place);
        if sender_of(room, signal.connection).is_ok()
            && let Ok(target) = room.members.reachable(&signal.to)
        {
            let (to, most) = (target.connection, turn.rules().signal_bytes);
            if let Err(reject) = self.signals.spend(turn.now, to, signal.body.len(), most) {
                room.touch(turn.now);
                return Err(reject);
            }
        }
        self.act(turn, place, RoomOp::RelaySignal(signal))
    }

    /// Before an arrival: publishes the departures that wait for messages to be committed, so that arrivals and departures
    /// keep their order.
    pub(super) fn publish_departures(&mut self, turn: &mut Turn<'_>, name: &Name, op: &RoomOp) {
        if op.is_arrival()
            && let Some(room) = self.rooms.get(name)
        {
            for events in turn.core.barrier.take_departures(name) {
                turn.publish_events(room, events, false);
            }
        }
    }

    /// Sends a message to the members: at once, or when its record is committed.
    pub(super) fn send(&mut self, turn: &mut Turn<'_>, place: u32, message: SendMessage) -> OpOutcome {
        let room = room_at(&mut self.rooms, place);
        let publisher = message.publisher.clone();
        let sender = match &publisher {
            Some(publisher) => publisher.identity.clone(),
            None => sender_of(room, message.connection)?,
        };
        let records = if publisher.is_some() { &mut self.publications } else { &mut self.idempotency };
        let client_id = message.client_message_id.as_deref();
        let idempotency_key = client_id.map(|id| records.key(&room.id, room.log.epoch(), sender.user(), id));
        let reply_to = |sent: Sent, room: &Room| match &publisher {
            Some(publisher) => {
                let outcome = Ok((sent, room.log.epoch().clone()));
                Reply::Published(vec![Publication { part: publisher.part, outcome }])
            }
            None => Reply::Sent(sent),
        };
        if let Some(known) = idempotency_key.and_then(|key| records.find(key)) {
            let reply = reply_to(known.sent(), room);
            if known.seq <= room.log.committed() {
                return Ok(Some(reply));
            }
            turn.hold([], PendingEffect::Reply(reply));
            return Ok(None);
        }
        if room.log.is_kept(turn.rules()) {
            turn.check_store()?;
        }
        if revise::needs_lookup(room, &message, turn.rules()) {
            revise::look_up(turn, room.id.clone(), message);
            return Ok(None);
        }
        let is_stream = message.stream.is_some();
        let outcome = room.send(message, &mut turn.context());
        let seq = room.log.seq();
        if let (Some(key), Ok(Reply::Sent(sent))) = (idempotency_key, &outcome) {
            let seq = sent.seq.unwrap_or_default();
            records.note(turn.now, key, IdempotencyRecord { id: sent.id, seq, at: sent.at }, 0);
        }
        let outcome = outcome.map(|reply| match reply {
            Reply::Sent(sent) => reply_to(sent, room),
            other => other,
        });
        // Members keep a room awake; a backend's message may be all that happens in it.
        let is_awake_for_backend = publisher.is_some() && outcome.is_ok() && !turn.has_records();
        let outcome = turn.publish_or_hold(room, outcome, false, (seq, idempotency_key));
        if is_awake_for_backend || is_stream {
            turn.defer_room(room);
        }
        outcome
    }

    /// Removes a room that was closed, and remembers it for a while.
    fn remove_closed(&mut self, turn: &mut Turn<'_>, name: Name) {
        tracing::info!(target: ROOM_LOG, room = &*name, reason = "closed", "room ended");
        if let Some(room) = self.rooms.get(&name) {
            turn.context().hook_end(&room.id, &room.members);
        }
        hook_closed(turn, &name, "closed");
        self.rooms.remove(&name);
        if self.closed.len() == limits::CLOSED_ROOMS {
            self.closed.pop_front();
        }
        self.closed.push_back((turn.now.mono + limits::CLOSED_ROOM_MS, name));
    }

    /// [`DeferredTask::EndRoom`]: ends the room if it has been idle long enough.
    pub(super) fn end_if_idle(&mut self, turn: &mut Turn<'_>, name: Name) {
        if let Some(room) = self.rooms.get_mut(&name) {
            match room.ends_at() {
                Some(at) if at <= turn.now.mono => self.end(turn, name),
                Some(at) => turn.defer(at, DeferredTask::EndRoom(name)),
                None => room.end_is_due = false,
            }
        }
    }

    /// Ends an idle room: one with stored messages is unloaded, another that storage knows is deleted there.
    fn end(&mut self, turn: &mut Turn<'_>, name: Name) {
        let room = self.rooms.get_mut(&name).expect("rooms: a room that ends is present");
        let (keep_ms, wall) = (turn.rules().keep_ms, turn.now.wall);
        let is_fresh = |room: &UnloadedRoom| keep_ms == 0 || wall.saturating_sub(room.last_at) < keep_ms;
        if let Some(unloaded) = room.unload(turn.rules()).filter(is_fresh) {
            self.unload(&name, unloaded.last);
        } else if !room.log.is_made() {
            log_idle_end(&name);
            hook_closed(turn, &name, "idle");
            self.rooms.remove(&name);
        } else if !turn.core.barrier.is_open(turn.now) {
            turn.defer_by(limits::JOINED_ROOM_IDLE_MS, DeferredTask::EndRoom(name));
        } else {
            self.delete(turn, name);
        }
    }

    fn unload(&mut self, name: &Name, last: u64) {
        log_idle_end(name);
        self.rooms.remove(name);
        self.unloaded.insert(name, last);
    }

    /// Deletes a loaded room without members, once its record is committed.
    pub(super) fn delete(&mut self, turn: &mut Turn<'_>, name: Name) {
        let room = self.rooms.get_mut(&name).expect("rooms: a room that ends is present");
        room.is_closing = true;
        let record = Record::RoomClosed { room: name.clone() };
        turn.hold([record], PendingEffect::RoomDeletion { room: name });
    }

    /// The number of the last message of a room; 0 if this owner does not have it.
    pub(super) fn last_message(&self, name: &str) -> u64 {
        let loaded = self.rooms.get(name).map(|room| room.log.committed());
        loaded.or_else(|| self.unloaded.get(name)).unwrap_or_default()
    }

    /// Forgets closed rooms and idempotency records whose time is over.
    pub(super) fn expire(&mut self, turn: &Turn<'_>) {
        while self.closed.pop_front_if(|(until, _)| *until <= turn.now.mono).is_some() {}
        self.idempotency.tick(turn.now);
        self.publications.tick(turn.now);
    }

    pub(super) fn check_invariants(&self, core: &OwnerCore) {
        self.rooms.check_invariants();
        for room in self.rooms.iter() {
            room.check_invariants();
            assert!(!self.loading.contains_key(&room.id), "rooms: a loaded room is not requested");
            let is_ending = room.ends_at().is_some() && !core.requests.is_returning(&room.id);
            assert!(
                !is_ending || core.tasks.iter().any(|task| *task == DeferredTask::EndRoom(room.id.clone())),
                "rooms: each idle room has a deadline"
            );
        }
        for effect in core.barrier.held() {
            if let PendingEffect::RoomEvents { room, seq, .. } = effect
                && let Some(room) = self.rooms.get(room)
            {
                assert!(
                    *seq <= room.log.seq(),
                    "rooms: each pending message has a sequence number that its room has issued"
                );
            }
        }
        self.unloaded.check_invariants();
        for room in self.creating.keys() {
            assert!(!self.rooms.contains(room), "rooms: a room whose creation is in transit is not there");
        }
        for room in self.loading.keys() {
            assert!(core.requests.loads(room), "rooms: storage is asked for each room that operations wait for");
        }
        assert!(self.closed.len() <= limits::CLOSED_ROOMS, "rooms: remembered closed rooms are within their limit");
        assert!(self.closed.iter().is_sorted_by_key(|(at, _)| at), "rooms: remembered closed rooms are in order");
        self.idempotency.check_invariants();
        self.publications.check_invariants();
    }
}
