//! Scatter/gather: collects the parts of a request that was sent to several owners, and merges them into one result.
//!
//! A failed part is left out as long as another part, or the initial value, is there; if every part failed, the last
//! failure is the result. A `Gather` has no deadline of its own: the caller feeds a failure for each part that is overdue.

/// The parts of one request: how many are awaited, and those that have arrived, merged.
#[derive(Debug)]
pub struct Gather<T> {
    awaited: usize,
    merged: Option<T>,
}

impl<T> Gather<T> {
    /// Awaits `awaited` parts, at least one.
    pub fn new(awaited: usize) -> Self {
        assert!(awaited > 0, "invariant: a gather awaits at least one part");
        Self { awaited, merged: None }
    }

    /// Awaits `awaited` parts, at least one, and merges them into `initial`.
    pub fn into_initial(awaited: usize, initial: T) -> Self {
        Self { merged: Some(initial), ..Self::new(awaited) }
    }

    /// Adds one part. Returns the whole with the last one.
    ///
    /// # Panics
    /// All parts have arrived before. The caller must not pass on a part twice.
    pub fn add<E>(&mut self, part: Result<T, E>, merge: impl FnOnce(&mut T, T)) -> Option<Result<T, E>> {
        assert!(self.awaited > 0, "invariant: a gather is fed no more parts than it awaits");
        self.awaited -= 1;
        let failure = match (&mut self.merged, part) {
            (Some(merged), Ok(part)) => {
                merge(merged, part);
                None
            }
            (None, Ok(part)) => {
                self.merged = Some(part);
                None
            }
            (_, Err(failure)) => Some(failure),
        };
        if self.awaited > 0 {
            return None;
        }
        match (self.merged.take(), failure) {
            (Some(whole), _) => Some(Ok(whole)),
            (None, Some(failure)) => Some(Err(failure)),
            (None, None) => unreachable!("invariant: the last part is either merged or a failure"),
        }
    }

    /// Parts that have not arrived.
    pub fn awaited(&self) -> usize {
        self.awaited
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(gather: &mut Gather<Vec<u8>>, part: Result<Vec<u8>, &'static str>) -> Option<Result<Vec<u8>, &'static str>> {
        gather.add(part, |all, part| all.extend(part))
    }

    #[test]
    fn gather_last_part_returns_whole_in_order_of_arrival() {
        let mut gather = Gather::new(3);
        assert_eq!(add(&mut gather, Ok(vec![1])), None);
        assert_eq!(add(&mut gather, Ok(vec![2, 3])), None);
        assert_eq!(gather.awaited(), 1);
        assert_eq!(add(&mut gather, Ok(vec![])), Some(Ok(vec![1, 2, 3])));
    }

    #[test]
    fn gather_failed_part_is_left_out() {
        for failed in 0..3 {
            let mut gather = Gather::new(3);
            let part = |n: u8| if n == failed { Err("gone") } else { Ok(vec![n]) };
            let whole = (0..3).find_map(|n| add(&mut gather, part(n)));
            assert_eq!(whole.map(|whole| whole.map(|whole| whole.len())), Some(Ok(2)));
        }
    }

    #[test]
    fn gather_only_failures_returns_last_failure() {
        let mut gather = Gather::new(2);
        assert_eq!(add(&mut gather, Err("first")), None);
        assert_eq!(add(&mut gather, Err("last")), Some(Err("last")));
    }

    #[test]
    fn gather_initial_value_survives_failures() {
        let mut gather = Gather::into_initial(1, vec![7]);
        assert_eq!(add(&mut gather, Err("gone")), Some(Ok(vec![7])));
    }

    #[test]
    #[should_panic(expected = "no more parts than it awaits")]
    fn gather_part_too_many_panics() {
        let mut gather = Gather::new(1);
        add(&mut gather, Ok(vec![]));
        add(&mut gather, Ok(vec![]));
    }
}
