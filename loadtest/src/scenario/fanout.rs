//! One message to many: the first member of each room sends, and all others receive; so does the sender where senders hear
//! themselves. Either each room keeps so many messages under way, where a message is done when all who receive have it; or messages are sent at a fixed rate by a
//! timetable that does not wait for anyone, and a delivery's time counts from when the message was due.
//!
//! A room may have members at several workers. Then it is done for the sender when the members at its own worker have it;
//! that all others have it too is seen in the end.

use clap::Args;
use serde::{Deserialize, Serialize};

use crate::conductor::Conductor;
use crate::deal::Crowd;
use crate::mark;
use crate::play::{Play, Stage};
use crate::reception::Reception;
use crate::report::Report;
use crate::scenario::floor::Floor;
use crate::scenario::joining::Joining;
use crate::scenario::timetable::Timetable;
use crate::scenario::{Scenario, check_bytes, check_rooms};
use crate::tally::{Counts, Durations, Tally};
use crate::vocabulary::Vocabulary;
use crate::words::{Phase, Setup, Share};

/// Options of `fanout`.
#[derive(Args, Clone, Debug, Serialize, Deserialize)]
pub struct Fanout {
    /// Rooms
    #[arg(long, default_value_t = 1)]
    rooms: usize,
    /// Members of each, the sender among them
    #[arg(long, default_value_t = 1000)]
    members: usize,
    /// Messages under way in each room
    #[arg(long, default_value_t = 1)]
    window: usize,
    /// Messages a second in all, sent by a timetable instead
    #[arg(long, conflicts_with = "window", value_name = "PER_SECOND")]
    rate: Option<f64>,
    /// Bytes of content
    #[arg(long, default_value_t = 128)]
    bytes: usize,
    /// Seconds to measure
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
}

/// Messages of a room that can be told apart while they are under way; a power of two.
const RING: usize = 256;

/// With so many bytes waiting to be sent, the timetable waits too; what is sent late still carries its time.
const UNSENT_MAX: usize = 4 << 20;

impl Scenario for Fanout {
    fn crowd(&self, words: &Vocabulary) -> Result<Crowd, String> {
        check_bytes(self.bytes)?;
        check_rooms(words)?;
        if self.members < 2 || !(1..=RING / 2).contains(&self.window) {
            return Err(format!("a room has at least 2 members, and 1 to {} messages under way", RING / 2));
        }
        if self.rate.is_some_and(|rate| !(rate > 0.0 && rate <= 1e7)) {
            return Err("a rate is more than 0 and at most 10,000,000 messages a second".to_owned());
        }
        Ok(Crowd::of(self.rooms * self.members, self.members))
    }

    fn play(&self, setup: &Setup) -> Box<dyn Play> {
        Box::new(Rooms::new(self, setup.share, setup.vocabulary()))
    }

    fn conduct(&self, conductor: &mut Conductor) -> Result<Vec<Report>, String> {
        let mut report = Report::new(&self.title());
        conductor.phase(Phase::Open)?;
        conductor.phase(Phase::Prepare)?;
        let span = conductor.measure(self.seconds, &mut report)?;
        if let Some(rate) = self.rate {
            report.number("asked_per_s", rate);
        }
        report.number("sent_per_s", span.count("sent") / span.seconds);
        if let Some(deliveries) = report.numbers.get("deliveries_per_cpu_s").copied() {
            let each = (span.count("deliveries") + span.count("answers")) / span.count("deliveries").max(1.0);
            report.number("messages_per_cpu_s", deliveries * each);
        }
        conductor.finish(&mut report)?;
        Ok(vec![report])
    }

    fn floor(&self, words: &Vocabulary, report: &Report) -> Option<Floor> {
        let receivers = self.members - usize::from(!words.hears_itself());
        let bytes = websocket_bytes(report.numbers.get("message_bytes")?.round() as usize);
        let batch = if self.rate.is_some() { 1 } else { self.window };
        Some(Floor { sockets: self.rooms * receivers, pairs: None, batch, bytes, seconds: self.seconds })
    }
}

