//! Queries that are sent to every owner because no single owner can answer them. Each owner replies with its
//! [`PartialResult`]; the parts are merged, for example by a [`crate::base::gather::Gather`].

use std::net::IpAddr;
use std::sync::Arc;

use crate::base::Name;
use crate::base::ids::ConnectionId;
use crate::base::limits;
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
    /// A page of all rooms.
    RoomPage(Arc<RoomsPage>),
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
    /// Addresses that are blocked after too many attempts.
    BlockedAddresses,
}

/// The result of a [`Query`]: one owner's part, or the merged parts of several.
#[derive(Debug)]
pub enum PartialResult {
    /// Rooms.
    Rooms(RoomsView),
    /// A page of rooms.
    RoomPage(RoomPage),
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
    /// Addresses that are blocked after too many attempts, each with the end of its block in milliseconds since 1970.
    Blocked(Vec<(IpAddr, u64)>),
}

/// Which rooms are listed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoomsPage {
    /// The beginning of their ids.
    pub prefix: Name,
    /// A part of their names, in lower case.
    pub text: Box<str>,
    /// The room before them.
    pub after: Option<Name>,
    /// The most rooms.
    pub limit: usize,
}

impl RoomsPage {
    /// The first id that can be on the page, and whether it can be on it itself.
    pub fn start(&self) -> (&str, bool) {
        match self.after.as_deref() {
            Some(after) if *after >= *self.prefix => (after, false),
            _ => (&self.prefix, true),
        }
    }

    /// Whether a room has the text in its name. The id of a room without a name is its name.
    pub fn selects(&self, room: &RoomView) -> bool {
        self.text.is_empty() || {
            let name = room.profile.name.as_deref().unwrap_or(&room.room);
            name.to_lowercase().contains(&*self.text)
        }
    }
}

/// A page of rooms in the order of their ids.
#[derive(Clone, Debug, Default)]
pub struct RoomPage {
    /// The rooms, without their peers.
    pub rooms: Vec<RoomView>,
    /// The last room that was looked at, if there can be more after it.
    pub until: Option<Name>,
}

impl RoomPage {
    /// Adds another owner's part. A room after the last one that some owner has looked at is not on the page.
    pub fn add(&mut self, other: Self, limit: usize) {
        self.rooms.extend(other.rooms);
        self.rooms.sort_unstable_by(|one, other| one.room.cmp(&other.room));
        self.until = [self.until.take(), other.until].into_iter().flatten().min();
        if let Some(until) = &self.until {
            self.rooms.retain(|room| room.room <= *until);
        }
        if self.rooms.len() > limit {
            self.rooms.truncate(limit);
            self.until = self.rooms.last().map(|room| room.room.clone());
        }
    }
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
            (Self::RoomPage(all), Self::RoomPage(part)) => {
                let limit = if let Query::RoomPage(page) = query { page.limit } else { usize::MAX };
                all.add(part, limit);
            }
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
            (Self::Blocked(all), Self::Blocked(part)) => {
                for (address, until) in part {
                    match all.iter().position(|(known, _)| *known == address) {
                        Some(at) => all[at].1 = until.max(all[at].1),
                        None => all.push((address, until)),
                    }
                }
                all.truncate(limits::USERS_LISTED);
            }
            // A part of another kind can only come from a node of another version; it is ignored.
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::connection_mode::ConnectionMode;
    use crate::domain::op::Profile;

    fn room(id: &str, name: Option<&str>) -> RoomView {
        RoomView {
            room: id.into(),
            is_made: true,
            profile: Profile { name: name.map(Into::into), ..Profile::default() },
            is_locked: false,
            host: "ada".into(),
            created_at: 0,
            last_activity: 0,
            mode: ConnectionMode::P2p,
            participant_count: 0,
            peers: Vec::new(),
        }
    }

    fn page(ids: &[&str], until: Option<&str>) -> RoomPage {
        RoomPage { rooms: ids.iter().map(|id| room(id, None)).collect(), until: until.map(Into::into) }
    }

    fn ids(page: &RoomPage) -> (Vec<&str>, Option<&str>) {
        (page.rooms.iter().map(|room| &*room.room).collect(), page.until.as_deref())
    }

    #[test]
    fn parts_of_a_page_end_where_the_first_owner_has_stopped() {
        let mut all = page(&["a", "e"], None);
        all.add(page(&["b", "c"], Some("d")), 10);
        assert_eq!(ids(&all), (vec!["a", "b", "c"], Some("d")));
        all.add(page(&["ab"], Some("x")), 2);
        assert_eq!(ids(&all), (vec!["a", "ab"], Some("ab")));
        let mut whole = page(&["b"], None);
        whole.add(page(&["a"], None), 2);
        assert_eq!(ids(&whole), (vec!["a", "b"], None));
    }

    #[test]
    fn page_begins_at_its_prefix_or_after_the_page_before() {
        let page = |prefix: &str, after: Option<&str>| RoomsPage {
            prefix: prefix.into(),
            after: after.map(Into::into),
            ..RoomsPage::default()
        };
        assert_eq!(page("", None).start(), ("", true));
        assert_eq!(page("b", None).start(), ("b", true));
        assert_eq!(page("b", Some("a")).start(), ("b", true));
        assert_eq!(page("b", Some("bc")).start(), ("bc", false));
    }

    #[test]
    fn text_is_a_part_of_the_name_whatever_its_case() {
        let page = RoomsPage { text: "tea".into(), ..RoomsPage::default() };
        let selected = [room("a", Some("Green Tea")), room("tea-1", None), room("tea-2", Some("Coffee"))];
        assert_eq!(selected.each_ref().map(|room| page.selects(room)), [true, true, false]);
    }
}
