//! Layer 0: ids, time values, seeded randomness, containers, timers, limits.
//!
//! This layer does not know clients, wire formats or the operating system. It reads no clock and no entropy source:
//! time and seeds are arguments, so that a run can be replayed from its inputs.

pub mod block;
pub mod brief;
pub mod display_name;
pub mod few;
pub mod gather;
pub mod grow;
pub mod handle;
pub mod ids;
pub mod limits;
pub mod map;
pub mod network;
pub mod rng;
pub mod table;
pub mod time;
pub mod wheel;

/// A shared name of a room or a user.
pub type Name = std::sync::Arc<str>;
