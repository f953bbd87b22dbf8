//! A peer's own questions: each is put to the keeper of what it is about, or to every shard, and what they say becomes one
//! answer.

use std::sync::Arc;

use uuid::Uuid;

use crate::base::Name;
use crate::base::ids::{ConnectionId, PEER};
use crate::base::limits;
use crate::base::time::Now;
use crate::connection::conn::HandshakeState;
use crate::connection::peer::Recovery;
use crate::dialect::socketio::{ReplyTo, SocketIoAnswer};
use crate::domain::access::Identity;
use crate::domain::client_query::{ClientQuery, PageRequest};
use crate::domain::connection::ConnectionOp;
use crate::domain::monitoring::{OverviewParts, SessionStats};
use crate::domain::op::{Op, PresenceView, Reply, RoomOp, UserOp, UsersPage, UsersView};
use crate::domain::query::{PartialResult, Query};
use crate::domain::query_result::{QueryResult, UserList};
use crate::domain::reject::{Code, Reject};
use crate::message::{Requester, ShardMessage, ShardNumber};
use crate::shard::Shard;
use crate::shard::answers::{Ask, Then};

/// A question whose answer is awaited.
pub(super) struct Inquiry {
    by: Identity,
    about: About,
    /// Keepers that have not answered yet.
    awaited: usize,
    /// What those that have said.
    gathered: Option<PartialResult>,
    survey: Option<Query>,
}

/// What a question is about, as far as it is known.
#[derive(Clone)]
enum About {
    Room,
    Rooms,
    Members,
    /// Members of a room have been named; the list goes on after this one.
    MembersNamed(Option<Name>),
    Typing(Name),
    /// A message, of whichever room.
    Message(Uuid),
    Users,
    /// A user.
    Presence,
    /// A user and their newest connection.
    PresenceOf(Box<PresenceView>),
    /// What every keeper counts.
    Stats,
    /// What happened to connections.
    Events,
    /// All that is counted of connections.
    Monitoring,
    /// What has been seen of connections, to which what is counted of them belongs.
    Watched(Box<OverviewParts>),
}

/// What an answer leads to.
enum Next {
    Answer(Box<QueryResult>),
    Ask(About, Op),
}

impl Inquiry {
    fn new(by: Identity, about: About) -> Self {
        Self { by, about, awaited: 1, gathered: None, survey: None }
    }

    /// Takes one keeper's answer; the whole of it, when it was the last.
    pub(super) fn take_part(&mut self, part: Result<Reply, Reject>) -> Option<Result<Reply, Reject>> {
        self.awaited -= 1;
        let whole = match (self.gathered.take(), part, &self.survey) {
            (Some(mut all), Ok(Reply::PartialResult(part)), Some(survey)) => {
                all.add(part, survey);
                Ok(Reply::PartialResult(all))
            }
            (Some(all), _, _) => Ok(Reply::PartialResult(all)),
            (None, part, _) => part,
        };
        if self.awaited == 0 {
            return Some(whole);
        }
        if let Ok(Reply::PartialResult(all)) = whole {
            self.gathered = Some(all);
        }
        None
    }
}

impl Shard {
    /// A peer asks something.
    ///
    /// # Errors
    /// It may not ask that, or nobody can be asked.
    pub(super) fn inquire(
        &mut self,
        now: Now,
        peer: u32,
        to: ReplyTo,
        question: ClientQuery<'_>,
    ) -> Result<(), Reject> {
        let by = self.identity(PEER | peer)?;
        let (about, op) = match self.first_step(now, peer, &by, question)? {
            Next::Answer(finding) => {
                self.answer_in_dialect(now, peer, to, &SocketIoAnswer::Found(&finding));
                return Ok(());
            }
            Next::Ask(about, op) => (about, op),
        };
        let is_open = match &op {
            Op::Room(name, _) | Op::User(name, _) => self.is_open(name),
            _ => self.asks.len() < limits::ASKS_PER_SHARD,
        };
        if !is_open {
            return Err(Reject::overloaded());
        }
        self.pursue(peer, to, Inquiry::new(by, about), op);
        Ok(())
    }

