//! Recovery: a client whose connection was lost goes on with another connection, in the same rooms and without a gap.
//!
//! A session (user, rooms, positions in their logs) is written to the store soon after its peer joins a room, so that a
//! client is recovered after a restart of the server as well, and again when the peer has departed. A session that a restart
//! does not need (no room, or no file) is kept by the shard itself ([`crate::shard::departed`]), and only after the
//! departure.

pub(super) mod appearances;
mod lost;
pub(super) mod resume;
pub(super) mod resume_socketio;
pub(super) mod returns;
pub(super) mod sessions;

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use crate::base::Name;
use crate::base::handle::{ConnSlot, PeerKey, RoomSlot};
use crate::base::ids::ConnectionId;
use crate::base::map::{Map, map};
use crate::base::time::Now;
use crate::codec::recovery::RecoveryKey;
use crate::domain::monitoring::SessionStats;
use crate::domain::reject::{Code, Reject};
use crate::shard::departed::DepartedSessions;
use crate::shard::net::Net;

pub(super) use appearances::Appearance;
use lost::LostSessions;
use resume::RawResume;
use returns::Returns;

/// State of the recovery of a shard's peers.
pub(super) struct Recovery {
    /// Peers whose sessions are to be written, and when, in monotonic milliseconds.
    unsaved: BTreeSet<PeerKey>,
    unsaved_due: u64,
    /// Sessions that this shard itself keeps after their connections.
    pub(super) departed: DepartedSessions,
    /// Sessions whose connections are lost, for statistics.
    lost: LostSessions,
    /// Raw clients that are being recovered.
    resumes: BTreeMap<ConnSlot, RawResume>,
    /// Socket.IO peers that were recovered, or are being recovered.
    pub(super) returns: Returns,
    /// Durable messages that were sent to their connections, and whose sockets may not have taken them yet.
    pub(super) unconfirmed: Vec<(ConnectionId, Name, Uuid)>,
    /// Appearances of members in rooms, where they are not the default.
    pub(super) appearances: Map<(PeerKey, RoomSlot), Appearance>,
    /// The key of the recovery tokens.
    pub(super) key: RecoveryKey,
}

impl Recovery {
    pub(super) fn new(window_ms: u64, key: &[u8; 32], seed: u64) -> Self {
        Self {
            unsaved: BTreeSet::new(),
            unsaved_due: 0,
            departed: DepartedSessions::new(window_ms),
            lost: LostSessions::new(window_ms, seed),
            resumes: BTreeMap::new(),
            returns: Returns::default(),
            unconfirmed: Vec::new(),
            appearances: map(seed),
            key: RecoveryKey::new(key),
        }
    }

    /// When sessions are to be written, in monotonic milliseconds.
    pub(super) fn next_due(&self) -> Option<u64> {
        (!self.unsaved.is_empty()).then_some(self.unsaved_due)
    }

    /// When the first session that is kept ends, in monotonic milliseconds.
    pub(super) fn next_end(&self) -> Option<u64> {
        [self.departed.next_due(), self.lost.next_due()].into_iter().flatten().min()
    }

    /// Forgets the sessions that have ended.
    pub(super) fn expire(&mut self, now: Now) {
        self.departed.expire(now);
        self.lost.expire(now);
    }

    /// Adds the sessions of lost connections to the counts of open ones.
    pub(super) fn count_lost(&mut self, now: Now, stats: &mut SessionStats) {
        self.lost.add_to(now, stats);
    }

    /// The raw connection that goes by this peer id in a room.
    pub(super) fn peer_named(&self, name: &str) -> Option<PeerKey> {
        let raw = self.appearances.iter().filter(|((peer, _), _)| peer.socketio().is_none());
        raw.filter(|(_, shown)| shown.peer.as_deref() == Some(name)).map(|((peer, _), _)| *peer).min()
    }

    /// Panics unless all that is kept belongs to peers that are here.
    pub(super) fn check_invariants(&self, net: &Net) {
        for (peer, _) in self.appearances.keys() {
            assert!(net.identity_of(*peer).is_some(), "invariant: an appearance belongs to an attached peer");
        }
        for slot in self.resumes.keys() {
            assert!(net.conns.contains(*slot), "invariant: a raw client that is being recovered has a connection");
        }
        self.returns.check_invariants(net);
    }
}

/// The refusal where no session can be recovered.
pub(super) fn failed() -> Reject {
    Reject::new(Code::RecoveryFailed, "There is nothing to recover with this token; join anew")
}
