//! Presence lists of rooms: the users of a room who are online, for its Socket.IO peers.
//!
//! The script of the room knows its users, and returns them to one node when the list has changed. That node looks up their
//! presence, which other servers of a cluster can keep, and publishes the list to the room. Users who appear offline are not
//! part of it.

use serde::Deserialize;

use crate::base::Name;
use crate::base::limits;
use crate::domain::op::{Scope, UsersView};
use crate::owner::redis::rooms::commands::RoomCall;
use crate::owner::redis::scripts;
use crate::owner::redis::turn::OwnerTurn;
use crate::owner::redis::wire::{WirePresence, json, text};

/// Users of a room whose presence is to be published there.
pub(crate) struct OnlineUsers {
    pub(crate) room: Name,
    pub(crate) users: Vec<Name>,
}

#[derive(Deserialize)]
struct CountReply {
    #[serde(rename = "us", default)]
    users: Vec<Name>,
}

/// Asks for the users of a room, or has their number published, if that has changed.
pub(super) fn count(turn: &mut OwnerTurn<'_>, room: Name) {
    let kind = if turn.node.rules.presence_scope == Scope::None { "w" } else { "n" };
    turn.call_room(&scripts::COUNT, room, None, RoomCall::Online, vec![text(kind)]);
}

/// The users in the answer, if there are some.
pub(super) fn users(room: &Name, answer: &[u8]) -> Option<OnlineUsers> {
    let CountReply { users } = serde_json::from_slice(answer).ok()?;
    (!users.is_empty()).then(|| OnlineUsers { room: room.clone(), users })
}

/// Publishes the users of a room who are online.
pub(crate) fn announce_online(turn: &mut OwnerTurn<'_>, room: Name, view: &UsersView) {
    let listed: Vec<WirePresence> = view.users.iter().take(limits::ONLINE_LISTED).map(WirePresence::from).collect();
    let event = json(&(view.users.len(), listed));
    let mut body = format!(r#"{{"n":0,"o":"","t":{},"f":[["*",{{"present":"#, turn.now.wall).into_bytes();
    body.extend_from_slice(&event);
    body.extend_from_slice(b"}]]}");
    turn.call_room(&scripts::ANNOUNCE, room, None, RoomCall::Done, vec![body.into()]);
}
