//! The users of a shard: their connections and presence, registrations, REST quotas and direct messages.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::base::Name;
use crate::base::ids::ConnectionId;
use crate::base::limits;
use crate::base::table::Table;
use crate::base::time::Now;
use crate::dialect::encoded_event::EncodedEvent;
use crate::domain::access::{Identity, is_guest_name};
use crate::domain::command::Status;
use crate::domain::event::Event;
use crate::domain::op::{AddressedEvent, Audience, PushResult, Reply, Scope, UserOp};
use crate::domain::record::Record;
use crate::domain::registration::Registrations;
use crate::domain::reject::Reject;
use crate::domain::user::{User, user_not_found};
use crate::message::storage::StorageQuery;
use crate::message::{OwnerMessage, PresenceUpdate, ShardMessage, ShardNumber, UpdateReach};
use crate::owner::embedded::commit_barrier::PendingEffect;
use crate::owner::embedded::direct_messages::DirectDeliveries;
use crate::owner::embedded::pushes::Pushes;
use crate::owner::embedded::rest_quotas::RestQuotas;
use crate::owner::embedded::storage_requests::StorageRequest;
use crate::owner::embedded::turn::{DeferredTask, OpOutcome, OwnerCore, Turn};

/// With `presence.scope = "auto"` up to this many users receive the presence of all others.
const TELL_ALL_UP_TO: usize = 5_000;

pub(super) struct UserStore {
    pub(super) users: Table<User>,
    /// The number of users that appear online.
    pub(super) shown: usize,
    /// The number of the last presence update.
    updates: u64,
    /// The users that arrived in the last [`limits::ARRIVAL_NOTED_MS`], by the time at which that is recorded.
    arrivals: VecDeque<(u64, Name)>,
    registrations: Registrations,
    quotas: RestQuotas,
    pub(super) pushes: Pushes,
}

