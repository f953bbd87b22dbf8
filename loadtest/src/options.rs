//! The command line, and the runs it asks for.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::client::{Settings, Transport};
use crate::conductor::Conductor;
use crate::cores::Cores;
use crate::deal::{self, CONNECTIONS_MAX};
use crate::report::{self, Report, Sitting};
use crate::scenario::Choice;
use crate::scenario::floor::{self, Floor};
use crate::vocabulary::{Vocabulary, Words};
use crate::worker;

const EXAMPLES: &str = "\
Examples, after `cargo build --release --workspace`:
  target/release/loadtest fanout --rooms 10 --members 100
  target/release/loadtest fanout --dialect socketio --transport polling --runs 1
  target/release/loadtest echo --shards 2 --with-floor --html report.html --json report.json
  target/release/loadtest idle --target 127.0.0.1:8090 --pid 4711 --connections 5000
  target/release/loadtest --compare before.json after.json

Each scenario has options of its own: `loadtest fanout --help` shows them.";

/// Puts load on a WebSocket server and accounts for every delivery.
#[derive(Parser, Debug)]
#[command(version, subcommand_negates_reqs = true, arg_required_else_help = true, after_help = EXAMPLES)]
pub struct Arguments {
    #[command(subcommand)]
    task: Option<Task>,
    /// Compare two reports that `--json` wrote, as `compare` does
    #[arg(long, required = true, num_args = 2, value_names = ["A.json", "B.json"])]
    compare: Option<Vec<PathBuf>>,
    #[command(flatten)]
    common: Common,
}

#[derive(Subcommand, Debug)]
enum Task {
    #[command(flatten)]
    Scenario(Choice),
    #[command(flatten)]
    Report(report::Command),
    /// The process that `floor` measures
    #[command(hide = true)]
    FloorServer(floor::server::Server),
    /// A process with a part of the clients, which hears from its standard input what to do
    #[command(hide = true)]
    Worker,
}

/// What every scenario takes.
#[derive(Args, Debug)]
pub struct Common {
    /// A server that runs already, such as 127.0.0.1:8090; else one is started for the run
    #[arg(long, global = true, value_name = "ADDR:PORT")]
    pub target: Option<SocketAddr>,
    /// The process of that server, for its CPU time and memory
    #[arg(long, global = true)]
    pub pid: Option<u32>,
    /// The secret that the server verifies tokens by; without one, clients are guests
    #[arg(long, global = true)]
    pub secret: Option<String>,
    /// The binary to start [default: switchboard in the directory of this program]
    #[arg(long, global = true, value_name = "FILE")]
    pub binary: Option<PathBuf>,
    /// Shards of the server that is started
    #[arg(long, global = true, default_value_t = 1)]
    pub shards: usize,
    /// Servers that are started, which clients are spread over; more than one need a Redis that they share, by
    /// --set redis.url=URL
    #[arg(long, global = true, default_value_t = 1, conflicts_with = "target", value_name = "N")]
    pub servers: usize,
    /// Keep the server that is started on as many processors as it has shards, and the load on the others
    #[arg(long, global = true)]
    pub pin: bool,
    /// A setting of the server that is started, key=value; may be repeated
    #[arg(long, global = true, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// A directory for the server that is started to keep things in, which is not there yet and is removed after the run;
    /// without it they are kept in memory
    #[arg(long, global = true, value_name = "DIR")]
    pub data: Option<PathBuf>,
    #[command(flatten)]
    pub client: Settings,
    #[command(flatten)]
    pub words: Words,
    /// Processes that share the clients; by default as few as can have so many connections
    #[arg(long, global = true, value_name = "N")]
    pub workers: Option<usize>,
    /// Seconds without anything happening before something is given up
    #[arg(long, global = true, value_name = "SECONDS", default_value = "20", value_parser = seconds)]
    pub patience: Duration,
    /// Runs, of which the medians are quoted
    #[arg(long, global = true, default_value_t = 3)]
    pub runs: usize,
    /// After each run, measure its floor: what the kernel alone allows for the same deliveries
    #[arg(long, global = true)]
    pub with_floor: bool,
    #[command(flatten)]
    pub output: report::Output,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| format!("{text:?} is not a number"))?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

impl Common {
    /// The binary to start: the one that was given, else the one beside this program, whatever the current directory is.
    pub fn binary(&self) -> PathBuf {
        let beside = || Some(std::env::current_exe().ok()?.with_file_name("switchboard")).filter(|path| path.exists());
        self.binary.clone().or_else(beside).unwrap_or_else(|| "target/release/switchboard".into())
    }
}

