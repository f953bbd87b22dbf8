//! Rooms while Redis does not answer, and operations whose outcome is unknown.
//!
//! Members on one node can exchange signaling messages, because the node knows them. Connections that end meanwhile are
//! removed from the node's members, and from Redis when it answers again. All other operations are refused.
//!
//! Redis can also answer but [reject writes](crate::message::redis::RedisState::ReadOnly). Each operation that has to write is
//! refused then, one by one; reads succeed. The shards are informed, so that the node reports that it is not ready. Registry
//! updates wait, and the lease is renewed repeatedly: its first success shows that Redis takes writes again.

use crate::base::Name;
use crate::base::ids::ConnectionId;
use crate::domain::event::{Event, Signaled};
use crate::domain::op::{RelaySignal, Reply, RoomOp};
use crate::domain::reject::Reject;
use crate::message::redis::RedisState;
use crate::message::{Requester, ShardMessage};
use crate::owner::redis::calls::REPLY_MS;
use crate::owner::redis::deadlines::Deadline;
use crate::owner::redis::rooms::commands::RoomCall;
use crate::owner::redis::rooms::gaps::{FIND_GAPS_MS, GapSearch};
use crate::owner::redis::rooms::subscription::RoomSubscription;
use crate::owner::redis::rooms::{RoomDeadline, Rooms, WaitingOp};
use crate::owner::redis::turn::OwnerTurn;

/// Has connections of this node return by new connections: their clients recover what this node has missed.
pub(super) fn have_return(turn: &mut OwnerTurn<'_>, connections: impl IntoIterator<Item = ConnectionId>) {
    for connection in connections {
        turn.send(connection.place().shard, ShardMessage::Reconnect { connection });
    }
}

impl Rooms {
    /// Does an operation without Redis, if that is possible.
    pub(crate) fn request_offline(
        &mut self,
        turn: &mut OwnerTurn<'_>,
        name: Name,
        op: RoomOp,
    ) -> Result<Reply, Reject> {
        match op {
            RoomOp::RelaySignal(signal) => self.signal_locally(turn, &name, *signal),
            RoomOp::RemoveMember { connection } | RoomOp::StartGrace { connection } => {
                if let Some(room) = self.subscriptions.get_mut(&name) {
                    room.remove_member(connection);
                }
                self.departed.insert((name, connection));
                Ok(Reply::Done)
            }
            _ => Err(Reject::storage_unavailable()),
        }
    }

    /// Relays a signaling message between two members of this node.
    fn signal_locally(&mut self, turn: &mut OwnerTurn<'_>, name: &Name, signal: RelaySignal) -> Result<Reply, Reject> {
        let room = self.subscriptions.get(name).ok_or_else(Reject::storage_unavailable)?;
        let sender = room.member(signal.connection).ok_or_else(Reject::not_in_room)?;
        let own = signal.connection.text();
        if signal.from.as_deref().is_some_and(|from| !sender.is(from) && from != own.as_str()) {
            return Err(Reject::peer_mismatch("fromPeerId"));
        }
        // An unknown receiver can be a member on another node.
        let (connection, to) = room.named(&signal.to).ok_or_else(Reject::storage_unavailable)?;
        let (from, to) = (sender.clone(), to.clone());
        let RelaySignal { signal, body, .. } = signal;
        let event = Event::Signal(Box::new(Signaled { room: name.clone(), from, to, signal, body }));
        turn.send(connection.place().shard, ShardMessage::Deliver { to: connection, event });
        Ok(Reply::Done)
    }

