//! From events to text.

use crate::base::time::Now;
use crate::codec::json::{self, Object};
use crate::dialect::colon::views::{OnlineUserView, SessionView};
use crate::dialect::events::{self, emit_object, id, instant, object_of};
use crate::domain::access::Identity;
use crate::domain::command::{ReceiptKind, Status};
use crate::domain::event::{Content, Event, Joined, LeaveCause, Message, RevisionKind, RoomInfo};
use crate::domain::op::Sent;

pub use crate::dialect::events::{error, heartbeat};

/// Appends an event. Returns false if the dialect has no equivalent: changes of media, and events to the sender of a
/// message alone.
pub fn encode(out: &mut Vec<u8>, event: &Event, now: Now) -> bool {
    match event {
        Event::Joined(joined) => room_joined(out, joined, now),
        Event::Left { room, cause } => room_left(out, room, *cause),
        Event::PeerJoined { room, peer, is_first: true } => {
            came_or_went(out, "user:joined", room, (&peer.identity, peer.about.data()), now)
        }
        Event::PeerLeft { room, identity, is_last: true, .. } => {
            came_or_went(out, "user:left", room, (identity, None), now)
        }
        Event::Stats { room, participant_count } => {
            room_online(out, room, *participant_count as u64, None::<[OnlineUserView<'_>; 0]>);
        }
        Event::Online { room, online_count, users } => {
            room_online(
                out,
                room,
                *online_count as u64,
                users.as_ref().map(|users| users.iter().map(OnlineUserView::of)),
            );
        }
        Event::Info(info) | Event::Updated(info) => emit_object(out, "room:info", |object| room_info(object, info)),
        Event::Signal(signaled) => events::signal(out, signaled, now),
        Event::Mode { room, change } => events::mode_changed(out, room, *change, now),
        // Receipts are announced to the room, not to the message's sender.
        Event::Media { .. } | Event::Receipt { .. } => return false,
        // The user has other connections in the room.
        Event::PeerJoined { is_first: false, .. } | Event::PeerLeft { is_last: false, .. } => return false,
        Event::Message(message) => message_new(out, message),
        Event::Direct(direct) => events::direct(out, direct),
        Event::Typing { room, by, is_typing, .. } => emit_object(out, "user:typing", |object| {
            object.string("chatId", room).string("userId", by.user()).string("username", by.username());
            object.bool("isTyping", *is_typing);
        }),
        Event::Marked { room, message, by, kind } => {
            let name = if *kind == ReceiptKind::Read { "message:read" } else { "message:delivered" };
            emit_object(out, name, |object| {
                id(object, "messageId", *message);
                object.string("chatId", room).string("userId", by.user());
                instant(object, "timestamp", now.wall);
            });
        }
        Event::StreamCancelled { room, message, by } => emit_object(out, "message:cancel", |object| {
            id(object, "messageId", *message);
            object.string("chatId", room).string("userId", by.user());
            instant(object, "timestamp", now.wall);
        }),
        Event::Presence { by, status, last_seen } => {
            let name = match status {
                Status::Online => "user:online",
                Status::Offline => "user:offline",
                Status::Away | Status::Busy => "user:status-changed",
            };
            emit_object(out, name, |object| {
                object.string("userId", by.user()).string("username", by.username());
                object.plain("status", status.as_str());
                instant(object, "lastSeen", *last_seen);
            });
        }
        Event::Closed { room, reason } => emit_object(out, "room:closed", |object| {
            object.string("chatId", room).string("reason", reason);
        }),
    }
    true
}

/// `users:online`: the first event of a connection. `total` includes the users beyond the list's bound.
pub fn users_online<'a>(out: &mut Vec<u8>, users: impl IntoIterator<Item = OnlineUserView<'a>>, total: u64) {
    emit_object(out, "users:online", |object| {
        object.list("users", users, here).number("total", total);
    });
}

/// `room:joined`: to the client that joined.
pub fn room_joined(out: &mut Vec<u8>, joined: &Joined, now: Now) {
    emit_object(out, "room:joined", |object| {
        object.string("chatId", &joined.room).value("roomInfo", |out| entered(out, joined, now));
    });
}

/// `room:left`: to the client that left; with the reason if it was removed.
pub fn room_left(out: &mut Vec<u8>, room: &str, cause: LeaveCause) {
    let reason = match cause {
        LeaveCause::Left => None,
        LeaveCause::Replaced => Some("replaced"),
        LeaveCause::Removed => Some("removed"),
    };
    emit_object(out, "room:left", |object| {
        object.string("chatId", room).optional("reason", reason);
    });
}

/// `room:online-update`: the number of a room's users that are online, and their names unless the room is large.
pub fn room_online<'a>(
    out: &mut Vec<u8>,
    room: &str,
    online_count: u64,
    users: Option<impl IntoIterator<Item = OnlineUserView<'a>>>,
) {
    emit_object(out, "room:online-update", |object| {
        object.string("chatId", room).number("onlineCount", online_count);
        if let Some(users) = users {
            object.list("onlineUsers", users, here);
        }
    });
}

