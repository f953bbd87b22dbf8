//! Sequence state of a room with members on this node: it puts replies and events into the room's order.
//!
//! Events of a room and replies to this node's own operations arrive by different connections, so either can be first. Each
//! reply names the number of the room's last events. A reply is released before the events that its operation caused, if it
//! caused any, and after all other events up to that number. Missing numbers are requested; see
//! [`crate::owner::redis::rooms::gaps`].

use std::collections::BTreeMap;

use smallvec::SmallVec;

use crate::base::Name;
use crate::base::ids::ConnectionId;
use crate::domain::event::PeerName;
use crate::domain::op::Reply;
use crate::domain::reject::Reject;
use crate::message::{Requester, ShardNumber};
use crate::owner::redis::rooms::gaps::GapSearch;
use crate::owner::redis::wire::{ReplyHeader, RoomPublication, WireEvents};

/// Numbers that are kept ahead of missing ones. Later ones are dropped and requested again.
const AHEAD_MAX: usize = 4_096;

/// Answers of a server, some 200 ms apart, after which publications of later takeovers are dropped: they come from a server
/// that is not the master for this node.
const LATER_CHECKS_MAX: u8 = 25;

/// A room with members on this node, or with joins under way.
#[derive(Default)]
pub(super) struct RoomSubscription {
    /// The members on this node, with their names in the room.
    pub(super) members: Vec<(ConnectionId, PeerName)>,
    /// Operations under way that can add members; the room stays subscribed for them.
    arrivals: usize,
    /// Whether a connection of this node became a member by an operation on another node, and the events are on their way.
    pub(super) is_entering: bool,
    /// Whether the subscription is confirmed. Operations that add members wait for that.
    pub(super) is_subscribed: bool,
    /// State of the search for missing events.
    pub(super) search: GapSearch,
    /// Whether missed events are to be requested although no number is missing.
    pub(super) needs_check: bool,
    /// The run of the room's log that the numbers belong to; `None` before the first reply.
    pub(super) epoch: Option<Name>,
    /// The takeover by the server that the known numbers come from. It is the newest takeover of its server, and no other
    /// server has it.
    pub(super) generation: u64,
    /// Number of the last delivered events.
    pub(super) last: u64,
    /// Number of the last delivered message.
    pub(super) seq: u64,
    /// Number of the last events of which a reply told that was released before them.
    told: u64,
    /// The last events that the last request for missed ones reported as known.
    pub(super) reported: u64,
    /// Events and replies behind that, by number.
    ahead: BTreeMap<u64, SequenceSlot>,
    /// Publications of later takeovers: their numbers can mean other events until that server has been asked.
    later: Vec<RoomPublication>,
    /// Answers of the server since the first of them came.
    later_checks: u8,
}

/// The events and replies of one number.
#[derive(Default)]
struct SequenceSlot {
    /// Reply to the operation that caused the events.
    cause: Option<OrderedReply>,
    /// Ticket of this node's own call that caused the events, while its reply is missing.
    awaited_ticket: Option<u32>,
    events: Option<WireEvents>,
    /// Replies to operations that caused no events.
    replies: Vec<OrderedReply>,
}

/// A reply, and its effect on the members of the room.
pub(super) struct OrderedReply {
    pub(super) to: Option<Requester>,
    pub(super) reply: Result<Reply, Reject>,
    /// A connection that is a member from this reply on.
    pub(super) joins: Option<(ConnectionId, PeerName)>,
    /// A connection that is not a member from this reply on.
    pub(super) leaves: Option<ConnectionId>,
}

/// The next step in the room's order.
pub(super) enum SequenceStep {
    Reply(OrderedReply),
    Events(WireEvents),
}

impl RoomSubscription {
    /// A room that a connection enters by an operation on another node, after these events and messages.
    pub(super) fn entered(epoch: &str, generation: u64, known: (u64, u64)) -> Self {
        let mut room = Self { is_entering: true, ..Self::default() };
        room.start(epoch, generation, known);
        room
    }

    /// The shards of this node with members, each once.
    pub(super) fn shards(&self) -> SmallVec<[ShardNumber; 4]> {
        let mut shards = SmallVec::new();
        for shard in self.members.iter().map(|(member, _)| member.place().shard) {
            if !shards.contains(&shard) {
                shards.push(shard);
            }
        }
        shards
    }

