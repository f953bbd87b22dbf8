//! A Socket.IO client's connection to one namespace: who the domain knows. It lives as long as its session says, and what
//! it is told goes where its session is carried at the moment.

use crate::base::few::SmallList;
use crate::base::ids::Nonce;
use crate::connection::engineio_socket::SessionLink;
use crate::connection::namespace::NamespaceIndex;
use crate::connection::websocket::SignalAllowance;
use crate::dialect::socketio::Dialect;
use crate::domain::access::Identity;

/// One peer.
#[derive(Debug)]
pub struct SocketIoPeer {
    /// The unguessable part of its id.
    pub nonce: Nonce,
    /// Its session.
    pub link: SessionLink,
    /// Who is behind it.
    pub identity: Option<Identity>,
    /// The rooms it is a member of.
    pub rooms: SmallList<PeerMembership>,
    /// When its token expires, in seconds since 1970; 0: never.
    pub expires_at: u32,
    /// Its allowance of signaling messages.
    pub signals: SignalAllowance,
    /// Its namespace.
    pub space: NamespaceIndex,
    /// The words it is told things in.
    pub dialect: Dialect,
    /// Whether that is certain; else its first event may tell that it speaks another one.
    pub is_settled: bool,
    /// Whether it has been told that it is connected, which is the first thing it hears.
    pub is_connected: bool,
    /// How many of its questions under way are joins.
    pub joins: u8,
    /// How it may be recovered.
    pub recovery: Recovery,
}

/// How a peer may be recovered once it is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recovery {
    /// Not at all.
    None,
    /// By a token that it has asked for.
    Token,
    /// By that, or by what it was given as it connected, and what it is told carries offsets.
    Offsets,
}

/// A peer's place in a room of its shard.
#[derive(Clone, Copy, Debug)]
pub struct PeerMembership {
    /// The room, by its slot in the shard.
    pub room: u32,
    /// The peer's place in the room's list.
    pub position: u32,
    /// The lower half of the number of the last message before those that the peer's offsets tell of.
    pub since: u32,
}

impl PeerMembership {
    /// The whole of [`PeerMembership::since`], in a room that is at message `seq`.
    pub fn since(&self, seq: u64) -> u64 {
        seq.saturating_sub(u64::from((seq as u32).wrapping_sub(self.since)))
    }
}

impl SocketIoPeer {
    /// One that wants to connect.
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
