//! Messages between nodes, as JSON: queries, partial results, and the start and end of a node. The wire format is part of the
//! schema: nodes of different versions share it.

use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::base::Name;
use crate::base::ids::ConnectionId;
use crate::domain::client_query::{IncidentFilter, IncidentKind};
use crate::domain::connection::{ConnectionOp, ConnectionView};
use crate::domain::event::Direct;
use crate::domain::monitoring::{Figures, Incident, OverviewParts, SessionStats, Totals};
use crate::domain::op::{PushResult, Reply};
use crate::domain::query::PartialResult;
use crate::domain::reject::{Code, Reject};
use crate::owner::redis::cluster::app_message::WireApp;
use crate::owner::redis::cluster::online::WireUser;
use crate::owner::redis::wire::{WireConnectionId, WireDirect, WireIdentity, WireMessageId};

/// A message from one node to another, or to all.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum NodeMessage {
    /// A query, with the asking node and the query's number there.
    #[serde(rename = "q")]
    Query(u16, u32, NodeQuery),
    /// The partial result of the query of that number, from this node.
    #[serde(rename = "a")]
    Result(u32, u16, NodeResult),
    /// This node has started.
    #[serde(rename = "h")]
    Here(u16),
    /// This node stops.
    #[serde(rename = "g")]
    Gone(u16),
    /// About a namespace of the application.
    #[serde(rename = "p")]
    App(WireApp),
    /// Events of emitters are counted from here on; see [`crate::owner::redis::cluster::emitters`].
    #[serde(rename = "c")]
    Chain(u64),
}

/// A query that a node answers for itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum NodeQuery {
    /// Rooms with members on the node.
    Rooms,
    /// Some of them: those with this prefix, after this one.
    RoomPage(Box<str>, Option<Box<str>>),
    /// Users with connections on the node: those after this one, at most so many.
    Online(Option<Box<str>>, usize),
    /// Those of these users who have connections on the node.
    OnlineOf(Vec<Name>),
    /// Counts of messages.
    Messages,
    /// The room of a message.
    RoomOf(WireMessageId),
    /// Delivers a message to all connections.
    Broadcast(WireDirect),
    /// Describes a connection.
    Describe(WireConnectionId),
    /// Sets the device of a connection of this user.
    Equip(WireConnectionId, Box<str>, Option<Box<str>>),
    /// Closes a connection, for this requester.
    Close(WireConnectionId, WireIdentity),
    /// Ends a connection whose client has returned: the connection, the new one if the session passes to it, the recovery
    /// token, and the client.
    End(WireConnectionId, Option<WireConnectionId>, Box<str>, WireIdentity),
    /// Counts of sessions.
    Sessions,
    /// Numbers of the last messages of rooms.
    LastMessages(Vec<Box<str>>),
    /// The connection whose client knows it by this id.
    Shown(WireConnectionId),
    /// Incidents of connections.
    Incidents(WireFilter),
    /// Clients of connections, for an overview.
    Watched,
    /// Counts of connections.
    Totals,
    /// Addresses that are blocked after too many attempts.
    Blocked,
}

/// A node's partial result.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum NodeResult {
    /// Done, or no result.
    Done,
    Count(usize),
    /// Rooms; number of all rooms, their members, and all connections of the node.
    Rooms(Vec<Box<str>>, usize, usize, usize),
    /// Number of the rooms that Redis lists, and the first of them. Not sent: it is the part of Redis.
    Listed(usize, Vec<Box<str>>),
    /// Users; numbers of all users: online, away, busy, offline.
    Online(Vec<WireUser>, [usize; 4]),
    Room(Box<str>),
    Views(Vec<WireConnection>),
    Registered(WireConnectionId),
    /// The session of a connection that was in no room: user, dialect, and when it connected.
    Session(Box<str>, u8, #[serde(default)] u64),
    /// Typing users; messages, delivered ones, read ones.
    Messages(u64, u64, u64, u64),
    /// Sessions, tokens, queued messages, age; rooms of lost connections, and their positions.
    Sessions(u64, u64, u64, u64, #[serde(default)] Vec<(Box<str>, u64)>),
    /// Numbers of the last messages of rooms, 0 of a room without members on the node.
    LastMessages(Vec<u64>),
    Shown(Option<WireConnectionId>),
    Incidents(Vec<WireIncident>),
    /// Addresses, user agents, last incidents.
    Watched(Vec<(IpAddr, u64)>, Vec<(Box<str>, u64)>, Vec<WireIncident>),
    /// Counts of connections; see [`Totals`].
    Totals([u64; 11]),
    /// Blocked addresses, each with the end of its block.
    Blocked(Vec<(IpAddr, u64)>),
    /// Code and text of a refusal.
    Refused(Box<str>, Box<str>),
}

/// A filter of incidents: limit, kind, user, address; see [`IncidentFilter`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct WireFilter(Option<usize>, Option<Box<str>>, Option<Box<str>>, Option<IpAddr>);

/// An incident; see [`Incident`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct WireIncident {
    #[serde(rename = "k")]
    kind: Box<str>,
    #[serde(rename = "c")]
    connection: Option<WireConnectionId>,
    #[serde(rename = "u")]
    user: Option<Box<str>>,
    #[serde(rename = "a")]
    address: IpAddr,
    #[serde(rename = "g")]
    user_agent: Option<Box<str>>,
    #[serde(rename = "t")]
    at: u64,
    #[serde(rename = "y")]
    reason: Option<Box<str>>,
}

