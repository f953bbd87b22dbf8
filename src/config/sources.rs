//! The sources of settings and their spelling.
//!
//! In rising order of precedence: defaults, `--dev`, `--profile`, the settings file, common environment variables (`REDIS_HOST`,
//! `JWT_SECRET`, …), environment variables with the prefix `SWITCHBOARD_`, `--set`, and the flags with a name of their
//! own. Each source adds its values to those below it, and checks its spelling only.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::de::{DeTable, DeValue, ValueDeserializer};
use toml::{Spanned, Value};

use super::error::{ConfigError, Problem, SettingSource, nearest};
use super::kinds::Shape;
use super::listen::{ListenerSettings, listeners};
use super::mask::masked;
use super::profile::ProtocolProfile;
use super::raw::{Given, RawSettings, SettingKey};

/// The settings file if no other is named; it need not exist.
pub const FILE: &str = "switchboard.toml";

const PREFIX: &str = "SWITCHBOARD_";

/// Common variables and the settings they stand for. Empty ones count as not set, because compose files pass on unset
/// variables as empty ones.
const COMMON_VARIABLES: [(&str, &str); 6] = [
    ("JWT_SECRET", "auth.secret"),
    ("CLIENT_URL", "client_url"),
    ("STUN_URLS", "ice.stun_urls"),
    ("TURN_URL", "turn.url"),
    ("TURN_USERNAME", "turn.username"),
    ("TURN_CREDENTIAL", "turn.credential"),
];

/// The settings of the command line, as written.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    /// Values of `--listen`, each one address and port.
    pub listen: Vec<String>,
    /// Value of `--shards`.
    pub shards: Option<String>,
    /// Value of `--data`.
    pub data: Option<String>,
    /// Values of `--set`, each `key=value`.
    pub set: Vec<String>,
}

/// The source of the secret of `--dev`, given the data directory if there is one; called at most once.
pub type DevSecret = Box<dyn FnOnce(Option<&Path>) -> String>;

/// All sources of settings; [`super::load`] reads no others.
pub struct SettingSources {
    /// The settings file's path and text, if there is one.
    pub file: Option<(PathBuf, String)>,
    /// All environment variables; unrelated ones are ignored.
    pub environment: Vec<(String, String)>,
    /// The command line.
    pub flags: Flags,
    /// Whether `--dev` was given.
    pub dev: bool,
    /// The value of `--profile`.
    pub profile: Option<ProtocolProfile>,
    /// The number of cores: the default of `shards`.
    pub cores: usize,
    /// The secret, if `--dev` needs one.
    pub dev_secret: DevSecret,
    /// Reads a file that a setting names for its secret.
    pub read_secret: SecretReader,
}

/// Reads a file with a secret.
pub type SecretReader = fn(&Path) -> std::io::Result<Vec<u8>>;

/// Settings that name a file, and the secret settings that they stand for.
const SECRET_FILES: [(&str, &str); 3] = [
    ("auth.secret_file", "auth.secret"),
    ("redis.password_file", "redis.password"),
    ("turn.secret_file", "turn.secret"),
];

/// Reads a file with a secret. A relative path is first looked up among the credentials that systemd hands to a service.
fn read_secret(path: &Path) -> std::io::Result<Vec<u8>> {
    let credential = std::env::var_os("CREDENTIALS_DIRECTORY").map(|directory| Path::new(&directory).join(path));
    match credential.filter(|credential| path.is_relative() && credential.exists()) {
        Some(credential) => std::fs::read(credential),
        None => std::fs::read(path),
    }
}

