//! Decoder of payloads: several packets in the body of a POST.
//!
//! The body is complete; [`http::BodyDecoder`](crate::codec::http::BodyDecoder) has collected and limited it. Three
//! forms exist:
//!
//! - version 4: text packets separated by the byte 0x1E;
//! - version 3: `<length>:<packet>` repeated, the length in UTF-16 code units;
//! - version 3, binary: `<00 text | 01 bytes> <length, one byte per digit> <ff> <packet>` repeated, the length in
//!   bytes.

use super::packet::{decode_binary, decode_text};
use super::{EngineIoError, EngineIoPacket, PayloadLimits, Version};

/// Maximum of digits of a length.
const LENGTH_DIGITS_MAX: usize = 9;

/// Separator of packets in version 4.
pub(super) const SEPARATOR: char = '\u{1e}';

/// Markers of the binary form in version 3: text packet, binary packet, end of a length.
pub(super) const IS_TEXT: u8 = 0;
pub(super) const IS_BINARY: u8 = 1;
pub(super) const LENGTH_END: u8 = 0xFF;

/// Form of a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Version 4.
    Separated,
    /// Version 3, text.
    Counted,
    /// Version 3, binary.
    Binary,
}

impl Form {
    /// The form of a body, by its content type.
    ///
    /// # Errors
    /// Version 4 has no binary form.
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

/// Iterator over the packets of a payload.
#[derive(Clone, Debug)]
pub struct Payload<'b> {
    rest: UnreadPayload<'b>,
    /// Remaining packets of the limit.
    packets_left: usize,
}

/// The rest of the body.
#[derive(Clone, Copy, Debug)]
enum UnreadPayload<'b> {
    /// `None` after the last packet; an empty text is another, malformed one.
    Separated(Option<&'b str>),
    Counted(&'b str),
    Binary(&'b [u8]),
}

/// A packet without its framing.
enum EncodedPacket<'b> {
    Text(&'b str),
    Binary(&'b [u8]),
}

impl<'b> Payload<'b> {
    /// Starts to decode a body.
    ///
    /// # Errors
    /// The body is too large, empty, or text that is not UTF-8.
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

    /// The next packet; `None` after the last one. Base64 is decoded into `scratch`.
    ///
    /// # Errors
    /// The packet is malformed, or the limit is exceeded. The caller stops decoding.
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

/// Splits the next packet off a text of version 3. Packets of length zero, which older clients send for an empty
/// payload, are skipped.
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

/// Splits the next packet off a binary payload.
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

/// The number with these digits, given as values 0 to 9.
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

/// Splits a text after `units` UTF-16 code units; `None` when it is shorter or a character would be split.
fn split_at_units(text: &str, units: usize) -> Option<(&str, &str)> {
    // A character has at most as many units as bytes. Most texts are ASCII, where both are the same.
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

/// Number of UTF-16 code units of a text.
pub(super) fn units(bytes: &[u8]) -> usize {
    if bytes.is_ascii() {
        return bytes.len();
    }
    // Each character has one byte that is not a continuation, and two units when that byte starts four bytes.
    bytes.iter().map(|&byte| usize::from(byte & 0xC0 != 0x80) + usize::from(byte >= 0xF0)).sum()
}
