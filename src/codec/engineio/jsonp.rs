//! JSONP: polling by script elements and forms, for old browsers. Payloads are text in both directions.

use super::EngineIoError;
use crate::codec::http::query_value;
use crate::codec::json;

/// Content type of a response.
pub const CONTENT_TYPE: &str = "text/javascript; charset=UTF-8";

/// Appends a script that passes a payload to the callback number `index`: `___eio[0]("…");`.
///
/// The characters U+2028 and U+2029 are escaped: they are valid in JSON strings, but not in JavaScript before
/// ECMAScript 2019.
pub fn encode(out: &mut Vec<u8>, index: u32, payload: &str) {
    out.extend_from_slice(b"___eio[");
    json::number(out, u64::from(index));
    out.extend_from_slice(b"](");
    let mut rest = payload;
    out.push(b'"');
    while !rest.is_empty() {
        let end = rest.find(['\u{2028}', '\u{2029}']).unwrap_or(rest.len());
        let (plain, behind) = rest.split_at(end);
        escape(out, plain);
        let mut characters = behind.chars();
        match characters.next() {
            Some('\u{2028}') => out.extend_from_slice(b"\\u2028"),
            Some(_) => out.extend_from_slice(b"\\u2029"),
            None => {}
        }
        rest = characters.as_str();
    }
    out.extend_from_slice(b"\");");
}

/// Appends a text, escaped as in a JSON string, without quotes.
fn escape(out: &mut Vec<u8>, text: &str) {
    let start = out.len();
    json::string(out, text);
    debug_assert_eq!(out.last(), Some(&b'"'), "invariant: a JSON string ends in a quote");
    out.pop();
    out.remove(start);
}

/// The payload in the field `d` of a form. The client writes a line feed as `\n` and a backslash before `n` twice, as
/// browsers normalise line ends in forms.
///
/// # Errors
/// The field is missing or its escapes are malformed.
pub fn decode(body: &[u8]) -> Result<String, EngineIoError> {
    let form = str::from_utf8(body).map_err(|_| EngineIoError::InvalidUtf8)?;
    let field = query_value(form, "d").ok_or(EngineIoError::Form)?;
    let mut text = String::with_capacity(field.len());
    let mut backslashes = 0;
    for character in field.chars() {
        match (character, backslashes) {
            ('n', 1) => {
                text.pop();
                text.push('\n');
            }
            ('n', 2..) => {
                text.pop();
                text.push('n');
            }
            _ => text.push(character),
        }
        backslashes = if character == '\\' { backslashes + 1 } else { 0 };
    }
    Ok(text)
}
