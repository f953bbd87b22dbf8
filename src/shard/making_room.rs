//! Room for new connections where the server has as many as it takes: those are closed that no client has authenticated,
//! longest idle first.
//!
//! Nothing is noted for this while there is room. A search of all connections finds some that can be closed, and is not
//! repeated at once.

use crate::base::handle::ConnSlot;
use crate::base::ids::Nonce;
use crate::base::time::Now;
use crate::base::wheel::Tick;
use crate::connection::conn::{CloseState, Conn, ConnStage};
use crate::domain::reject::{Code, Reject};
use crate::message::ShardMessage;
use crate::shard::core::Core;
use crate::shard::net::Net;

/// Connections that one search finds.
const FOUND_MAX: usize = 256;

/// Connections for which a search is followed by a pause of a millisecond: to look at them takes a tenth of that.
const SEARCHED_PER_MS: usize = 5_000;

/// Pause before this shard looks again whether another one has closed a connection, in milliseconds.
const LOOK_AGAIN_MS: u64 = 5;

/// Time after which other shards are asked again, in milliseconds.
const ASK_AGAIN_MS: u64 = 50;

/// Time that other shards have to close a connection, in milliseconds.
const OTHERS_MS: u64 = 250;

/// Time in which they are not asked again after that, in milliseconds.
const NOT_ASKED_MS: u64 = 100;

/// The outcome of an attempt to make room for a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vacancy {
    /// A connection is closed at the end of the turn.
    Made,
    /// Other shards may close one within so many milliseconds.
    Asked(u64),
    /// All connections are in use.
    None,
}

/// Connections that can be closed.
#[derive(Default)]
pub(super) struct Idlest {
    /// The longest idle one is the last.
    found: Vec<(Tick, ConnSlot, Nonce)>,
    /// When the next search may be, in monotonic milliseconds.
    next_search: u64,
    /// When the other shards were asked first on behalf of the connection that waits, and when they are asked again; 0: not yet.
    asked_since: u64,
    next_ask: u64,
}

/// Makes room.
pub(super) struct MakingRoom<'a> {
    core: &'a mut Core,
}

impl<'a> MakingRoom<'a> {
    pub(super) fn on(core: &'a mut Core) -> Self {
        Self { core }
    }

    /// Makes room for one connection. Other shards are asked first whether they have one that has been idle for longer.
    pub(super) fn make(&mut self, now: Now) -> Vacancy {
        let own = self.longest(now);
        let has_others = self.core.channels.placement.shards() > 1;
        let idlest = &mut self.core.idlest;
        let is_asked = idlest.asked_since != 0;
        if let Some((_, slot)) = own
            && (is_asked || !has_others)
        {
            // Another shard can take the place: then the others are asked at once, not after the pause that follows a refusal.
            idlest.asked_since = 0;
            idlest.next_ask = 0;
            self.close(now, slot);
            return Vacancy::Made;
        }
        if !has_others || (!is_asked && now.mono < idlest.next_ask) {
            return Vacancy::None;
        }
        if is_asked && now.mono >= idlest.asked_since + OTHERS_MS {
            idlest.asked_since = 0;
            idlest.next_ask = now.mono + NOT_ASKED_MS;
            return Vacancy::None;
        }
        if !is_asked {
            idlest.asked_since = now.mono.max(1);
            idlest.next_ask = now.mono;
        }
        if now.mono >= idlest.next_ask {
            idlest.next_ask = now.mono + ASK_AGAIN_MS;
            let idle_before = own.map_or(Tick::MAX, |(since, _)| since);
            for shard in self.core.channels.placement.other_shards(self.core.number) {
                self.core.channels.post(shard, ShardMessage::MakeRoom { idle_before });
            }
        }
        Vacancy::Asked(LOOK_AGAIN_MS)
    }

    /// A connection got room: other shards are asked anew for the next one.
    pub(super) fn done(&mut self) {
        self.core.idlest.asked_since = 0;
        self.core.idlest.next_ask = 0;
    }

    /// Another shard needs room: closes the connection that has been idle for longest if it is idle since before a tick.
    pub(super) fn make_for_other(&mut self, now: Now, idle_before: Tick) {
        if let Some((since, slot)) = self.longest(now)
            && since < idle_before
        {
            self.close(now, slot);
        }
    }

    fn close(&mut self, now: Now, slot: ConnSlot) {
        let reject = Reject::new(Code::Overloaded, "Closed without a request, to make room for another connection");
        let address = self.core.net.remotes.address(slot);
        self.core.stats.refused += 1;
        self.core.metrics.turned_away(now, address, None, &reject);
        self.core.net.abort(slot);
    }

    /// The connection that has been idle for longest.
    fn longest(&mut self, now: Now) -> Option<(Tick, ConnSlot)> {
        let Core { idlest, net, .. } = &mut *self.core;
        if let Some(found) = idlest.last(net) {
            return Some(found);
        }
        if now.mono >= idlest.next_search {
            idlest.next_search = now.mono + (net.conns.len() / SEARCHED_PER_MS) as u64;
            idlest.search(net);
        }
        idlest.last(net)
    }
}

impl Idlest {
    /// The longest idle connection of those found that are still idle.
    fn last(&mut self, net: &Net) -> Option<(Tick, ConnSlot)> {
        while let Some(&(seen, slot, nonce)) = self.found.last() {
            let is_it = |conn: &Conn| conn.seen == seen && conn.nonce == nonce && is_idle(conn, net);
            if net.conns.get(slot).is_some_and(is_it) {
                return Some((seen, slot));
            }
            self.found.pop();
        }
        None
    }

    fn search(&mut self, net: &Net) {
        let all = net.conns.iter().filter(|(_, conn)| is_idle(conn, net));
        self.found = all.map(|(slot, conn)| (conn.seen, slot, conn.nonce)).collect();
        if self.found.len() > FOUND_MAX {
            self.found.select_nth_unstable(FOUND_MAX);
            self.found.truncate(FOUND_MAX);
            self.found.shrink_to_fit();
        }
        self.found.sort_unstable_by(|a, b| b.cmp(a));
    }
}

/// Whether no client has authenticated on a connection, and no request is being answered.
fn is_idle(conn: &Conn, net: &Net) -> bool {
    let is_quiet = conn.queue.is_empty() && conn.ending != CloseState::Abort;
    is_quiet
        && match &conn.stage {
            ConnStage::ProxyHeader(_) | ConnStage::Http(None) | ConnStage::Draining => true,
            ConnStage::Http(Some(http)) => !http.is_answering(),
            ConnStage::EngineIoSocket(socket) => {
                let peers = |at| net.sessions.list[at].namespaces.peers().next();
                net.sessions.named(socket.link).is_none_or(|at| peers(at).is_none())
            }
            ConnStage::WebSocket(_) | ConnStage::Echo(_) | ConnStage::Trace => false,
        }
}
