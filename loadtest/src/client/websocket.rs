//! One client's side of a WebSocket: just enough to drive a server hard. Frames are masked with the zero key, which is
//! a mask as good as any (RFC 6455 §5.3) and costs nothing to apply.

/// Appends the request that opens a WebSocket.
pub fn open(out: &mut Vec<u8>, host: &str, path: &str) {
    out.extend_from_slice(b"GET ");
    out.extend_from_slice(path.as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\nHost: ");
    out.extend_from_slice(host.as_bytes());
    out.extend_from_slice(
        b"\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
          Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    );
}

/// Appends a text frame.
pub fn text(out: &mut Vec<u8>, payload: &[u8]) {
    frame(out, 0x81, payload);
}

/// Appends the answer to a ping.
pub fn pong(out: &mut Vec<u8>, payload: &[u8]) {
    frame(out, 0x8a, payload);
}

fn frame(out: &mut Vec<u8>, first: u8, payload: &[u8]) {
    out.push(first);
    match payload.len() {
        length @ 0..=125 => out.push(0x80 | length as u8),
        length @ 126..=65_535 => {
            out.push(0x80 | 126);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            out.push(0x80 | 127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(payload);
}

/// A frame from the server.
#[derive(Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// Text or binary.
    Data(&'a [u8]),
    /// A ping to be answered.
    Ping(&'a [u8]),
    /// The server closes.
    Close,
    /// Anything else.
    Other,
}

/// Takes the first frame from `bytes`, with how many bytes it has; `None` while it is incomplete.
pub fn parse(bytes: &[u8]) -> Option<(Frame<'_>, usize)> {
    let (&first, rest) = bytes.split_first()?;
    let (&second, rest) = rest.split_first()?;
    let (length, head) = match second & 0x7f {
        126 => (u16::from_be_bytes(rest.get(..2)?.try_into().ok()?) as usize, 4),
        127 => (u64::from_be_bytes(rest.get(..8)?.try_into().ok()?) as usize, 10),
        length => (length as usize, 2),
    };
    let payload = bytes.get(head..head + length)?;
    let frame = match first & 0x0f {
        1 | 2 => Frame::Data(payload),
        8 => Frame::Close,
        9 => Frame::Ping(payload),
        _ => Frame::Other,
    };
    Some((frame, head + length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_found_whole_or_not_at_all() {
        let bytes = [0x81, 2, b'h', b'i', 0x89, 0, 0x88, 2, 0x03, 0xe8];
        assert_eq!(parse(&bytes), Some((Frame::Data(b"hi"), 4)));
        assert_eq!(parse(&bytes[4..]), Some((Frame::Ping(b""), 2)));
        assert_eq!(parse(&bytes[6..]), Some((Frame::Close, 4)));
        assert_eq!(parse(&bytes[..3]), None);
    }
}
