//! From events to text.

use crate::base::time::Now;
use crate::codec::json::{self, Object};
use crate::dialect::events::{self, emit, emit_object, id, instant};
use crate::dialect::raw;
use crate::domain::command::ReceiptKind;
use crate::domain::event::{Event, Message, RevisionKind};
use crate::domain::history::{History, Unread};
use crate::domain::op::Sent;

pub use crate::dialect::events::{error, heartbeat};

/// Appends an event. Returns false if the dialect has no equivalent: counts of large rooms, deliveries, and changes of
/// media.
pub fn encode(out: &mut Vec<u8>, event: &Event, now: Now) -> bool {
    match event {
        Event::Joined(joined) => joined_room(out, &joined.room),
        Event::Left { room, .. } => left_room(out, room),
        Event::PeerJoined { room, peer, is_first: true } => {
            came_or_went(out, "userJoinedRoom", (peer.identity.user(), peer.about.data()), room, now)
        }
        Event::PeerLeft { room, identity, is_last: true, .. } => {
            came_or_went(out, "userLeftRoom", (identity.user(), None), room, now)
        }
        Event::Signal(signaled) => events::signal(out, signaled, now),
        Event::Mode { room, change } => events::mode_changed(out, room, *change, now),
        Event::Message(message) => new_message(out, message),
        Event::Direct(direct) => events::direct(out, direct),
        Event::Typing { room, by, is_typing, .. } => emit_object(out, "userTyping", |object| {
            object.string("roomId", room).string("userId", by.user()).bool("isTyping", *is_typing);
        }),
        Event::StreamCancelled { room, message, by } => emit_object(out, "messageCancel", |object| {
            id(object, "messageId", *message);
            object.string("roomId", room).string("userId", by.user());
            instant(object, "timestamp", now.wall);
        }),
        Event::Receipt { room, message, by, kind: ReceiptKind::Read } => emit_object(out, "messageRead", |object| {
            id(object, "messageId", *message);
            object.string("userId", by.user()).string("roomId", room);
            instant(object, "timestamp", now.wall);
        }),
        Event::Presence { by, status, last_seen } => emit_object(out, "presenceUpdate", |object| {
            object.string("userId", by.user()).plain("status", status.as_str());
            instant(object, "lastSeen", *last_seen);
        }),
        Event::Closed { room, reason } => emit_object(out, "roomClosed", |object| {
            object.string("roomId", room).string("reason", reason);
        }),
        // The user has other connections in the room.
        Event::PeerJoined { is_first: false, .. } | Event::PeerLeft { is_last: false, .. } => return false,
        Event::Stats { .. }
        | Event::Media { .. }
        | Event::Marked { .. }
        | Event::Online { .. }
        | Event::Info(_)
        | Event::Updated(_)
        | Event::Receipt { kind: ReceiptKind::Delivered, .. } => return false,
    }
    true
}

/// `joinedRoom`: the answer to `joinRoom`.
pub fn joined_room(out: &mut Vec<u8>, room: &str) {
    emit(out, "joinedRoom", |out| json::string(out, room));
}

/// `leftRoom`: the answer to `leaveRoom`.
pub fn left_room(out: &mut Vec<u8>, room: &str) {
    emit(out, "leftRoom", |out| json::string(out, room));
}

/// `messageSent`: the answer to `sendMessage`, once the message is committed.
pub fn message_sent(out: &mut Vec<u8>, sent: &Sent) {
    emit_object(out, "messageSent", |object| receipt(object, sent));
}

/// `newMessage`: a message of a room, as it is sent or as it was; `messageEdited`, `messageDeleted` and `messageAppended`: a
/// change of one.
pub fn new_message(out: &mut Vec<u8>, message: &Message) {
    let name = match message.changes() {
        None => "newMessage",
        Some((_, RevisionKind::Edit)) => "messageEdited",
        Some((_, RevisionKind::Delete)) => "messageDeleted",
        Some((_, RevisionKind::Append(_))) => "messageAppended",
    };
    emit_object(out, name, |object| {
        id(object, "id", message.id);
        events::revision(object, message);
        events::content(object, message);
        object.string("sender", message.sender.user());
        object.string("roomId", &message.room);
        instant(object, "timestamp", message.at);
        object.optional("replyToId", message.content.reply_to.as_deref());
        object.optional_raw("attachment", message.content.attachment.as_deref());
        object.optional_raw("metadata", message.content.metadata.as_deref());
        if let Some(seq) = message.seq {
            object.number("seq", seq);
        }
    });
}

/// `syncComplete`: after the messages that `syncMessages` asked for.
pub fn sync_complete(out: &mut Vec<u8>, history: &History) {
    emit_object(out, "syncComplete", |object| synced(object, history));
}

/// `unreadCount`: the number of messages of a room that the user has not read.
pub fn unread_count(out: &mut Vec<u8>, unread: &Unread) {
    emit_object(out, "unreadCount", |object| self::unread(object, unread));
}

pub(super) fn unread(object: &mut Object<'_>, unread: &Unread) {
    object.string("roomId", &unread.room);
    raw::unread_fields(object, unread);
}

pub(super) fn receipt(object: &mut Object<'_>, sent: &Sent) {
    id(object, "id", sent.id);
    if let Some(seq) = sent.seq {
        object.number("seq", seq);
    }
    instant(object, "timestamp", sent.at);
    object.plain("status", "sent");
}

pub(super) fn synced(object: &mut Object<'_>, history: &History) {
    object.string("roomId", &history.room).number("syncedMessageCount", history.messages.len() as u64);
    object.bool("hasMore", history.has_more());
    if history.is_instead {
        object.bool("lastMessageFound", false);
    }
}

