//! Missing events of a room: detection, and how the node gets them.
//!
//! Events that do not come in time can be late: under load, many publications wait on their way. So the node first publishes
//! a marker on the room's channel. Events that have not come before the marker are lost, and are requested from Redis. If
//! Redis has them no longer, the members on this node are told to reconnect: they return by recovery. If Redis does not have
//! the room any more, or has lost messages, the room ends for them: they can join again.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::Deserialize;

use crate::base::Name;
use crate::base::ids::{ConnectionId, random_word};
use crate::dialect::encoded_event::EncodedEvent;
use crate::domain::event::Event;
use crate::domain::reject::Reject;
use crate::message::ShardMessage;
use crate::message::redis::Bytes;
use crate::owner::redis::cluster::membership;
use crate::owner::redis::deadlines::Deadline;
use crate::owner::redis::rooms::commands::RoomCall;
use crate::owner::redis::rooms::replies::read;
use crate::owner::redis::rooms::subscription::RoomSubscription;
use crate::owner::redis::rooms::{RoomDeadline, Rooms, outage};
use crate::owner::redis::schema::{EPOCH_CHARS, MARKER_START};
use crate::owner::redis::scripts;
use crate::owner::redis::turn::OwnerTurn;
use crate::owner::redis::wire::{self, ReplyHeader, RoomPublication};

/// Time after which missing events are searched for, in milliseconds.
pub(super) const FIND_GAPS_MS: u64 = 200;

/// The reason of the end of a room whose epoch has ended in Redis.
const LOST: &str = "the room's messages were lost";

/// Time a marker may take before the subscription counts as broken, in milliseconds.
const MARKER_MS: u64 = 1_500;

/// State of the search for a room's missing events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum GapSearch {
    /// No search: no events are missing, or only for a short time.
    #[default]
    None,
    /// The marker is on its way.
    Marked {
        /// Time of its publication, in monotonic milliseconds.
        since: u64,
        /// Number of the last delivered events at that time.
        last: u64,
    },
    /// The missing events are requested.
    Requested,
}

#[derive(Deserialize)]
struct SinceReply {
    #[serde(rename = "l")]
    publications: Vec<RoomPublication>,
}

impl Rooms {
    /// Continues the search: publishes the marker, or requests the events.
    pub(super) fn find_gaps(&mut self, turn: &mut OwnerTurn<'_>, name: Name) {
        let room = self.subscriptions.get_mut(&name).filter(|room| room.search != GapSearch::Requested);
        if let Some(room) = room {
            match room.search {
                _ if room.needs_check && room.epoch.is_some() => request_missed(turn, room, name),
                _ if !room.has_gap() => {}
                GapSearch::None => {
                    room.search = GapSearch::Marked { since: turn.now.mono, last: room.last };
                    let (channel, marker) = (turn.node.keys.room(&name), marker(turn.own_node()));
                    turn.publish(channel, marker);
                    turn.after(MARKER_MS, Deadline::Room(name, RoomDeadline::FindGaps));
                }
                GapSearch::Marked { since, .. } if turn.now.mono - since >= MARKER_MS => {
                    request_missed(turn, room, name);
                }
                GapSearch::Marked { .. } | GapSearch::Requested => {}
            }
        }
    }

    /// Handles a publication on a room's channel.
    pub(crate) fn published(&mut self, turn: &mut OwnerTurn<'_>, name: &str, body: &[u8]) {
        let name: Name = name.into();
        if body.starts_with(MARKER_START) {
            return self.marker_came(turn, name, body);
        }
        if let Some(room) = self.subscriptions.get_mut(&name) {
            match serde_json::from_slice::<RoomPublication>(body) {
                Ok(publication) if room.is_of_generation(&publication) => {
                    let ticket = awaited_ticket(turn, &publication.origin);
                    if let Some(events) = room.take_events(publication, ticket) {
                        self.deliver(turn, &name, None, events);
                    }
                    self.advance(turn, &name);
                }
                Ok(publication) => {
                    room.keep_later(publication);
                    if room.needs_check {
                        self.check_missed(turn, name);
                    }
                }
                Err(error) => tracing::error!(room = %name, %error, "a publication that is not understood"),
            }
        }
    }

