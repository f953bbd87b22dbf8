//! Layer 4: the clients and the domain of one thread, sans-IO.
//!
//! The rule of use: feed a shard what happened ([`Shard::accepted`], [`Shard::received`], [`Shard::ended`],
//! [`Shard::handle_message`], [`Shard::tick`]), in any order and as often as there is something; then [`Shard::run`], then
//! [`Shard::flush`], and take what it has for other shards from [`Shard::outgoing`]. Time is an argument, randomness
//! comes from a seed, so the same inputs give the same outputs.

mod accepting;
mod access_log;
mod admission;
mod apps;
mod audit;
mod broadcasts;
mod budgets;
mod channels;
mod commands;
mod conformance;
mod core;
mod decisions;
mod departed;
mod drain;
mod engineio_sockets;
mod flush;
mod gate;
mod grants;
mod http;
mod key_waits;
mod log;
mod makers;
mod making_room;
mod media;
mod metrics;
mod moves;
mod namespaces;
mod net;
mod notices;
mod options;
mod peers;
mod presence;
mod queries;
mod quota;
mod raw_sockets;
mod recovery;
mod reload;
mod remotes;
mod replies;
mod requests;
mod revocation;
mod rooms;
mod router;
mod sessions;
mod socket_counts;
mod streams;
mod timers;
mod trace;
mod trimming;
mod waiting;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

pub use crate::domain::monitoring::Stats;
pub use accepting::TurnedAway;
pub use flush::{Gone, Wire};
pub use making_room::Vacancy;
pub use moves::Departure;
pub use notices::OperatorNotices;
pub use options::{Allowances, BulkWrites, Ice, ListenerRoles, Options, ShownSettings, SocketIo, TurnAccess};

use crate::base::handle::ConnSlot;
use crate::base::limits;
use crate::base::rng::Rng;
use crate::base::time::Now;
use crate::codec::jwt::Verifier;
use crate::connection::conn::ConnStage;
use crate::domain::decision::DecisionCall;
use crate::domain::monitoring::Traffic;
use crate::domain::revocation::RevocationChange;
use crate::media::MediaRequest;
use crate::message::storage::{Restored, StorageCommand};
use crate::message::{Outgoing, ShardNumber};

use self::core::Core;
use accepting::Accept;
use making_room::MakingRoom;
use router::Router;
use timers::Timers;

/// One thread's part of the server: routes inputs to its components and hands out what they have for the sockets, the
/// store and other shards.
pub struct Shard {
    core: Core,
}

impl Shard {
    /// Shard `number`, without clients.
    pub fn new(number: ShardNumber, options: Arc<Options>, verifier: Arc<Verifier>, rng: Rng, now: Now) -> Self {
        Self { core: Core::new(number, options, verifier, rng, now) }
    }

    /// Replaces the options, of which the number of shards, the node and the recovery window must stay as they are.
    pub fn set_options(&mut self, options: Arc<Options>) {
        self.core.set_options(options);
    }

    /// A connection was accepted; its slot from now on.
    ///
    /// # Errors
    /// The shard does not take it on, and the socket is to be closed.
    pub fn accepted(&mut self, now: Now, remote: SocketAddr) -> Result<ConnSlot, TurnedAway> {
        let has_proxy_header = self.core.options.allowances.proxy_protocol;
        self.accepted_by(now, remote, ListenerRoles::ALL, has_proxy_header)
    }

    /// As [`Shard::accepted`], by a listener of which trusted proxies begin with a header of the PROXY protocol or not.
    ///
    /// # Errors
    /// As for [`Shard::accepted`].
    pub fn accepted_by(
        &mut self,
        now: Now,
        remote: SocketAddr,
        roles: ListenerRoles,
        has_proxy_header: bool,
    ) -> Result<ConnSlot, TurnedAway> {
        Accept::on(&mut self.core).accepted(now, remote, roles, has_proxy_header)
    }

    /// A turn of the event loop has ended: the sockets' traffic since the start, how many microseconds it took, and the time.
    pub fn turn_ended(&mut self, traffic: Traffic, us: u64, wall: u64) {
        let waited_ms = self.core.published.drain(..).map(|at| wall.saturating_sub(at));
        self.core.stats.telemetry.turn_ended(traffic, us, waited_ms);
    }

    /// Sets what the listener of a connection serves, and whether the connection uses TLS: its client then addresses the
    /// server by `https` or `wss`.
    pub fn set_listener(&mut self, slot: ConnSlot, roles: ListenerRoles, is_secure: bool) {
        self.core.net.remotes.set_listener(slot, roles, is_secure);
    }

    /// Whether the first bytes of a connection are to be a header of the PROXY protocol.
    pub fn expects_proxy_header(&self, slot: ConnSlot) -> bool {
        self.core.net.conns.get(slot).is_some_and(|conn| matches!(conn.stage, ConnStage::ProxyHeader(_)))
    }

    /// As [`Shard::accepted`], from another shard, where it was known to come from `address`.
    pub fn arrived(&mut self, now: Now, address: IpAddr) -> Option<ConnSlot> {
        Accept::on(&mut self.core).arrived(now, address)
    }

