//! Delivery of room events to the members on this node.

use std::sync::Arc;

use crate::base::Name;
use crate::base::ids::ConnectionId;
use crate::base::time::Now;
use crate::dialect::encoded_event::EncodedEvent;
use crate::domain::command::{MediaState, Signal};
use crate::domain::event::{Event, PeerName, Signaled};
use crate::message::ShardMessage;
use crate::owner::redis::rooms::subscription::RoomSubscription;
use crate::owner::redis::rooms::{Rooms, outage};
use crate::owner::redis::schema::{TO_CONNECTION, TO_MEMBERS};
use crate::owner::redis::turn::OwnerTurn;
use crate::owner::redis::wire::{WireDelivery, WireEvent, WireEvents, WireSignal};

impl Rooms {
    /// Delivers events in order. `newcomer` became a member by the operation that caused them.
    pub(super) fn deliver(
        &mut self,
        turn: &mut OwnerTurn<'_>,
        name: &Name,
        newcomer: Option<ConnectionId>,
        events: WireEvents,
    ) {
        let at = Now { wall: events.at, ..turn.now };
        self.update_members(turn.own_node(), name, newcomer, &events);
        for (audience, event) in events.events {
            let Some((kind, receiver)) = audience.split_at_checked(1) else { continue };
            match kind {
                TO_MEMBERS => self.deliver_to_members(turn, at, name, ConnectionId::parse(receiver), event),
                TO_CONNECTION => {
                    if let Some(connection) = ConnectionId::parse(receiver) {
                        self.deliver_to_member(turn, name, connection, event);
                    }
                }
                _ => {
                    if let Some(event) = into_event(name, event) {
                        turn.deliver_to_user(receiver, &event);
                    }
                }
            }
        }
    }

    /// Updates the members before any of the events is delivered.
    fn update_members(&mut self, own_node: u16, name: &Name, newcomer: Option<ConnectionId>, events: &WireEvents) {
        let Self { subscriptions, typing, .. } = self;
        if let Some(room) = subscriptions.get_mut(name) {
            for (audience, event) in &events.events {
                let receiver = audience.strip_prefix(TO_CONNECTION).and_then(ConnectionId::parse);
                let gone = match event {
                    WireEvent::Left(member) => Some(member.connection.0),
                    WireEvent::Out(_) | WireEvent::Moved | WireEvent::Purged => receiver,
                    WireEvent::You(view) => {
                        if let Some(own) = receiver.filter(|receiver| receiver.place().node == own_node) {
                            room.add_member(own, view.name(own));
                        }
                        None
                    }
                    _ => None,
                };
                if let Some(gone) = gone.filter(|gone| Some(*gone) != newcomer) {
                    room.remove_member(gone);
                    // The typing indicator of a membership that moved is still active.
                    if !matches!(event, WireEvent::Moved) {
                        typing.remove(&(name.clone(), gone));
                    }
                }
            }
        }
    }

    /// Delivers an event to all members on this node, except one, and notes messages and receipts. It is encoded once, and sent
    /// to the shards with members.
    fn deliver_to_members(
        &mut self,
        turn: &mut OwnerTurn<'_>,
        at: Now,
        name: &Name,
        except: Option<ConnectionId>,
        event: WireEvent,
    ) {
        let is_end = matches!(event, WireEvent::Closed(_));
        let receives = |(member, _): &(ConnectionId, PeerName)| Some(*member) != except || member.is_peer();
        if let Some(room) = self.subscriptions.get_mut(name) {
            match &event {
                WireEvent::Message(message) => {
                    room.seq = message.seq.unwrap_or(room.seq);
                    let is_own = message.sender.connection.0.place().node == turn.own_node();
                    self.messages.add(message.id.0, name, is_own);
                }
                WireEvent::Marked(receipt) => self.messages.add_receipt(receipt.message(), receipt.kind()),
                _ => {}
            }
            if !is_end && !room.members.iter().any(receives) {
                return;
            }
            let (shards, has_peers) = (room.shards(), room.has_peers());
            if let Some(event) = into_event(name, event).filter(|event| has_peers || !event.is_for_peers()) {
                let packed = EncodedEvent::new(&event, at, &mut turn.node.encode_buffer);
                let packed = Arc::new(if has_peers { packed.and_for_peers(&event, at) } else { packed });
                for shard in shards {
                    let (room, packed) = (name.clone(), packed.clone());
                    let message = match is_end {
                        true => ShardMessage::Close { room, packed },
                        false => ShardMessage::Publish { room, except, packed },
                    };
                    turn.out.push((shard, message.into()));
                }
                if is_end {
                    room.members.clear();
                    room.epoch = None;
                }
            }
        }
    }

