//! Calls of an application's backend on one room, in which it need not be.

use uuid::Uuid;

use super::backend::{AppendedPiece, receipt};
use super::encode::{managed_room, message};
use super::kind::RestCallKind;
use crate::base::Name;
use crate::base::ids::ConnectionId;
use crate::base::time::rfc3339;
use crate::codec::json::{self, Object};
use crate::dialect::raw;
use crate::domain::event::Content;
use crate::domain::op::{LogTerms, Profile, ProfileChange, Publication, Reply, UsersPage};

/// A room that is to be made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewRoom {
    /// Its id; a random one when absent.
    pub id: Option<Name>,
    /// Its settings.
    pub profile: Profile,
    /// The retention of its messages.
    pub log: LogTerms,
    /// Whether it is locked.
    pub is_locked: bool,
}

impl From<ProfileChange> for NewRoom {
    /// A room with these settings, and the default for each absent one.
    fn from(change: ProfileChange) -> Self {
        let log = LogTerms { history: None, retention: change.retention };
        let is_locked = change.is_locked.unwrap_or_default();
        let mut profile = Profile::default();
        change.apply_to(&mut profile);
        Self { id: None, profile, log, is_locked }
    }
}

/// A call of a backend on one room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManagedRoom {
    /// The room.
    pub room: Name,
    /// The call.
    pub act: RoomAct,
    /// Whether the call makes the room.
    pub is_new: bool,
}

impl ManagedRoom {
    /// Sets the page of a list.
    pub fn set_page(&mut self, asked: UsersPage) {
        if let RoomAct::Members(page) = &mut self.act {
            *page = asked;
        }
    }

    /// The room, or the user in it, in the audit log.
    pub(super) fn subject(&self) -> String {
        match &self.act {
            RoomAct::Remove(user) => format!("{user} in {}", self.room),
            _ => self.room.to_string(),
        }
    }
}

/// See [`ManagedRoom`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RoomAct {
    /// Make the room.
    Make(Box<NewRoom>),
    /// Make the room, or change it if there is one.
    Put(Box<ProfileChange>),
    /// Change the room.
    Change(Box<ProfileChange>),
    /// Show the room.
    Show,
    /// Close the room.
    Close,
    /// List the users in the room.
    Members(UsersPage),
    /// Show the receipts of a message.
    Receipts(Uuid),
    /// Count the messages that a user has not read.
    Unread(Name),
    /// Edit a message, or delete it if there is no content.
    Revise {
        /// The message.
        message: Uuid,
        /// The new content.
        content: Option<Content>,
    },
    /// Add a piece to a stream.
    Append {
        /// The stream's message.
        message: Uuid,
        /// The piece.
        piece: AppendedPiece,
    },
    /// Make users participants.
    AddParticipants {
        /// Those that are not participants yet, the next one last.
        waiting: Vec<Name>,
    },
    /// End all memberships of a user, and the participation.
    Remove(Name),
    /// Put all connections of a user into the room.
    Join(Box<UserJoin>),
    /// Take all connections of a user out of the room.
    Leave(Name),
}

/// A user whose connections become members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserJoin {
    /// The user.
    pub user: Name,
    /// The connections, once they are known.
    pub connections: Vec<ConnectionId>,
    /// Whether the user is a participant.
    pub is_admitted: bool,
}

impl RoomAct {
    /// The kind of the call.
    pub(super) fn kind(&self) -> RestCallKind {
        match self {
            Self::Make(_) => RestCallKind::MakeRoom,
            Self::Put(_) => RestCallKind::PutRoom,
            Self::Change(_) => RestCallKind::PatchRoom,
            Self::Show => RestCallKind::ShowRoom,
            Self::Close => RestCallKind::EndRoom,
            Self::Members(_) => RestCallKind::Members,
            Self::Receipts(_) => RestCallKind::Receipts,
            Self::Unread(_) => RestCallKind::Unread,
            Self::Revise { content: Some(_), .. } => RestCallKind::EditMessage,
            Self::Revise { content: None, .. } => RestCallKind::DeleteMessage,
            Self::Append { .. } => RestCallKind::AppendMessage,
            Self::AddParticipants { .. } => RestCallKind::AddParticipants,
            Self::Remove(_) => RestCallKind::RemoveParticipant,
            Self::Join(_) => RestCallKind::JoinUser,
            Self::Leave(_) => RestCallKind::LeaveUser,
        }
    }
}

/// Writes the answer to a call. Returns its status, or `None` if the reply is not to such a call.
pub(super) fn encode(out: &mut Vec<u8>, managed: &ManagedRoom, reply: &Reply) -> Option<u16> {
    match (&managed.act, reply) {
        (RoomAct::Make(_) | RoomAct::Put(_) | RoomAct::Change(_) | RoomAct::Show, Reply::Room(view)) => {
            managed_room(out, view);
            Some(if managed.is_new { 201 } else { 200 })
        }
        (RoomAct::Close, Reply::Done) => Some(204),
        (act, reply) => members(out, &managed.room, act, reply),
    }
}

/// The same for calls on members.
fn members(out: &mut Vec<u8>, room: &Name, act: &RoomAct, reply: &Reply) -> Option<u16> {
    match (act, reply) {
        (RoomAct::Members(_), Reply::Roster(roster)) => {
            let mut object = Object::begin(out);
            object.string("roomId", room).number("total", roster.total as u64);
            object.list("members", &roster.users, |out, user| json::string(out, user));
            // Where the next page begins.
            object.optional("next", roster.users.last().filter(|_| roster.is_more).map(|user| &**user)).end();
        }
        (RoomAct::Receipts(_), Reply::Marks(marks)) => {
            let entry = |out: &mut Vec<u8>, (user, at): &(Name, u64)| {
                Object::begin(out).string("userId", user).string("at", &rfc3339(*at)).end();
            };
            let mut object = Object::begin(out);
            object.string("roomId", room);
            object.plain("messageId", marks.message.hyphenated().encode_lower(&mut Uuid::encode_buffer()));
            object.list("delivered", &marks.delivered, entry).list("read", &marks.read, entry);
            object.bool("complete", marks.complete).end();
        }
        (RoomAct::Unread(user), Reply::Unread(unread)) => {
            let mut object = Object::begin(out);
            object.string("roomId", room).string("userId", user);
            raw::unread_fields(&mut object, unread);
            object.end();
        }
        (RoomAct::Revise { .. } | RoomAct::Append { .. }, Reply::Published(outcomes)) => {
            let Some(Publication { outcome: Ok((sent, epoch)), .. }) = outcomes.first() else { return None };
            let mut object = Object::begin(out);
            object.string("roomId", room);
            receipt(&mut object, sent, epoch);
            object.end();
        }
        (RoomAct::AddParticipants { .. }, Reply::Done) => message(out, "Participants added"),
        (RoomAct::Remove(_), Reply::Done) => message(out, "Removed from room"),
        (RoomAct::Join(join), Reply::Done) => {
            let mut object = Object::begin(out);
            object.string("message", "Joined room").number("connections", join.connections.len() as u64).end();
        }
        (RoomAct::Leave(_), Reply::Done) => message(out, "Left room"),
        _ => return None,
    }
    Some(200)
}
