//! What the store's threads and its users have in common: queues, what waits in them, and how the store is.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crossbeam_channel::Sender;

use crate::domain::record::Record;
use crate::message::storage::{Batch, Kept, Receipt, StorageEvent, StorageQuery, StorageState, Ticket, Unavailable};
use crate::message::{Requester, ShardNumber};
use crate::runtime::storage::{Durability, Health};

/// Bytes of records that may wait. What comes beyond is refused at once.
const WAITING_BYTES: usize = 64 << 20;

/// Questions that may wait.
const QUESTIONS: usize = 65_536;

/// What comes to the writing thread.
pub(super) enum Order {
    /// Keep this.
    Keep(Batch),
    /// There is too much waiting to keep this too.
    Refuse(Ticket),
    /// Pass this on once what came before is kept.
    Ask(Question),
    /// Finish what came before, and end.
    Close,
}

/// A question on its way to the reading thread.
pub(super) struct Question {
    pub(super) to: Requester,
    pub(super) query: StorageQuery,
}

/// See the module.
pub(super) struct Shared {
    pub(super) durability: Durability,
    orders: Sender<Order>,
    questions: Sender<Option<Question>>,
    tell: Box<dyn Fn(StorageEvent) + Send + Sync>,
    start: Instant,
    /// Bytes of records that wait.
    waiting: AtomicUsize,
    /// Since when the oldest of them waits, in microseconds after `start`, counted from 1; 0 when none does.
    oldest: AtomicU64,
    /// Pages in the write-ahead log.
    pub(super) wal_pages: AtomicU32,
    /// The checkpointing thread has done its part.
    pub(super) is_checkpointed: AtomicBool,
    /// The reading side has met damage, and the writing side should look for it.
    pub(super) is_suspect: AtomicBool,
    /// With durability `none`, the run that each sender is in.
    runs: [AtomicU32; 256],
    states: Mutex<States>,
}

/// How the writing and the reading side are.
#[derive(Default)]
struct States {
    writer: (StorageState, String),
    /// The writing side again, as it looks from outside.
    pace: (StorageState, String),
    reader: (StorageState, String),
}

/// Which side a state is of.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Writer,
    Pace,
    Reader,
}

impl Shared {
    pub(super) fn new(
        durability: Durability,
        orders: Sender<Order>,
        questions: Sender<Option<Question>>,
        tell: Box<dyn Fn(StorageEvent) + Send + Sync>,
    ) -> Self {
        Self {
            durability,
            orders,
            questions,
            tell,
            start: Instant::now(),
            waiting: AtomicUsize::new(0),
            oldest: AtomicU64::new(0),
            wal_pages: AtomicU32::new(0),
            is_checkpointed: AtomicBool::new(false),
            is_suspect: AtomicBool::new(false),
            runs: [const { AtomicU32::new(0) }; 256],
            states: Mutex::default(),
        }
    }

    pub(super) fn tell(&self, told: StorageEvent) {
        (self.tell)(told);
    }

    pub(super) fn receipt(&self, ticket: Ticket, outcome: Result<Kept, Unavailable>) {
        self.tell(StorageEvent::Receipt(Receipt { ticket, outcome }));
    }

    /// See [`super::Store::submit`].
    pub(super) fn submit(&self, batch: Batch) {
        let (ticket, weight) = (batch.ticket, weight(&batch));
        let is_early = self.durability == Durability::None && !batch.records.iter().any(is_take);
        if self.waiting.load(Ordering::Relaxed) + weight > WAITING_BYTES {
            if self.durability == Durability::None {
                self.end_run(ticket);
                return self.receipt(ticket, Err(Unavailable));
            }
            self.order(Order::Refuse(ticket), ticket);
            return;
        }
        if self.durability == Durability::None && ticket.run != self.run(ticket.sender) {
            return self.receipt(ticket, Err(Unavailable));
        }
        self.waiting.fetch_add(weight, Ordering::Relaxed);
        self.note_waiting();
        if self.order(Order::Keep(batch), ticket) && is_early {
            self.receipt(ticket, Ok(Kept::default()));
        }
    }

    /// Gives an order to the writing thread; refuses its batch if that has ended.
    fn order(&self, order: Order, ticket: Ticket) -> bool {
        let is_sent = self.orders.send(order).is_ok();
        if !is_sent {
            self.receipt(ticket, Err(Unavailable));
        }
        is_sent
    }

    /// Notes that something waits from now on, unless something did before.
    pub(super) fn note_waiting(&self) {
        let _ = self.oldest.compare_exchange(0, self.micros(), Ordering::Relaxed, Ordering::Relaxed);
    }

    fn run(&self, sender: ShardNumber) -> u32 {
        self.runs[usize::from(sender)].load(Ordering::Relaxed)
    }