    /// Whether some members on this node are Socket.IO peers.
    pub(super) fn has_peers(&self) -> bool {
        self.members.iter().any(|(member, _)| member.is_peer())
    }

    /// Adds a member, or changes its name.
    pub(super) fn add_member(&mut self, connection: ConnectionId, name: PeerName) {
        match self.members.iter_mut().find(|(member, _)| *member == connection) {
            Some(member) => member.1 = name,
            None => self.members.push((connection, name)),
        }
    }

    pub(super) fn remove_member(&mut self, connection: ConnectionId) {
        self.members.retain(|(member, _)| *member != connection);
    }

    pub(super) fn member(&self, connection: ConnectionId) -> Option<&PeerName> {
        self.members.iter().find(|(member, _)| *member == connection).map(|(_, name)| name)
    }

    pub(super) fn named(&self, name: &str) -> Option<(ConnectionId, &PeerName)> {
        self.members.iter().find(|(_, known)| known.is(name)).map(|(member, known)| (*member, known))
    }

    /// An operation that can add a member begins; whether the subscription is confirmed.
    pub(super) fn begin_arrival(&mut self) -> bool {
        self.arrivals += 1;
        self.is_subscribed
    }

    /// Such an operation has ended.
    pub(super) fn end_arrival(&mut self) {
        debug_assert!(self.arrivals > 0, "invariant: an arrival ends once");
        self.arrivals = self.arrivals.saturating_sub(1);
    }

    /// Whether the subscription has no member, no arrival, and no pending reply.
    pub(super) fn is_unused(&self) -> bool {
        self.members.is_empty()
            && self.arrivals == 0
            && !self.is_entering
            && self.ahead.values().all(SequenceSlot::is_idle)
    }

    /// Starts the order after these events and messages.
    pub(super) fn start(&mut self, epoch: &str, generation: u64, (last, seq): (u64, u64)) {
        self.epoch = Some(epoch.into());
        self.generation = generation;
        (self.last, self.seq, self.told) = (last, seq, 0);
        self.ahead = self.ahead.split_off(&(last + 1));
        (self.later, self.later_checks) = (Vec::new(), 0);
        // The answer to a request that is under way is about the former order.
        self.needs_check |= self.search == GapSearch::Requested;
    }

    /// Whether a reply in this epoch comes from another server than the known numbers, so that its numbers can mean other
    /// events.
    pub(super) fn is_other_generation(&self, epoch: &str, generation: u64) -> bool {
        self.epoch.as_deref() == Some(epoch) && generation != self.generation
    }

    /// Whether a publication is of the current generation. Events outside of the order are of any.
    pub(super) fn is_of_generation(&self, publication: &RoomPublication) -> bool {
        self.epoch.is_none() || publication.number == 0 || publication.generation == self.generation
    }

    /// Takes a publication of another generation, after which the server is to be asked. One of a later generation is kept
    /// until then: this node's calls can still go to the former server.
    pub(super) fn keep_later(&mut self, publication: RoomPublication) {
        self.needs_check = true;
        if publication.generation > self.generation && self.later.len() < AHEAD_MAX {
            self.later.push(publication);
        }
    }

    /// The server of this generation has been asked: returns its publications so far.
    pub(super) fn adopt_generation(&mut self, generation: u64) -> Vec<RoomPublication> {
        self.generation = generation;
        let known = self.later.extract_if(.., |publication| publication.generation == generation).collect();
        self.later.retain(|publication| publication.generation > generation);
        self.later_checks += 1;
        if self.later.is_empty() || self.later_checks >= LATER_CHECKS_MAX {
            (self.later, self.later_checks) = (Vec::new(), 0);
        }
        self.needs_check |= !self.later.is_empty();
        known
    }

