//! Presence updates, gathered until the next tick: a peer gets all of them at once, the latest of each user only, and once,
//! however many rooms it shares with that user.

pub(super) mod online;
mod run;

use std::sync::Arc;

use crate::base::Name;
use crate::base::handle::{PeerKey, PeerSlot, Slot};
use crate::base::ids::ConnectionId;
use crate::base::map::{Map, map};
use crate::base::time::Now;
use crate::connection::outbound::Segment;
use crate::dialect::encoded_event::EncodedEvent;
use crate::dialect::socketio::Dialect;
use crate::message::{OwnerMessage, PresenceUpdate, UpdateReach};
use crate::shard::core::Core;
use crate::shard::net::Net;

use online::OnlineWaiters;
use run::UpdateRun;

/// Pending updates that memory is kept for.
const KEEP_UPDATES: usize = 64;

/// Updates to be sent at the next tick.
pub(super) struct Presence {
    /// In the order of their arrival.
    pending: Vec<PendingUpdate>,
    by_user: Map<Name, u32>,
    /// Peers that came since the last tick, each with the number of updates that were pending before it.
    newcomers: Vec<(PeerKey, u32)>,
    /// When they are sent, in monotonic milliseconds; 0 when there is none.
    due: u64,
    /// Peers that get the list of online users before they get updates.
    waiters: OnlineWaiters,
}

/// An update, and its recipients: none once there is a later update of the same user.
struct PendingUpdate {
    update: Arc<PresenceUpdate>,
    to: Recipients,
}

#[derive(Default)]
struct Recipients {
    /// All peers; the lists below do not matter then.
    everyone: bool,
    /// The members of these rooms.
    rooms: Vec<Name>,
    /// These connections.
    connections: Vec<ConnectionId>,
}

/// An encoding of updates.
#[derive(Clone, Copy, PartialEq, Eq)]
enum UpdateEncoding {
    Raw,
    SocketIo(Dialect),
}

impl UpdateEncoding {
    /// The bytes of an update.
    fn of(self, encoded: &EncodedEvent) -> &[u8] {
        match self {
            Self::Raw => &encoded.raw,
            Self::SocketIo(dialect) => {
                encoded.for_peers.as_ref().map_or(&[][..], |encodings| encodings.frames(dialect, None))
            }
        }
    }
}

impl Presence {
    pub(super) fn new(seed: u64) -> Self {
        let (pending, newcomers) = (Vec::new(), Vec::new());
        Self { pending, by_user: map(seed), newcomers, due: 0, waiters: OnlineWaiters::default() }
    }

    /// When updates are sent, in monotonic milliseconds; `None` while there is none, or while the list of online users that
    /// some peers get first is awaited.
    fn updates_due(&self) -> Option<u64> {
        (self.due != 0 && !self.waiters.is_requested()).then_some(self.due)
    }

    /// When updates are sent or the list of online users is requested, in monotonic milliseconds.
    pub(super) fn next_due(&self) -> Option<u64> {
        [self.updates_due(), self.waiters.next_due()].into_iter().flatten().min()
    }

    /// Whether a burst of updates has left memory that [`Presence::trim`] might give back.
    pub(super) fn is_large(&self) -> bool {
        // A map has room for more than it was asked for.
        self.pending.capacity() > KEEP_UPDATES || self.by_user.capacity() > 2 * KEEP_UPDATES
    }

    /// Gives back memory that a burst of updates has left.
    pub(super) fn trim(&mut self) {
        self.pending.shrink_to(KEEP_UPDATES);
        self.by_user.shrink_to(KEEP_UPDATES);
        self.newcomers.shrink_to(KEEP_UPDATES);
        self.waiters.trim();
    }

    /// A peer has come. It does not get the updates that are pending: about its own user they may even be wrong by now.
    pub(super) fn add_newcomer(&mut self, peer: PeerKey) {
        if !self.pending.is_empty() {
            self.newcomers.push((peer, self.pending.len() as u32));
        }
    }

    /// The recipients of an update, or of a later one of the same user.
    fn recipients(&mut self, update: Arc<PresenceUpdate>) -> &mut Recipients {
        let next = self.pending.len();
        let place = self.by_user.entry(update.user.clone()).or_insert(next as u32);
        let known = self.pending.get_mut(*place as usize);
        if known.as_ref().is_none_or(|known| known.update.number < update.number) {
            let to = known.map(|known| std::mem::take(&mut known.to)).unwrap_or_default();
            *place = next as u32;
            self.pending.push(PendingUpdate { update, to });
        }
        &mut self.pending[*place as usize].to
    }

    /// Panics unless each user's latest update is found.
    pub(super) fn check_invariants(&self) {
        for (user, place) in &self.by_user {
            let known = self.pending.get(*place as usize).expect("invariant: an update of a known user is pending");
            assert_eq!(known.update.user, *user, "invariant: an update is found by its user");
        }
        let is_due = self.due != 0 || self.pending.is_empty();
        assert!(is_due, "invariant: pending updates have a time");
    }
}

/// Receives and sends presence updates.
pub(super) struct PresenceFeed<'a> {
    core: &'a mut Core,
}

impl<'a> PresenceFeed<'a> {
    pub(super) fn on(core: &'a mut Core) -> Self {
        Self { core }
    }

