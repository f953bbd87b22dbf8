//! Layer 0: ids, time values, seeded randomness, maps, timers, limits.
//!
//! Nothing here knows of clients, wires or the operating system, and nothing reads a clock or an entropy source: time
//! and seeds come in as arguments, so that whatever is built on this layer replays from its inputs.

pub mod block;
pub mod brief;
pub mod few;
pub mod gather;
pub mod grow;
pub mod ids;
pub mod limits;
pub mod map;
pub mod network;
pub mod rng;
pub mod table;
pub mod time;
pub mod wheel;

/// A name that several owners and threads share: a room's, a user's.
pub type Name = std::sync::Arc<str>;
