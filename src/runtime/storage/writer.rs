//! The writer thread: commits all queued batches in one transaction, sends their receipts, and deletes expired rows in
//! between. After a disk failure it refuses all batches until the disk works again.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use rusqlite::{Connection, Result};

use crate::message::storage::{CommitOutcome, StorageEvent, StorageState, Ticket, Unavailable};
use crate::runtime::storage::checkpoint::CheckpointScheduler;
use crate::runtime::storage::connection::release_memory;
use crate::runtime::storage::database_file::{DatabaseFile, Failure, failure};
use crate::runtime::storage::error::{StorageFault, state};
use crate::runtime::storage::group::{BatchFate, GroupedBatch, Runs};
use crate::runtime::storage::outbox::{OutboxChange, OutboxOptions};
use crate::runtime::storage::record_writer::RecordWriter;
use crate::runtime::storage::shared::{
    PendingQuery, ReceiptTime, Shared, Side, WriterCommand, carries_session, weight,
};
use crate::runtime::storage::sweep::{RetentionDefaults, Sweep};
use crate::runtime::storage::{Durability, StorageLocation, StorageOptions, WallClock};
use crate::runtime::timings::{STORE_BYTES, STORE_COMMITS};

/// Size of the batches in one transaction, which bounds the delay of their receipts. Only a long queue makes such large
/// groups, and larger groups share more page writes.
const GROUP_BYTES: usize = 4 << 20;

/// Commands in one transaction.
const GROUP_COMMANDS: usize = 8_192;

/// Interval at which an idle writer checks for expired rows.
const IDLE: Duration = Duration::from_millis(250);

/// Idle checks after which the writer is idle: one second.
const IDLE_CHECKS: u32 = 4;

/// Committed bytes that make a release of memory worthwhile as soon as the writer is idle.
const BYTES_BEFORE_TRIM: usize = 1 << 20;

/// Groups after which a busy database in memory is measured.
const GROUPS_BEFORE_MEASURE: u32 = 256;

/// Idle checks after which the writer releases memory whatever it has committed: half a minute.
const IDLE_CHECKS_BEFORE_TRIM: u32 = 120;

/// Pause between two steps of the sweep while no command arrives.
const SWEEP_PAUSE: Duration = Duration::from_millis(2);

/// See the module description.
pub(super) struct Writer {
    shared: Arc<Shared>,
    commands: Receiver<WriterCommand>,
    checkpoints: CheckpointScheduler,
    database_file: DatabaseFile,
    clock: WallClock,
    defaults: RetentionDefaults,
    seed: u64,
    runs: Runs,
    /// The batches of the present transaction. With durability `none` they are kept across a failure.
    group: Vec<GroupedBatch>,
    queries: Vec<PendingQuery>,
    outbox: Option<Arc<OutboxOptions>>,
    outbox_changes: Vec<OutboxChange>,
    is_closing: bool,
}

impl Writer {
    pub(super) fn new(
        shared: Arc<Shared>,
        commands: Receiver<WriterCommand>,
        request: Sender<()>,
        database_file: DatabaseFile,
        options: StorageOptions,
        seed: u64,
    ) -> Self {
        Self {
            checkpoints: CheckpointScheduler::new(request, shared.clone()),
            shared,
            commands,
            database_file,
            clock: options.clock,
            defaults: RetentionDefaults {
                keep_messages: options.keep_messages,
                keep_ms: options.keep_ms,
                memory: match options.location {
                    StorageLocation::Memory => Some(options.memory),
                    StorageLocation::Directory(_) => None,
                },
            },
            seed,
            runs: Runs::new(),
            group: Vec::new(),
            queries: Vec::new(),
            outbox: options.outbox,
            outbox_changes: Vec::new(),
            is_closing: false,
        }
    }

    /// Runs until it is closed.
    pub(super) fn run(mut self, connection: Connection) {
        let mut next = Some(connection);
        while let Some(mut connection) = next.take().or_else(|| self.recover()) {
            let outcome = self.watch_log_size(&mut connection).and_then(|()| self.serve(&connection));
            let Err(failure) = outcome else {
                if let Err(error) = mark_clean(&connection) {
                    tracing::error!(%error, "the store could not be closed in order");
                }
                break;
            };
            // First, because its cache may be the cause.
            drop(connection);
            let pause = self.report_failure(&failure);
            self.refuse_for(pause);
        }
        debug_assert!(self.is_closing, "invariant: the writer ends only when it is closed");
        self.refuse_all();
        self.shared.close_reader();
    }