    /// The server has as many connections as it takes, and another one waits: closes the one that has been idle for longest
    /// without an authenticated client.
    pub fn make_room(&mut self, now: Now) -> Vacancy {
        MakingRoom::on(&mut self.core).make(now)
    }

    /// A connection was accepted for which the process has no descriptor, and is closed.
    pub fn turned_down(&mut self, now: Now, remote: SocketAddr) {
        Accept::on(&mut self.core).refused(now, remote.ip());
    }

    /// Whether a connection may be read now. When that changes to yes, [`Shard::resumed`] says so.
    pub fn wants_read(&self, slot: ConnSlot) -> bool {
        self.core.wants_read(slot)
    }

    /// Handles the shard's messages to itself until there are none.
    pub fn run(&mut self, now: Now) {
        Router::on(&mut self.core).run(now);
    }

    /// Does what has become due by now.
    pub fn tick(&mut self, now: Now) {
        Timers::on(&mut self.core).tick(now);
    }

    /// When [`Shard::tick`] next has something to do, in monotonic milliseconds.
    pub fn next_due(&mut self) -> Option<u64> {
        Timers::on(&mut self.core).next_due()
    }

    /// Whether connections are to go to other shards.
    pub fn has_departures(&self) -> bool {
        !self.core.net.departures.is_empty()
    }

    /// Takes one of the connections that go to other shards; the socket at its slot is to be taken along, and what is
    /// unread given to [`Shard::received`] where it arrives, by [`Shard::arrived`].
    pub fn departure(&mut self) -> Option<Departure> {
        moves::next_departure(&mut self.core)
    }

    /// Sets how many messages wait in the longest channel between shards.
    pub fn set_longest_queue(&mut self, messages: usize) {
        self.core.metrics.set_longest_queue(messages);
    }

    /// Whether the shard is draining and has no connections left.
    pub fn is_drained(&self) -> bool {
        self.core.net.is_draining && self.core.net.conns.is_empty()
    }

    /// Whether the shard is draining.
    pub fn is_draining(&self) -> bool {
        self.core.net.is_draining
    }

    /// The shard's counters.
    pub fn stats(&self) -> Stats {
        self.core.stats()
    }

    /// Whether there are connections that may be read again.
    pub fn has_resumed(&self) -> bool {
        !self.core.net.resumed.is_empty()
    }

    /// Takes one of the connections that may be read again.
    pub fn resumed(&mut self) -> Option<ConnSlot> {
        self.core.net.resumed.pop()
    }

    /// Takes the commands for the store, in order.
    pub fn storage_commands(&mut self, now: Now) -> std::vec::Drain<'_, StorageCommand> {
        self.core.owner.storage_commands(now)
    }

    /// Restores a room, user or revocation that was stored before a restart.
    pub fn restore(&mut self, now: Now, restored: Restored) {
        if let Restored::Revocation(revocation) = restored {
            return self.core.revocations.apply(now, &RevocationChange::Added(revocation));
        }
        self.core.owner.restore(now, restored);
    }

    /// Takes the questions for the application.
    pub fn questions(&mut self) -> std::vec::Drain<'_, DecisionCall> {
        self.core.questions.take_calls()
    }

    /// Takes the issuers that are to be asked for their keys.
    pub fn key_wishes(&mut self) -> std::vec::Drain<'_, usize> {
        self.core.key_waits.take_wishes()
    }

    /// Takes the messages for other shards.
    pub fn outgoing(&mut self) -> std::vec::Drain<'_, Outgoing> {
        self.core.channels.outgoing.drain(..)
    }

    /// Takes the requests to the media server.
    pub fn media_requests(&mut self) -> std::vec::Drain<'_, MediaRequest> {
        self.core.media.requests()
    }

    /// Whether there are messages to itself that are not handled yet.
    pub fn has_messages(&self) -> bool {
        !self.core.channels.local.is_empty()
    }

    /// Sets whether the channel to `shard` holds more messages than it should; new requests to it are then refused.
    pub fn set_congested(&mut self, shard: ShardNumber, is_congested: bool) {
        self.core.channels.set_congested(shard, is_congested);
    }

    /// Whether so many bytes were gathered that they should be flushed before more input is read.
    pub fn wants_flush(&self) -> bool {
        self.core.net.outbound.len() > limits::TURN_BYTES
    }

    /// How many connections the next flush writes to on behalf of their rooms, about.
    pub fn waiting_members(&self) -> usize {
        self.core.rooms.waiting_members()
    }

    /// Whether a flush has bytes to write, connections to end, or commands for the store to be taken.
    pub fn has_output(&self) -> bool {
        let Core { net, rooms, owner, broadcasts, .. } = &self.core;
        let is_dirty = rooms.is_dirty() || net.sessions.is_dirty() || broadcasts.has_waiting();
        owner.has_storage_commands() || !net.outbound.is_empty() || !net.ending.is_empty() || is_dirty
    }

    /// Connections, in whatever stage.
    pub fn connections(&self) -> usize {
        self.core.net.conns.len()
    }

    /// Panics, naming the invariant, unless the components agree with each other. For tests: it looks at everything.
    pub fn check_invariants(&self) {
        self.core.check_invariants();
    }
}

#[cfg(test)]
mod tests;
