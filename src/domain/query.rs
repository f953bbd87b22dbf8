//! Queries that are sent to every owner because no single owner can answer them. Each owner replies with its
//! [`PartialResult`]; the parts are merged, for example by a [`crate::base::gather::Gather`].

use std::sync::Arc;

use crate::base::Name;
use crate::base::ids::ConnectionId;
use crate::domain::client_query::IncidentFilter;
use crate::domain::monitoring::{Incident, MessageStats, OverviewParts, PresenceStats, SessionStats, Totals, newest};
use crate::domain::op::{RoomView, RoomsView, UsersPage, UsersView};

/// One query to every owner.
#[derive(Clone, Debug)]
pub enum Query {
    /// The rooms of a user: those it is a participant of, and those that a connection of the user is in.
    RoomsOf {
        /// The user.
        user: Name,
        /// The rooms that the connection is in.
        joined: Arc<[Name]>,
    },
    /// A page of the users that are online.
    Users(UsersPage),
    /// The presence of these users.
    UsersNamed(Arc<[Name]>),
    /// Counts of messages.
    MessageStats,
    /// Counts of users.
    PresenceStats,
    /// Counts of recoverable sessions.
    SessionStats,
    /// The numbers of the last messages of these rooms.
    LastMessages(Arc<[Name]>),
    /// The connection whose client knows it by this id, after a recovery.
    Shown(ConnectionId),
    /// Incidents of connections.
    Incidents(Arc<IncidentFilter<'static>>),
    /// The parts of the overview of connections.
    Overview,
    /// Counts of connections. Shards of one server are merged by [`Totals::join`].
    Totals,
}

/// The result of a [`Query`]: one owner's part, or the merged parts of several.
#[derive(Debug)]
pub enum PartialResult {
    /// Rooms.
    Rooms(RoomsView),
    /// Users.
    Users(UsersView),
    /// Counts of messages.
    MessageStats(MessageStats),
    /// Counts of users.
    PresenceStats(PresenceStats),
    /// Counts of recoverable sessions.
    SessionStats(SessionStats),
    /// The numbers of the last messages, 0 of a room that the owner does not have.
    LastMessages(Vec<u64>),
    /// The connection, if it is here.
    Shown(Option<ConnectionId>),
    /// Incidents of connections, newest first.
    Incidents(Vec<Incident>),
    /// The parts of the overview of connections.
    Overview(Box<OverviewParts>),
    /// Counts of connections.
    Totals(Box<Totals>),
}

/// The users in a room, and the room.
#[derive(Clone, Debug)]
pub struct RoomRoster {
    /// The room, without its peers.
    pub room: RoomView,
    /// The number of users in it.
    pub total: usize,
    /// Those of the page, in the order of their ids.
    pub users: Vec<Name>,
    /// Whether there are more after them.
    pub is_more: bool,
}

impl PartialResult {
    /// Merges another owner's part of `query`.
    pub fn add(&mut self, other: Self, query: &Query) {
        match (self, other) {
            (Self::Rooms(all), Self::Rooms(part)) => all.add(part),
            (Self::Users(all), Self::Users(part)) => {
                let limit = if let Query::Users(page) = query { page.limit } else { usize::MAX };
                all.add(part, limit);
            }
            (Self::MessageStats(all), Self::MessageStats(part)) => all.merge(&part),
            (Self::PresenceStats(all), Self::PresenceStats(part)) => all.merge(&part),
            (Self::SessionStats(all), Self::SessionStats(part)) => all.merge(&part),
            (Self::LastMessages(all), Self::LastMessages(part)) => {
                all.iter_mut().zip(part).for_each(|(all, part)| *all = part.max(*all));
            }
            (Self::Shown(known), Self::Shown(part)) => *known = known.or(part),
            (Self::Incidents(all), Self::Incidents(part)) => {
                let limit = if let Query::Incidents(filter) = query { filter.limit } else { None };
                *all = newest([std::mem::take(all), part], limit);
            }
            (Self::Overview(all), Self::Overview(part)) => all.merge(*part),
            (Self::Totals(all), Self::Totals(part)) => all.merge(&part),
            // A part of another kind can only come from a node of another version; it is ignored.
            _ => {}
        }
    }
}
