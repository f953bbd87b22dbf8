//! The scenarios. Each is a file of its own with its options, which are its state on both sides: what the conductor asks of
//! the workers ([`Scenario::conduct`]), and what a worker's clients do ([`Scenario::play`]). To add one, write the file and
//! name it in [`Choice`].

mod churn;
mod echo;
mod fanout;
pub mod floor;
mod idle;
mod joining;
mod signal;
mod slow;
mod storm;
mod timetable;

use clap::Subcommand;
use serde::{Deserialize, Serialize};

use crate::client::Dialect;
use crate::conductor::Conductor;
use crate::deal::Crowd;
use crate::mark;
use crate::options::Common;
use crate::play::Play;
use crate::report::Report;
use crate::target::Target;
use crate::vocabulary::Vocabulary;
use crate::words::Setup;

/// A scenario's options, and with them all that is known before a run.
pub trait Scenario {
    /// The clients it takes; or what is wrong with the options, or with what clients are to speak.
    fn crowd(&self, words: &Vocabulary) -> Result<Crowd, String>;

    /// What the clients of one worker do.
    fn play(&self, setup: &Setup) -> Box<dyn Play>;

    /// Has the workers do it once, and reports what came of it.
    fn conduct(&self, conductor: &mut Conductor) -> Result<Vec<Report>, String>;

    /// What is spoken when the user asks for this.
    fn dialect(&self, asked: Dialect) -> Dialect {
        asked
    }

    /// Whether connections are bare: nothing is spoken on them but what the scenario writes.
    fn is_bare(&self) -> bool {
        false
    }

    /// What to measure alternately with it, so that a run can be quoted as a fraction: the floor of what was reported.
    fn floor(&self, _words: &Vocabulary, _report: &Report) -> Option<floor::Floor> {
        None
    }

    /// The server to put load on: one that runs, or one that is started.
    fn target(&self, common: &Common) -> Result<Target, String> {
        match common.target {
            Some(address) => Ok(Target::running(address, common.pid, common.secret.clone())),
            None => {
                Target::start_all(common.servers, &common.binary(), common.shards, &common.set, common.data.as_deref())
            }
        }
    }
}

/// Which scenario, with its options.
#[derive(Clone, Debug, Subcommand, Serialize, Deserialize)]
pub enum Choice {
    /// Memory of idle connections: upgraded, then in rooms
    Idle(idle::Idle),
    /// Messages to the server and back, so many under way on each connection
    Echo(echo::Echo),
    /// One message to many: rooms × members, so many messages under way or at a fixed rate
    Fanout(fanout::Fanout),
    /// WebRTC signaling from peer to peer: pairs, or meetings as they are made
    Signal(signal::Signal),
    /// Connections that come and go while others stay
    Churn(churn::Churn),
    /// All come at once, are cut off, come back at once and go: how fast, and what memory stays
    Storm(storm::Storm),
    /// One message to many, of whom some stop reading for a while
    Slow(slow::Slow),
    /// What the kernel allows: plain sends of the same bytes to as many sockets, or reads and writes between pairs
    Floor(floor::Floor),
}

impl Choice {
    /// The scenario.
    pub fn scenario(&self) -> &dyn Scenario {
        match self {
            Self::Idle(idle) => idle,
            Self::Echo(echo) => echo,
            Self::Fanout(fanout) => fanout,
            Self::Signal(signal) => signal,
            Self::Churn(churn) => churn,
            Self::Storm(storm) => storm,
            Self::Slow(slow) => slow,
            Self::Floor(floor) => floor,
        }
    }
}

/// There are rooms.
fn check_rooms(words: &Vocabulary) -> Result<(), String> {
    if words.has_rooms() { Ok(()) } else { Err("there are no rooms to join in what clients speak".to_owned()) }
}

/// Content has room for its mark.
fn check_bytes(bytes: usize) -> Result<(), String> {
    if bytes >= mark::LENGTH { Ok(()) } else { Err(format!("content has at least {} bytes", mark::LENGTH)) }
}
