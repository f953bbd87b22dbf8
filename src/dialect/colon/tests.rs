//! Each request as in the seed, and refusals; each event; and, in [`acks`], each answer.

mod acks;

use proptest::prelude::*;

use super::*;
use crate::base::time::Now;
use crate::dialect::events::samples::{self, MESSAGE, MESSAGE_ID, NOW, heard, told, written};
use crate::domain::client_query::{ClientQuery, IncidentFilter, IncidentKind, PageRequest};
use crate::domain::command::{Command, Draft, Join, MessageTarget, ReceiptKind, Receipted, Status};
use crate::domain::event::{Event, LeaveCause};
use crate::domain::op::Sent;

/// [`NOW`] in JSON.
const AT: &str = r#""2025-01-09T21:30:00.000Z""#;

fn asked(packet: &str) -> Result<DecodedRequest<'_>, RequestFault> {
    heard(packet, |name, arguments| decode(name, arguments, 16))
}

#[track_caller]
fn command(packet: &str) -> Command<'_> {
    asked(packet).unwrap_or_else(|fault| panic!("{packet}: {}", fault.reject)).command
}

fn here() -> OnlineUserView<'static> {
    let connected_at = Some(NOW.wall - 300_000);
    OnlineUserView {
        user: "user-uuid",
        username: "username",
        status: Status::Online,
        last_seen: NOW.wall,
        connected_at,
    }
}

