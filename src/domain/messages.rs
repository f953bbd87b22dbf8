//! Messages of a room and their receipts.

use std::sync::Arc;

use uuid::Uuid;

use crate::base::ids::ConnectionId;
use crate::domain::access::Identity;
use crate::domain::command::ReceiptKind;
use crate::domain::event::{Event, Message, PeerName, Revision};
use crate::domain::op::{AddressedEvent, Audience, MarkedMessages, OpContext, Reply, SendMessage, Sent};
use crate::domain::record::{Record, SentMessage};
use crate::domain::reject::Reject;
use crate::domain::revision::revise;
use crate::domain::room::Room;
use crate::domain::room::log::MessagesBefore;
use crate::domain::streams;

/// Messages of a receipt that are not recent, so that storage has to find them.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum OlderMessages {
    /// These.
    These(Vec<Uuid>),
    /// Those before the recent ones.
    Before(MessagesBefore),
    /// This one and those before it.
    UpTo(Uuid),
}

impl Room {
    /// Appends a message to the log and sends it to every member but the sending connection, or sends it to one peer only, or
    /// for the moment, without a sequence number. Records it, and before the first recorded one the room.
    pub(crate) fn send(&mut self, draft: SendMessage, context: &mut OpContext<'_>) -> Result<Reply, Reject> {
        let except = match &draft.publisher {
            // A backend names a connection by the id that its client knows, which a recovery keeps.
            Some(_) => self.members.addressed(draft.connection.text().as_str()).map(|member| member.connection),
            None => Some(draft.connection),
        };
        let is_published = draft.publisher.is_some();
        let is_momentary = draft.publisher.as_ref().is_some_and(|publisher| publisher.is_momentary);
        let (sender, from, display_name) = match draft.publisher {
            Some(publisher) => {
                let name = publisher.identity.user_name();
                (publisher.identity, PeerName::Chosen(name), None)
            }
            None => {
                let member = self.identify(draft.connection, None, "fromPeerId")?.check_sends()?;
                (member.identity.clone(), member.peer_name(), member.about.shared_name())
            }
        };
        let target = match &draft.to {
            Some(name) => {
                let target = self.members.reachable(name)?;
                Some((target.connection, target.peer_name()))
            }
            None => None,
        };
        let revision = match (draft.revises, draft.stream) {
            (None, None) => None,
            (Some(change), text) => Some(revise(self, (&change, text), (&sender, is_published), context)?),
            (None, Some(_)) => Some(streams::new_one(self)?),
        };
        self.touch(context.now);
        let id = context.message_id();
        if let (Some(Revision::Stream(_)), Some(text)) = (revision.as_deref(), draft.stream) {
            streams::open(self, id, sender.clone(), text, context);
        }
        let at = context.now.wall;
        // Receipts are for messages, not for changes of them.
        let is_change = matches!(revision.as_deref(), Some(Revision::Of { .. } | Revision::Piece { .. }));
        let author = if is_change { Identity::none() } else { sender.clone() };
        let seq = (target.is_none() && !is_momentary).then(|| self.log.append(id, author));
        if revision.is_some() {
            streams::number(self, seq.unwrap_or_default(), self.log.is_kept(context.rules));
        }
        let (connection, to) = target.unzip();
        let room = self.id.clone();
        let content = draft.content;
        let message =
            Arc::new(Message { id, seq, room, sender, display_name, from, is_published, to, content, at, revision });
        if seq.is_some() && !self.log.is_kept(context.rules) {
            // A message that is not stored needs no commit.
            self.log.commit_unstored();
        } else if seq.is_some() {
            if self.log.take_unmade() {
                context.records.push(Record::RoomMade(Box::new(self.made(context.rules, message.sender.user_name()))));
            }
            let (message, epoch) = (message.clone(), self.log.epoch().clone());
            let client_message_id = draft.client_message_id;
            context.records.push(Record::MessageSent(SentMessage { message, epoch, client_message_id }));
        }
        if seq.is_some() {
            context.hook_message(&message);
        }
        let event = Event::Message(message);
        match connection {
            Some(connection) => context.tell(connection, event),
            None => context.tell_members(except, event),
        }
        Ok(Reply::Sent(Sent { id, seq, at }))
    }

    /// Marks a recent message as received or read.
    pub(super) fn receipt(
        &mut self,
        connection: ConnectionId,
        message: Uuid,
        kind: ReceiptKind,
        context: &mut OpContext<'_>,
    ) -> Result<Reply, Reject> {
        let by = sender_of(self, connection)?;
        let sender = self.log.mark(message, kind).ok_or_else(Reject::message_not_found)?;
        self.mark(&sender, message, by, kind, context);
        Ok(Reply::Done)
    }

    /// Records that `by` received or read a message, with an event for its sender and one for Socket.IO peers. In rooms whose
    /// messages are stored, a repeated receipt has no effect.
    pub(crate) fn mark(
        &mut self,
        sender: &Identity,
        message: Uuid,
        by: Identity,
        kind: ReceiptKind,
        context: &mut OpContext<'_>,
    ) {
        if self.log.is_kept(context.rules) {
            let (user, at) = (by.user_name(), context.now.wall);
            if !self.log.note_receipt(message, user.clone(), kind) {
                return;
            }
            context.records.push(Record::MessageMarked { message, user, mark: kind, at });
        }
        if self.members.has_peers() {
            let event = Event::Marked { room: self.id.clone(), message, by: by.clone(), kind };
            context.tell_members(None, event);
        }
        let event = Event::Receipt { room: self.id.clone(), message, by, kind };
        context.events.push(AddressedEvent { audience: Audience::User(sender.user_name()), event });
    }

    /// The user of a member's connection.
    pub(crate) fn user_of(&self, connection: ConnectionId) -> Result<Identity, Reject> {
        self.identify(connection, None, "peerId").map(|member| member.identity.clone())
    }
}

/// As [`Room::user_of`], of a member that may send.
pub(crate) fn sender_of(room: &Room, connection: ConnectionId) -> Result<Identity, Reject> {
    room.identify(connection, None, "peerId")?.check_sends().map(|member| member.identity.clone())
}

/// Marks those of several messages that are recent. The others are to be looked up in storage.
pub(crate) fn mark_messages(
    room: &mut Room,
    connection: ConnectionId,
    messages: &MarkedMessages,
    kind: ReceiptKind,
    context: &mut OpContext<'_>,
) -> Result<OlderMessages, Reject> {
    let by = sender_of(room, connection)?;
    let (recent, older) = match messages {
        MarkedMessages::These(ids) => {
            let is_recent = |id: &Uuid| room.log.seq_of(*id).is_some();
            let (recent, older) = ids.iter().copied().partition::<Vec<Uuid>, _>(is_recent);
            (recent, OlderMessages::These(older))
        }
        // Without history it is not known how far the user has come.
        MarkedMessages::UpTo(last) if !room.log.is_kept(context.rules) => {
            room.log.seq_of(*last).ok_or_else(Reject::message_not_found)?;
            (vec![*last], OlderMessages::Before(None))
        }
        MarkedMessages::UpTo(last) => match room.log.unmarked_up_to(*last, &by, kind) {
            Some((recent, older)) => (recent, OlderMessages::Before(older)),
            None => return Ok(OlderMessages::UpTo(*last)),
        },
    };
    for message in recent {
        if let Some(sender) = room.log.mark(message, kind) {
            room.mark(&sender, message, by.clone(), kind, context);
        }
    }
    Ok(older)
}
