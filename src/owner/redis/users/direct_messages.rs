//! Direct messages: stored in Redis first, then delivered to the user's connections on all nodes, and removed from Redis when
//! one of the connections has received them.
//!
//! Each message is delivered once to each connection: a message that waits already by the answer to the connection's attach,
//! a later one by the channel of its node. This node notes its deliveries, so that no connection gets a message twice when
//! the node asks for waiting messages again.
//!
//! A user's messages keep their order. While this node awaits earlier ones from Redis, or leaves them there, it keeps later
//! ones back.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use smallvec::SmallVec;
use uuid::Uuid;

use crate::base::Name;
use crate::base::ids::ConnectionId;
use crate::domain::access::Identity;
use crate::domain::event::{Content, Direct, Event};
use crate::domain::op::{Sent, message_id};
use crate::message::redis::Bytes;
use crate::message::{Requester, ShardMessage};
use crate::owner::redis::calls::CallPurpose;
use crate::owner::redis::directory::LocalUsers;
use crate::owner::redis::scripts;
use crate::owner::redis::turn::OwnerTurn;
use crate::owner::redis::users::UserCall;
use crate::owner::redis::wire::{self, WireDirect};

/// Messages of a user without confirmation on this node. Beyond that, further ones stay in Redis until some are confirmed.
const UNCONFIRMED_MAX: usize = 512;

/// Progress of a message on this node.
enum DirectState {
    /// It was delivered to these connections; none of them has confirmed it.
    Delivered(SmallVec<[ConnectionId; 2]>),
    /// A connection has received it; the call that removes it from Redis is pending.
    AckPending,
    /// A connection has received it, but the call has failed.
    AckFailed,
}

/// Messages under way, by user.
#[derive(Default)]
pub(super) struct DirectMessages {
    states: BTreeMap<Name, Vec<(Uuid, DirectState)>>,
    /// Users with more waiting messages in Redis than this node has delivered.
    more: BTreeSet<Name>,
    /// Users whose waiting messages are awaited from Redis, with those published meanwhile.
    awaited: BTreeMap<Name, Vec<Arc<Direct>>>,
    /// Received messages to be removed from Redis.
    acks: Vec<(Name, Uuid)>,
    /// Connections whose attach is under way, with the messages for them since.
    arriving: BTreeMap<ConnectionId, Vec<ShardMessage>>,
}

impl DirectMessages {
    /// The attach of a connection has begun.
    pub(super) fn begin_arrival(&mut self, connection: ConnectionId) {
        self.arriving.insert(connection, Vec::new());
    }

    /// The attach of a connection has failed.
    pub(super) fn cancel_arrival(&mut self, connection: ConnectionId) {
        self.arriving.remove(&connection);
    }

    /// The attach of a connection is done: the waiting messages are delivered, then those that came meanwhile. If the
    /// connection has ended already, they stay in Redis.
    pub(super) fn arrived(
        &mut self,
        turn: &mut OwnerTurn<'_>,
        user: &Name,
        connection: ConnectionId,
        waiting: Vec<WireDirect>,
        has_more: bool,
    ) {
        if let Some(meanwhile) = self.arriving.remove(&connection) {
            self.note_more(user, has_more);
            for direct in waiting {
                self.deliver(turn, user, &Arc::new(direct.into()), connection);
            }
            for message in meanwhile {
                match message {
                    // It follows the others.
                    ShardMessage::DeliverDurable { .. } if has_more => {}
                    ShardMessage::DeliverDurable { to, user, direct } => self.deliver(turn, &user, &direct, to),
                    message => turn.send(connection.place().shard, message),
                }
            }
        }
    }

    /// The waiting messages of a user are requested for all connections on this node. Until they are there, later ones are
    /// kept back.
    pub(super) fn await_waiting(&mut self, directory: &LocalUsers, user: &Name) {
        if !directory.connections(user).is_empty() {
            self.awaited.entry(user.clone()).or_default();
        }
    }

    /// Delivers waiting messages to all connections of a user on this node that do not have them, then those that were
    /// published meanwhile.
    pub(super) fn deliver_waiting(
        &mut self,
        turn: &mut OwnerTurn<'_>,
        user: &Name,
        waiting: Vec<WireDirect>,
        has_more: bool,
    ) {
        let meanwhile = self.awaited.remove(user).unwrap_or_default();
        let is_whole = !has_more && meanwhile.len() <= UNCONFIRMED_MAX;
        self.note_more(user, !is_whole);
        let waiting = waiting.into_iter().map(|direct| Arc::new(Direct::from(direct)));
        for direct in waiting.chain(meanwhile.into_iter().filter(|_| is_whole)) {
            for to in SmallVec::<[ConnectionId; 2]>::from_slice(turn.node.directory.connections(user)) {
                self.deliver(turn, user, &direct, to);
            }
        }
    }

