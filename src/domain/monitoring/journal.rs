//! What happened to connections lately: a ring of the last so many incidents.

use std::collections::VecDeque;
use std::net::IpAddr;

use crate::base::Name;
use crate::base::ids::ConnectionId;
use crate::domain::question::{Filter, Happening};

/// How many incidents are kept.
pub const INCIDENTS_KEPT: usize = 10_000;

/// Incidents in one answer unless it is said how many.
const LISTED_DEFAULT: usize = 50;

/// Incidents in one answer at the most.
const LISTED_MAX: usize = 1_000;

/// Bytes of a user agent that are kept.
pub const USER_AGENT_BYTES: usize = 256;

/// One thing that happened to a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incident {
    /// What.
    pub kind: Happening,
    /// The connection, if there was one already.
    pub connection: Option<ConnectionId>,
    /// Whose it is, if that was known.
    pub user: Option<Name>,
    /// Where it came from.
    pub address: IpAddr,
    /// What it came with, [`shortened`].
    pub user_agent: Option<Name>,
    /// When, in milliseconds since 1970.
    pub at: u64,
    /// Why, in a few words.
    pub reason: Option<Name>,
}

/// The last [`INCIDENTS_KEPT`] incidents.
#[derive(Debug, Default)]
pub struct Journal {
    incidents: VecDeque<Incident>,
}

impl Journal {
    /// Something happened.
    pub fn note(&mut self, incident: Incident) {
        if self.incidents.len() == INCIDENTS_KEPT {
            self.incidents.pop_front();
        }
        self.incidents.push_back(incident);
    }

    /// Those that a filter lets through, newest first.
    pub fn select(&self, filter: &Filter<'_>) -> Vec<Incident> {
        let fits = |incident: &&Incident| {
            filter.kind.is_none_or(|kind| incident.kind == kind)
                && filter.user.as_deref().is_none_or(|user| incident.user.as_deref() == Some(user))
                && filter.address.is_none_or(|address| incident.address == address)
        };
        self.incidents.iter().rev().filter(fits).take(listed(filter.limit)).cloned().collect()
    }
}

/// The newest of what several journals have selected, newest first.
pub fn newest(selections: impl IntoIterator<Item = Vec<Incident>>, limit: Option<usize>) -> Vec<Incident> {
    let mut all: Vec<Incident> = selections.into_iter().flatten().collect();
    all.sort_by_key(|incident| std::cmp::Reverse(incident.at));
    all.truncate(listed(limit).min(INCIDENTS_KEPT));
    all
}

/// The beginning of a user agent, as much of it as is kept.
pub fn shortened(user_agent: &str) -> &str {
    &user_agent[..user_agent.floor_char_boundary(USER_AGENT_BYTES)]
}

fn listed(limit: Option<usize>) -> usize {
    limit.unwrap_or(LISTED_DEFAULT).min(LISTED_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn incident(at: u64, user: &str) -> Incident {
        let kind = Happening::ALL[at as usize % 5];
        let address = IpAddr::from([10, 0, 0, (at % 3) as u8]);
        let user = Some(user.into());
        Incident { kind, connection: None, user, address, user_agent: None, at, reason: None }
    }

    fn times(incidents: &[Incident]) -> Vec<u64> {
        incidents.iter().map(|incident| incident.at).collect()
    }

    #[test]
    fn the_newest_are_kept_and_come_first() {
        let mut journal = Journal::default();
        for at in 0..INCIDENTS_KEPT as u64 + 5 {
            journal.note(incident(at, "u"));
        }
        assert_eq!(journal.incidents.len(), INCIDENTS_KEPT);
        assert_eq!(journal.incidents.front().map(|incident| incident.at), Some(5));
        assert_eq!(times(&journal.select(&Filter { limit: Some(2), ..Filter::default() })), [10_004, 10_003]);
        assert_eq!(journal.select(&Filter::default()).len(), LISTED_DEFAULT);
        assert_eq!(journal.select(&Filter { limit: Some(usize::MAX), ..Filter::default() }).len(), LISTED_MAX);
    }

    #[test]
    fn filters_let_through_what_they_name() {
        let mut journal = Journal::default();
        for at in 0..60 {
            journal.note(incident(at, if at < 30 { "a" } else { "b" }));
        }
        let of = |filter| times(&journal.select(&filter));
        let filter = Filter { kind: Some(Happening::Error), user: Some("a".into()), ..Filter::default() };
        assert_eq!(of(filter), [27, 22, 17, 12, 7, 2]);
        let address = Some(IpAddr::from([10, 0, 0, 1]));
        assert_eq!(of(Filter { address, user: Some("b".into()), limit: Some(2), kind: None }), [58, 55]);
        assert_eq!(of(Filter { user: Some("c".into()), ..Filter::default() }), [0; 0]);
    }

    #[test]
    fn several_journals_are_one() {
        let lists = [vec![incident(9, "a"), incident(3, "a")], vec![incident(5, "b")], Vec::new()];
        assert_eq!(times(&newest(lists, Some(2))), [9, 5]);
    }

    #[test]
    fn user_agents_are_cut_between_characters() {
        assert_eq!(shortened("Mozilla/5.0"), "Mozilla/5.0");
        assert_eq!(shortened(&format!("a{}", "é".repeat(200))).len(), 255);
    }
}
