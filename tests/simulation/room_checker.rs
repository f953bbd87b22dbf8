//! Requests and replies of all clients, and the checks at rest: each message arrived where it had to, and all clients
//! agree on the rooms.

use std::collections::{BTreeMap, BTreeSet};

use switchboard::domain::op::Scope;

use super::coverage::Coverage;
use super::history::{End, Membership, compare};
use super::setting::{Setting, USERS};

/// To whom something must come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Audience {
    /// One of the connections that went by a name in a room.
    One,
    /// All connections of a user that are known to be attached.
    All,
}

/// Something that was sent and must come to somebody else, once.
#[derive(Debug)]
pub(crate) struct ExpectedDelivery {
    pub(crate) by: usize,
    pub(crate) reach: Audience,
    /// Who must get it, if still there; or who may have been meant.
    pub(crate) targets: Vec<usize>,
    /// The room and name it was sent to, for [`Audience::One`].
    pub(crate) address: Option<(String, String)>,
    pub(crate) is_refused: bool,
    heard: Vec<usize>,
}

/// All that is known outside the server.
#[derive(Default)]
pub(crate) struct RoomChecker {
    pub(crate) announces_all: bool,
    /// Everyone may be dropped for reading slowly.
    pub(crate) is_slow: bool,
    pub(crate) limits_connections: bool,
    /// Messages are told when they are kept, and so later than what was done after they were sent.
    pub(crate) has_store: bool,
    pub(crate) is_draining: bool,
    /// Everybody hears of everybody's presence.
    pub(crate) tells_presence: bool,
    pub(crate) memberships: Vec<Membership>,
    /// Each message of each room: its id, its content and its sender's name.
    messages: BTreeMap<(String, String, u64), (String, String, String)>,
    errands: BTreeMap<String, ExpectedDelivery>,
    /// Who asked to go by which name in which room; whether it came to that, a connection that ended may not know.
    pub(crate) wishes: Vec<(usize, String, String)>,
    /// Rooms made by REST that were not closed since.
    pub(crate) made: BTreeSet<String>,
    /// All rooms made by REST: what their members are told of them can come after the answer to the call that closed them.
    pub(crate) ever_made: BTreeSet<String>,
    /// Calls that may have made or closed a room and were never answered.
    pub(crate) unknown_calls: usize,
    /// Users who said themselves how they are.
    pub(crate) chose_status: BTreeSet<String>,
    pub(crate) tally: Coverage,
    serial: u64,
}

/// Which clients are still there, for the judgement.
pub(crate) struct Present<'a> {
    pub(crate) alive: &'a dyn Fn(usize) -> bool,
    /// Whether a connection that is gone may have had this id.
    pub(crate) has_lost: &'a dyn Fn(&str) -> bool,
}

impl RoomChecker {
    pub(crate) fn new(setting: &Setting) -> Self {
        Self {
            announces_all: setting.announces_all,
            is_slow: setting.is_slow,
            has_store: setting.options.rules.has_store,
            limits_connections: setting.options.rules.connections_per_user != 0,
            tells_presence: setting.options.rules.presence_scope == Scope::Auto,
            ..Self::default()
        }
    }

    /// A number that nothing else has.
    pub(crate) fn serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    /// Notes that something was sent that must come to somebody.
    pub(crate) fn send(
        &mut self,
        key: &str,
        by: usize,
        reach: Audience,
        targets: Vec<usize>,
        address: Option<(&str, &str)>,
    ) {
        let address = address.map(|(room, name)| (room.to_owned(), name.to_owned()));
        let errand = ExpectedDelivery { by, reach, targets, address, is_refused: false, heard: Vec::new() };
        let before = self.errands.insert(key.to_owned(), errand);
        assert!(before.is_none(), "keys are unique: {key}");
    }

    pub(crate) fn has_errand(&self, key: &str) -> bool {
        self.errands.contains_key(key)
    }

    /// Something that was sent was refused.
    pub(crate) fn refuse(&mut self, key: &str) {
        if let Some(errand) = self.errands.get_mut(key) {
            errand.is_refused = true;
        }
    }

    /// Something that was sent came to a client.
    pub(crate) fn hear(&mut self, key: &str, peer: usize) {
        let errand = self.errands.get_mut(key).unwrap_or_else(|| panic!("nobody sent {key}"));
        assert!(!errand.heard.contains(&peer), "{key} came to {peer} twice");
        errand.heard.push(peer);
        assert!(errand.reach == Audience::All || errand.heard.len() == 1, "{key} came to {:?}", errand.heard);
    }

