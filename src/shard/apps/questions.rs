//! Questions to the application about its sockets. The events of a socket are asked for one after the other, in their order.

use std::collections::VecDeque;

use crate::base::handle::{PeerKey, Slot, SocketIoSlot};
use crate::base::limits;
use crate::base::time::Now;
use crate::connection::namespace::NamespaceIndex;
use crate::dialect::decision::{self, DecisionSubject};
use crate::domain::access::Identity;
use crate::domain::decision::{Decision, DecisionKind};
use crate::domain::reject::{Code, Reject};
use crate::shard::apps::AppSocket;
use crate::shard::core::Core;
use crate::shard::decisions::OnDecision;

/// Events of a socket that wait, and whether one is asked for.
#[derive(Default)]
pub(super) struct EventQueue {
    waiting: VecDeque<QueuedEvent>,
    bytes: usize,
    is_asking: bool,
}

struct QueuedEvent {
    name: Box<str>,
    /// Arguments as JSON, binary ones marked.
    values: Box<str>,
    ack: Option<u64>,
}

/// The state of a question whether a client may connect.
pub(super) enum ConnectQuestion {
    /// Nobody is to be asked.
    NoHook,
    /// There is an earlier answer.
    Known(Box<Decision>),
    /// The answer is awaited.
    Asked,
}

impl Core {
    /// Asks whether a client may connect to a namespace of the application.
    pub(super) fn ask_connect(&mut self, now: Now, slot: SocketIoSlot, auth: Option<&str>) -> ConnectQuestion {
        let peer = &self.net.sessions.peers[slot];
        let rules = self.options.socket_io.app(peer.space).cloned();
        let (Some(rules), Some(user)) = (rules, peer.identity.clone()) else { return ConnectQuestion::NoHook };
        if !self.is_asked(DecisionKind::Connect, &rules.namespace) {
            return ConnectQuestion::NoHook;
        }
        let socket = self.net.socket_id(slot);
        let remote = self.net.remote_of(PeerKey::from(slot), now);
        let (address, agent) =
            remote.map_or((String::new(), None), |it| (it.address.to_string(), it.agent.map(str::to_owned)));
        let key = format!("{}\n{}\n{}", rules.namespace, user.user(), auth.unwrap_or_default()).into_boxed_str();
        if let Some(decision) = self.questions.known(now.mono, &key) {
            return ConnectQuestion::Known(Box::new(decision));
        }
        let subject = DecisionSubject {
            namespace: &rules.namespace,
            socket: &socket,
            user: &user,
            rooms: Some(&rules.join),
            data: None,
        };
        let mut body = Vec::new();
        decision::connect_question(&mut body, &subject, auth, (&address, agent.as_deref()), now);
        let then = OnDecision::Connect { connection: self.net.id_of(slot), key };
        self.questions.ask(DecisionKind::Connect, rules.namespace, body, then);
        ConnectQuestion::Asked
    }

    /// Has the application asked what becomes of an event, once those before it are answered. `values` are its arguments as
    /// JSON, binary ones marked.
    ///
    /// # Errors
    /// There is no hook for events, or too many events wait.
    pub(super) fn queue_event(
        &mut self,
        now: Now,
        (space, slot): (NamespaceIndex, SocketIoSlot),
        (name, values): (&str, String),
        ack: Option<u64>,
    ) -> Result<(), Reject> {
        let rules = self.options.socket_io.app(space);
        if !rules.is_some_and(|rules| self.is_asked(DecisionKind::Event, &rules.namespace)) {
            return Err(Reject::new(Code::UnknownType, "No rule of this namespace takes the event"));
        }
        let socket = self.apps.spaces.get_mut(&space).and_then(|space| space.sockets.get_mut(&slot.raw()));
        let Some(socket) = socket else { return Ok(()) };
        let queue = socket.events.get_or_insert_default();
        let bytes = name.len() + values.len();
        let is_full = queue.waiting.len() >= limits::EVENTS_WAITING
            || (queue.bytes + bytes > limits::EVENT_BYTES_WAITING && !queue.waiting.is_empty());
        if is_full {
            return Err(Reject::overloaded());
        }
        queue.bytes += bytes;
        queue.waiting.push_back(QueuedEvent { name: name.into(), values: values.into(), ack });
        if !queue.is_asking {
            self.ask_next(now, space, slot);
        }
        Ok(())
    }

    fn is_asked(&self, kind: DecisionKind, namespace: &str) -> bool {
        self.questions.rules.rules(kind).is_some_and(|rules| rules.asks_about(namespace))
    }

    /// Asks for the next event of a socket, if one waits.
    pub(super) fn ask_next(&mut self, now: Now, space: NamespaceIndex, slot: SocketIoSlot) {
        let Some(user) = self.net.sessions.peers.get(slot).and_then(|peer| peer.identity.clone()) else { return };
        let connection = self.net.id_of(slot);
        let rules = self.options.socket_io.app(space).cloned();
        let socket = self.apps.spaces.get_mut(&space).and_then(|space| space.sockets.get_mut(&slot.raw()));
        let (Some(rules), Some(socket)) = (rules, socket) else { return };
        let Some(queue) = &mut socket.events else { return };
        let next = queue.waiting.pop_front();
        queue.is_asking = next.is_some();
        let Some(event) = next else {
            socket.events = None;
            return;
        };
        queue.bytes -= event.name.len() + event.values.len();
        let mut body = Vec::new();
        let subject = subject(&rules.namespace, &user, socket);
        decision::event_question(&mut body, &subject, (&event.name, &event.values), event.ack.is_some(), now);
        let then = OnDecision::Event { connection, ack: event.ack };
        self.questions.ask(DecisionKind::Event, rules.namespace, body, then);
    }

    /// Tells the application that a socket has gone, as an event that no client can send.
    pub(super) fn tell_gone(
        &mut self,
        now: Now,
        space: NamespaceIndex,
        user: &Identity,
        socket: &AppSocket,
        why: &str,
    ) {
        let rules = self.options.socket_io.app(space).cloned();
        if let Some(rules) = rules.filter(|rules| self.is_asked(DecisionKind::Event, &rules.namespace)) {
            let (mut body, mut reason) = (Vec::new(), Vec::new());
            crate::codec::json::string(&mut reason, why);
            let reason = String::from_utf8(reason).expect("invariant: JSON is text");
            let subject = subject(&rules.namespace, user, socket);
            decision::event_question(&mut body, &subject, ("disconnect", &reason), false, now);
            self.questions.ask(DecisionKind::Event, rules.namespace, body, OnDecision::Gone);
        }
    }
}

fn subject<'a>(namespace: &'a str, user: &'a Identity, socket: &'a AppSocket) -> DecisionSubject<'a> {
    let rooms = socket.rooms.get(1..).unwrap_or_default();
    DecisionSubject { namespace, socket: socket.id(), user, rooms: Some(rooms), data: socket.given.data.as_deref() }
}
