//! Operations on a user.

use std::sync::Arc;

use crate::base::Name;
use crate::base::ids::ConnectionId;
use crate::domain::access::Identity;
use crate::domain::command::Status;
use crate::domain::event::{Content, Direct};
use crate::domain::presence::DisconnectKind;

/// An operation on a user.
#[derive(Debug)]
pub enum UserOp {
    /// Attaches a new connection of the user.
    Attach {
        /// The connection.
        connection: ConnectionId,
        /// The user.
        by: Identity,
        /// The connection's own name, if it has one.
        socket: Option<Name>,
    },
    /// Detaches a connection that ended.
    Detach {
        /// The connection.
        connection: ConnectionId,
        /// Whether it ended on purpose.
        parting: DisconnectKind,
        /// Its rooms; their members may have to receive the user's presence.
        rooms: Vec<Name>,
    },
    /// Announces the user's presence in a room that a connection of the user has joined.
    AnnounceIn {
        /// The connection.
        connection: ConnectionId,
        /// The room.
        room: Name,
    },
    /// Sets the user's presence.
    SetStatus {
        /// The status.
        status: Status,
        /// The time of the user's last activity, in milliseconds since 1970; now when absent.
        last_seen: Option<u64>,
        /// The connection that sets it, if any; it does not receive the event.
        by: Option<ConnectionId>,
    },
    /// Sends a direct message to the user.
    Send {
        /// The sender.
        by: Identity,
        /// The content.
        content: Box<Content>,
    },
    /// Delivers a message to the user's connections, and counts them.
    Push {
        /// The message.
        direct: Arc<Direct>,
        /// Whether it is stored until a connection has acknowledged it, as one of another user is.
        keep: bool,
    },
    /// Begins a push of the user, a backend, with an idempotency key, unless it was done.
    BeginPush {
        /// The key.
        key: Box<str>,
    },
    /// Ends it.
    EndPush {
        /// The key.
        key: Box<str>,
        /// The reach, for repeated calls; none of a push that failed and can be repeated.
        result: Option<PushResult>,
    },
    /// Lists the user's connections.
    ListConnections,
    /// Reads the user's presence.
    Describe {
        /// The requesting user.
        by: Identity,
    },
    /// Registers the device of a connection, before or after it connects. If it has connected, the reply names it, and
    /// the
    /// requester sends the device to its shard.
    RegisterSocket {
        /// The connection's own name, or its id.
        socket: Name,
        /// The device description, as JSON.
        device: Option<Box<str>>,
    },
    /// Removes a registration that no connection has claimed.
    UnregisterSocket {
        /// The name that the connection would have had.
        socket: Name,
    },
    /// Counts a REST request against the user's quota.
    SpendRestQuota {
        /// The quota.
        per_minute: u32,
    },
    /// Checks that the user may make another room. Where rooms are not stored with their makers, it is noted as made.
    CountRoom {
        /// The room, if there is one to note.
        room: Option<Name>,
        /// Whether it exists already: then it is noted in any case.
        is_made: bool,
    },
}

/// The reach of a message. Parts of several owners add up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PushResult {
    /// The number of connections it was delivered to.
    pub reached: usize,
    /// The users that are not connected.
    pub offline: Vec<Name>,
}

impl PushResult {
    /// Adds another owner's part.
    pub fn merge(&mut self, mut other: Self) {
        self.reached += other.reached;
        self.offline.append(&mut other.offline);
    }
}
