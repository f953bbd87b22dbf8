//! Calls on the filters of the log: bodies and answers.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::RestCall;
use super::decode::{read, whole};
use crate::base::Name;
use crate::base::ids::{ConnectionId, is_name};
use crate::base::limits;
use crate::base::time::rfc3339;
use crate::codec::json::Object;
use crate::domain::log_filter::{LogFilter, LogSubject};
use crate::domain::reject::Reject;

/// The body of `POST /api/v1/log-filters`, unread.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct LogFilterBody<'a> {
    #[serde(borrow)]
    connection_id: Option<&'a RawValue>,
    #[serde(borrow)]
    user_id: Option<&'a RawValue>,
    #[serde(borrow)]
    room_id: Option<&'a RawValue>,
    #[serde(borrow)]
    seconds: Option<&'a RawValue>,
}

/// The subjects that fields name.
pub(super) fn subject_of(
    connection_id: Option<&RawValue>,
    user_id: Option<&RawValue>,
    room_id: Option<&RawValue>,
) -> Result<Vec<LogSubject>, Reject> {
    let is_id = |text: &String| ConnectionId::parse(text).is_some();
    let connection = read::<String>("connectionId", connection_id, "a connection's id", is_id)?;
    let name = |field, value| read::<Name>(field, value, "an id of 1 to 128 bytes", |name| is_name(name));
    let connection = connection.and_then(|id| ConnectionId::parse(&id)).map(LogSubject::Connection);
    let user = name("userId", user_id)?.map(LogSubject::User);
    let room = name("roomId", room_id)?.map(LogSubject::Room);
    Ok([connection, user, room].into_iter().flatten().collect())
}

pub(super) fn set(body: LogFilterBody<'_>) -> Result<RestCall, Reject> {
    let subjects = subject_of(body.connection_id, body.user_id, body.room_id)?;
    let wanted = format!("a whole number from 1 to {}", limits::LOG_FILTER_MAX_S);
    let seconds = whole("seconds", body.seconds, &wanted, 1..=limits::LOG_FILTER_MAX_S)?;
    let [subject] =
        subjects.try_into().map_err(|_| Reject::invalid("Exactly one of connectionId, userId and roomId is needed"))?;
    Ok(RestCall::SetLogFilter { subject, seconds: seconds.unwrap_or(limits::LOG_FILTER_S) })
}

/// The answer with one filter.
pub fn log_filter(filter: &LogFilter) -> Vec<u8> {
    let mut body = Vec::new();
    write(&mut body, filter);
    body
}

/// The answer with all filters.
pub fn log_filters(filters: &[LogFilter]) -> Vec<u8> {
    let mut body = Vec::new();
    Object::begin(&mut body).list("filters", filters, write).end();
    body
}

fn write(out: &mut Vec<u8>, filter: &LogFilter) {
    let mut object = Object::begin(out);
    object.string("id", &filter.id);
    match &filter.subject {
        LogSubject::Connection(id) => object.plain("connectionId", id.text().as_str()),
        LogSubject::User(user) => object.string("userId", user),
        LogSubject::Room(room) => object.string("roomId", room),
    };
    object.string("expiresAt", &rfc3339(filter.expires_at)).end();
}
