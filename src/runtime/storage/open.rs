//! From a data directory to a store that is ready: claimed, checked, migrated, and read back.

use std::path::PathBuf;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_channel::{bounded, unbounded};
use rusqlite::{Connection, OptionalExtension, params};

use crate::message::storage::{Restored, StorageEvent, StorageState};
use crate::runtime::entropy;
use crate::runtime::storage::connection::{Source, boot_id, damage};
use crate::runtime::storage::directory::Directory;
use crate::runtime::storage::error::{OpenError, state};
use crate::runtime::storage::home::Home;
use crate::runtime::storage::log::Log;
use crate::runtime::storage::reader::Reader;
use crate::runtime::storage::rows::int;
use crate::runtime::storage::shared::Shared;
use crate::runtime::storage::writer::Writer;
use crate::runtime::storage::{Durability, OnDamage, Options, Place, Storage, Store, restore, schema};

/// How long a start looks for damage beforehand. A file too large for that is looked at as far as it goes; what is
/// damaged beyond is found when it is used.
const CHECK: Duration = Duration::from_secs(2);

/// What happened while the store was opened that an operator should know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// There was nothing before.
    pub is_new: bool,
    /// The file was of this older version of the schema.
    pub migrated_from: Option<i32>,
    /// A damaged file was found, and is kept under this name; the store begins anew.
    pub set_aside: Option<PathBuf>,
    /// The last server's end may have cost the newest messages, so every room has a new epoch: clients that were told of
    /// those messages learn that they cannot recover, rather than meet other messages under the same numbers.
    pub is_tail_lost: bool,
}

/// A store that nobody uses yet.
pub struct Opened {
    options: Options,
    directory: Option<Directory>,
    source: Source,
    connection: Connection,
    report: Report,
}

/// Claims the data directory and makes its database fit for use. See [`OnDamage`] for what becomes of a damaged one.
///
/// # Errors
/// As [`OpenError`] says.
pub fn open(options: Options) -> Result<Opened, OpenError> {
    let (directory, source) = match &options.place {
        Place::Memory => (None, Source::memory()),
        Place::Directory(path) => {
            let directory = Directory::claim(path)?;
            let source = Source::File(directory.database());
            (Some(directory), source)
        }
    };
    let found = match &directory {
        Some(directory) if directory.has_orphan() => {
            let detail = "there is a write-ahead log, but not the database it belongs to".to_owned();
            Err(OpenError::Corrupt { file: source.path(), detail })
        }
        _ => prepare(&source, &options),
    };
    match (found, directory) {
        (Ok((connection, report)), directory) => {
            directory.as_ref().map_or(Ok(()), Directory::sync)?;
            Ok(Opened { options, directory, source, connection, report })
        }
        (Err(OpenError::Corrupt { detail, .. }), Some(directory)) => begin_anew(options, directory, source, &detail),
        (Err(error), _) => Err(error),
    }
}

fn begin_anew(options: Options, directory: Directory, source: Source, detail: &str) -> Result<Opened, OpenError> {
    let file = source.path();
    if options.on_damage == OnDamage::Stop {
        return Err(OpenError::Corrupt { file, detail: detail.to_owned() });
    }
    let aside = directory.set_aside((options.clock)())?;
    tracing::error!(
        "{} is damaged: {detail}. It is kept as {} and a new one begins: rooms, messages and sessions from before are \
         not served until a repaired file is put in its place",
        file.display(),
        aside.display()
    );
    let (connection, report) = prepare(&source, &options)?;
    directory.sync()?;
    let report = Report { set_aside: Some(aside), ..report };
    Ok(Opened { options, directory: Some(directory), source, connection, report })
}

/// Opens, checks and migrates the database.
fn prepare(source: &Source, options: &Options) -> Result<(Connection, Report), OpenError> {
    let failed = |error: rusqlite::Error| failure(source, &error);
    let mut connection = source.create().map_err(failed)?;
    let header = schema::header(&connection).map_err(failed)?;
    if header.application != schema::APPLICATION_ID && !(header.is_empty && header.application == 0) {
        return Err(OpenError::Foreign { file: source.path() });
    }
    if header.version > schema::VERSION {
        return Err(OpenError::Newer { file: source.path(), found: header.version, known: schema::VERSION });
    }
    if let Some(detail) = damage(&mut connection, CHECK).map_err(failed)? {
        return Err(OpenError::Corrupt { file: source.path(), detail });
    }
    // What is written before the work begins must survive even where messages need not.
    if !source.tune(&connection, Durability::Power).map_err(failed)? {
        let detail = "its file system does not allow the shared memory that a write-ahead log needs".to_owned();
        return Err(OpenError::Database { file: source.path(), detail });
    }
    let mut report = Report { is_new: header.is_empty, ..Report::default() };
    if header.version < schema::VERSION {
        schema::migrate(&connection, header.version).map_err(failed)?;
        report.migrated_from = (!header.is_empty).then_some(header.version);
    }
    report.is_tail_lost = put_right(&connection, options, header.is_empty).map_err(failed)?;
    Ok((connection, report))
}

fn failure(source: &Source, error: &rusqlite::Error) -> OpenError {
    let (file, detail) = (source.path(), error.to_string());
    match state(error) {
        StorageState::Corrupt => OpenError::Corrupt { file, detail },
        _ => OpenError::Database { file, detail },
    }
}

