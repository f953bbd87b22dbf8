//! Strict parser of client frame headers, 2 to 14 bytes (RFC 6455 section 5.2).
//!
//! Rules about a single header are checked here, at the first byte that violates them. Rules about the order of frames
//! are checked by the decoder. `tungstenite`'s `FrameHeader::parse` refuses reserved opcodes only; it accepts reserved
//! bits, missing masks, long or fragmented control frames, and lengths that are negative or not minimal.

use super::{CONTROL_BYTES_MAX, FrameError};

/// Maximum size of a masked frame's header: 2 bytes, a 64-bit length, the mask.
pub(super) const HEADER_BYTES_MAX: usize = 14;

/// Bits of extensions: RSV1, RSV2, RSV3. They must be zero unless an extension that uses them was negotiated (RFC 6455
/// section 5.2).
const RESERVED_BITS: u8 = 0x70;

/// RSV1, which marks a message as compressed in its first frame (RFC 7692 section 6).
pub(super) const COMPRESSED: u8 = 0x40;

/// Opcode of a frame (RFC 6455 section 5.2); reserved ones are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Opcode {
    /// Continuation of a fragmented message.
    Continuation = 0x0,
    /// Text message, or its first fragment.
    Text = 0x1,
    /// Binary message, or its first fragment.
    Binary = 0x2,
    /// Close.
    Close = 0x8,
    /// Ping.
    Ping = 0x9,
    /// Pong.
    Pong = 0xA,
}

impl Opcode {
    /// Whether this is a control frame, allowed between the fragments of a message.
    pub fn is_control(self) -> bool {
        self as u8 & 0x8 != 0
    }
}

/// Header of a client frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FrameHeader {
    pub(super) opcode: Opcode,
    /// Whether the frame is the last one of its message.
    pub(super) is_final: bool,
    /// Whether the message that begins here is compressed.
    pub(super) is_packed: bool,
    pub(super) mask: [u8; 4],
    /// Length of the payload in bytes.
    pub(super) payload_bytes: u64,
    /// Length of the header in bytes.
    pub(super) header_bytes: usize,
}

/// Parses the header at the start of `bytes`; `None` while it is incomplete and valid so far. `may_pack`: messages may be
/// compressed.
#[inline]
pub(super) fn parse(bytes: &[u8], may_pack: bool) -> Result<Option<FrameHeader>, FrameError> {
    let Some(&first) = bytes.first() else { return Ok(None) };
    let opcode = opcode(first, may_pack)?;
    let is_final = first & 0x80 != 0;
    let Some(&second) = bytes.get(1) else { return Ok(None) };
    check_second(opcode, is_final, second)?;
    let (payload_bytes, mask_at) = match second & 0x7F {
        126 => {
            let Some(&length) = bytes[2..].first_chunk() else { return Ok(None) };
            (minimal(u64::from(u16::from_be_bytes(length)), 126)?, 4)
        }
        127 => {
            let Some(&length) = bytes[2..].first_chunk() else { return Ok(None) };
            (minimal(u64::from_be_bytes(length), 65_536)?, 10)
        }
        length => (u64::from(length), 2),
    };
    let Some(&mask) = bytes[mask_at..].first_chunk() else { return Ok(None) };
    let is_packed = first & COMPRESSED != 0;
    Ok(Some(FrameHeader { opcode, is_final, is_packed, mask, payload_bytes, header_bytes: mask_at + 4 }))
}

#[inline]
fn opcode(first: u8, may_pack: bool) -> Result<Opcode, FrameError> {
    // Only the first frame of a message says that it is compressed, and control frames are not.
    let is_packed = may_pack && first & RESERVED_BITS == COMPRESSED && matches!(first & 0x0F, 0x1 | 0x2);
    if first & RESERVED_BITS != 0 && !is_packed {
        return Err(FrameError::Protocol("reserved bit set"));
    }
    match first & 0x0F {
        0x0 => Ok(Opcode::Continuation),
        0x1 => Ok(Opcode::Text),
        0x2 => Ok(Opcode::Binary),
        0x8 => Ok(Opcode::Close),
        0x9 => Ok(Opcode::Ping),
        0xA => Ok(Opcode::Pong),
        _ => Err(FrameError::Protocol("reserved opcode")),
    }
}

