//! The fields of a request that is a JSON object, in any dialect. They are first split into unread JSON, then decoded
//! as the request needs them. So a refusal names the wrong field, and fields that a request does not have are not
//! decoded.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::base::display_name::name_fault;
use crate::base::ids::is_name;
use crate::base::limits;
use crate::codec::json::{self, scan};
use crate::domain::command::{MediaState, Opaque, Receipted, Status};
use crate::domain::history::PAGE_MAX;
use crate::domain::reject::{Code, Reject};

/// Every field that the requests of a dialect have, unread.
pub(super) trait FieldSet<'a>: Default {
    /// Takes a field. A field that no request has is ignored.
    fn set(&mut self, name: &str, value: &'a str);

    /// Notes that every receiver can read the values.
    fn set_portable(&mut self);
}

/// Declares `Fields`, a struct of unread fields, each with its name on the wire.
macro_rules! fields {
    ($($field:ident = $name:literal),+ $(,)?) => {
        /// Every field of every request, unread.
        #[derive(Default)]
        struct Fields<'a> {
            /// Whether every receiver can read the values: they are known to be portable.
            is_portable: bool,
            $($field: Option<&'a str>),+
        }

        impl<'a> $crate::dialect::fields::FieldSet<'a> for Fields<'a> {
            fn set(&mut self, name: &str, value: &'a str) {
                match name {
                    $($name => self.$field = Some(value),)+
                    _ => {}
                }
            }

            fn set_portable(&mut self) {
                self.is_portable = true;
            }
        }
    };
}

pub(super) use fields;

/// Splits an object into its fields.
///
/// # Errors
/// It is not valid JSON, or not an object.
pub(super) fn read<'a, F: FieldSet<'a>>(text: &'a str) -> Result<F, serde_json::Error> {
    let mut fields = F::default();
    match scan::fields(text, |name, value| fields.set(name, value)) {
        Some(()) => {
            fields.set_portable();
            Ok(fields)
        }
        None => serde_json::from_str::<Read<F>>(text).map(|read| read.0),
    }
}

/// Fields as `serde_json` reads them.
struct Read<F>(F);

impl<'de: 'a, 'a, F: FieldSet<'a>> Deserialize<'de> for Read<F> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(FieldsVisitor(PhantomData)).map(Read)
    }
}

struct FieldsVisitor<'a, F>(PhantomData<(&'a (), F)>);

impl<'de: 'a, 'a, F: FieldSet<'a>> Visitor<'de> for FieldsVisitor<'a, F> {
    type Value = F;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<F, A::Error> {
        let mut fields = F::default();
        while let Some(name) = map.next_key::<String>()? {
            fields.set(&name, map.next_value::<&'de RawValue>()?.get());
        }
        Ok(fields)
    }
}

/// A present value; `null` counts as absent.
pub(super) fn present(value: Option<&str>) -> Option<Opaque<'_>> {
    value.filter(|json| *json != "null")
}

/// A value that is relayed or stored as it is: every receiver can read it.
pub(super) fn portable<'a>(field: &str, json: Opaque<'a>, is_known: bool) -> Result<Opaque<'a>, Reject> {
    if !is_known {
        check_portable(field, json)?;
    }
    Ok(json)
}

/// Checks that every receiver can read a value.
pub(super) fn check_portable(field: &str, json: &str) -> Result<(), Reject> {
    json::portable::check(json).map_err(|flaw| Reject::invalid(format!("{field} {flaw}")))
}

pub(super) fn required<T>(field: &str, value: Option<T>) -> Result<T, Reject> {
    value.ok_or_else(|| missing(field))
}

pub(super) fn missing(field: &str) -> Reject {
    Reject::invalid(format!("{field} is missing"))
}

pub(super) fn text<'a>(field: &str, value: Option<&'a str>) -> Result<Option<Cow<'a, str>>, Reject> {
    let Some(json) = present(value) else { return Ok(None) };
    if !json.starts_with('"') {
        return Err(Reject::invalid(format!("{field} must be a string")));
    }
    debug_assert!(json.len() >= 2 && json.ends_with('"'), "invariant: unread JSON is valid JSON");
    let inner = &json[1..json.len() - 1];
    if !inner.contains('\\') {
        return Ok(Some(Cow::Borrowed(inner)));
    }
    match serde_json::from_str::<String>(json) {
        Ok(text) => Ok(Some(Cow::Owned(text))),
        Err(_) => Err(Reject::invalid(format!("{field} is not valid Unicode"))),
    }
}

