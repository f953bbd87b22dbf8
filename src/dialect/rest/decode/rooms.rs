//! Bodies of the calls that make and change rooms.

use serde::Deserialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::users::{name, required};
use super::{
    Name, Reject, RestCallRoute, RestRefusal, UsersPage, bodies, fields, is_name, is_title, limits, read, whole,
};
use crate::base::display_name::name_fault;
use crate::dialect::fields::check_portable;
use crate::dialect::rest::backend;
use crate::dialect::rest::{ManagedRoom, NewRoom, RestCallKind, RoomAct, UserJoin};
use crate::domain::op::{LogTerms, Profile, ProfileChange};
use crate::domain::record::Retention;

/// The most bytes of a room's name and type, the same as of a display name, because they are shown beside each other.
const TEXT_BYTES: usize = limits::DISPLAY_NAME_BYTES;

/// The largest limit on members of a meeting: more than one server holds in one room, so a larger one is a mistake.
const PARTICIPANTS_MAX: usize = 100_000;

/// The largest retention in messages or hours that a room's creator may set; 0 is unlimited.
const COUNT_MAX: u64 = 1_000_000_000;

/// The limit on members of a meeting unless its creator sets one.
const PARTICIPANTS_DEFAULT: usize = 100;

bodies! {
    /// The body of `POST /api/rooms`, unread.
    MeetingBody {
        room_id = "roomId", host_peer_id = "hostPeerId", max_participants = "maxParticipants", encryption = "encryption"
    }
    /// The body of `POST /rooms` and `POST /api/v1/rooms`, unread.
    RoomBody {
        room_id = "roomId", name = "name", kind = "type", description = "description", participants = "participants",
        is_private = "isPrivate", history = "history", retention_messages = "retentionMessages",
        retention_hours = "retentionHours", metadata = "metadata", max_participants = "maxParticipants",
        locked = "locked", retention = "retention"
    }
    /// The body of `PATCH /rooms/:roomId`, and of `PUT` and `PATCH /api/v1/rooms/:roomId`, unread.
    ChangeBody {
        name = "name", kind = "type", description = "description", metadata = "metadata", participants = "participants",
        max_participants = "maxParticipants", is_private = "isPrivate", locked = "locked", retention = "retention"
    }
    /// The body of `POST /api/v1/rooms/:roomId/participants`, unread.
    ParticipantsBody { user_ids = "userIds" }
    /// The body of `POST /api/v1/rooms/:roomId/join` and `/leave`, unread.
    UserBody { user_id = "userId" }
    /// The retention of a room's messages, unread.
    RetentionBody { messages = "messages", hours = "hours" }
}

pub(super) fn meeting(body: MeetingBody<'_>) -> Result<NewRoom, Reject> {
    let peer = "a string of 1 to 128 bytes without control characters";
    let count = format!("an integer from 1 to {PARTICIPANTS_MAX}");
    let label = format!("a string of at most {} bytes without control characters", limits::LABEL_BYTES);
    let range = 1..=PARTICIPANTS_MAX as u64;
    let max_participants = whole("maxParticipants", body.max_participants, &count, range)?.map(|count| count as usize);
    let profile = Profile {
        host_peer: read::<Name>("hostPeerId", body.host_peer_id, peer, |name| is_name(name))?,
        max_participants: max_participants.unwrap_or(PARTICIPANTS_DEFAULT),
        encryption: read::<Box<str>>("encryption", body.encryption, &label, |text| {
            text.is_empty() || is_title(text, limits::LABEL_BYTES)
        })?,
        ..Profile::default()
    };
    Ok(NewRoom { id: room_id(body.room_id)?, profile, ..NewRoom::default() })
}

/// Reads a room that is to be made.
pub(super) fn room(body: RoomBody<'_>) -> Result<NewRoom, Reject> {
    if body.retention.is_some() && (body.retention_messages.is_some() || body.retention_hours.is_some()) {
        return Err(Reject::invalid("retention goes without retentionMessages and retentionHours"));
    }
    let id = room_id(body.room_id)?;
    let log = log_terms(&body)?;
    let RoomBody { name, kind, description, metadata, participants, max_participants, is_private, locked, .. } = body;
    let retention = body.retention;
    let body =
        ChangeBody { name, kind, description, metadata, participants, max_participants, is_private, locked, retention };
    let mut room = NewRoom::from(settings(body)?);
    room.id = id;
    room.log = LogTerms { history: log.history, retention: room.log.retention.changed(log.retention) };
    Ok(room)
}

