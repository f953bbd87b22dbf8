//! A connection as its owner and admins see it, and what they may do with it. Whoever holds the connection answers.

use std::net::IpAddr;

use crate::base::Name;
use crate::base::ids::ConnectionId;
use crate::domain::access::Identity;
use crate::domain::reject::{Code, Reject};

/// An act on a connection.
#[derive(Debug)]
pub enum ConnectionOp {
    /// Look at it.
    Describe,
    /// Keep what its user says of the device behind it, provided that it is that user's.
    SetDevice {
        /// The user.
        user: Name,
        /// What they say, as JSON.
        device: Option<Box<str>>,
    },
    /// Close it.
    Close {
        /// Who closes it: its user, or an admin.
        by: Identity,
    },
}

/// A connection as its owner and admins see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionView {
    /// Its id.
    pub connection: ConnectionId,
    /// What carries it.
    pub transport: &'static str,
    /// What it speaks.
    pub dialect: &'static str,
    /// When it came, in milliseconds since 1970.
    pub connected_at: u64,
    /// When something last came from it, in milliseconds since 1970.
    pub last_seen: u64,
    /// The rooms it is in.
    pub rooms: Vec<Name>,
    /// What its user says of the device behind it, as JSON.
    pub device: Option<Box<str>>,
    /// Where it comes from.
    pub address: IpAddr,
    /// The program it says it is.
    pub agent: Option<Box<str>>,
}

/// There is no such connection, or not any more.
pub fn connection_not_found() -> Reject {
    Reject::new(Code::ConnectionNotFound, "No connection of that id")
}
