//! The sockets of the application's namespaces: how they connect, what becomes of their events, and what is done to them.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::base::Name;
use crate::base::handle::{SessionSlot, Slot, SocketIoSlot};
use crate::base::ids::{ConnectionId, random_word};
use crate::base::time::Now;
use crate::codec::engineio::{self, Version};
use crate::codec::json::Object;
use crate::codec::socketio::{Arguments, Attachments, PacketTarget, SocketIoEvent, begin_ack, put_binaries};
use crate::connection::namespace::{ConnectPayload, NamespaceIndex};
use crate::connection::outbound::Segment;
use crate::connection::peer::Recovery;
use crate::connection::session::Reason;
use crate::dialect::socketio::Dialect;
use crate::domain::access::{Identity, Roles};
use crate::domain::app::{
    AppAckPart, AppAct, AppAsker, AppGiven, AppMessage, AppOffset, AppOrder, AppPacket, AppRequest, AppSession,
    AppTarget,
};
use crate::domain::decision::Decision;
use crate::domain::op::Reply;
use crate::domain::quota::UNIT_BYTES;
use crate::domain::reject::{Code, Reject};
use crate::message::{AppShare, OwnerMessage, Requester, ShardMessage};
use crate::shard::apps::AppSocket;
use crate::shard::apps::hub::AppHub;
use crate::shard::apps::packets::{encode, given_by, packet_of};
use crate::shard::apps::questions::ConnectQuestion;
use crate::shard::core::Core;
use crate::shard::metrics::Metering;
use crate::shard::namespaces::Namespacing;
use crate::shard::peers::{Departing, Peers};
use crate::shard::sessions::EngineIo;

/// Characters of a client's secret: 160 bits.
const SECRET_CHARS: usize = 32;

/// An event of a client: the session and namespace that it came by, and the socket.
pub(in crate::shard) type SocketOrigin = (SessionSlot, NamespaceIndex, SocketIoSlot);

/// Acts on sockets of the application's namespaces.
pub(in crate::shard) struct AppSockets<'a> {
    core: &'a mut Core,
}

impl<'a> AppSockets<'a> {
    pub(in crate::shard) fn on(core: &'a mut Core) -> Self {
        Self { core }
    }

    // Connecting.

    /// A client whose token is good connects to a namespace.
    pub(in crate::shard) fn begin(
        &mut self,
        now: Now,
        slot: SocketIoSlot,
        fields: &ConnectPayload<'_>,
        auth: Option<&str>,
    ) {
        let peer = &mut self.core.net.sessions.peers[slot];
        peer.dialect = Dialect::App;
        peer.is_settled = true;
        let may_return = peer.recovery == Recovery::Offsets;
        let user = peer.identity.as_ref().map(|identity| identity.user_name());
        if may_return
            && let (Some(secret), Some(user)) = (fields.pid.as_deref(), user)
            && let Some(rules) = self.core.options.socket_io.app(self.core.net.sessions.peers[slot].space)
        {
            let namespace = rules.namespace.clone();
            let hub = self.core.channels.placement.local(&namespace);
            let claim = AppShare::Claim {
                connection: self.core.net.id_of(slot),
                namespace,
                secret: secret.into(),
                offset: fields.offset.as_deref().and_then(AppOffset::parse),
                user,
                auth: auth.map(Into::into),
            };
            return self.core.channels.post(hub, ShardMessage::App(Box::new(claim)));
        }
        self.ask_to_let_in(now, slot, auth);
    }

    fn ask_to_let_in(&mut self, now: Now, slot: SocketIoSlot, auth: Option<&str>) {
        match self.core.ask_connect(now, slot, auth) {
            ConnectQuestion::NoHook => self.accept(now, slot, None, Decision::default()),
            ConnectQuestion::Known(decision) => self.let_in(now, slot, Ok(*decision)),
            ConnectQuestion::Asked => {}
        }
    }

