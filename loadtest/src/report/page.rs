//! A report as one page of HTML: it stands alone, loads nothing and runs nothing. Everything in it is escaped.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::comparison::{self, Comparison, Row, SIDES, Verdict};
use super::summary::{Group, Range};
use super::units::{OF_FLOOR, Unit, grouped, label};
use super::{Sitting, figures};

const STYLE: &str = include_str!("page.css");

/// Nothing but the page's own style is allowed, whatever might have got into it.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'";

/// A page of one sitting, or of two side by side.
pub struct Page<'a> {
    sittings: Vec<&'a Sitting>,
    names: &'a [String],
    scenarios: Vec<Vec<Group<'a>>>,
    notes: Vec<String>,
}

impl<'a> Page<'a> {
    /// Of one sitting.
    pub fn of(sitting: &'a Sitting) -> Self {
        let scenarios = Group::all(&sitting.reports).into_iter().map(|group| vec![group]).collect();
        Self { sittings: vec![sitting], names: &[], scenarios, notes: Vec::new() }
    }

    /// Of two, which have these names.
    pub fn comparing(sittings: &'a [Sitting; 2], names: &'a [String; 2], comparison: &Comparison<'a>) -> Self {
        let differ = comparison.machines.iter().map(|difference| format!("The machines differ: {difference}"));
        let only = comparison.only.iter().zip(SIDES);
        let only = only.flat_map(|(only, side)| only.iter().map(move |scenario| format!("Only in {side}: {scenario}")));
        Self {
            sittings: sittings.iter().collect(),
            names,
            scenarios: comparison.pairs.iter().map(|pair| pair.to_vec()).collect(),
            notes: differ.chain(only).collect(),
        }
    }

    /// The page.
    pub fn html(&self) -> String {
        let title = if self.sittings.len() > 1 { "Load tests compared" } else { "Load test" };
        let page = html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta http-equiv="Content-Security-Policy" content=(POLICY);
                    title { (title) ", " (self.sittings[0].started) }
                    style { (PreEscaped(STYLE)) }
                }
                body {
                    header {
                        h1 { (title) }
                        @for (side, sitting) in self.sittings.iter().enumerate() { (self.facts(side, sitting)) }
                        @for note in &self.notes { p { strong { (note) } } }
                        (self.accounts())
                        (self.terms())
                        @if self.scenarios.len() > 1 { (self.contents()) }
                    }
                    main {
                        @for (number, groups) in self.scenarios.iter().enumerate() { (section(number, groups)) }
                    }
                }
            }
        };
        page.into_string()
    }

    fn facts(&self, side: usize, sitting: &Sitting) -> Markup {
        let machine = &sitting.machine;
        let cores = if machine.cores == 1 { "1 core".to_owned() } else { format!("{} cores", machine.cores) };
        let memory = Unit::Bytes.short(machine.memory_bytes as f64);
        html! {
            table .facts {
                @if let Some(name) = self.names.get(side) {
                    caption class=(["a", "b"][side]) { b { (SIDES[side]) } " is " (name) }
                }
                tr { th scope="row" { "Command" } td { code { (sitting.command) } } }
                tr { th scope="row" { "Machine" } td { (machine.cpu) ", " (cores) ", " (memory) ", Linux " (machine.kernel) } }
                tr { th scope="row" { "Started" } td { (sitting.started) ", version " (sitting.version) } }
            }
        }
    }

    /// Whether every delivery is accounted for, at a glance.
    fn accounts(&self) -> Markup {
        let is_faulty = |group: &Group<'_>| group.faults().values().any(|count| *count > 0);
        let faulty = self.scenarios.iter().filter(|groups| groups.iter().any(is_faulty));
        let faulty: Vec<&str> = faulty.map(|groups| groups[0].scenario).collect();
        let is_idle = |group: &Group<'_>| group.idle_notice().is_some();
        let idle = self.scenarios.iter().filter(|groups| groups.iter().any(is_idle));
        let idle: Vec<&str> = idle.map(|groups| groups[0].scenario).collect();
        html! {
            @if faulty.is_empty() {
                p .quiet { "No faults." }
            } @else {
                p .wrong { "Faults in: " (faulty.join("; ")) }
            }
            @if !idle.is_empty() {
                p .wrong { "Runs without deliveries in: " (idle.join("; ")) }
            }
        }
    }

    /// What the terms mean that the figures of this page need.
    fn terms(&self) -> Markup {
        let groups = || self.scenarios.iter().flatten();
        let has = |is_it: fn(&str) -> bool| groups().any(|group| group.figures().iter().any(|(name, _)| is_it(name)));
        let terms = [
            (
                "Share of the floor",
                "The floor is what the kernel of this machine allows at best: the deliveries per CPU second of a bare process that \
                 only makes the system calls which a delivery cannot do without, with as many bytes to as many sockets. 100 % \
                 means that the server costs nothing besides them; as the floor was measured in another run, a little more is \
                 possible, too.",
                has(|name| name.starts_with(OF_FLOOR)),
            ),
            (
                "Per CPU second",
                "For each second that the server’s threads ran on a processor, all cores together. It does not depend on how busy \
                 the server was kept.",
                has(|name| Unit::of(name) == Unit::PerCpuSecond),
            ),
            (
                "p50, p99",
                "Percentiles: 50 % or 99 % of all deliveries took at most so long.",
                has(|name| name.split('_').any(|word| word == "p50" || word == "p99")),
            ),
        ];
        html! {
            @if terms.iter().any(|(_, _, is_used)| *is_used) {
                dl .terms {
                    @for (term, meaning, _) in terms.iter().filter(|(_, _, is_used)| *is_used) {
                        dt { (term) }
                        dd { (meaning) }
                    }
                }
            }
        }
    }

    fn contents(&self) -> Markup {
        html! {
            nav aria-label="Scenarios" {
                ul {
                    @for (number, groups) in self.scenarios.iter().enumerate() {
                        li { a href=(format!("#scenario-{number}")) { (groups[0].scenario) } }
                    }
                }
            }
        }
    }
}

