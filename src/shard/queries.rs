//! Queries of clients: each is sent to the owner of its subject, or to every owner, in one step or several, and the results
//! become one answer.

use std::sync::Arc;

use uuid::Uuid;

use crate::base::Name;
use crate::base::handle::{PeerKey, SocketIoSlot};
use crate::base::limits;
use crate::base::time::Now;
use crate::connection::conn::Conn;
use crate::connection::peer::Recovery;
use crate::dialect::socketio::SocketIoAnswer;
use crate::domain::access::Identity;
use crate::domain::client_query::{ClientQuery, PageRequest};
use crate::domain::connection::ConnectionOp;
use crate::domain::grants::GrantAction;
use crate::domain::monitoring::{OverviewParts, PresenceStats, SessionStats};
use crate::domain::op::{Op, PresenceView, Reply, RoomOp, UserOp, UsersPage, UsersView};
use crate::domain::policy::PresenceAccess;
use crate::domain::query::{PartialResult, Query};
use crate::domain::query_result::{QueryResult, UserList};
use crate::domain::reject::{Code, Reject};
use crate::domain::user::user_not_found;
use crate::shard::core::Core;
use crate::shard::metrics::Metering;
use crate::shard::peers::Peers;
use crate::shard::recovery::sessions::KeptSessions;
use crate::shard::requests::{Merge, OnReply, PendingRequest, RequestRef};

/// A client's query whose reply is awaited.
pub(super) struct ClientRequest {
    by: Identity,
    subject: Subject,
}

/// The subject of a step.
enum Subject {
    Room,
    Rooms,
    Members,
    /// The presence of a room's users; the list goes on after this one.
    MembersNamed(Option<Name>),
    Typing(Name),
    /// A message, of whichever room.
    Message(Uuid),
    Users,
    /// A user.
    Presence,
    /// A user whose presence is shown to those who share a room: its connections.
    ConnectionsOf(Name),
    /// The same: the rooms of its connections.
    RoomsOf(Name),
    /// A user and its newest connection.
    PresenceOf(Box<PresenceView>),
    /// Counters of every owner.
    Stats,
    /// Counters of sessions, whose queued messages are counted.
    Sessions(Box<SessionStats>),
    /// Incidents on connections.
    Events,
    /// All counters of connections.
    Monitoring,
    /// The overview of connections, whose totals are added.
    Overview(Box<OverviewParts>),
}

/// The next step of a query.
enum NextStep {
    Answer(Box<QueryResult>),
    Request(Subject, Op),
    /// Requests whose replies are added up.
    RequestAll(Subject, Vec<Op>),
}

/// Answers queries.
pub(super) struct Queries<'a> {
    core: &'a mut Core,
}

impl<'a> Queries<'a> {
    pub(super) fn on(core: &'a mut Core) -> Self {
        Self { core }
    }

    /// Begins a query.
    ///
    /// # Errors
    /// The client may not send it, or its owner is overloaded.
    pub(super) fn begin(
        &mut self,
        now: Now,
        slot: SocketIoSlot,
        id: RequestRef<'_>,
        query: ClientQuery<'_>,
    ) -> Result<(), Reject> {
        let by = self.core.net.identity(slot)?;
        query.action().check(&by, self.core.options.openness)?;
        match self.first_step(now, slot, &by, query)? {
            NextStep::Answer(result) => {
                Peers::on(self.core).answer(now, slot.into(), id, &SocketIoAnswer::Found(&result));
            }
            NextStep::Request(subject, op) => {
                let takes_it = match &op {
                    Op::Room(name, _) | Op::User(name, _) => self.core.takes_requests_for(name),
                    _ => !self.core.requests.is_full(),
                };
                if !takes_it {
                    return Err(Reject::overloaded());
                }
                self.request(slot, id, ClientRequest { by, subject }, vec![op]);
            }
            NextStep::RequestAll(subject, ops) => self.request(slot, id, ClientRequest { by, subject }, ops),
        }
        Ok(())
    }

