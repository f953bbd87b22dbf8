//! The embedded storage: one SQLite database in the data directory, written by one thread and read by another.
//!
//! [`crate::message::storage`] specifies its guarantees; shards do not depend on this module.
//!
//! # Threads
//!
//! [`open`] claims the data directory, checks and migrates the database, and restores its data; [`Opened::start`] starts
//! the threads:
//!
//! - **writer**: commits all queued batches in one transaction and then sends their receipts. Under load transactions grow
//!   and more batches share the cost of a commit; a batch never waits for a transaction to fill. Between transactions the
//!   writer deletes expired rows, a few at a time.
//! - **reader**: answers queries on its own connection. It sees the last commit and never waits for the writer.
//! - **checkpointer**: copies committed pages from the write-ahead log to the database. This waits for the disk, so it does
//!   not run on the writer.
//!
//! # Cost of durability
//!
//! - `process`: a commit hands its pages to the operating system (`write`). They survive the end of the process, because
//!   the page cache of the system does; no commit waits for the disk. The mode is SQLite's `synchronous = NORMAL`, not
//!   `OFF`: commits cost the same, but `NORMAL` syncs around checkpoints, so a power failure costs the last commits and
//!   never the file. With `OFF` it may cost the file.
//! - `power`: `synchronous = FULL`, one `fsync` of the log per transaction, shared by all its batches.
//! - `none`: receipts are sent at once and the records are written later. Still `NORMAL`: the operator accepted lost
//!   messages, not a file that the next start must set aside.
//!
//! A server that ends without closing the storage may lose acknowledged batches: always with `none`, with `process` only if
//! the machine was restarted too. The next start detects this ([`Report::is_tail_lost`]) and gives every room a new epoch.
//!
//! # Disk failures
//!
//! The writer refuses the failed group and all later batches, closes its connection and reports a [`StorageState`]. It
//! retries after 100 ms, then at growing intervals of up to 5 s: it opens the file, verifies that it is the same file,
//! writes 64 KiB and then accepts batches again. After damage it first checks the file. With `none` no acknowledged batch
//! is refused: up to 64 MiB wait in memory until they can be written. Beyond 16 MiB their receipts wait, too.
//!
//! At the start a damaged file is renamed, with its log, to `store.db.damaged-TIME`, and a new one begins, because most
//! operators prefer a working service to old messages. The renamed file is complete; `sqlite3 … .recover` may restore most
//! of it. With [`OnDamage::Stop`] the file stays in place and every start fails until the operator has dealt with it.

mod checkpoint;
mod connection;
pub mod copies;
mod database_file;
mod directory;
mod error;
mod group;
mod lookup_cache;
mod memory_bounds;
mod open;
mod outbox;
mod reader;
mod record_writer;
mod restore;
mod rows;
mod schema;
mod shared;
mod statements;
mod sweep;
mod writer;

use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;

pub use directory::running_server;
pub use error::OpenError;
pub use memory_bounds::MemoryBounds;
pub use open::{Opened, Report, open};
pub use outbox::{Outbox, OutboxChange, OutboxEndpoint, OutboxOptions, WaitingEvent};

use crate::base::limits;
use crate::message::storage::StorageState;

pub use shared::Shared;

/// Returns the time in milliseconds since 1970.
pub type WallClock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// Options of the storage.
#[derive(Clone)]
pub struct StorageOptions {
    /// Where the database is.
    pub location: StorageLocation,
    /// What a committed batch survives.
    pub durability: Durability,
    /// Messages kept per room, and direct messages kept per user; 0: no bound.
    pub keep_messages: u64,
    /// How long a message is kept, in milliseconds; 0: for ever. A user without activity for that long is deleted with
    /// their last message.
    pub keep_ms: u64,
    /// The most that a database in memory holds. A file has no such bounds.
    pub memory: MemoryBounds,
    /// How long after a crash the sessions of that time can be recovered, in milliseconds.
    pub recovery_window_ms: u64,
    /// How a damaged file is treated.
    pub on_damage: OnDamage,
    /// The clock for the age of rows.
    pub clock: WallClock,
    /// The outbox of hook events, if the application has endpoints.
    pub outbox: Option<Arc<OutboxOptions>>,
}

/// Where the database is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StorageLocation {
    /// In this directory, which is created if it does not exist.
    Directory(PathBuf),
    /// In memory only; its data ends with the process.
    Memory,
}

/// What a committed batch survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// The end of the process.
    Process,
    /// A power failure: one fsync per transaction.
    Power,
    /// Neither.
    None,
}

/// How a damaged file is treated at the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnDamage {
    /// It is renamed, and a new one begins.
    #[default]
    SetAside,
    /// It stays in place, and the start fails.
    Stop,
}

impl Durability {
    fn as_str(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Power => "power",
            Self::None => "none",
        }
    }

    /// The value of SQLite's `synchronous`.
    fn synchronous(self) -> &'static str {
        match self {
            Self::Power => "full",
            Self::Process | Self::None => "normal",
        }
    }
}

/// State of the storage for health checks and metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StorageHealth {
    /// The worst state of its threads.
    pub state: StorageState,
    /// The database's last error message; empty in the state `Good`.
    pub detail: String,
    /// How long the oldest batch has been waiting, in milliseconds.
    pub lag_ms: u64,
    /// Size of the waiting batches.
    pub waiting_bytes: usize,
    /// Pages of 4 KiB in the write-ahead log.
    pub wal_pages: u32,
}

/// The running storage threads; dropping it completes pending writes and ends them.
pub struct Storage {
    handle: StorageHandle,
    source: connection::DatabaseSource,
    threads: Vec<JoinHandle<()>>,
}

/// Submits batches and queries to the storage threads.
pub type StorageHandle = Arc<Shared>;

impl Storage {
    /// A handle for one user of the storage.
    pub fn handle(&self) -> StorageHandle {
        self.handle.clone()
    }

    /// The outbox of hook events, for one of its endpoints.
    pub fn outbox(&self, endpoint: &str) -> Outbox {
        Outbox::new(self.source.clone(), self.handle.clone(), endpoint)
    }

    /// Updates the state [`StorageState::Late`]; to be called about once a second.
    pub fn check_lag(&self) {
        self.handle.check_lag(limits::STORE_LATE_MS);
    }

    /// Commits the batches submitted so far, and ends the threads. All users must have ended before: a later batch may get
    /// no receipt.
    pub fn close(self) {}
}

impl Drop for Storage {
    fn drop(&mut self) {
        self.handle.close();
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread of the store panicked");
            }
        }
    }
}
