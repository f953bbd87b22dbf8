//! Socket.IO peers that were recovered, or are being recovered, and the bytes held for the latter.

use std::collections::BTreeMap;

use crate::base::Name;
use crate::base::handle::{RoomSlot, SocketIoSlot};
use crate::base::ids::ConnectionId;
use crate::codec::recovery;
use crate::dialect::offset::{self, Offset};
use crate::dialect::socketio::ReplyTo;
use crate::domain::record::{Position, Session};
use crate::domain::recovery::Returned;
use crate::domain::reject::Reject;
use crate::shard::net::Net;
use crate::shard::rooms::Run;

/// Peers that were recovered, and those that are being recovered.
#[derive(Default)]
pub(in crate::shard) struct Returns {
    /// The secrets of recovered peers: those of the first connections of their lines.
    lines: BTreeMap<SocketIoSlot, Box<str>>,
    under_way: BTreeMap<SocketIoSlot, Box<PeerReturn>>,
}

/// A peer that is being recovered.
pub(super) struct PeerReturn {
    pub(super) mode: ReturnMode,
    /// The secret that its client shows.
    pub(super) secret: Box<str>,
    /// The connection that is thought to have the session.
    pub(super) former: ConnectionId,
    pub(super) tries: u8,
    /// The session, once it is the peer's.
    pub(super) session: Option<Box<Session>>,
    /// Its positions in the rooms that have not replied yet.
    pub(super) awaited: Vec<Position>,
    pub(super) rooms: Vec<RejoinedRoom>,
    pub(super) held: HeldFrames,
}

/// The way in which a client asks for recovery.
pub(super) enum ReturnMode {
    /// As it connects, with its position. The peer is not connected yet.
    Connecting(Offset),
    /// By a request, which is answered.
    Asking(ReplyTo),
}

/// A room that has replied.
pub(super) struct RejoinedRoom {
    pub(super) position: Position,
    pub(super) outcome: Result<Returned, Reject>,
}

/// Frames held for a peer that is being recovered.
#[derive(Default)]
pub(super) struct HeldFrames {
    pub(super) bytes: Vec<u8>,
    pub(super) parts: Vec<HeldPart>,
}

pub(super) struct HeldPart {
    pub(super) end: usize,
    /// The room of a room's event, and the event's number in the log or 0; `None`: frames for the peer alone.
    pub(super) room: Option<(RoomSlot, u64)>,
}

/// The position of a peer in the logs of its rooms while it is handed held frames.
#[derive(Default)]
pub(super) struct LogPositions(pub(super) Vec<(RoomSlot, Name, u64)>);

impl Returns {
    /// Whether a peer is being recovered, so that its frames are held.
    pub(in crate::shard) fn is_under_way(&self, slot: SocketIoSlot) -> bool {
        !self.under_way.is_empty() && self.under_way.contains_key(&slot)
    }

    /// Whether a peer is being recovered by this secret.
    pub(super) fn claims(&self, slot: SocketIoSlot, secret: &str) -> bool {
        self.under_way.get(&slot).is_some_and(|it| recovery::is_same(&it.secret, secret))
    }

    /// The secret of a line that began before the peer.
    pub(in crate::shard) fn line(&self, slot: SocketIoSlot) -> Option<&str> {
        self.lines.get(&slot).map(|secret| &**secret)
    }

    /// Whether a peer has the session of a line that began before it.
    pub(in crate::shard) fn has_line(&self, slot: SocketIoSlot) -> bool {
        self.lines.contains_key(&slot)
    }

    pub(super) fn set_line(&mut self, slot: SocketIoSlot, secret: Box<str>) {
        self.lines.insert(slot, secret);
    }

    pub(super) fn end_line(&mut self, slot: SocketIoSlot) {
        self.lines.remove(&slot);
    }

    /// The positions of a peer in the rooms that it is about to rejoin.
    pub(super) fn awaited(&self, slot: SocketIoSlot) -> &[Position] {
        self.under_way.get(&slot).map(|it| it.awaited.as_slice()).unwrap_or_default()
    }

    pub(super) fn begin(&mut self, slot: SocketIoSlot, new: PeerReturn) {
        let former = self.under_way.insert(slot, Box::new(new));
        debug_assert!(former.is_none(), "invariant: a peer is recovered once at a time");
    }

