//! Messages to users: kept in Redis first, then handed to the connections of their user on whichever nodes these are, and
//! struck off when one of them has it.
//!
//! Whatever waits for a user is handed to each of their connections once: what waits already when the connection comes, by
//! the answer to its coming; what is sent later, by the channel of its node. What a node has handed over is noted here, so
//! that it is not handed to the same connection twice when the node asks anew.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use smallvec::SmallVec;
use uuid::Uuid;

use crate::base::Name;
use crate::base::ids::ConnectionId;
use crate::base::time::Now;
use crate::domain::access::Identity;
use crate::domain::event::{Content, Direct, Event};
use crate::domain::op::{Sent, message_id};
use crate::message::{Outgoing, Requester, ShardMessage};
use crate::owner::redis::users::{Purpose, Said};
use crate::owner::redis::wire::{self, Letter};
use crate::owner::redis::{RedisOwner, scripts};

/// How far a message has come on this node.
enum Stage {
    /// It was handed to these connections, none of which has confirmed it yet.
    Handed(SmallVec<[ConnectionId; 2]>),
    /// A connection has it, and Redis is being told.
    Having,
    /// A connection has it, but Redis could not be told.
    Had,
}

/// Messages on their way, by user.
#[derive(Default)]
pub(super) struct Directs {
    users: BTreeMap<Name, Vec<(Uuid, Stage)>>,
    /// Users for whom more waits than was handed over at once.
    more: BTreeSet<Name>,
    /// Messages that connections have, of which Redis is to be told.
    confirmed: Vec<(Name, Uuid)>,
}

impl Directs {
    fn stage(&mut self, user: &Name, id: Uuid) -> Option<&mut Stage> {
        let (_, stage) = self.users.get_mut(user)?.iter_mut().find(|(known, _)| *known == id)?;
        Some(stage)
    }

    /// Notes that a message is handed to a connection; whether it is to be.
    fn hand(&mut self, user: &Name, id: Uuid, to: ConnectionId) -> bool {
        match self.stage(user, id) {
            Some(Stage::Handed(known)) if !known.contains(&to) => {
                known.push(to);
                true
            }
            Some(_) => false,
            None => {
                let stage = Stage::Handed([to].into_iter().collect());
                self.users.entry(user.clone()).or_default().push((id, stage));
                true
            }
        }
    }

    fn forget(&mut self, user: &Name, mut is_it: impl FnMut(Uuid, &mut Stage) -> bool) {
        if let Some(known) = self.users.get_mut(user) {
            known.retain_mut(|(id, stage)| !is_it(*id, stage));
            if known.is_empty() {
                self.users.remove(user);
            }
        }
    }

    /// A connection is gone. What it alone had not confirmed waits in Redis.
    pub(super) fn end(&mut self, user: &Name, connection: ConnectionId) {
        self.forget(user, |_, stage| match stage {
            Stage::Handed(known) => {
                known.retain(|known| *known != connection);
                known.is_empty()
            }
            Stage::Having | Stage::Had => false,
        });
    }

    /// Whether there is something to tell Redis.
    pub(super) fn has_confirmed(&self) -> bool {
        !self.confirmed.is_empty()
    }

    /// Redis may not know that a connection has a message.
    pub(super) fn strike_failed(&mut self, user: &Name, id: Uuid) {
        if let Some(stage) = self.stage(user, id) {
            *stage = Stage::Had;
        }
    }
}

impl RedisOwner {
    pub(super) fn send_direct(&mut self, now: Now, name: Name, by: Identity, content: Content, to: Option<Requester>) {
        let direct = Direct { id: message_id(&mut self.rng, now), sender: by, content, at: now.wall };
        let id = wire::text(direct.id.as_hyphenated().encode_lower(&mut Uuid::encode_buffer()));
        let arguments = vec![id, wire::json(&Letter::from(&direct)), wire::number(self.settings.keep_messages)];
        let sent = Sent { id: direct.id, seq: None, at: direct.at };
        self.call_user(now, &scripts::SEND_DIRECT, name, to, Purpose::Send(sent), arguments);
    }

