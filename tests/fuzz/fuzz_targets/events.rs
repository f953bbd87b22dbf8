//! Any event is a request or a fault in each of the three dialects of Socket.IO, never a panic; what is let through keeps
//! to its bounds, and what is passed on unread is JSON.

#![no_main]

use libfuzzer_sys::fuzz_target;
use serde::de::IgnoredAny;
use switchboard::base::ids::is_name;
use switchboard::base::limits;
use switchboard::codec::engineio::Version;
use switchboard::codec::socketio::{PacketContent, SocketIoDecoder, SocketIoLimits};
use switchboard::dialect::{camel, colon, notify};
use switchboard::domain::client_query::{ClientQuery, PageRequest};
use switchboard::domain::command::{Append, Command, MessageTarget};

/// Small, so that the fuzzer finds it.
const CONTENT_BYTES: usize = 64;

const NAMES: [&str; 38] = [
    "join:chat",
    "leave:chat",
    "room:info",
    "room:list",
    "room:online",
    "message:send",
    "message:typing",
    "message:typing-users",
    "message:delivered",
    "message:read",
    "message:delivery-status",
    "message:stats",
    "presence:update-status",
    "presence:online-users",
    "presence:user-status",
    "presence:stats",
    "connection:create-session",
    "connection:recover",
    "connection:session-info",
    "connection:stats",
    "monitoring:metrics",
    "monitoring:events",
    "monitoring:stats",
    "monitoring:health",
    "joinRoom",
    "leaveRoom",
    "sendMessage",
    "typingIndicator",
    "presenceUpdate",
    "readReceipt",
    "syncMessages",
    "heartbeat",
    "ping",
    "authenticate",
    "offer",
    "answer",
    "ice-candidate",
    "media-state-changed",
];

const FIELDS: [&str; 26] = [
    "chatId",
    "roomId",
    "content",
    "type",
    "replyToId",
    "attachment",
    "metadata",
    "peerId",
    "displayName",
    "mediaState",
    "isTyping",
    "messageId",
    "lastMessageId",
    "status",
    "userId",
    "recoveryToken",
    "limit",
    "after",
    "ip",
    "fromPeerId",
    "toPeerId",
    "offer",
    "answer",
    "candidate",
    "token",
    "x",
];

fn is_json(text: &str) -> bool {
    serde_json::from_str::<IgnoredAny>(text).is_ok()
}

fn is_page(page: &PageRequest<'_>) -> bool {
    page.after.as_deref().is_none_or(is_name)
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
            assert!(matches!(target, MessageTarget::Room(room) if is_name(room)));
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
        | Command::History { room, .. }
        | Command::Receipts { room, .. }
        | Command::Host { room, .. }
        | Command::Sync { room, .. } => assert!(is_name(room)),
        Command::Echo(json) => assert!(is_json(json)),
        Command::Ask(question) => match question {
            ClientQuery::Room { room } | ClientQuery::Typing { room } => assert!(is_name(room)),
            ClientQuery::Members { room, page } => assert!(is_name(room) && is_page(page)),
            ClientQuery::Users { page } => assert!(is_page(page)),
            ClientQuery::Presence { user } => assert!(is_name(user)),
            ClientQuery::Events(filter) => assert!(is_name_if_any(filter.user.as_deref())),
            _ => {}
        },
        Command::SetStatus(_) | Command::Authenticate { .. } | Command::Ping | Command::MakeRecoveryToken => {}
        Command::Resume { has, .. } => assert!(has.is_empty()),
    }
}

fn hear(text: &str) {
    let mut decoder = SocketIoDecoder::default();
    let Ok(Some(packet)) = decoder.text(Version::V4, text, &SocketIoLimits::default()) else { return };
    let PacketContent::Event(event) = packet.content else { return };
    let (Some(name), arguments) = (event.plain_name(), event.arguments) else { return };
    let understood = [
        notify::decode(name, arguments, CONTENT_BYTES).map(|asked| check(&asked.command)).is_ok(),
        colon::decode(name, arguments, CONTENT_BYTES).map(|asked| check(&asked.command)).is_ok(),
        camel::decode(name, arguments, CONTENT_BYTES).map(|asked| check(&asked.command)).is_ok(),
    ];
    let is_shared = colon::RequestName::parse(name).is_some() && camel::RequestName::parse(name).is_some();
    assert!(is_shared || understood != [true, true, true]);
}

/// An event made of lines: the first says its name, each other a field (by its first character) and its value.
fn event(text: &str) -> String {
    let mut lines = text.lines();
    let pick = |names: &[&'static str], line: &str| names[line.bytes().next().map_or(0, usize::from) % names.len()];
    let mut event = format!(r#"2["{}",{{"_":0"#, pick(&NAMES, lines.next().unwrap_or_default()));
    for line in lines {
        let value = line.get(1..).unwrap_or_default();
        let value = if value.is_empty() { r#""r""# } else { value };
        event += &format!(r#","{}":{value}"#, pick(&FIELDS, line));
    }
    event + "}]"
}

fuzz_target!(|text: &str| {
    hear(text);
    hear(&event(text));
});
