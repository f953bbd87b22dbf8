//! Cross-node queries: scatter/gather over nodes, over this node's shards for the queries of other nodes, and lookups.
//!
//! A query to all nodes waits for each live node, but not for long: the part of a node that does not answer is missing. A
//! node asks its shards by messages, as they ask each other.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use crate::base::Name;
use crate::base::gather::Gather;
use crate::base::ids::ConnectionId;
use crate::base::limits;
use crate::codec::recovery;
use crate::domain::access::Identity;
use crate::domain::connection::{ConnectionOp, connection_not_found};
use crate::domain::event::Direct;
use crate::domain::op::{Op, Reply};
use crate::domain::query::{PartialResult, Query, RoomsPage};
use crate::domain::record::TokenHash;
use crate::domain::recovery::SessionOp;
use crate::domain::reject::{Code, Reject};
use crate::message::redis::RedisState;
use crate::message::{BRIDGE, OwnerMessage, Requester};
use crate::owner::redis::cluster::membership;
use crate::owner::redis::cluster::merge::{ClusterQuery, ListRepair, NameList, merge_shards};
use crate::owner::redis::cluster::node_message::{NodeMessage, NodeQuery, NodeResult};
use crate::owner::redis::cluster::online::{self, OnlineQuery, RecentAnswers};
use crate::owner::redis::cluster::{apps, enrolment, registry};
use crate::owner::redis::deadlines::Deadline;
use crate::owner::redis::rooms::{self, OnlineUsers, Rooms};
use crate::owner::redis::turn::OwnerTurn;
use crate::owner::redis::wire::{WireConnectionId, json};

/// Time to wait for nodes, in milliseconds.
const NODES_MS: u64 = 1_000;

/// Time to wait for a result in all, in milliseconds.
const RESULT_MS: u64 = 1_900;

/// Lookups of a query under way at once: Redis does other work between two of these portions.
const LOOKUPS_AT_ONCE: usize = 32;

/// Rooms that one node names.
const NAMED_ROOMS_MAX: usize = 10_000;

/// Progress of a query.
enum QueryStage {
    /// Waits for nodes.
    Nodes,
    /// Waits for the list in Redis, which is requested after the nodes: rooms that a node has just left are listed by then.
    List,
    /// Waits for the lookups of names: of so many, of which some were requested.
    Lookups { list: NameList, requested: usize, pending: usize },
}

/// A query of this node.
struct OwnQuery {
    to: Requester,
    query: ClusterQuery,
    /// In monotonic milliseconds.
    since: u64,
    /// Number of changes of this node's users before it.
    changes: u64,
    /// Nodes without an answer.
    awaited: BTreeSet<u16>,
    parts: Vec<NodeResult>,
    stage: QueryStage,
    found: Vec<Reply>,
    /// Whether a lookup has failed for another reason than that its name does not exist.
    has_failed: bool,
}

/// A query of some node to this node's shards.
struct ShardQuery {
    /// The node, and the query's number there.
    asker: (u16, u32),
    query: Option<Query>,
    since: u64,
    gather: Gather<Reply>,
}

/// ClusterQueries under way.
#[derive(Default)]
pub(crate) struct ClusterQueries {
    last_number: u32,
    own: BTreeMap<u32, OwnQuery>,
    shards: BTreeMap<u32, ShardQuery>,
    /// Lookups, with the query that each belongs to.
    lookups: BTreeMap<u32, u32>,
    /// Lookups of the users of a room, for the room's presence list.
    rooms: BTreeMap<u32, Name>,
    recent: RecentAnswers,
    /// Operations to be requested for lookups.
    requests: VecDeque<(Requester, Op)>,
}

impl ClusterQueries {
    fn next_number(&mut self) -> u32 {
        self.last_number = self.last_number.wrapping_add(1);
        self.last_number
    }

    /// An operation that a query needs; the owner requests all of them after each act on queries.
    pub(crate) fn next_request(&mut self) -> Option<(Requester, Op)> {
        self.requests.pop_front()
    }

