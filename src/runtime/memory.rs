//! Memory use and memory limit of the process.

use std::fs;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use crate::domain::monitoring::Load;

/// Unit of `VmRSS`.
const KIB: u64 = 1024;

/// How long a reading is used again: reading costs more than all else that a health check does.
const READ_EVERY: Duration = Duration::from_millis(500);

/// Resident memory of the process, at most half a second old, and the limit of its control group; 0 for no limit, or if the
/// system does not report it.
pub(super) fn load() -> Load {
    static LIMIT: OnceLock<u64> = OnceLock::new();
    let limit = *LIMIT.get_or_init(|| limit().unwrap_or_default());
    Load { used: recent(resident), limit }
}

/// The last reading, or a new one if that is too old.
fn recent(read: impl FnOnce() -> Option<u64>) -> u64 {
    static LAST: Mutex<Option<(Instant, u64)>> = Mutex::new(None);
    let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    match *last {
        Some((at, used)) if at.elapsed() < READ_EVERY => used,
        _ => {
            let used = read().unwrap_or_default();
            *last = Some((Instant::now(), used));
            used
        }
    }
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
    fn load_reports_resident_memory() {
        assert!(load().used > 0);
        assert!(recent(|| panic!("a recent reading is used again")) > 0);
    }
}
