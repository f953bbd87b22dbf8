//! State shared by the storage threads and the handles: queues, counters, and the health of each thread.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crossbeam_channel::Sender;

use crate::domain::record::Record;
use crate::message::storage::{
    Batch, CommitOutcome, CommitReceipt, StorageEvent, StorageQuery, StorageState, Ticket, Unavailable,
};
use crate::message::{Requester, ShardNumber};
use crate::runtime::storage::outbox::OutboxChange;
use crate::runtime::storage::{Durability, StorageHealth};

/// Size of waiting batches beyond which further ones are refused.
const WAITING_BYTES_MAX: usize = 64 << 20;

/// With durability `none`: size of waiting batches beyond which receipts follow the commit, so that senders do not outrun the
/// writer until they are refused.
const EARLY_BYTES_MAX: usize = 16 << 20;

/// Queries that may wait for the reader.
const QUERIES_MAX: usize = 65_536;

/// A command to the writer.
pub(super) enum WriterCommand {
    /// Commit this batch.
    Commit(Batch, ReceiptTime),
    /// Refuse this batch, because too many bytes are waiting.
    Refuse(Ticket),
    /// Pass this query on to the reader after all earlier batches are committed.
    Query(PendingQuery),
    /// Change the outbox of hook events.
    Outbox(OutboxChange),
    /// Complete the earlier commands, and end.
    Close,
}

/// When the receipt of a batch is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReceiptTime {
    /// After the commit.
    AfterCommit,
    /// On arrival, with durability `none`.
    OnArrival,
    /// After the commit in spite of durability `none`, because the writer is behind.
    Late,
}

/// A query on its way to the reader.
pub(super) struct PendingQuery {
    pub(super) to: Requester,
    pub(super) query: StorageQuery,
}

/// See the module description.
pub struct Shared {
    pub(super) durability: Durability,
    commands: Sender<WriterCommand>,
    queries: Sender<Option<PendingQuery>>,
    on_event: Box<dyn Fn(StorageEvent) + Send + Sync>,
    start: Instant,
    /// Size of the waiting batches.
    waiting: AtomicUsize,
    /// Start of the oldest batch's wait, in microseconds after `start`, counted from 1; 0 when no batch waits.
    oldest: AtomicU64,
    pub(super) wal_pages: AtomicU32,
    /// Whether the checkpointer has completed the last request.
    pub(super) is_checkpointed: AtomicBool,
    /// Whether the reader has found damage; the writer then checks the file.
    pub(super) is_suspect: AtomicBool,
    /// With durability `none`: the present run of each sender.
    runs: [AtomicU32; 256],
    /// With durability `none`: the number of late receipts that each sender waits for. Until it has them, no receipt of a later
    /// batch is sent on arrival: messages would overtake each other.
    late: [AtomicU32; 256],
    states: Mutex<States>,
}

/// State and error message of each side.
#[derive(Default)]
struct States {
    writer: (StorageState, String),
    /// The writer's lag, as observed from outside.
    pace: (StorageState, String),
    reader: (StorageState, String),
}

/// The source of a state.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Writer,
    Pace,
    Reader,
}

impl Shared {
    pub(super) fn new(
        durability: Durability,
        commands: Sender<WriterCommand>,
        queries: Sender<Option<PendingQuery>>,
        on_event: Box<dyn Fn(StorageEvent) + Send + Sync>,
    ) -> Self {
        Self {
            durability,
            commands,
            queries,
            on_event,
            start: Instant::now(),
            waiting: AtomicUsize::new(0),
            oldest: AtomicU64::new(0),
            wal_pages: AtomicU32::new(0),
            is_checkpointed: AtomicBool::new(false),
            is_suspect: AtomicBool::new(false),
            runs: [const { AtomicU32::new(0) }; 256],
            late: [const { AtomicU32::new(0) }; 256],
            states: Mutex::default(),
        }
    }

    pub(super) fn send_event(&self, event: StorageEvent) {
        (self.on_event)(event);
    }

    pub(super) fn receipt(&self, ticket: Ticket, outcome: Result<CommitOutcome, Unavailable>) {
        (self.on_event)(StorageEvent::Receipt(CommitReceipt { ticket, outcome }));
    }

