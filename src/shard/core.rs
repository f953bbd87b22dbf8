//! The components of a shard, and the operations that involve several of them.
//!
//! Each component keeps its state to itself. A handler (`Http`, `Commands`, `Replies`, …) borrows the core for one input and
//! has no state of its own.

use std::net::IpAddr;
use std::sync::Arc;

use crate::base::Name;
use crate::base::handle::{ConnSlot, PeerKey, SocketIoSlot};
use crate::base::ids::ConnectionId;
use crate::base::limits;
use crate::base::rng::Rng;
use crate::base::time::Now;
use crate::codec::http::RequestHead;
use crate::codec::jwt::{Claims, Verifier};
use crate::codec::recovery;
use crate::connection::access::AccessEntry;
use crate::connection::conn::ConnStage;
use crate::connection::credentials;
use crate::connection::forwarded::client_address;
use crate::connection::origins::Sender;
use crate::domain::access::{Identity, Roles, TokenMark};
use crate::domain::monitoring::{HeldBytes, Stats, Telemetry};
use crate::domain::op::{Op, Reply, RoomOp, Scope};
use crate::domain::quota::Budgets;
use crate::domain::reject::{Code, Reject};
use crate::domain::revocation::token_mark;
use crate::message::{OwnerMessage, Placement, Requester, ShardNumber, redis};
use crate::owner::embedded::EmbeddedOwner;
use crate::shard::Options;
use crate::shard::access_log::AccessLog;
use crate::shard::admission::{Admission, AdmissionDecision};
use crate::shard::apps::Apps;
use crate::shard::audit::{AuditLog, RefusalCause};
use crate::shard::broadcasts::Broadcasts;
use crate::shard::channels::Channels;
use crate::shard::decisions::Questions;
use crate::shard::drain::Drain;
use crate::shard::gate::Gate;
use crate::shard::grants;
use crate::shard::key_waits::KeyWaits;
use crate::shard::makers::Makers;
use crate::shard::making_room::Idlest;
use crate::shard::media::MediaCallers;
use crate::shard::metrics::ShardMetrics;
use crate::shard::net::Net;
use crate::shard::presence::Presence;
use crate::shard::quota::Quota;
use crate::shard::recovery::Recovery;
use crate::shard::requests::{Merge, PendingRequest, Requests};
use crate::shard::revocation::RevocationFeed;
use crate::shard::rooms::{LocalRooms, rooms_of};
use crate::shard::sessions::EngineIo;
use crate::shard::socket_counts::SocketCounts;
use crate::shard::streams::PieceBuffer;
use crate::shard::trace::Tracer;
use crate::shard::trimming::Trim;

/// Components of a shard.
pub(super) struct Core {
    pub(super) number: ShardNumber,
    pub(super) options: Arc<Options>,
    pub(super) verifier: Arc<Verifier>,
    pub(super) rng: Rng,
    /// Connections, sessions and peers, and the bytes that leave by them.
    pub(super) net: Net,
    /// Rooms with members here.
    pub(super) rooms: LocalRooms,
    /// The rooms and users that this shard owns.
    pub(super) owner: EmbeddedOwner,
    pub(super) requests: Requests,
    pub(super) admission: Admission,
    pub(super) quota: Quota,
    pub(super) broadcasts: Broadcasts,
    pub(super) budgets: Budgets,
    pub(super) channels: Channels,
    pub(super) presence: Presence,
    pub(super) recovery: Recovery,
    /// Users, tokens, members and addresses that may not use the server.
    pub(super) revocations: RevocationFeed,
    pub(super) trim: Trim,
    pub(super) drain: Option<Box<Drain>>,
    pub(super) metrics: ShardMetrics,
    /// Traces of frames that admins watch.
    pub(super) tracer: Tracer,
    pub(super) audit: AuditLog,
    pub(super) access: AccessLog,
    pub(super) stats: Stats,
    /// When the messages that this turn writes were accepted, in milliseconds since 1970.
    pub(super) published: Vec<u64>,
    pub(super) sockets: SocketCounts,
    pub(super) idlest: Idlest,
    pub(super) makers: Makers,
    pub(super) media: MediaCallers,
    /// Namespaces of the application.
    pub(super) apps: Apps,
    /// Questions to the application.
    pub(super) questions: Questions,
    /// Clients that wait for keys of issuers.
    pub(super) key_waits: KeyWaits,
    /// Clients that wait for the application.
    pub(super) gate: Gate,
    /// Pieces of streams that wait to be sent.
    pub(super) pieces: PieceBuffer,
}

