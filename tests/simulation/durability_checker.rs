//! Messages that clients of a server with a store sent and received, and the guarantees that are checked at rest.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use switchboard::base::time::Now;
use uuid::Uuid;

use super::coverage::Coverage;
use super::faulty_store::FaultyStore;

/// A message to a room, from its sender's side. It may be sent several times under one name.
#[derive(Debug)]
pub(crate) struct SentMessage {
    pub(crate) user: usize,
    pub(crate) room: String,
    /// What its sender calls it, so that it may be sent again.
    pub(crate) name: Option<String>,
    /// When it was first sent, in milliseconds since 1970.
    pub(crate) first_at: u64,
    attempts: u32,
    refused: u32,
}

/// A message to a user, from its sender's side.
#[derive(Debug)]
pub(crate) struct SentDirect {
    pub(crate) to: usize,
    /// The connection it was sent on, and its place among all that were sent.
    from: (usize, u64),
    /// The store's tails that were lost when the sender was told that it is kept; `None` before.
    kept: Option<u64>,
    is_refused: bool,
    /// The connections by which it came.
    heard: Vec<usize>,
}

/// A message's place: its room, the run of the room's log, and its number.
pub(crate) type Spot = (String, String, u64);

/// See the module.
#[derive(Default)]
pub(crate) struct DurabilityChecker {
    pub(crate) drafts: BTreeMap<String, SentMessage>,
    pub(crate) notes: BTreeMap<String, SentDirect>,
    /// The last of the messages to users that came by a connection, by sender's and receiver's connection.
    last_heard: BTreeMap<(usize, usize), u64>,
    /// What anybody was told of: the id, and the content where it was told.
    seen: BTreeMap<Spot, (Uuid, Option<String>)>,
    /// The spot and id that a sender was told, by its message and the store's tails lost by then.
    receipts: BTreeMap<(String, u64), (Spot, Uuid)>,
    pub(crate) crashes: u64,
    pub(crate) tally: Coverage,
    serial: u64,
}

impl DurabilityChecker {
    /// A number that nothing else has.
    pub(crate) fn serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    /// Somebody sends a message, perhaps once more.
    pub(crate) fn draft(&mut self, key: &str, user: usize, room: &str, name: Option<&str>, now: u64) {
        let new = || SentMessage {
            user,
            room: room.to_owned(),
            name: name.map(str::to_owned),
            first_at: now,
            attempts: 0,
            refused: 0,
        };
        self.drafts.entry(key.to_owned()).or_insert_with(new).attempts += 1;
    }

    pub(crate) fn refuse(&mut self, key: &str) {
        self.drafts.get_mut(key).expect("a message that was sent").refused += 1;
    }

    /// A sender is told that its message is kept.
    pub(crate) fn receipt(&mut self, key: &str, spot: Spot, id: Uuid, tails_lost: u64, store: &FaultyStore) {
        self.see(spot.clone(), id, None);
        let known = self.receipts.entry((key.to_owned(), tails_lost)).or_insert((spot.clone(), id));
        // With the message, what its sender called it is kept no longer.
        let is_gone = store.contents.room(&known.0.0).is_none_or(|room| {
            *room.stored.made.epoch != *known.0.1 || (known.0.2 < room.stored.first && self.crashes > 0)
        });
        let is_same = *known == (spot, id) || is_gone;
        assert!(is_same, "{key} has one place, however often it is sent");
    }

    /// Whether it may be known by its name that a message was sent before.
    pub(crate) fn is_repeated(&self, key: &str) -> bool {
        self.drafts[key].attempts > 1
    }

    /// Somebody is told of a message; it is the same for everyone.
    pub(crate) fn see(&mut self, spot: Spot, id: Uuid, content: Option<&str>) {
        let known = self.seen.entry(spot).or_insert((id, None));
        assert_eq!(known.0, id, "a number of a room's log has one message");
        if let Some(content) = content {
            let before = known.1.get_or_insert_with(|| content.to_owned());
            assert_eq!(before, content, "a message is the same for everyone");
        }
    }

    pub(crate) fn send_note(&mut self, key: &str, to: usize, socket: usize) {
        let from = (socket, self.serial());
        let note = SentDirect { to, from, kept: None, is_refused: false, heard: Vec::new() };
        self.notes.insert(key.to_owned(), note);
    }

    pub(crate) fn note_kept(&mut self, key: &str, tails_lost: u64) {
        self.notes.get_mut(key).expect("a message that was sent").kept = Some(tails_lost);
    }

    pub(crate) fn note_refused(&mut self, key: &str) {
        self.notes.get_mut(key).expect("a message that was sent").is_refused = true;
    }

    /// A message to a user came to a client, by a connection. Each connection gets it once, and those of a sender in order.
    pub(crate) fn note_heard(&mut self, key: &str, user: usize, socket: usize) {
        let note = self.notes.get_mut(key).unwrap_or_else(|| panic!("nobody sent {key}"));
        assert_eq!(note.to, user, "{key} is for somebody else");
        assert!(!note.heard.contains(&socket), "{key} came by connection {socket} twice");
        if !note.heard.is_empty() {
            self.tally.count("message to a user once more");
        }
        note.heard.push(socket);
        let (sender, place) = note.from;
        let last = self.last_heard.insert((sender, socket), place);
        assert!(last.is_none_or(|last| last < place), "{key} came by connection {socket} after a later one");
    }

