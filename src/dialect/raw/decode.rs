//! From text to commands.
//!
//! Each field is first taken as unread JSON, then read as the request's type wants it. So an error can say which field
//! was wrong, carry the `requestId` even then, and fields that a type does not have may be anything.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::base::ids::is_name;
use crate::base::limits;
use crate::codec::json::scan;
use crate::domain::command::{
    Command, Draft, Has, Join, MediaState, Opaque, Receipt, Signal, SignalTo, Status, Target,
};
use crate::domain::history::PAGE_MAX;
use crate::domain::reject::{Code, Reject};

/// A command, and what its sender calls it.
#[derive(Debug, PartialEq)]
pub struct Request<'a> {
    /// The `requestId`, as JSON.
    pub id: Option<Opaque<'a>>,
    /// The wish.
    pub command: Command<'a>,
}

/// What was wrong with a frame, and what its sender calls it.
#[derive(Debug, PartialEq)]
pub struct Fault<'a> {
    /// The `requestId`, as JSON, if it could be read.
    pub id: Option<Opaque<'a>>,
    /// What was wrong.
    pub reject: Reject,
}

macro_rules! fields {
    ($($field:ident = $name:literal),+ $(,)?) => {
        /// Every field of every message, unread.
        #[derive(Default)]
        struct Fields<'a> { $($field: Option<&'a str>),+ }

        impl<'a> Fields<'a> {
            fn set(&mut self, name: &str, value: &'a str) {
                match name {
                    $($name => self.$field = Some(value),)+
                    _ => {}
                }
            }
        }
    };
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
    message_type = "messageType",
    reply_to_id = "replyToId",
    attachment = "attachment",
    metadata = "metadata",
    status = "status",
    is_typing = "isTyping",
    message_id = "messageId",
    token = "token",
    client_message_id = "clientMessageId",
    after = "after",
    limit = "limit",
    recovery_token = "recoveryToken",
    rooms = "rooms",
}

impl<'a> Fields<'a> {
    /// Takes a message apart.
    fn read(text: &'a str) -> Result<Self, serde_json::Error> {
        let mut fields = Self::default();
        match scan::fields(text, |name, value| fields.set(name, value)) {
            Some(()) => Ok(fields),
            None => serde_json::from_str(text),
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(FieldsVisitor)
    }
}

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = Fields<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object with a type")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
        let mut fields = Fields::default();
        while let Some(name) = map.next_key::<String>()? {
            fields.set(&name, map.next_value::<&RawValue>()?.get());
        }
        Ok(fields)
    }
}

/// Reads one frame. `content_bytes` bounds a message's content.
pub fn decode(text: &str, content_bytes: usize) -> Result<Request<'_>, Fault<'_>> {
    let fields = Fields::read(text).map_err(|error| {
        let reject = if error.is_data() {
            Reject::invalid("A message is a JSON object")
        } else {
            Reject::new(Code::BadJson, format!("Not valid JSON: {error}"))
        };
        Fault { id: None, reject }
    })?;
    let id = request_id(&fields).map_err(|reject| Fault { id: None, reject })?;
    match command(&fields, content_bytes) {
        Ok(command) => Ok(Request { id, command }),
        Err(reject) => Err(Fault { id, reject }),
    }
}

fn request_id<'a>(fields: &Fields<'a>) -> Result<Option<Opaque<'a>>, Reject> {
    let Some(id) = present(fields.request_id) else { return Ok(None) };
    let is_scalar = id.starts_with('"') || id.starts_with('-') || id.starts_with(|c: char| c.is_ascii_digit());
    if !is_scalar || id.len() > limits::REQUEST_ID_BYTES {
        return Err(Reject::invalid("requestId must be a string or a number of at most 256 bytes"));
    }
    Ok(Some(id))
}