    /// Delivers an event to one member, if that is on this node.
    fn deliver_to_member(&mut self, turn: &mut OwnerTurn<'_>, name: &Name, connection: ConnectionId, event: WireEvent) {
        if connection.place().node != turn.own_node() {
            return;
        }
        let event = match event {
            WireEvent::Enter { epoch, number, seq, generation } => {
                return self.entered(turn, name, &epoch, generation, (number, seq));
            }
            WireEvent::Purged => return outage::have_return(turn, [connection]),
            WireEvent::You(view) => {
                let joined = view.into_joined(name, connection, turn.node.rules.announce_limit);
                Some(Event::Joined(Box::new(joined)))
            }
            event => into_event(name, event),
        };
        if let Some(event) = event {
            turn.send(connection.place().shard, ShardMessage::Deliver { to: connection, event });
        }
    }

    /// Delivers events that came by the node's channel; whether the body holds such events.
    pub(crate) fn delivered(&mut self, turn: &mut OwnerTurn<'_>, body: &[u8]) -> bool {
        let delivery = serde_json::from_slice::<WireDelivery>(body).ok();
        let delivery = delivery.and_then(|WireDelivery { room_key, events }| {
            Some((Name::from(turn.node.keys.room_of(room_key.as_bytes())?), events))
        });
        delivery.is_some_and(|(name, events)| {
            for (audience, event) in events {
                if let Some(connection) = audience.strip_prefix(TO_CONNECTION).and_then(ConnectionId::parse) {
                    self.deliver_to_member(turn, &name, connection, event);
                }
            }
            true
        })
    }

    /// A connection of this node became a member by an operation on another node; its events follow in the room's order.
    fn entered(&mut self, turn: &mut OwnerTurn<'_>, name: &Name, epoch: &str, generation: u64, known: (u64, u64)) {
        if !self.subscriptions.contains_key(name) {
            turn.subscribe_room(name);
            self.names.insert(name.clone());
            self.subscriptions.insert(name.clone(), RoomSubscription::entered(epoch, generation, known));
        }
    }
}

/// An event for members; `None` for events that only change the node's own state.
fn into_event(name: &Name, event: WireEvent) -> Option<Event> {
    let room = name.clone();
    Some(match event {
        WireEvent::Message(message) => Event::Message(Arc::new(message.into_message(name))),
        WireEvent::Joined(member) => member.joined(room, true),
        WireEvent::JoinedToo(member) => member.joined(room, false),
        WireEvent::Left(member) => member.left(room, true),
        WireEvent::LeftOne(member) => member.left(room, false),
        WireEvent::Out(cause) => Event::Left { room, cause: cause.into() },
        WireEvent::Stats(participant_count) => Event::Stats { room, participant_count },
        WireEvent::Info(info) => Event::Info(Arc::new(info.into_info(room))),
        WireEvent::Updated(info) => Event::Updated(Arc::new(info.into_info(room))),
        WireEvent::Online(online_count) => Event::Online { room, online_count, users: None },
        WireEvent::Present(online_count, users) => {
            Event::Online { room, online_count, users: Some(users.into_iter().map(Into::into).collect()) }
        }
        WireEvent::Media(member) => {
            Event::Media { room, peer: member.name(), media: MediaState::from_bits(member.media) }
        }
        WireEvent::Mode(change) => Event::Mode { room, change: change.change() },
        WireEvent::Typing { identity, display_name, on } => {
            Event::Typing { room, by: identity.into(), display_name, is_typing: on == 1 }
        }
        WireEvent::Marked(receipt) => {
            let (message, kind) = (receipt.message(), receipt.kind());
            Event::Marked { room, message, by: receipt.into_user(), kind }
        }
        WireEvent::Receipt(receipt) => {
            let (message, kind) = (receipt.message(), receipt.kind());
            Event::Receipt { room, message, by: receipt.into_user(), kind }
        }
        WireEvent::Cancel(cancel) => Event::StreamCancelled { room, message: cancel.message.0, by: cancel.by.into() },
        WireEvent::Closed(reason) => Event::Closed { room, reason: (*reason).into() },
        WireEvent::Signal(signal) => {
            let WireSignal { from, to, kind, body } = *signal;
            let kinds = [Signal::Offer, Signal::Answer, Signal::Candidate];
            let signal = kinds.into_iter().find(|known| known.as_str() == &*kind)?;
            Event::Signal(Box::new(Signaled { room, from: from.name(), to: to.name(), signal, body }))
        }
        WireEvent::Moved | WireEvent::Purged | WireEvent::You(_) | WireEvent::Enter { .. } => return None,
    })
}