    /// What this shard knows itself, or whom it asks first.
    fn first_step(&mut self, now: Now, peer: u32, by: &Identity, question: ClientQuery<'_>) -> Result<Next, Reject> {
        let connection = self.id_of(PEER | peer);
        let roster = |about, room: &str, page| {
            let op = RoomOp::ListUsers { by: by.clone(), page };
            Next::Ask(about, Op::Room(room.into(), op))
        };
        let survey = |about, survey| Next::Ask(about, Op::Query(survey));
        question.action().check(by)?;
        Ok(match question {
            ClientQuery::Room { room } => roster(About::Room, &room, UsersPage { after: None, limit: 0 }),
            ClientQuery::Rooms => {
                let joined: Arc<[Name]> = self.rooms_of_peer(peer).into();
                survey(About::Rooms, Query::RoomsOf { user: by.user_name(), joined })
            }
            ClientQuery::Members { room, page } => {
                roster(About::Members, &room, users_page(page, limits::ONLINE_LISTED))
            }
            ClientQuery::Typing { room } => {
                let room: Name = room.as_ref().into();
                Next::Ask(About::Typing(room.clone()), Op::Room(room, RoomOp::ListTypists { connection }))
            }
            ClientQuery::Message { message } => {
                let message = Uuid::try_parse(&message).map_err(|_| Reject::message_not_found())?;
                let rooms = self.rooms_of_peer(peer).into();
                Next::Ask(About::Message(message), Op::FindMessageRoom { message, connection, rooms })
            }
            ClientQuery::Users { page } => survey(About::Users, Query::Users(users_page(page, limits::USERS_LISTED))),
            ClientQuery::Presence { user } => {
                let op = UserOp::Describe { by: by.clone() };
                Next::Ask(About::Presence, Op::User(user.as_ref().into(), op))
            }
            ClientQuery::MessageStats => survey(About::Stats, Query::MessageStats),
            ClientQuery::PresenceStats => survey(About::Stats, Query::PresenceStats),
            ClientQuery::SessionStats => survey(About::Stats, Query::SessionStats),
            ClientQuery::Session => {
                let view = self.view_of_peer(now, peer).ok_or_else(|| Reject::new(Code::Internal, "No session"))?;
                let known = self.sessions.peers.get(peer as usize);
                let is_kept = known.is_some_and(|known| known.recovery != Recovery::None);
                let token = is_kept.then(|| self.secret_of_peer(peer).into());
                Next::Answer(Box::new(QueryResult::Session(by.clone(), Box::new(view), token)))
            }
            ClientQuery::Connections if self.placement.is_cluster() => survey(About::Stats, Query::Totals),
            ClientQuery::Connections => Next::Answer(Box::new(QueryResult::Connections(self.totals(now).metrics()))),
            ClientQuery::Health => Next::Answer(Box::new(QueryResult::Health(self.assess(now)))),
            ClientQuery::Events(filter) => survey(About::Events, Query::Incidents(Arc::new(filter.into_owned()))),
            ClientQuery::Monitoring => survey(About::Monitoring, Query::Overview),
        })
    }

    /// Puts a question, to every shard if it is a survey.
    fn pursue(&mut self, peer: u32, to: ReplyTo, mut inquiry: Inquiry, op: Op) {
        let others: Vec<(ShardNumber, Op)> =
            self.placement.others(self.number).filter_map(|shard| op.to_every_owner().map(|op| (shard, op))).collect();
        inquiry.awaited = 1 + others.len();
        inquiry.gathered = None;
        inquiry.survey = if let Op::Query(survey) = &op { Some(survey.clone()) } else { None };
        let connection: ConnectionId = self.id_of(PEER | peer);
        let then = Then::Inquired(Box::new(inquiry));
        let number = self.ask(Ask { to: Some(connection), request: Some(to.text().into()), then }, op);
        let from = Requester { shard: self.number, ask: number };
        for (shard, op) in others {
            self.post(shard, ShardMessage::Request { from, op });
        }
    }

    /// The answer to a peer's question has come.
    pub(super) fn inquired(
        &mut self,
        now: Now,
        peer: u32,
        to: ReplyTo,
        inquiry: Inquiry,
        reply: Result<Reply, Reject>,
    ) {
        match self.next_step(now, peer, &inquiry, reply) {
            Ok(Next::Answer(finding)) => self.answer_in_dialect(now, peer, to, &SocketIoAnswer::Found(&finding)),
            Ok(Next::Ask(about, op)) => self.pursue(peer, to, Inquiry { about, ..inquiry }, op),
            Err(reject) => {
                self.stats.refusals += 1;
                self.note_refused(now, PEER | peer, &reject);
                self.answer_in_dialect(now, peer, to, &SocketIoAnswer::Refused(&reject));
            }
        }
    }

