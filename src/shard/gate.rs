//! Clients that wait for the application: connections that it has not let in yet, and requests to join a room or to publish that
//! it is asked about. Servers without such a hook hold none.
//!
//! A client that waits is not read further, so its requests keep their order and it has one question under way. Requests that
//! were read with the one in question wait behind it.

use std::collections::{BTreeMap, VecDeque};

use crate::base::Name;
use crate::base::handle::{ConnSlot, PeerKey, PeerSlot};
use crate::base::ids::ConnectionId;
use crate::base::time::Now;
use crate::connection::standing::HandshakeState;
use crate::dialect::decision::{self, DecisionSubject, Published};
use crate::dialect::socketio::ReplyTo;
use crate::domain::access::{Identity, Roles};
use crate::domain::decision::{Decision, DecisionKind, DecisionOutcome};
use crate::domain::grants::Grant;
use crate::domain::op::{Op, RoomOp, UserOp};
use crate::domain::reject::{Code, Reject};
use crate::shard::apps::hooks::AppHooks;
use crate::shard::audit::RefusalCause;
use crate::shard::commands::Commands;
use crate::shard::core::Core;
use crate::shard::decisions::OnDecision;
use crate::shard::namespaces::Namespacing;
use crate::shard::peers::Peers;
use crate::shard::quota::QuotaFlow;
use crate::shard::raw_sockets::RawSockets;
use crate::shard::requests::{OnReply, PendingRequest, RequestId, RequestRef};
use crate::shard::sessions::EngineIo;

/// The place of clients of `/ws` among namespaces, in questions.
const RAW: &str = "/ws";

/// Clients that wait, and what the application has said of those that it has let in.
#[derive(Default)]
pub(super) struct Gate {
    /// Requests of each client that waits, the first of which is asked about. None of a client that connects.
    held: BTreeMap<PeerKey, VecDeque<GatedRequest>>,
    /// A JSON value that goes with later questions.
    data: BTreeMap<PeerKey, Box<str>>,
    /// Rooms that a client joins once it is attached.
    rooms: BTreeMap<PeerKey, Vec<Name>>,
}

struct GatedRequest {
    id: RequestId,
    then: OnReply,
    op: Op,
}

impl Gate {
    /// Whether a client waits, so that its input is not read further.
    pub(super) fn holds(&self, peer: PeerKey) -> bool {
        !self.held.is_empty() && self.held.contains_key(&peer)
    }

    /// Forgets a client that leaves. Returns whether its session was halted.
    pub(super) fn forget(&mut self, peer: PeerKey) -> bool {
        self.data.remove(&peer);
        self.rooms.remove(&peer);
        self.held.remove(&peer).is_some_and(|requests| !requests.is_empty())
    }
}

/// The hook that an operation is asked about, and the name that its rules are for.
fn subject_of(op: &Op) -> Option<(DecisionKind, &Name)> {
    match op {
        Op::Room(room, RoomOp::Join(_)) => Some((DecisionKind::Join, room)),
        Op::Room(room, RoomOp::Send(_)) => Some((DecisionKind::Publish, room)),
        Op::User(user, UserOp::Send { .. }) => Some((DecisionKind::Publish, user)),
        _ => None,
    }
}

/// A refusal by the application. A code that the protocol does not know becomes `FORBIDDEN`.
fn checked(decision: &Decision) -> Result<(), Reject> {
    let Some(refusal) = &decision.refusal else { return Ok(()) };
    let code = Code::ALL.into_iter().find(|code| code.as_str() == &*refusal.code).unwrap_or(Code::Forbidden);
    Err(Reject::new(code, refusal.message.to_string()))
}

/// Has the application asked, and goes on with its answers.
pub(super) struct Gating<'a> {
    core: &'a mut Core,
}

impl<'a> Gating<'a> {
    pub(super) fn on(core: &'a mut Core) -> Self {
        Self { core }
    }

    // Connections.

