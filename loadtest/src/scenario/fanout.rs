//! One message to many: each room has one sender, which keeps so many messages under way; a message is done when every
//! other member has it. Every delivery is counted: none may be missing, doubled or out of order.

use std::time::{Duration, Instant};

use clap::Args;
use hdrhistogram::Histogram;

use crate::report::Report;
use crate::scenario::{Common, PATIENCE};
use crate::swarm::{Happening, Outgoing, Swarm};
use crate::target::Target;

/// Options of `fanout`.
#[derive(Args, Debug)]
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
    /// Bytes of content
    #[arg(long, default_value_t = 128)]
    bytes: usize,
    /// Seconds to measure
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
}

/// Marks the number in a message's content.
const MARK: &[u8] = b"\"content\":\"#";
const DIGITS: usize = 10;

/// Messages of a room that may be under way at most; a power of two.
const RING: usize = 256;

struct Room {
    sent: u64,
    /// Members that have each message under way.
    have: [u32; RING],
    sent_at: Vec<Instant>,
}

struct Run<'a> {
    options: &'a Fanout,
    rooms: Vec<Room>,
    /// The last number each member saw.
    last: Vec<u64>,
    deliveries: u64,
    bytes: u64,
    doubled: u64,
    disordered: u64,
    joined: usize,
    is_sending: bool,
    /// Messages under way.
    under_way: u64,
    latency: Histogram<u64>,
}

/// Runs `fanout`.
pub fn run(options: &Fanout, common: &Common) -> Result<Vec<Report>, String> {
    let target = common.target()?;
    let fail = |error: std::io::Error| error.to_string();
    let total = options.rooms * options.members;
    let mut swarm = Swarm::new(target.address).map_err(fail)?;
    let mut run = Run::new(options)?;
    swarm.open((0..total).map(|user| target.token(&format!("user-{user}"))), |_, _, _| {}).map_err(fail)?;
    for number in 0..total {
        let join = format!(r#"{{"type":"join-room","roomId":"room-{}"}}"#, number / options.members);
        swarm.send(number, join.as_bytes());
        // A large room announces each join to all who are there; let them hear it before the next.
        if number % 64 == 63 {
            settle(&mut swarm, &mut run, |run| run.joined > number.saturating_sub(256)).map_err(fail)?;
        }
    }
    settle(&mut swarm, &mut run, |run| run.joined == total).map_err(fail)?;
    measure(&mut swarm, &mut run, &target).map_err(fail).map(|report| vec![report])
}

fn settle(swarm: &mut Swarm, run: &mut Run<'_>, is_done: impl Fn(&Run<'_>) -> bool) -> std::io::Result<()> {
    let mut last = Instant::now();
    while !is_done(run) {
        if swarm.turn(Duration::from_millis(100), |out, number, what| run.happened(out, number, what))? {
            last = Instant::now();
        } else if last.elapsed() > PATIENCE {
            return Err(std::io::Error::other(format!("nothing came for {PATIENCE:?}")));
        }
    }
    Ok(())
}