    /// Counts the pages of the log after each commit.
    fn watch_log_size(&self, connection: &mut Connection) -> Result<(), Failure> {
        let shared = self.shared.clone();
        let note = move |_: &mut rusqlite::hooks::Wal, pages: i32| {
            shared.wal_pages.store(u32::try_from(pages).unwrap_or(0), Ordering::Relaxed);
            Ok(())
        };
        connection.wal_hook(Some(note)).map_err(failure)
    }

    /// Executes commands until it is closed (`Ok`) or the files fail.
    fn serve(&mut self, connection: &Connection) -> Result<(), Failure> {
        let mut record_writer =
            RecordWriter::new(connection, self.seed, self.defaults.use_unit_ms(), self.outbox.as_ref())
                .map_err(failure)?;
        let mut sweep = Sweep::new(connection, self.defaults).map_err(failure)?;
        // Bytes committed since the last release of memory; a step of the sweep counts as one.
        let (mut bytes, mut idle_checks) = (0, 0);
        let mut groups = 0_u32;
        loop {
            // A group that failed to commit is retried before new commands are taken.
            if self.group.is_empty() {
                let is_due = sweep.is_due((self.clock)());
                self.gather(match (self.is_closing, is_due) {
                    (true, _) => Duration::ZERO,
                    (false, true) => SWEEP_PAUSE,
                    (false, false) => IDLE,
                });
            }
            if let Err(failure) = self.check_file() {
                self.refuse_all();
                return Err(failure);
            }
            bytes += self.group.iter().map(|batch| batch.weight).sum::<usize>() + usize::from(sweep.is_under_way());
            idle_checks = if self.group.is_empty() && !sweep.is_under_way() { idle_checks + 1 } else { 0 };
            let worthwhile = if idle_checks >= IDLE_CHECKS_BEFORE_TRIM { 1 } else { BYTES_BEFORE_TRIM };
            if idle_checks >= IDLE_CHECKS && bytes >= worthwhile {
                bytes = 0;
                record_writer.clear_cache();
                release_memory(connection).map_err(failure)?;
            }
            self.commit(&mut record_writer)?;
            groups = groups.wrapping_add(1);
            if self.defaults.memory.is_some() && (idle_checks == 1 || groups.is_multiple_of(GROUPS_BEFORE_MEASURE)) {
                note_memory(connection).map_err(failure)?;
            }
            debug_assert!(self.group.is_empty(), "invariant: the receipts of a committed group are sent");
            self.change_outbox(&mut record_writer).map_err(failure)?;
            for query in self.queries.drain(..) {
                send_to_reader(&self.shared, query);
            }
            if self.is_closing && self.commands.is_empty() {
                return Ok(());
            }
            let is_idle = idle_checks >= IDLE_CHECKS;
            self.checkpoints.schedule(connection, is_idle).map_err(failure)?;
            sweep.step(&mut record_writer, (self.clock)(), self.commands.is_empty()).map_err(fault)?;
            for name in sweep.take_expired() {
                self.shared.send_event(StorageEvent::RoomExpired(name.into()));
            }
        }
    }