    /// A connection is known to Redis: it gets what waits for its user, and then what came in the meantime.
    pub(super) fn arrived(&mut self, user: &Name, connection: ConnectionId, said: Said, out: &mut Vec<Outgoing>) {
        let Some(meanwhile) = self.users.arriving.remove(&connection) else {
            // It has ended already.
            return;
        };
        self.note_more(user, &said);
        for letter in said.d {
            self.hand(user, Arc::new(letter.into()), connection, out);
        }
        for mail in meanwhile {
            match mail {
                ShardMessage::DeliverDurable { to, user, direct } => self.hand(&user, direct, to, out),
                mail => out.push((connection.place().shard, mail)),
            }
        }
    }

    /// What waits for a user is handed to those of their connections here that have not got it.
    pub(super) fn hand_all(&mut self, user: &Name, said: Said, out: &mut Vec<Outgoing>) {
        self.note_more(user, &said);
        for letter in said.d {
            let direct = Arc::new(Direct::from(letter));
            for to in SmallVec::<[ConnectionId; 2]>::from_slice(self.users.connections(user)) {
                self.hand(user, direct.clone(), to, out);
            }
        }
    }

    fn note_more(&mut self, user: &Name, said: &Said) {
        if said.m == 1 {
            self.users.directs.more.insert(user.clone());
        }
    }

    /// Hands a message to a connection of this node, unless it has got it.
    pub(super) fn hand(&mut self, user: &Name, direct: Arc<Direct>, to: ConnectionId, out: &mut Vec<Outgoing>) {
        if !self.users.connections(user).contains(&to) {
            return;
        }
        if let Some(meanwhile) = self.users.arriving.get_mut(&to) {
            return meanwhile.push(ShardMessage::DeliverDurable { to, user: user.clone(), direct });
        }
        let id = direct.id;
        if self.users.directs.hand(user, id, to) {
            out.push((to.place().shard, ShardMessage::DeliverDurable { to, user: user.clone(), direct }));
        } else if let Some(Stage::Had) = self.users.directs.stage(user, id) {
            self.strike(user, id);
        }
    }

    /// Tells a connection of this node a message that is not kept.
    pub(super) fn push(&mut self, user: &Name, direct: Arc<Direct>, to: ConnectionId, out: &mut Vec<Outgoing>) {
        if !self.users.connections(user).contains(&to) {
            return;
        }
        let mail = ShardMessage::Deliver { to, event: Event::Direct(direct) };
        match self.users.arriving.get_mut(&to) {
            Some(meanwhile) => meanwhile.push(mail),
            None => out.push((to.place().shard, mail)),
        }
    }

    /// A connection of a user has a message.
    pub(super) fn strike(&mut self, user: &Name, id: Uuid) {
        if let Some(stage @ (Stage::Handed(_) | Stage::Had)) = self.users.directs.stage(user, id) {
            *stage = Stage::Having;
            self.users.directs.confirmed.push((user.clone(), id));
        }
    }

    /// Tells Redis which messages connections have.
    pub(super) fn call_strikes(&mut self, now: Now) {
        for (user, id) in std::mem::take(&mut self.users.directs.confirmed) {
            let text = wire::text(id.as_hyphenated().encode_lower(&mut Uuid::encode_buffer()));
            self.call_user(now, &scripts::STRIKE, user, None, Purpose::Strike(id), vec![text]);
        }
    }

    /// Redis knows that a connection has a message.
    pub(super) fn struck(&mut self, now: Now, user: &Name, id: Uuid) {
        self.users.directs.forget(user, |known, _| known == id);
        if !self.users.directs.users.contains_key(user) && self.users.directs.more.remove(user) {
            self.restore(now, user.clone(), Vec::new());
        }
    }

    /// Redis answers again: it is to be told which messages connections have.
    pub(super) fn strike_again(&mut self) {
        let Directs { users, confirmed, .. } = &mut self.users.directs;
        for (user, known) in users {
            for (id, stage) in known.iter_mut().filter(|(_, stage)| matches!(stage, Stage::Had)) {
                *stage = Stage::Having;
                confirmed.push((user.clone(), *id));
            }
        }
    }
}
