//! Cross-node queries: what each node is asked, what is looked up, and how partial results merge into a result.
//!
//! Nodes name rooms and users; their state is looked up in Redis, so a room or user of several nodes appears once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use uuid::Uuid;

use crate::base::Name;
use crate::base::ids::ConnectionId;
use crate::base::limits;
use crate::base::time::Now;
use crate::domain::access::{Identity, Roles};
use crate::domain::connection::connection_not_found;
use crate::domain::monitoring::{MessageStats, SessionStats};
use crate::domain::op::{Op, PushResult, Reply, RoomOp, RoomView, RoomsView, UsersPage};
use crate::domain::query::{PartialResult, Query, RoomPage, RoomsPage};
use crate::domain::record::Session;
use crate::domain::recovery::SessionOp;
use crate::domain::reject::Reject;
use crate::owner::redis::cluster::node_message::{NodeQuery, NodeResult, reject, watched};
use crate::owner::redis::cluster::online::OnlineMerge;
use crate::owner::redis::wire::WireConnectionId;

/// Users that each node names for counts, so that those of several nodes count once.
const COUNTED_USERS: usize = 1_000;

/// A query of this node to the cluster.
pub(super) enum ClusterQuery {
    Rooms,
    Users(UsersPage),
    Query(Query),
    Broadcast,
    /// The room of a message: from the nodes' memory, or from the rooms of the requesting connection.
    RoomOf {
        message: Uuid,
        connection: ConnectionId,
        rooms: Arc<[Name]>,
    },
    /// An operation on a connection of one node.
    Connection,
    /// A client has returned: after its former connection has ended, the session of this connection is taken or claimed.
    TakeSession(ConnectionId, SessionOp),
}

/// Names to look up.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct NameList {
    pub(super) names: Vec<Name>,
    /// Number of all names, with those that are not in the list.
    pub(super) total: usize,
    pub(super) is_more: bool,
}

/// An error in a list that a query has found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ListRepair {
    /// A room exists that is not listed.
    Enlist(Name),
    /// A listed room does not exist.
    Delist(Name),
    /// Rooms that are missing in a user's room list, or are there without reason.
    Enroll(Name, Vec<Name>, bool),
}

impl ClusterQuery {
    /// The query to every node; `None` if Redis alone has the answer.
    pub(super) fn node_query(&self) -> Option<NodeQuery> {
        Some(match self {
            Self::Rooms => NodeQuery::Rooms,
            Self::Users(page) | Self::Query(Query::Users(page)) => {
                NodeQuery::Online(page.after.as_deref().map(Into::into), page.limit)
            }
            Self::Query(Query::UsersNamed(users)) => NodeQuery::OnlineOf(users.to_vec()),
            Self::Query(Query::PresenceStats) => NodeQuery::Online(None, COUNTED_USERS),
            Self::Query(Query::MessageStats) => NodeQuery::Messages,
            Self::Query(Query::SessionStats) => NodeQuery::Sessions,
            Self::Query(Query::LastMessages(rooms)) => {
                NodeQuery::LastMessages(rooms.iter().map(|room| (**room).into()).collect())
            }
            Self::Query(Query::Shown(id)) => NodeQuery::Shown(WireConnectionId(*id)),
            Self::Query(Query::Incidents(filter)) => NodeQuery::Incidents((&**filter).into()),
            Self::Query(Query::Overview) => NodeQuery::Watched,
            Self::Query(Query::Totals) => NodeQuery::Totals,
            Self::Query(Query::BlockedAddresses) => NodeQuery::Blocked,
            Self::Query(Query::RoomsOf { .. }) => return None,
            Self::Query(Query::RoomPage(page)) => {
                NodeQuery::RoomPage((*page.prefix).into(), page.after.as_deref().map(Into::into))
            }
            Self::RoomOf { message, .. } => NodeQuery::room_of(*message),
            Self::Broadcast | Self::Connection | Self::TakeSession(..) => return None,
        })
    }

    /// Whether the query includes a list in Redis.
    pub(super) fn uses_list(&self) -> bool {
        matches!(self, Self::Rooms | Self::Query(Query::RoomsOf { .. } | Query::RoomPage(_) | Query::PresenceStats))
    }

