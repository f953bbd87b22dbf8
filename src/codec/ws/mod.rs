//! WebSocket frames (RFC 6455), the server's side: client bytes to [`FrameEvent`]s, answers to bytes, and the opening
//! handshake's arithmetic.
//!
//! It is not a connection: it never answers a ping, never echoes a close, holds no queue, knows no clock. Whoever calls
//! it does that.
//!
//! It promises:
//!
//! - **An idle connection holds nothing.** A [`FrameDecoder`] is one pointer, null between messages. A frame that lies whole
//!   in the input is unmasked where it lies and borrowed from there: no copy, no allocation.
//! - **Any split of the input gives the same events** and, if it comes to that, the same [`FrameError`].
//! - **Faults are found at the first byte that shows them**: text is validated as it arrives, and a message that will
//!   be too large is refused when its header says so, before any of it is kept.
//! - **Memory follows the bytes that came**, never the length that a header announced.
//!
//! After an [`FrameError`] or a [`FrameEvent::Close`] the caller stops decoding; what a decoder says from then on means nothing.
//!
//! Of the `tungstenite` crate it uses the close codes and the accept key. The frame header is read by hand:
//! tungstenite's `FrameHeader::parse` lets pass what RFC 6455 section 5 forbids (see `header`), and takes 8 to 14 ns
//! where decoding all of a frame of 128 bytes takes 15 here (`benches/websocket.rs` measures both).

mod close;
mod decode;
mod encode;
mod frames;
mod handshake;
mod header;
mod mask;
mod text;

#[cfg(test)]
mod tests;

pub use decode::{FrameDecoder, Input};
pub use encode::{
    FrameMark, ServerHeader, begin_binary, begin_text, encode_binary, encode_close, encode_close_without_code,
    encode_ping, encode_pong, encode_text, finish, header,
};
pub use frames::frames;
pub use handshake::{AcceptKey, UpgradeError, UpgradeRequest, VERSION, encode_switching_protocols};
pub use header::Opcode;

/// Longest payload of a ping, pong or close, in bytes (RFC 6455 section 5.5).
pub const CONTROL_BYTES_MAX: usize = 125;

/// What one client may make a decoder hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameLimits {
    /// Longest message, in payload bytes, all its fragments together.
    pub message_bytes: usize,
    /// Most frames that one message may be cut into. Empty fragments add no bytes, so only this ends a message made of
    /// them.
    pub fragments: u32,
}

impl Default for FrameLimits {
    fn default() -> Self {
        Self { message_bytes: 256 * 1024, fragments: 65_536 }
    }
}

/// One thing a client said: a whole message, or a control frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameEvent<'a> {
    /// A text message.
    Text(&'a str),
    /// A binary message.
    Binary(&'a [u8]),
    /// A ping, to be answered by a pong with the same payload of at most [`CONTROL_BYTES_MAX`] bytes.
    Ping(&'a [u8]),
    /// A pong, asked for or not.
    Pong(&'a [u8]),
    /// The client closes, with the code and reason it gave, if any. The last event.
    Close(Option<(u16, &'a str)>),
}

/// The client's fault: what it sent that no decoder may accept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// A frame that RFC 6455 forbids, and what is wrong with it.
    Protocol(&'static str),
    /// Text or a close reason that is not UTF-8.
    InvalidUtf8,
    /// A message longer than [`FrameLimits::message_bytes`].
    TooLarge,
    /// A message in more pieces than [`FrameLimits::fragments`].
    TooManyFragments,
}

impl FrameError {
    /// The code of the close frame that tells the client (RFC 6455 section 7.4.1).
    pub fn close_code(self) -> u16 {
        match self {
            Self::Protocol(_) => 1002,
            Self::InvalidUtf8 => 1007,
            Self::TooLarge | Self::TooManyFragments => 1009,
        }
    }

    /// The reason of the close frame that tells the client: one short phrase.
    pub fn text(self) -> &'static str {
        match self {
            Self::Protocol(text) => text,
            Self::InvalidUtf8 => "text is not UTF-8",
            Self::TooLarge => "message too large",
            Self::TooManyFragments => "message in too many fragments",
        }
    }
}

impl std::fmt::Display for FrameError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.text())
    }
}

impl std::error::Error for FrameError {}
