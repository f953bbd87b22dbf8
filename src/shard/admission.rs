//! Admission of new connections: counts the refused attempts and the connections of each client address.
//!
//! An address with too many refused attempts is blocked: nothing that it sends is verified, be it a request to connect, a
//! REST call, or a token on an open connection.
//!
//! Each address has one owner shard, so that its counts hold for the whole process. A request to connect waits for the
//! owner's verdict; exempt addresses, and addresses that this shard knows to be blocked, need no request to the owner.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use crate::base::handle::ConnSlot;
use crate::base::ids::ConnectionId;
use crate::base::limits;
use crate::base::map::{Map, map};
use crate::base::time::Now;
use crate::domain::quota::{Attempts, Blocks, source};
use crate::domain::reject::{Code, Reject};
use crate::domain::revocation::{RevocationChange, Revoked};
use crate::message::{ShardMessage, ShardNumber};
use crate::shard::Options;
use crate::shard::channels::Channels;
use crate::shard::net::Net;

/// Connection attempts and connections by address, and requests that wait for a verdict.
pub(super) struct Admission {
    options: Arc<Options>,
    /// Refused attempts of the addresses that this shard owns.
    attempts: Attempts,
    /// Open connections of the addresses that this shard owns; never 0.
    connections: Map<IpAddr, u32>,
    /// Addresses that an owner has blocked.
    blocks: Blocks,
    /// State of the requests that wait, by connection.
    waiting: BTreeMap<ConnSlot, PendingAdmission>,
}

enum PendingAdmission {
    ForVerdict,
    /// The verdict has come; the request is read again.
    WithVerdict(IpAddr, Result<(), Reject>),
}

/// Whether a request to connect may proceed.
pub(super) enum AdmissionDecision {
    /// It may, and comes from this address.
    Open(IpAddr),
    /// It is read again once the owner's verdict has come.
    Wait,
    /// It may not.
    Refused(Reject),
}

impl Admission {
    pub(super) fn new(options: Arc<Options>, seed: u64) -> Self {
        Self {
            attempts: Attempts::new(options.allowances.attempts.clone(), seed),
            options,
            connections: map(seed),
            blocks: Blocks::new(seed),
            waiting: BTreeMap::new(),
        }
    }

    /// Replaces the options. Which addresses are counted must stay as it is.
    pub(super) fn set_options(&mut self, options: Arc<Options>) {
        self.attempts.set_rules(options.allowances.attempts.clone());
        self.options = options;
    }

    /// Decides on a request that opens a WebSocket or an Engine.IO session.
    pub(super) fn enter(
        &mut self,
        now: Now,
        slot: ConnSlot,
        address: IpAddr,
        net: &Net,
        channels: &mut Channels,
    ) -> AdmissionDecision {
        if !self.counts(address) {
            return AdmissionDecision::Open(address);
        }
        match self.waiting.remove(&slot) {
            Some(PendingAdmission::WithVerdict(address, Ok(()))) => return AdmissionDecision::Open(address),
            Some(PendingAdmission::WithVerdict(_, Err(reject))) => return AdmissionDecision::Refused(reject),
            Some(PendingAdmission::ForVerdict) => {}
            None => {
                if let Err(reject) = self.blocks.check(now, address) {
                    return AdmissionDecision::Refused(reject);
                }
                let owner = channels.placement.local(&source(address).to_string());
                if owner == channels.number {
                    return self
                        .count(now, address)
                        .map_or_else(AdmissionDecision::Refused, |()| AdmissionDecision::Open(address));
                }
                channels.post(owner, ShardMessage::AdmissionRequest { connection: net.id_of(slot), address });
            }
        }
        self.waiting.insert(slot, PendingAdmission::ForVerdict);
        AdmissionDecision::Wait
    }

    /// Whether an address has no limits.
    pub(super) fn is_exempt(&self, address: IpAddr) -> bool {
        self.options.socket_io.is_conformance
            || self.options.allowances.attempts.exempt.iter().any(|network| network.contains(address))
    }

    /// Whether an address is subject to limits.
    fn counts(&self, address: IpAddr) -> bool {
        let rules = &self.options.allowances;
        let is_limited = rules.attempts.attempts != 0 || rules.connections_per_address != 0;
        is_limited
            && !self.options.socket_io.is_conformance
            && !rules.attempts.exempt.iter().any(|network| network.contains(address))
    }

    /// Whether refused attempts of an address are counted.
    fn counts_attempts(&self, address: IpAddr) -> bool {
        self.options.allowances.attempts.apply_to(address) && !self.options.socket_io.is_conformance
    }

    /// Checks that an address is not blocked, before its token is verified.
    ///
    /// # Errors
    /// It is, and the refusal says for how long.
    pub(super) fn check(&mut self, now: Now, address: IpAddr) -> Result<(), Reject> {
        if self.counts_attempts(address) { self.blocks.check(now, address) } else { Ok(()) }
    }

