//! What a store holds, in memory: the shortest way to say what each record means.

use std::collections::BTreeMap;
use std::sync::Arc;

use switchboard::base::Name;
use switchboard::domain::access::{Identity, Roles};
use switchboard::domain::command::{ReceiptKind, Status};
use switchboard::domain::event::{Direct, Message};
use switchboard::domain::record::{Record, Session, TokenHash};
use switchboard::domain::revocation::{Revocation, Revoked};
use switchboard::message::storage::{RecentMessage, StoredRoom, StoredUser};
use uuid::Uuid;

/// Rooms, messages and users as records made them.
#[derive(Default)]
pub(crate) struct Model {
    pub(crate) rooms: BTreeMap<Name, Room>,
    pub(crate) users: BTreeMap<Name, StoredUser>,
    pub(crate) directs: BTreeMap<Name, Vec<Direct>>,
    pub(crate) sessions: BTreeMap<TokenHash, Session>,
    pub(crate) revocations: BTreeMap<Revoked, Arc<Revocation>>,
}

pub(crate) struct Room {
    pub(crate) stored: StoredRoom,
    pub(crate) messages: Vec<Message>,
    pub(crate) marks: BTreeMap<(Uuid, Name), (Option<u64>, Option<u64>)>,
    pub(crate) repeatable: Vec<RecentMessage>,
}

impl Model {
    pub(crate) fn apply(&mut self, record: &Record) {
        match record {
            Record::RoomMade(made) => {
                let made = (**made).clone();
                let stored = StoredRoom { first: 1, last: 0, last_at: made.created_at, made, streams: Vec::new() };
                let room = Room { stored, messages: Vec::new(), marks: BTreeMap::new(), repeatable: Vec::new() };
                self.rooms.insert(room.stored.made.room.clone(), room);
            }
            Record::RoomClosed { room } => drop(self.rooms.remove(room)),
            Record::RoomChanged { room, change } => {
                let room = self.rooms.get_mut(room).expect("the room is there");
                let made = &mut room.stored.made;
                made.is_locked = change.is_locked.unwrap_or(made.is_locked);
                made.retention = made.retention.changed(change.retention);
                (**change).clone().apply_to(made.profile.get_or_insert_default());
            }
            Record::RoomLocked { room, is_locked } => {
                if let Some(room) = self.rooms.get_mut(room) {
                    room.stored.made.is_locked = *is_locked;
                }
            }
            Record::RevocationKept(revocation) => {
                self.revocations.insert(revocation.subject.clone(), revocation.clone());
            }
            Record::RevocationRemoved(subject) => drop(self.revocations.remove(subject)),
            // The outbox is not part of the model.
            Record::Hook(_) | Record::DeadLettersReplayed { .. } => {}
            // Nor are pushes with an idempotency key, of which a test of their own asks.
            Record::PushKept(_) => {}
            Record::ParticipantAdded { room, user } => {
                if let Some(participants) = self.participants(room)
                    && !participants.contains(user)
                {
                    participants.push(user.clone());
                }
            }
            Record::ParticipantRemoved { room, user } => {
                if let Some(participants) = self.participants(room) {
                    participants.retain(|participant| participant != user);
                }
            }
            Record::MessageSent(sent) => {
                let room = self.rooms.get_mut(&sent.message.room).expect("the room is there");
                let message = (*sent.message).clone();
                (room.stored.last, room.stored.last_at) = (message.seq.expect("a place"), message.at);
                room.repeatable.extend(sent.client_message_id.clone().map(|client_message_id| RecentMessage {
                    room: message.room.clone(),
                    epoch: room.stored.made.epoch.clone(),
                    user: message.sender.user_name(),
                    client_message_id,
                    id: message.id,
                    seq: room.stored.last,
                    at: message.at,
                }));
                let sender = message.sender.clone();
                let seen = || stored(&sender, Status::Online, message.at);
                if !sender.roles().guest {
                    self.users.entry(sender.user_name()).or_insert_with(seen);
                }
                room.messages.push(message);
            }
            Record::MessageMarked { message, user, mark, at } => {
                let holds = |room: &&mut Room| room.messages.iter().any(|known| known.id == *message);
                if let Some(room) = self.rooms.values_mut().find(holds) {
                    let (delivered, read) = room.marks.entry((*message, user.clone())).or_default();
                    let time = if *mark == ReceiptKind::Read { read } else { delivered };
                    time.get_or_insert(*at);
                }
            }
            Record::DirectKept { user, direct } => {
                self.directs.entry(user.clone()).or_default().push((**direct).clone());
            }
            Record::DirectDelivered { user, id } => {
                self.directs.entry(user.clone()).or_default().retain(|direct| direct.id != *id);
            }
            Record::SessionKept(session) => drop(self.sessions.insert(session.token, (**session).clone())),
            Record::SessionTaken { token, by } => {
                let may_take = |session: &Session| by.as_ref().is_none_or(|by| by.may_recover(&session.user));
                if self.sessions.get(token).is_some_and(may_take) {
                    self.sessions.remove(token);
                }
            }
            Record::SessionClaimed { .. } => {}
            Record::UserSeen(seen) => {
                self.users.insert(seen.identity.user_name(), stored(&seen.identity, seen.status, seen.at));
            }
            Record::AbsenceSet { user, status, last_seen } => {
                let identity = Identity::new(user, None, None, Roles::default());
                let known = self.users.entry(user.clone()).or_insert_with(|| stored(&identity, *status, 0));
                known.status = *status;
                known.seen_at = last_seen.unwrap_or(known.seen_at);
            }
        }
    }

    fn participants(&mut self, room: &Name) -> Option<&mut Vec<Name>> {
        self.rooms.get_mut(room)?.stored.made.profile.as_mut().map(|profile| &mut profile.participants)
    }
}

fn stored(identity: &Identity, status: Status, seen_at: u64) -> StoredUser {
    let username = (identity.username() != identity.user()).then(|| identity.username().into());
    StoredUser { user: identity.user_name(), username, email: identity.email().map(Into::into), status, seen_at }
}