    /// The result that this shard has itself, or the first request.
    fn first_step(
        &mut self,
        now: Now,
        slot: SocketIoSlot,
        by: &Identity,
        query: ClientQuery<'_>,
    ) -> Result<NextStep, Reject> {
        let connection = self.core.net.id_of(slot);
        let is_cluster = self.core.channels.placement.is_cluster();
        let scope = self.core.options.rules.presence_scope;
        let users_of = |subject, room: &str, page| {
            NextStep::Request(subject, Op::Room(room.into(), RoomOp::ListUsers { by: by.clone(), page }))
        };
        let every_owner = |subject, query| NextStep::Request(subject, Op::Query(query));
        Ok(match query {
            ClientQuery::Room { room } => users_of(Subject::Room, &room, UsersPage { after: None, limit: 0 }),
            ClientQuery::Rooms => {
                let joined: Arc<[Name]> = self.core.rooms_of(slot.into()).into();
                every_owner(Subject::Rooms, Query::RoomsOf { user: by.user_name(), joined })
            }
            ClientQuery::Members { room, page } => {
                users_of(Subject::Members, &room, users_page(page, limits::ONLINE_LISTED))
            }
            ClientQuery::Typing { room } => {
                let room: Name = room.as_ref().into();
                let op = Op::Room(room.clone(), RoomOp::ListTypists { connection });
                NextStep::Request(Subject::Typing(room), op)
            }
            ClientQuery::Message { message } => {
                let message = Uuid::try_parse(&message).map_err(|_| Reject::message_not_found())?;
                let rooms = self.core.rooms_of(slot.into()).into();
                NextStep::Request(Subject::Message(message), Op::FindMessageRoom { message, connection, rooms })
            }
            // Others than the user are strangers, unless they are in a room: the list of the room has them.
            ClientQuery::Users { .. } if by.presence_access("", scope) != PresenceAccess::Open => {
                every_owner(Subject::Users, Query::UsersNamed([by.user_name()].into()))
            }
            ClientQuery::Users { page } => {
                every_owner(Subject::Users, Query::Users(users_page(page, limits::USERS_LISTED)))
            }
            ClientQuery::Presence { user } if by.presence_access(&user, scope) == PresenceAccess::Closed => {
                return Err(user_not_found());
            }
            ClientQuery::Presence { user } if by.presence_access(&user, scope) == PresenceAccess::InSharedRooms => {
                let user: Name = user.as_ref().into();
                NextStep::Request(Subject::ConnectionsOf(user.clone()), Op::User(user, UserOp::ListConnections))
            }
            ClientQuery::Presence { user } => {
                let op = UserOp::Describe { by: by.clone() };
                NextStep::Request(Subject::Presence, Op::User(user.as_ref().into(), op))
            }
            ClientQuery::MessageStats => every_owner(Subject::Stats, Query::MessageStats),
            ClientQuery::PresenceStats => every_owner(Subject::Stats, Query::PresenceStats),
            ClientQuery::SessionStats => every_owner(Subject::Stats, Query::SessionStats),
            ClientQuery::Session => NextStep::Answer(Box::new(self.session(now, slot, by)?)),
            ClientQuery::Connections if is_cluster => every_owner(Subject::Stats, Query::Totals),
            ClientQuery::Connections => {
                let metrics = Metering::on(self.core).totals(now).metrics();
                NextStep::Answer(Box::new(QueryResult::Connections(metrics)))
            }
            ClientQuery::Health => NextStep::Answer(Box::new(QueryResult::Health(Metering::on(self.core).assess(now)))),
            ClientQuery::Events(filter) => {
                every_owner(Subject::Events, Query::Incidents(Arc::new(filter.into_owned())))
            }
            ClientQuery::Monitoring => every_owner(Subject::Monitoring, Query::Overview),
        })
    }

    /// The session of the requesting peer, with its token if it may be recovered.
    fn session(&mut self, now: Now, slot: SocketIoSlot, by: &Identity) -> Result<QueryResult, Reject> {
        let view = Peers::on(self.core).describe(now, slot.into());
        let view = view.ok_or_else(|| Reject::new(Code::Internal, "No session"))?;
        let may_recover = self.core.net.sessions.peers[slot].recovery != Recovery::None;
        let token = may_recover.then(|| KeptSessions::on(self.core).secret_of(slot.into()).into());
        Ok(QueryResult::Session(by.clone(), Box::new(view), token))
    }

    /// Sends requests, each to every owner if it is a query.
    fn request(&mut self, slot: SocketIoSlot, id: RequestRef<'_>, request: ClientRequest, ops: Vec<Op>) {
        let merge = match ops.first() {
            Some(Op::Query(query)) => Merge::Query(query.clone()),
            _ => Merge::Limit(usize::MAX),
        };
        // A connection may have ended meanwhile; the others count.
        let initial = matches!(request.subject, Subject::RoomsOf(_)).then(|| Reply::Described(Vec::new()));
        let then = OnReply::Query(Box::new(request));
        let request = PendingRequest::new(self.core.net.id_of(slot), id.to_owned(), then);
        self.core.send_to_all_owners(request, ops, initial, merge);
    }

