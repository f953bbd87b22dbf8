//! What a shard keeps for each TCP connection. An idle one is this struct and nothing behind it but its identity: every
//! field is a decision, and the size test says what it costs.

use crate::base::few::SmallList;
use crate::base::ids::Nonce;
use crate::base::wheel::Tick;
use crate::codec::ws;
use crate::connection::engineio_socket::EngineIoSocket;
use crate::connection::http::Http;
use crate::connection::outbound::Queue;
use crate::connection::websocket::WebSocket;
use crate::domain::access::Identity;

/// One TCP connection, without its socket.
pub struct Conn {
    /// How far it has come.
    pub stage: ConnStage,
    /// What waits to be sent.
    pub queue: Queue,
    /// Who is behind it; `None` until it is known.
    pub identity: Option<Identity>,
    /// The rooms it is a member of.
    pub rooms: SmallList<Membership>,
    /// The unguessable part of its id.
    pub nonce: Nonce,
    /// When it is to be looked at; other entries on the wheel are stale. 0: never.
    pub armed: Tick,
    /// When its present stage ends by itself; 0: never.
    pub deadline: Tick,
    /// When bytes last came.
    pub seen: Tick,
    /// When its token expires, in seconds since 1970; 0: never.
    pub expires_at: u32,
    /// Questions under way, [`crate::base::limits::ASKS_PER_CONNECTION`] at most.
    pub asks: u8,
    /// How many of them are joins.
    pub joins: u8,
    /// How far it has been taken in.
    pub standing: HandshakeState,
    /// What becomes of it once everything is sent.
    pub ending: CloseState,
}

/// How far a connection has come.
pub enum ConnStage {
    /// It comes by a proxy, which has yet to say whose it is; what came of that.
    ProxyHeader(Vec<u8>),
    /// It speaks HTTP; the box is there while something is incomplete or under way.
    Http(Option<Box<Http>>),
    /// It speaks WebSocket, in the `raw` dialect.
    WebSocket(WebSocket),
    /// It speaks WebSocket, and carries an Engine.IO session.
    EngineIoSocket(EngineIoSocket),
    /// It speaks WebSocket, and gets back what it sends; for test suites of the protocol.
    Echo(ws::FrameDecoder),
    /// It has left; what still comes is discarded until the other side ends, too.
    Draining,
}

/// How far a connection has been taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum HandshakeState {
    /// It has not been told anything.
    New,
    /// It has been told who it is, which is the first thing it hears.
    Greeted,
    /// Its user's keeper knows of it, too, and it hears how other users are.
    Attached,
}

/// What becomes of a connection once everything is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CloseState {
    /// It goes on.
    #[default]
    None,
    /// Our side of the stream is ended, then the other side's end is waited for.
    HalfClose,
    /// That has been done.
    HalfClosed,
    /// The other side has ended; it is closed.
    Close,
    /// It is closed at once, sent or not.
    Abort,
}

/// A connection's place in a room of its shard.
#[derive(Clone, Copy, Debug)]
pub struct Membership {
    /// The room, by its slot in the shard.
    pub room: u32,
    /// The connection's place in the room's list.
    pub position: u32,
}

impl Conn {
    /// A connection that has just been accepted.
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
            standing: HandshakeState::New,
            joins: 0,
            ending: CloseState::None,
        }
    }

    /// Whether it is told things: it speaks WebSocket and has not been told to go.
    pub fn is_listening(&self) -> bool {
        matches!(self.stage, ConnStage::WebSocket(_)) && self.ending == CloseState::None
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
