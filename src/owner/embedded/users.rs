//! The users a shard keeps: who is connected, how they are, and who learns of it.

use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;

use crate::base::Name;
use crate::base::ids::ConnectionId;
use crate::base::limits;
use crate::base::time::Now;
use crate::dialect::encoded_event::EncodedEvent;
use crate::domain::command::Status;
use crate::domain::event::Event;
use crate::domain::op::{AddressedEvent, Audience, OpContext, PushResult, Reply, Scope, UserOp, UsersPage, UsersView};
use crate::domain::quota::{RestQuota, WINDOW_MS};
use crate::domain::reject::Reject;
use crate::domain::user::{User, user_not_found};
use crate::message::{Outgoing, PresenceUpdate, Requester, ShardMessage, ShardNumber, UpdateReach};
use crate::owner::embedded::rooms::Outcome;
use crate::owner::embedded::{Due, EmbeddedOwner};

/// Users up to which `presence.scope = "auto"` tells everybody.
const TELL_ALL_UP_TO: usize = 5_000;

impl EmbeddedOwner {
    /// What there is to say of somebody who is not connected, nor was a moment ago.
    fn absent(&mut self, user: Name, op: &UserOp, to: Requester) -> Outcome {
        match op {
            UserOp::ListConnections => Ok(Some(Reply::Connections(Vec::new()))),
            UserOp::Push { .. } => Ok(Some(Reply::Pushed(PushResult { reached: 0, offline: vec![user] }))),
            UserOp::Describe { .. } if self.rules.has_store => {
                self.look_up(user, to);
                Ok(None)
            }
            _ => Err(user_not_found()),
        }
    }

    pub(super) fn user_op(
        &mut self,
        now: Now,
        name: Name,
        mut op: UserOp,
        to: Requester,
        out: &mut Vec<Outgoing>,
    ) -> Outcome {
        let (mut socket, mut arrival, mut departure) = (None, None, None);
        match &mut op {
            UserOp::SpendRestQuota => return self.spend_rest(now, name).map(Some),
            UserOp::RegisterSocket { socket, device } => {
                let known = self.registrations.register(&name, socket.clone(), device.take(), now)?;
                return Ok(Some(known.map_or(Reply::Registered(None), |live| Reply::Connections(vec![live]))));
            }
            UserOp::UnregisterSocket { socket } => {
                return self.registrations.withdraw(&name, socket).map(|()| Some(Reply::Done));
            }
            UserOp::Attach { by, connection, socket: given } => {
                socket = given.take().map(|socket| (socket, *connection));
                arrival = Some(*connection);
                if !self.users.contains(&name) {
                    let user = User::new(by.clone());
                    if self.rules.outlives_process && user.is_noted(&self.rules) {
                        self.arrived.push_back((now.mono + limits::ARRIVAL_NOTED_MS, name.clone()));
                    }
                    self.users.insert(user);
                }
            }
            UserOp::Detach { connection, .. } => {
                self.registrations.end(&name, *connection);
                departure = Some(*connection);
            }
            _ => {}
        }
        if let UserOp::Send { by, content } = op {
            return self.send_to_user(now, name, by, content, to, out);
        }
        let Some(user) = self.users.get_mut(&name) else { return self.absent(name, &op, to) };
        let mut context = context!(self, now);
        let was_shown = user.shown() != Status::Offline;
        let mut reply = user.apply(op, &mut context)?;
        let is_shown = user.shown() != Status::Offline;
        self.shown = self.shown + usize::from(is_shown) - usize::from(was_shown);
        if let Some((socket, connection)) = socket
            && let Some(device) = self.registrations.claim(&name, socket, connection)
        {
            reply = Reply::Claimed(device);
        }
        let offline_at = user.offline_at();
        self.gate.keep(self.records.drain(..));
        self.tell_user_facts(now, &name, out);
        if let Some(connection) = arrival {
            self.ask_directs(&name, Some(connection));
        }
        if let Some(connection) = departure {
            self.end_directs(&name, connection);
        }
        match offline_at {
            Some(at) if at <= now.mono => self.go_offline(now, &name, out),
            Some(at) => drop(self.due.entry(at).or_default().insert(Due::GoOffline(name))),
            None => {}
        }
        Ok(Some(reply))
    }

    /// Has it kept of those who came a while ago, and are still here, that they were. Whoever comes for a moment is noted
    /// only once, when they go.
    pub(super) fn note_arrivals(&mut self, now: Now) {
        while let Some((_, name)) = self.arrived.pop_front_if(|(due, _)| *due <= now.mono) {
            let Some(user) = self.users.get(&name) else { continue };
            let mut context = context!(self, now);
            user.note_seen(&mut context);
        }
        if self.arrived.is_empty() {
            self.arrived = VecDeque::new();
        }
        self.gate.keep(self.records.drain(..));
    }

    /// Forgets a user who has not come back in time.
    pub(super) fn go_offline(&mut self, now: Now, name: &Name, out: &mut Vec<Outgoing>) {
        let Some(user) = self.users.get_mut(name) else { return };
        let mut context = context!(self, now);
        user.go_offline(&mut context);
        self.gate.keep(self.records.drain(..));
        self.tell_user_facts(now, name, out);
        self.users.remove(name);
    }

