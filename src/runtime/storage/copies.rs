//! Copies of a database file: backups, also while a server uses it, their check, their way back, and an export as JSON.
//!
//! A copy is one file without a log, of one moment, and is put in its place only when it is complete.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rusqlite::Connection;

use crate::message::storage::StorageState;
use crate::runtime::storage::connection::DatabaseSource;
use crate::runtime::storage::directory::{DATABASE, Directory};
use crate::runtime::storage::error::{OpenError, state};
use crate::runtime::storage::schema;

/// The contents of a file that is in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileContents {
    /// Schema version.
    pub version: i32,
    /// Rooms with stored messages, or made by REST.
    pub rooms: u64,
    /// Messages of rooms.
    pub messages: u64,
    /// Users.
    pub users: u64,
    /// Size of the database.
    pub bytes: u64,
}

impl fmt::Display for FileContents {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { version, rooms, messages, users, bytes } = self;
        write!(formatter, "version {version}, {rooms} rooms, {messages} messages, {users} users, {bytes} bytes")
    }
}

/// The database file in a data directory.
pub fn database_of(directory: &Path) -> PathBuf {
    directory.join(DATABASE)
}

/// Checks a whole file.
///
/// # Errors
/// It is damaged, of another program or of a later version, or cannot be read.
pub fn check(file: &Path) -> Result<FileContents, OpenError> {
    let (connection, version) = open(file)?;
    let failed = |error| failure(file, &error);
    let found: String = connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0)).map_err(failed)?;
    if found != "ok" {
        return Err(OpenError::Corrupt { file: file.to_owned(), detail: found });
    }
    let count = |text| connection.query_row(text, [], |row| row.get::<_, i64>(0)).map(|count| count.unsigned_abs());
    let contents = || {
        Ok(FileContents {
            version,
            rooms: count("SELECT count(*) FROM room WHERE name IS NOT NULL")?,
            messages: count("SELECT count(*) FROM message")?,
            users: count("SELECT count(*) FROM user")?,
            bytes: count("SELECT page_count * page_size FROM pragma_page_count, pragma_page_size")?,
        })
    };
    contents().map_err(failed)
}

/// Copies the database of a data directory, which a server may use meanwhile, to a new file.
///
/// # Errors
/// There is no usable database, or the file is there already or cannot be written.
pub fn backup(directory: &Path, to: &Path) -> Result<FileContents, OpenError> {
    let from = database_of(directory);
    let (connection, _) = open(&from)?;
    if to.exists() {
        return Err(OpenError::Database { file: to.to_owned(), detail: "it is there already".to_owned() });
    }
    let mut draft = to.as_os_str().to_owned();
    draft.push(".new");
    let draft = PathBuf::from(draft);
    let _ = fs::remove_file(&draft);
    let contents = copy(&connection, &draft).and_then(|()| check(&draft));
    let put = contents.and_then(|contents| put(&draft, to).map(|()| contents));
    // What remains after a failure is of no use, and after a success the file has its own name.
    let _ = fs::remove_file(&draft);
    put
}

/// Makes a backup the database of a data directory that no server uses. Its rooms get new epochs: clients that have received
/// later messages then learn that they cannot recover. With `replaces`, a database that is there is renamed; `at` is the
/// time in milliseconds since 1970.
///
/// # Errors
/// The backup is not in order, the directory is in use or has a database already, or it cannot be written.
pub fn restore(
    from: &Path,
    directory: &Path,
    replaces: bool,
    at: u64,
) -> Result<(FileContents, Option<PathBuf>), OpenError> {
    let contents = check(from)?;
    let (connection, _) = open(from)?;
    let directory = Directory::claim(directory)?;
    let file = directory.database();
    let former = match (file.exists() || directory.has_orphan(), replaces) {
        (false, _) => None,
        (true, true) => Some(directory.set_aside("replaced", at)?),
        (true, false) => {
            let detail = "it is there already; --force renames it and puts the backup in its place".to_owned();
            return Err(OpenError::Database { file, detail });
        }
    };
    let put = directory.put_database(|draft| {
        copy(&connection, draft)?;
        let failed = |error| failure(draft, &error);
        let copied = DatabaseSource::File(draft.to_owned()).write().map_err(failed)?;
        copied
            .execute_batch(
                "BEGIN;
                 UPDATE room SET epoch = lower(hex(randomblob(4)));
                 INSERT INTO state VALUES('clean', 'yes') ON CONFLICT DO UPDATE SET value = excluded.value;
                 COMMIT;",
            )
            .map_err(failed)
    });
    put.map_err(|error| OpenError::Database { file, detail: error.to_string() })?;
    Ok((contents, former))
}

