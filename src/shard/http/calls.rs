//! REST calls as requests to owners and connections, and the results of calls from the replies.
//!
//! Most calls are one request to the owner of their subject. Some are sent to every owner, or to every connection or user
//! that they name, and the replies are added up. Some send a second request that depends on the first reply.

use crate::shard::core::Core;
use crate::shard::http::managing;
use crate::shard::http::publishing::{batch_step, batch_to_rooms, send_to_room};
use crate::shard::http::repeats::Repeatable;
use crate::shard::revocation::end_of_participation;
use std::net::IpAddr;
use std::sync::Arc;

use crate::base::Name;
use crate::base::ids::{ConnectionId, random_room_id, random_word};
use crate::base::limits;
use crate::base::time::Now;
use crate::codec::recovery;
use crate::dialect::rest::{NewRoom, Publish, PublishTarget, RestCall};
use crate::domain::access::{Identity, Roles};
use crate::domain::connection::{ConnectionOp, ConnectionView, connection_not_found};
use crate::domain::event::{Content, Direct};
use crate::domain::hook::OutboxOp;
use crate::domain::op::{
    HostClaim, HostKey, Op, PresenceView, PushResult, Reply, RoomOp, RoomsView, UserOp, UsersPage, UsersView,
    message_id,
};
use crate::domain::policy::PresenceAccess;
use crate::domain::query::{PartialResult, Query};
use crate::domain::reject::{Code, Reject};
use crate::domain::revocation::{Revocation, RevocationChange, Revoked, RevokedKind};
use crate::domain::user::user_not_found;

/// Characters of a host secret: 160 bits.
const HOST_SECRET_CHARS: usize = 32;

/// A REST call whose answer is awaited.
pub(in crate::shard) struct PendingCall {
    pub(super) call: RestCall,
    pub(super) by: Identity,
    /// The client's address.
    pub(super) address: IpAddr,
    /// The server's own address, as the client knows it.
    pub(super) site: String,
    /// Further requests, the next one last: the requests themselves, while the caller's quotas are requested.
    pub(super) next: Vec<CallRequests>,
    /// Further requests that a reply has led to.
    pub(super) rounds: u8,
    /// For the presence of a user that is shown to those who share a room: the caller's rooms.
    pub(super) rooms: Option<Vec<Name>>,
    /// A push with an idempotency key.
    pub(super) repeatable: Option<Repeatable>,
}

/// Requests, one at least, and the value that their replies are merged into, if they are merged.
pub(super) type CallRequests = (Vec<Op>, Option<Reply>);

/// The next step of a call.
pub(super) enum CallStep {
    /// The call's own answer.
    Answer(Reply),
    /// Further requests.
    Request(CallRequests),
    /// The next message of a batch to users or all connections.
    Push(Box<Publish>),
}

/// The result of a reply to a call that may name a connection.
enum NamedStep {
    /// The next step.
    Step(CallStep),
    /// The call names none; its reply.
    Other(Reply),
}

/// Turns calls into requests.
pub(super) struct Calls<'a> {
    core: &'a mut Core,
}

impl<'a> Calls<'a> {
    pub(super) fn on(core: &'a mut Core) -> Self {
        Self { core }
    }

    /// Checks that the caller may call it, and that its content is not too large.
    fn check(&self, now: Now, call: &RestCall, by: &Identity) -> Result<(), Reject> {
        let is_open = self.core.options.openness.push && matches!(call, RestCall::DisconnectUser { .. });
        if call.concerns_only().is_some_and(|user| **user != *by.user()) && !by.roles().admin && !is_open {
            return Err(Reject::new(Code::Forbidden, "Only the user themselves and admins may do this"));
        }
        let content_bytes = self.core.options.content_bytes;
        if call.content_bytes() > content_bytes.saturating_add(2) {
            return Err(Reject::new(Code::MessageTooLarge, format!("The data is larger than {content_bytes} bytes")));
        }
        self.core.check_call_grants(now, by, call)?;
        self.core.check_key_rooms(now, by, call)
    }

