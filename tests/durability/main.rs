//! Durability of the real server with its real store: it is killed, restarted, and cut off from its clients and from
//! its disk; afterwards everything that it acknowledged or delivered must be in the history.
//!
//! `SWITCHBOARD_KILLS=n` kills the server `n` times instead of the usual number; `SWITCHBOARD_CUTS=n` cuts each client
//! off `n` times.

mod direct_messages;
mod disk_faults;
mod kill;
mod publish;
mod reconnect;
mod recovery_limits;
mod restart;
mod startup;
mod store_files;
mod streams;

use std::process::Command;

use support::directory::Directory;
use support::server::{Server, command_at};

/// Starts a server on `address`; see [`command`].
fn start(address: &str, directory: &Directory, settings: &[&str]) -> Server {
    Server::spawn(&mut command(address, directory, settings))
}

/// The command for a server of three shards with the data in `directory`, where joining makes rooms and nobody is told
/// of presence.
fn command(address: &str, directory: &Directory, settings: &[&str]) -> Command {
    let data = directory.text();
    let usual =
        ["rooms.create_on_join=always", "presence.scope=none", "limits.messages_per_minute=0", "log.level=error"];
    let mut arguments = vec!["--shards", "3", "--data", &data];
    usual.iter().chain(settings).for_each(|setting| arguments.extend(["--set", setting]));
    command_at(address, &arguments, &[])
}

/// How often something is done: as often as the variable says, or as usual.
fn times(variable: &str, usual: usize) -> usize {
    let text = std::env::var(variable).ok();
    text.map_or(usual, |text| text.parse().unwrap_or_else(|_| panic!("{variable} must be a number, not {text:?}")))
}
