//! Messages to the server and back, so many under way on each connection. Any server will do that sends each text back on
//! the connection it came on; so will one with rooms in which senders hear themselves, of which each client joins its own.

use clap::Args;
use serde::{Deserialize, Serialize};

use crate::client::Dialect;
use crate::conductor::Conductor;
use crate::deal::Crowd;
use crate::mark;
use crate::options::Common;
use crate::play::{Play, Stage};
use crate::reception::Reception;
use crate::report::Report;
use crate::scenario::joining::Joining;
use crate::scenario::{Scenario, check_bytes};
use crate::tally::{Counts, Tally};
use crate::target::Target;
use crate::vocabulary::Vocabulary;
use crate::words::{Phase, Setup};

/// Options of `echo`.
#[derive(Args, Clone, Debug, Serialize, Deserialize)]
pub struct Echo {
    /// Connections
    #[arg(long, default_value_t = 100)]
    connections: usize,
    /// Messages under way on each
    #[arg(long, default_value_t = 1)]
    window: usize,
    /// Bytes of content
    #[arg(long, default_value_t = 128)]
    bytes: usize,
    /// Seconds to measure
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
}

impl Scenario for Echo {
    fn crowd(&self, words: &Vocabulary) -> Result<Crowd, String> {
        check_bytes(self.bytes)?;
        if !words.hears_itself() {
            return Err("echo takes a server from which clients hear what they send".to_owned());
        }
        Ok(Crowd::of(self.connections, 1))
    }

    fn play(&self, setup: &Setup) -> Box<dyn Play> {
        let clients = setup.share.clients;
        Box::new(Echoes {
            options: self.clone(),
            words: setup.vocabulary(),
            joining: Joining::new(setup.share, 1),
            first: setup.share.first,
            sent: vec![0; clients],
            reception: Reception::new(clients, self.bytes, self.connections),
            phase: Phase::Open,
        })
    }

    fn conduct(&self, conductor: &mut Conductor) -> Result<Vec<Report>, String> {
        let title = format!("echo {}, {} under way, {} B", self.connections, self.window, self.bytes);
        let mut report = Report::new(&title);
        conductor.phase(Phase::Open)?;
        conductor.phase(Phase::Prepare)?;
        conductor.measure(self.seconds, &mut report)?;
        conductor.finish(&mut report)?;
        Ok(vec![report])
    }

    fn dialect(&self, asked: Dialect) -> Dialect {
        if asked == Dialect::Raw { Dialect::Echo } else { asked }
    }

    fn target(&self, common: &Common) -> Result<Target, String> {
        let address = common.target.ok_or("echo needs an echo server that runs: give --target")?;
        Ok(Target::running(address, common.pid, common.secret.clone()))
    }
}

/// Clients that send again what came back.
struct Echoes {
    options: Echo,
    words: Vocabulary,
    joining: Joining,
    first: usize,
    /// Messages that each client sent.
    sent: Vec<u64>,
    reception: Reception,
    phase: Phase,
}

impl Echoes {
    fn send(&mut self, client: usize, stage: &mut Stage) {
        self.sent[client] += 1;
        let mut content = Vec::with_capacity(self.options.bytes);
        mark::write(&mut content, self.sent[client], mark::now_ns(), self.options.bytes);
        stage.write(client, |out| self.words.publish(out, self.first + client, &content));
    }
}

impl Play for Echoes {
    fn begin(&mut self, phase: &Phase, stage: &mut Stage) {
        self.phase = phase.clone();
        match phase {
            Phase::Prepare if self.words.has_rooms() => self.joining.begin(&self.words, stage),
            Phase::Go => {
                for client in 0..self.sent.len() {
                    (0..self.options.window).for_each(|_| self.send(client, stage));
                }
            }
            _ => {}
        }
    }

    fn progress(&self) -> (u64, u64) {
        match self.phase {
            Phase::Prepare if self.words.has_rooms() => self.joining.progress(),
            Phase::Drain { .. } => self.reception.progress(|client| self.sent[client]),
            _ => (0, 0),
        }
    }

    fn message(&mut self, client: usize, text: &[u8], stage: &mut Stage) {
        let Some(content) = self.words.delivery(text) else {
            if self.words.is_joined(text) {
                self.joining.joined(&self.words, stage);
            }
            return;
        };
        if self.reception.enter(client, content, text.len(), stage).is_some() && self.phase == Phase::Go {
            self.send(client, stage);
        }
    }

    fn closed(&mut self, client: usize, _stage: &mut Stage) {
        self.reception.close(client);
    }

    fn restart(&mut self) {
        self.reception.restart();
    }

    fn counts(&self) -> Counts {
        self.reception.counts()
    }

    fn tally(&self) -> Tally {
        self.reception.tally(|client| self.sent[client])
    }
}
