//! Direct messages: stored first, then delivered to the connections of their user, and deleted once a connection has
//! acknowledged them. A message for an offline user waits for the next connection.
//!
//! Storage may be asked for waiting messages while some of them are in transit, to storage or to a connection. The stages
//! noted here prevent a second delivery of those.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use smallvec::SmallVec;
use uuid::Uuid;

use crate::base::Name;
use crate::base::ids::ConnectionId;
use crate::base::limits;
use crate::domain::access::Identity;
use crate::domain::event::{Content, Direct, Event};
use crate::domain::op::{Reply, Sent};
use crate::domain::record::Record;
use crate::domain::reject::Reject;
use crate::domain::user::user_not_found;
use crate::message::ShardMessage;
use crate::message::storage::{PAGE_MESSAGES, StorageQuery, StorageReply, Unavailable};
use crate::owner::embedded::commit_barrier::{CommitBarrier, PendingEffect};
use crate::owner::embedded::storage_requests::{StorageRequest, StorageResult};
use crate::owner::embedded::stored_names::StoredNames;
use crate::owner::embedded::turn::{DeferredTask, OpOutcome, OwnerCore, Turn};
use crate::owner::embedded::users::UserStore;

/// The stage of a direct message.
#[derive(Debug, PartialEq, Eq)]
enum DeliveryStage {
    /// In transit to storage.
    Storing,
    /// Delivered to these connections, none of which has acknowledged it.
    Delivered(SmallVec<[ConnectionId; 2]>),
    /// Acknowledged; the record of that is in transit to storage.
    Acknowledged,
    /// Acknowledged, but storage refused the record.
    AckRefused,
    /// Deleted from storage, but a result that includes it may be in transit.
    Deleted,
}

pub(super) struct DirectDeliveries {
    /// The messages in transit, by user; users without any are absent.
    stages: BTreeMap<Name, Vec<(Uuid, DeliveryStage)>>,
    /// The users whose waiting messages are requested from storage.
    requested: BTreeSet<Name>,
    /// The users for whom messages wait in storage.
    waiting: StoredNames<()>,
}

impl DirectDeliveries {
    pub(super) fn new(seed: u64) -> Self {
        Self { stages: BTreeMap::new(), requested: BTreeSet::new(), waiting: StoredNames::new(seed) }
    }

    /// Notes that messages wait in storage for a user.
    pub(super) fn note_waiting(&mut self, user: &Name) {
        self.waiting.insert(user, ());
    }

    fn set_stage(&mut self, user: &Name, id: Uuid, stage: DeliveryStage) {
        match self.stage(user, id) {
            Some(known) => *known = stage,
            None => self.stages.entry(user.clone()).or_default().push((id, stage)),
        }
    }

    fn stage(&mut self, user: &Name, id: Uuid) -> Option<&mut DeliveryStage> {
        let (_, stage) = self.stages.get_mut(user)?.iter_mut().find(|(known, _)| *known == id)?;
        Some(stage)
    }

    /// Keeps the messages of a user that `keep` selects; whether it removed any.
    fn retain(&mut self, user: &Name, mut keep: impl FnMut(Uuid, &mut DeliveryStage) -> bool) -> bool {
        let mut none = Vec::new();
        let known = self.stages.get_mut(user).unwrap_or(&mut none);
        let before = known.len();
        known.retain_mut(|(id, stage)| keep(*id, stage));
        let is_removed = known.len() < before;
        if known.is_empty() {
            self.stages.remove(user);
        }
        is_removed
    }

    fn remove(&mut self, user: &Name, id: Uuid) {
        self.retain(user, |known, _| known != id);
    }

    fn remove_deleted(&mut self, user: &Name) {
        self.retain(user, |_, stage| *stage != DeliveryStage::Deleted);
    }

    /// Whether a request now would return messages that were delivered already.
    fn is_delivering(&self, user: &Name) -> bool {
        let is_delivered = |(_, stage): &(Uuid, DeliveryStage)| {
            matches!(stage, DeliveryStage::Delivered(_) | DeliveryStage::Acknowledged)
        };
        self.requested.contains(user) || self.stages.get(user).is_some_and(|known| known.iter().any(is_delivered))
    }

