//! Calls of an application's backend: messages published to rooms, users or everybody, and the messages of a room.
//!
//! Bodies are strict: an unknown field is refused by name, because a mistyped field of a backend would be lost silently.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::decode::{distinct, read};
use super::{RestCall, RestRefusal, search};
use crate::base::Name;
use crate::base::ids::{ConnectionId, is_name};
use crate::base::limits;
use crate::base::time::rfc3339;
use crate::codec::http::query_value;
use crate::codec::json::{self, Object};
use crate::dialect::fields::check_portable;
use crate::dialect::stream;
use crate::domain::event::{Content, Message, Revision, StreamStatus};
use crate::domain::history::{History, HistoryRange, PAGE_DEFAULT, PAGE_MAX};
use crate::domain::op::{Publication, PushResult, Reply, Sent};
use crate::domain::query::PartialResult;
use crate::domain::reject::Reject;

/// The event of a message that names none.
const DEFAULT_EVENT: &str = "message";

/// A message of a backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publish {
    /// Its receivers.
    pub target: PublishTarget,
    /// The message.
    pub content: Content,
    /// A connection that does not receive it.
    pub except: Option<ConnectionId>,
    /// A repeated call with this key publishes nothing and gets the first answer.
    pub idempotency_key: Option<Box<str>>,
    /// Whether it opens a stream.
    pub is_stream: bool,
    /// Whether it is stored for users until they have received it.
    pub keep: bool,
    /// Whether it is for the present members of rooms only, and not stored.
    pub is_momentary: bool,
}

/// A piece of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppendedPiece {
    /// Its text, as JSON.
    pub body: Box<str>,
    /// The stream's status with it.
    pub status: StreamStatus,
    /// The length of the text before it.
    pub offset: Option<u32>,
}

/// The receivers of a backend's message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PublishTarget {
    /// The members of rooms, each once.
    Rooms(Vec<Name>),
    /// The connections of users, each once.
    Users(Vec<Name>),
    /// All connections.
    All,
}

impl PublishTarget {
    /// The rooms, if there are no other receivers.
    pub fn rooms(&self) -> Option<&[Name]> {
        match self {
            Self::Rooms(rooms) => Some(rooms),
            Self::Users(_) | Self::All => None,
        }
    }

    /// The number of rooms or users.
    pub fn count(&self) -> usize {
        match self {
            Self::Rooms(names) | Self::Users(names) => names.len(),
            Self::All => 1,
        }
    }
}

/// The body of `POST /api/v1/publish`, unread.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct PublishBody<'a> {
    #[serde(borrow)]
    rooms: Option<&'a RawValue>,
    #[serde(borrow)]
    users: Option<&'a RawValue>,
    #[serde(borrow)]
    all: Option<&'a RawValue>,
    #[serde(borrow)]
    event: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "some")]
    data: Option<&'a RawValue>,
    #[serde(borrow)]
    exclude: Option<&'a RawValue>,
    #[serde(borrow)]
    idempotency_key: Option<&'a RawValue>,
    #[serde(borrow)]
    status: Option<&'a RawValue>,
    #[serde(borrow)]
    keep: Option<&'a RawValue>,
    #[serde(borrow)]
    history: Option<&'a RawValue>,
}

/// The body of `POST /api/v1/rooms/:roomId/messages/:messageId/append`, unread.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AppendBody<'a> {
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    #[serde(borrow)]
    status: Option<&'a RawValue>,
    #[serde(borrow)]
    offset: Option<&'a RawValue>,
}

/// A piece of a stream.
pub(super) fn append(body: &AppendBody<'_>) -> Result<AppendedPiece, Reject> {
    let [data, status, offset] = [body.data, body.status, body.offset].map(|value| value.map(RawValue::get));
    let piece = stream::piece((None, data), status, offset, (usize::MAX, false))?;
    Ok(AppendedPiece { body: piece.body.into(), status: piece.status, offset: piece.offset })
}

/// The body of `PATCH /api/v1/rooms/:roomId/messages/:messageId`, unread.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EditBody<'a> {
    #[serde(borrow, default, deserialize_with = "some")]
    data: Option<&'a RawValue>,
    #[serde(borrow)]
    attachment: Option<&'a RawValue>,
    #[serde(borrow)]
    metadata: Option<&'a RawValue>,
}

