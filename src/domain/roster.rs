//! Who is in a room, user by user, and what is counted of its messages. Looking is no activity.

use crate::domain::access::Identity;
use crate::domain::monitoring::MessageStats;
use crate::domain::op::UsersPage;
use crate::domain::query::RoomRoster;
use crate::domain::reject::Reject;
use crate::domain::room::Room;

impl Room {
    /// The room's users, of whom those of `page` are named.
    ///
    /// # Errors
    /// `by` may not join.
    pub fn roster(&self, by: &Identity, page: &UsersPage) -> Result<RoomRoster, Reject> {
        self.check_admits(by)?;
        let users = self.users();
        let total = users.len();
        let mut behind = users.into_iter().filter(|user| page.after.as_deref().is_none_or(|after| *user > after));
        let users = behind.by_ref().take(page.limit).map(Into::into).collect();
        Ok(RoomRoster { room: self.view(0), total, users, is_more: behind.next().is_some() })
    }

    /// Whether `user` may always join: the room's maker named them, or they are its maker.
    pub fn takes_part(&self, user: &str) -> bool {
        let Some(profile) = &self.profile else { return false };
        self.host.user() == user || profile.participants.iter().any(|known| **known == *user)
    }

    /// What is counted of the last messages.
    pub fn message_stats(&self) -> MessageStats {
        let (delivered, read) = self.tally.as_ref().map_or((0, 0), |tally| (tally.delivered(), tally.read()));
        MessageStats {
            typing: self.typing.users() as u64,
            tracked: self.recent.len() as u64,
            delivered: delivered.into(),
            read: read.into(),
        }
    }
}