    /// Sends a message to a user that is online or known to storage. Without storage it is delivered to the present
    /// connections only.
    pub(super) fn send(
        &mut self,
        turn: &mut Turn<'_>,
        users: &UserStore,
        user: Name,
        (by, content): (Identity, Content),
    ) -> OpOutcome {
        if !turn.rules().has_store {
            let connections = users.connections_of(&user);
            if connections.is_empty() {
                return Err(user_not_found());
            }
            let direct = new_direct(turn, by, content);
            for &to in connections {
                turn.deliver(to, Event::Direct(direct.clone()));
            }
            return Ok(Some(Reply::Sent(Sent { id: direct.id, seq: None, at: direct.at })));
        }
        turn.check_store()?;
        if users.is_present(&user) || self.waiting.get(&user).is_some() {
            self.store(turn, user, by, content);
        } else if turn.core.barrier.is_busy() {
            turn.hold([], PendingEffect::DirectToUnknownUser { user, by, content });
        } else {
            Self::look_up_recipient(turn, user, by, content);
        }
        Ok(None)
    }

    /// Requests whether storage knows the recipient of a message.
    pub(super) fn look_up_recipient(turn: &mut Turn<'_>, user: Name, by: Identity, content: Content) {
        let query = StorageQuery::User { user: user.clone() };
        turn.request(StorageRequest::Recipient { user, by, content }, query);
    }

    /// The result of [`StorageRequest::Recipient`]. The user may have connected meanwhile.
    pub(super) fn recipient_found(
        &mut self,
        turn: &mut Turn<'_>,
        users: &UserStore,
        (user, by, content): (Name, Identity, Content),
        result: StorageResult,
    ) {
        match result {
            Ok(StorageReply::User(Some(_))) => self.store(turn, user, by, content),
            Ok(_) if users.is_present(&user) => self.store(turn, user, by, content),
            Ok(_) => turn.reply(Err(user_not_found())),
            Err(Unavailable) => turn.reply(Err(Reject::storage_unavailable())),
        }
    }

    /// Stores a message. It is delivered after its commit.
    fn store(&mut self, turn: &mut Turn<'_>, user: Name, by: Identity, content: Content) {
        let direct = new_direct(turn, by, content);
        self.set_stage(&user, direct.id, DeliveryStage::Storing);
        let record = Record::DirectKept { user: user.clone(), direct: direct.clone() };
        turn.hold([record], PendingEffect::DirectMessage { user, direct });
    }

    /// A message is committed. It is delivered to the user's connections, or waits for the next one.
    pub(super) fn stored(&mut self, turn: &mut Turn<'_>, users: &UserStore, user: &Name, direct: Arc<Direct>) {
        self.deliver(turn, user, direct, users.connections_of(user).iter().copied().collect());
    }

    /// Storage has refused a message.
    pub(super) fn store_refused(&mut self, user: &Name, id: Uuid) {
        self.remove(user, id);
    }

    fn deliver(
        &mut self,
        turn: &mut Turn<'_>,
        user: &Name,
        direct: Arc<Direct>,
        connections: SmallVec<[ConnectionId; 2]>,
    ) {
        let id = direct.id;
        if connections.is_empty() {
            self.remove(user, id);
            self.note_waiting(user);
            return;
        }
        for &to in &connections {
            let (user, direct) = (user.clone(), direct.clone());
            turn.send(to.place().shard, ShardMessage::DeliverDurable { to, user, direct });
        }
        self.set_stage(user, id, DeliveryStage::Delivered(connections));
    }

    /// A connection has acknowledged a message: it is deleted from storage.
    pub(super) fn acknowledge(&mut self, barrier: &mut CommitBarrier, user: &Name, id: Uuid) {
        if let Some(stage @ (DeliveryStage::Delivered(_) | DeliveryStage::AckRefused)) = self.stage(user, id) {
            *stage = DeliveryStage::Acknowledged;
            let record = Record::DirectDelivered { user: user.clone(), id };
            barrier.hold([record], PendingEffect::DirectAck { user: user.clone(), id }, None);
        }
    }

    /// The record of an acknowledgement is committed or refused.
    pub(super) fn ack_settled(
        &mut self,
        turn: &mut Turn<'_>,
        users: &UserStore,
        user: &Name,
        id: Uuid,
        is_committed: bool,
    ) {
        if !is_committed {
            // Storage still has the message. The acknowledgement is repeated when storage returns it.
            self.set_stage(user, id, DeliveryStage::AckRefused);
            return self.note_waiting(user);
        }
        match self.requested.contains(user) {
            true => self.set_stage(user, id, DeliveryStage::Deleted),
            false => self.remove(user, id),
        }
        self.request_if_waiting(turn, users, user, None);
    }