#[inline]
fn check_second(opcode: Opcode, is_final: bool, second: u8) -> Result<(), FrameError> {
    if second & 0x80 == 0 {
        // "The server MUST close the connection upon receiving a frame that is not masked", section 5.1.
        return Err(FrameError::Protocol("frame is not masked"));
    }
    if opcode.is_control() {
        if !is_final {
            return Err(FrameError::Protocol("control frame is fragmented"));
        }
        if usize::from(second & 0x7F) > CONTROL_BYTES_MAX {
            return Err(FrameError::Protocol("control frame is longer than 125 bytes"));
        }
    }
    Ok(())
}

/// Section 5.2: "the minimal number of bytes MUST be used to encode the length", and "the most significant bit MUST be
/// 0".
#[inline]
fn minimal(length: u64, at_least: u64) -> Result<u64, FrameError> {
    if length < at_least {
        return Err(FrameError::Protocol("length is not minimal"));
    }
    if length > i64::MAX as u64 {
        return Err(FrameError::Protocol("length is negative"));
    }
    Ok(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_each_length_format() {
        let cases: [(&[u8], u64); 5] = [
            (&[0x82, 0x80, 1, 2, 3, 4], 0),
            (&[0x82, 0xFD, 1, 2, 3, 4], 125),
            (&[0x82, 0xFE, 0, 126, 1, 2, 3, 4], 126),
            (&[0x82, 0xFE, 0xFF, 0xFF, 1, 2, 3, 4], 65_535),
            (&[0x82, 0xFF, 0, 0, 0, 0, 0, 1, 0, 0, 1, 2, 3, 4], 65_536),
        ];
        for (bytes, payload_bytes) in cases {
            let header = parse(bytes, false).unwrap().unwrap();
            assert_eq!(
                header,
                FrameHeader {
                    opcode: Opcode::Binary,
                    is_final: true,
                    is_packed: false,
                    mask: [1, 2, 3, 4],
                    payload_bytes,
                    header_bytes: bytes.len()
                }
            );
            for length in 0..bytes.len() {
                assert_eq!(parse(&bytes[..length], false), Ok(None), "{length} bytes of {bytes:?}");
            }
        }
    }

    #[test]
    fn refuses_at_the_first_wrong_byte() {
        let cases: [(&[u8], &str); 15] = [
            (&[0xC1], "reserved bit set"),
            (&[0xA1], "reserved bit set"),
            (&[0x91], "reserved bit set"),
            (&[0x83], "reserved opcode"),
            (&[0x87], "reserved opcode"),
            (&[0x8B], "reserved opcode"),
            (&[0x8F], "reserved opcode"),
            (&[0x81, 0x05], "frame is not masked"),
            (&[0x09, 0x80], "control frame is fragmented"),
            (&[0x88, 0xFE], "control frame is longer than 125 bytes"),
            (&[0x8A, 0xFF], "control frame is longer than 125 bytes"),
            (&[0x81, 0xFE, 0, 125], "length is not minimal"),
            (&[0x81, 0xFF, 0, 0, 0, 0, 0, 0, 0, 5], "length is not minimal"),
            (&[0x81, 0xFF, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF], "length is not minimal"),
            (&[0x81, 0xFF, 0x80, 0, 0, 0, 0, 0, 0, 0], "length is negative"),
        ];
        for (bytes, text) in cases {
            assert_eq!(parse(bytes, false), Err(FrameError::Protocol(text)), "{bytes:?}");
            assert_eq!(parse(&bytes[..bytes.len() - 1], false), Ok(None), "all but the last of {bytes:?}");
        }
    }
}
