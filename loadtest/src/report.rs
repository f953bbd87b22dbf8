//! What a run found out: named numbers, counts that must be zero, and medians over runs.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// One run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// The scenario, with what matters of its options.
    pub scenario: String,
    /// Measurements, by name; the name ends in the unit.
    pub numbers: BTreeMap<String, f64>,
    /// Missing, doubled and out-of-order deliveries, and connections lost.
    pub faults: BTreeMap<String, u64>,
    /// What changed over the run, by name: seconds since the measurement began, and the value.
    pub series: BTreeMap<String, Vec<[f64; 2]>>,
    /// Distributions, by name: a percentile, and the microseconds that it does not exceed.
    pub percentiles: BTreeMap<String, Vec<[f64; 2]>>,
}

impl Report {
    /// An empty report.
    pub fn new(scenario: &str) -> Self {
        Self {
            scenario: scenario.to_owned(),
            numbers: BTreeMap::new(),
            faults: BTreeMap::new(),
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

/// Prints the medians of runs of the same scenario.
pub fn print(reports: &[Report]) {
    let mut groups: Vec<(&str, Vec<&Report>)> = Vec::new();
    for report in reports {
        match groups.iter_mut().find(|(scenario, _)| *scenario == report.scenario) {
            Some((_, group)) => group.push(report),
            None => groups.push((&report.scenario, vec![report])),
        }
    }
    for (scenario, group) in groups {
        println!("{scenario}: median of {} (least – most)", group.len());
        for name in group[0].numbers.keys() {
            let mut values: Vec<f64> = group.iter().filter_map(|report| report.numbers.get(name).copied()).collect();
            values.sort_by(f64::total_cmp);
            let (least, most) = (values[0], values[values.len() - 1]);
            println!("  {name:<28} {:>14.2}   ({least:.2} – {most:.2})", values[values.len() / 2]);
        }
        for name in group[0].faults.keys() {
            let total: u64 = group.iter().filter_map(|report| report.faults.get(name)).sum();
            println!("  {name:<28} {total:>14}");
        }
    }
}
