//! The places of one worker's connections. More are there than connections stay: a connection opens in a place that is free,
//! and once it has done what it came for, the one that has stayed longest makes another place free.

use std::collections::VecDeque;

use crate::mark;
use crate::play::{Play, Stage};
use crate::scenario::joining::Joining;
use crate::scenario::timetable::Timetable;
use crate::tally::{Counts, Durations, Tally};
use crate::vocabulary::Vocabulary;
use crate::words::{Phase, Share};

use super::Churn;

pub(super) struct Places {
    options: Churn,
    share: Share,
    words: Vocabulary,
    /// Those that are there before the churn begins.
    joining: Joining,
    places: Vec<Place>,
    free: Vec<usize>,
    /// Places of connections that stay, the longest there first. Some may have been lost meanwhile.
    staying: VecDeque<usize>,
    /// Connections that stay at any time.
    staying_min: usize,
    timetable: Option<Timetable>,
    opening: Durations,
    answering: Durations,
    counted: Counted,
    phase: Phase,
    content: Vec<u8>,
}

#[derive(Clone, Copy)]
struct Place {
    state: State,
    /// Since when, in nanoseconds since 1970.
    since_ns: u64,
    /// Messages that were said and answered.
    said: u32,
}

/// What has become of a place's connection.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// There is none.
    Free,
    /// It was refused or lost; the place is not used again.
    Lost,
    Opening,
    /// The answer to its join is awaited.
    Joining,
    /// The answer to a message is awaited.
    Saying,
    Staying,
    /// The end of the connection is awaited.
    Leaving,
}

#[derive(Default)]
struct Counted {
    handshakes: u64,
    joins: u64,
    ended: u64,
    refused: u64,
    errors: u64,
    deliveries: u64,
    bytes: u64,
}

impl Places {
    pub(super) fn new(options: &Churn, share: Share, words: Vocabulary) -> Self {
        // The first so many of all workers' places, and not more.
        let (all, end) = (options.connections + options.parallel, share.first + share.clients);
        let before = |place: usize| place * options.connections / all;
        Self {
            joining: Joining::new(share, options.room.max(1)),
            places: vec![Place { state: State::Staying, since_ns: 0, said: 0 }; share.clients],
            free: Vec::new(),
            staying: (0..share.clients).collect(),
            staying_min: before(end) - before(share.first),
            timetable: None,
            opening: Durations::default(),
            answering: Durations::default(),
            counted: Counted::default(),
            phase: Phase::Open,
            content: Vec::new(),
            options: options.clone(),
            share,
            words,
        }
    }

    fn start(&mut self, stage: &mut Stage) {
        let now = mark::now_ns();
        if let Some(rate) = self.options.rate {
            let all = self.options.connections + self.options.parallel;
            self.timetable = Some(Timetable::new(now, rate, all, self.share.first, self.share.clients));
        }
        // Those that are there have stayed for all lengths of time, so that their ends are as even as later ones.
        let (life, count) = (self.life_ns(), self.places.len() as u64);
        for (number, place) in (0..count).zip(&mut self.places) {
            place.since_ns = now.saturating_sub(life / count * (count - number));
        }
        self.make_room(now, stage);
    }

    fn life_ns(&self) -> u64 {
        self.options.life.saturating_mul(1_000_000)
    }

    /// Ends connections while more than enough stay, the longest there first.
    fn make_room(&mut self, now: u64, stage: &mut Stage) {
        while self.phase == Phase::Go && self.next_end().is_some_and(|end| end <= now) {
            let Some(place) = self.staying.pop_front() else { return };
            if self.places[place].state != State::Staying {
                continue;
            }
            self.counted.ended += 1;
            if self.counted.ended.is_multiple_of(2) {
                self.turn(place, State::Leaving, now);
                stage.leave(place);
            } else {
                stage.close(place);
                self.freed(place, stage);
            }
        }
    }

    /// When a connection is to end.
    fn next_end(&self) -> Option<u64> {
        let first = *self.staying.front().filter(|_| self.staying.len() > self.staying_min)?;
        Some(self.places[first].since_ns.saturating_add(self.life_ns()))
    }

    fn freed(&mut self, place: usize, stage: &mut Stage) {
        self.turn(place, State::Free, 0);
        self.free.push(place);
        if self.phase == Phase::Go && self.timetable.is_none() {
            self.open(mark::now_ns(), stage);
        }
    }

    /// Opens a connection that is due at a time, in a place that is free.
    fn open(&mut self, due_ns: u64, stage: &mut Stage) {
        let Some(place) = self.free.pop() else { return };
        self.turn(place, State::Opening, due_ns);
        self.places[place].said = 0;
        stage.open(place);
    }

    fn join(&mut self, place: usize, now: u64, stage: &mut Stage) {
        if self.options.room == 0 {
            return self.say(place, now, stage);
        }
        self.turn(place, State::Joining, now);
        stage.send(place, &self.words.join(self.room(place)));
    }

    /// Says the next message; when all are said, the connection stays.
    fn say(&mut self, place: usize, now: u64, stage: &mut Stage) {
        if self.places[place].said == self.options.messages {
            self.turn(place, State::Staying, now);
            self.staying.push_back(place);
            return self.make_room(now, stage);
        }
        self.turn(place, State::Saying, now);
        let (room, number) = (self.room(place), self.number(place));
        self.content.clear();
        mark::write(&mut self.content, number, mark::now_ns(), self.options.bytes);
        stage.write(place, |out| self.words.publish(out, room, &self.content));
    }

