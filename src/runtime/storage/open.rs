//! Opens the storage: claims the data directory, checks and migrates the database, restores its data and starts the
//! threads.

use std::path::PathBuf;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_channel::{bounded, unbounded};
use rusqlite::{Connection, OptionalExtension, params};

use crate::message::storage::{Restored, StorageEvent, StorageState};
use crate::runtime::entropy;
use crate::runtime::storage::checkpoint::Checkpointer;
use crate::runtime::storage::connection::{DatabaseSource, boot_id, find_damage};
use crate::runtime::storage::database_file::DatabaseFile;
use crate::runtime::storage::directory::Directory;
use crate::runtime::storage::error::{OpenError, state};
use crate::runtime::storage::outbox;
use crate::runtime::storage::reader::StorageReader;
use crate::runtime::storage::rows::int;
use crate::runtime::storage::shared::Shared;
use crate::runtime::storage::writer::Writer;
use crate::runtime::storage::{
    Durability, OnDamage, Storage, StorageLocation, StorageOptions, memory_bounds, restore, schema,
};

/// Time limit of the damage check at start. Damage beyond the part of a large file that was checked is found when it is
/// read.
const CHECK: Duration = Duration::from_secs(2);

/// Events during opening that an operator should know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// There was no database.
    pub is_new: bool,
    /// The older schema version that the file had.
    pub migrated_from: Option<i32>,
    /// The new name of a damaged file; the storage begins empty.
    pub set_aside: Option<PathBuf>,
    /// The last run may have lost its newest messages. Every room has a new epoch, so that clients that received those
    /// messages learn that they cannot recover, instead of receiving other messages with the same numbers.
    pub is_tail_lost: bool,
}

/// An open storage whose threads have not been started.
pub struct Opened {
    options: StorageOptions,
    directory: Option<Directory>,
    source: DatabaseSource,
    connection: Connection,
    report: Report,
}

/// Claims the data directory and prepares its database. [`OnDamage`] decides how a damaged one is treated.
///
/// # Errors
/// See [`OpenError`].
pub fn open(options: StorageOptions) -> Result<Opened, OpenError> {
    let (directory, source) = match &options.location {
        StorageLocation::Memory => (None, DatabaseSource::memory()),
        StorageLocation::Directory(path) => {
            let directory = Directory::claim(path)?;
            let source = DatabaseSource::File(directory.database());
            (Some(directory), source)
        }
    };
    let found = match &directory {
        Some(directory) if directory.has_orphan() => {
            let detail = "there is a write-ahead log, but not the database it belongs to".to_owned();
            Err(OpenError::Corrupt { file: source.path(), detail })
        }
        _ => prepare(&source, &options),
    };
    match (found, directory) {
        (Ok((connection, report)), directory) => {
            directory.as_ref().map_or(Ok(()), Directory::sync)?;
            Ok(Opened { options, directory, source, connection, report })
        }
        (Err(OpenError::Corrupt { detail, .. }), Some(directory)) => start_empty(options, directory, source, &detail),
        (Err(error), _) => Err(error),
    }
}

fn start_empty(
    options: StorageOptions,
    directory: Directory,
    source: DatabaseSource,
    detail: &str,
) -> Result<Opened, OpenError> {
    let file = source.path();
    if options.on_damage == OnDamage::Stop {
        return Err(OpenError::Corrupt { file, detail: detail.to_owned() });
    }
    let aside = directory.set_aside("damaged", (options.clock)())?;
    tracing::error!(
        "{} is damaged: {detail}. It is kept as {} and a new one begins: rooms, messages and sessions from before are \
         not served until a repaired file is put in its place",
        file.display(),
        aside.display()
    );
    let (connection, report) = prepare(&source, &options)?;
    directory.sync()?;
    let report = Report { set_aside: Some(aside), ..report };
    Ok(Opened { options, directory: Some(directory), source, connection, report })
}

/// Opens, checks and migrates the database.
fn prepare(source: &DatabaseSource, options: &StorageOptions) -> Result<(Connection, Report), OpenError> {
    let failed = |error: rusqlite::Error| failure(source, &error);
    let mut connection = source.create().map_err(failed)?;
    let header = schema::header(&connection).map_err(failed)?;
    if header.application != schema::APPLICATION_ID && !(header.is_empty && header.application == 0) {
        return Err(OpenError::Foreign { file: source.path() });
    }
    if header.version > schema::VERSION {
        return Err(OpenError::Newer { file: source.path(), found: header.version, known: schema::VERSION });
    }
    if let Some(detail) = find_damage(&mut connection, CHECK).map_err(failed)? {
        return Err(OpenError::Corrupt { file: source.path(), detail });
    }
    // The following writes must be durable even if messages need not be.
    if !source.configure(&connection, Durability::Power).map_err(failed)? {
        let detail = "its file system does not allow the shared memory that a write-ahead log needs".to_owned();
        return Err(OpenError::Database { file: source.path(), detail });
    }
    let mut report = Report { is_new: header.is_empty, ..Report::default() };
    if header.version < schema::VERSION {
        schema::migrate(&connection, header.version).map_err(failed)?;
        if matches!(source, DatabaseSource::Memory(_)) {
            memory_bounds::install(&connection).map_err(failed)?;
        }
        report.migrated_from = (!header.is_empty).then_some(header.version);
    }
    report.is_tail_lost = recover_state(&connection, options, header.is_empty).map_err(failed)?;
    Ok((connection, report))
}