    pub(crate) fn request(&mut self, turn: &mut OwnerTurn<'_>, rooms: &Rooms, from: Requester, op: Op) {
        let is_away = turn.node.redis == RedisState::Unreachable;
        let query = match op {
            Op::Rooms | Op::Query(Query::RoomsOf { .. } | Query::RoomPage(_)) if is_away => {
                return turn.reply(Some(from), Err(Reject::storage_unavailable()));
            }
            Op::Rooms => ClusterQuery::Rooms,
            Op::Users(page) => ClusterQuery::Users(page),
            Op::Query(query) => {
                if let Some(known) = OnlineQuery::of(&query).and_then(|query| self.recent.get(turn, query)) {
                    return turn.reply(Some(from), Ok(Reply::PartialResult(known)));
                }
                ClusterQuery::Query(query)
            }
            Op::Broadcast(direct) => {
                let asked = (NodeQuery::broadcast(&direct), turn.node.reachable_nodes());
                return self.begin(turn, rooms, from, ClusterQuery::Broadcast, Some(asked));
            }
            Op::FindMessageRoom { message, connection, rooms } => ClusterQuery::RoomOf { message, connection, rooms },
            Op::Connection(connection, op) => {
                let node = connection.place().node;
                if !turn.node.reachable_nodes().contains(&node) {
                    return turn.reply(Some(from), Err(connection_not_found()));
                }
                let asked = (NodeQuery::of_connection(connection, op), BTreeSet::from([node]));
                return self.begin(turn, rooms, from, ClusterQuery::Connection, Some(asked));
            }
            Op::Room(..) | Op::User(..) | Op::Session(..) | Op::Revocation(_) | Op::Outbox(_) | Op::App(_) => {
                unreachable!("invariant: operations on one room, user or session are not queries")
            }
        };
        let asked = query.node_query().map(|query| (query, turn.node.reachable_nodes()));
        self.begin(turn, rooms, from, query, asked);
    }

    /// Looks up the presence of a room's users, for the room's presence list.
    pub(crate) fn look_up_online(&mut self, turn: &mut OwnerTurn<'_>, rooms: &Rooms, online: OnlineUsers) {
        let ask = self.next_number();
        self.rooms.insert(ask, online.room);
        let op = Op::Query(Query::UsersNamed(online.users.into()));
        self.request(turn, rooms, Requester { shard: BRIDGE, ask }, op);
    }

    /// A client has returned here from a connection on another node: that connection ends, if it is still open, and its
    /// session is taken, or claimed by the connection `to`.
    pub(crate) fn supersede(
        &mut self,
        turn: &mut OwnerTurn<'_>,
        rooms: &Rooms,
        (connection, to): (ConnectionId, Option<ConnectionId>),
        token: Box<str>,
        by: &Identity,
        from: Requester,
    ) {
        let node = connection.place().node;
        let is_open = node != turn.own_node() && turn.node.reachable_nodes().contains(&node);
        let hash = TokenHash(recovery::hash(&token));
        let query = match to {
            None => ClusterQuery::TakeSession(connection, SessionOp::Take { token: hash, by: by.clone() }),
            Some(to) => {
                let first = recovery::connection_of(&token).unwrap_or(connection);
                let op = SessionOp::Transfer { token: hash, by: by.user_name(), from: connection, to };
                ClusterQuery::TakeSession(first, op)
            }
        };
        let end = NodeQuery::End(WireConnectionId(connection), to.map(WireConnectionId), token, by.into());
        let asked = is_open.then(|| (end, BTreeSet::from([node])));
        self.begin(turn, rooms, from, query, asked);
    }

    fn begin(
        &mut self,
        turn: &mut OwnerTurn<'_>,
        rooms: &Rooms,
        to: Requester,
        query: ClusterQuery,
        asked: Option<(NodeQuery, BTreeSet<u16>)>,
    ) {
        let number = self.next_number();
        let awaited = asked.as_ref().map(|(_, nodes)| nodes.clone()).unwrap_or_default();
        let (since, stage) = (turn.now.mono, QueryStage::Nodes);
        let (parts, found, has_failed) = (Vec::new(), Vec::new(), false);
        let changes = turn.node.directory.changes();
        let own = OwnQuery { to, query, since, changes, awaited, parts, stage, found, has_failed };
        let replaced = self.own.insert(number, own);
        debug_assert!(replaced.is_none(), "invariant: a number belongs to one query");
        turn.after(NODES_MS, Deadline::Queries);
        match asked {
            None => self.gathered(turn, number),
            Some((query, nodes)) => self.ask_nodes(turn, rooms, number, query, nodes),
        }
    }

