//! Server frames to bytes: final, never fragmented, never masked (RFC 6455 section 5.1).
//!
//! Everything appends to a buffer that may already hold other frames. A payload of known length is written after its
//! [`header`]; one that is yet to be written goes between [`begin_text`] and [`finish`].

use super::header::Opcode;
use super::{CONTROL_BYTES_MAX, close};
use std::ops::Deref;

/// Longest server header: 2 bytes and a 64-bit length.
const HEADER_BYTES_MAX: usize = 10;

/// A server frame's header; dereferences to its 2, 4 or 10 bytes.
#[derive(Clone, Copy, Debug)]
pub struct ServerHeader {
    bytes: [u8; HEADER_BYTES_MAX],
    length: u8,
}

impl Deref for ServerHeader {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

/// The header of a whole message or control frame with `payload_bytes` bytes of payload.
#[inline]
pub fn header(opcode: Opcode, payload_bytes: usize) -> ServerHeader {
    let mut bytes = [0; HEADER_BYTES_MAX];
    bytes[0] = 0x80 | opcode as u8;
    let length = if payload_bytes < 126 {
        bytes[1] = payload_bytes as u8;
        2
    } else if let Ok(short) = u16::try_from(payload_bytes) {
        bytes[1] = 126;
        bytes[2..4].copy_from_slice(&short.to_be_bytes());
        4
    } else {
        bytes[1] = 127;
        bytes[2..].copy_from_slice(&(payload_bytes as u64).to_be_bytes());
        10
    };
    ServerHeader { bytes, length }
}

/// Appends a text message. `payload` is UTF-8; it is bytes because it usually comes from a serializer's buffer.
pub fn encode_text(out: &mut Vec<u8>, payload: &[u8]) {
    encode(out, Opcode::Text, payload);
}

/// Appends a binary message.
pub fn encode_binary(out: &mut Vec<u8>, payload: &[u8]) {
    encode(out, Opcode::Binary, payload);
}

/// Appends a ping; of the payload at most [`CONTROL_BYTES_MAX`] bytes.
pub fn encode_ping(out: &mut Vec<u8>, payload: &[u8]) {
    encode(out, Opcode::Ping, &payload[..payload.len().min(CONTROL_BYTES_MAX)]);
}

/// Appends a pong; of the payload at most [`CONTROL_BYTES_MAX`] bytes, so that of a ping always fits.
pub fn encode_pong(out: &mut Vec<u8>, payload: &[u8]) {
    encode(out, Opcode::Pong, &payload[..payload.len().min(CONTROL_BYTES_MAX)]);
}

/// Appends a close with a code that may be sent (RFC 6455 section 7.4) and as much of the reason, in whole characters,
/// as fits beside it into [`CONTROL_BYTES_MAX`] bytes.
pub fn encode_close(out: &mut Vec<u8>, code: u16, reason: &str) {
    debug_assert!(close::may_be_sent(code), "close code {code} is for local use only");
    let mut end = reason.len().min(CONTROL_BYTES_MAX - 2);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    out.extend_from_slice(&header(Opcode::Close, 2 + end));
    out.extend_from_slice(&code.to_be_bytes());
    out.extend_from_slice(&reason.as_bytes()[..end]);
}

/// Appends a close without a code: the echo of one that had none.
pub fn encode_close_without_code(out: &mut Vec<u8>) {
    encode(out, Opcode::Close, &[]);
}

#[inline]
fn encode(out: &mut Vec<u8>, opcode: Opcode, payload: &[u8]) {
    let ServerHeader { bytes, length } = header(opcode, payload.len());
    out.reserve(HEADER_BYTES_MAX + payload.len());
    // All ten bytes are copied, as a copy of fixed length is one or two stores and one of 2, 4 or 10 is a call.
    out.extend_from_slice(&bytes);
    out.truncate(out.len() - HEADER_BYTES_MAX + usize::from(length));
    out.extend_from_slice(payload);
}

/// Where a message begins whose length is not known yet; [`finish`] takes it back.
#[derive(Debug)]
#[must_use = "the frame has no header until `finish`"]
pub struct FrameMark {
    start: usize,
    opcode: Opcode,
}

/// Bytes kept free for the header of a message of unknown length.
///
/// With 4, a message of 126 to 65,535 bytes stays where it was written, and a shorter one moves down by two, which is
/// at most 125 bytes and 7 ns. With 2, every message of 126 bytes or more would move, whole. The start cannot move
/// instead, as other frames lie before it in the same buffer. Only a message of 64 KiB or more moves whole, by six
/// bytes, for about half of what it cost to copy it into the buffer.
const GAP_BYTES: usize = 4;

/// Begins a text message: the caller appends the payload to `out`, then calls [`finish`].
pub fn begin_text(out: &mut Vec<u8>) -> FrameMark {
    begin(out, Opcode::Text)
}

/// Begins a binary message: the caller appends the payload to `out`, then calls [`finish`].
pub fn begin_binary(out: &mut Vec<u8>) -> FrameMark {
    begin(out, Opcode::Binary)
}

fn begin(out: &mut Vec<u8>, opcode: Opcode) -> FrameMark {
    let start = out.len();
    out.extend_from_slice(&[0; GAP_BYTES]);
    FrameMark { start, opcode }
}

/// Ends a message: writes its header into the space kept for it and closes the gap.
///
/// # Panics
/// When `out` has been cut back to before the payload since `mark` was made: the caller's mistake.
pub fn finish(out: &mut Vec<u8>, mark: FrameMark) {
    let FrameMark { start, opcode } = mark;
    let payload_at = start + GAP_BYTES;
    assert!(out.len() >= payload_at, "the buffer was cut back since the message was begun");
    let payload_bytes = out.len() - payload_at;
    let ServerHeader { bytes, length } = header(opcode, payload_bytes);
    match length {
        2 => {
            out.copy_within(payload_at.., start + 2);
            out.truncate(start + 2 + payload_bytes);
            out[start..start + 2].copy_from_slice(&bytes[..2]);
        }
        4 => out[start..payload_at].copy_from_slice(&bytes[..GAP_BYTES]),
        _ => {
            out.resize(start + HEADER_BYTES_MAX + payload_bytes, 0);
            out.copy_within(payload_at..payload_at + payload_bytes, start + HEADER_BYTES_MAX);
            out[start..start + HEADER_BYTES_MAX].copy_from_slice(&bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_lengths() {
        let cases: [(usize, &[u8]); 6] = [
            (0, &[0x82, 0]),
            (125, &[0x82, 125]),
            (126, &[0x82, 126, 0, 126]),
            (65_535, &[0x82, 126, 0xFF, 0xFF]),
            (65_536, &[0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
            (1 << 32, &[0x82, 127, 0, 0, 0, 1, 0, 0, 0, 0]),
        ];
        for (payload_bytes, expected) in cases {
            assert_eq!(&*header(Opcode::Binary, payload_bytes), expected);
        }
    }

    #[test]
    fn examples_of_section_5_7() {
        let mut out = Vec::new();
        encode_text(&mut out, b"Hello");
        assert_eq!(out, b"\x81\x05Hello");
        out.clear();
        encode_ping(&mut out, b"Hello");
        assert_eq!(out, b"\x89\x05Hello");
        out.clear();
        encode_binary(&mut out, &[7; 256]);
        assert_eq!(out[..4], [0x82, 0x7E, 0x01, 0x00]);
        out.clear();
        encode_binary(&mut out, &[7; 65_536]);
        assert_eq!(out[..10], [0x82, 0x7F, 0, 0, 0, 0, 0, 1, 0, 0]);
    }

    #[test]
    fn unknown_length_gives_the_same_bytes() {
        for length in (0..=300).chain([65_535, 65_536, 70_000]) {
            let payload: Vec<u8> = (0..length).map(|index| index as u8).collect();
            let mut expected = b"before".to_vec();
            encode_text(&mut expected, &payload);
            encode_binary(&mut expected, b"after");
            let mut out = b"before".to_vec();
            let mark = begin_text(&mut out);
            out.extend_from_slice(&payload);
            finish(&mut out, mark);
            let mark = begin_binary(&mut out);
            out.extend_from_slice(b"after");
            finish(&mut out, mark);
            assert_eq!(out, expected, "{length} bytes");
        }
    }

    #[test]
    fn close_is_cut_between_characters() {
        let mut out = Vec::new();
        encode_close(&mut out, 1001, "bye");
        assert_eq!(out, b"\x88\x05\x03\xE9bye");
        out.clear();
        encode_close(&mut out, 4408, &"€".repeat(50));
        assert_eq!((out[1], out.len()), (125, 127));
        out.clear();
        encode_close(&mut out, 4408, &format!("a{}", "€".repeat(50)));
        assert_eq!((out[1], out.len()), (2 + 121, 4 + 121));
        assert!(std::str::from_utf8(&out[4..]).is_ok());
        out.clear();
        encode_close_without_code(&mut out);
        assert_eq!(out, b"\x88\x00");
    }

    #[test]
    fn control_payload_is_cut() {
        let mut out = Vec::new();
        encode_pong(&mut out, &[1; 200]);
        assert_eq!((out[0], out[1], out.len()), (0x8A, 125, 127));
    }
}
