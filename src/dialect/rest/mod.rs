//! The `rest` dialect: HTTP calls with JSON bodies.
//!
//! [`route`] finds the call of a method and a path, [`decode`] reads the body into a [`RestCall`], [`encode`] writes
//! its answer, and [`refuse`] a refusal. HTTP headers (`Allow`, `Retry-After`, CORS) and tokens are the caller's
//! concern. For authorization a call names its action ([`RestCallKind::action`]) and the user it concerns
//! ([`RestCall::concerns_only`]).
//!
//! To add a call, add a row to `route`'s table, a variant to [`RestCallKind`] and [`RestCall`], and the match arms that
//! the compiler then demands.

mod apps;
mod backend;
mod batch;
mod decode;
mod dev_token;
mod encode;
mod keys;
mod kind;
mod log_filters;
mod manage;
mod refusal;
mod route;
mod search;
mod trace;

pub use apps::emit_of_hook as app_emit;
pub use backend::{AppendedPiece, Publish, PublishTarget, messages_range};
pub use batch::Batch;
pub use decode::{decode, page};
pub use dev_token::{WantedToken, dev_token};
pub use encode::{RestAnswer, ServerStats, Site, call_page, encode, escaped};
pub use keys::{MadeKey, NewKey};
pub use kind::RestCallKind;
pub use log_filters::{log_filter, log_filters};
pub use manage::{ManagedRoom, NewRoom, RoomAct, UserJoin};
pub use refusal::{RestRefusal, refuse, status_of};
pub use route::{RestCallRoute, RestRoute, RestRouteFault, allowed, route};
pub use search::rooms_page;
pub use trace::{masked, names_room, skipped_frames, traced_frame};

use std::sync::Arc;

use self::decode::distinct;
use crate::base::Name;
use crate::base::ids::ConnectionId;
use crate::domain::access::Identity;
use crate::domain::app::AppRequest;
use crate::domain::command::Status;
use crate::domain::event::Content;
use crate::domain::history::HistoryRange;
use crate::domain::log_filter::LogSubject;
use crate::domain::op::{ProfileChange, UsersPage};
use crate::domain::query::RoomsPage;
use crate::domain::revocation::{Revocation, Revoked, RevokedKind};
use crate::domain::trace::TraceSubject;

