//! Fairness under overload: how many bytes of deliveries the messages of each client may cause in one turn.
//!
//! A message to a room costs its bytes once for each member. Clients that send to large rooms and never wait would otherwise
//! fill a turn with seconds of deliveries, and all other clients of the shard would wait for its end. So the clients with such
//! messages under way share [`limits::BROADCAST_BYTES`]; one that has used its share is not read before the turn's output is
//! written and its requests are answered. Each client may have at least one message under way.
//!
//! While other clients send, too, the share is [`limits::BROADCAST_SHARED_BYTES`], the clients are read again in the order in
//! which they were held, and what goes to many raw members is written over several turns ([`limits::BULK_TURN_BYTES`]).

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::base::handle::{PeerKey, PeerSlot};
use crate::base::limits;
use crate::base::time::Now;
use crate::shard::core::Core;
use crate::shard::rooms::Audience;
use crate::shard::sessions::EngineIo;

/// The clients that have messages to large rooms under way.
#[derive(Default)]
pub(super) struct Broadcasts {
    senders: BTreeMap<PeerKey, Broadcast>,
    /// Bytes of the deliveries of all of them.
    bytes: usize,
    /// How many clients sent such messages in the turn before.
    contenders: usize,
    /// Those that are held, each once, in the order in which they are read again.
    held: VecDeque<PeerKey>,
    /// Whether some of them wait only for others to use what is left.
    has_waiting: bool,
    /// Until when turns are short because other clients send, too (monotonic ms).
    shared_until: u64,
}

/// Messages of one client to large rooms.
struct Broadcast {
    /// Those that were neither written to the members here nor answered.
    messages: u32,
    /// Bytes of their deliveries.
    bytes: usize,
    /// Bytes of the deliveries of the last one.
    last: usize,
    is_held: bool,
}

impl Broadcasts {
    /// Whether a client has used its share, so that its input is not read further.
    pub(super) fn holds(&self, peer: PeerKey) -> bool {
        !self.senders.is_empty() && self.senders.get(&peer).is_some_and(|sender| sender.is_held)
    }

    /// Whether no client has messages to large rooms under way.
    pub(super) fn is_empty(&self) -> bool {
        self.senders.is_empty()
    }

    /// Whether clients may be read again in the next turn, whatever it brings.
    pub(super) fn has_waiting(&self) -> bool {
        self.has_waiting
    }

    /// A request is not a message to a large room: its client waits for the turns that such messages fill.
    pub(super) fn note_other(&mut self, now: Now) {
        self.shared_until = now.mono + limits::BROADCAST_SHARED_MS;
    }

    /// Whether other clients send, too.
    pub(super) fn is_shared(&self, now: Now) -> bool {
        now.mono < self.shared_until
    }

    fn bytes_max(&self, now: Now) -> usize {
        match self.is_shared(now) {
            true => limits::BROADCAST_SHARED_BYTES,
            false => limits::BROADCAST_BYTES,
        }
    }

    /// A client sends a message of `bytes` to a room with `members` here. Returns whether its share is used up by it.
    fn begin(&mut self, now: Now, peer: PeerKey, bytes: usize, members: usize) -> bool {
        let (bytes_max, share) = (self.bytes_max(now), self.share(now));
        let sender = self.senders.entry(peer).or_insert(Broadcast { messages: 0, bytes: 0, last: 0, is_held: false });
        sender.messages = sender.messages.saturating_add(1);
        sender.last = (bytes + limits::BROADCAST_OVERHEAD) * members;
        sender.bytes += sender.last;
        self.bytes += sender.last;
        let is_used_up = !sender.is_held && (sender.bytes >= share || self.bytes >= bytes_max);
        if is_used_up {
            sender.is_held = true;
            self.held.push_back(peer);
        }
        is_used_up
    }

    /// Bytes of deliveries that one client may have under way.
    fn share(&self, now: Now) -> usize {
        self.bytes_max(now) / self.contenders.max(self.senders.len()).max(1)
    }

    /// The output of a turn has been written: forgets the messages that are answered. `pending` is the number of requests that
    /// a client waits for. Returns the clients that may be read again: those that have waited longest, as many as are likely
    /// to fill a turn.
    fn end_turn(&mut self, now: Now, pending: impl Fn(PeerKey) -> u32) -> Vec<PeerKey> {
        self.contenders = self.senders.len();
        let share = self.share(now);
        self.senders.retain(|peer, sender| {
            let left = pending(*peer).min(sender.messages);
            sender.bytes = match sender.messages {
                0 => 0,
                messages => (sender.bytes as u64 * u64::from(left) / u64::from(messages)) as usize,
            };
            sender.messages = left;
            left > 0 || sender.is_held
        });
        self.bytes = self.senders.values().map(|sender| sender.bytes).sum();
        let mut left = self.bytes_max(now).saturating_sub(self.bytes);
        self.has_waiting = false;
        let mut released = Vec::new();
        let senders = &mut self.senders;
        self.held.retain(|peer| {
            let sender = senders.get_mut(peer).expect("invariant: a client that is held is known");
            if sender.bytes >= share && sender.bytes > 0 {
                return true;
            }
            if left == 0 {
                self.has_waiting = true;
                return true;
            }
            left = left.saturating_sub(sender.last);
            sender.is_held = false;
            released.push(*peer);
            if sender.messages == 0 {
                senders.remove(peer);
            }
            false
        });
        self.has_waiting &= !released.is_empty();
        released
    }

    /// Panics unless the sum of the deliveries is right.
    pub(super) fn check_invariants(&self) {
        let sum: usize = self.senders.values().map(|sender| sender.bytes).sum();
        assert_eq!(self.bytes, sum, "invariant: the bytes of all senders are those of each");
        let held = self.senders.iter().filter(|(_, sender)| sender.is_held).map(|(peer, _)| *peer);
        let listed: BTreeSet<PeerKey> = self.held.iter().copied().collect();
        assert!(listed.len() == self.held.len(), "invariant: a client that is held is listed once");
        assert!(held.eq(listed), "invariant: the clients that are held are listed");
    }

    /// Forgets a client that leaves. Returns whether it was held.
    pub(super) fn forget(&mut self, peer: PeerKey) -> bool {
        let Some(sender) = self.senders.remove(&peer) else { return false };
        self.bytes -= sender.bytes;
        if sender.is_held {
            self.held.retain(|held| *held != peer);
        }
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

    /// A client sends a message of `bytes` to members here.
    pub(super) fn begin(&mut self, now: Now, peer: PeerKey, bytes: usize, members: Audience) {
        let Core { broadcasts, options, .. } = &mut *self.core;
        if members.raw + members.socketio < limits::BROADCAST_MEMBERS {
            return broadcasts.note_other(now);
        }
        // Writes over several turns delay the other clients by a part of each, however much is to be written.
        let is_spread = broadcasts.is_shared(now) && members.raw >= options.bulk.members;
        let parts = if is_spread { limits::BROADCAST_BYTES / limits::BROADCAST_SHARED_BYTES } else { 1 };
        if broadcasts.begin(now, peer, bytes, members.raw.div_ceil(parts) + members.socketio)
            && let PeerSlot::SocketIo(slot) = peer.slot()
        {
            EngineIo::on(self.core).halt(slot);
        }
    }

    /// The output of a turn has been written: reads the clients whose share is free again.
    pub(super) fn end_turn(&mut self, now: Now) {
        let Core { broadcasts, net, .. } = &mut *self.core;
        let released = broadcasts.end_turn(now, |peer| match peer.slot() {
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
