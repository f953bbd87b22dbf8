//! Names of figures end in their unit, and figures are written for people: thousands grouped, as many decimals as tell
//! something.

/// What a figure counts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Unit {
    /// How often in a second.
    PerSecond,
    /// How often in a second of a server's CPU time.
    PerCpuSecond,
    Nanoseconds,
    Microseconds,
    Milliseconds,
    Seconds,
    Bytes,
    /// A part of a whole, which is 1.
    Share,
    /// A count, or a ratio.
    Plain,
}

/// How names of figures begin that are parts of what the kernel allows.
pub const OF_FLOOR: &str = "of_floor";

/// How names end, what ends longer first.
const ENDINGS: [(&str, Unit); 7] = [
    ("_per_cpu_s", Unit::PerCpuSecond),
    ("_per_s", Unit::PerSecond),
    ("_ns", Unit::Nanoseconds),
    ("_us", Unit::Microseconds),
    ("_ms", Unit::Milliseconds),
    ("_s", Unit::Seconds),
    ("_bytes", Unit::Bytes),
];

impl Unit {
    /// The unit that a figure's name ends in.
    pub fn of(name: &str) -> Self {
        let ending = ENDINGS.iter().find(|(ending, _)| name.ends_with(ending));
        match ending {
            Some((_, unit)) => *unit,
            None if name.starts_with("bytes_") => Self::Bytes,
            None if name.starts_with(OF_FLOOR) || name.ends_with("_share") => Self::Share,
            None => Self::Plain,
        }
    }

    /// As it is written behind a figure.
    pub fn sign(self) -> &'static str {
        match self {
            Self::PerSecond => "/s",
            Self::PerCpuSecond => "/CPU s",
            Self::Nanoseconds => "ns",
            Self::Microseconds => "µs",
            Self::Milliseconds => "ms",
            Self::Seconds => "s",
            Self::Bytes => "B",
            Self::Share | Self::Plain => "",
        }
    }

    /// What an axis up to `most` is divided by, and the sign of what results: 2,000,000 bytes are 1.9 MiB.
    pub fn scaled(self, most: f64) -> (f64, String) {
        let pick = |steps: &[(f64, &str)], sign: &str| {
            let step = steps.iter().find(|(factor, _)| most >= *factor).or(steps.last());
            let (factor, prefix) = step.copied().unwrap_or((1.0, ""));
            (factor, format!("{prefix}{sign}"))
        };
        match self {
            Self::Nanoseconds => pick(&[(1e9, ""), (1e6, "m"), (1e3, "µ"), (1.0, "n")], "s"),
            Self::Microseconds => pick(&[(1e6, ""), (1e3, "m"), (1.0, "µ"), (1e-3, "n")], "s"),
            Self::Milliseconds => pick(&[(1e3, ""), (1.0, "m"), (1e-3, "µ"), (1e-6, "n")], "s"),
            Self::Seconds => pick(&[(1.0, ""), (1e-3, "m"), (1e-6, "µ"), (1e-9, "n")], "s"),
            Self::Bytes => pick(&[(1_073_741_824.0, "Gi"), (1_048_576.0, "Mi"), (1024.0, "Ki"), (1.0, "")], "B"),
            Self::Share => (0.01, "%".to_owned()),
            Self::PerSecond | Self::PerCpuSecond | Self::Plain => {
                pick(&[(1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, "")], self.sign())
            }
        }
    }

    /// What figures in a table are divided by, and the unit in words that stands beside them: bytes and times as suits the
    /// size of `typical`, all others as they are.
    pub fn tabled(self, typical: f64) -> (f64, String) {
        match self {
            Self::PerSecond => (1.0, "per second".to_owned()),
            Self::PerCpuSecond => (1.0, "per CPU second".to_owned()),
            Self::Plain => (1.0, String::new()),
            // Of no time at all, the unit is that of the figure's name.
            _ if typical == 0.0 && self != Self::Share => (1.0, self.sign().to_owned()),
            _ => self.scaled(typical.abs()),
        }
    }

    /// A figure in the unit that suits its size, such as `1.2 ms`.
    pub fn short(self, value: f64) -> String {
        let (factor, sign) = self.scaled(value.abs());
        let gap = if sign.is_empty() || sign.starts_with(['/', '%']) { "" } else { " " };
        format!("{}{gap}{sign}", trimmed(value / factor))
    }
}

/// A figure's name for people: in words, without the unit that stands beside it.
pub fn label(name: &str) -> String {
    // What bytes are of says less than that they are bytes.
    let ending = ENDINGS.iter().find(|(ending, unit)| name.ends_with(ending) && *unit != Unit::Bytes);
    let name = ending.and_then(|(ending, _)| name.strip_suffix(ending)).unwrap_or(name);
    if let Some(rest) = name.strip_prefix(OF_FLOOR) {
        return format!("share of the floor{}", rest.replace('_', " "));
    }
    name.split('_').map(percentile).collect::<Vec<_>>().join(" ")
}

