//! All runs of one call of the program, and the machine they ran on: the file that `--json` writes and `compare` reads.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::Report;

/// Longer files are not reports.
const FILE_BYTES_MAX: u64 = 256 << 20;

/// Nothing that is measured here is larger. Below it, no arithmetic on figures overflows.
const FIGURE_MAX: f64 = 1e18;

/// Options whose value is a secret.
const SECRET_OPTIONS: [&str; 2] = ["--secret", "--auth"];

/// What the name of a server's setting contains if its value is or may contain a secret.
const SECRET_SETTINGS: [&str; 4] = ["secret", "credential", "password", "url"];

/// All runs of one call of the program.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Sitting {
    /// Where it was.
    pub machine: Machine,
    /// How the program was called, secrets left out.
    pub command: String,
    /// When, as RFC 3339 has it.
    pub started: String,
    /// The program's version.
    pub version: String,
    /// The runs.
    pub reports: Vec<Report>,
}

/// The machine of a sitting, as far as it matters to figures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// The processor's model.
    pub cpu: String,
    /// Cores that the program may use.
    pub cores: usize,
    /// The kernel's release.
    pub kernel: String,
    /// Memory in all.
    pub memory_bytes: u64,
}

impl Sitting {
    /// A sitting that starts now, without runs so far.
    pub fn begin() -> Self {
        Self {
            machine: Machine::this(),
            command: command(std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned())),
            started: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            reports: Vec::new(),
        }
    }

    /// Leaves out what is not a number, such as a rate over no time: JSON has no word for it.
    pub fn leave_out_what_is_no_figure(&mut self) {
        for report in &mut self.reports {
            report.numbers.retain(|_, value| is_figure(*value));
            for points in report.series.values_mut().chain(report.percentiles.values_mut()) {
                points.retain(|point| point.iter().all(|value| is_figure(*value)));
            }
        }
    }

    /// Writes the file.
    pub fn write(&self, path: &Path) -> Result<(), String> {
        let json = serde_json::to_string_pretty(self).map_err(|error| error.to_string())?;
        fs::write(path, json + "\n").map_err(|error| format!("{}: {error}", path.display()))
    }

    /// Reads a file that was written, and says what is wrong with another.
    pub fn read(path: &Path) -> Result<Self, String> {
        let fail = |what: String| format!("{}: {what}", path.display());
        let file = File::open(path).map_err(|error| fail(error.to_string()))?;
        let mut text = String::new();
        file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(|error| fail(error.to_string()))?;
        if text.len() as u64 > FILE_BYTES_MAX {
            return Err(fail(format!("more than {} MiB, which no report has", FILE_BYTES_MAX >> 20)));
        }
        Self::parse(&text).map_err(fail)
    }

    fn parse(text: &str) -> Result<Self, String> {
        if text.trim_start().starts_with('[') {
            return Err("a list, where what --json writes is an object with `machine` and `reports`".to_owned());
        }
        let mut json = serde_json::Deserializer::from_str(text);
        let sitting: Self = serde_path_to_error::deserialize(&mut json).map_err(|error| {
            let path = error.path().to_string();
            let place = if path == "." { String::new() } else { format!("{path}: ") };
            format!("not what --json writes: {place}{}", error.into_inner())
        })?;
        json.end().map_err(|error| format!("something follows the report: {error}"))?;
        sitting.check()?;
        Ok(sitting)
    }

    fn check(&self) -> Result<(), String> {
        if humantime::parse_rfc3339(&self.started).is_err() {
            return Err(format!("started: {:?} is no time as RFC 3339 has it", self.started));
        }
        let Machine { cpu, kernel, .. } = &self.machine;
        for (place, text) in
            [("machine.cpu", cpu), ("machine.kernel", kernel), ("command", &self.command), ("version", &self.version)]
        {
            check_text(text).map_err(|what| format!("{place}: {what}"))?;
        }
        if self.reports.is_empty() {
            return Err("reports: there are none".to_owned());
        }
        for (number, report) in self.reports.iter().enumerate() {
            report.check().map_err(|what| format!("reports[{number}].{what}"))?;
        }
        Ok(())
    }
}

impl Report {
    fn check(&self) -> Result<(), String> {
        if self.scenario.trim().is_empty() {
            return Err("scenario: it has no name".to_owned());
        }
        check_text(&self.scenario).map_err(|what| format!("scenario: {what}"))?;
        let why = self.why_closed.as_deref().unwrap_or_default();
        check_text(why).map_err(|what| format!("why_closed: {what}"))?;
        let keys = self.numbers.keys().chain(self.faults.keys()).chain(self.series.keys());
        for name in keys.chain(self.percentiles.keys()) {
            check_text(name).map_err(|what| format!("{name:?}: {what}"))?;
        }
        if let Some((name, value)) = self.numbers.iter().find(|(_, value)| !is_figure(**value)) {
            return Err(format!("numbers.{name}: {value:e} is beyond what can be measured"));
        }
        for (name, points) in &self.series {
            check_points(points, FIGURE_MAX).map_err(|what| format!("series.{name}{what}"))?;
        }
        for (name, points) in &self.percentiles {
            check_points(points, 100.0).map_err(|what| format!("percentiles.{name}{what}"))?;
            if let Some(at) = points.iter().position(|point| point[1] < 0.0) {
                return Err(format!("percentiles.{name}[{at}]: {:e} is less than no time", points[at][1]));
            }
        }
        Ok(())
    }
}

