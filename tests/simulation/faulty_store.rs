//! A store that is slow, full or broken at random and may crash at any moment: a model of the storage thread behind
//! [`switchboard::message::storage`], with exactly the guarantees of that interface.
//!
//! Changes are a list, and the durability determines the part of it that survives: a power failure loses changes that
//! are written but not synced, a crash of the process those that are not written. Batches are written in groups; between
//! any two steps (group written, group synced, receipts sent, query answered) other events may happen.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use switchboard::base::Name;
use switchboard::base::rng::Rng;
use switchboard::base::time::Now;
use switchboard::domain::command::ReceiptKind as Mark;
use switchboard::domain::record::Record;
use switchboard::message::storage::{
    Batch, CommitOutcome, CommitReceipt, Restored, StorageCommand, StorageEvent, StorageQuery, StorageReply,
    StorageState, Ticket, Unavailable,
};
use switchboard::message::{Requester, ShardMessage};
use switchboard::runtime::storage::Durability;
use uuid::Uuid;

use super::coverage::Coverage;
use super::setting::USERS;
use super::store_contents::{Change, StoreContents};

/// Who speaks for the store, each in an order of its own: who writes, and who answers.
pub(crate) const VOICES: usize = 2;

/// How often rooms are trimmed, in milliseconds.
const SWEEP_EVERY_MS: u64 = 5_000;

/// How one run's store is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StoreTraits {
    pub(crate) durability: Durability,
    pub(crate) recovery_window_ms: u64,
    /// The newest so many messages of a room are kept; 0: all.
    pub(crate) keep_messages: u64,
    /// Messages are kept for so long; 0: for ever.
    pub(crate) keep_ms: u64,
    /// It acts about every so many turns of its clients.
    pub(crate) leisure: u64,
    /// Now and then its queue has no room for a batch.
    pub(crate) overflows: bool,
}

impl StoreTraits {
    /// A store that does what it should, and forgets nothing.
    pub(crate) fn good(leisure: u64) -> Self {
        Self {
            durability: Durability::Process,
            recovery_window_ms: 0,
            keep_messages: 0,
            keep_ms: 0,
            leisure,
            overflows: false,
        }
    }
}

/// A room message that was kept at any time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) room: Name,
    pub(crate) epoch: Name,
    pub(crate) seq: u64,
    pub(crate) content: String,
}

enum Item {
    /// A batch, and whether its sender still waits for the receipt.
    Keep(Batch, bool),
    /// There was no room for it.
    Refuse(Ticket),
    Ask(Requester, StorageQuery),
}

/// A group of batches under way.
struct Group {
    receipts: Vec<(Ticket, Result<CommitOutcome, Unavailable>)>,
    /// With durability `power`: what is written and not yet synced.
    unsynced: Vec<Batch>,
}

/// See the module.
pub(crate) struct FaultyStore {
    pub(crate) nature: StoreTraits,
    pub(crate) contents: StoreContents,
    pub(crate) tally: Coverage,
    rng: Rng,
    /// Everything that was ever written and is not lost, in order.
    changes: Vec<Change>,
    /// So many of the changes survive the loss of power.
    synced: usize,
    queue: VecDeque<Item>,
    questions: VecDeque<(Requester, StorageQuery)>,
    group: Option<Group>,
    /// With durability `none`: the run each sender is in, as of what it sent last. Else: as of what was taken from the
    /// queue.
    runs: [u32; 256],
    /// What was refused last; it may be there after all if nothing else is written before the end.
    ghosts: Vec<Batch>,
    state: StorageState,
    /// It will find that it cannot write; in which state it is then, and when it is over.
    trouble: Option<(StorageState, u64)>,
    stalled_until: u64,
    /// When it was last in trouble, in milliseconds since 1970.
    troubled_at: u64,
    /// When rooms were last trimmed, in milliseconds since 1970.
    swept_at: u64,
    told: Vec<[VecDeque<StorageEvent>; VOICES]>,
    /// All room messages that somebody may be told of, lost since or not.
    pub(crate) messages: BTreeMap<Uuid, Known>,
    pub(crate) directs: BTreeSet<Uuid>,
    marks: BTreeSet<(Uuid, Name, bool)>,
    /// StoreContents of messages that were refused and are there all the same.
    pub(crate) resurrected: BTreeSet<String>,
    /// How often it failed or was late, so that somebody may not have been served.
    pub(crate) failures: u64,
    /// How often it lost the newest of what was told.
    pub(crate) tails_lost: u64,
}

