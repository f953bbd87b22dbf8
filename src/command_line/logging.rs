//! Logging: structured lines on standard error; standard output is left to the commands.

use std::io::IsTerminal;

use crate::config::{LogFormat, LogSettings};

/// Starts logging to standard error. To be called once, before the first log line; a second call has no effect.
pub fn start_logging(log: &LogSettings) {
    // A full disk must not end the server: reporting the failed write would fail as well.
    let builder =
        tracing_subscriber::fmt().with_max_level(log.level).with_writer(std::io::stderr).log_internal_errors(false);
    let started = match log.format {
        LogFormat::Text => builder.with_ansi(std::io::stderr().is_terminal()).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    // Fails only if logging has already been started.
    drop(started);
}