/// A connection; see [`ConnectionView`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct WireConnection {
    #[serde(rename = "c")]
    connection: WireConnectionId,
    #[serde(rename = "s")]
    shown: WireConnectionId,
    #[serde(rename = "t")]
    transport: Box<str>,
    #[serde(rename = "d")]
    dialect: Box<str>,
    #[serde(rename = "b")]
    connected_at: u64,
    #[serde(rename = "l")]
    last_seen: u64,
    #[serde(rename = "r")]
    rooms: Vec<Box<str>>,
    #[serde(rename = "v")]
    device: Option<Box<str>>,
    #[serde(rename = "a")]
    address: IpAddr,
    #[serde(rename = "g")]
    agent: Option<Box<str>>,
}

/// Names of transports and dialects, which views hold as static texts.
const WORDS: [&str; 7] = ["websocket", "polling", "raw", "notify", "colon", "camel", "app"];

impl NodeQuery {
    pub(super) fn of_connection(connection: ConnectionId, op: ConnectionOp) -> Self {
        let id = WireConnectionId(connection);
        match op {
            ConnectionOp::Describe => Self::Describe(id),
            ConnectionOp::SetDevice { user, device } => Self::Equip(id, (*user).into(), device),
            ConnectionOp::Close { by } => Self::Close(id, WireIdentity::from(&by)),
        }
    }

    pub(super) fn broadcast(direct: &Arc<Direct>) -> Self {
        Self::Broadcast(WireDirect::from(&**direct))
    }

    pub(super) fn room_of(message: Uuid) -> Self {
        Self::RoomOf(WireMessageId(message))
    }
}

impl NodeResult {
    pub(super) fn refused(reject: &Reject) -> Self {
        Self::Refused(reject.code.as_str().into(), (*reject.text).into())
    }

    pub(super) fn of_shards(reply: Result<Reply, Reject>) -> Self {
        match reply {
            Ok(Reply::Pushed(PushResult { reached, .. })) => Self::Count(reached),
            Ok(Reply::Closed(count)) => Self::Count(count),
            Ok(Reply::Described(views)) => Self::Views(views.iter().map(Into::into).collect()),
            Ok(Reply::Registered(Some(connection))) => Self::Registered(WireConnectionId(connection)),
            Ok(Reply::Session(Some(session))) if session.rooms.is_empty() => {
                Self::Session((*session.user).into(), session.dialect, session.connected_at)
            }
            Ok(Reply::PartialResult(PartialResult::SessionStats(stats))) => Self::sessions(&stats),
            Ok(Reply::PartialResult(PartialResult::Shown(id))) => Self::Shown(id.map(WireConnectionId)),
            Ok(Reply::PartialResult(PartialResult::Incidents(incidents))) => {
                Self::Incidents(incidents.iter().map(Into::into).collect())
            }
            Ok(Reply::PartialResult(PartialResult::Overview(watched))) => Self::watched(&watched),
            Ok(Reply::PartialResult(PartialResult::Totals(totals))) => Self::totals(&totals),
            Ok(Reply::PartialResult(PartialResult::Blocked(blocked))) => Self::Blocked(blocked),
            Ok(_) => Self::Done,
            Err(reject) => Self::refused(&reject),
        }
    }

