//! What an idle connection costs: the server's own memory before and after so many of them, upgraded and authenticated,
//! then each in a room of ten.

use std::cell::Cell;
use std::time::Instant;

use clap::Args;

use crate::process::kernel_bytes;
use crate::report::Report;
use crate::scenario::{Common, PATIENCE};
use crate::swarm::{Happening, Swarm};

/// Options of `idle`.
#[derive(Args, Debug)]
pub struct Idle {
    /// Connections
    #[arg(long, default_value_t = 15_000)]
    connections: usize,
    /// Members of each room; 0 leaves them in none
    #[arg(long, default_value_t = 10)]
    room: usize,
    /// How often they come and go
    #[arg(long, default_value_t = 1)]
    rounds: usize,
}

/// Runs `idle`.
pub fn run(options: &Idle, common: &Common) -> Result<Vec<Report>, String> {
    let target = common.target()?;
    let fail = |error: std::io::Error| error.to_string();
    let empty = target.reading().ok_or("the server's process is not known: give --pid")?;
    let mut reports = Vec::new();
    for round in 0..options.rounds {
        let mut report = Report::new(&format!("idle, {} connections, round {}", options.connections, round + 1));
        let before = target.reading().unwrap_or_default();
        let kernel = kernel_bytes();
        let started = Instant::now();
        let mut swarm = Swarm::new(target.address).map_err(fail)?;
        let tokens: Vec<_> = (0..options.connections).map(|user| target.token(&format!("user-{user}"))).collect();
        swarm.open(tokens.into_iter(), |_, _, _| {}).map_err(fail)?;
        let opened = target.reading().unwrap_or_default();
        report.number("open_s", started.elapsed().as_secs_f64());
        report.number("handshakes_per_cpu_s", rate(options.connections, opened.cpu_ns - before.cpu_ns));
        report.number("bytes_upgraded", per(opened.private_bytes, empty.private_bytes, options.connections));
        report.number("kernel_bytes", per(kernel_bytes(), kernel, 2 * options.connections));
        if options.room > 0 {
            join_rooms(&mut swarm, options).map_err(fail)?;
            let in_rooms = target.reading().unwrap_or_default();
            report.number("bytes_in_room", per(in_rooms.private_bytes, empty.private_bytes, options.connections));
        }
        report.count("closed", swarm.closed as u64);
        drop(swarm);
        reports.push(report);
    }
    Ok(reports)
}

/// Has every client join its room, and waits for all the answers.
fn join_rooms(swarm: &mut Swarm, options: &Idle) -> std::io::Result<()> {
    for number in 0..options.connections {
        let join = format!(r#"{{"type":"join-room","roomId":"room-{}"}}"#, number / options.room);
        swarm.send(number, join.as_bytes());
    }
    let joined = Cell::new(0);
    let on = |what: Happening<'_>| {
        if let Happening::Message(text) = what
            && memchr::memmem::find(text, b"room-joined").is_some()
        {
            joined.set(joined.get() + 1);
        }
    };
    swarm.until(PATIENCE, || joined.get() >= options.connections, |_, _, what| on(what))
}

fn per(after: u64, before: u64, count: usize) -> f64 {
    (after as f64 - before as f64) / count as f64
}

fn rate(count: usize, cpu_ns: u64) -> f64 {
    count as f64 * 1e9 / cpu_ns.max(1) as f64
}
