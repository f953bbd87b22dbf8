//! Puts load on a WebSocket server and accounts for every delivery.
//!
//! Each scenario opens its clients, drives them in a closed loop, and reports what was delivered, what was missing, and
//! what it cost the server in CPU time and memory, read from `/proc`. `floor` measures in the same sitting what the
//! kernel alone allows, so that figures can be given as a fraction of it.

mod process;
mod report;
mod scenario;
mod swarm;
mod target;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let _ = rlimit::increase_nofile_limit(u64::MAX);
    match scenario::run(&scenario::Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            eprintln!("loadtest: some deliveries were missing, doubled or out of order");
            ExitCode::from(2)
        }
        Err(error) => {
            eprintln!("loadtest: {error}");
            ExitCode::FAILURE
        }
    }
}
