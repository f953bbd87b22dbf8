//! The call that watches a trace: its body, and the lines of its answer, with secrets masked.

use std::borrow::Cow;
use std::net::IpAddr;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::RestCall;
use super::decode::{read, whole};
use super::log_filters::subject_of;
use crate::base::limits;
use crate::base::time::rfc3339;
use crate::codec::json::Object;
use crate::domain::reject::Reject;
use crate::domain::trace::{FrameDirection, TraceSubject, TracedFrame};

/// The body of `POST /api/v1/trace`, unread.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct TraceBody<'a> {
    #[serde(borrow)]
    connection_id: Option<&'a RawValue>,
    #[serde(borrow)]
    user_id: Option<&'a RawValue>,
    #[serde(borrow)]
    room_id: Option<&'a RawValue>,
    #[serde(borrow)]
    address: Option<&'a RawValue>,
    #[serde(borrow)]
    seconds: Option<&'a RawValue>,
}

pub(super) fn watch(body: TraceBody<'_>) -> Result<RestCall, Reject> {
    let is_address = |text: &String| text.parse::<IpAddr>().is_ok();
    let address = read::<String>("address", body.address, "an IP address", is_address)?;
    let others = subject_of(body.connection_id, body.user_id, body.room_id)?;
    let wanted = format!("a whole number from 1 to {}", limits::TRACE_MAX_S);
    let seconds = whole("seconds", body.seconds, &wanted, 1..=limits::TRACE_MAX_S)?;
    let needed = || Reject::invalid("Exactly one of connectionId, userId, roomId and address is needed");
    let subject = match (address.and_then(|text| text.parse::<IpAddr>().ok()), others.as_slice()) {
        (Some(address), []) => TraceSubject::Address(address.to_canonical()),
        (None, [subject]) => TraceSubject::Of(subject.clone()),
        _ => return Err(needed()),
    };
    Ok(RestCall::Trace { subject, seconds: seconds.unwrap_or(limits::TRACE_S) })
}

/// Appends the line of a frame.
pub fn traced_frame(out: &mut Vec<u8>, frame: &TracedFrame<'_>) {
    let mut object = Object::begin(out);
    object.string("at", &rfc3339(frame.at));
    object.plain("direction", if frame.direction == FrameDirection::In { "in" } else { "out" });
    object.plain("kind", frame.kind).number("size", frame.size as u64);
    object.plain("connectionId", frame.connection.text().as_str()).optional("userId", frame.user);
    object.plain("address", &frame.address.to_string()).optional("frame", frame.text);
    if frame.is_cut {
        object.bool("isCut", true);
    }
    object.end();
    out.push(b'\n');
}

/// Appends the line that says how many frames a shard has left out.
pub fn skipped_frames(out: &mut Vec<u8>, count: u32) {
    Object::begin(out).number("skipped", count.into()).end();
    out.push(b'\n');
}

/// Names of values that are secrets: tokens, TURN credentials, and Socket.IO's private session id.
const SECRETS: [&str; 9] =
    ["token", "access_token", "recoveryToken", "resumeToken", "credential", "password", "secret", "hostSecret", "pid"];

const MASK: &str = "********";

/// A text with the values of secrets masked, and whatever looks like a JWT.
pub fn masked(text: &str) -> Cow<'_, str> {
    let mut found = Vec::new();
    let bytes = text.as_bytes();
    for name in SECRETS {
        for at in matches_of(text, name) {
            if let Some(range) = value_after(bytes, at, name.len()) {
                found.push(range);
            }
        }
    }
    for at in matches_of(text, "eyJ") {
        let is_word = |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        let end = at + bytes[at..].iter().take_while(is_word).count();
        if text[at..end].matches('.').count() >= 2 {
            found.push((at, end));
        }
    }
    if found.is_empty() {
        return Cow::Borrowed(text);
    }
    found.sort_unstable();
    let (mut masked, mut done) = (String::with_capacity(text.len()), 0);
    for (start, end) in found {
        if start >= done {
            masked.push_str(&text[done..start]);
            masked.push_str(MASK);
        }
        done = done.max(end);
    }
    masked.push_str(&text[done..]);
    Cow::Owned(masked)
}

/// Where a text begins in another one.
fn matches_of<'a>(text: &'a str, wanted: &'a str) -> impl Iterator<Item = usize> + 'a {
    text.match_indices(wanted).map(|(at, _)| at)
}