    /// The user whose room list is part of the query; `None` for the list of all rooms.
    pub(super) fn list_owner(&self) -> Option<&Name> {
        match self {
            Self::Query(Query::RoomsOf { user, .. }) => Some(user),
            _ => None,
        }
    }

    /// The names to look up after the partial results.
    pub(super) fn names(&self, parts: &[NodeResult]) -> NameList {
        match self {
            Self::Rooms => {
                let all = parts.iter().filter_map(|part| match part {
                    NodeResult::Rooms(rooms, total, ..) | NodeResult::Listed(total, rooms) => {
                        Some((&rooms[..], *total))
                    }
                    _ => None,
                });
                first_names(all, limits::ROOMS_LISTED)
            }
            Self::Query(Query::RoomsOf { joined, .. }) => {
                let own: Vec<Box<str>> = joined.iter().map(|room| (**room).into()).collect();
                let listed = listed(parts).map(|(total, rooms)| (rooms, total));
                first_names([(&own[..], own.len())].into_iter().chain(listed), limits::ROOMS_LISTED)
            }
            Self::Query(Query::RoomPage(page)) => names_of_page(page, parts),
            Self::RoomOf { rooms, .. } if room_in(parts).is_none() => {
                NameList { names: rooms.to_vec(), total: rooms.len(), is_more: false }
            }
            _ => NameList::default(),
        }
    }

    pub(super) fn lookup(&self, name: Name) -> Op {
        let by = Identity::new("switchboard", None, None, Roles { admin: true, ..Roles::default() });
        match self {
            Self::RoomOf { message, connection, .. } => {
                Op::Room(name, RoomOp::ReadReceipts { connection: Some(*connection), message: *message })
            }
            _ => Op::Room(name, RoomOp::ListUsers { by, page: UsersPage { after: None, limit: 0 } }),
        }
    }

    /// The session that the former connection's node has handed over: that of a connection that was in no room.
    pub(super) fn handed_over(now: Now, of: ConnectionId, op: &SessionOp, parts: Vec<NodeResult>) -> Option<Session> {
        let (token, connection) = match op {
            SessionOp::Take { token, .. } => (*token, of),
            // The node notes that the session has passed on.
            SessionOp::Transfer { token, from, .. } => (*token, *from),
            SessionOp::Save(_) | SessionOp::Clear { .. } | SessionOp::Delete { .. } => return None,
        };
        parts.into_iter().find_map(|part| match part {
            NodeResult::Session(user, dialect, connected_at) => Some(Session {
                token,
                user: user.into(),
                connection,
                // A node of an earlier version does not say.
                connected_at: if connected_at == 0 { now.wall } else { connected_at },
                active_at: now.wall,
                expires_at: None,
                dialect,
                rooms: Vec::new(),
            }),
            _ => None,
        })
    }

    /// Errors in the lists of Redis. If a lookup has failed, no room counts as gone.
    pub(super) fn repairs(
        &self,
        parts: &[NodeResult],
        list: &NameList,
        found: &[Reply],
        has_failed: bool,
    ) -> Vec<ListRepair> {
        let views = found.iter().filter_map(|reply| match reply {
            Reply::Roster(roster) => Some((&*roster.room.room, &roster.room)),
            _ => None,
        });
        let views: BTreeMap<&str, &RoomView> = views.collect();
        match (self, listed(parts)) {
            (Self::Rooms | Self::Query(Query::RoomPage(_)), Some((total, names))) => {
                let listed: BTreeSet<&str> = names.iter().map(|room| &**room).collect();
                let is_whole = matches!(self, Self::Rooms) && listed.len() == total;
                let is_unlisted = |view: &&&RoomView| is_whole && view.is_made && !listed.contains(&*view.room);
                let unlisted = views.values().filter(is_unlisted).map(|view| ListRepair::Enlist(view.room.clone()));
                let gone = list.names.iter().filter(|room| !has_failed && listed.contains(&***room));
                let gone = gone.filter(|room| !views.contains_key(&***room)).cloned().map(ListRepair::Delist);
                unlisted.chain(gone).collect()
            }
            (Self::Query(Query::RoomsOf { user, .. }), Some((_, names))) => {
                let listed: BTreeSet<&str> = names.iter().map(|room| &**room).collect();
                let takes_part = |view: &RoomView| view.takes_part(user);
                let unlisted = views.values().filter(|view| takes_part(view) && !listed.contains(&*view.room));
                let unlisted = unlisted.map(|view| view.room.clone()).collect();
                let gone = list.names.iter().filter(|room| !has_failed && listed.contains(&***room));
                let gone = gone.filter(|room| !views.get(&***room).is_some_and(|view| takes_part(view)));
                let gone = gone.cloned().collect();
                vec![ListRepair::Enroll(user.clone(), unlisted, true), ListRepair::Enroll(user.clone(), gone, false)]
            }
            _ => Vec::new(),
        }
    }

