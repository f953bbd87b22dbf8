//! Connections to the database, and the checks that a file must pass to be one.

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

/// How long a writer waits for another process that has locked the file, a backup program perhaps.
const LOCK_WAIT: Duration = Duration::from_secs(2);

/// The page cache of the writing connection, in KiB.
const WRITER_CACHE_KIB: u32 = 16_384;

/// The page cache of the reading connection, in KiB.
const READER_CACHE_KIB: u32 = 8_192;

/// Bytes that the write-ahead log keeps on disk after everything in it has moved to the database.
const LOG_BYTES_KEPT: u32 = 64 << 20;

/// Blocks of memory that a writing connection has at hand for what each of its statements needs while it runs, and their
/// size in bytes. What SQLite sets aside by itself is used up by the statements as such, so that each run of one would ask
/// the allocator a dozen times.
const BLOCKS: (c_int, c_int) = (1_200, 200);

/// Where the database is.
#[derive(Clone, Debug)]
pub(super) enum DatabaseSource {
    File(PathBuf),
    /// In memory, under a name that its connections share.
    Memory(String),
}

impl DatabaseSource {
    /// A database in memory that nobody else has.
    pub(super) fn memory() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        Self::Memory(format!("file:/switchboard-{}?vfs=memdb", NUMBER.fetch_add(1, Ordering::Relaxed)))
    }

    /// The database's name for people.
    pub(super) fn path(&self) -> PathBuf {
        match self {
            Self::File(path) => path.clone(),
            Self::Memory(_) => PathBuf::from("the database in memory"),
        }
    }

    fn open(&self, flags: OpenFlags) -> Result<Connection> {
        set_up();
        let flags = flags | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = match self {
            Self::File(path) => Connection::open_with_flags(path, flags)?,
            Self::Memory(name) => Connection::open_with_flags(name, flags | OpenFlags::SQLITE_OPEN_URI)?,
        };
        connection.busy_timeout(LOCK_WAIT)?;
        Ok(connection)
    }

    /// A connection that makes the database if there is none; nothing is changed yet in one that is there.
    pub(super) fn create(&self) -> Result<Connection> {
        self.open(OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE)
    }

    /// A connection to write by, to a database that is there.
    pub(super) fn write(&self) -> Result<Connection> {
        self.open(OpenFlags::SQLITE_OPEN_READ_WRITE)
    }

    /// A connection to read by.
    pub(super) fn read(&self) -> Result<Connection> {
        let connection = self.open(OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        connection.execute_batch(&format!("PRAGMA cache_size = -{READER_CACHE_KIB}; PRAGMA temp_store = memory;"))?;
        Ok(connection)
    }

    /// Has a fresh connection write as the durability asks; answers whether the database can do that.
    ///
    /// No memory map: with one, a file that is cut short would end the process by a signal instead of giving an error.
    pub(super) fn tune(&self, connection: &Connection, durability: Durability) -> Result<bool> {
        let mode = match self {
            Self::File(_) => "wal",
            Self::Memory(_) => "memory",
        };
        have_blocks(connection);
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

/// Has SQLite not count the memory it takes: nobody asks, and each time costs a lock.
fn set_up() {
    static ONCE: Once = Once::new();
    // SAFETY: it sets a number, once, and before this program's first connection; SQLite refuses where it has begun to work.
    ONCE.call_once(|| unsafe {
        ffi::sqlite3_config(ffi::SQLITE_CONFIG_MEMSTATUS, 0 as c_int);
    });
}

/// See [`BLOCKS`].
fn have_blocks(connection: &Connection) {
    let (size, count) = BLOCKS;
    // SAFETY: the handle is the connection's, which lives, and the arguments are those that this option has. SQLite takes the
    // memory itself; where it cannot, or has given out blocks already, it leaves everything as it was.
    unsafe {
        ffi::sqlite3_db_config(connection.handle(), ffi::SQLITE_DBCONFIG_LOOKASIDE, null_mut::<c_void>(), size, count);
    }
}

/// Gives back the pages that a connection has cached, which is memory of no use while nothing happens.
pub(super) fn give_back(connection: &Connection) -> Result<()> {
    connection.execute_batch("PRAGMA shrink_memory")?;
    allocator::give_back();
    Ok(())
}

/// Looks for damage as long as `patience` lasts; what was found, if anything.
pub(super) fn damage(connection: &mut Connection, patience: Duration) -> Result<Option<String>> {
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

/// What tells one start of this machine from the next; empty where the operating system does not say.
pub(super) fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|id| id.trim().to_owned()).unwrap_or_default()
}
