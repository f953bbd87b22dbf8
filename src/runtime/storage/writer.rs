//! The writing thread: takes what has queued up, commits it in one transaction, sends the receipts, and in between keeps
//! the house in order. When the disk fails it refuses until the disk is back.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use rusqlite::{Connection, Result};

use crate::message::storage::{Batch, CommitOutcome, StorageEvent, StorageState, Unavailable};
use crate::runtime::storage::checkpoint::CheckpointScheduler;
use crate::runtime::storage::connection::give_back;
use crate::runtime::storage::database_file::{DatabaseFile, Failure, failure};
use crate::runtime::storage::error::{StorageFault, state};
use crate::runtime::storage::group::{BatchFate, GroupedBatch, Runs};
use crate::runtime::storage::record_writer::RecordWriter;
use crate::runtime::storage::shared::{PendingQuery, Shared, Side, WriterCommand, is_take, weight};
use crate::runtime::storage::sweep::{RetentionDefaults, Sweep};
use crate::runtime::storage::{Durability, StorageOptions, WallClock};

/// Bytes of records in one transaction, which the receipts behind it wait for. Only a queue that is long already makes
/// such groups, and the larger they are, the more messages share the pages that have to be written.
const GROUP_BYTES: usize = 4 << 20;

/// Orders in one transaction.
const GROUP_ORDERS: usize = 8_192;

/// How often a thread without work looks whether there is something to tidy up.
const IDLE: Duration = Duration::from_millis(250);

/// Looks of a thread without work after which it gives back the memory that it has for more: a second.
const LOOKS_BEFORE_REST: u32 = 4;

/// Batches that it is worth doing so after.
const BATCHES_BEFORE_REST: usize = 256;

/// How long a thread that tidies up rests between two steps when there is nothing else to do.
const SWEEP_PAUSE: Duration = Duration::from_millis(2);

/// See the module.
pub(super) struct Writer {
    shared: Arc<Shared>,
    orders: Receiver<WriterCommand>,
    log: CheckpointScheduler,
    database_file: DatabaseFile,
    clock: WallClock,
    terms: RetentionDefaults,
    seed: u64,
    runs: Runs,
    /// What is under way. With durability `none` it outlives a failure.
    group: Vec<GroupedBatch>,
    questions: Vec<PendingQuery>,
    is_closing: bool,
}

impl Writer {
    pub(super) fn new(
        shared: Arc<Shared>,
        orders: Receiver<WriterCommand>,
        nudge: Sender<()>,
        database_file: DatabaseFile,
        options: StorageOptions,
        seed: u64,
    ) -> Self {
        Self {
            log: CheckpointScheduler::new(nudge, shared.clone()),
            shared,
            orders,
            database_file,
            clock: options.clock,
            terms: RetentionDefaults { keep_messages: options.keep_messages, keep_ms: options.keep_ms },
            seed,
            runs: Runs::new(),
            group: Vec::new(),
            questions: Vec::new(),
            is_closing: false,
        }
    }

    /// Works until it is told to close.
    pub(super) fn run(mut self, connection: Connection) {
        let mut next = Some(connection);
        while let Some(mut connection) = next.take().or_else(|| self.recover()) {
            let outcome = self.watch_log(&mut connection).and_then(|()| self.serve(&connection));
            let Err(failure) = outcome else {
                if let Err(error) = end_life(&connection) {
                    tracing::error!(%error, "the store could not be closed in order");
                }
                break;
            };
            // The connection goes first: what it has cached may be what is wrong.
            drop(connection);
            let pause = self.fail(&failure);
            self.refuse_for(pause);
        }
        self.refuse_all();
        self.shared.close_reader();
    }

    /// Has the number of pages in the log noted with each commit.
    fn watch_log(&self, connection: &mut Connection) -> Result<(), Failure> {
        let shared = self.shared.clone();
        let note = move |_: &mut rusqlite::hooks::Wal, pages: i32| {
            shared.wal_pages.store(u32::try_from(pages).unwrap_or(0), Ordering::Relaxed);
            Ok(())
        };
        connection.wal_hook(Some(note)).map_err(failure)
    }