impl Core {
    pub(super) fn new(
        number: ShardNumber,
        options: Arc<Options>,
        verifier: Arc<Verifier>,
        mut rng: Rng,
        now: Now,
    ) -> Self {
        let placement = Placement::for_node(options.node, options.shards);
        let (seed, shards) = (rng.next_u64(), options.shards);
        let mut owned = [0; 32];
        rng.fill(&mut owned);
        let mut key = [0; 32];
        rng.fill(&mut key);
        let sockets = SocketCounts::new(options.clone(), seed);
        let apps = Apps::new(u32::from_le_bytes([owned[0], owned[1], owned[2], owned[3]]));
        let questions = Questions::new(number, options.decisions.clone());
        let rooms = LocalRooms::new(seed, options.bulk.members);
        Self {
            apps,
            questions,
            key_waits: KeyWaits::default(),
            gate: Gate::default(),
            pieces: PieceBuffer::default(),
            number,
            owner: EmbeddedOwner::new(number, options.rules.clone(), placement, Rng::from_entropy(owned)),
            admission: Admission::new(options.clone(), seed),
            quota: Quota::new(options.allowances.rates, seed),
            broadcasts: Broadcasts::default(),
            budgets: Budgets::new(options.allowances.budgets, seed),
            net: Net::new(number, options.clone(), seed, now),
            channels: Channels::new(number, options.node, placement),
            recovery: Recovery::new(options.recovery_window_ms, &key, seed),
            revocations: RevocationFeed::new(seed),
            access: AccessLog::new(options.access_sample),
            options,
            verifier,
            rng,
            rooms,
            requests: Requests::new(),
            presence: Presence::new(seed),
            trim: Trim::default(),
            drain: None,
            metrics: ShardMetrics::new(shards, seed, now),
            tracer: Tracer::default(),
            audit: AuditLog::default(),
            stats: Stats::default(),
            published: Vec::new(),
            sockets,
            idlest: Idlest::default(),
            makers: Makers::default(),
            media: MediaCallers::default(),
        }
    }

    // Requests to owners.

    /// Sends a request to the owner of its operation's subject.
    pub(super) fn send(&mut self, request: PendingRequest, op: Op) {
        let owner = self.channels.owner_of(&op);
        let from = self.expect(request);
        self.channels.post(owner, OwnerMessage::Request { from, op });
    }

    /// Sends a request whose reply is not used.
    pub(super) fn send_detached(&mut self, op: Op) {
        self.send(PendingRequest::detached(), op);
    }

    /// Sends the operations of a request, all under one number: each to its owner, or to every owner that has a part of its
    /// subject. Several replies are merged, into `initial` if there is one.
    pub(super) fn send_to_all_owners(
        &mut self,
        request: PendingRequest,
        ops: Vec<Op>,
        initial: Option<Reply>,
        merge: Merge,
    ) {
        let mut parts = Vec::with_capacity(ops.len());
        for op in ops {
            let others = self.channels.placement.other_owners(self.number);
            let at = parts.len();
            parts.extend(others.filter_map(|shard| Some((shard, op.to_every_owner()?))));
            parts.insert(at, (self.channels.owner_of(&op), op));
        }
        let request = match (parts.len(), initial) {
            (1, None) => request,
            (awaited, initial) => request.scattered(awaited, initial, merge),
        };
        debug_assert!(!parts.is_empty(), "invariant: a request has a part");
        let from = self.expect(request);
        for (owner, op) in parts {
            self.channels.post(owner, OwnerMessage::Request { from, op });
        }
    }

    /// Awaits the reply to a request.
    pub(super) fn expect(&mut self, request: PendingRequest) -> Requester {
        match request.to.and_then(|id| self.net.find_peer(id)).map(PeerKey::slot) {
            Some(crate::base::handle::PeerSlot::Raw(slot)) => self.net.conns[slot].asks += 1,
            Some(crate::base::handle::PeerSlot::SocketIo(slot)) => EngineIo::on(self).count_request(slot),
            None => {}
        }
        Requester { shard: self.number, ask: self.requests.insert(request) }
    }