impl SettingSources {
    /// Collects the sources from the operating system: the file `config`, which must exist, or else [`FILE`] if it
    /// exists, and the environment.
    ///
    /// # Errors
    ///
    /// A file cannot be read or is not UTF-8, or a `SWITCHBOARD_` variable is not.
    pub fn gather(
        config: Option<&Path>,
        flags: Flags,
        (dev, profile): (bool, Option<ProtocolProfile>),
        dev_secret: DevSecret,
    ) -> Result<Self, ConfigError> {
        let path = config.unwrap_or(Path::new(FILE));
        let file = match std::fs::read_to_string(path) {
            Ok(text) => Some((path.to_owned(), text)),
            Err(error) if config.is_none() && error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => {
                let message = format!("cannot read the settings file {}: {error}", path.display());
                return Err(Problem::other(None, message).into());
            }
        };
        let mut environment = Vec::new();
        for (name, value) in std::env::vars_os() {
            let name = name.to_string_lossy().into_owned();
            match value.into_string() {
                Ok(value) => environment.push((name, value)),
                Err(_) if is_ours(&name) => {
                    let source = Some(SettingSource::Environment(name));
                    return Err(Problem::other(source, "the value is not UTF-8 text").into());
                }
                Err(_) => {}
            }
        }
        // A fixed order, so that problems are reported in the same order each time.
        environment.sort();
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Self { file, environment, flags, dev, profile, cores, dev_secret, read_secret })
    }

    /// All values of all keys, from all sources.
    pub(super) fn into_raw(self, keys: &[&'static SettingKey]) -> RawSettings {
        let mut raw = RawSettings::with_defaults(keys);
        raw.put("shards", value_of_count(self.cores), SettingSource::Default);
        if self.dev {
            put_dev(&mut raw);
        }
        if let Some(profile) = self.profile {
            profile.put(&mut raw);
        }
        if let Some((path, text)) = &self.file {
            put_file(&mut raw, keys, path, text);
        }
        put_common_variables(&mut raw, keys, &self.environment);
        put_own_variables(&mut raw, keys, &self.environment);
        put_flags(&mut raw, keys, &self.flags);
        if let Some(profile) = self.profile {
            profile.put_dependent(&mut raw);
        }
        // A token whose signature does not count need not have an end either.
        if raw.given("auth.verify").value.as_str() == Some("none") && !raw.is_explicit("auth.require_exp") {
            let source = raw.source("auth.verify");
            raw.put("auth.require_exp", false, source);
        }
        put_secret_files(&mut raw, self.read_secret);
        put_webhook_secrets(&mut raw, self.read_secret);
        let secret = raw.given("auth.secret").value.as_str();
        if self.dev && secret.is_none_or(str::is_empty) {
            let directory = raw.given("data_dir").value.as_str().filter(|path| !path.is_empty()).map(PathBuf::from);
            raw.put("auth.secret", (self.dev_secret)(directory.as_deref()), SettingSource::Dev);
        }
        raw
    }
}

fn value_of_count(count: usize) -> Value {
    Value::from(i64::try_from(count).expect("the number of cores fits 63 bits"))
}

/// Defaults for a machine whose owner is the only user of the server.
fn put_dev(raw: &mut RawSettings) {
    raw.put("listen", vec!["127.0.0.1:8090", "[::1]:8090"], SettingSource::Dev);
    raw.put("auth.guests", true, SettingSource::Dev);
    raw.put("auth.require_exp", false, SettingSource::Dev);
    raw.put("rooms.create_on_join", "always", SettingSource::Dev);
    raw.put("cors.origins", vec!["*"], SettingSource::Dev);
    raw.put("drain.seconds", 0, SettingSource::Dev);
    raw.put("media.udp_port", 0, SettingSource::Dev);
}

fn find<'a>(keys: &[&'a SettingKey], name: &str) -> Option<&'a SettingKey> {
    keys.iter().copied().find(|key| key.name == name)
}

/// The problem with a key that no setting has; `spelled` is how the source spells names.
fn unknown(
    keys: &[&SettingKey],
    key: String,
    source: SettingSource,
    spelled: impl FnOnce(&'static str) -> String,
) -> Problem {
    let nearest = nearest(&key, keys.iter().map(|key| key.name)).map(spelled);
    Problem::Unknown { source, key, nearest }
}

fn put_file(raw: &mut RawSettings, keys: &[&'static SettingKey], path: &Path, text: &str) {
    let reader = FileReader { keys, path, text };
    match DeTable::parse(text) {
        Ok(table) => reader.put_table(raw, "", table.get_ref()),
        Err(error) => {
            let offset = error.span().map_or(0, |span| span.start);
            let message = error.message().replace('\n', ", ");
            raw.problems.push(Problem::other(Some(reader.source(offset)), message));
        }
    }
}

struct FileReader<'a> {
    keys: &'a [&'static SettingKey],
    path: &'a Path,
    text: &'a str,
}

