//! State of a Socket.IO client's connection to one namespace, a peer in the domain. Messages to it are sent on the
//! connection that carries its session at the moment.

use crate::base::few::SmallList;
use crate::base::ids::Nonce;
use crate::connection::engineio_socket::SessionLink;
use crate::connection::namespace::NamespaceIndex;
use crate::connection::websocket::SignalAllowance;
use crate::dialect::socketio::Dialect;
use crate::domain::access::Identity;

/// A Socket.IO peer.
#[derive(Debug)]
pub struct SocketIoPeer {
    /// Random part of the peer's id.
    pub nonce: Nonce,
    /// Reference to the session.
    pub link: SessionLink,
    /// Identity of the client; `None` before authentication.
    pub identity: Option<Identity>,
    /// Rooms joined by the peer.
    pub rooms: SmallList<PeerMembership>,
    /// Expiry of the token, in seconds since 1970; 0: never.
    pub expires_at: u32,
    /// Rate limit of signaling messages.
    pub signals: SignalAllowance,
    /// Namespace of the peer.
    pub space: NamespaceIndex,
    /// Dialect of the events sent to it.
    pub dialect: Dialect,
    /// Whether the dialect is final; otherwise the client's first event may select another one.
    pub is_settled: bool,
    /// Whether the CONNECT packet has been sent; it precedes all events.
    pub is_connected: bool,
    /// Number of pending joins.
    pub joins: u8,
    /// Recovery mode.
    pub recovery: Recovery,
}

/// Recovery mode of a peer after its connection is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recovery {
    /// No recovery.
    None,
    /// By a recovery token that the client has requested.
    Token,
    /// By a recovery token or by Socket.IO's `pid` and offset; events carry offsets.
    Offsets,
}

/// Membership of a peer in a room of its shard.
#[derive(Clone, Copy, Debug)]
pub struct PeerMembership {
    /// Slot of the room in the shard.
    pub room: u32,
    /// Index of the peer in the room's list of members.
    pub position: u32,
    /// Lower 32 bits of the seq before the first message that the peer's offsets cover.
    pub since: u32,
}

impl PeerMembership {
    /// The full seq of [`PeerMembership::since`], in a room whose last message is `seq`.
    pub fn since(&self, seq: u64) -> u64 {
        seq.saturating_sub(u64::from((seq as u32).wrapping_sub(self.since)))
    }
}

impl SocketIoPeer {
    /// State of a peer that asks to connect.
    pub fn new(nonce: Nonce, link: SessionLink, space: NamespaceIndex, dialect: Dialect, mono: u64) -> Self {
        Self {
            nonce,
            link,
            identity: None,
            rooms: SmallList::None,
            expires_at: 0,
            signals: SignalAllowance::new(mono),
            space,
            dialect,
            is_settled: false,
            is_connected: false,
            joins: 0,
            recovery: Recovery::None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_peer_is_small() {
        assert!(size_of::<SocketIoPeer>() <= 64, "{} bytes", size_of::<SocketIoPeer>());
        assert_eq!(size_of::<SmallList<PeerMembership>>(), 16);
    }

    #[test]
    fn half_a_number_tells_the_whole_of_it() {
        for (since, seq) in [(0, 0), (0, 7), (5, 5), (u64::from(u32::MAX) - 1, 1 << 32), (1 << 40, (1 << 40) + 9)] {
            let membership = PeerMembership { room: 0, position: 0, since: since as u32 };
            assert_eq!(membership.since(seq), since);
        }
    }
}
