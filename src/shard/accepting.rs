//! Connections as they come: from clients, from other shards, and from proxies that say at their start whose they are, by
//! the PROXY protocol. Only proxies that are trusted are listened to, and they are held to it: what they send first is a
//! header, or the connection ends.

use std::net::{IpAddr, SocketAddr};

use crate::base::ids::SLOTS_MAX;
use crate::base::time::Now;
use crate::base::wheel::tick;
use crate::codec::proxy::{self, ProxiedClient};
use crate::connection::conn::{Conn, ConnStage};
use crate::connection::forwarded::is_trusted;
use crate::shard::Shard;

impl Shard {
    /// A connection was accepted; the slot it is known by from now on. `None` when the shard takes on no more, and the
    /// socket is to be closed.
    pub fn accepted(&mut self, now: Now, remote: SocketAddr) -> Option<u32> {
        let slot = self.arrived(now, remote.ip())?;
        let rules = &self.options.allowances;
        if rules.proxy_protocol && is_trusted(remote.ip(), &rules.trusted_proxies) {
            self.conns[slot as usize].stage = ConnStage::ProxyHeader(Vec::new());
        }
        tracing::debug!(%remote, shard = self.number, slot, "accepted");
        Some(slot)
    }

    /// As [`Shard::accepted`], from another shard, where it was known to come from `address`.
    pub fn arrived(&mut self, now: Now, address: IpAddr) -> Option<u32> {
        let max = match self.options.connections {
            0 => SLOTS_MAX as usize,
            max => max.min(SLOTS_MAX as usize),
        };
        if self.drain.is_some() || self.conns.len() >= max {
            self.full(now, address);
            return None;
        }
        self.stats.accepted += 1;
        let mut conn = Conn::new(self.rng.nonce());
        conn.seen = tick(now.mono);
        let slot = self.conns.insert(conn) as u32;
        self.arrivals.accepted(slot, address, now);
        self.set_deadline(now, slot, self.options.handshake_ms);
        Some(slot)
    }

    /// A connection was accepted for which the process has no place, and is closed.
    pub fn turned_down(&mut self, now: Now, remote: SocketAddr) {
        self.full(now, remote.ip());
    }

    fn full(&mut self, now: Now, address: IpAddr) {
        self.stats.refused += 1;
        self.note_full(now, address);
    }

    /// Bytes came from a proxy that has not said yet whose the connection is.
    pub(super) fn received_introduction(&mut self, now: Now, slot: u32, input: &mut [u8]) {
        let Some(conn) = self.conns.get_mut(slot as usize) else { return };
        let ConnStage::ProxyHeader(kept) = &mut conn.stage else { return };
        let before = kept.len();
        // Of a firehose no more is kept than a header may have.
        kept.extend_from_slice(&input[..input.len().min(proxy::HEADER_BYTES_MAX.saturating_sub(before))]);
        match proxy::read(kept) {
            Ok(None) => {}
            Ok(Some(ProxiedClient { used, client })) => {
                conn.stage = ConnStage::Http(None);
                if let Some(client) = client {
                    self.arrivals.comes_from(slot, client);
                    tracing::debug!(%client, shard = self.number, slot, "introduced");
                }
                // What was kept before was not a whole header, so the header ends in this input.
                if let Some(rest) = input.get_mut(used - before..).filter(|rest| !rest.is_empty()) {
                    self.received_http(now, slot, rest);
                }
            }
            Err(error) => {
                conn.stage = ConnStage::Http(None);
                tracing::debug!(error = error.text(), shard = self.number, slot, "not introduced");
                self.refuse_introduction(now, slot, error.text());
            }
        }
    }
}
