//! What nodes say to each other, as JSON: questions, and a node's part of the answer.

use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::base::Name;
use crate::base::ids::ConnectionId;
use crate::domain::access::Identity;
use crate::domain::client_query::{IncidentFilter, IncidentKind};
use crate::domain::connection::{ConnectionOp, ConnectionView};
use crate::domain::event::Direct;
use crate::domain::monitoring::{Figures, Incident, OverviewParts, SessionStats, Totals};
use crate::domain::reject::{Code, Reject};
use crate::owner::redis::wire::{Id, Letter, Uuid2, Who};

/// One thing that a node says.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Say {
    /// A question, and whom to answer by which number.
    #[serde(rename = "q")]
    Ask(u16, u32, Wanted),
    /// The answer to the question of that number, by this node.
    #[serde(rename = "a")]
    Answer(u32, u16, Part),
    /// This node is there from now on.
    #[serde(rename = "h")]
    Here(u16),
    /// This node goes.
    #[serde(rename = "g")]
    Gone(u16),
}

/// What is asked.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Wanted {
    /// The rooms that the node has members in.
    Rooms,
    /// The users with connections on it who come behind this one; so many of them.
    Users(Option<Box<str>>, usize),
    /// What is counted of messages.
    Messages,
    /// The room that a message is of.
    RoomOf(Uuid2),
    /// That all its connections be told something.
    Broadcast(Letter),
    /// How a connection is.
    Describe(Id),
    /// That something be noted of a connection of this user.
    Equip(Id, Box<str>, Option<Box<str>>),
    /// That somebody wants a connection closed.
    Close(Id, Who),
    /// That a connection end whose client, who shows this token, has come back elsewhere: on this one, where it matters.
    End(Id, Option<Id>, Box<str>, Who),
    /// What is counted of sessions.
    Sessions,
    /// What happened to connections.
    Incidents(Sought),
    /// What an overview of connections is made of.
    Watched,
    /// What the node counts of its connections.
    Totals,
}

/// One node's part of an answer.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Part {
    /// Done, or nothing to say.
    Done,
    /// So many.
    Count(usize),
    /// Rooms; how many there are in all, their members here, connections here.
    Rooms(Vec<Box<str>>, usize, usize, usize),
    /// How many rooms there are in all that Redis lists, and the first of them: its own part of an answer.
    Listed(usize, Vec<Box<str>>),
    /// Users; how many there are in all.
    Users(Vec<Box<str>>, usize),
    Room(Box<str>),
    Views(Vec<View>),
    Registered(Id),
    /// The session of a connection that was in no room, by its user and what its client speaks.
    Session(Box<str>, u8),
    /// Users who type; messages, those that were delivered, those that were read.
    Messages(u64, u64, u64, u64),
    /// Sessions, tokens, queued, age.
    Sessions(u64, u64, u64, u64),
    Incidents(Vec<Happened>),
    /// Addresses, user agents, what happened last.
    Watched(Vec<(IpAddr, u64)>, Vec<(Box<str>, u64)>, Vec<Happened>),
    /// What is counted of connections; see [`Totals`].
    Totals([u64; 11]),
    /// A refusal.
    Refused(Box<str>, Box<str>),
}

/// Which incidents; see [`IncidentFilter`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Sought(Option<usize>, Option<Box<str>>, Option<Box<str>>, Option<IpAddr>);

/// An incident; see [`Incident`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Happened {
    k: Box<str>,
    c: Option<Id>,
    u: Option<Box<str>>,
    a: IpAddr,
    g: Option<Box<str>>,
    t: u64,
    y: Option<Box<str>>,
}

/// A connection; see [`ConnectionView`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct View {
    c: Id,
    t: Box<str>,
    d: Box<str>,
    b: u64,
    l: u64,
    r: Vec<Box<str>>,
    v: Option<Box<str>>,
    a: IpAddr,
    g: Option<Box<str>>,
}

/// Words of a connection's view that are part of the program.
const WORDS: [&str; 6] = ["websocket", "polling", "raw", "notify", "colon", "camel"];

