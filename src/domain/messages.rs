//! Messages in a room, and the receipts for them.

use std::sync::Arc;

use uuid::Uuid;

use crate::base::ids::ConnectionId;
use crate::base::limits;
use crate::domain::access::Identity;
use crate::domain::command::Receipt;
use crate::domain::event::{Event, Message};
use crate::domain::membership::peer_not_found;
use crate::domain::op::{Audience, Context, Fact, Reply, SendMessage, Sent};
use crate::domain::reject::{Code, Reject};
use crate::domain::room::Room;

impl Room {
    /// Gives a message its place in the room's order and sends it to every member but the sending connection; or sends
    /// it to one peer, outside the order.
    pub(super) fn send(&mut self, draft: SendMessage, context: &mut Context<'_>) -> Result<Reply, Reject> {
        let member = self.member(draft.connection, None, "fromPeerId")?;
        let sender = member.identity.clone();
        let from = member.peer_name();
        let target = match &draft.to {
            Some(name) => {
                let target = self.members.named(name).ok_or_else(peer_not_found)?;
                Some((target.connection, target.peer_name()))
            }
            None => None,
        };
        let id = context.message_id();
        let at = context.now.wall;
        let seq = target.is_none().then(|| self.take_seq(id, sender.clone()));
        let (connection, to) = target.unzip();
        let room = self.id.clone();
        let message = Message { id, seq, room, sender, from, to, content: draft.content, at };
        let event = Event::Message(Arc::new(message));
        match connection {
            Some(connection) => context.tell(connection, event),
            None => context.tell_members(Some(draft.connection), event),
        }
        Ok(Reply::Sent(Sent { id, seq, at }))
    }

    fn take_seq(&mut self, id: Uuid, sender: Identity) -> u64 {
        self.seq += 1;
        if self.recent.len() == limits::RECEIPTED_MESSAGES_PER_ROOM {
            self.recent.pop_front();
        }
        self.recent.push_back((id, sender));
        self.seq
    }

    /// Tells a message's sender that it arrived or was read.
    pub(super) fn receipt(
        &mut self,
        connection: ConnectionId,
        message: Uuid,
        kind: Receipt,
        context: &mut Context<'_>,
    ) -> Result<Reply, Reject> {
        let by = self.member(connection, None, "peerId")?.identity.clone();
        // Ids are ordered by time, and nearly always a late one is asked for.
        let known = self.recent.iter().rev().find(|(id, _)| *id == message);
        let Some((_, sender)) = known else {
            return Err(Reject::new(Code::MessageNotFound, "No such message in this room"));
        };
        let event = Event::Receipt { room: self.id.clone(), message, by, kind };
        context.facts.push(Fact { audience: Audience::User(sender.user_name()), event });
        Ok(Reply::Done)
    }
}
