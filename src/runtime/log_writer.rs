//! The writer of log lines: a thread of its own with a bounded queue, so that a reader of the log that is slow, or gone,
//! never blocks a shard. Lines that do not fit are dropped and counted.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};

/// Lines that may wait, about 1 MiB: more than a reader that is late by a second lets gather at level `info`.
const LINES_MAX: usize = 4_096;

static COUNTER: OnceLock<ErrorCounter> = OnceLock::new();

/// Starts the thread, which writes to standard error. The queue is written out when the guard is dropped.
pub fn start() -> (NonBlocking, WorkerGuard) {
    let builder = NonBlockingBuilder::default().lossy(true).buffered_lines_limit(LINES_MAX).thread_name("log");
    let (writer, guard) = builder.finish(std::io::stderr());
    COUNTER.get_or_init(|| writer.error_counter());
    (writer, guard)
}

/// As [`start`], to the end of a file. Its lines are few, so none is dropped: a disk that hangs is waited for once as many
/// lines wait.
pub fn start_file(file: std::fs::File) -> (NonBlocking, WorkerGuard) {
    let builder = NonBlockingBuilder::default().lossy(false).buffered_lines_limit(LINES_MAX).thread_name("audit");
    builder.finish(file)
}

/// Number of lines dropped since the start.
pub(super) fn dropped_lines() -> u64 {
    COUNTER.get().map_or(0, |counter| counter.dropped_lines() as u64)
}

/// Logs that lines have been dropped since the last call.
pub(super) fn report_dropped_lines() {
    static REPORTED: AtomicU64 = AtomicU64::new(0);
    let dropped = dropped_lines();
    let lines = dropped.saturating_sub(REPORTED.swap(dropped, Ordering::Relaxed));
    if lines > 0 {
        tracing::warn!(lines, "log lines were dropped, because standard error is not read fast enough");
    }
}
