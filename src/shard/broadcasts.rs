//! Fairness under overload: how many bytes of deliveries the messages of each client may cause in one turn.
//!
//! A message to a room costs its bytes once for each member. Clients that send to large rooms and never wait would otherwise
//! fill a turn with seconds of deliveries, and all other clients of the shard would wait for its end. So the clients with such
//! messages under way share [`limits::BROADCAST_BYTES`]; one that has used its share is not read before the turn's output is
//! written and its requests are answered. Each client may have at least one message under way.

use std::collections::BTreeMap;

use crate::base::handle::{PeerKey, PeerSlot};
use crate::base::limits;
use crate::base::time::Now;
use crate::shard::core::Core;
use crate::shard::sessions::EngineIo;

/// The clients that have messages to large rooms under way.
#[derive(Default)]
pub(super) struct Broadcasts {
    senders: BTreeMap<PeerKey, Broadcast>,
    /// Bytes of the deliveries of all of them.
    bytes: usize,
    /// How many clients sent such messages in the turn before.
    contenders: usize,
}

/// Messages of one client to large rooms.
struct Broadcast {
    /// Those that were neither written to the members here nor answered.
    messages: u32,
    /// Bytes of their deliveries.
    bytes: usize,
    is_held: bool,
}

impl Broadcasts {
    /// Whether a client has used its share, so that its input is not read further.
    pub(super) fn holds(&self, peer: PeerKey) -> bool {
        !self.senders.is_empty() && self.senders.get(&peer).is_some_and(|sender| sender.is_held)
    }

    /// A client sends a message of `bytes` to a room with `members` here. Returns whether its share is used up by it.
    fn begin(&mut self, peer: PeerKey, bytes: usize, members: usize) -> bool {
        if members < limits::BROADCAST_MEMBERS {
            return false;
        }
        let share = self.share();
        let sender = self.senders.entry(peer).or_insert(Broadcast { messages: 0, bytes: 0, is_held: false });
        sender.messages = sender.messages.saturating_add(1);
        let deliveries = (bytes + limits::BROADCAST_OVERHEAD) * members;
        sender.bytes += deliveries;
        self.bytes += deliveries;
        let is_used_up = !sender.is_held && (sender.bytes >= share || self.bytes >= limits::BROADCAST_BYTES);
        sender.is_held |= is_used_up;
        is_used_up
    }

    /// Bytes of deliveries that one client may have under way.
    fn share(&self) -> usize {
        limits::BROADCAST_BYTES / self.contenders.max(self.senders.len()).max(1)
    }

    /// The output of a turn has been written: forgets the messages that are answered. `pending` is the number of requests that
    /// a client waits for. Returns the clients that may be read again.
    fn end_turn(&mut self, pending: impl Fn(PeerKey) -> u32) -> Vec<PeerKey> {
        self.contenders = self.senders.len();
        let share = self.share();
        let mut released = Vec::new();
        self.senders.retain(|peer, sender| {
            let left = pending(*peer).min(sender.messages);
            sender.bytes = (sender.bytes as u64 * u64::from(left) / u64::from(sender.messages)) as usize;
            sender.messages = left;
            if sender.is_held && sender.bytes < share {
                sender.is_held = false;
                released.push(*peer);
            }
            left > 0
        });
        self.bytes = self.senders.values().map(|sender| sender.bytes).sum();
        released
    }

    /// Panics unless the sum of the deliveries is right.
    pub(super) fn check_invariants(&self) {
        let sum: usize = self.senders.values().map(|sender| sender.bytes).sum();
        assert_eq!(self.bytes, sum, "invariant: the bytes of all senders are those of each");
    }

    /// Forgets a client that leaves. Returns whether it was held.
    pub(super) fn forget(&mut self, peer: PeerKey) -> bool {
        let Some(sender) = self.senders.remove(&peer) else { return false };
        self.bytes -= sender.bytes;
        sender.is_held
    }
}

/// Holds clients, and reads them again.
pub(super) struct Broadcasting<'a> {
    core: &'a mut Core,
}

impl<'a> Broadcasting<'a> {
    pub(super) fn on(core: &'a mut Core) -> Self {
        Self { core }
    }

    /// A client sends a message of `bytes` to a room with `members` here.
    pub(super) fn begin(&mut self, peer: PeerKey, bytes: usize, members: usize) {
        if self.core.broadcasts.begin(peer, bytes, members)
            && let PeerSlot::SocketIo(slot) = peer.slot()
        {
            EngineIo::on(self.core).halt(slot);
        }
    }

    /// The output of a turn has been written: reads the clients whose share is free again.
    pub(super) fn end_turn(&mut self, now: Now) {
        let Core { broadcasts, net, .. } = &mut *self.core;
        let released = broadcasts.end_turn(|peer| match peer.slot() {
            PeerSlot::Raw(slot) => net.conns.get(slot).map_or(0, |conn| u32::from(conn.asks)),
            PeerSlot::SocketIo(slot) => net.session_of(slot).map_or(0, |at| u32::from(net.sessions.list[at].asks)),
        });
        for peer in released {
            match peer.slot() {
                PeerSlot::Raw(slot) => self.core.net.read_again(slot),
                PeerSlot::SocketIo(slot) => EngineIo::on(self.core).release(now, slot),
            }
        }
    }
}
