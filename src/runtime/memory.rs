//! The process's memory, and how much there may be of it.

use std::fs;
use std::sync::OnceLock;

use crate::domain::monitoring::Load;

/// What the kernel counts memory in; all that this runs on have pages of this size or report in kilobytes.
const KIB: u64 = 1024;

/// The process's resident memory, and the bound that its control group has for it; 0 where there is none, or where the
/// system does not tell.
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

/// The bound of version 2 of control groups, or of version 1. Unbounded ones of the latter have a number near the largest.
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
