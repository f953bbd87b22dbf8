//! Hook events: changes that the application receives by HTTP, at endpoints of its own (webhooks).
//!
//! The owner of a room or user makes a hook event where it decides on the change, and only of kinds that an endpoint wants
//! ([`HookKinds`]). It is stored with the records of the change and delivered later, by another thread ([`delivery`]).

pub mod counters;
pub mod delivery;
mod making;

use std::sync::Arc;

use uuid::Uuid;

use crate::base::Name;
use crate::base::ids::ConnectionId;
use crate::domain::event::{Direct, Message, PeerName, RevisionKind};

/// A kind of hook event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HookKind {
    /// A client has connected.
    ConnectionOpened,
    /// The opposite.
    ConnectionClosed,
    /// A user has the first connection.
    UserOnline,
    /// A user's grace period after the last connection is over.
    UserOffline,
    /// A room was created, on purpose or by joining.
    RoomCreated,
    /// A room has its first member.
    RoomOccupied,
    /// A room's last member has left.
    RoomVacated,
    /// A room is gone.
    RoomClosed,
    /// A room has a new member.
    MemberJoined,
    /// A membership has ended.
    MemberLeft,
    /// A message for all members of a room was accepted.
    MessagePublished,
    /// A message to a user without a connection was accepted.
    MessageToOfflineUser,
    /// A message was edited.
    MessageEdited,
    /// A message was deleted.
    MessageDeleted,
}

impl HookKind {
    /// All kinds.
    pub const ALL: [Self; 14] = [
        Self::ConnectionOpened,
        Self::ConnectionClosed,
        Self::UserOnline,
        Self::UserOffline,
        Self::RoomCreated,
        Self::RoomOccupied,
        Self::RoomVacated,
        Self::RoomClosed,
        Self::MemberJoined,
        Self::MemberLeft,
        Self::MessagePublished,
        Self::MessageToOfflineUser,
        Self::MessageEdited,
        Self::MessageDeleted,
    ];

    /// The bit of the kind in a set of kinds.
    pub const fn bit(self) -> u64 {
        1 << self as u64
    }

    /// The name in settings and payloads.
    pub fn name(self) -> &'static str {
        match self {
            Self::ConnectionOpened => "connection.opened",
            Self::ConnectionClosed => "connection.closed",
            Self::UserOnline => "user.online",
            Self::UserOffline => "user.offline",
            Self::RoomCreated => "room.created",
            Self::RoomOccupied => "room.occupied",
            Self::RoomVacated => "room.vacated",
            Self::RoomClosed => "room.closed",
            Self::MemberJoined => "member.joined",
            Self::MemberLeft => "member.left",
            Self::MessagePublished => "message.published",
            Self::MessageToOfflineUser => "message.to_offline_user",
            Self::MessageEdited => "message.edited",
            Self::MessageDeleted => "message.deleted",
        }
    }

    /// For a kind that ends a state: the kind that began it.
    pub fn beginning(self) -> Option<Self> {
        match self {
            Self::ConnectionClosed => Some(Self::ConnectionOpened),
            Self::UserOffline => Some(Self::UserOnline),
            Self::RoomVacated => Some(Self::RoomOccupied),
            Self::RoomClosed => Some(Self::RoomCreated),
            Self::MemberLeft => Some(Self::MemberJoined),
            _ => None,
        }
    }

    /// For a kind that begins a state: the kind that ends it.
    pub fn end(self) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.beginning() == Some(self))
    }
}

/// A set of kinds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HookKinds(u16);

impl HookKinds {
    /// No kind.
    pub const NONE: Self = Self(0);

    /// The set as bits.
    pub fn bits(self) -> u64 {
        self.0.into()
    }

    /// Whether it is empty.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether it contains `kind`.
    pub fn contains(self, kind: HookKind) -> bool {
        self.0 & (1 << kind as u16) != 0
    }

    /// The set with `kind`.
    #[must_use]
    pub fn with(self, kind: HookKind) -> Self {
        Self(self.0 | 1 << kind as u16)
    }

    /// The kinds of both sets.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The set, with the counterpart of each kind: whether a state was reported is known only if its beginning and its end are.
    #[must_use]
    pub fn paired(self) -> Self {
        let has = |kind: HookKind| {
            let pair = [Some(kind), kind.beginning(), kind.end()];
            pair.into_iter().flatten().any(|kind| self.contains(kind))
        };
        HookKind::ALL.into_iter().filter(|kind| has(*kind)).fold(Self::NONE, Self::with)
    }

