//! A client's bytes: the request that opens a WebSocket, and frames.

use switchboard::codec::ws::{Opcode, header};

/// A mask that changes every byte.
pub(crate) const MASK: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];

/// A frame as a client sends it.
pub(crate) fn client_frame(opcode: Opcode, payload: &[u8], mask: [u8; 4]) -> Vec<u8> {
    let mut frame = header(opcode, payload.len()).to_vec();
    frame[1] |= 0x80;
    frame.extend_from_slice(&mask);
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

/// A text in one frame, masked.
pub(crate) fn text_frame(text: &str) -> Vec<u8> {
    client_frame(Opcode::Text, text.as_bytes(), MASK)
}

/// The request that opens a WebSocket, with the token in its `Authorization` header if there is one.
pub(crate) fn upgrade(token: Option<&str>) -> Vec<u8> {
    let authorization = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
    format!(
        "GET /ws HTTP/1.1\r\nHost: signaling.example.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{authorization}\r\n"
    )
    .into_bytes()
}
