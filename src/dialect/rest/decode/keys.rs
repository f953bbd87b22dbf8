//! Bodies of the calls that make API keys.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::admin::instant;
use super::users::required;
use super::{Name, Reject, bodies, is_title, limits, read, whole};
use crate::dialect::rest::NewKey;
use crate::domain::api_key::{KeyAction, KeyActions};

bodies! {
    /// The body of `POST /api/v1/keys`, unread.
    KeyBody { name = "name", actions = "actions", room_prefixes = "roomPrefixes", expires_at = "expiresAt" }
    /// The body of `POST /api/v1/keys/:keyId/rotate`, unread.
    RotationBody { overlap_seconds = "overlapSeconds" }
}

/// The longest time that a rotated key's former secret stays good, in seconds.
const OVERLAP_S: u64 = 7 * 86_400;

pub(super) fn key(body: &KeyBody<'_>) -> Result<NewKey, Reject> {
    let label = format!("a string of 1 to {} bytes without control characters", limits::LABEL_BYTES);
    let names = KeyAction::ALL.map(KeyAction::as_str).join(", ");
    let prefixes =
        format!("a list of at most {} texts of 1 to 128 bytes without control characters", limits::KEY_PREFIXES);
    let parsed = |names: &Vec<String>| names.iter().map(|name| KeyAction::parse(name)).collect::<Option<KeyActions>>();
    let actions = read::<Vec<String>>("actions", body.actions, &format!("a list of some of {names}"), |names| {
        names.len() <= KeyAction::ALL.len() && parsed(names).is_some_and(|actions| !actions.is_empty())
    })?;
    Ok(NewKey {
        label: read::<Box<str>>("name", body.name, &label, |text| is_title(text, limits::LABEL_BYTES))?,
        actions: parsed(&required("actions", actions)?).unwrap_or_default(),
        rooms: read("roomPrefixes", body.room_prefixes, &prefixes, |list: &Vec<Box<str>>| {
            list.len() <= limits::KEY_PREFIXES && list.iter().all(|prefix| is_title(prefix, 128))
        })?
        .unwrap_or_default(),
        until: instant("expiresAt", body.expires_at)?,
        ..NewKey::default()
    })
}

pub(super) fn rotation(key: Name, body: &RotationBody<'_>) -> Result<NewKey, Reject> {
    let wanted = format!("a whole number from 0 to {OVERLAP_S}");
    let overlap = whole("overlapSeconds", body.overlap_seconds, &wanted, 0..=OVERLAP_S)?.unwrap_or(0);
    Ok(NewKey { rotated: Some((key, overlap * 1_000)), ..NewKey::default() })
}

#[cfg(test)]
mod tests {
    use super::super::fields;
    use super::*;

    fn read_key(text: &str) -> Result<NewKey, String> {
        fields(text).and_then(|body| key(&body)).map_err(|reject| reject.text.into_owned())
    }

    #[test]
    fn key_body_is_read_whole() {
        let body =
            r#"{"name":"billing","actions":["read","publish"],"roomPrefixes":["order-"],"expiresAt":1900000000}"#;
        let new = read_key(body).expect("it is whole");
        assert_eq!(new.actions.list().collect::<Vec<_>>(), [KeyAction::Publish, KeyAction::Read]);
        assert_eq!((new.label.as_deref(), new.until), (Some("billing"), Some(1_900_000_000_000)));
        assert_eq!(new.rooms, [Box::<str>::from("order-")]);
    }

    #[test]
    fn key_body_with_fault_names_it() {
        let table = [
            ("{}", "actions is missing"),
            (r#"{"actions":[]}"#, "actions must be a list of some of publish, rooms, read, admin"),
            (r#"{"actions":["write"]}"#, "actions must be a list of some of publish, rooms, read, admin"),
            (r#"{"actions":["read"],"expiresAt":"soon"}"#, "expiresAt must be milliseconds"),
            (r#"{"actions":["read"],"roomPrefixes":[""]}"#, "roomPrefixes must be a list of at most 16 texts"),
            (r#"{"actions":["read"],"name":"a\nb"}"#, "name must be a string of 1 to 64 bytes"),
        ];
        for (body, text) in table {
            let refused = read_key(body).expect_err(body);
            assert!(refused.starts_with(text), "{body}: {refused}");
        }
        assert!(rotation("k".into(), &fields(r#"{"overlapSeconds":-1}"#).expect("fields")).is_err());
    }
}
