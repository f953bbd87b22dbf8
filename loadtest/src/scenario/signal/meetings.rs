//! Meetings as they are made. Participants join one after the other. A newcomer sends an offer and its ICE candidates to each
//! peer that is there; each answers, with candidates of its own. When the newcomer has every answer, the next one joins.
//! When all are in and every candidate has come, all leave, and they meet anew in another room.
//!
//! Each participant's signals to each other one are a stream of their own, numbered through all meetings of the two.

use crate::mark;
use crate::play::{Play, Stage};
use crate::reception::Reception;
use crate::tally::{Counts, Durations, Tally};
use crate::words::{Phase, Share};

use super::Signal;
use super::words::{Heard, Kind, Way, Words};

/// The meetings of one worker.
pub struct Meetings {
    options: Signal,
    share: Share,
    words: Words,
    meetings: Vec<Meeting>,
    /// Signals of each stream that were sent.
    sent: Vec<u64>,
    reception: Reception,
    /// From a newcomer's join to the last answer.
    entry: Durations,
    over: u64,
    joins: u64,
    /// Joins whose answer did not list everyone who was there.
    strangers: u64,
    errors: u64,
    phase: Phase,
}

#[derive(Default)]
struct Meeting {
    /// How often they have met.
    round: u64,
    /// Participants that have joined.
    present: usize,
    /// When the newcomer asked to join.
    asked_ns: u64,
    /// Answers that the newcomer waits for.
    unanswered: usize,
    /// Signals that have not come.
    under_way: usize,
    /// Participants that have left.
    left: usize,
}

impl Meetings {
    /// Nobody has joined.
    pub fn new(options: &Signal, share: Share) -> Self {
        let participants = options.participants;
        // A part of a meeting is not held; the conductor sees that there are too few.
        let is_whole = share.first.is_multiple_of(participants) && share.clients.is_multiple_of(participants);
        let meetings = if is_whole { share.clients / participants } else { 0 };
        let streams = share.clients * participants;
        Self {
            words: Words::new(options.bytes),
            meetings: (0..meetings).map(|_| Meeting::default()).collect(),
            sent: vec![0; streams],
            reception: Reception::new(streams, mark::LENGTH, 1),
            entry: Durations::default(),
            over: 0,
            joins: 0,
            strangers: 0,
            errors: 0,
            phase: Phase::Open,
            options: options.clone(),
            share,
        }
    }

    fn convene(&mut self, meeting: usize, stage: &mut Stage) {
        let state = &mut self.meetings[meeting];
        *state = Meeting { round: state.round + 1, ..Meeting::default() };
        self.join(meeting, stage);
    }

    /// The next participant asks to join.
    fn join(&mut self, meeting: usize, stage: &mut Stage) {
        let state = &mut self.meetings[meeting];
        state.asked_ns = mark::now_ns();
        let client = meeting * self.options.participants + state.present;
        let join = self.words.join(self.room(meeting), self.share.first + client);
        stage.send(client, join.as_bytes());
    }

    /// A participant is in, and makes itself known to all others.
    fn joined(&mut self, client: usize, others: usize, stage: &mut Stage) {
        let meeting = client / self.options.participants;
        let first = meeting * self.options.participants;
        let state = &mut self.meetings[meeting];
        let is_newcomer = client == first + state.present;
        self.joins += 1;
        self.strangers += u64::from(!is_newcomer || others != state.present);
        if !is_newcomer || self.phase != Phase::Go {
            return;
        }
        (state.unanswered, state.present) = (state.present, state.present + 1);
        if client == first {
            return self.join(meeting, stage);
        }
        (first..client).for_each(|peer| self.describe(Kind::Offer, client, peer, stage));
    }

    /// Sends a description, and candidates right after it.
    fn describe(&mut self, kind: Kind, from: usize, to: usize, stage: &mut Stage) {
        self.send(kind, from, to, stage);
        (0..self.options.candidates).for_each(|_| self.send(Kind::Candidate, from, to, stage));
    }

    fn send(&mut self, kind: Kind, from: usize, to: usize, stage: &mut Stage) {
        let (meeting, stream) = (from / self.options.participants, self.stream(from, to));
        self.meetings[meeting].under_way += 1;
        self.sent[stream] += 1;
        let way = Way { kind, from: self.share.first + from, to: self.share.first + to };
        let (seq, now) = (self.sent[stream], mark::now_ns());
        stage.write(from, |out| self.words.signal(out, self.room(meeting), way, seq, now));
    }

