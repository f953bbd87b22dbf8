//! What can go wrong with the files, sorted by what is to be done about it.

use std::fmt;
use std::io;
use std::path::PathBuf;

use rusqlite::{Error, ErrorCode};

use crate::message::storage::StorageState;

/// Why a store could not be opened. Each says which file or directory, and what to do.
#[derive(Debug)]
pub enum OpenError {
    /// Another process has the data directory.
    InUse {
        /// The directory.
        directory: PathBuf,
        /// The process, as far as it told.
        pid: Option<u32>,
    },
    /// The directory cannot be made or written.
    Directory {
        /// The directory.
        directory: PathBuf,
        /// What the operating system says.
        error: io::Error,
    },
    /// The file was written by a later version of this program.
    Newer {
        /// The file.
        file: PathBuf,
        /// Its schema's version.
        found: i32,
        /// The latest this program knows.
        known: i32,
    },
    /// The file is another program's.
    Foreign {
        /// The file.
        file: PathBuf,
    },
    /// The file is damaged.
    Corrupt {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        detail: String,
    },
    /// The file cannot be read or written.
    Database {
        /// The file.
        file: PathBuf,
        /// What is wrong.
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

/// Why something could not be written or read.
#[derive(Debug)]
pub(super) enum Fault {
    /// The record contradicts what is kept: somebody's mistake, and no fault of the files.
    Refused(String),
    /// The files failed.
    Failed(StorageState, String),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::ConstraintViolation | ErrorCode::TooBig | ErrorCode::TypeMismatch) => {
                Self::Refused(error.to_string())
            }
            _ => Self::Failed(state(&error), error.to_string()),
        }
    }
}

/// What an error of the database says about the store.
pub(super) fn state(error: &Error) -> StorageState {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => StorageState::Full,
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => StorageState::Corrupt,
        _ => match error {
            // A value that is not what was put there.
            Error::FromSqlConversionFailure(..)
            | Error::IntegralValueOutOfRange(..)
            | Error::Utf8Error(..)
            | Error::InvalidColumnType(..) => StorageState::Corrupt,
            _ => StorageState::Failing,
        },
    }
}