#[test]
fn requests_of_rooms_and_messages_are_read_to_the_letter() {
    let room = || "chat-uuid".into();
    let join = Join {
        room: room(),
        peer: None,
        display_name: None,
        media: Default::default(),
        rewind: 0,
        data: None,
        is_observer: false,
        token: None,
    };
    assert_eq!(command(r#"2["join:chat",{"chatId":"chat-uuid"}]"#), Command::Join(join));
    assert_eq!(
        command(r#"2["leave:chat",{"chatId":"chat-uuid"}]"#),
        Command::Leave { room: room(), peer: None, secret: None }
    );
    let draft = Draft {
        content: r#""Hello, world!""#,
        event: None,
        kind: Some("text".into()),
        reply_to: None,
        attachment: None,
        metadata: None,
        client_message_id: None,
        is_stream: false,
    };
    let send = Command::Send { target: MessageTarget::Room(room()), draft };
    assert_eq!(command(r#"2["message:send",{"chatId":"chat-uuid","content":"Hello, world!","type":"text"}]"#), send);
    let packet = r#"2["message:send",{"chatId":"chat-uuid","content":"","type":"image","replyToId":"m","attachment":{"url":"u"},
        "metadata":[1],"clientMessageId":"c-1"}]"#;
    let draft = Draft {
        content: r#""""#,
        event: None,
        kind: Some("image".into()),
        reply_to: Some("m".into()),
        attachment: Some(r#"{"url":"u"}"#),
        metadata: Some("[1]"),
        client_message_id: Some("c-1".into()),
        is_stream: false,
    };
    assert_eq!(command(packet), Command::Send { target: MessageTarget::Room(room()), draft });
    let typing = Command::Typing { room: room(), is_typing: false };
    assert_eq!(command(r#"2["message:typing",{"chatId":"chat-uuid","isTyping":false}]"#), typing);
    for (name, kind) in [("delivered", ReceiptKind::Delivered), ("read", ReceiptKind::Read)] {
        let packet = format!(r#"2["message:{name}",{{"messageId":"message-uuid","chatId":"chat-uuid"}}]"#);
        let messages = Receipted::One("message-uuid".into());
        assert_eq!(command(&packet), Command::Receipt { room: room(), messages, kind });
        let packet = format!(r#"2["message:{name}",{{"messageIds":["a","b"],"chatId":"chat-uuid"}}]"#);
        let messages = Receipted::These(vec!["a".into(), "b".into()]);
        assert_eq!(command(&packet), Command::Receipt { room: room(), messages, kind });
    }
    let status = r#"2["message:delivery-status",{"messageId":"message-uuid","chatId":"chat-uuid"}]"#;
    assert_eq!(command(status), Command::Receipts { room: room(), message: "message-uuid".into() });
    assert_eq!(command(r#"2["presence:update-status",{"status":"away"}]"#), Command::SetStatus(Status::Away));
    assert_eq!(command(r#"2["connection:create-session",{}]"#), Command::MakeRecoveryToken);
    let recover = Command::Resume { token: "recovery-token-string".into(), has: Vec::new(), own_messages: true };
    assert_eq!(command(r#"2["connection:recover",{"recoveryToken":"recovery-token-string"}]"#), recover);
    assert_eq!(command(r#"2["heartbeat"]"#), Command::Ping);
}

#[test]
fn questions_are_read_to_the_letter() {
    let room = || "chat-uuid".into();
    let page = PageRequest::default;
    let filter = IncidentFilter {
        limit: Some(50),
        kind: Some(IncidentKind::Connect),
        user: Some("user-uuid".into()),
        address: Some([192, 168, 1, 1].into()),
    };
    for (packet, question) in [
        (r#"2["room:info",{"chatId":"chat-uuid"}]"#, ClientQuery::Room { room: room() }),
        (r#"2["room:list",{}]"#, ClientQuery::Rooms),
        (r#"2["room:list"]"#, ClientQuery::Rooms),
        (r#"2["room:online",{"chatId":"chat-uuid"}]"#, ClientQuery::Members { room: room(), page: page() }),
        (r#"2["message:typing-users",{"chatId":"chat-uuid"}]"#, ClientQuery::Typing { room: room() }),
        (
            r#"2["message:delivery-status",{"messageId":"message-uuid"}]"#,
            ClientQuery::Message { message: "message-uuid".into() },
        ),
        (r#"2["message:stats",{}]"#, ClientQuery::MessageStats),
        (r#"2["presence:online-users",{}]"#, ClientQuery::Users { page: page() }),
        (
            r#"2["presence:online-users",{"after":"u","limit":10}]"#,
            ClientQuery::Users { page: PageRequest { after: Some("u".into()), limit: Some(10) } },
        ),
        (r#"2["presence:user-status",{"userId":"user-uuid"}]"#, ClientQuery::Presence { user: "user-uuid".into() }),
        (r#"2["presence:stats",{}]"#, ClientQuery::PresenceStats),
        (r#"2["connection:session-info",{}]"#, ClientQuery::Session),
        (r#"2["connection:stats",{}]"#, ClientQuery::SessionStats),
        (r#"2["monitoring:metrics",null]"#, ClientQuery::Connections),
        (
            r#"2["monitoring:events",{"limit":50,"type":"connect","userId":"user-uuid","ip":"192.168.1.1"}]"#,
            ClientQuery::Events(filter),
        ),
        (r#"2["monitoring:events",{}]"#, ClientQuery::Events(IncidentFilter::default())),
        (r#"2["monitoring:stats",{}]"#, ClientQuery::Monitoring),
        (r#"2["monitoring:health",{}]"#, ClientQuery::Health),
    ] {
        assert_eq!(command(packet), Command::Ask(question), "{packet}");
    }
}

#[test]
fn every_request_has_one_name() {
    assert_eq!(NAMES.len(), 24);
    for name in NAMES {
        assert_eq!(RequestName::parse(name).map(RequestName::name), Some(*name));
        assert_eq!(RequestName::parse(name).map(RequestName::is_shared), Some(false));
        assert_eq!(crate::dialect::camel::RequestName::parse(name), None, "the two share no name");
    }
    for name in ["heartbeat", "authenticate", "offer", "answer", "ice-candidate", "media-state-changed"] {
        assert_eq!(RequestName::parse(name).map(RequestName::is_shared), Some(true), "{name}");
        assert_eq!(crate::dialect::camel::RequestName::parse(name).map(|request| request.name()), Some(name));
        assert_eq!(crate::dialect::notify::RequestName::parse(name).map(|request| request.name()), Some(name));
    }
}

/// The seed's 24.
const NAMES: &[&str] = &[
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
];

proptest! {
    #[test]
    fn no_argument_is_too_strange(packet in samples::packets(NAMES)) {
        let _ = heard(&packet, |name, arguments| decode(name, arguments, 16).map(|asked| asked.request.name().to_owned()));
    }
}

#[test]
fn a_refusal_names_the_field() {
    for (packet, expected) in [
        (r#"2["join:chat"]"#, "chatId is missing"),
        (r#"2["join:chat","chat-uuid"]"#, "join:chat takes an object"),
        (r#"2["join:chat",{"chatId":7}]"#, "chatId must be a string"),
        (r#"2["leave:chat",{"chatId":""}]"#, "chatId must have 1 to 128 bytes and no control characters"),
        (r#"2["message:send",{"chatId":"c"}]"#, "content is missing"),
        (r#"2["message:send",{"chatId":"c","event":"moved"}]"#, "data is missing"),
        (r#"2["message:typing",{"chatId":"c","isTyping":"yes"}]"#, "isTyping must be true or false"),
        (r#"2["message:read",{"chatId":"c"}]"#, "messageId is missing"),
        (r#"2["message:delivery-status",{}]"#, "messageId is missing"),
        (r#"2["presence:update-status",{}]"#, "status is missing"),
        (r#"2["presence:user-status",{}]"#, "userId is missing"),
        (r#"2["connection:recover",{}]"#, "recoveryToken is missing"),
        (r#"2["monitoring:events",{"limit":1.5}]"#, "limit must be a whole number that is not negative"),
        (r#"2["monitoring:events",{"ip":"nowhere"}]"#, "ip must be an IP address"),
        (
            r#"2["monitoring:events",{"type":"x"}]"#,
            "type must be one of connect, disconnect, error, rate_limit, auth_failure",
        ),
        (r#"2["offer",{"roomId":"c","toPeerId":"p"}]"#, "offer is missing"),
    ] {
        let fault = asked(packet).expect_err(packet);
        assert_eq!(fault.reject.to_string(), format!("INVALID_MESSAGE: {expected}"), "{packet}");
        assert!(fault.request.is_some(), "{packet}");
    }
    let large = asked(r#"2["message:send",{"chatId":"c","content":"12345678901234567"}]"#).expect_err("large");
    assert_eq!(large.reject.to_string(), "MESSAGE_TOO_LARGE: content is larger than 16 bytes");
    assert_eq!(asked(r#"2["joinRoom","r"]"#).expect_err("camel's").request, None);
}

#[test]
fn each_event_is_told_to_the_letter() {
    let who = r#""userId":"user-uuid","username":"username","chatId":"chat-uuid""#;
    let expected = [
        Some(format!(
            r#"["room:joined",{{"chatId":"chat-uuid","roomInfo":{{"chatId":"chat-uuid","participantCount":5,"isActive":true,"lastActivity":{AT}}}}}]"#
        )),
        Some(r#"["room:left",{"chatId":"chat-uuid"}]"#.to_owned()),
        Some(format!(r#"["user:joined",{{{who},"timestamp":{AT}}}]"#)),
        Some(format!(r#"["user:left",{{{who},"timestamp":{AT}}}]"#)),
        Some(r#"["room:online-update",{"chatId":"chat-uuid","onlineCount":501}]"#.to_owned()),
        Some(r#"["room:online-update",{"chatId":"chat-uuid","onlineCount":3}]"#.to_owned()),
        Some(format!(
            r#"["room:info",{{"chatId":"chat-uuid","name":"Chat Room Name","description":"Chat description","participantCount":5,"onlineCount":3,"isActive":true,"lastActivity":{AT}}}]"#
        )),
        Some(format!(
            r#"["room:info",{{"chatId":"chat-uuid","name":"Chat Room Name","description":"Chat description","participantCount":5,"onlineCount":3,"isActive":true,"lastActivity":{AT}}}]"#
        )),
        Some(
            r#"["offer",{"type":"offer","roomId":"chat-uuid","fromPeerId":"a","toPeerId":"b","offer":{ },"timestamp":1736458200000}]"#
                .to_owned(),
        ),
        None,
        Some(samples::MODE_CHANGED.to_owned()),
        Some(format!(
            r#"["message:new",{{"id":"{MESSAGE_ID}","content":"Hello, world!","type":"text","chatId":"chat-uuid","userId":"user-uuid","createdAt":{AT},"user":{{"id":"user-uuid","username":"username"}},"seq":8}}]"#
        )),
        Some(format!(
            r#"["message",{{"type":"system","data":{{"message":"Welcome to our platform!","level":"info"}},"timestamp":{AT}}}]"#
        )),
        Some(
            r#"["user:typing",{"chatId":"chat-uuid","userId":"user-uuid","username":"username","isTyping":true}]"#
                .to_owned(),
        ),
        None,
        Some(format!(
            r#"["message:read",{{"messageId":"{MESSAGE_ID}","chatId":"chat-uuid","userId":"user-uuid","timestamp":{AT}}}]"#
        )),
        Some(format!(r#"["user:online",{{"userId":"user-uuid","username":"username","status":"online","lastSeen":{AT}}}]"#)),
        Some(r#"["room:closed",{"chatId":"chat-uuid","reason":"closed by host"}]"#.to_owned()),
    ];
    let all: Vec<Option<String>> = samples::all().iter().map(|event| told(encode, event)).collect();
    assert_eq!(all, expected);
}

#[test]
fn events_of_one_kind_have_their_own_names() {
    let name = |event: &Event| told(encode, event).map(|text| text.split('"').nth(1).map(str::to_owned));
    let expected = [
        (samples::marked(ReceiptKind::Delivered), "message:delivered"),
        (samples::presence(Status::Offline), "user:offline"),
        (samples::presence(Status::Away), "user:status-changed"),
        (samples::presence(Status::Busy), "user:status-changed"),
    ];
    for (event, expected) in expected {
        assert_eq!(name(&event), Some(Some(expected.to_owned())));
    }
    let removed = told(encode, &samples::left(LeaveCause::Removed));
    assert_eq!(removed.as_deref(), Some(r#"["room:left",{"chatId":"chat-uuid","reason":"removed"}]"#));
}

#[test]
fn what_is_said_to_one_connection_is_said_to_the_letter() {
    let user = format!(
        r#"{{"userId":"user-uuid","username":"username","status":"online","lastSeen":{AT},"connectedAt":"2025-01-09T21:25:00.000Z"}}"#
    );
    assert_eq!(
        written(|out| users_online(out, [here()], 7)),
        format!(r#"["users:online",{{"users":[{user}],"total":7}}]"#)
    );
    assert_eq!(
        written(|out| room_online(out, "chat-uuid", 1, Some([here()]))),
        format!(r#"["room:online-update",{{"chatId":"chat-uuid","onlineCount":1,"onlineUsers":[{user}]}}]"#)
    );
    let sent = Sent { id: MESSAGE, seq: Some(8), at: NOW.wall };
    assert_eq!(
        written(|out| message_sent(out, &sent, "chat-uuid")),
        format!(r#"["message:sent",{{"messageId":"{MESSAGE_ID}","chatId":"chat-uuid","seq":8,"timestamp":{AT}}}]"#)
    );
    assert_eq!(
        written(|out| recovery_token(out, "recovery-token-string", 120_000)),
        r#"["connection:recovery-token",{"recoveryToken":"recovery-token-string","windowMs":120000}]"#
    );
    let message = samples::message(samples::rich());
    assert_eq!(
        written(|out| queued_messages(out, [&message])),
        format!(
            r#"["connection:queued-messages",{{"messages":[{{"id":"{MESSAGE_ID}","content":"Hello world!","type":"image","chatId":"chat-uuid","userId":"user-uuid","createdAt":{AT},"user":{{"id":"user-uuid","username":"username"}},"seq":8,"replyToId":"message-id","attachment":{{"url":"https://example.com/file.jpg"}},"metadata":{{"customField":"value"}}}}]}}]"#
        )
    );
    let now = Now { wall: NOW.wall, mono: 0 };
    assert_eq!(written(|out| heartbeat(out, now)), format!(r#"["heartbeat",{{"timestamp":{AT}}}]"#));
}
