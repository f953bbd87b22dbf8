//! Axes: where a value lies between their ends, and which values are written beside them.

use super::units::{Unit, grouped};

/// Ticks on an axis at most.
const TICKS_MAX: usize = 16;

/// No time that is measured is shorter, in microseconds; a logarithm needs a least one.
const LATENCY_US_MIN: f64 = 0.1;

/// An axis.
#[derive(Clone, Debug)]
pub struct Scale {
    kind: Kind,
    /// Its ends, as the kind transforms them.
    ends: (f64, f64),
    /// Values, and how they are written.
    pub ticks: Vec<(f64, String)>,
    /// The unit of what is written; nothing if it stands beside each.
    pub sign: String,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Linear,
    Logarithmic,
    /// A percentile by its nines: 90, 99 and 99.9 are as far apart. 100 is at the end.
    Nines,
}

impl Scale {
    /// An axis from 0, or from the least value if that is negative, to the most, in whole steps of 1, 2 or 5.
    pub fn linear(values: impl Iterator<Item = f64>, unit: Unit, about: usize) -> Self {
        let (least, most) = values.fold((0_f64, 0_f64), |(least, most), value| (least.min(value), most.max(value)));
        let (factor, sign) = unit.scaled(most.max(-least));
        let most = if most == least { least + factor } else { most };
        let step = step((most - least) / factor / about as f64);
        let (first, last) = ((least / factor / step).floor(), (most / factor / step).ceil());
        let decimals = (-step.log10().floor()).clamp(0.0, 9.0) as usize;
        let count = ((last - first) as usize).min(TICKS_MAX);
        let tick = |number: usize| (first + number as f64) * step;
        let ticks = (0..=count).map(|number| (tick(number) * factor, grouped(tick(number), decimals))).collect();
        Self { kind: Kind::Linear, ends: (first * step * factor, last * step * factor), ticks, sign }
    }

    /// An axis of seconds that ends where the values do, and not at the next whole step.
    pub fn time(values: impl Iterator<Item = f64>, about: usize) -> Self {
        let values: Vec<f64> = values.collect();
        let most = values.iter().copied().fold(0.0, f64::max);
        let mut scale = Self::linear(values.into_iter(), Unit::Seconds, about);
        if most > 0.0 {
            scale.ends.1 = most;
            scale.ticks.retain(|(value, _)| *value <= most * (1.0 + 1e-9));
        }
        scale
    }

    /// An axis of microseconds by powers of ten, for times that differ by orders of magnitude.
    pub fn logarithmic(values: impl Iterator<Item = f64>) -> Self {
        let start = (f64::INFINITY, LATENCY_US_MIN);
        let (least, most) = values.fold(start, |(least, most), value| (least.min(value), most.max(value)));
        let least = least.clamp(LATENCY_US_MIN, most);
        let decades = most.log10().ceil() - least.log10().floor();
        let factors: &[f64] = if decades <= 3.0 { &[1.0, 2.0, 5.0] } else { &[1.0] };
        let mut all = Vec::new();
        for decade in (least.log10().floor() as i32)..=(most.log10().ceil() as i32) {
            all.extend(factors.iter().map(|factor| factor * 10_f64.powi(decade)));
        }
        let first = all.iter().rposition(|tick| *tick <= least * (1.0 + 1e-9)).unwrap_or(0);
        let last = all.iter().position(|tick| *tick >= most * (1.0 - 1e-9)).unwrap_or(all.len() - 1);
        let last = last.max(first + 1).min(all.len() - 1);
        let ticks: Vec<(f64, String)> =
            all[first..=last].iter().map(|tick| (*tick, Unit::Microseconds.short(*tick))).collect();
        let ends = (all[first].log10(), all[last].log10());
        Self { kind: Kind::Logarithmic, ends, ticks, sign: String::new() }
    }

    /// An axis of percentiles, to as many nines as there are.
    pub fn nines(values: impl Iterator<Item = f64> + Clone) -> Self {
        let most = values.clone().filter(|value| *value < 100.0).map(nines).fold(2.0, f64::max).ceil().min(7.0);
        let mut ticks: Vec<(f64, String)> = [0.0, 90.0, 99.0].map(|value: f64| (value, format!("{value}"))).into();
        ticks.extend((3..=most as i32).map(|count| {
            let value = 100.0 - 10_f64.powi(2 - count);
            (value, format!("{value:.*}", count as usize - 2))
        }));
        let has_all = values.into_iter().any(|value| value >= 100.0);
        if has_all {
            ticks.push((100.0, "100".to_owned()));
        }
        // The largest value of all has a place of its own, beyond the last percentile.
        let end = if has_all { most + 0.75 } else { most };
        Self { kind: Kind::Nines, ends: (0.0, end), ticks, sign: String::new() }
    }