fn failure(source: &DatabaseSource, error: &rusqlite::Error) -> OpenError {
    let (file, detail) = (source.path(), error.to_string());
    match state(error) {
        StorageState::Corrupt => OpenError::Corrupt { file, detail },
        _ => OpenError::Database { file, detail },
    }
}

/// Updates the state left by the last run; returns whether that run may have lost acknowledged messages.
fn recover_state(connection: &Connection, options: &StorageOptions, is_new: bool) -> rusqlite::Result<bool> {
    let transaction = connection.unchecked_transaction()?;
    let value = |name: &str| -> rusqlite::Result<String> {
        let value = transaction.query_row("SELECT value FROM state WHERE name = ?1", [name], |row| row.get(0));
        Ok(value.optional()?.unwrap_or_default())
    };
    let boot = boot_id();
    let is_unclean = !is_new && value("clean")? == "no";
    let is_tail_lost = is_unclean
        && match value("durability")?.as_str() {
            "power" => false,
            "process" => boot.is_empty() || value("boot")? != boot,
            _ => true,
        };
    if is_tail_lost {
        transaction.execute("UPDATE room SET epoch = lower(hex(randomblob(4)))", [])?;
    }
    let window_ends = (options.clock)() + options.recovery_window_ms;
    transaction.execute("UPDATE session SET expires_at = ?1 WHERE expires_at IS NULL", [int(window_ends)])?;
    transaction.commit()?;
    Ok(is_tail_lost)
}

/// Marks the file as in use by this run, with its durability.
fn mark_unclean(connection: &Connection, durability: Durability) -> rusqlite::Result<()> {
    let transaction = connection.unchecked_transaction()?;
    let (boot, life) = (boot_id(), format!("{:016x}", random_seed()));
    for (name, value) in [("clean", "no"), ("durability", durability.as_str()), ("boot", &boot), ("life", &life)] {
        let put = "INSERT INTO state VALUES(?1, ?2) ON CONFLICT DO UPDATE SET value = excluded.value";
        transaction.execute(put, params![name, value])?;
    }
    transaction.commit()
}

/// A random number; 0 if the operating system has no entropy.
fn random_seed() -> u64 {
    let seed = entropy::seed().unwrap_or_default();
    u64::from_le_bytes(*seed.first_chunk().expect("a seed has more than eight bytes"))
}

impl Opened {
    /// Events during opening.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// Whether the data survives this process.
    pub fn outlives_process(&self) -> bool {
        self.directory.is_some()
    }

    /// Restores the data that a server needs in memory, one item at a time, so that no list of it is held. `since` is
    /// the time (milliseconds since 1970) from which messages may be repeated.
    ///
    /// # Errors
    /// The file is damaged or cannot be read. Then discard the restored items and continue with [`Opened::set_aside`].
    pub fn restore(&self, since: u64, take: &mut dyn FnMut(Restored)) -> Result<(), OpenError> {
        restore::restore(&self.connection, since, take).map_err(|error| failure(&self.source, &error))
    }

    /// Treats the damage that [`Opened::restore`] has found as [`open`] does.
    ///
    /// # Errors
    /// As [`open`].
    pub fn set_aside(self, damage: &OpenError) -> Result<Self, OpenError> {
        let Self { options, directory, source, connection, .. } = self;
        drop(connection);
        let detail = match damage {
            OpenError::Corrupt { detail, .. } => detail.clone(),
            other => other.to_string(),
        };
        match directory {
            Some(directory) => start_empty(options, directory, source, &detail),
            None => Err(OpenError::Corrupt { file: source.path(), detail }),
        }
    }

    /// Starts the threads. They call `on_event` with each event; with durability `none` the submitting thread does so
    /// too. `on_event` must not block.
    ///
    /// # Errors
    /// The file cannot be written, or the operating system gives no threads.
    pub fn start(self, on_event: impl Fn(StorageEvent) + Send + Sync + 'static) -> Result<Storage, OpenError> {
        let Self { options, directory, source, connection, .. } = self;
        let life = mark_unclean(&connection, options.durability);
        life.and_then(|()| source.configure(&connection, options.durability))
            .map_err(|error| failure(&source, &error))?;
        if let Some(outbox) = &options.outbox {
            outbox::end_states(&connection, outbox, (options.clock)()).map_err(|error| failure(&source, &error))?;
        }
        let (command_sender, commands) = unbounded();
        let (query_sender, queries) = unbounded();
        let (request, requests) = bounded(1);
        let shared = Arc::new(Shared::new(options.durability, command_sender, query_sender, Box::new(on_event)));
        let reader = StorageReader::new(shared.clone(), queries, source.clone(), options.clock.clone());
        let log = Checkpointer { source: source.clone(), shared: shared.clone(), requests };
        let database_file = DatabaseFile::new(source.clone(), options.durability, directory)
            .map_err(|error| failure(&source, &error))?;
        let writer = Writer::new(shared.clone(), commands, request, database_file, options, random_seed());
        let threads = [
            spawn("storage-reader", move || reader.run()),
            spawn("storage-log", move || log.run()),
            spawn("storage", move || writer.run(connection)),
        ];
        let threads = threads.into_iter().collect::<std::io::Result<_>>();
        let no_thread = |error: std::io::Error| OpenError::Database { file: source.path(), detail: error.to_string() };
        let threads = threads.map_err(no_thread)?;
        Ok(Storage { handle: shared, source, threads })
    }
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> std::io::Result<JoinHandle<()>> {
    thread::Builder::new().name(name.into()).spawn(run)
}
