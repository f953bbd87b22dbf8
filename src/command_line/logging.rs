//! Logging: structured lines on standard error, written by a thread of their own; standard output is left to the commands.

use std::io::IsTerminal;

use tracing_appender::non_blocking::WorkerGuard;

use crate::config::{LogFormat, LogSettings};
use crate::runtime::log_writer;

/// Starts logging to standard error. To be called once, before the first log line; a second call has no effect. The caller
/// keeps the guard until the process ends, so that the last lines are written.
#[must_use = "the last lines are lost when the guard is dropped early"]
pub fn start_logging(log: &LogSettings) -> WorkerGuard {
    let (writer, guard) = log_writer::start();
    // A full disk must not end the server: reporting the failed write would fail as well.
    let builder = tracing_subscriber::fmt().with_max_level(log.level).with_writer(writer).log_internal_errors(false);
    let started = match log.format {
        LogFormat::Text => builder.with_ansi(std::io::stderr().is_terminal()).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    // Fails only if logging has already been started.
    drop(started);
    guard
}
