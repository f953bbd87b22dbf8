//! Drives the sequence of each room: takes replies and publications, and releases them in the room's order.

use crate::base::Name;
use crate::owner::redis::deadlines::Deadline;
use crate::owner::redis::rooms::gaps::{FIND_GAPS_MS, GapSearch};
use crate::owner::redis::rooms::subscription::{OrderedReply, RoomSubscription, SequenceStep};
use crate::owner::redis::rooms::{RoomDeadline, Rooms};
use crate::owner::redis::turn::OwnerTurn;

impl Rooms {
    pub(super) fn release(&mut self, turn: &mut OwnerTurn<'_>, name: &Name, reply: OrderedReply) {
        let OrderedReply { to, reply, joins, leaves } = reply;
        if let Some((connection, _)) = &joins {
            self.departed.remove(&(name.clone(), *connection));
        }
        if let Some(room) = self.subscriptions.get_mut(name) {
            if let Some((connection, name)) = joins {
                room.add_member(connection, name);
            }
            if let Some(connection) = leaves {
                room.remove_member(connection);
            }
        }
        if let Some(connection) = leaves {
            self.typing.remove(&(name.clone(), connection));
        }
        if let Some(to) = to {
            turn.out.push(to.reply(reply));
        }
    }

    /// Releases all replies and events that are next in a room's order, and schedules a search if some are missing.
    pub(super) fn advance(&mut self, turn: &mut OwnerTurn<'_>, name: &Name) {
        // The member that the operation added that caused the next events.
        let mut newcomer = None;
        while let Some(step) = self.subscriptions.get_mut(name).and_then(RoomSubscription::next_step) {
            match step {
                SequenceStep::Reply(reply) => {
                    newcomer = reply.joins.as_ref().map(|(connection, _)| *connection);
                    self.release(turn, name, reply);
                }
                SequenceStep::Events(events) => self.deliver(turn, name, newcomer.take(), events),
            }
        }
        if self.subscriptions.get(name).is_some_and(|room| room.has_gap() && room.search == GapSearch::None) {
            turn.after(FIND_GAPS_MS, Deadline::Room(name.clone(), RoomDeadline::FindGaps));
        }
        self.unsubscribe_if_unused(turn, name);
    }

    /// Ends a subscription without members, arrivals and pending replies.
    pub(super) fn unsubscribe_if_unused(&mut self, turn: &mut OwnerTurn<'_>, name: &Name) {
        if self.subscriptions.get(name).is_some_and(RoomSubscription::is_unused) {
            self.subscriptions.remove(name);
            self.names.remove(name);
            turn.unsubscribe_room(name);
        }
    }
}