impl FaultyStore {
    pub(crate) fn new(nature: StoreTraits, rng: Rng, shards: usize) -> Self {
        Self {
            nature,
            contents: StoreContents::new(&USERS),
            tally: Coverage::default(),
            rng,
            changes: Vec::new(),
            synced: 0,
            queue: VecDeque::new(),
            questions: VecDeque::new(),
            group: None,
            runs: [0; 256],
            ghosts: Vec::new(),
            state: StorageState::Good,
            trouble: None,
            stalled_until: 0,
            troubled_at: 0,
            swept_at: 0,
            told: (0..shards).map(|_| Default::default()).collect(),
            messages: BTreeMap::new(),
            directs: BTreeSet::new(),
            marks: BTreeSet::new(),
            resurrected: BTreeSet::new(),
            failures: 0,
            tails_lost: 0,
        }
    }

    fn is_none(&self) -> bool {
        self.nature.durability == Durability::None
    }

    /// Whether it refuses what comes.
    pub(crate) fn is_failing(&self) -> bool {
        self.state != StorageState::Good || self.trouble.is_some()
    }

    pub(crate) fn state(&self) -> StorageState {
        self.state
    }

    /// Whether all is well, and has been for so long that everybody knows.
    pub(crate) fn is_well(&self, now: Now) -> bool {
        !self.is_failing() && self.troubled_at + 5_000 < now.wall
    }

    /// From its next write on it fails, for a while.
    pub(crate) fn fail(&mut self, now: Now, state: StorageState, ms: u64) {
        if self.trouble.is_none() {
            self.trouble = Some((state, now.mono + ms));
            self.failures += 1;
        }
    }

    /// It does nothing for a while.
    pub(crate) fn stall(&mut self, now: Now, ms: u64) {
        self.stalled_until = now.mono + ms;
        self.troubled_at = now.wall + ms;
        self.failures += 1;
        self.tally.count("store slow");
    }

    /// Everything is well from now on.
    pub(crate) fn heal(&mut self, now: Now) {
        self.stalled_until = 0;
        if let Some((_, until)) = &mut self.trouble {
            *until = now.mono;
        }
    }

    /// A shard has something for it.
    pub(crate) fn order(&mut self, now: Now, order: StorageCommand) {
        match order {
            StorageCommand::Query { from, query } if self.is_none() => self.queue.push_back(Item::Ask(from, query)),
            StorageCommand::Query { from, query } => self.questions.push_back((from, query)),
            StorageCommand::Commit(batch) => {
                let ticket = batch.ticket;
                let is_full = self.nature.overflows && self.rng.below(60) == 0;
                if is_full {
                    self.failures += 1;
                    self.troubled_at = now.wall;
                }
                if !self.is_none() {
                    return self.queue.push_back(if is_full { Item::Refuse(ticket) } else { Item::Keep(batch, true) });
                }
                if is_full || ticket.run != self.runs[usize::from(ticket.sender)] {
                    self.end_run(ticket);
                    return self.receipt(ticket, Err(Unavailable));
                }
                let is_open = batch.records.iter().any(is_take);
                if !is_open {
                    self.note(&batch);
                    self.receipt(ticket, Ok(CommitOutcome::default()));
                }
                self.queue.push_back(Item::Keep(batch, is_open));
            }
        }
    }

    /// Whether there is something it may do now. `is_idle`: nobody else has anything to do.
    pub(crate) fn can_act(&mut self, now: Now, is_idle: bool) -> bool {
        self.stalled_until <= now.mono && self.has_work(now) && (is_idle || self.rng.below(self.nature.leisure) == 0)
    }

