//! How users are, on its way to those who are to know; going offline, and what Redis may have missed of that.
//!
//! A script says how a user is by one publication: to all nodes where everybody learns it, and else to the nodes with
//! connections of theirs, which ask the shards that hold these to tell the rooms they are in. Rooms that ended connections
//! were in are named to all nodes: nobody there has the connection any more. Each node encodes it once.

use std::collections::VecDeque;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::base::Name;
use crate::base::ids::ConnectionId;
use crate::base::limits;
use crate::base::map::{Map, map};
use crate::base::time::Now;
use crate::dialect::encoded_event::EncodedEvent;
use crate::domain::command::Status;
use crate::domain::event::{Direct, Event};
use crate::domain::op::Scope;
use crate::message::redis::{Bytes, RedisState};
use crate::message::{Outgoing, PresenceUpdate, ShardMessage, UpdateReach};
use crate::owner::redis::users::{Due, Purpose, Said, Users};
use crate::owner::redis::wire::{self, Id, Letter, Who};
use crate::owner::redis::{self, RedisOwner, rooms, scripts};

/// Users up to which `presence.scope = "auto"` tells everybody.
const TELL_ALL_UP_TO: usize = 5_000;

/// Users who are said anew at once, and how long the next ones wait, in milliseconds: some 10,000 a second, which leaves
/// Redis most of its time.
const SWEEP_USERS: usize = 1_000;
const SWEEP_MS: u64 = 100;

/// How long until Redis is asked again when it did not answer, in milliseconds.
const AGAIN_MS: u64 = 1_000;

/// How long news may be on their way, in milliseconds.
const RECENT_MS: u64 = 10_000;

/// What is published about a user: how they are, or a message for some of their connections.
#[derive(Default, Deserialize, Serialize)]
#[serde(default)]
struct Notice {
    /// Who. It comes first: by it these are told from other publications.
    u: Box<str>,
    /// Which news it is.
    #[serde(skip_serializing_if = "is_zero")]
    n: u64,
    /// How they are, and when they were last active.
    #[serde(skip_serializing_if = "Option::is_none")]
    s: Option<Box<str>>,
    #[serde(skip_serializing_if = "is_zero")]
    l: u64,
    /// The connection that is not told.
    #[serde(skip_serializing_if = "Option::is_none")]
    x: Option<Id>,
    /// Rooms whose members are told.
    #[serde(skip_serializing_if = "Option::is_none")]
    r: Option<Vec<Name>>,
    /// Their connections on this node.
    #[serde(skip_serializing_if = "Option::is_none")]
    c: Option<Vec<Id>>,
    /// What an allowance is for, of which the node is to give back what it has not spent.
    #[serde(skip_serializing_if = "Option::is_none")]
    y: Option<usize>,
    /// In this minute; absent: others have given something back.
    #[serde(skip_serializing_if = "Option::is_none")]
    e: Option<u64>,
    /// A message that is kept for them.
    #[serde(skip_serializing_if = "Option::is_none")]
    d: Option<Letter>,
    /// A message that is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    p: Option<Letter>,
}

/// The last news of users, as long as there may be earlier ones on the way.
pub(super) struct Recent {
    latest: Map<Name, (u64, Arc<PresenceUpdate>)>,
    /// When each may be forgotten, in monotonic milliseconds, the first first.
    ends: VecDeque<(u64, Name)>,
}

impl Recent {
    pub(super) fn new(seed: u64) -> Self {
        Self { latest: map(seed), ends: VecDeque::new() }
    }
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl RedisOwner {
    /// Whether everybody hears how a user is, and not only those who share a room with them.
    pub fn tells_everybody(&self) -> bool {
        match self.rules.presence_scope {
            Scope::Auto => self.users_of_all() <= TELL_ALL_UP_TO,
            Scope::All => true,
            Scope::Rooms | Scope::None => false,
        }
    }

    /// Who learns how users are, as scripts are told.
    pub(super) fn way(&self) -> &'static str {
        match self.rules.presence_scope {
            Scope::None => "n",
            _ if self.tells_everybody() => "e",
            _ => "r",
        }
    }

