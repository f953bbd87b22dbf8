//! The writer's database file: checks that it and its log are still in place, and reopens it after a failure.
//!
//! A file that is deleted while it is open keeps its contents until the server ends. These are written back then: the log to
//! the database, the database to a new file. Nothing more is written until a restart, because the connections that are open
//! use the deleted file.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::{Connection, OptionalExtension, Result, params};

use crate::message::storage::StorageState;
use crate::runtime::storage::Durability;
use crate::runtime::storage::connection::{DatabaseSource, find_damage};
use crate::runtime::storage::directory::{Directory, FileId};
use crate::runtime::storage::error::state;

/// Interval of the check that the file is in place.
const CHECK_INTERVAL: Duration = Duration::from_millis(100);

/// Shortest and longest pause between two attempts to reopen the file.
const RETRY_PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// Time without a failure after which the next one counts as the first.
const RESET_AFTER: Duration = Duration::from_secs(60);

/// Bytes that a reopened file must be able to take.
const PROBE_BYTES: usize = 64 << 10;

/// Time limit of the damage check before a reopened file is used.
const CHECK: Duration = Duration::from_secs(1);

const ANOTHER_FILE: &str = "another file is in the place of the one this server began with; restart to use it";

/// A failure of the files: the resulting state and the database's error message.
pub(super) type Failure = (StorageState, String);

pub(super) fn failure(error: rusqlite::Error) -> Failure {
    (state(&error), error.to_string())
}

/// See the module description.
pub(super) struct DatabaseFile {
    source: DatabaseSource,
    durability: Durability,
    /// Holds the lock of the data directory; `None` for a database in memory.
    directory: Option<Directory>,
    file: FileId,
    /// The write-ahead log, once it exists.
    log: Option<FileId>,
    /// What becomes of the file after it has lost its name.
    handle: Option<File>,
    /// Whether what was deleted is written back.
    is_written_back: bool,
    /// The id of this server run, as written to the file; see [`DatabaseFile::reconnect`].
    life_id: String,
    /// An idle connection. A database in memory exists only while a connection is open. For a file, the first
    /// connection searches the log for transactions, and after a failed sync it would find one whose batches were
    /// refused. An open connection prevents this search.
    anchor: Connection,
    checked_at: Instant,
    failed_at: Option<Instant>,
    pause: Duration,
}

impl DatabaseFile {
    /// The file at its present place. The caller must hold another connection to it.
    pub(super) fn new(source: DatabaseSource, durability: Durability, directory: Option<Directory>) -> Result<Self> {
        let anchor = source.write()?;
        Ok(Self {
            durability,
            file: directory.as_ref().and_then(|directory| directory.database_id().ok()).unwrap_or_default(),
            log: directory.as_ref().and_then(|directory| directory.log_id().ok()),
            handle: directory.as_ref().and_then(|directory| directory.watch_database().ok()),
            is_written_back: false,
            directory,
            life_id: life_id(&anchor)?.unwrap_or_default(),
            source,
            anchor,
            checked_at: Instant::now(),
            failed_at: None,
            pause: RETRY_PAUSES.0,
        })
    }

    /// Checks at intervals that the file is still in place: a moved or deleted file would accept writes that no later
    /// run can read.
    pub(super) fn check(&mut self) -> Result<(), Failure> {
        if self.checked_at.elapsed() < CHECK_INTERVAL {
            return Ok(());
        }
        self.checked_at = Instant::now();
        if self.log.is_none() {
            self.log = self.directory.as_ref().and_then(|directory| directory.log_id().ok());
        }
        self.verify_in_place().map_err(|failure| self.write_back(failure))
    }

    fn verify_in_place(&self) -> Result<(), Failure> {
        // A database in memory has no place on disk.
        let Some(directory) = &self.directory else { return Ok(()) };
        let path = self.source.path();
        let path = path.display();
        let detail = match directory.database_id() {
            Ok(id) if id == self.file => match (self.log, directory.log_id()) {
                (None, _) => return Ok(()),
                (Some(known), Ok(id)) if known == id => return Ok(()),
                (Some(_), Ok(_)) => format!("another file is in the place of {path}-wal"),
                (Some(_), Err(error)) => format!("{path}-wal: {error}"),
            },
            Ok(_) => ANOTHER_FILE.to_owned(),
            Err(error) => format!("{path}: {error}"),
        };
        Err((StorageState::Displaced, detail))
    }