    /// The kinds that a pattern names, such as `room.*`, `room.created` or `*`; `None` if there is none.
    pub fn named(pattern: &str) -> Option<Self> {
        let kinds = HookKind::ALL.into_iter().filter(|kind| matches(pattern, kind.name()));
        let kinds = kinds.fold(Self::NONE, Self::with);
        (!kinds.is_empty()).then_some(kinds)
    }
}

/// The events that an endpoint wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookFilter {
    /// Their kinds.
    pub kinds: HookKinds,
    /// Patterns of room names, with `*` for any characters; events without a room pass.
    pub rooms: Vec<String>,
}

impl HookFilter {
    /// Whether it wants an event.
    pub fn wants(&self, kind: HookKind, room: Option<&str>) -> bool {
        let is_of_room = |room: &str| self.rooms.iter().any(|pattern| matches(pattern, room));
        self.kinds.contains(kind) && room.is_none_or(is_of_room)
    }
}

/// Whether a text has the form of a pattern, in which `*` stands for any characters.
pub fn matches(pattern: &str, text: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut text) = text.strip_prefix(start) else { return false };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let end = parts.pop().unwrap_or_default();
    for part in parts {
        let Some(at) = text.find(part) else { return false };
        text = &text[at + part.len()..];
    }
    text.ends_with(end)
}

/// A hook event.
#[derive(Clone, Debug)]
pub struct HookEvent {
    /// Its id; that of the message, if it is about one.
    pub id: Uuid,
    /// Its time, in milliseconds since 1970.
    pub at: u64,
    /// The change.
    pub change: HookChange,
}

/// The kind of event that a message is.
pub(crate) fn message_kind(message: &Message) -> HookKind {
    match message.changes() {
        None => HookKind::MessagePublished,
        Some((_, RevisionKind::Edit)) => HookKind::MessageEdited,
        Some((_, RevisionKind::Delete)) => HookKind::MessageDeleted,
        // Callers leave out the pieces of streams.
        Some((_, RevisionKind::Append(_))) => HookKind::MessageEdited,
    }
}

/// A change that the application receives.
#[derive(Clone, Debug)]
pub enum HookChange {
    /// See [`HookKind::ConnectionOpened`] and [`HookKind::ConnectionClosed`].
    Connection {
        /// The connection.
        connection: ConnectionId,
        /// Its user.
        user: Name,
        /// Opened or closed.
        is_open: bool,
    },
    /// See [`HookKind::UserOnline`] and [`HookKind::UserOffline`].
    User {
        /// The user.
        user: Name,
        /// Whether the user is online now.
        is_online: bool,
    },
    /// See [`HookKind::RoomCreated`].
    RoomCreated {
        /// The room.
        room: Name,
        /// Its creator.
        by: Name,
    },
    /// See [`HookKind::RoomClosed`].
    RoomClosed {
        /// The room.
        room: Name,
        /// `closed` by a client or admin, or `idle`.
        reason: &'static str,
    },
    /// See [`HookKind::RoomOccupied`] and [`HookKind::RoomVacated`].
    RoomOccupied {
        /// The room.
        room: Name,
        /// Whether it has members now.
        is_occupied: bool,
    },
    /// See [`HookKind::MemberJoined`] and [`HookKind::MemberLeft`].
    Member {
        /// The room.
        room: Name,
        /// The peer's name in the room.
        peer: PeerName,
        /// Its user.
        user: Name,
        /// Whether it has joined or left.
        is_member: bool,
    },
    /// See [`HookKind::MessagePublished`].
    Message(Arc<Message>),
    /// See [`HookKind::MessageToOfflineUser`].
    OfflineMessage {
        /// The user.
        user: Name,
        /// The message.
        direct: Arc<Direct>,
    },
}