    pub(super) fn result(&self, parts: Vec<NodeResult>, list: &NameList, found: Vec<Reply>) -> Result<Reply, Reject> {
        Ok(match self {
            Self::Rooms | Self::Query(Query::RoomsOf { .. } | Query::RoomPage(_)) if listed(&parts).is_none() => {
                return Err(Reject::storage_unavailable());
            }
            Self::Rooms => Reply::Rooms(rooms(&parts, list, found)),
            Self::Query(Query::RoomPage(page)) => {
                let until = list.names.last().filter(|_| list.is_more).cloned();
                let rooms = found.into_iter().filter_map(room).filter(|room| page.selects(room)).collect();
                let mut all = RoomPage { rooms, until };
                all.add(RoomPage::default(), page.limit);
                Reply::PartialResult(PartialResult::RoomPage(all))
            }
            Self::Users(page) => Reply::Users(OnlineMerge::merge(parts).page(page.limit)),
            Self::Query(query) => Reply::PartialResult(merge(query, parts, found)),
            Self::Broadcast => {
                let count = |part: &NodeResult| if let NodeResult::Count(count) = part { *count } else { 0 };
                Reply::Pushed(PushResult { reached: parts.iter().map(count).sum(), offline: Vec::new() })
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
                Some(NodeResult::Views(views)) => Reply::Described(views.into_iter().map(Into::into).collect()),
                Some(NodeResult::Count(count)) => Reply::Closed(count),
                Some(NodeResult::Registered(id)) => Reply::Registered(Some(id.0)),
                Some(NodeResult::Refused(code, text)) => return Err(reject(&code, &text)),
                Some(_) => Reply::Done,
                None => return Err(connection_not_found()),
            },
            Self::TakeSession(..) => Reply::Done,
        })
    }
}

fn room_in(parts: &[NodeResult]) -> Option<&str> {
    parts.iter().find_map(|part| match part {
        NodeResult::Room(room) => Some(&**room),
        _ => None,
    })
}

/// Number of the rooms that Redis lists, and the first of them.
fn listed(parts: &[NodeResult]) -> Option<(usize, &[Box<str>])> {
    parts.iter().find_map(|part| match part {
        NodeResult::Listed(total, rooms) => Some((*total, &rooms[..])),
        _ => None,
    })
}

/// The rooms to look up for a page: up to where the first list ends that has more, and as many as there can be on the page.
fn names_of_page(page: &RoomsPage, parts: &[NodeResult]) -> NameList {
    let (mut names, mut until) = (BTreeSet::new(), None);
    for part in parts {
        if let NodeResult::Rooms(rooms, total, ..) | NodeResult::Listed(total, rooms) = part {
            names.extend(rooms.iter().map(|room| &**room));
            let last = rooms.last().filter(|_| *total > rooms.len()).map(|room| &**room);
            until = [until, last].into_iter().flatten().min();
        }
    }
    let most = if page.text.is_empty() { page.limit } else { limits::ROOMS_ASKED };
    let names: Vec<&str> = names.into_iter().filter(|name| until.is_none_or(|until| *name <= until)).collect();
    let is_more = until.is_some() || names.len() > most;
    NameList { names: names.iter().take(most).map(|name| Name::from(*name)).collect(), total: names.len(), is_more }
}

