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

pub use decode::{decode, page};
pub use encode::{Answer, ServerStats, Site, call_page, encode};
pub use refusal::{Refusal, refuse, status_of};
pub use route::{CallRoute, Route, RouteFault, allowed, needs_body, route};

use std::collections::BTreeSet;

use crate::base::Name;
use crate::base::ids::ConnectionId;
use crate::domain::command::Status;
use crate::domain::event::Content;
use crate::domain::op::{LogTerms, Profile, UsersPage};

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
    /// `POST /connections`.
    Register,
    /// `DELETE /connections/:connectionId`.
    Disconnect,
    /// `GET /connections/:userId`.
    Connections,
    /// `GET /presence/:userId`.
    Presence,
    /// `PUT /presence/:userId`.
    SetPresence,
    /// `POST /broadcast`.
    Broadcast,
    /// `POST /websocket/message/user`.
    PushToUser,
    /// `POST /websocket/message/users`.
    PushToUsers,
    /// `POST /websocket/message/broadcast`.
    PushToAll,
    /// `POST /websocket/notification`.
    Notify,
    /// `GET /websocket/users/connected`.
    ConnectedUsers,
    /// `GET /websocket/users/:userId/status`.
    UserStatus,
    /// `GET /websocket/me/status`.
    OwnStatus,
    /// `DELETE /websocket/users/:userId/disconnect`.
    DisconnectUser,
}

impl CallKind {
    /// Whether a caller without a token may be a guest here, where guests are let in at all.
    pub fn guests_may(self) -> bool {
        matches!(self, Self::CreateMeeting | Self::ListMeetings | Self::Meeting | Self::CloseMeeting)
    }

    /// Whether only admins may call.
    pub fn admin_only(self) -> bool {
        matches!(self, Self::ListMeetings | Self::Broadcast)
    }

    /// Whether only admins may call, and services whose token has the scope `push`.
    pub fn push_only(self) -> bool {
        let pushes = [Self::PushToUser, Self::PushToUsers, Self::PushToAll, Self::Notify, Self::ConnectedUsers];
        pushes.contains(&self)
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
    CreateRoom(Box<Profile>, LogTerms),
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
    /// Say something of the device behind a connection, or one that is to come.
    Register {
        /// Whose connection.
        user: Name,
        /// Its id, or what it calls itself.
        socket: Name,
        /// What there is to say, as JSON.
        device: Option<Box<str>>,
    },
    /// Close a connection, or withdraw what was said of one that has not come.
    Disconnect {
        /// Its id, or what it would have called itself.
        socket: Name,
    },
    /// Show a user's connections.
    Connections {
        /// The user.
        user: Name,
    },
    /// Show how a user is.
    Presence {
        /// The user.
        user: Name,
    },
    /// Say how a user is.
    SetPresence {
        /// The user.
        user: Name,
        /// How they are.
        status: Status,
        /// When they were last active, in milliseconds since 1970.
        last_seen: Option<u64>,
    },
    /// Send everybody a message.
    Broadcast(Content),
    /// Send a user a message.
    PushToUser {
        /// The user.
        user: Name,
        /// What it says.
        content: Content,
    },
    /// Send several users a message.
    PushToUsers {
        /// The users, each once.
        users: Vec<Name>,
        /// What it says.
        content: Content,
    },
    /// Send everybody a message, and say whom it reached.
    PushToAll(Content),
    /// Send a user a notification.
    Notify {
        /// The user.
        user: Name,
        /// What it says.
        content: Content,
    },
    /// Show who is connected.
    ConnectedUsers(UsersPage),
    /// Show whether a user is connected.
    UserStatus {
        /// The user.
        user: Name,
    },
    /// Show whether the caller is connected.
    OwnStatus,
    /// Close all connections of a user.
    DisconnectUser {
        /// The user.
        user: Name,
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
            Self::CreateRoom(..) => CallKind::CreateRoom,
            Self::Room { .. } => CallKind::Room,
            Self::Join { .. } => CallKind::Join,
            Self::Leave { .. } => CallKind::Leave,
            Self::Register { .. } => CallKind::Register,
            Self::Disconnect { .. } => CallKind::Disconnect,
            Self::Connections { .. } => CallKind::Connections,
            Self::Presence { .. } => CallKind::Presence,
            Self::SetPresence { .. } => CallKind::SetPresence,
            Self::Broadcast(_) => CallKind::Broadcast,
            Self::PushToUser { .. } => CallKind::PushToUser,
            Self::PushToUsers { .. } => CallKind::PushToUsers,
            Self::PushToAll(_) => CallKind::PushToAll,
            Self::Notify { .. } => CallKind::Notify,
            Self::ConnectedUsers(_) => CallKind::ConnectedUsers,
            Self::UserStatus { .. } => CallKind::UserStatus,
            Self::OwnStatus => CallKind::OwnStatus,
            Self::DisconnectUser { .. } => CallKind::DisconnectUser,
        }
    }

