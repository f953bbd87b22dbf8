//! Proof that direct messages were received. A message stays with its owner until there is proof.
//!
//! A socket takes bytes long after its other end is gone without a sign, and bytes from the client may have been on their way
//! when a message was written. Proof is what the client can only send after it has received the message:
//!
//! - the answer to a ping that follows the message in the stream (raw WebSocket, Engine.IO 4 over WebSocket);
//! - its next ping, which follows the pong after the message (Engine.IO 3 over WebSocket);
//! - its next poll, which follows the answer with the message (polling).
//!
//! So a message is followed by a ping. While that is unanswered, and for [`PROBE_GAP_MS`] after it, no other is sent: one ping
//! answers for all messages before it. Connections without such messages cost nothing.

use std::collections::{BTreeSet, VecDeque};

use uuid::Uuid;

use crate::base::Name;
use crate::base::handle::{ConnSlot, PeerSlot, SessionSlot, Slot, TimerKey, TimerSlot};
use crate::base::ids::ConnectionId;
use crate::base::map::{Map, map};
use crate::base::time::Now;
use crate::base::wheel::tick;
use crate::codec::engineio::{PacketKind, Version};
use crate::codec::ws;
use crate::connection::session::SessionRoute;
use crate::message::OwnerMessage;
use crate::shard::core::Core;
use crate::shard::net::Net;
use crate::shard::sessions::EngineIo;

/// Time between two pings of a connection, in milliseconds: a busy receiver answers for many messages at once.
const PROBE_GAP_MS: u64 = 50;

/// Direct messages without proof of receipt.
pub(in crate::shard) struct Proofs {
    /// Messages of this turn, and those held for a peer that is being recovered.
    fresh: Vec<(ConnectionId, Name, Uuid)>,
    carriers: Map<TimerKey, Carrier>,
    /// When a carrier is looked at again, in monotonic milliseconds.
    due: BTreeSet<(u64, TimerKey)>,
    /// Polling sessions with messages of this turn.
    polling: Vec<SessionSlot>,
    /// The number in the last ping.
    pings: u32,
}

/// Messages sent on a raw WebSocket or in an Engine.IO session, in the order of the stream.
#[derive(Default)]
struct Carrier {
    sent: VecDeque<(Name, Uuid)>,
    /// How many of them the next proof is for.
    covered: usize,
    /// The number of the unanswered ping.
    ping: Option<u32>,
    /// When the last ping was sent, in monotonic milliseconds.
    pinged_at: Option<u64>,
    /// Its place in [`Proofs::due`].
    due: Option<u64>,
}

impl Carrier {
    /// When the next ping may be sent, in monotonic milliseconds.
    fn ready_at(&self) -> u64 {
        self.pinged_at.map_or(0, |at| at + PROBE_GAP_MS)
    }
}

impl Proofs {
    pub(super) fn new(seed: u64) -> Self {
        let (carriers, due) = (map(seed), BTreeSet::new());
        Self { fresh: Vec::new(), carriers, due, polling: Vec::new(), pings: 0 }
    }

    /// A direct message was sent to a connection of its user.
    pub(in crate::shard) fn await_proof(&mut self, to: ConnectionId, user: Name, id: Uuid) {
        self.fresh.push((to, user, id));
    }

    /// When [`Proving::look_again`] has work, in monotonic milliseconds.
    pub(in crate::shard) fn next_due(&self) -> Option<u64> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Forgets a carrier that has ended. The owners learn it from the end of its peers.
    pub(in crate::shard) fn forget(&mut self, key: impl Into<TimerKey>) {
        let key = key.into();
        if let Some(Carrier { due: Some(at), .. }) = self.carriers.remove(&key) {
            self.due.remove(&(at, key));
        }
        if self.carriers.is_empty() {
            self.carriers.shrink_to_fit();
        }
    }

    fn take_due(&mut self, now: Now) -> Option<(u64, TimerKey)> {
        let (at, _) = *self.due.first()?;
        if at <= now.mono { self.due.pop_first() } else { None }
    }

    fn set_due(&mut self, key: TimerKey, at: u64) {
        if let Some(carrier) = self.carriers.get_mut(&key) {
            if let Some(before) = carrier.due.replace(at) {
                self.due.remove(&(before, key));
            }
            self.due.insert((at, key));
        }
    }