    /// The first requests of a call.
    ///
    /// # Errors
    /// The caller may not call it, or it names what cannot be.
    pub(super) fn first_requests(
        &mut self,
        now: Now,
        call: &mut RestCall,
        claim: &HostClaim,
        caller: ConnectionId,
    ) -> Result<CallRequests, Reject> {
        let by = &claim.by;
        self.check(now, call, by)?;
        let one = |op| Ok((vec![op], None));
        let look = |user: &Name| Op::User(user.clone(), UserOp::Describe { by: by.clone() });
        match call {
            RestCall::CreateMeeting(..) | RestCall::CreateRoom(..) => one(self.create_op(call, by)),
            RestCall::Manage(managed) => one(self.core.managed_op(now, managed, by, caller)?),
            RestCall::Meeting { room } | RestCall::Room { room } => {
                one(Op::Room(room.clone(), RoomOp::Describe { by: by.clone() }))
            }
            RestCall::UpdateRoom { .. }
            | RestCall::CloseMeeting { .. }
            | RestCall::RemoveUser { .. }
            | RestCall::Lock { .. } => one(self.moderation_op(now, call, claim)),
            RestCall::MakeKey(_) | RestCall::Revoke(_) | RestCall::Unrevoke(_) | RestCall::Revocations { .. } => {
                self.revocation_requests(now, call, by)
            }
            // The connection may be named by the id that its client has kept.
            RestCall::Leave { connection: Some(_), .. } => one(Op::User(by.user_name(), UserOp::ListConnections)),
            RestCall::Leave { room, connection } => {
                one(Op::Room(room.clone(), RoomOp::RemoveParticipant { by: by.clone(), connection: *connection }))
            }
            RestCall::ListMeetings => Ok((vec![Op::Rooms], Some(Reply::Rooms(RoomsView::default())))),
            // A room needs to know the caller's connections before it can take them in.
            RestCall::Join { room, .. } => {
                self.core.revocations.list().check_member(now, room, by.user())?;
                one(Op::User(by.user_name(), UserOp::ListConnections))
            }
            RestCall::Connections { user } | RestCall::DisconnectUser { user } => {
                one(Op::User(user.clone(), UserOp::ListConnections))
            }
            RestCall::Register { user, socket, device } => Ok(self.register(user, socket, device)),
            RestCall::Disconnect { socket } => one(self.disconnect_op(socket, by)),
            RestCall::Presence { user } | RestCall::UserStatus { user } => match self.view_of(user, by) {
                PresenceAccess::Open => one(look(user)),
                PresenceAccess::InSharedRooms => one(Op::User(by.user_name(), UserOp::ListConnections)),
                PresenceAccess::Closed => Ok((Vec::new(), Some(Reply::Connections(Vec::new())))),
            },
            RestCall::OwnStatus => one(look(&by.user_name())),
            RestCall::SetPresence { user, status, last_seen } => {
                one(Op::User(user.clone(), UserOp::SetStatus { status: *status, last_seen: *last_seen, by: None }))
            }
            RestCall::Broadcast(_)
            | RestCall::PushToAll(_)
            | RestCall::PushToUser { .. }
            | RestCall::PushToUsers { .. }
            | RestCall::Notify { .. } => Ok(self.push_requests(now, call, by)),
            RestCall::Publish(publish) => Ok(self.publish(now, by, publish, caller)),
            RestCall::Batch(batch) if batch.has_rooms() => Ok(batch_to_rooms(by, batch, caller)),
            RestCall::Batch(batch) => {
                Ok(self.publish(now, by, batch.next_push().expect("invariant: a batch has a message"), caller))
            }
            RestCall::Messages { room, range } => {
                one(Op::Room(room.clone(), RoomOp::ReadHistory { connection: None, wanted: *range }))
            }
            RestCall::Rooms(page) => one(Op::Query(Query::RoomPage(page.clone()))),
            RestCall::App(request) => one(Op::App(request.clone())),
            RestCall::DeadLetters => one(Op::Outbox(OutboxOp::ListDeadLetters)),
            RestCall::ReplayWebhook(endpoint) => one(self.replay_op(endpoint)?),
            RestCall::ConnectedUsers(page) => Ok(connected_users(page)),
            _ => Err(unanswered()),
        }
    }

