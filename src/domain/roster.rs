//! Lists and statistics of a room. Reading them does not count as activity.

use crate::domain::access::Identity;
use crate::domain::monitoring::MessageStats;
use crate::domain::op::UsersPage;
use crate::domain::query::RoomRoster;
use crate::domain::reject::Reject;
use crate::domain::room::Room;

impl Room {
    /// The number of the room's users, and those of a page.
    pub(crate) fn roster(&self, by: &Identity, page: &UsersPage) -> Result<RoomRoster, Reject> {
        self.check_admits(by)?;
        let users = self.users();
        let total = users.len();
        let mut behind = users.into_iter().filter(|user| page.after.as_deref().is_none_or(|after| *user > after));
        let users = behind.by_ref().take(page.limit).map(Into::into).collect();
        Ok(RoomRoster { room: self.view(0), total, users, is_more: behind.next().is_some() })
    }

    /// Whether `user` may always join: as the room's host or as a participant.
    pub(crate) fn takes_part(&self, user: &str) -> bool {
        self.has_participant(user) || (self.profile.is_some() && self.host.user() == user)
    }

    pub(crate) fn message_stats(&self) -> MessageStats {
        let (tracked, delivered, read) = self.log.receipts();
        MessageStats {
            typing: self.momentary.get().map_or(0, |state| state.typing.users()) as u64,
            tracked,
            delivered,
            read,
        }
    }
}
