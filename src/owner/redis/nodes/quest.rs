//! What a node has asked the others: whom, what they have said, and what that comes to. The others name rooms and users;
//! how those are is looked up in Redis, so that a room or a user of several nodes is there once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use uuid::Uuid;

use crate::base::Name;
use crate::base::ids::ConnectionId;
use crate::base::limits;
use crate::base::time::Now;
use crate::domain::access::{Identity, Roles};
use crate::domain::command::Status;
use crate::domain::connection::connection_not_found;
use crate::domain::monitoring::{MessageStats, PresenceStats, SessionStats};
use crate::domain::op::{
    Op, PresenceView, PushResult, Reply, RoomOp, RoomView, RoomsView, UserOp, UsersPage, UsersView,
};
use crate::domain::query::{PartialResult, Query};
use crate::domain::record::Session;
use crate::domain::recovery::SessionOp;
use crate::domain::reject::Reject;
use crate::owner::redis::nodes::say::{Part, Wanted, reject, totals, watched};

/// Users whose presence is looked up for the sake of a count.
const COUNTED: usize = 1_000;

/// One question, as its asker put it.
pub(super) enum Quest {
    Rooms,
    Users(UsersPage),
    Query(Query),
    Broadcast,
    /// Which room a message is of: a node may remember, else the rooms are asked that the asking connection is in.
    RoomOf {
        message: Uuid,
        connection: ConnectionId,
        rooms: Arc<[Name]>,
    },
    Connection,
    /// What is noted of this connection is to be used up by whoever has this token, once it has ended.
    Take(ConnectionId, SessionOp),
}

/// What others have named.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Named {
    /// Those to be looked up.
    pub(super) names: Vec<Name>,
    /// How many there are.
    pub(super) total: usize,
    /// Whether there are more than are named.
    pub(super) is_more: bool,
}

/// What was found to be wrong with a list.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Mend {
    /// A room is there that is not listed.
    Enlist(Name),
    /// A room is listed that is not there.
    StrikeOff(Name),
    /// A user takes part in rooms that their list does not have, or has no part in some that it has.
    Enroll(Name, Vec<Name>, bool),
}

impl Quest {
    /// What every node is asked; `None` where Redis alone knows.
    pub(super) fn wanted(&self) -> Option<Wanted> {
        Some(match self {
            Self::Rooms => Wanted::Rooms,
            Self::Users(page) | Self::Query(Query::Users(page)) => {
                Wanted::Users(page.after.as_deref().map(Into::into), page.limit)
            }
            Self::Query(Query::PresenceStats) => Wanted::Users(None, COUNTED),
            Self::Query(Query::MessageStats) => Wanted::Messages,
            Self::Query(Query::SessionStats) => Wanted::Sessions,
            Self::Query(Query::Incidents(filter)) => Wanted::Incidents((&**filter).into()),
            Self::Query(Query::Overview) => Wanted::Watched,
            Self::Query(Query::Totals) => Wanted::Totals,
            Self::Query(Query::RoomsOf { .. } | Query::UsersNamed(_)) => return None,
            Self::RoomOf { message, .. } => Wanted::room_of(*message),
            Self::Broadcast | Self::Connection | Self::Take(..) => return None,
        })
    }

    /// What is to be looked up of what the nodes have said.
    pub(super) fn named(&self, parts: &[Part]) -> Named {
        match self {
            Self::Rooms => {
                let all = parts.iter().filter_map(|part| match part {
                    Part::Rooms(rooms, total, ..) | Part::Listed(total, rooms) => Some((&rooms[..], *total)),
                    _ => None,
                });
                first(all, limits::ROOMS_LISTED)
            }
            Self::Users(page) | Self::Query(Query::Users(page)) => first(users(parts), page.limit),
            Self::Query(Query::PresenceStats) => first(users(parts), COUNTED),
            Self::Query(Query::UsersNamed(users)) => {
                Named { names: users.to_vec(), total: users.len(), is_more: false }
            }
            Self::Query(Query::RoomsOf { joined, .. }) => {
                let own: Vec<Box<str>> = joined.iter().map(|room| (**room).into()).collect();
                let listed = listed(parts).map(|(total, rooms)| (rooms, total));
                first([(&own[..], own.len())].into_iter().chain(listed), limits::ROOMS_LISTED)
            }
            Self::RoomOf { rooms, .. } if room_in(parts).is_none() => {
                Named { names: rooms.to_vec(), total: rooms.len(), is_more: false }
            }
            _ => Named::default(),
        }
    }

