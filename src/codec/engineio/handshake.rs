//! The first packet of a session: what it is called and how it is kept alive.

use super::{PacketKind, Version};
use crate::codec::json::{self, Object};

/// What a client is told of its session.
#[derive(Clone, Copy, Debug)]
pub struct Open<'a> {
    /// The session's id.
    pub sid: &'a str,
    /// Whether the client may move on to a WebSocket.
    pub can_upgrade: bool,
    /// Between two pings, in milliseconds.
    pub ping_interval_ms: u64,
    /// How long to wait for a pong, in milliseconds.
    pub ping_timeout_ms: u64,
    /// The longest payload the server takes, in bytes.
    pub payload_bytes_max: usize,
}

/// Appends the packet's text, `0{…}`. Version 3 does not know `maxPayload`.
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