/// Reads new settings of a room, one at least.
pub(super) fn change(body: ChangeBody<'_>) -> Result<ProfileChange, Reject> {
    let change = settings(body)?;
    if change == ProfileChange::default() {
        return Err(Reject::invalid("A change needs a field, such as name or description"));
    }
    Ok(change)
}

/// Reads a backend's call that makes or changes a room.
pub(super) fn managed(kind: RestCallKind, named: Name, text: &str) -> Result<ManagedRoom, Reject> {
    let of = |act| ManagedRoom { room: named, act, is_new: false };
    Ok(match kind {
        RestCallKind::MakeRoom => {
            let new = room(fields(text)?)?;
            // Without an id the caller's shard gives it one.
            ManagedRoom { room: new.id.clone().unwrap_or_default(), act: RoomAct::Make(Box::new(new)), is_new: true }
        }
        RestCallKind::PutRoom => of(RoomAct::Put(Box::new(settings(fields(text)?)?))),
        _ => of(RoomAct::Change(Box::new(change(fields(text)?)?))),
    })
}

/// Reads a backend's call that shows or ends a room, or concerns its members.
pub(super) fn membership<'a>(
    route: &RestCallRoute<'_>,
    text: impl Fn() -> Result<&'a str, RestRefusal>,
) -> Result<ManagedRoom, RestRefusal> {
    let user = || -> Result<Name, RestRefusal> {
        let body: UserBody<'_> = fields(text()?)?;
        Ok(required("userId", name("userId", body.user_id)?)?)
    };
    let act = match route.kind {
        RestCallKind::EndRoom => RoomAct::Close,
        RestCallKind::Members => RoomAct::Members(UsersPage { after: None, limit: limits::USERS_LISTED }),
        RestCallKind::Receipts => RoomAct::Receipts(message_id(route)?),
        RestCallKind::Unread => RoomAct::Unread(Name::from(&*route.second)),
        RestCallKind::EditMessage => {
            let content = Some(backend::edit(&fields(text()?)?)?);
            RoomAct::Revise { message: message_id(route)?, content }
        }
        RestCallKind::AppendMessage => {
            RoomAct::Append { message: message_id(route)?, piece: backend::append(&fields(text()?)?)? }
        }
        RestCallKind::DeleteMessage => RoomAct::Revise { message: message_id(route)?, content: None },
        RestCallKind::AddParticipants => {
            let body: ParticipantsBody<'_> = fields(text()?)?;
            let wanted = format!("a list of 1 to {} user ids", limits::PUBLISHED_TARGETS);
            let users = read::<Vec<Name>>("userIds", body.user_ids, &wanted, |users| {
                (1..=limits::PUBLISHED_TARGETS).contains(&users.len()) && users.iter().all(|user| is_name(user))
            })?;
            let mut waiting = super::distinct(required("userIds", users)?);
            waiting.reverse();
            RoomAct::AddParticipants { waiting }
        }
        RestCallKind::RemoveParticipant => RoomAct::Remove(Name::from(&*route.second)),
        RestCallKind::JoinUser => {
            RoomAct::Join(Box::new(UserJoin { user: user()?, connections: Vec::new(), is_admitted: false }))
        }
        RestCallKind::LeaveUser => RoomAct::Leave(user()?),
        _ => RoomAct::Show,
    };
    Ok(ManagedRoom { room: Name::from(&*route.parameter), act, is_new: false })
}

fn message_id(route: &RestCallRoute<'_>) -> Result<Uuid, Reject> {
    Uuid::parse_str(&route.second).map_err(|_| Reject::invalid("messageId must be the id of a message"))
}

fn settings(body: ChangeBody<'_>) -> Result<ProfileChange, Reject> {
    let label = format!("a string of 1 to {TEXT_BYTES} bytes without control characters");
    let text = |field, value| read::<Box<str>>(field, value, &label, |text| is_title(text, TEXT_BYTES));
    let flag = |field, value| read::<bool>(field, value, "true or false", |_| true);
    let most = format!("a whole number from 0 to {PARTICIPANTS_MAX}; 0 is unlimited");
    let most = whole("maxParticipants", body.max_participants, &most, 0..=PARTICIPANTS_MAX as u64)?;
    Ok(ProfileChange {
        name: room_name(text("name", body.name)?)?,
        kind: text("type", body.kind)?,
        description: description(body.description)?,
        metadata: metadata(body.metadata)?,
        participants: participants(body.participants)?,
        max_participants: most.map(|most| most as usize),
        is_private: flag("isPrivate", body.is_private)?,
        is_locked: flag("locked", body.locked)?,
        retention: body.retention.map_or(Ok(Retention::default()), retention)?,
    })
}