    fn has_work(&self, now: Now) -> bool {
        let has_queue = match self.state {
            // What was acknowledged long ago waits for better times.
            StorageState::Full | StorageState::Failing | StorageState::Corrupt | StorageState::Displaced
                if self.is_none() =>
            {
                self.queue.iter().any(is_awaited)
            }
            _ => !self.queue.is_empty(),
        };
        let is_tidy = self.is_failing() || self.can_trim(now).is_none();
        self.group.is_some() || !self.questions.is_empty() || self.turns(now) || has_queue || !is_tidy
    }

    /// Whether it is time to fail, or to recover.
    fn turns(&self, now: Now) -> bool {
        self.trouble.is_some_and(|(_, until)| self.state == StorageState::Good || until <= now.mono)
    }

    /// When it next does something by itself, in monotonic milliseconds.
    pub(crate) fn next_due(&self, now: Now) -> Option<u64> {
        if self.stalled_until > now.mono {
            return Some(self.stalled_until);
        }
        self.trouble.map(|(_, until)| until.max(now.mono))
    }

    /// Does one thing of those there are to do.
    pub(crate) fn act(&mut self, now: Now) {
        let is_question = !self.questions.is_empty();
        if is_question && (self.rng.below(2) == 0 || self.group.is_none() && self.queue.is_empty()) {
            return self.answer_next(now);
        }
        if let Some(group) = self.group.take() {
            return self.advance(now, group);
        }
        match self.trouble {
            Some((state, _)) if self.state == StorageState::Good => {
                self.refuse_queue(true);
                self.tally.count("store failed");
                self.tell_state(state);
            }
            Some((_, until)) if until <= now.mono => {
                self.trouble = None;
                self.troubled_at = now.wall;
                self.tell_state(StorageState::Good);
                self.tally.count("store back");
            }
            Some(_) => self.refuse_queue(false),
            None if !self.queue.is_empty() => self.write(now),
            None => match self.can_trim(now) {
                Some((room, first)) => {
                    self.tally.count("trimmed");
                    self.change(Change::Trim(room, first));
                }
                None => self.answer_next(now),
            },
        }
        if self.can_trim(now).is_none() && self.swept_at + SWEEP_EVERY_MS <= now.wall {
            self.swept_at = now.wall;
        }
    }

    fn change(&mut self, change: Change) -> CommitOutcome {
        let kept = self.contents.apply(&change);
        self.changes.push(change);
        kept
    }

    /// Takes some of what has queued up.
    fn gather(&mut self) -> Vec<Item> {
        let count = if self.rng.below(2) == 0 { self.queue.len() as u64 } else { 1 + self.rng.below(8) };
        let count = (count as usize).min(self.queue.len());
        self.queue.drain(..count).collect()
    }

    /// Writes a group; with durability `process` and `none` that is all it takes.
    fn write(&mut self, now: Now) {
        let mut group = Group { receipts: Vec::new(), unsynced: Vec::new() };
        self.ghosts.clear();
        for item in self.gather() {
            match item {
                Item::Ask(from, query) => self.questions.push_back((from, query)),
                Item::Refuse(ticket) => {
                    self.end_run(ticket);
                    group.receipts.push((ticket, Err(Unavailable)));
                }
                Item::Keep(batch, _) if !self.is_none() && self.is_over(batch.ticket) => {
                    group.receipts.push((batch.ticket, Err(Unavailable)));
                }
                Item::Keep(batch, _) if self.nature.durability == Durability::Power => group.unsynced.push(batch),
                Item::Keep(batch, is_open) => {
                    let kept = self.keep(now, &batch);
                    if is_open {
                        group.receipts.push((batch.ticket, Ok(kept)));
                    }
                }
            }
        }
        self.group = Some(group);
    }

    fn keep(&mut self, now: Now, batch: &Batch) -> CommitOutcome {
        self.note(batch);
        self.change(Change::Batch(batch.records.to_vec(), now.wall))
    }