    /// Where a value lies, from 0 to 1.
    pub fn at(&self, value: f64) -> f64 {
        let value = match self.kind {
            Kind::Linear => value,
            Kind::Logarithmic => value.max(LATENCY_US_MIN).log10(),
            Kind::Nines if value >= 100.0 => self.ends.1,
            Kind::Nines => nines(value),
        };
        ((value - self.ends.0) / (self.ends.1 - self.ends.0)).clamp(0.0, 1.0)
    }
}

/// How many nines a percentile below 100 has, and parts of them: 0 of 0, 1 of 90, 2 of 99.
fn nines(percentile: f64) -> f64 {
    -(1.0 - percentile / 100.0).log10()
}

/// The least of 1, 2 and 5 times a power of ten that is no smaller.
fn step(least: f64) -> f64 {
    let power = 10_f64.powf(least.log10().floor());
    let factors = [1.0, 2.0, 5.0, 10.0];
    factors.iter().map(|factor| factor * power).find(|step| *step >= least * (1.0 - 1e-9)).unwrap_or(10.0 * power)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(scale: &Scale) -> Vec<&str> {
        scale.ticks.iter().map(|(_, text)| text.as_str()).collect()
    }

    #[test]
    fn ticks_are_whole_steps_in_a_unit_that_suits() {
        for (most, unit, ticks, sign) in [
            (1_234_567.0, Unit::PerSecond, &["0.0", "0.5", "1.0", "1.5"][..], "M/s"),
            (87.0, Unit::PerSecond, &["0", "20", "40", "60", "80", "100"], "/s"),
            (3_500.0, Unit::Microseconds, &["0", "1", "2", "3", "4"], "ms"),
            (2_500_000.0, Unit::Bytes, &["0.0", "0.5", "1.0", "1.5", "2.0", "2.5"], "MiB"),
            (0.97, Unit::Plain, &["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"], ""),
            (0.0, Unit::Plain, &["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"], ""),
        ] {
            let scale = Scale::linear([0.0, most].into_iter(), unit, 5);
            assert_eq!((written(&scale).as_slice(), scale.sign.as_str()), (ticks, sign), "{most}");
            assert_eq!(scale.at(scale.ticks[0].0), 0.0);
            assert_eq!(scale.at(scale.ticks[ticks.len() - 1].0), 1.0);
        }
        assert_eq!(written(&Scale::linear([-3.0, 4.0].into_iter(), Unit::Plain, 4)), ["-4", "-2", "0", "2", "4"]);
        assert_eq!(written(&Scale::time([0.0, 10.4].into_iter(), 5)), ["0", "5", "10"]);
        assert_eq!(Scale::time([0.0, 10.4].into_iter(), 5).at(10.4), 1.0);
    }

    #[test]
    fn any_figures_have_an_axis() {
        let figures = [0.0, -0.0, 1.0, -1.0, 1e-300, 1e18, -1e18, 0.1, 1e-9, 123_456_789.0];
        for a in figures {
            for b in figures {
                let unit = [Unit::Plain, Unit::Bytes, Unit::Seconds, Unit::Microseconds];
                for scale in unit.map(|unit| Scale::linear([a, b].into_iter(), unit, 5)) {
                    assert!((2..=TICKS_MAX + 1).contains(&scale.ticks.len()), "{a} {b}: {scale:?}");
                    assert!((0.0..=1.0).contains(&scale.at(a)), "{a} {b}: {scale:?}");
                    assert!(scale.ticks.iter().all(|(tick, _)| tick.is_finite()), "{a} {b}: {scale:?}");
                }
                let scale = Scale::logarithmic([a.abs(), b.abs()].into_iter());
                assert!((2..64).contains(&scale.ticks.len()), "{a} {b}: {scale:?}");
                assert!((0.0..=1.0).contains(&scale.at(a.abs())), "{a} {b}: {scale:?}");
            }
        }
    }

    #[test]
    fn latencies_go_by_powers_of_ten() {
        let scale = Scale::logarithmic([57.0, 340.0].into_iter());
        assert_eq!(written(&scale), ["50 µs", "100 µs", "200 µs", "500 µs"]);
        let scale = Scale::logarithmic([3.0, 2_400_000.0].into_iter());
        assert_eq!(written(&scale), ["1 µs", "10 µs", "100 µs", "1 ms", "10 ms", "100 ms", "1 s", "10 s"]);
        assert!((scale.at(1000.0) - 3.0 / 7.0).abs() < 1e-9);
    }

    #[test]
    fn percentiles_go_by_nines() {
        let scale = Scale::nines([0.0, 50.0, 99.99].into_iter());
        assert_eq!(written(&scale), ["0", "90", "99", "99.9", "99.99"]);
        for (percentile, at) in [(0.0, 0.0), (90.0, 0.25), (99.0, 0.5), (99.9, 0.75), (99.99, 1.0), (99.9999, 1.0)] {
            assert!((scale.at(percentile) - at).abs() < 1e-9, "{percentile}");
        }
        let scale = Scale::nines([0.0, 100.0].into_iter());
        assert_eq!(written(&scale), ["0", "90", "99", "100"]);
        assert!(scale.at(99.0) < 0.8 && scale.at(100.0) == 1.0);
    }
}