    /// Sends a query to other nodes, and answers this node's part.
    fn ask_nodes(
        &mut self,
        turn: &mut OwnerTurn<'_>,
        rooms: &Rooms,
        number: u32,
        query: NodeQuery,
        mut nodes: BTreeSet<u16>,
    ) {
        let own = turn.own_node();
        let is_for_this = nodes.remove(&own);
        let message = json(&NodeMessage::Query(own, number, query.clone()));
        if let Some(node) = nodes.first() {
            let keys = &turn.node.keys;
            let channel = if nodes.len() == 1 { keys.node(*node) } else { keys.everyone() };
            turn.publish(channel, message);
        }
        if is_for_this {
            self.answer(turn, rooms, (own, number), query);
        }
    }

    pub(crate) fn published(&mut self, turn: &mut OwnerTurn<'_>, rooms: &Rooms, body: &[u8]) {
        match serde_json::from_slice(body) {
            Ok(NodeMessage::Query(node, ..)) if node == turn.own_node() => {}
            Ok(NodeMessage::Query(node, number, query)) => self.answer(turn, rooms, (node, number), query),
            Ok(NodeMessage::Result(number, node, part)) => self.accept(turn, number, node, part),
            Ok(NodeMessage::Here(node)) => membership::node_started(turn, node),
            Ok(NodeMessage::Gone(node)) => membership::node_stopped(turn, node),
            Ok(NodeMessage::App(message)) => apps::published(turn, message),
            Ok(NodeMessage::Chain(chain)) => turn.node.emitters.begin(chain),
            Err(error) => tracing::warn!(%error, "another node says what is not understood"),
        }
    }

    /// Answers a query for this node, or asks the shards for it.
    fn answer(&mut self, turn: &mut OwnerTurn<'_>, rooms: &Rooms, asker: (u16, u32), query: NodeQuery) {
        let part = match query {
            NodeQuery::Rooms => {
                let summary = rooms.summary(NAMED_ROOMS_MAX);
                let connections = turn.node.directory.connection_count();
                NodeResult::Rooms(summary.names, summary.total, summary.members, connections)
            }
            NodeQuery::RoomPage(prefix, after) => {
                let (prefix, after) = ((*prefix).into(), after.as_deref().map(Into::into));
                let page = RoomsPage { prefix, after, ..RoomsPage::default() };
                let summary = rooms.page(&page, limits::ROOMS_ASKED);
                NodeResult::Rooms(summary.names, summary.total, 0, 0)
            }
            NodeQuery::Online(after, limit) => online::list(turn, after.as_deref(), limit.min(limits::USERS_LISTED)),
            NodeQuery::OnlineOf(users) => online::named(turn, &users),
            NodeQuery::Messages => {
                let stats = rooms.message_stats();
                NodeResult::Messages(stats.typing, stats.tracked, stats.delivered, stats.read)
            }
            NodeQuery::RoomOf(message) => {
                rooms.room_of(message.0).map_or(NodeResult::Done, |room| NodeResult::Room((**room).into()))
            }
            NodeQuery::Broadcast(direct) => {
                let direct = Arc::new(Direct::from(direct));
                return self.ask_shards(turn, asker, None, || Op::Broadcast(direct.clone()));
            }
            NodeQuery::LastMessages(names) => {
                NodeResult::LastMessages(names.iter().map(|room| rooms.last_message(room)).collect())
            }
            NodeQuery::Sessions => return self.query_shards(turn, asker, Query::SessionStats),
            NodeQuery::Shown(id) => return self.query_shards(turn, asker, Query::Shown(id.0)),
            NodeQuery::Incidents(filter) => {
                return self.query_shards(turn, asker, Query::Incidents(filter.filter().into()));
            }
            NodeQuery::Watched => return self.query_shards(turn, asker, Query::Overview),
            NodeQuery::Totals => return self.query_shards(turn, asker, Query::Totals),
            NodeQuery::Blocked => return self.query_shards(turn, asker, Query::BlockedAddresses),
            NodeQuery::End(id, to, token, by) => {
                let (connection, to, by) = (id.0, to.map(|to| to.0), Identity::from(by));
                return self.ask_shard(turn, asker, connection, |from| OwnerMessage::Supersede {
                    connection,
                    to,
                    token,
                    by,
                    from,
                });
            }
            NodeQuery::Describe(id) => return self.ask_connection(turn, asker, id, ConnectionOp::Describe),
            NodeQuery::Equip(id, user, device) => {
                let op = ConnectionOp::SetDevice { user: (*user).into(), device };
                return self.ask_connection(turn, asker, id, op);
            }
            NodeQuery::Close(id, by) => {
                return self.ask_connection(turn, asker, id, ConnectionOp::Close { by: by.into() });
            }
        };
        self.send_part(turn, asker, part);
    }