    /// Submits a batch; its receipt follows. Never blocks: a batch beyond 64 MiB of waiting ones is refused.
    pub fn submit(&self, batch: Batch) {
        let (ticket, weight) = (batch.ticket, weight(&batch));
        let waiting = self.waiting.load(Ordering::Relaxed) + weight;
        let is_too_much = waiting > WAITING_BYTES_MAX;
        let mut time = ReceiptTime::AfterCommit;
        let command = match self.durability {
            Durability::None if is_too_much || ticket.run != self.run(ticket.sender) => {
                if is_too_much {
                    self.end_run(ticket);
                }
                return self.receipt(ticket, Err(Unavailable));
            }
            _ if is_too_much => WriterCommand::Refuse(ticket),
            _ => {
                self.waiting.fetch_add(weight, Ordering::Relaxed);
                self.note_waiting();
                time = self.receipt_time(&batch, waiting);
                WriterCommand::Commit(batch, time)
            }
        };
        if self.commands.send(command).is_err() {
            self.receipt(ticket, Err(Unavailable));
        } else if time == ReceiptTime::OnArrival {
            self.receipt(ticket, Ok(CommitOutcome::default()));
        }
    }

    /// When the receipt of a batch is sent, of which with it `waiting` bytes wait. Counts it if it is late.
    fn receipt_time(&self, batch: &Batch, waiting: usize) -> ReceiptTime {
        if self.durability != Durability::None || batch.records.iter().any(carries_session) {
            return ReceiptTime::AfterCommit;
        }
        let late = &self.late[usize::from(batch.ticket.sender)];
        if waiting <= EARLY_BYTES_MAX && late.load(Ordering::Acquire) == 0 {
            return ReceiptTime::OnArrival;
        }
        late.fetch_add(1, Ordering::Relaxed);
        ReceiptTime::Late
    }

    /// A late receipt has been sent.
    pub(super) fn note_late_receipt(&self, sender: ShardNumber) {
        let before = self.late[usize::from(sender)].fetch_sub(1, Ordering::Release);
        debug_assert!(before > 0, "invariant: a late receipt was counted");
    }

    /// Starts the lag clock, unless it is running.
    pub(super) fn note_waiting(&self) {
        let _ = self.oldest.compare_exchange(0, self.micros(), Ordering::Relaxed, Ordering::Relaxed);
    }

    fn run(&self, sender: ShardNumber) -> u32 {
        self.runs[usize::from(sender)].load(Ordering::Relaxed)
    }

