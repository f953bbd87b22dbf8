//! What the benches share: requests as clients write them, a shard as the server makes it, and what memory it takes.

#![allow(dead_code, reason = "each bench uses its part")]

use std::time::Duration;

use criterion::Criterion;

pub(crate) mod frames;
pub(crate) mod memory;
pub(crate) mod requests;
pub(crate) mod stage;

/// Criterion, a second or so for each figure: there are many, and what is looked for are factors, not percents.
pub(crate) fn brief() -> Criterion {
    Criterion::default().warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1))
}