    /// Has the owner of an address count a refused attempt.
    pub(super) fn note_refused(&mut self, now: Now, address: IpAddr, channels: &mut Channels) {
        if self.counts_attempts(address) {
            match channels.placement.local(&source(address).to_string()) {
                owner if owner == channels.number => self.attempt_refused(now, address, channels),
                owner => channels.post(owner, ShardMessage::AttemptRefused { address }),
            }
        }
    }

    /// Counts a refused attempt from an address that this shard owns. All shards learn of an address that is blocked now.
    pub(super) fn attempt_refused(&mut self, now: Now, address: IpAddr, channels: &mut Channels) {
        if let Some(block) = self.attempts.refused(now, address) {
            let seconds = block.retry_after_s.unwrap_or_default();
            tracing::warn!(%address, seconds, "address blocked after too many refused attempts (limits.connection_attempts)");
            self.address_blocked(now, address, &block);
            let others = (0..channels.placement.shards() as ShardNumber).filter(|shard| *shard != channels.number);
            for shard in others.collect::<Vec<_>>() {
                channels.post(shard, ShardMessage::AddressBlocked { address, block: block.clone() });
            }
        }
    }

    /// Notes an address that its owner has blocked.
    pub(super) fn address_blocked(&mut self, now: Now, address: IpAddr, block: &Reject) {
        self.blocks.note(now, address, block);
    }

    /// Checks an attempt from an address that this shard owns, and counts the connection if it is admitted.
    fn count(&mut self, now: Now, address: IpAddr) -> Result<(), Reject> {
        self.attempts.check(now, address)?;
        let max = self.options.allowances.connections_per_address;
        if max != 0 {
            let source = source(address);
            let count = self.connections.get(&source).copied().unwrap_or_default();
            if count as usize >= max {
                return Err(Reject::new(Code::RateLimited, format!("An address may have {max} connections")));
            }
            self.connections.insert(source, count + 1);
        }
        Ok(())
    }

    /// Answers the request of a connection, here or on another shard, whose address this shard owns.
    pub(super) fn decide(&mut self, now: Now, connection: ConnectionId, address: IpAddr, channels: &mut Channels) {
        let verdict = self.count(now, address);
        let shard = connection.place().shard;
        debug_assert_ne!(shard, channels.number, "invariant: a shard sends itself no admission request");
        channels.post(shard, ShardMessage::AdmissionVerdict { connection, address, verdict });
    }

    /// Takes the owner's verdict on the connection at `slot`. Returns the slot if its request is to be read again.
    pub(super) fn apply_verdict(
        &mut self,
        now: Now,
        slot: Option<ConnSlot>,
        (address, verdict): (IpAddr, Result<(), Reject>),
        channels: &mut Channels,
    ) -> Option<ConnSlot> {
        if let Err(reject) = &verdict {
            self.blocks.note(now, address, reject);
        }
        match slot.and_then(|slot| self.waiting.get_mut(&slot)) {
            Some(waiting) => {
                debug_assert!(matches!(waiting, PendingAdmission::ForVerdict), "invariant: a request has one verdict");
                *waiting = PendingAdmission::WithVerdict(address, verdict);
                return slot;
            }
            // The connection has ended meanwhile.
            None if verdict.is_ok() => self.release(address, channels),
            None => {}
        }
        None
    }

    /// Ends blocks by attempts of an address that is no longer blocked.
    pub(super) fn forgive(&mut self, change: &RevocationChange) {
        if let RevocationChange::Removed(Revoked::Address(network)) = change {
            self.attempts.forgive(network);
            self.blocks.forgive(network);
        }
    }

    /// The addresses that this shard owns and that are blocked after too many attempts, each with the end of its block in
    /// milliseconds since 1970.
    pub(super) fn blocked(&self, now: Now) -> Vec<(IpAddr, u64)> {
        self.attempts.blocked(now).take(limits::USERS_LISTED).collect()
    }

    /// Has an address's owner count one connection fewer.
    pub(super) fn release(&mut self, address: IpAddr, channels: &mut Channels) {
        if self.options.allowances.connections_per_address != 0 && self.counts(address) {
            match channels.placement.local(&source(address).to_string()) {
                owner if owner == channels.number => self.released(address),
                owner => channels.post(owner, ShardMessage::AddressReleased { address }),
            }
        }
    }

    /// Counts one connection fewer of an address that this shard owns.
    pub(super) fn released(&mut self, address: IpAddr) {
        let source = source(address);
        let count = self.connections.get_mut(&source);
        debug_assert!(count.is_some(), "invariant: each released connection was counted");
        match count {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(self.connections.remove(&source)),
        }
    }

    /// The connection at `slot` is removed: releases a verdict that it has not used.
    pub(super) fn forget(&mut self, slot: ConnSlot, channels: &mut Channels) {
        if let Some(PendingAdmission::WithVerdict(address, Ok(()))) = self.waiting.remove(&slot) {
            self.release(address, channels);
        }
    }

    /// Panics unless each counted address has connections, at most as many as allowed.
    pub(super) fn check_invariants(&self) {
        let max = self.options.allowances.connections_per_address;
        for (address, count) in &self.connections {
            assert!((1..=max).contains(&(*count as usize)), "invariant: {address} has 1 to {max} connections: {count}");
        }
    }
}
