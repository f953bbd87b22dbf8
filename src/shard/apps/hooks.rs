//! Answers of the application about its sockets, and what follows from them.

use crate::base::handle::{Slot, SocketIoSlot};
use crate::base::ids::ConnectionId;
use crate::base::time::Now;
use crate::codec::socketio::Attachments;
use crate::domain::app::AppPacket;
use crate::domain::decision::{Decision, DecisionKind, DecisionOutcome};
use crate::shard::apps::sockets::AppSockets;
use crate::shard::core::Core;
use crate::shard::decisions::OnDecision;
use crate::shard::gate::Gating;

/// Handles answers.
pub(in crate::shard) struct AppHooks<'a> {
    core: &'a mut Core,
}

impl<'a> AppHooks<'a> {
    pub(in crate::shard) fn on(core: &'a mut Core) -> Self {
        Self { core }
    }

    /// The application has answered a question, or has not.
    pub(in crate::shard) fn decided(&mut self, now: Now, number: u32, outcome: DecisionOutcome) {
        match self.core.questions.take(number) {
            Some(OnDecision::Connect { connection, key }) => self.connect_decided(now, connection, key, outcome),
            Some(OnDecision::Event { connection, ack }) => self.event_decided(now, connection, ack, outcome),
            Some(OnDecision::Gone) => drop(outcome.map(|decision| self.emit(*decision))),
            Some(OnDecision::Attach { connection, key, by, socket }) => {
                Gating::on(self.core).connect_decided(now, connection, key, (by, socket), outcome);
            }
            Some(OnDecision::Request { connection, key, kind }) => {
                Gating::on(self.core).decided(now, connection, (kind, key), outcome);
            }
            None => debug_assert!(false, "invariant: each question is answered once"),
        }
    }

    fn connect_decided(&mut self, now: Now, connection: ConnectionId, key: Box<str>, outcome: DecisionOutcome) {
        let outcome = self.core.questions.settle(now.mono, DecisionKind::Connect, key, outcome);
        let Some(slot) = self.core.net.find_socketio(connection) else {
            // The client has gone.
            return;
        };
        AppSockets::on(self.core).let_in(now, slot, outcome);
    }

    fn event_decided(&mut self, now: Now, connection: ConnectionId, ack: Option<u64>, outcome: DecisionOutcome) {
        let outcome = self.core.questions.permitted(DecisionKind::Event, outcome);
        let slot = self.core.net.find_socketio(connection);
        let place = slot.and_then(|slot| {
            let peer = self.core.net.sessions.peers.get(slot).filter(|peer| peer.is_connected)?;
            Some((self.core.net.session_of(slot)?, peer.space, slot))
        });
        let Some((at, space, slot)) = place else {
            drop(outcome.map(|decision| self.emit(decision)));
            return;
        };
        let answer = match outcome {
            Ok(mut decision) => {
                let answer = (decision.refusal.take(), decision.ack.take());
                self.change(space, slot, &mut decision);
                self.emit(decision);
                Ok(answer)
            }
            Err(reject) => Err(reject),
        };
        let mut sockets = AppSockets::on(self.core);
        match (answer, ack) {
            (Ok((Some(refusal), _)), Some(id)) => {
                sockets.acknowledge_error((at, space, slot), id, (&refusal.code, &refusal.message), None);
            }
            (Ok((None, packet)), Some(id)) => {
                let AppPacket { values, attachments } = packet.unwrap_or_else(no_values);
                let (mut bytes, mut ends) = (Vec::new(), Vec::new());
                for attachment in &attachments {
                    bytes.extend_from_slice(attachment);
                    ends.push(bytes.len() as u32);
                }
                sockets.acknowledge((at, space, slot), id, &values, Attachments::new(&bytes, &ends));
            }
            (Err(reject), id) => sockets.refuse(now, (at, space, slot), id, &reject),
            (Ok(_), None) => {}
        }
        self.core.ask_next(now, space, slot);
    }

    /// Changes rooms and data of the socket that an event has come from.
    fn change(&mut self, space: u8, slot: SocketIoSlot, decision: &mut Decision) {
        if let Some(space) = self.core.apps.spaces.get_mut(&space) {
            space.join(slot, &decision.join);
            space.leave(slot, &decision.leave);
            if let (Some(socket), Some(data)) = (space.sockets.get_mut(&slot.raw()), decision.data.take()) {
                socket.given.data = Some(data);
            }
        }
    }

    /// Does the further acts that an answer asks for.
    pub(in crate::shard) fn emit(&mut self, decision: Decision) {
        for request in decision.emit {
            let mut sockets = AppSockets::on(self.core);
            if let Err(reject) = sockets.emit(request.order) {
                tracing::warn!(target: "switchboard::hook", reason = &*reject.text, "an event of a hook was not sent");
            }
        }
    }
}

fn no_values() -> AppPacket {
    AppPacket { values: "".into(), attachments: Vec::new() }
}
