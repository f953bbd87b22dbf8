//! The server's health: resources near their limits and unavailable backends, in terms that an operator can act on.

use std::borrow::Cow;
use std::fmt;

/// Per cent of a limit that is a warning.
const WARNING_PERCENT: u64 = 80;

/// Per cent of a limit that is critical.
const CRITICAL_PERCENT: u64 = 95;

/// The limit on failures, per ten thousand attempts and requests: 5 %.
const FAILURES_OF_TEN_THOUSAND: u64 = 500;

/// With fewer attempts and requests than this the rate says little.
const ATTEMPTS_MIN: u64 = 100;

/// The health of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthReport {
    /// The level of the worst issue.
    pub level: Level,
    /// The issues, the worst first.
    pub issues: Vec<String>,
    /// A remedy for each issue, in the same order.
    pub recommendations: Vec<String>,
}

/// A level of health.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// No issues.
    Healthy,
    /// A resource is at 80 % of its limit or more.
    Warning,
    /// A resource is at 95 % of its limit or more, or a backend is unavailable.
    Critical,
}

impl Level {
    /// The level in every dialect.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

/// The use of a resource and its limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// The amount in use.
    pub used: u64,
    /// The limit; 0 is unlimited.
    pub limit: u64,
}

/// The state of a service outside the process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum BackendState {
    /// It is not in use.
    #[default]
    Unused,
    /// It answers.
    Reached,
    /// It does not answer, for this reason.
    Lost(Cow<'static, str>),
}

/// The inputs of the assessment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Vitals {
    /// Connections (`limits.connections`).
    pub connections: Load,
    /// The process's memory, in bytes.
    pub memory_bytes: Load,
    /// Log lines that were dropped since the start.
    pub lost_log_lines: u64,
    /// Files that were changed and are refused, by name; empty if there are none.
    pub refused_files: String,
    /// The longest queue between shards.
    pub queue: Load,
    /// Connection attempts and requests within the last five minutes.
    pub attempts: u64,
    /// Those of them that failed.
    pub failures: u64,
    /// The age of the oldest record that the store has not kept yet, in milliseconds.
    pub storage_lag_ms: Load,
    /// The store.
    pub store: BackendState,
    /// Redis.
    pub redis: BackendState,
}

/// Assesses the server's health.
pub fn assess(vitals: &Vitals) -> HealthReport {
    let mut found = Vec::new();
    for (what, reach) in [("The store", &vitals.store), ("Redis", &vitals.redis)] {
        if let BackendState::Lost(reason) = reach {
            found.push((Level::Critical, format!("{what} is unavailable: {reason}"), remedy_of(what).to_owned()));
        }
    }
    load(&mut found, vitals.connections, "Connections", |n| n.to_string(), CONNECTIONS);
    load(&mut found, vitals.memory_bytes, "Memory", mebibytes, MEMORY);
    load(&mut found, vitals.queue, "Queue between shards", |n| n.to_string(), QUEUE);
    load(&mut found, vitals.storage_lag_ms, "Storage lag", |n| format!("{n} ms"), STORAGE_LAG);
    failures(&mut found, vitals);
    if !vitals.refused_files.is_empty() {
        let issue = format!("Refused: {}; what was in force before still is", vitals.refused_files);
        found.push((Level::Warning, issue, REFUSED_FILES.to_owned()));
    }
    // The sort is stable: issues of one level keep the order above.
    found.sort_by_key(|(level, ..)| std::cmp::Reverse(*level));
    let level = found.first().map_or(Level::Healthy, |(level, ..)| *level);
    let (issues, recommendations) = found.into_iter().map(|(_, issue, remedy)| (issue, remedy)).unzip();
    HealthReport { level, issues, recommendations }
}

type IssueList = Vec<(Level, String, String)>;

const CONNECTIONS: &str = "Raise limits.connections (and the descriptor limit, ulimit -n), or add a server";
const MEMORY: &str = "Give the process more memory, or lower limits.connections and limits.outbound_bytes";
const QUEUE: &str = "The shards cannot keep up: add cores (and shards), or lower limits.messages_per_minute";
const STORAGE_LAG: &str =
    "The disk cannot keep up: use a faster one for data_dir, or set storage.durability to process or none";
const FAILURES: &str =
    "See the log and monitoring:events for what fails and for whom; block addresses that only fail to sign in";

const REFUSED_FILES: &str = "See the log for what is wrong, put it right and reload (SIGHUP or switchboard reload)";

fn remedy_of(what: &str) -> &'static str {
    match what {
        "Redis" => "See that Redis runs, that redis.url is right and that the network lets it through",
        _ => "Look at the disk of data_dir: space, permissions, errors in the log; signaling goes on meanwhile",
    }
}

