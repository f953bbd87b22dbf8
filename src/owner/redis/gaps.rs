//! What is missing of a room's facts: whether it is late or lost, and how it is got.
//!
//! Facts that do not come in time may only be late: under load much waits on its way here. So this node publishes a marker
//! in the room, by the same way as everything else there. What has not come before the marker will not come any more, and
//! is asked for.

use std::collections::BTreeSet;

use serde::Deserialize;

use crate::base::Name;
use crate::base::ids::random_word;
use crate::base::time::Now;
use crate::domain::event::Event;
use crate::domain::op::RoomOp;
use crate::message::redis::{Bytes, RedisCommand};
use crate::message::{Outgoing, ShardMessage};
use crate::owner::redis::room_answers::read;
use crate::owner::redis::rooms::{Due, Purpose};
use crate::owner::redis::wire::{self, Head, Publication};
use crate::owner::redis::{Due as Any, RedisOwner, scripts};

/// Facts that have not come after so many milliseconds are looked for.
pub(super) const MISSING_MS: u64 = 200;

/// How long a marker may take, in milliseconds, before nothing more is expected by its way.
const MARKER_MS: u64 = 1_500;

/// How far a room is with what is missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Search {
    /// Nothing is, or not for long.
    #[default]
    None,
    /// A marker is on its way.
    Marked {
        /// Since when, in monotonic milliseconds.
        since: u64,
        /// The number of the last facts that were told by then.
        last: u64,
    },
    /// What is missing was asked for.
    Asked,
}

/// What begins every node's marker.
const MARKER: &[u8] = b"{\"z\":";

#[derive(Deserialize)]
struct SinceAnswer {
    l: Vec<Publication>,
}

impl RedisOwner {
    /// Facts have not come in time, or it is not sure whether all have.
    pub(super) fn look_for_missing(&mut self, now: Now, name: Name) {
        let marker = self.marker();
        let Some(room) = self.rooms.get_mut(&name).filter(|room| room.search != Search::Asked) else { return };
        if room.is_unsure && room.epoch.is_some() {
            return self.ask_missed(now, name);
        }
        match room.search {
            _ if !room.is_missing() => {}
            Search::None => {
                room.search = Search::Marked { since: now.mono, last: room.last };
                self.demands.push(RedisCommand::Publish { channel: self.keys.room(&name), body: marker });
                self.due_in(now, MARKER_MS, Any::Room(name, Due::Missing));
            }
            Search::Marked { since, .. } if now.mono - since >= MARKER_MS => self.ask_missed(now, name),
            Search::Marked { .. } | Search::Asked => {}
        }
    }

    /// What this node publishes to know that all before it has come.
    fn marker(&self) -> Bytes {
        let mut marker = MARKER.to_vec();
        marker.extend_from_slice(format!("{}}}", self.settings.node).as_bytes());
        marker.into()
    }

    /// Takes what was published if it is a marker, which only who has sent it has any use for.
    pub(super) fn is_marker(&mut self, now: Now, name: &Name, body: &[u8]) -> bool {
        if !body.starts_with(MARKER) {
            return false;
        }
        let is_own = *self.marker() == *body;
        if is_own
            && let Some(room) = self.rooms.get_mut(name)
            && let Search::Marked { last, .. } = room.search
        {
            room.search = Search::None;
            match room.is_missing() {
                true if room.last == last => self.ask_missed(now, name.clone()),
                // What is missing now may have been published behind the marker.
                true => self.due_in(now, MISSING_MS, Any::Room(name.clone(), Due::Missing)),
                false => {}
            }
        }
        true
    }

    /// Asks what was missed, until that is answered.
    pub(super) fn ask_anew(&mut self, now: Now, name: Name) {
        if let Some(room) = self.rooms.get_mut(&name).filter(|room| room.epoch.is_some()) {
            room.is_unsure = true;
            if room.search != Search::Asked {
                self.ask_missed(now, name);
            }
        }
    }