    /// Counts a request against a user's allowance, whether or not they are connected.
    pub(super) fn spend_rest(&mut self, now: Now, user: Name) -> Result<Reply, Reject> {
        if !self.allowances.contains(&user) {
            self.spent.push_back((now.mono + WINDOW_MS, user.clone()));
            self.allowances.insert(RestQuota::new(user.clone(), now));
        }
        match self.allowances.get_mut(&user) {
            Some(allowance) => allowance.spend(self.rules.rest_per_minute, now).map(|()| Reply::Done),
            None => Ok(Reply::Done),
        }
    }

    /// Forgets the allowances whose minute is over; one that was begun anew stays for another.
    pub(super) fn forget_allowances(&mut self, now: Now) {
        while let Some((_, user)) = self.spent.pop_front_if(|(until, _)| *until <= now.mono) {
            match self.allowances.get(&user).map(RestQuota::ends_at) {
                Some(at) if at > now.mono => self.spent.push_back((at, user)),
                _ => drop(self.allowances.remove(&user)),
            }
        }
    }

    /// A page of the connected users, for whoever may see them all.
    pub(super) fn page_of_users(&self, now: Now, page: &UsersPage) -> Reply {
        let is_one = |user: &User| !user.connections.is_empty();
        Reply::Users(self.page_of(now, page, self.users.iter().filter(|user| is_one(user)).count(), is_one))
    }

    /// A page of those users whom `is_one` picks, `total` in all.
    pub(super) fn page_of(
        &self,
        now: Now,
        page: &UsersPage,
        total: usize,
        is_one: impl Fn(&User) -> bool,
    ) -> UsersView {
        if page.limit == 0 {
            return UsersView { total, users: Vec::new(), is_more: total > 0 };
        }
        // The first of those behind `after`, the last of them on top: what comes before it takes its place.
        let mut first = BinaryHeap::new();
        let mut is_more = false;
        let is_behind = |name: &str| page.after.as_deref().is_none_or(|after| name > after);
        for user in self.users.iter().filter(|user| is_one(user) && is_behind(user.identity.user())) {
            let name = user.identity.user();
            if first.len() < page.limit {
                first.push(name);
                continue;
            }
            is_more = true;
            if let Some(mut last) = first.peek_mut()
                && name < *last
            {
                *last = name;
            }
        }
        let users = first.into_sorted_vec().into_iter().filter_map(|name| self.users.get(name));
        let users = users.map(|user| user.view(&user.identity, now)).collect();
        UsersView { total, users, is_more }
    }

    pub(super) fn tell_user_facts(&mut self, now: Now, name: &Name, out: &mut Vec<Outgoing>) {
        let mut events = std::mem::take(&mut self.events);
        for AddressedEvent { audience, event } in events.drain(..) {
            match audience {
                Audience::Connection(to) => out.push((to.place().shard, ShardMessage::Deliver { to, event })),
                Audience::Observers { except, rooms } => {
                    let Some(news) = self.news_of(now, name, except, &event) else { continue };
                    if self.tells_everybody() {
                        for shard in 0..self.placement.shards() as ShardNumber {
                            out.push((
                                shard,
                                ShardMessage::PresenceUpdate { reach: UpdateReach::Everyone, news: news.clone() },
                            ));
                        }
                        continue;
                    }
                    let connections = self.users.get(name).map_or(&[][..], |user| user.connections.as_slice());
                    for &of in connections {
                        let reach = UpdateReach::Around(of);
                        out.push((of.place().shard, ShardMessage::PresenceUpdate { reach, news: news.clone() }));
                    }
                    for room in rooms {
                        let home = self.placement.of(&room);
                        out.push((
                            home,
                            ShardMessage::PresenceUpdate { reach: UpdateReach::Room(room), news: news.clone() },
                        ));
                    }
                }
                Audience::Acquaintances { connection, room } if !self.tells_everybody() => {
                    let Some(news) = self.news_of(now, name, Some(connection), &event) else { continue };
                    out.push((
                        self.placement.of(&room),
                        ShardMessage::PresenceUpdate { reach: UpdateReach::Room(room), news },
                    ));
                }
                Audience::Acquaintances { .. } | Audience::Members { .. } | Audience::User(_) => {}
            }
        }
        self.events = events;
    }

    /// Whether everybody hears how a user is, and not only those who share a room with them.
    pub fn tells_everybody(&self) -> bool {
        match self.rules.presence_scope {
            // Names hash evenly, so this shard's share of the users tells how many there are.
            Scope::Auto => self.users.len() * self.placement.shards() <= TELL_ALL_UP_TO,
            Scope::All => true,
            Scope::Rooms | Scope::None => false,
        }
    }

    /// An event as news of a user; `None` where nobody is to hear of it.
    fn news_of(
        &mut self,
        now: Now,
        user: &Name,
        except: Option<ConnectionId>,
        event: &Event,
    ) -> Option<Arc<PresenceUpdate>> {
        if self.rules.presence_scope == Scope::None {
            return None;
        }
        self.news += 1;
        let packed = EncodedEvent::new(event, now, &mut self.draft).and_for_peers(event, now);
        Some(Arc::new(PresenceUpdate { user: user.clone(), number: self.news, except, packed }))
    }

    /// Passes news on to each shard that holds a member of `room`; not in a room so large that joins and leaves are not
    /// told there either.
    pub(super) fn announce_in(&self, room: &Name, news: &Arc<PresenceUpdate>, out: &mut Vec<Outgoing>) {
        let Some(room) = self.rooms.get(room) else { return };
        if room.members.len() <= self.rules.announce_limit {
            for shard in room.members.shards() {
                let reach = UpdateReach::Members(room.id.clone());
                out.push((shard, ShardMessage::PresenceUpdate { reach, news: news.clone() }));
            }
        }
    }
}