    /// A marker has come: events that are still missing since its publication are lost. Markers of other nodes are ignored.
    fn marker_came(&mut self, turn: &mut OwnerTurn<'_>, name: Name, body: &[u8]) {
        if *marker(turn.own_node()) == *body
            && let Some(room) = self.subscriptions.get_mut(&name)
            && let GapSearch::Marked { last, .. } = room.search
        {
            room.search = GapSearch::None;
            match room.has_gap() {
                true if room.last == last => request_missed(turn, room, name),
                // The events that are missing now can have been published behind the marker.
                true => turn.after(FIND_GAPS_MS, Deadline::Room(name, RoomDeadline::FindGaps)),
                false => {}
            }
        }
    }

    /// Requests missed events, until Redis has answered.
    pub(super) fn check_missed(&mut self, turn: &mut OwnerTurn<'_>, name: Name) {
        if let Some(room) = self.subscriptions.get_mut(&name).filter(|room| room.epoch.is_some()) {
            room.needs_check = true;
            if room.search != GapSearch::Requested {
                request_missed(turn, room, name);
            }
        }
    }

    /// Whether a reply comes from another server than the known numbers, so that its numbers can mean other events. A reply
    /// that contradicts the known state starts a check.
    pub(super) fn is_superseded(&mut self, turn: &mut OwnerTurn<'_>, name: &Name, header: &ReplyHeader<'_>) -> bool {
        match self.subscriptions.get_mut(name) {
            Some(room) if contradicts(room, header) => {
                // Redis can have lost this room, or everything: both are checked, in this order.
                membership::renew_soon(turn);
                request_missed(turn, room, name.clone());
                false
            }
            Some(room) if room.is_other_generation(header.epoch, header.generation) => {
                self.check_missed(turn, name.clone());
                true
            }
            _ => false,
        }
    }

    /// Handles the answer to a request for missed events. If they are lost, the room ends for the members on this node.
    pub(super) fn missed(&mut self, turn: &mut OwnerTurn<'_>, name: Name, header: &ReplyHeader<'_>, text: &[u8]) {
        if let Some(room) = self.subscriptions.get_mut(&name) {
            room.search = GapSearch::None;
            room.is_entering = false;
            let before = room.last;
            let is_same = header.refusal.is_none() && room.epoch.as_deref() == Some(header.epoch);
            if is_same && room.is_other_generation(header.epoch, header.generation) && room.known() > room.reported {
                // Meanwhile there were replies of the former server: this one may lack what they are about.
                return request_missed(turn, room, name);
            }
            if is_same && let Ok(SinceReply { publications }) = read(text) {
                let later = room.adopt_generation(header.generation);
                for publication in publications.into_iter().chain(later) {
                    let ticket = awaited_ticket(turn, &publication.origin);
                    let room = self.subscriptions.get_mut(&name);
                    if let Some(events) = room.and_then(|room| room.take_events(publication, ticket)) {
                        self.deliver(turn, &name, None, events);
                    }
                }
                self.advance(turn, &name);
                match self.subscriptions.get_mut(&name) {
                    Some(room) if room.needs_check => {
                        return turn.after(FIND_GAPS_MS, Deadline::Room(name, RoomDeadline::FindGaps));
                    }
                    Some(room) if room.last >= header.number => return,
                    // One answer holds a limited number of messages.
                    Some(room) if room.last > before => return request_missed(turn, room, name),
                    Some(room) if room.has_gap() => {}
                    _ => return,
                }
            }
            match header.refusal {
                _ if is_same => self.leave_behind(turn, &name),
                Some("room_closed") => self.end(turn, &name, "the room was closed"),
                _ => self.end(turn, &name, LOST),
            }
        }
    }

    /// Redis was emptied. The rooms that it does not have any more end for the members on this node. Others can have been made
    /// since, and members on this node can have joined them already.
    pub(crate) fn check_all(&mut self, turn: &mut OwnerTurn<'_>) {
        self.report_all(turn);
    }

    /// Has the members on this node return to all their rooms: they were removed there, because this node was cut off.
    pub(crate) fn leave_all_behind(&mut self, turn: &mut OwnerTurn<'_>) {
        for room in self.report_all(turn) {
            self.leave_behind(turn, &room);
        }
    }

    /// Reports what this node knows of each room before its members return there: a server that has taken a room over without
    /// the last events did not wait for this node, which has no members there. Returns the rooms.
    fn report_all(&mut self, turn: &mut OwnerTurn<'_>) -> Vec<Name> {
        for (name, room) in self.subscriptions.iter_mut().filter(|(_, room)| room.epoch.is_some()) {
            request_missed(turn, room, name.clone());
        }
        self.subscriptions.keys().cloned().collect()
    }