    /// Attaches a client whose token is good, once the application lets it in. `auth` is the payload of its CONNECT.
    pub(super) fn attach(
        &mut self,
        now: Now,
        peer: PeerKey,
        (by, socket): (Identity, Option<Name>),
        auth: Option<&str>,
    ) {
        let place = self.place_of(peer);
        let rules = self.core.questions.rules.rules(DecisionKind::Connect);
        if !rules.is_some_and(|rules| rules.asks_about(place)) {
            return self.request_attach(peer, by, socket);
        }
        let key = format!("{place}\n{}\n{}", by.user(), auth.unwrap_or_default()).into_boxed_str();
        if let Some(decision) = self.core.questions.known(now.mono, &key) {
            return self.admit(now, peer, (by, socket), Ok(decision));
        }
        let mut body = Vec::new();
        let id = self.core.net.id_of(peer).to_string();
        let subject = self.subject(peer, place, &id, &by);
        let remote = self.core.net.remote_of(peer, now);
        let (address, agent) = remote.map_or((String::new(), None), |it| (it.address.to_string(), it.agent));
        decision::connect_question(&mut body, &subject, auth, (&address, agent), now);
        // Without an identity it takes no part in anything.
        match peer.slot() {
            PeerSlot::Raw(slot) => {
                self.core.net.conns[slot].identity = None;
                self.core.gate.held.insert(peer, VecDeque::new());
            }
            PeerSlot::SocketIo(slot) => self.core.net.sessions.peers[slot].identity = None,
        }
        let then = OnDecision::Attach { connection: self.core.net.id_of(peer), key, by, socket };
        self.core.questions.ask(DecisionKind::Connect, place.into(), body, then);
    }

    /// The application has answered whether a client may connect, or has not.
    pub(super) fn connect_decided(
        &mut self,
        now: Now,
        connection: ConnectionId,
        key: Box<str>,
        asked: (Identity, Option<Name>),
        outcome: DecisionOutcome,
    ) {
        let outcome = self.core.questions.settle(now.mono, DecisionKind::Connect, key, outcome);
        let Some(peer) = self.core.net.find_peer(connection) else {
            // The client has gone.
            return;
        };
        self.core.gate.held.remove(&peer);
        self.admit(now, peer, asked, outcome);
        if let PeerSlot::Raw(slot) = peer.slot() {
            self.core.net.read_again(slot);
        }
    }

    fn admit(
        &mut self,
        now: Now,
        peer: PeerKey,
        (by, socket): (Identity, Option<Name>),
        outcome: Result<Decision, Reject>,
    ) {
        let outcome = match outcome {
            Ok(Decision { refusal: Some(refusal), .. }) if peer.socketio().is_some() => {
                let slot = peer.socketio().expect("invariant: it was just seen");
                self.core.net.sessions.peers[slot].identity = None;
                return Namespacing::on(self.core).turn_away(now, slot, (&refusal.code, &refusal.message));
            }
            Ok(decision) => checked(&decision).and_then(|()| Ok((self.decided_user(now, by, &decision)?, decision))),
            Err(reject) => Err(reject),
        };
        let (by, decision) = match (outcome, peer.slot()) {
            (Ok(admitted), _) => admitted,
            (Err(reject), PeerSlot::Raw(slot)) => return self.refuse_raw(now, slot, &reject),
            (Err(reject), PeerSlot::SocketIo(slot)) => {
                return Namespacing::on(self.core).attached(now, slot, Err(reject));
            }
        };
        match peer.slot() {
            PeerSlot::Raw(slot) => {
                self.core.net.conns[slot].identity = Some(by.clone());
                self.core.net.rearm(now, slot);
            }
            PeerSlot::SocketIo(slot) => self.core.net.sessions.peers[slot].identity = Some(by.clone()),
        }
        if let Some(data) = &decision.data {
            self.core.gate.data.insert(peer, data.clone());
        }
        if !decision.join.is_empty() {
            self.core.gate.rooms.insert(peer, decision.join.clone());
        }
        self.request_attach(peer, by, socket);
        AppHooks::on(self.core).emit(decision);
    }

