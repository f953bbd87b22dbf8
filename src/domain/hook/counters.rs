//! Figures of the delivery to one endpoint. The threads that deliver write them; any shard reads them for its metrics.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Figures of one endpoint.
#[derive(Debug, Default)]
pub struct HookCounters {
    /// The endpoint's name.
    pub endpoint: Box<str>,
    waiting: AtomicU64,
    waiting_bytes: AtomicU64,
    dead_letters: AtomicU64,
    dropped: AtomicU64,
    delivered: AtomicU64,
    dead: AtomicU64,
    accepted: AtomicU64,
    failed: AtomicU64,
    is_open: AtomicBool,
}

/// One reading of [`HookCounters`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HookFigures {
    /// The endpoint's name.
    pub endpoint: Box<str>,
    /// Events that wait for delivery, and their bytes.
    pub waiting: (u64, u64),
    /// Events that were given up and are kept.
    pub dead_letters: u64,
    /// Events that were not stored, because too much waited.
    pub dropped: u64,
    /// Events that were delivered.
    pub delivered: u64,
    /// Events that were given up.
    pub dead: u64,
    /// Requests that were accepted.
    pub accepted: u64,
    /// Requests that failed.
    pub failed: u64,
    /// Whether the breaker is open.
    pub is_open: bool,
}

impl HookCounters {
    /// Counters of an endpoint, all zero.
    pub fn new(endpoint: &str) -> Self {
        Self { endpoint: endpoint.into(), ..Self::default() }
    }

    /// Sets the number of waiting events, their bytes, and the number of dead letters.
    pub fn set_stored(&self, events: u64, bytes: u64, dead_letters: u64) {
        self.dead_letters.store(dead_letters, Ordering::Relaxed);
        self.waiting.store(events, Ordering::Relaxed);
        self.waiting_bytes.store(bytes, Ordering::Relaxed);
    }

    /// Counts an event that was not stored; returns how many there were before.
    pub fn add_dropped(&self) -> u64 {
        self.dropped.fetch_add(1, Ordering::Relaxed)
    }

    /// Counts events that were given up.
    pub fn add_dead(&self, events: u64) {
        self.dead.fetch_add(events, Ordering::Relaxed);
    }

    /// Counts an accepted request with so many events.
    pub fn add_accepted(&self, events: u64) {
        self.accepted.fetch_add(1, Ordering::Relaxed);
        self.delivered.fetch_add(events, Ordering::Relaxed);
    }

    /// Counts a failed request.
    pub fn add_failed(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }

    /// Sets whether the breaker is open.
    pub fn set_open(&self, is_open: bool) {
        self.is_open.store(is_open, Ordering::Relaxed);
    }

    /// The present figures.
    pub fn read(&self) -> HookFigures {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        HookFigures {
            endpoint: self.endpoint.clone(),
            waiting: (of(&self.waiting), of(&self.waiting_bytes)),
            dead_letters: of(&self.dead_letters),
            dropped: of(&self.dropped),
            delivered: of(&self.delivered),
            dead: of(&self.dead),
            accepted: of(&self.accepted),
            failed: of(&self.failed),
            is_open: self.is_open.load(Ordering::Relaxed),
        }
    }
}
