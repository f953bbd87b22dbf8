//! What became known in a room, on its way to those of its members whom this node holds.

use std::sync::Arc;

use crate::base::Name;
use crate::base::ids::ConnectionId;
use crate::base::time::Now;
use crate::dialect::encoded_event::EncodedEvent;
use crate::domain::access::Identity;
use crate::domain::command;
use crate::domain::event::{Event, LeaveCause, PeerName, Signaled};
use crate::message::redis::RedisCommand;
use crate::message::{Outgoing, ShardMessage};
use crate::owner::redis::RedisOwner;
use crate::owner::redis::online::Present;
use crate::owner::redis::subscription::Followed;
use crate::owner::redis::wire::{Fact, Handed, Mark, Out, Signal, Told};

impl RedisOwner {
    /// Tells those concerned, in order. `newcomer` has become a member by the same act, whatever it was before.
    pub(super) fn tell_room(
        &mut self,
        now: Now,
        name: &Name,
        newcomer: Option<ConnectionId>,
        told: Told,
        out: &mut Vec<Outgoing>,
    ) {
        let at = Now { wall: told.t, ..now };
        self.note_members(name, newcomer, &told);
        for (audience, fact) in told.f {
            let Some((kind, whom)) = audience.split_at_checked(1) else { continue };
            match kind {
                "*" => self.tell_members(at, name, ConnectionId::parse(whom), fact, out),
                "@" => {
                    if let Some(connection) = ConnectionId::parse(whom) {
                        self.tell_member(name, connection, fact, out);
                    }
                }
                _ => {
                    if let Some(event) = self.event(name, fact) {
                        self.tell_local_user(&whom.into(), &event, out);
                    }
                }
            }
        }
    }

    /// Whoever came or went with these facts has done so before any of them is told.
    fn note_members(&mut self, name: &Name, newcomer: Option<ConnectionId>, told: &Told) {
        let Some(room) = self.rooms.get_mut(name) else { return };
        for (audience, fact) in &told.f {
            let own = audience.strip_prefix('@').and_then(ConnectionId::parse);
            let gone = match fact {
                Fact::Left(seat) => Some(seat.c.0),
                Fact::Out(_) | Fact::Moved => own,
                Fact::You(view) => {
                    if let Some(own) = own.filter(|own| own.place().node == self.settings.node) {
                        room.come(own, view.name(own));
                    }
                    None
                }
                _ => None,
            };
            if let Some(gone) = gone.filter(|gone| Some(*gone) != newcomer) {
                room.go(gone);
                // Who gave its place away may still seem to type.
                if !matches!(fact, Fact::Moved) {
                    self.typing.remove(&(name.clone(), gone));
                }
            }
        }
    }

    /// Tells the room's members on this node, but `except`. It is encoded once.
    fn tell_members(
        &mut self,
        now: Now,
        name: &Name,
        except: Option<ConnectionId>,
        fact: Fact,
        out: &mut Vec<Outgoing>,
    ) {
        let Some(room) = self.rooms.get_mut(name) else { return };
        if let Fact::Message(entry) = &fact {
            room.seq = entry.seq.unwrap_or(room.seq);
            let is_own = entry.by.c.0.place().node == self.settings.node;
            self.nodes.remember(entry.id.0, name, is_own);
        }
        if let Fact::Marked(mark) = &fact {
            let kind = if &*mark.y == "read" { command::ReceiptKind::Read } else { command::ReceiptKind::Delivered };
            self.nodes.mark(mark.i.0, kind);
        }
        let is_end = matches!(fact, Fact::Closed(_));
        let hears = |(member, _): &(ConnectionId, PeerName)| Some(*member) != except || member.is_peer();
        if !is_end && !room.members.iter().any(hears) {
            return;
        }
        let (shards, has_peers) = (room.shards(), room.has_peers());
        let Some(event) = self.event(name, fact).filter(|event| has_peers || !event.is_for_peers()) else { return };
        let packed = self.pack(now, &event, has_peers);
        for shard in shards {
            let (room, packed) = (name.clone(), packed.clone());
            let mail = if is_end {
                ShardMessage::Close { room, packed }
            } else {
                ShardMessage::Publish { room, except, packed }
            };
            out.push((shard, mail));
        }
        if is_end && let Some(room) = self.rooms.get_mut(name) {
            room.members.clear();
            room.epoch = None;
        }
    }

