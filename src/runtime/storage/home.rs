//! The file that the writing thread writes to: whether it is still in its place, and how to get it back after a failure.

use std::time::{Duration, Instant};

use rusqlite::{Connection, OptionalExtension, Result, params};

use crate::message::storage::StorageState;
use crate::runtime::storage::Durability;
use crate::runtime::storage::connection::{Source, damage};
use crate::runtime::storage::directory::{Directory, FileId};
use crate::runtime::storage::error::state;

/// How often it is looked whether the file is still where it was.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The shortest and the longest time between two attempts to get the file back.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// After so long without a failure the next one counts as the first.
const FORGIVEN_AFTER: Duration = Duration::from_secs(60);

/// Bytes that must fit on the disk for it to count as back.
const PROBE_BYTES: usize = 64 << 10;

/// How long damage is looked for before the file counts as good again.
const CHECK: Duration = Duration::from_secs(1);

const ANOTHER_FILE: &str = "another file is in the place of the one this server began with; restart to use it";

/// The files have failed: what that makes of the store, and what the database said.
pub(super) type Failure = (StorageState, String);

pub(super) fn failure(error: rusqlite::Error) -> Failure {
    (state(&error), error.to_string())
}

/// See the module.
pub(super) struct Home {
    source: Source,
    durability: Durability,
    /// Held for its lock; nothing for a database in memory.
    directory: Option<Directory>,
    file: FileId,
    /// Which server's file it is; see [`Home::reconnect`].
    life: String,
    /// A connection without work. A database in memory stays only as long as somebody is connected. And with a file,
    /// whoever connects first looks through the log for transactions; after a failed sync it would find one whose
    /// batches have been refused. While somebody is connected, what counts as committed is common knowledge.
    _anchor: Connection,
    looked_at: Instant,
    failed_at: Option<Instant>,
    pause: Duration,
}

impl Home {
    /// The file that is there now. Somebody else must be connected to it.
    pub(super) fn new(source: Source, durability: Durability, directory: Option<Directory>) -> Result<Self> {
        let anchor = source.write()?;
        Ok(Self {
            durability,
            file: directory.as_ref().and_then(|directory| directory.database_id().ok()).unwrap_or_default(),
            directory,
            life: life(&anchor)?.unwrap_or_default(),
            source,
            _anchor: anchor,
            looked_at: Instant::now(),
            failed_at: None,
            pause: PAUSES.0,
        })
    }

    /// Makes sure, now and then, that the file is still in its place: one that was moved or removed would take writes as
    /// before, and nobody would find them again.
    pub(super) fn look(&mut self) -> Result<(), Failure> {
        if self.looked_at.elapsed() < LOOK_EVERY {
            return Ok(());
        }
        self.looked_at = Instant::now();
        self.is_in_place()
    }

    fn is_in_place(&self) -> Result<(), Failure> {
        let Some(directory) = &self.directory else { return Ok(()) };
        match directory.database_id() {
            Ok(id) if id == self.file => Ok(()),
            Ok(_) => Err((StorageState::Failing, ANOTHER_FILE.to_owned())),
            Err(error) => Err((StorageState::Failing, format!("{}: {error}", self.source.path().display()))),
        }
    }

    /// Notes a failure; how long to wait before the next attempt.
    pub(super) fn note_failure(&mut self) -> Duration {
        let is_first = self.failed_at.is_none_or(|at| at.elapsed() > FORGIVEN_AFTER);
        self.pause = if is_first { PAUSES.0 } else { (self.pause * 2).min(PAUSES.1) };
        self.failed_at = Some(Instant::now());
        self.pause
    }

    /// Opens the file again and makes sure that it can be written, and that it is the one that this server began with:
    /// an older copy would not have what everybody believes to be kept.
    pub(super) fn reconnect(&self) -> Result<Connection, Failure> {
        // First, because the log that belongs to the one would be taken for the other's.
        self.is_in_place()?;
        let mut connection = self.source.write().map_err(failure)?;
        if life(&connection).map_err(failure)?.as_deref() != Some(&self.life) {
            return Err((StorageState::Failing, ANOTHER_FILE.to_owned()));
        }
        if let Some(detail) = damage(&mut connection, CHECK).map_err(failure)? {
            return Err((StorageState::Corrupt, detail));
        }
        self.source.tune(&connection, self.durability).map_err(failure)?;
        // The log may be what fills the disk. Where its pages replace others it can be made shorter even now; where they do
        // not, the probe will tell.
        let _ = connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)");
        probe(&connection).map_err(failure)?;
        Ok(connection)
    }
}

/// Which life of a server the file belongs to.
fn life(connection: &Connection) -> Result<Option<String>> {
    connection.query_row("SELECT value FROM state WHERE name = 'life'", [], |row| row.get(0)).optional()
}

/// Writes something that is not small, and takes it back.
fn probe(connection: &Connection) -> Result<()> {
    let put = "INSERT INTO state VALUES('probe', ?1) ON CONFLICT DO UPDATE SET value = excluded.value";
    connection.execute(put, params!["?".repeat(PROBE_BYTES)])?;
    connection.execute("DELETE FROM state WHERE name = 'probe'", []).map(drop)
}