fn room_id(value: Option<&RawValue>) -> Result<Option<Name>, Reject> {
    name("roomId", value)
}

/// Users, each once.
fn participants(value: Option<&RawValue>) -> Result<Option<Vec<Name>>, Reject> {
    let users = format!("a list of at most {} user ids", limits::PARTICIPANTS_PER_CALL);
    let list = read::<Vec<Name>>("participants", value, &users, |users| {
        users.len() <= limits::PARTICIPANTS_PER_CALL && users.iter().all(|user| is_name(user))
    })?;
    Ok(list.map(super::distinct))
}

/// Data of the application: a JSON object as it came, or an empty text for an object without fields.
fn metadata(value: Option<&RawValue>) -> Result<Option<Box<str>>, Reject> {
    let Some(json) = value.map(RawValue::get) else { return Ok(None) };
    if !json.starts_with('{') || json.len() > limits::ROOM_METADATA_BYTES {
        let text = format!("metadata must be a JSON object of at most {} bytes", limits::ROOM_METADATA_BYTES);
        return Err(Reject::invalid(text));
    }
    check_portable("metadata", json)?;
    let is_empty = json[1..].trim_start().starts_with('}');
    Ok(Some(if is_empty { "".into() } else { json.into() }))
}

fn description(value: Option<&RawValue>) -> Result<Option<Box<str>>, Reject> {
    let expected = format!("a string of at most {} bytes without control characters", limits::DESCRIPTION_BYTES);
    let is_line_end = |letter| matches!(letter, '\n' | '\r' | '\t');
    read::<Box<str>>("description", value, &expected, |text| {
        text.len() <= limits::DESCRIPTION_BYTES && !text.contains(|c: char| c.is_control() && !is_line_end(c))
    })
}

/// A room's name, which is shown like the name of a user.
fn room_name(name: Option<Box<str>>) -> Result<Option<Box<str>>, Reject> {
    match name.as_deref().and_then(name_fault) {
        Some(fault) => Err(Reject::invalid(format!("name must have {}", fault.as_str()))),
        None => Ok(name),
    }
}

/// The retention of the room's messages, if its creator sets it; 0 is unlimited.
fn log_terms(body: &RoomBody<'_>) -> Result<LogTerms, Reject> {
    Ok(LogTerms {
        history: read("history", body.history, "true or false", |_| true)?,
        retention: bounds(("retentionMessages", body.retention_messages), ("retentionHours", body.retention_hours))?,
    })
}

fn retention(json: &RawValue) -> Result<Retention, Reject> {
    if !json.get().starts_with('{') {
        return Err(Reject::invalid("retention must be an object with messages and hours"));
    }
    let body: RetentionBody<'_> = fields(json.get())
        .map_err(|reject| Reject::new(reject.code, reject.text.replacen("The body", "retention", 1)))?;
    bounds(("retention.messages", body.messages), ("retention.hours", body.hours))
}

fn bounds(
    (messages, count): (&str, Option<&RawValue>),
    (hours, age): (&str, Option<&RawValue>),
) -> Result<Retention, Reject> {
    let number = |field, value| whole(field, value, "a whole number that is not negative", 0..=COUNT_MAX);
    let age = number(hours, age)?;
    Ok(Retention { messages: number(messages, count)?, age_ms: age.map(|hours| hours * 3_600_000) })
}

#[cfg(test)]
mod tests {
    use super::super::{RestCall, decode};
    use super::*;
    use crate::domain::reject::Code;

    fn read_as(kind: RestCallKind, body: &str) -> Result<RestCall, Reject> {
        let route = RestCallRoute { kind, parameter: "r".into(), second: "".into() };
        decode(&route, Some("application/json"), body.as_bytes()).map_err(|refusal| refusal.reject)
    }

    #[test]
    fn a_meeting_is_read_to_the_letter() {
        let body =
            r#"{ "hostPeerId": "host-unique-id", "maxParticipants": 10, "encryption": "none", "roomId": "m 1" }"#;
        let profile = Profile {
            host_peer: Some("host-unique-id".into()),
            max_participants: 10,
            encryption: Some("none".into()),
            ..Profile::default()
        };
        let expected = NewRoom { id: Some("m 1".into()), profile, ..NewRoom::default() };
        assert_eq!(read_as(RestCallKind::CreateMeeting, body), Ok(RestCall::CreateMeeting(Box::new(expected), None)));
    }