    /// How one of them is looked up.
    pub(super) fn look(&self, name: Name) -> Op {
        let by = Identity::new("switchboard", None, None, Roles { admin: true, ..Roles::default() });
        match self {
            Self::Rooms | Self::Query(Query::RoomsOf { .. }) => {
                Op::Room(name, RoomOp::ListUsers { by, page: UsersPage { after: None, limit: 0 } })
            }
            Self::RoomOf { message, connection, .. } => {
                Op::Room(name, RoomOp::ReadReceipts { connection: *connection, message: *message })
            }
            _ => Op::User(name, UserOp::Describe { by }),
        }
    }

    /// The session that the former connection's node has handed over: of one that was in no room that node alone knew.
    pub(super) fn handed_over(now: Now, of: ConnectionId, op: &SessionOp, parts: Vec<Part>) -> Option<Session> {
        let (token, connection) = match op {
            SessionOp::Take { token } => (*token, of),
            // That it has passed on is noted by that node.
            SessionOp::Transfer { token, from, .. } => (*token, *from),
            _ => return None,
        };
        parts.into_iter().find_map(|part| match part {
            Part::Session(user, dialect) => Some(Session {
                token,
                user: user.into(),
                connection,
                connected_at: now.wall,
                active_at: now.wall,
                expires_at: None,
                dialect,
                rooms: Vec::new(),
            }),
            _ => None,
        })
    }

    /// What was found to be wrong with what Redis lists. Where something could not be looked up, nothing is known to be gone.
    pub(super) fn mends(&self, parts: &[Part], named: &Named, found: &[Reply], has_failed: bool) -> Vec<Mend> {
        let Some((total, listed)) = listed(parts) else { return Vec::new() };
        let views = found.iter().filter_map(|reply| match reply {
            Reply::Roster(roster) => Some((&*roster.room.room, &roster.room)),
            _ => None,
        });
        let views: BTreeMap<&str, &RoomView> = views.collect();
        let listed: BTreeSet<&str> = listed.iter().map(|room| &**room).collect();
        let is_whole = listed.len() == total;
        let gone = named.names.iter().filter(|room| !has_failed && listed.contains(&***room));
        match self {
            Self::Rooms => {
                let unlisted = views.values().filter(|view| is_whole && view.is_made && !listed.contains(&*view.room));
                let gone = gone.filter(|room| !views.contains_key(&***room)).cloned().map(Mend::StrikeOff);
                unlisted.map(|view| Mend::Enlist(view.room.clone())).chain(gone).collect()
            }
            Self::Query(Query::RoomsOf { user, .. }) => {
                let takes_part = |view: &RoomView| view.takes_part(user);
                let unlisted = views.values().filter(|view| takes_part(view) && !listed.contains(&*view.room));
                let unlisted = unlisted.map(|view| view.room.clone()).collect();
                let gone = gone.filter(|room| !views.get(&***room).is_some_and(|view| takes_part(view)));
                let gone = gone.cloned().collect();
                vec![Mend::Enroll(user.clone(), unlisted, true), Mend::Enroll(user.clone(), gone, false)]
            }
            _ => Vec::new(),
        }
    }

