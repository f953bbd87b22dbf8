//! From events to commands.

use std::borrow::Cow;

use crate::codec::socketio::Arguments;
use crate::dialect::events::{self, requests};
use crate::dialect::fields::{
    self, body, display_name, extra, fields, flag, label, limit, media, member_data, name, receipted, required, rewind,
    status, text,
};
use crate::dialect::stream::{self, PieceFields};
use crate::domain::command::{Command, Draft, Join, MessageTarget, ReceiptKind};
use crate::domain::reject::Reject;

requests! {
    /// `joinRoom`, answered by [`super::joined_room`].
    JoinRoom = "joinRoom",
    /// `leaveRoom`, answered by [`super::left_room`].
    LeaveRoom = "leaveRoom",
    /// `sendMessage`, answered by [`super::message_sent`].
    SendMessage = "sendMessage",
    /// `editMessage`, answered by [`super::message_sent`].
    EditMessage = "editMessage",
    /// `deleteMessage`, answered by [`super::message_sent`].
    DeleteMessage = "deleteMessage",
    /// `appendMessage`, answered by [`super::message_sent`].
    AppendMessage = "appendMessage",
    /// `cancelMessage`, answered by [`super::message_sent`].
    CancelMessage = "cancelMessage",
    /// `typingIndicator`.
    TypingIndicator = "typingIndicator",
    /// `presenceUpdate`.
    PresenceUpdate = "presenceUpdate",
    /// `readReceipt`.
    ReadReceipt = "readReceipt",
    /// `unreadCount`, answered by [`super::unread_count`].
    UnreadCount = "unreadCount",
    /// `syncMessages`, answered by [`super::new_message`] for each and [`super::sync_complete`].
    SyncMessages = "syncMessages",
}

fields! {
    room_id = "roomId",
    peer_id = "peerId",
    display_name = "displayName",
    media_state = "mediaState",
    token = "token",
    content = "content",
    event = "event",
    data = "data",
    reply_to_id = "replyToId",
    attachment = "attachment",
    metadata = "metadata",
    client_message_id = "clientMessageId",
    is_typing = "isTyping",
    status = "status",
    offset = "offset",
    message_id = "messageId",
    message_ids = "messageIds",
    up_to = "upTo",
    rewind = "rewind",
    observe = "observe",
    last_message_id = "lastMessageId",
    limit = "limit",
}

fn command<'a>(
    request: RequestName,
    mut arguments: Arguments<'a>,
    content_bytes: usize,
) -> Result<Command<'a>, Reject> {
    match request {
        RequestName::Heartbeat => return Ok(Command::Ping),
        RequestName::Authenticate
        | RequestName::Offer
        | RequestName::Answer
        | RequestName::IceCandidate
        | RequestName::MediaStateChanged
        | RequestName::ConnectionFailed => return events::shared(request.name(), arguments, content_bytes),
        RequestName::JoinRoom | RequestName::LeaveRoom => return membership(request, arguments),
        _ => {}
    }
    let fields: Fields<'_> = events::fields_of(request.name(), &mut arguments)?;
    let room = || room(&fields);
    match request {
        RequestName::SendMessage => {
            Ok(Command::Send { target: MessageTarget::Room(room()?), draft: draft(&fields, content_bytes)? })
        }
        RequestName::EditMessage | RequestName::DeleteMessage => Ok(Command::Revise {
            room: room()?,
            message: required("messageId", text("messageId", fields.message_id)?)?,
            draft: (request == RequestName::EditMessage).then(|| draft(&fields, content_bytes)).transpose()?,
        }),
        RequestName::AppendMessage => {
            let piece = PieceFields {
                message_id: fields.message_id,
                content: fields.content,
                data: fields.data,
                status: fields.status,
                offset: fields.offset,
                client_message_id: fields.client_message_id,
            };
            stream::append(room()?, piece, (content_bytes, fields.is_portable))
        }
        RequestName::CancelMessage => stream::cancel(room()?, fields.message_id),
        RequestName::TypingIndicator => {
            Ok(Command::Typing { room: room()?, is_typing: required("isTyping", flag("isTyping", fields.is_typing)?)? })
        }
        RequestName::PresenceUpdate => status(fields.status).map(Command::SetStatus),
        RequestName::ReadReceipt => {
            let messages = receipted(fields.message_id, fields.message_ids, fields.up_to)?;
            Ok(Command::Receipt { room: room()?, messages, kind: ReceiptKind::Read })
        }
        RequestName::UnreadCount => Ok(Command::Unread { room: room()? }),
        RequestName::SyncMessages => {
            let (room, limit) = (room()?, limit(fields.limit)?);
            Ok(match text("lastMessageId", fields.last_message_id)? {
                Some(after) => Command::Sync { room, after, limit },
                None => Command::History { room, after: None, limit },
            })
        }
        other => Err(events::unknown(other.name())),
    }
}

