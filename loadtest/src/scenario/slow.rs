//! One message to many, of whom some stop reading while the others go on: what that does to the others, what the server
//! keeps for those who do not read, and what these find when they read again.
//!
//! First everybody reads, as in `fanout`; then every so-many-th reader of a room stalls, and the messages under way are
//! those that the others lack. When each of them has left enough unread, they read on. Whom the server has disconnected by
//! then must have got everything up to some message, in order; everybody else must have got everything.

mod readers;
mod stalled;

use std::time::{Duration, Instant};

use clap::Args;
use serde::{Deserialize, Serialize};

use crate::client::Dialect;
use crate::conductor::Conductor;
use crate::deal::Crowd;
use crate::options::Common;
use crate::play::Play;
use crate::process;
use crate::report::Report;
use crate::scenario::{Scenario, check_bytes};
use crate::target::Target;
use crate::vocabulary::Vocabulary;
use crate::words::{Phase, Setup};

use readers::{RING, Readers};

/// Options of `slow`.
#[derive(Args, Clone, Debug, Serialize, Deserialize)]
pub struct Slow {
    /// Rooms
    #[arg(long, default_value_t = 1)]
    rooms: usize,
    /// Members of each, the sender among them
    #[arg(long, default_value_t = 1000)]
    members: usize,
    /// Messages under way in each room
    #[arg(long, default_value_t = 16)]
    window: usize,
    /// Share of the readers that stall
    #[arg(long, default_value_t = 0.1)]
    stalled: f64,
    /// Bytes of content
    #[arg(long, default_value_t = 1024)]
    bytes: usize,
    /// Seconds to measure at least, each while all read and while some stall
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Bytes that each of them leaves unread at least; the kernel takes some megabytes before the server has to keep any
    #[arg(long, value_name = "BYTES", default_value_t = 6 << 20)]
    unread: u64,
    /// Bytes that the server may keep for each; the server that is started is set to it
    #[arg(long, value_name = "BYTES", default_value_t = 1 << 20)]
    outbound_bytes: u64,
    /// Bytes that the sockets of those who stall hold, about
    #[arg(long, value_name = "BYTES", default_value_t = 32 << 10)]
    receive_bytes: usize,
}

/// How often it is looked whether enough is unread.
const LOOK: Duration = Duration::from_millis(250);

/// Looks at which nothing was sent before it is given up; what is missing then shows in the end.
const SILENT_LOOKS_MAX: usize = 40;

impl Scenario for Slow {
    fn crowd(&self, words: &Vocabulary) -> Result<Crowd, String> {
        check_bytes(self.bytes)?;
        if words.dialect() != Dialect::Raw {
            return Err("slow speaks raw only: how a server takes leave of who does not read is its own".to_owned());
        }
        if !(1..=RING / 2).contains(&self.window) {
            return Err(format!("a room has 1 to {} messages under way", RING / 2));
        }
        if !(1..self.members.saturating_sub(1)).contains(&self.stalled_of_room()) {
            return Err("of each room's readers one or more stall, and one or more do not".to_owned());
        }
        Ok(Crowd::of(self.rooms * self.members, self.members))
    }

    fn play(&self, setup: &Setup) -> Box<dyn Play> {
        Box::new(Readers::new(self, setup))
    }

    fn conduct(&self, conductor: &mut Conductor) -> Result<Vec<Report>, String> {
        let Self { rooms, members, window, bytes, .. } = self;
        let stalled = rooms * self.stalled_of_room();
        let title = format!("slow {rooms} × {members}, {window} under way, {bytes} B");
        let mut before = Report::new(&format!("{title}, all read"));
        let mut report = Report::new(&format!("{title}, {stalled} stalled"));
        conductor.phase(Phase::Open)?;
        conductor.phase(Phase::Prepare)?;
        conductor.measure(self.seconds, &mut before)?;
        conductor.finish(&mut before)?;
        let kept = Kept::now(conductor);
        self.stall(conductor, &mut report)?;
        kept.quote(stalled as f64, self.outbound_bytes as f64, conductor, &mut report);
        // What the others still lack comes first: reading on keeps this side busy, which would count as their latency.
        conductor.finish(&mut report)?;
        conductor.phase(Phase::Resume)?;
        let tally = conductor.finish(&mut report)?;
        for name in ["stalled", "disconnected", "told_slow", "withheld"] {
            report.number(name, tally.counts.get(name).copied().unwrap_or(0) as f64);
        }
        compare(&before, &mut report);
        Ok(vec![before, report])
    }

    fn target(&self, common: &Common) -> Result<Target, String> {
        if let Some(address) = common.target {
            return Ok(Target::running(address, common.pid, common.secret.clone()));
        }
        let bound = format!("limits.outbound_bytes={}", self.outbound_bytes);
        let settings: Vec<String> = common.set.iter().cloned().chain([bound]).collect();
        Target::start(&common.binary(), common.shards, &settings, common.data.as_deref())
    }
}

