//! Three real servers that share a real Redis, under load, with everything that can happen to either: whoever talks there
//! misses nothing that was kept and hears nothing twice, however their node, Redis or the way between them fails.
//!
//! `SWITCHBOARD_FAULTS=n` has each fault happen `n` times instead of the usual number, and as long as it may.

mod emptied;
mod failover;
mod killed;
#[allow(dead_code, reason = "shared with the tests of one server")]
#[path = "../kept/line.rs"]
mod line;
#[allow(dead_code, reason = "shared with the tests of one server")]
#[path = "../kept/log.rs"]
mod log;
mod migration;
mod person;
mod place;
mod redis_away;
mod rolling;
mod scene;
mod sentinel;
mod stock;

/// How often a fault happens: as often as the variable says, or as usual.
fn times(usual: usize) -> usize {
    asked().unwrap_or(usual)
}

/// How often it was asked for, if it was.
fn asked() -> Option<usize> {
    let text = std::env::var("SWITCHBOARD_FAULTS").ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("SWITCHBOARD_FAULTS must be a number, not {text:?}")))
}
