//! Logging: structured lines on standard error, written by a thread of their own; standard output is left to the commands.
//! Lines of the target `audit` have a level and a format of their own, and may go to a file.

use std::fs::{File, OpenOptions};
use std::io::IsTerminal;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use tracing::Metadata;
use tracing::level_filters::LevelFilter;
use tracing_appender::non_blocking::{NonBlocking, WorkerGuard};
use tracing_subscriber::filter::FilterFn;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Registry, reload};

use crate::config::{AuditSettings, LogFormat, LogSettings};
use crate::runtime::log_writer;

/// The target of audit lines.
const AUDIT: &str = "audit";

/// A filter of lines.
type LineFilter = FilterFn<Box<dyn Fn(&Metadata<'_>) -> bool + Send + Sync>>;

/// The level of the log, which can be changed.
#[derive(Clone)]
pub struct LogLevel(reload::Handle<LineFilter, Registry>);

impl LogLevel {
    /// Changes the level.
    pub fn set(&self, level: LevelFilter) {
        // Fails only if logging has ended.
        let _ = self.0.reload(only(level, false));
    }
}

/// Starts logging. To be called once, before the first log line; a second call has no effect. The caller keeps the guards
/// until the process ends, so that the last lines are written. The level can be changed later.
///
/// # Errors
/// The file of the audit log cannot be opened.
#[must_use = "the last lines are lost when the guards are dropped early"]
pub fn start_logging(log: &LogSettings, audit: &AuditSettings) -> Result<(Vec<WorkerGuard>, LogLevel), String> {
    let (stderr, guard) = log_writer::start();
    let mut guards = vec![guard];
    let has_colours = std::io::stderr().is_terminal();
    let (filter, level) = reload::Layer::new(only(log.level, false));
    let general = lines(log.format, stderr.clone(), has_colours).with_filter(filter);
    let format = audit.format.unwrap_or(log.format);
    let audited = match &audit.file {
        Some(path) => {
            let (file, guard) = log_writer::start_file(open(path)?);
            guards.push(guard);
            lines(format, file, false)
        }
        None => lines(format, stderr, has_colours),
    };
    let audited = audited.with_filter(only(audit.level, true));
    let layers: Vec<Box<dyn Layer<Registry> + Send + Sync>> = vec![Box::new(general), Box::new(audited)];
    // Fails only if logging has already been started.
    drop(tracing_subscriber::registry().with(layers).try_init());
    Ok((guards, LogLevel(level)))
}

/// Events up to a level, either those of the audit log or all others.
fn only(level: LevelFilter, is_audit: bool) -> LineFilter {
    let is_one = move |metadata: &Metadata<'_>| (metadata.target() == AUDIT) == is_audit && *metadata.level() <= level;
    LineFilter::new(Box::new(is_one)).with_max_level_hint(level)
}

/// Lines in a format, to a writer.
fn lines(format: LogFormat, writer: NonBlocking, has_colours: bool) -> Box<dyn Layer<Registry> + Send + Sync> {
    // A full disk must not end the server: reporting the failed write would fail as well.
    let layer = tracing_subscriber::fmt::layer().with_writer(writer).log_internal_errors(false);
    match format {
        LogFormat::Text => layer.with_ansi(has_colours).boxed(),
        LogFormat::Json => layer.json().flatten_event(true).boxed(),
    }
}

/// Opens the file to append to; a new one is readable by the server's user and group only.
fn open(path: &Path) -> Result<File, String> {
    let opened = OpenOptions::new().append(true).create(true).mode(0o640).open(path);
    opened.map_err(|error| format!("audit.file: {}: {error}", path.display()))
}