    fn signaled(&mut self, kind: Kind, from: usize, to: usize, stage: &mut Stage) {
        let meeting = to / self.options.participants;
        if kind == Kind::Offer && self.phase == Phase::Go {
            self.describe(Kind::Answer, to, from, stage);
        }
        let state = &mut self.meetings[meeting];
        state.under_way = state.under_way.saturating_sub(1);
        if kind == Kind::Answer && state.unanswered > 0 {
            state.unanswered -= 1;
            if state.unanswered == 0 {
                self.entry.record(stage.received_ns().saturating_sub(state.asked_ns));
                if self.phase == Phase::Go && state.present < self.options.participants {
                    self.join(meeting, stage);
                }
            }
        }
        self.part(meeting, stage);
    }

    /// All leave, if there is nothing more to come.
    fn part(&mut self, meeting: usize, stage: &mut Stage) {
        let state = &self.meetings[meeting];
        let is_done = state.unanswered == 0 && state.under_way == 0 && state.present == self.options.participants;
        if !is_done || self.phase != Phase::Go {
            return;
        }
        let first = meeting * self.options.participants;
        for client in first..first + self.options.participants {
            let leave = self.words.leave(self.room(meeting), self.share.first + client);
            stage.send(client, leave.as_bytes());
        }
    }

    fn left(&mut self, client: usize, stage: &mut Stage) {
        let meeting = client / self.options.participants;
        let state = &mut self.meetings[meeting];
        state.left += 1;
        if state.left == self.options.participants {
            self.over += 1;
            if self.phase == Phase::Go {
                self.convene(meeting, stage);
            }
        }
    }

    /// The room of a meeting; no room is used again.
    fn room(&self, meeting: usize) -> String {
        let number = self.share.first / self.options.participants + meeting;
        format!("meeting-{number}-{}", self.meetings[meeting].round)
    }

    /// The stream of signals from a client to another.
    fn stream(&self, from: usize, to: usize) -> usize {
        to * self.options.participants + from % self.options.participants
    }

    /// Whether a signal's sender is in the client's meeting.
    fn is_together(&self, from: usize, to: usize) -> bool {
        from / self.options.participants == to / self.options.participants && from != to
    }
}

impl Play for Meetings {
    fn begin(&mut self, phase: &Phase, stage: &mut Stage) {
        self.phase = phase.clone();
        if *phase == Phase::Go {
            (0..self.meetings.len()).for_each(|meeting| self.convene(meeting, stage));
        }
    }

    fn progress(&self) -> (u64, u64) {
        match self.phase {
            Phase::Drain { .. } => self.reception.progress(|stream| self.sent[stream]),
            _ => (0, 0),
        }
    }

    fn message(&mut self, client: usize, text: &[u8], stage: &mut Stage) {
        match self.words.hear(text, self.share.first + client) {
            Heard::Signal { kind, from, mark } => {
                let from = from.wrapping_sub(self.share.first);
                // From a stranger it is as damaged as any that is not what was sent.
                let is_own = self.is_together(from, client);
                let (stream, mark) = if is_own { (self.stream(from, client), mark) } else { (0, &[][..]) };
                if self.reception.enter(stream, mark, text.len(), stage).is_some() {
                    self.signaled(kind, from, client, stage);
                }
            }
            Heard::Joined { others } => self.joined(client, others, stage),
            Heard::Left => self.left(client, stage),
            Heard::Error => self.errors += 1,
            Heard::Other => {}
        }
    }

    fn closed(&mut self, client: usize, _stage: &mut Stage) {
        let participants = self.options.participants;
        (0..participants).for_each(|from| self.reception.close(client * participants + from));
    }

    fn restart(&mut self) {
        self.reception.restart();
        self.entry.clear();
    }

    fn counts(&self) -> Counts {
        let mut counts = self.reception.counts();
        counts.insert("held".to_owned(), self.meetings.len() as u64);
        counts.insert("meetings".to_owned(), self.over);
        counts.insert("joins".to_owned(), self.joins);
        counts
    }

    fn tally(&self) -> Tally {
        let mut tally = self.reception.tally(|stream| self.sent[stream]);
        tally.counts = self.counts();
        tally.faults.insert("errors".to_owned(), self.errors);
        tally.faults.insert("strangers".to_owned(), self.strangers);
        tally.durations.insert("join_to_last_answer".to_owned(), self.entry.clone());
        tally
    }
}