    fn sessions(stats: &SessionStats) -> Self {
        let waiting = stats.waiting.iter().map(|(room, seq)| ((**room).into(), *seq)).collect();
        Self::Sessions(stats.sessions, stats.tokens, stats.queued, stats.age_ms, waiting)
    }

    fn totals(Totals { figures, peak, since }: &Totals) -> Self {
        let Figures { opened, failed, ended, ended_ms, active, most_active, opened_lately, attempts, failures } =
            *figures;
        let (peak, since) = (*peak, *since);
        Self::Totals([
            opened,
            failed,
            ended,
            ended_ms,
            active,
            most_active,
            opened_lately,
            attempts,
            failures,
            peak,
            since,
        ])
    }

    fn watched(watched: &OverviewParts) -> Self {
        let (addresses, agents, recent) = watched.parts();
        let agents = agents.into_iter().map(|(agent, count)| ((*agent).into(), count)).collect();
        Self::Watched(addresses, agents, recent.iter().map(WireIncident::from).collect())
    }

    /// The partial result of another node's shards; `None` for results of other kinds.
    pub(super) fn into_partial(self) -> Option<PartialResult> {
        Some(match self {
            Self::Sessions(sessions, tokens, queued, age_ms, waiting) => {
                let waiting = waiting.into_iter().map(|(room, seq)| (room.into(), seq)).collect();
                PartialResult::SessionStats(SessionStats { sessions, tokens, queued, age_ms, waiting })
            }
            Self::LastMessages(last) => PartialResult::LastMessages(last),
            Self::Shown(id) => PartialResult::Shown(id.map(|id| id.0)),
            Self::Incidents(incidents) => {
                PartialResult::Incidents(incidents.into_iter().filter_map(WireIncident::incident).collect())
            }
            Self::Watched(addresses, agents, recent) => {
                PartialResult::Overview(Box::new(watched(addresses, agents, recent)))
            }
            Self::Totals(counts) => PartialResult::Totals(Box::new(totals(counts))),
            Self::Blocked(blocked) => PartialResult::Blocked(blocked),
            _ => return None,
        })
    }
}

pub(super) fn reject(code: &str, text: &str) -> Reject {
    const CODES: [Code; 4] = [Code::ConnectionNotFound, Code::Forbidden, Code::StorageUnavailable, Code::Overloaded];
    let code = CODES.into_iter().find(|known| known.as_str() == code).unwrap_or(Code::Internal);
    Reject::new(code, text.to_owned())
}

fn totals(counts: [u64; 11]) -> Totals {
    let [opened, failed, ended, ended_ms, active, most_active, opened_lately, attempts, failures, peak, since] = counts;
    let figures = Figures { opened, failed, ended, ended_ms, active, most_active, opened_lately, attempts, failures };
    Totals { figures, peak, since }
}

pub(super) fn watched(
    addresses: Vec<(IpAddr, u64)>,
    agents: Vec<(Box<str>, u64)>,
    recent: Vec<WireIncident>,
) -> OverviewParts {
    let agents = agents.into_iter().map(|(agent, count)| (agent.into(), count)).collect();
    OverviewParts::from_parts(addresses, agents, recent.into_iter().filter_map(WireIncident::incident).collect())
}

impl From<&IncidentFilter<'_>> for WireFilter {
    fn from(filter: &IncidentFilter<'_>) -> Self {
        let user = filter.user.as_deref().map(Into::into);
        Self(filter.limit, filter.kind.map(|kind| kind.as_str().into()), user, filter.address)
    }
}

impl WireFilter {
    pub(super) fn filter(&self) -> IncidentFilter<'static> {
        let Self(limit, kind, user, address) = self.clone();
        let kind = kind.as_deref().and_then(IncidentKind::parse);
        IncidentFilter { limit, kind, user: user.map(|user| user.into_string().into()), address }
    }
}

impl From<&Incident> for WireIncident {
    fn from(incident: &Incident) -> Self {
        let text = |name: &Option<Name>| name.as_deref().map(Into::into);
        Self {
            kind: incident.kind.as_str().into(),
            connection: incident.connection.map(WireConnectionId),
            user: text(&incident.user),
            address: incident.address,
            user_agent: text(&incident.user_agent),
            at: incident.at,
            reason: text(&incident.reason),
        }
    }
}