    /// Connects a client, or refuses it, as the application has decided.
    pub(super) fn let_in(&mut self, now: Now, slot: SocketIoSlot, outcome: Result<Decision, Reject>) {
        let reject = match outcome {
            Ok(Decision { refusal: Some(refusal), .. }) => {
                return Namespacing::on(self.core).turn_away(now, slot, (&refusal.code, &refusal.message));
            }
            Ok(decision) => return self.accept(now, slot, None, decision),
            Err(reject) => reject,
        };
        Namespacing::on(self.core).attached(now, slot, Err(reject));
    }

    /// The hub has replied to a client that has come back.
    fn claimed(
        &mut self,
        now: Now,
        connection: ConnectionId,
        found: Option<(AppSession, Vec<Arc<AppMessage>>)>,
        auth: Option<&str>,
    ) {
        match (self.core.net.find_socketio(connection), found) {
            (Some(slot), Some((session, missed))) => {
                self.accept(now, slot, Some((session, missed)), Decision::default());
            }
            (Some(slot), None) => self.ask_to_let_in(now, slot, auth),
            (None, Some((session, _))) => self.tell_all(AppMessage::Lost(session)),
            (None, None) => {}
        }
    }

    fn accept(
        &mut self,
        now: Now,
        slot: SocketIoSlot,
        found: Option<(AppSession, Vec<Arc<AppMessage>>)>,
        decision: Decision,
    ) {
        let peer = &mut self.core.net.sessions.peers[slot];
        let space = peer.space;
        let may_return = std::mem::replace(&mut peer.recovery, Recovery::None) == Recovery::Offsets;
        let rules = self.core.options.socket_io.app(space).map(|rules| (rules.namespace.clone(), rules.join.clone()));
        let at = Namespacing::on(self.core).claim_place(slot);
        let (Some((namespace, joined)), Some(at)) = (rules, at) else {
            if let Some((session, _)) = found {
                self.tell_all(AppMessage::Lost(session));
            }
            return Peers::on(self.core).detach(now, slot.into(), Departing::Goodbye);
        };
        let id = match &found {
            Some((session, _)) => session.id.clone(),
            None => self.core.net.socket_id(slot).into(),
        };
        let own = || random_word(&mut self.core.rng, SECRET_CHARS).into();
        let secret: Option<Box<str>> = match &found {
            Some((session, _)) => Some(session.secret.clone()),
            None => may_return.then(own),
        };
        let (rooms, given) = match &found {
            Some((session, _)) => (session.rooms.clone(), session.given.clone()),
            None => (joined.into_iter().chain(decision.join.iter().cloned()).collect(), given_by(&decision)),
        };
        let claimant = self.take_identity(slot, &given, found.as_ref().map(|(session, _)| &session.user));
        let version = self.core.net.sessions.list[at].session.version();
        let last = self.core.apps.spaces.entry(space).or_default().last;
        let socket = AppSocket {
            rooms: vec![id.clone()],
            secret: secret.clone(),
            since: last,
            version,
            claimant,
            given,
            events: None,
            questions: Vec::new(),
        };
        let known = self.core.apps.spaces.entry(space).or_default();
        known.add(slot, socket);
        known.join(slot, &rooms);
        if let Some((session, missed)) = &found {
            for message in missed {
                if let AppMessage::Order(AppOrder { act: AppAct::Emit { packet, offset, .. }, .. }) = &**message {
                    self.send(space, &[slot], packet, *offset, false);
                }
            }
            self.tell_all(AppMessage::Returned(namespace, session.secret.clone()));
        }
        Namespacing::on(self.core).tell_accepted(now, at, slot, &id, secret.as_deref());
        for request in decision.emit {
            // One that is refused has been dropped.
            let _ = self.emit(request.order);
        }
    }

    /// Makes a peer the user that the application has named, or that a guest was before. Returns the user of its token.
    fn take_identity(&mut self, slot: SocketIoSlot, given: &AppGiven, former: Option<&Name>) -> Name {
        let peer = &mut self.core.net.sessions.peers[slot];
        let Some(identity) = peer.identity.clone() else {
            return former.cloned().unwrap_or_else(|| "".into());
        };
        let claimant = former.cloned().unwrap_or_else(|| identity.user_name());
        let roles = identity.roles();
        match &given.user {
            Some((user, username)) => {
                let roles = Roles { guest: false, ..roles };
                peer.identity = Some(Identity::new(user, Some(username), None, roles));
            }
            None if *claimant != *identity.user() => {
                peer.identity = Some(Identity::new(&claimant, None, None, roles));
            }
            None => {}
        }
        claimant
    }

