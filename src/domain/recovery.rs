//! Coming back after a lost connection: what is noted of a connection beforehand, and how its successor takes its place.
//!
//! A connection that is lost stays a member for the grace period ([`crate::domain::op::RoomRules::presence_grace_ms`]); whoever
//! comes back within it takes the place over without a word to the others. Later, and until the recovery window is over,
//! it joins anew. Either way it gets what it missed, from the log.

use crate::base::Name;
use crate::base::ids::ConnectionId;
use crate::domain::event::{Joined, Message};
use crate::domain::op::{JoinRoom, OpContext, Reply};
use crate::domain::record::{Session, TokenHash};
use crate::domain::reject::Reject;
use crate::domain::room::Room;

/// An act on what it takes to bring a lost connection back.
#[derive(Debug)]
pub enum SessionOp {
    /// Keep it, or keep it as it is now.
    Save(Box<Session>),
    /// Use it up.
    Take {
        /// What opens it.
        token: TokenHash,
    },
    /// Pass it on from one connection to the next, which keeps it under the same token.
    Transfer {
        /// What opens it.
        token: TokenHash,
        /// Who claims it; nobody else's is passed on.
        by: Name,
        /// The connection that has it. When another one has, that one's session is the answer, and stays where it is.
        from: ConnectionId,
        /// The connection that is to have it.
        to: ConnectionId,
    },
    /// Keep it no longer until there is something to come back to.
    Clear {
        /// What opens it.
        token: TokenHash,
    },
    /// Keep it no longer.
    Delete {
        /// What opens it.
        token: TokenHash,
    },
}

/// See [`crate::domain::op::RoomOp::Rejoin`].
#[derive(Debug)]
pub struct Returning {
    /// The connection that was lost.
    pub former: ConnectionId,
    /// How to join if its place is no longer there.
    pub join: JoinRoom,
    /// The last that the client has of the room: the run of its log, and the number in it.
    pub epoch: Name,
    /// See `epoch`.
    pub seq: u64,
}

/// What a client that is back in a room gets.
#[derive(Clone, Debug)]
pub struct Returned {
    /// Its view of the room as of now.
    pub joined: Joined,
    /// Whether it has, with `messages`, everything up to `joined.seq`.
    pub recovered: bool,
    /// What it missed, oldest first.
    pub messages: Vec<Message>,
}

impl Returned {
    /// Gives up on what was missed, which is too much for one answer; how many messages that was.
    pub fn give_up(&mut self) -> usize {
        self.recovered = false;
        std::mem::take(&mut self.messages).len()
    }
}

impl Room {
    /// Puts a connection in the place of a former one of the same user, or has it join.
    pub fn come_back(&mut self, back: Returning, context: &mut OpContext<'_>) -> Result<Returned, Reject> {
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
        let Reply::Joined(joined) = joined else { return Err(Reject::not_in_room()) };
        let recovered = joined.epoch == back.epoch && joined.seq == back.seq;
        Ok(Returned { joined: *joined, recovered, messages: Vec::new() })
    }
}
