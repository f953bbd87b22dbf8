//! WebSocket frames (RFC 6455 section 5), the client's side. Frames to the server are masked with the zero key, which is
//! a mask as good as any (section 5.3) and costs nothing to apply.

use super::{MESSAGE_BYTES_MAX, Reason, Scratch};

/// Longest payload of a control frame (section 5.5).
const CONTROL_BYTES_MAX: usize = 125;

/// Bits that only an extension may set; none is offered.
const RESERVED_BITS: u8 = 0x70;

const FINAL: u8 = 0x80;

/// The code of a close frame whose sender has done what it came for (RFC 6455 section 7.4.1).
pub(super) const NORMAL_CLOSURE: [u8; 2] = 1000u16.to_be_bytes();

const MASKED: u8 = 0x80;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opcode {
    Continuation = 0x0,
    Text = 0x1,
    Binary = 0x2,
    Close = 0x8,
    Ping = 0x9,
    Pong = 0xA,
}

/// A frame from the server.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Frame<'a> {
    pub(super) opcode: Opcode,
    /// Whether it ends its message.
    pub(super) is_final: bool,
    pub(super) payload: &'a [u8],
}

/// What stands at the start of the input.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Parsed<'a> {
    /// A frame, and how many bytes it has with its header.
    Whole(Frame<'a>, usize),
    /// Not all of a frame: it takes at least so many bytes to know more.
    Short(usize),
}

/// Looks at the start of `bytes`.
#[inline]
pub(super) fn parse(bytes: &[u8]) -> Result<Parsed<'_>, Reason> {
    let &[first, second, ref rest @ ..] = bytes else { return Ok(Parsed::Short(2)) };
    let opcode = opcode(first)?;
    if second & MASKED != 0 {
        return Err(Reason::Fault("a frame from the server is masked"));
    }
    let (length, header) = match second {
        126 => match rest.first_chunk() {
            Some(length) => (usize::from(u16::from_be_bytes(*length)), 4),
            None => return Ok(Parsed::Short(4)),
        },
        127 => match rest.first_chunk() {
            Some(length) => (usize::try_from(u64::from_be_bytes(*length)).unwrap_or(usize::MAX), 10),
            None => return Ok(Parsed::Short(10)),
        },
        length => (usize::from(length), 2),
    };
    let is_final = first & FINAL != 0;
    if length > CONTROL_BYTES_MAX && (opcode as u8 >= 8 || length > MESSAGE_BYTES_MAX) {
        return Err(Reason::Fault("a frame is too large"));
    }
    if !is_final && opcode as u8 >= 8 {
        return Err(Reason::Fault("a control frame is fragmented"));
    }
    match bytes.get(header..header + length) {
        Some(payload) => Ok(Parsed::Whole(Frame { opcode, is_final, payload }, header + length)),
        None => Ok(Parsed::Short(header + length)),
    }
}

#[inline]
fn opcode(first: u8) -> Result<Opcode, Reason> {
    if first & RESERVED_BITS != 0 {
        return Err(Reason::Fault("a frame uses an extension"));
    }
    match first & 0x0F {
        0x0 => Ok(Opcode::Continuation),
        0x1 => Ok(Opcode::Text),
        0x2 => Ok(Opcode::Binary),
        0x8 => Ok(Opcode::Close),
        0x9 => Ok(Opcode::Ping),
        0xA => Ok(Opcode::Pong),
        _ => Err(Reason::Fault("a frame of unknown kind")),
    }
}

/// A frame whose payload is these parts one after the other.
#[inline]
pub(super) fn encode(opcode: Opcode, parts: &[&[u8]]) -> Scratch {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut out = Scratch::new();
    out.push(FINAL | opcode as u8);
    match length {
        0..=125 => out.push(MASKED | length as u8),
        126..=65_535 => {
            out.push(MASKED | 126);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        _ => {
            out.push(MASKED | 127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&[0; 4]);
    for part in parts {
        out.extend_from_slice(part);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(opcode: Opcode, payload: &[u8], used: usize) -> Result<Parsed<'_>, Reason> {
        Ok(Parsed::Whole(Frame { opcode, is_final: true, payload }, used))
    }

    #[test]
    fn frames_are_found_whole_or_not_at_all() {
        let bytes = [0x81, 2, b'h', b'i', 0x89, 0, 0x88, 2, 0x03, 0xe8];
        assert_eq!(parse(&bytes), whole(Opcode::Text, b"hi", 4));
        assert_eq!(parse(&bytes[4..]), whole(Opcode::Ping, b"", 2));
        assert_eq!(parse(&bytes[6..]), whole(Opcode::Close, &[0x03, 0xe8], 4));
        assert_eq!(parse(&bytes[..3]), Ok(Parsed::Short(4)));
        assert_eq!(parse(&[]), Ok(Parsed::Short(2)));
        assert_eq!(
            parse(&[0x01, 1, b'a']).map(|parsed| matches!(parsed, Parsed::Whole(frame, 3) if !frame.is_final)),
            Ok(true)
        );
    }

    #[test]
    fn each_format_of_a_length_is_read() {
        for (header, length) in [
            (&[0x82, 126, 0, 126][..], 126),
            (&[0x82, 126, 0xFF, 0xFF], 65_535),
            (&[0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0], 65_536),
            (&[0x82, 127, 0, 0, 0, 0, 1, 0, 0, 0], MESSAGE_BYTES_MAX),
        ] {
            let payload = vec![b'x'; length];
            let bytes = [header, &payload].concat();
            assert_eq!(parse(&bytes), whole(Opcode::Binary, &payload, bytes.len()));
            assert_eq!(parse(&bytes[..bytes.len() - 1]), Ok(Parsed::Short(bytes.len())));
            assert_eq!(parse(&bytes[..3]), Ok(Parsed::Short(header.len())));
        }
    }

    #[test]
    fn what_a_server_must_not_send_is_a_fault() {
        for bytes in [
            &[0xC1, 0][..],
            &[0x91, 0],
            &[0x83, 0],
            &[0x81, 0x82, 0, 0, 0, 0],
            &[0x09, 0],
            &[0x88, 126, 0, 126],
            &[0x82, 127, 0, 0, 0, 0, 1, 0, 0, 1],
            &[0x82, 127, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF],
        ] {
            assert!(matches!(parse(bytes), Err(Reason::Fault(_))), "{bytes:x?}");
        }
    }

    #[test]
    fn frames_to_the_server_are_masked() {
        let frame = encode(Opcode::Text, &[b"h", b"", b"i"]);
        assert_eq!(frame[..], [0x81, 0x82, 0, 0, 0, 0, b'h', b'i']);
        assert_eq!(encode(Opcode::Text, &[&[0; 126]])[..4], [0x81, 0xFE, 0, 126]);
        assert_eq!(encode(Opcode::Text, &[&[0; 65_536]])[..10], [0x81, 0xFF, 0, 0, 0, 0, 0, 1, 0, 0]);
    }
}