    fn ask_missed(&mut self, now: Now, name: Name) {
        let Some(room) = self.rooms.get_mut(&name) else { return };
        (room.search, room.is_unsure) = (Search::Asked, false);
        let epoch = wire::text(room.epoch.as_deref().unwrap_or_default());
        let [last, seq, server] = [room.last, room.seq, room.server].map(wire::number);
        let next = wire::text(random_word(&mut self.rng, 8));
        self.call_room(now, name, &scripts::SINCE, Purpose::Since, vec![last, seq, epoch, server, next], None);
    }

    /// Whether an answer is that of another server than what is known here comes from, so that its numbers may mean something
    /// else. Whatever an answer gives reason to doubt is looked at.
    pub(super) fn is_of_no_use(&mut self, now: Now, name: &Name, head: &Head<'_>) -> bool {
        if self.belies(name, head) {
            self.doubt(now, name.clone());
            return false;
        }
        let Some(room) = self.rooms.get(name).filter(|room| room.is_of_another(head.e, head.z)) else { return false };
        if head.z > room.server {
            self.ask_anew(now, name.clone());
        }
        true
    }

    /// Whether an answer says that a room with members here is not there, or another one of its name.
    fn belies(&self, name: &Name, head: &Head<'_>) -> bool {
        let Some(room) = self.rooms.get(name).filter(|room| !room.members.is_empty() && room.search != Search::Asked)
        else {
            return false;
        };
        let is_another = !head.e.is_empty() && room.epoch.as_deref().is_some_and(|known| known != head.e);
        is_another || head.x == Some("room_not_found")
    }

    /// Redis may have lost this room, or everything: it is asked for both, in this order, without waiting for the next
    /// renewal of the lease.
    fn doubt(&mut self, now: Now, name: Name) {
        self.renew_soon(now);
        self.ask_missed(now, name);
    }

    /// What was missed is here. What is not kept any more is lost to those who are here: they are told that the room has
    /// ended, which is what it looks like to them, and may join anew.
    pub(super) fn missed(&mut self, now: Now, name: Name, head: &Head<'_>, text: &[u8], out: &mut Vec<Outgoing>) {
        let Some(room) = self.rooms.get_mut(&name) else { return };
        room.search = Search::None;
        room.is_entering = false;
        let before = room.last;
        let is_same = head.x.is_none() && room.epoch.as_deref() == Some(head.e);
        if is_same && head.z < room.server {
            // It answers although another server has its place: the connection is about to end.
            room.is_unsure = true;
            return self.due_in(now, MISSING_MS, Any::Room(name, Due::Missing));
        }
        if is_same && let Ok(SinceAnswer { l }) = read(text) {
            let later = room.agree(head.z);
            for publication in l.into_iter().chain(later) {
                self.take_publication(now, &name, publication, out);
            }
            self.go_on(now, &name, out);
            match self.rooms.get(&name) {
                Some(room) if room.is_unsure => return self.due_in(now, MISSING_MS, Any::Room(name, Due::Missing)),
                Some(room) if room.last >= head.n => return,
                // One answer does not hold any number of messages.
                Some(room) if room.last > before => return self.ask_missed(now, name),
                Some(room) if room.is_missing() => {}
                _ => return,
            }
        }
        self.lose_room(now, &name, is_same, out);
    }

    /// Gives up a room, as far as this node is concerned.
    pub(super) fn lose_room(&mut self, now: Now, name: &Name, is_there: bool, out: &mut Vec<Outgoing>) {
        let Some(room) = self.rooms.get_mut(name) else { return };
        let answers = room.give_up();
        let members = std::mem::take(&mut room.members);
        let shards: BTreeSet<u8> = members.iter().map(|(member, _)| member.place().shard).collect();
        for answer in answers {
            Self::answer(answer.to, answer.reply, out);
        }
        let event = Event::Closed { room: name.clone(), reason: "the room's messages were lost".into() };
        let packed = self.pack(now, &event, true);
        for shard in shards {
            out.push((shard, ShardMessage::Close { room: name.clone(), packed: packed.clone() }));
        }
        if is_there {
            for (connection, _) in members {
                self.call_for_room(now, name.clone(), RoomOp::RemoveMember { connection }, None);
            }
        }
        if let Some(room) = self.rooms.get_mut(name) {
            room.epoch = None;
        }
        self.follow_no_longer(name);
    }
}
