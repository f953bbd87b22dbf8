//! The time between two marks, and what happened in it.

use std::time::Instant;

use crate::report::Report;
use crate::tally::Counts;

/// What was so at one moment.
#[derive(Clone)]
pub(super) struct Mark {
    pub(super) at: Instant,
    pub(super) counts: Counts,
    pub(super) server_cpu_ns: Option<u64>,
    /// Of each worker.
    pub(super) worker_cpu_ns: Vec<u64>,
}

/// The time between two marks.
pub struct Span {
    /// How long it was.
    pub seconds: f64,
    counts: Counts,
    server_cpu_s: Option<f64>,
    /// Of the busiest worker.
    worker_cpu_s: f64,
    end: Instant,
}

impl Span {
    pub(super) fn between(first: &Mark, last: &Mark) -> Self {
        let count = |(name, count): (&String, &u64)| (name.clone(), count - first.counts.get(name).unwrap_or(&0));
        let seconds = |ns: u64| ns as f64 / 1e9;
        let workers = first.worker_cpu_ns.iter().zip(&last.worker_cpu_ns);
        Self {
            seconds: (last.at - first.at).as_secs_f64(),
            counts: last.counts.iter().map(count).collect(),
            server_cpu_s: first
                .server_cpu_ns
                .zip(last.server_cpu_ns)
                .map(|(first, last)| seconds(last.saturating_sub(first))),
            worker_cpu_s: workers.map(|(first, last)| seconds(last.saturating_sub(*first))).fold(0.0, f64::max),
            end: last.at,
        }
    }

    /// How often that happened.
    pub fn count(&self, name: &str) -> f64 {
        self.counts.get(name).copied().unwrap_or(0) as f64
    }

    /// How often that happened per second of the server's CPU time, if that is known.
    pub fn per_cpu_second(&self, name: &str) -> Option<f64> {
        self.server_cpu_s.map(|cpu_s| self.count(name) / cpu_s.max(1e-9))
    }

    /// Puts into a report what all scenarios quote.
    pub(super) fn quote(&self, report: &mut Report) {
        let deliveries = self.count("deliveries");
        report.number("deliveries_per_s", deliveries / self.seconds);
        report.number("message_bytes", self.count("bytes") / deliveries.max(1.0));
        report.number("generator_cpu_share", self.worker_cpu_s / self.seconds);
        if let Some(rate) = self.per_cpu_second("deliveries") {
            report.number("deliveries_per_cpu_s", rate);
        }
        if let Some(cpu_s) = self.server_cpu_s {
            report.number("server_cpu_share", cpu_s / self.seconds);
        }
    }

    /// Adds a point to each curve of a report.
    pub(super) fn draw(&self, first: &Mark, report: &mut Report) {
        let at = (self.end - first.at).as_secs_f64();
        let mut draw = |name: &str, value| report.series.entry(name.to_owned()).or_default().push([at, value]);
        draw("deliveries_per_s", self.count("deliveries") / self.seconds);
        if let Some(cpu_s) = self.server_cpu_s {
            draw("server_cpu_share", cpu_s / self.seconds);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_span_is_what_happened_between_its_marks() {
        let mark = |at, deliveries, cpu_ns: u64| Mark {
            at,
            counts: [("deliveries".to_owned(), deliveries), ("bytes".to_owned(), deliveries * 200)].into(),
            server_cpu_ns: Some(cpu_ns),
            worker_cpu_ns: vec![cpu_ns / 2, 0],
        };
        let start = Instant::now();
        let (first, last) = (mark(start, 100, 0), mark(start + Duration::from_secs(2), 500, 1_000_000_000));
        let (span, mut report) = (Span::between(&first, &last), Report::new("a"));
        span.quote(&mut report);
        span.draw(&first, &mut report);
        let expected = [
            ("deliveries_per_cpu_s", 400.0),
            ("deliveries_per_s", 200.0),
            ("generator_cpu_share", 0.25),
            ("message_bytes", 200.0),
            ("server_cpu_share", 0.5),
        ];
        assert_eq!(report.numbers, expected.map(|(name, value)| (name.to_owned(), value)).into());
        assert_eq!(report.series["deliveries_per_s"], [[2.0, 200.0]]);
    }
}
