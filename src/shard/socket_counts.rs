//! Sockets by address, counted when they are accepted, whatever they send: one address must not hold all descriptors.
//!
//! Each address has one owner shard, as in [`crate::shard::admission`]. A socket whose address has another owner is accepted
//! first and closed when the owner says so. A trusted proxy is not counted itself; its sockets count for the addresses that
//! it reports, from the first request that names one.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use crate::base::handle::ConnSlot;
use crate::base::ids::ConnectionId;
use crate::base::map::{Map, map};
use crate::connection::forwarded::is_trusted;
use crate::domain::quota::source;
use crate::domain::reject::{Code, Reject};
use crate::message::{ShardMessage, ShardNumber};
use crate::shard::Options;
use crate::shard::channels::Channels;
use crate::shard::net::Net;

/// Sockets of the addresses that a shard owns.
pub(super) struct SocketCounts {
    options: Arc<Options>,
    /// Open sockets by address; never 0.
    counts: Map<IpAddr, u32>,
    /// Addresses that a proxy has reported for sockets of this shard, where they differ from that of the socket.
    reported: BTreeMap<ConnSlot, IpAddr>,
}

/// The refusal of a socket of an address that has `max` of them.
pub(super) fn too_many_sockets(max: usize) -> Reject {
    Reject::new(Code::RateLimited, format!("An address may have {max} sockets (limits.sockets_per_ip)"))
}

impl SocketCounts {
    pub(super) fn new(options: Arc<Options>, seed: u64) -> Self {
        Self { options, counts: map(seed), reported: BTreeMap::new() }
    }

    /// Replaces the options. Which addresses are counted must stay as it is.
    pub(super) fn set_options(&mut self, options: Arc<Options>) {
        self.options = options;
    }

    fn max(&self) -> usize {
        self.options.allowances.sockets_per_address
    }

    /// The refusal of a socket of an address that has as many as it may.
    pub(super) fn refusal(&self) -> Reject {
        too_many_sockets(self.max())
    }

    /// The shard that counts the sockets of an address, if they are counted.
    fn owner_of(&self, address: IpAddr, channels: &Channels) -> Option<ShardNumber> {
        let rules = &self.options.allowances;
        let is_free = self.max() == 0
            || self.options.socket_io.is_conformance
            || rules.attempts.exempt.iter().any(|network| network.contains(address))
            || is_trusted(address, &rules.trusted_proxies);
        (!is_free).then(|| channels.placement.local(&source(address).to_string()))
    }

    /// Whether an address may have another socket, as far as this shard knows.
    pub(super) fn admits(&self, address: IpAddr, channels: &Channels) -> bool {
        let is_own = self.owner_of(address, channels) == Some(channels.number);
        !is_own || self.count_of(address) < self.max()
    }

    fn count_of(&self, address: IpAddr) -> usize {
        self.counts.get(&source(address)).copied().unwrap_or_default() as usize
    }

    /// Counts the socket at `slot`, which has come from an address. `is_new`: it may be refused.
    pub(super) fn opened(&mut self, slot: ConnSlot, address: IpAddr, is_new: bool, net: &Net, channels: &mut Channels) {
        match self.owner_of(address, channels) {
            Some(owner) if owner == channels.number => *self.counts.entry(source(address)).or_default() += 1,
            Some(owner) => {
                let connection = net.id_of(slot);
                channels.post(owner, ShardMessage::SocketOpened { connection, address, is_new });
            }
            None => {}
        }
    }

    /// Counts a socket of another shard. Where there are too many, that shard is to close it; it counts until then.
    pub(super) fn opened_elsewhere(
        &mut self,
        (connection, address): (ConnectionId, IpAddr),
        is_new: bool,
        channels: &mut Channels,
    ) {
        let count = self.counts.entry(source(address)).or_default();
        *count += 1;
        if is_new && *count as usize > self.max() {
            channels.post(connection.place().shard, ShardMessage::SocketRefused { connection });
        }
    }

    /// Has the owner of an address count one socket fewer.
    fn release(&mut self, address: IpAddr, channels: &mut Channels) {
        match self.owner_of(address, channels) {
            Some(owner) if owner == channels.number => self.closed_elsewhere(address),
            Some(owner) => channels.post(owner, ShardMessage::SocketClosed { address }),
            None => {}
        }
    }

    /// Counts one socket fewer of an address that this shard owns.
    pub(super) fn closed_elsewhere(&mut self, address: IpAddr) {
        let source = source(address);
        let count = self.counts.get_mut(&source);
        debug_assert!(count.is_some(), "invariant: each closed socket was counted");
        match count {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(self.counts.remove(&source)),
        }
    }

    /// The socket at `slot`, which has come from `remote`, is closed or moves to another shard.
    pub(super) fn closed(&mut self, slot: ConnSlot, remote: IpAddr, channels: &mut Channels) {
        let address = self.reported.remove(&slot).unwrap_or(remote);
        self.release(address, channels);
    }

    /// A request on the socket at `slot` has come from this client: from now on the socket counts for it. Returns whether the
    /// client may have it.
    pub(super) fn introduced(&mut self, slot: ConnSlot, client: IpAddr, net: &Net, channels: &mut Channels) -> bool {
        let remote = net.remotes.address(slot);
        let known = self.reported.get(&slot).copied().unwrap_or(remote);
        if self.max() == 0 || known == client {
            return true;
        }
        if !self.admits(client, channels) {
            return false;
        }
        self.release(known, channels);
        self.opened(slot, client, true, net, channels);
        match client == remote {
            true => drop(self.reported.remove(&slot)),
            false => drop(self.reported.insert(slot, client)),
        }
        true
    }

    /// The socket at `slot` has the address of its client from now on, as [`SocketCounts::introduced`] was told.
    pub(super) fn settled(&mut self, slot: ConnSlot) {
        self.reported.remove(&slot);
    }

    /// Panics unless each counted address has sockets.
    pub(super) fn check_invariants(&self, net: &Net) {
        assert!(self.counts.values().all(|count| *count > 0), "invariant: a counted address has sockets");
        for slot in self.reported.keys() {
            assert!(net.conns.get(*slot).is_some(), "invariant: a reported address is of an open socket");
        }
    }
}
