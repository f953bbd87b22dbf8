//! Direct messages: stored first, then delivered to the connections of their user, and deleted once a connection has
//! acknowledged them. A message for an offline user waits for the next connection, and so does one that no connection has
//! acknowledged yet: each connection gets it once.
//!
//! A user's messages keep the order in which they were stored. While earlier ones are being read from storage, or wait there,
//! later ones are kept back.

use std::collections::BTreeMap;
use std::sync::Arc;

use smallvec::SmallVec;
use uuid::Uuid;

use crate::base::Name;
use crate::base::ids::ConnectionId;
use crate::base::limits;
use crate::domain::access::Identity;
use crate::domain::event::{Content, Direct, Event};
use crate::domain::hook::{HookChange, HookKind};
use crate::domain::op::{PushResult, Reply, Sent};
use crate::domain::record::Record;
use crate::domain::reject::Reject;
use crate::domain::user::{too_much_waits, user_not_found};
use crate::message::ShardMessage;
use crate::message::storage::{PAGE_MESSAGES, StorageQuery, StorageReply, Unavailable};
use crate::owner::embedded::commit_barrier::{CommitBarrier, PendingEffect};
use crate::owner::embedded::storage_requests::{StorageRequest, StorageResult};
use crate::owner::embedded::stored_names::StoredNames;
use crate::owner::embedded::turn::{DeferredTask, OpOutcome, OwnerCore, Turn};
use crate::owner::embedded::users::UserStore;

/// Messages of a user without acknowledgement. Beyond that, further ones wait in storage until some are acknowledged.
const UNACKNOWLEDGED_MAX: usize = 512;

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

impl DeliveryStage {
    /// Whether storage has the message, and it need not be delivered to the connections that were present.
    fn is_delivered(&self) -> bool {
        matches!(self, Self::Delivered(_) | Self::Acknowledged)
    }
}

pub(super) struct DirectDeliveries {
    /// The messages in transit, by user, in order; users without any are absent.
    stages: BTreeMap<Name, Vec<InTransit>>,
    /// The users whose messages are requested from storage, with the messages stored meanwhile.
    requested: BTreeMap<Name, Vec<Arc<Direct>>>,
    /// The users for whom messages wait in storage.
    waiting: StoredNames<()>,
    /// The users that storage is, or will be, asked about, with the number of messages that depend on it.
    unknown: BTreeMap<Name, u32>,
    /// Bytes of the stored messages of a user, or more: messages can have expired. Never 0.
    bytes: StoredNames<u64>,
}

/// A message in transit.
struct InTransit {
    id: Uuid,
    bytes: u64,
    stage: DeliveryStage,
}

