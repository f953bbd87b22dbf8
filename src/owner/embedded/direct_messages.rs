//! Messages to users: kept first, then handed to the connections of their user, and struck off when one of them has it.
//! A message for somebody who is not here waits for the next connection.
//!
//! The store may be asked for what waits while some of it is on its way: from its sender to the store, or from here to a
//! connection. What is noted of those messages here keeps them from being handed over twice.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use smallvec::SmallVec;
use uuid::Uuid;

use crate::base::Name;
use crate::base::ids::ConnectionId;
use crate::base::limits;
use crate::base::time::Now;
use crate::domain::access::Identity;
use crate::domain::event::{Content, Direct, Event};
use crate::domain::op::{Op, OpContext, Reply, Sent, UserOp};
use crate::domain::record::Record;
use crate::domain::user::user_not_found;
use crate::message::storage::{PAGE_MESSAGES, StorageQuery, StorageReply, Unavailable};
use crate::message::{Outgoing, Requester, ShardMessage};
use crate::owner::embedded::commit_barrier::Held;
use crate::owner::embedded::questions::Question;
use crate::owner::embedded::rooms::Outcome;
use crate::owner::embedded::{Due, EmbeddedOwner};

/// How far a message has come.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// It is on its way to the store.
    Asked,
    /// It was handed to these connections, none of which has confirmed it yet.
    Handed(SmallVec<[ConnectionId; 2]>),
    /// A connection has it, and the record that says so is on its way to the store.
    Having,
    /// A connection has it, but that could not be written down.
    Had,
    /// It is kept no longer, but the store was asked before.
    Struck,
}

/// Messages on their way, by user.
#[derive(Default)]
pub(super) struct Directs {
    users: BTreeMap<Name, Vec<(Uuid, Stage)>>,
    /// Users of whom the store is being asked what waits for them.
    asking: BTreeSet<Name>,
}

impl Directs {
    fn note(&mut self, user: &Name, id: Uuid, stage: Stage) {
        match self.stage(user, id) {
            Some(known) => *known = stage,
            None => self.users.entry(user.clone()).or_default().push((id, stage)),
        }
    }

    fn stage(&mut self, user: &Name, id: Uuid) -> Option<&mut Stage> {
        let (_, stage) = self.users.get_mut(user)?.iter_mut().find(|(known, _)| *known == id)?;
        Some(stage)
    }

    /// A message is nothing to be minded any more.
    pub(super) fn forget(&mut self, user: &Name, id: Uuid) {
        if let Some(known) = self.users.get_mut(user) {
            known.retain(|(known, _)| *known != id);
            if known.is_empty() {
                self.users.remove(user);
            }
        }
    }

    /// An answer that was given before these were struck off has come.
    fn forget_struck(&mut self, user: &Name) {
        if let Some(known) = self.users.get_mut(user) {
            known.retain(|(_, stage)| *stage != Stage::Struck);
            if known.is_empty() {
                self.users.remove(user);
            }
        }
    }

    /// A connection is gone. Whether a message was handed to it alone, and so waits again.
    fn end(&mut self, user: &Name, connection: ConnectionId) -> bool {
        let Some(known) = self.users.get_mut(user) else { return false };
        let before = known.len();
        known.retain_mut(|(_, stage)| match stage {
            Stage::Handed(connections) => {
                connections.retain(|known| *known != connection);
                !connections.is_empty()
            }
            _ => true,
        });
        let is_lost = known.len() < before;
        if known.is_empty() {
            self.users.remove(user);
        }
        is_lost
    }

    /// Whether the store would answer what has been handed over already.
    fn is_handing(&self, user: &Name) -> bool {
        let is_handing = |(_, stage): &(Uuid, Stage)| matches!(stage, Stage::Handed(_) | Stage::Having);
        self.asking.contains(user) || self.users.get(user).is_some_and(|known| known.iter().any(is_handing))
    }
}

impl EmbeddedOwner {
    /// Sends a message to a user: one who is here, or whom the store knows.
    pub(super) fn send_to_user(
        &mut self,
        now: Now,
        user: Name,
        by: Identity,
        content: Content,
        to: Requester,
        out: &mut Vec<Outgoing>,
    ) -> Outcome {
        let is_here = self.users.get(&user).is_some_and(|user| !user.connections.is_empty());
        if !self.rules.has_store {
            return if is_here {
                Ok(Some(self.tell_direct(now, &user, by, content, out)))
            } else {
                Err(user_not_found())
            };
        }
        self.check_store(now)?;
        if self.users.contains(&user) || self.awaited.contains(&user) {
            self.keep_direct(now, user, by, content, to);
        } else if self.gate.is_busy() {
            // Perhaps with the note of their having been here until just now.
            self.gate.hold([], Held::Act { to, op: Op::User(user, UserOp::Send { by, content }) });
        } else {
            self.ask_whether_known(user, by, content, to);
        }
        Ok(None)
    }

    /// Asks whether the store knows a user; if it does, a message is kept for them.
    pub(super) fn ask_whether_known(&mut self, user: Name, by: Identity, content: Content, to: Requester) {
        let query = StorageQuery::User { user: user.clone() };
        self.question(Question::Known { to, user, by, content }, query);
    }