/// One REST call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RestCall {
    /// Create a room for a meeting. If the caller has no token, the answer has the host secret.
    CreateMeeting(Box<NewRoom>, Option<Box<str>>),
    /// List all rooms.
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
    /// Create a room.
    CreateRoom(Box<NewRoom>),
    /// Show a room.
    Room {
        /// The room.
        room: Name,
    },
    /// A backend's call on a room.
    Manage(Box<ManagedRoom>),
    /// Change a room's settings.
    UpdateRoom {
        /// The room.
        room: Name,
        /// The new values.
        change: Box<ProfileChange>,
    },
    /// Make the caller a participant of a room.
    Join {
        /// The room.
        room: Name,
        /// The connection that becomes a member; all of the caller's when absent.
        connection: Option<ConnectionId>,
        /// Whether there is such a connection, as far as is known.
        is_connected: bool,
    },
    /// Undo [`RestCall::Join`].
    Leave {
        /// The room.
        room: Name,
        /// The one connection that leaves; all of the caller's when absent.
        connection: Option<ConnectionId>,
    },
    /// Register the device of a connection, before or after it connects.
    Register {
        /// The connection's user.
        user: Name,
        /// The connection's id, or its own name.
        socket: Name,
        /// The device description, as JSON.
        device: Option<Box<str>>,
    },
    /// Close a connection, or remove the registration of one that has not connected.
    Disconnect {
        /// The connection's id, or its own name.
        socket: Name,
    },
    /// Show a user's connections.
    Connections {
        /// The user.
        user: Name,
    },
    /// Show a user's presence.
    Presence {
        /// The user.
        user: Name,
    },
    /// Set a user's presence.
    SetPresence {
        /// The user.
        user: Name,
        /// The status.
        status: Status,
        /// The time of their last activity, in milliseconds since 1970.
        last_seen: Option<u64>,
    },
    /// Send a message to all users.
    Broadcast(Content),
    /// Send a user a message.
    PushToUser {
        /// The user.
        user: Name,
        /// The content.
        content: Content,
    },
    /// Send several users a message.
    PushToUsers {
        /// The users, each once.
        users: Vec<Name>,
        /// The content.
        content: Content,
    },
    /// Send a message to all users, and count the connections it reached.
    PushToAll(Content),
    /// Send a user a notification.
    Notify {
        /// The user.
        user: Name,
        /// The content.
        content: Content,
    },
    /// Send a message to rooms, users or all connections.
    Publish(Box<Publish>),
    /// Send several messages to rooms, users or all connections.
    Batch(Box<Batch>),
    /// List rooms.
    Rooms(Arc<RoomsPage>),
    /// Show messages of a room.
    Messages {
        /// The room.
        room: Name,
        /// The messages.
        range: HistoryRange,
    },
    /// An act on sockets of a namespace of the application.
    App(Box<AppRequest>),
    /// Make an API key, or rotate one.
    MakeKey(Box<NewKey>),
    /// Lists the events for endpoints of the application that were given up.
    DeadLetters,
    /// Has the events that were given up delivered again, to an endpoint.
    ReplayWebhook(Name),
    /// List the filters of this server's log.
    LogFilters,
    /// Log all of a connection, a user or a room for a while.
    SetLogFilter {
        /// What is logged.
        subject: LogSubject,
        /// The duration.
        seconds: u64,
    },
    /// End a filter of the log.
    RemoveLogFilter {
        /// Its id.
        filter: Name,
    },
    /// Watch the frames of a connection, a user, a room or an address.
    Trace {
        /// What is traced.
        subject: TraceSubject,
        /// The duration.
        seconds: u64,
    },
    /// Show the settings in force.
    Settings,
    /// Make a token for a developer.
    DevToken(WantedToken),
    /// List the connected users.
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
    /// Remove a user from a room.
    RemoveUser {
        /// The room.
        room: Name,
        /// The user.
        user: Name,
    },
    /// Lock a room for users that are not in it, or unlock it.
    Lock {
        /// The room.
        room: Name,
        /// Whether it is locked.
        is_locked: bool,
    },
    /// Block a user or an address, ban a user from a room, or revoke tokens.
    Revoke(Box<Revocation>),
    /// Undo [`RestCall::Revoke`].
    Unrevoke(Box<Revoked>),
    /// List what is revoked.
    Revocations {
        /// Of this kind.
        kind: RevokedKind,
        /// Of bans: those from this room.
        room: Option<Name>,
        /// The page.
        page: UsersPage,
    },
}