    fn moderation_op(&self, now: Now, call: &RestCall, claim: &HostClaim) -> Op {
        let room = call.rooms().first().copied().expect("invariant: such a call is for one room").clone();
        let claim = self.core.moderating(now, claim.clone(), &room);
        Op::Room(room, host_op(call, claim))
    }

    fn replay_op(&self, endpoint: &Name) -> Result<Op, Reject> {
        let is_known = self.core.options.hook_counters.iter().any(|counters| *counters.endpoint == **endpoint);
        match is_known {
            true => Ok(Op::Outbox(OutboxOp::Replay { endpoint: endpoint.clone() })),
            false => Err(Reject::new(Code::NotFound, "No webhook of that name is configured")),
        }
    }

    fn create_op(&mut self, call: &mut RestCall, by: &Identity) -> Op {
        let NewRoom { id, mut profile, log, is_locked } = call.take_room(&by.user_name()).unwrap_or_default();
        let room = id.unwrap_or_else(|| random_room_id(&mut self.core.rng).into());
        if let (RestCall::CreateMeeting(_, secret), true) = (call, by.roles().guest) {
            let fresh = random_word(&mut self.core.rng, HOST_SECRET_CHARS);
            profile.host_key = Some(*host_key(&fresh));
            *secret = Some(fresh.into());
        }
        Op::Room(room, RoomOp::Create { by: by.clone(), profile: Box::new(profile), log, is_locked })
    }

    fn revocation_requests(&mut self, now: Now, call: &mut RestCall, by: &Identity) -> Result<CallRequests, Reject> {
        Ok(match call {
            RestCall::MakeKey(new) => (vec![self.core.make_key(now, new, by)?], None),
            RestCall::Revoke(revocation) => {
                self.complete(now, revocation, by)?;
                let change = RevocationChange::Added(Arc::new((**revocation).clone()));
                (vec![Op::Revocation(change)], None)
            }
            RestCall::Unrevoke(subject) => (vec![Op::Revocation(RevocationChange::Removed((**subject).clone()))], None),
            RestCall::Revocations { kind, room, page } if *kind != RevokedKind::Address => {
                let bounds = (page.after.as_deref(), page.limit);
                let (found, is_more) = self.core.revocations.list().list(now, *kind, room.as_deref(), bounds);
                (Vec::new(), Some(Reply::Revocations(found, is_more)))
            }
            // Each shard knows its own part of the addresses that attempts have blocked.
            _ => (vec![Op::Query(Query::BlockedAddresses)], None),
        })
    }

    fn push_requests(&mut self, now: Now, call: &RestCall, by: &Identity) -> CallRequests {
        let none = Some(Reply::Pushed(PushResult::default()));
        let Some(content) = call.content() else {
            debug_assert!(false, "invariant: a call that pushes has a content");
            return (Vec::new(), none);
        };
        let direct = self.direct(now, by, content, None);
        let push = |user: &Name| Op::User(user.clone(), UserOp::Push { direct: direct.clone(), keep: false });
        match call {
            RestCall::PushToUser { user, .. } | RestCall::Notify { user, .. } => (vec![push(user)], None),
            RestCall::PushToUsers { users, .. } => (users.iter().map(push).collect(), none),
            _ => (vec![Op::Broadcast(direct)], none),
        }
    }

    /// How far a caller may see the presence of a user.
    pub(super) fn view_of(&self, user: &str, by: &Identity) -> PresenceAccess {
        by.presence_access(user, self.core.options.rules.presence_scope)
    }

    /// Fills in the rest of a revocation.
    fn complete(&self, now: Now, revocation: &mut Revocation, by: &Identity) -> Result<(), Reject> {
        if revocation.until.is_some_and(|until| until <= now.wall) {
            return Err(Reject::invalid("until must be in the future"));
        }
        if let Revoked::TokensOf(_) = revocation.subject {
            // The next second: tokens of this one may have been issued before.
            let next = now.unix_seconds() + 1;
            if revocation.issued_before.is_some_and(|moment| moment > next) {
                return Err(Reject::invalid("issuedBefore must not be in the future"));
            }
            revocation.issued_before.get_or_insert(next);
        }
        if self.core.revocations.list().len() >= limits::REVOCATIONS {
            let text =
                format!("The server keeps {} blocks, bans and revocations, and has as many", limits::REVOCATIONS);
            return Err(Reject::new(Code::RateLimited, text));
        }
        revocation.made_at = now.wall;
        revocation.by = by.user_name();
        Ok(())
    }

