//! WebSocket frames as a client sends and receives them (RFC 6455 section 5.2), written without the server's codec.

/// FIN.
pub const FINAL: u8 = 0x80;

/// The opcode of a text frame.
pub const TEXT: u8 = 1;

/// The opcode of a close frame.
pub const CLOSE: u8 = 8;

/// The opcode of a pong.
pub const PONG: u8 = 10;

/// A mask that changes every byte.
pub const MASK: [u8; 4] = [0x5A, 0xC3, 0x0F, 0x99];

/// Appends a client's frame; `first` is its first byte: FIN and opcode.
pub fn write_masked(out: &mut Vec<u8>, first: u8, payload: &[u8], mask: [u8; 4]) {
    out.push(first);
    match payload.len() {
        length @ 0..126 => out.push(0x80 | length as u8),
        length @ 126..65_536 => {
            out.push(0x80 | 126);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            out.push(0x80 | 127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&mask);
    out.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
}

/// A whole message in one frame of a client.
pub fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(payload.len() + 14);
    write_masked(&mut out, FINAL | opcode, payload, MASK);
    out
}

/// A text in one frame of a client.
pub fn text_frame(text: &str) -> Vec<u8> {
    frame(TEXT, text.as_bytes())
}

/// A server's frame at the start of `bytes`, if it is complete: its first byte and the range of its payload.
pub fn parse_unmasked(bytes: &[u8]) -> Option<(u8, std::ops::Range<usize>)> {
    let (&first, &second) = (bytes.first()?, bytes.get(1)?);
    assert_eq!(second & 0x80, 0, "a server's frame is not masked");
    let (start, length) = match second {
        126 => (4, usize::from(u16::from_be_bytes(*bytes.get(2..)?.first_chunk()?))),
        127 => (10, usize::try_from(u64::from_be_bytes(*bytes.get(2..)?.first_chunk()?)).expect("a length")),
        length => (2, usize::from(length)),
    };
    let end = start + length;
    (bytes.len() >= end).then_some((first, start..end))
}
