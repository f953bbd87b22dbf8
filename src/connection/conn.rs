//! State of a TCP connection. An idle connection costs this struct and its identity; a test fixes the size.

use crate::base::few::SmallList;
use crate::base::ids::Nonce;
use crate::base::wheel::Tick;
use crate::codec::ws;
use crate::connection::engineio_socket::EngineIoSocket;
use crate::connection::http::Http;
use crate::connection::outbound::Queue;
use crate::connection::standing::{Notice, Notices, Standing};
use crate::connection::websocket::WebSocket;
use crate::domain::access::Identity;

/// A TCP connection without its socket.
pub struct Conn {
    /// Protocol stage.
    pub stage: ConnStage,
    /// Bytes to be sent.
    pub queue: Queue,
    /// Identity of the client; `None` before authentication.
    pub identity: Option<Identity>,
    /// Rooms joined by the connection.
    pub rooms: SmallList<Membership>,
    /// Random part of the connection's id.
    pub nonce: Nonce,
    /// Tick of the valid entry on the timer wheel; other entries are stale. 0: none.
    pub armed: Tick,
    /// Timeout of the current stage, a tick; 0: never.
    pub deadline: Tick,
    /// Tick when bytes last arrived.
    pub seen: Tick,
    /// Expiry of the token, in seconds since 1970; 0: never.
    pub expires_at: u32,
    /// Pending requests, at most [`crate::base::limits::ASKS_PER_CONNECTION`].
    pub asks: u8,
    /// Pending joins; they are counted in `asks`, too.
    pub joins: u8,
    /// The application handshake.
    pub standing: Standing,
    /// Action after everything has been sent.
    pub ending: CloseState,
}

/// Protocol stage of a connection.
pub enum ConnStage {
    /// Waits for the PROXY protocol header; holds the bytes received so far.
    ProxyHeader(Vec<u8>),
    /// HTTP; the box exists while a request is incomplete or pending.
    Http(Option<Box<Http>>),
    /// WebSocket with the `raw` dialect.
    WebSocket(WebSocket),
    /// WebSocket that carries an Engine.IO session.
    EngineIoSocket(EngineIoSocket),
    /// WebSocket that echoes messages, for conformance suites.
    Echo(ws::FrameDecoder),
    /// An answer that goes on with the frames of a trace.
    Trace,
    /// Closed by this side; input is discarded until the peer closes, too.
    Draining,
}

/// Action after all bytes have been sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CloseState {
    /// None: the connection stays open.
    #[default]
    None,
    /// Shut down the sending side, then wait for the peer's end of stream.
    HalfClose,
    /// The sending side is shut down.
    HalfClosed,
    /// Close: the peer's stream has ended.
    Close,
    /// Close unless a request has arrived meanwhile.
    CloseIdle,
    /// Close at once and discard unsent bytes.
    Abort,
}

/// Membership of a connection in a room of its shard.
#[derive(Clone, Copy, Debug)]
pub struct Membership {
    /// Slot of the room in the shard.
    pub room: u32,
    /// Index of the connection in the room's list of members.
    pub position: u32,
}

impl Conn {
    /// State of a newly accepted connection.
    pub fn new(nonce: Nonce) -> Self {
        Self {
            stage: ConnStage::Http(None),
            queue: Queue::default(),
            identity: None,
            rooms: SmallList::None,
            nonce,
            armed: 0,
            deadline: 0,
            seen: 0,
            expires_at: 0,
            asks: 0,
            standing: Standing::new(Notices::UPON_REQUEST),
            joins: 0,
            ending: CloseState::None,
        }
    }

    /// Whether messages are delivered to it: an open `raw` WebSocket.
    pub fn is_listening(&self) -> bool {
        matches!(self.stage, ConnStage::WebSocket(_)) && self.ending == CloseState::None
    }

    /// Whether the presence of other users is delivered to it.
    pub fn gets_presence(&self) -> bool {
        self.is_listening() && self.standing.is_attached() && self.standing.gets(Notice::Presence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hot_structs_keep_their_size() {
        // An idle connection is one of these, 4 bytes of socket and its identity.
        assert_eq!(size_of::<Conn>(), 96);
        assert_eq!(size_of::<Membership>(), 8);
    }
}
