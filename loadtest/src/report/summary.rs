//! Runs of the same scenario taken together: of each figure the median, and the least and the most around it.

use std::collections::BTreeMap;

use super::Report;
use super::units::{decimals, grouped, order};

/// The percentiles of a latency that are quoted.
const QUOTED: [f64; 5] = [50.0, 90.0, 99.0, 99.9, 99.99];

/// A figure over runs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range {
    /// The smallest.
    pub least: f64,
    /// The one in the middle; the mean of two if two are.
    pub median: f64,
    /// The largest.
    pub most: f64,
    /// Runs that have the figure.
    pub runs: usize,
}

impl Range {
    /// Of these values, if there are any.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (least, most) = (*values.first()?, *values.last()?);
        let (lower, upper) = (values[(values.len() - 1) / 2], values[values.len() / 2]);
        Some(Self { least, median: lower + (upper - lower) / 2.0, most, runs: values.len() })
    }

    /// Median, least and most, with as many decimals each.
    pub fn written(&self) -> [String; 3] {
        self.divided(1.0)
    }

    /// The same, each divided by this.
    pub fn divided(&self, factor: f64) -> [String; 3] {
        let values = [self.median, self.least, self.most].map(|value| value / factor);
        values.map(|value| grouped(value, decimals(&values)))
    }

    /// Whether some value lies within both.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.least <= other.most && other.least <= self.most
    }
}

/// The runs of one scenario.
#[derive(Clone, Debug)]
pub struct Group<'a> {
    /// The scenario.
    pub scenario: &'a str,
    /// Its runs, in order.
    pub runs: Vec<&'a Report>,
}

impl<'a> Group<'a> {
    /// The runs of each scenario, in the order in which scenarios first came.
    pub fn all(reports: &'a [Report]) -> Vec<Self> {
        let mut groups: Vec<Self> = Vec::new();
        for report in reports {
            match groups.iter_mut().find(|group| group.scenario == report.scenario) {
                Some(group) => group.runs.push(report),
                None => groups.push(Self { scenario: &report.scenario, runs: vec![report] }),
            }
        }
        groups
    }

    /// How many runs there are, in words.
    pub fn count(&self) -> String {
        if self.runs.len() == 1 { "1 run".to_owned() } else { format!("{} runs", self.runs.len()) }
    }

    /// All figures: the numbers, and those percentiles of latencies that are quoted.
    pub fn figures(&self) -> Vec<(String, Range)> {
        let mut values: BTreeMap<String, Vec<f64>> = BTreeMap::new();
        for run in &self.runs {
            for (name, points) in &run.percentiles {
                for (percentile, name) in QUOTED.map(|quoted| (quoted, percentile_name(name, quoted))) {
                    // A scenario may quote some itself.
                    if !run.numbers.contains_key(&name) {
                        values.entry(name).or_default().extend(value_at(points, percentile));
                    }
                }
            }
            for (name, value) in &run.numbers {
                values.entry(name.clone()).or_default().push(*value);
            }
        }
        let ranges = values.into_iter().filter_map(|(name, values)| Some((name, Range::of(values)?)));
        let mut figures: Vec<(String, Range)> = ranges.collect();
        figures.sort_by(|(a, _), (b, _)| order(a).cmp(&order(b)));
        figures
    }

    /// The faults of all runs together, by name.
    pub fn faults(&self) -> BTreeMap<&'a str, u64> {
        let mut faults = BTreeMap::new();
        for run in &self.runs {
            for (name, count) in &run.faults {
                let total: &mut u64 = faults.entry(name.as_str()).or_default();
                *total = total.saturating_add(*count);
            }
        }
        faults
    }

    /// The runs, counted from 1, in which nothing was delivered although the scenario is about deliveries.
    pub fn idle_runs(&self) -> Vec<usize> {
        let is_idle = |run: &Report| run.numbers.get("deliveries_per_s").is_some_and(|rate| *rate <= 0.0);
        self.runs.iter().enumerate().filter(|(_, run)| is_idle(run)).map(|(number, _)| number + 1).collect()
    }

    /// What to say of runs without deliveries, if there are any.
    pub fn idle_notice(&self) -> Option<String> {
        let idle = self.idle_runs();
        let numbers: Vec<String> = idle.iter().map(usize::to_string).collect();
        match idle.len() {
            0 => None,
            count if count == self.runs.len() => Some("no deliveries in any run".to_owned()),
            1 => Some(format!("no deliveries in run {}", numbers[0])),
            _ => Some(format!("no deliveries in runs {}", numbers.join(", "))),
        }
    }

    /// Why the first client was closed that should not have been.
    pub fn why_closed(&self) -> Option<&'a str> {
        self.runs.iter().find_map(|run| run.why_closed.as_deref())
    }
}

