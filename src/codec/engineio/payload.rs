//! The body of a POST to its packets.
//!
//! A body is whole when it comes here: its bytes are counted off by [`http::BodyDecoder`](crate::codec::http::Body), and their
//! number is bounded. Three forms are read:
//!
//! - version 4: packets of text with the byte 0x1E between them;
//! - version 3: `<length>:<packet>` over and over, the length in UTF-16 code units;
//! - version 3, as bytes: `<00 text | 01 bytes> <length, a byte for each digit> <ff> <packet>` over and over, the length
//!   in bytes.

use super::packet::{decode_binary, decode_text};
use super::{EngineIoError, EngineIoPacket, PayloadLimits, Version};

/// Digits a length may have: more than any body's.
const LENGTH_DIGITS_MAX: usize = 9;

/// Between two packets in version 4.
pub(super) const SEPARATOR: char = '\u{1e}';

/// The kinds of packet in the binary form of version 3, and the end of a length.
pub(super) const IS_TEXT: u8 = 0;
pub(super) const IS_BINARY: u8 = 1;
pub(super) const LENGTH_END: u8 = 0xFF;

/// How packets are put together in a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Version 4.
    Separated,
    /// Version 3, as text.
    Counted,
    /// Version 3, as bytes.
    Binary,
}

impl Form {
    /// The form of a body, by its content type.
    ///
    /// # Errors
    /// Version 4 has no bodies of bytes.
    pub fn of_body(version: Version, is_octet_stream: bool) -> Result<Self, EngineIoError> {
        match (version, is_octet_stream) {
            (Version::V4, false) => Ok(Self::Separated),
            (Version::V4, true) => Err(EngineIoError::ContentType),
            (Version::V3, false) => Ok(Self::Counted),
            (Version::V3, true) => Ok(Self::Binary),
        }
    }

    pub(super) fn version(self) -> Version {
        match self {
            Self::Separated => Version::V4,
            Self::Counted | Self::Binary => Version::V3,
        }
    }
}

/// A body being read, packet by packet.
#[derive(Clone, Debug)]
pub struct Payload<'b> {
    rest: UnreadPayload<'b>,
    /// Packets that may still come.
    packets_left: usize,
}

/// What has not been read.
#[derive(Clone, Copy, Debug)]
enum UnreadPayload<'b> {
    /// `None` behind the last packet; an empty text is one more, malformed packet.
    Separated(Option<&'b str>),
    Counted(&'b str),
    Binary(&'b [u8]),
}

/// A packet cut out of its body.
enum EncodedPacket<'b> {
    Text(&'b str),
    Binary(&'b [u8]),
}

impl<'b> Payload<'b> {
    /// A body before its first packet.
    ///
    /// # Errors
    /// It is too large, has nothing in it, or is to be text and is not UTF-8.
    pub fn new(form: Form, body: &'b [u8], limits: &PayloadLimits) -> Result<Self, EngineIoError> {
        if body.len() > limits.payload_bytes {
            return Err(EngineIoError::TooLarge);
        }
        let text = || simdutf8::basic::from_utf8(body).map_err(|_| EngineIoError::InvalidUtf8);
        let rest = match form {
            Form::Separated => UnreadPayload::Separated(Some(text()?)),
            Form::Counted => UnreadPayload::Counted(text()?),
            Form::Binary => UnreadPayload::Binary(body),
        };
        if body.is_empty() {
            return Err(EngineIoError::Kind);
        }
        Ok(Self { rest, packets_left: limits.packets })
    }

    /// The next packet, or `None` behind the last one. Base64 is decoded into `scratch`.
    ///
    /// # Errors
    /// What comes next is no packet, or one too many. The caller reads no further.
    pub fn next<'a>(&mut self, scratch: &'a mut Vec<u8>) -> Result<Option<EngineIoPacket<'a>>, EngineIoError>
    where
        'b: 'a,
    {
        let version = self.version();
        let Some(piece) = self.piece()? else { return Ok(None) };
        self.packets_left = self.packets_left.checked_sub(1).ok_or(EngineIoError::TooManyPackets)?;
        match piece {
            EncodedPacket::Text(text) => decode_text(version, text, scratch).map(Some),
            EncodedPacket::Binary(bytes) => decode_binary(version, bytes).map(Some),
        }
    }

    fn version(&self) -> Version {
        match self.rest {
            UnreadPayload::Separated(_) => Version::V4,
            UnreadPayload::Counted(_) | UnreadPayload::Binary(_) => Version::V3,
        }
    }

    fn piece(&mut self) -> Result<Option<EncodedPacket<'b>>, EngineIoError> {
        match &mut self.rest {
            UnreadPayload::Separated(rest) => Ok(rest.take().map(|text| match text.split_once(SEPARATOR) {
                Some((piece, behind)) => {
                    *rest = Some(behind);
                    EncodedPacket::Text(piece)
                }
                None => EncodedPacket::Text(text),
            })),
            UnreadPayload::Counted(rest) => Ok(counted(rest)?.map(EncodedPacket::Text)),
            UnreadPayload::Binary(rest) => binary(rest),
        }
    }
}

/// Cuts the next packet off a text of counted ones. Packets of no length, which older writers make of an empty payload,
/// are none.
fn counted<'b>(rest: &mut &'b str) -> Result<Option<&'b str>, EngineIoError> {
    while !rest.is_empty() {
        let (digits, behind) = rest.split_once(':').ok_or(EngineIoError::Length)?;
        let units = length(digits.bytes().map(|digit| digit.wrapping_sub(b'0')))?;
        let (piece, behind) = split_at_units(behind, units).ok_or(EngineIoError::Length)?;
        *rest = behind;
        if !piece.is_empty() {
            return Ok(Some(piece));
        }
    }
    Ok(None)
}

