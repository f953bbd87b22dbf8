//! Reports as text in columns.

use std::fmt::Write as _;

use super::Sitting;
use super::comparison::{self, Comparison, Row, SIDES};
use super::summary::{Group, Range};
use super::units::{Unit, grouped};

/// A column: the gap before it, and whether it is aligned to the left or to the right.
type Column = (&'static str, char);

/// A range: least, a dash, most.
const RANGE: [Column; 3] = [("  ", '>'), (" ", '<'), (" ", '>')];

/// A sitting: of each scenario the medians, and how far runs differ.
pub fn sitting(sitting: &Sitting) -> String {
    let mut text = String::new();
    for group in Group::all(&sitting.reports) {
        let _ = writeln!(text, "{}: {}", group.scenario, group.count());
        let mut rows = vec![["figure", "median", "", "least", "–", "most"].map(str::to_owned)];
        for (name, range) in group.figures() {
            let [median, least, most] = range.written();
            rows.push([name.clone(), median, Unit::of(&name).sign().to_owned(), least, "–".to_owned(), most]);
        }
        text += &table(&rows, &[&[("  ", '<'), ("  ", '>'), (" ", '<')][..], &RANGE].concat());
        let faults = group.faults();
        let found: Vec<String> = faults
            .iter()
            .filter(|(_, count)| **count > 0)
            .map(|(name, count)| format!("{name} {}", grouped(*count as f64, 0)))
            .collect();
        let found = if found.is_empty() { "none".to_owned() } else { found.join(", ") };
        if !faults.is_empty() {
            let _ = writeln!(text, "  faults: {found}");
        }
        if let Some(notice) = group.idle_notice() {
            let _ = writeln!(text, "  {notice}: the figures above say nothing of the server");
        }
        if let Some(why) = group.why_closed() {
            let _ = writeln!(text, "  first closed: {why}");
        }
        text.push('\n');
    }
    text
}

/// Two sittings: of each scenario of both the medians side by side.
pub fn comparison(comparison: &Comparison<'_>, names: &[String; 2]) -> String {
    let mut text = format!("A is {}\nB is {}\n", names[0], names[1]);
    for difference in &comparison.machines {
        let _ = writeln!(text, "The machines differ: {difference}");
    }
    for pair in &comparison.pairs {
        let [first, second] = [&pair[0], &pair[1]].map(Group::count);
        let _ = writeln!(text, "\n{}: A {first}, B {second}", pair[0].scenario);
        let heads =
            ["figure", "median A", "median B", "", "B / A", "ranges", "least", "–", "most A", "least", "–", "most B"];
        let mut rows = vec![heads.map(str::to_owned)];
        rows.extend(Row::all(pair).iter().map(cells));
        let medians = [("  ", '<'), ("  ", '>'), ("  ", '>'), (" ", '<'), ("  ", '>'), ("  ", '<')];
        text += &table(&rows, &[&medians[..], &RANGE, &RANGE].concat());
        for (name, [first, second]) in comparison::faults(pair) {
            if first.max(second) > 0 {
                let [first, second] = [first, second].map(|count| grouped(count as f64, 0));
                let _ = writeln!(text, "  fault {name}: A {first}, B {second}");
            }
        }
    }
    for (name, only) in SIDES.iter().zip(&comparison.only) {
        for scenario in only {
            let _ = writeln!(text, "\n{scenario}: only in {name}");
        }
    }
    text
}

fn cells(row: &Row) -> [String; 12] {
    let range = |range: Option<Range>| match range {
        Some(range) => {
            let [median, least, most] = range.written();
            [median, least, "–".to_owned(), most]
        }
        None => ["–", "", "", ""].map(str::to_owned),
    };
    let [[first, least_a, dash_a, most_a], [second, least_b, dash_b, most_b]] = row.ranges.map(range);
    let ratio = row.ratio().map_or_else(|| "–".to_owned(), |ratio| grouped(ratio, 3));
    let sign = Unit::of(&row.name).sign().to_owned();
    let verdict = row.verdict().word().to_owned();
    [row.name.clone(), first, second, sign, ratio, verdict, least_a, dash_a, most_a, least_b, dash_b, most_b]
}

/// Rows with columns as wide as their widest cell.
fn table<const N: usize>(rows: &[[String; N]], columns: &[Column]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for ((cell, width), (gap, side)) in row.iter().zip(widths).zip(columns) {
            let _ = match side {
                '<' => write!(line, "{gap}{cell:<width$}"),
                _ => write!(line, "{gap}{cell:>width$}"),
            };
        }
        text += line.trim_end();
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Report;

    fn reports(rates: &[f64], missing: u64) -> Sitting {
        let mut sitting = Sitting::begin();
        for rate in rates {
            let mut report = Report::new("fanout 1 × 10");
            report.number("deliveries_per_cpu_s", *rate);
            report.number("latency_p50_us", 12.5);
            report.number("share", 0.5);
            report.count("missing", missing);
            report.count("doubled", 0);
            sitting.reports.push(report);
        }
        sitting
    }

    fn lines(text: &str) -> Vec<&str> {
        text.lines().collect()
    }

    #[test]
    fn a_sitting_is_in_columns() {
        let text = sitting(&reports(&[1_250_000.0, 900_000.0, 1_000_000.0], 0));
        let expected = [
            "fanout 1 × 10: 3 runs",
            "  figure                   median           least –      most",
            "  deliveries_per_cpu_s  1,000,000 /CPU s  900,000 – 1,250,000",
            "  latency_p50_us            12.50 µs        12.50 –     12.50",
            "  share                    0.5000          0.5000 –    0.5000",
            "  faults: none",
            "",
        ];
        assert_eq!(lines(&text), expected);
        assert!(
            sitting(&reports(&[1.0], 1234)).contains("1 run\n")
                && sitting(&reports(&[1.0], 1234)).contains("  faults: missing 1,234\n")
        );
    }

    #[test]
    fn two_sittings_are_side_by_side() {
        let (first, mut second) = (reports(&[1000.0, 1100.0], 0), reports(&[2000.0, 2300.0], 1));
        second.reports.push(Report::new("idle"));
        second.machine = first.machine.clone();
        let text = comparison(&Comparison::of(&first, &second), &["a.json".to_owned(), "b.json".to_owned()]);
        let expected = [
            "A is a.json",
            "B is b.json",
            "",
            "fanout 1 × 10: A 2 runs, B 2 runs",
            "  figure                median A  median B         B / A  ranges        least – most A   least – most B",
            "  deliveries_per_cpu_s     1,050     2,150 /CPU s  2.048  apart         1,000 –  1,100   2,000 –  2,300",
            "  latency_p50_us           12.50     12.50 µs      1.000  overlapping   12.50 –  12.50   12.50 –  12.50",
            "  share                   0.5000    0.5000         1.000  overlapping  0.5000 – 0.5000  0.5000 – 0.5000",
            "  fault missing: A 0, B 2",
            "",
            "idle: only in B",
        ];
        assert_eq!(lines(&text), expected);
    }
}
