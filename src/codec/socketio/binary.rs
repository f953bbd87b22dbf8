//! Binary values in JSON: `{"$binary":"<base64>"}` in calls and hooks of the application, placeholders on the wire.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::arguments::text_length;
use super::{ATTACHMENTS_MAX, Attachments, SocketIoError};
use crate::codec::json;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Marked<'a> {
    #[serde(rename = "$binary", borrow)]
    base64: Cow<'a, str>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Placeholder {
    #[serde(rename = "_placeholder")]
    is_one: bool,
    num: usize,
}

/// Replaces the marked values of valid JSON by placeholders, and appends their bytes to `attachments`.
///
/// # Errors
/// A marked value is not base64, a placeholder is there already, or there are too many.
pub fn take_binaries(json: &str, attachments: &mut Vec<Box<[u8]>>) -> Result<String, SocketIoError> {
    let mut fault = None;
    let text = replace_objects(json, &["\"$binary\"", "\"_placeholder\"", "\"num\""], |object, out| {
        if object.parse::<Placeholder>().is_some_and(|placeholder| placeholder.is_one) {
            fault = Some(SocketIoError::Placeholder);
        }
        let Some(marked) = object.parse::<Marked<'_>>() else { return false };
        match STANDARD.decode(marked.base64.as_bytes()) {
            Ok(_) if attachments.len() >= ATTACHMENTS_MAX => fault = Some(SocketIoError::TooManyAttachments),
            Ok(bytes) => {
                out.extend_from_slice(b"{\"_placeholder\":true,\"num\":");
                json::number(out, attachments.len() as u64);
                out.push(b'}');
                attachments.push(bytes.into());
            }
            Err(_) => fault = Some(SocketIoError::Base64),
        }
        true
    });
    fault.map_or(Ok(text), Err)
}

/// Replaces the placeholders of valid JSON by the attachments that they refer to, as marked values.
pub fn put_binaries(json: &str, attachments: Attachments<'_>) -> String {
    if attachments.is_empty() {
        return json.to_owned();
    }
    replace_objects(json, &["\"_placeholder\"", "\"num\""], |object, out| {
        let bytes = object.parse::<Placeholder>().filter(|it| it.is_one).and_then(|it| attachments.get(it.num));
        let Some(bytes) = bytes else { return false };
        out.extend_from_slice(b"{\"$binary\":\"");
        out.extend_from_slice(STANDARD.encode(bytes).as_bytes());
        out.extend_from_slice(b"\"}");
        true
    })
}

/// An object in a JSON text.
struct JsonObject<'a>(&'a str);

impl<'a> JsonObject<'a> {
    fn parse<T: Deserialize<'a>>(&self) -> Option<T> {
        serde_json::Deserializer::from_str(self.0).into_iter::<T>().next()?.ok()
    }

    /// Its length; the objects in question contain no others.
    fn len(&self) -> usize {
        let mut end = 0;
        while let Some(byte) = self.0.as_bytes().get(end) {
            match byte {
                b'"' => end += text_length(&self.0.as_bytes()[end..]),
                b'}' => return end + 1,
                _ => end += 1,
            }
        }
        self.0.len()
    }
}

/// Copies valid JSON, except that `replace` may write another value for each object whose first field is one of `fields`.
fn replace_objects<'a>(
    json: &'a str,
    fields: &[&str],
    mut replace: impl FnMut(&JsonObject<'a>, &mut Vec<u8>) -> bool,
) -> String {
    let (bytes, mut out) = (json.as_bytes(), Vec::with_capacity(json.len()));
    let (mut at, mut copied) = (0, 0);
    while at < bytes.len() {
        match bytes[at] {
            b'"' => at = (at + text_length(&bytes[at..])).min(bytes.len()),
            b'{' => {
                let first = json[at + 1..].trim_start();
                let object = JsonObject(&json[at..]);
                if fields.iter().any(|field| first.starts_with(field)) {
                    out.extend_from_slice(&bytes[copied..at]);
                    copied = at;
                    if replace(&object, &mut out) {
                        at += object.len();
                        copied = at;
                        continue;
                    }
                }
                at += 1;
            }
            _ => at += 1,
        }
    }
    out.extend_from_slice(&bytes[copied..]);
    String::from_utf8(out).expect("invariant: JSON is cut at its own characters")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marked_values_become_attachments() {
        let mut attachments = Vec::new();
        let text = r#""e\"{",{"a":[{ "$binary" : "AQID" },{"$binary":""}]},{"$binary":"x","b":1},"{\"$binary\":\"\"}""#;
        let taken = take_binaries(text, &mut attachments).expect("good");
        let expected = r#""e\"{",{"a":[{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]},{"$binary":"x","b":1},"{\"$binary\":\"\"}""#;
        assert_eq!(taken, expected);
        assert_eq!(attachments, [Box::from([1_u8, 2, 3]), Box::from([0_u8; 0])]);
        assert_eq!(take_binaries(r#"{"$binary":"?"}"#, &mut Vec::new()), Err(SocketIoError::Base64));
        let forged = take_binaries(r#"[{"num":0,"_placeholder":true}]"#, &mut Vec::new());
        assert_eq!(forged, Err(SocketIoError::Placeholder));
        let many = [r#"{"$binary":""}"#; ATTACHMENTS_MAX + 1].join(",");
        assert_eq!(take_binaries(&many, &mut Vec::new()), Err(SocketIoError::TooManyAttachments));
    }

    #[test]
    fn placeholders_become_marked_values() {
        let (bytes, ends) = ([1, 2, 3, 4], [3, 4]);
        let attachments = Attachments::new(&bytes, &ends);
        let json = r#"[{"num":1, "_placeholder":true},{"x":{"_placeholder":true,"num":0}},"é{\"num\":0}",{"num":5}]"#;
        let expected = r#"[{"$binary":"BA=="},{"x":{"$binary":"AQID"}},"é{\"num\":0}",{"num":5}]"#;
        assert_eq!(put_binaries(json, attachments), expected);
        assert_eq!(put_binaries(json, Attachments::default()), json);
    }
}
