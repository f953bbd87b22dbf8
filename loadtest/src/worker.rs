//! A worker: a process with a part of the clients, which plays what the conductor says. It ends with its standard input,
//! so that none is left behind by a conductor that is gone.

use std::io::{self, BufRead, Write};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

use mio::Waker;

use crate::play::{Play, Stage};
use crate::swarm::Swarm;
use crate::words::{Answer, Command, Phase, Setup};

/// How often a phase under way is looked at.
const LOOK: Duration = Duration::from_millis(10);

/// How often the conductor hears how far a phase is.
const PROGRESS: Duration = Duration::from_millis(100);

/// How long a turn may take when nothing happens.
const TURN: Duration = Duration::from_millis(100);

/// Nothing must come for so long before a drain is done; what comes in it is doubled.
const QUIET: Duration = Duration::from_millis(100);

struct Worker {
    swarm: Swarm,
    play: Box<dyn Play>,
    stage: Stage,
    patience: Duration,
    phase: Option<UnderWay>,
    /// When something came last.
    last: Instant,
}

/// A phase that is not done.
struct UnderWay {
    phase: Phase,
    looked: Instant,
    told: Instant,
    /// How far it was, and since when.
    done: u64,
    since: Instant,
}

/// Plays until the conductor says that it is over.
pub fn run() -> Result<(), String> {
    let mut first = String::new();
    io::stdin().lock().read_line(&mut first).map_err(|error| error.to_string())?;
    let Command::Setup(setup) = serde_json::from_str(&first).map_err(|error| format!("{error} in {first:?}"))? else {
        return Err("a worker is started by the load test itself".to_owned());
    };
    // The conductor complains for all.
    play(*setup).or_else(|error| answer(&Answer::Failed(error.to_string())))
}

fn play(setup: Setup) -> io::Result<()> {
    let play = setup.choice.scenario().play(&setup);
    let patience = setup.patience;
    let swarm = Swarm::new(setup)?;
    let commands = listen(swarm.waker()?);
    let last = Instant::now();
    let mut worker = Worker { swarm, play, stage: Stage::default(), patience, phase: None, last };
    loop {
        for command in commands.try_iter() {
            if !worker.obey(command)? {
                return Ok(());
            }
        }
        worker.turn()?;
    }
}

/// Hears commands on a thread of its own; the end of them is the command to quit.
fn listen(waker: Arc<Waker>) -> Receiver<Command> {
    let (sender, commands) = mpsc::channel();
    thread::spawn(move || {
        hear(&sender, &waker);
        let _ = sender.send(Command::Quit);
        let _ = waker.wake();
    });
    commands
}

fn hear(sender: &Sender<Command>, waker: &Waker) {
    for line in io::stdin().lock().lines() {
        let Ok(line) = line else { return };
        let Ok(command) = serde_json::from_str(&line) else { return };
        if sender.send(command).is_err() || waker.wake().is_err() {
            return;
        }
    }
}

fn answer(answer: &Answer) -> Result<(), String> {
    let mut line = serde_json::to_vec(answer).map_err(|error| error.to_string())?;
    line.push(b'\n');
    let mut out = io::stdout().lock();
    out.write_all(&line).and_then(|()| out.flush()).map_err(|error| error.to_string())
}

fn say(word: &Answer) -> io::Result<()> {
    answer(word).map_err(io::Error::other)
}

impl Worker {
    /// Whether to go on.
    fn obey(&mut self, command: Command) -> io::Result<bool> {
        match command {
            Command::Setup(_) => return Err(io::Error::other("a worker is set up once")),
            Command::Quit => return Ok(false),
            Command::Mark { is_fresh } => {
                if is_fresh {
                    self.play.restart();
                }
                say(&Answer::Counts(self.play.counts()))?;
            }
            Command::Tally => {
                let mut tally = self.play.tally();
                if !self.play.judges_closed() {
                    tally.faults.insert("closed".to_owned(), self.swarm.closed + self.swarm.refused);
                    tally.why_closed = self.swarm.why_closed.clone();
                }
                say(&Answer::Tally(Box::new(tally)))?;
            }
            Command::Begin(phase) => self.begin(phase)?,
        }
        Ok(true)
    }

    fn begin(&mut self, phase: Phase) -> io::Result<()> {
        match phase {
            Phase::Open => {
                self.swarm.refused = 0;
                self.swarm.open_all();
            }
            Phase::Close => self.swarm.close_all(&mut self.stage),
            _ => self.play.begin(&phase, &mut self.stage),
        }
        let now = Instant::now();
        self.last = now;
        self.phase = Some(UnderWay { phase, looked: now, told: now, done: 0, since: now });
        self.look(now)
    }

    fn turn(&mut self) -> io::Result<()> {
        let due = self.play.tick(&mut self.stage);
        let timeout = if self.phase.is_some() { LOOK } else { TURN };
        let has_happened = self.swarm.turn(timeout, due, &mut *self.play, &mut self.stage)?;
        let Some(phase) = &self.phase else { return Ok(()) };
        let now = Instant::now();
        if has_happened {
            self.last = now;
        }
        if now - phase.looked >= LOOK { self.look(now) } else { Ok(()) }
    }

    /// Looks how far the phase is, and says so.
    fn look(&mut self, now: Instant) -> io::Result<()> {
        let Some(mut under_way) = self.phase.take() else { return Ok(()) };
        let (done, total) = match &under_way.phase {
            Phase::Open => {
                let places = self.swarm.places();
                ((places - self.swarm.opening()) as u64, places as u64)
            }
            Phase::Close => (0, 0),
            _ => self.play.progress(),
        };
        if done != under_way.done {
            (under_way.done, under_way.since) = (done, now);
        }
        let is_drain = matches!(under_way.phase, Phase::Drain { .. });
        let is_given_up = now - under_way.since >= self.patience;
        if done >= total && !(is_drain && now - self.last < QUIET) || is_drain && is_given_up {
            if self.swarm.refused > 0 && under_way.phase == Phase::Open {
                let (refused, why) = (self.swarm.refused, self.swarm.why_closed.as_deref().unwrap_or("refused"));
                return Err(io::Error::other(format!("{refused} of {total} clients could not connect: {why}")));
            }
            return say(&Answer::Ready);
        }
        if is_given_up {
            let (name, patience) = (under_way.phase.name(), self.patience);
            return Err(io::Error::other(format!("{name}: nothing came for {patience:?} after {done} of {total}")));
        }
        if now - under_way.told >= PROGRESS {
            say(&Answer::Progress { done, total })?;
            under_way.told = now;
        }
        under_way.looked = now;
        self.phase = Some(under_way);
        Ok(())
    }
}
