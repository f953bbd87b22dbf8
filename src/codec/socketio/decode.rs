//! Parser of packet texts.

use serde::de::IgnoredAny;

use super::{
    ACK_ID_MAX, ATTACHMENTS_MAX, Arguments, Attachments, MAIN, PacketContent, RESERVED_EVENTS, SocketIoError,
    SocketIoEvent, SocketIoPacket,
};
use crate::codec::engineio::Version;

/// Packet type.
#[derive(Clone, Copy, PartialEq, Eq)]
enum PacketType {
    Connect,
    Disconnect,
    Event,
    Ack,
    ConnectError,
}

/// Parses a packet; returns it with the number of attachments to follow. `version` is the Engine.IO version: 3 carries
/// protocol 4 of Socket.IO, whose namespaces may have a query.
///
/// # Errors
/// See [`SocketIoError`].
pub(super) fn parse(version: Version, text: &str) -> Result<(SocketIoPacket<'_>, usize), SocketIoError> {
    let (kind, is_binary) = kind(text)?;
    let rest = &text[1..];
    let (count, rest) = if is_binary { attachment_count(rest)? } else { (0, rest) };
    let (name, rest) = namespace(rest);
    let (namespace, query) = match name.split_once('?') {
        Some((namespace, query)) if version == Version::V3 => (namespace, Some(query)),
        _ => (name, None),
    };
    if name.bytes().any(|byte| byte.is_ascii_control()) {
        return Err(SocketIoError::Namespace);
    }
    let (id, payload) = ack_id(rest)?;
    let may_have_id = matches!(kind, PacketType::Event | PacketType::Ack);
    if (id.is_some() && !may_have_id) || (id.is_none() && kind == PacketType::Ack) {
        return Err(SocketIoError::AckId);
    }
    let content = content(kind, payload)?;
    Ok((SocketIoPacket { namespace, query, id, content, attachments: Attachments::default() }, count))
}

fn kind(text: &str) -> Result<(PacketType, bool), SocketIoError> {
    match text.as_bytes().first() {
        Some(b'0') => Ok((PacketType::Connect, false)),
        Some(b'1') => Ok((PacketType::Disconnect, false)),
        Some(b'2') => Ok((PacketType::Event, false)),
        Some(b'3') => Ok((PacketType::Ack, false)),
        Some(b'4') => Ok((PacketType::ConnectError, false)),
        Some(b'5') => Ok((PacketType::Event, true)),
        Some(b'6') => Ok((PacketType::Ack, true)),
        _ => Err(SocketIoError::Kind),
    }
}

fn attachment_count(text: &str) -> Result<(usize, &str), SocketIoError> {
    let (digits, rest) = text.split_at(digits(text));
    let rest = rest.strip_prefix('-').ok_or(SocketIoError::AttachmentCount)?;
    if digits.is_empty() || digits.bytes().all(|digit| digit == b'0') {
        return Err(SocketIoError::AttachmentCount);
    }
    // A number beyond 64 bits exceeds the limit, too.
    match digits.parse() {
        Ok(count) if count <= ATTACHMENTS_MAX => Ok((count, rest)),
        _ => Err(SocketIoError::TooManyAttachments),
    }
}

fn namespace(text: &str) -> (&str, &str) {
    if !text.starts_with('/') {
        return (MAIN, text);
    }
    text.split_once(',').unwrap_or((text, ""))
}

fn ack_id(text: &str) -> Result<(Option<u64>, &str), SocketIoError> {
    let (digits, rest) = text.split_at(digits(text));
    if digits.is_empty() {
        return Ok((None, rest));
    }
    match digits.parse() {
        Ok(id) if id <= ACK_ID_MAX => Ok((Some(id), rest)),
        _ => Err(SocketIoError::AckId),
    }
}

/// Number of leading digits.
fn digits(text: &str) -> usize {
    text.bytes().take_while(u8::is_ascii_digit).count()
}

fn content(kind: PacketType, payload: &str) -> Result<PacketContent<'_>, SocketIoError> {
    match kind {
        PacketType::Connect if payload.is_empty() => Ok(PacketContent::Connect(None)),
        PacketType::Connect => value(payload, "{").map(|object| PacketContent::Connect(Some(object))),
        PacketType::Disconnect if payload.is_empty() => Ok(PacketContent::Disconnect),
        PacketType::Disconnect => Err(SocketIoError::Payload),
        PacketType::Event => event(value(payload, "[")?).map(PacketContent::Event),
        PacketType::Ack => Ok(PacketContent::Ack(Arguments::of_array(value(payload, "[")?))),
        PacketType::ConnectError => value(payload, "").map(PacketContent::ConnectError),
    }
}

/// Validates a JSON value that starts with `start`.
fn value<'a>(payload: &'a str, start: &str) -> Result<&'a str, SocketIoError> {
    let payload = payload.trim_matches([' ', '\t', '\n', '\r']);
    if payload.is_empty() {
        return Err(SocketIoError::Payload);
    }
    if serde_json::from_str::<IgnoredAny>(payload).is_err() {
        return Err(SocketIoError::Json);
    }
    if payload.starts_with(start) { Ok(payload) } else { Err(SocketIoError::Payload) }
}

fn event(array: &str) -> Result<SocketIoEvent<'_>, SocketIoError> {
    let mut arguments = Arguments::of_array(array);
    let name = arguments.next().ok_or(SocketIoError::Payload)?;
    match name.as_bytes().first() {
        Some(b'"') if is_reserved(name) => Err(SocketIoError::ReservedEvent),
        Some(b'"' | b'-' | b'0'..=b'9') => Ok(SocketIoEvent { name, arguments }),
        _ => Err(SocketIoError::Payload),
    }
}

/// Whether a name, as JSON, is reserved.
fn is_reserved(name: &str) -> bool {
    let inner = &name[1..name.len() - 1];
    if !inner.contains('\\') {
        return RESERVED_EVENTS.contains(&inner);
    }
    // Escapes are rare, so an allocation is acceptable. A string that is not valid Unicode is none of these names.
    serde_json::from_str::<String>(name).is_ok_and(|name| RESERVED_EVENTS.contains(&name.as_str()))
}
