//! What members are told of their rooms, and whether any two of them are told the same.
//!
//! A membership is one connection's time in one room under one name. What a member is told it notes in order. Of two
//! members of a room, the notes of the time they have in common must agree in everything that concerns both.

use std::collections::BTreeMap;

/// How a membership ended, as its owner knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// It has not.
    Open,
    /// The others were told: the member left, was removed, or goes by another name now.
    StorageEvent,
    /// As [`End::StorageEvent`], by an act that may have ended several memberships at once: which of them first, nobody is
    /// owed to know.
    Withdrawn,
    /// The room was closed.
    Closed,
    /// The others were not told: the name lives on.
    Silent,
    /// The connection ended, and with it what its owner knows.
    Cut,
}

/// One thing a member is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fact {
    Message { seq: u64, from: String },
    Joined { name: String, display: String, media: u8 },
    Left { name: String },
    Media { name: String, media: u8 },
    Typing { user: String, is_typing: bool },
    Stats { count: u64 },
}

/// One connection's time in one room under one name.
#[derive(Debug)]
pub(crate) struct Membership {
    pub(crate) peer: usize,
    pub(crate) user: String,
    pub(crate) room: String,
    pub(crate) epoch: String,
    pub(crate) name: String,
    /// The name it shows, when no other membership shows the same.
    pub(crate) display: Option<String>,
    /// The number of the room's last message before.
    pub(crate) start: u64,
    /// The number of the last message it was told.
    last: u64,
    /// The numbers of its own messages, which it is not told.
    own: Vec<u64>,
    pub(crate) facts: Vec<Fact>,
    /// The others and their media, by what it was told.
    pub(crate) view: BTreeMap<String, u8>,
    /// How many members there are, by what it was told.
    pub(crate) count: u64,
    pub(crate) end: End,
    /// Its connection was so slow that it may have missed what may be dropped.
    pub(crate) is_lossy: bool,
    /// Messages of one who went by its name before may be told late.
    pub(crate) may_inherit: bool,
    /// It was not told the number of the last message before; the first one that it is told says so.
    pub(crate) is_unnumbered: bool,
}

/// What a new member was told of itself and the room.
pub(crate) struct Entry {
    pub(crate) room: String,
    pub(crate) epoch: String,
    pub(crate) name: String,
    pub(crate) display: Option<String>,
    pub(crate) seq: u64,
    pub(crate) view: BTreeMap<String, u8>,
    pub(crate) count: u64,
}

impl Membership {
    pub(crate) fn new(peer: usize, user: &str, entry: Entry) -> Self {
        assert!(!entry.view.contains_key(&entry.name), "{} is among its own peers", entry.name);
        Self {
            peer,
            user: user.to_owned(),
            room: entry.room,
            epoch: entry.epoch,
            name: entry.name,
            display: entry.display,
            start: entry.seq,
            last: entry.seq,
            own: Vec::new(),
            facts: Vec::new(),
            view: entry.view,
            count: entry.count,
            end: End::Open,
            is_lossy: false,
            may_inherit: false,
            is_unnumbered: false,
        }
    }

    /// Whether it knows any message's number.
    pub(crate) fn is_numbered(&self) -> bool {
        !self.is_unnumbered || self.last > 0
    }