/// The new content of a message.
pub(super) fn edit(body: &EditBody<'_>) -> Result<Content, Reject> {
    let data = body.data.ok_or_else(|| Reject::invalid("data is missing"))?.get();
    check_portable("data", data)?;
    let extra = |field, value: Option<&RawValue>| -> Result<Option<Box<str>>, Reject> {
        let Some(json) = value.map(RawValue::get) else { return Ok(None) };
        check_portable(field, json)?;
        if json.len() > limits::EXTRA_BYTES {
            return Err(Reject::invalid(format!("{field} must have at most {} bytes", limits::EXTRA_BYTES)));
        }
        Ok(Some(json.into()))
    };
    Ok(Content {
        body: data.into(),
        event: None,
        kind: None,
        reply_to: None,
        attachment: extra("attachment", body.attachment)?,
        metadata: extra("metadata", body.metadata)?,
    })
}

/// A value that is there, even if it is `null`.
fn some<'a, 'de: 'a, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'a RawValue>, D::Error> {
    <&'a RawValue>::deserialize(deserializer).map(Some)
}

pub(super) fn publish(body: PublishBody<'_>) -> Result<Publish, Reject> {
    let label = format!("a string of 1 to {} bytes", limits::EVENT_BYTES);
    let text =
        |field, value| read::<Box<str>>(field, value, &label, |text| (1..=limits::EVENT_BYTES).contains(&text.len()));
    let is_id = |text: &String| ConnectionId::parse(text).is_some();
    let except = read::<String>("exclude", body.exclude, "a connection's id", is_id)?;
    let data = body.data.ok_or_else(|| Reject::invalid("data is missing"))?;
    check_portable("data", data.get())?;
    let is_stream = opens_stream(&body, data.get())?;
    let (keep, is_momentary) = storing(&body, is_stream)?;
    let content = Content {
        body: data.get().into(),
        event: text("event", body.event)?.filter(|event| &**event != DEFAULT_EVENT),
        kind: None,
        reply_to: None,
        attachment: None,
        metadata: None,
    };
    Ok(Publish {
        target: target(&body)?,
        content,
        except: except.and_then(|text| ConnectionId::parse(&text)),
        idempotency_key: text("idempotencyKey", body.idempotency_key)?,
        is_stream,
        keep,
        is_momentary,
    })
}

/// Whether a message is kept for users, and whether it stays out of the history of rooms.
fn storing(body: &PublishBody<'_>, is_stream: bool) -> Result<(bool, bool), Reject> {
    let read = |field, value| read::<bool>(field, value, "true or false", |_| true);
    let (keep, history) = (read("keep", body.keep)?.unwrap_or_default(), read("history", body.history)?);
    let text = match (keep, history) {
        (true, _) if body.users.is_none() => "Only a message to users can be kept for them",
        (_, Some(false)) if body.rooms.is_none() => "Only a message to rooms has a history",
        (_, Some(false)) if is_stream => "A stream needs a history",
        _ => return Ok((keep, history == Some(false))),
    };
    Err(Reject::invalid(text))
}

/// Whether a message opens a stream: only one to rooms can.
fn opens_stream(body: &PublishBody<'_>, data: &str) -> Result<bool, Reject> {
    let is_stream = read::<String>("status", body.status, "\"streaming\"", |status| status == "streaming")?.is_some();
    if is_stream && !data.starts_with('"') {
        return Err(Reject::invalid("The data of a stream must be a string"));
    }
    if is_stream && body.rooms.is_none() {
        return Err(Reject::invalid("Only a message to rooms can be a stream"));
    }
    Ok(is_stream)
}

fn target(body: &PublishBody<'_>) -> Result<PublishTarget, Reject> {
    let names = |field: &str, value| {
        let wanted = format!("a list of 1 to {} ids", limits::PUBLISHED_TARGETS);
        read::<Vec<Name>>(field, value, &wanted, |names| {
            (1..=limits::PUBLISHED_TARGETS).contains(&names.len()) && names.iter().all(|name| is_name(name))
        })
    };
    let all = read::<bool>("all", body.all, "true", |all| *all)?;
    match (names("rooms", body.rooms)?, names("users", body.users)?, all) {
        (Some(rooms), None, None) => Ok(PublishTarget::Rooms(distinct(rooms))),
        (None, Some(users), None) => Ok(PublishTarget::Users(distinct(users))),
        (None, None, Some(_)) => Ok(PublishTarget::All),
        (None, None, None) => Err(Reject::invalid("One of rooms, users and all is needed")),
        _ => Err(Reject::invalid("Only one of rooms, users and all can be given")),
    }
}