    fn turn(&mut self, place: usize, state: State, now: u64) {
        (self.places[place].state, self.places[place].since_ns) = (state, now);
    }

    fn room(&self, place: usize) -> usize {
        (self.share.first + place) / self.options.room.max(1)
    }

    /// What a place's messages are numbered by: its own number among those of all workers.
    fn number(&self, place: usize) -> u64 {
        (self.share.first + place) as u64 + 1
    }

    /// Whether this is the answer to a message of the place's connection.
    fn is_answer(&self, place: usize, text: &[u8], delivery: Option<&[u8]>) -> bool {
        if self.words.hears_itself() {
            delivery.and_then(mark::read).is_some_and(|mark| mark.seq == self.number(place))
        } else {
            text.starts_with(br#"{"type":"message-sent""#)
        }
    }

    fn count(&self, is_counted: impl Fn(State) -> bool) -> u64 {
        self.places.iter().filter(|place| is_counted(place.state)).count() as u64
    }
}

impl Play for Places {
    fn begin(&mut self, phase: &Phase, stage: &mut Stage) {
        self.phase = phase.clone();
        self.timetable = None;
        match phase {
            Phase::Prepare if self.options.room > 0 => self.joining.begin(&self.words, stage),
            Phase::Go => self.start(stage),
            _ => {}
        }
    }

    fn progress(&self) -> (u64, u64) {
        match &self.phase {
            Phase::Prepare if self.options.room > 0 => self.joining.progress(),
            Phase::Drain { .. } => {
                let is_done = |state| matches!(state, State::Free | State::Lost | State::Staying);
                (self.count(is_done), self.places.len() as u64)
            }
            _ => (0, 0),
        }
    }

    fn opened(&mut self, client: usize, stage: &mut Stage) {
        let Place { state: State::Opening, since_ns, .. } = self.places[client] else { return };
        let now = stage.received_ns();
        self.opening.record(now.saturating_sub(since_ns));
        self.counted.handshakes += 1;
        self.join(client, now, stage);
    }

    fn message(&mut self, client: usize, text: &[u8], stage: &mut Stage) {
        let Place { state, since_ns, .. } = self.places[client];
        let delivery = self.words.delivery(text);
        if delivery.is_some() {
            self.counted.deliveries += 1;
            self.counted.bytes += text.len() as u64;
        }
        if state == State::Saying && self.is_answer(client, text, delivery) {
            self.places[client].said += 1;
            let now = stage.received_ns();
            self.say(client, now, stage);
        } else if state == State::Joining && self.words.is_joined(text) {
            let now = stage.received_ns();
            self.answering.record(now.saturating_sub(since_ns));
            self.counted.joins += 1;
            self.say(client, now, stage);
        } else if self.phase == Phase::Prepare && self.words.is_joined(text) {
            self.joining.joined(&self.words, stage);
        } else if text.starts_with(br#"{"type":"error""#) {
            self.counted.errors += 1;
        }
    }

    fn closed(&mut self, client: usize, stage: &mut Stage) {
        let state = self.places[client].state;
        self.turn(client, State::Lost, 0);
        match state {
            State::Leaving => self.freed(client, stage),
            State::Opening => self.counted.refused += 1,
            _ => {}
        }
    }

    fn tick(&mut self, stage: &mut Stage) -> Option<u64> {
        if self.phase != Phase::Go {
            return None;
        }
        let now = mark::now_ns();
        self.make_room(now, stage);
        while !self.free.is_empty()
            && let Some((_, due)) = self.timetable.as_mut().and_then(|timetable| timetable.due(now))
        {
            self.open(due, stage);
        }
        // When no place is free, the next event makes one, or the end of a life does.
        let next = self.timetable.as_ref().filter(|_| !self.free.is_empty()).and_then(Timetable::next);
        next.into_iter().chain(self.next_end()).min()
    }

    fn restart(&mut self) {
        self.opening.clear();
        self.answering.clear();
    }

    fn counts(&self) -> Counts {
        let Counted { handshakes, joins, ended, deliveries, bytes, .. } = self.counted;
        let counts = [
            ("handshakes", handshakes),
            ("joins", joins),
            ("ended", ended),
            ("deliveries", deliveries),
            ("bytes", bytes),
        ];
        counts.map(|(name, count)| (name.to_owned(), count)).into()
    }

    fn tally(&self) -> Tally {
        let faults = [
            ("refused", self.counted.refused),
            ("errors", self.counted.errors),
            ("unopened", self.count(|state| state == State::Opening)),
            ("unanswered", self.count(|state| matches!(state, State::Joining | State::Saying))),
            ("unended", self.count(|state| state == State::Leaving)),
        ];
        let durations = [("open", &self.opening), ("join", &self.answering)];
        Tally {
            counts: self.counts(),
            faults: faults.map(|(name, count)| (name.to_owned(), count)).into(),
            durations: durations.map(|(name, durations)| (name.to_owned(), durations.clone())).into(),
            ..Tally::default()
        }
    }
}
