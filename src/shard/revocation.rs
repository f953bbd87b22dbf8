//! Revocations on a shard: the list that new requests are checked against, and the end of connections that a new revocation
//! concerns. These are looked for together a moment later, so that many revocations at once cost one look at each connection.

use crate::base::Name;
use crate::base::handle::{ConnSlot, PeerKey, PeerSlot, SocketIoSlot};
use crate::base::time::Now;
use crate::domain::access::{Identity, Roles};
use crate::domain::op::{HostClaim, Op, RoomOp};
use crate::domain::revocation::{RevocationChange, Revocations, RevokedKind, Struck};
use crate::shard::core::Core;
use crate::shard::namespaces::Namespacing;
use crate::shard::peers::Departing;
use crate::shard::raw_sockets::RawSockets;

/// Time until connections are looked at, in milliseconds.
const SWEEP_MS: u64 = 100;

/// The list, and the part of it that connections were not checked against.
pub(super) struct RevocationFeed {
    list: Revocations,
    new: Revocations,
    /// When connections are checked, in monotonic milliseconds; 0: not at all.
    due: u64,
    seed: u64,
}

impl RevocationFeed {
    pub(super) fn new(seed: u64) -> Self {
        Self { list: Revocations::new(seed), new: Revocations::new(seed), due: 0, seed }
    }

    pub(super) fn list(&self) -> &Revocations {
        &self.list
    }

    /// Takes a change. Connections that it concerns are ended a moment later.
    pub(super) fn apply(&mut self, now: Now, change: &RevocationChange) {
        self.list.apply(now, change);
        match change {
            // No connection depends on a key.
            RevocationChange::Added(revocation) if revocation.subject.kind() == RevokedKind::Key => {}
            RevocationChange::Added(revocation) => self.new.insert(now, revocation.clone()),
            RevocationChange::Removed(subject) => drop(self.new.remove(subject)),
            RevocationChange::Replaced(all) => {
                all.iter().for_each(|revocation| self.new.insert(now, revocation.clone()));
            }
        }
        if self.due == 0 && !self.new.is_empty() {
            self.due = now.mono + SWEEP_MS;
        }
    }

    pub(super) fn next_due(&self) -> Option<u64> {
        (self.due != 0).then_some(self.due)
    }

    /// Takes the revocations that connections are to be checked against now.
    fn take_due(&mut self, now: Now) -> Option<Revocations> {
        if self.due == 0 || now.mono < self.due {
            return None;
        }
        self.due = 0;
        Some(std::mem::replace(&mut self.new, Revocations::new(self.seed)))
    }

    pub(super) fn check_invariants(&self) {
        self.list.check_invariants();
        self.new.check_invariants();
        assert!(self.due != 0 || self.new.is_empty(), "invariant: connections are checked against each revocation");
    }
}

/// Ends connections and memberships that were revoked.
pub(super) struct Revoking<'a> {
    core: &'a mut Core,
}

impl<'a> Revoking<'a> {
    pub(super) fn on(core: &'a mut Core) -> Self {
        Self { core }
    }

    /// Takes a change of the list.
    pub(super) fn change(&mut self, now: Now, change: &RevocationChange) {
        let Core { revocations, admission, .. } = &mut *self.core;
        revocations.apply(now, change);
        admission.forgive(change);
    }

    /// Checks all connections against the new revocations, if it is time.
    pub(super) fn sweep_if_due(&mut self, now: Now) {
        let Some(new) = self.core.revocations.take_due(now) else {
            // Not yet, or none are new.
            return;
        };
        let raw: Vec<ConnSlot> = self.core.net.listening_conns();
        let peers: Vec<SocketIoSlot> = self.core.net.sessions.peers.iter().map(|(slot, _)| slot).collect();
        let all = raw.into_iter().map(PeerKey::from).chain(peers.into_iter().map(PeerKey::from));
        for peer in all.collect::<Vec<PeerKey>>() {
            self.check(now, peer, &new);
        }
    }

    fn check(&mut self, now: Now, peer: PeerKey, new: &Revocations) {
        let net = &self.core.net;
        let (Some(identity), Some(remote)) = (net.identity_of(peer).cloned(), net.remote_of(peer, now)) else {
            // Not attached, or gone by the end of another one.
            return;
        };
        match new.strikes(now, &identity, remote.address) {
            Some(struck) => self.strike(now, peer, &struck),
            None => self.end_bans(now, peer, &identity, new),
        }
    }

    fn strike(&mut self, now: Now, peer: PeerKey, struck: &Struck) {
        let departing = match struck.kind {
            RevokedKind::User => Departing::Removed,
            // The user may come back: with another token, from another address.
            _ => Departing::Left,
        };
        match peer.slot() {
            PeerSlot::Raw(slot) => RawSockets::on(self.core).revoke(now, slot, struck, departing),
            PeerSlot::SocketIo(slot) => Namespacing::on(self.core).revoke(now, slot, &struck.reject, departing),
        }
    }

    /// Removes a peer's user from rooms that the user is banned from.
    fn end_bans(&mut self, now: Now, peer: PeerKey, identity: &Identity, new: &Revocations) {
        if new.members().next().is_none() {
            return;
        }
        let is_banned = |room: &Name| new.check_member(now, room, identity.user()).is_err();
        let rooms: Vec<Name> = self.core.rooms_of(peer).into_iter().filter(is_banned).collect();
        for room in rooms {
            self.core.send_detached(end_of_participation(room, identity.user_name()));
        }
    }

    /// Ends a membership that has begun although a ban came while it was requested.
    pub(super) fn check_joined(&mut self, now: Now, peer: PeerKey, room: &Name) {
        let Some(identity) = self.core.net.identity_of(peer) else {
            // The peer is gone, and with it the membership.
            return;
        };
        if self.core.revocations.list().check_member(now, room, identity.user()).is_err() {
            let op = end_of_participation(room.clone(), identity.user_name());
            self.core.send_detached(op);
        }
    }
}

/// Ends the participation of a user in a room, by the server.
pub(super) fn end_of_participation(room: Name, user: Name) -> Op {
    let server = Identity::new("switchboard", None, None, Roles { admin: true, ..Roles::default() });
    Op::Room(room, RoomOp::RemoveUser { by: HostClaim::from(server), user })
}
