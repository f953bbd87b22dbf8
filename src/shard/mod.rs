//! Layer 4: the clients and the domain of one thread, sans-IO.
//!
//! The rule of use: feed a shard what happened ([`Shard::accepted`], [`Shard::received`], [`Shard::ended`],
//! [`Shard::mail`], [`Shard::tick`]), in any order and as often as there is something; then [`Shard::run`], then
//! [`Shard::flush`], and take what it has for other shards from [`Shard::outgoing`]. Time is an argument, randomness
//! comes from a seed, so the same inputs give the same outputs.

mod accepting;
mod admission;
mod answers;
mod arrivals;
mod bulletin;
mod carriers;
mod conformance;
mod connections;
mod credit;
mod departed;
mod drain;
mod fanout;
mod flush;
mod inquiries;
mod keepers;
mod moves;
mod namespaces;
mod online;
mod options;
mod peer_answers;
mod peer_connections;
mod peer_news;
mod peer_recovery;
mod peer_rooms;
mod peer_runs;
mod peer_sessions;
mod peers;
mod recovery;
mod requests;
mod sessions;
mod timers;
mod trimming;
mod waiting;
mod watching;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use slab::Slab;
use uuid::Uuid;

pub use crate::domain::monitoring::Stats;
pub use flush::{Gone, Wire};
pub use moves::Departure;
pub use options::{Allowances, Ice, Options, SocketIo, TurnAccess};

use crate::base::Name;
use crate::base::ids::{ConnectionId, ConnectionPlace, PEER};
use crate::base::limits;
use crate::base::map::{Map, map};
use crate::base::rng::Rng;
use crate::base::time::Now;
use crate::base::wheel::{Wheel, tick};
use crate::codec::jwt::Verifier;
use crate::codec::recovery::RecoveryKey;
use crate::connection::conn::{CloseState, Conn, ConnStage};
use crate::connection::outbound::{NO_CONNECTION, Outbound};
use crate::domain::op::{Op, Reply, RoomOp, Scope, UserOp};
use crate::message::storage::{Restored, StorageCommand};
use crate::message::{Outgoing, Placement, Requester, ShardMessage, ShardNumber};
use crate::owner::embedded::EmbeddedOwner;

use admission::Admission;
use answers::Ask;
use arrivals::Arrivals;
use bulletin::Bulletin;
use credit::Credit;
use departed::Departed;
use drain::Drain;
use fanout::Fanout;
use peer_recovery::Returns;
use peer_rooms::PeerRooms;
use recovery::{Appearance, Departing, Resume};
use sessions::Sessions;
use waiting::Waiting;
use watching::Watching;

/// One thread's part of the server.
pub struct Shard {
    number: ShardNumber,
    options: Arc<Options>,
    verifier: Arc<Verifier>,
    placement: Placement,
    rng: Rng,
    conns: Slab<Conn>,
    sessions: Sessions,
    /// What is known of connections beyond that.
    arrivals: Arrivals,
    timers: Wheel<u32>,
    fanout: Fanout,
    peer_rooms: PeerRooms,
    outbound: Outbound,
    authority: EmbeddedOwner,
    asks: Slab<Ask>,
    /// Who may connect.
    admission: Admission,
    /// What users may say, and the questions that wait for it.
    credit: Credit,
    /// Mail to itself, not yet read.
    local: VecDeque<ShardMessage>,
    /// Mail to other shards, in order.
    outgoing: Vec<Outgoing>,
    /// What the authority has just said; empty but for its memory.
    said: Vec<Outgoing>,
    /// Shards that have more mail waiting than they should.
    congested: Vec<bool>,
    /// Connections whose ending is to be looked at.
    ending: Vec<u32>,
    /// Connections whose backlog has outgrown its bound.
    overflowed: Vec<u32>,
    /// Connections that may be read again.
    resumed: Vec<u32>,
    /// What came and has to wait.
    waiting: Waiting,
    /// Connections that go to other shards.
    departures: Vec<Departure>,
    /// Several segments, joined for one write.
    cork: Vec<u8>,
    /// How users are, for those who are to hear of it at the next tick.
    bulletin: Bulletin,
    /// When memory that is no longer used is given back, in monotonic milliseconds; 0 when there is hardly any.
    trim_due: u64,
    /// Connections whose session is to be noted, and when, in monotonic milliseconds.
    unsaved: BTreeSet<u32>,
    unsaved_due: u64,
    /// What is remembered of connections that have gone.
    departed: Departed,
    /// Clients on their way back, by the slots of their connections.
    resumes: BTreeMap<u32, Resume>,
    /// Socket.IO peers that came back, or are on their way.
    returns: Returns,
    /// Messages to users that were handed to their connections, and whose sockets may not have taken them yet.
    handed: Vec<(ConnectionId, Name, Uuid)>,
    /// Connections whose queue need not wait any longer.
    uncorked: Vec<u32>,
    /// How members show themselves in rooms, by slot and room, where it is not what everybody does.
    appearances: Map<(u32, u32), Appearance>,
    recovery_key: RecoveryKey,
    drain: Option<Box<Drain>>,
    watching: Watching,
    stats: Stats,
}

