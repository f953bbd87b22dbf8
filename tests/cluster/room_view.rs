//! A room as one client has received it: each event must be the next one, or skip only the client's own messages.

use std::collections::{BTreeMap, VecDeque};

use serde_json::{Value, json};

use support::room_log::{RoomLog, number, room_name, text};

/// One run of a room's log, as far as somebody was told of it.
#[derive(Default)]
pub(crate) struct LogRun {
    /// Contents by number: what was heard, and what was acknowledged.
    pub(crate) contents: BTreeMap<u64, String>,
    /// Numbers of the messages that were acknowledged.
    pub(crate) receipts: Vec<u64>,
    /// Numbers that were passed over.
    skipped: Vec<u64>,
}

/// See the module.
pub(crate) struct RoomView {
    pub(crate) room: usize,
    pub(crate) epoch: String,
    /// The last number that was heard. A receipt may come before messages with lower numbers.
    pub(crate) last: u64,
    /// Whether they are a member, as far as they know.
    pub(crate) is_in: bool,
    /// What came while the history is awaited.
    ahead: Option<Vec<Value>>,
    pub(crate) told: BTreeMap<String, LogRun>,
    /// What happened lately, for whoever has to find out why something is wrong.
    lately: VecDeque<String>,
}

impl RoomView {
    pub(crate) fn new(room: usize) -> Self {
        Self {
            room,
            epoch: String::new(),
            last: 0,
            is_in: false,
            ahead: None,
            told: BTreeMap::new(),
            lately: Default::default(),
        }
    }

    fn note(&mut self, what: String) {
        self.lately.truncate(11);
        self.lately.push_front(what);
    }

    fn told(&mut self) -> &mut LogRun {
        self.told.entry(self.epoch.clone()).or_default()
    }

    /// They are in; whether something was missed that the history has.
    pub(crate) fn enter(&mut self, joined: &Value, by: &str) -> bool {
        let (epoch, seq) = (text(joined, "epoch"), number(joined, "seq"));
        self.is_in = true;
        self.ahead = None;
        self.note(format!("joined at {seq} of {epoch}, from {} of {}", self.last, self.epoch));
        if epoch != self.epoch {
            assert!(!self.told.contains_key(&epoch), "{by} is back in a former epoch");
            (self.epoch, self.last) = (epoch, seq);
            return false;
        }
        let known = self.known();
        assert!(seq >= known, "{by}: {joined} is short of {known}");
        if seq > known {
            self.ahead = Some(Vec::new());
        }
        seq > known
    }

    /// The number up to which they know everything, be it by receipts.
    pub(crate) fn known(&self) -> u64 {
        let told = self.told.get(&self.epoch);
        let has = |seq: &u64| told.is_some_and(|told| told.contents.contains_key(seq));
        (self.last + 1..).take_while(has).last().unwrap_or(self.last)
    }

    /// Whether they are in, and miss nothing that they know of.
    pub(crate) fn is_whole(&self) -> bool {
        self.is_in && self.ahead.is_none()
    }

    /// What was missed is here, or some of it; whether there is more.
    pub(crate) fn fill(&mut self, page: &Value, by: &str) -> bool {
        let Some(ahead) = self.ahead.take() else { return false };
        for message in page["messages"].as_array().expect("a list") {
            self.take(message, by);
        }
        let is_whole = page["complete"] == true;
        if !is_whole {
            self.ahead = Some(ahead);
            return true;
        }
        for message in ahead {
            if number(&message, "seq") > self.last {
                self.take(&message, by);
            }
        }
        false
    }

    /// A message came.
    pub(crate) fn hear(&mut self, message: &Value, by: &str) {
        match &mut self.ahead {
            Some(ahead) => ahead.push(message.clone()),
            None => self.take(message, by),
        }
    }

    fn take(&mut self, message: &Value, by: &str) {
        let seq = number(message, "seq");
        assert!(seq > self.last, "{by} heard {message} after {}, and before: {:?}", self.last, self.lately);
        self.note(format!("heard {seq}"));
        self.advance(seq);
        let content = text(message, "content");
        let known = self.told().contents.insert(seq, content.clone());
        assert!(known.is_none_or(|known| known == content), "{by} heard {message}");
    }

    /// A message of their own was acknowledged.
    pub(crate) fn acknowledge(&mut self, seq: u64, content: &str, by: &str) {
        self.note(format!("receipt {seq}"));
        let told = self.told();
        told.receipts.push(seq);
        let known = told.contents.insert(seq, content.to_owned());
        assert!(known.is_none_or(|known| known == content), "{by} has a receipt for another's {seq}");
    }

    fn advance(&mut self, seq: u64) {
        let last = std::mem::replace(&mut self.last, seq);
        self.told().skipped.extend(last + 1..seq);
    }

    /// How they ask to come back.
    pub(crate) fn position(&self) -> (String, Value) {
        (room_name(self.room), json!({ "epoch": self.epoch, "seq": self.last }))
    }

    /// Holds what they were told against what is kept; how many messages that were.
    pub(crate) fn check(&self, by: &str, log: &RoomLog) -> usize {
        let Some(told) = self.told.get(&log.epoch) else { return 0 };
        let name = room_name(self.room);
        for (seq, content) in &told.contents {
            let kept = log.at(*seq).map(|kept| &kept.content);
            assert_eq!(kept, Some(content), "{by} was told {seq} of {name}, and what is kept is this");
        }
        for seq in &told.skipped {
            let kept = log.at(*seq);
            let is_own = kept.is_some_and(|kept| kept.sender == by);
            assert!(is_own, "{by} did not hear {seq} of {name}, which is {kept:?}");
        }
        assert_eq!((&self.epoch, self.known()), (&log.epoch, log.messages.len() as u64), "{by} is short of {name}");
        told.contents.len()
    }
}