    /// Takes an update for connections of this shard, to be sent at the next tick.
    pub(super) fn take(&mut self, now: Now, reach: UpdateReach, update: Arc<PresenceUpdate>) {
        let presence = &mut self.core.presence;
        match reach {
            UpdateReach::Around(of) => {
                let Some(peer) = self.core.net.find_peer(of) else {
                    // The peer has gone meanwhile, and its rooms have been told.
                    return;
                };
                for room in self.core.rooms_of(peer) {
                    let owner = self.core.channels.placement.of(&room);
                    let update = update.clone();
                    self.core.channels.post(owner, OwnerMessage::RoomPresence { room, update });
                }
                let to = self.core.presence.recipients(update);
                if !to.connections.contains(&of) {
                    to.connections.push(of);
                }
            }
            UpdateReach::Members(room) => {
                let to = presence.recipients(update);
                if !to.rooms.contains(&room) {
                    to.rooms.push(room);
                }
            }
            UpdateReach::Everyone => presence.recipients(update).everyone = true,
        }
        if self.core.presence.due == 0 {
            self.core.presence.due = now.mono + self.core.options.presence_batch_ms;
        }
    }

    /// Sends the pending updates, if it is time.
    pub(super) fn send_if_due(&mut self, now: Now) {
        if self.core.presence.updates_due().is_some_and(|at| at <= now.mono) {
            let presence = &mut self.core.presence;
            presence.due = 0;
            presence.by_user.clear();
            let mut pending = std::mem::take(&mut presence.pending);
            let mut newcomers = std::mem::take(&mut presence.newcomers);
            newcomers.sort_unstable();
            let has_socketio = !self.core.net.sessions.peers.is_empty();
            let dialects = Dialect::ALL.into_iter().filter(|_| has_socketio).map(UpdateEncoding::SocketIo);
            for encoding in [UpdateEncoding::Raw].into_iter().chain(dialects) {
                self.send_to_everyone(encoding, &pending, &newcomers);
                self.send_to_some(encoding, &pending, &newcomers);
            }
            pending.clear();
            newcomers.clear();
            (self.core.presence.pending, self.core.presence.newcomers) = (pending, newcomers);
        }
    }

    /// Sends the peers of one encoding the updates for all peers.
    fn send_to_everyone(&mut self, encoding: UpdateEncoding, pending: &[PendingUpdate], newcomers: &[(PeerKey, u32)]) {
        let net = &mut self.core.net;
        match encoding {
            UpdateEncoding::Raw => {
                if let Some(mut run) = UpdateRun::gather(net, encoding, pending, newcomers) {
                    for (slot, conn) in net.conns.iter_mut() {
                        if conn.gets_presence() {
                            let push = |segment| net.outbound.push(slot.raw(), &mut conn.queue, segment);
                            run.hand_to(slot.into(), push);
                        }
                    }
                }
            }
            UpdateEncoding::SocketIo(dialect) => {
                let peers = net.connected_in(dialect);
                if !peers.is_empty()
                    && let Some(mut run) = UpdateRun::gather(net, encoding, pending, newcomers)
                {
                    for (slot, at) in peers {
                        run.hand_to(slot.into(), |segment| {
                            if !segment.is_empty() {
                                net.deliver(at, segment);
                            }
                        });
                    }
                }
            }
        }
    }

    /// Sends the members of rooms, and single peers, of one encoding the updates that are not for all peers.
    fn send_to_some(&mut self, encoding: UpdateEncoding, pending: &[PendingUpdate], newcomers: &[(PeerKey, u32)]) {
        let mut recipients = Vec::new();
        for (number, PendingUpdate { update, to }) in pending.iter().enumerate().filter(|(_, it)| !it.to.everyone) {
            let bytes = encoding.of(&update.packed);
            if bytes.is_empty() {
                continue;
            }
            recipients.clear();
            self.find_recipients(encoding, to, &mut recipients);
            let except = self.core.net.key_of(update.except);
            recipients.retain(|peer| {
                let later = newcomers.partition_point(|(newcomer, _)| newcomer <= peer);
                let before = later.checked_sub(1).map(|at| newcomers[at]).filter(|(newcomer, _)| newcomer == peer);
                *peer != except && before.is_none_or(|(_, before)| number >= before as usize)
            });
            if !recipients.is_empty() {
                let net = &mut self.core.net;
                let segment = net.outbound.encode(|out| out.extend_from_slice(bytes));
                for peer in &recipients {
                    net.push_to_peer(*peer, Segment { droppable: true, ..segment });
                }
            }
        }
    }

    /// The attached peers of one encoding that an update is for, each once.
    fn find_recipients(&self, encoding: UpdateEncoding, to: &Recipients, recipients: &mut Vec<PeerKey>) {
        let Core { net, rooms, .. } = &*self.core;
        for room in &to.rooms {
            match encoding {
                UpdateEncoding::Raw => recipients.extend(rooms.raw_members(room).map(PeerKey::from)),
                UpdateEncoding::SocketIo(dialect) => {
                    recipients.extend(rooms.socketio_members(room, dialect).map(PeerKey::from));
                }
            }
        }
        recipients.extend(to.connections.iter().filter_map(|id| net.find_peer(*id)));
        recipients.sort_unstable();
        recipients.dedup();
        recipients.retain(|peer| gets_updates(net, *peer, encoding));
    }
}

/// Whether a peer is attached and has this encoding.
fn gets_updates(net: &Net, peer: PeerKey, encoding: UpdateEncoding) -> bool {
    match (peer.slot(), encoding) {
        (PeerSlot::Raw(slot), UpdateEncoding::Raw) => net.conns[slot].gets_presence(),
        (PeerSlot::SocketIo(slot), UpdateEncoding::SocketIo(dialect)) => {
            let known = &net.sessions.peers[slot];
            known.is_connected && known.dialect == dialect
        }
        _ => false,
    }
}
