//! The load test as a process, small WebSocket servers that fail on demand, the reference implementation of Socket.IO,
//! and a driver for one client.

pub(crate) mod driver;
pub(crate) mod echo_server;
pub(crate) mod reference_server;
pub(crate) mod room_server;
pub(crate) mod signal_server;

use std::process::{Command, Output};
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;
use support::workspace::program;

/// What a run of the load test came to.
pub(crate) struct Run {
    /// Its exit code.
    pub(crate) code: Option<i32>,
    /// What it wrote to standard error.
    pub(crate) complaints: String,
    /// The reports.
    pub(crate) reports: Vec<Value>,
}

/// Runs the load test once with these arguments, separated by spaces, against a server that it starts.
pub(crate) fn run(arguments: &str) -> Run {
    let binary = program("switchboard");
    run_with(&[arguments, " --binary ", &binary.to_string_lossy()].concat())
}

/// Runs the load test with these arguments as they are.
pub(crate) fn run_with(arguments: &str) -> Run {
    static RUNS: AtomicUsize = AtomicUsize::new(0);
    let number = RUNS.fetch_add(1, Ordering::Relaxed);
    let file = std::env::temp_dir().join(format!("loadtest-{}-{number}.json", std::process::id()));
    let mut command = command(arguments);
    command.arg("--json").arg(&file);
    if !arguments.contains("--runs") {
        command.args(["--runs", "1"]);
    }
    let Output { status, stderr, .. } = command.output().expect("the load test runs");
    let complaints = String::from_utf8_lossy(&stderr).into_owned();
    let reports = std::fs::read(&file).map_or(Vec::new(), |json| {
        let mut sitting: Value = serde_json::from_slice(&json).expect("it is JSON");
        serde_json::from_value(sitting["reports"].take()).expect("reports")
    });
    let _ = std::fs::remove_file(&file);
    Run { code: status.code(), complaints, reports }
}

/// The load test with these arguments.
pub(crate) fn command(arguments: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_loadtest"));
    command.args(arguments.split_whitespace());
    command
}

impl Run {
    /// The only report of a run in which nothing was wrong.
    pub(crate) fn exact(&self) -> &Value {
        assert_eq!(self.code, Some(0), "{}", self.complaints);
        let [report] = &self.reports[..] else { panic!("{} reports", self.reports.len()) };
        let faults = report["faults"].as_object().expect("faults");
        assert!(faults.values().all(|count| count == 0), "{faults:?}");
        report
    }

    /// How often that happened which must not, in all reports.
    pub(crate) fn faults(&self, name: &str) -> u64 {
        self.reports.iter().filter_map(|report| report["faults"][name].as_u64()).sum()
    }
}

/// A number of a report.
pub(crate) fn number(report: &Value, name: &str) -> f64 {
    report["numbers"][name].as_f64().unwrap_or_else(|| panic!("no {name} in {report}"))
}
