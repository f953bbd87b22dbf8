//! A room as a node with members in it follows it: in the order of its facts' numbers, whichever way they come.
//!
//! What is published in a room and the answers to this node's own acts come by different connections, so either may be
//! first. Each answer names the number of the room's last facts; it leaves before the facts that its act caused, if it
//! caused any, and behind all others up to that number. A number that does not come is asked for; see
//! [`crate::owner::redis::gaps`].

use std::collections::BTreeMap;

use smallvec::SmallVec;

use crate::base::Name;
use crate::base::ids::ConnectionId;
use crate::domain::event::PeerName;
use crate::domain::op::Reply;
use crate::domain::reject::Reject;
use crate::message::{Requester, ShardNumber};
use crate::owner::redis::gaps::Search;
use crate::owner::redis::wire::{Publication, Told};

/// How many facts are kept that come ahead of missing ones. The rest is asked for like those.
const AHEAD_MAX: usize = 4_096;

/// A room with members on this node, or with some on their way in.
#[derive(Default)]
pub(super) struct Followed {
    /// The members on this node, and what they are called in the room.
    pub(super) members: Vec<(ConnectionId, PeerName)>,
    /// Acts of members-to-be that are under way, for which the room is followed although none is in it yet.
    pub(super) coming: usize,
    /// Whether somebody here became a member by an act on another node, and what is known of that is on its way.
    pub(super) is_entering: bool,
    /// Whether the channel is listened to; until then acts that begin memberships wait.
    pub(super) is_heard: bool,
    /// How far it is with what is missing.
    pub(super) search: Search,
    /// Whether that is to be asked, again if need be, although no number seems to be missing.
    pub(super) is_unsure: bool,
    /// Which run of its log the numbers are of; `None` before the first answer.
    pub(super) epoch: Option<Name>,
    /// Which of the servers that have kept the room, one after the other, what is known comes from.
    pub(super) server: u64,
    /// The number of the last facts that were told.
    pub(super) last: u64,
    /// The number of the last message that was told.
    pub(super) seq: u64,
    /// What comes behind that, by number.
    ahead: BTreeMap<u64, Entry>,
    /// What a later server has said, until that one was asked what was missed: its numbers may mean something else.
    later: Vec<Publication>,
}

/// What is to be told at one number.
#[derive(Default)]
struct Entry {
    /// The answer to the act that caused the facts.
    cause: Option<Answer>,
    /// Whether the act that caused them is this node's, and its answer is still awaited: its ticket.
    awaits: Option<u32>,
    facts: Option<Told>,
    /// Answers to acts that caused none.
    answers: Vec<Answer>,
}

/// An answer, and what it means for the room's members.
pub(super) struct Answer {
    /// Whom it is for.
    pub(super) to: Option<Requester>,
    /// What they are told.
    pub(super) reply: Result<Reply, Reject>,
    /// A connection that is a member from then on.
    pub(super) comes: Option<(ConnectionId, PeerName)>,
    /// A connection that is one no longer.
    pub(super) goes: Option<ConnectionId>,
}

/// Something that is next.
pub(super) enum Next {
    Answer(Answer),
    Facts(Told),
}

impl Followed {
    /// One that somebody enters by an act on another node, as of these facts and messages.
    pub(super) fn entered(epoch: &str, server: u64, known: (u64, u64)) -> Self {
        let mut room = Self { is_entering: true, ..Self::default() };
        room.begin(epoch, server, known);
        room
    }

    /// The shards of this node that hold members, each once.
    pub(super) fn shards(&self) -> SmallVec<[ShardNumber; 4]> {
        let mut shards = SmallVec::new();
        for shard in self.members.iter().map(|(member, _)| member.place().shard) {
            if !shards.contains(&shard) {
                shards.push(shard);
            }
        }
        shards
    }

    /// Whether some members on this node are Socket.IO peers.
    pub(super) fn has_peers(&self) -> bool {
        self.members.iter().any(|(member, _)| member.is_peer())
    }

    /// A connection is a member from now on.
    pub(super) fn come(&mut self, connection: ConnectionId, name: PeerName) {
        match self.members.iter_mut().find(|(member, _)| *member == connection) {
            Some(member) => member.1 = name,
            None => self.members.push((connection, name)),
        }
    }