    /// An operation has no answer, so Redis can have done it: a connection that can have become a member without knowing it
    /// is removed. The requester can try again.
    pub(super) fn unanswered(
        &mut self,
        turn: &mut OwnerTurn<'_>,
        to: Option<Requester>,
        name: &Name,
        purpose: &RoomCall,
    ) {
        match purpose {
            RoomCall::Join(connection) | RoomCall::Vanish(connection) | RoomCall::Lose(connection) => {
                self.depart(turn, name, *connection);
            }
            RoomCall::Return(pending) => {
                self.returning.remove(&(name.clone(), pending.connection()));
                self.depart(turn, name, pending.connection());
            }
            RoomCall::Since => {
                if let Some(room) = self.subscriptions.get_mut(name) {
                    (room.search, room.needs_check) = (GapSearch::None, true);
                    turn.after(FIND_GAPS_MS, Deadline::Room(name.clone(), RoomDeadline::FindGaps));
                }
            }
            RoomCall::Done
            | RoomCall::Signal
            | RoomCall::Send
            | RoomCall::Publish(_)
            | RoomCall::Create(_)
            | RoomCall::Leave(_) => {}
            RoomCall::Close(_) | RoomCall::Typists | RoomCall::History { .. } | RoomCall::Marks(_) => {}
            RoomCall::Describe | RoomCall::Update | RoomCall::Roster | RoomCall::Online | RoomCall::Unread => {}
            RoomCall::EndIdle => turn.node.registry.room_rests(name),
            RoomCall::Purge(_) | RoomCall::CheckListed | RoomCall::CheckMade(_) => {}
        }
        turn.reply(to, Err(Reject::storage_unavailable()));
    }

    /// A connection is not a member here, but Redis may have it as one: it is removed there.
    pub(super) fn depart(&mut self, turn: &mut OwnerTurn<'_>, name: &Name, connection: ConnectionId) {
        self.departed.insert((name.clone(), connection));
        turn.after(REPLY_MS, Deadline::WaitingOps);
    }

    /// The script of an operation did not begin, because the room changes its server: the node reports what it knows of the
    /// room, and the operation can be tried again.
    pub(crate) fn unsettled(&mut self, turn: &mut OwnerTurn<'_>, name: &Name, purpose: &RoomCall) {
        if !matches!(purpose, RoomCall::Since) {
            self.check_missed(turn, name.clone());
        }
    }

    /// Releases all replies that wait for events, because no events come for now. A join among them fails: the new member
    /// would start without these events.
    pub(crate) fn release_replies(&mut self, turn: &mut OwnerTurn<'_>) {
        let waiting = |(name, room): (&Name, &mut RoomSubscription)| (name.clone(), room.release_replies());
        let waiting: Vec<_> = self.subscriptions.iter_mut().map(waiting).collect();
        for (name, replies) in waiting {
            for mut reply in replies {
                if let Some((connection, _)) = reply.joins.take() {
                    reply.reply = Err(Reject::storage_unavailable());
                    self.depart(turn, &name, connection);
                }
                self.release(turn, &name, reply);
            }
            self.unsubscribe_if_unused(turn, &name);
        }
    }

    /// Removes departed members in Redis, if it answers.
    pub(crate) fn remove_departed(&mut self, turn: &mut OwnerTurn<'_>) {
        if turn.node.redis != RedisState::Unreachable {
            for (name, connection) in std::mem::take(&mut self.departed) {
                self.call(turn, name, RoomOp::RemoveMember { connection }, None);
            }
        }
    }

    /// Fails operations that have waited too long for a subscription.
    pub(crate) fn expire_waiting(&mut self, turn: &mut OwnerTurn<'_>) {
        let now = turn.now.mono;
        let is_late = |waiting: &mut WaitingOp| now.saturating_sub(waiting.since) >= REPLY_MS;
        for waiting in self.waiting.extract_if(.., is_late).collect::<Vec<_>>() {
            if matches!(waiting.op, RoomOp::Join(_) | RoomOp::Rejoin(_))
                && let Some(room) = self.subscriptions.get_mut(&waiting.room)
            {
                room.end_arrival();
            }
            turn.reply(Some(waiting.to), Err(Reject::storage_unavailable()));
            self.unsubscribe_if_unused(turn, &waiting.room);
        }
    }
}