    /// Ends a room for the members on this node.
    fn end(&mut self, turn: &mut OwnerTurn<'_>, name: &Name, reason: &str) {
        self.close_for_members(turn, name, reason);
        self.unsubscribe_if_unused(turn, name);
    }

    fn close_for_members(&mut self, turn: &mut OwnerTurn<'_>, name: &Name, reason: &str) {
        let members = self.drop_members(turn, name, reason == LOST);
        let shards: BTreeSet<u8> = members.iter().map(|member| member.place().shard).collect();
        let event = Event::Closed { room: name.clone(), reason: reason.into() };
        let packed = EncodedEvent::new(&event, turn.now, &mut turn.node.encode_buffer);
        let packed = Arc::new(packed.and_for_peers(&event, turn.now));
        for shard in shards {
            turn.send(shard, ShardMessage::Close { room: name.clone(), packed: packed.clone() });
        }
    }

    /// A connection has become a member in this epoch: one that this node still knows has ended, because replies come in the
    /// order of the calls.
    pub(super) fn end_former(&mut self, turn: &mut OwnerTurn<'_>, name: &Name, epoch: &str) {
        let known = self.subscriptions.get(name).and_then(|room| room.epoch.as_deref());
        if known.is_some_and(|known| known != epoch) {
            self.close_for_members(turn, name, LOST);
        }
    }

    /// The node cannot follow a room any more, which goes on: the members on this node return to it by new connections.
    fn leave_behind(&mut self, turn: &mut OwnerTurn<'_>, name: &Name) {
        let members = self.drop_members(turn, name, false);
        outage::have_return(turn, members);
        self.unsubscribe_if_unused(turn, name);
    }

    /// Ends the order of a room on this node, and returns the members. If its messages are lost, so can be the operations whose
    /// replies wait for their turn. A join among them fails: its connection is not among the members yet.
    fn drop_members(&mut self, turn: &mut OwnerTurn<'_>, name: &Name, is_lost: bool) -> Vec<ConnectionId> {
        let mut members = Vec::new();
        if let Some(room) = self.subscriptions.get_mut(name) {
            room.epoch = None;
            members.extend(room.members.drain(..).map(|(connection, _)| connection));
            for reply in room.abandon() {
                let is_refused = is_lost || reply.joins.is_some();
                let result = if is_refused { Err(Reject::storage_unavailable()) } else { reply.reply };
                turn.reply(reply.to, result);
                if let Some((connection, _)) = reply.joins {
                    self.depart(turn, name, connection);
                }
            }
        }
        members
    }
}

/// The ticket of this node's own call that caused a publication, if its reply is missing.
fn awaited_ticket(turn: &OwnerTurn<'_>, origin: &str) -> Option<u32> {
    let own = origin.split_once(':').filter(|(node, _)| node.parse() == Ok(turn.own_node()));
    let ticket = own.and_then(|(_, ticket)| ticket.parse::<u32>().ok());
    ticket.filter(|ticket| turn.node.calls.is_pending(*ticket))
}

/// The marker of a node: it shows that all earlier publications have come.
fn marker(node: u16) -> Bytes {
    let mut marker = MARKER_START.to_vec();
    marker.extend_from_slice(format!("{node}}}").as_bytes());
    marker.into()
}

/// Requests the events behind the last delivered ones.
fn request_missed(turn: &mut OwnerTurn<'_>, room: &mut RoomSubscription, name: Name) {
    (room.search, room.needs_check) = (GapSearch::Requested, false);
    let epoch = wire::text(room.epoch.as_deref().unwrap_or_default());
    room.reported = room.known();
    let [last, seq, generation, known] = [room.last, room.seq, room.generation, room.reported].map(wire::number);
    let next_epoch = wire::text(random_word(&mut turn.node.rng, EPOCH_CHARS));
    let arguments = vec![last, seq, epoch, generation, next_epoch, known];
    turn.call_room(&scripts::SINCE, name, None, RoomCall::Since, arguments);
}

/// Whether an answer says that a room with members here does not exist, or is another one of this name.
fn contradicts(room: &RoomSubscription, header: &ReplyHeader<'_>) -> bool {
    let is_other = !header.epoch.is_empty() && room.epoch.as_deref().is_some_and(|known| known != header.epoch);
    let is_member = !room.members.is_empty() && room.search != GapSearch::Requested;
    is_member && (is_other || header.refusal == Some("room_not_found"))
}
