//! Acts on rooms: from answers to replies, and when these may leave.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use crate::base::Name;
use crate::base::ids::ConnectionId;
use crate::base::time::Now;
use crate::domain::event::PeerName;
use crate::domain::history::{History, Marks};
use crate::domain::op::{Reply, Sent, Typist};
use crate::domain::query::RoomRoster;
use crate::domain::recovery::Returned;
use crate::domain::reject::{Code, Reject};
use crate::message::redis::{Bytes, CallError};
use crate::message::{Outgoing, Requester};
use crate::owner::redis::gaps::{MISSING_MS, Search};
use crate::owner::redis::rooms::{Due, Purpose};
use crate::owner::redis::subscription::{Answer, Followed, Next};
use crate::owner::redis::wire::{Entry, Head, Publication, Shown, Told, Uuid2, View, Who};
use crate::owner::redis::{Due as Any, RedisOwner, refusals};

/// A room too large for announcements tells its count at most once in this many milliseconds.
const STATS_EVERY_MS: u64 = 1_000;

/// A room that some are told of how many users it has tells so at most once in this many milliseconds.
const ONLINE_EVERY_MS: u64 = 100;

#[derive(Deserialize)]
struct SentAnswer {
    id: Uuid2,
    seq: Option<u64>,
    at: u64,
}

#[derive(Deserialize)]
struct ReturnAnswer {
    #[serde(flatten)]
    view: View,
    ok: u8,
    ms: Vec<Entry>,
}

#[derive(Deserialize)]
struct PageAnswer {
    s: u64,
    l: Vec<Entry>,
    c: u8,
}

#[derive(Deserialize)]
struct TypistsAnswer {
    l: Vec<TypistAnswer>,
}

#[derive(Deserialize)]
struct TypistAnswer {
    w: Who,
    at: u64,
}

#[derive(Deserialize)]
struct MarksAnswer {
    l: Vec<(Box<str>, u64)>,
}

#[derive(Deserialize)]
struct RosterAnswer {
    #[serde(flatten)]
    room: Shown,
    t: usize,
    us: Vec<Box<str>>,
    more: u8,
}

#[derive(Deserialize)]
struct LeaveAnswer {
    own: u8,
}

