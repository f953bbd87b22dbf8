//! Logging: structured lines on standard error, written by a thread of their own; standard output is left to the commands.
//! Lines of the targets `audit` and `access` have formats of their own, and may go to files.

use std::io::IsTerminal;
use std::path::Path;

use tracing::Metadata;
use tracing::level_filters::LevelFilter;
use tracing_appender::non_blocking::{NonBlocking, WorkerGuard};
use tracing_subscriber::filter::FilterFn;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Registry, reload};

use crate::config::{AccessSettings, LogFormat, Settings};
use crate::runtime::log_writer::{self, LineFile};

/// The targets of lines that are not part of the general log.
const AUDIT: &str = "audit";
const ACCESS: &str = "access";

/// A filter of lines.
type LineFilter = FilterFn<Box<dyn Fn(&Metadata<'_>) -> bool + Send + Sync>>;

/// The level of the log, which can be changed.
#[derive(Clone)]
pub struct LogLevel(reload::Handle<LineFilter, Registry>);

impl LogLevel {
    /// Changes the level.
    pub fn set(&self, level: LevelFilter) {
        // Fails only if logging has ended.
        let _ = self.0.reload(general(level));
    }
}

/// Starts logging. To be called once, before the first log line; a second call has no effect. The caller keeps the guards
/// until the process ends, so that the last lines are written. The level can be changed later.
///
/// # Errors
/// A file of lines cannot be opened.
#[must_use = "the last lines are lost when the guards are dropped early"]
pub fn start_logging(settings: &Settings) -> Result<(Vec<WorkerGuard>, LogLevel), String> {
    let Settings { log, audit, access, .. } = settings;
    let (stderr, guard) = log_writer::start();
    let mut guards = vec![guard];
    let has_colours = std::io::stderr().is_terminal();
    let (filter, level) = reload::Layer::new(general(log.level));
    let all_others = lines(log.format, stderr.clone(), has_colours).with_filter(filter);
    let format = audit.format.unwrap_or(log.format);
    let audited = match &audit.file {
        Some(path) => {
            let (file, guard) = log_writer::start_file(open("audit.file", path)?);
            guards.push(guard);
            lines(format, file, false)
        }
        None => lines(format, stderr.clone(), has_colours),
    };
    let audited = audited.with_filter(only(AUDIT, audit.level));
    let mut layers: Vec<Box<dyn Layer<Registry> + Send + Sync>> = vec![Box::new(all_others), Box::new(audited)];
    if let AccessSettings { enabled: true, file, format, .. } = access {
        let format = format.unwrap_or(log.format);
        let accesses = match file {
            Some(path) => {
                let (file, guard) = log_writer::start_lossy("access", open("access.file", path)?);
                guards.push(guard);
                lines(format, file, false)
            }
            None => lines(format, stderr, has_colours),
        };
        layers.push(Box::new(accesses.with_filter(only(ACCESS, LevelFilter::INFO))));
    }
    // Fails only if logging has already been started.
    drop(tracing_subscriber::registry().with(layers).try_init());
    Ok((guards, LogLevel(level)))
}

/// Events of one target up to a level.
fn only(target: &'static str, level: LevelFilter) -> LineFilter {
    let is_one = move |metadata: &Metadata<'_>| metadata.target() == target && *metadata.level() <= level;
    LineFilter::new(Box::new(is_one)).with_max_level_hint(level)
}

/// All other events up to a level.
fn general(level: LevelFilter) -> LineFilter {
    let is_one =
        move |metadata: &Metadata<'_>| ![AUDIT, ACCESS].contains(&metadata.target()) && *metadata.level() <= level;
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

/// Opens the file that a setting names.
fn open(setting: &str, path: &Path) -> Result<LineFile, String> {
    LineFile::open(path).map_err(|error| format!("{setting}: {}: {error}", path.display()))
}
