//! This keeper's part of what every keeper is asked.

use std::sync::Arc;

use crate::base::Name;
use crate::base::limits;
use crate::base::time::Now;
use crate::domain::access::Identity;
use crate::domain::command::Status;
use crate::domain::monitoring::{MessageStats, PresenceStats};
use crate::domain::op::{AddressedEvent, Audience, PresenceView, Reply, RoomsView, UsersPage, UsersView};
use crate::domain::reject::Reject;
use crate::domain::user::User;
use crate::message::Outgoing;
use crate::owner::embedded::EmbeddedOwner;
use crate::owner::embedded::rooms::Outcome;

impl EmbeddedOwner {
    /// Who is in a room.
    pub(super) fn roster(&self, place: u32, by: &Identity, page: &UsersPage) -> Outcome {
        let Some(room) = self.rooms.at(place) else { return Err(Reject::room_not_found()) };
        room.roster(by, page).map(|roster| Some(Reply::Roster(Box::new(roster))))
    }

    /// The rooms kept here that a user takes part in, and those of `joined`.
    pub fn rooms_of(&self, user: &str, joined: &[Name]) -> RoomsView {
        let own = self.rooms.iter().filter(|room| joined.contains(&room.id) || room.takes_part(user));
        let rooms = own.take(limits::ROOMS_LISTED).map(|room| room.view(0));
        RoomsView { rooms: rooms.collect(), ..RoomsView::default() }
    }

    /// A page of the users who are here and show it.
    pub fn users_shown(&self, now: Now, page: &UsersPage) -> UsersView {
        let is_shown = |user: &User| user.shown() != Status::Offline;
        debug_assert_eq!(self.shown, self.users.iter().filter(|user| is_shown(user)).count());
        self.page_of(now, page, self.shown, is_shown)
    }

    /// How these users are, as far as they are kept here and show that they are here.
    pub fn these_users(&self, now: Now, users: &Arc<[Name]>) -> UsersView {
        let known = users.iter().filter_map(|name| self.users.get(name));
        let shown = known.filter(|user| user.shown() != Status::Offline);
        let users: Vec<_> = shown.map(|user| user.view(&user.identity, now)).collect();
        UsersView { total: users.len(), users, is_more: false }
    }

    /// Tells a room's members who of its users are online, as their keepers have said; where somebody has come or gone
    /// meanwhile, this is told next.
    pub fn tell_online(&mut self, now: Now, room: &str, users: Vec<PresenceView>, out: &mut Vec<Outgoing>) {
        let Some(place) = self.rooms.find(room) else { return };
        let Some(room) = self.rooms.at_mut(place) else { return };
        let event = room.online(Some(users));
        self.events.push(AddressedEvent { audience: Audience::Members { except: None }, event });
        self.tell_room_facts(now, place, false, out);
        self.note_due(now, place);
    }

    /// What is counted of messages in the rooms kept here.
    pub fn message_stats(&self) -> MessageStats {
        let mut all = MessageStats::default();
        self.rooms.iter().for_each(|room| all.merge(&room.message_stats()));
        all
    }

    /// What is counted of the users kept here.
    pub fn presence_stats(&self) -> PresenceStats {
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
}
