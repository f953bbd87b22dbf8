//! Pairs of peers. The first of a pair sends offers, so many of them under way; the second answers each of them, or, where
//! offers go one way only, says by having received one that the next may be sent.

use crate::mark;
use crate::play::{Play, Stage};
use crate::reception::Reception;
use crate::tally::{Counts, Durations, Tally};
use crate::words::{Phase, Share};

use super::Signal;
use super::words::{Heard, Kind, Way, Words};

/// Joins of all workers that may be under way.
const JOINING_MAX: usize = 256;

/// The pairs of one worker.
pub struct Relay {
    options: Signal,
    share: Share,
    words: Words,
    asked: usize,
    joined: usize,
    /// Signals that were sent to each client.
    sent: Vec<u64>,
    reception: Reception,
    /// When the offers under way were sent, for each pair.
    offered_ns: Vec<u64>,
    /// From an offer to its answer.
    exchange: Durations,
    errors: u64,
    phase: Phase,
}

impl Relay {
    /// Nobody has joined.
    pub fn new(options: &Signal, share: Share) -> Self {
        Self {
            words: Words::new(options.bytes),
            asked: 0,
            joined: 0,
            sent: vec![0; share.clients],
            reception: Reception::new(share.clients, mark::LENGTH, 1),
            offered_ns: vec![0; share.clients / 2 * options.window],
            exchange: Durations::default(),
            errors: 0,
            phase: Phase::Open,
            options: options.clone(),
            share,
        }
    }

    fn join(&mut self, stage: &mut Stage) {
        let most = (JOINING_MAX / self.share.workers).max(1);
        while self.asked < self.share.clients && self.asked < self.joined + most {
            let peer = self.share.first + self.asked;
            let join = self.words.join(format_args!("room-{}", peer / self.options.room_size), peer);
            stage.send(self.asked, join.as_bytes());
            self.asked += 1;
        }
    }

    fn offer(&mut self, client: usize, stage: &mut Stage) {
        let now = mark::now_ns();
        let place = self.place(client / 2, self.sent[client + 1] + 1);
        self.offered_ns[place] = now;
        self.send(Kind::Offer, client, client + 1, now, stage);
    }

    fn send(&mut self, kind: Kind, from: usize, to: usize, now: u64, stage: &mut Stage) {
        self.sent[to] += 1;
        let (seq, first) = (self.sent[to], self.share.first);
        let way = Way { kind, from: first + from, to: first + to };
        let room = (first + from) / self.options.room_size;
        stage.write(from, |out| self.words.signal(out, format_args!("room-{room}"), way, seq, now));
    }

    /// Where it is noted when a pair's offer with this number was sent.
    fn place(&self, pair: usize, seq: u64) -> usize {
        pair * self.options.window + seq as usize % self.options.window
    }

    fn deliver(&mut self, kind: Kind, client: usize, mark: &[u8], bytes: usize, stage: &mut Stage) {
        let Some(seq) = self.reception.enter(client, mark, bytes, stage) else { return };
        match kind {
            Kind::Offer if self.phase != Phase::Go => {}
            Kind::Offer if self.options.relay => self.offer(client - 1, stage),
            Kind::Offer => self.send(Kind::Answer, client, client - 1, mark::now_ns(), stage),
            Kind::Answer | Kind::Candidate => {
                let offered = self.offered_ns[self.place(client / 2, seq)];
                self.exchange.record(stage.received_ns().saturating_sub(offered));
                if self.phase == Phase::Go {
                    self.offer(client, stage);
                }
            }
        }
    }
}

impl Play for Relay {
    fn begin(&mut self, phase: &Phase, stage: &mut Stage) {
        self.phase = phase.clone();
        match phase {
            Phase::Prepare => self.join(stage),
            Phase::Go => {
                for client in (0..self.share.clients).step_by(2) {
                    (0..self.options.window).for_each(|_| self.offer(client, stage));
                }
            }
            _ => {}
        }
    }

    fn progress(&self) -> (u64, u64) {
        match self.phase {
            Phase::Prepare => (self.joined as u64, self.share.clients as u64),
            Phase::Drain { .. } => self.reception.progress(|client| self.sent[client]),
            _ => (0, 0),
        }
    }

    fn message(&mut self, client: usize, text: &[u8], stage: &mut Stage) {
        match self.words.hear(text, self.share.first + client) {
            Heard::Signal { kind, from, mark } => {
                // The first of a pair gets answers, the second offers, each from the other and from nobody else.
                let is_due = kind == if client.is_multiple_of(2) { Kind::Answer } else { Kind::Offer };
                let is_own = is_due && from == self.share.first + (client ^ 1);
                self.deliver(kind, client, if is_own { mark } else { &[] }, text.len(), stage);
            }
            Heard::Joined { .. } => {
                self.joined += 1;
                self.join(stage);
            }
            Heard::Error => self.errors += 1,
            Heard::Left | Heard::Other => {}
        }
    }

    fn closed(&mut self, client: usize, _stage: &mut Stage) {
        self.reception.close(client);
    }

    fn restart(&mut self) {
        self.reception.restart();
        self.exchange.clear();
    }

    fn counts(&self) -> Counts {
        self.reception.counts()
    }

    fn tally(&self) -> Tally {
        let mut tally = self.reception.tally(|client| self.sent[client]);
        tally.faults.insert("errors".to_owned(), self.errors);
        if !self.options.relay {
            tally.durations.insert("exchange".to_owned(), self.exchange.clone());
        }
        tally
    }
}