    /// Delivers a published message to connections of this node, unless earlier ones are still to come.
    pub(super) fn deliver_published(
        &mut self,
        turn: &mut OwnerTurn<'_>,
        user: &Name,
        direct: &Arc<Direct>,
        connections: impl Iterator<Item = ConnectionId>,
    ) {
        if self.states.get(user).is_some_and(|known| known.len() > UNCONFIRMED_MAX) {
            self.note_more(user, true);
        }
        let is_awaited = self.awaited.contains_key(user);
        // One too many shows that the rest is in Redis only.
        let meanwhile = self.awaited.get_mut(user);
        if let Some(meanwhile) = meanwhile.filter(|meanwhile| meanwhile.len() <= UNCONFIRMED_MAX) {
            meanwhile.push(direct.clone());
        }
        for to in connections {
            if self.arriving.contains_key(&to) || !is_awaited && !self.more.contains(user) {
                self.deliver(turn, user, direct, to);
            }
        }
    }

    fn note_more(&mut self, user: &Name, has_more: bool) {
        if has_more {
            self.more.insert(user.clone());
        }
    }

    /// Delivers a message to a connection of this node, unless the connection has it.
    pub(super) fn deliver(&mut self, turn: &mut OwnerTurn<'_>, user: &Name, direct: &Arc<Direct>, to: ConnectionId) {
        if !turn.node.directory.connections(user).contains(&to) {
            return;
        }
        let message = || ShardMessage::DeliverDurable { to, user: user.clone(), direct: direct.clone() };
        if let Some(meanwhile) = self.arriving.get_mut(&to) {
            meanwhile.push(message());
        } else if self.begin_delivery(user, direct.id, to) {
            turn.send(to.place().shard, message());
        } else if let Some(DirectState::AckFailed) = self.state(user, direct.id) {
            self.delivered(user, direct.id);
        }
    }

    /// Delivers a message that is not stored to a connection of this node.
    pub(super) fn push(&mut self, turn: &mut OwnerTurn<'_>, user: &Name, direct: &Arc<Direct>, to: ConnectionId) {
        if turn.node.directory.connections(user).contains(&to) {
            let message = ShardMessage::Deliver { to, event: Event::Direct(direct.clone()) };
            match self.arriving.get_mut(&to) {
                Some(meanwhile) => meanwhile.push(message),
                None => turn.send(to.place().shard, message),
            }
        }
    }

    fn state(&mut self, user: &Name, id: Uuid) -> Option<&mut DirectState> {
        let (_, state) = self.states.get_mut(user)?.iter_mut().find(|(known, _)| *known == id)?;
        Some(state)
    }

    /// Notes a delivery; whether it is to be made.
    fn begin_delivery(&mut self, user: &Name, id: Uuid, to: ConnectionId) -> bool {
        match self.state(user, id) {
            Some(DirectState::Delivered(known)) if !known.contains(&to) => {
                known.push(to);
                true
            }
            Some(_) => false,
            None => {
                let state = DirectState::Delivered([to].into_iter().collect());
                self.states.entry(user.clone()).or_default().push((id, state));
                true
            }
        }
    }

    /// Removes the messages of a user that `is_over` selects.
    fn remove(&mut self, user: &Name, mut is_over: impl FnMut(Uuid, &mut DirectState) -> bool) {
        if let Some(known) = self.states.get_mut(user) {
            known.retain_mut(|(id, state)| !is_over(*id, state));
            if known.is_empty() {
                self.states.remove(user);
            }
        }
    }

    /// A connection has ended. Messages that no other connection has stay in Redis. Returns whether more messages of the user
    /// are to be requested.
    pub(super) fn end_connection(&mut self, directory: &LocalUsers, user: &Name, connection: ConnectionId) -> bool {
        self.arriving.remove(&connection);
        self.remove(user, |_, state| match state {
            DirectState::Delivered(known) => {
                known.retain(|known| *known != connection);
                known.is_empty()
            }
            DirectState::AckPending | DirectState::AckFailed => false,
        });
        if directory.connections(user).is_empty() {
            self.more.remove(user);
            self.awaited.remove(user);
        }
        self.wants_more(user)
    }

    fn wants_more(&mut self, user: &Name) -> bool {
        !self.states.contains_key(user) && self.more.remove(user)
    }