    /// Notes what it is told. `announces_all`: it should have been told of everyone who came and went.
    pub(crate) fn note(&mut self, fact: Fact, announces_all: bool) {
        assert_eq!(self.end, End::Open, "told after the end: {fact:?}");
        match &fact {
            Fact::Message { seq, from } => {
                assert!(*from != self.name || self.may_inherit, "a member is not told its own messages");
                if !self.is_numbered() {
                    (self.start, self.last) = (*seq - 1, *seq - 1);
                }
                let expected = self.next_seq();
                assert_eq!(*seq, expected, "messages of {} come in order and without gaps", self.room);
                self.last = *seq;
            }
            Fact::Joined { name, media, .. } => {
                assert_ne!(*name, self.name, "a member does not hear that it joined");
                let before = self.view.insert(name.clone(), *media);
                assert!(!announces_all || before.is_none(), "{name} joins {} but was there", self.room);
                self.count += 1;
            }
            Fact::Left { name } => {
                assert_ne!(*name, self.name, "a member does not hear that it left");
                let before = self.view.remove(name);
                assert!(!announces_all || before.is_some(), "{name} leaves {} but was not there", self.room);
                self.count -= 1;
            }
            Fact::Media { name, media } => {
                assert_ne!(*name, self.name, "a member does not hear of its own media");
                let known = self.view.get_mut(name).map(|known| *known = *media);
                assert!(!announces_all || known.is_some(), "{name} changes media in {} but was not there", self.room);
            }
            Fact::Stats { count } => self.count = *count,
            Fact::Typing { .. } => {}
        }
        self.facts.push(fact);
    }

    /// Notes the receipt for one of its own messages.
    pub(crate) fn note_own(&mut self, seq: u64) {
        let before = self.own.last().copied().unwrap_or(self.start);
        assert!(seq > before, "receipts come in order: {seq} after {before}");
        self.own.push(seq);
    }

    /// Whether a message was there before it began.
    pub(crate) fn is_before(&self, seq: u64) -> bool {
        seq <= self.start
    }

    fn next_seq(&self) -> u64 {
        let mut seq = self.last + 1;
        while self.own.contains(&seq) {
            seq += 1;
        }
        seq
    }

    /// The number of the last message it knows of, without a gap before it.
    pub(crate) fn reached(&self) -> u64 {
        self.next_seq() - 1
    }
}

fn seq_of(fact: &Fact) -> Option<u64> {
    match fact {
        Fact::Message { seq, .. } => Some(*seq),
        _ => None,
    }
}

fn joins(membership: &Membership, other: &Membership) -> Option<usize> {
    let shown = other.display.as_ref()?;
    membership.facts.iter().position(|fact| matches!(fact, Fact::Joined { display, .. } if display == shown))
}

fn leaves(facts: &[Fact], other: &Membership) -> Option<usize> {
    facts.iter().position(|fact| matches!(fact, Fact::Left { name } if *name == other.name))
}

/// Where both lists have the same message, the first or the last such.
fn meeting(a: &[Fact], b: &[Fact], after: u64, is_last: bool) -> Option<(usize, usize)> {
    let find = |fact: &Fact| {
        let seq = seq_of(fact).filter(|seq| *seq > after)?;
        b.iter().position(|other| seq_of(other) == Some(seq))
    };
    let pair = |(at, fact)| find(fact).map(|other| (at, other));
    if is_last { a.iter().enumerate().rev().find_map(pair) } else { a.iter().enumerate().find_map(pair) }
}

