//! Encoder of packets. Each function appends one Engine.IO message with its `4`; attachments follow as separate
//! messages.

use super::{ACK_ID_MAX, ATTACHMENTS_MAX, MAIN};
use crate::codec::json::{self, Object};

/// Header of an outgoing packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PacketTarget<'a> {
    /// Namespace, starting with `/`.
    pub namespace: &'a str,
    /// Ack id: requested by an event, answered by an ack.
    pub id: Option<u64>,
    /// Number of attachments, at most [`ATTACHMENTS_MAX`].
    pub attachments: usize,
}

impl<'a> PacketTarget<'a> {
    /// Header without ack id and attachments.
    pub fn namespace(namespace: &'a str) -> Self {
        Self { namespace, id: None, attachments: 0 }
    }
}

/// Appends the acceptance of a CONNECT, with the connection id and the recovery token.
pub fn encode_accepted(out: &mut Vec<u8>, namespace: &str, sid: &str, recovery_id: Option<&str>) {
    head(out, b'0', &PacketTarget::namespace(namespace));
    Object::begin(out).string("sid", sid).optional("pid", recovery_id).end();
}

/// Appends the acceptance of a CONNECT in protocol 4, without a payload.
pub fn encode_joined(out: &mut Vec<u8>, namespace: &str) {
    head(out, b'0', &PacketTarget::namespace(namespace));
}

/// Appends the refusal of a CONNECT; `data` is JSON.
pub fn encode_refused(out: &mut Vec<u8>, namespace: &str, message: &str, data: Option<&str>) {
    head(out, b'4', &PacketTarget::namespace(namespace));
    Object::begin(out).string("message", message).optional_raw("data", data).end();
}

/// Appends the refusal of a CONNECT in protocol 4, a string.
pub fn encode_refused_plainly(out: &mut Vec<u8>, namespace: &str, message: &str) {
    head(out, b'4', &PacketTarget::namespace(namespace));
    json::string(out, message);
}

/// Appends a DISCONNECT.
pub fn encode_disconnect(out: &mut Vec<u8>, namespace: &str) {
    head(out, b'1', &PacketTarget::namespace(namespace));
}

/// Starts an event.
pub fn begin_event<'o>(out: &'o mut Vec<u8>, target: &PacketTarget<'_>, name: &str) -> ArgumentsWriter<'o> {
    let mut writer = begin(out, if target.attachments > 0 { b'5' } else { b'2' }, target);
    writer.string(name);
    writer
}

/// Starts an ack.
pub fn begin_ack<'o>(out: &'o mut Vec<u8>, target: &PacketTarget<'_>) -> ArgumentsWriter<'o> {
    debug_assert!(target.id.is_some(), "invariant: an ack has the id of its event");
    begin(out, if target.attachments > 0 { b'6' } else { b'3' }, target)
}

/// Appends an event. `write` appends the JSON array, including the event name.
pub fn encode_event(out: &mut Vec<u8>, target: &PacketTarget<'_>, write: impl FnOnce(&mut Vec<u8>)) {
    head(out, if target.attachments > 0 { b'5' } else { b'2' }, target);
    write(out);
}

fn begin<'o>(out: &'o mut Vec<u8>, kind: u8, target: &PacketTarget<'_>) -> ArgumentsWriter<'o> {
    head(out, kind, target);
    ArgumentsWriter { out, separator: b'[' }
}

fn head(out: &mut Vec<u8>, kind: u8, target: &PacketTarget<'_>) {
    debug_assert!(
        target.attachments <= ATTACHMENTS_MAX && target.id.is_none_or(|id| id <= ACK_ID_MAX),
        "invariant: limits hold"
    );
    out.extend_from_slice(&[b'4', kind]);
    if target.attachments > 0 {
        json::number(out, target.attachments as u64);
        out.push(b'-');
    }
    if target.namespace != MAIN {
        out.extend_from_slice(target.namespace.as_bytes());
        out.push(b',');
    }
    if let Some(id) = target.id {
        json::number(out, id);
    }
}

/// Writes an array of arguments to the end of a buffer.
#[derive(Debug)]
#[must_use = "the array is open until `end`"]
pub struct ArgumentsWriter<'o> {
    out: &'o mut Vec<u8>,
    /// Separator before the next value.
    separator: u8,
}

impl ArgumentsWriter<'_> {
    /// Appends a JSON value by `write`.
    pub fn value(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> &mut Self {
        self.out.push(self.separator);
        self.separator = b',';
        write(self.out);
        self
    }

    /// Appends a string.
    pub fn string(&mut self, text: &str) -> &mut Self {
        self.value(|out| json::string(out, text))
    }

    /// Appends JSON text: one value, or several with commas between them.
    pub fn raw(&mut self, json: &str) -> &mut Self {
        if json.is_empty() {
            return self;
        }
        self.value(|out| out.extend_from_slice(json.as_bytes()))
    }

    /// Appends a placeholder.
    pub fn placeholder(&mut self, number: usize) -> &mut Self {
        self.value(|out| {
            out.extend_from_slice(b"{\"_placeholder\":true,\"num\":");
            json::number(out, number as u64);
            out.push(b'}');
        })
    }

    /// Closes the array.
    pub fn end(&mut self) {
        if self.separator == b'[' {
            self.out.push(b'[');
        }
        self.out.push(b']');
    }
}