    /// Something is being written to a client: all it says of messages must be kept by now.
    pub(crate) fn check_written(&mut self, told: &Value, store: &FaultyStore) {
        match told["type"].as_str() {
            Some("message" | "message-sent") => self.check_message(told, store),
            Some("history") => self.check_list(&told["messages"], store),
            Some("resumed") => {
                let rooms = told["rooms"].as_object().expect("an object");
                rooms.values().for_each(|room| self.check_list(&room["messages"], store));
            }
            Some(kind @ ("delivered" | "read-receipt")) => {
                let (id, user) = (id_of(&told["messageId"]), text(told, "userId"));
                assert!(store.was_marked(id, user, kind == "read-receipt"), "told before it is kept: {told}");
            }
            _ => {}
        }
    }

    fn check_list(&mut self, messages: &Value, store: &FaultyStore) {
        messages.as_array().expect("a list").iter().for_each(|message| self.check_message(message, store));
    }

    fn check_message(&mut self, told: &Value, store: &FaultyStore) {
        let id = id_of(&told["id"]);
        let Some(seq) = told["seq"].as_u64() else {
            assert!(store.directs.contains(&id), "told before it is kept: {told}");
            if let Some(key) = told["content"].as_str() {
                let note = self.notes.get(key).unwrap_or_else(|| panic!("nobody sent {key}"));
                let is_excused = store.resurrected.contains(&format!("{key:?}"));
                assert!(!note.is_refused || is_excused, "{key} was refused: {told}");
            }
            return;
        };
        let known = store.messages.get(&id).unwrap_or_else(|| panic!("told before it is kept: {told}"));
        assert_eq!((&*known.room, known.seq), (text(told, "roomId"), seq), "told otherwise than it is kept: {told}");
        if let Some(content) = told["content"].as_str() {
            assert_eq!(known.content, format!("{content:?}"), "told otherwise than it is kept: {told}");
            let draft = &self.drafts[content];
            let is_excused = store.resurrected.contains(&known.content);
            assert!(draft.refused < draft.attempts || is_excused, "{content} was refused: {told}");
        }
    }

    /// Everything is at rest: what anybody was told is there, and nothing is there twice.
    pub(crate) fn judge(&mut self, store: &FaultyStore, now: Now) {
        let keep_ms = store.nature.keep_ms;
        let contents = &store.contents;
        contents.check_repeats();
        for (spot, (id, content)) in &self.seen {
            let (room, epoch, seq) = spot;
            let kept = contents.room(room).filter(|kept| *kept.stored.made.epoch == **epoch);
            let Some(kept) = kept else {
                let is_lost = store.tails_lost > 0 || (keep_ms > 0 && sent_at(id) + keep_ms <= now.wall);
                assert!(is_lost, "message {seq} of {room} was told of, and the room of {epoch} is gone");
                continue;
            };
            if *seq < kept.stored.first {
                continue;
            }
            let message = kept.messages.iter().find(|message| message.seq == Some(*seq));
            let message = message.unwrap_or_else(|| panic!("message {seq} of {room} was told of and is not kept"));
            assert_eq!(message.id, *id, "message {seq} of {room} is another one than was told");
            if let Some(content) = content {
                assert_eq!(
                    *message.content.body,
                    format!("{content:?}"),
                    "message {seq} of {room} says something else"
                );
            }
        }
        let bodies = contents.bodies();
        for (key, draft) in &self.drafts {
            let body = format!("{key:?}");
            let is_excused = draft.refused < draft.attempts || store.resurrected.contains(&body);
            assert!(is_excused || !bodies.contains_key(body.as_str()), "{key} was refused and is kept");
        }
        for (key, note) in &self.notes {
            // What was told before a loss may be what was lost.
            if note.kept == Some(store.tails_lost) {
                assert!(!note.heard.is_empty(), "{key} was kept for a user who has come, and never came");
            }
        }
        if !self.seen.is_empty() {
            self.tally.count("judged");
        }
    }

    /// The keys of messages under a name that a sender may send again.
    pub(crate) fn retriable(&self, now: u64) -> Vec<String> {
        let is_fresh = |draft: &SentMessage| draft.name.is_some() && now < draft.first_at + 200_000;
        self.drafts.iter().filter(|(_, draft)| is_fresh(draft)).map(|(key, _)| key.clone()).collect()
    }

    /// Rooms of which anybody knows a message.
    pub(crate) fn rooms(&self) -> BTreeSet<String> {
        self.seen.keys().map(|(room, ..)| room.clone()).collect()
    }
}

pub(crate) fn text<'a>(told: &'a Value, field: &str) -> &'a str {
    told[field].as_str().unwrap_or_else(|| panic!("{field} is text in {told}"))
}

pub(crate) fn id_of(value: &Value) -> Uuid {
    Uuid::try_parse(value.as_str().expect("an id")).expect("a UUID")
}

/// When a message was sent, in milliseconds since 1970; its id says so (RFC 9562 §5.7).
fn sent_at(id: &Uuid) -> u64 {
    (id.as_u128() >> 80) as u64
}