impl FileReader<'_> {
    fn put_table(&self, raw: &mut RawSettings, prefix: &str, table: &DeTable<'_>) {
        for (word, value) in table {
            let name = format!("{prefix}{}", word.get_ref());
            let group = format!("{name}.");
            let is_group = self.keys.iter().any(|key| key.name.starts_with(&group));
            let source = self.source(value.span().start);
            match (find(self.keys, &name), value.get_ref()) {
                (Some(key), _) => self.put_value(raw, key, value, source),
                (None, DeValue::Table(inner)) if is_group => self.put_table(raw, &group, inner),
                (None, _) if is_group => raw.problems.push(Problem::Value {
                    found: shown(&name, value),
                    key: name,
                    source,
                    expected: "a table of settings".to_owned(),
                }),
                (None, _) => {
                    let source = self.source(word.span().start);
                    raw.problems.push(unknown(self.keys, name, source, str::to_owned));
                }
            }
        }
    }

    fn put_value(
        &self,
        raw: &mut RawSettings,
        key: &'static SettingKey,
        value: &Spanned<DeValue<'_>>,
        source: SettingSource,
    ) {
        match owned(value) {
            Ok(value) => raw.put(key.name, value, source),
            Err(error) => {
                let message = format!("{}: {}", key.name, error.message());
                raw.problems.push(Problem::other(Some(source), message));
            }
        }
    }

    /// The place at `offset` bytes into the file.
    fn source(&self, offset: usize) -> SettingSource {
        let before = self.text.get(..offset).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        SettingSource::File {
            path: self.path.to_owned(),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }
}

fn owned(value: &Spanned<DeValue<'_>>) -> Result<Value, toml::de::Error> {
    Value::deserialize(ValueDeserializer::from(value.clone()))
}

/// The displayable form of a value without a setting.
fn shown(name: &str, value: &Spanned<DeValue<'_>>) -> String {
    let known = owned(value).map(|value| masked(name, &value).to_string());
    known.unwrap_or_else(|_| "a value".to_owned())
}

fn put_common_variables(raw: &mut RawSettings, keys: &[&'static SettingKey], environment: &[(String, String)]) {
    let variable = |name: &str| {
        environment.iter().find(|(other, value)| other == name && !value.is_empty()).map(|(_, value)| value.as_str())
    };
    for (name, key) in COMMON_VARIABLES {
        if let Some(text) = variable(name) {
            let key = find(keys, key).expect("invariant: a common variable stands for a declared key");
            raw.put(key.name, value_of(key.shape, text), SettingSource::Environment(name.to_owned()));
        }
    }
    if let Some(port) = variable("PORT") {
        put_port(raw, port);
    }
    // Kubernetes sets REDIS_PORT to an address in every pod beside a service called redis: that does not ask for Redis.
    let port = variable("REDIS_PORT");
    let host = variable("REDIS_HOST").or(port.filter(|port| is_port(port)).map(|_| "127.0.0.1"));
    if let Some(host) = host {
        put_redis_address(raw, host, port.unwrap_or("6379"), variable("REDIS_PASSWORD"));
    }
}

fn is_port(text: &str) -> bool {
    text.parse::<u16>().is_ok_and(|port| port > 0)
}

/// `PORT`: the addresses to listen on, with this port.
fn put_port(raw: &mut RawSettings, port: &str) {
    let source = SettingSource::Environment("PORT".to_owned());
    let listen = listeners(&raw.given("listen").value).ok();
    match (port.parse::<u16>(), listen) {
        (Ok(port), Some(listen)) if listen.iter().all(ListenerSettings::is_plain) => {
            let addresses = listen.iter().filter_map(ListenerSettings::tcp);
            let addresses: BTreeSet<_> = addresses.map(|address| SocketAddr::new(address.ip(), port)).collect();
            let texts: Vec<String> = addresses.iter().map(ToString::to_string).collect();
            raw.put("listen", texts, source);
        }
        (Ok(_), Some(_)) => {
            let message = "listen is more than a list of addresses, so it is not clear which of them gets this port";
            raw.problems.push(Problem::other(Some(source), message));
        }
        // The wrong addresses are reported as they are read.
        (Ok(_), None) => {}
        (Err(_), _) => raw.problems.push(Problem::Value {
            source,
            key: "listen".to_owned(),
            found: format!("{port:?}"),
            expected: "a port number from 0 to 65535".to_owned(),
        }),
    }
}

fn put_redis_address(raw: &mut RawSettings, host: &str, port: &str, password: Option<&str>) {
    if is_port(port) {
        let login = password.map(|password| format!(":{}@", escaped(password)));
        let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        let address = format!("redis://{}{host}:{port}", login.unwrap_or_default());
        raw.put("redis.url", address, SettingSource::Environment("REDIS_HOST".to_owned()));
    } else {
        raw.problems.push(Problem::Value {
            source: SettingSource::Environment("REDIS_PORT".to_owned()),
            key: "redis.url".to_owned(),
            found: format!("{port:?}"),
            expected: "a port number from 1 to 65535".to_owned(),
        });
    }
}

/// `text` with the escapes of a URL (RFC 3986 §2.1).
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                escaped.push(char::from(byte));
            }
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