    /// The user that a client is, as the application has said.
    fn decided_user(&self, now: Now, by: Identity, decision: &Decision) -> Result<Identity, Reject> {
        let mut user = match &decision.user {
            None => by.clone(),
            Some(user) => {
                let roles = Roles { guest: false, ..by.roles() };
                let named = Identity::of_token(user, decision.username.as_deref(), None, roles, by.token());
                if by.is_limited() { named.with_grants(by.grants().collect(), true) } else { named }
            }
        };
        if let Some(grants) = &decision.grants {
            let grants = grants.iter().map(|(rooms, can)| Grant { rooms, is_pattern: true, actions: *can, until: 0 });
            user = user.with_grants(grants.collect(), true);
        }
        self.core.revocations.list().check_user(now, user.user())?;
        // It may have been revoked while the application was asked.
        self.core.revocations.list().check_user(now, by.user())?;
        match self.core.takes_requests_for(user.user()) {
            true => Ok(user),
            false => Err(Reject::overloaded()),
        }
    }

    fn request_attach(&mut self, peer: PeerKey, by: Identity, socket: Option<Name>) {
        let connection = self.core.net.id_of(peer);
        let id = match peer.slot() {
            PeerSlot::Raw(_) => RequestId::Raw(None),
            PeerSlot::SocketIo(_) => RequestId::SocketIo(ReplyTo::default()),
        };
        let request = PendingRequest::new(connection, id, OnReply::Attached);
        self.core.send(request, Op::User(by.user_name(), UserOp::Attach { connection, by, socket }));
    }

    fn refuse_raw(&mut self, now: Now, slot: ConnSlot, reject: &Reject) {
        let address = self.core.net.address_of(slot.into());
        self.core.turned_away(now, (address, None), reject, RefusalCause::of(reject));
        let conn = &mut self.core.net.conns[slot];
        if conn.standing.state() == HandshakeState::New {
            // It is not told that it is connected.
            conn.standing.set_state(HandshakeState::Greeted);
            self.core.stats.opened += 1;
        }
        Peers::on(self.core).refuse(now, slot.into(), RequestRef::Raw(None), reject);
        let (code, reason) = if reject.is_passing() { (1013, "unavailable") } else { (4403, "refused") };
        RawSockets::on(self.core).close(now, slot, code, reason);
    }

    /// A client is attached: it joins the rooms that the application has named.
    pub(super) fn join_rooms(&mut self, now: Now, peer: PeerKey) {
        if self.core.gate.rooms.is_empty() {
            return;
        }
        for room in self.core.gate.rooms.remove(&peer).unwrap_or_default() {
            if let Err(reject) = Commands::on(self.core).put_into(now, peer, room) {
                Peers::on(self.core).refuse(now, peer, RequestRef::of_no_request(peer), &reject);
            }
        }
    }

    // Requests.

    /// Sends a request of a peer, once the application permits it where that is asked.
    ///
    /// # Errors
    /// It is refused here.
    pub(super) fn send(
        &mut self,
        now: Now,
        peer: PeerKey,
        id: RequestRef<'_>,
        then: OnReply,
        op: Op,
    ) -> Result<(), Reject> {
        let waits = self.core.gate.holds(peer);
        if !waits && !self.ask(now, peer, &op)? {
            return self.pass_on(now, peer, id, then, op);
        }
        let request = GatedRequest { id: id.to_owned(), then, op };
        self.core.gate.held.entry(peer).or_default().push_back(request);
        if let Some(slot) = peer.socketio().filter(|_| !waits) {
            EngineIo::on(self.core).halt(slot);
        }
        Ok(())
    }

