//! Operations on a connection, for its user and for admins. The shard that holds the connection replies.

use std::net::IpAddr;

use crate::base::Name;
use crate::base::ids::ConnectionId;
use crate::domain::access::Identity;
use crate::domain::reject::{Code, Reject};

/// An operation on a connection.
#[derive(Debug)]
pub enum ConnectionOp {
    /// Return its view.
    Describe,
    /// Set the description of its device, if the connection is one of this user.
    SetDevice {
        /// The user.
        user: Name,
        /// The description, as JSON.
        device: Option<Box<str>>,
    },
    /// Close it.
    Close {
        /// Its user or an admin.
        by: Identity,
    },
}

/// The view of a connection for its user and for admins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionView {
    /// Its id, by which it is addressed.
    pub connection: ConnectionId,
    /// The id by which its client knows it: after a recovery that of its first connection.
    pub shown: ConnectionId,
    /// Its transport.
    pub transport: &'static str,
    /// Its dialect.
    pub dialect: &'static str,
    /// The time it was opened, in milliseconds since 1970.
    pub connected_at: u64,
    /// The time of its last input, in milliseconds since 1970.
    pub last_seen: u64,
    /// The rooms it is a member of.
    pub rooms: Vec<Name>,
    /// The description of its device, as JSON.
    pub device: Option<Box<str>>,
    /// Its remote address.
    pub address: IpAddr,
    /// Its user agent.
    pub agent: Option<Box<str>>,
}

/// No connection of that id is open.
pub fn connection_not_found() -> Reject {
    Reject::new(Code::ConnectionNotFound, "No connection of that id")
}