/// Whether a variable is a setting of this program. Kubernetes adds the addresses of a service called `switchboard` to
/// the environment of every pod beside it; those are not settings.
fn is_ours(name: &str) -> bool {
    name.strip_prefix(PREFIX).is_some_and(|rest| {
        let by_kubernetes = rest.starts_with("SERVICE_HOST")
            || rest.starts_with("SERVICE_PORT")
            || rest == "PORT"
            || rest.starts_with("PORT_");
        !by_kubernetes
    })
}

fn put_own_variables(raw: &mut RawSettings, keys: &[&'static SettingKey], environment: &[(String, String)]) {
    for (name, text) in environment.iter().filter(|(name, _)| is_ours(name)) {
        let key_name = name[PREFIX.len()..].to_ascii_lowercase().replace("__", ".");
        let source = SettingSource::Environment(name.clone());
        match find(keys, &key_name) {
            Some(key) => raw.put(key.name, value_of(key.shape, text), source),
            None => raw.problems.push(unknown(keys, key_name, source, variable_name)),
        }
    }
}

fn variable_name(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('.', "__").to_ascii_uppercase())
}

fn put_flags(raw: &mut RawSettings, keys: &[&'static SettingKey], flags: &Flags) {
    for written in &flags.set {
        let Some((name, text)) = written.split_once('=') else {
            // Not shown: a value without a key may be a secret.
            let message = "expected key=value, such as limits.messages_per_minute=0";
            raw.problems.push(Problem::other(Some(SettingSource::Flag("--set".to_owned())), message));
            continue;
        };
        let (name, text) = (name.trim(), text.trim());
        match find(keys, name) {
            Some(key) => {
                let quoted = parsed(text).filter(Value::is_str);
                let value = quoted.unwrap_or_else(|| value_of(key.shape, text));
                raw.put(key.name, value, SettingSource::Flag("--set".to_owned()));
            }
            None => {
                let source = SettingSource::Flag("--set".to_owned());
                raw.problems.push(unknown(keys, name.to_owned(), source, str::to_owned));
            }
        }
    }
    if !flags.listen.is_empty() {
        raw.put("listen", flags.listen.clone(), SettingSource::Flag("--listen".to_owned()));
    }
    if let Some(shards) = &flags.shards {
        let value = value_of(Shape::Plain, shards);
        raw.put("shards", value, SettingSource::Flag("--shards".to_owned()));
    }
    if let Some(data) = &flags.data {
        raw.put("data_dir", data.as_str(), SettingSource::Flag("--data".to_owned()));
    }
}

fn put_secret_files(raw: &mut RawSettings, read: SecretReader) {
    for (file_key, key) in SECRET_FILES {
        let Given { value, source } = raw.given(file_key).clone();
        let Some(path) = value.as_str().filter(|path| !path.is_empty()).map(PathBuf::from) else { continue };
        let former = raw.given(key);
        if former.value.as_str().is_none_or(|secret| !secret.is_empty()) {
            let message = format!("{file_key}: {key} is set, too ({}); give one of them", former.source);
            raw.problems.push(Problem::other(Some(source), message));
            continue;
        }
        let text = read(&path).map_err(|error| error.to_string());
        let text = text.and_then(|bytes| String::from_utf8(bytes).map_err(|_| "not UTF-8 text".to_owned()));
        let lines =
            text.map(|text| text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect::<Vec<_>>());
        let source_of_secret = SettingSource::SecretFile(path.clone());
        match lines.as_deref() {
            Ok([secret]) => raw.put(key, secret.as_str(), source_of_secret),
            Ok([secret, more @ ..]) if key == "auth.secret" => {
                raw.put(key, secret.as_str(), source_of_secret.clone());
                let further = raw.given("auth.secrets").value.as_array().cloned().unwrap_or_default();
                let all = further.into_iter().chain(more.iter().map(|secret| Value::from(secret.as_str())));
                raw.put("auth.secrets", Value::Array(all.collect()), source_of_secret);
            }
            wrong => {
                let reason = match wrong {
                    Ok([]) => "it is empty",
                    Ok(_) => "it has more than one line",
                    Err(reason) => reason,
                };
                let message = format!("{file_key}: {}: {reason}", path.display());
                raw.problems.push(Problem::other(Some(source), message));
            }
        }
    }
}

/// Puts the secrets of the files that endpoints of webhooks name in the place of the files' names.
fn put_webhook_secrets(raw: &mut RawSettings, read: SecretReader) {
    const KEY: &str = "webhooks.endpoints";
    let Given { mut value, source } = raw.given(KEY).clone();
    let mut is_changed = false;
    for table in value.as_array_mut().into_iter().flatten().filter_map(Value::as_table_mut) {
        let Some(path) = table.get("secret_file").and_then(Value::as_str).map(PathBuf::from) else { continue };
        let text = read(&path).map_err(|error| error.to_string());
        let text = text.and_then(|bytes| String::from_utf8(bytes).map_err(|_| "not UTF-8 text".to_owned()));
        let secrets = text.map(|text| text.lines().filter(|line| !line.is_empty()).map(Value::from).collect());
        let outcome = match secrets {
            Ok(_) if table.contains_key("secret") || table.contains_key("secrets") => {
                Err("a secret is set, too; give one of them".to_owned())
            }
            outcome => outcome,
        };
        match outcome {
            Ok(secrets) => {
                table.remove("secret_file");
                table.insert("secrets".to_owned(), Value::Array(secrets));
                is_changed = true;
            }
            Err(reason) => {
                let message = format!("{KEY}: secret_file {}: {reason}", path.display());
                raw.problems.push(Problem::other(Some(source.clone()), message));
            }
        }
    }
    if is_changed {
        raw.put(KEY, value, source);
    }
}

/// Text from a variable or a flag as a value of the given shape. Other text stays text and is rejected by the check.
fn value_of(shape: Shape, text: &str) -> Value {
    match shape {
        Shape::Text => Value::from(text),
        Shape::Plain => parsed(text.trim()).unwrap_or_else(|| Value::from(text)),
        // `[::1]:8090` begins like an array but is none.
        Shape::List => match parsed(text.trim()) {
            Some(value @ (Value::Array(_) | Value::Table(_))) => value,
            _ => {
                let elements = text.split(',').map(str::trim).filter(|element| !element.is_empty());
                Value::from(elements.collect::<Vec<_>>())
            }
        },
    }
}

fn parsed(text: &str) -> Option<Value> {
    Value::deserialize(ValueDeserializer::parse(text).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_converted_by_the_shape_of_its_setting() {
        assert_eq!(value_of(Shape::Text, "12"), Value::from("12"));
        assert_eq!(value_of(Shape::Plain, " 12 "), Value::from(12));
        assert_eq!(value_of(Shape::Plain, "true"), Value::from(true));
        assert_eq!(value_of(Shape::Plain, "many"), Value::from("many"));
        assert_eq!(value_of(Shape::List, r#"["a", "b"]"#), Value::from(vec!["a", "b"]));
        assert_eq!(value_of(Shape::List, "a, b,"), Value::from(vec!["a", "b"]));
        assert_eq!(value_of(Shape::List, "[::1]:80"), Value::from(vec!["[::1]:80"]));
        assert_eq!(value_of(Shape::List, ""), Value::from(Vec::<String>::new()));
    }

    #[test]
    fn password_in_redis_url_is_escaped() {
        assert_eq!(escaped("a-b.c_d~1"), "a-b.c_d~1");
        assert_eq!(escaped("p@ss:/ü"), "p%40ss%3A%2F%C3%BC");
    }

    #[test]
    fn kubernetes_variables_are_ignored() {
        for name in [
            "SWITCHBOARD_SERVICE_HOST",
            "SWITCHBOARD_SERVICE_PORT_HTTP",
            "SWITCHBOARD_PORT",
            "SWITCHBOARD_PORT_8090_TCP_ADDR",
            "OTHER",
        ] {
            assert!(!is_ours(name), "{name}");
        }
        assert!(is_ours("SWITCHBOARD_LISTEN") && is_ours("SWITCHBOARD_PORTS"));
    }
}