    /// A connection is a member no longer.
    pub(super) fn go(&mut self, connection: ConnectionId) {
        self.members.retain(|(member, _)| *member != connection);
    }

    /// What a member on this node is called.
    pub(super) fn member(&self, connection: ConnectionId) -> Option<&PeerName> {
        self.members.iter().find(|(member, _)| *member == connection).map(|(_, name)| name)
    }

    /// The member on this node that is called so.
    pub(super) fn named(&self, name: &str) -> Option<(ConnectionId, &PeerName)> {
        self.members.iter().find(|(_, known)| known.is(name)).map(|(member, known)| (*member, known))
    }

    /// Whether nobody here has to do with the room any more.
    pub(super) fn is_over(&self) -> bool {
        self.members.is_empty()
            && self.coming == 0
            && !self.is_entering
            && self.ahead.values().all(|entry| entry.is_idle())
    }

    /// Begins with what is known as of these facts and messages.
    pub(super) fn begin(&mut self, epoch: &str, server: u64, (last, seq): (u64, u64)) {
        self.epoch = Some(epoch.into());
        self.server = server;
        (self.last, self.seq) = (last, seq);
        self.ahead = self.ahead.split_off(&(last + 1));
        self.later.retain(|said| said.z > server);
    }

    /// Whether an answer in this epoch is that of another server than what is known here comes from, so that its numbers may
    /// mean something else.
    pub(super) fn is_of_another(&self, epoch: &str, server: u64) -> bool {
        self.epoch.as_deref() == Some(epoch) && server != self.server
    }

    /// What was published, if it comes from the server that what is known comes from. What a later one says has to wait until
    /// that one was asked what was missed; what a former one says is of no use any more.
    pub(super) fn sift(&mut self, publication: Publication) -> Option<Publication> {
        if self.epoch.is_none() || publication.z == self.server {
            return Some(publication);
        }
        if publication.z > self.server && self.later.len() < AHEAD_MAX {
            self.later.push(publication);
            self.is_unsure = true;
        }
        None
    }

    /// This server was asked what was missed: what it had said is taken. If another one has said more, that has to be asked.
    pub(super) fn agree(&mut self, server: u64) -> Vec<Publication> {
        self.server = server;
        let (said, later) = std::mem::take(&mut self.later).into_iter().partition(|said| said.z <= server);
        self.later = later;
        self.is_unsure |= !self.later.is_empty();
        said
    }

    /// Takes an answer whose act the room had come to number `at` by; `has_facts` if those are its own.
    pub(super) fn take_answer(&mut self, at: u64, has_facts: bool, answer: Answer) -> Option<Answer> {
        if at <= self.last {
            return Some(answer);
        }
        let entry = self.ahead.entry(at).or_default();
        if has_facts {
            entry.awaits = None;
            entry.cause = Some(answer);
        } else {
            entry.answers.push(answer);
        }
        None
    }

    /// Takes facts. `awaits` is the ticket of this node's own call that caused them, if that is not answered yet.
    pub(super) fn take_facts(&mut self, number: u64, told: Told, awaits: Option<u32>) {
        let is_full = self.ahead.len() >= AHEAD_MAX;
        let is_last = || self.ahead.last_key_value().is_none_or(|(last, _)| *last < number);
        if number <= self.last || (is_full && is_last()) {
            return;
        }
        let entry = self.ahead.entry(number).or_default();
        if entry.facts.is_none() {
            entry.awaits = awaits.filter(|_| entry.cause.is_none());
            entry.facts = Some(told);
        }
    }

    /// A call will not be answered: nothing waits for it any more.
    pub(super) fn forget(&mut self, ticket: u32) {
        for entry in self.ahead.values_mut().filter(|entry| entry.awaits == Some(ticket)) {
            entry.awaits = None;
        }
    }

