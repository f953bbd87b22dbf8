//! Packets of Socket.IO protocol 5, and those of protocol 4 that Socket.IO 2 clients use, as text and attachments:
//! `<type>[<n attachments>-][<namespace>,][<ack id>][JSON]`.
//!
//! This module does not know the server's namespaces or their clients, and does not interpret events: arguments stay
//! JSON text, in that `{"_placeholder":true,"num":n}` refers to the attachment n.
//!
//! Guarantees:
//!
//! - Decoded packets are borrowed from the message, without allocation. Only a packet with attachments is buffered
//!   until the last one has arrived, within a limit.
//! - Arguments of a decoded packet are valid JSON, so they may be forwarded unparsed.
//! - An idle [`SocketIoDecoder`] is one null pointer.
//! - Encoders append a complete Engine.IO packet including its `4`: the payload of a WebSocket message
//!   ([`engineio::encode_text`](super::engineio::encode_text)) or of a
//!   [`PayloadWriter`](super::engineio::PayloadWriter).
//!
//! Source: the protocol documents (socketio/socket.io-protocol).

mod arguments;
mod binary;
mod decode;
mod encode;
mod gather;
mod placeholders;

#[cfg(test)]
mod tests;

use std::borrow::Cow;

pub use arguments::Arguments;
pub use binary::{put_binaries, take_binaries};
pub use encode::{
    ArgumentsWriter, PacketTarget, begin_ack, begin_event, encode_accepted, encode_disconnect, encode_event,
    encode_joined, encode_refused, encode_refused_plainly,
};
pub use gather::{Attachments, GatheredPacket, SocketIoDecoder};

/// The main namespace; packets omit its name.
pub const MAIN: &str = "/";

/// Maximum of attachments per packet, as in the reference parser.
pub const ATTACHMENTS_MAX: usize = 10;

/// The largest ack id: the largest integer that JavaScript represents exactly.
pub const ACK_ID_MAX: u64 = (1 << 53) - 1;

/// Event names reserved by the client libraries.
pub const RESERVED_EVENTS: [&str; 6] =
    ["connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"];

/// A packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketIoPacket<'a> {
    /// Namespace, starting with `/`.
    pub namespace: &'a str,
    /// Query after `?` in the name of the namespace; protocol 4 only.
    pub query: Option<&'a str>,
    /// Ack id: requested by an event, answered by a [`PacketContent::Ack`].
    pub id: Option<u64>,
    /// Type and payload.
    pub content: PacketContent<'a>,
    /// Binary attachments.
    pub attachments: Attachments<'a>,
}

/// Type and payload of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PacketContent<'a> {
    /// CONNECT, with an optional JSON object.
    Connect(Option<&'a str>),
    /// DISCONNECT.
    Disconnect,
    /// EVENT.
    Event(SocketIoEvent<'a>),
    /// ACK, with the arguments of the acknowledgement.
    Ack(Arguments<'a>),
    /// CONNECT_ERROR, with any JSON value.
    ConnectError(&'a str),
}

/// An event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketIoEvent<'a> {
    /// Name as JSON: a string with quotes, or a number.
    pub name: &'a str,
    /// Arguments.
    pub arguments: Arguments<'a>,
}

impl<'a> SocketIoEvent<'a> {
    /// The name without quotes; `None` if it is a number or has escapes, unlike any name in a dialect.
    pub fn plain_name(&self) -> Option<&'a str> {
        let inner = self.name.strip_prefix('"')?.strip_suffix('"')?;
        (!inner.contains('\\')).then_some(inner)
    }

    /// The name as text; that of a number as it is written.
    pub fn text_name(&self) -> Cow<'a, str> {
        match self.plain_name() {
            Some(name) => name.into(),
            None => serde_json::from_str::<String>(self.name).map_or(self.name.into(), Cow::Owned),
        }
    }
}

/// Limits of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketIoLimits {
    /// Bytes of a packet including its attachments.
    pub packet_bytes: usize,
}

impl Default for SocketIoLimits {
    fn default() -> Self {
        Self { packet_bytes: 1_000_000 }
    }
}

/// Why a packet is refused. It ends the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketIoError {
    /// Missing or unknown packet type.
    Kind,
    /// Missing, malformed or zero number of attachments.
    AttachmentCount,
    /// More than [`ATTACHMENTS_MAX`] attachments.
    TooManyAttachments,
    /// Name of a namespace that contains control characters.
    Namespace,
    /// Ack id that is too large, missing in an ACK, or present in a type without.
    AckId,
    /// Malformed JSON.
    Json,
    /// JSON type that does not fit the packet type.
    Payload,
    /// Event name in [`RESERVED_EVENTS`].
    ReservedEvent,
    /// Text packet while attachments are pending.
    AttachmentAwaited,
    /// Placeholder without an attachment.
    Placeholder,
    /// Attachment without a packet.
    AttachmentUnasked,
    /// Binary value of a backend that is not base64.
    Base64,
    /// Packet of more than [`SocketIoLimits::packet_bytes`].
    TooLarge,
}

impl SocketIoError {
    /// Description, a phrase.
    pub fn text(self) -> &'static str {
        match self {
            Self::Kind => "packet of an unknown type",
            Self::AttachmentCount => "number of attachments is malformed",
            Self::TooManyAttachments => "too many attachments",
            Self::Namespace => "namespace is malformed",
            Self::AckId => "acknowledgement id is malformed or out of place",
            Self::Json => "payload is not JSON",
            Self::Payload => "payload does not fit the packet's type",
            Self::ReservedEvent => "event name is reserved",
            Self::AttachmentAwaited => "packet in place of an attachment",
            Self::Placeholder => "placeholder for no attachment",
            Self::AttachmentUnasked => "attachment without a packet",
            Self::Base64 => "$binary is not base64",
            Self::TooLarge => "packet too large",
        }
    }
}

impl std::fmt::Display for SocketIoError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.text())
    }
}

impl std::error::Error for SocketIoError {}
