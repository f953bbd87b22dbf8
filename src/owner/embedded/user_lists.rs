//! Lists and statistics of a shard's users: one partial result of a query over all owners.

use std::collections::{BTreeSet, BinaryHeap};

use crate::base::Name;
use crate::base::time::Now;
use crate::domain::command::Status;
use crate::domain::monitoring::PresenceStats;
use crate::domain::op::{Reply, UsersPage, UsersView};
use crate::domain::query::PartialResult;
use crate::domain::user::User;
use crate::message::storage::StorageQuery;
use crate::owner::embedded::storage_requests::StorageRequest;
use crate::owner::embedded::turn::Turn;
use crate::owner::embedded::users::UserStore;

/// Users that the store is asked about one by one, to count them.
const UNSURE_MAX: usize = 10_000;

impl UserStore {
    /// A page of the connected users.
    pub(super) fn connected(&self, now: Now, page: &UsersPage) -> UsersView {
        let is_connected = |user: &User| !user.connections.is_empty();
        let total = self.users.iter().filter(|user| is_connected(user)).count();
        page_of(self, now, page, total, is_connected)
    }

    /// A page of the users that appear online.
    pub(super) fn shown(&self, now: Now, page: &UsersPage) -> UsersView {
        page_of(self, now, page, self.shown, |user| user.shown() != Status::Offline)
    }

    /// Those of the named users that appear online.
    pub(super) fn named(&self, now: Now, names: &[Name]) -> UsersView {
        let known = names.iter().filter_map(|name| self.users.get(name));
        let shown = known.filter(|user| user.shown() != Status::Offline);
        let users: Vec<_> = shown.map(|user| user.view(&user.identity, now)).collect();
        UsersView { total: users.len(), users, is_more: false }
    }

    /// Counts the users, and asks the store for those who are not here. All but those who have just arrived are in the store
    /// while they are here, if state outlives the process.
    pub(super) fn count(&self, turn: &mut Turn<'_>) {
        let rules = turn.rules();
        let mut stats = self.presence_stats();
        if !rules.has_store {
            return turn.reply(Ok(Reply::PartialResult(PartialResult::PresenceStats(stats))));
        }
        let recorded = || self.users.iter().filter(|user| user.is_recorded(rules));
        let mut unsure: BTreeSet<Name> = match rules.outlives_process {
            true => self.arrivals().filter(|name| self.is_present(name)).cloned().collect(),
            false => recorded().map(|user| user.identity.user_name()).take(UNSURE_MAX).collect(),
        };
        while unsure.len() > UNSURE_MAX {
            unsure.pop_last();
        }
        stats.stored_here = (recorded().count() - unsure.len()) as u64;
        let (is_all, named) = (turn.core.number == 0, unsure.into_iter().collect());
        turn.request(StorageRequest::UserCount(Box::new(stats)), StorageQuery::UserCount { is_all, named });
    }

    fn presence_stats(&self) -> PresenceStats {
        let mut all = PresenceStats::default();
        for user in self.users.iter() {
            *match user.shown() {
                Status::Online => &mut all.online,
                Status::Away => &mut all.away,
                Status::Busy => &mut all.busy,
                Status::Offline => &mut all.offline,
            } += 1;
        }
        all
    }

    pub(super) fn connections(&self) -> usize {
        self.users.iter().map(|user| user.connections.len()).sum()
    }
}

/// A page of the users that `is_listed` selects, `total` in all.
fn page_of(
    store: &UserStore,
    now: Now,
    page: &UsersPage,
    total: usize,
    is_listed: impl Fn(&User) -> bool,
) -> UsersView {
    if page.limit == 0 {
        return UsersView { total, users: Vec::new(), is_more: total > 0 };
    }
    // The first names after `page.after`, the last of them on top: a smaller name replaces it.
    let mut first = BinaryHeap::new();
    let mut is_more = false;
    let is_after = |name: &str| page.after.as_deref().is_none_or(|after| name > after);
    for user in store.users.iter().filter(|user| is_listed(user) && is_after(user.identity.user())) {
        let name = user.identity.user();
        if first.len() < page.limit {
            first.push(name);
            continue;
        }
        is_more = true;
        if let Some(mut last) = first.peek_mut()
            && name < *last
        {
            *last = name;
        }
    }
    let users = first.into_sorted_vec().into_iter().filter_map(|name| store.users.get(name));
    let users = users.map(|user| user.view(&user.identity, now)).collect();
    UsersView { total, users, is_more }
}
