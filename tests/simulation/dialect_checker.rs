//! Messages that clients of all dialects received: each is the same for everyone, arrives in order and once, and
//! reaches every member.

use std::collections::{BTreeMap, BTreeSet};

use super::coverage::Coverage;
use super::history::{End, Fact, JoinState, Membership, compare};

/// A message to a room, by its content.
#[derive(Debug, Default)]
struct SentMessage {
    /// The memberships that were known to be there when it was sent.
    expected: Vec<usize>,
    room: String,
    is_refused: bool,
    /// Its id and number, once anybody knows.
    place: Option<(String, u64)>,
}

/// Clients, each in a namespace.
pub(crate) type Places = BTreeSet<(usize, String)>;

/// See the module.
#[derive(Default)]
pub(crate) struct DialectChecker {
    pub(crate) memberships: Vec<Membership>,
    pub(crate) tally: Coverage,
    pub(crate) is_draining: bool,
    drafts: BTreeMap<String, SentMessage>,
    /// What each membership was told of, by content.
    heard: BTreeMap<usize, BTreeSet<String>>,
    /// Messages to users: who must hear each, and who has.
    directs: BTreeMap<String, (Places, Places)>,
    refused: BTreeSet<String>,
    serial: u64,
}

impl DialectChecker {
    /// What nothing else says.
    pub(crate) fn content(&mut self) -> String {
        self.serial += 1;
        format!("message {}", self.serial)
    }

    pub(crate) fn begin(&mut self, peer: usize, user: &str, room: &str, seq: Option<u64>) -> usize {
        let (view, name) = (BTreeMap::new(), user.to_owned());
        // How many there are is told by some dialects only, and is not compared.
        let count = 1 << 32;
        let entry = JoinState {
            room: room.to_owned(),
            epoch: String::new(),
            name,
            display: None,
            seq: seq.unwrap_or(0),
            view,
            count,
        };
        let mut membership = Membership::new(peer, user, entry);
        membership.is_unnumbered = seq.is_none();
        // Most dialects tell a sender its own messages.
        membership.may_inherit = seq.is_none();
        self.memberships.push(membership);
        self.memberships.len() - 1
    }

    /// A message is sent to a room.
    pub(crate) fn draft(&mut self, content: &str, room: &str, by: usize) {
        let is_there = |own: &Membership| own.room == room && own.end == End::Open;
        let hears = |own: &Membership| own.is_unnumbered || own.peer != by;
        let expected = self.memberships.iter().enumerate().filter(|(_, own)| is_there(own) && hears(own));
        let expected = expected.map(|(at, _)| at).collect();
        self.drafts
            .insert(content.to_owned(), SentMessage { expected, room: room.to_owned(), ..SentMessage::default() });
    }

    pub(crate) fn refuse(&mut self, content: &str) {
        self.refused.insert(content.to_owned());
        if let Some(draft) = self.drafts.get_mut(content) {
            draft.is_refused = true;
        }
    }

    /// The sender of a message is told that it was sent.
    pub(crate) fn sent(&mut self, content: &str, id: &str, seq: Option<u64>) {
        let (Some(draft), Some(seq)) = (self.drafts.get_mut(content), seq) else { return };
        let place = draft.place.get_or_insert_with(|| (id.to_owned(), seq));
        assert_eq!((place.0.as_str(), place.1), (id, seq), "{content} is one message");
    }

    /// A member is told a message.
    pub(crate) fn hear(&mut self, at: usize, seq: u64, id: &str, content: &str, from: &str) {
        self.sent(content, id, Some(seq));
        let own = &mut self.memberships[at];
        assert_eq!(self.drafts[content].room, own.room, "{content} was sent to another room");
        own.note(Fact::Message { seq, from: from.to_owned() }, false);
        assert!(self.heard.entry(at).or_default().insert(content.to_owned()), "{content} came twice");
    }

    pub(crate) fn direct(&mut self, content: &str, to: Places) {
        self.directs.insert(content.to_owned(), (to, Places::new()));
    }

    /// A message to a user came to a client in a namespace.
    pub(crate) fn hear_direct(&mut self, content: &str, peer: usize, namespace: &str) {
        let (_, heard) = self.directs.get_mut(content).expect("somebody sent it");
        assert!(heard.insert((peer, namespace.to_owned())), "{content} came to {peer} in {namespace} twice");
        self.tally.count(&format!("direct in {namespace}"));
    }

    /// Everything is at rest: what was sent has come, what was told agrees.
    pub(crate) fn judge(&mut self, is_there: &dyn Fn(usize) -> bool) {
        for (content, draft) in &self.drafts {
            if draft.is_refused {
                assert_eq!(draft.place, None, "{content} was refused");
                continue;
            }
            for at in draft.place.iter().flat_map(|_| &draft.expected) {
                let own = &self.memberships[*at];
                let has_come = self.heard.get(at).is_some_and(|heard| heard.contains(content));
                assert!(has_come || own.end != End::Open, "{content} did not come to {}", own.name);
            }
        }
        for (content, (expected, heard)) in &self.directs {
            let is_missing = |to: &&(usize, String)| is_there(to.0) && !heard.contains(*to);
            let missing = expected.iter().find(is_missing);
            assert!(missing.is_none() || self.refused.contains(content), "{content} did not come to {missing:?}");
        }
        self.judge_numbers();
        self.judge_pairs();
    }

    /// Nobody in a room lacks its last message, and no two messages have one number.
    fn judge_numbers(&self) {
        let mut numbers = BTreeMap::new();
        for (content, draft) in &self.drafts {
            if let Some((_, seq)) = &draft.place {
                let before = numbers.insert((draft.room.as_str(), *seq), content);
                assert_eq!(before, None, "{content} has another message's number");
            }
        }
        for own in self.memberships.iter().filter(|own| own.end == End::Open && own.is_numbered()) {
            let last = numbers.range((own.room.as_str(), 0)..=(own.room.as_str(), u64::MAX)).next_back();
            let last = last.map_or(0, |((_, seq), _)| *seq);
            assert_eq!(own.reached(), last.max(own.start), "{} in {} has all messages", own.name, own.room);
        }
    }

    /// Any two in one room were told the same in the same order, whatever they speak.
    fn judge_pairs(&mut self) {
        let mut compared = 0;
        for (at, a) in self.memberships.iter().enumerate() {
            let same = |b: &&Membership| a.room == b.room && a.peer != b.peer;
            for b in self.memberships[at + 1..].iter().filter(same) {
                compared += usize::from(compare(a, b, false) && a.is_unnumbered != b.is_unnumbered);
            }
        }
        if compared > 0 {
            self.tally.count("two dialects compared");
        }
    }
}
