//! The `rest` dialect: HTTP calls with JSON bodies, each a question whose response is its answer.
//!
//! [`route`] says what a method and a path ask for, [`decode`] reads the body into a [`Call`], [`encode`] writes the
//! answer to it, and [`refuse`] a refusal. What travels in HTTP's own headers (`Allow`, `Retry-After`, CORS) is
//! the caller's, as are tokens: a call only says whom it is for ([`Call::guests_may`], [`Call::admin_only`]).
//!
//! A new call is a row in `route`'s table, a variant of [`CallKind`] and of [`Call`], and what the compiler then asks
//! for.

mod decode;
mod encode;
mod refusal;
mod route;

pub use decode::decode;
pub use encode::{Answer, ServerStats, Site, call_page, encode};
pub use refusal::{Refusal, refuse, status_of};
pub use route::{CallRoute, Route, RouteFault, allowed, needs_body, route};

use std::collections::BTreeSet;

use crate::base::Name;
use crate::base::ids::ConnectionId;
use crate::domain::op::Profile;

/// Which call, before its path and body are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallKind {
    /// `POST /api/rooms`.
    CreateMeeting,
    /// `GET /api/rooms`.
    ListMeetings,
    /// `GET /api/rooms/:roomId`.
    Meeting,
    /// `DELETE /api/rooms/:roomId`.
    CloseMeeting,
    /// `POST /rooms`.
    CreateRoom,
    /// `GET /rooms/:roomId`.
    Room,
    /// `POST /rooms/:roomId/join`.
    Join,
    /// `POST /rooms/:roomId/leave`.
    Leave,
}

impl CallKind {
    /// Whether a caller without a token may be a guest here, where guests are let in at all.
    pub fn guests_may(self) -> bool {
        matches!(self, Self::CreateMeeting | Self::ListMeetings | Self::Meeting | Self::CloseMeeting)
    }

    /// Whether only admins may call.
    pub fn admin_only(self) -> bool {
        matches!(self, Self::ListMeetings)
    }
}

/// One question put by REST.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// Make a room for a meeting.
    CreateMeeting(Box<Profile>),
    /// Show all rooms.
    ListMeetings,
    /// Show a room as a meeting.
    Meeting {
        /// The room.
        room: Name,
    },
    /// Close a room.
    CloseMeeting {
        /// The room.
        room: Name,
    },
    /// Make a room.
    CreateRoom(Box<Profile>),
    /// Show a room.
    Room {
        /// The room.
        room: Name,
    },
    /// Make the caller a participant of a room.
    Join {
        /// The room.
        room: Name,
        /// The connection that becomes a member; all of the caller's when absent.
        connection: Option<ConnectionId>,
    },
    /// Undo [`Call::Join`].
    Leave {
        /// The room.
        room: Name,
        /// The one connection that leaves; all of the caller's when absent.
        connection: Option<ConnectionId>,
    },
}

impl Call {
    /// Which call it is.
    pub fn kind(&self) -> CallKind {
        match self {
            Self::CreateMeeting(_) => CallKind::CreateMeeting,
            Self::ListMeetings => CallKind::ListMeetings,
            Self::Meeting { .. } => CallKind::Meeting,
            Self::CloseMeeting { .. } => CallKind::CloseMeeting,
            Self::CreateRoom(_) => CallKind::CreateRoom,
            Self::Room { .. } => CallKind::Room,
            Self::Join { .. } => CallKind::Join,
            Self::Leave { .. } => CallKind::Leave,
        }
    }

    /// See [`CallKind::guests_may`].
    pub fn guests_may(&self) -> bool {
        self.kind().guests_may()
    }

    /// See [`CallKind::admin_only`].
    pub fn admin_only(&self) -> bool {
        self.kind().admin_only()
    }

    /// Takes the profile out of a call that makes a room, with `creator` as the first of its participants and nobody in
    /// it twice; `None` from any other call.
    ///
    /// The call is left with an empty profile, which its answer does without.
    pub fn take_profile(&mut self, creator: &Name) -> Option<Box<Profile>> {
        let (Self::CreateMeeting(profile) | Self::CreateRoom(profile)) = self else { return None };
        let mut profile = std::mem::take(profile);
        let given = std::mem::take(&mut profile.participants);
        let mut seen = BTreeSet::new();
        let all = std::iter::once(creator.clone()).chain(given);
        profile.participants = all.filter(|user| seen.insert(user.clone())).collect();
        Some(profile)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calls() -> Vec<Call> {
        let room = || Name::from("r");
        vec![
            Call::CreateMeeting(Box::default()),
            Call::ListMeetings,
            Call::Meeting { room: room() },
            Call::CloseMeeting { room: room() },
            Call::CreateRoom(Box::default()),
            Call::Room { room: room() },
            Call::Join { room: room(), connection: None },
            Call::Leave { room: room(), connection: None },
        ]
    }

    #[test]
    fn guests_may_meet_and_admins_alone_may_list() {
        let guests: Vec<bool> = calls().iter().map(Call::guests_may).collect();
        assert_eq!(guests, [true, true, true, true, false, false, false, false]);
        let admins: Vec<bool> = calls().iter().map(Call::admin_only).collect();
        assert_eq!(admins, [false, true, false, false, false, false, false, false]);
    }

    #[test]
    fn the_creator_is_the_first_participant_and_nobody_is_one_twice() {
        let participants = ["bob", "ann", "bob", "eve"].map(Name::from).to_vec();
        let mut call = Call::CreateRoom(Box::new(Profile { participants, ..Profile::default() }));
        let profile = call.take_profile(&"ann".into()).expect("the call makes a room");
        assert_eq!(profile.participants, ["ann", "bob", "eve"].map(Name::from));
        assert_eq!(call, Call::CreateRoom(Box::default()));
    }

    #[test]
    fn only_calls_that_make_a_room_have_a_profile() {
        for mut call in calls() {
            let makes = matches!(call.kind(), CallKind::CreateMeeting | CallKind::CreateRoom);
            assert_eq!(call.take_profile(&"ann".into()).is_some(), makes, "{call:?}");
        }
    }
}
