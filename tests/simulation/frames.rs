//! What goes over the wire, seen from the client's side: masked frames out, unmasked frames and HTTP responses in.

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
    let mask = rng.next_u32().to_be_bytes();
    out.extend_from_slice(&mask);
    out.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
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
    let (&first, &second) = (bytes.first()?, bytes.get(1)?);
    assert!(second & 0x80 == 0, "a server's frame is not masked");
    let (length, start) = match second {
        126 => (usize::from(u16::from_be_bytes([*bytes.get(2)?, *bytes.get(3)?])), 4),
        127 => (usize::try_from(u64::from_be_bytes(*bytes.get(2..)?.first_chunk()?)).expect("a length"), 10),
        length => (usize::from(length), 2),
    };
    let payload = bytes.get(start..start + length)?.to_vec();
    bytes.drain(..start + length);
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
