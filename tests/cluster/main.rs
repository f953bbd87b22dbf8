//! Three real servers that share a real Redis, under load, with faults of the servers, of Redis and of the connections
//! between them: clients lose no acknowledged message and receive none twice.
//!
//! `SWITCHBOARD_FAULTS=n` injects each fault `n` times instead of the usual number, for as long as allowed.

mod client;
mod direct_messages;
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
mod webhooks;

/// How often a fault happens: as often as the variable says, or as usual.
fn times(usual: usize) -> usize {
    asked().unwrap_or(usual)
}

/// How often it was asked for, if it was.
fn asked() -> Option<usize> {
    let text = std::env::var("SWITCHBOARD_FAULTS").ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("SWITCHBOARD_FAULTS must be a number, not {text:?}")))
}