impl WireIncident {
    /// The incident; `None` if it is of a kind of a later version.
    fn incident(self) -> Option<Incident> {
        let name = |text: Option<Box<str>>| text.map(Name::from);
        Some(Incident {
            kind: IncidentKind::parse(&self.kind)?,
            connection: self.connection.map(|id| id.0),
            user: name(self.user),
            address: self.address,
            user_agent: name(self.user_agent),
            at: self.at,
            reason: name(self.reason),
        })
    }
}

impl From<&ConnectionView> for WireConnection {
    fn from(view: &ConnectionView) -> Self {
        Self {
            connection: WireConnectionId(view.connection),
            shown: WireConnectionId(view.shown),
            transport: view.transport.into(),
            dialect: view.dialect.into(),
            connected_at: view.connected_at,
            last_seen: view.last_seen,
            rooms: view.rooms.iter().map(|room| (**room).into()).collect(),
            device: view.device.clone(),
            address: view.address,
            agent: view.agent.clone(),
        }
    }
}

impl From<WireConnection> for ConnectionView {
    fn from(view: WireConnection) -> Self {
        let word = |text: &str| WORDS.into_iter().find(|word| *word == text).unwrap_or("unknown");
        Self {
            connection: view.connection.0,
            shown: view.shown.0,
            transport: word(&view.transport),
            dialect: word(&view.dialect),
            connected_at: view.connected_at,
            last_seen: view.last_seen,
            rooms: view.rooms.into_iter().map(Name::from).collect(),
            device: view.device,
            address: view.address,
            agent: view.agent,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::base::ids::ConnectionPlace;

    fn again<T: Serialize + for<'de> Deserialize<'de>>(value: &T) -> T {
        serde_json::from_slice(&serde_json::to_vec(value).expect("JSON")).expect("the written value")
    }

    fn connections() -> impl Strategy<Value = ConnectionId> {
        (any::<u16>(), any::<u8>(), 0..1_u32 << 24, any::<[u8; 12]>())
            .prop_map(|(node, shard, slot, nonce)| ConnectionId::new(ConnectionPlace { node, shard, slot }, nonce))
    }

    fn names() -> impl Strategy<Value = Option<Name>> {
        prop::option::of("\\PC{0,9}").prop_map(|name| name.map(Name::from))
    }

    proptest! {
        #[test]
        fn incident_sent_to_a_node_is_unchanged(
            kind in 0..5_usize,
            connection in prop::option::of(connections()),
            (user, user_agent, reason) in (names(), names(), names()),
            address in any::<IpAddr>(),
            at in any::<u64>(),
        ) {
            let kind = IncidentKind::ALL[kind];
            let incident = Incident { kind, connection, user, address, user_agent, at, reason };
            prop_assert_eq!(again(&WireIncident::from(&incident)).incident(), Some(incident));
        }

        #[test]
        fn counts_sent_to_a_node_are_unchanged(counted in any::<[u64; 11]>()) {
            let NodeResult::Totals(again) = NodeResult::totals(&totals(counted)) else { unreachable!() };
            prop_assert_eq!(again, counted);
        }

        #[test]
        fn connection_sent_to_a_node_is_unchanged(
            (connection, shown) in (connections(), connections()),
            (transport, dialect) in (0..2_usize, 2..6_usize),
            (connected_at, last_seen) in any::<(u64, u64)>(),
            rooms in prop::collection::vec("\\PC{1,9}", 0..4),
            (device, agent) in any::<(Option<String>, Option<String>)>(),
            address in any::<IpAddr>(),
        ) {
            let view = ConnectionView {
                connection,
                shown,
                transport: WORDS[transport],
                dialect: WORDS[dialect],
                connected_at,
                last_seen,
                rooms: rooms.into_iter().map(Name::from).collect(),
                device: device.map(Into::into),
                address,
                agent: agent.map(Into::into),
            };
            prop_assert_eq!(ConnectionView::from(again(&WireConnection::from(&view))), view);
        }

        #[test]
        fn filter_sent_to_a_node_is_unchanged(
            limit in any::<Option<usize>>(),
            kind in prop::option::of(0..5_usize),
            user in any::<Option<String>>(),
            address in any::<Option<IpAddr>>(),
        ) {
            let kind = kind.map(|kind| IncidentKind::ALL[kind]);
            let filter = IncidentFilter { limit, kind, user: user.map(Into::into), address };
            prop_assert_eq!(again(&WireFilter::from(&filter)).filter(), filter);
        }
    }
}
