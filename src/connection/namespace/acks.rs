//! The events that a client is asked to acknowledge, in one namespace.

use std::collections::VecDeque;

/// Acks that may be awaited at once; beyond them the oldest is no longer awaited.
pub const ACKS_MAX: usize = 64;

/// Numbers given out, and those that have not come back. Nothing until the first one.
#[derive(Debug, Default)]
pub(super) struct Acks(Option<Box<Numbers>>);

#[derive(Debug, Default)]
struct Numbers {
    next: u64,
    /// In order.
    awaited: VecDeque<u64>,
}

impl Acks {
    /// The next number.
    pub(super) fn ask(&mut self) -> u64 {
        let numbers = self.0.get_or_insert_default();
        let id = numbers.next;
        numbers.next += 1;
        if numbers.awaited.len() == ACKS_MAX {
            numbers.awaited.pop_front();
        }
        numbers.awaited.push_back(id);
        id
    }

    /// Takes a number back; whether it was awaited.
    pub(super) fn take(&mut self, id: u64) -> bool {
        let Some(numbers) = &mut self.0 else { return false };
        let Some(at) = numbers.awaited.iter().position(|awaited| *awaited == id) else { return false };
        numbers.awaited.remove(at);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_comes_back_once() {
        let mut acks = Acks::default();
        assert!(!acks.take(0));
        assert_eq!([acks.ask(), acks.ask(), acks.ask()], [0, 1, 2]);
        assert!(acks.take(1) && !acks.take(1) && acks.take(0) && acks.take(2) && !acks.take(3));
        assert_eq!(acks.ask(), 3);
    }

    #[test]
    fn who_never_answers_is_not_waited_for() {
        let mut acks = Acks::default();
        for id in 0..1_000 {
            assert_eq!(acks.ask(), id);
        }
        let oldest = 1_000 - ACKS_MAX as u64;
        assert!(!acks.take(oldest - 1) && acks.take(oldest) && acks.take(999));
    }
}
