//! From text to commands.
//!
//! The object is first split into unread fields, then each is decoded as the request's type needs it. So a refusal
//! names the wrong field and carries the `requestId`, and fields that a type does not have are not decoded.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;

use crate::base::ids::is_name;
use crate::base::limits;
use crate::dialect::fields::{
    self, body, display_name, extra, fields, flag, label, limit, media, member_data, missing, name, portable, present,
    receipted, required, rewind, sfu, status, text, whole,
};
use crate::dialect::stream::{self, PieceFields};
use crate::domain::command::{
    Command, Draft, Has, HostAction, Join, MediaState, MessageTarget, Opaque, ReceiptKind, Signal, SignalTo,
};
use crate::domain::connection_mode::WantedMode;
use crate::domain::reject::{Code, Reject};

/// A command and its `requestId`.
#[derive(Debug, PartialEq)]
pub struct RawRequest<'a> {
    /// The `requestId`, as JSON.
    pub id: Option<Opaque<'a>>,
    /// The command.
    pub command: Command<'a>,
}

/// The refusal of a frame and its `requestId`.
#[derive(Debug, PartialEq)]
pub struct RawFault<'a> {
    /// The `requestId`, as JSON, if it could be read.
    pub id: Option<Opaque<'a>>,
    /// The refusal.
    pub reject: Reject,
}

fields! {
    kind = "type",
    request_id = "requestId",
    room_id = "roomId",
    peer_id = "peerId",
    display_name = "displayName",
    media_state = "mediaState",
    from_peer_id = "fromPeerId",
    to_peer_id = "toPeerId",
    to_user_id = "toUserId",
    offer = "offer",
    answer = "answer",
    candidate = "candidate",
    content = "content",
    event = "event",
    data = "data",
    message_type = "messageType",
    reply_to_id = "replyToId",
    attachment = "attachment",
    metadata = "metadata",
    status = "status",
    offset = "offset",
    is_typing = "isTyping",
    message_id = "messageId",
    message_ids = "messageIds",
    up_to = "upTo",
    rewind = "rewind",
    observe = "observe",
    token = "token",
    client_message_id = "clientMessageId",
    after = "after",
    limit = "limit",
    recovery_token = "recoveryToken",
    rooms = "rooms",
    own_messages = "ownMessages",
    host_secret = "hostSecret",
    user_id = "userId",
    is_locked = "isLocked",
    sfu = "sfu",
    mode = "mode",
    reason = "reason",
}

/// Reads one frame. `content_bytes` bounds a message's content.
pub fn decode(text: &str, content_bytes: usize) -> Result<RawRequest<'_>, RawFault<'_>> {
    let fields: Fields<'_> = fields::read(text).map_err(|error| {
        let reject = if error.is_data() {
            Reject::invalid("A message is a JSON object")
        } else {
            Reject::new(Code::BadJson, format!("Not valid JSON: {error}"))
        };
        RawFault { id: None, reject }
    })?;
    let id = request_id(&fields).map_err(|reject| RawFault { id: None, reject })?;
    match command(&fields, content_bytes) {
        Ok(command) => Ok(RawRequest { id, command }),
        Err(reject) => Err(RawFault { id, reject }),
    }
}

/// Reads an object of the type `kind`.
pub fn decode_as<'a>(kind: &str, text: &'a str, content_bytes: usize) -> Result<Command<'a>, Reject> {
    let fields: Fields<'_> = fields::read(text).map_err(|_| Reject::invalid(format!("{kind} takes an object")))?;
    command_of(kind, &fields, content_bytes)
}

fn request_id<'a>(fields: &Fields<'a>) -> Result<Option<Opaque<'a>>, Reject> {
    let Some(id) = present(fields.request_id) else { return Ok(None) };
    debug_assert!(!id.is_empty(), "invariant: unread JSON is not empty");
    let is_scalar = id.starts_with('"') || id.starts_with('-') || id.starts_with(|c: char| c.is_ascii_digit());
    if !is_scalar || id.len() > limits::REQUEST_ID_BYTES {
        return Err(Reject::invalid("requestId must be a string or a number of at most 256 bytes"));
    }
    Ok(Some(id))
}

fn command<'a>(fields: &Fields<'a>, content_bytes: usize) -> Result<Command<'a>, Reject> {
    let kind = required("type", text("type", fields.kind)?)?;
    command_of(&kind, fields, content_bytes)
}

