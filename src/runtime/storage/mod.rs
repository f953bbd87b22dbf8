//! The embedded store: one SQLite database in the data directory, written by one thread, read by another.
//!
//! What it owes its users is said where they see it, in [`crate::message::storage`]; shards know nothing of this module.
//!
//! # The parts
//!
//! [`open`] claims the data directory, checks, migrates and reads back what is there; [`Opened::start`] begins the work:
//!
//! - **writer**: takes everything that has queued up, makes one transaction of it, and sends the receipts after the commit.
//!   The more there is to do the larger the transactions are, so the cost of a commit is shared by more records exactly
//!   when that matters; nobody waits for a batch to fill. Between transactions it deletes, a few rows at a time, what is
//!   kept no longer.
//! - **reader**: answers questions on a connection of its own, which sees the last commit and never waits for the writer.
//! - **log**: moves committed pages from the write-ahead log to the database. This has to wait for the disk, so it is not
//!   the writer's work.
//!
//! # What durability costs
//!
//! - `process`: a commit hands its pages to the operating system (`write`), and is safe from then on whatever happens to
//!   the process: its memory may go, the system's page cache stays. Nothing waits for the disk. The mode is SQLite's
//!   `synchronous = NORMAL`, not `OFF`: both are the same for commits, but `NORMAL` syncs around the moving of pages to
//!   the database, so that loss of power costs the last commits and never the file. With `OFF` it may cost the file.
//! - `power`: `synchronous = FULL`, one `fsync` of the log per transaction, shared by all batches in it.
//! - `none`: receipts go out at once, the writing follows. Still `NORMAL`: a file that the next start has to set aside
//!   is more than the operator agreed to lose.
//!
//! A server that ends without closing the store may have lost what it acknowledged: always with `none`, with `process` if
//! the machine was restarted too. The next start notices ([`Report::is_tail_lost`]) and gives every room a new epoch.
//!
//! # When the disk fails
//!
//! The group that failed is refused, and so is everything after it; the connection is closed, [`StorageState`] changes, and the
//! store tries again, at first after 100 ms, then less often up to every 5 s: it opens the file, makes sure that it is the
//! same, writes 64 KiB to it, and is good again. After damage it looks for more of it first. With `none` nothing is
//! refused that was acknowledged; it waits in memory, up to 64 MiB, and is written when that is possible again.
//!
//! A damaged file at the start is renamed, with its log, to `store.db.damaged-` and the time, and a new one begins, because
//! calls and chats that go on are worth more to most than old messages; nothing of it is lost, and `sqlite3 … .recover`
//! may bring most of it back. Who would rather have the server stay down says [`OnDamage::Stop`]: then the file stays where
//! it is, and every start says so, until it has been dealt with.

mod connection;
mod directory;
mod error;
mod group;
mod home;
mod ledger;
mod log;
mod open;
mod reader;
mod recent;
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

pub use error::OpenError;
pub use open::{Opened, Report, open};

use crate::base::limits;
use crate::message::Requester;
use crate::message::storage::{Batch, StorageQuery, StorageState};
use shared::{Question, Shared};

/// The time in milliseconds since 1970, by a clock of the caller's.
pub type WallClock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// What a store goes by.
#[derive(Clone)]
pub struct Options {
    /// Where it is.
    pub place: Place,
    /// What a receipt means.
    pub durability: Durability,
    /// Messages kept of a room, and of those that wait for a user; 0: no bound.
    pub keep_messages: u64,
    /// How long a message is kept, in milliseconds; 0: for ever. A user who was not heard of for that long is forgotten
    /// with their last message.
    pub keep_ms: u64,
    /// How long after a crash the sessions of the connections that lived then may be recovered, in milliseconds.
    pub recovery_window_ms: u64,
    /// What becomes of a damaged file.
    pub on_damage: OnDamage,
    /// The time that ages are counted by.
    pub clock: WallClock,
}

/// Where a store is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In this directory, which is made if need be.
    Directory(PathBuf),
    /// Nowhere on disk: it ends with the process.
    Memory,
}

/// What a batch has survived when its receipt goes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// The end of the process.
    Process,
    /// Loss of power.
    Power,
    /// Nothing.
    None,
}

/// What becomes of a damaged file at the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnDamage {
    /// It is renamed, and a new one begins.
    #[default]
    SetAside,
    /// It stays, and the start fails.
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

    /// SQLite's word for it.
    fn synchronous(self) -> &'static str {
        match self {
            Self::Power => "full",
            Self::Process | Self::None => "normal",
        }
    }
}

/// How the store is, for health checks and metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// Good, or what is wrong.
    pub state: StorageState,
    /// What the database said when it last failed; empty while all is good.
    pub detail: String,
    /// How long the oldest batch has been waiting, in milliseconds.
    pub lag_ms: u64,
    /// Bytes of records that wait.
    pub waiting_bytes: usize,
    /// Pages of 4 KiB in the write-ahead log.
    pub wal_pages: u32,
}

/// A store at work; dropping it closes it.
pub struct Storage {
    store: Store,
    threads: Vec<JoinHandle<()>>,
}

/// The way to a store; as many as there are users.
#[derive(Clone)]
pub struct Store(Arc<Shared>);

impl Storage {
    /// A way to the store.
    pub fn store(&self) -> Store {
        self.store.clone()
    }

    /// Looks whether records have been waiting for longer than they may; to be called now and then.
    pub fn look(&self) {
        self.store.0.look(limits::STORE_LATE_MS);
    }

    /// Writes what was submitted before, and ends. What is submitted meanwhile may get no receipt; have those who submit
    /// end first.
    pub fn close(self) {}
}

impl Drop for Storage {
    fn drop(&mut self) {
        self.store.0.close();
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread of the store panicked");
            }
        }
    }
}

impl Store {
    /// Has a batch kept; its receipt follows. Never waits: beyond 64 MiB of what is not written yet it is refused.
    pub fn submit(&self, batch: Batch) {
        self.0.submit(batch);
    }

    /// Asks; the answer follows.
    pub fn ask(&self, to: Requester, query: StorageQuery) {
        self.0.ask(Question { to, query });
    }

    /// How the store is.
    pub fn health(&self) -> Health {
        self.0.health()
    }
}