    /// The page of blocked addresses: those in the list, and those that were blocked after too many attempts.
    pub(super) fn blocked_addresses(&self, now: Now, page: &UsersPage, blocked: Vec<(IpAddr, u64)>) -> Reply {
        let list = self.core.revocations.list();
        let (mut found, is_more) = list.list(now, RevokedKind::Address, None, (page.after.as_deref(), page.limit));
        let by_attempts = blocked.into_iter().map(|(address, until)| Revocation::by_attempts(address, until));
        let is_on_page = |revocation: &Revocation| {
            page.after.as_deref().is_none_or(|after| *revocation.subject.page_name() > *after)
        };
        found.extend(by_attempts.filter(is_on_page).map(Arc::new));
        found.sort_by_cached_key(|revocation| revocation.subject.page_name());
        let is_more = is_more || found.len() > page.limit;
        found.truncate(page.limit);
        Reply::Revocations(found, is_more)
    }

    fn direct(&mut self, now: Now, by: &Identity, content: &Content, except: Option<ConnectionId>) -> Arc<Direct> {
        let id = message_id(&mut self.core.rng, now);
        Arc::new(Direct { is_pushed: true, except, id, sender: by.clone(), content: content.clone(), at: now.wall })
    }

    /// A backend's message. `caller` stands for a connection that does not receive it where the backend names none.
    pub(super) fn publish(&mut self, now: Now, by: &Identity, publish: &Publish, caller: ConnectionId) -> CallRequests {
        let pushed = Some(Reply::Pushed(PushResult::default()));
        match &publish.target {
            PublishTarget::Rooms(rooms) => {
                let send = |(part, room)| send_to_room(by, publish, caller, (part, room));
                ((0..).zip(rooms).map(send).collect(), Some(Reply::Published(Vec::new())))
            }
            PublishTarget::Users(users) => {
                let mut direct = self.direct(now, by, &publish.content, publish.except);
                let mut push = |user: &Name| {
                    if publish.keep {
                        // Each is acknowledged by itself.
                        let id = message_id(&mut self.core.rng, now);
                        direct = Arc::new(Direct { id, ..(*direct).clone() });
                    }
                    Op::User(user.clone(), UserOp::Push { direct: direct.clone(), keep: publish.keep })
                };
                (users.iter().map(&mut push).collect(), pushed)
            }
            PublishTarget::All => (vec![Op::Broadcast(self.direct(now, by, &publish.content, publish.except))], pushed),
        }
    }

    /// Registers a socket: at its shard if it is named by the id of a live connection, otherwise at the user's owner.
    fn register(&self, user: &Name, socket: &Name, device: &Option<Box<str>>) -> CallRequests {
        let op = match (self.connection_of(socket), ConnectionId::parse(socket)) {
            (Some(connection), _) => Op::Connection(connection, equip(user, device)),
            (None, Some(id)) => Op::Query(Query::Shown(id)),
            (None, None) => register_op(user, socket, device),
        };
        (vec![op], None)
    }

    fn disconnect_op(&self, socket: &Name, by: &Identity) -> Op {
        match self.connection_of(socket) {
            Some(connection) => Op::Connection(connection, ConnectionOp::Close { by: by.clone() }),
            None => Op::User(by.user_name(), UserOp::UnregisterSocket { socket: socket.clone() }),
        }
    }

    /// The connection that has this id, if there may be one.
    pub(super) fn connection_of(&self, id: &str) -> Option<ConnectionId> {
        ConnectionId::parse(id).filter(|id| self.core.channels.may_exist(*id))
    }
}

