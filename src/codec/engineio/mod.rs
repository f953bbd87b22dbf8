//! Engine.IO 4 and 3: packets, in WebSocket frames and polling payloads; query parameters, handshake, JSONP and errors
//! in HTTP.
//!
//! This module has no sessions: no transport state, no pings, no queues. It does not interpret messages;
//! [`socketio`](super::socketio) does.
//!
//! Guarantees:
//!
//! - Decoded data is borrowed from the frame or body. Only base64 is decoded into a buffer, the caller's.
//! - A packet is encoded once, as a WebSocket frame. A queue for polling is a run of such frames, which a
//!   [`PayloadWriter`] converts to a payload of any version and an upgrade sends unchanged.
//! - Limits are checked first: the size of a payload before its text, the number of packets one by one.
//!
//! Sources: the protocol documents of versions 3 and 4 (socketio/engine.io-protocol). Where the text of version 3 and
//! its test suite differ (length of a binary packet), the suite decides: the length includes the type byte.

mod handshake;
pub mod jsonp;
mod packet;
mod payload;
mod query;
mod refusal;
mod writer;

#[cfg(test)]
mod tests;

pub use handshake::{Open, encode_open};
pub use packet::{decode_binary, decode_text, encode_binary, encode_packet, encode_text};
pub use payload::{Form, Payload};
pub use query::{HandshakeQuery, Transport};
pub use refusal::EngineIoRefusal;
pub use writer::PayloadWriter;

/// Data of the ping and pong that probe a new transport.
pub const PROBE: &str = "probe";

/// Protocol version, the parameter `EIO`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// Used by Socket.IO 1 and 2. The client sends pings.
    V3,
    /// Used by Socket.IO 3 and 4. The server sends pings.
    V4,
}

/// Packet type; the discriminant is its number on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PacketKind {
    /// Handshake, from the server.
    Open = 0,
    /// End of the session.
    Close = 1,
    /// Heartbeat request.
    Ping = 2,
    /// Heartbeat response.
    Pong = 3,
    /// Message of the application.
    Message = 4,
    /// The client switches to this transport.
    Upgrade = 5,
    /// No content; completes a poll.
    Noop = 6,
}

impl PacketKind {
    fn from_number(number: u8) -> Result<Self, EngineIoError> {
        const KINDS: [PacketKind; 7] = [
            PacketKind::Open,
            PacketKind::Close,
            PacketKind::Ping,
            PacketKind::Pong,
            PacketKind::Message,
            PacketKind::Upgrade,
            PacketKind::Noop,
        ];
        KINDS.get(usize::from(number)).copied().ok_or(EngineIoError::Kind)
    }

    fn from_digit(digit: u8) -> Result<Self, EngineIoError> {
        Self::from_number(digit.wrapping_sub(b'0'))
    }

    fn digit(self) -> u8 {
        b'0' + self as u8
    }
}

/// Data of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PacketData<'a> {
    /// Text, possibly empty.
    Text(&'a str),
    /// Bytes, in a message only.
    Binary(&'a [u8]),
}

/// A packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EngineIoPacket<'a> {
    /// Type.
    pub kind: PacketKind,
    /// Data.
    pub data: PacketData<'a>,
}

impl<'a> EngineIoPacket<'a> {
    /// A text packet.
    pub fn text(kind: PacketKind, text: &'a str) -> Self {
        Self { kind, data: PacketData::Text(text) }
    }

    /// A binary message.
    pub fn binary(bytes: &'a [u8]) -> Self {
        Self { kind: PacketKind::Message, data: PacketData::Binary(bytes) }
    }
}

/// Limits of a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PayloadLimits {
    /// Bytes of a payload, announced as `maxPayload`.
    pub payload_bytes: usize,
    /// Packets of a payload. A client that was offline sends its whole queue at once; the default is the number of
    /// packets of 60 bytes, a small event, in the default size.
    pub packets: usize,
}

impl Default for PayloadLimits {
    fn default() -> Self {
        Self { payload_bytes: 1_000_000, packets: 16_384 }
    }
}

/// Why a packet or payload is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EngineIoError {
    /// Missing or unknown packet type.
    Kind,
    /// Malformed base64.
    Base64,
    /// Text that is not UTF-8.
    InvalidUtf8,
    /// A length that is not a number or exceeds the payload.
    Length,
    /// Binary body in a version that has only text.
    ContentType,
    /// Form without the field of the payload.
    Form,
    /// More bytes than [`PayloadLimits::payload_bytes`].
    TooLarge,
    /// More packets than [`PayloadLimits::packets`].
    TooManyPackets,
}

impl EngineIoError {
    /// Description, a phrase.
    pub fn text(self) -> &'static str {
        match self {
            Self::Kind => "packet of an unknown type",
            Self::Base64 => "base64 is malformed",
            Self::InvalidUtf8 => "text is not UTF-8",
            Self::Length => "packet length is malformed",
            Self::ContentType => "this protocol version has no binary payloads",
            Self::Form => "form without a payload",
            Self::TooLarge => "payload too large",
            Self::TooManyPackets => "too many packets in a payload",
        }
    }
}

impl std::fmt::Display for EngineIoError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.text())
    }
}

impl std::error::Error for EngineIoError {}