    /// Something was published about a user, by the channel of a room or by another one.
    pub(super) fn user_published(&mut self, now: Now, room: Option<Name>, body: &[u8], out: &mut Vec<Outgoing>) {
        let notice = match serde_json::from_slice::<Notice>(body) {
            Ok(notice) => notice,
            Err(error) => return tracing::warn!(%error, "what was published about a user is not understood"),
        };
        let user = Name::from(&*notice.u);
        let connections = notice.c.iter().flatten().map(|id| id.0);
        if let Some(kind) = notice.y {
            self.credit_published(now, &user, (kind, notice.e), out);
        } else if let Some(letter) = notice.d {
            let direct = Arc::new(Direct::from(letter));
            connections.for_each(|to| self.hand(&user, direct.clone(), to, out));
        } else if let Some(letter) = notice.p {
            let direct = Arc::new(Direct::from(letter));
            connections.for_each(|to| self.push(&user, direct.clone(), to, out));
        } else if let Some(status) = notice.s.as_deref().and_then(Status::parse) {
            let except = notice.x.map(|id| id.0);
            let news = self.latest_news(now, user, notice.n, (status, notice.l, except));
            match (room, notice.c, notice.r) {
                (Some(room), ..) => self.tell_news_in(&room, &news, out),
                (None, None, None) => self.tell_all(&news, out),
                (None, connections, rooms) => {
                    for Id(of) in connections.into_iter().flatten() {
                        out.push((
                            of.place().shard,
                            ShardMessage::PresenceUpdate { reach: UpdateReach::Around(of), news: news.clone() },
                        ));
                    }
                    for room in rooms.into_iter().flatten() {
                        self.tell_news_in(&room, &news, out);
                    }
                }
            }
        }
    }

    /// These news of a user, or later ones if those were faster: what rooms are told comes by way of those who have
    /// connections in them, or of the rooms.
    fn latest_news(
        &mut self,
        now: Now,
        user: Name,
        number: u64,
        (status, last_seen, except): (Status, u64, Option<ConnectionId>),
    ) -> Arc<PresenceUpdate> {
        let Recent { latest, ends } = &mut self.users.recent;
        while let Some((_, over)) = ends.pop_front_if(|(until, _)| *until <= now.mono) {
            if latest.get(&over).is_some_and(|(until, _)| *until <= now.mono) {
                latest.remove(&over);
            }
        }
        if let Some((_, known)) = latest.get(&user).filter(|(_, known)| known.number >= number) {
            return known.clone();
        }
        let event = Event::Presence { user: user.clone(), status, last_seen };
        let packed = EncodedEvent::new(&event, now, &mut self.draft).and_for_peers(&event, now);
        let news = Arc::new(PresenceUpdate { user: user.clone(), number, except, packed });
        let until = now.mono + RECENT_MS;
        latest.insert(user.clone(), (until, news.clone()));
        ends.push_back((until, user));
        news
    }

    /// Tells a room's members on this node some news; not in a room so large that joins and leaves are not told either.
    fn tell_news_in(&self, room: &Name, news: &Arc<PresenceUpdate>, out: &mut Vec<Outgoing>) {
        let Some(followed) = self.rooms.get(room) else { return };
        if followed.members.len() <= self.rules.announce_limit {
            for shard in followed.shards() {
                out.push((
                    shard,
                    ShardMessage::PresenceUpdate { reach: UpdateReach::Members(room.clone()), news: news.clone() },
                ));
            }
        }
    }

    fn tell_all(&self, news: &Arc<PresenceUpdate>, out: &mut Vec<Outgoing>) {
        for shard in self.shards() {
            out.push((shard, ShardMessage::PresenceUpdate { reach: UpdateReach::Everyone, news: news.clone() }));
        }
    }

    /// Tells a room's members how a user is whom a connection has brought into it.
    pub(super) fn publish_introduction(&mut self, user: &Name, connection: ConnectionId, room: &Name, said: Said) {
        if said.s.is_some() {
            let x = Some(Id(connection));
            self.publish_notice(
                room,
                &Notice { u: (**user).into(), n: said.n, s: said.s, l: said.l, x, ..Notice::default() },
            );
        }
    }

    /// Tells the members of a room how a user is, on all nodes.
    pub(super) fn publish_news(&mut self, room: &Name, news: &PresenceUpdate) {
        let event = news.packed.for_peers.as_ref().map(|for_peers| for_peers.event());
        if let Some(Event::Presence { user, status, last_seen }) = event {
            let (s, x) = (Some(status.as_str().into()), news.except.map(Id));
            let notice = Notice { u: (**user).into(), n: news.number, s, l: *last_seen, x, ..Notice::default() };
            self.publish_notice(room, &notice);
        }
    }

    fn publish_notice(&mut self, room: &Name, notice: &Notice) {
        self.users.announcements.push((room.clone(), wire::json(notice)));
    }

    /// Has rooms told what is for their members.
    pub(super) fn call_announcements(&mut self, now: Now) {
        for (room, body) in std::mem::take(&mut self.users.announcements) {
            self.call_room(now, room, &scripts::ANNOUNCE, rooms::Purpose::Done, vec![body], None);
        }
    }

