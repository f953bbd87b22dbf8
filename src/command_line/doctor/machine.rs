//! What a server needs of its machine and of Redis.

use std::fs;

use super::Finding;
use crate::runtime::bridge::{self, RedisOptions};

/// Descriptors below which a server is soon full.
const DESCRIPTORS: u64 = 65_536;

/// Connections that may wait for their acceptance, as the server asks for.
const BACKLOG: u64 = 4_096;

/// Limits of this process and of the kernel.
pub(super) fn limits() -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Ok((_, most)) = rlimit::getrlimit(rlimit::Resource::NOFILE) {
        let text = format!("up to {most}, one for each connection");
        findings.push(match most {
            DESCRIPTORS.. => Finding::good("descriptors", text),
            _ => Finding::doubtful("descriptors", text, "LimitNOFILE=1048576 in the unit, or ulimit -Hn"),
        });
    }
    let backlog = fs::read_to_string("/proc/sys/net/core/somaxconn").ok().and_then(|text| text.trim().parse().ok());
    if let Some(backlog) = backlog {
        let text = format!("net.core.somaxconn is {backlog}");
        findings.push(match backlog {
            BACKLOG.. => Finding::good("backlog", text),
            _ => Finding::doubtful(
                "backlog",
                text,
                format!("sysctl -w net.core.somaxconn={BACKLOG}: else bursts of connections are refused"),
            ),
        });
    }
    findings
}

/// Version, policy and persistence of Redis.
pub(super) fn redis(options: RedisOptions) -> Vec<Finding> {
    let shown = options.address.shown();
    match bridge::information(options) {
        Ok(information) => judge(&information),
        Err(error) => {
            vec![Finding::bad("redis", format!("{shown}: {error}"), "start it, or correct redis.url and its password")]
        }
    }
}

/// The findings in an answer to `INFO`.
fn judge(information: &str) -> Vec<Finding> {
    let value = |name: &str| {
        let line = information.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.unwrap_or_default().trim()
    };
    // Valkey gives the version of Redis that it is compatible with here.
    let version = value("redis_version");
    let major: u32 = version.split('.').next().and_then(|number| number.parse().ok()).unwrap_or_default();
    let text = format!("version {version}");
    let version = match major {
        7.. => Finding::good("redis", text),
        _ => Finding::bad("redis", text, "use Redis 7 or later, or Valkey"),
    };
    let policy = value("maxmemory_policy");
    let policy = match policy {
        "noeviction" | "" => Finding::good("redis memory", "it evicts nothing"),
        _ if value("maxmemory") == "0" => Finding::doubtful(
            "redis memory",
            format!("maxmemory-policy is {policy}, without maxmemory"),
            "set maxmemory-policy noeviction, before a maxmemory is set",
        ),
        _ => Finding::bad(
            "redis memory",
            format!("maxmemory-policy is {policy}: it removes rooms and users when it is full"),
            "set maxmemory-policy noeviction",
        ),
    };
    let persistence = match (value("aof_enabled"), value("rdb_last_bgsave_status")) {
        ("1", _) if value("aof_last_write_status") == "err" => {
            Finding::bad("redis persistence", "the last write of its log has failed", "look at its disk")
        }
        ("1", _) => Finding::good("redis persistence", "appendonly is on"),
        (_, "err") => Finding::bad("redis persistence", "its last snapshot has failed", "look at its disk"),
        _ => Finding::doubtful(
            "redis persistence",
            "appendonly is off: what came after the last snapshot is lost with it",
            "set appendonly yes",
        ),
    };
    vec![version, policy, persistence]
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    #[test]
    fn redis_is_judged_by_what_it_tells() {
        use Verdict::{Bad, Doubtful, Good};
        for (lines, verdicts) in [
            (
                "redis_version:7.0.15\r\nmaxmemory_policy:noeviction\r\naof_enabled:1\r\naof_last_write_status:ok",
                [Good, Good, Good],
            ),
            (
                "redis_version:6.2.1\r\nmaxmemory:0\r\nmaxmemory_policy:allkeys-lru\r\naof_enabled:0",
                [Bad, Doubtful, Doubtful],
            ),
            (
                "redis_version:8.0.1\r\nmaxmemory:99\r\nmaxmemory_policy:volatile-lru\r\nrdb_last_bgsave_status:err",
                [Good, Bad, Bad],
            ),
        ] {
            let findings = judge(lines);
            assert_eq!(findings.iter().map(|finding| finding.verdict).collect::<Vec<_>>(), verdicts, "{findings:?}");
        }
    }
}