impl DirectDeliveries {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            stages: BTreeMap::new(),
            requested: BTreeMap::new(),
            waiting: StoredNames::new(seed),
            unknown: BTreeMap::new(),
            bytes: StoredNames::new(seed),
        }
    }

    /// Notes that messages of so many bytes wait in storage for a user, after a restart.
    pub(super) fn restore(&mut self, user: &Name, bytes: u64) {
        self.add_bytes(user, bytes);
        self.note_waiting(user);
    }

    fn add_bytes(&mut self, user: &Name, bytes: u64) {
        match self.bytes.get(user) {
            Some(known) => self.bytes.insert(user, known + bytes),
            None if bytes != 0 && !self.bytes.is_partial() => self.bytes.insert(user, bytes),
            None => {}
        }
    }

    fn subtract_bytes(&mut self, user: &Name, bytes: u64) {
        match self.bytes.get(user) {
            Some(known) if known > bytes => self.bytes.insert(user, known - bytes),
            Some(_) => drop(self.bytes.remove(user)),
            None => {}
        }
    }

    /// Whether a message can wait beside the others of its user, as far as is known without storage.
    fn has_room(&self, turn: &Turn<'_>, user: &Name, content: &Content) -> bool {
        match self.bytes.get(user) {
            None if self.bytes.is_partial() => turn.rules().direct_bytes == 0,
            known => has_room_beside(turn, known.unwrap_or_default(), content),
        }
    }

    /// Notes that messages wait in storage for a user.
    pub(super) fn note_waiting(&mut self, user: &Name) {
        self.waiting.insert(user, ());
    }

    fn add_stage(&mut self, user: &Name, direct: &Direct, stage: DeliveryStage) {
        let entry = InTransit { id: direct.id, bytes: direct.content.bytes() as u64, stage };
        self.stages.entry(user.clone()).or_default().push(entry);
    }

    fn stage(&mut self, user: &Name, id: Uuid) -> Option<&mut DeliveryStage> {
        self.stages.get_mut(user)?.iter_mut().find(|known| known.id == id).map(|known| &mut known.stage)
    }

    /// Keeps the messages of a user that `keep` selects; whether it removed any.
    fn retain(&mut self, user: &Name, mut keep: impl FnMut(Uuid, &mut DeliveryStage) -> bool) -> bool {
        let mut none = Vec::new();
        let known = self.stages.get_mut(user).unwrap_or(&mut none);
        let before = known.len();
        known.retain_mut(|known| keep(known.id, &mut known.stage));
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

    /// Whether messages of a user were delivered and are not deleted.
    fn has_delivered(&self, user: &Name) -> bool {
        self.stages.get(user).is_some_and(|known| known.iter().any(|known| known.stage.is_delivered()))
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
        let is_known = users.is_present(&user) || self.waiting.get(&user).is_some();
        // The order of messages is kept if the user connects meanwhile.
        if is_known && !self.unknown.contains_key(&user) {
            let direct = new_direct(turn, by, content);
            self.store(turn, users, user, direct);
            return Ok(None);
        }
        *self.unknown.entry(user.clone()).or_default() += 1;
        if turn.core.barrier.is_busy() {
            turn.hold([], PendingEffect::DirectToUnknownUser { user, by, content });
        } else {
            Self::look_up_recipient(turn, user, by, content);
        }
        Ok(None)
    }

    /// Stores a message of a backend, also for a user whom nobody knows yet.
    pub(super) fn push(
        &mut self,
        turn: &mut Turn<'_>,
        users: &UserStore,
        user: Name,
        direct: Arc<Direct>,
    ) -> OpOutcome {
        turn.check_store()?;
        self.store(turn, users, user, direct);
        Ok(None)
    }

    /// A message no longer depends on whether storage knows its user.
    pub(super) fn end_lookup(&mut self, user: &Name) {
        if let Some(count) = self.unknown.get_mut(user) {
            *count -= 1;
            if *count == 0 {
                self.unknown.remove(user);
            }
        }
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
        self.end_lookup(&user);
        let is_known = match &result {
            Ok(StorageReply::User(Some(_))) => true,
            Ok(_) => users.is_present(&user),
            Err(Unavailable) => false,
        };
        match result {
            Ok(_) if is_known => {
                let direct = new_direct(turn, by, content);
                self.store(turn, users, user, direct);
            }
            Ok(_) => turn.reply(Err(user_not_found())),
            Err(Unavailable) => turn.reply(Err(Reject::storage_unavailable())),
        }
    }

    /// Stores a message. It is delivered after its commit. Where too much waits for the user, as far as is known, storage is
    /// asked first: some of it can have expired.
    fn store(&mut self, turn: &mut Turn<'_>, users: &UserStore, user: Name, direct: Arc<Direct>) {
        if self.has_room(turn, &user, &direct.content) {
            self.keep(turn, users, user, direct);
        } else {
            let query = StorageQuery::DirectBytes { user: user.clone() };
            turn.request(StorageRequest::DirectBytes { user, direct }, query);
        }
    }

    /// The result of [`StorageRequest::DirectBytes`].
    pub(super) fn bytes_found(
        &mut self,
        turn: &mut Turn<'_>,
        users: &UserStore,
        (user, direct): (Name, Arc<Direct>),
        result: StorageResult,
    ) {
        let Ok(StorageReply::DirectBytes(stored)) = result else {
            return turn.reply(Err(Reject::storage_unavailable()));
        };
        let known = self.stages.get(&user).into_iter().flatten();
        let on_the_way: u64 =
            known.filter(|known| known.stage == DeliveryStage::Storing).map(|known| known.bytes).sum();
        self.bytes.remove(&user);
        self.add_bytes(&user, stored + on_the_way);
        match has_room_beside(turn, stored + on_the_way, &direct.content) {
            true => self.keep(turn, users, user, direct),
            false => turn.reply(Err(too_much_waits(turn.rules().direct_bytes))),
        }
    }

    fn keep(&mut self, turn: &mut Turn<'_>, users: &UserStore, user: Name, direct: Arc<Direct>) {
        self.add_bytes(&user, direct.content.bytes() as u64);
        self.add_stage(&user, &direct, DeliveryStage::Storing);
        if users.connections_of(&user).is_empty() {
            turn.hook(HookKind::MessageToOfflineUser, || HookChange::OfflineMessage {
                user: user.clone(),
                direct: direct.clone(),
            });
        }
        let record = Record::DirectKept { user: user.clone(), direct: direct.clone() };
        turn.hold([record], PendingEffect::DirectMessage { user, direct });
    }

    /// A message is committed. It is delivered to the user's connections, or waits: for the next one, or for earlier ones.
    pub(super) fn stored(&mut self, turn: &mut Turn<'_>, users: &UserStore, user: &Name, direct: Arc<Direct>) {
        if self.requested.contains_key(user) {
            self.remove(user, direct.id);
            // One too many shows that the rest is in storage only.
            let meanwhile = self.requested.get_mut(user);
            if let Some(meanwhile) = meanwhile.filter(|meanwhile| meanwhile.len() <= UNACKNOWLEDGED_MAX) {
                meanwhile.push(direct);
            }
            return;
        }
        let is_full = self.stages.get(user).is_some_and(|known| known.len() > UNACKNOWLEDGED_MAX);
        if is_full || self.waiting.get(user).is_some() || users.connections_of(user).is_empty() {
            self.remove(user, direct.id);
            self.note_waiting(user);
            return self.request_if_waiting(turn, users, user);
        }
        if let Some(stage) = self.stage(user, direct.id) {
            *stage = DeliveryStage::Delivered(SmallVec::new());
        }
        self.deliver(turn, users, user, &direct);
    }

    /// Storage has refused a message.
    pub(super) fn store_refused(&mut self, user: &Name, direct: &Direct) {
        self.subtract_bytes(user, direct.content.bytes() as u64);
        self.remove(user, direct.id);
    }

    /// Delivers a stored message to the connections of an online user that do not have it.
    fn deliver(&mut self, turn: &mut Turn<'_>, users: &UserStore, user: &Name, direct: &Arc<Direct>) {
        if self.stage(user, direct.id).is_none() {
            self.add_stage(user, direct, DeliveryStage::Delivered(SmallVec::new()));
        }
        if let Some(DeliveryStage::Delivered(known)) = self.stage(user, direct.id) {
            for &to in users.connections_of(user) {
                if !known.contains(&to) {
                    known.push(to);
                    let (user, direct) = (user.clone(), direct.clone());
                    turn.send(to.place().shard, ShardMessage::DeliverDurable { to, user, direct });
                }
            }
        }
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
        let known = self.stages.get(user).into_iter().flatten().find(|known| known.id == id);
        debug_assert!(known.is_some(), "invariant: an acknowledged message is in transit");
        if !is_committed {
            // Storage still has the message. The acknowledgement is repeated when storage returns it.
            if let Some(stage) = self.stage(user, id) {
                *stage = DeliveryStage::AckRefused;
            }
            return self.note_waiting(user);
        }
        let bytes = known.map_or(0, |known| known.bytes);
        self.subtract_bytes(user, bytes);
        match (self.requested.contains_key(user), self.stage(user, id)) {
            (true, Some(stage)) => *stage = DeliveryStage::Deleted,
            _ => self.remove(user, id),
        }
        self.request_if_waiting(turn, users, user);
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
        self.request_if_waiting(turn, users, user);
    }

    /// Storage works again: requests the waiting messages of all online users.
    pub(super) fn request_all(&mut self, turn: &mut Turn<'_>, users: &UserStore) {
        for user in users.names() {
            self.request_if_waiting(turn, users, &user);
        }
    }

    /// Requests the messages of a user for a connection that has arrived: those that wait, and those that no connection has
    /// acknowledged.
    pub(super) fn request_for_arrival(&mut self, turn: &mut Turn<'_>, users: &UserStore, user: &Name) {
        if self.waiting.get(user).is_some() || self.waiting.is_partial() || self.has_delivered(user) {
            self.request(turn, users, user);
        }
    }

    /// Requests the waiting messages of a user that is online. A request would also return messages that were delivered, so
    /// their acknowledgements come first.
    fn request_if_waiting(&mut self, turn: &mut Turn<'_>, users: &UserStore, user: &Name) {
        if self.waiting.get(user).is_some() && !self.has_delivered(user) {
            self.request(turn, users, user);
        }
    }

    /// Requests the messages of a user from storage, unless that was done, or the user is offline.
    pub(super) fn request(&mut self, turn: &mut Turn<'_>, users: &UserStore, user: &Name) {
        if !users.connections_of(user).is_empty() && !self.requested.contains_key(user) {
            self.waiting.remove(user);
            self.requested.insert(user.clone(), Vec::new());
            let query = StorageQuery::Directs { user: user.clone(), limit: PAGE_MESSAGES };
            turn.request(StorageRequest::Directs { user: user.clone() }, query);
        }
    }

    /// The result of [`StorageRequest::Directs`]. Each present connection gets the messages that it does not have.
    pub(super) fn found(&mut self, turn: &mut Turn<'_>, users: &UserStore, user: Name, result: StorageResult) {
        let meanwhile = self.requested.remove(&user).unwrap_or_default();
        let Ok(StorageReply::Directs { directs, complete }) = result else {
            self.remove_deleted(&user);
            turn.defer_by(limits::DIRECTS_AGAIN_MS, DeferredTask::RequestDirects(user.clone()));
            return self.note_waiting(&user);
        };
        let is_online = !users.connections_of(&user).is_empty();
        // What was stored meanwhile follows the rest, and waits for that.
        let is_whole = complete && meanwhile.len() <= UNACKNOWLEDGED_MAX;
        let is_left = if is_online { !is_whole } else { !complete || !directs.is_empty() || !meanwhile.is_empty() };
        if is_left {
            self.note_waiting(&user);
        }
        for direct in directs {
            match self.stage(&user, direct.id) {
                Some(DeliveryStage::AckRefused) => self.acknowledge(&mut turn.core.barrier, &user, direct.id),
                None | Some(DeliveryStage::Delivered(_)) if is_online => {
                    self.deliver(turn, users, &user, &Arc::new(direct));
                }
                _ => {}
            }
        }
        if is_online && is_whole {
            for direct in &meanwhile {
                self.deliver(turn, users, &user, direct);
            }
        }
        self.remove_deleted(&user);
        self.request_if_waiting(turn, users, &user);
    }

    /// Checks the stages against the user's connections and the pending effects and requests.
    pub(super) fn check_invariants(&self, core: &OwnerCore, users: &UserStore) {
        for (user, known) in &self.stages {
            assert!(!known.is_empty(), "direct messages: a user without messages in transit is absent");
            for InTransit { id, stage, .. } in known {
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
                    DeliveryStage::Deleted => self.requested.contains_key(user),
                    DeliveryStage::AckRefused => true,
                };
                assert!(is_consistent, "direct messages: {stage:?} has the effect or the connection it waits for");
            }
        }
        self.waiting.check_invariants();
        self.bytes.check_invariants();
        for user in self.requested.keys() {
            assert!(core.requests.asks_directs_of(user), "direct messages: each requested user has a storage request");
        }
    }
}

/// The reply to a message that is committed: a backend learns whom it reaches now.
pub(super) fn receipt(users: &UserStore, user: &Name, direct: &Direct) -> Reply {
    if !direct.is_pushed {
        return Reply::Sent(Sent { id: direct.id, seq: None, at: direct.at });
    }
    let reached = users.connections_of(user).len();
    let offline = if reached == 0 { vec![user.clone()] } else { Vec::new() };
    Reply::Pushed(PushResult { reached, offline })
}

/// Whether a message can wait beside others of so many bytes.
fn has_room_beside(turn: &Turn<'_>, waiting: u64, content: &Content) -> bool {
    let most = turn.rules().direct_bytes as u64;
    most == 0 || waiting + content.bytes() as u64 <= most
}

fn new_direct(turn: &mut Turn<'_>, sender: Identity, content: Content) -> Arc<Direct> {
    Arc::new(Direct {
        is_pushed: false,
        except: None,
        id: turn.context().message_id(),
        sender,
        content,
        at: turn.now.wall,
    })
}
