//! The contents of the simulated store and its answers. A record that contradicts the contents is a fault of the shard
//! that sent it and fails the run.

use std::collections::{BTreeMap, BTreeSet};

use switchboard::base::Name;
use switchboard::base::limits::REPEAT_MS;
use switchboard::base::rng::Rng;
use switchboard::domain::command::Status;
use switchboard::domain::event::Direct;
use switchboard::domain::record::{Record, Session, TokenHash};
use switchboard::message::storage::{
    CommitOutcome, MessagePage, MessageSpan, MessageView, PAGE_MESSAGES, RecentMessage, Restored, StorageQuery,
    StorageReply, StoredUser,
};
use uuid::Uuid;

use super::model::{Model, Room};

/// One thing that changed what is kept.
#[derive(Clone)]
pub(crate) enum Change {
    /// A batch, and when it was written, in milliseconds since 1970.
    Batch(Vec<Record>, u64),
    /// A room's messages before this number are kept no longer.
    Trim(Name, u64),
    /// A server has started: sessions without an end have this one, and these rooms have new epochs.
    Start(u64, Vec<(Name, Name)>),
}

/// See the module.
#[derive(Default)]
pub(crate) struct StoreContents(Model);

impl StoreContents {
    /// A store that has seen these users.
    pub(crate) fn new(users: &[&str]) -> Self {
        let mut model = Model::default();
        for user in users {
            let user: Name = (*user).into();
            let stored =
                StoredUser { user: user.clone(), username: None, email: None, status: Status::Online, seen_at: 1 };
            model.users.insert(user, stored);
        }
        Self(model)
    }

    pub(crate) fn room(&self, room: &str) -> Option<&Room> {
        self.0.rooms.get(room)
    }

    pub(crate) fn rooms(&self) -> impl Iterator<Item = &Room> {
        self.0.rooms.values()
    }

    /// The session that a token opens, if it has not ended.
    pub(crate) fn session(&self, token: &TokenHash, now: u64) -> Option<&Session> {
        self.0.sessions.get(token).filter(|session| session.expires_at.is_none_or(|at| at > now))
    }

    /// How many messages wait for a user.
    pub(crate) fn waiting(&self, user: &str) -> usize {
        self.0.directs.get(user).map_or(0, Vec::len)
    }

    pub(crate) fn apply(&mut self, change: &Change) -> CommitOutcome {
        let mut kept = CommitOutcome::default();
        match change {
            Change::Batch(records, now) => {
                for record in records {
                    self.check(record);
                    if let Record::SessionTaken { token, .. } | Record::SessionClaimed { token } = record {
                        let by = if let Record::SessionTaken { by, .. } = record { by.as_ref() } else { None };
                        let found = self.session(token, *now).cloned();
                        let found = found.filter(|session| by.is_none_or(|by| by.may_recover(&session.user)));
                        kept.taken.push(found.map(Box::new));
                    }
                    self.0.apply(record);
                }
            }
            Change::Trim(room, first) => {
                if let Some(room) = self.0.rooms.get_mut(room) {
                    room.messages.retain(|message| message.seq >= Some(*first));
                    room.stored.first = room.stored.first.max(*first);
                    room.repeatable.retain(|message| message.seq >= *first);
                }
            }
            Change::Start(window_ends, epochs) => {
                for session in self.0.sessions.values_mut() {
                    session.expires_at.get_or_insert(*window_ends);
                }
                for (room, epoch) in epochs {
                    self.0.rooms.get_mut(room).expect("a room that is there").stored.made.epoch = epoch.clone();
                }
            }
        }
        kept
    }

    /// Whether a record follows from what is kept.
    fn check(&self, record: &Record) {
        match record {
            Record::RoomMade(made) => assert!(self.room(&made.room).is_none(), "{} is made twice", made.room),
            Record::ParticipantAdded { room, .. } | Record::ParticipantRemoved { room, .. } => {
                assert!(self.room(room).is_some(), "{room} was never made");
            }
            Record::MessageSent(sent) => {
                let (message, room) = (&sent.message, self.room(&sent.message.room));
                let room = room.unwrap_or_else(|| panic!("{} was never made", message.room));
                assert_eq!(
                    (message.seq, &sent.epoch),
                    (Some(room.stored.last + 1), &room.stored.made.epoch),
                    "a message of {} does not follow the one before",
                    message.room
                );
            }
            _ => {}
        }
    }

