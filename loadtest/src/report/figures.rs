//! The plots of a scenario, in one sitting or in two: which figures they show, and over which axes.

use std::collections::{BTreeMap, BTreeSet};

use maud::{Markup, Render, html};

use super::Report;
use super::comparison::SIDES;
use super::plot::{Bar, Bars, Line, Plot, Style};
use super::scale::Scale;
use super::summary::Group;
use super::units::{OF_FLOOR, Unit, label, order};

/// Steps of an axis, about.
const STEPS: usize = 5;

/// All plots of a scenario.
pub fn all(groups: &[Group<'_>]) -> Vec<Markup> {
    let mut figures: Vec<Markup> = against_floor(groups).into_iter().collect();
    figures.extend(names(groups, |run| &run.percentiles).into_iter().filter_map(|name| latency(groups, name)));
    figures.extend(names(groups, |run| &run.series).into_iter().filter_map(|name| over_time(groups, name)));
    figures
}

/// The names of such points in any run.
fn names<'a>(groups: &[Group<'a>], of: impl Fn(&'a Report) -> &'a BTreeMap<String, Vec<[f64; 2]>>) -> Vec<&'a str> {
    let names: BTreeSet<&String> = groups.iter().flat_map(|group| &group.runs).flat_map(|run| of(run).keys()).collect();
    names.into_iter().map(String::as_str).collect()
}

fn against_floor(groups: &[Group<'_>]) -> Option<Markup> {
    let figures: Vec<_> = groups.iter().map(Group::figures).collect();
    let mut names: Vec<&str> = figures.iter().flatten().map(|(name, _)| name.as_str()).collect();
    names.retain(|name| name.starts_with(OF_FLOOR));
    names.sort_by_key(|name| order(name));
    names.dedup();
    let mut bars = Vec::new();
    // The same figure of both sittings stands together.
    for name in names {
        for (side, figures) in figures.iter().enumerate() {
            let Some((_, range)) = figures.iter().find(|(other, _)| other == name) else { continue };
            let (factor, sign) = Unit::Share.scaled(range.median);
            let [median, least, most] = range.divided(factor);
            let value = format!("{median}{sign} ({least} – {most})");
            bars.push(Bar { side, name: said(groups, side, &label(name)), value, range: *range });
        }
    }
    let sentences: Vec<String> = bars.iter().map(|bar| format!("{}: {}", bar.name, bar.value)).collect();
    let title = "share of the floor".to_owned();
    let plot = Bars { title, description: sentences.join("; "), mark: "floor", bars };
    let about = "bar: median; stroke in it: least to most of the runs";
    (!plot.bars.is_empty()).then(|| framed(&plot.title, about, &[], &plot))
}

/// How a latency is spread, run by run.
fn latency(groups: &[Group<'_>], name: &str) -> Option<Markup> {
    let lines = lines(groups, |run| run.percentiles.get(name));
    let title = format!("{}, by percentile", label(name));
    let plot = Plot {
        description: description(&lines, Unit::Microseconds)?,
        x: Scale::nines(coordinates(&lines, 0)),
        x_name: "percentile".to_owned(),
        x_said: |percentile| format!("{} % within", (percentile * 1e4).round() / 1e4),
        y: Scale::logarithmic(coordinates(&lines, 1)),
        y_unit: Unit::Microseconds,
        title,
        lines,
    };
    Some(framed(&plot.title, "", &legend(groups, &plot.lines), &plot))
}

/// What went on over time, run by run.
fn over_time(groups: &[Group<'_>], name: &str) -> Option<Markup> {
    let lines = lines(groups, |run| run.series.get(name));
    let unit = Unit::of(name);
    let time = Scale::time(coordinates(&lines, 0), STEPS);
    let plot = Plot {
        description: description(&lines, unit)?,
        x_name: format!("{} since the start", if time.sign == "s" { "seconds" } else { &time.sign }),
        x: time,
        x_said: |seconds| format!("at {}", Unit::Seconds.short(seconds)),
        y: Scale::linear(coordinates(&lines, 1), unit, STEPS),
        y_unit: unit,
        title: format!("{}, over time", label(name)),
        lines,
    };
    Some(framed(&plot.title, &plot.y.sign, &legend(groups, &plot.lines), &plot))
}

fn lines<'a>(groups: &[Group<'a>], points: impl Fn(&'a Report) -> Option<&'a Vec<[f64; 2]>>) -> Vec<Line> {
    let mut lines = Vec::new();
    for (side, group) in groups.iter().enumerate() {
        for (number, run) in group.runs.iter().enumerate() {
            if let Some(points) = points(run).filter(|points| !points.is_empty()) {
                let name = said(groups, side, &format!("run {}", number + 1));
                let style = if groups.len() > 1 { Style::Side(side) } else { Style::Run(number) };
                lines.push(Line { style, name, points: points.clone() });
            }
        }
    }
    lines
}

fn coordinates(lines: &[Line], axis: usize) -> impl Iterator<Item = f64> + Clone {
    lines.iter().flat_map(move |line| line.points.iter().map(move |point| point[axis]))
}

/// What a plot shows, in a sentence; nothing if it shows nothing.
fn description(lines: &[Line], unit: Unit) -> Option<String> {
    let least = coordinates(lines, 1).min_by(f64::total_cmp)?;
    let most = coordinates(lines, 1).max_by(f64::total_cmp)?;
    let runs = if lines.len() == 1 { "1 run".to_owned() } else { format!("{} runs", lines.len()) };
    Some(format!("{runs}, between {} and {}", unit.short(least), unit.short(most)))
}

/// A name with its sitting's, if there are two.
fn said(groups: &[Group<'_>], side: usize, name: &str) -> String {
    if groups.len() > 1 { format!("{name}, {}", SIDES[side % 2]) } else { name.to_owned() }
}

/// The looks of lines and what they stand for: sittings where there are two, else runs. One line needs none.
fn legend(groups: &[Group<'_>], lines: &[Line]) -> Vec<(Style, String)> {
    if lines.len() < 2 {
        return Vec::new();
    }
    let is_idle = |number: usize| groups[0].idle_runs().contains(&(number + 1));
    let mut entries: Vec<(Style, String)> = Vec::new();
    for line in lines {
        let said = match line.style {
            Style::Side(side) => format!("{}, {}", SIDES[side % 2], groups[side].count()),
            Style::Run(number) if is_idle(number) => format!("{} (no deliveries)", line.name),
            Style::Run(_) => line.name.clone(),
        };
        if !entries.iter().any(|(style, _)| *style == line.style) {
            entries.push((line.style, said));
        }
    }
    entries
}

fn framed(title: &str, quiet: &str, legend: &[(Style, String)], plot: &impl Render) -> Markup {
    html! {
        figure {
            figcaption {
                span { (title) }
                @if !quiet.is_empty() { span .quiet { (quiet) } }
            }
            (plot)
            @if !legend.is_empty() {
                ul .legend {
                    @for (style, said) in legend { li { (style.key()) (said) } }
                }
            }
        }
    }
}
