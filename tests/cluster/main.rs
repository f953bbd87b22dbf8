//! Three real servers that share a real Redis, under load, with everything that can happen to either: whoever talks there
//! misses nothing that was kept and hears nothing twice, however their node, Redis or the way between them fails.
//!
//! `SWITCHBOARD_FAULTS=n` has each fault happen `n` times instead of the usual number, and as long as it may.

mod client;
mod failover;
mod harness;
mod node_crash;
mod npm_clients;
mod redis_faults;
mod redis_flush;
mod rolling_restart;
mod room_view;
mod sentinel;
mod slot_migration;

/// How often a fault happens: as often as the variable says, or as usual.
fn times(usual: usize) -> usize {
    asked().unwrap_or(usual)
}

/// How often it was asked for, if it was.
fn asked() -> Option<usize> {
    let text = std::env::var("SWITCHBOARD_FAULTS").ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("SWITCHBOARD_FAULTS must be a number, not {text:?}")))
}
