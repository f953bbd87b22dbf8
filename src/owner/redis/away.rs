//! Rooms while Redis is away, and acts on them that it may or may not have done.
//!
//! Members of one node may go on signaling to each other: the node knows who they are. Whoever leaves meanwhile is no
//! member here any more, and Redis is told when it is back. All else is refused.
//!
//! Redis may also be there and [keep nothing new](crate::mail::redis::State::Full). Every act that it would have to write
//! something for is refused then, one by one; what only looks is done. The shards are told, so that the node does not seem
//! ready. What the node notes for itself waits, and its lease is renewed again and again: the first time that succeeds,
//! Redis takes writes again.

use crate::base::Name;
use crate::base::time::Now;
use crate::domain::event::{Event, Signaled};
use crate::domain::op::{RelaySignal, Reply, RoomOp};
use crate::domain::reject::{Code, Reject};
use crate::message::redis::{Bytes, CallError, RedisState};
use crate::message::{Outgoing, Requester, ShardMessage};
use crate::owner::redis::gaps::{MISSING_MS, Search};
use crate::owner::redis::rooms::{Due, Purpose, Waiting};
use crate::owner::redis::subscription::Followed;
use crate::owner::redis::{ANSWER_MS, Due as Any, Outcome, Purpose as ScriptCall, RedisOwner};

/// What an answer begins with that says so.
const UNSETTLED: &[u8] = b"{\"x\":\"unsettled\"";

impl RedisOwner {
    pub(super) fn room_op_while_away(&mut self, name: Name, op: RoomOp, out: &mut Vec<Outgoing>) -> Outcome {
        match op {
            RoomOp::RelaySignal(signal) => self.signal_here(&name, *signal, out).map(Some),
            RoomOp::RemoveMember { connection } | RoomOp::StartGrace { connection } => {
                if let Some(room) = self.rooms.get_mut(&name) {
                    room.go(connection);
                }
                self.owed.insert((name, connection));
                Ok(Some(Reply::Done))
            }
            _ => Err(Reject::storage_unavailable()),
        }
    }

    /// Passes a signaling message on between two members of this node.
    fn signal_here(&mut self, name: &Name, signal: RelaySignal, out: &mut Vec<Outgoing>) -> Result<Reply, Reject> {
        let room = self.rooms.get(name).ok_or_else(Reject::storage_unavailable)?;
        let sender = room.member(signal.connection).ok_or_else(Reject::not_in_room)?;
        let own = signal.connection.text();
        if signal.from.as_deref().is_some_and(|from| !sender.is(from) && from != own.as_str()) {
            return Err(Reject::peer_mismatch("fromPeerId"));
        }
        // Whoever is not here may be in the room all the same.
        let (connection, to) = room.named(&signal.to).ok_or_else(Reject::storage_unavailable)?;
        let (from, to) = (sender.clone(), to.clone());
        let RelaySignal { signal, body, .. } = signal;
        let event = Event::Signal(Box::new(Signaled { room: name.clone(), from, to, signal, body }));
        out.push((connection.place().shard, ShardMessage::Deliver { to: connection, event }));
        Ok(Reply::Done)
    }

    /// There is no answer to an act, which Redis may have done: nobody is left a member who does not know of it.
    pub(super) fn room_unanswered(
        &mut self,
        now: Now,
        to: Option<Requester>,
        name: &Name,
        purpose: &Purpose,
        fault: &CallError,
        out: &mut Vec<Outgoing>,
    ) {
        match purpose {
            Purpose::Join(connection)
            | Purpose::Return(connection)
            | Purpose::Vanish(connection)
            | Purpose::Lose(connection) => {
                self.owed.insert((name.clone(), *connection));
                self.due_in(now, ANSWER_MS, Any::Waiting);
            }
            Purpose::Since => {
                if let Some(room) = self.rooms.get_mut(name) {
                    (room.search, room.is_unsure) = (Search::None, true);
                    self.due_in(now, MISSING_MS, Any::Room(name.clone(), Due::Missing));
                }
            }
            _ => {}
        }
        let reject = match fault {
            CallError::Away | CallError::Full(_) => Reject::storage_unavailable(),
            CallError::Rejected(_) => Reject::new(Code::Internal, "The store could not do that"),
        };
        Self::answer(to, Err(reject), out);
    }

