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
    /// A count, or a ratio.
    Plain,
}

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
            Self::Plain => "",
        }
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
