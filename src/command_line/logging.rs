//! Starts the log: structured lines on standard error, so that standard output keeps to what a
//! command was asked for.

use std::io::IsTerminal;

use crate::config::{LogFormat, LogSettings};

/// Sends log lines to standard error from now on, as `log` says. To be called once, before
/// anything is logged; a second call changes nothing.
pub fn start_logging(log: &LogSettings) {
    // A log that cannot be written, its disk being full, must not end the server: saying so would fail as well.
    let builder =
        tracing_subscriber::fmt().with_max_level(log.level).with_writer(std::io::stderr).log_internal_errors(false);
    let started = match log.format {
        LogFormat::Text => builder.with_ansi(std::io::stderr().is_terminal()).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    // Refused only if a log was started before, which then goes on.
    drop(started);
}