    /// Takes the queued commands, and waits for the first at most `patience`.
    fn gather(&mut self, patience: Duration) {
        let mut bytes = 0;
        let mut next = match self.commands.recv_timeout(patience) {
            Ok(command) => Some(command),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => Some(WriterCommand::Close),
        };
        while let Some(command) = next {
            match command {
                WriterCommand::Commit(batch, time) => {
                    let (weight, fate) = (weight(&batch), self.fate(batch.ticket, time));
                    bytes += weight;
                    let (ticket, outcome) = (batch.ticket, CommitOutcome::default());
                    self.group.push(GroupedBatch { ticket, batch: Some(batch), fate, outcome, time, weight });
                }
                WriterCommand::Refuse(ticket) => {
                    self.runs.end(ticket);
                    let (fate, outcome) = (BatchFate::Refused, CommitOutcome::default());
                    let time = ReceiptTime::AfterCommit;
                    self.group.push(GroupedBatch { ticket, batch: None, fate, outcome, time, weight: 0 });
                }
                WriterCommand::Query(query) => self.queries.push(query),
                WriterCommand::Outbox(change) => self.outbox_changes.push(change),
                WriterCommand::Close => self.is_closing = true,
            }
            let commands = self.group.len() + self.outbox_changes.len();
            let is_full = bytes >= GROUP_BYTES || commands >= GROUP_COMMANDS;
            next = if is_full { None } else { self.commands.try_recv().ok() };
        }
        if !self.group.is_empty() {
            self.shared.note_waiting();
        }
    }

    fn fate(&self, ticket: Ticket, time: ReceiptTime) -> BatchFate {
        match time {
            ReceiptTime::OnArrival => BatchFate::Acknowledged,
            ReceiptTime::AfterCommit if self.shared.durability != Durability::None && self.runs.is_over(ticket) => {
                BatchFate::Refused
            }
            ReceiptTime::AfterCommit | ReceiptTime::Late => BatchFate::Open,
        }
    }

    /// Commits the group and sends its receipts.
    fn commit(&mut self, record_writer: &mut RecordWriter<'_>) -> Result<(), Failure> {
        if self.group.is_empty() {
            return Ok(());
        }
        let began = Instant::now();
        while let Err((at, fault)) = write(&mut self.group, record_writer, (self.clock)()) {
            record_writer.roll_back();
            match fault {
                // Only this batch is at fault: commit the others without it.
                StorageFault::Refused(why) => {
                    tracing::error!(ticket = ?self.group[at].ticket, why, "a batch contradicts what is kept");
                    match self.group[at].fate {
                        BatchFate::Acknowledged => self.group[at].fate = BatchFate::Dropped,
                        _ => {
                            self.shared.end_run(self.group[at].ticket);
                            self.runs.refuse_from(&mut self.group, at);
                        }
                    }
                }
                StorageFault::Failed(state, detail) => {
                    self.refuse_all();
                    return Err((state, detail));
                }
            }
        }
        STORE_COMMITS.record_since(began);
        self.send_receipts();
        Ok(())
    }

    /// Carries out the changes of the outbox, in a transaction of their own.
    fn change_outbox(&mut self, record_writer: &mut RecordWriter<'_>) -> Result<()> {
        if self.outbox_changes.is_empty() {
            return Ok(());
        }
        record_writer.begin((self.clock)())?;
        let outcome = self.outbox_changes.drain(..).try_for_each(|change| record_writer.change_outbox(&change));
        match outcome.and_then(|()| record_writer.commit()) {
            Ok(()) => Ok(()),
            Err(error) => {
                record_writer.roll_back();
                Err(error)
            }
        }
    }

    fn send_receipts(&mut self) {
        let mut weight = 0;
        for entry in self.group.drain(..) {
            weight += entry.weight;
            match entry.fate {
                BatchFate::Open => self.shared.receipt(entry.ticket, Ok(entry.outcome)),
                BatchFate::Acknowledged | BatchFate::Dropped => {}
                BatchFate::Refused => self.shared.receipt(entry.ticket, Err(Unavailable)),
            }
            if entry.time == ReceiptTime::Late {
                self.shared.note_late_receipt(entry.ticket.sender);
            }
        }
        self.shared.finished(weight);
    }

    /// Refuses all pending batches and queries; with durability `none`, acknowledged batches stay in the group.
    fn refuse_all(&mut self) {
        for PendingQuery { to, .. } in self.queries.drain(..) {
            self.shared.send_event(StorageEvent::Reply { to, answer: Err(Unavailable) });
        }
        if self.shared.durability != Durability::None {
            self.runs.refuse_all(&mut self.group);
            self.send_receipts();
            return;
        }
        for entry in &mut self.group {
            if entry.fate == BatchFate::Open {
                // The requester of a session is told that it does not exist, so that it need not wait. The session is
                // deleted once the disk works again.
                let takes = entry.records().iter().filter(|record| carries_session(record)).count();
                self.shared.receipt(entry.ticket, Ok(CommitOutcome { taken: vec![None; takes] }));
                if entry.time == ReceiptTime::Late {
                    self.shared.note_late_receipt(entry.ticket.sender);
                    entry.time = ReceiptTime::OnArrival;
                }
                entry.fate = BatchFate::Acknowledged;
            }
        }
    }

