//! What a worker counted: named counts, faults, histograms and what was sent. Tallies of several workers add up.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer as Unpack, Serializer as _, V2Serializer};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};

use crate::report::Report;

/// Counts by name.
pub type Counts = BTreeMap<String, u64>;

/// What one worker, or all of them, counted.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Tally {
    /// What happened how often.
    pub counts: Counts,
    /// What must not have happened.
    pub faults: Counts,
    /// How long things took.
    pub durations: BTreeMap<String, Durations>,
    /// Messages that each stream was sent, by the stream's number.
    pub sent: BTreeMap<usize, u64>,
    /// Why a client was closed that was, the first of a worker's.
    pub why_closed: Option<String>,
}

impl Tally {
    /// Adds what another worker counted.
    pub fn add(&mut self, other: &Self) {
        add(&mut self.counts, &other.counts);
        add(&mut self.faults, &other.faults);
        for (stream, sent) in &other.sent {
            *self.sent.entry(*stream).or_default() += sent;
        }
        for (name, durations) in &other.durations {
            self.durations.entry(name.clone()).or_default().add(durations);
        }
        if self.why_closed.is_none() {
            self.why_closed.clone_from(&other.why_closed);
        }
    }

    /// Puts faults and durations into a report.
    pub fn quote(&self, report: &mut Report) {
        for (name, count) in &self.faults {
            report.count(name, *count);
        }
        for (name, durations) in &self.durations {
            durations.quote(name, report);
        }
        if !report.is_exact() {
            report.why_closed.clone_from(&self.why_closed);
        }
    }
}

/// Adds counts by name.
pub fn add(counts: &mut Counts, more: &Counts) {
    for (name, count) in more {
        *counts.entry(name.clone()).or_default() += count;
    }
}

/// How long something took, in nanoseconds, as a histogram of three digits.
#[derive(Clone, Debug)]
pub struct Durations(Histogram<u64>);

impl Default for Durations {
    fn default() -> Self {
        // Up to two minutes; what takes longer counts as that.
        Self(Histogram::new_with_max(120_000_000_000, 3).expect("the bounds are valid"))
    }
}

impl Durations {
    /// Records one.
    pub fn record(&mut self, nanoseconds: u64) {
        self.0.saturating_record(nanoseconds);
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.0.reset();
    }

    /// Those of another process.
    pub fn add(&mut self, other: &Self) {
        // Both have the same bounds, so that nothing is out of range.
        let _ = self.0.add(&other.0);
    }

    /// The duration that so many of all do not exceed, in microseconds.
    pub fn quantile_us(&self, quantile: f64) -> f64 {
        self.0.value_at_quantile(quantile) as f64 / 1000.0
    }

    fn quote(&self, name: &str, report: &mut Report) {
        if self.0.is_empty() {
            return;
        }
        for (suffix, quantile) in [("p50", 0.5), ("p99", 0.99), ("p999", 0.999), ("max", 1.0)] {
            report.number(&format!("{name}_{suffix}_us"), self.quantile_us(quantile));
        }
        let points = self.0.iter_quantiles(4);
        let points = points.map(|at| [at.quantile_iterated_to() * 100.0, at.value_iterated_to() as f64 / 1000.0]);
        report.percentiles.insert(name.to_owned(), points.collect());
    }
}

impl Serialize for Durations {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut bytes = Vec::new();
        V2Serializer::new().serialize(&self.0, &mut bytes).map_err(|error| ser::Error::custom(format!("{error:?}")))?;
        serializer.serialize_str(&STANDARD.encode(bytes))
    }
}

impl<'de> Deserialize<'de> for Durations {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = STANDARD.decode(text).map_err(de::Error::custom)?;
        let histogram = Unpack::new().deserialize(&mut bytes.as_slice());
        histogram.map(Self).map_err(|error| de::Error::custom(format!("{error:?}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(nanoseconds: u64) -> Tally {
        let mut durations = Durations::default();
        durations.record(nanoseconds);
        Tally {
            counts: [("deliveries".to_owned(), 3)].into(),
            faults: [("missing".to_owned(), 1)].into(),
            durations: [("latency".to_owned(), durations)].into(),
            sent: [(nanoseconds as usize, 2), (0, 1)].into(),
            why_closed: (nanoseconds == 1_000).then(|| "the connection ended".to_owned()),
        }
    }

    #[test]
    fn tallies_add_up_also_after_a_way_through_text() {
        let text = serde_json::to_string(&tally(90_000_000_000)).expect("it is JSON");
        let mut all: Tally = serde_json::from_str(&text).expect("it is a tally");
        all.add(&tally(1_000));
        assert_eq!((all.counts["deliveries"], all.faults["missing"]), (6, 2));
        assert_eq!(all.sent, [(0, 2), (1_000, 2), (90_000_000_000, 2)].into());
        let mut report = Report::new("a");
        all.quote(&mut report);
        assert_eq!(report.why_closed.as_deref(), Some("the connection ended"));
        let latency = &all.durations["latency"];
        assert_eq!(latency.quantile_us(0.5), 1.0);
        assert!((latency.quantile_us(1.0) / 90_000_000.0 - 1.0).abs() < 0.001);
    }

    #[test]
    fn what_takes_too_long_to_count_counts_as_the_longest() {
        let mut durations = Durations::default();
        durations.record(u64::MAX);
        assert!(durations.quantile_us(1.0) >= 120_000_000.0);
    }
}