    /// Panics unless all of it belongs to connections that are here.
    pub(super) fn check_invariants(&self, net: &Net) {
        for (key, carrier) in &self.carriers {
            let is_here = match key.slot() {
                TimerSlot::Conn(slot) => net.conns.contains(slot),
                TimerSlot::Session(at) => net.sessions.list.contains(at),
            };
            assert!(is_here, "invariant: proof of receipt is awaited from connections that are here");
            assert!(carrier.covered <= carrier.sent.len(), "invariant: a proof is for messages that were sent");
            let is_due = carrier.due.is_none_or(|at| self.due.contains(&(at, *key)));
            assert!(is_due, "invariant: a carrier's deadline is in the list");
        }
        let deadlines = self.carriers.values().filter(|carrier| carrier.due.is_some()).count();
        assert_eq!(deadlines, self.due.len(), "invariant: each deadline is a carrier's");
    }
}

/// Asks connections for proof, and passes it on to the owners of the messages.
pub(in crate::shard) struct Proving<'a> {
    core: &'a mut Core,
}

impl<'a> Proving<'a> {
    pub(in crate::shard) fn on(core: &'a mut Core) -> Self {
        Self { core }
    }

    /// The turn ends, and all its messages are in their streams: pings follow them. Messages held for a peer that is being
    /// recovered are not in its stream yet.
    pub(in crate::shard) fn send_pings(&mut self, now: Now) {
        let mut touched = Vec::new();
        for (to, user, id) in std::mem::take(&mut self.core.recovery.proofs.fresh) {
            let Core { net, recovery, .. } = &mut *self.core;
            let key = match net.find_peer(to).map(|peer| peer.slot()) {
                Some(PeerSlot::SocketIo(slot)) if recovery.returns.is_under_way(slot) => {
                    recovery.proofs.fresh.push((to, user, id));
                    continue;
                }
                Some(PeerSlot::SocketIo(slot)) => net.session_of(slot).map(TimerKey::from),
                Some(PeerSlot::Raw(slot)) => net.conns[slot].is_listening().then(|| slot.into()),
                None => None,
            };
            // Without a connection the owner has been told of its end.
            if let Some(key) = key {
                recovery.proofs.carriers.entry(key).or_default().sent.push_back((user, id));
                if touched.last() != Some(&key) {
                    touched.push(key);
                }
            }
        }
        for key in touched {
            self.ping(now, key);
        }
    }

    /// The polls of the turn were answered: messages that were among the answers are proven by the next poll.
    pub(in crate::shard) fn polls_answered(&mut self) {
        let Core { net, recovery, .. } = &mut *self.core;
        for at in recovery.proofs.polling.drain(..) {
            if let Some(client) = net.sessions.list.get(at).filter(|client| !client.session.has_queued())
                && client.session.is_polling()
                && let Some(carrier) = recovery.proofs.carriers.get_mut(&TimerKey::from(at))
            {
                carrier.covered = carrier.sent.len();
            }
        }
    }

    /// Sends a ping behind all messages of a carrier, unless one is unanswered, or was just sent.
    fn ping(&mut self, now: Now, key: TimerKey) {
        let proofs = &mut self.core.recovery.proofs;
        let Some(carrier) = proofs.carriers.get(&key).filter(|it| it.ping.is_none() && !it.sent.is_empty()) else {
            // The answer to the ping is followed by the next one.
            return;
        };
        let (ready_at, number) = (carrier.ready_at(), proofs.pings.wrapping_add(1));
        let is_sent = match key.slot() {
            TimerSlot::Session(at) if self.core.net.sessions.list[at].session.is_polling() => {
                return proofs.polling.push(at);
            }
            _ if ready_at > now.mono => return proofs.set_due(key, ready_at),
            TimerSlot::Session(at) => EngineIo::on(self.core).feed(now, at, |session, context| session.ping(context)),
            TimerSlot::Conn(slot) => {
                let net = &mut self.core.net;
                let segment = net.outbound.encode(|out| ws::encode_ping(out, &number.to_be_bytes()));
                net.push(slot, segment);
                true
            }
        };
        let proofs = &mut self.core.recovery.proofs;
        // A heartbeat's ping may be unanswered: the next one follows its answer.
        if let (true, Some(carrier)) = (is_sent, proofs.carriers.get_mut(&key)) {
            proofs.pings = number;
            (carrier.ping, carrier.pinged_at, carrier.covered) = (Some(number), Some(now.mono), carrier.sent.len());
            proofs.set_due(key, now.mono + PROBE_GAP_MS);
        }
    }

