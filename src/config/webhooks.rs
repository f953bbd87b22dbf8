//! Settings of webhooks: the endpoints of the application, each a table.

use std::time::Duration;

use toml::{Table, Value};

use super::kinds::{Checked, Mismatch, Shaped, has_host, truth, whole};
use super::mask::MASK;
use super::raw::settings;
use crate::codec::webhook::WebhookSecret;
use crate::domain::hook::{HookFilter, HookKinds};
use crate::runtime::webhooks::{WebhookEndpoint, WebhookOptions};

/// Endpoints at most: each has a thread.
const ENDPOINTS_MAX: usize = 16;

/// Secrets of an endpoint at most.
const SECRETS_MAX: usize = 4;

/// Bytes of a name at most.
const NAME_BYTES_MAX: usize = 64;

/// The longest time that a request may take, in milliseconds.
const TIMEOUT_MAX_MS: i64 = 60_000;

/// Requests per second at most.
const RATE_MAX: i64 = 1_000;

settings! {
    /// Events that the application receives by HTTP.
    pub struct WebhookSettings in "webhooks." {
        /// Endpoints of the application, each a table `[[webhooks.endpoints]]` with `name`, `url`, `secret` (or `secrets`, or
        /// `secret_file`) and perhaps `events`, `rooms`, `rate` and `timeout_ms` ([webhooks.md](webhooks.md#settings)).
        endpoints: Vec<WebhookEndpoint> = Vec::<String>::new(), endpoints;
        /// Whether requests may go to addresses of this machine and of private networks.
        allow_private: bool = false, truth;
        /// Bytes of events that may wait for one endpoint; further events are dropped.
        outbox_bytes: u64 = 268_435_456, whole(65_536, 1 << 40);
    }
}

impl WebhookSettings {
    /// The endpoints and what they have in common.
    pub fn options(&self) -> WebhookOptions {
        WebhookOptions {
            endpoints: self.endpoints.clone(),
            allow_private: self.allow_private,
            outbox_bytes: self.outbox_bytes,
            ..WebhookOptions::default()
        }
    }
}

impl Shaped for WebhookEndpoint {}

/// The displayable form: secrets are masked.
pub(super) fn masked_endpoints(value: &Value) -> Value {
    match value {
        Value::Array(endpoints) => Value::Array(endpoints.iter().map(masked_endpoints).collect()),
        Value::Table(table) => {
            let mut table = table.clone();
            for key in ["secret", "secrets"] {
                if let Some(value) = table.get_mut(key) {
                    *value = Value::from(MASK);
                }
            }
            Value::Table(table)
        }
        _ => Value::from(MASK),
    }
}

pub(super) fn wrong<T>(part: impl Into<Value>, expected: impl Into<String>) -> Checked<T> {
    Err(Mismatch { part: Some(part.into()), expected: expected.into() })
}

fn endpoints(value: &Value) -> Checked<Vec<WebhookEndpoint>> {
    const WORDS: &str = "a list of tables, such as [[webhooks.endpoints]] with name, url and secret";
    let Value::Array(tables) = value else { return Err(Mismatch { part: None, expected: WORDS.to_owned() }) };
    if tables.len() > ENDPOINTS_MAX {
        return Err(Mismatch { part: None, expected: format!("at most {ENDPOINTS_MAX} endpoints") });
    }
    let mut endpoints: Vec<WebhookEndpoint> = Vec::new();
    for table in tables {
        let Value::Table(table) = table else { return Err(Mismatch { part: None, expected: WORDS.to_owned() }) };
        let endpoint = endpoint(table)?;
        if endpoints.iter().any(|other| other.name == endpoint.name) {
            return wrong(endpoint.name, "another name for each endpoint");
        }
        endpoints.push(endpoint);
    }
    Ok(endpoints)
}

fn endpoint(table: &Table) -> Checked<WebhookEndpoint> {
    const KEYS: [&str; 9] =
        ["name", "url", "secret", "secrets", "secret_file", "events", "rooms", "rate", "timeout_ms"];
    if let Some(unknown) = table.keys().find(|key| !KEYS.contains(&key.as_str())) {
        return wrong(unknown.as_str(), format!("only these keys in an endpoint: {}", KEYS.join(", ")));
    }
    let name = match table.get("name").and_then(Value::as_str) {
        Some(name) if is_name(name) => name.to_owned(),
        _ => {
            let expected = "a name for each endpoint: 1 to 64 letters, digits, dots, dashes or underscores";
            return wrong(shown(table, "name"), expected);
        }
    };
    let url = match table.get("url").and_then(Value::as_str) {
        Some(url) if is_url(url) => url.to_owned(),
        _ => {
            let expected = format!("url of {name}: an address that begins with https:// or http://, without a login");
            return wrong(shown(table, "url"), expected);
        }
    };
    let events = patterns(table, "events", &name)?;
    let mut kinds = HookKinds::NONE;
    for pattern in &events {
        match HookKinds::named(pattern) {
            Some(named) => kinds = kinds.union(named),
            None => return wrong(pattern.as_str(), "events such as room.created, room.* or *"),
        }
    }
    let rate = number(table, "rate", (0, 0, RATE_MAX), &name)?;
    let timeout_ms = number(table, "timeout_ms", (10_000, 100, TIMEOUT_MAX_MS), &name)?;
    Ok(WebhookEndpoint {
        secrets: secrets(table, &name)?,
        filter: HookFilter { kinds, rooms: patterns(table, "rooms", &name)? },
        rate: rate.unsigned_abs(),
        timeout: Duration::from_millis(timeout_ms.unsigned_abs()),
        name,
        url,
    })
}

