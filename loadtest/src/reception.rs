//! What a worker's clients received: one ledger per client, how long deliveries took, and what was wrong with them.

use crate::ledger::{Arrival, Ledger};
use crate::mark;
use crate::play::Stage;
use crate::tally::{Counts, Durations, Tally};

/// With more receivers than this, one delivery of sixteen is timed; it is the same distribution for a sixteenth of the
/// work.
const TIMED_ALL_MAX: usize = 64;

/// The deliveries of all clients of a worker, each of which receives one stream.
pub struct Reception {
    ledgers: Vec<Ledger>,
    /// Clients that are closed.
    gone: Vec<bool>,
    /// Bytes each message's content must have.
    content_bytes: usize,
    deliveries: u64,
    bytes: u64,
    doubled: u64,
    out_of_order: u64,
    damaged: u64,
    latency: Durations,
    timing: Timing,
}

impl Reception {
    /// For so many clients; messages have content of so many bytes, and go to so many receivers each.
    pub fn new(clients: usize, content_bytes: usize, receivers: usize) -> Self {
        Self {
            ledgers: (0..clients).map(|_| Ledger::default()).collect(),
            gone: vec![false; clients],
            content_bytes,
            deliveries: 0,
            bytes: 0,
            doubled: 0,
            out_of_order: 0,
            damaged: 0,
            latency: Durations::default(),
            timing: Timing::new(receivers),
        }
    }

    /// Enters what came to a client: content, in a message of so many bytes. The message's number, if it is one that
    /// the client did not have.
    pub fn enter(&mut self, client: usize, content: &[u8], bytes: usize, stage: &mut Stage) -> Option<u64> {
        let Some(mark) = mark::read(content).filter(|_| content.len() == self.content_bytes) else {
            self.damaged += 1;
            return None;
        };
        match self.ledgers[client].enter(mark.seq) {
            Arrival::New => {}
            Arrival::Late => self.out_of_order += 1,
            Arrival::Doubled => {
                self.doubled += 1;
                return None;
            }
        }
        self.deliveries += 1;
        self.bytes += bytes as u64;
        if self.timing.is_due()
            && let Some(sent) = mark.sent_ns()
        {
            self.latency.record(stage.received_ns().saturating_sub(sent));
        }
        Some(mark.seq)
    }

    /// Forgets how long deliveries took so far.
    pub fn restart(&mut self) {
        self.latency.clear();
    }

    /// A client is closed: nothing more will come to it.
    pub fn close(&mut self, client: usize) {
        self.gone[client] = true;
    }

    /// How much of what can still come has come, when each client was sent so many messages.
    pub fn progress(&self, sent: impl Fn(usize) -> u64) -> (u64, u64) {
        let there = (0..self.ledgers.len()).filter(|client| !self.gone[*client]);
        there.fold((0, 0), |(done, total), client| {
            let sent = sent(client);
            (done + sent - self.ledgers[client].missing(sent), total + sent)
        })
    }

    /// Distinct deliveries so far, and their bytes.
    pub fn counts(&self) -> Counts {
        [("deliveries".to_owned(), self.deliveries), ("bytes".to_owned(), self.bytes)].into()
    }

    /// All that is known; each client was sent so many messages.
    pub fn tally(&self, sent: impl Fn(usize) -> u64) -> Tally {
        let missing = self.ledgers.iter().enumerate().map(|(client, ledger)| ledger.missing(sent(client))).sum();
        let faults = [
            ("missing", missing),
            ("doubled", self.doubled),
            ("out_of_order", self.out_of_order),
            ("damaged", self.damaged),
        ];
        Tally {
            counts: self.counts(),
            faults: faults.map(|(name, count)| (name.to_owned(), count)).into(),
            durations: [("latency".to_owned(), self.latency.clone())].into(),
            ..Tally::default()
        }
    }
}

/// Chooses the deliveries to be timed. The gaps are random: with a fixed gap, and a window that divides it, it would
/// always be the same message of a read.
struct Timing {
    left: u32,
    /// The longest gap; 1 times everything.
    gap_max: u32,
    random: u32,
}

impl Timing {
    fn new(receivers: usize) -> Self {
        Self { left: 1, gap_max: if receivers <= TIMED_ALL_MAX { 1 } else { 31 }, random: 0x9e37_79b9 }
    }

    fn is_due(&mut self) -> bool {
        self.left -= 1;
        if self.left > 0 {
            return false;
        }
        // xorshift
        self.random ^= self.random << 13;
        self.random ^= self.random >> 17;
        self.random ^= self.random << 5;
        self.left = 1 + self.random % self.gap_max;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(seq: u64) -> Vec<u8> {
        let mut content = Vec::new();
        mark::write(&mut content, seq, mark::now_ns(), 40);
        content
    }

    #[test]
    fn each_fault_is_counted_as_what_it_is() {
        let (mut reception, mut stage) = (Reception::new(2, 40, 2), Stage::default());
        for (seq, new) in [(1, true), (3, true), (2, true), (3, false)] {
            assert_eq!(reception.enter(0, &content(seq), 50, &mut stage).is_some(), new, "{seq}");
        }
        assert_eq!(reception.enter(0, &content(4)[..39], 50, &mut stage), None);
        let tally = reception.tally(|_| 4);
        let expected = [("missing", 1 + 4), ("doubled", 1), ("out_of_order", 1), ("damaged", 1)];
        assert_eq!(tally.faults, expected.map(|(name, count)| (name.to_owned(), count)).into());
        assert_eq!((tally.counts["deliveries"], tally.counts["bytes"]), (3, 150));
        assert_eq!(reception.progress(|_| 4), (3, 8));
        reception.close(1);
        assert_eq!(reception.progress(|_| 4), (3, 4));
    }

    #[test]
    fn one_of_sixteen_is_timed_wherever_it_stands_in_a_read() {
        let mut timing = Timing::new(1000);
        let mut places = [0; 16];
        for delivery in 0..160_000 {
            places[delivery % 16] += usize::from(timing.is_due());
        }
        assert!((9_000..11_000).contains(&places.iter().sum::<usize>()), "{places:?}");
        assert!(places.iter().all(|count| (400..900).contains(count)), "{places:?}");
        let mut all = Timing::new(TIMED_ALL_MAX);
        assert!((0..100).all(|_| all.is_due()));
    }
}
