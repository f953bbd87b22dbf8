//! A Socket.IO client's connection to one namespace: who the domain knows. It lives as long as its session says, and what
//! it is told goes where its session is carried at the moment.

use crate::base::few::Few;
use crate::base::ids::Nonce;
use crate::client::carrier::Link;
use crate::client::conn::Membership;
use crate::client::namespace::Space;
use crate::client::websocket::Signals;
use crate::dialect::socketio::Dialect;
use crate::domain::access::Identity;

/// One peer.
#[derive(Debug)]
pub struct Peer {
    /// The unguessable part of its id.
    pub nonce: Nonce,
    /// Its session.
    pub link: Link,
    /// Who is behind it.
    pub identity: Option<Identity>,
    /// The rooms it is a member of.
    pub rooms: Few<Membership>,
    /// When its token expires, in seconds since 1970; 0: never.
    pub expires_at: u32,
    /// Its allowance of signaling messages.
    pub signals: Signals,
    /// Its namespace.
    pub space: Space,
    /// The words it is told things in.
    pub dialect: Dialect,
    /// Whether that is certain; else its first event may tell that it speaks another one.
    pub is_settled: bool,
    /// Whether it has been told that it is connected, which is the first thing it hears.
    pub is_connected: bool,
    /// How many of its questions under way are joins.
    pub joins: u8,
}

impl Peer {
    /// One that wants to connect.
    pub fn new(nonce: Nonce, link: Link, space: Space, dialect: Dialect, mono: u64) -> Self {
        Self {
            nonce,
            link,
            identity: None,
            rooms: Few::None,
            expires_at: 0,
            signals: Signals::new(mono),
            space,
            dialect,
            is_settled: false,
            is_connected: false,
            joins: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_peer_is_small() {
        assert!(size_of::<Peer>() <= 64, "{} bytes", size_of::<Peer>());
    }
}