impl RestCall {
    /// The call with the key of the header `Idempotency-Key`, if it is one that can be repeated. In a batch it is the key of each
    /// message that has none, together with the message's place.
    ///
    /// # Errors
    /// The key is too long, or not the one in the body.
    pub fn with_idempotency_key(mut self, header: Option<&str>) -> Result<Self, RestRefusal> {
        let Some(key) = header.map(|key| key.trim_matches('"')) else { return Ok(self) };
        let check = || match (1..=limits::EVENT_BYTES).contains(&key.len()) {
            true => Ok(()),
            false => {
                Err(Reject::invalid(format!("Idempotency-Key must be a text of 1 to {} bytes", limits::EVENT_BYTES)))
            }
        };
        match &mut self {
            Self::Publish(publish) => {
                check()?;
                if publish.idempotency_key.get_or_insert_with(|| key.into()).as_ref() != key {
                    return Err(Reject::invalid("idempotencyKey differs from the header Idempotency-Key").into());
                }
            }
            Self::Batch(batch) => {
                check()?;
                for (at, message) in batch.messages.iter_mut().enumerate() {
                    message.idempotency_key.get_or_insert_with(|| format!("{key}\n{at}").into());
                }
            }
            call if call.is_push() => check()?,
            _ => {}
        }
        Ok(self)
    }

    /// Whether it pushes a message to users or to all connections, without being a publication.
    pub fn is_push(&self) -> bool {
        matches!(
            self,
            Self::Broadcast(_)
                | Self::PushToAll(_)
                | Self::PushToUser { .. }
                | Self::PushToUsers { .. }
                | Self::Notify { .. }
        )
    }
}

/// Reads the range of messages from a query: those after a sequence number, those before one, those between two, or else the
/// newest.
pub fn messages_range(query: Option<&str>) -> Result<HistoryRange, Reject> {
    let number = |name: &str| -> Result<Option<u64>, Reject> {
        let wrong = || Reject::invalid(format!("{name} must be a whole number from 0 to {}", limits::SEQ_MAX));
        let parse =
            |text: Cow<'_, str>| text.parse().ok().filter(|number| *number <= limits::SEQ_MAX).ok_or_else(wrong);
        query.and_then(|query| query_value(query, name)).map(parse).transpose()
    };
    let limit = number("limit")?.unwrap_or(PAGE_DEFAULT as u64);
    if !(1..=PAGE_MAX as u64).contains(&limit) {
        return Err(Reject::invalid(format!("limit must be a whole number from 1 to {PAGE_MAX}")));
    }
    let (after, Some(before)) = (number("after")?, number("before")?) else {
        return Ok(HistoryRange { after: number("after")?, limit: limit as usize });
    };
    // Sequence numbers have no gaps.
    let last = before.saturating_sub(1);
    let count = limit.min(last.saturating_sub(after.unwrap_or(0)));
    Ok(match after {
        _ if count == 0 => HistoryRange { after: Some(limits::SEQ_MAX), limit: 1 },
        Some(after) => HistoryRange { after: Some(after), limit: count as usize },
        None => HistoryRange { after: Some(last - count), limit: count as usize },
    })
}

/// The answer to a message that was published to rooms: its receipt in each room, or the refusal. `first` is the part of the first
/// room.
pub(super) fn published(out: &mut Vec<u8>, rooms: &[Name], first: u16, outcomes: &[Publication]) {
    let outcome = |part: u16| outcomes.iter().find(|one| one.part == part).map(|one| &one.outcome);
    let parts = first..first + rooms.len() as u16;
    let mut object = Object::begin(out);
    object.bool("success", parts.clone().all(|part| outcome(part).is_some_and(Result::is_ok)));
    object.list("rooms", rooms.iter().zip(parts), |out, (room, part)| {
        let mut object = Object::begin(out);
        object.string("roomId", room);
        let unavailable = Reject::storage_unavailable();
        match outcome(part) {
            Some(Ok((sent, epoch))) => receipt(&mut object, sent, epoch),
            Some(Err(reject)) => refusal(&mut object, reject),
            // The owner of the room did not store the message.
            None => refusal(&mut object, &unavailable),
        }
        object.end();
    });
    object.end();
}