impl Wanted {
    /// An act on a connection.
    pub(super) fn of_connection(connection: ConnectionId, op: ConnectionOp) -> Self {
        let id = Id(connection);
        match op {
            ConnectionOp::Describe => Self::Describe(id),
            ConnectionOp::SetDevice { user, device } => Self::Equip(id, (*user).into(), device),
            ConnectionOp::Close { by } => Self::Close(id, Who::from(&by)),
        }
    }

    /// The act on a connection that this is.
    pub(super) fn connection_op(&self) -> Option<(ConnectionId, ConnectionOp)> {
        Some(match self {
            Self::Describe(id) => (id.0, ConnectionOp::Describe),
            Self::Equip(id, user, device) => {
                (id.0, ConnectionOp::SetDevice { user: (**user).into(), device: device.clone() })
            }
            Self::Close(id, who) => (id.0, ConnectionOp::Close { by: Identity::from(who.clone()) }),
            _ => return None,
        })
    }

    /// A message to everybody.
    pub(super) fn broadcast(direct: &Arc<Direct>) -> Self {
        Self::Broadcast(Letter::from(&**direct))
    }

    /// The room of a message.
    pub(super) fn room_of(message: Uuid) -> Self {
        Self::RoomOf(Uuid2(message))
    }
}

impl Part {
    pub(super) fn refused(reject: &Reject) -> Self {
        Self::Refused(reject.code.as_str().into(), (*reject.text).into())
    }

    /// What counts of sessions are, all together.
    pub(super) fn sessions(stats: &SessionStats) -> Self {
        Self::Sessions(stats.sessions, stats.tokens, stats.queued, stats.age_ms)
    }

    /// What is counted of connections.
    pub(super) fn totals(Totals { figures, peak, since }: &Totals) -> Self {
        let Figures { opened, failed, ended, ended_ms, active, most_active, opened_lately, attempts, failures } =
            *figures;
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
            *peak,
            *since,
        ])
    }

    /// What has been seen of connections.
    pub(super) fn watched(watched: &OverviewParts) -> Self {
        let (addresses, agents, recent) = watched.parts();
        let agents = agents.into_iter().map(|(agent, count)| ((*agent).into(), count)).collect();
        Self::Watched(addresses, agents, recent.iter().map(Happened::from).collect())
    }
}

/// The refusal that another node gave.
pub(super) fn reject(code: &str, text: &str) -> Reject {
    const CODES: [Code; 4] = [Code::ConnectionNotFound, Code::Forbidden, Code::StorageUnavailable, Code::Overloaded];
    let code = CODES.into_iter().find(|known| known.as_str() == code).unwrap_or(Code::Internal);
    Reject::new(code, text.to_owned())
}

/// What another node counts of connections.
pub(super) fn totals(counted: [u64; 11]) -> Totals {
    let [opened, failed, ended, ended_ms, active, most_active, opened_lately, attempts, failures, peak, since] =
        counted;
    let figures = Figures { opened, failed, ended, ended_ms, active, most_active, opened_lately, attempts, failures };
    Totals { figures, peak, since }
}

/// What another node has seen of connections.
pub(super) fn watched(
    addresses: Vec<(IpAddr, u64)>,
    agents: Vec<(Box<str>, u64)>,
    recent: Vec<Happened>,
) -> OverviewParts {
    let agents = agents.into_iter().map(|(agent, count)| (agent.into(), count)).collect();
    OverviewParts::from_parts(addresses, agents, recent.into_iter().filter_map(Happened::incident).collect())
}

impl From<&IncidentFilter<'_>> for Sought {
    fn from(filter: &IncidentFilter<'_>) -> Self {
        let user = filter.user.as_deref().map(Into::into);
        Self(filter.limit, filter.kind.map(|kind| kind.as_str().into()), user, filter.address)
    }
}

impl Sought {
    pub(super) fn filter(&self) -> IncidentFilter<'static> {
        let Self(limit, kind, user, address) = self.clone();
        let kind = kind.as_deref().and_then(IncidentKind::parse);
        IncidentFilter { limit, kind, user: user.map(|user| user.into_string().into()), address }
    }
}