impl PendingCall {
    /// The step that the merged replies to a call's requests lead to.
    ///
    /// # Errors
    /// The call is refused.
    pub(super) fn next_step(&mut self, reply: Result<Reply, Reject>) -> Result<CallStep, Reject> {
        if let RestCall::Batch(batch) = &mut self.call {
            // A refusal of the first requests is one of the call.
            let reply = if self.rounds == 0 { Ok(reply?) } else { reply };
            return Ok(batch_step(batch, reply));
        }
        if let RestCall::Manage(managed) = &mut self.call {
            return managing::next_step(managed, &self.by, self.rounds, reply);
        }
        if let RestCall::Revoke(revocation) = &self.call {
            return revocation_step(&revocation.subject, self.rounds, reply);
        }
        if let RestCall::Register { user, socket, device } = &self.call {
            return self.register_step((user, socket, device), reply);
        }
        self.presence_step(reply).or_else(|reply| self.step(reply))
    }

    /// The step of a call that is neither a batch nor concerns a presence that not everyone may see.
    fn step(&mut self, reply: Result<Reply, Reject>) -> Result<CallStep, Reject> {
        let reply = match (&self.call, reply) {
            (RestCall::Presence { user } | RestCall::UserStatus { user }, Err(reject))
                if reject.code == Code::UserNotFound =>
            {
                Reply::Presence(Box::new(PresenceView::nobody(user.clone())))
            }
            (RestCall::OwnStatus, Err(reject)) if reject.code == Code::UserNotFound => {
                Reply::Presence(Box::new(PresenceView::nobody(self.by.user_name())))
            }
            (RestCall::Disconnect { socket }, Err(reject))
                if reject.code == Code::ConnectionNotFound && self.rounds == 0 && self.by.roles().admin =>
            {
                return find_shown(socket);
            }
            (RestCall::Disconnect { socket }, Err(reject))
                if reject.code == Code::ConnectionNotFound
                    && self.rounds == 0
                    && ConnectionId::parse(socket).is_some() =>
            {
                // A recovered client knows its connection by the id of the first one.
                let op = Op::User(self.by.user_name(), UserOp::ListConnections);
                return Ok(CallStep::Request((vec![op], None)));
            }
            (_, reply) => reply?,
        };
        let reply = match self.step_of_named_connection(reply)? {
            NamedStep::Step(step) => return Ok(step),
            NamedStep::Other(reply) => reply,
        };
        match (&mut self.call, reply) {
            (RestCall::Join { room, connection, is_connected }, Reply::Connections(mut connections)) => {
                if let Some(connection) = connection {
                    connections.retain(|known| known == &*connection);
                    if connections.is_empty() {
                        return Err(not_yours());
                    }
                }
                *is_connected = !connections.is_empty();
                let op = RoomOp::AddParticipant { by: self.by.clone(), connections };
                Ok(CallStep::Request((vec![Op::Room(room.clone(), op)], None)))
            }
            (RestCall::Connections { .. }, Reply::Connections(list)) => {
                Ok(each(&list, Reply::Described(Vec::new()), |_| ConnectionOp::Describe))
            }
            (RestCall::DisconnectUser { .. }, Reply::Connections(list)) if list.is_empty() => Err(user_not_found()),
            // That the caller may act for the user was checked before.
            (RestCall::DisconnectUser { user }, Reply::Connections(list)) => {
                let by = Identity::new(user, None, None, Roles::default());
                Ok(each(&list, Reply::Closed(0), |_| ConnectionOp::Close { by: by.clone() }))
            }
            (_, Reply::Described(mut list)) => {
                list.sort_unstable_by_key(|view| (view.connected_at, view.connection));
                Ok(CallStep::Answer(Reply::Described(list)))
            }
            (_, reply) => Ok(CallStep::Answer(reply)),
        }
    }