pub(super) fn receipt(object: &mut Object<'_>, sent: &Sent, epoch: &str) {
    object.plain("id", sent.id.hyphenated().encode_lower(&mut uuid::Uuid::encode_buffer()));
    if let Some(seq) = sent.seq {
        object.number("seq", seq);
    }
    object.string("epoch", epoch).string("timestamp", &rfc3339(sent.at));
}

pub(super) fn refusal(object: &mut Object<'_>, reject: &Reject) {
    object.string("error", &reject.text).plain("code", reject.code.as_str());
}

/// The answer to a message that was published to users or all connections.
pub(super) fn pushed(out: &mut Vec<u8>, to: &PushResult) {
    let mut object = Object::begin(out);
    object.bool("success", true).number("delivered", to.reached as u64);
    object.list("offline", &to.offline, |out, user| json::string(out, user)).end();
}

/// The messages of a room.
pub(super) fn messages(out: &mut Vec<u8>, history: &History) {
    let mut object = Object::begin(out);
    object.string("roomId", &history.room).string("epoch", &history.epoch).number("seq", history.seq);
    object.bool("complete", history.complete).list("messages", &history.messages, message).end();
}

fn message(out: &mut Vec<u8>, message: &Message) {
    let content = &message.content;
    let mut object = Object::begin(out);
    object.plain("id", message.id.hyphenated().encode_lower(&mut uuid::Uuid::encode_buffer()));
    if let Some(seq) = message.seq {
        object.number("seq", seq);
    }
    match message.revision.as_deref() {
        None => {}
        Some(Revision::Of { message, kind }) => {
            object.plain("change", kind.as_str());
            object.plain("messageId", message.hyphenated().encode_lower(&mut uuid::Uuid::encode_buffer()));
        }
        Some(Revision::Piece { message, offset, status }) => {
            object.plain("change", "appended").plain("status", status.as_str()).number("offset", *offset);
            object.plain("messageId", message.hyphenated().encode_lower(&mut uuid::Uuid::encode_buffer()));
        }
        Some(Revision::Stream(status)) => drop(object.plain("status", status.as_str())),
        Some(Revision::Edited(at)) => drop(object.string("editedAt", &rfc3339(*at))),
        Some(Revision::Deleted(at)) => drop(object.string("deletedAt", &rfc3339(*at))),
    }
    object.string("sender", message.sender.user()).string("event", content.event.as_deref().unwrap_or(DEFAULT_EVENT));
    object.raw("data", &content.body).optional("messageType", content.kind.as_deref());
    object.optional("replyToId", content.reply_to.as_deref());
    object.optional_raw("attachment", content.attachment.as_deref());
    object.optional_raw("metadata", content.metadata.as_deref());
    object.string("timestamp", &rfc3339(message.at)).end();
}

