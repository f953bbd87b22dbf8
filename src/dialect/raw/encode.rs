//! From events to text. Each function appends one JSON object, without the WebSocket frame around it.

use crate::base::Name;
use crate::base::time::Now;
use crate::codec::json::Object;
use crate::domain::command::{MediaState, Opaque, ReceiptKind, Signal};
use crate::domain::connection_mode::ModeChange;
use crate::domain::event::{
    Content, Direct, Event, Joined, LeaveCause, Message, PeerName, PeerView, Revision, RevisionKind, RoomInfo,
    Signaled, shown_name,
};
use crate::domain::history::{History, Marks, Unread};
use crate::domain::op::Sent;
use crate::domain::recovery::Returned;
use crate::domain::reject::Reject;

/// Appends an event; no bytes if the dialect has no equivalent.
pub fn encode(out: &mut Vec<u8>, event: &Event, now: Now) {
    match event {
        Event::Joined(joined_room) => joined(out, joined_room, "[]", None, now),
        Event::Left { room, cause: LeaveCause::Left } => left(out, room, None, now),
        Event::Left { room, cause } => departed(out, room, *cause, now),
        Event::PeerJoined { room, peer, .. } => {
            let mut object = begin(out, "peer-joined");
            object.string("roomId", room);
            member(&mut object, peer);
            end(&mut object, None, now);
        }
        Event::PeerLeft { room, peer, identity, .. } => {
            let mut object = begin(out, "peer-left");
            object.string("roomId", room);
            named(&mut object, "peerId", peer);
            object.string("userId", identity.user());
            end(&mut object, None, now);
        }
        Event::Stats { room, participant_count } => {
            let mut object = begin(out, "room-stats");
            object.string("roomId", room).number("participantCount", *participant_count as u64);
            end(&mut object, None, now);
        }
        Event::Signal(signaled) => relayed(out, signaled, now),
        Event::Media { room, peer, media } => {
            let mut object = begin(out, "media-state-changed");
            object.string("roomId", room);
            named(&mut object, "peerId", peer);
            media_state(&mut object, *media);
            end(&mut object, None, now);
        }
        Event::Mode { room, change } => mode_changed(out, room, *change, now),
        Event::Message(sent) => message(out, sent),
        Event::Direct(sent) => direct(out, sent),
        Event::Typing { room, by, display_name, is_typing } => {
            let mut object = begin(out, "typing");
            object.string("roomId", room).string("userId", by.user());
            object.string("displayName", shown_name(display_name, by)).bool("isTyping", *is_typing);
            end(&mut object, None, now);
        }
        Event::StreamCancelled { room, message, by } => {
            let mut object = begin(out, "message-cancel");
            object.string("roomId", room);
            object.plain("messageId", message.hyphenated().encode_lower(&mut uuid::Uuid::encode_buffer()));
            object.string("userId", by.user());
            end(&mut object, None, now);
        }
        Event::Receipt { room, message, by, kind } => {
            let mut object = begin(out, if *kind == ReceiptKind::Read { "read-receipt" } else { "delivered" });
            object.string("roomId", room);
            object.plain("messageId", message.hyphenated().encode_lower(&mut uuid::Uuid::encode_buffer()));
            object.string("userId", by.user());
            end(&mut object, None, now);
        }
        // `Receipt` goes to the message's sender instead, and each join and leave is announced.
        Event::Marked { .. } | Event::Online { .. } | Event::Info(_) => {}
        Event::Updated(info) => updated(out, info, now),
        Event::Presence { by, status, last_seen } => {
            let mut object = begin(out, "presence");
            object.string("userId", by.user()).string("displayName", by.username());
            object.plain("status", status.as_str()).number("lastSeen", *last_seen);
            end(&mut object, None, now);
        }
        Event::Closed { room, reason } => {
            let mut object = begin(out, "room-closed");
            object.string("roomId", room).string("reason", reason);
            end(&mut object, None, now);
        }
    }
}

fn updated(out: &mut Vec<u8>, info: &RoomInfo, now: Now) {
    let mut object = begin(out, "room-updated");
    object.string("roomId", &info.room).string("name", info.name.as_deref().unwrap_or(&info.room));
    object.optional("description", info.description.as_deref()).optional_raw("metadata", info.metadata.as_deref());
    object.number("maxParticipants", info.max_participants as u64).bool("isPrivate", info.is_private);
    object.bool("locked", info.is_locked).number("participantCount", info.participant_count as u64);
    end(&mut object, None, now);
}