impl Slow {
    /// Readers of each room that stall.
    fn stalled_of_room(&self) -> usize {
        (self.members.saturating_sub(1) as f64 * self.stalled).round() as usize
    }

    /// Whether the member of this number in its room stalls. They are evenly spread; the sender, 0, and the first reader
    /// never do.
    fn stalls(&self, member: usize) -> bool {
        let (stalled, readers) = (self.stalled_of_room(), self.members - 1);
        member > 0 && member * stalled / readers > (member - 1) * stalled / readers
    }

    /// Measures while some stall, and goes on until they have left enough unread.
    fn stall(&self, conductor: &mut Conductor, report: &mut Report) -> Result<(), String> {
        let sent = |conductor: &mut Conductor| Ok::<u64, String>(conductor.tally()?.sent.values().sum());
        let first = sent(conductor)?;
        conductor.phase(Phase::Stall)?;
        let span = conductor.measure(self.seconds, report)?;
        let enough = self.unread as f64 / report.numbers["message_bytes"].max(1.0) * self.rooms as f64;
        let (started, mut last, mut silent) = (Instant::now(), 0, 0);
        while silent < SILENT_LOOKS_MAX {
            let now = sent(conductor)?;
            if (now - first) as f64 >= enough {
                break;
            }
            silent = if now == last { silent + 1 } else { 0 };
            last = now;
            conductor.wait("filling", LOOK)?;
            if let Some(reading) = conductor.reading() {
                let memory = report.series.entry("memory_bytes".to_owned()).or_default();
                memory.push([span.seconds + started.elapsed().as_secs_f64(), reading.private_bytes as f64]);
            }
        }
        Ok(())
    }
}

/// What was kept in memory before anyone stalled.
struct Kept {
    server_bytes: Option<u64>,
    kernel_bytes: u64,
}

impl Kept {
    fn now(conductor: &Conductor) -> Self {
        let server_bytes = conductor.reading().map(|reading| reading.private_bytes);
        Self { server_bytes, kernel_bytes: process::socket_bytes() }
    }

    /// How much more it is now, and was at the most, for each that stalls.
    fn quote(&self, stalled: f64, bound: f64, conductor: &Conductor, report: &mut Report) {
        let now = Self::now(conductor);
        report.number("kernel_each_bytes", (now.kernel_bytes as f64 - self.kernel_bytes as f64) / stalled);
        let Some((before, now)) = self.server_bytes.zip(now.server_bytes) else { return };
        let points = report.series.get("memory_bytes").map_or(&[][..], Vec::as_slice);
        let most = points.iter().map(|point| point[1]).fold(now as f64, f64::max);
        let each = (most - before as f64) / stalled;
        report.number("memory_before_bytes", before as f64);
        report.number("memory_most_bytes", most);
        report.number("memory_each_bytes", each);
        report.number("memory_of_bound", each / bound);
    }
}

/// Quotes what those who read get while some stall as a ratio to what all got before.
fn compare(before: &Report, report: &mut Report) {
    for (name, ratio) in [
        ("deliveries_per_s", "deliveries_ratio"),
        ("deliveries_per_cpu_s", "deliveries_per_cpu_ratio"),
        ("latency_p50_us", "latency_p50_ratio"),
        ("latency_p99_us", "latency_p99_ratio"),
        ("latency_max_us", "latency_max_ratio"),
    ] {
        let numbers = before.numbers.get(name).zip(report.numbers.get(name));
        if let Some(value) = numbers.map(|(before, now)| now / before) {
            report.number(ratio, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slow(members: usize, stalled: f64) -> Slow {
        Slow {
            rooms: 1,
            members,
            window: 1,
            stalled,
            bytes: 64,
            seconds: 1.0,
            unread: 1,
            outbound_bytes: 1,
            receive_bytes: 1,
        }
    }

    #[test]
    fn exactly_the_share_stalls_and_never_the_sender_or_the_first_reader() {
        for members in 3..200 {
            for share in [0.01, 0.1, 0.29, 0.5, 0.9, 0.99] {
                let slow = slow(members, share);
                if slow.crowd(&Vocabulary::of(Dialect::Raw)).is_ok() {
                    let stalled = (0..members).filter(|member| slow.stalls(*member)).count();
                    assert_eq!(stalled, slow.stalled_of_room(), "{share} of {members}");
                    assert!(!slow.stalls(0) && !slow.stalls(1), "{share} of {members}");
                }
            }
        }
        assert!(slow(1000, 0.0).crowd(&Vocabulary::of(Dialect::Raw)).is_err());
        assert!(slow(10, 1.0).crowd(&Vocabulary::of(Dialect::Raw)).is_err());
        assert!(slow(2, 0.5).crowd(&Vocabulary::of(Dialect::Raw)).is_err());
        assert!(slow(0, 0.5).crowd(&Vocabulary::of(Dialect::Raw)).is_err());
    }
}
