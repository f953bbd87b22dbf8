//! Two sittings beside each other: what changed, and whether by more than the runs of each differ.

use std::collections::BTreeMap;

use super::Sitting;
use super::summary::{Group, Range};
use super::units::order;

/// How sittings are called beside each other.
pub const SIDES: [&str; 2] = ["A", "B"];

/// Two sittings.
pub struct Comparison<'a> {
    /// Scenarios of both, in the order of the first.
    pub pairs: Vec<[Group<'a>; 2]>,
    /// Scenarios that only the first has, and that only the second has.
    pub only: [Vec<&'a str>; 2],
    /// In what their machines differ, and how: the figures then say little of the programs.
    pub machines: Vec<String>,
}

/// A figure in two sittings.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Its name.
    pub name: String,
    /// What it was in each, if it was measured.
    pub ranges: [Option<Range>; 2],
}

/// Whether a difference is more than the runs of each sitting differ.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Verdict {
    /// No run of the one comes near any of the other.
    Apart,
    /// Runs of both lie in the same range.
    Overlapping,
    /// They differ, but where there is one run, its range is not known.
    OneRun,
    /// Only one has it.
    Missing,
}

impl<'a> Comparison<'a> {
    /// Of these two.
    pub fn of(first: &'a Sitting, second: &'a Sitting) -> Self {
        let mut others = Group::all(&second.reports);
        let (mut pairs, mut only_first) = (Vec::new(), Vec::new());
        for group in Group::all(&first.reports) {
            match others.iter().position(|other| other.scenario == group.scenario) {
                Some(at) => pairs.push([group, others.remove(at)]),
                None => only_first.push(group.scenario),
            }
        }
        let only_second = others.iter().map(|group| group.scenario).collect();
        Self { pairs, only: [only_first, only_second], machines: differences(first, second) }
    }
}

/// In what the machines differ.
fn differences(first: &Sitting, second: &Sitting) -> Vec<String> {
    let (a, b) = (&first.machine, &second.machine);
    let mebibytes = |bytes: u64| format!("{} MiB", bytes >> 20);
    [
        ("processor", a.cpu.clone(), b.cpu.clone()),
        ("cores", a.cores.to_string(), b.cores.to_string()),
        ("kernel", a.kernel.clone(), b.kernel.clone()),
        ("memory", mebibytes(a.memory_bytes), mebibytes(b.memory_bytes)),
    ]
    .into_iter()
    .filter(|(_, a, b)| a != b)
    .map(|(what, a, b)| format!("{what}: {a} and {b}"))
    .collect()
}

impl Row {
    /// All figures of a scenario in both sittings.
    pub fn all(pair: &[Group<'_>; 2]) -> Vec<Self> {
        let mut rows: Vec<Self> = Vec::new();
        for (side, group) in pair.iter().enumerate() {
            for (name, range) in group.figures() {
                let mut ranges = [None, None];
                ranges[side] = Some(range);
                match rows.iter_mut().find(|row| row.name == name) {
                    Some(row) => row.ranges[side] = Some(range),
                    None => rows.push(Self { name, ranges }),
                }
            }
        }
        rows.sort_by(|a, b| order(&a.name).cmp(&order(&b.name)));
        rows
    }

    /// The second median by the first, if that is not zero.
    pub fn ratio(&self) -> Option<f64> {
        let [Some(first), Some(second)] = self.ranges else { return None };
        Some(second.median / first.median).filter(|ratio| ratio.is_finite())
    }

    /// Whether the difference is more than the runs of each differ.
    pub fn verdict(&self) -> Verdict {
        match self.ranges {
            [Some(first), Some(second)] if first.overlaps(&second) => Verdict::Overlapping,
            [Some(first), Some(second)] if first.runs.min(second.runs) < 2 => Verdict::OneRun,
            [Some(_), Some(_)] => Verdict::Apart,
            _ => Verdict::Missing,
        }
    }
}

impl Verdict {
    /// In a word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Apart => "apart",
            Self::Overlapping => "overlapping",
            Self::OneRun => "one run",
            Self::Missing => "",
        }
    }
}

/// Faults of both, by name.
pub fn faults<'a>(pair: &[Group<'a>; 2]) -> BTreeMap<&'a str, [u64; 2]> {
    let mut faults: BTreeMap<&str, [u64; 2]> = BTreeMap::new();
    for (side, group) in pair.iter().enumerate() {
        for (name, count) in group.faults() {
            faults.entry(name).or_default()[side] = count;
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Report;

    fn sitting(scenario: &str, runs: &[&[(&str, f64)]]) -> Sitting {
        let mut sitting = Sitting::begin();
        for numbers in runs {
            let mut report = Report::new(scenario);
            numbers.iter().for_each(|(name, value)| report.number(name, *value));
            report.count("missing", numbers.len() as u64);
            sitting.reports.push(report);
        }
        sitting
    }

    #[test]
    fn figures_are_put_beside_each_other() {
        let first = sitting("a", &[&[("x_s", 2.0), ("y_s", 0.0), ("z_s", 5.0)], &[("x_s", 4.0), ("z_s", 7.0)]]);
        let second = sitting("a", &[&[("x_s", 6.0), ("y_s", 1.0), ("w_s", 1.0)], &[("x_s", 6.0), ("z_s", 6.0)]]);
        let comparison = Comparison::of(&first, &second);
        let rows = Row::all(&comparison.pairs[0]);
        let seen: Vec<_> = rows.iter().map(|row| (row.name.as_str(), row.ratio(), row.verdict())).collect();
        assert_eq!(
            seen,
            [
                ("w_s", None, Verdict::Missing),
                ("x_s", Some(2.0), Verdict::Apart),
                ("y_s", None, Verdict::OneRun),
                ("z_s", Some(1.0), Verdict::Overlapping),
            ]
        );
        assert_eq!(faults(&comparison.pairs[0])["missing"], [5, 5]);
    }

    #[test]
    fn what_only_one_has_is_listed_and_machines_are_told_apart() {
        let mut first = sitting("a", &[&[]]);
        first.reports.extend(sitting("b", &[&[]]).reports);
        let mut second = sitting("c", &[&[]]);
        second.reports.extend(sitting("b", &[&[]]).reports);
        second.machine.cores += 1;
        let comparison = Comparison::of(&first, &second);
        assert_eq!(comparison.only, [vec!["a"], vec!["c"]]);
        assert_eq!(comparison.pairs.len(), 1);
        let cores = first.machine.cores;
        assert_eq!(comparison.machines, [format!("cores: {cores} and {}", cores + 1)]);
    }
}
