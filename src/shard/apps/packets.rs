//! Events as they go to sockets, and what a decision says of a socket.

use crate::base::Name;
use crate::codec::engineio::{self, Version};
use crate::codec::socketio::{Attachments, PacketTarget, SocketIoEvent, encode_event};
use crate::domain::app::{AppGiven, AppPacket};
use crate::domain::decision::Decision;

/// What a decision says of a socket.
pub(super) fn given_by(decision: &Decision) -> AppGiven {
    let shown = |user: &Name| decision.username.clone().unwrap_or_else(|| (**user).into());
    AppGiven { user: decision.user.clone().map(|user| (user.clone(), shown(&user))), data: decision.data.clone() }
}

/// A client's event as it goes to others.
pub(super) fn packet_of(event: SocketIoEvent<'_>, attachments: Attachments<'_>) -> AppPacket {
    let arguments = event.arguments.text();
    let mut values = String::with_capacity(event.name.len() + 1 + arguments.len());
    values.push_str(event.name);
    if !arguments.is_empty() {
        values.push(',');
        values.push_str(arguments);
    }
    AppPacket { values: values.into(), attachments: attachments.iter().map(Into::into).collect() }
}

/// Appends an event with its attachments, and its offset as one more argument.
pub(super) fn encode(
    out: &mut Vec<u8>,
    version: Version,
    target: &PacketTarget<'_>,
    packet: &AppPacket,
    offset: Option<&str>,
) {
    engineio::encode_text(out, |out| {
        encode_event(out, target, |out| {
            out.push(b'[');
            out.extend_from_slice(packet.values.as_bytes());
            if let Some(offset) = offset {
                out.extend_from_slice(b",\"");
                out.extend_from_slice(offset.as_bytes());
                out.push(b'"');
            }
            out.push(b']');
        });
    });
    packet.attachments.iter().for_each(|bytes| engineio::encode_binary(out, version, bytes));
}
