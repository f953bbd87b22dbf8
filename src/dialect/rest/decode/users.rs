//! Bodies of the calls about users: connections, presence and messages.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::{Name, Reject, RestCall, bodies, is_name, is_title, limits, read, whole};
use crate::base::time::parse_rfc3339;
use crate::codec::json::{self, Object};
use crate::dialect::fields::check_portable;
use crate::domain::command::Status;
use crate::domain::event::Content;
use crate::domain::reject::Code;

bodies! {
    /// The body of `POST /connections`, unread.
    ConnectionBody { user_id = "userId", socket_id = "socketId", device_info = "deviceInfo" }
    /// The body of `PUT /presence/:userId`, unread.
    PresenceBody { status = "status", last_seen = "lastSeen" }
    /// The body of `POST /broadcast`, unread.
    BroadcastBody { message = "message", kind = "type" }
    /// The body of `POST /websocket/message/user`, unread.
    PushToUserBody { user_id = "userId", kind = "type", data = "data" }
    /// The body of `POST /websocket/message/users`, unread.
    PushToUsersBody { user_ids = "userIds", kind = "type", data = "data" }
    /// The body of `POST /websocket/message/broadcast`, unread.
    PushToAllBody { kind = "type", data = "data" }
    /// The body of `POST /websocket/notification`, unread.
    NotificationBody { user_id = "userId", title = "title", body = "body", data = "data" }
}

pub(super) fn register(body: ConnectionBody<'_>) -> Result<RestCall, Reject> {
    let device = body.device_info.map(RawValue::get);
    if device.is_some_and(|device| device.len() > limits::DEVICE_BYTES) {
        let text = format!("deviceInfo is larger than {} bytes", limits::DEVICE_BYTES);
        return Err(Reject::new(Code::MessageTooLarge, text));
    }
    Ok(RestCall::Register {
        user: required("userId", name("userId", body.user_id)?)?,
        socket: required("socketId", name("socketId", body.socket_id)?)?,
        device: device.map(|device| check_portable("deviceInfo", device).map(|()| device.into())).transpose()?,
    })
}

pub(super) fn set_presence(user: Name, body: PresenceBody<'_>) -> Result<RestCall, Reject> {
    let statuses = "one of online, away, busy, offline";
    let status = read::<String>("status", body.status, statuses, |text| Status::parse(text).is_some())?;
    let status = required("status", status)?;
    let status = Status::parse(&status).expect("invariant: the status was checked");
    Ok(RestCall::SetPresence { user, status, last_seen: moment("lastSeen", body.last_seen)? })
}

pub(super) fn broadcast(body: BroadcastBody<'_>) -> Result<RestCall, Reject> {
    let kind = label("type", body.kind)?.unwrap_or_else(|| "system".into());
    Ok(RestCall::Broadcast(content(kind, required("message", body.message)?.get())))
}

pub(super) fn push_to_user(body: PushToUserBody<'_>) -> Result<RestCall, Reject> {
    Ok(RestCall::PushToUser {
        user: required("userId", name("userId", body.user_id)?)?,
        content: pushed(body.kind, body.data)?,
    })
}

pub(super) fn push_to_users(body: PushToUsersBody<'_>) -> Result<RestCall, Reject> {
    let wanted = format!("a list of 1 to {} user ids", limits::PUSHED_USERS);
    let users = read::<Vec<Name>>("userIds", body.user_ids, &wanted, |users| {
        (1..=limits::PUSHED_USERS).contains(&users.len()) && users.iter().all(|user| is_name(user))
    })?;
    let users = super::distinct(required("userIds", users)?);
    Ok(RestCall::PushToUsers { users, content: pushed(body.kind, body.data)? })
}

pub(super) fn push_to_all(body: PushToAllBody<'_>) -> Result<RestCall, Reject> {
    Ok(RestCall::PushToAll(pushed(body.kind, body.data)?))
}

