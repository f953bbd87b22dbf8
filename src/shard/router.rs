//! Routes inputs of connections, and messages of other shards, to their handlers.

use crate::base::handle::{ConnSlot, PeerKey};
use crate::base::limits;
use crate::base::time::Now;
use crate::base::wheel::tick;
use crate::connection::conn::{CloseState, ConnStage};
use crate::domain::op::{Op, Reply};
use crate::domain::query::Query;
use crate::domain::quota::Expense;
use crate::message::{OwnerMessage, ShardMessage, ThreadMessage};
use crate::shard::Shard;
use crate::shard::accepting::Accept;
use crate::shard::apps::hooks::AppHooks;
use crate::shard::apps::sockets::AppSockets;
use crate::shard::conformance::Conformance;
use crate::shard::core::Core;
use crate::shard::drain::Draining;
use crate::shard::engineio_sockets::EngineIoSockets;
use crate::shard::http::HttpRequests;
use crate::shard::http::answer::RestAnswers;
use crate::shard::key_waits::KeyWaiting;
use crate::shard::making_room::MakingRoom;
use crate::shard::peers::{Departing, Peers};
use crate::shard::presence::PresenceFeed;
use crate::shard::presence::online::OnlineUsers;
use crate::shard::queries::Queries;
use crate::shard::quota::QuotaFlow;
use crate::shard::raw_sockets::RawSockets;
use crate::shard::recovery::sessions::KeptSessions;
use crate::shard::replies::Replies;
use crate::shard::revocation::Revoking;
use crate::shard::sessions::EngineIo;
use crate::shard::trace::Tracing;

/// Routes inputs and messages.
pub(super) struct Router<'a> {
    core: &'a mut Core,
}

impl Shard {
    /// Bytes came from a connection. They may be changed in place.
    pub fn received(&mut self, now: Now, slot: ConnSlot, input: &mut [u8]) {
        let Some(conn) = self.core.net.conns.get_mut(slot) else { return };
        conn.seen = tick(now.mono);
        if conn.ending == CloseState::None {
            let left = match conn.stage {
                ConnStage::Http(_) => return HttpRequests::on(&mut self.core).received(now, slot, input),
                ConnStage::ProxyHeader(_) => return Accept::on(&mut self.core).received_proxy_header(now, slot, input),
                ConnStage::WebSocket(_) => RawSockets::on(&mut self.core).read(now, slot, input),
                ConnStage::EngineIoSocket(_) => EngineIoSockets::on(&mut self.core).read(now, slot, input),
                ConnStage::Echo(_) => Conformance::on(&mut self.core).read_echo(now, slot, input),
                ConnStage::Draining | ConnStage::Trace => return,
            };
            self.core.net.waiting.keep(slot, input, left);
        }
    }

    /// A connection's stream ended, or its socket failed.
    pub fn ended(&mut self, now: Now, slot: ConnSlot) {
        let Some(conn) = self.core.net.conns.get_mut(slot) else { return };
        let is_owed_an_answer = match &conn.stage {
            // A session is told at once that no request waits for its answer any more.
            ConnStage::Http(http) if http.as_ref().is_none_or(|http| http.link.is_none()) => {
                conn.asks > 0 || !conn.queue.is_empty()
            }
            _ => false,
        };
        match conn.ending {
            CloseState::None if is_owed_an_answer => RestAnswers::on(&mut self.core).close_after_answer(now, slot),
            // A client that ended only its side may still be reading; a failed socket shows when it is written to.
            CloseState::HalfClose | CloseState::Close if !conn.queue.is_empty() => conn.ending = CloseState::Close,
            _ => {
                Router::on(&mut self.core).detach_connection(now, slot, Departing::Lost);
                self.core.net.abort(slot);
            }
        }
    }

    /// A message came from another shard or from the server.
    pub fn handle_message(&mut self, now: Now, message: impl Into<ThreadMessage>) {
        let mut router = Router::on(&mut self.core);
        match message.into() {
            ThreadMessage::Shard(message) => router.handle_shard_message(now, message),
            ThreadMessage::Owner(message) => router.handle_owner_message(now, message),
            ThreadMessage::Reply { ask, reply } => Replies::on(&mut self.core).handle(now, ask, reply),
        }
    }
}

