//! Connections on their way to another shard: a session's requests are served where the session is.

use std::net::IpAddr;

use crate::connection::conn::{CloseState, ConnStage};
use crate::message::ShardNumber;
use crate::shard::Shard;

/// A connection that goes to another shard.
#[derive(Debug)]
pub struct Departure {
    /// Its slot here, which is free from now on.
    pub slot: u32,
    /// Where it goes.
    pub to: ShardNumber,
    /// Where its client is.
    pub from: IpAddr,
    /// What came by it and has not been read.
    pub unread: Vec<u8>,
}

impl Shard {
    /// Has a connection go to another shard with what it has not read. Whether it does: not before all is sent that it is
    /// owed.
    pub(super) fn hand_over(&mut self, slot: u32, to: ShardNumber, unread: &[u8]) -> bool {
        let Some(conn) = self.conns.get_mut(slot as usize) else { return true };
        if !conn.queue.is_empty() {
            return false;
        }
        conn.stage = ConnStage::Draining;
        conn.ending = CloseState::HalfClosed;
        conn.deadline = 0;
        let from = self.arrivals.address(slot);
        self.departures.push(Departure { slot, to, from, unread: unread.to_vec() });
        true
    }

    /// Whether connections are to go to other shards.
    pub fn has_departures(&self) -> bool {
        !self.departures.is_empty()
    }

    /// Takes one of the connections that go to other shards; the socket at its slot is to be taken along, and what is
    /// unread given to [`Shard::received`] where it arrives, by [`Shard::arrived`].
    pub fn departure(&mut self) -> Option<Departure> {
        let departure = self.departures.pop()?;
        self.forget(departure.slot);
        self.stats.moved += 1;
        Some(departure)
    }
}
