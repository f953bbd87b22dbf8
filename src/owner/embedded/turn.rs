//! One turn of the embedded owner: the state that all components share, and the effects of an operation, that is messages
//! to shards, records with the effects that wait for them, storage requests and deferred tasks.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::base::Name;
use crate::base::ids::ConnectionId;
use crate::base::rng::Rng;
use crate::base::time::Now;
use crate::dialect::encoded_event::EncodedEvent;
use crate::domain::call;
use crate::domain::event::Event;
use crate::domain::hook::{HookChange, HookEvent, HookKind};
use crate::domain::op::{AddressedEvent, Audience, OpContext, Reply, RoomRules};
use crate::domain::record::Record;
use crate::domain::reject::Reject;
use crate::domain::room::Room;
use crate::domain::streams;
use crate::message::storage::StorageQuery;
use crate::message::{Outgoing, OwnerMessage, Placement, Requester, ShardMessage, ShardNumber, ThreadMessage};
use crate::owner::embedded::commit_barrier::{CommitBarrier, PendingEffect};
use crate::owner::embedded::storage_requests::{StorageRequest, StorageRequests};

/// A room too large for announcements publishes its member count at most once in this many milliseconds.
const STATS_EVERY_MS: u64 = 1_000;

/// A room publishes its online users at most once in this many milliseconds.
const ONLINE_EVERY_MS: u64 = 100;

/// The outcome of an operation: the reply, or `None` if the reply comes later.
pub(super) type OpOutcome = Result<Option<Reply>, Reject>;

/// A deferred task. Tasks of the same millisecond run in this order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum DeferredTask {
    /// Unload or delete the room if it is idle.
    EndRoom(Name),
    /// Remove the member unless its connection has been recovered.
    RemoveMember(Name, ConnectionId),
    PublishStats(Name),
    PublishOnline(Name),
    EndTyping(Name),
    /// Have the media of the room's callers go from peer to peer again, if that is due.
    ReturnMode(Name),
    /// End the streams of the room that get no pieces.
    EndStreams(Name),
    GoOffline(Name),
    RequestDirects(Name),
}

/// Deferred tasks by deadline, in monotonic milliseconds.
#[derive(Default)]
pub(super) struct DeferredTasks(BTreeMap<u64, BTreeSet<DeferredTask>>);

impl DeferredTasks {
    pub(super) fn next_due(&self) -> Option<u64> {
        self.0.first_key_value().map(|(at, _)| *at)
    }

    /// Takes the tasks of the earliest deadline that has passed.
    pub(super) fn take_due(&mut self, now: Now) -> Option<BTreeSet<DeferredTask>> {
        let first = self.0.first_entry().filter(|entry| *entry.key() <= now.mono)?;
        Some(first.remove())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &DeferredTask> {
        self.0.values().flatten()
    }
}

/// The state that all components of the owner share.
pub(super) struct OwnerCore {
    pub(super) number: ShardNumber,
    pub(super) rules: Arc<RoomRules>,
    pub(super) placement: Placement,
    pub(super) rng: Rng,
    pub(super) barrier: CommitBarrier,
    pub(super) requests: StorageRequests,
    pub(super) tasks: DeferredTasks,
    /// The events and records of the current operation; empty between operations.
    pub(super) events: Vec<AddressedEvent>,
    records: Vec<Record>,
    hooks: Vec<HookEvent>,
    /// The buffer that events are encoded in; empty between uses.
    pub(super) draft: Vec<u8>,
}

impl OwnerCore {
    pub(super) fn new(number: ShardNumber, rules: Arc<RoomRules>, placement: Placement, rng: Rng) -> Self {
        Self {
            number,
            rules,
            placement,
            rng,
            barrier: CommitBarrier::new(number),
            requests: StorageRequests::default(),
            tasks: DeferredTasks::default(),
            events: Vec::new(),
            records: Vec::new(),
            hooks: Vec::new(),
            draft: Vec::new(),
        }
    }

    pub(super) fn check_invariants(&self) {
        assert!(self.events.is_empty(), "owner: each operation publishes all its events");
        assert!(self.records.is_empty(), "owner: each operation commits all its records");
        assert!(self.hooks.is_empty(), "owner: each operation stores all its hook events");
        self.barrier.check_invariants();
        self.requests.check_invariants();
    }
}

/// The inputs and effects of one turn.
pub(super) struct Turn<'a> {
    pub(super) now: Now,
    /// The requester of the present operation, if there is one.
    pub(super) to: Option<Requester>,
    pub(super) core: &'a mut OwnerCore,
    pub(super) out: &'a mut Vec<Outgoing>,
}

