//! New connections: from clients, from other shards, and from proxies that name their client at the start, by the PROXY
//! protocol. Only trusted proxies may name a client, and they must: their first bytes are a header, or the connection ends.

use std::net::{IpAddr, SocketAddr};

use crate::base::handle::ConnSlot;
use crate::base::time::Now;
use crate::base::wheel::tick;
use crate::codec::proxy::{self, ProxiedClient};
use crate::connection::conn::{Conn, ConnStage};
use crate::connection::forwarded::is_trusted;
use crate::domain::reject::{Code, Reject};
use crate::shard::ListenerRoles;
use crate::shard::audit::RefusalCause;
use crate::shard::core::Core;
use crate::shard::http::HttpRequests;
use crate::shard::http::answer::RestAnswers;
use crate::shard::making_room::MakingRoom;
use crate::shard::raw_sockets::RawSockets;

/// The reason that a connection is not taken on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TurnedAway {
    /// The server has as many connections as it takes, or shuts down.
    Full,
    /// The address has as many sockets as it may.
    Address,
}

/// Takes connections on.
pub(super) struct Accept<'a> {
    core: &'a mut Core,
}

impl<'a> Accept<'a> {
    pub(super) fn on(core: &'a mut Core) -> Self {
        Self { core }
    }

    /// See [`crate::shard::Shard::accepted`].
    pub(super) fn accepted(
        &mut self,
        now: Now,
        remote: SocketAddr,
        roles: ListenerRoles,
        has_proxy_header: bool,
    ) -> Result<ConnSlot, TurnedAway> {
        if !self.core.sockets.admits(remote.ip(), &self.core.channels) {
            self.core.stats.refused += 1;
            let reject = self.core.sockets.refusal();
            self.core.metrics.turned_away(now, remote.ip(), None, &reject);
            return Err(TurnedAway::Address);
        }
        let slot = self.insert(now, remote.ip(), true).ok_or(TurnedAway::Full)?;
        self.core.stats.telemetry.accepted[roles.label()] += 1;
        let rules = &self.core.options.allowances;
        if has_proxy_header && is_trusted(remote.ip(), &rules.trusted_proxies) {
            self.core.net.conns[slot].stage = ConnStage::ProxyHeader(Vec::new());
        }
        tracing::debug!(
            target: "switchboard::connection", connection = %self.core.net.id_of(slot), %remote, "accepted"
        );
        Ok(slot)
    }

    /// See [`crate::shard::Shard::arrived`].
    pub(super) fn arrived(&mut self, now: Now, address: IpAddr) -> Option<ConnSlot> {
        self.insert(now, address, false)
    }

    fn insert(&mut self, now: Now, address: IpAddr, is_new: bool) -> Option<ConnSlot> {
        if self.core.drain.is_some() || self.core.net.conns.len() >= self.core.net.connections_max() {
            self.refused(now, address);
            return None;
        }
        self.core.stats.accepted += 1;
        MakingRoom::on(self.core).done();
        let mut conn = Conn::new(self.core.rng.nonce());
        conn.seen = tick(now.mono);
        let slot = self.core.net.conns.insert(conn);
        self.core.net.remotes.insert(slot, address, now);
        let Core { sockets, net, channels, .. } = &mut *self.core;
        sockets.opened(slot, address, is_new, net, channels);
        self.core.net.set_deadline(now, slot, self.core.options.handshake_ms);
        Some(slot)
    }

    /// Counts a connection that was closed at once because a limit is reached.
    pub(super) fn refused(&mut self, now: Now, address: IpAddr) {
        self.core.stats.refused += 1;
        let reject = Reject::new(Code::Overloaded, "The server takes on no more connections");
        self.core.turned_away(now, (address, None), &reject, RefusalCause::Other);
    }

    /// The owner of its address refuses a socket that this shard has accepted.
    pub(super) fn socket_refused(&mut self, now: Now, slot: ConnSlot) {
        match &self.core.net.conns[slot].stage {
            ConnStage::Http(_) | ConnStage::ProxyHeader(_) => RestAnswers::on(self.core).refuse_socket(now, slot),
            ConnStage::WebSocket(_) => {
                RawSockets::on(self.core).disconnect(now, slot, "too-many-connections", 1008);
            }
            ConnStage::EngineIoSocket(_) => self.core.net.close_engineio_socket(now, slot, 1008),
            ConnStage::Echo(_) | ConnStage::Trace | ConnStage::Draining => self.core.net.abort(slot),
        }
    }

    /// Handles bytes of a proxy that has not sent its whole header yet.
    pub(super) fn received_proxy_header(&mut self, now: Now, slot: ConnSlot, input: &mut [u8]) {
        let conn = &mut self.core.net.conns[slot];
        let ConnStage::ProxyHeader(kept) = &mut conn.stage else {
            debug_assert!(false, "invariant: the caller has looked at the stage");
            return;
        };
        let before = kept.len();
        // No more is kept than a header may have.
        kept.extend_from_slice(&input[..input.len().min(proxy::HEADER_BYTES_MAX.saturating_sub(before))]);
        match proxy::read(kept) {
            Ok(None) => {}
            Ok(Some(ProxiedClient { used, client })) => {
                conn.stage = ConnStage::Http(None);
                if let Some(client) = client {
                    let Core { sockets, net, channels, .. } = &mut *self.core;
                    if !sockets.introduced(slot, client, net, channels) {
                        return RestAnswers::on(self.core).refuse_socket(now, slot);
                    }
                    self.core.sockets.settled(slot);
                    self.core.net.remotes.set_address(slot, client);
                    let connection = self.core.net.id_of(slot);
                    tracing::debug!(target: "switchboard::connection", %connection, %client, "introduced by a proxy");
                }
                // The bytes kept before were not a whole header, so the header ends in this input.
                if let Some(rest) = input.get_mut(used - before..).filter(|rest| !rest.is_empty()) {
                    HttpRequests::on(self.core).received(now, slot, rest);
                }
            }
            Err(error) => {
                conn.stage = ConnStage::Http(None);
                let reject = Reject::new(Code::InvalidMessage, error.text());
                self.core.metrics.log.refused(now, self.core.net.remotes.address(slot), &reject);
                RestAnswers::on(self.core).refuse_proxy_header(now, slot, error.text());
            }
        }
    }
}
