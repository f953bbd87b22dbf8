//! Users who are online: each node lists and counts those with connections on it, and knows their presence
//! ([`crate::owner::redis::directory`]), so a query about users costs Redis a message to each node and not a call for each user.

use std::collections::{BTreeMap, BinaryHeap};

use serde::{Deserialize, Serialize};

use crate::base::Name;
use crate::domain::access::Identity;
use crate::domain::command::Status;
use crate::domain::monitoring::PresenceStats;
use crate::domain::op::{PresenceView, UsersView};
use crate::domain::query::{PartialResult, Query};
use crate::owner::redis::cluster::node_message::NodeResult;
use crate::owner::redis::turn::OwnerTurn;
use crate::owner::redis::wire::WireIdentity;

/// Time for which the answer to a query about all users is used again, if no user of this node has changed, in milliseconds.
const RECENT_MS: u64 = 1_000;

/// Answers that are kept: pages of different lengths.
const RECENT_MAX: usize = 8;

/// A user with connections on a node.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct WireUser {
    #[serde(rename = "w")]
    identity: WireIdentity,
    #[serde(rename = "s")]
    status: Box<str>,
    #[serde(rename = "l")]
    last_seen: u64,
    /// Start of the presence, on any node.
    #[serde(rename = "b")]
    connected_at: Option<u64>,
    /// Number of connections on the node.
    #[serde(rename = "k")]
    connections: usize,
}

impl WireUser {
    fn into_view(self) -> PresenceView {
        let identity = Identity::from(self.identity);
        let status = Status::parse(&self.status).unwrap_or(Status::Online);
        let nobody = PresenceView::nobody(identity.user_name());
        let (last_seen, connections, connected_at) = (Some(self.last_seen), self.connections, self.connected_at);
        PresenceView { status, last_seen, connections, connected_at, identity: Some(identity), ..nobody }
    }
}

/// A page of the users with connections on this node, and counts of all of them.
pub(super) fn list(turn: &OwnerTurn<'_>, after: Option<&str>, limit: usize) -> NodeResult {
    let directory = &turn.node.directory;
    let most = limit.saturating_add(1);
    let mut first: BinaryHeap<&Name> = BinaryHeap::new();
    for user in directory.names().filter(|user| after.is_none_or(|after| &***user > after)) {
        if first.len() < most {
            first.push(user);
        } else if first.peek().is_some_and(|last| user < *last) {
            first.pop();
            first.push(user);
        }
    }
    let users = first.into_sorted_vec().into_iter().filter_map(|user| user_here(turn, user)).collect();
    NodeResult::Online(users, counts_of(directory.statuses()))
}

/// Those of these users who have connections on this node.
pub(super) fn named(turn: &OwnerTurn<'_>, users: &[Name]) -> NodeResult {
    let here: Vec<WireUser> = users.iter().filter_map(|user| user_here(turn, user)).collect();
    let counts = counts_of(here.iter().filter_map(|user| Status::parse(&user.status)));
    NodeResult::Online(here, counts)
}

fn user_here(turn: &OwnerTurn<'_>, user: &str) -> Option<WireUser> {
    let directory = &turn.node.directory;
    let (identity, presence) = (directory.identity(user)?, directory.presence(user)?);
    Some(WireUser {
        identity: identity.into(),
        status: presence.status.as_str().into(),
        last_seen: presence.last_active.unwrap_or(turn.now.wall),
        connected_at: presence.connected_at,
        connections: directory.connections(user).len(),
    })
}

/// Numbers of users: online, away, busy, offline.
fn counts_of(statuses: impl Iterator<Item = Status>) -> [usize; 4] {
    let mut counts = [0; 4];
    statuses.for_each(|status| counts[place_of(status)] += 1);
    counts
}

fn place_of(status: Status) -> usize {
    match status {
        Status::Online => 0,
        Status::Away => 1,
        Status::Busy => 2,
        Status::Offline => 3,
    }
}

/// The users of all nodes.
pub(super) struct OnlineMerge {
    /// The first of them, in the order of their ids.
    users: BTreeMap<Name, PresenceView>,
    /// A user of several nodes counts once if they list it.
    counts: [usize; 4],
}

impl OnlineMerge {
    pub(super) fn merge(parts: Vec<NodeResult>) -> Self {
        let (mut users, mut counts) = (BTreeMap::<Name, PresenceView>::new(), [0; 4]);
        for part in parts {
            let NodeResult::Online(part, part_counts) = part else { continue };
            counts.iter_mut().zip(part_counts).for_each(|(all, part)| *all += part);
            for view in part.into_iter().map(WireUser::into_view) {
                match users.get_mut(&view.user) {
                    Some(known) => {
                        known.connections += view.connections;
                        let twice = &mut counts[place_of(view.status)];
                        *twice = twice.saturating_sub(1);
                    }
                    None => drop(users.insert(view.user.clone(), view)),
                }
            }
        }
        Self { users, counts }
    }

    /// A page of so many users.
    pub(super) fn page(self, limit: usize) -> UsersView {
        let (total, is_more) = (self.counts.iter().sum(), self.users.len() > limit);
        UsersView { total, users: self.users.into_values().take(limit).collect(), is_more }
    }