/// Writes the answer to a call of a backend. Returns false for all other calls.
pub(super) fn encode(out: &mut Vec<u8>, call: &RestCall, reply: &Reply) -> bool {
    match (call, reply) {
        (RestCall::Publish(call), reply) => match (&call.target, reply) {
            (PublishTarget::Rooms(rooms), Reply::Published(outcomes)) => published(out, rooms, 0, outcomes),
            (PublishTarget::Users(_) | PublishTarget::All, Reply::Pushed(to)) => pushed(out, to),
            _ => return false,
        },
        (RestCall::Batch(batch), _) => super::batch::results(out, batch),
        (RestCall::Messages { .. }, Reply::History(history)) => messages(out, history),
        (RestCall::Rooms(_), Reply::PartialResult(PartialResult::RoomPage(page))) => {
            search::page(out, page);
        }
        _ => return false,
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_body(text: &str) -> Result<Publish, Reject> {
        publish(serde_json::from_str(text).map_err(|error| Reject::invalid(error.to_string()))?)
    }

    #[test]
    fn publish_body_is_read_whole() {
        let read = read_body(r#"{"rooms":["a","b","a"],"event":"moved","data":{"x":1},"idempotencyKey":"k"}"#);
        let read = read.expect("it is whole");
        assert_eq!(read.target, PublishTarget::Rooms(vec!["a".into(), "b".into()]));
        assert_eq!((read.content.event.as_deref(), &*read.content.body), (Some("moved"), r#"{"x":1}"#));
        assert_eq!(read.idempotency_key.as_deref(), Some("k"));
        assert_eq!(read_body(r#"{"all":true,"data":null,"event":"message"}"#).map(|read| read.content.event), Ok(None));
    }

    #[test]
    fn idempotency_key_of_the_header_stands_for_that_of_the_body() {
        let call = |body: &str| RestCall::Publish(Box::new(read_body(body).expect("it is whole")));
        let key = |call: RestCall, header: &str| match call.with_idempotency_key(Some(header)) {
            Ok(RestCall::Publish(publish)) => publish.idempotency_key.ok_or(0),
            Ok(other) => panic!("{other:?}"),
            Err(refusal) => Err(refusal.status),
        };
        let (bare, own) = (r#"{"all":true,"data":1}"#, r#"{"all":true,"data":1,"idempotencyKey":"k"}"#);
        assert_eq!(key(call(bare), "k").as_deref(), Ok("k"));
        assert_eq!(key(call(bare), "\"k\"").as_deref(), Ok("k"));
        assert_eq!(key(call(own), "k").as_deref(), Ok("k"));
        assert_eq!(key(call(own), "other"), Err(422));
        assert_eq!([key(call(bare), ""), key(call(bare), &"k".repeat(129))], [Err(422), Err(422)]);
        assert_eq!(RestCall::OwnStatus.with_idempotency_key(Some("")), Ok(RestCall::OwnStatus));
    }

    #[test]
    fn publish_body_with_fault_names_it() {
        let table = [
            (r#"{"rooms":["a"]}"#, "data is missing"),
            (r#"{"data":1}"#, "One of rooms, users and all is needed"),
            (r#"{"rooms":["a"],"all":true,"data":1}"#, "Only one of rooms, users and all can be given"),
            (r#"{"rooms":[],"data":1}"#, "rooms must be a list of 1 to 100 ids"),
            (r#"{"all":false,"data":1}"#, "all must be true"),
            (r#"{"all":true,"data":1,"event":""}"#, "event must be a string of 1 to 128 bytes"),
            (r#"{"all":true,"data":1,"keep":true}"#, "Only a message to users can be kept for them"),
            (r#"{"users":["u"],"data":1,"keep":1}"#, "keep must be true or false"),
            (r#"{"users":["u"],"data":1,"history":false}"#, "Only a message to rooms has a history"),
            (r#"{"rooms":["r"],"data":"","history":false,"status":"streaming"}"#, "A stream needs a history"),
            (r#"{"all":true,"data":1,"exclude":"x"}"#, "exclude must be a connection's id"),
        ];
        for (body, text) in table {
            assert_eq!(read_body(body).map_err(|reject| reject.text.into_owned()), Err(text.to_owned()), "{body}");
        }
        let unknown = read_body(r#"{"all":true,"data":1,"evnt":"x"}"#).expect_err("a mistyped field").text;
        assert!(unknown.contains("evnt"), "{unknown}");
    }

    #[test]
    fn messages_before_a_number_are_those_that_end_with_it() {
        let range = |after, limit| Ok(HistoryRange { after, limit });
        assert_eq!(messages_range(None), range(None, PAGE_DEFAULT));
        assert_eq!(messages_range(Some("after=7&limit=2")), range(Some(7), 2));
        assert_eq!(messages_range(Some("before=10&limit=3")), range(Some(6), 3));
        assert_eq!(messages_range(Some("before=3&limit=50")), range(Some(0), 2));
        assert_eq!(messages_range(Some("after=4&before=10&limit=3")), range(Some(4), 3));
        assert_eq!(messages_range(Some("after=4&before=7")), range(Some(4), 2));
        for query in ["before=1", "before=0", "after=1&before=2", "after=9&before=2"] {
            assert_eq!(messages_range(Some(query)), range(Some(limits::SEQ_MAX), 1), "{query}");
        }
        for query in ["limit=0", "limit=501", "after=-1", "after=x"] {
            assert!(messages_range(Some(query)).is_err(), "{query}");
        }
    }
}