    /// Writes what comes, until it is told to close (`Ok`) or the files fail.
    fn serve(&mut self, connection: &Connection) -> Result<(), Failure> {
        let mut record_writer = RecordWriter::new(connection, self.seed).map_err(failure)?;
        let mut sweep = Sweep::new(connection, self.terms).map_err(failure)?;
        let (mut batches, mut idle_looks) = (0, 0);
        loop {
            // What could not be written before a failure comes first.
            if self.group.is_empty() {
                let is_due = sweep.is_due((self.clock)());
                self.gather(match (self.is_closing, is_due) {
                    (true, _) => Duration::ZERO,
                    (false, true) => SWEEP_PAUSE,
                    (false, false) => IDLE,
                });
            }
            if let Err(failure) = self.look() {
                self.refuse_all();
                return Err(failure);
            }
            batches += self.group.len();
            idle_looks = if self.group.is_empty() && !sweep.is_under_way() { idle_looks + 1 } else { 0 };
            if idle_looks >= LOOKS_BEFORE_REST && batches >= BATCHES_BEFORE_REST {
                batches = 0;
                record_writer.rest();
                give_back(connection).map_err(failure)?;
            }
            self.commit(&mut record_writer)?;
            for question in self.questions.drain(..) {
                pass_on(&self.shared, question);
            }
            if self.is_closing && self.orders.is_empty() {
                return Ok(());
            }
            self.log.look(connection).map_err(failure)?;
            sweep.step(&mut record_writer, (self.clock)(), self.orders.is_empty()).map_err(fault)?;
        }
    }

    /// Takes what has come, waiting for the first order at most as long as `patience`.
    fn gather(&mut self, patience: Duration) {
        let mut bytes = 0;
        let mut next = match self.orders.recv_timeout(patience) {
            Ok(order) => Some(order),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => Some(WriterCommand::Close),
        };
        while let Some(order) = next {
            bytes += self.take(order);
            let is_full = bytes >= GROUP_BYTES || self.group.len() >= GROUP_ORDERS;
            next = if is_full { None } else { self.orders.try_recv().ok() };
        }
        if !self.group.is_empty() {
            self.shared.note_waiting();
        }
    }

    /// Sorts an order in; the bytes it has.
    fn take(&mut self, order: WriterCommand) -> usize {
        match order {
            WriterCommand::Commit(batch) => {
                let weight = weight(&batch);
                let fate = self.fate(&batch);
                self.group.push(GroupedBatch {
                    ticket: batch.ticket,
                    batch: Some(batch),
                    fate,
                    kept: CommitOutcome::default(),
                    weight,
                });
                return weight;
            }
            WriterCommand::Refuse(ticket) => {
                self.runs.end(ticket);
                let (fate, kept) = (BatchFate::Refused, CommitOutcome::default());
                self.group.push(GroupedBatch { ticket, batch: None, fate, kept, weight: 0 });
            }
            WriterCommand::Query(question) => self.questions.push(question),
            WriterCommand::Close => self.is_closing = true,
        }
        0
    }

    fn fate(&self, batch: &Batch) -> BatchFate {
        if self.shared.durability == Durability::None {
            if batch.records.iter().any(is_take) { BatchFate::Open } else { BatchFate::Acknowledged }
        } else if self.runs.is_over(batch.ticket) {
            BatchFate::Refused
        } else {
            BatchFate::Open
        }
    }