impl Shard {
    /// Shard `number`, without clients.
    pub fn new(number: ShardNumber, options: Arc<Options>, verifier: Arc<Verifier>, mut rng: Rng, now: Now) -> Self {
        let placement = Placement::for_node(options.node, options.shards);
        let (seed, shards) = (rng.next_u64(), options.shards);
        let mut kept = [0; 32];
        rng.fill(&mut kept);
        let mut key = [0; 32];
        rng.fill(&mut key);
        let departed = Departed::new(options.recovery_window_ms);
        Self {
            number,
            authority: EmbeddedOwner::new(number, options.rules.clone(), placement, Rng::from_entropy(kept)),
            congested: vec![false; placement.mailboxes()],
            admission: Admission::new(&options, seed),
            credit: Credit::new(options.allowances.rates, seed),
            options,
            verifier,
            placement,
            rng,
            conns: Slab::new(),
            sessions: Sessions::new(seed),
            arrivals: Arrivals::new(seed),
            timers: Wheel::new(now.mono),
            fanout: Fanout::new(seed),
            peer_rooms: PeerRooms::new(seed),
            outbound: Outbound::default(),
            asks: Slab::new(),
            local: VecDeque::new(),
            outgoing: Vec::new(),
            said: Vec::new(),
            ending: Vec::new(),
            overflowed: Vec::new(),
            resumed: Vec::new(),
            waiting: Waiting::default(),
            departures: Vec::new(),
            cork: Vec::new(),
            bulletin: Bulletin::new(seed),
            trim_due: 0,
            unsaved: BTreeSet::new(),
            unsaved_due: 0,
            departed,
            resumes: BTreeMap::new(),
            returns: Returns::default(),
            handed: Vec::new(),
            uncorked: Vec::new(),
            appearances: map(seed),
            recovery_key: RecoveryKey::new(&key),
            drain: None,
            watching: Watching::new(shards, seed, now),
            stats: Stats::default(),
        }
    }

    /// Bytes came from a connection. They may be changed in place.
    pub fn received(&mut self, now: Now, slot: u32, input: &mut [u8]) {
        let Some(conn) = self.conns.get_mut(slot as usize) else { return };
        conn.seen = tick(now.mono);
        if conn.ending != CloseState::None {
            return;
        }
        match conn.stage {
            ConnStage::Http(_) => self.received_http(now, slot, input),
            ConnStage::ProxyHeader(_) => self.received_introduction(now, slot, input),
            ConnStage::WebSocket(_) | ConnStage::EngineIoSocket(_) | ConnStage::Echo(_) => {
                self.received_frames(now, slot, input)
            }
            ConnStage::Draining => {}
        }
    }

    /// A connection's stream ended, or its socket failed.
    pub fn ended(&mut self, now: Now, slot: u32) {
        let Some(conn) = self.conns.get_mut(slot as usize) else { return };
        let is_owed_an_answer = match &conn.stage {
            // A session is told at once when nobody waits for its answer any more.
            ConnStage::Http(http) if http.as_ref().is_none_or(|http| http.link.is_none()) => {
                conn.asks > 0 || !conn.queue.is_empty()
            }
            _ => false,
        };
        match conn.ending {
            CloseState::None if is_owed_an_answer => return self.close_after_answer(now, slot),
            // Whoever only ended their side may still be reading; a socket that failed shows when it is written to.
            CloseState::HalfClose | CloseState::Close if !conn.queue.is_empty() => {
                conn.ending = CloseState::Close;
                return;
            }
            _ => {}
        }
        self.depart(now, slot, Departing::Lost);
        self.abort(slot);
    }

