//! Settings of the hooks that decide: a table for each.

use std::time::Duration;

use toml::{Table, Value};

use super::kinds::{Checked, Mismatch, Shaped, truth, whole};
use super::raw::settings;
use super::webhooks::{is_url, number, secrets, shown, wrong};
use crate::domain::decision::{DecisionKind, DecisionRules, Decisions};
use crate::runtime::decisions::{DecisionEndpoint, DecisionOptions};

/// The longest time that an answer is waited for, in milliseconds.
const TIMEOUT_MAX_MS: i64 = 60_000;

/// The longest time that an answer is kept, in milliseconds.
const CACHE_MAX_MS: i64 = 3_600_000;

/// A hook as configured.
#[derive(Clone, Debug)]
pub struct HookSetting {
    endpoint: DecisionEndpoint,
    rules: DecisionRules,
}

impl Shaped for HookSetting {}

settings! {
    /// Hooks that decide: questions to the application by HTTP.
    pub struct HookSettings in "hooks." {
        /// Asks whether a client may connect: a table `[hooks.connect]` with `url`, `secret` (or `secrets`) and perhaps `timeout_ms`,
        /// `on_failure`, `cache_ms` and `only` ([hooks.md](hooks.md#settings)).
        connect: Vec<HookSetting> = Vec::<String>::new(), |value| hook(value, DecisionKind::Connect);
        /// Asks whether a client may join a room; a table likewise.
        join: Vec<HookSetting> = Vec::<String>::new(), |value| hook(value, DecisionKind::Join);
        /// Asks whether a client may publish a message; a table likewise.
        publish: Vec<HookSetting> = Vec::<String>::new(), |value| hook(value, DecisionKind::Publish);
        /// Asks what becomes of an event of a client in a namespace of the application; a table likewise.
        event: Vec<HookSetting> = Vec::<String>::new(), |value| hook(value, DecisionKind::Event);
        /// Whether requests may go to addresses of this machine and of private networks.
        allow_private: bool = false, truth;
        /// Questions that are asked at a time, each by a thread.
        concurrency: usize = 64, whole(1, 1_024);
    }
}

impl HookSettings {
    /// The hooks as the threads need them that ask.
    pub fn options(&self) -> DecisionOptions {
        let endpoints = self.all().map(|hook| hook.endpoint.clone()).collect();
        DecisionOptions { endpoints, allow_private: self.allow_private, concurrency: self.concurrency }
    }

    /// The hooks as the shards need them.
    pub fn decisions(&self) -> Decisions {
        self.all().fold(Decisions::default(), |all, hook| all.with(hook.endpoint.kind, hook.rules.clone()))
    }

    fn all(&self) -> impl Iterator<Item = &HookSetting> {
        self.connect.iter().chain(&self.join).chain(&self.publish).chain(&self.event)
    }
}

fn hook(value: &Value, kind: DecisionKind) -> Checked<Vec<HookSetting>> {
    match value {
        Value::Table(table) => Ok(vec![table_of(table, kind)?]),
        Value::Array(none) if none.is_empty() => Ok(Vec::new()),
        _ => Err(Mismatch { part: None, expected: format!("a table [hooks.{}] with url and secret", kind.name()) }),
    }
}

fn table_of(table: &Table, kind: DecisionKind) -> Checked<HookSetting> {
    const KEYS: [&str; 7] = ["url", "secret", "secrets", "timeout_ms", "on_failure", "cache_ms", "only"];
    let name = kind.name();
    if let Some(unknown) = table.keys().find(|key| !KEYS.contains(&key.as_str())) {
        return wrong(unknown.as_str(), format!("only these keys in hooks.{name}: {}", KEYS.join(", ")));
    }
    let url = match table.get("url").and_then(Value::as_str) {
        Some(url) if is_url(url) => url.to_owned(),
        _ => {
            let expected = format!("url of {name}: an address that begins with https:// or http://, without a login");
            return wrong(shown(table, "url"), expected);
        }
    };
    let opens_on_failure = match table.get("on_failure").map(Value::as_str) {
        None | Some(Some("refuse")) => false,
        Some(Some("allow")) => true,
        Some(_) => return wrong(shown(table, "on_failure"), format!("on_failure of {name}: refuse or allow")),
    };
    let timeout_ms = number(table, "timeout_ms", (5_000, 50, TIMEOUT_MAX_MS), name)?;
    let cache_ms = number(table, "cache_ms", (0, 0, CACHE_MAX_MS), name)?.unsigned_abs();
    if cache_ms != 0 && kind == DecisionKind::Event {
        return wrong(shown(table, "cache_ms"), "no cache_ms in hooks.event: each event is asked for");
    }
    let only = match table.get("only") {
        None => Vec::new(),
        Some(Value::Array(names)) if names.iter().all(|name| name.as_str().is_some_and(|name| !name.is_empty())) => {
            names.iter().filter_map(Value::as_str).map(Box::from).collect()
        }
        Some(_) => {
            return wrong(shown(table, "only"), format!("only of {name}: a list of names, in which * is any text"));
        }
    };
    Ok(HookSetting {
        endpoint: DecisionEndpoint {
            kind,
            url,
            secrets: secrets(table, name)?,
            timeout: Duration::from_millis(timeout_ms.unsigned_abs()),
        },
        rules: DecisionRules { opens_on_failure, cache_ms, only: only.into() },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    fn read(text: &str, kind: DecisionKind) -> Result<HookSetting, String> {
        let table: Table = text.parse().expect("it is TOML");
        let read = hook(&Value::Table(table), kind);
        read.map(|mut hooks| hooks.remove(0)).map_err(|mismatch| mismatch.expected)
    }

    #[test]
    fn hook_fails_closed_and_caches_nothing_by_default() {
        let text = format!("url = 'https://app.example/hook'\nsecret = '{SECRET}'");
        let hook = read(&text, DecisionKind::Connect).expect("good");
        assert_eq!(hook.rules, DecisionRules { opens_on_failure: false, cache_ms: 0, only: [].into() });
        assert_eq!(hook.endpoint.timeout, Duration::from_secs(5));
        let text = format!("{text}\non_failure = 'allow'\ncache_ms = 9\nonly = ['game-*']");
        let hook = read(&text, DecisionKind::Join).expect("good");
        assert_eq!(hook.rules, DecisionRules { opens_on_failure: true, cache_ms: 9, only: ["game-*".into()].into() });
        assert!(hook.rules.asks_about("game-1") && !hook.rules.asks_about("tea"));
    }

    #[test]
    fn wrong_part_of_a_hook_is_named() {
        for (line, part) in [
            ("url = 'ftp://x'", "url of event"),
            ("secret = 'x'", "secret of event"),
            ("timeout_ms = 1", "timeout_ms of event"),
            ("on_failure = 'open'", "refuse or allow"),
            ("cache_ms = 5", "no cache_ms in hooks.event"),
            ("only = 'x'", "only of event"),
            ("colour = 'red'", "only these keys in hooks.event"),
        ] {
            let rest = ["url = 'https://app.example'", &format!("secret = '{SECRET}'")]
                .into_iter()
                .filter(|other| other.split(' ').next() != line.split(' ').next())
                .map(str::to_owned)
                .collect::<Vec<_>>();
            let refused = read(&format!("{line}\n{}", rest.join("\n")), DecisionKind::Event).expect_err(line);
            assert!(refused.contains(part), "{line}: {refused}");
        }
    }
}
