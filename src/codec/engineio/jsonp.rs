//! JSONP: polling through script tags and forms, for browsers that could do no better. Payloads are text in either
//! direction.

use super::EngineIoError;
use crate::codec::http::query_value;
use crate::codec::json;

/// The content type of an answer.
pub const CONTENT_TYPE: &str = "text/javascript; charset=UTF-8";

/// Appends a script that hands a payload to the callback number `index`: `___eio[0]("…");`.
///
/// JSON is not quite JavaScript: before ECMAScript 2019 the two line separators must not stand in a literal.
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

/// Appends a text as it stands between a JSON string's quotes.
fn escape(out: &mut Vec<u8>, text: &str) {
    let start = out.len();
    json::string(out, text);
    out.pop();
    out.remove(start);
}

/// The payload in a form's field `d`. In it, a line feed was written as `\n`, and a backslash that stood before an `n` as
/// two, as browsers do not agree on the line ends of forms.
///
/// # Errors
/// There is no such field, or its escapes are broken.
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