    /// Whether a connection may be read now. When that changes to yes, [`Shard::resumed`] says so.
    pub fn wants_read(&self, slot: u32) -> bool {
        let Some(conn) = self.conns.get(slot as usize) else { return false };
        match &conn.stage {
            // Where a session answers in its own time, the end of the stream is to be found meanwhile.
            ConnStage::Http(Some(http)) if http.is_answering() && http.link.is_some() => {
                http.unread.len() < self.options.head.bytes
            }
            ConnStage::Http(Some(http)) => !http.is_answering() && !http.is_paused && conn.queue.backlog.is_none(),
            ConnStage::EngineIoSocket(carrier) => {
                let session = self.sessions.named(carrier.link);
                let is_busy = session.is_some_and(|at| self.sessions.list[at as usize].is_busy());
                !is_busy && !self.waiting.holds(slot)
            }
            ConnStage::Echo(_) => conn.queue.backlog.is_none() && !self.waiting.holds(slot),
            _ => conn.asks < limits::ASKS_PER_CONNECTION && !self.waiting.holds(slot) && !self.credit.holds(slot),
        }
    }

    /// Whether there are connections that may be read again.
    pub fn has_resumed(&self) -> bool {
        !self.resumed.is_empty()
    }

    /// Takes one of the connections that may be read again.
    pub fn resumed(&mut self) -> Option<u32> {
        self.resumed.pop()
    }

    /// Mail came from another shard or from the server.
    pub fn mail(&mut self, now: Now, mail: ShardMessage) {
        match mail {
            ShardMessage::Request { from, op: Op::Connection(connection, op) } => {
                let reply = self.apply_to_connection(now, connection, op);
                self.post(from.shard, ShardMessage::Reply { ask: from.ask, reply });
            }
            ShardMessage::Request { from, op: Op::Broadcast(direct) } => {
                let reply = Ok(self.broadcast(now, direct));
                self.post(from.shard, ShardMessage::Reply { ask: from.ask, reply });
            }
            ShardMessage::Request { from, op: Op::Query(survey) } => {
                let reply = Ok(Reply::PartialResult(self.survey(now, &survey)));
                self.post(from.shard, ShardMessage::Reply { ask: from.ask, reply });
            }
            ShardMessage::Request { from, op } => {
                let mut out = std::mem::take(&mut self.said);
                self.authority.ask(now, from, op, &mut out);
                self.post_all(out);
            }
            ShardMessage::NotifyUser { user, event } => {
                let mut out = std::mem::take(&mut self.said);
                self.authority.notify(now, &user, event, &mut out);
                self.post_all(out);
            }
            ShardMessage::Storage(told) => {
                let mut out = std::mem::take(&mut self.said);
                self.authority.told(now, told, &mut out);
                self.post_all(out);
            }
            ShardMessage::Supersede { connection, to, token, by, from } => {
                self.supersede(now, (connection, to), &token, &by, from);
            }
            ShardMessage::Reply { ask, reply } => self.answered(now, ask, reply),
            ShardMessage::Deliver { to, event } => self.told(now, to, event),
            ShardMessage::DeliverDurable { to, user, direct } => self.hand(now, to, user, direct),
            ShardMessage::DurableDelivered { user, id } => self.authority.handed(&user, id),
            ShardMessage::Publish { room, except, packed } => {
                let except = self.key_of(except);
                self.stats.published += 1;
                self.fanout.publish(&room, except, &packed, &mut self.conns, &mut self.outbound);
                self.publish_to_peers(&room, except, &packed);
            }
            ShardMessage::Close { room, packed } => {
                self.fanout.publish(&room, NO_CONNECTION, &packed, &mut self.conns, &mut self.outbound);
                let (place, members) = self.fanout.close(&room, &mut self.conns, &mut self.outbound);
                for slot in members {
                    self.appearances.remove(&(slot, place));
                    self.note_session(now, slot);
                }
                self.publish_to_peers(&room, NO_CONNECTION, &packed);
                self.close_peer_room(now, &room);
            }
            ShardMessage::OnlineUsers { room, users } => self.ask_for_users_in(room, &users),
            ShardMessage::PresenceUpdate { reach, news } => self.news(now, reach, news),
            ShardMessage::AdmissionRequest { connection, address } => self.attempted(now, connection, address),
            ShardMessage::AdmissionVerdict { connection, address, verdict } => {
                self.admitted(now, connection, address, verdict)
            }
            ShardMessage::AddressReleased { address } => self.address_left(address),
            ShardMessage::QuotaRequest { from, claim } => self.claimed(now, from, &claim),
            ShardMessage::QuotaGrant(notice) => self.noticed(now, &notice),
            ShardMessage::ShardReport { from, pulse } => self.hear_pulse(from, *pulse),
            ShardMessage::RedisState(state) => self.watching.redis = Some(state),
            ShardMessage::Keys(verifier) => self.verifier = verifier,
            ShardMessage::Drain { window_ms } => self.start_draining(now, window_ms),
        }
    }