/// Cuts the next packet off a binary payload.
fn binary<'b>(rest: &mut &'b [u8]) -> Result<Option<EncodedPacket<'b>>, EngineIoError> {
    while let [mark, behind @ ..] = *rest {
        let within = &behind[..behind.len().min(LENGTH_DIGITS_MAX + 1)];
        let end = within.iter().position(|&byte| byte == LENGTH_END).ok_or(EngineIoError::Length)?;
        let count = length(behind[..end].iter().copied())?;
        let (bytes, behind) = behind[end + 1..].split_at_checked(count).ok_or(EngineIoError::Length)?;
        *rest = behind;
        if bytes.is_empty() {
            continue;
        }
        return match *mark {
            IS_TEXT => simdutf8::basic::from_utf8(bytes)
                .map(|text| Some(EncodedPacket::Text(text)))
                .map_err(|_| EngineIoError::InvalidUtf8),
            IS_BINARY => Ok(Some(EncodedPacket::Binary(bytes))),
            _ => Err(EngineIoError::Kind),
        };
    }
    Ok(None)
}

/// The number that digits, as values of 0 to 9, spell.
fn length(digits: impl ExactSizeIterator<Item = u8>) -> Result<usize, EngineIoError> {
    if !(1..=LENGTH_DIGITS_MAX).contains(&digits.len()) {
        return Err(EngineIoError::Length);
    }
    let mut number = 0;
    for digit in digits {
        if digit > 9 {
            return Err(EngineIoError::Length);
        }
        number = number * 10 + usize::from(digit);
    }
    Ok(number)
}

/// Splits a text behind this many UTF-16 code units; `None` when it has fewer, or a character would be cut in two.
fn split_at_units(text: &str, units: usize) -> Option<(&str, &str)> {
    // A character has at most as many units as bytes: most texts are ASCII, where the two are the same.
    if text.as_bytes().get(..units)?.is_ascii() {
        return text.split_at_checked(units);
    }
    let mut left = units;
    for (at, character) in text.char_indices() {
        if left == 0 {
            return Some(text.split_at(at));
        }
        left = left.checked_sub(character.len_utf16())?;
    }
    (left == 0).then_some((text, ""))
}

/// The UTF-16 code units of a text.
pub(super) fn units(bytes: &[u8]) -> usize {
    if bytes.is_ascii() {
        return bytes.len();
    }
    // Each character has one byte that is no continuation, and two units when that byte begins four bytes.
    bytes.iter().map(|&byte| usize::from(byte & 0xC0 != 0x80) + usize::from(byte >= 0xF0)).sum()
}