/// The name of a room, a user or a peer.
pub(super) fn name<'a>(field: &str, value: Option<&'a str>) -> Result<Option<Cow<'a, str>>, Reject> {
    let text = text(field, value)?;
    if text.as_deref().is_some_and(|text| !is_name(text)) {
        return Err(Reject::invalid(format!("{field} must have 1 to 128 bytes and no control characters")));
    }
    Ok(text)
}

/// A short text.
pub(super) fn label<'a>(field: &str, value: Option<&'a str>) -> Result<Option<Cow<'a, str>>, Reject> {
    let text = text(field, value)?;
    if text.as_deref().is_some_and(|text| text.len() > limits::LABEL_BYTES) {
        return Err(Reject::invalid(format!("{field} must have at most {} bytes", limits::LABEL_BYTES)));
    }
    if text.as_deref().is_some_and(|text| text.contains(char::is_control)) {
        return Err(Reject::invalid(format!("{field} must not have control characters")));
    }
    Ok(text)
}

pub(super) fn display_name(value: Option<&str>) -> Result<Option<Cow<'_, str>>, Reject> {
    let text = text("displayName", value)?;
    if text.as_deref().is_some_and(|text| text.len() > limits::DISPLAY_NAME_BYTES) {
        return Err(Reject::invalid(format!("displayName must have at most {} bytes", limits::DISPLAY_NAME_BYTES)));
    }
    if let Some(fault) = text.as_deref().and_then(name_fault) {
        return Err(Reject::invalid(format!("displayName must have {}", fault.as_str())));
    }
    Ok(text.filter(|text| !text.is_empty()))
}

/// What a member shows beside its name.
pub(super) fn member_data<'a>(value: Option<&'a str>, is_portable: bool) -> Result<Option<Opaque<'a>>, Reject> {
    let data = present(value).map(|json| portable("data", json, is_portable)).transpose()?;
    match data {
        Some(json) if json.len() > limits::MEMBER_DATA_BYTES => {
            let text = format!("data is larger than {} bytes", limits::MEMBER_DATA_BYTES);
            Err(Reject::new(Code::MessageTooLarge, text))
        }
        other => Ok(other),
    }
}

pub(super) fn flag(field: &str, value: Option<&str>) -> Result<Option<bool>, Reject> {
    match present(value) {
        None => Ok(None),
        Some("true") => Ok(Some(true)),
        Some("false") => Ok(Some(false)),
        Some(_) => Err(Reject::invalid(format!("{field} must be true or false"))),
    }
}

/// A whole number. `4.0` is one as well as `4`: JSON does not tell integers from other numbers (RFC 8259 §6).
pub(super) fn whole(field: &str, value: Option<&str>) -> Result<Option<u64>, Reject> {
    let Some(json) = present(value) else { return Ok(None) };
    let is_exact = |float: &f64| float.fract() == 0.0 && (0.0..=limits::SEQ_MAX as f64).contains(float);
    let float = || json.parse::<f64>().ok().filter(is_exact).map(|float| float as u64);
    let wrong = || Reject::invalid(format!("{field} must be a whole number that is not negative"));
    json.parse().ok().or_else(float).ok_or_else(wrong).map(Some)
}

/// The most messages that a client wants.
pub(super) fn limit(value: Option<&str>) -> Result<Option<usize>, Reject> {
    let range = 1..=PAGE_MAX as u64;
    match whole("limit", value) {
        Ok(Some(limit)) if range.contains(&limit) => Ok(Some(limit as usize)),
        Ok(None) => Ok(None),
        _ => Err(Reject::invalid(format!("limit must be a whole number from 1 to {PAGE_MAX}"))),
    }
}

/// The number of last messages that a client wants with a join.
pub(super) fn rewind(value: Option<&str>) -> Result<usize, Reject> {
    match whole("rewind", value) {
        Ok(count) if count.unwrap_or_default() <= limits::REWIND_MESSAGES as u64 => {
            Ok(count.unwrap_or_default() as usize)
        }
        _ => Err(Reject::invalid(format!("rewind must be a whole number from 0 to {}", limits::REWIND_MESSAGES))),
    }
}