    pub(super) fn get(&self, slot: SocketIoSlot) -> Option<&PeerReturn> {
        self.under_way.get(&slot).map(|it| &**it)
    }

    pub(super) fn get_mut(&mut self, slot: SocketIoSlot) -> Option<&mut PeerReturn> {
        self.under_way.get_mut(&slot).map(|it| &mut **it)
    }

    pub(super) fn take(&mut self, slot: SocketIoSlot) -> Option<Box<PeerReturn>> {
        self.under_way.remove(&slot)
    }

    pub(super) fn put_back(&mut self, slot: SocketIoSlot, it: Box<PeerReturn>) {
        self.under_way.insert(slot, it);
    }

    /// Forgets a peer. Returns the rooms that it was still about to rejoin.
    pub(super) fn forget(&mut self, slot: SocketIoSlot) -> Vec<Name> {
        self.lines.remove(&slot);
        let it = self.under_way.remove(&slot);
        it.into_iter().flat_map(|it| it.awaited).map(|position| position.room).collect()
    }

    /// Holds a room's run for a peer. Returns whether the held bytes are within the bound.
    pub(in crate::shard) fn hold_run(
        &mut self,
        room: RoomSlot,
        slot: SocketIoSlot,
        run: &Run,
        bytes_max: usize,
    ) -> bool {
        let Some(it) = self.under_way.get_mut(&slot) else {
            debug_assert!(false, "invariant: frames are held only for peers that are being recovered");
            return true;
        };
        if it.held.bytes.len() > bytes_max {
            return false;
        }
        for (range, _, seq) in run.pieces_for(slot.into()) {
            let seq = if run.has_offsets() { seq } else { 0 };
            it.held.push(&run.bytes[range.start as usize..range.end as usize], Some((room, seq)));
        }
        true
    }

    /// Holds frames for the peer alone.
    pub(in crate::shard) fn hold(&mut self, slot: SocketIoSlot, frames: &[u8]) {
        debug_assert!(self.is_under_way(slot), "invariant: frames are held only for peers that are being recovered");
        if let Some(it) = self.under_way.get_mut(&slot) {
            it.held.push(frames, None);
        }
    }

    /// Panics unless all of it belongs to peers that are here.
    pub(super) fn check_invariants(&self, net: &Net) {
        for slot in self.lines.keys().chain(self.under_way.keys()) {
            assert!(net.sessions.peers.contains(*slot), "invariant: a recovered peer is here");
        }
        for it in self.under_way.values() {
            let is_bounded = it.held.parts.last().map_or(0, |part| part.end) == it.held.bytes.len();
            assert!(is_bounded, "invariant: held frames consist of their parts");
        }
    }
}

impl PeerReturn {
    pub(super) fn new(mode: ReturnMode, secret: &str, former: ConnectionId) -> Self {
        Self {
            mode,
            secret: secret.into(),
            former,
            tries: 0,
            session: None,
            awaited: Vec::new(),
            rooms: Vec::new(),
            held: HeldFrames::default(),
        }
    }
}

impl RejoinedRoom {
    /// Whether the room may reply otherwise in a moment.
    pub(super) fn may_retry(&self) -> bool {
        self.outcome.as_ref().is_err_and(Reject::is_passing)
    }

    /// Whether the client lacks a part of the room's messages.
    pub(super) fn is_short(&self) -> bool {
        self.outcome.as_ref().is_ok_and(|returned| !returned.recovered) || self.outcome.is_err()
    }
}

impl HeldFrames {
    fn push(&mut self, bytes: &[u8], room: Option<(RoomSlot, u64)>) {
        self.bytes.extend_from_slice(bytes);
        self.parts.push(HeldPart { end: self.bytes.len(), room });
    }
}

impl LogPositions {
    pub(super) fn advance(&mut self, room: RoomSlot, seq: u64) {
        if let Some((_, _, known)) = self.0.iter_mut().find(|(known, ..)| *known == room) {
            *known = seq;
        }
    }

    pub(super) fn append(&self, out: &mut Vec<u8>) {
        for (at, (_, epoch, seq)) in self.0.iter().enumerate() {
            offset::entry(out, epoch, *seq, at == 0);
        }
    }
}