impl HookChange {
    /// Its kind.
    pub fn kind(&self) -> HookKind {
        match self {
            Self::Connection { is_open: true, .. } => HookKind::ConnectionOpened,
            Self::Connection { is_open: false, .. } => HookKind::ConnectionClosed,
            Self::User { is_online: true, .. } => HookKind::UserOnline,
            Self::User { is_online: false, .. } => HookKind::UserOffline,
            Self::RoomCreated { .. } => HookKind::RoomCreated,
            Self::RoomClosed { .. } => HookKind::RoomClosed,
            Self::RoomOccupied { is_occupied: true, .. } => HookKind::RoomOccupied,
            Self::RoomOccupied { is_occupied: false, .. } => HookKind::RoomVacated,
            Self::Member { is_member: true, .. } => HookKind::MemberJoined,
            Self::Member { is_member: false, .. } => HookKind::MemberLeft,
            Self::Message(message) => message_kind(message),
            Self::OfflineMessage { .. } => HookKind::MessageToOfflineUser,
        }
    }

    /// The room, if it is about one.
    pub fn room(&self) -> Option<&Name> {
        match self {
            Self::RoomCreated { room, .. }
            | Self::RoomClosed { room, .. }
            | Self::RoomOccupied { room, .. }
            | Self::Member { room, .. } => Some(room),
            Self::Message(message) => Some(&message.room),
            Self::Connection { .. } | Self::User { .. } | Self::OfflineMessage { .. } => None,
        }
    }

    /// For a change that begins or ends a state: the name of the state among those of its kind.
    pub fn state(&self) -> Option<String> {
        match self {
            Self::Connection { connection, .. } => Some(connection.text().as_str().to_owned()),
            Self::User { user, .. } => Some(user.to_string()),
            Self::RoomCreated { room, .. } | Self::RoomClosed { room, .. } | Self::RoomOccupied { room, .. } => {
                Some(room.to_string())
            }
            // No name has a line end.
            Self::Member { room, peer, .. } => Some(peer.with(|peer| format!("{room}\n{peer}"))),
            Self::Message(_) | Self::OfflineMessage { .. } => None,
        }
    }

    /// Bytes that it takes, apart from names.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Message(message) => message.content.bytes(),
            Self::OfflineMessage { direct, .. } => direct.content.bytes(),
            _ => 0,
        }
    }
}

/// An operation of an admin on the outbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OutboxOp {
    /// Lists dead letters, the oldest first.
    ListDeadLetters,
    /// Has the dead letters of an endpoint delivered again.
    Replay {
        /// The endpoint.
        endpoint: Name,
    },
}

/// A hook event that no attempt has delivered in time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// The endpoint.
    pub endpoint: Box<str>,
    /// When it was given up, in milliseconds since 1970.
    pub dead_at: u64,
    /// The event, as JSON.
    pub body: Box<str>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pattern_stands_for_any_characters_at_its_stars() {
        for (pattern, text) in [("*", ""), ("*", "a"), ("a*", "abc"), ("*c", "abc"), ("a*c", "ac"), ("a*b*c", "axbxc")]
        {
            assert!(matches(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in
            [("", "a"), ("a", "ab"), ("a*a", "a"), ("a*b*c", "acb"), ("room.*", "rooms.x"), ("*.x*", "y")]
        {
            assert!(!matches(pattern, text), "{pattern} {text}");
        }
    }

    #[test]
    fn kinds_of_a_pattern_are_those_it_names() {
        assert_eq!(HookKinds::named("room.closed"), Some(HookKinds::NONE.with(HookKind::RoomClosed)));
        let all = HookKinds::named("*").expect("all");
        assert!(HookKind::ALL.into_iter().all(|kind| all.contains(kind)));
        let of_members = HookKinds::named("member.*").expect("members");
        assert_eq!(of_members, HookKinds::NONE.with(HookKind::MemberJoined).with(HookKind::MemberLeft));
        assert_eq!(HookKinds::named("rooms.*"), None);
        let vacated = HookKinds::named("room.vacated").expect("one");
        assert_eq!(vacated.paired(), vacated.with(HookKind::RoomOccupied));
        let message = HookKinds::named("message.published").expect("one");
        assert_eq!(message.paired(), message);
    }

    #[test]
    fn filter_applies_rooms_to_events_of_rooms_only() {
        let filter = HookFilter { kinds: HookKinds::named("*").expect("all"), rooms: vec!["game-*".to_owned()] };
        assert!(filter.wants(HookKind::RoomCreated, Some("game-1")) && !filter.wants(HookKind::RoomCreated, Some("x")));
        assert!(filter.wants(HookKind::UserOnline, None));
    }
}