/// The first names of several lists, without duplicates, which count once.
fn first_names<'a>(lists: impl Iterator<Item = (&'a [Box<str>], usize)>, most: usize) -> NameList {
    let mut names: BTreeSet<&str> = BTreeSet::new();
    let mut count = 0;
    for (list, total) in lists {
        let before = names.len();
        names.extend(list.iter().map(|name| &**name));
        count += total - (list.len() - (names.len() - before)).min(total);
    }
    let is_more = names.len() > most;
    NameList { names: names.into_iter().take(most).map(Name::from).collect(), total: count, is_more }
}

fn rooms(parts: &[NodeResult], list: &NameList, found: Vec<Reply>) -> RoomsView {
    let rooms: Vec<RoomView> = found.into_iter().filter_map(room).collect();
    // Rooms that have ended stay listed for a while.
    let gone = list.names.len().saturating_sub(rooms.len());
    let total_rooms = list.total.saturating_sub(gone);
    let mut view = RoomsView { total_rooms, rooms, ..RoomsView::default() };
    for part in parts {
        if let NodeResult::Rooms(_, _, peers, connections) = part {
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

fn merge(query: &Query, parts: Vec<NodeResult>, found: Vec<Reply>) -> PartialResult {
    match query {
        Query::RoomsOf { user, joined } => {
            let is_own = |view: &RoomView| joined.contains(&view.room) || view.takes_part(user);
            let rooms = found.into_iter().filter_map(room).filter(is_own).collect();
            PartialResult::Rooms(RoomsView { rooms, ..RoomsView::default() })
        }
        // Its result is put together with the names that were looked up.
        Query::RoomPage(_) => PartialResult::RoomPage(RoomPage::default()),
        Query::Users(page) => PartialResult::Users(OnlineMerge::merge(parts).shown_page(page.limit)),
        Query::UsersNamed(_) => PartialResult::Users(OnlineMerge::merge(parts).shown_page(usize::MAX)),
        Query::MessageStats => {
            let mut all = MessageStats::default();
            for part in &parts {
                if let NodeResult::Messages(typing, tracked, delivered, read) = *part {
                    all.merge(&MessageStats { typing, tracked, delivered, read });
                }
            }
            PartialResult::MessageStats(all)
        }
        Query::PresenceStats => {
            let known = listed(&parts).map_or(0, |(total, _)| total);
            PartialResult::PresenceStats(OnlineMerge::merge(parts).stats(known))
        }
        Query::SessionStats
        | Query::LastMessages(_)
        | Query::Shown(_)
        | Query::Incidents(_)
        | Query::Overview
        | Query::Totals
        | Query::BlockedAddresses => {
            let mut parts = parts.into_iter().filter_map(NodeResult::into_partial);
            let mut all = parts.next().unwrap_or_else(|| empty(query));
            parts.for_each(|part| all.add(part, query));
            all
        }
    }
}

fn empty(query: &Query) -> PartialResult {
    match query {
        Query::Shown(_) => PartialResult::Shown(None),
        Query::Incidents(_) => PartialResult::Incidents(Vec::new()),
        Query::LastMessages(rooms) => PartialResult::LastMessages(vec![0; rooms.len()]),
        Query::Overview => PartialResult::Overview(Box::new(watched(Vec::new(), Vec::new(), Vec::new()))),
        Query::Totals => PartialResult::Totals(Box::default()),
        Query::BlockedAddresses => PartialResult::Blocked(Vec::new()),
        _ => PartialResult::SessionStats(SessionStats::default()),
    }
}

/// Merges the reply of one of this node's shards into those of the others.
pub(super) fn merge_shards(query: Option<&Query>, all: &mut Reply, part: Reply) {
    match (all, part) {
        (Reply::Pushed(all), Reply::Pushed(part)) => all.reached += part.reached,
        (Reply::PartialResult(PartialResult::Totals(all)), Reply::PartialResult(PartialResult::Totals(part))) => {
            all.join(&part);
        }
        (Reply::PartialResult(all), Reply::PartialResult(part)) => {
            if let Some(query) = query {
                all.add(part, query);
            }
        }
        // Replies without a value: one stands for all.
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ids::ConnectionPlace;
    use crate::domain::connection_mode::ConnectionMode;
    use crate::domain::op::Profile;
    use crate::domain::query::RoomRoster;

    fn list(names: &[&str]) -> Vec<Box<str>> {
        names.iter().map(|name| (*name).into()).collect()
    }

    fn found(room: &str, is_made: bool, host: &str) -> Reply {
        let room = RoomView {
            room: room.into(),
            is_made,
            profile: Profile::default(),
            is_locked: false,
            host: host.into(),
            created_at: 0,
            last_activity: 0,
            mode: ConnectionMode::P2p,
            participant_count: 0,
            peers: Vec::new(),
        };
        Reply::Roster(Box::new(RoomRoster { room, total: 0, users: Vec::new(), is_more: false }))
    }

    #[test]
    fn room_counts_of_nodes_add_up_without_ended_rooms() {
        let parts = || {
            let nodes = [NodeResult::Rooms(list(&["r", "s"]), 2, 5, 9), NodeResult::Rooms(list(&["r"]), 1, 3, 4)];
            nodes.into_iter().chain([NodeResult::Listed(2, list(&["r", "over"]))]).collect::<Vec<_>>()
        };
        let named = ClusterQuery::Rooms.names(&parts());
        assert_eq!((named.total, named.names.len()), (3, 3));
        match ClusterQuery::Rooms.result(parts(), &named, vec![found("r", true, "ada"), found("s", false, "ada")]) {
            Ok(Reply::Rooms(view)) => {
                assert_eq!((view.total_rooms, view.total_peers, view.connections), (2, 8, 13));
            }
            other => panic!("{other:?}"),
        }
        let unanswered = vec![NodeResult::Rooms(list(&["r"]), 1, 5, 9)];
        assert_eq!(
            ClusterQuery::Rooms.result(unanswered, &named, Vec::new()).unwrap_err(),
            Reject::storage_unavailable()
        );
    }

    #[test]
    fn list_errors_are_found_by_lookups() {
        let parts = [NodeResult::Rooms(list(&["r", "s"]), 2, 0, 0), NodeResult::Listed(2, list(&["over", "t"]))];
        let views = [found("r", true, "ada"), found("s", false, "ada"), found("t", true, "bob")];
        let repairs =
            |query: &ClusterQuery, has_failed| query.repairs(&parts, &query.names(&parts), &views, has_failed);
        let enlist = || ListRepair::Enlist("r".into());
        assert_eq!(repairs(&ClusterQuery::Rooms, false), [enlist(), ListRepair::Delist("over".into())]);
        assert_eq!(repairs(&ClusterQuery::Rooms, true), [enlist()], "it may exist");
        let own = ClusterQuery::Query(Query::RoomsOf { user: "ada".into(), joined: ["r", "s"].map(Name::from).into() });
        let enroll = |rooms: &[&str], takes_part| {
            ListRepair::Enroll("ada".into(), rooms.iter().map(|room| Name::from(*room)).collect(), takes_part)
        };
        assert_eq!(repairs(&own, false), [enroll(&["r"], true), enroll(&["over", "t"], false)]);
        assert_eq!(repairs(&own, true), [enroll(&["r"], true), enroll(&[], false)]);
    }

    #[test]
    fn query_without_results_is_refused() {
        let named = NameList::default();
        let answer = |query: ClusterQuery, parts| query.result(parts, &named, Vec::new());
        let (place, rooms) = (ConnectionPlace { node: 1, shard: 0, slot: 0 }, ["r"].map(Name::from).into());
        let asked = ClusterQuery::RoomOf { message: Uuid::nil(), connection: ConnectionId::new(place, [0; 12]), rooms };
        assert_eq!(asked.names(&[NodeResult::Done]).names, ["r"].map(Name::from));
        assert_eq!(asked.names(&[NodeResult::Room("r".into())]), NameList::default());
        assert_eq!(answer(asked, vec![NodeResult::Done]).unwrap_err(), Reject::message_not_found());
        assert_eq!(answer(ClusterQuery::Connection, Vec::new()).unwrap_err(), connection_not_found());
        let refused = vec![NodeResult::refused(&connection_not_found())];
        assert_eq!(answer(ClusterQuery::Connection, refused).unwrap_err(), connection_not_found());
    }
}