fn command<'a>(fields: &Fields<'a>, content_bytes: usize) -> Result<Command<'a>, Reject> {
    let kind = required("type", text("type", fields.kind)?)?;
    let room = || name("roomId", fields.room_id).and_then(|room| required("roomId", room));
    let signal = |signal: Signal, field: &'static str, body: Option<&'a str>| {
        Ok(Command::Signal(SignalTo {
            room: room()?,
            from: name("fromPeerId", fields.from_peer_id)?,
            to: required("toPeerId", name("toPeerId", fields.to_peer_id)?)?,
            signal,
            body: required(field, present(body))?,
        }))
    };
    let receipt = |kind| {
        let message = required("messageId", text("messageId", fields.message_id)?)?;
        Ok(Command::Receipt { room: room()?, message, kind })
    };
    match kind.as_ref() {
        "join-room" => Ok(Command::Join(Join {
            room: room()?,
            peer: name("peerId", fields.peer_id)?,
            display_name: display_name(fields.display_name)?,
            media: media(fields.media_state)?.unwrap_or_default(),
        })),
        "leave-room" => Ok(Command::Leave { room: room()?, peer: name("peerId", fields.peer_id)? }),
        "offer" => signal(Signal::Offer, "offer", fields.offer),
        "answer" => signal(Signal::Answer, "answer", fields.answer),
        "ice-candidate" => signal(Signal::Candidate, "candidate", fields.candidate),
        "media-state-changed" => Ok(Command::Media {
            room: room()?,
            peer: name("peerId", fields.peer_id)?,
            media: required("mediaState", media(fields.media_state)?)?,
        }),
        "message" => Ok(Command::Send { target: target(fields)?, draft: draft(fields, content_bytes)? }),
        "presence" => status(fields.status).map(Command::SetStatus),
        "typing" => {
            Ok(Command::Typing { room: room()?, is_typing: required("isTyping", flag("isTyping", fields.is_typing)?)? })
        }
        "read-receipt" => receipt(Receipt::Read),
        "delivered" => receipt(Receipt::Delivered),
        "authenticate" => Ok(Command::Authenticate { token: required("token", text("token", fields.token)?)? }),
        "ping" => Ok(Command::Ping),
        "history" => {
            Ok(Command::History { room: room()?, after: whole("after", fields.after)?, limit: limit(fields.limit)? })
        }
        "receipts" => Ok(Command::Receipts {
            room: room()?,
            message: required("messageId", text("messageId", fields.message_id)?)?,
        }),
        "resume" => Ok(Command::Resume {
            token: required("recoveryToken", text("recoveryToken", fields.recovery_token)?)?,
            has: positions(fields.rooms)?,
        }),
        other => {
            let shown: String = other.chars().take(limits::LABEL_BYTES).collect();
            Err(Reject::new(Code::UnknownType, format!("Unknown message type {shown:?}")))
        }
    }
}

fn target<'a>(fields: &Fields<'a>) -> Result<Target<'a>, Reject> {
    let room = name("roomId", fields.room_id)?;
    let peer = name("toPeerId", fields.to_peer_id)?;
    let user = name("toUserId", fields.to_user_id)?;
    match (room, peer, user) {
        (Some(room), None, None) => Ok(Target::Room(room)),
        (Some(room), Some(peer), None) => Ok(Target::Peer { room, peer }),
        (None, None, Some(user)) => Ok(Target::User(user)),
        (None, Some(_), None) => Err(missing("roomId")),
        (None, None, None) => Err(Reject::invalid("A message needs roomId or toUserId")),
        (_, _, Some(_)) => Err(Reject::invalid("A message goes to roomId or to toUserId, not to both")),
    }
}