impl Fanout {
    fn title(&self) -> String {
        let Self { rooms, members, window, .. } = self;
        match self.rate {
            Some(rate) => format!("fanout {rooms} × {members}, {rate} messages/s"),
            None => format!("fanout {rooms} × {members}, {window} under way"),
        }
    }
}

/// Bytes of a server's frame with so much text (RFC 6455 section 5.2).
pub(super) fn websocket_bytes(text: usize) -> usize {
    text + match text {
        0..=125 => 2,
        126..=65_535 => 4,
        _ => 10,
    }
}

/// The rooms of one worker, whole or in part.
struct Rooms {
    options: Fanout,
    share: Share,
    words: Vocabulary,
    joining: Joining,
    /// The rooms whose sender is here.
    rooms: Vec<Room>,
    /// The number of the first of them.
    first_room: usize,
    reception: Reception,
    timetable: Option<Timetable>,
    /// How much later than due messages were sent.
    lateness: Durations,
    phase: Phase,
    content: Vec<u8>,
    /// What came that is no delivery: the answers to joins and, from a server that gives them, to messages.
    answers: u64,
}

struct Room {
    sent: u64,
    /// Members of this worker that receive.
    receivers: usize,
    /// How many of them have each message under way.
    have: [u32; RING],
}

impl Rooms {
    fn new(options: &Fanout, share: Share, words: Vocabulary) -> Self {
        let members = options.members;
        let end = share.first + share.clients;
        let (first_room, end_room) = (share.first.div_ceil(members), end.div_ceil(members));
        let rooms = (first_room..end_room).map(|room| {
            let here = end.min((room + 1) * members) - room * members;
            Room { sent: 0, receivers: here - usize::from(!words.hears_itself()), have: [0; RING] }
        });
        Self {
            rooms: rooms.collect(),
            first_room,
            joining: Joining::new(share, members),
            reception: Reception::new(share.clients, options.bytes, members),
            timetable: None,
            lateness: Durations::default(),
            phase: Phase::Open,
            content: Vec::new(),
            answers: 0,
            options: options.clone(),
            share,
            words,
        }
    }

    /// Has the sender of a room of this worker send a message that is due at a time.
    fn send(&mut self, room: usize, due_ns: u64, stage: &mut Stage) {
        let state = &mut self.rooms[room];
        state.sent += 1;
        state.have[state.sent as usize % RING] = 0;
        self.content.clear();
        mark::write(&mut self.content, state.sent, due_ns, self.options.bytes);
        let number = self.first_room + room;
        let sender = number * self.options.members - self.share.first;
        stage.write(sender, |out| self.words.publish(out, number, &self.content));
    }

    fn start(&mut self, stage: &mut Stage) {
        if let Some(rate) = self.options.rate {
            let now = mark::now_ns();
            self.timetable = Some(Timetable::new(now, rate, self.options.rooms, self.first_room, self.rooms.len()));
            return;
        }
        for room in 0..self.rooms.len() {
            (0..self.options.window).for_each(|_| self.send(room, mark::now_ns(), stage));
        }
    }

    /// How many messages a client must have when its room was sent so many.
    fn due(&self, client: usize, sent: &[u64]) -> u64 {
        let (room, member) = self.place(client);
        if member == 0 && !self.words.hears_itself() { 0 } else { sent.get(room).copied().unwrap_or(0) }
    }

    /// A client's room, and its number among the members.
    fn place(&self, client: usize) -> (usize, usize) {
        let number = self.share.first + client;
        (number / self.options.members, number % self.options.members)
    }

    fn drained(&self) -> &[u64] {
        match &self.phase {
            Phase::Drain { sent } => sent,
            _ => &[],
        }
    }
}

impl Play for Rooms {
    fn begin(&mut self, phase: &Phase, stage: &mut Stage) {
        self.phase = phase.clone();
        self.timetable = None;
        match phase {
            Phase::Prepare => self.joining.begin(&self.words, stage),
            Phase::Go => self.start(stage),
            _ => {}
        }
    }

    fn progress(&self) -> (u64, u64) {
        match &self.phase {
            Phase::Prepare => self.joining.progress(),
            Phase::Drain { sent } => self.reception.progress(|client| self.due(client, sent)),
            _ => (0, 0),
        }
    }