impl RedisOwner {
    /// The answer to an act on a room has come, or none will.
    pub(super) fn room_answered(
        &mut self,
        now: Now,
        (to, ticket): (Option<Requester>, u32),
        name: Name,
        purpose: Purpose,
        outcome: Result<Bytes, CallError>,
        out: &mut Vec<Outgoing>,
    ) {
        if let Some(room) = self.rooms.get_mut(&name) {
            room.forget(ticket);
            if matches!(purpose, Purpose::Join(_) | Purpose::Return(_)) {
                room.coming -= 1;
            }
        }
        let text = match outcome {
            Ok(text) => text,
            Err(fault) => {
                self.room_unanswered(now, to, &name, &purpose, &fault, out);
                return self.go_on(now, &name, out);
            }
        };
        let Ok(head) = serde_json::from_slice::<Head<'_>>(&text) else {
            tracing::error!(answer = %String::from_utf8_lossy(&text), "an answer that is not understood");
            Self::answer(to, Err(unintelligible()), out);
            return self.go_on(now, &name, out);
        };
        self.note_due(now, &name, head.d);
        match purpose {
            Purpose::Since => return self.missed(now, name, &head, &text, out),
            Purpose::Online => self.look_online(now, &name, &text, out),
            Purpose::LookAfter => return self.looked_after(name, head.x),
            _ => {}
        }
        if self.is_of_no_use(now, &name, &head) {
            self.room_unanswered(now, to, &name, &purpose, &CallError::Away, out);
            return self.go_on(now, &name, out);
        }
        let field = if matches!(purpose, Purpose::Signal) { "fromPeerId" } else { "peerId" };
        let reply = match head.x {
            Some(why) => Err(refusals::of(why, field)),
            None => self.understand(&name, &purpose, &text, head.e),
        };
        let (comes, goes) = comings(&purpose, &reply);
        if let (Purpose::Lose(connection), Ok(_)) = (&purpose, &reply) {
            let grace = self.rules.presence_grace_ms;
            self.due_in(now, grace, Any::Room(name.clone(), Due::Vanish(*connection)));
        }
        if matches!(purpose, Purpose::Close) && reply.is_ok() {
            self.strike_off(name.clone());
        }
        self.place(&name, &head, Answer { to, reply, comes, goes }, out);
        self.go_on(now, &name, out);
    }

    /// Gives an answer its place among what is told in the room.
    fn place(&mut self, name: &Name, head: &Head<'_>, answer: Answer, out: &mut Vec<Outgoing>) {
        if let Some(room) = self.rooms.get_mut(name)
            && room.epoch.is_none()
            && answer.comes.is_some()
        {
            room.begin(head.e, head.z, (head.n - u64::from(head.f), seq_of(&answer.reply)));
        }
        // While nothing of the room was told here, and where an answer says nothing of it, there is nothing to wait for.
        let at_once = match self.rooms.get_mut(name) {
            Some(room) if room.epoch.as_deref() == Some(head.e) => room.take_answer(head.n, head.f == 1, answer),
            _ => Some(answer),
        };
        if let Some(answer) = at_once {
            self.give(name, answer, out);
        }
    }

    /// What an answer says.
    fn understand(&self, room: &Name, purpose: &Purpose, text: &[u8], epoch: &str) -> Result<Reply, Reject> {
        let most = self.rules.announce_limit;
        Ok(match purpose {
            Purpose::Done | Purpose::Lose(_) | Purpose::Signal | Purpose::Vanish(_) | Purpose::Close => Reply::Done,
            Purpose::Since | Purpose::Online | Purpose::Purge(_) | Purpose::LookAfter => Reply::Done,
            Purpose::Create => Reply::Room(Box::new(read::<Shown>(text)?.view(room, 0))),
            Purpose::Describe => Reply::Room(Box::new(read::<Shown>(text)?.view(room, most))),
            Purpose::Join(connection) => Reply::Joined(Box::new(read::<View>(text)?.joined(room, *connection, most))),
            Purpose::Return(connection) => {
                let answer: ReturnAnswer = read(text)?;
                let joined = answer.view.joined(room, *connection, most);
                let messages = answer.ms.into_iter().map(|entry| entry.remembered(room)).collect();
                Reply::Returned(Box::new(Returned { joined, recovered: answer.ok == 1, messages }))
            }
            Purpose::Leave(_) => Reply::Left { own: read::<LeaveAnswer>(text)?.own == 1 },
            Purpose::Send => {
                let SentAnswer { id, seq, at } = read(text)?;
                Reply::Sent(Sent { id: id.0, seq, at })
            }
            Purpose::Typists => Reply::Typists(typists(read(text)?)),
            Purpose::History { is_upward } => {
                let PageAnswer { s, l, c } = read(text)?;
                let messages = l.into_iter().map(|entry| entry.remembered(room)).collect::<Vec<_>>();
                let is_upward = *is_upward || s == 0 || messages.is_empty();
                let (room, epoch) = (room.clone(), epoch.into());
                Reply::History(Box::new(History { room, epoch, seq: s, messages, complete: c == 1, is_upward }))
            }
            Purpose::Marks(message) => Reply::Marks(Box::new(marks(room, *message, read(text)?))),
            Purpose::Roster => {
                let RosterAnswer { room: shown, t, us, more } = read(text)?;
                let users = us.iter().map(|user| (**user).into()).collect();
                Reply::Roster(Box::new(RoomRoster { room: shown.view(room, 0), total: t, users, is_more: more == 1 }))
            }
        })
    }

    /// A count is to be told at the next tick.
    fn note_due(&mut self, now: Now, name: &Name, due: u8) {
        let next = |every| now.mono - now.mono % every + every;
        if due & 1 != 0 {
            self.due.entry(next(STATS_EVERY_MS)).or_default().insert(Any::Room(name.clone(), Due::Stats));
        }
        if due & 2 != 0 {
            self.due.entry(next(ONLINE_EVERY_MS)).or_default().insert(Any::Room(name.clone(), Due::Online));
        }
    }

    /// Gives an answer, and notes what it means for the members.
    pub(super) fn give(&mut self, name: &Name, answer: Answer, out: &mut Vec<Outgoing>) {
        if let Some((connection, _)) = &answer.comes {
            self.owed.remove(&(name.clone(), *connection));
        }
        if let Some(room) = self.rooms.get_mut(name) {
            if let Some((connection, name)) = answer.comes {
                room.come(connection, name);
            }
            if let Some(connection) = answer.goes {
                room.go(connection);
            }
        }
        if let Some(connection) = answer.goes {
            self.typing.remove(&(name.clone(), connection));
        }
        Self::answer(answer.to, answer.reply, out);
    }

    /// Tells whatever is next in a room, and looks whether anything is missing.
    pub(super) fn go_on(&mut self, now: Now, name: &Name, out: &mut Vec<Outgoing>) {
        // Who has come by the act that the facts are of.
        let mut newcomer = None;
        while let Some(next) = self.rooms.get_mut(name).and_then(Followed::next) {
            match next {
                Next::Answer(answer) => {
                    newcomer = answer.comes.as_ref().map(|(connection, _)| *connection);
                    self.give(name, answer, out);
                }
                Next::Facts(told) => self.tell_room(now, name, newcomer.take(), told, out),
            }
        }
        if self.rooms.get(name).is_some_and(|room| room.is_missing() && room.search == Search::None) {
            self.due_in(now, MISSING_MS, Any::Room(name.clone(), Due::Missing));
        }
        self.follow_no_longer(name);
    }

    /// Something was published in a room.
    pub(super) fn room_published(&mut self, now: Now, name: &str, body: &[u8], out: &mut Vec<Outgoing>) {
        let name: Name = name.into();
        if !self.rooms.contains_key(&name) || self.is_marker(now, &name, body) {
            return;
        }
        let Ok(publication) = serde_json::from_slice::<Publication>(body) else {
            tracing::error!(room = %name, "a publication that is not understood");
            return;
        };
        let Some(room) = self.rooms.get_mut(&name) else { return };
        match room.sift(publication) {
            Some(publication) => self.take_publication(now, &name, publication, out),
            None if room.is_unsure => return self.ask_anew(now, name),
            None => return,
        }
        self.go_on(now, &name, out);
    }

    pub(super) fn take_publication(
        &mut self,
        now: Now,
        name: &Name,
        publication: Publication,
        out: &mut Vec<Outgoing>,
    ) {
        let Publication { n, o, t, f, .. } = publication;
        let told = Told { t, f };
        if n == 0 {
            return self.tell_room(now, name, None, told, out);
        }
        let own = o.split_once(':').filter(|(node, _)| node.parse() == Ok(self.settings.node));
        let ticket = own.and_then(|(_, ticket)| ticket.parse::<u32>().ok());
        let awaits = ticket.filter(|ticket| self.calls.contains_key(ticket));
        if let Some(room) = self.rooms.get_mut(name) {
            room.take_facts(n, told, awaits);
        }
    }

    /// A room's channel is listened to: whoever waited for that may act. After an interruption it is asked what was missed.
    pub(super) fn room_followed(&mut self, now: Now, name: &str) {
        let Some(room) = self.rooms.get_mut(name) else { return };
        room.is_heard = true;
        let is_begun = room.epoch.is_some();
        for waiting in self.waiting.extract_if(.., |waiting| *waiting.room == *name).collect::<Vec<_>>() {
            self.call_for_room(now, waiting.room, waiting.op, Some(waiting.to));
        }
        if is_begun {
            self.ask_anew(now, name.into());
        }
    }
}