    /// A user's last connection has ended: looks again when they have had time to come back.
    pub(super) fn wait_for(&mut self, now: Now, user: &Name, token: Option<Box<str>>) {
        match token {
            Some(token) => {
                self.users.going.insert(user.clone(), token.clone());
                let due = redis::Due::User(user.clone(), Due::GoOffline(token));
                self.due_in(now, self.rules.presence_grace_ms, due);
            }
            None => self.note_done(user),
        }
    }

    /// This node may have nothing more to say of a user.
    pub(super) fn note_done(&mut self, user: &Name) {
        if self.users.is_done_with(user) {
            self.user_went(user);
        }
    }

    pub(super) fn user_due(&mut self, now: Now, name: Name, due: Due, _out: &mut Vec<Outgoing>) {
        match due {
            Due::GoOffline(token) if self.users.going.get(&name) != Some(&token) => {}
            Due::GoOffline(_) if self.state == RedisState::Away => {
                self.users.going.remove(&name);
                self.note_stale(name, Vec::new());
            }
            Due::GoOffline(token) => {
                self.users.going.remove(&name);
                let arguments = vec![wire::text(token.as_bytes())];
                self.call_user(now, &scripts::GO_OFFLINE, name, None, Purpose::GoOffline, arguments);
            }
            Due::Sweep => self.sweep(now),
        }
    }

    /// Redis may have missed something of a user.
    pub(super) fn note_stale(&mut self, user: Name, rooms: Vec<Name>) {
        let known = self.users.stale.entry(user).or_default();
        known.extend(rooms);
        known.truncate(limits::PARTED_ROOMS);
    }

    /// A channel is listened to, perhaps again: with the node's own, whatever was for its users may have been missed.
    pub(super) fn users_followed(&mut self, now: Now, channel: &[u8]) {
        if *channel == *self.keys.node(self.settings.node) {
            self.users_begin_anew(now);
        }
    }

    /// Redis may have missed, or forgotten, anything about this node's users.
    pub(super) fn users_begin_anew(&mut self, now: Now) {
        for user in self.users.here.keys() {
            self.users.stale.entry(user.clone()).or_default();
        }
        self.users_are_back(now);
    }

    /// Has noted which users this node has to do with.
    pub(super) fn note_users(&mut self) {
        let Users { here, stale, going, .. } = &self.users;
        let users: Vec<Name> = here.keys().chain(stale.keys()).chain(going.keys()).cloned().collect();
        for user in users {
            self.user_came(&user);
        }
    }

    /// Tells a user's connections on this node.
    pub(super) fn tell_local_user(&mut self, user: &Name, event: &Event, out: &mut Vec<Outgoing>) {
        for &to in self.users.connections(user) {
            out.push((to.place().shard, ShardMessage::Deliver { to, event: event.clone() }));
        }
    }

    /// Redis answers: it is told what it has missed.
    pub(super) fn users_are_back(&mut self, now: Now) {
        self.strike_again();
        if !self.users.stale.is_empty() && !std::mem::replace(&mut self.users.is_sweeping, true) {
            self.due_in(now, 0, redis::Due::User("".into(), Due::Sweep));
        }
    }

    /// Says those anew who became stale although Redis answers.
    pub(super) fn sweep_soon(&mut self, now: Now) {
        if self.state == RedisState::Good && !std::mem::replace(&mut self.users.is_sweeping, true) {
            self.due_in(now, AGAIN_MS, redis::Due::User("".into(), Due::Sweep));
        }
    }

    fn sweep(&mut self, now: Now) {
        self.users.is_sweeping = false;
        if self.state == RedisState::Away {
            return;
        }
        self.strike_again();
        for _ in 0..SWEEP_USERS {
            let Some((user, rooms)) = self.users.stale.pop_first() else { return };
            self.restore(now, user, rooms);
        }
        self.users.is_sweeping = true;
        self.due_in(now, SWEEP_MS, redis::Due::User("".into(), Due::Sweep));
    }

    /// Says anew which connections of a user are here, and asks what waits for them.
    pub(super) fn restore(&mut self, now: Now, user: Name, rooms: Vec<Name>) {
        self.user_came(&user);
        let who = self.users.here.get(&user).map_or_else(Bytes::default, |here| wire::json(&Who::from(&here.identity)));
        let connections: Vec<Id> = self.users.connections(&user).iter().copied().map(Id).collect();
        let arguments = vec![who, wire::json(&connections), wire::json(&rooms)];
        self.call_user(now, &scripts::RESTORE_USER, user, None, Purpose::Restore(rooms), arguments);
    }

    /// Has a user's connections on a node forgotten that is no more, and told that they are offline if they were the last.
    /// Whoever says so first is heard; it makes no difference if others do, too.
    pub fn purge_user(&mut self, now: Now, user: Name, node: u16) {
        let arguments = vec![wire::number(node.into())];
        self.call_user(now, &scripts::PURGE_USER, user, None, Purpose::Purge(node), arguments);
    }
}
