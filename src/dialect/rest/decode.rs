//! From a route and a body to a call.
//!
//! A body is first split into unread fields, then each is decoded as its call needs it, so a refusal names the wrong
//! field. A field that a call does not have is refused by name; `null` counts as absent.

mod admin;
mod keys;
mod rooms;
mod users;

/// Declares the bodies of calls: their fields, each with its name in JSON, unread.
macro_rules! bodies {
    ($($(#[$doc:meta])* $body:ident { $($field:ident = $name:literal),+ })+) => { $(
        $(#[$doc])*
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        pub(super) struct $body<'a> {
            $(#[serde(borrow, rename = $name)] $field: Option<&'a RawValue>,)+
        }
    )+ };
}
use bodies;

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::Number;
use serde_json::value::RawValue;

use super::refusal::RestRefusal;
use super::route::RestCallRoute;
use super::{RestCall, RestCallKind, apps, backend, batch, dev_token, log_filters, trace};
use crate::base::Name;
use crate::base::ids::{ConnectionId, is_name};
use crate::base::limits;
use crate::codec::http::sole_query_value;
use crate::domain::history::{HistoryRange, PAGE_DEFAULT};
use crate::domain::op::UsersPage;
use crate::domain::reject::{Code, Reject};
use crate::domain::revocation::{Revoked, RevokedKind};

bodies! {
    /// The body of `POST /rooms/:roomId/join` and `/leave`, unread.
    MembershipBody { connection_id = "connectionId" }
}

/// Reads the request for `route`. A call without fields does not look at its body; for the others an empty body is
/// `{}`, and `content_type` (the header's value) must be JSON in UTF-8 unless absent.
pub fn decode(route: &RestCallRoute<'_>, content_type: Option<&str>, body: &[u8]) -> Result<RestCall, RestRefusal> {
    let named = || Name::from(&*route.parameter);
    let text = || text_of(content_type, body);
    Ok(match route.kind {
        RestCallKind::CreateMeeting => RestCall::CreateMeeting(Box::new(rooms::meeting(fields(text()?)?)?), None),
        RestCallKind::ListMeetings => RestCall::ListMeetings,
        RestCallKind::Meeting => RestCall::Meeting { room: named() },
        RestCallKind::CloseMeeting => RestCall::CloseMeeting { room: named() },
        RestCallKind::CreateRoom => RestCall::CreateRoom(Box::new(rooms::room(fields(text()?)?)?)),
        RestCallKind::Room => RestCall::Room { room: named() },
        RestCallKind::UpdateRoom => {
            RestCall::UpdateRoom { room: named(), change: Box::new(rooms::change(fields(text()?)?)?) }
        }
        RestCallKind::MakeRoom | RestCallKind::PutRoom | RestCallKind::PatchRoom => {
            RestCall::Manage(Box::new(rooms::managed(route.kind, named(), text()?)?))
        }
        RestCallKind::ShowRoom
        | RestCallKind::EndRoom
        | RestCallKind::Members
        | RestCallKind::Receipts
        | RestCallKind::Unread
        | RestCallKind::EditMessage
        | RestCallKind::DeleteMessage
        | RestCallKind::AppendMessage
        | RestCallKind::AddParticipants
        | RestCallKind::RemoveParticipant
        | RestCallKind::JoinUser
        | RestCallKind::LeaveUser => RestCall::Manage(Box::new(rooms::membership(route, text)?)),
        RestCallKind::Join => {
            RestCall::Join { room: named(), connection: connection(fields(text()?)?)?, is_connected: true }
        }
        RestCallKind::Leave => RestCall::Leave { room: named(), connection: connection(fields(text()?)?)? },
        RestCallKind::Register => users::register(fields(text()?)?)?,
        RestCallKind::Disconnect => RestCall::Disconnect { socket: named() },
        RestCallKind::Connections => RestCall::Connections { user: named() },
        RestCallKind::Presence => RestCall::Presence { user: named() },
        RestCallKind::SetPresence => users::set_presence(named(), fields(text()?)?)?,
        RestCallKind::Broadcast => users::broadcast(fields(text()?)?)?,
        RestCallKind::PushToUser => users::push_to_user(fields(text()?)?)?,
        RestCallKind::PushToUsers => users::push_to_users(fields(text()?)?)?,
        RestCallKind::PushToAll => users::push_to_all(fields(text()?)?)?,
        RestCallKind::Notify => users::notify(fields(text()?)?)?,
        RestCallKind::Publish => RestCall::Publish(Box::new(backend::publish(fields(text()?)?)?)),
        RestCallKind::Batch => RestCall::Batch(Box::new(batch::batch(&fields(text()?)?)?)),
        RestCallKind::AppEmit | RestCallKind::AppJoin | RestCallKind::AppLeave | RestCallKind::AppDisconnect => {
            RestCall::App(Box::new(apps::request(route.kind, &fields(text()?)?)?))
        }
        RestCallKind::SearchRooms => RestCall::Rooms(Arc::default()),
        RestCallKind::Messages => {
            RestCall::Messages { room: named(), range: HistoryRange { after: None, limit: PAGE_DEFAULT } }
        }
        RestCallKind::DeadLetters => RestCall::DeadLetters,
        RestCallKind::ReplayWebhook => RestCall::ReplayWebhook(named()),
        RestCallKind::LogFilters => RestCall::LogFilters,
        RestCallKind::SetLogFilter => log_filters::set(fields(text()?)?)?,
        RestCallKind::RemoveLogFilter => RestCall::RemoveLogFilter { filter: named() },
        RestCallKind::Trace => trace::watch(fields(text()?)?)?,
        RestCallKind::Settings => RestCall::Settings,
        RestCallKind::DevToken => RestCall::DevToken(dev_token::wanted(fields(text()?)?)?),
        RestCallKind::ConnectedUsers => {
            RestCall::ConnectedUsers(UsersPage { after: None, limit: limits::USERS_LISTED })
        }
        RestCallKind::UserStatus => RestCall::UserStatus { user: named() },
        RestCallKind::OwnStatus => RestCall::OwnStatus,
        RestCallKind::DisconnectUser => RestCall::DisconnectUser { user: named() },
        _ => administration(route, text)?,
    })
}

/// The same for calls of admins and hosts.
fn administration<'a>(
    route: &RestCallRoute<'_>,
    text: impl Fn() -> Result<&'a str, RestRefusal>,
) -> Result<RestCall, RestRefusal> {
    let named = || Name::from(&*route.parameter);
    let second = || Name::from(&*route.second);
    let member = || Revoked::Member { room: named(), user: second() };
    let list = |kind, room| {
        let page = UsersPage { after: None, limit: limits::USERS_LISTED };
        RestCall::Revocations { kind, room, page }
    };
    Ok(match route.kind {
        RestCallKind::RemoveUser => RestCall::RemoveUser { room: named(), user: second() },
        RestCallKind::Lock => admin::lock(named(), &fields(text()?)?)?,
        RestCallKind::BlockUser => admin::revoke(Revoked::User(named()), &fields(text()?)?)?,
        RestCallKind::Ban => admin::revoke(member(), &fields(text()?)?)?,
        RestCallKind::RevokeTokens => admin::revoke_tokens(&fields(text()?)?)?,
        RestCallKind::BlockAddress => admin::block_address(&fields(text()?)?)?,
        RestCallKind::UnblockUser => RestCall::Unrevoke(Box::new(Revoked::User(named()))),
        RestCallKind::Unban => RestCall::Unrevoke(Box::new(member())),
        RestCallKind::UnblockAddress => {
            RestCall::Unrevoke(Box::new(Revoked::Address(admin::network(&route.parameter)?)))
        }
        RestCallKind::BlockedUsers => list(RevokedKind::User, None),
        RestCallKind::RevokedTokens => list(RevokedKind::Token, None),
        RestCallKind::Bans => list(RevokedKind::Member, Some(named())),
        RestCallKind::BlockedAddresses => list(RevokedKind::Address, None),
        RestCallKind::MakeKey => RestCall::MakeKey(Box::new(keys::key(&fields(text()?)?)?)),
        RestCallKind::RotateKey => RestCall::MakeKey(Box::new(keys::rotation(named(), &fields(text()?)?)?)),
        RestCallKind::Keys => list(RevokedKind::Key, None),
        RestCallKind::EndKey => RestCall::Unrevoke(Box::new(Revoked::Key(named()))),
        _ => return Err(Reject::new(Code::Internal, "The call is not read").into()),
    })
}

/// Reads the page from a query: `?after=` is the last user of the page before, `?limit=` the size.
pub fn page(query: Option<&str>) -> Result<UsersPage, Reject> {
    let value = |name| {
        let found = query.map_or(Ok(None), |query| sole_query_value(query, name));
        found.map_err(|fault| Reject::invalid(format!("{name} {}", fault.text())))
    };
    let limit = match value("limit")? {
        Some(text) => text.parse().ok().filter(|limit| (1..=limits::USERS_LISTED).contains(limit)),
        None => Some(limits::USERS_LISTED),
    };
    let limit =
        limit.ok_or_else(|| Reject::invalid(format!("limit must be an integer from 1 to {}", limits::USERS_LISTED)))?;
    match value("after")? {
        Some(after) if !is_name(&after) => Err(Reject::invalid("after must be a user's id")),
        after => Ok(UsersPage { after: after.map(|after| after.as_ref().into()), limit }),
    }
}

/// Whether a text that names something has 1 to `bytes_max` bytes and no control characters.
fn is_title(text: &str, bytes_max: usize) -> bool {
    (1..=bytes_max).contains(&text.len()) && !text.contains(char::is_control)
}

fn connection(body: MembershipBody<'_>) -> Result<Option<ConnectionId>, Reject> {
    let is_id = |text: &String| ConnectionId::parse(text).is_some();
    let text = read("connectionId", body.connection_id, "a connection's id", is_id)?;
    Ok(text.map(|text| ConnectionId::parse(&text).expect("invariant: the id was checked")))
}

/// The field's value, if present. If it is no `T` or does not fit, the refusal says that it must be `wanted`.
pub(super) fn read<T: DeserializeOwned>(
    field: &str,
    value: Option<&RawValue>,
    wanted: &str,
    fits: impl FnOnce(&T) -> bool,
) -> Result<Option<T>, Reject> {
    let Some(json) = value else { return Ok(None) };
    match serde_json::from_str(json.get()) {
        Ok(value) if fits(&value) => Ok(Some(value)),
        _ => Err(Reject::invalid(format!("{field} must be {wanted}"))),
    }
}

/// A whole number within a range. `4.0` is one as well as `4`: JSON does not tell integers from other numbers (RFC 8259 §6).
pub(super) fn whole(
    field: &str,
    value: Option<&RawValue>,
    wanted: &str,
    range: RangeInclusive<u64>,
) -> Result<Option<u64>, Reject> {
    let number = read::<Number>(field, value, wanted, |_| true)?;
    let exact = |number: Number| {
        let is_exact = |float: &f64| float.fract() == 0.0 && (0.0..=limits::SEQ_MAX as f64).contains(float);
        let float = || number.as_f64().filter(is_exact).map(|float| float as u64);
        number.as_u64().or_else(float).filter(|whole| range.contains(whole))
    };
    let wrong = || Reject::invalid(format!("{field} must be {wanted}"));
    number.map(|number| exact(number).ok_or_else(wrong)).transpose()
}

/// The fields of a body that is one JSON object.
pub(super) fn fields<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, Reject> {
    let bad_json = |error| Reject::new(Code::BadJson, format!("Not valid JSON: {error}"));
    // Checked by hand, because serde accepts a list as the fields of an object in order.
    if !text.trim_start().starts_with('{') {
        serde_json::from_str::<IgnoredAny>(text).map_err(bad_json)?;
        return Err(Reject::invalid("The body must be a JSON object"));
    }
    serde_json::from_str(text).map_err(|error| match error.is_data() {
        // A fault of the fields can come before one of the JSON.
        true => match serde_json::from_str::<IgnoredAny>(text) {
            Ok(_) => Reject::invalid(format!("The body is not of this call's shape: {error}")),
            Err(error) => bad_json(error),
        },
        false => bad_json(error),
    })
}

/// Names, each once, in their order.
pub(super) fn distinct(mut names: Vec<Name>) -> Vec<Name> {
    let mut seen = BTreeSet::new();
    names.retain(|name| seen.insert(name.clone()));
    names
}

fn text_of<'a>(content_type: Option<&str>, body: &'a [u8]) -> Result<&'a str, RestRefusal> {
    if body.is_empty() {
        return Ok("{}");
    }
    if !content_type.is_none_or(is_json) {
        return Err(RestRefusal::unsupported_media_type());
    }
    let not_text = |_| RestRefusal::from(Reject::new(Code::BadJson, "Not valid JSON: the body is not UTF-8"));
    std::str::from_utf8(body).map_err(not_text)
}