    #[test]
    fn a_room_is_read_to_the_letter() {
        let body = r#"{"roomId":"order-17","name":"R\u00e4ume","type":"group","participants":["u2","u\"3","u2"],
            "isPrivate":true,"metadata":{ "a" : [1.50] },"maxParticipants":7,"locked":true}"#;
        let profile = Profile {
            name: Some("Räume".into()),
            kind: Some("group".into()),
            participants: vec!["u2".into(), "u\"3".into()],
            is_private: true,
            metadata: Some(r#"{ "a" : [1.50] }"#.into()),
            max_participants: 7,
            ..Profile::default()
        };
        let expected = NewRoom { id: Some("order-17".into()), profile, is_locked: true, log: LogTerms::default() };
        assert_eq!(read_as(RestCallKind::CreateRoom, body), Ok(RestCall::CreateRoom(Box::new(expected))));
    }

    #[test]
    fn a_room_says_what_is_kept_of_it() {
        let retention = Retention { messages: Some(10), age_ms: Some(7_200_000) };
        let log = LogTerms { history: Some(false), retention };
        let expected = NewRoom { log, ..NewRoom::default() };
        for body in [
            r#"{"history":false,"retentionMessages":10,"retentionHours":2}"#,
            r#"{"history":false,"retention":{"messages":10,"hours":2}}"#,
        ] {
            let call = RestCall::CreateRoom(Box::new(expected.clone()));
            assert_eq!(read_as(RestCallKind::CreateRoom, body), Ok(call));
        }
        for wrong in [
            r#"{"history":1}"#,
            r#"{"retentionHours":-1}"#,
            r#"{"retentionMessages":"many"}"#,
            r#"{"retention":[1,2]}"#,
            r#"{"retention":{"messages":1},"retentionHours":1}"#,
        ] {
            let refused = read_as(RestCallKind::CreateRoom, wrong).expect_err(wrong);
            assert_eq!(refused.code, Code::InvalidMessage, "{wrong}");
        }
    }

    #[test]
    fn unknown_field_is_refused_by_name() {
        let table = [
            (RestCallKind::CreateMeeting, r#"{"name":"x"}"#, "`name`"),
            (RestCallKind::CreateRoom, r#"{"nmae":"x"}"#, "`nmae`"),
            (RestCallKind::PutRoom, r#"{"roomId":"x"}"#, "`roomId`"),
            (RestCallKind::PatchRoom, r#"{"retention":{"days":1}}"#, "`days`"),
            (RestCallKind::Join, r#"{"userId":"x"}"#, "`userId`"),
            (RestCallKind::PushToUser, r#"{"userId":"u","type":"t","dta":1}"#, "`dta`"),
        ];
        for (kind, body, field) in table {
            let refused = read_as(kind, body).expect_err(body);
            assert_eq!(refused.code, Code::InvalidMessage, "{body}");
            assert!(refused.text.contains(field), "{}", refused.text);
        }
    }

    #[test]
    fn change_keeps_what_it_does_not_name() {
        let change = |body: &str| match read_as(RestCallKind::PutRoom, body) {
            Ok(RestCall::Manage(managed)) => match managed.act {
                RoomAct::Put(change) => *change,
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        };
        assert_eq!(change("{}"), ProfileChange::default());
        let all = change(
            r#"{"name":"n","type":"t","description":"","metadata":{ },"participants":[],"maxParticipants":0,
            "isPrivate":false,"locked":false,"retention":{"hours":0}}"#,
        );
        assert_eq!((all.metadata.as_deref(), all.description.as_deref()), (Some(""), Some("")));
        assert_eq!((all.participants, all.max_participants), (Some(Vec::new()), Some(0)));
        assert_eq!((all.is_private, all.is_locked, all.retention.age_ms), (Some(false), Some(false), Some(0)));
        assert!(read_as(RestCallKind::PatchRoom, "{}").is_err());
        for wrong in [r#"{"metadata":[]}"#, r#"{"metadata":{"a":"\ud800"}}"#, r#"{"maxParticipants":-1}"#] {
            assert!(read_as(RestCallKind::PutRoom, wrong).is_err(), "{wrong}");
        }
    }
}
