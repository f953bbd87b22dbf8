//! Counters and sizes of one shard.

use super::telemetry::Telemetry;
use crate::domain::reject::Reject;

/// A shard's counters and sizes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Connections accepted since the start.
    pub accepted: u64,
    /// Connections refused since the start.
    pub refused: u64,
    /// Connections ended since the start.
    pub closed: u64,
    /// Connections moved to the shard of their session since the start.
    pub moved: u64,
    /// HTTP requests since the start.
    pub requests: u64,
    /// Raw WebSockets and Socket.IO peers opened since the start.
    pub opened: u64,
    /// Room messages received by this shard for its members.
    pub published: u64,
    /// Requests that were refused.
    pub refusals: u64,
    /// Attempts and calls without a valid token.
    pub tokens_refused: u64,
    /// Attempts to connect of addresses with too many.
    pub rate_limited: u64,
    /// Requests of pages whose origin may not use the server.
    pub origins_refused: u64,
    /// Attempts and calls of blocked users and addresses.
    pub blocked: u64,
    /// Connections closed because they were silent.
    pub timed_out: u64,
    /// Connections closed because they did not read.
    pub slow_consumers: u64,
    /// Connections now.
    pub connections: usize,
    /// Engine.IO sessions now.
    pub sessions: usize,
    /// Socket.IO peers now: one per session and namespace.
    pub peers: usize,
    /// Rooms owned by this shard.
    pub rooms: usize,
    /// Users owned by this shard.
    pub users: usize,
    /// Pending requests.
    pub asks: usize,
    /// Rooms with members on this shard.
    pub listened_rooms: usize,
    /// Counters by label, traffic and durations.
    pub telemetry: Telemetry,
}

impl Stats {
    /// Counts a refused request.
    pub fn refused(&mut self, reject: &Reject) {
        self.refusals += 1;
        let count = self.telemetry.refusals.get_mut(reject.code as usize);
        debug_assert!(count.is_some(), "invariant: each code is on the list of all");
        if let Some(count) = count {
            *count += 1;
        }
    }

    /// Adds the counts of another shard.
    pub fn add(&mut self, other: &Self) {
        self.accepted += other.accepted;
        self.refused += other.refused;
        self.closed += other.closed;
        self.moved += other.moved;
        self.requests += other.requests;
        self.opened += other.opened;
        self.published += other.published;
        self.refusals += other.refusals;
        self.tokens_refused += other.tokens_refused;
        self.rate_limited += other.rate_limited;
        self.origins_refused += other.origins_refused;
        self.blocked += other.blocked;
        self.timed_out += other.timed_out;
        self.slow_consumers += other.slow_consumers;
        self.connections += other.connections;
        self.sessions += other.sessions;
        self.peers += other.peers;
        self.rooms += other.rooms;
        self.users += other.users;
        self.asks += other.asks;
        self.listened_rooms += other.listened_rooms;
        self.telemetry.add(&other.telemetry);
    }
}
