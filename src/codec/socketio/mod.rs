//! Socket.IO 5 packets, and the vocabulary of version 4 that Socket.IO 2 clients use, as text and attachments:
//! `<type>[<n attachments>-][<namespace>,][<ack id>][JSON]`.
//!
//! It is not a connection to a namespace: it does not know which namespaces there are or who is in them. What an event
//! means is not here either: its arguments stay JSON text, in which `{"_placeholder":true,"num":n}` stands for the
//! attachment number n.
//!
//! It promises:
//!
//! - **What is decoded is borrowed** from the message it came in, and nothing is allocated. Only a packet with attachments
//!   is kept until the last of them has come, and how much is kept has a bound.
//! - **What is let through is JSON**, so it may be passed on unread.
//! - **An idle [`SocketIoDecoder`] is one null pointer.**
//! - Encoders append the whole Engine.IO packet, its `4` included, so that it is a WebSocket message's payload by itself
//!   ([`engineio::encode_text`](super::engineio::encode_text)) or goes into a
//!   [`PayloadWriter`](super::engineio::PayloadWriter).

mod arguments;
mod decode;
mod encode;
mod gather;
mod placeholders;

#[cfg(test)]
mod tests;

pub use arguments::Arguments;
pub use encode::{
    ArgumentsWriter, PacketTarget, begin_ack, begin_event, encode_accepted, encode_disconnect, encode_event,
    encode_joined, encode_refused, encode_refused_plainly,
};
pub use gather::{Attachments, GatheredPacket, SocketIoDecoder};

/// The main namespace, which packets do not name.
pub const MAIN: &str = "/";

/// Attachments a packet may have, as in the reference parser.
pub const ATTACHMENTS_MAX: usize = 10;

/// Bytes of a namespace's name, its query not counted.
pub const NAMESPACE_BYTES_MAX: usize = 128;

/// The largest ack id: the largest integer that JavaScript counts to exactly.
pub const ACK_ID_MAX: u64 = (1 << 53) - 1;

/// Event names with a meaning of their own in the clients, which no event may have.
pub const RESERVED_EVENTS: [&str; 6] =
    ["connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"];

/// One packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketIoPacket<'a> {
    /// The namespace it is for, beginning with `/`.
    pub namespace: &'a str,
    /// What follows `?` in the namespace's name; only where version 4 is spoken.
    pub query: Option<&'a str>,
    /// The number under which it is to be acknowledged, or, of an [`PacketContent::Ack`], which it acknowledges.
    pub id: Option<u64>,
    /// What it says.
    pub content: PacketContent<'a>,
    /// The bytes that stand for its placeholders.
    pub attachments: Attachments<'a>,
}

/// What a packet says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PacketContent<'a> {
    /// Into the namespace; with a JSON object or nothing.
    Connect(Option<&'a str>),
    /// Out of the namespace.
    Disconnect,
    /// Something happened.
    Event(SocketIoEvent<'a>),
    /// An event's answer.
    Ack(Arguments<'a>),
    /// Not into the namespace; with any JSON value.
    ConnectError(&'a str),
}

/// An event: a name and arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketIoEvent<'a> {
    /// The name as JSON: a text in quotes, or a number.
    pub name: &'a str,
    /// The arguments.
    pub arguments: Arguments<'a>,
}

impl<'a> SocketIoEvent<'a> {
    /// The name without its quotes; `None` when it is a number or has escapes, as no name that a dialect knows does.
    pub fn plain_name(&self) -> Option<&'a str> {
        let inner = self.name.strip_prefix('"')?.strip_suffix('"')?;
        (!inner.contains('\\')).then_some(inner)
    }
}

/// What one client may make a [`SocketIoDecoder`] hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketIoLimits {
    /// Bytes of a packet, all its attachments together.
    pub packet_bytes: usize,
}

impl Default for SocketIoLimits {
    fn default() -> Self {
        Self { packet_bytes: 1_000_000 }
    }
}

/// The client's fault: what it sent that is no packet. It ends the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketIoError {
    /// No type, or one that there is not.
    Kind,
    /// A number of attachments that is none, or is missing.
    AttachmentCount,
    /// More than [`ATTACHMENTS_MAX`] attachments.
    TooManyAttachments,
    /// A namespace's name that is too long or has control characters.
    Namespace,
    /// An ack id that is too large, missing where it must be, or there where it must not.
    AckId,
    /// What should be JSON is not.
    Json,
    /// JSON of the wrong kind for the packet's type.
    Payload,
    /// An event named like one of [`RESERVED_EVENTS`].
    ReservedEvent,
    /// A packet while attachments of another one are to come.
    AttachmentAwaited,
    /// A placeholder for an attachment that there is not.
    Placeholder,
    /// An attachment of no packet.
    AttachmentUnasked,
    /// A packet of more than [`SocketIoLimits::packet_bytes`].
    TooLarge,
}

impl SocketIoError {
    /// What was wrong, as a phrase.
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
