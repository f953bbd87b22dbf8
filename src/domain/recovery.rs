//! Recovery of a lost connection: the operations on its session, and the return of its successor to a room.
//!
//! A lost connection stays a member for the grace period ([`crate::domain::op::RoomRules::presence_grace_ms`]). A successor
//! that returns within it takes over the membership, without an event for the others. Later, until the recovery window
//! ends, it joins again. In both cases it gets the messages it has missed from the log.

use crate::base::Name;
use crate::base::ids::ConnectionId;
use crate::domain::access::Identity;
use crate::domain::call;
use crate::domain::event::{Joined, Message, PeerName};
use crate::domain::op::{JoinRoom, OpContext};
use crate::domain::record::{Session, TokenHash};
use crate::domain::reject::Reject;
use crate::domain::room::Room;

/// An operation on a recoverable session.
#[derive(Debug)]
pub enum SessionOp {
    /// Store it, or its present state.
    Save(Box<Session>),
    /// Use it up and return it.
    Take {
        /// The hash of its recovery token.
        token: TokenHash,
        /// The claiming user: a session that [`Identity::may_recover`] excludes stays where it is.
        by: Identity,
    },
    /// Move it from one connection to the next, which keeps it under the same token.
    Transfer {
        /// The hash of its recovery token.
        token: TokenHash,
        /// The claiming user: a session of another user stays where it is.
        by: Name,
        /// The connection that has it. A session of another connection is returned and stays where it is.
        from: ConnectionId,
        /// The connection that gets it.
        to: ConnectionId,
    },
    /// Delete it until its connection stores it again.
    Clear {
        /// The hash of its recovery token.
        token: TokenHash,
    },
    /// Delete it for good.
    Delete {
        /// The hash of its recovery token.
        token: TokenHash,
    },
}

/// See [`crate::domain::op::RoomOp::Rejoin`].
#[derive(Debug)]
pub struct Returning {
    /// The connection that was lost.
    pub former: ConnectionId,
    /// The join if the membership has ended.
    pub join: JoinRoom,
    /// The position of the last message that the client has: the run of the room's log, and the sequence number in it.
    pub epoch: Name,
    /// See `epoch`.
    pub seq: u64,
}

/// The reply to a return.
#[derive(Clone, Debug)]
pub struct Returned {
    /// The present view of the room.
    pub joined: Joined,
    /// Whether the client has, with `messages`, all messages up to `joined.seq`.
    pub recovered: bool,
    /// The missed messages, oldest first.
    pub messages: Vec<Message>,
}

impl Returned {
    /// Drops the messages that the client has sent itself: those of its user under its name in the room, which may be the
    /// lost connection's id.
    pub fn drop_own(&mut self, user: &str, former: ConnectionId) {
        let own = &self.joined.peer;
        self.messages.retain(|message| {
            let is_own = |name: &PeerName| name.with(|name| own.is(name)) || *name == PeerName::Own(former);
            message.sender.user() != user || !is_own(&message.from)
        });
    }

    /// Drops the missed messages, which are too large for one reply; their number.
    pub fn give_up(&mut self) -> usize {
        self.recovered = false;
        std::mem::take(&mut self.messages).len()
    }
}

impl Room {
    /// Moves the membership of a former connection of the same user to a connection, or lets the connection join.
    pub(crate) fn rejoin(&mut self, back: Returning, context: &mut OpContext<'_>) -> Result<Returned, Reject> {
        let connection = back.join.connection;
        let own = self.members.position(back.former);
        let own = own.filter(|at| self.members.list[*at].identity.user() == back.join.by.user());
        let joined = match own {
            Some(at) if self.members.of(back.join.connection).is_none() => {
                self.members.move_to(at, back.join.connection);
                let member = &mut self.members.list[at];
                member.identity = back.join.by;
                self.joined(back.join.connection, context)
            }
            _ => self.join(back.join, context)?,
        };
        call::tell_to(self, connection, context);
        let recovered = joined.epoch == back.epoch && joined.seq == back.seq;
        Ok(Returned { joined: *joined, recovered, messages: Vec::new() })
    }
}
