//! Puts load on a WebSocket server and accounts for every delivery.
//!
//! The conductor ([`conductor`]) starts the server ([`target`]) and workers ([`worker`]), which are processes of this same
//! program with a part of the clients each ([`deal`]). They speak in lines of JSON ([`words`]). A scenario ([`scenario`])
//! has two halves: what the conductor asks of the workers and makes of their counts ([`tally`], [`report`]), and what a
//! worker's clients do ([`play`]). A worker keeps its clients' sockets in a swarm ([`swarm`]) and their protocol in
//! [`client`]; [`vocabulary`] says what scenarios say in each dialect. Each message has a [`mark`]; what came is entered in
//! a [`ledger`] per client by [`reception`]. What the server costs is read from `/proc` ([`process`]).

mod conductor;
mod cores;
mod deal;
mod ledger;
mod options;
mod play;
mod process;
mod reception;
mod report;
mod scenario;
mod swarm;
mod tally;
mod target;
mod token;
mod words;
mod worker;

use std::process::ExitCode;

use clap::Parser;
use loadtest::{client, mark, vocabulary};

fn main() -> ExitCode {
    let _ = rlimit::increase_nofile_limit(u64::MAX);
    match options::Arguments::parse().run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            eprintln!(
                "loadtest: some deliveries were missing, doubled, out of order or damaged, or connections were lost"
            );
            ExitCode::from(2)
        }
        Err(error) => {
            eprintln!("loadtest: {error}");
            ExitCode::FAILURE
        }
    }
}
