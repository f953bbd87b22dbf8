//! Plots as SVG that stands within a page: lines over an axis, and bars against a mark.
//!
//! Colours, dashes and fonts are the page's; here are shapes, and a text for readers who do not see them. A plot has 440 units of width
//! and is shown at 350 to 500 pixels, so that its letters stay readable.

use maud::{Markup, Render, html};

use super::scale::Scale;
use super::summary::Range;
use super::units::Unit;

const WIDTH: f64 = 440.0;
const HEIGHT: f64 = 240.0;
const LEFT: f64 = 58.0;
const RIGHT: f64 = 18.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 40.0;

/// Points of a line at most; of more, only the extremes of each stretch are drawn.
const POINTS_MAX: usize = 600;

/// Points that say their figures when pointed at, if a line has no more.
const NAMED_POINTS_MAX: usize = 120;

/// Height of a bar and of what stands above it.
const BAR_HEIGHT: f64 = 14.0;
const BAR_ROW: f64 = 40.0;

/// Lines over an axis.
pub struct Plot {
    /// What is shown.
    pub title: String,
    /// The same in a sentence, for who does not see it.
    pub description: String,
    /// The axis below.
    pub x: Scale,
    /// What stands below it.
    pub x_name: String,
    /// How a value on it is said.
    pub x_said: fn(f64) -> String,
    /// The axis on the left.
    pub y: Scale,
    /// In what values on it are said.
    pub y_unit: Unit,
    /// The lines.
    pub lines: Vec<Line>,
}

/// Looks of lines before they repeat, in a page of one sitting: as many colours as the page has, then the next dashes.
const RUN_COLORS: usize = 6;
const RUN_DASHES: usize = 3;

/// The look of a line. Each differs from all others both in colour and in dashes, for readers who see few colours.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Style {
    /// All runs of a sitting look alike beside those of another one.
    Side(usize),
    /// Runs of one sitting look different, counted from 0.
    Run(usize),
}

/// A line.
pub struct Line {
    /// Its look.
    pub style: Style,
    /// What it shows.
    pub name: String,
    /// From left to right.
    pub points: Vec<[f64; 2]>,
}

/// Bars against a mark at 1.
pub struct Bars {
    /// What is shown.
    pub title: String,
    /// The same in a sentence, for who does not see it.
    pub description: String,
    /// What the mark is.
    pub mark: &'static str,
    /// The bars.
    pub bars: Vec<Bar>,
}

/// A bar.
pub struct Bar {
    /// Whose it is.
    pub side: usize,
    /// What stands above it.
    pub name: String,
    /// What stands behind it.
    pub value: String,
    /// The median, which it is as long as, and what lies around.
    pub range: Range,
}

impl Style {
    /// The classes that the page's style has for it.
    fn class(self) -> String {
        match self {
            Self::Side(number) => side(number).to_owned(),
            Self::Run(number) => {
                let (color, dash) = (number % RUN_COLORS, (number + number / RUN_COLORS) % RUN_DASHES);
                format!("color-{color} dash-{dash}")
            }
        }
    }

    /// A piece of such a line, for a legend.
    pub fn key(self) -> Markup {
        html! {
            svg .key viewBox="0 0 36 8" aria-hidden="true" {
                g class=(self.class()) { line .line x1="0" x2="36" y1="4" y2="4" {} }
            }
        }
    }
}

impl Render for Plot {
    fn render(&self) -> Markup {
        let across = |value: f64| LEFT + self.x.at(value) * (WIDTH - LEFT - RIGHT);
        let down = |value: f64| HEIGHT - BOTTOM - self.y.at(value) * (HEIGHT - TOP - BOTTOM);
        let foot = HEIGHT - BOTTOM;
        html! {
            svg viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) role="img" {
                title { (self.title) }
                desc { (self.description) }
                @for (value, text) in &self.y.ticks {
                    line .grid x1=(units(LEFT)) x2=(units(WIDTH - RIGHT)) y1=(units(down(*value))) y2=(units(down(*value))) {}
                    text .end x=(units(LEFT - 6.0)) y=(units(down(*value) + 4.0)) { (text) }
                }
                line .axis x1=(units(LEFT)) x2=(units(WIDTH - RIGHT)) y1=(units(foot)) y2=(units(foot)) {}
                @for (value, text) in &self.x.ticks {
                    line .axis x1=(units(across(*value))) x2=(units(across(*value))) y1=(units(foot)) y2=(units(foot + 4.0)) {}
                    text .middle x=(units(across(*value))) y=(units(foot + 17.0)) { (text) }
                }
                text .middle .name x=(units((LEFT + WIDTH - RIGHT) / 2.0)) y=(units(HEIGHT - 5.0)) { (self.x_name) }
                @for line in &self.lines {
                    (self.path(line, &across, &down))
                }
            }
        }
    }
}