    /// The next step of a group that is written: with durability `power` it is synced, or cannot be; then its receipts
    /// go out.
    fn advance(&mut self, now: Now, mut group: Group) {
        let unsynced = std::mem::take(&mut group.unsynced);
        let is_to_sync = !unsynced.is_empty();
        let failed = self.trouble.filter(|_| is_to_sync);
        for batch in unsynced {
            let outcome = if failed.is_some() { Err(Unavailable) } else { Ok(self.keep(now, &batch)) };
            group.receipts.push((batch.ticket, outcome));
            if failed.is_some() {
                self.end_run(batch.ticket);
                self.ghosts.push(batch);
            }
        }
        // Some took their places before; the order of one sender's batches is that of their numbers.
        group.receipts.sort_by_key(|(ticket, _)| ticket.number);
        if is_to_sync && failed.is_none() {
            self.synced = self.changes.len();
            self.group = Some(group);
            return;
        }
        for (ticket, outcome) in group.receipts {
            self.receipt(ticket, outcome);
        }
        if let Some((state, _)) = failed {
            self.tally.count("store failed to sync");
            self.tell_state(state);
        } else if self.rng.below(6) == 0 && !self.is_none() {
            self.synced = self.changes.len();
        }
    }

    /// What has queued up cannot be written. `is_first`: it was tried, and so may be there after all.
    fn refuse_queue(&mut self, is_first: bool) {
        if self.is_none() {
            return self.await_disk();
        }
        let items = self.gather();
        if is_first {
            let tried = items.iter().filter_map(|item| match item {
                Item::Keep(batch, _) if !self.is_over(batch.ticket) => Some(batch.clone()),
                _ => None,
            });
            self.ghosts = tried.collect();
        }
        for item in items {
            let ticket = match item {
                Item::Keep(batch, _) => batch.ticket,
                Item::Refuse(ticket) => ticket,
                Item::Ask(from, _) => {
                    self.answer(from, Err(Unavailable));
                    continue;
                }
            };
            self.end_run(ticket);
            self.receipt(ticket, Err(Unavailable));
        }
    }

    /// With durability `none`, what was acknowledged waits; whoever waits for more is told that there is none.
    fn await_disk(&mut self) {
        for item in std::mem::take(&mut self.queue) {
            match item {
                Item::Ask(from, _) => self.answer(from, Err(Unavailable)),
                Item::Keep(batch, true) => {
                    let takes = batch.records.iter().filter(|record| is_take(record)).count();
                    self.receipt(batch.ticket, Ok(CommitOutcome { taken: vec![None; takes] }));
                    self.queue.push_back(Item::Keep(batch, false));
                }
                other => self.queue.push_back(other),
            }
        }
    }

    fn answer_next(&mut self, now: Now) {
        let Some((from, query)) = self.questions.pop_front() else { return };
        let is_readable = matches!(self.state, StorageState::Good | StorageState::Full);
        let answer = is_readable.then(|| self.contents.answer(&query, now.wall, &mut self.rng));
        let voice = &mut self.told[usize::from(from.shard)][1];
        voice.push_back(StorageEvent::Reply { to: from, answer: answer.ok_or(Unavailable) });
    }

    /// Everything that a batch has in it may be told from now on.
    fn note(&mut self, batch: &Batch) {
        for record in &batch.records {
            match record {
                Record::MessageSent(sent) => {
                    let message = &sent.message;
                    let (room, epoch) = (message.room.clone(), sent.epoch.clone());
                    let (seq, content) = (message.seq.expect("a place"), (*message.content.body).to_owned());
                    self.messages.insert(message.id, Known { room, epoch, seq, content });
                }
                Record::DirectKept { direct, .. } => drop(self.directs.insert(direct.id)),
                Record::MessageMarked { message, user, mark, .. } => {
                    self.marks.insert((*message, user.clone(), *mark == Mark::Read));
                }
                _ => {}
            }
        }
    }

    /// Whether it was ever noted that a user received or read a message.
    pub(crate) fn was_marked(&self, message: Uuid, user: &str, is_read: bool) -> bool {
        self.marks.contains(&(message, user.into(), is_read))
    }

    fn is_over(&self, ticket: Ticket) -> bool {
        self.runs[usize::from(ticket.sender)] != ticket.run
    }

    fn end_run(&mut self, ticket: Ticket) {
        if !self.is_over(ticket) {
            self.runs[usize::from(ticket.sender)] += 1;
        }
    }

    fn receipt(&mut self, ticket: Ticket, outcome: Result<CommitOutcome, Unavailable>) {
        self.told[usize::from(ticket.sender)][0].push_back(StorageEvent::Receipt(CommitReceipt { ticket, outcome }));
    }