    /// A connection has ended, perhaps before it received its messages.
    pub(super) fn disconnected(&mut self, turn: &mut Turn<'_>, users: &UserStore, user: &Name, ended: ConnectionId) {
        let is_undelivered = self.retain(user, |_, stage| match stage {
            DeliveryStage::Delivered(to) => {
                to.retain(|known| *known != ended);
                !to.is_empty()
            }
            _ => true,
        });
        if is_undelivered {
            self.note_waiting(user);
        }
        self.request_if_waiting(turn, users, user, None);
    }

    /// Storage works again: requests the waiting messages of all online users.
    pub(super) fn request_all(&mut self, turn: &mut Turn<'_>, users: &UserStore) {
        for user in users.names() {
            self.request_if_waiting(turn, users, &user, None);
        }
    }

    /// Requests the waiting messages of a user that is online: for the connection `arrival`, or for all connections.
    pub(super) fn request_if_waiting(
        &mut self,
        turn: &mut Turn<'_>,
        users: &UserStore,
        user: &Name,
        arrival: Option<ConnectionId>,
    ) {
        if !users.connections_of(user).is_empty()
            && !self.is_delivering(user)
            && (self.waiting.remove(user) || arrival.is_some() && self.waiting.is_partial())
        {
            self.requested.insert(user.clone());
            let query = StorageQuery::Directs { user: user.clone(), limit: PAGE_MESSAGES };
            turn.request(StorageRequest::Directs { user: user.clone(), arrival }, query);
        }
    }

    /// The result of [`StorageRequest::Directs`].
    pub(super) fn found(
        &mut self,
        turn: &mut Turn<'_>,
        users: &UserStore,
        user: Name,
        arrival: Option<ConnectionId>,
        result: StorageResult,
    ) {
        let present = users.connections_of(&user);
        self.requested.remove(&user);
        // If the connection that caused the request has ended, the messages are for the present ones.
        let connections: SmallVec<[ConnectionId; 2]> = match arrival.filter(|arrival| present.contains(arrival)) {
            Some(arrival) => [arrival].into_iter().collect(),
            None => present.iter().copied().collect(),
        };
        let Ok(StorageReply::Directs { directs, complete }) = result else {
            self.remove_deleted(&user);
            turn.defer_by(limits::DIRECTS_AGAIN_MS, DeferredTask::RequestDirects(user.clone()));
            return self.note_waiting(&user);
        };
        if !complete || connections.is_empty() {
            self.note_waiting(&user);
        }
        for direct in directs {
            match self.stage(&user, direct.id) {
                None if connections.is_empty() => {}
                None => self.deliver(turn, &user, Arc::new(direct), connections.clone()),
                Some(DeliveryStage::AckRefused) => self.acknowledge(&mut turn.core.barrier, &user, direct.id),
                Some(_) => {}
            }
        }
        self.remove_deleted(&user);
    }

    /// Checks the stages against the user's connections and the pending effects and requests.
    pub(super) fn check_invariants(&self, core: &OwnerCore, users: &UserStore) {
        for (user, known) in &self.stages {
            assert!(!known.is_empty(), "direct messages: a user without messages in transit is absent");
            for (id, stage) in known {
                let holds = |is_it: &dyn Fn(&PendingEffect) -> bool| core.barrier.held().any(is_it);
                let is_consistent = match stage {
                    DeliveryStage::Storing => holds(
                        &|effect| matches!(effect, PendingEffect::DirectMessage { direct, .. } if direct.id == *id),
                    ),
                    DeliveryStage::Acknowledged => {
                        holds(&|effect| matches!(effect, PendingEffect::DirectAck { id: known, .. } if known == id))
                    }
                    DeliveryStage::Delivered(to) => {
                        !to.is_empty() && to.iter().all(|to| users.connections_of(user).contains(to))
                    }
                    DeliveryStage::Deleted => self.requested.contains(user),
                    DeliveryStage::AckRefused => true,
                };
                assert!(is_consistent, "direct messages: {stage:?} has the effect or the connection it waits for");
            }
        }
        self.waiting.check_invariants();
        for user in &self.requested {
            assert!(core.requests.asks_directs_of(user), "direct messages: each requested user has a storage request");
        }
    }
}

fn new_direct(turn: &mut Turn<'_>, sender: Identity, content: Content) -> Arc<Direct> {
    Arc::new(Direct { is_pushed: false, id: turn.context().message_id(), sender, content, at: turn.now.wall })
}