    /// Writes the group and sends its receipts.
    fn commit(&mut self, record_writer: &mut RecordWriter<'_>) -> Result<(), Failure> {
        if self.group.is_empty() {
            return Ok(());
        }
        while let Err((at, fault)) = write(&mut self.group, record_writer, (self.clock)()) {
            record_writer.roll_back();
            match fault {
                // One batch cannot be kept, the others can: once more without it.
                StorageFault::Refused(why) => {
                    tracing::error!(ticket = ?self.group[at].ticket, why, "a batch contradicts what is kept");
                    match self.group[at].fate {
                        BatchFate::Acknowledged => self.group[at].fate = BatchFate::Forgotten,
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
        self.send_receipts();
        Ok(())
    }

    /// Tells every sender of the group what became of its batch.
    fn send_receipts(&mut self) {
        let mut weight = 0;
        for entry in self.group.drain(..) {
            weight += entry.weight;
            match entry.fate {
                BatchFate::Open => self.shared.receipt(entry.ticket, Ok(entry.kept)),
                BatchFate::Acknowledged | BatchFate::Forgotten => {}
                BatchFate::Refused => self.shared.receipt(entry.ticket, Err(Unavailable)),
            }
        }
        self.shared.finished(weight);
    }

    /// Refuses everything that is under way; with durability `none`, what was acknowledged stays.
    fn refuse_all(&mut self) {
        for PendingQuery { to, .. } in self.questions.drain(..) {
            self.shared.tell(StorageEvent::Reply { to, answer: Err(Unavailable) });
        }
        if self.shared.durability != Durability::None {
            self.runs.refuse_all(&mut self.group);
            self.send_receipts();
            return;
        }
        for entry in &mut self.group {
            if entry.fate == BatchFate::Open {
                // Whoever wants a session is told that there is none, which is better than to keep them waiting. It will
                // be gone once the disk is back.
                let takes = entry.records().iter().filter(|record| is_take(record)).count();
                self.shared.receipt(entry.ticket, Ok(CommitOutcome { taken: vec![None; takes] }));
                entry.fate = BatchFate::Acknowledged;
            }
        }
    }

    /// Makes sure that nothing was found damaged, and that the file is in its place.
    fn look(&mut self) -> Result<(), Failure> {
        if self.shared.is_suspect.swap(false, Ordering::Relaxed) {
            return Err((StorageState::Corrupt, "damage was found by reading".to_owned()));
        }
        self.database_file.look()
    }

    /// Notes a failure and tells everyone; how long to wait before the next attempt.
    fn fail(&mut self, (state, detail): &Failure) -> Duration {
        let pause = self.database_file.note_failure();
        tracing::error!(detail, next_attempt_in = ?pause, "{}", state.as_str());
        self.shared.set_state(Side::Writer, *state, detail);
        pause
    }

    /// Refuses what comes until the disk is back; a connection to it, or nothing when it is time to close.
    fn recover(&mut self) -> Option<Connection> {
        while !self.is_closing {
            match self.database_file.reconnect() {
                Ok(connection) => {
                    tracing::info!("{}", StorageState::Good.as_str());
                    self.shared.set_state(Side::Writer, StorageState::Good, "");
                    return Some(connection);
                }
                Err(failure) => {
                    let pause = self.fail(&failure);
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

/// Makes one transaction of the group; on an error, which entry it was at.
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
        let mut kept = CommitOutcome::default();
        for record in entry.records() {
            record_writer.apply(record, &mut kept).map_err(|fault| (at, fault))?;
        }
        entry.kept = kept;
    }
    record_writer.commit().map_err(|error| (0, failed(&error)))
}

/// An error that no single batch is to blame for.
fn failed(error: &rusqlite::Error) -> StorageFault {
    StorageFault::Failed(state(error), error.to_string())
}

fn fault(fault: StorageFault) -> Failure {
    match fault {
        StorageFault::Refused(why) => (StorageState::Corrupt, why),
        StorageFault::Failed(state, detail) => (state, detail),
    }
}

fn pass_on(shared: &Shared, question: PendingQuery) {
    let to = question.to;
    if !shared.pass_on(question) {
        shared.tell(StorageEvent::Reply { to, answer: Err(Unavailable) });
    }
}

/// Notes that nothing was lost, so that the next start need not worry.
fn end_life(connection: &Connection) -> Result<()> {
    connection.execute_batch(
        "PRAGMA synchronous = full;
         UPDATE state SET value = 'yes' WHERE name = 'clean';
         PRAGMA wal_checkpoint(TRUNCATE);",
    )
}