    /// With durability `none`: a batch is refused, and its run, if it still lasts, ends.
    pub(super) fn end_run(&self, ticket: Ticket) {
        let run = &self.runs[usize::from(ticket.sender)];
        let _ = run.compare_exchange(ticket.run, ticket.run + 1, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// See [`super::Store::ask`].
    pub(super) fn ask(&self, question: Question) {
        let to = question.to;
        let is_sent = match self.durability {
            // What was acknowledged may not be written yet.
            Durability::None => self.orders.send(Order::Ask(question)).is_ok(),
            _ => self.pass_on(question),
        };
        if !is_sent {
            self.tell(StorageEvent::Reply { to, answer: Err(Unavailable) });
        }
    }

    /// Gives a question to the reading thread, unless too many wait there.
    pub(super) fn pass_on(&self, question: Question) -> bool {
        self.questions.len() < QUESTIONS && self.questions.send(Some(question)).is_ok()
    }

    /// Has the writing thread end after what it has been given before.
    pub(super) fn close(&self) {
        let _ = self.orders.send(Order::Close);
    }

    /// Has the reading thread end after what it has been asked before.
    pub(super) fn close_reader(&self) {
        let _ = self.questions.send(None);
    }

    /// Notes that these batches wait no longer; whatever still does has come by now.
    pub(super) fn finished(&self, weight: usize) {
        let before = self.waiting.fetch_sub(weight, Ordering::Relaxed);
        self.oldest.store(if before == weight { 0 } else { self.micros() }, Ordering::Relaxed);
    }

    fn micros(&self) -> u64 {
        self.start.elapsed().as_micros() as u64 + 1
    }

    /// Notes how a side is, and tells everyone if that changes how the store is.
    pub(super) fn set_state(&self, side: Side, state: StorageState, detail: &str) {
        let mut states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        let before = states.worst().0;
        match side {
            Side::Writer => states.writer = (state, detail.to_owned()),
            Side::Pace => states.pace = (state, detail.to_owned()),
            Side::Reader => states.reader = (state, detail.to_owned()),
        }
        let after = states.worst().0;
        // Told under the lock, so that two changes are told in their order.
        if before != after {
            self.tell(StorageEvent::State(after));
        }
    }

    /// Looks how long records have been waiting. A thread that hangs in a write cannot say so itself.
    pub(super) fn look(&self, patience_ms: u64) {
        let lag_ms = self.lag_ms();
        if lag_ms > patience_ms {
            self.set_state(Side::Pace, StorageState::Late, &format!("records have been waiting for {lag_ms} ms"));
        } else {
            self.set_state(Side::Pace, StorageState::Good, "");
        }
    }

    /// How long the oldest record has been waiting.
    fn lag_ms(&self) -> u64 {
        match self.oldest.load(Ordering::Relaxed) {
            0 => 0,
            oldest => self.micros().saturating_sub(oldest) / 1000,
        }
    }

    pub(super) fn health(&self) -> Health {
        let states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        let (state, detail) = states.worst().clone();
        Health {
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

/// Whether the receipt carries a session.
pub(super) fn is_take(record: &Record) -> bool {
    matches!(record, Record::SessionTaken { .. } | Record::SessionClaimed { .. })
}

/// What a batch takes of the queue, in bytes, roughly.
pub(super) fn weight(batch: &Batch) -> usize {
    size_of::<Batch>() + batch.records.iter().map(weight_of).sum::<usize>()
}

fn weight_of(record: &Record) -> usize {
    128 + match record {
        Record::MessageSent(sent) => sent.message.content.bytes(),
        Record::DirectKept { direct, .. } => direct.content.bytes(),
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
    fn a_write_that_hangs_is_noticed_and_so_is_its_end() {
        let (order, orders) = unbounded();
        let (question, _questions) = unbounded();
        let (say, said) = unbounded();
        let tell = move |told| {
            if let StorageEvent::State(state) = told {
                say.send(state).expect("somebody listens");
            }
        };
        let shared = Arc::new(Shared::new(Durability::Process, order, question, Box::new(tell)));
        let look = |patience_ms| {
            shared.look(patience_ms);
            (shared.health().state, said.try_iter().collect::<Vec<_>>())
        };
        assert_eq!(look(0), (StorageState::Good, vec![]));
        let records = [Record::RoomClosed { room: "r".into() }].into_iter().collect();
        let batch = Batch { ticket: Ticket { sender: 0, run: 0, number: 0 }, records };
        let bytes = weight(&batch);
        shared.submit(batch);
        assert_eq!(look(60_000), (StorageState::Good, vec![]));
        while shared.health().lag_ms == 0 {
            thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(look(0), (StorageState::Late, vec![StorageState::Late]));
        assert_eq!(look(0), (StorageState::Late, vec![]));
        shared.finished(bytes);
        assert_eq!(look(0), (StorageState::Good, vec![StorageState::Good]));
        drop(orders);
    }
}