    /// The reply to a step has come.
    pub(super) fn replied(
        &mut self,
        now: Now,
        peer: PeerKey,
        id: RequestRef<'_>,
        request: ClientRequest,
        reply: Result<Reply, Reject>,
    ) {
        let Some(slot) = peer.socketio() else {
            debug_assert!(false, "invariant: only Socket.IO peers send queries");
            return;
        };
        let ClientRequest { by, subject } = request;
        match self.next_step(now, slot, &by, subject, reply) {
            Ok(NextStep::Answer(result)) => {
                Peers::on(self.core).answer(now, peer, id, &SocketIoAnswer::Found(&result));
            }
            Ok(NextStep::Request(subject, op)) => self.request(slot, id, ClientRequest { by, subject }, vec![op]),
            Ok(NextStep::RequestAll(subject, ops)) => self.request(slot, id, ClientRequest { by, subject }, ops),
            Err(reject) => Peers::on(self.core).refuse(now, peer, id, &reject),
        }
    }

    /// The step that the reply to another one leads to.
    fn next_step(
        &mut self,
        now: Now,
        slot: SocketIoSlot,
        by: &Identity,
        subject: Subject,
        reply: Result<Reply, Reject>,
    ) -> Result<NextStep, Reject> {
        let reply = match (&subject, reply) {
            // The connection has ended meanwhile; the rest is as true as it was.
            (Subject::PresenceOf(_), Err(_)) => Reply::Described(Vec::new()),
            (_, reply) => reply?,
        };
        let result = match (subject, reply) {
            (Subject::Room, Reply::Roster(roster)) => {
                QueryResult::Room { view: Box::new(roster.room), online: roster.total as u64 }
            }
            (Subject::Members, Reply::Roster(roster)) => {
                let next = roster.users.last().filter(|_| roster.is_more).cloned();
                let op = Op::Query(Query::UsersNamed(roster.users.into()));
                return Ok(NextStep::Request(Subject::MembersNamed(next), op));
            }
            (Subject::Typing(room), Reply::Typists(typists)) => QueryResult::Typing(room, typists),
            (Subject::Message(message), Reply::RoomOf(room)) => {
                self.core.check_grant(now, by, &room, GrantAction::History)?;
                let op = RoomOp::ReadReceipts { connection: Some(self.core.net.id_of(slot)), message };
                return Ok(NextStep::Request(Subject::Message(message), Op::Room(room, op)));
            }
            (Subject::Message(_), Reply::Marks(marks)) => QueryResult::Message(marks),
            (Subject::ConnectionsOf(_), Reply::Connections(list)) if list.is_empty() => return Err(user_not_found()),
            (Subject::ConnectionsOf(user), Reply::Connections(list)) => {
                let describe = |connection| Op::Connection(connection, ConnectionOp::Describe);
                let ops = list.into_iter().map(describe).collect();
                return Ok(NextStep::RequestAll(Subject::RoomsOf(user), ops));
            }
            (Subject::RoomsOf(user), Reply::Described(views)) => {
                let own = self.core.rooms_of(slot.into());
                if !views.iter().flat_map(|view| &view.rooms).any(|room| own.contains(room)) {
                    return Err(user_not_found());
                }
                let op = UserOp::Describe { by: by.clone() };
                return Ok(NextStep::Request(Subject::Presence, Op::User(user, op)));
            }
            (Subject::Presence, Reply::Presence(view)) => {
                let may_see = self.core.options.openness.presence_details || by.is_user_or_admin(&view.user);
                match view.newest.filter(|_| may_see) {
                    Some(newest) => {
                        let op = Op::Connection(newest, ConnectionOp::Describe);
                        return Ok(NextStep::Request(Subject::PresenceOf(view), op));
                    }
                    None => QueryResult::Presence { view, private: may_see.then_some(None) },
                }
            }
            (Subject::PresenceOf(view), Reply::Described(mut list)) => {
                QueryResult::Presence { view, private: Some(list.pop().map(Box::new)) }
            }
            (subject, Reply::PartialResult(result)) => return self.result_of(now, subject, result),
            _ => return Err(of_another_kind()),
        };
        Ok(NextStep::Answer(Box::new(result)))
    }

