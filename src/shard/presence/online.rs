//! Lists of online users that are sent unasked: to peers that speak the colon dialect when they have connected, and to the
//! members of a room that a user has joined or left.
//!
//! A peer that has connected waits for the next list of all users. A shard requests one at once, but not again within the
//! same presence tick; the list is encoded once for all that wait. Updates that come while it is requested are sent after it
//! ([`super::Presence`]), so that they change the list and not the other way round. Where presence is not sent to all users,
//! the list is empty and has only the number of users.
//!
//! A room's owner knows the room's users, not their presence: it has their owners queried, for one list at a time.

use std::sync::Arc;

use crate::base::Name;
use crate::base::handle::SocketIoSlot;
use crate::base::ids::ConnectionId;
use crate::base::limits;
use crate::base::time::Now;
use crate::dialect::socketio::{self as dialects, Dialect};
use crate::domain::op::{Op, Reply, UsersPage, UsersView};
use crate::domain::query::{PartialResult, Query};
use crate::domain::reject::Reject;
use crate::message::{OwnerMessage, ShardNumber};
use crate::shard::core::Core;
use crate::shard::requests::{Merge, OnReply, PendingRequest};

/// Peers that wait for the list of online users.
#[derive(Default)]
pub(super) struct OnlineWaiters {
    /// For the next list.
    next: Vec<ConnectionId>,
    /// For the list that is requested.
    requested: Vec<ConnectionId>,
    is_requested: bool,
    /// When the next list may be requested, in monotonic milliseconds.
    not_before: u64,
}

/// The users of a list.
#[derive(Clone, Debug)]
pub(in crate::shard) enum UserList {
    /// All users, for peers that have connected.
    All,
    /// Those of a room.
    Room(Name),
}

impl OnlineWaiters {
    /// Whether a list is requested.
    pub(super) fn is_requested(&self) -> bool {
        self.is_requested
    }

    /// When the next list is to be requested, in monotonic milliseconds; `None` while no peer waits, or while a list is
    /// requested.
    pub(super) fn next_due(&self) -> Option<u64> {
        (!self.next.is_empty() && !self.is_requested).then_some(self.not_before)
    }

    /// Gives back memory that a burst of arrivals has left.
    pub(super) fn trim(&mut self) {
        self.next.shrink_to_fit();
        self.requested.shrink_to_fit();
    }
}

/// Requests and sends lists of online users.
pub(in crate::shard) struct OnlineUsers<'a> {
    core: &'a mut Core,
}

impl<'a> OnlineUsers<'a> {
    pub(in crate::shard) fn on(core: &'a mut Core) -> Self {
        Self { core }
    }

    /// Has the list of online users sent to a peer.
    pub(in crate::shard) fn add_waiting(&mut self, now: Now, slot: SocketIoSlot) {
        let connection = self.core.net.id_of(slot);
        self.core.presence.waiters.next.push(connection);
        self.request_if_due(now);
    }

    /// Requests a list of all users, if a peer waits for one and it is time.
    pub(in crate::shard) fn request_if_due(&mut self, now: Now) {
        let is_sent_to_all = self.core.owner.presence_reaches_all();
        let waiters = &mut self.core.presence.waiters;
        if waiters.next_due().is_some_and(|at| at <= now.mono) {
            waiters.is_requested = true;
            waiters.not_before = now.mono + self.core.options.presence_batch_ms;
            debug_assert!(waiters.requested.is_empty(), "invariant: one list is requested at a time");
            std::mem::swap(&mut waiters.next, &mut waiters.requested);
            let limit = if is_sent_to_all { limits::USERS_LISTED } else { 0 };
            let query = Query::Users(UsersPage { after: None, limit });
            let owners = self.core.channels.all_owners();
            let parts = owners.into_iter().map(|owner| (owner, query.clone())).collect();
            self.request(UserList::All, query, parts);
        }
    }

    /// Requests which of a room's users are online, for the room's owner.
    pub(in crate::shard) fn request_for_room(&mut self, room: Name, users: &[Name]) {
        let placement = self.core.channels.placement;
        let mut by_owner: Vec<Vec<Name>> = vec![Vec::new(); placement.shards()];
        for user in users {
            by_owner[usize::from(placement.of(user))].push(user.clone());
        }
        let owners = by_owner.into_iter().zip(0..).filter(|(users, _)| !users.is_empty());
        let parts: Vec<_> = owners.map(|(users, owner)| (owner, Query::UsersNamed(Arc::from(users)))).collect();
        if !parts.is_empty() {
            self.request(UserList::Room(room), Query::UsersNamed(Arc::from([])), parts);
        }
    }

    fn request(&mut self, list: UserList, query: Query, parts: Vec<(ShardNumber, Query)>) {
        let initial = Reply::PartialResult(PartialResult::Users(UsersView::default()));
        let request = PendingRequest::internal(OnReply::Online(list));
        let request = request.scattered(parts.len(), Some(initial), Merge::Query(query));
        let from = self.core.expect(request);
        for (owner, query) in parts {
            self.core.channels.post(owner, OwnerMessage::Request { from, op: Op::Query(query) });
        }
    }

    /// Sends a list whose parts have all arrived.
    pub(in crate::shard) fn send(&mut self, now: Now, list: UserList, reply: Result<Reply, Reject>) {
        let Ok(Reply::PartialResult(PartialResult::Users(found))) = reply else {
            debug_assert!(false, "invariant: a gather with an initial value has a result of its kind");
            return;
        };
        match list {
            UserList::All => self.send_to_waiters(&found),
            UserList::Room(room) => {
                let Core { owner, channels, .. } = &mut *self.core;
                owner.publish_online_users(now, &room, found.users, &mut channels.owner_output);
                channels.post_owner_output();
            }
        }
    }

    fn send_to_waiters(&mut self, all: &UsersView) {
        let (mut frames, mut users) = (Vec::new(), all.users.as_slice());
        loop {
            dialects::greet_with_users(&mut frames, users, all.total);
            if frames.len() <= self.core.answer_bytes() || users.is_empty() {
                break;
            }
            users = &users[..users.len() / 2];
            frames.clear();
        }
        let waiters = &mut self.core.presence.waiters;
        waiters.is_requested = false;
        let net = &mut self.core.net;
        let segment = net.outbound.encode(|out| out.extend_from_slice(&frames));
        for connection in waiters.requested.drain(..) {
            if let Some(slot) = net.find_socketio(connection)
                && let known = &net.sessions.peers[slot]
                && known.is_connected
                && known.dialect == Dialect::Colon
                && let Some(at) = net.session_of(slot)
            {
                net.deliver(at, segment);
            }
        }
    }
}
