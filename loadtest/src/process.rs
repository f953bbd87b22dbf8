//! What a process costs, as the kernel accounts for it.

use std::fs;

use serde::{Deserialize, Serialize};

/// A reading of one process.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Reading {
    /// CPU time of all its threads so far, in nanoseconds.
    pub cpu_ns: u64,
    /// Bytes of memory that it has written, without the kernel's share for its sockets. Pages of the program's file are not
    /// counted: they grow with the code that has run, not with connections, and the kernel may drop them.
    pub private_bytes: u64,
    /// Bytes resident.
    pub resident_bytes: u64,
}

/// CPU time of all threads so far, in nanoseconds. Threads that have ended are not counted.
pub fn cpu_ns(pid: u32) -> std::io::Result<u64> {
    let mut cpu_ns = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        // A thread may end between the listing and the look at it.
        let Ok(text) = fs::read_to_string(task?.path().join("schedstat")) else { continue };
        cpu_ns += text.split_whitespace().next().and_then(|ns| ns.parse::<u64>().ok()).unwrap_or(0);
    }
    Ok(cpu_ns)
}

/// Reads `/proc/PID`.
pub fn read(pid: u32) -> std::io::Result<Reading> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let kilobytes = |name: &str| {
        let line = rollup.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.split_whitespace().nth(1)).and_then(|kb| kb.parse::<u64>().ok()).unwrap_or(0)
    };
    Ok(Reading {
        cpu_ns: cpu_ns(pid)?,
        private_bytes: 1024 * kilobytes("Private_Dirty:"),
        resident_bytes: 1024 * kilobytes("Rss:"),
    })
}

/// Kernel memory in slab caches and sockets, of the whole machine, in bytes.
pub fn kernel_bytes() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("Slab:"));
    1024 * line.and_then(|line| line.split_whitespace().nth(1)).and_then(|kb| kb.parse::<u64>().ok()).unwrap_or(0)
}

/// Kernel memory in TCP buffers, of the whole machine, in bytes.
pub fn socket_bytes() -> u64 {
    let text = fs::read_to_string("/proc/net/sockstat").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("TCP:")).unwrap_or_default();
    let pages = line.split_whitespace().skip_while(|word| *word != "mem").nth(1);
    pages.and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * rustix::param::page_size() as u64
}
