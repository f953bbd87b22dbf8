//! For the benches: requests as clients write them, a shard without an event loop, and memory measurements.

use std::time::Duration;

use criterion::Criterion;

pub mod memory;
pub mod requests;
pub mod shard;

/// Criterion with about a second for each figure: there are many, and factors matter, not percents.
pub fn brief() -> Criterion {
    Criterion::default().warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1))
}
