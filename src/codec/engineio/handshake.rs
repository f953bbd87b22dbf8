//! The open packet, the first one of a session: its id and heartbeat.

use super::{PacketKind, Version};
use crate::codec::json::{self, Object};

/// Fields of the open packet.
#[derive(Clone, Copy, Debug)]
pub struct Open<'a> {
    /// Session id.
    pub sid: &'a str,
    /// Whether the client may upgrade to a WebSocket.
    pub can_upgrade: bool,
    /// Time between two pings, in milliseconds.
    pub ping_interval_ms: u64,
    /// Time limit for a pong, in milliseconds.
    pub ping_timeout_ms: u64,
    /// Maximum size of a payload, in bytes.
    pub payload_bytes_max: usize,
}

/// Appends the text of the packet, `0{…}`. Version 3 has no `maxPayload`.
pub fn encode_open(out: &mut Vec<u8>, version: Version, open: &Open<'_>) {
    out.push(PacketKind::Open.digit());
    let upgrades: &[&str] = if open.can_upgrade { &["websocket"] } else { &[] };
    let mut object = Object::begin(out);
    object
        .string("sid", open.sid)
        .list("upgrades", upgrades, |out, name| json::string(out, name))
        .number("pingInterval", open.ping_interval_ms)
        .number("pingTimeout", open.ping_timeout_ms);
    if version == Version::V4 {
        object.number("maxPayload", open.payload_bytes_max as u64);
    }
    object.end();
}