    /// Takes the reply to an operation. Returns the reply if it need not wait. A new member's reply starts the order.
    pub(super) fn take_reply(&mut self, header: &ReplyHeader<'_>, reply: OrderedReply) -> Option<OrderedReply> {
        if self.epoch.is_none() && reply.joins.is_some() {
            let last = header.number.saturating_sub(header.caused_events.into());
            // The number of the last message that the new member knows.
            let seq = match &reply.reply {
                Ok(Reply::Joined(joined)) => joined.seq,
                Ok(Reply::Returned(returned)) => returned.joined.seq,
                _ => 0,
            };
            self.start(header.epoch, header.generation, (last, seq));
        }
        // A room without known numbers, and a reply without an epoch, have nothing to wait for.
        if self.epoch.as_deref() != Some(header.epoch) || header.number <= self.last {
            return Some(reply);
        }
        let slot = self.ahead.entry(header.number).or_default();
        if header.caused_events == 1 {
            slot.awaited_ticket = None;
            slot.cause = Some(reply);
        } else {
            slot.replies.push(reply);
        }
        None
    }

    /// Takes the events of a publication. `awaited_ticket` is the ticket of this node's own call that caused them, if its reply
    /// is missing. Returns the events if they are not in the room's order.
    pub(super) fn take_events(
        &mut self,
        publication: RoomPublication,
        awaited_ticket: Option<u32>,
    ) -> Option<WireEvents> {
        let RoomPublication { number, at, events, .. } = publication;
        let events = WireEvents { at, events };
        if number == 0 {
            return Some(events);
        }
        let is_full = self.ahead.len() >= AHEAD_MAX;
        let is_last = || self.ahead.last_key_value().is_none_or(|(last, _)| *last < number);
        if number <= self.last || (is_full && is_last()) {
            return None;
        }
        let slot = self.ahead.entry(number).or_default();
        if slot.events.is_none() {
            slot.awaited_ticket = awaited_ticket.filter(|_| slot.cause.is_none());
            slot.events = Some(events);
        }
        None
    }

    /// A call has its reply, or will get none: no events wait for it.
    pub(super) fn release_ticket(&mut self, ticket: u32) {
        for slot in self.ahead.values_mut().filter(|slot| slot.awaited_ticket == Some(ticket)) {
            slot.awaited_ticket = None;
        }
    }

    /// The next step in order; `None` while an earlier number is missing.
    pub(super) fn next_step(&mut self) -> Option<SequenceStep> {
        loop {
            let mut first = self.ahead.first_entry()?;
            let number = *first.key();
            let slot = first.get_mut();
            if number <= self.last {
                // The events are delivered, so the replies can follow.
                match slot.cause.take().or_else(|| (!slot.replies.is_empty()).then(|| slot.replies.remove(0))) {
                    Some(reply) => return Some(SequenceStep::Reply(reply)),
                    None => first.remove(),
                };
                continue;
            }
            if number != self.last + 1 || slot.awaited_ticket.is_some() {
                return None;
            }
            if slot.events.is_some()
                && let Some(cause) = slot.cause.take()
            {
                return Some(SequenceStep::Reply(cause));
            }
            let events = slot.events.take()?;
            self.last = number;
            return Some(SequenceStep::Events(events));
        }
    }

    /// Whether replies or events wait for missing events.
    pub(super) fn has_gap(&self) -> bool {
        self.ahead.first_key_value().is_some_and(|(_, slot)| slot.awaited_ticket.is_none())
    }

    /// Number of the last events that anyone here knows of, or will: by the events, or by a reply that names them.
    pub(super) fn known(&self) -> u64 {
        let ahead = self.ahead.last_key_value().map_or(0, |(number, _)| *number);
        self.last.max(self.told).max(ahead)
    }

    /// Removes all replies that wait; the events stay.
    pub(super) fn release_replies(&mut self) -> Vec<OrderedReply> {
        self.told = self.known();
        let all = self.ahead.values_mut();
        all.flat_map(|slot| slot.cause.take().into_iter().chain(std::mem::take(&mut slot.replies))).collect()
    }

    /// Drops all events, and returns the replies that wait for them.
    pub(super) fn abandon(&mut self) -> Vec<OrderedReply> {
        let replies = self.release_replies();
        self.ahead.clear();
        replies
    }

    /// Checks the sequence state and the list of members.
    pub(super) fn check_invariants(&self) {
        assert!(self.later.len() <= AHEAD_MAX, "invariant: publications of later generations are bounded");
        let is_later = self.later.iter().all(|publication| publication.generation > self.generation);
        assert!(is_later, "invariant: kept publications are of later generations");
        for (at, (member, _)) in self.members.iter().enumerate() {
            let is_once = self.members[at + 1..].iter().all(|(other, _)| other != member);
            assert!(is_once, "invariant: a connection is a member once");
        }
        for (number, slot) in &self.ahead {
            let is_next = *number == self.last + 1 && slot.events.is_some() && slot.awaited_ticket.is_none();
            assert!(!is_next, "invariant: the next events of a room are delivered at once");
            assert!(slot.events.is_none() || *number > self.last, "invariant: delivered events are not kept");
        }
    }
}

