//! What a scenario's worker half is: it hears what happens to its clients, and says what they do.

use std::ops::Range;

use crate::mark;
use crate::tally::{Counts, Tally};
use crate::words::Phase;

/// A scenario as one worker plays it. Clients are numbered from 0 in each worker.
pub trait Play {
    /// The conductor begins a phase. `Open` and `Close` are the worker's own: it opens and closes all clients.
    fn begin(&mut self, phase: &Phase, stage: &mut Stage);

    /// How much of what the phase asks for is done, of how much. Asked every few milliseconds while a phase is under
    /// way, which ends when both are equal.
    fn progress(&self) -> (u64, u64);

    /// A client is connected and may send.
    fn opened(&mut self, _client: usize, _stage: &mut Stage) {}

    /// A message came to a client.
    fn message(&mut self, client: usize, text: &[u8], stage: &mut Stage);

    /// A client was closed by the server or the network, or could not be opened.
    fn closed(&mut self, _client: usize, _stage: &mut Stage) {}

    /// Whether the scenario itself says which clients should not have been closed; otherwise none should.
    fn judges_closed(&self) -> bool {
        false
    }

    /// Bytes that a client's socket may hold unread, if not as many as the kernel likes.
    fn receive_bytes(&self, _client: usize) -> Option<usize> {
        None
    }

    /// Called in each turn; gives the time at which it must be called again at the latest, in nanoseconds since 1970.
    fn tick(&mut self, _stage: &mut Stage) -> Option<u64> {
        None
    }

    /// Durations are recorded from now on; those so far were of the warm-up.
    fn restart(&mut self) {}

    /// Counts so far. `deliveries` and `bytes` are quoted per second.
    fn counts(&self) -> Counts;

    /// Everything that was counted.
    fn tally(&self) -> Tally;
}

/// What a scenario's clients do: acts are noted while something that came is looked at, and carried out right after.
#[derive(Default)]
pub struct Stage {
    acts: Vec<Act>,
    /// The texts to be sent, one after the other.
    texts: Vec<u8>,
    received_ns: Option<u64>,
    /// Bytes that the kernel has not taken yet, of all clients.
    pub(crate) unsent_bytes: usize,
}

/// Something a client does.
pub(crate) enum Act {
    Send(usize, Range<usize>),
    Open(usize),
    Close(usize),
    Leave(usize),
    Pause(usize),
    Resume(usize),
}

impl Stage {
    /// Sends text from a client.
    pub fn send(&mut self, client: usize, text: &[u8]) {
        self.write(client, |out| out.extend_from_slice(text));
    }

    /// Sends the text that `write` appends.
    pub fn write(&mut self, client: usize, write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.texts.len();
        write(&mut self.texts);
        self.acts.push(Act::Send(client, start..self.texts.len()));
    }

    /// Opens a client that is not open, as soon as not too many others are being opened.
    pub fn open(&mut self, client: usize) {
        self.acts.push(Act::Open(client));
    }

    /// Closes a client, without a word to the server.
    pub fn close(&mut self, client: usize) {
        self.acts.push(Act::Close(client));
    }

    /// Has a client say goodbye, by a close frame or what the transport has for it; it is closed when the server has ended
    /// the connection, or has answered.
    pub fn leave(&mut self, client: usize) {
        self.acts.push(Act::Leave(client));
    }

    /// Stops reading what comes to a client.
    pub fn pause(&mut self, client: usize) {
        self.acts.push(Act::Pause(client));
    }

    /// Reads on.
    pub fn resume(&mut self, client: usize) {
        self.acts.push(Act::Resume(client));
    }

    /// When that came which is looked at, in nanoseconds since 1970. The clock is read once per read.
    pub fn received_ns(&mut self) -> u64 {
        *self.received_ns.get_or_insert_with(mark::now_ns)
    }

    /// Bytes that wait to be sent because the server does not take them.
    pub fn unsent_bytes(&self) -> usize {
        self.unsent_bytes
    }

    /// Something new came.
    pub(crate) fn received(&mut self) {
        self.received_ns = None;
    }

    /// What is to be done, with the texts; [`Stage::give_back`] returns the space.
    pub(crate) fn take(&mut self) -> Option<(Vec<Act>, Vec<u8>)> {
        if self.acts.is_empty() {
            return None;
        }
        Some((std::mem::take(&mut self.acts), std::mem::take(&mut self.texts)))
    }

    /// Keeps the space of what was carried out, unless there is something new already.
    pub(crate) fn give_back(&mut self, mut acts: Vec<Act>, mut texts: Vec<u8>) {
        acts.clear();
        texts.clear();
        if self.acts.is_empty() {
            (self.acts, self.texts) = (acts, texts);
        }
    }
}