    /// With durability `none`: ends the run of a refused batch, unless it has already ended.
    pub(super) fn end_run(&self, ticket: Ticket) {
        let run = &self.runs[usize::from(ticket.sender)];
        let _ = run.compare_exchange(ticket.run, ticket.run + 1, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Submits a query; its reply follows.
    pub fn query(&self, to: Requester, query: StorageQuery) {
        let query = PendingQuery { to, query };
        let is_sent = match self.durability {
            // After the batches before it, which may be acknowledged but not written.
            Durability::None => self.commands.send(WriterCommand::Query(query)).is_ok(),
            _ => self.send_to_reader(query),
        };
        if !is_sent {
            self.send_event(StorageEvent::Reply { to, answer: Err(Unavailable) });
        }
    }

    /// Sends a query to the reader, unless its queue is full; returns whether it was sent.
    pub(super) fn send_to_reader(&self, query: PendingQuery) -> bool {
        self.queries.len() < QUERIES_MAX && self.queries.send(Some(query)).is_ok()
    }

    /// Submits a change of the outbox. It is lost if it cannot be written; events are then delivered again.
    pub fn change_outbox(&self, change: OutboxChange) {
        let _ = self.commands.send(WriterCommand::Outbox(change));
    }

    /// Ends the writer after its earlier commands.
    pub(super) fn close(&self) {
        let _ = self.commands.send(WriterCommand::Close);
    }

    /// Ends the reader after its earlier queries.
    pub(super) fn close_reader(&self) {
        let _ = self.queries.send(None);
    }

    /// Removes finished batches from the count. The lag of the remaining ones counts from now.
    pub(super) fn finished(&self, weight: usize) {
        let before = self.waiting.fetch_sub(weight, Ordering::Relaxed);
        debug_assert!(before >= weight, "invariant: finished batches were counted as waiting");
        self.oldest.store(if before == weight { 0 } else { self.micros() }, Ordering::Relaxed);
    }

    fn micros(&self) -> u64 {
        self.start.elapsed().as_micros() as u64 + 1
    }

    /// Updates the state of one side; sends an event if the overall state changes.
    pub(super) fn set_state(&self, side: Side, state: StorageState, detail: &str) {
        let mut states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        let before = states.worst().0;
        match side {
            Side::Writer => states.writer = (state, detail.to_owned()),
            Side::Pace => states.pace = (state, detail.to_owned()),
            Side::Reader => states.reader = (state, detail.to_owned()),
        }
        let after = states.worst().0;
        // Under the lock, so that two changes are sent in their order.
        if before != after {
            self.send_event(StorageEvent::State(after));
        }
    }

    /// Updates the lag state. The writer cannot do this itself while it hangs in a write.
    pub(super) fn check_lag(&self, patience_ms: u64) {
        let lag_ms = self.lag_ms();
        if lag_ms > patience_ms {
            self.set_state(Side::Pace, StorageState::Late, &format!("records have been waiting for {lag_ms} ms"));
        } else {
            self.set_state(Side::Pace, StorageState::Good, "");
        }
    }

    /// How long the oldest batch has been waiting.
    fn lag_ms(&self) -> u64 {
        match self.oldest.load(Ordering::Relaxed) {
            0 => 0,
            oldest => self.micros().saturating_sub(oldest) / 1000,
        }
    }

    /// The current state.
    pub fn health(&self) -> StorageHealth {
        let states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        let (state, detail) = states.worst().clone();
        StorageHealth {
            state,
            detail,
            lag_ms: self.lag_ms(),
            waiting_bytes: self.waiting.load(Ordering::Relaxed),
            wal_pages: self.wal_pages.load(Ordering::Relaxed),
        }
    }
}

impl States {
    fn worst(&self) -> &(StorageState, String) {
        let sides = [&self.writer, &self.pace, &self.reader];
        sides.into_iter().find(|side| side.0 != StorageState::Good).unwrap_or(&self.writer)
    }
}

/// Whether the receipt of this record's batch carries a session.
pub(super) fn carries_session(record: &Record) -> bool {
    matches!(record, Record::SessionTaken { .. } | Record::SessionClaimed { .. })
}

/// Approximate size of a batch in the queue, in bytes.
pub(super) fn weight(batch: &Batch) -> usize {
    size_of::<Batch>() + batch.records.iter().map(weight_of).sum::<usize>()
}

fn weight_of(record: &Record) -> usize {
    128 + match record {
        Record::MessageSent(sent) => sent.message.content.bytes(),
        Record::DirectKept { direct, .. } => direct.content.bytes(),
        Record::Hook(event) => event.change.bytes(),
        Record::RoomMade(made) => {
            let profile = made.profile.as_deref();
            profile.map_or(0, |profile| {
                64 * profile.participants.len() + profile.encryption.as_deref().map_or(0, str::len)
            })
        }
        Record::SessionKept(session) => 256 * session.rooms.len(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;
    use std::time::Duration;

    use crossbeam_channel::unbounded;

    use super::*;

    #[test]
    fn hanging_write_sets_late_and_its_end_sets_good() {
        let (command, commands) = unbounded();
        let (query, _questions) = unbounded();
        let (say, said) = unbounded();
        let tell = move |event| {
            if let StorageEvent::State(state) = event {
                say.send(state).expect("somebody listens");
            }
        };
        let shared = Arc::new(Shared::new(Durability::Process, command, query, Box::new(tell)));
        let check_lag = |patience_ms| {
            shared.check_lag(patience_ms);
            (shared.health().state, said.try_iter().collect::<Vec<_>>())
        };
        assert_eq!(check_lag(0), (StorageState::Good, vec![]));
        let records = [Record::RoomClosed { room: "r".into() }].into_iter().collect();
        let batch = Batch { ticket: Ticket { sender: 0, run: 0, number: 0 }, records };
        let bytes = weight(&batch);
        shared.submit(batch);
        assert_eq!(check_lag(60_000), (StorageState::Good, vec![]));
        while shared.health().lag_ms == 0 {
            thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(check_lag(0), (StorageState::Late, vec![StorageState::Late]));
        assert_eq!(check_lag(0), (StorageState::Late, vec![]));
        shared.finished(bytes);
        assert_eq!(check_lag(0), (StorageState::Good, vec![StorageState::Good]));
        drop(commands);
    }
}