    /// A socket goes; its session is kept if its client may come back.
    pub(in crate::shard) fn gone(&mut self, now: Now, slot: SocketIoSlot, departing: Departing) {
        let peer = &self.core.net.sessions.peers[slot];
        let (space, user) = (peer.space, peer.identity.clone());
        let socket = self.core.apps.spaces.get_mut(&space).and_then(|space| space.remove(slot));
        if let (Some(socket), Some(user)) = (&socket, &user) {
            self.core.tell_gone(now, space, user, socket, departing.reason());
        }
        let rules = self.core.options.socket_io.app(space);
        let may_return = matches!(departing, Departing::Lost | Departing::Goodbye | Departing::Left);
        if let (Some(socket), Some(rules)) = (socket, rules)
            && let Some(secret) = socket.secret.filter(|_| may_return)
        {
            let mut rooms = socket.rooms.into_iter();
            let session = AppSession {
                namespace: rules.namespace.clone(),
                secret,
                id: rooms.next().expect("invariant: a socket is in the room of its own id"),
                user: socket.claimant,
                rooms: rooms.collect(),
                since: socket.since,
                given: socket.given,
            };
            self.tell_all(AppMessage::Lost(session));
        }
    }

    // Events and acknowledgements of clients.

    /// A client has sent an event.
    pub(in crate::shard) fn event(
        &mut self,
        now: Now,
        source: SocketOrigin,
        event: SocketIoEvent<'_>,
        id: Option<u64>,
        attachments: Attachments<'_>,
    ) {
        let bytes =
            event.name.len() + event.arguments.text().len() + attachments.iter().map(<[u8]>::len).sum::<usize>();
        let outcome =
            self.spend(now, source.2, bytes).and_then(|()| self.handle_event(now, source, (event, id), attachments));
        match (outcome, id) {
            (Ok(true), Some(id)) => self.acknowledge(source, id, "", Attachments::default()),
            // The application is asked for the acknowledgement.
            (Ok(_), _) => {}
            (Err(reject), id) => self.refuse(now, source, id, &reject),
        }
    }

    /// Counts an event against the rate and the budget of its sender.
    fn spend(&mut self, now: Now, slot: SocketIoSlot, bytes: usize) -> Result<(), Reject> {
        let rate = self.core.options.signals;
        let peer = &mut self.core.net.sessions.peers[slot];
        peer.signals.spend(now.mono, rate, bytes).map_err(|wait_ms| {
            let text = format!("Events are limited to {} a minute", rate.per_minute);
            Reject { retry_after_s: Some(wait_ms.div_ceil(1000)), ..Reject::new(Code::RateLimited, text) }
        })?;
        let Some(identity) = peer.identity.clone() else { return Ok(()) };
        let address = self.core.net.address_of(slot.into());
        self.core.spend_of(now, &identity, address, (bytes / UNIT_BYTES) as u32)
    }