/// Texts are shown in terminals, which obey some characters.
fn check_text(text: &str) -> Result<(), String> {
    match text.chars().find(|character| character.is_control()) {
        Some(character) => Err(format!("the control character {character:?} in it")),
        None => Ok(()),
    }
}

/// What is wrong with points, if anything: they go from left to right, from 0 to `most`.
fn check_points(points: &[[f64; 2]], most: f64) -> Result<(), String> {
    let mut last = 0.0;
    for (at, [x, y]) in points.iter().enumerate() {
        if !(0.0..=most).contains(x) {
            return Err(format!("[{at}]: {x} is not between 0 and {most}"));
        }
        if *x < last {
            return Err(format!("[{at}]: {x} comes after {last}"));
        }
        if !is_figure(*y) {
            return Err(format!("[{at}]: {y:e} is beyond what can be measured"));
        }
        last = *x;
    }
    Ok(())
}

fn is_figure(value: f64) -> bool {
    value.abs() <= FIGURE_MAX
}

impl Machine {
    /// The one this runs on.
    fn this() -> Self {
        let kilobytes = field("/proc/meminfo", "MemTotal").unwrap_or_default();
        let kilobytes: u64 = kilobytes.split(' ').next().and_then(|number| number.parse().ok()).unwrap_or(0);
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Self {
            cpu: field("/proc/cpuinfo", "model name").unwrap_or_else(|| format!("unknown {}", std::env::consts::ARCH)),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            kernel: kernel.trim().to_owned(),
            memory_bytes: 1024 * kilobytes,
        }
    }
}

/// The value of the first line `name: value`.
fn field(path: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let mut fields = text.lines().filter_map(|line| line.split_once(':'));
    fields.find(|(key, _)| key.trim() == name).map(|(_, value)| value.trim().to_owned())
}

/// The command line as a shell takes it, without secrets: reports are passed on.
fn command(arguments: impl Iterator<Item = String>) -> String {
    let mut words = vec!["loadtest".to_owned()];
    let mut option = String::new();
    for word in arguments {
        let shown = match word.split_once('=') {
            _ if SECRET_OPTIONS.contains(&option.as_str()) => "…".to_owned(),
            Some((name, _)) if SECRET_OPTIONS.contains(&name) => format!("{name}=…"),
            Some((name, _)) if word.contains("--set=") || option == "--set" => masked_setting(name, &word),
            _ => word.clone(),
        };
        words.push(shown);
        option = word;
    }
    // Only a NUL makes this fail, and no argument has one.
    let line = shlex::try_join(words.iter().map(String::as_str)).unwrap_or_else(|_| words.join(" "));
    line.replace(char::is_control, "\u{fffd}")
}

