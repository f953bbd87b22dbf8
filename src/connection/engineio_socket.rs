//! How a TCP connection names the Engine.IO session that it carries: as its WebSocket, or by the request it is waiting
//! with. A session may end first, and another come to be in its slot; so a name is of no use beyond its session.

use crate::base::ids::Nonce;
use crate::codec::ws::FrameDecoder;

/// The name of a session, among its shard's connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionLink {
    /// The session's slot.
    pub session: u32,
    /// Some of what is random in its id.
    check: u32,
}

impl SessionLink {
    /// The name of the session in this slot whose id has this random part.
    pub fn new(session: u32, nonce: &Nonce) -> Self {
        Self { session, check: u32::from_ne_bytes([nonce[0], nonce[1], nonce[2], nonce[3]]) }
    }

    /// The name of no session.
    pub fn none() -> Self {
        Self { session: u32::MAX, check: 0 }
    }

    /// Whether the session in this slot now, whose id has this random part, is the one that is meant.
    pub fn is(&self, nonce: &Nonce) -> bool {
        *self == Self::new(self.session, nonce)
    }
}

/// A WebSocket that carries a session, or asks to.
#[derive(Debug)]
pub struct EngineIoSocket {
    /// What has come of a frame or message that is incomplete.
    pub decoder: FrameDecoder,
    /// The session.
    pub link: SessionLink,
}