impl Arguments {
    /// Runs what is asked for; whether every delivery was accounted for.
    pub fn run(&self) -> Result<bool, String> {
        let common = &self.common;
        let choice = match (&self.task, self.compare.as_deref()) {
            (Some(Task::Worker), None) => return worker::run().map(|()| true),
            (Some(Task::FloorServer(server)), None) => return floor::server::serve(server).map(|()| true),
            (Some(Task::Report(command)), None) => return command.run(&common.output).map(|()| true),
            (None, Some([first, second])) => return report::compare(first, second, &common.output).map(|()| true),
            (Some(Task::Scenario(choice)), None) => choice,
            _ => return Err("either --compare or a command, not both".to_owned()),
        };
        let mut sitting = Sitting::begin();
        let mut floors = BTreeMap::new();
        let cores = if common.pin { Some(Cores::part(common.shards)?) } else { None };
        for _ in 0..common.runs.max(1) {
            sitting.reports.extend(match common.with_floor {
                true => play_with_floor(choice, common, cores, &mut floors)?,
                false => play(choice, common, cores)?,
            });
        }
        common.output.publish(&mut sitting)?;
        Ok(sitting.reports.iter().all(Report::is_exact))
    }
}

/// What a scenario's clients say.
fn vocabulary(choice: &Choice, common: &Common) -> Result<Vocabulary, String> {
    let dialect = choice.scenario().dialect(common.client.dialect);
    common.words.check(dialect)?;
    Ok(Vocabulary::new(dialect, &common.words))
}

/// One run, with a server and workers of its own.
fn play(choice: &Choice, common: &Common, cores: Option<Cores>) -> Result<Vec<Report>, String> {
    let scenario = choice.scenario();
    let mut client = common.client.clone();
    client.dialect = scenario.dialect(client.dialect);
    client.check()?;
    let crowd = scenario.crowd(&vocabulary(choice, common)?)?;
    let shares = deal::deal(crowd, common.workers.unwrap_or(0), CONNECTIONS_MAX / client.lanes())?;
    let target = match cores {
        Some(cores) => cores.start_server(|| scenario.target(common))??,
        None => scenario.target(common)?,
    };
    client.host = target.address.to_string();
    scenario.conduct(&mut Conductor::start(choice, &shares, client, target, common)?)
}

/// One run, and one of the floor of each of its reports, of which they are quoted as a fraction. The floors stay as they
/// were in the first run, whose messages may have been a byte shorter.
fn play_with_floor(
    choice: &Choice,
    common: &Common,
    cores: Option<Cores>,
    floors: &mut BTreeMap<String, Floor>,
) -> Result<Vec<Report>, String> {
    if common.client.transport == Transport::Polling {
        return Err("--with-floor is not for --transport polling".to_owned());
    }
    let words = vocabulary(choice, common)?;
    let mut all = Vec::new();
    for mut report in play(choice, common, cores)? {
        if !floors.contains_key(&report.scenario) {
            let mut on_wire = report.clone();
            if let Some(bytes) = on_wire.numbers.get_mut("message_bytes") {
                *bytes += common.client.prefix_bytes() as f64;
            }
            let floor = choice.scenario().floor(&words, &on_wire);
            let floor = floor.ok_or_else(|| format!("{}: there is no floor to measure with it", report.scenario))?;
            floors.insert(report.scenario.clone(), floor);
        }
        let more = play(&Choice::Floor(floors[&report.scenario].clone()), common, cores)?;
        let rate = |report: &Report| report.numbers.get("deliveries_per_cpu_s").copied();
        let rates = rate(&report).zip(more.first().and_then(rate));
        let (own, floor) = rates.ok_or("the server's process is not known: give --pid")?;
        report.number("of_floor", own / floor);
        if let Some(messages) = report.numbers.get("messages_per_cpu_s").copied() {
            report.number("of_floor_with_answers", messages / floor);
        }
        all.push(report);
        all.extend(more);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The words of a command as a shell splits them, as far as the documents need it.
    fn words(command: &str) -> Vec<String> {
        let mut words = Vec::new();
        for (at, part) in command.split('\'').enumerate() {
            match at % 2 {
                1 => words.push(part.to_owned()),
                _ => words.extend(part.split_whitespace().map(str::to_owned)),
            }
        }
        words
    }

    #[test]
    fn commands_in_the_documents_are_understood() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/performance.md");
        let text = std::fs::read_to_string(path).expect("the document").replace("\\\n", " ");
        let commands: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("target/release/")).collect();
        assert!(commands.len() >= 10, "{} commands found", commands.len());
        let examples: Vec<&str> = EXAMPLES.lines().filter_map(|line| line.strip_prefix("  target/release/")).collect();
        assert!(examples.len() >= 5, "{examples:?}");
        for command in commands.into_iter().chain(examples).filter(|command| !command.contains("--help")) {
            Arguments::try_parse_from(words(command)).unwrap_or_else(|error| panic!("{command}: {error}"));
        }
    }
}