    fn answer(&mut self, to: Requester, answer: Result<StorageReply, Unavailable>) {
        self.told[usize::from(to.shard)][0].push_back(StorageEvent::Reply { to, answer });
    }

    fn tell_state(&mut self, state: StorageState) {
        self.state = state;
        self.told.iter_mut().for_each(|told| told[0].push_back(StorageEvent::State(state)));
    }

    pub(crate) fn has_events(&self, shard: usize) -> bool {
        self.told[shard].iter().any(|voice| !voice.is_empty())
    }

    pub(crate) fn next_event(&mut self, voice: usize, shard: usize) -> Option<ShardMessage> {
        self.told[shard][voice].pop_front().map(ShardMessage::Storage)
    }

    /// A room of which there is more than is kept, and the first message that stays.
    fn can_trim(&self, now: Now) -> Option<(Name, u64)> {
        if now.wall < self.swept_at + SWEEP_EVERY_MS {
            return None;
        }
        let (keep_messages, keep_ms) = (self.nature.keep_messages, self.nature.keep_ms);
        self.contents.rooms().find_map(|room| {
            let last = room.stored.last;
            let is_old = |at: u64| keep_ms > 0 && at + keep_ms < now.wall;
            let old = room.messages.iter().take_while(|message| is_old(message.at)).last();
            let many = if keep_messages > 0 { last.saturating_sub(keep_messages) } else { 0 };
            let first = many.max(old.and_then(|message| message.seq).unwrap_or(0)) + 1;
            (first > room.stored.first).then(|| (room.stored.made.room.clone(), first))
        })
    }

    /// The process ends, or the whole machine, and another opens what is left.
    pub(crate) fn crash(&mut self, now: Now, is_power: bool) {
        let mut unfinished = self.group.take().map(|group| group.unsynced).unwrap_or_default();
        if unfinished.is_empty() {
            unfinished = std::mem::take(&mut self.ghosts);
            let contents = unfinished.iter().flat_map(|batch| &batch.records).filter_map(|record| match record {
                Record::MessageSent(sent) => Some((*sent.message.content.body).to_owned()),
                Record::DirectKept { direct, .. } => Some((*direct.content.body).to_owned()),
                _ => None,
            });
            self.resurrected.extend(contents);
        }
        if self.rng.below(2) == 0 {
            for batch in unfinished {
                self.keep(now, &batch);
            }
        }
        self.queue.clear();
        self.questions.clear();
        self.ghosts.clear();
        self.told.iter_mut().flatten().for_each(VecDeque::clear);
        (self.runs, self.state, self.trouble, self.stalled_until) = ([0; 256], StorageState::Good, None, 0);
        if is_power && self.synced < self.changes.len() {
            let left = self.synced + self.rng.below((self.changes.len() - self.synced) as u64 + 1) as usize;
            self.changes.truncate(left);
            self.contents = StoreContents::new(&USERS);
            for change in &self.changes {
                self.contents.apply(change);
            }
        }
        let is_tail_lost = match self.nature.durability {
            Durability::Process => is_power,
            Durability::Power => false,
            Durability::None => true,
        };
        let mut epochs = Vec::new();
        if is_tail_lost {
            self.tails_lost += 1;
            self.tally.count("tail lost");
            let rooms = self.contents.rooms().map(|room| room.stored.made.room.clone());
            epochs = rooms.map(|room| (room, format!("e{:x}", self.rng.next_u32()).as_str().into())).collect();
        }
        self.change(Change::Start(now.wall + self.nature.recovery_window_ms, epochs));
        self.synced = self.changes.len();
    }

    /// What a server needs to know when it starts.
    pub(crate) fn restored(&self, now: Now) -> Vec<Restored> {
        self.contents.restored(now.wall)
    }
}

fn is_take(record: &Record) -> bool {
    matches!(record, Record::SessionTaken { .. } | Record::SessionClaimed { .. })
}

/// Whether somebody waits to hear of it.
fn is_awaited(item: &Item) -> bool {
    !matches!(item, Item::Keep(_, false))
}
