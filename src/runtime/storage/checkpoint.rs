//! Checkpoints: copies committed pages from the write-ahead log to the database, on a thread of its own, so that the
//! log can restart from its beginning.
//!
//! A checkpoint waits for the disk twice (the log must be durable before the database changes, the database before the
//! log is overwritten). This takes up to tens of milliseconds, during which SQLite allows reads and writes. Under
//! constant load the log has grown again by the end of each copy and could never restart. Therefore this thread copies
//! until few pages are left, and the writer, which can exclude further writes, copies those.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};
use rusqlite::{Connection, Result};

use crate::message::storage::StorageState;
use crate::runtime::storage::Durability;
use crate::runtime::storage::connection::DatabaseSource;
use crate::runtime::storage::error::state;
use crate::runtime::storage::shared::Shared;

/// Length of the log, in pages of 4 KiB, that starts a checkpoint. A longer log copies fewer pages twice but takes
/// longer to read after a crash: 0.1 s for 64 MiB.
const PAGES: u32 = 16_384;

/// A log that is never that long is copied after this time, or when nothing is written for a moment, so that a copy of the
/// database file has most of what was stored.
const EVERY: Duration = Duration::from_secs(60);

/// Pages that the checkpointer may leave to the writer.
const PAGES_LEFT: u32 = 256;

/// Consecutive copies.
const ROUNDS: usize = 3;

/// The checkpointer thread.
pub(super) struct Checkpointer {
    pub(super) source: DatabaseSource,
    pub(super) shared: Arc<Shared>,
    pub(super) requests: Receiver<()>,
}

impl Checkpointer {
    /// Serves requests until the writer has ended.
    pub(super) fn run(self) {
        if matches!(self.source, DatabaseSource::Memory(_)) {
            return;
        }
        let mut connection = None;
        while self.requests.recv().is_ok() {
            let copied = match connection.take() {
                Some(connection) => Ok(connection),
                None => self.connect(),
            };
            match copied.and_then(|own| self.copy(&own).map(|()| own)) {
                Ok(own) => connection = Some(own),
                // The writer meets and reports the same disk failure.
                Err(error) => tracing::debug!(%error, "the write-ahead log could not be copied"),
            }
            self.shared.is_checkpointed.store(true, Ordering::Release);
        }
    }

    fn connect(&self) -> Result<Connection> {
        let connection = self.source.write()?;
        self.source.configure(&connection, Durability::Process)?;
        Ok(connection)
    }

    fn copy(&self, connection: &Connection) -> Result<()> {
        for _ in 0..ROUNDS {
            let copied = checkpoint(connection)?;
            if self.shared.wal_pages.load(Ordering::Relaxed).saturating_sub(copied.pages_done) <= PAGES_LEFT {
                break;
            }
        }
        Ok(())
    }
}

struct Copied {
    pages: u32,
    pages_done: u32,
}

/// Copies all pages that can be copied without waiting for readers.
fn checkpoint(connection: &Connection) -> Result<Copied> {
    connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| {
        let pages = |at| row.get::<_, i64>(at).map(|pages| u32::try_from(pages).unwrap_or(0));
        Ok(Copied { pages: pages(1)?, pages_done: pages(2)? })
    })
}

/// The writer's part: requests checkpoints and completes them.
pub(super) struct CheckpointScheduler {
    request: Sender<()>,
    shared: Arc<Shared>,
    is_requested: bool,
    /// Length of the log, in pages, that starts the next checkpoint.
    from: u32,
    /// Its length when a checkpoint was last requested, and when that was.
    last: (u32, Instant),
}

impl CheckpointScheduler {
    pub(super) fn new(request: Sender<()>, shared: Arc<Shared>) -> Self {
        Self { request, shared, is_requested: false, from: PAGES, last: (0, Instant::now()) }
    }

    /// To be called between transactions; `is_idle`: nothing has been written for a moment.
    pub(super) fn schedule(&mut self, connection: &Connection, is_idle: bool) -> Result<()> {
        let pages = self.shared.wal_pages.load(Ordering::Relaxed);
        if self.is_requested {
            if self.shared.is_checkpointed.swap(false, Ordering::Acquire) {
                self.is_requested = false;
                self.finish(connection)?;
            }
            return Ok(());
        }
        let is_new = pages > 0 && pages != self.last.0;
        if pages >= self.from || is_new && (is_idle || self.last.1.elapsed() >= EVERY) {
            self.is_requested = self.request.try_send(()).is_ok();
            self.last = (pages, Instant::now());
        }
        Ok(())
    }

    /// Copies the remaining pages. While a reader still uses the log it cannot restart; then the copy is repeated
    /// later. The same applies if the disk has no room for the database, because the log may still have some.
    fn finish(&mut self, connection: &Connection) -> Result<()> {
        let copied = match checkpoint(connection) {
            Err(error) if state(&error) == StorageState::Full => {
                tracing::warn!(%error, "the write-ahead log cannot be copied to the database");
                Copied { pages: self.shared.wal_pages.load(Ordering::Relaxed), pages_done: 0 }
            }
            copied => copied?,
        };
        if copied.pages_done == copied.pages {
            self.shared.wal_pages.store(0, Ordering::Relaxed);
            self.last.0 = 0;
            self.from = PAGES;
        } else {
            self.from = copied.pages + PAGES / 4;
        }
        Ok(())
    }
}
