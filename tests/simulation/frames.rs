//! The client's side of the wire: masked frames out, unmasked frames and HTTP responses in.

use support::frame::{parse_unmasked, write_masked};
use switchboard::base::rng::Rng;

/// One frame from the server.
#[derive(Debug, PartialEq)]
pub(crate) enum Frame {
    Text(String),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<u16>),
}

/// Appends a client's frame: `first` is its first byte, FIN and opcode.
pub(crate) fn masked(out: &mut Vec<u8>, rng: &mut Rng, first: u8, payload: &[u8]) {
    write_masked(out, first, payload, rng.next_u32().to_be_bytes());
}

/// Appends a text message, now and then in several frames with a ping between them.
pub(crate) fn masked_text(out: &mut Vec<u8>, rng: &mut Rng, text: &str) {
    if rng.below(10) != 0 {
        return masked(out, rng, 0x81, text.as_bytes());
    }
    let cut = rng.below(text.len() as u64 + 1) as usize;
    masked(out, rng, 0x01, &text.as_bytes()[..cut]);
    if rng.below(2) == 0 {
        masked(out, rng, 0x89, b"between");
    }
    masked(out, rng, 0x80, &text.as_bytes()[cut..]);
}

/// Takes the first frame out of `bytes`, once it is all there.
pub(crate) fn take_frame(bytes: &mut Vec<u8>) -> Option<Frame> {
    let (first, range) = parse_unmasked(bytes)?;
    let end = range.end;
    let payload = bytes[range].to_vec();
    bytes.drain(..end);
    Some(match first {
        0x81 => Frame::Text(String::from_utf8(payload).expect("text is UTF-8")),
        0x89 => Frame::Ping(payload),
        0x8A => Frame::Pong(payload),
        0x88 => Frame::Close(payload.first_chunk().map(|code| u16::from_be_bytes(*code))),
        other => panic!("a frame that begins with {other:#x}"),
    })
}

/// An HTTP response.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

/// Takes the first response out of `bytes`, once it is all there.
pub(crate) fn take_response(bytes: &mut Vec<u8>) -> Option<Response> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let head = String::from_utf8(bytes[..end].to_vec()).expect("a head is text");
    let status: u16 = head.split(' ').nth(1).and_then(|word| word.parse().ok()).expect("a status line");
    let length =
        head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ").map(str::to_owned));
    let length = match (status, length) {
        (101 | 204, None) => 0,
        (101 | 204, Some(_)) => panic!("a response without a body has no length: {head}"),
        (_, length) => length.and_then(|length| length.parse().ok()).expect("a length"),
    };
    let body = String::from_utf8(bytes.get(end..end + length)?.to_vec()).expect("a body is text");
    bytes.drain(..end + length);
    Some(Response { status, head, body })
}