/// `message:new`: a message of a room, as it is sent or as it was; `message:edited`, `message:deleted` and
/// `message:appended`: a change of one.
pub fn message_new(out: &mut Vec<u8>, sent: &Message) {
    let name = match sent.changes() {
        None => "message:new",
        Some((_, RevisionKind::Edit)) => "message:edited",
        Some((_, RevisionKind::Delete)) => "message:deleted",
        Some((_, RevisionKind::Append(_))) => "message:appended",
    };
    emit_object(out, name, |object| message(object, sent));
}

/// `message:sent`: to the connection that sent a message, once the message is committed.
pub fn message_sent(out: &mut Vec<u8>, sent: &Sent, room: &str) {
    emit_object(out, "message:sent", |object| {
        id(object, "messageId", sent.id);
        object.string("chatId", room);
        if let Some(seq) = sent.seq {
            object.number("seq", seq);
        }
        instant(object, "timestamp", sent.at);
    });
}

/// `connection:recovery-token`: to the client that requested one. It is valid for `window_ms` after the connection is
/// lost.
pub fn recovery_token(out: &mut Vec<u8>, token: &str, window_ms: u64) {
    emit_object(out, "connection:recovery-token", |object| {
        object.string("recoveryToken", token).number("windowMs", window_ms);
    });
}

/// `connection:recovered`: to a connection that recovered a session. `gaps` are the rooms with missed messages that
/// could not be found.
pub fn recovered<'a>(out: &mut Vec<u8>, back: &SessionView<'_>, gaps: impl IntoIterator<Item = &'a str>) {
    emit_object(out, "connection:recovered", |object| {
        session_fields(object, back);
        let mut gaps = gaps.into_iter().peekable();
        object.bool("recovered", gaps.peek().is_none());
        if gaps.peek().is_some() {
            object.list("unrecoveredRooms", gaps, json::string);
        }
    });
}

/// `connection:queued-messages`: the messages that a recovered connection missed, oldest first, before all new ones.
pub fn queued_messages<'a>(out: &mut Vec<u8>, messages: impl IntoIterator<Item = &'a Message>) {
    emit_object(out, "connection:queued-messages", |object| {
        object.list("messages", messages, |out, sent| object_of(out, |object| message(object, sent)));
    });
}

/// A room as its users see it.
pub(super) fn room_info(object: &mut Object<'_>, info: &RoomInfo) {
    object.string("chatId", &info.room).string("name", info.name.as_deref().unwrap_or(&info.room));
    object.string("description", info.description.as_deref().unwrap_or_default());
    object.number("participantCount", info.participant_count as u64).number("onlineCount", info.online_count as u64);
    object.optional_raw("metadata", info.metadata.as_deref());
    // A room that has ended is not found, so each room shown is active.
    object.bool("isActive", true);
    instant(object, "lastActivity", info.last_activity);
}

