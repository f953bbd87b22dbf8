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
    static LAST: Mutex<Option<(Instant, u64)>> = Mutex::new(None);
    let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    Load { used: recent(&mut last, Instant::now(), resident), limit }
}

/// The last reading, or a new one if that is too old.
fn recent(last: &mut Option<(Instant, u64)>, now: Instant, read: impl FnOnce() -> Option<u64>) -> u64 {
    match *last {
        Some((at, used)) if now.duration_since(at) < READ_EVERY => used,
        _ => {
            let used = read().unwrap_or_default();
            *last = Some((now, used));
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
    }

    #[test]
    fn recent_reading_is_used_again() {
        let (mut last, begin) = (None, Instant::now());
        assert_eq!(recent(&mut last, begin, || Some(7)), 7);
        assert_eq!(recent(&mut last, begin + READ_EVERY / 2, || Some(8)), 7);
        assert_eq!(recent(&mut last, begin + READ_EVERY, || Some(9)), 9);
    }
}