    /// Has the application asked about a request. Returns whether its answer is to be awaited.
    ///
    /// # Errors
    /// It has refused the same before.
    fn ask(&mut self, now: Now, peer: PeerKey, op: &Op) -> Result<bool, Reject> {
        let Some((kind, name)) = subject_of(op) else { return Ok(false) };
        let rules = self.core.questions.rules.rules(kind);
        if !rules.is_some_and(|rules| rules.asks_about(name)) {
            return Ok(false);
        }
        let by = self.core.net.identity(peer)?;
        let of_user = matches!(op, Op::User(..));
        let key = format!("{}\n{of_user}\n{}\n{name}", kind.name(), by.user()).into_boxed_str();
        if let Some(decision) = self.core.questions.known(now.mono, &key) {
            return checked(&decision).map(|()| false);
        }
        let (place, id) = (self.place_of(peer), self.core.net.id_of(peer).to_string());
        let (mut body, subject) = (Vec::new(), self.subject(peer, place, &id, &by));
        match op {
            Op::Room(room, RoomOp::Join(join)) => decision::join_question(&mut body, &subject, room, join, now),
            Op::Room(room, RoomOp::Send(message)) => {
                decision::publish_question(&mut body, &subject, Published::ToRoom(room, message), now);
            }
            Op::User(user, UserOp::Send { content, .. }) => {
                decision::publish_question(&mut body, &subject, Published::ToUser(user, content), now);
            }
            _ => return Ok(false),
        }
        let then = OnDecision::Request { connection: self.core.net.id_of(peer), key, kind };
        self.core.questions.ask(kind, place.into(), body, then);
        Ok(true)
    }

    /// The application has answered a question about a request, or has not.
    pub(super) fn decided(
        &mut self,
        now: Now,
        connection: ConnectionId,
        (kind, key): (DecisionKind, Box<str>),
        outcome: DecisionOutcome,
    ) {
        let outcome = self.core.questions.settle(now.mono, kind, key, outcome);
        let peer = self.core.net.find_peer(connection);
        let Some((peer, request)) = peer.and_then(|peer| {
            let requests = self.core.gate.held.get_mut(&peer)?;
            Some((peer, requests.pop_front()?))
        }) else {
            // The client has gone.
            return;
        };
        let GatedRequest { id, then, op } = request;
        let done = outcome.and_then(|decision| {
            checked(&decision)?;
            self.pass_on(now, peer, id.as_ref(), then, op)?;
            AppHooks::on(self.core).emit(decision);
            Ok(())
        });
        if let Err(reject) = done {
            Peers::on(self.core).refuse(now, peer, id.as_ref(), &reject);
        }
        self.go_on(now, peer);
    }

    /// Goes on with the requests that waited behind another one, up to the next that is asked about.
    fn go_on(&mut self, now: Now, peer: PeerKey) {
        while let Some(requests) = self.core.gate.held.get_mut(&peer) {
            let Some(GatedRequest { id, then, op }) = requests.pop_front() else {
                self.core.gate.held.remove(&peer);
                match peer.slot() {
                    PeerSlot::Raw(slot) => self.core.net.read_again(slot),
                    PeerSlot::SocketIo(slot) => EngineIo::on(self.core).release(now, slot),
                }
                return;
            };
            let outcome = match self.ask(now, peer, &op) {
                Ok(true) => {
                    if let Some(requests) = self.core.gate.held.get_mut(&peer) {
                        requests.push_front(GatedRequest { id, then, op });
                    }
                    return;
                }
                Ok(false) => self.pass_on(now, peer, id.as_ref(), then, op),
                Err(reject) => Err(reject),
            };
            if let Err(reject) = outcome {
                Peers::on(self.core).refuse(now, peer, id.as_ref(), &reject);
            }
        }
    }

    fn pass_on(&mut self, now: Now, peer: PeerKey, id: RequestRef<'_>, then: OnReply, op: Op) -> Result<(), Reject> {
        let is_join = matches!(then, OnReply::Joined { .. });
        QuotaFlow::on(self.core).send(now, peer, id, then, op)?;
        if is_join {
            *Commands::on(self.core).joins(peer) += 1;
        }
        Ok(())
    }

    fn place_of(&self, peer: PeerKey) -> &'static str {
        match peer.slot() {
            PeerSlot::Raw(_) => RAW,
            PeerSlot::SocketIo(slot) => {
                let space = self.core.net.sessions.peers[slot].space;
                self.core.net.spaces()[usize::from(space)]
            }
        }
    }

    fn subject<'s>(&'s self, peer: PeerKey, place: &'s str, id: &'s str, by: &'s Identity) -> DecisionSubject<'s> {
        let data = self.core.gate.data.get(&peer).map(|data| &**data);
        DecisionSubject { namespace: place, socket: id, user: by, rooms: None, data }
    }
}
