//! What stands between a server and its Redis, against a real one that is restarted, paused, emptied and cut off.
//!
//! `SWITCHBOARD_FAULTS=n` injects faults half as often instead of once.

mod calls;
mod channels;
mod cluster;
mod costs;
mod forks;
mod half_done;
mod leftovers;
mod nodes;
mod partition;
mod questions;
mod redis_client;
mod resting_rooms;
mod secure;
mod sentinels;
mod users;

/// How often a fault happens; `None`: as usual.
fn asked() -> Option<usize> {
    let text = std::env::var("SWITCHBOARD_FAULTS").ok()?;
    Some(text.parse::<usize>().expect("SWITCHBOARD_FAULTS is a number").div_ceil(2))
}