    fn query_shards(&mut self, turn: &mut OwnerTurn<'_>, asker: (u16, u32), query: Query) {
        let op = || Op::Query(query.clone());
        self.ask_shards(turn, asker, Some(query.clone()), op);
    }

    fn ask_shards(&mut self, turn: &mut OwnerTurn<'_>, asker: (u16, u32), query: Option<Query>, op: impl Fn() -> Op) {
        let shards = turn.shards();
        let from = self.expect_shards(turn, asker, shards.len(), query);
        turn.out.extend(shards.map(|shard| (shard, OwnerMessage::Request { from, op: op() }.into())));
    }

    fn ask_connection(&mut self, turn: &mut OwnerTurn<'_>, asker: (u16, u32), id: WireConnectionId, op: ConnectionOp) {
        let op = Op::Connection(id.0, op);
        self.ask_shard(turn, asker, id.0, |from| OwnerMessage::Request { from, op });
    }

    /// Asks the shard that a connection of this node belongs to.
    fn ask_shard(
        &mut self,
        turn: &mut OwnerTurn<'_>,
        asker: (u16, u32),
        connection: ConnectionId,
        message: impl FnOnce(Requester) -> OwnerMessage,
    ) {
        let (node, shard) = (connection.place().node, connection.place().shard);
        if node != turn.own_node() || usize::from(shard) >= turn.node.settings.shards {
            return self.send_part(turn, asker, NodeResult::refused(&connection_not_found()));
        }
        let from = self.expect_shards(turn, asker, 1, None);
        turn.send(shard, message(from));
    }

    fn expect_shards(
        &mut self,
        turn: &mut OwnerTurn<'_>,
        asker: (u16, u32),
        shards: usize,
        query: Option<Query>,
    ) -> Requester {
        let ask = self.next_number();
        let (since, gather) = (turn.now.mono, Gather::new(shards));
        self.shards.insert(ask, ShardQuery { asker, query, since, gather });
        turn.after(RESULT_MS, Deadline::Queries);
        Requester { shard: BRIDGE, ask }
    }

    /// Handles the reply to a request of queries: of a lookup, or of a shard. A reply after the query's end is ignored.
    pub(crate) fn replied(&mut self, turn: &mut OwnerTurn<'_>, ask: u32, reply: Result<Reply, Reject>) {
        if let Some(room) = self.rooms.remove(&ask) {
            if let Ok(Reply::PartialResult(PartialResult::Users(view))) = reply {
                rooms::announce_online(turn, room, &view);
            }
        } else if let Some(number) = self.lookups.remove(&ask) {
            self.looked_up(turn, number, reply);
        } else if let Some(ShardQuery { query, gather, .. }) = self.shards.get_mut(&ask)
            && let Some(whole) = gather.add(reply, |all, part| merge_shards(query.as_ref(), all, part))
            && let Some(ShardQuery { asker, .. }) = self.shards.remove(&ask)
        {
            self.send_part(turn, asker, NodeResult::of_shards(whole));
        }
    }

