//! Reference from a TCP connection to its Engine.IO session: the session that a WebSocket carries, or the one that
//! answers a poll or POST. The session may end first and its slot be reused; the reference detects that.

use crate::base::ids::Nonce;
use crate::codec::ws::FrameDecoder;

/// Reference to an Engine.IO session of the same shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionLink {
    /// Slot of the session.
    pub session: u32,
    /// 32 bits of the session id's random part.
    check: u32,
}

impl SessionLink {
    /// A reference to the session in slot `session` with this random part.
    pub fn new(session: u32, nonce: &Nonce) -> Self {
        Self { session, check: u32::from_ne_bytes([nonce[0], nonce[1], nonce[2], nonce[3]]) }
    }

    /// A reference that matches no session.
    pub fn none() -> Self {
        Self { session: u32::MAX, check: 0 }
    }

    /// Whether the session that is in the slot now, with this random part, is the referenced one.
    pub fn is(&self, nonce: &Nonce) -> bool {
        *self == Self::new(self.session, nonce)
    }
}

/// A WebSocket that carries a session or asks to take it over.
#[derive(Debug)]
pub struct EngineIoSocket {
    /// Incomplete frame or message.
    pub decoder: FrameDecoder,
    /// Reference to the session.
    pub link: SessionLink,
}