    /// What has been answered does not wait for facts that cannot come for now. Who has become a member without them begins
    /// anew.
    pub(super) fn release_answers(&mut self, now: Now, out: &mut Vec<Outgoing>) {
        let held = |(name, room): (&Name, &mut Followed)| (name.clone(), room.release());
        let held: Vec<_> = self.rooms.iter_mut().map(held).filter(|(_, answers)| !answers.is_empty()).collect();
        for (name, answers) in held {
            for mut answer in answers {
                if let Some((connection, _)) = answer.comes.take() {
                    answer.reply = Err(Reject::storage_unavailable());
                    self.owed.insert((name.clone(), connection));
                    self.due_in(now, ANSWER_MS, Any::Waiting);
                }
                self.give(&name, answer, out);
            }
        }
    }

    /// An outcome, unless a script refuses because what it works on is on its way to another server, or because the server
    /// that has taken a room over asks what the nodes know of it: that is said, and the act may be tried again soon.
    pub(super) fn unless_unsettled(
        &mut self,
        now: Now,
        purpose: &ScriptCall,
        outcome: Result<Bytes, CallError>,
    ) -> Result<Bytes, CallError> {
        match (purpose, &outcome) {
            (_, Ok(text)) if text.starts_with(UNSETTLED) => {
                if let ScriptCall::Room(name, purpose) = purpose
                    && !matches!(purpose, Purpose::Since)
                {
                    self.ask_anew(now, name.clone());
                }
                Err(CallError::Away)
            }
            _ => outcome,
        }
    }

    /// Redis is back: whoever has left meanwhile leaves there, too.
    pub(super) fn settle_owed(&mut self, now: Now) {
        if self.state == RedisState::Away {
            return;
        }
        for (name, connection) in std::mem::take(&mut self.owed) {
            self.call_for_room(now, name, RoomOp::RemoveMember { connection }, None);
        }
    }

    /// Whether Redis can be asked to note something.
    pub(super) fn takes_notes(&self) -> bool {
        self.state == RedisState::Good && !self.is_full
    }

    /// Redis has refused to keep something new.
    pub(super) fn note_full(&mut self, now: Now, why: &str, out: &mut Vec<Outgoing>) {
        if !std::mem::replace(&mut self.is_full, true) {
            tracing::error!(%why, "Redis takes no writes");
            out.extend(self.shards().map(|shard| (shard, ShardMessage::RedisState(RedisState::Full))));
            self.renew_soon(now);
        }
    }

    /// It has kept something.
    pub(super) fn note_kept(&mut self, out: &mut Vec<Outgoing>) {
        if std::mem::replace(&mut self.is_full, false) {
            tracing::info!("Redis takes writes again");
            out.extend(self.shards().map(|shard| (shard, ShardMessage::RedisState(RedisState::Good))));
        }
    }

    /// An act waits until its room is followed, but not for ever.
    pub(super) fn wait_for_room(&mut self, now: Now, waiting: Waiting) {
        self.due_in(now, ANSWER_MS, Any::Waiting);
        self.waiting.push(waiting);
    }

    /// Gives up on acts that have waited for too long.
    pub(super) fn give_up_waiting(&mut self, now: Now, out: &mut Vec<Outgoing>) {
        let is_late = |waiting: &mut Waiting| now.mono.saturating_sub(waiting.since) >= ANSWER_MS;
        for waiting in self.waiting.extract_if(.., is_late).collect::<Vec<_>>() {
            if matches!(waiting.op, RoomOp::Join(_) | RoomOp::Rejoin(_))
                && let Some(room) = self.rooms.get_mut(&waiting.room)
            {
                room.coming -= 1;
            }
            Self::answer(Some(waiting.to), Err(Reject::storage_unavailable()), out);
            self.follow_no_longer(&waiting.room);
        }
    }
}
