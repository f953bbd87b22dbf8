//! Storage errors, by the reaction they need.

use std::fmt;
use std::io;
use std::path::PathBuf;

use rusqlite::{Error, ErrorCode};

use crate::message::storage::StorageState;

/// Why the storage could not be opened. The text names the file or directory and the remedy.
#[derive(Debug)]
pub enum OpenError {
    /// Another process uses the data directory.
    InUse {
        /// The directory.
        directory: PathBuf,
        /// The process id, if the lock file has one.
        pid: Option<u32>,
    },
    /// The directory cannot be created or written.
    Directory {
        /// The directory.
        directory: PathBuf,
        /// The error of the operating system.
        error: io::Error,
    },
    /// A later version of this program wrote the file.
    Newer {
        /// The file.
        file: PathBuf,
        /// Schema version of the file.
        found: i32,
        /// Latest schema version of this program.
        known: i32,
    },
    /// The file belongs to another program.
    Foreign {
        /// The file.
        file: PathBuf,
    },
    /// The file is damaged.
    Corrupt {
        /// The file.
        file: PathBuf,
        /// The error message of the check.
        detail: String,
    },
    /// The file cannot be read or written.
    Database {
        /// The file.
        file: PathBuf,
        /// The error message of the database.
        detail: String,
    },
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InUse { directory, pid } => {
                write!(f, "the data directory {} is in use by ", directory.display())?;
                match pid {
                    Some(pid) => write!(f, "process {pid}")?,
                    None => f.write_str("another process")?,
                }
                f.write_str("; stop that server, or give this one another data_dir")
            }
            Self::Directory { directory, error } => {
                write!(f, "the data directory {} cannot be used: {error}", directory.display())
            }
            Self::Newer { file, found, known } => write!(
                f,
                "{} has version {found}, this program knows versions up to {known}: it was written by a later version \
                 of Switchboard; run that one, or give this one another data_dir",
                file.display()
            ),
            Self::Foreign { file } => {
                write!(f, "{} is a database of another program; give another data_dir", file.display())
            }
            Self::Corrupt { file, detail } => write!(f, "{} is damaged: {detail}", file.display()),
            Self::Database { file, detail } => write!(f, "{} cannot be used: {detail}", file.display()),
        }
    }
}

impl std::error::Error for OpenError {}

/// Why a read or write failed.
#[derive(Debug)]
pub(super) enum StorageFault {
    /// The record contradicts the stored data: a fault of the sender, not of the files.
    Refused(String),
    /// The files failed.
    Failed(StorageState, String),
}

impl From<Error> for StorageFault {
    fn from(error: Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::ConstraintViolation | ErrorCode::TooBig | ErrorCode::TypeMismatch) => {
                Self::Refused(error.to_string())
            }
            _ => Self::Failed(state(&error), error.to_string()),
        }
    }
}

/// The storage state that a database error implies.
pub(super) fn state(error: &Error) -> StorageState {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => StorageState::Full,
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => StorageState::Corrupt,
        _ => match error {
            // A stored value has the wrong form.
            Error::FromSqlConversionFailure(..)
            | Error::IntegralValueOutOfRange(..)
            | Error::Utf8Error(..)
            | Error::InvalidColumnType(..) => StorageState::Corrupt,
            _ => StorageState::Failing,
        },
    }
}
