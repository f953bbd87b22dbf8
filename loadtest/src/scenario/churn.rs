//! Connections that come and go while so many others stay. Each new one upgrades with its token, joins a room, may say
//! something there, and hears the answers; then the one that has stayed longest ends, every second one by a close frame,
//! the others by a reset in the midst of everything (on loopback; elsewhere their streams just end).
//!
//! Either so many openings are always under way, or they follow a timetable that does not wait for anyone, and the time it
//! takes to open counts from when it was due.

mod places;

use clap::Args;
use serde::{Deserialize, Serialize};

use crate::client::Dialect;
use crate::conductor::Conductor;
use crate::deal::Crowd;
use crate::play::Play;
use crate::report::Report;
use crate::scenario::{Scenario, check_bytes, check_rooms};
use crate::vocabulary::Vocabulary;
use crate::words::{Phase, Setup};

use places::Places;

/// Options of `churn`.
#[derive(Args, Clone, Debug, Serialize, Deserialize)]
pub struct Churn {
    /// Connections that are there at any time
    #[arg(long, default_value_t = 1000)]
    connections: usize,
    /// Openings under way besides; with --rate, at most
    #[arg(long, default_value_t = 64)]
    parallel: usize,
    /// Openings a second in all, by a timetable
    #[arg(long, value_name = "PER_SECOND")]
    rate: Option<f64>,
    /// Milliseconds that each stays at least
    #[arg(long, default_value_t = 0, value_name = "MILLISECONDS")]
    life: u64,
    /// Members of each room; 0 leaves them in none
    #[arg(long, default_value_t = 10)]
    room: usize,
    /// Messages that each says to its room, one after the other
    #[arg(long, default_value_t = 1)]
    messages: u32,
    /// Bytes of content
    #[arg(long, default_value_t = 128)]
    bytes: usize,
    /// Seconds to measure
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
}

impl Scenario for Churn {
    fn crowd(&self, words: &Vocabulary) -> Result<Crowd, String> {
        check_bytes(self.bytes)?;
        if self.connections == 0 || self.parallel == 0 {
            return Err("churn takes at least one connection that stays, and one that opens".to_owned());
        }
        if self.rate.is_some_and(|rate| !(rate > 0.0 && rate <= 1e6)) {
            return Err("a rate is more than 0 and at most 1,000,000 openings a second".to_owned());
        }
        if self.room > 0 {
            check_rooms(words).map_err(|error| format!("{error}: give --room 0"))?;
        }
        if self.room == 0 && self.messages > 0 && (words.has_rooms() || !words.hears_itself()) {
            return Err("without a room there is nobody to say something to: give --messages 0".to_owned());
        }
        // Only in raw there are receipts for messages.
        if self.messages > 0 && words.dialect() != Dialect::Raw && !words.hears_itself() {
            return Err("who does not hear itself does not know what was answered: give --messages 0".to_owned());
        }
        let crowd = Crowd::of(self.connections + self.parallel, 1);
        Ok(Crowd { opening_max: crowd.opening_max.max(self.parallel), ..crowd })
    }

    fn play(&self, setup: &Setup) -> Box<dyn Play> {
        Box::new(Places::new(self, setup.share, setup.vocabulary()))
    }

    fn conduct(&self, conductor: &mut Conductor) -> Result<Vec<Report>, String> {
        let mut report = Report::new(&self.title());
        conductor.phase(Phase::Open)?;
        conductor.phase(Phase::Prepare)?;
        conductor.settle();
        let before = conductor.reading();
        let span = conductor.measure(self.seconds, &mut report)?;
        for name in ["handshakes", "joins"] {
            report.number(&format!("{name}_per_s"), span.count(name) / span.seconds);
            if let Some(rate) = span.per_cpu_second(name) {
                report.number(&format!("{name}_per_cpu_s"), rate);
            }
        }
        if let Some(rate) = self.rate {
            report.number("asked_per_s", rate);
        }
        let tally = conductor.finish(&mut report)?;
        conductor.settle();
        let ended = tally.counts.get("ended").copied().unwrap_or(0) as f64;
        report.number("churned", ended);
        if let Some((before, after)) = before.zip(conductor.reading()) {
            let (before, after) = (before.private_bytes as f64, after.private_bytes as f64);
            report.number("bytes_before", before);
            report.number("bytes_after", after);
            report.number("bytes_grown_per_1000", (after - before) / ended.max(1.0) * 1000.0);
        }
        Ok(vec![report])
    }
}

impl Churn {
    fn title(&self) -> String {
        let Self { connections, parallel, room, messages, .. } = self;
        let pace = self.rate.map_or(format!("{parallel} opening"), |rate| format!("{rate} openings/s"));
        format!("churn {connections} connections, {pace}, rooms of {room}, {messages} messages each")
    }
}