    /// Relays an event, or has the application asked. Returns whether all is done.
    fn handle_event(
        &mut self,
        now: Now,
        (_, space, slot): SocketOrigin,
        (event, id): (SocketIoEvent<'_>, Option<u64>),
        attachments: Attachments<'_>,
    ) -> Result<bool, Reject> {
        let no_rule = || Reject::new(Code::UnknownType, "No rule of this namespace takes the event");
        let rules = self.core.options.socket_io.app(space).ok_or_else(no_rule)?;
        let name = event.text_name();
        if !rules.relays(&name) {
            let values = put_binaries(event.arguments.text(), attachments);
            self.core.queue_event(now, (space, slot), (&name, values), id)?;
            return Ok(false);
        }
        let namespace = rules.namespace.clone();
        let socket = self.core.apps.spaces.get(&space).and_then(|space| space.sockets.get(&slot.raw()));
        let Some((own, rooms)) = socket.and_then(|socket| socket.rooms.split_first()) else { return Ok(true) };
        if rooms.is_empty() {
            return Ok(true);
        }
        let target = AppTarget { rooms: rooms.to_vec(), except: vec![own.clone()] };
        let packet = packet_of(event, attachments);
        let act = AppAct::Emit { packet, offset: Some(self.next_offset()), is_volatile: false, ack: None };
        self.submit(AppOrder { namespace, target, act })?;
        Ok(true)
    }

    /// Sends an event that an answer of the application asks for.
    pub(super) fn emit(&mut self, mut order: AppOrder) -> Result<(), Reject> {
        if let AppAct::Emit { offset, is_volatile: false, .. } = &mut order.act {
            *offset = Some(self.next_offset());
        }
        self.submit(order)
    }

    /// A client has acknowledged an event.
    pub(in crate::shard) fn acknowledged(
        &mut self,
        (_, space, slot): SocketOrigin,
        number: u64,
        arguments: Arguments<'_>,
        attachments: Attachments<'_>,
    ) {
        let answered = self.core.apps.spaces.get_mut(&space).and_then(|space| space.answered(slot, number));
        if let Some((asker, id)) = answered {
            let values = format!("[{}]", put_binaries(arguments.text(), attachments));
            self.report(asker, AppAckPart::Ack(id, values.into()));
        }
    }

    pub(super) fn refuse(&mut self, now: Now, source: SocketOrigin, id: Option<u64>, reject: &Reject) {
        self.core.stats.refusals += 1;
        Metering::on(self.core).note_refused(now, source.2, reject);
        if let Some(id) = id {
            self.acknowledge_error(source, id, (reject.code.as_str(), &reject.text), reject.retry_after_s);
        }
    }

    /// Acknowledges an event with an error.
    pub(super) fn acknowledge_error(
        &mut self,
        source: SocketOrigin,
        id: u64,
        (code, message): (&str, &str),
        retry_after_s: Option<u64>,
    ) {
        let mut out = Vec::new();
        let mut object = Object::begin(&mut out);
        object.value("error", |out| {
            let mut error = Object::begin(out);
            error.string("code", code).string("message", message);
            if let Some(seconds) = retry_after_s {
                error.number("retryAfter", seconds);
            }
            error.end();
        });
        object.end();
        let text = String::from_utf8(out).expect("invariant: JSON is text");
        self.acknowledge(source, id, &text, Attachments::default());
    }

    /// Acknowledges a client's event, with these values as JSON.
    pub(super) fn acknowledge(
        &mut self,
        (at, space, _): SocketOrigin,
        id: u64,
        values: &str,
        attachments: Attachments<'_>,
    ) {
        let namespace = self.core.net.spaces()[usize::from(space)];
        let target = PacketTarget { namespace, id: Some(id), attachments: attachments.len() };
        let version = self.core.net.sessions.list[at].session.version();
        self.core.net.send_to_session(at, |out| {
            engineio::encode_text(out, |out| begin_ack(out, &target).raw(values).end());
            attachments.iter().for_each(|bytes| engineio::encode_binary(out, version, bytes));
        });
    }

    // Acts of the application.

    /// The application's backend asks for an act.
    pub(in crate::shard) fn request(&mut self, now: Now, from: Requester, request: AppRequest) {
        let AppRequest { mut order, ack_ms } = request;
        if self.core.options.socket_io.app_index(&order.namespace).is_none() {
            let text = format!("No application namespace {} is configured", order.namespace);
            return self.core.channels.reply(from, Err(Reject::new(Code::NotFound, text)));
        }
        let mut waits = None;
        if let AppAct::Emit { offset, is_volatile, ack, .. } = &mut order.act {
            if ack_ms.is_some() && self.core.apps.calls.is_full() {
                return self.core.channels.reply(from, Err(Reject::overloaded()));
            }
            waits = ack_ms.map(|ms| self.core.apps.calls.open(from, now.mono + ms));
            *ack = waits.map(|number| AppAsker { node: self.core.options.node, shard: self.core.number, number });
            if waits.is_none() && !*is_volatile {
                *offset = Some(self.next_offset());
            }
        }
        let outcome = self.submit(order);
        match (outcome, waits) {
            (Ok(()), Some(number)) if !self.core.channels.placement.is_cluster() => {
                self.take_part(number, AppAckPart::Nodes(1));
            }
            (Ok(()), Some(_)) => {}
            (Ok(()), None) => self.core.channels.reply(from, Ok(Reply::Done)),
            (Err(reject), None) => self.core.channels.reply(from, Err(reject)),
            (Err(reject), Some(number)) => {
                self.core.apps.calls.drop_call(number);
                self.core.channels.reply(from, Err(reject));
            }
        }
    }

    /// Sends an act to the hub of its namespace.
    fn submit(&mut self, order: AppOrder) -> Result<(), Reject> {
        if self.core.lost_redis().is_some() {
            return Err(Reject::storage_unavailable());
        }
        if self.core.channels.is_congested(&order.namespace) {
            return Err(Reject::overloaded());
        }
        self.tell_all(AppMessage::Order(order));
        Ok(())
    }

    fn tell_all(&mut self, message: AppMessage) {
        if let Some(namespace) = message.namespace() {
            let to = self.core.channels.placement.of_app(namespace);
            self.core.channels.post(to, OwnerMessage::App(message.into()));
        }
    }

    fn next_offset(&mut self) -> AppOffset {
        self.core.apps.last += 1;
        let (node, shard) = (self.core.options.node, self.core.number);
        AppOffset { node, shard, start: self.core.apps.start, number: self.core.apps.last, chain: 0 }
    }

    /// A message for a hub of this shard.
    pub(in crate::shard) fn in_hub(&mut self, now: Now, message: Arc<AppMessage>) {
        let Some(namespace) = message.namespace() else { return };
        let window_ms = self.core.options.recovery_window_ms;
        let may_miss = self.core.channels.placement.is_cluster();
        let hub = self.core.apps.hubs.entry(namespace.clone()).or_insert_with(|| AppHub::new(may_miss));
        match &*message {
            AppMessage::Order(_) => {
                hub.note(now.mono, window_ms, &message);
                for shard in 0..self.core.channels.placement.shards() {
                    let share = Box::new(AppShare::Apply(message.clone()));
                    self.core.channels.post(shard as u8, ShardMessage::App(share));
                }
            }
            AppMessage::Lost(session) => hub.keep(now.mono, window_ms, session.clone()),
            AppMessage::Returned(_, secret) => hub.forget(secret),
            AppMessage::Acked(..) => {}
        }
    }

    /// A message between a hub and the shards.
    pub(in crate::shard) fn share(&mut self, now: Now, share: AppShare) {
        match share {
            AppShare::Apply(message) => match &*message {
                AppMessage::Order(order) => self.apply(now, order),
                AppMessage::Acked(asker, part) => self.take_part(asker.number, part.clone()),
                AppMessage::Lost(_) | AppMessage::Returned(..) => {}
            },
            AppShare::Claim { connection, namespace, secret, offset, user, auth } => {
                let hub = self.core.apps.hubs.get_mut(&namespace);
                let found = hub.and_then(|hub| hub.claim(now.mono, (&secret, &user), offset));
                let claimed = AppShare::Claimed { connection, found, auth };
                let shard = connection.place().shard;
                self.core.channels.post(shard, ShardMessage::App(Box::new(claimed)));
            }
            AppShare::Claimed { connection, found, auth } => self.claimed(now, connection, found, auth.as_deref()),
            AppShare::Gap => self.core.apps.hubs.values_mut().for_each(AppHub::clear),
        }
    }

    /// Does an act on the sockets of this shard.
    fn apply(&mut self, now: Now, order: &AppOrder) {
        let index = self.core.options.socket_io.app_index(&order.namespace);
        let Some(index) = index else { return };
        let space = self.core.apps.spaces.entry(index).or_default();
        let sockets = space.sockets_of(&order.target);
        if let AppAct::Emit { offset: Some(offset), .. } = &order.act {
            space.last = Some(*offset);
        }
        match &order.act {
            AppAct::Emit { packet, offset, ack, is_volatile } => {
                match ack {
                    Some(asker) => self.ask(index, &sockets, packet, *asker),
                    None => self.send(index, &sockets, packet, *offset, *is_volatile),
                }
                self.core.stats.published += 1;
            }
            AppAct::Join(rooms) => sockets.iter().for_each(|slot| space.join(*slot, rooms)),
            AppAct::Leave(rooms) => sockets.iter().for_each(|slot| space.leave(*slot, rooms)),
            AppAct::Disconnect { closes } => {
                for slot in sockets {
                    let at = self.core.net.session_of(slot).filter(|_| *closes);
                    Namespacing::on(self.core).disconnect_peer(now, slot, Departing::Removed);
                    if let Some(at) = at {
                        EngineIo::on(self.core).close(now, at, Reason::ServerClose);
                    }
                }
            }
        }
    }

    /// Sends sockets an event. Those whose clients may return get its offset with it, or that of the last event before it.
    fn send(
        &mut self,
        index: NamespaceIndex,
        sockets: &[SocketIoSlot],
        packet: &AppPacket,
        offset: Option<AppOffset>,
        is_volatile: bool,
    ) {
        let Core { net, apps, options, .. } = &mut *self.core;
        let Some(space) = apps.spaces.get_mut(&index) else { return };
        let namespace = options.socket_io.spaces[usize::from(index)];
        let target = PacketTarget { namespace, id: None, attachments: packet.attachments.len() };
        let position = offset.or(space.last).map(|offset| offset.to_string());
        let mut segments: BTreeMap<(bool, bool), Segment> = BTreeMap::new();
        for slot in sockets {
            let (Some(socket), Some(at)) = (space.sockets.get(&slot.raw()), net.session_of(*slot)) else { continue };
            let position = position.as_deref().filter(|_| socket.secret.is_some());
            let key = (position.is_some(), socket.version == Version::V3);
            let segment = segments.entry(key).or_insert_with(|| {
                let segment = net.outbound.encode(|out| encode(out, socket.version, &target, packet, position));
                Segment { droppable: is_volatile, ..segment }
            });
            net.deliver(at, *segment);
        }
    }

    /// Sends sockets an event that they are to acknowledge.
    fn ask(&mut self, index: NamespaceIndex, sockets: &[SocketIoSlot], packet: &AppPacket, asker: AppAsker) {
        let namespace = self.core.net.spaces()[usize::from(index)];
        let mut asked = 0;
        for slot in sockets {
            let Some(at) = self.core.net.session_of(*slot) else { continue };
            let Some(number) = self.core.net.sessions.list[at].namespaces.ask(index) else { continue };
            if let Some(space) = self.core.apps.spaces.get_mut(&index) {
                space.ask(*slot, number, asker);
            }
            asked += 1;
            let version = self.core.net.sessions.list[at].session.version();
            let target = PacketTarget { namespace, id: Some(number), attachments: packet.attachments.len() };
            self.core.net.send_to_session(at, |out| encode(out, version, &target, packet, None));
        }
        let (node, shards) = (self.core.options.node, self.core.options.shards);
        self.report(asker, AppAckPart::Reached { node, shards, sockets: asked });
    }

    /// Sends a part of acknowledgements to the place that waits for them.
    fn report(&mut self, asker: AppAsker, part: AppAckPart) {
        let message: Arc<AppMessage> = AppMessage::Acked(asker, part).into();
        if asker.node == self.core.options.node {
            let share = Box::new(AppShare::Apply(message));
            self.core.channels.post(asker.shard, ShardMessage::App(share));
        } else {
            let to = self.core.channels.placement.coordinator(self.core.number);
            self.core.channels.post(to, OwnerMessage::App(message));
        }
    }

    fn take_part(&mut self, number: u32, part: AppAckPart) {
        if let Some((to, acks, is_late)) = self.core.apps.calls.take(number, part) {
            self.core.channels.reply(to, Ok(Reply::Acks(acks, is_late)));
        }
    }

    /// Answers the calls that have waited for long enough.
    pub(in crate::shard) fn answer_due(&mut self, now: Now) {
        while let Some((to, acks, is_late)) = self.core.apps.calls.take_due(now.mono) {
            self.core.channels.reply(to, Ok(Reply::Acks(acks, is_late)));
        }
    }
}
