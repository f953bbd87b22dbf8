//! The listeners: as addresses, or as tables with more about each.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use toml::Value;
use toml::value::Table;

use super::kinds::{self, Checked, Mismatch};
use crate::runtime::listener::ListenAddress;
use crate::shard::ListenerRoles;

/// A listener as it is set. What is not set is decided by the settings for all listeners.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerSettings {
    /// Where it listens.
    pub address: ListenAddress,
    /// What it serves.
    pub roles: Option<ListenerRoles>,
    /// Whether it speaks TLS.
    pub tls: Option<bool>,
    /// Whether trusted proxies send a header of the PROXY protocol.
    pub proxy_protocol: Option<bool>,
}

impl ListenerSettings {
    fn at(address: ListenAddress) -> Self {
        Self { address, roles: None, tls: None, proxy_protocol: None }
    }

    /// The address, if it is one of TCP.
    pub fn tcp(&self) -> Option<SocketAddr> {
        match &self.address {
            ListenAddress::Tcp(address) => Some(*address),
            ListenAddress::Unix(_) | ListenAddress::Inherited(_) => None,
        }
    }

    /// Whether it is an address alone.
    pub(super) fn is_plain(&self) -> bool {
        *self == Self::at(self.address.clone()) && self.tcp().is_some()
    }
}

impl From<SocketAddr> for ListenerSettings {
    fn from(address: SocketAddr) -> Self {
        Self::at(ListenAddress::Tcp(address))
    }
}

impl FromStr for ListenerSettings {
    type Err = std::net::AddrParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse::<SocketAddr>().map(Self::from)
    }
}

const WORDS: &str = "an address and a port, such as 127.0.0.1:8090 or [::1]:8090, or a host name of this machine and a port, \
                     such as localhost:8090, or unix:/PATH, fd:NUMBER or fd:NAME";

const KEYS: &str = "a table with address and perhaps roles (a list of public, admin and metrics), tls and proxy_protocol \
                    (true or false)";

/// Listeners: at least one, none twice.
pub(super) fn listeners(value: &Value) -> Checked<Vec<ListenerSettings>> {
    let single = std::slice::from_ref(value);
    let elements = match value {
        Value::Array(elements) => elements.as_slice(),
        Value::String(_) | Value::Table(_) => single,
        _ => return Err(Mismatch { part: None, expected: format!("a list, each {WORDS}") }),
    };
    let mut listeners: Vec<ListenerSettings> = Vec::new();
    for element in elements {
        let read = match element {
            Value::String(text) => resolved(text).map(|found| found.into_iter().map(ListenerSettings::at).collect()),
            Value::Table(table) => {
                let wrong = || Mismatch { part: Some(element.clone()), expected: KEYS.to_owned() };
                Some(from_table(table).ok_or_else(wrong)?)
            }
            _ => None,
        };
        let wrong = || Mismatch { part: Some(element.clone()), expected: WORDS.to_owned() };
        let read: Vec<ListenerSettings> = read.ok_or_else(wrong)?;
        for listener in read {
            // Port 0 picks a free port, so the same text twice means two listeners.
            let is_new = listener.tcp().is_some_and(|address| address.port() == 0)
                || listeners.iter().all(|known| known.address != listener.address);
            if !is_new {
                let part = Some(Value::from(listener.address.to_string()));
                return Err(Mismatch { part, expected: "each address once".to_owned() });
            }
            listeners.push(listener);
        }
    }
    if listeners.is_empty() {
        return Err(Mismatch { part: None, expected: "at least one address to listen on".to_owned() });
    }
    Ok(listeners)
}

fn from_table(table: &Table) -> Option<Vec<ListenerSettings>> {
    let truth = |key| match table.get(key) {
        None => Some(None),
        Some(value) => value.as_bool().map(Some),
    };
    let is_known = |key: &String| ["address", "roles", "tls", "proxy_protocol"].contains(&key.as_str());
    let addresses = resolved(table.get("address")?.as_str()?).filter(|_| table.keys().all(is_known))?;
    let roles = match table.get("roles") {
        None => None,
        Some(Value::Array(words)) if !words.is_empty() => {
            let roles: Option<Vec<_>> = words.iter().map(|word| ListenerRoles::named(word.as_str()?)).collect();
            Some(roles?.into_iter().fold(ListenerRoles::NONE, ListenerRoles::with))
        }
        Some(_) => return None,
    };
    let (tls, proxy_protocol) = (truth("tls")?, truth("proxy_protocol")?);
    let listener = |address| ListenerSettings { address, roles, tls, proxy_protocol };
    Some(addresses.into_iter().map(listener).collect())
}

/// The addresses that a text stands for: itself, or those of its host name.
fn resolved(text: &str) -> Option<Vec<ListenAddress>> {
    if let Some(path) = text.strip_prefix("unix:") {
        return path.starts_with('/').then(|| vec![ListenAddress::Unix(PathBuf::from(path))]);
    }
    if let Some(name) = text.strip_prefix("fd:") {
        return (!name.is_empty()).then(|| vec![ListenAddress::Inherited(name.to_owned())]);
    }
    let found = kinds::resolved(text)?;
    Some(found.into_iter().map(ListenAddress::Tcp).collect())
}

#[cfg(test)]
mod tests {
    use super::super::tests::load_set;

    #[test]
    fn listener_that_is_wrong_or_none_for_clients_is_refused() {
        for (written, expected) in [
            (r#"[{ roles = ["admin"] }]"#, "expected a table with address and perhaps roles"),
            (r#"[{ address = "127.0.0.1:1", role = "admin" }]"#, "expected a table with address and perhaps roles"),
            (r#"[{ address = "127.0.0.1:1", roles = ["boss"] }]"#, "expected a table with address and perhaps roles"),
            (r#"[{ address = "127.0.0.1:1", roles = [] }]"#, "expected a table with address and perhaps roles"),
            (r#"[{ address = "127.0.0.1:1", tls = "yes" }]"#, "expected a table with address and perhaps roles"),
            (r#"[{ address = "127.0.0.1:1", roles = ["admin"] }]"#, "none of the listeners has the role public"),
            (r#"[{ address = "127.0.0.1:1", tls = true }]"#, "tls = true needs tls.cert_file and tls.key_file"),
            (r#"[{ address = "127.0.0.1:1", proxy_protocol = true }]"#, "only those in trusted_proxies"),
            (r#"[{ address = "127.0.0.1:1" }, "127.0.0.1:1"]"#, "expected each address once"),
        ] {
            let refusal = load_set(&[&format!("listen={written}")]).expect_err(written).to_string();
            assert!(refusal.contains(expected), "{written}: {refusal}");
        }
    }

    #[test]
    fn printed_listeners_are_a_settings_file_again() {
        let written = r#"listen=["127.0.0.1:1", { address = "unix:/run/s", roles = ["admin", "metrics"], proxy_protocol = false }]"#;
        let loaded = load_set(&[written]).expect("settings");
        let text = super::super::print(&loaded);
        let table: toml::Table = text.parse().expect("TOML");
        assert_eq!(super::listeners(&table["listen"]).expect("listeners"), loaded.settings.listen);
    }
}