/// The range of the string that is the value of the name at `at`, also where quotes are escaped because the JSON is in a string.
fn value_after(bytes: &[u8], at: usize, length: usize) -> Option<(usize, usize)> {
    let is_quoted = at > 0 && bytes[at - 1] == b'"';
    let mut next = at + length;
    let mut escapes = 0;
    while bytes.get(next) == Some(&b'\\') {
        (next, escapes) = (next + 1, escapes + 1);
    }
    if !is_quoted || bytes.get(next) != Some(&b'"') {
        return None;
    }
    next += 1;
    let skip_space = |mut at: usize| {
        while bytes.get(at).is_some_and(u8::is_ascii_whitespace) {
            at += 1;
        }
        at
    };
    next = skip_space(next);
    if bytes.get(next) != Some(&b':') {
        return None;
    }
    next = skip_space(next + 1);
    next += bytes.get(next..next + escapes).filter(|it| it.iter().all(|byte| *byte == b'\\')).map_or(0, <[u8]>::len);
    if bytes.get(next) != Some(&b'"') {
        return None;
    }
    let start = next + 1;
    let mut end = start;
    // The string ends with a quote that has as many backslashes before it as the one that begins it.
    loop {
        let slashes = bytes[end..].iter().take_while(|byte| **byte == b'\\').count();
        match bytes.get(end + slashes) {
            None => return Some((start, bytes.len())),
            Some(b'"') if slashes <= escapes => return Some((start, end)),
            Some(_) if slashes > 0 => end += slashes + 1,
            Some(_) => end += 1,
        }
        if end >= bytes.len() {
            return Some((start, bytes.len()));
        }
    }
}

/// Whether a frame names a room: as a value of a field for rooms, or as what a Socket.IO event is about.
pub fn names_room(text: &str, quoted: &str) -> bool {
    text.match_indices(quoted).any(|(at, _)| {
        let before = text[..at].trim_end();
        let Some(before) = before.strip_suffix(':') else { return before.ends_with(',') || before.ends_with('[') };
        let before = before.trim_end();
        ["\"roomId\"", "\"chatId\"", "\"room\"", "\"meetingId\"", "\"rooms\""].iter().any(|name| before.ends_with(name))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_masked_in_each_form_and_other_values_are_not() {
        for (text, expected) in [
            (r#"{"type":"authenticate","token":"abc"}"#, r#"{"type":"authenticate","token":"********"}"#),
            (r#"40{"token" : "a\"b"}"#, r#"40{"token" : "********"}"#),
            (r#"{"recoveryToken":"x","userId":"token"}"#, r#"{"recoveryToken":"********","userId":"token"}"#),
            (
                r#"{"iceServers":[{"username":"1:u","credential":"p"}]}"#,
                r#"{"iceServers":[{"username":"1:u","credential":"********"}]}"#,
            ),
            (r#"42["auth","{\"token\":\"abc\"}"]"#, r#"42["auth","{\"token\":\"********\"}"]"#),
            (r#"42["auth","eyJhbGciOiJ9.eyJzdWIi.c2ln"]"#, r#"42["auth","********"]"#),
            (
                r#"{"token":7,"tokens":"seen","content":"my token: is"}"#,
                r#"{"token":7,"tokens":"seen","content":"my token: is"}"#,
            ),
            (r#"{"token":"never ends"#, r#"{"token":"********"#),
            ("40/chat,{\"sid\":\"a\",\"pid\":\"b\"}", "40/chat,{\"sid\":\"a\",\"pid\":\"********\"}"),
            ("eyJ not a token", "eyJ not a token"),
        ] {
            assert_eq!(masked(text), expected, "{text}");
        }
    }

    #[test]
    fn room_is_named_by_fields_for_rooms_only() {
        let is_named = |text| names_room(text, "\"tea\"");
        assert!(is_named(r#"{"type":"message","roomId":"tea"}"#));
        assert!(is_named(r#"42["join:chat",{"chatId" : "tea"}]"#));
        assert!(is_named(r#"42["join-room","tea"]"#));
        assert!(!is_named(r#"{"type":"message","roomId":"coffee","content":"tea"}"#));
        assert!(!is_named(r#"{"type":"message","roomId":"teapot"}"#));
    }
}
