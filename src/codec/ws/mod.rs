//! WebSocket frames (RFC 6455), server side: decoder from client bytes to [`FrameEvent`]s, encoder of server frames,
//! opening handshake.
//!
//! This is not a connection: it does not answer pings, echo closes, queue frames or read a clock. The caller does.
//!
//! Guarantees:
//!
//! - An idle [`FrameDecoder`] is one null pointer. A frame that is complete in the input is unmasked in place and
//!   borrowed: no copy, no allocation.
//! - Events, and the [`FrameError`] if any, do not depend on how the input is split.
//! - Errors are detected at the first byte that proves them: text is validated as it arrives, and a message that
//!   exceeds the limit is refused by its header, before any of it is stored.
//! - Memory grows with the received bytes, not with announced lengths.
//!
//! After a [`FrameError`] or a [`FrameEvent::Close`] the caller stops decoding; further results are unspecified.
//!
//! The `tungstenite` crate provides close codes and the accept key. The frame header is parsed here: tungstenite's
//! `FrameHeader::parse` accepts headers that RFC 6455 section 5 forbids (see `header`), and takes 8 to 14 ns where
//! decoding a complete frame of 128 bytes takes 15 here (`benches/websocket.rs` measures both).

mod close;
mod decode;
mod deflate;
mod encode;
mod frames;
mod handshake;
mod header;
mod mask;
mod text;

#[cfg(test)]
mod tests;

pub use decode::{FrameDecoder, Input};
pub use deflate::{DeflateAgreement, Deflater, Inflater};
pub use encode::{
    FrameMark, ServerHeader, begin_binary, begin_text, encode_binary, encode_close, encode_close_without_code,
    encode_ping, encode_pong, encode_text, finish, header,
};
pub use frames::frames;
pub use handshake::{AcceptKey, UpgradeError, UpgradeRequest, VERSION, encode_switching_protocols};
pub use header::Opcode;

/// Maximum payload of a ping, pong or close, in bytes (RFC 6455 section 5.5).
pub const CONTROL_BYTES_MAX: usize = 125;

/// Limits of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameLimits {
    /// Payload bytes of a message, over all its fragments.
    pub message_bytes: usize,
    /// Frames of a message. Empty fragments add no bytes, so only this limits a message made of them.
    pub fragments: u32,
}

impl Default for FrameLimits {
    fn default() -> Self {
        Self { message_bytes: 256 * 1024, fragments: 65_536 }
    }
}

/// A complete message or a control frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameEvent<'a> {
    /// A text message.
    Text(&'a str),
    /// A binary message.
    Binary(&'a [u8]),
    /// A ping, to be answered by a pong with the same payload, at most [`CONTROL_BYTES_MAX`] bytes.
    Ping(&'a [u8]),
    /// A pong, solicited or not.
    Pong(&'a [u8]),
    /// A close with optional code and reason, the last event.
    Close(Option<(u16, &'a str)>),
}

/// Why a frame is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// A violation of RFC 6455, with its description.
    Protocol(&'static str),
    /// Text or a close reason that is not UTF-8.
    InvalidUtf8,
    /// A message that is marked as compressed and is not.
    NotCompressed,
    /// A message longer than [`FrameLimits::message_bytes`].
    TooLarge,
    /// A message of more than [`FrameLimits::fragments`] frames.
    TooManyFragments,
}

impl FrameError {
    /// Code of the close frame to send (RFC 6455 section 7.4.1).
    pub fn close_code(self) -> u16 {
        match self {
            Self::Protocol(_) => 1002,
            Self::InvalidUtf8 | Self::NotCompressed => 1007,
            Self::TooLarge | Self::TooManyFragments => 1009,
        }
    }

    /// Reason of the close frame to send, a short phrase.
    pub fn text(self) -> &'static str {
        match self {
            Self::Protocol(text) => text,
            Self::InvalidUtf8 => "text is not UTF-8",
            Self::NotCompressed => "not compressed data",
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