    /// The answer, of what the nodes have said and what was found of what they named.
    pub(super) fn answer(&self, parts: Vec<Part>, named: &Named, found: Vec<Reply>) -> Result<Reply, Reject> {
        Ok(match self {
            Self::Rooms | Self::Query(Query::RoomsOf { .. }) if listed(&parts).is_none() => {
                return Err(Reject::storage_unavailable());
            }
            Self::Rooms => Reply::Rooms(rooms(&parts, named, found)),
            Self::Users(_) => Reply::Users(presences(named, found)),
            Self::Query(survey) => Reply::PartialResult(surveyed(survey, parts, named, found)),
            Self::Broadcast => {
                let reached = parts.iter().map(|part| if let Part::Count(count) = part { *count } else { 0 }).sum();
                Reply::Pushed(PushResult { reached, offline: Vec::new() })
            }
            Self::RoomOf { .. } => {
                let found = found.into_iter().find_map(|reply| match reply {
                    Reply::Marks(marks) => Some(marks.room),
                    _ => None,
                });
                let room = room_in(&parts).map(Name::from).or(found);
                return room.map(Reply::RoomOf).ok_or_else(Reject::message_not_found);
            }
            Self::Connection => match parts.into_iter().next() {
                Some(Part::Views(views)) => Reply::Described(views.into_iter().map(Into::into).collect()),
                Some(Part::Count(count)) => Reply::Closed(count),
                Some(Part::Registered(id)) => Reply::Registered(Some(id.0)),
                Some(Part::Refused(code, text)) => return Err(reject(&code, &text)),
                Some(_) => Reply::Done,
                None => return Err(connection_not_found()),
            },
            Self::Take(..) => Reply::Done,
        })
    }
}

fn users(parts: &[Part]) -> impl Iterator<Item = (&[Box<str>], usize)> {
    parts.iter().filter_map(|part| match part {
        Part::Users(users, total) => Some((&users[..], *total)),
        _ => None,
    })
}

/// The room that a node has named.
fn room_in(parts: &[Part]) -> Option<&str> {
    parts.iter().find_map(|part| match part {
        Part::Room(room) => Some(&**room),
        _ => None,
    })
}

/// How many rooms Redis lists, and the first of them.
fn listed(parts: &[Part]) -> Option<(usize, &[Box<str>])> {
    parts.iter().find_map(|part| match part {
        Part::Listed(total, rooms) => Some((*total, &rooms[..])),
        _ => None,
    })
}

/// The first names of several lists, each once. What is named twice is counted once.
fn first<'a>(lists: impl Iterator<Item = (&'a [Box<str>], usize)>, most: usize) -> Named {
    let mut names: BTreeSet<&str> = BTreeSet::new();
    let mut count = 0;
    for (list, total) in lists {
        let before = names.len();
        names.extend(list.iter().map(|name| &**name));
        count += total - (list.len() - (names.len() - before)).min(total);
    }
    let is_more = names.len() > most;
    Named { names: names.into_iter().take(most).map(Name::from).collect(), total: count, is_more }
}

fn rooms(parts: &[Part], named: &Named, found: Vec<Reply>) -> RoomsView {
    let rooms: Vec<RoomView> = found.into_iter().filter_map(room).collect();
    // Those that are not there any more are listed for a while.
    let gone = named.names.len().saturating_sub(rooms.len());
    let total_rooms = named.total.saturating_sub(gone);
    let mut view = RoomsView { total_rooms, rooms, ..RoomsView::default() };
    for part in parts {
        if let Part::Rooms(_, _, peers, connections) = part {
            view.total_peers += peers;
            view.connections += connections;
        }
    }
    view
}

fn room(reply: Reply) -> Option<RoomView> {
    match reply {
        Reply::Roster(roster) => Some(roster.room),
        _ => None,
    }
}

fn presences(named: &Named, found: Vec<Reply>) -> UsersView {
    let users = found.into_iter().filter_map(presence);
    let mut users: Vec<PresenceView> = users.filter(|view| view.connections > 0).collect();
    users.sort_unstable_by(|a, b| a.user.cmp(&b.user));
    UsersView { total: named.total, users, is_more: named.is_more }
}

