//! Memory use and memory limit of the process.

use std::fs;
use std::sync::OnceLock;

use crate::domain::monitoring::Load;

/// Unit of `VmRSS`.
const KIB: u64 = 1024;

/// Resident memory of the process and the limit of its control group; 0 for no limit, or if the system does not report
/// it.
pub fn load() -> Load {
    static LIMIT: OnceLock<u64> = OnceLock::new();
    let limit = *LIMIT.get_or_init(|| limit().unwrap_or_default());
    Load { used: resident().unwrap_or_default(), limit }
}

fn resident() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().trim_end_matches("kB").trim().parse::<u64>().ok().map(|kib| kib * KIB)
}

/// The limit of control groups version 2, or version 1, where "unlimited" is a number near the maximum.
fn limit() -> Option<u64> {
    let paths = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];
    let limits = paths.iter().filter_map(|path| fs::read_to_string(path).ok());
    limits.filter_map(|text| text.trim().parse().ok()).find(|limit| *limit < 1 << 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_some_memory() {
        assert!(load().used > 0);
    }
}
