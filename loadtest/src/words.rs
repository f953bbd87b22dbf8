//! What the conductor and its workers say to each other: JSON, one line each, over the worker's standard input and
//! output.

use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::client::Settings;
use crate::scenario::Choice;
use crate::tally::{Counts, Tally};
use crate::vocabulary::{Vocabulary, Words};

/// All that a worker has to know, as its first line.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Setup {
    /// What to play.
    pub choice: Choice,
    /// The worker's part of it.
    pub share: Share,
    /// The servers, over which clients are spread.
    pub servers: Vec<SocketAddr>,
    /// What all clients have in common.
    pub client: Settings,
    /// What the application calls things.
    pub words: Words,
    /// Whether connections are bare instead: bytes are handed on as they come.
    pub is_bare: bool,
    /// Signs the clients' tokens; without it they are guests.
    pub secret: Option<String>,
    /// How long nothing may happen before a phase is given up.
    pub patience: Duration,
}

impl Setup {
    /// What scenarios say, and how it is answered.
    pub fn vocabulary(&self) -> Vocabulary {
        Vocabulary::new(self.client.dialect, &self.words)
    }

    /// The server of the client of this number among those of all workers. Neighbours, who share a room, are spread as
    /// well as those who come first in theirs.
    pub fn server_of(&self, number: usize) -> SocketAddr {
        let all = self.servers.len();
        self.servers[(number + number / all) % all]
    }
}

/// A worker's part of all clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// Workers there are.
    pub workers: usize,
    /// The number of this worker's first client among those of all workers.
    pub first: usize,
    /// Clients of this worker.
    pub clients: usize,
    /// How many of them may be half open at once.
    pub opening_max: usize,
}

/// Says the conductor.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Command {
    /// Who the worker is.
    Setup(Box<Setup>),
    /// Begin this; say [`Answer::Ready`] when it is done.
    Begin(Phase),
    /// Say what the counts are now; a fresh mark also begins the measurement of durations.
    Mark {
        /// Whether durations so far are forgotten.
        is_fresh: bool,
    },
    /// Say everything.
    Tally,
    /// End.
    Quit,
}

/// What the workers do, all at the same time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// Open all clients.
    Open,
    /// Do what comes before the load, such as joining rooms.
    Prepare,
    /// Begin to send, and go on.
    Go,
    /// Send no more.
    Stop,
    /// Wait for what is under way. A client must have so many messages of its stream in the end; done is it when all
    /// came, or nothing more does.
    Drain {
        /// Messages that each stream was sent, by the stream's number.
        sent: Vec<u64>,
    },
    /// Those clients stop reading that are to stall.
    Stall,
    /// They read again.
    Resume,
    /// Close all clients.
    Close,
}

impl Phase {
    /// What is done in it, for the progress bar and for errors.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Open => "opening",
            Self::Prepare => "preparing",
            Self::Go => "starting",
            Self::Stop => "stopping",
            Self::Drain { .. } => "draining",
            Self::Stall => "stalling",
            Self::Resume => "resuming",
            Self::Close => "closing",
        }
    }
}

/// Says a worker.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Answer {
    /// The phase is done.
    Ready,
    /// The phase is so far.
    Progress {
        /// What is done.
        done: u64,
        /// What there is to do.
        total: u64,
    },
    /// Counts at a mark.
    Counts(Counts),
    /// Everything that was counted.
    Tally(Box<Tally>),
    /// The worker gives up.
    Failed(String),
}
