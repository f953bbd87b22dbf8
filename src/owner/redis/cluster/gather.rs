//! Scatter/gather: the partial results of a query until all sources have answered.

use std::collections::BTreeSet;

/// Partial results of one query, from sources with numbers.
pub(super) struct Gather<T> {
    /// Sources without an answer.
    awaited: BTreeSet<u16>,
    parts: Vec<T>,
    /// Time of the query, in monotonic milliseconds.
    pub(super) since: u64,
}

impl<T> Gather<T> {
    /// Waits for these sources.
    pub(super) fn new(since: u64, sources: BTreeSet<u16>) -> Self {
        Self { awaited: sources, parts: Vec::new(), since }
    }

    /// Takes the answer of a source, if it is awaited; whether that was the last one.
    pub(super) fn accept(&mut self, source: u16, part: T) -> bool {
        self.awaited.remove(&source) && self.accept_part(part)
    }

    /// Takes the answer of any awaited source; whether that was the last one.
    pub(super) fn accept_any(&mut self, part: T) -> bool {
        self.awaited.pop_first().is_some() && self.accept_part(part)
    }

    fn accept_part(&mut self, part: T) -> bool {
        self.parts.push(part);
        self.awaited.is_empty()
    }

    /// Adds a part from outside the awaited sources.
    pub(super) fn add(&mut self, part: T) {
        self.parts.push(part);
    }

    /// Stops waiting.
    pub(super) fn close(&mut self) {
        self.awaited.clear();
    }

    pub(super) fn parts(&self) -> &[T] {
        &self.parts
    }

    pub(super) fn into_parts(self) -> Vec<T> {
        self.parts
    }

    /// Whether the query is this old, in milliseconds.
    pub(super) fn is_older(&self, now_ms: u64, age_ms: u64) -> bool {
        now_ms.saturating_sub(self.since) >= age_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gather_accepts_each_source_once() {
        let mut gather = Gather::new(0, BTreeSet::from([1, 2]));
        assert!(!gather.accept(2, "b"));
        assert!(!gather.accept(2, "b again") && !gather.accept(3, "unknown"));
        gather.add("extra");
        assert!(gather.accept(1, "a"));
        assert_eq!(gather.into_parts(), ["b", "extra", "a"]);
    }

    #[test]
    fn gather_of_any_sources_counts_them() {
        let mut gather = Gather::new(0, BTreeSet::from([0, 1]));
        assert!(!gather.accept_any(1) && gather.accept_any(2) && !gather.accept_any(3));
        assert_eq!(gather.parts(), [1, 2]);
    }
}
