//! What one receiver has of one stream of numbered messages: exact to the message, in 16 bytes while nothing is wrong.

/// Holes that are remembered one by one; what an older hole lacked is missing for good.
const HOLES_MAX: usize = 1024;

/// What one receiver has of a stream that is numbered from 1.
#[derive(Default)]
pub struct Ledger {
    /// The highest number that came.
    last: u64,
    holes: Option<Box<Holes>>,
}

/// Numbers below the highest that have not come.
#[derive(Default)]
struct Holes {
    /// First and last number of each hole, in order.
    ranges: Vec<(u64, u64)>,
    /// Numbers in holes that are no longer remembered.
    forgotten: u64,
}

/// How a message came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// For the first time, after all that came so far.
    New,
    /// For the first time, but after one with a higher number.
    Late,
    /// Again.
    Doubled,
}

impl Ledger {
    /// Enters a message.
    pub fn enter(&mut self, seq: u64) -> Arrival {
        if seq == self.last + 1 {
            self.last = seq;
            return Arrival::New;
        }
        if seq > self.last {
            self.holes.get_or_insert_default().add(self.last + 1, seq - 1);
            self.last = seq;
            return Arrival::New;
        }
        let is_late = self.holes.as_mut().is_some_and(|holes| holes.fill(seq));
        if is_late { Arrival::Late } else { Arrival::Doubled }
    }

    /// How many of the first `sent` messages have not come.
    pub fn missing(&self, sent: u64) -> u64 {
        let holes = self.holes.as_ref().map_or(0, |holes| holes.size());
        (sent.saturating_sub(self.last) + holes).min(sent)
    }
}

impl Holes {
    fn add(&mut self, first: u64, last: u64) {
        if self.ranges.len() == HOLES_MAX {
            let (first, last) = self.ranges.remove(0);
            self.forgotten += last - first + 1;
        }
        self.ranges.push((first, last));
    }

    /// Takes a number out of the hole it is in; whether there was one.
    fn fill(&mut self, seq: u64) -> bool {
        let at = self.ranges.partition_point(|(_, last)| *last < seq);
        let Some((first, last)) = self.ranges.get(at).copied().filter(|(first, _)| *first <= seq) else { return false };
        let left = [(first, seq.wrapping_sub(1)), (seq + 1, last)];
        self.ranges.splice(at..=at, left.into_iter().filter(|(first, last)| first <= last));
        true
    }

    fn size(&self) -> u64 {
        self.forgotten + self.ranges.iter().map(|(first, last)| last - first + 1).sum::<u64>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn enter(numbers: &[u64]) -> (Ledger, Vec<Arrival>) {
        let mut ledger = Ledger::default();
        let arrivals = numbers.iter().map(|seq| ledger.enter(*seq)).collect();
        (ledger, arrivals)
    }

    #[test]
    fn in_order_nothing_is_missing() {
        let (ledger, arrivals) = enter(&[1, 2, 3]);
        assert_eq!(arrivals, [Arrival::New; 3]);
        assert_eq!((ledger.missing(3), ledger.missing(5)), (0, 2));
    }

    #[test]
    fn late_is_not_doubled_and_doubled_is_not_late() {
        let (ledger, arrivals) = enter(&[1, 4, 3, 3, 2, 4, 1]);
        use Arrival::{Doubled, Late, New};
        assert_eq!(arrivals, [New, New, Late, Doubled, Late, Doubled, Doubled]);
        assert_eq!(ledger.missing(4), 0);
    }

    #[test]
    fn a_hole_is_missing_until_it_is_filled() {
        let (mut ledger, _) = enter(&[2, 6]);
        assert_eq!(ledger.missing(6), 4);
        assert_eq!(ledger.enter(4), Arrival::Late);
        assert_eq!(ledger.missing(7), 4);
    }

    #[test]
    fn holes_are_counted_even_when_there_are_too_many_to_remember() {
        let mut ledger = Ledger::default();
        let pairs = HOLES_MAX as u64 + 10;
        for seq in 1..=pairs {
            ledger.enter(2 * seq);
        }
        assert_eq!(ledger.missing(2 * pairs), pairs);
        assert_eq!(ledger.enter(1), Arrival::Doubled);
        assert_eq!(ledger.enter(2 * pairs - 1), Arrival::Late);
    }
}