    /// A connection of a user has received a message.
    pub(super) fn delivered(&mut self, user: &Name, id: Uuid) {
        if let Some(state @ (DirectState::Delivered(_) | DirectState::AckFailed)) = self.state(user, id) {
            *state = DirectState::AckPending;
            self.acks.push((user.clone(), id));
        }
    }

    /// Redis has removed messages; whether more messages of the user are to be requested.
    pub(super) fn acknowledged(&mut self, user: &Name, ids: &[Uuid]) -> bool {
        self.remove(user, |known, _| ids.contains(&known));
        self.wants_more(user)
    }

    pub(super) fn ack_failed(&mut self, user: &Name, ids: &[Uuid]) {
        for id in ids {
            if let Some(state) = self.state(user, *id) {
                let is_received = !matches!(state, DirectState::Delivered(_));
                debug_assert!(is_received, "invariant: only received messages are removed");
                *state = DirectState::AckFailed;
            }
        }
    }

    /// Redis answers again: removals that failed are repeated.
    pub(super) fn retry_acks(&mut self) {
        for (user, known) in &mut self.states {
            for (id, state) in known.iter_mut().filter(|(_, state)| matches!(state, DirectState::AckFailed)) {
                *state = DirectState::AckPending;
                self.acks.push((user.clone(), *id));
            }
        }
    }

    pub(super) fn has_acks(&self) -> bool {
        !self.acks.is_empty()
    }

    /// Calls the script that removes messages, for the received ones of each user.
    pub(super) fn flush(&mut self, turn: &mut OwnerTurn<'_>) {
        let acks = std::mem::take(&mut self.acks);
        let mut by_user: BTreeMap<Name, Vec<Uuid>> = BTreeMap::new();
        for (user, id) in acks {
            by_user.entry(user).or_default().push(id);
        }
        for (user, ids) in by_user {
            let arguments = ids.iter().map(|id| wire::message_id(*id)).collect();
            let purpose = |user| CallPurpose::User(user, UserCall::AckDirects(ids));
            turn.call_user(&scripts::ACK_DIRECT, user, None, purpose, arguments);
        }
    }

    pub(super) fn check_invariants(&self, directory: &LocalUsers) {
        for connection in self.arriving.keys() {
            assert!(directory.has_connection(*connection), "invariant: an arriving connection belongs to a local user");
        }
        for (user, known) in &self.states {
            assert!(!known.is_empty(), "invariant: a user with message states has some");
            for (_, state) in known {
                let DirectState::Delivered(to) = state else { continue };
                let is_local = to.iter().all(|to| directory.connections(user).contains(to));
                assert!(!to.is_empty() && is_local, "invariant: messages are delivered to connections of their user");
            }
        }
        for user in self.awaited.keys() {
            assert!(directory.contains(user), "invariant: messages are awaited for local users");
        }
        for (user, id) in &self.acks {
            let is_pending = self.states.get(user).is_some_and(|known| {
                known.iter().any(|(known, state)| known == id && matches!(state, DirectState::AckPending))
            });
            assert!(is_pending, "invariant: only received messages are removed");
        }
    }
}

/// Calls the script that stores and publishes a message.
pub(super) fn send(turn: &mut OwnerTurn<'_>, name: Name, by: Identity, content: Content, to: Requester) {
    let (id, at) = (message_id(&mut turn.node.rng, turn.now), turn.now.wall);
    let direct = Direct { is_pushed: false, except: None, id, sender: by, content, at };
    let arguments = store_arguments(turn, &direct, false);
    let sent = Sent { id: direct.id, seq: None, at: direct.at };
    let purpose = |name| CallPurpose::User(name, UserCall::Send(sent));
    turn.call_user(&scripts::SEND_DIRECT, name, Some(to), purpose, arguments);
}

/// The same for a message of a backend, also to a user whom nobody knows yet.
pub(super) fn push_kept(turn: &mut OwnerTurn<'_>, name: Name, direct: &Direct, to: Requester) {
    let arguments = store_arguments(turn, direct, true);
    turn.call_user(&scripts::SEND_DIRECT, name, Some(to), |name| CallPurpose::User(name, UserCall::Push), arguments);
}

fn store_arguments(turn: &OwnerTurn<'_>, direct: &Direct, may_be_unknown: bool) -> Vec<Bytes> {
    let keep = wire::number(turn.node.settings.keep_messages);
    let most = wire::number(turn.node.rules.direct_bytes as u64);
    vec![wire::message_id(direct.id), wire::json(&WireDirect::from(direct)), keep, most, wire::flag(may_be_unknown)]
}
