//! Clients that want to be in their rooms, and try until they are: an attempt that is refused or takes too long is followed
//! by another, later each time and never at the same time as everybody's.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use crate::mark;
use crate::play::{Play, Stage};
use crate::tally::{Counts, Durations, Tally};
use crate::vocabulary::Vocabulary;
use crate::words::{Phase, Setup};

/// Connections begun before looking at what has come. All come at once, but each goes on as soon as it can.
const BEGUN_PER_TURN: usize = 64;

/// The longest wait after a first failure, in nanoseconds; it doubles with each further one.
const BACKOFF_NS: u64 = 100_000_000;

/// The longest wait of all.
const BACKOFF_MAX_NS: u64 = 5_000_000_000;

/// The clients of one worker.
pub(super) struct Seekers {
    words: Vocabulary,
    /// The number of the first among those of all workers.
    first: usize,
    /// Members of each room.
    room: usize,
    attempts_max: u32,
    attempt_ns: u64,
    clients: Vec<Seeker>,
    /// When something is due for a client, the next first; outdated unless the client says the same.
    due: BinaryHeap<Reverse<(u64, usize)>>,
    /// The next client to begin.
    next: usize,
    /// When all began to seek, and what that is called.
    since_ns: u64,
    wave: &'static str,
    /// How long it took each to be in its room.
    durations: Durations,
    attempts: u64,
    retries: u64,
    handshakes: u64,
    failed: u64,
    /// Clients that were in their room and were closed.
    dropped: u64,
    random: u64,
}

#[derive(Clone, Copy, Default)]
struct Seeker {
    state: State,
    /// How often it failed, or was closed when it was there.
    failed: u32,
    /// When it must do something else; 0 when it need not.
    due_ns: u64,
}

#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
enum State {
    /// It has not begun.
    #[default]
    Away,
    Connecting,
    Joining,
    There,
    /// It waits before it tries again.
    Waiting,
    /// It has given up.
    Lost,
}

impl Seekers {
    pub(super) fn new(setup: &Setup, room: usize, attempts_max: u32, attempt: Duration) -> Self {
        let share = &setup.share;
        Self {
            words: setup.vocabulary(),
            first: share.first,
            room,
            attempts_max,
            attempt_ns: attempt.as_nanos() as u64,
            clients: vec![Seeker::default(); share.clients],
            due: BinaryHeap::new(),
            next: share.clients,
            since_ns: 0,
            wave: "",
            durations: Durations::default(),
            attempts: 0,
            retries: 0,
            handshakes: 0,
            failed: 0,
            dropped: 0,
            random: share.first as u64 + 1,
        }
    }

    /// Cuts all off; nobody seeks.
    fn cut(&mut self, stage: &mut Stage) {
        (0..self.clients.len()).for_each(|client| stage.close(client));
        self.clients.fill(Seeker::default());
        self.due.clear();
        self.next = self.clients.len();
    }

    /// Has all seek, and counts anew.
    fn seek(&mut self, wave: &'static str) {
        (self.next, self.since_ns, self.wave) = (0, mark::now_ns(), wave);
        self.durations.clear();
        (self.attempts, self.retries, self.handshakes, self.failed, self.dropped) = (0, 0, 0, 0, 0);
    }

    fn attempt(&mut self, client: usize, now_ns: u64, stage: &mut Stage) {
        self.attempts += 1;
        self.retries += u64::from(self.clients[client].failed > 0);
        self.clients[client].state = State::Connecting;
        self.set_due(client, now_ns + self.attempt_ns);
        stage.open(client);
    }

    fn fail(&mut self, client: usize) {
        self.failed += 1;
        self.try_again(client);
    }

    /// A client is not in, or no longer; it tries again later, or gives up.
    fn try_again(&mut self, client: usize) {
        let seeker = &mut self.clients[client];
        seeker.failed += 1;
        seeker.due_ns = 0;
        if seeker.failed >= self.attempts_max {
            seeker.state = State::Lost;
            return;
        }
        seeker.state = State::Waiting;
        let longest = (BACKOFF_NS << (seeker.failed - 1).min(16)).min(BACKOFF_MAX_NS);
        let wait = longest / 2 + self.random() % (longest / 2);
        self.set_due(client, mark::now_ns() + wait);
    }