pub(super) fn notify(body: NotificationBody<'_>) -> Result<RestCall, Reject> {
    let user = required("userId", name("userId", body.user_id)?)?;
    let text = |field, value| read::<String>(field, value, "a string", |_| true);
    let title = required("title", text("title", body.title)?)?;
    let words = required("body", text("body", body.body)?)?;
    body.data.map_or(Ok(()), |data| check_portable("data", data.get()))?;
    let more = read::<ObjectFields>("data", body.data, "a JSON object", |_| true)?;
    let mut data = Vec::with_capacity(128);
    let mut object = Object::begin(&mut data);
    object.string("title", &title).string("body", &words);
    object.end();
    assert_eq!(data.pop(), Some(b'}'), "invariant: an object ends with a brace");
    for (field, value) in more.into_iter().flat_map(|more| more.0) {
        // The data must not replace the notification's title and body.
        if field != "title" && field != "body" {
            data.push(b',');
            json::string(&mut data, &field);
            data.push(b':');
            data.extend_from_slice(value.get().as_bytes());
        }
    }
    data.push(b'}');
    let data = String::from_utf8(data).expect("invariant: JSON put together from texts is a text");
    Ok(RestCall::Notify { user, content: content("notification".into(), &data) })
}

fn pushed(kind: Option<&RawValue>, data: Option<&RawValue>) -> Result<Content, Reject> {
    let kind = required("type", label("type", kind)?)?;
    let data = data.map_or("null", RawValue::get);
    check_portable("data", data)?;
    Ok(content(kind, data))
}

fn content(kind: Box<str>, body: &str) -> Content {
    Content { body: body.into(), event: None, kind: Some(kind), reply_to: None, attachment: None, metadata: None }
}

pub(super) fn required<T>(field: &str, value: Option<T>) -> Result<T, Reject> {
    value.ok_or_else(|| Reject::invalid(format!("{field} is missing")))
}

pub(super) fn name(field: &str, value: Option<&RawValue>) -> Result<Option<Name>, Reject> {
    read::<Name>(field, value, "a string of 1 to 128 bytes without control characters", |name| is_name(name))
}

fn label(field: &str, value: Option<&RawValue>) -> Result<Option<Box<str>>, Reject> {
    let wanted = format!("a string of 1 to {} bytes without control characters", limits::LABEL_BYTES);
    read::<Box<str>>(field, value, &wanted, |text| is_title(text, limits::LABEL_BYTES))
}

/// A time in milliseconds since 1970, given as a number or in the format of RFC 3339.
pub(super) fn moment(field: &str, value: Option<&RawValue>) -> Result<Option<u64>, Reject> {
    let wanted = "milliseconds since 1970 or a date such as 2024-01-01T00:00:00.000Z";
    match value {
        Some(text) if text.get().starts_with('"') => {
            let text = read::<String>(field, value, wanted, |text| parse_rfc3339(text).is_some())?;
            Ok(text.map(|text| parse_rfc3339(&text).expect("invariant: the date was checked")))
        }
        _ => whole(field, value, wanted, 0..=u64::MAX),
    }
}

/// The fields of an object, each value unread.
struct ObjectFields(Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for ObjectFields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ObjectFieldsVisitor)
    }
}

struct ObjectFieldsVisitor;