impl<'a> Router<'a> {
    pub(super) fn on(core: &'a mut Core) -> Self {
        Self { core }
    }

    /// Separates a connection from its session, and takes its peer out of the domain.
    pub(super) fn detach_connection(&mut self, now: Now, slot: ConnSlot, departing: Departing) {
        EngineIo::on(self.core).part_from_session(now, slot);
        if matches!(self.core.net.conns[slot].stage, ConnStage::WebSocket(_)) {
            Peers::on(self.core).detach(now, slot.into(), departing);
        }
    }

    /// Removes a connection; nothing refers to it any more.
    pub(super) fn remove_connection(&mut self, slot: ConnSlot) {
        tracing::debug!(target: "switchboard::connection", connection = %self.core.net.id_of(slot), "closed");
        if self.core.tracer.is_active() {
            Tracing::on(self.core).ended(slot);
        }
        let Core { net, sockets, channels, .. } = &mut *self.core;
        sockets.closed(slot, net.remotes.address(slot), channels);
        net.outbound.forget(&mut net.conns[slot].queue);
        net.conns.remove(slot);
        net.remotes.remove(slot);
        if net.conns.is_empty() {
            net.conns.shrink_to_fit();
            net.remotes.clear();
        }
        self.core.admission.forget(slot, &mut self.core.channels);
        self.core.key_waits.forget(slot);
        self.core.stats.closed += 1;
    }

    /// Handles a message to this shard as the owner of rooms, users, quotas or connections.
    fn handle_owner_message(&mut self, now: Now, message: OwnerMessage) {
        let Core { owner, channels, .. } = &mut *self.core;
        match message {
            OwnerMessage::Request { from, op: Op::Connection(connection, op) } => {
                let reply = Peers::on(self.core).apply(now, connection, op);
                self.core.channels.reply(from, reply);
            }
            OwnerMessage::Request { from, op: Op::Broadcast(direct) } => {
                let reply = Ok(Peers::on(self.core).broadcast(now, direct));
                self.core.channels.reply(from, reply);
            }
            OwnerMessage::Request { from, op: Op::App(request) } => {
                AppSockets::on(self.core).request(now, from, *request);
            }
            // The store knows the users who have left.
            OwnerMessage::Request { from, op: Op::Query(Query::PresenceStats) } => {
                owner.presence_stats(now, from, &mut channels.owner_output);
            }
            OwnerMessage::Request { from, op: Op::Query(query) } => {
                let reply = Ok(Reply::PartialResult(Queries::on(self.core).part(now, &query)));
                self.core.channels.reply(from, reply);
            }
            OwnerMessage::Request { from, op } => owner.request(now, from, op, &mut channels.owner_output),
            OwnerMessage::NotifyUser { user, event } => owner.notify(now, &user, event, &mut channels.owner_output),
            OwnerMessage::RoomPresence { room, update } => owner.announce(&room, update, &mut channels.owner_output),
            OwnerMessage::DurableDelivered { user, id } => owner.acknowledge(&user, id),
            OwnerMessage::App(message) => AppSockets::on(self.core).in_hub(now, message),
            OwnerMessage::QuotaRequest { from, request } => {
                self.core.quota.lend(now, from, &request, &mut self.core.channels);
            }
            OwnerMessage::Supersede { connection, to, token, by, from } => {
                KeptSessions::on(self.core).supersede(now, (connection, to), &token, &by, from);
            }
        }
        self.core.channels.post_owner_output();
    }