    fn looked_up(&mut self, turn: &mut OwnerTurn<'_>, number: u32, reply: Result<Reply, Reject>) {
        if let Some(OwnQuery { stage: QueryStage::Lookups { pending, .. }, found, has_failed, .. }) =
            self.own.get_mut(&number)
        {
            match reply {
                Ok(reply) => found.push(reply),
                Err(reject) => {
                    *has_failed |= matches!(reject.code, Code::StorageUnavailable | Code::Overloaded | Code::Internal);
                }
            }
            *pending -= 1;
            if *pending == 0 {
                self.look_up_portion(turn, number);
            }
        }
    }

    /// Sends this node's part of a query to the asking node.
    fn send_part(&mut self, turn: &mut OwnerTurn<'_>, (node, number): (u16, u32), part: NodeResult) {
        let own = turn.own_node();
        if node == own {
            self.accept(turn, number, own, part);
        } else {
            turn.publish(turn.node.keys.node(node), json(&NodeMessage::Result(number, own, part)));
        }
    }

    /// Takes a node's part of a query. Parts after the query's end are ignored.
    fn accept(&mut self, turn: &mut OwnerTurn<'_>, number: u32, node: u16, part: NodeResult) {
        if let Some(own) = self.own.get_mut(&number).filter(|own| own.awaited.contains(&node)) {
            own.awaited.remove(&node);
            own.parts.push(part);
            if own.awaited.is_empty() {
                self.gathered(turn, number);
            }
        }
    }

    /// Takes the part of Redis: number of the listed rooms, and the first of them; `None` if Redis did not answer.
    pub(crate) fn listed(&mut self, turn: &mut OwnerTurn<'_>, number: u32, listed: Option<(usize, Vec<Box<str>>)>) {
        if let Some(own) = self.own.get_mut(&number).filter(|own| matches!(own.stage, QueryStage::List)) {
            if let Some((total, rooms)) = listed {
                own.parts.push(NodeResult::Listed(total, rooms));
            }
            self.look_up(turn, number);
        }
    }

    /// All nodes have answered, or their time is over: asks Redis for its list, or looks up the names.
    fn gathered(&mut self, turn: &mut OwnerTurn<'_>, number: u32) {
        let own = self.own.get_mut(&number).expect("invariant: a query ends after its parts");
        own.awaited.clear();
        if own.query.uses_list() {
            own.stage = QueryStage::List;
            turn.after(RESULT_MS - NODES_MS, Deadline::Queries);
            match (&own.query, own.query.list_owner()) {
                (_, Some(user)) => enrolment::list_rooms(turn, user, number),
                (ClusterQuery::Query(Query::PresenceStats), _) => registry::count_users(turn, number),
                (ClusterQuery::Query(Query::RoomPage(page)), _) => registry::list_room_page(turn, page, number),
                _ => registry::list_rooms(turn, number),
            }
        } else {
            self.look_up(turn, number);
        }
    }

    /// Looks up the names in the partial results.
    fn look_up(&mut self, turn: &mut OwnerTurn<'_>, number: u32) {
        let own = self.own.get_mut(&number).expect("invariant: a query ends after its parts");
        if matches!(own.query, ClusterQuery::TakeSession(..)) {
            return self.take_session(turn, number);
        }
        let list = own.query.names(&own.parts);
        own.stage = QueryStage::Lookups { list, requested: 0, pending: 0 };
        self.look_up_portion(turn, number);
    }

    /// Requests the next lookups, or ends the query after the last ones.
    fn look_up_portion(&mut self, turn: &mut OwnerTurn<'_>, number: u32) {
        let Some(OwnQuery { query, stage: QueryStage::Lookups { list, requested, pending }, .. }) =
            self.own.get_mut(&number)
        else {
            debug_assert!(false, "invariant: lookups belong to a query that looks up names");
            return;
        };
        let portion = list.names.iter().skip(*requested).take(LOOKUPS_AT_ONCE);
        let ops: Vec<Op> = portion.map(|name| query.lookup(name.clone())).collect();
        (*requested, *pending) = (*requested + ops.len(), ops.len());
        if ops.is_empty() {
            return self.finish(turn, number);
        }
        for op in ops {
            let ask = self.next_number();
            self.lookups.insert(ask, number);
            self.requests.push_back((Requester { shard: BRIDGE, ask }, op));
        }
    }