    /// The step that the merged results of all owners lead to.
    fn result_of(&mut self, now: Now, subject: Subject, result: PartialResult) -> Result<NextStep, Reject> {
        let result = match (subject, result) {
            (Subject::Rooms, PartialResult::Rooms(mut rooms)) => {
                rooms.rooms.sort_unstable_by(|a, b| a.room.cmp(&b.room));
                QueryResult::Rooms(rooms.rooms)
            }
            (Subject::MembersNamed(next), PartialResult::Users(users)) => {
                QueryResult::Members(UserList { users: users.users, next })
            }
            (Subject::Users, PartialResult::Users(UsersView { users, is_more, .. })) => {
                let next = users.last().filter(|_| is_more).map(|last| last.user.clone());
                QueryResult::Users(UserList { users, next })
            }
            (Subject::Stats, PartialResult::MessageStats(stats)) => QueryResult::MessageStats(stats),
            (Subject::Stats, PartialResult::PresenceStats(mut stats)) => {
                stats.count_stored();
                QueryResult::PresenceStats(stats)
            }
            (Subject::Stats, PartialResult::SessionStats(stats)) if !stats.waiting.is_empty() => {
                let op = Op::Query(Query::LastMessages(stats.waiting_rooms().into()));
                return Ok(NextStep::Request(Subject::Sessions(Box::new(stats)), op));
            }
            (Subject::Stats, PartialResult::SessionStats(stats)) => QueryResult::SessionStats(stats),
            (Subject::Sessions(mut stats), PartialResult::LastMessages(last)) => {
                stats.count_queued(&last);
                QueryResult::SessionStats(*stats)
            }
            (Subject::Stats, PartialResult::Totals(totals)) => QueryResult::Connections(totals.metrics()),
            (Subject::Events, PartialResult::Incidents(incidents)) => QueryResult::Events(incidents),
            (Subject::Monitoring, PartialResult::Overview(parts)) => {
                if self.core.channels.placement.is_cluster() {
                    return Ok(NextStep::Request(Subject::Overview(parts), Op::Query(Query::Totals)));
                }
                let metrics = Metering::on(self.core).totals(now).metrics();
                QueryResult::Monitoring(Box::new(parts.overview(metrics)))
            }
            (Subject::Overview(parts), PartialResult::Totals(totals)) => {
                QueryResult::Monitoring(Box::new(parts.overview(totals.metrics())))
            }
            _ => return Err(of_another_kind()),
        };
        Ok(NextStep::Answer(Box::new(result)))
    }

    /// This shard's part of a query.
    pub(super) fn part(&mut self, now: Now, query: &Query) -> PartialResult {
        match query {
            Query::RoomsOf { user, joined } => PartialResult::Rooms(self.core.owner.rooms_of(user, joined)),
            Query::RoomPage(page) => PartialResult::RoomPage(self.core.owner.room_page(page)),
            Query::Users(page) => PartialResult::Users(self.core.owner.users_shown(now, page)),
            Query::UsersNamed(users) => PartialResult::Users(self.core.owner.these_users(now, users)),
            Query::MessageStats => PartialResult::MessageStats(self.core.owner.message_stats()),
            // The owner answers these itself.
            Query::PresenceStats => PartialResult::PresenceStats(PresenceStats::default()),
            Query::SessionStats => PartialResult::SessionStats(self.session_stats(now)),
            Query::LastMessages(rooms) => PartialResult::LastMessages(self.core.owner.last_messages(rooms)),
            Query::Shown(id) => PartialResult::Shown(Peers::on(self.core).shown_as(*id)),
            Query::Incidents(filter) => PartialResult::Incidents(self.core.metrics.incidents(filter)),
            Query::Overview => PartialResult::Overview(Box::new(self.core.metrics.overview())),
            Query::Totals => PartialResult::Totals(Box::new(Metering::on(self.core).own_totals(now))),
            Query::BlockedAddresses => PartialResult::Blocked(self.core.admission.blocked(now)),
        }
    }

    /// Counters of the sessions that may be recovered. Messages that a lost one misses stay in their rooms' logs.
    fn session_stats(&mut self, now: Now) -> SessionStats {
        let mut stats = SessionStats::default();
        self.core.recovery.count_lost(now, &mut stats);
        let Core { net, .. } = &*self.core;
        let mut count = |has_token: bool, connected_at: u64| {
            stats.sessions += 1;
            stats.tokens += u64::from(has_token);
            stats.age_ms += now.wall.saturating_sub(connected_at);
        };
        let attached = |conn: &Conn| conn.is_listening() && conn.standing.is_attached();
        for (slot, _) in net.conns.iter().filter(|(_, conn)| attached(conn)) {
            count(self.core.recovers(), net.remotes.connected_at(slot, now));
        }
        for (slot, peer) in net.sessions.peers.iter().filter(|(_, peer)| peer.is_connected) {
            if let Some(at) = net.session_of(slot) {
                count(peer.recovery != Recovery::None, net.sessions.remotes.connected_at(at, now));
            }
        }
        stats
    }
}

fn of_another_kind() -> Reject {
    Reject::new(Code::Internal, "The answer was of another kind than the question")
}

/// The requested page, within bounds.
fn users_page(page: PageRequest<'_>, most: usize) -> UsersPage {
    let after = page.after.map(|after| after.as_ref().into());
    UsersPage { after, limit: page.limit.unwrap_or(most).clamp(1, most) }
}