fn draft<'a>(fields: &Fields<'a>, content_bytes: usize) -> Result<Draft<'a>, Reject> {
    let content = required("content", present(fields.content))?;
    if !content.starts_with('"') && present(fields.to_user_id).is_none() {
        return Err(Reject::invalid("content must be a string"));
    }
    if is_longer(content, content_bytes) {
        let text = format!("content is larger than {content_bytes} bytes");
        return Err(Reject::new(Code::MessageTooLarge, text));
    }
    let extra = |field: &str, value: Option<&'a str>| match present(value) {
        Some(json) if json.len() > limits::EXTRA_BYTES => {
            let text = format!("{field} is larger than {} bytes", limits::EXTRA_BYTES);
            Err(Reject::new(Code::MessageTooLarge, text))
        }
        other => Ok(other),
    };
    Ok(Draft {
        content,
        kind: label("messageType", fields.message_type)?,
        reply_to: label("replyToId", fields.reply_to_id)?,
        attachment: extra("attachment", fields.attachment)?,
        metadata: extra("metadata", fields.metadata)?,
        client_message_id: label("clientMessageId", fields.client_message_id)?,
    })
}

/// Whether a content has more than `bytes` bytes: a string's text is counted, not its escapes.
fn is_longer(content: &str, bytes: usize) -> bool {
    if content.len() <= bytes.saturating_add(2) {
        return false;
    }
    match serde_json::from_str::<Cow<'_, str>>(content) {
        Ok(text) => text.len() > bytes,
        Err(_) => true,
    }
}

fn status(value: Option<&str>) -> Result<Status, Reject> {
    let status = required("status", text("status", value)?)?;
    Status::parse(&status).ok_or_else(|| Reject::invalid("status must be one of online, away, busy, offline"))
}

fn media(value: Option<&str>) -> Result<Option<MediaState>, Reject> {
    #[derive(Deserialize)]
    struct Media {
        #[serde(default)]
        audio: bool,
        #[serde(default)]
        video: bool,
        #[serde(default)]
        screen: bool,
    }
    let Some(json) = present(value) else { return Ok(None) };
    match serde_json::from_str::<Media>(json) {
        Ok(Media { audio, video, screen }) => Ok(Some(MediaState { audio, video, screen })),
        Err(_) => Err(Reject::invalid("mediaState must be an object of the booleans audio, video and screen")),
    }
}

fn whole(field: &str, value: Option<&str>) -> Result<Option<u64>, Reject> {
    let Some(json) = present(value) else { return Ok(None) };
    json.parse().map(Some).map_err(|_| Reject::invalid(format!("{field} must be a whole number that is not negative")))
}

fn limit(value: Option<&str>) -> Result<Option<usize>, Reject> {
    let range = 1..=PAGE_MAX as u64;
    match whole("limit", value) {
        Ok(Some(limit)) if range.contains(&limit) => Ok(Some(limit as usize)),
        Ok(None) => Ok(None),
        _ => Err(Reject::invalid(format!("limit must be a whole number from 1 to {PAGE_MAX}"))),
    }
}

/// `{roomId: {epoch, seq}}`
fn positions(value: Option<&str>) -> Result<Vec<Has>, Reject> {
    #[derive(Deserialize)]
    struct Position {
        epoch: String,
        seq: u64,
    }
    let Some(json) = present(value) else { return Ok(Vec::new()) };
    let rooms: BTreeMap<String, Position> =
        serde_json::from_str(json).map_err(|_| Reject::invalid("rooms must be an object of {epoch, seq} by roomId"))?;
    let has = |(room, position): (String, Position)| {
        let is_sound = is_name(&room) && position.epoch.len() <= limits::LABEL_BYTES;
        let invalid = || Reject::invalid("rooms must be an object of {epoch, seq} by roomId");
        is_sound.then_some(()).ok_or_else(invalid)?;
        Ok(Has { room: room.into(), epoch: position.epoch.into(), seq: position.seq })
    };
    rooms.into_iter().map(has).collect()
}

fn present<'a>(value: Option<&'a str>) -> Option<Opaque<'a>> {
    value.filter(|json| *json != "null")
}

fn required<T>(field: &str, value: Option<T>) -> Result<T, Reject> {
    value.ok_or_else(|| missing(field))
}

fn missing(field: &str) -> Reject {
    Reject::invalid(format!("{field} is missing"))
}

