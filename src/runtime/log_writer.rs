//! The writer of log lines: a thread of its own with a bounded queue, so that a reader of the log that is slow, or gone,
//! never blocks a shard. Lines that do not fit are dropped and counted.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};

/// Lines that may wait, about 1 MiB: more than a reader that is late by a second lets gather at level `info`.
const LINES_MAX: usize = 4_096;

/// Counters of the writers that drop lines.
static COUNTERS: Mutex<Vec<ErrorCounter>> = Mutex::new(Vec::new());

/// How often files of lines were to be opened again.
static REOPENED: AtomicU64 = AtomicU64::new(0);

/// A file that lines are appended to. After `reopen_files` the next line goes to the file that has its name then, so that a
/// log can be rotated by renaming it.
#[derive(Debug)]
pub struct LineFile {
    path: PathBuf,
    file: File,
    reopened: u64,
}

impl LineFile {
    /// Opens a file to append to; a new one is readable by the server's user and group only.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn open(path: &Path) -> std::io::Result<Self> {
        let reopened = REOPENED.load(Ordering::Relaxed);
        Ok(Self { path: path.to_owned(), file: open(path)?, reopened })
    }
}

fn open(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o640).open(path)
}

impl Write for LineFile {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let reopened = REOPENED.load(Ordering::Relaxed);
        if self.reopened != reopened {
            self.reopened = reopened;
            match open(&self.path) {
                Ok(file) => self.file = file,
                Err(error) => {
                    tracing::error!(path = %self.path.display(), %error, "cannot open the file again; lines go to the one that is open");
                }
            }
        }
        self.file.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}

/// Has each file of lines opened again before its next line.
pub(super) fn reopen_files() {
    REOPENED.fetch_add(1, Ordering::Relaxed);
}

/// Starts the thread, which writes to standard error. The queue is written out when the guard is dropped.
pub fn start() -> (NonBlocking, WorkerGuard) {
    start_lossy("log", std::io::stderr())
}

/// As [`start`], to the end of a file of lines that clients can cause any number of.
pub fn start_lossy(thread_name: &str, to: impl Write + Send + 'static) -> (NonBlocking, WorkerGuard) {
    let builder = NonBlockingBuilder::default().lossy(true).buffered_lines_limit(LINES_MAX).thread_name(thread_name);
    let (writer, guard) = builder.finish(to);
    COUNTERS.lock().unwrap_or_else(PoisonError::into_inner).push(writer.error_counter());
    (writer, guard)
}

/// As [`start`], to the end of a file. Its lines are few, so none is dropped: a disk that hangs is waited for once as many
/// lines wait.
pub fn start_file(file: LineFile) -> (NonBlocking, WorkerGuard) {
    let builder = NonBlockingBuilder::default().lossy(false).buffered_lines_limit(LINES_MAX).thread_name("audit");
    builder.finish(file)
}

/// Number of lines dropped since the start.
pub(super) fn dropped_lines() -> u64 {
    let counters = COUNTERS.lock().unwrap_or_else(PoisonError::into_inner);
    counters.iter().map(|counter| counter.dropped_lines() as u64).sum()
}

/// Logs that lines have been dropped since the last call.
pub(super) fn report_dropped_lines() {
    static REPORTED: AtomicU64 = AtomicU64::new(0);
    let dropped = dropped_lines();
    let lines = dropped.saturating_sub(REPORTED.swap(dropped, Ordering::Relaxed));
    if lines > 0 {
        tracing::warn!(lines, "log lines were dropped, because standard error or the disk is not fast enough");
    }
}