fn is_name(name: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    !name.is_empty() && name.len() <= NAME_BYTES_MAX && name.bytes().all(is_letter)
}

pub(super) fn is_url(url: &str) -> bool {
    let authority = url.split_once("://").map_or("", |(_, rest)| rest.split(['/', '?', '#']).next().unwrap_or(rest));
    has_host(url, &["http://", "https://"]) && !authority.contains('@') && url.is_ascii()
}

/// The value of a key as it is shown in a refusal.
pub(super) fn shown(table: &Table, key: &str) -> Value {
    table.get(key).cloned().unwrap_or_else(|| Value::from(""))
}

/// A list of patterns; everything when absent.
fn patterns(table: &Table, key: &str, name: &str) -> Checked<Vec<String>> {
    let Some(value) = table.get(key) else { return Ok(vec!["*".to_owned()]) };
    let texts = value.as_array().map(|values| values.iter().filter_map(Value::as_str).map(str::to_owned).collect());
    match texts {
        Some(texts)
            if value.as_array().is_some_and(|values| values.len() == Vec::len(&texts) && !values.is_empty()) =>
        {
            Ok(texts)
        }
        _ => wrong(value.clone(), format!("{key} of {name}: a list of texts, at least one")),
    }
}

pub(super) fn number(table: &Table, key: &str, (default, least, most): (i64, i64, i64), name: &str) -> Checked<i64> {
    match table.get(key) {
        None => Ok(default),
        Some(value) => match value.as_integer().filter(|number| (least..=most).contains(number)) {
            Some(number) => Ok(number),
            None => wrong(value.clone(), format!("{key} of {name}: a whole number from {least} to {most}")),
        },
    }
}

pub(super) fn secrets(table: &Table, name: &str) -> Checked<Vec<WebhookSecret>> {
    let expected = || {
        let words = format!(
            "secret of {name}: whsec_ and 24 to 64 bytes in base64; secrets: 1 to {SECRETS_MAX} of them, the first of \
             which is the newest"
        );
        // The secret itself is not shown.
        wrong(MASK, words)
    };
    let texts: Vec<&str> = match (table.get("secret"), table.get("secrets")) {
        (Some(Value::String(secret)), None) => vec![secret],
        (None, Some(Value::Array(secrets))) if secrets.iter().all(Value::is_str) => {
            secrets.iter().filter_map(Value::as_str).collect()
        }
        _ => return expected(),
    };
    let secrets: Option<Vec<WebhookSecret>> = texts.into_iter().map(WebhookSecret::parse).collect();
    match secrets {
        Some(secrets) if (1..=SECRETS_MAX).contains(&secrets.len()) => Ok(secrets),
        _ => expected(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    fn read(text: &str) -> Result<Vec<WebhookEndpoint>, String> {
        let table: Table = text.parse().expect("it is TOML");
        endpoints(&table["endpoints"]).map_err(|mismatch| mismatch.expected)
    }

    #[test]
    fn endpoint_has_defaults_for_all_but_its_name_url_and_secret() {
        let one = format!("[[endpoints]]\nname = 'a'\nurl = 'https://app.example/hook'\nsecret = '{SECRET}'");
        let endpoint = read(&one).expect("an endpoint").remove(0);
        assert_eq!((endpoint.rate, endpoint.timeout), (0, Duration::from_secs(10)));
        assert_eq!(endpoint.filter.kinds, HookKinds::named("*").expect("all"));
        assert_eq!(read(&format!("{one}\n{one}")).expect_err("a name twice"), "another name for each endpoint");
    }

    #[test]
    fn wrong_part_of_an_endpoint_is_named() {
        let with = |line: &str| {
            let rest = ["name = 'a'", "url = 'https://app.example'", &format!("secret = '{SECRET}'")]
                .into_iter()
                .filter(|other| other.split(' ').next() != line.split(' ').next())
                .map(str::to_owned)
                .collect::<Vec<_>>();
            read(&format!("[[endpoints]]\n{line}\n{}", rest.join("\n"))).expect_err(line)
        };
        for (line, part) in [
            ("name = ''", "a name"),
            ("name = 'a b'", "a name"),
            ("url = 'ftp://x'", "url of a"),
            ("url = 'https://u:p@x'", "without a login"),
            ("secret = 'whsec_'", "secret of a"),
            ("secret = 7", "secret of a"),
            ("secrets = []", "secret of a"),
            ("events = ['rooms.*']", "events such as"),
            ("events = []", "events of a"),
            ("rooms = 'x'", "rooms of a"),
            ("rate = -1", "rate of a"),
            ("timeout_ms = 1", "timeout_ms of a"),
            ("colour = 'red'", "only these keys"),
        ] {
            let text = with(line);
            assert!(text.contains(part), "{line}: {text}");
        }
    }

    #[test]
    fn secrets_of_endpoints_are_masked() {
        let value: Table = format!("endpoints = [{{ name = 'a', secret = '{SECRET}' }}]").parse().expect("it is TOML");
        let shown = masked_endpoints(&value["endpoints"]).to_string();
        assert!(!shown.contains(SECRET) && shown.contains(MASK), "{shown}");
    }
}
