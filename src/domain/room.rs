//! A room: its members, its profile and its log, which orders its messages.
//!
//! All operations go through [`Room::apply`], one at a time. It is a function of the room, the operation, the time and the
//! given randomness. It sends no message itself: it lists events, and the owner publishes them in the same order.

mod apply;
pub mod log;
pub(super) mod momentary;

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::base::Name;
use crate::base::ids::random_word;
use crate::base::limits;
use crate::base::table::HasName;
use crate::domain::access::Identity;
use crate::domain::call;
use crate::domain::event::{Event, PeerView, RoomInfo};
use crate::domain::membership::Members;
use crate::domain::op::{HostClaim, LogTerms, OpContext, PresenceView, Profile, RoomRules, RoomView};
use crate::domain::record::MadeRoom;
use crate::domain::reject::Reject;
use crate::domain::room::log::RoomLog;
use crate::domain::room::momentary::Momentary;

/// The remains of an empty room whose messages are stored.
#[derive(Clone, Debug)]
pub(crate) struct UnloadedRoom {
    pub(crate) room: Name,
    pub(crate) epoch: Name,
    pub(crate) host: Identity,
    /// The time of its creation, in milliseconds since 1970.
    pub(crate) created_at: u64,
    pub(crate) terms: LogTerms,
    /// The sequence number of its last message.
    pub(crate) last: u64,
    /// The time of its last message, in milliseconds since 1970.
    pub(crate) last_at: u64,
    pub(crate) is_locked: bool,
}

/// One room.
pub struct Room {
    pub(crate) id: Name,
    pub(crate) members: Members,
    pub(crate) log: RoomLog,
    /// `None` for a room that was created by joining.
    pub(super) profile: Option<Box<Profile>>,
    pub(super) host: Identity,
    /// Its end is in transit to storage: it accepts no operations but departures.
    pub(crate) is_closing: bool,
    /// Only the host and users with members may join.
    pub(crate) is_locked: bool,
    /// In milliseconds since 1970.
    created_at: u64,
    /// The time of its last operation, in monotonic and wall milliseconds.
    active_mono: u64,
    active_wall: u64,
    pub(super) momentary: Momentary,
    /// Members joined or left without an announcement.
    pub(crate) uncounted: bool,
    /// Members joined or left, and the members that receive online counts do not know yet.
    pub(crate) is_online_news: bool,
    /// The owners of its users have been asked for their presence.
    is_online_asked: bool,
    /// The owner has a deferred task that checks whether the room is idle.
    pub(crate) end_is_due: bool,
}

impl HasName for Box<Room> {
    fn name(&self) -> &str {
        &self.id
    }
}

impl Room {
    /// A room that `by` creates, on purpose (with a profile) or by joining (without).
    pub fn new(
        id: Name,
        by: &Identity,
        profile: Option<Box<Profile>>,
        terms: LogTerms,
        context: &mut OpContext<'_>,
    ) -> Self {
        Self {
            id,
            members: Members::default(),
            log: RoomLog::new(random_word(context.rng, 8).into(), terms),
            profile,
            host: by.clone(),
            is_closing: false,
            is_locked: false,
            created_at: context.now.wall,
            active_mono: context.now.mono,
            active_wall: context.now.wall,
            momentary: Momentary::default(),
            uncounted: false,
            is_online_news: false,
            is_online_asked: false,
            end_is_due: false,
        }
    }

    /// A room that `by` creates by joining. It has a host only if the settings say so.
    pub(crate) fn by_joining(id: Name, by: &Identity, context: &mut OpContext<'_>) -> Self {
        let host = if context.rules.joined_have_host { by.clone() } else { Identity::none() };
        Self::new(id, &host, None, LogTerms::default(), context)
    }

    /// A room that continues its log after a restart or after it was unloaded.
    pub(crate) fn from_unloaded(
        room: UnloadedRoom,
        profile: Option<Box<Profile>>,
        context: &mut OpContext<'_>,
    ) -> Self {
        Self {
            log: RoomLog::stored(room.epoch, room.terms, room.last),
            created_at: room.created_at,
            active_wall: room.last_at,
            is_locked: room.is_locked,
            ..Self::new(room.room, &room.host, profile, room.terms, context)
        }
    }

    /// The remains of the room while it is empty; `None` if storage has none of its messages.
    pub(crate) fn unload(&self, rules: &RoomRules) -> Option<UnloadedRoom> {
        let is_unloadable = self.log.is_stored() && self.profile.is_none() && self.log.is_kept(rules);
        is_unloadable.then(|| UnloadedRoom {
            room: self.id.clone(),
            epoch: self.log.epoch().clone(),
            host: self.host.clone(),
            created_at: self.created_at,
            terms: self.log.terms(),
            last: self.log.committed(),
            last_at: self.active_wall,
            is_locked: self.is_locked,
        })
    }

    /// When an idle room may end, in monotonic milliseconds; `None` while it is in use.
    pub(crate) fn ends_at(&self) -> Option<u64> {
        let idle_ms = if self.profile.is_some() { limits::MADE_ROOM_IDLE_MS } else { limits::JOINED_ROOM_IDLE_MS };
        let is_idle = self.members.is_empty() && !self.log.has_uncommitted() && !self.is_closing;
        is_idle.then(|| self.active_mono + idle_ms)
    }

