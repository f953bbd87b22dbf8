//! The writer's database file: checks that it is still in place, and reopens it after a failure.

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
    /// The id of this server run, as written to the file; see [`DatabaseFile::reconnect`].
    life_id: String,
    /// An idle connection. A database in memory exists only while a connection is open. For a file, the first
    /// connection searches the log for transactions, and after a failed sync it would find one whose batches were
    /// refused. An open connection prevents this search.
    _anchor: Connection,
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
            directory,
            life_id: life_id(&anchor)?.unwrap_or_default(),
            source,
            _anchor: anchor,
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
        self.verify_in_place()
    }

    fn verify_in_place(&self) -> Result<(), Failure> {
        // A database in memory has no place on disk.
        let Some(directory) = &self.directory else { return Ok(()) };
        match directory.database_id() {
            Ok(id) if id == self.file => Ok(()),
            Ok(_) => Err((StorageState::Failing, ANOTHER_FILE.to_owned())),
            Err(error) => Err((StorageState::Failing, format!("{}: {error}", self.source.path().display()))),
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
    pub(super) fn reconnect(&self) -> Result<Connection, Failure> {
        // First, because otherwise the log of one file could be applied to the other.
        self.verify_in_place()?;
        let mut connection = self.source.write().map_err(failure)?;
        if life_id(&connection).map_err(failure)?.as_deref() != Some(&self.life_id) {
            return Err((StorageState::Failing, ANOTHER_FILE.to_owned()));
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