fn presence(reply: Reply) -> Option<PresenceView> {
    match reply {
        Reply::Presence(view) => Some(view),
        _ => None,
    }
}

fn surveyed(survey: &Query, parts: Vec<Part>, named: &Named, found: Vec<Reply>) -> PartialResult {
    match survey {
        Query::RoomsOf { user, joined } => {
            let is_own = |view: &RoomView| joined.contains(&view.room) || view.takes_part(user);
            let rooms = found.into_iter().filter_map(room).filter(is_own).collect();
            PartialResult::Rooms(RoomsView { rooms, ..RoomsView::default() })
        }
        Query::Users(_) | Query::UsersNamed(_) => {
            let mut view = presences(named, found);
            let known = view.users.len();
            view.users.retain(|user| user.status != Status::Offline);
            // Those who are behind this page are not looked up, so that they all count.
            view.total = view.total.saturating_sub(known - view.users.len());
            PartialResult::Users(view)
        }
        Query::MessageStats => {
            let mut all = MessageStats::default();
            for part in &parts {
                if let Part::Messages(typing, tracked, delivered, read) = *part {
                    all.merge(&MessageStats { typing, tracked, delivered, read });
                }
            }
            PartialResult::MessageStats(all)
        }
        Query::PresenceStats => {
            let mut stats = PresenceStats::default();
            for view in found.into_iter().filter_map(presence) {
                *match view.status {
                    Status::Online => &mut stats.online,
                    Status::Away => &mut stats.away,
                    Status::Busy => &mut stats.busy,
                    Status::Offline => &mut stats.offline,
                } += 1;
            }
            stats.online += named.total.saturating_sub(named.names.len()) as u64;
            PartialResult::PresenceStats(stats)
        }
        Query::SessionStats | Query::Incidents(_) | Query::Overview | Query::Totals => {
            let mut parts = parts.into_iter().filter_map(of_shards);
            let mut all = parts.next().unwrap_or_else(|| nothing(survey));
            parts.for_each(|part| all.add(part, survey));
            all
        }
    }
}

/// What another node's shards have said.
fn of_shards(part: Part) -> Option<PartialResult> {
    Some(match part {
        Part::Sessions(sessions, tokens, queued, age_ms) => {
            PartialResult::SessionStats(SessionStats { sessions, tokens, queued, age_ms })
        }
        Part::Incidents(incidents) => {
            PartialResult::Incidents(incidents.into_iter().filter_map(|incident| incident.incident()).collect())
        }
        Part::Watched(addresses, agents, recent) => {
            PartialResult::Overview(Box::new(watched(addresses, agents, recent)))
        }
        Part::Totals(counted) => PartialResult::Totals(Box::new(totals(counted))),
        _ => return None,
    })
}

