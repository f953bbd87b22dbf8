//! The conductor: starts the workers, has them do the same at the same time, reads at marks what the server has cost, and
//! adds up what they counted. Each wait for a worker is bounded.

mod band;
mod span;

use std::thread;
use std::time::{Duration, Instant};

use crate::client::Settings;
use crate::options::Common;
use crate::process::Reading;
use crate::report::Report;
use crate::scenario::Choice;
use crate::tally::{self, Counts, Tally};
use crate::target::Target;
use crate::words::{Answer, Command, Phase, Setup, Share};

use band::Band;
use span::Mark;
pub use span::Span;

/// Time before a measurement, for buffers and caches to fill.
const WARM_UP: Duration = Duration::from_millis(500);

/// Time between two marks of a measurement, each a point of its curves.
const STEP: Duration = Duration::from_millis(500);

/// A server, and the workers that put load on it.
pub struct Conductor {
    target: Target,
    band: Band,
}

impl Conductor {
    /// Starts a worker for each share of a scenario's clients, none of which is open yet.
    pub fn start(
        choice: &Choice,
        shares: &[Share],
        client: Settings,
        target: Target,
        common: &Common,
    ) -> Result<Self, String> {
        let setups = shares.iter().map(|share| Setup {
            choice: choice.clone(),
            share: *share,
            servers: target.addresses(),
            client: client.clone(),
            words: common.words.clone(),
            is_bare: choice.scenario().is_bare(),
            secret: target.secret.clone(),
            patience: common.patience,
        });
        Ok(Self { band: Band::start(setups, common.patience)?, target })
    }

    /// Has all workers do this, and waits until all have done it.
    pub fn phase(&mut self, phase: Phase) -> Result<(), String> {
        let name = phase.name();
        self.band.tell(&Command::Begin(phase))?;
        self.band.gather(name, |answer| matches!(answer, Answer::Ready).then_some(()))?;
        Ok(())
    }

    /// Has the load begin, lets it warm up, and measures for so many seconds.
    pub fn measure(&mut self, seconds: f64, report: &mut Report) -> Result<Span, String> {
        self.phase(Phase::Go)?;
        let (now, warm) = (Instant::now(), Instant::now() + WARM_UP);
        self.band.wait("warming up", warm, now, warm)?;
        let first = self.mark(true)?;
        let end = first.at + Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())?;
        let mut last = first.clone();
        while last.at < end {
            // The last step is longer rather than very short.
            let next = last.at + STEP;
            let until = if next + STEP / 2 < end { next } else { end };
            self.band.wait("measuring", until, first.at, end)?;
            let next = self.mark(false)?;
            Span::between(&last, &next).draw(&first, report);
            if let Some(reading) = self.reading() {
                let memory = report.series.entry("memory_bytes".to_owned()).or_default();
                memory.push([(next.at - first.at).as_secs_f64(), reading.private_bytes as f64]);
            }
            last = next;
        }
        let span = Span::between(&first, &last);
        span.quote(report);
        Ok(span)
    }

    /// Has the load end, waits for what is under way, and puts into the report what was wrong and how long things took.
    pub fn finish(&mut self, report: &mut Report) -> Result<Tally, String> {
        self.phase(Phase::Stop)?;
        let sent = self.tally()?.sent;
        let streams = sent.last_key_value().map_or(0, |(stream, _)| stream + 1);
        let sent = (0..streams).map(|stream| sent.get(&stream).copied().unwrap_or(0)).collect();
        self.phase(Phase::Drain { sent })?;
        let tally = self.tally()?;
        tally.quote(report);
        Ok(tally)
    }

    /// What all workers counted.
    pub fn tally(&mut self) -> Result<Tally, String> {
        self.band.tell(&Command::Tally)?;
        let tallies = self.band.gather("counting", |answer| match answer {
            Answer::Tally(tally) => Some(tally),
            _ => None,
        })?;
        let mut all = Tally::default();
        tallies.iter().for_each(|tally| all.add(tally));
        Ok(all)
    }

    /// What the server has cost so far, if its process is known.
    pub fn reading(&self) -> Option<Reading> {
        self.target.reading()
    }

    /// Lets time pass, unless a worker has something to complain of.
    pub fn wait(&mut self, name: &str, time: Duration) -> Result<(), String> {
        let start = Instant::now();
        self.band.wait(name, start + time, start, start + time)
    }

    /// Waits until the server has had nothing to do for half a second, three seconds at most.
    pub fn settle(&self) {
        let until = Instant::now() + Duration::from_secs(3);
        let (mut last, mut calm) = (self.target.cpu_ns(), 0);
        while Instant::now() < until && calm < 10 {
            thread::sleep(Duration::from_millis(50));
            let now = self.target.cpu_ns();
            // A millisecond in fifty is what housekeeping takes at most.
            let is_calm = now.unwrap_or(0).saturating_sub(last.unwrap_or(0)) < 1_000_000;
            (last, calm) = (now, if is_calm { calm + 1 } else { 0 });
        }
    }

    fn mark(&mut self, is_fresh: bool) -> Result<Mark, String> {
        self.band.tell(&Command::Mark { is_fresh })?;
        let answers = self.band.gather("counting", |answer| match answer {
            Answer::Counts(counts) => Some(counts),
            _ => None,
        })?;
        // Read at once, so that the delay since the counts is the same at each mark.
        let (at, server_cpu_ns) = (Instant::now(), self.target.cpu_ns());
        let mut counts = Counts::new();
        answers.iter().for_each(|more| tally::add(&mut counts, more));
        Ok(Mark { at, counts, server_cpu_ns, worker_cpu_ns: self.band.cpu_ns() })
    }
}