impl RestCall {
    /// The kind of the call.
    pub fn kind(&self) -> RestCallKind {
        match self {
            Self::CreateMeeting(..) => RestCallKind::CreateMeeting,
            Self::ListMeetings => RestCallKind::ListMeetings,
            Self::Meeting { .. } => RestCallKind::Meeting,
            Self::CloseMeeting { .. } => RestCallKind::CloseMeeting,
            Self::CreateRoom(..) => RestCallKind::CreateRoom,
            Self::Manage(managed) => managed.act.kind(),
            Self::MakeKey(new) if new.rotated.is_some() => RestCallKind::RotateKey,
            Self::MakeKey(_) => RestCallKind::MakeKey,
            Self::Room { .. } => RestCallKind::Room,
            Self::UpdateRoom { .. } => RestCallKind::UpdateRoom,
            Self::Join { .. } => RestCallKind::Join,
            Self::Leave { .. } => RestCallKind::Leave,
            Self::Register { .. } => RestCallKind::Register,
            Self::Disconnect { .. } => RestCallKind::Disconnect,
            Self::Connections { .. } => RestCallKind::Connections,
            Self::Presence { .. } => RestCallKind::Presence,
            Self::SetPresence { .. } => RestCallKind::SetPresence,
            Self::Broadcast(_) => RestCallKind::Broadcast,
            Self::PushToUser { .. } => RestCallKind::PushToUser,
            Self::PushToUsers { .. } => RestCallKind::PushToUsers,
            Self::PushToAll(_) => RestCallKind::PushToAll,
            Self::Notify { .. } => RestCallKind::Notify,
            Self::Publish(_) => RestCallKind::Publish,
            Self::Batch(_) => RestCallKind::Batch,
            Self::Rooms(_) => RestCallKind::SearchRooms,
            Self::Messages { .. } => RestCallKind::Messages,
            Self::App(request) => apps::kind(request),
            Self::DeadLetters => RestCallKind::DeadLetters,
            Self::ReplayWebhook(_) => RestCallKind::ReplayWebhook,
            Self::LogFilters => RestCallKind::LogFilters,
            Self::SetLogFilter { .. } => RestCallKind::SetLogFilter,
            Self::RemoveLogFilter { .. } => RestCallKind::RemoveLogFilter,
            Self::Trace { .. } => RestCallKind::Trace,
            Self::Settings => RestCallKind::Settings,
            Self::DevToken(_) => RestCallKind::DevToken,
            Self::ConnectedUsers(_) => RestCallKind::ConnectedUsers,
            Self::UserStatus { .. } => RestCallKind::UserStatus,
            Self::OwnStatus => RestCallKind::OwnStatus,
            Self::DisconnectUser { .. } => RestCallKind::DisconnectUser,
            Self::RemoveUser { .. } => RestCallKind::RemoveUser,
            Self::Lock { .. } => RestCallKind::Lock,
            Self::Revoke(revocation) => match revocation.subject.kind() {
                RevokedKind::User => RestCallKind::BlockUser,
                RevokedKind::Token | RevokedKind::TokensOf => RestCallKind::RevokeTokens,
                RevokedKind::Member => RestCallKind::Ban,
                RevokedKind::Address => RestCallKind::BlockAddress,
                RevokedKind::Key => RestCallKind::MakeKey,
            },
            Self::Unrevoke(subject) => match subject.kind() {
                RevokedKind::User | RevokedKind::Token | RevokedKind::TokensOf => RestCallKind::UnblockUser,
                RevokedKind::Member => RestCallKind::Unban,
                RevokedKind::Address => RestCallKind::UnblockAddress,
                RevokedKind::Key => RestCallKind::EndKey,
            },
            Self::Revocations { kind, .. } => match kind {
                RevokedKind::User => RestCallKind::BlockedUsers,
                RevokedKind::Token | RevokedKind::TokensOf => RestCallKind::RevokedTokens,
                RevokedKind::Member => RestCallKind::Bans,
                RevokedKind::Address => RestCallKind::BlockedAddresses,
                RevokedKind::Key => RestCallKind::Keys,
            },
        }
    }