    fn set_due(&mut self, client: usize, due_ns: u64) {
        self.clients[client].due_ns = due_ns;
        self.due.push(Reverse((due_ns, client)));
    }

    /// Does what is due for a client.
    fn happen(&mut self, client: usize, now_ns: u64, stage: &mut Stage) {
        match self.clients[client].state {
            State::Waiting => self.attempt(client, now_ns, stage),
            State::Connecting | State::Joining => {
                stage.close(client);
                self.fail(client);
            }
            State::Away | State::There | State::Lost => {}
        }
    }

    fn random(&mut self) -> u64 {
        // xorshift
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }
}

impl Play for Seekers {
    fn begin(&mut self, phase: &Phase, stage: &mut Stage) {
        self.cut(stage);
        match phase {
            Phase::Prepare => self.seek("come"),
            Phase::Go => self.seek("back"),
            _ => {}
        }
    }

    /// Each failed attempt is progress, so that who is refused again and again is lost in the end rather than waited for.
    fn progress(&self) -> (u64, u64) {
        if self.clients.iter().all(|seeker| seeker.state == State::Away) && self.next == self.clients.len() {
            return (0, 0);
        }
        let done = |seeker: &Seeker| match seeker.state {
            State::There | State::Lost => u64::from(self.attempts_max),
            _ => u64::from(seeker.failed),
        };
        (self.clients.iter().map(done).sum(), self.clients.len() as u64 * u64::from(self.attempts_max))
    }

    fn opened(&mut self, client: usize, stage: &mut Stage) {
        self.handshakes += 1;
        self.clients[client].state = State::Joining;
        stage.send(client, &self.words.join((self.first + client) / self.room));
    }

    fn message(&mut self, client: usize, text: &[u8], stage: &mut Stage) {
        if self.clients[client].state == State::Joining && self.words.is_joined(text) {
            self.clients[client].state = State::There;
            self.clients[client].due_ns = 0;
            self.durations.record(stage.received_ns().saturating_sub(self.since_ns));
        }
    }

    fn closed(&mut self, client: usize, _stage: &mut Stage) {
        match self.clients[client].state {
            State::Connecting | State::Joining => self.fail(client),
            State::There => {
                self.dropped += 1;
                self.try_again(client);
            }
            State::Away | State::Waiting | State::Lost => {}
        }
    }

    fn judges_closed(&self) -> bool {
        true
    }

    fn tick(&mut self, stage: &mut Stage) -> Option<u64> {
        let now = mark::now_ns();
        let end = self.clients.len().min(self.next + BEGUN_PER_TURN);
        (self.next..end).for_each(|client| self.attempt(client, now, stage));
        self.next = end;
        while let Some(Reverse((due, client))) = self.due.peek().copied()
            && due <= now
        {
            self.due.pop();
            if self.clients[client].due_ns == due {
                self.happen(client, now, stage);
            }
        }
        if end < self.clients.len() { Some(now) } else { self.due.peek().map(|Reverse((due, _))| *due) }
    }

    fn counts(&self) -> Counts {
        let counts = [
            ("attempts", self.attempts),
            ("failed_attempts", self.failed),
            ("retries", self.retries),
            ("handshakes", self.handshakes),
            ("dropped", self.dropped),
        ];
        counts.map(|(name, count)| (name.to_owned(), count)).into()
    }

    fn tally(&self) -> Tally {
        let lost = self.clients.iter().filter(|seeker| seeker.state == State::Lost).count();
        Tally {
            counts: self.counts(),
            faults: [("lost".to_owned(), lost as u64)].into(),
            durations: [(self.wave.to_owned(), self.durations.clone())].into(),
            ..Tally::default()
        }
    }
}