/// `latency_us` at 99.9 is `latency_p999_us`.
fn percentile_name(name: &str, percentile: f64) -> String {
    let name = name.strip_suffix("_us").unwrap_or(name);
    format!("{name}_p{}_us", format!("{percentile}").replace('.', ""))
}

/// The microseconds within which at least that percentage was.
fn value_at(points: &[[f64; 2]], percentile: f64) -> Option<f64> {
    points.iter().find(|point| point[0] >= percentile - 1e-9).map(|point| point[1])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(scenario: &str, numbers: &[(&str, f64)], missing: u64) -> Report {
        let mut report = Report::new(scenario);
        for (name, value) in numbers {
            report.number(name, *value);
        }
        report.count("missing", missing);
        report
    }

    #[test]
    fn a_median_is_in_the_middle() {
        let range =
            |values: &[f64]| Range::of(values.iter().copied()).map(|range| (range.least, range.median, range.most));
        assert_eq!(range(&[]), None);
        assert_eq!(range(&[4.0]), Some((4.0, 4.0, 4.0)));
        assert_eq!(range(&[4.0, 1.0]), Some((1.0, 2.5, 4.0)));
        assert_eq!(range(&[9.0, 1.0, 2.0]), Some((1.0, 2.0, 9.0)));
        assert_eq!(range(&[9.0, 1.0, 2.0, -4.0]), Some((-4.0, 1.5, 9.0)));
    }

    #[test]
    fn ranges_overlap_if_they_touch() {
        let range = |least, most| Range::of([least, most]).expect("two values");
        assert!(range(1.0, 2.0).overlaps(&range(2.0, 3.0)));
        assert!(range(1.0, 9.0).overlaps(&range(2.0, 3.0)));
        assert!(!range(1.0, 2.0).overlaps(&range(2.1, 3.0)));
        assert!(!range(2.1, 3.0).overlaps(&range(1.0, 2.0)));
    }

    #[test]
    fn runs_of_a_scenario_are_one_group() {
        let reports = [
            report("b", &[("x_s", 1.0)], 1),
            report("a", &[("x_s", 5.0)], 0),
            report("b", &[("x_s", 3.0), ("y_s", 7.0)], 2),
        ];
        let groups = Group::all(&reports);
        assert_eq!(groups.iter().map(|group| group.scenario).collect::<Vec<_>>(), ["b", "a"]);
        let figures = groups[0].figures();
        assert_eq!(figures[0], ("x_s".to_owned(), Range { least: 1.0, median: 2.0, most: 3.0, runs: 2 }));
        assert_eq!((figures[1].0.as_str(), figures[1].1.runs), ("y_s", 1));
        assert_eq!(groups[0].faults()["missing"], 3);
    }

    #[test]
    fn runs_without_deliveries_are_noticed() {
        let of = |rates: &[f64]| {
            let reports: Vec<Report> =
                rates.iter().map(|rate| report("a", &[("deliveries_per_s", *rate)], 0)).collect();
            Group::all(&reports)[0].idle_notice()
        };
        assert_eq!(of(&[1.0, 5.0]), None);
        assert_eq!(of(&[1.0, 0.0]).as_deref(), Some("no deliveries in run 2"));
        assert_eq!(of(&[0.0, 1.0, 0.0]).as_deref(), Some("no deliveries in runs 1, 3"));
        assert_eq!(of(&[0.0]).as_deref(), Some("no deliveries in any run"));
        let other = [report("idle", &[("open_s", 0.0)], 0)];
        assert_eq!(Group::all(&other)[0].idle_notice(), None, "a scenario without deliveries");
    }

    #[test]
    fn percentiles_are_figures_unless_a_number_says_the_same() {
        let mut run = report("a", &[("latency_p50_us", 10.0)], 0);
        run.percentiles.insert("latency".to_owned(), vec![[0.0, 1.0], [50.0, 11.0], [99.5, 30.0], [99.95, 40.0]]);
        let reports = [run];
        let figures = Group::all(&reports)[0].figures();
        let medians: Vec<(&str, f64)> = figures.iter().map(|(name, range)| (name.as_str(), range.median)).collect();
        assert_eq!(
            medians,
            [("latency_p50_us", 10.0), ("latency_p90_us", 30.0), ("latency_p99_us", 30.0), ("latency_p999_us", 40.0),]
        );
    }
}