/// Holds two memberships of one room against each other; whether they had anything to compare. `announces_all`: where
/// not, a name that is heard to leave may be a later holder's.
pub(crate) fn compare(a: &Membership, b: &Membership, announces_all: bool) -> bool {
    // Where their common time begins: where one hears that the other joined, or else at a message that both get.
    let (from_a, from_b) = match (joins(a, b), joins(b, a)) {
        (Some(at), _) => (at + 1, 0),
        (None, Some(at)) => (0, at + 1),
        (None, None) => match meeting(&a.facts, &b.facts, a.start.max(b.start), false) {
            Some(meeting) => meeting,
            None => return false,
        },
    };
    let (mut facts_a, mut facts_b) = (&a.facts[from_a..], &b.facts[from_b..]);
    // Where it ends: where one hears that the other left, where both lists end, or else at the last message in both.
    let (left_a, left_b) = if announces_all { (leaves(facts_b, a), leaves(facts_a, b)) } else { (None, None) };
    let mut is_prefix = a.end == End::Cut || b.end == End::Cut;
    match (left_a, left_b) {
        (Some(at), _) if matches!(a.end, End::StorageEvent | End::Withdrawn | End::Cut) => facts_b = &facts_b[..at],
        (_, Some(at)) if matches!(b.end, End::StorageEvent | End::Withdrawn | End::Cut) => facts_a = &facts_a[..at],
        _ if is_prefix => {}
        _ if a.end == b.end && matches!(a.end, End::Open | End::Closed) => {}
        _ => {
            let Some((at_a, at_b)) = meeting(facts_a, facts_b, 0, true) else { return false };
            (facts_a, facts_b) = (&facts_a[..at_a], &facts_b[..at_b]);
            is_prefix = false;
        }
    }
    let with_typing = !a.is_lossy && !b.is_lossy;
    let concerns_both = |fact: &&Fact| match fact {
        Fact::Message { from: name, .. }
        | Fact::Joined { name, .. }
        | Fact::Left { name }
        | Fact::Media { name, .. } => *name != a.name && *name != b.name,
        Fact::Typing { user, .. } => with_typing && *user != a.user && *user != b.user,
        Fact::Stats { .. } => true,
    };
    let mut facts_a: Vec<&Fact> = facts_a.iter().filter(concerns_both).collect();
    let mut facts_b: Vec<&Fact> = facts_b.iter().filter(concerns_both).collect();
    if a.end == End::Withdrawn || b.end == End::Withdrawn {
        for facts in [&mut facts_a, &mut facts_b] {
            while matches!(facts.last(), Some(Fact::Left { .. })) {
                facts.pop();
            }
        }
    }
    let common = if is_prefix { facts_a.len().min(facts_b.len()) } else { usize::MAX };
    let (facts_a, facts_b) = (&facts_a[..common.min(facts_a.len())], &facts_b[..common.min(facts_b.len())]);
    assert_eq!(facts_a, facts_b, "{} and {} in {} were told different things", a.name, b.name, a.room);
    !facts_a.is_empty()
}

/// The comparison itself is worth nothing unless it sees a difference.
mod tests {
    use super::*;

    fn member(name: &str, facts: &[Fact], end: End) -> Membership {
        let entry = Entry {
            room: "r".into(),
            epoch: "e".into(),
            name: name.into(),
            display: Some(format!("shown {name}")),
            seq: 0,
            view: BTreeMap::new(),
            count: 1,
        };
        Membership { facts: facts.to_vec(), end, ..Membership::new(0, name, entry) }
    }

    fn joined(name: &str) -> Fact {
        Fact::Joined { name: name.into(), display: format!("shown {name}"), media: 0 }
    }

    fn message(seq: u64) -> Fact {
        Fact::Message { seq, from: "c".into() }
    }

    fn differ(a: &Membership, b: &Membership) -> bool {
        std::panic::catch_unwind(|| compare(a, b, true)).is_err()
    }

    #[test]
    fn another_order_is_seen() {
        let a = member("a", &[message(1), joined("b"), message(2), joined("d"), message(3)], End::Open);
        let same = member("b", &[message(2), joined("d"), message(3)], End::Open);
        assert!(compare(&a, &same, true));
        let swapped = member("b", &[message(2), message(3), joined("d")], End::Open);
        assert!(differ(&a, &swapped));
        let short = member("b", &[message(2), joined("d")], End::Open);
        assert!(differ(&a, &short) && differ(&short, &a));
        let cut = member("b", &[message(2), joined("d")], End::Cut);
        assert!(compare(&a, &cut, true));
    }

    #[test]
    fn who_left_is_held_to_what_came_before() {
        let left = |name: &str| Fact::Left { name: name.into() };
        let a = member("a", &[joined("b"), message(1), left("b"), message(2)], End::Open);
        assert!(compare(&a, &member("b", &[message(1)], End::StorageEvent), true));
        assert!(differ(&a, &member("b", &[], End::StorageEvent)));
        assert!(differ(&a, &member("b", &[message(1), message(2)], End::StorageEvent)));
    }

    #[test]
    fn a_gap_is_seen() {
        let mut a = member("a", &[], End::Open);
        a.note_own(1);
        a.note(message(2), true);
        assert_eq!(a.reached(), 2);
        let gap = std::panic::catch_unwind(move || a.note(message(4), true));
        assert!(gap.is_err());
    }
}