impl<'de> Visitor<'de> for ObjectFieldsVisitor {
    type Value = ObjectFields;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ObjectFields, A::Error> {
        let mut fields = Vec::new();
        while let Some(field) = map.next_entry()? {
            fields.push(field);
        }
        Ok(ObjectFields(fields))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{RestCallRoute, decode, page};
    use super::*;
    use crate::dialect::rest::RestCallKind;
    use crate::domain::op::UsersPage;

    fn read_as(kind: RestCallKind, body: &str) -> Result<RestCall, (u16, Code, String)> {
        let route = RestCallRoute { kind, parameter: "ann".into(), second: "".into() };
        decode(&route, Some("application/json"), body.as_bytes())
            .map_err(|refusal| (refusal.status, refusal.reject.code, refusal.reject.text.into_owned()))
    }

    fn missing(field: &str) -> Result<RestCall, (u16, Code, String)> {
        Err((422, Code::InvalidMessage, format!("{field} is missing")))
    }

    #[test]
    fn a_connection_is_read_to_the_letter() {
        let body = r#"{ "userId": "ann", "socketId": "tab-1", "deviceInfo": { "os" : "Ünix" } }"#;
        let call = RestCall::Register {
            user: "ann".into(),
            socket: "tab-1".into(),
            device: Some(r#"{ "os" : "Ünix" }"#.into()),
        };
        assert_eq!(read_as(RestCallKind::Register, body), Ok(call));
        let call = RestCall::Register { user: "ann".into(), socket: "tab-1".into(), device: None };
        assert_eq!(
            read_as(RestCallKind::Register, r#"{"userId":"ann","socketId":"tab-1","deviceInfo":null}"#),
            Ok(call)
        );
        assert_eq!(read_as(RestCallKind::Register, r#"{"socketId":"tab-1"}"#), missing("userId"));
        assert_eq!(read_as(RestCallKind::Register, r#"{"userId":"ann"}"#), missing("socketId"));
        let with = |bytes: usize| format!(r#"{{"userId":"a","socketId":"b","deviceInfo":"{}"}}"#, "x".repeat(bytes));
        assert!(read_as(RestCallKind::Register, &with(limits::DEVICE_BYTES - 2)).is_ok());
        let (status, code, _) =
            read_as(RestCallKind::Register, &with(limits::DEVICE_BYTES - 1)).expect_err("it is long");
        assert_eq!((status, code), (413, Code::MessageTooLarge));
    }

    #[test]
    fn presence_is_read_to_the_letter() {
        let at = |last_seen| Ok(RestCall::SetPresence { user: "ann".into(), status: Status::Away, last_seen });
        for (body, last_seen) in [
            (r#"{"status":"away"}"#, None),
            (r#"{"status":"away","lastSeen":null}"#, None),
            (r#"{"status":"away","lastSeen":1704067200001}"#, Some(1_704_067_200_001)),
            (r#"{"status":"away","lastSeen":"2024-01-01T00:00:00.001Z"}"#, Some(1_704_067_200_001)),
            (r#"{"status":"away","lastSeen":"1969-12-31T23:59:59Z"}"#, Some(0)),
        ] {
            assert_eq!(read_as(RestCallKind::SetPresence, body), at(last_seen), "{body}");
        }
        assert_eq!(read_as(RestCallKind::SetPresence, "{}"), missing("status"));
        for (field, values) in [
            ("status", vec![r#""asleep""#, "1", r#""""#]),
            ("lastSeen", vec![r#""yesterday""#, "-1", "1.5", "{}", "true"]),
        ] {
            for value in values {
                let body = format!(r#"{{"status":"away","{field}":{value}}}"#).replacen(
                    r#""status":"away","status""#,
                    r#""status""#,
                    1,
                );
                let (status, _, text) = read_as(RestCallKind::SetPresence, &body).expect_err(&body);
                assert!(status == 422 && text.starts_with(&format!("{field} must be ")), "{text}");
            }
        }
    }

    #[test]
    fn what_is_pushed_passes_through_unread() {
        let data = r#"{ "message" : "Hello!", "n":1E300 }"#;
        let content = content("chat".into(), data);
        let body = format!(r#"{{"userId":"user123","type":"chat","data":{data}}}"#);
        let call = RestCall::PushToUser { user: "user123".into(), content: content.clone() };
        assert_eq!(read_as(RestCallKind::PushToUser, &body), Ok(call));
        let body = format!(r#"{{"userIds":["b","a","b"],"type":"chat","data":{data}}}"#);
        let users = ["b", "a"].map(Name::from).to_vec();
        assert_eq!(
            read_as(RestCallKind::PushToUsers, &body),
            Ok(RestCall::PushToUsers { users, content: content.clone() })
        );
        let body = format!(r#"{{"type":"chat","data":{data}}}"#);
        assert_eq!(read_as(RestCallKind::PushToAll, &body), Ok(RestCall::PushToAll(content)));
        let nothing = super::content("update".into(), "null");
        assert_eq!(read_as(RestCallKind::PushToAll, r#"{"type":"update"}"#), Ok(RestCall::PushToAll(nothing)));
    }

    #[test]
    fn a_broadcast_is_the_systems_unless_it_says_otherwise() {
        let expected = |kind: &str, body| Ok(RestCall::Broadcast(content(kind.into(), body)));
        assert_eq!(
            read_as(RestCallKind::Broadcast, r#"{"message":"Hi","type":"alert"}"#),
            expected("alert", r#""Hi""#)
        );
        assert_eq!(read_as(RestCallKind::Broadcast, r#"{"message":[1]}"#), expected("system", "[1]"));
        assert_eq!(read_as(RestCallKind::Broadcast, r#"{"type":"alert"}"#), missing("message"));
    }

    #[test]
    fn a_notification_is_its_words_and_whatever_goes_with_them() {
        let data = |body: &str| match read_as(RestCallKind::Notify, body) {
            Ok(RestCall::Notify { user, content }) => {
                assert_eq!((&*user, content.kind.as_deref()), ("user123", Some("notification")));
                content.body
            }
            other => panic!("{other:?}"),
        };
        let seed = r#"{"userId":"user123","title":"New \"Message\"","body":"You have received a new message",
            "data":{"category":"message","priority":"normal","title":"x","a\"b":[ 1 ]}}"#;
        let expected = r#"{"title":"New \"Message\"","body":"You have received a new message","category":"message","priority":"normal","a\"b":[ 1 ]}"#;
        assert_eq!(&*data(seed), expected);
        assert_eq!(&*data(r#"{"userId":"user123","title":"","body":"b"}"#), r#"{"title":"","body":"b"}"#);
        assert_eq!(read_as(RestCallKind::Notify, r#"{"userId":"u","title":"t"}"#), missing("body"));
        assert_eq!(read_as(RestCallKind::Notify, r#"{"userId":"u","body":"b"}"#), missing("title"));
        assert_eq!(read_as(RestCallKind::Notify, r#"{"title":"t","body":"b"}"#), missing("userId"));
        let (status, _, text) = read_as(RestCallKind::Notify, r#"{"userId":"u","title":"t","body":"b","data":[]}"#)
            .expect_err("it is a list");
        assert_eq!((status, text.as_str()), (422, "data must be a JSON object"));
    }

    #[test]
    fn pushes_have_a_type_and_somebody_to_go_to() {
        assert_eq!(read_as(RestCallKind::PushToUser, r#"{"type":"t"}"#), missing("userId"));
        assert_eq!(read_as(RestCallKind::PushToUser, r#"{"userId":"u"}"#), missing("type"));
        assert_eq!(read_as(RestCallKind::PushToUsers, r#"{"type":"t"}"#), missing("userIds"));
        assert_eq!(read_as(RestCallKind::PushToAll, "{}"), missing("type"));
        let users = |count| format!(r#"{{"type":"t","userIds":[{}"u"]}}"#, r#""u","#.repeat(count - 1));
        assert!(read_as(RestCallKind::PushToUsers, &users(limits::PUSHED_USERS)).is_ok());
        assert_eq!(read_as(RestCallKind::PushToUsers, &users(limits::PUSHED_USERS + 1)).map_err(|it| it.0), Err(422));
        assert_eq!(read_as(RestCallKind::PushToUsers, r#"{"type":"t","userIds":[]}"#).map_err(|it| it.0), Err(422));
        let long = format!(r#"{{"type":"{}"}}"#, "t".repeat(limits::LABEL_BYTES + 1));
        assert_eq!(read_as(RestCallKind::PushToAll, &long).map_err(|it| it.0), Err(422));
    }

    #[test]
    fn a_page_is_read_from_the_query() {
        let of = |after: Option<&str>, limit| Ok(UsersPage { after: after.map(Name::from), limit });
        assert_eq!(page(None), of(None, limits::USERS_LISTED));
        assert_eq!(page(Some("limit=2&after=a%20b")), of(Some("a b"), 2));
        for query in ["limit=0", "limit=x", "limit=1001", "limit=", "after=", "after=%00"] {
            assert!(page(Some(query)).is_err(), "{query}");
        }
    }
}