/// A room as JSON, then each of its messages.
const EXPORT: &str = "
    SELECT json_object('room', name, 'epoch', epoch, 'createdAt', created_at, 'host', host, 'title', title,
        'description', description, 'metadata', json(nullif(metadata, '')))
    FROM room WHERE number = ?1
    UNION ALL
    SELECT * FROM (SELECT json_object('room', room.name, 'seq', seq, 'id', lower(substr(hex(id), 1, 8) || '-' ||
        substr(hex(id), 9, 4) || '-' || substr(hex(id), 13, 4) || '-' || substr(hex(id), 17, 4) || '-' || substr(hex(id), 21)),
        'at', at, 'sender', user.name, 'displayName', display_name, 'event', event, 'content', json(body), 'kind', message.kind,
        'replyTo', reply_to, 'attachment', json(attachment), 'metadata', json(message.metadata))
    FROM message JOIN room ON room.number = message.room LEFT JOIN user ON user.number = message.sender
    WHERE message.room = ?1 ORDER BY seq)";

/// Writes the rooms of a data directory, which a server may use meanwhile, with their messages: one JSON object a line.
///
/// # Errors
/// There is no usable database of this version, there is no such room, or the lines cannot be written.
pub fn export(directory: &Path, room: Option<&str>, out: &mut impl Write) -> Result<u64, ExportError> {
    let file = database_of(directory);
    let (connection, version) = open(&file)?;
    if version < schema::VERSION {
        let detail = format!("it has version {version}; a start of this server makes it version {}", schema::VERSION);
        return Err(OpenError::Database { file, detail }.into());
    }
    // All lines are of one moment.
    let failed = |error: rusqlite::Error| ExportError::Store(failure(&file, &error));
    let transaction = connection.unchecked_transaction().map_err(failed)?;
    let mut rooms = transaction
        .prepare("SELECT number FROM room WHERE name IS NOT NULL AND (?1 IS NULL OR name = ?1) ORDER BY number")
        .map_err(failed)?;
    let numbers: rusqlite::Result<Vec<i64>> = rooms.query_map([room], |row| row.get(0)).map_err(failed)?.collect();
    let numbers = numbers.map_err(failed)?;
    if let (Some(room), []) = (room, numbers.as_slice()) {
        let detail = format!("it has no room {room:?}");
        return Err(OpenError::Database { file, detail }.into());
    }
    let (mut lines, mut rows) = (0, transaction.prepare(EXPORT).map_err(failed)?);
    for number in numbers {
        let mut rows = rows.query([number]).map_err(failed)?;
        while let Some(row) = rows.next().map_err(failed)? {
            let line: String = row.get(0).map_err(failed)?;
            writeln!(out, "{line}").map_err(ExportError::Output)?;
            lines += 1;
        }
    }
    out.flush().map_err(ExportError::Output)?;
    Ok(lines)
}

/// Why an export did not come to its end.
#[derive(Debug)]
pub enum ExportError {
    /// The store cannot be read.
    Store(OpenError),
    /// The lines cannot be written.
    Output(io::Error),
}

impl From<OpenError> for ExportError {
    fn from(error: OpenError) -> Self {
        Self::Store(error)
    }
}

impl fmt::Display for ExportError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store(error) => error.fmt(formatter),
            Self::Output(error) => write!(formatter, "the lines cannot be written: {error}"),
        }
    }
}

/// Opens a database of this program for reading; with its version.
fn open(file: &Path) -> Result<(Connection, i32), OpenError> {
    if let Err(error) = fs::metadata(file) {
        return Err(OpenError::Database { file: file.to_owned(), detail: error.to_string() });
    }
    let failed = |error| failure(file, &error);
    let connection = DatabaseSource::File(file.to_owned()).read().map_err(failed)?;
    let header = schema::header(&connection).map_err(failed)?;
    if header.application != schema::APPLICATION_ID {
        return Err(OpenError::Foreign { file: file.to_owned() });
    }
    if header.version > schema::VERSION {
        return Err(OpenError::Newer { file: file.to_owned(), found: header.version, known: schema::VERSION });
    }
    Ok((connection, header.version))
}

/// Writes a copy for the user of the server only, all of one moment.
fn copy(from: &Connection, to: &Path) -> Result<(), OpenError> {
    let refused = |error: io::Error| OpenError::Database { file: to.to_owned(), detail: error.to_string() };
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to).map_err(refused)?;
    let path = to.to_str().ok_or_else(|| refused(io::Error::other("its path is not UTF-8")))?;
    from.execute("VACUUM INTO ?1", [path]).map_err(|error| failure(to, &error))?;
    file.sync_all().map_err(refused)
}

/// Gives a complete copy its name, if no other file has it, for good.
fn put(draft: &Path, to: &Path) -> Result<(), OpenError> {
    let directory = to.parent().filter(|path| !path.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    let put = fs::hard_link(draft, to).and_then(|()| File::open(directory)?.sync_all());
    put.map_err(|error| OpenError::Database { file: to.to_owned(), detail: error.to_string() })
}

fn failure(file: &Path, error: &rusqlite::Error) -> OpenError {
    let (file, detail) = (file.to_owned(), error.to_string());
    match state(error) {
        StorageState::Corrupt => OpenError::Corrupt { file, detail },
        _ => OpenError::Database { file, detail },
    }
}
