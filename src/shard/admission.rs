//! Who may connect: how often an address tries, and how many connections it has, are counted where the address is at home,
//! so that the count is one for all shards. A request to connect waits for the answer; addresses that are exempt, or known
//! here to be turned away, need no question.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use crate::base::ids::ConnectionId;
use crate::base::map::{Map, map};
use crate::base::time::Now;
use crate::codec::http::RequestHead;
use crate::connection::forwarded::client_address;
use crate::domain::quota::{Attempts, Blocks, source};
use crate::domain::reject::{Code, Reject};
use crate::message::{ShardMessage, ShardNumber};
use crate::shard::{Options, Shard};

/// What a shard knows of who may connect.
pub(super) struct Admission {
    /// Those of the addresses that are at home here.
    attempts: Attempts,
    /// How many connections each of these has.
    connections: Map<IpAddr, u32>,
    /// Addresses that are turned away.
    blocks: Blocks,
    /// Connections here that have asked, by slot; with the answer once it has come.
    asked: BTreeMap<u32, Option<Answered>>,
}

/// What was said to a connection that asked, and for which address.
type Answered = (IpAddr, Result<(), Reject>);

/// Whether a request to connect may go on.
pub(super) enum Entry {
    /// It may; it comes from this address.
    Open(IpAddr),
    /// That is being asked; it is to be read again when the answer comes.
    Wait,
    /// It may not.
    Refused(Reject),
}

impl Admission {
    pub(super) fn new(options: &Arc<Options>, seed: u64) -> Self {
        Self {
            attempts: Attempts::new(options.allowances.attempts.clone(), seed),
            connections: map(seed),
            blocks: Blocks::new(seed),
            asked: BTreeMap::new(),
        }
    }
}

impl Shard {
    /// A request would have a connection become one that stays.
    pub(super) fn enter(&mut self, now: Now, slot: u32, head: &RequestHead<'_>) -> Entry {
        let address = client_address(head, self.arrivals.address(slot), &self.options.allowances.trusted_proxies);
        if !self.counts(address) {
            return Entry::Open(address);
        }
        match self.admission.asked.remove(&slot) {
            Some(Some((address, Ok(())))) => return Entry::Open(address),
            Some(Some((_, Err(reject)))) => return Entry::Refused(reject),
            Some(None) => drop(self.admission.asked.insert(slot, None)),
            None => {
                if let Err(reject) = self.admission.blocks.check(now, address) {
                    return Entry::Refused(reject);
                }
                let home = self.home_of(address);
                if home == self.number {
                    return self.attempt(now, address).map_or_else(Entry::Refused, |()| Entry::Open(address));
                }
                self.admission.asked.insert(slot, None);
                self.post(home, ShardMessage::AdmissionRequest { connection: self.id_of(slot), address });
            }
        }
        Entry::Wait
    }

    /// Whether anything of an address is counted.
    fn counts(&self, address: IpAddr) -> bool {
        let rules = &self.options.allowances;
        let is_limited = rules.attempts.attempts != 0 || rules.connections_per_address != 0;
        is_limited
            && !self.options.socket_io.is_conformance
            && !rules.attempts.exempt.iter().any(|network| network.contains(address))
    }

    fn home_of(&self, address: IpAddr) -> ShardNumber {
        self.placement.local(&source(address).to_string())
    }

    /// Counts an attempt of an address that is at home here, and the connection that comes of it.
    fn attempt(&mut self, now: Now, address: IpAddr) -> Result<(), Reject> {
        self.admission.attempts.attempt(now, address)?;
        let max = self.options.allowances.connections_per_address;
        if max != 0 {
            let source = source(address);
            let count = self.admission.connections.get(&source).copied().unwrap_or_default();
            if count as usize >= max {
                return Err(Reject::new(Code::RateLimited, format!("An address may have {max} connections")));
            }
            self.admission.connections.insert(source, count + 1);
        }
        Ok(())
    }

    /// A shard asks whether a connection from an address that is at home here may go on.
    pub(super) fn attempted(&mut self, now: Now, connection: ConnectionId, address: IpAddr) {
        let verdict = self.attempt(now, address);
        self.post(connection.place().shard, ShardMessage::AdmissionVerdict { connection, address, verdict });
    }

    /// The answer has come: the request is read again.
    pub(super) fn admitted(
        &mut self,
        now: Now,
        connection: ConnectionId,
        address: IpAddr,
        verdict: Result<(), Reject>,
    ) {
        if let Err(reject) = &verdict {
            self.admission.blocks.note(now, address, reject);
        }
        match self.slot_of(connection) {
            Some(slot) if self.admission.asked.contains_key(&slot) => {
                self.admission.asked.insert(slot, Some((address, verdict)));
                self.received_http(now, slot, &mut []);
                self.resumed.push(slot);
            }
            _ if verdict.is_ok() => self.leave_address(address),
            _ => {}
        }
    }

    /// A connection from this address is no more.
    pub(super) fn leave_address(&mut self, address: IpAddr) {
        if self.options.allowances.connections_per_address != 0 && self.counts(address) {
            match self.home_of(address) {
                home if home == self.number => self.address_left(address),
                home => self.post(home, ShardMessage::AddressReleased { address }),
            }
        }
    }

    /// An address that is at home here has one connection fewer.
    pub(super) fn address_left(&mut self, address: IpAddr) {
        let source = source(address);
        match self.admission.connections.get_mut(&source) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(self.admission.connections.remove(&source)),
        }
    }

    /// The connection at `slot` is gone, and what it was told is of no use to it.
    pub(super) fn forget_entry(&mut self, slot: u32) {
        if let Some(Some((address, Ok(())))) = self.admission.asked.remove(&slot) {
            self.leave_address(address);
        }
    }
}
