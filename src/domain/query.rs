//! What is asked of every keeper at once because no single one can answer it, and what their answers come to. Each says its
//! part; parts add up.

use std::sync::Arc;

use crate::base::Name;
use crate::domain::client_query::IncidentFilter;
use crate::domain::monitoring::{Incident, MessageStats, OverviewParts, PresenceStats, SessionStats, Totals, newest};
use crate::domain::op::{RoomView, RoomsView, UsersPage, UsersView};

/// One question to every keeper.
#[derive(Clone, Debug)]
pub enum Query {
    /// The rooms of a user: those it takes part in, and these, which a connection of its is in.
    RoomsOf {
        /// The user.
        user: Name,
        /// The rooms that the connection is in.
        joined: Arc<[Name]>,
    },
    /// The users who are here and show it.
    Users(UsersPage),
    /// How these users are.
    UsersNamed(Arc<[Name]>),
    /// What is counted of messages.
    MessageStats,
    /// What is counted of users.
    PresenceStats,
    /// What is counted of sessions that may be recovered.
    SessionStats,
    /// What happened to connections.
    Incidents(Arc<IncidentFilter<'static>>),
    /// What an overview of connections is made of.
    Overview,
    /// What is counted of connections. Shards of one server are put together by [`Totals::join`].
    Totals,
}

/// The answer to a [`Query`]: one keeper's part, or what several have said.
#[derive(Debug)]
pub enum PartialResult {
    /// Rooms.
    Rooms(RoomsView),
    /// Users.
    Users(UsersView),
    /// What is counted of messages.
    MessageStats(MessageStats),
    /// What is counted of users.
    PresenceStats(PresenceStats),
    /// What is counted of sessions that may be recovered.
    SessionStats(SessionStats),
    /// What happened to connections, newest first.
    Incidents(Vec<Incident>),
    /// What an overview of connections is made of.
    Overview(Box<OverviewParts>),
    /// What is counted of connections.
    Totals(Box<Totals>),
}

/// The users in a room, and the room.
#[derive(Clone, Debug)]
pub struct RoomRoster {
    /// The room, without its peers.
    pub room: RoomView,
    /// How many users are in it.
    pub total: usize,
    /// Those of the page, in the order of their ids.
    pub users: Vec<Name>,
    /// Whether there are more behind them.
    pub is_more: bool,
}

impl PartialResult {
    /// Adds another keeper's part.
    pub fn add(&mut self, other: Self, survey: &Query) {
        match (self, other) {
            (Self::Rooms(all), Self::Rooms(part)) => all.add(part),
            (Self::Users(all), Self::Users(part)) => {
                let limit = if let Query::Users(page) = survey { page.limit } else { usize::MAX };
                all.add(part, limit);
            }
            (Self::MessageStats(all), Self::MessageStats(part)) => all.merge(&part),
            (Self::PresenceStats(all), Self::PresenceStats(part)) => all.merge(&part),
            (Self::SessionStats(all), Self::SessionStats(part)) => all.merge(&part),
            (Self::Incidents(all), Self::Incidents(part)) => {
                let limit = if let Query::Incidents(filter) = survey { filter.limit } else { None };
                *all = newest([std::mem::take(all), part], limit);
            }
            (Self::Overview(all), Self::Overview(part)) => all.merge(*part),
            (Self::Totals(all), Self::Totals(part)) => all.merge(&part),
            // Every keeper is asked the same, and answers that.
            _ => {}
        }
    }
}