/// A room is given as its id alone, as in issue 004, or in an object with the fields of `raw`.
fn membership<'a>(request: RequestName, mut arguments: Arguments<'a>) -> Result<Command<'a>, Reject> {
    let argument = arguments.next().unwrap_or("null");
    let fields = match argument.starts_with('{') {
        true => fields::read(argument).map_err(|_| Reject::invalid("roomId must be a string"))?,
        false => Fields { room_id: Some(argument), ..Fields::default() },
    };
    let room = room(&fields)?;
    if request == RequestName::LeaveRoom {
        return Ok(Command::Leave { room, peer: None, secret: None });
    }
    Ok(Command::Join(Join {
        room,
        peer: name("peerId", fields.peer_id)?,
        display_name: display_name(fields.display_name)?,
        media: media(fields.media_state)?.unwrap_or_default(),
        rewind: rewind(fields.rewind)?,
        data: member_data(fields.data, fields.is_portable)?,
        is_observer: flag("observe", fields.observe)?.unwrap_or_default(),
        token: text("token", fields.token)?,
    }))
}

fn room<'a>(fields: &Fields<'a>) -> Result<Cow<'a, str>, Reject> {
    required("roomId", name("roomId", fields.room_id)?)
}

fn draft<'a>(fields: &Fields<'a>, content_bytes: usize) -> Result<Draft<'a>, Reject> {
    let (content, event) = body(fields.event, fields.data, fields.content, (content_bytes, fields.is_portable))?;
    Ok(Draft {
        content,
        event,
        kind: None,
        reply_to: label("replyToId", fields.reply_to_id)?,
        attachment: extra("attachment", fields.attachment, fields.is_portable)?,
        metadata: extra("metadata", fields.metadata, fields.is_portable)?,
        client_message_id: label("clientMessageId", fields.client_message_id)?,
        is_stream: stream::opens(fields.status, content)?,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::dialect::events::samples::{self, heard};
    use crate::dialect::notify;
    use crate::domain::command::{Receipted, Status};

    fn asked(packet: &str) -> Result<DecodedRequest<'_>, RequestFault> {
        heard(packet, |name, arguments| decode(name, arguments, 16))
    }

    fn command(packet: &str) -> Command<'_> {
        asked(packet).unwrap_or_else(|fault| panic!("{packet}: {}", fault.reject)).command
    }

    fn fault(packet: &str) -> String {
        asked(packet).expect_err(packet).reject.to_string()
    }

    #[test]
    fn each_request_is_read_to_the_letter() {
        let join = |peer: Option<&'static str>| {
            let peer = peer.map(Cow::from);
            Command::Join(Join {
                room: "room-id".into(),
                peer,
                display_name: None,
                media: Default::default(),
                rewind: 0,
                data: None,
                is_observer: false,
                token: None,
            })
        };
        assert_eq!(command(r#"2["joinRoom","room-id"]"#), join(None));
        assert_eq!(command(r#"2["joinRoom",{"roomId":"room-id","peerId":"p"}]"#), join(Some("p")));
        let leave = Command::Leave { room: "room-id".into(), peer: None, secret: None };
        assert_eq!(command(r#"2["leaveRoom","room-id"]"#), leave);
        let typing = Command::Typing { room: "room-id".into(), is_typing: true };
        assert_eq!(command(r#"2["typingIndicator",{"roomId":"room-id","isTyping":true}]"#), typing);
        assert_eq!(command(r#"2["presenceUpdate",{"status":"busy"}]"#), Command::SetStatus(Status::Busy));
        let messages = Receipted::One("message-id".into());
        let read = Command::Receipt { room: "room-id".into(), messages, kind: ReceiptKind::Read };
        let up_to = Receipted::UpTo("message-id".into());
        let read_all = Command::Receipt { room: "room-id".into(), messages: up_to, kind: ReceiptKind::Read };
        assert_eq!(command(r#"2["readReceipt",{"upTo":"message-id","roomId":"room-id"}]"#), read_all);
        assert_eq!(command(r#"2["readReceipt",{"messageId":"message-id","roomId":"room-id"}]"#), read);
        assert_eq!(command(r#"2["heartbeat"]"#), Command::Ping);
        let sync = Command::Sync { room: "room-id".into(), after: "last".into(), limit: Some(50) };
        assert_eq!(command(r#"2["syncMessages",{"roomId":"room-id","lastMessageId":"last","limit":50}]"#), sync);
        let history = Command::History { room: "room-id".into(), after: None, limit: None };
        assert_eq!(command(r#"2["syncMessages",{"roomId":"room-id"}]"#), history);
    }

    #[test]
    fn a_message_has_all_that_the_seed_gives_it() {
        let packet = r#"2["sendMessage",{"content":"Hello world!","roomId":"room-id","replyToId":"message-id-to-reply-to",
            "attachment":{"url":"https://example.com/file.jpg","type":"image/jpeg","name":"image.jpg"},
            "metadata":{"customField":"value"},"clientMessageId":"c-1"}]"#;
        let draft = Draft {
            content: r#""Hello world!""#,
            event: None,
            kind: None,
            reply_to: Some("message-id-to-reply-to".into()),
            attachment: Some(r#"{"url":"https://example.com/file.jpg","type":"image/jpeg","name":"image.jpg"}"#),
            metadata: Some(r#"{"customField":"value"}"#),
            client_message_id: Some("c-1".into()),
            is_stream: false,
        };
        assert_eq!(command(packet), Command::Send { target: MessageTarget::Room("room-id".into()), draft });
    }

    #[test]
    fn a_refusal_names_the_field() {
        let invalid = |text: &str| format!("INVALID_MESSAGE: {text}");
        for (packet, expected) in [
            (r#"2["joinRoom"]"#, "roomId is missing"),
            (r#"2["joinRoom",5]"#, "roomId must be a string"),
            (r#"2["leaveRoom",""]"#, "roomId must have 1 to 128 bytes and no control characters"),
            (r#"2["sendMessage","hi"]"#, "sendMessage takes an object"),
            (r#"2["sendMessage",{"roomId":"r"}]"#, "content is missing"),
            (
                r#"2["sendMessage",{"roomId":"r","event":"e","content":1,"data":2}]"#,
                "A message has content or data, not both",
            ),
            (r#"2["typingIndicator",{"roomId":"r"}]"#, "isTyping is missing"),
            (r#"2["presenceUpdate",{"status":"asleep"}]"#, "status must be one of online, away, busy, offline"),
            (r#"2["readReceipt",{"roomId":"r"}]"#, "messageId is missing"),
            (r#"2["syncMessages",{"roomId":"r","limit":-1}]"#, "limit must be a whole number from 1 to 500"),
        ] {
            assert_eq!(fault(packet), invalid(expected), "{packet}");
        }
        let large = r#"2["sendMessage",{"roomId":"r","content":"12345678901234567"}]"#;
        assert_eq!(fault(large), "MESSAGE_TOO_LARGE: content is larger than 16 bytes");
        assert_eq!(fault(r#"2["join:chat",{}]"#), r#"UNKNOWN_TYPE: Unknown event "join:chat""#);
    }

    const NAMES: &[&str] = &[
        "joinRoom",
        "leaveRoom",
        "sendMessage",
        "typingIndicator",
        "presenceUpdate",
        "readReceipt",
        "heartbeat",
        "syncMessages",
        "authenticate",
        "offer",
        "answer",
        "ice-candidate",
        "media-state-changed",
        "ping",
    ];

    proptest! {
        #[test]
        fn no_argument_is_too_strange(packet in samples::packets(NAMES)) {
            let _ = asked(&packet);
            let _ = heard(&packet, |name, arguments| notify::decode(name, arguments, 16).is_ok());
        }
    }
}