/// `p999` is the percentile 99.9.
fn percentile(word: &str) -> String {
    match word.strip_prefix("p99") {
        Some(more) if !more.is_empty() && more.bytes().all(|digit| digit.is_ascii_digit()) => format!("p99.{more}"),
        _ => word.to_owned(),
    }
}

/// By what figures are sorted: percentiles of the same grow, and the largest value of all comes last.
pub fn order(name: &str) -> Vec<&str> {
    name.split('_').map(|word| if word == "max" { "~" } else { word }).collect()
}

/// Decimals that tell something of values written beside each other: four digits of the largest, and none if all are whole.
pub fn decimals(values: &[f64]) -> usize {
    if values.iter().all(|value| value.fract() == 0.0) {
        return 0;
    }
    // Of 0.0001234, all four digits stand behind zeros.
    let magnitude = values.iter().fold(0_f64, |most, value| most.max(value.abs())).log10().floor();
    (3.0 - magnitude).clamp(0.0, 9.0) as usize
}

/// A value with its thousands grouped.
pub fn grouped(value: f64, decimals: usize) -> String {
    let text = format!("{:.decimals$}", value.abs());
    let (whole, fraction) = text.split_at(text.find('.').unwrap_or(text.len()));
    let mut out = String::new();
    if value < 0.0 && text.bytes().any(|digit| (b'1'..=b'9').contains(&digit)) {
        out.push('-');
    }
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out + fraction
}

/// A value with four digits at most and no zeros behind the last that tells something.
fn trimmed(value: f64) -> String {
    let text = grouped(value, decimals(&[value]));
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_end_in_their_unit() {
        for (name, in_words, unit) in [
            ("deliveries_per_s", "deliveries", Unit::PerSecond),
            ("deliveries_per_cpu_s", "deliveries", Unit::PerCpuSecond),
            ("latency_p50_us", "latency p50", Unit::Microseconds),
            ("open_s", "open", Unit::Seconds),
            ("kernel_bytes", "kernel bytes", Unit::Bytes),
            ("latency_p999_us", "latency p99.9", Unit::Microseconds),
            ("p99x_p99_p100", "p99x p99 p100", Unit::Plain),
            ("bytes_in_room", "bytes in room", Unit::Bytes),
            ("of_floor", "share of the floor", Unit::Share),
            ("of_floor_with_answers", "share of the floor with answers", Unit::Share),
            ("server_cpu_share", "server cpu share", Unit::Share),
            ("_us", "", Unit::Microseconds),
            ("", "", Unit::Plain),
        ] {
            assert_eq!((label(name).as_str(), Unit::of(name)), (in_words, unit), "{name}");
        }
    }

    #[test]
    fn percentiles_are_sorted() {
        let sorted = ["a_s", "b_p50_us", "b_p90_us", "b_p99_us", "b_p999_us", "b_max_us", "c_us"];
        assert!(sorted.is_sorted_by_key(|name| order(name)));
    }

    #[test]
    fn thousands_are_grouped_and_decimals_tell_something() {
        for (value, text) in [
            (0.0, "0"),
            (12.0, "12"),
            (999.95, "1,000.0"),
            (1234.5, "1,234"),
            (1_234_567.8, "1,234,568"),
            (-1234.0, "-1,234"),
            (-0.00000000001, "0.000000000"),
            (0.9667, "0.9667"),
            (12.3456, "12.35"),
            (0.000_123_44, "0.0001234"),
            (1e18, "1,000,000,000,000,000,000"),
        ] {
            assert_eq!(grouped(value, decimals(&[value])), text, "{value}");
        }
        assert_eq!(decimals(&[0.9667, 12.0]), 2);
        assert_eq!(decimals(&[9.0, 12.0]), 0);
    }

    #[test]
    fn figures_have_the_unit_that_suits_them() {
        assert_eq!(Unit::PerSecond.short(1_234_567.0), "1.235 M/s");
        assert_eq!(Unit::PerSecond.short(12.0), "12/s");
        assert_eq!(Unit::Microseconds.short(0.0), "0 ns");
        assert_eq!(Unit::Microseconds.short(1500.0), "1.5 ms");
        assert_eq!(Unit::Seconds.short(0.02), "20 ms");
        assert_eq!(Unit::Bytes.short(3.0 * 1_048_576.0), "3 MiB");
        assert_eq!(Unit::Share.short(0.93), "93%");
    }

    #[test]
    fn tables_have_units_in_words() {
        for (unit, typical, expected) in [
            (Unit::PerSecond, 1e6, (1.0, "per second")),
            (Unit::PerCpuSecond, 0.0, (1.0, "per CPU second")),
            (Unit::Bytes, 3.0 * 1_048_576.0, (1_048_576.0, "MiB")),
            (Unit::Microseconds, 1500.0, (1e3, "ms")),
            (Unit::Microseconds, 0.0, (1.0, "µs")),
            (Unit::Share, 0.0, (0.01, "%")),
            (Unit::Plain, 1e9, (1.0, "")),
        ] {
            let (factor, sign) = unit.tabled(typical);
            assert_eq!((factor, sign.as_str()), expected, "{unit:?} {typical}");
        }
    }
}
