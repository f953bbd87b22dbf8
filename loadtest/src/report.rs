//! What runs found out, and how it is shown.
//!
//! A scenario fills a [`Report`] for each run: named numbers, counts that must be zero, what went on over time, and how
//! latencies are spread. All runs of one call of the program are a [`Sitting`], which is printed, written as JSON and read
//! back. One sitting makes a page of HTML; so do two, side by side.

mod command;
mod comparison;
mod figures;
mod output;
mod page;
mod plot;
mod scale;
mod sitting;
mod summary;
mod terminal;
mod units;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use command::{Command, compare};
pub use output::Output;
pub use sitting::Sitting;

/// One run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// The scenario, with what matters of its options.
    pub scenario: String,
    /// Measurements, by name; the name ends in the unit.
    pub numbers: BTreeMap<String, f64>,
    /// Missing, doubled and out-of-order deliveries, and connections lost.
    pub faults: BTreeMap<String, u64>,
    /// Why the first client was closed that should not have been.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why_closed: Option<String>,
    /// What went on over time, by name, which ends in the unit: seconds since the start, and the value then.
    #[serde(default)]
    pub series: BTreeMap<String, Vec<[f64; 2]>>,
    /// How latencies are spread, by name: a percentile, 0 to 100, and the microseconds within which so many were.
    #[serde(default)]
    pub percentiles: BTreeMap<String, Vec<[f64; 2]>>,
}

impl Report {
    /// An empty report.
    pub fn new(scenario: &str) -> Self {
        Self {
            scenario: scenario.to_owned(),
            numbers: BTreeMap::new(),
            faults: BTreeMap::new(),
            why_closed: None,
            series: BTreeMap::new(),
            percentiles: BTreeMap::new(),
        }
    }

    /// Adds a measurement.
    pub fn number(&mut self, name: &str, value: f64) {
        self.numbers.insert(name.to_owned(), value);
    }

    /// Adds a count that must be zero.
    pub fn count(&mut self, name: &str, value: u64) {
        self.faults.insert(name.to_owned(), value);
    }

    /// Whether nothing was missing, doubled or lost.
    pub fn is_exact(&self) -> bool {
        self.faults.values().all(|count| *count == 0)
    }
}