    /// What the answer to one step leads to.
    fn next_step(
        &mut self,
        now: Now,
        peer: u32,
        inquiry: &Inquiry,
        reply: Result<Reply, Reject>,
    ) -> Result<Next, Reject> {
        let reply = match (&inquiry.about, reply) {
            // Their connection has ended meanwhile; the rest is as true as it was.
            (About::PresenceOf(_), Err(_)) => Reply::Described(Vec::new()),
            (_, reply) => reply?,
        };
        let finding = match (inquiry.about.clone(), reply) {
            (About::Room, Reply::Roster(roster)) => {
                QueryResult::Room { view: Box::new(roster.room), online: roster.total as u64 }
            }
            (About::Rooms, Reply::PartialResult(PartialResult::Rooms(mut rooms))) => {
                rooms.rooms.sort_unstable_by(|a, b| a.room.cmp(&b.room));
                QueryResult::Rooms(rooms.rooms)
            }
            (About::Members, Reply::Roster(roster)) => {
                let next = roster.users.last().filter(|_| roster.is_more).cloned();
                let about = About::MembersNamed(next);
                return Ok(Next::Ask(about, Op::Query(Query::UsersNamed(roster.users.into()))));
            }
            (About::MembersNamed(next), Reply::PartialResult(PartialResult::Users(users))) => {
                QueryResult::Members(UserList { users: users.users, next })
            }
            (About::Typing(room), Reply::Typists(typists)) => QueryResult::Typing(room, typists),
            (About::Message(message), Reply::RoomOf(room)) => {
                let op = RoomOp::ReadReceipts { connection: self.id_of(PEER | peer), message };
                return Ok(Next::Ask(About::Message(message), Op::Room(room, op)));
            }
            (About::Message(_), Reply::Marks(marks)) => QueryResult::Message(marks),
            (About::Users, Reply::PartialResult(PartialResult::Users(UsersView { users, is_more, .. }))) => {
                let next = users.last().filter(|_| is_more).map(|last| last.user.clone());
                QueryResult::Users(UserList { users, next })
            }
            (About::Presence, Reply::Presence(view)) => {
                let may_see = inquiry.by.is_user_or_admin(&view.user);
                match view.newest.filter(|_| may_see) {
                    Some(newest) => {
                        let op = Op::Connection(newest, ConnectionOp::Describe);
                        return Ok(Next::Ask(About::PresenceOf(Box::new(view)), op));
                    }
                    None => QueryResult::Presence { view: Box::new(view), private: may_see.then_some(None) },
                }
            }
            (About::PresenceOf(view), Reply::Described(mut list)) => {
                QueryResult::Presence { view, private: Some(list.pop().map(Box::new)) }
            }
            (About::Stats, Reply::PartialResult(PartialResult::MessageStats(stats))) => {
                QueryResult::MessageStats(stats)
            }
            (About::Stats, Reply::PartialResult(PartialResult::PresenceStats(stats))) => {
                QueryResult::PresenceStats(stats)
            }
            (About::Stats, Reply::PartialResult(PartialResult::SessionStats(stats))) => {
                QueryResult::SessionStats(stats)
            }
            (About::Events, Reply::PartialResult(PartialResult::Incidents(incidents))) => {
                QueryResult::Events(incidents)
            }
            (About::Stats, Reply::PartialResult(PartialResult::Totals(totals))) => {
                QueryResult::Connections(totals.metrics())
            }
            (About::Monitoring, Reply::PartialResult(PartialResult::Overview(watched))) => {
                if self.placement.is_cluster() {
                    return Ok(Next::Ask(About::Watched(watched), Op::Query(Query::Totals)));
                }
                QueryResult::Monitoring(Box::new(watched.overview(self.totals(now).metrics())))
            }
            (About::Watched(watched), Reply::PartialResult(PartialResult::Totals(totals))) => {
                QueryResult::Monitoring(Box::new(watched.overview(totals.metrics())))
            }
            _ => return Err(Reject::new(Code::Internal, "The answer was of another kind than the question")),
        };
        Ok(Next::Answer(Box::new(finding)))
    }

    /// This shard's part of what every shard is asked.
    pub(super) fn survey(&mut self, now: Now, survey: &Query) -> PartialResult {
        match survey {
            Query::RoomsOf { user, joined } => PartialResult::Rooms(self.authority.rooms_of(user, joined)),
            Query::Users(page) => PartialResult::Users(self.authority.users_shown(now, page)),
            Query::UsersNamed(users) => PartialResult::Users(self.authority.these_users(now, users)),
            Query::MessageStats => PartialResult::MessageStats(self.authority.message_stats()),
            Query::PresenceStats => PartialResult::PresenceStats(self.authority.presence_stats()),
            Query::SessionStats => PartialResult::SessionStats(self.session_stats(now)),
            Query::Incidents(filter) => PartialResult::Incidents(self.watching.watch.select(filter)),
            Query::Overview => PartialResult::Overview(Box::new(self.watching.watch.watched())),
            Query::Totals => PartialResult::Totals(Box::new(self.own_totals(now))),
        }
    }

    /// What is counted of sessions that may be recovered. What a lost one misses stays in its rooms' logs and is queued
    /// nowhere.
    fn session_stats(&self, now: Now) -> SessionStats {
        let mut stats = SessionStats::default();
        let attached =
            self.conns.iter().filter(|(_, conn)| conn.is_listening() && conn.standing == HandshakeState::Attached);
        for (slot, _) in attached {
            stats.sessions += 1;
            stats.tokens += u64::from(self.recovers());
            stats.age_ms += now.wall.saturating_sub(self.arrivals.came_at(slot as u32, now));
        }
        for (_, peer) in self.sessions.peers.iter().filter(|(_, peer)| peer.is_connected) {
            let Some(at) = self.sessions.named(peer.link) else { continue };
            stats.sessions += 1;
            stats.tokens += u64::from(peer.recovery != Recovery::None);
            stats.age_ms += now.wall.saturating_sub(self.sessions.arrivals.came_at(at, now));
        }
        stats
    }
}

/// A page as it is asked for, within bounds.
fn users_page(page: PageRequest<'_>, most: usize) -> UsersPage {
    let after = page.after.map(|after| after.as_ref().into());
    UsersPage { after, limit: page.limit.unwrap_or(most).clamp(1, most) }
}