    /// Whether a new request to the owner of a room or user is taken on.
    pub(super) fn takes_requests_for(&self, name: &str) -> bool {
        !self.requests.is_full() && !self.channels.is_congested(name)
    }

    /// The same for the owner of an operation's subject. A member may leave at any time.
    pub(super) fn takes(&self, op: &Op) -> bool {
        match op {
            Op::Room(_, RoomOp::Leave { .. }) => true,
            Op::Room(name, _) | Op::User(name, _) => self.takes_requests_for(name),
            _ => true,
        }
    }

    /// Decides on a request that opens a WebSocket or an Engine.IO session.
    pub(super) fn admit(&mut self, now: Now, slot: ConnSlot, head: &RequestHead<'_>) -> AdmissionDecision {
        let address = self.client_address(now, slot, head);
        self.admission.enter(now, slot, address, &self.net, &mut self.channels)
    }

    /// The client address of a request.
    pub(super) fn client_address(&self, now: Now, slot: ConnSlot, head: &RequestHead<'_>) -> IpAddr {
        let trusted = &self.options.allowances.trusted_proxies;
        let address = client_address(head, self.net.remotes.address(slot), trusted);
        if address.is_unspecified() {
            self.options.operator_notices.unknown_client(now);
        }
        address
    }

    /// What the access log will tell of a request, if it does.
    pub(super) fn access_entry(&self, now: Now, slot: ConnSlot, head: &RequestHead<'_>) -> Option<Box<AccessEntry>> {
        let is_on = self.access.is_on();
        is_on.then(|| AccessEntry::new(head, self.client_address(now, slot, head), now))
    }

    /// Counts the socket of a request for the client that a proxy reports. Returns whether the client may have it.
    pub(super) fn introduces(&mut self, now: Now, slot: ConnSlot, head: &RequestHead<'_>) -> bool {
        if self.options.allowances.sockets_per_address == 0 {
            return true;
        }
        let client = self.client_address(now, slot, head);
        let Self { sockets, net, channels, .. } = self;
        sockets.introduced(slot, client, net, channels)
    }

    /// The sender of a request. The log says once in a while which setting is missing if it is this server's own page.
    pub(super) fn sender(&mut self, now: Now, slot: ConnSlot, head: &RequestHead<'_>) -> Sender {
        let sender = self.net.sender(slot, head);
        if sender == Sender::ForeignPage {
            self.options.operator_notices.foreign_page(
                now,
                head,
                &self.net.addressed(slot, head),
                &self.options.origins,
            );
        }
        sender
    }

    /// The id by which clients know a peer. A recovered Socket.IO client keeps the id of its first connection, whatever
    /// shard or node it comes back to.
    pub(super) fn shown_id(&self, peer: impl Into<PeerKey>) -> ConnectionId {
        let peer = peer.into();
        let line = peer.socketio().and_then(|slot| self.recovery.returns.line(slot));
        line.and_then(recovery::connection_of).unwrap_or_else(|| self.net.id_of(peer))
    }

    /// A Socket.IO peer's id as its client knows it. Clients of older versions know only their session's.
    pub(super) fn socket_id(&self, slot: SocketIoSlot) -> String {
        match self.recovery.returns.has_line(slot) {
            true => self.shown_id(slot).to_string(),
            false => self.net.socket_id(slot),
        }
    }

    // Settings and state that several handlers need.

    /// Bytes that one answer may have, so that a client that reads slowly can take it all the same.
    pub(super) fn answer_bytes(&self) -> usize {
        self.options.outbound_bytes / 2
    }

    /// Whether presence is sent to all users or to none, so that it need not be announced in rooms.
    pub(super) fn announces_to_all(&self) -> bool {
        match self.options.rules.presence_scope {
            Scope::None | Scope::All => true,
            // Only the owner knows how many users all nodes have.
            Scope::Auto if self.channels.placement.is_cluster() => false,
            Scope::Auto | Scope::Rooms => self.owner.presence_reaches_all(),
        }
    }

    /// Whether lost connections can be recovered at all.
    pub(super) fn recovers(&self) -> bool {
        self.options.recovery_window_ms != 0 && self.options.rules.has_store
    }

