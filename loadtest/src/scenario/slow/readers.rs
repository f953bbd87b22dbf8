//! The rooms of one worker, in which some stop reading and read again.
//!
//! As in `fanout`, a room may have members at several workers, and a message is done for the sender when the members at
//! its own worker have it: all of them while all read, those that do not stall while some do.

use std::collections::BTreeMap;

use memchr::memmem;

use crate::mark;
use crate::play::{Play, Stage};
use crate::reception::Reception;
use crate::scenario::joining::Joining;
use crate::tally::{Counts, Tally};
use crate::vocabulary::Vocabulary;
use crate::words::{Phase, Setup, Share};

use super::Slow;
use super::stalled::Stalled;

/// Messages of a room that can be told apart while they are under way; a power of two.
pub(super) const RING: usize = 256;

/// What a server says to a reader that it disconnects for being slow.
const TOO_SLOW: &[u8] = b"slow-consumer";

pub(super) struct Readers {
    options: Slow,
    share: Share,
    words: Vocabulary,
    joining: Joining,
    /// The rooms whose sender is here.
    rooms: Vec<Room>,
    /// The number of the first of them.
    first_room: usize,
    /// What came to those that never stall.
    reception: Reception,
    /// Those that do, by client.
    stalled: BTreeMap<usize, Stalled>,
    stalled_bytes: u64,
    stall: Stall,
    /// Clients that were closed though they had not stalled.
    closed: u64,
    phase: Phase,
    content: Vec<u8>,
}

struct Room {
    sent: u64,
    /// Members of this worker that receive, and that do so all the time.
    receivers: u32,
    steady: u32,
    /// How many of them have each message under way.
    have: [u32; RING],
}

/// What those that stall do.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stall {
    /// They read like everybody.
    Before,
    /// They do not read.
    Now,
    /// They read what they have not read.
    Over,
}

impl Readers {
    pub(super) fn new(options: &Slow, setup: &Setup) -> Self {
        let (share, words) = (setup.share, setup.vocabulary());
        let members = options.members;
        let end = share.first + share.clients;
        let (first_room, end_room) = (share.first.div_ceil(members), end.div_ceil(members));
        let rooms = (first_room..end_room).map(|room| {
            let here = end.min((room + 1) * members) - room * members;
            let receivers = here - usize::from(!words.hears_itself());
            let steady = receivers - (0..here).filter(|member| options.stalls(*member)).count();
            Room { sent: 0, receivers: receivers as u32, steady: steady as u32, have: [0; RING] }
        });
        let stalled = (0..share.clients).filter(|client| options.stalls((share.first + client) % members));
        Self {
            rooms: rooms.collect(),
            first_room,
            joining: Joining::new(share, members),
            reception: Reception::new(share.clients, options.bytes, members),
            stalled: stalled.map(|client| (client, Stalled::default())).collect(),
            stalled_bytes: 0,
            stall: Stall::Before,
            closed: 0,
            phase: Phase::Open,
            content: Vec::new(),
            options: options.clone(),
            share,
            words,
        }
    }

    fn send(&mut self, room: usize, stage: &mut Stage) {
        let state = &mut self.rooms[room];
        state.sent += 1;
        state.have[state.sent as usize % RING] = 0;
        self.content.clear();
        mark::write(&mut self.content, state.sent, mark::now_ns(), self.options.bytes);
        let number = self.first_room + room;
        let sender = number * self.options.members - self.share.first;
        stage.write(sender, |out| self.words.publish(out, number, &self.content));
    }

    /// A client has a message; when it is the last that was waited for, the next one is sent.
    fn has(&mut self, client: usize, seq: u64, stage: &mut Stage) {
        // A room before the first has its sender at another worker.
        let Some(room) = self.place(client).0.checked_sub(self.first_room) else { return };
        let state = &mut self.rooms[room];
        let awaited = if self.stall == Stall::Before { state.receivers } else { state.steady };
        let have = &mut state.have[seq as usize % RING];
        *have += 1;
        if *have == awaited && self.phase == Phase::Go {
            self.send(room, stage);
        }
    }

    /// A client's room, and its number among the members.
    fn place(&self, client: usize) -> (usize, usize) {
        let number = self.share.first + client;
        (number / self.options.members, number % self.options.members)
    }

    /// How many messages a client must have when the rooms were sent so many.
    fn due(&self, client: usize, sent: &[u64]) -> u64 {
        let (room, member) = self.place(client);
        if member == 0 && !self.words.hears_itself() { 0 } else { sent.get(room).copied().unwrap_or(0) }
    }

    /// The same of those that never stall; of the others it is kept elsewhere.
    fn due_steadily(&self, client: usize, sent: &[u64]) -> u64 {
        if self.stalled.contains_key(&client) { 0 } else { self.due(client, sent) }
    }

