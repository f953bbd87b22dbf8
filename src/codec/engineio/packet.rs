//! One packet by itself: in a WebSocket message, or between a payload's separators.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::{EngineIoError, EngineIoPacket, PacketData, PacketKind, Version};
use crate::codec::ws;

/// Padding is written, as the protocol's examples have it, and not asked for.
pub(super) const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What marks base64 in a packet of text.
pub(super) const BASE64_MARK: u8 = b'b';

/// Reads a packet that came as text: `<type>[data]`, or `b` and base64, which is decoded into `scratch`.
///
/// # Errors
/// The packet has no type or an unknown one, or its base64 is none.
pub fn decode_text<'a>(
    version: Version,
    text: &'a str,
    scratch: &'a mut Vec<u8>,
) -> Result<EngineIoPacket<'a>, EngineIoError> {
    let first = *text.as_bytes().first().ok_or(EngineIoError::Kind)?;
    if first != BASE64_MARK {
        let kind = PacketKind::from_digit(first)?;
        return Ok(EngineIoPacket::text(kind, &text[1..]));
    }
    let encoded = match version {
        Version::V4 => &text[1..],
        Version::V3 => text[1..].strip_prefix('4').ok_or(EngineIoError::Kind)?,
    };
    scratch.clear();
    BASE64.decode_vec(encoded, scratch).map_err(|_| EngineIoError::Base64)?;
    Ok(EngineIoPacket::binary(scratch))
}

/// Reads a packet that came as bytes: a message, in version 3 behind a byte that says so.
///
/// # Errors
/// In version 3 the first byte is not that of a message.
pub fn decode_binary(version: Version, bytes: &[u8]) -> Result<EngineIoPacket<'_>, EngineIoError> {
    match (version, bytes) {
        (Version::V4, bytes) => Ok(EngineIoPacket::binary(bytes)),
        (Version::V3, [4, bytes @ ..]) => Ok(EngineIoPacket::binary(bytes)),
        (Version::V3, _) => Err(EngineIoError::Kind),
    }
}

/// Appends a packet as a WebSocket frame.
pub fn encode_packet(out: &mut Vec<u8>, version: Version, packet: EngineIoPacket<'_>) {
    match packet.data {
        PacketData::Text(text) => encode_text(out, |out| {
            out.push(packet.kind.digit());
            out.extend_from_slice(text.as_bytes());
        }),
        PacketData::Binary(bytes) => encode_binary(out, version, bytes),
    }
}

/// Appends the WebSocket frame of a packet of text that `write` appends, its type included.
#[inline]
pub fn encode_text(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let mark = ws::begin_text(out);
    write(out);
    ws::finish(out, mark);
}

/// Appends the WebSocket frame of a message of bytes.
pub fn encode_binary(out: &mut Vec<u8>, version: Version, bytes: &[u8]) {
    let prefix: &[u8] = match version {
        Version::V4 => &[],
        Version::V3 => &[PacketKind::Message as u8],
    };
    out.extend_from_slice(&ws::header(ws::Opcode::Binary, prefix.len() + bytes.len()));
    out.extend_from_slice(prefix);
    out.extend_from_slice(bytes);
}
