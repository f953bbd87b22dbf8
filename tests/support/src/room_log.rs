//! A room's history, read page by page, and the messages that clients received of it.

use std::collections::HashSet;

use serde_json::{Value, json};

use super::lossy_client::LossyClient;

/// A message as somebody was told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceivedMessage {
    pub room: usize,
    pub seq: u64,
    pub id: String,
    pub content: String,
}

/// One room's log.
pub struct RoomLog {
    pub epoch: String,
    /// Each message's id, sender and content; the first one's number is 1.
    pub messages: Vec<LogEntry>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    pub id: String,
    pub sender: String,
    pub content: String,
}

/// What a room is called.
pub fn room_name(room: usize) -> String {
    format!("room-{room}")
}

/// A member that is a JSON string.
pub fn text(message: &Value, member: &str) -> String {
    message[member].as_str().unwrap_or_else(|| panic!("no {member} in {message}")).to_owned()
}

/// A member that is a number.
pub fn number(message: &Value, member: &str) -> u64 {
    message[member].as_u64().unwrap_or_else(|| panic!("no {member} in {message}"))
}

impl RoomLog {
    /// Reads a room's whole history; it must be whole, in order, without a gap, and nothing in it twice.
    pub fn read(line: &mut LossyClient, room: usize) -> Self {
        let name = room_name(room);
        line.send(&json!({ "type": "join-room", "roomId": name })).expect("it lives");
        let joined = line.wait_for("room-joined", drop).expect("it lives");
        let (epoch, last) = (text(&joined, "epoch"), number(&joined, "seq"));
        let mut messages = Vec::new();
        loop {
            line.send(&json!({ "type": "history", "roomId": name, "after": messages.len(), "limit": 500 }))
                .expect("it lives");
            let page = line.wait_for("history", drop).expect("it lives");
            assert_eq!(text(&page, "epoch"), epoch);
            for message in page["messages"].as_array().expect("a list") {
                assert_eq!(number(message, "seq"), messages.len() as u64 + 1, "{name} has a gap");
                let (id, sender) = (text(message, "id"), text(message, "sender"));
                messages.push(LogEntry { id, sender, content: text(message, "content") });
            }
            if page["complete"] == true {
                break;
            }
            assert_ne!(page["messages"], json!([]), "{name} ends before its end");
        }
        assert_eq!(messages.len() as u64, last, "{name}'s last number");
        let log = Self { epoch, messages };
        log.check_nothing_twice(&name);
        log
    }

    fn check_nothing_twice(&self, name: &str) {
        let (mut ids, mut contents) = (HashSet::new(), HashSet::new());
        for entry in &self.messages {
            assert!(ids.insert(&entry.id), "{name} has {entry:?} twice");
            assert!(contents.insert(&entry.content), "{name} has {entry:?} twice, by its content");
        }
    }

    /// The message with a number.
    pub fn at(&self, seq: u64) -> Option<&LogEntry> {
        self.messages.get(usize::try_from(seq.checked_sub(1)?).ok()?)
    }

    /// Holds what somebody was told against what is kept.
    pub fn check(&self, by: &str, told: &ReceivedMessage) {
        let kept = self.at(told.seq);
        let is_kept = kept.is_some_and(|kept| kept.id == told.id && kept.content == told.content);
        assert!(is_kept, "{by} was told {told:?}, and what is kept is {kept:?}");
    }
}
