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
    /// HTTP requests since the start.
    pub requests: u64,
    /// WebSockets opened since the start.
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
    /// Rooms kept here.
    pub rooms: usize,
    /// Users kept here.
    pub users: usize,
    /// Questions under way.
    pub asks: usize,
    /// Rooms with members on this shard.
    pub listened_rooms: usize,
}