    /// Takes what the store is to do, in order.
    pub fn orders(&mut self, now: Now) -> std::vec::Drain<'_, StorageCommand> {
        self.authority.orders(now)
    }

    /// Takes back something that was kept before a restart.
    pub fn restore(&mut self, now: Now, restored: Restored) {
        self.authority.restore(now, restored);
    }

    /// Reads the shard's mail to itself until there is none.
    pub fn run(&mut self, now: Now) {
        while let Some(mail) = self.local.pop_front() {
            self.mail(now, mail);
        }
    }

    /// Takes the mail for other shards.
    pub fn outgoing(&mut self) -> std::vec::Drain<'_, Outgoing> {
        self.outgoing.drain(..)
    }

    /// Whether it has mail to itself that is not yet read.
    pub fn has_mail(&self) -> bool {
        !self.local.is_empty()
    }

    /// Says whether `shard` has more mail waiting than it should; new work for it is then refused.
    pub fn set_congested(&mut self, shard: ShardNumber, is_congested: bool) {
        if let Some(known) = self.congested.get_mut(usize::from(shard)) {
            *known = is_congested;
        }
    }

    /// Whether so much was gathered that it should be flushed before more comes.
    pub fn wants_flush(&self) -> bool {
        self.outbound.len() > limits::TURN_BYTES
    }

    /// How many connections the next flush writes to on behalf of their rooms, about.
    pub fn waiting_members(&self) -> usize {
        self.fanout.waiting_members() + self.peer_rooms.waiting_members()
    }

    /// Whether anything was gathered that a flush would send or end.
    pub fn has_output(&self) -> bool {
        let is_dirty = self.fanout.is_dirty() || self.peer_rooms.is_dirty() || self.sessions.is_dirty();
        self.authority.has_orders() || !self.outbound.is_empty() || !self.ending.is_empty() || is_dirty
    }

    /// Connections, in whatever stage.
    pub fn connections(&self) -> usize {
        self.conns.len()
    }

    /// The shard's counters.
    pub fn stats(&self) -> Stats {
        Stats {
            connections: self.conns.len(),
            sessions: self.sessions.list.len(),
            peers: self.sessions.peers.len(),
            rooms: self.authority.rooms(),
            users: self.authority.users(),
            asks: self.asks.len(),
            listened_rooms: self.fanout.rooms(),
            ..self.stats
        }
    }

    /// The id of the connection at `slot`, or of the peer at a slot that is marked so.
    fn id_of(&self, slot: u32) -> ConnectionId {
        if slot & PEER != 0 {
            return self.peer_id(slot & !PEER);
        }
        let place = ConnectionPlace { node: self.options.node, shard: self.number, slot };
        ConnectionId::new(place, self.conns.get(slot as usize).map(|conn| conn.nonce).unwrap_or_default())
    }

    /// The slot of a connection, if it is here and still the same one. Peers have none.
    fn slot_of(&self, id: ConnectionId) -> Option<u32> {
        let place = id.place();
        let conn = self.conns.get(place.slot as usize)?;
        (place.shard == self.number && conn.nonce == id.nonce()).then_some(place.slot)
    }

    /// The slot of a connection, or the marked slot of a peer; [`NO_CONNECTION`] where it is not here.
    fn key_of(&self, id: Option<ConnectionId>) -> u32 {
        let Some(id) = id else { return NO_CONNECTION };
        let key = if id.is_peer() { self.peer_at(id).map(|peer| PEER | peer) } else { self.slot_of(id) };
        key.unwrap_or(NO_CONNECTION)
    }

    /// Sends mail, to itself or to another shard.
    fn post(&mut self, to: ShardNumber, mail: ShardMessage) {
        if to == self.number {
            self.local.push_back(mail);
        } else {
            self.outgoing.push((to, mail));
        }
    }

    /// Sends what the authority has said, and keeps the list for its memory.
    fn post_all(&mut self, mut said: Vec<Outgoing>) {
        for (to, mail) in said.drain(..) {
            self.post(to, mail);
        }
        self.said = said;
    }

    /// Puts a question to whoever keeps what `op` is about; the number it goes by.
    fn ask(&mut self, ask: Ask, op: Op) -> u32 {
        let to = self.keeper_of(&op);
        let from = self.expect(ask);
        self.post(to, ShardMessage::Request { from, op });
        from.ask
    }

    /// Expects the answer to a question.
    fn expect(&mut self, ask: Ask) -> Requester {
        match self.key_of(ask.to) {
            NO_CONNECTION => {}
            key if key & PEER != 0 => self.count_peer_ask(key & !PEER),
            slot => self.conns[slot as usize].asks += 1,
        }
        Requester { shard: self.number, ask: self.asks.insert(ask) as u32 }
    }

    /// Takes a connection out of the domain: its rooms and its user hear that it is gone.
    fn depart(&mut self, now: Now, slot: u32, departing: Departing) {
        self.part_from_session(now, slot);
        let Some(conn) = self.conns.get_mut(slot as usize) else { return };
        let was_attached = matches!(conn.stage, ConnStage::WebSocket(_));
        if !was_attached {
            return;
        }
        self.waiting.forget(slot);
        self.drop_held(slot);
        self.note_departure(now, slot, departing);
        let awaited = self.rooms_awaited(slot);
        self.note_departed(now, slot, departing);
        let conn = &mut self.conns[slot as usize];
        conn.stage = ConnStage::Draining;
        conn.deadline = 0;
        let identity = conn.identity.take();
        self.leave_address(self.arrivals.address(slot));
        let connection = self.id_of(slot);
        let may_return = matches!(departing, Departing::Lost | Departing::Superseded);
        let stays = may_return && self.options.rules.presence_grace_ms != 0;
        let op = || if stays { RoomOp::StartGrace { connection } } else { RoomOp::RemoveMember { connection } };
        let tells_rooms = matches!(self.options.rules.presence_scope, Scope::Auto | Scope::Rooms);
        let mut rooms = Vec::new();
        for membership in self.conns[slot as usize].rooms.clone().as_slice() {
            let Some(name) = self.fanout.name_of(membership.room).cloned() else { continue };
            self.appearances.remove(&(slot, membership.room));
            self.fanout.leave(&name, slot, &mut self.conns, &mut self.outbound);
            rooms.extend(tells_rooms.then(|| name.clone()));
            self.ask(Ask::forgotten(), Op::Room(name, op()));
        }
        for name in awaited {
            rooms.extend(tells_rooms.then(|| name.clone()));
            self.ask(Ask::forgotten(), Op::Room(name, op()));
        }
        if let Some(identity) = identity {
            let op = UserOp::Detach { connection, parting: departing.parting(), rooms };
            self.ask(Ask::forgotten(), Op::User(identity.user_name(), op));
        }
        self.set_deadline(now, slot, limits::CLOSING_MS);
    }

    /// Removes a connection; nothing refers to it any more.
    fn forget(&mut self, slot: u32) {
        if let Some(conn) = self.conns.get_mut(slot as usize) {
            self.outbound.forget(&mut conn.queue);
            self.conns.remove(slot as usize);
            self.forget_entry(slot);
            self.arrivals.forget(slot);
            self.stats.closed += 1;
        }
        if self.conns.is_empty() {
            self.conns.shrink_to_fit();
            self.arrivals.clear();
        }
    }
}

#[cfg(test)]
mod tests;