/// The answer to an action of a room's host.
pub fn host_action(out: &mut Vec<u8>, room: &Name, action: &str, request_id: Option<Opaque<'_>>, now: Now) {
    let mut object = begin(out, "host-action");
    object.string("roomId", room).plain("action", action);
    end(&mut object, request_id, now);
}

/// The first message of a connection.
pub fn connect(out: &mut Vec<u8>, connection: &str, user: &str, heartbeat_ms: u64, recovery_token: &str, now: Now) {
    let mut object = begin(out, "connect");
    object.string("connectionId", connection).string("userId", user);
    object.number("heartbeatMs", heartbeat_ms).string("recoveryToken", recovery_token);
    end(&mut object, None, now);
}

/// The answer to a join. `ice_servers` is a JSON list.
pub fn joined(out: &mut Vec<u8>, joined: &Joined, ice_servers: &str, request: Option<Opaque<'_>>, now: Now) {
    let mut object = begin(out, "room-joined");
    object.string("roomId", &joined.room);
    named(&mut object, "peerId", &joined.peer);
    peers(&mut object, &joined.peers);
    object.number("participantCount", joined.participant_count as u64);
    object.raw("iceServers", ice_servers);
    object.string("epoch", &joined.epoch).number("seq", joined.seq).plain("connectionMode", joined.mode.as_str());
    end(&mut object, request, now);
}

/// Media take another way between the callers of a room.
pub fn mode_changed(out: &mut Vec<u8>, room: &str, change: ModeChange, now: Now) {
    let mut object = begin(out, "connection-mode-changed");
    object.string("roomId", room).plain("connectionMode", change.mode.as_str());
    object.plain("previous", change.previous.as_str()).plain("reason", change.reason.as_str());
    end(&mut object, None, now);
}

/// The answer to a leave.
pub fn left(out: &mut Vec<u8>, room: &str, request: Option<Opaque<'_>>, now: Now) {
    let mut object = begin(out, "room-left");
    object.string("roomId", room);
    end(&mut object, request, now);
}

/// The answer to a message. `to` is the field and value that name its room or user.
pub fn sent(out: &mut Vec<u8>, sent: &Sent, to: (&str, &str), request: Option<Opaque<'_>>) {
    let mut object = begin(out, "message-sent");
    object.plain("id", sent.id.hyphenated().encode_lower(&mut uuid::Uuid::encode_buffer()));
    if let Some(seq) = sent.seq {
        object.number("seq", seq);
    }
    object.string(to.0, to.1).plain("status", "sent");
    object.optional_raw("requestId", request).number("timestamp", sent.at).end();
}

/// The answer to a query for earlier messages.
pub fn history(out: &mut Vec<u8>, history: &History, request: Option<Opaque<'_>>, now: Now) {
    let mut object = begin(out, "history");
    object.string("roomId", &history.room);
    object.list("messages", &history.messages, message);
    object.bool("complete", history.complete);
    object.string("epoch", &history.epoch).number("seq", history.seq);
    end(&mut object, request, now);
}

/// The answer to a query for the receipts of a message.
pub fn receipts(out: &mut Vec<u8>, marks: &Marks, request: Option<Opaque<'_>>, now: Now) {
    let mut object = begin(out, "receipts");
    object.string("roomId", &marks.room);
    object.plain("messageId", marks.message.hyphenated().encode_lower(&mut uuid::Uuid::encode_buffer()));
    for (field, users) in [("delivered", &marks.delivered), ("read", &marks.read)] {
        object.list(field, users, |out, (user, at)| {
            Object::begin(out).string("userId", user).number("timestamp", *at).end();
        });
    }
    object.bool("complete", marks.complete);
    end(&mut object, request, now);
}

/// The answer to a query for the number of messages that the user has not read.
pub fn unread(out: &mut Vec<u8>, unread: &Unread, request: Option<Opaque<'_>>, now: Now) {
    let mut object = begin(out, "unread");
    object.string("roomId", &unread.room);
    unread_fields(&mut object, unread);
    end(&mut object, request, now);
}

/// The number of unread messages, and how it was found.
pub fn unread_fields(object: &mut Object<'_>, unread: &Unread) {
    object.number("count", unread.count).bool("complete", unread.complete);
    if let Some(read) = unread.read {
        object.number("readSeq", read);
    }
}