impl SequenceSlot {
    fn is_idle(&self) -> bool {
        self.cause.is_none() && self.replies.is_empty() && self.awaited_ticket.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(ask: u32) -> OrderedReply {
        OrderedReply { to: Some(Requester { shard: 0, ask }), reply: Ok(Reply::Done), joins: None, leaves: None }
    }

    fn header(number: u64, has_caused: bool) -> ReplyHeader<'static> {
        ReplyHeader { epoch: "e", number, caused_events: has_caused.into(), ..ReplyHeader::default() }
    }

    /// A publication of this number, at the same time.
    fn events(number: u64) -> RoomPublication {
        RoomPublication { number, generation: 0, origin: "".into(), at: number, events: Vec::new() }
    }

    /// All next steps: replies by their request number, events by their negative time.
    fn steps(room: &mut RoomSubscription) -> Vec<i64> {
        std::iter::from_fn(|| room.next_step())
            .map(|step| match step {
                SequenceStep::Reply(reply) => reply.to.map_or(0, |to| i64::from(to.ask)),
                SequenceStep::Events(events) => -(events.at as i64),
            })
            .collect()
    }

    #[test]
    fn a_reply_precedes_the_events_it_caused_and_follows_all_others() {
        let mut room = RoomSubscription::default();
        room.start("e", 0, (4, 0));
        room.take_events(events(6), Some(9));
        room.take_events(events(5), None);
        assert_eq!(steps(&mut room), [-5], "6 is this node's own, and its reply is missing");
        assert!(!room.has_gap());
        assert!(room.take_reply(&header(6, true), reply(60)).is_none());
        assert!(room.take_reply(&header(7, false), reply(70)).is_none());
        assert_eq!(steps(&mut room), [60, -6]);
        assert!(room.has_gap());
        room.take_events(events(7), None);
        assert_eq!(steps(&mut room), [-7, 70]);
        assert!(room.take_reply(&header(7, false), reply(71)).is_some(), "delivered already");
        room.take_events(events(7), None);
        assert!(steps(&mut room).is_empty(), "once");
        assert!(!room.has_gap() && room.is_unused());
    }

    #[test]
    fn a_reply_released_before_its_events_counts_as_known() {
        let mut room = RoomSubscription::default();
        room.start("e", 0, (4, 0));
        assert_eq!(room.known(), 4);
        assert!(room.take_reply(&header(6, true), reply(60)).is_none());
        assert_eq!(room.known(), 6);
        assert_eq!(room.release_replies().len(), 1);
        assert_eq!((room.known(), room.last), (6, 4), "a client has been told of it");
        assert!(room.abandon().is_empty());
        room.start("f", 0, (2, 0));
        assert_eq!(room.known(), 2);
    }

    #[test]
    fn events_of_an_expired_call_are_delivered() {
        let mut room = RoomSubscription::default();
        room.start("e", 0, (0, 0));
        room.take_events(events(1), Some(9));
        assert!(steps(&mut room).is_empty());
        room.release_ticket(9);
        assert_eq!(steps(&mut room), [-1]);
    }

    #[test]
    fn a_missing_number_is_accepted_when_the_buffer_is_full() {
        let mut room = RoomSubscription::default();
        room.start("e", 0, (0, 0));
        let most = AHEAD_MAX as u64;
        (2..most + 100).for_each(|number| assert!(room.take_events(events(number), None).is_none()));
        assert!(steps(&mut room).is_empty() && room.has_gap());
        room.take_events(events(1), None);
        assert_eq!(steps(&mut room).len() as u64, most + 1, "later ones are dropped");
    }

    #[test]
    fn events_before_the_start_are_dropped() {
        let mut room = RoomSubscription::default();
        for number in 1..=4 {
            room.take_events(events(number), None);
        }
        room.start("e", 0, (2, 0));
        assert_eq!(steps(&mut room), [-3, -4]);
    }
}