fn section(number: usize, groups: &[Group<'_>]) -> Markup {
    let plots = figures::all(groups);
    html! {
        section id=(format!("scenario-{number}")) {
            h2 { (groups[0].scenario) }
            @for (side, group) in groups.iter().enumerate() {
                @if let Some(notice) = group.idle_notice() {
                    p .wrong { "Warning: " @if groups.len() > 1 { (SIDES[side % 2]) " has " } (notice) ". Its figures say nothing of the server." }
                }
            }
            @match groups {
                [first, second] => div .wide { (compared(&[first.clone(), second.clone()])) },
                _ => div .wide { (medians(&groups[0])) },
            }
            @if !plots.is_empty() {
                div .plots { @for plot in plots { (plot) } }
            }
        }
    }
}

/// The figures and faults of a scenario.
fn medians(group: &Group<'_>) -> Markup {
    html! {
        table .figures {
            caption { "Medians of " (group.count()) }
            thead { tr {
                th scope="col" { "Figure" }
                th scope="col" .figure { "Median" } th .unit {}
                th scope="col" .figure { "Least – most" }
            } }
            tbody {
                @for (name, range) in group.figures() {
                    @let (factor, sign) = Unit::of(&name).tabled(range.median);
                    @let [median, least, most] = range.divided(factor);
                    tr {
                        th scope="row" title=(name) { (label(&name)) }
                        td .figure { (median) }
                        td .unit { (sign) }
                        td .figure .quiet { (least) " – " (most) }
                    }
                }
                @for (name, count) in group.faults() {
                    tr {
                        th scope="row" .quiet { (label(name)) }
                        (fault(count))
                        td .unit {}
                        td {}
                    }
                }
                @if let Some(why) = group.why_closed() {
                    tr {
                        th scope="row" .quiet { "First closed" }
                        td colspan="3" { (why) }
                    }
                }
            }
        }
    }
}

/// The figures and faults of a scenario in two sittings.
fn compared(pair: &[Group<'_>; 2]) -> Markup {
    html! {
        table .figures {
            caption { "Medians, with the least – most of A’s " (pair[0].count()) " and B’s " (pair[1].count()) }
            thead { tr {
                th scope="col" { "Figure" }
                th scope="col" .figure .a { b { "A" } }
                th scope="col" .figure .b { b { "B" } }
                th scope="col" .figure { "B / A" }
            } }
            tbody {
                @for row in Row::all(pair) {
                    @let typical = row.ranges.iter().flatten().map(|range| range.median).fold(0.0, f64::max);
                    @let (factor, sign) = Unit::of(&row.name).tabled(typical);
                    tr {
                        th scope="row" title=(row.name) { (label(&row.name)) " " small { (sign) } }
                        @for range in row.ranges { (ranged(range, factor)) }
                        (ratio(&row))
                    }
                }
                @for (name, counts) in comparison::faults(pair) {
                    tr {
                        th scope="row" .quiet { (label(name)) }
                        @for count in counts { (fault(count)) }
                        td {}
                    }
                }
            }
        }
    }
}

fn ranged(range: Option<Range>, factor: f64) -> Markup {
    html! {
        td .figure {
            @match range {
                Some(range) => {
                    @let [median, least, most] = range.divided(factor);
                    (median) " " small { (least) " – " (most) }
                }
                None => "–",
            }
        }
    }
}

fn ratio(row: &Row) -> Markup {
    html! {
        td .figure {
            @match row.ratio() {
                Some(ratio) => span class=[(row.verdict() == Verdict::Apart).then_some("plain")] { (grouped(ratio, 3)) },
                None => "–",
            }
            " " small { (row.verdict().word()) }
        }
    }
}

fn fault(count: u64) -> Markup {
    html! {
        @if count == 0 { td .figure .quiet { "0" } } @else { td .figure .wrong { (grouped(count as f64, 0)) } }
    }
}

#[cfg(test)]
mod tests {
    use roxmltree::{Document, Node};

    use super::*;
    use crate::report::Report;

    const NASTY: &str = "<b>&\"'</b>";

    /// Three runs of a scenario with everything, and one of a scenario with next to nothing.
    fn sitting(factor: f64) -> Sitting {
        let mut sitting = Sitting::begin();
        for run in 0..3_u32 {
            let mut report = Report::new(&format!("fanout {NASTY}"));
            report.number("deliveries_per_s", 1_234_567.0 * factor + f64::from(run));
            report.number("of_floor", 0.9 * factor + 0.01 * f64::from(run));
            report.number(NASTY, 1.0);
            report.count("missing", u64::from(run));
            report.count("doubled", 0);
            report.series.insert("memory_bytes".to_owned(), vec![[0.0, 1e6], [1.0, 2e6 * factor], [2.5, 3e6]]);
            report.series.insert("empty_s".to_owned(), Vec::new());
            report.percentiles.insert("latency".to_owned(), vec![[0.0, 5.0], [90.0, 50.0], [99.99, 7000.0]]);
            sitting.reports.push(report);
        }
        sitting.reports.push(Report::new("nothing"));
        sitting
    }

    /// What the body holds, as XML: then it is well-formed as HTML, too, whose only other elements are in the head.
    fn body(page: &str) -> Document<'_> {
        let body = &page[page.find("<body>").expect("a body")..page.find("</html>").expect("an end")];
        Document::parse(body).expect("well-formed")
    }

    fn all<'a, 'input>(document: &'a Document<'input>, name: &'static str) -> Vec<Node<'a, 'input>> {
        document.descendants().filter(|node| node.has_tag_name(name)).collect()
    }

    fn said(node: &Node<'_, '_>) -> String {
        node.descendants().filter_map(|node| if node.is_text() { node.text() } else { None }).collect()
    }

    fn has_class(node: &Node<'_, '_>, class: &str) -> bool {
        node.attribute("class").is_some_and(|classes| classes.split(' ').any(|one| one == class))
    }

    #[test]
    fn a_page_of_a_sitting_shows_all_of_it() {
        let sitting = sitting(1.0);
        let page = Page::of(&sitting).html();
        let document = body(&page);
        assert_eq!(all(&document, "h2").iter().map(said).collect::<Vec<_>>(), [&format!("fanout {NASTY}"), "nothing"]);
        let tables = all(&document, "table");
        let figures = tables.iter().find(|table| has_class(table, "figures")).expect("figures");
        let rows: Vec<Vec<String>> = figures
            .descendants()
            .filter(|node| node.has_tag_name("tr"))
            .map(|row| row.children().map(|cell| said(&cell)).collect())
            .collect();
        assert!(
            rows.contains(
                &["deliveries", "1,234,568", "per second", "1,234,567 – 1,234,569"].map(str::to_owned).into()
            )
        );
        assert!(rows.contains(&["latency p90", "50", "µs", "50 – 50"].map(str::to_owned).into()));
        assert!(rows.contains(&["share of the floor", "91", "%", "90 – 92"].map(str::to_owned).into()), "{rows:?}");
        assert!(rows.contains(&["missing", "3", "", ""].map(str::to_owned).into()));
        let terms: Vec<String> = all(&document, "dt").iter().map(said).collect();
        assert_eq!(terms, ["Share of the floor", "p50, p99"]);
        let wrong: Vec<String> =
            all(&document, "td").iter().filter(|cell| has_class(cell, "wrong")).map(said).collect();
        assert_eq!(wrong, ["3"]);
    }

    #[test]
    fn plots_have_a_line_for_each_run_and_are_named() {
        let sitting = sitting(1.0);
        let page = Page::of(&sitting).html();
        let document = body(&page);
        let plots = pictures(&document);
        let names = plots.iter().map(|plot| plot.first_element_child().map(|title| said(&title)));
        let names: Vec<String> = names.map(Option::unwrap_or_default).collect();
        assert_eq!(names, ["share of the floor", "latency, by percentile", "memory bytes, over time"]);
        let lines = |plot: &Node<'_, '_>| plot.descendants().filter(|node| node.has_tag_name("polyline")).count();
        assert_eq!(plots.iter().map(lines).collect::<Vec<_>>(), [0, 3, 3]);
        let texts = |plot: &Node<'_, '_>| {
            plot.descendants().filter(|node| node.has_tag_name("text")).map(|node| said(&node)).collect::<Vec<_>>()
        };
        assert!(texts(&plots[1]).ends_with(&["0", "90", "99", "99.9", "99.99", "percentile"].map(str::to_owned)));
        assert!(texts(&plots[2]).starts_with(&["0", "1", "2", "3"].map(str::to_owned)), "{:?}", texts(&plots[2]));
        for plot in &plots {
            let sides: Vec<f64> =
                plot.attribute("viewBox").unwrap_or_default().split(' ').flat_map(str::parse).collect();
            let points = plot.descendants().filter_map(|node| node.attribute("points"));
            let numbers: Vec<f64> = points.flat_map(|points| points.split([' ', ','])).flat_map(str::parse).collect();
            assert!(numbers.chunks(2).all(|at| (0.0..=sides[2]).contains(&at[0]) && (0.0..=sides[3]).contains(&at[1])));
        }
    }

    /// The plots, without the pieces of lines in legends.
    fn pictures<'a, 'input>(document: &'a Document<'input>) -> Vec<Node<'a, 'input>> {
        all(document, "svg").into_iter().filter(|svg| svg.attribute("role") == Some("img")).collect()
    }

    fn legends(document: &Document<'_>) -> Vec<Vec<String>> {
        let lists = all(document, "ul").into_iter().filter(|list| has_class(list, "legend"));
        lists.map(|list| list.children().map(|entry| said(&entry)).collect()).collect()
    }

    #[test]
    fn runs_in_a_plot_have_a_legend_and_looks_of_their_own() {
        let mut sitting = sitting(1.0);
        sitting.reports[1].number("deliveries_per_s", 0.0);
        let page = Page::of(&sitting).html();
        let document = body(&page);
        assert_eq!(legends(&document), [["run 1", "run 2 (no deliveries)", "run 3"]; 2]);
        let looks = |node: &Node<'_, '_>| {
            let groups = node.descendants().filter(|node| node.has_tag_name("g"));
            groups.filter_map(|group| group.attribute("class").map(str::to_owned)).collect::<Vec<_>>()
        };
        let keys: Vec<String> = all(&document, "ul").iter().flat_map(looks).collect();
        let lines: Vec<String> = pictures(&document)[1..].iter().flat_map(looks).collect();
        assert_eq!(keys, lines, "a key looks as the line that it stands for");
        let different: std::collections::BTreeSet<&String> = lines.iter().collect();
        assert_eq!(different.len(), 3);
        for class in different.iter().flat_map(|classes| classes.split(' ')).filter(|class| *class != "dash-0") {
            assert!(STYLE.contains(&format!("svg .{class} ")), "{class} has no style");
        }
    }

    #[test]
    fn runs_without_deliveries_are_flagged() {
        let mut sitting = sitting(1.0);
        let flags = |sitting: &Sitting| {
            let page = Page::of(sitting).html();
            let document = body(&page);
            let wrong = all(&document, "p").into_iter().filter(|paragraph| has_class(paragraph, "wrong"));
            wrong.map(|paragraph| said(&paragraph)).filter(|text| text.contains("deliveries")).collect::<Vec<_>>()
        };
        assert_eq!(flags(&sitting), [""; 0]);
        sitting.reports[1].number("deliveries_per_s", 0.0);
        let notice = "Warning: no deliveries in run 2. Its figures say nothing of the server.".to_owned();
        assert_eq!(flags(&sitting), [format!("Runs without deliveries in: fanout {NASTY}"), notice]);
    }

    #[test]
    fn a_page_stands_alone() {
        let (first, second) = (sitting(1.0), sitting(2.0));
        let (sittings, names) = ([first, second], [NASTY.to_owned(), "b.json".to_owned()]);
        let comparison = Comparison::of(&sittings[0], &sittings[1]);
        for page in [Page::of(&sittings[0]).html(), Page::comparing(&sittings, &names, &comparison).html()] {
            assert!(page.starts_with("<!DOCTYPE html><html lang=\"en\"><head><meta charset=\"utf-8\">"));
            for outside in ["http:", "https:", "//", "src=", "url(", "@import", "<script", "<link", "<b>&"] {
                assert!(!page.contains(outside), "{outside}");
            }
            let document = body(&page);
            let targets = all(&document, "a").into_iter().filter_map(|link| link.attribute("href"));
            let ids: Vec<&str> = document.descendants().filter_map(|node| node.attribute("id")).collect();
            assert_eq!(targets.map(|target| &target[1..]).collect::<Vec<_>>(), ids);
        }
    }

    #[test]
    fn two_sittings_are_in_the_same_plots() {
        let (first, mut second) = (sitting(1.0), sitting(2.0));
        second.reports.pop();
        second.machine.kernel = "9.9.9".to_owned();
        let (sittings, names) = ([first, second], [NASTY.to_owned(), "b.json".to_owned()]);
        let comparison = Comparison::of(&sittings[0], &sittings[1]);
        let page = Page::comparing(&sittings, &names, &comparison).html();
        let document = body(&page);
        let notes: Vec<String> = all(&document, "strong").iter().map(said).collect();
        assert!(notes[0].starts_with("The machines differ: kernel: ") && notes[0].ends_with(" and 9.9.9"), "{notes:?}");
        assert_eq!(notes[1..], ["Only in A: nothing"]);
        let cells: Vec<String> = all(&document, "td").iter().map(said).collect();
        assert!(
            cells.contains(&"2.000 apart".to_owned()) && cells.contains(&"1.000 overlapping".to_owned()),
            "{cells:?}"
        );
        for side in ["a", "b"] {
            let groups = all(&document, "g").into_iter().filter(|group| has_class(group, side));
            let lines = groups.flat_map(|group| group.children().filter(|node| node.has_tag_name("polyline")));
            assert_eq!(lines.count(), 6, "{side}");
        }
        assert_eq!(legends(&document), [["A, 3 runs", "B, 3 runs"]; 2]);
    }
}