fn command_of<'a>(kind: &str, fields: &Fields<'a>, content_bytes: usize) -> Result<Command<'a>, Reject> {
    let room = || name("roomId", fields.room_id).and_then(|room| required("roomId", room));
    let signal = |signal: Signal, field: &'static str, body: Option<Opaque<'a>>| {
        Ok(Command::Signal(SignalTo {
            room: room()?,
            from: name("fromPeerId", fields.from_peer_id)?,
            to: required("toPeerId", name("toPeerId", fields.to_peer_id)?)?,
            signal,
            body: portable(field, required(field, body)?, fields.is_portable)?,
        }))
    };
    let receipt = |kind| {
        let messages = receipted(fields.message_id, fields.message_ids, fields.up_to)?;
        Ok(Command::Receipt { room: room()?, messages, kind })
    };
    let host = |action| {
        let secret = label("hostSecret", fields.host_secret)?;
        Ok(Command::Host { room: room()?, action, secret })
    };
    match kind {
        "join-room" => join(fields, room()?),
        "leave-room" => Ok(Command::Leave {
            room: room()?,
            peer: name("peerId", fields.peer_id)?,
            secret: label("hostSecret", fields.host_secret)?,
        }),
        "close-room" => host(HostAction::Close),
        "lock-room" => host(HostAction::SetLocked(required("isLocked", flag("isLocked", fields.is_locked)?)?)),
        "remove-user" => host(HostAction::RemoveUser(required("userId", name("userId", fields.user_id)?)?)),
        "offer" => signal(Signal::Offer, "offer", present(fields.offer)),
        "answer" => signal(Signal::Answer, "answer", present(fields.answer)),
        // Browsers end the candidates with `null` (WebRTC §4.8.2).
        "ice-candidate" => signal(Signal::Candidate, "candidate", fields.candidate),
        "media-state-changed" => media_change(fields, room()?),
        "connection-failed" => failure(fields, room()?),
        "connection-mode" => host(HostAction::SetMode(wanted_mode(fields.mode)?)),
        "message" => message(fields, content_bytes),
        "message-edit" => revise(fields, room()?, Some(content_bytes)),
        "message-delete" => revise(fields, room()?, None),
        "message-append" => append(fields, room()?, content_bytes),
        "message-cancel" => stream::cancel(room()?, fields.message_id),
        "presence" => status(fields.status).map(Command::SetStatus),
        "typing" => {
            Ok(Command::Typing { room: room()?, is_typing: required("isTyping", flag("isTyping", fields.is_typing)?)? })
        }
        "read-receipt" => receipt(ReceiptKind::Read),
        "delivered" => receipt(ReceiptKind::Delivered),
        "authenticate" => Ok(Command::Authenticate { token: required("token", text("token", fields.token)?)? }),
        "ping" => Ok(Command::Ping),
        "history" => {
            Ok(Command::History { room: room()?, after: whole("after", fields.after)?, limit: limit(fields.limit)? })
        }
        "unread" => Ok(Command::Unread { room: room()? }),
        "receipts" => Ok(Command::Receipts {
            room: room()?,
            message: required("messageId", text("messageId", fields.message_id)?)?,
        }),
        "resume" => Ok(Command::Resume {
            token: required("recoveryToken", text("recoveryToken", fields.recovery_token)?)?,
            has: positions(fields.rooms)?,
            own_messages: flag("ownMessages", fields.own_messages)?.unwrap_or(false),
        }),
        other => {
            let shown: String = other.chars().take(limits::LABEL_BYTES).collect();
            Err(Reject::new(Code::UnknownType, format!("Unknown message type {shown:?}")))
        }
    }
}

fn join<'a>(fields: &Fields<'a>, room: Cow<'a, str>) -> Result<Command<'a>, Reject> {
    let (media, sfu) = (media(fields.media_state)?.unwrap_or_default(), sfu(fields.sfu)?.unwrap_or_default());
    Ok(Command::Join(Join {
        room,
        peer: name("peerId", fields.peer_id)?,
        display_name: display_name(fields.display_name)?,
        media: MediaState { sfu, ..media },
        rewind: rewind(fields.rewind)?,
        data: member_data(fields.data, fields.is_portable)?,
        is_observer: flag("observe", fields.observe)?.unwrap_or_default(),
        token: text("token", fields.token)?,
    }))
}

fn media_change<'a>(fields: &Fields<'a>, room: Cow<'a, str>) -> Result<Command<'a>, Reject> {
    let media = required("mediaState", media(fields.media_state)?)?;
    Ok(Command::Media { room, peer: name("peerId", fields.peer_id)?, media, sfu: sfu(fields.sfu)? })
}