    /// Tells one member, if it is of this node.
    fn tell_member(&mut self, name: &Name, connection: ConnectionId, fact: Fact, out: &mut Vec<Outgoing>) {
        if connection.place().node != self.settings.node {
            return;
        }
        let event = match fact {
            Fact::Enter { e, n, s, z } => return self.enter_from_elsewhere(name, &e, z, (n, s)),
            Fact::You(view) => Some(Event::Joined(Box::new(view.joined(name, connection, self.rules.announce_limit)))),
            fact => self.event(name, fact),
        };
        if let Some(event) = event {
            out.push((connection.place().shard, ShardMessage::Deliver { to: connection, event }));
        }
    }

    /// What a room's script has for single connections of this node, by the node's channel; whether it is that.
    pub(super) fn room_handed(&mut self, body: &[u8], out: &mut Vec<Outgoing>) -> bool {
        let Ok(Handed { r, f }) = serde_json::from_slice(body) else { return false };
        let Some(name) = self.keys.room_of(r.as_bytes()).map(Name::from) else { return false };
        for (audience, fact) in f {
            if let Some(connection) = audience.strip_prefix('@').and_then(ConnectionId::parse) {
                self.tell_member(&name, connection, fact, out);
            }
        }
        true
    }

    /// A connection of this node has become a member by an act on another node, which is told in the room's order.
    fn enter_from_elsewhere(&mut self, name: &Name, epoch: &str, server: u64, known: (u64, u64)) {
        if self.rooms.contains_key(name) {
            return;
        }
        self.demands.push(RedisCommand::Subscribe(self.keys.room(name)));
        self.rooms.insert(name.clone(), Followed::entered(epoch, server, known));
        self.node_enters(name);
    }

    /// A fact as an event.
    fn event(&self, name: &Name, fact: Fact) -> Option<Event> {
        let room = name.clone();
        Some(match fact {
            Fact::Message(entry) => Event::Message(Arc::new(entry.message(name))),
            Fact::Joined(seat) => Event::PeerJoined { room, peer: seat.peer() },
            Fact::Left(seat) => {
                let peer = seat.name();
                Event::PeerLeft { room, peer, identity: seat.w.into() }
            }
            Fact::Out(why) => {
                let cause = match why {
                    Out::Left => LeaveCause::Left,
                    Out::Replaced => LeaveCause::Replaced,
                    Out::Removed => LeaveCause::Removed,
                };
                Event::Left { room, cause }
            }
            Fact::Stats(participant_count) => Event::Stats { room, participant_count },
            Fact::Online(online_count) => Event::Online { room, online_count, users: None },
            Fact::Present(online_count, users) => {
                let users = users.into_iter().map(Present::view).collect();
                Event::Online { room, online_count, users: Some(users) }
            }
            Fact::Media(seat) => Event::Media { room, peer: seat.name(), media: super::wire::media(seat.v) },
            Fact::Typing { w, on } => Event::Typing { room, by: w.into(), is_typing: on == 1 },
            Fact::Marked(mark) => {
                let (message, by, kind) = read_mark(mark);
                Event::Marked { room, message, by, kind }
            }
            Fact::Receipt(mark) => {
                let (message, by, kind) = read_mark(mark);
                Event::Receipt { room, message, by, kind }
            }
            Fact::Closed(reason) => Event::Closed { room, reason: (*reason).into() },
            Fact::Signal(signal) => {
                let Signal { p, to, y, b } = *signal;
                let signal = [command::Signal::Offer, command::Signal::Answer, command::Signal::Candidate]
                    .into_iter()
                    .find(|kind| kind.as_str() == &*y)?;
                Event::Signal(Box::new(Signaled { room, from: p.name(), to: to.name(), signal, body: b }))
            }
            Fact::Moved | Fact::You(_) | Fact::Enter { .. } => return None,
        })
    }

    /// Encodes an event for everyone who is told it.
    pub(super) fn pack(&mut self, now: Now, event: &Event, has_peers: bool) -> Arc<EncodedEvent> {
        let packed = EncodedEvent::new(event, now, &mut self.draft);
        Arc::new(if has_peers { packed.and_for_peers(event, now) } else { packed })
    }
}

fn read_mark(mark: Mark) -> (uuid::Uuid, Identity, command::ReceiptKind) {
    let kind = if &*mark.y == "read" { command::ReceiptKind::Read } else { command::ReceiptKind::Delivered };
    (mark.i.0, mark.w.into(), kind)
}
