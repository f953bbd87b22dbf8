//! Calls of an application's backend on one room, in which it need not be.

use super::encode::managed_room;
use super::kind::RestCallKind;
use crate::base::Name;
use crate::domain::op::{LogTerms, Profile, ProfileChange, Reply};

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
        _ => None,
    }
}