    pub(crate) fn answer(&self, query: &StorageQuery, now: u64, rng: &mut Rng) -> StorageReply {
        match query {
            StorageQuery::Page { room, span, limit } => {
                StorageReply::Page(self.room(room).map(|room| page(room, *span, *limit, rng)))
            }
            StorageQuery::Message { id } => StorageReply::Message(self.message(id).map(Box::new)),
            StorageQuery::Room { room } => {
                StorageReply::Room(self.room(room).map(|room| Box::new(room.stored.clone())))
            }
            StorageQuery::User { user } => StorageReply::User(self.0.users.get(user).cloned().map(Box::new)),
            StorageQuery::UserCount { is_all, named } => {
                let named = named.iter().filter(|user| self.0.users.contains_key(*user)).count() as u64;
                StorageReply::UserCount { all: if *is_all { self.0.users.len() as u64 } else { 0 }, named }
            }
            StorageQuery::Directs { user, limit } => {
                let all = self.0.directs.get(user).map_or(&[][..], Vec::as_slice);
                let count = all.len().min(cut(*limit, rng));
                StorageReply::Directs { directs: all[..count].to_vec(), complete: count == all.len() }
            }
            StorageQuery::Unread { .. } => StorageReply::Unread { count: 0, read: None, complete: true },
            StorageQuery::MadeRooms { user } => {
                let made = self.rooms().filter(|room| room.stored.made.maker == *user);
                StorageReply::MadeRooms(made.count() as u64)
            }
            StorageQuery::DirectBytes { user } => {
                StorageReply::DirectBytes(self.0.directs.get(user).map_or(0, |all| bytes(all)))
            }
            // No backend pushes in these runs.
            StorageQuery::Push { .. } => StorageReply::Push(None),
            // No endpoint is configured in these runs.
            StorageQuery::DeadLetters { .. } => StorageReply::DeadLetters(Vec::new()),
            StorageQuery::Session { token } => StorageReply::Session(self.session(token, now).cloned().map(Box::new)),
        }
    }

    fn message(&self, id: &Uuid) -> Option<MessageView> {
        let find = |room: &Room| room.messages.iter().find(|message| message.id == *id).cloned();
        let room = self.rooms().find(|room| find(room).is_some())?;
        let (mut delivered, mut read) = (Vec::new(), Vec::new());
        for ((_, user), (delivered_at, read_at)) in room.marks.iter().filter(|((message, _), _)| message == id) {
            delivered.extend(delivered_at.map(|at| (user.clone(), at)));
            read.extend(read_at.map(|at| (user.clone(), at)));
        }
        Some(MessageView { message: find(room)?, delivered, read, complete: true })
    }

    /// What a server needs to know of it when it starts.
    pub(crate) fn restored(&self, now: u64) -> Vec<Restored> {
        let mut all: Vec<Restored> = self.rooms().map(|room| Restored::Room(Box::new(room.stored.clone()))).collect();
        all.extend(self.0.users.values().map(|user| Restored::User(Box::new(user.clone()))));
        let awaited = self.0.directs.iter().filter(|(_, directs)| !directs.is_empty());
        all.extend(awaited.map(|(user, all)| Restored::DirectRecipient(user.clone(), bytes(all))));
        let of_room = |room: &'_ Room| {
            let epoch = room.stored.made.epoch.clone();
            room.repeatable.clone().into_iter().map(move |message| RecentMessage { epoch: epoch.clone(), ..message })
        };
        let repeatable = self.rooms().flat_map(of_room);
        let mut repeatable: Vec<_> = repeatable.filter(|message| message.at + REPEAT_MS >= now).collect();
        repeatable.sort_by_key(|message| message.id);
        all.extend(repeatable.into_iter().map(|message| Restored::RecentMessage(Box::new(message))));
        all.extend(self.0.revocations.values().cloned().map(Restored::Revocation));
        all
    }

    /// What senders call their messages is there once for each of them.
    pub(crate) fn check_repeats(&self) {
        let mut known = BTreeSet::new();
        for message in self.rooms().flat_map(|room| &room.repeatable) {
            let name = (&message.room, &message.user, &message.client_message_id);
            assert!(known.insert(name), "{name:?} is kept twice");
        }
    }

    /// What of the messages of each room is kept, by content.
    pub(crate) fn bodies(&self) -> BTreeMap<&str, Uuid> {
        let messages = self.rooms().flat_map(|room| &room.messages);
        messages.map(|message| (&*message.content.body, message.id)).collect()
    }
}

/// As many as fit into one answer, now and then only a few.
fn cut(limit: usize, rng: &mut Rng) -> usize {
    let limit = limit.min(PAGE_MESSAGES);
    if rng.below(4) == 0 { limit.min(1 + rng.below(4) as usize) } else { limit }
}

fn page(room: &Room, span: MessageSpan, limit: usize, rng: &mut Rng) -> MessagePage {
    let (first, last) = (room.stored.first, room.stored.last);
    let (from, to) = match span {
        MessageSpan::Newest => (first, last),
        MessageSpan::After(seq) => (seq.saturating_add(1).max(first), last),
        MessageSpan::Before(seq) => (first, seq.saturating_sub(1).min(last)),
        MessageSpan::Between(from, to) => (from.max(first), to.min(last)),
    };
    let is_upward = matches!(span, MessageSpan::After(_) | MessageSpan::Between(..));
    let asked = room.messages.iter().filter(|message| (Some(from)..=Some(to)).contains(&message.seq));
    let mut messages: Vec<_> = asked.cloned().collect();
    let (all, count) = (messages.len(), messages.len().min(cut(limit, rng)));
    if is_upward {
        messages.truncate(count);
    } else {
        messages.drain(..all - count);
    }
    MessagePage { epoch: room.stored.made.epoch.clone(), first, last, complete: count == all, messages }
}

/// The bytes of direct messages.
fn bytes(directs: &[Direct]) -> u64 {
    directs.iter().map(|direct| direct.content.bytes() as u64).sum()
}