impl Plot {
    /// One line, and its figures for who points at them.
    fn path(&self, line: &Line, across: &impl Fn(f64) -> f64, down: &impl Fn(f64) -> f64) -> Markup {
        let points = thinned(&line.points);
        let at = |[x, y]: &[f64; 2]| format!("{},{}", units(across(*x)), units(down(*y)));
        let joined = points.iter().map(at).collect::<Vec<_>>().join(" ");
        let is_named = points.len() <= NAMED_POINTS_MAX;
        // A line of one point is not seen.
        let (class, radius) = if points.len() > 1 { (Some("touch"), 5) } else { (None, 3) };
        html! {
            g class=(line.style.class()) {
                title { (line.name) }
                polyline .line points=(joined) {}
                @for [x, y] in points.iter().filter(|_| is_named) {
                    circle class=[class] cx=(units(across(*x))) cy=(units(down(*y))) r=(radius) {
                        title { (line.name) ": " ((self.x_said)(*x)) " " (self.y_unit.short(*y)) }
                    }
                }
            }
        }
    }
}

impl Render for Bars {
    fn render(&self) -> Markup {
        let ends = self.bars.iter().flat_map(|bar| [bar.range.median, bar.range.most]).chain([1.0]);
        let scale = Scale::linear(ends, Unit::Share, 6);
        let left = 14.0;
        let across = |value: f64| left + scale.at(value) * (WIDTH - left - RIGHT);
        let foot = 18.0 + BAR_ROW * self.bars.len() as f64;
        html! {
            svg viewBox=(format!("0 0 {WIDTH} {}", foot + 24.0)) role="img" {
                title { (self.title) }
                desc { (self.description) }
                @for (value, text) in &scale.ticks {
                    line .grid x1=(units(across(*value))) x2=(units(across(*value))) y1="14" y2=(units(foot)) {}
                    text .middle x=(units(across(*value))) y=(units(foot + 17.0)) { (text) (scale.sign) }
                }
                @for (number, bar) in self.bars.iter().enumerate() {
                    @let top = bar_top(number);
                    @let middle = units(top + BAR_HEIGHT / 2.0);
                    g class=(side(bar.side)) {
                        rect x=(units(across(0.0))) y=(units(top)) width=(units((across(bar.range.median) - across(0.0)).max(0.0)))
                            height=(units(BAR_HEIGHT)) {}
                        line .range x1=(units(across(bar.range.least))) x2=(units(across(bar.range.most))) y1=(middle) y2=(middle) {}
                    }
                }
                line .mark x1=(units(across(1.0))) x2=(units(across(1.0))) y1="14" y2=(units(foot)) {}
                text .middle .name x=(units(across(1.0))) y="10" { (self.mark) }
                @for (number, bar) in self.bars.iter().enumerate() {
                    text .name x=(units(across(0.0))) y=(units(bar_top(number) - 5.0)) {
                        (bar.name) tspan .value dx="8" { (bar.value) }
                    }
                }
            }
        }
    }
}

/// Where a bar begins, below what stands above it.
fn bar_top(number: usize) -> f64 {
    36.0 + BAR_ROW * number as f64
}

fn side(side: usize) -> &'static str {
    ["a", "b"][side % 2]
}

/// Tenths of a unit are finer than anybody sees.
fn units(value: f64) -> String {
    let text = format!("{value:.1}");
    text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
}

/// A line that looks the same with fewer points.
fn thinned(points: &[[f64; 2]]) -> Vec<[f64; 2]> {
    if points.len() <= POINTS_MAX {
        return points.to_vec();
    }
    let stretch = points.len().div_ceil(POINTS_MAX / 2);
    let extremes = |points: &[[f64; 2]]| {
        let by_value = |a: &&[f64; 2], b: &&[f64; 2]| a[1].total_cmp(&b[1]);
        let mut two: Vec<[f64; 2]> =
            [points.iter().min_by(by_value), points.iter().max_by(by_value)].into_iter().flatten().copied().collect();
        two.sort_by(|a, b| a[0].total_cmp(&b[0]));
        two
    };
    points.chunks(stretch).flat_map(extremes).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_many_points_keeps_its_extremes() {
        let mut points: Vec<[f64; 2]> = (0..100_000).map(|at| [f64::from(at), f64::from(at % 7)]).collect();
        points[54_321][1] = 1000.0;
        points[12_345][1] = -1000.0;
        let few = thinned(&points);
        assert!(few.len() <= POINTS_MAX, "{}", few.len());
        assert!(few.contains(&[54_321.0, 1000.0]) && few.contains(&[12_345.0, -1000.0]));
        assert!(few.is_sorted_by(|a, b| a[0] <= b[0]));
        assert_eq!(thinned(&points[..POINTS_MAX]), &points[..POINTS_MAX]);
    }

    #[test]
    fn runs_look_different() {
        let looks: std::collections::BTreeSet<String> = (0..18).map(|run| Style::Run(run).class()).collect();
        assert_eq!(looks.len(), 18);
        // Of three runs, as many as usual, no two share the dashes.
        let dashes = |run: usize| Style::Run(run).class().split(' ').nth(1).map(str::to_owned);
        assert_eq!((0..3).map(dashes).collect::<std::collections::BTreeSet<_>>().len(), 3);
    }

    #[test]
    fn coordinates_are_short() {
        assert_eq!([units(1.0), units(1.25), units(-0.04)], ["1", "1.2", "-0"]);
    }
}