    /// A raw client has answered a ping.
    pub(in crate::shard) fn raw_answered(&mut self, now: Now, slot: ConnSlot, payload: &[u8]) {
        let key = TimerKey::from(slot);
        let ping = self.core.recovery.proofs.carriers.get(&key).and_then(|carrier| carrier.ping);
        if ping.is_some_and(|number| payload == number.to_be_bytes()) {
            self.prove(key);
            self.ping(now, key);
        }
    }

    /// A packet came by the WebSocket of a session.
    pub(in crate::shard) fn heard(&mut self, now: Now, at: SessionSlot, from: ConnSlot, kind: PacketKind) {
        let key = TimerKey::from(at);
        if !self.core.recovery.proofs.carriers.contains_key(&key) {
            return;
        }
        let session = &self.core.net.sessions.list[at].session;
        if session.route() != SessionRoute::Socket(from.raw()) {
            return;
        }
        match (kind, session.version()) {
            (PacketKind::Pong, Version::V4) => {
                self.prove(key);
                self.ping(now, key);
            }
            // The pong has been sent, behind all messages.
            (PacketKind::Ping, Version::V3) => {
                self.prove(key);
                if let Some(carrier) = self.core.recovery.proofs.carriers.get_mut(&key) {
                    carrier.covered = carrier.sent.len();
                }
            }
            // The client has stopped polling, so it has the answers to all its polls.
            (PacketKind::Upgrade, _) => self.ping(now, key),
            _ => {}
        }
    }

    /// A session polls: it has the answers to its former polls, and the answer to this one has all the rest.
    pub(in crate::shard) fn polled(&mut self, at: SessionSlot) {
        let Core { net, recovery, .. } = &mut *self.core;
        let session = &net.sessions.list[at].session;
        if let Some(carrier) = recovery.proofs.carriers.get_mut(&TimerKey::from(at))
            && session.is_polling()
        {
            if !session.has_queued() {
                carrier.covered = carrier.sent.len();
            }
            self.prove(at.into());
            if let Some(carrier) = self.core.recovery.proofs.carriers.get_mut(&TimerKey::from(at)) {
                carrier.covered = carrier.sent.len();
            }
        }
    }

    /// Tells the owners which messages were received. A carrier without others is forgotten when its next ping may be sent.
    fn prove(&mut self, key: TimerKey) {
        let Core { recovery, channels, .. } = &mut *self.core;
        let Some(carrier) = recovery.proofs.carriers.get_mut(&key) else { return };
        carrier.ping = None;
        for (user, id) in carrier.sent.drain(..std::mem::take(&mut carrier.covered)) {
            let owner = channels.placement.of(&user);
            channels.post(owner, OwnerMessage::DurableDelivered { user, id });
        }
        if carrier.sent.is_empty() && carrier.due.is_none() {
            recovery.proofs.forget(key);
        }
    }

    /// Looks after the carriers whose time has come: the next ping may be sent, or an answer is overdue.
    pub(in crate::shard) fn look_again(&mut self, now: Now) {
        while let Some((at, key)) = self.core.recovery.proofs.take_due(now) {
            let Core { net, recovery, options, .. } = &mut *self.core;
            let Some(carrier) = recovery.proofs.carriers.get_mut(&key) else {
                debug_assert!(false, "invariant: each deadline is a carrier's");
                continue;
            };
            debug_assert_eq!(carrier.due, Some(at), "invariant: a carrier's deadline is in the list");
            carrier.due = None;
            match (key.slot(), carrier.ping, carrier.pinged_at) {
                _ if carrier.sent.is_empty() => recovery.proofs.forget(key),
                // Some clients do not answer pings. One that has long gone on with the same connection is not cut off.
                (TimerSlot::Conn(slot), Some(_), Some(pinged_at)) => {
                    let heartbeat = options.heartbeat;
                    let patience_ms = heartbeat.interval_ms + heartbeat.timeout_ms;
                    let is_heard = net.conns[slot].seen > tick(pinged_at + heartbeat.timeout_ms);
                    if now.mono >= pinged_at + patience_ms && is_heard && net.conns[slot].queue.is_sent() {
                        self.prove(key);
                        self.ping(now, key);
                    } else {
                        recovery.proofs.set_due(key, now.mono + patience_ms);
                    }
                }
                // The heartbeat of a session ends it unless it answers.
                (TimerSlot::Session(_), Some(_), _) => {}
                _ => self.ping(now, key),
            }
        }
    }
}