    /// The next step of the registration of a socket.
    fn register_step(
        &self,
        (user, socket, device): (&Name, &Name, &Option<Box<str>>),
        reply: Result<Reply, Reject>,
    ) -> Result<CallStep, Reject> {
        let op = match reply {
            // It has an id's form and is no live connection, or another user's, which is nobody else's business. It can be the
            // id that a recovered client has kept.
            Err(reject) if reject.code == Code::ConnectionNotFound && self.rounds == 0 => return find_shown(socket),
            Err(reject) if reject.code == Code::ConnectionNotFound && self.rounds <= 2 => {
                register_op(user, socket, device)
            }
            Ok(Reply::PartialResult(PartialResult::Shown(None))) => register_op(user, socket, device),
            Ok(Reply::PartialResult(PartialResult::Shown(Some(live)))) => Op::Connection(live, equip(user, device)),
            // The user's owner found the connection under the name that its client chose; its shard has to be told.
            Ok(Reply::Connections(list)) => {
                Op::Connection(*list.first().ok_or_else(connection_not_found)?, equip(user, device))
            }
            reply => return reply.map(CallStep::Answer),
        };
        Ok(CallStep::Request((vec![op], None)))
    }

    /// The next step of a call that names one of the caller's connections, perhaps by the id that a recovered client has
    /// kept: then each of them is asked for the id that it shows.
    fn step_of_named_connection(&mut self, reply: Reply) -> Result<NamedStep, Reject> {
        let describe = |list: &[ConnectionId]| each(list, Reply::Described(Vec::new()), |_| ConnectionOp::Describe);
        let by = &self.by;
        let step = match (&mut self.call, reply) {
            (
                RestCall::Join { connection: Some(named), .. } | RestCall::Leave { connection: Some(named), .. },
                Reply::Connections(list),
            ) if !list.is_empty() && !list.contains(&*named) => describe(&list),
            (RestCall::Join { room, connection: Some(named), is_connected }, Reply::Described(views)) => {
                let connection = shown_as(&views, *named).ok_or_else(not_yours)?;
                *is_connected = true;
                let op = RoomOp::AddParticipant { by: by.clone(), connections: vec![connection] };
                CallStep::Request((vec![Op::Room(room.clone(), op)], None))
            }
            (RestCall::Leave { room, connection: Some(named) }, Reply::Connections(_)) => leave(by, room, *named),
            (RestCall::Leave { room, connection: Some(named) }, Reply::Described(views)) => {
                leave(by, room, shown_as(&views, *named).unwrap_or(*named))
            }
            (RestCall::Disconnect { .. }, Reply::Connections(list)) if list.is_empty() => {
                return Err(connection_not_found());
            }
            (RestCall::Disconnect { .. }, Reply::Connections(list)) => describe(&list),
            (RestCall::Disconnect { .. }, Reply::PartialResult(PartialResult::Shown(found))) => {
                let op = ConnectionOp::Close { by: by.clone() };
                CallStep::Request((vec![Op::Connection(found.ok_or_else(connection_not_found)?, op)], None))
            }
            (RestCall::Disconnect { socket }, Reply::Described(views)) => {
                let named = ConnectionId::parse(socket).and_then(|named| shown_as(&views, named));
                let op = ConnectionOp::Close { by: by.clone() };
                CallStep::Request((vec![Op::Connection(named.ok_or_else(connection_not_found)?, op)], None))
            }
            (_, reply) => return Ok(NamedStep::Other(reply)),
        };
        Ok(NamedStep::Step(step))
    }

    /// The next step to the presence of a user that is shown to those who share a room: the caller's connections, their rooms,
    /// the user's connections, their rooms, the presence. `Err`: the reply is for the call itself.
    fn presence_step(&mut self, reply: Result<Reply, Reject>) -> Result<CallStep, Result<Reply, Reject>> {
        let user = match &self.call {
            RestCall::Presence { user } | RestCall::UserStatus { user } => user.clone(),
            _ => return Err(reply),
        };
        match reply {
            Ok(Reply::Connections(list)) if list.is_empty() => Ok(unknown_user(user)),
            Ok(Reply::Connections(list)) => Ok(each(&list, Reply::Described(Vec::new()), |_| ConnectionOp::Describe)),
            Ok(Reply::Described(views)) => {
                let rooms: Vec<Name> = views.into_iter().flat_map(|view| view.rooms).collect();
                match self.rooms.take() {
                    Some(own) if rooms.iter().any(|room| own.contains(room)) => {
                        let op = UserOp::Describe { by: self.by.clone() };
                        Ok(CallStep::Request((vec![Op::User(user, op)], None)))
                    }
                    None if !rooms.is_empty() => {
                        self.rooms = Some(rooms);
                        Ok(CallStep::Request((vec![Op::User(user, UserOp::ListConnections)], None)))
                    }
                    _ => Ok(unknown_user(user)),
                }
            }
            reply => Err(reply),
        }
    }

