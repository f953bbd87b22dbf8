//! What the kernel allows on this machine: a process of its own ([`server`]) that does nothing but the system calls which a
//! delivery cannot do without, driven in the same closed loop and read by the same reader as a real server is.
//!
//! Either it sends the same bytes to so many sockets, one round under way; or it reads a message from one socket of each
//! pair and writes it to the other, all pairs in a round. Connections are bare: nothing is spoken on them but a call sign.

pub mod server;

use std::process::{Command, Stdio};

use clap::Args;
use serde::{Deserialize, Serialize};

use crate::client::Dialect;
use crate::conductor::Conductor;
use crate::deal::Crowd;
use crate::options::Common;
use crate::play::{Play, Stage};
use crate::report::Report;
use crate::scenario::Scenario;
use crate::tally::{Counts, Tally};
use crate::target::Target;
use crate::words::{Phase, Setup};

use server::{CallSign, TRIGGER};

/// Options of `floor`.
#[derive(Args, Clone, Debug, Serialize, Deserialize)]
pub struct Floor {
    /// Sockets
    #[arg(long, default_value_t = 1000)]
    pub sockets: usize,
    /// Relay between so many pairs of sockets instead
    #[arg(long, conflicts_with_all = ["sockets", "batch"])]
    pub pairs: Option<usize>,
    /// Messages in one send
    #[arg(long, default_value_t = 1)]
    pub batch: usize,
    /// Bytes of a message as it is on the wire
    #[arg(long, default_value_t = 340)]
    pub bytes: usize,
    /// Seconds to measure
    #[arg(long, default_value_t = 3.0)]
    pub seconds: f64,
}

impl Scenario for Floor {
    fn crowd(&self, _dialect: Dialect) -> Result<Crowd, String> {
        let sockets = self.pairs.map_or(self.sockets, |pairs| 2 * pairs);
        if sockets == 0 || self.batch == 0 || self.bytes == 0 {
            return Err("a floor takes at least one socket, one message and one byte".to_owned());
        }
        // Each worker's first connection is its control, and does not count.
        Ok(Crowd::of(1 + sockets, if self.pairs.is_some() { 3 } else { 2 }))
    }

    fn play(&self, setup: &Setup) -> Box<dyn Play> {
        Box::new(Rounds::new(self, setup.share.first, setup.share.clients))
    }

    fn conduct(&self, conductor: &mut Conductor) -> Result<Vec<Report>, String> {
        let mut report = Report::new(&self.title());
        conductor.phase(Phase::Open)?;
        conductor.phase(Phase::Prepare)?;
        conductor.measure(self.seconds, &mut report)?;
        conductor.finish(&mut report)?;
        Ok(vec![report])
    }

    fn is_bare(&self) -> bool {
        true
    }

    fn target(&self, _common: &Common) -> Result<Target, String> {
        let mut server = Command::new(std::env::current_exe().map_err(|error| error.to_string())?);
        server.args(["floor-server", "--bytes", &self.bytes.to_string(), "--batch", &self.batch.to_string()]);
        if self.pairs.is_some() {
            server.arg("--pairs");
        }
        // It ends with its input, and so with this process.
        Target::spawn(server.stdin(Stdio::piped()), None)
    }
}

impl Floor {
    fn title(&self) -> String {
        let Self { sockets, batch, bytes, .. } = self;
        match self.pairs {
            Some(pairs) => format!("floor {pairs} pairs, {bytes} B"),
            None => format!("floor {sockets} sockets, {batch} per send of {bytes} B"),
        }
    }
}

/// The sockets of one worker: the control is the first; with pairs, the one that sends and the one that receives follow
/// each other.
struct Rounds {
    options: Floor,
    first: usize,
    /// Without the control, and without half a pair.
    sockets: usize,
    /// Bytes that come in one round.
    round_bytes: u64,
    rounds: u64,
    received_bytes: u64,
    message: Vec<u8>,
    is_ready: bool,
    phase: Phase,
}

impl Rounds {
    fn new(options: &Floor, first: usize, clients: usize) -> Self {
        let sockets = if options.pairs.is_some() { (clients - 1) / 2 * 2 } else { clients - 1 };
        let receivers = if options.pairs.is_some() { sockets / 2 } else { sockets };
        Self {
            first,
            sockets,
            round_bytes: (receivers * options.batch * options.bytes) as u64,
            rounds: 0,
            received_bytes: 0,
            message: vec![b'x'; options.bytes],
            is_ready: false,
            phase: Phase::Open,
            options: options.clone(),
        }
    }

    fn start_round(&mut self, stage: &mut Stage) {
        self.rounds += 1;
        if self.options.pairs.is_some() {
            (1..=self.sockets).step_by(2).for_each(|sender| stage.send(sender, &self.message));
        }
        stage.send(0, &TRIGGER);
    }

    fn missing_bytes(&self) -> u64 {
        (self.rounds * self.round_bytes).saturating_sub(self.received_bytes)
    }
}

impl Play for Rounds {
    fn begin(&mut self, phase: &Phase, stage: &mut Stage) {
        self.phase = phase.clone();
        if *phase == Phase::Go && self.sockets > 0 {
            self.start_round(stage);
        }
    }

    fn progress(&self) -> (u64, u64) {
        match self.phase {
            Phase::Prepare => (u64::from(self.is_ready), 1),
            Phase::Drain { .. } => (self.received_bytes, self.rounds * self.round_bytes),
            _ => (0, 0),
        }
    }

    fn opened(&mut self, client: usize, stage: &mut Stage) {
        let sign = CallSign { band: self.first as u32, number: client as u32, sockets: self.sockets as u32 };
        stage.send(client, &sign.encode());
    }

    fn message(&mut self, client: usize, bytes: &[u8], stage: &mut Stage) {
        if client == 0 {
            self.is_ready = true;
            return;
        }
        self.received_bytes += bytes.len() as u64;
        if self.missing_bytes() == 0 && self.phase == Phase::Go {
            self.start_round(stage);
        }
    }

    fn counts(&self) -> Counts {
        let deliveries = self.received_bytes / self.options.bytes as u64;
        [("deliveries".to_owned(), deliveries), ("bytes".to_owned(), self.received_bytes)].into()
    }

    fn tally(&self) -> Tally {
        let missing = if matches!(self.phase, Phase::Drain { .. }) { self.missing_bytes() } else { 0 };
        let missing = missing.div_ceil(self.options.bytes as u64);
        Tally { counts: self.counts(), faults: [("missing".to_owned(), missing)].into(), ..Tally::default() }
    }
}