fn came_or_went(out: &mut Vec<u8>, name: &str, (user, data): (&str, Option<&str>), room: &str, now: Now) {
    emit_object(out, name, |object| {
        object.string("userId", user).string("roomId", room);
        instant(object, "timestamp", now.wall);
        object.optional_raw("data", data);
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::camel::ack;
    use crate::dialect::events::samples::{self, MESSAGE, MESSAGE_ID, NOW, written};
    use crate::domain::reject::{Code, Reject};

    const AT: &str = r#""2025-01-09T21:30:00.000Z""#;

    #[test]
    fn each_event_is_told_to_the_letter() {
        let expected = [
            Some(r#"["joinedRoom","chat-uuid"]"#.to_owned()),
            Some(r#"["leftRoom","chat-uuid"]"#.to_owned()),
            Some(format!(r#"["userJoinedRoom",{{"userId":"user-uuid","roomId":"chat-uuid","timestamp":{AT}}}]"#)),
            Some(format!(r#"["userLeftRoom",{{"userId":"user-uuid","roomId":"chat-uuid","timestamp":{AT}}}]"#)),
            None,
            None,
            None,
            None,
            Some(
                r#"["offer",{"type":"offer","roomId":"chat-uuid","fromPeerId":"a","toPeerId":"b","offer":{ },"timestamp":1736458200000}]"#
                    .to_owned(),
            ),
            None,
            Some(samples::MODE_CHANGED.to_owned()),
            Some(format!(
                r#"["newMessage",{{"id":"{MESSAGE_ID}","content":"Hello, world!","sender":"user-uuid","roomId":"chat-uuid","timestamp":{AT},"seq":8}}]"#
            )),
            Some(format!(
                r#"["message",{{"type":"system","data":{{"message":"Welcome to our platform!","level":"info"}},"timestamp":{AT}}}]"#
            )),
            Some(r#"["userTyping",{"roomId":"chat-uuid","userId":"user-uuid","isTyping":true}]"#.to_owned()),
            Some(format!(
                r#"["messageRead",{{"messageId":"{MESSAGE_ID}","userId":"user-uuid","roomId":"chat-uuid","timestamp":{AT}}}]"#
            )),
            None,
            Some(format!(r#"["presenceUpdate",{{"userId":"user-uuid","status":"online","lastSeen":{AT}}}]"#)),
            Some(r#"["roomClosed",{"roomId":"chat-uuid","reason":"closed by host"}]"#.to_owned()),
        ];
        let told: Vec<Option<String>> = samples::all().iter().map(|event| samples::told(encode, event)).collect();
        assert_eq!(told, expected);
        assert_eq!(samples::told(encode, &samples::receipt(ReceiptKind::Delivered)), None);
    }

    #[test]
    fn a_message_carries_what_it_was_given() {
        let message = samples::message(samples::rich());
        let expected = format!(
            r#"["newMessage",{{"id":"{MESSAGE_ID}","content":"Hello world!","sender":"user-uuid","roomId":"chat-uuid","timestamp":{AT},"replyToId":"message-id","attachment":{{"url":"https://example.com/file.jpg"}},"metadata":{{"customField":"value"}},"seq":8}}]"#
        );
        assert_eq!(written(|out| new_message(out, &message)), expected);
    }

    #[test]
    fn answers_are_said_to_the_letter_and_in_acks_again() {
        let sent = Sent { id: MESSAGE, seq: Some(8), at: NOW.wall };
        let receipt = format!(r#""id":"{MESSAGE_ID}","seq":8,"timestamp":{AT},"status":"sent""#);
        assert_eq!(written(|out| message_sent(out, &sent)), format!(r#"["messageSent",{{{receipt}}}]"#));
        assert_eq!(written(|out| ack::sent(out, &sent)), format!(r#"{{"success":true,{receipt}}}"#));
        let (room, epoch, messages) = ("r".into(), "e".into(), Vec::new());
        let history = History { room, epoch, seq: 9, messages, complete: false, is_upward: false, is_instead: false };
        let synced = r#""roomId":"r","syncedMessageCount":0,"hasMore":true"#;
        assert_eq!(written(|out| sync_complete(out, &history)), format!(r#"["syncComplete",{{{synced}}}]"#));
        assert_eq!(written(|out| ack::synced(out, &history)), format!(r#"{{"success":true,{synced}}}"#));
        let instead = History { is_instead: true, ..history };
        let expected = format!(r#"["syncComplete",{{{synced},"lastMessageFound":false}}]"#);
        assert_eq!(written(|out| sync_complete(out, &instead)), expected);
        assert_eq!(written(|out| ack::room(out, "r")), r#"{"success":true,"roomId":"r"}"#);
        assert_eq!(written(ack::granted), r#"{"success":true}"#);
        assert_eq!(written(|out| heartbeat(out, NOW)), format!(r#"["heartbeat",{{"timestamp":{AT}}}]"#));
        assert_eq!(written(|out| ack::heartbeat(out, NOW)), format!(r#"{{"success":true,"timestamp":{AT}}}"#));
        let renewed = r#"{"success":true,"expiresAt":"2025-01-09T21:30:00.000Z"}"#;
        assert_eq!(written(|out| ack::renewed(out, Some(NOW.wall / 1000))), renewed);
        let reject = Reject::new(Code::RateLimited, "Too often");
        assert_eq!(written(|out| error(out, &reject)), r#"["error",{"code":"RATE_LIMITED","message":"Too often"}]"#);
        let refused = r#"{"success":false,"message":"Too often","code":"RATE_LIMITED"}"#;
        assert_eq!(written(|out| ack::refused(out, &reject)), refused);
    }
}
