//! The payloads of webhooks.

use crate::base::time::rfc3339;
use crate::codec::json::Object;
use crate::domain::event::{Content, Message, PeerName, RevisionKind, shown_name};
use crate::domain::hook::{HookChange, HookEvent, HookKind};

/// An event, as it is stored until it is delivered.
pub fn encode(event: &HookEvent) -> Vec<u8> {
    let mut data = Vec::with_capacity(256);
    write_data(&mut data, &event.change);
    envelope(&event.id.hyphenated().to_string(), event.change.kind(), event.at, &data)
}

/// The data of an event, which is also that of the event that ends its state.
pub fn data(change: &HookChange) -> Vec<u8> {
    let mut data = Vec::with_capacity(128);
    write_data(&mut data, change);
    data
}

/// The event that ends a state because the server has ended, from the data of the event that began it.
pub fn ended(id: &str, kind: HookKind, at: u64, beginning: &str) -> Vec<u8> {
    // The beginning was read from the store, which may be damaged: then the event has the reason alone.
    let fields = beginning.strip_suffix('}').map_or_else(|| "{".to_owned(), |fields| format!("{fields},"));
    let data = format!(r#"{fields}"reason":"restart"}}"#).into_bytes();
    envelope(id, kind, at, &data)
}

/// The body of a request.
pub fn batch<'a>(out: &mut Vec<u8>, now: u64, events: impl Iterator<Item = &'a [u8]>) {
    Object::begin(out)
        .plain("type", "batch")
        .plain("timestamp", &rfc3339(now))
        .value("data", |out| {
            Object::begin(out).list("events", events, |out, event| out.extend_from_slice(event)).end();
        })
        .end();
}

fn envelope(id: &str, kind: HookKind, at: u64, data: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(data.len() + 128);
    Object::begin(&mut out)
        .plain("id", id)
        .plain("type", kind.name())
        .plain("timestamp", &rfc3339(at))
        .value("data", |out| out.extend_from_slice(data))
        .end();
    out
}

fn write_data(out: &mut Vec<u8>, change: &HookChange) {
    let mut object = Object::begin(out);
    match change {
        HookChange::Connection { connection, user, .. } => {
            object.plain("connectionId", connection.text().as_str()).string("userId", user);
        }
        HookChange::User { user, .. } => {
            object.string("userId", user);
        }
        HookChange::RoomCreated { room, by } => {
            object.string("roomId", room).string("userId", by);
        }
        HookChange::RoomClosed { room, reason } => {
            object.string("roomId", room).plain("reason", reason);
        }
        HookChange::RoomOccupied { room, .. } => {
            object.string("roomId", room);
        }
        HookChange::Member { room, peer, user, .. } => {
            object.string("roomId", room);
            named(&mut object, "peerId", peer);
            object.string("userId", user);
        }
        HookChange::Message(message) => {
            let changed = message.changes().map(|(changed, _)| changed);
            object.plain("messageId", &changed.unwrap_or(message.id).hyphenated().to_string());
            if let Some(seq) = message.seq {
                object.number("seq", seq);
            }
            object.string("roomId", &message.room).string("userId", message.sender.user());
            object.string("displayName", shown_name(&message.display_name, &message.sender));
            named(&mut object, "peerId", &message.from);
            if event_has_content(message) {
                content(&mut object, &message.content);
            }
        }
        HookChange::OfflineMessage { user, direct } => {
            object.plain("messageId", &direct.id.hyphenated().to_string()).string("toUserId", user);
            object.string("userId", direct.sender.user()).string("displayName", direct.sender.username());
            content(&mut object, &direct.content);
        }
    }
    object.end();
}

fn named(object: &mut Object<'_>, field: &str, name: &PeerName) {
    name.with(|name| {
        object.string(field, name);
    });
}

fn event_has_content(message: &Message) -> bool {
    !matches!(message.changes(), Some((_, RevisionKind::Delete)))
}

pub(super) fn content(object: &mut Object<'_>, content: &Content) {
    object.string("event", content.event.as_deref().unwrap_or("message"));
    object.string("messageType", content.kind.as_deref().unwrap_or("text"));
    object.raw("content", &content.body);
    object.optional("replyToId", content.reply_to.as_deref());
    object.optional_raw("attachment", content.attachment.as_deref());
    object.optional_raw("metadata", content.metadata.as_deref());
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{Value, json};
    use uuid::Uuid;

    use super::*;
    use crate::domain::access::{Identity, Roles};

    fn value(bytes: &[u8]) -> Value {
        serde_json::from_slice(bytes).expect("it is JSON")
    }

    #[test]
    fn batch_has_its_events_as_they_were_stored() {
        let change = HookChange::Member {
            room: "a\"b".into(),
            peer: PeerName::Chosen("p".into()),
            user: "ann".into(),
            is_member: true,
        };
        let beginning = data(&change);
        let event = encode(&HookEvent { id: Uuid::nil(), at: 1_736_458_200_123, change });
        let text = String::from_utf8(beginning).expect("it is text");
        let damaged = ended("y", HookKind::MemberLeft, 1_736_458_200_124, "");
        assert_eq!(value(&damaged)["data"], json!({"reason": "restart"}));
        let end = ended("x", HookKind::MemberLeft, 1_736_458_200_124, &text);
        let mut out = Vec::new();
        batch(&mut out, 1_736_458_200_125, [&event[..], &end[..]].into_iter());
        let expected = json!({"type": "batch", "timestamp": "2025-01-09T21:30:00.125Z", "data": {"events": [
            {"id": "00000000-0000-0000-0000-000000000000", "type": "member.joined", "timestamp": "2025-01-09T21:30:00.123Z",
             "data": {"roomId": "a\"b", "peerId": "p", "userId": "ann"}},
            {"id": "x", "type": "member.left", "timestamp": "2025-01-09T21:30:00.124Z",
             "data": {"roomId": "a\"b", "peerId": "p", "userId": "ann", "reason": "restart"}},
        ]}});
        assert_eq!(value(&out), expected);
    }

    #[test]
    fn message_has_its_content_unchanged() {
        let content = Content {
            body: r#"{"a": 1}"#.into(),
            event: Some("move".into()),
            kind: None,
            reply_to: None,
            attachment: None,
            metadata: Some("[1]".into()),
        };
        let message = Message {
            id: Uuid::nil(),
            seq: Some(7),
            room: "r".into(),
            sender: Identity::new("ann", Some("Ann"), None, Roles::default()),
            display_name: None,
            from: PeerName::Chosen("p".into()),
            is_published: false,
            to: None,
            content,
            at: 5,
            revision: None,
        };
        let event = encode(&HookEvent { id: message.id, at: 5, change: HookChange::Message(Arc::new(message)) });
        assert_eq!(
            value(&event)["data"],
            json!({"messageId": "00000000-0000-0000-0000-000000000000", "seq": 7, "roomId": "r", "userId": "ann",
                "displayName": "Ann", "peerId": "p", "event": "move", "messageType": "text", "content": {"a": 1},
                "metadata": [1]})
        );
    }
}