    fn handle_shard_message(&mut self, now: Now, message: ShardMessage) {
        match message {
            ShardMessage::Deliver { to, event } => Peers::on(self.core).deliver(now, to, &event),
            ShardMessage::DeliverDurable { to, user, direct } => {
                Peers::on(self.core).deliver_durable(now, to, user, direct);
            }
            ShardMessage::Publish { room, except, packed } => {
                let Core { net, rooms, recovery, stats, published, .. } = &mut *self.core;
                stats.published += 1;
                if packed.at != 0 && published.len() < limits::PUBLICATIONS_TIMED {
                    published.push(packed.at);
                }
                rooms.publish(&room, net.key_of(except), &packed, net, &mut recovery.returns);
            }
            ShardMessage::Close { room, packed } => {
                let Core { net, rooms, recovery, .. } = &mut *self.core;
                rooms.publish(&room, PeerKey::NONE, &packed, net, &mut recovery.returns);
                Peers::on(self.core).close_room(now, &room);
            }
            ShardMessage::App(share) => AppSockets::on(self.core).share(now, *share),
            ShardMessage::Decided { number, outcome } => AppHooks::on(self.core).decided(now, number, outcome),
            ShardMessage::Reconnect { connection } => Draining::on(self.core).send_back(now, connection),
            ShardMessage::OnlineUsers { room, users } => OnlineUsers::on(self.core).request_for_room(room, &users),
            ShardMessage::PresenceUpdate { reach, update } => PresenceFeed::on(self.core).take(now, reach, update),
            ShardMessage::AdmissionRequest { connection, address } => {
                self.core.admission.decide(now, connection, address, &mut self.core.channels);
            }
            ShardMessage::AdmissionVerdict { connection, address, verdict } => {
                let Core { admission, net, channels, .. } = &mut *self.core;
                let slot = net.find_conn(connection);
                if let Some(slot) = admission.apply_verdict(now, slot, (address, verdict), channels) {
                    HttpRequests::on(self.core).received(now, slot, &mut []);
                    self.core.net.resumed.push(slot);
                }
            }
            ShardMessage::SocketOpened { connection, address, is_new } => {
                self.core.sockets.opened_elsewhere((connection, address), is_new, &mut self.core.channels);
            }
            ShardMessage::SocketRefused { connection } => {
                if let Some(slot) = self.core.net.find_conn(connection) {
                    Accept::on(self.core).socket_refused(now, slot);
                }
            }
            ShardMessage::SocketClosed { address } => self.core.sockets.closed_elsewhere(address),
            ShardMessage::AllRoomsMade { user, is_full } => self.core.makers.set(now, user, is_full),
            ShardMessage::MakeRoom { idle_before } => MakingRoom::on(self.core).make_for_other(now, idle_before),
            ShardMessage::AddressReleased { address } => self.core.admission.released(address),
            ShardMessage::AttemptRefused { address } => {
                self.core.admission.attempt_refused(now, address, &mut self.core.channels);
            }
            ShardMessage::AddressBlocked { address, block } => {
                self.core.admission.address_blocked(now, address, &block);
            }
            ShardMessage::Expense(Expense { spender, cost }) => self.core.budgets.add(now, &spender, cost),
            ShardMessage::QuotaGrant(grant) => QuotaFlow::on(self.core).granted(now, &grant),
            ShardMessage::Storage(event) => {
                let Core { owner, channels, .. } = &mut *self.core;
                owner.handle_storage_event(now, event, &mut channels.owner_output);
                channels.post_owner_output();
            }
            ShardMessage::ShardReport { from, report } => self.core.metrics.apply_report(from, *report),
            ShardMessage::RedisState(state) => self.core.metrics.set_redis(state),
            ShardMessage::Keys(verifier) => self.core.verifier = verifier,
            ShardMessage::KeysFetched(fetched) => KeyWaiting::on(self.core).fetched(now, fetched),
            ShardMessage::LogFilter(change) => self.core.metrics.log.filters().apply(now, change),
            ShardMessage::Trace(change) => Tracing::on(self.core).apply(change),
            ShardMessage::Revocation(change) => Revoking::on(self.core).change(now, &change),
            ShardMessage::Drain { window_ms } => Draining::on(self.core).start(now, window_ms),
        }
    }

    /// Handles the shard's messages to itself until there are none.
    pub(super) fn run(&mut self, now: Now) {
        while let Some(message) = self.core.channels.local.pop_front() {
            match message {
                ThreadMessage::Shard(message) => self.handle_shard_message(now, message),
                ThreadMessage::Owner(message) => self.handle_owner_message(now, message),
                ThreadMessage::Reply { ask, reply } => Replies::on(self.core).handle(now, ask, reply),
            }
        }
    }
}