    /// What is next, in order; nothing while something before it is missing.
    pub(super) fn next(&mut self) -> Option<Next> {
        loop {
            let mut first = self.ahead.first_entry()?;
            let number = *first.key();
            let entry = first.get_mut();
            if number <= self.last {
                // Its facts are told, so its answers may leave.
                let answer =
                    entry.cause.take().or_else(|| (!entry.answers.is_empty()).then(|| entry.answers.remove(0)));
                match answer {
                    Some(answer) => return Some(Next::Answer(answer)),
                    None => first.remove(),
                };
                continue;
            }
            if number != self.last + 1 || entry.awaits.is_some() {
                return None;
            }
            if entry.facts.is_some()
                && let Some(cause) = entry.cause.take()
            {
                return Some(Next::Answer(cause));
            }
            let told = entry.facts.take()?;
            self.last = number;
            return Some(Next::Facts(told));
        }
    }

    /// Whether something waits for facts that have not come.
    pub(super) fn is_missing(&self) -> bool {
        self.ahead.first_key_value().is_some_and(|(_, entry)| entry.awaits.is_none())
    }

    /// All answers that wait; the facts around them go on waiting for what is missing.
    pub(super) fn release(&mut self) -> Vec<Answer> {
        let all = self.ahead.values_mut();
        all.flat_map(|entry| entry.cause.take().into_iter().chain(std::mem::take(&mut entry.answers))).collect()
    }

    /// The same, and nothing is waited for any more.
    pub(super) fn give_up(&mut self) -> Vec<Answer> {
        let answers = self.release();
        self.ahead.clear();
        answers
    }
}

impl Entry {
    fn is_idle(&self) -> bool {
        self.cause.is_none() && self.answers.is_empty() && self.awaits.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(ask: u32) -> Answer {
        Answer { to: Some(Requester { shard: 0, ask }), reply: Ok(Reply::Done), comes: None, goes: None }
    }

    fn facts(t: u64) -> Told {
        Told { t, f: Vec::new() }
    }

    /// Everything that is next: answers by their ask, facts by their time and negative.
    fn told(room: &mut Followed) -> Vec<i64> {
        std::iter::from_fn(|| room.next())
            .map(|next| match next {
                Next::Answer(answer) => answer.to.map_or(0, |to| i64::from(to.ask)),
                Next::Facts(told) => -(told.t as i64),
            })
            .collect()
    }

    #[test]
    fn an_answer_goes_before_the_facts_it_caused_and_behind_all_others() {
        let mut room = Followed::default();
        room.begin("e", 0, (4, 0));
        room.take_facts(6, facts(6), Some(9));
        room.take_facts(5, facts(5), None);
        assert_eq!(told(&mut room), [-5], "6 is this node's own, and its answer has not come");
        assert!(!room.is_missing());
        assert!(room.take_answer(6, true, answer(60)).is_none());
        assert!(room.take_answer(7, false, answer(70)).is_none());
        assert_eq!(told(&mut room), [60, -6]);
        assert!(room.is_missing());
        room.take_facts(7, facts(7), None);
        assert_eq!(told(&mut room), [-7, 70]);
        assert!(room.take_answer(7, false, answer(71)).is_some(), "it need not wait");
        room.take_facts(7, facts(7), None);
        assert!(told(&mut room).is_empty(), "once");
        assert!(!room.is_missing() && room.is_over());
    }

    #[test]
    fn nothing_waits_for_a_call_that_is_given_up() {
        let mut room = Followed::default();
        room.begin("e", 0, (0, 0));
        room.take_facts(1, facts(1), Some(9));
        assert!(told(&mut room).is_empty());
        room.forget(9);
        assert_eq!(told(&mut room), [-1]);
    }

    #[test]
    fn what_is_missing_finds_its_place_however_much_is_ahead() {
        let mut room = Followed::default();
        room.begin("e", 0, (0, 0));
        let most = AHEAD_MAX as u64;
        (2..most + 100).for_each(|number| room.take_facts(number, facts(number), None));
        assert!(told(&mut room).is_empty() && room.is_missing());
        room.take_facts(1, facts(1), None);
        assert_eq!(told(&mut room).len() as u64, most + 1, "those behind are dropped");
    }

    #[test]
    fn what_came_before_the_beginning_is_left_out() {
        let mut room = Followed::default();
        for number in 1..=4 {
            room.take_facts(number, facts(number), None);
        }
        room.begin("e", 0, (2, 0));
        assert_eq!(told(&mut room), [-3, -4]);
    }
}