/// The answer to a recovery, with the next token and the user that the client is: for each room the view of it and the missed
/// messages, or the reason that the client is not a member again.
pub fn resumed(
    out: &mut Vec<u8>,
    (token, user): (&str, &str),
    rooms: &[(Name, Result<Returned, Reject>)],
    request: Option<Opaque<'_>>,
    now: Now,
) {
    let mut object = begin(out, "resumed");
    object.string("recoveryToken", token).string("userId", user);
    object.value("rooms", |out| {
        let mut object = Object::begin(out);
        for (room, outcome) in rooms {
            object.entry(room, |out| back_in(out, outcome));
        }
        object.end();
    });
    end(&mut object, request, now);
}

fn back_in(out: &mut Vec<u8>, outcome: &Result<Returned, Reject>) {
    let mut object = Object::begin(out);
    match outcome {
        Ok(returned) => {
            object.bool("recovered", returned.recovered);
            object.string("epoch", &returned.joined.epoch).number("seq", returned.joined.seq);
            object.list("messages", &returned.messages, message);
            named(&mut object, "peerId", &returned.joined.peer);
            peers(&mut object, &returned.joined.peers);
            object.number("participantCount", returned.joined.participant_count as u64);
            object.plain("connectionMode", returned.joined.mode.as_str());
        }
        Err(reject) => {
            object.bool("recovered", false).list("messages", &[] as &[Message], message);
            object.string("error", &reject.text).plain("code", reject.code.as_str());
        }
    }
    object.end();
}

/// The answer to a new token. `expires_at` is in seconds since 1970.
pub fn authenticated(out: &mut Vec<u8>, user: &str, expires_at: Option<u64>, request: Option<Opaque<'_>>, now: Now) {
    let mut object = begin(out, "authenticated");
    object.string("userId", user);
    if let Some(seconds) = expires_at {
        object.number("expiresAt", seconds * 1000);
    }
    end(&mut object, request, now);
}

/// The answer to a ping.
pub fn pong(out: &mut Vec<u8>, request: Option<Opaque<'_>>, now: Now) {
    end(&mut begin(out, "pong"), request, now);
}

/// A refusal.
pub fn error(out: &mut Vec<u8>, reject: &Reject, request: Option<Opaque<'_>>, now: Now) {
    let mut object = begin(out, "error");
    object.string("error", &reject.text).plain("code", reject.code.as_str());
    if let Some(wait_s) = reject.retry_after_s {
        object.number("retryAfter", wait_s);
    }
    end(&mut object, request, now);
}

/// The last message of a connection. `retry_after_ms` is when to reconnect, if at all.
pub fn disconnect(out: &mut Vec<u8>, reason: &str, retry_after_ms: Option<u64>, now: Now) {
    let mut object = begin(out, "disconnect");
    object.string("reason", reason).bool("reconnect", retry_after_ms.is_some());
    object.number("retryAfterMs", retry_after_ms.unwrap_or(0));
    end(&mut object, None, now);
}

fn departed(out: &mut Vec<u8>, room: &str, cause: LeaveCause, now: Now) {
    let mut object = begin(out, "disconnect");
    object.plain("reason", if cause == LeaveCause::Replaced { "replaced" } else { "removed" });
    object.string("roomId", room).bool("reconnect", false).number("retryAfterMs", 0);
    end(&mut object, None, now);
}

/// A signaling message.
pub fn relayed(out: &mut Vec<u8>, signaled: &Signaled, now: Now) {
    let field = match signaled.signal {
        Signal::Offer => "offer",
        Signal::Answer => "answer",
        Signal::Candidate => "candidate",
        Signal::MediaSections | Signal::MediaSlots => "media",
    };
    let mut object = begin(out, signaled.signal.as_str());
    object.string("roomId", &signaled.room);
    named(&mut object, "fromPeerId", &signaled.from);
    named(&mut object, "toPeerId", &signaled.to);
    object.raw(field, &signaled.body);
    end(&mut object, None, now);
}

/// A message of a room.
pub fn message(out: &mut Vec<u8>, message: &Message) {
    let mut object = begin(out, message_type(message));
    object.plain("id", message.id.hyphenated().encode_lower(&mut uuid::Uuid::encode_buffer()));
    if let Some(seq) = message.seq {
        object.number("seq", seq);
    }
    object.string("roomId", &message.room);
    if let Some((changed, _)) = message.changes() {
        object.plain("messageId", changed.hyphenated().encode_lower(&mut uuid::Uuid::encode_buffer()));
    }
    object.string("sender", message.sender.user());
    object.string("displayName", shown_name(&message.display_name, &message.sender));
    named(&mut object, "fromPeerId", &message.from);
    if let Some(to) = &message.to {
        named(&mut object, "toPeerId", to);
    }
    if let Some(revision) = message.revision.as_deref() {
        return revised(object, message, *revision);
    }
    match &message.content.event {
        None => object.raw("content", &message.content.body),
        Some(event) => object.string("event", event).raw("data", &message.content.body),
    };
    kind(&mut object, &message.content);
    extras(&mut object, &message.content);
    object.number("timestamp", message.at).end();
}