fn came_or_went(out: &mut Vec<u8>, name: &str, room: &str, (who, data): (&Identity, Option<&str>), now: Now) {
    emit_object(out, name, |object| {
        object.string("userId", who.user()).string("username", who.username()).string("chatId", room);
        instant(object, "timestamp", now.wall);
        object.optional_raw("data", data);
    });
}

/// A room as a client that joins sees it. The join is its last activity.
pub(super) fn entered(out: &mut Vec<u8>, joined: &Joined, now: Now) {
    object_of(out, |object| {
        object.string("chatId", &joined.room).number("participantCount", joined.participant_count as u64);
        object.bool("isActive", true);
        instant(object, "lastActivity", now.wall);
    });
}

/// A user that is online.
pub(super) fn here(out: &mut Vec<u8>, user: OnlineUserView<'_>) {
    object_of(out, |object| {
        who(object, &user);
        how(object, &user);
    });
}

pub(super) fn who(object: &mut Object<'_>, user: &OnlineUserView<'_>) {
    object.string("userId", user.user).string("username", user.username);
}

pub(super) fn how(object: &mut Object<'_>, user: &OnlineUserView<'_>) {
    object.plain("status", user.status.as_str());
    instant(object, "lastSeen", user.last_seen);
    match user.connected_at {
        Some(at) => instant(object, "connectedAt", at),
        None => {
            object.raw("connectedAt", "null");
        }
    }
}

/// A message as its room sees it.
fn message(object: &mut Object<'_>, message: &Message) {
    let sent = Sent { id: message.id, seq: message.seq, at: message.at };
    if message.revision.is_none() {
        return said(object, &sent, &message.room, &message.sender, &message.content);
    }
    id(object, "id", sent.id);
    events::revision(object, message);
    // In a list of messages there is no other sign of a change.
    object.optional("change", message.changes().map(|(_, kind)| kind.as_str()));
    events::content(object, message);
    if message.changes().is_none() {
        object.string("type", message.content.kind.as_deref().unwrap_or("text"));
    }
    place(object, &sent, &message.room, &message.sender);
    extras(object, &message.content);
}

/// The same from its parts.
pub(super) fn said(object: &mut Object<'_>, sent: &Sent, room: &str, sender: &Identity, content: &Content) {
    id(object, "id", sent.id);
    match &content.event {
        None => object.raw("content", &content.body),
        Some(event) => object.string("event", event).raw("data", &content.body),
    };
    object.string("type", content.kind.as_deref().unwrap_or("text"));
    place(object, sent, room, sender);
    extras(object, content);
}

fn place(object: &mut Object<'_>, sent: &Sent, room: &str, sender: &Identity) {
    object.string("chatId", room).string("userId", sender.user());
    instant(object, "createdAt", sent.at);
    object.value("user", |out| {
        object_of(out, |object| {
            object.string("id", sender.user()).string("username", sender.username());
        });
    });
    if let Some(seq) = sent.seq {
        object.number("seq", seq);
    }
}

fn extras(object: &mut Object<'_>, content: &Content) {
    object.optional("replyToId", content.reply_to.as_deref());
    object.optional_raw("attachment", content.attachment.as_deref());
    object.optional_raw("metadata", content.metadata.as_deref());
}

/// A text field that is `null` without a value.
pub(super) fn or_null(object: &mut Object<'_>, field: &str, value: Option<&str>) {
    match value {
        Some(value) => object.string(field, value),
        None => object.raw(field, "null"),
    };
}

/// A recoverable or recovered session. Its queue has the ids of the missed messages, which a separate event brings.
pub(super) fn session_fields(object: &mut Object<'_>, session: &SessionView<'_>) {
    object.string("userId", session.user).plain("socketId", session.socket.text().as_str());
    instant(object, "connectedAt", session.connected_at);
    instant(object, "lastActivity", session.last_activity);
    object.list("rooms", session.rooms, |out, room| json::string(out, room));
    object.list("messageQueue", session.queued, |out, message| {
        json::string(out, message.id.hyphenated().encode_lower(&mut uuid::Uuid::encode_buffer()));
    });
    or_null(object, "recoveryToken", session.recovery_token);
}
