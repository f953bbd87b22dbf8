//! Connections that move to another shard: a session's requests are served where the session is.

use std::net::IpAddr;

use crate::base::handle::ConnSlot;
use crate::message::ShardNumber;
use crate::shard::ListenerRoles;
use crate::shard::core::Core;
use crate::shard::router::Router;

/// A connection that moves to another shard.
#[derive(Debug)]
pub struct Departure {
    /// Its slot here, free from now on.
    pub slot: ConnSlot,
    /// The other shard.
    pub to: ShardNumber,
    /// The client's address.
    pub from: IpAddr,
    /// What its listener serves.
    pub roles: ListenerRoles,
    /// Its input that has not been read.
    pub unread: Vec<u8>,
}

/// Takes the next connection that moves.
pub(super) fn next_departure(core: &mut Core) -> Option<Departure> {
    let departure = core.net.departures.pop()?;
    Router::on(core).remove_connection(departure.slot);
    core.stats.moved += 1;
    Some(departure)
}