impl UserStore {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            users: Table::new(seed),
            shown: 0,
            updates: 0,
            arrivals: VecDeque::new(),
            registrations: Registrations::new(seed),
            quotas: RestQuotas::new(seed),
            pushes: Pushes::default(),
        }
    }

    /// The users that may not be in the store yet; some may have left.
    pub(super) fn arrivals(&self) -> impl Iterator<Item = &Name> {
        self.arrivals.iter().map(|(_, name)| name)
    }

    /// The ids of the present users.
    pub(super) fn names(&self) -> impl Iterator<Item = Name> {
        self.users.iter().map(|user| user.identity.user_name())
    }

    /// Whether a user is connected or in the grace period.
    pub(super) fn is_present(&self, name: &str) -> bool {
        self.users.contains(name)
    }

    /// The connections of a user; none of an unknown one.
    pub(super) fn connections_of(&self, name: &str) -> &[ConnectionId] {
        self.users.get(name).map_or(&[], |user| user.connections.as_slice())
    }

    pub(super) fn apply(
        &mut self,
        turn: &mut Turn<'_>,
        directs: &mut DirectDeliveries,
        name: Name,
        op: UserOp,
    ) -> OpOutcome {
        match op {
            UserOp::SpendRestQuota { per_minute } => {
                self.quotas.spend(turn.now, name, per_minute).map(|()| Some(Reply::Done))
            }
            UserOp::BeginPush { key } => self.pushes.begin(turn, name, key),
            UserOp::EndPush { key, result } => self.pushes.end(turn, name, key, result),
            UserOp::CountRoom { .. } => {
                if !turn.rules().has_store || turn.rules().rooms_per_user == 0 {
                    return Ok(Some(Reply::Done));
                }
                turn.request(StorageRequest::MadeRooms, StorageQuery::MadeRooms { user: name });
                Ok(None)
            }
            UserOp::RegisterSocket { socket, device } => {
                let known = self.registrations.register(&name, socket, device, turn.now)?;
                Ok(Some(known.map_or(Reply::Registered(None), |live| Reply::Connections(vec![live]))))
            }
            UserOp::UnregisterSocket { socket } => {
                self.registrations.unregister(&name, &socket).map(|()| Some(Reply::Done))
            }
            UserOp::Push { direct, keep: true } if turn.rules().has_store => directs.push(turn, self, name, direct),
            UserOp::Send { by, content } => directs.send(turn, self, name, (by, *content)),
            UserOp::Attach { connection, by, socket } => self.attach(turn, directs, name, (connection, by, socket)),
            UserOp::Detach { connection, .. } => {
                self.registrations.disconnected(&name, connection);
                let reply = self.apply_to_user(turn, &name, op)?;
                directs.disconnected(turn, self, &name, connection);
                self.schedule_offline(turn, name);
                Ok(Some(reply))
            }
            op if self.users.contains(&name) => {
                let reply = self.apply_to_user(turn, &name, op)?;
                self.schedule_offline(turn, name);
                Ok(Some(reply))
            }
            op => self.apply_to_unknown(turn, name, &op),
        }
    }

    /// Applies an operation to a user without connections and outside the grace period.
    fn apply_to_unknown(&mut self, turn: &mut Turn<'_>, user: Name, op: &UserOp) -> OpOutcome {
        match op {
            UserOp::ListConnections => Ok(Some(Reply::Connections(Vec::new()))),
            UserOp::Push { .. } => Ok(Some(Reply::Pushed(PushResult { reached: 0, offline: vec![user] }))),
            UserOp::Describe { .. } if turn.rules().has_store => {
                if turn.core.barrier.is_busy() {
                    turn.hold([], PendingEffect::UserLookup { user });
                } else {
                    Self::look_up(turn, user);
                }
                Ok(None)
            }
            // A status that a client sets is for the time of its connections.
            UserOp::SetStatus { status, last_seen, by: None } => {
                if turn.rules().has_store && !is_guest_name(&user) {
                    turn.check_store()?;
                    let last_seen = last_seen.map(|at| at.min(turn.now.wall));
                    let record = Record::AbsenceSet { user, status: *status, last_seen };
                    turn.hold([record], PendingEffect::Reply(Reply::Done));
                    return Ok(None);
                }
                Ok(Some(Reply::Done))
            }
            _ => Err(user_not_found()),
        }
    }

    /// Requests the last presence of an offline user.
    pub(super) fn look_up(turn: &mut Turn<'_>, user: Name) {
        turn.request(StorageRequest::LastSeen, StorageQuery::User { user });
    }

    fn attach(
        &mut self,
        turn: &mut Turn<'_>,
        directs: &mut DirectDeliveries,
        name: Name,
        (connection, by, socket): (ConnectionId, Identity, Option<Name>),
    ) -> OpOutcome {
        if !self.users.contains(&name) {
            let user = User::new(by.clone());
            if turn.rules().outlives_process && user.is_recorded(turn.rules()) {
                self.arrivals.push_back((turn.now.mono + limits::ARRIVAL_NOTED_MS, name.clone()));
            }
            self.users.insert(user);
        }
        let mut reply = self.apply_to_user(turn, &name, UserOp::Attach { connection, by, socket: None })?;
        if let Some(socket) = socket
            && let Some(device) = self.registrations.connected(&name, socket, connection)
        {
            reply = Reply::Claimed(device);
        }
        directs.request_for_arrival(turn, self, &name);
        self.schedule_offline(turn, name);
        Ok(Some(reply))
    }

    /// Applies an operation to a known user and publishes its events.
    fn apply_to_user(&mut self, turn: &mut Turn<'_>, name: &Name, op: UserOp) -> Result<Reply, Reject> {
        let user = self.users.get_mut(name).ok_or_else(user_not_found)?;
        let was_shown = user.shown() != Status::Offline;
        let reply = user.apply(op, &mut turn.context())?;
        let is_shown = user.shown() != Status::Offline;
        self.shown = self.shown + usize::from(is_shown) - usize::from(was_shown);
        turn.keep_records();
        self.publish(turn, name);
        Ok(reply)
    }

    fn schedule_offline(&mut self, turn: &mut Turn<'_>, name: Name) {
        match self.users.get(&name).and_then(User::offline_at) {
            Some(at) if at <= turn.now.mono => self.go_offline(turn, &name),
            Some(at) => turn.defer(at, DeferredTask::GoOffline(name)),
            None => {}
        }
    }

    /// Removes a user whose grace period has ended.
    pub(super) fn go_offline_if_due(&mut self, turn: &mut Turn<'_>, name: &Name) {
        if self.users.get(name).and_then(User::offline_at).is_some_and(|at| at <= turn.now.mono) {
            self.go_offline(turn, name);
        }
    }

    fn go_offline(&mut self, turn: &mut Turn<'_>, name: &Name) {
        let user = self.users.get_mut(name).expect("users: a user that goes offline is present");
        debug_assert!(user.connections.is_empty(), "invariant: a user that goes offline has no connection");
        user.go_offline(&mut turn.context());
        turn.keep_records();
        self.publish(turn, name);
        self.users.remove(name);
    }

    /// Records the users that arrived a while ago and are still present. A shorter stay is recorded at its end only.
    pub(super) fn record_arrivals(&mut self, turn: &mut Turn<'_>) {
        if self.arrivals.front().is_none_or(|(due, _)| *due > turn.now.mono) {
            return;
        }
        while let Some((_, name)) = self.arrivals.pop_front_if(|(due, _)| *due <= turn.now.mono) {
            if let Some(user) = self.users.get(&name) {
                user.record_presence(&mut turn.context());
            }
        }
        if self.arrivals.is_empty() {
            self.arrivals = VecDeque::new();
        }
        turn.keep_records();
    }

    /// Delivers an event to every connection of a user.
    pub(super) fn notify(&self, turn: &mut Turn<'_>, user: &Name, event: &Event) {
        for &to in self.connections_of(user) {
            turn.deliver(to, event.clone());
        }
    }

    /// Publishes the events of an operation on a user.
    fn publish(&mut self, turn: &mut Turn<'_>, name: &Name) {
        let is_silent = turn.rules().presence_scope == Scope::None;
        let mut events = std::mem::take(&mut turn.core.events);
        for AddressedEvent { audience, event } in events.drain(..) {
            match audience {
                Audience::Connection(to) => turn.deliver(to, event),
                Audience::Observers { except, rooms } if !is_silent => {
                    let update = self.presence_update(turn, name, except, &event);
                    self.publish_to_observers(turn, name, rooms, &update);
                }
                Audience::Acquaintances { connection, room } if !is_silent && !self.presence_reaches_all(turn.core) => {
                    let update = self.presence_update(turn, name, Some(connection), &event);
                    send_to_room(turn, room, update);
                }
                Audience::Observers { .. } | Audience::Acquaintances { .. } => {}
                Audience::Members { .. } | Audience::User(_) => {
                    debug_assert!(false, "invariant: a user publishes no events of rooms");
                }
            }
        }
        debug_assert!(turn.core.events.is_empty(), "invariant: publishing an event causes no other");
        turn.core.events = events;
    }

    /// Publishes a presence update to all users, or to the users that share a room. `rooms` are those of connections that
    /// have ended.
    fn publish_to_observers(&self, turn: &mut Turn<'_>, name: &Name, rooms: Vec<Name>, update: &Arc<PresenceUpdate>) {
        if self.presence_reaches_all(turn.core) {
            for shard in 0..turn.core.placement.shards() as ShardNumber {
                let (reach, update) = (UpdateReach::Everyone, update.clone());
                turn.send(shard, ShardMessage::PresenceUpdate { reach, update });
            }
            return;
        }
        for &connection in self.connections_of(name) {
            let (reach, update) = (UpdateReach::Around(connection), update.clone());
            turn.send(connection.place().shard, ShardMessage::PresenceUpdate { reach, update });
        }
        for room in rooms {
            send_to_room(turn, room, update.clone());
        }
    }

    /// Whether every user receives the presence of all others, and not only of those who share a room.
    pub(super) fn presence_reaches_all(&self, core: &OwnerCore) -> bool {
        match core.rules.presence_scope {
            // Names hash evenly, so the total follows from the users of this shard.
            Scope::Auto => self.users.len() * core.placement.shards() <= TELL_ALL_UP_TO,
            Scope::All => true,
            Scope::Rooms | Scope::None => false,
        }
    }

    fn presence_update(
        &mut self,
        turn: &mut Turn<'_>,
        user: &Name,
        except: Option<ConnectionId>,
        event: &Event,
    ) -> Arc<PresenceUpdate> {
        self.updates += 1;
        let packed = EncodedEvent::new(event, turn.now, &mut turn.core.draft).and_for_peers(event, turn.now);
        Arc::new(PresenceUpdate { user: user.clone(), number: self.updates, except, packed })
    }

    /// Removes expired quotas and registrations.
    pub(super) fn expire(&mut self, now: Now) {
        self.quotas.tick(now);
        self.registrations.expire(now);
    }

    pub(super) fn next_due(&self) -> Option<u64> {
        let arrival = self.arrivals.front().map(|(at, _)| *at);
        [self.quotas.next_due(), arrival, self.registrations.next_due()].into_iter().flatten().min()
    }

    pub(super) fn check_invariants(&self, core: &OwnerCore) {
        let shown = self.users.iter().filter(|user| user.shown() != Status::Offline).count();
        assert_eq!(shown, self.shown, "users: shown users match their count");
        for user in self.users.iter() {
            user.check_invariants(&core.rules);
            let name = user.identity.user_name();
            assert!(
                user.offline_at().is_none()
                    || core.tasks.iter().any(|task| *task == DeferredTask::GoOffline(name.clone())),
                "users: each user in the grace period has a deadline"
            );
        }
        assert!(self.arrivals.iter().is_sorted_by_key(|(at, _)| at), "users: arrivals are in order");
        self.registrations.check_invariants();
        self.quotas.check_invariants();
    }
}

fn send_to_room(turn: &mut Turn<'_>, room: Name, update: Arc<PresenceUpdate>) {
    let owner = turn.core.placement.of(&room);
    turn.send(owner, OwnerMessage::RoomPresence { room, update });
}