/// A setting `key=value`, or `--set=key=value`.
fn masked_setting(name: &str, word: &str) -> String {
    let (option, setting) = if name == "--set" { word.split_at("--set=".len()) } else { ("", word) };
    match setting.split_once('=') {
        Some((key, _)) if SECRET_SETTINGS.iter().any(|part| key.contains(part)) => format!("{option}{key}=…"),
        _ => word.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{"machine": {"cpu": "c", "cores": 2, "kernel": "6.1", "memory_bytes": 1}, "command": "x",
        "started": "2026-01-02T03:04:05Z", "version": "0.1.0", "reports": [{"scenario": "idle", "numbers": {"a_s": 1.5},
        "faults": {"closed": 0}, "series": {"b_us": [[0, 1], [1, 2]]}, "percentiles": {"c": [[0, 1], [100, 9]]}}]}"#;

    fn wrong(from: &str, to: &str) -> String {
        assert!(GOOD.contains(from), "{from}");
        Sitting::parse(&GOOD.replacen(from, to, 1)).expect_err(to)
    }

    #[test]
    fn what_is_written_can_be_read() {
        let sitting = Sitting::parse(GOOD).expect("it is good");
        let again = Sitting::parse(&serde_json::to_string(&sitting).expect("JSON")).expect("it is good");
        assert_eq!(again.machine, sitting.machine);
        assert_eq!(again.reports[0].series["b_us"], [[0.0, 1.0], [1.0, 2.0]]);
        let old =
            GOOD.replace(r#", "series": {"b_us": [[0, 1], [1, 2]]}, "percentiles": {"c": [[0, 1], [100, 9]]}"#, "");
        assert!(Sitting::parse(&old).expect("both are optional").reports[0].series.is_empty());
    }

    #[test]
    fn what_is_wrong_with_a_file_is_said() {
        for (from, to, said) in [
            ("\"a_s\": 1.5", "\"a_s\": \"x\"", "reports[0].numbers.a_s: invalid type: string \"x\", expected f64"),
            ("\"cores\": 2,", "", "machine: missing field `cores`"),
            ("2026-01-02T03:04:05Z", "yesterday", "started: \"yesterday\" is no time"),
            ("\"idle\"", "\" \"", "reports[0].scenario: it has no name"),
            ("\"closed\": 0", "\"closed\": -1", "reports[0].faults.closed: invalid value: integer `-1`"),
            ("[1, 2]]", "[-1, 2]]", "reports[0].series.b_us[1]: -1 is not between 0 and"),
            ("[[0, 1], [1, 2]]", "[[5, 1], [1, 2]]", "reports[0].series.b_us[1]: 1 comes after 5"),
            ("[1, 2]]", "[1, 2, 3]]", "reports[0].series.b_us[1]"),
            ("[100, 9]", "[101, 9]", "reports[0].percentiles.c[1]: 101 is not between 0 and 100"),
            ("[100, 9]", "[100, -9]", "reports[0].percentiles.c[1]: -9e0 is less than no time"),
            ("\"idle\"", r#""\u001b[2J""#, "reports[0].scenario: the control character '\\u{1b}' in it"),
            ("\"a_s\"", r#""a\u0000""#, "reports[0].\"a\\0\": the control character '\\0' in it"),
            (r#"{"closed": 0}"#, r#"{}, "why_closed": "\u0007""#, "reports[0].why_closed: the control character"),
            ("\"6.1\"", r#""\u0007""#, "machine.kernel: the control character"),
            ("1.5", "1e300", "reports[0].numbers.a_s: 1e300 is beyond what can be measured"),
            ("1.5", "1e999", "number out of range"),
            ("}}]}", "}}]", "EOF while parsing"),
            ("}}]}", "}}]}}", "something follows the report: trailing characters at line 3"),
        ] {
            let error = wrong(from, to);
            assert!(error.contains(said), "{to}: {error}");
        }
        let empty = r#"{"machine": {"cpu": "", "cores": 1, "kernel": "", "memory_bytes": 1}, "command": "x",
            "started": "2026-01-02T03:04:05Z", "version": "", "reports": []}"#;
        assert_eq!(Sitting::parse(empty).expect_err("no runs"), "reports: there are none");
        assert!(Sitting::parse("[]").expect_err("a list").contains("a list"));
        assert!(Sitting::parse("").expect_err("nothing").contains("EOF"));
        assert!(
            Sitting::read(Path::new("/nowhere/a.json")).expect_err("no file").starts_with("/nowhere/a.json: No such")
        );
    }

    #[test]
    fn what_is_no_figure_is_left_out() {
        let mut sitting = Sitting::parse(GOOD).expect("it is good");
        let report = &mut sitting.reports[0];
        report.number("rate_per_s", f64::NAN);
        report.number("other_per_s", f64::INFINITY);
        report.series.insert("d_us".to_owned(), vec![[0.0, f64::NAN], [1.0, 2.0]]);
        sitting.leave_out_what_is_no_figure();
        let again = Sitting::parse(&serde_json::to_string(&sitting).expect("JSON")).expect("it is good");
        assert_eq!(again.reports[0].numbers.keys().collect::<Vec<_>>(), ["a_s"]);
        assert_eq!(again.reports[0].series["d_us"], [[1.0, 2.0]]);
    }

    #[test]
    fn the_command_is_shown_without_secrets() {
        let shown = |words: &[&str]| command(words.iter().map(|word| (*word).to_owned()));
        assert_eq!(shown(&["idle", "--binary", "a b"]), "loadtest idle --binary 'a b'");
        let shown = shown(&[
            "--secret",
            "hush",
            "--secret=hush",
            "--auth",
            r#"{"token":"hush"}"#,
            "--set",
            "auth.secret=hush",
            "--set=redis.url=hush",
        ]);
        assert!(!shown.contains("hush"), "{shown}");
        let kept = command(["--set", "history.mode=off", "--set=a.b=c=d"].iter().map(|word| (*word).to_owned()));
        assert_eq!(kept, "loadtest --set 'history.mode=off' '--set=a.b=c=d'");
    }

    #[test]
    fn this_machine_is_known() {
        let machine = Machine::this();
        assert!(machine.cores > 0 && machine.memory_bytes > 1 << 20 && !machine.kernel.is_empty(), "{machine:?}");
    }
}
