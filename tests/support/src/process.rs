//! What the operating system says of a running server.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::process::Child;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::client::PATIENCE;

/// A process that ends with the test, also with one that fails.
pub struct Kept(pub Child);

impl Drop for Kept {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The lines that a process writes, read on so that it never waits.
#[derive(Clone, Default)]
pub struct LineLog(Arc<Mutex<String>>);

impl LineLog {
    /// The lines of a pipe.
    pub fn of(pipe: impl Read + Send + 'static) -> Self {
        let log = Self::default();
        let kept = log.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                let mut text = kept.0.lock().expect("no panic");
                text.push_str(&line);
                text.push('\n');
            }
        });
        log
    }

    /// Whether a line has had this text so far.
    pub fn contains(&self, text: &str) -> bool {
        self.0.lock().expect("no panic").contains(text)
    }
}

/// How many sockets the process has open.
pub fn sockets(pid: u32) -> usize {
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).expect("the process is there");
    let is_socket = |path: std::path::PathBuf| {
        fs::read_link(path).is_ok_and(|target| target.to_string_lossy().starts_with("socket:"))
    };
    descriptors.filter(|entry| entry.as_ref().is_ok_and(|entry| is_socket(entry.path()))).count()
}

/// Bytes of memory that the process has changed and holds alone.
pub fn private_dirty_bytes(pid: u32) -> u64 {
    1024 * number_in(&format!("/proc/{pid}/smaps_rollup"), "Private_Dirty:")
}

/// The most memory that the process has had resident so far, in bytes.
pub fn peak_bytes(pid: u32) -> u64 {
    1024 * number_in(&format!("/proc/{pid}/status"), "VmHWM:")
}

fn number_in(path: &str, label: &str) -> u64 {
    let text = fs::read_to_string(path).expect("the process is there");
    let line = text.lines().find_map(|line| line.strip_prefix(label)).expect("the line is there");
    line.trim().trim_end_matches("kB").trim().parse().expect("a number")
}

/// Waits until `is_so`, and says `what` when that does not come about.
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < until, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