    /// Writes back what was deleted, if it was and is not written back yet; the failure with what is to be done.
    fn write_back(&mut self, (state, detail): Failure) -> Failure {
        let Some(directory) = &self.directory else { return (state, detail) };
        let is_deleted = |file: &File| file.metadata().is_ok_and(|metadata| metadata.nlink() == 0);
        let is_deleted = self.handle.as_ref().is_some_and(is_deleted);
        let is_in_place = directory.database_id().is_ok_and(|id| id == self.file);
        if !self.is_written_back && (is_deleted || is_in_place) {
            // An empty log fits any database.
            let written = empty_log(&self.anchor).and_then(|()| match is_deleted {
                true => {
                    let copy = |path: &Path| self.anchor.execute("VACUUM INTO ?1", [path.to_string_lossy()]).map(drop);
                    directory.put_database(copy).map_err(|error| error.to_string())
                }
                false => Ok(()),
            });
            match written {
                Ok(()) => self.is_written_back = true,
                Err(error) => return (state, format!("{detail}; what it had cannot be written back: {error}")),
            }
        }
        match self.is_written_back {
            true => (
                state,
                format!(
                    "{detail}; all that was stored is in {} again: restart the server",
                    self.source.path().display()
                ),
            ),
            false => (state, detail),
        }
    }

    /// Records a failure; returns the pause before the next attempt.
    pub(super) fn record_failure(&mut self) -> Duration {
        let is_first = self.failed_at.is_none_or(|at| at.elapsed() > RESET_AFTER);
        self.pause = if is_first { RETRY_PAUSES.0 } else { (self.pause * 2).min(RETRY_PAUSES.1) };
        self.failed_at = Some(Instant::now());
        debug_assert!(RETRY_PAUSES.0 <= self.pause && self.pause <= RETRY_PAUSES.1, "invariant: retries are paced");
        self.pause
    }

    /// Reopens the file, and verifies that it is writable and that it is the file of this server run: an older copy
    /// would lack committed batches.
    pub(super) fn reconnect(&mut self) -> Result<Connection, Failure> {
        // First, because otherwise the log of one file could be applied to the other.
        if let Err(failure) = self.verify_in_place() {
            return Err(self.write_back(failure));
        }
        let mut connection = self.source.write().map_err(failure)?;
        if life_id(&connection).map_err(failure)?.as_deref() != Some(&self.life_id) {
            return Err((StorageState::Displaced, ANOTHER_FILE.to_owned()));
        }
        if let Some(detail) = find_damage(&mut connection, CHECK).map_err(failure)? {
            return Err((StorageState::Corrupt, detail));
        }
        self.source.configure(&connection, self.durability).map_err(failure)?;
        // The log itself may have filled the disk. If its pages replace others it can be truncated even now; otherwise
        // the probe fails.
        let _ = connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)");
        probe(&connection).map_err(failure)?;
        Ok(connection)
    }
}

/// Copies the whole log to the database, and empties it.
fn empty_log(connection: &Connection) -> std::result::Result<(), String> {
    let is_busy = |row: &rusqlite::Row<'_>| row.get::<_, bool>(0);
    match connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], is_busy) {
        Ok(false) => Ok(()),
        Ok(true) => Err("the log is being read".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// The id of the server run that wrote the file last.
fn life_id(connection: &Connection) -> Result<Option<String>> {
    connection.query_row("SELECT value FROM state WHERE name = 'life'", [], |row| row.get(0)).optional()
}

/// Writes a row of the probe size, and deletes it.
fn probe(connection: &Connection) -> Result<()> {
    let put = "INSERT INTO state VALUES('probe', ?1) ON CONFLICT DO UPDATE SET value = excluded.value";
    connection.execute(put, params!["?".repeat(PROBE_BYTES)])?;
    connection.execute("DELETE FROM state WHERE name = 'probe'", []).map(drop)
}