    /// A message of a room is the same for everyone who gets it.
    pub(crate) fn note_message(&mut self, at: usize, seq: u64, id: &str, content: &str, from: &str) {
        let membership = &self.memberships[at];
        let place = (membership.room.clone(), membership.epoch.clone(), seq);
        let message = (id.to_owned(), content.to_owned(), from.to_owned());
        match self.messages.get_mut(&place) {
            // Its sender is told the number and the id only.
            Some(known) if known.1.is_empty() => {
                assert_eq!(known.0, message.0, "message {seq} has one id");
                *known = message;
            }
            Some(known) if content.is_empty() => assert_eq!(known.0, message.0, "message {seq} has one id"),
            Some(known) => assert_eq!(*known, message, "message {seq} is the same for everyone"),
            None => drop(self.messages.insert(place, message)),
        }
    }

    /// Who may have gone by a name in a room.
    fn holders(&self, room: &str, name: &str) -> impl Iterator<Item = usize> {
        let held = move |own: &&Membership| own.room == *room && own.name == *name;
        let wished = move |wish: &&(usize, String, String)| wish.1 == *room && wish.2 == *name;
        let held = self.memberships.iter().filter(held).map(|own| own.peer);
        held.chain(self.wishes.iter().filter(wished).map(|wish| wish.0))
    }

    /// Everything is at rest: what was sent has come, what was told agrees.
    pub(crate) fn judge(&mut self, present: &Present<'_>) {
        for (key, errand) in &self.errands {
            self.judge_errand(key, errand, present);
        }
        for membership in self.memberships.iter().filter(|membership| membership.end == End::Open) {
            self.judge_member(membership);
        }
        // Whose message it is, and who is told of it, depends on when it was sent; what it is told after, on when it is
        // kept.
        if self.has_store {
            return;
        }
        let mut compared = 0;
        for (at, a) in self.memberships.iter().enumerate() {
            let same = |b: &&Membership| a.room == b.room && a.epoch == b.epoch && a.peer != b.peer;
            compared +=
                self.memberships[at + 1..].iter().filter(same).filter(|b| compare(a, b, self.announces_all)).count();
        }
        if compared > 0 {
            self.tally.count("two peers compared");
        }
    }

    fn judge_errand(&self, key: &str, errand: &ExpectedDelivery, present: &Present<'_>) {
        if errand.is_refused {
            assert!(errand.heard.is_empty(), "{key} was refused and came to {:?}", errand.heard);
            return;
        }
        if !(present.alive)(errand.by) {
            return;
        }
        match (&errand.address, errand.reach) {
            (Some((room, name)), _) if errand.heard.is_empty() => {
                let has_lost = self.holders(room, name).any(|peer| !(present.alive)(peer));
                let has_lost = has_lost || (present.has_lost)(name);
                assert!(has_lost, "{key}, sent to {name} in {room} by {}, came to nobody", errand.by);
            }
            _ => {
                for target in errand.targets.iter().filter(|target| (present.alive)(**target)) {
                    assert!(errand.heard.contains(target), "{key} did not come to {target}");
                }
            }
        }
    }

    fn judge_member(&self, own: &Membership) {
        let room = (own.room.clone(), own.epoch.clone());
        let last = self.messages.range((room.0.clone(), room.1.clone(), 0)..=(room.0, room.1, u64::MAX)).next_back();
        let last = last.map_or(0, |((.., seq), _)| *seq);
        assert_eq!(own.reached(), last.max(own.start), "{} in {} has all messages", own.name, own.room);
        let others: BTreeSet<&str> = self.members(&own.room).filter(|name| *name != own.name).collect();
        let members = others.len() as u64 + 1;
        // Of more named users than members it is told once; those who come and go after that do not change it.
        let may_lag =
            self.ever_made.contains(&own.room) && (members..=members + USERS.len() as u64).contains(&own.count);
        let is_right = may_lag || self.is_count(&own.room, own.count, members);
        assert!(is_right, "{} in {} knows of {} members, not {members}", own.name, own.room, own.count);
        if self.announces_all {
            let known: BTreeSet<&str> = own.view.keys().map(String::as_str).collect();
            assert_eq!(known, others, "{} in {} knows who is there", own.name, own.room);
        }
    }

    /// Who is in a room, by what each of them knows of itself.
    pub(crate) fn members(&self, room: &str) -> impl Iterator<Item = &str> {
        let is_member = move |own: &&Membership| own.room == *room && own.end == End::Open;
        self.memberships.iter().filter(is_member).map(|own| own.name.as_str())
    }

    /// Whether a room may be said to have `count` participants: its members, or in one that was made by REST the users
    /// who were named for it, if they are more.
    pub(crate) fn is_count(&self, room: &str, count: u64, members: u64) -> bool {
        let named = if self.ever_made.contains(room) { USERS.len() as u64 } else { 0 };
        count == members || (members < count && 1 < count && count <= named)
    }

    /// The rooms that have members.
    pub(crate) fn rooms(&self) -> BTreeSet<String> {
        let open = self.memberships.iter().filter(|own| own.end == End::Open);
        open.map(|own| own.room.clone()).collect()
    }
}
