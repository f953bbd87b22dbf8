//! Any text is a request or a fault, never a panic; what is let through keeps to its bounds, and what is passed on unread
//! is JSON, or it would break the frames of other clients.

#![no_main]

use libfuzzer_sys::fuzz_target;
use serde::de::IgnoredAny;
use switchboard::base::ids::is_name;
use switchboard::base::limits;
use switchboard::dialect::raw::decode;
use switchboard::domain::command::{Append, Command, MessageTarget};

/// Small, so that the fuzzer finds it.
const CONTENT_BYTES: usize = 64;

const TYPES: [&str; 16] = [
    "join-room",
    "leave-room",
    "offer",
    "answer",
    "ice-candidate",
    "media-state-changed",
    "message",
    "presence",
    "typing",
    "read-receipt",
    "delivered",
    "authenticate",
    "ping",
    "resume",
    "history",
    "receipts",
];

const FIELDS: [&str; 25] = [
    "requestId",
    "roomId",
    "peerId",
    "displayName",
    "mediaState",
    "fromPeerId",
    "toPeerId",
    "toUserId",
    "offer",
    "answer",
    "candidate",
    "content",
    "messageType",
    "replyToId",
    "attachment",
    "metadata",
    "status",
    "isTyping",
    "messageId",
    "token",
    "clientMessageId",
    "after",
    "limit",
    "recoveryToken",
    "rooms",
];

fn is_json(text: &str) -> bool {
    serde_json::from_str::<IgnoredAny>(text).is_ok()
}

fn check_request_id(id: Option<&str>) {
    let is_scalar = |id: &str| !id.starts_with(['{', '[', 't', 'f', 'n']);
    assert!(id.is_none_or(|id| id.len() <= limits::REQUEST_ID_BYTES && is_json(id) && is_scalar(id)), "{id:?}");
}

fn check(command: &Command<'_>) {
    let is_name_if_any = |name: Option<&str>| name.is_none_or(is_name);
    match command {
        Command::Join(join) => {
            assert!(is_name(&join.room) && is_name_if_any(join.peer.as_deref()));
            assert!(join.display_name.as_deref().is_none_or(|shown| shown.len() <= limits::DISPLAY_NAME_BYTES));
        }
        Command::Leave { room, peer, .. } | Command::Media { room, peer, .. } => {
            assert!(is_name(room) && is_name_if_any(peer.as_deref()));
        }
        Command::ReportFailure { room, peer } => assert!(is_name(room) && is_name(peer)),
        Command::Signal(signal) => {
            assert!(is_name(&signal.room) && is_name(&signal.to) && is_name_if_any(signal.from.as_deref()));
            assert!(is_json(signal.body));
        }
        Command::Send { target, draft } => {
            match target {
                MessageTarget::Room(name) | MessageTarget::User(name) => assert!(is_name(name)),
                MessageTarget::Peer { room, peer } => assert!(is_name(room) && is_name(peer)),
            }
            // An escape spells a character in up to six bytes.
            assert!(is_json(draft.content) && draft.content.len() <= 6 * CONTENT_BYTES + 2);
            let extras = [draft.attachment, draft.metadata];
            assert!(extras.into_iter().flatten().all(|json| is_json(json) && json.len() <= limits::EXTRA_BYTES));
        }
        Command::Typing { room, .. }
        | Command::Receipt { room, .. }
        | Command::Revise { room, .. }
        | Command::Append(Append { room, .. })
        | Command::Unread { room }
        | Command::Host { room, .. } => {
            assert!(is_name(room));
        }
        Command::SetStatus(_) | Command::Authenticate { .. } | Command::Ping => {}
        Command::History { room, .. } | Command::Receipts { room, .. } => assert!(is_name(room)),
        Command::Resume { has, .. } => {
            assert!(has.iter().all(|has| is_name(&has.room) && has.epoch.len() <= limits::LABEL_BYTES));
        }
        Command::Echo(_) | Command::Sync { .. } | Command::MakeRecoveryToken | Command::Ask(_) => {
            panic!("raw has no words for {command:?}")
        }
    }
}

/// Decodes a text and checks what came of it.
fn hear(text: &str) {
    match decode(text, CONTENT_BYTES) {
        Ok(request) => {
            assert!(is_json(text));
            check_request_id(request.id);
            check(&request.command);
        }
        Err(fault) => check_request_id(fault.id),
    }
}

/// A message made of lines: the first says its type, each other a field (by its first character) and its value. Few
/// texts that a fuzzer thinks of are messages; all of these nearly are.
fn message(text: &str) -> String {
    let mut lines = text.lines();
    let pick = |names: &[&'static str], line: &str| names[line.bytes().next().map_or(0, usize::from) % names.len()];
    let mut message = format!(r#"{{"type":"{}""#, pick(&TYPES, lines.next().unwrap_or_default()));
    for line in lines {
        let value = line.get(1..).unwrap_or_default();
        let value = if value.is_empty() { r#""r""# } else { value };
        message += &format!(r#","{}":{value}"#, pick(&FIELDS, line));
    }
    message + "}"
}

fuzz_target!(|text: &str| {
    hear(text);
    hear(&message(text));
});
