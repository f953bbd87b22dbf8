//! Where hook events are made: operations note changes in their context, each only if an endpoint wants events of its kind.

use std::sync::Arc;

use crate::base::Name;
use crate::domain::access::Identity;
use crate::domain::event::{Message, PeerName};
use crate::domain::hook::{HookChange, HookEvent, HookKind, message_kind};
use crate::domain::membership::{Member, Members};
use crate::domain::op::OpContext;

impl OpContext<'_> {
    /// Notes a change for the application, if an endpoint wants such events.
    pub(crate) fn hook(&mut self, kind: HookKind, change: impl FnOnce() -> HookChange) {
        if self.rules.hooks.contains(kind) {
            let (id, change) = (self.message_id(), change());
            debug_assert_eq!(change.kind(), kind, "invariant: a hook event is of the kind that was asked for");
            self.hooks.push(HookEvent { id, at: self.now.wall, change });
        }
    }

    /// Notes a message for the application. The event has the message's id.
    pub(crate) fn hook_message(&mut self, message: &Arc<Message>) {
        // A stream is one message: its pieces are too many for an application.
        if !message.is_piece() && self.rules.hooks.contains(message_kind(message)) {
            self.hooks.push(HookEvent { id: message.id, at: message.at, change: HookChange::Message(message.clone()) });
        }
    }

    /// Notes a new member of a room that has `members` now.
    pub(crate) fn hook_arrival(&mut self, room: &Name, members: usize, peer: &PeerName, identity: &Identity) {
        if members == 1 {
            self.hook_occupancy(room, true);
        }
        self.hook_member(room, || peer.clone(), identity, true);
    }

    /// Notes a membership that has ended, in a room that has `members` now.
    pub(crate) fn hook_departure(&mut self, room: &Name, members: usize, member: &Member) {
        self.hook_member(room, || member.peer_name(), &member.identity, false);
        if members == 0 {
            self.hook_occupancy(room, false);
        }
    }

    /// Notes the end of all memberships with a room.
    pub(crate) fn hook_end(&mut self, room: &Name, members: &Members) {
        for member in members.iter() {
            self.hook_member(room, || member.peer_name(), &member.identity, false);
        }
        if members.iter().next().is_some() {
            self.hook_occupancy(room, false);
        }
    }

    fn hook_member(&mut self, room: &Name, peer: impl FnOnce() -> PeerName, by: &Identity, is_member: bool) {
        let kind = if is_member { HookKind::MemberJoined } else { HookKind::MemberLeft };
        let member = || HookChange::Member { room: room.clone(), peer: peer(), user: by.user_name(), is_member };
        self.hook(kind, member);
    }

    fn hook_occupancy(&mut self, room: &Name, is_occupied: bool) {
        let kind = if is_occupied { HookKind::RoomOccupied } else { HookKind::RoomVacated };
        self.hook(kind, || HookChange::RoomOccupied { room: room.clone(), is_occupied });
    }
}
