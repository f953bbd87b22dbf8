//! What an idle connection costs: the server's own memory before and after so many of them, upgraded and authenticated,
//! then each in a room of ten.

use std::time::{Duration, Instant};

use clap::Args;
use serde::{Deserialize, Serialize};

use crate::conductor::Conductor;
use crate::deal::Crowd;
use crate::play::{Play, Stage};
use crate::process::{Reading, kernel_bytes};
use crate::report::Report;
use crate::scenario::joining::Joining;
use crate::scenario::{Scenario, check_rooms};
use crate::tally::{Counts, Tally};
use crate::vocabulary::Vocabulary;
use crate::words::{Phase, Setup};

/// Options of `idle`.
#[derive(Args, Clone, Debug, Serialize, Deserialize)]
pub struct Idle {
    /// Connections
    #[arg(long, default_value_t = 15_000)]
    connections: usize,
    /// Members of each room; 0 leaves them in none
    #[arg(long, default_value_t = 10)]
    room: usize,
    /// Seconds to look at what being there costs: heartbeats
    #[arg(long, default_value_t = 0.0)]
    hold: f64,
    /// How often they come and go
    #[arg(long, default_value_t = 1)]
    rounds: usize,
}

impl Scenario for Idle {
    fn crowd(&self, words: &Vocabulary) -> Result<Crowd, String> {
        if self.room > 0 {
            check_rooms(words).map_err(|error| format!("{error}: give --room 0"))?;
        }
        Ok(Crowd::of(self.connections, self.room))
    }

    fn play(&self, setup: &Setup) -> Box<dyn Play> {
        let joining = Joining::new(setup.share, self.room.max(1));
        Box::new(Rest { words: setup.vocabulary(), joining })
    }

    fn conduct(&self, conductor: &mut Conductor) -> Result<Vec<Report>, String> {
        let empty = conductor.reading().ok_or("the server's process is not known: give --pid")?;
        (1..=self.rounds).map(|round| self.round(round, empty, conductor)).collect()
    }
}

impl Idle {
    fn round(&self, round: usize, empty: Reading, conductor: &mut Conductor) -> Result<Report, String> {
        let mut report = Report::new(&format!("idle, {} connections, round {round}", self.connections));
        let count = self.connections as f64;
        let each = |after: u64, before: u64| (after as f64 - before as f64) / count;
        let (before, kernel) = (conductor.reading().unwrap_or_default(), kernel_bytes());
        let started = Instant::now();
        conductor.phase(Phase::Open)?;
        report.number("open_s", started.elapsed().as_secs_f64());
        conductor.settle();
        let opened = conductor.reading().unwrap_or_default();
        report.number("handshakes_per_cpu_s", count * 1e9 / opened.cpu_ns.saturating_sub(before.cpu_ns).max(1) as f64);
        report.number("bytes_upgraded", each(opened.private_bytes, empty.private_bytes));
        // Half of it is this side's.
        report.number("kernel_bytes", each(kernel_bytes(), kernel) / 2.0);
        if self.room > 0 {
            conductor.phase(Phase::Prepare)?;
            conductor.settle();
            let in_rooms = conductor.reading().unwrap_or_default();
            report.number("bytes_in_room", each(in_rooms.private_bytes, empty.private_bytes));
        }
        if self.hold > 0.0 {
            let hold = Duration::try_from_secs_f64(self.hold).map_err(|error| error.to_string())?;
            let before = conductor.reading().unwrap_or_default();
            std::thread::sleep(hold);
            let after = conductor.reading().unwrap_or_default();
            report.number("idle_cpu_share", after.cpu_ns.saturating_sub(before.cpu_ns) as f64 / hold.as_nanos() as f64);
        }
        conductor.tally()?.quote(&mut report);
        conductor.phase(Phase::Close)?;
        conductor.settle();
        let closed = conductor.reading().unwrap_or_default();
        report.number("bytes_after", closed.private_bytes as f64);
        Ok(report)
    }
}

/// Clients that join their room and rest.
struct Rest {
    words: Vocabulary,
    joining: Joining,
}

impl Play for Rest {
    fn begin(&mut self, phase: &Phase, stage: &mut Stage) {
        if *phase == Phase::Prepare {
            self.joining.begin(&self.words, stage);
        }
    }

    fn progress(&self) -> (u64, u64) {
        self.joining.progress()
    }

    fn message(&mut self, _client: usize, text: &[u8], stage: &mut Stage) {
        if self.words.is_joined(text) {
            self.joining.joined(&self.words, stage);
        }
    }

    fn counts(&self) -> Counts {
        Counts::new()
    }

    fn tally(&self) -> Tally {
        Tally::default()
    }
}
