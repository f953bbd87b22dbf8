//! What is told is kept: the real server with its real store is killed, restarted, cut off from its clients and from its
//! disk, and afterwards asked for everything that anybody was ever told.
//!
//! `SWITCHBOARD_KILLS=n` kills the server `n` times instead of the usual number, `SWITCHBOARD_CUTS=n` cuts each client off
//! `n` times.

mod beyond;
mod killing;
mod line;
mod log;
mod returning;
#[path = "../support/mod.rs"]
mod support;

use support::directory::Directory;
use support::server::Server;

/// Starts a server of three shards on `address` with the data in `directory`, where joining makes rooms and nobody is told
/// of presence.
fn start(address: &str, directory: &Directory, settings: &[&str]) -> Server {
    let data = directory.text();
    let mut arguments = vec!["--shards", "3", "--data", &data, "--set", "rooms.create_on_join=always"];
    arguments.extend(["--set", "presence.scope=none", "--set", "limits.messages_per_minute=0"]);
    arguments.extend(["--set", "log.level=error"]);
    for setting in settings {
        arguments.extend(["--set", setting]);
    }
    Server::start_at(address, &arguments)
}

/// How often something is done: as often as the variable says, or as usual.
fn times(variable: &str, usual: usize) -> usize {
    let text = std::env::var(variable).ok();
    text.map_or(usual, |text| text.parse().unwrap_or_else(|_| panic!("{variable} must be a number, not {text:?}")))
}