/// Puts right what the end of the last server left behind; answers whether that end may have cost messages that somebody
/// had been told of.
fn put_right(connection: &Connection, options: &Options, is_new: bool) -> rusqlite::Result<bool> {
    let transaction = connection.unchecked_transaction()?;
    let value = |name: &str| -> rusqlite::Result<String> {
        let value = transaction.query_row("SELECT value FROM state WHERE name = ?1", [name], |row| row.get(0));
        Ok(value.optional()?.unwrap_or_default())
    };
    let boot = boot_id();
    let is_unclean = !is_new && value("clean")? == "no";
    let is_tail_lost = is_unclean
        && match value("durability")?.as_str() {
            "power" => false,
            "process" => boot.is_empty() || value("boot")? != boot,
            _ => true,
        };
    if is_tail_lost {
        transaction.execute("UPDATE room SET epoch = lower(hex(randomblob(4)))", [])?;
    }
    let window_ends = (options.clock)() + options.recovery_window_ms;
    transaction.execute("UPDATE session SET expires_at = ?1 WHERE expires_at IS NULL", [int(window_ends)])?;
    transaction.commit()?;
    Ok(is_tail_lost)
}

/// Notes that a server lives on this file from now on, and how it writes.
fn begin_life(connection: &Connection, durability: Durability) -> rusqlite::Result<()> {
    let transaction = connection.unchecked_transaction()?;
    let (boot, life) = (boot_id(), format!("{:016x}", random()));
    for (name, value) in [("clean", "no"), ("durability", durability.as_str()), ("boot", &boot), ("life", &life)] {
        let put = "INSERT INTO state VALUES(?1, ?2) ON CONFLICT DO UPDATE SET value = excluded.value";
        transaction.execute(put, params![name, value])?;
    }
    transaction.commit()
}

/// A number that is another each time; 0 where the operating system has no entropy to give.
fn random() -> u64 {
    let seed = entropy::seed().unwrap_or_default();
    u64::from_le_bytes([seed[0], seed[1], seed[2], seed[3], seed[4], seed[5], seed[6], seed[7]])
}

impl Opened {
    /// What happened on the way here.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// Whether what is kept will be there after the process has ended.
    pub fn outlives_process(&self) -> bool {
        self.directory.is_some()
    }

    /// Gives back everything that is kept and that a server needs in memory, one thing at a time, so that nothing is held
    /// twice. `since` is the time (in milliseconds since 1970) from which messages may be repeated.
    ///
    /// # Errors
    /// The file is damaged or cannot be read. [`Opened::set_aside`] leads on from there; what was given back so far is
    /// then to be forgotten.
    pub fn restore(&self, since: u64, take: &mut dyn FnMut(Restored)) -> Result<(), OpenError> {
        restore::restore(&self.connection, since, take).map_err(|error| failure(&self.source, &error))
    }

    /// After [`Opened::restore`] has met damage: goes on as [`open`] does with a damaged file.
    ///
    /// # Errors
    /// As [`open`].
    pub fn set_aside(self, damage: &OpenError) -> Result<Self, OpenError> {
        let Self { options, directory, source, connection, .. } = self;
        drop(connection);
        let detail = match damage {
            OpenError::Corrupt { detail, .. } => detail.clone(),
            other => other.to_string(),
        };
        match directory {
            Some(directory) => begin_anew(options, directory, source, &detail),
            None => Err(OpenError::Corrupt { file: source.path(), detail }),
        }
    }

    /// Puts the store to work. `tell` is called for everything it has to say, mostly from its own threads, with
    /// durability `none` also from the one that submits; it must not wait for anything.
    ///
    /// # Errors
    /// The file cannot be written, or the operating system gives no threads.
    pub fn start(self, tell: impl Fn(StorageEvent) + Send + Sync + 'static) -> Result<Storage, OpenError> {
        let Self { options, directory, source, connection, .. } = self;
        let life = begin_life(&connection, options.durability);
        life.and_then(|()| source.tune(&connection, options.durability)).map_err(|error| failure(&source, &error))?;
        let (order, orders) = unbounded();
        let (question, questions) = unbounded();
        let (nudge, nudges) = bounded(1);
        let shared = Arc::new(Shared::new(options.durability, order, question, Box::new(tell)));
        let reader = Reader::new(shared.clone(), questions, source.clone(), options.clock.clone());
        let log = Log { source: source.clone(), shared: shared.clone(), nudges };
        let home =
            Home::new(source.clone(), options.durability, directory).map_err(|error| failure(&source, &error))?;
        let writer = Writer::new(shared.clone(), orders, nudge, home, options, random());
        let threads = [
            spawn("storage-reader", move || reader.run()),
            spawn("storage-log", move || log.run()),
            spawn("storage", move || writer.run(connection)),
        ];
        let threads = threads.into_iter().collect::<std::io::Result<_>>();
        let no_thread = |error: std::io::Error| OpenError::Database { file: source.path(), detail: error.to_string() };
        Ok(Storage { store: Store(shared), threads: threads.map_err(no_thread)? })
    }
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> std::io::Result<JoinHandle<()>> {
    thread::Builder::new().name(name.into()).spawn(run)
}
