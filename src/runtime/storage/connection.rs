//! Connections to the database, and the check for damage.

use std::ffi::{c_int, c_void};
use std::fs;
use std::path::PathBuf;
use std::ptr::null_mut;
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rusqlite::{Connection, Error, ErrorCode, OpenFlags, Result, ffi};

use crate::runtime::allocator;
use crate::runtime::storage::Durability;

/// How long a write waits for another process that has locked the file, for example a backup.
const LOCK_WAIT: Duration = Duration::from_secs(2);

/// Page cache of the writer, in KiB.
const WRITER_CACHE_KIB: u32 = 16_384;

/// Page cache of the reader, in KiB.
const READER_CACHE_KIB: u32 = 8_192;

/// Size that the log file keeps on disk after a checkpoint.
const LOG_BYTES_KEPT: u32 = 64 << 20;

/// Size in bytes and number of the preallocated memory blocks of a writing connection. The prepared statements use up
/// SQLite's default blocks, so that each execution would call the allocator a dozen times.
const LOOKASIDE: (c_int, c_int) = (1_200, 200);

/// The database to connect to.
#[derive(Clone, Debug)]
pub(super) enum DatabaseSource {
    File(PathBuf),
    /// In memory, under a name that its connections share.
    Memory(String),
}

impl DatabaseSource {
    /// A new database in memory.
    pub(super) fn memory() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        Self::Memory(format!("file:/switchboard-{}?vfs=memdb", NUMBER.fetch_add(1, Ordering::Relaxed)))
    }

    /// The database's name in messages.
    pub(super) fn path(&self) -> PathBuf {
        match self {
            Self::File(path) => path.clone(),
            Self::Memory(_) => PathBuf::from("the database in memory"),
        }
    }

    fn open(&self, flags: OpenFlags) -> Result<Connection> {
        configure_library();
        let flags = flags | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = match self {
            Self::File(path) => Connection::open_with_flags(path, flags)?,
            Self::Memory(name) => Connection::open_with_flags(name, flags | OpenFlags::SQLITE_OPEN_URI)?,
        };
        connection.busy_timeout(LOCK_WAIT)?;
        Ok(connection)
    }

    /// Opens the database for writing, and creates it if it does not exist. An existing one is not changed yet.
    pub(super) fn create(&self) -> Result<Connection> {
        self.open(OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE)
    }

    /// Opens an existing database for writing.
    pub(super) fn write(&self) -> Result<Connection> {
        self.open(OpenFlags::SQLITE_OPEN_READ_WRITE)
    }

    /// Opens an existing database for reading.
    pub(super) fn read(&self) -> Result<Connection> {
        let connection = self.open(OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        connection.execute_batch(&format!("PRAGMA cache_size = -{READER_CACHE_KIB}; PRAGMA temp_store = memory;"))?;
        Ok(connection)
    }

    /// Configures a new connection for writing with the given durability; returns whether the database supports it.
    ///
    /// Without a memory map: with one, a truncated file would end the process by a signal instead of returning an
    /// error.
    pub(super) fn configure(&self, connection: &Connection, durability: Durability) -> Result<bool> {
        let mode = match self {
            Self::File(_) => "wal",
            Self::Memory(_) => "memory",
        };
        configure_lookaside(connection);
        connection.execute_batch(&format!(
            "PRAGMA cache_size = -{WRITER_CACHE_KIB};
             PRAGMA temp_store = memory;
             PRAGMA trusted_schema = off;
             PRAGMA cell_size_check = on;"
        ))?;
        let is_set = |row: &rusqlite::Row<'_>| row.get::<_, String>(0);
        if connection.query_row(&format!("PRAGMA journal_mode = {mode}"), [], is_set)? != mode {
            return Ok(false);
        }
        connection.execute_batch(&format!(
            "PRAGMA synchronous = {};
             PRAGMA wal_autocheckpoint = 0;
             PRAGMA journal_size_limit = {LOG_BYTES_KEPT};",
            durability.synchronous()
        ))?;
        Ok(true)
    }
}

/// Turns off SQLite's memory statistics, which would cost a lock per allocation.
fn configure_library() {
    static ONCE: Once = Once::new();
    // SAFETY: sets a number, once, before the first connection of this process. SQLite refuses later calls.
    ONCE.call_once(|| unsafe {
        ffi::sqlite3_config(ffi::SQLITE_CONFIG_MEMSTATUS, 0 as c_int);
    });
}

/// Sets the blocks of [`LOOKASIDE`].
fn configure_lookaside(connection: &Connection) {
    let (size, count) = LOOKASIDE;
    // SAFETY: the handle is valid while the connection lives, and the arguments have the types of this option. SQLite
    // allocates the memory itself; if it cannot, or if blocks are in use, it changes nothing.
    unsafe {
        ffi::sqlite3_db_config(connection.handle(), ffi::SQLITE_DBCONFIG_LOOKASIDE, null_mut::<c_void>(), size, count);
    }
}

/// Releases the cached pages of an idle connection.
pub(super) fn release_memory(connection: &Connection) -> Result<()> {
    connection.execute_batch("PRAGMA shrink_memory")?;
    allocator::trim();
    Ok(())
}

/// Checks for damage within a time limit; returns the first finding.
pub(super) fn find_damage(connection: &mut Connection, patience: Duration) -> Result<Option<String>> {
    let until = Instant::now() + patience;
    connection.progress_handler(1_000, Some(move || Instant::now() >= until))?;
    let found = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0));
    connection.progress_handler(0, None::<fn() -> bool>)?;
    match found {
        Ok(text) if text == "ok" => Ok(None),
        Ok(text) => Ok(Some(text.trim_start_matches("*** in database main ***").trim().to_owned())),
        Err(Error::SqliteFailure(error, _)) if error.code == ErrorCode::OperationInterrupted => Ok(None),
        Err(error) => Err(error),
    }
}

/// The id of the machine's present boot; empty if the operating system does not report it.
pub(super) fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|id| id.trim().to_owned()).unwrap_or_default()
}