    /// The end of a recovery window that begins now, in milliseconds since 1970.
    pub(super) fn window_end(&self, now: Now) -> u64 {
        now.wall + self.options.recovery_window_ms
    }

    /// The state of Redis, if rooms and users are out of reach because of it.
    pub(super) fn lost_redis(&self) -> Option<redis::RedisState> {
        let state = self.metrics.redis();
        (self.channels.placement.is_cluster() && state != redis::RedisState::Ready).then_some(state)
    }

    /// Hands a peer the events that its rooms have gathered, so that bytes for it alone come after them.
    pub(super) fn settle_for(&mut self, peer: PeerKey) {
        self.rooms.settle_for(peer, &mut self.net, &mut self.recovery.returns);
    }

    /// The names of a peer's rooms.
    pub(super) fn rooms_of(&self, peer: PeerKey) -> Vec<Name> {
        rooms_of(&self.net, peer).into_iter().filter_map(|at| self.rooms.name_of(at).cloned()).collect()
    }

    /// The bearer of a token that comes from an address, and its expiry (seconds since 1970). A refused token counts as an
    /// attempt of the address.
    ///
    /// # Errors
    /// The token is not valid, or revoked, or its user is blocked, or the address is.
    pub(super) fn verify(&mut self, token: &str, address: IpAddr, now: Now) -> Result<(Identity, Option<u64>), Reject> {
        let claims = self.claims(token, address, now)?;
        let roles = Roles { admin: claims.admin, push: claims.push, guest: false };
        let token = TokenMark {
            mark: claims.id.as_deref().map_or(0, token_mark),
            issued_at: claims.issued_at.map_or(0, |at| u32::try_from(at).unwrap_or(u32::MAX)),
        };
        let (username, email) = (claims.username.as_deref(), claims.email.as_deref());
        let identity = grants::limited(Identity::of_token(&claims.user, username, email, roles, token), &claims)?;
        // A token that has just expired is still accepted, since clocks differ; it then holds for that long.
        let expires_at = claims.expires_at.map(|at| {
            let is_over = at <= now.unix_seconds();
            if is_over { at + limits::TOKEN_LEEWAY_S } else { at }
        });
        Ok((identity, expires_at))
    }

    /// The claims of a token that comes from an address.
    ///
    /// # Errors
    /// As for [`Core::verify`].
    pub(super) fn claims(&mut self, token: &str, address: IpAddr, now: Now) -> Result<Claims, Reject> {
        self.admission.check(now, address)?;
        let token = credentials::without_scheme(token);
        let claims = self.verifier.verify(token, now.unix_seconds()).map_err(|error| {
            self.admission.note_refused(now, address, &mut self.channels);
            let code = if error.code() == "TOKEN_EXPIRED" { Code::TokenExpired } else { Code::Unauthenticated };
            Reject::new(code, error.text())
        })?;
        self.revocations.list().check_token(now, &claims.user, (claims.id.as_deref(), claims.issued_at))?;
        Ok(claims)
    }

    /// The refusal of a connection from an address, which shows no token where one is required. It counts as an attempt.
    pub(super) fn refuse_without_token(&mut self, address: IpAddr, now: Now) -> Reject {
        self.admission.note_refused(now, address, &mut self.channels);
        Reject::new(Code::Unauthenticated, "A token is required")
    }

    /// Records an attempt that was refused before a client was attached or a call accepted: as an incident, in the counters
    /// and in the audit log.
    pub(super) fn turned_away(
        &mut self,
        now: Now,
        (address, agent): (IpAddr, Option<&str>),
        reject: &Reject,
        cause: RefusalCause,
    ) {
        self.metrics.turned_away(now, address, agent, reject);
        self.count_refusal(now, address, reject, cause);
    }

    /// Counts a refusal, and notes it for the audit log.
    pub(super) fn count_refusal(&mut self, now: Now, address: IpAddr, reject: &Reject, cause: RefusalCause) {
        match cause {
            RefusalCause::Token => self.stats.tokens_refused += 1,
            RefusalCause::Rate => self.stats.rate_limited += 1,
            RefusalCause::Origin => self.stats.origins_refused += 1,
            RefusalCause::Blocked => self.stats.blocked += 1,
            RefusalCause::Other => {}
        }
        self.audit.refused(now, cause, address, reject);
    }