fn load(found: &mut IssueList, load: Load, what: &str, show: impl Fn(u64) -> String, remedy: &str) {
    if let Some((level, percent)) = judge(load) {
        let issue = format!("{what}: {} of {} ({percent} %)", show(load.used), show(load.limit));
        found.push((level, issue, remedy.to_owned()));
    }
}

fn failures(found: &mut IssueList, vitals: &Vitals) {
    if vitals.attempts < ATTEMPTS_MIN {
        return;
    }
    let rate = Load { used: vitals.failures.saturating_mul(10_000) / vitals.attempts, limit: FAILURES_OF_TEN_THOUSAND };
    if let Some((level, _)) = judge(rate) {
        let Vitals { attempts, failures, .. } = vitals;
        let percent = Hundredths(rate.used);
        let issue =
            format!("Error rate: {failures} of {attempts} requests in five minutes failed ({percent} %, limit 5 %)");
        found.push((level, issue, FAILURES.to_owned()));
    }
}

/// The level and the use in per cent, if a resource is near its limit.
fn judge(load: Load) -> Option<(Level, u64)> {
    if load.limit == 0 {
        return None;
    }
    let percent = u128::from(load.used) * 100 / u128::from(load.limit);
    let percent = u64::try_from(percent).unwrap_or(u64::MAX);
    let level = match percent {
        CRITICAL_PERCENT.. => Level::Critical,
        WARNING_PERCENT.. => Level::Warning,
        _ => return None,
    };
    Some((level, percent))
}

fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}

/// Hundredths, with two places.
struct Hundredths(u64);

impl fmt::Display for Hundredths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:02}", self.0 / 100, self.0 % 100)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_near_a_limit_is_healthy() {
        let vitals = Vitals {
            connections: Load { used: 799, limit: 1_000 },
            memory_bytes: Load { used: u64::MAX, limit: 0 },
            attempts: 99,
            failures: 99,
            store: BackendState::Reached,
            ..Vitals::default()
        };
        let healthy = HealthReport { level: Level::Healthy, issues: Vec::new(), recommendations: Vec::new() };
        assert_eq!(assess(&vitals), healthy);
        assert_eq!(assess(&Vitals::default()), healthy);
    }

    #[test]
    fn each_limit_warns_from_80_and_is_critical_from_95_per_cent() {
        type VitalsWith = fn(Load) -> Vitals;
        let with: [(&str, VitalsWith); 4] = [
            ("Connections: 80 of 100 (80 %)", |connections| Vitals { connections, ..Vitals::default() }),
            ("Queue between shards: 80 of 100 (80 %)", |queue| Vitals { queue, ..Vitals::default() }),
            ("Storage lag: 80 ms of 100 ms (80 %)", |storage_lag_ms| Vitals { storage_lag_ms, ..Vitals::default() }),
            ("Memory: 80 MiB of 100 MiB (80 %)", |load| {
                let memory_bytes = Load { used: load.used << 20, limit: load.limit << 20 };
                Vitals { memory_bytes, ..Vitals::default() }
            }),
        ];
        for (issue, vitals) in with {
            let level = |used| assess(&vitals(Load { used, limit: 100 })).level;
            assert_eq!([79, 80, 94, 95, 200].map(level), {
                use Level::{Critical, Healthy, Warning};
                [Healthy, Warning, Warning, Critical, Critical]
            });
            let health = assess(&vitals(Load { used: 80, limit: 100 }));
            assert_eq!((health.issues.as_slice(), health.recommendations.len()), ([issue.to_owned()].as_slice(), 1));
        }
    }

    #[test]
    fn the_error_rate_has_a_limit_of_five_per_cent() {
        let level = |failures| assess(&Vitals { attempts: 10_000, failures, ..Vitals::default() }).level;
        assert_eq!([399, 400, 474, 475].map(level), {
            use Level::{Critical, Healthy, Warning};
            [Healthy, Warning, Warning, Critical]
        });
        let health = assess(&Vitals { attempts: 1_000, failures: 45, ..Vitals::default() });
        let expected = "Error rate: 45 of 1000 requests in five minutes failed (4.50 %, limit 5 %)";
        assert_eq!(health.issues, [expected]);
    }

    #[test]
    fn what_is_out_of_reach_is_critical_and_comes_first() {
        let vitals = Vitals {
            connections: Load { used: 85, limit: 100 },
            queue: Load { used: 99, limit: 100 },
            store: BackendState::Lost("no space left".into()),
            redis: BackendState::Lost("connection refused".into()),
            ..Vitals::default()
        };
        let health = assess(&vitals);
        assert_eq!(health.level, Level::Critical);
        assert_eq!(
            health.issues,
            [
                "The store is unavailable: no space left",
                "Redis is unavailable: connection refused",
                "Queue between shards: 99 of 100 (99 %)",
                "Connections: 85 of 100 (85 %)",
            ]
        );
        assert_eq!(health.recommendations.len(), health.issues.len());
        assert!(health.recommendations[1].contains("redis.url"));
    }
}
