//! The writing thread: takes what has queued up, commits it in one transaction, sends the receipts, and in between keeps
//! the house in order. When the disk fails it refuses until the disk is back.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use rusqlite::{Connection, Result};

use crate::message::storage::{Batch, Kept, StorageEvent, StorageState, Unavailable};
use crate::runtime::storage::connection::give_back;
use crate::runtime::storage::error::{Fault, state};
use crate::runtime::storage::group::{Entry, Fate, Runs};
use crate::runtime::storage::home::{Failure, Home, failure};
use crate::runtime::storage::ledger::Ledger;
use crate::runtime::storage::log::LogKeeper;
use crate::runtime::storage::shared::{Order, Question, Shared, Side, is_take, weight};
use crate::runtime::storage::sweep::{Sweep, Terms};
use crate::runtime::storage::{Durability, Options, WallClock};

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
    orders: Receiver<Order>,
    log: LogKeeper,
    home: Home,
    clock: WallClock,
    terms: Terms,
    seed: u64,
    runs: Runs,
    /// What is under way. With durability `none` it outlives a failure.
    group: Vec<Entry>,
    questions: Vec<Question>,
    is_closing: bool,
}

impl Writer {
    pub(super) fn new(
        shared: Arc<Shared>,
        orders: Receiver<Order>,
        nudge: Sender<()>,
        home: Home,
        options: Options,
        seed: u64,
    ) -> Self {
        Self {
            log: LogKeeper::new(nudge, shared.clone()),
            shared,
            orders,
            home,
            clock: options.clock,
            terms: Terms { keep_messages: options.keep_messages, keep_ms: options.keep_ms },
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
        let mut ledger = Ledger::new(connection, self.seed).map_err(failure)?;
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
                ledger.rest();
                give_back(connection).map_err(failure)?;
            }
            self.commit(&mut ledger)?;
            for question in self.questions.drain(..) {
                pass_on(&self.shared, question);
            }
            if self.is_closing && self.orders.is_empty() {
                return Ok(());
            }
            self.log.look(connection).map_err(failure)?;
            sweep.step(&mut ledger, (self.clock)(), self.orders.is_empty()).map_err(fault)?;
        }
    }

    /// Takes what has come, waiting for the first order at most as long as `patience`.
    fn gather(&mut self, patience: Duration) {
        let mut bytes = 0;
        let mut next = match self.orders.recv_timeout(patience) {
            Ok(order) => Some(order),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => Some(Order::Close),
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
    fn take(&mut self, order: Order) -> usize {
        match order {
            Order::Keep(batch) => {
                let weight = weight(&batch);
                let fate = self.fate(&batch);
                self.group.push(Entry {
                    ticket: batch.ticket,
                    batch: Some(batch),
                    fate,
                    kept: Kept::default(),
                    weight,
                });
                return weight;
            }
            Order::Refuse(ticket) => {
                self.runs.end(ticket);
                let (fate, kept) = (Fate::Refused, Kept::default());
                self.group.push(Entry { ticket, batch: None, fate, kept, weight: 0 });
            }
            Order::Ask(question) => self.questions.push(question),
            Order::Close => self.is_closing = true,
        }
        0
    }

    fn fate(&self, batch: &Batch) -> Fate {
        if self.shared.durability == Durability::None {
            if batch.records.iter().any(is_take) { Fate::Open } else { Fate::Acknowledged }
        } else if self.runs.is_over(batch.ticket) {
            Fate::Refused
        } else {
            Fate::Open
        }
    }

    /// Writes the group and sends its receipts.
    fn commit(&mut self, ledger: &mut Ledger<'_>) -> Result<(), Failure> {
        if self.group.is_empty() {
            return Ok(());
        }
        while let Err((at, fault)) = write(&mut self.group, ledger, (self.clock)()) {
            ledger.roll_back();
            match fault {
                // One batch cannot be kept, the others can: once more without it.
                Fault::Refused(why) => {
                    tracing::error!(ticket = ?self.group[at].ticket, why, "a batch contradicts what is kept");
                    match self.group[at].fate {
                        Fate::Acknowledged => self.group[at].fate = Fate::Forgotten,
                        _ => {
                            self.shared.end_run(self.group[at].ticket);
                            self.runs.refuse_from(&mut self.group, at);
                        }
                    }
                }
                Fault::Failed(state, detail) => {
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
                Fate::Open => self.shared.receipt(entry.ticket, Ok(entry.kept)),
                Fate::Acknowledged | Fate::Forgotten => {}
                Fate::Refused => self.shared.receipt(entry.ticket, Err(Unavailable)),
            }
        }
        self.shared.finished(weight);
    }

    /// Refuses everything that is under way; with durability `none`, what was acknowledged stays.
    fn refuse_all(&mut self) {
        for Question { to, .. } in self.questions.drain(..) {
            self.shared.tell(StorageEvent::Reply { to, answer: Err(Unavailable) });
        }
        if self.shared.durability != Durability::None {
            self.runs.refuse_all(&mut self.group);
            self.send_receipts();
            return;
        }
        for entry in &mut self.group {
            if entry.fate == Fate::Open {
                // Whoever wants a session is told that there is none, which is better than to keep them waiting. It will
                // be gone once the disk is back.
                let takes = entry.records().iter().filter(|record| is_take(record)).count();
                self.shared.receipt(entry.ticket, Ok(Kept { taken: vec![None; takes] }));
                entry.fate = Fate::Acknowledged;
            }
        }
    }

    /// Makes sure that nothing was found damaged, and that the file is in its place.
    fn look(&mut self) -> Result<(), Failure> {
        if self.shared.is_suspect.swap(false, Ordering::Relaxed) {
            return Err((StorageState::Corrupt, "damage was found by reading".to_owned()));
        }
        self.home.look()
    }

    /// Notes a failure and tells everyone; how long to wait before the next attempt.
    fn fail(&mut self, (state, detail): &Failure) -> Duration {
        let pause = self.home.note_failure();
        tracing::error!(detail, next_attempt_in = ?pause, "{}", state.as_str());
        self.shared.set_state(Side::Writer, *state, detail);
        pause
    }

    /// Refuses what comes until the disk is back; a connection to it, or nothing when it is time to close.
    fn recover(&mut self) -> Option<Connection> {
        while !self.is_closing {
            match self.home.reconnect() {
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
fn write(group: &mut [Entry], ledger: &mut Ledger<'_>, now: u64) -> Result<(), (usize, Fault)> {
    if group.iter().all(|entry| entry.records().is_empty()) {
        return Ok(());
    }
    ledger.begin(now).map_err(|error| (0, failed(&error)))?;
    for (at, entry) in group.iter_mut().enumerate() {
        let mut kept = Kept::default();
        for record in entry.records() {
            ledger.apply(record, &mut kept).map_err(|fault| (at, fault))?;
        }
        entry.kept = kept;
    }
    ledger.commit().map_err(|error| (0, failed(&error)))
}

/// An error that no single batch is to blame for.
fn failed(error: &rusqlite::Error) -> Fault {
    Fault::Failed(state(error), error.to_string())
}

fn fault(fault: Fault) -> Failure {
    match fault {
        Fault::Refused(why) => (StorageState::Corrupt, why),
        Fault::Failed(state, detail) => (state, detail),
    }
}

fn pass_on(shared: &Shared, question: Question) {
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
