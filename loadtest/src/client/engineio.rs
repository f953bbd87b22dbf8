//! Engine.IO 4 packets: a digit that says what it is, and its data.

use serde::Deserialize;

use super::Reason;

pub(super) const OPEN: u8 = b'0';
pub(super) const CLOSE: u8 = b'1';
pub(super) const PING: u8 = b'2';
pub(super) const PONG: &[u8] = b"3";
pub(super) const MESSAGE: u8 = b'4';
pub(super) const NOOP: u8 = b'6';
/// A binary message in a text payload, as base64.
pub(super) const BASE64: u8 = b'b';

/// Joins the packets of a polling payload.
pub(super) const SEPARATOR: u8 = 0x1E;

/// What a server says first.
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Open {
    /// The session's name.
    pub(super) sid: String,
    /// Largest body of a `POST`, in bytes.
    #[serde(default = "unlimited")]
    pub(super) max_payload: usize,
}

fn unlimited() -> usize {
    usize::MAX
}

impl Open {
    /// Reads the data of an open packet.
    pub(super) fn parse(data: &[u8]) -> Result<Self, Reason> {
        serde_json::from_slice(data).map_err(|_| Reason::Fault("an open packet without a session id"))
    }
}
