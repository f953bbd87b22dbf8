//! The data directory: locked by one server at a time; damaged files are renamed in it.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::base::time::rfc3339;
use crate::runtime::storage::error::OpenError;

pub(super) const DATABASE: &str = "store.db";

/// The lock file of a running server; holds its process id.
const LOCK: &str = "lock";

/// Suffixes of the write-ahead log and its index.
const COMPANIONS: [&str; 2] = ["-wal", "-shm"];

/// A locked data directory. The lock ends when this is dropped, or with the process.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    lock: File,
}

/// The identity of a file. The device is left out because it may change when a file system is mounted again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct FileId {
    inode: u64,
}

/// Why a database was not put in its place.
#[derive(Debug)]
pub(super) enum PutError<E> {
    Written(E),
    Put(io::Error),
}

impl<E: std::fmt::Display> std::fmt::Display for PutError<E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Written(error) => error.fmt(f),
            Self::Put(error) => error.fmt(f),
        }
    }
}

impl Directory {
    /// Creates the directory if needed, accessible to the server's user only, and locks it.
    pub(super) fn claim(path: &Path) -> Result<Self, OpenError> {
        let failed = |error| OpenError::Directory { directory: path.to_owned(), error };
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed)?;
        let path = path.canonicalize().map_err(failed)?;
        let lock = path.join(LOCK);
        let mut lock =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(lock).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(OpenError::InUse { pid: pid_in(&mut lock), directory: path }),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        // The process id is only information; a full disk must not fail the start here.
        let _ = lock.set_len(0).and_then(|()| lock.rewind()).and_then(|()| write!(lock, "{}", std::process::id()));
        Ok(Self { path, lock })
    }

    pub(super) fn database(&self) -> PathBuf {
        self.path.join(DATABASE)
    }

    /// The present identity of the database file.
    pub(super) fn database_id(&self) -> io::Result<FileId> {
        file_id(&self.database())
    }

    /// The present identity of the write-ahead log.
    pub(super) fn log_id(&self) -> io::Result<FileId> {
        file_id(&with_suffix(&self.database(), COMPANIONS[0]))
    }

    /// A handle of the database file that only says what becomes of it. Closing another kind would end SQLite's locks.
    pub(super) fn watch_database(&self) -> io::Result<File> {
        let flags = libc::O_PATH;
        OpenOptions::new().read(true).custom_flags(flags).open(self.database())
    }

    /// Puts a complete database in the place of one that was deleted. `write` writes it to a path.
    pub(super) fn put_database<E>(&self, write: impl FnOnce(&Path) -> Result<(), E>) -> Result<(), PutError<E>> {
        let draft = with_suffix(&self.database(), ".new");
        let _ = fs::remove_file(&draft);
        write(&draft).map_err(PutError::Written)?;
        // A hard link never replaces a file.
        let put = File::open(&draft).and_then(|file| file.sync_all());
        let put = put.and_then(|()| fs::hard_link(&draft, self.database())).and_then(|()| fs::remove_file(&draft));
        put.and_then(|()| File::open(&self.path)?.sync_all()).map_err(PutError::Put)
    }

    /// Renames the database and its companions, with a word that tells why; returns the database's new name. `at` is in
    /// milliseconds since 1970.
    pub(super) fn set_aside(&self, why: &str, at: u64) -> Result<PathBuf, OpenError> {
        let failed = |error| OpenError::Directory { directory: self.path.clone(), error };
        let time: String = rfc3339(at).chars().take(19).filter(char::is_ascii_alphanumeric).collect();
        let free = |number: u32| {
            let number = if number == 1 { String::new() } else { format!("-{number}") };
            let name = self.path.join(format!("{DATABASE}.{why}-{time}Z{number}"));
            (!name.exists()).then_some(name)
        };
        let aside = (1..u32::MAX).find_map(free).unwrap_or_else(|| self.path.join(why));
        // The database first: an interruption then leaves companions without a database, which the next start sets
        // aside too, instead of a database without its latest changes.
        for suffix in ["", COMPANIONS[0], COMPANIONS[1]] {
            let from = with_suffix(&self.database(), suffix);
            if from.exists() {
                fs::rename(from, with_suffix(&aside, suffix)).map_err(failed)?;
            }
        }
        self.sync()?;
        Ok(aside)
    }

    /// Whether a write-ahead log exists without its database.
    pub(super) fn has_orphan(&self) -> bool {
        let size = |path: PathBuf| fs::metadata(path).map_or(0, |metadata| metadata.len());
        size(self.database()) == 0 && size(with_suffix(&self.database(), COMPANIONS[0])) > 0
    }

    /// Makes the directory's entries survive a power failure.
    pub(super) fn sync(&self) -> Result<(), OpenError> {
        let synced = File::open(&self.path).and_then(|directory| directory.sync_all());
        synced.map_err(|error| OpenError::Directory { directory: self.path.clone(), error })
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // Closing the file would not suffice: a child process may hold a copy of the descriptor until it executes its
        // program.
        let _ = self.lock.unlock();
    }
}

fn file_id(path: &Path) -> io::Result<FileId> {
    let metadata = fs::metadata(path)?;
    Ok(FileId { inode: metadata.ino() })
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// The process id of the server that uses a data directory, if there is one.
pub fn running_server(directory: &Path) -> Option<u32> {
    let mut lock = File::open(directory.join(LOCK)).ok()?;
    match lock.try_lock_shared() {
        Err(TryLockError::WouldBlock) => pid_in(&mut lock),
        _ => None,
    }
}

fn pid_in(lock: &mut File) -> Option<u32> {
    let mut text = String::new();
    lock.take(16).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}