    fn drained(&self) -> &[u64] {
        match &self.phase {
            Phase::Drain { sent } => sent,
            _ => &[],
        }
    }

    /// How much of what can still come has come.
    fn drain_progress(&self, sent: &[u64]) -> (u64, u64) {
        let (mut done, mut total) = self.reception.progress(|client| self.due_steadily(client, sent));
        if self.stall != Stall::Now {
            for (client, stalled) in self.stalled.iter().filter(|(_, stalled)| !stalled.is_gone) {
                let due = self.due(*client, sent);
                done += due - stalled.missing(due);
                total += due;
            }
        }
        (done, total)
    }
}

impl Play for Readers {
    fn begin(&mut self, phase: &Phase, stage: &mut Stage) {
        self.phase = phase.clone();
        match phase {
            Phase::Prepare => self.joining.begin(&self.words, stage),
            Phase::Go => {
                for room in 0..self.rooms.len() {
                    (0..self.options.window).for_each(|_| self.send(room, stage));
                }
            }
            Phase::Stall => {
                self.stall = Stall::Now;
                self.stalled.keys().for_each(|client| stage.pause(*client));
            }
            Phase::Resume => {
                self.stall = Stall::Over;
                self.stalled.keys().for_each(|client| stage.resume(*client));
            }
            _ => {}
        }
    }

    fn progress(&self) -> (u64, u64) {
        match &self.phase {
            Phase::Prepare => self.joining.progress(),
            Phase::Drain { sent } => self.drain_progress(sent),
            _ => (0, 0),
        }
    }

    fn message(&mut self, client: usize, text: &[u8], stage: &mut Stage) {
        let Some(content) = self.words.delivery(text) else {
            if self.words.is_joined(text) {
                self.joining.joined(&self.words, stage);
            } else if let Some(stalled) = self.stalled.get_mut(&client) {
                stalled.is_told |= memmem::find(text, TOO_SLOW).is_some();
            }
            return;
        };
        let Some(stalled) = self.stalled.get_mut(&client) else {
            if let Some(seq) = self.reception.enter(client, content, text.len(), stage) {
                self.has(client, seq, stage);
            }
            return;
        };
        if let Some(seq) = stalled.enter(content, self.options.bytes) {
            self.stalled_bytes += text.len() as u64;
            if self.stall == Stall::Before {
                self.has(client, seq, stage);
            }
        }
    }

    fn closed(&mut self, client: usize, _stage: &mut Stage) {
        match self.stalled.get_mut(&client) {
            Some(stalled) if self.stall != Stall::Before => stalled.is_gone = true,
            _ => self.closed += 1,
        }
        self.reception.close(client);
    }

    fn judges_closed(&self) -> bool {
        true
    }

    fn receive_bytes(&self, client: usize) -> Option<usize> {
        self.stalled.contains_key(&client).then_some(self.options.receive_bytes)
    }

    fn restart(&mut self) {
        self.reception.restart();
    }

    fn counts(&self) -> Counts {
        let mut counts = self.reception.counts();
        let deliveries: u64 = self.stalled.values().map(|stalled| stalled.deliveries).sum();
        for (name, more) in [("deliveries", deliveries), ("bytes", self.stalled_bytes)] {
            *counts.entry(name.to_owned()).or_default() += more;
        }
        counts
    }

    fn tally(&self) -> Tally {
        let mut tally = self.reception.tally(|client| self.due_steadily(client, self.drained()));
        let total = |count: &dyn Fn(usize, &Stalled) -> u64| {
            self.stalled.iter().map(|(client, stalled)| count(*client, stalled)).sum::<u64>()
        };
        let due = |client| self.due(client, self.drained());
        tally.counts = self.counts();
        for (name, count) in [
            ("stalled", self.stalled.len() as u64),
            ("disconnected", total(&|_, stalled| stalled.is_gone.into())),
            ("told_slow", total(&|_, stalled| stalled.is_told.into())),
            ("withheld", total(&|client, stalled| stalled.withheld(due(client)))),
        ] {
            tally.counts.insert(name.to_owned(), count);
        }
        for (name, count) in [
            ("closed", self.closed),
            ("stalled_missing", total(&|client, stalled| stalled.missing(due(client)))),
            ("stalled_doubled", total(&|_, stalled| stalled.doubled)),
            ("stalled_out_of_order", total(&|_, stalled| stalled.out_of_order)),
            ("stalled_damaged", total(&|_, stalled| stalled.damaged)),
        ] {
            tally.faults.insert(name.to_owned(), count);
        }
        tally.sent = self.rooms.iter().enumerate().map(|(room, state)| (self.first_room + room, state.sent)).collect();
        tally
    }
}