fn text<'a>(field: &str, value: Option<&'a str>) -> Result<Option<Cow<'a, str>>, Reject> {
    let Some(json) = present(value) else { return Ok(None) };
    if !json.starts_with('"') {
        return Err(Reject::invalid(format!("{field} must be a string")));
    }
    let inner = &json[1..json.len() - 1];
    if !inner.contains('\\') {
        return Ok(Some(Cow::Borrowed(inner)));
    }
    match serde_json::from_str::<String>(json) {
        Ok(text) => Ok(Some(Cow::Owned(text))),
        Err(_) => Err(Reject::invalid(format!("{field} is not valid Unicode"))),
    }
}

fn name<'a>(field: &str, value: Option<&'a str>) -> Result<Option<Cow<'a, str>>, Reject> {
    let text = text(field, value)?;
    if text.as_deref().is_some_and(|text| !is_name(text)) {
        return Err(Reject::invalid(format!("{field} must have 1 to 128 bytes and no control characters")));
    }
    Ok(text)
}

fn label<'a>(field: &str, value: Option<&'a str>) -> Result<Option<Cow<'a, str>>, Reject> {
    let text = text(field, value)?;
    if text.as_deref().is_some_and(|text| text.len() > limits::LABEL_BYTES) {
        return Err(Reject::invalid(format!("{field} must have at most {} bytes", limits::LABEL_BYTES)));
    }
    Ok(text)
}

fn display_name<'a>(value: Option<&'a str>) -> Result<Option<Cow<'a, str>>, Reject> {
    let text = text("displayName", value)?;
    if text.as_deref().is_some_and(|text| text.len() > limits::DISPLAY_NAME_BYTES) {
        return Err(Reject::invalid(format!("displayName must have at most {} bytes", limits::DISPLAY_NAME_BYTES)));
    }
    Ok(text.filter(|text| !text.is_empty()))
}

fn flag(field: &str, value: Option<&str>) -> Result<Option<bool>, Reject> {
    match present(value) {
        None => Ok(None),
        Some("true") => Ok(Some(true)),
        Some("false") => Ok(Some(false)),
        Some(_) => Err(Reject::invalid(format!("{field} must be true or false"))),
    }
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
        let join = Join { room: "abc123".into(), peer, display_name: Some("John Doe".into()), media };
        assert_eq!(request.command, Command::Join(join));
    }

    #[test]
    fn signaling_bodies_are_not_read() {
        let body = r#"{ "type" :"offer",  "sdp":"v=0\r\n\ud800" }"#;
        let text = format!(r#"{{"type":"offer","roomId":"r","fromPeerId":"a","toPeerId":"b","offer":{body}}}"#);
        let Command::Signal(signal) = decode(&text, 16).expect("it is an offer").command else { panic!("an offer") };
        assert_eq!(signal.body, body);
        assert_eq!((signal.from.as_deref(), signal.to.as_ref()), (Some("a"), "b"));
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
        assert_eq!(refusal(&message("5")).0, Code::InvalidMessage);
    }

    #[test]
    fn a_message_has_one_target() {
        let with = |fields: &str| format!(r#"{{"type":"message","content":"x",{fields}}}"#);
        fn target(text: &str) -> Option<Target<'_>> {
            match decode(text, 16).map(|request| request.command) {
                Ok(Command::Send { target, .. }) => Some(target),
                _ => None,
            }
        }
        assert_eq!(target(&with(r#""roomId":"r""#)), Some(Target::Room("r".into())));
        assert_eq!(target(&with(r#""toUserId":"u""#)), Some(Target::User("u".into())));
        let peer = Target::Peer { room: "r".into(), peer: "p".into() };
        assert_eq!(target(&with(r#""toPeerId":"p","roomId":"r""#)), Some(peer));
        for fields in [r#""toPeerId":"p""#, r#""toUserId":"u","roomId":"r""#, r#""x":1"#] {
            assert_eq!(target(&with(fields)), None, "{fields}");
        }
    }
}
