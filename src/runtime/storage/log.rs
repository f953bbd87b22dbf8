//! The write-ahead log's way into the database, on a thread of its own.
//!
//! Committed pages pile up in the log; now and then they are copied to the database, so that the log can begin again from
//! the front. Copying waits for the disk twice (the log must be there before the database changes, the database before the
//! log is overwritten), which may take tens of milliseconds; SQLite lets it happen while others read and write. Under a
//! load that never pauses, more has been appended by the end of each copy, and the log could never begin again. So this
//! thread copies until little is left, and the writer, who alone can keep others from appending, copies the rest.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crossbeam_channel::{Receiver, Sender};
use rusqlite::{Connection, Result};

use crate::message::storage::StorageState;
use crate::runtime::storage::Durability;
use crate::runtime::storage::connection::Source;
use crate::runtime::storage::error::state;
use crate::runtime::storage::shared::Shared;

/// The log is copied when it has so many pages (of 4 KiB). The longer it is the fewer pages are copied twice, but the
/// longer a restart takes that has to read it: 64 MiB are read in a tenth of a second.
const PAGES: u32 = 16_384;

/// So few pages may be left to the writer.
const PAGES_LEFT: u32 = 256;

/// Copies in a row.
const ROUNDS: usize = 3;

/// The thread that copies.
pub(super) struct Log {
    pub(super) source: Source,
    pub(super) shared: Arc<Shared>,
    pub(super) nudges: Receiver<()>,
}

impl Log {
    /// Copies whenever it is asked to, until nobody is left to ask.
    pub(super) fn run(self) {
        if matches!(self.source, Source::Memory(_)) {
            return;
        }
        let mut connection = None;
        while self.nudges.recv().is_ok() {
            let copied = match connection.take() {
                Some(connection) => Ok(connection),
                None => self.connect(),
            };
            match copied.and_then(|own| self.copy(&own).map(|()| own)) {
                Ok(own) => connection = Some(own),
                // If the disk is at fault, the writer will see it too, and say so.
                Err(error) => tracing::debug!(%error, "the write-ahead log could not be copied"),
            }
            self.shared.is_checkpointed.store(true, Ordering::Release);
        }
    }

    fn connect(&self) -> Result<Connection> {
        let connection = self.source.write()?;
        self.source.tune(&connection, Durability::Process)?;
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

/// Copies what can be copied without waiting for anybody.
fn checkpoint(connection: &Connection) -> Result<Copied> {
    connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| {
        let pages = |at| row.get::<_, i64>(at).map(|pages| u32::try_from(pages).unwrap_or(0));
        Ok(Copied { pages: pages(1)?, pages_done: pages(2)? })
    })
}

/// The writer's side: when to ask, and when to do the rest.
pub(super) struct LogKeeper {
    nudge: Sender<()>,
    shared: Arc<Shared>,
    is_asked: bool,
    /// Pages from which the log is worth copying.
    from: u32,
}

impl LogKeeper {
    pub(super) fn new(nudge: Sender<()>, shared: Arc<Shared>) -> Self {
        Self { nudge, shared, is_asked: false, from: PAGES }
    }

    /// To be called between transactions.
    pub(super) fn look(&mut self, connection: &Connection) -> Result<()> {
        let pages = self.shared.wal_pages.load(Ordering::Relaxed);
        if self.is_asked {
            if self.shared.is_checkpointed.swap(false, Ordering::Acquire) {
                self.is_asked = false;
                self.finish(connection)?;
            }
        } else if pages >= self.from {
            self.is_asked = self.nudge.try_send(()).is_ok();
        }
        Ok(())
    }

    /// Copies the rest. If somebody still reads from the log it cannot begin again yet; then it is tried again later. So
    /// it is when the database has no room to grow, for the log may still have some.
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
            self.from = PAGES;
        } else {
            self.from = copied.pages + PAGES / 4;
        }
        Ok(())
    }
}