    /// The name of the call in the audit log, if it is an action of an admin, a host or a backend on all users.
    pub fn audited(&self, by: &Identity) -> Option<&'static str> {
        match self {
            Self::Publish(publish) if publish.target == PublishTarget::All => Some("broadcast"),
            Self::Batch(batch) if batch.messages.iter().any(|it| it.target == PublishTarget::All) => Some("broadcast"),
            Self::SetPresence { user, .. } if **user != *by.user() => Some("set-presence"),
            _ => self.kind().audited(),
        }
    }

    /// The user, room, address or connection that an audited call concerns.
    pub fn subject(&self) -> String {
        match self {
            Self::CloseMeeting { room } | Self::Lock { room, .. } | Self::UpdateRoom { room, .. } => room.to_string(),
            Self::Manage(managed) => managed.subject(),
            Self::MakeKey(new) => new.subject(),
            Self::RemoveUser { room, user } => format!("{user} in {room}"),
            Self::Disconnect { socket } => socket.to_string(),
            Self::ReplayWebhook(endpoint) => endpoint.to_string(),
            Self::SetLogFilter { subject, .. } => subject.to_string(),
            Self::RemoveLogFilter { filter } => filter.to_string(),
            Self::Trace { subject, .. } => subject.to_string(),
            Self::DisconnectUser { user } | Self::SetPresence { user, .. } => user.to_string(),
            Self::Revoke(revocation) => revocation.subject.to_string(),
            Self::Unrevoke(subject) => subject.to_string(),
            _ => String::new(),
        }
    }

    /// The rooms that the call concerns, if it concerns no others.
    pub fn rooms(&self) -> Vec<&Name> {
        match self {
            Self::Publish(publish) => publish.target.rooms().unwrap_or_default().iter().collect(),
            Self::Batch(batch) => {
                let rooms = batch.messages.iter().map(|message| message.target.rooms());
                rooms.collect::<Option<Vec<_>>>().unwrap_or_default().into_iter().flatten().collect()
            }
            Self::App(request) => apps::rooms(request),
            Self::Manage(managed) => Some(&managed.room).filter(|room| !room.is_empty()).into_iter().collect(),
            Self::CreateMeeting(new, _) | Self::CreateRoom(new) => new.id.iter().collect(),
            Self::Rooms(page) => Some(&page.prefix).filter(|prefix| !prefix.is_empty()).into_iter().collect(),
            Self::Messages { room, .. }
            | Self::Meeting { room }
            | Self::CloseMeeting { room }
            | Self::Room { room }
            | Self::UpdateRoom { room, .. }
            | Self::RemoveUser { room, .. }
            | Self::Lock { room, .. } => vec![room],
            _ => Vec::new(),
        }
    }

    /// The user that the call concerns: only that user and admins may call it.
    pub fn concerns_only(&self) -> Option<&Name> {
        match self {
            Self::Register { user, .. }
            | Self::Connections { user }
            | Self::SetPresence { user, .. }
            | Self::DisconnectUser { user } => Some(user),
            _ => None,
        }
    }

    /// The size of the largest message that the call sends, in bytes.
    pub fn content_bytes(&self) -> usize {
        let batched = match self {
            Self::Batch(batch) => batch.messages.iter().map(|message| message.content.body.len()).max(),
            Self::Manage(managed) => match &managed.act {
                RoomAct::Revise { content: Some(content), .. } => Some(content.body.len()),
                RoomAct::Append { piece, .. } => Some(piece.body.len()),
                _ => None,
            },
            _ => None,
        };
        batched.or(self.content().map(|content| content.body.len())).unwrap_or(0)
    }

    /// The message that the call sends, if it sends one.
    pub fn content(&self) -> Option<&Content> {
        match self {
            Self::Broadcast(content) | Self::PushToAll(content) => Some(content),
            Self::Publish(publish) => Some(&publish.content),
            Self::PushToUser { content, .. } | Self::PushToUsers { content, .. } | Self::Notify { content, .. } => {
                Some(content)
            }
            _ => None,
        }
    }

    /// Takes the room out of a call of a user that makes one, with `creator` as the first participant and each participant
    /// once; `None` for all other calls.
    ///
    /// The call keeps an empty room; its answer does not need it.
    pub fn take_room(&mut self, creator: &Name) -> Option<NewRoom> {
        let mut room = match self {
            Self::CreateMeeting(room, _) | Self::CreateRoom(room) => std::mem::take(&mut **room),
            _ => return None,
        };
        let given = std::mem::take(&mut room.profile.participants);
        room.profile.participants = distinct(std::iter::once(creator.clone()).chain(given).collect());
        debug_assert_eq!(
            room.profile.participants.first(),
            Some(creator),
            "invariant: the creator is the first participant"
        );
        Some(room)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::op::Profile;
    use crate::domain::policy::{Action, Openness};

    fn content() -> Content {
        Content { body: "1".into(), event: None, kind: None, reply_to: None, attachment: None, metadata: None }
    }

    fn calls() -> Vec<RestCall> {
        let (room, user) = (|| Name::from("r"), || Name::from("u"));
        vec![
            RestCall::CreateMeeting(Box::default(), None),
            RestCall::ListMeetings,
            RestCall::Meeting { room: room() },
            RestCall::CloseMeeting { room: room() },
            RestCall::CreateRoom(Box::default()),
            RestCall::Room { room: room() },
            RestCall::Join { room: room(), connection: None, is_connected: true },
            RestCall::Leave { room: room(), connection: None },
            RestCall::Register { user: user(), socket: "s".into(), device: None },
            RestCall::Disconnect { socket: "s".into() },
            RestCall::Connections { user: user() },
            RestCall::Presence { user: user() },
            RestCall::SetPresence { user: user(), status: Status::Away, last_seen: None },
            RestCall::Broadcast(content()),
            RestCall::PushToUser { user: user(), content: content() },
            RestCall::PushToUsers { users: vec![user()], content: content() },
            RestCall::PushToAll(content()),
            RestCall::Notify { user: user(), content: content() },
            RestCall::ConnectedUsers(UsersPage { after: None, limit: 1 }),
            RestCall::UserStatus { user: user() },
            RestCall::OwnStatus,
            RestCall::DisconnectUser { user: user() },
            RestCall::RemoveUser { room: room(), user: user() },
            RestCall::Lock { room: room(), is_locked: true },
            RestCall::Unrevoke(Box::new(Revoked::User(user()))),
            RestCall::Unrevoke(Box::new(Revoked::Member { room: room(), user: user() })),
        ]
    }

    fn kinds(is_one: impl Fn(&RestCall) -> bool) -> Vec<RestCallKind> {
        calls().iter().filter(|call| is_one(call)).map(RestCall::kind).collect()
    }

    #[test]
    fn calls_are_for_those_they_are_for() {
        use RestCallKind::*;
        let of = |action| kinds(|call| call.kind().action() == action);
        let guests = |open| kinds(|call| call.kind().action().admits_guests(open));
        assert_eq!(guests(Openness::default()), [CreateMeeting, Meeting, CloseMeeting, RemoveUser, Lock]);
        let listed = Openness { room_list: true, ..Openness::default() };
        assert_eq!(guests(listed), [CreateMeeting, ListMeetings, Meeting, CloseMeeting, RemoveUser, Lock]);
        assert_eq!(of(Action::Administer), [UnblockUser, Unban]);
        assert_eq!([of(Action::ListRooms), of(Action::Broadcast)].concat(), [ListMeetings, Broadcast]);
        assert_eq!(of(Action::Push), [PushToUser, PushToUsers, PushToAll, Notify, ConnectedUsers]);
        let own = [Register, Connections, SetPresence, DisconnectUser];
        assert_eq!(kinds(|call| call.concerns_only().is_some()), own);
        assert_eq!(kinds(|call| call.content().is_some()), [Broadcast, PushToUser, PushToUsers, PushToAll, Notify]);
    }

    #[test]
    fn the_creator_is_the_first_participant_and_nobody_is_one_twice() {
        let participants = ["bob", "ann", "bob", "eve"].map(Name::from).to_vec();
        let profile = Profile { participants, ..Profile::default() };
        let mut call = RestCall::CreateRoom(Box::new(NewRoom { profile, ..NewRoom::default() }));
        let room = call.take_room(&"ann".into()).expect("the call makes a room");
        assert_eq!(room.profile.participants, ["ann", "bob", "eve"].map(Name::from));
        assert_eq!(call, RestCall::CreateRoom(Box::default()));
    }

    #[test]
    fn only_calls_that_make_a_room_have_a_profile() {
        for mut call in calls() {
            let makes = matches!(call.kind(), RestCallKind::CreateMeeting | RestCallKind::CreateRoom);
            assert_eq!(call.take_room(&"ann".into()).is_some(), makes, "{call:?}");
        }
    }
}