impl Turn<'_> {
    /// The context in which a room or a user applies an operation.
    pub(super) fn context(&mut self) -> OpContext<'_> {
        let OwnerCore { rng, rules, events, records, hooks, .. } = &mut *self.core;
        OpContext { now: self.now, rng, rules, events, records, hooks }
    }

    pub(super) fn rules(&self) -> &RoomRules {
        &self.core.rules
    }

    pub(super) fn send(&mut self, shard: ShardNumber, message: impl Into<ThreadMessage>) {
        self.out.push((shard, message.into()));
    }

    pub(super) fn deliver(&mut self, to: ConnectionId, event: Event) {
        self.out.push((to.place().shard, ShardMessage::Deliver { to, event }.into()));
    }

    pub(super) fn reply(&mut self, reply: Result<Reply, Reject>) {
        if let Some(to) = self.to {
            self.out.push(to.reply(reply));
        }
    }

    /// Does further work of an operation that no reply waits for.
    pub(super) fn without_reply(&mut self, work: impl FnOnce(&mut Self)) {
        let to = self.to.take();
        work(self);
        self.to = to;
    }

    pub(super) fn reply_unless_later(&mut self, outcome: OpOutcome) {
        if let Some(reply) = outcome.transpose() {
            self.reply(reply);
        }
    }

    /// Sends the reply of an operation, unless it comes later, before the events that the operation has caused: those from
    /// `at` on. So a member that leaves gets its reply before later events.
    pub(super) fn reply_at(&mut self, at: usize, outcome: OpOutcome) {
        if let (Some(reply), Some(to)) = (outcome.transpose(), self.to) {
            self.out.insert(at, to.reply(reply));
        }
    }

    /// Rejects an operation that needs storage while storage accepts no records.
    pub(super) fn check_store(&self) -> Result<(), Reject> {
        self.core.barrier.is_open(self.now).then_some(()).ok_or_else(Reject::storage_unavailable)
    }

    pub(super) fn hold(&mut self, records: impl IntoIterator<Item = Record>, effect: PendingEffect) {
        self.core.barrier.hold(records, effect, self.to);
    }

    /// Holds an effect in a batch of its own.
    pub(super) fn hold_alone(&mut self, record: Record, effect: PendingEffect) {
        self.core.barrier.hold_alone(self.now, record, effect, self.to);
    }

    pub(super) fn has_records(&self) -> bool {
        !self.core.records.is_empty()
    }

    /// Stores a change for the application, if an endpoint wants such events.
    pub(super) fn hook(&mut self, kind: HookKind, change: impl FnOnce() -> HookChange) {
        self.context().hook(kind, change);
        self.keep_hooks();
    }

    /// Stores the hook events of the operation, in the batch of its records; no effect waits for them.
    pub(super) fn keep_hooks(&mut self) {
        let OwnerCore { barrier, hooks, .. } = &mut *self.core;
        if hooks.is_empty() {
            return;
        }
        barrier.keep(hooks.drain(..).map(|event| Record::Hook(Box::new(event))));
    }

    /// Commits the records of the operation; no effect waits for them.
    pub(super) fn keep_records(&mut self) {
        self.keep_hooks();
        self.core.barrier.keep(self.core.records.drain(..));
    }

    pub(super) fn request(&mut self, request: StorageRequest, query: StorageQuery) {
        let ask = self.core.requests.insert(request, self.to);
        self.core.barrier.query(ask, query);
    }

    /// Runs a task at `at`, in monotonic milliseconds.
    pub(super) fn defer(&mut self, at: u64, task: DeferredTask) {
        self.core.tasks.0.entry(at).or_default().insert(task);
    }

    pub(super) fn defer_by(&mut self, ms: u64, task: DeferredTask) {
        self.defer(self.now.mono + ms, task);
    }

    /// Defers the tasks that a room needs after an operation.
    pub(super) fn defer_room(&mut self, room: &mut Room) {
        if let Some(at) = room.ends_at()
            && !std::mem::replace(&mut room.end_is_due, true)
        {
            self.defer(at, DeferredTask::EndRoom(room.id.clone()));
        }
        if let Some(at) = room.typing_due() {
            self.defer(at, DeferredTask::EndTyping(room.id.clone()));
        }
        if let Some(at) = call::due(room) {
            self.defer(at, DeferredTask::ReturnMode(room.id.clone()));
        }
        if let Some(at) = streams::take_due(room) {
            self.defer(at, DeferredTask::EndStreams(room.id.clone()));
        }
        if room.uncounted {
            self.defer(self.next_multiple(STATS_EVERY_MS), DeferredTask::PublishStats(room.id.clone()));
        }
        if room.is_online_news {
            self.defer(self.next_multiple(ONLINE_EVERY_MS), DeferredTask::PublishOnline(room.id.clone()));
        }
    }

    fn next_multiple(&self, of_ms: u64) -> u64 {
        self.now.mono - self.now.mono % of_ms + of_ms
    }

    /// Publishes the events of an operation on `room`; the list keeps its memory.
    pub(super) fn publish(&mut self, room: &Room, is_closed: bool) {
        let mut events = std::mem::take(&mut self.core.events);
        self.publish_events(room, events.drain(..), is_closed);
        debug_assert!(self.core.events.is_empty(), "invariant: publishing an event causes no other");
        self.core.events = events;
    }

    /// Publishes events of `room`. An event for the members is encoded once and sent to each shard that has a member.
    pub(super) fn publish_events(
        &mut self,
        room: &Room,
        events: impl IntoIterator<Item = AddressedEvent>,
        is_closed: bool,
    ) {
        for AddressedEvent { audience, event } in events {
            match audience {
                Audience::Members { except } => self.publish_to_members(room, except, &event, is_closed),
                Audience::Connection(to) => self.deliver(to, event),
                Audience::User(user) => {
                    let shard = self.core.placement.of(&user);
                    self.send(shard, OwnerMessage::NotifyUser { user, event });
                }
                Audience::Observers { .. } | Audience::Acquaintances { .. } => {
                    debug_assert!(false, "invariant: a room publishes no presence of users");
                }
            }
        }
    }

    fn publish_to_members(&mut self, room: &Room, except: Option<ConnectionId>, event: &Event, is_closed: bool) {
        if !room.members.hear(except) {
            return;
        }
        let mut packed = EncodedEvent::new(event, self.now, &mut self.core.draft);
        if room.members.has_peers() {
            packed = packed.and_for_peers(event, self.now);
        }
        let packed = Arc::new(packed);
        for shard in room.members.shards() {
            let (room, packed) = (room.id.clone(), packed.clone());
            let message = match is_closed {
                true => ShardMessage::Close { room, packed },
                false => ShardMessage::Publish { room, except, packed },
            };
            self.out.push((shard, message.into()));
        }
    }

    /// Publishes one event to all members of a room.
    pub(super) fn publish_event(&mut self, room: &Room, event: Event) {
        self.publish_to_members(room, None, &event, false);
    }

    /// Publishes the events of an operation, or holds them until its records are committed.
    ///
    /// `seq` is the sequence number of the message among the events, or 0.
    pub(super) fn publish_or_hold(
        &mut self,
        room: &Room,
        outcome: Result<Reply, Reject>,
        is_closed: bool,
        (seq, idempotency_key): (u64, Option<u128>),
    ) -> OpOutcome {
        self.keep_hooks();
        if !self.has_records() {
            self.publish(room, is_closed);
            return outcome.map(Some);
        }
        let reply = outcome.expect("room: a rejected operation leaves no record");
        let OwnerCore { barrier, events, records, .. } = &mut *self.core;
        let (room, events) = (room.id.clone(), events.drain(..).collect());
        let effect = PendingEffect::RoomEvents { room, reply, events, seq, idempotency_key };
        barrier.hold(records.drain(..), effect, self.to);
        Ok(None)
    }

    /// Publishes a departure after the messages sent before it. The member that leaves gets its own events now, and none of
    /// the later ones: as a former member it would get only some of them.
    pub(super) fn publish_departure(&mut self, room: &Room) {
        self.keep_hooks();
        let is_for_members = |event: &mut AddressedEvent| !matches!(event.audience, Audience::Connection(_));
        let events: SmallVec<[AddressedEvent; 1]> = self.core.events.extract_if(.., is_for_members).collect();
        self.publish(room, false);
        if !events.is_empty() {
            self.hold([], PendingEffect::Departure { room: room.id.clone(), events });
        }
    }
}