    /// The former connection has ended: its session is the one that its node has handed over, or that in Redis.
    fn take_session(&mut self, turn: &mut OwnerTurn<'_>, number: u32) {
        if let Some(OwnQuery { to, query: ClusterQuery::TakeSession(of, op), parts, .. }) = self.own.remove(&number) {
            match ClusterQuery::handed_over(turn.now, of, &op, parts) {
                Some(session) => turn.reply(Some(to), Ok(Reply::Session(Some(Box::new(session))))),
                None => self.requests.push_back((to, Op::Session(of, Box::new(op)))),
            }
        }
    }

    /// Replies with the merged result, and repairs the lists.
    fn finish(&mut self, turn: &mut OwnerTurn<'_>, number: u32) {
        let own = self.own.remove(&number).expect("invariant: a query ends once");
        let OwnQuery { to, query, since, changes, parts, stage, found, has_failed, .. } = own;
        let list = match stage {
            QueryStage::Lookups { list, .. } => list,
            QueryStage::Nodes | QueryStage::List => NameList::default(),
        };
        for repair in query.repairs(&parts, &list, &found, has_failed) {
            let registry = &mut turn.node.registry;
            match repair {
                ListRepair::Enlist(room) => registry.enlist(room),
                ListRepair::Delist(room) => registry.delist(room),
                ListRepair::Enroll(user, rooms, takes_part) => registry.enrolments.update(user, rooms, takes_part),
            }
        }
        let reply = match has_failed && found.is_empty() && matches!(query, ClusterQuery::RoomOf { .. }) {
            true => Err(Reject::storage_unavailable()),
            false => query.result(parts, &list, found),
        };
        if let (ClusterQuery::Query(query), Ok(Reply::PartialResult(result))) = (&query, &reply) {
            self.recent.keep(query, (since, changes), result);
        }
        turn.reply(Some(to), reply);
    }

    /// Continues queries without the parts that have not come in time.
    pub(crate) fn expire(&mut self, turn: &mut OwnerTurn<'_>) {
        let now = turn.now.mono;
        let age = |since: u64| now.saturating_sub(since);
        self.shards.retain(|_, query| age(query.since) < RESULT_MS);
        let expired = |own: &BTreeMap<u32, OwnQuery>, is_waiting_for_nodes: bool, ms| -> Vec<u32> {
            let is_expired =
                |own: &OwnQuery| matches!(own.stage, QueryStage::Nodes) == is_waiting_for_nodes && age(own.since) >= ms;
            own.iter().filter(|(_, own)| is_expired(own)).map(|(number, _)| *number).collect()
        };
        let slow = expired(&self.own, true, NODES_MS);
        let late = expired(&self.own, false, RESULT_MS);
        for number in slow {
            self.gathered(turn, number);
        }
        for number in late {
            self.lookups.retain(|_, of| *of != number);
            self.finish(turn, number);
        }
        if self.own.values().any(|own| !matches!(own.stage, QueryStage::Nodes)) {
            turn.after(RESULT_MS - NODES_MS, Deadline::Queries);
        }
    }

    /// Checks that each query has a requester and a deadline, and each lookup a query.
    pub(crate) fn check_invariants(&self, next_expiry: Option<u64>) {
        assert!(self.requests.is_empty(), "invariant: lookups are requested in the same turn");
        for own in self.own.values() {
            let latest = own.since + 2 * RESULT_MS;
            assert!(next_expiry.is_some_and(|at| at <= latest), "invariant: each query has a deadline");
        }
        for number in self.lookups.values() {
            let is_pending = self.own.get(number).is_some_and(|own| match own.stage {
                QueryStage::Lookups { pending, .. } => pending > 0,
                QueryStage::Nodes | QueryStage::List => false,
            });
            assert!(is_pending, "invariant: a lookup belongs to a query that waits for it");
        }
    }
}