fn append<'a>(fields: &Fields<'a>, room: Cow<'a, str>, content_bytes: usize) -> Result<Command<'a>, Reject> {
    let piece = PieceFields {
        message_id: fields.message_id,
        content: fields.content,
        data: fields.data,
        status: fields.status,
        offset: fields.offset,
        client_message_id: fields.client_message_id,
    };
    stream::append(room, piece, (content_bytes, fields.is_portable))
}

/// A change of a message: an edit with at most `content_bytes` of content, or a deletion.
fn revise<'a>(fields: &Fields<'a>, room: Cow<'a, str>, content_bytes: Option<usize>) -> Result<Command<'a>, Reject> {
    let message = required("messageId", text("messageId", fields.message_id)?)?;
    let draft = content_bytes.map(|bytes| draft(fields, bytes)).transpose()?;
    Ok(Command::Revise { room, message, draft })
}

/// The reason is for the logs of clients.
fn failure<'a>(fields: &Fields<'a>, room: Cow<'a, str>) -> Result<Command<'a>, Reject> {
    label("reason", fields.reason)?;
    Ok(Command::ReportFailure { room, peer: required("toPeerId", name("toPeerId", fields.to_peer_id)?)? })
}

fn wanted_mode(value: Option<&str>) -> Result<WantedMode, Reject> {
    let mode = required("mode", text("mode", value)?)?;
    WantedMode::parse(&mode).ok_or_else(|| Reject::invalid("mode must be one of auto, p2p, sfu"))
}

fn target<'a>(fields: &Fields<'a>) -> Result<MessageTarget<'a>, Reject> {
    let room = name("roomId", fields.room_id)?;
    let peer = name("toPeerId", fields.to_peer_id)?;
    let user = name("toUserId", fields.to_user_id)?;
    match (room, peer, user) {
        (Some(room), None, None) => Ok(MessageTarget::Room(room)),
        (Some(room), Some(peer), None) => Ok(MessageTarget::Peer { room, peer }),
        (None, None, Some(user)) => Ok(MessageTarget::User(user)),
        (None, Some(_), None) => Err(missing("roomId")),
        (None, None, None) => Err(Reject::invalid("A message needs roomId or toUserId")),
        (_, _, Some(_)) => Err(Reject::invalid("A message goes to roomId or to toUserId, not to both")),
    }
}

fn message<'a>(fields: &Fields<'a>, content_bytes: usize) -> Result<Command<'a>, Reject> {
    let (target, draft) = (target(fields)?, draft(fields, content_bytes)?);
    if draft.is_stream && !matches!(target, MessageTarget::Room(_)) {
        return Err(Reject::invalid("Only a message to a whole room can be a stream"));
    }
    Ok(Command::Send { target, draft })
}

fn draft<'a>(fields: &Fields<'a>, content_bytes: usize) -> Result<Draft<'a>, Reject> {
    let (content, event) = body(fields.event, fields.data, fields.content, (content_bytes, fields.is_portable))?;
    Ok(Draft {
        content,
        event,
        kind: label("messageType", fields.message_type)?,
        reply_to: label("replyToId", fields.reply_to_id)?,
        attachment: extra("attachment", fields.attachment, fields.is_portable)?,
        metadata: extra("metadata", fields.metadata, fields.is_portable)?,
        client_message_id: label("clientMessageId", fields.client_message_id)?,
        is_stream: stream::opens(fields.status, content)?,
    })
}