fn nothing(survey: &Query) -> PartialResult {
    match survey {
        Query::Incidents(_) => PartialResult::Incidents(Vec::new()),
        Query::Overview => PartialResult::Overview(Box::new(watched(Vec::new(), Vec::new(), Vec::new()))),
        Query::Totals => PartialResult::Totals(Box::default()),
        _ => PartialResult::SessionStats(SessionStats::default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ids::ConnectionPlace;
    use crate::domain::op::Profile;
    use crate::domain::query::RoomRoster;

    fn list(names: &[&str]) -> Vec<Box<str>> {
        names.iter().map(|name| (*name).into()).collect()
    }

    #[test]
    fn whoever_is_on_several_nodes_is_one() {
        let quest = Quest::Users(UsersPage { after: None, limit: 3 });
        let parts = [Part::Users(list(&["ada", "bob", "eve"]), 5), Part::Users(list(&["bob", "dan"]), 2)];
        let names = ["ada", "bob", "dan"].map(Name::from).to_vec();
        assert_eq!(quest.named(&parts), Named { names, total: 6, is_more: true });
        assert_eq!(quest.named(&[]), Named::default());
    }

    fn found(room: &str, is_made: bool, host: &str) -> Reply {
        let room = RoomView {
            room: room.into(),
            is_made,
            profile: Profile::default(),
            host: host.into(),
            created_at: 0,
            last_activity: 0,
            participant_count: 0,
            peers: Vec::new(),
        };
        Reply::Roster(Box::new(RoomRoster { room, total: 0, users: Vec::new(), is_more: false }))
    }

    #[test]
    fn members_of_a_room_on_several_nodes_add_up_and_rooms_that_have_ended_do_not_count() {
        let parts = || {
            let nodes = [Part::Rooms(list(&["r", "s"]), 2, 5, 9), Part::Rooms(list(&["r"]), 1, 3, 4)];
            nodes.into_iter().chain([Part::Listed(2, list(&["r", "over"]))]).collect::<Vec<_>>()
        };
        let named = Quest::Rooms.named(&parts());
        assert_eq!((named.total, named.names.len()), (3, 3));
        match Quest::Rooms.answer(parts(), &named, vec![found("r", true, "ada"), found("s", false, "ada")]) {
            Ok(Reply::Rooms(view)) => {
                assert_eq!((view.total_rooms, view.total_peers, view.connections), (2, 8, 13));
            }
            other => panic!("{other:?}"),
        }
        let unanswered = vec![Part::Rooms(list(&["r"]), 1, 5, 9)];
        assert_eq!(Quest::Rooms.answer(unanswered, &named, Vec::new()).unwrap_err(), Reject::storage_unavailable());
    }

    #[test]
    fn what_is_wrong_with_a_list_is_found_by_looking() {
        let parts = [Part::Rooms(list(&["r", "s"]), 2, 0, 0), Part::Listed(2, list(&["over", "t"]))];
        let views = [found("r", true, "ada"), found("s", false, "ada"), found("t", true, "bob")];
        let mends = |quest: &Quest, has_failed| quest.mends(&parts, &quest.named(&parts), &views, has_failed);
        let enlist = || Mend::Enlist("r".into());
        assert_eq!(mends(&Quest::Rooms, false), [enlist(), Mend::StrikeOff("over".into())]);
        assert_eq!(mends(&Quest::Rooms, true), [enlist()], "it may be there");
        let own = Quest::Query(Query::RoomsOf { user: "ada".into(), joined: ["r", "s"].map(Name::from).into() });
        let enroll = |rooms: &[&str], takes_part| {
            Mend::Enroll("ada".into(), rooms.iter().map(|room| Name::from(*room)).collect(), takes_part)
        };
        assert_eq!(mends(&own, false), [enroll(&["r"], true), enroll(&["over", "t"], false)]);
        assert_eq!(mends(&own, true), [enroll(&["r"], true), enroll(&[], false)]);
    }

    #[test]
    fn what_no_node_knows_is_not_there() {
        let named = Named::default();
        let answer = |quest: Quest, parts| quest.answer(parts, &named, Vec::new());
        let (place, rooms) = (ConnectionPlace { node: 1, shard: 0, slot: 0 }, ["r"].map(Name::from).into());
        let asked = Quest::RoomOf { message: Uuid::nil(), connection: ConnectionId::new(place, [0; 12]), rooms };
        assert_eq!(asked.named(&[Part::Done]).names, ["r"].map(Name::from));
        assert_eq!(asked.named(&[Part::Room("r".into())]), Named::default());
        assert_eq!(answer(asked, vec![Part::Done]).unwrap_err(), Reject::message_not_found());
        assert_eq!(answer(Quest::Connection, Vec::new()).unwrap_err(), connection_not_found());
        let refused = vec![Part::refused(&connection_not_found())];
        assert_eq!(answer(Quest::Connection, refused).unwrap_err(), connection_not_found());
    }
}
