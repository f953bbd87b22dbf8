//! What is told is kept: the real server with its real store is killed, restarted, cut off from its clients and from its
//! disk, and afterwards asked for everything that anybody was ever told.
//!
//! `SWITCHBOARD_KILLS=n` kills the server `n` times instead of the usual number, `SWITCHBOARD_CUTS=n` cuts each client off
//! `n` times.

mod killing;
mod line;
mod log;
mod returning;
#[path = "../support/mod.rs"]
mod support;

/// How often something is done: as often as the variable says, or as usual.
fn times(variable: &str, usual: usize) -> usize {
    let text = std::env::var(variable).ok();
    text.map_or(usual, |text| text.parse().unwrap_or_else(|_| panic!("{variable} must be a number, not {text:?}")))
}