fn message_type(message: &Message) -> &'static str {
    match message.changes() {
        None => "message",
        Some((_, RevisionKind::Edit)) => "message-edited",
        Some((_, RevisionKind::Delete)) => "message-deleted",
        Some((_, RevisionKind::Append(_))) => "message-appended",
    }
}

/// The rest of a message that was changed, or that changes another one.
fn revised(mut object: Object<'_>, message: &Message, revision: Revision) {
    match (revision, &message.content.event) {
        (Revision::Of { kind: RevisionKind::Delete, .. }, _) => {}
        (Revision::Of { .. } | Revision::Piece { .. }, _) | (_, None) => {
            object.raw("content", &message.content.body);
        }
        (_, Some(event)) => drop(object.string("event", event).raw("data", &message.content.body)),
    }
    match revision {
        Revision::Of { .. } => extras(&mut object, &message.content),
        Revision::Piece { offset, status, .. } => {
            object.number("offset", offset).plain("status", status.as_str());
        }
        Revision::Stream(status) => {
            kind(&mut object, &message.content);
            extras(&mut object, &message.content);
            object.plain("status", status.as_str());
        }
        Revision::Edited(at) => {
            kind(&mut object, &message.content);
            extras(&mut object, &message.content);
            object.number("editedAt", at);
        }
        Revision::Deleted(at) => {
            kind(&mut object, &message.content);
            object.number("deletedAt", at);
        }
    }
    object.number("timestamp", message.at).end();
}

fn direct(out: &mut Vec<u8>, direct: &Direct) {
    let mut object = begin(out, "message");
    object.plain("id", direct.id.hyphenated().encode_lower(&mut uuid::Uuid::encode_buffer()));
    object.string("sender", direct.sender.user()).string("displayName", direct.sender.username());
    kind(&mut object, &direct.content);
    let event = direct.content.event.as_deref();
    object.optional("event", event);
    object.raw(if direct.is_pushed || event.is_some() { "data" } else { "content" }, &direct.content.body);
    extras(&mut object, &direct.content);
    object.number("timestamp", direct.at).end();
}

fn kind(object: &mut Object<'_>, content: &Content) {
    match &content.kind {
        Some(kind) => object.string("messageType", kind),
        None => object.plain("messageType", "text"),
    };
}

fn extras(object: &mut Object<'_>, content: &Content) {
    object.optional("replyToId", content.reply_to.as_deref());
    object.optional_raw("attachment", content.attachment.as_deref());
    object.optional_raw("metadata", content.metadata.as_deref());
}

fn peers(object: &mut Object<'_>, peers: &[PeerView]) {
    object.list("peers", peers, |out, peer| {
        let mut object = Object::begin(out);
        member(&mut object, peer);
        object.end();
    });
}

fn member(object: &mut Object<'_>, peer: &PeerView) {
    named(object, "peerId", &peer.name);
    object.string("userId", peer.identity.user()).string("displayName", peer.display_name());
    media_state(object, peer.media);
    object.optional_raw("data", peer.about.data());
}

fn named(object: &mut Object<'_>, field: &str, name: &PeerName) {
    match name {
        PeerName::Chosen(name) => object.string(field, name),
        PeerName::Own(id) => object.plain(field, id.text().as_str()),
    };
}

fn media_state(object: &mut Object<'_>, media: MediaState) {
    object.value("mediaState", |out| {
        let mut object = Object::begin(out);
        object.bool("audio", media.audio).bool("video", media.video).bool("screen", media.screen).end();
    });
    if media.sfu {
        object.number("sfu", 1);
    }
}

fn begin<'a>(out: &'a mut Vec<u8>, kind: &str) -> Object<'a> {
    let mut object = Object::begin(out);
    object.plain("type", kind);
    object
}

fn end(object: &mut Object<'_>, request: Option<Opaque<'_>>, now: Now) {
    object.optional_raw("requestId", request).number("timestamp", now.wall).end();
}
