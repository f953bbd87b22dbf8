//! Lists and statistics of a shard's users: one partial result of a query over all owners.

use std::collections::BinaryHeap;

use crate::base::Name;
use crate::base::time::Now;
use crate::domain::command::Status;
use crate::domain::monitoring::PresenceStats;
use crate::domain::op::{UsersPage, UsersView};
use crate::domain::user::User;
use crate::owner::embedded::users::UserStore;

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

    pub(super) fn presence_stats(&self) -> PresenceStats {
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