    fn message(&mut self, client: usize, text: &[u8], stage: &mut Stage) {
        let Some(content) = self.words.delivery(text) else {
            if self.words.is_joined(text) {
                self.joining.joined(&self.words, stage);
            }
            self.answers += 1;
            return;
        };
        let Some(seq) = self.reception.enter(client, content, text.len(), stage) else { return };
        if self.options.rate.is_some() {
            return;
        }
        // A room before the first has its sender at another worker.
        let Some(room) = self.place(client).0.checked_sub(self.first_room) else { return };
        let state = &mut self.rooms[room];
        let have = &mut state.have[seq as usize % RING];
        *have += 1;
        if *have as usize == state.receivers && self.phase == Phase::Go {
            self.send(room, mark::now_ns(), stage);
        }
    }

    fn closed(&mut self, client: usize, _stage: &mut Stage) {
        self.reception.close(client);
    }

    fn tick(&mut self, stage: &mut Stage) -> Option<u64> {
        let mut timetable = self.timetable.take()?;
        let now = mark::now_ns();
        let mut unsent = stage.unsent_bytes();
        while let Some((room, due)) = timetable.due(now).filter(|_| unsent < UNSENT_MAX) {
            self.lateness.record(mark::now_ns().saturating_sub(due));
            self.send(room, due, stage);
            unsent += self.options.bytes;
        }
        // What waits to be sent is looked after in each turn that the sockets have; there is nothing to hurry for.
        let next = if unsent < UNSENT_MAX { timetable.next() } else { Some(now + 1_000_000) };
        self.timetable = Some(timetable);
        next
    }

    fn restart(&mut self) {
        self.reception.restart();
        self.lateness.clear();
    }

    fn counts(&self) -> Counts {
        let mut counts = self.reception.counts();
        counts.insert("sent".to_owned(), self.rooms.iter().map(|room| room.sent).sum());
        counts.insert("answers".to_owned(), self.answers);
        counts
    }

    fn tally(&self) -> Tally {
        let mut tally = self.reception.tally(|client| self.due(client, self.drained()));
        tally.sent = self.rooms.iter().enumerate().map(|(room, state)| (self.first_room + room, state.sent)).collect();
        if self.options.rate.is_some() {
            tally.durations.insert("lateness".to_owned(), self.lateness.clone());
        }
        tally
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Dialect;

    const OPTIONS: Fanout = Fanout { rooms: 3, members: 10, window: 1, rate: None, bytes: 64, seconds: 1.0 };

    fn rooms(first: usize, clients: usize, dialect: Dialect) -> Rooms {
        let share = Share { workers: 2, first, clients, opening_max: 1 };
        Rooms::new(&OPTIONS, share, Vocabulary::of(dialect))
    }

    #[test]
    fn a_sender_that_hears_itself_is_a_receiver() {
        let mut report = Report::new("a");
        report.number("message_bytes", 100.0);
        for (dialect, receivers, own) in [(Dialect::Raw, 9, 0), (Dialect::SocketIo, 10, 7)] {
            let rooms = rooms(0, 30, dialect);
            assert!(rooms.rooms.iter().all(|room| room.receivers == receivers));
            assert_eq!([0, 1, 10].map(|client| rooms.due(client, &[7, 8, 9])), [own, 7, own + own.min(1)]);
            let floor = OPTIONS.floor(&rooms.words, &report).expect("there is a floor");
            assert_eq!((floor.sockets, floor.bytes), (3 * receivers, 102));
        }
    }

    #[test]
    fn a_worker_has_the_rooms_whose_sender_it_has() {
        let rooms = |first, clients| {
            let rooms = rooms(first, clients, Dialect::Raw);
            (rooms.first_room, rooms.rooms.iter().map(|room| room.receivers).collect::<Vec<_>>())
        };
        assert_eq!(rooms(0, 30), (0, vec![9, 9, 9]));
        assert_eq!(rooms(0, 15), (0, vec![9, 4]));
        assert_eq!(rooms(15, 15), (2, vec![9]));
        assert_eq!(rooms(3, 5), (1, vec![]));
    }
}
