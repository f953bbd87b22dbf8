//! The scenarios, and what they have in common.

mod fanout;
mod floor;
mod idle;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::report::{self, Report, Sitting};
use crate::target::Target;

/// How long a run waits for something to happen before it gives up.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Puts load on a WebSocket server and accounts for every delivery.
#[derive(Parser, Debug)]
#[command(version, subcommand_negates_reqs = true, arg_required_else_help = true)]
pub struct Arguments {
    #[command(subcommand)]
    scenario: Option<Scenario>,
    /// Compare two reports that `--json` wrote, as `compare` does
    #[arg(long, required = true, num_args = 2, value_names = ["A.json", "B.json"])]
    compare: Option<Vec<PathBuf>>,
    #[command(flatten)]
    common: Common,
}

/// What every scenario takes.
#[derive(Args, Debug)]
pub struct Common {
    /// A server that runs already, such as 127.0.0.1:8090; else one is started for the run
    #[arg(long, global = true, value_name = "ADDR:PORT")]
    target: Option<SocketAddr>,
    /// The process of that server, for its CPU time and memory
    #[arg(long, global = true)]
    pid: Option<u32>,
    /// The secret that the server verifies tokens by; without one, clients are guests
    #[arg(long, global = true)]
    secret: Option<String>,
    /// The binary to start
    #[arg(long, global = true, default_value = "target/release/switchboard")]
    binary: String,
    /// Shards of the server that is started
    #[arg(long, global = true, default_value_t = 1)]
    shards: usize,
    /// A setting of the server that is started, key=value; may be repeated
    #[arg(long, global = true, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Runs, of which the medians are quoted
    #[arg(long, global = true, default_value_t = 3)]
    runs: usize,
    #[command(flatten)]
    output: report::Output,
}

impl Common {
    /// The server to put load on.
    pub fn target(&self) -> Result<Target, String> {
        match self.target {
            Some(address) => Ok(Target::running(address, self.pid, self.secret.clone())),
            None => Target::start(&self.binary, self.shards, &self.set),
        }
    }
}

#[derive(Subcommand, Debug)]
enum Scenario {
    /// Memory of idle connections: upgraded, then in rooms
    Idle(idle::Idle),
    /// One message to many: rooms × members, so many messages under way
    Fanout(fanout::Fanout),
    /// What the kernel allows: plain sends of the same bytes to as many sockets
    Floor(floor::Floor),
    /// The process that sends, for `floor`
    #[command(hide = true)]
    FloorSender(floor::Sender),
    #[command(flatten)]
    Report(report::Command),
}

/// Runs what the arguments ask for; whether every delivery was accounted for.
pub fn run(arguments: &Arguments) -> Result<bool, String> {
    let common = &arguments.common;
    let scenario = match (&arguments.scenario, arguments.compare.as_deref()) {
        (Some(scenario), None) => scenario,
        (None, Some([first, second])) => return report::compare(first, second, &common.output).map(|()| true),
        _ => return Err("either --compare or a command, not both".to_owned()),
    };
    let mut sitting = Sitting::begin();
    for _ in 0..common.runs.max(1) {
        let more = match scenario {
            Scenario::Idle(idle) => idle::run(idle, common),
            Scenario::Fanout(fanout) => fanout::run(fanout, common),
            Scenario::Floor(floor) => floor::run(floor, common).map(|report| vec![report]),
            Scenario::FloorSender(sender) => return floor::send(sender).map(|()| true),
            Scenario::Report(command) => return command.run(&common.output).map(|()| true),
        };
        sitting.reports.extend(more?);
    }
    common.output.publish(&mut sitting)?;
    Ok(sitting.reports.iter().all(Report::is_exact))
}
