//! Engine.IO 4 and 3: packets, over WebSocket frames and over polling payloads, and what surrounds them in HTTP: query
//! parameters, the handshake, JSONP, error bodies.
//!
//! It is not a session: it knows no transport's state, sends no ping and holds no queue. Nor does it read the messages;
//! Socket.IO is one layer up, in [`socketio`](super::socketio).
//!
//! It promises:
//!
//! - **What is decoded is borrowed** from the frame or body it came in. Only base64 is decoded into a buffer, the caller's.
//! - **One form for what goes out.** A packet is written once, as a WebSocket frame. What waits for a poll is a run of such
//!   frames, which a [`PayloadWriter`] turns into any version's payload and an upgrade sends as it is.
//! - **Bounds are checked first**: a payload's bytes before its text, its packets one by one.
//!
//! Sources: the protocol's texts for versions 3 and 4. Where the text of version 3 and its test suite differ, about the
//! length of a binary packet, the suite counts: the length includes the byte of the packet's type.

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

/// The data of the ping that asks whether a new transport works, and of the pong that says so.
pub const PROBE: &str = "probe";

/// A version of the protocol: what `EIO` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// Socket.IO 1 and 2. The client sends the pings.
    V3,
    /// Socket.IO 3 and 4. The server sends the pings.
    V4,
}

/// What a packet is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PacketKind {
    /// The server's handshake.
    Open = 0,
    /// The session ends.
    Close = 1,
    /// Is the other side there?
    Ping = 2,
    /// It is.
    Pong = 3,
    /// What the session is for.
    Message = 4,
    /// The client moves to the transport this comes by.
    Upgrade = 5,
    /// Nothing; it ends a poll.
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

/// What a packet carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PacketData<'a> {
    /// Text, perhaps empty.
    Text(&'a str),
    /// Bytes; only a message carries them.
    Binary(&'a [u8]),
}

/// One packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EngineIoPacket<'a> {
    /// What it is for.
    pub kind: PacketKind,
    /// What it carries.
    pub data: PacketData<'a>,
}

impl<'a> EngineIoPacket<'a> {
    /// A packet of text.
    pub fn text(kind: PacketKind, text: &'a str) -> Self {
        Self { kind, data: PacketData::Text(text) }
    }

    /// A message of bytes.
    pub fn binary(bytes: &'a [u8]) -> Self {
        Self { kind: PacketKind::Message, data: PacketData::Binary(bytes) }
    }
}

/// What one request may carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PayloadLimits {
    /// Bytes of a payload; what the handshake announces as `maxPayload`.
    pub payload_bytes: usize,
    /// Packets in a payload. A client that was offline sends all it has in one, so this is what the bytes hold of
    /// packets of 60 bytes, which is small for an event.
    pub packets: usize,
}

impl Default for PayloadLimits {
    fn default() -> Self {
        Self { payload_bytes: 1_000_000, packets: 16_384 }
    }
}

/// The client's fault: what it sent that is no packet, or too many of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EngineIoError {
    /// A packet without a type, or of one that there is not.
    Kind,
    /// Base64 that is none.
    Base64,
    /// Text that is not UTF-8.
    InvalidUtf8,
    /// A length that is no number, or does not fit what follows.
    Length,
    /// A body of bytes in a version that has only text.
    ContentType,
    /// A form without the field that carries the payload.
    Form,
    /// More bytes than [`PayloadLimits::payload_bytes`].
    TooLarge,
    /// More packets than [`PayloadLimits::packets`].
    TooManyPackets,
}

impl EngineIoError {
    /// What was wrong, as a phrase.
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
