//! A worker that dies or hangs ends the run with a clear error, and none outlives the conductor.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::harness::echo_server::{Answer, serve};

const PATIENCE: Duration = Duration::from_secs(20);

/// A run that would go on for a minute, with its workers' process ids once both are playing.
fn start() -> (Child, Vec<u32>) {
    let address = serve(|_, _| Answer::Once);
    let arguments = format!("echo --target {address} --connections 4 --workers 2 --seconds 60 --patience 0.5");
    let run =
        crate::harness::command(&arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it runs");
    let id = run.id();
    let mut workers = Vec::new();
    wait_until("it has two workers", || {
        let list = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
        workers = list.split_whitespace().filter_map(|id| id.parse().ok()).collect();
        workers.len() == 2
    });
    (run, workers)
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < until, "{what}: not so after {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn signal(process: u32, name: &str) {
    let status = Command::new("kill").args(["-s", name, &process.to_string()]).status();
    assert!(status.expect("kill runs").success());
}

/// Whether a process is there; one that has ended may wait for its parent.
fn is_running(process: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
}

#[test]
fn killed_worker_ends_the_run() {
    let (run, workers) = start();
    signal(workers[1], "KILL");
    let output = run.wait_with_output().expect("its end");
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{complaints}");
    assert!(complaints.contains("worker 1 has ended: signal: 9"), "{complaints}");
    assert!(!is_running(workers[0]));
}

#[test]
fn hanging_worker_ends_the_run() {
    let (run, workers) = start();
    signal(workers[0], "STOP");
    let output = run.wait_with_output().expect("its end");
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{complaints}");
    assert!(complaints.contains("worker 0 has said nothing for"), "{complaints}");
    assert!(workers.iter().all(|worker| !is_running(*worker)));
}

#[test]
fn workers_of_killed_conductor_end() {
    let (mut run, workers) = start();
    run.kill().expect("it was running");
    run.wait().expect("its end");
    wait_until("the workers have ended", || !workers.iter().any(|worker| is_running(*worker)));
}
