//! What a shard counts.

/// A shard's counters and sizes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Connections taken on since the start.
    pub accepted: u64,
    /// Connections turned away since the start.
    pub refused: u64,
    /// Connections ended since the start.
    pub closed: u64,
    /// Connections that went to another shard, where their session is, since the start.
    pub moved: u64,
    /// HTTP requests since the start.
    pub requests: u64,
    /// WebSockets that speak `raw`, and peers in Socket.IO's namespaces, since the start.
    pub opened: u64,
    /// Messages of rooms that came to this shard for its members.
    pub published: u64,
    /// Requests that were refused.
    pub refusals: u64,
    /// Connections closed because nothing came from them.
    pub timed_out: u64,
    /// Connections closed because they did not read.
    pub slow_consumers: u64,
    /// Connections now.
    pub connections: usize,
    /// Engine.IO sessions now.
    pub sessions: usize,
    /// Socket.IO peers now: a session is one in each namespace that it is connected to.
    pub peers: usize,
    /// Rooms kept here.
    pub rooms: usize,
    /// Users kept here.
    pub users: usize,
    /// Questions under way.
    pub asks: usize,
    /// Rooms with members on this shard.
    pub listened_rooms: usize,
}

impl Stats {
    /// Adds those of another shard.
    pub fn add(&mut self, other: &Self) {
        self.accepted += other.accepted;
        self.refused += other.refused;
        self.closed += other.closed;
        self.moved += other.moved;
        self.requests += other.requests;
        self.opened += other.opened;
        self.published += other.published;
        self.refusals += other.refusals;
        self.timed_out += other.timed_out;
        self.slow_consumers += other.slow_consumers;
        self.connections += other.connections;
        self.sessions += other.sessions;
        self.peers += other.peers;
        self.rooms += other.rooms;
        self.users += other.users;
        self.asks += other.asks;
        self.listened_rooms += other.listened_rooms;
    }
}