    /// The user whose own business the call is: nobody else may call it but admins.
    pub fn concerns_only(&self) -> Option<&Name> {
        match self {
            Self::Register { user, .. }
            | Self::Connections { user }
            | Self::SetPresence { user, .. }
            | Self::DisconnectUser { user } => Some(user),
            _ => None,
        }
    }

    /// What the call sends to others.
    pub fn content(&self) -> Option<&Content> {
        match self {
            Self::Broadcast(content) | Self::PushToAll(content) => Some(content),
            Self::PushToUser { content, .. } | Self::PushToUsers { content, .. } | Self::Notify { content, .. } => {
                Some(content)
            }
            _ => None,
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
        let (Self::CreateMeeting(profile) | Self::CreateRoom(profile, _)) = self else { return None };
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

    fn content() -> Content {
        Content { body: "1".into(), kind: None, reply_to: None, attachment: None, metadata: None }
    }

    fn calls() -> Vec<Call> {
        let (room, user) = (|| Name::from("r"), || Name::from("u"));
        vec![
            Call::CreateMeeting(Box::default()),
            Call::ListMeetings,
            Call::Meeting { room: room() },
            Call::CloseMeeting { room: room() },
            Call::CreateRoom(Box::default(), LogTerms::default()),
            Call::Room { room: room() },
            Call::Join { room: room(), connection: None },
            Call::Leave { room: room(), connection: None },
            Call::Register { user: user(), socket: "s".into(), device: None },
            Call::Disconnect { socket: "s".into() },
            Call::Connections { user: user() },
            Call::Presence { user: user() },
            Call::SetPresence { user: user(), status: Status::Away, last_seen: None },
            Call::Broadcast(content()),
            Call::PushToUser { user: user(), content: content() },
            Call::PushToUsers { users: vec![user()], content: content() },
            Call::PushToAll(content()),
            Call::Notify { user: user(), content: content() },
            Call::ConnectedUsers(UsersPage { after: None, limit: 1 }),
            Call::UserStatus { user: user() },
            Call::OwnStatus,
            Call::DisconnectUser { user: user() },
        ]
    }

    fn kinds(is_one: impl Fn(&Call) -> bool) -> Vec<CallKind> {
        calls().iter().filter(|call| is_one(call)).map(Call::kind).collect()
    }

    #[test]
    fn calls_are_for_those_they_are_for() {
        use CallKind::*;
        assert_eq!(kinds(Call::guests_may), [CreateMeeting, ListMeetings, Meeting, CloseMeeting]);
        assert_eq!(kinds(Call::admin_only), [ListMeetings, Broadcast]);
        assert_eq!(kinds(|call| call.kind().push_only()), [PushToUser, PushToUsers, PushToAll, Notify, ConnectedUsers]);
        let own = [Register, Connections, SetPresence, DisconnectUser];
        assert_eq!(kinds(|call| call.concerns_only().is_some()), own);
        assert_eq!(kinds(|call| call.content().is_some()), [Broadcast, PushToUser, PushToUsers, PushToAll, Notify]);
    }

    #[test]
    fn the_creator_is_the_first_participant_and_nobody_is_one_twice() {
        let participants = ["bob", "ann", "bob", "eve"].map(Name::from).to_vec();
        let mut call = Call::CreateRoom(Box::new(Profile { participants, ..Profile::default() }), LogTerms::default());
        let profile = call.take_profile(&"ann".into()).expect("the call makes a room");
        assert_eq!(profile.participants, ["ann", "bob", "eve"].map(Name::from));
        assert_eq!(call, Call::CreateRoom(Box::default(), LogTerms::default()));
    }

    #[test]
    fn only_calls_that_make_a_room_have_a_profile() {
        for mut call in calls() {
            let makes = matches!(call.kind(), CallKind::CreateMeeting | CallKind::CreateRoom);
            assert_eq!(call.take_profile(&"ann".into()).is_some(), makes, "{call:?}");
        }
    }
}