/// The messages that a receipt is for: one of the fields `messageId`, `messageIds` and `upTo`.
pub(super) fn receipted<'a>(
    one: Option<&'a str>,
    these: Option<&'a str>,
    up_to: Option<&'a str>,
) -> Result<Receipted<'a>, Reject> {
    let most = limits::RECEIPTS_PER_REQUEST;
    match (text("messageId", one)?, present(these), text("upTo", up_to)?) {
        (Some(message), None, None) => Ok(Receipted::One(message)),
        (None, None, Some(message)) => Ok(Receipted::UpTo(message)),
        (None, Some(list), None) => match serde_json::from_str::<Vec<Cow<'a, str>>>(list) {
            Ok(list) if (1..=most).contains(&list.len()) => Ok(Receipted::These(list)),
            _ => Err(Reject::invalid(format!("messageIds must be a list of 1 to {most} strings"))),
        },
        (None, None, None) => Err(missing("messageId")),
        _ => Err(Reject::invalid("A receipt has one of messageId, messageIds and upTo")),
    }
}

pub(super) fn status(value: Option<&str>) -> Result<Status, Reject> {
    let status = required("status", text("status", value)?)?;
    Status::parse(&status).ok_or_else(|| Reject::invalid("status must be one of online, away, busy, offline"))
}

/// Whether a client can use a media server: `1`, `0` or a boolean.
pub(super) fn sfu(value: Option<&str>) -> Result<Option<bool>, Reject> {
    match present(value) {
        None => Ok(None),
        Some("1" | "true") => Ok(Some(true)),
        Some("0" | "false") => Ok(Some(false)),
        Some(_) => Err(Reject::invalid("sfu must be 1 or 0")),
    }
}

pub(super) fn media(value: Option<&str>) -> Result<Option<MediaState>, Reject> {
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
        Ok(Media { audio, video, screen }) => Ok(Some(MediaState { audio, video, screen, sfu: false })),
        Err(_) => Err(Reject::invalid("mediaState must be an object of the booleans audio, video and screen")),
    }
}

/// The body of a message, and its event unless that is the default. A message has `content`, or `data` with an `event`;
/// both names mean the same.
pub(super) fn body<'a>(
    event: Option<&'a str>,
    data: Option<&'a str>,
    content: Option<&'a str>,
    (bytes, is_portable): (usize, bool),
) -> Result<(Opaque<'a>, Option<Cow<'a, str>>), Reject> {
    let event = text("event", event)?;
    if event.as_deref().is_some_and(|event| !(1..=limits::EVENT_BYTES).contains(&event.len())) {
        return Err(Reject::invalid(format!("event must have 1 to {} bytes", limits::EVENT_BYTES)));
    }
    // A body of `null` is one: only a message that names its event can have it.
    let (field, body) = match (present(content), data) {
        (Some(content), None) => ("content", content),
        (None, Some(data)) => ("data", data),
        (None, None) => return Err(missing(if event.is_some() { "data" } else { "content" })),
        (Some(_), Some(_)) if event.is_some() => {
            return Err(Reject::invalid("A message has content or data, not both"));
        }
        // Clients of the first version may send further fields.
        (Some(content), Some(_)) => ("content", content),
    };
    if is_longer(body, bytes) {
        return Err(Reject::new(Code::MessageTooLarge, format!("{field} is larger than {bytes} bytes")));
    }
    let body = portable(field, body, is_portable)?;
    Ok((body, event.filter(|event| event != DEFAULT_EVENT)))
}

/// The event of a message that names none.
pub(super) const DEFAULT_EVENT: &str = "message";

/// Whether a message's content has more than `bytes` bytes. For a string, its text counts, not its escapes.
fn is_longer(content: &str, bytes: usize) -> bool {
    if content.len() <= bytes.saturating_add(2) {
        return false;
    }
    match serde_json::from_str::<Cow<'_, str>>(content) {
        Ok(text) => text.len() > bytes,
        Err(_) => true,
    }
}

/// A field of a message beside its content.
pub(super) fn extra<'a>(field: &str, value: Option<&'a str>, is_portable: bool) -> Result<Option<Opaque<'a>>, Reject> {
    let value = present(value).map(|json| portable(field, json, is_portable)).transpose()?;
    match value {
        Some(json) if json.len() > limits::EXTRA_BYTES => {
            let text = format!("{field} is larger than {} bytes", limits::EXTRA_BYTES);
            Err(Reject::new(Code::MessageTooLarge, text))
        }
        other => Ok(other),
    }
}