/// Who is a member from an answer on, and who is one no longer.
fn comings(
    purpose: &Purpose,
    reply: &Result<Reply, Reject>,
) -> (Option<(ConnectionId, PeerName)>, Option<ConnectionId>) {
    match (purpose, reply) {
        (Purpose::Join(connection), Ok(Reply::Joined(joined))) => (Some((*connection, joined.peer.clone())), None),
        (Purpose::Return(connection), Ok(Reply::Returned(back))) => {
            (Some((*connection, back.joined.peer.clone())), None)
        }
        (Purpose::Leave(connection), Ok(Reply::Left { own: true })) => (None, Some(*connection)),
        (Purpose::Vanish(connection), _) => (None, Some(*connection)),
        _ => (None, None),
    }
}

/// The number of the last message that somebody knows who is told so.
fn seq_of(reply: &Result<Reply, Reject>) -> u64 {
    match reply {
        Ok(Reply::Joined(joined)) => joined.seq,
        Ok(Reply::Returned(returned)) => returned.joined.seq,
        _ => 0,
    }
}

pub(super) fn read<T: DeserializeOwned>(text: &[u8]) -> Result<T, Reject> {
    serde_json::from_slice(text).map_err(|error| {
        tracing::error!(%error, answer = %String::from_utf8_lossy(text), "an answer that is not understood");
        unintelligible()
    })
}

fn unintelligible() -> Reject {
    Reject::new(Code::Internal, "The store's answer is not understood")
}

/// Each user once, who began first the first.
fn typists(answer: TypistsAnswer) -> Vec<Typist> {
    let mut all = answer.l;
    all.sort_by_key(|typist| typist.at);
    let mut typists: Vec<Typist> = Vec::new();
    for TypistAnswer { w, at } in all {
        let identity: crate::domain::access::Identity = w.into();
        if !typists.iter().any(|known| known.identity.user() == identity.user()) {
            typists.push(Typist { identity, started_at: at });
        }
    }
    typists
}

/// Who received (`d` and the user) and who read (`r`) a message.
fn marks(room: &Name, message: Uuid, mut answer: MarksAnswer) -> Marks {
    answer.l.sort();
    let of = |kind: char| {
        let one = |(user, at): &(Box<str>, u64)| user.strip_prefix(kind).map(|user| (user.into(), *at));
        answer.l.iter().filter_map(one).collect()
    };
    Marks { room: room.clone(), message, delivered: of('d'), read: of('r'), complete: true }
}
