//! All clients come at once and join their rooms; all are cut off at once, as when a network fails, and come back at once;
//! then all go. What a server must stand when a proxy restarts, and whether it gives its memory back afterwards.
//!
//! A connection is cut by a reset, without a word of WebSocket. Who cannot get in tries again later, as clients do
//! ([`seekers`]), and is lost after so many attempts.

mod seekers;

use std::time::{Duration, Instant};

use clap::Args;
use serde::{Deserialize, Serialize};

use crate::conductor::Conductor;
use crate::deal::Crowd;
use crate::play::Play;
use crate::process::Reading;
use crate::report::Report;
use crate::scenario::{Scenario, check_rooms};
use crate::tally::Tally;
use crate::vocabulary::Vocabulary;
use crate::words::{Phase, Setup};

use seekers::Seekers;

/// Options of `storm`.
#[derive(Args, Clone, Debug, Serialize, Deserialize)]
pub struct Storm {
    /// Connections
    #[arg(long, default_value_t = 15_000)]
    connections: usize,
    /// Members of each room
    #[arg(long, default_value_t = 10)]
    room: usize,
    /// How often they come, are cut off, come back and go
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds that the server has to give memory back when all are gone; it keeps empty rooms for a minute
    #[arg(long, default_value_t = 5.0)]
    settle: f64,
    /// Attempts of a client to get in before it is lost
    #[arg(long, default_value_t = 10)]
    attempts: u32,
    /// Seconds that an attempt may take [default: half of --patience]
    #[arg(long, value_name = "SECONDS")]
    attempt: Option<f64>,
}

/// The server's memory is looked at so often while it may give some back.
const LOOK: Duration = Duration::from_millis(500);

impl Scenario for Storm {
    fn crowd(&self, words: &Vocabulary) -> Result<Crowd, String> {
        check_rooms(words)?;
        if self.room == 0 || self.attempts == 0 {
            return Err("a room has at least one member, and a client at least one attempt".to_owned());
        }
        for seconds in [Some(self.settle), self.attempt].into_iter().flatten() {
            Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())?;
        }
        Ok(Crowd { opening_max: self.connections, ..Crowd::of(self.connections, self.room) })
    }

    fn play(&self, setup: &Setup) -> Box<dyn Play> {
        let patience = self.attempt.map_or(setup.patience / 2, Duration::from_secs_f64);
        Box::new(Seekers::new(setup, self.room, self.attempts, patience))
    }

    fn conduct(&self, conductor: &mut Conductor) -> Result<Vec<Report>, String> {
        let empty = conductor.reading().ok_or("the server's process is not known: give --pid")?;
        let mut reports: Vec<Report> = Vec::new();
        for round in 1..=self.rounds {
            let mut report = self.round(round, empty, conductor)?;
            let after = |report: &Report| report.numbers["after_bytes"];
            report.number("after_of_first", after(&report) / after(reports.first().unwrap_or(&report)));
            reports.push(report);
        }
        Ok(reports)
    }
}

/// All clients getting in.
struct Wave {
    seconds: f64,
    server_cpu_s: f64,
    tally: Tally,
}

impl Storm {
    fn round(&self, round: usize, empty: Reading, conductor: &mut Conductor) -> Result<Report, String> {
        let Self { connections, room, .. } = self;
        let mut report = Report::new(&format!("storm, {connections} connections in rooms of {room}, round {round}"));
        let mut memory = Memory { started: Instant::now(), empty, connections: *connections as f64 };
        memory.read("before", conductor, &mut report);
        let come = Wave::of(Phase::Prepare, conductor)?;
        memory.read("come", conductor, &mut report);
        let back = Wave::of(Phase::Go, conductor)?;
        memory.read("there", conductor, &mut report);
        come.quote("come", &mut report);
        back.quote("back", &mut report);
        let mut both = come.tally;
        both.add(&back.tally);
        both.quote(&mut report);
        for (name, count) in &both.counts {
            report.number(name, *count as f64);
        }
        conductor.phase(Phase::Stop)?;
        let until = Instant::now() + Duration::from_secs_f64(self.settle);
        while Instant::now() < until {
            conductor.wait("settling", LOOK.min(until.saturating_duration_since(Instant::now())))?;
            memory.read("after", conductor, &mut report);
        }
        conductor.settle();
        memory.read("after", conductor, &mut report);
        Ok(report)
    }
}

impl Wave {
    /// Has all seek, and leaves the server at rest.
    fn of(phase: Phase, conductor: &mut Conductor) -> Result<Self, String> {
        let cpu_ns = |conductor: &Conductor| conductor.reading().unwrap_or_default().cpu_ns;
        let (before, started) = (cpu_ns(conductor), Instant::now());
        conductor.phase(phase)?;
        let seconds = started.elapsed().as_secs_f64();
        // A thread that has ended takes its time along.
        let server_cpu_s = cpu_ns(conductor).saturating_sub(before) as f64 / 1e9;
        conductor.settle();
        Ok(Self { seconds, server_cpu_s, tally: conductor.tally()? })
    }

    /// How long all took, and what it cost. The server's work is all that comes with it: joins and announcements, and
    /// when clients come back, the end of their former connections.
    fn quote(&self, name: &str, report: &mut Report) {
        let handshakes = self.tally.counts["handshakes"] as f64;
        report.number(&format!("{name}_s"), self.seconds);
        report.number(&format!("{name}_handshakes_per_cpu_s"), handshakes / self.server_cpu_s.max(1e-9));
    }
}

/// The server's own memory over a round.
struct Memory {
    started: Instant,
    /// When no client had ever come.
    empty: Reading,
    connections: f64,
}

impl Memory {
    /// Reads how much it is now, in all and per connection; what was read by the same name before is overwritten.
    fn read(&mut self, name: &str, conductor: &Conductor, report: &mut Report) {
        let bytes = conductor.reading().unwrap_or_default().private_bytes as f64;
        report.number(&format!("{name}_bytes"), bytes);
        let each = (bytes - self.empty.private_bytes as f64) / self.connections;
        report.number(&format!("{name}_each_bytes"), each);
        let points = report.series.entry("memory_bytes".to_owned()).or_default();
        points.push([self.started.elapsed().as_secs_f64(), bytes]);
    }
}