impl From<&Incident> for Happened {
    fn from(incident: &Incident) -> Self {
        let text = |name: &Option<Name>| name.as_deref().map(Into::into);
        Self {
            k: incident.kind.as_str().into(),
            c: incident.connection.map(Id),
            u: text(&incident.user),
            a: incident.address,
            g: text(&incident.user_agent),
            t: incident.at,
            y: text(&incident.reason),
        }
    }
}

impl Happened {
    pub(super) fn incident(self) -> Option<Incident> {
        let name = |text: Option<Box<str>>| text.map(Name::from);
        Some(Incident {
            kind: IncidentKind::parse(&self.k)?,
            connection: self.c.map(|id| id.0),
            user: name(self.u),
            address: self.a,
            user_agent: name(self.g),
            at: self.t,
            reason: name(self.y),
        })
    }
}

impl From<&ConnectionView> for View {
    fn from(view: &ConnectionView) -> Self {
        Self {
            c: Id(view.connection),
            t: view.transport.into(),
            d: view.dialect.into(),
            b: view.connected_at,
            l: view.last_seen,
            r: view.rooms.iter().map(|room| (**room).into()).collect(),
            v: view.device.clone(),
            a: view.address,
            g: view.agent.clone(),
        }
    }
}

impl From<View> for ConnectionView {
    fn from(view: View) -> Self {
        let word = |text: &str| WORDS.into_iter().find(|word| *word == text).unwrap_or("unknown");
        Self {
            connection: view.c.0,
            transport: word(&view.t),
            dialect: word(&view.d),
            connected_at: view.b,
            last_seen: view.l,
            rooms: view.r.into_iter().map(Name::from).collect(),
            device: view.v,
            address: view.a,
            agent: view.g,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::base::ids::ConnectionPlace;

    fn again<T: Serialize + for<'de> Deserialize<'de>>(value: &T) -> T {
        serde_json::from_slice(&serde_json::to_vec(value).expect("JSON")).expect("the same")
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
        fn incidents_are_the_same_on_another_node(
            kind in 0..5_usize,
            connection in prop::option::of(connections()),
            (user, user_agent, reason) in (names(), names(), names()),
            address in any::<IpAddr>(),
            at in any::<u64>(),
        ) {
            let kind = IncidentKind::ALL[kind];
            let incident = Incident { kind, connection, user, address, user_agent, at, reason };
            prop_assert_eq!(again(&Happened::from(&incident)).incident(), Some(incident));
        }

        #[test]
        fn counts_are_the_same_on_another_node(counted in any::<[u64; 11]>()) {
            let Part::Totals(again) = Part::totals(&totals(counted)) else { unreachable!() };
            prop_assert_eq!(again, counted);
        }

        #[test]
        fn connections_are_the_same_on_another_node(
            connection in connections(),
            (transport, dialect) in (0..2_usize, 2..6_usize),
            (connected_at, last_seen) in any::<(u64, u64)>(),
            rooms in prop::collection::vec("\\PC{1,9}", 0..4),
            (device, agent) in any::<(Option<String>, Option<String>)>(),
            address in any::<IpAddr>(),
        ) {
            let view = ConnectionView {
                connection,
                transport: WORDS[transport],
                dialect: WORDS[dialect],
                connected_at,
                last_seen,
                rooms: rooms.into_iter().map(Name::from).collect(),
                device: device.map(Into::into),
                address,
                agent: agent.map(Into::into),
            };
            prop_assert_eq!(ConnectionView::from(again(&View::from(&view))), view);
        }

        #[test]
        fn filters_are_the_same_on_another_node(
            limit in any::<Option<usize>>(),
            kind in prop::option::of(0..5_usize),
            user in any::<Option<String>>(),
            address in any::<Option<IpAddr>>(),
        ) {
            let kind = kind.map(|kind| IncidentKind::ALL[kind]);
            let filter = IncidentFilter { limit, kind, user: user.map(Into::into), address };
            prop_assert_eq!(again(&Sought::from(&filter)).filter(), filter);
        }
    }
}
