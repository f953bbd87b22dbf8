//! Pending acknowledgements of events, in one namespace.

use std::collections::VecDeque;

/// Maximum of pending acknowledgements; beyond it the oldest one is dropped.
pub const ACKS_MAX: usize = 64;

/// Allocator of ack ids, without an allocation until the first one.
#[derive(Debug, Default)]
pub(super) struct Acks(Option<Box<Numbers>>);

#[derive(Debug, Default)]
struct Numbers {
    next: u64,
    /// Pending ids, ascending.
    awaited: VecDeque<u64>,
}

impl Acks {
    /// Allocates the next id.
    pub(super) fn ask(&mut self) -> u64 {
        let numbers = self.0.get_or_insert_default();
        let id = numbers.next;
        numbers.next += 1;
        if numbers.awaited.len() == ACKS_MAX {
            numbers.awaited.pop_front();
        }
        numbers.awaited.push_back(id);
        debug_assert!(numbers.awaited.len() <= ACKS_MAX, "invariant: pending acks are bounded");
        id
    }

    /// Removes a pending id; `None` when it is unknown or no longer pending.
    pub(super) fn take(&mut self, id: u64) -> Option<u64> {
        let numbers = self.0.as_mut()?;
        let at = numbers.awaited.iter().position(|awaited| *awaited == id)?;
        numbers.awaited.remove(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_comes_back_once() {
        let mut acks = Acks::default();
        assert_eq!(acks.take(0), None);
        assert_eq!([acks.ask(), acks.ask(), acks.ask()], [0, 1, 2]);
        assert_eq!([1, 1, 0, 2, 3].map(|id| acks.take(id)), [Some(1), None, Some(0), Some(2), None]);
        assert_eq!(acks.ask(), 3);
    }

    #[test]
    fn who_never_answers_is_not_waited_for() {
        let mut acks = Acks::default();
        for id in 0..1_000 {
            assert_eq!(acks.ask(), id);
        }
        let oldest = 1_000 - ACKS_MAX as u64;
        assert_eq!([oldest - 1, oldest, 999].map(|id| acks.take(id)), [None, Some(oldest), Some(999)]);
    }
}