    /// Without a store, a message goes to whoever is here.
    fn tell_direct(&mut self, now: Now, user: &Name, by: Identity, content: Content, out: &mut Vec<Outgoing>) -> Reply {
        let mut context = context!(self, now);
        let (id, at) = (context.message_id(), now.wall);
        let direct = Arc::new(Direct { id, sender: by, content, at });
        for &to in self.users.get(user).map_or(&[][..], |user| user.connections.as_slice()) {
            out.push((to.place().shard, ShardMessage::Deliver { to, event: Event::Direct(direct.clone()) }));
        }
        Reply::Sent(Sent { id, seq: None, at })
    }

    pub(super) fn keep_direct(&mut self, now: Now, user: Name, by: Identity, content: Content, to: Requester) {
        let mut context = context!(self, now);
        let direct = Arc::new(Direct { id: context.message_id(), sender: by, content, at: now.wall });
        self.directs.note(&user, direct.id, Stage::Asked);
        let record = Record::DirectKept { user: user.clone(), direct: direct.clone() };
        self.gate.hold([record], Held::Direct { to, user, direct });
    }

    /// A message is kept: it is handed to all connections of its user, or waits for the next one that comes.
    pub(super) fn deliver(&mut self, user: &Name, direct: Arc<Direct>, out: &mut Vec<Outgoing>) {
        let connections = self.users.get(user).map_or(&[][..], |user| user.connections.as_slice());
        let connections = connections.iter().copied().collect();
        self.hand(user, direct, connections, out);
    }

    fn hand(
        &mut self,
        user: &Name,
        direct: Arc<Direct>,
        connections: SmallVec<[ConnectionId; 2]>,
        out: &mut Vec<Outgoing>,
    ) {
        let id = direct.id;
        if connections.is_empty() {
            self.directs.forget(user, id);
            self.awaited.insert(user.clone());
            return;
        }
        for &to in &connections {
            out.push((
                to.place().shard,
                ShardMessage::DeliverDurable { to, user: user.clone(), direct: direct.clone() },
            ));
        }
        self.directs.note(user, id, Stage::Handed(connections));
    }

    /// A connection of a user has a message.
    pub(super) fn strike(&mut self, user: &Name, id: Uuid) {
        if let Some(stage @ (Stage::Handed(_) | Stage::Had)) = self.directs.stage(user, id) {
            *stage = Stage::Having;
            let record = Record::DirectDelivered { user: user.clone(), id };
            self.gate.hold([record], Held::Struck { user: user.clone(), id });
        }
    }

    /// It is written down that a message was delivered, or that could not be.
    pub(super) fn struck(&mut self, user: &Name, id: Uuid, is_kept: bool) {
        if is_kept {
            match self.directs.asking.contains(user) {
                true => self.directs.note(user, id, Stage::Struck),
                false => self.directs.forget(user, id),
            }
            self.ask_directs(user, None);
        } else {
            // It is still in the store, which is to be told so when there is an occasion.
            self.directs.note(user, id, Stage::Had);
            self.awaited.insert(user.clone());
        }
    }

    /// A connection of a user has ended, perhaps before it had what was handed to it.
    pub(super) fn end_directs(&mut self, user: &Name, connection: ConnectionId) {
        if self.directs.end(user, connection) {
            self.awaited.insert(user.clone());
        }
        self.ask_directs(user, None);
    }

    /// The store is back: what waits for those who are here is asked for.
    pub(super) fn ask_all_directs(&mut self) {
        for user in self.awaited.clone() {
            self.ask_directs(&user, None);
        }
    }

    /// Asks for what waits for a user, if something does and they are here: for a connection that has just come, or for
    /// all they have.
    pub(super) fn ask_directs(&mut self, user: &Name, arrival: Option<ConnectionId>) {
        let is_here = self.users.get(user).is_some_and(|user| !user.connections.is_empty());
        if is_here && !self.directs.is_handing(user) && self.awaited.remove(user) {
            self.directs.asking.insert(user.clone());
            let query = StorageQuery::Directs { user: user.clone(), limit: PAGE_MESSAGES };
            self.question(Question::Directs { user: user.clone(), arrival }, query);
        }
    }

    pub(super) fn directs_found(
        &mut self,
        now: Now,
        user: Name,
        arrival: Option<ConnectionId>,
        answer: Result<StorageReply, Unavailable>,
        out: &mut Vec<Outgoing>,
    ) {
        self.directs.asking.remove(&user);
        let here = self.users.get(&user).map_or(&[][..], |user| user.connections.as_slice());
        // The connection that came may have gone; the messages are for whoever is here now.
        let connections: SmallVec<[ConnectionId; 2]> = match arrival.filter(|arrival| here.contains(arrival)) {
            Some(arrival) => [arrival].into_iter().collect(),
            None => here.iter().copied().collect(),
        };
        let Ok(StorageReply::Directs { directs, complete }) = answer else {
            self.directs.forget_struck(&user);
            self.due_in(now, limits::DIRECTS_AGAIN_MS, Due::AskDirects(user.clone()));
            self.awaited.insert(user);
            return;
        };
        if !complete || connections.is_empty() {
            self.awaited.insert(user.clone());
        }
        for direct in directs {
            match self.directs.stage(&user, direct.id) {
                None if connections.is_empty() => {}
                None => self.hand(&user, Arc::new(direct), connections.clone(), out),
                Some(Stage::Had) => self.strike(&user, direct.id),
                Some(Stage::Asked | Stage::Handed(_) | Stage::Having | Stage::Struck) => {}
            }
        }
        self.directs.forget_struck(&user);
    }
}
