//! Who is online, as it is told unasked: to those who speak `colon` when they have connected, and to the members of a room
//! that somebody has come to or left.
//!
//! Whoever has connected waits for the next list of all users. A shard asks for one at once, but not again within the same
//! presence tick; the list is encoded once, for all who wait. News of users that come while it is asked for are told after
//! it ([`crate::shard::bulletin`]), so that they change what it says and not the other way round. Where not everybody is
//! told how others are, the list is empty and says only how many there are.
//!
//! A room's keeper knows who is in it, not how they are: it has their keepers asked, for one answer at a time.

use std::sync::Arc;

use crate::base::Name;
use crate::base::ids::{ConnectionId, PEER};
use crate::base::limits;
use crate::base::time::Now;
use crate::dialect::socketio::{self as dialects, Dialect};
use crate::domain::op::{Op, Reply, UsersPage, UsersView};
use crate::domain::query::{PartialResult, Query};
use crate::domain::reject::Reject;
use crate::message::{ShardMessage, ShardNumber};
use crate::shard::Shard;
use crate::shard::answers::{Ask, Then};

/// Those who wait to be told who is online.
#[derive(Default)]
pub(super) struct Greeting {
    /// For the next one.
    next: Vec<ConnectionId>,
    /// For the one that is being asked for.
    asked: Vec<ConnectionId>,
    is_asked: bool,
    /// When the next one may be asked for, in monotonic milliseconds.
    not_before: u64,
}

/// Users of several keepers, whose parts add up.
pub(super) struct Census {
    of: Subject,
    /// Keepers that have not answered yet.
    awaited: usize,
    /// At most so many are named.
    limit: usize,
    found: UsersView,
}

enum Subject {
    /// All users, for those who have connected.
    All,
    /// Those of a room.
    Room(Name),
}

impl Greeting {
    /// Whether a list is being asked for.
    pub(super) fn is_asked(&self) -> bool {
        self.is_asked
    }

    /// When the next list is to be asked for, in monotonic milliseconds; `None` while nobody waits, or while the answer to
    /// the last question does.
    pub(super) fn due(&self) -> Option<u64> {
        (!self.next.is_empty() && !self.is_asked).then_some(self.not_before)
    }

    /// Gives back memory that a burst of arrivals has left.
    pub(super) fn trim(&mut self) {
        self.next.shrink_to_fit();
        self.asked.shrink_to_fit();
    }
}

impl Census {
    /// Takes one keeper's answer; whether it was the last.
    pub(super) fn take_part(&mut self, part: Result<Reply, Reject>) -> bool {
        self.awaited -= 1;
        if let Ok(Reply::PartialResult(PartialResult::Users(part))) = part {
            self.found.add(part, self.limit);
        }
        self.awaited == 0
    }
}

impl Shard {
    /// A peer that speaks `colon` is to be told who is online.
    pub(super) fn await_users(&mut self, now: Now, peer: u32) {
        let connection = self.id_of(PEER | peer);
        self.bulletin.greeting.next.push(connection);
        self.ask_for_users(now);
    }

    /// Asks for a list of all users, if somebody waits for one and the time has come.
    pub(super) fn ask_for_users(&mut self, now: Now) {
        let is_told = self.authority.tells_everybody();
        let greeting = &mut self.bulletin.greeting;
        if greeting.due().is_none_or(|at| at > now.mono) {
            return;
        }
        greeting.is_asked = true;
        greeting.not_before = now.mono + self.options.presence_batch_ms;
        std::mem::swap(&mut greeting.next, &mut greeting.asked);
        let limit = if is_told { limits::USERS_LISTED } else { 0 };
        let survey = Query::Users(UsersPage { after: None, limit });
        let own = self.placement.whoever(self.number);
        let keepers = self.placement.others(self.number).chain([own]);
        self.count_users(Subject::All, limit, keepers.map(|keeper| (keeper, survey.clone())).collect());
    }

    /// A room's keeper wants to know which of its users are online.
    pub(super) fn ask_for_users_in(&mut self, room: Name, users: &[Name]) {
        let mut by_keeper: Vec<Vec<Name>> = vec![Vec::new(); self.placement.shards()];
        for user in users {
            by_keeper[usize::from(self.placement.of(user))].push(user.clone());
        }
        let keepers = by_keeper.into_iter().zip(0..).filter(|(users, _)| !users.is_empty());
        let survey = |users: Vec<Name>| Query::UsersNamed(Arc::from(users));
        let parts = keepers.map(|(users, keeper)| (keeper, survey(users))).collect();
        self.count_users(Subject::Room(room), usize::MAX, parts);
    }

    fn count_users(&mut self, of: Subject, limit: usize, parts: Vec<(ShardNumber, Query)>) {
        let census = Census { of, awaited: parts.len(), limit, found: UsersView::default() };
        let ask = Ask { to: None, request: None, then: Then::Counted(Box::new(census)) };
        let from = self.expect(ask);
        for (keeper, survey) in parts {
            self.post(keeper, ShardMessage::Request { from, op: Op::Query(survey) });
        }
    }

    /// All keepers have said which users are online.
    pub(super) fn users_counted(&mut self, now: Now, census: Census) {
        match census.of {
            Subject::All => self.tell_waiting(&census.found),
            Subject::Room(room) => {
                let mut out = std::mem::take(&mut self.said);
                self.authority.tell_online(now, &room, census.found.users, &mut out);
                self.post_all(out);
            }
        }
    }

    fn tell_waiting(&mut self, all: &UsersView) {
        self.bulletin.greeting.is_asked = false;
        let mut asked = std::mem::take(&mut self.bulletin.greeting.asked);
        let (mut frames, mut users) = (Vec::new(), all.users.as_slice());
        loop {
            dialects::greet_with_users(&mut frames, users, all.total);
            if frames.len() <= self.answer_bytes() || users.is_empty() {
                break;
            }
            users = &users[..users.len() / 2];
            frames.clear();
        }
        let segment = self.outbound.encode(|out| out.extend_from_slice(&frames));
        for connection in asked.drain(..) {
            let peer = self.peer_at(connection).and_then(|peer| self.sessions.peers.get(peer as usize));
            let Some(peer) = peer.filter(|peer| peer.is_connected && peer.dialect == Dialect::Colon) else { continue };
            if let Some(at) = self.sessions.named(peer.link) {
                self.deliver(at, segment);
            }
        }
        self.bulletin.greeting.asked = asked;
    }
}