    /// The same, without users who appear offline.
    pub(super) fn shown_page(self, limit: usize) -> UsersView {
        let hidden = self.counts[place_of(Status::Offline)];
        let mut view = self.page(limit);
        view.users.retain(|user| user.status != Status::Offline);
        view.total -= hidden.min(view.total);
        view
    }

    /// The counts, with those of the `known` users who are not here.
    pub(super) fn stats(&self, known: usize) -> PresenceStats {
        let [online, away, busy, offline] = self.counts.map(|count| count as u64);
        let guests = self.users.keys().filter(|user| user.starts_with("guest:")).count();
        let here = self.counts.iter().sum::<usize>().saturating_sub(guests);
        let offline = offline + known.saturating_sub(here) as u64;
        PresenceStats { online, away, busy, offline, ..PresenceStats::default() }
    }
}

/// Recent answers to queries about all users.
#[derive(Default)]
pub(super) struct RecentAnswers {
    answers: Vec<RecentAnswer>,
}

struct RecentAnswer {
    query: OnlineQuery,
    /// Number of changes of this node's users before the query.
    changes: u64,
    /// In monotonic milliseconds.
    until: u64,
    answer: OnlineAnswer,
}

/// A query about all users whose answer can be used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OnlineQuery {
    Stats,
    /// The first page, of so many users.
    Page(usize),
}

#[derive(Clone)]
enum OnlineAnswer {
    Stats(PresenceStats),
    Page(UsersView),
}

impl OnlineQuery {
    /// A query as one whose answer can be used again.
    pub(super) fn of(query: &Query) -> Option<Self> {
        match query {
            Query::PresenceStats => Some(Self::Stats),
            Query::Users(page) if page.after.is_none() => Some(Self::Page(page.limit)),
            _ => None,
        }
    }
}

impl RecentAnswers {
    /// The answer to a query, if no user of this node has changed since.
    pub(super) fn get(&self, turn: &OwnerTurn<'_>, query: OnlineQuery) -> Option<PartialResult> {
        let changes = turn.node.directory.changes();
        let is_valid =
            |known: &&RecentAnswer| known.query == query && known.changes == changes && turn.now.mono < known.until;
        self.answers.iter().find(is_valid).map(|known| match known.answer.clone() {
            OnlineAnswer::Stats(stats) => PartialResult::PresenceStats(stats),
            OnlineAnswer::Page(view) => PartialResult::Users(view),
        })
    }

    /// Keeps the answer to a query of the time `since`, before which users of this node had changed so often.
    pub(super) fn keep(&mut self, query: &Query, (since, changes): (u64, u64), result: &PartialResult) {
        let answer = match result {
            PartialResult::PresenceStats(stats) => OnlineAnswer::Stats(*stats),
            PartialResult::Users(view) => OnlineAnswer::Page(view.clone()),
            _ => return,
        };
        if let Some(query) = OnlineQuery::of(query) {
            self.answers.retain(|known| known.query != query);
            self.answers.truncate(RECENT_MAX - 1);
            self.answers.insert(0, RecentAnswer { query, changes, until: since + RECENT_MS, answer });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::access::Roles;

    fn part(users: &[(&str, Status, usize)], counts: [usize; 4]) -> NodeResult {
        let user = |(user, status, connections): &(&str, Status, usize)| WireUser {
            identity: (&Identity::new(user, None, None, Roles::default())).into(),
            status: status.as_str().into(),
            last_seen: 1,
            connected_at: Some(1),
            connections: *connections,
        };
        NodeResult::Online(users.iter().map(user).collect(), counts)
    }

    fn parts() -> Vec<NodeResult> {
        use Status::{Away, Offline, Online};
        let first = part(&[("ada", Online, 2), ("bob", Away, 1), ("eve", Offline, 1)], [3, 1, 0, 1]);
        vec![first, part(&[("bob", Away, 3), ("dan", Online, 1)], [1, 1, 0, 0])]
    }

    #[test]
    fn user_on_several_nodes_is_listed_and_counted_once() {
        let users = |view: &UsersView| -> Vec<(String, usize)> {
            view.users.iter().map(|user| (user.user.to_string(), user.connections)).collect()
        };
        let list = |names: &[(&str, usize)]| -> Vec<(String, usize)> {
            names.iter().map(|(user, connections)| ((*user).to_owned(), *connections)).collect()
        };
        let page = OnlineMerge::merge(parts()).page(3);
        assert_eq!((users(&page), page.total, page.is_more), (list(&[("ada", 2), ("bob", 4), ("dan", 1)]), 6, true));
        let shown = OnlineMerge::merge(parts()).shown_page(9);
        assert_eq!(
            (users(&shown), shown.total, shown.is_more),
            (list(&[("ada", 2), ("bob", 4), ("dan", 1)]), 5, false)
        );
        let stats = PresenceStats { online: 4, away: 1, offline: 1, ..PresenceStats::default() };
        assert_eq!(OnlineMerge::merge(parts()).stats(5), stats);
        assert_eq!(OnlineMerge::merge(parts()).stats(9), PresenceStats { offline: 4, ..stats });
        assert_eq!(OnlineMerge::merge(Vec::new()).page(3), UsersView::default());
    }
}