/// `{roomId: {epoch, seq}}`
fn positions(value: Option<&str>) -> Result<Vec<Has>, Reject> {
    #[derive(Deserialize)]
    struct RoomPosition {
        epoch: String,
        seq: u64,
    }
    let Some(json) = present(value) else { return Ok(Vec::new()) };
    let rooms: BTreeMap<String, RoomPosition> =
        serde_json::from_str(json).map_err(|_| Reject::invalid("rooms must be an object of {epoch, seq} by roomId"))?;
    let has = |(room, position): (String, RoomPosition)| {
        let is_sound = is_name(&room) && position.epoch.len() <= limits::LABEL_BYTES;
        let invalid = || Reject::invalid("rooms must be an object of {epoch, seq} by roomId");
        is_sound.then_some(()).ok_or_else(invalid)?;
        Ok(Has { room: room.into(), epoch: position.epoch.into(), seq: position.seq })
    };
    rooms.into_iter().map(has).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> (Code, String) {
        let fault = decode(text, 16).expect_err(text);
        (fault.reject.code, fault.reject.text.into_owned())
    }

    #[test]
    fn a_join_is_read_to_the_letter() {
        let text = r#"{"type":"join-room","roomId":"abc123","peerId":"p\u00e9er","displayName":"John Doe",
            "mediaState":{"audio":true,"video":false,"screen":false},"timestamp":1234567890,"requestId":7}"#;
        let request = decode(text, 16).expect("it is a join");
        let media = MediaState { audio: true, ..MediaState::default() };
        assert_eq!(request.id, Some("7"));
        let peer = Some("péer".into());
        let display_name = Some("John Doe".into());
        let join = Join {
            room: "abc123".into(),
            peer,
            display_name,
            media,
            rewind: 0,
            data: None,
            is_observer: false,
            token: None,
        };
        assert_eq!(request.command, Command::Join(join));
    }

    #[test]
    fn signaling_bodies_are_not_read() {
        let body = r#"{ "type" :"offer",  "sdp":"v=0\r\n\u00e9" }"#;
        let text = format!(r#"{{"type":"offer","roomId":"r","fromPeerId":"a","toPeerId":"b","offer":{body}}}"#);
        let Command::Signal(signal) = decode(&text, 16).expect("it is an offer").command else { panic!("an offer") };
        assert_eq!(signal.body, body);
        assert_eq!((signal.from.as_deref(), signal.to.as_ref()), (Some("a"), "b"));
    }

    #[test]
    fn candidate_null_ends_the_candidates() {
        let text = r#"{"type":"ice-candidate","roomId":"r","toPeerId":"b","candidate":null}"#;
        let Ok(RawRequest { command: Command::Signal(signal), .. }) = decode(text, 16) else { panic!("a candidate") };
        assert_eq!((signal.signal, signal.body), (Signal::Candidate, "null"));
        let absent = r#"{"type":"ice-candidate","roomId":"r","toPeerId":"b"}"#;
        assert_eq!(refusal(absent).1, "candidate is missing");
        assert_eq!(refusal(&text.replace("ice-candidate", "offer")).1, "offer is missing");
    }

    #[test]
    fn a_refusal_names_the_field_and_the_request() {
        let fault = decode(r#"{"requestId":"x","type":"typing","roomId":"r","isTyping":1}"#, 16).expect_err("a fault");
        assert_eq!(fault.id, Some(r#""x""#));
        assert_eq!(fault.reject.text, "isTyping must be true or false");
        assert_eq!(refusal("{").0, Code::BadJson);
        assert_eq!(refusal("[]").0, Code::InvalidMessage);
        assert_eq!(refusal(r#"{"type":"dance"}"#), (Code::UnknownType, r#"Unknown message type "dance""#.into()));
        assert_eq!(refusal(r#"{"type":"join-room"}"#), (Code::InvalidMessage, "roomId is missing".into()));
        assert_eq!(refusal(r#"{"type":"ping","requestId":{}}"#).0, Code::InvalidMessage);
        assert_eq!(refusal(r#"{"type":"presence","status":"asleep"}"#).0, Code::InvalidMessage);
    }

    #[test]
    fn contents_are_counted_without_their_escapes() {
        let message = |content: &str| format!(r#"{{"type":"message","roomId":"r","content":{content}}}"#);
        assert!(decode(&message(r#""\n\n\n\n\n\n\n\n\n\n""#), 16).is_ok());
        assert_eq!(refusal(&message(r#""12345678901234567""#)).0, Code::MessageTooLarge);
        assert!(decode(&message("[1,2,3,4,5]"), 16).is_ok());
        assert_eq!(refusal(&message("[1,2,3,4,5,6,7,8,9]")).0, Code::MessageTooLarge);
    }

    #[test]
    fn a_message_has_one_target() {
        let with = |fields: &str| format!(r#"{{"type":"message","content":"x",{fields}}}"#);
        fn target(text: &str) -> Option<MessageTarget<'_>> {
            match decode(text, 16).map(|request| request.command) {
                Ok(Command::Send { target, .. }) => Some(target),
                _ => None,
            }
        }
        assert_eq!(target(&with(r#""roomId":"r""#)), Some(MessageTarget::Room("r".into())));
        assert_eq!(target(&with(r#""toUserId":"u""#)), Some(MessageTarget::User("u".into())));
        let peer = MessageTarget::Peer { room: "r".into(), peer: "p".into() };
        assert_eq!(target(&with(r#""toPeerId":"p","roomId":"r""#)), Some(peer));
        for fields in [r#""toPeerId":"p""#, r#""toUserId":"u","roomId":"r""#, r#""x":1"#] {
            assert_eq!(target(&with(fields)), None, "{fields}");
        }
    }
}