    /// Fails if the reader has found damage, or if the file is not in place.
    fn check_file(&mut self) -> Result<(), Failure> {
        if self.shared.is_suspect.swap(false, Ordering::Relaxed) {
            return Err((StorageState::Corrupt, "damage was found by reading".to_owned()));
        }
        self.database_file.check()
    }

    /// Records and reports a failure; returns the pause before the next attempt.
    fn report_failure(&mut self, (state, detail): &Failure) -> Duration {
        debug_assert_ne!(*state, StorageState::Good, "invariant: a failure changes the state");
        let pause = self.database_file.record_failure();
        tracing::error!(detail, next_attempt_in = ?pause, "{}", state.as_str());
        self.shared.set_state(Side::Writer, *state, detail);
        pause
    }

    /// Refuses all commands until the disk works again; returns a new connection, or `None` once it is closed.
    fn recover(&mut self) -> Option<Connection> {
        while !self.is_closing {
            match self.database_file.reconnect() {
                Ok(connection) => {
                    tracing::info!("{}", StorageState::Good.as_str());
                    self.shared.set_state(Side::Writer, StorageState::Good, "");
                    return Some(connection);
                }
                Err(failure) => {
                    let pause = self.report_failure(&failure);
                    self.refuse_for(pause);
                }
            }
        }
        None
    }

    fn refuse_for(&mut self, pause: Duration) {
        let until = Instant::now() + pause;
        while let Some(left) = until.checked_duration_since(Instant::now())
            && !self.is_closing
        {
            self.gather(left);
            self.refuse_all();
        }
    }
}

/// Executes the group as one transaction; an error names the entry it occurred at.
fn write(
    group: &mut [GroupedBatch],
    record_writer: &mut RecordWriter<'_>,
    now: u64,
) -> Result<(), (usize, StorageFault)> {
    if group.iter().all(|entry| entry.records().is_empty()) {
        return Ok(());
    }
    record_writer.begin(now).map_err(|error| (0, failed(&error)))?;
    for (at, entry) in group.iter_mut().enumerate() {
        let mut outcome = CommitOutcome::default();
        for record in entry.records() {
            record_writer.apply(record, &mut outcome).map_err(|fault| (at, fault))?;
        }
        let sessions = entry.records().iter().filter(|record| carries_session(record)).count();
        debug_assert_eq!(outcome.taken.len(), sessions, "invariant: a receipt answers each session record");
        entry.outcome = outcome;
    }
    record_writer.commit().map_err(|error| (0, failed(&error)))
}

/// An error that concerns no single batch.
fn failed(error: &rusqlite::Error) -> StorageFault {
    StorageFault::Failed(state(error), error.to_string())
}

fn fault(fault: StorageFault) -> Failure {
    match fault {
        StorageFault::Refused(why) => (StorageState::Corrupt, why),
        StorageFault::Failed(state, detail) => (state, detail),
    }
}

/// Measures a database in memory, for the metrics.
fn note_memory(connection: &Connection) -> Result<()> {
    let size = "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size";
    let bytes: i64 = connection.query_row(size, [], |row| row.get(0))?;
    STORE_BYTES.store(bytes.try_into().unwrap_or(0), Ordering::Relaxed);
    Ok(())
}

fn send_to_reader(shared: &Shared, query: PendingQuery) {
    let to = query.to;
    if !shared.send_to_reader(query) {
        shared.send_event(StorageEvent::Reply { to, answer: Err(Unavailable) });
    }
}

/// Marks the file as closed in order, so that the next start knows that no batch was lost.
fn mark_clean(connection: &Connection) -> Result<()> {
    connection.execute_batch(
        "PRAGMA synchronous = full;
         UPDATE state SET value = 'yes' WHERE name = 'clean';
         PRAGMA wal_checkpoint(TRUNCATE);",
    )
}