/// Whether a media type is JSON (RFC 8259 §11), or built on it (RFC 6839 §3.1), in UTF-8.
fn is_json(content_type: &str) -> bool {
    let mut parts = content_type.split(';').map(str::trim);
    let media_type = parts.next().unwrap_or_default().to_ascii_lowercase();
    let is_utf8 = |parameter: &str| match parameter.split_once('=') {
        Some((name, value)) if name.eq_ignore_ascii_case("charset") => {
            value.trim_matches('"').eq_ignore_ascii_case("utf-8")
        }
        _ => true,
    };
    (media_type == "application/json" || media_type.ends_with("+json")) && parts.all(is_utf8)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::base::ids::ConnectionPlace;
    use crate::base::rng::Rng;
    use crate::dialect::rest::NewRoom;
    use crate::domain::op::Profile;

    const KINDS: [RestCallKind; 26] = [
        RestCallKind::CreateMeeting,
        RestCallKind::ListMeetings,
        RestCallKind::Meeting,
        RestCallKind::CloseMeeting,
        RestCallKind::CreateRoom,
        RestCallKind::Room,
        RestCallKind::Join,
        RestCallKind::Leave,
        RestCallKind::Register,
        RestCallKind::Disconnect,
        RestCallKind::Connections,
        RestCallKind::Presence,
        RestCallKind::SetPresence,
        RestCallKind::Broadcast,
        RestCallKind::PushToUser,
        RestCallKind::PushToUsers,
        RestCallKind::PushToAll,
        RestCallKind::Notify,
        RestCallKind::Publish,
        RestCallKind::Batch,
        RestCallKind::Messages,
        RestCallKind::SearchRooms,
        RestCallKind::ConnectedUsers,
        RestCallKind::UserStatus,
        RestCallKind::OwnStatus,
        RestCallKind::DisconnectUser,
    ];

    fn read_as(kind: RestCallKind, body: &str) -> Result<RestCall, RestRefusal> {
        decode(
            &RestCallRoute { kind, parameter: "r".into(), second: "".into() },
            Some("application/json"),
            body.as_bytes(),
        )
    }

    fn refusal(kind: RestCallKind, body: &str) -> (u16, Code, String) {
        let refusal = read_as(kind, body).expect_err(body);
        (refusal.status, refusal.reject.code, refusal.reject.text.into_owned())
    }

    #[test]
    fn what_is_left_out_has_a_default() {
        let profile = Profile { max_participants: 100, ..Profile::default() };
        let meeting = NewRoom { profile, ..NewRoom::default() };
        for body in ["", "{}", " {}\n", r#"{"maxParticipants":null,"hostPeerId":null}"#] {
            let call = RestCall::CreateMeeting(Box::new(meeting.clone()), None);
            assert_eq!(read_as(RestCallKind::CreateMeeting, body), Ok(call), "{body:?}");
        }
        assert_eq!(read_as(RestCallKind::CreateRoom, ""), Ok(RestCall::CreateRoom(Box::default())));
        assert_eq!(
            read_as(RestCallKind::Join, ""),
            Ok(RestCall::Join { room: "r".into(), connection: None, is_connected: true })
        );
        assert_eq!(read_as(RestCallKind::Leave, "{}"), Ok(RestCall::Leave { room: "r".into(), connection: None }));
    }

    #[test]
    fn one_connection_may_be_named() {
        let place = ConnectionPlace { node: 0, shard: 1, slot: 2 };
        let id = ConnectionId::new(place, Rng::from_seed(1).nonce());
        let body = format!(r#"{{"connectionId":"{id}"}}"#);
        let (room, connection) = (Name::from("r"), Some(id));
        assert_eq!(
            read_as(RestCallKind::Join, &body),
            Ok(RestCall::Join { room: room.clone(), connection, is_connected: true })
        );
        assert_eq!(read_as(RestCallKind::Leave, &body), Ok(RestCall::Leave { room, connection }));
    }

    #[test]
    fn calls_without_fields_do_not_look_at_the_body() {
        let room = Name::from("r");
        let table = [
            (RestCallKind::ListMeetings, RestCall::ListMeetings),
            (RestCallKind::Meeting, RestCall::Meeting { room: room.clone() }),
            (RestCallKind::CloseMeeting, RestCall::CloseMeeting { room: room.clone() }),
            (RestCallKind::Room, RestCall::Room { room }),
        ];
        for (kind, call) in table {
            let route = RestCallRoute { kind, parameter: "r".into(), second: "".into() };
            assert_eq!(decode(&route, Some("text/plain"), b"hello"), Ok(call));
        }
    }

    #[test]
    fn a_refusal_names_the_field() {
        let long = "n".repeat(129);
        let (meeting, room) = (RestCallKind::CreateMeeting, RestCallKind::CreateRoom);
        let table = [
            (meeting, "hostPeerId", vec!["1", r#""""#, r#""a\nb""#, r#""\ud800""#]),
            (meeting, "maxParticipants", vec!["0", "-1", "100001", "1.5", "1e999", r#""10""#, "[]"]),
            (meeting, "encryption", vec!["true", "{}"]),
            (room, "name", vec!["1", r#""""#]),
            (room, "type", vec!["[]", r#""""#]),
            (room, "participants", vec!["{}", r#""u""#, "[1]", r#"[""]"#, r#"["a\tb"]"#]),
            (room, "isPrivate", vec!["0", r#""true""#]),
            (RestCallKind::Join, "connectionId", vec!["1", r#""""#, r#""abc""#]),
            (RestCallKind::Leave, "connectionId", vec!["{}", r#""????????????????????????""#]),
        ];
        for (kind, field, values) in table {
            for value in values {
                let (status, code, text) = refusal(kind, &format!(r#"{{"{field}":{value}}}"#));
                assert_eq!((status, code), (422, Code::InvalidMessage), "{field}");
                assert!(text.starts_with(&format!("{field} must be ")), "{text}");
            }
        }
        for (kind, field) in [(meeting, "hostPeerId"), (meeting, "encryption"), (room, "name"), (room, "type")] {
            assert_eq!(refusal(kind, &format!(r#"{{"{field}":"{long}"}}"#)).0, 422, "{field}");
        }
        assert!(refusal(room, r#"{"name":"a","name":"b"}"#).2.contains("duplicate field `name`"));
    }

    #[test]
    fn bounds_are_kept_on_both_sides() {
        let full = format!(r#"{{"participants":[{}"u"]}}"#, r#""u","#.repeat(limits::PARTICIPANTS_PER_CALL - 1));
        let over = format!(r#"{{"participants":[{}"u"]}}"#, r#""u","#.repeat(limits::PARTICIPANTS_PER_CALL));
        assert!(read_as(RestCallKind::CreateRoom, &full).is_ok());
        assert_eq!(refusal(RestCallKind::CreateRoom, &over).0, 422);
        for (kind, field, bytes) in [
            (RestCallKind::CreateRoom, "name", 128),
            (RestCallKind::CreateRoom, "type", 128),
            (RestCallKind::CreateMeeting, "encryption", 64),
        ] {
            let with = |bytes| format!(r#"{{"{field}":"{}"}}"#, "x".repeat(bytes));
            assert!(read_as(kind, &with(bytes)).is_ok(), "{field}");
            assert_eq!(refusal(kind, &with(bytes + 1)).0, 422, "{field}");
        }
        for count in [1, 100_000] {
            assert!(read_as(RestCallKind::CreateMeeting, &format!(r#"{{"maxParticipants":{count}}}"#)).is_ok());
        }
    }

    #[test]
    fn what_is_not_json_is_told_from_what_is_another_shape() {
        for body in ["{", "nope", "{}x", " ", r#"{"a":}"#, "[1,]", "\"\u{1}\""] {
            let (status, code, _) = refusal(RestCallKind::CreateRoom, body);
            assert_eq!((status, code), (400, Code::BadJson), "{body:?}");
        }
        for body in ["[]", "null", "1", r#""x""#, "[null,null,null,null]"] {
            let (status, code, _) = refusal(RestCallKind::CreateRoom, body);
            assert_eq!((status, code), (422, Code::InvalidMessage), "{body:?}");
        }
        let route = RestCallRoute { kind: RestCallKind::CreateRoom, parameter: "".into(), second: "".into() };
        let refusal = decode(&route, None, b"{\"name\":\"\xff\"}").expect_err("it is not UTF-8");
        assert_eq!((refusal.status, refusal.reject.code), (400, Code::BadJson));
    }

    #[test]
    fn nesting_is_not_followed() {
        let deep = format!(r#"{{"x":{}{}}}"#, "[".repeat(500_000), "]".repeat(500_000));
        assert!(refusal(RestCallKind::CreateRoom, &deep).2.contains("`x`"));
        let deep = format!(r#"{{"name":{}{}}}"#, "[".repeat(500_000), "]".repeat(500_000));
        assert_eq!(refusal(RestCallKind::CreateRoom, &deep).0, 422);
    }

    #[test]
    fn a_body_is_json_in_utf8() {
        let status = |content_type, body: &[u8]| {
            let route = RestCallRoute { kind: RestCallKind::Join, parameter: "r".into(), second: "".into() };
            decode(&route, content_type, body).map_err(|refusal| refusal.status).err()
        };
        for accepted in [
            "application/json",
            "Application/JSON ; Charset=\"UTF-8\"",
            "application/json;charset=utf-8;profile=x",
            "application/merge-patch+json",
            "application/json;",
        ] {
            assert_eq!(status(Some(accepted), b"{}"), None, "{accepted}");
        }
        for refused in [
            "",
            "text/plain",
            "application/x-www-form-urlencoded",
            "application/jsonl",
            "application/json; charset=utf-16",
        ] {
            assert_eq!(status(Some(refused), b"{}"), Some(415), "{refused}");
            assert_eq!(status(Some(refused), b""), None, "an empty body has no type: {refused}");
        }
        assert_eq!(status(None, b"{}"), None);
    }

    proptest! {
        #[test]
        fn no_body_is_too_strange(body: Vec<u8>, content_type: Option<String>) {
            for kind in KINDS {
                let route = RestCallRoute { kind, parameter: "r".into(), second: "".into() };
                let _ = decode(&route, content_type.as_deref(), &body);
                let _ = decode(&route, None, &body);
            }
        }

        #[test]
        fn no_field_is_too_strange(
            field in "hostPeerId|maxParticipants|encryption|name|type|participants|isPrivate|connectionId|userId|userIds\
                |socketId|deviceInfo|status|lastSeen|message|title|body|data",
            value in "[\\[\\]{}\",:0-9eE.+-]{0,12}|\"(\\\\u[0-9a-f]{4}|.){0,140}\"|-?[0-9]{1,30}",
        ) {
            let body = format!(r#"{{"{field}":{value}}}"#);
            for kind in KINDS {
                if let Err(refusal) = read_as(kind, &body) {
                    prop_assert!(matches!(refusal.status, 400 | 422), "{:?}", refusal);
                }
            }
        }
    }
}