    pub(crate) fn made(&self, rules: &RoomRules, maker: Name) -> MadeRoom {
        let terms = self.log.terms();
        MadeRoom {
            room: self.id.clone(),
            epoch: self.log.epoch().clone(),
            host: self.host.clone(),
            maker,
            created_at: self.created_at,
            history: terms.history.unwrap_or(rules.history),
            retention: terms.retention,
            profile: self.profile.clone(),
            is_locked: self.is_locked,
        }
    }

    pub(crate) fn stats(&self) -> Event {
        Event::Stats { room: self.id.clone(), participant_count: self.participant_count() }
    }

    /// The users to ask for their presence, if the online users have to be published and no request is pending. The result
    /// goes to [`Room::online`].
    pub(crate) fn take_online(&mut self) -> Option<Vec<Name>> {
        if self.is_online_asked || !std::mem::take(&mut self.is_online_news) || !self.members.has_peers() {
            return None;
        }
        self.is_online_asked = true;
        Some(self.users().into_iter().map(Into::into).collect())
    }

    /// The event with the online users. Without `users` all users count as online, and none is listed.
    pub(crate) fn online(&mut self, users: Option<Vec<PresenceView>>) -> Event {
        self.is_online_asked = false;
        let here = self.users();
        let mut online_count = here.len();
        let users = users.map(|mut users| {
            users.retain(|view| here.contains(&*view.user));
            online_count = users.len();
            users.truncate(limits::ONLINE_LISTED);
            users.into()
        });
        Event::Online { room: self.id.clone(), online_count, users }
    }

    /// Announces the room's profile to the members whose dialect has an event for that.
    pub(super) fn tell_info(&self, context: &mut OpContext<'_>) {
        if self.members.has_peers() {
            context.tell_members(None, Event::Info(self.info()));
        }
    }

    /// The room as it is announced after a change.
    pub(super) fn info(&self) -> Arc<RoomInfo> {
        let profile = self.profile.as_deref();
        Arc::new(RoomInfo {
            room: self.id.clone(),
            name: profile.and_then(|profile| profile.name.clone()),
            description: profile.and_then(|profile| profile.description.clone()),
            metadata: profile.and_then(|profile| profile.metadata.clone()),
            is_private: self.is_private(),
            max_participants: profile.map_or(0, |profile| profile.max_participants),
            is_locked: self.is_locked,
            participant_count: self.participant_count(),
            online_count: self.users().len(),
            last_activity: self.active_wall,
        })
    }

    /// The users of the members, each once.
    pub(super) fn users(&self) -> BTreeSet<&str> {
        self.members.iter().map(|member| member.identity.user()).collect()
    }

    /// The number of its members, or of the users that its creator named, if they are more. Its host alone is not named.
    pub(super) fn participant_count(&self) -> usize {
        let named = self.profile.as_deref().map_or(0, |profile| profile.participants.len());
        self.members.len().max(if named > 1 { named } else { 0 })
    }

    /// The room's public view, with at most `peers` of its members.
    pub(crate) fn view(&self, peers: usize) -> RoomView {
        RoomView {
            room: self.id.clone(),
            is_made: self.profile.is_some(),
            profile: self.profile.as_deref().map(Profile::shown).unwrap_or_default(),
            is_locked: self.is_locked,
            host: self.host.user_name(),
            created_at: self.created_at,
            last_activity: self.active_wall,
            participant_count: self.participant_count(),
            mode: call::mode(self),
            peers: self.members.iter().take(peers).map(|member| member.peer()).collect::<Vec<PeerView>>(),
        }
    }

    /// Rejects an operation of a user that may not join.
    pub(super) fn check_admits(&self, by: &Identity) -> Result<(), Reject> {
        self.admits(by).then_some(()).ok_or_else(Reject::private)
    }

    /// Whether a user is the host, has shown the host secret, or is an admin.
    pub(super) fn is_host(&self, by: &HostClaim) -> bool {
        let key = self.profile.as_deref().and_then(|profile| profile.host_key.as_ref());
        self.is_host_user(&by.by) || by.key.is_some() && by.key.as_deref() == key
    }

    pub(super) fn is_host_user(&self, by: &Identity) -> bool {
        by.roles().admin || by.user() == self.host.user()
    }

    /// Rejects a join of a user while the room is locked, except of the host and of users with a member.
    pub(super) fn check_lock(&self, by: &Identity) -> Result<(), Reject> {
        let is_open = !self.is_locked
            || self.is_host_user(by)
            || self.members.iter().any(|member| member.identity.user() == by.user());
        is_open.then_some(()).ok_or_else(Reject::room_locked)
    }

    pub(super) fn has_participant(&self, user: &str) -> bool {
        let profile = self.profile.as_deref();
        profile.is_some_and(|profile| profile.participants.iter().any(|participant| **participant == *user))
    }

    pub(super) fn is_private(&self) -> bool {
        self.profile.as_deref().is_some_and(|profile| profile.is_private)
    }

    fn admits(&self, by: &Identity) -> bool {
        !self.is_private() || self.is_host_user(by) || self.has_participant(by.user())
    }

    /// Checks the room's invariants, for tests.
    pub(crate) fn check_invariants(&self) {
        self.members.check_invariants();
        self.log.check_invariants();
        self.momentary.check_invariants();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_room_takes_no_more_memory_than_listed() {
        assert_eq!(size_of::<Room>(), 248);
    }
}