    /// The same, of a call: it is no attempt to connect.
    pub(super) fn call_refused(
        &mut self,
        now: Now,
        slot: ConnSlot,
        head: &RequestHead<'_>,
        reject: &Reject,
        cause: RefusalCause,
    ) {
        let address = self.client_address(now, slot, head);
        self.metrics.call_refused(now, address, head.header("user-agent"), reject);
        self.count_refusal(now, address, reject, cause);
    }

    /// As [`Core::turned_away`], of a request to connect.
    pub(super) fn turned_away_request(
        &mut self,
        now: Now,
        slot: ConnSlot,
        head: &RequestHead<'_>,
        reject: &Reject,
        cause: RefusalCause,
    ) {
        let address = self.client_address(now, slot, head);
        self.turned_away(now, (address, head.header("user-agent")), reject, cause);
    }

    /// Whether a connection may be read now.
    pub(super) fn wants_read(&self, slot: ConnSlot) -> bool {
        let Some(conn) = self.net.conns.get(slot) else { return false };
        match &conn.stage {
            // Where a session answers in its own time, the end of the stream is to be found meanwhile.
            ConnStage::Http(Some(http)) if http.is_answering() && http.link.is_some() => {
                http.unread.len() < self.options.head.bytes
            }
            ConnStage::Http(Some(http)) => !http.is_answering() && !http.is_paused && conn.queue.backlog.is_none(),
            ConnStage::EngineIoSocket(socket) => {
                let session = self.net.sessions.named(socket.link);
                let is_busy = session.is_some_and(|at| self.net.sessions.list[at].is_busy());
                !is_busy && !self.net.waiting.holds(slot)
            }
            ConnStage::Echo(_) => conn.queue.backlog.is_none() && !self.net.waiting.holds(slot),
            _ => {
                let peer = slot.into();
                let is_held = self.quota.holds(peer) || self.broadcasts.holds(peer) || self.gate.holds(peer);
                let is_busy = conn.asks >= limits::ASKS_PER_CONNECTION || is_held;
                !is_busy && !self.net.waiting.holds(slot)
            }
        }
    }

    /// The shard's counters.
    pub(super) fn stats(&self) -> Stats {
        Stats {
            connections: self.net.conns.len(),
            sessions: self.net.sessions.list.len(),
            peers: self.net.sessions.peers.len(),
            rooms: self.owner.rooms(),
            users: self.owner.users(),
            asks: self.requests.len(),
            listened_rooms: self.rooms.len(),
            telemetry: Telemetry { held: self.held_bytes(), ..self.stats.telemetry },
            ..self.stats
        }
    }

    /// Memory by owner.
    fn held_bytes(&self) -> HeldBytes {
        let sessions = &self.net.sessions;
        HeldBytes {
            connections: self.net.conns.table_bytes() as u64,
            sessions: (sessions.list.table_bytes() + sessions.peers.table_bytes()) as u64,
            output: (self.net.outbound.held_bytes() + self.net.cork.capacity()) as u64,
            recovery: self.recovery.departed.bytes() as u64,
            backlogs: self.net.conns.iter().map(|(_, conn)| conn.queue.backlog_bytes()).sum::<usize>() as u64,
            memberships: self.rooms.bytes() as u64,
            rooms: self.owner.room_bytes() as u64,
            users: self.owner.user_bytes() as u64,
        }
    }

    /// A connection becomes a WebSocket.
    pub(super) fn note_upgraded(&mut self, now: Now, slot: ConnSlot) {
        let accepted_at = self.net.remotes.connected_at(slot, now);
        self.stats.telemetry.upgraded(now.wall.saturating_sub(accepted_at));
    }

    /// Panics, naming the invariant, unless the components agree with each other.
    pub(super) fn check_invariants(&self) {
        self.rooms.check_invariants(&self.net);
        self.net.sessions.check_invariants();
        self.requests.check_invariants(&self.net);
        self.recovery.check_invariants(&self.net);
        self.presence.check_invariants();
        self.quota.check_invariants();
        self.broadcasts.check_invariants();
        self.admission.check_invariants();
        self.sockets.check_invariants(&self.net);
        self.revocations.check_invariants();
        self.owner.check_invariants();
        self.apps.check_invariants();
        assert_eq!(self.drain.is_some(), self.net.is_draining, "invariant: a draining shard has a schedule");
    }
}