    /// Users that the answer may list.
    pub(super) fn users_max(&self) -> usize {
        match &self.call {
            RestCall::ConnectedUsers(page) => page.limit,
            _ => usize::MAX,
        }
    }
}

/// The answer about a user that does not exist, and about one that the caller must not see.
fn unknown_user(user: Name) -> CallStep {
    CallStep::Answer(Reply::Presence(Box::new(PresenceView::nobody(user))))
}

fn connected_users(page: &UsersPage) -> CallRequests {
    (vec![Op::Users(page.clone())], Some(Reply::Users(UsersView::default())))
}

/// The step after a revocation. A ban ends the participation of the user once it holds: a removed client that joins again at once
/// is refused. Of members that wait for their client no connection is left to be found.
fn revocation_step(subject: &Revoked, rounds: u8, reply: Result<Reply, Reject>) -> Result<CallStep, Reject> {
    match subject {
        Revoked::Member { room, user } if rounds == 0 => {
            reply?;
            Ok(CallStep::Request((vec![end_of_participation(room.clone(), user.clone())], None)))
        }
        // A banned user need not have been a member.
        Revoked::Member { .. } => Ok(CallStep::Answer(Reply::Done)),
        _ => reply.map(CallStep::Answer),
    }
}

/// A question about each of several connections, whose answers add up.
fn each(list: &[ConnectionId], none: Reply, op: impl Fn(&ConnectionId) -> ConnectionOp) -> CallStep {
    if list.is_empty() {
        return CallStep::Answer(none);
    }
    CallStep::Request((list.iter().map(|connection| Op::Connection(*connection, op(connection))).collect(), Some(none)))
}

/// Registers a socket at the user's owner.
fn register_op(user: &Name, socket: &Name, device: &Option<Box<str>>) -> Op {
    Op::User(user.clone(), UserOp::RegisterSocket { socket: socket.clone(), device: device.clone() })
}

/// Asks all shards for the connection whose client knows it by this id: its user is not known.
fn find_shown(id: &Name) -> Result<CallStep, Reject> {
    let id = ConnectionId::parse(id).ok_or_else(connection_not_found)?;
    Ok(CallStep::Request((vec![Op::Query(Query::Shown(id))], None)))
}

/// The refusal of a call that the shard itself should have answered.
fn unanswered() -> Reject {
    Reject::new(Code::Internal, "The call was not answered")
}

fn leave(by: &Identity, room: &Name, connection: ConnectionId) -> CallStep {
    let op = RoomOp::RemoveParticipant { by: by.clone(), connection: Some(connection) };
    CallStep::Request((vec![Op::Room(room.clone(), op)], None))
}

/// The connection that its client knows by this id.
fn shown_as(views: &[ConnectionView], id: ConnectionId) -> Option<ConnectionId> {
    views.iter().find(|view| view.shown == id).map(|view| view.connection)
}

fn not_yours() -> Reject {
    Reject::new(Code::ConnectionNotFound, "You have no connection of that id")
}

fn equip(user: &Name, device: &Option<Box<str>>) -> ConnectionOp {
    ConnectionOp::SetDevice { user: user.clone(), device: device.clone() }
}

/// The key of a host secret.
pub(in crate::shard) fn host_key(secret: &str) -> Box<HostKey> {
    Box::new(HostKey(recovery::hash(secret)))
}

/// The operation of a room's host.
fn host_op(call: &RestCall, by: HostClaim) -> RoomOp {
    match call {
        RestCall::RemoveUser { user, .. } => RoomOp::RemoveUser { by, user: user.clone() },
        RestCall::Lock { is_locked, .. } => RoomOp::SetLocked { by, is_locked: *is_locked },
        RestCall::UpdateRoom { change, .. } => RoomOp::Update { by: by.by, change: change.clone(), adopts: false },
        _ => RoomOp::Close { by },
    }
}
