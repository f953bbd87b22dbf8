//! Messages in a room, and the receipts for them.

use std::sync::Arc;

use uuid::Uuid;

use crate::base::ids::ConnectionId;
use crate::base::limits;
use crate::domain::access::Identity;
use crate::domain::command::ReceiptKind;
use crate::domain::event::{Event, Message};
use crate::domain::op::{AddressedEvent, Audience, OpContext, Reply, SendMessage, Sent};
use crate::domain::receipt_counts::ReceiptCounts;
use crate::domain::record::{Record, SentMessage};
use crate::domain::reject::Reject;
use crate::domain::room::{Made, Room};

impl Room {
    /// Gives a message its place in the room's order and sends it to every member but the sending connection; or sends
    /// it to one peer, outside the order.
    pub(super) fn send(&mut self, draft: SendMessage, context: &mut OpContext<'_>) -> Result<Reply, Reject> {
        let member = self.member(draft.connection, None, "fromPeerId")?;
        let sender = member.identity.clone();
        let from = member.peer_name();
        let target = match &draft.to {
            Some(name) => {
                let target = self.members.named(name).ok_or_else(Reject::peer_not_found)?;
                Some((target.connection, target.peer_name()))
            }
            None => None,
        };
        let id = context.message_id();
        let at = context.now.wall;
        let seq = target.is_none().then(|| self.take_seq(id, sender.clone()));
        let (connection, to) = target.unzip();
        let room = self.id.clone();
        let message = Arc::new(Message { id, seq, room, sender, from, to, content: draft.content, at });
        if seq.is_some() {
            self.keep(&message, draft.client_message_id, context);
        }
        let event = Event::Message(message);
        match connection {
            Some(connection) => context.tell(connection, event),
            None => context.tell_members(Some(draft.connection), event),
        }
        Ok(Reply::Sent(Sent { id, seq, at }))
    }

    /// Has a message kept, and before the first one the room; or, where nothing is kept, lets it be known at once.
    fn keep(&mut self, message: &Arc<Message>, client_message_id: Option<Box<str>>, context: &mut OpContext<'_>) {
        if !self.is_kept(context) {
            self.committed = self.seq;
            return;
        }
        if self.is_made == Made::No {
            self.is_made = Made::Asked;
            context.records.push(Record::RoomMade(Box::new(self.made(context.rules))));
        }
        let (message, epoch) = (message.clone(), self.epoch.clone());
        context.records.push(Record::MessageSent(SentMessage { message, epoch, client_message_id }));
    }

    /// The messages up to number `seq` are kept: members may know of them.
    pub fn commit(&mut self, seq: u64) {
        self.committed = self.committed.max(seq);
        self.is_made = Made::Yes;
    }

    /// The messages that were not kept never were.
    pub fn roll_back(&mut self) {
        let lost = (self.seq - self.committed) as usize;
        self.recent.truncate(self.recent.len().saturating_sub(lost));
        if let Some(tally) = &mut self.tally {
            tally.truncate(self.recent.len());
        }
        self.seq = self.committed;
        if self.is_made == Made::Asked {
            self.is_made = Made::No;
        }
    }

    fn take_seq(&mut self, id: Uuid, sender: Identity) -> u64 {
        self.seq += 1;
        if self.recent.len() == limits::RECEIPTED_MESSAGES_PER_ROOM {
            self.recent.pop_front();
            if let Some(tally) = &mut self.tally {
                tally.pop();
            }
        }
        self.recent.push_back((id, sender));
        if let Some(tally) = &mut self.tally {
            tally.push();
        }
        self.seq
    }

    /// The number of a message, if it is one of the last.
    pub fn seq_of(&self, message: Uuid) -> Option<u64> {
        let back = self.recent.iter().rev().position(|(id, _)| *id == message)?;
        Some(self.seq - back as u64)
    }

    /// Tells a message's sender that it arrived or was read.
    pub(super) fn receipt(
        &mut self,
        connection: ConnectionId,
        message: Uuid,
        kind: ReceiptKind,
        context: &mut OpContext<'_>,
    ) -> Result<Reply, Reject> {
        let by = self.member(connection, None, "peerId")?.identity.clone();
        // Ids are ordered by time, and nearly always a late one is asked for.
        let known = self.recent.iter().rposition(|(id, _)| *id == message);
        let Some(at) = known else { return Err(Reject::message_not_found()) };
        let sender = self.recent[at].1.clone();
        self.tally.get_or_insert_with(|| Box::new(ReceiptCounts::of(self.recent.len()))).mark(at, kind);
        self.mark(&sender, message, by, kind, context);
        Ok(Reply::Done)
    }

    /// Notes that `by` received or read a message, and tells its sender; and the room, where some hear of that.
    pub fn mark(
        &mut self,
        sender: &Identity,
        message: Uuid,
        by: Identity,
        kind: ReceiptKind,
        context: &mut OpContext<'_>,
    ) {
        if self.is_kept(context) {
            let (user, at) = (by.user_name(), context.now.wall);
            context.records.push(Record::MessageMarked { message, user, mark: kind, at });
        }
        if self.members.has_peers() {
            let event = Event::Marked { room: self.id.clone(), message, by: by.clone(), kind };
            context.tell_members(None, event);
        }
        let event = Event::Receipt { room: self.id.clone(), message, by, kind };
        context.events.push(AddressedEvent { audience: Audience::User(sender.user_name()), event });
    }

    /// The user that a member's connection is.
    pub fn user_of(&self, connection: ConnectionId) -> Result<Identity, Reject> {
        self.member(connection, None, "peerId").map(|member| member.identity.clone())
    }
}