fn measure(swarm: &mut Swarm, run: &mut Run<'_>, target: &Target) -> std::io::Result<Report> {
    run.is_sending = true;
    for room in 0..run.options.rooms {
        for _ in 0..run.options.window {
            let text = run.next_message(room);
            swarm.send(room * run.options.members, &text);
        }
    }
    let warm_up = Instant::now();
    while warm_up.elapsed() < Duration::from_millis(500) {
        swarm.turn(Duration::from_millis(100), |out, number, what| run.happened(out, number, what))?;
    }
    run.latency.reset();
    let (deliveries, bytes) = (run.deliveries, run.bytes);
    let before = target.reading().unwrap_or_default();
    let started = Instant::now();
    while started.elapsed().as_secs_f64() < run.options.seconds {
        swarm.turn(Duration::from_millis(100), |out, number, what| run.happened(out, number, what))?;
    }
    let after = target.reading().unwrap_or_default();
    let seconds = started.elapsed().as_secs_f64();
    let (deliveries, bytes) = (run.deliveries - deliveries, run.bytes - bytes);
    run.is_sending = false;
    let drained = settle(swarm, run, |run| run.under_way == 0);
    let options = run.options;
    let title = format!("fanout {} × {}, {} under way", options.rooms, options.members, options.window);
    let mut report = Report::new(&title);
    let cpu_ns = (after.cpu_ns - before.cpu_ns) as f64;
    report.number("deliveries_per_s", deliveries as f64 / seconds);
    report.number("deliveries_per_cpu_s", deliveries as f64 * 1e9 / cpu_ns.max(1.0));
    report.number("server_cpu_share", cpu_ns / 1e9 / seconds);
    report.number("frame_bytes", bytes as f64 / deliveries.max(1) as f64);
    for (name, quantile) in [("latency_p50_us", 0.5), ("latency_p99_us", 0.99)] {
        report.number(name, run.latency.value_at_quantile(quantile) as f64);
    }
    report.count("missing", if drained.is_ok() { 0 } else { run.under_way });
    report.count("doubled", run.doubled);
    report.count("out_of_order", run.disordered);
    report.count("closed", swarm.closed as u64);
    Ok(report)
}

impl<'a> Run<'a> {
    fn new(options: &'a Fanout) -> Result<Self, String> {
        if options.window > RING / 2 || options.members < 2 {
            return Err(format!("a room has at least 2 members, and at most {} messages under way", RING / 2));
        }
        let room = || Room { sent: 0, have: [0; RING], sent_at: vec![Instant::now(); RING] };
        Ok(Self {
            options,
            rooms: (0..options.rooms).map(|_| room()).collect(),
            last: vec![0; options.rooms * options.members],
            deliveries: 0,
            bytes: 0,
            doubled: 0,
            disordered: 0,
            joined: 0,
            is_sending: false,
            under_way: 0,
            latency: Histogram::new(3).map_err(|error| error.to_string())?,
        })
    }

    fn next_message(&mut self, room: usize) -> Vec<u8> {
        let state = &mut self.rooms[room];
        state.sent += 1;
        let at = state.sent as usize % RING;
        state.have[at] = 0;
        state.sent_at[at] = Instant::now();
        self.under_way += 1;
        let padding = "x".repeat(self.options.bytes.saturating_sub(DIGITS + 1));
        format!(r##"{{"type":"message","roomId":"room-{room}","content":"#{:0DIGITS$}{padding}"}}"##, state.sent)
            .into_bytes()
    }

    fn happened(&mut self, out: &mut Outgoing, number: usize, what: Happening<'_>) {
        let Happening::Message(text) = what else { return };
        let Some(mark) = memchr::memmem::find(text, MARK) else {
            self.joined += usize::from(text.starts_with(br#"{"type":"room-joined""#));
            return;
        };
        let digits = &text[mark + MARK.len()..][..DIGITS];
        let seq = digits.iter().fold(0, |seq, digit| seq * 10 + u64::from(digit - b'0'));
        self.deliveries += 1;
        self.bytes += text.len() as u64;
        let last = &mut self.last[number];
        if seq <= *last {
            self.doubled += 1;
            return;
        }
        self.disordered += u64::from(seq != *last + 1);
        *last = seq;
        let room = number / self.options.members;
        let state = &mut self.rooms[room];
        let at = seq as usize % RING;
        state.have[at] += 1;
        if state.have[at] as usize % 16 == 1 {
            self.latency.saturating_record(state.sent_at[at].elapsed().as_micros() as u64);
        }
        if state.have[at] as usize == self.options.members - 1 {
            self.under_way -= 1;
            if self.is_sending {
                let text = self.next_message(room);
                out.send(room * self.options.members, text);
            }
        }
    }
}
